//! The rows, in the order of the table.

use core::time::Duration;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::wire::OpCode;
use zk_core::wire::jute::{self, Buffer};
use zk_core::wire::txn::{SetDataTxn, TxnDigest, TxnHeader};

use crate::alone::Alone;
use crate::instructions::{self, OPERATIONS};
use crate::load::{Load, Measured, SESSIONS, Single, WINDOW, Work};
use crate::long::{self, Encoded};
use crate::process::{Memory, notice_signals};
use crate::server::{BOTH, HEAP, Kind, Programs, Server};
use crate::stalls::Watched;
use crate::table::{Against, Row, Table, Target, median};
use crate::{Options, Result, bare, ensemble, session, tree};

/// A file system in memory.
const TMPFS: &str = "/dev/shm";
/// fdatasync a second below which rows that depend on the disk do not count.
const FAST_DISK: f64 = 2000.0;
/// Load that nobody measures: Java compiles what runs often.
const WARM_UP: Duration = Duration::from_secs(4);
/// Bytes of the checksum, the length and the marker around a log's entry.
const RECORD_OVERHEAD: usize = 13;
/// Idle sessions that are opened at once.
const AT_ONCE: usize = 500;
/// Files that a server opens besides its sessions.
const FILES: u64 = 200;
/// How long an idle server settles before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// The longest that a server may answer nobody, ms.
const STALL_MS: f64 = 20.0;
/// So many times the instructions that were written down are allowed.
const RATCHET: f64 = 1.02;
/// What Apache gets where its memory is not measured.
pub(crate) const LARGE_HEAP: &str = "-Xmx3000m";

/// A row of load: what, bytes of a value, targets for throughput and CPU.
pub(crate) type Loaded = (Work, usize, Option<f64>, Option<f64>);

const LOADED: [Loaded; 8] = [
    (Work::Get, 100, Some(4.0), Some(6.0)),
    (Work::Set, 100, Some(3.0), Some(4.0)),
    (Work::CreateDelete, 100, Some(4.0), Some(6.0)),
    (Work::Mix, 100, Some(4.0), None),
    (Work::Get, 1 << 10, None, None),
    (Work::Set, 1 << 10, None, None),
    (Work::Get, 10 << 10, None, None),
    (Work::Set, 10 << 10, None, None),
];

/// Measures what `options` ask for.
pub(crate) fn measure(options: &Options) -> Result<Table> {
    let mut run = Run {
        options,
        programs: Programs { zk: options.zk.clone(), config: String::new(), heap: HEAP },
        turn: Duration::from_secs_f64(options.seconds),
        table: Table::default(),
        names: 0,
    };
    notice_signals()?;
    run.all()?;
    Ok(run.table)
}

pub(crate) struct Run<'o> {
    pub(crate) options: &'o Options,
    pub(crate) programs: Programs,
    /// How long one server is loaded before the other has its turn.
    pub(crate) turn: Duration,
    table: Table,
    /// Of parents, so that each is new.
    names: usize,
}

/// A number for each round, for zk and for the other.
pub(crate) type Rounds = [Vec<f64>; 2];

/// Servers of zk's, and as many of Apache's: one, or three that are an ensemble.
pub(crate) type Pair = [Vec<Server>; 2];

impl Run<'_> {
    fn all(&mut self) -> Result<()> {
        let memory = tempfile::Builder::new().prefix("zk-bench-").tempdir_in(TMPFS);
        let disk = tempfile::Builder::new().prefix("zk-bench-").tempdir_in(&self.options.disk)?;
        let tmpfs = match &memory {
            Ok(dir) => dir.path(),
            Err(error) => {
                self.fact(format!("{TMPFS}: {error}; everything is measured on the disk"));
                disk.path()
            }
        };
        self.fact(format!(
            "{} rounds of {:?}, zk and Apache in turn, medians; loaded rows: {SESSIONS} sessions, \
             {WINDOW} requests in flight each; CPU: the server's, user and system",
            self.options.rounds, self.turn
        ));
        if self.wants("tmpfs") {
            self.loaded("tmpfs", tmpfs, &LOADED)?;
        }
        if self.wants("single") {
            self.single("tmpfs", tmpfs)?;
        }
        if self.wants("disk") {
            self.on_disk(disk.path())?;
        }
        if self.wants("ensemble") {
            ensemble::measure(self, tmpfs, disk.path())?;
        }
        if self.wants("start") {
            self.starts(tmpfs)?;
        }
        if self.wants("idle") {
            self.idle(tmpfs)?;
        }
        if self.wants("tree") {
            self.large_tree(tmpfs)?;
        }
        if self.wants("stalls") {
            self.stalls(tmpfs)?;
        }
        if self.wants("calls") {
            self.calls()?;
        }
        if self.wants("instructions") {
            self.instructions()?;
        }
        Ok(())
    }

    fn wants(&self, group: &str) -> bool {
        let wanted = self
            .options
            .only
            .as_ref()
            .is_none_or(|only| only.split(',').any(|part| group.contains(part)));
        if wanted {
            eprintln!("measuring: {group}");
        }
        wanted
    }

    pub(crate) fn fact(&mut self, fact: String) {
        self.table.facts.push(fact);
    }

    pub(crate) fn name(&mut self) -> String {
        self.names += 1;
        format!("bench{}", self.names)
    }

    /// Both servers on directories in `dir`, and warm.
    fn pair(&mut self, dir: &Path) -> Result<Pair> {
        let start = |kind: Kind| -> Result<Vec<Server>> {
            let home = tempfile::Builder::new().prefix(kind.name()).tempdir_in(dir)?.keep();
            Ok(vec![self.programs.start(kind, &home)?.0])
        };
        let pair = [start(Kind::Zk)?, start(Kind::Apache)?];
        self.warm(&pair)?;
        Ok(pair)
    }

    pub(crate) fn warm(&mut self, pair: &Pair) -> Result<()> {
        let name = self.name();
        for servers in pair {
            for work in [Work::Mix, Work::CreateDelete] {
                let mut load = Load::new(servers, &format!("{name}{work:?}"), work, 100)?;
                load.run(servers, WARM_UP / 2)?;
                load.close()?;
            }
        }
        Ok(())
    }

    fn loaded(&mut self, place: &str, dir: &Path, rows: &[Loaded]) -> Result<()> {
        let pair = self.pair(dir)?;
        for &row in rows {
            self.loaded_row(place, &pair, row)?;
        }
        Ok(())
    }

    pub(crate) fn loaded_row(&mut self, place: &str, pair: &Pair, row: Loaded) -> Result<()> {
        let (work, value, rate_target, cpu_target) = row;
        let title = format!("{} {}", work.name(), bytes(value));
        if self.options.rows.as_ref().is_some_and(|wanted| !title.contains(wanted)) {
            return Ok(());
        }
        let name = self.name();
        let mut loads = Vec::new();
        for servers in pair {
            let mut load = Load::new(servers, &name, work, value)?;
            load.run(servers, self.turn / 2)?;
            loads.push(load);
        }
        let [rates, cpus] = self.turns(&mut loads, pair, Load::run)?;
        loads.into_iter().try_for_each(Load::close)?;
        let target = |ratio: Option<f64>| ratio.map(Target::AtLeast);
        self.row(place, &title, "op/s", Against::ApacheMore, &rates, target(rate_target));
        self.row(place, &title, "us CPU/op", Against::ApacheLess, &cpus, target(cpu_target));
        Ok(())
    }

    /// Both under their load, in turn: rates and CPU.
    pub(crate) fn turns<L>(
        &self,
        loads: &mut [L],
        pair: &Pair,
        run: impl Fn(&mut L, &[Server], Duration) -> Result<Measured>,
    ) -> Result<[Rounds; 2]> {
        let (mut rates, mut cpus) = (Rounds::default(), Rounds::default());
        for _ in 0..self.options.rounds {
            for (which, (load, servers)) in loads.iter_mut().zip(pair).enumerate() {
                let measured = run(load, servers, self.turn)?;
                rates[which].push(measured.rate);
                cpus[which].push(measured.cpu);
            }
        }
        Ok([rates, cpus])
    }

    pub(crate) fn row(
        &mut self,
        heading: &str,
        name: &str,
        unit: &'static str,
        against: Against,
        [zk, other]: &Rounds,
        target: Option<Target>,
    ) {
        let row = Row::new(heading, name, unit, against, zk, other, target);
        eprintln!("  {heading}: {name}, {unit}: {:.2} against {:.2}", row.zk, row.other);
        // Rows of one heading stay together, whenever they were measured.
        let rows = &mut self.table.rows;
        let at = rows.iter().rposition(|other| other.heading == row.heading);
        rows.insert(at.map_or(rows.len(), |at| at + 1), row);
    }

    /// One request in flight: against Apache, and against the bare machine.
    fn single(&mut self, place: &str, dir: &Path) -> Result<()> {
        let pair = self.pair(dir)?;
        let record = record_of_set(100);
        for work in [Work::Get, Work::Set] {
            // Header, path and the rest there; header, data and stat back. A file in memory is
            // synced at once: there, the round trip is all that a write waits for.
            let (machine_does, target) = match work {
                Work::Set if place == "disk" => (format!("fdatasync of {record} B"), Some(1.3)),
                Work::Get => ("loopback".to_owned(), Some(1.5)),
                _ => ("loopback".to_owned(), None),
            };
            let sent = [4 + 8 + 4 + 14 + 104 + 4, 4 + 16 + 68, record];
            let bare = || match work {
                Work::Set if place == "disk" => bare::fdatasync(dir, record, self.turn),
                Work::Set => bare::echo(sent[0], sent[1], self.turn),
                _ => bare::echo(4 + 8 + 4 + 14 + 1, 4 + 16 + 104 + 68, self.turn),
            };
            let name = format!("single{}", self.names + 1);
            let mut singles = Vec::new();
            for servers in &pair {
                let mut single = Single::new(servers, &name, work, 100)?;
                single.run(servers, self.turn / 2)?;
                singles.push(single);
            }
            let (mut p50, mut cpus, mut machine) =
                (Rounds::default(), Rounds::default(), Vec::new());
            let mut handed = Vec::new();
            for _ in 0..self.options.rounds {
                machine.push(half(&bare()?));
                if work == Work::Set {
                    handed.push(half(&bare::handed(dir, sent, self.turn)?));
                }
                for (which, (single, servers)) in singles.iter_mut().zip(&pair).enumerate() {
                    let (times, cpu) = single.run(servers, self.turn)?;
                    p50[which].push(half(&times));
                    cpus[which].push(cpu);
                }
            }
            singles.into_iter().try_for_each(Single::close)?;
            self.names += 1;
            let heading = format!("{place}, one in flight");
            let name = format!("{} {}", work.name(), bytes(100));
            self.row(&heading, &name, "us p50", Against::ApacheLess, &p50, None);
            self.row(&heading, &name, "us CPU/op", Against::ApacheLess, &cpus, None);
            let heading = format!("{place}, one in flight, beside the machine");
            let [zk, _] = p50;
            if work == Work::Set {
                // What is left when the system has woken a second thread and the first again.
                let name = format!("{name} / two threads and fdatasync");
                self.row(&heading, &name, "us p50", Against::Bare, &[zk.clone(), handed], None);
            }
            let rounds = [zk, machine];
            let name = format!("{name} / {machine_does}");
            let target = target.map(Target::AtMost);
            self.row(&heading, &name, "us p50", Against::Bare, &rounds, target);
        }
        Ok(())
    }

    /// What waits for the disk, on the disk.
    fn on_disk(&mut self, dir: &Path) -> Result<()> {
        let first = self.table.rows.len();
        let rate = || -> Result<f64> {
            let times = bare::fdatasync(dir, record_of_set(100), Duration::from_millis(500))?;
            Ok(times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64())
        };
        let before = rate()?;
        let writes = LOADED.iter().filter(|(work, ..)| *work != Work::Get);
        self.loaded("disk", dir, &writes.copied().collect::<Vec<_>>())?;
        if self
            .options
            .only
            .as_ref()
            .is_none_or(|only| only.split(',').any(|part| "single disk".contains(part)))
        {
            self.single("disk", dir)?;
        }
        let after = rate()?;
        let counts = before.min(after) >= FAST_DISK;
        for row in &mut self.table.rows[first..] {
            row.counts = counts || row.name.starts_with(Work::Get.name());
        }
        self.fact(format!(
            "disk {}: {before:.0} fdatasync/s before, {after:.0} after; rows that wait for it {}",
            self.options.disk.display(),
            if counts { "count" } else { "do not count: 2000/s are wanted" }
        ));
        Ok(())
    }

    /// From the start of the process to the first answer, on an empty directory.
    fn starts(&mut self, dir: &Path) -> Result<()> {
        let mut times = Rounds::default();
        for _ in 0..self.options.rounds {
            for (which, kind) in BOTH.into_iter().enumerate() {
                let home = tempfile::tempdir_in(dir)?;
                let (server, time) = self.programs.start(kind, home.path())?;
                server.stop()?;
                times[which].push(time.as_secs_f64() * 1e3);
            }
        }
        let target = Some(Target::Value(20.0));
        let name = "first answer, empty directory";
        self.row("start", name, "ms", Against::ApacheLess, &times, target);
        Ok(())
    }

    /// Memory without sessions, and with many that do nothing.
    fn idle(&mut self, dir: &Path) -> Result<()> {
        let sessions = if self.options.short { 2_000 } else { 10_000 };
        allow_files(sessions)?;
        let (mut empty, mut each) = (Rounds::default(), Rounds::default());
        for (which, kind) in BOTH.into_iter().enumerate() {
            let home = tempfile::tempdir_in(dir)?;
            let (server, _) = self.programs.start(kind, home.path())?;
            std::thread::sleep(SETTLE);
            let before = Memory::of(server.pid())?.now;
            let mut streams = Vec::new();
            while streams.len() < sessions {
                let first = streams.len();
                for _ in 0..AT_ONCE.min(sessions - first) {
                    let address = (core::net::Ipv4Addr::LOCALHOST, server.port);
                    let mut stream = std::net::TcpStream::connect(address)?;
                    session::ask(&mut stream)?;
                    streams.push(stream);
                }
                for stream in &mut streams[first..] {
                    session::granted(stream)?;
                }
            }
            std::thread::sleep(SETTLE);
            let after = Memory::of(server.pid())?.now;
            empty[which].push(before as f64 / 1e6);
            each[which].push(after.saturating_sub(before) as f64 / sessions as f64);
            server.stop()?;
        }
        let less = Against::ApacheLess;
        self.row("idle", "no sessions", "MB", less, &empty, Some(Target::Value(5.0)));
        let name = format!("each of {sessions} sessions");
        self.row("idle", &name, "bytes", less, &each, Some(Target::Value(2048.0)));
        Ok(())
    }

    /// Creates a large tree on both, then starts both on copies of one directory.
    fn large_tree(&mut self, dir: &Path) -> Result<()> {
        let nodes = self.nodes();
        let heading = format!("tree of {nodes} nodes, {}", bytes(100));
        let mut built = Rounds::default();
        let mut origin = PathBuf::new();
        let homes = tempfile::tempdir_in(dir)?;
        for (which, kind) in BOTH.into_iter().enumerate() {
            let home = homes.path().join(kind.name());
            let (server, _) = self.programs.start(kind, &home)?;
            let begin = Instant::now();
            let (mut stream, mut xid) = (session::open(server.port)?, 0);
            let all = tree::directories(nodes).chain(tree::nodes(nodes));
            tree::create(0, all, |op, body| {
                xid += 1;
                session::call(&mut stream, xid, op, &Encoded(body))
            })?;
            built[which].push(nodes as f64 / begin.elapsed().as_secs_f64());
            tree::check(server.port, nodes)?;
            server.stop()?;
            origin = home;
        }
        let more = Against::ApacheMore;
        self.row(&heading, "create, 500 in a multi", "nodes/s", more, &built, None);
        // Apache writes a snapshot when it starts: a cold start reads that, not the log.
        let (server, _) = self.programs.start(Kind::Apache, &origin)?;
        server.stop()?;
        let (mut times, mut now, mut peak) =
            (Rounds::default(), Rounds::default(), Rounds::default());
        for _ in 0..self.options.rounds {
            for (which, kind) in BOTH.into_iter().enumerate() {
                let home = tempfile::tempdir_in(dir)?;
                tree::copy(&origin.join("data"), &home.path().join("data"))?;
                let (server, time) = self.programs.start(kind, home.path())?;
                let memory = Memory::of(server.pid())?;
                tree::check(server.port, nodes)?;
                server.stop()?;
                times[which].push(time.as_secs_f64());
                now[which].push(memory.now as f64 / 1e6);
                peak[which].push(memory.peak as f64 / 1e6);
            }
        }
        let (less, four) = (Against::ApacheLess, Some(Target::AtLeast(4.0)));
        self.row(&heading, "cold start to the first answer", "s", less, &times, four);
        self.row(&heading, "memory then", "MB", less, &now, four);
        self.row(&heading, "most memory on the way", "MB", less, &peak, None);
        Ok(())
    }

    /// How many nodes a large tree has.
    pub(crate) fn nodes(&self) -> usize {
        if self.options.short { 200_000 } else { 1_000_000 }
    }

    /// The longest wait of another client while a server does what takes long.
    fn stalls(&mut self, dir: &Path) -> Result<()> {
        let nodes = self.nodes();
        let mut programs = self.programs.clone();
        programs.config = format!("snapCount={}\n", long::SNAP_COUNT);
        programs.heap = LARGE_HEAP;
        allow_files(long::WATCHERS)?;
        let mut both = Vec::new();
        for kind in BOTH {
            let home = tempfile::tempdir_in(dir)?;
            let (server, _) = programs.start(kind, home.path())?;
            let mut watched = Watched::new(server, home.path().join("data"))?;
            both.push(long::all(&mut watched, nodes, self.options.rounds)?);
            watched.stop()?;
        }
        let heading = format!("longest wait of another client, {nodes} nodes");
        for (zk, apache) in both[0].iter().zip(&both[1]) {
            let rounds = [zk, apache].map(|measured| vec![measured.stall.time.as_secs_f64() * 1e3]);
            let target = Some(Target::Value(STALL_MS));
            self.row(&heading, &zk.name, "ms", Against::ApacheLess, &rounds, target);
        }
        Ok(())
    }

    /// The longest call of a peer in this process that does what takes long.
    fn calls(&mut self) -> Result<()> {
        let nodes = self.nodes();
        let heading = format!("longest call of the core, {nodes} nodes");
        for measured in long::all(&mut Alone::new()?, nodes, self.options.rounds)? {
            let rounds = [vec![measured.stall.time.as_secs_f64() * 1e3], vec![STALL_MS]];
            let name = format!("{}: {}", measured.name, measured.stall.call);
            let target = Some(Target::AtMost(1.0));
            self.row(&heading, &name, "ms CPU", Against::Limit, &rounds, target);
        }
        Ok(())
    }

    /// Instructions of single operations, held against what was written down.
    fn instructions(&mut self) -> Result<()> {
        for operation in OPERATIONS {
            let rounds = [vec![instructions::count(operation)?], vec![operation.recorded]];
            let target = Some(Target::AtMost(RATCHET));
            let against = Against::Recorded;
            self.row("instructions", operation.name, "each", against, &rounds, target);
        }
        Ok(())
    }
}

/// Lets this process, and the servers that it starts, open a file for each of `sessions`.
fn allow_files(sessions: usize) -> Result<()> {
    let wanted = sessions as u64 + FILES;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if limit.maximum.is_some_and(|most| most < wanted) {
        // Root may have more than it has.
        limit = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    }
    setrlimit(Resource::Nofile, limit).map_err(|error| {
        format!("{sessions} sessions need {wanted} open files (ulimit -n): {error}").into()
    })
}

/// The median, microseconds.
pub(crate) fn half(times: &[Duration]) -> f64 {
    let times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    median(&times)
}

/// Bytes of the log record of a setData of `value` bytes on one of the nodes of a lone session.
pub(crate) fn record_of_set(value: usize) -> usize {
    let header = TxnHeader {
        client_id: SessionId::NONE,
        cxid: Xid(0),
        zxid: Zxid::ZERO,
        time: 0,
        op: OpCode::SetData,
    };
    let data = vec![0; value];
    let txn = SetDataTxn { path: "/single1/n0001".into(), data: Buffer::new(&data), version: 1 };
    let digest = TxnDigest { version: TxnDigest::VERSION, tree_digest: 0 };
    let entry = jute::size(&header) + jute::size(&txn) + jute::size(&digest);
    entry + RECORD_OVERHEAD
}

pub(crate) fn bytes(value: usize) -> String {
    if value.is_multiple_of(1024) { format!("{} KiB", value / 1024) } else { format!("{value} B") }
}
