//! Changes: creations, deletions, data, access control lists.

use super::count::Sum;
use super::digest;
use super::{DataTree, Failure, Node, Owner, path, quota};
use crate::id::{SessionId, Zxid};
use crate::memory::{Full, Handle, NIL};
use crate::wire::Code;
use crate::wire::client::Acl;
use crate::wire::file::StatPersisted;
use crate::wire::jute::List;

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

impl DataTree<'_> {
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

    /// A session without ephemeral nodes has ended.
    pub fn session_ended(&mut self, session: SessionId) {
        self.owners.dismiss(session);
    }

    /// Puts a node into the tree, below `parent`, without touching the parent's stat.
    pub(super) fn attach(
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
        // Everything that can be full is asked before anything is taken.
        if self.nodes.len() >= self.nodes.ceiling() || self.index.len() >= self.index.ceiling() {
            return Err(Full);
        }
        // The configuration's text is none of them.
        let counted = if path == path::CONFIG { None } else { data };
        let more = path.len() + counted.map_or(0, <[u8]>::len);
        if more > self.bytes.saturating_sub(self.bytes_used()) {
            return Err(Full);
        }
        if let Owner::Session(session) = owner {
            self.owners.admit(session)?;
        }
        node.blob = self.cells.insert(&[name, data.unwrap_or_default()]).inspect_err(|_| {
            if let Owner::Session(session) = owner {
                self.owners.dismiss(session);
            }
        })?;
        let at = self.nodes.insert(node)?;
        if parent == NIL {
            self.root = at;
        } else {
            self.index.insert(self.seeds.hash(path), at)?;
            let first = self.nodes[parent].first;
            self.nodes[at].next = first;
            if first != NIL {
                self.nodes[first].prev = at;
            }
            self.nodes[parent].first = at;
            self.nodes[parent].count += 1;
            self.listing.born(at, parent);
        }
        self.count_born(at);
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
        self.digest = self.digest.wrapping_add(self.digest_with(at, path, data));
        if quota::is_limit(path) {
            self.limits += 1;
        }
        Ok(at)
    }

    /// Takes a node without children out of the tree.
    fn detach(&mut self, path: &[u8], at: Handle) {
        self.tell_before(at);
        self.count_gone(at);
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
        self.cells.remove(node.blob());
        self.nodes.remove(at);
    }

    /// Creates a node.
    ///
    /// # Errors
    /// `BadArguments` for a path that no node can have and `NoChildrenForEphemerals` (both of which
    /// a leader refuses before), `NoNode` without a parent, `NodeExists` (then the node has the new
    /// list, as in Apache, where a replay depends on it), or [`Failure::Full`].
    pub fn create(&mut self, new: &NewNode<'_>) -> Result<Handle, Failure> {
        let (parent_path, _) = path::place(new.path).ok_or(Code::BadArguments)?;
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
            self.set_children_changed(parent, parent_path, cversion, new.zxid);
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
            self.set_children_changed(at, path, cversion, zxid);
        }
    }

    /// Deletes a node.
    ///
    /// # Errors
    /// `BadArguments` for the root and for a path that no node can have; `NoNode` without a parent;
    /// `NoNode` without the node itself and `NotEmpty` with children
    /// (then the parent's `pzxid` has moved, as in Apache). Both happen only in the replay of a
    /// fuzzy snapshot that is ahead of the log.
    pub fn delete(&mut self, path: &[u8], zxid: Zxid) -> Result<(), Code> {
        let (parent_path, _) = path::place(path).ok_or(Code::BadArguments)?;
        let parent = self.find(parent_path).ok_or(Code::NoNode)?;
        self.preserve(parent);
        if zxid > self.nodes[parent].pzxid() {
            let cversion = self.nodes[parent].cversion();
            self.set_children_changed(parent, parent_path, cversion, zxid);
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
        self.count_quit(at);
        self.preserve(at);
        let before = self.digest_of(at, path);
        let old = self.nodes[at].data_len().unwrap_or(0);
        self.store(at, data)?;
        let mut stat = self.nodes[at].stat();
        stat.version = version;
        stat.mzxid = zxid;
        stat.mtime = time;
        self.nodes[at].set_stat(&stat);
        let after = self.digest_with(at, path, data);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        self.quota_changed(path, data.map_or(0, <[u8]>::len) as i64 - old as i64, 0);
        Ok(at)
    }

    /// Replaces the bytes of a node's data and nothing else.
    pub(super) fn store(&mut self, at: Handle, data: Option<&[u8]>) -> Result<(), Full> {
        let node = self.nodes[at];
        let mut changed = node;
        if !changed.set_lens(node.name_len(), data.map(<[u8]>::len)) {
            return Err(Full);
        }
        changed.blob =
            self.cells.replace(node.blob(), node.name_len(), data.unwrap_or_default())?;
        let bytes = changed.blob().len as i64 - node.blob().len as i64;
        self.count_change(at, Sum { count: 0, bytes });
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
        let new = self.acls.acquire(&mut self.cells, acl)?;
        let old = self.nodes[at].acl();
        self.nodes[at].set_acl(new);
        self.acls.release(&mut self.cells, old);
        let mut stat = self.nodes[at].stat();
        stat.aversion = aversion;
        self.set_stat(at, path, &stat);
        Ok(at)
    }

    fn set_children_changed(&mut self, at: Handle, path: &[u8], cversion: i32, pzxid: Zxid) {
        let stat = StatPersisted { cversion, pzxid, ..self.nodes[at].stat() };
        self.set_stat(at, path, &stat);
    }

    /// Changes a node's metadata, and nothing of its data.
    fn set_stat(&mut self, at: Handle, path: &[u8], stat: &StatPersisted) {
        if path::is_digested(path) {
            let content = self.content(at, path);
            let before = digest::of_node(content, &self.nodes[at].stat());
            let after = digest::of_node(content, stat);
            self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        }
        self.nodes[at].set_stat(stat);
    }

    /// The digest of a node that was just given `data`, from where it still lies in one piece.
    fn digest_with(&self, at: Handle, path: &[u8], data: Option<&[u8]>) -> u64 {
        if path::is_digested(path) {
            let content = self.path_crc(at, path).update(data.unwrap_or_default());
            digest::of_node(content, &self.nodes[at].stat())
        } else {
            0
        }
    }
}
