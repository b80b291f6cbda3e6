//! The world: time, the network, clients; who does what, and when.

mod clients;
mod healed;
mod links;

use core::net::{IpAddr, Ipv4Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zk_core::id::{ServerId, SessionId, Zxid};
use zk_core::peer::{Dialect, Peer, State};
use zk_core::time::Now;
use zk_std::store::simulated::Rng;

use super::check::Agreement;
use super::client::Client;
use super::config::Members;
use super::faults::{End, Weather};
use super::history::History;
use super::met::Met;
use super::net::Connection;
use super::node::storage::Did;
use super::node::{Node, Size};
use super::small::{Limits, Observer};
use super::trace::Trace;

/// Rounds of the safety phase: at least, and at most.
const ROUNDS: core::ops::Range<usize> = 1500..60_000;
/// After so many rounds fewer things go wrong.
const IMPROVE: usize = 2000;
/// After so many rounds with all writes done, something is done for what is still to be met.
const HURRY: usize = 300;
/// After so many rounds an operator looks after members that cannot find the others.
const RESCUE: usize = 1000;
/// What a run must have met before it may end.
const WRITES: u64 = 500;
const REIGNS: u64 = 3;
const FAULTS: u64 = 10;
const CHANGES: u64 = 2;
const CLIENTS: usize = 4;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) struct World {
    pub(crate) rng: Rng,
    /// What is drawn from it changes nothing of what is drawn from `rng`.
    pub(crate) more: Rng,
    pub(crate) now: u64,
    /// Counts everything that clients ask and are told.
    step: u64,
    pub(crate) nodes: Vec<Node>,
    /// The first so many of them vote, in the beginning.
    pub(crate) voters: usize,
    /// The configuration changes.
    pub(crate) reconfig: bool,
    /// No fewer voters are asked for.
    pub(crate) fewest: usize,
    /// Of so many rounds while a configuration is proposed, something happens in one.
    pub(crate) unrest: u64,
    /// The version of the first configuration, once it has one.
    pub(crate) first: i64,
    /// Some sectors are read wrongly.
    pub(crate) misreads: bool,
    /// The member whose learner is like Apache's.
    pub(crate) apache: Option<usize>,
    /// What a single observer beside small voters holds.
    pub(crate) observer: Observer,
    pub(crate) connections: Vec<Connection>,
    /// Cut links, by node: from, to.
    pub(crate) cut: Vec<Vec<bool>>,
    /// Nodes whose links are clogged, and what is to come of that.
    pub(crate) clogged: Vec<bool>,
    pub(crate) swizzle: VecDeque<(u64, usize, bool)>,
    pub(crate) delay: u64,
    pub(crate) weather: Weather,
    clients: Vec<Client>,
    registers: bool,
    history: History,
    pub(crate) agreement: Agreement,
    /// Answered writes.
    acknowledged: BTreeSet<Zxid>,
    /// When each session was last heard of, by the clock of the node that leads.
    heard: Vec<BTreeMap<i64, u64>>,
    /// Since when nodes lead.
    leads_since: Vec<u64>,
    /// When two leaders were there at the same time, last.
    overlap: u64,
    trace: Trace,
    pub(crate) met: Met,
}

impl World {
    /// The world of a seed, without some kinds of faults.
    pub(crate) fn new(seed: u64, without: &[usize], print: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let weather = Weather::any(&mut rng, without);
        let voters = if rng.below(4) == 0 { 5 } else { 3 };
        let members = voters + rng.below(2) as usize;
        let config = Members::of((1..=members).map(|n| (n as i64, n <= voters)));
        let reconfig = seed % 3 == 1;
        let servers = if reconfig { members as u64 + 2 } else { members as u64 };
        let mut size = Size::any(&mut rng);
        // (Such that seeds in which planted bugs are found stay what they are.)
        let mut more = Rng::new(seed ^ 0x5a12);
        let mut observer = Observer::Same;
        if more.below(5) == 0 {
            size.limits = Some(Limits::any(&mut more, reconfig));
            if !reconfig && members > voters {
                let all = [Observer::Same, Observer::Larger, Observer::Smaller, Observer::Smaller];
                observer = all[more.below(4) as usize];
            }
        }
        let mut board = Rng::new(seed ^ 0xb0a2d);
        let (mut boards, mut first_board) = (servers, 0);
        // (The configuration of boards does not change.)
        if size.limits.is_some() && !reconfig && board.below(2) == 0 {
            size = size.tiny(&mut board);
            // In some, only one or two.
            if board.below(3) == 0 {
                boards = 1 + board.below(2);
                first_board = board.below(servers);
            }
        }
        let mut learner = Rng::new(seed ^ 0xac38);
        let may = size.limits.is_none() && learner.below(4) == 0;
        let apache = may.then(|| learner.below(servers) as usize);
        let mut together = Rng::new(seed ^ 0x10ca1);
        let dialect = apache.is_none() && together.below(2) == 0;
        let nodes: Vec<Node> = (1..=servers)
            .map(|n| {
                let id = ServerId(n as i64);
                let fixed = (!reconfig).then_some(&config);
                let mut size = size;
                if dialect {
                    let all = [Dialect::Asks, Dialect::Asks, Dialect::Asked, Dialect::Never];
                    size.dialect = all[together.below(4) as usize];
                }
                if n as usize > voters {
                    size.limits = size.limits.map(|limits| limits.of(observer));
                }
                if (n - 1 + servers - first_board) % servers >= boards {
                    size.flash = None;
                }
                let mut node = Node::new(id, servers as u8, fixed, size, seed * 100 + n);
                if reconfig && config.has(id) {
                    node.configure(&config, None);
                }
                node.ahead = rng.below(1 << 40);
                node.drift = rng.below(41) as i64 - 20;
                node
            })
            .collect();
        let n = nodes.len();
        let mut world = Self {
            rng: Rng::new(rng.next_u64()),
            more,
            now: 0,
            step: 0,
            nodes,
            voters,
            reconfig,
            fewest: 2 + usize::from(weather.loses_disks()),
            unrest: 40 << rng.below(4),
            first: 0,
            misreads: !without.contains(&(Weather::KINDS - 1))
                && Rng::new(seed ^ 0xd24).below(4) == 0,
            apache,
            observer,
            connections: vec![],
            cut: vec![vec![false; n]; n],
            clogged: vec![false; n],
            swizzle: VecDeque::new(),
            delay: 3,
            weather,
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            registers: seed.is_multiple_of(4),
            history: History::default(),
            agreement: Agreement::new(config),
            acknowledged: BTreeSet::new(),
            heard: vec![BTreeMap::new(); n],
            leads_since: vec![0; n],
            overlap: 0,
            trace: Trace::new(print),
            met: Met::default(),
        };
        world.agreement.apache = apache.map(|at| ServerId(at as i64 + 1));
        world.met.apache += u64::from(apache.is_some());
        world.met.small += u64::from(size.limits.is_some());
        world.met.flash += u64::from(size.flash.is_some());
        world.met.flash_mixed += u64::from(boards < servers);
        world.met.larger += u64::from(observer == Observer::Larger);
        world.met.smaller += u64::from(observer == Observer::Smaller);
        world.start_all();
        world
    }

    /// Tells this run apart from others.
    pub(crate) fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Something happened to a server.
    pub(crate) fn say(&mut self, at: usize, what: &str) {
        let words = [at as i64, what.len() as i64];
        self.trace.note(self.now, &words, || format!("server {} {what}", at + 1));
    }

    /// Something happened.
    pub(crate) fn note(&mut self, what: &str) {
        self.trace.note(self.now, &[-1, what.len() as i64], || what.to_owned());
    }

    /// Anything may break.
    pub(crate) fn safety(&mut self) {
        let mut rounds = 0;
        while rounds < ROUNDS.start || !self.has_met_enough() {
            rounds += 1;
            assert!(rounds < ROUNDS.end, "too little happens: {}", self.states());
            if rounds % IMPROVE == 0 {
                self.weather.improve();
            }
            self.fault();
            if self.reconfig && rounds % RESCUE == 0 {
                self.rescue();
            }
            if rounds % HURRY == 0 && self.met.acknowledged >= WRITES {
                self.hurry();
            }
            self.round(true);
        }
    }

    /// In weather that is too good, whoever leads is switched off.
    fn hurry(&mut self) {
        let leads = |node: &Node| node.up && node.peer.state() == State::Leading;
        if let Some(at) = self.nodes.iter().position(leads) {
            self.end(at, End::PowerOff);
        }
    }

    fn has_met_enough(&self) -> bool {
        let met = &self.met;
        met.acknowledged >= WRITES
            && met.reigns >= REIGNS
            && met.truncations + met.snapshots > 0
            && met.faults() >= FAULTS
            && (!self.reconfig || met.in_force >= CHANGES)
    }

    fn states(&self) -> String {
        let nodes = self.nodes.iter().map(|node| {
            format!(
                "\n{}: up {} {:?} serving {} leader {:?} epochs {:?} tree {} history {:?} config {:x} {:x?} {}",
                node.id.0,
                node.up,
                node.peer.state(),
                node.peer.is_serving(),
                node.peer.leader(),
                node.peer.epochs(),
                node.peer.tree().last_zxid(),
                node.last,
                node.peer.config().version(),
                node.peer.quorums().pending().map(|config| Members::parse(config.text())),
                node.storage_state(),
            )
        });
        let clients = self.clients.iter().map(|client| {
            format!("\nclient of {:?} waits for {:?}", client.at, client.asked.front())
        });
        let (version, config) = self.agreement.in_force();
        let config = format!("\nin force: {version} {config:?}");
        nodes.chain(clients).chain([config]).collect()
    }

    // One round.

    fn round(&mut self, asking: bool) {
        self.now += self.rng.below(8);
        let n = self.nodes.len();
        let first = self.rng.below(n as u64) as usize;
        for i in 0..n {
            let at = (first + i) % n;
            if self.nodes[at].up && self.nodes[at].paused_until <= self.now {
                self.turn(at);
            }
        }
        self.connections.retain(|connection| !connection.is_over());
        self.note_overlap();
        for c in 0..self.clients.len() {
            self.client(c, asking);
        }
        self.count_changes();
    }

    /// Notes whether there are two leaders.
    fn note_overlap(&mut self) {
        let leaders = self.nodes.iter().filter(|node| {
            node.up && node.peer.state() == State::Leading && node.peer.is_serving()
        });
        if leaders.count() > 1 {
            self.overlap = self.step;
        }
    }

    /// Counts reconfigurations that have come into force.
    fn count_changes(&mut self) {
        for (before, after, own) in core::mem::take(&mut self.agreement.changes) {
            let (old, new) = (&self.agreement.configs[&before], &self.agreement.configs[&after]);
            let ids = (1..=self.nodes.len() as i64).map(ServerId);
            for id in ids {
                let met = &mut self.met;
                met.joined += u64::from(!old.has(id) && new.has(id));
                met.left += u64::from(old.has(id) && !new.has(id));
                let both = old.has(id) && new.has(id);
                met.role_changed += u64::from(both && old.votes(id) != new.votes(id));
            }
            self.met.in_force += 1;
            self.met.adopted += u64::from(!own);
            let leader = self.agreement.leader(after.epoch());
            self.met.leader_left += u64::from(leader.is_some_and(|id| !new.votes(id)));
            let what = format!("in force: {after} {:?}", new.0.keys());
            self.note(&what);
        }
    }

    fn now_of(&self, at: usize) -> Now {
        self.nodes[at].now(self.now)
    }

    fn turn(&mut self, at: usize) {
        self.tick(at);
        self.hear(at);
        self.reign(at);
        // What a configuration that changes has on the disk comes before all that follows from it.
        if !self.note_config(at) {
            return;
        }
        if self.nodes[at].disk_busy_until <= self.now {
            for _ in 0..1 + self.rng.below(4) {
                if !self.disk(at) || !self.note_config(at) {
                    break;
                }
            }
            if !self.nodes[at].up {
                return;
            }
        }
        self.reign(at);
        if !self.note_config(at) {
            return;
        }
        self.dial(at);
        self.send(at);
        self.check(at);
    }

    /// Writes down what configurations a server has. `false`: it is not up any more.
    fn note_config(&mut self, at: usize) -> bool {
        if !self.nodes[at].up {
            return false;
        }
        if self.reconfig {
            // A server that goes while it writes that down has it in force when it comes back.
            self.enforced(at);
        }
        match self.nodes[at].note_config() {
            None => return true,
            Some(Did::Full) => {
                self.say(at, "cannot write down its configuration");
                self.end(at, End::Killed);
            }
            Some(_) => self.end(at, End::PowerOff),
        }
        false
    }

    fn tick(&mut self, at: usize) {
        let now = self.now_of(at);
        if self.nodes[at].peer.poll_timeout().is_none_or(|due| due > now.monotonic) {
            return;
        }
        let leads = self.nodes[at].peer.state() == State::Leading;
        let closing = |peer: &Peer<'_>| -> Vec<(SessionId, u32)> {
            let sessions = peer.sessions();
            let all = sessions.iter().filter(|session| sessions.is_closing(session.id()));
            all.map(|session| (session.id(), session.timeout())).collect()
        };
        let before = if leads { closing(&self.nodes[at].peer) } else { vec![] };
        self.nodes[at].peer.tick(now);
        if !leads {
            return;
        }
        for (id, timeout) in closing(&self.nodes[at].peer) {
            // What waited for a follower may go on now: that a client closes its session, too.
            if before.iter().any(|(known, _)| *known == id) || self.agreement.is_ending(id) {
                continue;
            }
            let heard = self.heard[at].get(&id.0).copied().unwrap_or(self.leads_since[at]);
            let silent = now.monotonic.0 - heard;
            assert!(
                silent >= u64::from(timeout),
                "session {id} expires after {silent} ms, not {timeout}"
            );
            self.agreement.may_end(id);
            self.met.expired += 1;
        }
    }

    /// Whether a node has begun to lead.
    fn reign(&mut self, at: usize) {
        let node = &self.nodes[at];
        if node.peer.state() != State::Leading || !node.peer.is_serving() {
            return;
        }
        if self.agreement.lead(node) {
            let (epoch, last) = (node.peer.epochs().current, node.last);
            self.heard[at].clear();
            self.leads_since[at] = self.now_of(at).monotonic.0;
            self.met.reigns += 1;
            self.say(at, &format!("leads epoch {}, with a history that ends at {last}", epoch.0));
        }
    }

    fn disk(&mut self, at: usize) -> bool {
        let now = self.now_of(at);
        let did = self.nodes[at].disk_step(now, &mut self.rng);
        let mut goes_on = self.did(at, did);
        while let Some(did) = self.nodes[at].did_too() {
            goes_on = self.did(at, did);
        }
        goes_on
    }

    /// What a step of a storage did. `false`: there is no other for now.
    fn did(&mut self, at: usize, did: Did) -> bool {
        match did {
            Did::Nothing => return false,
            Did::Something => {}
            Did::Appended(entries) => {
                for (zxid, txn) in entries {
                    let node = &mut self.nodes[at];
                    let last = core::mem::replace(&mut node.last, zxid);
                    self.agreement.append(node.id, last, zxid, &txn);
                }
            }
            Did::Synced(zxids) => {
                for zxid in zxids {
                    self.agreement.durable(self.nodes[at].id, zxid);
                }
            }
            Did::Begins(epoch) => self.agreement.begins(&self.nodes[at], epoch),
            Did::Epochs => self.agreement.epochs(self.nodes[at].id, self.nodes[at].epochs),
            Did::Truncated(zxid) => {
                self.met.truncations += 1;
                self.say(at, &format!("cuts its history behind {zxid}"));
                self.rewritten(at, zxid);
            }
            Did::Installed(zxid) => {
                self.met.snapshots += 1;
                self.say(at, &format!("installs the snapshot {zxid}"));
                self.rewritten(at, zxid);
            }
            Did::ReadAgain(zxid) => self.rewritten(at, zxid),
            Did::Failed => {
                self.end(at, End::PowerOff);
                return false;
            }
            Did::Full => {
                self.say(at, "has no room on its disk");
                self.met.full_stops += 1;
                self.end(at, End::Killed);
                return false;
            }
        }
        true
    }

    /// The history of a node ends there now.
    fn rewritten(&mut self, at: usize, zxid: Zxid) {
        let last = self.agreement.transaction(zxid);
        let node = &mut self.nodes[at];
        node.last = last;
        node.synced = last;
        self.agreement.durable(node.id, last);
    }

    // What must always hold.

    fn check(&mut self, at: usize) {
        self.recovered(at);
        let node = &mut self.nodes[at];
        let stopped = matches!(node.peer.state(), State::Stopped(_));
        let room = node.peer.tree().room();
        assert!(!stopped, "server {} has stopped; there is room for {room:?}", at + 1);
        let differed = node.peer.stats().digest_mismatches;
        assert_eq!(differed, node.differed, "server {}", at + 1);
        let zxid = node.peer.tree().last_zxid();
        if node.seen != zxid {
            self.shown(at, zxid);
        }
        if self.reconfig {
            self.check_config(at);
        }
        self.check_marks(at);
    }

    /// A server has the tree as of that zxid, and perhaps shows it to clients.
    fn shown(&mut self, at: usize, zxid: Zxid) {
        let node = &mut self.nodes[at];
        self.agreement.digest(node.id, zxid, node.peer.tree().digest());
        if node.peer.is_serving() {
            node.seen = zxid;
            let (id, last) = (node.id, node.last);
            assert!(
                self.agreement.transaction(zxid) <= last,
                "server {} shows {zxid}, and its log ends at {last}",
                id.0
            );
            self.agreement.commit(id, zxid);
        }
    }

    /// The configuration that a server has in force, which only grows, was committed. Its zxid; zero is
    /// the first one's.
    fn enforced(&mut self, at: usize) -> Zxid {
        let node = &mut self.nodes[at];
        let version = node.peer.config().version();
        assert!(
            version >= node.version,
            "server {} goes back to configuration {version:x}",
            at + 1
        );
        let changed = version > node.version;
        node.version = version;
        let made = if Zxid(version).counter() == 0 { Zxid::ZERO } else { Zxid(version) };
        if made == Zxid::ZERO {
            self.first = self.first.max(version);
        }
        if changed {
            let node = &self.nodes[at];
            // It is in force: so it is committed, even if nobody is shown that.
            self.agreement.commit(node.id, made);
            let (members, _) = Members::parse(node.peer.config().text());
            assert_eq!(members, self.agreement.configs[&made], "server {}", at + 1);
        }
        made
    }

    /// The configuration of a server is the one that it shows.
    fn check_config(&mut self, at: usize) {
        let made = self.enforced(at);
        let node = &self.nodes[at];
        if !node.peer.is_serving() {
            return;
        }
        let tree = node.peer.tree();
        let latest = self.agreement.latest(tree.last_zxid());
        // What an operator has told a new server stays in force until a reconfiguration is that came to it
        // before it served.
        let told = made == Zxid::ZERO && node.peer.quorums().pending().is_some();
        assert!(
            made >= latest || told,
            "server {} has the configuration {made} with a tree as of {}",
            at + 1,
            tree.last_zxid()
        );
        // A later one that is proposed tells of a commit before the tree has it.
        let mut room = [0; 1024];
        let shown = tree.find(b"/zookeeper/config").unwrap();
        let (members, version) = Members::parse(tree.copy_data(shown, &mut room).unwrap());
        assert_eq!(tree.stat(shown).mzxid, Zxid(version), "server {}", at + 1);
        let shown = if Zxid(version).counter() == 0 { Zxid::ZERO } else { Zxid(version) };
        // Of several that it was told so one after the other, it shows one.
        let between = latest < shown && shown <= made && self.agreement.is_committed(shown);
        assert!(
            shown == latest || shown == made || between,
            "server {} shows {shown}, has {made} and a tree as of {}",
            at + 1,
            tree.last_zxid()
        );
        if told && shown == Zxid::ZERO {
            return;
        }
        assert_eq!(members, self.agreement.configs[&shown], "server {}", at + 1);
    }
}
