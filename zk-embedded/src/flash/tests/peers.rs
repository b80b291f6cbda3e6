//! Peers of the core on flash: one alone, and an ensemble whose boards lose their power.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use serde::Serialize;
use zk_core::id::{Epoch, ServerId, SessionId, Xid, Zxid};
use zk_core::peer::{
    Ceilings, Epochs, Link, MemberLink, Membership, Options as PeerOptions, Peer, State,
};
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_core::wire::client::{
    ConnectRequest, CreateRequest, OPEN_ACL_UNSAFE, ReplyHeader, RequestHeader, SetDataRequest,
};
use zk_core::wire::jute::{self, Buffer, List, Trailing};
use zk_core::wire::txn::TxnHeader;
use zk_core::wire::{Code, OpCode};

use super::world::Rng;
use crate::flash::simulated::{Cut, Flash, Geometry};
use crate::flash::{
    Block, Disk, Done, Entries, History, Memory, Options, Poll, Rot, Store, batch_len,
};

const GEOMETRY: Geometry = Geometry { write: 4, page: 256, erase: 4096, blocks: 16 };
const TXN: usize = 1024;
const OPTIONS: Options = Options { first_block: 0, txn_max: TXN, snapshot_max: 12_000 };
const NODES: usize = 3;

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut out = vec![];
    jute::write(value, &mut out).unwrap();
    out
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as i32).to_be_bytes().to_vec();
    frame.extend(payload);
    frame
}

/// Memory that a board has for ever.
fn memory() -> Memory<'static> {
    let bytes = |len| Vec::leak(vec![0; len]);
    Memory {
        blocks: Vec::leak(vec![Block::default(); GEOMETRY.blocks]),
        batch: bytes(batch_len(TXN, TXN, GEOMETRY.write)),
        piece: bytes(256),
    }
}

/// For what is read of the log: a transaction, and some more of them if they are short.
const SCRATCH: usize = Entries::room(TXN) + 500;

/// A board: its flash, and what runs on it.
struct Board {
    disk: Disk<'static, Flash>,
    peer: Peer<'static>,
    now: Now,
}

impl Board {
    fn new(flash: Flash, id: u8, members: Option<&str>, now: Now, life: u64) -> Self {
        let options = PeerOptions {
            server: ServerId(i64::from(id)),
            ensemble: members.is_some(),
            tick_time: 100,
            init_limit: 10,
            sync_limit: 5,
            min_session_timeout: 200,
            max_session_timeout: 2000,
            max_frame: TXN,
            max_txn: TXN,
            max_batch: TXN,
            ..PeerOptions::default()
        };
        let ceilings = Ceilings { history: 6000, pending: 20, ..Ceilings::default() };
        let seeds = Seeds(life, !life);
        let first = SessionId::first(options.server, (1 << 39) + life);
        let mut peer = Peer::owned(options, ceilings, seeds, first, now).unwrap();
        let mut disk = Disk::new(flash, memory(), OPTIONS).unwrap();
        disk.open().unwrap();
        // A board is new once.
        let history = disk.load(&mut peer, life == 1).unwrap();
        assert!(matches!(history, History::Loaded(_)), "{history:?}");
        assert_eq!(peer.stats().digest_mismatches, 0);
        disk.start().unwrap();
        match members {
            None => peer.serve(now),
            Some(members) => {
                let epochs = disk.store().epochs();
                let config = members.as_bytes();
                let membership = Membership { config, proposed: None, epochs, damaged: false };
                peer.join(now, &membership).unwrap();
                for server in 1..=NODES as u8 {
                    let server_id = ServerId(i64::from(server));
                    peer.resolved(server_id, &[address(server)]).unwrap();
                }
            }
        }
        Self { disk, peer, now }
    }

    /// What a loss of power leaves.
    fn cut(self, cut: Cut, seed: u64) -> Flash {
        self.disk.store().nor().cut(cut, seed)
    }

    fn tick(&mut self) {
        if self.peer.poll_timeout().is_some_and(|at| at <= self.now.monotonic) {
            self.peer.tick(self.now);
        }
    }
}

fn address(id: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, id))
}

/// A client with one request at a time.
struct Client {
    link: Link,
    xid: i32,
    connected: bool,
}

impl Client {
    fn open(peer: &mut Peer<'_>, now: Now) -> Option<Self> {
        let link = peer.open(now, IpAddr::V4(Ipv4Addr::LOCALHOST)).ok()?;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 2000,
            session_id: SessionId::NONE,
            passwd: Buffer::new(&[0; 16]),
            read_only: Trailing(Some(false)),
        };
        peer.receive(now, link, &frame(&encode(&request)));
        Some(Self { link, xid: 0, connected: false })
    }

    fn ask(&mut self, peer: &mut Peer<'_>, now: Now, op: OpCode, body: &impl Serialize) {
        self.xid += 1;
        let mut request = encode(&RequestHeader { xid: Xid(self.xid), op });
        request.extend(encode(body));
        peer.receive(now, self.link, &frame(&request));
    }

    fn put(&mut self, peer: &mut Peer<'_>, now: Now, path: &str, data: &[u8], create: bool) {
        if create {
            let mut room = [0; 64];
            let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap();
            let body = CreateRequest { path: path.into(), data: data.into(), acl, flags: 0 };
            self.ask(peer, now, OpCode::Create, &body);
        } else {
            let body = SetDataRequest { path: path.into(), data: data.into(), version: -1 };
            self.ask(peer, now, OpCode::SetData, &body);
        }
    }

    /// What came: the reply to the last request, or whether the connection is there.
    fn take(&mut self, peer: &mut Peer<'_>, now: Now) -> Result<Option<(Code, Vec<u8>)>, ()> {
        while peer.poll_link().is_some() {}
        let bytes = peer.output(self.link).to_vec();
        peer.sent(now, self.link, bytes.len());
        let closing = peer.is_closing(self.link);
        let mut rest = &bytes[..];
        let mut reply = None;
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let (frame, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
            rest = tail;
            if !self.connected {
                self.connected = true;
                continue;
            }
            let header: ReplyHeader = jute::decode(frame).unwrap();
            assert_eq!(header.xid.0, self.xid);
            reply = Some((header.err, frame[16..].to_vec()));
        }
        if closing {
            peer.closed(now, self.link);
            return if reply.is_some() { Ok(reply) } else { Err(()) };
        }
        Ok(reply)
    }
}

#[test]
fn a_peer_alone_keeps_what_it_has_answered() {
    let (mut snapshots, mut cuts, mut waited) = (0, 0, 0);
    for seed in 0..3 {
        let mut rng = Rng(seed);
        let mut flash = Flash::new(GEOMETRY, seed + 1);
        let mut digests = BTreeMap::new();
        let mut answered = Zxid::ZERO;
        for life in 1..40 {
            let now = Now::new(1000, 1_700_000_000_000);
            let mut board = Board::new(flash, 1, None, now, life);
            let last = board.peer.tree().last_zxid();
            assert!(last >= answered, "{last} is there, {answered} was answered");
            if let Some(digest) = digests.get(&last.0) {
                assert_eq!(board.peer.tree().digest(), *digest, "at {last}");
            }
            // What was asked last may be there without an answer, and nothing after it.
            digests.retain(|zxid, _| *zxid <= last.0);
            answered = last;
            let mut client = Client::open(&mut board.peer, board.now).unwrap();
            let (mut asked, mut writes) = (false, 0);
            let operations = |board: &Board| {
                let counts = board.disk.store().nor().counts();
                counts.programs + counts.erases
            };
            let until = operations(&board) + 20 + rng.below(400);
            loop {
                board.tick();
                let poll = board
                    .disk
                    .poll(&mut board.peer, board.now, rng.below(3) == 0, &mut [0; SCRATCH])
                    .unwrap();
                snapshots += u32::from(matches!(poll, Poll::Done(Done::Snapshot(_))));
                if operations(&board) >= until && rng.below(4) == 0 {
                    break;
                }
                waited += u32::from(board.disk.store().is_full());
                match client.take(&mut board.peer, board.now).unwrap() {
                    Some((code, _)) => {
                        asked = false;
                        assert!(
                            matches!(code, Code::Ok | Code::NodeExists | Code::NoNode),
                            "{code:?}"
                        );
                        answered = board.peer.tree().last_zxid();
                        digests.insert(answered.0, board.peer.tree().digest());
                    }
                    None if client.connected && !asked => {
                        let path = format!("/n{}", rng.below(12));
                        let data = vec![writes as u8; rng.below(600) as usize];
                        writes += 1;
                        let create = rng.below(4) == 0;
                        client.put(&mut board.peer, board.now, &path, &data, create);
                        asked = true;
                    }
                    None => {}
                }
            }
            cuts += 1;
            flash = board.cut(Cut::ALL[rng.below(5) as usize], rng.next());
        }
        assert!(answered.counter() > 1000, "{answered}");
    }
    std::println!("{cuts} cuts, {snapshots} snapshots, full {waited} times");
    assert!(snapshots > 20);
}

/// The order of nodes and sessions in it is nobody's promise, so a learner that has read half of the
/// first must not be shown the other half of a second.
#[test]
fn a_snapshot_is_not_written_twice() {
    let now = Now::new(1000, 1_700_000_000_000);
    let mut board = Board::new(Flash::new(GEOMETRY, 1), 1, None, now, 1);
    let rest = |board: &mut Board| {
        for _ in 0..1000 {
            board.disk.poll(&mut board.peer, now, true, &mut [0; SCRATCH]).unwrap();
        }
        board.disk.store().snapshot()
    };
    let programmed = |board: &Board| board.disk.store().nor().counts().programs;
    rest(&mut board);
    let mut client = Client::open(&mut board.peer, now).unwrap();
    rest(&mut board);
    client.take(&mut board.peer, now).unwrap();
    board.peer.want_snapshot();
    let first = rest(&mut board);
    let before = programmed(&board);
    board.peer.want_snapshot();
    assert_eq!((rest(&mut board), programmed(&board)), (first, before));
    client.put(&mut board.peer, now, "/a", &[1], true);
    rest(&mut board);
    board.peer.want_snapshot();
    let second = rest(&mut board).unwrap();
    assert!(second.zxid > first.unwrap().zxid);
}

/// A flash with one transaction, which says that it has another zxid, and such epochs; what a member
/// finds there.
fn found_by_a_member(record: Zxid, own: Zxid, epochs: Epochs) -> History {
    let mut disk = Disk::new(Flash::new(GEOMETRY, 1), memory(), OPTIONS).unwrap();
    disk.open().unwrap();
    let store = disk.store_mut();
    store.start(false).unwrap();
    let until = |store: &mut Store<'_, Flash>, done: Done| {
        while store.poll(false).unwrap() != Poll::Done(done) {}
        while !store.is_ready() {
            store.poll(false).unwrap();
        }
    };
    until(store, Done::Started(1));
    store.set_epochs(epochs).unwrap();
    until(store, Done::Epochs(epochs));
    let (client_id, op) = (SessionId(7), OpCode::CreateSession);
    let header = TxnHeader { client_id, cxid: Xid(0), zxid: own, time: 1, op };
    let txn = [encode(&header), 4000_i32.to_be_bytes().to_vec()].concat();
    store.append([(record, &txn[..])].into_iter()).unwrap();
    until(store, Done::Appended(record));
    let flash = disk.store().nor().clone();
    let options = PeerOptions { server: ServerId(1), ensemble: true, ..PeerOptions::default() };
    let (ceilings, now) = (Ceilings::default(), Now::new(1000, 0));
    let mut peer = Peer::owned(options, ceilings, Seeds(1, 2), SessionId(1), now).unwrap();
    let mut disk = Disk::new(flash, memory(), OPTIONS).unwrap();
    disk.open().unwrap();
    disk.load(&mut peer, false).unwrap()
}

#[test]
fn what_contradicts_itself_is_damage() {
    let epochs = |accepted, current| Epochs { accepted: Epoch(accepted), current: Epoch(current) };
    let damage = |found| match found {
        History::Loaded(loaded) => {
            assert_eq!(loaded.zxid, Zxid(0x1_0000_0001));
            false
        }
        History::Damaged(damage) => {
            assert_eq!(damage.unwrap().what, Rot::Content);
            true
        }
    };
    let zxid = Zxid::new(Epoch(1), 1);
    assert!(!damage(found_by_a_member(zxid, zxid, epochs(1, 1))));
    // A crash came before the epoch was this member's own.
    assert!(!damage(found_by_a_member(zxid, zxid, epochs(1, 0))));
    for own in [Zxid::new(Epoch(0), 9), Zxid::new(Epoch(1), 2), Zxid(i64::MIN)] {
        assert!(damage(found_by_a_member(zxid, own, epochs(1, 1))), "{own}");
    }
    assert!(damage(found_by_a_member(zxid, zxid, epochs(0, 0))));
    assert!(damage(found_by_a_member(zxid, zxid, epochs(1, 2))));
}

/// A connection between two boards.
struct Wire {
    ends: [(usize, Option<MemberLink>); 2],
    /// What is on its way to each end.
    coming: [Vec<u8>; 2],
    blocked: [bool; 2],
}

#[derive(Debug, Default)]
struct Met {
    truncated: u32,
    installed: u32,
    snapshots: u32,
    epochs: u32,
    cuts: u32,
    answered: u32,
}

struct Ensemble {
    members: String,
    boards: Vec<Option<Board>>,
    flashes: Vec<Option<Flash>>,
    /// When a board is there again, or is no longer cut off.
    back: [u64; NODES],
    apart: [u64; NODES],
    lives: [u64; NODES],
    wires: Vec<Wire>,
    time: u64,
    rng: Rng,
    client: Option<(usize, Client)>,
    /// What was asked, since when.
    asked: Option<(usize, u32, u64)>,
    /// For each node: what was answered last, and what was asked since.
    values: Vec<(Option<u32>, Vec<u32>)>,
    count: u32,
    met: Met,
}

impl Ensemble {
    fn new(seed: u64) -> Self {
        let mut members = String::new();
        for id in 1..=NODES {
            members += &format!("server.{id}=10.0.0.{id}:2888:3888:participant\n");
        }
        members += "version=0";
        Self {
            members,
            boards: (0..NODES).map(|_| None).collect(),
            flashes: (0..NODES as u64).map(|n| Some(Flash::new(GEOMETRY, seed + n))).collect(),
            back: [0; NODES],
            apart: [0; NODES],
            lives: [0; NODES],
            wires: vec![],
            time: 1000,
            rng: Rng(seed),
            client: None,
            asked: None,
            values: vec![(None, vec![]); 12],
            count: 0,
            met: Met::default(),
        }
    }

    fn now(&self) -> Now {
        Now::new(self.time, 1_700_000_000_000 + self.time as i64)
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        a != b && (self.apart[a] > self.time || self.apart[b] > self.time)
    }

    /// A wire is gone, with what is on it.
    fn unplug(&mut self, wire: usize) {
        let now = self.now();
        let wire = self.wires.swap_remove(wire);
        for (at, link) in wire.ends {
            if let (Some(board), Some(link)) = (&mut self.boards[at], link) {
                board.peer.member_closed(now, link);
            }
        }
    }

    fn crash(&mut self, at: usize) {
        let Some(board) = self.boards[at].take() else { return };
        let cut = Cut::ALL[self.rng.below(5) as usize];
        self.flashes[at] = Some(board.cut(cut, self.rng.next()));
        self.met.cuts += 1;
        while let Some(wire) =
            self.wires.iter().position(|wire| wire.ends.iter().any(|(end, _)| *end == at))
        {
            self.unplug(wire);
        }
        if self.client.as_ref().is_some_and(|(node, _)| *node == at) {
            self.client = None;
            self.asked = None;
        }
    }

    fn step(&mut self) {
        self.time += 10;
        let now = self.now();
        for at in 0..NODES {
            if self.boards[at].is_none() && self.back[at] <= self.time {
                self.lives[at] += 1;
                let flash = self.flashes[at].take().unwrap();
                let board =
                    Board::new(flash, at as u8 + 1, Some(&self.members), now, self.lives[at]);
                self.boards[at] = Some(board);
            }
            if let Some(board) = &mut self.boards[at] {
                board.now = now;
                board.tick();
                assert!(!matches!(board.peer.state(), State::Stopped(_)));
                assert_eq!(board.peer.stats().digest_mismatches, 0);
            }
            self.dial(at, now);
            self.speak(at, now);
            self.write(at, now);
        }
        self.deliver(now);
        self.serve(now);
    }

    fn dial(&mut self, at: usize, now: Now) {
        while let Some(dial) = self.boards[at].as_mut().and_then(|b| b.peer.poll_dial(now)) {
            let other = dial.server.0 as usize - 1;
            let met = !self.is_cut(at, other);
            let accepted = self.boards[other]
                .as_mut()
                .filter(|_| met)
                .and_then(|board| board.peer.accept(now, dial.port, address(at as u8 + 1)).ok());
            let Some(board) = &mut self.boards[at] else { return };
            if accepted.is_some() {
                board.peer.connected(dial.link);
                let ends = [(at, Some(dial.link)), (other, accepted)];
                self.wires.push(Wire { ends, coming: [vec![], vec![]], blocked: [false; 2] });
            } else {
                board.peer.connect_failed(now, dial.link);
            }
        }
    }

    fn speak(&mut self, at: usize, now: Now) {
        while let Some(link) = self.boards[at].as_mut().and_then(|b| b.peer.poll_member(now)) {
            let found = self.wires.iter().position(|wire| wire.ends.contains(&(at, Some(link))));
            let Some(board) = &mut self.boards[at] else { return };
            let Some(wire) = found else {
                if board.peer.member_is_closing(link) {
                    board.peer.member_closed(now, link);
                }
                continue;
            };
            let side = usize::from(self.wires[wire].ends[1] == (at, Some(link)));
            let output = board.peer.member_output(link).to_vec();
            board.peer.member_sent(now, link, output.len());
            self.wires[wire].coming[1 - side].extend(output);
            self.wires[wire].blocked[side] = false;
            if board.peer.member_is_closing(link) {
                // What was sent before still arrives.
                board.peer.member_closed(now, link);
                self.wires[wire].ends[side].1 = None;
            }
        }
    }

    fn deliver(&mut self, now: Now) {
        for wire in &mut self.wires {
            for side in 0..2 {
                let (at, Some(link)) = wire.ends[side] else { continue };
                let (other, there) = wire.ends[1 - side];
                let Some(board) = &mut self.boards[at] else { continue };
                if self.apart[at].max(self.apart[other]) > self.time || wire.blocked[side] {
                    continue;
                }
                if !wire.coming[side].is_empty() {
                    let received = board.peer.hear(now, link, &wire.coming[side]);
                    wire.coming[side].drain(..received.consumed);
                    wire.blocked[side] = received.need == 0;
                }
                if there.is_none() && !wire.blocked[side] {
                    board.peer.member_closed(now, link);
                    wire.ends[side].1 = None;
                }
            }
        }
        self.wires.retain(|wire| wire.ends.iter().any(|(_, link)| link.is_some()));
    }

    /// The flash does some steps.
    fn write(&mut self, at: usize, now: Now) {
        for _ in 0..self.rng.below(16) {
            let quiet = self.rng.below(4) == 0;
            let Some(board) = &mut self.boards[at] else { return };
            match board.disk.poll(&mut board.peer, now, quiet, &mut [0; SCRATCH]).unwrap() {
                Poll::Done(done) => match done {
                    Done::Truncated(_) => self.met.truncated += 1,
                    Done::Installed(_) => self.met.installed += 1,
                    Done::Snapshot(_) => self.met.snapshots += 1,
                    Done::Epochs(_) => self.met.epochs += 1,
                    _ => {}
                },
                Poll::Idle => return,
                Poll::Working => {}
            }
        }
    }

    /// A client that writes one value after the other.
    fn serve(&mut self, now: Now) {
        let Some((at, client)) = &mut self.client else {
            let at = self.rng.below(NODES as u64) as usize;
            if let Some(board) = &mut self.boards[at]
                && board.peer.is_serving()
            {
                self.client = Client::open(&mut board.peer, now).map(|client| (at, client));
            }
            return;
        };
        let Some(board) = &mut self.boards[*at] else { return };
        let late = self.asked.is_some_and(|(_, _, since)| self.time > since + 3000);
        match client.take(&mut board.peer, now) {
            Ok(Some((code, _))) => {
                let Some((node, value, _)) = self.asked.take() else {
                    panic!("a reply to nothing")
                };
                let (answered, since) = &mut self.values[node];
                match code {
                    Code::Ok => {
                        self.met.answered += 1;
                        *answered = Some(value);
                        since.clear();
                    }
                    // An earlier one was done that was not answered.
                    Code::NodeExists => *answered = since.first().copied(),
                    // The flash has no room.
                    Code::SystemError => {}
                    code => panic!("{code:?}"),
                }
            }
            Ok(None) if late => {
                board.peer.closed(now, client.link);
                self.client = None;
                self.asked = None;
            }
            Ok(None) if client.connected && self.asked.is_none() => {
                let node = self.rng.below(12) as usize;
                self.count += 1;
                let (answered, since) = &mut self.values[node];
                let mut data = self.count.to_be_bytes().to_vec();
                data.resize(4 + self.rng.below(300) as usize, 7);
                let path = format!("/n{node}");
                client.put(&mut board.peer, now, &path, &data, answered.is_none());
                since.push(self.count);
                self.asked = Some((node, self.count, self.time));
            }
            Ok(None) => {}
            Err(()) => {
                self.client = None;
                self.asked = None;
            }
        }
    }

    fn fault(&mut self) {
        let at = self.rng.below(NODES as u64) as usize;
        match self.rng.below(8) {
            0..3 => {
                self.crash(at);
                // Sometimes long enough for the others to have reclaimed what it lacks.
                let long = if self.rng.below(3) == 0 { 20_000 } else { 1500 };
                self.back[at] = self.time + self.rng.below(long);
            }
            3 => {
                for at in 0..NODES {
                    self.crash(at);
                    self.back[at] = self.time + self.rng.below(300);
                }
            }
            4..7 => self.apart[at] = self.time + 500 + self.rng.below(1500),
            // The leader above all.
            _ => {
                let leads = |board: &Option<Board>| {
                    board.as_ref().is_some_and(|board| board.peer.state() == State::Leading)
                };
                if let Some(leader) = self.boards.iter().position(leads) {
                    self.apart[leader] = self.time + 2000;
                }
            }
        }
    }

    /// Everything is well; all of them agree, and have what was answered.
    fn heal(&mut self) {
        self.back = [0; NODES];
        self.apart = [0; NODES];
        for _ in 0..5000 {
            self.step();
            let up = |board: &Option<Board>| {
                let peer = &board.as_ref()?.peer;
                let tree = peer.tree();
                let quiet = peer.is_serving() && peer.outstanding() == 0;
                quiet.then(|| (tree.last_zxid(), tree.digest()))
            };
            let states: Vec<_> = self.boards.iter().map(up).collect();
            if self.asked.is_none() && states[0].is_some() && states.iter().all(|s| *s == states[0])
            {
                break;
            }
        }
        for at in 0..NODES {
            let board = self.boards[at].as_mut().unwrap();
            assert!(board.peer.is_serving(), "server {} is {:?}", at + 1, board.peer.state());
            for node in 0..12 {
                let found = board.peer.tree().find(format!("/n{node}").as_bytes());
                let found = found.map(|found| {
                    let (_, chunks) = board.peer.tree().data(found).unwrap();
                    let data: Vec<u8> = chunks.flatten().copied().collect();
                    u32::from_be_bytes(*data.first_chunk().unwrap())
                });
                let (answered, since) = &self.values[node];
                let right = found == *answered || found.is_some_and(|v| since.contains(&v));
                assert!(right, "/n{node} is {found:?}, not {answered:?} or one of {since:?}");
            }
        }
    }
}

#[test]
fn an_ensemble_on_flash_keeps_what_it_has_answered() {
    let mut all = Met::default();
    for seed in 0..24 {
        let mut ensemble = Ensemble::new(seed);
        for _ in 0..60 {
            for _ in 0..50 + ensemble.rng.below(200) {
                ensemble.step();
            }
            ensemble.fault();
        }
        ensemble.heal();
        let met = ensemble.met;
        std::println!("seed {seed}: {met:?}");
        all.truncated += met.truncated;
        all.installed += met.installed;
        all.snapshots += met.snapshots;
        all.answered += met.answered;
    }
    assert!(all.truncated >= 3 && all.installed >= 3 && all.snapshots >= 10, "{all:?}");
    assert!(all.answered > 1000, "{all:?}");
}
