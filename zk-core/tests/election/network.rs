//! Servers that hold elections, and links between them that carry bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use zk_core::election::{Election, Options, ServerState, Vote};
use zk_core::id::{ServerId, Zxid};
use zk_core::quorum::Quorums;
use zk_core::time::Instant;
use zk_core::wire::election::{FRAME_MAX, Notification, Received, first};

/// A server.
pub(super) struct Node {
    pub(super) quorums: Quorums<'static>,
    pub(super) zxid: Zxid,
    pub(super) epoch: i64,
    /// None while it is down.
    pub(super) election: Option<Election<'static>>,
    /// Bytes of a frame that is not whole yet, by sender.
    partial: BTreeMap<ServerId, Vec<u8>>,
}

/// One direction of a link.
#[derive(Default)]
pub(super) struct Way {
    /// Frames on their way.
    pub(super) frames: VecDeque<Vec<u8>>,
    /// They arrive only when they are released.
    pub(super) held: bool,
    /// The sender's buffer is full: nothing more is taken from it.
    pub(super) full: bool,
}

#[derive(Default)]
pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) nodes: BTreeMap<ServerId, Node>,
    /// Servers that only say what a script lets them say.
    pub(super) mocks: BTreeSet<ServerId>,
    /// Pairs, the lower id first, between which there is no link.
    pub(super) cut: BTreeSet<(ServerId, ServerId)>,
    /// Links that are up.
    pub(super) up: BTreeSet<(ServerId, ServerId)>,
    pub(super) ways: BTreeMap<(ServerId, ServerId), Way>,
    /// How many bytes arrive at once.
    pub(super) fragment: usize,
    /// What happened, a line each.
    pub(super) log: String,
}

pub(super) fn describe(state: ServerState, vote: &Vote) -> String {
    // Observers propose nobody.
    let number = |n: i64| if n == i64::MIN { "none".to_owned() } else { format!("{n:#x}") };
    let leader = if vote.leader.0 == i64::MIN { "none".into() } else { vote.leader.0.to_string() };
    format!(
        "{state} leader {leader} zxid {} epoch {} round {}",
        number(vote.zxid.0),
        number(vote.peer_epoch),
        vote.round
    )
}

fn pair(a: ServerId, b: ServerId) -> (ServerId, ServerId) {
    (a.min(b), a.max(b))
}

impl Network {
    pub(super) fn new(fragment: usize) -> Self {
        Self { fragment, ..Self::default() }
    }

    pub(super) fn say(&mut self, line: impl AsRef<str>) {
        writeln!(self.log, "{}", line.as_ref()).unwrap();
    }

    pub(super) fn add(&mut self, id: ServerId, config: &str) {
        let mut quorums = Quorums::owned();
        quorums.set(config.as_bytes()).unwrap_or_else(|error| panic!("{error}: {config}"));
        let node =
            Node { quorums, zxid: Zxid::ZERO, epoch: 0, election: None, partial: BTreeMap::new() };
        self.nodes.insert(id, node);
        self.connect();
    }

    fn runs(&self, id: ServerId) -> bool {
        self.mocks.contains(&id) || self.nodes.get(&id).is_some_and(|node| node.election.is_some())
    }

    /// Lets a server look for a leader; it starts if it is down.
    pub(super) fn look(&mut self, id: ServerId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { panic!("no server {}", id.0) };
        let election = node.election.get_or_insert_with(|| Election::owned(id, Options::default()));
        election.look(now, &node.quorums, node.zxid, node.epoch);
        self.connect();
        self.report(id, None);
    }

    pub(super) fn stop(&mut self, id: ServerId) {
        self.nodes.get_mut(&id).unwrap().election = None;
        self.connect();
    }

    /// Brings up and takes down links as servers and cables allow.
    pub(super) fn connect(&mut self) {
        let all: Vec<ServerId> = self.nodes.keys().chain(&self.mocks).copied().collect();
        for &a in &all {
            for &b in all.iter().filter(|&&b| a < b) {
                let can = self.runs(a) && self.runs(b) && !self.cut.contains(&(a, b));
                if can && self.up.insert((a, b)) {
                    self.each_end(a, b, Election::link_up);
                } else if !can && self.up.remove(&(a, b)) {
                    self.each_end(a, b, Election::link_down);
                    for way in [(a, b), (b, a)] {
                        self.ways.entry(way).or_default().frames.clear();
                    }
                    for (to, from) in [(a, b), (b, a)] {
                        if let Some(node) = self.nodes.get_mut(&to) {
                            node.partial.remove(&from);
                        }
                    }
                }
            }
        }
    }

    fn each_end(&mut self, a: ServerId, b: ServerId, what: fn(&mut Election<'static>, ServerId)) {
        for (at, other) in [(a, b), (b, a)] {
            if let Some(election) = self.nodes.get_mut(&at).and_then(|node| node.election.as_mut())
            {
                what(election, other);
            }
        }
    }

    /// Takes what each server has to say over links that take it, and returns who said what.
    pub(super) fn take(&mut self) -> Vec<(ServerId, ServerId, ServerState, Vote)> {
        let mut said = vec![];
        for (&from, node) in &mut self.nodes {
            let Some(election) = &mut node.election else { continue };
            let mut wanted: Vec<_> = election.wanted().collect();
            wanted.sort();
            for to in wanted {
                let way = self.ways.entry((from, to)).or_default();
                if way.full || !self.up.contains(&pair(from, to)) {
                    continue;
                }
                let Some((state, vote)) = election.poll_vote(to) else {
                    panic!("{from:?} wants to tell {to:?} nothing");
                };
                let frame =
                    frame(state, &vote, Notification::VERSION, node.quorums.committed.text());
                way.frames.push_back(frame);
                said.push((from, to, state, vote));
            }
        }
        said
    }

    /// Lets the oldest frame on a way arrive.
    pub(super) fn arrive(&mut self, from: ServerId, to: ServerId) {
        let frame = self.ways.get_mut(&(from, to)).and_then(|way| way.frames.pop_front());
        let Some(frame) = frame else { return };
        self.bytes(from, to, &frame);
    }

    /// Lets bytes arrive.
    pub(super) fn bytes(&mut self, from: ServerId, to: ServerId, bytes: &[u8]) {
        let now = self.now;
        let config = self.nodes.get(&from).map(|node| node.quorums.committed.text().to_vec());
        for part in bytes.chunks(self.fragment) {
            let Some(node) = self.nodes.get_mut(&to) else { return };
            let Some(election) = &mut node.election else { return };
            let partial = node.partial.entry(from).or_default();
            partial.extend(part);
            let (start, len, taken) = match first(partial, FRAME_MAX) {
                Ok(Received::Need(need)) => {
                    assert!(need > partial.len());
                    continue;
                }
                Ok(Received::Frame { start, len, taken, skip }) => {
                    assert_eq!(skip, 0);
                    (start, len, taken)
                }
                Err(error) => {
                    node.partial.remove(&from);
                    self.say(format!("{} drops the link to {}: {error}", to.0, from.0));
                    return;
                }
            };
            let before = election.decided();
            let skipped = match Notification::decode(start, len) {
                Ok(n) => {
                    assert!(config.as_ref().is_none_or(|config| n.config == config));
                    election.receive(now, &node.quorums, from, &n);
                    None
                }
                Err(error) => Some(error),
            };
            partial.drain(..taken);
            if let Some(error) = skipped {
                self.say(format!("{} skips what {} says: {error}", to.0, from.0));
            }
            self.report(to, before);
        }
    }

    /// Says what a server has decided, if that is news.
    fn report(&mut self, id: ServerId, before: Option<(Vote, ServerState)>) {
        let decided = self.nodes[&id].election.as_ref().and_then(Election::decided);
        if let (None, Some((vote, state))) = (before, decided) {
            self.say(format!("{} is {}", id.0, describe(state, &vote)));
        }
    }

    /// When the next server has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let running = self.nodes.values().filter_map(|node| node.election.as_ref());
        running.filter_map(Election::poll_timeout).min()
    }

    pub(super) fn tick(&mut self) {
        let ids: Vec<ServerId> = self.nodes.keys().copied().collect();
        for id in ids {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            let Some(election) = &mut node.election else { continue };
            let before = election.decided();
            election.tick(self.now, &node.quorums);
            self.report(id, before);
        }
    }
}

/// A frame with a notification.
pub(super) fn frame(state: ServerState, vote: &Vote, version: i32, config: &[u8]) -> Vec<u8> {
    let Vote { leader, zxid, round, peer_epoch } = *vote;
    let n = Notification { state, leader, zxid, round, peer_epoch, version, config };
    let mut frame = vec![0; n.frame_len()];
    let len = n.encode(&mut frame).unwrap();
    assert_eq!(len, frame.len());
    frame
}
