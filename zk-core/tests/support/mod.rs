//! A peer with a disk that obeys at once or not at all, and raw clients: what the tests of this
//! crate need to talk to a [`Peer`] through its border.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part of this")]

use core::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, Disk, Link, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_core::wire::client::{
    Acl, ConnectRequest, ConnectResponse, CreateRequest, OPEN_ACL_UNSAFE, ReplyHeader,
    RequestHeader,
};
use zk_core::wire::jute::{self, Buffer, List, Trailing};
use zk_core::wire::{Code, OpCode};

/// A peer, and what its disk holds.
pub struct World {
    pub peer: Peer<'static>,
    pub now: Now,
    /// Synced transactions, in order.
    pub log: Vec<(Zxid, Vec<u8>)>,
    /// Appended and not yet synced.
    pub unsynced: Vec<(Zxid, Vec<u8>)>,
    /// The newest finished snapshot: zxid and body.
    pub snapshot: Option<(Zxid, Vec<u8>)>,
    writing: Option<(Zxid, Vec<u8>)>,
    /// How many bytes a client shows at once.
    pub fragment: usize,
    ceilings: Ceilings,
}

pub fn options() -> Options {
    Options { extended_types: true, tick_time: 1000, ..Options::default() }
}

pub fn new_peer(options: Options, ceilings: Ceilings, seeds: Seeds, now: Now) -> Peer<'static> {
    Peer::owned(options, ceilings, seeds, SessionId(0x0100_0000_0000_0000), now).unwrap()
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(options())
    }

    pub fn with(options: Options) -> Self {
        Self::bounded(options, Ceilings::default())
    }

    pub fn bounded(options: Options, ceilings: Ceilings) -> Self {
        let now = Now::new(1000, 1_700_000_000_000);
        let mut peer = new_peer(options, ceilings, Seeds(1, 2), now);
        peer.serve(now);
        Self::around(peer, ceilings, now)
    }

    /// A peer that serves already, and a disk that knows nothing of it yet.
    pub fn around(peer: Peer<'static>, ceilings: Ceilings, now: Now) -> Self {
        let mut world = Self {
            peer,
            now,
            log: vec![],
            unsynced: vec![],
            snapshot: None,
            writing: None,
            fragment: usize::MAX,
            ceilings,
        };
        world.settle();
        world
    }

    /// Hands what the peer wants of its disk to the disk. Nothing is synced yet.
    pub fn write(&mut self) {
        while self.write_once() {}
    }

    /// Hands the next thing that the peer wants of its disk to the disk; whether there was one.
    pub fn write_once(&mut self) -> bool {
        match self.peer.poll_disk() {
            None => return false,
            Some(Disk::Append(batch)) => {
                self.unsynced.extend(batch.iter().map(|(zxid, b)| (zxid, b.to_vec())));
            }
            Some(Disk::Roll) => {}
            Some(Disk::SnapshotBegin(zxid)) => self.writing = Some((zxid, vec![])),
            Some(Disk::SnapshotBytes(bytes)) => {
                let n = bytes.len();
                self.writing.as_mut().unwrap().1.extend_from_slice(bytes);
                self.peer.snapshot_written(n);
            }
            Some(Disk::SnapshotEnd(digest)) => {
                let (zxid, body) = self.writing.take().unwrap();
                assert_eq!(digest.zxid, zxid);
                self.snapshot = Some((zxid, body));
                self.peer.snapshot_done();
            }
            Some(Disk::SnapshotDrop) => self.writing = None,
            Some(Disk::Ensemble(order)) => panic!("{order:?}"),
        }
        true
    }

    /// Syncs what is written, and says so.
    pub fn sync(&mut self) {
        if let Some(&(last, _)) = self.unsynced.last() {
            self.log.append(&mut self.unsynced);
            self.peer.durable(self.now, last).unwrap();
        }
    }

    /// Until nothing is left to do.
    pub fn settle(&mut self) {
        loop {
            self.write();
            if self.peer.poll_timeout().is_some_and(|at| at <= self.now.monotonic) {
                self.peer.tick(self.now);
            } else if self.unsynced.is_empty() {
                break;
            } else {
                self.sync();
            }
        }
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.now.monotonic = self.now.monotonic.plus(ms);
        self.now.wall += ms as i64;
        self.peer.tick(self.now);
        self.settle();
    }

    /// The process ends; another one starts from what is synced.
    pub fn restart(&mut self) {
        let now = Now::new(5, self.now.wall);
        self.peer = self.loaded(self.snapshot.as_ref(), now);
        self.now = now;
        self.unsynced.clear();
        self.writing = None;
        self.settle();
    }

    /// Another peer that has loaded a snapshot, and what is synced behind it.
    pub fn loaded(&self, snapshot: Option<&(Zxid, Vec<u8>)>, now: Now) -> Peer<'static> {
        let options = self.peer.options().clone();
        let mut peer = new_peer(options, self.ceilings, Seeds(7, 8), now);
        peer.load_reset();
        let mut from = Zxid::ZERO;
        if let Some((zxid, body)) = snapshot {
            let taken = peer.load_snapshot(body).unwrap();
            assert!(taken.done && taken.consumed == body.len());
            peer.load_snapshot_end(*zxid, None);
            from = zxid.successor();
        }
        for (zxid, entry) in &self.log {
            if *zxid >= from {
                peer.load_txn(entry).unwrap();
            }
        }
        peer.serve(now);
        peer
    }

    pub fn connect(&mut self) -> Client {
        self.connect_as(SessionId::NONE, &[0; 16])
    }

    pub fn connect_as(&mut self, session: SessionId, passwd: &[u8]) -> Client {
        let link = self.peer.open(self.now, IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let mut client =
            Client { link, session, passwd: vec![], timeout: 0, xid: 0, pending: vec![] };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 10_000,
            session_id: session,
            passwd: Buffer::new(passwd),
            read_only: Trailing(Some(false)),
        };
        self.send(&mut client, &encode(&request));
        self.settle();
        let frames = self.frames(link);
        let response: ConnectResponse<'_> = jute::decode(&frames[0]).unwrap();
        client.session = response.session_id;
        client.passwd = response.passwd.bytes().to_vec();
        client.timeout = response.timeout;
        client
    }

    /// Shows a frame to the peer, in fragments.
    pub fn send(&mut self, client: &mut Client, payload: &[u8]) {
        client.pending.extend_from_slice(&(payload.len() as i32).to_be_bytes());
        client.pending.extend_from_slice(payload);
        let whole = core::mem::take(&mut client.pending);
        let mut shown = 0;
        let mut buffer = vec![];
        while shown < whole.len() {
            let end = shown.saturating_add(self.fragment).min(whole.len());
            buffer.extend_from_slice(&whole[shown..end]);
            shown = end;
            let received = self.peer.receive(self.now, client.link, &buffer);
            buffer.drain(..received.consumed);
            assert!(received.need > buffer.len() || received.need == 0);
        }
        client.pending = buffer;
    }

    /// Takes all output of a link, as frames.
    pub fn frames(&mut self, link: Link) -> Vec<Vec<u8>> {
        let bytes = self.peer.output(link).to_vec();
        self.peer.sent(self.now, link, bytes.len());
        let mut rest = &bytes[..];
        let mut frames = vec![];
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let (frame, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
            frames.push(frame.to_vec());
            rest = tail;
        }
        assert!(rest.is_empty());
        frames
    }

    /// Sends a request; answers its xid.
    pub fn ask(&mut self, client: &mut Client, op: OpCode, body: &impl Serialize) -> Xid {
        client.xid += 1;
        let xid = Xid(client.xid);
        let mut payload = encode(&RequestHeader { xid, op });
        payload.extend(encode(body));
        self.send(client, &payload);
        xid
    }

    /// Sends a request and waits for its reply: events, header, body.
    pub fn call(&mut self, client: &mut Client, op: OpCode, body: &impl Serialize) -> Reply {
        let xid = self.ask(client, op, body);
        self.settle();
        let mut frames = self.frames(client.link);
        let last = frames.pop().unwrap_or_else(|| panic!("no reply to {op:?}"));
        let header: ReplyHeader = jute::decode(&last).unwrap();
        assert_eq!(header.xid, if op == OpCode::Ping { Xid::PING } else { xid });
        Reply { events: frames, header, body: last[16..].to_vec() }
    }

    pub fn create(&mut self, client: &mut Client, path: &str, flags: i32) -> Reply {
        self.call(client, OpCode::Create, &create(path, b"data", flags))
    }
}

pub struct Client {
    pub link: Link,
    pub session: SessionId,
    pub passwd: Vec<u8>,
    pub timeout: i32,
    pub xid: i32,
    pub pending: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub events: Vec<Vec<u8>>,
    pub header: ReplyHeader,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn err(&self) -> Code {
        self.header.err
    }

    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> T {
        assert_eq!(self.err(), Code::Ok);
        jute::decode(&self.body).unwrap()
    }
}

pub fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut out = vec![];
    jute::write(value, &mut out).unwrap();
    out
}

/// `[ALL, world:anyone]`, encoded.
pub fn open_acl() -> List<'static, Acl<'static>> {
    List::from_raw(1, Box::leak(encode(&OPEN_ACL_UNSAFE).into_boxed_slice()))
}

pub fn create<'a>(path: &'a str, data: &'a [u8], flags: i32) -> CreateRequest<'a> {
    CreateRequest { path: path.into(), data: data.into(), acl: open_acl(), flags }
}
