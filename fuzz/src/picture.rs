//! Everything that a restart must bring back, to be compared.

use std::collections::BTreeMap;

use zk_core::memory::Handle;
use zk_core::peer::Peer;
use zk_core::tree::DataTree;

/// A server's tree and sessions.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    nodes: BTreeMap<Vec<u8>, String>,
    digest: i64,
    sessions: BTreeMap<i64, i32>,
}

impl Picture {
    /// What a peer has applied.
    ///
    /// # Panics
    /// When the tree is not one: a node that its own path does not lead to, a child that is not
    /// counted.
    pub fn of(peer: &Peer<'_>) -> Self {
        let tree = peer.tree();
        let sessions = peer.sessions().applied();
        let mut picture = Self {
            nodes: BTreeMap::new(),
            digest: tree.digest(),
            sessions: sessions.map(|session| (session.id.0, session.timeout)).collect(),
        };
        let mut waiting = vec![tree.find(b"").expect("a root")];
        while let Some(at) = waiting.pop() {
            picture.add(tree, at);
            let children: Vec<Handle> = tree.children(at).collect();
            assert_eq!(children.len(), tree.child_count(at));
            waiting.extend(children);
        }
        // Apache, and so the count, has the root under two names.
        assert_eq!(picture.nodes.len() + 1, tree.node_count());
        picture
    }

    /// The same without a node.
    pub fn without(mut self, path: &str) -> Self {
        self.nodes.remove(path.as_bytes());
        self
    }

    /// The paths of its nodes, parents before children.
    pub fn paths(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.nodes.keys().map(Vec::as_slice)
    }

    fn add(&mut self, tree: &DataTree<'_>, at: Handle) {
        let mut room = vec![0; tree.path_len(at)];
        let path = tree.path_of(at, &mut room).expect("room for the path").to_vec();
        assert_eq!(tree.find(&path), Some(at), "{:?}", String::from_utf8_lossy(&path));
        let (mut data, mut acl) = (vec![], vec![]);
        tree.put_data(at, &mut data).expect("a vector is never full");
        tree.put_acl(at, &mut acl).expect("a vector is never full");
        let seen =
            format!("{} {} {:?}", data.escape_ascii(), acl.escape_ascii(), tree.node(at).stat());
        assert!(self.nodes.insert(path, seen).is_none(), "two nodes of one path");
    }

    /// Compares, and shows where two pictures differ.
    ///
    /// # Panics
    /// When they do.
    pub fn must_be(&self, other: &Self, when: &str) {
        if self == other {
            return;
        }
        for path in self.nodes.keys().chain(other.nodes.keys()) {
            let (one, two) = (self.nodes.get(path), other.nodes.get(path));
            assert_eq!(one, two, "{when}: {}", path.escape_ascii());
        }
        assert_eq!(self.sessions, other.sessions, "{when}");
        assert_eq!(self.digest, other.digest, "{when}: the digest");
    }
}
