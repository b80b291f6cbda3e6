//! Requests of several sessions in flight at once: whatever is proposed before what, each write is
//! answered as if the disk had been waited for after each request, every transaction leaves the
//! digest that it promised, and a peer with hardly any room refuses but never stops.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Client, World, encode, options};
use zk_core::id::{SessionId, Xid};
use zk_core::peer::{Ceilings, Options, State};
use zk_core::tree;
use zk_core::wire::client::{
    Acl, CreateRequest, CreateTtlRequest, Id, MultiHeader, PathMode, PathRecord, PathVersion,
    PathWatch, ReplyHeader, SetAclRequest, SetDataRequest,
};
use zk_core::wire::jute::{self, List, Ustring};
use zk_core::wire::{Code, OpCode};

const CLIENTS: usize = 3;

const PATHS: [&str; 13] = [
    "/",
    "/a",
    "/b",
    "/a/x",
    "/a/y",
    "/a/x/deep",
    "/b/s-",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/no/parent",
    "/bad//path",
    "/ephemeral",
];

#[derive(Clone, Debug)]
enum Write {
    Create { op: OpCode, path: usize, len: usize, flags: i32, acl: u8 },
    Delete { path: usize, version: i32 },
    SetData { path: usize, len: usize, version: i32 },
    SetAcl { path: usize, acl: u8, version: i32 },
    Check { path: usize, version: i32 },
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Write),
    Multi(usize, Vec<Write>),
    Read(usize, OpCode, usize),
    Sync(usize),
    CloseSession(usize),
    /// The socket breaks; the session goes on.
    Break(usize),
    Pass(u64),
    Append,
    Durable(usize),
}

fn write() -> impl Strategy<Value = Write> {
    let path = || 0..PATHS.len();
    let version = || prop_oneof![2 => Just(-1), 1 => 0..3];
    let op = prop_oneof![
        Just(OpCode::Create),
        Just(OpCode::Create2),
        Just(OpCode::CreateContainer),
        Just(OpCode::CreateTtl)
    ];
    prop_oneof![
        5 => (op, path(), 0..90usize, 0..8i32, 0..4u8)
            .prop_map(|(op, path, len, flags, acl)| Write::Create { op, path, len, flags, acl }),
        3 => (path(), version()).prop_map(|(path, version)| Write::Delete { path, version }),
        3 => (path(), 0..90usize, version())
            .prop_map(|(path, len, version)| Write::SetData { path, len, version }),
        2 => (path(), 0..4u8, version())
            .prop_map(|(path, acl, version)| Write::SetAcl { path, acl, version }),
        1 => (path(), version()).prop_map(|(path, version)| Write::Check { path, version }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let read = prop_oneof![
        Just(OpCode::Exists),
        Just(OpCode::GetData),
        Just(OpCode::GetChildren2),
        Just(OpCode::GetAcl),
        Just(OpCode::GetEphemerals),
    ];
    prop_oneof![
        12 => (client(), write()).prop_map(|(client, write)| Step::Write(client, write)),
        3 => (client(), proptest::collection::vec(write(), 0..5))
            .prop_map(|(client, writes)| Step::Multi(client, writes)),
        4 => (client(), read, 0..PATHS.len()).prop_map(|(c, op, path)| Step::Read(c, op, path)),
        1 => client().prop_map(Step::Sync),
        1 => client().prop_map(Step::CloseSession),
        1 => client().prop_map(Step::Break),
        1 => (0..4000u64).prop_map(Step::Pass),
        2 => Just(Step::Append),
        3 => (1..6usize).prop_map(Step::Durable),
    ]
}

fn acl(kind: u8) -> Vec<u8> {
    let entry = |perms, scheme: &str, id: &str| {
        encode(&Acl { perms, id: Id { scheme: scheme.into(), id: id.into() } })
    };
    match kind {
        0 => entry(31, "world", "anyone"),
        1 => entry(31, "ip", "127.0.0.1"),
        // Nobody may create or delete below it.
        2 => entry(1 | 2 | 16, "ip", "127.0.0.0/8"),
        _ => entry(31, "digest", "nobody:xxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    }
}

/// The type that stands before the operation in a multi, and its record.
fn record(write: &Write) -> (OpCode, Vec<u8>) {
    match *write {
        Write::Create { op, path, len, flags, acl: kind } => {
            let (raw, data) = (acl(kind), vec![b'd'; len]);
            let create = CreateRequest {
                path: PATHS[path].into(),
                data: data.as_slice().into(),
                acl: List::from_raw(1, &raw),
                flags: if op == OpCode::CreateContainer { 4 } else { flags },
            };
            if op == OpCode::CreateTtl {
                let create = CreateRequest { flags: 5, ..create };
                (op, encode(&CreateTtlRequest { create, ttl: 2000 }))
            } else {
                (op, encode(&create))
            }
        }
        Write::Delete { path, version } => {
            (OpCode::Delete, encode(&PathVersion { path: PATHS[path].into(), version }))
        }
        Write::SetData { path, len, version } => {
            let data = vec![b'n'; len];
            let path = PATHS[path].into();
            (
                OpCode::SetData,
                encode(&SetDataRequest { path, data: data.as_slice().into(), version }),
            )
        }
        Write::SetAcl { path, acl: kind, version } => {
            let (raw, path) = (acl(kind), PATHS[path].into());
            let acl = List::from_raw(1, &raw);
            (OpCode::SetAcl, encode(&SetAclRequest { path, acl, version }))
        }
        Write::Check { path, version } => {
            (OpCode::Check, encode(&PathVersion { path: PATHS[path].into(), version }))
        }
    }
}

fn multi(writes: &[Write]) -> Vec<u8> {
    let mut body = vec![];
    for (op, record) in writes.iter().map(record).filter(|(op, _)| *op != OpCode::SetAcl) {
        body.extend(encode(&MultiHeader { op, done: false, err: -1 }));
        body.extend(record);
    }
    body.extend(encode(&MultiHeader::END));
    body
}

/// A run of a script: a peer, its clients, and the answers to what they wrote.
struct Run {
    world: World,
    clients: Vec<Client>,
    /// Waits for the disk after each step.
    patient: bool,
    /// By client (its number counts connections) and xid: what a write was answered.
    answers: BTreeMap<(usize, i32), Vec<u8>>,
    writes: BTreeMap<(usize, i32), ()>,
    serials: Vec<usize>,
    connections: usize,
}

impl Run {
    fn new(mut world: World, patient: bool) -> Self {
        let clients: Vec<_> = (0..CLIENTS).map(|_| world.connect()).collect();
        Self {
            world,
            clients,
            patient,
            answers: BTreeMap::new(),
            writes: BTreeMap::new(),
            serials: (0..CLIENTS).collect(),
            connections: CLIENTS,
        }
    }

    /// Shows a frame until it is taken, or the connection ends.
    fn send(&mut self, client: usize, op: OpCode, body: &[u8], write: bool) {
        let Self { world, clients, .. } = self;
        let of = &mut clients[client];
        of.xid += 1;
        let mut payload = encode(&(Xid(of.xid), op));
        payload.extend_from_slice(body);
        let xid = of.xid;
        if write {
            self.writes.insert((self.serials[client], xid), ());
        }
        let of = &mut clients[client];
        world.send(of, &payload);
        while !of.pending.is_empty() {
            world.settle();
            let before = of.pending.len();
            let received = world.peer.receive(world.now, of.link, &of.pending);
            of.pending.drain(..received.consumed);
            assert!(of.pending.len() < before, "a request waits for ever");
        }
        self.hear(client);
    }

    /// Takes what a client was sent; opens a new connection for one that ended.
    fn hear(&mut self, client: usize) {
        let link = self.clients[client].link;
        for frame in self.world.frames(link) {
            let header: ReplyHeader = jute::decode(&frame).unwrap();
            let key = (self.serials[client], header.xid.0);
            if self.writes.contains_key(&key) {
                assert!(self.answers.insert(key, frame).is_none(), "answered twice");
            }
        }
        if self.world.peer.is_closing(link) {
            self.world.peer.closed(self.world.now, link);
            self.reconnect(client, SessionId::NONE);
        }
    }

    fn reconnect(&mut self, client: usize, session: SessionId) {
        let passwd = self.clients[client].passwd.clone();
        // What was under way is done first, so that both runs see the same session.
        self.world.settle();
        let mut new = self.world.connect_as(session, &passwd);
        if new.session == SessionId::NONE {
            self.world.peer.closed(self.world.now, new.link);
            new = self.world.connect();
        }
        self.clients[client] = new;
        self.serials[client] = self.connections;
        self.connections += 1;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(client, write) => {
                let (op, body) = record(write);
                // Check is no operation of its own.
                if op != OpCode::Check {
                    self.send(*client, op, &body, true);
                }
            }
            Step::Multi(client, writes) => self.send(*client, OpCode::Multi, &multi(writes), true),
            Step::Read(client, op, path) => {
                let path = PATHS[*path].into();
                let body = match *op {
                    OpCode::GetAcl | OpCode::GetEphemerals => encode(&PathRecord { path }),
                    _ => encode(&PathWatch { path, watch: true }),
                };
                self.send(*client, *op, &body, false);
            }
            Step::Sync(client) => {
                self.send(*client, OpCode::Sync, &encode(&PathRecord { path: "/".into() }), false);
            }
            Step::CloseSession(client) => self.send(*client, OpCode::CloseSession, &[], true),
            Step::Break(client) => {
                // Answers under way would be lost in one run only.
                self.settle();
                let Client { link, session, .. } = self.clients[*client];
                self.world.peer.closed(self.world.now, link);
                self.reconnect(*client, session);
            }
            Step::Pass(ms) => {
                self.world.now.monotonic = self.world.now.monotonic.plus(*ms);
                self.world.now.wall += *ms as i64;
                self.world.peer.tick(self.world.now);
            }
            Step::Append => self.world.write(),
            Step::Durable(n) => {
                let upto = self.world.unsynced.get(n - 1).or_else(|| self.world.unsynced.last());
                if let Some(&(zxid, _)) = upto {
                    let n = *n.min(&self.world.unsynced.len());
                    self.world.log.extend(self.world.unsynced.drain(..n));
                    self.world.peer.durable(self.world.now, zxid).unwrap();
                }
            }
        }
        if self.patient {
            self.settle();
        }
        assert_eq!(self.world.peer.state(), State::Standalone);
        assert_eq!(self.world.peer.stats().digest_mismatches, 0);
    }

    fn settle(&mut self) {
        for _ in 0..3 {
            self.world.settle();
            for client in 0..CLIENTS {
                self.hear(client);
            }
        }
        assert_eq!(self.world.peer.outstanding(), 0);
    }

    fn finish(&mut self) {
        self.settle();
        // What is in the log and the snapshots is the tree.
        let (digest, nodes) =
            (self.world.peer.tree().digest(), self.world.peer.tree().node_count());
        assert_eq!(self.world.peer.stats().digest_mismatches, 0);
        self.world.restart();
        let tree = self.world.peer.tree();
        assert_eq!((tree.digest(), tree.node_count()), (digest, nodes));
    }
}

/// Without zxids, which reads and time may shift.
fn answer(frame: &[u8]) -> (Code, &[u8]) {
    let header: ReplyHeader = jute::decode(frame).unwrap();
    (header.err, &frame[16..])
}

fn small() -> (Options, Ceilings) {
    let ceilings = Ceilings {
        tree: tree::Ceilings {
            nodes: 9,
            cells: 30,
            acls: 3,
            owners: 2,
            snapshot: 1 << 16,
            ..Default::default()
        },
        watches: 6,
        watch_cells: 20,
        sessions: 64,
        connections: 5,
        changes: 7,
        pending: 6,
        history: 8 << 10,
        history_records: 8,
    };
    let options = Options {
        max_frame: 2 << 10,
        max_txn: 4 << 10,
        max_waiting: 4 << 10,
        max_shown: 60,
        max_reply: 16 << 10,
        ..options()
    };
    (options, ceilings)
}

fn node(path: usize, flags: i32, acl: u8) -> Write {
    Write::Create { op: OpCode::Create, path, len: 0, flags, acl }
}

/// A small peer: these steps, and what their writes were answered in the end.
fn run_small(ceilings: Ceilings, steps: &[Step]) -> Vec<Code> {
    let (options, _) = small();
    let mut run = Run::new(World::bounded(options, ceilings), false);
    for step in steps {
        run.step(step);
    }
    run.settle();
    run.answers.values().map(|frame| answer(frame).0).collect()
}

#[test]
fn a_list_that_a_proposed_creation_shares_keeps_its_room() {
    let (_, ceilings) = small();
    let answers = run_small(
        ceilings,
        &[
            // With the list of /zookeeper/config, two of three are in use.
            Step::Write(0, node(1, 0, 1)),
            Step::Append,
            Step::Durable(1),
            // /a gets another list; /b shares the old one, and goes again.
            Step::Write(0, Write::SetAcl { path: 1, acl: 3, version: -1 }),
            Step::Write(0, node(2, 0, 1)),
            Step::Write(0, Write::Delete { path: 2, version: -1 }),
            Step::Append,
            Step::Durable(1),
            // The old list has no node now, but /b is still to come.
            Step::Write(1, node(2, 0, 0)),
        ],
    );
    assert_eq!(answers, [Code::Ok, Code::Ok, Code::Ok, Code::Ok, Code::SystemError]);
}

#[test]
fn an_owner_of_ephemeral_nodes_keeps_its_room() {
    let (_, mut ceilings) = small();
    ceilings.tree.owners = 1;
    let answers = run_small(
        ceilings,
        &[
            Step::Write(0, node(1, 1, 0)),
            Step::Append,
            Step::Durable(1),
            Step::Write(0, Write::Delete { path: 1, version: -1 }),
            Step::Write(0, node(2, 1, 0)),
            Step::Append,
            Step::Durable(1),
            // The first session has no node now, but will have one.
            Step::Write(1, node(1, 1, 0)),
        ],
    );
    assert_eq!(answers, [Code::Ok, Code::Ok, Code::Ok, Code::SystemError]);
}

#[test]
fn counters_of_quotas_keep_their_room() {
    let (_, mut ceilings) = small();
    // So many that one more node fits, but not what the counters will grow by.
    for cells in 6..30 {
        ceilings.tree.cells = cells;
        let steps = [
            Step::Write(0, node(1, 0, 0)),
            Step::Append,
            Step::Durable(1),
            Step::Write(0, node(7, 0, 0)),
            Step::Write(0, node(9, 0, 0)),
            Step::Write(0, node(8, 0, 0)),
            Step::Write(1, node(3, 0, 0)),
            Step::Write(1, node(4, 0, 0)),
            Step::Write(1, node(2, 0, 0)),
        ];
        run_small(ceilings, &steps);
    }
}

fn header_of(frame: &[u8]) -> ReplyHeader {
    jute::decode(frame).unwrap()
}

#[test]
fn what_never_fits_is_answered_and_sessions_always_end() {
    let (options, mut ceilings) = small();
    ceilings.changes = 3;
    ceilings.tree.nodes = 20;
    ceilings.tree.cells = 60;
    let mut run = Run::new(World::bounded(options, ceilings), true);
    // Four paths change: /, /a, /b, /a/x.
    let steps = [
        Step::Multi(0, vec![node(1, 0, 0), node(2, 0, 0), node(3, 0, 0)]),
        Step::Write(0, node(1, 0, 0)),
        Step::Write(0, node(2, 0, 0)),
        Step::Write(0, node(3, 0, 0)),
        // Their parents are four.
        Step::Write(1, node(6, 1, 0)),
        Step::Write(1, node(4, 1, 0)),
        Step::Write(1, node(5, 1, 0)),
        Step::Write(1, Write::Create { op: OpCode::Create, path: 12, len: 0, flags: 1, acl: 0 }),
    ];
    for step in &steps {
        run.step(step);
    }
    let codes: Vec<_> = run.answers.values().map(|frame| answer(frame).0).collect();
    assert_eq!(codes[0], Code::SystemError);
    assert!(codes[1..].iter().all(|&code| code == Code::Ok), "{codes:?}");
    assert_eq!(run.world.peer.tree().ephemeral_count(), 4);
    // While it ends, others wait for what they would see otherwise.
    let session = run.clients[1].session;
    run.world.ask(&mut run.clients[1], OpCode::CloseSession, &());
    run.world.ask(&mut run.clients[0], OpCode::SetData, &set_b(1));
    run.world.write();
    assert_eq!(run.world.unsynced.len(), 1);
    run.settle();
    assert!(run.world.peer.sessions().find(session).is_none());
    assert_eq!(run.world.peer.tree().ephemeral_count(), 0);
    run.step(&Step::Write(0, Write::Delete { path: 3, version: -1 }));
    run.finish();
}

/// A peer with nodes /a and /b, whose clients may leave so many bytes unread.
fn tight(max_reply: usize) -> (World, Client) {
    let options = Options { max_frame: 1 << 10, max_txn: 2 << 10, max_reply, ..options() };
    let mut world = World::with(options);
    let mut client = world.connect();
    world.create(&mut client, "/a", 0);
    world.create(&mut client, "/b", 0);
    (world, client)
}

const READ_A: PathWatch<'_> = PathWatch { path: Ustring(Some(b"/a")), watch: false };

fn set_b(len: usize) -> SetDataRequest<'static> {
    let data = vec![b'd'; len].leak();
    SetDataRequest { path: "/b".into(), data: (&*data).into(), version: -1 }
}

#[test]
fn reads_that_a_write_overtakes_have_room_for_their_replies() {
    let (mut world, mut client) = tight(16 << 10);
    let mut sent = vec![];
    for _ in 0..5 {
        sent.push(world.ask(&mut client, OpCode::SetData, &set_b(900)));
        for _ in 0..10 {
            let read = PathWatch { path: "/b".into(), watch: false };
            sent.push(world.ask(&mut client, OpCode::GetData, &read));
        }
        // Lists have no bound of their own: writes wait for them.
        sent.push(world.ask(&mut client, OpCode::GetChildren, &READ_A));
    }
    // The client reads now and then; whatever the server's pace, nothing is lost.
    let mut got = vec![];
    while got.len() < sent.len() {
        for _ in 0..5 {
            world.write();
            world.sync();
        }
        let frames = world.frames(client.link);
        assert!(!frames.is_empty() && !world.peer.is_closing(client.link));
        got.extend(frames.iter().map(|frame| header_of(frame).xid));
    }
    assert_eq!(got, sent);
}

/// A client that watches /b and has read nothing of late: between `free` and `free + 88` bytes are
/// left for it, exactly how many depends on `slack`.
fn slow(free: usize, slack: usize) -> (World, Client) {
    const MAX_REPLY: usize = 4096;
    let (mut world, mut client) = tight(MAX_REPLY);
    world.call(&mut client, OpCode::SetData, &set_b(slack));
    world.call(&mut client, OpCode::AddWatch, &PathMode { path: "/b".into(), mode: 0 });
    world.ask(&mut client, OpCode::GetData, &PathWatch { path: "/b".into(), watch: false });
    while MAX_REPLY - world.peer.output(client.link).len() >= free + 88 {
        world.ask(&mut client, OpCode::Exists, &READ_A);
    }
    (world, client)
}

#[test]
fn events_and_errors_leave_the_room_of_proposed_writes() {
    let mut answered = 0;
    for slack in 0..88 {
        let (mut world, mut client) = slow(94, slack);
        let mut other = world.connect();
        // The write's reply has its room; an event and an error would like it, too.
        world.ask(&mut other, OpCode::SetData, &set_b(0));
        let write = world.ask(&mut client, OpCode::Create2, &support::create("/c", b"", 0));
        let none = PathWatch { path: "/none".into(), watch: false };
        world.ask(&mut client, OpCode::GetData, &none);
        world.settle();
        let frames = world.frames(client.link);
        if world.peer.is_closing(client.link) {
            // The event had no room: then nothing is told any more.
            assert!(frames.is_empty(), "{slack}");
            continue;
        }
        let reply = frames.iter().map(|frame| header_of(frame)).find(|header| header.xid == write);
        assert_eq!(reply.map(|header| header.err), Some(Code::Ok), "{slack}");
        assert!(frames.iter().any(|frame| header_of(frame).xid == Xid::EVENT), "{slack}");
        answered += 1;
    }
    assert!((1..88).contains(&answered), "{answered}");
}

#[test]
fn a_client_without_room_for_its_own_event_hears_no_more() {
    let mut answered = 0;
    for slack in 0..88 {
        let (mut world, mut client) = slow(88, slack);
        let write = world.ask(&mut client, OpCode::SetData, &set_b(0));
        world.settle();
        let frames = world.frames(client.link);
        if world.peer.is_closing(client.link) {
            assert!(frames.is_empty(), "{slack}");
            continue;
        }
        let [.., event, reply] = &frames[..] else { panic!("no event and reply") };
        assert_eq!(header_of(event).xid, Xid::EVENT, "{slack}");
        assert_eq!((header_of(reply).xid, header_of(reply).err), (write, Code::Ok), "{slack}");
        answered += 1;
    }
    assert!((1..88).contains(&answered), "{answered}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn writes_in_flight_are_answered_as_if_alone(steps in proptest::collection::vec(step(), 1..120)) {
        let options = || Options { max_session_timeout: 10_000, ..options() };
        // Frames of the one come in parts, which wait in the peer until they are whole.
        let mut eager = Run::new(World::with(Options { max_shown: 60, ..options() }), false);
        eager.world.fragment = 25;
        let mut patient = Run::new(World::with(options()), true);
        for step in &steps {
            // Nothing overtakes a sync or a list, and time lets sessions end: other sessions' writes
            // would come in another order.
            let in_turn = match step {
                Step::Read(_, op, _) => !matches!(*op, OpCode::Exists | OpCode::GetData),
                Step::Pass(_) | Step::Sync(_) | Step::CloseSession(_) => true,
                _ => false,
            };
            if in_turn {
                eager.settle();
            }
            eager.step(step);
            patient.step(step);
            if matches!(step, Step::Pass(_) | Step::CloseSession(_)) {
                eager.settle();
            }
        }
        eager.settle();
        patient.settle();
        prop_assert_eq!(eager.answers.len(), patient.answers.len());
        for (key, frame) in &eager.answers {
            prop_assert_eq!(answer(frame), answer(&patient.answers[key]), "{:?}", key);
        }
        prop_assert_eq!(eager.world.peer.tree().digest(), patient.world.peer.tree().digest());
        eager.finish();
    }

    #[test]
    fn a_peer_without_room_refuses_and_goes_on(steps in proptest::collection::vec(step(), 1..120)) {
        let (options, ceilings) = small();
        let mut run = Run::new(World::bounded(options, ceilings), false);
        for (at, step) in steps.iter().enumerate() {
            run.world.fragment = if at % 2 == 0 { usize::MAX } else { 25 };
            run.step(step);
        }
        run.settle();
    }
}
