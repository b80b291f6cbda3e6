//! Adler-32, the checksum of every file here.

use core::fmt;

/// The checksum of what was written so far.
#[derive(Clone, Default)]
pub(super) struct Sum(simd_adler32::Adler32);

impl Sum {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// As files carry it.
    pub(super) fn value(&self) -> i64 {
        i64::from(self.0.finish())
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sum({:#x})", self.0.finish())
    }
}

/// The checksum of `bytes`.
pub(super) fn of(bytes: &[u8]) -> u32 {
    simd_adler32::adler32(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_summed_as_another_implementation_does() {
        let bytes: Vec<u8> =
            (0..6000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for len in (0..200).chain([5551, 5552, 5553, 6000]) {
            let (now, later) = bytes[..len].split_at(len / 3);
            let mut sum = Sum::default();
            sum.write(now);
            sum.write(later);
            assert_eq!(sum.value(), i64::from(adler2::adler32_slice(&bytes[..len])), "{len}");
            assert_eq!(i64::from(of(&bytes[..len])), sum.value());
        }
    }
}
