//! A large tree: created through multi, and checked after a start.

use std::fs;
use std::path::Path;

use zk_core::wire::OpCode;
use zk_core::wire::client::{
    CreateRequest, GetDataReply, MultiHeader, PathRecord, PathReply, PathWatch,
};
use zk_core::wire::jute::{self, Buffer, Reader};

use crate::Result;
use crate::process::go_on;
use crate::session;

/// Creates in one multi.
const BATCH: usize = 500;
/// Children of each directory.
pub(crate) const FANOUT: usize = 1000;
/// Bytes of each value.
const VALUE: usize = 100;
/// Nodes that are read back after a start.
const SAMPLES: usize = 2000;

/// The path of a node of the tree.
pub(crate) fn path(number: usize) -> String {
    format!("/tree/d{:04}/node-{number:08}", number / FANOUT)
}

fn value(number: usize) -> [u8; VALUE] {
    let mut seed = number as u64;
    core::array::from_fn(|_| session::random(&mut seed) as u8)
}

/// The numbers below `count` in an order in which neighbours are far apart: siblings that were
/// created one after the other would lie side by side in memory, as they seldom do.
pub(crate) fn scattered(count: usize) -> impl Iterator<Item = usize> {
    const STEP: usize = 7919;
    debug_assert!(!count.is_multiple_of(STEP), "a prime that does not divide the count");
    (0..count).map(move |number| number * STEP % count)
}

/// A node to be created: its path and its data.
pub(crate) type New = (String, Vec<u8>);

/// The directories that the nodes of a tree of `nodes` nodes lie in.
pub(crate) fn directories(nodes: usize) -> impl Iterator<Item = New> {
    let names = (0..nodes.div_ceil(FANOUT)).map(|number| format!("/tree/d{number:04}"));
    core::iter::once("/tree".to_owned()).chain(names).map(|path| (path, Vec::new()))
}

/// The nodes of such a tree, scattered over its directories.
pub(crate) fn nodes(nodes: usize) -> impl Iterator<Item = New> {
    scattered(nodes).map(|number| (path(number), value(number).to_vec()))
}

/// Creates nodes with these flags, many in a multi; `ask` sends a request and returns the body of
/// the reply.
pub(crate) fn create(
    flags: i32,
    mut nodes: impl Iterator<Item = New>,
    mut ask: impl FnMut(OpCode, &[u8]) -> Result<Vec<u8>>,
) -> Result<()> {
    let acl = session::open_acl()?;
    loop {
        go_on()?;
        let (mut request, mut paths) = (Vec::new(), Vec::new());
        for (path, data) in nodes.by_ref().take(BATCH) {
            let create = CreateRequest {
                path: path.as_str().into(),
                data: Buffer::new(&data),
                acl: session::one_acl(&acl),
                flags,
            };
            let header = MultiHeader { op: OpCode::Create, done: false, err: -1 };
            jute::write(&header, &mut request)?;
            jute::write(&create, &mut request)?;
            paths.push(path);
        }
        if paths.is_empty() {
            return Ok(());
        }
        jute::write(&MultiHeader::END, &mut request)?;
        verify(&paths, &ask(OpCode::Multi, &request)?)?;
    }
}

fn verify(paths: &[String], reply: &[u8]) -> Result<()> {
    let mut reader = Reader::new(reply);
    for path in paths {
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

/// Whether a reply to getAllChildrenNumber tells of a tree of `nodes` nodes.
pub(crate) fn check_count(reply: &[u8], nodes: usize) -> Result<()> {
    let count: i32 = jute::decode(reply)?;
    if usize::try_from(count) != Ok(nodes + nodes.div_ceil(FANOUT)) {
        return Err(format!("wrong answer: {count} nodes below /tree").into());
    }
    Ok(())
}

/// Counts the nodes and reads some of them back.
pub(crate) fn check(port: u16, nodes: usize) -> Result<()> {
    let mut stream = session::open(port)?;
    let all = PathRecord { path: "/tree".into() };
    let body = session::call(&mut stream, 1, OpCode::GetAllChildrenNumber, &all)?;
    check_count(&body, nodes)?;
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
