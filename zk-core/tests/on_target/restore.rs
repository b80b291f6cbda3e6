//! Restoring: a snapshot written by one tree is loaded by another, in pieces of every size.

use zk_core::id::{SessionId, Zxid};
use zk_core::tree::snapshot::{LoadError, Loader, Step};
use zk_core::tree::{DataTree, NewNode, Owner};
use zk_core::wire::file::SnapshotSession;

use crate::profile::{Profile, open_acl};

tests![
    a_snapshot_is_loaded_from_fragments,
    a_snapshot_shows_the_moment_it_began,
    a_node_that_changes_all_the_time_is_in_a_snapshot,
    no_prefix_of_a_snapshot_is_whole,
    damage_is_refused_or_contained,
    a_node_whose_path_is_none_is_refused,
];

const SESSION: SnapshotSession = SnapshotSession { id: SessionId(0x77), timeout: 4000 };
/// No record below is longer.
const LARGEST: usize = 256;

/// A tree with a node of each kind, made by transactions 1 to 5.
fn fill(tree: &mut DataTree<'_>) {
    let nodes: [(&[u8], Owner); 5] = [
        (b"/a", Owner::Nobody),
        (b"/a/b", Owner::Nobody),
        (b"/a/e", Owner::Session(SESSION.id)),
        (b"/c", Owner::Container),
        (b"/t", Owner::Ttl(60_000)),
    ];
    for ((path, owner), zxid) in nodes.into_iter().zip(1..) {
        let mut room = [0; 64];
        let new = NewNode {
            path,
            data: if zxid == 2 { None } else { Some(path) },
            acl: open_acl(&mut room),
            owner,
            parent_cversion: None,
            zxid: Zxid(zxid),
            time: zxid,
        };
        tree.create(&new).expect("the tree has room");
    }
}

/// Begins a snapshot, lets `between` happen when its first bytes were taken, and writes the rest.
fn written(
    tree: &mut DataTree<'_>,
    out: &mut [u8],
    mut between: impl FnMut(&mut DataTree<'_>),
) -> usize {
    assert_eq!(tree.snapshot_begin(1, [SESSION].into_iter()), Ok(true));
    let mut len = 0;
    loop {
        match tree.snapshot_step() {
            Some(Step::Bytes) => {
                let bytes = tree.snapshot_bytes();
                let n = bytes.len().min(23);
                out[len..len + n].copy_from_slice(&bytes[..n]);
                tree.snapshot_taken(n);
                if len == 0 {
                    between(tree);
                }
                len += n;
            }
            Some(Step::End) => break,
            other => panic!("{other:?} behind {len} bytes"),
        }
    }
    tree.snapshot_abandon();
    len
}

/// Shows `bytes` to a loader, at least `fragment` more each time.
fn load(tree: &mut DataTree<'_>, bytes: &[u8], fragment: usize) -> Result<bool, LoadError> {
    let mut loader = Loader::new(tree, LARGEST);
    let (mut at, mut shown, mut sessions) = (0, fragment, 0);
    loop {
        let end = (at + shown).min(bytes.len());
        let taken = loader.feed(tree, &bytes[at..end], |session| {
            assert_eq!(session.timeout, SESSION.timeout);
            sessions += 1;
            Ok(())
        })?;
        at += taken.consumed;
        if taken.done {
            assert_eq!((at, sessions), (bytes.len(), 1));
            loader.finish(tree, Zxid(5), &mut [0; 64]);
            return Ok(true);
        }
        if end == bytes.len() {
            return Ok(false);
        }
        shown = end - at + fragment;
    }
}

fn a_snapshot_is_loaded_from_fragments() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    fill(&mut tree);
    let mut out = [0; 2048];
    let len = written(&mut tree, &mut out, |_| {});
    for fragment in [1, 7, 64, 2048] {
        let mut other = Profile::new();
        let mut loaded = other.tree();
        assert_eq!(load(&mut loaded, &out[..len], fragment), Ok(true));
        assert_eq!(loaded.digest(), tree.digest());
        assert_eq!(loaded.node_count(), tree.node_count());
        assert_eq!(loaded.room(), tree.room());
        assert_eq!(loaded.last_zxid(), Zxid(5));
        assert_eq!(loaded.ephemerals_of(SESSION.id), 1);
        for path in [&b"/a"[..], b"/a/b", b"/a/e", b"/c", b"/t"] {
            let (one, two) = (tree.find(path).expect("filled"), loaded.find(path).expect("loaded"));
            assert_eq!(tree.stat(one), loaded.stat(two));
            assert_eq!(tree.owner(one), loaded.owner(two));
            let (one, two) = (tree.data(one), loaded.data(two));
            assert_eq!(one.is_none(), two.is_none());
            if let (Some((_, one)), Some((_, two))) = (one, two) {
                assert!(one.flatten().eq(two.flatten()));
            }
        }
    }
}

fn a_snapshot_shows_the_moment_it_began() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    fill(&mut tree);
    let digest = tree.digest();
    let mut out = [0; 2048];
    let len = written(&mut tree, &mut out, |tree| {
        tree.set_data(b"/t", Some(b"later"), 1, Zxid(6), 6).expect("the tree has room");
        tree.delete(b"/a/b", Zxid(7)).expect("it is there");
    });
    assert_ne!(tree.digest(), digest);
    let mut other = Profile::new();
    let mut loaded = other.tree();
    assert_eq!(load(&mut loaded, &out[..len], 64), Ok(true));
    assert_eq!(loaded.digest(), digest);
}

/// The tree is longer than the buffer, and the last node of it changes while a piece is with the disk.
fn a_node_that_changes_all_the_time_is_in_a_snapshot() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    fill(&mut tree);
    let mut room = [0; 64];
    for n in 0..8 {
        let path = [b'/', b'f' + n];
        let new = NewNode {
            path: &path,
            data: None,
            acl: open_acl(&mut room),
            owner: Owner::Nobody,
            parent_cversion: None,
            zxid: Zxid(6 + i64::from(n)),
            time: 6,
        };
        tree.create(&new).expect("the tree has room");
    }
    let digest = tree.digest();
    let mut out = [0; 2048];
    let len = written(&mut tree, &mut out, |tree| {
        tree.set_data(b"/m", None, 1, Zxid(14), 6).expect("it is there");
    });
    assert!(len > 1024, "{len} bytes fit the buffer");
    let mut other = Profile::new();
    let mut loaded = other.tree();
    assert_eq!(load(&mut loaded, &out[..len], 64), Ok(true));
    assert_eq!(loaded.digest(), digest);
}

fn no_prefix_of_a_snapshot_is_whole() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    fill(&mut tree);
    let mut out = [0; 2048];
    let len = written(&mut tree, &mut out, |_| {});
    let mut other = Profile::new();
    let mut loaded = other.tree();
    for end in 0..len {
        // The root's own record is `/` too, and the end is only the end behind it.
        assert_ne!(load(&mut loaded, &out[..end], 64), Ok(true), "{end} bytes of {len}");
    }
}

fn damage_is_refused_or_contained() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    fill(&mut tree);
    let mut out = [0; 2048];
    let len = written(&mut tree, &mut out, |_| {});
    let mut other = Profile::new();
    let mut loaded = other.tree();
    let mut refused = 0;
    // Behind the sessions, whose count and timeout the loader is asked about above.
    for at in 16..len {
        let was = out[at];
        out[at] ^= 0x80;
        let mut loader = Loader::new(&mut loaded, LARGEST);
        match loader.feed(&mut loaded, &out[..len], |_| Ok(())) {
            Ok(taken) => assert!(taken.consumed <= len),
            Err(_) => refused += 1,
        }
        out[at] = was;
    }
    assert!(refused > 0);
    // What was refused leaves nothing behind that a good snapshot would stumble over.
    assert_eq!(load(&mut loaded, &out[..len], 64), Ok(true));
    assert_eq!(loaded.digest(), tree.digest());
}

fn a_node_whose_path_is_none_is_refused() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    fill(&mut tree);
    let mut out = [0; 2048];
    let len = written(&mut tree, &mut out, |_| {});
    for (from, to) in [(b"/a/b", b"//ab"), (b"/a/b", b"/a//")] {
        let at = out[..len].windows(4).position(|bytes| bytes == from).expect("a node");
        out[at..at + 4].copy_from_slice(to);
        let mut loader = Loader::new(&mut tree, LARGEST);
        let refused = loader.feed(&mut tree, &out[..len], |_| Ok(()));
        assert_eq!(refused, Err(LoadError::BadPath));
        out[at..at + 4].copy_from_slice(from);
    }
}
