//! The connections of members.

use core::net::{IpAddr, Ipv4Addr};

use zk_core::id::ServerId;
use zk_core::peer::{Dial, MemberLink};
use zk_core::quorum::{Port, Quorums};
use zk_core::say;
use zk_core::time::Now;

use super::{CONNECT_MS, Disk, Door, HELLO_MS, LINKS, Next, Node, Role, Shown, literal};
use crate::net::phy::Device;
use crate::net::{Pool, State};

/// Addresses of one member that are used.
const ADDRESSES: usize = 4;

impl<D: Device, S: Disk> Node<'_, D, S> {
    /// Tells the peer where its members come from, when a configuration is new. Names cannot be
    /// looked up here: a member whose host is no IPv4 address can neither come nor be met.
    #[inline(never)] // its frame is not needed below what the peer does
    pub(super) fn note_addresses(&mut self) {
        let quorums = self.peer.quorums();
        let pending = quorums.pending().map(zk_core::quorum::Config::version);
        let versions = Some((quorums.committed.version(), pending));
        if self.known == versions {
            return;
        }
        self.known = versions;
        let me = self.peer.options().server;
        for nth in 0.. {
            let server = self.peer.quorums().members().nth(nth);
            let Some(server) = server else { return };
            let mut found = heapless::Vec::<IpAddr, ADDRESSES>::new();
            for port in [Port::Election, Port::Quorum] {
                for (host, _) in self.peer.quorums().addresses(server, port) {
                    if let Some(address) = literal(host).map(IpAddr::from)
                        && !found.contains(&address)
                    {
                        // The others are not used.
                        let _ = found.push(address);
                    }
                }
            }
            if server != me {
                // A member whose address has no room can be dialled, and comes in vain.
                let _ = self.peer.resolved(server, &found);
            }
        }
    }

    /// Whether who has connected is at an address of a member.
    pub(super) fn comes_from_member(&self, at: usize) -> bool {
        self.net.remote(at).is_some_and(|from| self.peer.is_from_member(from.into()))
    }

    /// Calls whom the peer wants to be called.
    #[inline(never)] // as above
    pub(super) fn dial(&mut self, now: Now) -> bool {
        let mut any = false;
        for _ in 0..LINKS {
            let Some(Dial { link, server, port }) = self.peer.poll_dial(now) else { break };
            any = true;
            let turn = self.dials;
            self.dials = turn.wrapping_add(1);
            let address = address(self.peer.quorums(), server, port, turn);
            let at = self.caller(server, port, now);
            say!(debug, "calls server {}, from socket {}", server.0, at.unwrap_or(usize::MAX));
            match (address, at) {
                (Some((address, number)), Some(at)) if self.net.connect(at, address, number) => {
                    self.set(at, Role::Dialling(link, now.monotonic.plus(CONNECT_MS)));
                }
                _ => self.peer.connect_failed(now, link),
            }
        }
        any
    }

    /// The socket to call a member from, even if somebody could come on it: another one listens then. Who will
    /// be called back leaves room for that.
    fn caller(&mut self, server: ServerId, port: Port, now: Now) -> Option<usize> {
        let kept = port == Port::Quorum || self.peer.options().server > server;
        let fits = |node: &Self, at| node.has_room(at) == kept;
        let door = Door::Member(port);
        if let Some(at) = self.vacant(door, |node, at| fits(node, at)) {
            return Some(at);
        }
        let other = self.vacant(door, |_, _| true);
        let listens = self
            .pool(door)
            .find(|&at| fits(self, at) && matches!(self.role(at), Role::Listening(..)));
        match (listens, other) {
            (Some(at), Some(_)) => {
                self.reset(at, now);
                Some(at)
            }
            // Without room for packets it would have to be called again.
            _ => other.filter(|_| !kept),
        }
    }

    /// Whether a socket has as much room as any of its port.
    pub(super) fn has_room(&self, at: usize) -> bool {
        let pool = self.net.pool(Pool::Election);
        !pool.contains(&at)
            || self.net.receive_capacity(at) == self.net.receive_capacity(pool.start)
    }

    /// Whether a member's packets have no room on a socket, and another one is there for them.
    pub(super) fn is_cramped(&self, at: usize, link: MemberLink) -> bool {
        !self.has_room(at)
            && self.peer.member_server(link).is_some()
            && !self.peer.member_is_closing(link)
            && self.net.pool(Pool::Election).any(|at| {
                let unused = matches!(self.role(at), Role::Free | Role::Listening(..));
                unused && self.has_room(at)
            })
    }

    pub(super) fn read_member(&mut self, at: usize, now: Now) -> bool {
        let Role::Member { link, until, came, .. } = self.role(at) else { return false };
        let Shown { any, next } = self.show(at, |peer, bytes| peer.hear(now, link, bytes));
        match next {
            Next::Blocked => self.set(at, Role::Member { link, until, came, blocked: true }),
            Next::TooLong => {
                say!(warn, "a member's packet is longer than there is room for: socket {}", at);
                self.peer.member_closed(now, link);
                self.reset(at, now);
            }
            // Nothing more will come.
            Next::More if self.net.state(at) == State::Ended => {
                self.peer.member_closed(now, link);
                self.reset(at, now);
            }
            Next::More => {}
        }
        any
    }

    /// Writes what the peer has for its members, and closes what it wants closed. Answers whether
    /// there was anything.
    #[inline(never)] // its frame is not needed below what a peer does
    pub(super) fn write_members(&mut self, now: Now) -> bool {
        let mut any = false;
        for _ in 0..LINKS {
            let Some(named) = self.peer.poll_member(now) else { break };
            let mut socket = false;
            for place in self.places.iter_mut() {
                match &mut place.0 {
                    Role::Member { link, blocked, .. } if *link == named => {
                        socket = true;
                        any |= core::mem::replace(blocked, false);
                    }
                    Role::Dialling(link, _) if *link == named => socket = true,
                    _ => {}
                }
            }
            if !socket && self.peer.member_is_closing(named) {
                // It waited to be called again, and is wanted no more: nobody else speaks for it.
                self.peer.member_closed(now, named);
                any = true;
            }
        }
        for at in self.net.pool(Pool::Election).start..self.net.len() {
            any |= self.write_member(at, now);
        }
        any
    }

    fn write_member(&mut self, at: usize, now: Now) -> bool {
        let (link, until, came, blocked) = match self.role(at) {
            Role::Member { link, until, came, blocked } => (link, until, came, blocked),
            // It is wanted no more.
            Role::Dialling(link, _) if self.peer.member_is_closing(link) => {
                self.peer.member_closed(now, link);
                self.reset(at, now);
                return true;
            }
            _ => return false,
        };
        let mut sent = 0;
        // An envelope and what is in it are two pieces.
        for _ in 0..2 {
            let piece = self.net.send(at, self.peer.member_output(link));
            if piece == 0 {
                break;
            }
            self.peer.member_sent(now, link, piece);
            sent += piece;
        }
        if !self.peer.member_is_closing(link) {
            return sent > 0;
        }
        if !self.peer.member_output(link).is_empty() {
            let close = now.monotonic.plus(HELLO_MS);
            let until = Some(until.map_or(close, |until| until.min(close)));
            self.set(at, Role::Member { link, until, came, blocked });
            return sent > 0;
        }
        self.peer.member_closed(now, link);
        if came {
            // It was rejected.
            self.reset(at, now);
        } else {
            // It may have to be asked to call back: that must still arrive.
            self.finish(at, now, HELLO_MS);
        }
        true
    }
}

/// Where to meet a member: its addresses take turns.
fn address(
    quorums: &Quorums<'_>,
    server: ServerId,
    port: Port,
    turn: usize,
) -> Option<(Ipv4Addr, u16)> {
    let literals =
        || quorums.addresses(server, port).filter_map(|(host, port)| Some((literal(host)?, port)));
    let count = literals().count();
    literals().nth(turn.checked_rem(count)?)
}
