//! Numbers as text, as Java writes them.
//!
//! Nothing that a board does needs `core::fmt`, whose machinery would take nearly 3 KiB of flash.

/// Bytes of the longest number.
pub const LONGEST: usize = 20;

/// A number to the base of `radix` (at most 16), with zeros in front up to `width` characters, the
/// sign included. Answers to `%d`, `%010d` and `%x` of Java.
pub fn number(value: i64, radix: u64, width: usize, room: &mut [u8; LONGEST]) -> &[u8] {
    // `%x` shows the bits.
    let negative = value < 0 && radix == 10;
    let zeros = LONGEST - width.clamp(1, LONGEST) + usize::from(negative);
    let mut at = LONGEST;
    let mut rest = if negative { value.unsigned_abs() } else { value.cast_unsigned() };
    while let Some(next) = at.checked_sub(1)
        && (rest > 0 || at > zeros)
    {
        at = next;
        room[at] = b"0123456789abcdef"[(rest % radix) as usize & 0xf];
        rest /= radix;
    }
    if negative && let Some(next) = at.checked_sub(1) {
        at = next;
        room[at] = b'-';
    }
    &room[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_javas() {
        let mut room = [0; LONGEST];
        for (value, radix, width, text) in [
            (0, 10, 1, "0"),
            (7, 10, 1, "7"),
            (-1, 10, 1, "-1"),
            (i64::MAX, 10, 1, "9223372036854775807"),
            (i64::MIN, 10, 1, "-9223372036854775808"),
            (0, 10, 10, "0000000000"),
            (42, 10, 10, "0000000042"),
            (i64::from(i32::MAX), 10, 10, "2147483647"),
            (-5, 10, 10, "-000000005"),
            (i64::from(i32::MIN), 10, 10, "-2147483648"),
            (0, 16, 1, "0"),
            (0xfe80, 16, 1, "fe80"),
            (-1, 16, 1, "ffffffffffffffff"),
        ] {
            assert_eq!(number(value, radix, width, &mut room), text.as_bytes());
        }
    }
}
