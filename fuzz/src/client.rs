//! A client's session with a server that says anything: no panic, every request is answered once
//! and in order, and what is sent is whole frames that begin with a handshake.
//!
//! The input is a list of pieces ([`input`]); see [`Run::step`] for what they do.

use std::collections::VecDeque;

use zk_core::client::{Config, Event, Session, Storage};
use zk_core::id::{Xid, Zxid};
use zk_core::memory::Table;
use zk_core::time::Instant;
use zk_core::wire::client::{
    ConnectRequest, PathMode, PathWatch, ReplyHeader, RequestHeader, SetDataRequest,
};
use zk_core::wire::jute::{self, Buffer};
use zk_core::wire::{Code, OpCode};

use crate::support::encode;
use crate::{golden, input};

/// Runs one input.
///
/// # Panics
/// When it finds something.
pub fn run(data: &[u8]) {
    let Some((&way, script)) = data.split_first() else { return };
    let mut run = Run::new(way);
    for (what, bytes) in input::pieces(script) {
        run.step(what, bytes);
        run.events();
        run.check();
    }
    run.finish();
}

/// Little storage.
const SMALL: u8 = 1;
/// The server's bytes come seven at a time, and as few are sent at once.
const FRAGMENTS: u8 = 2;

struct Run {
    session: Session<'static>,
    now: Instant,
    fragment: usize,
    /// From the server, and not taken yet.
    input: Vec<u8>,
    /// Requests without a reply.
    asked: VecDeque<(Xid, OpCode)>,
    /// What was sent on this connection.
    sent: Vec<u8>,
    greeted: bool,
}

impl Run {
    fn new(way: u8) -> Self {
        let storage = if way & SMALL == 0 {
            Storage::owned()
        } else {
            Storage {
                requests: Table::owned(200),
                watches: Table::owned(60),
                auths: Table::owned(80),
            }
        };
        let config = Config {
            hosts: 1 + usize::from(way >> 6),
            max_outstanding: 8,
            max_request: 512,
            max_reply: 2048,
            timeout: 6000,
            ..Config::default()
        };
        let now = Instant(50_000);
        Self {
            session: Session::new(config, storage, now),
            now,
            fragment: if way & FRAGMENTS == 0 { usize::MAX } else { 7 },
            input: vec![],
            asked: VecDeque::new(),
            sent: vec![],
            greeted: false,
        }
    }

    fn step(&mut self, what: u8, bytes: &[u8]) {
        match what {
            // The shell connects, and hears that it is connected.
            b'd' => {
                if let Some(at) = self.session.poll_timeout() {
                    self.now = self.now.max(at);
                }
                if self.session.poll_dial(self.now).is_some() {
                    self.session.handle_connected(self.now);
                    self.input.clear();
                    self.sent.clear();
                    self.greeted = false;
                }
            }
            // The connection ends.
            b'l' => {
                self.session.handle_disconnected(self.now);
                self.input.clear();
            }
            b't' => {
                let ms = 40 * u64::from(bytes.first().copied().unwrap_or(0));
                self.now = self.now.plus(ms);
                self.session.handle_timeout(self.now);
            }
            // The server says something: bytes; a frame; a reply to the oldest request, with an
            // error or with these bytes.
            b'b' => self.receive(bytes),
            b'f' => self.receive(&[&(bytes.len() as i32).to_be_bytes(), bytes].concat()),
            b'e' | b'r' => {
                let Some(&(xid, _)) = self.asked.front() else { return };
                let err =
                    if what == b'r' { Code::Ok } else { Code(jute::decode(bytes).unwrap_or(-101)) };
                let header = encode(&ReplyHeader { xid, zxid: Zxid(7), err });
                let body = if what == b'r' { bytes } else { &[] };
                let len = ((header.len() + body.len()) as i32).to_be_bytes();
                self.receive(&[&len, &header[..], body].concat());
            }
            // The application asks for something.
            b'g' => {
                let (path, watch) = (bytes.into(), bytes.len() % 2 == 1);
                self.submit(OpCode::GetData, &PathWatch { path, watch });
            }
            b'x' => self.submit(OpCode::Exists, &PathWatch { path: bytes.into(), watch: true }),
            b'c' => {
                self.submit(OpCode::GetChildren2, &PathWatch { path: bytes.into(), watch: true });
            }
            b's' => {
                let set =
                    SetDataRequest { path: "/a".into(), data: Buffer::new(bytes), version: -1 };
                self.submit(OpCode::SetData, &set);
            }
            b'w' => {
                let mode = i32::from(bytes.first().copied().unwrap_or(0) % 3);
                self.submit(OpCode::AddWatch, &PathMode { path: bytes.into(), mode });
            }
            b'm' => {
                let mode = i32::from(bytes.first().copied().unwrap_or(0) % 7);
                self.submit(OpCode::RemoveWatches, &PathMode { path: bytes.into(), mode });
            }
            b'u' => {
                // Refused when there is no room, or no session any more.
                let _ = self.session.add_auth("digest", bytes);
            }
            b'n' => self.session.forget_watches(bytes, i32::from(bytes.len() as u8 % 6)),
            b'z' => self.session.close(),
            b'p' => self.transmit(usize::from(bytes.first().copied().unwrap_or(0))),
            _ => {}
        }
    }

    fn submit<T: serde::Serialize>(&mut self, op: OpCode, body: &T) {
        // Refused when there is no room, or no session any more.
        if let Ok(xid) = self.session.submit(op, body) {
            self.asked.push_back((xid, op));
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.fragment) {
            self.input.extend_from_slice(piece);
            loop {
                let Self { session, now, input, asked, .. } = self;
                let taken = session.receive(*now, input);
                if let Some(event) = taken.event {
                    heard(asked, event);
                }
                assert!(taken.consumed <= input.len());
                if taken.consumed == 0 {
                    // A closed connection takes all of nothing.
                    assert!(taken.need > input.len() || input.is_empty());
                    break;
                }
                let consumed = taken.consumed;
                input.drain(..consumed);
                self.events();
            }
            self.events();
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            heard(&mut self.asked, event);
        }
    }

    /// Sends what there is, so many bytes at most.
    fn transmit(&mut self, most: usize) {
        let mut room = vec![0; most.min(self.fragment)];
        let mut left = most;
        while left > 0 {
            let room = &mut room[..left.min(self.fragment)];
            let len = self.session.transmit(self.now, room);
            if len == 0 {
                break;
            }
            self.sent.extend_from_slice(&room[..len]);
            left -= len;
        }
        while let Some((len, rest)) = self.sent.split_first_chunk::<4>() {
            let Some(payload) = rest.get(..u32::from_be_bytes(*len) as usize) else { break };
            if core::mem::replace(&mut self.greeted, true) {
                let _: RequestHeader = jute::decode(payload).expect("a request");
            } else {
                let _: ConnectRequest<'_> = jute::decode(payload).expect("a handshake");
            }
            let taken = 4 + payload.len();
            self.sent.drain(..taken);
        }
    }

    fn check(&self) {
        assert_eq!(self.session.outstanding(), self.asked.len());
        assert!(self.asked.len() <= 8);
        if let Some(at) = self.session.poll_timeout() {
            // A turn that is due for ever would keep a shell busy.
            assert!(at >= Instant(50_000));
        }
    }

    /// Whatever has happened, a session that is closed and loses its connection ends, and leaves no
    /// request without an answer.
    fn finish(&mut self) {
        self.session.close();
        self.session.handle_disconnected(self.now);
        self.events();
        assert!(self.session.is_ended());
        assert!(self.asked.is_empty(), "{:?}", self.asked);
        assert_eq!(self.session.poll_timeout(), None);
        assert_eq!(self.session.transmit(self.now, &mut [0; 64]), 0);
    }
}

/// Holds a reply against the oldest request.
fn heard(asked: &mut VecDeque<(Xid, OpCode)>, event: Event<'_>) {
    if let Event::Reply(reply) = event {
        assert_eq!(asked.pop_front(), Some((reply.xid, reply.op)));
        assert_eq!(reply.header.xid, reply.xid);
    }
}

/// A handshake, requests, golden answers to them.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![];
    let connected = golden::frames("connect").into_iter().find(|frame| frame.part == "reply");
    let connected = connected.expect("an answer to connect").payload;
    for area in golden::AREAS {
        let frames = golden::frames(area);
        let said: Vec<_> = frames.iter().filter(|frame| frame.part != "request").collect();
        for (number, said) in said.chunks(8).enumerate() {
            let mut pieces: Vec<(u8, &[u8])> = vec![
                (b'u', b"bob:builder"),
                (b'd', b""),
                (b'p', b"\xff"),
                (b'f', &connected),
                (b'p', b"\xff"),
            ];
            for (at, frame) in said.iter().enumerate() {
                let verb = b"gxcswm"[(number + at) % 6];
                pieces.extend([(verb, &b"/w"[..]), (b'p', b"\xff")]);
                if frame.part.starts_with("event") {
                    pieces.push((b'f', &frame.payload));
                }
                pieces.push((b'r', frame.payload.get(16..).unwrap_or_default()));
                if at == 4 {
                    pieces.extend([(b'l', &b""[..]), (b'd', b""), (b'p', b"\xff")]);
                    pieces.extend([(b'f', &connected[..]), (b'p', b"\xff")]);
                }
            }
            pieces.push((if number % 2 == 0 { b'z' } else { b't' }, b"\xff"));
            for way in [0, SMALL, FRAGMENTS] {
                seeds.push([&[way], &input::join(&pieces)[..]].concat());
            }
        }
    }
    seeds
}
