//! A client that pipelines, loses its connection, and comes back elsewhere.

use std::collections::VecDeque;

use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::Link;
use zk_core::wire::client::{
    ConnectRequest, ConnectResponse, CreateRequest, MultiHeader, OPEN_ACL_UNSAFE, PathVersion,
    PathWatch, ReplyHeader, RequestHeader, SetDataRequest,
};
use zk_core::wire::jute::{self, Buffer, List, Trailing};
use zk_core::wire::{Code, OpCode};
use zk_std::store::simulated::Rng;

pub(crate) fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = vec![];
    jute::write(value, &mut out).unwrap();
    out
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = encode(&(payload.len() as i32));
    out.extend_from_slice(payload);
    out
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) xid: i32,
    pub(crate) op: OpCode,
    /// The highest zxid that any client had seen acknowledged by then: this comes later.
    pub(crate) after: Zxid,
}

pub(crate) struct Client {
    /// Node and its incarnation, and the link there.
    pub(crate) at: Option<(usize, u32, Link)>,
    pub(crate) session: SessionId,
    passwd: Vec<u8>,
    xid: i32,
    pub(crate) asked: VecDeque<Asked>,
    pub(crate) last_zxid: Zxid,
    pub(crate) input: Vec<u8>,
    output: Vec<u8>,
    open: bool,
}

/// What a client learned.
pub(crate) enum Learned {
    /// It has a session.
    Opened,
    /// Its session is over.
    Expired,
    /// A write was answered, with its zxid; whether it succeeded.
    Written(Zxid, bool, Asked),
    Read,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            at: None,
            session: SessionId::NONE,
            passwd: vec![0; 16],
            xid: 0,
            asked: VecDeque::new(),
            last_zxid: Zxid::ZERO,
            input: vec![],
            output: vec![],
            open: false,
        }
    }

    pub(crate) fn connected(&mut self, node: usize, life: u32, link: Link, rng: &mut Rng) {
        self.at = Some((node, life, link));
        self.open = false;
        self.asked.clear();
        self.output.clear();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid,
            timeout: 1000 + rng.below(1000) as i32,
            session_id: self.session,
            passwd: Buffer::new(&self.passwd),
            read_only: Trailing(Some(false)),
        };
        self.input = frame(&encode(&request));
    }

    pub(crate) fn disconnected(&mut self) {
        self.at = None;
        self.open = false;
        self.asked.clear();
        self.input.clear();
        self.output.clear();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn ask(&mut self, op: OpCode, body: &[u8], after: Zxid) {
        self.xid += 1;
        self.asked.push_back(Asked { xid: self.xid, op, after });
        let mut payload = encode(&RequestHeader { xid: Xid(self.xid), op });
        payload.extend_from_slice(body);
        self.input.extend(frame(&payload));
    }

    /// Keeps the session alive, now and then.
    pub(crate) fn ask_ping(&mut self, after: Zxid, really: bool) {
        if really {
            let path = encode(&PathWatch { path: "/".into(), watch: false });
            self.ask(OpCode::GetData, &path, after);
        }
    }

    pub(crate) fn ask_something(&mut self, rng: &mut Rng, after: Zxid) {
        let acl = encode(&OPEN_ACL_UNSAFE);
        let acl = List::from_raw(1, &acl);
        let path = path(rng);
        let data = vec![7; rng.below(60) as usize];
        let (op, body) = match rng.below(12) {
            0..=4 => {
                let flags = [0, 0, 1, 2, 3, 4][rng.below(6) as usize];
                let request =
                    CreateRequest { path: path.as_str().into(), data: data[..].into(), acl, flags };
                let op = if flags == 4 { OpCode::CreateContainer } else { OpCode::Create2 };
                (op, encode(&request))
            }
            5..=6 => {
                let data = data[..].into();
                let version = if rng.coin() { -1 } else { rng.below(4) as i32 };
                let path = path.as_str().into();
                (OpCode::SetData, encode(&SetDataRequest { path, data, version }))
            }
            7 => (OpCode::Delete, encode(&PathVersion { path: path.as_str().into(), version: -1 })),
            8 => {
                let mut body = vec![];
                for _ in 0..rng.below(4) {
                    let path = self::path(rng);
                    let header = MultiHeader { op: OpCode::Create, done: false, err: -1 };
                    let path = path.as_str().into();
                    let request = CreateRequest { path, data: data[..].into(), acl, flags: 0 };
                    body.extend(encode(&(header, request)));
                }
                body.extend(encode(&MultiHeader::END));
                (OpCode::Multi, body)
            }
            9 => (OpCode::Sync, encode(&jute::Ustring::from(path.as_str()))),
            _ => {
                let watch = rng.coin();
                (OpCode::GetData, encode(&PathWatch { path: path.as_str().into(), watch }))
            }
        };
        self.ask(op, &body, after);
    }

    /// Takes bytes of the server's.
    pub(crate) fn take(&mut self, bytes: &[u8], mut learn: impl FnMut(Learned)) {
        self.output.extend_from_slice(bytes);
        loop {
            let Some((len, rest)) = self.output.split_first_chunk::<4>() else { return };
            let len = u32::from_be_bytes(*len) as usize;
            let Some(frame) = rest.get(..len).map(<[u8]>::to_vec) else { return };
            self.output.drain(..4 + len);
            if !self.open {
                let response: ConnectResponse<'_> = jute::decode(&frame).unwrap();
                if response.session_id == SessionId::NONE {
                    self.session = SessionId::NONE;
                    self.passwd = vec![0; 16];
                    learn(Learned::Expired);
                    continue;
                }
                if self.session != SessionId::NONE {
                    assert_eq!(self.session, response.session_id);
                }
                self.session = response.session_id;
                self.passwd = response.passwd.bytes().to_vec();
                self.open = true;
                learn(Learned::Opened);
                continue;
            }
            let header: ReplyHeader = jute::decode(&frame).unwrap();
            if header.xid == Xid::EVENT {
                continue;
            }
            let asked = self.asked.pop_front().unwrap();
            assert_eq!(header.xid.0, asked.xid, "replies come in order");
            assert!(
                header.zxid >= self.last_zxid,
                "session {}: {} after {}",
                self.session,
                header.zxid,
                self.last_zxid
            );
            self.last_zxid = header.zxid;
            let write = !matches!(asked.op, OpCode::GetData | OpCode::Sync);
            if asked.op == OpCode::CloseSession {
                self.session = SessionId::NONE;
                self.passwd = vec![0; 16];
            }
            learn(if write {
                Learned::Written(header.zxid, header.err == Code::Ok, asked)
            } else {
                Learned::Read
            });
        }
    }
}

fn path(rng: &mut Rng) -> String {
    let depth = 1 + rng.below(3);
    (0..depth).map(|_| format!("/{}", ["a", "b", "c", "d"][rng.below(4) as usize])).collect()
}
