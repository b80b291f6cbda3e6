//! Three servers that are an ensemble, beside three of Apache's.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs;
use std::path::Path;
use std::time::Instant;

use zk_core::wire::OpCode;
use zk_core::wire::client::SetDataRequest;
use zk_core::wire::jute::Buffer;

use crate::fanout::{Fanout, WATCHERS};
use crate::load::{Single, Work};
use crate::long::Encoded;
use crate::process::go_on;
use crate::rows::{LARGE_HEAP, Loaded, Pair, Rounds, Run, bytes, half, record_of_set};
use crate::server::{BOTH, Kind, Server};
use crate::table::{Against, Target};
use crate::{Result, bare, session, tree};

/// As many as there are servers.
const SERVERS: usize = 3;

const LOADED: [Loaded; 3] = [
    (Work::Set, 100, Some(4.0), Some(6.0)),
    (Work::Get, 100, Some(4.0), None),
    (Work::Mix, 100, Some(5.0), None),
];

/// Between two attempts to reach anybody.
const RETRY: Duration = Duration::from_micros(500);
/// How long an answer may take while servers change their roles.
const PATIENCE: Duration = Duration::from_millis(250);
/// The longest that a server may need to be brought in line.
const RESYNC: Duration = Duration::from_secs(300);
/// How long writes are timed before a server is wiped.
const CALM: Duration = Duration::from_secs(5);

/// The rows, in the order of the table.
pub(crate) fn measure(run: &mut Run<'_>, tmpfs: &Path, disk: &Path) -> Result<()> {
    let place = "tmpfs, three servers";
    let pair = three(run, tmpfs)?;
    run.warm(&pair)?;
    for row in LOADED {
        run.loaded_row(place, &pair, row)?;
    }
    fanout(run, place, &pair)?;
    single(run, place, &pair, None)?;
    drop(pair);
    let pair = three(run, disk)?;
    run.warm(&pair)?;
    single(run, "disk, three servers", &pair, Some(disk))?;
    drop(pair);
    outage(run, tmpfs)?;
    resync(run, tmpfs)
}

fn three(run: &Run<'_>, dir: &Path) -> Result<Pair> {
    let start = |kind: Kind| -> Result<Vec<Server>> {
        let home = tempfile::Builder::new().prefix(kind.name()).tempdir_in(dir)?.keep();
        run.programs.start_three(kind, &home)
    };
    Ok([start(Kind::Zk)?, start(Kind::Apache)?])
}

/// One session writes, all others are told.
fn fanout(run: &mut Run<'_>, place: &str, pair: &Pair) -> Result<()> {
    let name = run.name();
    let mut loads = Vec::new();
    for servers in pair {
        let mut load = Fanout::new(servers, &name)?;
        load.run(servers, run.turn / 2)?;
        loads.push(load);
    }
    let [rates, cpus] = run.turns(&mut loads, pair, Fanout::run)?;
    let name = format!("events to {WATCHERS} watchers");
    let target = Some(Target::AtLeast(4.0));
    run.row(place, &name, "events/s", Against::ApacheMore, &rates, target);
    run.row(place, &name, "us CPU/event", Against::ApacheLess, &cpus, None);
    Ok(())
}

/// One write in flight: against Apache, and on a disk against three bare writers at once.
fn single(run: &mut Run<'_>, place: &str, pair: &Pair, disk: Option<&Path>) -> Result<()> {
    let name = run.name();
    let mut singles = Vec::new();
    for servers in pair {
        let mut single = Single::new(servers, &name, Work::Set, 100)?;
        single.run(servers, run.turn / 2)?;
        singles.push(single);
    }
    let (mut p50, mut machine) = (Rounds::default(), Vec::new());
    for _ in 0..run.options.rounds {
        if let Some(dir) = disk {
            machine.push(half(&writers(dir, run.turn)?));
        }
        for (which, (single, servers)) in singles.iter_mut().zip(pair).enumerate() {
            p50[which].push(half(&single.run(servers, run.turn)?.0));
        }
    }
    singles.into_iter().try_for_each(Single::close)?;
    let name = format!("{} {}, one in flight", Work::Set.name(), bytes(100));
    let target = disk.is_none().then_some(Target::AtLeast(2.0));
    run.row(place, &name, "us p50", Against::ApacheLess, &p50, target);
    if disk.is_some() {
        let [zk, _] = p50;
        let name = format!("{name} / {SERVERS} at fdatasync");
        let target = Some(Target::AtMost(1.5));
        run.row(place, &name, "us p50", Against::Bare, &[zk, machine], target);
    }
    Ok(())
}

/// What fdatasync takes while as many do it as there are servers.
fn writers(dir: &Path, time: Duration) -> Result<Vec<Duration>> {
    let record = record_of_set(100);
    std::thread::scope(|scope| {
        let writer = |number: usize| {
            let dir = dir.join(format!("bare{number}"));
            scope.spawn(move || -> core::result::Result<Vec<Duration>, String> {
                fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
                bare::fdatasync(&dir, record, time).map_err(|error| error.to_string())
            })
        };
        let writers: Vec<_> = (0..SERVERS).map(writer).collect();
        let mut times = Vec::new();
        for writer in writers {
            times.extend(writer.join().map_err(|_| "a writer ended in a panic")??);
        }
        Ok(times)
    })
}

/// From the death of a leader to the first write that the others acknowledge to a new client.
fn outage(run: &mut Run<'_>, dir: &Path) -> Result<()> {
    let mut times = Rounds::default();
    let mut pair = three(run, dir)?;
    for _ in 0..run.options.rounds {
        for (which, servers) in pair.iter_mut().enumerate() {
            let leader = leader(servers)?;
            let (kind, home) = (servers[leader].kind, servers[leader].home.clone());
            let begin = Instant::now();
            drop(servers.remove(leader));
            'out: loop {
                go_on()?;
                for server in servers.iter() {
                    if writes(server.port) {
                        break 'out;
                    }
                }
                if begin.elapsed() > RESYNC {
                    return Err("the servers that are left do not serve".into());
                }
                std::thread::sleep(RETRY);
            }
            times[which].push(begin.elapsed().as_secs_f64() * 1e3);
            let mut server = run.programs.launch(kind, &home)?;
            server.serves()?;
            servers.push(server);
        }
    }
    let name = "no write is acknowledged after kill -9 of the leader";
    let target = Some(Target::AtLeast(2.0));
    run.row("outage, three servers", name, "ms", Against::ApacheLess, &times, target);
    Ok(())
}

/// Which of the servers leads.
fn leader(servers: &[Server]) -> Result<usize> {
    let begin = Instant::now();
    while begin.elapsed() < RESYNC {
        go_on()?;
        for (at, server) in servers.iter().enumerate() {
            if server.mode()?.as_deref() == Some("leader") {
                return Ok(at);
            }
        }
        std::thread::sleep(RETRY);
    }
    Err("nobody leads".into())
}

/// Whether a new session is opened there: that is a write.
fn writes(port: u16) -> bool {
    let Ok(mut stream) = std::net::TcpStream::connect((core::net::Ipv4Addr::LOCALHOST, port))
    else {
        return false;
    };
    stream.set_read_timeout(Some(PATIENCE)).is_ok()
        && session::ask(&mut stream).is_ok()
        && session::granted(&mut stream).is_ok()
}

/// A follower that lost everything is brought in line, while a client of the leader writes.
fn resync(run: &mut Run<'_>, dir: &Path) -> Result<()> {
    let nodes = run.nodes();
    let (mut took, mut calm, mut meanwhile) =
        (Rounds::default(), Rounds::default(), Rounds::default());
    for (which, kind) in BOTH.into_iter().enumerate() {
        let measured = match (resync_of(run, kind, dir, nodes), kind) {
            (Err(error), Kind::Apache) => {
                run.fact(format!("Apache with {nodes} nodes, as a follower lost all: {error}"));
                [f64::NAN; 3]
            }
            (measured, _) => measured?,
        };
        for (rounds, value) in [&mut took, &mut calm, &mut meanwhile].into_iter().zip(measured) {
            rounds[which].push(value);
        }
    }
    let heading = format!("a follower lost all of {nodes} nodes");
    let less = Against::ApacheLess;
    run.row(&heading, "until it serves again", "s", less, &took, None);
    run.row(&heading, "writes at the leader before", "us p99", less, &calm, None);
    run.row(&heading, "writes at the leader meanwhile", "us p99", less, &meanwhile, None);
    let [calm, _] = calm;
    let [meanwhile, _] = meanwhile;
    let name = "writes meanwhile / before";
    let rounds = [meanwhile, calm];
    run.row(&heading, name, "us p99", Against::Bare, &rounds, Some(Target::AtMost(2.0)));
    Ok(())
}

/// Seconds until the follower serves again, and what writes at the leader take before and meanwhile.
fn resync_of(run: &Run<'_>, kind: Kind, dir: &Path, nodes: usize) -> Result<[f64; 3]> {
    let mut programs = run.programs.clone();
    programs.heap = LARGE_HEAP;
    let home = tempfile::tempdir_in(dir)?;
    let mut servers = programs.start_three(kind, home.path())?;
    let at = leader(&servers)?;
    let port = servers[at].port;
    let (mut stream, mut xid) = (session::open(port)?, 0);
    let all = tree::directories(nodes).chain(tree::nodes(nodes));
    tree::create(0, all, |op, body| {
        xid += 1;
        session::call(&mut stream, xid, op, &Encoded(body))
    })?;
    let calm = p99(&write(&mut stream, &mut xid, || false, CALM)?);
    let follower = servers.remove((at + 1) % SERVERS);
    let home = follower.home.clone();
    drop(follower);
    for entry in fs::read_dir(home.join("data"))? {
        let path = entry?.path();
        match path.file_name().is_some_and(|name| name == "myid") {
            true => {}
            false if path.is_dir() => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    let begin = Instant::now();
    let mut server = programs.launch(kind, &home)?;
    let back = AtomicBool::new(false);
    let (times, time) = std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let served = server.serves().map_err(|error| error.to_string());
            back.store(true, Ordering::Relaxed);
            served.map(|_| begin.elapsed())
        });
        let done = || back.load(Ordering::Relaxed);
        let times = write(&mut stream, &mut xid, done, RESYNC)?;
        let time = waits.join().map_err(|_| "the thread that waits ended in a panic")??;
        Result::Ok((times, time))
    })?;
    tree::check(server.port, nodes)?;
    Ok([time.as_secs_f64(), calm, p99(&times)])
}

/// Writes to a node of the tree, one after the other, until `done`, or for `most`; how long each took.
fn write(
    stream: &mut std::net::TcpStream,
    xid: &mut i32,
    done: impl Fn() -> bool,
    most: Duration,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < most && !done() {
        go_on()?;
        *xid += 1;
        let data = Buffer::new(b"another value");
        let set = SetDataRequest { path: "/tree".into(), data, version: -1 };
        let asked = Instant::now();
        session::call(stream, *xid, OpCode::SetData, &set)?;
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// What all but one in a hundred take at most, microseconds.
fn p99(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    let at = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
