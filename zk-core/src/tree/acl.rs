//! Access control lists: kept once each, counted, and matched against identities.
//!
//! Answers to `ReferenceCountedACLCache` and `ZooKeeperServer.checkACL`.

use crate::memory::{Cells, Chain, Entry, Full, Handle, Index, NIL, Seeds, Slab};
use crate::wire::client::{Acl, Id, perms};
use crate::wire::jute::{self, List, Sink};

/// A list that several nodes may share.
#[derive(Clone, Copy, Debug)]
pub struct AclEntry {
    /// Its number in snapshots.
    id: i64,
    /// Nodes (and pending changes) that have it.
    references: u32,
    /// While vacant, the next vacant entry.
    link: Option<Handle>,
    /// Number of entries of the list, and its encoding without the count.
    count: i32,
    len: u32,
    blob: Handle,
    /// What `world:anyone` may do, so that most checks need not decode the list.
    world: u8,
}

impl AclEntry {
    /// An entry of a lent table, before first use.
    pub const EMPTY: Self =
        Self { id: 0, references: 0, link: Some(NIL), count: 0, len: 0, blob: NIL, world: 0 };

    fn blob(&self) -> Chain {
        Chain { head: self.blob, len: self.len as usize }
    }
}

impl Default for AclEntry {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Entry for AclEntry {
    fn vacate(&mut self, next: Handle) {
        *self = Self { link: Some(next), ..Self::EMPTY };
    }

    fn vacant(&self) -> Option<Handle> {
        self.link
    }
}

/// Marks a node without a list: open to all.
pub const NO_ACL: Handle = NIL >> 1;

/// The id of "no list" in snapshots.
const NO_ACL_ID: i64 = -1;

/// All lists in use.
#[derive(Debug)]
pub struct AclTable<'m> {
    entries: Slab<'m, AclEntry>,
    by_content: Index<'m>,
    by_id: Index<'m>,
    /// The largest id given so far.
    last_id: i64,
    /// Bytes of them all.
    bytes: usize,
    /// Bytes of the longest list that there ever was.
    longest: usize,
    seeds: Seeds,
}

impl<'m> AclTable<'m> {
    /// No lists yet.
    pub fn new(
        entries: Slab<'m, AclEntry>,
        by_content: Index<'m>,
        by_id: Index<'m>,
        seeds: Seeds,
    ) -> Self {
        Self { entries, by_content, by_id, last_id: 0, bytes: 0, longest: 0, seeds }
    }

    /// Forgets all lists.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_content.clear();
        self.by_id.clear();
        self.last_id = 0;
        self.bytes = 0;
    }

    /// Lists in use.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no list is in use.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all lists, as snapshots have them behind their counts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lists that can still be added.
    pub fn available(&self) -> usize {
        let slots = self.by_content.ceiling().min(self.by_id.ceiling());
        self.entries.ceiling().min(slots) - self.entries.len()
    }

    fn hash(&self, bytes: &[u8]) -> Handle {
        self.seeds.hash(bytes)
    }

    fn find(&self, cells: &Cells<'_>, list: List<'_, Acl<'_>>) -> Option<Handle> {
        let raw = list.raw();
        self.by_content.find(self.hash(raw), |at| {
            let entry = &self.entries[at];
            entry.len as usize == raw.len() && cells.equal(entry.blob(), 0, raw)
        })
    }

    /// Whether the list is in the table already.
    pub fn contains(&self, cells: &Cells<'_>, list: List<'_, Acl<'_>>) -> bool {
        self.find(cells, list).is_some()
    }

    /// Takes a reference to `list`, adding it if it is new.
    ///
    /// # Errors
    /// [`Full`].
    pub fn acquire(
        &mut self,
        cells: &mut Cells<'m>,
        list: List<'_, Acl<'_>>,
    ) -> Result<Handle, Full> {
        let at = match self.find(cells, list) {
            Some(at) => at,
            None => {
                let at = self.add(cells, self.last_id.wrapping_add(1), list)?;
                self.last_id = self.last_id.wrapping_add(1);
                at
            }
        };
        self.entries[at].references += 1;
        Ok(at)
    }

    /// Takes one more reference to a list in use.
    pub fn share(&mut self, at: Handle) {
        if at != NO_ACL {
            self.entries[at].references += 1;
        }
    }

    /// Gives a reference back; the last one frees the list.
    pub fn release(&mut self, cells: &mut Cells<'m>, at: Handle) {
        if at == NO_ACL {
            return;
        }
        let entry = &mut self.entries[at];
        entry.references = entry.references.saturating_sub(1);
        if entry.references == 0 {
            self.drop_entry(cells, at);
        }
    }

    fn drop_entry(&mut self, cells: &mut Cells<'m>, at: Handle) {
        let entry = self.entries[at];
        let hash = self.seeds.hash_parts(cells.chunks(entry.blob(), 0, entry.len as usize));
        self.by_content.remove(hash, at);
        self.by_id.remove(self.hash(&entry.id.to_be_bytes()), at);
        cells.remove(entry.blob());
        self.bytes = self.bytes.saturating_sub(entry.len as usize);
        self.entries.remove(at);
    }

    fn add(
        &mut self,
        cells: &mut Cells<'m>,
        id: i64,
        list: List<'_, Acl<'_>>,
    ) -> Result<Handle, Full> {
        let raw = list.raw();
        self.longest = self.longest.max(raw.len());
        let mut world = 0;
        for acl in list.iter() {
            if acl.id.scheme.bytes() == b"world" && acl.id.id.bytes() == b"anyone" {
                world |= (acl.perms & perms::ALL) as u8;
            }
        }
        let blob = cells.insert(&[raw])?;
        let entry = AclEntry {
            id,
            references: 0,
            link: None,
            count: i32::try_from(list.len()).map_err(|_| Full)?,
            len: u32::try_from(raw.len()).map_err(|_| Full)?,
            blob,
            world,
        };
        let content = self.hash(raw);
        let added = self.entries.insert(entry).and_then(|at| {
            self.by_content.insert(content, at).inspect_err(|_| self.entries.remove(at))?;
            self.by_id.insert(self.seeds.hash(&id.to_be_bytes()), at).inspect_err(|_| {
                self.by_content.remove(content, at);
                self.entries.remove(at);
            })?;
            self.bytes += raw.len();
            Ok(at)
        });
        added.inspect_err(|_| cells.remove(entry.blob()))
    }

    /// Adds a list of a snapshot under its number there, without a reference; drop what stays
    /// unused with [`sweep`](Self::sweep).
    ///
    /// # Errors
    /// [`Full`].
    pub fn load(
        &mut self,
        cells: &mut Cells<'m>,
        id: i64,
        list: List<'_, Acl<'_>>,
    ) -> Result<(), Full> {
        self.last_id = self.last_id.max(id);
        if self.by_number(id).is_none() {
            self.add(cells, id, list)?;
        }
        Ok(())
    }

    /// The list with that number in the snapshot that is being loaded.
    pub fn by_number(&self, id: i64) -> Option<Handle> {
        if id == NO_ACL_ID {
            return Some(NO_ACL);
        }
        self.by_id.find(self.hash(&id.to_be_bytes()), |at| self.entries[at].id == id)
    }

    /// Drops lists that nothing refers to.
    pub fn sweep(&mut self, cells: &mut Cells<'m>) {
        for at in 0..self.entries.used() {
            let Ok(at) = Handle::try_from(at) else { return };
            if self.entries.get(at).is_some_and(|entry| entry.references == 0) {
                self.drop_entry(cells, at);
            }
        }
    }

    /// The list's number in snapshots.
    pub fn number(&self, at: Handle) -> i64 {
        if at == NO_ACL { NO_ACL_ID } else { self.entries[at].id }
    }

    /// Writes the list as a `vector<ACL>`; no list is written as Apache's open one.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn put<S: Sink>(
        &self,
        cells: &Cells<'_>,
        at: Handle,
        sink: &mut S,
    ) -> Result<(), jute::Error> {
        if at == NO_ACL {
            sink.put(&1i32.to_be_bytes())?;
            return jute::write(&crate::wire::client::OPEN_ACL_UNSAFE, sink);
        }
        let entry = &self.entries[at];
        sink.put(&entry.count.to_be_bytes())?;
        Ok(cells.put(entry.blob(), 0, entry.len as usize, sink)?)
    }

    /// Copies the list into `scratch`. `None` when it does not fit there.
    pub fn list<'s>(
        &self,
        cells: &Cells<'_>,
        at: Handle,
        scratch: &'s mut [u8],
    ) -> Option<List<'s, Acl<'s>>> {
        let entry = &self.entries[at];
        let place = scratch.get_mut(..entry.len as usize)?;
        cells.copy(entry.blob(), 0, place);
        Some(List::from_raw(entry.count, place))
    }

    /// Bytes of a scratch that any [`list`](Self::list) fits.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Whether a connection with identities `ids` may do any of `wanted`.
    ///
    /// Entries are looked at one by one, so `scratch` need hold but one; an entry that is longer
    /// than it names nobody (identities of a connection are bounded).
    pub fn allows<'i>(
        &self,
        cells: &Cells<'_>,
        at: Handle,
        wanted: i32,
        ids: impl Iterator<Item = Id<'i>> + Clone,
        scratch: &mut [u8],
    ) -> bool {
        if at == NO_ACL || i32::from(self.entries[at].world) & wanted != 0 {
            return true;
        }
        if ids.clone().any(|id| id.scheme.bytes() == b"super") {
            return true;
        }
        let entry = &self.entries[at];
        let (count, blob) = (entry.count, entry.blob());
        let mut from = 0;
        for _ in 0..count {
            // perms, then two strings with their lengths.
            let scheme = text_len(cells, blob, from + 4);
            let len = 12 + scheme + text_len(cells, blob, from + 8 + scheme);
            if let Some(place) = scratch.get_mut(..len)
                && cells.copy(blob, from, place) == len
                && let Ok(acl) = jute::decode::<Acl<'_>>(place)
                && acl.perms & wanted != 0
                && ids
                    .clone()
                    .any(|id| id.scheme.bytes() == acl.id.scheme.bytes() && matches(acl.id, id))
            {
                return true;
            }
            from += len;
        }
        // Apache takes an empty list for an open one.
        count == 0
    }

    /// Every list with its number, for a snapshot.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Handle)> + '_ {
        (0..self.entries.used()).filter_map(|at| {
            let at = Handle::try_from(at).ok()?;
            Some((self.entries.get(at)?.id, at))
        })
    }
}

/// The length that stands at byte `from` of a list; none for null.
fn text_len(cells: &Cells<'_>, blob: Chain, from: usize) -> usize {
    let mut len = [0; 4];
    cells.copy(blob, from, &mut len);
    usize::try_from(i32::from_be_bytes(len)).unwrap_or(0)
}

/// Whether the identity `have` is what an entry for `wanted` (of the same scheme) means.
fn matches(wanted: Id<'_>, have: Id<'_>) -> bool {
    match wanted.scheme.bytes() {
        b"ip" => super::identity::ip_matches(wanted.id.bytes(), have.id.bytes()).unwrap_or(false),
        b"digest" => wanted.id.bytes() == have.id.bytes(),
        _ => false,
    }
}
