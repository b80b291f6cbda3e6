//! `log`: what is in transaction logs, without a server.
//!
//! Answers to `org.apache.zookeeper.server.persistence.TxnLogToolkit` (once `LogFormatter`), but
//! for its repairs: nothing is changed here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use zk_core::id::{Epoch, Zxid};
use zk_core::wire::client::Acl;
use zk_core::wire::file::FileHeader;
use zk_core::wire::jute::{self, List, Reader};
use zk_core::wire::txn::{Record, SubTxn, Txn, TxnHeader};
use zk_core::wire::{Code, OpCode};
use zk_std::store::log_reader::{LogReader, Step};
use zk_std::store::{Damage, File};

use super::offline::{
    Filter, Lines, RECORD_MAX, acl_json, acl_text, cannot_read, damaged, data_text, each, escaped,
    name_json, time,
};
use crate::failure::Failure;
use crate::output::{Output, data_json};

const AFTER_HELP: &str = "\
No server is asked, and nothing is written to the files; they may be in use. A log that ends inside
a record, or with something that is none, is reported with the offset, and the exit code is 6 once
all files are read. Times are in UTC.

Examples:
  zk log stat version-2/log.*
  zk log ls -s /app/ --from 0x100000000 version-2/log.100000001
  zk -o json log dump version-2/log.1 | jq 'select(.type == \"delete\")'";

const FILTER_HELP: &str = "\
With --prefix, a multi is printed if one of its operations fits, and the end of a session if one of
the ephemeral nodes that it deletes does. Starts of sessions and errors have no path.";

/// Look into transaction logs
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Log {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Count the transactions, and say where and how the logs end
    Stat {
        /// The logs
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List transactions: zxid, time, session, cxid, kind, size, and what it is about
    #[command(after_help = FILTER_HELP)]
    Ls {
        #[command(flatten)]
        filter: Filter,
        /// The logs
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print transactions with all that is in them
    #[command(after_help = FILTER_HELP)]
    Dump {
        #[command(flatten)]
        filter: Filter,
        /// The logs
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

impl Log {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Failure> {
        let json = output.is_json();
        match &self.what {
            What::Stat { files } => each(files, |file, lines| stat(file, lines, json)),
            What::Ls { filter, files } => {
                filter.check()?;
                each(files, |file, lines| list(file, filter, lines, json, ls))
            }
            What::Dump { filter, files } => {
                filter.check()?;
                each(files, |file, lines| list(file, filter, lines, json, dump))
            }
        }
    }
}

/// A record of a log.
struct Entry<'a> {
    file: &'a Path,
    /// Where it begins, bytes.
    offset: u64,
    /// The transaction's bytes.
    bytes: &'a [u8],
    header: TxnHeader,
    /// The whole transaction, if it is one that is known.
    txn: Result<Txn<'a>, jute::Error>,
}

impl<'a> Entry<'a> {
    fn read(file: &'a Path, offset: u64, bytes: &'a [u8]) -> Result<Self, jute::Error> {
        let txn = Txn::decode(bytes);
        let header = match txn {
            Ok(txn) => txn.header,
            Err(_) => jute::decode(bytes)?,
        };
        Ok(Self { file, offset, bytes, header, txn })
    }

    fn is_wanted(&self, filter: &Filter) -> bool {
        filter.zxid(self.header.zxid)
            && match &self.txn {
                Ok(Txn { record: Record::Multi(multi), .. }) => {
                    filter.any_path([])
                        || multi.txns.iter().any(|sub| {
                            sub_record(&sub).is_some_and(|sub| filter.any_path([sub.path()]))
                        })
                }
                Ok(Txn { record: Record::CloseSession(Some(close)), .. }) => {
                    filter.any_path(close.paths.iter().map(|path| path.0.unwrap_or_default()))
                }
                Ok(txn) => filter.any_path([txn.record.path()]),
                Err(_) => filter.any_path([]),
            }
    }
}

/// The record of an operation in a multi, if it is one that is known.
fn sub_record<'a>(sub: &SubTxn<'a>) -> Option<Record<'a>> {
    Record::read(sub.op, &mut Reader::new(sub.data.0?)).ok().flatten()
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// With its last record.
    Whole,
    /// With zeros behind it, into which a server would write.
    ZeroFilled,
    /// In the middle of a record, as after a crash.
    Torn,
    /// With something that is no record.
    Damaged,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::ZeroFilled => "zero-filled",
            Self::Torn => "torn",
            Self::Damaged => "damaged",
        }
    }
}

/// The end of a log.
struct Tail {
    /// Behind the last record, bytes.
    offset: u64,
    /// Behind the last byte that is not zero.
    extent: u64,
    /// The file's length.
    len: u64,
    state: State,
    damage: Option<Damage>,
}

impl Tail {
    fn read(
        file: &fs::File,
        reader: &LogReader<fs::File>,
        (offset, damage): (u64, Option<Damage>),
    ) -> Result<Self, zk_std::store::Error> {
        let extent = reader.extent(offset)?;
        let len = reader.len()?;
        // Zeros where a length should be, and something behind them.
        let damage = damage.or_else(|| (extent > offset).then_some(Damage::Residue));
        let state = match damage {
            None if len > offset => State::ZeroFilled,
            None => State::Whole,
            Some(Damage::Short) => State::Torn,
            // All that was written of the record is whatever comes before the zeros.
            Some(damage) if extent < record_end(file, offset, damage) => State::Torn,
            Some(_) => State::Damaged,
        };
        Ok(Self { offset, extent, len, state, damage })
    }

    fn failure(&self, file: &Path) -> Result<(), Failure> {
        let Some(damage) = self.damage else { return Ok(()) };
        match self.state {
            State::Torn => Err(Failure::Io(format!(
                "{} is torn at offset {} ({damage}), as a crash leaves it: a server that starts \
                 cuts it there if this is its newest log",
                file.display(),
                self.offset
            ))),
            _ => Err(damaged(
                file,
                self.offset,
                &format!("{damage}; what lies behind it, up to {}, is not read", self.extent),
            )),
        }
    }
}

/// Where the record at `offset` ends, as far as its length can be known.
fn record_end(file: &fs::File, offset: u64, damage: Damage) -> u64 {
    /// Checksum and length.
    const HEAD: u64 = 12;
    let mut len = [0; 4];
    match damage {
        Damage::Header => FileHeader::LEN as u64,
        Damage::Checksum | Damage::NoMarker | Damage::Entry(_)
            if matches!(file.read_at(&mut len, offset + HEAD - 4), Ok(4)) =>
        {
            let len = u64::from(u32::from_be_bytes(len));
            offset + HEAD + len + 1
        }
        _ => offset + HEAD,
    }
}

/// Shows every transaction of a log to `visit`, and returns the header and how it ends.
fn walk(
    path: &Path,
    visit: &mut dyn FnMut(&Entry<'_>) -> Result<(), Failure>,
) -> Result<(Option<FileHeader>, Tail), Failure> {
    let wrong = |error| cannot_read(path, &error);
    let file = fs::File::open(path).map_err(wrong)?;
    if !file.metadata().map_err(wrong)?.is_file() {
        return Err(Failure::Io(format!("{} is not a file", path.display())));
    }
    let stored = |error: zk_std::store::Error| Failure::Io(error.to_string());
    let mut header = [0; FileHeader::LEN];
    let got = file.read_at(&mut header, 0).map_err(wrong)?;
    let header = jute::decode(&header[..got]).ok();
    let mut reader = LogReader::new(file.try_clone().map_err(wrong)?, path.into(), RECORD_MAX);
    loop {
        match reader.step().map_err(stored)? {
            Step::Record { offset, .. } => {
                let entry = Entry::read(path, offset, reader.entry())
                    .map_err(|error| damaged(path, offset, &error.to_string()))?;
                visit(&entry)?;
            }
            Step::End { offset, damage } => {
                let tail = Tail::read(&file, &reader, (offset, damage)).map_err(stored)?;
                return Ok((header, tail));
            }
        }
    }
}

/// Transactions of a kind that is not known, or with bytes that are none of it.
#[derive(Default)]
struct Strange {
    count: u64,
    first: Option<(u64, Zxid, jute::Error)>,
}

impl Strange {
    fn look(&mut self, entry: &Entry<'_>) {
        if let Err(error) = entry.txn {
            self.count += 1;
            self.first.get_or_insert((entry.offset, entry.header.zxid, error));
        }
    }

    fn failure(&self, file: &Path) -> Result<(), Failure> {
        let Some((offset, zxid, error)) = self.first else { return Ok(()) };
        let what = match error {
            jute::Error::Unsupported => "its type is not known".to_owned(),
            error => error.to_string(),
        };
        Err(Failure::Io(format!(
            "{}: {} transactions have a right checksum and cannot be understood; the first is {zxid} \
             at offset {offset}: {what}",
            file.display(),
            self.count
        )))
    }
}

/// Prints the transactions that are wanted.
fn list(
    file: &Path,
    filter: &Filter,
    lines: &mut Lines,
    json: bool,
    print: fn(&Entry<'_>, &mut Lines, bool) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut strange = Strange::default();
    let (_, tail) = walk(file, &mut |entry| {
        strange.look(entry);
        if entry.is_wanted(filter) { print(entry, lines, json) } else { Ok(()) }
    })?;
    tail.failure(file)?;
    strange.failure(file)
}

/// The name of a transaction's type, as Apache spells it.
fn kind(op: OpCode) -> String {
    match op {
        OpCode::CreateTtl => "createTTL".to_owned(),
        OpCode::SetAcl => "setACL".to_owned(),
        op => match op.name() {
            Some(name) => name[..1].to_lowercase() + &name[1..],
            None => format!("type {}", op.0),
        },
    }
}

fn code_name(code: Code) -> String {
    code.name().map_or_else(|| format!("code {}", code.0), str::to_owned)
}

/// The most epochs that are listed.
const EPOCHS_MAX: usize = 64;
/// The most kinds of transactions that are counted apart; there are 15.
const KINDS_MAX: usize = 64;

/// What `stat` counts.
#[derive(Default)]
struct Counts {
    txns: u64,
    kinds: BTreeMap<String, u64>,
    /// The first and the last.
    zxids: Option<(Zxid, Zxid)>,
    times: Option<(i64, i64)>,
    epochs: Vec<Epoch>,
    more_epochs: bool,
    /// Transactions whose zxid is not above the one before.
    out_of_order: u64,
}

impl Counts {
    fn add(&mut self, TxnHeader { zxid, time, op, .. }: TxnHeader) {
        self.txns += 1;
        let name = kind(op);
        if self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&name) {
            *self.kinds.entry(name).or_default() += 1;
        } else {
            *self.kinds.entry("other".to_owned()).or_default() += 1;
        }
        let (first, last) = self.zxids.unwrap_or((zxid, zxid));
        if self.txns > 1 && zxid <= last {
            self.out_of_order += 1;
        }
        self.zxids = Some((first, zxid));
        self.times = Some((self.times.map_or(time, |(first, _)| first), time));
        if !self.epochs.contains(&zxid.epoch()) {
            if self.epochs.len() < EPOCHS_MAX {
                self.epochs.push(zxid.epoch());
            } else {
                self.more_epochs = true;
            }
        }
    }
}

fn stat(file: &Path, lines: &mut Lines, json: bool) -> Result<(), Failure> {
    let mut counts = Counts::default();
    let mut strange = Strange::default();
    let (header, tail) = walk(file, &mut |entry| {
        strange.look(entry);
        counts.add(entry.header);
        Ok(())
    })?;
    let is_log = header.filter(|header| header.magic == FileHeader::LOG.magic);
    let (first, last) = counts.zxids.unzip();
    let (began, ended) = counts.times.unzip();
    let padding = tail.len - tail.extent;
    if json {
        lines.json(&json!({
            "file": file.to_string_lossy(),
            "format": is_log.map(|_| "log"),
            "version": is_log.map(|header| header.version),
            "dbid": is_log.map(|header| header.dbid),
            "bytes": tail.len,
            "records": tail.offset,
            "padding": padding,
            "firstZxid": first.map(|zxid| zxid.to_string()),
            "lastZxid": last.map(|zxid| zxid.to_string()),
            "firstTime": began.map(time),
            "lastTime": ended.map(time),
            "epochs": counts.epochs.iter().map(|epoch| epoch.0).collect::<Vec<_>>(),
            "moreEpochs": counts.more_epochs,
            "outOfOrder": counts.out_of_order,
            "transactions": counts.txns,
            "kinds": counts.kinds,
            "end": tail.state.name(),
            "damage": tail.damage.map(|damage| damage.to_string()),
        }))?;
    } else {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        let mut epochs: Vec<_> = counts.epochs.iter().map(|epoch| epoch.0.to_string()).collect();
        if counts.more_epochs {
            epochs.push("...".to_owned());
        }
        let format = match is_log {
            Some(header) => {
                format!("ZooKeeper log, version {}, dbid {}", header.version, header.dbid)
            }
            None => "not a ZooKeeper log".to_owned(),
        };
        let end = match tail.damage {
            Some(damage) => format!("{} at {}: {damage}", tail.state.name(), tail.offset),
            None => tail.state.name().to_owned(),
        };
        for (what, value) in [
            ("file", file.display().to_string()),
            ("format", format),
            ("bytes", tail.len.to_string()),
            ("records to", tail.offset.to_string()),
            ("padding", format!("{padding} bytes")),
            ("first zxid", or_none(first.map(|zxid| zxid.to_string()))),
            ("last zxid", or_none(last.map(|zxid| zxid.to_string()))),
            ("first time", or_none(began.map(time))),
            ("last time", or_none(ended.map(time))),
            ("epochs", epochs.join(", ")),
            ("out of order", counts.out_of_order.to_string()),
            ("transactions", counts.txns.to_string()),
        ] {
            lines.text(format!("{what:<12} {value}").trim_end())?;
        }
        for (kind, count) in &counts.kinds {
            lines.text(&format!("  {kind:<16} {count}"))?;
        }
        lines.text(&format!("{:<12} {end}", "end"))?;
    }
    tail.failure(file)?;
    strange.failure(file)
}

fn ls(entry: &Entry<'_>, lines: &mut Lines, json: bool) -> Result<(), Failure> {
    let TxnHeader { client_id, cxid, zxid, time: ms, op } = entry.header;
    let size = entry.bytes.len();
    if json {
        let path = entry.txn.as_ref().ok().and_then(|txn| path_of(&txn.record));
        return lines.json(&json!({
            "zxid": zxid.to_string(),
            "time": time(ms),
            "session": client_id.to_string(),
            "cxid": cxid.0,
            "type": kind(op),
            "path": path.map(name_json),
            "size": size,
        }));
    }
    let line = format!(
        "{:<12} {} {:<18} {:>6} {:<15} {size:>6} {}",
        zxid.to_string(),
        time(ms),
        client_id.to_string(),
        cxid.0,
        kind(op),
        entry.txn.as_ref().map_or_else(|_| "?".to_owned(), |txn| subject(&txn.record)),
    );
    lines.text(line.trim_end())
}

fn path_of<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    match record {
        Record::Create(_)
        | Record::CreateContainer(_)
        | Record::CreateTtl(_)
        | Record::Delete(_)
        | Record::SetData(_)
        | Record::SetAcl(_)
        | Record::Check(_) => Some(record.path()),
        _ => None,
    }
}

/// What a transaction is about, in a few words.
fn subject(record: &Record<'_>) -> String {
    match record {
        Record::Multi(multi) => {
            let parts: Vec<_> = multi
                .txns
                .iter()
                .map(|sub| match sub_record(&sub) {
                    Some(record) => format!("{} {}", kind(sub.op), subject(&record)),
                    None => format!("{} ?", kind(sub.op)),
                })
                .collect();
            parts.join("; ")
        }
        Record::Error(error) => code_name(error.err),
        Record::CreateSession(session) => format!("timeout={}ms", session.timeout),
        Record::CloseSession(Some(close)) => {
            close.paths.iter().map(|p| escaped(p.bytes())).collect::<Vec<_>>().join(" ")
        }
        Record::CloseSession(None) => String::new(),
        record => escaped(record.path()),
    }
}

/// A part of a transaction, by its name in JSON.
enum Field<'a> {
    Text(Value),
    Data(Option<&'a [u8]>),
    Acl(List<'a, Acl<'a>>),
    Ops(List<'a, SubTxn<'a>>),
}

/// The parts of a record, in order.
fn fields<'a>(record: &Record<'a>) -> Vec<(&'static str, Field<'a>)> {
    use Field::{Acl, Data, Ops, Text};

    let mut fields = Vec::new();
    if let Some(path) = path_of(record) {
        fields.push(("path", Text(name_json(path))));
    }
    match record {
        Record::Create(txn) => fields.extend([
            ("data", Data(txn.data.0)),
            ("acl", Acl(txn.acl)),
            ("ephemeral", Text(txn.ephemeral.into())),
            ("parentCversion", Text(txn.parent_cversion.0.into())),
        ]),
        Record::CreateContainer(txn) => fields.extend([
            ("data", Data(txn.data.0)),
            ("acl", Acl(txn.acl)),
            ("parentCversion", Text(txn.parent_cversion.into())),
        ]),
        Record::CreateTtl(txn) => fields.extend([
            ("data", Data(txn.data.0)),
            ("acl", Acl(txn.acl)),
            ("parentCversion", Text(txn.parent_cversion.into())),
            ("ttl", Text(txn.ttl.into())),
        ]),
        Record::Delete(_) => {}
        Record::SetData(txn) => {
            fields.extend([("data", Data(txn.data.0)), ("version", Text(txn.version.into()))]);
        }
        Record::SetAcl(txn) => {
            fields.extend([("acl", Acl(txn.acl)), ("version", Text(txn.version.into()))]);
        }
        Record::Check(txn) => fields.push(("version", Text(txn.version.into()))),
        Record::Multi(txn) => fields.push(("operations", Ops(txn.txns))),
        Record::Error(txn) => fields
            .extend([("err", Text(txn.err.0.into())), ("code", Text(code_name(txn.err).into()))]),
        Record::CreateSession(txn) => fields.push(("timeout", Text(txn.timeout.into()))),
        Record::CloseSession(txn) => {
            let paths = txn.as_ref().map(|txn| -> Value {
                txn.paths.iter().map(|path| name_json(path.bytes())).collect()
            });
            fields.push(("paths", Text(paths.into())));
        }
    }
    fields
}

fn fields_json(object: &mut Map<String, Value>, record: &Record<'_>) {
    for (name, field) in fields(record) {
        let value = match field {
            Field::Text(value) => value,
            Field::Data(data) => {
                data_json(object, data);
                continue;
            }
            Field::Acl(acl) => acl_json(acl.iter()),
            Field::Ops(ops) => ops.iter().map(|sub| sub_json(&sub)).collect(),
        };
        object.insert(name.to_owned(), value);
    }
}

fn sub_json(sub: &SubTxn<'_>) -> Value {
    let mut object = Map::new();
    object.insert("type".to_owned(), kind(sub.op).into());
    match sub_record(sub) {
        Some(record) => fields_json(&mut object, &record),
        // What cannot be understood is shown as it is.
        None => data_json(&mut object, sub.data.0),
    }
    object.into()
}

fn fields_text(record: &Record<'_>, indent: &str, lines: &mut Lines) -> Result<(), Failure> {
    for (name, field) in fields(record) {
        let value = match field {
            Field::Text(Value::String(text)) => escaped(text.as_bytes()),
            Field::Text(value) => value.to_string(),
            Field::Data(data) => data_text(data),
            Field::Acl(acl) => acl_text(acl),
            Field::Ops(ops) => {
                for sub in ops.iter() {
                    lines.text(&format!("{indent}{}", kind(sub.op)))?;
                    let indent = format!("{indent}  ");
                    match sub_record(&sub) {
                        Some(record) => fields_text(&record, &indent, lines)?,
                        None => lines.text(&format!("{indent}{}", data_text(sub.data.0)))?,
                    }
                }
                continue;
            }
        };
        lines.text(&format!("{indent}{name} = {value}"))?;
    }
    Ok(())
}

fn dump(entry: &Entry<'_>, lines: &mut Lines, json: bool) -> Result<(), Failure> {
    let TxnHeader { client_id, cxid, zxid, time: ms, op } = entry.header;
    let (offset, size) = (entry.offset, entry.bytes.len());
    let digest = entry.txn.as_ref().ok().and_then(|txn| txn.digest);
    if json {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("file", entry.file.to_string_lossy().into());
        put("offset", offset.into());
        put("size", size.into());
        put("zxid", zxid.to_string().into());
        put("time", time(ms).into());
        put("session", client_id.to_string().into());
        put("cxid", cxid.0.into());
        put("type", kind(op).into());
        put("digest", digest.map(|digest| format!("0x{:x}", digest.tree_digest)).into());
        put("digestVersion", digest.map(|digest| digest.version).into());
        match &entry.txn {
            Ok(txn) => fields_json(&mut object, &txn.record),
            Err(_) => data_json(&mut object, entry.bytes.get(HEADER..)),
        }
        return lines.json(&object.into());
    }
    lines.text(&format!(
        "{zxid} {} session {client_id} cxid {} {} ({size} bytes at {offset})",
        time(ms),
        cxid.0,
        kind(op),
    ))?;
    match &entry.txn {
        Ok(txn) => fields_text(&txn.record, "  ", lines)?,
        Err(_) => lines.text(&format!("  {}", data_text(entry.bytes.get(HEADER..))))?,
    }
    match digest {
        Some(digest) => lines.text(&format!("  digest = 0x{:x}", digest.tree_digest)),
        None => Ok(()),
    }
}

/// Bytes of a transaction before its record.
const HEADER: usize = 32;
