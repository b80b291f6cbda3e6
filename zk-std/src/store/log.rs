//! Transaction logs: writing.
//!
//! ```text
//! FileHeader (16 bytes) | record* | zeros
//! record = i64 adler32(entry) | i32 length of entry | entry | 'B'
//! ```
//!
//! The checksum is an unsigned 32-bit number in an `i64`. The entry is a whole transaction
//! (header, record, digest). A log is named by the zxid of its first record, created when that is
//! appended, and never appended to once it was closed. The zeros are allocated ahead.
//! Reading is in [`log_reader`](super::log_reader).
//!
//! Answers to `org.apache.zookeeper.server.persistence.FileTxnLog` and `FilePadding`.

use std::io;

use zk_core::id::Zxid;
use zk_core::wire::file::FileHeader;
use zk_core::wire::jute;

use super::directory::{Directory, File};
use super::error::{Context, Damage, Error, is_full};
use super::log_reader::{LogReader, Step};
use super::name;

/// Bytes of a record besides its entry: checksum and length before it, the marker after it.
pub const RECORD_OVERHEAD: usize = 8 + 4 + 1;
/// Ends every record.
pub const MARKER: u8 = b'B';
/// Bytes of a transaction's header: the shortest possible entry.
pub const ENTRY_MIN: usize = 32;

/// The zxid of an entry, from its header.
pub(super) fn entry_zxid(entry: &[u8]) -> Option<Zxid> {
    if entry.len() < ENTRY_MIN {
        return None;
    }
    let bytes = entry.get(12..20)?.try_into().ok()?;
    Some(Zxid(i64::from_be_bytes(bytes)))
}

/// The size that a log of `size` bytes is to have before something is written at `position`:
/// `ahead` bytes more when less than 4 KiB of zeros are left. 0 turns it off.
///
/// Answers to `FilePadding.calculateFileSizeWithPadding`.
pub const fn padded(position: u64, size: u64, ahead: u64) -> u64 {
    if ahead == 0 || position + 4096 < size {
        size
    } else if position > size {
        (position + ahead) / ahead * ahead
    } else {
        size + ahead
    }
}

/// Bounds on what is written and read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// `preAllocSize`, bytes.
    pub ahead: u64,
    /// The largest entry, bytes.
    pub record: usize,
    /// The largest batch between two syncs, bytes.
    pub batch: usize,
}

/// The log that is being written.
#[derive(Debug)]
pub(super) struct LogWriter<D: Directory> {
    directory: D,
    limits: Limits,
    current: Option<Current<D::File>>,
    /// Records that were appended and not yet written.
    batch: Vec<u8>,
    /// The last record that is durable.
    durable: Zxid,
    /// Why nothing more can be written, ever.
    stopped: Option<String>,
}

#[derive(Debug)]
struct Current<F> {
    file: F,
    name: String,
    /// Length of the file, with the zeros.
    size: u64,
    /// End of what was written.
    position: u64,
    /// End of what was synced.
    synced: u64,
    /// The last record that was appended, and that was synced.
    last: Zxid,
    last_synced: Zxid,
    /// Whether the file's name is durable.
    named: bool,
}

/// Up to where a log is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The log's name.
    pub name: String,
    /// Offset behind its last synced record.
    pub offset: u64,
    /// That record.
    pub zxid: Zxid,
}

/// How far the logs are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The last transaction that is.
    pub last: Zxid,
    /// Of the log that is being written. There is nothing else behind the last transaction.
    pub log: Option<Synced>,
}

impl Default for Extent {
    /// No transaction is.
    fn default() -> Self {
        Self { last: Zxid::NONE, log: None }
    }
}

impl<D: Directory> LogWriter<D> {
    pub(super) fn new(directory: D, limits: Limits) -> Self {
        let batch = Vec::new();
        Self { directory, limits, current: None, batch, durable: Zxid::NONE, stopped: None }
    }

    /// Whether anything may still be written.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.stopped {
            None => Ok(()),
            Some(cause) => Err(Error::Stopped { cause: cause.clone() }),
        }
    }

    /// Keeps `entry` for the next [`sync`](Self::sync). If the batch would grow past its limit,
    /// what was appended before is synced first.
    pub(super) fn append(&mut self, zxid: Zxid, entry: &[u8]) -> Result<(), Error> {
        self.check()?;
        let refuse = |what| Error::Transaction { zxid, len: entry.len(), what };
        if entry.len() > self.limits.record {
            return Err(refuse("it is larger than jute.maxbuffer allows to read back"));
        }
        if entry_zxid(entry) != Some(zxid) {
            return Err(refuse("its header does not carry this zxid"));
        }
        let len = i32::try_from(entry.len()).map_err(|_| refuse("it is larger than 2 GiB"))?;
        let framed = entry.len() + RECORD_OVERHEAD;
        if !self.batch.is_empty() && self.batch.len() + framed > self.limits.batch {
            self.sync()?;
        }
        let current = match &mut self.current {
            Some(current) => current,
            none => {
                let created = Self::begin(&self.directory, zxid, &mut self.batch)?;
                none.insert(created)
            }
        };
        let sum = i64::from(super::sum::of(entry));
        self.batch.extend_from_slice(&sum.to_be_bytes());
        self.batch.extend_from_slice(&len.to_be_bytes());
        self.batch.extend_from_slice(entry);
        self.batch.push(MARKER);
        current.last = zxid;
        Ok(())
    }

    fn begin(directory: &D, zxid: Zxid, batch: &mut Vec<u8>) -> Result<Current<D::File>, Error> {
        let name = name::log(zxid);
        let path = || directory.path(&name);
        // Left by a crash before its first record was whole, such a file is simply begun anew.
        match directory.open(&name) {
            Ok(file) => {
                let mut reader = LogReader::new(file, path(), usize::MAX);
                if let Step::Record { .. } = reader.step()? {
                    return Err(Error::Io {
                        doing: "begin",
                        path: path(),
                        source: io::ErrorKind::AlreadyExists.into(),
                    });
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).context("open", path),
        }
        let file = directory.create(&name).context("create", path)?;
        batch.clear();
        let mut header = [0; FileHeader::LEN];
        let encoded = jute::encode(&FileHeader::LOG, &mut header);
        debug_assert_eq!(encoded, Ok(FileHeader::LEN));
        batch.extend_from_slice(&header);
        Ok(Current {
            file,
            name,
            size: FileHeader::LEN as u64,
            position: 0,
            synced: 0,
            last: zxid,
            last_synced: Zxid::NONE,
            named: false,
        })
    }

    /// Writes what was appended, in one write.
    fn write(&mut self) -> Result<(), Error> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if self.batch.is_empty() {
            return Ok(());
        }
        let path = || self.directory.path(&current.name);
        // As Apache does: 16 bytes of header are there before the file is first extended.
        let position = current.position.max(FileHeader::LEN as u64);
        let size = padded(position, current.size, self.limits.ahead);
        let written = match current.size == size {
            true => Ok(()),
            false => current.file.set_len(size).inspect(|()| current.size = size),
        }
        .and_then(|()| current.file.write_all_at(&self.batch, current.position));
        match written {
            Ok(()) => {}
            // A full disk may get room again: the batch is kept, and written once more at the
            // same place. After anything else nobody knows what is there.
            Err(e) if is_full(&e) => return Err(e).context("write", path),
            Err(e) => {
                let cause = format!("{} could not be written: {e}", path().display());
                return Err(Error::Stopped { cause: self.stopped.insert(cause).clone() });
            }
        }
        current.position += self.batch.len() as u64;
        self.batch.clear();
        Ok(())
    }

    /// Makes all that was appended durable. An error to sync is final: this and every later call
    /// answers [`Error::Stopped`]. After [`Error::is_full`] the same can be tried again.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.check()?;
        self.write()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.synced == current.position && current.named {
            return Ok(());
        }
        let path = || self.directory.path(&current.name);
        let sync = || if zk_core::planted!(PageCache) { Ok(()) } else { current.file.sync_data() };
        let synced = sync()
            .or_else(|error| if zk_core::planted!(RetriedSync) { sync() } else { Err(error) });
        let synced = synced.and_then(|()| match current.named {
            true => Ok(()),
            false => self.directory.sync(),
        });
        if let Err(e) = synced {
            let cause = format!("{} could not be synced: {e}", path().display());
            return Err(Error::Stopped { cause: self.stopped.insert(cause).clone() });
        }
        current.named = true;
        current.synced = current.position;
        current.last_synced = current.last;
        self.durable = current.last;
        Ok(())
    }

    /// Makes all durable and closes the log; the next record begins another.
    pub(super) fn roll(&mut self) -> Result<(), Error> {
        self.sync()?;
        self.current = None;
        Ok(())
    }

    /// Bytes in the current log, with what was appended and not yet synced.
    pub(super) fn len(&self) -> u64 {
        let written = self.current.as_ref().map_or(0, |c| c.position);
        written + self.batch.len() as u64
    }

    /// Up to where the current log is durable; `None` before its first sync.
    pub(super) fn synced(&self) -> Option<Synced> {
        let c = self.current.as_ref().filter(|c| c.named)?;
        Some(Synced { name: c.name.clone(), offset: c.synced, zxid: c.last_synced })
    }

    /// How far the logs are durable.
    pub(super) fn extent(&self) -> Extent {
        Extent { last: self.durable, log: self.synced() }
    }

    /// The logs that are there end with `last`, and there is no other.
    pub(super) fn restored(&mut self, last: Zxid) {
        self.durable = last;
    }
}

/// Whether Apache's reader takes the damage for the end of a file (and goes on with the next
/// one), rather than for a reason to refuse.
pub(super) const fn apache_reads_as_end(damage: Damage) -> bool {
    matches!(damage, Damage::NoMarker | Damage::Short | Damage::Residue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_grow_as_apaches_do() {
        const K64: u64 = 64 * 1024;
        // The first growth comes right behind the header.
        assert_eq!(padded(16, 16, K64), 65552);
        assert_eq!(padded(16, 65552, K64), 65552);
        assert_eq!(padded(65552 - 4097, 65552, K64), 65552);
        assert_eq!(padded(65552 - 4096, 65552, K64), 131088);
        // Past the end: the next multiple beyond.
        assert_eq!(padded(65553, 65552, K64), 131072);
        assert_eq!(padded(131072, 131000, K64), 196608);
        assert_eq!(padded(16, 16, 0), 16);
        assert_eq!(padded(1000, 16, 0), 16);
    }
}
