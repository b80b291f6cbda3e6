//! The loop of the state thread.

use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use zk_core::peer::{Disk as Want, Link, Peer, State as PeerState};
use zk_core::time::{Instant, Now};
use zk_core::wire::frame;

use super::clock::Clock;
use super::disk::{self, Disk};
use super::link::{ReadOutcome, Socket};
use super::listener::{self, Accepted, Listener};
use super::snapshots::{self, Snapshots};
use super::words::{self, Word, Words};
use super::{Error, Handle, STOP_MAX};
use crate::config::Config;

pub(super) const LISTENER: Token = Token(0);
pub(super) const WAKER: Token = Token(1);
/// The token of link 0.
const LINKS: usize = 2;

/// Events that one turn takes.
pub(super) const EVENTS: usize = 1024;

/// Bytes that one turn reads of one connection.
const READ: usize = 64 << 10;

/// Connections that one turn accepts.
const ACCEPTS: usize = 256;

/// Connections that one turn writes to.
const WRITES: usize = 4096;

/// The longest time between two looks at deadlines.
const SWEEP_MS: u64 = 1000;

/// The threads of a data directory.
pub(super) struct Files {
    pub(super) disk: Disk,
    pub(super) snapshots: Snapshots,
    /// There is no snapshot yet.
    pub(super) first_snapshot: bool,
}

/// All that the state thread has.
pub(super) struct State {
    clock: Clock,
    peer: Peer<'static>,
    poll: Poll,
    listener: Listener,
    files: Option<Files>,
    handle: Handle,
    words: Words,
    /// By number of the link.
    sockets: Vec<Option<Socket>>,
    /// Those with something to read.
    queue: VecDeque<usize>,
    /// Those that wait until fewer requests are at work.
    throttled: Vec<usize>,
    /// Clients may wait to be accepted.
    accepting: bool,
    accept_at: Option<Instant>,
    /// A batch is being synced.
    syncing: bool,
    /// The core has more to write.
    more: bool,
    sweep_at: Instant,
    sweep_ms: u64,
    /// Time for a handshake, a frame, a last reply.
    patience_ms: u64,
    outstanding_max: usize,
    buffer: Vec<u8>,
}

impl State {
    pub(super) fn new(
        config: Config,
        clock: Clock,
        peer: Peer<'static>,
        poll: Poll,
        listener: Listener,
        files: Option<Files>,
        handle: Handle,
    ) -> Self {
        let patience = config.sessionless_cnxn_timeout.as_millis();
        let patience_ms = u64::try_from(patience).unwrap_or(u64::MAX).max(1);
        let now = clock.now();
        Self {
            outstanding_max: config.global_outstanding_limit as usize,
            words: Words::new(config, listener.address, now, files.is_none()),
            clock,
            peer,
            poll,
            listener,
            files,
            handle,
            sockets: Vec::new(),
            queue: VecDeque::new(),
            throttled: Vec::new(),
            accepting: true,
            accept_at: None,
            syncing: false,
            more: false,
            sweep_at: now.monotonic,
            sweep_ms: (patience_ms / 4).clamp(1, SWEEP_MS),
            patience_ms,
            buffer: vec![0; READ],
        }
    }

    /// Turns until it is told to stop.
    pub(super) fn run(&mut self, events: &mut Events) -> Result<(), Error> {
        while !self.handle.is_stopping() {
            let now = self.wait(events, None)?;
            self.hear(now)?;
            if self.accepting {
                self.accept(now);
            }
            self.read(now);
            if self.peer.poll_timeout().is_some_and(|at| at <= now.monotonic) {
                self.peer.tick(now);
            }
            self.write_disk(now)?;
            self.write_links(now);
            self.write_disk(now)?;
            self.sweep(now);
            if let PeerState::Stopped(error) = self.peer.state() {
                return Err(Error::Apply(error));
            }
        }
        Ok(())
    }

    /// Waits for events, no longer than there is nothing to do, and notes them.
    fn wait(&mut self, events: &mut Events, most: Option<Duration>) -> Result<Now, Error> {
        let timeout = self.timeout(most);
        if let Err(source) = self.poll.poll(events, timeout)
            && source.kind() != io::ErrorKind::Interrupted
        {
            return Err(Error::Io { doing: "wait for events", source });
        }
        for event in events.iter() {
            match event.token() {
                LISTENER => self.accepting = true,
                WAKER => {}
                Token(token) => {
                    let number = token - LINKS;
                    let Some(Some(socket)) = self.sockets.get_mut(number) else { continue };
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        socket.readable = true;
                        socket.ending |= event.is_read_closed() || event.is_error();
                        if !socket.blocked && !core::mem::replace(&mut socket.queued, true) {
                            self.queue.push_back(number);
                        }
                    }
                    if event.is_writable() && !socket.writable {
                        socket.writable = true;
                        let now = self.clock.now();
                        self.flush(now, number);
                    }
                }
            }
        }
        Ok(self.clock.now())
    }

    fn timeout(&self, most: Option<Duration>) -> Option<Duration> {
        if !self.queue.is_empty() || self.more || (self.accepting && self.accept_at.is_none()) {
            return Some(Duration::ZERO);
        }
        let now = self.clock.now().monotonic;
        let sweep = (self.peer.link_count() > 0).then_some(self.sweep_at);
        let next = [self.peer.poll_timeout(), sweep, self.accept_at].into_iter().flatten().min();
        let next = next.map(|at| Duration::from_millis(at.since(now)));
        match (next, most) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Takes the answers of the other threads.
    fn hear(&mut self, now: Now) -> Result<(), Error> {
        let Some(files) = &mut self.files else { return Ok(()) };
        while let Some(told) = files.disk.hear() {
            match told {
                disk::Told::Durable(zxid) => {
                    self.syncing = false;
                    self.peer.durable(now, zxid).map_err(Error::Apply)?;
                }
                disk::Told::Full(full) => self.peer.set_full(full),
                disk::Told::Failed(error) => return Err(Error::Store(error)),
            }
        }
        while let Some(told) = files.snapshots.hear() {
            match told {
                snapshots::Told::Written(len) => self.peer.snapshot_written(len),
                snapshots::Told::Done => {
                    files.first_snapshot = false;
                    self.peer.snapshot_done();
                }
                snapshots::Told::Failed if files.first_snapshot => {
                    return Err(Error::FirstSnapshot);
                }
                snapshots::Told::Failed => self.peer.snapshot_failed(),
            }
        }
        Ok(())
    }

    /// Hands to the other threads what the core wants of the disk.
    fn write_disk(&mut self, now: Now) -> Result<(), Error> {
        loop {
            let Some(want) = self.peer.poll_disk() else { return Ok(()) };
            match (want, &mut self.files) {
                (Want::Append(batch), Some(files)) => {
                    self.syncing = true;
                    files.disk.append(&batch);
                }
                (Want::Roll, Some(files)) => files.disk.roll(),
                (Want::SnapshotBegin(zxid), Some(files)) => files.snapshots.begin(zxid),
                (Want::SnapshotBytes(bytes), Some(files)) => files.snapshots.bytes(bytes),
                (Want::SnapshotEnd(digest), Some(files)) => files.snapshots.end(digest),
                (Want::SnapshotDrop, Some(files)) => files.snapshots.drop_it(),
                // Memory is as durable as it will ever be.
                (Want::Append(batch), None) => {
                    let last = batch.last();
                    self.peer.durable(now, last).map_err(Error::Apply)?;
                }
                (Want::SnapshotBytes(bytes), None) => {
                    let len = bytes.len();
                    self.peer.snapshot_written(len);
                }
                (Want::SnapshotEnd(_), None) => self.peer.snapshot_done(),
                (Want::Roll | Want::SnapshotBegin(_) | Want::SnapshotDrop, None) => {}
                // This server is alone.
                (Want::Ensemble(_), _) => {}
            }
        }
    }

    fn accept(&mut self, now: Now) {
        if self.accept_at.is_some_and(|at| at > now.monotonic) {
            return;
        }
        self.accept_at = None;
        for _ in 0..ACCEPTS {
            match self.listener.accept(now.monotonic.0) {
                Accepted::Socket(stream, address) => self.open(now, stream, address),
                Accepted::Refused => {}
                Accepted::None => {
                    self.accepting = false;
                    return;
                }
                Accepted::Pause => {
                    let pause = u64::try_from(listener::PAUSE.as_millis()).unwrap_or(u64::MAX);
                    self.accept_at = Some(now.monotonic.plus(pause));
                    return;
                }
            }
        }
    }

    fn open(&mut self, now: Now, mut stream: TcpStream, address: core::net::SocketAddr) {
        let Ok(link) = self.peer.open(now, address.ip()) else {
            log::warn!("{address} was closed: there are as many connections as there can be");
            self.listener.closed(address.ip());
            return;
        };
        let number = link.number();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll.registry().register(&mut stream, Token(number + LINKS), interest)
        {
            log::warn!("{address} was closed: cannot watch its socket: {error}");
            self.peer.closed(now, link);
            self.listener.closed(address.ip());
            return;
        }
        if self.sockets.len() <= number {
            self.sockets.resize_with(number + 1, || None);
        }
        self.sockets[number] = Some(Socket::new(stream, address, link, now.monotonic));
    }

    /// Reads each connection that has something, once.
    fn read(&mut self, now: Now) {
        if self.peer.outstanding() < self.outstanding_max {
            for number in self.throttled.drain(..) {
                self.queue.push_back(number);
            }
        }
        for _ in 0..self.queue.len() {
            let Some(number) = self.queue.pop_front() else { return };
            let Some(Some(socket)) = self.sockets.get_mut(number) else { continue };
            if self.peer.outstanding() >= self.outstanding_max
                && self.peer.counters(socket.link).queued > 0
            {
                self.throttled.push(number);
                continue;
            }
            socket.queued = false;
            if !socket.readable || socket.blocked {
                continue;
            }
            match socket.read(&mut self.buffer) {
                ReadOutcome::Nothing => continue,
                ReadOutcome::Closed => {
                    socket.readable = false;
                    // What a word is answered is still written.
                    if socket.reply.is_none() {
                        self.close(now, number);
                    }
                    continue;
                }
                ReadOutcome::Bytes(len) => self.take(now, number, len),
            }
            let Some(Some(socket)) = self.sockets.get_mut(number) else { continue };
            if socket.readable && !socket.blocked && !core::mem::replace(&mut socket.queued, true) {
                self.queue.push_back(number);
            }
        }
    }

    /// Takes the first bytes of the buffer, which were read from a socket.
    fn take(&mut self, now: Now, number: usize, len: usize) {
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
        if socket.reply.is_some() {
            // Nothing is read after a word.
            return;
        }
        if socket.rest.is_empty() && socket.greeted {
            let bytes = &self.buffer[..len];
            let received = self.peer.receive(now, socket.link, bytes);
            socket.keep(&bytes[received.consumed..], received.need);
            note_progress(socket, received.need, received.consumed, now);
            return;
        }
        socket.rest.extend_from_slice(&self.buffer[..len]);
        if !socket.greeted && !self.greet(now, number) {
            return;
        }
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
        if socket.rest.len() >= socket.need {
            self.show(now, number);
        }
    }

    /// Looks at the first four bytes; false if they are not the core's.
    fn greet(&mut self, now: Now, number: usize) -> bool {
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return false };
        let Some(first) = socket.rest.first_chunk::<4>() else {
            socket.partial_since.get_or_insert(now.monotonic);
            return false;
        };
        let Some(word) = Word::known(*first) else {
            socket.greeted = true;
            return true;
        };
        if socket.rest.len() < word.len() {
            return false;
        }
        let argument = socket.rest.split_off(4);
        let reply = words::Asked {
            peer: &mut self.peer,
            sockets: &self.sockets,
            listener: &self.listener,
            asker: number,
            now,
        };
        let reply = self.words.answer(word, &argument, reply);
        if let Some(Some(socket)) = self.sockets.get_mut(number) {
            socket.rest = Vec::new();
            socket.reply = Some((reply, 0));
            socket.closing_since = Some(now.monotonic);
        }
        self.flush(now, number);
        false
    }

    /// Shows the core what it did not take before.
    fn show(&mut self, now: Now, number: usize) {
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
        let received = self.peer.receive(now, socket.link, &socket.rest);
        socket.rest.drain(..received.consumed);
        socket.need = received.need;
        note_progress(socket, received.need, received.consumed, now);
    }

    /// Writes what the core has for its clients.
    fn write_links(&mut self, now: Now) {
        self.more = true;
        for _ in 0..WRITES {
            let Some(link) = self.peer.poll_link() else {
                self.more = false;
                return;
            };
            self.serve(now, link);
        }
    }

    fn serve(&mut self, now: Now, link: Link) {
        let number = link.number();
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
        if core::mem::take(&mut socket.blocked) {
            self.show(now, number);
            let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
            if socket.readable && !socket.blocked && !core::mem::replace(&mut socket.queued, true) {
                self.queue.push_back(number);
            }
        }
        self.flush(now, number);
    }

    /// Writes to a connection once, and closes it if that was its end.
    fn flush(&mut self, now: Now, number: usize) {
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
        if let Some((reply, from)) = &mut socket.reply {
            let (reply, from) = (core::mem::take(reply), *from);
            let Ok(written) = socket.write(&reply[from..]) else {
                self.close(now, number);
                return;
            };
            let done = from + written == reply.len();
            socket.reply = Some((reply, from + written));
            if done {
                self.finish(now, number);
            }
            return;
        }
        let link = socket.link;
        let output = self.peer.output(link);
        if !output.is_empty() {
            if !socket.writable {
                return;
            }
            let Ok(written) = socket.write(output) else {
                self.close(now, number);
                return;
            };
            self.peer.sent(now, link, written);
        }
        if self.peer.is_closing(link) {
            if self.peer.output(link).is_empty() {
                self.finish(now, number);
            } else if let Some(Some(socket)) = self.sockets.get_mut(number) {
                socket.closing_since.get_or_insert(now.monotonic);
            }
        }
    }

    /// Closes a connection whose last word is written.
    fn finish(&mut self, now: Now, number: usize) {
        if let Some(Some(socket)) = self.sockets.get(number) {
            // It may be gone already.
            let _ = socket.stream.shutdown(Shutdown::Write);
        }
        self.close(now, number);
    }

    fn close(&mut self, now: Now, number: usize) {
        let Some(mut socket) = self.sockets.get_mut(number).and_then(Option::take) else { return };
        if let Err(error) = self.poll.registry().deregister(&mut socket.stream) {
            log::warn!("cannot forget the socket of {}: {error}", socket.address);
        }
        self.listener.closed(socket.address.ip());
        self.peer.closed(now, socket.link);
        self.throttled.retain(|&throttled| throttled != number);
    }

    /// Closes the connections that took too long, and gives idle memory back.
    fn sweep(&mut self, now: Now) {
        if self.sweep_at > now.monotonic {
            return;
        }
        self.sweep_at = now.monotonic.plus(self.sweep_ms);
        for number in 0..self.sockets.len() {
            let Some(Some(socket)) = self.sockets.get_mut(number) else { continue };
            socket.trim();
            let patience = self.patience_ms;
            let over = |since: Instant, most: u64| now.monotonic.since(since) >= most;
            let late = if let Some(since) = socket.closing_since {
                over(since, patience).then_some("it did not read its last reply")
            } else if self.peer.session(socket.link).is_none() {
                over(socket.opened, patience).then_some("it did not begin a session")
            } else {
                let most = u64::from(self.peer.timeout(socket.link)).max(patience);
                socket
                    .partial_since
                    .filter(|&since| over(since, most))
                    .map(|_| "it did not finish a frame")
            };
            if let Some(why) = late {
                log::info!("closed {}: {why} in time", socket.address);
                self.close(now, number);
            }
        }
    }

    /// Syncs, sends the replies, closes everything.
    pub(super) fn stop(
        &mut self,
        served: Result<(), Error>,
        events: &mut Events,
    ) -> Result<(), Error> {
        // After an error nothing more is promised.
        let drained = served.and_then(|()| self.drain(events));
        for number in 0..self.sockets.len() {
            let now = self.clock.now();
            self.finish(now, number);
        }
        let Some(files) = self.files.take() else { return drained };
        let snapshots = files.snapshots.stop();
        let disk = files.disk.stop();
        drained?;
        if !disk {
            return Err(Error::Panicked("zk-disk"));
        }
        if !snapshots {
            return Err(Error::Panicked("zk-snapshots"));
        }
        log::info!("stopped; everything is on the disk");
        Ok(())
    }

    /// Waits until all that is under way is durable and answered.
    fn drain(&mut self, events: &mut Events) -> Result<(), Error> {
        self.accepting = false;
        self.accept_at = None;
        let begun = std::time::Instant::now();
        loop {
            let now = self.clock.now();
            self.hear(now)?;
            self.write_disk(now)?;
            self.write_links(now);
            let waiting = self.syncing
                || self.more
                || self.sockets.iter().flatten().any(|socket| {
                    !self.peer.output(socket.link).is_empty() || socket.reply.is_some()
                });
            let left = STOP_MAX.saturating_sub(begun.elapsed());
            if !waiting || left.is_zero() {
                return Ok(());
            }
            // Nothing more is read.
            self.queue.clear();
            self.wait(events, Some(left))?;
            self.queue.clear();
            self.accepting = false;
        }
    }
}

/// Notes what `receive` answered: whether to wait, and since when a frame is incomplete.
fn note_progress(socket: &mut Socket, need: usize, consumed: usize, now: Now) {
    socket.blocked = need == 0;
    let incomplete = !socket.rest.is_empty() && !socket.blocked;
    if !incomplete {
        socket.partial_since = None;
    } else if consumed > 0 || socket.partial_since.is_none() {
        socket.partial_since = Some(now.monotonic);
    }
    if socket.rest.is_empty() {
        socket.need = frame::LEN;
    }
}
