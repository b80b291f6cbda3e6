//! The numbers that name things: zxid, epoch, server, session, xid.
//!
//! Each is a newtype, so that a session id is never passed where a zxid is meant, and so that
//! the split of a zxid into epoch and counter stands in one place.

use core::fmt;

use serde::{Deserialize, Serialize};

/// ZooKeeper transaction id: epoch in the high 32 bits, counter in the low 32.
///
/// Zxids are compared as signed 64-bit integers, as Apache does.
/// Answers to `org.apache.zookeeper.server.util.ZxidUtils`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Nothing has happened yet.
    pub const ZERO: Self = Self(0);
    /// "No zxid": what Apache puts in replies that belong to no transaction.
    pub const NONE: Self = Self(-1);

    /// The zxid of `counter` in `epoch`.
    pub const fn new(epoch: Epoch, counter: u32) -> Self {
        Self(((epoch.0 as i64) << 32) | counter as i64)
    }

    /// The high 32 bits.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The low 32 bits.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The zxid after this one, `None` when the counter of its epoch is used up
    /// (a leader then has to start a new epoch, ZOOKEEPER-1277).
    pub const fn next(self) -> Option<Self> {
        if self.counter() == u32::MAX { None } else { Some(Self(self.0 + 1)) }
    }

    /// The zxid from which a replay continues after this one: the plain successor, also across
    /// the end of an epoch.
    pub const fn successor(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// The reign of one leader: high half of a zxid.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[repr(transparent)]
pub struct Epoch(pub u32);

/// A member of the ensemble (`myid`); its low byte is the high byte of the session ids it issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(transparent)]
pub struct ServerId(pub i64);

impl ServerId {
    /// What a standalone server uses, as Apache does.
    pub const STANDALONE: Self = Self(1);
    /// The largest id whose sessions cannot be mistaken for TTL owners
    /// (`EphemeralType.MAX_EXTENDED_SERVER_ID`).
    pub const MAX: Self = Self(254);
}

/// A client's session. Zero asks for a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: internal requests, and clients that ask for a new one.
    pub const NONE: Self = Self(0);

    /// The first session id that `server` issues after it started at `start_ms`: server id in the
    /// high byte, 40 bits of time, 16 bits to count.
    ///
    /// Answers to `SessionTrackerImpl.initializeNextSessionId`.
    pub const fn first(server: ServerId, start_ms: u64) -> Self {
        let id = (((start_ms << 24) >> 8) | ((server.0 as u64) << 56)) as i64;
        // i64::MIN marks containers.
        Self(if id == i64::MIN { id + 1 } else { id })
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// The number by which a client matches replies to requests (`cxid` inside transactions).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[repr(transparent)]
pub struct Xid(pub i32);

impl Xid {
    /// A watch event, server to client.
    pub const EVENT: Self = Self(-1);
    /// A ping and its answer.
    pub const PING: Self = Self(-2);
    /// An authentication packet and its answer.
    pub const AUTH: Self = Self(-4);
    /// `setWatches` and its answer.
    pub const SET_WATCHES: Self = Self(-8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zxid_splits_into_epoch_and_counter() {
        let z = Zxid(0x0000_0002_0000_000a);
        assert_eq!((z.epoch(), z.counter()), (Epoch(2), 10));
        assert_eq!(Zxid::new(Epoch(2), 10), z);
        assert_eq!(z.next(), Some(Zxid(0x0000_0002_0000_000b)));
        assert_eq!(Zxid(0x1_ffff_ffff).next(), None);
        assert_eq!(Zxid(0x1_ffff_ffff).successor(), Zxid(0x2_0000_0000));
        // Epochs above 2^31 make negative zxids; the split still holds.
        assert_eq!(Zxid::new(Epoch(0x8000_0001), 5).epoch(), Epoch(0x8000_0001));
    }

    #[test]
    fn the_first_session_id_carries_the_server() {
        // Captured from Apache 3.8.0: server 1, some monotonic time.
        let id = SessionId::first(ServerId(1), 0xca841);
        assert_eq!(id, SessionId(0x0100_000c_a841_0000));
        assert_eq!(SessionId::first(ServerId(0x80), 0), SessionId(i64::MIN + 1));
    }
}
