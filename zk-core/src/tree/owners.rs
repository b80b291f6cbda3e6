//! Which sessions own ephemeral nodes: the heads of their lists.
//!
//! An entry stays until its session ends, even when its last node goes: whoever had room for a node
//! when it was proposed has it when it is applied. Where there is no room for another, such an entry
//! goes: the leader may not have it.

use super::Seeds;
use crate::id::SessionId;
use crate::memory::{Entry, Full, Handle, Index, NIL, Slab};

/// A session that has, or had, ephemeral nodes.
#[derive(Clone, Copy, Debug)]
pub struct OwnerEntry {
    session: SessionId,
    first: Handle,
    /// Number of nodes; NIL while vacant.
    count: Handle,
}

impl OwnerEntry {
    /// An entry of a lent table, before first use.
    pub const EMPTY: Self = Self { session: SessionId::NONE, first: NIL, count: NIL };
}

impl Default for OwnerEntry {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Entry for OwnerEntry {
    fn vacate(&mut self, next: Handle) {
        *self = Self { first: next, ..Self::EMPTY };
    }

    fn vacant(&self) -> Option<Handle> {
        (self.count == NIL).then_some(self.first)
    }
}

/// The table of owners.
#[derive(Debug)]
pub(super) struct Owners<'m> {
    entries: Slab<'m, OwnerEntry>,
    index: Index<'m>,
    seeds: Seeds,
}

impl<'m> Owners<'m> {
    pub(super) fn new(entries: Slab<'m, OwnerEntry>, index: Index<'m>, seeds: Seeds) -> Self {
        Self { entries, index, seeds }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
    }

    pub(super) fn ceiling(&self) -> usize {
        self.entries.ceiling().min(self.index.ceiling())
    }

    pub(super) fn available(&self) -> usize {
        self.ceiling() - self.entries.len()
    }

    fn hash(&self, session: SessionId) -> Handle {
        self.seeds.hash(&session.0.to_be_bytes())
    }

    pub(super) fn find(&self, session: SessionId) -> Option<Handle> {
        self.index.find(self.hash(session), |at| self.entries[at].session == session)
    }

    pub(super) fn first(&self, session: SessionId) -> Handle {
        self.find(session).map_or(NIL, |at| self.entries[at].first)
    }

    pub(super) fn count(&self, session: SessionId) -> usize {
        self.find(session).map_or(0, |at| self.entries[at].count as usize)
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        (0..self.entries.used())
            .filter_map(|at| Some(self.entries.get(Handle::try_from(at).ok()?)?.session))
    }

    /// Makes sure that the session has an entry, so that [`push`](Self::push) cannot fail.
    pub(super) fn admit(&mut self, session: SessionId) -> Result<(), Full> {
        if self.find(session).is_some() {
            return Ok(());
        }
        // One without nodes is not there where its session was loaded, or learned of, without them.
        if self.available() == 0 {
            let idle = self.sessions().find(|&session| self.count(session) == 0);
            self.dismiss(idle.unwrap_or(session));
        }
        let at = self.entries.insert(OwnerEntry { session, first: NIL, count: 0 })?;
        let hash = self.hash(session);
        self.index.insert(hash, at).inspect_err(|_| self.entries.remove(at))
    }

    /// Drops the entry of a session without nodes.
    pub(super) fn dismiss(&mut self, session: SessionId) {
        if let Some(at) = self.find(session)
            && self.entries[at].count == 0
        {
            let hash = self.hash(session);
            self.index.remove(hash, at);
            self.entries.remove(at);
        }
    }

    /// Puts a node at the head of an admitted session's list, and returns the one behind it.
    pub(super) fn push(&mut self, session: SessionId, node: Handle) -> Handle {
        let Some(at) = self.find(session) else { return NIL };
        let entry = &mut self.entries[at];
        entry.count += 1;
        core::mem::replace(&mut entry.first, node)
    }

    /// Counts a node that left the list; `next` stood behind it.
    pub(super) fn drop_one(&mut self, session: SessionId, node: Handle, next: Handle) {
        let Some(at) = self.find(session) else { return };
        let entry = &mut self.entries[at];
        if entry.first == node {
            entry.first = next;
        }
        entry.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Table;

    #[test]
    fn whoever_has_nodes_is_admitted_before_whoever_had_some() {
        let mut owners = Owners::new(Slab::new(Table::owned(2)), Index::owned(2), Seeds(1, 2));
        for session in [1, 2, 3] {
            owners.admit(SessionId(session)).unwrap();
        }
        assert!(owners.find(SessionId(3)).is_some());
        owners.push(SessionId(3), 7);
        owners.admit(SessionId(4)).unwrap();
        owners.push(SessionId(4), 8);
        assert!(owners.find(SessionId(3)).is_some());
        owners.admit(SessionId(5)).unwrap_err();
    }
}
