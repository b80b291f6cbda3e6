//! What a client must see: a second, plain implementation of the tree and of what requests do to
//! it. It shares nothing with the server but the records on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use zk_core::id::{SessionId, Zxid};
use zk_core::wire::client::{CreateMode, EventType, Stat};
use zk_core::wire::jute::{Buffer, Reader, Trailing};
use zk_core::wire::txn::{Record, Txn, TxnHeader};
use zk_core::wire::{Code, OpCode};

use super::client::Request;
use super::small;

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    data: Vec<u8>,
    /// As the wire has it, without what follows from data and children.
    stat: Stat,
    /// Children that were ever created.
    creations: i32,
    container: bool,
    children: BTreeSet<String>,
}

/// The tree after some transaction. Clones share what neither of them has changed since.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    nodes: BTreeMap<Rc<str>, Rc<Node>>,
    sessions: BTreeSet<i64>,
    /// All that there ever were.
    known: Rc<BTreeSet<i64>>,
}

/// What a request is answered, besides an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Nothing,
    Path(String),
    PathStat(String, Stat),
    Stat(Stat),
    Data(Vec<u8>, Stat),
    Names(BTreeSet<String>, Stat),
    /// Each operation's answer, or error.
    Multi(Vec<Result<Self, Code>>),
    /// Watches that fire at once, in order.
    Fired(Vec<(i32, String)>),
}

/// Something that watchers of a path are told.
pub(crate) type Trigger = (EventType, String);

/// Who asks, and when it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) session: SessionId,
    pub(crate) zxid: Zxid,
    pub(crate) time: i64,
}

fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => panic!("no path: {path}"),
    }
}

impl Model {
    /// The tree of a new ensemble.
    pub(crate) fn new() -> Self {
        let mut nodes = BTreeMap::new();
        let children = ["zookeeper".to_owned()].into();
        nodes.insert("/".into(), Rc::new(Node { children, ..Node::default() }));
        Self { nodes, sessions: BTreeSet::new(), known: Rc::default() }
    }

    /// All nodes that are not the server's own: path, data and stat.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &[u8], Stat)> {
        self.nodes.iter().map(|(path, node)| (&**path, &node.data[..], node.shown()))
    }

    /// The sessions.
    pub(crate) fn sessions(&self) -> &BTreeSet<i64> {
        &self.sessions
    }

    // Requests.

    /// What a read is answered.
    pub(crate) fn read(&self, request: &Request) -> Result<Answer, Code> {
        let find = |path: &str| self.nodes.get(path).ok_or(Code::NoNode);
        match request {
            Request::Get { path, .. } => {
                find(path).map(|node| Answer::Data(node.data.clone(), node.shown()))
            }
            Request::Exists { path, .. } => find(path).map(|node| Answer::Stat(node.shown())),
            Request::Children { path, .. } => {
                find(path).map(|node| Answer::Names(node.children.clone(), node.shown()))
            }
            Request::Sync(path) => Ok(Answer::Path(path.clone())),
            Request::SetWatches { since, watches } => {
                let mut fired = vec![];
                for path in &watches.data {
                    match self.nodes.get(path.as_str()) {
                        None => fired.push((EventType::NodeDeleted, path)),
                        Some(node) if node.stat.mzxid > *since => {
                            fired.push((EventType::NodeDataChanged, path));
                        }
                        Some(_) => {}
                    }
                }
                let exist =
                    watches.exist.iter().filter(|path| self.nodes.contains_key(path.as_str()));
                fired.extend(exist.map(|path| (EventType::NodeCreated, path)));
                for path in &watches.child {
                    match self.nodes.get(path.as_str()) {
                        None => fired.push((EventType::NodeDeleted, path)),
                        Some(node) if node.stat.pzxid > *since => {
                            fired.push((EventType::NodeChildrenChanged, path));
                        }
                        Some(_) => {}
                    }
                }
                let fired = fired.into_iter().map(|(kind, path)| (kind as i32, path.clone()));
                Ok(Answer::Fired(fired.collect()))
            }
            _ => panic!("no read: {request:?}"),
        }
    }

    /// Does what a write asks for, or nothing.
    pub(crate) fn write(&mut self, at: Moment, request: &Request) -> Result<Answer, Code> {
        match request {
            Request::Create { path, data, flags, stat, .. } => {
                let mode = CreateMode::from_flags(*flags).unwrap();
                let path = self.create(at, path, data, mode)?;
                let node = self.nodes[&*path].shown();
                Ok(if *stat || mode == CreateMode::Container {
                    Answer::PathStat(path, node)
                } else {
                    Answer::Path(path)
                })
            }
            Request::Set { path, data, version } => {
                self.nodes.get(path.as_str()).ok_or(Code::NoNode)?.expect(*version)?;
                self.set(at, path, data);
                Ok(Answer::Stat(self.nodes[path.as_str()].shown()))
            }
            Request::Delete { path, version } => {
                let (parent, _) = split(path);
                self.nodes.get(parent).ok_or(Code::NoNode)?;
                let node = self.nodes.get(path.as_str()).ok_or(Code::NoNode)?;
                node.expect(*version)?;
                if !node.children.is_empty() {
                    return Err(Code::NotEmpty);
                }
                self.remove(at.zxid, path);
                Ok(Answer::Nothing)
            }
            Request::Check { path, version } => {
                self.nodes.get(path.as_str()).ok_or(Code::NoNode)?.expect(*version)?;
                Ok(Answer::Nothing)
            }
            Request::Multi(requests) => Ok(Answer::Multi(self.multi(at, requests))),
            Request::Close => {
                self.close(at.zxid, at.session);
                Ok(Answer::Nothing)
            }
            _ => panic!("no write: {request:?}"),
        }
    }

    fn multi(&mut self, at: Moment, requests: &[Request]) -> Vec<Result<Answer, Code>> {
        let before = self.clone();
        let mut results: Vec<_> = requests.iter().map(|request| self.write(at, request)).collect();
        if let Some(first) = results.iter().position(Result::is_err) {
            *self = before;
            for (number, result) in results.iter_mut().enumerate() {
                if number != first {
                    let behind = number > first;
                    *result = Err(if behind { Code::RuntimeInconsistency } else { Code::Ok });
                }
            }
        }
        results
    }

    fn create(
        &mut self,
        at: Moment,
        path: &str,
        data: &[u8],
        mode: CreateMode,
    ) -> Result<String, Code> {
        let (parent, _) = split(path);
        let above = self.nodes.get(parent).ok_or(Code::NoNode)?;
        let mut path = path.to_owned();
        if mode.is_sequential() {
            path += &format!("{:010}", above.creations);
        }
        if self.nodes.contains_key(&*path) {
            return Err(Code::NodeExists);
        }
        if above.stat.ephemeral_owner != 0 {
            return Err(Code::NoChildrenForEphemerals);
        }
        let owner = if mode.is_ephemeral() { at.session } else { SessionId::NONE };
        self.insert(at, &path, data, owner, mode == CreateMode::Container);
        Ok(path)
    }

    // What is done to nodes.

    fn insert(&mut self, at: Moment, path: &str, data: &[u8], owner: SessionId, container: bool) {
        let (parent, name) = split(path);
        let above = Rc::make_mut(self.nodes.get_mut(parent).expect("a parent"));
        above.children.insert(name.to_owned());
        above.creations += 1;
        above.stat.pzxid = at.zxid;
        let stat = Stat {
            czxid: at.zxid,
            mzxid: at.zxid,
            pzxid: at.zxid,
            ctime: at.time,
            mtime: at.time,
            ephemeral_owner: owner.0,
            ..Stat::default()
        };
        let node = Node { data: data.to_vec(), stat, container, ..Node::default() };
        let old = self.nodes.insert(path.into(), Rc::new(node));
        assert!(old.is_none(), "{path} is created over another");
    }

    fn set(&mut self, at: Moment, path: &str, data: &[u8]) {
        let node = Rc::make_mut(self.nodes.get_mut(path).expect("a node"));
        node.data = data.to_vec();
        node.stat.version += 1;
        node.stat.mzxid = at.zxid;
        node.stat.mtime = at.time;
    }

    fn remove(&mut self, zxid: Zxid, path: &str) {
        let node = self.nodes.remove(path).expect("a node");
        assert!(node.children.is_empty(), "{path} is deleted with children");
        let (parent, name) = split(path);
        let above = Rc::make_mut(self.nodes.get_mut(parent).expect("a parent"));
        above.children.remove(name);
        above.stat.pzxid = zxid;
    }

    /// Ephemeral nodes go with their session.
    fn close(&mut self, zxid: Zxid, session: SessionId) -> Vec<String> {
        self.sessions.remove(&session.0);
        let own = |node: &Node| node.stat.ephemeral_owner == session.0;
        let owned = self.nodes.iter().filter(|(_, node)| own(node));
        let paths: Vec<String> = owned.map(|(path, _)| path.to_string()).collect();
        for path in &paths {
            self.remove(zxid, path);
        }
        paths
    }

    /// Whether the transaction ends a session and does not name all of its nodes: these go in any order.
    pub(crate) fn is_cut_short(&self, txn: &Txn<'_>) -> bool {
        let Record::CloseSession(record) = &txn.record else { return false };
        let session = txn.header.client_id.0;
        let own = self.nodes.values().filter(|node| node.stat.ephemeral_owner == session);
        record.iter().flat_map(|record| record.paths.iter()).count() < own.count()
    }

    // Transactions.

    /// Does what a transaction says, and answers what watchers hear of it.
    pub(crate) fn apply(&mut self, txn: &Txn<'_>) -> Vec<Trigger> {
        let TxnHeader { client_id: session, zxid, time, .. } = txn.header;
        let at = Moment { session, zxid, time };
        match &txn.record {
            Record::Multi(multi) => {
                if multi.txns.iter().any(|part| part.op == OpCode::Error) {
                    return vec![];
                }
                let parts = multi.txns.iter().flat_map(|part| {
                    let mut reader = Reader::new(part.data.bytes());
                    let record = Record::read(part.op, &mut reader).unwrap().expect("a record");
                    self.apply_one(at, &record)
                });
                parts.collect()
            }
            record => self.apply_one(at, record),
        }
    }

    fn apply_one(&mut self, at: Moment, record: &Record<'_>) -> Vec<Trigger> {
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        let created = |path: &str| {
            let (parent, _) = split(path);
            vec![
                (EventType::NodeCreated, path.to_owned()),
                (EventType::NodeChildrenChanged, parent.to_owned()),
            ]
        };
        let deleted = |path: &str| {
            let (parent, _) = split(path);
            vec![
                (EventType::NodeDeleted, path.to_owned()),
                (EventType::NodeChildrenChanged, parent.to_owned()),
            ]
        };
        match record {
            Record::Create(txn) => {
                let path = text(txn.path.bytes());
                let owner = if txn.ephemeral { at.session } else { SessionId::NONE };
                self.insert(at, &path, bytes(&txn.data), owner, false);
                let Trailing(cversion) = txn.parent_cversion;
                assert_eq!(cversion, Some(self.nodes[split(&path).0].creations), "{path}");
                if txn.ephemeral {
                    assert!(self.sessions.contains(&owner.0), "{path}: its session is over");
                }
                created(&path)
            }
            Record::CreateContainer(txn) => {
                let path = text(txn.path.bytes());
                self.insert(at, &path, bytes(&txn.data), SessionId::NONE, true);
                created(&path)
            }
            Record::Delete(txn) => {
                let path = text(txn.path.bytes());
                if at.session == SessionId::NONE {
                    let node = &self.nodes[&*path];
                    assert!(node.container, "{path} is reaped, and no container");
                }
                self.remove(at.zxid, &path);
                deleted(&path)
            }
            // The configuration is no part of the model, and nobody watches it.
            Record::SetData(txn) if txn.path.bytes() == b"/zookeeper/config" => vec![],
            Record::SetData(txn) => {
                let path = text(txn.path.bytes());
                self.set(at, &path, bytes(&txn.data));
                assert_eq!(txn.version, self.nodes[&*path].stat.version, "{path}");
                vec![(EventType::NodeDataChanged, path)]
            }
            Record::Check(_) | Record::Error(_) => vec![],
            Record::CreateSession(_) => {
                let new = Rc::make_mut(&mut self.known).insert(at.session.0);
                assert!(new, "session {} is given twice", at.session);
                self.sessions.insert(at.session.0);
                vec![]
            }
            Record::CloseSession(txn) => {
                // Listed nodes first, in order.
                let mut paths: Vec<String> = vec![];
                for path in txn.iter().flat_map(|txn| txn.paths.iter()) {
                    paths.push(text(path.bytes()));
                }
                let all = self.close(at.zxid, at.session);
                for path in &paths {
                    assert!(all.contains(path), "{path} is not its session's");
                }
                let rest: Vec<String> =
                    all.into_iter().filter(|path| !paths.contains(path)).collect();
                let bytes =
                    |paths: &[String]| paths.iter().map(|path| 4 + path.len()).sum::<usize>();
                assert!(
                    rest.is_empty() || bytes(&paths) + bytes(&rest) > small::CLOSED,
                    "closeSession does not list {rest:?}"
                );
                paths.iter().chain(&rest).flat_map(|path| deleted(path)).collect()
            }
            _ => panic!("nobody asks for {record:?}"),
        }
    }
}

impl Node {
    fn expect(&self, version: i32) -> Result<(), Code> {
        if version == -1 || version == self.stat.version { Ok(()) } else { Err(Code::BadVersion) }
    }

    fn shown(&self) -> Stat {
        let count = self.children.len() as i32;
        Stat {
            // Children that came, and children that went.
            cversion: self.creations * 2 - count,
            data_length: self.data.len() as i32,
            num_children: count,
            ..self.stat
        }
    }
}

fn bytes<'a>(data: &Buffer<'a>) -> &'a [u8] {
    data.bytes()
}
