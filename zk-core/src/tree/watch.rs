//! Watches: who wants to know what about which path.
//!
//! One entry per path and connection holds all its modes as bits, so that a connection gets one
//! event for one change. Paths are watched, not nodes: a node need not exist. Answers to
//! `WatchManager`.

use super::path;
use crate::memory::{
    Cell, Cells, Chain, Chunks, Entry, Full, Handle, Index, NIL, Seeds, Slab, Table,
};
use crate::wire::client::EventType;

/// Ways to watch a path; bits of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes(u8);

impl Modes {
    /// Once, for the node itself (getData, exists).
    pub const DATA: Self = Self(1);
    /// Once, for its children (getChildren) and its deletion.
    pub const CHILD: Self = Self(2);
    /// Until removed, for both.
    pub const PERSISTENT: Self = Self(4);
    /// Until removed, for the node and all below it, without changes of children.
    pub const RECURSIVE: Self = Self(8);
    /// All of them.
    pub const ANY: Self = Self(15);

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What a `watcherType` field means: 1 children, 2 data, 3 any, 4 persistent, 5 recursive.
    pub const fn from_watcher_type(kind: i32) -> Option<Self> {
        Some(match kind {
            1 => Self::CHILD,
            2 => Self::DATA,
            3 => Self::ANY,
            4 => Self::PERSISTENT,
            5 => Self::RECURSIVE,
            _ => return None,
        })
    }

    /// What an addWatch `mode` field means: 0 persistent, 1 recursive.
    pub const fn from_add_mode(mode: i32) -> Option<Self> {
        Some(match mode {
            0 => Self::PERSISTENT,
            1 => Self::RECURSIVE,
            _ => return None,
        })
    }
}

/// A path that someone watches.
#[derive(Clone, Copy, Debug)]
pub struct WatchedPath {
    blob: Handle,
    len: u32,
    first: Handle,
    vacant: bool,
}

impl WatchedPath {
    /// An entry of a lent table, before first use.
    pub const EMPTY: Self = Self { blob: NIL, len: 0, first: NIL, vacant: true };

    fn blob(&self) -> Chain {
        Chain { head: self.blob, len: self.len as usize }
    }
}

impl Default for WatchedPath {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Entry for WatchedPath {
    fn vacate(&mut self, next: Handle) {
        *self = Self { first: next, ..Self::EMPTY };
    }

    fn vacant(&self) -> Option<Handle> {
        self.vacant.then_some(self.first)
    }
}

/// A watch of one connection on one path.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    path: Handle,
    connection: Handle,
    /// Others on the same path.
    next: Handle,
    prev: Handle,
    /// Others of the same connection.
    next_own: Handle,
    prev_own: Handle,
    modes: Modes,
}

impl Watch {
    /// An entry of a lent table, before first use.
    pub const EMPTY: Self = Self {
        path: NIL,
        connection: NIL,
        next: NIL,
        prev: NIL,
        next_own: NIL,
        prev_own: NIL,
        modes: Modes(0),
    };
}

impl Default for Watch {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Entry for Watch {
    fn vacate(&mut self, next: Handle) {
        *self = Self { next, ..Self::EMPTY };
    }

    fn vacant(&self) -> Option<Handle> {
        self.modes.is_empty().then_some(self.next)
    }
}

/// A connection's watches: kept by the connection, managed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    first: Handle,
    count: u32,
}

impl Own {
    /// No watches.
    pub const NONE: Self = Self { first: NIL, count: 0 };

    /// How many paths the connection watches.
    pub const fn count(&self) -> u32 {
        self.count
    }
}

/// Storage of watches.
#[derive(Debug)]
pub struct Storage<'m> {
    /// One for each watched path.
    pub paths: Table<'m, WatchedPath>,
    /// Slots for them.
    pub path_slots: Index<'m>,
    /// One for each path and connection.
    pub watches: Table<'m, Watch>,
    /// Slots for them.
    pub watch_slots: Index<'m>,
    /// The paths themselves.
    pub cells: Table<'m, Cell>,
}

#[cfg(feature = "alloc")]
impl Storage<'_> {
    /// Storage that allocates as it grows, for so many watches.
    pub const fn owned(watches: usize, cells: usize) -> Self {
        Self {
            paths: Table::owned(watches),
            path_slots: Index::owned(watches),
            watches: Table::owned(watches),
            watch_slots: Index::owned(watches),
            cells: Table::owned(cells),
        }
    }
}

/// All watches of a peer's connections.
#[derive(Debug)]
pub struct Watches<'m> {
    paths: Slab<'m, WatchedPath>,
    path_index: Index<'m>,
    watches: Slab<'m, Watch>,
    watch_index: Index<'m>,
    cells: Cells<'m>,
    seeds: Seeds,
    recursive: usize,
}

impl<'m> Watches<'m> {
    /// No watches yet.
    pub fn new(storage: Storage<'m>, seeds: Seeds) -> Self {
        Self {
            paths: Slab::new(storage.paths),
            path_index: storage.path_slots,
            watches: Slab::new(storage.watches),
            watch_index: storage.watch_slots,
            cells: Cells::new(storage.cells),
            seeds,
            recursive: 0,
        }
    }

    /// Watches, counted by path and connection.
    pub fn len(&self) -> usize {
        self.watches.len()
    }

    /// Whether nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Those that hear of nodes themselves, and those that hear of lists of children. One that
    /// persists is of both kinds.
    pub fn counts(&self) -> (usize, usize) {
        let count = |modes: Modes| {
            (0..self.watches.used())
                .filter_map(|at| self.watches.get(Handle::try_from(at).ok()?))
                .filter(|watch| !watch.modes.and(modes).is_empty())
                .count()
        };
        (count(Modes::ANY.without(Modes::CHILD)), count(Modes::CHILD.or(Modes::PERSISTENT)))
    }

    /// Watched paths.
    pub fn path_count(&self) -> usize {
        self.paths.len()
    }

    fn find_path(&self, path: &[u8]) -> Option<Handle> {
        self.path_index.find(self.seeds.hash(path), |at| {
            let entry = &self.paths[at];
            entry.len as usize == path.len() && self.cells.equal(entry.blob(), 0, path)
        })
    }

    fn pair_hash(&self, path: Handle, connection: Handle) -> Handle {
        self.seeds.hash_parts([&path.to_be_bytes()[..], &connection.to_be_bytes()])
    }

    fn find_watch(&self, path: Handle, connection: Handle) -> Option<Handle> {
        self.watch_index.find(self.pair_hash(path, connection), |at| {
            let watch = &self.watches[at];
            watch.path == path && watch.connection == connection
        })
    }

    /// Adds modes to a connection's watch on `path`; `false` if it had all of them.
    ///
    /// # Errors
    /// [`Full`].
    pub fn add(
        &mut self,
        own: &mut Own,
        connection: Handle,
        path: &[u8],
        modes: Modes,
    ) -> Result<bool, Full> {
        let known = self.find_path(path);
        if let Some(at) = known
            && let Some(watch) = self.find_watch(at, connection)
        {
            let before = self.watches[watch].modes;
            self.watches[watch].modes = before.or(modes);
            if before.and(Modes::RECURSIVE).is_empty() && !modes.and(Modes::RECURSIVE).is_empty() {
                self.recursive += 1;
            }
            return Ok(self.watches[watch].modes != before);
        }
        let at = match known {
            Some(at) => at,
            None => self.add_path(path)?,
        };
        let first = self.paths[at].first;
        let watch = Watch {
            path: at,
            connection,
            next: first,
            prev: NIL,
            next_own: own.first,
            prev_own: NIL,
            modes,
        };
        let added = self.watches.insert(watch).and_then(|watch| {
            let hash = self.pair_hash(at, connection);
            self.watch_index.insert(hash, watch).inspect_err(|_| self.watches.remove(watch))?;
            Ok(watch)
        });
        let watch = match added {
            Ok(watch) => watch,
            Err(Full) => {
                self.drop_path_if_unused(at);
                return Err(Full);
            }
        };
        if first != NIL {
            self.watches[first].prev = watch;
        }
        self.paths[at].first = watch;
        if own.first != NIL {
            self.watches[own.first].prev_own = watch;
        }
        own.first = watch;
        own.count += 1;
        if !modes.and(Modes::RECURSIVE).is_empty() {
            self.recursive += 1;
        }
        Ok(true)
    }

    fn add_path(&mut self, path: &[u8]) -> Result<Handle, Full> {
        let blob = self.cells.insert(&[path])?;
        let len = u32::try_from(path.len()).map_err(|_| Full)?;
        let entry = WatchedPath { blob, len, first: NIL, vacant: false };
        let added = self.paths.insert(entry).and_then(|at| {
            let hash = self.seeds.hash(path);
            self.path_index.insert(hash, at).inspect_err(|_| self.paths.remove(at))?;
            Ok(at)
        });
        added.inspect_err(|_| self.cells.remove(entry.blob()))
    }

    fn drop_path_if_unused(&mut self, at: Handle) {
        let entry = self.paths[at];
        if entry.first != NIL {
            return;
        }
        let hash = self.seeds.hash_parts(self.cells.chunks(entry.blob(), 0, entry.len as usize));
        self.path_index.remove(hash, at);
        self.cells.remove(entry.blob());
        self.paths.remove(at);
    }

    /// Takes modes from a watch; without any it is gone.
    fn take(&mut self, at: Handle, modes: Modes, own: &mut Own) {
        let watch = self.watches[at];
        let left = watch.modes.without(modes);
        if !watch.modes.and(modes).and(Modes::RECURSIVE).is_empty() {
            self.recursive -= 1;
        }
        self.watches[at].modes = left;
        if !left.is_empty() {
            return;
        }
        // Not vacant yet for the slab: it is removed below.
        self.watches[at].modes = watch.modes;
        if watch.next != NIL {
            self.watches[watch.next].prev = watch.prev;
        }
        if watch.prev != NIL {
            self.watches[watch.prev].next = watch.next;
        } else {
            self.paths[watch.path].first = watch.next;
        }
        if watch.next_own != NIL {
            self.watches[watch.next_own].prev_own = watch.prev_own;
        }
        if watch.prev_own != NIL {
            self.watches[watch.prev_own].next_own = watch.next_own;
        } else {
            own.first = watch.next_own;
        }
        own.count -= 1;
        let hash = self.pair_hash(watch.path, watch.connection);
        self.watch_index.remove(hash, at);
        self.watches.remove(at);
        self.drop_path_if_unused(watch.path);
    }

    /// Whether the connection watches `path` in one of `modes`.
    pub fn contains(&self, connection: Handle, path: &[u8], modes: Modes) -> bool {
        self.find_path(path)
            .and_then(|at| self.find_watch(at, connection))
            .is_some_and(|at| !self.watches[at].modes.and(modes).is_empty())
    }

    /// Removes modes of the connection's watch on `path`; `false` if it had none of them.
    pub fn remove(&mut self, own: &mut Own, connection: Handle, path: &[u8], modes: Modes) -> bool {
        let Some(at) = self.find_path(path).and_then(|at| self.find_watch(at, connection)) else {
            return false;
        };
        if self.watches[at].modes.and(modes).is_empty() {
            return false;
        }
        self.take(at, modes, own);
        true
    }

    /// The paths that are watched for changes of data, each with the connections that do.
    pub fn by_path(
        &self,
    ) -> impl Iterator<Item = (Chunks<'_>, impl Iterator<Item = Handle> + '_)> + '_ {
        (0..self.paths.used()).filter_map(|at| {
            let entry = self.paths.get(Handle::try_from(at).ok()?)?;
            let path = self.cells.chunks(entry.blob(), 0, entry.len as usize);
            let mut watching = self.chain(entry.first, |watch| watch.next).peekable();
            watching.peek()?;
            Some((path, watching.map(|watch| watch.connection)))
        })
    }

    /// The paths that a connection watches for changes of data.
    pub fn of(&self, own: &Own) -> impl Iterator<Item = Chunks<'_>> + '_ {
        self.chain(own.first, |watch| watch.next_own).map(|watch| {
            let entry = &self.paths[watch.path];
            self.cells.chunks(entry.blob(), 0, entry.len as usize)
        })
    }

    fn chain(
        &self,
        first: Handle,
        next: impl Fn(&Watch) -> Handle,
    ) -> impl Iterator<Item = &Watch> {
        let get = |at| (at != NIL).then(|| &self.watches[at]);
        core::iter::successors(get(first), move |watch| get(next(watch)))
            .filter(|watch| !watch.modes.and(Modes::ANY.without(Modes::CHILD)).is_empty())
    }

    /// Removes up to `most` watches of a connection; `true` if it has none any more.
    pub fn remove_some(&mut self, own: &mut Own, most: usize) -> bool {
        for _ in 0..most {
            if own.first == NIL {
                break;
            }
            self.take(own.first, Modes::ANY, own);
        }
        own.first == NIL
    }

    /// Tells everyone who watches for it that `kind` happened to the node at `path`; watches that
    /// last once are gone afterwards. `notify` is called with each connection, perhaps more than
    /// once, and must call what it is given with the connection's list of watches.
    pub fn trigger(
        &mut self,
        path: &[u8],
        kind: EventType,
        mut notify: impl FnMut(Handle, &mut dyn FnMut(&mut Own)),
    ) {
        if self.watches.is_empty() {
            return;
        }
        let (told, spent) = match kind {
            EventType::NodeCreated | EventType::NodeDataChanged => {
                (Modes::DATA.or(Modes::PERSISTENT).or(Modes::RECURSIVE), Modes::DATA)
            }
            EventType::NodeDeleted => (Modes::ANY, Modes::DATA.or(Modes::CHILD)),
            EventType::NodeChildrenChanged => (Modes::CHILD.or(Modes::PERSISTENT), Modes::CHILD),
        };
        if let Some(at) = self.find_path(path) {
            let mut next = self.paths[at].first;
            while next != NIL {
                let watch = self.watches[next];
                let this = next;
                next = watch.next;
                if watch.modes.and(told).is_empty() {
                    continue;
                }
                let spends = !watch.modes.and(spent).is_empty();
                notify(watch.connection, &mut |own| {
                    if spends {
                        self.take(this, spent, own);
                    }
                });
            }
        }
        if self.recursive == 0 || kind == EventType::NodeChildrenChanged {
            return;
        }
        let mut prefix = path;
        while prefix.len() > 1 {
            prefix = path::split(prefix).map_or(&b""[..], |(parent, _)| path::shown(parent));
            let Some(at) = self.find_path(prefix) else { continue };
            let mut next = self.paths[at].first;
            while next != NIL {
                let watch = self.watches[next];
                next = watch.next;
                if !watch.modes.and(Modes::RECURSIVE).is_empty() {
                    notify(watch.connection, &mut |_| {});
                }
            }
        }
    }
}
