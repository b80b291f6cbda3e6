//! `snapshot`: what is in a snapshot, without a server.
//!
//! Nodes are shown as they are stored, while they are read: `cversion` counts the children ever
//! created (clients are told `2 * cversion - numChildren`).
//!
//! Answers to `org.apache.zookeeper.server.SnapshotFormatter`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use zk_core::id::{SessionId, Zxid};
use zk_core::tree::digest::{self, Crc};
use zk_core::tree::{Owner, path};
use zk_core::wire::client::{Acl, OPEN_ACL_UNSAFE};
use zk_core::wire::file::{SnapshotAcl, SnapshotNode, SnapshotSession, StatPersisted};
use zk_core::wire::jute::{self, List, Reader, Ustring};
use zk_core::wire::txn::TxnDigest;
use zk_std::store::{
    Candidate, Compression, File, OsDirectory, SnapshotEnd, SnapshotReader, Unreadable, name,
};

use super::offline::{
    Filter, Lines, RECORD_MAX, acl_json, acl_text, cannot_read, damaged, data_text, each, escaped,
    name_json, time,
};
use crate::failure::Failure;
use crate::output::{Output, data_json};

const AFTER_HELP: &str = "\
Files that end in .gz or .snappy are decompressed. No server is asked, and nothing is written to the
file. Damage is reported with its offset (in the decompressed bytes) and exit code 6; what comes
before it is printed all the same.

Examples:
  zk snapshot stat version-2/snapshot.13
  zk snapshot ls -s /app/ version-2/snapshot.13.gz
  zk -o json snapshot dump version-2/snapshot.13 | jq 'select(.kind == \"ephemeral\") | .path'";

const NODES_HELP: &str = "\
--from and --to ask for the zxid of the last change of a node's data (mZxid).";

/// Look into a snapshot file
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Count what is in it, and verify its checksum and its digest
    Stat {
        /// The snapshot
        file: PathBuf,
    },
    /// List its nodes: version, data length, owner, path
    #[command(after_help = NODES_HELP)]
    Ls {
        #[command(flatten)]
        filter: Filter,
        /// The snapshot
        file: PathBuf,
    },
    /// Print its sessions and nodes with all that is known about them
    #[command(after_help = NODES_HELP)]
    Dump {
        #[command(flatten)]
        filter: Filter,
        /// The snapshot
        file: PathBuf,
    },
}

impl Snapshot {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Failure> {
        let json = output.is_json();
        let one = core::slice::from_ref;
        match &self.what {
            What::Stat { file } => each(one(file), |file, lines| stat(file, lines, json)),
            What::Ls { filter, file } => {
                filter.check()?;
                each(one(file), |file, lines| ls(file, filter, lines, json))
            }
            What::Dump { filter, file } => {
                filter.check()?;
                each(one(file), |file, lines| dump(file, filter, lines, json))
            }
        }
    }
}

/// A record of a snapshot.
enum Item<'a> {
    Session(SnapshotSession),
    Acl(SnapshotAcl<'a>),
    /// The root's path is `/`.
    Node(&'a [u8], SnapshotNode<'a>),
}

/// Why reading ended early.
enum Trouble {
    /// The snapshot is damaged there, uncompressed.
    Damage { offset: u64, why: Unreadable },
    /// Nobody takes what is printed.
    Output(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Output(failure)
    }
}

impl Trouble {
    fn failure(self, file: &Path) -> Failure {
        match self {
            Self::Damage { why: Unreadable::Io(error), offset } => match error.kind() {
                // The decompressor's words.
                std::io::ErrorKind::InvalidData
                | std::io::ErrorKind::InvalidInput
                | std::io::ErrorKind::UnexpectedEof
                | std::io::ErrorKind::Other => damaged(file, offset, &error.to_string()),
                _ => cannot_read(file, &error),
            },
            Self::Damage { offset, why } => damaged(file, offset, &why.to_string()),
            Self::Output(failure) => failure,
        }
    }
}

/// A snapshot file.
struct Opened {
    compression: Compression,
    bytes: u64,
    /// From its name, if that has one.
    zxid: Option<Zxid>,
    reader: SnapshotReader<std::fs::File>,
}

fn open(file: &Path) -> Result<Opened, Failure> {
    let meta = std::fs::metadata(file).map_err(|e| cannot_read(file, &e))?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(name) = name.filter(|_| meta.is_file()) else {
        return Err(Failure::Io(format!("{} is not a file", file.display())));
    };
    let (compression, zxid) = (Compression::of(&name), name::zxid(&name, name::SNAPSHOT));
    let candidate = Candidate { zxid: zxid.unwrap_or(Zxid::ZERO), name, len: meta.len() };
    let directory = OsDirectory::new(file.parent().unwrap_or_else(|| Path::new("")));
    let reader =
        SnapshotReader::open(&directory, &candidate, RECORD_MAX).map_err(|why| match why {
            Unreadable::Header => damaged(
                file,
                0,
                "it does not begin as a snapshot does; compressed ones need their .gz or .snappy",
            ),
            why => Trouble::Damage { offset: 0, why }.failure(file),
        })?;
    Ok(Opened { compression, bytes: meta.len(), zxid, reader })
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    SessionCount,
    Sessions(i32),
    AclCount,
    Acls(i32),
    Nodes,
    Done,
}

impl Part {
    /// Reads a record from the front of `reader`, and says what comes behind it.
    fn read<'a>(self, reader: &mut Reader<'a>) -> Result<(Self, Option<Item<'a>>), jute::Error> {
        let count = |reader: &mut Reader<'a>| match reader.i32()? {
            n if n < 0 => Err(jute::Error::Length),
            n => Ok(n),
        };
        Ok(match self {
            Self::SessionCount => (Self::Sessions(count(reader)?), None),
            Self::Sessions(0) => (Self::AclCount, None),
            Self::Sessions(left) => (Self::Sessions(left - 1), Some(Item::Session(reader.read()?))),
            Self::AclCount => (Self::Acls(count(reader)?), None),
            Self::Acls(0) => (Self::Nodes, None),
            Self::Acls(left) => (Self::Acls(left - 1), Some(Item::Acl(reader.read()?))),
            Self::Nodes => {
                let path: Ustring<'a> = reader.read()?;
                match path.bytes() {
                    b"/" => (Self::Done, None),
                    b"" => (Self::Nodes, Some(Item::Node(b"/", reader.read()?))),
                    path => (Self::Nodes, Some(Item::Node(path, reader.read()?))),
                }
            }
            Self::Done => (Self::Done, None),
        })
    }
}

/// Shows every record to `visit`, then verifies the checksums.
fn walk<F: File>(
    mut reader: SnapshotReader<F>,
    visit: &mut dyn FnMut(Item<'_>) -> Result<(), Failure>,
) -> Result<SnapshotEnd, Trouble> {
    let mut part = Part::SessionCount;
    let mut left = 0;
    while part != Part::Done {
        let base = reader.offset();
        let shown = show(&mut reader, left).map_err(|why| Trouble::Damage { offset: base, why })?;
        let len = shown.len();
        let mut at = Reader::new(shown);
        while part != Part::Done {
            let mut ahead = at.clone();
            match part.read(&mut ahead) {
                Ok((next, item)) => {
                    part = next;
                    at = ahead;
                    if let Some(item) = item {
                        visit(item)?;
                    }
                }
                Err(jute::Error::Truncated) => break,
                Err(error) => {
                    let offset = base + (len - at.rest().len()) as u64;
                    let why = Unreadable::Body(format!("a malformed record: {error}"));
                    return Err(Trouble::Damage { offset, why });
                }
            }
        }
        left = at.rest().len();
        reader.consume(len - left);
    }
    let offset = reader.offset();
    reader.finish().map_err(|why| Trouble::Damage { offset, why })
}

/// Shows more than the `left` bytes that were not enough: half as much again, so that a large
/// record is looked at a few times only, or as much as there is.
fn show<F: File>(reader: &mut SnapshotReader<F>, left: usize) -> Result<&[u8], Unreadable> {
    let least = left + 1;
    let need = match reader.show((least + left / 2).min(RECORD_MAX.max(least))) {
        Err(Unreadable::Ended) => least,
        Err(error) => return Err(error),
        Ok(shown) => shown.len(),
    };
    // What is at hand already is shown again without reading.
    reader.show(need.min(RECORD_MAX.max(least)))
}

/// The sessions that look like owners with a time to live: those of server 255.
#[derive(Default)]
struct Owners {
    sessions: HashSet<SessionId>,
}

/// The most sessions of server 255 that are remembered. It is an id that servers with TTL nodes
/// cannot have, so that there are none or few.
const SESSIONS_MAX: usize = 1 << 20;

impl Owners {
    fn session(&mut self, id: SessionId) {
        if self.sessions.len() < SESSIONS_MAX
            && !matches!(Owner::read(id.0, true), Some(Owner::Session(_)))
        {
            self.sessions.insert(id);
        }
    }

    /// What a stored owner says. Whether extended types were enabled is not stored: what can be a
    /// time to live is one, unless there is such a session.
    fn read(&self, raw: i64) -> Owner {
        let session = Owner::Session(SessionId(raw));
        if self.sessions.contains(&SessionId(raw)) {
            return session;
        }
        Owner::read(raw, true).unwrap_or(session)
    }
}

fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::Plain => "none",
        Compression::Gzip => "gz",
        Compression::Snappy => "snappy",
    }
}

/// What `stat` counts.
#[derive(Default)]
struct Counts {
    sessions: u64,
    acls: u64,
    nodes: u64,
    ephemerals: u64,
    containers: u64,
    ttls: u64,
    data: u64,
    last_change: Zxid,
    /// The sum over the nodes.
    digest: u64,
    owners: Owners,
}

impl Counts {
    fn add(&mut self, item: &Item<'_>) {
        match item {
            Item::Session(session) => {
                self.sessions += 1;
                self.owners.session(session.id);
            }
            Item::Acl(_) => self.acls += 1,
            Item::Node(path, node) => {
                self.nodes += 1;
                match self.owners.read(node.stat.ephemeral_owner) {
                    Owner::Nobody => {}
                    Owner::Session(_) => self.ephemerals += 1,
                    Owner::Container => self.containers += 1,
                    Owner::Ttl(_) => self.ttls += 1,
                }
                self.data += node.data.bytes().len() as u64;
                self.last_change = self.last_change.max(node.stat.mzxid).max(node.stat.pzxid);
                if path::is_digested(path) {
                    let path = if *path == b"/" { b"" } else { *path };
                    let content = Crc::START.update(path).update(node.data.bytes());
                    let sum = digest::of_node(content, &node.stat);
                    self.digest = self.digest.wrapping_add(sum);
                }
            }
        }
    }
}

/// What comparing the nodes with the digest that the snapshot has says.
fn digest_state(end: &SnapshotEnd, sum: u64, zxid: Option<Zxid>) -> &'static str {
    match end.digest {
        None => "none",
        Some(digest) if digest.version != TxnDigest::VERSION => "unknown",
        Some(digest) if digest.tree_digest.cast_unsigned() == sum => "ok",
        // Written while transactions went on: the nodes are between two states.
        Some(digest) if zxid.is_none_or(|zxid| digest.zxid > zxid) => "later",
        Some(_) => "wrong",
    }
}

fn stat(file: &Path, lines: &mut Lines, json: bool) -> Result<(), Failure> {
    let Opened { compression, bytes, zxid, reader } = open(file)?;
    let mut counts = Counts::default();
    let walked = walk(reader, &mut |item| {
        counts.add(&item);
        Ok(())
    });
    let (checksum, end) = match &walked {
        Ok(end) => ("ok", Some(end)),
        Err(Trouble::Damage { why: Unreadable::Checksum, .. }) => ("wrong", None),
        Err(_) => ("not reached", None),
    };
    let state = end.map_or("not reached", |end| digest_state(end, counts.digest, zxid));
    let digest = end.and_then(|end| end.digest);
    let last_zxid = end.and_then(|end| end.last_zxid);
    if json {
        lines.json(&json!({
            "file": file.to_string_lossy(),
            "format": "snapshot",
            "compression": compression_name(compression),
            "bytes": bytes,
            "zxid": zxid.map(|zxid| zxid.to_string()),
            "lastChange": counts.last_change.to_string(),
            "lastZxid": last_zxid.map(|zxid| zxid.to_string()),
            "sessions": counts.sessions,
            "acls": counts.acls,
            "nodes": counts.nodes,
            "ephemerals": counts.ephemerals,
            "containers": counts.containers,
            "ttls": counts.ttls,
            "dataBytes": counts.data,
            "digest": state,
            "digestZxid": digest.map(|digest| digest.zxid.to_string()),
            "checksum": checksum,
        }))?;
    } else {
        let digest = match (state, digest) {
            ("later", Some(digest)) => format!(
                "of {}, after transactions that were made while this was written: needs the log",
                digest.zxid
            ),
            ("unknown", Some(digest)) => format!("of a version not known ({})", digest.version),
            (state, Some(digest)) => format!("{state} (of {})", digest.zxid),
            (state, None) => state.to_owned(),
        };
        let named = |zxid: Option<Zxid>| {
            zxid.map_or_else(|| "not in its name".to_owned(), |z| z.to_string())
        };
        for (what, value) in [
            ("file", file.display().to_string()),
            ("format", "ZooKeeper snapshot".to_owned()),
            ("compression", compression_name(compression).to_owned()),
            ("bytes", bytes.to_string()),
            ("zxid", named(zxid)),
            ("last change", counts.last_change.to_string()),
            ("last zxid", last_zxid.map_or_else(|| "not said".to_owned(), |zxid| zxid.to_string())),
            ("sessions", counts.sessions.to_string()),
            ("ACLs", counts.acls.to_string()),
            ("nodes", counts.nodes.to_string()),
            ("ephemerals", counts.ephemerals.to_string()),
            ("containers", counts.containers.to_string()),
            ("TTL nodes", counts.ttls.to_string()),
            ("data", format!("{} bytes", counts.data)),
            ("digest", digest),
            ("checksum", checksum.to_owned()),
        ] {
            lines.text(&format!("{what:<12} {value}"))?;
        }
    }
    walked.map_err(|trouble| trouble.failure(file))?;
    if state == "wrong" {
        return Err(Failure::Io(format!(
            "{}: the checksum is right, but the nodes do not have the digest that was written \
             with them: the tree was wrong in the server's memory already, or a transaction was \
             just being applied. Compare it with a snapshot of another server",
            file.display()
        )));
    }
    Ok(())
}

fn wanted(filter: &Filter, path: &[u8], stat: &StatPersisted) -> bool {
    filter.zxid(stat.mzxid) && filter.any_path([path])
}

fn ls(file: &Path, filter: &Filter, lines: &mut Lines, json: bool) -> Result<(), Failure> {
    let mut owners = Owners::default();
    let walked = walk(open(file)?.reader, &mut |item| match item {
        Item::Session(session) => {
            owners.session(session.id);
            Ok(())
        }
        Item::Node(path, node) if wanted(filter, path, &node.stat) => {
            let len = node.data.bytes().len();
            let StatPersisted { version, ephemeral_owner, .. } = node.stat;
            if json {
                return lines.json(&json!({
                    "path": name_json(path),
                    "dataLength": len,
                    "ephemeralOwner": format!("0x{ephemeral_owner:x}"),
                    "version": version,
                }));
            }
            let owner = match owners.read(ephemeral_owner) {
                Owner::Nobody => "-".to_owned(),
                Owner::Session(id) => id.to_string(),
                Owner::Container => "container".to_owned(),
                Owner::Ttl(ms) => format!("ttl={ms}ms"),
            };
            lines.text(&format!("{version:>6} {len:>8} {owner:<18} {}", escaped(path)))
        }
        Item::Node(..) | Item::Acl(_) => Ok(()),
    });
    walked.map(drop).map_err(|trouble| trouble.failure(file))
}

/// The access control lists of a snapshot, by their number.
#[derive(Default)]
struct Acls {
    lists: HashMap<i64, (i32, Vec<u8>)>,
    bytes: usize,
}

/// The most bytes of access control lists that are kept. Servers keep each list once.
const ACL_BYTES_MAX: usize = 256 << 20;

/// The number of the list that nodes have which were created without one.
const OPEN: i64 = -1;

impl Acls {
    fn add(&mut self, acl: &SnapshotAcl<'_>) -> Result<(), Failure> {
        self.bytes += acl.acl.raw().len();
        if self.bytes > ACL_BYTES_MAX {
            return Err(Failure::Io(format!(
                "the ACLs of the snapshot have more than {ACL_BYTES_MAX} bytes; `ls` does without"
            )));
        }
        let count = i32::try_from(acl.acl.len()).unwrap_or(i32::MAX);
        self.lists.insert(acl.id, (count, acl.acl.raw().to_vec()));
        Ok(())
    }

    /// The list of that number; none where a fuzzy snapshot has left it out.
    fn get<R>(&self, id: i64, show: impl FnOnce(List<'_, Acl<'_>>) -> R) -> Option<R> {
        if id == OPEN {
            let mut room = [0; 64];
            return List::encode(&[OPEN_ACL_UNSAFE], &mut room).ok().map(show);
        }
        self.lists.get(&id).map(|(count, raw)| show(List::from_raw(*count, raw)))
    }
}

fn dump(file: &Path, filter: &Filter, lines: &mut Lines, json: bool) -> Result<(), Failure> {
    let mut acls = Acls::default();
    let mut owners = Owners::default();
    let walked = walk(open(file)?.reader, &mut |item| match item {
        Item::Session(SnapshotSession { id, timeout }) => {
            owners.session(id);
            if !filter.is_open() {
                return Ok(());
            }
            if json {
                let id = id.to_string();
                lines.json(&json!({ "type": "session", "session": id, "timeout": timeout }))
            } else {
                lines.text(&format!("session {id}, timeout {timeout} ms"))
            }
        }
        Item::Acl(acl) => acls.add(&acl),
        Item::Node(path, node) if wanted(filter, path, &node.stat) => {
            let owner = owners.read(node.stat.ephemeral_owner);
            if json {
                lines.json(&node_json(path, &node, owner, &acls))
            } else {
                node_text(path, &node, owner, &acls, lines)
            }
        }
        Item::Node(..) => Ok(()),
    });
    let end = walked.map_err(|trouble| trouble.failure(file))?;
    if !filter.is_open() {
        return Ok(());
    }
    let digest = end.digest.map(|d| (d.zxid, format!("0x{:x}", d.tree_digest)));
    if json {
        lines.json(&json!({
            "type": "end",
            "digest": digest.as_ref().map(|(_, digest)| digest),
            "digestZxid": digest.as_ref().map(|(zxid, _)| zxid.to_string()),
            "lastZxid": end.last_zxid.map(|zxid| zxid.to_string()),
        }))
    } else {
        match digest {
            Some((zxid, digest)) => lines.text(&format!("digest of {zxid}: {digest}"))?,
            None => lines.text("no digest")?,
        }
        end.last_zxid.map_or(Ok(()), |zxid| lines.text(&format!("last zxid: {zxid}")))
    }
}

fn node_json(path: &[u8], node: &SnapshotNode<'_>, owner: Owner, acls: &Acls) -> Value {
    let stat = &node.stat;
    let mut object = Map::new();
    object.insert("type".into(), "node".into());
    object.insert("path".into(), name_json(path));
    data_json(&mut object, node.data.0);
    object.insert("acl".into(), acls.get(node.acl, |acl| acl_json(acl.iter())).into());
    object.insert("kind".into(), kind(owner).into());
    object.insert("ttl".into(), if let Owner::Ttl(ms) = owner { ms.into() } else { Value::Null });
    object.insert(
        "stat".into(),
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
            "dataLength": node.data.bytes().len(),
        }),
    );
    object.into()
}

fn kind(owner: Owner) -> &'static str {
    match owner {
        Owner::Nobody => "persistent",
        Owner::Session(_) => "ephemeral",
        Owner::Container => "container",
        Owner::Ttl(_) => "ttl",
    }
}

fn node_text(
    path: &[u8],
    node: &SnapshotNode<'_>,
    owner: Owner,
    acls: &Acls,
    lines: &mut Lines,
) -> Result<(), Failure> {
    let stat = &node.stat;
    let kind = match owner {
        Owner::Ttl(ms) => format!("ttl, {ms} ms"),
        owner => kind(owner).to_owned(),
    };
    lines.text(&escaped(path))?;
    for (name, value) in [
        ("cZxid", stat.czxid.to_string()),
        ("ctime", time(stat.ctime)),
        ("mZxid", stat.mzxid.to_string()),
        ("mtime", time(stat.mtime)),
        ("pZxid", stat.pzxid.to_string()),
        ("cversion", stat.cversion.to_string()),
        ("dataVersion", stat.version.to_string()),
        ("aclVersion", stat.aversion.to_string()),
        ("ephemeralOwner", format!("0x{:x}", stat.ephemeral_owner)),
        ("kind", kind),
        ("acl", acls.get(node.acl, acl_text).unwrap_or_else(|| "missing".to_owned())),
        ("dataLength", node.data.bytes().len().to_string()),
        ("data", data_text(node.data.0)),
    ] {
        lines.text(&format!("  {name} = {value}"))?;
    }
    Ok(())
}
