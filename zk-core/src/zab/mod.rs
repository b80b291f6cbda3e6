//! Zab: how a leader's history becomes everybody's.
//!
//! Nothing here knows what a transaction does: it is a zxid and bytes in a window of history
//! ([`Records`]). [`leader::Leader`] keeps what a leader knows of its
//! learners and says what to send each of them next; [`learner::Learner`] is the other side;
//! [`sync`] decides how a learner's history is brought in line.
//!
//! | phase | leader | learner |
//! |---|---|---|
//! | discovery | waits for FOLLOWERINFO of a quorum, makes the new epoch durable, LEADERINFO | makes the epoch durable, ACKEPOCH |
//! | synchronisation | DIFF, TRUNC or SNAP, what is missing, NEWLEADER | makes all of it durable, then the epoch, ACK |
//! | broadcast | UPTODATE; PROPOSAL, COMMIT | ACK of what is durable |
//!
//! Answers to `Leader`, `LearnerHandler`, `Learner`, `Follower` and `Observer`.

pub mod leader;
pub mod learner;
pub mod scan;
pub mod sync;

use crate::id::Zxid;
use crate::memory::Records;

/// Ticks, as every member of an ensemble is told them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// `tickTime`, ms.
    pub tick: u32,
    /// `initLimit`: ticks to find a leader and to be synchronised.
    pub init_limit: u32,
    /// `syncLimit`: ticks without a word after which the other side counts as gone.
    pub sync_limit: u32,
}

impl Timing {
    /// `initLimit` in ms.
    pub fn init(&self) -> u64 {
        u64::from(self.tick) * u64::from(self.init_limit)
    }

    /// `syncLimit` in ms.
    pub fn sync(&self) -> u64 {
        u64::from(self.tick) * u64::from(self.sync_limit)
    }
}

/// The window of history, and how far it is committed.
#[derive(Clone, Copy, Debug)]
pub struct Window<'w, 'm> {
    /// The transactions.
    pub records: &'w Records<'m>,
    /// The number of the first that is not known to be committed.
    pub committed: u64,
    /// The number of the first that is not durable here.
    pub durable: u64,
    /// From there on the log on the disk is known to have no holes: the snapshot that was loaded.
    /// What lies before may belong to a history that a leader's snapshot has replaced.
    pub log_from: Zxid,
}

impl Window<'_, '_> {
    /// The last committed transaction.
    pub fn last_committed(&self) -> Zxid {
        self.records.zxid_before(self.committed)
    }
}

/// Why a member's link ends: what it said violates the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation(pub &'static str);

impl core::fmt::Display for Violation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Violation {}
