//! The table of links to other members, and where members come from.

use core::net::IpAddr;

use crate::id::ServerId;
use crate::memory::{Full, Pipe, Table};
use crate::quorum::Port;
use crate::time::Instant;

use super::channel::Channel;

/// A link to another member. Numbers are small, and used again after
/// [`member_closed`](crate::peer::Peer::member_closed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberLink(pub(in crate::peer) usize);

impl MemberLink {
    /// The number, for an index of the shell's.
    pub const fn number(self) -> usize {
        self.0
    }
}

/// Somebody to connect to. Then say [`connected`](crate::peer::Peer::connected), or
/// [`connect_failed`](crate::peer::Peer::connect_failed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The link that it will be.
    pub link: MemberLink,
    /// Whom.
    pub server: ServerId,
    /// On which of its ports; [`addresses`](crate::quorum::Quorums::addresses) has the addresses.
    pub port: Port,
}

/// Where a member comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Address(pub(super) Option<(ServerId, IpAddr)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Not in use.
    Vacant,
    /// The shell is connecting.
    Dialling,
    /// It could not; not before that moment again.
    Waiting(Instant),
    /// Somebody has come, and must say who it is until then.
    Stranger(Instant),
    Open,
    /// What waits is still sent, then the socket is to be closed.
    Closing,
}

/// Storage of a link to another member.
#[derive(Debug)]
pub struct MemberConnection<'m> {
    pub(super) state: Link,
    pub(super) port: Port,
    pub(super) server: Option<ServerId>,
    /// Where it comes from, if it has come by itself.
    pub(super) from: Option<IpAddr>,
    pub(super) output: Pipe<'m>,
    /// The shell should look at it.
    pub(super) ready: bool,
    /// The shell was told to wait with what comes.
    pub(super) blocked: bool,
    /// It is dialled because the other side asked to be called back.
    pub(super) called: bool,
    /// This side has made the connection, and nothing has come on it: the other side may close it,
    /// and call back.
    pub(super) untried: bool,
    /// Bytes that are to come and that nobody wants.
    pub(super) skip: usize,
    /// What it carries for another link, or who carries it.
    pub(super) channel: Channel,
}

impl<'m> MemberConnection<'m> {
    /// Storage in the caller's slice: for what waits to be sent.
    pub fn lent(output: &'m mut [u8]) -> Self {
        Self::new(Table::lent(output))
    }

    fn new(output: Table<'m, u8>) -> Self {
        Self {
            state: Link::Vacant,
            port: Port::Election,
            server: None,
            from: None,
            output: Pipe::new(output),
            ready: false,
            blocked: false,
            called: false,
            untried: false,
            skip: 0,
            channel: Channel::default(),
        }
    }
}

impl Default for MemberConnection<'_> {
    #[cfg(feature = "alloc")]
    fn default() -> Self {
        // The limit is set when the link is opened.
        Self::new(Table::owned(u32::MAX as usize))
    }

    #[cfg(not(feature = "alloc"))]
    fn default() -> Self {
        Self::new(Table::default())
    }
}

/// All links to other members.
#[derive(Debug)]
pub(in crate::peer) struct Members<'m> {
    pub(super) links: Table<'m, MemberConnection<'m>>,
    pub(super) used: usize,
    /// Whom to meet on its quorum port.
    pub(super) leader: Option<ServerId>,
    /// When it may be called, as long as it was not.
    pub(super) leader_at: Option<Instant>,
    /// Where the shell's next look begins.
    pub(super) turn: usize,
    /// Where members come from.
    pub(super) addresses: Table<'m, Address>,
    pub(super) addresses_len: usize,
    /// Channels that were opened from here.
    pub(super) channels: u32,
}

impl<'m> Members<'m> {
    pub(in crate::peer) fn new(
        links: Table<'m, MemberConnection<'m>>,
        addresses: Table<'m, Address>,
    ) -> Self {
        // All of a lent table are there, and vacant.
        let used = links.len();
        Self {
            links,
            used,
            leader: None,
            leader_at: None,
            turn: 0,
            addresses,
            addresses_len: 0,
            channels: 0,
        }
    }

    /// Where members come from.
    pub(super) fn sources(&self) -> impl Iterator<Item = (ServerId, IpAddr)> + '_ {
        self.addresses.iter().take(self.addresses_len).filter_map(|address| address.0)
    }

    /// Whether a link that somebody else has made comes from where `server` does.
    pub(in crate::peer) fn comes_from(&self, at: usize, server: ServerId) -> bool {
        let Some(link) = self.get(at) else { return true };
        if let Some(carrier) = link.channel.carrier {
            return self.server(carrier) == Some(server);
        }
        let Some(from) = link.from else { return true };
        self.sources().any(|known| known == (server, from))
    }

    pub(in crate::peer) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn get(&self, at: usize) -> Option<&MemberConnection<'m>> {
        self.links.get(at).filter(|link| link.state != Link::Vacant)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut MemberConnection<'m>> {
        self.links.get_mut(at).filter(|link| link.state != Link::Vacant)
    }

    pub(in crate::peer) fn server(&self, at: usize) -> Option<ServerId> {
        self.get(at)?.server
    }

    pub(in crate::peer) fn name(&mut self, at: usize, server: ServerId) {
        if let Some(link) = self.get_mut(at) {
            link.server = Some(server);
        }
    }

    /// What waits on a link of the quorum port that can be talked on.
    pub(in crate::peer) fn quorum_output(&mut self, at: usize) -> Option<&mut Pipe<'m>> {
        let link = self.get_mut(at)?;
        (link.port == Port::Quorum && link.state == Link::Open).then_some(&mut link.output)
    }

    pub(super) fn open(
        &mut self,
        port: Port,
        server: Option<ServerId>,
        state: Link,
        most: usize,
    ) -> Result<usize, Full> {
        // Packets are long, and want a buffer like the first one; notifications want one like the last.
        // Neither takes the other's: who stays there would keep the other out for good.
        let like = match port {
            Port::Quorum => 0,
            Port::Election => self.links.len().wrapping_sub(1),
        };
        let wanted = self.links.get(like).map_or(0, |link| link.output.capacity());
        let fits = |link: &MemberConnection<'_>| {
            link.state == Link::Vacant && link.output.capacity() == wanted
        };
        let at = match self.links.iter().position(fits) {
            Some(at) => at,
            None if self.links.reach(self.used + 1) => {
                self.used += 1;
                self.used - 1
            }
            None => return Err(Full),
        };
        let link = &mut self.links[at];
        link.output.set_limit(most);
        link.state = state;
        link.port = port;
        link.server = server;
        link.from = None;
        link.ready = false;
        link.called = false;
        link.untried = false;
        link.channel = Channel::default();
        Ok(at)
    }

    #[inline(never)] // once for all its callers
    pub(super) fn vacate(&mut self, at: usize) {
        let link = &mut self.links[at];
        link.output.clear();
        link.output.shrink();
        link.state = Link::Vacant;
        link.server = None;
        // What was not taken of the old connection is not for the next one, which may be dialled here.
        link.blocked = false;
        link.skip = 0;
        link.channel = Channel::default();
    }

    /// A link to `server`, under way or there.
    pub(super) fn find(&self, server: ServerId, port: Port) -> Option<usize> {
        self.links.iter().take(self.used).position(|link| {
            link.server == Some(server)
                && link.port == port
                && !matches!(link.state, Link::Vacant | Link::Closing | Link::Stranger(_))
        })
    }

    /// Whether that server is still being asked to call back.
    pub(super) fn is_asking(&self, server: ServerId) -> bool {
        self.links
            .iter()
            .take(self.used)
            .any(|link| link.state == Link::Closing && link.untried && link.server == Some(server))
    }

    /// Meets that server on its quorum port.
    pub(in crate::peer) fn dial_leader(&mut self, leader: ServerId, now: Instant, at: Instant) {
        self.leader = Some(leader);
        self.leader_at = Some(at);
        // It may have been dialled in vain a moment ago, in another role.
        if let Some(at) = self.find(leader, Port::Quorum)
            && self.links[at].state == Link::Waiting(now)
        {
            self.vacate(at);
        }
    }

    /// When [`tick_members`](Peer::tick_members) or [`poll_dial`](Peer::poll_dial) has something to
    /// do.
    pub(in crate::peer) fn next_tick(&self) -> Option<Instant> {
        self.links
            .iter()
            .take(self.used)
            .filter_map(|link| match link.state {
                Link::Waiting(at) | Link::Stranger(at) => Some(at),
                _ => None,
            })
            .chain(self.leader_at)
            .min()
    }

    /// Whoever was told to wait may try again.
    pub(in crate::peer) fn unblock(&mut self) {
        for link in self.links.iter_mut().take(self.used) {
            link.ready |= core::mem::replace(&mut link.blocked, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long one and two short ones, as a board lends them.
    #[test]
    fn no_port_takes_the_links_of_the_other() {
        let (mut one, mut two, mut three) = ([0; 64], [0; 8], [0; 8]);
        let outputs = [&mut one[..], &mut two[..], &mut three[..]];
        let mut links = outputs.map(MemberConnection::lent);
        let mut members = Members::new(Table::lent(&mut links), Table::default());
        let mut open = |port| members.open(port, None, Link::Open, 64).ok();
        assert_eq!([Port::Election; 3].map(&mut open), [Some(1), Some(2), None]);
        assert_eq!([Port::Quorum; 2].map(open), [Some(0), None]);
    }
}
