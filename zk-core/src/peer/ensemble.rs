//! A member among others: whom it knows, what it is up to, and how it changes roles.
//!
//! A peer that has loaded its history [`join`](Peer::join)s its ensemble and looks for a leader.
//! What the election decides makes it a leader ([`leading`](super::leading)) or a learner
//! ([`following`](super::following)); whatever ends that makes it look again. Every change of roles
//! closes the connections of all clients, so that a write of unknown fate is never asked again.
//!
//! Answers to `QuorumPeer`.

use super::capacity::Retreat;
use super::member::{Address, MemberConnection, Members};
use super::mismatch::Doubt;
use super::pipeline::PendingEntry;
use super::{Peer, State};
use crate::election::{self, Election, ServerState};
use crate::id::{Epoch, ServerId, Zxid};
use crate::memory::{Handle, Pipe, Ring, Table, Unit};
use crate::quorum::{Config, ConfigError, Quorums};
use crate::time::{Instant, Now};
use crate::trace::{info, warning};
use crate::tree::path::CONFIG;
use crate::zab::leader::{self, Leader};
use crate::zab::learner::Learner;
use crate::zab::scan::Scanner;
use crate::zab::{Timing, Violation, Window};

/// The two epochs of a member, as they are on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// The latest epoch that it has accepted: it hears of no earlier one any more.
    pub accepted: Epoch,
    /// The latest epoch whose leader's history it has.
    pub current: Epoch,
}

/// What a peer must know to join its ensemble.
#[derive(Clone, Copy, Debug)]
pub struct Membership<'a> {
    /// The configuration, as `/zookeeper/config` shows it.
    pub config: &'a [u8],
    /// A later configuration that was proposed and perhaps not committed, if a file has one.
    pub proposed: Option<&'a [u8]>,
    /// The epochs on the disk.
    pub epochs: Epochs,
    /// The history cannot be trusted to be complete: the peer must not vote before a leader has
    /// brought it in line.
    pub damaged: bool,
}

/// Storage of what concerns other members.
#[derive(Debug, Default)]
pub struct Storage<'m> {
    /// Room for a configuration, and for one more where it may change.
    pub quorums: Quorums<'m>,
    /// Of the election.
    pub voters: Table<'m, election::Voter>,
    /// One for each link to another member. Of lent buffers those that packets
    /// fit come first, and then those that only notifications fit.
    pub links: Table<'m, MemberConnection<'m>>,
    /// The addresses of other members, all together.
    pub addresses: Table<'m, Address>,
    /// As many as links that packets fit.
    pub learners: Table<'m, leader::Learner>,
    /// Bytes of a snapshot that is coming and wait for the disk.
    pub install: Table<'m, u8>,
    /// Clients that wait for an answer of the leader: as many as there are connections, twice.
    pub asking: [Table<'m, Asking>; 2],
}

/// Links to other members that there can be at once: four each, and strangers.
#[cfg(feature = "alloc")]
const LINKS_MAX: usize = 4 * crate::quorum::MEMBERS_MAX + 16;

/// Addresses of all members together.
#[cfg(feature = "alloc")]
const ADDRESSES_MAX: usize = 16 * crate::quorum::MEMBERS_MAX;

/// Bytes of a snapshot that wait for the disk before the leader's link is not read.
#[cfg(feature = "alloc")]
const INSTALL_MAX: usize = 1 << 20;

/// Milliseconds, or a tick if that is more, that an election may take before clients that only read
/// are served. Answers to `QuorumPeer.run`.
const READ_ONLY_GRACE: u32 = 2000;

#[cfg(feature = "alloc")]
impl Storage<'_> {
    /// Storage that allocates as it grows.
    pub fn owned(connections: usize) -> Self {
        Self {
            quorums: Quorums::owned(),
            voters: Table::owned(2 * crate::quorum::MEMBERS_MAX + election::STRANGERS_MAX),
            links: Table::owned(LINKS_MAX),
            addresses: Table::owned(ADDRESSES_MAX),
            learners: Table::owned(LINKS_MAX),
            install: Table::owned(INSTALL_MAX),
            asking: [Table::owned(connections), Table::owned(connections)],
        }
    }
}

/// A client's connection that waits for its leader's answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asking {
    pub(super) link: Handle,
    pub(super) serial: u64,
}

/// What is being done to the files of the history, besides appending to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    Idle,
    /// To be cut behind that zxid; with the disk.
    Cut(Zxid),
    Cutting,
    /// A snapshot is to be received; its bytes go to the disk, one piece at a time.
    Begin(Zxid),
    Receiving {
        out: bool,
    },
    Installing,
    /// What has come of a snapshot is to be dropped.
    Drop,
}

/// What a peer knows of its ensemble.
#[derive(Debug)]
pub(super) struct Ensemble<'m> {
    pub(super) quorums: Quorums<'m>,
    pub(super) election: Election<'m>,
    pub(super) leader: Leader<'m>,
    pub(super) learner: Learner,
    pub(super) members: Members<'m>,
    /// The epochs on the disk, and those that are on their way there.
    pub(super) epochs: Epochs,
    pub(super) writing: Option<Epochs>,
    /// The epoch of the last transaction, when the peer began to look: its leader's history is here.
    floor: Epoch,
    pub(super) damaged: bool,
    /// The history cannot be cut where a leader wanted it.
    pub(super) uncut: bool,
    /// The newest whole snapshot on the disk.
    pub(super) snapshot: Option<Zxid>,
    pub(super) files: Files,
    pub(super) install: Pipe<'m>,
    pub(super) scanner: Scanner,
    /// The election waits for the disk.
    settling: bool,
    /// When clients that only read may be served.
    read_only_at: Option<Instant>,
    /// Clients may be served.
    pub(super) serving: bool,
    /// The link to the leader.
    pub(super) uplink: Option<usize>,
    /// Clients that wait for an answer of the leader, in the order in which they asked: the leader
    /// answers in that order.
    pub(super) syncs: Ring<'m, Asking>,
    pub(super) returns: Ring<'m, Asking>,
    /// Something may have to be said to a member.
    pub(super) dirty: bool,
    /// Who leads next: a reconfiguration has said so.
    pub(super) appointed: Option<ServerId>,
    /// When a leader was last called first.
    pub(super) dialled: Instant,
    /// The configuration has changed: this server may have another place in it.
    pub(super) reconfigured: bool,
    /// The tree may not be what the leader's is.
    pub(super) doubt: Doubt,
    /// The leader may say more than this server can hold.
    pub(super) unbounded: bool,
    /// It has.
    pub(super) retreat: Retreat,
}

impl<'m> Ensemble<'m> {
    pub(super) fn new(storage: Storage<'m>, me: ServerId) -> Self {
        let Storage { quorums, voters, links, addresses, learners, install, asking } = storage;
        let [syncs, returns] = asking;
        Self {
            quorums,
            election: Election::new(me, voters, election::Options::default()),
            leader: Leader::new(learners),
            learner: Learner::default(),
            members: Members::new(links, addresses),
            epochs: Epochs::default(),
            writing: None,
            floor: Epoch(0),
            damaged: false,
            uncut: false,
            snapshot: None,
            files: Files::Idle,
            install: Pipe::new(install),
            scanner: Scanner::new(0, Unit::OWN),
            settling: false,
            read_only_at: None,
            serving: false,
            uplink: None,
            syncs: Ring::new(syncs),
            returns: Ring::new(returns),
            dirty: false,
            appointed: None,
            dialled: Instant(0),
            reconfigured: false,
            doubt: Doubt::default(),
            unbounded: false,
            retreat: Retreat::default(),
        }
    }
}

impl<'m> Peer<'m> {
    /// The history is loaded: the peer looks for the others of its ensemble.
    ///
    /// # Errors
    /// [`ConfigError`] when the configuration is none, or above the limits.
    pub fn join(&mut self, now: Now, membership: &Membership<'_>) -> Result<(), ConfigError> {
        let ensemble = &mut self.ensemble;
        ensemble.quorums.set(membership.config)?;
        ensemble.epochs = membership.epochs;
        ensemble.damaged = membership.damaged;
        self.sessions.raise_floor(self.options.server, self.tree.last_zxid());
        let noted = self.tree.find(CONFIG).map_or(Zxid::ZERO, |at| self.tree.stat(at).mzxid);
        self.loaded_history(now);
        if let Some(text) = membership.proposed
            && self.options.reconfigures()
            && self.ensemble.quorums.pending().is_none()
        {
            let version = Zxid(crate::quorum::version(text).unwrap_or(0));
            // A history that goes on without it has given it up: a crash brought the file back.
            let past = match version.counter() {
                // A leader gave the first configuration its version, in an epoch that was accepted.
                0 => version.epoch() > membership.epochs.accepted,
                _ => version <= self.tree.last_zxid(),
            };
            if !past || version == noted {
                self.ensemble.quorums.propose(text, None)?;
            }
        }
        self.look(now);
        Ok(())
    }

    /// The configurations that count: who is met where.
    pub fn quorums(&self) -> &Quorums<'m> {
        &self.ensemble.quorums
    }

    /// The ensemble's configuration.
    pub fn config(&self) -> &Config<'m> {
        &self.ensemble.quorums.committed
    }

    /// Who leads, as far as this peer knows.
    pub fn leader(&self) -> Option<ServerId> {
        match self.state {
            State::Leading => Some(self.options.server),
            State::Following | State::Observing => Some(self.ensemble.learner.leader()),
            _ => None,
        }
    }

    /// The epochs that are on the disk.
    pub fn epochs(&self) -> Epochs {
        self.ensemble.epochs
    }

    /// Whether clients are served.
    pub fn is_serving(&self) -> bool {
        match self.state {
            State::Standalone => true,
            State::Recovering | State::Stopped(_) => false,
            State::Leading => self.ensemble.serving && self.options.leader_serves,
            _ => self.ensemble.serving,
        }
    }

    /// Whether what is served can only be read: there is no leader.
    pub fn is_read_only(&self) -> bool {
        self.state == State::Looking && self.ensemble.serving
    }

    pub(super) fn is_learner(&self) -> bool {
        matches!(self.state, State::Following | State::Observing)
    }

    pub(super) fn timing(&self) -> Timing {
        Timing {
            tick: self.options.tick_time,
            init_limit: self.options.init_limit,
            sync_limit: self.options.sync_limit,
        }
    }

    pub(super) fn window(&self) -> Window<'_, 'm> {
        window!(self)
    }

    /// The history has been loaded, at the start or anew.
    pub(super) fn loaded_history(&mut self, now: Now) {
        self.settle_digest();
        self.trust();
        self.loaded_cursors();
        self.find_config();
        // A later one is in force elsewhere, or will be before clients are served; shown over, it could
        // be lost with a snapshot.
        if self.ensemble.quorums.pending().is_none() {
            self.show_config(now);
        }
        // A log without a snapshot is refused at the next start. But one of what is left of a damaged
        // history would be taken for all that there ever was.
        if self.ensemble.snapshot.is_none() && !self.ensemble.damaged {
            self.require_snapshot();
        } else {
            self.snapshot.relax();
        }
    }

    /// Everything that was loaded is durable, committed as far as anybody knows, and applied.
    pub(super) fn loaded_cursors(&mut self) {
        self.proposed = self.tree.last_zxid();
        self.changes.reset(&mut self.tree);
        self.unseen = false;
        self.reserved = crate::tree::Cost::default();
        self.pending.clear();
        if self.history.is_empty() {
            self.history.clear(self.proposed);
        }
        let end = self.history.end();
        self.next_append = end;
        self.next_apply = end;
        self.durable = end;
        self.committed = end;
    }

    /// `/zookeeper/config` shows the committed configuration. It belongs to the server, not to the
    /// history: there is no transaction, and the digest does not cover it.
    pub(super) fn show_config(&mut self, now: Now) {
        let Self { tree, ensemble, .. } = self;
        let config = &ensemble.quorums.committed;
        let version = Zxid(config.version());
        if tree.set_data(CONFIG, Some(config.text()), -1, version, now.wall).is_err() {
            warning!("{} cannot show the configuration", "/zookeeper/config");
        }
    }

    /// Looks for a leader: whatever the peer was, it is no more.
    pub(super) fn look(&mut self, now: Now) {
        if matches!(self.state, State::Stopped(_)) {
            return;
        }
        self.state = State::Looking;
        self.timers.stop();
        self.close_clients();
        self.close_quorum_links();
        // What the disk has not got was promised to nobody. What it has may be committed.
        self.history.truncate(self.next_append);
        if planted!(Zk4712) {
            self.next_apply = self.next_apply.min(self.history.end());
        }
        self.pending.truncate((self.history.end() - self.next_apply) as usize);
        // Nobody waits for an answer any more.
        self.pending.for_each(|entry| *entry = PendingEntry::EMPTY);
        self.changes.reset(&mut self.tree);
        self.unseen = false;
        self.sessions.settle();
        self.reserved = crate::tree::Cost::default();
        self.proposed = self.history.zxid_before(self.history.end()).max(self.tree.last_zxid());
        self.committed = self.committed.min(self.history.end());
        if planted!(Zk3642) && matches!(self.ensemble.files, Files::Receiving { .. }) {
            let zxid = self.tree.last_zxid();
            // Half of a snapshot is less than what was there.
            let _ = self.tree.reset();
            self.tree.applied(zxid);
        }
        let ensemble = &mut self.ensemble;
        // A reconfiguration that is not in the history any more. The first configuration with a version is in
        // none: it came with its epoch, and may be in force elsewhere.
        let version = Zxid(ensemble.quorums.proposed.version());
        let first = version.counter() == 0 && version.epoch() <= ensemble.epochs.current;
        if version > self.proposed && !first {
            ensemble.quorums.withdraw();
        }
        ensemble.reconfigured = false;
        ensemble.read_only_at = None;
        ensemble.serving = false;
        ensemble.uplink = None;
        ensemble.learner = Learner::default();
        ensemble.syncs.clear();
        ensemble.returns.clear();
        ensemble.install.clear();
        ensemble.files = match ensemble.files {
            Files::Begin(_) | Files::Cut(_) => Files::Idle,
            Files::Receiving { .. } => Files::Drop,
            files => files,
        };
        ensemble.settling = true;
        self.settle(now);
    }

    /// Begins the election as soon as the disk has nothing under way that belongs to the history.
    pub(super) fn settle(&mut self, now: Now) {
        let ensemble = &mut self.ensemble;
        if !ensemble.settling
            || self.syncing.is_some()
            || !matches!(ensemble.files, Files::Idle | Files::Drop)
        {
            return;
        }
        ensemble.settling = false;
        if self.options.read_only && !ensemble.damaged {
            let grace = self.options.tick_time.max(READ_ONLY_GRACE);
            ensemble.read_only_at = Some(now.monotonic.plus(u64::from(grace)));
        }
        ensemble.floor = self.proposed.epoch();
        let last = if ensemble.damaged { Zxid::NONE } else { self.proposed };
        let epoch = ensemble.epochs.current.max(ensemble.floor);
        let Ensemble { election, quorums, .. } = ensemble;
        election.look(now.monotonic, quorums, last, i64::from(epoch.0));
        if let Some(leader) = ensemble.appointed.take() {
            election.appoint(leader, last, quorums);
        }
        ensemble.dirty = true;
        self.elect(now);
    }

    /// Takes the role that the election has decided on.
    pub(super) fn elect(&mut self, now: Now) {
        self.ensemble.dirty = true;
        if self.state != State::Looking || self.ensemble.settling {
            return;
        }
        let Some((vote, state)) = self.ensemble.election.decided() else { return };
        self.ensemble.read_only_at = None;
        if core::mem::take(&mut self.ensemble.serving) {
            // They only read.
            self.close_clients();
            self.sessions.settle();
        }
        match state {
            ServerState::Looking => {}
            ServerState::Leading => self.lead(now),
            ServerState::Following => self.learn(now, vote.leader, false),
            ServerState::Observing => self.learn(now, vote.leader, true),
        }
    }

    /// The epoch of the vote: the one whose leader's history is here.
    pub(super) fn current_epoch(&self) -> Epoch {
        self.ensemble.epochs.current.max(self.ensemble.floor)
    }

    /// The epochs that must be on the disk before the protocol goes on.
    pub(super) fn wanted_epochs(&self) -> Epochs {
        let (accepts, begins) = match self.state {
            State::Leading => (self.ensemble.leader.accepts(), self.ensemble.leader.begins()),
            State::Following | State::Observing => {
                (self.ensemble.learner.accepts(), self.ensemble.learner.begins(self.window()))
            }
            _ => (None, None),
        };
        let Epochs { accepted, .. } = self.ensemble.epochs;
        let current = self.current_epoch().max(begins.unwrap_or(Epoch(0)));
        Epochs { accepted: accepted.max(accepts.unwrap_or(Epoch(0))).max(current), current }
    }

    /// The epochs that [`Order::Epochs`](super::Order::Epochs) named are durable.
    pub fn epochs_written(&mut self, now: Now) {
        if let Some(epochs) = self.ensemble.writing.take() {
            self.ensemble.epochs = epochs;
        }
        self.advance(now);
    }

    /// Goes on with whatever the last event allows.
    pub(super) fn advance(&mut self, now: Now) {
        self.ensemble.dirty = true;
        match self.state {
            State::Standalone => self.committed = self.durable,
            State::Leading => self.advance_leader(now),
            State::Looking => self.settle(now),
            _ => {}
        }
    }

    /// What a member did on its link violates the protocol, or its link broke: the link ends.
    pub(super) fn violated(&mut self, at: usize, violation: Violation) {
        let server = self.ensemble.members.server(at);
        warning!("closing the link to server {}: {}", server.map_or(-1, |id| id.0), violation.0);
        self.drop_member(at);
    }

    fn close_clients(&mut self) {
        for at in 0..self.connections.used() {
            if let Ok(at) = Handle::try_from(at) {
                self.drop_link(at);
            }
        }
    }

    /// What time brings to a member of an ensemble.
    pub(super) fn tick_ensemble(&mut self, now: Now) {
        self.tick_members(now);
        match self.state {
            State::Looking => {
                let Ensemble { election, quorums, .. } = &mut self.ensemble;
                election.tick(now.monotonic, quorums);
                self.elect(now);
                let Ensemble { read_only_at, serving, .. } = &mut self.ensemble;
                if read_only_at.is_some_and(|at| at <= now.monotonic) {
                    info!("no leader: serving clients that only read");
                    *read_only_at = None;
                    *serving = true;
                }
            }
            State::Leading => self.tick_leader(now),
            State::Following | State::Observing => {
                let late = self.ensemble.learner.deadline().is_some_and(|at| at <= now.monotonic);
                if late {
                    warning!("nothing was heard of leader {}", self.ensemble.learner.leader().0);
                    self.look(now);
                }
            }
            _ => {}
        }
    }

    /// When that has something to do.
    pub(super) fn ensemble_timeout(&self) -> Option<Instant> {
        let role = match self.state {
            State::Looking => {
                let election = self.ensemble.election.poll_timeout();
                [election, self.ensemble.read_only_at].into_iter().flatten().min()
            }
            State::Leading => Some(self.ensemble.leader.next_tick()),
            State::Following | State::Observing => self.ensemble.learner.deadline(),
            _ => return None,
        };
        [role, self.ensemble.members.next_tick()].into_iter().flatten().min()
    }
}
