//! Finding nodes, and what is asked of them.

use super::digest::{self, Crc};
use super::{DataTree, NO_ACL, Node, Owner, path};
use crate::id::SessionId;
use crate::memory::{Chunks, Full, Handle, NIL};
use crate::wire::client::{Acl, Id, Stat};
use crate::wire::file::StatPersisted;
use crate::wire::jute::{self, List, Sink};

impl DataTree<'_> {
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
    pub(super) fn is_below(&self, at: Handle, path: &[u8], top: Handle) -> bool {
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
            if name[0] != b'/' || !self.cells.equal(node.blob(), 0, &name[1..]) {
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

    /// When the latest change that any node shows was made, ms since 1970; 0 if none shows one.
    pub fn last_change(&self) -> i64 {
        let nodes = (0..self.nodes.used()).filter_map(|at| self.nodes.get(at as Handle));
        nodes.map(Node::last_change).max().unwrap_or(0)
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
        self.owner_from(self.nodes[at].owner())
    }

    /// What kind of node has such stored metadata.
    pub fn owner_of(&self, stat: &StatPersisted) -> Owner {
        self.owner_from(stat.ephemeral_owner)
    }

    fn owner_from(&self, stored: i64) -> Owner {
        // What could not be read was never let in.
        Owner::read(stored, self.extended_types).unwrap_or(Owner::Nobody)
    }

    pub(super) fn is_ephemeral(&self, at: Handle) -> bool {
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
        Some((len, self.cells.chunks(node.blob(), node.name_len(), len)))
    }

    /// Copies the node's data into the start of `room`. `None` for null, and if it does not fit.
    pub fn copy_data<'r>(&self, at: Handle, room: &'r mut [u8]) -> Option<&'r [u8]> {
        let node = &self.nodes[at];
        let place = room.get_mut(..node.data_len()?)?;
        self.cells.copy(node.blob(), node.name_len(), place);
        Some(place)
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
                self.cells.put(node.blob(), node.name_len(), len, sink)
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
        self.cells.put(node.blob(), 0, node.name_len(), sink)
    }

    /// Visits every node below `top`, parents first, until `visit` answers `None`.
    pub(super) fn walk(
        &self,
        top: Handle,
        mut visit: impl FnMut(Handle) -> Option<()>,
    ) -> Option<()> {
        let Some(mut at) = self.children(top).next() else { return Some(()) };
        loop {
            visit(at)?;
            if let Some(first) = self.children(at).next() {
                at = first;
                continue;
            }
            while self.nodes[at].next == NIL {
                at = self.nodes[at].parent;
                if at == top {
                    return Some(());
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
            self.cells.copy(node.blob(), 0, name);
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

    /// Sessions that own, or have owned, ephemeral nodes.
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

    /// The CRC of the node's path and data, to which its stat is added for its digest.
    pub fn content(&self, at: Handle, path: &[u8]) -> Crc {
        let crc = self.path_crc(at, path);
        match self.data(at) {
            Some((_, chunks)) => crc.update_pieces(chunks),
            None => crc,
        }
    }

    /// Its beginning.
    pub(super) fn path_crc(&self, at: Handle, path: &[u8]) -> Crc {
        // The root counts under its empty name, however it was addressed.
        Crc::START.update(if at == self.root { b"" } else { path })
    }

    /// Sums up the digests of all nodes anew: the tree's digest from now on. `scratch` must hold the
    /// longest path.
    pub fn recount_digest(&mut self, scratch: &mut [u8]) -> i64 {
        let mut sum = 0u64;
        for at in 0..self.nodes.used() {
            let Ok(at) = Handle::try_from(at) else { break };
            if self.nodes.get(at).is_some()
                && let Some(path) = self.path_of(at, scratch)
            {
                sum = sum.wrapping_add(self.digest_of(at, path));
            }
        }
        self.digest = sum;
        self.digest()
    }

    /// Makes the sum wrong.
    #[cfg(test)]
    pub(crate) fn spoil_digest(&mut self) {
        self.digest = self.digest.wrapping_add(1);
    }

    pub(super) fn digest_of(&self, at: Handle, path: &[u8]) -> u64 {
        if path::is_digested(path) {
            digest::of_node(self.content(at, path), &self.nodes[at].stat())
        } else {
            0
        }
    }
}
