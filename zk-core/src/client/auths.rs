//! Credentials, kept because every new connection has to be told them again.

use super::bytes::Bytes;
use crate::id::Xid;
use crate::wire::client::{AuthPacket, RequestHeader};
use crate::wire::jute;
use crate::wire::{OpCode, frame};

/// Authentication frames in the order in which they were added.
#[derive(Debug)]
pub(super) struct Auths<'m> {
    frames: Bytes<'m>,
    /// Bytes of the frames that were sent on this connection.
    sent: usize,
}

impl<'m> Auths<'m> {
    pub(super) fn new(frames: Bytes<'m>) -> Self {
        Self { frames, sent: 0 }
    }

    /// Adds a credential. False when there is no room.
    pub(super) fn add(&mut self, packet: AuthPacket<'_>) -> bool {
        let header = RequestHeader { xid: Xid::AUTH, op: OpCode::Auth };
        let size = jute::size(&(header, packet));
        let Ok(len) = i32::try_from(size) else { return false };
        let Some(place) = size.checked_add(frame::LEN).and_then(|n| self.frames.push(n)) else {
            return false;
        };
        let mut out = jute::Slice::new(place);
        jute::write(&(len, header, packet), &mut out).is_ok()
    }

    /// What was not sent yet: frames one after the other, the first perhaps begun.
    pub(super) fn unsent(&self) -> &[u8] {
        self.frames.get().get(self.sent..).unwrap_or_default()
    }

    /// Notes that the first `n` unsent bytes were sent.
    pub(super) fn mark_sent(&mut self, n: usize) {
        self.sent = self.sent.saturating_add(n).min(self.frames.len());
    }

    /// A new connection was told nothing.
    pub(super) fn mark_unsent(&mut self) {
        self.sent = 0;
    }
}
