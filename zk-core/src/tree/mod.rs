//! The tree of znodes.
//!
//! Nodes lie in a slab; a hash index over full paths finds them; children and a session's
//! ephemeral nodes are linked lists through the nodes. A path is never stored: a node has its
//! name, and a lookup verifies the path backwards along the parents.
//!
//! The tree never sees a socket, a quorum or a clock: time arrives in the transaction. Answers to
//! `DataTree`.

pub mod acl;
pub mod digest;
pub mod identity;
mod node;
mod owner;
mod owners;
pub mod path;
pub mod quota;
pub mod snapshot;
pub mod watch;

pub use crate::memory::Seeds;
pub use acl::{AclEntry, AclTable, NO_ACL};
use digest::Crc;
pub use node::Node;
pub use owner::{MAX_TTL, Owner};
pub use owners::OwnerEntry;
use owners::Owners;

use crate::id::{SessionId, Zxid};
use crate::memory::{Cell, Cells, Chunks, Full, Handle, Index, NIL, Slab, Slot, Table};
use crate::wire::Code;
use crate::wire::client::{Acl, Id, Stat, perms};
use crate::wire::file::StatPersisted;
use crate::wire::jute::{self, List, Sink};

/// Why a change could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The change does not fit this tree: the code that Apache gives it.
    Code(Code),
    /// The storage is full. The leader checks before it proposes, so this is a violated promise
    /// wherever it shows.
    Full,
}

impl From<Full> for Failure {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

/// Storage of a tree. How many there are of each is the tree's capacity.
#[derive(Debug)]
pub struct Storage<'m> {
    /// One for each node.
    pub nodes: Table<'m, Node>,
    /// Slots for paths: at least 8/7 of the nodes.
    pub paths: Index<'m>,
    /// Names, data and access control lists.
    pub cells: Table<'m, Cell>,
    /// One for each distinct access control list.
    pub acls: Table<'m, AclEntry>,
    /// Slots for lists by content.
    pub acl_contents: Index<'m>,
    /// Slots for lists by number.
    pub acl_numbers: Index<'m>,
    /// One for each session with ephemeral nodes.
    pub owners: Table<'m, OwnerEntry>,
    /// Slots for those sessions.
    pub owner_sessions: Index<'m>,
    /// What a snapshot has said and the disk has not taken yet.
    pub snapshot: Table<'m, u8>,
}

/// How much a growing tree may hold. Memory is only taken as it is used.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Znodes.
    pub nodes: usize,
    /// Cells of names, data and lists.
    pub cells: usize,
    /// Distinct access control lists.
    pub acls: usize,
    /// Sessions with ephemeral nodes.
    pub owners: usize,
    /// Bytes that a snapshot may be ahead of the disk.
    pub snapshot: usize,
}

impl<'m> Storage<'m> {
    /// Storage that allocates as it grows.
    #[cfg(feature = "alloc")]
    pub const fn owned(ceilings: Ceilings) -> Self {
        Self {
            nodes: Table::owned(ceilings.nodes),
            paths: Index::owned(ceilings.nodes),
            cells: Table::owned(ceilings.cells),
            acls: Table::owned(ceilings.acls),
            acl_contents: Index::owned(ceilings.acls),
            acl_numbers: Index::owned(ceilings.acls),
            owners: Table::owned(ceilings.owners),
            owner_sessions: Index::owned(ceilings.owners),
            snapshot: Table::owned(ceilings.snapshot),
        }
    }

    /// Storage in the caller's slices. Slots for the three indexes are cut from `slots`, in the
    /// proportions that nodes, lists (twice) and owners need.
    #[allow(clippy::too_many_arguments, reason = "one for each table")]
    pub fn lent(
        nodes: &'m mut [Node],
        paths: &'m mut [Slot],
        cells: &'m mut [Cell],
        acls: &'m mut [AclEntry],
        acl_slots: (&'m mut [Slot], &'m mut [Slot]),
        owners: &'m mut [OwnerEntry],
        owner_slots: &'m mut [Slot],
        snapshot: &'m mut [u8],
    ) -> Self {
        Self {
            nodes: Table::lent(nodes),
            paths: Index::lent(paths),
            cells: Table::lent(cells),
            acls: Table::lent(acls),
            acl_contents: Index::lent(acl_slots.0),
            acl_numbers: Index::lent(acl_slots.1),
            owners: Table::lent(owners),
            owner_sessions: Index::lent(owner_slots),
            snapshot: Table::lent(snapshot),
        }
    }
}

/// What room a change takes, or is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Znodes.
    pub nodes: usize,
    /// Cells.
    pub cells: usize,
    /// Distinct access control lists.
    pub acls: usize,
    /// Sessions with ephemeral nodes.
    pub owners: usize,
}

impl Cost {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            cells: self.cells + other.cells,
            acls: self.acls + other.acls,
            owners: self.owners + other.owners,
        }
    }

    /// What is left when `other` is taken away again.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_sub(other.nodes),
            cells: self.cells.saturating_sub(other.cells),
            acls: self.acls.saturating_sub(other.acls),
            owners: self.owners.saturating_sub(other.owners),
        }
    }

    /// Whether this fits into `room`.
    pub const fn fits(self, room: Self) -> bool {
        self.nodes <= room.nodes
            && self.cells <= room.cells
            && self.acls <= room.acls
            && self.owners <= room.owners
    }
}

/// A node to be created.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// Its data, `None` for null.
    pub data: Option<&'a [u8]>,
    /// Its access control list.
    pub acl: List<'a, Acl<'a>>,
    /// What kind of node it is.
    pub owner: Owner,
    /// The parent's `cversion` afterwards; `None` counts one up (logs before 3.4).
    pub parent_cversion: Option<i32>,
    /// The transaction.
    pub zxid: Zxid,
    /// Its time.
    pub time: i64,
}

/// The tree and all that hangs on its nodes.
#[derive(Debug)]
pub struct DataTree<'m> {
    nodes: Slab<'m, Node>,
    index: Index<'m>,
    cells: Cells<'m>,
    acls: AclTable<'m>,
    owners: Owners<'m>,
    seeds: Seeds,
    root: Handle,
    extended_types: bool,
    digest: u64,
    last_zxid: Zxid,
    data_size: u64,
    ephemerals: usize,
    containers: usize,
    ttls: usize,
    limits: usize,
    snapshot: snapshot::Writer<'m>,
}

impl<'m> DataTree<'m> {
    /// The tree of a new server: `/`, `/zookeeper`, and its children `quota` and `config`.
    ///
    /// # Errors
    /// [`Full`] when the storage has no room for these.
    pub fn new(storage: Storage<'m>, seeds: Seeds, extended_types: bool) -> Result<Self, Full> {
        let acls = AclTable::new(
            Slab::new(storage.acls),
            storage.acl_contents,
            storage.acl_numbers,
            seeds,
        );
        let mut tree = Self {
            nodes: Slab::new(storage.nodes),
            index: storage.paths,
            cells: Cells::new(storage.cells),
            acls,
            owners: Owners::new(Slab::new(storage.owners), storage.owner_sessions, seeds),
            seeds,
            root: NIL,
            extended_types,
            digest: 0,
            last_zxid: Zxid::ZERO,
            data_size: 0,
            ephemerals: 0,
            containers: 0,
            ttls: 0,
            limits: 0,
            snapshot: snapshot::Writer::new(storage.snapshot),
        };
        tree.reset()?;
        Ok(tree)
    }

    /// Makes the tree that of a new server again.
    ///
    /// # Errors
    /// [`Full`], if [`new`](Self::new) would have failed.
    pub fn reset(&mut self) -> Result<(), Full> {
        self.clear();
        let zero = StatPersisted::default();
        self.attach(b"", NIL, Some(b""), NO_ACL, &zero)?;
        self.attach(path::ZOOKEEPER, self.root, Some(b""), NO_ACL, &zero)?;
        let zookeeper = self.find(path::ZOOKEEPER).ok_or(Full)?;
        self.attach(path::QUOTA, zookeeper, Some(b""), NO_ACL, &zero)?;
        let mut room = [0; 32];
        let id = Id { scheme: "world".into(), id: "anyone".into() };
        let acl = List::encode(&[Acl { perms: perms::READ, id }], &mut room).map_err(|_| Full)?;
        let acl = self.acls.acquire(&mut self.cells, acl)?;
        let stat = StatPersisted { aversion: -1, ..zero };
        self.attach(path::CONFIG, zookeeper, Some(b""), acl, &stat)?;
        Ok(())
    }

    /// Empties everything, also the root.
    fn clear(&mut self) {
        self.nodes.clear();
        self.index.clear();
        self.cells.clear();
        self.acls.clear();
        self.owners.clear();
        self.root = NIL;
        self.digest = 0;
        self.last_zxid = Zxid::ZERO;
        self.data_size = 0;
        self.ephemerals = 0;
        self.containers = 0;
        self.ttls = 0;
        self.limits = 0;
        self.snapshot.reset();
    }

    // Getters.

    /// The last transaction that was applied.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Says that everything up to `zxid` is applied. Zxids never go back.
    pub fn applied(&mut self, zxid: Zxid) {
        self.last_zxid = self.last_zxid.max(zxid);
    }

    /// The digest over all nodes.
    pub fn digest(&self) -> i64 {
        self.digest as i64
    }

    /// Number of nodes as Apache counts them, with `/` and what is below `/zookeeper`.
    pub fn node_count(&self) -> usize {
        // Apache's map holds the root under two names.
        self.nodes.len() + 1
    }

    /// Number of ephemeral nodes.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals
    }

    /// Number of nodes that a reaper may remove some day: containers and TTL nodes.
    pub fn reapable_count(&self) -> usize {
        self.containers + self.ttls
    }

    /// Bytes of all paths and data.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    /// The access control lists.
    pub fn acls(&self) -> &AclTable<'m> {
        &self.acls
    }

    /// Whether TTL nodes are recognised.
    pub fn extended_types(&self) -> bool {
        self.extended_types
    }

    /// The hash keys.
    pub fn seeds(&self) -> Seeds {
        self.seeds
    }

    /// What can still be added.
    pub fn room(&self) -> Cost {
        // Quota counters are text that grows in place, by a few cells at most.
        let counters = self.limits * Cells::needed(quota::LONGEST);
        Cost {
            nodes: self.nodes.ceiling().min(self.index.ceiling()) - self.nodes.len(),
            cells: self.cells.available().saturating_sub(counters),
            acls: self.acls.available(),
            owners: self.owners.available(),
        }
    }

    /// What a new node takes.
    pub fn cost_of(&self, name: usize, data: usize, acl: List<'_, Acl<'_>>, owner: Owner) -> Cost {
        let known = self.acls.contains(&self.cells, acl);
        let new_owner =
            matches!(owner, Owner::Session(session) if self.owners.find(session).is_none());
        Cost {
            nodes: 1,
            cells: Cells::needed(name + data)
                + if known { 0 } else { Cells::needed(acl.raw().len()) },
            acls: usize::from(!known),
            owners: usize::from(new_owner),
        }
    }

    /// The node at `path`.
    pub fn find(&self, path: &[u8]) -> Option<Handle> {
        if path.is_empty() || path == b"/" {
            return Some(self.root);
        }
        let hash = self.seeds.hash(path);
        self.index.find(hash, |at| self.is_below(at, path, self.root))
    }

    /// Whether the node is the one at `path`, seen from `top`: names are compared from the last
    /// one up.
    fn is_below(&self, at: Handle, path: &[u8], top: Handle) -> bool {
        let mut rest = path;
        let mut at = at;
        while at != top {
            if at == self.root {
                return false;
            }
            let node = &self.nodes[at];
            let name_len = node.name_len();
            let Some(split) = rest.len().checked_sub(name_len + 1) else { return false };
            let (before, name) = rest.split_at(split);
            if name[0] != b'/' || !self.cells.equal(node.blob, 0, &name[1..]) {
                return false;
            }
            rest = before;
            at = node.parent;
        }
        rest.is_empty()
    }

    /// A node in use.
    pub fn node(&self, at: Handle) -> &Node {
        &self.nodes[at]
    }

    /// The node's metadata as clients see it.
    pub fn stat(&self, at: Handle) -> Stat {
        let node = &self.nodes[at];
        let stored = node.stat();
        let children = self.child_count(at) as i32;
        Stat {
            czxid: stored.czxid,
            mzxid: stored.mzxid,
            ctime: stored.ctime,
            mtime: stored.mtime,
            version: stored.version,
            // Stored are the creations; every child that is gone was deleted once.
            cversion: stored.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: stored.aversion,
            ephemeral_owner: self.owner(at).shown(),
            data_length: node.data_len().unwrap_or(0) as i32,
            num_children: children,
            pzxid: stored.pzxid,
        }
    }

    /// What kind of node it is.
    pub fn owner(&self, at: Handle) -> Owner {
        // What could not be read was never let in.
        Owner::read(self.nodes[at].owner(), self.extended_types).unwrap_or(Owner::Nobody)
    }

    fn is_ephemeral(&self, at: Handle) -> bool {
        matches!(self.owner(at), Owner::Session(_))
    }

    /// Number of children.
    pub fn child_count(&self, at: Handle) -> usize {
        if self.is_ephemeral(at) { 0 } else { self.nodes[at].count as usize }
    }

    /// The node's data, piece by piece; `None` for null.
    pub fn data(&self, at: Handle) -> Option<(usize, Chunks<'_>)> {
        let node = &self.nodes[at];
        let len = node.data_len()?;
        Some((len, self.cells.chunks(node.blob, node.name_len(), len)))
    }

    /// Writes the node's data as a `buffer`.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn put_data<S: Sink>(&self, at: Handle, sink: &mut S) -> Result<(), Full> {
        let node = &self.nodes[at];
        match node.data_len() {
            None => sink.put(&(-1i32).to_be_bytes()),
            Some(len) => {
                sink.put(&(len as i32).to_be_bytes())?;
                self.cells.put(node.blob, node.name_len(), len, sink)
            }
        }
    }

    /// The children, in no order that means anything.
    pub fn children(&self, at: Handle) -> impl Iterator<Item = Handle> + '_ {
        let first = if self.is_ephemeral(at) { NIL } else { self.nodes[at].first };
        core::iter::successors((first != NIL).then_some(first), move |&child| {
            let next = self.nodes[child].next;
            (next != NIL).then_some(next)
        })
    }

    /// Bytes of the node's name.
    pub fn name_len(&self, at: Handle) -> usize {
        self.nodes[at].name_len()
    }

    /// Writes the node's name as a `ustring`.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn put_name<S: Sink>(&self, at: Handle, sink: &mut S) -> Result<(), Full> {
        let node = &self.nodes[at];
        sink.put(&(node.name_len() as i32).to_be_bytes())?;
        self.cells.put(node.blob, 0, node.name_len(), sink)
    }

    /// The number of nodes below `at`.
    pub fn descendant_count(&self, at: Handle) -> usize {
        let mut count = 0;
        self.walk(at, |_| count += 1);
        count
    }

    /// Visits every node below `top`, parents first.
    fn walk(&self, top: Handle, mut visit: impl FnMut(Handle)) {
        let Some(mut at) = self.children(top).next() else { return };
        loop {
            visit(at);
            if let Some(first) = self.children(at).next() {
                at = first;
                continue;
            }
            while self.nodes[at].next == NIL {
                at = self.nodes[at].parent;
                if at == top {
                    return;
                }
            }
            at = self.nodes[at].next;
        }
    }

    /// Writes the node's path into the end of `room`. `None` if it does not fit.
    pub fn path_of<'r>(&self, at: Handle, room: &'r mut [u8]) -> Option<&'r [u8]> {
        let mut start = room.len();
        let mut at = at;
        while at != self.root {
            let node = &self.nodes[at];
            let end = start;
            start = start.checked_sub(node.name_len() + 1)?;
            let place = room.get_mut(start..end)?;
            let (slash, name) = place.split_first_mut()?;
            *slash = b'/';
            self.cells.copy(node.blob, 0, name);
            at = node.parent;
        }
        room.get(start..)
    }

    /// Bytes of the node's path; 0 for the root.
    pub fn path_len(&self, at: Handle) -> usize {
        let mut len = 0;
        let mut at = at;
        while at != self.root {
            len += self.nodes[at].name_len() + 1;
            at = self.nodes[at].parent;
        }
        len
    }

    /// The ephemeral nodes of a session, in no order that means anything.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = Handle> + '_ {
        let first = self.owners.first(session);
        core::iter::successors((first != NIL).then_some(first), move |&at| {
            let next = self.nodes[at].first;
            (next != NIL).then_some(next)
        })
    }

    /// Bytes of the longest path of a session's ephemeral nodes.
    pub fn longest_ephemeral(&self, session: SessionId) -> usize {
        self.ephemerals(session).map(|at| self.path_len(at)).max().unwrap_or(0)
    }

    /// Whether any path has a quota.
    pub fn has_quotas(&self) -> bool {
        self.limits > 0
    }

    /// The node behind an ephemeral one in its session's list.
    pub fn next_ephemeral(&self, at: Handle) -> Option<Handle> {
        let next = self.nodes[at].first;
        (self.is_ephemeral(at) && next != NIL).then_some(next)
    }

    /// How many ephemeral nodes a session has.
    pub fn ephemerals_of(&self, session: SessionId) -> usize {
        self.owners.count(session)
    }

    /// Sessions that own ephemeral nodes.
    pub fn owning_sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.owners.sessions()
    }

    /// Whether `ids` may do any of `wanted` to the node.
    pub fn allows<'i>(
        &self,
        at: Handle,
        wanted: i32,
        ids: impl Iterator<Item = Id<'i>> + Clone,
        scratch: &mut [u8],
    ) -> bool {
        self.allows_by(self.nodes[at].acl(), wanted, ids, scratch)
    }

    /// Whether a list lets `ids` do any of `wanted`.
    pub fn allows_by<'i>(
        &self,
        acl: Handle,
        wanted: i32,
        ids: impl Iterator<Item = Id<'i>> + Clone,
        scratch: &mut [u8],
    ) -> bool {
        self.acls.allows(&self.cells, acl, wanted, ids, scratch)
    }

    /// The node's list in the table.
    pub fn acl_of(&self, at: Handle) -> Handle {
        self.nodes[at].acl()
    }

    /// Copies a list into `scratch`; `None` if it does not fit, or there is none.
    pub fn acl_list<'s>(&self, acl: Handle, scratch: &'s mut [u8]) -> Option<List<'s, Acl<'s>>> {
        if acl == NO_ACL {
            return None;
        }
        self.acls.list(&self.cells, acl, scratch)
    }

    /// Writes the node's access control list.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn put_acl<S: Sink>(&self, at: Handle, sink: &mut S) -> Result<(), jute::Error> {
        self.acls.put(&self.cells, self.nodes[at].acl(), sink)
    }

    /// Keeps a list for a change that is not applied yet.
    ///
    /// # Errors
    /// [`Full`].
    pub fn acquire_acl(&mut self, list: List<'_, Acl<'_>>) -> Result<Handle, Full> {
        self.acls.acquire(&mut self.cells, list)
    }

    /// Keeps a list once more.
    pub fn share_acl(&mut self, acl: Handle) {
        self.acls.share(acl);
    }

    /// Gives a list back.
    pub fn release_acl(&mut self, acl: Handle) {
        self.acls.release(&mut self.cells, acl);
    }

    /// The CRC of the node's path and data, to which its stat is added for its digest.
    pub fn content(&self, at: Handle, path: &[u8]) -> Crc {
        let mut crc = Crc::START.update(path);
        if let Some((_, chunks)) = self.data(at) {
            for chunk in chunks {
                crc = crc.update(chunk);
            }
        }
        crc
    }

    fn digest_of(&self, at: Handle, path: &[u8]) -> u64 {
        if path::is_digested(path) {
            digest::of_node(self.content(at, path), &self.nodes[at].stat())
        } else {
            0
        }
    }

    // Changes.

    /// Puts a node into the tree, below `parent`, without touching the parent's stat.
    fn attach(
        &mut self,
        path: &[u8],
        parent: Handle,
        data: Option<&[u8]>,
        acl: Handle,
        stat: &StatPersisted,
    ) -> Result<Handle, Full> {
        let name = match path::split(path) {
            Some((_, name)) => name,
            None => b"",
        };
        let owner = Owner::read(stat.ephemeral_owner, self.extended_types).ok_or(Full)?;
        let mut node = Node::new(stat, parent, acl, self.snapshot.mark());
        if !node.set_lens(name.len(), data.map(<[u8]>::len)) {
            return Err(Full);
        }
        if let Owner::Session(session) = owner {
            self.owners.admit(session)?;
        }
        let undo_owner = |tree: &mut Self| {
            if let Owner::Session(session) = owner {
                tree.owners.dismiss(session);
            }
        };
        let blob = self.cells.insert(&[name, data.unwrap_or_default()]).inspect_err(|_| {
            undo_owner(self);
        })?;
        node.blob = blob;
        let at = match self.nodes.insert(node) {
            Ok(at) => at,
            Err(Full) => {
                self.cells.remove(blob);
                undo_owner(self);
                return Err(Full);
            }
        };
        if parent == NIL {
            self.root = at;
        } else if let Err(Full) = self.index.insert(self.seeds.hash(path), at) {
            self.nodes.remove(at);
            self.cells.remove(blob);
            undo_owner(self);
            return Err(Full);
        } else {
            let first = self.nodes[parent].first;
            self.nodes[at].next = first;
            if first != NIL {
                self.nodes[first].prev = at;
            }
            self.nodes[parent].first = at;
            self.nodes[parent].count += 1;
        }
        match owner {
            Owner::Nobody => {}
            Owner::Container => self.containers += 1,
            Owner::Ttl(_) => self.ttls += 1,
            Owner::Session(session) => {
                let first = self.owners.push(session, at);
                self.nodes[at].first = first;
                self.nodes[at].count = NIL;
                if first != NIL {
                    self.nodes[first].count = at;
                }
                self.ephemerals += 1;
            }
        }
        self.data_size += (path.len() + data.map_or(0, <[u8]>::len)) as u64;
        self.digest = self.digest.wrapping_add(self.digest_of(at, path));
        if quota::is_limit(path) {
            self.limits += 1;
        }
        Ok(at)
    }

    /// Takes a node without children out of the tree.
    fn detach(&mut self, path: &[u8], at: Handle) {
        self.digest = self.digest.wrapping_sub(self.digest_of(at, path));
        self.index.remove(self.seeds.hash(path), at);
        let node = self.nodes[at];
        match self.owner(at) {
            Owner::Nobody => {}
            Owner::Container => self.containers -= 1,
            Owner::Ttl(_) => self.ttls -= 1,
            Owner::Session(session) => {
                let (next, prev) = (node.first, node.count);
                if next != NIL {
                    self.nodes[next].count = prev;
                }
                if prev != NIL {
                    self.nodes[prev].first = next;
                }
                self.owners.drop_one(session, at, next);
                self.ephemerals -= 1;
            }
        }
        if node.next != NIL {
            self.nodes[node.next].prev = node.prev;
        }
        if node.prev != NIL {
            self.nodes[node.prev].next = node.next;
        } else {
            self.nodes[node.parent].first = node.next;
        }
        self.nodes[node.parent].count -= 1;
        let len = path.len() + node.data_len().unwrap_or(0);
        self.data_size = self.data_size.saturating_sub(len as u64);
        if quota::is_limit(path) {
            self.limits -= 1;
        }
        self.acls.release(&mut self.cells, node.acl());
        self.cells.remove(node.blob);
        self.nodes.remove(at);
    }

    /// Creates a node.
    ///
    /// # Errors
    /// `NoNode` without a parent, `NodeExists` (then the node has the new list, as in Apache,
    /// where a replay depends on it), `NoChildrenForEphemerals` (which a leader refuses before),
    /// or [`Failure::Full`].
    pub fn create(&mut self, new: &NewNode<'_>) -> Result<Handle, Failure> {
        let (parent_path, _) = path::split(new.path).ok_or(Code::BadArguments)?;
        let parent = self.find(parent_path).ok_or(Code::NoNode)?;
        if let Some(at) = self.find(new.path) {
            let acl = self.acls.acquire(&mut self.cells, new.acl)?;
            self.preserve(at);
            let old = self.nodes[at].acl();
            self.nodes[at].set_acl(acl);
            self.acls.release(&mut self.cells, old);
            return Err(Code::NodeExists.into());
        }
        if self.is_ephemeral(parent) {
            return Err(Code::NoChildrenForEphemerals.into());
        }
        let acl = self.acls.acquire(&mut self.cells, new.acl)?;
        self.preserve(parent);
        let before = self.digest_of(parent, parent_path);
        let stat = StatPersisted {
            czxid: new.zxid,
            mzxid: new.zxid,
            ctime: new.time,
            mtime: new.time,
            ephemeral_owner: new.owner.raw(),
            pzxid: new.zxid,
            ..StatPersisted::default()
        };
        let at = self
            .attach(new.path, parent, new.data, acl, &stat)
            .inspect_err(|_| self.acls.release(&mut self.cells, acl))?;
        let cversion =
            new.parent_cversion.unwrap_or_else(|| self.nodes[parent].cversion().wrapping_add(1));
        if cversion > self.nodes[parent].cversion() {
            self.nodes[parent].set_children_changed(cversion, new.zxid);
            let after = self.digest_of(parent, parent_path);
            self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        }
        self.quota_created(new.path, at);
        Ok(at)
    }

    /// Moves a parent's `cversion` and `pzxid` forward after a creation that a replay found done.
    /// Answers to `DataTree.setCversionPzxid`.
    pub fn advance_children(&mut self, path: &[u8], cversion: Option<i32>, zxid: Zxid) {
        let Some(at) = self.find(path) else { return };
        let current = self.nodes[at].cversion();
        let cversion = cversion.unwrap_or_else(|| current.wrapping_add(1));
        if cversion > current {
            self.preserve(at);
            let before = self.digest_of(at, path);
            self.nodes[at].set_children_changed(cversion, zxid);
            let after = self.digest_of(at, path);
            self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        }
    }

    /// Deletes a node.
    ///
    /// # Errors
    /// `NoNode` without a parent; `NoNode` without the node itself and `NotEmpty` with children
    /// (then the parent's `pzxid` has moved, as in Apache). Both happen only in the replay of a
    /// fuzzy snapshot that is ahead of the log.
    pub fn delete(&mut self, path: &[u8], zxid: Zxid) -> Result<(), Code> {
        let (parent_path, name) = path::split(path).ok_or(Code::BadArguments)?;
        let parent = self.find(parent_path).ok_or(Code::NoNode)?;
        if name.is_empty() {
            // The root is nobody's child.
            return Err(Code::BadArguments);
        }
        self.preserve(parent);
        if zxid > self.nodes[parent].pzxid() {
            let before = self.digest_of(parent, parent_path);
            let cversion = self.nodes[parent].cversion();
            self.nodes[parent].set_children_changed(cversion, zxid);
            let after = self.digest_of(parent, parent_path);
            self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        }
        let at = self.find(path).ok_or(Code::NoNode)?;
        if self.child_count(at) > 0 {
            return Err(Code::NotEmpty);
        }
        self.preserve(at);
        let len = self.nodes[at].data_len().unwrap_or(0);
        self.detach(path, at);
        self.quota_deleted(path, len);
        Ok(())
    }

    /// Replaces a node's data.
    ///
    /// # Errors
    /// `NoNode`, or [`Failure::Full`].
    pub fn set_data(
        &mut self,
        path: &[u8],
        data: Option<&[u8]>,
        version: i32,
        zxid: Zxid,
        time: i64,
    ) -> Result<Handle, Failure> {
        let at = self.find(path).ok_or(Code::NoNode)?;
        self.preserve(at);
        let before = self.digest_of(at, path);
        let old = self.nodes[at].data_len().unwrap_or(0);
        self.store(at, data)?;
        let mut stat = self.nodes[at].stat();
        stat.version = version;
        stat.mzxid = zxid;
        stat.mtime = time;
        self.nodes[at].set_stat(&stat);
        let after = self.digest_of(at, path);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        self.quota_changed(path, data.map_or(0, <[u8]>::len) as i64 - old as i64, 0);
        Ok(at)
    }

    /// Replaces the bytes of a node's data and nothing else.
    fn store(&mut self, at: Handle, data: Option<&[u8]>) -> Result<(), Full> {
        let node = self.nodes[at];
        let mut changed = node;
        if !changed.set_lens(node.name_len(), data.map(<[u8]>::len)) {
            return Err(Full);
        }
        changed.blob = self.cells.replace(
            node.blob,
            node.blob_len(),
            node.name_len(),
            data.unwrap_or_default(),
        )?;
        self.nodes[at] = changed;
        self.data_size = (self.data_size + data.map_or(0, <[u8]>::len) as u64)
            .saturating_sub(node.data_len().unwrap_or(0) as u64);
        Ok(())
    }

    /// Replaces a node's access control list.
    ///
    /// # Errors
    /// `NoNode`, or [`Failure::Full`].
    pub fn set_acl(
        &mut self,
        path: &[u8],
        acl: List<'_, Acl<'_>>,
        aversion: i32,
    ) -> Result<Handle, Failure> {
        let at = self.find(path).ok_or(Code::NoNode)?;
        self.preserve(at);
        let before = self.digest_of(at, path);
        let new = self.acls.acquire(&mut self.cells, acl)?;
        let old = self.nodes[at].acl();
        self.nodes[at].set_acl(new);
        self.acls.release(&mut self.cells, old);
        let mut stat = self.nodes[at].stat();
        stat.aversion = aversion;
        self.nodes[at].set_stat(&stat);
        let after = self.digest_of(at, path);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        Ok(at)
    }

    // Reaping.

    /// Looks at up to `steps` entries from number `from` for a container or TTL node that is due
    /// at wall time `now`: empty, and once used, or unchanged for its time (`never_used` ms for a
    /// container without any child yet; 0: never). Answers the node found, and where to go on
    /// (`None`: at the end).
    ///
    /// Answers to `ContainerManager.getCandidates`.
    pub fn reapable(
        &self,
        from: usize,
        steps: usize,
        now: i64,
        never_used: i64,
    ) -> (Option<Handle>, Option<usize>) {
        let end = self.nodes.used();
        for number in from..end.min(from.saturating_add(steps)) {
            let Ok(at) = Handle::try_from(number) else { break };
            let Some(node) = self.nodes.get(at) else { continue };
            let age = now.saturating_sub(node.mtime());
            let due = match self.owner(at) {
                Owner::Container => {
                    self.child_count(at) == 0
                        && (node.cversion() > 0 || (never_used != 0 && age > never_used))
                }
                Owner::Ttl(ttl) => self.child_count(at) == 0 && age > ttl,
                _ => false,
            };
            if due {
                return (Some(at), Some(number + 1));
            }
        }
        let next = from.saturating_add(steps);
        (None, (next < end).then_some(next))
    }
}
