//! CRC-32/ISO-HDLC: the checksum of zlib, of Ethernet, of the tree's digest and of what a board keeps.
//!
//! With `std`, the processor's own instructions. Elsewhere half a byte at a time, with a table of 64 bytes: on a
//! small board a table for whole bytes is too long, and bit by bit would be half of what a write takes.

/// A checksum under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc(u32);

/// What becomes of four bits.
#[cfg(any(test, not(feature = "std")))]
const HALVES: [u32; 16] = {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut halves = [0; 16];
    let mut at = 0;
    while at < halves.len() {
        let (mut value, mut bit) = (at as u32, 0);
        while bit < 4 {
            value = (value >> 1) ^ if value & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        halves[at] = value;
        at += 1;
    }
    halves
};

impl Crc {
    /// Of no bytes.
    pub const START: Self = Self(0);

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> u32 {
        Self::START.update(bytes).value()
    }

    /// After `bytes` more.
    #[must_use]
    #[cfg(feature = "std")]
    pub fn update(self, bytes: &[u8]) -> Self {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        Self(hasher.finalize())
    }

    /// After `bytes` more.
    #[must_use]
    #[cfg(not(feature = "std"))]
    pub fn update(self, bytes: &[u8]) -> Self {
        self.update_by_halves(bytes)
    }

    #[cfg(any(test, not(feature = "std")))]
    fn update_by_halves(self, bytes: &[u8]) -> Self {
        let half = |sum: u32| (sum >> 4) ^ HALVES[(sum & 0xf) as usize];
        Self(!bytes.iter().fold(!self.0, |sum, &byte| half(half(sum ^ u32::from(byte)))))
    }

    /// The value so far.
    pub const fn value(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_value_is_the_catalogues() {
        assert_eq!(Crc::of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Crc::START.update_by_halves(b"123456789").value(), 0xcbf4_3926);
        assert_eq!(Crc::of(b""), 0);
    }

    proptest! {
        /// In pieces, by halves, and as the processor does it.
        #[test]
        fn a_checksum_is_the_same_however_it_is_made(bytes: std::vec::Vec<u8>, cut: usize) {
            let (front, back) = bytes.split_at(cut % (bytes.len() + 1));
            prop_assert_eq!(Crc::START.update(front).update(back).value(), Crc::of(&bytes));
            let halves = Crc::START.update_by_halves(front).update_by_halves(back);
            prop_assert_eq!(halves.value(), Crc::of(&bytes));
        }
    }
}
