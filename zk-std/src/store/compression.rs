//! How snapshots are compressed: not, with gzip, or as snappy-java does.
//!
//! The whole file is compressed, header and checksums included. snappy-java's stream is its own:
//!
//! ```text
//! 82 "SNAPPY" 00 | i32 version (1) | i32 oldest compatible version (1) | chunk*
//! chunk = i32 length | that many bytes of raw snappy, 32 KiB before compression
//! ```
//!
//! Answers to `org.apache.zookeeper.server.persistence.SnapStream` and
//! `org.xerial.snappy.SnappyOutputStream`.

use std::io::{self, BufReader, BufWriter, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::directory::File;

/// `snapshot.compression.method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// None.
    #[default]
    Plain,
    /// `gz`.
    Gzip,
    /// `snappy`.
    Snappy,
}

impl Compression {
    /// What a file's name says: its last part, whatever its case.
    pub fn of(name: &str) -> Self {
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.eq_ignore_ascii_case("gz") {
            Self::Gzip
        } else if last.eq_ignore_ascii_case("snappy") {
            Self::Snappy
        } else {
            Self::Plain
        }
    }

    /// What is appended to a file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
        }
    }
}

/// Begins a gzip file.
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Begins a file of snappy-java.
pub(super) const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const SNAPPY_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Bytes of a chunk before compression.
const SNAPPY_CHUNK: usize = 32 * 1024;
/// The largest chunk that is read, before and after compression.
const SNAPPY_CHUNK_MAX: usize = 1 << 20;
/// Bytes that go to or come from the file at once.
const PIECE: usize = 128 * 1024;

/// A file as a stream of bytes, in one direction.
#[derive(Debug)]
pub(super) struct Stream<F> {
    pub file: F,
    pub offset: u64,
}

impl<F: File> Read for Stream<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

impl<F: File> Write for Stream<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(buf, self.offset)?;
        self.offset += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what was compressed.
#[derive(Debug)]
pub(super) enum Decoder<F: File> {
    Plain(Stream<F>),
    Gzip(Box<MultiGzDecoder<BufReader<Stream<F>>>>),
    Snappy(SnappyReader<BufReader<Stream<F>>>),
}

impl<F: File> Decoder<F> {
    pub(super) fn new(compression: Compression, file: F) -> Self {
        let stream = Stream { file, offset: 0 };
        match compression {
            Compression::Plain => Self::Plain(stream),
            Compression::Gzip => {
                let stream = BufReader::with_capacity(PIECE, stream);
                Self::Gzip(Box::new(MultiGzDecoder::new(stream)))
            }
            Compression::Snappy => {
                Self::Snappy(SnappyReader::new(BufReader::with_capacity(PIECE, stream)))
            }
        }
    }

    /// Bytes of the file that were read so far.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Plain(stream) => stream.offset,
            Self::Gzip(gz) => gz.get_ref().get_ref().offset,
            Self::Snappy(snappy) => snappy.from.get_ref().offset,
        }
    }
}

impl<F: File> Read for Decoder<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Gzip(gz) => gz.read(buf),
            Self::Snappy(snappy) => snappy.read(buf),
        }
    }
}

/// Writes with compression.
#[derive(Debug)]
pub(super) enum Encoder<F: File> {
    Plain(BufWriter<Stream<F>>),
    Gzip(Box<GzEncoder<BufWriter<Stream<F>>>>),
    Snappy(SnappyWriter<BufWriter<Stream<F>>>),
}

impl<F: File> Encoder<F> {
    pub(super) fn new(compression: Compression, file: F) -> Self {
        let to = BufWriter::with_capacity(PIECE, Stream { file, offset: 0 });
        match compression {
            Compression::Plain => Self::Plain(to),
            Compression::Gzip => {
                Self::Gzip(Box::new(GzEncoder::new(to, flate2::Compression::default())))
            }
            Compression::Snappy => Self::Snappy(SnappyWriter::new(to)),
        }
    }

    /// Writes what is still held, and gives the file back.
    pub(super) fn finish(self) -> io::Result<F> {
        let to = match self {
            Self::Plain(to) => to,
            Self::Gzip(gz) => gz.finish()?,
            Self::Snappy(snappy) => snappy.finish()?,
        };
        Ok(to.into_inner().map_err(io::IntoInnerError::into_error)?.file)
    }
}

impl<F: File> Write for Encoder<F> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(to) => to.write(buf),
            Self::Gzip(gz) => gz.write(buf),
            Self::Snappy(snappy) => snappy.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(to) => to.flush(),
            Self::Gzip(gz) => gz.flush(),
            Self::Snappy(snappy) => snappy.to.flush(),
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[derive(Debug)]
pub(super) struct SnappyReader<R> {
    from: R,
    begun: bool,
    packed: Vec<u8>,
    chunk: Vec<u8>,
    at: usize,
}

impl<R: Read> SnappyReader<R> {
    fn new(from: R) -> Self {
        Self { from, begun: false, packed: Vec::new(), chunk: Vec::new(), at: 0 }
    }

    /// Reads the next chunk; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        // Whoever reads on behind an error finds nothing.
        self.chunk.clear();
        self.at = 0;
        let mut head = [0; 4];
        loop {
            match self.from.read(&mut head[..1])? {
                0 if self.begun => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => self.from.read_exact(&mut head[1..])?,
            }
            // A header may come again where streams were concatenated.
            if head != SNAPPY_MAGIC[..4] {
                break;
            }
            let mut rest = [0; 12];
            self.from.read_exact(&mut rest)?;
            if rest[..4] != SNAPPY_MAGIC[4..] {
                return Err(invalid("not a snappy stream"));
            }
            self.begun = true;
        }
        if !self.begun {
            return Err(invalid("not a snappy stream"));
        }
        let len = u32::from_be_bytes(head) as usize;
        if len > snap::raw::max_compress_len(SNAPPY_CHUNK_MAX) {
            return Err(invalid("a snappy chunk is too large"));
        }
        self.packed.resize(len, 0);
        self.from.read_exact(&mut self.packed)?;
        let unpacked = snap::raw::decompress_len(&self.packed).map_err(io::Error::other)?;
        if unpacked > SNAPPY_CHUNK_MAX {
            return Err(invalid("a snappy chunk is too large"));
        }
        let mut chunk = core::mem::take(&mut self.chunk);
        chunk.resize(unpacked, 0);
        let n = snap::raw::Decoder::new()
            .decompress(&self.packed, &mut chunk)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        chunk.truncate(n);
        self.chunk = chunk;
        Ok(true)
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let rest = &self.chunk[self.at..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

#[derive(Debug)]
pub(super) struct SnappyWriter<W: Write> {
    to: W,
    begun: bool,
    chunk: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> SnappyWriter<W> {
    fn new(to: W) -> Self {
        let packed = vec![0; snap::raw::max_compress_len(SNAPPY_CHUNK)];
        Self { to, begun: false, chunk: Vec::with_capacity(SNAPPY_CHUNK), packed }
    }

    fn put(&mut self) -> io::Result<()> {
        if !self.begun {
            self.to.write_all(&SNAPPY_MAGIC)?;
            self.to.write_all(&SNAPPY_VERSIONS)?;
            self.begun = true;
        }
        if !self.chunk.is_empty() {
            let n = snap::raw::Encoder::new()
                .compress(&self.chunk, &mut self.packed)
                .map_err(io::Error::other)?;
            let len = u32::try_from(n).map_err(io::Error::other)?;
            self.to.write_all(&len.to_be_bytes())?;
            self.to.write_all(&self.packed[..n])?;
            self.chunk.clear();
        }
        Ok(())
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(SNAPPY_CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&buf[..n]);
        if self.chunk.len() == SNAPPY_CHUNK {
            self.put()?;
        }
        Ok(n)
    }

    fn finish(mut self) -> io::Result<W> {
        self.put()?;
        Ok(self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_on_behind_an_error_finds_nothing() {
        let mut stream = SnappyWriter::new(Vec::new());
        assert_eq!(stream.write(b"one chunk").unwrap(), 9);
        stream.put().unwrap();
        let whole = stream.to.len();
        let mut bytes = stream.finish().unwrap();
        // Another chunk, which says that it has a byte, and is none.
        bytes.truncate(whole);
        bytes.extend([0, 0, 0, 2, 1, 0xff]);
        let mut reader = SnappyReader::new(&bytes[..]);
        let mut room = [0; 64];
        assert_eq!(reader.read(&mut room).unwrap(), 9);
        assert!(reader.read(&mut room).is_err());
        assert_eq!(reader.read(&mut room).unwrap(), 0);
    }
}
