//! The codec: golden bytes both ways, and inputs that end early.

use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::wire::client::{ConnectRequest, ReplyHeader, RequestHeader, Stat};
use zk_core::wire::frame::{self, Frame};
use zk_core::wire::jute::{self, Buffer, Error, Trailing};
use zk_core::wire::{Code, OpCode};

tests![
    a_connect_request_has_its_bytes,
    a_connect_request_of_an_old_client_is_shorter,
    headers_have_their_bytes,
    a_stat_is_68_bytes,
    every_input_that_ends_early_is_truncated,
    lengths_from_outside_are_not_believed,
    frames_are_cut_in_any_fragments,
];

/// What a client without a session sends first, without the frame's length.
#[rustfmt::skip]
const CONNECT: [u8; 45] = [
    0, 0, 0, 0,                 // protocol version
    0, 0, 0, 0, 0, 0, 0, 7,     // last zxid seen
    0, 0, 0x75, 0x30,           // timeout, 30000 ms
    0, 0, 0, 0, 0, 0, 0, 0,     // no session yet
    0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // password
    1,                          // a read-only server will do
];

const PASSWD: [u8; 16] = [0; 16];

fn connect(read_only: Option<bool>) -> ConnectRequest<'static> {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid(7),
        timeout: 30_000,
        session_id: SessionId::NONE,
        passwd: Buffer::new(&PASSWD),
        read_only: Trailing(read_only),
    }
}

fn a_connect_request_has_its_bytes() {
    let mut out = [0xaa; 64];
    let len = jute::encode(&connect(Some(true)), &mut out);
    assert_eq!(len, Ok(CONNECT.len()));
    assert_eq!(out[..CONNECT.len()], CONNECT);
    assert_eq!(out[CONNECT.len()..], [0xaa; 64 - CONNECT.len()]);
    assert_eq!(jute::decode(&CONNECT), Ok(connect(Some(true))));
}

fn a_connect_request_of_an_old_client_is_shorter() {
    let old = &CONNECT[..CONNECT.len() - 1];
    assert_eq!(jute::decode(old), Ok(connect(None)));
    assert_eq!(jute::size(&connect(None)), old.len());
}

fn headers_have_their_bytes() {
    let bytes = [0, 0, 0, 9, 0, 0, 0, 4];
    let header = RequestHeader { xid: Xid(9), op: OpCode::GetData };
    assert_eq!(jute::decode(&bytes), Ok(header));
    let bytes = [0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0x9b];
    let header = ReplyHeader { xid: Xid::PING, zxid: Zxid(0x1_0000_0002), err: Code::NoNode };
    let mut out = [0; 16];
    assert_eq!(jute::encode(&header, &mut out), Ok(16));
    assert_eq!(out, bytes);
    assert_eq!(jute::encode(&header, &mut out[..15]), Err(Error::Full));
}

fn a_stat_is_68_bytes() {
    let stat = Stat {
        czxid: Zxid(1),
        mzxid: Zxid(2),
        ctime: -1,
        mtime: i64::MAX,
        version: 3,
        cversion: i32::MIN,
        aversion: -1,
        ephemeral_owner: 0x0102_0304_0506_0708,
        data_length: 5,
        num_children: 6,
        pzxid: Zxid(7),
    };
    let mut out = [0; 68];
    assert_eq!(jute::encode(&stat, &mut out), Ok(68));
    assert_eq!(out[44..52], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(jute::decode(&out), Ok(stat));
}

fn every_input_that_ends_early_is_truncated() {
    for end in 0..CONNECT.len() - 1 {
        let found = jute::decode::<ConnectRequest<'_>>(&CONNECT[..end]);
        assert_eq!(found, Err(Error::Truncated), "{end} bytes");
    }
}

fn lengths_from_outside_are_not_believed() {
    for (len, error) in [
        (17, Error::Truncated),
        (i32::MAX, Error::Truncated),
        (-2, Error::Length),
        (i32::MIN, Error::Length),
    ] {
        let mut bytes = CONNECT;
        bytes[24..28].copy_from_slice(&i32::to_be_bytes(len));
        let found = jute::decode::<ConnectRequest<'_>>(&bytes[..44]);
        assert_eq!(found, Err(error), "{len}");
    }
}

fn frames_are_cut_in_any_fragments() {
    let mut stream = [0; 4 + CONNECT.len() + 4];
    stream[3] = 45;
    stream[4..49].copy_from_slice(&CONNECT);
    for fragment in [1, 7, 64] {
        let mut shown = 0;
        let payload = loop {
            match frame::first(&stream[..shown], 1024) {
                Ok(Frame::Whole(payload)) => break payload,
                Ok(Frame::Need(need)) => {
                    assert!(need > shown && need <= 49, "needs {need} at {shown}");
                    shown = (shown + fragment).min(stream.len());
                }
                Err(error) => panic!("{error} at {shown}"),
            }
        };
        assert_eq!(payload, CONNECT);
    }
    assert_eq!(frame::first(&stream, 44), Err(Error::Length));
}
