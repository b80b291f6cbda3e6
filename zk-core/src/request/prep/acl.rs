//! What an access control list of a request becomes.

use super::Refusal;
use crate::tree::identity;
use crate::wire::Code;
use crate::wire::client::{Acl, Id};
use crate::wire::jute::{self, List, Slice};

/// Entries of one access control list. More are answered `InvalidAcl`: Apache compares each with
/// each.
pub const MAX_ACL_ENTRIES: usize = 1024;

/// Writes what a request's list becomes into `room`: no duplicates, `auth` replaced by who asks.
/// Answers its number of entries and bytes.
pub(super) fn fix_acl(
    list: List<'_, Acl<'_>>,
    ids: List<'_, Id<'_>>,
    room: &mut [u8],
) -> Result<(i32, usize), Refusal> {
    if list.is_empty() || list.len() > MAX_ACL_ENTRIES {
        return Err(Code::InvalidAcl.into());
    }
    let mut out = Slice::new(room);
    let mut count = 0;
    for (i, acl) in list.iter().enumerate() {
        if list.iter().take(i).any(|earlier| earlier == acl) {
            continue;
        }
        let Id { scheme, id } = acl.id;
        let Some(scheme) = scheme.0 else { return Err(Code::InvalidAcl.into()) };
        if scheme == b"auth" {
            let before = count;
            // Apache asks each identity's scheme whether it proves anything; an address does not.
            for own in ids.iter().filter(|own| own.scheme.bytes() == b"digest") {
                jute::write(&Acl { perms: acl.perms, id: own }, &mut out)?;
                count += 1;
            }
            if count == before {
                return Err(Code::InvalidAcl.into());
            }
            continue;
        }
        // Java fails on a null there, outside any check.
        let id = id.0.ok_or(Refusal::Malformed)?;
        let valid = match scheme {
            b"world" => id == b"anyone",
            b"ip" => identity::ip_is_valid(id),
            b"digest" => identity::digest_is_valid(id),
            _ => false,
        };
        if !valid {
            return Err(Code::InvalidAcl.into());
        }
        jute::write(&acl, &mut out)?;
        count += 1;
    }
    Ok((count, out.len()))
}
