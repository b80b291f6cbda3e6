//! Sockets, as the event loop sees them.

use core::net::SocketAddr;
use std::io::{self, Read, Write};

use mio::event::Event;
use mio::net::TcpStream;
use zk_core::peer::Link;
use zk_core::time::Instant;

/// Whether a short read means that the socket has no more: so on Unix for streams, while Windows
/// must be read until it would block, to be told of more.
const SHORT_MEANS_EMPTY: bool = cfg!(unix);

/// What a read brought.
pub(super) enum ReadOutcome {
    /// So many bytes.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// The other side has closed, or the connection broke.
    Closed,
}

/// A socket, and what was read from it and not taken.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: TcpStream,
    /// Of the other side; IPv4 when it came as IPv4.
    pub(super) address: SocketAddr,
    /// Bytes that were read and not taken: a frame in part, or what has to wait.
    pub(super) rest: Vec<u8>,
    /// So many bytes of `rest` are worth showing.
    pub(super) need: usize,
    /// There may be something to read.
    pub(super) readable: bool,
    /// The other side has closed: it is read to the end.
    pub(super) ending: bool,
    /// The last write was whole.
    pub(super) writable: bool,
    /// The core takes no more now.
    pub(super) blocked: bool,
    /// It waits to be read.
    pub(super) queued: bool,
    /// Read since the last sweep.
    active: bool,
}

/// A client's socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: Stream,
    pub(super) link: Link,
    /// Four bytes came that are no word: the rest is the core's.
    pub(super) greeted: bool,
    /// The answer to a four-letter word, and how much of it is written.
    pub(super) reply: Option<(Vec<u8>, usize)>,
    pub(super) opened: Instant,
    /// Since when a frame is there in part.
    pub(super) partial_since: Option<Instant>,
    /// Since when it only waits to be written out.
    pub(super) closing_since: Option<Instant>,
}

impl Socket {
    pub(super) fn new(stream: Stream, link: Link, now: Instant) -> Self {
        Self {
            stream,
            link,
            greeted: false,
            reply: None,
            opened: now,
            partial_since: None,
            closing_since: None,
        }
    }
}

impl Stream {
    pub(super) fn new(socket: TcpStream, address: SocketAddr) -> Self {
        Self {
            socket,
            address,
            rest: Vec::new(),
            need: 0,
            readable: false,
            ending: false,
            writable: true,
            blocked: false,
            queued: false,
            active: true,
        }
    }

    /// Notes that there may be something to read. Answers whether it is to be queued for that.
    pub(super) fn note_readable(&mut self, event: &Event) -> bool {
        self.readable = true;
        self.ending |= event.is_read_closed() || event.is_error();
        self.wants_read()
    }

    /// Whether it is to be queued for reading; then it is.
    pub(super) fn wants_read(&mut self) -> bool {
        self.readable && !self.blocked && !core::mem::replace(&mut self.queued, true)
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        loop {
            return match (&self.socket).read(buffer) {
                Ok(0) => ReadOutcome::Closed,
                Ok(n) => {
                    self.active = true;
                    if SHORT_MEANS_EMPTY && n < buffer.len() && !self.ending {
                        self.readable = false;
                    }
                    ReadOutcome::Bytes(n)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    ReadOutcome::Nothing
                }
                Err(_) => ReadOutcome::Closed,
            };
        }
    }

    /// Writes once; how much of it.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = loop {
            match (&self.socket).write(bytes) {
                Ok(n) => break n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                Err(error) => return Err(error),
            }
        };
        if written < bytes.len() {
            self.writable = false;
        }
        Ok(written)
    }

    /// Keeps bytes that were not taken.
    pub(super) fn keep(&mut self, bytes: &[u8], need: usize) {
        self.rest.clear();
        self.rest.extend_from_slice(bytes);
        self.need = need;
    }

    /// Gives back memory that an idle link does not need.
    pub(super) fn trim(&mut self) {
        if !core::mem::replace(&mut self.active, false) {
            self.rest.shrink_to_fit();
        }
    }
}
