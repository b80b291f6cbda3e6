//! A tiny profile of capacity, in memory that the test lends.

use core::array::from_fn;

use zk_core::memory::{Cell, Index, Slot, Table, Unit};
use zk_core::tree::{AclEntry, DataTree, Node, OwnerEntry, Seeds, Storage, listing};
use zk_core::wire::client::{Acl, OPEN_ACL_UNSAFE};
use zk_core::wire::jute::List;

/// Znodes that fit, those of a new server included.
pub(crate) const NODES: usize = 24;

/// Memory of one tree.
pub(crate) struct Profile {
    nodes: [Node; NODES],
    paths: [Slot; 32],
    cells: [Cell; 64],
    acls: [AclEntry; 4],
    acl_contents: [Slot; 8],
    acl_numbers: [Slot; 8],
    owners: [OwnerEntry; 4],
    owner_sessions: [Slot; 8],
    snapshot: [u8; 1024],
}

impl Profile {
    pub(crate) fn new() -> Self {
        Self {
            nodes: from_fn(|_| Node::default()),
            paths: [0; 32],
            cells: from_fn(|_| Cell::default()),
            acls: from_fn(|_| AclEntry::default()),
            acl_contents: [0; 8],
            acl_numbers: [0; 8],
            owners: from_fn(|_| OwnerEntry::default()),
            owner_sessions: [0; 8],
            snapshot: [0; 1024],
        }
    }

    /// The tree of a new server.
    pub(crate) fn tree(&mut self) -> DataTree<'_> {
        let storage = Storage {
            nodes: Table::lent(&mut self.nodes),
            paths: Index::lent(&mut self.paths),
            cells: Table::lent(&mut self.cells),
            unit: Unit::OWN,
            kept: 0,
            bytes: usize::MAX,
            lists: usize::MAX,
            acls: Table::lent(&mut self.acls),
            acl_contents: Index::lent(&mut self.acl_contents),
            acl_numbers: Index::lent(&mut self.acl_numbers),
            owners: Table::lent(&mut self.owners),
            owner_sessions: Index::lent(&mut self.owner_sessions),
            snapshot: Table::lent(&mut self.snapshot),
            listing: listing::Storage::default(),
        };
        DataTree::new(storage, Seeds(1, 2), true).expect("an empty tree fits")
    }
}

/// `[ALL, world:anyone]`, encoded into `room`.
pub(crate) fn open_acl(room: &mut [u8; 64]) -> List<'_, Acl<'_>> {
    List::encode(&[OPEN_ACL_UNSAFE], room).expect("one entry fits 64 bytes")
}
