//! Who keeps a connection: between two servers one is enough, and the one with the higher id
//! opens it.
//!
//! Answers to `QuorumCnxManager.startConnection` and `handleConnection`. Unlike them, nobody is
//! called back at an address that only it itself claims, and nobody can end the connection of a
//! member without coming from that member's address.

use crate::id::ServerId;

/// What to do with a connection once both ends are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// It is the link to that server; an older one is closed.
    Keep,
    /// Close it.
    Drop,
    /// Close it and any older one, and open another to the address that the configuration has.
    CallBack,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// From an address that a configuration has for the id that it names. (A shell that cannot
    /// know calls everyone so who names the id of a member, and trusts its network.)
    Member,
    /// It names the id of a member, but comes from elsewhere.
    Elsewhere,
    /// It names an id that is in no configuration: a server that is about to join, or anyone.
    Stranger,
}

/// What `me` does with a connection that it has opened to `them`, after its hello.
pub fn opened(me: ServerId, them: ServerId) -> Greeting {
    // Whoever has the higher id calls back.
    if them < me { Greeting::Keep } else { Greeting::Drop }
}

/// What `me` does with a connection from someone whose hello says that it is `them`. `linked` says
/// that there is a link to that server already.
pub fn accepted(me: ServerId, them: ServerId, caller: Caller, linked: bool) -> Greeting {
    // Java counts observers without an id down from -1; it never keeps their connections.
    let nameless = them == ServerId(i64::MAX);
    match caller {
        _ if them == me || nameless => Greeting::Drop,
        // It would not have called if it had a link.
        Caller::Member if them < me => Greeting::CallBack,
        // Dialling the configured address does no harm, and may be the only way to a member
        // whose address is translated.
        Caller::Elsewhere if them < me && !linked => Greeting::CallBack,
        Caller::Elsewhere => Greeting::Drop,
        Caller::Member => Greeting::Keep,
        Caller::Stranger if them > me => Greeting::Keep,
        Caller::Stranger => Greeting::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_members_the_higher_id_opens_the_link() {
        let (low, high) = (ServerId(1), ServerId(2));
        assert_eq!(opened(low, high), Greeting::Drop);
        assert_eq!(opened(high, low), Greeting::Keep);
        assert_eq!(opened(low, low), Greeting::Drop);
        for linked in [false, true] {
            assert_eq!(accepted(high, low, Caller::Member, linked), Greeting::CallBack);
            assert_eq!(accepted(low, high, Caller::Member, linked), Greeting::Keep);
        }
        // Exactly one connection stays, whoever calls first.
        for (from, to) in [(low, high), (high, low)] {
            let kept = opened(from, to) == Greeting::Keep;
            assert_eq!(kept, accepted(to, from, Caller::Member, false) == Greeting::Keep);
        }
    }

    #[test]
    fn nobody_ends_the_link_of_a_member_from_elsewhere() {
        for them in [i64::MIN, -1, 0, 1, 2, 3, 4, i64::MAX].map(ServerId) {
            assert_eq!(accepted(ServerId(2), them, Caller::Elsewhere, true), Greeting::Drop);
            // Nor does it get the link of a member that has none.
            let greeting = accepted(ServerId(2), them, Caller::Elsewhere, false);
            assert_ne!(greeting, Greeting::Keep);
            assert_eq!(greeting == Greeting::CallBack, them < ServerId(2));
        }
    }

    #[test]
    fn a_stranger_is_never_called_back() {
        for linked in [false, true] {
            for them in [i64::MIN, -1, 0, 1, 2, i64::MAX].map(ServerId) {
                let greeting = accepted(ServerId(2), them, Caller::Stranger, linked);
                assert_eq!(greeting, Greeting::Drop, "{them:?}");
            }
            assert_eq!(
                accepted(ServerId(2), ServerId(3), Caller::Stranger, linked),
                Greeting::Keep
            );
        }
        for caller in [Caller::Member, Caller::Elsewhere, Caller::Stranger] {
            assert_eq!(accepted(ServerId(2), ServerId(2), caller, false), Greeting::Drop);
        }
    }
}
