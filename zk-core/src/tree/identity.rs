//! Identities that an ACL entry may name, and which of them are well formed.
//!
//! Answers to `IPAuthenticationProvider` and `DigestAuthenticationProvider.isValid`.

use core::net::IpAddr;

use crate::text::parse;

/// An address, as `ip` identities give it: IPv4 or IPv6 text.
fn address(text: &[u8]) -> Option<IpAddr> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// `address` or `address/bits`.
fn network(text: &[u8]) -> Option<(IpAddr, u32)> {
    let mut parts = text.splitn(2, |&b| b == b'/');
    let address = address(parts.next()?)?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = match parts.next() {
        None => width,
        Some(bits) => parse(bits, 10)?.try_into().ok()?,
    };
    (bits <= width).then_some((address, bits))
}

/// Whether `id` may stand in an `ip` entry.
pub fn ip_is_valid(id: &[u8]) -> bool {
    network(id).is_some()
}

/// Whether the address `have` lies in the network `wanted`; `None` when either is malformed.
pub fn ip_matches(wanted: &[u8], have: &[u8]) -> Option<bool> {
    let (network, bits) = network(wanted)?;
    Some(match (network, address(have)?) {
        (IpAddr::V4(network), IpAddr::V4(have)) => agree(&network.octets(), &have.octets(), bits),
        (IpAddr::V6(network), IpAddr::V6(have)) => agree(&network.octets(), &have.octets(), bits),
        _ => false,
    })
}

/// Whether the first `bits` bits are the same.
fn agree(a: &[u8], b: &[u8], bits: u32) -> bool {
    let mut left = bits;
    a.iter().zip(b).all(|(a, b)| {
        let counted = left.min(8);
        left -= counted;
        u32::from(a ^ b) >> (8 - counted) == 0
    })
}

/// Whether `id` may stand in a `digest` entry: exactly two parts around one colon, as Java's
/// `split` counts them (empty parts at the end do not count).
pub fn digest_is_valid(id: &[u8]) -> bool {
    let end = id.iter().rposition(|&b| b != b':').map_or(0, |last| last + 1);
    id[..end].iter().filter(|&&b| b == b':').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_match_their_addresses() {
        assert_eq!(ip_matches(b"127.0.0.0/8", b"127.9.9.9"), Some(true));
        assert_eq!(ip_matches(b"127.0.0.1", b"127.0.0.2"), Some(false));
        assert_eq!(ip_matches(b"0.0.0.0/0", b"1.2.3.4"), Some(true));
        assert_eq!(ip_matches(b"10.16.0.0/12", b"10.31.255.255"), Some(true));
        assert_eq!(ip_matches(b"10.16.0.0/12", b"10.32.0.0"), Some(false));
        assert_eq!(ip_matches(b"::/0", b"::1"), Some(true));
        assert_eq!(ip_matches(b"fe80::/10", b"0:0:0:0:0:0:0:1"), Some(false));
        assert_eq!(ip_matches(b"fe80::/10", b"febf:0:0:0:0:0:0:1"), Some(true));
        assert_eq!(ip_matches(b"::1", b"0:0:0:0:0:0:0:1"), Some(true));
        assert_eq!(ip_matches(b"::1", b"127.0.0.1"), Some(false));
        for bad in [&b"1.2.3"[..], b"1.2.3.4/33", b"1.2.3.4/", b"1.2.3.4/-1", b"x", b"", b"::/129"]
        {
            assert!(!ip_is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn digests_have_two_parts() {
        for good in [&b"u:h"[..], b":h", b"u:h:", b"u:h::"] {
            assert!(digest_is_valid(good), "{good:?}");
        }
        for bad in [&b"u"[..], b"u:", b"", b"a:b:c", b":"] {
            assert!(!digest_is_valid(bad), "{bad:?}");
        }
    }
}
