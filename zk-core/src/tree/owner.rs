//! What a node's `ephemeralOwner` says: a session, a container, a time to live, or nothing.

use crate::id::SessionId;

/// The kind of a node. Answers to `EphemeralType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A persistent node (`VOID`).
    Nobody,
    /// An ephemeral node of that session (`NORMAL`).
    Session(SessionId),
    /// A container (`CONTAINER`): owner `i64::MIN`.
    Container,
    /// A time to live, ms (`TTL`): owner `0xff00` and 40 bits of time.
    Ttl(i64),
}

/// The longest time to live, ms.
pub const MAX_TTL: i64 = 0xff_ffff_ffff;

const CONTAINER: i64 = i64::MIN;
const TTL_MASK: i64 = 0xff00_0000_0000_0000_u64 as i64;
const RESERVED_MASK: i64 = 0x00ff_ff00_0000_0000;

impl Owner {
    /// Reads a stored owner. TTL owners are known only when the server has extended types
    /// enabled; without, Apache takes them for sessions. `None` for a TTL owner whose reserved bits
    /// are set, which Apache refuses.
    pub const fn read(raw: i64, extended_types: bool) -> Option<Self> {
        if raw == 0 {
            return Some(Self::Nobody);
        }
        if raw == CONTAINER {
            return Some(Self::Container);
        }
        if extended_types && raw & TTL_MASK == TTL_MASK {
            if raw & RESERVED_MASK != 0 {
                return None;
            }
            return Some(Self::Ttl(raw & MAX_TTL));
        }
        Some(Self::Session(SessionId(raw)))
    }

    /// The form that is stored.
    pub const fn raw(self) -> i64 {
        match self {
            Self::Nobody => 0,
            Self::Session(id) => id.0,
            Self::Container => CONTAINER,
            Self::Ttl(ms) => TTL_MASK | ms,
        }
    }

    /// What clients see in a stat: sessions only.
    pub const fn shown(self) -> i64 {
        match self {
            Self::Session(id) => id.0,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_apart_by_their_bits() {
        assert_eq!(Owner::read(0, true), Some(Owner::Nobody));
        assert_eq!(Owner::read(i64::MIN, false), Some(Owner::Container));
        let ttl = Owner::Ttl(100).raw();
        assert_eq!(ttl as u64, 0xff00_0000_0000_0064);
        assert_eq!(Owner::read(ttl, true), Some(Owner::Ttl(100)));
        assert_eq!(Owner::read(ttl, false), Some(Owner::Session(SessionId(ttl))));
        assert_eq!(Owner::read(ttl | 1 << 40, true), None);
        assert_eq!(Owner::read(ttl, true).unwrap().shown(), 0);
    }
}
