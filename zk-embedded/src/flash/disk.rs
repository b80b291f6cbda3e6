//! What a peer wants of its disk, carried out on a [`Store`].
//!
//! A board calls [`Disk::poll`] in its loop, between network and timers. Each call does one step and
//! returns; while the flash works, nothing else has to wait.

use zk_core::id::Zxid;
use zk_core::peer::{Disk as Want, Epochs, Order, Peer, Read, Reading};
use zk_core::time::Now;
use zk_core::tree::snapshot::Taken;
use zk_core::wire::file::SnapshotDigest;

use super::boot::Found;
use super::error::{Damage, Error, Rot, Unfit};
use super::layout::Snapshot;
use super::nor::Nor;
use super::read::{Load, Loaded, Refusal};
use super::store::{Done, Memory, Options, Poll, Store};

/// Loads a peer.
#[derive(Debug)]
pub struct PeerLoad<'p, 'm>(pub &'p mut Peer<'m>);

fn refusal(damage: bool) -> Refusal {
    if damage { Refusal::Damaged } else { Refusal::Full }
}

impl Load for PeerLoad<'_, '_> {
    fn reset(&mut self) {
        self.0.load_reset();
    }

    fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal> {
        self.0.load_snapshot(bytes).map_err(|error| refusal(error.is_damage()))
    }

    fn snapshot_done(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) {
        self.0.load_snapshot_end(zxid, digest);
    }

    fn txn(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Refusal> {
        self.0.load_txn(txn).map_err(|error| refusal(error.is_damage()))?;
        // It has a zxid of its own. Were that another one, the store could not log what comes next.
        if self.0.tree().last_zxid() == zxid { Ok(()) } else { Err(Refusal::Damaged) }
    }
}

/// Whether a history can be trusted to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// It was loaded.
    Loaded(Loaded),
    /// There was another, and it is lost, or damaged there: nothing is in the peer, and it must not
    /// vote before a leader has sent it a snapshot.
    Damaged(Option<Damage>),
}

/// The flash of one peer.
#[derive(Debug)]
pub struct Disk<'m, N: Nor> {
    pub(super) store: Store<'m, N>,
    found: Found,
    /// Nothing that can be trusted was loaded.
    lost: bool,
    install: Install,
    /// The snapshot that the peer makes is there already. A second one of that zxid need not have the
    /// same bytes, and a learner may have read a part of the first.
    there: bool,
}

/// How far a leader's snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Install {
    None,
    Coming,
    /// All of it has come.
    Whole,
}

impl<'m, N: Nor> Disk<'m, N> {
    /// A disk that is to be [opened](Self::open): until then it knows of no history that can be trusted.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn new(nor: N, memory: Memory<'m>, options: Options) -> Result<Self, Unfit> {
        let store = Store::new(nor, memory, options)?;
        Ok(Self { store, found: Found::Lost, lost: true, install: Install::None, there: false })
    }

    /// Opens the store: see [`Store::open`].
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(&mut self) -> Result<(), Error<N::Error>> {
        self.found = self.store.look_over()?;
        Ok(())
    }

    /// The store.
    pub fn store(&self) -> &Store<'m, N> {
        &self.store
    }

    /// The store, for what a peer does not order.
    pub fn store_mut(&mut self) -> &mut Store<'m, N> {
        &mut self.store
    }

    /// Loads the peer. A flash without a history is `new`, or has lost it.
    ///
    /// # Errors
    /// [`Error::TooMuch`]; those of the device.
    pub fn load(&mut self, peer: &mut Peer<'_>, new: bool) -> Result<History, Error<N::Error>> {
        let damage = match self.found {
            Found::Nothing if !new => None,
            Found::Lost => None,
            Found::Damaged(damage) => Some(damage),
            Found::Nothing | Found::History => {
                let loaded = self.store.load(&mut PeerLoad(peer));
                let loaded = loaded.and_then(|loaded| self.agrees(peer, loaded));
                match loaded {
                    Ok(loaded) => {
                        self.lost = false;
                        return Ok(History::Loaded(loaded));
                    }
                    Err(Error::Damaged(damage)) => {
                        self.store.damage = Some(damage);
                        Some(damage)
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        peer.load_reset();
        Ok(History::Damaged(damage))
    }

    /// A member logs transactions of an epoch, or lets it be its own, when it has promised itself to it.
    /// What was loaded ends where the log goes on.
    fn agrees(&self, peer: &Peer<'_>, loaded: Loaded) -> Result<Loaded, Error<N::Error>> {
        let Epochs { accepted, current } = self.store.epochs();
        let promised = !peer.options().ensemble || accepted >= current.max(loaded.zxid.epoch());
        if promised && loaded.zxid == self.store.last {
            return Ok(loaded);
        }
        let block = self.store.newest.unwrap_or(0) as u32;
        let offset = self.store.layout.start();
        Err(Error::Damaged(Damage { block, offset, what: Rot::Content }))
    }

    /// Makes ready for what the peer will want: [`Done::Started`] comes from [`poll`](Self::poll). A
    /// damaged history is given up: a peer that stays alone is not started then.
    ///
    /// # Errors
    /// Those of [`Store::start`].
    pub fn start(&mut self) -> Result<(), Error<N::Error>> {
        self.store.start(self.lost)
    }

    /// Does one step, and tells the peer what is done. When it is `quiet`, no network waits to be
    /// served: then the flash may be erased ahead, if the peer waits for nothing either. What learners
    /// lack is read into `scratch`: it has room for one transaction at least
    /// ([`Entries::room`](super::Entries::room)), else the board cannot go on.
    ///
    /// # Errors
    /// See [`Error`]: the board has to start anew. A peer that has stopped is known by its state.
    pub fn poll(
        &mut self,
        peer: &mut Peer<'_>,
        now: Now,
        quiet: bool,
        scratch: &mut [u8],
    ) -> Result<Poll, Error<N::Error>> {
        let mut asked = false;
        if self.can_ask() {
            self.store.pin(peer.pinned());
            let base = self.store.snapshot().map(|snapshot| snapshot.zxid);
            let grown = base.is_none_or(|base| peer.tree().last_zxid() > base);
            if self.store.wants_snapshot() && grown {
                peer.want_snapshot();
            }
            peer.set_full(self.store.is_full() && !self.store.makes_room());
            // A batch, and a piece of a snapshot beside it: it must go on however many write.
            for _ in 0..2 {
                asked |= self.can_ask() && self.ask(peer, now, scratch)?;
            }
        }
        let poll = self.store.poll(quiet && !asked && peer.outstanding() == 0)?;
        if let Poll::Done(done) = poll {
            self.tell(peer, now, done)?;
        }
        Ok(if asked && poll == Poll::Idle { Poll::Working } else { poll })
    }

    fn can_ask(&self) -> bool {
        self.store.is_ready() && self.install != Install::Whole
    }

    /// Takes the next order.
    #[inline(never)] // its frame is not needed below what the peer does when it is told
    fn ask(
        &mut self,
        peer: &mut Peer<'_>,
        now: Now,
        scratch: &mut [u8],
    ) -> Result<bool, Error<N::Error>> {
        let (mut written, mut installed, mut read, mut cut) = (None, None, None, None);
        let store = &mut self.store;
        match peer.poll_disk() {
            None => return Ok(false),
            Some(Want::Append(batch)) => store.append(batch.iter())?,
            // Where a log begins is the store's own affair.
            Some(Want::Roll) => {}
            Some(Want::SnapshotBegin(zxid)) => {
                self.there = store.snapshot().is_some_and(|snapshot| snapshot.zxid == zxid);
                if !self.there {
                    store.begin_snapshot(zxid, false)?;
                }
            }
            Some(Want::SnapshotBytes(bytes)) if self.there => written = Some(bytes.len()),
            Some(Want::SnapshotBytes(bytes)) => written = Some(store.snapshot_bytes(bytes)),
            Some(Want::SnapshotEnd(_)) if self.there => peer.snapshot_done(),
            Some(Want::SnapshotEnd(digest)) => store.end_snapshot(Some(digest)),
            Some(Want::SnapshotDrop) => store.drop_snapshot(),
            Some(Want::Ensemble(order)) => match order {
                Order::Epochs(epochs) => store.set_epochs(epochs)?,
                Order::Truncate(zxid) => cut = Some(zxid),
                Order::InstallBegin(zxid) => {
                    self.install = Install::Coming;
                    store.begin_snapshot(zxid, true)?;
                }
                Order::InstallBytes(bytes) => installed = Some(store.snapshot_bytes(bytes)),
                Order::InstallEnd => {
                    self.install = Install::Whole;
                    store.end_snapshot(None);
                }
                Order::InstallDrop => {
                    self.install = Install::None;
                    store.drop_snapshot();
                }
                Order::Read(reading, what) => read = Some((reading, what)),
            },
        }
        if let Some(len) = written {
            peer.snapshot_written(len);
        }
        if let Some(len) = installed {
            peer.install_written(len);
        }
        if let Some(zxid) = cut
            && !self.store.truncate(zxid)?
        {
            match self.reload(peer)? {
                true => peer.cut_failed(now),
                false => peer.reload_failed(now, true),
            }
        }
        if let Some((reading, what)) = read {
            self.read(peer, now, reading, what, scratch)?;
        }
        Ok(true)
    }

    #[inline(never)] // as above
    fn tell(&mut self, peer: &mut Peer<'_>, now: Now, done: Done) -> Result<(), Error<N::Error>> {
        match done {
            Done::Started(_) | Done::Noted => {}
            Done::Appended(last) => {
                // If it fails, the peer has stopped, and says why.
                let _ = peer.durable(now, last);
            }
            Done::Epochs(_) => peer.epochs_written(now),
            Done::Snapshot(_) => peer.snapshot_done(),
            Done::SnapshotFailed => match self.install {
                Install::None => peer.snapshot_failed(),
                // It is told at the end, so that whoever sends need not be stopped.
                Install::Coming => {}
                Install::Whole => self.keep(peer, now)?,
            },
            Done::Received(snapshot) => self.received(peer, now, &snapshot)?,
            Done::Installed(_) => {
                self.install = Install::None;
                peer.reloaded(now);
            }
            Done::Truncated(_) => {
                if self.reload(peer)? {
                    peer.reloaded(now);
                } else {
                    peer.reload_failed(now, true);
                }
            }
        }
        Ok(())
    }

    fn received(
        &mut self,
        peer: &mut Peer<'_>,
        now: Now,
        snapshot: &Snapshot,
    ) -> Result<(), Error<N::Error>> {
        match self.store.load_received(snapshot, &mut PeerLoad(peer)) {
            Ok(()) => self.store.install(),
            Err(Error::Damaged(_) | Error::TooMuch) => {
                self.store.drop_snapshot();
                self.keep(peer, now)
            }
            Err(error) => Err(error),
        }
    }

    /// A leader's snapshot is not installed: the history is what it was.
    fn keep(&mut self, peer: &mut Peer<'_>, now: Now) -> Result<(), Error<N::Error>> {
        self.install = Install::None;
        let whole = self.reload(peer)?;
        peer.reload_failed(now, !whole);
        Ok(())
    }

    /// Loads what there is; false if that is not to be trusted.
    #[inline(never)] // as above
    fn reload(&mut self, peer: &mut Peer<'_>) -> Result<bool, Error<N::Error>> {
        let loaded = match self.store.load(&mut PeerLoad(peer)) {
            Ok(_) => !self.store.is_lost(),
            Err(Error::Damaged(_)) => false,
            Err(error) => return Err(error),
        };
        if !loaded {
            peer.load_reset();
        }
        Ok(loaded)
    }

    #[inline(never)] // as above
    fn read(
        &mut self,
        peer: &mut Peer<'_>,
        now: Now,
        reading: Reading,
        what: Read,
        scratch: &mut [u8],
    ) -> Result<(), Error<N::Error>> {
        match what {
            Read::Log { from, most } => match self.store.read_log(from, most, scratch) {
                Ok(entries) => peer.log_read(now, reading, entries.iter()),
                Err(Error::Damaged(_)) => peer.read_failed(reading),
                Err(error) => return Err(error),
            },
            Read::Snapshot { zxid, offset, most } => {
                let most = most.min(scratch.len());
                let to = &mut scratch[..most];
                match self.store.read_snapshot(zxid, offset, to)? {
                    Some((len, end)) => peer.snapshot_read(now, reading, &to[..len], end),
                    None => peer.read_failed(reading),
                }
            }
        }
        Ok(())
    }
}
