//! The file store, on the simulated disk.

use std::collections::VecDeque;

use zk_core::id::{Epoch, Zxid};
use zk_core::peer::{Disk as Want, Epochs, Order, Peer};
use zk_core::time::Now;
use zk_std::member::{self, History};
use zk_std::store::simulated::{Disk, Rng, Simulated};
use zk_std::store::{self, SnapshotWriter, Store, VERSION_2};

use super::super::met::Met;
use super::Size;
use super::storage::{Did, Loaded, Member, Rotten, Storage};

type Step = member::Step<Simulated>;

/// Milliseconds in which a full disk may get room again before the process ends.
const FULL: u64 = 700;

pub(super) struct Files {
    disk: Disk,
    store: Store<Simulated>,
    size: Size,
    writer: Option<SnapshotWriter<Simulated>>,
    files: member::Files<Simulated>,
    /// The snapshot that is received.
    installing: Zxid,
    /// With the disk, and not yet in the log.
    waiting: VecDeque<(Zxid, Vec<u8>)>,
    /// In the log, and not yet synced.
    unsynced: Vec<Zxid>,
    /// The last transaction of what is to be synced.
    syncing: Option<Zxid>,
    /// Since when there is no room on the disk.
    full_since: Option<u64>,
    /// An epoch that was written just now.
    begins: Option<Epoch>,
}

fn store_options(size: Size) -> store::Options {
    store::Options {
        preallocate: 4096,
        batch_max: size.batch.max(1024),
        record_max: 1 << 14,
        // Whoever has lost everything must not pass for a new server.
        db_autocreate: false,
        reserve: 1024,
        ..store::Options::default()
    }
}

fn open(disk: &Disk, size: Size) -> Result<Store<Simulated>, store::Error> {
    Store::open(disk.root(), disk.root(), store_options(size))
}

impl Files {
    /// On a disk that can be written.
    pub(super) fn new(disk: &Disk, size: Size) -> Self {
        Self {
            disk: disk.clone(),
            store: open(disk, size).unwrap(),
            size,
            writer: None,
            files: member::Files::default(),
            installing: Zxid::NONE,
            waiting: VecDeque::new(),
            unsynced: vec![],
            syncing: None,
            full_since: None,
            begins: None,
        }
    }

    /// A snapshot for which there is no room is given up.
    fn snapshot_step(
        &mut self,
        peer: &mut Peer<'static>,
        done: Result<(), store::Error>,
    ) -> Result<(), store::Error> {
        match done {
            Err(error) if error.is_full() => {
                self.writer = None;
                peer.snapshot_failed();
                Ok(())
            }
            done => done,
        }
    }

    /// Writes what waits, and makes it durable.
    fn sync(&mut self, member: Member<'_>, now: Now, last: Zxid) -> Did {
        let mut done = Ok(());
        while let Some((zxid, txn)) = self.waiting.front() {
            done = self.store.append(*zxid, txn);
            if done.is_err() {
                break;
            }
            self.unsynced.push(*zxid);
            self.waiting.pop_front();
        }
        match done.and_then(|()| self.store.sync()) {
            Ok(()) => {
                self.syncing = None;
                *member.synced = last;
                if self.full_since.take().is_some() {
                    member.peer.set_full(false);
                }
                member.peer.durable(now, last).unwrap();
                Did::Synced(core::mem::take(&mut self.unsynced))
            }
            Err(error) if error.is_full() => {
                // Only what frees space is taken now, and the same is tried again.
                member.peer.set_full(true);
                let since = *self.full_since.get_or_insert(now.monotonic.0);
                let patient = now.monotonic.0 - since < FULL;
                if patient { Did::Nothing } else { Did::Full }
            }
            Err(_) => Did::Failed,
        }
    }

    /// Does what the ensemble wants; then [`ended`](Self::ended).
    fn begin(
        &mut self,
        order: Order<'_>,
        synced: &mut Zxid,
    ) -> (Did, Option<Epochs>, Result<Step, store::Error>) {
        let asked = match &order {
            Order::InstallBegin(zxid) => {
                self.installing = *zxid;
                None
            }
            Order::Epochs(epochs) => Some(*epochs),
            _ => None,
        };
        let did = match &order {
            Order::Truncate(zxid) => Did::Truncated(*zxid),
            Order::InstallEnd => Did::Installed(self.installing),
            _ => Did::Something,
        };
        if let Order::Truncate(zxid) = &order {
            // What is behind may be gone, even if the power is before that is told.
            *synced = (*synced).min(*zxid);
        }
        (did, asked, self.files.begin(&mut self.store, order))
    }

    fn ended(
        &mut self,
        member: Member<'_>,
        now: Now,
        (mut did, asked, begun): (Did, Option<Epochs>, Result<Step, store::Error>),
    ) -> (Did, Result<(), store::Error>) {
        let done = begun.and_then(|begun| begun.finish(&mut self.store, member.peer, now));
        // Where there is no room, what was there before is read again.
        let last = member.peer.tree().last_zxid();
        if matches!(did, Did::Installed(zxid) if zxid != last) {
            did = Did::ReadAgain(last);
        }
        if let (Some(epochs), Ok(())) = (asked, &done) {
            let before = core::mem::replace(member.epochs, epochs);
            self.begins = Some(epochs.current).filter(|&current| current != before.current);
            did = Did::Epochs;
        }
        (did, done)
    }
}

impl Storage for Files {
    fn open(&mut self) -> Result<(), String> {
        self.store = open(&self.disk, self.size).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn load(&mut self, peer: &mut Peer<'static>) -> Result<Loaded, String> {
        let words = |error: store::Error| error.to_string();
        let history = member::restore(&mut self.store, peer, &mut |_, _| {}).map_err(words)?;
        let last = match history {
            History::Loaded(restored) => restored.zxid,
            History::Damaged => Zxid::NONE,
        };
        let epochs = self.store.epochs(last).map_err(words)?;
        let epochs = Epochs { accepted: epochs.accepted, current: epochs.current };
        Ok(Loaded { last: Some(last).filter(|last| *last != Zxid::NONE), epochs })
    }

    fn step(&mut self, member: Member<'_>, now: Now, rng: &mut Rng) -> Did {
        if let Some(last) = self.syncing
            && rng.coin()
        {
            return self.sync(member, now, last);
        }
        let Some(want) = member.peer.poll_disk() else {
            if rng.below(64) == 0 {
                // It does no harm if that fails.
                let _ = self.store.idle();
            }
            return Did::Nothing;
        };
        let mut did = Did::Something;
        let done = match want {
            Want::Append(batch) => {
                let all: Vec<_> = batch.iter().map(|(zxid, txn)| (zxid, txn.to_vec())).collect();
                self.waiting.extend(all.iter().cloned());
                self.syncing = Some(batch.last());
                return Did::Appended(all);
            }
            Want::Roll => self.store.roll(),
            Want::SnapshotBegin(zxid) => {
                let begun =
                    self.store.begin_snapshot(zxid).map(|writer| self.writer = Some(writer));
                self.snapshot_step(member.peer, begun)
            }
            Want::SnapshotBytes(bytes) => {
                let n = bytes.len();
                let written = self.writer.as_mut().map_or(Ok(()), |writer| writer.write(bytes));
                member.peer.snapshot_written(n);
                self.snapshot_step(member.peer, written)
            }
            Want::SnapshotEnd(digest) => {
                let written = self.writer.take().map(|writer| {
                    writer
                        .finish(Some(digest), Some(digest.zxid))
                        .map(|_| member.peer.snapshot_done())
                });
                // The files that a learner may still be reading stay.
                let written = written.unwrap_or(Ok(()));
                let purged =
                    written.and_then(|()| self.store.purge(3, member.peer.pinned()).map(drop));
                self.snapshot_step(member.peer, purged)
            }
            Want::SnapshotDrop => {
                self.writer = None;
                Ok(())
            }
            Want::Ensemble(order) => {
                let done;
                let begun = self.begin(order, member.synced);
                (did, done) = self.ended(member, now, begun);
                done
            }
        };
        match done {
            Ok(()) => did,
            Err(error) if error.is_full() => Did::Full,
            Err(_) => Did::Failed,
        }
    }

    fn did_too(&mut self) -> Option<Did> {
        self.begins.take().map(Did::Begins)
    }

    fn crash(&mut self, _: bool) {
        self.writer = None;
        self.files = member::Files::default();
        self.waiting.clear();
        self.unsynced.clear();
        self.syncing = None;
        self.full_since = None;
        self.disk.crash();
    }

    fn cut_power_after(&mut self, operations: u64) {
        self.disk.cut_power_after(operations);
    }

    fn wipe(&mut self, disk: &Disk, _: u64) {
        self.disk = disk.clone();
    }

    /// A bit of a snapshot or a log flips. (Not of an epoch: Apache's files have no checksum there,
    /// and a wrong digit is as good as a right one.)
    fn rot(&mut self, rng: &mut Rng) -> Option<Rotten> {
        let rots = |path: &String| {
            let name = path.strip_prefix(VERSION_2).unwrap_or_default();
            name.starts_with("/snapshot.") || name.starts_with("/log.")
        };
        let paths: Vec<String> = self.disk.paths().into_iter().filter(rots).collect();
        if paths.is_empty() {
            return None;
        }
        let path = &paths[rng.below(paths.len() as u64) as usize];
        let written = self.disk.read(path).map_or(0, |bytes| {
            bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
        });
        if written == 0 {
            return None;
        }
        let offset = rng.below(written as u64) as usize;
        let bit = rng.below(8);
        self.disk.flip(path, offset, 1 << bit);
        Some(Rotten { what: format!("{path} at {offset}"), at_rest: false })
    }

    fn after_crash(&self, disk: &Disk, _: u64) -> Box<dyn Storage> {
        let mut left = Self::new(&Disk::new(0), self.size);
        left.disk = disk.clone();
        Box::new(left)
    }

    fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    fn state(&self) -> String {
        format!("files, syncing {:?}", self.syncing)
    }

    fn count(&self, _: &mut Met) {}
}
