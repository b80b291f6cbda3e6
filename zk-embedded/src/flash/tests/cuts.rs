//! Power is lost at every operation of a long use, in five ways.

use std::vec;

use zk_core::id::{Epoch, Zxid};

use super::world::{Expect, OPTIONS, Rng, Room, SMALL, World, load};
use crate::flash::simulated::{Cut, Flash, Geometry};
use crate::flash::{Done, Found, Options, Poll, Store};

/// What was done.
#[derive(Debug, Default)]
struct Met {
    snapshots: u32,
    truncations: u32,
    installs: u32,
    epochs: u32,
    dropped: u32,
}

/// Uses a store for so many operations.
fn use_store(world: &mut World<'_, '_>, operations: u64) -> Met {
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
    let mut operations = 0;
    let started = loop {
        let before = store.nor().counts();
        let poll = store.poll(false).unwrap();
        let now = store.nor().counts();
        if (now.programs, now.erases) != (before.programs, before.erases) {
            operations += 1;
            if second && !others.is_empty() && rng.below(8) == 0 {
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
    assert!(operations < 400, "{operations} operations to start");
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

fn cut_everywhere(geometry: Geometry, options: Options, operations: u64, seed: u64) -> (Met, u64) {
    let mut rooms = [(); 3].map(|()| Room::new(geometry));
    let mut rng = Rng(!seed);
    let mut cuts = 0;
    let mut watch = |flash: &Flash, expect: &Expect| {
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
    let laps = erases.iter().copied().min().unwrap();
    assert!(laps >= 3, "{erases:?}");
    (met, cuts)
}

#[test]
fn nothing_acknowledged_is_lost_wherever_power_is_cut() {
    let (met, cuts) = cut_everywhere(SMALL, OPTIONS, 5000, 1);
    std::println!("{cuts} cuts, {met:?}");
    assert!(cuts >= 25_000);
    assert!(met.snapshots >= 10 && met.dropped > 0, "{met:?}");
    assert!(met.truncations >= 3 && met.installs >= 3 && met.epochs >= 5, "{met:?}");
}
