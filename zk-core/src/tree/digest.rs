//! The tree's digest: a sum over nodes, so that each change costs only the nodes it touches.
//!
//! A node's digest is the CRC-32 of its path (empty for the root), its data, and 60 bytes of stat;
//! the tree's is the wrapping sum. Answers to `DigestCalculator` (version 2) and `AdHash`.

pub use crate::crc::Crc;
#[cfg(feature = "std")]
use crate::memory::{CELL_BYTES, copy_piece};
use crate::wire::file::StatPersisted;

/// Bytes that are collected for the processor's instructions: whole cells.
#[cfg(feature = "std")]
const COLLECTED: usize = 32 * CELL_BYTES;

impl Crc {
    /// After the bytes of `pieces` more.
    ///
    /// The processor's instructions for this take many bytes at once, or are slow: pieces are
    /// collected before it sees them.
    #[must_use]
    #[cfg(feature = "std")]
    pub fn update_pieces<'p>(self, pieces: impl Iterator<Item = &'p [u8]>) -> Self {
        let (mut crc, mut room, mut len) = (self, [0; COLLECTED], 0);
        for piece in pieces {
            if room.len() - len < piece.len() {
                crc = crc.update(&room[..len]);
                len = 0;
            }
            match room.get_mut(len..len + piece.len()) {
                Some(place) => {
                    copy_piece(place, piece);
                    len += piece.len();
                }
                None => crc = crc.update(piece),
            }
        }
        crc.update(&room[..len])
    }

    /// After the bytes of `pieces` more.
    #[must_use]
    #[cfg(not(feature = "std"))]
    pub fn update_pieces<'p>(self, pieces: impl Iterator<Item = &'p [u8]>) -> Self {
        pieces.fold(self, Self::update)
    }
}

/// The digest of a node: `content` is the CRC of its path and data.
pub fn of_node(content: Crc, stat: &StatPersisted) -> u64 {
    let mut bytes = [0; 60];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    put(&stat.czxid.0.to_be_bytes());
    put(&stat.mzxid.0.to_be_bytes());
    put(&stat.pzxid.0.to_be_bytes());
    put(&stat.ctime.to_be_bytes());
    put(&stat.mtime.to_be_bytes());
    put(&stat.version.to_be_bytes());
    put(&stat.cversion.to_be_bytes());
    put(&stat.aversion.to_be_bytes());
    put(&stat.ephemeral_owner.to_be_bytes());
    u64::from(content.update(&bytes).value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_apaches() {
        // The empty tree of a fresh server: root and /zookeeper (facts from a real log).
        let zero = StatPersisted::default();
        assert_eq!(of_node(Crc::START, &zero), 0x0412_8908);
        assert_eq!(of_node(Crc::START.update(b"/zookeeper"), &zero), 0x4db4_4d58);
        // In pieces.
        assert_eq!(Crc::START.update(b"123456789").value(), 0xcbf4_3926);
        assert_eq!(Crc::START.update(b"1234").update(b"").update(b"56789").value(), 0xcbf4_3926);
        for len in [0, 1, 27, 28, 29, 895, 896, 897, 5000] {
            let bytes: std::vec::Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            for size in [1, 28, 100, 895, 896, 897, 3000] {
                let pieces = bytes.chunks(size);
                let whole = Crc::START.update(b"/path").update(&bytes);
                assert_eq!(
                    Crc::START.update(b"/path").update_pieces(pieces),
                    whole,
                    "{len} {size}"
                );
            }
        }
    }
}
