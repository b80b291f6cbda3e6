//! Load: many sessions with many requests in flight, or one request in flight.

use core::time::Duration;
use std::net::TcpStream;
use std::time::Instant;

use mio::{Events, Interest, Poll, Token};
use zk_core::wire::OpCode;
use zk_core::wire::client::CreateRequest;
use zk_core::wire::jute::Buffer;

use crate::Result;
use crate::process::{Usage, go_on};
use crate::server::Server;
use crate::session::{self, Session};

/// Sessions of a loaded row.
pub(crate) const SESSIONS: usize = 20;
/// Requests in flight of each.
pub(crate) const WINDOW: usize = 50;
/// Nodes that each session reads and writes.
const NODES: usize = 32;
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Get,
    Set,
    CreateDelete,
    /// Nine reads for each write, at random.
    Mix,
}

impl Work {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Get => "getData",
            Self::Set => "setData",
            Self::CreateDelete => "create+delete",
            Self::Mix => "90/10 mix",
        }
    }

    fn queue<S>(self, session: &mut Session<S>) -> Result<()> {
        match self {
            Self::Get => session.get(),
            Self::Set => session.set(),
            Self::CreateDelete => session.create_or_delete(),
            Self::Mix if session.pick(10) == 0 => session.set(),
            Self::Mix => session.get(),
        }
    }
}

/// What a run measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Operations a second.
    pub(crate) rate: f64,
    /// The server's CPU per operation, microseconds.
    pub(crate) cpu: f64,
}

/// Sessions on one server with their nodes, ready for runs.
#[derive(Debug)]
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    sessions: Vec<Session<mio::net::TcpStream>>,
    work: Work,
}

/// Makes sure that `path` exists.
pub(crate) fn parent(port: u16, paths: &[String]) -> Result<()> {
    let mut stream = session::open(port)?;
    let acl = session::open_acl()?;
    for (xid, path) in (1..).zip(paths) {
        let acl = session::one_acl(&acl);
        let data = Buffer::new(b"");
        let create = CreateRequest { path: path.as_str().into(), data, acl, flags: 0 };
        session::call(&mut stream, xid, OpCode::Create, &create)?;
    }
    Ok(())
}

impl Load {
    /// Opens the sessions, at the servers in turn, and creates their nodes under `/name`, which must
    /// be new.
    pub(crate) fn new(servers: &[Server], name: &str, work: Work, value: usize) -> Result<Self> {
        let mut ports = servers.iter().map(|server| server.port).cycle();
        let mut next = || ports.next().ok_or("no server");
        let mut paths = vec![format!("/{name}")];
        paths.extend((0..SESSIONS).map(|number| format!("/{name}/s{number:02}")));
        parent(next()?, &paths)?;
        let poll = Poll::new()?;
        let mut sessions = Vec::new();
        for (number, path) in paths.iter().skip(1).enumerate() {
            let mut session = Session::prepare(next()?, path, NODES, value)?.into_mio()?;
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut session.stream, Token(number), both)?;
            sessions.push(session);
        }
        Ok(Self { poll, events: Events::with_capacity(SESSIONS), sessions, work })
    }

    /// Keeps every session's window full for `time`, then waits for what is in flight.
    pub(crate) fn run(&mut self, servers: &[Server], time: Duration) -> Result<Measured> {
        let before: u64 = self.sessions.iter().map(|session| session.done).sum();
        let usage = cpu(servers)?;
        let start = Instant::now();
        let mut open = true;
        for session in &mut self.sessions {
            feed(session, self.work, open)?;
        }
        while self.sessions.iter().any(|session| session.in_flight() > 0) {
            go_on()?;
            self.poll.poll(&mut self.events, Some(SILENCE))?;
            if self.events.is_empty() {
                let name = servers.first().map_or("nobody", |server| server.kind.name());
                return Err(format!("{name}: no answer within {SILENCE:?}").into());
            }
            open = open && start.elapsed() < time;
            for event in &self.events {
                let session = &mut self.sessions[event.token().0];
                session.receive()?;
                feed(session, self.work, open)?;
            }
        }
        let took = start.elapsed();
        let cpu = cpu(servers)?.since(usage);
        let done = self.sessions.iter().map(|session| session.done).sum::<u64>() - before;
        Ok(Measured {
            rate: done as f64 / took.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / done as f64,
        })
    }

    /// Deletes the nodes and closes the sessions.
    pub(crate) fn close(mut self) -> Result<()> {
        for mut session in self.sessions.drain(..) {
            self.poll.registry().deregister(&mut session.stream)?;
            session.into_blocking()?.close()?;
        }
        Ok(())
    }
}

fn feed(session: &mut Session<mio::net::TcpStream>, work: Work, open: bool) -> Result<()> {
    while open && session.in_flight() < WINDOW {
        work.queue(session)?;
    }
    if !open && work == Work::CreateDelete && session.owes_delete() {
        work.queue(session)?;
    }
    session.send()
}

/// CPU time of servers, together.
pub(crate) fn cpu(servers: &[Server]) -> Result<Usage> {
    Usage::of_all(servers.iter().map(Server::pid))
}

/// One session with one request in flight.
#[derive(Debug)]
pub(crate) struct Single {
    session: Session<TcpStream>,
    work: Work,
}

impl Single {
    /// Opens the session, at the first server, and creates its nodes under `/name`, which must be
    /// new.
    pub(crate) fn new(servers: &[Server], name: &str, work: Work, value: usize) -> Result<Self> {
        let port = servers.first().ok_or("no server")?.port;
        let path = format!("/{name}");
        parent(port, core::slice::from_ref(&path))?;
        Ok(Self { session: Session::prepare(port, &path, NODES, value)?, work })
    }

    /// Asks and waits, over and over, for `time`; returns how long each answer took and the
    /// servers' CPU per operation in microseconds.
    pub(crate) fn run(
        &mut self,
        servers: &[Server],
        time: Duration,
    ) -> Result<(Vec<Duration>, f64)> {
        let mut times = Vec::new();
        let usage = cpu(servers)?;
        let start = Instant::now();
        while start.elapsed() < time {
            go_on()?;
            self.work.queue(&mut self.session)?;
            let asked = Instant::now();
            self.session.finish()?;
            times.push(asked.elapsed());
        }
        let cpu = cpu(servers)?.since(usage).as_secs_f64() * 1e6 / times.len() as f64;
        Ok((times, cpu))
    }

    /// Deletes the nodes and closes the session.
    pub(crate) fn close(self) -> Result<()> {
        self.session.close()
    }
}
