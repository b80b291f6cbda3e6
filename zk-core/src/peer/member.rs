//! Links to other members: who is dialled, who is let in, what is heard and said on them.
//!
//! Two ports, as Apache has them: on the election port servers tell each other whom they vote for,
//! on the quorum port learners meet their leader. A link is a number in one small table; the shell
//! moves its bytes as it moves those of clients. Answers to `QuorumCnxManager` and the sockets of
//! `Learner` and `Leader`.

mod channel;
mod links;

use core::net::IpAddr;

use super::ensemble::Ensemble;
use super::serve::Received;
use super::{Dialect, Peer, State};
use crate::election::{Caller, Greeting, accepted, opened};
use crate::id::ServerId;
use crate::memory::{Full, Pipe};
use crate::quorum::{Port, put_host_and_port};
use crate::time::Now;
use crate::trace::warning;
use crate::wire::compact::OFFER;
use crate::wire::election::{self as wire, Hello, Notification, ServerState};
use crate::wire::frame;
use crate::wire::quorum::{self, First};
use crate::zab::Violation;
use links::Link;
pub(super) use links::Members;
pub use links::{Address, Dial, MemberConnection, MemberLink};

/// Milliseconds between two attempts to reach a member.
const RETRY: u64 = 100;

/// The same, if there is nothing to say to it.
const RETRY_IDLE: u64 = 1000;

/// Milliseconds in which a member that will call has to do so, before it is asked to. It waits for [`RETRY`] itself.
const CALLS: u64 = 3 * RETRY;

/// Milliseconds in which somebody who comes to the election port must say who it is.
const HELLO: u64 = 5000;

/// Links from one address whose other side has not said who it is. More are refused.
const STRANGERS: usize = 16;

impl Peer<'_> {
    fn member_output_limit(&self, port: Port) -> usize {
        match port {
            Port::Election => wire::FRAME_MAX + frame::LEN,
            Port::Quorum => self.options.max_txn.saturating_add(self.options.max_batch),
        }
    }

    /// A member's host has these addresses: from nowhere else can anybody speak for it. Until this is
    /// said of a member, it can only be dialled.
    ///
    /// # Errors
    /// [`Full`]: there is no room for all of them.
    pub fn resolved(&mut self, server: ServerId, addresses: &[IpAddr]) -> Result<(), Full> {
        let members = &mut self.ensemble.members;
        let mut len = 0;
        for at in 0..members.addresses_len {
            if members.addresses[at].0.is_some_and(|(known, _)| known != server) {
                members.addresses[len] = members.addresses[at];
                len += 1;
            }
        }
        members.addresses_len = len;
        for address in addresses {
            if !members.addresses.reach(len + 1) {
                return Err(Full);
            }
            members.addresses[len] = Address(Some((server, *address)));
            len += 1;
            members.addresses_len = len;
        }
        Ok(())
    }

    /// Whether a member comes from that address, as far as it was [resolved](Self::resolved). A shell
    /// closes the connections of all others at once.
    pub fn is_from_member(&self, from: IpAddr) -> bool {
        let Ensemble { members, quorums, .. } = &self.ensemble;
        members.sources().any(|(server, known)| known == from && quorums.knows(server))
    }

    /// Somebody to connect to.
    pub fn poll_dial(&mut self, now: Now) -> Option<Dial> {
        let dial = self.next_dial(now)?;
        if dial.port == Port::Quorum && self.open_channel(now, dial.link, dial.server) {
            return self.next_dial(now);
        }
        Some(dial)
    }

    #[inline(never)] // once for both its callers
    fn next_dial(&mut self, now: Now) -> Option<Dial> {
        if !matches!(
            self.state,
            State::Looking | State::Leading | State::Following | State::Observing
        ) {
            return None;
        }
        let me = self.options.server;
        let learns = self.is_learner();
        // Learners come on these.
        let asks = self.options.dialect == Dialect::Asks;
        let election_limit = self.member_output_limit(Port::Election);
        let quorum_limit = self.member_output_limit(Port::Quorum);
        let Ensemble { members, election, quorums, uplink, .. } = &mut self.ensemble;
        // Those that could not be reached, when it is time again.
        for at in 0..members.used {
            let link = &mut members.links[at];
            let (Link::Waiting(until), Some(server)) = (link.state, link.server) else { continue };
            let wanted = match link.port {
                Port::Election => {
                    (link.called || asks || election.wants(server)) && quorums.knows(server)
                }
                Port::Quorum => learns && uplink.is_none() && members.leader == Some(server),
            };
            if !wanted {
                members.vacate(at);
            } else if until <= now.monotonic {
                link.state = Link::Dialling;
                return Some(Dial { link: MemberLink(at), server, port: link.port });
            }
        }
        if learns
            && uplink.is_none()
            && let Some(leader) = members.leader
            && members.leader_at.is_none_or(|at| at <= now.monotonic)
            && members.find(leader, Port::Quorum).is_none()
        {
            let port = Port::Quorum;
            let at = members.open(port, Some(leader), Link::Dialling, quorum_limit).ok()?;
            members.leader_at = None;
            return Some(Dial { link: MemberLink(at), server: leader, port });
        }
        let port = Port::Election;
        let server = quorums.members().find(|&server| {
            server != me
                && (asks || election.wants(server))
                && members.find(server, port).is_none()
                && !members.is_asking(server)
        })?;
        let at = members.open(port, Some(server), Link::Dialling, election_limit).ok()?;
        Some(Dial { link: MemberLink(at), server, port })
    }

    /// A connection that [`poll_dial`](Self::poll_dial) asked for is there.
    pub fn connected(&mut self, link: MemberLink) {
        let MemberLink(at) = link;
        let me = self.options.server;
        let learns = self.is_learner();
        let Ensemble { members, election, quorums, uplink, dirty, .. } = &mut self.ensemble;
        let wanted = members.leader;
        let Some(connection) = members.get_mut(at) else { return };
        let (Link::Dialling, Some(server)) = (connection.state, connection.server) else { return };
        *dirty = true;
        connection.ready = true;
        match connection.port {
            Port::Quorum => {
                if !learns || uplink.is_some() || wanted != Some(server) {
                    connection.state = Link::Closing;
                    return;
                }
                connection.state = Link::Open;
                self.uplink_open(at);
            }
            Port::Election => {
                connection.state = Link::Open;
                connection.untried = true;
                connection.called = false;
                let hello = quorums.addresses(me, Port::Election).next();
                let written = hello.is_some_and(|(host, port)| {
                    put_hello(me, host, port, &mut connection.output).is_some()
                });
                // Of two servers the higher opens the connection; the lower one asks to be called.
                if !written || opened(me, server) != Greeting::Keep {
                    connection.state = Link::Closing;
                    return;
                }
                election.link_up(server);
            }
        }
    }

    /// A connection that [`poll_dial`](Self::poll_dial) asked for cannot be made now.
    pub fn connect_failed(&mut self, now: Now, link: MemberLink) {
        let asks = self.options.dialect == Dialect::Asks;
        let Ensemble { members, election, quorums, .. } = &mut self.ensemble;
        let Some(connection) = members.get_mut(link.0) else { return };
        if connection.state != Link::Dialling {
            return;
        }
        connection.state = Link::Waiting(now.monotonic.plus(RETRY));
        if let (Port::Election, Some(server)) = (connection.port, connection.server) {
            if asks && !connection.called && !election.wants(server) {
                connection.state = Link::Waiting(now.monotonic.plus(RETRY_IDLE));
            }
            election.missed(now.monotonic, quorums, server);
            self.elect(now);
        }
    }

    /// Somebody has connected to one of the two ports.
    ///
    /// # Errors
    /// [`Full`]: close the socket. There are too many, or nobody is expected there.
    pub fn accept(&mut self, now: Now, port: Port, from: IpAddr) -> Result<MemberLink, Full> {
        self.admit(now, port, Some(from))
    }

    /// Somebody has come, on a channel if not from an address.
    fn admit(&mut self, now: Now, port: Port, from: Option<IpAddr>) -> Result<MemberLink, Full> {
        let most = self.member_output_limit(port);
        let leads = self.state == State::Leading;
        if !leads && port == Port::Quorum
            || matches!(self.state, State::Recovering | State::Stopped(_) | State::Standalone)
        {
            return Err(Full);
        }
        let Ensemble { members, leader, .. } = &mut self.ensemble;
        let strangers = members
            .links
            .iter()
            .take(members.used)
            .filter(|link| {
                let unknown = matches!(link.state, Link::Stranger(_))
                    || link.state == Link::Open && link.server.is_none();
                // One host keeps no other out.
                unknown && link.from == from
            })
            .count();
        if from.is_some() && strangers >= STRANGERS {
            return Err(Full);
        }
        let state = match port {
            Port::Election => Link::Stranger(now.monotonic.plus(HELLO)),
            Port::Quorum => Link::Open,
        };
        let at = members.open(port, None, state, most)?;
        members.links[at].from = from;
        if port == Port::Quorum && !leader.join(at, now.monotonic) {
            members.vacate(at);
            return Err(Full);
        }
        Ok(MemberLink(at))
    }

    /// Takes what a member has sent: `bytes` is contiguous, and starts where the last call stopped.
    pub fn hear(&mut self, now: Now, link: MemberLink, bytes: &[u8]) -> Received {
        let MemberLink(at) = link;
        let mut rest = bytes;
        loop {
            let done = |rest: &[u8], need| Received { consumed: bytes.len() - rest.len(), need };
            let members = &self.ensemble.members;
            let Some(connection) = members.get(at) else { return done(&[], 1) };
            if connection.state == Link::Closing {
                return done(&[], 1);
            }
            let (mut hears, mut part) = (at, rest);
            let coming = connection.channel.coming;
            if coming > 0 {
                part = rest.get(..coming).unwrap_or(rest);
                hears = members.hears(at).unwrap_or(usize::MAX);
            }
            let heard = match members.get(hears).map(|link| link.port) {
                Some(Port::Election) => self.hear_election(now, at, part),
                Some(Port::Quorum) => self.hear_quorum(now, hears, part),
                // Its channel is no more.
                None if part.is_empty() => Ok(Taken::Need(1)),
                None => Ok(Taken::Bytes(part.len())),
            };
            match heard {
                Ok(Taken::Bytes(n)) => {
                    rest = rest.get(n..).unwrap_or_default();
                    // (What an envelope announces is noted where that is heard. This form takes least.)
                    if let Some(left) = coming.checked_sub(n).filter(|_| coming > 0) {
                        self.ensemble.members.links[at].channel.coming = left;
                    }
                }
                Ok(Taken::Need(need)) if coming > 0 && need > coming => {
                    self.violated(hears, Violation("a packet that is longer than its envelope"));
                }
                Ok(Taken::Need(need)) => return done(rest, need),
                Ok(Taken::Later) => {
                    if let Some(connection) = self.ensemble.members.get_mut(at) {
                        connection.blocked = true;
                    }
                    return done(rest, 0);
                }
                Err(violation) => self.violated(hears, violation),
            }
        }
    }

    fn hear_quorum(&mut self, now: Now, at: usize, bytes: &[u8]) -> Result<Taken, Violation> {
        if !self.hears_snapshot(at) {
            return self.hear_packet(now, at, bytes);
        }
        if bytes.is_empty() {
            return Ok(Taken::Need(1));
        }
        self.ensemble.learner.touch(now.monotonic);
        let taken = self.hear_snapshot(now, bytes)?;
        Ok(if taken == 0 { Taken::Later } else { Taken::Bytes(taken) })
    }

    fn hear_packet(&mut self, now: Now, at: usize, bytes: &[u8]) -> Result<Taken, Violation> {
        let (packet, len) = match quorum::first(bytes, self.options.max_txn) {
            Ok(First::Whole(packet, len)) => (packet, len),
            Ok(First::Need(need)) => return Ok(Taken::Need(need)),
            Err(_) => {
                if self.ensemble.uplink == Some(at) {
                    // Perhaps more than this server can hold: the data's length is in the head.
                    let len = bytes.get(12..16).and_then(<[u8]>::first_chunk);
                    warning!(
                        "a packet of the leader has {} bytes; this server takes {} at most",
                        len.map_or(0, |len| i32::from_be_bytes(*len)),
                        self.options.max_txn
                    );
                    self.retreat(now);
                }
                return Err(Violation("a packet that is malformed or too long"));
            }
        };
        let taken = if self.ensemble.uplink == Some(at) {
            self.ensemble.learner.is_listening() && self.hear_leader(now, &packet)?
        } else if self.state == State::Leading {
            self.hear_learner(now, at, &packet)?
        } else {
            return Err(Violation("a packet that nobody expects"));
        };
        Ok(if taken { Taken::Bytes(len) } else { Taken::Later })
    }

    fn hear_election(&mut self, now: Now, at: usize, bytes: &[u8]) -> Result<Taken, Violation> {
        // The configuration behind the vote is for whoever looks for a leader, and read by nobody else.
        let adopts = self.state == State::Looking && self.options.reconfigures();
        let config_room = if adopts { self.config().text_room() } else { 0 };
        let room = Notification::HEAD.saturating_add(config_room);
        let Some(link) = self.ensemble.members.get_mut(at) else { return Ok(Taken::Need(1)) };
        if matches!(link.state, Link::Stranger(_)) {
            return self.hear_hello(now, at, bytes);
        }
        if link.skip > 0 && !bytes.is_empty() {
            let n = link.skip.min(bytes.len());
            link.skip -= n;
            return Ok(Taken::Bytes(n));
        }
        // The length of a frame begins with 0.
        if link.channel.spoken && bytes.first().is_some_and(|&first| first != 0) {
            return self.hear_envelope(now, at, bytes);
        }
        let (start, len, taken) = match wire::first(bytes, room) {
            Ok(wire::Received::Need(need)) => return Ok(Taken::Need(need)),
            Ok(wire::Received::Frame { start, len, taken, skip }) => {
                link.skip = skip;
                (start, len, Taken::Bytes(taken))
            }
            Err(_) => return Err(Violation("a notification of unreasonable length")),
        };
        link.untried = false;
        if OFFER.get(frame::LEN..) == Some(start) {
            link.channel.spoken = self.options.dialect != Dialect::Never;
            self.ensemble.dirty = true;
            return Ok(taken);
        }
        let Some(from) = link.server else { return Ok(taken) };
        // A message that is no notification is passed over.
        if let Ok(notification) = Notification::decode(start, len) {
            self.adopt_config(now, from, notification.config);
            let Ensemble { election, quorums, learner, .. } = &mut self.ensemble;
            if notification.state == ServerState::Looking && notification.leader != from {
                learner.doubt(from);
            }
            election.receive(now.monotonic, quorums, from, &notification);
            self.elect(now);
        }
        Ok(taken)
    }

    fn hear_hello(&mut self, now: Now, at: usize, bytes: &[u8]) -> Result<Taken, Violation> {
        let (server, len) = match Hello::first(bytes) {
            Ok(wire::First::Hello(hello, len)) => (hello.sid, len),
            Ok(wire::First::Need(need)) => return Ok(Taken::Need(need)),
            Err(_) => return Err(Violation("a greeting that is malformed")),
        };
        let me = self.options.server;
        let Ensemble { members, quorums, .. } = &mut self.ensemble;
        let caller = if !quorums.knows(server) {
            Caller::Stranger
        } else if members.comes_from(at, server) {
            Caller::Member
        } else {
            Caller::Elsewhere
        };
        let linked = members.find(server, Port::Election).is_some();
        match accepted(me, server, caller, linked) {
            Greeting::Keep => {
                // The other side's latest connection is the one that lives.
                if let Some(old) = members.find(server, Port::Election) {
                    if members.links[old].state == Link::Open {
                        self.drop_member(old);
                    } else {
                        members.links[old].state = Link::Closing;
                        members.links[old].ready = true;
                    }
                }
                let Ensemble { members, election, dirty, .. } = &mut self.ensemble;
                let link = &mut members.links[at];
                link.state = Link::Open;
                link.server = Some(server);
                election.link_up(server);
                *dirty = true;
                Ok(Taken::Bytes(len))
            }
            Greeting::CallBack => {
                // It would not have come if it still had a link; or it has come before it had this one, late.
                // Where a channel goes over that, this is found out when nothing is heard on it.
                let old = members.find(server, Port::Election);
                if old.is_some_and(|old| members.carried(old).is_some()) {
                    self.drop_member(at);
                    return Ok(Taken::Bytes(len));
                }
                if let Some(old) = old
                    && members.links[old].state == Link::Open
                {
                    self.drop_member(old);
                }
                self.drop_member(at);
                self.call_back(now, server);
                Ok(Taken::Bytes(len))
            }
            Greeting::Drop => Err(Violation("a server that must not call here")),
        }
    }

    /// Dials a server that must not keep the connection it has made.
    fn call_back(&mut self, now: Now, server: ServerId) {
        let most = self.member_output_limit(Port::Election);
        let members = &mut self.ensemble.members;
        let at = match members.find(server, Port::Election) {
            // It is being dialled.
            Some(at) if members.links[at].state == Link::Dialling => return,
            Some(at) => at,
            None => {
                let state = Link::Waiting(now.monotonic);
                let Ok(at) = members.open(Port::Election, Some(server), state, most) else {
                    return;
                };
                at
            }
        };
        members.links[at].state = Link::Waiting(now.monotonic);
        members.links[at].called = true;
    }

    /// A link that has output, or is to be closed, or can take input again.
    pub fn poll_member(&mut self, now: Now) -> Option<MemberLink> {
        // A channel that has ended gives its carrier something to say.
        for _ in 0..=self.ensemble.members.used {
            if core::mem::replace(&mut self.ensemble.dirty, false) {
                self.speak(now);
            }
            for _ in 0..self.ensemble.members.used {
                let members = &mut self.ensemble.members;
                let at = members.turn % members.used;
                members.turn = at + 1;
                let link = &mut members.links[at];
                if core::mem::replace(&mut link.ready, false) && link.state != Link::Vacant {
                    let Some(carrier) = link.channel.carrier else { return Some(MemberLink(at)) };
                    if link.state == Link::Closing {
                        self.close_channel(now, at, carrier);
                    }
                }
            }
            if !self.ensemble.dirty {
                break;
            }
        }
        None
    }

    fn speak(&mut self, now: Now) {
        let dialect = self.options.dialect;
        let Ensemble { members, election, quorums, .. } = &mut self.ensemble;
        for at in 0..members.used {
            let link = &members.links[at];
            let (Link::Open, Port::Election, Some(server)) = (link.state, link.port, link.server)
            else {
                continue;
            };
            // Only the latest vote matters: nothing is said before the last word has left.
            if !link.output.is_empty() || link.channel.sending > 0 || members.offer(at, dialect) {
                continue;
            }
            let link = &mut members.links[at];
            if let Some((state, vote)) = election.poll_vote(server) {
                let config = quorums.committed.text();
                let notification = Notification {
                    state,
                    leader: vote.leader,
                    zxid: vote.zxid,
                    round: vote.round,
                    peer_epoch: vote.peer_epoch,
                    version: Notification::VERSION,
                    config,
                };
                if notification.write(&mut link.output).is_err() {
                    link.output.clear();
                    warning!("a configuration of {} bytes fits no notification", config.len());
                }
            }
        }
        match self.state {
            State::Leading => self.speak_to_learners(now),
            State::Following | State::Observing => self.speak_to_leader(),
            _ => {}
        }
        self.ensemble.members.carry();
        for link in self.ensemble.members.links.iter_mut() {
            let speaks = !link.output.is_empty() || link.channel.sending > 0;
            link.ready |= link.state != Link::Vacant && speaks;
        }
    }

    /// What to write to the link's socket.
    pub fn member_output(&self, link: MemberLink) -> &[u8] {
        let members = &self.ensemble.members;
        let Some(connection) = members.get(link.0) else { return &[] };
        let sending = connection.channel.sending;
        if sending == 0 || !connection.output.is_empty() {
            return connection.output.bytes();
        }
        // The rest of an envelope.
        let carried = members.carried(link.0).and_then(|carried| members.get(carried));
        carried.and_then(|carried| carried.output.bytes().get(..sending)).unwrap_or_default()
    }

    /// So many bytes of it were written.
    pub fn member_sent(&mut self, now: Now, link: MemberLink, len: usize) {
        let MemberLink(mut at) = link;
        let members = &mut self.ensemble.members;
        let Some(connection) = members.get(at) else { return };
        let body = connection.channel.sending > 0 && connection.output.is_empty();
        if let Some(carried) = members.carried(at).filter(|_| body) {
            let connection = &mut members.links[at];
            connection.channel.sending = connection.channel.sending.saturating_sub(len);
            at = carried;
            members.links[at].ready = true;
        }
        members.links[at].output.take(len);
        self.ensemble.dirty = true;
        if self.state == State::Leading {
            self.ensemble.leader.sent(at, now.monotonic);
        }
        self.ensemble.members.unblock();
        if self.ensemble.uplink == Some(at) {
            self.retry_stalled(now);
        }
    }

    /// Whether the link is to be closed, once its output is written.
    pub fn member_is_closing(&self, link: MemberLink) -> bool {
        self.ensemble.members.get(link.0).is_none_or(|connection| connection.state == Link::Closing)
    }

    /// Who is at the other end of a link, once that is known.
    pub fn member_server(&self, link: MemberLink) -> Option<ServerId> {
        self.ensemble.members.server(link.0)
    }

    /// The socket of a link is closed. (Once for each link; its number is used again.)
    pub fn member_closed(&mut self, now: Now, link: MemberLink) {
        let MemberLink(at) = link;
        let carried = self.ensemble.members.carried(at);
        self.end_member(now, at, false);
        // Nobody speaks for it any more.
        if let Some(carried) = carried {
            self.end_member(now, carried, false);
        }
    }

    /// A link is over; `refused`: nobody was there.
    #[inline(never)] // once for all its callers
    fn end_member(&mut self, now: Now, at: usize, refused: bool) {
        let Ensemble { members, election, leader, learner, uplink, dirty, .. } = &mut self.ensemble;
        let Some(connection) = members.get(at) else { return };
        *dirty = true;
        let (port, state, server) = (connection.port, connection.state, connection.server);
        // Who will call has some time to do so before it is asked to.
        let asks = self.options.dialect == Dialect::Asks;
        let will_call = asks && server > Some(self.options.server);
        let waits = connection.untried || will_call;
        members.vacate(at);
        if port == Port::Election
            && waits
            && let Some(server) = server
            && members.find(server, port).is_none()
        {
            let link = &mut members.links[at];
            let pause = if will_call { CALLS } else { RETRY };
            link.state = Link::Waiting(now.monotonic.plus(pause));
            link.server = Some(server);
        }
        match port {
            Port::Election => {
                if let Some(server) = server
                    && state == Link::Open
                {
                    election.link_down(server);
                }
            }
            Port::Quorum if *uplink == Some(at) => {
                *uplink = None;
                if learner.disconnected(now.monotonic, refused) {
                    let link = &mut members.links[at];
                    link.state = Link::Waiting(now.monotonic.plus(RETRY));
                    link.server = server;
                    return;
                }
                warning!("the link to the leader is gone");
                self.look(now);
            }
            Port::Quorum => leader.leave(at),
        }
    }

    /// Closes a link without sending what waits.
    pub(super) fn drop_member(&mut self, at: usize) {
        let Ensemble { members, leader, election, uplink, .. } = &mut self.ensemble;
        let Some(link) = members.get(at) else { return };
        // The rest of an envelope is always said.
        let carrier = link.channel.carrier.and_then(|carrier| members.get(carrier));
        let rest = carrier.map_or(0, |carrier| carrier.channel.sending);
        let link = &mut members.links[at];
        if link.port == Port::Election {
            if link.state == Link::Open
                && let Some(server) = link.server
            {
                election.link_down(server);
            }
        } else if *uplink != Some(at) {
            leader.leave(at);
        }
        link.output.truncate(rest);
        link.channel.sending = 0;
        link.state = Link::Closing;
        link.ready = true;
    }

    /// Ends the links of the quorum port.
    pub(super) fn close_quorum_links(&mut self) {
        self.ensemble.members.leader = None;
        self.ensemble.members.leader_at = None;
        self.ensemble.uplink = None;
        for at in 0..self.ensemble.members.used {
            let link = &self.ensemble.members.links[at];
            match (link.port, link.state) {
                (Port::Election, _) | (_, Link::Vacant) => {}
                (Port::Quorum, Link::Waiting(_)) => self.ensemble.members.vacate(at),
                _ => self.drop_member(at),
            }
        }
    }

    /// Strangers that said nothing go.
    pub(super) fn tick_members(&mut self, now: Now) {
        for at in 0..self.ensemble.members.used {
            if let Link::Stranger(until) = self.ensemble.members.links[at].state
                && until <= now.monotonic
            {
                self.violated(at, Violation("it does not say who it is"));
            }
        }
    }
}

/// What became of bytes.
enum Taken {
    /// So many were taken.
    Bytes(usize),
    /// So many are needed in all.
    Need(usize),
    /// They cannot be taken now.
    Later,
}

/// Writes what a connection to the election port begins with.
fn put_hello(me: ServerId, host: &str, port: u16, out: &mut Pipe<'_>) -> Option<()> {
    // A host's name, colons and brackets, a port.
    let mut text = [0; 255 + 8];
    let addresses = put_host_and_port(host, port, &mut text)?;
    let mut room = [0; 20 + 255 + 8];
    let len = Hello { sid: me, addresses }.encode(&mut room).ok()?;
    crate::memory::Sink::put(out, room.get(..len)?).ok()
}
