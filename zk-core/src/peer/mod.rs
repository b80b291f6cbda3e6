//! One member of an ensemble: all of its protocol, none of its I/O.
//!
//! A shell owns a [`Peer`] and moves bytes for it. Methods come in four kinds:
//!
//! - **getters** ([`tree`](Peer::tree), [`sessions`](Peer::sessions), [`stats`](Peer::stats), ...);
//! - **inlets**, which tell the peer what happened: [`receive`](Peer::receive),
//!   [`durable`](Peer::durable), [`tick`](Peer::tick), ...;
//! - **outlets**, which ask it what to do next: [`poll_link`](Peer::poll_link) and
//!   [`output`](Peer::output), [`poll_disk`](Peer::poll_disk), [`poll_timeout`](Peer::poll_timeout).
//!   They lend, and cost nothing when there is nothing to do;
//! - **commands**: [`serve`](Peer::serve), [`require_snapshot`](Peer::require_snapshot).
//!
//! A shell's loop: give the inlets what came; ask `poll_disk` until it has nothing; ask `poll_link`
//! until it has nothing, and write each link's output; sleep until something comes or
//! `poll_timeout` is reached, and then `tick`: at once while something that takes long is under way,
//! of which each tick does a slice. Outlets may be asked in any order and at any time.
//!
//! Durability is a gate inside: no reply to a write leaves before [`durable`](Peer::durable) has said
//! that its transaction is synced, and nobody can read what is not.

/// The window of history, borrowed apart from the rest of the peer.
macro_rules! window {
    ($peer:expr) => {
        crate::zab::Window {
            records: &$peer.history,
            committed: $peer.committed,
            durable: $peer.durable,
            log_from: $peer.log_from,
        }
    };
}

mod capacity;
mod connect;
mod disk;
mod ensemble;
mod following;
mod leading;
mod link;
mod load;
mod member;
mod mismatch;
mod pipeline;
mod reconfig;
mod serve;
mod slices;
mod spare;
mod stats;
mod timers;

pub use crate::zab::leader::{Count, READ_OVERHEAD, Read, Reading};
pub use disk::{Batch, Disk, Order};
use ensemble::Ensemble;
pub use ensemble::{Asking, Epochs, Membership, Storage as EnsembleStorage};
pub use link::{Connection, Link, WAITING_HEAD};
use link::{Connections, State as LinkState};
pub use load::LoadTxnError;
pub use member::{Address, Dial, MemberConnection, MemberLink};
pub use pipeline::PendingEntry;
pub use serve::Received;
pub use spare::SPARE_MS;
use stats::Digests;
pub use stats::{Counters, DigestEntry, Sizes, Stats, Summary};

use crate::id::{SessionId, Zxid};
use crate::memory::{Full, Index, Meta, Pipe, Records, Ring, Table};
use crate::request::apply::ApplyError;
use crate::request::changes::{self, Changes};
pub use crate::request::options::{Dialect, Options};
use crate::session::{Session, Sessions};
use crate::time::{Instant, Now};
use crate::trace::{Often, error};
use crate::tree::watch::{self, Watches};
use crate::tree::{self, Cost, DataTree, Seeds, snapshot};
use crate::wire::capacity::Capacity;
use crate::wire::file::SnapshotDigest;

/// What a peer is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its own history.
    Recovering,
    /// It serves clients, alone.
    Standalone,
    /// It looks for a leader, or for voters.
    Looking,
    /// It leads.
    Leading,
    /// It votes, and learns from a leader.
    Following,
    /// It learns from a leader.
    Observing,
    /// A promise was violated; it does nothing any more.
    Stopped(ApplyError),
}

/// Storage of a peer.
#[derive(Debug)]
pub struct Storage<'m> {
    /// Of the tree.
    pub tree: tree::Storage<'m>,
    /// Of watches.
    pub watches: watch::Storage<'m>,
    /// Of uncommitted changes.
    pub changes: changes::Storage<'m>,
    /// One for each session.
    pub sessions: Table<'m, Session>,
    /// Slots for them.
    pub session_slots: Index<'m>,
    /// One for each connection.
    pub connections: Table<'m, Connection<'m>>,
    /// For a frame that waits, and for replies, where a connection has less room than the longest may need: one
    /// connection at a time has it. Nothing, if all have all of it.
    pub spares: [Table<'m, u8>; 2],
    /// Transactions that are proposed, and the latest that are applied.
    pub history: Table<'m, u8>,
    /// One for each of these.
    pub history_metas: Table<'m, Meta>,
    /// One for each that is proposed and not applied.
    pub pending: Table<'m, PendingEntry>,
    /// As long as the largest frame.
    pub scratch: Table<'m, u8>,
    /// As long as the results of a multi may be, the list of a request, and the path of a container: with less than
    /// the largest reply and the largest frame, longer ones are refused.
    pub reply: Table<'m, u8>,
    /// Of what concerns other members; none for a peer that stays alone.
    pub ensemble: EnsembleStorage<'m>,
    /// For digests that are kept to be looked at, if any.
    pub digests: Table<'m, DigestEntry>,
}

/// How much a growing peer may hold. Memory is only taken as it is used.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Of the tree.
    pub tree: tree::Ceilings,
    /// Watches, counted by path and connection.
    pub watches: usize,
    /// Cells of watched paths.
    pub watch_cells: usize,
    /// Sessions.
    pub sessions: usize,
    /// Connections.
    pub connections: usize,
    /// Paths with uncommitted changes.
    pub changes: usize,
    /// Transactions that are proposed and not applied.
    pub pending: usize,
    /// Bytes of transactions that are kept.
    pub history: usize,
    /// Number of transactions that are kept.
    pub history_records: usize,
}

impl Default for Ceilings {
    /// What a server of today can address.
    fn default() -> Self {
        let most = crate::memory::NIL as usize;
        Self {
            tree: tree::Ceilings::default(),
            watches: most,
            watch_cells: most,
            sessions: most,
            connections: 1 << 20,
            changes: 1 << 20,
            pending: 1 << 16,
            history: 16 << 20,
            history_records: 1 << 16,
        }
    }
}

/// Digests that a growing peer keeps, as Apache does.
#[cfg(feature = "alloc")]
const DIGESTS: usize = 1024;

#[cfg(feature = "alloc")]
impl Storage<'_> {
    /// Storage that allocates as it grows.
    pub fn owned(ceilings: &Ceilings, options: &Options) -> Self {
        Self {
            tree: tree::Storage::owned(ceilings.tree),
            watches: watch::Storage::owned(ceilings.watches, ceilings.watch_cells),
            changes: changes::Storage::owned(
                ceilings.changes,
                ceilings.changes.saturating_mul(64),
                ceilings.changes,
            ),
            sessions: Table::owned(ceilings.sessions),
            session_slots: Index::owned(ceilings.sessions),
            connections: Table::owned(ceilings.connections),
            spares: Default::default(),
            history: Table::owned(ceilings.history),
            history_metas: Table::owned(ceilings.history_records),
            pending: Table::owned(ceilings.pending),
            scratch: Table::owned(options.max_txn),
            reply: Table::owned(options.max_reply),
            ensemble: EnsembleStorage::owned(ceilings.connections),
            digests: Table::owned(DIGESTS),
        }
    }
}

/// One member of an ensemble.
#[derive(Debug)]
pub struct Peer<'m> {
    options: Options,
    capacity: Capacity,
    state: State,
    tree: DataTree<'m>,
    watches: Watches<'m>,
    sessions: Sessions<'m>,
    changes: Changes<'m>,
    connections: Connections<'m>,
    history: Records<'m>,
    pending: Ring<'m, PendingEntry>,
    /// What proposed transactions will take.
    reserved: Cost,
    /// What the last proposed transaction changes is not among the changes.
    unseen: bool,
    /// The last proposed transaction, and its time.
    proposed: Zxid,
    time: i64,
    /// Number of the next transaction to hand to the disk, and to apply.
    next_append: u64,
    next_apply: u64,
    /// Numbers of the first transaction that is not durable here, and of the first that is not
    /// known to be committed. What is before both is applied.
    durable: u64,
    committed: u64,
    /// The snapshot that was loaded: the log behind it has no holes.
    log_from: Zxid,
    /// The last transaction of the batch that the disk has.
    syncing: Option<Zxid>,
    /// The read that is being served in slices.
    long: Option<slices::Long>,
    disk_full: bool,
    snapshot: disk::Snapshot,
    loader: Option<snapshot::Loader>,
    /// The digest of the snapshot that was loaded, until the log is behind its zxid. A snapshot of
    /// Apache's shows more than its name says, and at times a part of the transaction behind its
    /// digest; from there on what the log promises holds.
    unsettled: Option<SnapshotDigest>,
    timers: timers::Timers,
    /// Number of the current event.
    event: u64,
    scratch: Table<'m, u8>,
    /// The results of a multi while it is applied, and what the list of a request becomes while that is prepared.
    reply: Pipe<'m>,
    digests: Digests<'m>,
    stats: Stats,
    ensemble: Ensemble<'m>,
    often: Often,
}

impl<'m> Peer<'m> {
    /// A peer that knows nothing yet: load its history, then let it [`serve`](Self::serve).
    ///
    /// `next_session` is the first session id that it gives (see [`SessionId::first`]); ids that
    /// the history shows are never given again, whatever it is. `seeds` must be hard to guess.
    ///
    /// # Errors
    /// [`Full`] when the storage is too small for an empty tree, or for one frame.
    pub fn new(
        storage: Storage<'m>,
        options: Options,
        seeds: Seeds,
        next_session: SessionId,
        now: Now,
    ) -> Result<Self, Full> {
        let Storage { mut scratch, .. } = storage;
        // Owned scratch starts small and grows with the first long request.
        let first = options.max_txn.min(1024);
        if !scratch.reach(first) {
            return Err(Full);
        }
        let interval = options.tick_time;
        let mut tree = DataTree::new(storage.tree, seeds, options.extended_types)?;
        tree.set_slice(options.slice);
        let sessions = storage.sessions.ceiling().min(storage.session_slots.ceiling());
        let longest = options.max_txn.min(storage.history.ceiling());
        let Cost { nodes, cells, bytes, acls, lists, owners } = tree.capacity();
        let limits = [nodes, cells, bytes, acls, lists, owners, sessions, longest];
        let changes = Changes::new(storage.changes, seeds, &tree);
        Ok(Self {
            capacity: Capacity::new(tree.unit(), limits),
            state: State::Recovering,
            tree,
            watches: Watches::new(storage.watches, seeds),
            sessions: Sessions::new(
                storage.sessions,
                storage.session_slots,
                seeds,
                interval,
                next_session,
                now.monotonic,
            ),
            changes,
            connections: Connections::new(storage.connections, storage.spares),
            history: Records::new(storage.history, storage.history_metas),
            pending: Ring::new(storage.pending),
            reserved: Cost::default(),
            unseen: false,
            proposed: Zxid::ZERO,
            time: 0,
            next_append: 0,
            next_apply: 0,
            durable: 0,
            committed: 0,
            log_from: Zxid::ZERO,
            syncing: None,
            long: None,
            disk_full: false,
            snapshot: disk::Snapshot::new(seeds),
            loader: None,
            unsettled: None,
            timers: timers::Timers::default(),
            event: 0,
            scratch,
            reply: Pipe::new(storage.reply),
            digests: Digests::new(storage.digests),
            stats: Stats::default(),
            ensemble: Ensemble::new(storage.ensemble, options.server),
            often: Often::default(),
            options,
        })
    }

    /// A peer whose storage grows on the heap.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[cfg(feature = "alloc")]
    pub fn owned(
        options: Options,
        ceilings: Ceilings,
        seeds: Seeds,
        next_session: SessionId,
        now: Now,
    ) -> Result<Self, Full> {
        let storage = Storage::owned(&ceilings, &options);
        Self::new(storage, options, seeds, next_session, now)
    }

    // Getters.

    /// What it is up to.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its settings.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The tree, as far as transactions are applied.
    pub fn tree(&self) -> &DataTree<'m> {
        &self.tree
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions<'m> {
        &self.sessions
    }

    /// The watches.
    pub fn watches(&self) -> &Watches<'m> {
        &self.watches
    }

    /// Transactions that are proposed and not applied.
    pub fn outstanding(&self) -> usize {
        self.pending.len()
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The tree's digests after transactions whose zxids are divisible by 128, oldest first.
    pub fn digests(&self) -> impl Iterator<Item = DigestEntry> + '_ {
        self.digests.iter()
    }

    /// Counts anew, all but failed authentications and the sizes of proposals.
    pub fn reset_stats(&mut self) {
        self.stats.reset();
    }

    /// The connections.
    pub fn links(&self) -> impl Iterator<Item = Link> + '_ {
        (0..self.connections.used()).filter_map(|at| {
            let at = crate::memory::Handle::try_from(at).ok()?;
            self.connections.get(at).map(|_| Link(at))
        })
    }

    /// How many connections there are.
    pub fn link_count(&self) -> usize {
        self.connections.len()
    }

    /// The session of a connection, once it has one.
    pub fn session(&self, link: Link) -> Option<SessionId> {
        let connection = self.connections.get(link.0)?;
        (connection.session != SessionId::NONE).then_some(connection.session)
    }

    /// The timeout that a connection was granted, ms; 0 before.
    pub fn timeout(&self, link: Link) -> u32 {
        self.connections.get(link.0).map_or(0, |connection| connection.timeout)
    }

    /// What was counted of a connection.
    pub fn counters(&self, link: Link) -> Counters {
        self.connections.get(link.0).map_or_else(Counters::default, |c| c.counters)
    }

    /// Counts the requests of every connection anew.
    pub fn reset_counters(&mut self) {
        for at in 0..self.connections.used() {
            let Ok(at) = crate::memory::Handle::try_from(at) else { return };
            if let Some(connection) = self.connections.get_mut(at) {
                connection.counters.reset();
            }
        }
    }

    /// The paths that a connection watches for changes of data, piece by piece.
    pub fn watched_by(&self, link: Link) -> impl Iterator<Item = crate::memory::Chunks<'_>> + '_ {
        self.connections
            .get(link.0)
            .into_iter()
            .flat_map(|connection| self.watches.of(&connection.own))
    }

    /// The paths that are watched for changes of data, each with the sessions that do.
    pub fn watchers(
        &self,
    ) -> impl Iterator<Item = (crate::memory::Chunks<'_>, impl Iterator<Item = SessionId> + '_)> + '_
    {
        self.watches
            .by_path()
            .map(|(path, connections)| (path, connections.filter_map(|at| self.session(Link(at)))))
    }

    /// When [`tick`](Self::tick) has something to do: at once (a moment that has passed) while
    /// something that takes long is under way, of which each tick does a slice.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.has_slices() { Some(Instant(0)) } else { self.next_timer() }
    }

    /// Whether it decides on what is proposed, and on which sessions have expired.
    fn decides(&self) -> bool {
        match self.state {
            State::Leading => self.ensemble.serving,
            state => state == State::Standalone,
        }
    }

    /// When time brings something.
    fn next_timer(&self) -> Option<Instant> {
        let expire = self.decides() || self.options.local_sessions && self.is_serving();
        let sessions = self.sessions.next_turn().filter(|_| expire);
        let timers = [sessions, self.timers.next(), self.ensemble_timeout(), self.spares_due()];
        timers.into_iter().flatten().min()
    }

    /// The peer stops: nothing that it does afterwards could be trusted.
    fn stop(&mut self, error: ApplyError) {
        error!(
            "stopped after zxid {:#x}, for what follows is {}",
            self.tree.last_zxid().0,
            match error {
                ApplyError::Malformed(_) => "no transaction",
                ApplyError::Full => "more than this peer's capacity",
            }
        );
        self.state = State::Stopped(error);
        for at in 0..self.connections.used() {
            let Ok(at) = crate::memory::Handle::try_from(at) else { return };
            if self.connections.get(at).is_some() {
                self.connections[at].state = LinkState::Closing;
                self.connections[at].output.clear();
                self.connections.make_ready(at);
            }
        }
    }
}
