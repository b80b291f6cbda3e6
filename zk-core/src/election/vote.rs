//! Votes: which is better, and which mean the same.

use core::fmt;

use crate::id::{ServerId, Zxid};
use crate::quorum::Config;
use crate::wire::election::{Notification, ServerState};

/// Who should lead, and why. Answers to `org.apache.zookeeper.server.quorum.Vote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The proposed leader.
    pub leader: ServerId,
    /// Its last zxid.
    pub zxid: Zxid,
    /// The round of the election in which the vote was given ("electionEpoch").
    pub round: i64,
    /// Its current epoch; of an established leader, the epoch in which it leads.
    pub peer_epoch: i64,
}

impl Vote {
    /// Whether this vote is better than `other`: a later epoch, then a later zxid, then a higher
    /// id. Whoever has no weight in `config` is never better.
    ///
    /// Answers to `FastLeaderElection.totalOrderPredicate`.
    pub fn beats(&self, other: &Self, config: &Config<'_>) -> bool {
        let rank = |vote: &Self| (vote.peer_epoch, vote.zxid, vote.leader);
        rank(self) > rank(other) && config.weight(self.leader) != 0
    }
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leader, zxid, round, peer_epoch } = self;
        write!(f, "leader {} zxid {zxid} epoch {peer_epoch:#x} round {round}", leader.0)
    }
}

/// The latest vote of somebody, and what it was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) vote: Vote,
    pub(super) state: ServerState,
    /// Version of the notification.
    pub(super) version: i32,
}

impl Heard {
    pub(super) fn of(n: &Notification<'_>) -> Self {
        let Notification { leader, zxid, round, peer_epoch, .. } = *n;
        let vote = Vote { leader, zxid, round, peer_epoch };
        Self { vote, state: n.state, version: n.version }
    }

    /// Whether the sender follows or leads.
    pub(super) fn is_established(&self) -> bool {
        matches!(self.state, ServerState::Following | ServerState::Leading)
    }

    /// Whether both mean the same leader.
    ///
    /// While one of them is looking, all must be the same. Members of an established ensemble may
    /// have different memories of its election (ZOOKEEPER-1805) but agree on leader and epoch,
    /// save for the epoch where exactly one of them is older than version 1 (ZOOKEEPER-1732).
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let looking = |heard: &Self| heard.state == ServerState::Looking;
        if looking(self) || looking(other) {
            return self.vote == other.vote;
        }
        let same_epoch = self.vote.peer_epoch == other.vote.peer_epoch;
        let one_is_old = (self.version > 0) != (other.version > 0);
        self.vote.leader == other.vote.leader && (same_epoch || one_is_old)
    }
}
