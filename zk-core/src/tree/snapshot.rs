//! Snapshots: the tree written out while it changes, and read in again.
//!
//! The body (what stands between the file's header and its checksum) is
//!
//! ```text
//! i32 sessions | session*  i32 lists | (i64 number, vector<ACL>)*
//! (ustring path, node)* with parents before children, the root first with the empty path
//! ustring "/"
//! ```
//!
//! **Writing costs no pause.** The slab of nodes is walked by number. One bit per node says whether
//! it is written; before an unwritten node changes, its unwritten ancestors and its old image are
//! written, so that the snapshot shows the tree of one zxid exactly. Nodes created later are born
//! written. If the disk falls behind by more than the buffer holds, the snapshot is given up.
//!
//! Answers to `DataTree.serialize` and `SerializeUtils`, whose snapshots are fuzzy; loading
//! accepts those too.

use super::{DataTree, NO_ACL, Owner, path};
use crate::id::Zxid;
use crate::memory::{Full, Handle, NIL, Pipe, Table};
use crate::wire::client::{Acl, Id};
use crate::wire::file::{SnapshotAcl, SnapshotNode, SnapshotSession};
use crate::wire::jute::{self, List, Reader, Ustring};

/// Bytes that a node has in a snapshot beyond those of any transaction that could have written it: the
/// shortest is a setData without a digest. A buffer of less than [`max_txn`](crate::peer::Options::max_txn)
/// and these takes no snapshot of a tree with a long node.
pub const IMAGE_MORE: usize = 32;

/// Bytes of paths, data and lists with which a snapshot has `len` bytes, if it has so many nodes, sessions and
/// lists.
pub const fn bytes(len: usize, nodes: usize, sessions: usize, lists: usize) -> usize {
    // Two counts, and the path "/" at the end.
    const BESIDES: usize = 4 + 4 + 4 + 1;
    // Each path and data has its length.
    const NODE: usize = 4 + 4 + SnapshotNode::TAIL;
    len.saturating_sub(BESIDES + NODE * nodes + SnapshotSession::LEN * sessions + LIST * lists)
}

/// Bytes before the entries of a list: its number, and how many there are.
const LIST: usize = 8 + 4;

/// Bytes of lists with which the head of a snapshot, with so many sessions and lists, fits a buffer for nodes that
/// transactions of up to `max_txn` bytes write.
pub const fn lists(max_txn: usize, sessions: usize, lists: usize) -> usize {
    (max_txn + IMAGE_MORE).saturating_sub(4 + SnapshotSession::LEN * sessions + 4 + LIST * lists)
}

/// The walk goes on until so many bytes wait for the disk, or half of what may wait.
const AHEAD: usize = 64 * 1024;

/// Nodes that one call marks after a snapshot was given up.
const SWEEP: usize = 20_000;

/// What a snapshot is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Nodes from this number on are still to be looked at.
    Walking(usize),
    /// Everything is in the buffer.
    Ended,
    /// The buffer was too small; nodes from this number on were not looked at.
    Failed(usize),
    /// The snapshot was given up; nodes from this number on may still lack the mark.
    Sweeping(usize),
}

/// The snapshot that is being written, if any.
#[derive(Debug)]
pub(super) struct Writer<'m> {
    buffer: Pipe<'m>,
    state: State,
    /// Nodes with this mark are written (or were born after the start).
    mark: bool,
}

impl<'m> Writer<'m> {
    pub(super) fn new(buffer: Table<'m, u8>) -> Self {
        Self { buffer: Pipe::new(buffer), state: State::Idle, mark: false }
    }

    pub(super) fn mark(&self) -> bool {
        self.mark
    }

    #[inline(never)] // once for all its callers
    pub(super) fn abandon(&mut self) {
        self.state = match self.state {
            State::Walking(number) | State::Failed(number) | State::Sweeping(number) => {
                State::Sweeping(number)
            }
            State::Idle | State::Ended => State::Idle,
        };
        self.buffer.clear();
        self.buffer.shrink();
    }

    /// Forgets everything, with the nodes.
    pub(super) fn reset(&mut self) {
        self.state = State::Idle;
        self.buffer.clear();
    }
}

/// What a snapshot has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There are [bytes](DataTree::snapshot_bytes) to write, then to be
    /// [taken](DataTree::snapshot_taken).
    Bytes,
    /// That was all.
    End,
    /// The disk was too slow for the buffer: delete what was written.
    Failed,
}

impl DataTree<'_> {
    /// Starts a snapshot of the tree as it is now. `false` says that marks of a snapshot that was
    /// given up are still being cleared: ask again later.
    ///
    /// # Errors
    /// [`Full`] when sessions and access control lists do not fit the buffer.
    pub fn snapshot_begin(
        &mut self,
        session_count: usize,
        sessions: impl Iterator<Item = SnapshotSession>,
    ) -> Result<bool, Full> {
        self.snapshot.abandon();
        if let State::Sweeping(number) = self.snapshot.state {
            let end = self.nodes.used();
            let next = end.min(number + SWEEP);
            for at in (number..next).filter_map(|at| Handle::try_from(at).ok()) {
                if self.nodes.get(at).is_some() {
                    self.nodes[at].set_mark(self.snapshot.mark);
                }
            }
            self.snapshot.state = if next == end { State::Idle } else { State::Sweeping(next) };
            if next < end {
                return Ok(false);
            }
        }
        self.snapshot_head(session_count, sessions)
            .inspect_err(|_| self.snapshot.abandon())
            .map_err(|_| Full)?;
        self.snapshot.mark = !self.snapshot.mark;
        self.snapshot.state = State::Walking(0);
        Ok(true)
    }

    fn snapshot_head(
        &mut self,
        session_count: usize,
        sessions: impl Iterator<Item = SnapshotSession>,
    ) -> Result<(), jute::Error> {
        let out = &mut self.snapshot.buffer;
        jute::write(&i32::try_from(session_count).map_err(|_| jute::Error::Length)?, out)?;
        for session in sessions {
            jute::write(&session, out)?;
        }
        jute::write(&i32::try_from(self.acls.len()).map_err(|_| jute::Error::Length)?, out)?;
        for (id, at) in self.acls.iter() {
            jute::write(&id, out)?;
            self.acls.put(&self.cells, at, out)?;
        }
        Ok(())
    }

    /// What comes next; walks on when little waits. `None` when no snapshot is being written.
    pub fn snapshot_step(&mut self) -> Option<Step> {
        // The other half is for nodes that change meanwhile: with less, one that changes all the time
        // would never be in a snapshot.
        let ahead = AHEAD.min(self.snapshot.buffer.ceiling() / 2);
        while let State::Walking(number) = self.snapshot.state {
            if self.snapshot.buffer.len() >= ahead {
                break;
            }
            if number >= self.nodes.used() {
                let end: Ustring<'_> = crate::wire::file::END;
                self.snapshot.state = match jute::write(&end, &mut self.snapshot.buffer) {
                    Ok(()) => State::Ended,
                    Err(_) => State::Failed(number),
                };
                break;
            }
            if let Ok(at) = Handle::try_from(number)
                && self.nodes.get(at).is_some()
                && self.nodes[at].mark() != self.snapshot.mark
            {
                let waits = self.snapshot.buffer.len();
                if waits > 0 && waits + self.image_len(at) > ahead {
                    // It will fit when the disk has taken what waits.
                    break;
                }
                self.preserve(at);
            }
            if self.snapshot.state == State::Walking(number) {
                self.snapshot.state = State::Walking(number + 1);
            }
        }
        let Writer { buffer, state, .. } = &self.snapshot;
        match state {
            State::Idle | State::Sweeping(_) => None,
            State::Failed(_) => Some(Step::Failed),
            _ if !buffer.is_empty() => Some(Step::Bytes),
            State::Ended => Some(Step::End),
            // Nothing waits, so the walk could not stop short.
            State::Walking(_) => Some(Step::Failed),
        }
    }

    /// What waits for the disk.
    pub fn snapshot_bytes(&self) -> &[u8] {
        self.snapshot.buffer.bytes()
    }

    /// The first `len` of these bytes are with the disk.
    pub fn snapshot_taken(&mut self, len: usize) {
        self.snapshot.buffer.take(len);
    }

    /// Forgets the snapshot that was being written, or has ended.
    pub fn snapshot_abandon(&mut self) {
        self.snapshot.abandon();
    }

    fn image_len(&self, at: Handle) -> usize {
        let node = &self.nodes[at];
        4 + self.path_len(at) + 4 + node.data_len().unwrap_or(0) + 8 + 60
    }

    /// Before a node changes: writes its image, if the snapshot has not got it yet.
    pub(super) fn preserve(&mut self, at: Handle) {
        let State::Walking(number) = self.snapshot.state else { return };
        // A written node has written ancestors: they were written first, or were changed (and so
        // written) when it was born.
        while self.nodes[at].mark() != self.snapshot.mark {
            let mut top = at;
            loop {
                let parent = self.nodes[top].parent;
                if parent == NIL || self.nodes[parent].mark() == self.snapshot.mark {
                    break;
                }
                top = parent;
            }
            if self.image(top).is_err() {
                self.snapshot.state = State::Failed(number);
                return;
            }
            let mark = self.snapshot.mark;
            self.nodes[top].set_mark(mark);
        }
    }

    fn image(&mut self, at: Handle) -> Result<(), jute::Error> {
        let len = self.path_len(at);
        let mut out = core::mem::take(&mut self.snapshot.buffer);
        let result = self.put_image(at, len, &mut out);
        self.snapshot.buffer = out;
        result
    }

    fn put_image(&self, at: Handle, len: usize, out: &mut Pipe<'_>) -> Result<(), jute::Error> {
        jute::write(&i32::try_from(len).map_err(|_| jute::Error::Length)?, out)?;
        let room = out.room(len).map_err(|_| jute::Error::Full)?;
        self.path_of(at, room).ok_or(jute::Error::Length)?;
        self.put_data(at, out)?;
        let node = &self.nodes[at];
        jute::write(&self.acls.number(node.acl()), out)?;
        jute::write(&node.stat(), out)
    }
}

/// Why a snapshot cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A record is longer than the limit, or malformed.
    Malformed(jute::Error),
    /// A node comes before its parent.
    NoParent,
    /// Two nodes have the same path, or a path is none.
    BadPath,
    /// A node has a child that its kind cannot have. Nodes with a time to live look like this when
    /// extended types are not enabled.
    ChildOfEphemeral,
    /// A node's owner has bits that no kind of node has.
    BadOwner,
    /// The snapshot holds more than this peer's capacity.
    Full,
}

impl LoadError {
    /// Whether the bytes are wrong, so that an older snapshot may do. Otherwise they are what they
    /// should be, and this peer, as it is set up, cannot hold them.
    pub fn is_damage(self) -> bool {
        !matches!(self, Self::Full | Self::ChildOfEphemeral)
    }
}

impl core::fmt::Display for LoadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "a malformed record: {error}"),
            Self::NoParent => f.write_str("a node before its parent"),
            Self::BadPath => f.write_str("a path that occurs twice, or is none"),
            Self::ChildOfEphemeral => f.write_str(
                "a child of an ephemeral node (if it is a TTL node, set extendedTypesEnabled=true)",
            ),
            Self::BadOwner => f.write_str("a node whose owner is no kind of owner"),
            Self::Full => f.write_str("more than this peer's capacity"),
        }
    }
}

impl core::error::Error for LoadError {}

impl From<Full> for LoadError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

/// What [`Loader::feed`] made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes that were used; show the rest again, with more behind it.
    pub consumed: usize,
    /// How many bytes it would like to see next time, from there on: a guess, more than the last
    /// record may have.
    pub need: usize,
    /// Whether the body is complete.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    SessionCount,
    Sessions(i32),
    AclCount,
    Acls(i32),
    Nodes,
    Done,
}

/// Reads the body of a snapshot into a tree, record by record.
#[derive(Debug)]
pub struct Loader {
    part: Part,
    largest: usize,
}

/// Stands for a list that a fuzzy snapshot names and does not have: nobody may do anything.
/// Apache fails every access to such a node.
const NOBODY: Acl<'static> =
    Acl { perms: 0, id: Id { scheme: Ustring::new(b"world"), id: Ustring::new(b"anyone") } };

impl Loader {
    /// Empties `tree` and makes ready. No record may be longer than `largest` bytes.
    pub fn new(tree: &mut DataTree<'_>, largest: usize) -> Self {
        tree.clear();
        Self { part: Part::SessionCount, largest }
    }

    /// Takes whole records from the start of `bytes`; sessions are handed to `session`, which
    /// answers [`Full`] when there are too many.
    ///
    /// # Errors
    /// [`LoadError`]; the tree is then in no state to be used.
    pub fn feed(
        &mut self,
        tree: &mut DataTree<'_>,
        bytes: &[u8],
        mut session: impl FnMut(SnapshotSession) -> Result<(), Full>,
    ) -> Result<Taken, LoadError> {
        let mut reader = Reader::new(bytes);
        loop {
            if self.part == Part::Done {
                let consumed = bytes.len() - reader.rest().len();
                return Ok(Taken { consumed, need: 0, done: true });
            }
            let mut ahead = reader.clone();
            match self.record(tree, &mut ahead, &mut session) {
                Ok(()) => reader = ahead,
                Err(LoadError::Malformed(jute::Error::Truncated))
                    if reader.rest().len() < self.largest =>
                {
                    let left = reader.rest().len();
                    let need = (left * 2).clamp(64, self.largest);
                    return Ok(Taken { consumed: bytes.len() - left, need, done: false });
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn record(
        &mut self,
        tree: &mut DataTree<'_>,
        reader: &mut Reader<'_>,
        session: &mut impl FnMut(SnapshotSession) -> Result<(), Full>,
    ) -> Result<(), LoadError> {
        let malformed = LoadError::Malformed;
        self.part = match self.part {
            Part::SessionCount => match reader.i32().map_err(malformed)? {
                0 => Part::AclCount,
                n if n < 0 => return Err(malformed(jute::Error::Length)),
                n => Part::Sessions(n),
            },
            Part::Sessions(left) => {
                session(reader.read().map_err(malformed)?)?;
                if left == 1 { Part::AclCount } else { Part::Sessions(left - 1) }
            }
            Part::AclCount => match reader.i32().map_err(malformed)? {
                0 => Part::Nodes,
                n if n < 0 => return Err(malformed(jute::Error::Length)),
                n => Part::Acls(n),
            },
            Part::Acls(left) => {
                let SnapshotAcl { id, acl } = reader.read().map_err(malformed)?;
                tree.acls.load(&mut tree.cells, id, acl)?;
                if left == 1 { Part::Nodes } else { Part::Acls(left - 1) }
            }
            Part::Nodes => {
                let path: Ustring<'_> = reader.read().map_err(malformed)?;
                if path.bytes() == b"/" {
                    if tree.root == NIL {
                        return Err(LoadError::NoParent);
                    }
                    Part::Done
                } else {
                    let node: SnapshotNode<'_> = reader.read().map_err(malformed)?;
                    load_node(tree, path.bytes(), &node)?;
                    Part::Nodes
                }
            }
            Part::Done => Part::Done,
        };
        Ok(())
    }

    /// Ends a load whose body is complete: lists that no node has are dropped, quota counters are
    /// counted anew. `scratch` has room for the longest path.
    pub fn finish(self, tree: &mut DataTree<'_>, zxid: Zxid, scratch: &mut [u8]) {
        tree.acls.sweep(&mut tree.cells);
        tree.recount_all(scratch);
        tree.last_zxid = zxid;
    }
}

fn load_node(
    tree: &mut DataTree<'_>,
    path: &[u8],
    node: &SnapshotNode<'_>,
) -> Result<(), LoadError> {
    let parent = if path.is_empty() {
        if tree.root != NIL {
            return Err(LoadError::BadPath);
        }
        NIL
    } else {
        let (parent, _) = path::place(path).ok_or(LoadError::BadPath)?;
        if tree.root == NIL {
            return Err(LoadError::NoParent);
        }
        let parent = tree.find(parent).ok_or(LoadError::NoParent)?;
        if tree.is_ephemeral(parent) {
            return Err(LoadError::ChildOfEphemeral);
        }
        if tree.find(path).is_some() {
            return Err(LoadError::BadPath);
        }
        parent
    };
    if Owner::read(node.stat.ephemeral_owner, tree.extended_types).is_none() {
        return Err(LoadError::BadOwner);
    }
    let acl = match tree.acls.by_number(node.acl) {
        Some(acl) => {
            tree.acls.share(acl);
            acl
        }
        None => {
            let mut room = [0; 32];
            let nobody = List::encode(&[NOBODY], &mut room).map_err(LoadError::Malformed)?;
            tree.acls.acquire(&mut tree.cells, nobody)?
        }
    };
    tree.attach(path, parent, node.data.0, acl, &node.stat).inspect_err(|_| {
        if acl != NO_ACL {
            tree.acls.release(&mut tree.cells, acl);
        }
    })?;
    Ok(())
}
