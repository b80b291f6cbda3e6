//! The part of the tree, of sessions and of watches, on a tiny profile.

use core::array::from_fn;
use core::hint::black_box;

use zk_core::id::{SessionId, Zxid};
use zk_core::memory::{Cell, Index, Slot, Table};
use zk_core::session::auth::{self, Identities};
use zk_core::session::{self, Session, Sessions};
use zk_core::time::Instant;
use zk_core::tree::snapshot::{Loader, Piece};
use zk_core::tree::watch::{self, Modes, Own, Watch, WatchedPath, Watches};
use zk_core::tree::{AclEntry, DataTree, NewNode, Node, Owner, OwnerEntry, Seeds, Storage, path};
use zk_core::wire::client::EventType;
use zk_core::wire::jute::{List, Slice};
use zk_core::wire::txn::{Record, Txn};

use crate::input;

/// Memory that a board would lend.
pub(crate) struct Memory {
    nodes: [Node; 16],
    cells: [Cell; 16],
    acls: [AclEntry; 4],
    owners: [OwnerEntry; 4],
    snapshot: [u8; 256],
    sessions: [Session; 4],
    watched: [WatchedPath; 4],
    watches: [Watch; 4],
    watch_cells: [Cell; 4],
    slots: [[Slot; 32]; 7],
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            nodes: from_fn(|_| Node::default()),
            cells: from_fn(|_| Cell::default()),
            acls: from_fn(|_| AclEntry::default()),
            owners: from_fn(|_| OwnerEntry::default()),
            snapshot: [0; 256],
            sessions: from_fn(|_| Session::default()),
            watched: from_fn(|_| WatchedPath::default()),
            watches: from_fn(|_| Watch::default()),
            watch_cells: from_fn(|_| Cell::default()),
            slots: [[0; 32]; 7],
        }
    }
}

/// What a peer remembers.
pub(crate) struct State<'m> {
    tree: DataTree<'m>,
    sessions: Sessions<'m>,
    watches: Watches<'m>,
    own: Own,
}

impl<'m> State<'m> {
    pub(crate) fn new(memory: &'m mut Memory) -> Self {
        let seeds = black_box(Seeds(1, 2));
        let [paths, contents, numbers, owners, sessions, watched, watches] = &mut memory.slots;
        let tree = Storage {
            nodes: Table::lent(&mut memory.nodes),
            paths: Index::lent(paths),
            cells: Table::lent(&mut memory.cells),
            acls: Table::lent(&mut memory.acls),
            acl_contents: Index::lent(contents),
            acl_numbers: Index::lent(numbers),
            owners: Table::lent(&mut memory.owners),
            owner_sessions: Index::lent(owners),
            snapshot: Table::lent(&mut memory.snapshot),
        };
        let watch = watch::Storage {
            paths: Table::lent(&mut memory.watched),
            path_slots: Index::lent(watched),
            watches: Table::lent(&mut memory.watches),
            watch_slots: Index::lent(watches),
            cells: Table::lent(&mut memory.watch_cells),
        };
        let Ok(tree) = DataTree::new(tree, seeds, black_box(true)) else { panic!("too small") };
        let entries = Table::lent(&mut memory.sessions);
        let (id, now) = black_box((SessionId(1), Instant(0)));
        let sessions = Sessions::new(entries, Index::lent(sessions), seeds, 2000, id, now);
        Self { tree, sessions, watches: Watches::new(watch, seeds), own: Own::NONE }
    }

    pub(crate) fn apply(&mut self, txn: &Txn<'_>) {
        let (tree, header) = (&mut self.tree, &txn.header);
        let done = match &txn.record {
            Record::Create(record) => {
                let new = NewNode {
                    path: record.path.bytes(),
                    data: record.data.0,
                    acl: record.acl,
                    owner: black_box(Owner::Nobody),
                    parent_cversion: black_box(None),
                    zxid: header.zxid,
                    time: header.time,
                };
                let cost = tree.cost_of(9, 9, record.acl, new.owner);
                cost.fits(tree.room()) && tree.create(&new).is_ok()
            }
            Record::Delete(record) => tree.delete(record.path.bytes(), header.zxid).is_ok(),
            Record::SetData(record) => {
                let (path, data) = (record.path.bytes(), record.data.0);
                tree.check_quota(path, 1, 1).is_ok()
                    && tree.set_data(path, data, 1, header.zxid, header.time).is_ok()
            }
            Record::SetAcl(record) => {
                tree.set_acl(record.path.bytes(), record.acl, record.version).is_ok()
            }
            Record::CreateSession(record) => {
                let timeout = record.timeout.unsigned_abs();
                self.sessions.opened(header.client_id, timeout, black_box(Instant(0))).is_ok()
            }
            Record::CloseSession(_) => {
                while let Some(at) = {
                    let next = tree.ephemerals(header.client_id).next();
                    next
                } {
                    let mut room = [0; 64];
                    let Some(path) = tree.path_of(at, &mut room) else { break };
                    black_box(tree.delete(path, header.zxid).is_ok());
                }
                self.sessions.closed(header.client_id) == 0
            }
            _ => false,
        };
        black_box((done, tree.digest()));
    }

    /// Reads, a snapshot out, and a snapshot in.
    pub(crate) fn snapshot(&mut self) {
        let tree = &mut self.tree;
        let mut scratch = black_box([0; 128]);
        if path::is_valid(input())
            && let Some(at) = tree.find(input())
        {
            let identities = Identities::of("127.0.0.1");
            black_box(tree.allows(at, black_box(1), identities.list().iter(), &mut scratch));
            black_box((tree.stat(at), tree.owner(at), tree.descendant_count(at)));
            let mut out = Slice::new(&mut scratch);
            black_box((tree.put_data(at, &mut out).is_ok(), tree.put_acl(at, &mut out).is_ok()));
            for child in tree.children(at) {
                black_box(tree.put_name(child, &mut out).is_ok());
            }
        }
        black_box(tree.reapable(0, black_box(16), black_box(0), black_box(0)));
        let (count, sessions) = (self.sessions.applied_count(), self.sessions.applied());
        black_box(tree.snapshot_begin(count, sessions).is_ok());
        while let Some(Piece::Bytes(bytes)) = tree.snapshot_piece() {
            let len = black_box(bytes).len();
            tree.snapshot_taken(len);
        }
        tree.snapshot_abandon();
        let mut loader = Loader::new(tree, black_box(1024));
        let now = black_box(Instant(0));
        let fed = loader.feed(tree, input(), |session| {
            self.sessions.opened(session.id, session.timeout.unsigned_abs(), now)
        });
        black_box(fed.is_ok());
        loader.finish(tree, black_box(Zxid(0)), &mut scratch);
    }

    pub(crate) fn watches(&mut self) {
        let modes = black_box(Modes::from_add_mode(1)).unwrap_or(Modes::DATA);
        let Self { watches, own, .. } = self;
        black_box(watches.add(own, black_box(1), input(), modes).is_ok());
        for kind in black_box([EventType::NodeCreated, EventType::NodeDeleted]) {
            let mut once = Some(&mut *own);
            watches.trigger(input(), kind, |_| once.take());
        }
        black_box(watches.remove(own, black_box(1), input(), modes));
        watches.remove_all(own);
    }

    pub(crate) fn sessions(&mut self) {
        let (sessions, now) = (&mut self.sessions, black_box(Instant(0)));
        let id = sessions.allocate();
        black_box((session::password(id), session::password_is(id, input())));
        if let Ok(at) = sessions.open(id, black_box(4000), now) {
            sessions.attach(at, black_box(1));
            sessions.touch(at, now);
            sessions.closing(at);
        }
        while let Some(id) = sessions.expire(now) {
            black_box(id);
        }
        let mut identities = Identities::of("127.0.0.1");
        black_box(auth::authenticate(&mut identities, input(), input(), black_box(None)));
        black_box::<List<'_, _>>(identities.list());
    }
}
