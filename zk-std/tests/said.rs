//! What the server says to its operator, and at which level.

use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use zk_core::id::{SessionId, Zxid};
use zk_core::wire::client::ConnectRequest;
use zk_core::wire::jute::{self, Buffer, Trailing};
use zk_std::server::{self, Server};

/// What was said.
struct Said(Mutex<Vec<(Level, String)>>);

static SAID: Said = Said(Mutex::new(Vec::new()));

impl Log for Said {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = (record.level(), record.args().to_string());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

fn said() -> Vec<(Level, String)> {
    SAID.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn frame(value: &impl serde::Serialize) -> Vec<u8> {
    let mut payload = vec![];
    jute::write(value, &mut payload).unwrap();
    [&(payload.len() as u32).to_be_bytes()[..], &payload].concat()
}

/// Sends a frame on a new connection; reads until the server closes it, or `until` bytes are there.
fn send(address: core::net::SocketAddr, frame: &[u8], until: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(frame).unwrap();
    let mut answer = vec![];
    let mut room = [0; 64];
    while answer.len() < until {
        match stream.read(&mut room) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&room[..n]),
        }
    }
    answer
}

#[test]
fn an_operator_hears_what_matters() {
    log::set_logger(&SAID).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let mut config = server::in_memory_config();
    config.tick_time = 50;
    config.min_session_timeout = 100;
    let server = Server::builder(config).in_memory().open().unwrap().start().unwrap();
    let handshake = |session, zxid, passwd: &'static [u8]| {
        frame(&ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(zxid),
            timeout: 100,
            session_id: SessionId(session),
            passwd: Buffer(Some(passwd)),
            read_only: Trailing(None),
        })
    };
    // A session that is left alone, and expires; its connection ends then.
    let opened = send(server.address(), &handshake(0, 0, &[0; 16]), usize::MAX);
    assert_eq!(opened.len(), 40);
    let session = i64::from_be_bytes(opened[12..20].try_into().unwrap());
    // Sessions that are none, a client that is ahead, frames that are none.
    for _ in 0..3 {
        send(server.address(), &handshake(0x77, 0, &[0; 16]), usize::MAX);
    }
    send(server.address(), &handshake(0, i64::MAX, &[0; 16]), usize::MAX);
    send(server.address(), &[0x7f, 0xff, 0xff, 0xff], usize::MAX);
    send(server.address(), &[0, 0, 0, 1, 9], usize::MAX);
    server.stop().unwrap();
    let said = said();
    let heard =
        |level, text: &str| said.iter().filter(|s| s.0 == level && s.1.contains(text)).count();
    let session = format!("session {session:#x}");
    for (level, text, times) in [
        (Level::Info, "serving alone from zxid 0x0 on: 5 nodes, 0 sessions", 1),
        (Level::Debug, &format!("{session} is open, timeout 100 ms"), 1),
        (Level::Info, &format!("{session} has expired"), 1),
        (Level::Debug, &format!("{session} is closed"), 1),
        (Level::Trace, &format!("asked as CreateSession by {session}"), 1),
        // The third time is not said.
        (Level::Warn, "session 0x77 is refused", 2),
        (Level::Warn, "its client has seen zxid 0x7fffffffffffffff", 1),
        (Level::Warn, "its frame has 2147483647 bytes and jute.maxbuffer is 1048575 (time 1)", 1),
        (Level::Warn, "its request cannot be read (time 1)", 1),
    ] {
        assert_eq!(heard(level, text), times, "{level} {text}: {said:#?}");
    }
    let warnings = said.iter().filter(|line| line.0 <= Level::Warn).count();
    assert_eq!(warnings, 5, "{said:#?}");
}
