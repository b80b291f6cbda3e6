//! A tree that differs from what its leader says of it.
//!
//! Each transaction carries the digest of the tree behind it. A difference is counted and said. Once
//! an epoch the sum is made anew from the nodes: then either the sum was wrong, or a node is. In that
//! case a learner asks its leader for a snapshot, as whoever has lost its history does, if that can
//! be: an observer always, a follower while the leader says that a quorum without it is in line. Its
//! history is whole all the same, and so it votes with it: should the others have lost their leader
//! meanwhile, it helps to elect one, and keeps its tree. (Apache counts and goes on.)
//!
//! A snapshot that comes from an Apache leader is taken while that applies transactions, and has some of
//! what comes behind it. All of that was committed before its end was sent, and is said again before
//! NEWLEADER: until then, the tree is what no transaction promises.

use super::ensemble::Ensemble;
use super::{Peer, State};
use crate::id::{Epoch, Zxid};
use crate::time::Now;
use crate::trace::{repeated, warning};
use crate::wire::txn::TxnDigest;

/// What is known of a difference.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// The epoch in which the sum was made anew.
    epoch: Option<Epoch>,
    /// The nodes are not what they should be.
    differs: bool,
    /// A snapshot is to be asked for.
    asks: bool,
    /// What transactions before this one promise is not looked at.
    settled: Zxid,
}

impl Doubt {
    /// A snapshot was taken over that may have some of what comes behind it.
    pub(super) fn unsettle(&mut self) {
        self.settled = UNSETTLED;
    }

    /// All that it may have ends with that transaction.
    pub(super) fn settle(&mut self, last: Zxid) {
        if self.settled == UNSETTLED {
            self.settled = last;
        }
    }
}

/// Behind all transactions.
const UNSETTLED: Zxid = Zxid(i64::MAX);

impl Peer<'_> {
    /// Whether the tree's digest is what was said of it.
    pub(super) fn check_digest(&mut self, zxid: Zxid, promised: Option<TxnDigest>) -> bool {
        let digest = self.tree.digest();
        self.digests.note(zxid, digest);
        let Some(promised) = promised.filter(|p| p.version == TxnDigest::VERSION) else {
            return true;
        };
        if promised.tree_digest == digest {
            // It had what came later.
            self.trust();
            return true;
        }
        self.stats.digest_mismatches += 1;
        // One difference goes on through all that follows.
        repeated!(
            self.often.digests,
            "the tree differs from what zxid {:#x} promised: its digest is {:#x}, not {:#x} (time {})",
            zxid.0,
            digest,
            promised.tree_digest
        );
        false
    }

    /// The same, behind a transaction that was applied: finds out what is wrong.
    pub(super) fn compare_digest(&mut self, zxid: Zxid, promised: Option<TxnDigest>) {
        if zxid < self.ensemble.doubt.settled
            || self.check_digest(zxid, promised)
            || self.ensemble.doubt.epoch == Some(zxid.epoch())
        {
            return;
        }
        // As long as the longest path, at least.
        self.need_scratch(self.options.max_txn);
        let right = self.tree.recount_digest(&mut self.scratch);
        let differs = promised.is_some_and(|promised| promised.tree_digest != right);
        self.ensemble.doubt = Doubt { epoch: Some(zxid.epoch()), differs, ..self.ensemble.doubt };
        if differs {
            warning!("the nodes have the digest {:#x}: some are not what they should be", right);
        } else {
            warning!("the nodes have that digest: only their sum was wrong, and is right now");
        }
    }

    /// The nodes are what they should be, or were loaded anew.
    pub(super) fn trust(&mut self) {
        let doubt = &mut self.ensemble.doubt;
        (doubt.differs, doubt.asks) = (false, false);
    }

    /// Whether the leader that was found is to be asked for a snapshot: once, and only if it can do
    /// without this peer, which counts for nothing until it has that.
    pub(super) fn is_healing(&mut self) -> bool {
        let Ensemble { doubt, election, quorums, .. } = &mut self.ensemble;
        core::mem::take(&mut doubt.asks) && election.is_led_without_me(quorums)
    }

    /// Asks the leader for a snapshot if nodes are wrong, and nobody depends on this member.
    pub(super) fn heal(&mut self, now: Now) {
        let spared = match self.state {
            State::Observing => true,
            State::Following => self.ensemble.learner.is_spared(),
            _ => false,
        };
        if self.ensemble.doubt.differs && self.ensemble.serving && spared {
            warning!("asking server {} for a snapshot", self.ensemble.learner.leader().0);
            self.trust();
            self.ensemble.doubt.asks = true;
            self.look(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::peer::{Ceilings, Options};
    use crate::tree::Seeds;

    /// A sum that went wrong by itself is put right, and no snapshot is asked for.
    #[test]
    fn a_wrong_sum_over_right_nodes_is_made_anew() {
        let now = Now::new(0, 0);
        let ceilings = Ceilings::default();
        let mut peer =
            Peer::owned(Options::default(), ceilings, Seeds(1, 2), SessionId(1), now).unwrap();
        let right = peer.tree.digest();
        let promised = Some(TxnDigest { version: TxnDigest::VERSION, tree_digest: right });
        for epoch in [1, 2] {
            peer.tree.spoil_digest();
            assert_ne!(peer.tree.digest(), right);
            peer.compare_digest(Zxid::new(Epoch(epoch), 1), promised);
            assert_eq!(peer.tree.digest(), right);
            assert!(!peer.ensemble.doubt.differs);
            assert_eq!(peer.stats.digest_mismatches, u64::from(epoch));
        }
    }
}
