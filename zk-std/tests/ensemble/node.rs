//! A member: a peer, its files on a simulated disk, and what the simulation knows of both.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::VecDeque;

use zk_core::id::{Epoch, ServerId, SessionId, Zxid};
use zk_core::peer::{Ceilings, Disk as Want, Epochs, Membership, Options, Order, Peer};
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_std::member::dynamic::Dynamic;
use zk_std::member::{self, Files, History};
use zk_std::store::simulated::{Disk, Rng, Simulated};
use zk_std::store::{self, SnapshotWriter, Store};

use super::config::Members;
use super::small::Limits;

/// `tickTime`, ms.
pub(crate) const TICK: u32 = 100;

/// Where an operator writes what members there are.
const ZOO_CFG: &str = "zoo.cfg";

/// Milliseconds in which a full disk may get room again before the process ends.
const FULL: u64 = 700;

/// How large everything is; the same for all members, another for every seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Bytes of the window of history.
    window: usize,
    /// Transactions that may be outstanding.
    pub(crate) pending: usize,
    /// Bytes that are synced at once.
    batch: usize,
    /// Transactions between two snapshots.
    snap_count: u32,
    /// What a small member holds.
    pub(crate) limits: Option<Limits>,
}

impl Size {
    /// One of many.
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let mut one = |all: [usize; 4]| all[rng.below(4) as usize];
        Self {
            window: one([3000, 4000, 6000, 12_000]),
            pending: one([16, 32, 64, 64]),
            batch: one([600, 2000, 4096, 4096]),
            snap_count: one([12, 24, 40, 60]) as u32,
            limits: None,
        }
    }
}

/// How a member came up.
#[derive(Debug)]
pub(crate) enum Started {
    /// With a history that ends there.
    Whole(Zxid),
    /// With none that can be trusted: it must not vote.
    Damaged,
    /// Not at all: its disk is full, or has failed.
    Failed(store::Error),
    /// Not at all: its own files say that it is no member, or there are none.
    NoMember,
}

pub(crate) struct Node {
    pub(crate) id: ServerId,
    pub(crate) disk: Disk,
    store: Store<Simulated>,
    pub(crate) peer: Peer<'static>,
    pub(crate) up: bool,
    /// Counts restarts.
    pub(crate) life: u32,
    /// Its monotonic clock: milliseconds ahead, and how much faster, per mille.
    pub(crate) ahead: u64,
    pub(crate) drift: i64,
    /// Its wall clock, ahead of the world's.
    pub(crate) wall_skew: i64,
    /// Until when the process does not run.
    pub(crate) paused_until: u64,
    /// Until when the disk does nothing.
    pub(crate) disk_busy_until: u64,
    /// Until when the disk is full.
    pub(crate) full_until: u64,
    /// It has lost, or may be about to lose, what it had.
    pub(crate) ill: bool,
    /// It has lost what it had, and has not served since.
    pub(crate) lost: bool,
    /// A sector is read wrongly.
    pub(crate) misread: bool,
    /// Until when, if nothing is read that is read wrongly.
    pub(crate) misread_until: u64,
    /// Transactions whose digests showed that it does not have its history.
    pub(crate) differed: u64,
    /// The last transaction of its history, and the last that is durable.
    pub(crate) last: Zxid,
    pub(crate) synced: Zxid,
    /// The epochs that are durable.
    pub(crate) epochs: Epochs,
    /// The epoch that its leader has offered.
    pub(crate) offered: Epoch,
    /// The last transaction that its leader has proposed, in all and before NEWLEADER.
    pub(crate) taken: Zxid,
    pub(crate) owed: Zxid,
    /// The epoch of its leader's NEWLEADER.
    pub(crate) begins: Epoch,
    /// The last transaction of the tree that was looked at.
    pub(crate) seen: Zxid,
    pub(crate) size: Size,
    /// What the files say if they cannot change.
    config: Option<String>,
    /// The files of a configuration that changes.
    dynamic: Option<Dynamic<Simulated>>,
    /// The latest configuration that was in force in this life.
    pub(crate) version: i64,
    writer: Option<SnapshotWriter<Simulated>>,
    files: Files<Simulated>,
    /// The snapshot that is received.
    installing: Zxid,
    /// With the disk, and not yet in the log.
    waiting: VecDeque<(Zxid, Vec<u8>)>,
    /// In the log, and not yet synced.
    unsynced: Vec<Zxid>,
    /// The last transaction of what is to be synced.
    syncing: Option<Zxid>,
    /// Since when there is no room on the disk.
    full_since: Option<u64>,
    servers: u8,
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
    /// Transactions were synced.
    Synced(Vec<Zxid>),
    /// The epochs were written; those before.
    Epochs(Epochs),
    /// The history was cut.
    Truncated(Zxid),
    /// The history was replaced by a snapshot of that zxid.
    Installed(Zxid),
    /// There was no room for a snapshot: the history is what could be read again, which may be more than the
    /// last time.
    ReadAgain(Zxid),
    /// The disk has failed: the process ends.
    Failed,
    /// It was full for too long: the process ends.
    Full,
}

fn store_options(size: Size) -> store::Options {
    store::Options {
        preallocate: 4096,
        batch_max: size.batch.max(1024),
        record_max: 1 << 14,
        // Whoever has lost everything must not pass for a new server.
        db_autocreate: false,
        reserve: 1024,
        ..store::Options::default()
    }
}

fn new_peer(
    id: ServerId,
    (size, reconfig): (Size, bool),
    now: Now,
    life: u32,
    seed: u64,
) -> Peer<'static> {
    let options = Options {
        server: id,
        ensemble: true,
        tick_time: TICK,
        init_limit: 10,
        sync_limit: 5,
        min_session_timeout: 2 * TICK,
        max_session_timeout: 20 * TICK,
        snap_count: size.snap_count,
        max_batch: size.batch,
        max_txn: 1 << 14,
        extended_types: true,
        reconfig,
        // Whoever may reconfigure is another test's.
        skip_acl: reconfig,
        container_check_interval: 400,
        ..Options::default()
    };
    let ceilings = Ceilings { history: size.window, pending: size.pending, ..Ceilings::default() };
    let (options, ceilings) = match size.limits {
        Some(limits) => (limits.shorten(options), limits.lower(ceilings)),
        None => (options, ceilings),
    };
    // It begins with a time, which no two lives have in common.
    let first = SessionId::first(id, (1 << 39) + u64::from(life));
    Peer::owned(options, ceilings, Seeds(seed, !seed), first, now).unwrap()
}

fn open(disk: &Disk, size: Size) -> Result<Store<Simulated>, store::Error> {
    Store::open(disk.root(), disk.root(), store_options(size))
}

impl Node {
    /// One of so many servers, which never ran; then [`start`](Self::start). `config` is what its
    /// files say, unless that can change: then [`configure`](Self::configure).
    pub(crate) fn new(
        id: ServerId,
        servers: u8,
        config: Option<&Members>,
        size: Size,
        seed: u64,
    ) -> Self {
        let disk = Disk::new(seed);
        // It is new, and meant to be.
        disk.write(store::INITIALIZE, b"");
        Self {
            id,
            store: open(&disk, size).unwrap(),
            disk,
            peer: new_peer(id, (size, config.is_none()), Now::default(), 0, seed),
            up: false,
            life: 0,
            ahead: 0,
            drift: 0,
            wall_skew: 0,
            paused_until: 0,
            disk_busy_until: 0,
            full_until: 0,
            ill: false,
            lost: false,
            misread: false,
            misread_until: 0,
            differed: 0,
            last: Zxid::ZERO,
            synced: Zxid::ZERO,
            epochs: Epochs::default(),
            offered: Epoch(0),
            taken: Zxid::ZERO,
            owed: Zxid::ZERO,
            begins: Epoch(0),
            seen: Zxid::ZERO,
            size,
            config: config.map(|config| config.text() + "version=0"),
            dynamic: None,
            version: 0,
            servers,
            writer: None,
            files: Files::default(),
            installing: Zxid::NONE,
            waiting: VecDeque::new(),
            unsynced: vec![],
            syncing: None,
            full_since: None,
        }
    }

    /// What its clocks show at that moment of the world.
    pub(crate) fn now(&self, world: u64) -> Now {
        let gained = (world as i64 * self.drift / 1000).cast_unsigned();
        let monotonic = self.ahead.wrapping_add(world).wrapping_add(gained);
        Now::new(monotonic, world as i64 + self.wall_skew)
    }

    /// The process ends, and with it what was not synced.
    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.writer = None;
        self.files = Files::default();
        self.waiting.clear();
        self.unsynced.clear();
        self.syncing = None;
        self.full_since = None;
        self.disk.crash();
    }

    /// All that it has is lost.
    pub(crate) fn wipe(&mut self, seed: u64) {
        self.disk = Disk::new(seed);
        self.ill = true;
        self.lost = true;
    }

    /// Whether its disk is full, or has been lately.
    pub(crate) fn is_full(&self) -> bool {
        self.full_until != 0 || self.full_since.is_some()
    }

    /// A process starts on what the disk has.
    pub(crate) fn start(&mut self, now: Now, seed: u64) -> Started {
        self.life += 1;
        match self.try_start(now, seed) {
            Ok(started) => {
                self.up = true;
                started
            }
            Err(error) => Started::Failed(error),
        }
    }

    fn try_start(&mut self, now: Now, seed: u64) -> Result<Started, store::Error> {
        let Some((config, proposed)) = self.configured() else { return Ok(Started::NoMember) };
        self.store = open(&self.disk, self.size)?;
        self.peer = new_peer(self.id, (self.size, self.config.is_none()), now, self.life, seed);
        let history = member::restore(&mut self.store, &mut self.peer, &mut |_, _| {})?;
        let last = match history {
            History::Loaded(restored) => restored.zxid,
            History::Damaged => Zxid::NONE,
        };
        let damaged = last == Zxid::NONE;
        let epochs = self.store.epochs(last)?;
        self.epochs = Epochs { accepted: epochs.accepted, current: epochs.current };
        let membership = Membership {
            config: config.as_bytes(),
            proposed: proposed.as_deref().map(str::as_bytes),
            epochs: self.epochs,
            damaged,
        };
        self.peer.join(now, &membership).unwrap();
        for server in 1..=self.servers {
            self.peer.resolved(ServerId(i64::from(server)), &[address(server)]).unwrap();
        }
        self.version = self.peer.config().version();
        Ok(if damaged { Started::Damaged } else { Started::Whole(last) })
    }

    /// What would be there if the power went off now: the last transaction, the epochs, and the
    /// version of the latest configuration. `None`: it could not start, as no member any more.
    pub(crate) fn after_crash(&self, seed: u64) -> Option<(Zxid, Epochs, i64)> {
        let mut left = Self::new(self.id, self.servers, None, self.size, seed);
        left.config.clone_from(&self.config);
        left.disk = self.disk.after_crash(seed);
        match left.try_start(Now::default(), seed) {
            Ok(Started::Whole(last)) => Some((last, left.epochs, left.latest_config())),
            Ok(Started::NoMember) => None,
            other => panic!("a crash of server {} would leave {other:?}", self.id.0),
        }
    }

    /// Version of the latest configuration that counts for it.
    pub(crate) fn latest_config(&self) -> i64 {
        let quorums = self.peer.quorums();
        quorums.pending().unwrap_or(&quorums.committed).version()
    }

    /// Whether it knows of a configuration that is proposed.
    pub(crate) fn has_proposed(&self) -> bool {
        let pending = self.peer.quorums().pending();
        pending.is_some_and(|config| Zxid(config.version()).counter() > 0)
    }

    // The files of a configuration that changes.

    /// An operator writes what members there are, or copies the file of another server, which has
    /// that version.
    pub(crate) fn configure(&mut self, members: &Members, version: Option<i64>) {
        let static_part = "tickTime=100\nclientPort=2181\n";
        let text = members.text();
        let zoo_cfg = match version {
            None => format!("{static_part}{text}"),
            Some(version) => {
                let name = format!("{ZOO_CFG}.dynamic.{version:x}");
                self.disk.write(&name, text.as_bytes());
                format!("{static_part}dynamicConfigFile={name}\n")
            }
        };
        self.disk.write(ZOO_CFG, zoo_cfg.as_bytes());
    }

    /// What its files say: the configuration in force, and one that is proposed. `None`: that it is
    /// no member. (As `zk_std::config` reads the files of the system.)
    fn configured(&mut self) -> Option<(String, Option<String>)> {
        if let Some(config) = &self.config {
            return Some((config.clone(), None));
        }
        let read = |name: &str| {
            let bytes = self.disk.read(name)?;
            Some(String::from_utf8(bytes).expect("a text"))
        };
        let zoo_cfg = read(ZOO_CFG)?;
        let name = zoo_cfg.lines().find_map(|line| line.strip_prefix("dynamicConfigFile="));
        let (lines, version, next) = match name {
            Some(name) => {
                let (_, version) = name.rsplit_once('.').expect("a dot");
                let version = i64::from_str_radix(version, 16).unwrap_or(0);
                let lines = read(name).expect("the file that zoo.cfg leads to");
                (lines, version, read(&format!("{ZOO_CFG}.dynamic.next")))
            }
            None => {
                let lines = zoo_cfg.lines().filter(|line| line.starts_with("server."));
                let lines = lines.collect::<Vec<_>>().join("\n");
                // Only the first version of the same members.
                let first = |next: &String| {
                    let (members, version) = Members::parse(next.as_bytes());
                    Zxid(version).counter() == 0 && members == Members::parse(lines.as_bytes()).0
                };
                let next = read(&format!("{ZOO_CFG}.dynamic.next")).filter(first);
                (lines, 0, next)
            }
        };
        if !Members::parse(lines.as_bytes()).0.has(self.id) {
            return None;
        }
        let proposed = next.as_ref().map(|next| Members::parse(next.as_bytes()).1);
        let root = self.disk.root();
        let leads_to = name.map(|_| version);
        let dynamic = Dynamic::new(root, ZOO_CFG, self.id, leads_to, proposed);
        if name.is_none() {
            dynamic.keep_copy();
        }
        self.dynamic = Some(dynamic);
        Some((format!("{lines}\nversion={version:x}"), next))
    }

    /// Whether it can start: its files say that it is a member.
    pub(crate) fn is_configured(&mut self) -> bool {
        self.configured().is_some()
    }

    /// Writes the files of a configuration that has changed. `Some`: how that has ended.
    pub(crate) fn note_config(&mut self) -> Option<Did> {
        let dynamic = self.dynamic.as_mut()?;
        let noted = dynamic.note(&self.peer);
        if !self.disk.has_power() {
            return Some(Did::Failed);
        }
        noted.err().map(|_| Did::Full)
    }

    /// One thing that the peer wants of its disk, or the end of a sync.
    pub(crate) fn disk_step(&mut self, now: Now, rng: &mut Rng) -> Did {
        if let Some(last) = self.syncing
            && rng.coin()
        {
            return self.sync(now, last);
        }
        let Some(want) = self.peer.poll_disk() else {
            if rng.below(64) == 0 {
                // It does no harm if that fails.
                let _ = self.store.idle();
            }
            return Did::Nothing;
        };
        let mut did = Did::Something;
        let done = match want {
            Want::Append(batch) => {
                let all: Vec<_> = batch.iter().map(|(zxid, txn)| (zxid, txn.to_vec())).collect();
                self.waiting.extend(all.iter().cloned());
                self.syncing = Some(batch.last());
                return Did::Appended(all);
            }
            Want::Roll => self.store.roll(),
            Want::SnapshotBegin(zxid) => {
                let begun =
                    self.store.begin_snapshot(zxid).map(|writer| self.writer = Some(writer));
                self.snapshot_step(begun)
            }
            Want::SnapshotBytes(bytes) => {
                let n = bytes.len();
                let written = self.writer.as_mut().map_or(Ok(()), |writer| writer.write(bytes));
                self.peer.snapshot_written(n);
                self.snapshot_step(written)
            }
            Want::SnapshotEnd(digest) => {
                let written = self.writer.take().map(|writer| {
                    writer
                        .finish(Some(digest), Some(digest.zxid))
                        .map(|_| self.peer.snapshot_done())
                });
                // The files that a learner may still be reading stay.
                let written = written.unwrap_or(Ok(()));
                let purged =
                    written.and_then(|()| self.store.purge(3, self.peer.pinned()).map(drop));
                self.snapshot_step(purged)
            }
            Want::SnapshotDrop => {
                self.writer = None;
                Ok(())
            }
            Want::Ensemble(order) => {
                let asked = match &order {
                    Order::InstallBegin(zxid) => {
                        self.installing = *zxid;
                        None
                    }
                    Order::Epochs(epochs) => Some(*epochs),
                    _ => None,
                };
                did = match &order {
                    Order::Truncate(zxid) => Did::Truncated(*zxid),
                    Order::InstallEnd => Did::Installed(self.installing),
                    _ => Did::Something,
                };
                if let Order::Truncate(zxid) = &order {
                    // What is behind may be gone, even if the power is before that is told.
                    self.synced = self.synced.min(*zxid);
                }
                let step = self.files.begin(&mut self.store, order);
                let done = step.and_then(|step| step.finish(&mut self.store, &mut self.peer, now));
                // Where there is no room, what was there before is read again.
                if matches!(did, Did::Installed(zxid) if zxid != self.peer.tree().last_zxid()) {
                    did = Did::ReadAgain(self.peer.tree().last_zxid());
                }
                if let (Some(epochs), Ok(())) = (asked, &done) {
                    did = Did::Epochs(core::mem::replace(&mut self.epochs, epochs));
                }
                done
            }
        };
        match done {
            Ok(()) => did,
            Err(error) if error.is_full() => Did::Full,
            Err(_) => Did::Failed,
        }
    }

    /// A snapshot for which there is no room is given up.
    fn snapshot_step(&mut self, done: Result<(), store::Error>) -> Result<(), store::Error> {
        match done {
            Err(error) if error.is_full() => {
                self.writer = None;
                self.peer.snapshot_failed();
                Ok(())
            }
            done => done,
        }
    }

    /// Writes what waits, and makes it durable.
    fn sync(&mut self, now: Now, last: Zxid) -> Did {
        let mut done = Ok(());
        while let Some((zxid, txn)) = self.waiting.front() {
            done = self.store.append(*zxid, txn);
            if done.is_err() {
                break;
            }
            self.unsynced.push(*zxid);
            self.waiting.pop_front();
        }
        match done.and_then(|()| self.store.sync()) {
            Ok(()) => {
                self.syncing = None;
                self.synced = last;
                if self.full_since.take().is_some() {
                    self.peer.set_full(false);
                }
                self.peer.durable(now, last).unwrap();
                Did::Synced(core::mem::take(&mut self.unsynced))
            }
            Err(error) if error.is_full() => {
                // Only what frees space is taken now, and the same is tried again.
                self.peer.set_full(true);
                let since = *self.full_since.get_or_insert(now.monotonic.0);
                let patient = now.monotonic.0 - since < FULL;
                if patient { Did::Nothing } else { Did::Full }
            }
            Err(_) => Did::Failed,
        }
    }
}
