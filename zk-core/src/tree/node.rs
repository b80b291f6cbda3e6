//! A znode as it is stored: 96 bytes, or 80 with 16-bit handles.

use crate::id::Zxid;
use crate::memory::{Chain, Entry, Handle, NIL};
use crate::wire::file::StatPersisted;

/// `data_len` of a node whose data is null.
const NULL: Handle = Handle::MAX;

/// The parent of a vacant entry.
const VACANT: Handle = NIL - 1;

/// The bit of `acl` that tells snapshots which nodes they have written.
const MARK: Handle = !(NIL >> 1);

/// A znode. Name and data lie in one chain of cells, the name first.
///
/// Siblings are a doubly linked list. An ephemeral node has no children, so the links to them serve
/// the list of its session's ephemeral nodes.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    czxid: Zxid,
    mzxid: Zxid,
    pzxid: Zxid,
    ctime: i64,
    mtime: i64,
    owner: i64,
    version: i32,
    cversion: i32,
    aversion: i32,
    pub(super) parent: Handle,
    /// First child; of an ephemeral node the next of its session.
    pub(super) first: Handle,
    /// Number of children; of an ephemeral node the previous of its session.
    pub(super) count: Handle,
    pub(super) next: Handle,
    pub(super) prev: Handle,
    pub(super) blob: Handle,
    name_len: Handle,
    data_len: Handle,
    acl: Handle,
}

impl Node {
    /// An entry of a lent table, before first use.
    pub const EMPTY: Self = Self {
        czxid: Zxid::ZERO,
        mzxid: Zxid::ZERO,
        pzxid: Zxid::ZERO,
        ctime: 0,
        mtime: 0,
        owner: 0,
        version: 0,
        cversion: 0,
        aversion: 0,
        parent: VACANT,
        first: NIL,
        count: 0,
        next: NIL,
        prev: NIL,
        blob: NIL,
        name_len: 0,
        data_len: NULL,
        acl: super::acl::NO_ACL,
    };

    /// When it was made, or its data last changed.
    pub(super) fn last_change(&self) -> i64 {
        self.ctime.max(self.mtime)
    }

    pub(super) fn new(stat: &StatPersisted, parent: Handle, acl: Handle, mark: bool) -> Self {
        let mut node = Self { parent, ..Self::EMPTY };
        node.set_stat(stat);
        node.set_acl(acl);
        node.set_mark(mark);
        node
    }

    /// The stored metadata.
    pub fn stat(&self) -> StatPersisted {
        StatPersisted {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion,
            aversion: self.aversion,
            ephemeral_owner: self.owner,
            pzxid: self.pzxid,
        }
    }

    pub(super) fn set_stat(&mut self, stat: &StatPersisted) {
        self.czxid = stat.czxid;
        self.mzxid = stat.mzxid;
        self.ctime = stat.ctime;
        self.mtime = stat.mtime;
        self.version = stat.version;
        self.cversion = stat.cversion;
        self.aversion = stat.aversion;
        self.owner = stat.ephemeral_owner;
        self.pzxid = stat.pzxid;
    }

    /// The stored owner.
    pub fn owner(&self) -> i64 {
        self.owner
    }

    pub(super) fn mtime(&self) -> i64 {
        self.mtime
    }

    pub(super) fn cversion(&self) -> i32 {
        self.cversion
    }

    pub(super) fn pzxid(&self) -> Zxid {
        self.pzxid
    }

    pub(super) fn name_len(&self) -> usize {
        self.name_len as usize
    }

    /// Length of the data, `None` for null.
    pub fn data_len(&self) -> Option<usize> {
        (self.data_len != NULL).then_some(self.data_len as usize)
    }

    /// Name and data.
    pub(super) fn blob(&self) -> Chain {
        Chain { head: self.blob, len: self.name_len() + self.data_len().unwrap_or(0) }
    }

    /// `false` if the lengths are beyond what a handle can say.
    #[must_use]
    pub(super) fn set_lens(&mut self, name: usize, data: Option<usize>) -> bool {
        let data = match data {
            None => Ok(NULL),
            Some(len) => Handle::try_from(len)
                .map_err(|_| ())
                .and_then(|len| if len == NULL { Err(()) } else { Ok(len) }),
        };
        let (Ok(name), Ok(data)) = (Handle::try_from(name), data) else { return false };
        self.name_len = name;
        self.data_len = data;
        true
    }

    pub(super) fn acl(&self) -> Handle {
        self.acl & !MARK
    }

    pub(super) fn set_acl(&mut self, acl: Handle) {
        self.acl = (self.acl & MARK) | (acl & !MARK);
    }

    pub(super) fn mark(&self) -> bool {
        self.acl & MARK != 0
    }

    pub(super) fn set_mark(&mut self, mark: bool) {
        self.acl = (self.acl & !MARK) | if mark { MARK } else { 0 };
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Entry for Node {
    fn vacate(&mut self, next: Handle) {
        *self = Self { next, ..Self::EMPTY };
    }

    fn vacant(&self) -> Option<Handle> {
        (self.parent == VACANT).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_small() {
        let expected = if Handle::BITS == 16 { 80 } else { 96 };
        assert_eq!(size_of::<Node>(), expected);
    }

    #[test]
    fn the_mark_does_not_touch_the_acl() {
        let mut node = Node::EMPTY;
        node.set_acl(5);
        node.set_mark(true);
        assert_eq!((node.acl(), node.mark()), (5, true));
        node.set_acl(super::super::acl::NO_ACL);
        node.set_mark(false);
        assert_eq!((node.acl(), node.mark()), (super::super::acl::NO_ACL, false));
    }
}
