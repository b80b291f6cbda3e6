//! The world: time, the network, clients; who does what, and when.

mod healed;

use core::net::{IpAddr, Ipv4Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zk_core::id::{ServerId, SessionId, Zxid};
use zk_core::memory::Full;
use zk_core::peer::{Dialect, Link, Peer, State};
use zk_core::quorum::Port;
use zk_core::time::Now;
use zk_core::wire::quorum::Kind;
use zk_core::wire::{Code, OpCode};
use zk_std::store::simulated::Rng;

use super::apache;
use super::check::{self, Agreement};
use super::client::{self, Client, Learned, Request};
use super::config::{self, Members};
use super::faults::{End, Weather};
use super::history::{History, Told};
use super::met::Met;
use super::net::Connection;
use super::node::storage::Did;
use super::node::{Node, Size, address};
use super::small::{Limits, Observer};
use super::tap::{About, Message};
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

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from][to] || self.clogged[from] || self.clogged[to]
    }

    fn dial(&mut self, at: usize) {
        let now = self.now_of(at);
        while let Some(dial) = self.nodes[at].peer.poll_dial(now) {
            let to = dial.server.0 as usize - 1;
            if !self.nodes[to].up || self.is_cut(at, to) || self.is_cut(to, at) {
                self.nodes[at].peer.connect_failed(now, dial.link);
                continue;
            }
            let arrives = self.now + self.rng.below(self.delay + 1);
            let mut connection = Connection::new((at, dial.link), to, dial.port, arrives);
            if self.apache == Some(at) && dial.port == Port::Quorum {
                connection.apache = Some(apache::Learner::new());
            }
            self.nodes[at].peer.connected(dial.link);
            self.connections.push(connection);
        }
    }

    /// Hands what has arrived to a node.
    fn hear(&mut self, at: usize) {
        let now = self.now_of(at);
        for c in 0..self.connections.len() {
            let from = self.connections[c].ends[0].node;
            if let Some(arrives) = self.connections[c].arrives_at
                && self.connections[c].ends[1].node == at
                && arrives <= self.now
                && !self.is_cut(from, at)
            {
                let port = self.connections[c].port;
                self.connections[c].arrives_at = None;
                // Servers take connections from where members are, and from nowhere else.
                let peer = &mut self.nodes[at].peer;
                let known = peer.quorums().knows(ServerId(from as i64 + 1));
                let accepted = known.then(|| peer.accept(now, port, address(from as u8 + 1)));
                match accepted.unwrap_or(Err(Full)) {
                    Ok(link) => self.connections[c].ends[1].link = Some(link),
                    Err(_) => {
                        let heard = self.now + self.rng.below(self.delay + 1);
                        self.connections[c].ends[0].broken_at.get_or_insert(heard);
                    }
                }
            }
            for side in 0..2 {
                if self.connections[c].ends[side].node == at {
                    self.hear_end(c, side, now);
                }
            }
        }
    }

    fn hear_end(&mut self, c: usize, side: usize, now: Now) {
        let (here, there) =
            (self.connections[c].ends[side].node, self.connections[c].ends[1 - side].node);
        let cut = self.is_cut(there, here);
        let end = &mut self.connections[c].ends[side];
        let Some(link) = end.link else { return };
        while !cut && end.coming.front().is_some_and(|(due, _)| *due <= self.now) {
            let (_, bytes) = end.coming.pop_front().unwrap();
            end.arrived.extend_from_slice(&bytes);
        }
        let broken = end.broken_at.is_some_and(|due| due <= self.now);
        // What had arrived before the end is still read, if it is read soon.
        if !end.blocked && !end.arrived.is_empty() && (end.arrived.len() >= end.need || broken) {
            let arrived = core::mem::take(&mut end.arrived);
            // What comes on a link that is over is thrown away.
            let closing = self.nodes[here].peer.member_is_closing(link);
            let before = self.nodes[here].peer.member_channel(link);
            let received = self.nodes[here].peer.hear(now, link, &arrived);
            let end = &mut self.connections[c].ends[side];
            end.arrived = arrived[received.consumed..].to_vec();
            end.blocked = received.need == 0;
            end.need = received.need.max(1);
            let after = self.nodes[here].peer.member_channel(link);
            for (channel, message) in end.take(received.consumed) {
                let over = channel.is_some() && channel != before && channel != after;
                if !closing && !over {
                    self.heard(here, now, &message);
                }
            }
        }
        let end = &mut self.connections[c].ends[side];
        if broken && (end.coming.is_empty() || self.rng.below(4) == 0) {
            end.link = None;
            self.nodes[here].peer.member_closed(now, link);
        }
    }

    /// A node has taken a message.
    fn heard(&mut self, at: usize, now: Now, message: &Message) {
        check::heard(&mut self.nodes[at], message);
        let Message::Packet { kind, about, .. } = message else { return };
        if self.nodes[at].peer.state() != State::Leading {
            return;
        }
        match about {
            About::Request(op, session) if *op == OpCode::CreateSession.0 => {
                self.heard[at].insert(session.0, now.monotonic.0);
            }
            About::Sessions(all) if matches!(*kind, Kind::Ping | Kind::Revalidate) => {
                for (session, _) in all {
                    self.heard[at].insert(session.0, now.monotonic.0);
                }
            }
            _ => {}
        }
    }

    /// Sends what a node has to say to others.
    fn send(&mut self, at: usize) {
        let now = self.now_of(at);
        while let Some(link) = self.nodes[at].peer.poll_member(now) {
            let found = self.connections.iter().enumerate().find_map(|(c, connection)| {
                let here = |side: &usize| {
                    let end = &connection.ends[*side];
                    end.node == at && end.link == Some(link)
                };
                (0..2).find(here).map(|side| (c, side))
            });
            let Some((c, side)) = found else {
                // One that is not wanted any more, and was not there yet.
                if self.nodes[at].peer.member_is_closing(link) {
                    self.nodes[at].peer.member_closed(now, link);
                }
                continue;
            };
            let output = self.nodes[at].peer.member_output(link).to_vec();
            // A socket may take less than there is.
            let n = match output.len() as u64 {
                len if len > 0 && self.rng.below(8) == 0 => 1 + self.rng.below(len) as usize,
                len => len as usize,
            };
            let delay = self.rng.below(self.delay + 1);
            if n > 0 {
                self.transmit(c, side, &output[..n], delay);
                self.nodes[at].peer.member_sent(now, link, n);
            }
            self.connections[c].ends[side].blocked = false;
            if self.nodes[at].peer.member_is_closing(link)
                && self.nodes[at].peer.member_output(link).is_empty()
            {
                self.connections[c].ends[side].link = None;
                let heard = self.now + delay;
                let other = &mut self.connections[c].ends[1 - side];
                if !other.half_open {
                    other.broken_at.get_or_insert(heard);
                }
                self.nodes[at].peer.member_closed(now, link);
            }
        }
    }

    fn transmit(&mut self, c: usize, side: usize, bytes: &[u8], delay: u64) {
        let Some(learner) = &mut self.connections[c].apache else {
            self.carry(c, side, bytes, delay);
            return;
        };
        let bytes = match side {
            0 => learner.says(bytes),
            _ => learner.takes(bytes, &mut self.met),
        };
        self.carry(c, side, &bytes, delay);
    }

    /// Puts bytes on their way.
    fn carry(&mut self, c: usize, side: usize, bytes: &[u8], delay: u64) {
        let (from, to) =
            (self.connections[c].ends[side].node, self.connections[c].ends[1 - side].node);
        let other = &mut self.connections[c].ends[1 - side];
        let said = other.tap.listen(bytes);
        other.messages.extend(said.iter().cloned());
        // In order, whatever the delay.
        let last = other.coming.back().map_or(0, |(due, _)| *due);
        let due = last.max(self.now + delay);
        if other.broken_at.is_none() && other.link.is_some()
            || self.connections[c].arrives_at.is_some()
        {
            self.connections[c].ends[1 - side].coming.push_back((due, bytes.to_vec()));
        }
        let end = &mut self.connections[c].ends[side];
        if end.half_open {
            // Nobody is there to take it, and says so.
            end.broken_at.get_or_insert(self.now + 2 * delay + 1);
        }
        for (_, channel, message) in said {
            self.met.messages += 1;
            self.met.carried += u64::from(channel.is_some());
            let [a, b, c, d] = message.words();
            self.trace.note(self.now, &[from as i64, to as i64, a, b, c, d], || {
                format!("{} -> {}: {message}", from + 1, to + 1)
            });
            let closer = check::said(&self.nodes[from], &message);
            // Who has lost its promises makes none that count.
            if let Message::Packet { kind: Kind::AckEpoch, about: About::Epoch(epoch), .. } =
                message
                && epoch != -1
                && (from < self.voters || self.reconfig)
                && !self.nodes[from].ill
            {
                self.agreement.promise(&self.nodes[from]);
            }
            // What is rotten is found out at the next start.
            if let Some((zxid, epoch)) = closer
                && !self.nodes[from].ill
                && self.rng.below(if self.agreement.is_config(zxid) { 4 } else { 200 }) == 0
            {
                self.met.probed += 1;
                let seed = self.rng.next_u64();
                let left = self.nodes[from].after_crash(seed);
                let Some((last, epochs, config)) = left else { continue };
                let latest = self.agreement.latest(zxid);
                // What an operator has told a new server counts until one is in force that came to it.
                let told = self.nodes[from].peer.config().version() == 0;
                assert!(
                    last >= zxid
                        && epochs.current >= epoch
                        && (!self.reconfig || told || config >= latest.0),
                    "server {} has acknowledged {zxid} and epoch {}, and a crash leaves {last}, \
                     {epochs:?} and the configuration {}",
                    from + 1,
                    epoch.0,
                    Zxid(config)
                );
            }
        }
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

    // Clients.

    pub(crate) fn lose_clients(&mut self, at: usize) {
        for c in 0..self.clients.len() {
            if self.clients[c].at.is_some_and(|(node, ..)| node == at) {
                self.lose(c);
            }
        }
    }

    /// A client has no connection any more.
    fn lose(&mut self, c: usize) {
        let lost = self.clients[c].disconnected();
        self.history.lost.extend(lost);
    }

    fn client(&mut self, c: usize, asking: bool) {
        let Some((at, _, link)) = self.clients[c].at else {
            if asking && self.rng.below(4) == 0 {
                self.connect(c);
            }
            return;
        };
        if self.nodes[at].paused_until > self.now {
            return;
        }
        let now = self.now_of(at);
        // Sometimes it leaves without a word; its server may not even notice.
        if asking && self.rng.below(300) == 0 {
            if self.rng.coin() {
                self.nodes[at].peer.closed(now, link);
            }
            self.lose(c);
            self.met.moved += 1;
            return;
        }
        let limits = self.nodes[at].size.limits;
        let client = &mut self.clients[c];
        if client.is_open() && !client.is_closing() {
            let floor = self.acknowledged.last().copied().unwrap_or_default();
            if asking {
                for _ in 0..self.rng.below(3) {
                    if !client.has_room() {
                        break;
                    }
                    self.step += 1;
                    if self.rng.below(200) == 0 {
                        self.agreement.may_end(client.session);
                        client.ask(Request::Close, (self.step, floor));
                        break;
                    }
                    let request = if self.reconfig && self.rng.below(40) == 0 {
                        let (version, config) = self.agreement.in_force();
                        let version = version.0.max(self.first);
                        let servers = self.nodes.len() as i64;
                        match self.rng.below(3) {
                            0 => Request::Config,
                            _ => config::anything(
                                &mut self.rng,
                                (config, version),
                                servers,
                                self.fewest,
                            ),
                        }
                    } else {
                        client::anything(&mut self.rng, self.registers)
                    };
                    let request = match limits {
                        Some(limits) => client
                            .within(request, limits.watches_each(CLIENTS))
                            .with_lists(&mut self.more),
                        None => request,
                    };
                    client.ask(request, (self.step, floor));
                }
            } else if client.asked.is_empty() && self.rng.below(40) == 0 {
                // Just to keep the session.
                self.step += 1;
                let request = Request::Get { path: "/".to_owned(), watch: false };
                client.ask(request, (self.step, floor));
            }
        }
        let input = core::mem::take(&mut client.input);
        let open = client.is_open() && !self.nodes[at].peer.is_closing(link);
        let session = client.session;
        let received = self.nodes[at].peer.receive(now, link, &input);
        self.clients[c].input = input[received.consumed..].to_vec();
        if open && received.consumed > 0 {
            self.heard[at].insert(session.0, now.monotonic.0);
        }
        self.deliver(at, now);
    }

    /// Whether a client has a session, and nothing under way.
    pub(crate) fn is_idle(&self, c: usize) -> bool {
        let client = &self.clients[c];
        client.is_open() && !client.is_closing() && client.asked.is_empty()
    }

    /// A client asks something.
    pub(crate) fn ask(&mut self, c: usize, request: Request) {
        self.step += 1;
        let floor = self.acknowledged.last().copied().unwrap_or_default();
        self.clients[c].ask(request, (self.step, floor));
    }

    /// Whether a client has a connection.
    pub(crate) fn has_client(&self, c: usize) -> bool {
        self.clients[c].at.is_some()
    }

    pub(crate) fn connect(&mut self, c: usize) {
        let at = self.rng.below(self.nodes.len() as u64) as usize;
        if !self.nodes[at].up || self.nodes[at].paused_until > self.now {
            return;
        }
        let now = self.now_of(at);
        if let Ok(link) = self.nodes[at].peer.open(now, LOCALHOST) {
            let life = self.nodes[at].life;
            let stream = self.history.open();
            self.step += 1;
            let floor = self.acknowledged.last().copied().unwrap_or_default();
            self.clients[c].connected((at, life, link), stream, (self.step, floor), &mut self.rng);
        }
    }

    /// Hands what a node has for its clients to them.
    fn deliver(&mut self, at: usize, now: Now) {
        while let Some(link) = self.nodes[at].peer.poll_link() {
            let bytes = self.nodes[at].peer.output(link).to_vec();
            self.nodes[at].peer.sent(now, link, bytes.len());
            self.told(at, link, &bytes);
            if self.nodes[at].peer.is_closing(link) && self.nodes[at].peer.output(link).is_empty() {
                self.nodes[at].peer.closed(now, link);
                if let Some(c) = self.client_at(at, link) {
                    if !self.clients[c].is_open() {
                        self.count_crowded(at);
                    }
                    self.lose(c);
                }
            }
        }
    }

    fn client_at(&self, at: usize, link: Link) -> Option<usize> {
        let here = Some((at, self.nodes[at].life, link));
        self.clients.iter().position(|client| client.at == here)
    }

    fn told(&mut self, at: usize, link: Link, bytes: &[u8]) {
        let Some(c) = self.client_at(at, link) else { return };
        let stream = self.clients[c].stream;
        let session = self.clients[c].session;
        for learned in self.clients[c].take(bytes) {
            self.step += 1;
            match learned {
                Learned::Opened(id, timeout) => {
                    let (min, max) = (2 * super::node::TICK, 20 * super::node::TICK);
                    assert!((min as i32..=max as i32).contains(&timeout), "timeout {timeout}");
                    let now = self.now_of(at);
                    self.heard[at].insert(id.0, now.monotonic.0);
                    if session == SessionId::NONE {
                        self.met.sessions += 1;
                    } else {
                        self.met.returned += 1;
                    }
                }
                Learned::Expired(id) => {
                    // A leader that is cut off, and does not know yet that others lead, does not know their
                    // sessions either (nor does Apache's).
                    let peer = &self.nodes[at].peer;
                    let epoch = peer.epochs().current;
                    let outdated = peer.state() == State::Leading
                        && self.nodes.iter().any(|node| node.peer.epochs().current > epoch);
                    assert!(
                        self.agreement.is_ending(id) || outdated,
                        "session {id} is said to be over, and nobody has ended it"
                    );
                }
                Learned::Reply(asked, header, body) => {
                    self.answered(&asked, header.zxid, header.err);
                    let step = self.step;
                    self.history.tell(stream, Told::Reply { session, asked, header, body, step });
                }
                Learned::Event(zxid, kind, path) => {
                    self.history.tell(stream, Told::Event { zxid, kind, path });
                }
            }
        }
    }

    /// A request was answered: what had been answered before it was asked came before it.
    fn answered(&mut self, asked: &client::Asked, zxid: Zxid, err: Code) {
        assert!(self.agreement.is_committed(zxid), "{zxid} was seen, and is not committed");
        match (&asked.request, err) {
            (Request::Config, _) => self.met.shown += 1,
            (Request::Reconfig { .. }, Code::BadVersion) => self.met.bad_version += 1,
            (Request::Reconfig { .. }, Code::NewConfigNoQuorum) => self.met.no_quorum += 1,
            (Request::Reconfig { .. }, Code::ReconfigInProgress) => self.met.in_progress += 1,
            _ => {}
        }
        self.count_full(asked, err);
        let ok = err == Code::Ok;
        if asked.request.writes() {
            assert!(zxid > asked.floor, "{zxid} was asked for after {} was answered", asked.floor);
            self.acknowledged.insert(zxid);
            if ok {
                self.met.acknowledged += 1;
            } else {
                self.met.failed += 1;
            }
            return;
        }
        self.met.read += 1;
        if matches!(asked.request, Request::Sync(_)) {
            self.met.synced += 1;
            // It may have been asked and answered in one moment.
            self.note_overlap();
            assert!(
                zxid >= asked.floor || asked.at <= self.overlap,
                "a sync at {zxid} does not show {}",
                asked.floor
            );
        }
    }
}
