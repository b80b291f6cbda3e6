//! A client's socket, as the event loop sees it.

use core::net::SocketAddr;
use std::io::{self, Read, Write};

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
    /// The client has closed, or the connection broke.
    Closed,
}

/// A client's socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    /// Of the client; IPv4 when it came as IPv4.
    pub(super) address: SocketAddr,
    pub(super) link: Link,
    /// Bytes that were read and not taken: a frame in part, or what has to wait.
    pub(super) rest: Vec<u8>,
    /// So many bytes of `rest` are worth showing.
    pub(super) need: usize,
    /// Four bytes came that are no word: the rest is the core's.
    pub(super) greeted: bool,
    /// The answer to a four-letter word, and how much of it is written.
    pub(super) reply: Option<(Vec<u8>, usize)>,
    /// There may be something to read.
    pub(super) readable: bool,
    /// The client has closed its side: it is read to the end.
    pub(super) ending: bool,
    /// The last write was whole.
    pub(super) writable: bool,
    /// The core takes no more now.
    pub(super) blocked: bool,
    /// It waits to be read.
    pub(super) queued: bool,
    pub(super) opened: Instant,
    /// Since when a frame is there in part.
    pub(super) partial_since: Option<Instant>,
    /// Since when it only waits to be written out.
    pub(super) closing_since: Option<Instant>,
    /// Read since the last sweep.
    pub(super) active: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, address: SocketAddr, link: Link, now: Instant) -> Self {
        Self {
            stream,
            address,
            link,
            rest: Vec::new(),
            need: 0,
            greeted: false,
            reply: None,
            readable: false,
            ending: false,
            writable: true,
            blocked: false,
            queued: false,
            opened: now,
            partial_since: None,
            closing_since: None,
            active: true,
        }
    }

    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        loop {
            return match (&self.stream).read(buffer) {
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
            match (&self.stream).write(bytes) {
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
