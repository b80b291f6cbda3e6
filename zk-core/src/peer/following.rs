//! The peer as a follower or observer: its history becomes the leader's, its clients' requests go
//! there, and what is committed is applied here.

use super::ensemble::{Asking, Ensemble, Files};
use super::link::State as LinkState;
use super::pipeline::{Busy, PendingEntry};
use super::{Peer, State};
use crate::id::{ServerId, SessionId, Xid, Zxid};
use crate::memory::{Handle, NIL, Pipe};
use crate::request::prep::multi_ops;
use crate::request::reply;
use crate::time::Now;
use crate::trace::{info, warning};
use crate::wire::OpCode;
use crate::wire::client::{CreateMode, CreateRequest, Id, RequestHeader};
use crate::wire::jute::{self, List, Reader};
use crate::wire::quorum::{
    self, Kind, Packet, REQUEST_HEAD, RequestHead, Revalidated, TOUCHED, Touched,
};
use crate::wire::txn::{Txn, TxnHeader};
use crate::zab::Violation;
use crate::zab::learner::{Heard, Learner, Step};
use crate::zab::scan::Scanner;

/// Sessions that one answer to a ping names at most; the others come with the next.
const TOUCHED_MAX: usize = 4096;

/// Milliseconds between two first calls of a leader, `leaderConnectDelayDuringRetryMs`.
const DIAL_PAUSE: u64 = 100;

impl Peer<'_> {
    /// The election made another the leader.
    pub(super) fn learn(&mut self, now: Now, leader: ServerId, observer: bool) {
        self.state = if observer { State::Observing } else { State::Following };
        let last =
            if self.ensemble.damaged || self.is_healing() { Zxid::NONE } else { self.proposed };
        let accepted = self.ensemble.epochs.accepted;
        let (me, timing) = (self.options.server, self.timing());
        self.ensemble.learner =
            Learner::of(me, leader, observer, accepted, last, timing, now.monotonic);
        if self.ensemble.uncut {
            self.ensemble.learner.cannot_cut();
        }
        info!("learning from server {}, with a history that ends at zxid {:#x}", leader.0, last.0);
        // A leader that refuses it is not asked all the time.
        let at = self.ensemble.dialled.plus(DIAL_PAUSE).max(now.monotonic);
        self.ensemble.dialled = at;
        let at = at.max(self.ensemble.retreat.until);
        self.ensemble.members.dial_leader(leader, now.monotonic, at);
        self.ensemble.dirty = true;
    }

    /// The link to the leader is there.
    pub(super) fn uplink_open(&mut self, at: usize) {
        self.ensemble.uplink = Some(at);
        self.ensemble.learner.connected();
        self.ensemble.dirty = true;
    }

    /// Writes what the leader is to hear.
    pub(super) fn speak_to_leader(&mut self) {
        let epochs = (self.ensemble.epochs.accepted, self.ensemble.epochs.current);
        // An epoch whose transactions are here has begun here.
        let epochs = (epochs.0, epochs.1.max(self.current_epoch()));
        let window = window!(self);
        let capacity = self.capacity;
        let Ensemble { learner, members, quorums, uplink, election, .. } = &mut self.ensemble;
        let Some(at) = *uplink else { return };
        let Some(out) = members.quorum_output(at) else { return };
        let before = learner.step();
        learner.speak(epochs, quorums.committed.version(), &capacity, window, out);
        if before == Step::Persisting && learner.step() == Step::Acknowledged {
            election.set_epoch(learner.accepts().map_or(0, |epoch| i64::from(epoch.0)));
        }
    }

    /// Bytes from the leader that are no packet: a snapshot. Answers how many were taken.
    pub(super) fn hear_snapshot(&mut self, now: Now, bytes: &[u8]) -> Result<usize, Violation> {
        let Ensemble { scanner, install, dirty, .. } = &mut self.ensemble;
        let room = bytes.len().min(install.free());
        let piece = bytes.get(..room).unwrap_or_default();
        let (body, looked) = scanner.feed(piece)?;
        // There is room: it was asked.
        if let Ok(place) = install.room(body) {
            place.copy_from_slice(piece.get(..body).unwrap_or_default());
        }
        *dirty = true;
        self.holds_snapshot(now)?;
        let Ensemble { learner, scanner, .. } = &mut self.ensemble;
        if scanner.is_done() {
            learner.received();
        }
        Ok(looked)
    }

    /// Whether raw bytes of a snapshot are due on that link.
    pub(super) fn hears_snapshot(&self, at: usize) -> bool {
        self.is_learner()
            && self.ensemble.uplink == Some(at)
            && matches!(self.ensemble.learner.step(), Step::Receiving(_))
    }

    /// A packet from the leader. `Ok(false)`: it cannot be taken now.
    pub(super) fn hear_leader(&mut self, now: Now, packet: &Packet<'_>) -> Result<bool, Violation> {
        let window = window!(self);
        let learner = &mut self.ensemble.learner;
        learner.touch(now.monotonic);
        self.ensemble.dirty = true;
        match learner.hear(packet, window)? {
            Heard::Nothing => {}
            Heard::Leader(capacity) => self.is_led(capacity),
            Heard::Diff => {
                // The leader has all of it, too.
                self.committed = self.history.end();
                if core::mem::take(&mut self.ensemble.damaged) {
                    self.loaded_history(now);
                }
            }
            Heard::Truncate(zxid) => {
                info!(
                    "the leader cuts the history behind zxid {:#x}, in epoch {}",
                    zxid.0, self.ensemble.epochs.accepted.0
                );
                self.ensemble.files = Files::Cut(zxid);
            }
            Heard::Snapshot(zxid) => {
                info!("the leader sends a snapshot of zxid {:#x}", zxid.0);
                self.ensemble.scanner = Scanner::new(self.options.max_txn, self.tree.unit());
                self.ensemble.install.clear();
                self.ensemble.files = Files::Begin(zxid);
            }
            Heard::Propose(zxid, txn) => return self.take_proposal(now, zxid, txn),
            Heard::Inform(zxid, txn) => {
                if !self.take_proposal(now, zxid, txn)? {
                    return Ok(false);
                }
                self.committed = self.history.end();
            }
            Heard::Commit(_) => self.committed += 1,
            Heard::History(config) => {
                self.ensemble.doubt.settle(self.proposed);
                let epoch = learner.accepts();
                let quorums = &mut self.ensemble.quorums;
                // Servers before 3.5 say nothing.
                if config.len() > 1 {
                    let offered = crate::quorum::version(config).unwrap_or(0);
                    let proposed = quorums.proposed.version();
                    // What was proposed before this reign, and is not known here, came to nothing.
                    if proposed > offered && Some(Zxid(proposed).epoch()) < epoch {
                        quorums.withdraw();
                    }
                    if offered > quorums.pending().unwrap_or(&quorums.committed).version() {
                        self.take_config(config).inspect_err(|_| self.retreat(now))?;
                    }
                }
            }
            Heard::UpToDate => {
                // A quorum has what NEWLEADER came behind, and all of it is applied here. A
                // reconfiguration that is not is still under way.
                let pending = Zxid(self.ensemble.quorums.proposed.version());
                if pending.counter() == 0 || pending <= self.tree.last_zxid() {
                    self.ensemble.quorums.commit();
                }
                if self.config_in_force(now) && !planted!(ReconfigServing) {
                    return Ok(true);
                }
                self.ensemble.serving = true;
                self.ensemble.retreat.pause = 0;
                info!("serving, with leader {}", self.ensemble.learner.leader().0);
            }
            Heard::Ping(zxid) => {
                let answered = self.answer_ping(zxid);
                self.heal(now);
                return Ok(answered);
            }
            Heard::Revalidated(data) => self.revalidated(now, data)?,
            Heard::Synced => self.synced(),
        }
        self.advance(now);
        self.apply_or_stop(now);
        Ok(true)
    }

    /// Takes a proposed transaction into the history; `false` if there is no room yet.
    fn take_proposal(&mut self, now: Now, zxid: Zxid, bytes: &[u8]) -> Result<bool, Violation> {
        if bytes.len() > self.longest_txn() {
            warning!(
                "zxid {:#x} of the leader has {} bytes; this server takes {} at most",
                zxid.0,
                bytes.len(),
                self.longest_txn()
            );
            self.retreat(now);
            return Err(Violation("a transaction that is too long"));
        }
        let txn = Txn::decode(bytes).ok().filter(|txn| txn.header.zxid == zxid);
        let txn = txn.ok_or(Violation("a proposal that is no transaction"))?;
        if !self.pending.has_room() || self.make_room(bytes.len()).is_err() {
            return Ok(false);
        }
        let Some(cost) = self.cost_of_proposal(now, &txn)? else { return Ok(false) };
        self.note_config(&txn).inspect_err(|_| self.retreat(now))?;
        let op = txn.header.op;
        let Ok(room) = self.history.room(bytes.len()) else { return Ok(false) };
        room.copy_from_slice(bytes);
        self.history.push(zxid, bytes.len());
        self.proposed = zxid;
        self.reserved = self.reserved.plus(&cost);
        self.pending.push(PendingEntry::of_leader(cost, op));
        Ok(true)
    }

    /// Tells the leader which sessions were heard of. `false` if there is no room.
    fn answer_ping(&mut self, zxid: Zxid) -> bool {
        let Ensemble { members, uplink, .. } = &mut self.ensemble;
        let Some(out) = uplink.and_then(|at| members.quorum_output(at)) else { return true };
        let before = out.len();
        let head = quorum::put(out, Kind::Ping, zxid, b"", b"", List::NULL);
        if head.is_err() {
            out.truncate(before);
            return false;
        }
        // The sessions go between the length and the identities that were just written.
        let start = out.len() - 4;
        out.truncate(start);
        let mut count = 0;
        self.sessions.take_touched(|session, timeout| {
            let timeout = i32::try_from(timeout).unwrap_or(i32::MAX);
            let fits = count < TOUCHED_MAX
                && out.free() >= TOUCHED + 4
                && jute::write(&Touched { session, timeout }, out).is_ok();
            count += usize::from(fits);
            fits
        });
        let len = (out.len() - start) as u32;
        // There was room for it above.
        let _ = jute::write(&List::<Id<'_>>::NULL, out);
        if let Some(place) = out.bytes_mut().get_mut(start - 4..start) {
            place.copy_from_slice(&len.to_be_bytes());
        }
        true
    }

    /// The history was cut, or replaced, and is loaded again.
    pub fn reloaded(&mut self, now: Now) {
        self.ensemble.damaged = false;
        self.ensemble.uncut = false;
        self.loaded_history(now);
        self.ensemble.files = Files::Idle;
        if !self.is_learner() {
            self.settle(now);
            return;
        }
        let last = self.proposed;
        match self.ensemble.learner.reloaded(last, now.monotonic) {
            Ok(()) => {
                if self.ensemble.learner.installed().is_some() {
                    self.ensemble.doubt.unsettle();
                }
                self.ensemble.members.unblock();
            }
            Err(violation) => {
                // What is on the disk is what it is; only a snapshot can help.
                warning!("{}", violation.0);
                self.ensemble.damaged = true;
                self.look(now);
            }
        }
        self.advance(now);
    }

    /// The history cannot be cut: that is in a snapshot only, or was never there. It is loaded again, as
    /// whole as it was, and this member votes with it; the next leader is asked for a snapshot in its place.
    /// Who wants to cut it all the same (as Apache's leaders do) finds a member that has lost it.
    pub fn cut_failed(&mut self, now: Now) {
        self.ensemble.damaged = self.ensemble.uncut;
        self.ensemble.uncut = true;
        self.loaded_history(now);
        self.ensemble.files = Files::Idle;
        self.look(now);
    }

    /// The history could not be cut or replaced; what is on the disk is loaded again. `damaged`: that
    /// is not to be trusted, and only a snapshot from a leader can help.
    pub fn reload_failed(&mut self, now: Now, damaged: bool) {
        if !damaged {
            // The leader's snapshot is none, or more than fits.
            self.retreat(now);
        }
        self.ensemble.damaged = damaged;
        self.loaded_history(now);
        self.ensemble.files = Files::Idle;
        self.look(now);
    }

    // Requests of clients.

    /// Proposes a request, or hands it to who can.
    #[allow(clippy::too_many_arguments, reason = "who asks for what, and when")]
    pub(super) fn submit(
        &mut self,
        session: SessionId,
        cxid: Xid,
        op: OpCode,
        body: &[u8],
        ids: List<'_, Id<'_>>,
        link: Handle,
        now: Now,
    ) -> Result<(), Busy> {
        let me = self.options.server;
        if self.options.local_sessions_upgrading
            && makes_ephemeral(op, body)
            && let Some(at) = self.sessions.usable(session)
            && self.sessions.get(at).is_local()
        {
            // First it becomes one of the ensemble's sessions; nobody hears of that.
            let (op, timeout) = (OpCode::CreateSession, self.sessions.get(at).timeout());
            let (body, none) = (timeout.to_be_bytes(), List::EMPTY);
            if self.is_learner() {
                self.forward(session, Xid(0), op, &body, none, link, now)?;
            } else {
                self.propose(session, Xid(0), op, &body, none, me, None, now)?;
            }
            info!("session {:#x} becomes one of the ensemble's", session.0);
            self.sessions.set_local(at, false);
        }
        if self.is_learner() {
            return self.forward(session, cxid, op, body, ids, link, now);
        }
        self.propose(session, cxid, op, body, ids, me, Some(link), now)
    }

    /// Closes sessions by this server's clock: a planted bug.
    pub(super) fn expire_as_follower(&mut self, now: Now) {
        while let Some(id) = self.sessions.expire(now.monotonic) {
            let Ensemble { members, uplink, dirty, .. } = &mut self.ensemble;
            let Some(out) = uplink.and_then(|at| members.quorum_output(at)) else { return };
            *dirty = true;
            let op = OpCode::CloseSession;
            if put_request(out, id, Xid(0), op, b"", List::NULL).is_err() {
                return;
            }
        }
    }

    /// Sends a request to the leader, and keeps room for its reply.
    #[allow(clippy::too_many_arguments, reason = "who asks for what, and when")]
    fn forward(
        &mut self,
        session: SessionId,
        cxid: Xid,
        op: OpCode,
        body: &[u8],
        ids: List<'_, Id<'_>>,
        link: Handle,
        now: Now,
    ) -> Result<(), Busy> {
        let (reply, fits) = self.expected(link, op, body);
        let Ensemble { members, uplink, dirty, .. } = &mut self.ensemble;
        let out = uplink.and_then(|at| members.quorum_output(at)).ok_or(Busy)?;
        if !self.connections.has_room(link, reply, now.monotonic) {
            return Err(Busy);
        }
        let connection = &mut self.connections[link];
        // Cut short, the leader refuses it as it refuses what its own clients are not to have.
        let body = if fits { body } else { b"" };
        let ids = if op == OpCode::CreateSession { List::NULL } else { ids };
        put_request(out, session, cxid, op, body, ids)?;
        *dirty = true;
        if !matches!(op, OpCode::Sync | OpCode::CreateSession) {
            connection.reserved += reply;
        }
        Ok(())
    }

    /// Asks the leader when all that is proposed now is committed.
    pub(super) fn forward_sync(
        &mut self,
        at: Handle,
        xid: Xid,
        body: &[u8],
        now: Now,
    ) -> Result<(), Busy> {
        if !self.ensemble.syncs.has_room() {
            return Err(Busy);
        }
        let session = self.connections[at].session;
        // The leader asks nobody who it is that wants to be told.
        self.forward(session, xid, OpCode::Sync, body, List::NULL, at, now)?;
        let serial = self.connections[at].serial;
        self.ensemble.syncs.push(Asking { link: at, serial });
        Ok(())
    }

    /// All that was proposed before the oldest sync is committed.
    fn synced(&mut self) {
        let Some(Asking { link, serial }) = self.ensemble.syncs.pop() else {
            warning!(
                "leader {} answered a sync that nobody asked",
                self.ensemble.learner.leader().0
            );
            return;
        };
        let committed = self.committed;
        if let Some(connection) = self.connections.get_mut(link)
            && connection.serial == serial
        {
            connection.sync = Some(committed);
            self.connections.stall(link);
        }
    }

    /// Asks the leader whether a session may go on here.
    pub(super) fn forward_return(
        &mut self,
        at: Handle,
        session: SessionId,
        timeout: u32,
    ) -> Result<(), Busy> {
        let Ensemble { members, uplink, returns, dirty, .. } = &mut self.ensemble;
        if !returns.has_room() {
            return Err(Busy);
        }
        let out = uplink.and_then(|at| members.quorum_output(at)).ok_or(Busy)?;
        let mut data = [0; TOUCHED];
        let asked = Touched { session, timeout: i32::try_from(timeout).unwrap_or(i32::MAX) };
        jute::encode(&asked, &mut data).map_err(|_| Busy)?;
        let before = out.len();
        quorum::put(out, Kind::Revalidate, Zxid::NONE, &data, b"", List::NULL).map_err(|_| {
            out.truncate(before);
            Busy
        })?;
        *dirty = true;
        returns.push(Asking { link: at, serial: self.connections[at].serial });
        Ok(())
    }

    fn revalidated(&mut self, now: Now, data: &[u8]) -> Result<(), Violation> {
        let Revalidated { session, valid } =
            Reader::new(data).read().map_err(|_| Violation("an answer about no session"))?;
        let Some(Asking { link, serial }) = self.ensemble.returns.pop() else {
            return Err(Violation("an answer that nobody asked for"));
        };
        let Some(connection) = self.connections.get(link) else { return Ok(()) };
        if connection.serial != serial || connection.state != LinkState::Returning {
            return Ok(());
        }
        if connection.session != session {
            return Err(Violation("an answer about another session"));
        }
        self.returned(link, valid, now);
        Ok(())
    }

    /// The connection whose request a committed transaction answers, and what it had asked.
    pub(super) fn asker(&self, header: &TxnHeader) -> Option<(Handle, OpCode)> {
        let at = self.sessions.get(self.sessions.find(header.client_id)?).connection();
        let connection = self.connections.get(at).filter(|_| at != NIL)?;
        let opens = connection.state == LinkState::Opening;
        let opened = header.op == OpCode::CreateSession;
        if opens || opened {
            // A session that was local is open already.
            return (opens && opened).then_some((at, OpCode::CreateSession));
        }
        // The oldest that was forwarded.
        let mut from = 0;
        while from < connection.looked {
            let waiting = connection.waiting(from)?;
            if waiting.submitted {
                let asked: RequestHeader = jute::decode(connection.frame(from, waiting)).ok()?;
                return (asked.xid == header.cxid).then_some((at, asked.op));
            }
            from = super::link::Connection::behind(from, waiting);
        }
        None
    }

    /// Room that the reply to a forwarded request holds.
    pub(super) fn forwarded_reply(&self, at: Handle) -> usize {
        let Some(connection) = self.connections.get(at) else { return 0 };
        let Some(waiting) = connection.waiting(0).filter(|waiting| waiting.submitted) else {
            return 0;
        };
        let frame = connection.frame(0, waiting);
        let Ok(RequestHeader { op, .. }) = jute::decode(frame) else { return 0 };
        let body = frame.get(super::serve::HEADER..).unwrap_or_default();
        self.expected(at, op, body).0
    }

    /// Room that the reply to a forwarded request is kept, and whether it can ever fit; if not, a
    /// refusal does.
    fn expected(&self, at: Handle, op: OpCode, body: &[u8]) -> (usize, bool) {
        let shares = self.connections.shares_replies();
        let own = self.connections[at].output.ceiling();
        let mut most = if shares { self.options.max_reply } else { own };
        if op == OpCode::Multi {
            // Its results are written down while it is applied.
            most = most.min(self.reply.ceiling());
        }
        let reply = reply::most(op, body, self.config().text_room());
        // A configuration is hardly ever as long as it may be: all the room that there is will do.
        let fits = reply <= most || op == OpCode::Reconfig;
        (if fits { reply.min(most) } else { reply::HEAD }, fits)
    }
}

/// Whether a request creates an ephemeral node. Answers to
/// `QuorumZooKeeperServer.checkUpgradeSession`.
fn makes_ephemeral(op: OpCode, body: &[u8]) -> bool {
    match op {
        OpCode::Create | OpCode::Create2 => {
            Reader::new(body).read::<CreateRequest<'_>>().is_ok_and(|request| {
                CreateMode::from_flags(request.flags).is_some_and(CreateMode::is_ephemeral)
            })
        }
        OpCode::Multi => multi_ops(body).any(|(op, body)| makes_ephemeral(op, body)),
        _ => false,
    }
}

/// Writes a REQUEST, if it fits.
fn put_request(
    out: &mut Pipe<'_>,
    session: SessionId,
    cxid: Xid,
    op: OpCode,
    body: &[u8],
    ids: List<'_, Id<'_>>,
) -> Result<(), Busy> {
    let mut head = [0; REQUEST_HEAD];
    jute::encode(&RequestHead { session, cxid, op }, &mut head).map_err(|_| Busy)?;
    let before = out.len();
    quorum::put(out, Kind::Request, Zxid::NONE, &head, body, ids).map_err(|_| {
        out.truncate(before);
        Busy
    })
}
