//! The sockets of other members: two ports that are listened on, links that are dialled, bytes in
//! both directions.
//!
//! | limit | |
//! |---|---|
//! | who may connect | addresses that a member's host has; others are closed at once |
//! | links | those of the core, four for each member and some; more are closed at once |
//! | time to connect | `cnxTimeout`, for all addresses of a member together |
//! | addresses that are tried | 16; the next one when the one before has failed, or after [`STAGGER_MS`] |

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token, Waker};
use socket2::SockRef;
use zk_core::id::ServerId;
use zk_core::peer::{Dial, MemberLink, Peer, State};
use zk_core::quorum::Port;
use zk_core::time::{Instant, Now};

use super::Error;
use super::link::{ReadOutcome, Stream};
use super::listener::{self, MemberPort};
use super::resolve::{Answer, Resolver};
use crate::config::{Config, HostPort, Quorum};

/// Tokens of listeners, of attempts to connect, and of links, each from that number on. Clients
/// have the numbers below.
pub(super) const TOKENS: usize = usize::MAX / 4 + 1;
const ATTEMPTS: usize = TOKENS + (1 << 16);
const LINKS: usize = TOKENS + (1 << 20);

/// Bytes that one turn reads of one link.
const READ: usize = 256 << 10;

/// Connections that one turn accepts.
const ACCEPTS: usize = 32;

/// Links that one turn writes to.
const WRITES: usize = 4096;

/// Milliseconds after which the next address of a member is tried besides the first.
pub(super) const STAGGER_MS: u64 = 250;

/// Milliseconds between two looks for the addresses of members because a stranger came.
const REFRESH_MS: u64 = 5000;

/// Milliseconds between two attempts to open a port that a new configuration has.
const REOPEN_MS: u64 = 1000;

/// Milliseconds between two lines about strangers.
const LOG_PAUSE_MS: u64 = 10_000;

/// Who asks for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// To dial; which attempt of all.
    Dial(MemberLink, u64),
    /// To know who may connect.
    Member(ServerId),
}

/// A member that is dialled.
struct Dialling {
    dial: Dial,
    serial: u64,
    deadline: Instant,
    /// Addresses that were not tried yet.
    left: VecDeque<SocketAddr>,
    /// When the next of them is.
    next_at: Option<Instant>,
    /// What is under way.
    attempts: Vec<usize>,
    /// Why the last one failed.
    error: String,
}

/// A connection that is not there yet.
struct Attempt {
    link: MemberLink,
    socket: TcpStream,
    address: SocketAddr,
}

/// A link to another member.
struct Socket {
    stream: Stream,
    link: MemberLink,
}

/// All that the state thread has of other members.
pub(super) struct Members {
    ports: Vec<MemberPort>,
    /// By number of the link.
    sockets: Vec<Option<Socket>>,
    /// Those with something to read.
    queue: VecDeque<usize>,
    dialling: BTreeMap<usize, Dialling>,
    attempts: Vec<Option<Attempt>>,
    serial: u64,
    resolver: Resolver<Key>,
    /// Members whose addresses were not looked up yet.
    unknown: BTreeSet<ServerId>,
    /// Of the configuration whose members these are.
    version: i64,
    refreshed_at: Instant,
    /// Why members could not be reached, as it was last said.
    unreachable: BTreeMap<ServerId, String>,
    /// Connections of strangers.
    pub(super) strangers: u64,
    strangers_at: Option<Instant>,
    accept_at: Option<Instant>,
    /// When the ports are opened anew.
    reopen_at: Option<Instant>,
    on_all: bool,
    cnx_timeout_ms: u64,
    keep_alive: bool,
    /// Links that were closed since somebody asked.
    closed: Vec<usize>,
    buffer: Vec<u8>,
}

impl Members {
    /// Opens the ports of the member `me`.
    ///
    /// # Errors
    /// [`Error::BindMember`]; [`Error::Io`].
    pub(super) fn open(
        config: &Config,
        quorum: &Quorum,
        me: ServerId,
        registry: &Registry,
        waker: Arc<Waker>,
        now: Now,
    ) -> Result<Self, Error> {
        let io = |doing| move |source| Error::Io { doing, source };
        let mut ports = MemberPort::open_all(config, quorum, me)?;
        for (at, port) in ports.iter_mut().enumerate() {
            registry
                .register(&mut port.socket, Token(TOKENS + at), Interest::READABLE)
                .map_err(io("watch the ensemble's ports"))?;
        }
        let resolver = Resolver::start(waker).map_err(io("start a thread"))?;
        let timeout = u64::try_from(config.cnx_timeout.as_millis()).unwrap_or(u64::MAX);
        let mut members = Self {
            ports,
            sockets: Vec::new(),
            queue: VecDeque::new(),
            dialling: BTreeMap::new(),
            attempts: Vec::new(),
            serial: 0,
            resolver,
            unknown: quorum.servers.keys().copied().collect(),
            version: quorum.version.0,
            refreshed_at: now.monotonic,
            unreachable: BTreeMap::new(),
            strangers: 0,
            strangers_at: None,
            accept_at: None,
            reopen_at: None,
            on_all: config.quorum_listen_on_all_ips,
            cnx_timeout_ms: timeout.max(1),
            keep_alive: config.tcp_keep_alive,
            closed: Vec::new(),
            buffer: vec![0; READ],
        };
        let hosts = |server: &crate::config::QuorumServer| {
            server.addresses.iter().map(|a| (a.host.clone(), a.election_port)).collect()
        };
        for server in quorum.servers.values() {
            members.resolver.ask(Key::Member(server.id), hosts(server));
        }
        Ok(members)
    }

    /// When [`turn`](Self::turn) has something to do; `Some(0)` for at once.
    pub(super) fn timeout(&self, peer: &Peer<'_>, now: Instant) -> Option<Duration> {
        let accepts = self.accept_at.is_none()
            && self.ports.iter().any(|port| port.pending && self.expects(peer, port.port));
        if accepts || !self.queue.is_empty() || self.resolver.is_ready() {
            return Some(Duration::ZERO);
        }
        let dials = self.dialling.values();
        let dials =
            dials.flat_map(|d| [Some(d.deadline), d.next_at.filter(|_| !d.left.is_empty())]);
        let next = dials.flatten().chain(self.accept_at).chain(self.reopen_at).min()?;
        Some(Duration::from_millis(next.since(now)))
    }

    /// Whether connections are taken from a port now; otherwise they wait, or there are none.
    ///
    /// Who has decided for a leader may come before that one knows that it is. So while a server
    /// looks for a leader, learners wait in the queue of the system.
    fn expects(&self, peer: &Peer<'_>, port: Port) -> bool {
        self.unknown.is_empty() && (port == Port::Election || peer.state() != State::Looking)
    }

    /// Notes an event of one of the tokens from [`TOKENS`] on.
    pub(super) fn note(
        &mut self,
        peer: &mut Peer<'_>,
        registry: &Registry,
        now: Now,
        event: &Event,
    ) {
        let Token(token) = event.token();
        if let Some(number) = token.checked_sub(LINKS) {
            let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
            let stream = &mut socket.stream;
            if (event.is_readable() || event.is_read_closed() || event.is_error())
                && stream.note_readable(event)
            {
                self.queue.push_back(number);
            }
            if event.is_writable() && !stream.writable {
                stream.writable = true;
                self.flush(peer, registry, now, number);
            }
        } else if let Some(slot) = token.checked_sub(ATTEMPTS) {
            self.note_attempt(peer, registry, now, slot);
        } else if let Some(port) = self.ports.get_mut(token - TOKENS) {
            port.pending = true;
        }
    }

    /// Does what is due: accepts, dials, reads.
    pub(super) fn turn(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now) {
        let version = peer.config().version();
        if version != self.version {
            self.version = version;
            self.reopen_at = Some(now.monotonic);
            self.look_up_members(peer);
        }
        if self.reopen_at.is_some_and(|at| at <= now.monotonic) {
            self.reopen(peer, registry, now);
        }
        while let Some(answer) = self.resolver.hear() {
            self.resolved(peer, registry, now, answer);
        }
        self.accept(peer, registry, now);
        self.read(peer, registry, now);
        self.dial(peer, registry, now);
    }

    /// Listens where the configuration in force says that this server is met.
    fn reopen(&mut self, peer: &Peer<'_>, registry: &Registry, now: Now) {
        self.reopen_at = None;
        let (config, me) = (peer.config(), peer.options().server);
        let places = [Port::Election, Port::Quorum].into_iter().flat_map(|port| {
            config.addresses(me, port).map(move |(host, number)| (port, host, number))
        });
        let wanted = MemberPort::wanted(places, self.on_all);
        // A server that is no member any more stays where it is.
        if wanted.is_empty() {
            return;
        }
        let is = |port: &MemberPort, (which, address): &(Port, HostPort)| {
            port.port == *which && port.address.is_same(address)
        };
        let (kept, gone): (Vec<_>, Vec<_>) = core::mem::take(&mut self.ports)
            .into_iter()
            .partition(|port| wanted.iter().any(|wanted| is(port, wanted)));
        self.ports = kept;
        for mut port in gone {
            // It is closed in any case.
            let _ = registry.deregister(&mut port.socket);
            log::info!("{} is closed for the ensemble", port.address);
        }
        for (port, address) in wanted {
            if self.ports.iter().any(|have| is(have, &(port, address.clone()))) {
                continue;
            }
            match MemberPort::open(port, address.clone()) {
                Ok(open) => {
                    log::info!("{address} is open for the ensemble");
                    self.ports.push(open);
                }
                Err(error) => {
                    log::error!("cannot open {address} for the ensemble: {error}; trying again");
                    self.reopen_at = Some(now.monotonic.plus(REOPEN_MS));
                }
            }
        }
        for (at, port) in self.ports.iter_mut().enumerate() {
            let (token, interest) = (Token(TOKENS + at), Interest::READABLE);
            let watched = registry
                .reregister(&mut port.socket, token, interest)
                .or_else(|_| registry.register(&mut port.socket, token, interest));
            if let Err(error) = watched {
                log::error!("cannot watch {}: {error}", port.address);
            }
            port.pending = true;
        }
    }

    // Who may come.

    fn resolved(
        &mut self,
        peer: &mut Peer<'_>,
        registry: &Registry,
        now: Now,
        answer: Answer<Key>,
    ) {
        let Answer { key, addresses, error } = answer;
        match key {
            Key::Member(server) => {
                if let Some(error) = error {
                    self.complain(server, error);
                }
                self.know(peer, server, &addresses);
            }
            Key::Dial(link, serial) => {
                let Some(dialling) = self.dialling.get_mut(&link.number()) else { return };
                if dialling.serial != serial {
                    return;
                }
                let server = dialling.dial.server;
                dialling.error = error.unwrap_or_else(|| "its host has no address".to_owned());
                dialling.left = addresses.iter().copied().collect();
                self.know(peer, server, &addresses);
                self.try_next(peer, registry, now, link);
            }
        }
    }

    /// A member has these addresses. (None: the name server does not answer, and what was known
    /// before still holds.)
    fn know(&mut self, peer: &mut Peer<'_>, server: ServerId, addresses: &[SocketAddr]) {
        self.unknown.remove(&server);
        let found = sources(addresses);
        if !found.is_empty() && peer.resolved(server, &found).is_err() {
            log::warn!("server {} has more addresses than can be kept", server.0);
        }
    }

    fn refresh(&mut self, peer: &Peer<'_>, now: Now) {
        if now.monotonic.since(self.refreshed_at) >= REFRESH_MS {
            self.refreshed_at = now.monotonic;
            self.look_up_members(peer);
        }
    }

    fn look_up_members(&mut self, peer: &Peer<'_>) {
        let quorums = peer.quorums();
        for server in quorums.members() {
            let hosts = quorums.addresses(server, Port::Election);
            let hosts = hosts.map(|(host, port)| (host.to_owned(), port)).collect();
            self.resolver.ask(Key::Member(server), hosts);
        }
    }

    fn accept(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now) {
        if self.accept_at.is_some_and(|at| at > now.monotonic) {
            return;
        }
        self.accept_at = None;
        for at in 0..self.ports.len() {
            let port = self.ports[at].port;
            for _ in 0..ACCEPTS {
                if !self.ports[at].pending || !self.expects(peer, port) {
                    break;
                }
                match self.ports[at].socket.accept() {
                    Ok((socket, address)) => {
                        let ip = address.ip().to_canonical();
                        let address = SocketAddr::new(ip, address.port());
                        self.admit(peer, registry, now, port, socket, address);
                    }
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => self.ports[at].pending = false,
                        io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::Interrupted => {}
                        _ => {
                            log::warn!("cannot accept connections of members: {error}");
                            let pause = listener::PAUSE.as_millis();
                            let pause = u64::try_from(pause).unwrap_or(u64::MAX);
                            self.accept_at = Some(now.monotonic.plus(pause));
                            return;
                        }
                    },
                }
            }
        }
    }

    fn admit(
        &mut self,
        peer: &mut Peer<'_>,
        registry: &Registry,
        now: Now,
        port: Port,
        socket: TcpStream,
        address: SocketAddr,
    ) {
        if !peer.is_from_member(address.ip()) {
            self.strangers += 1;
            let quiet = |at: Instant| now.monotonic.since(at) < LOG_PAUSE_MS;
            if !self.strangers_at.is_some_and(quiet) {
                self.strangers_at = Some(now.monotonic);
                log::warn!(
                    "{address} was closed: no member of the ensemble has that address ({} \
                     connections so far)",
                    self.strangers
                );
            }
            // A member may have moved.
            self.refresh(peer, now);
            return;
        }
        // Where nobody is expected, or too many are there, the socket is closed.
        if let Ok(link) = peer.accept(now, port, address.ip()) {
            self.add(peer, registry, now, port, link, Stream::new(socket, address), true);
        }
    }

    /// The link has a socket now.
    #[allow(clippy::too_many_arguments, reason = "what a link is made of")]
    fn add(
        &mut self,
        peer: &mut Peer<'_>,
        registry: &Registry,
        now: Now,
        port: Port,
        link: MemberLink,
        mut stream: Stream,
        fresh: bool,
    ) -> bool {
        let number = link.number();
        let mut tuned = stream.socket.set_nodelay(true);
        if self.keep_alive && port == Port::Election {
            tuned = tuned.and_then(|()| SockRef::from(&stream.socket).set_keepalive(true));
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(number + LINKS);
        let watched = tuned.and_then(|()| match fresh {
            true => registry.register(&mut stream.socket, token, interest),
            false => registry.reregister(&mut stream.socket, token, interest),
        });
        if let Err(error) = watched {
            // It was reset already.
            log::info!("{} was closed: {error}", stream.address);
            peer.member_closed(now, link);
            return false;
        }
        if self.sockets.len() <= number {
            self.sockets.resize_with(number + 1, || None);
        }
        self.sockets[number] = Some(Socket { stream, link });
        true
    }

    // Whom to call.

    fn dial(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now) {
        let late = |d: &&Dialling| d.deadline <= now.monotonic;
        let late: Vec<MemberLink> =
            self.dialling.values().filter(late).map(|d| d.dial.link).collect();
        for link in late {
            if let Some(dialling) = self.dialling.get_mut(&link.number()) {
                dialling.error = "it did not answer in time".to_owned();
            }
            self.give_up(peer, now, link);
        }
        let due =
            |d: &&Dialling| !d.left.is_empty() && d.next_at.is_some_and(|at| at <= now.monotonic);
        let due: Vec<MemberLink> =
            self.dialling.values().filter(due).map(|d| d.dial.link).collect();
        for link in due {
            self.try_next(peer, registry, now, link);
        }
        while let Some(dial) = peer.poll_dial(now) {
            let hosts = peer.quorums().addresses(dial.server, dial.port);
            let hosts = hosts.map(|(host, port)| (host.to_owned(), port)).collect();
            self.serial += 1;
            let dialling = Dialling {
                dial,
                serial: self.serial,
                deadline: now.monotonic.plus(self.cnx_timeout_ms),
                left: VecDeque::new(),
                next_at: None,
                attempts: Vec::new(),
                error: String::new(),
            };
            self.dialling.insert(dial.link.number(), dialling);
            self.resolver.ask(Key::Dial(dial.link, self.serial), hosts);
        }
    }

    /// Tries the next address of a member.
    fn try_next(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now, link: MemberLink) {
        let Some(dialling) = self.dialling.get_mut(&link.number()) else { return };
        while let Some(address) = dialling.left.pop_front() {
            let slot = self.attempts.iter().position(Option::is_none);
            let slot = slot.unwrap_or(self.attempts.len());
            let begun = TcpStream::connect(address).and_then(|mut socket| {
                registry.register(&mut socket, Token(ATTEMPTS + slot), Interest::WRITABLE)?;
                Ok(socket)
            });
            match begun {
                Ok(socket) => {
                    let attempt = Some(Attempt { link, socket, address });
                    match self.attempts.get_mut(slot) {
                        Some(place) => *place = attempt,
                        None => self.attempts.push(attempt),
                    }
                    dialling.attempts.push(slot);
                    dialling.next_at = Some(now.monotonic.plus(STAGGER_MS));
                    return;
                }
                Err(error) => dialling.error = format!("{address}: {error}"),
            }
        }
        if dialling.attempts.is_empty() {
            self.give_up(peer, now, link);
        }
    }

    /// Something happened to a connection that was not there yet.
    fn note_attempt(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now, slot: usize) {
        let Some(Some(attempt)) = self.attempts.get(slot) else { return };
        let (link, address) = (attempt.link, attempt.address);
        let failed = match attempt.socket.take_error() {
            Ok(Some(error)) | Err(error) => Some(error),
            Ok(None) => match attempt.socket.peer_addr() {
                Ok(_) => None,
                // Not yet.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Err(error) => Some(error),
            },
        };
        let attempt = self.attempts[slot].take();
        let Some(dialling) = self.dialling.get_mut(&link.number()) else { return };
        dialling.attempts.retain(|&other| other != slot);
        if let Some(error) = failed {
            dialling.error = format!("{address}: {error}");
            // What is left is tried at once.
            self.try_next(peer, registry, now, link);
            return;
        }
        let Some(Dialling { dial, attempts, .. }) = self.dialling.remove(&link.number()) else {
            return;
        };
        for other in attempts {
            self.attempts[other] = None;
        }
        if self.unreachable.remove(&dial.server).is_some() {
            log::info!("server {} can be reached again", dial.server.0);
        }
        let Some(Attempt { socket, .. }) = attempt else { return };
        // The core may want it no more, and then names it to be closed.
        peer.connected(link);
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.add(peer, registry, now, dial.port, link, Stream::new(socket, address), false);
    }

    /// A member cannot be reached now.
    fn give_up(&mut self, peer: &mut Peer<'_>, now: Now, link: MemberLink) {
        let Some(Dialling { dial, attempts, error, .. }) = self.dialling.remove(&link.number())
        else {
            return;
        };
        for slot in attempts {
            self.attempts[slot] = None;
        }
        self.complain(dial.server, error);
        peer.connect_failed(now, link);
    }

    /// Says why a member cannot be reached, once for each reason.
    fn complain(&mut self, server: ServerId, error: String) {
        let said = self.unreachable.entry(server).or_default();
        if *said != error {
            log::info!("cannot reach server {}: {error}", server.0);
            *said = error;
        }
    }

    // Bytes.

    /// Reads each link that has something, once.
    fn read(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now) {
        for _ in 0..self.queue.len() {
            let Some(number) = self.queue.pop_front() else { return };
            let Some(Some(Socket { stream, link })) = self.sockets.get_mut(number) else {
                continue;
            };
            stream.queued = false;
            if !stream.readable || stream.blocked {
                continue;
            }
            match stream.read(&mut self.buffer) {
                ReadOutcome::Nothing => continue,
                ReadOutcome::Closed => {
                    self.close(peer, registry, now, number);
                    continue;
                }
                ReadOutcome::Bytes(len) => {
                    let bytes = &self.buffer[..len];
                    if stream.rest.is_empty() {
                        let received = peer.hear(now, *link, bytes);
                        stream.keep(&bytes[received.consumed..], received.need);
                        stream.blocked = received.need == 0;
                    } else {
                        stream.rest.extend_from_slice(bytes);
                        if stream.rest.len() >= stream.need {
                            show(peer, now, *link, stream);
                        }
                    }
                }
            }
            if stream.wants_read() {
                self.queue.push_back(number);
            }
        }
    }

    /// Writes what the core has for its members, and closes what it wants closed. Answers whether
    /// there was anything.
    pub(super) fn write(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now) -> bool {
        let mut any = false;
        for _ in 0..WRITES {
            let Some(link) = peer.poll_member(now) else { break };
            any = true;
            self.serve(peer, registry, now, link);
        }
        any
    }

    fn serve(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now, link: MemberLink) {
        let number = link.number();
        let Some(Some(Socket { stream, .. })) = self.sockets.get_mut(number) else {
            // It is still dialled, and wanted no more.
            if peer.member_is_closing(link) {
                if let Some(dialling) = self.dialling.remove(&number) {
                    for slot in dialling.attempts {
                        self.attempts[slot] = None;
                    }
                }
                peer.member_closed(now, link);
            }
            return;
        };
        if core::mem::take(&mut stream.blocked) {
            show(peer, now, link, stream);
            if stream.wants_read() {
                self.queue.push_back(number);
            }
        }
        self.flush(peer, registry, now, number);
    }

    /// Writes what there is to a link, and closes it if that was its end.
    fn flush(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now, number: usize) {
        let Some(Some(Socket { stream, link })) = self.sockets.get_mut(number) else { return };
        // An envelope and what is in it are two pieces.
        for _ in 0..2 {
            let output = peer.member_output(*link);
            if output.is_empty() {
                break;
            }
            if !stream.writable {
                return;
            }
            let Ok(written) = stream.write(output) else {
                self.close(peer, registry, now, number);
                return;
            };
            peer.member_sent(now, *link, written);
        }
        if peer.member_is_closing(*link) && peer.member_output(*link).is_empty() {
            self.close(peer, registry, now, number);
        }
    }

    fn close(&mut self, peer: &mut Peer<'_>, registry: &Registry, now: Now, number: usize) {
        let Some(mut socket) = self.sockets.get_mut(number).and_then(Option::take) else { return };
        if let Err(error) = registry.deregister(&mut socket.stream.socket) {
            log::warn!("cannot forget the socket of {}: {error}", socket.stream.address);
        }
        // It may be gone already.
        let _ = socket.stream.socket.shutdown(Shutdown::Both);
        self.closed.push(number);
        peer.member_closed(now, socket.link);
    }

    /// The numbers of links that were closed since the last call.
    pub(super) fn take_closed(&mut self) -> Vec<usize> {
        core::mem::take(&mut self.closed)
    }

    /// Gives idle memory back.
    pub(super) fn trim(&mut self) {
        for socket in self.sockets.iter_mut().flatten() {
            socket.stream.trim();
        }
    }
}

/// Shows the core what it did not take before.
fn show(peer: &mut Peer<'_>, now: Now, link: MemberLink, stream: &mut Stream) {
    let received = peer.hear(now, link, &stream.rest);
    stream.rest.drain(..received.consumed);
    stream.need = received.need;
    stream.blocked = received.need == 0;
}

/// From where somebody connects whose host has these addresses. Whoever is on this machine comes
/// from its loopback address, whichever of them its name has.
fn sources(addresses: &[SocketAddr]) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let own = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let ips = addresses.iter().map(|address| address.ip().to_canonical());
    for ip in ips.clone().chain(own.into_iter().filter(|_| ips.clone().any(|ip| ip.is_loopback())))
    {
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_on_this_machine_comes_from_it() {
        let from = |texts: &[&str]| {
            let addresses: Vec<SocketAddr> = texts.iter().map(|t| t.parse().unwrap()).collect();
            let found = sources(&addresses);
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(from(&["10.0.0.1:1", "10.0.0.1:2", "[::ffff:10.0.0.2]:1"]), "10.0.0.1 10.0.0.2");
        assert_eq!(from(&["127.0.1.1:1"]), "127.0.0.1 127.0.1.1 ::1");
        assert_eq!(from(&["[::1]:1"]), "127.0.0.1 ::1");
        assert_eq!(from(&[]), "");
    }
}
