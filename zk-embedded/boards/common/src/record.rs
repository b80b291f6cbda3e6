//! What a board remembers of how its runs ended, in memory that may be noise.

use core::fmt::{self, Write as _};

/// Bytes of the text of why; the rest is cut.
pub const WHY_MAX: usize = 96;

const MAGIC: u32 = u32::from_le_bytes(*b"zkwy");

/// What is kept. Any bytes are one.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Record {
    magic: u32,
    /// Of all below.
    sum: u32,
    count: u32,
    len: u32,
    why: [u8; WHY_MAX],
}

impl Record {
    /// FNV-1a: noise does not have it.
    fn summed(&self) -> u32 {
        let words = [self.count, self.len];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).chain(self.why);
        bytes.fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.magic, self.count, self.len, self.why) = (MAGIC, 0, 0, [0; WHY_MAX]);
        self.sum = self.summed();
    }

    /// Forgets everything if it is noise.
    pub fn check(&mut self) {
        if self.magic != MAGIC || self.sum != self.summed() {
            self.clear();
        }
    }

    /// Runs that ended in a row without having served.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Why the last of them did, or nothing.
    pub fn why(&self) -> &[u8] {
        self.why.get(..self.len as usize).unwrap_or_default()
    }

    /// One more has.
    pub fn ended(&mut self, why: &dyn fmt::Display) {
        self.len = 0;
        self.count = self.count.saturating_add(1);
        // Nothing is refused: it is cut.
        let _ = write!(self, "{why}");
        self.sum = self.summed();
    }
}

impl fmt::Write for Record {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (to, &from) in self.why.iter_mut().skip(self.len as usize).zip(text.as_bytes()) {
            *to = from;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: Record =
        Record { magic: MAGIC, sum: 7, count: 9, len: u32::MAX, why: [0xa5; WHY_MAX] };

    #[test]
    fn noise_says_nothing() {
        let mut record = NOISE;
        assert_eq!(record.why(), b"");
        record.check();
        assert_eq!((record.count(), record.why()), (0, &b""[..]));
        // One bit is enough.
        record.ended(&"x");
        let mut other = record.clone();
        other.why[50] ^= 1;
        other.check();
        assert_eq!((other.count(), record.count()), (0, 1));
    }

    #[test]
    fn ends_are_counted_and_the_last_is_told() {
        let mut record = NOISE;
        record.clear();
        for (count, why) in [(1, "one"), (2, "another"), (3, "two")] {
            record.ended(&why);
            record.check();
            assert_eq!((record.count(), record.why()), (count, why.as_bytes()));
        }
        record.ended(&format_args!("{:0>200}", 7));
        record.check();
        assert_eq!((record.count(), record.why()), (4, &[b'0'; WHY_MAX][..]));
        record.clear();
        assert_eq!((record.count(), record.why()), (0, &b""[..]));
    }
}
