//! What room a change takes, and what is left.

use super::{DataTree, Owner, quota};
use crate::memory::Cells;
use crate::wire::client::Acl;
use crate::wire::jute::List;

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

impl DataTree<'_> {
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
}
