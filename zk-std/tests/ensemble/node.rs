//! A member: a peer, its files on a simulated disk, and what the simulation knows of its history.

use core::net::{IpAddr, Ipv4Addr};

use zk_core::id::{ServerId, SessionId, Zxid};
use zk_core::peer::{Ceilings, Disk as Want, Epochs, Membership, Options, Order, Peer};
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_std::load::PeerLoad;
use zk_std::member::Files;
use zk_std::store::simulated::{Disk, Rng, Simulated};
use zk_std::store::{self, SnapshotWriter, Store};

pub(crate) const TICK: u32 = 100;

pub(crate) struct Node {
    pub(crate) id: ServerId,
    pub(crate) disk: Disk,
    pub(crate) store: Store<Simulated>,
    pub(crate) peer: Peer<'static>,
    pub(crate) up: bool,
    /// Counts restarts.
    pub(crate) life: u32,
    /// Added to the world's clock.
    pub(crate) wall_skew: i64,
    /// Until when the process does not run.
    pub(crate) paused_until: u64,
    /// Until when the disk does nothing.
    pub(crate) disk_busy_until: u64,
    writer: Option<SnapshotWriter<Simulated>>,
    files: Files<Simulated>,
    /// The snapshot that is received.
    installing: Zxid,
    /// Appended, not synced.
    syncing: Option<Zxid>,
    /// The last transaction of its history.
    pub(crate) last: Zxid,
    config: String,
    members: u8,
}

/// Where a member comes from.
pub(crate) fn address(member: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, member))
}

/// What a step of the disk did.
pub(crate) enum Did {
    Nothing,
    Something,
    /// Transactions were appended.
    Appended(Vec<(Zxid, Vec<u8>)>),
    /// The history was cut.
    Truncated(Zxid),
    /// The history was replaced by a snapshot of that zxid.
    Installed(Zxid),
    /// The disk has failed: the process ends.
    Failed,
}

fn store_options() -> store::Options {
    store::Options {
        preallocate: 4096,
        batch_max: 4096,
        record_max: 1 << 16,
        reserve: 0,
        ..store::Options::default()
    }
}

fn new_peer(id: ServerId, now: Now, seed: u64) -> Peer<'static> {
    let options = Options {
        server: id,
        ensemble: true,
        tick_time: TICK,
        init_limit: 10,
        sync_limit: 5,
        min_session_timeout: 2 * TICK,
        max_session_timeout: 20 * TICK,
        snap_count: 40,
        max_batch: if seed.is_multiple_of(3) { 600 } else { 4096 },
        max_txn: 1 << 14,
        extended_types: true,
        ..Options::default()
    };
    let ceilings = Ceilings { history: 6000, pending: 64, ..Ceilings::default() };
    let first = SessionId(id.0 << 56);
    Peer::owned(options, ceilings, Seeds(seed, !seed), first, now).unwrap()
}

impl Node {
    pub(crate) fn new(id: ServerId, config: &str, now: Now, seed: u64) -> Self {
        let disk = Disk::new(seed);
        let store = Store::open(disk.root(), disk.root(), store_options()).unwrap();
        let mut node = Self {
            id,
            disk,
            store,
            peer: new_peer(id, now, seed),
            up: false,
            life: 0,
            wall_skew: 0,
            paused_until: 0,
            disk_busy_until: 0,
            writer: None,
            files: Files::default(),
            installing: Zxid::NONE,
            syncing: None,
            last: Zxid::ZERO,
            config: config.to_owned(),
            members: config.matches("server.").count() as u8,
        };
        node.start(now, seed);
        node
    }

    /// The process ends, and with it what was not synced.
    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.writer = None;
        self.files = Files::default();
        self.syncing = None;
        self.disk.crash();
    }

    /// A process starts on what the disk has. Answers the last transaction.
    pub(crate) fn start(&mut self, now: Now, seed: u64) -> Zxid {
        self.life += 1;
        self.up = true;
        self.disk.fail_syncs(0);
        self.store = Store::open(self.disk.root(), self.disk.root(), store_options()).unwrap();
        self.peer = new_peer(self.id, now, seed);
        self.store
            .restore(&mut PeerLoad::new(&mut self.peer, &mut |_, _| {}))
            .unwrap_or_else(|error| panic!("server {} refuses to start: {error}", self.id.0));
        let last = self.peer.tree().last_zxid();
        let epochs = self.store.epochs(last).unwrap();
        let membership = Membership {
            proposed: None,
            config: self.config.as_bytes(),
            epochs: Epochs { accepted: epochs.accepted, current: epochs.current },
            damaged: false,
        };
        self.peer.join(now, &membership).unwrap();
        for member in 1..=self.members {
            self.peer.resolved(ServerId(i64::from(member)), &[address(member)]).unwrap();
        }
        last
    }

    /// One thing that the peer wants of its disk, or the end of a sync.
    pub(crate) fn disk_step(&mut self, now: Now, rng: &mut Rng) -> Did {
        if let Some(last) = self.syncing
            && rng.coin()
        {
            if self.store.sync().is_err() {
                return Did::Failed;
            }
            self.syncing = None;
            self.peer.durable(now, last).unwrap();
            return Did::Something;
        }
        let Some(want) = self.peer.poll_disk() else { return Did::Nothing };
        let mut did = Did::Something;
        let done = match want {
            Want::Append(batch) => {
                let mut result = Ok(());
                let mut appended = vec![];
                for (zxid, txn) in batch.iter() {
                    appended.push((zxid, txn.to_vec()));
                    result = result.and_then(|()| self.store.append(zxid, txn));
                }
                self.syncing = Some(batch.last());
                did = Did::Appended(appended);
                result
            }
            Want::Roll => self.store.roll(),
            Want::SnapshotBegin(zxid) => {
                self.store.begin_snapshot(zxid).map(|writer| self.writer = Some(writer))
            }
            Want::SnapshotBytes(bytes) => {
                let n = bytes.len();
                let result = self.writer.as_mut().unwrap().write(bytes);
                self.peer.snapshot_written(n);
                result
            }
            Want::SnapshotEnd(digest) => {
                let writer = self.writer.take().unwrap();
                let result = writer.finish(Some(digest), Some(digest.zxid)).map(|_| ());
                if result.is_ok() {
                    self.peer.snapshot_done();
                }
                // The files that a learner may still be reading stay.
                result.and_then(|()| self.store.purge(3, self.peer.pinned()).map(drop))
            }
            Want::SnapshotDrop => {
                self.writer = None;
                Ok(())
            }
            Want::Ensemble(order) => {
                did = match &order {
                    Order::Truncate(zxid) => Did::Truncated(*zxid),
                    Order::InstallBegin(zxid) => {
                        self.installing = *zxid;
                        Did::Something
                    }
                    Order::InstallEnd => Did::Installed(self.installing),
                    _ => Did::Something,
                };
                let step = self.files.begin(&mut self.store, order);
                step.and_then(|step| step.finish(&mut self.store, &mut self.peer, now))
            }
        };
        match done {
            Ok(()) => did,
            Err(_) => Did::Failed,
        }
    }
}
