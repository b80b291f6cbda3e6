//! The network between members: connections that delay, cut, break, and are left half open.

use std::collections::VecDeque;

use zk_core::peer::MemberLink;
use zk_core::quorum::Port;

use super::apache;
use super::tap::{Message, Tap};

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    /// Index of the node.
    pub(crate) node: usize,
    /// Its link, as long as it has one.
    pub(crate) link: Option<MemberLink>,
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
    /// The other side is gone, and nobody says so before something is sent there.
    pub(crate) half_open: bool,
    /// Listens to what is sent to this end.
    pub(crate) tap: Tap,
    /// What is on its way here, each with the offset at which it ends, and the channel that it is on.
    pub(crate) messages: VecDeque<(u64, Option<u32>, Message)>,
    /// Bytes that the peer has taken.
    pub(crate) taken: u64,
}

impl End {
    fn new(node: usize, link: Option<MemberLink>, tap: Tap) -> Self {
        Self {
            node,
            link,
            coming: VecDeque::new(),
            arrived: vec![],
            blocked: false,
            need: 1,
            broken_at: None,
            half_open: false,
            tap,
            messages: VecDeque::new(),
            taken: 0,
        }
    }

    /// The peer has taken so many bytes: the messages that it has taken with them.
    pub(crate) fn take(&mut self, len: usize) -> Vec<(Option<u32>, Message)> {
        self.taken += len as u64;
        let whole = self.messages.iter().take_while(|(end, ..)| *end <= self.taken).count();
        self.messages.drain(..whole).map(|(_, channel, message)| (channel, message)).collect()
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
    /// The learner that has dialled, if that is like Apache's.
    pub(crate) apache: Option<apache::Learner>,
}

impl Connection {
    /// `from` has dialled `to`.
    pub(crate) fn new(from: (usize, MemberLink), to: usize, port: Port, arrives_at: u64) -> Self {
        Self {
            ends: [
                End::new(from.0, Some(from.1), Tap::new(port, false)),
                End::new(to, None, Tap::new(port, true)),
            ],
            port,
            arrives_at: Some(arrives_at),
            apache: None,
        }
    }

    /// Nobody has anything to do with it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.arrives_at.is_none() && self.ends.iter().all(|end| end.link.is_none())
    }
}
