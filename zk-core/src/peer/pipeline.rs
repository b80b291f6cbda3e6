//! From proposal to reply: transactions are numbered, synced, applied in order, and answered.

use super::link::{Queue, State as LinkState, WAITING_HEAD};
use super::serve::HEADER;
use super::spare::{Lent, Way};
use super::{Peer, State, Stats, Summary};
use crate::id::{ServerId, SessionId, Xid, Zxid};
use crate::memory::{Handle, NIL, Pipe};
use crate::request::apply::{self, ApplyError, Done, Event, Observer};
use crate::request::prep::{self, Ask, Prep};
use crate::request::reply;
use crate::time::{Instant, Now};
use crate::trace::{debug, info, repeated, trace, warning};
use crate::tree::watch::Watches;
use crate::tree::{Cost, DataTree};
use crate::wire::client::{Id, MultiHeader, ReplyHeader, WatcherEvent, perms};
use crate::wire::jute::{self, List, Sink, Ustring};
use crate::wire::txn::{Record, Txn};
use crate::wire::{Code, OpCode, frame};

use super::link::Connections;

/// A transaction that is proposed and not applied: what it reserved, and who waits for it.
#[derive(Clone, Copy, Debug)]
pub struct PendingEntry {
    cost: Cost,
    /// Room that its reply has reserved in the connection's output.
    reply: usize,
    link: Handle,
    /// The connection's serial number: link numbers are used again.
    serial: u64,
    /// What was asked: error transactions do not say.
    op: OpCode,
}

impl PendingEntry {
    /// An entry of a lent table, before first use.
    pub const EMPTY: Self = Self {
        cost: Cost { nodes: 0, cells: 0, bytes: 0, acls: 0, lists: 0, owners: 0 },
        reply: 0,
        link: NIL,
        serial: 0,
        op: OpCode::Error,
    };

    /// Nobody waits for it here.
    pub(super) const fn of_leader(cost: Cost, op: OpCode) -> Self {
        Self { cost, op, ..Self::EMPTY }
    }

    /// Whether a session is opened.
    pub(super) fn opens(&self) -> bool {
        self.op == OpCode::CreateSession
    }
}

impl Default for PendingEntry {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The request cannot be proposed now; it can when transactions were applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// What a small transaction takes beyond its request.
const TXN_OVERHEAD: usize = 1024;

impl Peer<'_> {
    /// Makes a request a transaction, and gives it a zxid. `link` waits for the answer.
    #[allow(clippy::too_many_arguments, reason = "who asks for what, and when")]
    pub(super) fn propose(
        &mut self,
        session: SessionId,
        cxid: Xid,
        op: OpCode,
        body: &[u8],
        ids: List<'_, Id<'_>>,
        owner: ServerId,
        link: Option<Handle>,
        now: Now,
    ) -> Result<(), Busy> {
        let ask = Ask { session, cxid, op, body, ids, owner };
        if op == OpCode::Reconfig {
            return self.propose_config(&ask, link, now);
        }
        self.propose_txn(&ask, Err(Code::Unimplemented), link, now)
    }

    /// As [`propose`](Self::propose). `config` says whether the quorums hold what a reconfiguration
    /// proposes.
    pub(super) fn propose_txn(
        &mut self,
        ask: &Ask<'_>,
        config: Result<(), Code>,
        link: Option<Handle>,
        now: Now,
    ) -> Result<(), Busy> {
        let Ask { session, op, body, ids, .. } = *ask;
        let Some(zxid) = self.proposed.next() else {
            if self.state == State::Leading {
                // The next tick ends the reign: only a new epoch has more numbers.
                return Err(Busy);
            }
            // 2^32 transactions in one epoch: a standalone server goes on into the next.
            let next = Zxid::new(crate::id::Epoch(self.proposed.epoch().0.wrapping_add(1)), 0);
            info!("all zxids of an epoch are used: going on with {:#x}", next.0);
            self.proposed = next;
            return self.propose_txn(ask, config, link, now);
        };
        let held = self.state == State::Leading && self.ensemble.leader.holds();
        if self.unseen || held || !self.pending.has_room() {
            return Err(Busy);
        }
        let mut scratch = body.len();
        if op == OpCode::CloseSession {
            scratch = self.tree.longest_ephemeral(session).max(self.changes.longest_path());
        }
        self.need_scratch(scratch.max(self.changes.longest_path()));
        let time = self.time.max(now.wall);
        // Most transactions are little longer than their request. One that is not is tried again
        // with all the room there may be.
        let most = match op {
            OpCode::CloseSession => self.options.max_frame / 2 + TXN_OVERHEAD,
            _ => self.options.max_txn,
        };
        let most = most.min(self.longest_txn());
        let mut room_len = (body.len() * 2 + ids.raw().len() * 8 + TXN_OVERHEAD).min(most);
        let (mut reply_room, mut has_all) = (usize::MAX, true);
        if let Some(at) = link {
            if self.connections.shares_replies() {
                let most = reply::most(op, body, self.config().text_room());
                let most = most.min(self.options.max_reply);
                has_all = self.connections.has_room(at, most, now.monotonic);
            }
            reply_room = self.connections[at].unreserved_room();
        }
        if op == OpCode::Multi {
            // Its results are written down while it is applied.
            reply_room = reply_room.min(self.reply.ceiling());
        }
        let alone = has_all
            && self.pending.is_empty()
            && link.is_none_or(|at| {
                let connection = &self.connections[at];
                connection.output.is_empty() && connection.reserved == 0
            });
        let prepared = loop {
            self.make_room(room_len)?;
            let Self { tree, changes, sessions, options, reserved, disk_full, ensemble, .. } = self;
            let Ok(room) = self.history.room(room_len) else { return Err(Busy) };
            self.reply.clear();
            // (A reaper's deletion has no list, and lies in `reply`, which is lent to it and empty here.)
            let reaped_max = self.reply.capacity();
            let list_len = self.scratch.len().min(reaped_max);
            let Ok(acl_scratch) = self.reply.room(list_len) else { return Err(Busy) };
            let mut prep = Prep {
                tree,
                changes,
                sessions,
                options,
                reserved: *reserved,
                disk_full: *disk_full,
                scratch: &mut self.scratch,
                acl_scratch,
                reaped_max,
                full: self.often.full.into(),
                alone,
                longest: room_len == most,
                config: config.map(|()| ensemble.quorums.proposed.text()),
            };
            let result = prep.request(ask, zxid, time, reply_room, room);
            self.often.full = prep.full.get();
            match result {
                Ok(prepared) if prepared.out_of_room && room_len < most => {
                    room_len = most;
                    self.need_scratch(most);
                }
                Ok(prepared) => break prepared,
                Err(prep::Busy) => return Err(Busy),
            }
        };
        let reply = match link {
            Some(at) => {
                self.connections.waives(at, Way::Output);
                self.connections[at].reserved += prepared.reply;
                prepared.reply
            }
            None => 0,
        };
        trace!(
            "zxid {:#x}: {} bytes, asked as {} by session {:#x}",
            zxid.0,
            prepared.len,
            op.name().unwrap_or_default(),
            session.0
        );
        self.stats.proposed(prepared.len);
        self.history.push(zxid, prepared.len);
        self.proposed = zxid;
        self.time = time;
        self.reserved = self.reserved.plus(&prepared.cost);
        self.unseen = prepared.unseen;
        self.pending.push(PendingEntry {
            cost: prepared.cost,
            reply,
            link: link.unwrap_or(NIL),
            serial: link.map_or(0, |at| self.connections[at].serial),
            op,
        });
        self.ensemble.dirty = true;
        Ok(())
    }

    /// Drops applied transactions from the window until one of `len` bytes fits.
    pub(super) fn make_room(&mut self, len: usize) -> Result<(), Busy> {
        while self.history.room(len).is_err() {
            if self.history.front() >= self.next_apply {
                return Err(Busy);
            }
            self.history.pop();
        }
        Ok(())
    }

    /// Everything up to `zxid` is synced. What is committed is applied, watchers are told, requests
    /// answered: alone, that is all of it; a leader needs a quorum for that, a learner its leader's
    /// word.
    ///
    /// # Errors
    /// [`ApplyError`]: a promise was violated; the peer has stopped, and the process should.
    pub fn durable(&mut self, now: Now, zxid: Zxid) -> Result<(), ApplyError> {
        if let State::Stopped(error) = self.state {
            return Err(error);
        }
        if self.syncing.is_some_and(|last| last <= zxid) {
            self.syncing = None;
        }
        let synced = self.history.seek(zxid.successor()).min(self.next_append);
        self.durable = self.durable.max(synced);
        self.advance(now);
        self.apply_committed(now)
    }

    /// Applies what is committed, as far as it is durable here: the tree is never ahead of the log.
    pub(super) fn apply_committed(&mut self, now: Now) -> Result<(), ApplyError> {
        if let State::Stopped(error) = self.state {
            return Err(error);
        }
        let mut until = self.committed.min(self.durable);
        if planted!(Zk4712) {
            until = self.committed;
        }
        if self.next_apply >= until {
            return Ok(());
        }
        while self.next_apply < until {
            if let Err(error) = self.apply_next(now) {
                self.stop(error);
                return Err(error);
            }
        }
        self.ensemble.dirty = true;
        self.ensemble.members.unblock();
        if core::mem::take(&mut self.ensemble.reconfigured) {
            self.take_place(now, true);
        }
        self.heal(now);
        self.retry_stalled(now);
        self.pass_on(now);
        Ok(())
    }

    /// As [`apply_committed`](Self::apply_committed), where nobody can be told: the peer has stopped
    /// then, and says so to whoever asks.
    pub(super) fn apply_or_stop(&mut self, now: Now) {
        let _ = self.apply_committed(now);
    }

    /// Requests that found no room may find some now.
    pub(super) fn retry_stalled(&mut self, now: Now) {
        let last = self.connections.last(Queue::Stalled);
        while let Some(at) = self.connections.pop(Queue::Stalled) {
            if self.connections.get(at).is_some() {
                self.pump(at, now);
                self.unblock(at);
            }
            if at == last {
                break;
            }
        }
    }

    fn apply_next(&mut self, now: Now) -> Result<(), ApplyError> {
        let seq = self.next_apply;
        // Every transaction of the history that is not applied has one.
        let Some(mut pending) = self.pending.pop() else { return Err(ApplyError::Full) };
        let header = Txn::decode(bytes_of(&self.history, seq))?.header;
        if planted!(Zk2355) && !self.ensemble.serving && header.op == OpCode::CloseSession {
            self.next_apply = seq + 1;
            return Ok(());
        }
        let forwarded = self.is_learner();
        if forwarded && let Some((link, op)) = self.asker(&header) {
            let serial = self.connections[link].serial;
            pending = PendingEntry { link, serial, op, ..pending };
        }
        let mut waits = self.connections.get(pending.link).is_some_and(|connection| {
            connection.serial == pending.serial
                && matches!(connection.state, LinkState::Opening | LinkState::Open)
        });
        // What the session asked before is answered from the tree as it was before.
        if waits
            && pending.op != OpCode::CreateSession
            && !self.serve_before_write(pending.link, now)
        {
            self.stats.slow_closed += 1;
            repeated!(
                self.often.deaf,
                "session {:#x} does not read its replies: closing its connection (time {})",
                header.client_id.0
            );
            self.drop_link(pending.link);
            waits = false;
        }
        if forwarded && waits {
            pending.reply = self.forwarded_reply(pending.link);
        }
        if header.op == OpCode::CloseSession {
            self.need_scratch(self.tree.longest_ephemeral(header.client_id));
        }
        self.reply.clear();
        // What was asked is lent to whoever writes down the results of a multi: the transaction says create
        // for create2. The pipe does not move meanwhile.
        let asked = if waits && pending.op == OpCode::Multi {
            core::mem::take(&mut self.connections[pending.link].input)
        } else {
            Pipe::default()
        };
        let Self {
            tree, watches, connections, history, scratch, reply, options, event, stats, ..
        } = self;
        let slow_before = stats.slow_closed;
        let txn = Txn::decode(bytes_of(history, seq))?;
        let mut tell = Tell {
            watches,
            connections,
            event,
            reply,
            skip_acl: options.skip_acl,
            asked: prep::multi_ops(asked.bytes().get(WAITING_HEAD + HEADER..).unwrap_or_default()),
            stats,
            now: now.monotonic,
        };
        let mut told = 0..0;
        if planted!(LateWatch) && waits {
            told.start = tell.connections[pending.link].output.len();
        }
        let done = apply::apply(tree, &header, &txn.record, &mut tell, scratch);
        if planted!(LateWatch) && waits {
            told.end = tell.connections[pending.link].output.len();
        }
        if waits && pending.op == OpCode::Multi {
            self.connections[pending.link].input = asked;
        }
        let done = done?;
        // It may have had no room for an event of its own: then it is not answered either.
        waits &= self
            .connections
            .get(pending.link)
            .is_some_and(|connection| connection.state != LinkState::Closing);
        let slow = stats.slow_closed - slow_before;
        if slow > 0 {
            repeated!(
                self.often.deaf,
                "closing {} connections that do not read their events (time {})",
                slow
            );
        }
        stats.applied += 1;
        let promised = txn.digest;
        let (err, node) = (done.err, done.node);
        let mut closed = NIL;
        match txn.record {
            Record::CreateSession(record) => {
                let timeout = u32::try_from(record.timeout).unwrap_or(0);
                closed = self.sessions.give_way(header.client_id);
                self.sessions.opened(header.client_id, timeout, now.monotonic)?;
            }
            Record::CloseSession(_) => {
                closed = self.sessions.closed(header.client_id);
                debug!("session {:#x} is closed", header.client_id.0);
            }
            // A createSession: no client asks anything before it has its session.
            Record::Error(_) if header.cxid == Xid(0) => {
                closed = self.sessions.refused(header.client_id);
            }
            _ => {}
        }
        self.compare_digest(header.zxid, promised);
        let reconfigured = header.op == OpCode::Reconfig;
        self.next_apply = seq + 1;
        self.reserved = self.reserved.minus(&pending.cost);
        self.changes.applied(&mut self.tree, header.zxid);
        if core::mem::take(&mut self.unseen) {
            self.changes.reset(&mut self.tree);
        }
        if waits {
            let connection = &mut self.connections[pending.link];
            connection.reserved = connection.reserved.saturating_sub(pending.reply);
            let local = err == Code::SessionExpired && self.sessions.is_local(header.client_id);
            // The leader does not know it.
            let err = if local { Code::EphemeralOnLocalSession } else { err };
            let answer = Answer { op: pending.op, err, cxid: header.cxid, node };
            self.answer(pending.link, &answer, seq, now);
            if planted!(LateWatch)
                && let Some(late) =
                    self.connections[pending.link].output.bytes_mut().get_mut(told.start..)
                && told.len() <= late.len()
            {
                late.rotate_left(told.len());
            }
        }
        if reconfigured {
            self.reconfigured(seq);
        }
        if closed != NIL && closed != pending.link {
            // Closed by the server: the client learns it from the end of its connection.
            self.drop_link(closed);
        }
        if waits {
            self.pump(pending.link, now);
            self.unblock(pending.link);
        }
        Ok(())
    }

    /// Answers the write at the head of a connection's requests.
    fn answer(&mut self, link: Handle, result: &Answer, seq: u64, now: Now) {
        if result.op == OpCode::CreateSession {
            self.session_opened(link, now);
            return;
        }
        if result.err == Code::SessionMoved {
            // Its client is elsewhere by now: this connection is of the past.
            self.drop_link(link);
            return;
        }
        let Self { tree, connections, history, reply, .. } = self;
        let connection = &mut connections[link];
        let Some(waiting) = connection.waiting(0) else { return };
        // It was applied, so it can be decoded.
        let txn = Txn::decode(bytes_of(history, seq));
        let path = txn.as_ref().map_or(&b""[..], |txn| txn.record.path());
        let node = result.node;
        let err = if result.op == OpCode::Multi { Code::Ok } else { result.err };
        let header = ReplyHeader { xid: result.cxid, zxid: tree.last_zxid(), err };
        // A multi that could not be decoded is an error without results.
        let failed = result.err != Code::Ok && (result.op != OpCode::Multi || reply.is_empty());
        let before = connection.output.len();
        // Its room was reserved.
        let written = put_frame(&mut connection.output, |out| {
            let header = if failed { ReplyHeader { err: result.err, ..header } } else { header };
            jute::write(&header, out)?;
            if failed {
                return Ok(());
            }
            match (result.op, node) {
                (OpCode::Create, _) => jute::write(&Ustring(Some(path)), out),
                (OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl, Some(at)) => {
                    jute::write(&Ustring(Some(path)), out)?;
                    jute::write(&tree.stat(at), out)
                }
                (OpCode::SetData | OpCode::SetAcl, Some(at)) => jute::write(&tree.stat(at), out),
                (OpCode::Reconfig, Some(at)) => {
                    tree.put_data(at, out)?;
                    jute::write(&tree.stat(at), out)
                }
                (OpCode::Multi, _) => {
                    out.put(reply.bytes())?;
                    jute::write(&MultiHeader::END, out)
                }
                _ => Ok(()),
            }
        });
        connection.dequeue(waiting);
        if written.is_err() {
            warning!("the reply to a proposed write does not fit: closing its connection");
            self.drop_link(link);
            return;
        }
        let made = connection.output.len() - before;
        let op = if failed { OpCode::Error } else { result.op };
        self.count_answer(link, Made { op, cxid: result.cxid, bytes: made }, waiting.since, now);
        if result.op == OpCode::CloseSession {
            self.finish_link(link);
        }
        self.connections.make_ready(link);
    }

    /// Counts an answer to a request that came at `since`.
    pub(super) fn count_answer(&mut self, link: Handle, made: Made, since: Instant, now: Now) {
        let Made { op, cxid, bytes } = made;
        let latency = now.monotonic.since(since);
        self.stats.answered(op, bytes, latency);
        let zxid = self.tree.last_zxid();
        let counters = &mut self.connections[link].counters;
        counters.sent(1);
        counters.answered(op, cxid, zxid, latency, now.monotonic);
    }

    /// Counts a reply whose frame takes so many bytes.
    pub(super) fn count_reply(&mut self, link: Handle, bytes: usize) {
        self.stats.reply(bytes);
        self.connections[link].counters.sent(1);
    }

    /// Sends what waits, then closes.
    pub(super) fn finish_link(&mut self, link: Handle) {
        self.detach_session(link);
        self.end_long_of(link);
        let connection = &mut self.connections[link];
        // Its watches go when the shell has closed it; until then they are told nothing.
        connection.state = LinkState::Closing;
        connection.input.clear();
        connection.looked = 0;
        self.connections.make_ready(link);
    }

    /// Closes without sending what waits.
    pub(super) fn drop_link(&mut self, link: Handle) {
        if self.connections.get(link).is_none() {
            return;
        }
        self.finish_link(link);
        self.connections[link].output.clear();
    }

    /// The connection's session has no connection any more.
    pub(super) fn detach_session(&mut self, link: Handle) {
        let session = self.connections[link].session;
        if let Some(at) = self.sessions.find(session)
            && self.sessions.get(at).connection() == link
        {
            self.sessions.attach(at, NIL);
        }
    }
}

/// A reply that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    /// What was asked; `Error` for a write that failed.
    pub(super) op: OpCode,
    pub(super) cxid: Xid,
    /// Bytes of its frame.
    pub(super) bytes: usize,
}

/// What a request is answered.
struct Answer {
    op: OpCode,
    err: Code,
    cxid: Xid,
    /// The node it was about, if it is there.
    node: Option<Handle>,
}

fn bytes_of<'h>(history: &'h crate::memory::Records<'_>, seq: u64) -> &'h [u8] {
    history.get(seq).map_or(&[], |(_, bytes)| bytes)
}

/// Writes a frame whose length is known only afterwards; nothing, if it does not fit.
pub(super) fn put_frame(
    out: &mut Pipe<'_>,
    body: impl FnOnce(&mut Pipe<'_>) -> Result<(), jute::Error>,
) -> Result<(), jute::Error> {
    let before = out.len();
    out.put(&[0; frame::LEN])
        .map_err(jute::Error::from)
        .and_then(|()| {
            body(out)?;
            set_len(out, before, out.len())
        })
        .inspect_err(|_| out.truncate(before))
}

/// Writes the length of the frame that lies at those bytes.
pub(super) fn set_len(out: &mut Pipe<'_>, from: usize, to: usize) -> Result<(), jute::Error> {
    let len = i32::try_from(to - from - frame::LEN).map_err(|_| jute::Error::Length)?;
    if let Some(place) = out.bytes_mut().get_mut(from..from + frame::LEN) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    Ok(())
}

/// Tells watchers, and writes down the results of a multi.
struct Tell<'t, 'm> {
    watches: &'t mut Watches<'m>,
    connections: &'t mut Connections<'m>,
    event: &'t mut u64,
    reply: &'t mut Pipe<'m>,
    skip_acl: bool,
    /// The operations of the multi as they were asked.
    asked: prep::MultiOps<'t>,
    stats: &'t mut Stats,
    now: Instant,
}

/// Bytes of the longest entry of a list that events are checked against: a longer one names nobody.
const EVENT_ACL: usize = crate::session::auth::IDENTITIES_LEN;

impl Observer for Tell<'_, '_> {
    fn event(&mut self, tree: &DataTree<'_>, event: Event<'_>) {
        if self.watches.is_empty() {
            return;
        }
        *self.event += 1;
        let number = *self.event;
        let Self { watches, connections, skip_acl, stats, now, .. } = self;
        let mut scratch = [0; EVENT_ACL];
        watches.trigger(event.path, event.kind, |at, spend| {
            let Some(connection) = connections.get_mut(at) else { return };
            spend(&mut connection.own);
            if core::mem::replace(&mut connection.event, number) == number
                || connection.state == LinkState::Closing
            {
                return;
            }
            let may_know = *skip_acl
                || tree.allows_by(
                    event.acl,
                    perms::READ,
                    connection.ids.list().iter(),
                    &mut scratch,
                );
            if !may_know {
                return;
            }
            let before = connection.output.len();
            let event =
                |out: &mut Pipe<'_>| put_event(out, event.zxid, event.kind as i32, event.path);
            let mut put = connection.unreserved(event);
            if put.is_err() {
                if connections.lend(at, Way::Output, *now) == Lent::More {
                    put = connections[at].unreserved(event);
                }
                connections.waives(at, Way::Output);
            }
            let connection = &mut connections[at];
            if put.is_ok() {
                stats.events(Summary::of((connection.output.len() - before) as u64));
                connection.counters.sent(1);
            } else {
                // Never lied to: an event that cannot be told ends the connection. What it holds is
                // given back when the shell says that the socket is closed.
                connection.output.clear();
                connection.state = LinkState::Closing;
                stats.slow_closed += 1;
            }
            connections.make_ready(at);
        });
    }

    fn result(&mut self, tree: &DataTree<'_>, done: Done<'_>) {
        let Self { reply, asked, .. } = self;
        let create2 = asked.next().is_some_and(|(op, _)| op == OpCode::Create2);
        // The room is bounded by the largest reply; a longer one is answered with an error.
        let _ = put_result(reply, tree, done, create2);
    }
}

pub(super) fn put_event(
    out: &mut Pipe<'_>,
    zxid: Zxid,
    kind: i32,
    path: &[u8],
) -> Result<(), jute::Error> {
    let header = ReplyHeader { xid: Xid::EVENT, zxid, err: Code::Ok };
    let event =
        WatcherEvent { kind, state: WatcherEvent::SYNC_CONNECTED, path: Ustring(Some(path)) };
    put_frame(out, |out| {
        jute::write(&header, out)?;
        jute::write(&event, out)
    })
}

fn put_result(
    out: &mut Pipe<'_>,
    tree: &DataTree<'_>,
    done: Done<'_>,
    create2: bool,
) -> Result<(), jute::Error> {
    let header = |op| MultiHeader { op, done: false, err: 0 };
    if done.err != Code::Ok || done.op == OpCode::Error {
        let header = MultiHeader { op: OpCode::Error, done: false, err: done.err.0 };
        return jute::write(&(header, done.err), out);
    }
    match (done.op, done.node) {
        (OpCode::Create, _) if !create2 => {
            jute::write(&(header(OpCode::Create), Ustring(Some(done.path))), out)
        }
        (OpCode::Create | OpCode::CreateContainer | OpCode::CreateTtl, Some(at)) => {
            jute::write(&(header(OpCode::Create2), Ustring(Some(done.path)), tree.stat(at)), out)
        }
        (OpCode::SetData, Some(at)) => jute::write(&(header(OpCode::SetData), tree.stat(at)), out),
        (op, _) => jute::write(&header(op), out),
    }
}
