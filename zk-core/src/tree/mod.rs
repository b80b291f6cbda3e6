//! The tree of znodes.
//!
//! Nodes lie in a slab; a hash index over full paths finds them; children and a session's
//! ephemeral nodes are linked lists through the nodes. A path is never stored: a node has its
//! name, and a lookup verifies the path backwards along the parents.
//!
//! The tree never sees a socket, a quorum or a clock: time arrives in the transaction. Answers to
//! `DataTree`.

pub mod acl;
mod change;
mod cost;
pub mod count;
pub mod digest;
pub mod identity;
pub mod listing;
mod lookup;
mod node;
mod owner;
mod owners;
pub mod path;
pub mod quota;
mod reap;
pub mod snapshot;
mod storage;
pub mod watch;

pub use crate::memory::Seeds;
pub use acl::{AclEntry, AclTable, NO_ACL};
pub use change::NewNode;
pub use cost::{Cost, config_cells};
pub use node::Node;
pub use owner::{MAX_TTL, Owner};
pub use owners::OwnerEntry;
use owners::Owners;
pub use storage::{Ceilings, Storage};

use crate::id::Zxid;
use crate::memory::{Cells, Full, Handle, Index, NIL, Slab};
use crate::wire::Code;
use crate::wire::client::{Acl, Id, perms};
use crate::wire::file::StatPersisted;
use crate::wire::jute::List;

/// Why a change could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The change does not fit this tree: the code that Apache gives it.
    Code(Code),
    /// The storage is full. The leader checks before it proposes, so this is a violated promise
    /// wherever it shows.
    Full,
}

impl From<Full> for Failure {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

/// Nodes that an operation may look at in one go, by default.
pub const SLICE: usize = 4096;

/// The tree and all that hangs on its nodes.
#[derive(Debug)]
pub struct DataTree<'m> {
    nodes: Slab<'m, Node>,
    index: Index<'m>,
    cells: Cells<'m>,
    /// Cells for the configuration.
    kept: usize,
    /// The most bytes of paths, data and lists.
    bytes: usize,
    /// The most bytes of lists.
    lists: usize,
    acls: AclTable<'m>,
    owners: Owners<'m>,
    seeds: Seeds,
    root: Handle,
    extended_types: bool,
    digest: u64,
    last_zxid: Zxid,
    data_size: u64,
    ephemerals: usize,
    containers: usize,
    ttls: usize,
    limits: usize,
    snapshot: snapshot::Writer<'m>,
    listing: listing::Listing<'m>,
    counts: heapless::Vec<count::Count, { count::COUNTS }>,
    slice: usize,
}

impl<'m> DataTree<'m> {
    /// The tree of a new server: `/`, `/zookeeper`, and its children `quota` and `config`.
    ///
    /// # Errors
    /// [`Full`] when the storage has no room for these.
    pub fn new(storage: Storage<'m>, seeds: Seeds, extended_types: bool) -> Result<Self, Full> {
        let acls = AclTable::new(
            Slab::new(storage.acls),
            storage.acl_contents,
            storage.acl_numbers,
            seeds,
        );
        let mut tree = Self {
            nodes: Slab::new(storage.nodes),
            index: storage.paths,
            cells: Cells::counted(storage.cells, storage.unit),
            kept: storage.kept,
            bytes: storage.bytes,
            lists: storage.lists,
            acls,
            owners: Owners::new(Slab::new(storage.owners), storage.owner_sessions, seeds),
            seeds,
            root: NIL,
            extended_types,
            digest: 0,
            last_zxid: Zxid::ZERO,
            data_size: 0,
            ephemerals: 0,
            containers: 0,
            ttls: 0,
            limits: 0,
            snapshot: snapshot::Writer::new(storage.snapshot),
            listing: listing::Listing::new(storage.listing),
            counts: heapless::Vec::new(),
            slice: SLICE,
        };
        tree.reset()?;
        Ok(tree)
    }

    /// Makes the tree that of a new server again.
    ///
    /// # Errors
    /// [`Full`], if [`new`](Self::new) would have failed.
    pub fn reset(&mut self) -> Result<(), Full> {
        self.clear();
        let zero = StatPersisted::default();
        self.attach(b"", NIL, Some(b""), NO_ACL, &zero)?;
        self.attach(path::ZOOKEEPER, self.root, Some(b""), NO_ACL, &zero)?;
        let zookeeper = self.find(path::ZOOKEEPER).ok_or(Full)?;
        self.attach(path::QUOTA, zookeeper, Some(b""), NO_ACL, &zero)?;
        let mut room = [0; 32];
        let id = Id { scheme: "world".into(), id: "anyone".into() };
        let acl = List::encode(&[Acl { perms: perms::READ, id }], &mut room).map_err(|_| Full)?;
        let acl = self.acls.acquire(&mut self.cells, acl)?;
        let stat = StatPersisted { aversion: -1, ..zero };
        self.attach(path::CONFIG, zookeeper, Some(b""), acl, &stat)?;
        Ok(())
    }

    /// Empties everything, also the root.
    fn clear(&mut self) {
        self.nodes.clear();
        self.index.clear();
        self.cells.clear();
        self.acls.clear();
        self.owners.clear();
        self.root = NIL;
        self.digest = 0;
        self.last_zxid = Zxid::ZERO;
        self.data_size = 0;
        self.ephemerals = 0;
        self.containers = 0;
        self.ttls = 0;
        self.limits = 0;
        self.snapshot.reset();
        self.listing.end();
        self.counts.clear();
    }

    // Getters.

    /// The last transaction that was applied.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Says that everything up to `zxid` is applied. Zxids never go back.
    pub fn applied(&mut self, zxid: Zxid) {
        self.last_zxid = self.last_zxid.max(zxid);
    }

    /// The digest over all nodes.
    pub fn digest(&self) -> i64 {
        self.digest as i64
    }

    /// Number of nodes as Apache counts them, with `/` and what is below `/zookeeper`.
    pub fn node_count(&self) -> usize {
        // Apache's map holds the root under two names.
        self.nodes.len() + 1
    }

    /// Number of ephemeral nodes.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals
    }

    /// Number of nodes that a reaper may remove some day: containers and TTL nodes.
    pub fn reapable_count(&self) -> usize {
        self.containers + self.ttls
    }

    /// Bytes of all paths and data.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    /// The access control lists.
    pub fn acls(&self) -> &AclTable<'m> {
        &self.acls
    }

    /// Whether TTL nodes are recognised.
    pub fn extended_types(&self) -> bool {
        self.extended_types
    }

    /// How many nodes an operation may look at in one go; more are looked at in slices.
    pub fn set_slice(&mut self, slice: usize) {
        self.slice = slice;
    }

    /// The hash keys.
    pub fn seeds(&self) -> Seeds {
        self.seeds
    }
}
