//! Where a tree's nodes, names, data and lists lie.

use super::{AclEntry, Node, OwnerEntry, listing};
use crate::memory::{Cell, Index, NIL, Slot, Table, Unit};

/// Bytes of names that a list of children may have missed between two slices; past it, it is begun
/// again.
#[cfg(feature = "alloc")]
const MISSED: usize = 16 << 20;

/// Storage of a tree. How many there are of each is the tree's capacity.
#[derive(Debug)]
pub struct Storage<'m> {
    /// One for each node.
    pub nodes: Table<'m, Node>,
    /// Slots for paths: at least 8/7 of the nodes.
    pub paths: Index<'m>,
    /// Names, data and access control lists.
    pub cells: Table<'m, Cell>,
    /// What cells are counted in: what others in the ensemble have, if that is smaller.
    pub unit: Unit,
    /// [Cells](super::config_cells) that are kept for `/zookeeper/config`. Its text is each server's own:
    /// without these, servers that hold as much would have room for different amounts of all else.
    pub kept: usize,
    /// Bytes of whole paths, data and lists, without the text of `/zookeeper/config`.
    pub bytes: usize,
    /// Bytes of lists: as many as a snapshot [can begin with](super::snapshot::lists).
    pub lists: usize,
    /// One for each distinct access control list.
    pub acls: Table<'m, AclEntry>,
    /// Slots for lists by content.
    pub acl_contents: Index<'m>,
    /// Slots for lists by number.
    pub acl_numbers: Index<'m>,
    /// One for each session that has, or had, ephemeral nodes.
    pub owners: Table<'m, OwnerEntry>,
    /// Slots for those sessions.
    pub owner_sessions: Index<'m>,
    /// What a snapshot has said and the disk has not taken yet.
    pub snapshot: Table<'m, u8>,
    /// Of the list of children that is being told.
    pub listing: listing::Storage<'m>,
}

/// How much a growing tree may hold. Memory is only taken as it is used.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Znodes.
    pub nodes: usize,
    /// Cells of names, data and lists.
    pub cells: usize,
    /// The cells that these are.
    pub unit: Unit,
    /// How many of them are kept for `/zookeeper/config`.
    pub kept: usize,
    /// Bytes of whole paths, data and lists, without the text of `/zookeeper/config`.
    pub bytes: usize,
    /// Bytes of lists.
    pub lists: usize,
    /// Distinct access control lists.
    pub acls: usize,
    /// Sessions that have, or had, ephemeral nodes.
    pub owners: usize,
    /// Bytes that a snapshot may be ahead of the disk.
    pub snapshot: usize,
}

impl Default for Ceilings {
    /// What a server of today can address: 4 billion nodes, 120 GB of names and data.
    fn default() -> Self {
        let most = NIL as usize;
        Self {
            nodes: most,
            cells: most,
            unit: Unit::OWN,
            kept: 0,
            bytes: usize::MAX,
            lists: usize::MAX,
            acls: most,
            owners: most,
            snapshot: 256 << 20,
        }
    }
}

impl<'m> Storage<'m> {
    /// Storage that allocates as it grows.
    #[cfg(feature = "alloc")]
    pub const fn owned(ceilings: Ceilings) -> Self {
        Self {
            nodes: Table::owned(ceilings.nodes),
            paths: Index::owned(ceilings.nodes),
            cells: Table::owned(ceilings.cells),
            unit: ceilings.unit,
            kept: ceilings.kept,
            bytes: ceilings.bytes,
            lists: ceilings.lists,
            acls: Table::owned(ceilings.acls),
            acl_contents: Index::owned(ceilings.acls),
            acl_numbers: Index::owned(ceilings.acls),
            owners: Table::owned(ceilings.owners),
            owner_sessions: Index::owned(ceilings.owners),
            snapshot: Table::owned(ceilings.snapshot),
            listing: listing::Storage {
                marks: Table::owned(ceilings.nodes / 8 + 1),
                missed: Table::owned(MISSED),
            },
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
            unit: Unit::OWN,
            kept: 0,
            bytes: usize::MAX,
            lists: usize::MAX,
            acls: Table::lent(acls),
            acl_contents: Index::lent(acl_slots.0),
            acl_numbers: Index::lent(acl_slots.1),
            owners: Table::lent(owners),
            owner_sessions: Index::lent(owner_slots),
            snapshot: Table::lent(snapshot),
            listing: listing::Storage::default(),
        }
    }
}
