//! Random elections: delays, lost links, one-way links, restarts. Afterwards, in calm, all come to
//! follow one leader, and at no time a leader lacks what a quorum has confirmed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zk_core::election::{Election, ServerState};
use zk_core::id::{Epoch, ServerId, Zxid};
use zk_core::time::Instant;

use super::network::Network;

/// A step of the clock, ms.
const STEP: u64 = 10;
/// How long servers and links fail.
const TURMOIL: u64 = 20_000;
/// How long it may take until all follow one leader once nothing fails any more. A server that has
/// just begun to lead or to follow in vain needs its limits below to notice.
const CALM: u64 = 10_000;
/// How long a leader waits for followers, and a follower for its leader.
const LEAD_LIMIT: u64 = 2_000;
const FOLLOW_LIMIT: u64 = 1_000;

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What a server does with the outcome of its election: no more of Zab than elections depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Down {
        until: Instant,
    },
    Looking,
    /// Waits for its leader to lead.
    Joining {
        leader: ServerId,
        until: Instant,
    },
    Following {
        leader: ServerId,
    },
    /// Waits for followers.
    Gathering {
        until: Instant,
    },
    /// Has a quorum of followers.
    Leading,
}

struct World {
    random: Random,
    network: Network,
    roles: BTreeMap<ServerId, Role>,
    /// When the frames on each way arrive.
    arrivals: BTreeMap<(ServerId, ServerId), VecDeque<Instant>>,
    /// With what each server began to look.
    initial: BTreeMap<ServerId, (i64, Zxid, ServerId)>,
    /// Who voted for whom, by round and leader.
    votes: BTreeMap<(i64, ServerId), BTreeSet<ServerId>>,
    /// The last transaction that a quorum has.
    confirmed: (i64, Zxid),
    last_epoch: u32,
    elected: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let voters = 3 + random.below(3) as i64;
        let observers = random.below(3) as i64;
        let config: String = (1..=voters + observers)
            .map(|id| {
                let role = if id <= voters { "participant" } else { "observer" };
                format!("server.{id}=h{id}:2888:3888:{role}\n")
            })
            .collect();
        let mut network = Network::new(usize::MAX);
        let mut roles = BTreeMap::new();
        for id in (1..=voters + observers).map(ServerId) {
            network.add(id, &config);
            roles.insert(id, Role::Down { until: Instant(random.below(2_000)) });
        }
        Self {
            random,
            network,
            roles,
            arrivals: BTreeMap::new(),
            initial: BTreeMap::new(),
            votes: BTreeMap::new(),
            confirmed: (0, Zxid::ZERO),
            last_epoch: 0,
            elected: 0,
        }
    }

    fn ids(&self) -> Vec<ServerId> {
        self.roles.keys().copied().collect()
    }

    fn is_linked(&self, a: ServerId, b: ServerId) -> bool {
        self.network.up.contains(&(a.min(b), a.max(b)))
    }

    fn look(&mut self, id: ServerId) {
        let node = &self.network.nodes[&id];
        self.initial.insert(id, (node.epoch, node.zxid, id));
        self.roles.insert(id, Role::Looking);
        self.network.look(id);
    }

    /// Those who follow `leader`, and itself.
    fn with(&self, leader: ServerId) -> BTreeSet<ServerId> {
        let follows = |role: &Role| *role == Role::Following { leader };
        let followers = self.roles.iter().filter(|(_, role)| follows(role)).map(|(&id, _)| id);
        followers.chain([leader]).collect()
    }

    fn has_quorum(&self, of: &BTreeSet<ServerId>) -> bool {
        self.network.nodes[&ServerId(1)].quorums.has_quorum(|id| of.contains(&id))
    }

    fn is_voter(&self, id: ServerId) -> bool {
        self.network.nodes[&id].quorums.is_voter(id)
    }

    fn step(&mut self, turmoil: bool) {
        self.network.now = self.network.now.plus(STEP);
        self.network.log.clear();
        if turmoil {
            self.fail();
        }
        self.network.connect();
        self.network.tick();
        self.talk(turmoil);
        for id in self.ids() {
            self.act(id);
        }
    }

    /// Something fails, or works again.
    fn fail(&mut self) {
        let ids = self.ids();
        let (one, two) = (self.random.any(&ids), self.random.any(&ids));
        let now = self.network.now;
        if self.random.one_in(100) && self.network.nodes[&one].election.is_some() {
            self.network.stop(one);
            let until = now.plus(self.random.below(3_000));
            self.roles.insert(one, Role::Down { until });
        }
        if one != two && self.random.one_in(60) {
            self.network.cut.insert((one.min(two), one.max(two)));
        }
        if self.random.one_in(60) {
            self.network.cut.remove(&(one.min(two), one.max(two)));
        }
        if self.random.one_in(500) {
            // Half of the servers lose the others.
            let some: Vec<_> = ids.iter().filter(|_| self.random.one_in(2)).collect();
            for (&a, &b) in some.iter().flat_map(|a| ids.iter().map(move |b| (*a, b))) {
                self.network.cut.insert((a.min(b), a.max(b)));
            }
        }
        if self.random.one_in(60) {
            let full = self.random.one_in(2);
            self.network.ways.entry((one, two)).or_default().full = full;
        }
    }

    /// Messages leave and arrive.
    fn talk(&mut self, turmoil: bool) {
        let now = self.network.now;
        for (from, to, state, vote) in self.network.take() {
            let slow = turmoil && self.random.one_in(10);
            let delay = self.random.below(if slow { 1_500 } else { 40 });
            let queue = self.arrivals.entry((from, to)).or_default();
            let last = queue.back().copied().unwrap_or_default();
            queue.push_back(last.max(now.plus(delay)));
            if self.is_voter(from) {
                let voted = (vote.peer_epoch, vote.zxid, vote.leader);
                let looks = state == ServerState::Looking;
                let own = self.initial[&from];
                assert!(!looks || voted >= own, "{from:?} votes for less than itself: {vote}");
                // Whoever has decided before it was heard has voted too.
                self.votes.entry((vote.round, vote.leader)).or_default().insert(from);
            }
        }
        for (from, to) in self.arrivals.keys().copied().collect::<Vec<_>>() {
            let queue = self.arrivals.entry((from, to)).or_default();
            // A link that broke has lost what was in it.
            queue.truncate(self.network.ways[&(from, to)].frames.len());
            while self.arrivals[&(from, to)].front().is_some_and(|&at| at <= now) {
                self.arrivals.get_mut(&(from, to)).unwrap().pop_front();
                self.network.arrive(from, to);
            }
        }
    }

    /// A server goes on with what it does.
    fn act(&mut self, id: ServerId) {
        let now = self.network.now;
        match self.roles[&id] {
            Role::Down { until } if until <= now => self.look(id),
            Role::Down { .. } => {}
            Role::Looking => {
                let election = self.network.nodes[&id].election.as_ref().unwrap();
                match election.decided() {
                    Some((vote, ServerState::Leading)) => {
                        let mut voted: BTreeSet<ServerId> =
                            self.votes.get(&(vote.round, id)).cloned().unwrap_or_default();
                        voted.insert(id);
                        voted.extend(self.with(id));
                        assert!(self.has_quorum(&voted), "{id:?} leads by votes of {voted:?}");
                        self.elected += 1;
                        let until = now.plus(LEAD_LIMIT);
                        self.roles.insert(id, Role::Gathering { until });
                    }
                    Some((vote, state)) => {
                        assert_eq!(state == ServerState::Observing, !self.is_voter(id));
                        assert!(self.is_voter(vote.leader) && vote.leader != id);
                        let until = now.plus(FOLLOW_LIMIT);
                        self.roles.insert(id, Role::Joining { leader: vote.leader, until });
                    }
                    None => {}
                }
            }
            Role::Joining { leader, until } => {
                let leads = matches!(self.roles[&leader], Role::Gathering { .. } | Role::Leading);
                if leads && self.is_linked(id, leader) {
                    self.roles.insert(id, Role::Following { leader });
                    if self.roles[&leader] == Role::Leading {
                        self.synchronise(id, leader);
                    }
                } else if until <= now {
                    self.look(id);
                }
            }
            Role::Following { leader } => {
                let leads = matches!(self.roles[&leader], Role::Gathering { .. } | Role::Leading);
                if !leads || !self.is_linked(id, leader) {
                    self.look(id);
                }
            }
            Role::Gathering { until } => {
                let with = self.with(id);
                let node = &self.network.nodes[&id];
                let election = node.election.as_ref().unwrap();
                if self.has_quorum(&with) {
                    self.lead(id);
                } else if until <= now
                    || !election.is_supported(&node.quorums, |other| with.contains(&other))
                {
                    self.look(id);
                }
            }
            Role::Leading if !self.has_quorum(&self.with(id)) => self.look(id),
            Role::Leading => self.write(id),
        }
    }

    /// A leader has a quorum of followers: a new epoch begins.
    fn lead(&mut self, id: ServerId) {
        let node = &self.network.nodes[&id];
        assert!(
            (node.epoch, node.zxid) >= self.confirmed,
            "{id:?} leads with {:?}, and a quorum has {:?}",
            (node.epoch, node.zxid),
            self.confirmed
        );
        assert!(self.roles.values().all(|&role| role != Role::Leading), "a second leader");
        self.roles.insert(id, Role::Leading);
        self.last_epoch += 1;
        self.network.nodes.get_mut(&id).unwrap().epoch = i64::from(self.last_epoch);
        for follower in self.with(id) {
            self.synchronise(follower, id);
        }
        let leader = &self.network.nodes[&id];
        self.confirmed = (leader.epoch, leader.zxid);
    }

    fn synchronise(&mut self, id: ServerId, leader: ServerId) {
        let (epoch, zxid) = (self.network.nodes[&leader].epoch, self.network.nodes[&leader].zxid);
        let node = self.network.nodes.get_mut(&id).unwrap();
        (node.epoch, node.zxid) = (epoch, zxid);
        node.election.as_mut().unwrap().set_epoch(epoch);
    }

    /// A leader writes; not all may hear of it.
    fn write(&mut self, id: ServerId) {
        if !self.random.one_in(5) {
            return;
        }
        let leader = self.network.nodes.get_mut(&id).unwrap();
        let zxid = leader.zxid.successor().max(Zxid::new(Epoch(leader.epoch as u32), 1));
        leader.zxid = zxid;
        let epoch = leader.epoch;
        let mut have = BTreeSet::from([id]);
        for follower in self.with(id) {
            let node = self.network.nodes.get_mut(&follower).unwrap();
            // Whoever missed one does not take the next: it is behind until it synchronises.
            let in_step = node.zxid.0 + 1 == zxid.0 || zxid.counter() == 1;
            if follower != id && in_step && !self.random.one_in(6) {
                node.zxid = zxid;
                have.insert(follower);
            }
        }
        if self.has_quorum(&have) {
            self.confirmed = (epoch, zxid);
        }
    }

    /// Whether everybody follows one leader.
    fn is_settled(&self) -> bool {
        let leader = self.roles.iter().find(|(_, role)| **role == Role::Leading);
        leader.is_some_and(|(&leader, _)| self.with(leader).len() == self.roles.len())
    }

    fn states(&self) -> String {
        let state = |(id, role): (&ServerId, &Role)| {
            let election = self.network.nodes[id].election.as_ref();
            let current = election.and_then(Election::current);
            format!("{} {role:?} {:?}\n", id.0, current)
        };
        self.roles.iter().map(state).collect()
    }
}

fn run(seed: u64) -> u32 {
    let mut world = World::new(seed);
    while world.network.now < Instant(TURMOIL) {
        world.step(true);
    }
    world.network.cut.clear();
    for way in world.network.ways.values_mut() {
        way.full = false;
    }
    let calm = world.network.now.plus(CALM);
    while !world.is_settled() {
        assert!(world.network.now < calm, "they do not settle:\n{}", world.states());
        world.step(false);
    }
    // And so it stays.
    let elected = world.elected;
    for _ in 0..300 {
        world.step(false);
        assert!(world.is_settled(), "it does not last:\n{}", world.states());
    }
    assert_eq!(world.elected, elected);
    elected
}

/// `ZK_ELECTION_SEEDS` says how many, `ZK_ELECTION_SEED` runs one.
#[test]
fn all_come_to_follow_one_leader() {
    let variable = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seeds = match variable("ZK_ELECTION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("ZK_ELECTION_SEEDS").unwrap_or(300),
    };
    let mut elected = 0;
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| run(seed));
        elected += run.unwrap_or_else(|_| panic!("replay with ZK_ELECTION_SEED={seed}"));
    }
    assert!(u64::from(elected) > 2 * (seeds.end - seeds.start), "{elected} elections");
}
