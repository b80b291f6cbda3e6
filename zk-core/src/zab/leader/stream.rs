//! One learner as its leader knows it: how far it has come, and what it is told next.
//!
//! Nothing is queued: a learner has two cursors into the window of history, *next* (what is
//! proposed to it) and *told* (what it knows to be committed), and a few flags. Packets are made
//! when there is room for them in its link's output. A learner that falls behind the window is
//! served from the log on the disk, with the same cursors.
//!
//! Answers to `LearnerHandler`.

use super::SYNCS_MAX;
use crate::id::{Epoch, ServerId, Zxid};
use crate::memory::Pipe;
use crate::time::Instant;
use crate::wire::OpCode;
use crate::wire::capacity::Capacity;
use crate::wire::jute::{self, List};
use crate::wire::quorum::{self, Kind, Packet, SPARED};
use crate::wire::txn::TxnHeader;
use crate::zab::{Violation, Window};

/// How far a learner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No learner.
    Vacant,
    /// It has said nothing.
    Fresh,
    /// It has said which epoch it has accepted.
    Greeted,
    /// It was told the epoch.
    Told,
    /// It has said where its history ends.
    Known,
    /// Its history may go on in the log on the disk.
    Searching,
    /// It needs a snapshot that is not older than its history.
    Wanting,
    /// A snapshot is on its way, this many bytes of it are sent.
    Snapshot { zxid: Zxid, sent: u64 },
    /// What is missing is on its way.
    Streaming,
    /// NEWLEADER is sent.
    Asked,
    /// It has the whole history.
    Synced,
    /// It serves.
    Active,
}

/// A learner, as its leader knows it.
#[derive(Clone, Debug)]
pub struct Learner {
    pub(super) step: Step,
    pub(super) server: ServerId,
    pub(super) observer: bool,
    pub(super) accepted: Epoch,
    /// Epoch and end of its history, as it said; no epoch: it must not count.
    pub(super) current: Option<Epoch>,
    pub(super) last: Zxid,
    /// It cannot cut its history: it gets a snapshot in any case.
    pub(super) uncut: bool,
    /// The last transaction that was proposed to it, and that it was told to be committed.
    pub(super) sent: Zxid,
    pub(super) told: Zxid,
    /// Numbers of those behind them; behind the window they are not known.
    pub(super) next: u64,
    pub(super) telling: u64,
    /// It gets what it lacks from the log on the disk.
    pub(super) from_log: bool,
    /// A piece of log or snapshot is being read for it.
    pub(super) reading: bool,
    /// Number of the transaction that NEWLEADER comes before.
    pub(super) history: u64,
    /// Everything before that number is durable there.
    pub(super) acked: u64,
    pub(super) heard: Instant,
    /// The oldest proposal that it has not acknowledged, and since when.
    pub(super) waiting: Option<(u64, Instant)>,
    pub(super) ping: bool,
    /// There is a quorum without it.
    pub(super) spared: bool,
    /// Numbers that must be committed before the learner's syncs are answered.
    pub(super) syncs: heapless::Deque<u64, SYNCS_MAX>,
    /// Tells readings for an earlier learner of the same link apart.
    pub(super) serial: u32,
}

impl Default for Learner {
    fn default() -> Self {
        Self {
            step: Step::Vacant,
            server: ServerId(0),
            observer: false,
            accepted: Epoch(0),
            current: None,
            last: Zxid::NONE,
            uncut: false,
            sent: Zxid::ZERO,
            told: Zxid::ZERO,
            next: 0,
            telling: 0,
            from_log: false,
            reading: false,
            history: 0,
            acked: 0,
            heard: Instant(0),
            waiting: None,
            ping: false,
            spared: false,
            syncs: heapless::Deque::new(),
            serial: 0,
        }
    }
}

impl Learner {
    /// Whether it has the leader's whole history, so that its acknowledgements count.
    pub(super) fn is_synced(&self) -> bool {
        matches!(self.step, Step::Synced | Step::Active)
    }

    /// Whether it acknowledges what is proposed, besides.
    pub(super) fn acknowledges(&self) -> bool {
        self.is_synced() && (!self.observer || planted!(ObserverAck))
    }

    /// Whether it is a follower, or is to be one, and reads the log.
    pub(super) fn lags(&self) -> bool {
        self.from_log && !self.observer
    }

    /// What comes next begins at that number.
    pub(super) fn stream_from(&mut self, from: u64, window: Window<'_, '_>) {
        self.next = from;
        self.telling = from;
        self.sent = window.records.zxid_before(from);
        self.told = self.sent;
        self.from_log = false;
        self.step = Step::Streaming;
    }

    /// Goes on from the window, if it has all that comes next.
    pub(super) fn catch_up(&mut self, window: Window<'_, '_>) {
        if self.told >= window.records.before() {
            self.telling = window.records.seek(self.told.successor());
            self.next = window.records.seek(self.sent.successor());
            self.from_log = false;
        }
    }

    /// Whether all has been sent that was committed when it was decided how.
    pub(super) fn has_history(&self, window: Window<'_, '_>) -> bool {
        !self.from_log && self.telling >= self.history.min(window.committed)
    }

    /// One more packet; `false` when there is none, or no room.
    pub(super) fn say(
        &mut self,
        window: Window<'_, '_>,
        now: Instant,
        heir: ServerId,
        out: &mut Pipe<'_>,
    ) -> bool {
        let Window { records, committed, .. } = window;
        if self.ping && self.is_synced() {
            let last = records.zxid_before(records.end());
            let ping = match self.spared {
                true => Packet::with(Kind::Ping, last, SPARED),
                false => Packet::new(Kind::Ping, last),
            };
            self.ping = !put(out, &ping);
            return !self.ping;
        }
        if let Some(&target) = self.syncs.front()
            && !self.from_log
            && self.telling >= target
        {
            if !put(out, &Packet::new(Kind::Sync, Zxid::ZERO)) {
                return false;
            }
            self.syncs.pop_front();
            return true;
        }
        if self.from_log {
            return false;
        }
        if self.telling < records.front() {
            // It has fallen behind the window.
            self.from_log = true;
            return false;
        }
        let observes = self.observer && self.step == Step::Active;
        if !observes && self.telling < committed.min(self.next) {
            let zxid = records.zxid_before(self.telling + 1);
            let txn = records.get(self.telling).map_or(&[][..], |(_, txn)| txn);
            if !self.put_commit(zxid, txn, heir, out) {
                return false;
            }
            self.telling += 1;
            self.told = zxid;
            return true;
        }
        // Observers hear of what is committed only.
        let end = if self.observer { committed } else { records.end() };
        if self.next >= end {
            return false;
        }
        if planted!(ZabIssue1) && self.step == Step::Asked && self.next >= self.history {
            self.next += 1;
            return true;
        }
        let Some((zxid, txn)) = records.get(self.next) else { return false };
        if !put_txn(observes, zxid, txn, heir, out) {
            return false;
        }
        self.next += 1;
        self.sent = zxid;
        if observes {
            self.telling = self.next;
            self.told = zxid;
        } else if !self.observer && self.waiting.is_none() && self.is_synced() {
            self.waiting = Some((self.next, now));
        }
        true
    }

    /// Says that a transaction is committed; and of a reconfiguration, who leads now. Before it has
    /// the whole history it learns the configuration from NEWLEADER.
    pub(super) fn put_commit(
        &self,
        zxid: Zxid,
        txn: &[u8],
        heir: ServerId,
        out: &mut Pipe<'_>,
    ) -> bool {
        if self.step == Step::Streaming || !is_reconfig(txn) {
            return put(out, &Packet::new(Kind::Commit, zxid));
        }
        put(out, &Packet::with(Kind::CommitAndActivate, zxid, &heir.0.to_be_bytes()))
    }

    /// It has made a proposal durable, and all before it.
    pub(super) fn ack(
        &mut self,
        zxid: Zxid,
        now: Instant,
        window: Window<'_, '_>,
    ) -> Result<(), Violation> {
        // The second ACK of the history says that it serves.
        if zxid.counter() == 0 {
            return Ok(());
        }
        if zxid > self.sent {
            return Err(Violation("an ACK of what was never proposed"));
        }
        self.acked = self.acked.max(window.records.seek(zxid.successor()));
        if let Some((number, _)) = self.waiting
            && self.acked >= number
        {
            let more = !self.from_log && self.next > self.acked;
            self.waiting = more.then_some((self.next, now));
        }
        Ok(())
    }
}

/// Tells a transaction: as a proposal, or to an observer that it is committed; then a reconfiguration
/// says who leads now.
pub(super) fn put_txn(
    observes: bool,
    zxid: Zxid,
    txn: &[u8],
    heir: ServerId,
    out: &mut Pipe<'_>,
) -> bool {
    if observes && is_reconfig(txn) {
        let (before, heir) = (out.len(), heir.0.to_be_bytes());
        return quorum::put(out, Kind::InformAndActivate, zxid, &heir, txn, List::NULL)
            .inspect_err(|_| out.truncate(before))
            .is_ok();
    }
    put(out, &Packet::with(if observes { Kind::Inform } else { Kind::Proposal }, zxid, txn))
}

/// The type is the last field of a transaction's header.
fn is_reconfig(txn: &[u8]) -> bool {
    txn.get(TxnHeader::LEN - 4..TxnHeader::LEN) == Some(&OpCode::Reconfig.0.to_be_bytes())
}

/// Writes a packet, if it fits.
pub(crate) fn put(out: &mut Pipe<'_>, packet: &Packet<'_>) -> bool {
    let before = out.len();
    jute::write(packet, out).inspect_err(|_| out.truncate(before)).is_ok()
}

/// Writes a packet, if it fits, with what this member holds behind its data, if that has limits.
pub(crate) fn put_limited(
    out: &mut Pipe<'_>,
    kind: Kind,
    zxid: Zxid,
    data: &[u8],
    capacity: &Capacity,
) -> bool {
    let (before, said) = (out.len(), capacity.encode());
    let behind = if capacity.is_limited() { &said[..] } else { &[] };
    quorum::put(out, kind, zxid, data, behind, List::NULL)
        .inspect_err(|_| out.truncate(before))
        .is_ok()
}
