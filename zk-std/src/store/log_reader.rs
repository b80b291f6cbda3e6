//! Transaction logs: reading one file, record by record.

use core::ops::Range;
use std::path::{Path, PathBuf};

use zk_core::id::Zxid;
use zk_core::wire::file::FileHeader;

use super::directory::{File, read_full};
use super::error::{Context, Damage, Error};
use super::log::{ENTRY_MIN, MARKER, RECORD_OVERHEAD, entry_zxid};

/// Bytes that are read at once.
const READ: usize = 64 * 1024;
/// Bytes of a record before its entry.
const HEAD: usize = 12;
/// Bytes that a disk writes together or not at all.
const SECTOR: u64 = 512;

/// What comes next in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole record with a right checksum; [`LogReader::entry`] has the transaction.
    Record {
        /// Where it begins, bytes.
        offset: u64,
        /// Its transaction's id.
        zxid: Zxid,
    },
    /// There are no more records.
    End {
        /// Behind the last record, bytes.
        offset: u64,
        /// What is there instead of a record; `None` at the end of the file, and when the next
        /// record would have the length 0 and no checksum (what follows may still be damage:
        /// [`LogReader::extent`]).
        damage: Option<Damage>,
    },
}

/// Reads the records of one log.
#[derive(Debug)]
pub struct LogReader<F> {
    file: F,
    path: PathBuf,
    /// The largest entry, bytes.
    limit: usize,
    /// What was read ahead, beginning at `start` in the file; the next record is at `offset`.
    window: Vec<u8>,
    piece: Box<[u8]>,
    start: u64,
    offset: u64,
    /// Where the last record's entry is in the window.
    entry: Range<usize>,
    /// Where reading ends although the file goes on: the unsynced tail of a log in use.
    end: u64,
}

impl<F: File> LogReader<F> {
    /// Reads `file`; entries above `limit` bytes count as damage. `path` is for messages.
    pub fn new(file: F, path: PathBuf, limit: usize) -> Self {
        Self {
            file,
            path,
            limit,
            window: Vec::new(),
            piece: vec![0; READ].into(),
            start: 0,
            offset: 0,
            entry: 0..0,
            end: u64::MAX,
        }
    }

    /// Reads no further than `end`, as if the file ended there.
    pub(super) fn with_end(self, end: u64) -> Self {
        Self { end, ..self }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The length of the file, with the zeros at its end.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn len(&self) -> Result<u64, Error> {
        self.file.len().context("measure", || self.path.clone())
    }

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }

    /// Shows `n` bytes at the next record, or fewer where the file ends.
    fn show(&mut self, n: usize) -> Result<&[u8], Error> {
        let mut skip = usize::try_from(self.offset - self.start).unwrap_or(usize::MAX);
        if self.window.len() < skip.saturating_add(n) {
            self.window.drain(..skip.min(self.window.len()));
            (self.start, skip) = (self.offset, 0);
        }
        while self.window.len() < skip.saturating_add(n) {
            let from = self.start + self.window.len() as u64;
            let room = usize::try_from(self.end.saturating_sub(from)).unwrap_or(READ).min(READ);
            let got = read_full(&self.file, &mut self.piece[..room], from)
                .context("read", || self.path.clone())?;
            if got == 0 {
                break;
            }
            self.window.extend_from_slice(&self.piece[..got]);
        }
        let shown = self.window.get(skip..).unwrap_or_default();
        Ok(&shown[..n.min(shown.len())])
    }

    /// Reads the next record. After the end it answers the end again.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn step(&mut self) -> Result<Step, Error> {
        if self.offset == 0 {
            let header = self.show(FileHeader::LEN)?;
            if header.len() < FileHeader::LEN || header[..4] != FileHeader::LOG.magic.to_be_bytes()
            {
                return Ok(self.stop(Some(Damage::Header)));
            }
            self.offset = FileHeader::LEN as u64;
        }
        let Some((head, _)) = self.show(HEAD)?.split_first_chunk::<HEAD>() else {
            let damage = self.show(HEAD)?.iter().any(|&b| b != 0).then_some(Damage::Short);
            return Ok(self.stop(damage));
        };
        let [c0, c1, c2, c3, c4, c5, c6, c7, l0, l1, l2, l3] = *head;
        let sum = i64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
        let length = i32::from_be_bytes([l0, l1, l2, l3]);
        if length == 0 {
            return Ok(self.stop((sum != 0).then_some(Damage::Residue)));
        }
        let len = match usize::try_from(length) {
            Ok(len) if len <= self.limit => len,
            _ => return Ok(self.stop(Some(Damage::Length(length)))),
        };
        let record = self.show(RECORD_OVERHEAD + len)?;
        if record.len() < RECORD_OVERHEAD + len {
            return Ok(self.stop(Some(Damage::Short)));
        }
        let entry = &record[HEAD..HEAD + len];
        let damage = if record[HEAD + len] != MARKER {
            Damage::NoMarker
        } else if i64::from(super::sum::of(entry)) != sum && !zk_core::planted!(TornTail) {
            Damage::Checksum
        } else if let Some(zxid) = entry_zxid(entry) {
            let offset = self.offset;
            let begin = usize::try_from(offset - self.start).unwrap_or(usize::MAX) + HEAD;
            self.entry = begin..begin + len;
            self.offset += (RECORD_OVERHEAD + len) as u64;
            return Ok(Step::Record { offset, zxid });
        } else {
            Damage::Entry(len)
        };
        Ok(self.stop(Some(damage)))
    }

    /// The transaction of the record that [`step`](Self::step) answered last.
    pub fn entry(&self) -> &[u8] {
        self.window.get(self.entry.clone()).unwrap_or_default()
    }

    fn stop(&self, damage: Option<Damage>) -> Step {
        Step::End { offset: self.offset, damage }
    }

    /// The end of what was ever written: behind the last byte that is not zero, at least `from`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn extent(&self, from: u64) -> Result<u64, Error> {
        let mut piece = vec![0; READ];
        let (mut at, mut extent) = (from, from);
        loop {
            let n = read_full(&self.file, &mut piece, at).context("read", || self.path.clone())?;
            if let Some(last) = piece[..n].iter().rposition(|&b| b != 0) {
                extent = at + last as u64 + 1;
            }
            at += n as u64;
            if n < piece.len() {
                return Ok(extent);
            }
        }
    }

    /// Whether the damage at `offset` can come from a crash while it was being written: the file
    /// ends there, or what should be there was never written and reads as zeros, from some point
    /// to the end or in whole sectors. What was written and reads otherwise has rotted.
    ///
    /// `extent` is that of [`extent`](Self::extent).
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn looks_torn(
        &self,
        offset: u64,
        damage: Option<Damage>,
        extent: u64,
    ) -> Result<bool, Error> {
        let read = |buf: &mut [u8], at| {
            read_full(&self.file, buf, at).context("read", || self.path.clone())
        };
        let mut head = [0; HEAD];
        let n = read(&mut head, offset)?;
        if n == HEAD && self.is_whole_but_for_its_length(offset, extent)? {
            return Ok(false);
        }
        let len = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let end = match damage {
            Some(Damage::Header) => FileHeader::LEN as u64,
            Some(Damage::NoMarker | Damage::Checksum | Damage::Entry(_)) if n == HEAD => {
                offset + RECORD_OVERHEAD as u64 + u64::try_from(len).unwrap_or(0)
            }
            _ => offset + HEAD as u64,
        };
        if damage == Some(Damage::Short) || self.len()? < end || extent < end {
            return Ok(true);
        }
        let mut sector = [0; SECTOR as usize];
        let mut at = offset;
        while at < end {
            let next = (at / SECTOR + 1) * SECTOR;
            let n = read(&mut sector[..usize::try_from(next - at).unwrap_or(0)], at)?;
            // (A checksum begins with four zeros.)
            if next > offset + 4 && sector[..n].iter().all(|&b| b == 0) {
                return Ok(true);
            }
            at = next;
        }
        Ok(false)
    }

    /// Whether a record begins at `offset` that would be whole if it had another length.
    fn is_whole_but_for_its_length(&self, offset: u64, extent: u64) -> Result<bool, Error> {
        let limit = self.limit.saturating_add(RECORD_OVERHEAD) as u64;
        let len = usize::try_from((extent - offset).min(limit)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        let n = read_full(&self.file, &mut bytes, offset).context("read", || self.path.clone())?;
        bytes.truncate(n);
        let Some((sum, rest)) = bytes.split_first_chunk::<8>() else { return Ok(false) };
        let sum = i64::from_be_bytes(*sum);
        let mut running = Adler::default();
        Ok(rest.get(4..).unwrap_or_default().iter().enumerate().any(|(len, &byte)| {
            let whole = len >= ENTRY_MIN && byte == MARKER && running.sum() == sum;
            running.add(byte);
            whole
        }))
    }

    /// Cuts the file at `len`, durably.
    pub(super) fn cut(&self, len: u64) -> Result<(), Error> {
        let cut = self.file.set_len(len).and_then(|()| self.file.sync_data());
        cut.context("cut", || self.path.clone())
    }
}

/// Adler-32, a byte at a time.
struct Adler {
    a: u32,
    b: u32,
}

impl Default for Adler {
    fn default() -> Self {
        Self { a: 1, b: 0 }
    }
}

impl Adler {
    const MODULUS: u32 = 65521;

    fn add(&mut self, byte: u8) {
        self.a = (self.a + u32::from(byte)) % Self::MODULUS;
        self.b = (self.b + self.a) % Self::MODULUS;
    }

    fn sum(&self) -> i64 {
        i64::from(self.b << 16 | self.a)
    }
}
