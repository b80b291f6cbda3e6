//! Orders, one by one, on a simulated disk.

use zk_core::id::{Epoch, SessionId};
use zk_core::peer::{Ceilings, Options};
use zk_core::tree::snapshot::Step as Walk;
use zk_core::tree::{DataTree, NewNode, Owner, Seeds, Storage};
use zk_core::wire::client::OPEN_ACL_UNSAFE;
use zk_core::wire::jute::List;

use super::*;
use crate::store;
use crate::store::simulated::{Disk, Simulated};

fn z(counter: u32) -> Zxid {
    Zxid::new(Epoch(1), counter)
}

/// An error transaction: it changes nothing but the zxid.
fn txn(zxid: Zxid, padding: usize) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes.extend_from_slice(&zxid.0.to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.resize(bytes.len() + 4 + padding, 0);
    bytes
}

fn open(disk: &Disk) -> Store<Simulated> {
    let options = store::Options { reserve: 0, preallocate: 4096, ..store::Options::default() };
    Store::open(disk.root(), disk.root(), options).unwrap()
}

fn peer() -> Peer<'static> {
    peer_of(Ceilings::default())
}

fn peer_of(ceilings: Ceilings) -> Peer<'static> {
    let options = Options { ensemble: true, ..Options::default() };
    Peer::owned(options, ceilings, Seeds(3, 4), SessionId(1), Now::new(0, 0)).unwrap()
}

/// A tree with so many nodes besides its own, each changed once.
fn tree(nodes: u32) -> DataTree<'static> {
    let mut room = [0; 64];
    let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap();
    let mut tree =
        DataTree::new(Storage::owned(Ceilings::default().tree), Seeds(1, 2), true).unwrap();
    for number in 1..=nodes {
        tree.create(&NewNode {
            path: format!("/node-{number}").as_bytes(),
            data: Some(&[7; 500]),
            acl,
            owner: Owner::Nobody,
            parent_cversion: None,
            zxid: z(number),
            time: 0,
        })
        .unwrap();
        tree.applied(z(number));
    }
    tree
}

fn body(tree: &mut DataTree<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    tree.snapshot_begin(0, core::iter::empty()).unwrap();
    while tree.snapshot_step() == Some(Walk::Bytes) {
        let bytes = tree.snapshot_bytes();
        body.extend_from_slice(bytes);
        let len = bytes.len();
        tree.snapshot_taken(len);
    }
    tree.snapshot_abandon();
    body
}

/// A store with a snapshot of some nodes, and a log of error transactions behind it.
fn disk_with(nodes: u32, txns: u32) -> Disk {
    let disk = Disk::new(1);
    let mut store = open(&disk);
    let mut writer = store.begin_snapshot(z(nodes)).unwrap();
    writer.write(&body(&mut tree(nodes))).unwrap();
    writer.finish(None, Some(z(nodes))).unwrap();
    for counter in nodes + 1..=nodes + txns {
        store.append(z(counter), &txn(z(counter), 0)).unwrap();
        store.sync().unwrap();
    }
    disk
}

fn load_all(disk: &Disk) -> (Store<Simulated>, Peer<'static>) {
    let (mut store, mut peer) = (open(disk), peer());
    let history = restore(&mut store, &mut peer, &mut |_, _| {}).unwrap();
    assert!(matches!(history, History::Loaded(_)));
    (store, peer)
}

/// Carries out an order that needs nothing of the peer.
fn obey(files: &mut Files<Simulated>, store: &mut Store<Simulated>, order: Order<'_>) {
    drop(files.begin(store, order).unwrap());
}

fn receive(
    files: &mut Files<Simulated>,
    store: &mut Store<Simulated>,
    zxid: Zxid,
    bytes: &[u8],
) -> Result<Received<Simulated>, Error> {
    obey(files, store, Order::InstallBegin(zxid));
    for piece in bytes.chunks(1000) {
        obey(files, store, Order::InstallBytes(piece));
    }
    match files.begin(store, Order::InstallEnd).unwrap() {
        Step::Install(received) => received,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_of_a_leader_is_installed() {
    let disk = disk_with(3, 5);
    let (mut store, mut peer) = load_all(&disk);
    assert_eq!(peer.tree().last_zxid(), z(8));
    let mut theirs = tree(20);
    let mut files = Files::default();
    let received = receive(&mut files, &mut store, z(20), &body(&mut theirs));
    assert_eq!(install(&mut store, &mut peer, received).unwrap(), Reload::Done);
    assert_eq!((peer.tree().last_zxid(), peer.tree().digest()), (z(20), theirs.digest()));
    // And so it is after a restart.
    disk.crash();
    let (_, peer) = load_all(&disk);
    assert_eq!((peer.tree().last_zxid(), peer.tree().digest()), (z(20), theirs.digest()));
}

#[test]
fn a_snapshot_that_cannot_be_taken_changes_nothing() {
    let disk = disk_with(3, 5);
    let digest = load_all(&disk).1.tree().digest();
    let before = disk.paths();
    let whole = body(&mut tree(20));
    let mut wrong = whole.clone();
    let half = wrong.len() / 2;
    wrong[half..half + 600].fill(0xff);
    let small = {
        let mut ceilings = Ceilings::default();
        ceilings.tree.nodes = 10;
        ceilings
    };
    let cases = [
        ("it has no end", &whole[..half], Ceilings::default(), None),
        ("it makes no sense", &wrong[..], Ceilings::default(), None),
        ("it is too large", &whole[..], small, None),
        ("the disk is full", &whole[..], Ceilings::default(), Some(1)),
    ];
    for (case, bytes, ceilings, capacity) in cases {
        let mut store = open(&disk);
        let mut peer = peer_of(ceilings);
        let _ = restore(&mut store, &mut peer, &mut |_, _| {}).unwrap();
        disk.set_capacity(capacity);
        let received = receive(&mut Files::default(), &mut store, z(20), bytes);
        let reload = install(&mut store, &mut peer, received).unwrap();
        disk.set_capacity(None);
        assert_eq!(reload, Reload::Kept, "{case}");
        assert_eq!((peer.tree().last_zxid(), peer.tree().digest()), (z(8), digest), "{case}");
        assert_eq!(disk.paths(), before, "{case}");
    }
    // One that is dropped leaves nothing, either.
    let mut store = open(&disk);
    let mut files = Files::default();
    obey(&mut files, &mut store, Order::InstallBegin(z(20)));
    obey(&mut files, &mut store, Order::InstallBytes(&whole));
    assert_ne!(disk.paths(), before);
    obey(&mut files, &mut store, Order::InstallDrop);
    assert_eq!(disk.paths(), before);
}

#[test]
fn a_history_is_cut_or_stays() {
    let disk = disk_with(3, 5);
    let (mut store, mut peer) = load_all(&disk);
    assert_eq!(truncate(&mut store, &mut peer, z(6)).unwrap(), Reload::Done);
    assert_eq!(peer.tree().last_zxid(), z(6));
    // It is not there.
    assert_eq!(truncate(&mut store, &mut peer, z(2)).unwrap(), Reload::Uncut);
    assert_eq!(peer.tree().last_zxid(), z(6));
}

#[test]
fn what_may_lack_something_is_not_loaded() {
    let is_damaged = |disk: &Disk| {
        let (mut store, mut peer) = (open(disk), peer());
        let history = restore(&mut store, &mut peer, &mut |_, _| {}).unwrap();
        assert_eq!(peer.tree().last_zxid(), Zxid::ZERO);
        matches!(history, History::Damaged)
    };
    // Rot in a log.
    let disk = disk_with(3, 5);
    disk.flip("version-2/log.100000004", 80, 1);
    assert!(is_damaged(&disk));
    // The only snapshot.
    let disk = disk_with(3, 5);
    disk.flip("version-2/snapshot.100000003", 200, 1);
    assert!(is_damaged(&disk));
    // No snapshot at all.
    let disk = disk_with(3, 5);
    let directory = zk_directory(&disk);
    Directory::unlink(&directory, "snapshot.100000003").unwrap();
    assert!(is_damaged(&disk));
    // Something that was durable once is gone.
    let disk = disk_with(3, 5);
    let (mut store, _) = load_all(&disk);
    store.append(z(9), &txn(z(9), 0)).unwrap();
    store.sync().unwrap();
    store.idle().unwrap();
    Directory::unlink(&zk_directory(&disk), "log.100000009").unwrap();
    assert!(is_damaged(&disk));
    // An empty directory that may have been lost.
    let disk = Disk::new(1);
    let options = store::Options { db_autocreate: false, reserve: 0, ..Default::default() };
    let mut store = Store::open(disk.root(), disk.root(), options).unwrap();
    let history = restore(&mut store, &mut peer(), &mut |_, _| {}).unwrap();
    assert!(matches!(history, History::Damaged));
}

fn zk_directory(disk: &Disk) -> Simulated {
    Directory::join(&disk.root(), "version-2")
}

/// A reading for the learner of a link.
fn reading(at: usize, serial: u32) -> Reading {
    Reading { at, serial }
}

#[test]
fn a_snapshot_is_read_in_pieces_of_any_size() {
    let disk = disk_with(20, 0);
    let store = open(&disk);
    let whole = body(&mut tree(20));
    for most in [1, 7, 1000, whole.len() - 1, whole.len(), whole.len() + 1, 1 << 20] {
        let mut readers = Readers::<Simulated>::default();
        let (mut found, mut end) = (Vec::new(), false);
        while !end {
            let offset = found.len() as u64;
            // Somebody else may come in between, on another link or for another learner of this.
            if offset == 7000 {
                readers.forget(3);
            }
            let read = Read::Snapshot { zxid: z(20), offset, most };
            match readers.read(&store, &Extent::default(), reading(3, 1), read) {
                Piece::Snapshot(bytes, last) => {
                    assert!(bytes.len() <= most);
                    found.extend(bytes);
                    end = last;
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(readers.open.len(), usize::from(!end));
        }
        assert!(found == whole, "{most}");
    }
    // One that has rotted is not sent to its end.
    disk.flip("version-2/snapshot.100000014", 9000, 1);
    let read = Read::Snapshot { zxid: z(20), offset: 0, most: 1 << 20 };
    let piece = Readers::default().read(&store, &Extent::default(), reading(3, 1), read);
    assert!(matches!(piece, Piece::Failed));
    let read = Read::Snapshot { zxid: z(21), offset: 0, most: 1 << 20 };
    let piece = Readers::default().read(&store, &Extent::default(), reading(3, 1), read);
    assert!(matches!(piece, Piece::Failed));
}

#[test]
fn a_log_is_read_in_pieces_while_it_grows() {
    let disk = disk_with(3, 5);
    let (mut store, _) = load_all(&disk);
    let mut readers = Readers::<Simulated>::default();
    let mut next = z(4);
    let mut read = |store: &Store<Simulated>, most, expected: core::ops::Range<u32>| {
        let order = Read::Log { from: next, most };
        let piece = readers.read(store, &store.extent(), reading(3, 1), order);
        let Piece::Log(entries) = piece else { panic!("{piece:?}") };
        let zxids: Vec<_> = entries.iter().map(|(zxid, _)| *zxid).collect();
        assert_eq!(zxids, expected.map(z).collect::<Vec<_>>());
        for (zxid, bytes) in &entries {
            assert_eq!(*bytes, txn(*zxid, 0));
            next = zxid.successor();
        }
    };
    let one = txn(z(1), 0).len() + READ_OVERHEAD;
    read(&store, 0, 4..5);
    read(&store, 2 * one, 5..7);
    read(&store, 2 * one - 1, 7..8);
    read(&store, 9 * one, 8..9);
    read(&store, 9 * one, 9..9);
    for counter in 9..=11 {
        store.append(z(counter), &txn(z(counter), 0)).unwrap();
    }
    // Not durable yet.
    read(&store, 9 * one, 9..9);
    store.sync().unwrap();
    read(&store, one, 9..10);
    store.roll().unwrap();
    for counter in 12..=13 {
        store.append(z(counter), &txn(z(counter), 0)).unwrap();
    }
    store.sync().unwrap();
    read(&store, 9 * one, 10..12);
    read(&store, 9 * one, 12..14);
    // The log begins later, or ends earlier.
    for from in [z(1), z(20), Zxid::NONE] {
        let order = Read::Log { from, most: 0 };
        let piece = Readers::default().read(&store, &store.extent(), reading(3, 1), order);
        let Piece::Log(entries) = piece else { panic!("{piece:?}") };
        assert!(entries.first().is_none_or(|(zxid, _)| *zxid != from), "{from}");
    }
}
