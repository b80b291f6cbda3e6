//! A large tree: created through multi, and checked after a start.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use zk_core::id::Xid;
use zk_core::wire::client::{
    CreateRequest, GetDataReply, MultiHeader, PathRecord, PathReply, PathWatch, ReplyHeader,
    RequestHeader,
};
use zk_core::wire::jute::{self, Buffer, Reader};
use zk_core::wire::{Code, OpCode};

use crate::Result;
use crate::process::go_on;
use crate::session;

/// Creates in one multi.
const BATCH: usize = 500;
/// Children of each directory.
const FANOUT: usize = 1000;
/// Bytes of each value.
const VALUE: usize = 100;
/// Nodes that are read back after a start.
const SAMPLES: usize = 2000;

fn path(number: usize) -> String {
    format!("/tree/d{:04}/node-{number:08}", number / FANOUT)
}

fn value(number: usize) -> [u8; VALUE] {
    let mut seed = number as u64;
    core::array::from_fn(|_| session::random(&mut seed) as u8)
}

/// Creates `nodes` nodes below `/tree`.
pub(crate) fn build(port: u16, nodes: usize) -> Result<()> {
    let mut stream = session::open(port)?;
    let mut xid = 0;
    let directories = (0..nodes.div_ceil(FANOUT)).map(|number| format!("/tree/d{number:04}"));
    let directories: Vec<_> = core::iter::once("/tree".to_owned()).chain(directories).collect();
    for paths in directories.chunks(BATCH) {
        xid += 1;
        multi(&mut stream, xid, paths.iter().map(|path| (path.clone(), Vec::new())))?;
    }
    for first in (0..nodes).step_by(BATCH) {
        xid += 1;
        let numbers = first..nodes.min(first + BATCH);
        multi(&mut stream, xid, numbers.map(|number| (path(number), value(number).to_vec())))?;
    }
    Ok(())
}

fn multi(
    stream: &mut TcpStream,
    xid: i32,
    creates: impl Iterator<Item = (String, Vec<u8>)> + Clone,
) -> Result<()> {
    go_on()?;
    let acl = session::open_acl()?;
    let mut request = Vec::new();
    session::framed(&mut request, |out| {
        jute::write(&RequestHeader { xid: Xid(xid), op: OpCode::Multi }, out)?;
        for (path, data) in creates.clone() {
            let acl = session::one_acl(&acl);
            let path = path.as_str().into();
            jute::write(&MultiHeader { op: OpCode::Create, done: false, err: -1 }, out)?;
            jute::write(&CreateRequest { path, data: Buffer::new(&data), acl, flags: 0 }, out)?;
        }
        jute::write(&MultiHeader::END, out)
    })?;
    stream.write_all(&request)?;
    let reply = session::read_frame(stream)?;
    let mut reader = Reader::new(&reply);
    let header: ReplyHeader = reader.read()?;
    if header.xid != Xid(xid) || header.err != Code::Ok {
        return Err(format!("wrong answer to a multi: {header:?}").into());
    }
    for (path, _) in creates {
        let result: MultiHeader = reader.read()?;
        let created: PathReply<'_> = reader.read()?;
        if result != (MultiHeader { op: OpCode::Create, done: false, err: 0 })
            || created.path.bytes() != path.as_bytes()
        {
            return Err(format!("wrong answer to a multi: {result:?} {created:?}").into());
        }
    }
    if reader.read::<MultiHeader>()? != MultiHeader::END || !reader.rest().is_empty() {
        return Err("wrong answer to a multi: no end".into());
    }
    Ok(())
}

/// Counts the nodes and reads some of them back.
pub(crate) fn check(port: u16, nodes: usize) -> Result<()> {
    let mut stream = session::open(port)?;
    let all = PathRecord { path: "/tree".into() };
    let body = session::call(&mut stream, 1, OpCode::GetAllChildrenNumber, &all)?;
    let count: i32 = jute::decode(&body)?;
    if usize::try_from(count) != Ok(nodes + nodes.div_ceil(FANOUT)) {
        return Err(format!("wrong answer: {count} nodes below /tree").into());
    }
    let mut seed = 1;
    for xid in (2..).take(SAMPLES) {
        let number = session::random(&mut seed) as usize % nodes;
        let path = path(number);
        let get = PathWatch { path: path.as_str().into(), watch: false };
        let body = session::call(&mut stream, xid, OpCode::GetData, &get)?;
        let reply: GetDataReply<'_> = jute::decode(&body)?;
        if reply.data.bytes() != value(number) || reply.stat.data_length != VALUE as i32 {
            return Err(format!("wrong answer: {path} holds {reply:?}").into());
        }
    }
    Ok(())
}

/// Copies a data directory.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
