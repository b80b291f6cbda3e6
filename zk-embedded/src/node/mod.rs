//! A peer on a network: one loop over the core, TCP and the disk.
//!
//! A board calls [`Node::poll`] whenever a frame has come, and when the time is reached that the last
//! call has named; in between it may sleep. A call never waits: it takes the frames that are there,
//! lets the peer work, does some steps of the disk, and sends.
//!
//! ```text
//!            frames                bytes                    orders
//!   device ──────────▶ net::Net ──────────▶ zk_core::Peer ──────────▶ Disk
//!          ◀──────────          ◀──────────               ◀──────────
//! ```
//!
//! # Sockets
//!
//! Clients have their own, so that they never take one of a member's. Of those, one listens on the
//! client port, armed anew as soon as somebody has come, before the next frame is looked at: clients
//! that connect at the same moment all get in, as long as there are sockets. Behind the last one they
//! are refused.
//!
//! Members' sockets are in two pools, one for each port, and for the connections that are made to it
//! from here. With `n` other members of zk `n + 1` of the election port are enough, and none of the quorum
//! port: one for each, which carries its packets as well ([`zk_core::wire::compact`]), and a short one that
//! listens, or calls while two servers settle which of two connections stays. (Who finds none calls again. A
//! member that was let in there is reset as soon as another one can take it.)
//!
//! Where members may be Apache's servers there are `n + 2` short ones of the election port, and `n` of the
//! quorum port: only a leader listens there, as long as somebody is missing.
//!
//! Whoever does not come from a member's address is reset at its first frame.
//!
//! # Time
//!
//! | | ms | what happens |
//! |---|---|---|
//! | [`HELLO_MS`] | 2,000 | who has connected and says nothing is reset |
//! | [`SESSION_MS`] | 10,000 | a client that has no session is reset |
//! | [`CLOSE_MS`] | 250 | a client's connection that is being closed is reset, whatever has not been taken: waiting for the other side to be done would hold its socket. When both sides have said their last it is, at once. One to a member has [`HELLO_MS`], so that who is to call back still hears it |
//! | [`CONNECT_MS`] | 5,000 | a member that does not answer is tried again |
//! | [`SILENCE_MS`](crate::net::SILENCE_MS) | 20,000 | a connection whose other side answers nothing is gone |

mod clients;
mod disk;
mod down;
mod members;
#[cfg(test)]
mod tests;
mod words;

use core::fmt;
use core::net::Ipv4Addr;

pub use disk::{Disk, Step};
pub use down::Down;
pub use words::{ANSWER_MAX, VERSION};
use zk_core::id::ServerId;
use zk_core::peer::{self, Link, MemberLink, Peer};
use zk_core::quorum::Port;
use zk_core::request::apply::ApplyError;
use zk_core::say;
use zk_core::session::auth::IDENTITIES_LEN;
use zk_core::time::{Instant, Now};
use zk_core::wire::{frame, quorum};

use crate::flash::Entries;
use crate::net::phy::Device;
use crate::net::{self, Net, Pool, Unfit};

/// Milliseconds in which whoever has connected must say something.
pub const HELLO_MS: u64 = 2_000;

/// Milliseconds in which a client must have a session.
pub const SESSION_MS: u64 = 10_000;

/// Milliseconds that a connection which is being closed has for what waits to be sent.
pub const CLOSE_MS: u64 = 250;

/// Milliseconds in which a member must answer.
pub const CONNECT_MS: u64 = 5_000;

/// Frames that one call takes.
const FRAMES: usize = 64;

/// How often one call goes around between network, peer and disk.
const ROUNDS: usize = 16;

/// Steps of the disk that one round does.
const STEPS: usize = 16;

/// Links that one round asks the peer for.
const LINKS: usize = 64;

/// Frames that each socket may send in one round.
const SENDS: usize = 16;

/// Bytes of an election socket for what comes, at least: who has connected, with one address in a
/// configuration's longest form, or the vote at the beginning of a notification.
pub const GREETING_MAX: usize = 256;

/// Bytes of a client's socket for what comes, at least: a handshake, or a word.
pub const HANDSHAKE_MAX: usize = 64;

/// Milliseconds after which a disk that works is looked at again.
const DISK_MS: u64 = 1;

/// Settings of a peer on a board: Apache's, with timeouts that outlive a frame which is lost three
/// times (1, 2 and 4 s).
pub fn board_options(server: ServerId) -> peer::Options {
    peer::Options {
        server,
        // A board that is alone is an ensemble of one.
        ensemble: true,
        tick_time: 2000,
        init_limit: 15,
        sync_limit: 5,
        min_session_timeout: 8000,
        // Until there is a socket that has room for packets besides votes.
        dialect: peer::Dialect::Never,
        ..peer::Options::default()
    }
}

/// What a node is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where clients are served, unless the configuration in force says another port.
    pub client_port: u16,
    /// Milliseconds since 1970 of the board's clock; without one, of the last change that the board
    /// knows of. [`Node::set_wall`] moves it on.
    pub wall: i64,
}

/// Memory that is lent to a node.
#[derive(Debug)]
pub struct Storage<'m> {
    /// One for each socket.
    pub places: &'m mut [Place],
    /// As long as the longest buffer for what comes: frames that lie in two pieces there are put
    /// together here. What learners lack of the log is read into it as well: one transaction and
    /// what the log says of it ([`Entries::room`]).
    pub scratch: &'m mut [u8],
}

/// Who comes to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Client,
    Member(Port),
}

/// What a socket is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Free,
    /// It waits for somebody on that port.
    Listening(Door, u16),
    /// Somebody has come; it must be there until then.
    Opening(Door, Instant),
    /// Somebody at the client port has said nothing yet.
    Greeting(Instant),
    Client {
        link: Link,
        /// When it is reset.
        until: Option<Instant>,
        /// It has a session, or is being closed.
        settled: bool,
        blocked: bool,
    },
    Dialling(MemberLink, Instant),
    Member {
        link: MemberLink,
        /// When it is reset: it has not said who it is, or is being closed.
        until: Option<Instant>,
        /// It has come by itself.
        came: bool,
        blocked: bool,
    },
    /// All is said; it is reset then.
    Finishing(Instant),
    /// The other side has said its last as well, and is told in this round that it was heard: it is
    /// reset in the next, because waiting (TIME-WAIT) would hold the socket.
    Over,
    /// It is reset, and the other side is still to be told; then it is free, told or not.
    Resetting(Instant),
}

/// What a node knows of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place(Role);

/// Why a node cannot go on: the board has to start anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The disk.
    Disk(E),
    /// The peer does not trust its own state any more.
    Stopped(ApplyError),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk: {error}"),
            Self::Stopped(error) => write!(f, "stopped: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}

/// The wall clock: what the board says, and time that has passed since.
#[derive(Clone, Copy, Debug)]
struct Wall {
    ms: i64,
    at: Instant,
}

impl Wall {
    fn now(&self, now: Instant) -> Now {
        let passed = i64::try_from(now.since(self.at)).unwrap_or(i64::MAX);
        Now { monotonic: now, wall: self.ms.saturating_add(passed) }
    }

    /// The board says so; never backwards.
    fn set(&mut self, now: Instant, ms: i64) {
        if ms > self.now(now).wall {
            *self = Self { ms, at: now };
        }
    }
}

/// A peer, its sockets and its disk. Peer and disk lie in memory that is lent, because a stack on which
/// they were moved about would have to be as large as some of them.
#[derive(Debug)]
pub struct Node<'m, D: Device, S> {
    peer: &'m mut Peer<'m>,
    net: Net<'m, D>,
    disk: &'m mut S,
    places: &'m mut [Place],
    scratch: &'m mut [u8],
    client_port: u16,
    wall: Wall,
    /// Versions of the configurations whose addresses the peer has been told.
    known: Option<(i64, Option<i64>)>,
    /// Calls that were made: a member's addresses take turns.
    dials: usize,
    /// Frames that lay in two pieces.
    #[cfg(test)]
    wraps: usize,
}

impl<'m, D: Device, S: Disk> Node<'m, D, S> {
    /// A node around a peer that has loaded its history, and has [joined](Peer::join) its ensemble or
    /// [serves](Peer::serve) alone.
    ///
    /// # Errors
    /// [`Unfit`]: what is lent is too small for the peer's options.
    #[inline(never)]
    pub fn new(
        peer: &'m mut Peer<'m>,
        net: Net<'m, D>,
        disk: &'m mut S,
        storage: Storage<'m>,
        options: &Options,
        now: Instant,
    ) -> Result<Self, Unfit> {
        let Storage { places, scratch } = storage;
        if places.len() < net.len() {
            return Err(Unfit("there are fewer places than sockets"));
        }
        let limits = peer.options();
        // Of a longer one the beginning is taken before its end comes.
        let shown = frame::LEN.saturating_add(limits.max_frame).min(limits.max_shown);
        let packet = packet_max(limits.max_frame, limits.max_txn);
        let votes = net.pool(Pool::Election);
        let carries = limits.dialect != peer::Dialect::Never && votes.len() > 1;
        if carries && net.receive_capacity(votes.start) < packet {
            return Err(Unfit("a member's longest packet does not fit its votes' socket"));
        }
        if limits.max_shown < HANDSHAKE_MAX {
            return Err(Unfit("a handshake would come in parts"));
        }
        for (pool, least, why) in [
            (Pool::Clients, shown.max(HANDSHAKE_MAX), "a client's longest frame does not fit"),
            (Pool::Election, GREETING_MAX, "a greeting does not fit"),
            (Pool::Quorum, packet, "a member's longest packet does not fit"),
        ] {
            for at in net.pool(pool) {
                if net.receive_capacity(at) < least {
                    return Err(Unfit(why));
                }
                if pool == Pool::Clients && net.send_capacity(at) < ANSWER_MAX {
                    return Err(Unfit("a word's answer does not fit"));
                }
                if scratch.len() < net.receive_capacity(at) {
                    return Err(Unfit("the scratch is shorter than a buffer"));
                }
            }
        }
        if scratch.len() < Entries::room(limits.max_txn) {
            return Err(Unfit("the scratch has no room for a transaction of the log"));
        }
        for place in places.iter_mut() {
            place.0 = Role::Free;
        }
        let wall = Wall { ms: options.wall, at: now };
        let client_port = options.client_port;
        Ok(Self {
            peer,
            net,
            disk,
            places,
            scratch,
            client_port,
            wall,
            known: None,
            dials: 0,
            #[cfg(test)]
            wraps: 0,
        })
    }

    /// The peer.
    pub fn peer(&self) -> &Peer<'m> {
        self.peer
    }

    /// The network.
    pub fn net(&self) -> &Net<'m, D> {
        &self.net
    }

    /// The network, for a board that has to tell its device something.
    pub fn net_mut(&mut self) -> &mut Net<'m, D> {
        &mut self.net
    }

    /// The disk.
    pub fn disk(&self) -> &S {
        self.disk
    }

    /// The parts, when the node is given up.
    pub fn into_parts(self) -> (&'m mut Peer<'m>, Net<'m, D>, &'m mut S) {
        (self.peer, self.net, self.disk)
    }

    /// The board's clock says `ms` since 1970. A clock that goes backwards is not followed.
    pub fn set_wall(&mut self, now: Instant, ms: i64) {
        self.wall.set(now, ms);
    }

    /// Does all that can be done now. Answers when to call again if no frame comes before.
    ///
    /// # Errors
    /// [`Error`]: the node cannot go on.
    // Its caller has the node on its stack when the node is made, which takes more.
    #[inline(never)]
    pub fn poll(&mut self, now: Instant) -> Result<Option<Instant>, Error<S::Error>> {
        let now = self.wall.now(now);
        self.note_addresses();
        self.arm(now);
        let mut more = false;
        let mut heard = false;
        for frame in 0..FRAMES {
            if !self.net.poll_frame(now.monotonic) {
                break;
            }
            heard = true;
            more = frame + 1 == FRAMES;
            self.arm(now);
        }
        if self.peer.poll_timeout().is_some_and(|at| at <= now.monotonic) {
            self.peer.tick(now);
        }
        let mut step = Step::Idle;
        for round in 0..ROUNDS {
            let mut any = self.settle(now);
            any |= self.dial(now);
            any |= self.read(now);
            any |= self.write_members(now);
            any |= self.write_clients(now);
            step = self.step_disk(now, !any && !heard)?;
            any |= step == Step::Done;
            self.send(now);
            self.note_addresses();
            self.arm(now);
            if let peer::State::Stopped(error) = self.peer.state() {
                return Err(Error::Stopped(error));
            }
            if !any {
                break;
            }
            more |= round + 1 == ROUNDS;
        }
        if more {
            return Ok(Some(now.monotonic));
        }
        let disk = (step != Step::Idle).then(|| now.monotonic.plus(DISK_MS));
        let net = self.net.poll_timeout(now.monotonic);
        let next = [self.peer.poll_timeout(), disk, net, self.deadline()];
        Ok(next.into_iter().flatten().min())
    }

    /// Steps of the disk, until it has nothing to do or something is done.
    fn step_disk(&mut self, now: Now, quiet: bool) -> Result<Step, Error<S::Error>> {
        let mut step = Step::Idle;
        for _ in 0..STEPS {
            step = self.disk.poll(self.peer, now, quiet, self.scratch).map_err(Error::Disk)?;
            if step != Step::Working {
                break;
            }
        }
        Ok(step)
    }

    fn send(&mut self, now: Now) {
        for _ in 0..SENDS {
            if !self.net.poll_send(now.monotonic) {
                break;
            }
        }
    }

    /// When the first of those that take too long is reset.
    fn deadline(&self) -> Option<Instant> {
        self.places.iter().filter_map(|place| place.0.until()).min()
    }

    fn role(&self, at: usize) -> Role {
        self.places.get(at).map_or(Role::Free, |place| place.0)
    }

    fn set(&mut self, at: usize, role: Role) {
        if let Some(place) = self.places.get_mut(at) {
            place.0 = role;
        }
    }

    /// Ends a connection at once. The socket can be used by somebody else when the other side is told.
    fn reset(&mut self, at: usize, now: Now) {
        self.net.abort(at);
        let owes = self.net.owes_reset(at);
        let until = now.monotonic.plus(CLOSE_MS);
        self.set(at, if owes { Role::Resetting(until) } else { Role::Free });
    }

    /// Lets go of a socket on which all is said.
    fn finish(&mut self, at: usize, now: Now, ms: u64) {
        self.net.close(at);
        self.set(at, Role::Finishing(now.monotonic.plus(ms)));
    }

    /// The sockets that a port may have.
    fn pool(&self, door: Door) -> core::ops::Range<usize> {
        self.net.pool(match door {
            Door::Client => Pool::Clients,
            Door::Member(Port::Election) => Pool::Election,
            Door::Member(Port::Quorum) => Pool::Quorum,
        })
    }

    /// A socket that nobody uses, and that will do.
    fn vacant(&self, door: Door, will_do: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        self.pool(door).find(|&at| {
            let unused = self.role(at) == Role::Free && self.net.state(at) == net::State::Closed;
            unused && will_do(self, at)
        })
    }

    /// The port that should be open there, if any.
    fn port(&self, door: Door) -> Option<u16> {
        let me = self.peer.options().server;
        match door {
            Door::Client => {
                let wanted = self.peer.config().client_address(me).map(|(_, port)| port);
                Some(wanted.unwrap_or(self.client_port))
            }
            // Only a leader is met there.
            Door::Member(Port::Quorum) if self.peer.state() != peer::State::Leading => None,
            Door::Member(port) => self.peer.quorums().addresses(me, port).next().map(|(_, p)| p),
        }
    }

    /// Notes who has come, and lets somebody listen on each port.
    #[inline(never)] // its frame is not needed below what a peer does
    fn arm(&mut self, now: Now) {
        for at in 0..self.net.len() {
            let Role::Listening(door, port) = self.role(at) else { continue };
            match self.net.state(at) {
                net::State::Listening if self.port(door) == Some(port) => {}
                net::State::Listening | net::State::Closed => self.reset(at, now),
                _ if door != Door::Client && !self.comes_from_member(at) => {
                    say!(debug, "who has come to port {} is no member", port);
                    self.reset(at, now);
                }
                _ => self.set(at, Role::Opening(door, now.monotonic.plus(HELLO_MS))),
            }
        }
        for door in [Door::Client, Door::Member(Port::Election), Door::Member(Port::Quorum)] {
            let Some(port) = self.port(door) else { continue };
            let armed = Role::Listening(door, port);
            let listens = self.pool(door).find(|&at| self.role(at) == armed);
            let Some(at) = self.vacant(door, |_, _| true) else { continue };
            if let Some(listens) = listens {
                // Whoever comes is to have room.
                if self.has_room(listens) || !self.has_room(at) {
                    continue;
                }
                self.reset(listens, now);
            }
            if self.net.listen(at, port) {
                self.set(at, armed);
            }
        }
    }

    /// Looks at what has become of each socket. Answers whether anything has changed.
    #[inline(never)] // its frame is not needed below what a peer does
    fn settle(&mut self, now: Now) -> bool {
        let mut any = false;
        for at in 0..self.net.len() {
            let before = self.role(at);
            let state = self.net.state(at);
            let late = before.until().is_some_and(|until| until <= now.monotonic);
            match before {
                Role::Free | Role::Listening(..) => {}
                Role::Resetting(_) => {
                    if late || !self.net.owes_reset(at) {
                        self.set(at, Role::Free);
                    }
                }
                Role::Opening(door, _) => match state {
                    net::State::Open | net::State::Ended => self.admit(at, door, now),
                    net::State::Opening if !late => {}
                    // Whoever came has taken it back.
                    _ => self.reset(at, now),
                },
                Role::Finishing(_) | Role::Greeting(_) => {
                    if late || state == net::State::Closed {
                        self.reset(at, now);
                    } else if state == net::State::Over {
                        self.set(at, Role::Over);
                    }
                }
                Role::Over => self.reset(at, now),
                Role::Client { link, settled, blocked, .. } => {
                    if late || state == net::State::Closed {
                        self.peer.closed(now, link);
                        self.reset(at, now);
                    } else if !settled && self.peer.session(link).is_some() {
                        self.set(at, Role::Client { link, until: None, settled: true, blocked });
                    }
                }
                Role::Dialling(link, _) => match state {
                    net::State::Open | net::State::Ended => {
                        self.peer.connected(link);
                        let role = Role::Member { link, until: None, came: false, blocked: false };
                        self.set(at, role);
                    }
                    net::State::Opening if !late => {}
                    _ => {
                        say!(debug, "a member cannot be reached: socket {}", at);
                        self.reset(at, now);
                        self.peer.connect_failed(now, link);
                    }
                },
                Role::Member { link, came, blocked, until } => {
                    if late || state == net::State::Closed || self.is_cramped(at, link) {
                        self.peer.member_closed(now, link);
                        self.reset(at, now);
                    } else if until.is_some()
                        && !self.peer.member_is_closing(link)
                        && self.peer.member_server(link).is_some()
                    {
                        self.set(at, Role::Member { link, until: None, came, blocked });
                    }
                }
            }
            any |= self.role(at) != before;
        }
        any
    }

    /// Somebody has connected.
    fn admit(&mut self, at: usize, door: Door, now: Now) {
        let until = now.monotonic.plus(HELLO_MS);
        match (door, self.net.remote(at)) {
            (Door::Client, Some(_)) => self.set(at, Role::Greeting(until)),
            (Door::Member(port), Some(from)) => match self.peer.accept(now, port, from.into()) {
                Ok(link) => {
                    let until = Some(until);
                    self.set(at, Role::Member { link, until, came: true, blocked: false });
                }
                Err(_) => self.reset(at, now),
            },
            (_, None) => self.reset(at, now),
        }
    }

    /// Reads each connection as far as the peer takes it. Answers whether anything was taken.
    #[inline(never)] // its frame is not needed below what a peer does
    fn read(&mut self, now: Now) -> bool {
        let mut any = false;
        for at in 0..self.net.len() {
            any |= match self.role(at) {
                Role::Greeting(_) => self.greet(at, now),
                Role::Client { blocked: false, .. } => self.read_client(at, now),
                Role::Member { blocked: false, .. } => self.read_member(at, now),
                _ => false,
            };
        }
        any
    }

    /// Shows what has come to `take`, which answers as [`Peer::receive`] does, until it takes no
    /// more.
    fn show(
        &mut self,
        at: usize,
        mut take: impl FnMut(&mut Peer<'m>, &[u8]) -> peer::Received,
    ) -> Shown {
        let Self { peer, net, scratch, .. } = self;
        #[cfg(test)]
        let wraps = &mut self.wraps;
        let mut any = false;
        loop {
            let queued = net.received(at);
            if queued == 0 {
                return Shown { any, next: Next::More };
            }
            let bytes = net.peek(at);
            let together = bytes.len();
            let mut received = take(peer, bytes);
            if received.consumed == 0 && received.need > together && received.need <= queued {
                #[cfg(test)]
                {
                    *wraps += 1;
                }
                let len = net.copy(at, scratch);
                received = take(peer, scratch.get(..len).unwrap_or_default());
            }
            net.take(at, received.consumed);
            any |= received.consumed > 0;
            if received.need == 0 {
                return Shown { any, next: Next::Blocked };
            }
            if received.consumed == 0 {
                let most = net.receive_capacity(at).min(scratch.len());
                let fits = received.need <= most;
                return Shown { any, next: if fits { Next::More } else { Next::TooLong } };
            }
        }
    }
}

/// What became of what was shown to the peer.
struct Shown {
    /// Something was taken.
    any: bool,
    next: Next,
}

enum Next {
    /// More must come.
    More,
    /// The peer can take no more now.
    Blocked,
    /// What must come does not fit the buffer.
    TooLong,
}

impl Role {
    /// When it is reset.
    fn until(&self) -> Option<Instant> {
        match *self {
            Self::Free | Self::Listening(..) | Self::Over => None,
            Self::Opening(_, until)
            | Self::Greeting(until)
            | Self::Dialling(_, until)
            | Self::Finishing(until)
            | Self::Resetting(until) => Some(until),
            Self::Client { until, .. } | Self::Member { until, .. } => until,
        }
    }
}

/// Bytes of the longest packet of a member: a transaction, or a client's frame with its identities.
pub const fn packet_max(max_frame: usize, max_txn: usize) -> usize {
    /// Session, number and kind of a forwarded request.
    const REQUEST: usize = 16;
    let forwarded = REQUEST + max_frame + IDENTITIES_LEN;
    let longest = if forwarded > max_txn { forwarded } else { max_txn };
    quorum::OVERHEAD + longest
}

/// The IPv4 address that a host of the configuration is, if it is one.
fn literal(host: &str) -> Option<Ipv4Addr> {
    host.parse().ok()
}
