//! Watch fan-out: one session writes, and many are told of each write.

use core::time::Duration;
use std::io::Read;
use std::time::Instant;

use mio::{Events, Interest, Poll, Token};
use zk_core::id::Xid;
use zk_core::wire::OpCode;
use zk_core::wire::client::{EventType, PathMode, PathRecord, ReplyHeader, WatcherEvent};
use zk_core::wire::frame;
use zk_core::wire::jute::Reader;

use crate::Result;
use crate::load::{Measured, cpu, parent};
use crate::process::go_on;
use crate::server::Server;
use crate::session::{self, Session};

/// Sessions that watch, at the servers in turn.
pub(crate) const WATCHERS: usize = 60;
/// Writes in flight of the one that writes.
const WRITES: usize = 20;
/// Nodes that are written.
const NODES: usize = 32;
/// Persistent and recursive, as `addWatch` says it.
const RECURSIVE: i32 = 1;
/// How long everybody may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// A session that is told of what is written.
#[derive(Debug)]
struct Watcher {
    stream: mio::net::TcpStream,
    input: Vec<u8>,
    told: u64,
}

/// The sessions and their nodes, ready for runs.
#[derive(Debug)]
pub(crate) struct Fanout {
    poll: Poll,
    events: Events,
    writer: Session<mio::net::TcpStream>,
    watchers: Vec<Watcher>,
    path: String,
}

impl Fanout {
    /// Opens the sessions; the nodes are below `/name`, which must be new.
    pub(crate) fn new(servers: &[Server], name: &str) -> Result<Self> {
        let first = servers.first().ok_or("no server")?;
        let path = format!("/{name}");
        parent(first.port, core::slice::from_ref(&path))?;
        let poll = Poll::new()?;
        let mut writer = Session::prepare(first.port, &path, NODES, 100)?.into_mio()?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut writer.stream, Token(WATCHERS), both)?;
        let mut watchers = Vec::new();
        for (number, server) in servers.iter().cycle().take(WATCHERS).enumerate() {
            let mut stream = session::open(server.port)?;
            // This server has all that was created.
            let sync = PathRecord { path: path.as_str().into() };
            session::call(&mut stream, 1, OpCode::Sync, &sync)?;
            let watch = PathMode { path: path.as_str().into(), mode: RECURSIVE };
            session::call(&mut stream, 2, OpCode::AddWatch, &watch)?;
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            watchers.push(Watcher { stream, input: Vec::new(), told: 0 });
        }
        Ok(Self { poll, events: Events::with_capacity(WATCHERS + 1), writer, watchers, path })
    }

    /// Writes for `time`, then waits until everybody was told of everything. The rate, and the
    /// servers' CPU, are of events.
    pub(crate) fn run(&mut self, servers: &[Server], time: Duration) -> Result<Measured> {
        let before = self.writer.done;
        for watcher in &mut self.watchers {
            watcher.told = 0;
        }
        let usage = cpu(servers)?;
        let start = Instant::now();
        let mut open = true;
        feed(&mut self.writer, open)?;
        loop {
            let written = self.writer.done - before;
            let all = |told: u64| self.watchers.iter().all(|watcher| watcher.told == told);
            if self.writer.in_flight() == 0 && all(written) {
                break;
            }
            go_on()?;
            self.poll.poll(&mut self.events, Some(SILENCE))?;
            if self.events.is_empty() {
                return Err("wrong answer: some events do not come".into());
            }
            open = open && start.elapsed() < time;
            for event in &self.events {
                match self.watchers.get_mut(event.token().0) {
                    Some(watcher) => watcher.hear(&self.path)?,
                    None => {
                        self.writer.receive()?;
                        feed(&mut self.writer, open)?;
                    }
                }
            }
        }
        let took = start.elapsed();
        let cpu = cpu(servers)?.since(usage);
        let told = (self.writer.done - before) * WATCHERS as u64;
        Ok(Measured {
            rate: told as f64 / took.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / told as f64,
        })
    }
}

fn feed(writer: &mut Session<mio::net::TcpStream>, open: bool) -> Result<()> {
    while open && writer.in_flight() < WRITES {
        writer.set()?;
    }
    writer.send()
}

impl Watcher {
    /// Counts the events that have come; each must be a change of one of the nodes.
    fn hear(&mut self, path: &str) -> Result<()> {
        let mut room = [0; 1 << 16];
        loop {
            match self.stream.read(&mut room) {
                Ok(0) => return Err("the server closed a watcher's connection".into()),
                Ok(len) => self.input.extend_from_slice(&room[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let mut rest = &self.input[..];
        while let Ok(frame::Frame::Whole(payload)) = frame::first(rest, 1 << 20) {
            let mut reader = Reader::new(payload);
            let (header, event): (ReplyHeader, WatcherEvent<'_>) = reader.read()?;
            let changed = event.kind == EventType::NodeDataChanged as i32;
            if header.xid != Xid::EVENT
                || !changed
                || !event.path.bytes().starts_with(path.as_bytes())
            {
                return Err(format!("wrong event: {header:?} {event:?}").into());
            }
            self.told += 1;
            rest = &rest[frame::LEN + payload.len()..];
        }
        let left = rest.len();
        self.input.drain(..self.input.len() - left);
        Ok(())
    }
}
