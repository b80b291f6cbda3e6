//! The requests that wait to be sent or answered.

use serde::Serialize;

use super::bytes::Bytes;
use crate::id::Xid;
use crate::wire::client::RequestHeader;
use crate::wire::{OpCode, frame, jute};

/// Request frames in the order of their submission: first those that were sent and not answered,
/// then those that were not sent. A frame stays until its reply is here, because the reply alone
/// does not say what was asked.
#[derive(Debug)]
pub(super) struct Requests<'m> {
    frames: Bytes<'m>,
    /// Number of frames.
    count: usize,
    /// Bytes of the frames that were sent whole.
    sent: usize,
}

/// The oldest request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) header: RequestHeader,
    pub(super) body: &'a [u8],
}

impl<'m> Requests<'m> {
    pub(super) fn new(frames: Bytes<'m>) -> Self {
        Self { frames, count: 0, sent: 0 }
    }

    /// Number of requests without a reply.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Bytes that the largest request may have, its length included.
    pub(super) fn ceiling(&self) -> usize {
        self.frames.ceiling()
    }

    /// Appends a request whose frame is `size` bytes long behind its length.
    ///
    /// # Errors
    /// [`jute::Error::Full`] when there is no room.
    pub(super) fn push<T: Serialize + ?Sized>(
        &mut self,
        header: RequestHeader,
        body: &T,
        size: usize,
    ) -> Result<(), jute::Error> {
        let len = i32::try_from(size).map_err(|_| jute::Error::Length)?;
        let place = self.frames.push(frame::LEN + size).ok_or(jute::Error::Full)?;
        let mut out = jute::Slice::new(place);
        jute::write(&(len, header), &mut out)?;
        jute::write(body, &mut out)?;
        self.count += 1;
        Ok(())
    }

    /// The request whose frame is the last `len` bytes.
    pub(super) fn last(&self, len: usize) -> Option<Request<'_>> {
        let frames = self.frames.get();
        request(frames.get(frames.len().checked_sub(len)?..)?)
    }

    /// Takes back the last request, whose frame is `len` bytes.
    pub(super) fn unpush(&mut self, len: usize) {
        let end = self.frames.len();
        self.frames.remove(end.saturating_sub(len)..end);
        self.count = self.count.saturating_sub(1);
    }

    /// The first frame that was not sent, from its byte `from`.
    pub(super) fn unsent(&self, from: usize) -> Option<&[u8]> {
        let rest = self.frames.get().get(self.sent..)?;
        rest.get(from..frame_len(rest)?)
    }

    /// Notes that the first unsent frame was sent.
    pub(super) fn mark_sent(&mut self) {
        let len = self.frames.get().get(self.sent..).and_then(frame_len).unwrap_or(0);
        self.sent += len;
    }

    /// Whether every request was sent.
    pub(super) fn all_sent(&self) -> bool {
        self.sent == self.frames.len()
    }

    /// The oldest request, if it was sent.
    pub(super) fn sent(&self) -> Option<Request<'_>> {
        if self.sent == 0 { None } else { self.first() }
    }

    /// The oldest request.
    pub(super) fn first(&self) -> Option<Request<'_>> {
        request(self.frames.get())
    }

    /// Drops the oldest request.
    pub(super) fn pop(&mut self) {
        let len = frame_len(self.frames.get()).unwrap_or(0);
        self.frames.pop(len);
        self.sent = self.sent.saturating_sub(len);
        self.count = self.count.saturating_sub(1);
    }

    /// The connection is gone: nothing counts as sent.
    pub(super) fn mark_unsent(&mut self) {
        self.sent = 0;
    }
}

/// The request that `frames` begins with.
fn request(frames: &[u8]) -> Option<Request<'_>> {
    let frame = frames.get(frame::LEN..frame_len(frames)?)?;
    let mut reader = jute::Reader::new(frame);
    let header = reader.read().ok()?;
    Some(Request { header, body: reader.rest() })
}

/// Length of the frame that `frames` begins with, with its length field.
fn frame_len(frames: &[u8]) -> Option<usize> {
    let len = frames.first_chunk::<{ frame::LEN }>()?;
    Some(frame::LEN + usize::try_from(i32::from_be_bytes(*len)).ok()?)
}

/// The xid after `xid`: positive, 1 after the largest. Answers to `ClientCnxn.getXid`.
pub(super) fn next_xid(xid: Xid) -> Xid {
    Xid(xid.0.checked_add(1).unwrap_or(1))
}

/// Bytes of a frame with a header and `body`, without its length.
pub(super) fn frame_size<T: Serialize + ?Sized>(body: &T) -> usize {
    jute::size(&RequestHeader { xid: Xid(0), op: OpCode::Ping }).saturating_add(jute::size(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Table;

    #[test]
    fn xids_stay_positive() {
        assert_eq!(next_xid(Xid(0)), Xid(1));
        assert_eq!(next_xid(Xid(i32::MAX)), Xid(1));
    }

    #[test]
    fn a_frame_stays_until_it_is_answered() {
        let mut storage = [0; 32];
        let mut requests = Requests::new(Bytes::new(Table::lent(&mut storage)));
        let header = |xid| RequestHeader { xid: Xid(xid), op: OpCode::WhoAmI };
        requests.push(header(1), &(), 8).unwrap();
        requests.push(header(2), &7, 12).unwrap();
        assert_eq!(requests.push(header(3), &(), 8), Err(jute::Error::Full));
        assert!(requests.sent().is_none() && requests.count() == 2);
        assert_eq!(requests.unsent(4).map(<[u8]>::len), Some(8));
        requests.mark_sent();
        assert_eq!(requests.sent().unwrap().header, header(1));
        requests.pop();
        assert_eq!(
            requests.unsent(0),
            Some(&[0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0, 107, 0, 0, 0, 7][..])
        );
        assert!(requests.sent().is_none() && !requests.all_sent());
        requests.push(header(3), &(), 8).unwrap();
        requests.mark_sent();
        requests.mark_unsent();
        assert_eq!(requests.unsent(0).map(<[u8]>::len), Some(16));
    }
}
