//! One session of the load generator: encodes requests, verifies every reply to the last byte.

use core::net::{Ipv4Addr, SocketAddr};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde::Serialize;
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::wire::client::{
    Acl, ConnectRequest, ConnectResponse, Create2Reply, CreateRequest, GetDataReply,
    OPEN_ACL_UNSAFE, PathRecord, PathReply, PathVersion, PathWatch, ReplyHeader, RequestHeader,
    SetDataRequest, Stat,
};
use zk_core::wire::frame::{self, Frame};
use zk_core::wire::jute::{self, Buffer, List, Reader, Trailing, Ustring};
use zk_core::wire::{Code, OpCode};

use crate::Result;

/// The session timeout that is asked for, ms: what servers grant by default (20 ticks).
const TIMEOUT_MS: i32 = 40_000;
/// The largest reply that is accepted.
const FRAME_MAX: usize = 8 << 20;
/// Bytes that are asked of the kernel at once.
const READ: usize = 256 << 10;
/// Bytes of a value that name its node and version.
const TAG: usize = 16;

/// What the reply to a request must say.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// create2 of a node of the session.
    Prepare { node: usize },
    /// getData, behind all that was sent before.
    Get { node: usize },
    /// setData.
    Set { node: usize },
    /// create of a short-lived node.
    Create { number: u32 },
    /// delete of a short-lived node.
    Delete,
    /// delete of a node of the session.
    Remove,
    /// closeSession.
    Close,
}

/// A node that only this session writes, as the last verified reply left it.
#[derive(Clone, Debug)]
struct Node {
    path: String,
    /// Data version that the next reply must show.
    version: i32,
    /// Its stat; all of it is compared when the node is read.
    stat: Stat,
}

/// A session, over a blocking stream or one of mio's.
#[derive(Debug)]
pub(crate) struct Session<S> {
    pub(crate) stream: S,
    /// Under which its nodes lie.
    parent: String,
    seed: u64,
    nodes: Vec<Node>,
    value: usize,
    noise: Vec<u8>,
    acl: Vec<u8>,
    in_flight: VecDeque<(i32, Sent)>,
    xid: i32,
    zxid: Zxid,
    /// Short-lived nodes created so far.
    created: u32,
    /// Whether the last of them is still to be deleted.
    owed: bool,
    /// Operations answered and verified.
    pub(crate) done: u64,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    start: usize,
    end: usize,
    scratch: Vec<u8>,
}

/// Opens a session on a server of this machine; returns once it was granted.
pub(crate) fn open(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.set_nodelay(true)?;
    ask(&mut stream)?;
    granted(&mut stream)?;
    Ok(stream)
}

/// Asks for a new session.
pub(crate) fn ask(stream: &mut TcpStream) -> Result<()> {
    let mut frame = Vec::new();
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout: TIMEOUT_MS,
        session_id: SessionId::NONE,
        passwd: Buffer::new(&[0; 16]),
        read_only: Trailing(Some(false)),
    };
    framed(&mut frame, |out| jute::write(&request, out))?;
    Ok(stream.write_all(&frame)?)
}

/// Reads the answer to [`ask`].
pub(crate) fn granted(stream: &mut TcpStream) -> Result<()> {
    let frame = read_frame(stream)?;
    let answer: ConnectResponse<'_> = jute::decode(&frame)?;
    if answer.session_id == SessionId::NONE
        || answer.timeout <= 0
        || answer.passwd.bytes().len() != 16
    {
        return Err(format!("wrong answer: no session was granted: {answer:?}").into());
    }
    Ok(())
}

/// Reads one frame from a blocking stream.
pub(crate) fn read_frame(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut len = [0; frame::LEN];
    stream.read_exact(&mut len)?;
    let len = usize::try_from(i32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len > FRAME_MAX {
        return Err(format!("wrong answer: a frame of {len} bytes").into());
    }
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

/// Sends one request on a blocking stream and returns the body of its successful reply; events that
/// come before it are dropped.
pub(crate) fn call<B: Serialize>(
    stream: &mut TcpStream,
    xid: i32,
    op: OpCode,
    body: &B,
) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    framed(&mut request, |out| {
        jute::write(&RequestHeader { xid: Xid(xid), op }, out)?;
        jute::write(body, out)
    })?;
    stream.write_all(&request)?;
    loop {
        let reply = read_frame(stream)?;
        let mut reader = Reader::new(&reply);
        let header: ReplyHeader = reader.read()?;
        if header.xid == Xid::EVENT {
            continue;
        }
        if header.xid != Xid(xid) || header.err != Code::Ok {
            return Err(format!("wrong answer to {op:?}: {header:?}").into());
        }
        return Ok(reader.rest().to_vec());
    }
}

/// Appends a frame whose payload `fill` writes.
pub(crate) fn framed(
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> core::result::Result<(), jute::Error>,
) -> Result<()> {
    let at = out.len();
    out.extend_from_slice(&[0; frame::LEN]);
    fill(out)?;
    let len = i32::try_from(out.len() - at - frame::LEN)?;
    out[at..at + frame::LEN].copy_from_slice(&len.to_be_bytes());
    Ok(())
}

/// The encoding of the usual ACL, as a list's elements.
pub(crate) fn open_acl() -> Result<Vec<u8>> {
    let mut acl = Vec::new();
    jute::write(&OPEN_ACL_UNSAFE, &mut acl)?;
    Ok(acl)
}

/// A list with the one entry that [`open_acl`] encoded.
pub(crate) fn one_acl(acl: &[u8]) -> List<'_, Acl<'_>> {
    List::from_raw(1, acl)
}

/// The next of a cheap sequence of random numbers (SplitMix64).
pub(crate) fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Bytes that no two nodes and no two versions share: the tag, then noise from a place that
/// depends on both.
fn value(noise: &[u8], node: u64, version: i32, len: usize) -> ([u8; TAG], &[u8]) {
    let mut tag = [0; TAG];
    tag[..8].copy_from_slice(&node.to_be_bytes());
    tag[8..].copy_from_slice(&i64::from(version).to_be_bytes());
    let from = (node as usize).wrapping_mul(31).wrapping_add(version as usize * 7) % 256;
    (tag, &noise[from..from + len - TAG])
}

impl Session<TcpStream> {
    /// Opens a session and creates `nodes` nodes with values of `value` bytes (16 or more) under
    /// `parent`, which exists.
    pub(crate) fn prepare(port: u16, parent: &str, nodes: usize, value: usize) -> Result<Self> {
        let mut seed = parent.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
        let noise = (0..value + 256).map(|_| random(&mut seed) as u8).collect();
        let node = |number| Node {
            path: format!("{parent}/n{number:04}"),
            version: 0,
            stat: Stat::default(),
        };
        let mut session = Self {
            stream: open(port)?,
            parent: parent.to_owned(),
            seed,
            nodes: (0..nodes).map(node).collect(),
            value,
            noise,
            acl: open_acl()?,
            in_flight: VecDeque::new(),
            xid: 0,
            zxid: Zxid::ZERO,
            created: 0,
            owed: false,
            done: 0,
            out: Vec::new(),
            written: 0,
            input: vec![0; READ],
            start: 0,
            end: 0,
            scratch: Vec::new(),
        };
        for node in 0..nodes {
            session.push(Sent::Prepare { node })?;
        }
        session.finish()?;
        session.done = 0;
        Ok(session)
    }

    /// The same session on a stream that does not block.
    pub(crate) fn into_mio(self) -> Result<Session<mio::net::TcpStream>> {
        self.stream.set_nonblocking(true)?;
        Ok(self.on(mio::net::TcpStream::from_std))
    }

    /// Writes what is queued and reads until everything was answered.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        while !self.in_flight.is_empty() {
            let n = self.read_some()?;
            if n == 0 {
                return Err("the server closed the connection".into());
            }
            self.verify_input()?;
        }
        Ok(())
    }

    /// Deletes its nodes and closes the session.
    pub(crate) fn close(mut self) -> Result<()> {
        for node in 0..self.nodes.len() {
            self.remove(node)?;
        }
        self.push(Sent::Close)?;
        self.finish()
    }
}

impl Session<mio::net::TcpStream> {
    /// The same session on a stream that blocks.
    pub(crate) fn into_blocking(self) -> Result<Session<TcpStream>> {
        let session = self.on(TcpStream::from);
        session.stream.set_nonblocking(false)?;
        Ok(session)
    }
}

impl<S> Session<S> {
    fn on<T>(self, change: impl FnOnce(S) -> T) -> Session<T> {
        Session {
            stream: change(self.stream),
            parent: self.parent,
            seed: self.seed,
            nodes: self.nodes,
            value: self.value,
            noise: self.noise,
            acl: self.acl,
            in_flight: self.in_flight,
            xid: self.xid,
            zxid: self.zxid,
            created: self.created,
            owed: self.owed,
            done: self.done,
            out: self.out,
            written: self.written,
            input: self.input,
            start: self.start,
            end: self.end,
            scratch: self.scratch,
        }
    }

    /// Requests that wait for their replies.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A number below `n`, at random.
    pub(crate) fn pick(&mut self, n: usize) -> usize {
        random(&mut self.seed) as usize % n
    }

    /// Queues a getData of one of its nodes.
    pub(crate) fn get(&mut self) -> Result<()> {
        let node = self.pick(self.nodes.len());
        self.push(Sent::Get { node })
    }

    /// Queues a setData of one of its nodes.
    pub(crate) fn set(&mut self) -> Result<()> {
        let node = self.pick(self.nodes.len());
        self.push(Sent::Set { node })
    }

    /// Queues the create of a node, or the delete of the one that was created last.
    pub(crate) fn create_or_delete(&mut self) -> Result<()> {
        let sent = if self.owed { Sent::Delete } else { Sent::Create { number: self.created } };
        self.owed = !self.owed;
        self.push(sent)
    }

    /// Whether a short-lived node is left to be deleted.
    pub(crate) fn owes_delete(&self) -> bool {
        self.owed
    }

    fn remove(&mut self, node: usize) -> Result<()> {
        let path = core::mem::take(&mut self.nodes[node].path);
        self.request(OpCode::Delete, Sent::Remove, |_, out| {
            jute::write(&PathVersion { path: path.as_str().into(), version: -1 }, out)
        })
    }

    fn short_lived(&self, number: u32) -> String {
        format!("{}/c{number:08}", self.parent)
    }

    fn push(&mut self, sent: Sent) -> Result<()> {
        match sent {
            Sent::Get { node } => self.request(OpCode::GetData, sent, |session, out| {
                let path = session.nodes[node].path.as_str().into();
                jute::write(&PathWatch { path, watch: false }, out)
            }),
            Sent::Set { node } => {
                self.nodes[node].version += 1;
                self.fill(node as u64, self.nodes[node].version);
                self.request(OpCode::SetData, sent, |session, out| {
                    let Node { path, version, .. } = &session.nodes[node];
                    let data = Buffer::new(&session.scratch);
                    let path = path.as_str().into();
                    // A conditional write: the server's version must be the one known here.
                    jute::write(&SetDataRequest { path, data, version: version - 1 }, out)
                })
            }
            Sent::Prepare { node } => {
                self.fill(node as u64, 0);
                self.request(OpCode::Create2, sent, |session, out| {
                    let path = session.nodes[node].path.as_str().into();
                    session.create(path, out)
                })
            }
            Sent::Create { number } => {
                self.created += 1;
                self.fill(u64::from(number), -1);
                let path = self.short_lived(number);
                self.request(OpCode::Create, sent, |session, out| {
                    session.create(path.as_str().into(), out)
                })
            }
            Sent::Delete => {
                let path = self.short_lived(self.created - 1);
                self.request(OpCode::Delete, sent, |_, out| {
                    jute::write(&PathVersion { path: path.as_str().into(), version: 0 }, out)
                })
            }
            Sent::Close => self.request(OpCode::CloseSession, sent, |_, _| Ok(())),
            Sent::Remove => Err("a removal has a path".into()),
        }
    }

    fn create(
        &self,
        path: Ustring<'_>,
        out: &mut Vec<u8>,
    ) -> core::result::Result<(), jute::Error> {
        let data = Buffer::new(&self.scratch);
        jute::write(&CreateRequest { path, data, acl: one_acl(&self.acl), flags: 0 }, out)
    }

    fn fill(&mut self, node: u64, version: i32) {
        let (tag, noise) = value(&self.noise, node, version.max(0), self.value);
        self.scratch.clear();
        self.scratch.extend_from_slice(&tag);
        self.scratch.extend_from_slice(noise);
    }

    fn request(
        &mut self,
        op: OpCode,
        sent: Sent,
        body: impl FnOnce(&Self, &mut Vec<u8>) -> core::result::Result<(), jute::Error>,
    ) -> Result<()> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        let mut out = core::mem::take(&mut self.out);
        let xid = Xid(self.xid);
        let queued = framed(&mut out, |out| {
            jute::write(&RequestHeader { xid, op }, out)?;
            body(self, out)
        });
        self.out = out;
        self.in_flight.push_back((self.xid, sent));
        queued
    }

    /// Verifies and takes all whole frames that were read.
    fn verify_input(&mut self) -> Result<()> {
        let input = core::mem::take(&mut self.input);
        let mut need = frame::LEN;
        let checked = loop {
            match frame::first(&input[self.start..self.end], FRAME_MAX) {
                Ok(Frame::Whole(payload)) => {
                    self.start += frame::LEN + payload.len();
                    if let Err(error) = self.verify(payload) {
                        break Err(error);
                    }
                }
                Ok(Frame::Need(bytes)) => {
                    need = bytes;
                    break Ok(());
                }
                Err(error) => break Err(error.into()),
            }
        };
        self.input = input;
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.input.len() < need {
            self.input.resize(need, 0);
        }
        checked
    }

    fn verify(&mut self, payload: &[u8]) -> Result<()> {
        let mut reader = Reader::new(payload);
        let header: ReplyHeader = reader.read()?;
        let Some((xid, sent)) = self.in_flight.pop_front() else {
            return Err(
                format!("wrong answer: nothing was asked, and this came: {header:?}").into()
            );
        };
        let wrong = |what: &str| {
            Err(format!("wrong answer: {what}, to {sent:?} under {}: {header:?}", self.parent)
                .into())
        };
        if header.xid != Xid(xid) {
            return wrong("another xid");
        }
        if header.err != Code::Ok {
            return wrong("an error");
        }
        let writes = !matches!(sent, Sent::Get { .. });
        if header.zxid.0 < self.zxid.0 + i64::from(writes) {
            return wrong("an old zxid");
        }
        self.zxid = header.zxid;
        match sent {
            Sent::Prepare { node } => {
                let reply: Create2Reply<'_> = reader.read()?;
                let node = &mut self.nodes[node];
                let expected = Stat {
                    czxid: header.zxid,
                    mzxid: header.zxid,
                    pzxid: header.zxid,
                    ctime: reply.stat.ctime,
                    mtime: reply.stat.ctime,
                    data_length: self.value as i32,
                    ..Stat::default()
                };
                if reply.path.bytes() != node.path.as_bytes() || reply.stat != expected {
                    return wrong("another node");
                }
                node.stat = reply.stat;
            }
            Sent::Get { node } => {
                let reply: GetDataReply<'_> = reader.read()?;
                let stat = &self.nodes[node].stat;
                let (tag, noise) = value(&self.noise, node as u64, stat.version, self.value);
                if reply.stat != *stat {
                    return wrong("another stat");
                }
                let data = reply.data.bytes();
                if data.get(..TAG) != Some(&tag) || data.get(TAG..) != Some(noise) {
                    return wrong("other data");
                }
            }
            Sent::Set { node } => {
                let stat: Stat = reader.read()?;
                let node = &mut self.nodes[node];
                let expected = Stat {
                    mzxid: header.zxid,
                    mtime: stat.mtime.max(node.stat.mtime),
                    version: node.stat.version + 1,
                    ..node.stat
                };
                if stat != expected {
                    return wrong("another stat");
                }
                node.stat = stat;
            }
            Sent::Create { number } => {
                let reply: PathReply<'_> = reader.read()?;
                if reply != (PathRecord { path: self.short_lived(number).as_str().into() }) {
                    return wrong("another path");
                }
            }
            Sent::Delete | Sent::Remove | Sent::Close => {}
        }
        if !reader.rest().is_empty() {
            return wrong("bytes behind the reply");
        }
        self.done += 1;
        Ok(())
    }
}

impl<S: Read + Write> Session<S> {
    fn read_some(&mut self) -> std::io::Result<usize> {
        let n = self.stream.read(&mut self.input[self.end..])?;
        self.end += n;
        Ok(n)
    }

    /// Reads and verifies what is there, on a stream that does not block.
    pub(crate) fn receive(&mut self) -> Result<()> {
        loop {
            let room = self.input.len() - self.end;
            match self.read_some() {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(n) => {
                    self.verify_input()?;
                    // Less than was asked for: the socket is empty, and tells when it is not.
                    if n < room {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what the socket takes, on a stream that does not block.
    pub(crate) fn send(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}
