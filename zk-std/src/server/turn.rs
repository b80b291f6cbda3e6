//! What the state thread does, turn by turn, from the server's start to its end.
//!
//! Who drives it asks how long there is nothing to do ([`State::timeout`]), waits so long for events
//! ([`State::wait`]), and lets it [`turn`](State::turn), until that answers how the server has ended.

use core::sync::atomic::{AtomicI64, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use zk_core::peer::{Disk as Want, Link, Order, Peer, State as PeerState};
use zk_core::time::{Instant, Now};
use zk_core::wire::frame;

use super::clock::Clock;
use super::disk::{self, Disk};
use super::link::{ReadOutcome, Socket, Stream};
use super::listener::{self, Accepted, Listener};
use super::members::{self, Members};
use super::metrics::{Metrics, ms};
use super::reading::Reader;
use super::snapshots::{self, Snapshots};
use super::standing::{Role, Standing};
use super::threads::Thread;
use super::unserved::{self, Unserved};
use super::words::{self, Word, Words};
use super::{Error, Handle, OnChange, STOP_MAX};
use crate::config::{Config, HostPort};
use crate::member::dynamic::Dynamic;
use crate::member::{self, Reload};
use crate::store::{self, Extent, OsDirectory, Store};

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

/// Connections of clients that one turn reads in an ensemble: the links to other members come again
/// soon, however many clients there are.
const READS_BESIDE_MEMBERS: usize = 256;

/// How often one turn goes around between disk, members and clients, each of which may give
/// something to the others.
const ROUNDS: usize = 16;

/// The longest time between two looks at deadlines.
const SWEEP_MS: u64 = 1000;

/// The threads of a data directory.
pub(super) struct Files {
    pub(super) disk: Disk<OsDirectory>,
    pub(super) snapshots: Snapshots,
    /// Of a member of an ensemble.
    pub(super) reader: Option<Reader>,
    /// There is no snapshot yet.
    pub(super) first_snapshot: bool,
    /// How far the logs are durable.
    pub(super) extent: Extent,
    /// What must not be purged.
    pub(super) pinned: Arc<AtomicI64>,
}

/// Where a server is between its start and its end.
enum Phase {
    /// It serves.
    Serving,
    /// It was told to stop, at that time: what is under way becomes durable and is answered.
    Draining(std::time::Instant),
    /// Its connections are closed, and these threads end. What it ends with.
    Ending(Vec<Thread>, Result<(), Error>),
}

/// All that the state thread has.
pub(super) struct State {
    phase: Phase,
    clock: Clock,
    peer: Peer<'static>,
    pub(super) poll: Poll,
    listener: Listener,
    files: Option<Files>,
    members: Option<Members>,
    dynamic: Option<Dynamic<OsDirectory>>,
    /// Where clients are served, as the configuration says.
    client: Option<HostPort>,
    unserved: Unserved,
    /// What was last told, and to whom.
    standing: Standing,
    on_change: Option<OnChange>,
    metrics: Metrics,
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

/// What a [`State`] is made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) peer: Peer<'static>,
    pub(super) poll: Poll,
    pub(super) listener: Listener,
    pub(super) files: Option<Files>,
    pub(super) members: Option<Members>,
    pub(super) dynamic: Option<Dynamic<OsDirectory>>,
    pub(super) metrics: Metrics,
    pub(super) on_change: Option<OnChange>,
    pub(super) handle: Handle,
}

impl State {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { config, clock, peer, poll, listener, files, members, .. } = parts;
        let Parts { dynamic, metrics, on_change, handle, .. } = parts;
        let patience = config.sessionless_cnxn_timeout.as_millis();
        let patience_ms = u64::try_from(patience).unwrap_or(u64::MAX).max(1);
        let now = clock.now();
        let client = config.client_address.clone();
        Self {
            outstanding_max: config.global_outstanding_limit as usize,
            words: Words::new(config, listener.address, now, files.is_none()),
            phase: Phase::Serving,
            clock,
            standing: Standing::of(&peer),
            peer,
            poll,
            listener,
            files,
            members,
            dynamic,
            client,
            unserved: Unserved::default(),
            on_change,
            metrics,
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

    /// Before the first turn.
    pub(super) fn begin(&mut self) {
        log::info!("serving clients on {}", self.listener.address);
        self.tell_standing();
    }

    /// One turn, after it was waited for events. Answers how the server has ended, when it has.
    pub(super) fn turn(&mut self) -> Option<Result<(), Error>> {
        if let Phase::Serving = self.phase {
            match self.work() {
                Ok(()) if self.handle.is_stopping() => {
                    self.phase = Phase::Draining(std::time::Instant::now());
                }
                Ok(()) => return None,
                // After an error nothing more is promised.
                Err(error) => self.shut(Err(error)),
            }
        }
        if let Phase::Draining(since) = self.phase {
            match self.drain() {
                Ok(true) if since.elapsed() < STOP_MAX => return None,
                Ok(_) => self.shut(Ok(())),
                Err(error) => self.shut(Err(error)),
            }
        }
        self.end()
    }

    /// Does what there is to do for clients, members and the disk.
    fn work(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        self.hear(now)?;
        self.turn_members(now);
        if self.accepting {
            self.accept(now);
        }
        self.read(now);
        if self.is_due(now) {
            self.peer.tick(now);
        }
        self.write(now)?;
        self.sweep(now);
        if let PeerState::Stopped(error) = self.peer.state() {
            return Err(Error::Apply(error));
        }
        let standing = Standing::of(&self.peer);
        if standing.is_news(&self.standing) {
            if standing.role == Role::Leader && standing.serving {
                self.words.lead(now);
            }
            self.standing = standing;
            self.tell_standing();
        }
        Ok(())
    }

    fn tell_standing(&mut self) {
        if let Some(on_change) = &mut self.on_change {
            on_change(&self.standing);
        }
    }

    /// Hands out what the core wants of the disk, of other members and of clients, until it wants
    /// nothing.
    fn write(&mut self, now: Now) -> Result<(), Error> {
        self.more = true;
        for _ in 0..ROUNDS {
            // Before a configuration is acknowledged, its file is written.
            if let Some(dynamic) = &mut self.dynamic {
                dynamic.note(&self.peer).map_err(|source| Error::Io {
                    doing: "write down a new configuration",
                    source,
                })?;
                self.move_client_port();
            }
            let disk = self.write_disk(now)?;
            let members = self.write_members(now);
            let links = self.write_links(now);
            if !(disk || members || links) {
                self.more = false;
                break;
            }
        }
        Ok(())
    }

    fn turn_members(&mut self, now: Now) {
        if let Some(members) = &mut self.members {
            members.turn(&mut self.peer, self.poll.registry(), now);
        }
    }

    /// Opens the client port anew where the configuration in force has another address for it.
    fn move_client_port(&mut self) {
        let me = self.peer.options().server;
        let Some((host, port)) = self.peer.config().client_address(me) else { return };
        let wanted = HostPort { host: host.to_owned(), port };
        if self.client.as_ref().is_some_and(|client| client.is_same(&wanted)) {
            return;
        }
        match self.listener.reopen(&wanted, self.poll.registry()) {
            Ok(()) => {
                self.accepting = true;
                log::info!("serving clients on {wanted} from now on");
            }
            Err(error) => log::error!(
                "the new configuration serves clients on {wanted}, which cannot be opened: {error}. \
                 Clients are still served on {}",
                self.listener.address
            ),
        }
        self.client = Some(wanted);
    }

    fn write_members(&mut self, now: Now) -> bool {
        let Some(members) = &mut self.members else { return false };
        let any = members.write(&mut self.peer, self.poll.registry(), now);
        if let Some(Files { reader: Some(reader), pinned, .. }) = &self.files {
            for link in members.take_closed() {
                reader.forget(link);
            }
            let needed = self.peer.pinned().map_or(i64::MAX, |zxid| zxid.0);
            pinned.store(needed, Ordering::Relaxed);
        }
        any
    }

    /// Waits for events, no longer than `most`, and notes them. False if there are none: then the
    /// poll tells of the next one.
    ///
    /// # Errors
    /// [`Error::Io`], after which there can be no other turn.
    pub(super) fn wait(
        &mut self,
        events: &mut Events,
        most: Option<Duration>,
    ) -> Result<bool, Error> {
        match self.poll.poll(events, most) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(source) => return Err(Error::Io { doing: "wait for events", source }),
        }
        if let Phase::Ending(..) = self.phase {
            return Ok(!events.is_empty());
        }
        for event in events.iter() {
            match event.token() {
                LISTENER => self.accepting = true,
                WAKER => {}
                Token(members::TOKENS..) => {
                    let now = self.clock.now();
                    if let Some(members) = &mut self.members {
                        members.note(&mut self.peer, self.poll.registry(), now, event);
                    }
                }
                Token(token @ unserved::TOKENS..) => {
                    self.unserved.note(token, &mut self.listener, event);
                }
                Token(token) => {
                    let number = token - LINKS;
                    let Some(Some(socket)) = self.sockets.get_mut(number) else { continue };
                    let stream = &mut socket.stream;
                    if (event.is_readable() || event.is_read_closed() || event.is_error())
                        && stream.note_readable(event)
                    {
                        self.queue.push_back(number);
                    }
                    if event.is_writable() && !stream.writable {
                        stream.writable = true;
                        let now = self.clock.now();
                        self.flush(now, number);
                    }
                }
            }
        }
        Ok(!events.is_empty())
    }

    /// How long there is nothing to do without an event; `None` for ever.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let now = self.clock.now().monotonic;
        let in_ms = |at: Instant| Duration::from_millis(at.since(now));
        let due = self.peer.poll_timeout();
        match self.phase {
            Phase::Serving => {
                let accepts = self.accepting && self.accept_at.is_none();
                if !self.queue.is_empty() || self.more || accepts {
                    return Some(Duration::ZERO);
                }
                let links = self.peer.link_count() + self.unserved.len();
                let sweep = (links > 0).then_some(self.sweep_at);
                let next = [due, sweep, self.accept_at].into_iter().flatten().min().map(in_ms);
                let members = self.members.as_ref();
                let members = members.and_then(|members| members.timeout(&self.peer, now));
                [next, members].into_iter().flatten().min()
            }
            Phase::Draining(_) if self.more => Some(Duration::ZERO),
            Phase::Draining(since) => {
                let left = STOP_MAX.saturating_sub(since.elapsed());
                Some(due.map_or(left, |at| left.min(in_ms(at))))
            }
            Phase::Ending(..) => None,
        }
    }

    /// Takes the answers of the other threads.
    fn hear(&mut self, now: Now) -> Result<(), Error> {
        let Some(files) = &mut self.files else { return Ok(()) };
        while let Some(told) = files.disk.hear() {
            match told {
                disk::Told::Durable(synced) => {
                    self.syncing = false;
                    files.extent = synced.extent;
                    self.metrics.fsync.add(ms(synced.took));
                    self.metrics.batches.add(synced.txns as u64);
                    self.peer.durable(now, synced.last).map_err(Error::Apply)?;
                }
                disk::Told::Epochs => self.peer.epochs_written(now),
                disk::Told::Written(len) => self.peer.install_written(len),
                disk::Told::Received(received) => {
                    let reload = |store: &mut Store<_>, peer: &mut Peer<'_>| {
                        member::install(store, peer, received)
                    };
                    // There is a snapshot now, where there was none.
                    files.first_snapshot &= !files.reload(&mut self.peer, &self.clock, reload)?;
                }
                disk::Told::Full(full) => self.peer.set_full(full),
                disk::Told::Failed(error) => return Err(Error::Store(error)),
            }
        }
        while let Some((reading, piece)) = files.reader.as_mut().and_then(Reader::hear) {
            piece.tell(&mut self.peer, now, reading);
        }
        while let Some(told) = files.snapshots.hear() {
            match told {
                snapshots::Told::Written(len) => self.peer.snapshot_written(len),
                snapshots::Told::Done(took) => {
                    self.metrics.snapshots.add(ms(took));
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

    /// Whether time has passed for the core, or something takes long there.
    fn is_due(&self, now: Now) -> bool {
        self.peer.poll_timeout().is_some_and(|at| at <= now.monotonic)
    }

    /// Hands to the other threads what the core wants of the disk. Answers whether there was
    /// anything.
    fn write_disk(&mut self, now: Now) -> Result<bool, Error> {
        let mut any = false;
        loop {
            let Some(want) = self.peer.poll_disk() else { return Ok(any) };
            any = true;
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
                (Want::Ensemble(order), Some(files)) => match order {
                    Order::Epochs(epochs) => files.disk.epochs(epochs),
                    Order::Truncate(zxid) => {
                        files.reload(&mut self.peer, &self.clock, |store, peer| {
                            member::truncate(store, peer, zxid)
                        })?;
                    }
                    Order::InstallBegin(zxid) => files.disk.install_begin(zxid),
                    Order::InstallBytes(bytes) => files.disk.install_bytes(bytes),
                    Order::InstallEnd => files.disk.install_end(),
                    Order::InstallDrop => files.disk.install_drop(),
                    Order::Read(reading, read) => {
                        let extent = files.extent.clone();
                        let ordered =
                            files.reader.as_ref().is_some_and(|r| r.read(reading, read, extent));
                        if !ordered {
                            self.peer.read_failed(reading);
                        }
                    }
                },
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
                // A member of an ensemble has files.
                (Want::Ensemble(_), None) => {}
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
        if !self.peer.is_serving() {
            let stream = Stream::new(stream, address);
            self.unserved.open(self.poll.registry(), &mut self.listener, now, stream);
            return;
        }
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
        self.sockets[number] = Some(Socket::new(Stream::new(stream, address), link, now.monotonic));
    }

    /// Answers those who ask a server that serves nobody.
    fn answer_unserved(&mut self, now: Now) {
        while let Some((place, word, argument)) = self.unserved.poll(&mut self.listener) {
            self.metrics.words_asked += 1;
            let asked = words::Asked {
                peer: &mut self.peer,
                sockets: &self.sockets,
                listener: &self.listener,
                members: self.members.as_ref(),
                metrics: &mut self.metrics,
                asker: usize::MAX,
                now,
            };
            let reply = self.words.answer(word, &argument, asked);
            self.metrics.words_answered += 1;
            self.unserved.answer(place, &mut self.listener, reply);
        }
    }

    /// Reads each connection that has something, once.
    fn read(&mut self, now: Now) {
        self.answer_unserved(now);
        if self.peer.outstanding() < self.outstanding_max {
            for number in self.throttled.drain(..) {
                self.queue.push_back(number);
            }
        }
        let most = if self.members.is_some() { READS_BESIDE_MEMBERS } else { usize::MAX };
        for _ in 0..self.queue.len().min(most) {
            let Some(number) = self.queue.pop_front() else { return };
            let Some(Some(socket)) = self.sockets.get_mut(number) else { continue };
            if self.peer.outstanding() >= self.outstanding_max
                && self.peer.counters(socket.link).queued > 0
            {
                self.throttled.push(number);
                continue;
            }
            socket.stream.queued = false;
            if !socket.stream.readable || socket.stream.blocked {
                continue;
            }
            match socket.stream.read(&mut self.buffer) {
                ReadOutcome::Nothing => continue,
                ReadOutcome::Closed => {
                    socket.stream.readable = false;
                    // What a word is answered is still written.
                    if socket.reply.is_none() {
                        self.metrics.dropped += 1;
                        self.close(now, number);
                    }
                    continue;
                }
                ReadOutcome::Bytes(len) => {
                    self.metrics.bytes_received += len as u64;
                    self.take(now, number, len);
                }
            }
            let Some(Some(socket)) = self.sockets.get_mut(number) else { continue };
            if socket.stream.wants_read() {
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
        if socket.stream.rest.is_empty() && socket.greeted {
            let bytes = &self.buffer[..len];
            let received = self.peer.receive(now, socket.link, bytes);
            socket.stream.keep(&bytes[received.consumed..], received.need);
            note_progress(socket, received.need, received.consumed, now);
            return;
        }
        socket.stream.rest.extend_from_slice(&self.buffer[..len]);
        if !socket.greeted && !self.greet(now, number) {
            return;
        }
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
        if socket.stream.rest.len() >= socket.stream.need {
            self.show(now, number);
        }
    }

    /// Looks at the first four bytes; false if they are not the core's.
    fn greet(&mut self, now: Now, number: usize) -> bool {
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return false };
        let Some(first) = socket.stream.rest.first_chunk::<4>() else {
            socket.partial_since.get_or_insert(now.monotonic);
            return false;
        };
        let Some(word) = Word::known(*first) else {
            socket.greeted = true;
            return true;
        };
        if socket.stream.rest.len() < word.len() {
            return false;
        }
        let argument = socket.stream.rest.split_off(4);
        self.metrics.words_asked += 1;
        let reply = words::Asked {
            peer: &mut self.peer,
            sockets: &self.sockets,
            listener: &self.listener,
            members: self.members.as_ref(),
            metrics: &mut self.metrics,
            asker: number,
            now,
        };
        let reply = self.words.answer(word, &argument, reply);
        self.metrics.words_answered += 1;
        if let Some(Some(socket)) = self.sockets.get_mut(number) {
            socket.stream.rest = Vec::new();
            socket.reply = Some((reply, 0));
            socket.closing_since = Some(now.monotonic);
        }
        self.flush(now, number);
        false
    }

    /// Shows the core what it did not take before.
    fn show(&mut self, now: Now, number: usize) {
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
        let received = self.peer.receive(now, socket.link, &socket.stream.rest);
        socket.stream.rest.drain(..received.consumed);
        socket.stream.need = received.need;
        note_progress(socket, received.need, received.consumed, now);
    }

    /// Writes what the core has for its clients. Answers whether there was anything.
    fn write_links(&mut self, now: Now) -> bool {
        let mut any = false;
        for _ in 0..WRITES {
            let Some(link) = self.peer.poll_link() else { break };
            any = true;
            self.serve(now, link);
        }
        any
    }

    fn serve(&mut self, now: Now, link: Link) {
        let number = link.number();
        let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
        if core::mem::take(&mut socket.stream.blocked) {
            self.show(now, number);
            let Some(Some(socket)) = self.sockets.get_mut(number) else { return };
            if socket.stream.wants_read() {
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
            let Ok(written) = socket.stream.write(&reply[from..]) else {
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
            if !socket.stream.writable {
                return;
            }
            let Ok(written) = socket.stream.write(output) else {
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
            let _ = socket.stream.socket.shutdown(Shutdown::Write);
        }
        self.close(now, number);
    }

    fn close(&mut self, now: Now, number: usize) {
        let Some(mut socket) = self.sockets.get_mut(number).and_then(Option::take) else { return };
        if let Err(error) = self.poll.registry().deregister(&mut socket.stream.socket) {
            log::warn!("cannot forget the socket of {}: {error}", socket.stream.address);
        }
        self.listener.closed(socket.stream.address.ip());
        self.peer.closed(now, socket.link);
        self.throttled.retain(|&throttled| throttled != number);
    }

    /// Closes the connections that took too long, and gives idle memory back.
    fn sweep(&mut self, now: Now) {
        if self.sweep_at > now.monotonic {
            return;
        }
        self.sweep_at = now.monotonic.plus(self.sweep_ms);
        self.unserved.sweep(&mut self.listener, now, self.patience_ms);
        if let Some(members) = &mut self.members {
            members.trim();
        }
        for number in 0..self.sockets.len() {
            let Some(Some(socket)) = self.sockets.get_mut(number) else { continue };
            socket.stream.trim();
            let patience = self.patience_ms;
            let over = |since: Instant, most: u64| now.monotonic.since(since) >= most;
            let late = if let Some(since) = socket.closing_since {
                over(since, patience).then_some("it did not read its last reply")
            } else if self.peer.session(socket.link).is_none() {
                let late = over(socket.opened, patience);
                self.metrics.sessionless_expired += u64::from(late);
                late.then_some("it did not begin a session")
            } else {
                let most = u64::from(self.peer.timeout(socket.link)).max(patience);
                socket
                    .partial_since
                    .filter(|&since| over(since, most))
                    .map(|_| "it did not finish a frame")
            };
            if let Some(why) = late {
                log::info!("closed {}: {why} in time", socket.stream.address);
                self.close(now, number);
            }
        }
    }

    /// Brings what is under way to the disk, and replies to their clients. Whether there is more.
    fn drain(&mut self) -> Result<bool, Error> {
        let now = self.clock.now();
        self.hear(now)?;
        if self.is_due(now) {
            self.peer.tick(now);
        }
        self.write(now)?;
        if let PeerState::Stopped(error) = self.peer.state() {
            return Err(Error::Apply(error));
        }
        let owed =
            |socket: &Socket| !self.peer.output(socket.link).is_empty() || socket.reply.is_some();
        Ok(self.syncing || self.is_due(now) || self.more || self.sockets.iter().flatten().any(owed))
    }

    /// Closes the connections, and lets the threads end.
    fn shut(&mut self, ended: Result<(), Error>) {
        for number in 0..self.sockets.len() {
            let now = self.clock.now();
            self.finish(now, number);
        }
        let mut threads = Vec::new();
        if let Some(Files { disk, snapshots, reader, .. }) = self.files.take() {
            threads.extend([disk.stop(), snapshots.stop()]);
            threads.extend(reader.map(Reader::stop));
        }
        self.phase = Phase::Ending(threads, ended);
    }

    /// How it has ended, when all threads have.
    fn end(&mut self) -> Option<Result<(), Error>> {
        let Phase::Ending(threads, ended) = &mut self.phase else { return None };
        if !threads.iter().all(Thread::has_ended) {
            return None;
        }
        let mut ended = core::mem::replace(ended, Ok(()));
        let has_files = !threads.is_empty();
        for thread in threads.drain(..) {
            let name = thread.name();
            if !thread.join() {
                ended = ended.and(Err(Error::Panicked(name)));
            }
        }
        if has_files && ended.is_ok() {
            log::info!("stopped; everything is on the disk");
        }
        Some(ended)
    }
}

impl Files {
    /// Changes the history as a whole, and lets the peer load what is there then; false if it could
    /// not be changed. Nobody is served meanwhile: the state thread waits for it.
    fn reload(
        &mut self,
        peer: &mut Peer<'static>,
        clock: &Clock,
        change: impl FnOnce(&mut Store<OsDirectory>, &mut Peer<'static>) -> Result<Reload, store::Error>,
    ) -> Result<bool, Error> {
        let mut store = self.disk.store()?;
        let reload = change(&mut store, peer)?;
        self.extent = store.extent();
        drop(store);
        reload.tell(peer, clock.now());
        Ok(reload == Reload::Done)
    }
}

/// Notes what `receive` answered: whether to wait, and since when a frame is incomplete.
fn note_progress(socket: &mut Socket, need: usize, consumed: usize, now: Now) {
    socket.stream.blocked = need == 0;
    let incomplete = !socket.stream.rest.is_empty() && !socket.stream.blocked;
    if !incomplete {
        socket.partial_since = None;
    } else if consumed > 0 || socket.partial_since.is_none() {
        socket.partial_since = Some(now.monotonic);
    }
    if socket.stream.rest.is_empty() {
        socket.stream.need = frame::LEN;
    }
}
