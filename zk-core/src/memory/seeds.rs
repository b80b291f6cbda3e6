//! Keys of the hash functions.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::Handle;

/// Keys of the hash functions, given by the shell: clients choose paths, and must not be able to
/// choose collisions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeds(pub u64, pub u64);

impl Seeds {
    /// The hash of `bytes`, as wide as a handle.
    pub fn hash(self, bytes: &[u8]) -> Handle {
        self.hash_parts([bytes])
    }

    /// The hash of the concatenation of `parts`.
    pub fn hash_parts<'a>(self, parts: impl IntoIterator<Item = &'a [u8]>) -> Handle {
        self.hash_iter(&mut parts.into_iter())
    }

    // One copy of the hash function serves every iterator.
    fn hash_iter(self, parts: &mut dyn Iterator<Item = &[u8]>) -> Handle {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        for part in parts {
            hasher.write(part);
        }
        hasher.finish() as Handle
    }
}
