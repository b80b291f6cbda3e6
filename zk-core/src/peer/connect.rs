//! The handshake: a connection gets a new session, or an old one back.

use super::link::Connection;
use super::link::State as LinkState;
use super::pipeline::put_frame;
use super::{Link, Peer};
use crate::id::{SessionId, Xid};
use crate::memory::{Full, Handle, NIL};
use crate::session::auth::Identities;
use crate::session::{PASSWORD_LEN, password, password_is};
use crate::time::Now;
use crate::trace::{debug, repeated};
use crate::wire::OpCode;
use crate::wire::client::{ConnectRequest, ConnectResponse};
use crate::wire::jute::{self, Buffer, List, Trailing};

/// What became of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// It is under way, done, or refused.
    Taken,
    /// There is no room for the session's transaction now.
    Later,
}

impl Peer<'_> {
    /// A client has connected from `address`.
    ///
    /// # Errors
    /// [`Full`]: close the socket.
    pub fn open(&mut self, now: Now, address: core::net::IpAddr) -> Result<Link, Full> {
        if !self.is_serving() {
            return Err(Full);
        }
        let at = self.connections.open()?;
        let connection = &mut self.connections[at];
        connection.input.set_limit(self.options.max_waiting);
        connection.output.set_limit(self.options.max_reply);
        connection.counters.opened(now.monotonic);
        connection.ids = Identities::of(address);
        Ok(Link(at))
    }

    /// The socket of a link is closed. (Once for each link; its number is used again.)
    pub fn closed(&mut self, now: Now, link: Link) {
        if self.connections.get(link.0).is_none() {
            return;
        }
        self.detach_session(link.0);
        self.end_long_of(link.0);
        self.connections.close(link.0);
        self.leave(link.0);
        self.pass_on(now);
    }

    /// The first frame of a connection.
    pub(super) fn connect(&mut self, link: Handle, frame: &[u8], now: Now) -> Handshake {
        let Ok(request) = jute::decode::<ConnectRequest<'_>>(frame) else {
            self.drop_malformed(link);
            return Handshake::Taken;
        };
        if request.last_zxid_seen > self.tree.last_zxid() && !planted!(LastZxidSeen) {
            // The client must go elsewhere.
            repeated!(
                self.often.ahead,
                "session {:#x} is refused: its client has seen zxid {:#x}, and this server only \
                 {:#x}. Is its data an old copy? (time {})",
                request.session_id.0,
                request.last_zxid_seen.0,
                self.tree.last_zxid().0
            );
            self.drop_link(link);
            return Handshake::Taken;
        }
        if self.is_read_only() && request.read_only.0 != Some(true) {
            debug!("a client is refused: it did not ask for a server that can only be read");
            self.drop_link(link);
            return Handshake::Taken;
        }
        let (min, max) = (self.options.min_session_timeout, self.options.max_session_timeout);
        let asked = u32::try_from(request.timeout).unwrap_or(0);
        let timeout = asked.max(min).min(max);
        let connection = &mut self.connections[link];
        connection.timeout = timeout;
        connection.asked = now.monotonic;
        connection.read_only_field = request.read_only.0.is_some();
        if request.session_id == SessionId::NONE {
            self.connect_new(link, timeout, now)
        } else {
            self.reconnect(link, &request, timeout, now)
        }
    }

    fn connect_new(&mut self, link: Handle, timeout: u32, now: Now) -> Handshake {
        if self.sessions.available() == 0 {
            repeated!(
                self.often.sessions,
                "a client is refused: there are {} sessions, as many as there can be (time {})",
                self.sessions.len()
            );
            self.drop_link(link);
            return Handshake::Taken;
        }
        let local = self.options.local_sessions;
        if self.is_read_only() && !local {
            debug!("a client is refused: without a leader there are only local sessions");
            self.drop_link(link);
            return Handshake::Taken;
        }
        let body = timeout.to_be_bytes();
        let id = self.sessions.peek();
        self.connections[link].session = id;
        if !local
            && self
                .submit(id, Xid(0), OpCode::CreateSession, &body, List::EMPTY, link, now)
                .is_err()
        {
            self.connections[link].session = SessionId::NONE;
            return Handshake::Later;
        }
        let id = self.sessions.allocate();
        // There is room: it was asked above.
        let me = self.options.server;
        if let Ok(at) = self.sessions.open(id, timeout, now.monotonic) {
            self.sessions.attach(at, link);
            self.sessions.own(at, me);
            self.sessions.set_local(at, local);
        }
        self.connections[link].state = LinkState::Opening;
        if local {
            self.session_opened(link, now);
        }
        Handshake::Taken
    }

    /// The session's creation is applied: the client hears of it now.
    pub(super) fn session_opened(&mut self, link: Handle, now: Now) {
        let id = self.connections[link].session;
        if let Some(at) = self.sessions.usable(id) {
            self.sessions.touch(at, now.monotonic);
        }
        let zxid = self.tree.last_zxid();
        let connection = &mut self.connections[link];
        connection.state = LinkState::Open;
        let latency = now.monotonic.since(connection.asked);
        connection.counters.answered(OpCode::CreateSession, Xid(0), zxid, latency, now.monotonic);
        self.stats.opened(latency);
        debug!("session {:#x} is open, timeout {} ms", id.0, self.timeout(Link(link)));
        self.respond(link, id);
    }

    fn respond(&mut self, link: Handle, id: SessionId) {
        let read_only = self.is_read_only();
        let connection = &mut self.connections[link];
        let valid = id != SessionId::NONE;
        let passwd = if valid { password(id) } else { [0; PASSWORD_LEN] };
        let response = ConnectResponse {
            protocol_version: 0,
            timeout: if valid { i32::try_from(connection.timeout).unwrap_or(i32::MAX) } else { 0 },
            session_id: id,
            passwd: Buffer(Some(&passwd)),
            read_only: Trailing(connection.read_only_field.then_some(read_only)),
        };
        // The output of a connection that was just opened has room for its first frame.
        let _ = put_frame(&mut connection.output, |out| jute::write(&response, out));
        connection.counters.sent(1);
        self.stats.responded();
        self.connections.make_ready(link);
    }

    /// A client comes back. Its password is checked before anything happens to the connection that
    /// the session may still have (Apache closes that first). A learner asks its leader whether the
    /// session is still there. A leader whom its quorum has left says of no session that it is over.
    fn reconnect(
        &mut self,
        link: Handle,
        request: &ConnectRequest<'_>,
        timeout: u32,
        now: Now,
    ) -> Handshake {
        let id = request.session_id;
        let known = password_is(id, request.passwd.bytes());
        let local = self.sessions.is_local(id);
        if self.is_read_only() && !local && self.sessions.find(id).is_some() {
            // It is the leader's, which is elsewhere.
            self.drop_link(link);
            return Handshake::Taken;
        }
        if known && self.is_learner() && !local {
            if self.forward_return(link, id, timeout).is_err() {
                return Handshake::Later;
            }
            // What an older connection has still to ask must not come behind what this one asks.
            if let Some(entry) = self.sessions.find(id) {
                let old = self.sessions.get(entry).connection();
                if old != NIL && old != link {
                    self.drop_link(old);
                }
            }
            self.connections[link].session = id;
            self.connections[link].state = LinkState::Returning;
            return Handshake::Taken;
        }
        if !known || self.sessions.usable(id).is_none() {
            if known && self.is_deserted() {
                self.drop_link(link);
            } else {
                self.refuse_session(link, id);
            }
            return Handshake::Taken;
        }
        self.connections[link].session = id;
        self.returned(link, true, now);
        Handshake::Taken
    }

    fn refuse_session(&mut self, link: Handle, id: SessionId) {
        self.stats.reconnect();
        repeated!(
            self.often.unknown_sessions,
            "session {:#x} is refused: it has expired or was never here, or its password is \
             wrong (time {})",
            id.0
        );
        self.respond(link, SessionId::NONE);
        self.finish_link(link);
    }

    /// Whether a session may go on is decided.
    pub(super) fn returned(&mut self, link: Handle, valid: bool, now: Now) {
        let Connection { session: id, timeout, .. } = self.connections[link];
        // A server that lags has not seen its creation yet.
        let at = if valid && self.is_learner() {
            self.sessions.open(id, timeout, now.monotonic).ok()
        } else {
            self.sessions.usable(id).filter(|_| valid)
        };
        let Some(at) = at else {
            // A session that lives has no room only where others have still to end: its client comes again.
            if valid {
                self.drop_link(link);
            } else {
                self.refuse_session(link, id);
            }
            return;
        };
        self.stats.reconnect();
        let before = self.sessions.get(at).connection();
        debug!("session {:#x} comes back, timeout {} ms", id.0, timeout);
        if before != NIL && before != link {
            debug!("session {:#x} leaves its old connection", id.0);
            self.drop_link(before);
        }
        let me = self.options.server;
        self.sessions.grant(at, timeout);
        self.sessions.touch(at, now.monotonic);
        self.sessions.attach(at, link);
        self.sessions.own(at, me);
        self.connections[link].state = LinkState::Open;
        self.respond(link, id);
    }
}
