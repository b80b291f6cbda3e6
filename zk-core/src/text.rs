//! Numbers as text, as Java writes and reads them.
//!
//! Nothing that a board does needs `core::fmt`, whose machinery would take nearly 3 KiB of flash.

/// Bytes of the longest number.
pub const LONGEST: usize = 20;

/// A number to the base of `radix` (at most 16), with zeros in front up to `width` characters, the
/// sign included. Answers to `%d`, `%010d` and `%x` of Java.
pub fn number(value: i64, radix: u32, width: usize, room: &mut [u8; LONGEST]) -> &[u8] {
    // `%x` shows the bits.
    let negative = value < 0 && radix == 10;
    let zeros = LONGEST - width.clamp(1, LONGEST) + usize::from(negative);
    let mut at = LONGEST;
    let mut rest = if negative { value.unsigned_abs() } else { value.cast_unsigned() };
    while let Some(next) = at.checked_sub(1)
        && (rest > 0 || at > zeros)
    {
        at = next;
        let (more, digit) = divide(rest, radix);
        room[at] = b"0123456789abcdef"[digit as usize & 0xf];
        rest = more;
    }
    if negative && let Some(next) = at.checked_sub(1) {
        at = next;
        room[at] = b'-';
    }
    &room[at..]
}

/// A number divided by another that is not 0, and what is left. Where the processor cannot do that by
/// itself, this is much shorter than what the compiler would bring.
pub(crate) fn divide(value: u64, by: u32) -> (u64, u32) {
    let by = u64::from(by);
    if cfg!(target_pointer_width = "64") {
        return (value / by, (value % by) as u32);
    }
    long_division(value, by)
}

fn long_division(value: u64, by: u64) -> (u64, u32) {
    let (mut quotient, mut rest) = (value, 0);
    for _ in 0..u64::BITS {
        rest = rest << 1 | quotient >> (u64::BITS - 1);
        quotient <<= 1;
        if rest >= by {
            rest -= by;
            quotient |= 1;
        }
    }
    (quotient, rest as u32)
}

/// The number that digits to the base of `radix` (10 or 16) say, behind a sign or none. What has all
/// 64 bits to the base of 16 is a negative number, as [`number`] writes it. Answers to
/// `Long.parseLong`, which does not take that.
pub fn parse(text: &[u8], radix: u32) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut value = (!digits.is_empty()).then_some(0u64)?;
    for &digit in digits {
        let digit = char::from(digit).to_digit(radix)?;
        value = value.checked_mul(radix.into())?.checked_add(digit.into())?;
    }
    match negative {
        true => 0i64.checked_sub_unsigned(value),
        false if radix == 16 => Some(value.cast_signed()),
        false => i64::try_from(value).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_division_divides() {
        for value in [0, 1, 9, 10, 0xffff_ffff, 0x1_0000_0000, 1_700_000_000_000, u64::MAX] {
            for by in [1, 2, 10, 16, 2000, 60_000, u32::MAX] {
                let wide = u64::from(by);
                assert_eq!(long_division(value, wide), (value / wide, (value % wide) as u32));
                assert_eq!(divide(value, by), long_division(value, wide));
            }
        }
    }

    #[test]
    fn numbers_are_read_as_java_reads_them() {
        for (text, radix, value) in [
            ("0", 10, Some(0)),
            ("-0", 10, Some(0)),
            ("+7", 10, Some(7)),
            ("007", 10, Some(7)),
            ("9223372036854775807", 10, Some(i64::MAX)),
            ("9223372036854775808", 10, None),
            ("-9223372036854775808", 10, Some(i64::MIN)),
            ("-9223372036854775809", 10, None),
            ("18446744073709551616", 10, None),
            ("", 10, None),
            ("-", 10, None),
            ("+-1", 10, None),
            (" 1", 10, None),
            ("1f", 10, None),
            ("1f", 16, Some(31)),
            ("1F", 16, Some(31)),
            ("-1f", 16, Some(-31)),
            ("7fffffffffffffff", 16, Some(i64::MAX)),
            ("ffffffffffffffff", 16, Some(-1)),
            ("10000000000000000", 16, None),
            ("0x1", 16, None),
        ] {
            assert_eq!(parse(text.as_bytes(), radix), value, "{text}");
        }
    }

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
