//! Uncommitted changes: what nodes will be once the proposed transactions are applied.
//!
//! The leader validates each request against this view. A path has at most one entry, that of its
//! latest change; entries go when that change is applied. A session whose closeSession is proposed
//! is a mark in the table of sessions: its nodes count as gone, without an entry for each. Answers to
//! `ZooKeeperServer.outstandingChanges`.

use crate::id::Zxid;
use crate::memory::{Cell, Cells, Chain, Entry, Full, Handle, Index, NIL, Slab, Table};
use crate::session::Sessions;
use crate::tree::digest::Crc;
use crate::tree::{DataTree, NO_ACL, Owner, Seeds};
use crate::wire::file::StatPersisted;

/// A node as it will be.
#[derive(Clone, Copy, Debug)]
pub struct NodeState {
    /// Whether there is a node at all.
    pub exists: bool,
    /// Its stored metadata.
    pub stat: StatPersisted,
    /// Number of its children.
    pub children: u32,
    /// Bytes of its data.
    pub data_len: usize,
    /// CRC of its path and data, from which its digest follows.
    pub content: Crc,
    /// Its access control list in the tree's table.
    pub acl: Handle,
}

impl NodeState {
    /// No node.
    pub const GONE: Self = Self {
        exists: false,
        stat: StatPersisted {
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            pzxid: Zxid::ZERO,
        },
        children: 0,
        data_len: 0,
        content: Crc::START,
        acl: NO_ACL,
    };
}

/// The latest change of a path.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    zxid: Zxid,
    path: Handle,
    /// Bytes of the path, or `VACANT`, or `KEPT_LIST`.
    path_len: u32,
    hash: Handle,
    /// Neighbours in order of zxid.
    older: Handle,
    newer: Handle,
    state: NodeState,
}

const VACANT: u32 = u32::MAX;

/// `path_len` of an entry that only keeps a list: of a state that a later request has replaced, but
/// whose transaction is not applied. When it is, the list must still be there, since its room was
/// not reserved twice.
const KEPT_LIST: u32 = u32::MAX - 1;

impl Change {
    /// An entry of a lent table, before first use.
    pub const EMPTY: Self = Self {
        zxid: Zxid::ZERO,
        path: NIL,
        path_len: VACANT,
        hash: 0,
        older: NIL,
        newer: NIL,
        state: NodeState::GONE,
    };

    fn path(&self) -> Chain {
        Chain { head: self.path, len: self.path_len as usize }
    }
}

impl Default for Change {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Entry for Change {
    fn vacate(&mut self, next: Handle) {
        *self = Self { newer: next, ..Self::EMPTY };
    }

    fn vacant(&self) -> Option<Handle> {
        (self.path_len == VACANT).then_some(self.newer)
    }
}

/// How to take a change back: what the entry was before.
#[derive(Clone, Copy, Debug)]
pub struct Undo {
    at: Handle,
    /// `None`: there was no entry.
    before: Option<Before>,
}

/// An entry as it was, and the one that it stood behind.
#[derive(Clone, Copy, Debug)]
struct Before {
    zxid: Zxid,
    state: NodeState,
    older: Handle,
}

impl Default for Undo {
    fn default() -> Self {
        Self { at: NIL, before: None }
    }
}

/// Storage of uncommitted changes.
#[derive(Debug)]
pub struct Storage<'m> {
    /// One for each path that changes.
    pub changes: Table<'m, Change>,
    /// Slots for them.
    pub slots: Index<'m>,
    /// Their paths.
    pub cells: Table<'m, Cell>,
    /// One for each change of the largest multi.
    pub undo: Table<'m, Undo>,
}

#[cfg(feature = "alloc")]
impl Storage<'_> {
    /// Storage that allocates as it grows.
    pub const fn owned(changes: usize, cells: usize, undo: usize) -> Self {
        Self {
            changes: Table::owned(changes),
            slots: Index::owned(changes),
            cells: Table::owned(cells),
            undo: Table::owned(undo),
        }
    }
}

/// All uncommitted changes.
#[derive(Debug)]
pub struct Changes<'m> {
    changes: Slab<'m, Change>,
    index: Index<'m>,
    cells: Cells<'m>,
    undo: Table<'m, Undo>,
    undo_len: usize,
    oldest: Handle,
    newest: Handle,
    seeds: Seeds,
    /// The tree's digest once everything proposed is applied, and before the current request.
    digest: u64,
    digest_before: u64,
    /// Bytes of the longest path that there was since there was none.
    longest: usize,
}

impl<'m> Changes<'m> {
    /// No changes to that tree.
    pub fn new(storage: Storage<'m>, seeds: Seeds, tree: &DataTree<'_>) -> Self {
        Self {
            changes: Slab::new(storage.changes),
            index: storage.slots,
            cells: Cells::new(storage.cells),
            undo: storage.undo,
            undo_len: 0,
            oldest: NIL,
            newest: NIL,
            seeds,
            digest: tree.digest() as u64,
            digest_before: 0,
            longest: 0,
        }
    }

    /// Forgets all changes; the tree is as it is.
    pub fn reset(&mut self, tree: &mut DataTree<'_>) {
        while self.oldest != NIL {
            self.drop_entry(tree, self.oldest);
        }
        self.undo_len = 0;
        self.digest = tree.digest() as u64;
    }

    /// Paths that change, and lists that are kept for changes that were changed again.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The tree's digest once everything proposed is applied.
    pub fn digest(&self) -> i64 {
        self.digest as i64
    }

    /// Bytes of a room that the path of any entry fits.
    pub fn longest_path(&self) -> usize {
        self.longest
    }

    /// Adds to the digest to come.
    pub fn add_digest(&mut self, digest: u64) {
        self.digest = self.digest.wrapping_add(digest);
    }

    /// Takes from the digest to come.
    pub fn sub_digest(&mut self, digest: u64) {
        self.digest = self.digest.wrapping_sub(digest);
    }

    fn find(&self, hash: Handle, path: &[u8]) -> Option<Handle> {
        self.index.find(hash, |at| {
            let change = &self.changes[at];
            change.path_len as usize == path.len() && self.cells.equal(change.path(), 0, path)
        })
    }

    /// The node at `path` as it will be, `None` if there will be none.
    pub fn state(
        &self,
        tree: &DataTree<'_>,
        sessions: &Sessions<'_>,
        path: &[u8],
    ) -> Option<NodeState> {
        // The root has one entry, whichever way it is written.
        let path = if path == b"/" { b"" } else { path };
        let state = match self.find(self.seeds.hash(path), path) {
            Some(at) => self.changes[at].state,
            None => {
                let at = tree.find(path)?;
                NodeState {
                    exists: true,
                    stat: tree.node(at).stat(),
                    children: tree.child_count(at) as u32,
                    data_len: tree.node(at).data_len().unwrap_or(0),
                    content: tree.content(at, path),
                    acl: tree.acl_of(at),
                }
            }
        };
        let owner = tree.owner_of(&state.stat);
        let leaving = matches!(owner, Owner::Session(id) if sessions.is_closing(id));
        (state.exists && !leaving).then_some(state)
    }

    /// Whether a transaction that changes `paths` paths can still be proposed.
    pub fn has_room(&self, paths: usize, path_len: usize) -> bool {
        self.changes.len() + paths <= self.changes.ceiling().min(self.index.ceiling())
            && Cells::needed(path_len) * paths <= self.cells.available()
    }

    /// Says what the node at `path` will be after `zxid`. A reference to `state.acl` is taken.
    ///
    /// # Errors
    /// [`Full`]; the caller rolls the request back.
    pub fn put(
        &mut self,
        tree: &mut DataTree<'_>,
        path: &[u8],
        zxid: Zxid,
        state: NodeState,
    ) -> Result<(), Full> {
        let path = if path == b"/" { b"" } else { path };
        let hash = self.seeds.hash(path);
        let (at, before) = match self.find(hash, path) {
            Some(at) => {
                let replaced = self.changes[at].state;
                if replaced.acl != NO_ACL && replaced.acl != state.acl {
                    self.keep_list(tree, zxid, replaced.acl)?;
                }
                if !self.undo.reach(self.undo_len + 1) {
                    return Err(Full);
                }
                // The entry's own reference to its list goes to the undo record.
                let Change { zxid, older, .. } = self.changes[at];
                self.unlink(at);
                (at, Some(Before { zxid, state: replaced, older }))
            }
            None => {
                if !self.undo.reach(self.undo_len + 1) {
                    return Err(Full);
                }
                self.longest = path.len().max(if self.is_empty() { 0 } else { self.longest });
                let blob = self.cells.insert(&[path])?;
                let path_len = u32::try_from(path.len()).map_err(|_| Full)?;
                let change = Change { path: blob, path_len, hash, ..Change::EMPTY };
                let at = self
                    .changes
                    .insert(change)
                    .and_then(|at| {
                        self.index.insert(hash, at).inspect_err(|_| self.changes.remove(at))?;
                        Ok(at)
                    })
                    .inspect_err(|_| self.cells.remove(Chain { head: blob, len: path.len() }))?;
                (at, None)
            }
        };
        tree.share_acl(state.acl);
        let change = &mut self.changes[at];
        change.zxid = zxid;
        change.state = state;
        self.link_newest(at);
        self.undo[self.undo_len] = Undo { at, before };
        self.undo_len += 1;
        Ok(())
    }

    /// Keeps a list until `zxid` is applied.
    fn keep_list(&mut self, tree: &mut DataTree<'_>, zxid: Zxid, acl: Handle) -> Result<(), Full> {
        if !self.undo.reach(self.undo_len + 1) {
            return Err(Full);
        }
        let state = NodeState { acl, ..NodeState::GONE };
        let at =
            self.changes.insert(Change { zxid, path_len: KEPT_LIST, state, ..Change::EMPTY })?;
        tree.share_acl(acl);
        self.link_newest(at);
        self.undo[self.undo_len] = Undo { at, before: None };
        self.undo_len += 1;
        Ok(())
    }

    fn link_newest(&mut self, at: Handle) {
        self.link_behind(at, self.newest);
    }

    fn unlink(&mut self, at: Handle) {
        let Change { older, newer, .. } = self.changes[at];
        if older == NIL {
            self.oldest = newer;
        } else {
            self.changes[older].newer = newer;
        }
        if newer == NIL {
            self.newest = older;
        } else {
            self.changes[newer].older = older;
        }
    }

    fn drop_entry(&mut self, tree: &mut DataTree<'_>, at: Handle) {
        self.unlink(at);
        let change = self.changes[at];
        tree.release_acl(change.state.acl);
        if change.path_len != KEPT_LIST {
            self.index.remove(change.hash, at);
            self.cells.remove(change.path());
        }
        self.changes.remove(at);
    }

    /// Begins a request: from here on, changes can be rolled back.
    pub fn begin(&mut self) {
        self.undo_len = 0;
        self.digest_before = self.digest;
    }

    /// Takes back everything since [`begin`](Self::begin).
    pub fn roll_back(&mut self, tree: &mut DataTree<'_>) {
        while self.undo_len > 0 {
            self.undo_len -= 1;
            let Undo { at, before } = self.undo[self.undo_len];
            match before {
                None => self.drop_entry(tree, at),
                Some(Before { zxid, state, older }) => {
                    self.unlink(at);
                    tree.release_acl(self.changes[at].state.acl);
                    let change = &mut self.changes[at];
                    change.zxid = zxid;
                    change.state = state;
                    // Everything that came later is taken back already: its neighbours are those of
                    // then.
                    self.link_behind(at, older);
                }
            }
        }
        self.digest = self.digest_before;
    }

    fn link_behind(&mut self, at: Handle, older: Handle) {
        let newer = if older == NIL { self.oldest } else { self.changes[older].newer };
        let change = &mut self.changes[at];
        change.older = older;
        change.newer = newer;
        if older == NIL {
            self.oldest = at;
        } else {
            self.changes[older].newer = at;
        }
        if newer == NIL {
            self.newest = at;
        } else {
            self.changes[newer].older = at;
        }
    }

    /// Ends a request: its changes stand.
    pub fn commit(&mut self, tree: &mut DataTree<'_>) {
        while self.undo_len > 0 {
            self.undo_len -= 1;
            if let Some(Before { state, .. }) = self.undo[self.undo_len].before {
                tree.release_acl(state.acl);
            }
        }
    }

    /// Drops the changes that are applied.
    pub fn applied(&mut self, tree: &mut DataTree<'_>, zxid: Zxid) {
        while self.oldest != NIL && self.changes[self.oldest].zxid <= zxid {
            self.drop_entry(tree, self.oldest);
        }
    }

    /// The first entry from number `from` on of a node that will exist and has that owner: its
    /// number, and the length of its path, which is copied into `room`.
    pub fn next_owned(&self, owner: Owner, from: usize, room: &mut [u8]) -> Option<(usize, usize)> {
        (from..self.changes.used()).find_map(|number| {
            let change = self.changes.get(Handle::try_from(number).ok()?)?;
            if !change.state.exists || change.state.stat.ephemeral_owner != owner.raw() {
                return None;
            }
            let place = room.get_mut(..change.path_len as usize)?;
            Some((number, self.cells.copy(change.path(), 0, place)))
        })
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::tree;

    /// The entries, oldest first, seen from both ends.
    fn order(changes: &Changes<'_>) -> Vec<(Zxid, i32, Handle)> {
        let mut list = Vec::new();
        let mut at = changes.oldest;
        while at != NIL {
            let Change { zxid, state, newer, .. } = changes.changes[at];
            list.push((zxid, state.stat.version, at));
            at = newer;
        }
        let mut back = Vec::new();
        let mut at = changes.newest;
        while at != NIL {
            back.push(at);
            at = changes.changes[at].older;
        }
        assert!(back.iter().rev().eq(list.iter().map(|(_, _, at)| at)));
        list
    }

    proptest! {
        #[test]
        fn what_is_rolled_back_was_never_there(
            requests in proptest::collection::vec(
                (proptest::collection::vec(0..8u8, 0..12), any::<bool>()),
                0..20,
            ),
        ) {
            let seeds = Seeds(1, 2);
            let ceilings =
                tree::Ceilings { nodes: 100, cells: 100, acls: 10, owners: 1, ..Default::default() };
            let mut tree = DataTree::new(tree::Storage::owned(ceilings), seeds, false).unwrap();
            let mut changes = Changes::new(Storage::owned(50, 200, 50), seeds, &tree);
            let mut version = 0;
            for (number, (paths, stands)) in requests.iter().enumerate() {
                let before = order(&changes);
                changes.begin();
                for &path in paths {
                    version += 1;
                    let stat = StatPersisted { version, ..StatPersisted::default() };
                    let state = NodeState { exists: true, stat, ..NodeState::GONE };
                    changes.put(&mut tree, &[b'/', path], Zxid(number as i64), state).unwrap();
                }
                if *stands {
                    changes.commit(&mut tree);
                } else {
                    changes.roll_back(&mut tree);
                    prop_assert_eq!(order(&changes), before);
                }
            }
        }
    }
}
