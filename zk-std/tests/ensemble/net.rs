//! The network between members: connections that delay, cut and break.

use std::collections::VecDeque;

use zk_core::peer::MemberLink;
use zk_core::quorum::Port;

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    /// Index of the node.
    pub node: usize,
    /// Its link, as long as it has one.
    pub link: Option<MemberLink>,
    /// Incarnation of the node when the end was made.
    pub life: u32,
    /// Bytes on their way here: when they arrive, and what they are.
    pub coming: VecDeque<(u64, Vec<u8>)>,
    /// Bytes that have arrived and were not taken.
    pub arrived: Vec<u8>,
    /// Nothing is taken before the peer says so.
    pub blocked: bool,
    /// Bytes that must be shown next time.
    pub need: usize,
    /// The other side has closed, or the network has; heard of at that moment.
    pub broken_at: Option<u64>,
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
pub struct Connection {
    /// Who has dialled, and who was dialled.
    pub ends: [End; 2],
    pub port: Port,
    /// When the dialled side hears of it; `None` once it has.
    pub arrives_at: Option<u64>,
}

impl Connection {
    pub fn new(from: (usize, MemberLink, u32), to: usize, port: Port, arrives_at: u64) -> Self {
        Self {
            ends: [End::new(from.0, Some(from.1), from.2), End::new(to, None, 0)],
            port,
            arrives_at: Some(arrives_at),
        }
    }

    pub fn is_over(&self) -> bool {
        self.arrives_at.is_none() && self.ends.iter().all(|end| end.link.is_none())
    }
}
