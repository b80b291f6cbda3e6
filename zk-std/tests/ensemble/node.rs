//! A member: a peer, what it keeps its history on, and what the simulation knows of both.

mod files;
pub(crate) mod flash;
pub(crate) mod storage;

use core::net::{IpAddr, Ipv4Addr};
use zk_core::id::{Epoch, ServerId, SessionId, Zxid};
use zk_core::peer::{Ceilings, Dialect, Epochs, Membership, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_embedded::flash::simulated::Geometry;
use zk_embedded::profile::TINY;
use zk_std::member::dynamic::Dynamic;
use zk_std::store;
use zk_std::store::simulated::{Disk, Rng, Simulated};

use self::files::Files;
use self::flash::Board;
use self::storage::{Did, Loaded, Member, Rotten, Storage};
use super::config::Members;
use super::met::Met;
use super::small::Limits;

/// `tickTime`, ms.
pub(crate) const TICK: u32 = 100;

/// Where an operator writes what members there are.
const ZOO_CFG: &str = "zoo.cfg";

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
    /// The flash that it keeps its history in, rather than in files.
    pub(crate) flash: Option<Geometry>,
    /// Whether it has one connection to each member.
    pub(crate) dialect: Dialect,
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
            flash: None,
            dialect: Dialect::Asked,
        }
    }

    /// What the profile `tiny` gives to a board, with some flash.
    pub(crate) fn tiny(self, rng: &mut Rng) -> Self {
        Self {
            window: TINY.history,
            pending: TINY.proposals,
            batch: TINY.batch_max,
            limits: Some(Limits::tiny()),
            flash: Some(flash::any_device(rng)),
            ..self
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
    Failed(String),
    /// Not at all: its own files say that it is no member, or there are none.
    NoMember,
}

pub(crate) struct Node {
    pub(crate) id: ServerId,
    /// Its files; unless the history is in flash, that is among them.
    pub(crate) disk: Disk,
    storage: Box<dyn Storage>,
    pub(crate) peer: Peer<'static>,
    pub(crate) up: bool,
    /// Counts restarts.
    pub(crate) life: u32,
    /// The last of its lives in which it has served.
    pub(crate) served: u32,
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
    /// A bit of its history has changed while nothing was under way, and it has not started since.
    pub(crate) rotten_at_rest: bool,
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
    servers: u8,
}

/// Where a member comes from.
pub(crate) fn address(member: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, member))
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
        dialect: size.dialect,
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
        let storage: Box<dyn Storage> = match size.flash {
            Some(geometry) => Box::new(Board::new(geometry, seed)),
            None => Box::new(Files::new(&disk, size)),
        };
        let config = config.map(|config| config.text() + "version=0");
        Self::with((id, servers), config, size, seed, (disk, storage))
    }

    fn with(
        (id, servers): (ServerId, u8),
        config: Option<String>,
        size: Size,
        seed: u64,
        (disk, storage): (Disk, Box<dyn Storage>),
    ) -> Self {
        Self {
            id,
            storage,
            disk,
            peer: new_peer(id, (size, config.is_none()), Now::default(), 0, seed),
            up: false,
            life: 0,
            served: 0,
            ahead: 0,
            drift: 0,
            wall_skew: 0,
            paused_until: 0,
            disk_busy_until: 0,
            full_until: 0,
            ill: false,
            lost: false,
            rotten_at_rest: false,
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
            config,
            dynamic: None,
            version: 0,
            servers,
        }
    }

    /// What its clocks show at that moment of the world.
    pub(crate) fn now(&self, world: u64) -> Now {
        let gained = (world as i64 * self.drift / 1000).cast_unsigned();
        let monotonic = self.ahead.wrapping_add(world).wrapping_add(gained);
        Now::new(monotonic, world as i64 + self.wall_skew)
    }

    /// The process ends, and with it what is not durable; or the power is `off`.
    pub(crate) fn crash(&mut self, off: bool) {
        self.up = false;
        self.storage.crash(off);
    }

    /// The power goes off when its storage has done so many operations more.
    pub(crate) fn cut_power_after(&mut self, operations: u64) {
        self.storage.cut_power_after(operations);
    }

    /// All that it has is lost.
    pub(crate) fn wipe(&mut self, seed: u64) {
        self.disk = Disk::new(seed);
        self.storage.wipe(&self.disk, seed);
        self.ill = true;
        self.lost = true;
    }

    /// A bit of its history changes, if one can that shows.
    pub(crate) fn rot(&mut self, rng: &mut Rng) -> Option<Rotten> {
        self.storage.rot(rng)
    }

    /// Whether its storage is full, or has been lately.
    pub(crate) fn is_full(&self) -> bool {
        self.full_until != 0 || self.storage.is_full()
    }

    /// Whether its history is in files.
    pub(crate) fn has_files(&self) -> bool {
        self.size.flash.is_none()
    }

    /// What its storage is up to.
    pub(crate) fn storage_state(&self) -> String {
        self.storage.state()
    }

    /// Adds what its storage has met.
    pub(crate) fn count(&self, met: &mut Met) {
        self.storage.count(met);
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

    fn try_start(&mut self, now: Now, seed: u64) -> Result<Started, String> {
        let Some((config, proposed)) = self.configured() else { return Ok(Started::NoMember) };
        self.storage.open()?;
        self.peer = new_peer(self.id, (self.size, self.config.is_none()), now, self.life, seed);
        let Loaded { last, epochs } = self.storage.load(&mut self.peer)?;
        self.epochs = epochs;
        let damaged = last.is_none();
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
        Ok(last.map_or(Started::Damaged, Started::Whole))
    }

    /// What would be there if the power went off now: the last transaction, the epochs, and the
    /// version of the latest configuration. `None`: it could not start, as no member any more.
    pub(crate) fn after_crash(&self, seed: u64) -> Option<(Zxid, Epochs, i64)> {
        let disk = self.disk.after_crash(seed);
        let storage = self.storage.after_crash(&disk, seed);
        let (who, config) = ((self.id, self.servers), self.config.clone());
        let mut left = Self::with(who, config, self.size, seed, (disk, storage));
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

    /// One thing that the peer wants of its storage, or the end of one.
    pub(crate) fn disk_step(&mut self, now: Now, rng: &mut Rng) -> Did {
        let Self { peer, synced, epochs, .. } = self;
        self.storage.step(Member { peer, synced, epochs }, now, rng)
    }

    /// What the last step did as well.
    pub(crate) fn did_too(&mut self) -> Option<Did> {
        self.storage.did_too()
    }
}
