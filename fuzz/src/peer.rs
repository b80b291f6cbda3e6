//! A peer between a client that sends anything and a client that behaves: whatever the first one
//! does, the second is answered, what it is answered is true, and the server's state is what its
//! log says.
//!
//! The input is a list of pieces ([`input`]); see [`Run::step`] for what they do.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::VecDeque;

use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, Link, Options, State};
use zk_core::tree;
use zk_core::wire::client::{
    Acl, AuthPacket, ConnectRequest, ConnectResponse, CreateRequest, GetDataReply, Id, MultiHeader,
    PathVersion, PathWatch, ReplyHeader, RequestHeader, SetDataRequest, WatcherEvent, perms,
};
use zk_core::wire::jute::{self, Buffer, List, Reader, Trailing, Ustring};
use zk_core::wire::{Code, OpCode};

use crate::picture::Picture;
use crate::support::{World, encode};
use crate::{golden, input};

/// What an input begins with: a bit for each way to run it.
mod way {
    /// Little storage and small limits.
    pub(crate) const SMALL: u8 = 1;
    pub(crate) const ENFORCE_QUOTA: u8 = 2;
    pub(crate) const SKIP_ACL: u8 = 4;
    pub(crate) const FRAGMENTS: u8 = 8;
}

/// Connections of the first client at one time.
const LINKS: usize = 3;
/// The session timeout of both clients, ms.
const TIMEOUT: i32 = 10_000;
/// What the second client's nodes lie below. Nobody else may touch them.
const OWN: &str = "/own";
const KEPT: &str = "/own/kept";
/// How often the disk and the shell take turns before a request must be answered.
const ROUNDS: usize = 64;
const PASSWORD: &[u8] = b"own:correct horse battery staple";

/// Runs one input.
///
/// # Panics
/// When it finds something.
pub fn run(data: &[u8]) {
    let Some((&way, script)) = data.split_first() else { return };
    let mut run = Run::new(way);
    for (what, bytes) in input::pieces(script) {
        if !run.step(what, bytes) {
            return;
        }
    }
    run.finish();
}

fn options(way: u8) -> Options {
    let options = Options {
        extended_types: true,
        tick_time: 1000,
        min_session_timeout: 2000,
        max_session_timeout: 20_000,
        enforce_quota: way & way::ENFORCE_QUOTA != 0,
        skip_acl: way & way::SKIP_ACL != 0,
        super_digest: "super:UdxDQl4f9v5oITwcAsO9bmWgHSI=".parse().ok(),
        snap_count: 8,
        container_check_interval: 1000,
        ..Options::default()
    };
    if way & way::SMALL == 0 {
        return options;
    }
    Options {
        max_frame: 1024,
        max_txn: 2048,
        max_reply: 4096,
        reply_high_mark: 512,
        max_waiting: 2048,
        max_shown: 64,
        max_batch: 256,
        max_ephemerals: 4,
        max_watches: 8,
        ..options
    }
}

fn ceilings(way: u8) -> Ceilings {
    if way & way::SMALL == 0 {
        return Ceilings::default();
    }
    Ceilings {
        tree: tree::Ceilings {
            nodes: 24,
            cells: 300,
            acls: 12,
            owners: 4,
            snapshot: 2048,
            ..Default::default()
        },
        watches: 24,
        watch_cells: 60,
        sessions: 6,
        connections: LINKS + 1,
        changes: 32,
        pending: 8,
        history: 8192,
        history_records: 16,
    }
}

/// A connection of the first client.
struct Rogue {
    link: Link,
    /// Sent and not taken yet.
    waiting: Vec<u8>,
    /// What it has read.
    read: Vec<u8>,
    greeted: bool,
}

/// The second client, and what it expects.
struct Beside {
    link: Link,
    session: SessionId,
    passwd: Vec<u8>,
    waiting: Vec<u8>,
    read: Vec<u8>,
    greeted: bool,
    xid: i32,
    /// With the data, where it writes some.
    asked: VecDeque<(Xid, OpCode, Vec<u8>)>,
    /// What it last wrote to `KEPT` and was told is done.
    kept: Vec<u8>,
    writes: u32,
    last_zxid: Zxid,
}

struct Run {
    world: World,
    rogues: Vec<Rogue>,
    at: usize,
    beside: Beside,
    fragments: bool,
    small: bool,
}

fn acl() -> Vec<u8> {
    let mut ids = zk_core::session::auth::Identities::default();
    let mut room = [0; 64];
    let name =
        zk_core::session::auth::digest_identity(PASSWORD, &mut room).expect("it has a colon");
    assert!(ids.add(b"digest", &[name]));
    let id = ids.list().iter().next().expect("the one that was added");
    encode(&Acl { perms: perms::ALL, id: Id { scheme: id.scheme, id: id.id } })
}

impl Run {
    fn new(way: u8) -> Self {
        let mut world = World::bounded(options(way), ceilings(way));
        let link = world.peer.open(world.now, IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("room");
        let beside = Beside {
            link,
            session: SessionId::NONE,
            passwd: vec![0; 16],
            waiting: vec![],
            read: vec![],
            greeted: false,
            xid: 0,
            asked: VecDeque::new(),
            kept: b"0".to_vec(),
            writes: 0,
            last_zxid: Zxid::ZERO,
        };
        let mut run = Self {
            world,
            rogues: vec![],
            at: 0,
            beside,
            fragments: way & way::FRAGMENTS != 0,
            small: way & way::SMALL != 0,
        };
        run.greet();
        let auth = AuthPacket { kind: 0, scheme: "digest".into(), auth: PASSWORD.into() };
        run.ask(OpCode::Auth, &encode(&auth));
        let acl = acl();
        for path in [OWN, KEPT] {
            let acl = List::from_raw(1, &acl);
            let create = CreateRequest { path: path.into(), data: b"0"[..].into(), acl, flags: 0 };
            run.ask(OpCode::Create, &encode(&create));
        }
        run.catch_up();
        run.open();
        run
    }

    /// One piece. `false`: the run has come to an end of its own.
    fn step(&mut self, what: u8, bytes: &[u8]) -> bool {
        match what {
            // A frame, as long as it says.
            b'f' => {
                let len = (bytes.len() as i32).to_be_bytes();
                self.send(&[&len, bytes].concat());
            }
            // Bytes as they are.
            b'b' => self.send(bytes),
            // The second client asks for something.
            b's' => self.next_request(bytes.first().copied().unwrap_or(0)),
            // Time passes. The second client pings before its session could expire.
            b't' => {
                let ms = 20 * u64::from(bytes.first().copied().unwrap_or(0));
                self.catch_up();
                self.ask(OpCode::Ping, b"");
                self.world.now.monotonic = self.world.now.monotonic.plus(ms);
                self.world.now.wall += ms as i64;
                self.world.peer.tick(self.world.now);
            }
            // The disk takes something; everything; has it synced.
            b'w' => {
                self.world.write_once();
            }
            b'W' => self.world.write(),
            b'd' => self.world.sync(),
            // The first client reads; opens a connection, with or without a session; returns to its
            // session; closes; turns to another connection.
            b'r' => self.take(self.at, 8 * usize::from(bytes.first().copied().unwrap_or(0))),
            b'o' => {
                self.open();
            }
            b'O' => {
                if self.open() {
                    self.connect(SessionId::NONE, &[0; 16]);
                }
            }
            b'c' => {
                let old =
                    self.rogues.get(self.at).and_then(|rogue| self.world.peer.session(rogue.link));
                if let Some(session) = old
                    && self.open()
                {
                    self.connect(session, &zk_core::session::password(session));
                }
            }
            b'q' => self.close(self.at),
            b'n' => self.at = (self.at + 1) % self.rogues.len().max(1),
            // The process ends and starts again.
            b'x' => return self.restart(),
            _ => return true,
        }
        self.serve();
        assert!(self.world.peer.state() == State::Standalone, "{:?}", self.world.peer.state());
        assert_eq!(self.world.peer.stats().digest_mismatches, 0);
        // The first client may have found the password of a session: that is as good as owning it.
        !self.world.peer.is_closing(self.beside.link)
    }

    /// What a shell does after every event: takes output, closes what is closing, shows input again
    /// that had to wait.
    fn serve(&mut self) {
        while let Some(link) = self.world.peer.poll_link() {
            if link == self.beside.link {
                self.hear();
                self.show_beside();
            }
            let Some(at) = self.rogues.iter().position(|rogue| rogue.link == link) else {
                continue;
            };
            if self.world.peer.is_closing(link) {
                // What a server says last is sent, whether the client reads or not.
                self.take(at, usize::MAX);
                self.close(at);
            } else {
                self.show(at);
            }
        }
    }

    // The first client.

    fn open(&mut self) -> bool {
        if self.rogues.len() == LINKS {
            return false;
        }
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Ok(link) = self.world.peer.open(self.world.now, address) else { return false };
        self.at = self.rogues.len();
        self.rogues.push(Rogue { link, waiting: vec![], read: vec![], greeted: false });
        true
    }

    fn connect(&mut self, session: SessionId, passwd: &[u8]) {
        self.send(&connect(session, passwd));
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(rogue) = self.rogues.get_mut(self.at) {
            // A socket's buffer is bounded, too.
            if rogue.waiting.len() < 1 << 16 {
                rogue.waiting.extend_from_slice(bytes);
            }
            self.show(self.at);
        }
    }

    fn show(&mut self, at: usize) {
        let Self { world, rogues, fragments, .. } = self;
        let Some(rogue) = rogues.get_mut(at) else { return };
        show(world, rogue.link, &mut rogue.waiting, if *fragments { 7 } else { usize::MAX });
    }

    /// The first client takes output, which must be whole frames one after the other.
    fn take(&mut self, at: usize, len: usize) {
        let Some(rogue) = self.rogues.get_mut(at) else { return };
        let output = self.world.peer.output(rogue.link);
        let len = len.min(output.len());
        rogue.read.extend_from_slice(&output[..len]);
        self.world.peer.sent(self.world.now, rogue.link, len);
        while let Some(frame) = first_frame(&mut rogue.read) {
            if core::mem::replace(&mut rogue.greeted, true) {
                let _: ReplyHeader = jute::decode(&frame).expect("a reply");
            } else {
                let _: ConnectResponse<'_> = jute::decode(&frame).expect("an answer to connect");
            }
        }
        self.show(at);
    }

    fn close(&mut self, at: usize) {
        if at < self.rogues.len() {
            let rogue = self.rogues.swap_remove(at);
            self.world.peer.closed(self.world.now, rogue.link);
        }
        self.at = self.at.min(self.rogues.len().saturating_sub(1));
    }

    // The second client.

    fn greet(&mut self) {
        let bytes = connect(self.beside.session, &self.beside.passwd);
        self.beside.waiting.extend(bytes);
        self.show_beside();
        self.world.settle();
        self.serve();
        assert!(self.beside.greeted, "the second client has no session");
    }

    fn ask(&mut self, op: OpCode, body: &[u8]) {
        self.ask_with(op, body, b"");
    }

    fn ask_with(&mut self, op: OpCode, body: &[u8], data: &[u8]) {
        let beside = &mut self.beside;
        // It waits for replies before it sends more.
        if beside.asked.len() >= 16 {
            return;
        }
        let xid = match op {
            OpCode::Ping => Xid::PING,
            OpCode::Auth => Xid::AUTH,
            _ => {
                beside.xid += 1;
                Xid(beside.xid)
            }
        };
        let mut payload = encode(&RequestHeader { xid, op });
        payload.extend_from_slice(body);
        beside.asked.push_back((xid, op, data.to_vec()));
        beside.waiting.extend((payload.len() as i32).to_be_bytes());
        beside.waiting.extend(payload);
        self.show_beside();
    }

    fn next_request(&mut self, choice: u8) {
        let acl = acl();
        let acl = List::from_raw(1, &acl);
        match choice % 6 {
            0 => {
                self.beside.writes += 1;
                let data = self.beside.writes.to_string();
                let set =
                    SetDataRequest { path: KEPT.into(), data: data.as_bytes().into(), version: -1 };
                self.ask_with(OpCode::SetData, &encode(&set), data.as_bytes());
            }
            1 | 2 => {
                let get = PathWatch { path: KEPT.into(), watch: choice % 6 == 2 };
                self.ask(OpCode::GetData, &encode(&get));
            }
            3 => {
                let path = format!("{OWN}/ephemeral-");
                let create =
                    CreateRequest { path: path.as_str().into(), data: Buffer::NULL, acl, flags: 3 };
                self.ask(OpCode::Create2, &encode(&create));
            }
            4 => {
                let mut body = vec![];
                let header = |op| MultiHeader { op, done: false, err: -1 };
                let check = PathVersion { path: KEPT.into(), version: -1 };
                body.extend(encode(&(header(OpCode::Check), check)));
                let set =
                    SetDataRequest { path: OWN.into(), data: b"multi"[..].into(), version: -1 };
                body.extend(encode(&(header(OpCode::SetData), set)));
                body.extend(encode(&MultiHeader::END));
                self.ask(OpCode::Multi, &body);
            }
            _ => self.ask(OpCode::Sync, &encode(&Ustring::from(OWN))),
        }
    }

    fn show_beside(&mut self) {
        let Self { world, beside, fragments, .. } = self;
        show(world, beside.link, &mut beside.waiting, if *fragments { 7 } else { usize::MAX });
    }

    /// Reads everything that there is for the second client, and holds it against what was asked.
    fn hear(&mut self) {
        let small = self.small;
        let Self { world, beside, .. } = self;
        beside.read.extend_from_slice(world.peer.output(beside.link));
        let len = world.peer.output(beside.link).len();
        world.peer.sent(world.now, beside.link, len);
        while let Some(frame) = first_frame(&mut beside.read) {
            if !core::mem::replace(&mut beside.greeted, true) {
                let response: ConnectResponse<'_> = jute::decode(&frame).expect("an answer");
                assert!(response.timeout > 0, "the second client was refused");
                beside.session = response.session_id;
                beside.passwd = response.passwd.bytes().to_vec();
                continue;
            }
            let mut reader = Reader::new(&frame);
            let header: ReplyHeader = reader.read().expect("a reply");
            if header.xid == Xid::EVENT {
                let _: WatcherEvent<'_> = reader.read().expect("an event");
                continue;
            }
            let (xid, op, data) = beside.asked.pop_front().expect("a reply to a request");
            assert_eq!(header.xid, xid, "{op:?}");
            // In a small server there may be no room; under a quota that somebody set neither.
            let refused = matches!(header.err, Code::SystemError | Code::QuotaExceeded);
            assert!(header.err == Code::Ok || refused, "{op:?}: {:?}", header.err);
            assert!(header.err != Code::SystemError || small, "{op:?}");
            if header.zxid.0 > 0 {
                assert!(header.zxid >= beside.last_zxid, "zxids go back");
                beside.last_zxid = header.zxid;
            }
            match op {
                OpCode::SetData if header.err == Code::Ok => beside.kept = data,
                OpCode::GetData if header.err == Code::Ok => {
                    let reply: GetDataReply<'_> = reader.read().expect("data");
                    assert_eq!(reply.data.bytes(), beside.kept, "what it wrote last");
                }
                _ => {}
            }
        }
    }

    // Both.

    fn restart(&mut self) -> bool {
        self.finish();
        self.rogues.clear();
        self.at = 0;
        self.world.restart();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let beside = &mut self.beside;
        beside.link = self.world.peer.open(self.world.now, address).expect("room");
        beside.waiting.clear();
        beside.read.clear();
        beside.greeted = false;
        let session = beside.session;
        self.greet();
        assert_eq!(self.beside.session, session, "the second client's session");
        let auth = AuthPacket { kind: 0, scheme: "digest".into(), auth: PASSWORD.into() };
        self.ask(OpCode::Auth, &encode(&auth));
        self.serve();
        true
    }

    /// Everything becomes durable, and the second client must have all its answers, whatever the
    /// first one does not read.
    fn catch_up(&mut self) {
        for _ in 0..ROUNDS {
            self.world.settle();
            self.serve();
            if self.beside.asked.is_empty() {
                return;
            }
        }
        panic!("the second client waits for {:?}", self.beside.asked);
    }

    /// A server that starts from the disk must be in the same state.
    fn finish(&mut self) {
        self.catch_up();
        let Self { world, .. } = self;
        world.settle();
        let live = Picture::of(&world.peer);
        let from = |snapshot| Picture::of(&world.loaded(snapshot, world.now));
        live.must_be(&from(world.snapshot.as_ref()), "from the snapshot");
        live.must_be(&from(None), "from the log alone");
    }
}

/// What a client says first.
fn connect(session: SessionId, passwd: &[u8]) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout: TIMEOUT,
        session_id: session,
        passwd: Buffer::new(passwd),
        read_only: Trailing(Some(false)),
    };
    let request = encode(&request);
    [&(request.len() as i32).to_be_bytes(), &request[..]].concat()
}

/// Shows a peer what a client has sent, so many bytes more at a time.
fn show(world: &mut World, link: Link, waiting: &mut Vec<u8>, fragment: usize) {
    let mut shown = 0;
    while shown < waiting.len() {
        shown = shown.saturating_add(fragment).min(waiting.len());
        let received = world.peer.receive(world.now, link, &waiting[..shown]);
        waiting.drain(..received.consumed);
        shown -= received.consumed;
        if received.need == 0 {
            return;
        }
        assert!(received.need > shown, "it waits for what is there");
        assert!(received.need <= 4 + world.peer.options().max_frame);
    }
}

/// Takes a whole frame from the start of what was read.
fn first_frame(read: &mut Vec<u8>) -> Option<Vec<u8>> {
    let len = u32::from_be_bytes(*read.first_chunk()?) as usize;
    let frame = read.get(4..4 + len)?.to_vec();
    read.drain(..4 + len);
    Some(frame)
}

/// Scripts of golden requests, a session each, with the second client and the disk in between.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![];
    for area in golden::AREAS {
        let frames = golden::frames(area);
        let requests: Vec<&[u8]> = frames
            .iter()
            .filter(|frame| frame.part == "request")
            .map(|frame| &frame.payload[..])
            .collect();
        for (number, requests) in requests.chunks(12).enumerate() {
            let first: &[(u8, &[u8])] =
                if area == "connect" { &[] } else { &[(b'q', b""), (b'O', b"")] };
            let mut pieces = first.to_vec();
            for (at, request) in requests.iter().enumerate() {
                pieces.push((b'f', request));
                match at % 4 {
                    0 => pieces.push((b'W', b"")),
                    1 => pieces.push((b's', &b"\0\x01\x02\x03\x04\x05"[at % 6..])),
                    2 => pieces.push((b'd', b"")),
                    _ => pieces.push((b'r', b"\xff")),
                }
            }
            pieces.push((b'q', b""));
            pieces.push((if number % 2 == 0 { b'x' } else { b't' }, b"\xff"));
            for way in [0, way::SMALL, way::ENFORCE_QUOTA | way::FRAGMENTS, way::SKIP_ACL] {
                seeds.push([&[way], &input::join(&pieces)[..]].concat());
            }
        }
    }
    seeds
}
