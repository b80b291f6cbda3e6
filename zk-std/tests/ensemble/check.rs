//! What must hold after every step, and between every two.

use std::collections::{BTreeMap, BTreeSet};

use zk_core::id::{Epoch, ServerId, SessionId, Zxid};
use zk_core::peer::{Epochs, State};
use zk_core::wire::OpCode;
use zk_core::wire::quorum::Kind;
use zk_core::wire::txn::{Record, Txn};
use zk_core::zab::leader::follows;

use super::config::Members;
use super::node::Node;
use super::tap::{About, Message, epoch};

/// What the world knows of the one history that all must agree on.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    /// Every transaction that was ever handed to a disk.
    pub(crate) txns: BTreeMap<Zxid, Vec<u8>>,
    /// The transaction before each, in every history that has it; and the last one before each
    /// reign, by the zxid that a leader shows before it has proposed anything.
    before: BTreeMap<Zxid, Zxid>,
    /// Transactions that somebody has shown to clients, oldest first, and where they are.
    committed: Vec<Zxid>,
    places: BTreeMap<Zxid, usize>,
    /// Digests of trees, by zxid.
    digests: BTreeMap<Zxid, i64>,
    leaders: BTreeMap<Epoch, ServerId>,
    /// Servers that have had a transaction on their disk.
    durable: BTreeMap<Zxid, BTreeSet<ServerId>>,
    /// Servers that have accepted an epoch.
    accepted: BTreeMap<Epoch, BTreeSet<ServerId>>,
    /// Epochs that servers have promised to a leader.
    promised: BTreeSet<(ServerId, Epoch)>,
    /// The configuration of each reconfiguration, and the first one.
    pub(crate) configs: BTreeMap<Zxid, Members>,
    /// The latest configuration in a history that ends there.
    latest: BTreeMap<Zxid, Zxid>,
    /// Reconfigurations that were committed: each with whom the one before had, and whether its own
    /// leader saw to it.
    pub(crate) changes: Vec<(Zxid, Zxid, bool)>,
    /// Sessions that may end: their clients have asked for it, or were silent for long enough.
    ending: BTreeSet<i64>,
    /// A member whose learner is like Apache's, and how many transactions were committed that were
    /// not on the disks of enough others.
    pub(crate) apache: Option<ServerId>,
    pub(crate) needed: u64,
}

impl Agreement {
    /// The last transaction in a history that ends at `zxid`.
    pub(crate) fn transaction(&self, zxid: Zxid) -> Zxid {
        match epoch(zxid) {
            Some(_) if zxid != Zxid::ZERO => self.before[&zxid],
            _ => zxid,
        }
    }

    /// Nothing has happened.
    pub(crate) fn new(first: Members) -> Self {
        Self { configs: [(Zxid::ZERO, first)].into(), ..Self::default() }
    }

    /// The latest configuration in a history that ends at `zxid`, by its zxid.
    pub(crate) fn latest(&self, zxid: Zxid) -> Zxid {
        match self.transaction(zxid) {
            Zxid::ZERO => Zxid::ZERO,
            at => self.latest[&at],
        }
    }

    /// The configuration in force.
    pub(crate) fn in_force(&self) -> (Zxid, &Members) {
        let at = self.latest(self.committed.last().copied().unwrap_or_default());
        (at, &self.configs[&at])
    }

    /// Whether these servers are a quorum wherever a history that ends at `zxid` needs one: in the
    /// configuration in force, and in those that are proposed behind it.
    fn is_quorum(&self, zxid: Zxid, of: &BTreeSet<ServerId>) -> bool {
        let mut at = self.latest(zxid);
        loop {
            if !self.configs[&at].has_quorum(of) {
                return false;
            }
            if self.is_committed(at) {
                return true;
            }
            at = self.latest(self.before[&at]);
        }
    }

    /// A server's disk has a transaction, and all that come before it.
    pub(crate) fn durable(&mut self, server: ServerId, zxid: Zxid) {
        let mut at = zxid;
        while at != Zxid::ZERO && self.durable.entry(at).or_default().insert(server) {
            at = self.before[&at];
        }
    }

    /// A server's epochs are durable.
    pub(crate) fn epochs(&mut self, server: ServerId, epochs: Epochs) {
        self.accepted.entry(epochs.accepted).or_default().insert(server);
    }

    /// A server begins an epoch. (Nobody begins one that no quorum has accepted, and nobody begins it
    /// without the history of its leader.)
    pub(crate) fn begins(&mut self, node: &Node, current: Epoch) {
        if node.peer.state() == State::Leading {
            let by = self.accepted.get(&current).cloned().unwrap_or_default();
            let known = self.is_quorum(node.last, &by);
            assert!(known, "epoch {} begins, accepted by {by:?}", current.0);
        } else if node.peer.state() == State::Looking {
            // A transaction of an epoch has all of its leader's history before it, and so has a snapshot of
            // its leader's, before there is one.
            let epochs = [node.synced.epoch(), node.peer.tree().last_zxid().epoch()];
            assert!(
                epochs.iter().any(|&epoch| epoch >= current),
                "{} is not of epoch {}",
                node.synced,
                current.0
            );
        } else if node.begins == current {
            // Whoever has a transaction of the epoch has all of its leader's history.
            assert!(
                node.synced >= node.owed || node.synced.epoch() == current,
                "server {} begins epoch {} with {} on its disk, and not {}",
                node.id.0,
                current.0,
                node.synced,
                node.owed
            );
        }
    }

    /// A server tells a leader that it has accepted its epoch: once, and never again.
    pub(crate) fn promise(&mut self, node: &Node) {
        let new = self.promised.insert((node.id, node.offered));
        assert!(new, "server {} accepts epoch {} twice", node.id.0, node.offered.0);
    }

    /// The session may end.
    pub(crate) fn may_end(&mut self, session: SessionId) {
        self.ending.insert(session.0);
    }

    /// Whether the session may end.
    pub(crate) fn is_ending(&self, session: SessionId) -> bool {
        self.ending.contains(&session.0)
    }

    /// A server appends a transaction behind `last`. (Integrity, prefix consistency, primary order.)
    pub(crate) fn append(&mut self, server: ServerId, last: Zxid, zxid: Zxid, txn: &[u8]) {
        match self.txns.get(&zxid) {
            Some(known) => assert_eq!(known, txn, "two transactions with zxid {zxid}"),
            None => {
                self.txns.insert(zxid, txn.to_vec());
                let header = Txn::decode(txn).expect("a transaction").header;
                assert!(
                    header.op != OpCode::CloseSession || self.ending.contains(&header.client_id.0),
                    "{zxid} ends session {}, which nobody asked for",
                    header.client_id
                );
            }
        }
        assert!(follows(last, zxid), "server {}: {zxid} behind {last}", server.0);
        let known = *self.before.entry(zxid).or_insert(last);
        assert_eq!(known, last, "server {}: what comes before {zxid}", server.0);
        if !self.latest.contains_key(&zxid) {
            let txn = Txn::decode(txn).expect("a transaction");
            let config = match &txn.record {
                Record::SetData(record) if txn.header.op == OpCode::Reconfig => {
                    let (members, version) = Members::parse(record.data.bytes());
                    assert_eq!(version, zxid.0, "the version of a reconfiguration");
                    self.configs.insert(zxid, members);
                    zxid
                }
                _ => self.latest(last),
            };
            self.latest.insert(zxid, config);
        }
    }

    /// A server begins to lead. (One leader for each epoch, and it has everything that was
    /// committed before.) `false`: it has led that epoch before.
    pub(crate) fn lead(&mut self, node: &Node) -> bool {
        let epoch = node.peer.epochs().current;
        let leader = *self.leaders.entry(epoch).or_insert(node.id);
        assert_eq!(leader, node.id, "two leaders of epoch {}", epoch.0);
        if self.before.contains_key(&Zxid::new(epoch, 0)) {
            return false;
        }
        self.before.insert(Zxid::new(epoch, 0), node.last);
        self.commit(node.id, node.last);
        // What a later leader has committed, before this one heard what made it one, is not its affair.
        let before = self.committed.iter().rev().find(|zxid| zxid.epoch() < epoch);
        assert_eq!(
            before.copied().unwrap_or_default(),
            node.last,
            "server {} leads epoch {} without what was committed",
            node.id.0,
            epoch.0
        );
        true
    }

    /// A server shows its clients the tree as of `zxid`. (Agreement, total order.)
    pub(crate) fn commit(&mut self, server: ServerId, zxid: Zxid) {
        let mut at = self.transaction(zxid);
        let mut new = vec![];
        while at != Zxid::ZERO && !self.places.contains_key(&at) {
            new.push(at);
            at = self.before[&at];
        }
        if new.is_empty() {
            return;
        }
        let last = self.committed.last().copied().unwrap_or_default();
        assert_eq!(at, last, "server {} goes on to {zxid} from {at}, others from {last}", server.0);
        for zxid in new.into_iter().rev() {
            let on = self.durable.get(&zxid).cloned().unwrap_or_default();
            let enough = self.is_quorum(zxid, &on);
            assert!(enough, "{zxid} is committed, and on the disks of {on:?} only");
            if let Some(apache) = self.apache {
                let others = on.into_iter().filter(|&id| id != apache).collect();
                self.needed += u64::from(!self.is_quorum(zxid, &others));
            }
            if self.latest[&zxid] == zxid {
                let own = self.leaders.last_key_value().is_some_and(|(e, _)| *e == zxid.epoch());
                self.changes.push((self.latest(self.before[&zxid]), zxid, own));
            }
            self.places.insert(zxid, self.committed.len());
            self.committed.push(zxid);
        }
    }

    /// Who has led in an epoch.
    pub(crate) fn leader(&self, epoch: Epoch) -> Option<ServerId> {
        self.leaders.get(&epoch).copied()
    }

    /// Whether that is a reconfiguration.
    pub(crate) fn is_config(&self, zxid: Zxid) -> bool {
        zxid != Zxid::ZERO && self.configs.contains_key(&zxid)
    }

    /// Whether a transaction was shown to clients.
    pub(crate) fn is_committed(&self, zxid: Zxid) -> bool {
        let last = self.transaction(zxid);
        last == Zxid::ZERO || self.places.contains_key(&last)
    }

    /// All transactions up to `last`, oldest first.
    pub(crate) fn history(&self, last: Zxid) -> Vec<Zxid> {
        let mut history = vec![];
        let mut at = last;
        while at > Zxid::ZERO {
            history.push(at);
            at = self.before[&at];
        }
        history.reverse();
        history
    }

    /// A server's tree as of some zxid. (The same everywhere.)
    pub(crate) fn digest(&mut self, server: ServerId, zxid: Zxid, digest: i64) {
        let known = *self.digests.entry(zxid).or_insert(digest);
        assert_eq!(known, digest, "server {} has another tree at {zxid}", server.0);
    }
}

/// What a server says: it must be true. Answers what of its disk that hangs on, if it is worth a
/// closer look.
pub(crate) fn said(node: &Node, message: &Message) -> Option<(Zxid, Epoch)> {
    let Message::Packet { kind, zxid, about } = message else { return None };
    match (*kind, about) {
        // What is acknowledged is durable.
        (Kind::Ack, _) => match epoch(*zxid) {
            Some(epoch) => {
                assert!(
                    node.epochs.current >= epoch,
                    "server {} acknowledges the history of epoch {}, and would forget the epoch",
                    node.id.0,
                    epoch.0
                );
                assert!(
                    node.synced >= node.owed,
                    "server {} acknowledges the history up to {}, and has it up to {}",
                    node.id.0,
                    node.owed,
                    node.synced
                );
                Some((node.owed, epoch))
            }
            None => {
                assert!(
                    node.synced >= *zxid,
                    "server {} acknowledges {zxid}, and has {}",
                    node.id.0,
                    node.synced
                );
                Some((*zxid, Epoch(0)))
            }
        },
        (Kind::AckEpoch, About::Epoch(_)) => {
            assert!(
                node.epochs.accepted >= node.offered,
                "server {} accepts epoch {}, and would forget it",
                node.id.0,
                node.offered.0
            );
            None
        }
        _ => None,
    }
}

/// A server has taken what its leader says.
pub(crate) fn heard(node: &mut Node, message: &Message) {
    let Message::Packet { kind, zxid, .. } = message else { return };
    match *kind {
        Kind::Diff | Kind::Trunc | Kind::Snap => {
            node.taken = Zxid::ZERO;
            node.begins = Epoch(0);
        }
        Kind::Proposal | Kind::Inform | Kind::InformAndActivate => node.taken = *zxid,
        Kind::NewLeader => {
            node.owed = node.taken;
            node.begins = zxid.epoch();
        }
        Kind::LeaderInfo => node.offered = zxid.epoch(),
        _ => {}
    }
}
