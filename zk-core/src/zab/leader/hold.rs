//! Letting clients wait for a follower that reads the log.
//!
//! What it reads may be written as fast as it reads: where the window is small, it would never come to the
//! end, and never serve. (Apache's leader keeps in memory all that a learner is to hear, without a bound.)

use super::Learner;
use crate::id::Zxid;

/// Half ticks in a row in which nothing is proposed, so that a follower that reads the log comes to its end.
pub const HELD_MAX: u8 = 2;

/// Whether clients wait, and how that goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    /// For so many half ticks nothing was proposed.
    since: u8,
    /// How far behind the last follower was when something was, last.
    behind: u32,
}

impl Hold {
    pub(super) const NONE: Self = Self { since: 0, behind: u32::MAX };

    pub(super) fn is_on(self) -> bool {
        self.since > 0
    }

    /// Half a tick has passed. `behind`: transactions that the follower that is farthest behind has still to
    /// read; `None` if nobody reads the log.
    pub(super) fn tick(&mut self, behind: Option<u32>) {
        match behind {
            None => *self = Self::NONE,
            Some(behind) if behind >= self.behind && self.since < HELD_MAX => self.since += 1,
            Some(behind) => *self = Self { since: 0, behind },
        }
    }
}

/// Transactions that a learner has still to hear of, where `last` is committed.
pub(super) fn behind(learner: &Learner, last: Zxid) -> u32 {
    match last.epoch() == learner.told.epoch() {
        true => last.counter().wrapping_sub(learner.told.counter()),
        false => u32::MAX,
    }
}
