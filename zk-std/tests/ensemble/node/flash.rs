//! The flash store, on the simulated NOR, with what the profile `tiny` gives it.
//!
//! What it draws is drawn apart from everything else.

use std::cell::RefCell;
use std::collections::VecDeque;

use zk_core::id::Zxid;
use zk_core::peer::Peer;
use zk_core::time::Now;
use zk_embedded::flash::simulated::{Cut, Flash, Geometry, Operation};
use zk_embedded::flash::{
    Block, Disk as FlashDisk, Done, Entries, History, Memory, Options, Poll, batch_len,
};
use zk_embedded::profile::TINY;
use zk_std::store::simulated::{Disk, Rng};

use super::super::met::Met;
use super::storage::{Did, Loaded, Member, Rotten, Storage};

/// Polls of one step, at most.
const POLLS: u64 = 12;

/// Places that are looked at for a byte that is written.
const TRIES: usize = 100;

/// The largest write size.
const WRITE: usize = 8;

/// For what learners lack.
const SCRATCH: usize = Entries::room(TINY.txn) + 500;

/// The device of one of many boards.
pub(crate) fn any_device(rng: &mut Rng) -> Geometry {
    let write = [1, 1, 4, WRITE][rng.below(4) as usize];
    let (erase, blocks) = [(4096, TINY.blocks), (4096, TINY.blocks + 4), (8192, TINY.blocks - 4)]
        [rng.below(3) as usize];
    Geometry { write, page: TINY.page, erase, blocks }
}

thread_local! {
    /// Memory that no board has now. (What is lent for ever would be more with each start.)
    static SPARE: RefCell<Vec<Memory<'static>>> = const { RefCell::new(vec![]) };
}

fn memory(blocks: usize) -> Memory<'static> {
    let bytes = |len| Vec::leak(vec![0; len]);
    let spare = SPARE.with_borrow_mut(|all| {
        let fits = all.iter().position(|memory| memory.blocks.len() == blocks)?;
        Some(all.swap_remove(fits))
    });
    spare.unwrap_or_else(|| Memory {
        blocks: Vec::leak(vec![Block::default(); blocks]),
        batch: bytes(batch_len(TINY.batch_max, TINY.txn, WRITE)),
        piece: bytes(TINY.page),
    })
}

/// What was lost with a device, or is over.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    programs_cut: u64,
    erases_cut: u64,
    laps: u64,
}

pub(super) struct Board {
    /// What it has while it is off.
    left: Flash,
    /// It was at rest when it went off.
    rested: bool,
    disk: Option<FlashDisk<'static, Flash>>,
    /// It may be new: where nothing is, nothing was lost.
    new: bool,
    /// A bit has changed.
    rotten: bool,
    /// The power goes off at that operation.
    power: u64,
    /// What is being appended.
    appending: Vec<Zxid>,
    told: VecDeque<Did>,
    counts: Counts,
    rng: Rng,
}

fn operations(flash: &Flash) -> u64 {
    flash.counts().programs + flash.counts().erases
}

fn laps(flash: &Flash) -> u64 {
    flash.counts().erases / flash.geometry().blocks as u64
}

impl Board {
    /// As it comes from the factory.
    pub(super) fn new(geometry: Geometry, seed: u64) -> Self {
        Self::with(Flash::new(geometry, seed), seed)
    }

    fn with(left: Flash, seed: u64) -> Self {
        Self {
            left,
            rested: false,
            disk: None,
            new: true,
            rotten: false,
            power: u64::MAX,
            appending: vec![],
            told: VecDeque::new(),
            counts: Counts::default(),
            rng: Rng::new(seed ^ 0xf1a5),
        }
    }

    /// Does one step, and notes what that did. Whether there was anything to do.
    fn poll(&mut self, member: &mut Member<'_>, now: Now) -> bool {
        let quiet = self.rng.below(4) == 0;
        let disk = self.disk.as_mut().expect("a board that is on");
        let store = disk.store();
        let (appending, asked) = (store.is_appending(), store.asked());
        let peer = &mut *member.peer;
        let before = peer.tree().last_zxid();
        let polled = disk.poll(peer, now, quiet, &mut [0; SCRATCH]);
        let store = disk.store();
        if !appending && store.is_appending() {
            let all: Vec<_> = store.appending().map(|(zxid, txn)| (zxid, txn.to_vec())).collect();
            self.appending = all.iter().map(|(zxid, _)| *zxid).collect();
            self.told.push_back(Did::Appended(all));
        }
        if let (None, Some(epochs)) = (asked, store.asked())
            && epochs.current != member.epochs.current
        {
            self.told.push_back(Did::Begins(epochs.current));
        }
        let cut = operations(store.nor()) >= self.power && store.nor().last().is_some();
        match polled {
            Ok(Poll::Idle) => return false,
            Ok(Poll::Working) => {}
            Ok(Poll::Done(done)) => self.done(member, done, before),
            // A board that finds rot starts anew.
            Err(_) if self.rotten => self.told.push_back(Did::Failed),
            Err(error) => panic!("server {}: {error}", member.peer.options().server.0),
        }
        if cut {
            self.told.push_back(Did::Failed);
        }
        true
    }

    fn done(&mut self, member: &mut Member<'_>, done: Done, before: Zxid) {
        let last = member.peer.tree().last_zxid();
        let did = match done {
            Done::Appended(last) => {
                let all = core::mem::take(&mut self.appending);
                assert_eq!(all.last(), Some(&last));
                *member.synced = last;
                Did::Synced(all)
            }
            Done::Epochs(epochs) => {
                *member.epochs = epochs;
                Did::Epochs
            }
            Done::Truncated(zxid) if zxid == last => {
                *member.synced = zxid;
                Did::Truncated(zxid)
            }
            Done::Installed(zxid) => Did::Installed(zxid),
            // It is not installed, or what is left cannot be read.
            Done::Truncated(_) | Done::SnapshotFailed | Done::Received(_) if last < before => {
                Did::ReadAgain(last)
            }
            _ => return,
        };
        self.told.push_back(did);
    }

    /// What there is now, whatever the power is.
    fn flash(&self) -> &Flash {
        self.disk.as_ref().map_or(&self.left, |disk| disk.store().nor())
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(disk) = self.disk.take() {
            let (_, memory) = disk.into_parts();
            SPARE.with_borrow_mut(|spare| spare.push(memory));
        }
    }
}

impl Storage for Board {
    fn open(&mut self) -> Result<(), String> {
        let mut flash = self.left.clone();
        flash.latency = 1 + self.rng.below(3) as u32;
        flash.slow_erases = [0, 3, 20, 100][self.rng.below(4) as usize];
        let memory = memory(flash.geometry().blocks);
        let options = Options { first_block: 0, txn_max: TINY.txn, snapshot_max: TINY.snapshot };
        let disk = FlashDisk::new(flash, memory, options).map_err(|unfit| unfit.0.to_owned())?;
        self.disk.insert(disk).open().map_err(|error| error.to_string())
    }

    fn load(&mut self, peer: &mut Peer<'static>) -> Result<Loaded, String> {
        let disk = self.disk.as_mut().expect("a board that is on");
        let history = disk.load(peer, self.new).map_err(|error| error.to_string())?;
        let last = match history {
            History::Loaded(loaded) => Some(loaded.zxid),
            History::Damaged(_) => None,
        };
        let epochs = disk.store().epochs();
        disk.start().map_err(|error| error.to_string())?;
        Ok(Loaded { last, epochs })
    }

    fn step(&mut self, mut member: Member<'_>, now: Now, _: &mut Rng) -> Did {
        for _ in 0..1 + self.rng.below(POLLS) {
            if !self.poll(&mut member, now) {
                return Did::Nothing;
            }
            if let Some(did) = self.told.pop_front() {
                return did;
            }
        }
        Did::Something
    }

    fn did_too(&mut self) -> Option<Did> {
        self.told.pop_front()
    }

    fn crash(&mut self, off: bool) {
        let Some(disk) = self.disk.take() else { return };
        self.rested = disk.store().is_at_rest() && disk.store().nor().last().is_none();
        let (flash, memory) = disk.into_parts();
        SPARE.with_borrow_mut(|spare| spare.push(memory));
        // A flash goes on when its board is reset.
        let cut = if off { Cut::ALL[self.rng.below(5) as usize] } else { Cut::After };
        match flash.last() {
            Some(Operation::Program { .. }) if off => self.counts.programs_cut += 1,
            Some(Operation::Erase { .. }) if off => self.counts.erases_cut += 1,
            _ => {}
        }
        self.left = flash.cut(cut, self.rng.next_u64());
        self.power = u64::MAX;
        self.appending.clear();
        self.told.clear();
    }

    fn cut_power_after(&mut self, operations: u64) {
        self.power = self::operations(self.flash()).saturating_add(operations);
    }

    fn wipe(&mut self, _: &Disk, seed: u64) {
        self.counts.laps += laps(&self.left);
        self.left = Flash::new(self.left.geometry(), seed);
        self.rested = false;
        self.new = false;
        self.rotten = false;
    }

    /// Only while all is at rest: a bit of a batch of which no record says that it was acknowledged is
    /// taken for a torn one.
    fn rot(&mut self, _: &mut Rng) -> Option<Rotten> {
        let flash = match &mut self.disk {
            None if self.rested => &mut self.left,
            Some(disk) if disk.store().is_at_rest() => disk.store_mut().nor_mut(),
            _ => return None,
        };
        if flash.last().is_some() {
            return None;
        }
        let written = |flash: &Flash, at: usize| flash.image()[at] != 0xff;
        let at = (0..TRIES).find_map(|_| {
            let at = self.rng.below(flash.image().len() as u64) as usize;
            written(flash, at).then_some(at)
        })?;
        flash.flip(8 * at + self.rng.below(8) as usize);
        self.rotten = true;
        Some(Rotten { what: format!("the flash at {at:#x}"), at_rest: true })
    }

    fn after_crash(&self, _: &Disk, seed: u64) -> Box<dyn Storage> {
        let cut = Cut::ALL[Rng::new(seed).below(5) as usize];
        let mut left = Self::with(self.flash().cut(cut, seed), seed);
        left.new = self.new;
        Box::new(left)
    }

    fn is_full(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.store().is_full())
    }

    fn state(&self) -> String {
        let Some(disk) = &self.disk else { return "flash, off".to_owned() };
        let store = disk.store();
        let snapshot = store.snapshot();
        format!(
            "flash {:?}, ready {}, appending {:?} behind {}, snapshot {snapshot:?}, full {}, {}",
            self.left.geometry(),
            store.is_ready(),
            self.appending,
            store.last(),
            store.is_full(),
            if store.makes_room() { "makes room" } else { "makes no room" }
        )
    }

    fn count(&self, met: &mut Met) {
        met.flash_laps += self.counts.laps + laps(self.flash());
        met.flash_programs_cut += self.counts.programs_cut;
        met.flash_erases_cut += self.counts.erases_cut;
    }
}
