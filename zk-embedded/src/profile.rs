//! How much a board can hold, and the memory for it: the one place for both.
//!
//! A [`Profile`] has the numbers. [`Profile::ram`] says, at compile time, how many bytes they take,
//! and a [`Ram`] lends them, each table once and for good. So a board says
//!
//! ```text
//! static ARENA: Arena<{ TINY.ram::<Nor>() }> = Arena::new();
//! const _: () = assert!(TINY.ram::<Nor>() <= BUDGET);
//! ```
//!
//! and a program with a heap lends boxes.

use zk_core::election;
use zk_core::id::ServerId;
use zk_core::memory::{Cell, Full, Index, Meta, Slot, Table, Unit};
use zk_core::peer::{
    self, Address, Asking, Connection, Dialect, EnsembleStorage, MemberConnection, Peer,
    PendingEntry, WAITING_HEAD,
};
use zk_core::quorum::{Config, Grouped, Member, Quorums};
use zk_core::request::changes::{self, Change, Undo};
use zk_core::session::Session;
use zk_core::tree::snapshot::{self, IMAGE_MORE};
use zk_core::tree::watch::{self, Watch, WatchedPath};
use zk_core::tree::{self, AclEntry, Node, OwnerEntry};
use zk_core::wire::election::Notification;
use zk_core::wire::frame;
use zk_core::wire::provision::PROVISION_MAX;
use zk_core::zab::leader::Learner;

use crate::flash::{self, Block, Disk, Entries, Nor, batch_len};
use crate::net::{self, Buffers, LEASE, SocketStorage};
use crate::node::{self, GREETING_MAX, HANDSHAKE_MAX, Place, packet_max};

/// Memory of a board, handed out piece by piece and for good.
pub trait Ram<'m> {
    /// `len` entries, each of which `entry` makes. A board that has no room for them stops: see
    /// [`Profile::ram`].
    fn lend<T: 'm>(&mut self, len: usize, entry: impl FnMut() -> T) -> &'m mut [T];

    /// The one entry that `make` makes, without a way over the stack as far as the compiler can do that. A
    /// board that has no room for it stops.
    fn place<T: 'm>(&mut self, make: impl FnOnce() -> T) -> &'m mut T;
}

/// A peer where it was made, or why it was not.
pub(crate) type MadePeer<'m> = Result<Peer<'m>, Full>;

/// The same of a disk.
pub(crate) type MadeDisk<'m, N> = Result<Disk<'m, N>, flash::Unfit>;

/// How much a board can hold.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Servers of an ensemble, observers too.
    pub servers: usize,
    /// Whether members may be Apache's servers, or whatever else does not speak the
    /// [compact dialect](zk_core::wire::compact): then there is a socket for each one's packets besides
    /// that for its votes. Otherwise one socket has room for both.
    pub apart: bool,
    /// Bytes of the text of a configuration.
    pub config: usize,
    /// Connections of clients.
    pub clients: usize,
    /// Sessions of the whole ensemble.
    pub sessions: usize,
    /// Nodes, with the four that are always there.
    pub nodes: usize,
    /// Cells for names and data of nodes: 14 bytes each.
    pub cells: usize,
    /// Lists of who may do what.
    pub acls: usize,
    /// Watches, all clients' together.
    pub watches: usize,
    /// Cells for the paths that are watched.
    pub watch_cells: usize,
    /// Bytes of the longest frame of a client.
    pub frame: usize,
    /// Bytes that each connection has for frames that wait. Where that is less than the longest takes, one
    /// connection at a time has more ([`peer::SPARE_MS`]).
    pub waiting: usize,
    /// Bytes that each connection has for replies; likewise.
    pub replies: usize,
    /// Bytes of the results of a multi, of the list of a request, and of the path of a node that is reaped.
    pub results: usize,
    /// Bytes of the longest transaction.
    pub txn: usize,
    /// Bytes of the longest reply: 96 more than a frame, so that what was written can be read.
    pub reply: usize,
    /// Bytes of transactions that are proposed, and of the latest that were applied.
    pub history: usize,
    /// Transactions there.
    pub proposals: usize,
    /// Bytes of transactions that are made durable at once.
    pub batch_max: usize,
    /// Nodes that transactions change which are proposed.
    pub changes: usize,
    /// Cells for them.
    pub change_cells: usize,
    /// Bytes of a client's socket for what comes: longer frames are put together where they wait.
    pub client_receive: usize,
    /// Bytes of a client's socket for what goes.
    pub client_send: usize,
    /// Bytes of a socket for votes for what goes.
    pub election_send: usize,
    /// Bytes of a socket for packets for what goes.
    pub quorum_send: usize,
    /// Erase blocks of the store.
    pub blocks: usize,
    /// Bytes of the longest snapshot.
    pub snapshot: u32,
    /// Bytes that a program of the flash may have at most.
    pub page: usize,
    /// Bytes that a program of the flash has at least.
    pub write: usize,
}

/// What a microcontroller with 64 KiB of memory holds.
pub const TINY: Profile = Profile {
    servers: 3,
    apart: false,
    config: 256,
    clients: 3,
    sessions: 8,
    nodes: 96 + 4,
    cells: 560,
    acls: 4,
    watches: 32,
    watch_cells: 32,
    frame: 1024,
    txn: 1088,
    reply: 1120,
    waiting: 192,
    replies: 176,
    results: 608,
    history: 1280,
    proposals: 12,
    batch_max: 384,
    changes: 8,
    change_cells: 32,
    client_receive: 160,
    client_send: 160,
    election_send: 96,
    quorum_send: 168,
    blocks: 16,
    snapshot: 24 << 10,
    page: 256,
    write: 1,
};

/// The same among Apache's servers: more sockets, and shorter frames.
pub const TINY_APART: Profile = Profile { apart: true, frame: 704, txn: 768, reply: 800, ..TINY };

/// What a microcontroller with 128 KiB of memory holds.
pub const SMALL: Profile = Profile {
    servers: 3,
    apart: false,
    config: 256,
    clients: 8,
    sessions: 16,
    nodes: 128 + 4,
    cells: 760,
    acls: 8,
    watches: 64,
    watch_cells: 64,
    frame: 1536,
    txn: 1600,
    reply: 1632,
    waiting: WAITING_HEAD + 1536,
    replies: 1632,
    results: 1632,
    history: 3584,
    proposals: 16,
    batch_max: 1024,
    changes: 16,
    change_cells: 112,
    client_receive: 160,
    client_send: 160,
    election_send: 96,
    quorum_send: 224,
    blocks: 64,
    snapshot: 24 << 10,
    page: 256,
    write: 1,
};

/// Slots of an index for that many entries.
const fn slots(entries: usize) -> usize {
    // Four of five are used at the most.
    (entries + entries / 4 + 1).next_power_of_two()
}

const fn bytes_of<T>(len: usize) -> usize {
    // With what aligns the piece.
    len * size_of::<T>() + align_of::<T>() - 1
}

impl Profile {
    /// Sockets for the election port: one for each other member, and those that are short.
    pub const fn election_sockets(&self) -> usize {
        self.carriers() + self.short_sockets()
    }

    /// Sockets that carry the packets of a member as well: one for each.
    const fn carriers(&self) -> usize {
        if self.apart { 0 } else { self.learners() }
    }

    /// Sockets that have only room for votes: one that listens, or calls while two members settle which of two
    /// connections stays. Where packets have sockets apart, one for each other member, one that listens, and one
    /// to call.
    const fn short_sockets(&self) -> usize {
        if self.apart { self.servers + 1 } else { 1 }
    }

    /// Sockets for the quorum port: one for each other member, if they are apart. A leader listens there as
    /// long as one of them is missing.
    pub const fn quorum_sockets(&self) -> usize {
        if self.apart { self.learners() } else { 0 }
    }

    const fn member_sockets(&self) -> usize {
        self.election_sockets() + self.quorum_sockets()
    }

    /// Links of the quorum port, whatever they go over.
    const fn learners(&self) -> usize {
        self.servers - 1
    }

    /// Bytes of a socket that carries packets, for what comes.
    const fn carrier(&self) -> usize {
        let packet = self.packet();
        if packet > GREETING_MAX { packet } else { GREETING_MAX }
    }

    /// Bytes of the memory that connections share, if there is any: for a frame that waits, with what is kept
    /// before it, and for replies.
    const fn spares(&self) -> [usize; 2] {
        let waiting = WAITING_HEAD + self.frame;
        [
            if self.waiting < waiting { waiting } else { 0 },
            if self.replies < self.reply { self.reply } else { 0 },
        ]
    }

    /// Bytes of paths, data and lists that a snapshot has room for besides all else.
    pub const fn bytes(&self) -> usize {
        let Self { nodes, sessions, acls, config, .. } = *self;
        snapshot::bytes(self.snapshot as usize - config, nodes, sessions, acls)
    }

    /// Bytes of lists that a snapshot can begin with.
    pub const fn lists(&self) -> usize {
        snapshot::lists(self.txn, self.sessions, self.acls)
    }

    /// Bytes of a snapshot that is being made and wait for the flash: the longest node at least.
    pub const fn snapshot_buffer(&self) -> usize {
        self.txn + IMAGE_MORE
    }

    /// Settings that fit.
    pub fn options(&self, server: ServerId) -> peer::Options {
        peer::Options {
            max_frame: self.frame,
            max_txn: self.txn,
            max_reply: self.reply,
            reply_high_mark: self.reply / 2,
            max_waiting: WAITING_HEAD + self.frame,
            max_shown: self.client_receive,
            max_batch: self.batch_max,
            max_watches: self.watches as u32,
            max_ephemerals: self.nodes,
            dialect: if self.apart { Dialect::Never } else { Dialect::Asks },
            ..node::board_options(server)
        }
    }

    /// Bytes that all of it takes, with what aligns it, on a board whose flash is an `N`.
    ///
    /// # Panics
    /// When a client's socket is too short for a handshake, what each connection has for what a socket holds or for
    /// a short reply, or a snapshot for an empty tree: so a board with such a profile is not built.
    pub const fn ram<N: Nor>(&self) -> usize {
        assert!(self.client_receive >= HANDSHAKE_MAX);
        assert!(self.waiting >= WAITING_HEAD + self.client_receive && self.replies >= REPLIES_MIN);
        assert!(self.bytes() >= BYTES_MIN && self.lists() >= BYTES_MIN);
        self.tables() + bytes_of::<MadePeer<'_>>(1) + bytes_of::<MadeDisk<'_, N>>(1)
    }

    const fn tables(&self) -> usize {
        self.peer_ram() + self.flash_ram() + self.net_ram()
    }

    const fn peer_ram(&self) -> usize {
        let Self { servers, clients, sessions, nodes, watches, changes, proposals, txn, .. } =
            *self;
        let links = self.learners() + self.election_sockets();
        let [spare_frame, spare_replies] = self.spares();
        // The tree.
        bytes_of::<Node>(nodes)
            + bytes_of::<Slot>(slots(nodes))
            + bytes_of::<Cell>(self.cells)
            + bytes_of::<AclEntry>(self.acls)
            + 2 * bytes_of::<Slot>(slots(self.acls))
            + bytes_of::<OwnerEntry>(sessions)
            + bytes_of::<Slot>(slots(sessions))
            + self.snapshot_buffer()
            // Watches.
            + bytes_of::<WatchedPath>(watches)
            + bytes_of::<Watch>(watches)
            + 2 * bytes_of::<Slot>(slots(watches))
            + bytes_of::<Cell>(self.watch_cells)
            // Changes.
            + bytes_of::<Change>(changes)
            + bytes_of::<Slot>(slots(changes))
            + bytes_of::<Cell>(self.change_cells)
            + bytes_of::<Undo>(changes)
            // Sessions.
            + bytes_of::<Session>(sessions)
            + bytes_of::<Slot>(slots(sessions))
            // Connections.
            + clients * (self.waiting + self.replies)
            + spare_frame
            + spare_replies
            + bytes_of::<Connection<'_>>(clients)
            // The history.
            + self.history
            + bytes_of::<Meta>(proposals)
            + bytes_of::<PendingEntry>(proposals)
            + txn
            + self.results
            // The ensemble.
            + self.config
            + bytes_of::<Member>(servers)
            + bytes_of::<election::Voter>(2 * servers + election::STRANGERS_MAX)
            + self.election_sockets() * self.notification()
            + self.learners() * self.packet()
            + bytes_of::<MemberConnection<'_>>(links)
            + bytes_of::<Address>(servers - 1)
            + bytes_of::<Learner>(self.learners())
            + INSTALL
            + 2 * bytes_of::<Asking>(clients)
    }

    const fn flash_ram(&self) -> usize {
        bytes_of::<Block>(self.blocks) + self.batch() + self.page
    }

    const fn net_ram(&self) -> usize {
        let sockets = self.clients + self.member_sockets();
        bytes_of::<SocketStorage<'_>>(sockets + LEASE)
            + bytes_of::<Place>(sockets)
            + self.clients * (self.client_receive + self.client_send)
            + self.carriers() * (self.carrier() + self.quorum_send)
            + self.short_sockets() * (GREETING_MAX + self.election_send)
            + self.quorum_sockets() * (self.packet() + self.quorum_send)
            + self.scratch()
    }

    /// Bytes of a batch, framed.
    const fn batch(&self) -> usize {
        batch_len(self.batch_max, self.txn, self.write)
    }

    /// Bytes for what is read of the log, for frames that lie in two pieces, and at the start for who the
    /// board is.
    const fn scratch(&self) -> usize {
        let (packet, entry) = (self.packet(), Entries::room(self.txn));
        let mut longest = PROVISION_MAX;
        if packet > longest {
            longest = packet;
        }
        if entry > longest {
            longest = entry;
        }
        if self.client_receive > longest { self.client_receive } else { longest }
    }

    /// Bytes of the longest packet of a member.
    const fn packet(&self) -> usize {
        packet_max(self.frame, self.txn)
    }

    /// Bytes of the longest notification that is sent.
    const fn notification(&self) -> usize {
        frame::LEN + Notification::HEAD + self.config
    }

    /// Memory of a peer.
    pub fn peer<'m>(&self, ram: &mut impl Ram<'m>) -> peer::Storage<'m> {
        let Self { servers, clients, sessions, nodes, watches, changes, proposals, txn, .. } =
            *self;
        let ram = &mut Lender(ram);
        peer::Storage {
            tree: tree::Storage {
                nodes: ram.table::<Node>(nodes),
                paths: ram.index(nodes),
                cells: ram.table::<Cell>(self.cells),
                unit: Unit::OWN,
                kept: tree::config_cells(Unit::OWN, self.config),
                bytes: self.bytes(),
                lists: self.lists(),
                acls: ram.table::<AclEntry>(self.acls),
                acl_contents: ram.index(self.acls),
                acl_numbers: ram.index(self.acls),
                owners: ram.table::<OwnerEntry>(sessions),
                owner_sessions: ram.index(sessions),
                snapshot: ram.table(self.snapshot_buffer()),
                listing: tree::listing::Storage::default(),
            },
            watches: watch::Storage {
                paths: ram.table::<WatchedPath>(watches),
                path_slots: ram.index(watches),
                watches: ram.table::<Watch>(watches),
                watch_slots: ram.index(watches),
                cells: ram.table::<Cell>(self.watch_cells),
            },
            changes: changes::Storage {
                changes: ram.table::<Change>(changes),
                slots: ram.index(changes),
                cells: ram.table::<Cell>(self.change_cells),
                undo: ram.table::<Undo>(changes),
            },
            sessions: ram.table::<Session>(sessions),
            session_slots: ram.index(sessions),
            connections: self.connections(ram, clients),
            spares: self.spares().map(|len| ram.table(len)),
            history: ram.table(self.history),
            history_metas: ram.table::<Meta>(proposals),
            pending: ram.table::<PendingEntry>(proposals),
            scratch: ram.table(txn),
            reply: ram.table(self.results),
            ensemble: EnsembleStorage {
                // It stays the one that was provisioned.
                quorums: Quorums::new(self.configuration(ram), Config::default()),
                voters: ram.table::<election::Voter>(2 * servers + election::STRANGERS_MAX),
                links: self.links(ram),
                addresses: ram.table::<Address>(servers - 1),
                learners: ram.table::<Learner>(self.learners()),
                install: ram.table(INSTALL),
                asking: [ram.table::<Asking>(clients), ram.table::<Asking>(clients)],
            },
            digests: Table::default(),
        }
    }

    fn connections<'m, R: Ram<'m>>(
        &self,
        ram: &mut Lender<'_, R>,
        clients: usize,
    ) -> Table<'m, Connection<'m>> {
        let mut inputs = ram.pieces(clients, self.waiting);
        let mut outputs = ram.pieces(clients, self.replies);
        let entry = || {
            Connection::lent(inputs.next().unwrap_or_default(), outputs.next().unwrap_or_default())
        };
        Table::lent(ram.0.lend(clients, entry))
    }

    /// Links to members: those for packets, whose numbers learners have, and then those for
    /// notifications, which are shorter.
    fn links<'m, R: Ram<'m>>(&self, ram: &mut Lender<'_, R>) -> Table<'m, MemberConnection<'m>> {
        let quorum = ram.pieces(self.learners(), self.packet());
        let mut outputs = quorum.chain(ram.pieces(self.election_sockets(), self.notification()));
        let entry = || MemberConnection::lent(outputs.next().unwrap_or_default());
        Table::lent(ram.0.lend(self.learners() + self.election_sockets(), entry))
    }

    fn configuration<'m, R: Ram<'m>>(&self, ram: &mut Lender<'_, R>) -> Config<'m> {
        let (text, members) = (ram.table(self.config), ram.table::<Member>(self.servers));
        Config::new(text, members, Table::<Grouped>::default())
    }

    /// Memory of the flash store.
    pub fn flash<'m>(&self, ram: &mut impl Ram<'m>) -> flash::Memory<'m> {
        let ram = &mut Lender(ram);
        flash::Memory {
            blocks: ram.0.lend(self.blocks, Block::default),
            batch: ram.bytes(self.batch()),
            piece: ram.bytes(self.page),
        }
    }

    /// Memory of sockets, and of the loop.
    pub fn net<'m>(&self, ram: &mut impl Ram<'m>) -> (net::Storage<'m>, node::Storage<'m>) {
        let sockets = self.clients + self.member_sockets();
        let ram = &mut Lender(ram);
        let storage = net::Storage {
            sockets: ram.0.lend(sockets + LEASE, || SocketStorage::EMPTY),
            clients: ram.buffers(self.clients, self.client_receive, self.client_send),
            carriers: ram.buffers(self.carriers(), self.carrier(), self.quorum_send),
            election: ram.buffers(self.short_sockets(), GREETING_MAX, self.election_send),
            quorum: ram.buffers(self.quorum_sockets(), self.packet(), self.quorum_send),
        };
        let places = ram.0.lend(sockets, Place::default);
        (storage, node::Storage { places, scratch: ram.bytes(self.scratch()) })
    }
}

/// Bytes of paths, data and lists of an empty tree, and some more; and of lists.
const BYTES_MIN: usize = 128;

/// Bytes of replies that a connection has room for at least: of the longest without data or a path.
const REPLIES_MIN: usize = 128;

/// Bytes of a leader's snapshot that wait for the flash.
const INSTALL: usize = 160;

/// Tables from a [`Ram`].
struct Lender<'r, R>(&'r mut R);

impl<'m, R: Ram<'m>> Lender<'_, R> {
    fn table<T: Default + 'm>(&mut self, len: usize) -> Table<'m, T> {
        Table::lent(self.0.lend(len, T::default))
    }

    fn index(&mut self, entries: usize) -> Index<'m> {
        Index::lent(self.0.lend::<Slot>(slots(entries), || 0))
    }

    fn bytes(&mut self, len: usize) -> &'m mut [u8] {
        self.0.lend(len, || 0)
    }

    /// So many pieces of so many bytes.
    fn pieces(
        &mut self,
        count: usize,
        each: usize,
    ) -> impl Iterator<Item = &'m mut [u8]> + use<'m, R> {
        self.bytes(count * each).chunks_exact_mut(each.max(1))
    }

    fn buffers(&mut self, sockets: usize, receive: usize, transmit: usize) -> Buffers<'m> {
        Buffers {
            sockets,
            receive: self.bytes(sockets * receive),
            transmit: self.bytes(sockets * transmit),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;
    use std::vec::Vec;

    use super::*;

    /// Counts what is lent, as if all of it lay behind one another at the worst places.
    #[derive(Default)]
    struct Counted(usize);

    impl Ram<'static> for Counted {
        fn lend<T: 'static>(&mut self, len: usize, entry: impl FnMut() -> T) -> &'static mut [T] {
            self.0 += bytes_of::<T>(len);
            let entries: Vec<T> = core::iter::repeat_with(entry).take(len).collect();
            Box::leak(entries.into_boxed_slice())
        }

        fn place<T: 'static>(&mut self, make: impl FnOnce() -> T) -> &'static mut T {
            self.0 += bytes_of::<T>(1);
            Box::leak(Box::new(make()))
        }
    }

    /// So many znodes and bytes of names and data fit, however they are spread, with the nodes that are
    /// always there, the longest configuration, and two lists of who may do what.
    #[test]
    fn as_many_nodes_and_bytes_fit_as_is_said() {
        let unit = Unit::SMALLEST;
        for (profile, nodes, bytes) in [(TINY, 96, 6 << 10), (SMALL, 128, 8 << 10)] {
            assert!(nodes + 4 <= profile.nodes);
            // A string of n bytes takes (n + 13) / 14 cells at the most.
            assert!((1..bytes).all(|len| unit.needed(len) <= len.div_ceil(14)));
            let worst = (bytes + 13 * nodes) / 14;
            let config = tree::config_cells(unit, profile.config);
            let always = unit.needed("zookeeper".len()) + unit.needed("quota".len()) + config;
            let (anyone, digest) = ("world,anyone".len() + 12, "digest,user:".len() + 12 + 28);
            let lists = unit.needed(anyone) + unit.needed(digest);
            assert!(worst + always + lists <= profile.cells);
        }
    }

    #[test]
    fn what_is_lent_is_what_was_said() {
        let more = Profile { servers: 5, apart: true, clients: 8, acls: 9, write: 8, ..TINY };
        for profile in [TINY, SMALL, more] {
            let mut ram = Counted::default();
            profile.peer(&mut ram);
            assert_eq!(ram.0, profile.peer_ram());
            profile.flash(&mut ram);
            assert_eq!(ram.0, profile.peer_ram() + profile.flash_ram());
            profile.net(&mut ram);
            assert_eq!(ram.0, profile.tables());
        }
    }
}
