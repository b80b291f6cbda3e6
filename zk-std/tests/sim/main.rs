//! One peer, the real file store on a simulated disk, clients that pipeline, and crashes at every
//! step: between any two steps of the peer, and (by cutting the power) between any two operations
//! of the disk. Sectors and names that were not synced are lost, torn and reordered.
//!
//! Checked after every restart:
//!
//! - what was acknowledged is there: the history ends at or behind the last acknowledged zxid;
//! - the tree and the sessions are those of a replay of that history from nothing, in a peer that
//!   never crashed;
//! - no session id is given twice, although the clock starts at 0 every time.
//!
//! Checked all the time: replies come in the order of their requests, zxids in a session never go
//! back, every digest is what was promised.
//!
//! `ZK_SIM_SEED=n` replays one seed, `ZK_SIM_SEEDS=n` runs so many.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::{BTreeMap, BTreeSet};

use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, Disk as Want, Link, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::{DataTree, Seeds};
use zk_core::wire::client::{
    ConnectRequest, ConnectResponse, CreateRequest, MultiHeader, OPEN_ACL_UNSAFE, PathVersion,
    PathWatch, ReplyHeader, RequestHeader, SetDataRequest,
};
use zk_core::wire::file::SnapshotDigest;
use zk_core::wire::jute::{self, Buffer, List, Trailing};
use zk_core::wire::{Code, OpCode};
use zk_std::load::PeerLoad;
use zk_std::store::simulated::{Disk, Rng, Simulated};
use zk_std::store::{self, SnapshotWriter, Store};

/// Seeds of an ordinary run.
const SEEDS: u64 = 1500;
/// Steps of a seed.
const STEPS: usize = 1000;
/// The next session id, every time: a clock that starts at 0.
const FIRST_SESSION: SessionId = SessionId(0x0100_0000_0000_0000);

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = vec![];
    jute::write(value, &mut out).unwrap();
    out
}

fn new_peer(now: Now, seed: u64) -> Peer<'static> {
    let options = Options {
        tick_time: 100,
        min_session_timeout: 200,
        max_session_timeout: 2000,
        snap_count: 24,
        max_batch: 600,
        extended_types: true,
        // A few nodes take long.
        slice: 2,
        ..Options::default()
    };
    Peer::owned(options, Ceilings::default(), Seeds(seed, !seed), FIRST_SESSION, now).unwrap()
}

/// Everything that a restart must bring back.
#[derive(Debug, PartialEq)]
struct Picture {
    nodes: BTreeMap<Vec<u8>, String>,
    digest: i64,
    sessions: BTreeMap<i64, u32>,
}

fn picture(peer: &Peer<'_>) -> Picture {
    fn visit(tree: &DataTree<'_>, at: zk_core::memory::Handle, out: &mut Picture) {
        let mut room = [0; 512];
        let path = tree.path_of(at, &mut room).unwrap().to_vec();
        let mut data = vec![];
        tree.put_data(at, &mut data).unwrap();
        let mut acl = vec![];
        tree.put_acl(at, &mut acl).unwrap();
        out.nodes.insert(path, format!("{data:x?} {acl:x?} {:?}", tree.stat(at)));
        for child in tree.children(at) {
            visit(tree, child, out);
        }
    }
    let tree = peer.tree();
    let sessions =
        peer.sessions().applied().map(|session| (session.id.0, session.timeout as u32)).collect();
    let mut out = Picture { nodes: BTreeMap::new(), digest: tree.digest(), sessions };
    visit(tree, tree.find(b"/").unwrap(), &mut out);
    out
}

struct Client {
    link: Link,
    session: SessionId,
    passwd: Vec<u8>,
    xid: i32,
    /// Requests without a reply.
    asked: Vec<i32>,
    last_zxid: Zxid,
    input: Vec<u8>,
    output: Vec<u8>,
    connected: bool,
}

/// What was met, so that nothing is tested in name only.
#[derive(Debug, Default)]
struct Met {
    acknowledged: u64,
    crashes: u64,
    power_cuts: u64,
    failed_syncs: u64,
    lost: u64,
    snapshots: u64,
    from_snapshot: u64,
    expired: u64,
    taken_over: u64,
    nodes: u64,
}

struct World {
    rng: Rng,
    disk: Disk,
    store: Store<Simulated>,
    writer: Option<SnapshotWriter<Simulated>>,
    peer: Peer<'static>,
    now: Now,
    clients: Vec<Client>,
    /// Every transaction that was handed to the disk, in order.
    history: Vec<(Zxid, Vec<u8>)>,
    /// Appended and not synced.
    syncing: Option<Zxid>,
    /// The last transaction that a client or the peer was told is durable.
    acknowledged: Zxid,
    sessions: BTreeSet<i64>,
    met: Met,
}

fn store_options() -> store::Options {
    store::Options {
        preallocate: 4096,
        batch_max: 4096,
        record_max: 1 << 16,
        reserve: 0,
        ..store::Options::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = Disk::new(seed);
        let now = Now::new(0, 0);
        let mut store = Store::open(disk.root(), disk.root(), store_options()).unwrap();
        let mut peer = new_peer(now, seed);
        let restored = store.restore(&mut PeerLoad::new(&mut peer, &mut |_, _| {})).unwrap();
        assert!(restored.needs_snapshot);
        peer.serve(now);
        peer.require_snapshot();
        Self {
            rng: Rng::new(seed ^ 0x5eed),
            disk,
            store,
            writer: None,
            peer,
            now,
            clients: vec![],
            history: vec![],
            syncing: None,
            acknowledged: Zxid::ZERO,
            sessions: BTreeSet::new(),
            met: Met::default(),
        }
    }

    fn step(&mut self) {
        match self.rng.below(1000) {
            0..=29 => self.connect(),
            30..=449 => self.ask(),
            450..=749 => self.disk_step(),
            750..=869 => self.deliver(),
            870..=899 => self.pass(),
            900..=907 => self.leave(),
            908..=915 => self.crash(),
            916..=919 => {
                let operations = self.rng.below(40);
                self.disk.cut_power_after(operations);
                self.met.power_cuts += 1;
            }
            920..=922 => {
                self.disk.fail_syncs(1);
                self.met.failed_syncs += 1;
            }
            _ => {
                for _ in 0..5 {
                    self.disk_step();
                    self.deliver();
                }
            }
        }
        if self.rng.coin() && self.peer.poll_timeout().is_some_and(|at| at <= self.now.monotonic) {
            self.tick();
        }
        assert_eq!(self.peer.stats().digest_mismatches, 0);
    }

    fn tick(&mut self) {
        let before = self.peer.stats().expired;
        self.peer.tick(self.now);
        self.met.expired += self.peer.stats().expired - before;
    }

    fn connect(&mut self) {
        if self.clients.len() >= 4 {
            return;
        }
        // A new session, or one whose connection was lost, or one that is still connected.
        let old = match self.rng.below(3) {
            0 => {
                let n = self.clients.len() as u64;
                (n > 0).then(|| self.rng.below(n) as usize)
            }
            _ => self.clients.iter().position(|client| !client.connected),
        };
        let (session, passwd) = match old.map(|at| &self.clients[at]) {
            Some(client) if client.session != SessionId::NONE => {
                if client.connected {
                    self.met.taken_over += 1;
                }
                (client.session, client.passwd.clone())
            }
            _ => (SessionId::NONE, vec![0; 16]),
        };
        let Ok(link) = self.peer.open(self.now, IpAddr::V4(Ipv4Addr::LOCALHOST)) else { return };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 200 + self.rng.below(2000) as i32,
            session_id: session,
            passwd: Buffer::new(&passwd),
            read_only: Trailing(Some(false)),
        };
        let mut client = Client {
            link,
            session: SessionId::NONE,
            passwd: vec![],
            xid: 0,
            asked: vec![],
            last_zxid: Zxid::ZERO,
            input: vec![],
            output: vec![],
            connected: true,
        };
        let body = encode(&request);
        client.input.extend(encode(&(body.len() as i32)));
        client.input.extend(body);
        self.clients.push(client);
        self.show(self.clients.len() - 1);
    }

    /// Shows a client's bytes to the peer, a random part at a time.
    fn show(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if !client.connected {
            return;
        }
        let n = client.input.len();
        let shown = if self.rng.coin() { n } else { self.rng.below(n as u64 + 1) as usize };
        let received = self.peer.receive(self.now, client.link, &client.input[..shown]);
        client.input.drain(..received.consumed);
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.rng.below(3);
        (0..depth)
            .map(|_| format!("/{}", ["a", "b", "c", "d"][self.rng.below(4) as usize]))
            .collect()
    }

    fn request(&mut self) -> (OpCode, Vec<u8>) {
        let acl = encode(&OPEN_ACL_UNSAFE);
        let acl = List::from_raw(1, &acl);
        let path = self.path();
        let data = vec![7; self.rng.below(120) as usize];
        match self.rng.below(13) {
            0..=3 => {
                let flags = [0, 0, 1, 2, 3, 4][self.rng.below(6) as usize];
                let request =
                    CreateRequest { path: path.as_str().into(), data: data[..].into(), acl, flags };
                let op = if flags == 4 { OpCode::CreateContainer } else { OpCode::Create2 };
                (op, encode(&request))
            }
            4..=5 => {
                let version = if self.rng.coin() { -1 } else { self.rng.below(4) as i32 };
                let data = data[..].into();
                (
                    OpCode::SetData,
                    encode(&SetDataRequest { path: path.as_str().into(), data, version }),
                )
            }
            6 => (OpCode::Delete, encode(&PathVersion { path: path.as_str().into(), version: -1 })),
            7 => {
                let mut body = vec![];
                for _ in 0..self.rng.below(4) {
                    let path = self.path();
                    let header = MultiHeader { op: OpCode::Create, done: false, err: -1 };
                    let request = CreateRequest {
                        path: path.as_str().into(),
                        data: data[..].into(),
                        acl,
                        flags: 0,
                    };
                    body.extend(encode(&(header, request)));
                }
                body.extend(encode(&MultiHeader::END));
                (OpCode::Multi, body)
            }
            8 => (OpCode::Sync, encode(&jute::Ustring::from(path.as_str()))),
            9 => {
                let (path, watch) =
                    (["/", path.as_str()][self.rng.below(2) as usize], self.rng.coin());
                (OpCode::GetChildren2, encode(&PathWatch { path: path.into(), watch }))
            }
            10 => (OpCode::GetAllChildrenNumber, encode(&jute::Ustring::from("/"))),
            11 => (OpCode::GetEphemerals, encode(&jute::Ustring::from("/"))),
            _ => (
                OpCode::GetData,
                encode(&PathWatch { path: path.as_str().into(), watch: self.rng.coin() }),
            ),
        }
    }

    fn ask(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.rng.below(self.clients.len() as u64) as usize;
        let (op, body) = self.request();
        let client = &mut self.clients[at];
        if client.connected && client.session != SessionId::NONE && client.asked.len() < 20 {
            client.xid += 1;
            client.asked.push(client.xid);
            let mut payload = encode(&RequestHeader { xid: Xid(client.xid), op });
            payload.extend(body);
            client.input.extend(encode(&(payload.len() as i32)));
            client.input.extend(payload);
        }
        self.show(at);
    }

    /// A client vanishes, or closes its session.
    fn leave(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.rng.below(self.clients.len() as u64) as usize;
        let close = self.rng.coin();
        let client = &mut self.clients[at];
        if close && client.connected && client.session != SessionId::NONE {
            client.xid += 1;
            client.asked.push(client.xid);
            let payload = encode(&RequestHeader { xid: Xid(client.xid), op: OpCode::CloseSession });
            client.input.extend(encode(&(payload.len() as i32)));
            client.input.extend(payload);
            self.show(at);
        } else {
            let client = self.clients.remove(at);
            if client.connected {
                self.peer.closed(self.now, client.link);
            }
        }
    }

    fn pass(&mut self) {
        let ms = self.rng.below(150);
        self.now.monotonic = self.now.monotonic.plus(ms);
        self.now.wall += ms as i64;
        self.tick();
    }

    /// One thing that the peer wants of its disk, or the end of a sync. A disk that fails ends the
    /// process.
    fn disk_step(&mut self) {
        if let Some(last) = self.syncing
            && self.rng.coin()
        {
            if self.store.sync().is_err() {
                self.crash();
                return;
            }
            self.syncing = None;
            self.acknowledged = last;
            self.peer.durable(self.now, last).unwrap();
            return;
        }
        let Some(want) = self.peer.poll_disk() else { return };
        let done = match want {
            Want::Append(batch) => {
                let mut result = Ok(());
                for (zxid, txn) in batch.iter() {
                    self.history.push((zxid, txn.to_vec()));
                    result = result.and_then(|()| self.store.append(zxid, txn));
                }
                self.syncing = Some(batch.last());
                result
            }
            Want::Roll => self.store.roll(),
            Want::SnapshotBegin(zxid) => {
                self.store.begin_snapshot(zxid).map(|writer| self.writer = Some(writer))
            }
            Want::SnapshotBytes(bytes) => {
                let n = bytes.len();
                let result = self.writer.as_mut().unwrap().write(bytes);
                self.peer.snapshot_written(n);
                result
            }
            Want::SnapshotEnd(digest) => {
                let digest: SnapshotDigest = digest;
                let writer = self.writer.take().unwrap();
                let result = writer.finish(Some(digest), Some(digest.zxid)).map(|_| ());
                if result.is_ok() {
                    self.peer.snapshot_done();
                    self.met.snapshots += 1;
                }
                result
            }
            Want::SnapshotDrop => {
                self.writer = None;
                Ok(())
            }
            Want::Ensemble(order) => panic!("{order:?}"),
        };
        if done.is_err() {
            self.crash();
        }
    }

    /// Clients read what the peer has for them.
    fn deliver(&mut self) {
        while let Some(link) = self.peer.poll_link() {
            let Some(at) =
                self.clients.iter().position(|client| client.link == link && client.connected)
            else {
                continue;
            };
            let bytes = self.peer.output(link).to_vec();
            self.clients[at].output.extend_from_slice(&bytes);
            self.peer.sent(self.now, link, bytes.len());
            self.read_replies(at);
            if self.peer.is_closing(link) && self.peer.output(link).is_empty() {
                self.peer.closed(self.now, link);
                self.clients[at].connected = false;
                self.clients[at].asked.clear();
            } else {
                self.show(at);
            }
        }
    }

    fn read_replies(&mut self, at: usize) {
        loop {
            let client = &mut self.clients[at];
            let Some((len, rest)) = client.output.split_first_chunk::<4>() else { return };
            let len = u32::from_be_bytes(*len) as usize;
            let frame = rest[..len].to_vec();
            client.output.drain(..4 + len);
            if client.session == SessionId::NONE {
                let response: ConnectResponse<'_> = jute::decode(&frame).unwrap();
                client.session = response.session_id;
                client.passwd = response.passwd.bytes().to_vec();
                if client.session != SessionId::NONE {
                    self.sessions.insert(client.session.0);
                }
                continue;
            }
            let header: ReplyHeader = jute::decode(&frame).unwrap_or_else(|e| {
                panic!("{e:?} {frame:?} asked {:?} output {:?}", client.asked, client.output)
            });
            if header.xid == Xid::EVENT {
                assert!(header.zxid <= self.acknowledged);
                continue;
            }
            assert_eq!(header.xid.0, client.asked.remove(0), "replies come in order");
            assert!(header.zxid >= client.last_zxid, "zxids never go back");
            // What is shown is durable.
            assert!(header.zxid <= self.acknowledged);
            client.last_zxid = header.zxid;
            if header.err == Code::Ok {
                self.met.acknowledged += 1;
            }
        }
    }

    /// The power goes off and on.
    fn crash(&mut self) {
        self.met.crashes += 1;
        self.writer = None;
        self.syncing = None;
        self.disk.crash();
        // The clock starts at 0 again, both of them.
        self.now = Now::new(0, 0);
        self.store = Store::open(self.disk.root(), self.disk.root(), store_options()).unwrap();
        let mut peer = new_peer(self.now, self.rng.next_u64());
        let restored = self
            .store
            .restore(&mut PeerLoad::new(&mut peer, &mut |_, _| {}))
            .unwrap_or_else(|error| panic!("refused: {error}"));
        self.met.from_snapshot += u64::from(restored.snapshot.is_some_and(|z| z > Zxid::ZERO));
        let last = peer.tree().last_zxid();
        assert!(
            last >= self.acknowledged,
            "acknowledged up to {}, and only {last} is there",
            self.acknowledged
        );
        let kept = self.history.iter().take_while(|(zxid, _)| *zxid <= last).count();
        self.met.lost += (self.history.len() - kept) as u64;
        self.history.truncate(kept);
        assert_eq!(self.history.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid), last);
        let mut reference = new_peer(self.now, 1);
        for (_, txn) in &self.history {
            reference.load_txn(txn).unwrap();
        }
        assert_eq!(picture(&peer), picture(&reference));
        self.met.nodes = self.met.nodes.max(peer.tree().node_count() as u64);
        // What is there is durable from now on.
        self.acknowledged = last;
        peer.serve(self.now);
        if restored.needs_snapshot {
            peer.require_snapshot();
        }
        let mut next = peer.sessions().peek();
        for _ in 0..8 {
            assert!(!self.sessions.contains(&next.0), "session id {next} was given before");
            next = SessionId(next.0 + 1);
        }
        self.peer = peer;
        for client in &mut self.clients {
            client.connected = false;
            client.asked.clear();
            client.input.clear();
            client.output.clear();
        }
        self.clients.retain(|client| client.session != SessionId::NONE);
    }
}

fn run(seed: u64) -> Met {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.crash();
    world.met
}

#[test]
fn a_peer_keeps_its_promises_over_crashes() {
    let variable = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    if let Some(seed) = variable("ZK_SIM_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let seeds: u64 = variable("ZK_SIM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let all: Vec<Met> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    (worker..seeds)
                        .step_by(threads as usize)
                        .map(|seed| {
                            std::panic::catch_unwind(|| run(seed))
                                .unwrap_or_else(|_| panic!("replay with ZK_SIM_SEED={seed}"))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let sum = |of: fn(&Met) -> u64| all.iter().map(of).sum::<u64>();
    let met = [
        ("acknowledged", sum(|m| m.acknowledged)),
        ("crashes", sum(|m| m.crashes)),
        ("power cuts", sum(|m| m.power_cuts)),
        ("failed syncs", sum(|m| m.failed_syncs)),
        ("transactions lost before they were acknowledged", sum(|m| m.lost)),
        ("snapshots", sum(|m| m.snapshots)),
        ("starts from a snapshot", sum(|m| m.from_snapshot)),
        ("sessions expired", sum(|m| m.expired)),
        ("sessions taken over", sum(|m| m.taken_over)),
        ("nodes", sum(|m| m.nodes)),
    ];
    println!("{seeds} seeds: {met:?}");
    for (what, times) in met {
        assert!(times > 0, "{what}: never met");
    }
}
