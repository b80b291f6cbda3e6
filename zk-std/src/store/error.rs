//! Why the store could not do what it was asked, where, and what to do about it.

use core::fmt;
use std::io;
use std::path::PathBuf;

use zk_core::id::Zxid;

/// What is wrong with the bytes of a log at some offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file is shorter than its header, or does not begin with `ZKLG`.
    Header,
    /// The record's checksum is not that of its entry.
    Checksum,
    /// The record's length is negative or above the limit.
    Length(i32),
    /// The entry is too short for a transaction.
    Entry(usize),
    /// The byte `B` does not follow the entry.
    NoMarker,
    /// The file ends inside the record.
    Short,
    /// There is no record, but something other than zeros.
    Residue,
    /// Records end before an offset up to which they were once synced.
    BelowHint,
    /// The first record is of this transaction, which is before the one that names the log.
    Name(Zxid),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("no log header"),
            Self::Checksum => f.write_str("a record has a wrong checksum"),
            Self::Length(n) => write!(f, "a record has the length {n}"),
            Self::Entry(n) => write!(f, "a record of {n} bytes is too short for a transaction"),
            Self::NoMarker => f.write_str("a record has no end marker"),
            Self::Short => f.write_str("the file ends inside a record"),
            Self::Residue => f.write_str("bytes other than zeros follow the last record"),
            Self::BelowHint => f.write_str("records that were synced are gone"),
            Self::Name(zxid) => write!(f, "it begins with {zxid}, before the one that names it"),
        }
    }
}

/// Why the store could not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    Io {
        /// What was being done: "write", "sync", ...
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A data directory is missing, not writable, or holds the files of the other one.
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A log is damaged where no crash can have damaged it.
    Rot {
        /// The log.
        path: PathBuf,
        /// Where the damage begins, bytes.
        offset: u64,
        /// The last transaction before it.
        last: Zxid,
        /// What is there.
        damage: Damage,
    },
    /// Transactions are missing between two that are there.
    Gap {
        /// The log in which the second of them is.
        path: PathBuf,
        /// Where, bytes.
        offset: u64,
        /// The last transaction (or the snapshot) before the gap.
        last: Zxid,
        /// The first one after it.
        found: Zxid,
    },
    /// There are snapshots, and none of them can be loaded.
    NoSnapshot {
        /// Their directory.
        path: PathBuf,
        /// The newest of them and why it was refused.
        newest: String,
        /// How many were tried.
        tried: usize,
    },
    /// A snapshot cannot be loaded, and the history without it ends before it.
    SnapshotLost {
        /// The snapshot.
        path: PathBuf,
        /// Why it was refused.
        why: String,
        /// The last transaction of what there is besides.
        last: Zxid,
    },
    /// There are logs, and no snapshot.
    LogsAlone {
        /// The newest log.
        path: PathBuf,
    },
    /// The one who loads cannot take it.
    Load {
        /// The file it came from.
        path: PathBuf,
        /// Where in it (uncompressed, if it is a compressed snapshot), bytes.
        offset: u64,
        /// The transaction, or the snapshot.
        zxid: Zxid,
        /// What it said.
        what: String,
    },
    /// A transaction cannot be logged.
    Transaction {
        /// Which one.
        zxid: Zxid,
        /// Its size, bytes.
        len: usize,
        /// Why not.
        what: &'static str,
    },
    /// The history cannot be cut there; only a snapshot from the leader helps.
    Truncate {
        /// Where it was to be cut.
        zxid: Zxid,
        /// Why not.
        what: String,
    },
    /// An epoch file or `myid` is unreadable, or contradicts the history.
    Number {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A snapshot that was being written is not one.
    Snapshot {
        /// Which one.
        zxid: Zxid,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A write or sync of the log failed, now or before. What the disk holds is not known any
    /// more, until a restart reads it.
    Stopped {
        /// How it failed.
        cause: String,
    },
}

impl Error {
    /// The exit code with which Apache's server ends for this reason: 3 when it cannot work with
    /// the data directory, 1 otherwise.
    ///
    /// Answers to `org.apache.zookeeper.server.ExitCode`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Directory { .. } => 3,
            _ => 1,
        }
    }

    /// Whether the disk (or a quota on it) is full, and the same call may succeed later.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

pub(super) fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => {
                write!(f, "cannot {doing} {}: {source}", path.display())
            }
            Self::Directory { path, what } | Self::Number { path, what } => {
                write!(f, "{}: {what}", path.display())
            }
            Self::Rot { path, offset, last, damage } => write!(
                f,
                "{} is damaged at offset {offset}, after zxid {last}: {damage}; this is not what \
                 a crash leaves, so transactions that were acknowledged may be lost. Put the file \
                 back from a copy; or, in an ensemble, move version-2 away to have this server \
                 synced by the others",
                path.display()
            ),
            Self::Gap { path, offset, last, found } => write!(
                f,
                "{} continues at offset {offset} with zxid {found}, but the history before it \
                 ends with {last}: transactions are missing. Put the missing logs (or a newer \
                 snapshot) back; or, in an ensemble, move version-2 away to have this server \
                 synced by the others",
                path.display()
            ),
            Self::NoSnapshot { path, newest, tried } => write!(
                f,
                "none of {tried} snapshots in {} can be loaded ({newest}). Put a snapshot back \
                 from a copy; or, in an ensemble, move version-2 away to have this server synced \
                 by the others",
                path.display()
            ),
            Self::SnapshotLost { path, why, last } => write!(
                f,
                "{} cannot be loaded ({why}), and without it the history ends with zxid {last}: \
                 transactions are missing. Put it back from a copy; or, in an ensemble, move \
                 version-2 away to have this server synced by the others",
                path.display()
            ),
            Self::LogsAlone { path } => write!(
                f,
                "No snapshot found, but there are log entries, in {}. Put the snapshots back. \
                 Only when upgrading from 3.4 this may be right: then set \
                 snapshot.trust.empty=true for one start",
                path.display()
            ),
            Self::Load { path, offset, zxid, what } => {
                write!(f, "{} at offset {offset}, zxid {zxid}: {what}", path.display())
            }
            Self::Transaction { zxid, len, what } => {
                write!(f, "transaction {zxid} of {len} bytes cannot be logged: {what}")
            }
            Self::Truncate { zxid, what } => {
                write!(f, "cannot cut the history after {zxid}: {what}")
            }
            Self::Snapshot { zxid, what } => write!(f, "snapshot {zxid}: {what}"),
            Self::Stopped { cause } => write!(
                f,
                "the store stopped because {cause}; what reached the disk is not known until a \
                 restart reads it, so this process has to end"
            ),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Says what was being done, and to which file.
pub(super) trait Context<T> {
    fn context(self, doing: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, doing: &'static str, path: impl FnOnce() -> PathBuf) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing, path: path(), source })
    }
}
