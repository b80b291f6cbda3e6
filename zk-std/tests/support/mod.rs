//! Servers, and a client that says exactly what it is told.

#[allow(dead_code, reason = "a member knows where it is, and is stopped by its test alone")]
mod driver;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::wire::client::{
    ConnectRequest, ConnectResponse, CreateRequest, GetDataReply, OPEN_ACL_UNSAFE, PathWatch,
    ReplyHeader, RequestHeader,
};
use zk_core::wire::jute::{self, Buffer, List, Reader, Trailing, Ustring};
use zk_core::wire::{Code, OpCode};

pub(crate) use driver::{Running, start};

/// Nothing here takes longer, unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(payload);
    out
}

pub(crate) fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = vec![];
    jute::write(value, &mut out).unwrap();
    out
}

pub(crate) fn connect_frame(session: SessionId, passwd: &[u8], timeout: i32) -> Vec<u8> {
    frame(&encode(&ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout,
        session_id: session,
        passwd: Buffer(Some(passwd)),
        read_only: Trailing(Some(false)),
    }))
}

pub(crate) fn create_frame(xid: i32, path: &str, data: &[u8]) -> Vec<u8> {
    let mut room = [0; 64];
    frame(&encode(&(
        RequestHeader { xid: Xid(xid), op: OpCode::Create },
        CreateRequest {
            path: Ustring::new(path.as_bytes()),
            data: Buffer(Some(data)),
            acl: List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap(),
            flags: 0,
        },
    )))
}

pub(crate) fn get_frame(xid: i32, path: &str) -> Vec<u8> {
    frame(&encode(&(
        RequestHeader { xid: Xid(xid), op: OpCode::GetData },
        PathWatch { path: Ustring::new(path.as_bytes()), watch: false },
    )))
}

/// A client that says exactly what it is told.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) session: SessionId,
    pub(crate) passwd: Vec<u8>,
}

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::with_timeout(address, 30_000)
    }

    pub(crate) fn with_timeout(address: SocketAddr, timeout: i32) -> Self {
        let mut stream = raw(address);
        stream.write_all(&connect_frame(SessionId::NONE, &[0; 16], timeout)).unwrap();
        let reply = read_frame(&mut stream).unwrap();
        let reply: ConnectResponse<'_> = jute::decode(&reply).unwrap();
        assert_ne!(reply.session_id, SessionId::NONE);
        let passwd = reply.passwd.bytes().to_vec();
        Self { stream, session: reply.session_id, passwd }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn reply(&mut self) -> (ReplyHeader, Vec<u8>) {
        let reply = read_frame(&mut self.stream).unwrap();
        let mut reader = Reader::new(&reply);
        let header = reader.read().unwrap();
        (header, reader.rest().to_vec())
    }

    pub(crate) fn create(&mut self, xid: i32, path: &str, data: &[u8]) -> Code {
        self.send(&create_frame(xid, path, data));
        let (header, _) = self.reply();
        assert_eq!(header.xid, Xid(xid));
        header.err
    }

    pub(crate) fn get(&mut self, xid: i32, path: &str) -> Result<Vec<u8>, Code> {
        self.send(&get_frame(xid, path));
        let (header, body) = self.reply();
        assert_eq!(header.xid, Xid(xid));
        if header.err != Code::Ok {
            return Err(header.err);
        }
        let reply: GetDataReply<'_> = jute::decode(&body).unwrap();
        Ok(reply.data.bytes().to_vec())
    }
}

pub(crate) fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut payload = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}

/// Waits for the end of a connection, which says nothing more.
pub(crate) fn word(address: SocketAddr, word: &[u8]) -> String {
    let mut stream = raw(address);
    stream.write_all(word).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
