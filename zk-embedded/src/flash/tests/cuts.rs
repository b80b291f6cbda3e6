//! Power is lost at every operation of a long use, in five ways.

use std::vec;

use zk_core::id::{Epoch, Zxid};

use super::world::{Expect, Met, OPTIONS, Rng, Room, SMALL, World, load, use_store};
use crate::flash::simulated::{Cut, Flash, Geometry};
use crate::flash::{Done, Found, Options, Poll, Store};

/// Boots from what a cut has left, checks it, and goes on.
fn survive(
    flash: Flash,
    options: Options,
    expect: &Expect,
    rng: &mut Rng,
    rooms: &mut [Room],
    second: bool,
) {
    let (room, others) = rooms.split_first_mut().unwrap();
    let before = flash.image().to_vec();
    let mut reads = flash.counts().read;
    let (mut store, found) = Store::open(flash, room.memory(), options).unwrap();
    reads = store.nor().counts().read - reads;
    assert!(reads <= 4 * before.len() as u64, "{reads} bytes were read to open");
    if found == Found::Nothing {
        assert!(expect.new, "there is nothing");
        return;
    }
    assert_eq!(found, Found::History);
    let (state, _) = load(&mut store).unwrap();
    assert!(expect.states.contains(&state), "{state:?} is none of {:?}", expect.states);
    assert_eq!(store.nor().image(), before, "opening and loading change nothing");
    let epochs = store.epochs();
    assert!(expect.epochs.contains(&epochs), "{epochs:?} are none of {:?}", expect.epochs);
    store.start(true).unwrap();
    let (states, epochs_now, boots) = (vec![state], vec![epochs], store.boots());
    let expect_now = Expect { states, epochs: epochs_now, boots: expect.boots, new: false };
    // A larger block takes more of them to copy.
    let rarely = store.nor().geometry().erase as u64 / 512;
    let mut operations = 0;
    let started = loop {
        let before = store.nor().counts();
        let poll = store.poll(false).unwrap();
        let now = store.nor().counts();
        if (now.programs, now.erases) != (before.programs, before.erases) {
            operations += 1;
            if second && !others.is_empty() && rng.below(rarely) == 0 {
                let cut = Cut::ALL[rng.below(5) as usize];
                let flash = store.nor().cut(cut, rng.next());
                survive(flash, options, &expect_now, rng, others, true);
            }
        }
        match poll {
            Poll::Done(Done::Started(boots)) => break boots,
            Poll::Working => {}
            poll => panic!("{poll:?}"),
        }
    };
    assert!(started > expect.boots && started == boots + 1, "start {started}");
    let Geometry { page, erase, .. } = store.nor().geometry();
    assert!(operations < erase / page + 16, "{operations} operations to start");
    assert_eq!(load(&mut store).unwrap().0, state);
    // It goes on.
    while !store.is_ready() {
        store.poll(false).unwrap();
    }
    let epoch = epochs.current.max(Epoch(1));
    let zxid =
        if state.zxid.epoch() == epoch { state.zxid.successor() } else { Zxid::new(epoch, 1) };
    let txn = [rng.next() as u8; 50];
    store.append([(zxid, &txn[..])].into_iter()).unwrap();
    let appended = loop {
        match store.poll(false).unwrap() {
            Poll::Done(Done::Appended(last)) => break last == zxid,
            Poll::Working => {}
            // The ring is full, and nobody takes a snapshot here.
            Poll::Idle => break false,
            Poll::Done(done) => panic!("{done:?}"),
        }
    };
    for _ in 0..rng.below(30) {
        store.poll(true).unwrap();
    }
    let flash = store.nor().cut(Cut::After, 1);
    drop(store);
    let (mut store, found) = Store::open(flash, room.memory(), options).unwrap();
    assert_eq!(found, Found::History);
    let after = load(&mut store).unwrap().0;
    if appended {
        assert_eq!(after, state.and(zxid, &txn));
    } else {
        assert_eq!(after, state);
    }
    assert_eq!((store.epochs(), store.boots()), (epochs, started));
}

/// How long a store is used, and where power is cut.
struct Use {
    operations: u64,
    /// Laps of the ring at least.
    laps: u32,
    /// One of so many operations is cut, in five ways.
    every: u64,
    seed: u64,
}

fn cut_everywhere(geometry: Geometry, options: Options, long: &Use) -> (Met, u64) {
    let Use { operations, laps, every, seed } = *long;
    let mut rooms = [(); 3].map(|()| Room::new(geometry));
    let mut rng = Rng(!seed);
    let (mut seen, mut cuts) = (0, 0);
    let mut watch = |flash: &Flash, expect: &Expect| {
        seen += 1;
        if seen % every > 0 {
            return;
        }
        for cut in Cut::ALL {
            let left = flash.cut(cut, rng.next());
            let second = rng.below(10) == 0;
            survive(left, options, expect, &mut rng, &mut rooms, second);
            cuts += 1;
        }
    };
    let mut room = Room::new(geometry);
    let flash = Flash::new(geometry, seed);
    let mut world = World::new(flash, &mut room, options, seed, &mut watch);
    let met = use_store(&mut world, operations);
    let erases = world.store.nor().erases();
    assert!(erases.iter().all(|erases| *erases >= laps), "{erases:?}");
    (met, cuts)
}

#[test]
fn nothing_acknowledged_is_lost_wherever_power_is_cut() {
    let (met, cuts) =
        cut_everywhere(SMALL, OPTIONS, &Use { operations: 5000, laps: 3, every: 1, seed: 1 });
    std::println!("{cuts} cuts, {met:?}");
    assert!(cuts >= 25_000);
    assert!(met.snapshots >= 10 && met.dropped > 0, "{met:?}");
    assert!(met.truncations >= 3 && met.installs >= 3 && met.epochs >= 5, "{met:?}");
}

/// Other devices: blocks of 64 KiB, flashes that keep a checksum of each unit, as few blocks as there
/// can be.
#[test]
fn nothing_is_lost_on_other_devices() {
    let large = Geometry { write: 4, page: 256, erase: 1 << 16, blocks: 4 };
    let words = Geometry { write: 32, ..SMALL };
    let few = Geometry { write: 8, page: 64, erase: 8192, blocks: 4 };
    for (geometry, long) in [
        (large, Use { operations: 6000, laps: 1, every: 19, seed: 2 }),
        (words, Use { operations: 1800, laps: 1, every: 3, seed: 3 }),
        (few, Use { operations: 4000, laps: 1, every: 7, seed: 4 }),
    ] {
        let (met, cuts) = cut_everywhere(geometry, OPTIONS, &long);
        std::println!("{geometry:?}: {cuts} cuts, {met:?}");
        assert!(met.snapshots > 0 && met.truncations > 0, "{met:?}");
    }
}
