//! Authentication: what a client shows, and the identities it gets for it.
//!
//! Answers to `DigestAuthenticationProvider` and `IPAuthenticationProvider`.

use core::net::IpAddr;

use base64ct::{Base64, Encoding};
use hmac_sha1_compact::Hash as Sha1;

use crate::memory::Full;
use crate::text;
use crate::wire::client::Id;
use crate::wire::jute::{self, List, Sink, Slice};

/// Bytes of all identities of a connection.
pub const IDENTITIES_LEN: usize = if cfg!(zk_handle16) { 128 } else { 512 };

/// Bytes of an encoded SHA-1.
const HASH_LEN: usize = 28;

/// Characters of the longest address.
const ADDRESS_LEN: usize = 39;

/// The identities of a connection: its address first, then what it proved.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    raw: heapless::Vec<u8, IDENTITIES_LEN>,
    count: i32,
}

impl Identities {
    /// Those of a new connection from `address`.
    pub fn of(address: IpAddr) -> Self {
        let mut new = Self::default();
        let mut room = [0; ADDRESS_LEN];
        let mut text = Slice::new(&mut room);
        // The longest address fits, and the identities are empty.
        let _ = put_address(address, &mut text);
        let _ = new.add(b"ip", &[text.written()]);
        new
    }

    /// The identities.
    pub fn list(&self) -> List<'_, Id<'_>> {
        List::from_raw(self.count, &self.raw)
    }

    /// Adds an identity (the concatenation of `id`) unless it is there. `false` when there is no
    /// room.
    #[must_use]
    pub fn add(&mut self, scheme: &[u8], id: &[&[u8]]) -> bool {
        let before = self.raw.len();
        let len: usize = id.iter().map(|part| part.len()).sum();
        let put = |raw: &mut heapless::Vec<u8, IDENTITIES_LEN>| {
            raw.extend_from_slice(&(scheme.len() as i32).to_be_bytes())?;
            raw.extend_from_slice(scheme)?;
            raw.extend_from_slice(&(len as i32).to_be_bytes())?;
            id.iter().try_for_each(|part| raw.extend_from_slice(part))
        };
        if put(&mut self.raw).is_err() {
            self.raw.truncate(before);
            return false;
        }
        let new: Result<Id<'_>, _> = jute::decode(&self.raw[before..]);
        if new.is_ok_and(|new| self.list().iter().any(|have| have == new)) {
            self.raw.truncate(before);
        } else {
            self.count += 1;
        }
        true
    }

    /// Whether one of them is of `scheme`.
    pub fn has_scheme(&self, scheme: &[u8]) -> bool {
        self.list().iter().any(|id| id.scheme.bytes() == scheme)
    }
}

/// Writes an address as Java's `getHostAddress` does: all eight groups of IPv6.
fn put_address(address: IpAddr, out: &mut Slice<'_>) -> Result<(), Full> {
    let (v4, v6);
    let (groups, separator, radix): (&[u16], _, _) = match address {
        IpAddr::V4(address) => {
            v4 = address.octets().map(u16::from);
            (&v4, b".", 10)
        }
        IpAddr::V6(address) => {
            v6 = address.segments();
            (&v6, b":", 16)
        }
    };
    let mut room = [0; text::LONGEST];
    for (i, &group) in groups.iter().enumerate() {
        if i > 0 {
            out.put(separator)?;
        }
        out.put(text::number(group.into(), radix, 1, &mut room))?;
    }
    Ok(())
}

/// The digest of `user:password`, as it stands behind the user in an identity.
fn digest(credentials: &[u8], out: &mut [u8; HASH_LEN]) {
    let hash = Sha1::hash(credentials);
    // 20 bytes are 28 characters.
    let _ = Base64::encode(&hash, out);
}

/// Writes the identity of `user:password` (`user:hash`) into `out`. `None` when it does not fit.
pub fn digest_identity<'o>(credentials: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let mut hash = [0; HASH_LEN];
    digest(credentials, &mut hash);
    let user = user_of(credentials);
    let mut slice = Slice::new(out);
    for part in [user, b":", &hash[..]] {
        slice.put(part).ok()?;
    }
    let len = slice.len();
    out.get(..len)
}

fn user_of(credentials: &[u8]) -> &[u8] {
    credentials.split(|&b| b == b':').next().unwrap_or_default()
}

/// What a client's proof was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The identities have what it proved.
    Ok,
    /// The scheme is unknown, or there is no room for another identity.
    Failed,
}

/// Authenticates a connection. `super_digest` is the `user:hash` that becomes `super`, if any.
pub fn authenticate(
    identities: &mut Identities,
    scheme: &[u8],
    proof: &[u8],
    super_digest: Option<&str>,
) -> Outcome {
    match scheme {
        // The address was added when the connection came; showing it again changes nothing.
        b"ip" => Outcome::Ok,
        b"digest" => {
            let mut hash = [0; HASH_LEN];
            digest(proof, &mut hash);
            let user = user_of(proof);
            let is_super = super_digest.is_some_and(|wanted| {
                wanted.as_bytes().strip_prefix(user).and_then(|rest| rest.strip_prefix(b":"))
                    == Some(&hash[..])
            });
            if is_super && !identities.add(b"super", &[b""]) {
                return Outcome::Failed;
            }
            if identities.add(b"digest", &[user, b":", &hash]) {
                Outcome::Ok
            } else {
                Outcome::Failed
            }
        }
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;

    use super::*;

    fn shown(identities: &Identities) -> String {
        format!(
            "{:?}",
            identities.list().iter().map(|id| (id.scheme, id.id)).collect::<std::vec::Vec<_>>()
        )
    }

    #[test]
    fn digests_are_apaches() {
        // From the administrator's guide: super:super123.
        let mut room = [0; 64];
        let id = digest_identity(b"super:super123", &mut room).unwrap();
        assert_eq!(id, b"super:UdxDQl4f9v5oITwcAsO9bmWgHSI=");
        // RFC 3174: one block, two blocks for its padding, many.
        let long = [b'a'; 1000];
        for (text, repeated, hash) in [
            (&b"abc"[..], 1, "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                1,
                "hJg+RBw70m66rkqh+VEp5eVGcPE=",
            ),
            (&long, 1000, "NKqXPNTE2qT2Husr260nMWU0AW8="),
        ] {
            let mut room = [0; HASH_LEN];
            digest(&text.repeat(repeated), &mut room);
            assert_eq!(&room[..], hash.as_bytes());
        }
    }

    #[test]
    fn addresses_are_javas() {
        let text = |address: &str| shown(&Identities::of(address.parse().unwrap()));
        assert_eq!(text("10.0.255.1"), r#"[("ip", "10.0.255.1")]"#);
        assert_eq!(text("::1"), r#"[("ip", "0:0:0:0:0:0:0:1")]"#);
        let longest = "fe80:1111:2222:3333:4444:5555:6666:7777";
        assert_eq!(longest.len(), ADDRESS_LEN);
        assert_eq!(text(longest), format!(r#"[("ip", "{longest}")]"#));
    }

    #[test]
    fn identities_are_a_set_with_a_bound() {
        let mut ids = Identities::of([127, 0, 0, 1].into());
        for _ in 0..3 {
            assert_eq!(authenticate(&mut ids, b"digest", b"bob:secret", None), Outcome::Ok);
        }
        assert_eq!(authenticate(&mut ids, b"nosuch", b"x", None), Outcome::Failed);
        let before = shown(&ids);
        assert_eq!(ids.list().len(), 2);
        assert_eq!(authenticate(&mut ids, b"digest", &[b'u'; 600], None), Outcome::Failed);
        assert_eq!(shown(&ids), before);
    }

    #[test]
    fn the_super_user_is_known_by_its_digest() {
        let mut ids = Identities::of([127, 0, 0, 1].into());
        let digest = "super:UdxDQl4f9v5oITwcAsO9bmWgHSI=";
        assert_eq!(authenticate(&mut ids, b"digest", b"super:wrong", Some(digest)), Outcome::Ok);
        assert!(!ids.has_scheme(b"super"));
        assert_eq!(authenticate(&mut ids, b"digest", b"super:super123", Some(digest)), Outcome::Ok);
        assert!(ids.has_scheme(b"super"));
    }
}
