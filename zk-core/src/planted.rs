//! Bugs of the past, to be planted again: a search that finds nothing must be able to find them.
//!
//! Only there with `--cfg zk_planted`, which no build but that of `cargo xtask sim --planted` sets.
//! Which bug it is, if any, is chosen while the program runs.

use core::sync::atomic::{AtomicU8, Ordering};

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

bugs! {
    /// ZOOKEEPER-3911, 4646: NEWLEADER is acknowledged before the history is durable.
    Zk3911,
    /// ZOOKEEPER-4643, 4785: the current epoch is made durable before the history.
    Zk4643,
    /// ZOOKEEPER-4685: a learner acknowledges a proposal before the history, as 3.8.0 does, and the
    /// leader gives up over it.
    Zk4685,
    /// ZOOKEEPER-4394: a COMMIT between NEWLEADER and UPTODATE ends the learner.
    Zk4394,
    /// ZOOKEEPER-4712, 2845: the tree in memory is kept, ahead of the log.
    Zk4712,
    /// ZOOKEEPER-4925: the window of history has a hole.
    Zk4925,
    /// ZOOKEEPER-3104: NEWLEADER comes before what it says is there.
    Zk3104,
    /// ZOOKEEPER-3642: half a snapshot stays in memory when its link breaks.
    Zk3642,
    /// ZOOKEEPER-5094: the history is cut on the disk, and not in memory.
    Zk5094,
    /// ZOOKEEPER-2355: an ephemeral node of a session that is over stays on a follower.
    Zk2355,
    /// ZOOKEEPER-1343: the new epoch is not above all accepted ones.
    Zk1343,
    /// ZOOKEEPER-1192: an epoch is used that no quorum has accepted.
    Zk1192,
    /// Issue 1 of Zab's specification: nothing is proposed to learners that have not acknowledged
    /// the history.
    ZabIssue1,
    /// ZOOKEEPER-2310: a snapshot is not synced before it gets its name.
    Zk2310,
    /// A directory is not synced after a rename.
    NoDirectorySync,
    /// A sync that failed is tried again.
    RetriedSync,
    /// What is written counts as durable.
    PageCache,
    /// An ACK that comes twice counts as two; here every one does.
    DuplicateAck,
    /// An observer's ACK counts.
    ObserverAck,
    /// A follower closes the sessions that it has not heard of.
    FollowerExpiry,
    /// A watch fires behind the reply that shows the change.
    LateWatch,
    /// A server takes a client that has seen more than it.
    LastZxidSeen,
    /// A torn record counts as a whole one.
    TornTail,
    /// A leader that is elected again goes on in its old epoch.
    ReusedZxid,
    /// A reconfiguration needs a quorum of the old configuration only.
    ReconfigOldQuorum,
    /// A reconfiguration needs a quorum of the new configuration only.
    ReconfigNewQuorum,
    /// A reconfiguration is let in while another is under way.
    ReconfigTwice,
    /// A reconfiguration for another version is let in.
    ReconfigVersion,
    /// A configuration that is proposed is forgotten by a restart.
    ReconfigForgotten,
    /// A leader that has left goes on, and counts its own acknowledgements.
    ReconfigRetired,
    /// NEWLEADER does not carry what is proposed.
    ReconfigNewLeader,
    /// What a new leader finds in its history is in force at once.
    ReconfigInForce,
    /// A learner that a reconfiguration gives another leader serves before it has learned from that.
    ReconfigServing,
}

/// The number of the chosen bug, plus one.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Plants a bug, or none.
pub fn choose(bug: Option<Bug>) {
    CHOSEN.store(bug.map_or(0, |bug| bug as u8 + 1), Ordering::Relaxed);
}

/// Whether that bug is planted.
pub fn is(bug: Bug) -> bool {
    CHOSEN.load(Ordering::Relaxed) == bug as u8 + 1
}
