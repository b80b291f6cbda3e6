//! Packets of the quorum port: what a leader and its learners say to each other.
//!
//! ```text
//! i32 type | i64 zxid | buffer data | vector<Id> authinfo
//! ```
//!
//! There is no framing around a packet: a stream is one packet after the other (and the raw body of
//! a snapshot behind a SNAP). Answers to `QuorumPacket`, `LearnerInfo` and the constants of
//! `org.apache.zookeeper.server.quorum.Leader`.

use serde::{Deserialize, Serialize};

use super::client::Id;
use super::code::OpCode;
use super::jute::{self, Buffer, Error, List, Reader, Sink, Trailing};
use crate::id::{Epoch, ServerId, SessionId, Xid, Zxid};

/// Which packet it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Kind(pub i32);

#[allow(non_upper_case_globals, reason = "they read as the variants they are")]
impl Kind {
    /// A learner forwards a client's request.
    pub const Request: Self = Self(1);
    /// The leader proposes a transaction.
    pub const Proposal: Self = Self(2);
    /// A follower has made a transaction (or the leader's history) durable.
    pub const Ack: Self = Self(3);
    /// A transaction is committed.
    pub const Commit: Self = Self(4);
    /// Are you there; the answer carries the sessions that were heard of.
    pub const Ping: Self = Self(5);
    /// A session has come to another server.
    pub const Revalidate: Self = Self(6);
    /// All that was proposed before a sync is committed.
    pub const Sync: Self = Self(7);
    /// A committed transaction, for observers.
    pub const Inform: Self = Self(8);
    /// COMMIT of a reconfiguration.
    pub const CommitAndActivate: Self = Self(9);
    /// Everything of the leader's history has been sent.
    pub const NewLeader: Self = Self(10);
    /// A follower's first packet.
    pub const FollowerInfo: Self = Self(11);
    /// The leader serves, and so may the learner.
    pub const UpToDate: Self = Self(12);
    /// What follows continues the learner's history.
    pub const Diff: Self = Self(13);
    /// The learner has to forget everything behind the zxid.
    pub const Trunc: Self = Self(14);
    /// A snapshot follows.
    pub const Snap: Self = Self(15);
    /// An observer's first packet.
    pub const ObserverInfo: Self = Self(16);
    /// The epoch that the leader proposes.
    pub const LeaderInfo: Self = Self(17);
    /// The learner takes part in that epoch.
    pub const AckEpoch: Self = Self(18);
    /// INFORM of a reconfiguration.
    pub const InformAndActivate: Self = Self(19);
}

/// The protocol that LEADERINFO and LearnerInfo name. Older ones (before ZooKeeper 3.4) are refused.
pub const PROTOCOL: i32 = 0x1_0000;

/// Ends the body of a snapshot on the wire, as a ustring.
pub const SNAPSHOT_END: &[u8] = b"BenWasHere";

/// Bytes before a packet's data, its length included.
const HEAD: usize = 16;

/// Bytes of a packet besides its data, without authinfo.
pub const OVERHEAD: usize = HEAD + 4;

/// Identities that one packet may carry; [`IDENTITIES_LEN`](crate::session::auth::IDENTITIES_LEN)
/// bounds their bytes.
const IDS_MAX: usize = 1024;

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet<'a> {
    /// Which.
    pub kind: Kind,
    /// What it is about; the meaning is the kind's.
    pub zxid: Zxid,
    /// What it carries.
    #[serde(borrow)]
    pub data: Buffer<'a>,
    /// The identities of the client that asks.
    pub authinfo: List<'a, Id<'a>>,
}

impl<'a> Packet<'a> {
    /// A packet without data.
    #[inline(never)] // once for all its callers
    pub const fn new(kind: Kind, zxid: Zxid) -> Self {
        Self { kind, zxid, data: Buffer::NULL, authinfo: List::NULL }
    }

    /// A packet with data.
    #[inline(never)] // once for all its callers
    pub const fn with(kind: Kind, zxid: Zxid, data: &'a [u8]) -> Self {
        Self { kind, zxid, data: Buffer::new(data), authinfo: List::NULL }
    }
}

/// What the start of a stream shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First<'a> {
    /// A whole packet, and its bytes.
    Whole(Packet<'a>, usize),
    /// Not yet: so many bytes are needed in all.
    Need(usize),
}

/// Looks at the first packet of `bytes`.
///
/// # Errors
/// [`Error::Length`] when a length is negative or above what `most` data bytes allow: nothing of
/// such a stream is worth waiting for.
#[inline(never)] // once for all its callers
pub fn first(bytes: &[u8], most: usize) -> Result<First<'_>, Error> {
    let mut reader = Reader::new(bytes);
    let mut whole = || -> Result<Result<(), usize>, Error> {
        let Ok(_) = reader.take(HEAD - 4) else { return Ok(Err(OVERHEAD)) };
        // Data, then scheme and id of each identity: lengths first, so that what is too long is
        // refused before it is waited for.
        let at = |reader: &Reader<'_>| bytes.len() - reader.rest().len();
        if let Err(need) = skip(&mut reader, most)? {
            return Ok(Err(at(&reader) + need + 4));
        }
        let before = at(&reader);
        let Ok(count) = reader.i32() else { return Ok(Err(before + 4)) };
        if usize::try_from(count).unwrap_or(0) > IDS_MAX {
            return Err(Error::Length);
        }
        for _ in 0..2 * count.max(0) {
            if let Err(need) = skip(&mut reader, most)? {
                return Ok(Err(at(&reader) + need));
            }
            if at(&reader) > most.saturating_mul(2) {
                return Err(Error::Length);
            }
        }
        Ok(Ok(()))
    };
    match whole()? {
        Err(need) => Ok(First::Need(need.max(bytes.len() + 1))),
        Ok(()) => {
            let len = bytes.len() - reader.rest().len();
            Ok(First::Whole(jute::decode(bytes)?, len))
        }
    }
}

/// Skips a length and its bytes; the inner error says how many bytes there must be from here on.
fn skip(reader: &mut Reader<'_>, most: usize) -> Result<Result<(), usize>, Error> {
    let mut ahead = reader.clone();
    let Ok(len) = ahead.i32() else { return Ok(Err(4)) };
    if len == -1 {
        *reader = ahead;
        return Ok(Ok(()));
    }
    let len = usize::try_from(len).ok().filter(|&len| len <= most).ok_or(Error::Length)?;
    if ahead.take(len).is_err() {
        return Ok(Err(4 + len));
    }
    *reader = ahead;
    Ok(Ok(()))
}

/// What FOLLOWERINFO and OBSERVERINFO carry. A member with limits says them behind it (see
/// [`Capacity`](super::capacity::Capacity)), where Apache reads nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnerInfo {
    /// Who it is.
    pub server: ServerId,
    /// [`PROTOCOL`].
    pub protocol: i32,
    /// The version of the configuration that it has.
    pub config_version: Trailing<i64>,
}

/// Bytes of a whole [`LearnerInfo`].
pub const LEARNER_INFO: usize = 20;

/// What a REQUEST's data begins with; the request's record follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// The session that asks, or that is to be created.
    pub session: SessionId,
    /// The client's number for it.
    pub cxid: Xid,
    /// What is asked.
    pub op: OpCode,
}

/// Bytes of a [`RequestHead`].
pub const REQUEST_HEAD: usize = 16;

/// A session and its timeout, ms: what REVALIDATE asks, and one entry of a PING's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// The session.
    pub session: SessionId,
    /// Its timeout, ms.
    pub timeout: i32,
}

/// Bytes of a [`Touched`].
pub const TOUCHED: usize = 12;

/// The answer to a REVALIDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revalidated {
    /// The session.
    pub session: SessionId,
    /// Whether it may go on.
    pub valid: bool,
}

/// Writes a packet whose data is `head` and then `body`.
///
/// # Errors
/// What the sink answers.
pub fn put<S: Sink>(
    out: &mut S,
    kind: Kind,
    zxid: Zxid,
    head: &[u8],
    body: &[u8],
    authinfo: List<'_, Id<'_>>,
) -> Result<(), Error> {
    let len = i32::try_from(head.len() + body.len()).map_err(|_| Error::Length)?;
    jute::write(&(kind, zxid, len), out)?;
    out.put(head)?;
    out.put(body)?;
    jute::write(&authinfo, out)
}

/// What a leader's PING says to a learner without which there is a quorum, too. Apache's leaders say
/// nothing there, and its learners do not look.
pub const SPARED: &[u8] = &[1];

/// What ACKEPOCH says behind the epoch of a history that is whole and cannot be cut: a snapshot is to take
/// its place, wherever it ends. Apache's learners say nothing there, and its leaders do not look.
pub const UNCUT: u8 = 1;

/// The zxid that NEWLEADER, LEADERINFO and their like carry for an epoch.
pub const fn of_epoch(epoch: Epoch) -> Zxid {
    Zxid::new(epoch, 0)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn encoded(packet: &Packet<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        jute::write(packet, &mut out).unwrap();
        out
    }

    /// A follower joins a fresh leader: captured between two servers of Apache 3.8.0.
    #[test]
    fn packets_are_apaches() {
        let info = LearnerInfo {
            server: ServerId(1),
            protocol: PROTOCOL,
            config_version: Trailing(Some(0)),
        };
        let mut data = [0; 20];
        jute::encode(&info, &mut data).unwrap();
        for (packet, bytes) in [
            (
                Packet::with(Kind::FollowerInfo, Zxid::ZERO, &data),
                "0000000b 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 \
                 ffffffff",
            ),
            (
                Packet::with(Kind::LeaderInfo, of_epoch(Epoch(1)), &PROTOCOL.to_be_bytes()),
                "00000011 0000000100000000 00000004 00010000 ffffffff",
            ),
            (
                Packet::with(Kind::AckEpoch, Zxid::ZERO, &[0; 4]),
                "00000012 0000000000000000 00000004 00000000 ffffffff",
            ),
            (Packet::new(Kind::Diff, Zxid::ZERO), "0000000d 0000000000000000 ffffffff ffffffff"),
            (
                Packet::new(Kind::UpToDate, Zxid::NONE),
                "0000000c ffffffffffffffff ffffffff ffffffff",
            ),
            (
                Packet::with(Kind::Ping, of_epoch(Epoch(1)), b""),
                "00000005 0000000100000000 00000000 ffffffff",
            ),
        ] {
            let bytes = hex(bytes);
            assert_eq!(encoded(&packet), bytes);
            assert_eq!(first(&bytes, 1 << 20), Ok(First::Whole(packet, bytes.len())));
        }
        let request =
            hex("00000001 ffffffffffffffff 00000010 01000012e1b50000 00000001 00000001 00000001 \
             00000002 6970 00000009 3132372e302e302e31");
        let Ok(First::Whole(packet, len)) = first(&request, 1 << 20) else { panic!() };
        assert_eq!((packet.kind, packet.zxid, len), (Kind::Request, Zxid::NONE, request.len()));
        let ids: Vec<_> = packet.authinfo.iter().collect();
        assert_eq!(ids[0].id.bytes(), b"127.0.0.1");
        let mut again = Vec::new();
        put(&mut again, packet.kind, packet.zxid, packet.data.bytes(), b"", packet.authinfo)
            .unwrap();
        assert_eq!(again, request);
    }

    #[test]
    fn lengths_are_refused_before_they_are_waited_for() {
        let long = hex("00000002 0000000100000001 00000101");
        assert_eq!(first(&long, 0x100), Err(Error::Length));
        assert_eq!(first(&long, 0x101), Ok(First::Need(16 + 0x101 + 4)));
        let negative = hex("00000002 0000000100000001 fffffffe");
        assert_eq!(first(&negative, 100), Err(Error::Length));
        let ids = hex("00000001 ffffffffffffffff ffffffff 7fffffff");
        assert_eq!(first(&ids, 100), Err(Error::Length));
    }

    proptest! {
        /// Cut anywhere, a stream asks for more until the packet is whole, never past its end.
        #[test]
        fn a_packet_is_found_in_pieces(data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)), ids in 0..3i32) {
            let mut raw = Vec::new();
            for _ in 0..ids {
                let id = Id { scheme: "ip".into(), id: "10.0.0.1".into() };
                jute::write(&id, &mut raw).unwrap();
            }
            let packet = Packet {
                kind: Kind::Request,
                zxid: Zxid(7),
                data: Buffer(data.as_deref()),
                authinfo: if ids == 0 { List::NULL } else { List::from_raw(ids, &raw) },
            };
            let bytes = encoded(&packet);
            for cut in 0..bytes.len() {
                let Ok(First::Need(need)) = first(&bytes[..cut], 100) else { panic!("at {cut}") };
                prop_assert!(need > cut && need <= bytes.len());
            }
            prop_assert_eq!(first(&bytes, 100), Ok(First::Whole(packet, bytes.len())));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            match first(&bytes, 100) {
                Ok(First::Whole(_, len)) => prop_assert!(len <= bytes.len()),
                Ok(First::Need(need)) => prop_assert!(need > bytes.len()),
                Err(_) => {}
            }
        }
    }
}
