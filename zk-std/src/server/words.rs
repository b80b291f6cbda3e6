//! Four-letter words: four bytes instead of a frame, answered with text.
//!
//! The answers have the form of Apache 3.8.0's, byte for byte where the facts are the same. Source:
//! Apache's `server.command`, and the answers of a running 3.8.0.
//!
//! # Differences from Apache 3.8.0
//! - `envi` has no `java.*` lines; `mntr` has the lines that zk has numbers for, and in an ensemble
//!   some of zk's own: `strangers_rejected`, `current_epoch`, `last_processed_zxid`, `tree_digest`.
//! - The least latency in `cons` is the least; Apache shows 0 until `crst`.
//! - Dates in `dump` are in UTC.
//! - An answer ends at [`ANSWER_MAX`] with a line that says so.

use core::fmt::{self, Write};
use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::path::Path;

use zk_core::peer::{Count, Counters, DigestEntry, Link, Peer, Sizes, Summary};
use zk_core::quorum::Port;
use zk_core::time::{Instant, Now};
use zk_core::wire::OpCode;

use super::clock::date;
use super::link::Socket;
use super::listener::Listener;
use super::members::Members;
use super::metrics::Metrics;
use super::standing::{Role, Standing};
use crate::config::Config;

/// Bytes of the longest answer.
pub const ANSWER_MAX: usize = 4 << 20;

/// What zk calls itself where clients read a version: the ZooKeeper that it is compatible with,
/// and its own.
pub const VERSION: &str =
    concat!("3.8.0-zk-", env!("CARGO_PKG_VERSION"), ", built on 2026-11-23 00:00 UTC");

/// Bytes of the longest path that is shown.
const PATH_MAX: usize = 1 << 20;

/// A four-letter word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word([u8; 4]);

/// Those that Apache knows. (`telnet close` is a negative length, and ends its connection anyway.)
const KNOWN: [&[u8; 4]; 18] = [
    b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"hash", b"isro", b"mntr",
    b"ruok", b"srst", b"srvr", b"stat", b"stmk", b"wchc", b"wchp", b"wchs",
];

impl Word {
    /// The word that a connection begins with, if it is one.
    pub(super) fn known(first: [u8; 4]) -> Option<Self> {
        KNOWN.contains(&&first).then_some(Self(first))
    }

    /// Bytes of the word and its argument.
    pub(super) fn len(self) -> usize {
        if &self.0 == b"stmk" { 12 } else { 4 }
    }

    fn text(self) -> &'static str {
        KNOWN
            .iter()
            .find(|known| **known == &self.0)
            .and_then(|known| core::str::from_utf8(*known).ok())
            .unwrap_or_default()
    }
}

/// Those that a server answers which serves nobody.
const UNSERVED: [&str; 5] = ["envi", "gtmk", "isro", "ruok", "stmk"];

/// What the words tell of.
pub(super) struct Asked<'a> {
    pub(super) peer: &'a mut Peer<'static>,
    pub(super) sockets: &'a [Option<Socket>],
    pub(super) listener: &'a Listener,
    /// Of an ensemble.
    pub(super) members: Option<&'a Members>,
    pub(super) metrics: &'a mut Metrics,
    /// Number of the link that asks.
    pub(super) asker: usize,
    pub(super) now: Now,
}

/// What answers words.
pub(super) struct Words {
    config: Config,
    address: SocketAddr,
    started: Instant,
    /// When it last began to lead.
    leading: Instant,
    in_memory: bool,
    /// Set by `stmk`, shown by `gtmk`; zk traces nothing.
    trace_mask: i64,
}

/// Text up to [`ANSWER_MAX`].
#[derive(Default)]
struct Text {
    out: String,
    full: bool,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.full || self.out.len() + s.len() > ANSWER_MAX {
            self.full = true;
            return Err(fmt::Error);
        }
        self.out.push_str(s);
        Ok(())
    }
}

impl Words {
    pub(super) fn new(config: Config, address: SocketAddr, now: Now, in_memory: bool) -> Self {
        let started = now.monotonic;
        Self { config, address, started, leading: started, in_memory, trace_mask: 306 }
    }

    /// The server leads from now on.
    pub(super) fn lead(&mut self, now: Now) {
        self.leading = now.monotonic;
    }

    /// The answer to a word.
    pub(super) fn answer(&mut self, word: Word, argument: &[u8], asked: Asked<'_>) -> Vec<u8> {
        let name = word.text();
        let mut text = Text::default();
        let written = if !self.config.four_letter_words.allows(name) {
            writeln!(text, "{name} is not executed because it is not in the whitelist.")
        } else if !asked.peer.is_serving() && !UNSERVED.contains(&name) {
            writeln!(text, "This ZooKeeper instance is not currently serving requests")
        } else {
            self.write(name, argument, asked, &mut text)
        };
        if written.is_err() {
            text.out.push_str("\n... the rest does not fit\n");
        }
        text.out.into_bytes()
    }

    fn write(
        &mut self,
        name: &str,
        argument: &[u8],
        asked: Asked<'_>,
        out: &mut Text,
    ) -> fmt::Result {
        match name {
            "conf" => self.conf(&asked, out),
            "cons" => {
                for (number, socket) in sockets(&asked) {
                    write!(out, " ")?;
                    connection(&asked, number, socket, false, out)?;
                    writeln!(out)?;
                }
                writeln!(out)
            }
            "dirs" => {
                writeln!(out, "datadir_size: {}", self.size_of(&self.config.data_dir))?;
                writeln!(out, "logdir_size: {}", self.size_of(&self.config.data_log_dir))
            }
            "dump" => self.dump(&asked, out),
            "envi" => envi(out),
            "gtmk" => write!(out, "{}", self.trace_mask),
            "stmk" => {
                if let Ok(mask) = argument.get(..8).unwrap_or_default().try_into() {
                    self.trace_mask = i64::from_be_bytes(mask);
                }
                write!(out, "{}", self.trace_mask)
            }
            "ruok" => write!(out, "imok"),
            "isro" if !asked.peer.is_serving() => write!(out, "null"),
            "isro" => write!(out, "{}", if asked.peer.is_read_only() { "ro" } else { "rw" }),
            "srvr" => {
                writeln!(out, "Zookeeper version: {VERSION}")?;
                server(&asked, out)
            }
            "stat" => {
                writeln!(out, "Zookeeper version: {VERSION}")?;
                writeln!(out, "Clients:")?;
                for (number, socket) in sockets(&asked) {
                    write!(out, " ")?;
                    connection(&asked, number, socket, true, out)?;
                    writeln!(out)?;
                }
                writeln!(out)?;
                server(&asked, out)
            }
            "hash" => {
                for DigestEntry { zxid, digest } in asked.peer.digests() {
                    writeln!(out, "{:x}: {digest}", zxid.0)?;
                }
                Ok(())
            }
            "srst" => {
                asked.peer.reset_stats();
                *asked.metrics = Metrics::default();
                writeln!(out, "Server stats reset.")
            }
            "crst" => {
                asked.peer.reset_counters();
                writeln!(out, "Connection stats reset.")
            }
            "wchs" => watch_summary(&asked, out),
            "wchc" => watches_by_session(&asked, out),
            "wchp" => watches_by_path(&asked, out),
            "mntr" => self.mntr(&asked, out),
            _ => writeln!(out, "{name} is not served by zk yet."),
        }
    }

    fn conf(&self, asked: &Asked<'_>, out: &mut Text) -> fmt::Result {
        let config = &self.config;
        let version_2 = |dir: &Path| dir.join(crate::store::VERSION_2);
        let backlog = config.client_port_listen_backlog.map_or(-1, i64::from);
        writeln!(out, "clientPort={}", self.address.port())?;
        writeln!(out, "secureClientPort=-1")?;
        writeln!(out, "dataDir={}", version_2(&config.data_dir).display())?;
        writeln!(out, "dataDirSize={}", self.size_of(&config.data_dir))?;
        writeln!(out, "dataLogDir={}", version_2(&config.data_log_dir).display())?;
        writeln!(out, "dataLogSize={}", self.size_of(&config.data_log_dir))?;
        writeln!(out, "tickTime={}", config.tick_time)?;
        writeln!(out, "maxClientCnxns={}", config.max_client_cnxns)?;
        writeln!(out, "minSessionTimeout={}", config.min_session_timeout)?;
        writeln!(out, "maxSessionTimeout={}", config.max_session_timeout)?;
        writeln!(out, "clientPortListenBacklog={backlog}")?;
        let me = asked.peer.options().server;
        writeln!(out, "serverId={}", if asked.members.is_some() { me.0 } else { 0 })?;
        if asked.members.is_none() {
            return Ok(());
        }
        let members = asked.peer.config();
        let port = |port| members.addresses(me, port).next().map_or(0, |(_, number)| number);
        writeln!(out, "initLimit={}", config.init_limit)?;
        writeln!(out, "syncLimit={}", config.sync_limit)?;
        writeln!(out, "electionAlg=3")?;
        writeln!(out, "electionPort={}", port(Port::Election))?;
        writeln!(out, "quorumPort={}", port(Port::Quorum))?;
        writeln!(out, "peerType={}", u8::from(!members.is_participant(me)))?;
        writeln!(out, "membership: ")?;
        write!(out, "{}", String::from_utf8_lossy(members.text()))
    }

    /// Bytes of the files of a data directory.
    fn size_of(&self, dir: &Path) -> u64 {
        if self.in_memory {
            return 0;
        }
        let Ok(entries) = std::fs::read_dir(dir.join(crate::store::VERSION_2)) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
    }

    fn dump(&self, asked: &Asked<'_>, out: &mut Text) -> fmt::Result {
        let peer = &*asked.peer;
        let wall = |at: Instant| {
            let ahead = i64::try_from(at.0).unwrap_or(i64::MAX);
            let now = i64::try_from(asked.now.monotonic.0).unwrap_or(i64::MAX);
            date(asked.now.wall.saturating_add(ahead).saturating_sub(now))
        };
        let mut sets: BTreeMap<Instant, Vec<String>> = BTreeMap::new();
        for session in peer.sessions().iter() {
            sets.entry(session.deadline()).or_default().push(session.id().to_string());
        }
        writeln!(out, "SessionTracker dump:")?;
        writeln!(out, "Session Sets ({})/({}):", sets.len(), peer.sessions().len())?;
        for (at, sessions) in &sets {
            writeln!(out, "{} expire at {}:", sessions.len(), wall(*at))?;
            for session in sessions {
                writeln!(out, "\t{session}")?;
            }
        }
        let tree = peer.tree();
        let owners = tree.owning_sessions();
        writeln!(out, "ephemeral nodes dump:")?;
        writeln!(out, "Sessions with Ephemerals ({}):", owners.count())?;
        let mut room = vec![0; PATH_MAX];
        for session in tree.owning_sessions() {
            writeln!(out, "{session}:")?;
            for node in tree.ephemerals(session) {
                let path = tree.path_of(node, &mut room).unwrap_or_default();
                writeln!(out, "\t{}", String::from_utf8_lossy(path))?;
            }
        }
        let patience = u64::try_from(self.config.sessionless_cnxn_timeout.as_millis());
        let patience = patience.unwrap_or(u64::MAX);
        let mut sets: BTreeMap<Instant, Vec<String>> = BTreeMap::new();
        for (_, socket) in sockets(asked) {
            let session = peer.session(socket.link).and_then(|id| peer.sessions().find(id));
            let (deadline, id) = match session.map(|at| peer.sessions().get(at)) {
                Some(session) => (session.deadline(), session.id()),
                None => (socket.opened.plus(patience), zk_core::id::SessionId::NONE),
            };
            let line = format!("ip: /{} sessionId: {id}", socket.stream.address);
            sets.entry(deadline).or_default().push(line);
        }
        let count: usize = sets.values().map(Vec::len).sum();
        writeln!(out, "Connections dump:")?;
        writeln!(out, "Connections Sets ({})/({count}):", sets.len())?;
        for (at, lines) in &sets {
            writeln!(out, "{} expire at {}:", lines.len(), wall(*at))?;
            for line in lines {
                writeln!(out, "\t{line}")?;
            }
        }
        Ok(())
    }

    fn mntr(&self, asked: &Asked<'_>, out: &mut Text) -> fmt::Result {
        let peer = &*asked.peer;
        let (stats, tree, metrics) = (peer.stats(), peer.tree(), &*asked.metrics);
        let latency = stats.latency();
        let [last_reply, min_reply, max_reply] = three(stats.replies);
        let mut line = |key: &str, value: &dyn fmt::Display| writeln!(out, "zk_{key}\t{value}");
        line("version", &VERSION)?;
        let Standing { role, epoch, .. } = Standing::of(peer);
        line("server_state", &role)?;
        if let Some(members) = asked.members {
            let phase = match role {
                Role::Leader => "leading - broadcast",
                Role::Follower => "following - broadcast",
                Role::Observer => "observing - broadcast",
                Role::Standalone | Role::Looking | Role::ReadOnly => "looking",
            };
            line("peer_state", &phase)?;
            line("quorum_size", &peer.config().voters().count())?;
            line("strangers_rejected", &members.strangers)?;
            line("current_epoch", &epoch.0)?;
            line("last_processed_zxid", &peer.tree().last_zxid())?;
            line("tree_digest", &peer.tree().digest())?;
        }
        if role == Role::Leader {
            let Count { learners, followers, non_voting, observers, syncs } = peer.learners();
            line("learners", &learners)?;
            line("synced_followers", &followers)?;
            line("synced_non_voting_followers", &non_voting)?;
            line("synced_observers", &observers)?;
            line("pending_syncs", &syncs)?;
            line("leader_uptime", &asked.now.monotonic.since(self.leading))?;
            let [last, min, max] = three(stats.proposals);
            line("last_proposal_size", &last)?;
            line("max_proposal_size", &max)?;
            line("min_proposal_size", &min)?;
        }
        line("ephemerals_count", &tree.ephemeral_count())?;
        line("num_alive_connections", &peer.link_count())?;
        line("avg_latency", &Average(latency.total, latency.count))?;
        line("outstanding_requests", &peer.outstanding())?;
        line("znode_count", &tree.node_count())?;
        let local = peer.sessions().local_count();
        line("global_sessions", &(peer.sessions().len() - local))?;
        line("last_client_response_size", &last_reply)?;
        line("packets_sent", &(stats.sent + metrics.words_answered))?;
        line("packets_received", &(stats.received + metrics.words_asked))?;
        line("max_client_response_size", &max_reply)?;
        line("connection_drop_probability", &"0.0")?;
        let (data, children) = peer.watches().counts();
        line("watch_count", &(data + children))?;
        line("auth_failed_count", &stats.auth_failed)?;
        line("min_latency", &latency.min)?;
        if let Some((open, most)) = descriptors() {
            line("max_file_descriptor_count", &most)?;
            line("open_file_descriptor_count", &open)?;
        }
        // Apache's map holds the root under two names.
        line("approximate_data_size", &(tree.data_size() + 1))?;
        line("local_sessions", &local)?;
        line("uptime", &asked.now.monotonic.since(self.started))?;
        line("max_latency", &latency.max)?;
        line("min_client_response_size", &min_reply)?;
        line("watch_bytes", &stats.event_bytes)?;
        line("connection_rejected", &asked.listener.rejected)?;
        line("sessionless_connections_expired", &metrics.sessionless_expired)?;
        line("connection_drop_count", &metrics.dropped)?;
        line("digest_mismatches_count", &stats.digest_mismatches)?;
        line("bytes_received_count", &metrics.bytes_received)?;
        line("connection_request_count", &stats.handshakes)?;
        line("response_bytes", &stats.reply_bytes)?;
        line("connection_revalidate_count", &stats.reconnects)?;
        line("stale_sessions_expired", &stats.expired)?;
        for (name, summary) in [
            ("startup_txns_load_time", metrics.txns_load),
            ("fsynctime", metrics.fsync),
            ("snapshottime", metrics.snapshots),
            ("startup_txns_loaded", metrics.txns_loaded),
            ("dbinittime", metrics.init),
            ("sync_processor_batch_size", metrics.batches),
            ("startup_snap_load_time", metrics.snapshot_load),
            ("updatelatency", stats.updates),
            ("readlatency", stats.reads),
        ] {
            let Summary { count, total, min, max } = summary;
            line(&format!("avg_{name}"), &Average(total, count))?;
            line(&format!("min_{name}"), &min)?;
            line(&format!("max_{name}"), &max)?;
            line(&format!("cnt_{name}"), &count)?;
            line(&format!("sum_{name}"), &total)?;
        }
        Ok(())
    }
}

/// The connections that are there, by number.
fn sockets<'a>(asked: &Asked<'a>) -> impl Iterator<Item = (usize, &'a Socket)> + use<'a> {
    let sockets = asked.sockets;
    sockets.iter().enumerate().filter_map(|(at, socket)| Some((at, socket.as_ref()?)))
}

/// A line of `cons` or, in brief, of `stat`.
///
/// Answers to `ServerCnxn.dumpConnectionInfo`.
fn connection(
    asked: &Asked<'_>,
    number: usize,
    socket: &Socket,
    brief: bool,
    out: &mut Text,
) -> fmt::Result {
    let link: Link = socket.link;
    let counters: Counters = asked.peer.counters(link);
    // Bits of what Java's selector waits for: 1 to read, 4 to write.
    let asks = number == asked.asker;
    let interest = if asks {
        0
    } else {
        u8::from(!socket.stream.blocked) + 4 * u8::from(!socket.stream.writable)
    };
    let received = counters.received + u64::from(asks || socket.reply.is_some());
    write!(
        out,
        "/{}[{interest:x}](queued={},recved={received},sent={}",
        socket.stream.address, counters.queued, counters.sent
    )?;
    if let (false, Some(session)) = (brief, asked.peer.session(link)) {
        let age = asked.now.monotonic.since(counters.since);
        let since = asked.now.wall.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
        let (operation, timeout) = (short(counters.last_op), asked.peer.timeout(link));
        write!(out, ",sid={session},lop={operation},est={since},to={timeout}")?;
        if counters.last_cxid.0 >= 0 {
            write!(out, ",lcxid=0x{:x}", counters.last_cxid.0)?;
        }
        let Summary { count, total, min, max } = counters.latency;
        let average = total.checked_div(count).unwrap_or(0);
        write!(
            out,
            ",lzxid=0x{:x},lresp={},llat={},minlat={min},avglat={average},maxlat={max}",
            counters.last_zxid.0, counters.last_response.0, counters.last_latency
        )?;
    }
    write!(out, ")")
}

/// What Apache calls an operation there.
///
/// Answers to `FinalRequestProcessor`.
fn short(op: OpCode) -> &'static str {
    match op {
        OpCode::Ping => "PING",
        OpCode::CreateSession => "SESS",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Create | OpCode::Create2 | OpCode::CreateTtl | OpCode::CreateContainer => "CREA",
        OpCode::Delete => "DELE",
        OpCode::SetData => "SETD",
        OpCode::SetAcl => "SETA",
        OpCode::CloseSession => "CLOS",
        OpCode::Sync => "SYNC",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetAcl => "GETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::WhoAmI => "HOMI",
        OpCode::GetEphemerals => "GETE",
        _ => "NA",
    }
}

/// The lines that `srvr` and `stat` share.
///
/// Answers to `ServerStats.toString` and `StatCommand`.
fn server(asked: &Asked<'_>, out: &mut Text) -> fmt::Result {
    let peer = &*asked.peer;
    let stats = peer.stats();
    let Summary { count, total, min, max } = stats.latency();
    writeln!(out, "Latency min/avg/max: {min}/{}/{max}", Average(total, count))?;
    writeln!(out, "Received: {}", stats.received + asked.metrics.words_asked)?;
    writeln!(out, "Sent: {}", stats.sent + asked.metrics.words_answered)?;
    writeln!(out, "Connections: {}", peer.link_count())?;
    writeln!(out, "Outstanding: {}", peer.outstanding())?;
    writeln!(out, "Zxid: {}", peer.tree().last_zxid())?;
    let role = Standing::of(peer).role;
    writeln!(out, "Mode: {role}")?;
    writeln!(out, "Node count: {}", peer.tree().node_count())?;
    if role == Role::Leader {
        let [last, min, max] = three(stats.proposals);
        writeln!(out, "Proposal sizes last/min/max: {last}/{min}/{max}")?;
    }
    Ok(())
}

/// The last, the least and the greatest of sizes; -1 if there was none.
///
/// Answers to `BufferStats`.
fn three(sizes: Sizes) -> [i64; 3] {
    let Sizes { last, all: Summary { count, min, max, .. } } = sizes;
    [last, min, max].map(|size| match count {
        0 => -1,
        _ => i64::try_from(size).unwrap_or(i64::MAX),
    })
}

/// A mean of four decimals, as Java shows it: `0.0`, `4.6667`.
struct Average(u64, u64);

impl fmt::Display for Average {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 == 0 {
            return f.write_str("0.0");
        }
        let mean = self.0 as f64 / self.1 as f64;
        write!(f, "{:?}", (mean * 10_000.0).round() / 10_000.0)
    }
}

fn envi(out: &mut Text) -> fmt::Result {
    let var = |name| std::env::var(name).unwrap_or_default();
    let dir = std::env::current_dir().unwrap_or_default();
    #[cfg(unix)]
    let (host, release) = {
        let name = rustix::system::uname();
        (
            name.nodename().to_string_lossy().into_owned(),
            name.release().to_string_lossy().into_owned(),
        )
    };
    #[cfg(not(unix))]
    let (host, release) = (var("COMPUTERNAME"), String::new());
    writeln!(out, "Environment:")?;
    writeln!(out, "zookeeper.version={VERSION}")?;
    writeln!(out, "host.name={host}")?;
    writeln!(out, "os.name={}", std::env::consts::OS)?;
    writeln!(out, "os.arch={}", std::env::consts::ARCH)?;
    writeln!(out, "os.version={release}")?;
    writeln!(out, "user.name={}", var(if cfg!(windows) { "USERNAME" } else { "USER" }))?;
    writeln!(out, "user.home={}", var(if cfg!(windows) { "USERPROFILE" } else { "HOME" }))?;
    writeln!(out, "user.dir={}", dir.display())
}

/// Like Apache's, these three know watches on data (and persistent ones) only.
fn watch_summary(asked: &Asked<'_>, out: &mut Text) -> fmt::Result {
    let watched = |link| asked.peer.watched_by(link).count();
    let connections = asked.peer.links().filter(|&link| watched(link) > 0).count();
    let total: usize = asked.peer.links().map(watched).sum();
    let paths = asked.peer.watchers().count();
    writeln!(out, "{connections} connections watching {paths} paths")?;
    writeln!(out, "Total watches:{total}")
}

fn watches_by_session(asked: &Asked<'_>, out: &mut Text) -> fmt::Result {
    for link in asked.peer.links() {
        let mut paths = asked.peer.watched_by(link).peekable();
        if paths.peek().is_none() {
            continue;
        }
        writeln!(out, "{}", asked.peer.session(link).unwrap_or_default())?;
        for path in paths {
            writeln!(out, "\t{}", whole(path))?;
        }
    }
    writeln!(out)
}

fn watches_by_path(asked: &Asked<'_>, out: &mut Text) -> fmt::Result {
    for (path, sessions) in asked.peer.watchers() {
        writeln!(out, "{}", whole(path))?;
        for session in sessions {
            writeln!(out, "\t{session}")?;
        }
    }
    writeln!(out)
}

fn whole<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> String {
    let bytes: Vec<u8> = pieces.flatten().copied().collect();
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(&bytes).chars().map(shown).collect()
}

/// Open file descriptors, and how many there may be.
fn descriptors() -> Option<(usize, u64)> {
    #[cfg(unix)]
    {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
        let open = std::fs::read_dir("/dev/fd").ok()?.count();
        Some((open, most))
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_look_as_in_java() {
        assert_eq!(Average(0, 0).to_string(), "0.0");
        assert_eq!(Average(14, 3).to_string(), "4.6667");
        assert_eq!(Average(11, 2).to_string(), "5.5");
        assert_eq!(Average(3, 3).to_string(), "1.0");
    }

    #[test]
    fn an_answer_ends_where_it_must() {
        let mut text = Text::default();
        assert!(text.write_str(&"x".repeat(ANSWER_MAX)).is_ok());
        assert!(text.write_str("y").is_err() && text.write_str("").is_err());
        assert_eq!(text.out.len(), ANSWER_MAX);
    }

    #[test]
    fn only_whole_words_are_known() {
        assert_eq!(Word::known(*b"ruok").map(Word::text), Some("ruok"));
        assert_eq!(Word::known(*b"ruoK"), None);
        assert_eq!(Word::known([0, 0, 0, 45]), None);
        assert_eq!(Word(*b"stmk").len(), 12);
    }
}
