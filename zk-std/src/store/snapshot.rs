//! Snapshots: finding and reading them.
//!
//! ```text
//! FileHeader
//! body: sessions, ACL table, nodes, end marker "/"    -- bytes of the core
//! i64 adler32 | ustring "/"
//! i64 zxid | i32 version | i64 tree digest | i64 adler32 | ustring "/"    -- since 3.6, may be absent
//! i64 last processed zxid | i64 adler32 | ustring "/"                      -- since 3.9, may be absent
//! ```
//!
//! Each checksum covers everything before it, earlier checksums and their "/" included. Writing
//! is in [`snapshot_writer`](super::snapshot_writer), compression in
//! `compression`.
//!
//! Answers to `org.apache.zookeeper.server.persistence.FileSnap` and `SnapStream`.

use core::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zk_core::id::Zxid;
use zk_core::wire::file::{FileHeader, SnapshotDigest};
use zk_core::wire::jute::{Reader, Ustring};
use zk_core::wire::txn::TxnDigest;

use super::compression::{Compression, Decoder, GZIP_MAGIC, SNAPPY_MAGIC};
use super::directory::{Directory, File, read_full};
use super::error::{Context, Error};
use super::name;
use super::sum::Sum;

/// How a checksum is followed, and how the nodes end: the ustring "/".
pub(super) const SEAL: [u8; 5] = [0, 0, 0, 1, b'/'];
/// The most snapshots that are considered, from the newest on.
pub const CANDIDATES_MAX: usize = 100;
/// Bytes behind the body that are looked at.
const TRAILERS_MAX: usize = 4096;
/// Bytes that are read at once.
const READ: usize = 64 * 1024;

/// A snapshot that looks whole from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The last transaction that it contains whole.
    pub zxid: Zxid,
    /// Its file's name.
    pub name: String,
    /// Its file's length, bytes.
    pub len: u64,
}

/// The snapshots of a directory that look whole, newest first, at most `max`.
///
/// # Errors
/// When the directory cannot be listed. A file that cannot be opened does not look whole.
pub fn candidates<D: Directory>(directory: &D, max: usize) -> Result<Vec<Candidate>, Error> {
    let mut found = Vec::new();
    let names = name::list(directory, name::SNAPSHOT).context("list", || directory.path(""))?;
    for (zxid, name) in names.into_iter().rev() {
        if found.len() == max {
            break;
        }
        let looks = directory.open(&name).and_then(|file| looks_whole(&name, &file));
        match looks {
            Ok(Some(len)) => found.push(Candidate { zxid, name, len }),
            Ok(None) => log::warn!("{} is not a whole snapshot", directory.path(&name).display()),
            Err(e) => log::warn!("cannot read {}: {e}", directory.path(&name).display()),
        }
    }
    Ok(found)
}

/// The length of a snapshot that begins (if compressed) or ends as one does.
fn looks_whole<F: File>(name: &str, file: &F) -> io::Result<Option<u64>> {
    let len = file.len()?;
    let mut edge = [0; SNAPPY_MAGIC.len()];
    let whole = match Compression::of(name) {
        Compression::Plain => {
            let edge = &mut edge[..SEAL.len()];
            len >= 10 && {
                let n = read_full(file, edge, len - SEAL.len() as u64)?;
                edge[..n] == SEAL
            }
        }
        Compression::Gzip => {
            let n = read_full(file, &mut edge[..GZIP_MAGIC.len()], 0)?;
            edge[..n] == GZIP_MAGIC
        }
        Compression::Snappy => {
            let n = read_full(file, &mut edge, 0)?;
            edge[..n] == SNAPPY_MAGIC
        }
    };
    Ok(whole.then_some(len))
}

/// Why a snapshot cannot be used.
#[derive(Debug)]
pub enum Unreadable {
    /// The file cannot be read, or does not decompress.
    Io(io::Error),
    /// It does not begin with `ZKSN`.
    Header,
    /// It ends in the middle.
    Ended,
    /// It has a record larger than the limit, or than the reader of the body accepts.
    TooLarge {
        /// Bytes that were needed at once.
        need: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The body does not end with "/".
    Unsealed,
    /// A checksum is wrong.
    Checksum,
    /// What follows the body is not a trailer.
    Trailer,
    /// The reader of the body cannot make sense of it.
    Body(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Header => f.write_str("no snapshot header"),
            Self::Ended => f.write_str("it ends in the middle"),
            Self::TooLarge { need, limit } => {
                write!(f, "a record needs {need} bytes, {limit} are allowed")
            }
            Self::Unsealed => f.write_str("the end marker is missing"),
            Self::Checksum => f.write_str("wrong checksum"),
            Self::Trailer => f.write_str("what follows the nodes is not a trailer"),
            Self::Body(what) => f.write_str(what),
        }
    }
}

/// What a snapshot says about itself behind its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SnapshotEnd {
    /// The tree's digest at some zxid, which may be above the snapshot's (Apache's are fuzzy).
    /// Not given if it is below or empty.
    pub digest: Option<SnapshotDigest>,
    /// The last transaction that was processed when writing ended.
    pub last_zxid: Option<Zxid>,
}

/// How much of what it was shown a reader of the body took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes it has dealt with.
    pub consumed: usize,
    /// Bytes it wants to see at least next time, from there on; 0 if any will do.
    pub need: usize,
    /// Whether those that it consumed end the body (with the end marker).
    pub done: bool,
}

/// Reads a snapshot piece by piece: [`show`](Self::show), [`consume`](Self::consume), and behind
/// the body [`finish`](Self::finish). Nothing of it may be trusted before `finish` has said so.
#[derive(Debug)]
pub struct SnapshotReader<F: File> {
    zxid: Zxid,
    path: PathBuf,
    source: Decoder<F>,
    window: Vec<u8>,
    piece: Box<[u8]>,
    at: usize,
    limit: usize,
    sum: Sum,
    offset: u64,
    tail: [u8; SEAL.len()],
}

impl<F: File> SnapshotReader<F> {
    /// Reads the header of `candidate`. Never shows more than about `limit` bytes at once.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn open<D: Directory<File = F>>(
        directory: &D,
        candidate: &Candidate,
        limit: usize,
    ) -> Result<Self, Unreadable> {
        let file = directory.open(&candidate.name).map_err(Unreadable::Io)?;
        let mut reader = Self {
            zxid: candidate.zxid,
            path: directory.path(&candidate.name),
            source: Decoder::new(Compression::of(&candidate.name), file),
            window: Vec::new(),
            piece: vec![0; READ].into(),
            at: 0,
            limit: limit.max(FileHeader::LEN),
            sum: Sum::default(),
            offset: 0,
            tail: [0; SEAL.len()],
        };
        let header = reader.show(FileHeader::LEN)?;
        if header[..4] != FileHeader::SNAPSHOT.magic.to_be_bytes() {
            return Err(Unreadable::Header);
        }
        reader.consume(FileHeader::LEN);
        Ok(reader)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that were consumed, header included.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the file (compressed, if it is) that were read.
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// Shows what comes next: at least `need` bytes, and what else is at hand.
    ///
    /// # Errors
    /// [`Unreadable::Ended`] when there are fewer; others.
    pub fn show(&mut self, need: usize) -> Result<&[u8], Unreadable> {
        if need > self.limit {
            return Err(Unreadable::TooLarge { need, limit: self.limit });
        }
        if self.fill(need.max(1))? < need.max(1) {
            return Err(Unreadable::Ended);
        }
        Ok(&self.window[self.at..])
    }

    /// Reads until `need` bytes are at hand or there are no more, and returns how many are.
    fn fill(&mut self, need: usize) -> Result<usize, Unreadable> {
        while self.window.len() - self.at < need {
            self.window.drain(..self.at);
            self.at = 0;
            match self.source.read(&mut self.piece) {
                Ok(0) => break,
                Ok(n) => self.window.extend_from_slice(&self.piece[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Unreadable::Io(e)),
            }
        }
        Ok(self.window.len() - self.at)
    }

    /// Goes on behind the first `n` of the bytes that were shown.
    pub fn consume(&mut self, n: usize) {
        let rest = &self.window[self.at..];
        let bytes = &rest[..n.min(rest.len())];
        self.sum.write(bytes);
        match bytes.last_chunk() {
            Some(tail) => self.tail = *tail,
            None => {
                self.tail.rotate_left(bytes.len());
                let keep = SEAL.len() - bytes.len();
                self.tail[keep..].copy_from_slice(bytes);
            }
        }
        self.at += bytes.len();
        self.offset += bytes.len() as u64;
    }

    /// Reads on to the end of the file, whatever it says, and verifies the checksum there: it is that
    /// of all that comes before it.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub(super) fn verify(mut self) -> Result<(), Unreadable> {
        loop {
            let there = self.fill(SEALED + 1)?;
            if there <= SEALED {
                break;
            }
            self.consume(there - SEALED);
        }
        let rest = self.window.get(self.at..).unwrap_or_default();
        seal(&mut self.sum, &[], rest).map(drop).ok_or(Unreadable::Checksum)
    }

    /// Verifies the end of the body and its checksum, and reads the trailers.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn finish(mut self) -> Result<SnapshotEnd, Unreadable> {
        if self.tail != SEAL {
            return Err(Unreadable::Unsealed);
        }
        self.fill(TRAILERS_MAX)?;
        let rest = self.window.get(self.at..).unwrap_or_default();
        let (body, _) = rest.split_at_checked(SEALED).ok_or(Unreadable::Ended)?;
        let mut sum = self.sum.clone();
        let mut rest = seal(&mut sum, &[], rest).ok_or_else(|| match body[8..] == SEAL {
            true => Unreadable::Checksum,
            false => Unreadable::Trailer,
        })?;
        let mut end = SnapshotEnd::default();
        if let Some((digest, behind)) = trailer_a(&mut sum, rest) {
            // An empty digest has zxid 0; one below the snapshot's own zxid says nothing about it.
            end.digest = (digest.zxid > Zxid::ZERO && digest.zxid >= self.zxid).then_some(digest);
            rest = behind;
        }
        if let Some((zxid, _)) = trailer_b(&mut sum, rest) {
            // What later versions may add behind it is theirs.
            end.last_zxid = Some(zxid);
        } else if !rest.is_empty() {
            return Err(Unreadable::Trailer);
        }
        Ok(end)
    }
}

/// Bytes of a checksum with its "/".
const SEALED: usize = 8 + SEAL.len();

/// Verifies the checksum that follows `bytes` in `rest`, takes all into the sum, and returns what
/// is behind.
fn seal<'a>(sum: &mut Sum, bytes: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let mut after = sum.clone();
    after.write(bytes);
    let (sealed, behind) = rest.split_at_checked(SEALED)?;
    let (stored, slash) = sealed.split_first_chunk::<8>()?;
    if i64::from_be_bytes(*stored) != after.value() || slash != SEAL {
        return None;
    }
    after.write(sealed);
    *sum = after;
    Some(behind)
}

fn trailer_a<'a>(sum: &mut Sum, rest: &'a [u8]) -> Option<(SnapshotDigest, &'a [u8])> {
    let mut reader = Reader::new(rest);
    let zxid = Zxid(reader.i64().ok()?);
    let version = reader.i32().ok()?;
    // Version 1 wrote the digest in hex.
    let tree_digest = if version < TxnDigest::VERSION {
        let hex: Ustring<'_> = reader.read().ok()?;
        u64::from_str_radix(hex.as_str()?, 16).ok()?.cast_signed()
    } else {
        reader.i64().ok()?
    };
    let bytes = &rest[..rest.len() - reader.rest().len()];
    let behind = seal(sum, bytes, reader.rest())?;
    Some((SnapshotDigest { zxid, version, tree_digest }, behind))
}

fn trailer_b<'a>(sum: &mut Sum, rest: &'a [u8]) -> Option<(Zxid, &'a [u8])> {
    let (zxid, sealed) = rest.split_first_chunk::<8>()?;
    let behind = seal(sum, zxid, sealed)?;
    Some((Zxid(i64::from_be_bytes(*zxid)), behind))
}

/// Why reading a body ended early.
#[derive(Debug)]
pub enum Ended<E> {
    /// The snapshot cannot be used.
    Unreadable(Unreadable),
    /// The reader of the body said so.
    Refused(E),
}

impl<E> From<Unreadable> for Ended<E> {
    fn from(e: Unreadable) -> Self {
        Self::Unreadable(e)
    }
}

/// Reads a whole snapshot into `body`, which is shown a contiguous piece at a time and says how
/// much it took. `progress` learns how many bytes of the file were read.
///
/// # Errors
/// See [`Ended`].
pub fn read<F: File, E>(
    mut reader: SnapshotReader<F>,
    body: &mut dyn FnMut(&[u8]) -> Result<Taken, E>,
    progress: &mut dyn FnMut(u64),
) -> Result<SnapshotEnd, Ended<E>> {
    let (mut need, mut least) = (1, 1);
    loop {
        // The wish is a guess, and the file may end before it.
        if matches!(reader.show(need), Err(Unreadable::Ended)) {
            need = least;
        }
        let shown = reader.show(need)?;
        let len = shown.len();
        let taken = body(shown).map_err(Ended::Refused)?;
        if taken.consumed > len {
            return Err(Unreadable::Ended.into());
        }
        reader.consume(taken.consumed);
        progress(reader.position());
        if taken.done {
            return Ok(reader.finish()?);
        }
        // One who took nothing has to see more, whatever it asked for.
        least = len - taken.consumed + 1;
        need = taken.need.max(least);
    }
}
