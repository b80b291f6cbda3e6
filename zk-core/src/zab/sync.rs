//! How a learner's history is brought in line with the leader's.
//!
//! Answers to `LearnerHandler.syncFollower`.

use super::Window;
use crate::id::Zxid;

/// What to do about a learner whose history ends at some zxid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It lacks only what comes from that number on.
    Diff {
        /// Number of the first transaction to send.
        from: u64,
    },
    /// It has more than the leader: it has to go back, and goes on from there.
    Trunc {
        /// Where to go back to.
        zxid: Zxid,
        /// Number of the first transaction to send.
        from: u64,
    },
    /// What it lacks is older than the window: look into the log on the disk.
    Log,
    /// Nothing that is known continues its history.
    Snap(Lack),
}

/// Why a learner needs a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Its history is damaged: it has said so, with [`Zxid::NONE`].
    Damaged,
    /// It has led an epoch of which this leader knows nothing.
    Led,
    /// Its history ends before the log is known to be whole.
    BeforeLog,
    /// The log does not have its last transaction.
    NotInLog,
    /// It ends with a transaction that this leader's history does not have.
    Diverged,
}

/// How learners were brought in line, counted by branch of the decision (with the feature `stats`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// DIFF, and nothing was missing.
    pub diff_nothing: u64,
    /// DIFF from the window.
    pub diff_window: u64,
    /// DIFF from the window, for a learner that has led an epoch in which it proposed nothing.
    pub diff_led: u64,
    /// DIFF from the log on the disk.
    pub diff_log: u64,
    /// TRUNC to the leader's last transaction.
    pub trunc_last: u64,
    /// TRUNC to an earlier one.
    pub trunc_between: u64,
    /// SNAP: [`Lack::Damaged`].
    pub snap_damaged: u64,
    /// SNAP: [`Lack::Led`].
    pub snap_led: u64,
    /// SNAP: [`Lack::BeforeLog`].
    pub snap_before_log: u64,
    /// SNAP: [`Lack::NotInLog`].
    pub snap_not_in_log: u64,
    /// SNAP: [`Lack::Diverged`].
    pub snap_diverged: u64,
    /// A learner fell behind the window while it was served from there, and goes on from the log.
    pub demoted: u64,
}

impl Counts {
    pub(super) fn lacks(&mut self, lack: Lack) {
        let count = match lack {
            Lack::Damaged => &mut self.snap_damaged,
            Lack::Led => &mut self.snap_led,
            Lack::BeforeLog => &mut self.snap_before_log,
            Lack::NotInLog => &mut self.snap_not_in_log,
            Lack::Diverged => &mut self.snap_diverged,
        };
        tally(count);
    }
}

/// Counts one more, where anybody looks.
pub(super) fn tally(count: &mut u64) {
    if cfg!(feature = "stats") {
        *count += 1;
    }
}

/// Decides, for a learner whose last transaction is `last`.
///
/// | the learner's last transaction | decision |
/// |---|---|
/// | none: its history is damaged | SNAP |
/// | the leader's last | DIFF with nothing |
/// | behind the leader's last | TRUNC to that |
/// | in the window | DIFF from there |
/// | the start of an epoch, inside the window's range | DIFF from there: it had led that epoch |
/// | not in the window, although others of its epoch are on both sides | TRUNC to the one before |
/// | in the window's range otherwise | SNAP |
/// | before the window | the log, if that has it and has no holes behind it; else SNAP |
pub fn decide(window: Window<'_, '_>, last: Zxid) -> Decision {
    let Window { records, committed, .. } = window;
    let own = window.last_committed();
    if last == Zxid::NONE {
        return Decision::Snap(Lack::Damaged);
    }
    if last == own {
        return Decision::Diff { from: committed };
    }
    // A leader that has proposed nothing yet has this for its last zxid.
    let led = last.counter() == 0;
    if last > own {
        let ahead = Decision::Trunc { zxid: own, from: committed };
        return if led { Decision::Snap(Lack::Led) } else { ahead };
    }
    if last < records.before() {
        let logged = last >= window.log_from;
        return if logged { Decision::Log } else { Decision::Snap(Lack::BeforeLog) };
    }
    if last == records.before() {
        return Decision::Diff { from: records.front() };
    }
    let at = records.seek(last);
    let Some((found, _)) = records.get(at) else { return Decision::Snap(Lack::Diverged) };
    if found == last {
        Decision::Diff { from: at + 1 }
    } else if led {
        Decision::Diff { from: at }
    } else if found.epoch() == last.epoch() {
        Decision::Trunc { zxid: records.zxid_before(at), from: at }
    } else {
        Decision::Snap(Lack::Diverged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;
    use crate::memory::{Meta, Records, Table};

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// The cases that were tried on a leader of Apache 3.8.0, and those of its own tests.
    #[test]
    fn histories_meet_where_apaches_do() {
        let (mut bytes, mut metas) = ([0; 256], [Meta::default(); 32]);
        let mut records = Records::new(Table::lent(&mut bytes), Table::lent(&mut metas));
        records.clear(z(1, 2));
        let mut push = |zxid| {
            records.room(1).unwrap();
            records.push(zxid, 1);
        };
        for counter in 3..=10 {
            push(z(1, counter));
        }
        for counter in 1..=4 {
            push(z(3, counter));
        }
        let window = Window { records: &records, committed: 11, durable: 12, log_from: z(1, 1) };
        assert_eq!(window.last_committed(), z(3, 3));
        for (last, decision) in [
            (z(3, 3), Decision::Diff { from: 11 }),
            (z(3, 2), Decision::Diff { from: 10 }),
            (z(1, 3), Decision::Diff { from: 1 }),
            (z(1, 2), Decision::Diff { from: 0 }),
            (z(1, 1), Decision::Log),
            // A snapshot took the place of what was there.
            (z(1, 0), Decision::Snap(Lack::BeforeLog)),
            (z(0, 0), Decision::Snap(Lack::BeforeLog)),
            (z(0, 5), Decision::Snap(Lack::BeforeLog)),
            (Zxid::NONE, Decision::Snap(Lack::Damaged)),
            // Proposed and not committed: not the leader's last.
            (z(3, 4), Decision::Trunc { zxid: z(3, 3), from: 11 }),
            (z(3, 9), Decision::Trunc { zxid: z(3, 3), from: 11 }),
            (z(4, 1), Decision::Trunc { zxid: z(3, 3), from: 11 }),
            // It led an epoch that nobody else has seen anything of.
            (z(4, 0), Decision::Snap(Lack::Led)),
            (z(3, 0), Decision::Diff { from: 8 }),
            (z(2, 0), Decision::Diff { from: 8 }),
            // A transaction of its own behind what the leader knows of that epoch.
            (z(1, 11), Decision::Snap(Lack::Diverged)),
            (z(2, 1), Decision::Snap(Lack::Diverged)),
        ] {
            assert_eq!(decide(window, last), decision, "{last}");
        }
    }

    #[test]
    fn an_empty_window_knows_where_it_begins() {
        let mut records = Records::new(Table::default(), Table::default());
        records.clear(z(2, 5));
        let window =
            Window { records: &records, committed: 0, durable: 0, log_from: Zxid(i64::MIN) };
        assert_eq!(decide(window, z(2, 5)), Decision::Diff { from: 0 });
        assert_eq!(decide(window, z(2, 6)), Decision::Trunc { zxid: z(2, 5), from: 0 });
        assert_eq!(decide(window, z(2, 4)), Decision::Log);
        // Epochs above 2^31: zxids are negative, and compared as Apache compares them.
        assert_eq!(decide(window, Zxid(-2)), Decision::Log);
    }
}
