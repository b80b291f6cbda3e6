//! Bits that change by themselves, and images that nobody has written.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use zk_core::id::{Epoch, Zxid};
use zk_core::peer::Epochs;
use zk_core::tree::snapshot::Taken;
use zk_core::wire::file::SnapshotDigest;

use super::world::{OPTIONS, Rng, Room, SMALL, State, World, load, open, use_store};
use crate::flash::blocks::Use;
use crate::flash::layout::{Head, Kind, Layout, Payload, Stamp, encode};
use crate::flash::simulated::{Cut, Flash, Geometry};
use crate::flash::{Damage, Done, Error, Found, Load, Options, Poll, Refusal, Rot, Store, VERSION};

/// A flash that was used and is at rest, and what it has.
fn used(geometry: Geometry, operations: u64, seed: u64) -> (Flash, State) {
    let mut room = Room::new(geometry);
    let mut watch = |_: &Flash, _: &_| {};
    let flash = Flash::new(geometry, seed);
    let mut world = World::new(flash, &mut room, OPTIONS, seed, &mut watch);
    use_store(&mut world, operations);
    world.append();
    world.rest();
    let state = world.state();
    (world.store.into_nor(), state)
}

#[test]
fn a_bit_that_changes_is_found_or_does_no_harm() {
    let mut room = Room::new(SMALL);
    let (mut found_at_start, mut found_by_loading, mut harmless) = (0, 0, 0);
    for seed in 0..6 {
        let (mut flash, state) = used(SMALL, 300 + 200 * seed, seed);
        if seed % 2 == 1 {
            // It was started, and has erased what it could.
            let (mut store, _) = Store::open(flash, room.memory(), OPTIONS).unwrap();
            store.start(false).unwrap();
            while store.poll(true).unwrap() != Poll::Idle {}
            flash = store.into_nor();
        }
        let mut rng = Rng(seed);
        let mut bit = rng.below(13) as usize;
        while bit < 8 * flash.image().len() {
            let mut flash = flash.clone();
            flash.flip(bit);
            let (mut store, found) = Store::open(flash, room.memory(), OPTIONS).unwrap();
            let block = (bit / 8 / SMALL.erase) as u32;
            match found {
                Found::Damaged(damage) => {
                    found_at_start += 1;
                    assert!(damage.block == block || damage.what != Rot::Record, "{damage}");
                }
                Found::History => match load(&mut store) {
                    Ok((loaded, _)) => {
                        harmless += 1;
                        assert_eq!(loaded, state, "bit {bit}");
                    }
                    Err(Error::Damaged(damage)) => {
                        found_by_loading += 1;
                        assert_eq!(damage.block, block);
                    }
                    Err(error) => panic!("bit {bit}: {error}"),
                },
                found => panic!("bit {bit}: {found:?}"),
            }
            bit += 1 + rng.below(25) as usize;
        }
    }
    std::println!("{found_at_start} at the start, {found_by_loading} by loading, {harmless} not");
    assert!(found_at_start > 1000 && found_by_loading > 1000 && harmless > 1000);
}

/// Takes nothing.
struct Full;

impl Load for Full {
    fn reset(&mut self) {}

    fn snapshot_bytes(&mut self, _: &[u8]) -> Result<Taken, Refusal> {
        Err(Refusal::Full)
    }

    fn snapshot_done(&mut self, _: Zxid, _: Option<SnapshotDigest>) {}

    fn txn(&mut self, _: Zxid, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

#[test]
fn a_bit_that_makes_a_snapshot_too_much_is_damage() {
    let mut room = Room::new(SMALL);
    // Longer than what is shown at once.
    let mut flash = (0..)
        .map(|seed| used(SMALL, 500, seed).0)
        .find(|flash| {
            let (store, _) = Store::open(flash.clone(), room.memory(), OPTIONS).unwrap();
            store.snapshot().is_some_and(|snapshot| snapshot.len > 2500)
        })
        .unwrap();
    let (mut store, _) = Store::open(flash.clone(), room.memory(), OPTIONS).unwrap();
    assert_eq!(store.load(&mut Full), Err(Error::TooMuch));
    let snapshot = store.snapshot().unwrap();
    let first = Use::Snapshot { id: snapshot.id, index: 0 };
    let part = store.blocks.iter().position(|block| block.use_ == first).unwrap();
    let (start, len) = (part * SMALL.erase + store.layout.start() as usize, snapshot.len as usize);
    drop(store);
    for at in (0..len.min(3500)).step_by(200) {
        let bit = 8 * (start + at);
        flash.flip(bit);
        let (mut store, _) = Store::open(flash.clone(), room.memory(), OPTIONS).unwrap();
        let found = store.load(&mut Full);
        assert!(matches!(found, Err(Error::Damaged(_))), "{at}: {found:?}");
        flash.flip(bit);
    }
}

/// As long as it is not of the last batch, also before there was a quiet moment.
#[test]
fn a_bit_of_an_acknowledged_batch_is_not_taken_for_a_torn_one() {
    let mut room = Room::new(SMALL);
    let (mut flash, state, newest, from, to) = (0..)
        .find_map(|seed| {
            let mut room = Room::new(SMALL);
            let mut watch = |_: &Flash, _: &_| {};
            let flash = Flash::new(SMALL, seed);
            let mut world = World::new(flash, &mut room, OPTIONS, seed, &mut watch);
            use_store(&mut world, 300);
            let from = world.store.end;
            world.append();
            world.append();
            world.append();
            let to = world.store.end;
            // The last one is short, and all are in one block.
            world.append();
            let (newest, state) = (world.store.newest.unwrap(), world.state());
            let near = from < to && to < world.store.end && world.store.end - from < 1500;
            near.then(|| (world.store.into_nor(), state, newest, from, to))
        })
        .unwrap();
    let (mut found, mut harmless) = (0, 0);
    for bit in 8 * from..8 * to {
        let bit = 8 * newest * SMALL.erase + bit as usize;
        flash.flip(bit);
        let (mut store, damage) = Store::open(flash.clone(), room.memory(), OPTIONS).unwrap();
        match damage {
            Found::Damaged(damage) => {
                found += 1;
                assert_eq!((damage.block as usize, damage.what), (newest, Rot::Record));
            }
            _ => {
                harmless += 1;
                assert_eq!(load(&mut store).unwrap().0, state);
            }
        }
        flash.flip(bit);
    }
    // What pads a record may be anything.
    assert!(found > 1000 && harmless < found / 20, "{found} found, {harmless} not");
}

#[test]
fn epochs_that_go_back_are_damage() {
    let mut room = Room::new(SMALL);
    let epochs = |accepted, current| Epochs { accepted: Epoch(accepted), current: Epoch(current) };
    for (last, whole) in
        [(epochs(3, 2), true), (epochs(2, 2), true), (epochs(1, 1), false), (epochs(3, 0), false)]
    {
        let (mut store, _) = open(Flash::new(SMALL, 1), &mut room, OPTIONS);
        store.start(false).unwrap();
        for epochs in [epochs(2, 1), last] {
            while !store.is_ready() {
                store.poll(false).unwrap();
            }
            store.set_epochs(epochs).unwrap();
            while store.poll(false).unwrap() != Poll::Done(Done::Epochs(epochs)) {}
        }
        let flash = store.into_nor();
        let (store, found) = open(flash, &mut room, OPTIONS);
        if whole {
            assert_eq!((found, store.epochs()), (Found::History, last));
        } else {
            let Found::Damaged(damage) = found else { panic!("{last:?}: {found:?}") };
            assert_eq!(damage.what, Rot::Content);
            assert_eq!(store.epochs(), epochs(2, 1), "what was promised is kept");
        }
    }
}

/// Before the first block of a start has its head, one that is void is erased: what it said would be
/// forgotten.
#[test]
fn what_is_void_has_no_say_unless_the_newest_is_damaged() {
    let (flash, state) = used(SMALL, 300, 1);
    let mut room = Room::new(SMALL);
    let (store, _) = open(flash.clone(), &mut room, OPTIONS);
    let (epochs, boots) = (store.epochs(), store.boots());
    let newest = store.newest.unwrap();
    let free = store.blocks.iter().position(|block| block.use_ == Use::Free).unwrap();
    let layout = store.layout;
    let promised = Epochs { accepted: Epoch(77), current: Epoch(76) };
    let head = Head {
        seq: 1,
        before: 0,
        before_end: 0,
        first: 1,
        copied: layout.content(),
        window: 0,
        boots: 99,
        epochs: promised.into(),
        snapshot: None,
        lost: false,
    };
    assert!(store.control.first > head.seq);
    let mut image = flash.image().to_vec();
    let block = &mut image[free * SMALL.erase..][..SMALL.erase];
    block.fill(0xff);
    encode(layout, &Kind::Head(head), Payload::Copy(&[]), &mut block[layout.start() as usize..])
        .unwrap();
    let mut flash = Flash::new(SMALL, 1);
    flash.set_image(&image);
    let (mut store, found) = open(flash.clone(), &mut room, OPTIONS);
    assert_eq!((found, store.epochs(), store.boots()), (Found::History, epochs, boots));
    assert_eq!(load(&mut store).unwrap().0, state);
    // The first of the head's bits.
    flash.flip(8 * (newest * SMALL.erase + layout.start() as usize));
    let (store, found) = open(flash, &mut room, OPTIONS);
    assert!(matches!(found, Found::Damaged(_)), "{found:?}");
    assert_eq!((store.epochs(), store.boots()), (promised, 99));
}

#[test]
fn damage_is_told_from_a_torn_batch() {
    let mut room = Room::new(SMALL);
    // One whose newest block has room for more than a batch.
    let (flash, state, newest, end) = (0..)
        .find_map(|seed| {
            let (flash, state) = used(SMALL, 500, seed);
            let (store, _) = Store::open(flash.clone(), room.memory(), OPTIONS).unwrap();
            let (newest, end) = (store.newest.unwrap(), store.end);
            (1000..2000).contains(&end).then_some((flash, state, newest, end))
        })
        .unwrap();
    let at = |offset: u32| newest * SMALL.erase + offset as usize;
    // Something of what comes before the mark that all was acknowledged.
    let mut image = flash.image().to_vec();
    image[at(end - 40)..at(end - 12)].fill(0);
    let mut rotten = flash.clone();
    rotten.set_image(&image);
    let (_, found) = Store::open(rotten, room.memory(), OPTIONS).unwrap();
    let Found::Damaged(damage) = found else { panic!("{found:?}") };
    assert_eq!((damage.block as usize, damage.what), (newest, Rot::Record));
    assert!(damage.offset < end - 12 && damage.offset > end - 500);
    // Behind the mark: a batch that was not acknowledged.
    let mut image = flash.image().to_vec();
    image[at(end)..at(end + 500)].fill(0x5a);
    let mut torn = flash.clone();
    torn.set_image(&image);
    let (mut store, found) = Store::open(torn, room.memory(), OPTIONS).unwrap();
    assert_eq!((found, load(&mut store).unwrap().0), (Found::History, state));
    drop(store);
    // More than a batch can be.
    image[at(end + 1800)] = 0;
    let mut rotten = flash.clone();
    rotten.set_image(&image);
    let (_, found) = Store::open(rotten, room.memory(), OPTIONS).unwrap();
    let Found::Damaged(damage) = found else { panic!("{found:?}") };
    assert_eq!((damage.block as usize, damage.offset), (newest, end));
}

#[test]
fn a_damaged_history_is_given_up_until_a_snapshot_comes() {
    let (flash, _) = used(SMALL, 600, 5);
    let mut room = Room::new(SMALL);
    let (store, _) = Store::open(flash.clone(), room.memory(), OPTIONS).unwrap();
    let (epochs, boots) = (store.epochs(), store.boots());
    let newest = store.newest.unwrap();
    let start = store.layout.content() as usize;
    drop(store);
    let mut rotten = flash;
    rotten.flip(8 * (newest * SMALL.erase + start + 30));
    let (mut store, found) = Store::open(rotten, room.memory(), OPTIONS).unwrap();
    assert!(matches!(found, Found::Damaged(_)));
    assert!(matches!(load(&mut store), Err(Error::Damaged(_))));
    store.start(true).unwrap();
    let finish = |store: &mut Store<'_, Flash>| loop {
        match store.poll(false).unwrap() {
            Poll::Done(done) => break done,
            Poll::Working => {}
            Poll::Idle => panic!("nothing is done"),
        }
    };
    assert_eq!(finish(&mut store), Done::Started(boots + 1));
    // Nothing of it is left, but what was promised.
    assert_eq!((store.epochs(), store.last()), (epochs, Zxid::ZERO));
    while store.poll(true).unwrap() != Poll::Idle {}
    let flash = store.into_nor();
    let (mut store, found) = Store::open(flash, room.memory(), OPTIONS).unwrap();
    assert_eq!((found, store.epochs()), (Found::Lost, epochs));
    assert!(store.is_lost());
    store.start(true).unwrap();
    assert_eq!(finish(&mut store), Done::Started(boots + 2));
    while !store.is_ready() {
        store.poll(false).unwrap();
    }
    assert!(!store.truncate(Zxid::ZERO).unwrap());
    let state = State { zxid: Zxid(0x9_0000_0001), mixed: 3 };
    store.begin_snapshot(state.zxid, true).unwrap();
    let mut body = &state.body()[..];
    while !body.is_empty() {
        if store.is_ready() {
            body = &body[store.snapshot_bytes(body)..];
        }
        store.poll(false).unwrap();
    }
    store.end_snapshot(None);
    assert!(matches!(finish(&mut store), Done::Received(_)));
    store.install().unwrap();
    assert_eq!(finish(&mut store), Done::Installed(state.zxid));
    let flash = store.into_nor();
    let (mut store, found) = Store::open(flash, room.memory(), OPTIONS).unwrap();
    assert_eq!((found, store.epochs()), (Found::History, epochs));
    assert_eq!(load(&mut store).unwrap().0, state);
}

/// Cuts the power of a start again and again: that there is a damaged history is never forgotten.
fn outlives_its_starts(flash: &Flash, depth: usize) {
    let (mut room, mut other) = (Room::new(SMALL), Room::new(SMALL));
    let (mut store, found) = open(flash.clone(), &mut room, OPTIONS);
    assert!(matches!(found, Found::Damaged(Damage { what: Rot::Block, .. })), "{found:?}");
    store.start(true).unwrap();
    let mut before = None;
    while !matches!(store.poll(false).unwrap(), Poll::Done(Done::Started(_))) {
        let counts = store.nor().counts();
        if before.replace(counts) == Some(counts) {
            continue;
        }
        for cut in Cut::ALL {
            let left = store.nor().cut(cut, depth as u64);
            match open(left.clone(), &mut other, OPTIONS).1 {
                Found::Damaged(_) if depth > 0 => outlives_its_starts(&left, depth - 1),
                Found::Damaged(_) | Found::Lost => {}
                found => panic!("{counts:?}, {cut:?}: {found:?}"),
            }
        }
    }
    assert!(store.is_lost());
}

#[test]
fn damage_outlives_a_start_that_is_cut_off() {
    let mut room = Room::new(SMALL);
    let (mut store, _) = open(Flash::new(SMALL, 1), &mut room, OPTIONS);
    let layout = store.layout;
    store.start(false).unwrap();
    // A block has its stamp, and nothing more.
    while !store.blocks.iter().any(|block| block.use_ == Use::Erased) {
        store.poll(false).unwrap();
    }
    let mut flash = store.nor().clone();
    let block = store.blocks.iter().position(|block| block.use_ == Use::Erased).unwrap();
    flash.flip(8 * (block * SMALL.erase + 3000));
    outlives_its_starts(&flash, 2);
    // A history in one block, which does not say any more that it is one.
    while !store.is_ready() {
        store.poll(false).unwrap();
    }
    let epochs = Epochs { accepted: Epoch(2), current: Epoch(1) };
    store.set_epochs(epochs).unwrap();
    while store.poll(false).unwrap() != Poll::Done(Done::Epochs(epochs)) {}
    let newest = store.newest.unwrap();
    let mut flash = store.into_nor();
    for at in [layout.opening_at(), layout.start()] {
        flash.flip(8 * (newest * SMALL.erase + at as usize));
    }
    outlives_its_starts(&flash, 2);
}

#[test]
fn a_later_format_is_refused() {
    let (mut flash, _) = used(SMALL, 100, 3);
    let layout = Layout::of(&flash, 0, SMALL.blocks).unwrap();
    let mut image = flash.image().to_vec();
    let at = layout.at(5, 0) as usize;
    let stamp = Stamp { version: VERSION + 1, erases: 7 }.encode();
    image[at..at + stamp.len()].copy_from_slice(&stamp);
    flash.set_image(&image);
    let mut room = Room::new(SMALL);
    let error = Store::open(flash, room.memory(), OPTIONS).unwrap_err();
    assert_eq!(error, Error::Version { block: 5, found: VERSION + 1 });
    assert!(std::format!("{error}").contains("later"));
}

/// Whatever is in the flash: it is opened or refused, and used if it can be.
pub(super) fn bear(image: &[u8], geometry: Geometry, options: Options) {
    let mut room = Room::new(geometry);
    let mut flash = Flash::new(geometry, 1);
    flash.set_image(image);
    let before = flash.image().to_vec();
    let Ok((mut store, _)) = Store::open(flash, room.memory(), options) else { return };
    let _ = load_anything(&mut store);
    assert_eq!(store.nor().image(), before);
    let reads = store.nor().counts().reads;
    assert!(reads < 200_000, "{reads} reads");
    if store.start(true).is_err() {
        return;
    }
    let mut txns = 0;
    for _ in 0..1000 {
        match store.poll(true) {
            Ok(Poll::Idle) => {
                txns += 1;
                let zxid = store.last().successor();
                let appended = store.append([(zxid, &[7; 40][..])].into_iter());
                if txns > 20 || appended.is_err() {
                    break;
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
}

/// As a peer would, which stops at the first error.
fn load_anything(
    store: &mut Store<'_, Flash>,
) -> Result<(), Error<crate::flash::simulated::Fault>> {
    struct Anything;
    impl Load for Anything {
        fn reset(&mut self) {}
        fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal> {
            let consumed = bytes.len();
            Ok(Taken { consumed, need: 0, done: consumed < 100 })
        }
        fn snapshot_done(&mut self, _: Zxid, _: Option<SnapshotDigest>) {}
        fn txn(&mut self, _: Zxid, _: &[u8]) -> Result<(), Refusal> {
            Ok(())
        }
    }
    store.load(&mut Anything)?;
    let mut room = vec![0; 600];
    let from = store.snapshot().map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
    for _ in 0..4 {
        store.read_log(from, 500, &mut room)?;
        store.read_snapshot(from, 100, &mut room)?;
    }
    Ok(())
}

/// What happens to an image.
#[derive(Clone, Debug)]
enum Change {
    Bytes(usize, Vec<u8>),
    Copy(usize, usize, usize),
    Fill(usize, usize, u8),
    Swap(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let len = SMALL.erase * SMALL.blocks;
    prop_oneof![
        (0..len, prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, b)| Change::Bytes(at, b)),
        (0..len / 4, 0..len / 4, 1..1000usize).prop_map(|(a, b, n)| Change::Copy(4 * a, 4 * b, n)),
        (0..len, 1..5000usize, any::<bool>()).prop_map(|(at, n, ones)| Change::Fill(
            at,
            n,
            if ones { 0xff } else { 0 }
        )),
        (0..SMALL.blocks, 0..SMALL.blocks).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_images_are_borne(image in prop::collection::vec(any::<u8>(), 0..32768)) {
        bear(&image, SMALL, OPTIONS);
    }

    #[test]
    fn changed_images_are_borne(
        seed in 0..4u64,
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let (flash, _) = used(SMALL, 200 + 100 * seed, seed);
        let mut image = flash.image().to_vec();
        for change in changes {
            match change {
                Change::Bytes(at, bytes) => {
                    let end = image.len().min(at + bytes.len());
                    image[at..end].copy_from_slice(&bytes[..end - at]);
                }
                Change::Copy(from, to, n) => {
                    let n = n.min(image.len() - from.max(to));
                    image.copy_within(from..from + n, to);
                }
                Change::Fill(at, n, byte) => {
                    let end = image.len().min(at + n);
                    image[at..end].fill(byte);
                }
                Change::Swap(a, b) => {
                    for n in 0..SMALL.erase {
                        image.swap(a * SMALL.erase + n, b * SMALL.erase + n);
                    }
                }
            }
        }
        bear(&image, SMALL, OPTIONS);
    }
}
