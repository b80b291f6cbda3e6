//! The world: time, network, faults, and what must always hold.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeMap;

use zk_core::id::{Epoch, ServerId, Zxid};
use zk_core::memory::Handle;
use zk_core::peer::{Link, Peer, State};
use zk_core::time::Now;
use zk_core::tree::DataTree;
use zk_core::wire::OpCode;
use zk_std::store::simulated::Rng;

use super::client::{Client, Learned};
use super::net::Connection;
use super::node::{Did, Node, address};

/// Rounds of the safety phase.
const ROUNDS: usize = 2500;
/// Milliseconds in which a healed ensemble must agree.
const HEAL: u64 = 20_000;
/// Milliseconds of it in which clients go on asking.
const BUSY: u64 = 2000;
const CLIENTS: usize = 4;

macro_rules! met {
    ($($name:ident: $what:literal,)*) => {
        /// What was met, so that nothing is tested in name only.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Met {
            $(pub(crate) $name: u64,)*
        }

        impl Met {
            pub(crate) fn plus(&self, other: &Self) -> Self {
                Self { $($name: self.$name + other.$name,)* }
            }

            pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
                vec![$(($what, self.$name),)*]
            }
        }
    };
}

met! {
    acknowledged: "acknowledged writes",
    reigns: "reigns",
    crashes: "crashes",
    power_cuts: "power cuts",
    failed_syncs: "failed syncs",
    breaks: "broken connections",
    cuts: "cuts of the network",
    pauses: "pauses of a process",
    slow_disks: "slow disks",
    truncations: "TRUNC",
    snapshots: "SNAP",
    expired: "expired sessions",
    moved: "sessions that moved",
}

pub(crate) struct World {
    rng: Rng,
    now: u64,
    nodes: Vec<Node>,
    connections: Vec<Connection>,
    /// Cut links, by node: from, to.
    cut: Vec<Vec<bool>>,
    delay: u64,
    clients: Vec<Client>,
    /// Every transaction that was ever handed to a disk.
    txns: BTreeMap<Zxid, Vec<u8>>,
    /// The transaction before each, in every history that has it; and the last one before each
    /// reign, by the zxid that a leader shows before it has proposed anything.
    before: BTreeMap<Zxid, Zxid>,
    /// Digests of trees, by zxid.
    digests: BTreeMap<Zxid, i64>,
    leaders: BTreeMap<Epoch, ServerId>,
    acknowledged: BTreeMap<Zxid, u64>,
    /// The highest zxid of an acknowledged write.
    newest: Zxid,
    trace: bool,
    pub(crate) met: Met,
}

/// Everything that members must agree on.
#[derive(Debug, PartialEq)]
struct Picture {
    nodes: BTreeMap<Vec<u8>, String>,
    sessions: BTreeMap<i64, i32>,
}

fn picture(peer: &Peer<'_>) -> Picture {
    fn visit(tree: &DataTree<'_>, at: Handle, out: &mut Picture) {
        let mut room = [0; 512];
        let path = tree.path_of(at, &mut room).unwrap().to_vec();
        if !path.starts_with(b"/zookeeper/config") {
            let (mut data, mut acl) = (vec![], vec![]);
            tree.put_data(at, &mut data).unwrap();
            tree.put_acl(at, &mut acl).unwrap();
            out.nodes.insert(path, format!("{data:x?} {acl:x?} {:?}", tree.stat(at)));
        }
        for child in tree.children(at) {
            visit(tree, child, out);
        }
    }
    let sessions = peer.sessions().applied().map(|s| (s.id.0, s.timeout)).collect();
    let mut out = Picture { nodes: BTreeMap::new(), sessions };
    let tree = peer.tree();
    visit(tree, tree.find(b"/").unwrap(), &mut out);
    out
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let count = if rng.below(4) == 0 { 5 } else { 3 };
        let observers = rng.below(2);
        let members = count + observers;
        let config: String = (1..=members)
            .map(|n| {
                let role = if n > count { "observer" } else { "participant" };
                format!("server.{n}=10.0.0.{n}:2888:3888:{role}\n")
            })
            .collect::<String>()
            + "version=0";
        let nodes = (1..=members)
            .map(|n| Node::new(ServerId(n as i64), &config, Now::new(0, 0), seed * 100 + n))
            .collect::<Vec<_>>();
        let n = nodes.len();
        Self {
            rng,
            now: 0,
            nodes,
            connections: vec![],
            cut: vec![vec![false; n]; n],
            delay: 3,
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            txns: BTreeMap::new(),
            before: BTreeMap::new(),
            digests: BTreeMap::new(),
            leaders: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            newest: Zxid::ZERO,
            trace: std::env::var("ZK_SIM_TRACE").is_ok(),
            met: Met::default(),
        }
    }

    fn now_of(&self, node: usize) -> Now {
        Now::new(self.now, self.now as i64 + self.nodes[node].wall_skew)
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>7} {}", self.now, what());
        }
    }

    pub(crate) fn safety(&mut self) {
        for _ in 0..ROUNDS {
            self.fault();
            self.round(true);
        }
    }

    /// Everything is healed; the ensemble must agree.
    pub(crate) fn liveness(&mut self) {
        self.say(|| "healing".into());
        for row in &mut self.cut {
            row.fill(false);
        }
        self.delay = 3;
        for at in 0..self.nodes.len() {
            self.nodes[at].paused_until = 0;
            self.nodes[at].disk_busy_until = 0;
            self.nodes[at].disk.fail_syncs(0);
            self.nodes[at].disk.cut_power_after(u64::MAX);
            if !self.nodes[at].up {
                self.restart(at);
            }
        }
        let (busy, until) = (self.now + BUSY, self.now + HEAL);
        while self.now < until {
            self.round(self.now < busy);
            if self.now >= busy && self.is_settled() {
                break;
            }
        }
        assert!(self.is_settled(), "after healing there is no agreement: {}", self.states());
        self.agree();
    }

    fn states(&self) -> String {
        self.nodes
            .iter()
            .map(|node| {
                format!(
                    "\n{}: {:?} serving {} leader {:?} epochs {:?} tree {} history {:?}",
                    node.id.0,
                    node.peer.state(),
                    node.peer.is_serving(),
                    node.peer.leader(),
                    node.peer.epochs(),
                    node.peer.tree().last_zxid(),
                    node.last,
                )
            })
            .collect()
    }

    fn is_settled(&self) -> bool {
        self.nodes.iter().all(|node| {
            node.up
                && node.peer.is_serving()
                && node.last == self.nodes[0].last
                && node.peer.outstanding() == 0
                && node.peer.tree().last_zxid() >= node.last
        }) && self.clients.iter().all(|client| client.asked.is_empty())
    }

    fn agree(&self) {
        // Every transaction has one predecessor, so the last one says them all.
        let mut history = vec![];
        let mut last = self.nodes[0].last;
        while last > Zxid::ZERO {
            history.push(last);
            last = self.before[&last];
        }
        history.reverse();
        let kept: std::collections::BTreeSet<_> = history.iter().collect();
        for (zxid, at) in &self.acknowledged {
            assert!(kept.contains(zxid), "{zxid} was acknowledged at {at}, and is lost");
        }
        let first = picture(&self.nodes[0].peer);
        for node in &self.nodes[1..] {
            assert_eq!(picture(&node.peer), first, "server {}", node.id.0);
        }
        // A replay from nothing gives the same tree.
        let mut reference = Peer::owned(
            zk_core::peer::Options { extended_types: true, ..Default::default() },
            zk_core::peer::Ceilings::default(),
            zk_core::tree::Seeds(1, 2),
            zk_core::id::SessionId(1),
            Now::new(0, 0),
        )
        .unwrap();
        for zxid in &history {
            reference.load_txn(&self.txns[zxid]).unwrap();
        }
        assert_eq!(picture(&reference), first);
    }

    // Faults.

    fn fault(&mut self) {
        let n = self.nodes.len() as u64;
        let at = self.rng.below(n) as usize;
        match self.rng.below(1000) {
            0..=2 if self.nodes[at].up => {
                self.met.crashes += 1;
                self.crash(at);
            }
            3..=14 if !self.nodes[at].up => self.restart(at),
            15..=16 if self.nodes[at].up => {
                let operations = self.rng.below(60);
                self.nodes[at].disk.cut_power_after(operations);
                self.met.power_cuts += 1;
            }
            17 => {
                self.nodes[at].disk.fail_syncs(1);
                self.met.failed_syncs += 1;
            }
            18..=21 if !self.connections.is_empty() => {
                let c = self.rng.below(self.connections.len() as u64) as usize;
                self.break_connection(c);
                self.met.breaks += 1;
            }
            22..=25 => {
                let other = self.rng.below(n) as usize;
                self.cut[at][other] = true;
                if self.rng.coin() {
                    self.cut[other][at] = true;
                }
                self.met.cuts += 1;
            }
            26..=27 => {
                // Everybody on one side loses everybody on the other.
                let side: Vec<bool> = (0..n).map(|_| self.rng.coin()).collect();
                for a in 0..n as usize {
                    for b in 0..n as usize {
                        self.cut[a][b] |= side[a] != side[b];
                    }
                }
                self.met.cuts += 1;
            }
            28..=39 => {
                for row in &mut self.cut {
                    row.fill(false);
                }
            }
            40..=41 => {
                self.nodes[at].paused_until = self.now + self.rng.below(3000);
                self.met.pauses += 1;
            }
            42..=44 => {
                self.nodes[at].disk_busy_until = self.now + self.rng.below(1500);
                self.met.slow_disks += 1;
            }
            45..=46 => self.delay = [1, 3, 3, 10, 40][self.rng.below(5) as usize],
            47 => self.nodes[at].wall_skew = self.rng.below(100_000) as i64 - 50_000,
            _ => {}
        }
    }

    fn crash(&mut self, at: usize) {
        self.say(|| format!("server {} crashes", at + 1));
        self.nodes[at].crash();
        for c in 0..self.connections.len() {
            for side in 0..2 {
                if self.connections[c].ends[side].node == at
                    && self.connections[c].ends[side].link.is_some()
                {
                    self.connections[c].ends[side].link = None;
                    let heard = self.now + self.rng.below(20);
                    self.connections[c].ends[1 - side].broken_at.get_or_insert(heard);
                    self.connections[c].arrives_at = None;
                }
            }
        }
        for client in &mut self.clients {
            if client.at.is_some_and(|(node, _, _)| node == at) {
                client.disconnected();
            }
        }
    }

    fn restart(&mut self, at: usize) {
        let now = self.now_of(at);
        let seed = self.rng.next_u64();
        let last = self.nodes[at].start(now, seed);
        self.nodes[at].last = self.transaction(last);
        self.say(|| format!("server {} starts, with {last}", at + 1));
    }

    /// The last transaction in a history that ends at `zxid`.
    fn transaction(&self, zxid: Zxid) -> Zxid {
        if zxid.counter() == 0 && zxid != Zxid::ZERO { self.before[&zxid] } else { zxid }
    }

    fn break_connection(&mut self, c: usize) {
        for side in 0..2 {
            let heard = self.now + self.rng.below(400);
            self.connections[c].ends[side].broken_at.get_or_insert(heard);
        }
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
        for c in 0..self.clients.len() {
            self.client(c, asking);
        }
    }

    fn turn(&mut self, at: usize) {
        let now = self.now_of(at);
        if self.nodes[at].peer.poll_timeout().is_some_and(|due| due <= now.monotonic) {
            let before = self.nodes[at].peer.stats().expired;
            self.nodes[at].peer.tick(now);
            self.met.expired += self.nodes[at].peer.stats().expired - before;
        }
        self.hear(at);
        if self.nodes[at].disk_busy_until <= self.now {
            for _ in 0..1 + self.rng.below(4) {
                if !self.disk(at) {
                    break;
                }
                if !self.nodes[at].up {
                    return;
                }
            }
        }
        self.dial(at);
        self.send(at);
        self.check(at);
    }

    fn disk(&mut self, at: usize) -> bool {
        let now = self.now_of(at);
        let did = self.nodes[at].disk_step(now, &mut self.rng);
        match did {
            Did::Nothing => return false,
            Did::Something => {}
            Did::Appended(entries) => {
                for (zxid, txn) in entries {
                    let known = self.txns.entry(zxid).or_insert_with(|| txn.clone());
                    assert_eq!(*known, txn, "two transactions with zxid {zxid}");
                    let last = core::mem::replace(&mut self.nodes[at].last, zxid);
                    let known = *self.before.entry(zxid).or_insert(last);
                    assert_eq!(known, last, "server {}: what comes before {zxid}", at + 1);
                }
            }
            Did::Truncated(zxid) => {
                self.met.truncations += 1;
                self.say(|| format!("server {} truncates to {zxid}", at + 1));
                self.nodes[at].last = self.transaction(zxid);
            }
            Did::Installed(zxid) => {
                self.met.snapshots += 1;
                self.say(|| format!("server {} installs snapshot {zxid}", at + 1));
                self.nodes[at].last = self.transaction(zxid);
            }
            Did::Failed => {
                self.crash(at);
                return false;
            }
        }
        true
    }

    fn dial(&mut self, at: usize) {
        let now = self.now_of(at);
        while let Some(dial) = self.nodes[at].peer.poll_dial(now) {
            let to = dial.server.0 as usize - 1;
            if !self.nodes[to].up || self.cut[at][to] || self.cut[to][at] {
                self.nodes[at].peer.connect_failed(now, dial.link);
                continue;
            }
            let arrives = self.now + self.rng.below(self.delay + 1);
            let life = self.nodes[at].life;
            let connection = Connection::new((at, dial.link, life), to, dial.port, arrives);
            self.nodes[at].peer.connected(now, dial.link);
            self.connections.push(connection);
        }
    }

    /// Hands what has arrived to a node.
    fn hear(&mut self, at: usize) {
        let now = self.now_of(at);
        for c in 0..self.connections.len() {
            if let Some(arrives) = self.connections[c].arrives_at
                && self.connections[c].ends[1].node == at
                && arrives <= self.now
            {
                let from = address(self.connections[c].ends[0].node as u8 + 1);
                let port = self.connections[c].port;
                self.connections[c].arrives_at = None;
                let life = self.nodes[at].life;
                match self.nodes[at].peer.accept(now, port, from) {
                    Ok(link) => {
                        self.connections[c].ends[1].link = Some(link);
                        self.connections[c].ends[1].life = life;
                    }
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
        let cut = self.cut[there][here];
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
            let received = self.nodes[here].peer.hear(now, link, &arrived);
            let end = &mut self.connections[c].ends[side];
            end.arrived = arrived[received.consumed..].to_vec();
            end.blocked = received.need == 0;
            end.need = received.need.max(1);
        }
        let end = &mut self.connections[c].ends[side];
        if broken && (end.coming.is_empty() || self.rng.below(4) == 0) {
            end.link = None;
            self.nodes[here].peer.member_closed(now, link);
        }
    }

    /// Sends what a node has to say to others.
    fn send(&mut self, at: usize) {
        let now = self.now_of(at);
        while let Some(link) = self.nodes[at].peer.poll_member(now) {
            let found = self.connections.iter().enumerate().find_map(|(c, connection)| {
                (0..2)
                    .find(|&side| {
                        let end = &connection.ends[side];
                        end.node == at && end.link == Some(link)
                    })
                    .map(|side| (c, side))
            });
            let Some((c, side)) = found else { continue };
            let output = self.nodes[at].peer.member_output(link).to_vec();
            // A socket may take less than there is.
            let n = if self.rng.below(8) == 0 {
                self.rng.below(output.len() as u64 + 1) as usize
            } else {
                output.len()
            };
            let delay = self.rng.below(self.delay + 1);
            let other = &mut self.connections[c].ends[1 - side];
            if n > 0 {
                // In order, whatever the delay.
                let last = other.coming.back().map_or(0, |(due, _)| *due);
                let due = last.max(self.now + delay);
                if other.broken_at.is_none() {
                    other.coming.push_back((due, output[..n].to_vec()));
                }
                self.nodes[at].peer.member_sent(now, link, n);
            }
            self.connections[c].ends[side].blocked = false;
            if self.nodes[at].peer.member_is_closing(link)
                && self.nodes[at].peer.member_output(link).is_empty()
            {
                self.connections[c].ends[side].link = None;
                let heard = self.now + delay;
                self.connections[c].ends[1 - side].broken_at.get_or_insert(heard);
                self.nodes[at].peer.member_closed(now, link);
            }
        }
    }

    // What must always hold.

    fn check(&mut self, at: usize) {
        let node = &self.nodes[at];
        assert!(!matches!(node.peer.state(), State::Stopped(_)), "server {} has stopped", at + 1);
        if node.peer.stats().digest_mismatches > 0 {
            for session in node.peer.sessions().iter() {
                println!("{session:?}");
            }
            for (zxid, txn) in self.txns.iter().rev().take(24) {
                println!("{zxid} {:?}", zk_core::wire::txn::Txn::decode(txn));
            }
        }
        assert_eq!(node.peer.stats().digest_mismatches, 0, "server {}", at + 1);
        let zxid = node.peer.tree().last_zxid();
        let digest = node.peer.tree().digest();
        let known = *self.digests.entry(zxid).or_insert(digest);
        assert_eq!(known, digest, "server {} has another tree at {zxid}", at + 1);
        if node.peer.state() == State::Leading && node.peer.is_serving() {
            let epoch = node.peer.epochs().current;
            let id = node.id;
            if !self.leaders.contains_key(&epoch) {
                self.met.reigns += 1;
                self.before.insert(Zxid::new(epoch, 0), node.last);
                self.say(|| format!("server {} leads epoch {}", id.0, epoch.0));
            }
            let leader = *self.leaders.entry(epoch).or_insert(id);
            assert_eq!(leader, id, "two leaders of epoch {}", epoch.0);
        }
    }

    // Clients.

    fn client(&mut self, c: usize, asking: bool) {
        if let Some((at, life, _)) = self.clients[c].at
            && (self.nodes[at].life != life || !self.nodes[at].up)
        {
            self.clients[c].disconnected();
        }
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
        // Sometimes it leaves without a word.
        if asking && self.rng.below(300) == 0 {
            self.nodes[at].peer.closed(now, link);
            self.clients[c].disconnected();
            self.met.moved += 1;
            return;
        }
        if asking && self.clients[c].is_open() && self.clients[c].asked.len() < 12 {
            for _ in 0..self.rng.below(3) {
                if self.rng.below(150) == 0 {
                    self.clients[c].ask(OpCode::CloseSession, b"", self.newest);
                    break;
                }
                self.clients[c].ask_something(&mut self.rng, self.newest);
            }
        } else if self.clients[c].is_open() && self.clients[c].asked.is_empty() {
            self.clients[c].ask_ping(self.newest, self.rng.below(40) == 0);
        }
        let input = core::mem::take(&mut self.clients[c].input);
        let received = self.nodes[at].peer.receive(now, link, &input);
        self.clients[c].input = input[received.consumed..].to_vec();
        self.deliver(at, now);
    }

    fn connect(&mut self, c: usize) {
        let at = self.rng.below(self.nodes.len() as u64) as usize;
        if !self.nodes[at].up || self.nodes[at].paused_until > self.now {
            return;
        }
        let now = self.now_of(at);
        if let Ok(link) = self.nodes[at].peer.open(now, IpAddr::V4(Ipv4Addr::LOCALHOST)) {
            let life = self.nodes[at].life;
            self.clients[c].connected(at, life, link, &mut self.rng);
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
                let life = self.nodes[at].life;
                for client in &mut self.clients {
                    if client.at == Some((at, life, link)) {
                        client.disconnected();
                    }
                }
            }
        }
    }

    fn told(&mut self, at: usize, link: Link, bytes: &[u8]) {
        let life = self.nodes[at].life;
        let Self { clients, acknowledged, met, now, newest, .. } = self;
        let Some(client) = clients.iter_mut().find(|client| client.at == Some((at, life, link)))
        else {
            return;
        };
        client.take(bytes, |learned| {
            if let Learned::Written(zxid, ok, asked) = learned {
                // Whoever asks after an answer is answered later.
                assert!(zxid > asked.after, "{zxid} was asked for after {}", asked.after);
                *newest = (*newest).max(zxid);
                acknowledged.insert(zxid, *now);
                met.acknowledged += u64::from(ok);
            }
        });
    }
}
