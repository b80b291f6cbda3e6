//! Four-letter words: four bytes instead of a frame, answered with text.
//!
//! The answers have the form of Apache 3.8.0's, byte for byte where the facts are the same. Source:
//! Apache's `server.command`, and the answers of a running 3.8.0.
//!
//! # Differences from Apache 3.8.0
//! - `envi` has no `java.*` lines; `mntr` has the lines that zk has numbers for, and in an ensemble
//!   some of zk's own: `strangers_rejected`, `current_epoch`, `last_processed_zxid`, `tree_digest`.
//! - `cons` has neither `lop` nor `lzxid`, which zk does not keep.
//! - Dates in `dump` are in UTC.
//! - `crst`, `hash`, `wchs`, `wchc` and `wchp` say that zk does not serve them.
//! - An answer ends at [`ANSWER_MAX`] with a line that says so.

use core::fmt::{self, Write};
use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::path::Path;

use zk_core::peer::{Count, Counters, Link, Peer};
use zk_core::quorum::Port;
use zk_core::time::{Instant, Now};

use super::clock::date;
use super::link::Socket;
use super::listener::Listener;
use super::members::Members;
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
    /// Number of the link that asks.
    pub(super) asker: usize,
    pub(super) now: Now,
}

/// What answers words.
pub(super) struct Words {
    config: Config,
    address: SocketAddr,
    started: Instant,
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
        Self { config, address, started: now.monotonic, in_memory, trace_mask: 306 }
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
            "isro" => write!(out, "rw"),
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
            "srst" => {
                asked.peer.reset_stats();
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
        let (stats, tree) = (peer.stats(), peer.tree());
        let mut line = |key: &str, value: &dyn fmt::Display| writeln!(out, "zk_{key}\t{value}");
        line("version", &VERSION)?;
        let Standing { role, epoch, .. } = Standing::of(peer);
        line("server_state", &role)?;
        if let Some(members) = asked.members {
            let phase = match role {
                Role::Leader => "leading - broadcast",
                Role::Follower => "following - broadcast",
                Role::Observer => "observing - broadcast",
                Role::Standalone | Role::Looking => "looking",
            };
            line("peer_state", &phase)?;
            line("quorum_size", &peer.config().voters().count())?;
            line("strangers_rejected", &members.strangers)?;
            line("current_epoch", &epoch.0)?;
            line("last_processed_zxid", &peer.tree().last_zxid())?;
            line("tree_digest", &peer.tree().digest())?;
        }
        if role == Role::Leader {
            let Count { learners, followers, observers } = peer.learners();
            line("learners", &learners)?;
            line("synced_followers", &followers)?;
            line("synced_observers", &observers)?;
        }
        line("ephemerals_count", &tree.ephemeral_count())?;
        line("num_alive_connections", &peer.link_count())?;
        line("avg_latency", &Average(stats.total_latency, stats.answered))?;
        line("outstanding_requests", &peer.outstanding())?;
        line("znode_count", &tree.node_count())?;
        line("global_sessions", &peer.sessions().len())?;
        line("packets_sent", &stats.sent)?;
        line("packets_received", &stats.received)?;
        line("connection_drop_probability", &"0.0")?;
        line("watch_count", &peer.watches().len())?;
        line("auth_failed_count", &stats.auth_failed)?;
        line("min_latency", &stats.min_latency)?;
        if let Some((open, most)) = descriptors() {
            line("max_file_descriptor_count", &most)?;
            line("open_file_descriptor_count", &open)?;
        }
        line("approximate_data_size", &tree.data_size())?;
        line("local_sessions", &0)?;
        line("uptime", &asked.now.monotonic.since(self.started))?;
        line("max_latency", &stats.max_latency)?;
        line("digest_mismatches_count", &stats.digest_mismatches)?;
        line("connection_rejected", &asked.listener.rejected)?;
        line("stale_sessions_expired", &stats.expired)
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
        write!(out, ",sid={session},est={since},to={}", asked.peer.timeout(link))?;
        if counters.last_cxid.0 >= 0 {
            write!(out, ",lcxid=0x{:x}", counters.last_cxid.0)?;
        }
        let average = counters.total_latency.checked_div(counters.sent).unwrap_or(0);
        write!(
            out,
            ",lresp={},llat={},minlat={},avglat={average},maxlat={}",
            counters.last_response.0,
            counters.last_latency,
            counters.min_latency,
            counters.max_latency
        )?;
    }
    write!(out, ")")
}

/// The lines that `srvr` and `stat` share.
///
/// Answers to `ServerStats.toString` and `StatCommand`.
fn server(asked: &Asked<'_>, out: &mut Text) -> fmt::Result {
    let peer = &*asked.peer;
    let stats = peer.stats();
    let average = Average(stats.total_latency, stats.answered);
    writeln!(out, "Latency min/avg/max: {}/{average}/{}", stats.min_latency, stats.max_latency)?;
    writeln!(out, "Received: {}", stats.received)?;
    writeln!(out, "Sent: {}", stats.sent)?;
    writeln!(out, "Connections: {}", peer.link_count())?;
    writeln!(out, "Outstanding: {}", peer.outstanding())?;
    writeln!(out, "Zxid: {}", peer.tree().last_zxid())?;
    writeln!(out, "Mode: {}", Standing::of(peer).role)?;
    writeln!(out, "Node count: {}", peer.tree().node_count())
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

/// Open file descriptors, and how many there may be.
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
