//! What is printed: text for people, JSON for programs, bytes for pipes.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use base64ct::{Base64, Encoding};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use zk_core::wire::client::{EventType, Stat};

use crate::failure::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON value per result, on a line of its own.
    Json,
}

/// Standard output.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    terminal: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        let color = AutoStream::choice(&stdout) != ColorChoice::Never;
        Self { format, terminal: stdout.is_terminal(), color }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One JSON value.
    pub(crate) fn json(&self, value: &Value) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value)?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// A line of text.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.lines([text])
    }

    /// Lines of text.
    pub(crate) fn lines<T: AsRef<str>>(
        &self,
        lines: impl IntoIterator<Item = T>,
    ) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for line in lines {
            out.write_all(line.as_ref().as_bytes())?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    /// A node's data: as it is into a pipe, so that something may be made of it; for a person as
    /// text, or as a hex dump where it is none. With `framed` text, something follows.
    pub(crate) fn data(&self, data: Option<&[u8]>, framed: bool) -> Result<(), Failure> {
        let bytes = data.unwrap_or_default();
        if !self.terminal {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            if framed {
                out.write_all(b"\n")?;
            }
            return Ok(out.flush()?);
        }
        match (data, core::str::from_utf8(bytes)) {
            (None, _) => self.line("null"),
            (_, Ok(text)) if text.chars().all(is_harmless) => {
                self.line(text.strip_suffix('\n').unwrap_or(text))
            }
            _ => self.lines(hex_dump(bytes)),
        }
    }

    /// A stat, under zkCli's names.
    pub(crate) fn stat(&self, stat: &Stat) -> Result<(), Failure> {
        let (on, off) = if self.color {
            (anstyle::Style::new().dimmed(), anstyle::Style::new().dimmed())
        } else {
            Default::default()
        };
        self.lines(
            stat_rows(stat).into_iter().map(|(name, value)| {
                format!("{}{name} ={} {value}", on.render(), off.render_reset())
            }),
        )
    }
}

/// Whether a character can go to a terminal as it is.
fn is_harmless(c: char) -> bool {
    !c.is_control() || matches!(c, '\n' | '\t')
}

fn hex_dump(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.chunks(16).enumerate().map(|(row, chunk)| {
        let hex: Vec<_> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = chunk
            .iter()
            .map(
                |&byte| {
                    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' }
                },
            )
            .collect();
        format!("{:08x}  {:<47}  |{text}|", row * 16, hex.join(" "))
    })
}

fn stat_rows(stat: &Stat) -> [(&'static str, String); 11] {
    [
        ("cZxid", stat.czxid.to_string()),
        ("ctime", date(stat.ctime)),
        ("mZxid", stat.mzxid.to_string()),
        ("mtime", date(stat.mtime)),
        ("pZxid", stat.pzxid.to_string()),
        ("cversion", stat.cversion.to_string()),
        ("dataVersion", stat.version.to_string()),
        ("aclVersion", stat.aversion.to_string()),
        ("ephemeralOwner", format!("0x{:x}", stat.ephemeral_owner)),
        ("dataLength", stat.data_length.to_string()),
        ("numChildren", stat.num_children.to_string()),
    ]
}

/// A time as Java prints it, in the local time zone.
fn date(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => time
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%a %b %d %H:%M:%S %Z %Y")
            .to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// A stat as JSON: zxids and owners in hexadecimal text (they do not fit a double), times in ms.
pub(crate) fn stat_json(stat: &Stat) -> Value {
    json!({
        "czxid": stat.czxid.to_string(),
        "mzxid": stat.mzxid.to_string(),
        "pzxid": stat.pzxid.to_string(),
        "ctime": stat.ctime,
        "mtime": stat.mtime,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeralOwner": format!("0x{:x}", stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// Bytes as JSON members: `data` is null, text, or base64; `encoding` says which of the latter.
pub(crate) fn data_json(object: &mut Map<String, Value>, data: Option<&[u8]>) {
    let (data, encoding) = match data.map(|bytes| (bytes, core::str::from_utf8(bytes))) {
        None => (Value::Null, "null"),
        Some((_, Ok(text))) => (text.into(), "utf-8"),
        Some((bytes, Err(_))) => (Base64::encode_string(bytes).into(), "base64"),
    };
    object.insert("data".into(), data);
    object.insert("encoding".into(), encoding.into());
}

/// The name of an event type.
pub(crate) fn event_name(kind: i32) -> String {
    let known = [
        EventType::NodeCreated,
        EventType::NodeDeleted,
        EventType::NodeDataChanged,
        EventType::NodeChildrenChanged,
    ];
    match known.into_iter().find(|&k| k as i32 == kind) {
        Some(known) => format!("{known:?}"),
        None => format!("event {kind}"),
    }
}

/// A warning or error line on standard error, `label` coloured on a terminal.
pub(crate) fn complain(label: &str, text: &str) {
    let style = match label {
        "error" => anstyle::AnsiColor::Red.on_default().bold(),
        _ => anstyle::AnsiColor::Yellow.on_default(),
    };
    // Nothing can be done when even this cannot be written.
    let _ = writeln!(anstream::stderr(), "{style}{label}:{style:#} {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_text_or_base64() {
        let of = |data| {
            let mut object = Map::new();
            data_json(&mut object, data);
            (object["data"].clone(), object["encoding"].clone())
        };
        assert_eq!(of(None), (Value::Null, "null".into()));
        assert_eq!(of(Some("ä".as_bytes())), ("ä".into(), "utf-8".into()));
        assert_eq!(of(Some(&[0xff, 0])), ("/wA=".into(), "base64".into()));
    }

    #[test]
    fn dumps_show_bytes_and_letters() {
        let all: Vec<_> = hex_dump(b"0123456789abcdef\x00\xff!").collect();
        assert_eq!(
            all,
            [
                "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|",
                "00000010  00 ff 21                                         |..!|",
            ]
        );
    }

    #[test]
    fn events_have_names() {
        assert_eq!(event_name(3), "NodeDataChanged");
        assert_eq!(event_name(9), "event 9");
    }
}
