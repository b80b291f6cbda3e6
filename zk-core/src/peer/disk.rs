//! What the peer wants of its disk: batches of transactions, and snapshots.

use super::ensemble::{Epochs, Files};
use super::{Peer, State};
use crate::id::Zxid;
use crate::memory::Records;
use crate::request::options::Options;
use crate::text::divide;
use crate::trace::{debug, warning};
use crate::tree::Seeds;
use crate::tree::snapshot::Step;
use crate::wire::file::SnapshotDigest;
use crate::wire::txn::TxnDigest;
use crate::zab::leader::{Read, Reading};
use crate::zab::learner::Step as Learning;

/// Something to do with the disk.
#[derive(Debug)]
pub enum Disk<'p> {
    /// Append these to the log, sync, then say [`durable`](Peer::durable). No further batch comes
    /// before.
    Append(Batch<'p>),
    /// The next batch starts a new log file.
    Roll,
    /// Create a snapshot of that zxid.
    SnapshotBegin(Zxid),
    /// Write these bytes of its body, then say [`snapshot_written`](Peer::snapshot_written).
    SnapshotBytes(&'p [u8]),
    /// Finish the snapshot, then say [`snapshot_done`](Peer::snapshot_done).
    SnapshotEnd(SnapshotDigest),
    /// Delete the snapshot that was begun.
    SnapshotDrop,
    /// Only a peer that has [`join`](Peer::join)ed an ensemble asks for these.
    Ensemble(Order<'p>),
}

/// What a member of an ensemble wants of its disk, besides.
#[derive(Debug)]
pub enum Order<'p> {
    /// Make the epochs durable, then say [`epochs_written`](Peer::epochs_written).
    Epochs(Epochs),
    /// Remove what comes behind that zxid from the disk, load what is left, then say
    /// [`reloaded`](Peer::reloaded). If it cannot be removed, load what is there, and say
    /// [`cut_failed`](Peer::cut_failed); if that cannot be loaded,
    /// [`reload_failed`](Peer::reload_failed). No batch is with the disk.
    Truncate(Zxid),
    /// Create a snapshot of that zxid, which is to take the place of the whole history.
    InstallBegin(Zxid),
    /// Write these bytes of its body, then say [`install_written`](Peer::install_written).
    InstallBytes(&'p [u8]),
    /// It is whole: load it; then let it take the place of the history, and say
    /// [`reloaded`](Peer::reloaded). If that fails, drop it, load the history that was there, and
    /// say [`reload_failed`](Peer::reload_failed).
    InstallEnd,
    /// Delete the snapshot that was to be installed.
    InstallDrop,
    /// Read something for a learner, then say [`log_read`](Peer::log_read),
    /// [`snapshot_read`](Peer::snapshot_read) or [`read_failed`](Peer::read_failed), once.
    Read(Reading, Read),
}

/// Transactions to be appended and synced together.
#[derive(Debug)]
pub struct Batch<'p> {
    history: &'p Records<'p>,
    from: u64,
    to: u64,
}

impl<'p> Batch<'p> {
    /// The transactions, in order: zxid and bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Zxid, &'p [u8])> + use<'p> {
        let history = self.history;
        (self.from..self.to).filter_map(move |seq| history.get(seq))
    }

    /// The last one's zxid.
    pub fn last(&self) -> Zxid {
        self.history.get(self.to - 1).map_or(Zxid::ZERO, |(zxid, _)| zxid)
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

/// What of [`Disk`] an ensemble asks for.
enum Ask {
    Epochs(Epochs),
    SnapshotDrop,
    Truncate(Zxid),
    InstallBegin(Zxid),
    InstallBytes,
    InstallEnd,
    InstallDrop,
    Read(Reading, Read),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// As soon as the tree can.
    Wanted,
    /// A new log file first.
    Roll,
    Begin,
    Writing {
        /// A piece is with the disk.
        out: bool,
    },
    Ending,
    Dropping,
}

/// When snapshots are taken, and how far the current one is.
#[derive(Debug)]
pub(super) struct Snapshot {
    phase: Phase,
    zxid: Zxid,
    digest: i64,
    /// Transactions and bytes since the last roll.
    txns: u32,
    bytes: u64,
    /// Nothing may be appended before a snapshot is durable.
    required: bool,
    /// A little pseudo-random state, so that members do not snapshot all at once.
    jitter: u64,
}

impl Snapshot {
    pub(super) fn new(seeds: Seeds) -> Self {
        Self {
            phase: Phase::Idle,
            zxid: Zxid::ZERO,
            digest: 0,
            txns: 0,
            bytes: 0,
            required: false,
            jitter: seeds.0 | 1,
        }
    }

    pub(super) fn want(&mut self) {
        self.phase = Phase::Wanted;
    }

    /// There is one: the log may be written.
    pub(super) fn relax(&mut self) {
        self.required = false;
    }

    /// One is wanted, if none is being written.
    pub(super) fn want_soon(&mut self) {
        if self.phase == Phase::Idle {
            self.phase = Phase::Wanted;
        }
    }

    /// Counts a transaction that goes to the log.
    pub(super) fn count(&mut self, bytes: usize, options: &Options) {
        self.txns += 1;
        self.bytes += bytes as u64;
        if self.phase != Phase::Idle {
            return;
        }
        // Between half and all of the limit, as Apache does.
        let extra = |most: u32| u64::from(divide(self.jitter, most.max(1)).1);
        let half = options.snap_count / 2;
        let size = options.snap_size / 2;
        let more = extra(u32::try_from(size).unwrap_or(u32::MAX));
        if u64::from(self.txns) > u64::from(half) + extra(half) || self.bytes > size + more {
            self.jitter ^= self.jitter << 13;
            self.jitter ^= self.jitter >> 7;
            self.jitter ^= self.jitter << 17;
            self.phase = Phase::Roll;
        }
    }
}

impl Peer<'_> {
    /// What to do with the disk next.
    pub fn poll_disk(&mut self) -> Option<Disk<'_>> {
        match self.state {
            State::Recovering | State::Stopped(_) => return None,
            State::Standalone => {}
            _ => {
                if let Some(ask) = self.poll_ensemble_disk() {
                    return Some(self.ensemble_disk(ask));
                }
                if self.ensemble.files != Files::Idle {
                    return None;
                }
            }
        }
        if self.syncing.is_none()
            && self.next_append < self.history.end()
            && !self.snapshot.required
        {
            return Some(Disk::Append(self.next_batch()));
        }
        match self.snapshot.phase {
            Phase::Idle => None,
            Phase::Roll => {
                self.snapshot.phase = Phase::Wanted;
                self.snapshot.txns = 0;
                self.snapshot.bytes = 0;
                Some(Disk::Roll)
            }
            Phase::Wanted => {
                let count = self.sessions.applied_count();
                match self.tree.snapshot_begin(count, self.sessions.applied()) {
                    Ok(true) => {}
                    // Marks of an earlier one are cleared slice by slice.
                    Ok(false) => return None,
                    Err(_) => {
                        warning!("no snapshot: sessions and lists do not fit its buffer");
                        self.snapshot.phase = Phase::Idle;
                        self.stats.snapshots_failed += 1;
                        return None;
                    }
                }
                self.snapshot.phase = Phase::Begin;
                self.snapshot.zxid = self.tree.last_zxid();
                self.snapshot.digest = self.tree.digest();
                self.poll_disk()
            }
            Phase::Begin => {
                self.snapshot.phase = Phase::Writing { out: false };
                debug!(
                    "the snapshot of zxid {:#x} begins: {} nodes",
                    self.snapshot.zxid.0,
                    self.tree.node_count()
                );
                Some(Disk::SnapshotBegin(self.snapshot.zxid))
            }
            Phase::Writing { out: true } => None,
            Phase::Writing { out: false } => match self.tree.snapshot_step() {
                Some(Step::Bytes) => {
                    self.snapshot.phase = Phase::Writing { out: true };
                    Some(Disk::SnapshotBytes(self.tree.snapshot_bytes()))
                }
                Some(Step::End) => {
                    self.tree.snapshot_abandon();
                    self.snapshot.phase = Phase::Ending;
                    Some(Disk::SnapshotEnd(SnapshotDigest {
                        zxid: self.snapshot.zxid,
                        version: TxnDigest::VERSION,
                        tree_digest: self.snapshot.digest,
                    }))
                }
                Some(Step::Failed) | None => {
                    self.tree.snapshot_abandon();
                    self.snapshot.phase = Phase::Dropping;
                    self.stats.snapshots_failed += 1;
                    warning!(
                        "giving up the snapshot of zxid {:#x}: the disk is too slow, and its \
                         buffer full",
                        self.snapshot.zxid.0
                    );
                    self.poll_disk()
                }
            },
            Phase::Ending => None,
            Phase::Dropping => {
                self.snapshot.phase = Phase::Idle;
                Some(Disk::SnapshotDrop)
            }
        }
    }

    /// What the disk is to do for the ensemble's sake.
    fn poll_ensemble_disk(&mut self) -> Option<Ask> {
        let wanted = self.wanted_epochs();
        if self.ensemble.writing.is_none() && wanted != self.ensemble.epochs {
            return Some(Ask::Epochs(wanted));
        }
        match self.ensemble.files {
            Files::Idle => {}
            Files::Drop => return Some(Ask::InstallDrop),
            Files::Cut(_) | Files::Begin(_) if self.snapshot.phase != Phase::Idle => {
                // A snapshot of what is about to go.
                if self.snapshot.phase == Phase::Ending {
                    return None;
                }
                let begun = matches!(self.snapshot.phase, Phase::Writing { .. } | Phase::Dropping);
                self.tree.snapshot_abandon();
                self.snapshot.phase = Phase::Idle;
                return begun.then_some(Ask::SnapshotDrop);
            }
            Files::Cut(_) | Files::Begin(_) if self.syncing.is_some() => return None,
            Files::Cut(zxid) => return Some(Ask::Truncate(zxid)),
            Files::Begin(zxid) => return Some(Ask::InstallBegin(zxid)),
            Files::Receiving { out: false } if !self.ensemble.install.is_empty() => {
                return Some(Ask::InstallBytes);
            }
            Files::Receiving { out: false }
                if matches!(self.ensemble.learner.step(), Learning::Installing(_)) =>
            {
                return Some(Ask::InstallEnd);
            }
            Files::Receiving { .. } | Files::Cutting | Files::Installing => return None,
        }
        self.read_for_learner().map(|(reading, read)| Ask::Read(reading, read))
    }

    fn ensemble_disk(&mut self, ask: Ask) -> Disk<'_> {
        let ensemble = &mut self.ensemble;
        let order = match ask {
            Ask::Epochs(epochs) => {
                ensemble.writing = Some(epochs);
                Order::Epochs(epochs)
            }
            Ask::SnapshotDrop => return Disk::SnapshotDrop,
            Ask::Truncate(zxid) => {
                ensemble.files = Files::Cutting;
                Order::Truncate(zxid)
            }
            Ask::InstallBegin(zxid) => {
                ensemble.files = Files::Receiving { out: false };
                Order::InstallBegin(zxid)
            }
            Ask::InstallBytes => {
                ensemble.files = Files::Receiving { out: true };
                Order::InstallBytes(ensemble.install.bytes())
            }
            Ask::InstallEnd => {
                ensemble.files = Files::Installing;
                Order::InstallEnd
            }
            Ask::InstallDrop => {
                ensemble.files = Files::Idle;
                Order::InstallDrop
            }
            Ask::Read(reading, read) => Order::Read(reading, read),
        };
        Disk::Ensemble(order)
    }

    /// So many bytes of the snapshot that comes from the leader are written.
    pub fn install_written(&mut self, len: usize) {
        if self.ensemble.files == (Files::Receiving { out: true }) {
            self.ensemble.install.take(len);
            self.ensemble.files = Files::Receiving { out: false };
            self.ensemble.members.unblock();
        }
    }

    fn next_batch(&mut self) -> Batch<'_> {
        let from = self.next_append;
        let mut to = from;
        let mut bytes = 0;
        let mut last = Zxid::ZERO;
        while let Some((zxid, record)) = self.history.get(to) {
            bytes += record.len();
            // At least one, however long.
            if to > from && bytes > self.options.max_batch {
                break;
            }
            self.snapshot.count(record.len(), &self.options);
            last = zxid;
            to += 1;
        }
        self.next_append = to;
        self.syncing = Some(last);
        Batch { history: &self.history, from, to }
    }

    /// So many bytes of the snapshot's body are written.
    pub fn snapshot_written(&mut self, len: usize) {
        if self.snapshot.phase == (Phase::Writing { out: true }) {
            self.tree.snapshot_taken(len);
            self.snapshot.phase = Phase::Writing { out: false };
        }
    }

    /// The snapshot is finished and durable.
    pub fn snapshot_done(&mut self) {
        if self.snapshot.phase == Phase::Ending {
            debug!("the snapshot of zxid {:#x} is done", self.snapshot.zxid.0);
            self.snapshot.phase = Phase::Idle;
            self.snapshot.required = false;
            self.ensemble.snapshot = Some(self.snapshot.zxid);
            self.ensemble.dirty = true;
        }
    }

    /// The disk has no snapshot at all: none of the transactions to come is handed to it before it
    /// has one. (A log without a snapshot is refused at the next start, by Apache as well.)
    pub fn require_snapshot(&mut self) {
        self.snapshot.required = true;
        self.snapshot.want();
    }

    /// The disk would have room again if it had a snapshot: one is taken soon, if none is being written.
    pub fn want_snapshot(&mut self) {
        self.snapshot.want_soon();
    }

    /// The snapshot could not be written; the disk has dropped it. The log goes on, and another
    /// snapshot is tried when the next one is due.
    pub fn snapshot_failed(&mut self) {
        if self.snapshot.phase != Phase::Idle {
            warning!("the snapshot of zxid {:#x} could not be written", self.snapshot.zxid.0);
            self.tree.snapshot_abandon();
            self.snapshot.phase = if self.snapshot.required { Phase::Wanted } else { Phase::Idle };
            self.stats.snapshots_failed += 1;
        }
    }

    /// Whether the disk has no room for more than deletions and sessions: creations and data are
    /// then answered `SystemError`.
    pub fn set_full(&mut self, full: bool) {
        self.disk_full = full;
    }
}
