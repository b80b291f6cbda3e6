//! Electing a leader: FastLeaderElection as a state machine.
//!
//! A peer that looks for a leader tells all voters whom it would elect, beginning with itself, and
//! takes over every better vote that it hears: a later epoch, a later zxid, a higher id. When a
//! quorum votes as it does, it waits a moment for a better vote, and decides. A peer that has a
//! leader answers whoever looks for one, and so a late one joins.
//!
//! Nothing is queued: [`Election`] remembers the latest vote of each other server, and one bit
//! that says whether the latest own vote is still to be told to it. The caller connects to those
//! whom something is to be told ([`Election::wanted`]), and asks what it is when it can send it
//! ([`Election::poll_vote`]).
//!
//! Answers to `FastLeaderElection`, with these differences, none of which another server can tell
//! from a faster or slower network:
//!
//! - Only the latest word of a server counts. In Apache, a server that followed a leader and now
//!   looks for one counts as both.
//! - When all voters agree that can be reached, there is no better vote to wait for.
//! - While it waits, a vote that ends the agreement ends the waiting at once.
//! - Its own vote is told again at fixed times, whatever is heard meanwhile, and at once when a
//!   link comes up.
//! - The outcome is told to those who are known to look for a leader, before they ask again.
//! - Who asks without having a vote is told what the peer would elect now, not what it elected last.

mod greet;
mod vote;

use crate::id::{ServerId, Zxid};
use crate::memory::Table;
#[cfg(feature = "alloc")]
use crate::quorum::MEMBERS_MAX;
use crate::quorum::{Quorums, Role};
use crate::time::Instant;
use crate::wire::election::Notification;
pub use crate::wire::election::ServerState;
pub use greet::{Caller, Greeting, accepted, opened};
use vote::Heard;
pub use vote::Vote;

/// The most servers outside of every configuration that are answered at a time.
pub const STRANGERS_MAX: usize = if cfg!(zk_handle16) { 2 } else { 8 };

/// Times of an election, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a better vote is waited for once a quorum agrees.
    pub finalize_wait: u64,
    /// After what time without a decision all are told again. It doubles each time.
    pub min_notification: u64,
    /// The longest such time.
    pub max_notification: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { finalize_wait: 200, min_notification: 200, max_notification: 60_000 }
    }
}

/// What is known of another server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Voter {
    /// Which; `None` is a free entry.
    id: Option<ServerId>,
    /// It had a vote when votes were last told.
    votes: bool,
    /// It has not been told the latest vote.
    unheard: bool,
    /// When it was last heard, it was looking for a leader.
    looks: bool,
    /// It was called in this round, and did not answer.
    away: bool,
    /// Its latest vote.
    heard: Option<Heard>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing was looked for yet.
    Idle,
    Looking {
        /// When all are told again.
        tell_at: Instant,
        /// The time until then, ms.
        interval: u64,
        /// A quorum agrees, and this is when no better vote is waited for any more.
        decide_at: Option<Instant>,
    },
    Decided(ServerState),
}

/// A peer's part in elections.
#[derive(Debug)]
pub struct Election<'m> {
    me: ServerId,
    options: Options,
    others: Table<'m, Voter>,
    /// Entries of `others` that were ever used.
    len: usize,
    phase: Phase,
    /// The vote with which the peer began to look.
    initial: Vote,
    /// While looking, the proposal; then, the decision. Its round is the peer's logical clock.
    vote: Vote,
}

impl<'m> Election<'m> {
    /// `me` has not looked for a leader yet, and tells nobody anything.
    ///
    /// `others` has room for one entry for every other server of the committed and the proposed
    /// configuration, and for some that are in neither and ask.
    pub fn new(me: ServerId, others: Table<'m, Voter>, options: Options) -> Self {
        let vote = Vote { leader: me, zxid: Zxid::ZERO, round: 0, peer_epoch: 0 };
        Self { me, options, others, len: 0, phase: Phase::Idle, initial: vote, vote }
    }

    /// Like [`new`](Self::new), on the heap, for the largest ensembles.
    #[cfg(feature = "alloc")]
    pub fn owned(me: ServerId, options: Options) -> Self {
        Self::new(me, Table::owned(2 * MEMBERS_MAX + STRANGERS_MAX), options)
    }

    /// Begins to look for a leader, in a new round.
    ///
    /// `last_zxid` is that of the last transaction in the peer's log, `epoch` its current epoch.
    /// With [`Zxid::NONE`] the peer does not vote (its history is damaged), and can only join a
    /// leader that others have. A server without a vote proposes nobody.
    ///
    /// Answers to the beginning of `lookForLeader`.
    pub fn look(&mut self, now: Instant, quorums: &Quorums<'_>, last_zxid: Zxid, epoch: i64) {
        // As Java counts: whoever lags is told.
        let round = self.vote.round.wrapping_add(1);
        let (mut leader, mut zxid, mut peer_epoch) = (self.me, last_zxid, epoch);
        if !quorums.committed.is_participant(self.me) {
            leader = ServerId(i64::MIN);
        }
        if self.learner_state(quorums) == ServerState::Observing {
            (zxid, peer_epoch) = (Zxid(i64::MIN), i64::MIN);
        }
        self.initial = Vote { leader, zxid, round, peer_epoch };
        self.vote = self.initial;
        for other in self.others.iter_mut().take(self.len) {
            // Voters will say so themselves; others have asked and wait for the outcome.
            let looks = other.looks && !other.id.is_some_and(|id| quorums.is_voter(id));
            *other = Voter { id: other.id, looks, ..Voter::default() };
        }
        let interval = self.options.min_notification;
        self.phase = Phase::Looking { tell_at: now, interval, decide_at: None };
        self.tell_all(now, quorums);
        self.count(now, quorums);
    }

    /// Takes a notification that the server `from` has sent.
    pub fn receive(
        &mut self,
        now: Instant,
        quorums: &Quorums<'_>,
        from: ServerId,
        n: &Notification<'_>,
    ) {
        if from == self.me || matches!(self.phase, Phase::Idle) {
            return;
        }
        let Some(at) = self.place(from, quorums) else { return };
        let heard = Heard::of(n);
        let looks = n.state == ServerState::Looking;
        self.others[at].looks = looks;
        self.others[at].away = false;
        let votes = quorums.is_voter(from);
        match self.phase {
            Phase::Idle | Phase::Decided(_) => {
                self.others[at].unheard |= looks;
                if votes {
                    self.others[at].heard = Some(heard);
                }
            }
            Phase::Looking { decide_at, .. } => {
                // Whoever lags is answered at once, and so is who has no vote and asks. (One in a later round
                // has no use for this vote: with an answer to each answer, there would be no end.)
                let own = self.vote.round.wrapping_add(i64::from(!votes));
                self.others[at].unheard |= looks && n.round < own;
                if votes && quorums.is_voter(n.leader) {
                    self.consider(now, quorums, at, heard, decide_at.is_some());
                    self.count(now, quorums);
                }
            }
        }
    }

    /// Lets time pass: tells all again, or decides.
    pub fn tick(&mut self, now: Instant, quorums: &Quorums<'_>) {
        let Phase::Looking { tell_at, interval, decide_at } = &mut self.phase else { return };
        match decide_at {
            Some(at) if *at <= now => self.decide(self.vote, quorums),
            None if *tell_at <= now => {
                *interval = interval.saturating_mul(2).min(self.options.max_notification);
                self.tell_all(now, quorums);
            }
            _ => {}
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Looking { tell_at, decide_at, .. } => Some(decide_at.unwrap_or(tell_at)),
            _ => None,
        }
    }

    /// The outcome, once there is one, until the peer looks again: the vote that won, and what the
    /// peer does now.
    pub fn decided(&self) -> Option<(Vote, ServerState)> {
        match self.phase {
            Phase::Decided(state) => Some((self.vote, state)),
            _ => None,
        }
    }

    /// Whether a quorum has the leader that was decided on, without this peer.
    pub fn is_led_without_me(&self, quorums: &Quorums<'_>) -> bool {
        let Phase::Decided(state) = self.phase else { return false };
        let outcome = Heard { vote: self.vote, state, version: Notification::VERSION };
        self.have_established(quorums, &outcome)
    }

    /// What is told to others: what the peer is doing, and its vote. `None` before it first looked.
    pub fn current(&self) -> Option<(ServerState, Vote)> {
        match self.phase {
            Phase::Idle => None,
            Phase::Looking { .. } => Some((ServerState::Looking, self.vote)),
            Phase::Decided(state) => Some((state, self.vote)),
        }
    }

    /// A reconfiguration has named the leader, whose history ends at `zxid` or later: there is nothing
    /// to elect. If it does not lead, the peer looks again.
    ///
    /// Answers to `QuorumPeer.updateVote`.
    pub fn appoint(&mut self, leader: ServerId, zxid: Zxid, quorums: &Quorums<'_>) {
        self.decide(Vote { leader, zxid, ..self.vote }, quorums);
    }

    /// The leader that was decided on leads in `epoch`: this is what others are told from now on.
    ///
    /// Answers to `QuorumPeer.updateElectionVote`.
    pub fn set_epoch(&mut self, epoch: i64) {
        if let Phase::Decided(_) = self.phase {
            self.vote.peer_epoch = epoch;
        }
    }

    /// Whether this peer, those for whom `follows` holds, and those who were last heard to be of the
    /// same mind as the decision are a quorum. A leader that waits for followers waits in vain when
    /// this is false: they look for another. It tells nothing after [`set_epoch`](Self::set_epoch).
    ///
    /// Answers to `Leader.reportLookingSid`.
    pub fn is_supported(
        &self,
        quorums: &Quorums<'_>,
        follows: impl Fn(ServerId) -> bool + Copy,
    ) -> bool {
        let Phase::Decided(state) = self.phase else { return false };
        let outcome = Heard { vote: self.vote, state, version: Notification::VERSION };
        let agrees = |id| self.heard(id).is_some_and(|heard| heard.agrees(&outcome));
        quorums.has_quorum(|id| id == self.me || follows(id) || agrees(id))
    }

    /// A link to the server `other` is up: what it was last told may never have arrived.
    pub fn link_up(&mut self, other: ServerId) {
        if let Some(other) = self.find(other).and_then(|at| self.others.get_mut(at)) {
            other.unheard |= other.votes;
            other.away = false;
        }
    }

    /// The server `other` was called, and cannot be reached now.
    pub fn missed(&mut self, now: Instant, quorums: &Quorums<'_>, other: ServerId) {
        if let Some(other) = self.find(other).and_then(|at| self.others.get_mut(at)) {
            other.away = true;
            self.count(now, quorums);
        }
    }

    /// The link to the server `other` is gone.
    pub fn link_down(&mut self, other: ServerId) {
        let looking = matches!(self.phase, Phase::Looking { .. });
        if let Some(other) = self.find(other).and_then(|at| self.others.get_mut(at)) {
            // Who has a leader only answers, and whoever still wants to know will ask again.
            other.unheard = other.votes && looking;
            if !other.votes && other.heard.is_none() {
                *other = Voter::default();
            }
        }
    }

    /// Whether something is to be told to the server `other`.
    pub fn wants(&self, other: ServerId) -> bool {
        self.wanted().any(|id| id == other)
    }

    /// All to whom something is to be told: links to them are needed.
    pub fn wanted(&self) -> impl Iterator<Item = ServerId> {
        let used = self.others.iter().take(self.len);
        used.filter(|other| other.unheard).filter_map(|other| other.id)
    }

    /// What is to be told to the server `to`, which now counts as told.
    pub fn poll_vote(&mut self, to: ServerId) -> Option<(ServerState, Vote)> {
        let current = self.current();
        let other = self.find(to).and_then(|at| self.others.get_mut(at))?;
        if core::mem::take(&mut other.unheard) { current } else { None }
    }

    /// Weighs what the voter at `at` says for a voter. `waiting` says that a quorum agrees already.
    fn consider(
        &mut self,
        now: Instant,
        quorums: &Quorums<'_>,
        at: usize,
        heard: Heard,
        waiting: bool,
    ) {
        let Heard { vote, state, .. } = heard;
        let committed = &quorums.committed;
        let next = match state {
            ServerState::Observing => return,
            ServerState::Following | ServerState::Leading => {
                self.others[at].heard = Some(heard);
                if self.is_established(quorums, &heard) {
                    self.decide(vote, quorums);
                }
                return;
            }
            // It does not vote, or not yet in this round; or this peer does not. What it said
            // before is void.
            ServerState::Looking if !self.in_turn(&vote) => {
                self.others[at].heard = None;
                // Whoever has no history to vote with asks in each round anew who is elected.
                let asks = self.initial.zxid == Zxid::NONE && vote.zxid != Zxid::NONE;
                if asks && vote.round > self.vote.round {
                    self.vote.round = vote.round;
                    self.tell_all(now, quorums);
                }
                return;
            }
            ServerState::Looking if vote.round > self.vote.round => {
                if waiting && !vote.beats(&self.vote, committed) {
                    // A quorum does without it; it will hear of the outcome.
                    return;
                }
                let better = vote.beats(&self.initial, committed);
                Some(Vote { round: vote.round, ..if better { vote } else { self.initial } })
            }
            ServerState::Looking => Some(vote).filter(|vote| vote.beats(&self.vote, committed)),
        };
        self.others[at].heard = Some(heard);
        if let Some(vote) = next {
            self.vote = vote;
            self.tell_all(now, quorums);
        }
    }

    /// Whether a vote of somebody who looks counts for this peer.
    fn in_turn(&self, vote: &Vote) -> bool {
        let nobody_is_damaged = self.initial.zxid != Zxid::NONE && vote.zxid != Zxid::NONE;
        // Whoever has no vote yet has no round either: an observer takes those of the voters.
        let votes = self.vote.leader != ServerId(i64::MIN);
        nobody_is_damaged && (vote.round >= self.vote.round || !votes)
    }

    /// Whether a quorum has the leader of `word`, by one that follows or leads, and the leader
    /// itself says so.
    ///
    /// Without the latter, those who have not yet noticed that their leader is gone would elect it
    /// again and again. Answers to `receivedFollowingNotification` and `checkLeader`.
    fn is_established(&self, quorums: &Quorums<'_>, word: &Heard) -> bool {
        let round = self.vote.round;
        let leader = word.vote.leader;
        let leads = |all: bool| {
            if leader == self.me {
                // Those of an earlier round may not know that it is over, nor that the history that
                // they have elected is lost.
                return word.vote.round == round && self.initial.zxid != Zxid::NONE;
            }
            let said = self.heard(leader).filter(|said| all || said.vote.round == round);
            said.is_some_and(|said| said.state == ServerState::Leading)
        };
        // Votes of this round, whatever their senders do now. What version they had is forgotten.
        let in_round = |id| {
            let said = if id == self.me {
                let mine = Heard { vote: self.vote, state: ServerState::Looking, version: 0 };
                Some(mine).filter(|_| self.has_voted(quorums))
            } else {
                self.heard(id).filter(|said| said.vote.round == round)
            };
            said.is_some_and(|said| Heard { version: 0, ..said }.agrees(word))
        };
        if word.vote.round == round && quorums.has_quorum(in_round) && leads(false) {
            return true;
        }
        self.have_established(quorums, word) && leads(true)
    }

    /// Whether a quorum of others has the leader of `word`, in votes of any round.
    fn have_established(&self, quorums: &Quorums<'_>, word: &Heard) -> bool {
        quorums.has_some_quorum(|id| {
            let said = self.heard(id).filter(Heard::is_established);
            said.is_some_and(|said| said.agrees(word))
        })
    }

    /// Whether this peer's proposal counts as a vote.
    fn has_voted(&self, quorums: &Quorums<'_>) -> bool {
        let votes = |id| quorums.is_voter(id);
        self.initial.zxid != Zxid::NONE && votes(self.me) && votes(self.vote.leader)
    }

    /// Counts who votes as this peer does, and decides, waits, or goes on.
    fn count(&mut self, now: Instant, quorums: &Quorums<'_>) {
        let Phase::Looking { decide_at, .. } = self.phase else { return };
        let mine = Heard { vote: self.vote, state: ServerState::Looking, version: 0 };
        let agrees = |id| {
            if id == self.me {
                self.has_voted(quorums)
            } else {
                self.heard(id).is_some_and(|heard| heard.agrees(&mine))
            }
        };
        let next = if self.initial.zxid == Zxid::NONE || !quorums.has_quorum(agrees) {
            None
        } else if quorums.voters().all(|id| agrees(id) || self.is_away(id)) {
            return self.decide(self.vote, quorums);
        } else {
            Some(decide_at.unwrap_or_else(|| now.plus(self.options.finalize_wait)))
        };
        if let Phase::Looking { decide_at, .. } = &mut self.phase {
            *decide_at = next;
        }
    }

    fn decide(&mut self, vote: Vote, quorums: &Quorums<'_>) {
        self.vote = vote;
        let leads = vote.leader == self.me;
        let state = if leads { ServerState::Leading } else { self.learner_state(quorums) };
        self.phase = Phase::Decided(state);
        // Whoever looks for a leader and does not vote for this one hears of it.
        let outcome = Heard { vote, state, version: Notification::VERSION };
        for other in self.others.iter_mut().take(self.len) {
            other.unheard |=
                other.looks && !other.heard.is_some_and(|heard| heard.agrees(&outcome));
        }
    }

    /// What the peer does when another leads.
    fn learner_state(&self, quorums: &Quorums<'_>) -> ServerState {
        match quorums.committed.member(self.me).map(|member| member.role) {
            Some(Role::Observer) => ServerState::Observing,
            _ => ServerState::Following,
        }
    }

    /// Every voter is to be told the proposal.
    fn tell_all(&mut self, now: Instant, quorums: &Quorums<'_>) {
        let me = self.me;
        for id in quorums.voters().filter(|&id| id != me) {
            if let Some(at) = self.place(id, quorums) {
                (self.others[at].votes, self.others[at].unheard) = (true, true);
            }
        }
        if let Phase::Looking { tell_at, interval, .. } = &mut self.phase {
            *tell_at = now.plus(*interval);
        }
    }

    fn is_away(&self, id: ServerId) -> bool {
        self.find(id).and_then(|at| self.others.get(at)).is_some_and(|other| other.away)
    }

    fn heard(&self, id: ServerId) -> Option<Heard> {
        self.others.get(self.find(id)?)?.heard
    }

    fn find(&self, id: ServerId) -> Option<usize> {
        self.others.iter().take(self.len).position(|other| other.id == Some(id))
    }

    /// The entry of a server, a new one if it has none. `None` if there is no room for it.
    fn place(&mut self, id: ServerId, quorums: &Quorums<'_>) -> Option<usize> {
        if let Some(at) = self.find(id) {
            return Some(at);
        }
        let stranger = |other: &Voter| other.id.is_some_and(|id| !quorums.knows(id));
        let used = self.others.get(..self.len)?;
        let strangers = used.iter().filter(|other| stranger(other)).count();
        let known = quorums.knows(id);
        if !known && strangers >= STRANGERS_MAX {
            return None;
        }
        let free = used.iter().position(|other| other.id.is_none());
        let at = match free {
            Some(at) => at,
            None if self.others.reach(self.len + 1) => {
                self.len += 1;
                self.len - 1
            }
            // Members come first.
            None if known => self.others.iter().position(stranger)?,
            None => return None,
        };
        *self.others.get_mut(at)? = Voter { id: Some(id), ..Voter::default() };
        Some(at)
    }
}

#[cfg(test)]
mod tests;
