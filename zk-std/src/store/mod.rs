//! Apache ZooKeeper's files: snapshots, transaction logs, epochs.
//!
//! A [`Store`] owns a data directory. It is synchronous: a server runs it on a thread of its own,
//! a simulation wherever it likes, over a [`Directory`] that is real ([`OsDirectory`]) or
//! [`simulated`]. It never interprets nodes: a snapshot's body is the core's, and a transaction
//! is its zxid and its bytes.
//!
//! ```text
//! <dataDir>/myid, initialize
//! <dataDir>/version-2/snapshot.<zxid>[.gz|.snappy]    currentEpoch  acceptedEpoch
//! <dataLogDir>/version-2/log.<zxid of its first record>
//! ```
//!
//! zk's own files there have names that Apache ignores: `zk.synced` (see [`replay`]),
//! `zk.reserve` (space for a full disk), `zk.snapshot.*.tmp` (a snapshot being written),
//! `zk.install*` (one that a leader sends).
//!
//! | | |
//! |---|---|
//! | what was synced | is there after any crash; of what was not, the first whole transactions |
//! | an error to sync | ends the store: every later call answers [`Error::Stopped`] |
//! | a full disk | the batch is kept; `zk.reserve` is given up once and the write repeated |
//! | limits | [`Options::record_max`], [`Options::batch_max`], [`snapshot::CANDIDATES_MAX`] |

pub mod directory;
pub mod epochs;
pub mod error;
pub mod log;
pub mod log_reader;
pub mod name;
pub mod purge;
pub mod replay;
pub mod restore;
pub mod simulated;
pub mod snapshot;
pub mod snapshot_writer;

mod compression;
mod hint;
mod install;
mod reserve;
mod sum;
mod truncate;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use zk_core::id::Zxid;

pub use compression::Compression;
pub use directory::{Directory, File, OsDirectory};
pub(crate) use directory::{remove, replace};
pub use epochs::Epochs;
pub use error::{Damage, Error};
pub use install::Received;
pub use log::{Extent, Synced};
pub use replay::Replay;
pub use restore::{Finding, Findings, Load, Refusal, Restored};
pub use snapshot::{Candidate, SnapshotEnd, SnapshotReader, Taken, Unreadable};
pub use snapshot_writer::SnapshotWriter;

use error::{Context, is_full};
use hint::Hint;
use log::{Limits, LogWriter, RECORD_OVERHEAD};
use reserve::Reserve;

/// The directory inside `dataDir` and `dataLogDir` in which everything is.
pub const VERSION_2: &str = "version-2";
/// Marks, in `dataDir`, an empty database as one that is meant to be empty.
pub const INITIALIZE: &str = "initialize";
/// Holds, in `dataDir`, the server's id.
pub const MY_ID: &str = "myid";
/// Holds the current epoch.
pub const EPOCH_CURRENT: &str = "currentEpoch";
/// Holds the accepted epoch.
pub const EPOCH_ACCEPTED: &str = "acceptedEpoch";

/// What can be set.
#[derive(Clone, Debug)]
pub struct Options {
    /// How far logs are extended ahead, bytes (`preAllocSize`, which is in KiB); 0 for not at all.
    pub preallocate: u64,
    /// The largest transaction, bytes: `jute.maxbuffer` and `jute.maxbuffer.extrasize`. A larger
    /// one is not logged, and one that is read counts as damage, as in Apache.
    pub record_max: usize,
    /// The largest batch between two syncs, bytes. What is appended beyond it is synced first.
    pub batch_max: usize,
    /// How snapshots are written (`snapshot.compression.method`).
    pub compression: Compression,
    /// Replay logs that have no snapshot (`snapshot.trust.empty`).
    pub trust_empty: bool,
    /// Whether an empty database may count as a new one (`zookeeper.db.autocreate`).
    pub db_autocreate: bool,
    /// Whether missing directories are created (`zookeeper.datadir.autocreate`).
    pub datadir_autocreate: bool,
    /// Load what is there even where transactions are missing, as Apache does without saying so.
    pub accept_gaps: bool,
    /// Change nothing: for looking into the directory of a server.
    pub read_only: bool,
    /// Bytes that are kept for a full disk, in each of the two directories.
    pub reserve: u64,
}

impl Default for Options {
    fn default() -> Self {
        const MAX_BUFFER: usize = 0xf_ffff;
        Self {
            preallocate: 64 << 20,
            record_max: 2 * MAX_BUFFER,
            batch_max: 1 << 20,
            compression: Compression::Plain,
            trust_empty: false,
            db_autocreate: true,
            datadir_autocreate: true,
            accept_gaps: false,
            read_only: false,
            reserve: 4 << 20,
        }
    }
}

impl Options {
    /// The largest part of a log that can be torn by one crash: a batch, or one large record.
    fn torn_window(&self) -> u64 {
        let record = self.record_max.saturating_add(RECORD_OVERHEAD);
        self.batch_max.max(record).saturating_add(zk_core::wire::file::FileHeader::LEN) as u64
    }

    /// The largest part of a snapshot that is shown at once: a node with its path.
    fn snapshot_record_max(&self) -> usize {
        self.record_max.saturating_mul(2).saturating_add(64 << 10)
    }
}

/// A data directory, opened.
#[derive(Debug)]
pub struct Store<D: Directory> {
    data: D,
    snapshots: D,
    logs: D,
    options: Options,
    log: LogWriter<D>,
    log_reserve: Reserve<D>,
    snapshot_reserve: Reserve<D>,
    /// What the hint file says.
    hinted: Option<Synced>,
    /// Whether `initialize` is to be removed with the first snapshot.
    initialize: bool,
}

impl<D: Directory> Store<D> {
    /// Opens `data` (`dataDir`) and `log` (`dataLogDir`, often the same), creates what is missing
    /// in them if that is allowed, and deals with what a crash left of unfinished snapshots.
    ///
    /// # Errors
    /// [`Error::Directory`] (exit code 3) when one is missing or not writable, or has the files of
    /// the other; [`Error::Io`].
    pub fn open(data: D, log: D, options: Options) -> Result<Self, Error> {
        let (snapshots, logs) = (data.join(VERSION_2), log.join(VERSION_2));
        let same = data.path("") == log.path("");
        prepare(&logs, "data", &options)?;
        prepare(&snapshots, "snap", &options)?;
        if !same {
            refuse_strangers(&logs, "snapshot.", "Log directory has snapshot files")?;
            refuse_strangers(&snapshots, "log.", "Snapshot directory has log files")?;
        }
        if options.read_only {
            if let Some(zxid) = install::pending(&snapshots)? {
                return Err(Error::Directory {
                    path: snapshots.path(""),
                    what: format!(
                        "a snapshot of {zxid} from a leader was not installed to the end: start \
                         the server, which does that"
                    ),
                });
            }
        } else {
            install::recover(&snapshots, &logs)?;
            snapshot_writer::clean(&snapshots).context("clean", || snapshots.path(""))?;
        }
        let limits = Limits {
            ahead: options.preallocate,
            record: options.record_max,
            batch: options.batch_max,
        };
        let reserve = if options.read_only { 0 } else { options.reserve };
        let mut store = Self {
            log: LogWriter::new(logs.clone(), limits),
            log_reserve: Reserve::new(logs.clone(), reserve),
            snapshot_reserve: Reserve::new(snapshots.clone(), if same { 0 } else { reserve }),
            hinted: None,
            initialize: false,
            data,
            snapshots,
            logs,
            options,
        };
        store.hold_reserve();
        Ok(store)
    }

    /// Where `dataDir` is, for messages.
    pub fn data_dir(&self) -> PathBuf {
        self.data.path("")
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Adds a transaction to the batch that the next [`sync`](Self::sync) makes durable. The first
    /// one after opening, [`roll`](Self::roll) and [`truncate`](Self::truncate) begins a log.
    ///
    /// # Errors
    /// [`Error::Transaction`] when it cannot be logged; when the batch was full, those of `sync`.
    pub fn append(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Error> {
        self.with_reserve(|store| store.log.append(zxid, txn))
    }

    /// Makes all transactions durable that were appended: one write, one `fdatasync`.
    ///
    /// # Errors
    /// After [`Error::is_full`] the batch is kept and the call can be repeated.
    /// [`Error::Stopped`]: the store has stopped for good, and the process has to end; nobody
    /// knows what of the batch will be found on the disk.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.with_reserve(|store| store.log.sync())
    }

    /// Syncs, and lets the next transaction begin another log.
    ///
    /// # Errors
    /// Those of [`sync`](Self::sync).
    pub fn roll(&mut self) -> Result<(), Error> {
        self.with_reserve(|store| store.log.roll())
    }

    /// Bytes in the current log (0 after [`roll`](Self::roll)): by this, and the number of
    /// transactions, a server decides when to take a snapshot.
    pub fn log_len(&self) -> u64 {
        self.log.len()
    }

    /// Up to where the current log is durable.
    pub fn synced(&self) -> Option<Synced> {
        self.log.synced()
    }

    /// For quiet moments: writes down up to where the log is durable, so that a later restore can
    /// tell rot from a torn batch, and takes the reserve again if it was given up. Cheap when
    /// there is nothing to do.
    ///
    /// # Errors
    /// Those of the file system; they do no harm.
    pub fn idle(&mut self) -> Result<(), Error> {
        self.log.check()?;
        self.hold_reserve();
        let synced = self.log.synced();
        if let Some(synced) = synced
            && self.hinted.as_ref() != Some(&synced)
        {
            Hint::of(&self.logs, synced.clone())
                .and_then(|hint| hint.write(&self.logs))
                .context("write", || self.logs.path("zk.synced"))?;
            self.hinted = Some(synced);
        }
        Ok(())
    }

    /// How far the logs are durable.
    pub fn extent(&self) -> Extent {
        self.log.extent()
    }

    /// Reads transactions from `start` on, up to the last that is durable by `extent`, which may
    /// come from another view of the same directory. What is appended later takes another call.
    /// Files that are not yet open must not be purged meanwhile ([`purge`](Self::purge) has a pin
    /// for that).
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn read_log(&self, start: Zxid, extent: &Extent) -> Result<Replay<D>, Error> {
        Replay::follow(self, start, extent)
    }

    /// Begins a snapshot whose body holds all effects of the transactions up to `zxid`. It is
    /// independent of the store from then on, and may be written on another thread.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin_snapshot(&mut self, zxid: Zxid) -> Result<SnapshotWriter<D>, Error> {
        self.log.check()?;
        let initialize = core::mem::take(&mut self.initialize).then(|| self.data.clone());
        SnapshotWriter::begin(self.snapshots.clone(), zxid, self.options.compression, initialize)
    }

    /// The snapshots that look whole, newest first.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        snapshot::candidates(&self.snapshots, snapshot::CANDIDATES_MAX)
    }

    /// Opens a snapshot for reading, to send it for instance. On Unix it may be purged meanwhile.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn open_snapshot(
        &self,
        candidate: &Candidate,
    ) -> Result<SnapshotReader<D::File>, Unreadable> {
        SnapshotReader::open(&self.snapshots, candidate, self.options.snapshot_record_max())
    }

    /// Bytes that can still be written, on the fuller of the two file systems; `None` where that
    /// cannot be known.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn space(&self) -> Result<Option<u64>, Error> {
        let logs = self.logs.space().context("measure", || self.logs.path(""))?;
        let snapshots = self.snapshots.space().context("measure", || self.snapshots.path(""))?;
        Ok(match (logs, snapshots) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// Whether the reserve is there. Without it only what frees space should be accepted.
    pub fn has_reserve(&self) -> bool {
        self.log_reserve.is_held() && self.snapshot_reserve.is_held()
    }

    fn hold_reserve(&mut self) {
        for reserve in [&mut self.log_reserve, &mut self.snapshot_reserve] {
            if let Err(e) = reserve.hold() {
                ::log::warn!("cannot reserve space for a full disk: {e}");
            }
        }
    }

    /// Does something that must not fail while there is space in reserve.
    fn with_reserve<T>(
        &mut self,
        mut f: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let full = match f(self) {
            Err(e) if e.is_full() => e,
            other => return other,
        };
        let log = self.log_reserve.release();
        let snapshot = self.snapshot_reserve.release();
        let released = |r: io::Result<bool>| r.unwrap_or(false);
        if !(released(log) | released(snapshot)) {
            return Err(full);
        }
        ::log::error!("{full}; the reserved space was given up");
        f(self)
    }
}

/// Makes sure that a directory is there and can be written to.
fn prepare<D: Directory>(directory: &D, what: &str, options: &Options) -> Result<(), Error> {
    let path = directory.path("");
    let refuse = |what: String| Error::Directory { path: path.clone(), what };
    if !directory.exists().map_err(|e| refuse(format!("it cannot be used: {e}")))? {
        if options.read_only || !options.datadir_autocreate {
            return Err(refuse(format!(
                "Missing {what} directory, automatic data directory creation is disabled \
                 (zookeeper.datadir.autocreate is false). Please create this directory manually."
            )));
        }
        directory.make().map_err(|e| refuse(format!("Unable to create {what} directory: {e}")))?;
    }
    if !options.read_only {
        const PROBE: &str = "zk.probe.tmp";
        let probed = directory.create(PROBE).and_then(|_| directory.unlink(PROBE));
        match probed {
            // A full disk is not a wrong directory.
            Err(e) if !is_full(&e) => {
                return Err(refuse(format!("Cannot write to {what} directory: {e}")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses files that belong into the other directory (ZOOKEEPER-2967).
fn refuse_strangers<D: Directory>(directory: &D, prefix: &str, what: &str) -> Result<(), Error> {
    let names = directory.list().context("list", || directory.path(""))?;
    match names.iter().find(|name| name.starts_with(prefix)) {
        None => Ok(()),
        Some(name) => Err(Error::Directory {
            path: directory.path(""),
            what: format!(
                "{what} ({name}). Check if dataLogDir and dataDir configuration is correct."
            ),
        }),
    }
}
