//! Restoring: the newest snapshot that is whole, then the logs from the next transaction on.
//!
//! The rules are Apache's (`FileTxnSnapLog.restore`), and stricter where Apache loses
//! transactions silently; see [`replay`](super::replay).

use core::fmt;
use core::time::Duration;
use std::path::PathBuf;
use std::time::Instant;

use zk_core::id::Zxid;
use zk_core::wire::txn::Txn;

use super::directory::{Directory, remove};
use super::error::{Context, Damage, Error};
use super::hint;
use super::name;
use super::replay::Replay;
use super::snapshot::{
    self, CANDIDATES_MAX, Candidate, Ended, SnapshotEnd, SnapshotReader, Taken, candidates,
};
use super::{INITIALIZE, Store};

/// Why the one who loads does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes make no sense. A snapshot is then skipped for the next older one.
    Damaged(String),
    /// They make sense and cannot be taken (a limit, for instance). Restoring ends.
    Stop(String),
}

/// Who takes what is restored: the core's loader.
pub trait Load {
    /// Forgets everything: a snapshot (or, without one, the log) begins from nothing.
    fn reset(&mut self);

    /// Takes from the front of a snapshot's body; see [`Taken`].
    ///
    /// # Errors
    /// See [`Refusal`].
    fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal>;

    /// The snapshot of `zxid` is loaded and verified.
    ///
    /// # Errors
    /// See [`Refusal`].
    fn snapshot_done(&mut self, zxid: Zxid, end: &SnapshotEnd) -> Result<(), Refusal>;

    /// Takes a transaction. They come in the order of the log, which may (in logs of Apache)
    /// repeat some.
    ///
    /// # Errors
    /// Either kind ends restoring.
    fn txn(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Refusal>;

    /// How many transactions have left another tree than their digest says. Who keeps no tree has none.
    fn mismatches(&self) -> u64 {
        0
    }

    /// `done` of `total` bytes were read.
    fn progress(&mut self, done: u64, total: u64) {
        let _ = (done, total);
    }
}

/// Something that restoring met and dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A snapshot could not be loaded; an older one was tried.
    SnapshotSkipped {
        /// The snapshot.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The last batch of the newest log was not written whole. It was cut off (unless the store
    /// is opened for reading only).
    Torn {
        /// The log.
        path: PathBuf,
        /// Where it was cut, bytes; 0 if the file was removed.
        offset: u64,
        /// Up to where something had been written, bytes.
        extent: u64,
        /// What was found there.
        damage: Damage,
    },
    /// An older log ends with a record that was not written whole. Apache leaves that behind; the
    /// next log goes on where it ends.
    PartialTail {
        /// The log.
        path: PathBuf,
        /// Behind its last whole record, bytes.
        offset: u64,
        /// Up to where something had been written, bytes.
        extent: u64,
    },
    /// A transaction whose zxid is not above all before it: the first of one or more. Apache logs
    /// some twice when it syncs with a leader. They are loaded all the same.
    OutOfOrder {
        /// The log.
        path: PathBuf,
        /// Where, bytes.
        offset: u64,
        /// Its id.
        zxid: Zxid,
        /// The id before it.
        after: Zxid,
    },
    /// Transactions are missing, and the options say to go on.
    Gap {
        /// The log in which it goes on.
        path: PathBuf,
        /// The last transaction before the gap.
        last: Zxid,
        /// The first one after it.
        found: Zxid,
    },
    /// The history ends before a transaction that was once synced, without a trace of damage:
    /// another server truncated it, or a file is missing.
    BehindHint {
        /// What was synced.
        synced: Zxid,
        /// Where the history ends.
        last: Zxid,
    },
    /// The snapshot holds effects of transactions after the end of the history, by its digest.
    SnapshotAhead {
        /// The zxid of its digest.
        digest: Zxid,
        /// Where the history ends.
        last: Zxid,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SnapshotSkipped { path, why } => {
                write!(f, "snapshot {} was skipped: {why}", path.display())
            }
            Self::Torn { path, offset, extent, damage } => write!(
                f,
                "the last batch of {} was not written whole ({damage}): cut at offset {offset} of \
                 {extent}",
                path.display()
            ),
            Self::PartialTail { path, offset, extent } => write!(
                f,
                "{} ends inside a record at offset {offset} of {extent}; the next log goes on \
                 from there",
                path.display()
            ),
            Self::OutOfOrder { path, offset, zxid, after } => {
                write!(f, "{} at offset {offset}: zxid {zxid} follows {after}", path.display())
            }
            Self::Gap { path, last, found } => {
                write!(f, "{}: transactions between {last} and {found} are missing", path.display())
            }
            Self::BehindHint { synced, last } => {
                write!(f, "{synced} was synced once, but the history ends with {last}")
            }
            Self::SnapshotAhead { digest, last } => {
                write!(f, "the snapshot has a digest of {digest}, but the history ends with {last}")
            }
        }
    }
}

/// The most findings that are kept; more are only logged and counted.
pub const FINDINGS_MAX: usize = 64;

/// What was met on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first [`FINDINGS_MAX`].
    pub kept: Vec<Finding>,
    /// How many there were.
    pub count: u64,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.count += 1;
        if self.kept.len() < FINDINGS_MAX {
            log::warn!("{finding}");
            self.kept.push(finding);
        }
    }
}

/// What a data directory held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The last transaction. [`Zxid::ZERO`] for a new database. [`Zxid::NONE`] for an empty one
    /// that may have been lost: such a server must not take part in elections as if it were whole.
    pub zxid: Zxid,
    /// The snapshot that was loaded.
    pub snapshot: Option<Zxid>,
    /// Transactions that were replayed.
    pub txns: u64,
    /// How long the snapshot took to load.
    pub snapshot_took: Duration,
    /// How long the logs took to replay.
    pub logs_took: Duration,
    /// Whether a snapshot must be written before anything is served: there is none.
    pub needs_snapshot: bool,
    /// What was met on the way.
    pub findings: Findings,
}

impl<D: Directory> Store<D> {
    /// Loads the newest whole snapshot and replays the logs, in Apache's way:
    ///
    /// - Snapshots that exist and cannot be loaded, all of them: refused. So is a history that ends before
    ///   one of these.
    /// - Logs without any snapshot: refused, unless `trust_empty`; then a snapshot is due.
    /// - Neither: an empty database, [`Zxid::ZERO`] if a new one is allowed (`db_autocreate`, or a
    ///   file `initialize` in the data directory, which is used up by it), else [`Zxid::NONE`].
    ///
    /// A batch that a crash tore off the newest log is cut off the file.
    ///
    /// # Errors
    /// See [`Error`]. Nothing that was loaded may be used then.
    pub fn restore(&mut self, load: &mut dyn Load) -> Result<Restored, Error> {
        self.log.roll()?;
        let mut findings = Findings::default();
        let initialize = self.data.open(INITIALIZE).is_ok();
        let begun = Instant::now();
        let mut skipped = None;
        let found = self.load_snapshot(load, &mut findings, &mut skipped)?;
        let loaded = Instant::now();
        let base = match &found {
            Some((candidate, _)) => candidate.zxid,
            None => {
                load.reset();
                Zxid::ZERO
            }
        };
        // Logs without a snapshot are refused before anything of them is used or repaired.
        if found.is_none() && !self.options.trust_empty {
            let mut probe = Replay::look(self)?;
            let alone = match probe.advance(&mut Findings::default()) {
                // What is missing before a log is the snapshot.
                Err(Error::Gap { path, .. }) => Some(path),
                found => (found? || probe.torn_record()).then(|| probe.path()),
            };
            if let Some(path) = alone {
                return Err(Error::LogsAlone { path });
            }
        }
        let mut replay = Replay::restore(self, base)?;
        let read = found.as_ref().map_or(0, |(candidate, _)| candidate.len);
        let total = read + replay.bytes_left()?;
        let mut txns = 0;
        let mut tail = None;
        while replay.advance(&mut findings)? {
            let zxid = replay.zxid();
            let before = load.mismatches();
            load.txn(zxid, replay.entry()).map_err(|refusal| Error::Load {
                path: replay.path(),
                offset: replay.offset(),
                zxid,
                what: match refusal {
                    Refusal::Damaged(what) | Refusal::Stop(what) => what,
                },
            })?;
            // Not every transaction has a digest: an error that was logged has none.
            tail = replay.take_tail().or(tail);
            if let Some(rot) = tail.take() {
                if load.mismatches() > before {
                    return Err(rot);
                }
                let says = Txn::decode(replay.entry()).is_ok_and(|txn| txn.digest.is_some());
                tail = Some(rot).filter(|_| !says);
            }
            txns += 1;
            if txns % 1024 == 0 {
                load.progress(read + replay.bytes_done(), total);
            }
        }
        load.progress(total, total);
        let last = replay.last();
        // What it shows was in the log before; or it took the place of a history that is back.
        let snapshots = name::list(&self.snapshots, name::SNAPSHOT);
        let newest = snapshots.context("list", || self.snapshots.path(""))?.pop();
        if let Some((_, name)) = newest.filter(|&(zxid, _)| zxid > last) {
            let why = skipped.filter(|(candidate, _)| candidate.name == name);
            let why = why.map_or_else(|| "it is not whole".to_owned(), |(_, why)| why);
            return Err(Error::SnapshotLost { path: self.snapshots.path(&name), why, last });
        }
        self.log.restored(last);
        let trusted = initialize || self.options.db_autocreate;
        let empty = found.is_none() && txns == 0;
        let zxid = if empty && !trusted { Zxid::NONE } else { last };
        if let Some(synced) = hint::read(&self.logs).map(|hint| hint.synced.zxid)
            && synced > last
        {
            findings.add(Finding::BehindHint { synced, last });
        }
        if let Some(digest) = found.as_ref().and_then(|(_, end)| end.digest)
            && digest.zxid > last
        {
            findings.add(Finding::SnapshotAhead { digest: digest.zxid, last });
        }
        let needs_snapshot = found.is_none() && zxid != Zxid::NONE;
        // A new database keeps the file until its first snapshot is there, so that a crash in
        // between does not turn it into a lost one.
        self.initialize = initialize && needs_snapshot && !self.options.read_only;
        if initialize && !self.initialize && !self.options.read_only {
            remove(&self.data, INITIALIZE).context("remove", || self.data.path(INITIALIZE))?;
        }
        Ok(Restored {
            zxid,
            snapshot: found.map(|(candidate, _)| candidate.zxid),
            txns,
            snapshot_took: loaded.duration_since(begun),
            logs_took: loaded.elapsed(),
            needs_snapshot,
            findings,
        })
    }

    /// Loads the newest snapshot that can be; `None` if there is none. `skipped` is the newest that
    /// cannot be, and why.
    fn load_snapshot(
        &self,
        load: &mut dyn Load,
        findings: &mut Findings,
        skipped: &mut Option<(Candidate, String)>,
    ) -> Result<Option<(Candidate, SnapshotEnd)>, Error> {
        let candidates = candidates(&self.snapshots, CANDIDATES_MAX)?;
        let logs = name::list(&self.logs, name::LOG).context("list", || self.logs.path(""))?;
        for candidate in &candidates {
            load.reset();
            let mut total = candidate.len;
            for (_, name) in super::replay::from(&logs, candidate.zxid.successor()) {
                total += super::replay::length(&self.logs, name)?;
            }
            let path = self.snapshots.path(&candidate.name);
            let (mut offset, mut stopped) = (0, None);
            let open = || {
                let most = self.options.snapshot_record_max();
                SnapshotReader::open(&self.snapshots, candidate, most)
            };
            let opened = open();
            // The loader is lent to two closures in turn.
            let cell = core::cell::RefCell::new(&mut *load);
            let loaded = opened.map_err(Ended::Unreadable).and_then(|reader| {
                let mut body = |bytes: &[u8]| {
                    let taken = cell.borrow_mut().snapshot_bytes(bytes)?;
                    offset += taken.consumed as u64;
                    Ok(taken)
                };
                let mut reported = 0;
                let end = snapshot::read(reader, &mut body, &mut |done| {
                    if done - reported >= PROGRESS {
                        reported = done;
                        cell.borrow_mut().progress(done, total);
                    }
                })?;
                cell.borrow_mut().snapshot_done(candidate.zxid, &end).map_err(Ended::Refused)?;
                Ok(end)
            });
            let why = match loaded {
                Ok(end) => return Ok(Some((candidate.clone(), end))),
                Err(Ended::Unreadable(why)) => why.to_string(),
                Err(Ended::Refused(Refusal::Damaged(why))) => why,
                // A rotten bit can look like something that is too much.
                Err(Ended::Refused(Refusal::Stop(what))) => {
                    match open().and_then(SnapshotReader::verify) {
                        Ok(()) => {
                            stopped = Some(what);
                            String::new()
                        }
                        Err(why) => format!("{why}; {what}"),
                    }
                }
            };
            if let Some(what) = stopped {
                return Err(Error::Load { path, offset, zxid: candidate.zxid, what });
            }
            skipped.get_or_insert_with(|| (candidate.clone(), why.clone()));
            findings.add(Finding::SnapshotSkipped { path, why });
        }
        match skipped {
            None => Ok(None),
            Some((newest, why)) => Err(Error::NoSnapshot {
                path: self.snapshots.path(""),
                newest: format!("{}: {why}", newest.name),
                tried: candidates.len(),
            }),
        }
    }
}

/// Bytes of a snapshot between two reports of progress.
const PROGRESS: u64 = 1 << 20;
