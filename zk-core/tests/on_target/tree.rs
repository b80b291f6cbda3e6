//! The tree in lent memory: what clients see of it, and what happens when it is full.

use zk_core::id::{SessionId, Zxid};
use zk_core::tree::{DataTree, Failure, NewNode, Owner};
use zk_core::wire::Code;

use crate::profile::{NODES, Profile, open_acl};

tests![
    nodes_come_and_go,
    stats_tell_what_happened,
    a_session_has_its_ephemerals,
    a_full_tree_refuses_and_stays_whole,
    the_digest_returns_when_a_change_is_undone,
    a_node_has_one_path,
];

fn create(tree: &mut DataTree<'_>, path: &[u8], owner: Owner, zxid: i64) -> Result<(), Failure> {
    let mut room = [0; 64];
    let new = NewNode {
        path,
        data: Some(b"data"),
        acl: open_acl(&mut room),
        owner,
        parent_cversion: None,
        zxid: Zxid(zxid),
        time: zxid * 10,
    };
    tree.create(&new).map(|_| ())
}

fn nodes_come_and_go() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    let before = tree.room();
    assert_eq!(create(&mut tree, b"/a", Owner::Nobody, 1), Ok(()));
    assert_eq!(create(&mut tree, b"/a/b", Owner::Nobody, 2), Ok(()));
    assert_eq!(create(&mut tree, b"/a/b", Owner::Nobody, 3), Err(Code::NodeExists.into()));
    assert_eq!(create(&mut tree, b"/x/b", Owner::Nobody, 3), Err(Code::NoNode.into()));
    let at = tree.find(b"/a/b").expect("it was created");
    assert!(tree.data(at).expect("it has data").1.flatten().eq(b"data"));
    assert_eq!(tree.path_of(at, &mut [0; 16]), Some(&b"/a/b"[..]));
    assert_eq!(tree.delete(b"/a/b", Zxid(4)), Ok(()));
    assert_eq!(tree.find(b"/a/b"), None);
    assert_eq!(tree.delete(b"/a", Zxid(5)), Ok(()));
    assert_eq!(tree.room(), before);
}

fn stats_tell_what_happened() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    assert_eq!(create(&mut tree, b"/a", Owner::Nobody, 1), Ok(()));
    assert_eq!(create(&mut tree, b"/a/b", Owner::Nobody, 2), Ok(()));
    // Longer than a cell: the data lies in a chain of them.
    let long = [7; 200];
    assert!(tree.set_data(b"/a", Some(&long), 1, Zxid(3), 99).is_ok());
    let stat = tree.stat(tree.find(b"/a").expect("it was created"));
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (Zxid(1), Zxid(3), Zxid(2)));
    assert_eq!((stat.ctime, stat.mtime), (10, 99));
    assert_eq!((stat.version, stat.cversion, stat.aversion), (1, 1, 0));
    assert_eq!((stat.data_length, stat.num_children), (200, 1));
}

fn a_session_has_its_ephemerals() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    let session = SessionId(0x0100_0000_0000_0001);
    for (path, zxid) in [(&b"/e1"[..], 1), (b"/e2", 2), (b"/e3", 3)] {
        assert_eq!(create(&mut tree, path, Owner::Session(session), zxid), Ok(()));
    }
    assert_eq!(create(&mut tree, b"/p", Owner::Nobody, 4), Ok(()));
    assert_eq!(tree.ephemerals_of(session), 3);
    let mut room = [0; 16];
    loop {
        let Some(at) = tree.ephemerals(session).next() else { break };
        let path = tree.path_of(at, &mut room).expect("a short path");
        assert_eq!(tree.delete(path, Zxid(5)), Ok(()));
    }
    assert_eq!(tree.ephemeral_count(), 0);
    assert!(tree.find(b"/p").is_some() && tree.find(b"/e2").is_none());
}

fn a_full_tree_refuses_and_stays_whole() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    let mut made = 0;
    let path = |i: u8| [b'/', b'a' + i];
    while create(&mut tree, &path(made), Owner::Nobody, i64::from(made) + 1).is_ok() {
        made += 1;
    }
    // Counted as Apache does, whose map holds the root under two names.
    assert_eq!(tree.node_count(), NODES + 1);
    assert_eq!(tree.room().nodes, 0);
    let digest = tree.digest();
    assert_eq!(create(&mut tree, b"/z", Owner::Nobody, 90), Err(Failure::Full));
    assert_eq!(tree.digest(), digest);
    for i in 0..made {
        assert!(tree.find(&path(i)).is_some(), "node {i}");
    }
    assert_eq!(tree.delete(&path(0), Zxid(91)), Ok(()));
    assert_eq!(create(&mut tree, b"/z", Owner::Nobody, 92), Ok(()));
}

fn the_digest_returns_when_a_change_is_undone() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    assert_eq!(create(&mut tree, b"/a", Owner::Nobody, 1), Ok(()));
    let digest = tree.digest();
    assert!(tree.set_data(b"/a", Some(b"other"), 1, Zxid(2), 20).is_ok());
    assert_ne!(tree.digest(), digest);
    assert!(tree.set_data(b"/a", Some(b"data"), 0, Zxid(1), 10).is_ok());
    assert_eq!(tree.digest(), digest);
}

/// Nobody proposes these, but a log may say anything: found under one path and named by another, a
/// node could not be deleted with its session.
fn a_node_has_one_path() {
    let mut profile = Profile::new();
    let mut tree = profile.tree();
    assert_eq!(create(&mut tree, b"/a", Owner::Nobody, 1), Ok(()));
    let digest = tree.digest();
    for path in [&b"//b"[..], b"//", b"/a/", b"/a//b", b"///", b"b", b""] {
        assert!(create(&mut tree, path, Owner::Nobody, 2).is_err(), "{path:?}");
        assert!(tree.delete(path, Zxid(2)).is_err(), "{path:?}");
    }
    assert_eq!(tree.digest(), digest);
    assert_eq!(tree.child_count(tree.find(b"/").expect("the root")), 2);
}
