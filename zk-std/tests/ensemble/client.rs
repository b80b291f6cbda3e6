//! A client that pipelines, watches, loses its connection, and comes back elsewhere.

use std::collections::{BTreeSet, VecDeque};

use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::Link;
use zk_core::wire::client::{
    Acl, ConnectRequest, ConnectResponse, CreateRequest, EventType, Id, MultiHeader,
    OPEN_ACL_UNSAFE, PathRecord, PathVersion, PathWatch, ReconfigRequest, ReplyHeader,
    RequestHeader, SetDataRequest, SetWatches, WatcherEvent,
};
use zk_core::wire::jute::{self, Buffer, List, Reader, Trailing, Ustring};
use zk_core::wire::{Code, OpCode};
use zk_std::store::simulated::Rng;

/// Requests that a client has under way at most.
const PIPELINED: usize = 12;

/// Nodes that are only used as registers, so that what happens to them can be judged blindly.
pub(crate) const REGISTERS: [&str; 2] = ["/r0", "/r1"];

pub(crate) fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = vec![];
    jute::write(value, &mut out).unwrap();
    out
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = encode(&(payload.len() as i32));
    out.extend_from_slice(payload);
    out
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    /// `flags` are a create mode; with `stat`, the answer has one; `list` is a number of the access
    /// control list.
    Create {
        path: String,
        data: Vec<u8>,
        flags: i32,
        stat: bool,
        list: u8,
    },
    Set {
        path: String,
        data: Vec<u8>,
        version: i32,
    },
    Delete {
        path: String,
        version: i32,
    },
    /// Inside a multi.
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Self>),
    Get {
        path: String,
        watch: bool,
    },
    Exists {
        path: String,
        watch: bool,
    },
    Children {
        path: String,
        watch: bool,
    },
    Sync(String),
    /// Who joins and who leaves, or all `members`; `version` of the configuration that it is for.
    Reconfig {
        joining: String,
        leaving: String,
        members: Option<String>,
        version: i64,
    },
    /// The configuration.
    Config,
    SetWatches {
        since: Zxid,
        watches: Watches,
    },
    Close,
}

/// Paths that a client watches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Watches {
    /// Of nodes that are there.
    pub(crate) data: BTreeSet<String>,
    /// Of nodes that are not.
    pub(crate) exist: BTreeSet<String>,
    pub(crate) child: BTreeSet<String>,
}

impl Watches {
    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.exist.is_empty() && self.child.is_empty()
    }

    fn len(&self) -> usize {
        self.data.len() + self.exist.len() + self.child.len()
    }

    /// Each fires once.
    fn fire(&mut self, kind: i32, path: &str) {
        const DELETED: i32 = EventType::NodeDeleted as i32;
        const CHILDREN: i32 = EventType::NodeChildrenChanged as i32;
        if kind != CHILDREN {
            self.data.remove(path);
            self.exist.remove(path);
        }
        if matches!(kind, DELETED | CHILDREN) {
            self.child.remove(path);
        }
    }
}

impl Request {
    pub(crate) fn op(&self) -> OpCode {
        match self {
            // Alone, the operation decides; inside a multi, the flags do.
            Self::Create { flags: 4, .. } => OpCode::CreateContainer,
            Self::Create { stat: true, .. } => OpCode::Create2,
            Self::Create { .. } => OpCode::Create,
            Self::Set { .. } => OpCode::SetData,
            Self::Delete { .. } => OpCode::Delete,
            Self::Check { .. } => OpCode::Check,
            Self::Multi(_) => OpCode::Multi,
            Self::Get { .. } | Self::Config => OpCode::GetData,
            Self::Reconfig { .. } => OpCode::Reconfig,
            Self::Exists { .. } => OpCode::Exists,
            Self::Children { .. } => OpCode::GetChildren2,
            Self::Sync(_) => OpCode::Sync,
            Self::SetWatches { .. } => OpCode::SetWatches,
            Self::Close => OpCode::CloseSession,
        }
    }

    /// Whether it becomes a transaction.
    pub(crate) fn writes(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Set { .. }
                | Self::Delete { .. }
                | Self::Multi(_)
                | Self::Reconfig { .. }
                | Self::Close
        )
    }

    /// Whether it is refused where there is no room, on the disk or in the tree.
    pub(crate) fn grows(&self) -> bool {
        match self {
            Self::Create { .. } | Self::Set { .. } | Self::Reconfig { .. } => true,
            Self::Multi(parts) => parts.iter().any(Self::grows),
            _ => false,
        }
    }

    /// Whether it sets a watch.
    fn watches(&mut self) -> Option<&mut bool> {
        match self {
            Self::Get { watch, .. } | Self::Exists { watch, .. } | Self::Children { watch, .. } => {
                Some(watch)
            }
            _ => None,
        }
    }

    /// The same, with any access control lists.
    pub(crate) fn with_lists(mut self, rng: &mut Rng) -> Self {
        match &mut self {
            Self::Create { list, .. } => *list = rng.below(6) as u8,
            Self::Multi(parts) => {
                let parts = parts.drain(..).map(|part| part.with_lists(rng));
                return Self::Multi(parts.collect());
            }
            _ => {}
        }
        self
    }

    fn body(&self) -> Vec<u8> {
        match self {
            Self::Create { path, data, flags, list, .. } => {
                // All but the first let somebody else in, too.
                let host = format!("10.0.1.{list}");
                let other = Acl { perms: 1, id: Id { scheme: "ip".into(), id: (&*host).into() } };
                let others = i32::from(*list > 0);
                let mut acl = encode(&OPEN_ACL_UNSAFE);
                if others > 0 {
                    acl.extend(encode(&other));
                }
                let acl = List::from_raw(1 + others, &acl);
                let path = path.as_str().into();
                encode(&CreateRequest { path, data: data[..].into(), acl, flags: *flags })
            }
            Self::Set { path, data, version } => {
                let (path, data) = (path.as_str().into(), data[..].into());
                encode(&SetDataRequest { path, data, version: *version })
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                encode(&PathVersion { path: path.as_str().into(), version: *version })
            }
            Self::Multi(requests) => {
                let mut body = vec![];
                for request in requests {
                    body.extend(encode(&MultiHeader { op: request.op(), done: false, err: -1 }));
                    body.extend(request.body());
                }
                body.extend(encode(&MultiHeader::END));
                body
            }
            Self::Get { path, watch }
            | Self::Exists { path, watch }
            | Self::Children { path, watch } => {
                encode(&PathWatch { path: path.as_str().into(), watch: *watch })
            }
            Self::Config => encode(&PathWatch { path: "/zookeeper/config".into(), watch: false }),
            Self::Reconfig { joining, leaving, members, version } => {
                let text = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
                let (joining, leaving) = (text(joining), text(leaving));
                encode(&ReconfigRequest {
                    joining: Ustring(joining.as_deref().map(str::as_bytes)),
                    leaving: Ustring(leaving.as_deref().map(str::as_bytes)),
                    new_members: Ustring(members.as_deref().map(str::as_bytes)),
                    cur_config_id: *version,
                })
            }
            Self::Sync(path) => encode(&PathRecord { path: path.as_str().into() }),
            Self::SetWatches { since, watches } => {
                let paths = |set: &BTreeSet<String>| {
                    let all = set.iter().map(|path| encode(&Ustring::from(path.as_str())));
                    (set.len() as i32, all.collect::<Vec<_>>().concat())
                };
                let [data, exist, child] =
                    [&watches.data, &watches.exist, &watches.child].map(paths);
                encode(&SetWatches {
                    relative_zxid: *since,
                    data: List::from_raw(data.0, &data.1),
                    exist: List::from_raw(exist.0, &exist.1),
                    child: List::from_raw(child.0, &child.1),
                })
            }
            Self::Close => vec![],
        }
    }
}

/// A request that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) xid: i32,
    pub(crate) request: Request,
    /// When, in steps of the world.
    pub(crate) at: u64,
    /// The latest write that anybody had been answered by then.
    pub(crate) floor: Zxid,
}

/// What a client learns from its server.
pub(crate) enum Learned {
    /// It has a session, with that timeout.
    Opened(SessionId, i32),
    /// Its session is over.
    Expired(SessionId),
    /// An answer: header and body.
    Reply(Asked, ReplyHeader, Vec<u8>),
    /// A watch has fired.
    Event(Zxid, i32, String),
}

pub(crate) struct Client {
    /// Node and its incarnation, and the link there.
    pub(crate) at: Option<(usize, u32, Link)>,
    /// Counts the connections of all clients.
    pub(crate) stream: usize,
    pub(crate) session: SessionId,
    passwd: Vec<u8>,
    xid: i32,
    pub(crate) asked: VecDeque<Asked>,
    pub(crate) last_zxid: Zxid,
    watches: Watches,
    pub(crate) input: Vec<u8>,
    output: Vec<u8>,
    open: bool,
    /// Its session is asked to end.
    closing: bool,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            at: None,
            stream: 0,
            session: SessionId::NONE,
            passwd: vec![0; 16],
            xid: 0,
            asked: VecDeque::new(),
            last_zxid: Zxid::ZERO,
            watches: Watches::default(),
            input: vec![],
            output: vec![],
            open: false,
            closing: false,
        }
    }

    /// It has a connection: it asks for its session, or for a new one.
    pub(crate) fn connected(
        &mut self,
        at: (usize, u32, Link),
        stream: usize,
        now: (u64, Zxid),
        rng: &mut Rng,
    ) {
        self.at = Some(at);
        self.stream = stream;
        self.open = false;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout: 1000 + rng.below(1000) as i32,
            session_id: self.session,
            passwd: Buffer::new(&self.passwd),
            read_only: Trailing(Some(false)),
        };
        self.input = frame(&encode(&request));
        // Its watches come first, before it can have seen anything on this connection.
        if self.session != SessionId::NONE && !self.watches.is_empty() {
            let watches = self.watches.clone();
            self.ask(Request::SetWatches { since: self.last_zxid, watches }, now);
        }
    }

    /// The connection is gone. What was asked may have happened, or not.
    pub(crate) fn disconnected(&mut self) -> VecDeque<Asked> {
        self.at = None;
        self.open = false;
        self.closing = false;
        self.input.clear();
        self.output.clear();
        core::mem::take(&mut self.asked)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it has nothing more to say on this connection.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(crate) fn has_room(&self) -> bool {
        self.asked.len() < PIPELINED
    }

    /// The same without a watch, where it has `most` of them.
    pub(crate) fn within(&self, mut request: Request, most: usize) -> Request {
        // Each of those that are under way may become one.
        if self.watches.len() + self.asked.len() >= most
            && let Some(watch) = request.watches()
        {
            *watch = false;
        }
        request
    }

    /// Asks something, at a step of the world, by which the latest answered write is known.
    pub(crate) fn ask(&mut self, request: Request, (at, floor): (u64, Zxid)) {
        let xid = match request {
            Request::SetWatches { .. } => Xid::SET_WATCHES.0,
            _ => {
                self.xid += 1;
                self.xid
            }
        };
        self.closing |= request == Request::Close;
        let mut payload = encode(&RequestHeader { xid: Xid(xid), op: request.op() });
        payload.extend(request.body());
        self.input.extend(frame(&payload));
        self.asked.push_back(Asked { xid, request, at, floor });
    }

    /// Takes bytes of the server's.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Learned> {
        self.output.extend_from_slice(bytes);
        let mut learned = vec![];
        loop {
            let Some((len, rest)) = self.output.split_first_chunk::<4>() else { return learned };
            let len = u32::from_be_bytes(*len) as usize;
            let Some(frame) = rest.get(..len).map(<[u8]>::to_vec) else { return learned };
            self.output.drain(..4 + len);
            learned.push(self.take_frame(&frame));
        }
    }

    fn take_frame(&mut self, frame: &[u8]) -> Learned {
        if !self.open {
            let response: ConnectResponse<'_> = jute::decode(frame).unwrap();
            if response.session_id == SessionId::NONE {
                return Learned::Expired(self.forget());
            }
            if self.session != SessionId::NONE {
                assert_eq!(self.session, response.session_id);
            }
            self.session = response.session_id;
            self.passwd = response.passwd.bytes().to_vec();
            self.open = true;
            return Learned::Opened(self.session, response.timeout);
        }
        let mut reader = Reader::new(frame);
        let header: ReplyHeader = reader.read().unwrap();
        if header.xid == Xid::EVENT {
            let WatcherEvent { kind, path, .. } = reader.read().unwrap();
            let path = String::from_utf8(path.bytes().to_vec()).unwrap();
            self.watches.fire(kind, &path);
            return Learned::Event(header.zxid, kind, path);
        }
        let asked = self.asked.pop_front().expect("an answer to nothing");
        assert_eq!(header.xid.0, asked.xid, "replies come in order");
        assert!(
            header.zxid >= self.last_zxid,
            "session {}: {} after {}",
            self.session,
            header.zxid,
            self.last_zxid
        );
        self.last_zxid = header.zxid;
        self.watch(&asked.request, header.err == Code::Ok);
        if asked.request == Request::Close {
            self.forget();
        }
        Learned::Reply(asked, header, reader.rest().to_vec())
    }

    /// Its session is over, and with it its watches.
    fn forget(&mut self) -> SessionId {
        self.watches = Watches::default();
        self.passwd = vec![0; 16];
        core::mem::replace(&mut self.session, SessionId::NONE)
    }

    fn watch(&mut self, request: &Request, found: bool) {
        match request {
            Request::Get { path, watch: true } if found => {
                self.watches.data.insert(path.clone());
            }
            Request::Exists { path, watch: true } => {
                let set = if found { &mut self.watches.data } else { &mut self.watches.exist };
                set.insert(path.clone());
            }
            Request::Children { path, watch: true } if found => {
                self.watches.child.insert(path.clone());
            }
            _ => {}
        }
    }
}

fn path(rng: &mut Rng) -> String {
    let depth = 1 + rng.below(3);
    (0..depth).map(|_| format!("/{}", ["a", "b", "c", "d"][rng.below(4) as usize])).collect()
}

fn version(rng: &mut Rng) -> i32 {
    if rng.coin() { -1 } else { rng.below(4) as i32 }
}

/// Something for a client to ask. With `registers`, sometimes of those.
pub(crate) fn anything(rng: &mut Rng, registers: bool) -> Request {
    let data = vec![7; rng.below(60) as usize];
    if registers && rng.below(4) == 0 {
        let path = REGISTERS[rng.below(2) as usize].to_owned();
        return match rng.below(6) {
            0..=1 => Request::Create { path, data, flags: 0, stat: true, list: 0 },
            2 => Request::Delete { path, version: version(rng) },
            _ => Request::Set { path, data, version: version(rng) },
        };
    }
    match rng.below(24) {
        0..=8 => {
            let flags = [0, 0, 1, 2, 3, 4][rng.below(6) as usize];
            Request::Create { path: path(rng), data, flags, stat: rng.coin(), list: 0 }
        }
        9..=12 => Request::Set { path: path(rng), data, version: version(rng) },
        13..=14 => Request::Delete { path: path(rng), version: version(rng) },
        15..=16 => {
            let count = rng.below(4);
            Request::Multi((0..count).map(|_| part(rng, &data)).collect())
        }
        17..=18 => Request::Sync(path(rng)),
        19..=20 => Request::Get { path: path(rng), watch: rng.coin() },
        21 => Request::Exists { path: path(rng), watch: rng.coin() },
        22 => Request::Children { path: path(rng), watch: rng.coin() },
        _ => Request::Children { path: "/".into(), watch: rng.coin() },
    }
}

/// Part of a multi; such that it does not fail too often.
fn part(rng: &mut Rng, data: &[u8]) -> Request {
    let path = path(rng);
    match rng.below(6) {
        0..=2 => {
            let flags = [0, 2, 3][rng.below(3) as usize];
            Request::Create { path, data: data.to_vec(), flags, stat: rng.coin(), list: 0 }
        }
        3 => Request::Set { path, data: data.to_vec(), version: -1 },
        4 => Request::Delete { path, version: -1 },
        _ => Request::Check { path: "/".into(), version: if rng.coin() { -1 } else { 0 } },
    }
}
