//! What the store does when nothing is lost: room, pins, learners, wear, what it costs.

use std::vec;
use std::vec::Vec;

use zk_core::id::{Epoch, Zxid};
use zk_core::peer::{Epochs, READ_OVERHEAD};
use zk_core::tree::snapshot::Taken;
use zk_core::wire::file::SnapshotDigest;

use super::Fault;
use super::world::{Expect, OPTIONS, Room, SMALL, State, Taker, World, load, open, use_store};
use crate::flash::blocks::Use;
use crate::flash::simulated::{Flash, Geometry, Worn};
use crate::flash::store::RESERVE_SNAPSHOT;
use crate::flash::{
    Block, Done, Error, Found, Load, Memory, Nor, Options, Poll, Refusal, Store, batch_len,
};

/// Nobody watches.
fn nobody(_: &Flash, _: &Expect) {}

#[test]
fn a_new_flash_has_nothing_and_is_started_once() {
    let mut room = Room::new(SMALL);
    let (mut store, found) = open(Flash::new(SMALL, 1), &mut room, OPTIONS);
    assert_eq!(found, Found::Nothing);
    assert!(!store.is_ready());
    let nothing = core::iter::empty::<(Zxid, &[u8])>();
    assert_eq!(store.append(nothing), Err(Error::NotReady));
    assert_eq!(store.set_epochs(Epochs::default()), Err(Error::NotReady));
    store.start(false).unwrap();
    assert_eq!(store.start(false), Err(Error::NotReady));
    // An erase and four programs: the stamp, what the block is, its head, and a record behind it.
    while store.poll(false).unwrap() != Poll::Idle {}
    let counts = store.nor().counts();
    assert_eq!((counts.erases, counts.programs), (1, 4));
    assert_eq!(load(&mut store).unwrap().0, State::EMPTY);
    let flash = store.into_nor();
    let (store, found) = open(flash, &mut room, OPTIONS);
    assert_eq!((found, store.boots()), (Found::History, 1));
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut room = Room::new(SMALL);
    let refused = |geometry: Geometry, options: Options, batch: usize, piece: usize| {
        let mut blocks = vec![Default::default(); geometry.blocks];
        let (mut batch, mut piece) = (vec![0; batch], vec![0; piece]);
        let memory = Memory { blocks: &mut blocks, batch: &mut batch, piece: &mut piece };
        let flash = Flash::new(geometry, 1);
        matches!(Store::open(flash, memory, options), Err(Error::Unfit(_)))
    };
    let batch = batch_len(1000, 400, 4);
    assert!(!refused(SMALL, OPTIONS, batch, 256));
    assert!(refused(SMALL, OPTIONS, batch_len(1, 400, 4) - 1, 256));
    assert!(refused(SMALL, OPTIONS, 4096, 256));
    assert!(refused(SMALL, OPTIONS, batch, 127));
    assert!(refused(SMALL, OPTIONS, batch, 4096));
    assert!(refused(SMALL, Options { first_block: 1, ..OPTIONS }, batch, 256));
    assert!(refused(SMALL, Options { snapshot_max: 13_000, ..OPTIONS }, batch, 256));
    assert!(refused(Geometry { blocks: 5, ..SMALL }, OPTIONS, batch, 256));
    assert!(refused(Geometry { write: 128, ..SMALL }, OPTIONS, batch, 256));
    // Transactions that are not the next ones.
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    world.ready();
    let zxid = Zxid(5);
    let mut append = |zxid: i64, len: usize| {
        let txn = vec![1; len];
        world.store.append([(Zxid(zxid), &txn[..])].into_iter())
    };
    let (last, len) = (Zxid::ZERO, 401);
    assert_eq!(append(5, 401), Err(Error::Transaction { zxid, last, len }));
    assert!(matches!(append(0, 40), Err(Error::Transaction { .. })));
    assert_eq!(append(5, 40), Ok(()));
    assert_eq!(append(6, 40), Err(Error::NotReady));
}

#[test]
fn a_store_may_be_a_part_of_a_device() {
    let geometry = Geometry { blocks: 12, ..SMALL };
    let mut flash = Flash::new(geometry, 1);
    let mut image = vec![0x5a; geometry.erase * geometry.blocks];
    image[3 * 4096..11 * 4096].fill(0xff);
    flash.set_image(&image);
    let mut room = Room::new(SMALL);
    let options = Options { first_block: 3, ..OPTIONS };
    let mut watch = nobody;
    let mut world = World::new(flash, &mut room, options, 1, &mut watch);
    use_store(&mut world, 1500);
    let (state, flash) = (world.state(), world.store.into_nor());
    assert!(flash.image()[..3 * 4096].iter().all(|byte| *byte == 0x5a));
    assert!(flash.image()[11 * 4096..].iter().all(|byte| *byte == 0x5a));
    let (mut store, _) = open(flash, &mut room, options);
    assert_eq!(load(&mut store).unwrap().0, state);
}

#[test]
fn quiet_moments_leave_nothing_to_do() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    use_store(&mut world, 500);
    world.append();
    world.rest();
    let counts = world.store.nor().counts();
    for _ in 0..100 {
        assert_eq!(world.poll(true), Poll::Idle);
    }
    assert_eq!(world.store.nor().counts(), counts);
    // Enough is erased for the log and a snapshot of two blocks: nothing that comes waits for it.
    while !world.store.wants_snapshot() {
        world.append();
        assert_eq!(world.store.nor().counts().erases, counts.erases);
        world.rest();
        if world.store.nor().counts().erases > counts.erases {
            return;
        }
    }
    world.snapshot_steps(true);
    assert_eq!(world.store.nor().counts().erases, counts.erases);
}

#[test]
fn a_full_log_waits_for_a_snapshot() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    world.ready();
    let (mut zxid, mut state) = (Zxid::new(Epoch(1), 0), State::EMPTY);
    let txn = [9; 300];
    let mut wanted = 0;
    let mut full_at = None;
    // Nobody takes a snapshot.
    let last = loop {
        zxid = zxid.successor();
        world.store.append([(zxid, &txn[..])].into_iter()).unwrap();
        let poll = loop {
            match world.store.poll(false).unwrap() {
                Poll::Working => {}
                poll => break poll,
            }
        };
        wanted += u32::from(world.store.wants_snapshot());
        if world.store.is_full() {
            full_at.get_or_insert(zxid);
        }
        match poll {
            Poll::Idle => break zxid,
            Poll::Done(Done::Appended(last)) => assert_eq!(last, zxid),
            poll => panic!("{poll:?}"),
        }
        state = state.and(zxid, &txn);
    };
    // Three blocks for the log, two snapshots of two, and one in advance; before the last is full,
    // it says so.
    let log = world.store.blocks.iter().filter(|block| block.use_ == Use::Log).count();
    assert_eq!(log, 3);
    assert!(wanted > 10 && full_at.unwrap().counter() + 3 < last.counter());
    // Whatever else is to be written can be: the epochs, and the snapshot.
    world.set_epochs(Epochs { accepted: Epoch(2), current: Epoch(1) });
    world.ready();
    world.store.begin_snapshot(state.zxid, false).unwrap();
    let body = state.body();
    let mut left = &body[..];
    let mut done = vec![];
    while done.len() < 2 {
        if world.store.is_ready() && !left.is_empty() {
            left = &left[world.store.snapshot_bytes(left)..];
            if left.is_empty() {
                world.store.end_snapshot(None);
            }
        }
        if let Poll::Done(event) = world.store.poll(false).unwrap() {
            done.push(event);
        }
    }
    assert!(matches!(done[0], Done::Snapshot(snapshot) if snapshot.zxid == state.zxid));
    assert_eq!(done[1], Done::Appended(last));
    assert!(!world.store.is_full());
    assert_eq!(load(&mut world.store).unwrap().0, state.and(last, &txn));
}

/// What a member has logged and its leader has not committed is in no snapshot: what would make room
/// waits for more to be logged.
#[test]
fn the_smallest_ring_logs_what_no_snapshot_can_have_yet() {
    let smallest = Geometry { blocks: 6, ..SMALL };
    let mut room = Room::new(smallest);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(smallest, 1), &mut room, OPTIONS, 1, &mut watch);
    world.ready();
    let txn = [9; 300];
    let append = |world: &mut World<'_, '_>, zxid: Zxid| {
        world.store.append([(zxid, &txn[..])].into_iter()).unwrap();
        loop {
            match world.store.poll(false).unwrap() {
                Poll::Working => {}
                poll => break poll == Poll::Done(Done::Appended(zxid)),
            }
        }
    };
    let log = |world: &World<'_, '_>| {
        world.store.blocks.iter().filter(|block| block.use_ == Use::Log).count()
    };
    let (mut zxid, mut committed) = (Zxid::new(Epoch(1), 1), State::EMPTY);
    while log(&world) < 2 {
        assert!(append(&mut world, zxid), "{zxid} waits, with {} blocks of log", log(&world));
        if log(&world) < 2 {
            committed = committed.and(zxid, &txn);
        }
        zxid = zxid.successor();
    }
    // It says that it is full, and takes what others have proposed before they knew.
    assert!(world.store.is_full());
    assert!(append(&mut world, zxid));
    world.store.begin_snapshot(committed.zxid, false).unwrap();
    let body = committed.body();
    let mut left = &body[..];
    loop {
        if world.store.is_ready() && !left.is_empty() {
            left = &left[world.store.snapshot_bytes(left)..];
            if left.is_empty() {
                world.store.end_snapshot(None);
            }
        }
        if matches!(world.store.poll(false).unwrap(), Poll::Done(Done::Snapshot(_))) {
            break;
        }
    }
    assert_eq!(log(&world), 1);
    assert_eq!(load(&mut world.store).unwrap().0.zxid, zxid);
}

#[test]
fn a_snapshot_that_is_too_long_is_given_up() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    world.append();
    world.ready();
    for install in [false, true] {
        world.store.begin_snapshot(Zxid(9), install).unwrap();
        let mut sent = 0;
        let failed = loop {
            if world.store.is_ready() {
                sent += world.store.snapshot_bytes(&[3; 500]);
            }
            if let Poll::Done(done) = world.store.poll(false).unwrap() {
                break done;
            }
        };
        assert_eq!(failed, Done::SnapshotFailed);
        // Two blocks have more than was asked for.
        assert!(sent > 7000 && sent < 8192, "{sent}");
        assert_eq!(world.store.snapshot_bytes(&[3; 500]), 500);
        assert!(world.store.is_full());
    }
    let state = world.state();
    assert_eq!(load(&mut world.store).unwrap().0, state);
    world.ready();
    world.snapshot_steps(true);
    assert!(!world.store.is_full());
}

#[test]
fn a_snapshot_is_read_back_before_it_counts() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    world.append();
    world.ready();
    let state = world.state();
    world.store.begin_snapshot(state.zxid, false).unwrap();
    let body = state.body();
    let mut left = &body[..];
    while !left.is_empty() {
        if world.store.is_ready() {
            left = &left[world.store.snapshot_bytes(left)..];
        }
        world.store.poll(false).unwrap();
    }
    world.ready();
    // A piece that was right when it was programmed.
    let part = |block: &Block| matches!(block.use_, Use::Snapshot { .. });
    let block = world.store.blocks.iter().position(part).unwrap();
    world.store.nor_mut().flip(8 * (block * SMALL.erase + 200));
    world.store.end_snapshot(None);
    assert_eq!(world.until(), Done::SnapshotFailed);
    assert_eq!(world.store.snapshot(), None);
    assert_eq!(load(&mut world.store).unwrap().0, state);
}

/// A loader is shown what fits a batch's memory, and takes all of it.
#[test]
fn a_snapshot_is_loaded_wherever_its_end_lies() {
    struct All(Vec<u8>, usize);
    impl Load for All {
        fn reset(&mut self) {
            self.0.clear();
        }
        fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal> {
            self.0.extend(bytes);
            Ok(Taken { consumed: bytes.len(), need: 64, done: self.0.len() == self.1 })
        }
        fn snapshot_done(&mut self, _: Zxid, _: Option<SnapshotDigest>) {}
        fn txn(&mut self, _: Zxid, _: &[u8]) -> Result<(), Refusal> {
            panic!("there is none");
        }
    }
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    let batch = world.store.batch.len();
    for len in [1, 248, 249, 250, batch - 1, batch, batch + 1, 2 * batch] {
        let body: Vec<u8> = (0..len).map(|n| n as u8).collect();
        world.ready();
        world.store.begin_snapshot(Zxid(1), true).unwrap();
        let mut left = &body[..];
        while !left.is_empty() {
            if world.store.is_ready() {
                left = &left[world.store.snapshot_bytes(left)..];
            }
            world.store.poll(false).unwrap();
        }
        world.store.end_snapshot(None);
        let Done::Received(snapshot) = world.until() else { panic!("it is not whole") };
        let mut all = All(vec![], len);
        world.store.load_received(&snapshot, &mut all).unwrap();
        assert_eq!(all.0, body);
    }
}

/// Reads all that a learner is sent.
fn read_all(store: &mut Store<'_, Flash>, from: Zxid, most: usize) -> Vec<(Zxid, Vec<u8>)> {
    let mut room = vec![0; 1000];
    let mut all: Vec<(Zxid, Vec<u8>)> = vec![];
    loop {
        let from = all.last().map_or(from, |(zxid, _)| zxid.successor());
        let entries = store.read_log(from, most, &mut room).unwrap();
        let counted: usize = entries.iter().map(|(_, txn)| txn.len() + READ_OVERHEAD).sum();
        assert!(counted <= most || entries.iter().count() == 1);
        if entries.iter().count() == 0 {
            return all;
        }
        all.extend(entries.iter().map(|(zxid, txn)| (zxid, txn.to_vec())));
    }
}

fn read_snapshot(store: &mut Store<'_, Flash>, zxid: Zxid, most: usize) -> Option<Vec<u8>> {
    let (mut body, mut room) = (vec![], vec![0; most]);
    loop {
        let (n, end) = store.read_snapshot(zxid, body.len() as u64, &mut room).unwrap()?;
        body.extend(&room[..n]);
        if end {
            return Some(body);
        }
    }
}

#[test]
fn learners_read_what_is_pinned_for_them() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    world.next_epoch();
    world.append();
    world.snapshot_steps(true);
    let base = world.state();
    for _ in 0..8 {
        world.append();
    }
    world.ready();
    let first = base.zxid.successor();
    let all = read_all(&mut world.store, first, 600);
    let replayed = all.iter().fold(base, |state, (zxid, txn)| state.and(*zxid, txn));
    assert_eq!(replayed, world.state());
    assert_eq!(read_all(&mut world.store, first, 1), all);
    // Several at once, from anywhere.
    for (at, (zxid, _)) in all.iter().enumerate() {
        assert_eq!(read_all(&mut world.store, *zxid, 300), all[at..]);
    }
    assert_eq!(read_snapshot(&mut world.store, base.zxid, 100), Some(base.body()));
    assert_eq!(read_snapshot(&mut world.store, base.zxid, 7), Some(base.body()));
    // From where reading was interrupted.
    let mut bytes = [0; 10];
    let read = world.store.read_snapshot(base.zxid, 20, &mut bytes).unwrap();
    assert_eq!((read, &bytes[..]), (Some((10, false)), &base.body()[20..30]));
    assert_eq!(world.store.read_snapshot(Zxid(77), 0, &mut bytes).unwrap(), None);
    // The log goes on far, with other snapshots.
    world.store.pin(Some(base.zxid));
    world.snapshot_steps(true);
    let later = world.state();
    for _ in 0..4 {
        world.append();
        world.rest();
    }
    assert_eq!(read_snapshot(&mut world.store, base.zxid, 100), Some(base.body()));
    assert_eq!(read_snapshot(&mut world.store, later.zxid, 100), Some(later.body()));
    let after = read_all(&mut world.store, first, 600);
    assert_eq!(after[..all.len()], all);
    // Nobody reads any more.
    world.store.pin(None);
    for _ in 0..3 {
        world.append();
        world.snapshot_steps(true);
        world.rest();
    }
    assert_eq!(read_snapshot(&mut world.store, base.zxid, 100), None);
    assert!(read_all(&mut world.store, first, 600).is_empty());
    let next = world.state().zxid.successor();
    assert!(read_all(&mut world.store, next, 600).is_empty());
}

#[test]
fn why_a_board_was_reset_is_kept() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    world.ready();
    let reason = std::format!("{:-<60}", "panicked at src/main.rs:5");
    world.store.note(reason.as_bytes()).unwrap();
    assert_eq!(world.until(), Done::Noted);
    let flash = world.store.into_nor();
    let (store, _) = open(flash, &mut room, OPTIONS);
    assert_eq!(store.reason(), &reason.as_bytes()[..48]);
    let flash = store.into_nor();
    // It stays when the log goes on elsewhere.
    let (mut store, _) = open(flash, &mut room, OPTIONS);
    store.start(false).unwrap();
    while store.poll(true).unwrap() != Poll::Idle {}
    let flash = store.into_nor();
    let (store, _) = open(flash, &mut room, OPTIONS);
    assert_eq!((store.reason(), store.boots()), (&reason.as_bytes()[..48], 2));
}

/// A member whose log is full, and which was reset: it must be able to promise an epoch, or it could
/// follow nobody, and be reset for that.
#[test]
fn epochs_do_not_wait_for_the_reason_of_a_reset() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    world.ready();
    let (mut zxid, mut state) = (Zxid::new(Epoch(1), 0), State::EMPTY);
    let until = |world: &mut World<'_, '_>| loop {
        match world.poll(false) {
            Poll::Working => {}
            poll => break poll,
        }
    };
    let last = loop {
        zxid = zxid.successor();
        world.store.append([(zxid, &[9; 300][..])].into_iter()).unwrap();
        if until(&mut world) == Poll::Idle {
            break zxid;
        }
        state = state.and(zxid, &[9; 300]);
    };
    // All the room that is left to such records is used.
    let mut reason = [b'x'; 48];
    loop {
        reason[0] += 1;
        world.store.note(&reason).unwrap();
        match until(&mut world) {
            Poll::Done(Done::Noted) => {}
            poll => break assert_eq!(poll, Poll::Idle),
        }
    }
    assert_eq!(world.store.note(b"once more"), Err(Error::NotReady));
    let epochs = Epochs { accepted: Epoch(2), current: Epoch(1) };
    world.store.set_epochs(epochs).unwrap();
    assert_eq!(world.store.set_epochs(epochs), Err(Error::NotReady));
    assert_eq!(world.store.note(b"once more"), Err(Error::NotReady));
    world.store.begin_snapshot(state.zxid, false).unwrap();
    let body = state.body();
    let (mut left, mut done) = (&body[..], vec![]);
    while done.len() < 3 {
        if world.store.is_ready() && !left.is_empty() {
            left = &left[world.store.snapshot_bytes(left)..];
            if left.is_empty() {
                world.store.end_snapshot(None);
            }
        }
        if let Poll::Done(event) = world.poll(false) {
            done.push(event);
        }
    }
    // Epochs take less room.
    assert!(matches!(done[1], Done::Snapshot(_)), "{done:?}");
    assert_eq!((done[0], done[2]), (Done::Epochs(epochs), Done::Appended(last)));
    let flash = world.store.into_nor();
    let (store, _) = open(flash, &mut room, OPTIONS);
    assert_eq!((store.epochs(), store.reason()), (epochs, &reason[..]));
}

/// What a start writes behind what it copies must not take the room of the snapshot that would make more.
#[test]
fn a_full_log_is_started_as_often_as_one_likes() {
    for write in [1, 4, 32] {
        let geometry = Geometry { write, ..SMALL };
        let mut room = Room::new(geometry);
        let mut watch = nobody;
        let mut world = World::new(Flash::new(geometry, 1), &mut room, OPTIONS, 1, &mut watch);
        world.ready();
        let (mut zxid, mut state) = (Zxid::new(Epoch(1), 0), State::EMPTY);
        loop {
            zxid = zxid.successor();
            world.store.append([(zxid, &[9; 300][..])].into_iter()).unwrap();
            let poll = loop {
                match world.poll(false) {
                    Poll::Working => {}
                    poll => break poll,
                }
            };
            if poll == Poll::Idle {
                break;
            }
            state = state.and(zxid, &[9; 300]);
        }
        let mut flash = world.store.into_nor();
        for _ in 0..60 {
            let (mut store, _) = open(flash, &mut room, OPTIONS);
            store.start(false).unwrap();
            while store.poll(true).unwrap() != Poll::Idle {}
            assert!(store.end + RESERVE_SNAPSHOT <= store.layout.block);
            flash = store.into_nor();
        }
        let (mut store, _) = open(flash, &mut room, OPTIONS);
        assert_eq!(load(&mut store).unwrap().0, state);
        store.start(false).unwrap();
        let body = state.body();
        let mut left = None;
        for _ in 0..10_000 {
            if store.is_ready() && left.is_none() {
                store.begin_snapshot(state.zxid, false).unwrap();
                left = Some(&body[..]);
            } else if store.is_ready()
                && let Some(bytes) = left.as_mut().filter(|bytes| !bytes.is_empty())
            {
                *bytes = &bytes[store.snapshot_bytes(bytes)..];
                if bytes.is_empty() {
                    store.end_snapshot(None);
                }
            }
            if let Poll::Done(Done::Snapshot(_)) = store.poll(false).unwrap() {
                break;
            }
        }
        assert!(store.snapshot().is_some(), "{write}: there is no room for it");
    }
}

#[test]
fn worn_blocks_are_retired_and_too_few_stop_the_store() {
    for (worn, seed) in [(Worn::Program, 1), (Worn::Erase, 2), (Worn::Program, 3), (Worn::Erase, 4)]
    {
        let geometry = Geometry { blocks: 9, ..SMALL };
        let mut room = Room::new(geometry);
        let mut watch = nobody;
        let mut world =
            World::new(Flash::new(geometry, seed), &mut room, OPTIONS, seed, &mut watch);
        use_store(&mut world, 400);
        // Six are needed, nine are there: whichever three fail, it goes on.
        for block in [1, 4, 6] {
            world.store.nor_mut().wear(block, worn);
            let operations = world.operations();
            use_store_gently(&mut world, operations + 800);
        }
        let state = world.state();
        let retired = |store: &Store<'_, Flash>| {
            let retired = store.blocks.iter().enumerate();
            let retired = retired.filter(|(_, block)| block.use_ == Use::Retired);
            retired.map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(retired(&world.store), [1, 4, 6], "{worn:?}");
        // Later starts know it.
        let flash = world.store.into_nor();
        let erases = flash.erases().to_vec();
        let (mut store, found) = open(flash, &mut room, OPTIONS);
        assert_eq!((found, load(&mut store).unwrap().0), (Found::History, state));
        if worn == Worn::Program {
            assert_eq!(retired(&store), [1, 4, 6]);
        }
        store.start(false).unwrap();
        while store.poll(true).unwrap() != Poll::Idle {}
        if worn == Worn::Program {
            for block in [1, 4, 6] {
                assert_eq!(store.nor().erases()[block], erases[block]);
            }
        }
        // One more is too many.
        let good = store.blocks.iter().position(|block| block.use_ == Use::Free).unwrap_or(0);
        for block in [good, (good + 1) % 9, (good + 2) % 9] {
            store.nor_mut().wear(block, worn);
        }
        let mut zxid = state.zxid;
        let error = loop {
            match store.poll(true) {
                Ok(Poll::Idle) if store.is_appending() => {
                    // Full; a snapshot of nothing makes room.
                    store.begin_snapshot(store.last(), false).unwrap();
                    store.snapshot_bytes(&[1; 9]);
                    store.end_snapshot(None);
                }
                Ok(Poll::Idle) => {
                    zxid = zxid.successor();
                    store.append([(zxid, &[0; 300][..])].into_iter()).unwrap();
                }
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::Worn { good: 5, needed: 6 });
        assert_eq!(store.poll(true), Err(Error::Stopped));
        assert_eq!(store.append([(zxid, &[][..])].into_iter()), Err(Error::NotReady));
    }
}

/// As [`use_store`], but a snapshot may fail because a block did.
fn use_store_gently(world: &mut World<'_, '_>, operations: u64) {
    while world.operations() < operations {
        world.append();
        if world.store.wants_snapshot() {
            world.snapshot_steps(true);
        }
        if world.rng.below(3) == 0 {
            world.rest();
        }
    }
}

#[test]
fn wear_is_even() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    while world.store.nor().counts().erases < 8 * 400 {
        world.append();
        if world.store.wants_snapshot() {
            world.snapshot_steps(true);
        }
        if world.rng.below(2) == 0 {
            world.rest();
        }
        if world.rng.below(500) == 0 {
            world.install();
        }
    }
    let erases = world.store.nor().erases();
    let mean = erases.iter().sum::<u32>() / 8;
    let (most, least) = (erases.iter().max().unwrap(), erases.iter().min().unwrap());
    std::println!("{erases:?}");
    assert!((most - least) * 10 <= mean, "{erases:?}");
    // What the blocks say themselves is what was done.
    let known: Vec<u32> = world.store.blocks.iter().map(|block| block.erases).collect();
    let (ahead, flash) = (world.store.blocks.to_vec(), world.store.nor());
    for (at, block) in ahead.iter().enumerate() {
        assert!(known[at].abs_diff(flash.erases()[at]) <= 1, "{block:?}");
    }
}

#[test]
fn a_device_that_takes_long_is_waited_for_in_steps() {
    let mut room = Room::new(SMALL);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(SMALL, 1), &mut room, OPTIONS, 1, &mut watch);
    use_store(&mut world, 300);
    world.ready();
    world.store.nor_mut().latency = 1000;
    let (mut steps, mut longest) = (0, 0);
    let mut last = world.store.nor().counts();
    world.store.append([(world.store.last().successor(), &[7; 300][..])].into_iter()).unwrap();
    loop {
        steps += 1;
        let poll = world.store.poll(false).unwrap();
        let now = world.store.nor().counts();
        // One operation, and at most what is read to verify another.
        assert!(now.programs + now.erases <= last.programs + last.erases + 1);
        longest = longest.max(now.read - last.read);
        last = now;
        if let Poll::Done(Done::Appended(_)) = poll {
            break;
        }
    }
    assert!(steps > 1000 && longest <= 4096, "{steps} steps, {longest} bytes");
}

#[test]
fn a_device_that_fails_to_read_stops_the_store() {
    /// Reads fail from some moment on.
    struct Failing(Flash, bool);
    impl Nor for Failing {
        type Error = Fault;
        fn write_size(&self) -> usize {
            self.0.write_size()
        }
        fn erase_size(&self) -> usize {
            self.0.erase_size()
        }
        fn capacity(&self) -> usize {
            self.0.capacity()
        }
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
            if self.1 { Err(Fault) } else { self.0.read(offset, bytes) }
        }
        fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
            self.0.start_program(offset, bytes)
        }
        fn start_erase(&mut self, offset: u32) -> Result<(), Fault> {
            self.0.start_erase(offset)
        }
        fn busy(&mut self) -> Result<bool, Fault> {
            self.0.busy()
        }
    }
    let mut room = Room::new(SMALL);
    let device = Failing(Flash::new(SMALL, 1), false);
    let (mut store, _) = Store::open(device, room.memory(), OPTIONS).unwrap();
    store.start(false).unwrap();
    while store.poll(false).unwrap() != Poll::Idle {}
    store.nor_mut().1 = true;
    store.append([(Zxid(1), &[1; 40][..])].into_iter()).unwrap();
    let error = loop {
        match store.poll(false) {
            Ok(Poll::Done(done)) => panic!("{done:?}"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Device(Fault));
    let mut taker = Taker::default();
    taker.reset();
    assert!(matches!(store.poll(false), Err(Error::Stopped)));
}

/// Bytes that are programmed, and blocks that are erased, for one of so many writes, each alone and followed
/// by a quiet moment.
fn cost(geometry: Geometry, size: usize, writes: u32) -> (f64, f64) {
    let mut room = Room::new(geometry);
    let mut watch = nobody;
    let mut world = World::new(Flash::new(geometry, 1), &mut room, OPTIONS, 1, &mut watch);
    world.next_epoch();
    let begin = world.store.nor().counts();
    let txn = vec![5; size];
    for _ in 0..writes {
        world.ready();
        let zxid = world.state().zxid;
        let zxid = if zxid == Zxid::ZERO { Zxid::new(Epoch(1), 1) } else { zxid.successor() };
        let state = world.state().and(zxid, &txn);
        world.expect.states.push(state);
        world.store.append([(zxid, &txn[..])].into_iter()).unwrap();
        assert_eq!(world.until(), Done::Appended(zxid));
        world.expect.states = vec![state];
        world.above.push(state);
        world.rest();
        if world.store.wants_snapshot() {
            world.snapshot_steps(true);
            world.rest();
        }
    }
    let now = world.store.nor().counts();
    let each = |of: u64| of as f64 / f64::from(writes);
    (each(now.programmed - begin.programmed), each(now.erases - begin.erases))
}

#[test]
fn what_a_write_costs() {
    // The smallest, and the boards'.
    for (erase, blocks, writes) in
        [(4096, 8, 4000), (65_536, 12, 40_000), (4096, 64, 12_000), (4096, 255, 40_000)]
    {
        let geometry = Geometry { erase, blocks, ..SMALL };
        for size in [60, 200, 400] {
            let (programmed, erased) = cost(geometry, size, writes);
            let years = 100_000.0 * blocks as f64 / erased / (365.25 * 86_400.0);
            std::println!(
                "{blocks} blocks of {erase} bytes, a transaction of {size}: {programmed:.0} bytes programmed, \
                 a block erased in {:.1} writes; at one write a second, 100,000 erases last {years:.1} years",
                1.0 / erased
            );
            let frame = (size + 17 + 8).next_multiple_of(4) as f64;
            assert!(programmed < frame + 4.0 * size as f64 + 150.0, "{programmed}");
            // Each block is erased for what it held, and for little more.
            assert!(erased * erase as f64 <= 2.0 * programmed + 64.0, "{erased}");
        }
    }
}
