//! What can go wrong, and what of it is more than an ensemble can bear.

use zk_core::id::{Epoch, Zxid};
use zk_core::peer::State;
use zk_std::store::simulated::Rng;

use super::node::storage::Rotten;
use super::node::{Node, Started};
use super::world::World;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its machine goes on, and closes its connections.
    Killed,
    /// Nobody closes anything: the other sides do not know.
    PowerOff,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    End,
    PowerCut,
    FailedSync,
    Break,
    Cut,
    Partition,
    Pause,
    SlowDisk,
    Delay,
    Jump,
    Swizzle,
    Rot,
    Wipe,
    FullDisk,
    ShortReads,
}

impl Fault {
    /// All of them, each with how many of [`CALM`] rounds have it.
    const ALL: [(Self, u64); 15] = [
        (Self::End, 3),
        (Self::PowerCut, 2),
        (Self::FailedSync, 1),
        (Self::Break, 4),
        (Self::Cut, 4),
        (Self::Partition, 2),
        (Self::Pause, 2),
        (Self::SlowDisk, 3),
        (Self::Delay, 2),
        (Self::Jump, 1),
        (Self::Swizzle, 1),
        (Self::Rot, 1),
        (Self::Wipe, 2),
        (Self::FullDisk, 1),
        (Self::ShortReads, 1),
    ];

    /// Whether only files have it.
    fn is_of_files(self) -> bool {
        matches!(self, Self::FailedSync | Self::FullDisk | Self::ShortReads)
    }
}

/// Of so many rounds the worst weather has as many faults as [`Fault::ALL`] says.
const CALM: u64 = 1000;

/// Of so many rounds one has something more for a board.
const BOARDS: u64 = 300;

/// What may go wrong in a run, and how often: not everything in every run, so that what remains
/// goes further.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    kinds: Vec<Fault>,
    calm: u64,
}

impl Weather {
    /// One of many, without some kinds.
    pub(crate) fn any(rng: &mut Rng, without: &[usize]) -> Self {
        let mut kinds = vec![];
        for (number, (kind, _)) in Fault::ALL.into_iter().enumerate() {
            if rng.below(5) > 0 && !without.contains(&number) {
                kinds.push(kind);
            }
        }
        Self { kinds, calm: CALM * (1 + rng.below(4)) }
    }

    /// How many kinds there are; reads that go wrong are drawn apart from the others.
    pub(crate) const KINDS: usize = Fault::ALL.len() + 1;

    /// The name of a kind.
    pub(crate) fn name(number: usize) -> String {
        let kind = Fault::ALL.get(number).map(|(kind, _)| format!("{kind:?}"));
        kind.unwrap_or_else(|| "Misread".to_owned())
    }

    /// Whether disks are lost, or what is on them.
    pub(crate) fn loses_disks(&self) -> bool {
        self.kinds.iter().any(|kind| matches!(kind, Fault::Rot | Fault::Wipe))
    }

    /// It gets better.
    pub(crate) fn improve(&mut self) {
        self.calm += CALM;
    }

    /// What goes wrong in this round.
    fn draw(&self, rng: &mut Rng) -> Option<Fault> {
        let mut roll = rng.below(self.calm);
        for (kind, weight) in Fault::ALL {
            if roll < weight {
                return self.kinds.contains(&kind).then_some(kind);
            }
            roll -= weight;
        }
        None
    }
}

impl World {
    /// Perhaps something goes wrong, or is mended.
    pub(crate) fn fault(&mut self) {
        let at = self.rng.below(self.nodes.len() as u64) as usize;
        if let Some(fault) = self.weather.draw(&mut self.rng) {
            self.suffer(fault, at);
        }
        self.disturb();
        self.forget();
        self.misread();
        self.trouble_boards();
        match self.rng.below(1000) {
            0..=10 if !self.nodes[at].up => self.start(at),
            11..=22 => {
                for row in &mut self.cut {
                    row.fill(false);
                }
            }
            _ => {}
        }
        self.pass();
    }

    /// While a configuration is proposed, more goes wrong, with the leader above all.
    fn disturb(&mut self) {
        let pending = |node: &Node| node.up && node.has_proposed();
        if !self.reconfig || !self.nodes.iter().any(pending) || self.rng.below(self.unrest) > 0 {
            return;
        }
        let leads = |node: &Node| node.up && node.peer.state() == State::Leading;
        let leader = self.nodes.iter().position(leads).filter(|_| self.rng.coin());
        let n = self.nodes.len();
        let at = leader.unwrap_or_else(|| self.rng.below(n as u64) as usize);
        match self.rng.below(4) {
            0 => self.suffer(Fault::End, at),
            1 => self.suffer(Fault::PowerCut, at),
            2 => self.suffer(Fault::Partition, at),
            _ => {
                for other in (0..n).filter(|&other| other != at) {
                    self.cut[at][other] = true;
                    self.cut[other][at] = true;
                }
                self.met.partitions += 1;
            }
        }
    }

    /// A learner like Apache's ends more often while it has proposals in memory only.
    fn forget(&mut self) {
        let Some(at) = self.apache.filter(|&at| self.nodes[at].up) else { return };
        let mut learners = self.connections.iter().filter(|connection| {
            connection.ends[0].node == at && connection.ends[0].link.is_some()
        });
        let has_more = learners.any(|connection| {
            connection.apache.as_ref().is_some_and(super::apache::Learner::has_more)
        });
        if has_more && self.more.below(20) == 0 {
            self.suffer(Fault::End, at);
        }
    }

    /// Boards lose their power, and bits of their flash, more often than others.
    fn trouble_boards(&mut self) {
        if self.nodes.iter().all(Node::has_files) || self.more.below(BOARDS) > 0 {
            return;
        }
        let at = self.more.below(self.nodes.len() as u64) as usize;
        let fault = [Fault::PowerCut, Fault::PowerCut, Fault::Rot][self.more.below(3) as usize];
        if !self.nodes[at].has_files() && self.weather.kinds.contains(&fault) {
            self.suffer(fault, at);
        }
    }

    fn suffer(&mut self, fault: Fault, at: usize) {
        if fault.is_of_files() && !self.nodes[at].has_files() {
            return;
        }
        let n = self.nodes.len() as u64;
        match fault {
            Fault::End if self.nodes[at].up => {
                let end = if self.rng.coin() { End::Killed } else { End::PowerOff };
                self.end(at, end);
            }
            Fault::PowerCut if self.nodes[at].up => {
                let operations = self.rng.below(60);
                self.nodes[at].cut_power_after(operations);
                self.met.power_cuts += 1;
            }
            Fault::FailedSync => {
                self.nodes[at].disk.fail_syncs(1);
                self.met.failed_syncs += 1;
            }
            Fault::Break if !self.connections.is_empty() => {
                let c = self.rng.below(self.connections.len() as u64) as usize;
                self.break_connection(c);
            }
            Fault::Cut => {
                let other = self.rng.below(n) as usize;
                self.cut[at][other] = true;
                if self.rng.coin() {
                    self.cut[other][at] = true;
                    self.met.cuts += 1;
                } else {
                    self.met.one_way += 1;
                }
            }
            Fault::Partition => {
                // Everybody on one side loses everybody on the other.
                let side: Vec<bool> = (0..n).map(|_| self.rng.coin()).collect();
                for a in 0..n as usize {
                    for b in 0..n as usize {
                        self.cut[a][b] |= side[a] != side[b];
                    }
                }
                self.met.partitions += 1;
            }
            Fault::Pause => {
                self.nodes[at].paused_until = self.now + self.rng.below(3000);
                self.met.pauses += 1;
            }
            Fault::SlowDisk => {
                self.nodes[at].disk_busy_until = self.now + self.rng.below(1500);
                self.met.slow_disks += 1;
            }
            Fault::Delay => {
                self.delay = [1, 3, 3, 10, 40][self.rng.below(5) as usize];
                self.met.delays += 1;
            }
            Fault::Jump => {
                self.nodes[at].wall_skew = self.rng.below(100_000) as i64 - 50_000;
                self.met.jumps += 1;
            }
            Fault::Swizzle if self.swizzle.is_empty() => self.swizzle(),
            Fault::Rot => self.rot(at),
            Fault::Wipe if self.may_lose(at) => {
                if self.nodes[at].up {
                    self.end(at, End::Killed);
                }
                self.say(at, "loses its disk");
                let seed = self.rng.next_u64();
                self.nodes[at].wipe(seed);
                self.met.wiped += 1;
                self.met.flash_wiped += u64::from(!self.nodes[at].has_files());
            }
            Fault::FullDisk if self.nodes[at].up => {
                let room = self.rng.below(6000);
                let used = self.nodes[at].disk.used();
                self.nodes[at].disk.set_capacity(Some(used + room));
                self.nodes[at].full_until = self.now + self.rng.below(2500);
                self.met.full_disks += 1;
            }
            Fault::ShortReads => {
                self.nodes[at].disk.set_short_reads(true);
                self.met.short_reads += 1;
            }
            _ => {}
        }
    }

    /// What time brings to faults.
    fn pass(&mut self) {
        while let Some((due, at, clogged)) = self.swizzle.front().copied()
            && due <= self.now
        {
            self.swizzle.pop_front();
            self.clogged[at] = clogged;
        }
        self.read_rightly();
        for node in &mut self.nodes {
            if node.full_until != 0 && node.full_until <= self.now {
                node.full_until = 0;
                node.disk.set_capacity(None);
            }
        }
    }

    /// Clogs the links of some servers one by one, and releases them in another order.
    fn swizzle(&mut self) {
        let n = self.nodes.len();
        let mut some: Vec<usize> = (0..n).filter(|_| self.rng.coin()).collect();
        let mut due = self.now;
        for clogged in [true, false] {
            for i in (1..some.len()).rev() {
                some.swap(i, self.rng.below(i as u64 + 1) as usize);
            }
            for &at in &some {
                due += self.rng.below(300);
                self.swizzle.push_back((due, at, clogged));
            }
        }
        self.met.swizzles += u64::from(!some.is_empty());
    }

    /// Whether a server may lose what it has: no more of those who vote than the others can make
    /// up for.
    pub(crate) fn may_lose(&self, at: usize) -> bool {
        if self.reconfig {
            // Whatever the configuration is, it has three voters; one that is proposed may have some that
            // nobody has told of it.
            return self.fewest >= 3
                && self.nodes.iter().all(|node| !node.ill && !node.has_proposed());
        }
        let voters = self.voters;
        let ill = self.nodes[..voters].iter().filter(|node| node.ill).count();
        !self.nodes[at].ill && (at >= voters || ill < (voters - 1) / 2)
    }

    /// A bit of a history changes.
    fn rot(&mut self, at: usize) {
        if !self.may_lose(at) {
            return;
        }
        let Some(Rotten { what, at_rest }) = self.nodes[at].rot(&mut self.rng) else { return };
        self.say(at, &format!("has a bit rotten in {what}"));
        self.nodes[at].ill = true;
        self.nodes[at].rotten_at_rest = at_rest;
        self.met.rotten += 1;
        self.met.flash_rotten += u64::from(at_rest);
        // It is noticed when the file is read.
        if self.nodes[at].up && (at_rest || self.rng.below(4) > 0) {
            self.end(at, End::Killed);
        }
    }

    /// A process ends.
    pub(crate) fn end(&mut self, at: usize, end: End) {
        match end {
            End::Killed => self.met.kills += 1,
            End::PowerOff => self.met.power_offs += 1,
        }
        self.say(at, if end == End::Killed { "is killed" } else { "is switched off" });
        self.met.add_syncs(self.nodes[at].peer.sync_counts());
        self.nodes[at].crash(end == End::PowerOff);
        for c in 0..self.connections.len() {
            if self.connections[c].ends[0].node == at
                && let Some(learner) = self.connections[c].apache.as_mut()
            {
                self.met.forgotten += learner.forgets();
            }
            for side in 0..2 {
                let ends = &mut self.connections[c].ends;
                if ends[side].node != at || ends[side].link.is_none() {
                    continue;
                }
                ends[side].link = None;
                let other = &mut ends[1 - side];
                if end == End::PowerOff {
                    other.half_open = true;
                } else {
                    let heard = self.now + self.rng.below(20);
                    other.broken_at.get_or_insert(heard);
                }
                if side == 0 {
                    // Whom it has called may never hear of it.
                    self.connections[c].arrives_at = None;
                }
            }
        }
        self.lose_clients(at);
    }

    /// A process starts.
    pub(crate) fn start(&mut self, at: usize) {
        let now = self.nodes[at].now(self.now);
        let seed = self.rng.next_u64();
        if self.reconfig && !self.nodes[at].is_configured() && !self.introduce(at) {
            return;
        }
        let synced = self.nodes[at].synced;
        let started = self.nodes[at].start(now, seed);
        self.has_read(at, &started, synced);
        self.has_rotted(at, &started, synced);
        match started {
            Started::Whole(last) => {
                self.say(at, &format!("starts with a history that ends at {last}"));
                self.nodes[at].differed = 0;
                self.began(at, self.agreement.transaction(last));
            }
            Started::Damaged => {
                assert!(self.nodes[at].ill, "server {} does not trust its history", at + 1);
                self.say(at, "starts without a history that it trusts");
                self.met.damaged += 1;
                let node = &mut self.nodes[at];
                node.lost = true;
                // That may be how it was noticed.
                node.differed = node.peer.stats().digest_mismatches;
                self.began(at, Zxid::ZERO);
            }
            Started::NoMember => panic!("server {} is no member", at + 1),
            Started::Failed(error) => self.say(at, &format!("cannot start: {error}")),
        }
    }

    /// A server has started, of whose history a bit may have changed while nothing was under way.
    fn has_rotted(&mut self, at: usize, started: &Started, synced: Zxid) {
        let node = &mut self.nodes[at];
        if !node.rotten_at_rest {
            return;
        }
        match started {
            Started::Whole(last) => {
                node.rotten_at_rest = false;
                node.ill = node.lost;
                let last = self.agreement.transaction(*last);
                assert!(last >= synced, "server {} had {synced}, and finds {last}", at + 1);
            }
            Started::Damaged => {
                node.rotten_at_rest = false;
                self.met.flash_rot_found += 1;
            }
            Started::Failed(_) | Started::NoMember => {}
        }
    }

    fn began(&mut self, at: usize, last: Zxid) {
        let node = &mut self.nodes[at];
        node.last = last;
        node.synced = last;
        node.seen = Zxid::ZERO;
        node.begins = Epoch(0);
        let known = node.latest_config();
        self.agreement.durable(node.id, last);
        // Of what was under way when it ended, it may have more than it knew.
        self.agreement.epochs(node.id, node.epochs);
        if self.reconfig {
            let latest = self.agreement.latest(last);
            // (Whoever has not served yet has acknowledged nothing: see what a crash would leave.)
            assert!(
                known >= latest.0 || known == 0,
                "server {} has the configuration {latest} in its history, and starts with {}",
                at + 1,
                Zxid(known)
            );
            self.met.found += u64::from(self.nodes[at].has_proposed());
        }
    }

    /// An operator tells a server, whose own files say that it is none, that it is a member; once it
    /// is one.
    fn introduce(&mut self, at: usize) -> bool {
        let (version, config) = self.agreement.in_force();
        let config = config.clone();
        let node = &mut self.nodes[at];
        if !config.has(node.id) {
            return false;
        }
        // What has no version counts for more than the history: that is for a new server only.
        let new = !config.votes(node.id) && node.life == 0 && self.rng.coin();
        let version = if new { None } else { Some(version.0.max(self.first)) };
        self.nodes[at].configure(&config, version);
        self.say(at, &format!("is told that it is a member, in version {version:x?}"));
        self.met.introduced += 1;
        true
    }

    /// A member may have missed so much that it knows nobody who could tell it more: an operator
    /// brings it the latest configuration. Not as long as nobody leads in that, unless somebody has
    /// lost its disk: then everybody else may be needed.
    pub(crate) fn rescue(&mut self) {
        let (version, config) = self.agreement.in_force();
        let config = config.clone();
        let leads = |node: &Node| {
            let leads = node.up && node.peer.state() == State::Leading && node.peer.is_serving();
            leads && node.peer.config().version() >= version.0
        };
        if !self.nodes.iter().any(|node| leads(node) || node.ill) {
            return;
        }
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let old = node.peer.config().version() < version.0;
            if node.up && config.has(node.id) && old && !node.peer.is_serving() {
                self.end(at, End::Killed);
                self.say(at, &format!("is told of the configuration {version}"));
                self.nodes[at].configure(&config, Some(version.0));
                self.met.rescued += 1;
                self.start(at);
            }
        }
    }

    /// A connection breaks: both sides hear of it, or only one.
    fn break_connection(&mut self, c: usize) {
        let deaf = if self.rng.coin() { Some(self.rng.below(2) as usize) } else { None };
        for side in 0..2 {
            let heard = self.now + self.rng.below(400);
            let end = &mut self.connections[c].ends[side];
            if deaf == Some(side) {
                end.half_open = true;
            } else {
                end.broken_at.get_or_insert(heard);
            }
        }
        match deaf {
            Some(_) => self.met.half_open += 1,
            None => self.met.breaks += 1,
        }
    }

    /// Everything is healed.
    pub(crate) fn heal(&mut self) {
        self.note("healing");
        for row in &mut self.cut {
            row.fill(false);
        }
        self.clogged.fill(false);
        self.swizzle.clear();
        self.delay = 3;
        for node in &mut self.nodes {
            node.paused_until = 0;
            node.disk_busy_until = 0;
            node.full_until = 0;
            node.disk.set_capacity(None);
            node.disk.set_short_reads(false);
            node.disk.read_rightly();
            node.disk.fail_syncs(0);
            if node.up {
                node.cut_power_after(u64::MAX);
            }
        }
    }

    /// Starts whoever is down.
    pub(crate) fn start_all(&mut self) {
        for at in 0..self.nodes.len() {
            if !self.nodes[at].up {
                self.start(at);
            }
        }
    }

    /// Whoever serves again has made up for what it has lost.
    pub(crate) fn recovered(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.peer.is_serving() {
            return;
        }
        let back = core::mem::replace(&mut node.served, node.life) < node.life;
        self.met.flash_back += u64::from(back && node.life > 1 && !node.has_files());
        if node.lost || node.misread && node.disk.misreads() == 0 {
            node.ill = false;
            node.lost = false;
            node.misread = false;
        }
    }
}
