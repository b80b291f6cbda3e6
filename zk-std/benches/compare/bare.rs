//! What the machine does without a server: fdatasync and a loopback round trip.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use zk_core::wire::file::FileHeader;

use crate::Result;

/// `preAllocSize`'s default: a log is so much longer than what it holds, and the rest is a hole.
const AHEAD: u64 = 64 << 20;

/// A file laid out as a transaction log. It is removed in the end.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    record: Vec<u8>,
    at: u64,
    size: u64,
}

impl Log {
    fn new(dir: &Path, record: usize) -> Result<Self> {
        let path = dir.join("fdatasync");
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { path, file, record: vec![0x5a; record], at: FileHeader::LEN as u64, size: 0 })
    }

    /// Makes room for a record, now and then.
    fn prepare(&mut self) -> io::Result<()> {
        if self.at + 4096 >= self.size {
            self.size += AHEAD;
            self.file.set_len(self.size)?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.record, self.at)?;
        self.file.sync_data()?;
        self.at += self.record.len() as u64;
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("{} is left: {error}", self.path.display());
        }
    }
}

/// Appends records of `record` bytes to a file laid out as a transaction log, each followed by
/// fdatasync, for `time`; returns how long each took.
pub(crate) fn fdatasync(dir: &Path, record: usize, time: Duration) -> Result<Vec<Duration>> {
    let mut log = Log::new(dir, record)?;
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        log.prepare()?;
        let begin = Instant::now();
        log.append()?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// The least that a server does for a write whose replies nobody waits for on the disk's thread: a
/// request comes over loopback, another thread appends a record and syncs, and the reply goes back.
pub(crate) fn handed(
    dir: &Path,
    [request, reply, record]: [usize; 3],
    time: Duration,
) -> Result<Vec<Duration>> {
    let mut log = Log::new(dir, record)?;
    let (orders, inbox) = sync_channel(1);
    let (outbox, answers) = sync_channel(1);
    let disk = thread::spawn(move || -> io::Result<()> {
        while inbox.recv().is_ok() {
            log.prepare()?;
            log.append()?;
            if outbox.send(()).is_err() {
                break;
            }
        }
        Ok(())
    });
    let synced = move || orders.send(()).is_ok() && answers.recv().is_ok();
    let times = round_trips(request, reply, time, synced)?;
    disk.join().map_err(|_| "the thread of the disk ended in a panic")??;
    Ok(times)
}

/// Sends `request` bytes over loopback and waits for `reply` bytes from a thread that does nothing
/// else, for `time`; returns how long each round trip took.
pub(crate) fn echo(request: usize, reply: usize, time: Duration) -> Result<Vec<Duration>> {
    round_trips(request, reply, time, || true)
}

/// `work` is done before each reply; it ends the thread when it answers false.
fn round_trips(
    request: usize,
    reply: usize,
    time: Duration,
    mut work: impl FnMut() -> bool + Send + 'static,
) -> Result<Vec<Duration>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.set_nodelay(true)?;
    let (mut server, _) = listener.accept()?;
    server.set_nodelay(true)?;
    let thread = thread::spawn(move || {
        let mut asked = vec![0; request];
        let answer = vec![0; reply];
        while server.read_exact(&mut asked).is_ok() && work() && server.write_all(&answer).is_ok() {
        }
    });
    let question = vec![0; request];
    let mut answer = vec![0; reply];
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        let begin = Instant::now();
        client.write_all(&question)?;
        client.read_exact(&mut answer)?;
        times.push(begin.elapsed());
    }
    drop(client);
    thread.join().map_err(|_| "the echo thread ended in a panic")?;
    Ok(times)
}
