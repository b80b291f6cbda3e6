//! The compact dialect: votes and packets of two members on the one connection of their election port.
//!
//! Every pair of members has a connection of the election port. With Apache's servers a learner makes a
//! second one, to its leader's quorum port. A member that would rather have one says so with an [`OFFER`],
//! a message that Apache passes over; who knows the dialect answers with the same. From then on each may
//! put [`Envelope`]s between its notifications. A channel is what the second connection would be: its
//! bytes are the same.
//!
//! ```text
//! notification:  0, and Apache's frame goes on (its length is below 2^24)
//! Open:          1, number, 0    a learner has come to the quorum port
//! Close:         2, number, 0    nothing more is said on the channel, or heard
//! Data:          3, number, n    n bytes of the channel follow
//! Refuse:        4, number, 0    nobody is at the quorum port
//! ```
//!
//! That is postcard: a byte, and two numbers that take one byte for every seven bits. Channels are numbered by who opens
//! them: even numbers by the server with the lower id of the two, odd ones by the other. So whatever was
//! said of a channel that is no more is told apart, and passed over.

use super::election::Notification;
use super::frame;

/// A notification without a configuration, in its frame, whose state nobody can be in: "zk", and the
/// version of the dialect.
pub const OFFER: [u8; frame::LEN + Notification::HEAD] = {
    let mut frame = [0; frame::LEN + Notification::HEAD];
    let start = [0, 0, 0, Notification::HEAD as u8, b'z', b'k', 0, 1];
    let mut at = 0;
    while at < start.len() {
        frame[at] = start[at];
        at += 1;
    }
    frame
};

/// Bytes of the longest envelope.
pub const ENVELOPE_MAX: usize = 1 + 5 + 5;

/// Says what comes next on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// A channel begins.
    Open(u32),
    /// A channel ends.
    Close(u32),
    /// So many bytes of a channel follow.
    Data(u32, u32),
    /// A channel does not begin: this server leads nobody, or has no room.
    Refuse(u32),
}

/// Why bytes are no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What the start of a stream shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// An envelope, and how many bytes it has.
    Envelope(Envelope, usize),
    /// Not yet: so many bytes are needed in all.
    Need(usize),
}

impl Envelope {
    /// Looks at the start of a stream.
    ///
    /// # Errors
    /// This will not become an envelope.
    pub fn first(bytes: &[u8]) -> Result<First, Malformed> {
        let ((kind, number, len), rest) = match postcard::take_from_bytes::<(u8, u32, u32)>(bytes) {
            Ok(taken) => taken,
            Err(postcard::Error::DeserializeUnexpectedEnd) => {
                return Ok(First::Need(bytes.len() + 1));
            }
            Err(_) => return Err(Malformed),
        };
        let envelope = match (kind, len) {
            (1, 0) => Self::Open(number),
            (2, 0) => Self::Close(number),
            (3, _) => Self::Data(number, len),
            (4, 0) => Self::Refuse(number),
            _ => return Err(Malformed),
        };
        Ok(First::Envelope(envelope, bytes.len() - rest.len()))
    }

    /// The bytes of the envelope, in `room`.
    #[must_use]
    pub fn encode<'r>(&self, room: &'r mut [u8; ENVELOPE_MAX]) -> &'r [u8] {
        let parts = match *self {
            Self::Open(number) => (1_u8, number, 0),
            Self::Close(number) => (2, number, 0),
            Self::Data(number, len) => (3, number, len),
            Self::Refuse(number) => (4, number, 0),
        };
        // The room is as long as the longest.
        postcard::to_slice(&parts, room).map_or(&[], |bytes| bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::election::{self, Received};

    #[test]
    fn envelopes_have_these_bytes() {
        let mut room = [0; ENVELOPE_MAX];
        assert_eq!(Envelope::Open(5).encode(&mut room), [1, 5, 0]);
        assert_eq!(Envelope::Close(128).encode(&mut room), [2, 0x80, 1, 0]);
        assert_eq!(Envelope::Data(1, 300).encode(&mut room), [3, 1, 0xac, 2]);
        assert_eq!(Envelope::Refuse(0).encode(&mut room), [4, 0, 0]);
        let longest = Envelope::Data(u32::MAX, u32::MAX);
        assert_eq!(longest.encode(&mut room).len(), ENVELOPE_MAX);
    }

    /// Apache passes over a frame of 28 bytes or more whose state it does not know, and so do members that
    /// do not know the dialect.
    #[test]
    fn an_offer_is_a_frame_and_no_notification() {
        let Ok(Received::Frame { start, len: 44, taken: 48, skip: 0 }) = election::first(&OFFER, 0)
        else {
            panic!("no frame");
        };
        let malformed = election::Malformed::State(0x7a6b_0001);
        assert_eq!(Notification::decode(start, 44), Err(malformed));
        // Nor an envelope, and no notification is one.
        assert_eq!(Envelope::first(&OFFER), Err(Malformed));
        const { assert!(election::FRAME_MAX < 1 << 24) };
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(which in 1..5, number: u32, len: u32, more: u8) {
            let envelope = match which {
                1 => Envelope::Open(number),
                2 => Envelope::Close(number),
                4 => Envelope::Refuse(number),
                _ => Envelope::Data(number, len),
            };
            let mut room = [0; ENVELOPE_MAX];
            let bytes = envelope.encode(&mut room).to_vec();
            for short in 0..bytes.len() {
                prop_assert_eq!(Envelope::first(&bytes[..short]), Ok(First::Need(short + 1)));
            }
            let len = bytes.len();
            let bytes = [bytes, vec![more]].concat();
            prop_assert_eq!(Envelope::first(&bytes), Ok(First::Envelope(envelope, len)));
        }

        #[test]
        fn an_envelope_without_data_has_no_length(kind in 1..3_u8, len in 1..128_u8) {
            prop_assert_eq!(Envelope::first(&[kind, 1, len]), Err(Malformed));
        }

        #[test]
        fn whatever_comes_is_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(First::Envelope(_, len)) = Envelope::first(&bytes) {
                prop_assert!((1..=bytes.len()).contains(&len));
            }
        }
    }
}
