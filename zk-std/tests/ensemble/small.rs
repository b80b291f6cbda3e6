//! Members that hold only so much, as boards do: what is full is decided by the leader, for all.
//!
//! Decisions about them are drawn apart from all others, so that they change nothing for seeds
//! without such members.

use zk_core::memory::Handle;
use zk_core::peer::{Ceilings, Options, State};
use zk_core::tree::{self, Cost, DataTree};
use zk_core::wire::Code;
use zk_embedded::profile::TINY;
use zk_std::store::simulated::Rng;

use super::client::{Asked, Request};
use super::world::World;

/// Bytes of a frame of a client's, of a transaction, and of a reply.
const FRAME: usize = 4096;
const TXN: usize = 2048;
/// Bytes of a closeSession's list that are not too many anywhere.
pub(crate) const CLOSED: usize = TINY.frame / 2;
/// Milliseconds in which a member that holds less than its leader comes back: its longest pause, and
/// a snapshot of the leader's.
pub(crate) const RETURN: u64 = 120_000;

/// What a member holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    nodes: usize,
    cells: usize,
    acls: usize,
    owners: usize,
    sessions: usize,
    changes: usize,
    /// Bytes that a snapshot may be ahead of the disk.
    snapshot: usize,
    /// Watches, all clients' together.
    watches: usize,
    /// Bytes of a frame of a client's, and of a transaction.
    frame: usize,
    txn: usize,
    /// Bytes of paths, data and lists.
    bytes: usize,
    /// Bytes of lists.
    lists: usize,
}

/// The observer beside voters that all hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observer {
    Same,
    Larger,
    Smaller,
}

impl Limits {
    /// One of many, for all voters.
    pub(crate) fn any(rng: &mut Rng, reconfig: bool) -> Self {
        let mut one = |all: [usize; 4]| all[rng.below(4) as usize];
        Self {
            nodes: one([16, 24, 32, 40]),
            // Where the configuration changes it must fit.
            cells: one([40, 60, 80, 120]) + if reconfig { 160 } else { 0 },
            acls: one([2, 3, 4, 6]),
            owners: one([2, 3, 4, 6]),
            sessions: one([3, 4, 5, 8]),
            changes: one([32, 48, 64, 64]),
            snapshot: one([1024, 2048, 4096, 8192]),
            watches: 1 << 20,
            frame: FRAME,
            txn: TXN,
            bytes: one([400, 600, 1000, 4000]),
            lists: one([100, 200, 400, 800]),
        }
    }

    /// Of the profile `tiny`.
    pub(crate) fn tiny() -> Self {
        Self {
            nodes: TINY.nodes,
            cells: TINY.cells,
            acls: TINY.acls,
            owners: TINY.sessions,
            sessions: TINY.sessions,
            changes: TINY.changes,
            snapshot: TINY.snapshot_buffer(),
            watches: TINY.watches,
            frame: TINY.frame,
            txn: TINY.txn,
            bytes: TINY.bytes(),
            lists: TINY.lists(),
        }
    }

    /// How many watches a client sets, so that all have room on one server.
    pub(crate) fn watches_each(self, clients: usize) -> usize {
        self.watches / clients
    }

    /// Of the observer.
    pub(crate) fn of(self, observer: Observer) -> Self {
        match observer {
            Observer::Same => self,
            Observer::Larger => {
                Self { nodes: 1000, cells: 4000, bytes: 40_000, lists: 40_000, ..self }
            }
            Observer::Smaller => {
                let Self { nodes, cells, bytes, .. } = self;
                let less = |all: usize| all - all / 4;
                Self { nodes: less(nodes), cells: less(cells), bytes: less(bytes), ..self }
            }
        }
    }

    /// Sets what a peer has room for.
    pub(crate) fn lower(self, ceilings: Ceilings) -> Ceilings {
        let Self {
            nodes,
            cells,
            bytes,
            acls,
            lists,
            owners,
            sessions,
            changes,
            snapshot,
            watches,
            ..
        } = self;
        let tree =
            tree::Ceilings { nodes, cells, bytes, acls, lists, owners, snapshot, ..ceilings.tree };
        Ceilings { tree, sessions, changes, watches, ..ceilings }
    }

    /// Sets what a peer takes at once.
    pub(crate) fn shorten(self, options: Options) -> Options {
        Options {
            max_frame: self.frame,
            max_txn: self.txn,
            // (Whoever has many children must be shown them.)
            max_reply: 2 * FRAME,
            max_waiting: 2 * self.frame,
            reply_high_mark: self.frame / 4,
            ..options
        }
    }

    /// Whether a tree is within them, and the table of sessions.
    fn holds(self, used: Cost, sessions: usize) -> bool {
        let Self { nodes, cells, bytes, acls, lists, owners, .. } = self;
        used.fits(&Cost { nodes, cells, bytes, acls, lists, owners }) && sessions <= self.sessions
    }
}

/// What a tree takes.
fn used(tree: &DataTree<'_>) -> Cost {
    tree.capacity().minus(&tree.room())
}

/// A node without children that a client may delete, if there is one.
fn leaf(tree: &DataTree<'_>, rng: &mut Rng) -> Option<String> {
    let (mut open, mut leaves): (Vec<Handle>, Vec<String>) = (vec![tree.find(b"/")?], vec![]);
    while let Some(at) = open.pop() {
        let before = open.len();
        open.extend(tree.children(at));
        let mut room = [0; 512];
        let path = String::from_utf8(tree.path_of(at, &mut room)?.to_vec()).ok()?;
        if open.len() == before && path.len() > 1 && !path.starts_with("/zookeeper") {
            leaves.push(path);
        }
    }
    (!leaves.is_empty()).then(|| leaves.swap_remove(rng.below(leaves.len() as u64) as usize))
}

impl World {
    /// What a server holds, if that is little.
    fn limits(&self, at: usize) -> Option<Limits> {
        self.nodes[at].size.limits
    }

    /// Whether a member holds less than its leader may ask of it.
    pub(crate) fn has_smaller(&self) -> bool {
        self.observer == Observer::Smaller
    }

    /// Nobody holds more than it has room for, or is refused for holding less.
    pub(crate) fn check_marks(&mut self, at: usize) {
        let Some(limits) = self.limits(at) else { return };
        let peer = &self.nodes[at].peer;
        let (used, sessions) = (used(peer.tree()), peer.sessions().len());
        assert!(limits.holds(used, sessions), "server {} holds {used:?}, {sessions}", at + 1);
        assert!(peer.outstanding() <= self.nodes[at].size.pending, "server {}", at + 1);
    }

    /// A client was answered.
    pub(crate) fn count_full(&mut self, asked: &Asked, err: Code) {
        if self.nodes.iter().all(|node| node.size.limits.is_none()) {
            return;
        }
        // A disk that is full has the same answer.
        let disks = self.nodes.iter().any(super::node::Node::is_full);
        if err == Code::SystemError && !disks {
            self.met.refused += 1;
        }
        let leads = self.nodes.iter().find(|node| node.up && node.peer.state() == State::Leading);
        let full = leads.is_some_and(|node| {
            let (room, sessions) = (node.peer.tree().room(), node.peer.sessions());
            room.nodes == 0 || room.cells == 0 || sessions.available() == 0
        });
        if full
            && err == Code::Ok
            && matches!(asked.request, Request::Delete { .. } | Request::Close)
        {
            self.met.freed += 1;
        }
    }

    /// A client has no session yet, and its server closes the connection.
    pub(crate) fn count_crowded(&mut self, at: usize) {
        let full = self.nodes[at].peer.sessions().available() == 0;
        self.met.crowded += u64::from(full && self.limits(at).is_some());
    }

    /// Clients make room, for a member that holds less than its leader: delete what there is, and go
    /// on a little, such that the leader's log no longer has what did not fit.
    pub(crate) fn make_room(&mut self, c: usize) {
        if !self.has_client(c) {
            self.connect(c);
        }
        let leads = self
            .nodes
            .iter()
            .find(|node| node.up && node.peer.state() == State::Leading && node.peer.is_serving());
        let Some(leader) = leads else { return };
        let smaller = self.nodes.last().expect("a server");
        if smaller.peer.is_serving() && smaller.last == leader.last || !self.is_idle(c) {
            return;
        }
        let tree = leader.peer.tree();
        // Besides those that are always there; a few others can have too many bytes.
        let much = used(tree).nodes > 4;
        let path = if much { leaf(tree, &mut self.more) } else { None };
        let request = match path {
            Some(path) => Request::Delete { path, version: -1 },
            None => Request::Set { path: "/".to_owned(), data: vec![], version: -1 },
        };
        self.ask(c, request);
    }
}
