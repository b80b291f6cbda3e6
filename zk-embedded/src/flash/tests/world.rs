//! A store with a plain model beside it.
//!
//! The model of a history is its last zxid and a number into which every transaction was mixed. A
//! snapshot's body says both, at length, so that what is loaded gives them again.

use std::vec;
use std::vec::Vec;

use zk_core::id::{Epoch, Zxid};
use zk_core::peer::Epochs;
use zk_core::tree::snapshot::Taken;
use zk_core::wire::file::SnapshotDigest;

use crate::flash::simulated::{Flash, Geometry};
use crate::flash::{
    Block, Done, Error, Found, Load, Loaded, Memory, Options, Poll, Refusal, Store,
};

pub(super) const SMALL: Geometry = Geometry { write: 4, page: 256, erase: 4096, blocks: 8 };

/// The longest transaction of the tests.
pub(super) const TXN_MAX: usize = 400;

pub(super) const OPTIONS: Options =
    Options { first_block: 0, txn_max: TXN_MAX, snapshot_max: 5000 };

/// Numbers that only look as if by chance.
#[derive(Clone, Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The model of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) zxid: Zxid,
    pub(super) mixed: u64,
}

impl State {
    pub(super) const EMPTY: Self = Self { zxid: Zxid::ZERO, mixed: 1 };

    pub(super) fn and(self, zxid: Zxid, txn: &[u8]) -> Self {
        let mut mixed = mix(self.mixed ^ zxid.0.cast_unsigned());
        for part in txn.chunks(8) {
            let mut number = [0; 8];
            number[..part.len()].copy_from_slice(part);
            mixed = mix(mixed ^ u64::from_le_bytes(number)).wrapping_add(part.len() as u64);
        }
        Self { zxid, mixed }
    }

    /// The body of a snapshot of it.
    pub(super) fn body(self) -> Vec<u8> {
        let mut rng = Rng(self.mixed);
        let len = 24 + rng.below(4900) as usize;
        let mut body = (len as u64).to_le_bytes().to_vec();
        body.extend(self.zxid.0.to_le_bytes());
        body.extend(self.mixed.to_le_bytes());
        while body.len() < len {
            // Much of a real one is blank.
            let byte = rng.next() as u8;
            body.push(if byte < 100 { 0xff } else { byte });
        }
        body
    }

    fn of_body(body: &[u8]) -> Self {
        let number = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        let state = Self { zxid: Zxid(number(8).cast_signed()), mixed: number(16) };
        assert_eq!(state.body(), body, "a snapshot's body");
        state
    }
}

/// Takes what is loaded for a model.
#[derive(Debug)]
pub(super) struct Taker {
    body: Vec<u8>,
    pub(super) state: State,
}

impl Default for Taker {
    fn default() -> Self {
        Self { body: vec![], state: State::EMPTY }
    }
}

impl Load for Taker {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal> {
        // What is taken is less than what is shown, as with records.
        let n = if bytes.len() > 100 { bytes.len() - 7 } else { bytes.len() };
        self.body.extend(&bytes[..n]);
        let len = self.body.first_chunk().map_or(u64::MAX, |len| u64::from_le_bytes(*len));
        Ok(Taken { consumed: n, need: 0, done: self.body.len() as u64 >= len })
    }

    fn snapshot_done(&mut self, zxid: Zxid, _: Option<SnapshotDigest>) {
        self.state = State::of_body(&self.body);
        assert_eq!(self.state.zxid, zxid);
    }

    fn txn(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Refusal> {
        self.state = self.state.and(zxid, txn);
        Ok(())
    }
}

/// Memory to lend.
#[derive(Debug)]
pub(super) struct Room {
    blocks: Vec<Block>,
    batch: Vec<u8>,
    piece: Vec<u8>,
}

impl Room {
    pub(super) fn new(geometry: Geometry) -> Self {
        let batch = crate::flash::batch_len(1000, TXN_MAX, geometry.write);
        Self {
            blocks: vec![Block::default(); geometry.blocks],
            batch: vec![0; batch],
            piece: vec![0; 256],
        }
    }

    pub(super) fn memory(&mut self) -> Memory<'_> {
        Memory { blocks: &mut self.blocks, batch: &mut self.batch, piece: &mut self.piece }
    }
}

/// What must be there whatever happens to an operation.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    /// One of these histories.
    pub(super) states: Vec<State>,
    /// One of these epochs.
    pub(super) epochs: Vec<Epochs>,
    /// So many starts at least.
    pub(super) boots: u32,
    /// The store was never started to the end.
    pub(super) new: bool,
}

/// A store in use.
pub(super) struct World<'m, 'w> {
    pub(super) store: Store<'m, Flash>,
    pub(super) rng: Rng,
    pub(super) expect: Expect,
    /// The history behind the snapshot, which can be truncated: states, oldest first.
    pub(super) above: Vec<State>,
    /// Called with every operation of the flash that has begun.
    pub(super) watch: &'w mut dyn FnMut(&Flash, &Expect),
    writing: Option<(State, Vec<u8>, bool)>,
}

pub(super) fn open<'m>(
    flash: Flash,
    room: &'m mut Room,
    options: Options,
) -> (Store<'m, Flash>, Found) {
    Store::open(flash, room.memory(), options).unwrap()
}

pub(super) fn load(store: &mut Store<'_, Flash>) -> Result<(State, Loaded), Error<super::Fault>> {
    let mut taker = Taker::default();
    let loaded = store.load(&mut taker)?;
    assert_eq!(loaded.zxid, taker.state.zxid);
    assert_eq!(loaded.zxid, store.last());
    Ok((taker.state, loaded))
}

impl<'m, 'w> World<'m, 'w> {
    pub(super) fn new(
        flash: Flash,
        room: &'m mut Room,
        options: Options,
        seed: u64,
        watch: &'w mut dyn FnMut(&Flash, &Expect),
    ) -> Self {
        let (mut store, found) = open(flash, room, options);
        assert_eq!(found, Found::Nothing);
        store.start(false).unwrap();
        let expect = Expect {
            states: vec![State::EMPTY],
            epochs: vec![Epochs::default()],
            boots: 0,
            new: true,
        };
        let rng = Rng(seed);
        let mut world =
            Self { store, rng, expect, above: vec![State::EMPTY], watch, writing: None };
        assert_eq!(world.until(), Done::Started(1));
        world.expect.boots = 1;
        world.expect.new = false;
        world
    }

    pub(super) fn state(&self) -> State {
        self.expect.states[0]
    }

    pub(super) fn operations(&self) -> u64 {
        let counts = self.store.nor().counts();
        counts.programs + counts.erases
    }

    /// One step.
    pub(super) fn poll(&mut self, quiet: bool) -> Poll {
        let before = self.operations();
        let poll = self.store.poll(quiet).unwrap();
        if self.operations() > before {
            (self.watch)(self.store.nor(), &self.expect);
        }
        poll
    }

    /// Steps until something is done.
    pub(super) fn until(&mut self) -> Done {
        loop {
            match self.poll(false) {
                Poll::Done(done) => return done,
                Poll::Working => {}
                Poll::Idle => panic!("nothing is done: {:?}", self.store),
            }
        }
    }

    /// Steps until the next order can be given.
    pub(super) fn ready(&mut self) {
        while !self.store.is_ready() {
            self.poll(false);
        }
    }

    /// Steps until there is nothing to do.
    pub(super) fn rest(&mut self) {
        while self.poll(true) != Poll::Idle {}
    }

    pub(super) fn some_bytes(&mut self, most: u64) -> Vec<u8> {
        let len = 32 + self.rng.below(most - 32);
        // Some of it looks as if nothing was written.
        let blank = self.rng.below(4) == 0;
        (0..len).map(|_| if blank { 0xff } else { self.rng.next() as u8 }).collect()
    }

    /// A batch of transactions.
    pub(super) fn append(&mut self) {
        let mut zxid = self.state().zxid;
        let epoch = self.expect.epochs[0].current;
        let (mut txns, mut bytes) = (vec![], 0);
        for _ in 0..=self.rng.below(4) {
            zxid = if zxid.epoch() == epoch { zxid.successor() } else { Zxid::new(epoch, 1) };
            let most = [60, 200, TXN_MAX as u64][self.rng.below(3) as usize];
            let txn = self.some_bytes(most);
            bytes += txn.len();
            if bytes > 1000 {
                break;
            }
            txns.push((zxid, txn));
        }
        let mut states = vec![self.state()];
        for (zxid, txn) in &txns {
            states.push(states.last().unwrap().and(*zxid, txn));
        }
        self.ready();
        self.store.append(txns.iter().map(|(zxid, txn)| (*zxid, &txn[..]))).unwrap();
        self.expect.states.clone_from(&states);
        loop {
            match self.poll(false) {
                Poll::Done(Done::Appended(last)) => {
                    assert_eq!(last, states.last().unwrap().zxid);
                    break;
                }
                Poll::Done(done) => panic!("{done:?}"),
                Poll::Working => {}
                Poll::Idle => {
                    // It has little room before there is a snapshot.
                    assert!(self.is_writing() || self.store.is_full());
                    assert!(self.is_writing() || self.store.wants_snapshot());
                    self.snapshot_steps(true);
                }
            }
        }
        self.expect.states = vec![*states.last().unwrap()];
        self.above.extend(&states[1..]);
    }

    pub(super) fn set_epochs(&mut self, epochs: Epochs) {
        self.ready();
        self.expect.epochs.push(epochs);
        self.store.set_epochs(epochs).unwrap();
        assert_eq!(self.until(), Done::Epochs(epochs));
        self.expect.epochs = vec![epochs];
    }

    /// A leader is heard of, then its history is there.
    pub(super) fn next_epoch(&mut self) {
        let Epochs { accepted, current } = self.expect.epochs[0];
        let next = Epoch(accepted.0 + 1);
        self.set_epochs(Epochs { accepted: next, current });
        self.set_epochs(Epochs { accepted: next, current: next });
    }

    pub(super) fn begin_snapshot(&mut self) {
        let state = *self.above.last().unwrap();
        assert_eq!(self.writing.as_ref().map(|writing| writing.0), None);
        self.ready();
        self.store.begin_snapshot(state.zxid, false).unwrap();
        self.writing = Some((state, state.body(), false));
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Writes on, a piece or all; true when it is whole.
    pub(super) fn snapshot_steps(&mut self, all: bool) -> bool {
        if self.writing.is_none() {
            self.begin_snapshot();
        }
        loop {
            let (state, body, ended) = self.writing.as_mut().unwrap();
            if self.store.is_ready() {
                if body.is_empty() {
                    assert!(!*ended);
                    self.store.end_snapshot(None);
                    *ended = true;
                } else {
                    let most = body.len().min(1 + self.rng.below(300) as usize);
                    let n = self.store.snapshot_bytes(&body[..most]);
                    assert!(n > 0);
                    body.drain(..n);
                }
            }
            let state = *state;
            match self.poll(false) {
                Poll::Done(Done::Snapshot(snapshot)) => {
                    assert_eq!(snapshot.zxid, state.zxid);
                    let at = self.above.iter().position(|above| *above == state).unwrap();
                    self.above.drain(..at);
                    self.writing = None;
                    return true;
                }
                Poll::Done(done) => panic!("{done:?}"),
                Poll::Working => {}
                Poll::Idle if !all => return false,
                Poll::Idle => {}
            }
        }
    }

    pub(super) fn drop_snapshot(&mut self) {
        self.writing = None;
        self.store.drop_snapshot();
    }

    /// Forgets the last transactions.
    pub(super) fn truncate(&mut self) {
        self.drop_snapshot();
        let to = self.above.len() - 1 - self.rng.below(self.above.len().min(6) as u64) as usize;
        let state = self.above[to];
        self.ready();
        self.expect.states.push(state);
        assert!(self.store.truncate(state.zxid).unwrap());
        assert_eq!(self.until(), Done::Truncated(state.zxid));
        assert_eq!(load(&mut self.store).unwrap().0, state);
        self.expect.states = vec![state];
        self.above.truncate(to + 1);
    }

    /// A leader's history takes the place of ours.
    pub(super) fn install(&mut self) {
        self.drop_snapshot();
        let mut zxid = Zxid::new(self.expect.epochs[0].current, 1 + self.rng.below(1000) as u32);
        let ours = self.state().zxid;
        if self.rng.below(2) == 0 && ours.counter() > 20 {
            // It ends before ours: what we have above it must never be seen again.
            zxid = Zxid(ours.0 - 1 - self.rng.below(15).cast_signed());
        }
        let state = State { zxid, mixed: self.rng.next() };
        self.ready();
        self.store.begin_snapshot(zxid, true).unwrap();
        let body = state.body();
        let mut left = &body[..];
        let snapshot = loop {
            if self.store.is_ready() {
                if left.is_empty() {
                    self.store.end_snapshot(None);
                } else {
                    let n = self.store.snapshot_bytes(left);
                    left = &left[n..];
                }
            }
            match self.poll(false) {
                Poll::Done(Done::Received(snapshot)) => break snapshot,
                Poll::Done(done) => panic!("{done:?}"),
                _ => {}
            }
        };
        let mut taker = Taker::default();
        self.store.load_received(&snapshot, &mut taker).unwrap();
        assert_eq!(taker.state, state);
        self.expect.states.push(state);
        self.ready();
        self.store.install().unwrap();
        assert_eq!(self.until(), Done::Installed(zxid));
        assert_eq!(load(&mut self.store).unwrap().0, state);
        self.expect.states = vec![state];
        self.above = vec![state];
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Met {
    pub(super) snapshots: u32,
    pub(super) truncations: u32,
    pub(super) installs: u32,
    pub(super) epochs: u32,
    pub(super) dropped: u32,
}

/// Uses a store for so many operations.
pub(super) fn use_store(world: &mut World<'_, '_>, operations: u64) -> Met {
    let mut met = Met::default();
    world.next_epoch();
    while world.operations() < operations {
        match world.rng.below(100) {
            0 => {
                world.next_epoch();
                met.epochs += 1;
            }
            1 if world.state().zxid.counter() > 0 => {
                world.truncate();
                met.truncations += 1;
            }
            2 if world.rng.below(3) == 0 => {
                // Of a later epoch than anything that there is.
                world.next_epoch();
                world.install();
                met.installs += 1;
                met.epochs += 1;
            }
            3 if world.is_writing() && world.rng.below(2) == 0 => {
                world.drop_snapshot();
                met.dropped += 1;
            }
            4..8 => world.rest(),
            8..50 if world.is_writing() || world.store.wants_snapshot() => {
                if world.snapshot_steps(false) {
                    met.snapshots += 1;
                }
            }
            _ => {
                let before = world.store.snapshot();
                world.append();
                met.snapshots += u32::from(world.store.snapshot() != before);
            }
        }
    }
    met
}
