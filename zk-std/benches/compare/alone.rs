//! A peer in this process, without sockets and without a disk: every inlet and outlet that a server
//! calls is called here, in the same order, and the longest call is known.
//!
//! What a client sends is taken, and what is to be synced is durable, before the next turn; so a
//! call does here what it does in a server, whatever else the machine is doing.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::collections::HashMap;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, Disk, Link, Options, Peer, State};
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_core::wire::client::{ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader};
use zk_core::wire::frame::{self, Frame};
use zk_core::wire::jute::{self, Buffer, Reader, Trailing};
use zk_core::wire::{Code, OpCode};

use crate::long::{SNAP_COUNT, Stall, World};
use crate::{Result, session};

/// Where the monotonic clock starts, ms, and how far it goes in each turn.
const START_MS: u64 = 1_000;
/// Wall time at that moment: any day will do.
const WALL_MS: i64 = 1_700_000_000_000;

/// The CPU time of this thread. What others do on this machine does not count.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

/// Notes a call of the peer that began at `since`, if none took longer.
fn note(longest: &mut Stall, call: &'static str, since: Duration) {
    let time = cpu().saturating_sub(since);
    if time > longest.time {
        *longest = Stall { time, call };
    }
}

/// What is known of a client.
#[derive(Debug, Default)]
struct Client {
    /// Of the last request.
    xid: i32,
    /// Bytes of replies that are not complete.
    input: Vec<u8>,
    /// The body of the reply to it.
    answer: Option<Vec<u8>>,
    greeted: bool,
}

/// The peer and its clients.
#[derive(Debug)]
pub(crate) struct Alone {
    peer: Peer<'static>,
    turns: u64,
    clients: HashMap<Link, Client>,
    longest: Stall,
    snapshots: usize,
}

impl Alone {
    /// A peer with an empty tree.
    pub(crate) fn new() -> Result<Self> {
        let options = Options { snap_count: SNAP_COUNT, ..Options::default() };
        let now = Now::new(START_MS, WALL_MS);
        let first = SessionId(1 << 56);
        let mut peer = Peer::owned(options, Ceilings::default(), Seeds(1, 2), first, now)?;
        peer.load_reset();
        peer.serve(now);
        Ok(Self {
            peer,
            turns: 0,
            clients: HashMap::new(),
            longest: Stall::default(),
            snapshots: 0,
        })
    }

    fn now(&self) -> Now {
        let turns = i64::try_from(self.turns).unwrap_or(i64::MAX);
        Now::new(START_MS + self.turns, WALL_MS + turns)
    }

    /// Shows the peer what a client has sent, until it has taken all of it.
    fn receive(&mut self, link: Link, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let since = cpu();
            let received = self.peer.receive(self.now(), link, rest);
            note(&mut self.longest, "receive", since);
            rest = rest.get(received.consumed..).unwrap_or_default();
            if !rest.is_empty() && !self.turn()? && received.consumed == 0 {
                return Err("the peer does not take what was sent".into());
            }
        }
        Ok(())
    }

    /// Turns until nothing is left to do.
    fn settle(&mut self) -> Result<()> {
        while self.turn()? {}
        Ok(())
    }

    /// What a server does after it has read: the disk, the replies, the timers. Whether there was
    /// anything to do.
    fn turn(&mut self) -> Result<bool> {
        self.turns += 1;
        let now = self.now();
        let mut busy = self.disk(now)?;
        loop {
            let since = cpu();
            let link = self.peer.poll_link();
            note(&mut self.longest, "poll_link", since);
            let Some(link) = link else { break };
            busy = true;
            self.output(link, now)?;
        }
        if self.peer.poll_timeout().is_some_and(|at| at <= now.monotonic) {
            let since = cpu();
            self.peer.tick(now);
            note(&mut self.longest, "tick", since);
            // A slice of something long may have come to its end, and has an answer.
            busy = true;
        }
        Ok(busy | self.disk(now)?)
    }

    fn disk(&mut self, now: Now) -> Result<bool> {
        let mut busy = false;
        loop {
            let since = cpu();
            let want = self.peer.poll_disk();
            note(&mut self.longest, "poll_disk", since);
            match want {
                None => return Ok(busy),
                Some(Disk::Append(batch)) => {
                    let last = batch.last();
                    let since = cpu();
                    self.peer.durable(now, last)?;
                    note(&mut self.longest, "durable", since);
                }
                Some(Disk::SnapshotBytes(bytes)) => {
                    let len = bytes.len();
                    let since = cpu();
                    self.peer.snapshot_written(len);
                    note(&mut self.longest, "snapshot_written", since);
                }
                Some(Disk::SnapshotEnd(_)) => {
                    self.snapshots += 1;
                    self.peer.snapshot_done();
                }
                Some(Disk::SnapshotDrop) => return Err("the peer gave up a snapshot".into()),
                Some(Disk::Ensemble(_)) => return Err("the peer takes itself for a member".into()),
                Some(Disk::Roll | Disk::SnapshotBegin(_)) => {}
            }
            busy = true;
        }
    }

    fn output(&mut self, link: Link, now: Now) -> Result<()> {
        let since = cpu();
        let bytes = self.peer.output(link);
        note(&mut self.longest, "output", since);
        let len = bytes.len();
        if let Some(client) = self.clients.get_mut(&link) {
            client.input.extend_from_slice(bytes);
            client.take()?;
        }
        let since = cpu();
        self.peer.sent(now, link, len);
        note(&mut self.longest, "sent", since);
        if self.peer.is_closing(link) {
            let since = cpu();
            self.peer.closed(now, link);
            note(&mut self.longest, "closed", since);
        }
        match self.peer.state() {
            State::Standalone => Ok(()),
            state => Err(format!("the peer does not serve any more: {state:?}").into()),
        }
    }
}

impl World for Alone {
    type Client = Link;

    fn connect(&mut self) -> Result<Link> {
        let link = self.peer.open(self.now(), IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        self.clients.insert(link, Client::default());
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 40_000,
            session_id: SessionId::NONE,
            passwd: Buffer::new(&[0; 16]),
            read_only: Trailing(Some(false)),
        };
        let mut frame = Vec::new();
        session::framed(&mut frame, |out| jute::write(&request, out))?;
        self.receive(link, &frame)?;
        self.settle()?;
        if self.clients.get(&link).is_some_and(|client| client.greeted) {
            Ok(link)
        } else {
            Err("the peer grants no session".into())
        }
    }

    fn call<B: Serialize>(&mut self, link: &mut Link, op: OpCode, body: &B) -> Result<Vec<u8>> {
        let client = self.clients.get_mut(link).ok_or("no such client")?;
        client.xid += 1;
        let xid = Xid(client.xid);
        let mut frame = Vec::new();
        session::framed(&mut frame, |out| {
            jute::write(&RequestHeader { xid, op }, out)?;
            jute::write(body, out)
        })?;
        self.receive(*link, &frame)?;
        self.settle()?;
        let client = self.clients.get_mut(link).ok_or("no such client")?;
        client.answer.take().ok_or_else(|| format!("no answer to {op:?}").into())
    }

    fn snapshots(&mut self) -> Result<usize> {
        Ok(self.snapshots)
    }

    fn measure(&mut self) {
        self.longest = Stall::default();
    }

    fn stall(&mut self) -> Stall {
        self.longest.clone()
    }
}

impl Client {
    /// Verifies whole replies.
    fn take(&mut self) -> Result<()> {
        let mut taken = 0;
        loop {
            let payload = match frame::first(&self.input[taken..], usize::MAX) {
                Ok(Frame::Whole(payload)) => payload,
                Ok(Frame::Need(_)) => {
                    self.input.drain(..taken);
                    return Ok(());
                }
                Err(_) => return Err("wrong answer: a frame of negative length".into()),
            };
            taken += frame::LEN + payload.len();
            if self.greeted {
                let mut reader = Reader::new(payload);
                let header: ReplyHeader = reader.read()?;
                if header.xid == Xid::EVENT {
                    continue;
                }
                if header.xid != Xid(self.xid) || header.err != Code::Ok {
                    return Err(format!("wrong answer to {}: {header:?}", self.xid).into());
                }
                self.answer = Some(reader.rest().to_vec());
            } else {
                let answer: ConnectResponse<'_> = jute::decode(payload)?;
                self.greeted = answer.session_id != SessionId::NONE;
            }
        }
    }
}
