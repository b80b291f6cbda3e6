//! What the verbs on files share: filters, text for any bytes, one line after the other.
//!
//! Files are opened, read once from front to back, and never written. No more of them is held in
//! memory than the record being looked at, which has at most [`RECORD_MAX`] bytes.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use zk_core::id::Zxid;
use zk_core::wire::client::Acl;
use zk_core::wire::jute::List;

use crate::acl::letters;
use crate::failure::Failure;
use crate::output;

/// The largest record that is read, bytes: far above any `jute.maxbuffer` in use, so that a length
/// beyond it is damage.
pub(super) const RECORD_MAX: usize = 64 << 20;

/// Which nodes or transactions are wanted.
#[derive(Args, Debug)]
pub(super) struct Filter {
    /// Only paths that begin with this text; /app/ is what lies below /app
    #[arg(short = 's', long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Only from this zxid on, as in 0x1a or 26
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    from: Option<Zxid>,
    /// Only up to this zxid, itself included
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    to: Option<Zxid>,
}

impl Filter {
    /// Whether it makes sense.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if let Some(prefix) = &self.prefix
            && !prefix.starts_with('/')
        {
            return Err(Failure::Usage(format!(
                "no path begins with `{prefix}`: all begin with /"
            )));
        }
        match (self.from, self.to) {
            (Some(from), Some(to)) if from > to => {
                Err(Failure::Usage(format!("--from {from} is after --to {to}")))
            }
            _ => Ok(()),
        }
    }

    /// Whether everything is wanted.
    pub(super) fn is_open(&self) -> bool {
        self.prefix.is_none() && self.from.is_none() && self.to.is_none()
    }

    pub(super) fn zxid(&self, zxid: Zxid) -> bool {
        self.from.is_none_or(|from| zxid >= from) && self.to.is_none_or(|to| zxid <= to)
    }

    /// Whether one of these paths is wanted. What has no path is wanted only if none was named.
    pub(super) fn any_path<'a>(&self, paths: impl IntoIterator<Item = &'a [u8]>) -> bool {
        self.prefix
            .as_ref()
            .is_none_or(|prefix| paths.into_iter().any(|path| path.starts_with(prefix.as_bytes())))
    }
}

/// Reads a zxid as Apache's tools print it (hexadecimal with 0x) or in decimal.
fn zxid(text: &str) -> Result<Zxid, String> {
    let read = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).map(u64::cast_signed),
        None => text.parse(),
    };
    read.map(Zxid).map_err(|_| "a zxid is hexadecimal with 0x, or decimal: 0x1a, 26".to_owned())
}

/// Standard output, line by line. Nothing is flushed before the end, so that millions of lines go
/// out in large pieces.
pub(super) struct Lines {
    out: BufWriter<StdoutLock<'static>>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, io::stdout().lock()) }
    }

    pub(super) fn text(&mut self, line: &str) -> Result<(), Failure> {
        self.out.write_all(line.as_bytes())?;
        Ok(self.out.write_all(b"\n")?)
    }

    pub(super) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value)?;
        Ok(self.out.write_all(b"\n")?)
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

/// Does `read` to one file after the other. What is wrong with one does not keep the others from
/// being read; it is the last such failure that the verb ends with.
pub(super) fn each(
    files: &[PathBuf],
    mut read: impl FnMut(&Path, &mut Lines) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut lines = Lines::new();
    let mut failed: Option<Failure> = None;
    for file in files {
        let result = read(file, &mut lines);
        // What was read of it comes before what is said about it.
        let flushed = lines.flush();
        if let Err(failure) = result.and(flushed) {
            if failure.is_broken_pipe() {
                return Err(failure);
            }
            if let Some(earlier) = failed.replace(failure) {
                output::complain("error", &earlier.to_string());
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// What is wrong with a file, and where.
pub(super) fn damaged(file: &Path, offset: u64, what: &str) -> Failure {
    Failure::Io(format!("{} is damaged at offset {offset}: {what}", file.display()))
}

pub(super) fn cannot_read(file: &Path, error: &io::Error) -> Failure {
    Failure::Io(format!("cannot read {}: {error}", file.display()))
}

/// Bytes as text that fits a line: control characters, backslashes and what is not UTF-8 are
/// escaped.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A node's data on one line: text in quotes, else base64; null has neither.
pub(super) fn data_text(data: Option<&[u8]>) -> String {
    let mut object = serde_json::Map::new();
    output::data_json(&mut object, data);
    match (data, object["encoding"].as_str()) {
        (None, _) => "null".to_owned(),
        (Some(_), Some("base64")) => {
            format!("base64 {}", object["data"].as_str().unwrap_or_default())
        }
        // JSON's quotes and escapes, and escapes for the control characters that JSON lets be.
        _ => object["data"].to_string().chars().fold(String::new(), |mut text, c| {
            if c.is_control() {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                text.push(c);
            }
            text
        }),
    }
}

/// A path or an id in JSON: as it is, or escaped where it is not UTF-8.
pub(super) fn name_json(bytes: &[u8]) -> Value {
    core::str::from_utf8(bytes).map_or_else(|_| escaped(bytes).into(), Value::from)
}

pub(super) fn acl_json<'a>(acl: impl Iterator<Item = Acl<'a>>) -> Value {
    acl.map(|entry| {
        json!({
            "scheme": name_json(entry.id.scheme.bytes()),
            "id": name_json(entry.id.id.bytes()),
            "perms": letters(entry.perms),
        })
    })
    .collect()
}

pub(super) fn acl_text(acl: List<'_, Acl<'_>>) -> String {
    let entries: Vec<_> = acl
        .iter()
        .map(|entry| {
            let (scheme, id) = (entry.id.scheme.bytes(), entry.id.id.bytes());
            format!("{}:{}:{}", escaped(scheme), escaped(id), letters(entry.perms))
        })
        .collect();
    entries.join(",")
}

/// A time in UTC, as in 2026-11-23T12:35:08.421Z.
pub(super) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_fit_a_line() {
        assert_eq!(escaped("/ä b".as_bytes()), "/ä b");
        assert_eq!(escaped(b"/a\n\\\xff\0"), "/a\\n\\\\\\xff\\u{0}");
        assert_eq!(data_text(None), "null");
        assert_eq!(data_text(Some(b"")), "\"\"");
        assert_eq!(data_text(Some(b"null\n")), "\"null\\n\"");
        assert_eq!(data_text(Some("\u{9b}\u{7f}".as_bytes())), "\"\\u009b\\u007f\"");
        assert_eq!(data_text(Some(&[0xff, 0])), "base64 /wA=");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_795_437_308_421), "2026-11-23T12:35:08.421Z");
        assert_eq!(time(i64::MAX), "9223372036854775807ms");
    }

    #[test]
    fn zxids_are_read() {
        assert_eq!(zxid("0x1a"), Ok(Zxid(26)));
        assert_eq!(zxid("26"), Ok(Zxid(26)));
        assert_eq!(zxid("0xffffffffffffffff"), Ok(Zxid(-1)));
        for bad in ["", "1a", "0x", "0x1_0", "x"] {
            assert!(zxid(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_hold_all_that_is_asked() {
        let filter =
            Filter { prefix: Some("/a".to_owned()), from: Some(Zxid(2)), to: Some(Zxid(3)) };
        let held: Vec<_> = (0..5).filter(|&n| filter.zxid(Zxid(n))).collect();
        assert_eq!(held, [2, 3]);
        assert!(filter.any_path([&b"/b"[..], b"/ab"]) && !filter.any_path([&b"/b"[..], b"/"]));
        assert!(!filter.any_path([]));
        assert!(filter.check().is_ok());
        assert!(Filter { to: Some(Zxid(1)), ..filter }.check().is_err());
    }
}
