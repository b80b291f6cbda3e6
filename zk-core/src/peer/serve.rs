//! Frames of clients: taken in, proposed or answered, in the order that each session asked.

use super::connect::Handshake;
use super::link::{Class, Connection, Queue, State as LinkState, class};
use super::pipeline::{Made, put_event, put_frame, set_len};
use super::slices::Long;
use super::spare::{Lent, Way};
use super::stats::COUNTS;
use super::{Link, Peer};
use crate::id::{Xid, Zxid};
use crate::memory::Handle;
use crate::request::read::{NoReply, Pace, Read};
use crate::session::auth::{Outcome, authenticate};
use crate::time::Now;
use crate::trace::repeated;
use crate::wire::client::{AuthPacket, PathRecord, ReplyHeader, RequestHeader};
use crate::wire::frame::{self, Frame};
use crate::wire::jute::{self, Buffer, Reader, Sink};
use crate::wire::{Code, OpCode};

/// What [`Peer::receive`] made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes that were taken, of whole frames, or of one that is longer than can be shown; show the rest
    /// again.
    pub consumed: usize,
    /// So many bytes must be shown next time, the rest of now included; 0: the peer can take no more
    /// now. Stop reading the socket until [`Peer::poll_link`] names the link.
    pub need: usize,
}

/// Bytes of the reply to a read that a write may overtake on its way to being proposed, besides a
/// node's data. They are reserved in the connection's output, so that the read can be answered
/// before the write is applied, however slow the client is.
const READ_OVERHEAD: usize = 1024;

/// Bytes of a request's header.
pub(super) const HEADER: usize = 8;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// It is answered.
    Done,
    /// There is no room for its reply.
    Wait,
    /// It waits for transactions to be applied.
    Stall,
    /// It takes long, and waits for its turn, or for its next.
    Long,
}

impl Peer<'_> {
    /// Takes frames from what a client has sent: `bytes` is contiguous, and starts with a frame, or goes on
    /// with one of which a part was taken ([`max_shown`](super::Options::max_shown)).
    pub fn receive(&mut self, now: Now, link: Link, bytes: &[u8]) -> Received {
        let at = link.0;
        let mut rest = bytes;
        loop {
            let Some(connection) = self.connections.get_mut(at) else {
                return Received { consumed: bytes.len(), need: frame::LEN };
            };
            if connection.state == LinkState::Closing {
                return Received { consumed: bytes.len(), need: frame::LEN };
            }
            connection.active = true;
            if connection.due > 0 {
                if rest.is_empty() {
                    return Received { consumed: bytes.len(), need: 1 };
                }
                rest = &rest[self.take_part(at, rest, now)..];
                continue;
            }
            let payload = match frame::first(rest, self.options.max_frame) {
                Err(_) => {
                    repeated!(
                        self.often.long_frames,
                        "session {:#x}: closing its connection, its frame has {} bytes and \
                         jute.maxbuffer is {} (time {})",
                        self.connections[at].session.0,
                        rest.first_chunk().map_or(0, |len| i32::from_be_bytes(*len)),
                        self.options.max_frame
                    );
                    self.drop_link(at);
                    return Received { consumed: bytes.len(), need: frame::LEN };
                }
                Ok(Frame::Need(need)) if need > self.options.max_shown.max(frame::LEN) => {
                    let connection = &mut self.connections[at];
                    if connection.state == LinkState::Fresh {
                        // No handshake is that long.
                        self.drop_malformed(at);
                        return Received { consumed: bytes.len(), need: frame::LEN };
                    }
                    let part = &rest[frame::LEN..];
                    let len = need - frame::LEN;
                    if connection.state != LinkState::Open
                        || !self.connections.enqueue(at, part, len, now)
                    {
                        self.connections[at].blocked = true;
                        return Received { consumed: bytes.len() - rest.len(), need: 0 };
                    }
                    return Received { consumed: bytes.len(), need: 1 };
                }
                Ok(Frame::Need(need)) => {
                    return Received { consumed: bytes.len() - rest.len(), need };
                }
                Ok(Frame::Whole(payload)) => payload,
            };
            if !self.take_frame(at, payload, now) {
                self.connections[at].blocked = true;
                return Received { consumed: bytes.len() - rest.len(), need: 0 };
            }
            rest = &rest[frame::LEN + payload.len()..];
        }
    }

    /// Takes what comes of a frame whose beginning waits; how much of it there is.
    fn take_part(&mut self, at: Handle, bytes: &[u8], now: Now) -> usize {
        let connection = &mut self.connections[at];
        let len = bytes.len().min(connection.due);
        if connection.append(&bytes[..len]).is_err() {
            // Its room was looked at; the memory is not there after all.
            self.drop_link(at);
        } else if connection.due == 0 {
            match self.sessions.usable(connection.session) {
                Some(session) => self.sessions.touch(session, now.monotonic),
                // Apache drops what an expired session still sends.
                None => connection.drop_last(),
            }
            self.count_received(at);
            self.pump(at, now);
        }
        len
    }

    /// `false` if it cannot be taken now.
    fn take_frame(&mut self, at: Handle, payload: &[u8], now: Now) -> bool {
        match self.connections[at].state {
            LinkState::Fresh => {
                let taken = self.connect(at, payload, now) == Handshake::Taken;
                if taken {
                    self.stats.handshake();
                    self.count_received(at);
                } else {
                    self.connections.stall(at);
                }
                taken
            }
            LinkState::Opening | LinkState::Returning => false,
            LinkState::Open => self.take_request(at, payload, now),
            LinkState::Closing | LinkState::Leaving | LinkState::Vacant(_) => true,
        }
    }

    fn take_request(&mut self, at: Handle, payload: &[u8], now: Now) -> bool {
        let Ok(header) = jute::decode::<RequestHeader>(payload) else {
            self.drop_malformed(at);
            return true;
        };
        let connection = &self.connections[at];
        let session = self.sessions.usable(connection.session);
        let kind = self.class_of(at, header.op);
        // Alone, and nothing to propose: answered from where it lies.
        if connection.input.is_empty() && kind != Class::Write {
            let served = match session {
                Some(session) => {
                    self.sessions.touch(session, now.monotonic);
                    self.serve_one(at, payload, now, now.monotonic, Pace::Quick)
                }
                // Apache drops what an expired session still sends.
                None => Served::Done,
            };
            match served {
                Served::Done => {
                    self.count_received(at);
                    return true;
                }
                Served::Stall => self.connections.stall(at),
                Served::Long => self.connections.push(Queue::Long, at),
                Served::Wait => {}
            }
        } else if let Some(session) = session {
            self.sessions.touch(session, now.monotonic);
        } else {
            self.count_received(at);
            return true;
        }
        if !self.connections.enqueue(at, payload, payload.len(), now) {
            return false;
        }
        self.count_received(at);
        self.pump(at, now);
        true
    }

    /// Closes a connection that sends what cannot be read.
    pub(super) fn drop_malformed(&mut self, at: Handle) {
        repeated!(
            self.often.malformed,
            "session {:#x}: closing its connection, its request cannot be read (time {})",
            self.connections[at].session.0
        );
        self.drop_link(at);
    }

    fn count_received(&mut self, at: Handle) {
        if let Some(connection) = self.connections.get_mut(at) {
            connection.counters.received();
        }
        self.stats.received();
    }

    /// Tells the shell that a link can take input again, if it was told to wait.
    pub(super) fn unblock(&mut self, at: Handle) {
        if let Some(connection) = self.connections.get_mut(at)
            && core::mem::replace(&mut connection.blocked, false)
        {
            self.connections.make_ready(at);
        }
    }

    /// Answers and proposes what can be.
    pub(super) fn pump(&mut self, at: Handle, now: Now) {
        while self.serve_head(at, now, Pace::Quick) {}
        self.submit_ahead(at, now);
    }

    /// Answers reads before the write at the head; `false` if the client does not read and there
    /// is no room.
    pub(super) fn serve_before_write(&mut self, at: Handle, now: Now) -> bool {
        loop {
            match self.connections[at].waiting(0) {
                Some(waiting) if waiting.submitted => return true,
                Some(_) => {
                    if !self.serve_head(at, now, Pace::Whole) {
                        return false;
                    }
                }
                None => return false,
            }
        }
    }

    /// Answers the request at the head, if it is none that waits for its transaction.
    pub(super) fn serve_head(&mut self, at: Handle, now: Now, pace: Pace) -> bool {
        let Some(connection) = self.connections.get_mut(at) else { return false };
        if connection.state != LinkState::Open {
            return false;
        }
        if pace == Pace::Quick && connection.queued[Queue::Long as usize] {
            // It has its turn.
            return false;
        }
        let Some(waiting) = connection.waiting(0) else { return false };
        if waiting.submitted {
            return false;
        }
        let header: Result<RequestHeader, _> = jute::decode(connection.frame(0, waiting));
        if header.is_ok_and(|header| self.class_of(at, header.op) == Class::Write) {
            return false;
        }
        let Some(connection) = self.connections.get_mut(at) else { return false };
        // If a write has overtaken it, its room was reserved.
        let room = if connection.looked > 0 { self.options.max_frame + READ_OVERHEAD } else { 0 };
        connection.reserved -= room;
        // The request is lent to whom it is served by; the pipe does not move meanwhile.
        let input = core::mem::take(&mut connection.input);
        let start = Connection::behind(0, waiting) - waiting.len;
        let payload = input.bytes().get(start..start + waiting.len).unwrap_or_default();
        let served = self.serve_one(at, payload, now, waiting.since, pace);
        let Some(connection) = self.connections.get_mut(at) else { return false };
        if connection.state != LinkState::Open {
            // It was closed over this; nothing waits any more.
            connection.input = input;
            connection.input.clear();
            return false;
        }
        connection.input = input;
        match served {
            Served::Done => {
                connection.dequeue(waiting);
                true
            }
            Served::Wait => {
                connection.reserved += room;
                false
            }
            Served::Stall => {
                connection.reserved += room;
                self.connections.stall(at);
                false
            }
            Served::Long => {
                connection.reserved += room;
                self.connections.push(Queue::Long, at);
                false
            }
        }
    }

    /// Proposes writes, also those behind reads that wait.
    fn submit_ahead(&mut self, at: Handle, now: Now) {
        loop {
            let Some(connection) = self.connections.get_mut(at) else { return };
            if connection.state != LinkState::Open {
                return;
            }
            let from = connection.looked;
            let Some(waiting) = connection.waiting(from) else { return };
            let behind = Connection::behind(from, waiting);
            let payload = connection.frame(from, waiting);
            let Ok(header) = jute::decode::<RequestHeader>(payload) else { return };
            let kind = self.class_of(at, header.op);
            let Some(connection) = self.connections.get_mut(at) else { return };
            match kind {
                Class::Write => {}
                Class::Read if from > 0 => {
                    let room = self.options.max_frame + READ_OVERHEAD;
                    if connection.output.free() < connection.reserved + room {
                        return;
                    }
                    connection.reserved += room;
                    connection.looked = behind;
                    continue;
                }
                // At the head, or nothing may overtake it.
                _ => return,
            }
            let session = connection.session;
            let input = core::mem::take(&mut connection.input);
            let ids = core::mem::take(&mut connection.ids);
            let start = behind - waiting.len;
            let payload = input.bytes().get(start..behind).unwrap_or_default();
            let body = payload.get(HEADER..).unwrap_or_default();
            let proposed = self.submit(session, header.xid, header.op, body, ids.list(), at, now);
            let Some(connection) = self.connections.get_mut(at) else { return };
            connection.input = input;
            connection.ids = ids;
            if proposed.is_err() {
                self.connections.stall(at);
                return;
            }
            connection.set_submitted(from);
            connection.looked = behind;
        }
    }

    /// Answers one request that changes nothing. With [`Pace::Whole`], the client's slowness does not
    /// count.
    fn serve_one(
        &mut self,
        at: Handle,
        payload: &[u8],
        now: Now,
        since: crate::time::Instant,
        pace: Pace,
    ) -> Served {
        let mut reader = Reader::new(payload);
        let Ok(RequestHeader { xid, op }) = reader.read() else {
            self.drop_malformed(at);
            return Served::Done;
        };
        let body = reader.rest();
        let read_only = self.is_read_only();
        let connection = &self.connections[at];
        let begun = pace == Pace::Slice && self.long.is_some();
        let waits = connection.crowded
            || connection.output.len() >= self.options.reply_high_mark
            || !connection.output.is_empty() && self.connections.hogs(at, Way::Output);
        if waits && pace != Pace::Whole && !begun {
            return Served::Wait;
        }
        let result = match op {
            OpCode::Ping => Ok(()),
            OpCode::CloseSession => return self.close_local(at, xid),
            _ if read_only && (op == OpCode::Sync || class(op) == Class::Write) => {
                Err(NoReply::Code(Code::NotReadOnly))
            }
            OpCode::Sync => {
                if connection.sync.is_none() && self.is_learner() {
                    // The leader says when.
                    if self.forward_sync(at, xid, body, now).is_ok() {
                        self.connections[at].sync = Some(u64::MAX);
                    }
                    return Served::Stall;
                }
                let connection = &mut self.connections[at];
                let target = *connection.sync.get_or_insert_with(|| self.history.end());
                if self.next_apply < target {
                    return Served::Stall;
                }
                Ok(())
            }
            OpCode::Auth => return self.serve_auth(at, xid, body),
            OpCode::Sasl => return self.serve_sasl(at, xid, body),
            _ if class(op) == Class::Unknown => {
                let header = ReplyHeader { xid, zxid: Zxid::NONE, err: Code::Unimplemented };
                return self.reply_and_finish(at, header);
            }
            _ => Ok(()),
        };
        let xid = if op == OpCode::Ping { Xid::PING } else { xid };
        let mut result = result.and_then(|()| self.put_reply(at, xid, op, body, pace));
        let mut lent = Lent::Never;
        let connection = &self.connections[at];
        let empty = connection.output.is_empty() && connection.reserved == 0;
        if result == Err(NoReply::Full) && empty {
            lent = self.connections.lend(at, Way::Output, now.monotonic);
            if lent == Lent::More {
                result = self.put_reply(at, xid, op, body, pace);
            }
        }
        match result {
            Ok(bytes) => {
                self.connections[at].sync = None;
                self.count_answer(at, Made { op, cxid: xid, bytes }, since, now);
                self.connections.make_ready(at);
                Served::Done
            }
            Err(NoReply::More | NoReply::Lost) => Served::Long,
            Err(NoReply::Full) => {
                let connection = &mut self.connections[at];
                if !connection.output.is_empty() || connection.reserved > 0 || lent == Lent::Wait {
                    connection.crowded = !connection.output.is_empty();
                    return Served::Wait;
                }
                // It will never fit.
                self.connections[at].sync = None;
                self.reply_code(at, xid, op, Code::MarshallingError, since, now)
            }
            Err(NoReply::Code(code)) => {
                if code == Code::SystemError {
                    let connection = &self.connections[at];
                    repeated!(
                        self.often.watches,
                        "session {:#x} has {} watches, of {} in all: it gets no more (time {})",
                        connection.session.0,
                        connection.own.count(),
                        self.watches.len()
                    );
                }
                self.reply_code(at, xid, op, code, since, now)
            }
        }
    }

    /// Writes the reply to a read; nothing, if it cannot. Of one that takes long, with
    /// [`Pace::Slice`], it writes a part, which is not shown before it is whole. Answers how many
    /// bytes the whole reply takes.
    #[inline(never)] // its frame is not needed below the other answers
    fn put_reply(
        &mut self,
        at: Handle,
        xid: Xid,
        op: OpCode,
        body: &[u8],
        pace: Pace,
    ) -> Result<usize, NoReply> {
        match op {
            OpCode::GetAcl => self.need_scratch(self.tree.acls().longest()),
            OpCode::GetEphemerals => {
                let session = self.connections[at].session;
                self.need_scratch(self.tree.longest_ephemeral(session));
            }
            _ => {}
        }
        let begun = if pace == Pace::Slice { self.long.take() } else { None };
        let connection = &mut self.connections[at];
        let mut long = match begun {
            Some(mut long) => {
                long.resume(op, connection.output.len(), self.tree.last_zxid());
                long
            }
            None => Long::new(at, connection, self.tree.last_zxid()),
        };
        let limit = connection.output.ceiling();
        // Proposed writes keep their room.
        connection.output.set_limit(limit.saturating_sub(connection.reserved));
        let before = connection.output.len();
        let mut result = self.write_reply(at, xid, op, body, pace, &mut long);
        let output = &mut self.connections[at].output;
        output.set_limit(limit);
        // Events that came since the last slice stay behind the reply.
        let added = output.len() - before;
        if long.to < before {
            output.bytes_mut()[long.to..].rotate_right(added);
        }
        long.to += added;
        if result == Err(NoReply::More) && pace == Pace::Slice {
            long.pause(op, output);
            self.long = Some(long);
            return Err(NoReply::More);
        }
        if result.is_ok() && !matches!(op, OpCode::SetWatches | OpCode::SetWatches2) {
            result = set_len(output, long.from, long.to).map_err(NoReply::from);
        }
        if result.is_err() {
            output.remove(long.from, long.to);
        }
        if pace == Pace::Slice {
            self.tree.listing_end();
            self.tree.count_end();
        }
        result?;
        self.stats.events(long.told);
        self.connections[at].counters.sent(long.told.count);
        Ok(long.to - long.from - long.told.total as usize)
    }

    /// Writes (more of) a reply to the end of the output.
    fn write_reply(
        &mut self,
        at: Handle,
        xid: Xid,
        op: OpCode,
        body: &[u8],
        pace: Pace,
        long: &mut Long,
    ) -> Result<(), NoReply> {
        let Self { tree, watches, connections, options, scratch, .. } = self;
        let header = ReplyHeader { xid, zxid: long.zxid, err: Code::Ok };
        let Connection { output, own, ids, session, .. } = &mut connections[at];
        let fresh = long.from == long.to;
        let mut read = Read {
            tree,
            watches,
            connection: at,
            own,
            max_watches: options.max_watches,
            session: *session,
            ids,
            skip_acl: options.skip_acl,
            scratch,
            pace,
            slice: options.slice,
            cursor: &mut long.cursor,
        };
        if matches!(op, OpCode::SetWatches | OpCode::SetWatches2) {
            read.set_watches(op, body, |kind, path| {
                let before = output.len();
                put_event(output, Zxid::NONE, kind as i32, path)?;
                if COUNTS {
                    long.told.add((output.len() - before) as u64);
                }
                Ok(())
            })?;
            return Ok(put_frame(output, |out| jute::write(&header, out))?);
        }
        if fresh {
            output.put(&[0; frame::LEN])?;
            jute::write(&header, output)?;
        }
        match op {
            OpCode::Ping => Ok(()),
            OpCode::Sync => Ok(jute::write(&jute::decode::<PathRecord<'_>>(body)?, output)?),
            _ => read.serve(op, body, output),
        }
    }

    fn reply_code(
        &mut self,
        at: Handle,
        xid: Xid,
        op: OpCode,
        err: Code,
        since: crate::time::Instant,
        now: Now,
    ) -> Served {
        let header = ReplyHeader { xid, zxid: self.tree.last_zxid(), err };
        let before = self.connections[at].output.len();
        let put =
            self.connections[at].unreserved(|out| put_frame(out, |out| jute::write(&header, out)));
        if put.is_err() {
            return Served::Wait;
        }
        let bytes = self.connections[at].output.len() - before;
        self.count_answer(at, Made { op, cxid: xid, bytes }, since, now);
        self.connections.make_ready(at);
        Served::Done
    }

    /// A last word, then the end.
    fn reply_and_finish(&mut self, at: Handle, header: ReplyHeader) -> Served {
        let out = &mut self.connections[at].output;
        let before = out.len();
        // Nothing else will be answered. If even this does not fit, the client learns no more than
        // that it is closed.
        if put_frame(out, |out| jute::write(&header, out)).is_ok() {
            let bytes = out.len() - before;
            self.count_reply(at, bytes);
        }
        self.finish_link(at);
        Served::Done
    }

    /// The end of a session that nobody else knows of.
    fn close_local(&mut self, at: Handle, xid: Xid) -> Served {
        let header = ReplyHeader { xid, zxid: self.tree.last_zxid(), err: Code::Ok };
        self.sessions.closed(self.connections[at].session);
        self.reply_and_finish(at, header)
    }

    /// How a request of a connection is served by this peer now.
    fn class_of(&self, at: Handle, op: OpCode) -> Class {
        match class(op) {
            Class::Write
                if self.is_read_only()
                    || op == OpCode::CloseSession
                        && self.sessions.is_local(self.connections[at].session) =>
            {
                Class::Barrier
            }
            class => class,
        }
    }

    #[inline(never)] // likewise
    fn serve_auth(&mut self, at: Handle, xid: Xid, body: &[u8]) -> Served {
        let Ok(packet) = jute::decode::<AuthPacket<'_>>(body) else {
            self.drop_malformed(at);
            return Served::Done;
        };
        let AuthPacket { scheme, auth, .. } = packet;
        let connection = &mut self.connections[at];
        let super_digest = self.options.super_digest.as_deref();
        let outcome = authenticate(&mut connection.ids, scheme.bytes(), auth.bytes(), super_digest);
        let header = ReplyHeader { xid, zxid: Zxid::ZERO, err: Code::Ok };
        if outcome == Outcome::Failed {
            self.stats.auth_failed += 1;
            repeated!(
                self.often.credentials,
                "session {:#x}: closing its connection, its credentials are of a scheme that \
                 is not served, or too many (time {})",
                connection.session.0
            );
            let header = ReplyHeader { err: Code::AuthFailed, ..header };
            return self.reply_and_finish(at, header);
        }
        self.put_small(at, header, Buffer::NULL, false)
    }

    /// Without a SASL server, Apache answers every token with none.
    fn serve_sasl(&mut self, at: Handle, xid: Xid, body: &[u8]) -> Served {
        if jute::decode::<Buffer<'_>>(body).is_err() {
            self.drop_malformed(at);
            return Served::Done;
        }
        let header = ReplyHeader { xid, zxid: Zxid::ZERO, err: Code::Ok };
        self.put_small(at, header, Buffer::NULL, true)
    }

    fn put_small(
        &mut self,
        at: Handle,
        header: ReplyHeader,
        token: Buffer<'_>,
        with_token: bool,
    ) -> Served {
        let before = self.connections[at].output.len();
        let put = self.connections[at].unreserved(|out| {
            put_frame(out, |out| {
                jute::write(&header, out)?;
                if with_token { jute::write(&token, out) } else { Ok(()) }
            })
        });
        if put.is_err() {
            return Served::Wait;
        }
        // Apache answers these before they come to be measured.
        self.count_reply(at, self.connections[at].output.len() - before);
        self.connections.make_ready(at);
        Served::Done
    }

    // Outlets.

    /// A link that has output, or is to be closed, or can take input again.
    pub fn poll_link(&mut self) -> Option<Link> {
        while let Some(at) = self.connections.pop(Queue::Ready) {
            if self.connections.get(at).is_some() {
                return Some(Link(at));
            }
        }
        None
    }

    /// What to write to the link's socket.
    pub fn output(&self, link: Link) -> &[u8] {
        let Some(connection) = self.connections.get(link.0) else { return &[] };
        let bytes = connection.output.bytes();
        match &self.long {
            Some(long) if long.is_of(link.0, connection) => {
                bytes.get(..long.from).unwrap_or_default()
            }
            _ => bytes,
        }
    }

    /// So many bytes of the output were written.
    pub fn sent(&mut self, now: Now, link: Link, len: usize) {
        let Some(connection) = self.connections.get_mut(link.0) else { return };
        connection.output.take(len);
        connection.active = true;
        connection.crowded &= !connection.output.is_empty();
        if let Some(long) = &mut self.long
            && long.is_of(link.0, connection)
        {
            long.moved(len);
        }
        // Requests may have waited for this room.
        if !connection.input.is_empty() && connection.state == LinkState::Open {
            self.pump(link.0, now);
        }
        self.unblock(link.0);
        self.pass_on(now);
    }

    /// Whether the link is to be closed, once its output is written.
    pub fn is_closing(&self, link: Link) -> bool {
        self.connections.get(link.0).is_none_or(|connection| connection.state == LinkState::Closing)
    }
}
