//! The format of `zoo.cfg`: what Java's `Properties.load(InputStream)` reads.
//!
//! Bytes are ISO-8859-1. A line whose first character that is not blank (space, tab, form feed)
//! is `#` or `!` is a comment. Lines end with `\n`, `\r` or `\r\n`; a line that ends with an odd
//! number of backslashes goes on in the next one, without that line's leading blanks. The key
//! ends at the first `=`, `:` or blank that is not escaped; blanks around the separator are
//! dropped, blanks at the end of the value are kept. `\t \n \r \f` and `\uXXXX` are escapes; a
//! backslash before anything else is dropped. Of a key that occurs twice, the last value holds.
//!
//! Source: the contract of `java.util.Properties`. The tests compare with tables which Java 17
//! itself filled in (`testdata/config/properties*.txt`).

use std::collections::BTreeMap;

/// A file longer than this many bytes is refused: a `zoo.cfg` is a page of text.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// More entries are refused: that many keys do not exist, nor that many servers.
pub const MAX_ENTRIES: usize = 4096;

/// One `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Line on which it begins, counted from 1 (continuation lines do not begin one).
    pub line: u32,
    /// The key, escapes resolved, not trimmed.
    pub key: String,
    /// The value, escapes resolved, not trimmed.
    pub value: String,
}

/// A key that occurred again later in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overridden {
    /// The property without effect.
    pub property: Property,
    /// Line of the property that replaced it.
    pub by_line: u32,
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// One entry a key, in order of the file.
    pub entries: Vec<Property>,
    /// Entries that a later line replaced, in order of the file.
    pub overridden: Vec<Overridden>,
}

/// Why a text is not in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatError {
    /// The text is longer than [`MAX_FILE_BYTES`].
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// There are more than [`MAX_ENTRIES`] entries.
    TooMany {
        /// Line of the first one that is too many.
        line: u32,
    },
    /// A `\u` without four hexadecimal digits after it, in the entry that begins on this line.
    MalformedUnicodeEscape {
        /// Line, counted from 1.
        line: u32,
    },
}

impl Properties {
    /// Reads a text.
    ///
    /// # Errors
    /// Those of [`FormatError`]; everything else is some property or other.
    pub fn parse(text: &[u8]) -> Result<Self, FormatError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(FormatError::TooLong { bytes: text.len() });
        }
        let mut latest: BTreeMap<String, Property> = BTreeMap::new();
        let mut overridden = Vec::new();
        let mut lines = LogicalLines { text, at: 0, line: 1 };
        let mut bytes = Vec::new();
        while let Some(line) = lines.read(&mut bytes) {
            if latest.len() + overridden.len() == MAX_ENTRIES {
                return Err(FormatError::TooMany { line });
            }
            let (key, value) = split(&bytes);
            let unescaped =
                |part| unescape(part).ok_or(FormatError::MalformedUnicodeEscape { line });
            let property = Property { line, key: unescaped(key)?, value: unescaped(value)? };
            if let Some(earlier) = latest.insert(property.key.clone(), property) {
                overridden.push(Overridden { property: earlier, by_line: line });
            }
        }
        let mut entries: Vec<Property> = latest.into_values().collect();
        entries.sort_by_key(|property| property.line);
        Ok(Self { entries, overridden })
    }

    /// The entry of a key, compared without trimming.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Property> {
        self.entries.iter().find(|property| property.key == key)
    }
}

/// `String.trim` of Java: everything up to U+0020 goes, at both ends, and nothing else.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// Joins continued lines, drops comments and empty lines.
struct LogicalLines<'a> {
    text: &'a [u8],
    at: usize,
    /// Number of the line that holds `at`.
    line: u32,
}

impl LogicalLines<'_> {
    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        if byte == b'\n' || (byte == b'\r' && self.text.get(self.at) != Some(&b'\n')) {
            self.line += 1;
        }
        Some(byte)
    }

    /// Replaces `out` by the next logical line, escapes untouched, and returns the number of its
    /// first line; `None` at the end of the text.
    fn read(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        out.clear();
        let mut first = self.line;
        let mut skipping_blanks = true;
        let mut continued = false;
        let mut escaped = false;
        loop {
            let here = self.line;
            let Some(byte) = self.next_byte() else {
                if out.is_empty() {
                    return None;
                }
                break;
            };
            let ends_line = matches!(byte, b'\n' | b'\r');
            if skipping_blanks {
                if is_blank(byte) || (ends_line && !continued) {
                    continue;
                }
                skipping_blanks = false;
                continued = false;
            }
            // "Nothing yet" also holds after a line of one backslash: a comment may follow it.
            if out.is_empty() {
                if matches!(byte, b'#' | b'!') {
                    while !matches!(self.next_byte(), None | Some(b'\n' | b'\r')) {}
                    skipping_blanks = true;
                    continue;
                }
                if ends_line {
                    skipping_blanks = true;
                    continue;
                }
                first = here;
            }
            if !ends_line {
                out.push(byte);
                escaped = byte == b'\\' && !escaped;
                continue;
            }
            if !escaped || self.at == self.text.len() {
                break;
            }
            out.pop();
            escaped = false;
            skipping_blanks = true;
            continued = true;
            if byte == b'\r' && self.text.get(self.at) == Some(&b'\n') {
                self.next_byte();
            }
        }
        if escaped {
            // A continuation into the end of the file.
            out.pop();
        }
        Some(first)
    }
}

/// Splits a logical line into key and value, both still escaped.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let key_end = line
        .iter()
        .position(|&byte| {
            let ends = !escaped && (is_blank(byte) || matches!(byte, b'=' | b':'));
            escaped = byte == b'\\' && !escaped;
            ends
        })
        .unwrap_or(line.len());
    let (key, mut rest) = line.split_at(key_end);
    let mut separated = false;
    while let Some((&byte, after)) = rest.split_first() {
        let separator = matches!(byte, b'=' | b':');
        if !is_blank(byte) && (separated || !separator) {
            break;
        }
        separated |= separator;
        rest = after;
    }
    (key, rest)
}

/// Resolves escapes. `None`: a `\u` without four digits. A surrogate without its partner, which a
/// Java string can hold, becomes U+FFFD.
fn unescape(escaped: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        let unit = match bytes.next() {
            // Cannot happen: a lone backslash at the end was a continuation.
            None => break,
            Some(b't') => 0x09,
            Some(b'n') => 0x0a,
            Some(b'f') => 0x0c,
            Some(b'r') => 0x0d,
            Some(b'u') => {
                let mut unit = 0;
                for _ in 0..4 {
                    let digit = char::from(bytes.next()?).to_digit(16)?;
                    unit = unit << 4 | u16::try_from(digit).ok()?;
                }
                unit
            }
            Some(other) => u16::from(other),
        };
        units.push(unit);
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the notation of the tables (`testdata/config/PropertiesTable.java`).
    fn bytes_of(shown: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = shown;
        while let Some(c) = rest.chars().next() {
            if c == '\\' {
                bytes.push(u8::from_str_radix(&rest[2..4], 16).unwrap());
                rest = &rest[4..];
            } else {
                bytes.push(u8::try_from(c).unwrap());
                rest = &rest[1..];
            }
        }
        bytes
    }

    fn string_of(shown: &str) -> String {
        if shown == "\\e" {
            return String::new();
        }
        let mut units = Vec::new();
        let mut rest = shown;
        while let Some(c) = rest.chars().next() {
            if c == '\\' {
                units.push(u16::from_str_radix(&rest[2..6], 16).unwrap());
                rest = &rest[6..];
            } else {
                units.push(u16::from(u8::try_from(c).unwrap()));
                rest = &rest[1..];
            }
        }
        String::from_utf16_lossy(&units)
    }

    /// Compares every case of a table with Java's answers; returns the number of cases.
    fn check(table: &str) -> usize {
        let lines: Vec<&str> = table.lines().collect();
        let mut cases = 0;
        let mut at = 0;
        while at < lines.len() {
            let Some(input) = lines[at].strip_prefix("in ") else {
                at += 1;
                continue;
            };
            at += 1;
            let mut expected = BTreeMap::new();
            let mut malformed = false;
            while at < lines.len() {
                if let Some(out) = lines[at].strip_prefix("out ") {
                    let (key, value) = out.split_once(' ').unwrap();
                    expected.insert(string_of(key), string_of(value));
                } else if lines[at].starts_with("err ") {
                    malformed = true;
                } else {
                    break;
                }
                at += 1;
            }
            match Properties::parse(&bytes_of(input)) {
                Ok(read) => {
                    assert!(!malformed, "Java refuses: {input}");
                    let got: BTreeMap<String, String> =
                        read.entries.into_iter().map(|p| (p.key, p.value)).collect();
                    assert_eq!(got, expected, "input: {input}");
                }
                Err(FormatError::MalformedUnicodeEscape { .. }) => {
                    assert!(malformed, "Java accepts: {input}");
                }
                Err(other) => panic!("{other:?} for {input}"),
            }
            cases += 1;
        }
        cases
    }

    #[test]
    fn reads_what_java_reads() {
        assert_eq!(check(include_str!("../../testdata/config/properties.txt")), 110);
        assert_eq!(check(include_str!("../../testdata/config/properties-random.txt")), 400);
    }

    #[test]
    fn knows_its_lines() {
        let text = b"# one\r\n\r\na=1\\\r\n  2\\\n3\rb=2\n\n!x\\\nc=3\na=4\n";
        let read = Properties::parse(text).unwrap();
        let lines: Vec<(u32, &str, &str)> =
            read.entries.iter().map(|p| (p.line, p.key.as_str(), p.value.as_str())).collect();
        assert_eq!(lines, [(6, "b", "2"), (9, "c", "3"), (10, "a", "4")]);
        let overridden = &read.overridden[0];
        assert_eq!((overridden.property.line, overridden.by_line), (3, 10));
        assert_eq!(overridden.property.value, "123");

        let text = b"a=1\nb=\\\n\\u12\n";
        let error = Properties::parse(text).unwrap_err();
        assert_eq!(error, FormatError::MalformedUnicodeEscape { line: 2 });
    }

    #[test]
    fn refuses_a_text_without_end() {
        let text = vec![b'#'; MAX_FILE_BYTES + 1];
        assert_eq!(
            Properties::parse(&text),
            Err(FormatError::TooLong { bytes: MAX_FILE_BYTES + 1 })
        );
        assert_eq!(Properties::parse(&text[1..]), Ok(Properties::default()));
        let text = b"k\n".repeat(MAX_ENTRIES + 1);
        let line = u32::try_from(MAX_ENTRIES).unwrap() + 1;
        assert_eq!(Properties::parse(&text), Err(FormatError::TooMany { line }));
        assert_eq!(Properties::parse(&text[2..]).unwrap().entries.len(), 1);
    }

    #[test]
    fn trims_as_java_does() {
        assert_eq!(trim("\u{1f}\0 a b\t\r\n"), "a b");
        assert_eq!(trim("\u{a0}a\u{2003}"), "\u{a0}a\u{2003}");
    }
}
