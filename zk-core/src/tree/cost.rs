//! What room a change takes, and what is left.

use super::{DataTree, Owner, path, quota};
use crate::id::SessionId;
use crate::memory::Unit;
use crate::wire::capacity::{Kind, Lack};
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
    /// Bytes of whole paths, data and lists: what makes a snapshot longer besides the number of znodes,
    /// sessions and lists.
    pub bytes: usize,
    /// Distinct access control lists.
    pub acls: usize,
    /// Bytes of these: a snapshot begins with all of them at once.
    pub lists: usize,
    /// Sessions that have, or had, ephemeral nodes.
    pub owners: usize,
}

impl Cost {
    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            cells: self.cells + other.cells,
            bytes: self.bytes + other.bytes,
            acls: self.acls + other.acls,
            lists: self.lists + other.lists,
            owners: self.owners + other.owners,
        }
    }

    /// What is left when `other` is taken away again.
    #[must_use]
    pub const fn minus(&self, other: &Self) -> Self {
        Self {
            nodes: self.nodes.saturating_sub(other.nodes),
            cells: self.cells.saturating_sub(other.cells),
            bytes: self.bytes.saturating_sub(other.bytes),
            acls: self.acls.saturating_sub(other.acls),
            lists: self.lists.saturating_sub(other.lists),
            owners: self.owners.saturating_sub(other.owners),
        }
    }

    /// Whether this fits into `room`.
    pub const fn fits(&self, room: &Self) -> bool {
        self.nodes <= room.nodes
            && self.cells <= room.cells
            && self.bytes <= room.bytes
            && self.acls <= room.acls
            && self.lists <= room.lists
            && self.owners <= room.owners
    }

    /// What does not fit into `room`, if anything.
    pub fn lack(&self, room: &Self) -> Option<Lack> {
        let all = [
            (Kind::Nodes, self.nodes, room.nodes),
            (Kind::Cells, self.cells, room.cells),
            (Kind::Bytes, self.bytes, room.bytes),
            (Kind::Acls, self.acls, room.acls),
            (Kind::Lists, self.lists, room.lists),
            (Kind::Owners, self.owners, room.owners),
        ];
        let (kind, needs, has) = all.into_iter().find(|&(_, needs, has)| needs > has)?;
        Some(Lack::new(kind, has, needs))
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
        let spare = self.kept.saturating_sub(config_cells(self.unit(), self.config_len()));
        let bytes = self.bytes_used() + self.limits * quota::LONGEST;
        Cost {
            nodes: self.capacity().nodes - self.nodes.len(),
            cells: self.cells.available().saturating_sub(counters + spare),
            bytes: self.bytes.saturating_sub(bytes),
            acls: self.acls.available(),
            lists: self.lists.saturating_sub(self.acls.bytes()),
            owners: self.owners.available(),
        }
    }

    /// The cells in which costs and room are counted.
    pub fn unit(&self) -> Unit {
        self.cells.unit()
    }

    /// Bytes of the configuration's text, if that matters.
    fn config_len(&self) -> usize {
        if self.kept == 0 && self.bytes == usize::MAX {
            return 0;
        }
        let shown = self.find(path::CONFIG).and_then(|at| self.data(at));
        shown.map_or(0, |(len, _)| len)
    }

    /// Bytes of paths, data and lists that are there.
    pub(super) fn bytes_used(&self) -> usize {
        (self.data_size as usize).saturating_sub(self.config_len()) + self.acls.bytes()
    }

    /// What there is room for in all, without the configuration.
    pub fn capacity(&self) -> Cost {
        Cost {
            nodes: self.nodes.ceiling().min(self.index.ceiling()),
            cells: (self.cells.available() + self.cells.len()).saturating_sub(self.kept),
            bytes: self.bytes,
            acls: self.acls.available() + self.acls.len(),
            lists: self.lists,
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
            all = all.plus(&self.cost_of_one(session, &record, next, before));
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
                let cost = self.cost_of_data(data.saturating_sub(had));
                // The configuration's text is none of them.
                let config = record.path() == path::CONFIG;
                Cost { bytes: if config { 0 } else { cost.bytes }, ..cost }
            }
            _ if record.data().is_some() => self.cost_of(record.path(), data, owner),
            _ => Cost::default(),
        };
        let acl = record.acl().filter(|&acl| before != Some(acl));
        node.plus(&acl.map_or_else(Cost::default, |acl| self.cost_of_acl(acl)))
    }

    /// What data takes that becomes longer by so many bytes.
    pub fn cost_of_data(&self, more: usize) -> Cost {
        Cost { cells: self.unit().grown(more), bytes: more, ..Cost::default() }
    }

    /// What a new node takes, without its list.
    pub fn cost_of(&self, path: &[u8], data: usize, owner: Owner) -> Cost {
        let name = path::split(path).map_or(0, |(_, name)| name.len());
        let new_owner =
            matches!(owner, Owner::Session(session) if self.owners.find(session).is_none());
        // Its counters grow in place later, or as soon as it is there.
        let counters = if quota::is_counted(path) { quota::LONGEST } else { 0 };
        Cost {
            nodes: 1,
            cells: self.unit().needed(name + data) + self.unit().grown(counters),
            bytes: path.len() + data + counters,
            owners: usize::from(new_owner),
            ..Cost::default()
        }
    }

    /// What an access control list takes: nothing, if there is one like it.
    pub fn cost_of_acl(&self, acl: List<'_, Acl<'_>>) -> Cost {
        if self.acls.contains(&self.cells, acl) {
            return Cost::default();
        }
        let bytes = acl.raw().len();
        let cells = self.unit().needed(bytes);
        Cost { cells, bytes, acls: 1, lists: bytes, ..Cost::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::memory::Seeds;
    use crate::tree::snapshot::{self, LoadError, Loader, Step};
    use crate::tree::{Ceilings, NO_ACL, Storage};
    use crate::wire::client::Id;
    use crate::wire::file::{SnapshotSession, StatPersisted};
    use crate::wire::jute::{Buffer, Ustring};
    use crate::wire::txn::SetDataTxn;

    fn tree(bytes: usize) -> DataTree<'static> {
        let kept = config_cells(Unit::OWN, 256);
        let ceilings = Ceilings { kept, bytes, ..Ceilings::default() };
        DataTree::new(Storage::owned(ceilings), Seeds(1, 2), false).unwrap()
    }

    fn body(tree: &mut DataTree<'_>) -> Vec<u8> {
        assert_eq!(tree.snapshot_begin(0, core::iter::empty()), Ok(true));
        let mut body = Vec::new();
        while tree.snapshot_step() == Some(Step::Bytes) {
            let bytes = tree.snapshot_bytes().to_vec();
            tree.snapshot_taken(bytes.len());
            body.extend(bytes);
        }
        body
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let one = Cost { nodes: 1, cells: 1, bytes: 1, acls: 1, lists: 1, owners: 1 };
        let less: [fn(&mut Cost) -> &mut usize; 6] = [
            |room| &mut room.nodes,
            |room| &mut room.cells,
            |room| &mut room.bytes,
            |room| &mut room.acls,
            |room| &mut room.lists,
            |room| &mut room.owners,
        ];
        let kinds = [Kind::Nodes, Kind::Cells, Kind::Bytes, Kind::Acls, Kind::Lists, Kind::Owners];
        assert!(one.fits(&one) && one.lack(&one).is_none());
        for (less, kind) in less.into_iter().zip(kinds) {
            let mut room = one;
            *less(&mut room) = 0;
            assert!(!one.fits(&room));
            assert_eq!(one.lack(&room), Some(Lack::new(kind, 0, 1)));
        }
    }

    /// As many lists as there is room for, of whatever length, are what a snapshot can begin with.
    #[test]
    fn a_snapshot_can_begin_with_all_lists() {
        let (max_txn, sessions, acls) = (576, 8, 4);
        for len in [1, 50, 100, 200, 400] {
            let lists = snapshot::lists(max_txn, sessions, acls);
            let snapshot = max_txn + snapshot::IMAGE_MORE;
            let ceilings = Ceilings { acls, lists, snapshot, ..Ceilings::default() };
            let mut tree = DataTree::new(Storage::owned(ceilings), Seeds(1, 2), false).unwrap();
            let (mut added, text) = (0, "x".repeat(len));
            loop {
                let mut room = [0; 1000];
                let id = Id { scheme: "digest".into(), id: text[..].into() };
                let acl = List::encode(&[Acl { perms: added, id }], &mut room).unwrap();
                if !tree.cost_of_acl(acl).fits(&tree.room()) {
                    break;
                }
                tree.acquire_acl(acl).unwrap();
                added += 1;
            }
            let session = SnapshotSession { id: SessionId(1), timeout: 8000 };
            let all = core::iter::repeat_n(session, sessions);
            assert_eq!(tree.snapshot_begin(sessions, all), Ok(true), "{added} of {len}");
            assert!(added > 0, "{len}");
        }
    }

    /// The limit holds for what is loaded, too, and no text of the configuration takes part in it.
    #[test]
    fn bytes_are_limited_and_the_configuration_is_none_of_them() {
        let mut full = tree(usize::MAX);
        let config = full.find(path::CONFIG).unwrap();
        full.store(config, Some(&[b'c'; 256])).unwrap();
        full.attach(b"/a", full.root, Some(&[7; 500]), NO_ACL, &StatPersisted::default()).unwrap();
        let used = full.bytes_used();
        let always = "/zookeeper/zookeeper/quota/zookeeper/config".len() + full.acls.bytes();
        assert_eq!(used, always + "/a".len() + 500);
        assert_eq!(full.room().bytes, usize::MAX - used);
        for (path, more) in [(&b"/a"[..], 100), (path::CONFIG, 0)] {
            let (path, data) = (Ustring(Some(path)), Buffer::new(&[7; 600]));
            let record = Record::SetData(SetDataTxn { path, data, version: 1 });
            let cost = full.cost_of_txn(SessionId(1), &record, true);
            assert!(cost.bytes == more && cost.cells > 0, "{cost:?}");
        }
        let body = body(&mut full);
        for (bytes, loaded) in [(used, Ok(())), (used - 1, Err(LoadError::Full))] {
            let mut tree = tree(bytes);
            let mut loader = Loader::new(&mut tree, 4096);
            let result = loader.feed(&mut tree, &body, |_| Ok(()));
            assert_eq!(result.map(|taken| assert!(taken.done)), loaded);
        }
    }
}
