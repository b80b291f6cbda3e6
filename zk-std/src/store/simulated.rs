//! A simulated disk: a [`Directory`] in memory that tears, forgets and fails.
//!
//! What was written but not synced may be lost at a crash, sector by sector and in any order;
//! what was created, renamed or unlinked but not followed by [`Directory::sync`] may be undone,
//! each operation for itself. On top of that come faults on demand: a failing sync, a full disk,
//! flipped bits, short reads, reads that return what a sector held before or what another holds,
//! power that goes off at the n-th operation. Everything random comes from one seed.
//!
//! ```
//! use zk_std::store::{Directory, File};
//! use zk_std::store::simulated::Disk;
//!
//! let disk = Disk::new(7);
//! let file = disk.root().create("x")?;
//! file.write_all_at(b"hello", 0)?;
//! file.sync_data()?;
//! disk.crash();
//! // Its content was synced, its name was not.
//! assert!(matches!(disk.read("x").as_deref(), None | Some(b"hello")));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::directory::{Directory, File};

/// Bytes that reach a disk together or not at all.
pub const SECTOR: usize = 512;

/// A small deterministic generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 if that is 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }
}

type Id = u64;

#[derive(Clone, Debug, Default)]
struct Content {
    /// What programs see.
    now: Vec<u8>,
    /// What the last sync left.
    durable: Vec<u8>,
    /// Sectors in which the two may differ.
    dirty: BTreeSet<usize>,
    /// Sectors that take space.
    blocks: BTreeSet<usize>,
    /// What sectors held before they were synced last.
    before: BTreeMap<usize, Vec<u8>>,
    /// Shared with the handles that are open.
    handles: Arc<()>,
}

fn sectors(range: core::ops::Range<usize>) -> core::ops::Range<usize> {
    range.start / SECTOR..range.end.div_ceil(SECTOR)
}

/// The bytes of a sector, as far as `bytes` has them.
fn sector(bytes: &[u8], index: usize) -> &[u8] {
    let at = index * SECTOR;
    bytes.get(at..bytes.len().min(at + SECTOR)).unwrap_or_default()
}

fn put_sector(bytes: &mut [u8], index: usize, from: &[u8]) {
    let at = (index * SECTOR).min(bytes.len());
    let end = bytes.len().min(at + SECTOR);
    let place = &mut bytes[at..end];
    place.fill(0);
    let n = from.len().min(place.len());
    place[..n].copy_from_slice(&from[..n]);
}

impl Content {
    fn resize(&mut self, len: usize) {
        let old = self.now.len();
        self.now.resize(len, 0);
        self.dirty.extend(sectors(old.min(len)..old.max(len)));
        self.blocks.retain(|&s| s < len.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for index in core::mem::take(&mut self.dirty) {
            self.before.insert(index, sector(&self.durable, index).to_vec());
            put_sector(&mut self.durable, index, sector(&self.now, index));
        }
    }

    /// Keeps some of what was not synced.
    fn crash(&mut self, rng: &mut Rng) {
        let (old, new) = (self.durable.len(), self.now.len());
        let len = match rng.below(3) {
            0 => old,
            1 => new,
            _ => old.min(new) + usize::try_from(rng.below(old.abs_diff(new) as u64)).unwrap_or(0),
        };
        self.durable.resize(len, 0);
        for index in core::mem::take(&mut self.dirty) {
            if rng.coin() {
                put_sector(&mut self.durable, index, sector(&self.now, index));
            }
        }
        self.now.clone_from(&self.durable);
        self.blocks.retain(|&s| s < len.div_ceil(SECTOR));
    }
}

/// A change of names, all of it or nothing: path and the file it leads to from now on.
type Change = Vec<(String, Option<Id>)>;

/// What some reads of a sector return.
#[derive(Clone, Debug)]
struct Misread {
    id: Id,
    sector: usize,
    bytes: Vec<u8>,
    /// How many reads.
    left: u64,
}

impl Misread {
    /// A read of the file from `offset` on has shown `bytes`.
    fn strike(&mut self, id: Id, offset: usize, bytes: &mut [u8]) {
        let at = self.sector * SECTOR;
        let (from, to) = (at.max(offset), (at + SECTOR).min(offset + bytes.len()));
        if id != self.id || self.left == 0 || from >= to {
            return;
        }
        self.left -= 1;
        for place in from..to {
            bytes[place - offset] = self.bytes.get(place - at).copied().unwrap_or(0);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Faults {
    capacity: Option<u64>,
    failing_syncs: u64,
    short_reads: bool,
    misread: Option<Misread>,
    /// Operations until the power goes off.
    power: Option<u64>,
}

#[derive(Clone, Debug)]
struct State {
    rng: Rng,
    files: BTreeMap<Id, Content>,
    next: Id,
    now: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
    /// Changes since the directories were synced.
    changes: Vec<Change>,
    directories: BTreeSet<String>,
    /// Counts crashes; handles of earlier lives are dead.
    life: u64,
    faults: Faults,
    operations: u64,
}

impl State {
    /// Counts an operation that changes something, while there is power.
    fn operate(&mut self) -> io::Result<()> {
        self.alive()?;
        if let Some(left) = &mut self.faults.power {
            *left -= 1;
        }
        self.operations += 1;
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        match self.faults.power {
            Some(0) => Err(io::Error::other("the power is off")),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.changes.push(change);
    }

    /// Forgets the content of files that have no name any more, not even after a crash, and that
    /// nobody has open.
    fn forget(&mut self) {
        let named = self.now.values().chain(self.durable.values()).copied();
        let perhaps = self.changes.iter().flatten().filter_map(|(_, id)| *id);
        let alive: BTreeSet<Id> = named.chain(perhaps).collect();
        self.files.retain(|id, file| alive.contains(id) || Arc::strong_count(&file.handles) > 1);
    }

    fn used(&self) -> u64 {
        let ids: BTreeSet<_> = self.now.values().collect();
        let blocks = ids.iter().filter_map(|id| self.files.get(id)).map(|f| f.blocks.len());
        (blocks.sum::<usize>() * SECTOR) as u64
    }

    /// Takes space for the sectors of a range, as many as there is room for.
    fn take(&mut self, id: Id, range: core::ops::Range<usize>) -> io::Result<()> {
        let mut room = match self.faults.capacity {
            None => u64::MAX,
            Some(capacity) => capacity.saturating_sub(self.used()) / SECTOR as u64,
        };
        let file = self.files.get_mut(&id).ok_or(io::ErrorKind::StaleNetworkFileHandle)?;
        for index in sectors(range) {
            if !file.blocks.contains(&index) {
                room = room.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
                file.blocks.insert(index);
            }
        }
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<String, Id>, change: &Change) {
    for (path, id) in change {
        match id {
            Some(id) => names.insert(path.clone(), *id),
            None => names.remove(path),
        };
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// An empty disk, whose accidents follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: Rng::new(seed),
            files: BTreeMap::new(),
            next: 0,
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
            changes: Vec::new(),
            directories: BTreeSet::from([String::new()]),
            life: 0,
            faults: Faults::default(),
            operations: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its root directory.
    pub fn root(&self) -> Simulated {
        Simulated { disk: self.clone(), path: String::new() }
    }

    /// Cuts the power and turns it on again. Any subset of what was not synced survives; open
    /// files are gone; faults are over, except for the capacity.
    pub fn crash(&self) {
        let state = &mut *self.state();
        for change in core::mem::take(&mut state.changes) {
            if state.rng.coin() {
                apply(&mut state.durable, &change);
            }
        }
        state.now = state.durable.clone();
        let alive: BTreeSet<Id> = state.now.values().copied().collect();
        state.files.retain(|id, _| alive.contains(id));
        for file in state.files.values_mut() {
            file.crash(&mut state.rng);
        }
        state.life += 1;
        state.faults = Faults { capacity: state.faults.capacity, ..Faults::default() };
    }

    /// What a crash now would leave, as a disk of its own, with another seed.
    pub fn after_crash(&self, seed: u64) -> Self {
        let mut state = State { rng: Rng::new(seed), ..self.state().clone() };
        state.files.values_mut().for_each(|file| file.handles = Arc::default());
        let left = Self(Arc::new(Mutex::new(state)));
        left.crash();
        left
    }

    /// Bytes that its files take.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Turns the power off when `operations` more writes, syncs and changes of names were done:
    /// after that all fail, until [`crash`](Self::crash).
    pub fn cut_power_after(&self, operations: u64) {
        self.state().faults.power = Some(operations);
    }

    /// Whether operations are still done: not after the power was cut.
    pub fn has_power(&self) -> bool {
        self.state().alive().is_ok()
    }

    /// Operations that were done since the disk was made: the places where
    /// [`cut_power_after`](Self::cut_power_after) can strike.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets the next `n` syncs of files fail. What they should have made durable is lost at the
    /// next crash even if a later sync succeeds, as it is on Linux.
    pub fn fail_syncs(&self, n: u64) {
        self.state().faults.failing_syncs = n;
    }

    /// Limits the space for content to so many bytes.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().faults.capacity = bytes;
    }

    /// Lets reads return less than was asked for.
    pub fn set_short_reads(&self, on: bool) {
        self.state().faults.short_reads = on;
    }

    /// What a sector of a file holds, or held before it was synced last.
    pub fn sector(&self, path: &str, index: usize, before: bool) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.files.get(state.now.get(path)?)?;
        let held = sector(&file.now, index);
        if before { file.before.get(&index).cloned() } else { Some(held.to_vec()) }
            .filter(|_| !held.is_empty())
    }

    /// Lets the next `reads` that touch a sector of a file find `bytes` there, until the next crash.
    /// Does nothing if there is no such file.
    pub fn misread(&self, path: &str, sector: usize, bytes: Vec<u8>, reads: u64) {
        let state = &mut *self.state();
        let Some(&id) = state.now.get(path) else { return };
        state.faults.misread = Some(Misread { id, sector, bytes, left: reads });
    }

    /// Lets all reads find what is there again.
    pub fn read_rightly(&self) {
        self.state().faults.misread = None;
    }

    /// How many reads are still to find something else.
    pub fn misreads(&self) -> u64 {
        self.state().faults.misread.as_ref().map_or(0, |misread| misread.left)
    }

    /// Flips bits of the byte at `offset` of a file, durably. Does nothing if there is none.
    pub fn flip(&self, path: &str, offset: usize, bits: u8) {
        let state = &mut *self.state();
        let Some(file) = state.now.get(path).and_then(|id| state.files.get_mut(id)) else { return };
        for bytes in [&mut file.now, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= bits;
            }
        }
    }

    /// The content of a file.
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        Some(state.files.get(state.now.get(path)?)?.now.clone())
    }

    /// Puts a file with this content there, durably.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let state = &mut *self.state();
        state.next += 1;
        let id = state.next;
        let blocks = sectors(0..bytes.len()).collect();
        let content =
            Content { now: bytes.into(), durable: bytes.into(), blocks, ..Content::default() };
        state.files.insert(id, content);
        state.now.insert(path.into(), id);
        state.durable.insert(path.into(), id);
        let mut directory = parent(path);
        while state.directories.insert(directory.into()) {
            directory = parent(directory);
        }
    }

    /// The paths of all files.
    pub fn paths(&self) -> Vec<String> {
        self.state().now.keys().cloned().collect()
    }

    /// A copy as it is now, with another seed. Everything on it counts as durable.
    pub fn fork(&self, seed: u64) -> Self {
        let fork = Self::new(seed);
        for path in self.paths() {
            if let Some(bytes) = self.read(&path) {
                fork.write(&path, &bytes);
            }
        }
        fork.state().directories.clone_from(&self.state().directories);
        fork
    }
}

/// A directory of a [`Disk`].
#[derive(Clone, Debug)]
pub struct Simulated {
    disk: Disk,
    path: String,
}

impl Simulated {
    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}/{name}", self.path) }
    }

    fn file(&self, state: &State, id: Id) -> SimulatedFile {
        let handle = state.files.get(&id).map(|file| file.handles.clone()).unwrap_or_default();
        SimulatedFile { disk: self.disk.clone(), id, life: state.life, _handle: handle }
    }
}

impl Directory for Simulated {
    type File = SimulatedFile;

    fn path(&self, name: &str) -> PathBuf {
        self.full(name).into()
    }

    fn join(&self, name: &str) -> Self {
        Self { disk: self.disk.clone(), path: self.full(name) }
    }

    fn exists(&self) -> io::Result<bool> {
        let state = self.disk.state();
        state.alive()?;
        Ok(state.directories.contains(&self.path))
    }

    fn make(&self) -> io::Result<()> {
        let state = &mut *self.disk.state();
        state.operate()?;
        let mut path = self.path.as_str();
        while state.directories.insert(path.into()) {
            path = parent(path);
        }
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<SimulatedFile> {
        let state = self.disk.state();
        state.alive()?;
        let id = *state.now.get(&self.full(name)).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(&state, id))
    }

    fn create(&self, name: &str) -> io::Result<SimulatedFile> {
        let state = &mut *self.disk.state();
        state.operate()?;
        if !state.directories.contains(&self.path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let path = self.full(name);
        let id = match state.now.get(&path) {
            Some(&id) => id,
            None => {
                state.next += 1;
                let id = state.next;
                state.files.insert(id, Content::default());
                state.change(vec![(path, Some(id))]);
                id
            }
        };
        if let Some(file) = state.files.get_mut(&id) {
            file.resize(0);
        }
        Ok(self.file(state, id))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.disk.state();
        state.alive()?;
        if !state.directories.contains(&self.path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.now.keys().filter(|path| parent(path) == self.path);
        Ok(inside.filter_map(|p| Some(p.rsplit('/').next()?.to_string())).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.disk.state();
        state.operate()?;
        let from = self.full(from);
        let id = *state.now.get(&from).ok_or(io::ErrorKind::NotFound)?;
        state.change(vec![(from, None), (self.full(to), Some(id))]);
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let state = &mut *self.disk.state();
        state.operate()?;
        let path = self.full(name);
        if !state.now.contains_key(&path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(vec![(path, None)]);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.state();
        state.operate()?;
        let changes = core::mem::take(&mut state.changes);
        let (synced, kept): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|c| c.iter().any(|(path, _)| parent(path) == self.path));
        for change in &synced {
            apply(&mut state.durable, change);
        }
        state.changes = kept;
        state.forget();
        Ok(())
    }

    fn space(&self) -> io::Result<Option<u64>> {
        let state = self.disk.state();
        state.alive()?;
        Ok(state.faults.capacity.map(|capacity| capacity.saturating_sub(state.used())))
    }
}

/// An open file of a [`Disk`].
#[derive(Clone, Debug)]
pub struct SimulatedFile {
    disk: Disk,
    id: Id,
    life: u64,
    /// As long as it is there, the content is.
    _handle: Arc<()>,
}

impl SimulatedFile {
    fn with<T>(
        &self,
        changes: bool,
        f: impl FnOnce(&mut State, Id) -> io::Result<T>,
    ) -> io::Result<T> {
        let state = &mut *self.disk.state();
        if state.life != self.life {
            return Err(io::ErrorKind::StaleNetworkFileHandle.into());
        }
        if changes { state.operate() } else { state.alive() }?;
        f(state, self.id)
    }
}

fn content(state: &mut State, id: Id) -> io::Result<&mut Content> {
    state.files.get_mut(&id).ok_or_else(|| io::ErrorKind::StaleNetworkFileHandle.into())
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl File for SimulatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = index(offset)?;
        self.with(false, |state, id| {
            let there = content(state, id)?.now.len().saturating_sub(offset);
            let mut n = there.min(buf.len());
            if state.faults.short_reads && n > 1 {
                n = 1 + usize::try_from(state.rng.below(n as u64)).unwrap_or(0);
            }
            let file = content(state, id)?;
            if n > 0 {
                buf[..n].copy_from_slice(&file.now[offset..offset + n]);
            }
            if let Some(misread) = &mut state.faults.misread {
                misread.strike(id, offset, &mut buf[..n]);
            }
            Ok(n)
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = index(offset)?;
        self.with(true, |state, id| {
            for at in sectors(start..start + bytes.len()) {
                let piece = (at * SECTOR).max(start)..((at + 1) * SECTOR).min(start + bytes.len());
                state.take(id, piece.clone())?;
                let file = content(state, id)?;
                if file.now.len() < piece.end {
                    file.resize(piece.end);
                    file.blocks.insert(at);
                }
                let from = &bytes[piece.start - start..piece.end - start];
                file.now[piece].copy_from_slice(from);
                file.dirty.insert(at);
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(false, |state, id| Ok(content(state, id)?.now.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = index(len)?;
        self.with(true, |state, id| {
            content(state, id)?.resize(len);
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let len = index(len)?;
        self.with(true, |state, id| {
            state.take(id, 0..len)?;
            let file = content(state, id)?;
            let blocks = core::mem::take(&mut file.blocks);
            file.resize(len.max(file.now.len()));
            file.blocks = blocks;
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(true, |state, id| {
            if state.faults.failing_syncs > 0 {
                state.faults.failing_syncs -= 1;
                // The kernel forgets that the pages were dirty.
                content(state, id)?.dirty.clear();
                return Err(io::Error::other("the disk failed to sync"));
            }
            content(state, id)?.sync();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_of_the_rest() {
        let (mut torn, mut whole, mut none, mut named) = (0, 0, 0, 0);
        for seed in 0..200 {
            let disk = Disk::new(seed);
            let file = disk.root().create("a").unwrap();
            file.set_len(8 * 512).unwrap();
            file.write_all_at(&[1; 512], 0).unwrap();
            file.sync_data().unwrap();
            disk.root().sync().unwrap();
            file.write_all_at(&[2; 1024], 512).unwrap();
            disk.root().create("b").unwrap();
            disk.crash();
            assert!(file.len().is_err(), "handles die");
            let a = disk.read("a").unwrap();
            assert_eq!((a.len(), &a[..512]), (8 * 512, &[1; 512][..]));
            match (a[512], a[1024]) {
                (2, 2) => whole += 1,
                (0, 0) => none += 1,
                _ => torn += 1,
            }
            named += i32::from(disk.read("b").is_some());
        }
        assert!(torn > 50 && whole > 20 && none > 20, "{torn} {whole} {none}");
        assert!((50..150).contains(&named), "{named}");
    }

    #[test]
    fn a_rename_happens_or_not() {
        for seed in 0..50 {
            let disk = Disk::new(seed);
            disk.write("d/new", b"new");
            disk.write("d/old", b"old");
            disk.root().join("d").rename("new", "old").unwrap();
            disk.crash();
            match disk.paths().len() {
                1 => assert_eq!(disk.read("d/old").unwrap(), b"new"),
                _ => assert_eq!(disk.read("d/old").unwrap(), b"old"),
            }
        }
    }

    #[test]
    fn faults_strike() {
        let disk = Disk::new(1);
        disk.set_capacity(Some(1024));
        let file = disk.root().create("a").unwrap();
        // Empty space is not counted, content is.
        file.set_len(1 << 20).unwrap();
        assert_eq!(disk.root().space().unwrap(), Some(1024));
        let full = file.write_all_at(&[7; 2048], 0).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read("a").unwrap()[1023..1025], [7, 0]);
        assert_eq!(disk.root().space().unwrap(), Some(0));
        file.sync_data().unwrap();
        file.write_all_at(&[8; 512], 0).unwrap();
        disk.fail_syncs(1);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        disk.root().sync().unwrap();
        disk.crash();
        assert_eq!(disk.read("a").unwrap()[0], 7, "lost although a later sync succeeded");
        let file = disk.root().open("a").unwrap();
        file.write_all_at(&[9; 512], 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.sector("a", 0, true).unwrap(), [7; 512]);
        disk.misread("a", 0, vec![3; 512], 1);
        let mut read = [0; 600];
        assert_eq!(file.read_at(&mut read, 100).unwrap(), 600);
        assert_eq!((read[411], read[412], disk.misreads()), (3, 7, 0));
        assert_eq!(file.read_at(&mut read, 100).unwrap(), 600);
        assert_eq!(read[411], 9);
        disk.cut_power_after(1);
        disk.root().create("b").unwrap();
        assert!(disk.root().create("c").is_err());
        assert!(disk.root().list().is_err());
    }
}
