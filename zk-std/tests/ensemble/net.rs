//! The network between members: connections that delay, cut and break.

use std::collections::VecDeque;

use zk_core::peer::MemberLink;
use zk_core::quorum::Port;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    /// Index of the node.
    pub(crate) node: usize,
    /// Its link, as long as it has one.
    pub(crate) link: Option<MemberLink>,
    /// Incarnation of the node when the end was made.
    pub(crate) life: u32,
    /// Bytes on their way here: when they arrive, and what they are.
    pub(crate) coming: VecDeque<(u64, Vec<u8>)>,
    /// Bytes that have arrived and were not taken.
    pub(crate) arrived: Vec<u8>,
    /// Nothing is taken before the peer says so.
    pub(crate) blocked: bool,
    /// Bytes that must be shown next time.
    pub(crate) need: usize,
    /// The other side has closed, or the network has; heard of at that moment.
    pub(crate) broken_at: Option<u64>,
}

impl End {
    fn new(node: usize, link: Option<MemberLink>, life: u32) -> Self {
        Self {
            node,
            link,
            life,
            coming: VecDeque::new(),
            arrived: vec![],
            blocked: false,
            need: 1,
            broken_at: None,
        }
    }
}

/// A connection between two members.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Who has dialled, and who was dialled.
    pub(crate) ends: [End; 2],
    pub(crate) port: Port,
    /// When the dialled side hears of it; `None` once it has.
    pub(crate) arrives_at: Option<u64>,
}

impl Connection {
    pub(crate) fn new(
        from: (usize, MemberLink, u32),
        to: usize,
        port: Port,
        arrives_at: u64,
    ) -> Self {
        Self {
            ends: [End::new(from.0, Some(from.1), from.2), End::new(to, None, 0)],
            port,
            arrives_at: Some(arrives_at),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.arrives_at.is_none() && self.ends.iter().all(|end| end.link.is_none())
    }
}
