//! Reconfiguration: the ensemble's configuration changes while it runs.
//!
//! A reconfiguration is a transaction. From its proposal until it is committed, what needs a quorum
//! needs one of the old and of the new configuration; when it is applied, the new one is in force.
//! What is proposed and not committed lies in the history, as data of `/zookeeper/config`: a member
//! that starts finds it there. Answers to `QuorumPeer.processReconfig` and to what leader and learner
//! do around it.

use super::ensemble::Ensemble;
use super::pipeline::Busy;
use super::{Peer, State};
use crate::id::{ServerId, Zxid};
use crate::memory::Handle;
use crate::quorum::{ChangeError, Quorums, Role, change, check, version, version_for};
use crate::request::prep::Ask;
use crate::time::Now;
use crate::trace::{info, warning};
use crate::tree::path::CONFIG;
use crate::wire::client::ReconfigRequest;
use crate::wire::jute;
use crate::wire::txn::{Record, Txn};
use crate::wire::{Code, OpCode};
use crate::zab::Violation;

/// Bytes of a line that are not in a request that asks for it.
const LINE: usize = 64;

impl Peer<'_> {
    /// Proposes a reconfiguration.
    #[inline(never)] // its frame is not needed below other writes
    pub(super) fn propose_config(
        &mut self,
        ask: &Ask<'_>,
        link: Option<Handle>,
        now: Now,
    ) -> Result<(), Busy> {
        let zxid = self.proposed.next().ok_or(Busy)?;
        let config = self.candidate(ask.body, zxid);
        let result = self.propose_txn(ask, config, link, now);
        if config.is_err() {
            return result;
        }
        let last = self.history.end().checked_sub(1).and_then(|last| self.history.get(last));
        let kept = last.is_some_and(|(last, bytes)| {
            last == zxid && Txn::decode(bytes).is_ok_and(|txn| txn.header.op == OpCode::Reconfig)
        });
        let Ensemble { quorums, leader, .. } = &mut self.ensemble;
        if kept {
            info!("a new configuration is proposed: version {}", zxid.0);
            leader.reconfigure(quorums);
        } else {
            quorums.withdraw();
        }
        result
    }

    /// The configuration that a request asks for, among the quorums as the proposed one.
    #[inline(never)] // as above
    fn candidate(&mut self, body: &[u8], zxid: Zxid) -> Result<(), Code> {
        if !self.options.reconfigures() {
            return Err(Code::ReconfigDisabled);
        }
        if self.state != State::Leading {
            return Err(Code::Unimplemented);
        }
        let request: ReconfigRequest<'_> =
            jute::decode(body).map_err(|_| Code::MarshallingError)?;
        let quorums = &self.ensemble.quorums;
        if quorums.pending().is_some() && !planted!(ReconfigTwice) {
            return Err(Code::ReconfigInProgress);
        }
        if request.cur_config_id != -1
            && request.cur_config_id != quorums.committed.version()
            && !planted!(ReconfigVersion)
        {
            return Err(Code::BadVersion);
        }
        let room = quorums.committed.text().len() + body.len() + LINE;
        self.need_scratch(room);
        let Self { ensemble, scratch, options, .. } = self;
        let Ensemble { quorums, leader, .. } = ensemble;
        let joining = core::str::from_utf8(request.joining.bytes());
        let leaving = core::str::from_utf8(request.leaving.bytes());
        let (Ok(joining), Ok(leaving)) = (joining, leaving) else {
            return Err(Code::BadArguments);
        };
        let incremental = request.new_members.0.is_none();
        let len = match request.new_members.0 {
            Some(members) => {
                let place = scratch.get_mut(..members.len()).ok_or(Code::BadArguments)?;
                for (to, &from) in place.iter_mut().zip(members) {
                    *to = if from == b',' { b'\n' } else { from };
                }
                members.len()
            }
            None => change(&quorums.committed, joining, leaving, scratch).map_err(refusal)?,
        };
        let text = scratch.get(..len).unwrap_or_default();
        quorums.propose(text, Some(zxid.0)).map_err(|_| Code::BadArguments)?;
        let voters = quorums.proposed.voters().count();
        let checked = if incremental { check(&quorums.proposed, joining) } else { Ok(()) };
        let result = if let Err(error) = checked {
            Err(refusal(error))
        } else if voters < if options.standalone { 2 } else { 1 } {
            Err(Code::BadArguments)
        } else if !leader.is_synced(&quorums.proposed) {
            Err(Code::NewConfigNoQuorum)
        } else {
            Ok(())
        };
        if result.is_err() {
            quorums.withdraw();
        }
        result
    }

    /// A leader has proposed a transaction: if it is a reconfiguration, its configuration counts from
    /// now on.
    ///
    /// # Errors
    /// As [`take_config`](Self::take_config).
    pub(super) fn note_config(&mut self, txn: &Txn<'_>) -> Result<(), Violation> {
        match &txn.record {
            Record::SetData(record) if txn.header.op == OpCode::Reconfig => {
                self.take_config(record.data.bytes())
            }
            _ => Ok(()),
        }
    }

    /// A configuration that a leader proposes, or has for the latest: it counts from now on.
    ///
    /// # Errors
    /// [`Violation`]: it is none, or this server has no room for it, and cannot follow.
    pub(super) fn take_config(&mut self, text: &[u8]) -> Result<(), Violation> {
        const WRONG: Violation = Violation("a configuration that is none, or too long");
        if !self.options.reconfigures() {
            return Ok(());
        }
        let version = version(text).ok_or(WRONG)?;
        let quorums = &mut self.ensemble.quorums;
        if quorums.pending().unwrap_or(&quorums.committed).version() == version {
            return Ok(());
        }
        // A leader has a later one only when the one before is committed.
        quorums.commit();
        quorums.propose(text, None).map_err(|_| {
            let most = quorums.committed.text_room();
            warning!("a configuration of {} bytes is not taken; at most {} fit", text.len(), most);
            WRONG
        })
    }

    /// Somebody, whom this server hears while it looks for a leader, has this configuration in force. If
    /// it is a member, and its configuration later than the one here, that was committed since, and counts
    /// from now on: the one here may have no quorum any more. Not if this server is no member there: it
    /// could not start any more. Answers to what `FastLeaderElection` makes of the configuration in a
    /// notification.
    pub(super) fn adopt_config(&mut self, now: Now, from: ServerId, text: &[u8]) {
        let quorums = &mut self.ensemble.quorums;
        let later = version_for(text, self.options.server)
            .is_some_and(|(version, here)| here && version > quorums.committed.version());
        if !later || !quorums.knows(from) {
            return;
        }
        if let Err(error) = quorums.set(text) {
            warning!("a later configuration is in force, and cannot be held: line {}", error.line);
            return;
        }
        info!("a later configuration is in force: version {}", quorums.committed.version());
        self.look(now);
    }

    /// What the history says of a configuration that is later than the one in force. A configuration
    /// without a version was written by somebody who knows better.
    pub(super) fn find_config(&mut self) {
        self.ensemble.quorums.withdraw();
        if !self.options.reconfigures()
            || self.config().version() == 0
            || planted!(ReconfigForgotten)
        {
            return;
        }
        let Some(at) = self.tree.find(CONFIG) else { return };
        self.need_scratch(self.tree.data(at).map_or(0, |(len, _)| len));
        let Self { tree, scratch, ensemble, .. } = self;
        // Whatever stands there instead of a configuration is not one, and nothing is proposed.
        if let Some(text) = tree.copy_data(at, scratch) {
            let _ = ensemble.quorums.propose(text, None);
        }
    }

    /// A reconfiguration is applied: its configuration is in force. But before a reign begins the whole
    /// history is applied, whether it is committed or not; then it is in force when a quorum has it.
    pub(super) fn reconfigured(&mut self, seq: u64) {
        if !self.options.reconfigures() || !self.ensemble.serving && !planted!(ReconfigInForce) {
            return;
        }
        let Some((zxid, bytes)) = self.history.get(seq) else { return };
        let Ok(Txn { record: Record::SetData(record), .. }) = Txn::decode(bytes) else { return };
        let Ensemble { quorums, leader, .. } = &mut self.ensemble;
        // If a later one is proposed, it is in force already.
        if quorums.committed.version() < zxid.0 {
            if quorums.proposed.version() != zxid.0
                && let Err(error) = quorums.propose(record.data.bytes(), None)
            {
                warning!("the new configuration cannot be held: line {}", error.line);
                return;
            }
            quorums.commit();
        }
        info!("a new configuration is in force: version {}", quorums.committed.version());
        if self.state == State::Leading {
            leader.reconfigure(quorums);
        }
        self.ensemble.reconfigured = true;
    }

    /// A reign begins: clients are shown the configuration in force, and the server has its place in it.
    /// It may have come without a transaction. Answers as [`take_place`](Self::take_place).
    pub(super) fn config_in_force(&mut self, now: Now) -> bool {
        if !self.options.reconfigures() {
            return false;
        }
        let shown = self.tree.find(CONFIG).map_or(Zxid::ZERO, |at| self.tree.stat(at).mzxid);
        if shown.0 < self.config().version() {
            info!("a configuration is in force: version {}", self.config().version());
            self.show_config(now);
        }
        self.take_place(now, false)
    }

    /// Takes the place that the configuration gives this server, if that is another than before.
    /// `changed`: there was another one in force until now, in which the leader may have been met
    /// elsewhere. Answers whether it has left the one before: it may have a new leader by then.
    pub(super) fn take_place(&mut self, now: Now, changed: bool) -> bool {
        let me = self.options.server;
        let Ensemble { quorums, learner, leader, .. } = &self.ensemble;
        let config = &quorums.committed;
        let role = config.member(me).map_or(Role::Participant, |member| member.role);
        // What was in force before stands where the next one will be proposed.
        let before = if changed { &quorums.proposed } else { config };
        let unseats = |id| Quorums::unseats(config, before, id);
        let moves = match self.state {
            // Its followers leave it, when they have heard; until then it commits nothing more.
            State::Leading => {
                if leader.heir() != me {
                    warning!("the new configuration has another leader than this server");
                }
                false
            }
            State::Following => role == Role::Observer || unseats(learner.leader()),
            State::Observing => role == Role::Participant || unseats(learner.leader()),
            _ => false,
        };
        self.ensemble.dirty = true;
        if moves {
            info!("the new configuration changes who leads, or whether this server votes");
            self.ensemble.appointed = self.ensemble.learner.designated();
            self.look(now);
        }
        moves
    }
}

fn refusal(error: ChangeError) -> Code {
    match error {
        ChangeError::Number => Code::MarshallingError,
        ChangeError::Server | ChangeError::Room => Code::BadArguments,
    }
}
