//! Memory that a board would lend to a peer. How much there is changes nothing about the code.

use core::array::from_fn;

use zk_core::memory::{Cell, Index, Meta, Slot, Table, Unit};
use zk_core::peer::{Connection, EnsembleStorage, PendingEntry, Storage};
use zk_core::request::changes::{self, Change, Undo};
use zk_core::session::Session;
use zk_core::tree::watch::{self, Watch, WatchedPath};
use zk_core::tree::{self, AclEntry, Node, OwnerEntry};

/// Connections.
pub(crate) const CONNECTIONS: usize = 2;
/// Bytes of each buffer.
pub(crate) const FRAME: usize = 256;
/// Entries of each table.
const ENTRIES: usize = 8;
/// Cells.
const CELLS: usize = 32;
/// Slots of each index, a power of two.
const SLOTS: usize = 16;

/// One array for each table.
pub(crate) struct Memory {
    nodes: [Node; ENTRIES],
    cells: [Cell; CELLS],
    acls: [AclEntry; ENTRIES],
    owners: [OwnerEntry; ENTRIES],
    watched: [WatchedPath; ENTRIES],
    watches: [Watch; ENTRIES],
    watch_cells: [Cell; ENTRIES],
    changes: [Change; ENTRIES],
    change_cells: [Cell; ENTRIES],
    undo: [Undo; ENTRIES],
    sessions: [Session; ENTRIES],
    metas: [Meta; ENTRIES],
    pending: [PendingEntry; ENTRIES],
    slots: [[Slot; SLOTS]; 8],
    bytes: [[u8; FRAME]; 6],
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            nodes: from_fn(|_| Node::default()),
            cells: from_fn(|_| Cell::default()),
            acls: from_fn(|_| AclEntry::default()),
            owners: from_fn(|_| OwnerEntry::default()),
            watched: from_fn(|_| WatchedPath::default()),
            watches: from_fn(|_| Watch::default()),
            watch_cells: from_fn(|_| Cell::default()),
            changes: from_fn(|_| Change::default()),
            change_cells: from_fn(|_| Cell::default()),
            undo: from_fn(|_| Undo::default()),
            sessions: from_fn(|_| Session::default()),
            metas: from_fn(|_| Meta::default()),
            pending: from_fn(|_| PendingEntry::default()),
            slots: [[0; SLOTS]; 8],
            bytes: [[0; FRAME]; 6],
        }
    }

    pub(crate) fn storage<'m>(&'m mut self, connections: &'m mut [Connection<'m>]) -> Storage<'m> {
        let [paths, contents, numbers, owners, watched, watches, changes, sessions] =
            &mut self.slots;
        let [snapshot, history, scratch, reply, spares @ ..] = &mut self.bytes;
        Storage {
            tree: tree::Storage {
                nodes: Table::lent(&mut self.nodes),
                paths: Index::lent(paths),
                cells: Table::lent(&mut self.cells),
                unit: Unit::OWN,
                kept: 0,
                bytes: usize::MAX,
                lists: usize::MAX,
                acls: Table::lent(&mut self.acls),
                acl_contents: Index::lent(contents),
                acl_numbers: Index::lent(numbers),
                owners: Table::lent(&mut self.owners),
                owner_sessions: Index::lent(owners),
                snapshot: Table::lent(snapshot),
                listing: tree::listing::Storage::default(),
            },
            watches: watch::Storage {
                paths: Table::lent(&mut self.watched),
                path_slots: Index::lent(watched),
                watches: Table::lent(&mut self.watches),
                watch_slots: Index::lent(watches),
                cells: Table::lent(&mut self.watch_cells),
            },
            changes: changes::Storage {
                changes: Table::lent(&mut self.changes),
                slots: Index::lent(changes),
                cells: Table::lent(&mut self.change_cells),
                undo: Table::lent(&mut self.undo),
            },
            sessions: Table::lent(&mut self.sessions),
            session_slots: Index::lent(sessions),
            connections: Table::lent(connections),
            spares: spares.each_mut().map(|spare| Table::lent(spare)),
            history: Table::lent(history),
            history_metas: Table::lent(&mut self.metas),
            pending: Table::lent(&mut self.pending),
            scratch: Table::lent(scratch),
            reply: Table::lent(reply),
            ensemble: EnsembleStorage::default(),
            digests: Table::default(),
        }
    }
}

/// Connections with a buffer each way.
pub(crate) fn connections(
    buffers: &mut [[u8; FRAME]; 2 * CONNECTIONS],
) -> [Connection<'_>; CONNECTIONS] {
    let mut buffers = buffers.iter_mut();
    from_fn(|_| match (buffers.next(), buffers.next()) {
        (Some(input), Some(output)) => Connection::lent(input, output),
        _ => Connection::default(),
    })
}
