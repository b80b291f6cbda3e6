//! Memory of a small profile, lent: all of it is counted.

use std::boxed::Box;
use std::vec::Vec;

use zk_core::memory::{Cell, Index, Meta, Slot, Table};
use zk_core::peer::{Address, Asking, Connection, EnsembleStorage, MemberConnection, PendingEntry};
use zk_core::quorum::{Config, Grouped, Member, Quorums};
use zk_core::request::changes::{self, Change, Undo};
use zk_core::session::Session;
use zk_core::tree::watch::{self, Watch, WatchedPath};
use zk_core::tree::{self, AclEntry, Node, OwnerEntry};
use zk_core::zab::leader::Learner;
use zk_core::{election, peer};

use crate::flash::{self, Block, Entries, batch_len};
use crate::net::{self, Buffers, SocketStorage};
use crate::node::{self, Place, packet_max};

/// Servers of an ensemble.
pub(super) const SERVERS: usize = 3;
/// Clients' sockets: one of them listens.
pub(super) const CLIENTS: usize = 4;
/// Members' sockets.
pub(super) const MEMBERS: usize = 3 * (SERVERS - 1) + 2;
/// Bytes of the longest frame of a client.
pub(super) const FRAME: usize = 1024;

const TXN: usize = 1280;
const BATCH: usize = 1280;
const NODES: usize = 96;
const CELLS: usize = 640;
const SESSIONS: usize = 8;
const WATCHES: usize = 32;
const SENT: usize = 512;
const CONFIG: usize = 512;

/// The geometry of a flash.
pub(super) const FLASH: flash::simulated::Geometry =
    flash::simulated::Geometry { write: 4, page: 256, erase: 4096, blocks: 32 };

/// Counts what is lent.
#[derive(Debug, Default)]
pub(super) struct Ram(pub(super) usize);

impl Ram {
    fn lend<T>(&mut self, len: usize, entry: impl FnMut() -> T) -> &'static mut [T] {
        self.0 += len * size_of::<T>();
        let entries: Vec<T> = core::iter::repeat_with(entry).take(len).collect();
        Box::leak(entries.into_boxed_slice())
    }

    fn table<T: Default>(&mut self, len: usize) -> Table<'static, T> {
        Table::lent(self.lend(len, T::default))
    }

    fn bytes(&mut self, len: usize) -> &'static mut [u8] {
        self.lend(len, || 0)
    }

    fn index(&mut self, len: usize) -> Index<'static> {
        Index::lent(self.lend::<Slot>(len, || 0))
    }

    fn config(&mut self) -> Config<'static> {
        let (text, members) = (self.table::<u8>(CONFIG), self.table::<Member>(SERVERS));
        Config::new(text, members, self.table::<Grouped>(0))
    }

    /// Of a peer.
    pub(super) fn peer(&mut self) -> peer::Storage<'static> {
        let connections = self.lend(CLIENTS, || ());
        let connections: Vec<Connection<'static>> = connections
            .iter()
            .map(|()| {
                let input = self.bytes(FRAME + 13);
                Connection::lent(input, self.bytes(4096))
            })
            .collect();
        let mut connections = connections.into_iter();
        let links: Vec<MemberConnection<'static>> =
            (0..MEMBERS).map(|_| MemberConnection::lent(self.bytes(2 * TXN))).collect();
        let mut links = links.into_iter();
        peer::Storage {
            tree: tree::Storage {
                nodes: self.table::<Node>(NODES),
                paths: self.index(128),
                cells: self.table::<Cell>(CELLS),
                acls: self.table::<AclEntry>(4),
                acl_contents: self.index(8),
                acl_numbers: self.index(8),
                owners: self.table::<OwnerEntry>(SESSIONS),
                owner_sessions: self.index(16),
                snapshot: self.table(2048),
                listing: tree::listing::Storage::default(),
            },
            watches: watch::Storage {
                paths: self.table::<WatchedPath>(WATCHES),
                path_slots: self.index(64),
                watches: self.table::<Watch>(WATCHES),
                watch_slots: self.index(64),
                cells: self.table::<Cell>(64),
            },
            changes: changes::Storage {
                changes: self.table::<Change>(32),
                slots: self.index(64),
                cells: self.table::<Cell>(64),
                undo: self.table::<Undo>(32),
            },
            sessions: self.table::<Session>(SESSIONS),
            session_slots: self.index(16),
            connections: Table::lent(self.lend(CLIENTS, || connections.next().unwrap())),
            history: self.table(4096),
            history_metas: self.table::<Meta>(32),
            pending: self.table::<PendingEntry>(16),
            scratch: self.table(TXN),
            acl_scratch: self.table(TXN),
            reply: self.table(2048),
            ensemble: EnsembleStorage {
                quorums: Quorums::new(self.config(), self.config()),
                voters: self.table::<election::Voter>(2 * SERVERS + election::STRANGERS_MAX),
                links: Table::lent(self.lend(MEMBERS, || links.next().unwrap())),
                addresses: self.table::<Address>(SERVERS - 1),
                learners: self.table::<Learner>(MEMBERS),
                install: self.table(1024),
                asking: [self.table::<Asking>(CLIENTS), self.table::<Asking>(CLIENTS)],
            },
            digests: Table::default(),
        }
    }

    /// Of the flash store: for batches and snapshots, and for reading.
    pub(super) fn flash(&mut self) -> (flash::Memory<'static>, &'static mut [u8]) {
        let memory = flash::Memory {
            blocks: self.lend(FLASH.blocks, Block::default),
            batch: self.bytes(batch_len(BATCH, TXN, FLASH.write)),
            piece: self.bytes(256),
        };
        (memory, self.bytes(Entries::room(TXN)))
    }

    /// Of sockets.
    pub(super) fn net(
        &mut self,
        options: &peer::Options,
        clients: usize,
    ) -> (net::Storage<'static>, node::Storage<'static>) {
        let packet = packet_max(options);
        let storage = net::Storage {
            sockets: self.lend(clients + MEMBERS, || SocketStorage::EMPTY),
            clients: Buffers {
                sockets: clients,
                receive: self.bytes(clients * (FRAME + 4)),
                transmit: self.bytes(clients * SENT),
            },
            members: Buffers {
                sockets: MEMBERS,
                receive: self.bytes(MEMBERS * packet),
                transmit: self.bytes(MEMBERS * SENT),
            },
        };
        let scratch = self.bytes(packet);
        (storage, node::Storage { places: self.lend(clients + MEMBERS, Place::default), scratch })
    }
}

/// Settings that fit.
pub(super) fn options(server: zk_core::id::ServerId) -> peer::Options {
    peer::Options {
        max_frame: FRAME,
        max_txn: TXN,
        max_reply: 4096,
        reply_high_mark: 2048,
        max_waiting: FRAME + 13,
        max_batch: BATCH,
        max_watches: 16,
        max_ephemerals: 16,
        ..node::board_options(server)
    }
}

/// What a flash store is told.
pub(super) const FLASH_OPTIONS: flash::Options =
    flash::Options { first_block: 0, txn_max: TXN, snapshot_max: 24 << 10 };
