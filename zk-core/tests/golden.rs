//! Every record of the client port against bytes that Apache ZooKeeper 3.8.0 and an independent
//! client exchanged: each frame is decoded and encoded again, to the same bytes.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zk_core::id::Xid;
use zk_core::wire::client::{
    AuthPacket, ClientInfo, ConnectRequest, ConnectResponse, Create2Reply, CreateRequest,
    CreateTtlRequest, GetAclReply, GetChildren2Reply, GetDataReply, MultiHeader, PathMode,
    PathRecord, PathVersion, PathWatch, ReplyHeader, RequestHeader, SetAclRequest, SetDataRequest,
    SetWatches, SetWatches2, Stat, WatcherEvent,
};
use zk_core::wire::frame::{self, Frame};
use zk_core::wire::jute::{self, Buffer, Error, List, Reader, Ustring};
use zk_core::wire::{Code, OpCode};

/// A frame of a file: the exchange, its part (`request`, `reply`, `event`, ...), its payload.
struct Golden {
    name: String,
    part: String,
    payload: Vec<u8>,
}

fn goldens() -> Vec<Golden> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let mut all = vec![];
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let Some((name, hex)) = line.split_once(": ") else { continue };
            if name.starts_with('#') {
                continue;
            }
            let (name, part) = name.rsplit_once('.').unwrap();
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
                .collect();
            let mut rest = &bytes[..];
            while let Ok(Frame::Whole(payload)) = frame::first(rest, 1 << 20) {
                all.push(Golden {
                    name: name.into(),
                    part: part.into(),
                    payload: payload.to_vec(),
                });
                rest = &rest[frame::LEN + payload.len()..];
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
    all
}

/// Decodes a `T`, encodes it again, and compares.
fn same<'a, T: Serialize + Deserialize<'a>>(reader: &mut Reader<'a>) -> Result<(), Error> {
    let before = reader.rest();
    let value: T = reader.read()?;
    let taken = before.len() - reader.rest().len();
    let mut out = vec![];
    jute::write(&value, &mut out).unwrap();
    assert_eq!(out, &before[..taken]);
    Ok(())
}

fn multi(
    reader: &mut Reader<'_>,
    one: impl Fn(OpCode, &mut Reader<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    loop {
        let mut ahead = reader.clone();
        let header: MultiHeader = ahead.read()?;
        same::<MultiHeader>(reader)?;
        if header.done {
            return Ok(());
        }
        one(header.op, reader)?;
    }
}

fn request(op: OpCode, reader: &mut Reader<'_>) -> Result<(), Error> {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            same::<CreateRequest<'_>>(reader)
        }
        OpCode::CreateTtl => same::<CreateTtlRequest<'_>>(reader),
        OpCode::Delete | OpCode::Check => same::<PathVersion<'_>>(reader),
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            same::<PathWatch<'_>>(reader)
        }
        OpCode::SetData => same::<SetDataRequest<'_>>(reader),
        OpCode::SetAcl => same::<SetAclRequest<'_>>(reader),
        OpCode::GetAcl | OpCode::Sync | OpCode::GetEphemerals | OpCode::GetAllChildrenNumber => {
            same::<PathRecord<'_>>(reader)
        }
        OpCode::AddWatch | OpCode::CheckWatches | OpCode::RemoveWatches => {
            same::<PathMode<'_>>(reader)
        }
        OpCode::SetWatches => same::<SetWatches<'_>>(reader),
        OpCode::SetWatches2 => same::<SetWatches2<'_>>(reader),
        OpCode::Auth => same::<AuthPacket<'_>>(reader),
        OpCode::Sasl => same::<Buffer<'_>>(reader),
        OpCode::Multi | OpCode::MultiRead => multi(reader, request),
        _ => Ok(()),
    }
}

fn reply(op: OpCode, reader: &mut Reader<'_>) -> Result<(), Error> {
    match op {
        OpCode::Create | OpCode::Sync => same::<PathRecord<'_>>(reader),
        OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            same::<Create2Reply<'_>>(reader)
        }
        OpCode::Exists | OpCode::SetData | OpCode::SetAcl => same::<Stat>(reader),
        OpCode::GetData => same::<GetDataReply<'_>>(reader),
        OpCode::GetAcl => same::<GetAclReply<'_>>(reader),
        OpCode::GetChildren | OpCode::GetEphemerals => same::<List<'_, Ustring<'_>>>(reader),
        OpCode::GetChildren2 => same::<GetChildren2Reply<'_>>(reader),
        OpCode::GetAllChildrenNumber | OpCode::AddWatch | OpCode::Error => same::<Code>(reader),
        OpCode::WhoAmI => same::<List<'_, ClientInfo<'_>>>(reader),
        OpCode::Sasl => same::<Buffer<'_>>(reader),
        OpCode::Multi | OpCode::MultiRead => multi(reader, reply),
        _ => Ok(()),
    }
}

#[test]
fn records_are_apaches_bytes() {
    let mut asked: Vec<(String, OpCode)> = vec![];
    let (mut requests, mut replies) = (BTreeSet::new(), BTreeSet::new());
    let mut count = 0;
    for Golden { name, part, payload } in goldens() {
        count += 1;
        let mut reader = Reader::new(&payload);
        match part.as_str() {
            // No request but the first has xid 0.
            "request" if payload.starts_with(&[0; 4]) => {
                same::<ConnectRequest<'_>>(&mut reader).unwrap();
                assert!(reader.rest().is_empty(), "{name}");
                asked.push((name, OpCode::CreateSession));
            }
            "request" => {
                let header: RequestHeader = reader.read().unwrap();
                // Some are truncated on purpose; a whole one leaves nothing.
                if request(header.op, &mut reader).is_ok() && reader.rest().is_empty() {
                    requests.insert(header.op.0);
                }
                asked.push((name, header.op));
            }
            part if part.starts_with("event") => {
                let header: ReplyHeader = reader.read().unwrap();
                assert_eq!(header.xid, Xid::EVENT);
                same::<WatcherEvent<'_>>(&mut reader).unwrap();
                assert!(reader.rest().is_empty(), "{name}");
            }
            _ => {
                let op = asked.iter().rev().find(|(n, _)| *n == name).map(|(_, op)| *op);
                match op {
                    Some(OpCode::CreateSession) => {
                        same::<ConnectResponse<'_>>(&mut reader).unwrap();
                        assert!(reader.rest().is_empty(), "{name}");
                    }
                    Some(op) => {
                        let header: ReplyHeader = reader.read().unwrap();
                        if header.xid == Xid::EVENT {
                            same::<WatcherEvent<'_>>(&mut reader).unwrap();
                        } else if header.err == Code::Ok {
                            reply(op, &mut reader).unwrap();
                            replies.insert(op.0);
                        }
                        assert!(reader.rest().is_empty(), "{name}.{part}: {:?}", reader.rest());
                    }
                    None => panic!("{name}.{part} has no request"),
                }
            }
        }
    }
    assert!(count > 300, "only {count} frames");
    for op in
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 19, 21, 22, 100, 101, 103, 104, 105, 106]
    {
        assert!(requests.contains(&op), "no request of type {op}");
    }
    for op in [1, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 19, 21, 22, 103, 104, 106, 107] {
        assert!(replies.contains(&op), "no reply of type {op}");
    }
}
