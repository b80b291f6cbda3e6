//! How much this member can hold, and what it does when a leader wants more.
//!
//! What is full is decided by the leader, for all of its voters; so a voter that holds less than the
//! leader is refused by it. A leader that says nothing of limits (Apache's do not) may propose, or
//! send in a snapshot, what does not fit here: that is not taken, not even in part. The link to the
//! leader ends, the history stays what it is, and the leader is called again after a pause.

use super::Peer;
use crate::time::{Instant, Now};
use crate::trace::warning;
use crate::tree::Cost;
use crate::wire::OpCode;
use crate::wire::capacity::{Capacity, Kind, Lack};
use crate::wire::txn::Txn;
use crate::zab::Violation;

/// The first pause, ms. Each one doubles it.
const PAUSE: u32 = 1000;

/// The longest pause, ms.
const PAUSE_MAX: u32 = 60_000;

/// Away from a leader that wants too much.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retreat {
    /// The last pause, ms; 0 when this server has served since.
    pub(super) pause: u32,
    /// Until when no leader is called.
    pub(super) until: Instant,
}

impl Peer<'_> {
    /// How much this member can hold.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Bytes of the longest transaction.
    pub(super) fn longest_txn(&self) -> usize {
        self.options.max_txn.min(self.history.ceiling())
    }

    /// The leader has said what it holds at most, or not.
    pub(super) fn is_led(&mut self, leader: Option<Capacity>) {
        let fits = leader.is_some_and(|leader| self.capacity.lacks(&leader).is_none());
        self.ensemble.unbounded = self.capacity.is_limited() && !fits;
    }

    /// No leader is called for a while.
    #[inline(never)] // once for all its callers
    pub(super) fn retreat(&mut self, now: Now) {
        let retreat = &mut self.ensemble.retreat;
        retreat.pause = (retreat.pause * 2).clamp(PAUSE, PAUSE_MAX);
        retreat.until = now.monotonic.plus(u64::from(retreat.pause));
        warning!("not calling a leader for {} ms", retreat.pause);
    }

    /// What a proposed transaction takes, where that is for this server to see; `None`: what is
    /// committed must be applied first.
    pub(super) fn cost_of_proposal(
        &mut self,
        now: Now,
        txn: &Txn<'_>,
    ) -> Result<Option<Cost>, Violation> {
        if !self.ensemble.unbounded {
            return Ok(Some(Cost::default()));
        }
        let next = self.pending.is_empty();
        let cost = self.tree.cost_of_txn(txn.header.client_id, &txn.record, next);
        let mut opening = usize::from(txn.header.op == OpCode::CreateSession);
        if opening > 0 {
            self.pending.for_each(|entry| opening += usize::from(entry.opens()));
        }
        let (wanted, room) = (self.reserved.plus(&cost), self.tree.room());
        // What was opened here and is not there yet gives way.
        let most = self.sessions.len() + self.sessions.available();
        let sessions = most - self.sessions.applied_count();
        if wanted.fits(&room) && opening <= sessions {
            return Ok(Some(cost));
        }
        if self.next_apply < self.committed {
            return Ok(None);
        }
        let lack =
            || wanted.lack(&room).unwrap_or_else(|| Lack::new(Kind::Sessions, sessions, opening));
        warning!(
            "zxid {:#x} of the leader is not taken: with what is proposed it takes {} {}, and there \
             is room for {}",
            txn.header.zxid.0,
            lack().needs,
            lack().what(),
            lack().has
        );
        Err(self.beyond(now))
    }

    /// Whether what a leader's snapshot has shown so far fits.
    pub(super) fn holds_snapshot(&mut self, now: Now) -> Result<(), Violation> {
        let Some(lack) = self.capacity.lacks(self.ensemble.scanner.needs()) else {
            return Ok(());
        };
        warning!(
            "the snapshot of the leader is not taken: there is room for {} {}, and it has {} or more",
            lack.has,
            lack.what(),
            lack.needs
        );
        Err(self.beyond(now))
    }

    fn beyond(&mut self, now: Now) -> Violation {
        self.retreat(now);
        Violation("more than this server can hold")
    }
}
