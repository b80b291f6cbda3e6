//! What room a change takes, and what is left.

use super::{DataTree, Owner, path, quota};
use crate::id::SessionId;
use crate::memory::Unit;
use crate::wire::client::Acl;
use crate::wire::jute::{List, Reader};
use crate::wire::txn::Record;

/// What room a change takes, or is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Znodes.
    pub nodes: usize,
    /// Cells, in the tree's [unit](DataTree::unit).
    pub cells: usize,
    /// Distinct access control lists.
    pub acls: usize,
    /// Sessions that have, or had, ephemeral nodes.
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

/// Cells that `/zookeeper/config` takes with a text of so many bytes.
pub const fn config_cells(unit: Unit, text: usize) -> usize {
    const NAME: usize = path::CONFIG.len() - "/zookeeper/".len();
    unit.needed(NAME + text)
}

impl DataTree<'_> {
    /// What can still be added.
    pub fn room(&self) -> Cost {
        // Quota counters are text that grows in place, by a few cells at most.
        let counters = self.limits * self.unit().grown(quota::LONGEST);
        Cost {
            nodes: self.capacity().nodes - self.nodes.len(),
            cells: self.cells.available().saturating_sub(counters + self.spare()),
            acls: self.acls.available(),
            owners: self.owners.available(),
        }
    }

    /// The cells in which costs and room are counted.
    pub fn unit(&self) -> Unit {
        self.cells.unit()
    }

    /// Cells that are kept for the configuration, and that it does not take.
    fn spare(&self) -> usize {
        if self.kept == 0 {
            return 0;
        }
        let shown = self.find(path::CONFIG).and_then(|at| self.data(at));
        self.kept.saturating_sub(config_cells(self.unit(), shown.map_or(0, |(len, _)| len)))
    }

    /// What there is room for in all, without the configuration.
    pub fn capacity(&self) -> Cost {
        Cost {
            nodes: self.nodes.ceiling().min(self.index.ceiling()),
            cells: (self.cells.available() + self.cells.len()).saturating_sub(self.kept),
            acls: self.acls.available() + self.acls.len(),
            owners: self.owners.ceiling(),
        }
    }

    /// What a transaction takes at most. `next`: it is the next to be applied; otherwise nothing is
    /// known of the data that it replaces. A list that is not there yet counts each time, but for
    /// one after the other in a multi.
    pub fn cost_of_txn(&self, session: SessionId, record: &Record<'_>, next: bool) -> Cost {
        let Record::Multi(multi) = record else {
            return self.cost_of_one(session, record, next, None);
        };
        let (mut all, mut before) = (Cost::default(), None);
        for txn in multi.txns {
            let record = Record::read(txn.op, &mut Reader::new(txn.data.bytes()));
            let Ok(Some(record)) = record else { continue };
            all = all.plus(self.cost_of_one(session, &record, next, before));
            before = record.acl().or(before);
        }
        // There is one session.
        Cost { owners: all.owners.min(1), ..all }
    }

    /// As [`cost_of_txn`](Self::cost_of_txn), of what is no multi; the list `before` is counted.
    fn cost_of_one(
        &self,
        session: SessionId,
        record: &Record<'_>,
        next: bool,
        before: Option<List<'_, Acl<'_>>>,
    ) -> Cost {
        let owner = match record {
            Record::Create(txn) if txn.ephemeral => Owner::Session(session),
            _ => Owner::Nobody,
        };
        let data = record.data().map_or(0, |data| data.bytes().len());
        let node = match record {
            Record::SetData(_) => {
                let at = self.find(record.path()).filter(|_| next);
                let had = at.and_then(|at| self.data(at)).map_or(0, |(len, _)| len);
                Cost { cells: self.unit().grown(data.saturating_sub(had)), ..Cost::default() }
            }
            _ if record.data().is_some() => self.cost_of(record.path(), data, owner),
            _ => Cost::default(),
        };
        let acl = record.acl().filter(|&acl| before != Some(acl));
        node.plus(acl.map_or_else(Cost::default, |acl| self.cost_of_acl(acl)))
    }

    /// What a new node takes, without its list.
    pub fn cost_of(&self, path: &[u8], data: usize, owner: Owner) -> Cost {
        let name = path::split(path).map_or(0, |(_, name)| name.len());
        let new_owner =
            matches!(owner, Owner::Session(session) if self.owners.find(session).is_none());
        // Its counters grow in place later, or as soon as it is there.
        let counters = if quota::is_counted(path) { self.unit().grown(quota::LONGEST) } else { 0 };
        Cost {
            nodes: 1,
            cells: self.unit().needed(name + data) + counters,
            acls: 0,
            owners: usize::from(new_owner),
        }
    }

    /// What an access control list takes: nothing, if there is one like it.
    pub fn cost_of_acl(&self, acl: List<'_, Acl<'_>>) -> Cost {
        if self.acls.contains(&self.cells, acl) {
            return Cost::default();
        }
        Cost { cells: self.unit().needed(acl.raw().len()), acls: 1, ..Cost::default() }
    }
}
