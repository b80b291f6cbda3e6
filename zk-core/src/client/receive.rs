//! What packets from the server mean.

use super::event::{Event, Reply, Violation, Watch};
use super::watches::{left_watch, removed_watch, watched_path};
use super::{Closing, End, Link, PASSWD, Session};
use crate::id::{SessionId, Xid};
use crate::wire::Code;
use crate::wire::client::{ConnectResponse, ReplyHeader, RequestHeader, WatcherEvent};
use crate::wire::jute::{self, Reader};

impl Session<'_> {
    pub(super) fn connect_response(
        &mut self,
        payload: &[u8],
    ) -> Result<Option<Event<'static>>, Violation> {
        let response: ConnectResponse<'_> = jute::decode(payload).map_err(|_| Violation::Record)?;
        if response.timeout <= 0 {
            return Ok(Some(self.finish(End::Expired)));
        }
        let passwd = response.passwd.bytes();
        self.passwd = <[u8; PASSWD]>::try_from(passwd).map_err(|_| Violation::Record)?;
        let asked = self.asked_session();
        let goes_on = asked != SessionId::NONE && asked == response.session_id;
        self.session_id = response.session_id;
        self.timeout = response.timeout;
        self.link = Link::Up;
        let read_only = response.read_only.0.unwrap_or(false);
        self.global |= !read_only;
        self.watches.announce(self.last_zxid);
        Ok(Some(if goes_on {
            Event::Reconnected { read_only }
        } else {
            Event::Connected { read_only }
        }))
    }

    pub(super) fn packet<'b>(&mut self, payload: &'b [u8]) -> Result<Option<Event<'b>>, Violation> {
        let mut reader = Reader::new(payload);
        let header: ReplyHeader = reader.read().map_err(|_| Violation::Record)?;
        match header.xid {
            Xid::PING => Ok(None),
            Xid::AUTH if header.err == Code::Ok => Ok(None),
            Xid::AUTH => Ok(Some(self.finish(End::AuthFailed))),
            Xid::SET_WATCHES if header.err == Code::Ok => Ok(None),
            Xid::SET_WATCHES => {
                self.watches.clear_held();
                Ok(Some(Event::WatchesRefused(header.err)))
            }
            Xid::EVENT => {
                let event: WatcherEvent<'b> = reader.read().map_err(|_| Violation::Record)?;
                self.watches.fired(event.kind, event.path.bytes());
                let WatcherEvent { kind, path, .. } = event;
                Ok(Some(Event::Watch(Watch { kind, path, zxid: header.zxid })))
            }
            _ => self.reply(header, reader.rest()).map(Some),
        }
    }

    fn reply<'b>(&mut self, header: ReplyHeader, body: &'b [u8]) -> Result<Event<'b>, Violation> {
        let got = header.xid;
        let Some(request) = self.requests.sent() else {
            return match self.closing {
                Closing::Sent(xid) if xid == got => Ok(self.finish(End::Closed)),
                Closing::Sent(xid) => Err(Violation::Xid { expected: Some(xid), got }),
                _ => Err(Violation::Xid { expected: None, got }),
            };
        };
        let RequestHeader { xid, op } = request.header;
        if xid != got {
            return Err(Violation::Xid { expected: Some(xid), got });
        }
        // Events must not count here: of two events of one transaction the second would be
        // skipped if the connection broke between them.
        self.last_zxid = self.last_zxid.max(header.zxid);
        if let Some((path, kinds)) = left_watch(op, request.body, header.err) {
            self.watches.release(path);
            self.watches.add(path, kinds);
        } else if let Some(path) = watched_path(op, request.body) {
            self.watches.release(path);
        } else if let Some((path, kinds)) = removed_watch(op, request.body, header.err) {
            self.watches.remove(path, kinds);
        }
        self.requests.pop();
        Ok(Event::Reply(Reply { xid, op, header, body }))
    }
}
