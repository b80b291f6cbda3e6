//! What the machine does without a server: fdatasync and a loopback round trip.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use zk_core::wire::file::FileHeader;

use crate::Result;

/// `preAllocSize`'s default: a log is so much longer than what it holds, and the rest is a hole.
const AHEAD: u64 = 64 << 20;

/// Appends records of `record` bytes to a file laid out as a transaction log, each followed by
/// fdatasync, for `time`; returns how long each took.
pub(crate) fn fdatasync(dir: &Path, record: usize, time: Duration) -> Result<Vec<Duration>> {
    let path = dir.join("fdatasync");
    let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    let record = vec![0x5a; record];
    let (mut at, mut size) = (FileHeader::LEN as u64, 0);
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        if at + 4096 >= size {
            size += AHEAD;
            file.set_len(size)?;
            file.sync_data()?;
        }
        let begin = Instant::now();
        file.write_all_at(&record, at)?;
        file.sync_data()?;
        times.push(begin.elapsed());
        at += record.len() as u64;
    }
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(times)
}

/// Sends `request` bytes over loopback and waits for `reply` bytes from a thread that does nothing
/// else, for `time`; returns how long each round trip took.
pub(crate) fn echo(request: usize, reply: usize, time: Duration) -> Result<Vec<Duration>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.set_nodelay(true)?;
    let (mut server, _) = listener.accept()?;
    server.set_nodelay(true)?;
    let thread = std::thread::spawn(move || {
        let mut asked = vec![0; request];
        let answer = vec![0; reply];
        while server.read_exact(&mut asked).is_ok() && server.write_all(&answer).is_ok() {}
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
