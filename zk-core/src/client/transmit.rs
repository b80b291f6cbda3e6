//! What is sent next, and its bytes.

use super::window::Window;
use super::{Closing, Link, Sending, Session, requests};
use crate::id::{SessionId, Xid};
use crate::wire::OpCode;
use crate::wire::client::{ConnectRequest, RequestHeader};
use crate::wire::jute::{self, Buffer, Trailing};

impl Session<'_> {
    /// The session to ask for: a read-only server's means nothing to others.
    pub(super) fn asked_session(&self) -> SessionId {
        if self.global { self.session_id } else { SessionId::NONE }
    }

    fn connect_request(&self) -> ConnectRequest<'_> {
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout: self.config.timeout,
            session_id: self.asked_session(),
            passwd: Buffer::new(&self.passwd),
            read_only: Trailing(Some(self.config.read_only)),
        }
    }

    pub(super) fn next_packet(&self) -> Sending {
        if self.link != Link::Up {
            Sending::Nothing
        } else if !self.auths.unsent().is_empty() {
            Sending::Auth
        } else if self.watches.is_announcing() {
            Sending::Watches
        } else if self.lost == 0 && !self.requests.all_sent() {
            Sending::Request
        } else if self.closing == Closing::Asked {
            Sending::Close(requests::next_xid(self.xid))
        } else if self.ping {
            Sending::Ping
        } else {
            Sending::Nothing
        }
    }

    /// Puts the packet under way, from where it was cut off, into `out`: how much, and whether
    /// that was its end.
    pub(super) fn piece(&self, out: &mut [u8]) -> (usize, bool) {
        let mut copy = |bytes: &[u8]| {
            let n = bytes.len().min(out.len());
            if let (Some(to), Some(from)) = (out.get_mut(..n), bytes.get(..n)) {
                to.copy_from_slice(from);
            }
            (n, n == bytes.len())
        };
        match self.sending {
            Sending::Nothing => (0, false),
            Sending::Auth => copy(self.auths.unsent().get(self.sent..).unwrap_or_default()),
            Sending::Request => copy(self.requests.unsent(self.sent).unwrap_or_default()),
            Sending::Connect => {
                let request = self.connect_request();
                encoded(self.sent, out, |window| {
                    let len = i32::try_from(jute::size(&request)).unwrap_or(0);
                    jute::write(&(len, request), window)
                })
            }
            Sending::Watches => encoded(self.sent, out, |window| self.watches.encode_batch(window)),
            Sending::Ping => header_only(self.sent, out, Xid::PING, OpCode::Ping),
            Sending::Close(xid) => header_only(self.sent, out, xid, OpCode::CloseSession),
        }
    }

    pub(super) fn packet_sent(&mut self) {
        match self.sending {
            Sending::Nothing | Sending::Connect => {}
            Sending::Auth => self.auths.mark_sent(self.sent),
            Sending::Request => self.requests.mark_sent(),
            Sending::Watches => self.watches.next_batch(),
            Sending::Ping => {}
            Sending::Close(xid) => self.closing = Closing::Sent(xid),
        }
        // Anything that was sent serves as a ping.
        self.ping = false;
        self.sending = Sending::Nothing;
    }
}

/// Encodes a packet into `out` from its byte `from`.
fn encoded(
    from: usize,
    out: &mut [u8],
    write: impl FnOnce(&mut Window<'_>) -> Result<(), jute::Error>,
) -> (usize, bool) {
    let mut window = Window::new(from, out);
    match write(&mut window) {
        Ok(()) => window.piece(),
        // A window takes everything; a record of ours has a Jute form.
        Err(_) => (0, true),
    }
}

fn header_only(from: usize, out: &mut [u8], xid: Xid, op: OpCode) -> (usize, bool) {
    encoded(from, out, |window| jute::write(&(8i32, RequestHeader { xid, op }), window))
}
