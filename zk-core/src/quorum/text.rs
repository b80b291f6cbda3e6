//! The text of a configuration: lines of Java properties, and the order in which Apache writes them.

use super::server::split;
use super::{ConfigError, Problem};
use crate::id::ServerId;
use crate::text;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `server.N=value`.
    Server(ServerId, &'a str),
    /// `group.N=sid:sid...`.
    Group(i64, &'a str),
    /// `weight.N=w`.
    Weight(ServerId, u32),
    /// `version=hex`.
    Version(i64),
}

/// The lines that say something.
#[derive(Clone, Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Where the next line begins.
    at: usize,
    /// Lines read so far.
    number: usize,
}

/// A line that says something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    /// Its number, counted from 1.
    pub(super) number: usize,
    /// Where in the text it ends; values reach up to there.
    pub(super) end: usize,
    pub(super) line: Line<'a>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, number: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Said<'a>, ConfigError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
            let line = head(rest, |byte| matches!(byte, b'\n' | b'\r'));
            let end = self.at + line.len();
            self.at = end + 1;
            self.number += 1;
            let line = behind_blanks(line);
            if !line.is_empty() && !line.starts_with(['#', '!']) {
                let number = self.number;
                let said = parse(line).map(|line| Said { number, end, line });
                return Some(said.map_err(|problem| ConfigError { line: number, problem }));
            }
        }
    }
}

/// The version that a configuration's text says; 0 if it says none. `None`: it is no configuration.
pub fn version(text: &[u8]) -> Option<i64> {
    version_for(text, ServerId(0)).map(|(version, _)| version)
}

/// The same, and whether it has a server with that id.
pub fn version_for(text: &[u8], id: ServerId) -> Option<(i64, bool)> {
    let (mut version, mut has) = (0, false);
    for said in Lines::new(core::str::from_utf8(text).ok()?) {
        match said.ok()?.line {
            Line::Version(said) => version = said,
            Line::Server(server, _) => has |= server == id,
            _ => {}
        }
    }
    Some((version, has))
}

/// What separates keys from values, beside `=` and `:`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0xc)
}

/// The start of a text, up to the first byte that is such; an ASCII letter.
fn head(text: &str, ends: impl Fn(u8) -> bool) -> &str {
    let end = text.bytes().position(ends).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn behind_blanks(text: &str) -> &str {
    text.get(head(text, |byte| !is_blank(byte)).len()..).unwrap_or_default()
}

fn parse(line: &str) -> Result<Line<'_>, Problem> {
    if line.bytes().any(|byte| byte == b'\\') {
        return Err(Problem::Escape);
    }
    let key = head(line, |byte| is_blank(byte) || matches!(byte, b'=' | b':'));
    let value = behind_blanks(line.get(key.len()..).unwrap_or_default());
    let value = behind_blanks(value.strip_prefix(['=', ':']).unwrap_or(value));
    // The number behind the first dot; of the whole key if it has none.
    let id = || {
        let id = key.split_once('.').map_or(key, |(_, id)| id);
        text::parse(id.as_bytes(), 10).ok_or(Problem::Key)
    };
    if key.starts_with("server.") {
        Ok(Line::Server(ServerId(id()?), value))
    } else if key.starts_with("group") {
        Ok(Line::Group(id()?, value))
    } else if key.starts_with("weight") {
        let weight = text::parse(value.as_bytes(), 10).and_then(|weight| weight.try_into().ok());
        let weight = weight.ok_or(Problem::Weight)?;
        Ok(Line::Weight(ServerId(id()?), weight))
    } else if key == "version" {
        // Java refuses what it wrote itself for an epoch above 2^31.
        text::parse(value.as_bytes(), 16).map(Line::Version).ok_or(Problem::Version)
    } else {
        Err(Problem::Key)
    }
}

/// The id of a server.
pub(super) fn server_id(text: &str) -> Option<ServerId> {
    text::parse(text.as_bytes(), 10).map(ServerId)
}

/// The servers that a `group` line names.
pub(super) fn grouped(value: &str) -> impl Iterator<Item = Result<ServerId, Problem>> + Clone {
    split(value, ':').map(|id| server_id(id).ok_or(Problem::Group))
}

/// Where `id` stands among `count` others in a Java `HashMap`: the number of its bucket.
///
/// Those of one bucket stand in the order in which they were put there.
pub(super) fn bucket(id: i64, count: usize) -> usize {
    let mut buckets = 16;
    while count > buckets / 4 * 3 {
        buckets *= 2;
    }
    let hash = (id ^ (id.cast_unsigned() >> 32).cast_signed()) as u32;
    (hash ^ (hash >> 16)) as usize & (buckets - 1)
}

/// Text that is written into a slice from its start. What does not fit is counted, not written.
#[derive(Debug, Default)]
pub(super) struct Fill<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl<'b> Fill<'b> {
    /// Writes to the start of `bytes`.
    pub(super) fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// Goes on behind `len` bytes that were written before.
    pub(super) fn behind(bytes: &'b mut [u8], len: usize) -> Self {
        Self { bytes, len }
    }

    /// Bytes of the text.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether all of the text had room.
    pub(super) fn is_whole(&self) -> bool {
        self.len <= self.bytes.len()
    }

    /// What was written, if all of it had room.
    pub(super) fn into_text(self) -> Option<&'b str> {
        core::str::from_utf8(self.bytes.get(..self.len)?).ok()
    }

    pub(super) fn put(&mut self, text: &str) -> &mut Self {
        self.put_bytes(text.as_bytes())
    }

    /// A number to the base of `radix`.
    pub(super) fn number(&mut self, value: i64, radix: u32) -> &mut Self {
        self.put_bytes(text::number(value, radix, 1, &mut [0; text::LONGEST]))
    }

    #[inline(never)] // once for all its callers
    fn put_bytes(&mut self, text: &[u8]) -> &mut Self {
        let end = self.len.saturating_add(text.len());
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(text);
        }
        self.len = end;
        self
    }
}
