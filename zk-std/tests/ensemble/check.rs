//! What must hold after every step, and between every two.

use std::collections::{BTreeMap, BTreeSet};

use zk_core::id::{Epoch, ServerId, SessionId, Zxid};
use zk_core::peer::{Epochs, State};
use zk_core::wire::OpCode;
use zk_core::wire::quorum::Kind;
use zk_core::wire::txn::Txn;
use zk_core::zab::leader::follows;

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
    /// Voters that have had a transaction on their disk.
    durable: BTreeMap<Zxid, BTreeSet<ServerId>>,
    /// Voters that have accepted an epoch.
    accepted: BTreeMap<Epoch, BTreeSet<ServerId>>,
    /// Epochs that voters have promised to a leader.
    promised: BTreeSet<(ServerId, Epoch)>,
    /// How many are a quorum.
    quorum: usize,
    /// Sessions that may end: their clients have asked for it, or were silent for long enough.
    ending: BTreeSet<i64>,
}

impl Agreement {
    /// The last transaction in a history that ends at `zxid`.
    pub(crate) fn transaction(&self, zxid: Zxid) -> Zxid {
        match epoch(zxid) {
            Some(_) if zxid != Zxid::ZERO => self.before[&zxid],
            _ => zxid,
        }
    }

    /// Nothing has happened; so many servers vote.
    pub(crate) fn new(voters: usize) -> Self {
        Self { quorum: voters / 2 + 1, ..Self::default() }
    }

    /// A voter's disk has a transaction, and all that come before it.
    pub(crate) fn durable(&mut self, server: ServerId, zxid: Zxid) {
        let mut at = zxid;
        while at != Zxid::ZERO && self.durable.entry(at).or_default().insert(server) {
            at = self.before[&at];
        }
    }

    /// A voter's epochs are durable. (Nobody begins an epoch that no quorum has accepted, and nobody
    /// begins it without the history of its leader.)
    pub(crate) fn epochs(&mut self, node: &Node, before: Epochs) {
        let Epochs { accepted, current } = node.epochs;
        if accepted > before.accepted {
            self.accepted.entry(accepted).or_default().insert(node.id);
        }
        if current == before.current {
            return;
        }
        if node.peer.state() == State::Leading {
            let by = self.accepted.get(&current).map_or(0, BTreeSet::len);
            assert!(by >= self.quorum, "epoch {} begins, accepted by {by} voters", current.0);
        } else if node.peer.state() == State::Looking {
            // A transaction of an epoch has all of its leader's history before it.
            assert!(
                node.synced.epoch() >= current,
                "{} is not of epoch {}",
                node.synced,
                current.0
            );
        } else if node.begins == current {
            assert!(
                node.synced >= node.owed,
                "server {} begins epoch {} with {} on its disk, and not {}",
                node.id.0,
                current.0,
                node.synced,
                node.owed
            );
        }
    }

    /// A voter tells a leader that it has accepted its epoch: once, and never again.
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
    }

    /// A server begins to lead. (One leader for each epoch, and it has everything that was ever
    /// committed.) `false`: it has led that epoch before.
    pub(crate) fn lead(&mut self, node: &Node) -> bool {
        let epoch = node.peer.epochs().current;
        let leader = *self.leaders.entry(epoch).or_insert(node.id);
        assert_eq!(leader, node.id, "two leaders of epoch {}", epoch.0);
        if self.before.contains_key(&Zxid::new(epoch, 0)) {
            return false;
        }
        self.before.insert(Zxid::new(epoch, 0), node.last);
        self.commit(node.id, node.last);
        assert_eq!(
            self.committed.last().copied().unwrap_or_default(),
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
            let on = self.durable.get(&zxid).map_or(0, BTreeSet::len);
            assert!(on >= self.quorum, "{zxid} is committed, and on the disks of {on} voters");
            self.places.insert(zxid, self.committed.len());
            self.committed.push(zxid);
        }
    }

    /// Whether a transaction was shown to clients.
    pub(crate) fn is_committed(&self, zxid: Zxid) -> bool {
        zxid == Zxid::ZERO || self.places.contains_key(&self.transaction(zxid))
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
        Kind::Proposal | Kind::Inform => node.taken = *zxid,
        Kind::NewLeader => {
            node.owed = node.taken;
            node.begins = zxid.epoch();
        }
        Kind::LeaderInfo => node.offered = zxid.epoch(),
        _ => {}
    }
}
