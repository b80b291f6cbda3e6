//! The client's side of the client port: one session, across the connections that carry it.
//!
//! [`Session`] is told what happens (a connection came or went, bytes arrived, time passed) and
//! asked what to do (bytes to send, a host to dial, when to wake it). It keeps no partial frame and
//! copies no reply: bytes are lent to [`Session::receive`], which lends back the event in them.
//!
//! ```text
//!   poll_dial ──▶ index ──▶ (the shell connects) ──▶ handle_connected
//!   transmit ──▶ bytes to write          bytes read ──▶ receive ──▶ event
//!   poll_event ──▶ events not caused by bytes       poll_timeout ──▶ handle_timeout
//! ```
//!
//! After [`Event::Disconnected`] the shell closes the connection if it is still open, and dials
//! again when [`Session::poll_dial`] says so. [`Event::Expired`], [`Event::AuthFailed`] and
//! [`Event::Closed`] are the last of a session.
//!
//! # Limits
//!
//! | what | where | when it is reached |
//! |---|---|---|
//! | requests without a reply | [`Config::max_outstanding`], [`Storage::requests`] | [`SubmitError::Full`] |
//! | size of a request | [`Config::max_request`] | [`SubmitError::TooLarge`] |
//! | watches | [`Storage::watches`] | [`SubmitError::TooManyWatches`], before the server is asked |
//! | credentials | [`Storage::auths`] | [`SubmitError::TooManyAuths`] |
//! | size of a reply | [`Config::max_reply`] | disconnected, [`Cause::Protocol`], at the header |
//!
//! Answers to `ClientCnxn` of Apache ZooKeeper. It differs in this: what is submitted while
//! no connection stands is kept until one does (Apache fails it when a dial fails), and the rest
//! of the packets wait for the answer to the first, so that nothing is sent into a session that is
//! gone.

mod auths;
mod bytes;
mod config;
mod event;
mod hosts;
mod receive;
mod requests;
mod transmit;
mod watches;
mod window;

#[cfg(test)]
mod tests;

use serde::Serialize;

use self::auths::Auths;
use self::bytes::Bytes;
pub use self::config::{Config, JUTE_MAXBUFFER, PASSWD, Resume, Storage};
pub use self::event::{Cause, Event, Reply, SubmitError, Taken, Violation, Watch};
use self::hosts::Hosts;
pub use self::hosts::REDIAL_PAUSE;
use self::requests::{Request, Requests};
use self::watches::{Kinds, Watches, watched_path};
use crate::id::{SessionId, Xid, Zxid};
use crate::time::Instant;
use crate::wire::client::{AuthPacket, ReplyHeader, RequestHeader};
use crate::wire::frame::{self, Frame};
use crate::wire::{Code, OpCode};

/// The longest [`ConnectResponse`](crate::wire::client::ConnectResponse) that is waited for;
/// Apache's has 37 bytes.
const MAX_CONNECT_RESPONSE: usize = 256;

/// The longest silence before a ping, ms. Answers to `MAX_SEND_PING_INTERVAL`.
const MAX_PING_PAUSE: u64 = 10_000;

/// How much earlier than needed a ping is sent, ms, so that one lost second does no harm.
const PING_SLACK: u64 = 1_000;

/// The connection under the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// None; the next may be dialled from then on.
    Down(Instant),
    /// The shell is connecting since then.
    Dialing(Instant),
    /// Connected; the first packet is under way. Dialled then.
    Handshake(Instant),
    /// The session is established on it.
    Up,
}

/// Why there is no session any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Expired,
    AuthFailed,
    Closed,
}

impl End {
    fn event(self) -> Event<'static> {
        match self {
            Self::Expired => Event::Expired,
            Self::AuthFailed => Event::AuthFailed,
            Self::Closed => Event::Closed,
        }
    }

    /// What requests are answered with. Answers to `ClientCnxn.conLossPacket`.
    fn code(self) -> Code {
        match self {
            Self::Expired | Self::Closed => Code::SessionExpired,
            Self::AuthFailed => Code::AuthFailed,
        }
    }
}

/// The packet that is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Nothing,
    Connect,
    Auth,
    Watches,
    Ping,
    Request,
    Close(Xid),
}

/// Closing, as far as it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    Asked,
    Sent(Xid),
}

/// A client's session.
#[derive(Debug)]
pub struct Session<'m> {
    config: Config,
    hosts: Hosts,
    link: Link,
    end: Option<End>,
    closing: Closing,

    session_id: SessionId,
    passwd: [u8; PASSWD],
    /// Negotiated; what was asked for before that.
    timeout: i32,
    last_zxid: Zxid,
    /// A read-only server's session is known to it alone.
    global: bool,

    xid: Xid,
    requests: Requests<'m>,
    watches: Watches<'m>,
    auths: Auths<'m>,

    sending: Sending,
    /// Bytes of that packet that were sent.
    sent: usize,
    ping: bool,
    last_sent: Instant,
    last_heard: Instant,
    /// Length of the longest incomplete frame that was shown.
    shown: usize,

    /// Requests at the front that are lost and must be answered by this side.
    lost: usize,
    lost_code: Code,
    pending: Option<Event<'static>>,
}

impl<'m> Session<'m> {
    /// A session that has no connection yet; [`Session::poll_dial`] comes next.
    pub fn new(config: Config, storage: Storage<'m>, now: Instant) -> Self {
        let resume = config.resume;
        Self {
            hosts: Hosts::new(config.hosts, config.seed),
            link: Link::Down(now),
            end: None,
            closing: Closing::No,
            session_id: resume.map_or(SessionId::NONE, |r| r.session_id),
            passwd: resume.map_or([0; PASSWD], |r| r.passwd),
            timeout: config.timeout,
            last_zxid: resume.map_or(Zxid::ZERO, |r| r.last_zxid),
            global: resume.is_some(),
            xid: Xid(0),
            requests: Requests::new(Bytes::new(storage.requests)),
            watches: Watches::new(Bytes::new(storage.watches)),
            auths: Auths::new(Bytes::new(storage.auths)),
            sending: Sending::Nothing,
            sent: 0,
            ping: false,
            last_sent: now,
            last_heard: now,
            shown: 0,
            lost: 0,
            lost_code: Code::ConnectionLoss,
            pending: None,
            config,
        }
    }

    /// The session's id, [`SessionId::NONE`] before the first [`Event::Connected`].
    pub fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// What continues this session after a restart; `None` while there is nothing to continue.
    pub fn resume(&self) -> Option<Resume> {
        let (session_id, passwd, last_zxid) = (self.session_id, self.passwd, self.last_zxid);
        (self.global && self.end.is_none()).then_some(Resume { session_id, passwd, last_zxid })
    }

    /// The session timeout, ms: granted, or before that asked for.
    pub fn timeout(&self) -> i32 {
        self.timeout
    }

    /// The largest zxid of any reply.
    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    /// Whether the session is established on a connection.
    pub fn is_connected(&self) -> bool {
        self.link == Link::Up
    }

    /// Whether the session has come to its end.
    pub fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Requests without a reply.
    pub fn outstanding(&self) -> usize {
        self.requests.count()
    }

    /// Paths with a watch that this side knows of.
    pub fn watched(&self) -> usize {
        self.watches.count()
    }

    // Commands.

    /// Asks the server for `op`; the reply will carry the xid. `body` is the record of the op
    /// (`&()` for none, a tuple of records for a multi).
    ///
    /// Replies come in the order of the requests. A watch that the request leaves is kept across
    /// connections until it fires or is removed.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was changed then.
    pub fn submit<T: Serialize + ?Sized>(
        &mut self,
        op: OpCode,
        body: &T,
    ) -> Result<Xid, SubmitError> {
        match op {
            OpCode::Ping
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::CreateSession
            | OpCode::CloseSession => return Err(SubmitError::NotARequest),
            _ if self.end.is_some() || self.closing != Closing::No => {
                return Err(SubmitError::Ended);
            }
            _ => {}
        }
        let size = requests::frame_size(body);
        if size > self.config.max_request
            || size.saturating_add(frame::LEN) > self.requests.ceiling()
        {
            return Err(SubmitError::TooLarge);
        }
        if self.requests.count() >= self.config.max_outstanding {
            return Err(SubmitError::Full);
        }
        let xid = requests::next_xid(self.xid);
        self.requests.push(RequestHeader { xid, op }, body, size).map_err(|_| SubmitError::Full)?;
        if let Some(Request { header, body }) = self.requests.last(frame::LEN + size)
            && let Some(path) = watched_path(header.op, body)
            && !self.watches.reserve(path)
        {
            self.requests.unpush(frame::LEN + size);
            return Err(SubmitError::TooManyWatches);
        }
        self.xid = xid;
        Ok(xid)
    }

    /// Authenticates this session's connections, this one and all later.
    ///
    /// There is no event for success: what was submitted afterwards is answered only if the server
    /// agreed. [`Event::AuthFailed`] otherwise.
    ///
    /// # Errors
    /// [`SubmitError::TooManyAuths`], [`SubmitError::Ended`].
    pub fn add_auth(&mut self, scheme: &str, auth: &[u8]) -> Result<(), SubmitError> {
        if self.end.is_some() {
            return Err(SubmitError::Ended);
        }
        let packet = AuthPacket { kind: 0, scheme: scheme.into(), auth: auth.into() };
        if self.auths.add(packet) { Ok(()) } else { Err(SubmitError::TooManyAuths) }
    }

    /// Forgets watches on `path` without asking the server: events of theirs may still come until
    /// the connection ends. `watcher_type` is that of removeWatches: 1 children, 2 data, 3 any,
    /// 4 persistent, 5 persistent recursive.
    pub fn forget_watches(&mut self, path: &[u8], watcher_type: i32) {
        self.watches.remove(path, Kinds::of_watcher_type(watcher_type));
    }

    /// Closes the session after the requests submitted so far; [`Event::Closed`] follows. Without
    /// a connection it ends on this side at once, and on the servers when it expires.
    pub fn close(&mut self) {
        if self.end.is_some() || self.closing != Closing::No {
            return;
        }
        if self.link == Link::Up {
            self.closing = Closing::Asked;
        } else {
            self.link = Link::Down(Instant(u64::MAX));
            self.pending = Some(self.finish(End::Closed));
        }
    }

    // Inlets.

    /// The connection that [`Session::poll_dial`] asked for is there.
    pub fn handle_connected(&mut self, _now: Instant) {
        // One that comes after its deadline is not wanted any more: the shell was told.
        if let Link::Dialing(since) = self.link {
            self.link = Link::Handshake(since);
            self.sending = Sending::Connect;
            self.sent = 0;
            self.shown = 0;
        }
    }

    /// The connection is gone, or could not be made.
    pub fn handle_disconnected(&mut self, now: Instant) {
        if !matches!(self.link, Link::Down(_)) {
            self.pending = Some(self.disconnect(now, Cause::Closed));
        }
    }

    /// Time has passed, perhaps up to [`Session::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.link {
            Link::Down(_) => {}
            Link::Dialing(since) | Link::Handshake(since) => {
                if now.since(since) >= self.connect_timeout() {
                    self.pending = Some(self.disconnect(now, Cause::ConnectTimeout));
                }
            }
            Link::Up => {
                if now.since(self.last_heard) >= self.read_timeout() {
                    self.pending = Some(self.disconnect(now, Cause::ReadTimeout));
                } else if now.since(self.last_sent) >= self.ping_pause() {
                    self.ping = true;
                }
            }
        }
    }

    /// Looks at the bytes that the connection has brought and that were not consumed yet: takes
    /// the first frame, if it is whole. To be called again until nothing is consumed.
    pub fn receive<'b>(&mut self, now: Instant, bytes: &'b [u8]) -> Taken<'b> {
        let (first, max) = match self.link {
            // What a closed connection still brings is of no interest.
            Link::Down(_) | Link::Dialing(_) => {
                return Taken { consumed: bytes.len(), need: 0, event: None };
            }
            Link::Handshake(_) => (true, MAX_CONNECT_RESPONSE),
            Link::Up => (false, self.config.max_reply),
        };
        let payload = match frame::first(bytes, max) {
            Ok(Frame::Whole(payload)) => payload,
            Ok(Frame::Need(need)) => {
                if bytes.len() > self.shown {
                    (self.last_heard, self.shown) = (now, bytes.len());
                }
                return Taken { consumed: 0, need, event: None };
            }
            Err(_) => return self.violated(now, bytes, Violation::Length),
        };
        (self.last_heard, self.shown) = (now, 0);
        let taken = if first { self.connect_response(payload) } else { self.packet(payload) };
        match taken {
            Ok(event) => Taken { consumed: frame::LEN + payload.len(), need: 0, event },
            Err(violation) => self.violated(now, bytes, violation),
        }
    }

    // Outlets.

    /// The host to connect to now, by its index: the shell then calls
    /// [`Session::handle_connected`] or [`Session::handle_disconnected`].
    pub fn poll_dial(&mut self, now: Instant) -> Option<usize> {
        match self.link {
            Link::Down(at) if now >= at && self.end.is_none() => {
                self.link = Link::Dialing(now);
                Some(self.hosts.next())
            }
            _ => None,
        }
    }

    /// Fills `out` with what is to be sent, and returns how much that is. A packet goes on in the
    /// next call where it was cut off.
    pub fn transmit(&mut self, now: Instant, out: &mut [u8]) -> usize {
        let mut len = 0;
        loop {
            let room = out.get_mut(len..).unwrap_or_default();
            if room.is_empty() {
                break;
            }
            if self.sending == Sending::Nothing {
                self.sending = self.next_packet();
                self.sent = 0;
            }
            let (piece, whole) = self.piece(room);
            len += piece;
            self.sent += piece;
            if whole {
                self.packet_sent();
            }
            if !whole || piece == 0 {
                break;
            }
        }
        if len > 0 {
            self.last_sent = now;
        }
        len
    }

    /// The next event that no received bytes have caused. To be called until there is none, after
    /// every inlet.
    pub fn poll_event(&mut self) -> Option<Event<'static>> {
        if self.lost > 0 {
            self.lost -= 1;
            if let Some(Request { header, body }) = self.requests.first() {
                if let Some(path) = watched_path(header.op, body) {
                    self.watches.release(path);
                }
                self.requests.pop();
                let reply = ReplyHeader { xid: header.xid, zxid: Zxid::NONE, err: self.lost_code };
                let RequestHeader { xid, op } = header;
                return Some(Event::Reply(Reply { xid, op, header: reply, body: &[] }));
            }
        }
        self.pending.take()
    }

    /// When [`Session::handle_timeout`] and [`Session::poll_dial`] want to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.link {
            _ if self.end.is_some() => None,
            Link::Down(at) => Some(at),
            Link::Dialing(since) | Link::Handshake(since) => {
                Some(since.plus(self.connect_timeout()))
            }
            Link::Up => {
                let silent = self.last_heard.plus(self.read_timeout());
                // A ping that waits for room on the connection needs no second alarm.
                let ping = self.last_sent.plus(self.ping_pause());
                Some(if self.ping { silent } else { silent.min(ping) })
            }
        }
    }

    // Timers, all in ms. Answers to `ClientCnxn.SendThread`.

    fn millis(&self) -> u64 {
        u64::try_from(self.timeout).unwrap_or(0)
    }

    fn connect_timeout(&self) -> u64 {
        (self.millis() / self.hosts.count() as u64).max(1)
    }

    fn read_timeout(&self) -> u64 {
        (self.millis() * 2 / 3).max(1)
    }

    /// Silence of this side after which a ping is due.
    fn ping_pause(&self) -> u64 {
        let half = self.read_timeout() / 2;
        let early = if half > 2 * PING_SLACK { half - PING_SLACK } else { half.min(PING_SLACK) };
        early.clamp(1, MAX_PING_PAUSE)
    }

    // Ends.

    fn violated<'b>(&mut self, now: Instant, bytes: &'b [u8], violation: Violation) -> Taken<'b> {
        let event = self.disconnect(now, Cause::Protocol(violation));
        Taken { consumed: bytes.len(), need: 0, event: Some(event) }
    }

    /// Leaves the connection.
    fn disconnect(&mut self, now: Instant, cause: Cause) -> Event<'static> {
        let was_up = self.link == Link::Up;
        self.link = Link::Down(self.hosts.redial_at(now));
        self.leave_connection();
        if self.closing != Closing::No {
            return self.finish(End::Closed);
        }
        if was_up {
            // Which of them the server has done is not known. What waits while there is no
            // connection has not been sent, and stays.
            self.lose(Code::ConnectionLoss);
        }
        Event::Disconnected(cause)
    }

    fn leave_connection(&mut self) {
        (self.sending, self.sent, self.ping) = (Sending::Nothing, 0, false);
        self.auths.mark_unsent();
        self.watches.stop_announcing();
        self.requests.mark_unsent();
    }

    fn lose(&mut self, code: Code) {
        (self.lost, self.lost_code) = (self.requests.count(), code);
    }

    /// Ends the session.
    fn finish(&mut self, end: End) -> Event<'static> {
        self.end = Some(end);
        self.link = Link::Down(Instant(u64::MAX));
        self.leave_connection();
        self.watches.clear_held();
        self.lose(end.code());
        end.event()
    }
}
