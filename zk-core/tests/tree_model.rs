//! The tree against a simple model, on a tiny bounded profile and on a growing one: the same random
//! changes, then everything a client could see is compared, and the digest with one counted anew.
//! Snapshots are written while the changes go on and must show the tree of the moment they began.

use std::collections::BTreeMap;

use proptest::prelude::*;
use zk_core::id::{SessionId, Zxid};
use zk_core::memory::{Cell, Index, Pipe, Slot, Table, Unit};
use zk_core::tree::count::Counted;
use zk_core::tree::listing::Told;
use zk_core::tree::snapshot::{self, Loader, Step};
use zk_core::tree::{
    AclEntry, Ceilings, DataTree, Failure, NewNode, Node, Owner, OwnerEntry, Seeds, Storage,
    digest, listing, path,
};
use zk_core::wire::Code;
use zk_core::wire::client::{Acl, Id, Stat};
use zk_core::wire::file::StatPersisted;
use zk_core::wire::jute::List;

#[derive(Clone, Debug, PartialEq)]
struct ModelNode {
    data: Option<Vec<u8>>,
    stat: StatPersisted,
    perms: i32,
}

type Model = BTreeMap<String, ModelNode>;

fn parent_of(path: &str) -> &str {
    &path[..path.rfind('/').unwrap()]
}

fn children<'a>(model: &'a Model, of: &'a str) -> impl Iterator<Item = &'a String> {
    model.keys().filter(move |key| !key.is_empty() && parent_of(key) == of)
}

fn name_of(path: &str) -> &str {
    &path[path.rfind('/').unwrap() + 1..]
}

fn below(model: &Model, of: &str) -> usize {
    model
        .keys()
        .filter(|key| key.strip_prefix(of).is_some_and(|rest| rest.starts_with('/')))
        .count()
}

#[derive(Clone, Debug)]
enum Op {
    Create { path: String, data: Option<Vec<u8>>, owner: u8, perms: i32 },
    Delete { path: String },
    SetData { path: String, data: Option<Vec<u8>> },
    SetAcl { path: String, perms: i32 },
    BeginSnapshot,
    Drain(usize),
    BeginList { path: String },
    List(usize),
    BeginCount { path: String },
    Count(usize),
}

fn path_strategy() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-c]|long-name-of-a-node", 1..4)
        .prop_map(|names| names.iter().map(|name| format!("/{name}")).collect())
}

fn parent_strategy() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), path_strategy()]
}

fn op() -> impl Strategy<Value = Op> {
    let data = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..70));
    prop_oneof![
        6 => (path_strategy(), data(), 0..6u8, 0..32).prop_map(|(path, data, owner, perms)| {
            Op::Create { path, data, owner, perms }
        }),
        3 => path_strategy().prop_map(|path| Op::Delete { path }),
        3 => (path_strategy(), data()).prop_map(|(path, data)| Op::SetData { path, data }),
        1 => (path_strategy(), 0..32).prop_map(|(path, perms)| Op::SetAcl { path, perms }),
        1 => Just(Op::BeginSnapshot),
        2 => (1..200usize).prop_map(Op::Drain),
        1 => parent_strategy().prop_map(|path| Op::BeginList { path }),
        2 => (0..4usize).prop_map(Op::List),
        1 => parent_strategy().prop_map(|path| Op::BeginCount { path }),
        2 => (0..8usize).prop_map(Op::Count),
    ]
}

fn owner(kind: u8) -> Owner {
    match kind {
        0..=2 => Owner::Nobody,
        3 => Owner::Session(SessionId(7)),
        4 => Owner::Container,
        _ => Owner::Ttl(1000),
    }
}

fn acl(perms: i32, room: &mut [u8; 64]) -> List<'_, Acl<'_>> {
    let id = Id { scheme: "ip".into(), id: "127.0.0.1".into() };
    List::encode(&[Acl { perms, id }], room).unwrap()
}

struct Run<'m> {
    tree: DataTree<'m>,
    model: Model,
    zxid: i64,
    /// The model when the snapshot began, and what was written of it.
    snapshot: Option<(Model, i64, Vec<u8>)>,
    snapshots: usize,
    /// The children that are being told: all of them, and what was told.
    list: Option<(Vec<String>, Pipe<'static>)>,
    /// Whose descendants are being counted, and whether it is gone.
    count: Option<(String, bool)>,
}

impl<'m> Run<'m> {
    fn new(storage: Storage<'m>) -> Self {
        let tree = DataTree::new(storage, Seeds(1, 2), true).unwrap();
        let mut model = Model::new();
        for path in ["", "/zookeeper", "/zookeeper/quota"] {
            let node = ModelNode { data: Some(vec![]), stat: StatPersisted::default(), perms: -1 };
            model.insert(path.into(), node);
        }
        let config = ModelNode {
            stat: StatPersisted { aversion: -1, ..StatPersisted::default() },
            ..model[""].clone()
        };
        model.insert("/zookeeper/config".into(), config);
        Self { tree, model, zxid: 0, snapshot: None, snapshots: 0, list: None, count: None }
    }

    fn apply(&mut self, op: &Op) {
        self.zxid += 1;
        let (zxid, time) = (Zxid(self.zxid), self.zxid * 10);
        let mut room = [0; 64];
        match op {
            Op::Create { path, data, owner: kind, perms } => {
                let parent = parent_of(path);
                let new = NewNode {
                    path: path.as_bytes(),
                    data: data.as_deref(),
                    acl: acl(*perms, &mut room),
                    owner: owner(*kind),
                    parent_cversion: None,
                    zxid,
                    time,
                };
                let ephemeral_parent = self.model.get(parent).is_some_and(|node| {
                    matches!(Owner::read(node.stat.ephemeral_owner, true), Some(Owner::Session(_)))
                });
                let cost = self
                    .tree
                    .cost_of(path.as_bytes(), data.as_ref().map_or(0, Vec::len), new.owner)
                    .plus(&self.tree.cost_of_acl(new.acl));
                let expected = if !self.model.contains_key(parent) {
                    Err(Failure::Code(Code::NoNode))
                } else if self.model.contains_key(path) {
                    // The node gets the new list; the model follows.
                    self.model.get_mut(path).unwrap().perms = *perms;
                    Err(Failure::Code(Code::NodeExists))
                } else if ephemeral_parent {
                    Err(Failure::Code(Code::NoChildrenForEphemerals))
                } else if !cost.fits(&self.tree.room()) {
                    // What does not fit is never proposed.
                    return;
                } else {
                    Ok(())
                };
                if expected == Err(Failure::Code(Code::NodeExists)) && !cost.fits(&self.tree.room())
                {
                    // May or may not fit: the list could be shared. Leave it out of the comparison.
                    self.model.get_mut(path).unwrap().perms =
                        self.perms_of(self.tree.find(path.as_bytes()).unwrap());
                    return;
                }
                assert_eq!(self.tree.create(&new).map(|_| ()), expected);
                if expected.is_ok() {
                    let parent = self.model.get_mut(parent).unwrap();
                    parent.stat.cversion += 1;
                    parent.stat.pzxid = zxid;
                    let stat = StatPersisted {
                        czxid: zxid,
                        mzxid: zxid,
                        pzxid: zxid,
                        ctime: time,
                        mtime: time,
                        ephemeral_owner: owner(*kind).raw(),
                        ..StatPersisted::default()
                    };
                    self.model.insert(
                        path.clone(),
                        ModelNode { data: data.clone(), stat, perms: *perms },
                    );
                }
            }
            Op::Delete { path } => {
                let parent = parent_of(path).to_owned();
                let expected = if !self.model.contains_key(&parent) {
                    Err(Code::NoNode)
                } else {
                    self.model.get_mut(&parent).unwrap().stat.pzxid = zxid;
                    if !self.model.contains_key(path) {
                        Err(Code::NoNode)
                    } else if children(&self.model, path).next().is_some() {
                        Err(Code::NotEmpty)
                    } else {
                        self.model.remove(path);
                        if let Some((top, gone)) = &mut self.count {
                            *gone |= top == path;
                        }
                        Ok(())
                    }
                };
                assert_eq!(self.tree.delete(path.as_bytes(), zxid), expected);
            }
            Op::SetData { path, data } => {
                let before = self.tree.find(path.as_bytes());
                let result = self.tree.set_data(path.as_bytes(), data.as_deref(), 9, zxid, time);
                match (result, self.model.get_mut(path)) {
                    (Ok(_), Some(node)) => {
                        node.data.clone_from(data);
                        node.stat.version = 9;
                        node.stat.mzxid = zxid;
                        node.stat.mtime = time;
                    }
                    (Err(Failure::Full), Some(_)) => assert!(before.is_some()),
                    (result, _) => {
                        assert_eq!(result.map(|_| ()), Err(Failure::Code(Code::NoNode)));
                    }
                }
            }
            Op::SetAcl { path, perms } => {
                let list = acl(*perms, &mut room);
                match (self.tree.set_acl(path.as_bytes(), list, 3), self.model.get_mut(path)) {
                    (Ok(_), Some(node)) => {
                        node.perms = *perms;
                        node.stat.aversion = 3;
                    }
                    (Err(Failure::Full), Some(_)) => {}
                    (result, _) => {
                        assert_eq!(result.map(|_| ()), Err(Failure::Code(Code::NoNode)));
                    }
                }
            }
            Op::BeginSnapshot => {
                if self.snapshot.is_none()
                    && self.tree.snapshot_begin(0, core::iter::empty()) == Ok(true)
                {
                    self.snapshot = Some((self.model.clone(), self.tree.digest(), vec![]));
                }
            }
            Op::Drain(n) => self.drain(*n),
            Op::BeginList { path } => {
                self.list = None;
                if let Some(at) = self.tree.find(path.as_bytes())
                    && self.tree.listing_begin(at)
                {
                    let all = children(&self.model, path).map(|key| name_of(key).to_owned());
                    self.list = Some((all.collect(), Pipe::new(Table::owned(1 << 20))));
                }
            }
            Op::List(n) => self.list(*n),
            Op::BeginCount { path } => {
                self.count = self.tree.find(path.as_bytes()).map(|at| {
                    self.tree.count_begin(at);
                    (path.clone(), false)
                });
            }
            Op::Count(n) => self.count(*n),
        }
        self.tree.applied(zxid);
    }

    fn list(&mut self, n: usize) {
        let Some((all, out)) = &mut self.list else { return };
        match self.tree.listing_step(n, out).unwrap() {
            Told::More => return,
            // Only a tiny profile has no room for what was missed.
            Told::Lost => assert!(self.tree.room().nodes < 1000),
            Told::All => {
                let mut told = vec![];
                let mut rest = out.bytes();
                while let Some((len, tail)) = rest.split_first_chunk::<4>() {
                    let (name, tail) = tail.split_at(u32::from_be_bytes(*len) as usize);
                    told.push(core::str::from_utf8(name).unwrap());
                    rest = tail;
                }
                told.sort_unstable();
                all.sort_unstable();
                assert_eq!(told, *all);
            }
        }
        self.tree.listing_end();
        self.list = None;
    }

    fn count(&mut self, n: usize) {
        let Some((path, gone)) = &self.count else { return };
        match self.tree.count_step(n) {
            Counted::More => return,
            Counted::Below(count) => assert_eq!((count, *gone), (below(&self.model, path), false)),
            Counted::Gone => assert!(gone),
        }
        self.count = None;
    }

    fn drain(&mut self, n: usize) {
        let Some((_, _, written)) = &mut self.snapshot else { return };
        match self.tree.snapshot_step() {
            Some(Step::Bytes) => {
                let bytes = self.tree.snapshot_bytes();
                let n = n.min(bytes.len());
                written.extend_from_slice(&bytes[..n]);
                self.tree.snapshot_taken(n);
            }
            Some(Step::End) => {
                self.tree.snapshot_abandon();
                let (model, digest, written) = self.snapshot.take().unwrap();
                self.snapshots += 1;
                // Arrives in pieces of every size.
                let mut loaded = owned_tree();
                let mut loader = Loader::new(&mut loaded, 4096);
                let (mut at, mut shown) = (0, 1);
                loop {
                    let end = (at + shown).min(written.len());
                    let taken =
                        loader.feed(&mut loaded, &written[at..end], |_| unreachable!()).unwrap();
                    at += taken.consumed;
                    if taken.done {
                        break;
                    }
                    assert!(end < written.len(), "the body ends before its end");
                    shown = if taken.consumed > 0 { 1 } else { shown + 7 };
                }
                assert_eq!(at, written.len());
                loader.finish(&mut loaded, Zxid(1), &mut [0; 256]);
                compare(&loaded, &model);
                assert_eq!(loaded.digest(), digest);
                assert_eq!(loaded.recount_digest(&mut [0; 1 << 12]), digest);
                let counted = loaded.data_size() as usize + loaded.acls().bytes();
                let (nodes, lists) = (model.len(), loaded.acls().len());
                assert_eq!(snapshot::bytes(written.len(), nodes, 0, lists), counted);
            }
            Some(Step::Failed) => {
                self.tree.snapshot_abandon();
                self.snapshot = None;
            }
            None => panic!("a snapshot vanished"),
        }
    }

    fn perms_of(&self, at: zk_core::memory::Handle) -> i32 {
        perms_of(&self.tree, at)
    }
}

fn perms_of(tree: &DataTree<'_>, at: zk_core::memory::Handle) -> i32 {
    let mut scratch = [0; 64];
    tree.acl_list(tree.acl_of(at), &mut scratch)
        .map_or(-1, |list| list.iter().next().unwrap().perms)
}

fn compare(tree: &DataTree<'_>, model: &Model) {
    assert_eq!(tree.node_count(), model.len() + 1);
    let (mut digest_sum, mut size, mut ephemerals) = (0u64, 0, 0);
    for (path, node) in model {
        let at = tree.find(path.as_bytes()).unwrap_or_else(|| panic!("{path} is missing"));
        let data = tree.data(at).map(|(_, chunks)| chunks.flatten().copied().collect::<Vec<_>>());
        assert_eq!(data, node.data, "{path}");
        assert_eq!(tree.node(at).stat(), node.stat, "{path}");
        let names: Vec<_> = children(model, path).collect();
        let mut found: Vec<_> = tree
            .children(at)
            .map(|child| {
                let mut room = [0; 256];
                String::from_utf8(tree.path_of(child, &mut room).unwrap().to_vec()).unwrap()
            })
            .collect();
        found.sort();
        assert_eq!(found, names.into_iter().cloned().collect::<Vec<_>>());
        let kind = Owner::read(node.stat.ephemeral_owner, true).unwrap();
        let stat: Stat = tree.stat(at);
        assert_eq!(stat.num_children as usize, found.len());
        assert_eq!(stat.cversion, node.stat.cversion * 2 - stat.num_children);
        assert_eq!(stat.ephemeral_owner, kind.shown());
        assert_eq!(stat.data_length as usize, data.as_ref().map_or(0, Vec::len));
        if path != "/zookeeper/config" {
            assert_eq!(perms_of(tree, at), node.perms, "{path}");
        }
        if path::is_digested(path.as_bytes()) {
            digest_sum = digest_sum
                .wrapping_add(digest::of_node(tree.content(at, path.as_bytes()), &node.stat));
        }
        let below = below(model, path);
        assert_eq!(tree.sum_within(at, below).map(|sum| sum.count as usize - 1), Some(below));
        size += path.len() + data.map_or(0, |data| data.len());
        ephemerals += usize::from(matches!(kind, Owner::Session(_)));
    }
    assert_eq!(tree.digest() as u64, digest_sum);
    assert_eq!(tree.data_size() as usize, size);
    assert_eq!(tree.ephemeral_count(), ephemerals);
    assert_eq!(tree.ephemerals(SessionId(7)).count(), ephemerals);
    assert_eq!(tree.ephemerals_of(SessionId(7)), ephemerals);
    assert!(tree.find(b"/missing").is_none());
}

/// More than any test here needs.
fn ample() -> Ceilings {
    Ceilings {
        nodes: 10_000,
        cells: 100_000,
        acls: 1000,
        owners: 1000,
        snapshot: 100_000,
        ..Ceilings::default()
    }
}

fn owned_tree() -> DataTree<'static> {
    DataTree::new(Storage::owned(ample()), Seeds(3, 4), true).unwrap()
}

fn check(mut run: Run<'_>, ops: &[Op]) {
    for op in ops {
        run.apply(op);
        compare(&run.tree, &run.model);
    }
    while run.snapshot.is_some() {
        run.drain(usize::MAX);
    }
    run.list(usize::MAX);
    run.count(usize::MAX);
    // Empty it: nothing may be left behind.
    loop {
        let leaf = run
            .model
            .keys()
            .rev()
            .find(|key| key.len() > 1 && !key.starts_with("/zookeeper"))
            .cloned();
        let Some(path) = leaf else { break };
        run.apply(&Op::Delete { path });
    }
    assert_eq!(run.tree.acls().len(), 1, "lists are counted");
    assert_eq!(run.tree.reapable_count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_its_model(ops in proptest::collection::vec(op(), 0..120)) {
        check(Run::new(Storage::owned(ample())), &ops);

        // As much as a board holds of its smaller cells.
        let (nodes, cells, unit) = (12, 60, Unit::SMALLEST);
        let ceilings =
            Ceilings { nodes, cells, unit, kept: 0, bytes: 200, lists: 60, acls: 4, owners: 1, snapshot: 700 };
        check(Run::new(Storage::owned(ceilings)), &ops);

        let (mut nodes, mut cells) = ([Node::EMPTY; 12], [Cell::EMPTY; 40]);
        let mut acls = [AclEntry::EMPTY; 4];
        let mut owners = [OwnerEntry::EMPTY; 1];
        let (mut paths, mut contents, mut numbers, mut sessions): (
            [Slot; 16],
            [Slot; 8],
            [Slot; 8],
            [Slot; 8],
        ) = Default::default();
        let mut snapshot = [0; 700];
        let (mut marks, mut missed) = ([0; 2], [0; 30]);
        let storage = Storage {
            nodes: Table::lent(&mut nodes),
            paths: Index::lent(&mut paths),
            cells: Table::lent(&mut cells),
            unit: Unit::OWN,
            kept: 0,
            bytes: usize::MAX,
            lists: usize::MAX,
            acls: Table::lent(&mut acls),
            acl_contents: Index::lent(&mut contents),
            acl_numbers: Index::lent(&mut numbers),
            owners: Table::lent(&mut owners),
            owner_sessions: Index::lent(&mut sessions),
            snapshot: Table::lent(&mut snapshot),
            listing: listing::Storage {
                marks: Table::lent(&mut marks),
                missed: Table::lent(&mut missed),
            },
        };
        check(Run::new(storage), &ops);
    }
}
