//! How many instructions the core's operations take, counted by valgrind: unlike time, the same
//! number again in every run of the same program.

use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use serde::Serialize;
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Ceilings, Disk, Link, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::{DataTree, NewNode, Owner, Seeds, Storage};
use zk_core::wire::client::{
    ConnectRequest, CreateRequest, GetDataReply, PathWatch, ReplyHeader, RequestHeader,
    SetDataRequest, Stat,
};
use zk_core::wire::jute::{self, Buffer, Reader, Trailing};
use zk_core::wire::{Code, OpCode};

use crate::{Result, session, tree};

/// Nodes of the tree that is worked on.
const NODES: usize = 10_000;
/// How often an operation is done while it is counted.
const TIMES: usize = 1_000;
/// How often before: tables have grown to their size.
const WARM_UP: usize = 100;
/// What a value holds.
const VALUE: [u8; 100] = [0x5a; 100];

/// An operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// Instructions that it took when this was last written down: a ratchet, for x86-64.
    pub(crate) recorded: f64,
    run: fn() -> Result<()>,
}

/// All of them: steps on their own, then whole requests, from the frame to the frame of the reply.
pub(crate) const OPERATIONS: [Operation; 8] = [
    Operation { name: "decode a create", recorded: 243.0, run: decode },
    Operation { name: "encode the reply to getData", recorded: 178.0, run: encode },
    Operation { name: "look up a path", recorded: 747.0, run: look_up },
    Operation { name: "create a node in the tree", recorded: 4_785.0, run: create },
    Operation { name: "request: getData of 100 B", recorded: 3_356.0, run: get_request },
    Operation { name: "request: setData of 100 B", recorded: 13_204.0, run: set_request },
    Operation { name: "request: setData of 10 KiB", recorded: 111_752.0, run: large_set_request },
    Operation { name: "request: create of 100 B", recorded: 19_597.0, run: create_request },
];

/// Counts the instructions of one operation: runs this program again, under valgrind.
pub(crate) fn count(operation: Operation) -> Result<f64> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("counts");
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind", "--demangle=no", "--collect-atstart=no"]);
    // As the compiler names a function of that name in this module.
    command.arg("--toggle-collect=*instructions*counted*");
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe()?).args(["--operation", operation.name]);
    let ran = command.stdin(Stdio::null()).output().map_err(|error| {
        format!("cannot start valgrind: {error}; to install it: apt-get install valgrind")
    })?;
    if !ran.status.success() {
        let told = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("{} under valgrind: {}\n{told}", operation.name, ran.status).into());
    }
    let text = fs::read_to_string(&out)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total.ok_or("valgrind counted nothing")?.trim().parse()?;
    if total == 0.0 {
        return Err("valgrind did not see the function whose instructions it counts".into());
    }
    Ok(total / TIMES as f64)
}

/// What [`count`] runs under valgrind.
pub(crate) fn run(name: &str) -> Result<()> {
    let operation = OPERATIONS.iter().find(|operation| operation.name == name);
    (operation.ok_or_else(|| format!("no operation `{name}`"))?.run)()
}

/// All that valgrind counts happens in here.
#[inline(never)]
fn counted(
    operation: &mut dyn FnMut(usize) -> Result<()>,
    from: usize,
    times: usize,
) -> Result<()> {
    for number in from..from + times {
        operation(number)?;
    }
    Ok(())
}

fn repeat(mut operation: impl FnMut(usize) -> Result<()>) -> Result<()> {
    for number in 0..WARM_UP {
        operation(number)?;
    }
    counted(&mut operation, WARM_UP, TIMES)
}

fn request<B: Serialize>(xid: usize, op: OpCode, body: &B) -> Result<Vec<u8>> {
    let xid = Xid(i32::try_from(xid)?);
    let mut frame = Vec::new();
    session::framed(&mut frame, |out| {
        jute::write(&RequestHeader { xid, op }, out)?;
        jute::write(body, out)
    })?;
    Ok(frame)
}

fn create_body<'a>(path: &'a str, acl: &'a [u8]) -> CreateRequest<'a> {
    let acl = session::one_acl(acl);
    CreateRequest { path: path.into(), data: Buffer::new(&VALUE), acl, flags: 0 }
}

fn decode() -> Result<()> {
    let acl = session::open_acl()?;
    let mut bytes = Vec::new();
    jute::write(&RequestHeader { xid: Xid(7), op: OpCode::Create }, &mut bytes)?;
    jute::write(&create_body(&tree::path(1), &acl), &mut bytes)?;
    repeat(|_| {
        let mut reader = Reader::new(black_box(&bytes));
        let header: RequestHeader = reader.read()?;
        let body: CreateRequest<'_> = reader.read()?;
        if black_box(header.op) == OpCode::Create && black_box(&body).acl.len() == 1 {
            Ok(())
        } else {
            Err("wrong answer: another record".into())
        }
    })
}

fn encode() -> Result<()> {
    let header = ReplyHeader { xid: Xid(7), zxid: Zxid(8), err: Code::Ok };
    let reply = GetDataReply { data: Buffer::new(&VALUE), stat: Stat::default() };
    let mut room = [0; 512];
    let expected = jute::size(&header) + jute::size(&reply);
    repeat(|_| {
        let len = jute::encode(black_box(&(header, reply)), black_box(&mut room))?;
        if len == expected { Ok(()) } else { Err("wrong answer: another length".into()) }
    })
}

/// A tree with its directories and [`NODES`] nodes.
fn large_tree<'t>() -> Result<DataTree<'t>> {
    let acl = session::open_acl()?;
    let storage = Storage::owned(Ceilings::default().tree);
    let mut large = DataTree::new(storage, Seeds(1, 2), false).map_err(|full| full.to_string())?;
    for (path, _) in tree::directories(NODES).chain(tree::nodes(NODES)) {
        create_node(&mut large, &path, &acl)?;
    }
    Ok(large)
}

fn create_node(tree: &mut DataTree<'_>, path: &str, acl: &[u8]) -> Result<()> {
    let zxid = Zxid(tree.last_zxid().0 + 1);
    let new = NewNode {
        path: path.as_bytes(),
        data: Some(&VALUE),
        acl: session::one_acl(acl),
        owner: Owner::Nobody,
        parent_cversion: None,
        zxid,
        time: 0,
    };
    tree.create(&new).map_err(|failure| format!("{path}: {failure:?}"))?;
    tree.applied(zxid);
    Ok(())
}

fn look_up() -> Result<()> {
    let large = large_tree()?;
    let paths: Vec<String> = tree::scattered(NODES).map(tree::path).collect();
    repeat(|number| match large.find(black_box(paths[number].as_bytes())) {
        Some(at) if large.node(at).data_len() == Some(VALUE.len()) => Ok(()),
        _ => Err(format!("wrong answer: {} is not there", paths[number]).into()),
    })
}

fn create() -> Result<()> {
    let mut large = large_tree()?;
    let acl = session::open_acl()?;
    let paths: Vec<String> =
        (0..WARM_UP + TIMES).map(|number| tree::path(NODES + number)).collect();
    create_node(&mut large, "/tree/d0010", &acl)?;
    create_node(&mut large, "/tree/d0011", &acl)?;
    repeat(|number| create_node(&mut large, &paths[number], &acl))
}

/// A peer, and a client with a session.
struct Served {
    peer: Peer<'static>,
    link: Link,
}

const NOW: Now = Now::new(1_000, 1_700_000_000_000);

impl Served {
    fn new() -> Result<Self> {
        let (options, ceilings) = (Options::default(), Ceilings::default());
        let mut peer = Peer::owned(options, ceilings, Seeds(1, 2), SessionId(1 << 56), NOW)?;
        peer.load_reset();
        peer.serve(NOW);
        let link = peer.open(NOW, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let mut served = Self { peer, link };
        let connect = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 40_000,
            session_id: SessionId::NONE,
            passwd: Buffer::new(&[0; 16]),
            read_only: Trailing(Some(false)),
        };
        let mut frame = Vec::new();
        session::framed(&mut frame, |out| jute::write(&connect, out))?;
        served.exchange(&frame)?;
        Ok(served)
    }

    /// From the frame of a request to the frame of its reply, as in a server; the bytes of it.
    fn exchange(&mut self, frame: &[u8]) -> Result<usize> {
        let Self { peer, link } = self;
        let received = peer.receive(NOW, *link, frame);
        if received.consumed != frame.len() {
            return Err("the peer does not take a request".into());
        }
        while let Some(want) = peer.poll_disk() {
            if let Disk::Append(batch) = want {
                let last = batch.last();
                peer.durable(NOW, last)?;
            }
        }
        let mut sent = 0;
        while let Some(link) = peer.poll_link() {
            let len = black_box(peer.output(link)).len();
            peer.sent(NOW, link, len);
            sent += len;
        }
        Ok(sent)
    }

    /// Expects a reply of `len` bytes, its header included.
    fn expect(&mut self, frame: &[u8], len: usize) -> Result<()> {
        match self.exchange(frame)? {
            sent if sent == len => Ok(()),
            sent => Err(format!("wrong answer: {sent} bytes instead of {len}").into()),
        }
    }

    /// A peer with [`NODES`] nodes.
    fn large() -> Result<Self> {
        let mut served = Self::new()?;
        let acl = session::open_acl()?;
        for (path, _) in tree::directories(NODES).chain(tree::nodes(NODES)) {
            let create = request(1, OpCode::Create, &create_body(&path, &acl))?;
            served.expect(&create, HEADER + 4 + path.len())?;
        }
        Ok(served)
    }
}

/// Bytes of a reply without a body.
const HEADER: usize = 4 + 16;
/// Bytes of a stat.
const STAT: usize = 68;

fn get_request() -> Result<()> {
    let mut served = Served::large()?;
    let mut frames = Vec::new();
    for number in tree::scattered(NODES).take(WARM_UP + TIMES) {
        let path = tree::path(number);
        let get = PathWatch { path: path.as_str().into(), watch: false };
        frames.push(request(frames.len(), OpCode::GetData, &get)?);
    }
    repeat(|number| served.expect(&frames[number], HEADER + 4 + VALUE.len() + STAT))
}

fn set_request() -> Result<()> {
    set_requests(&VALUE)
}

fn large_set_request() -> Result<()> {
    set_requests(&[0x5a; 10 << 10])
}

fn set_requests(value: &[u8]) -> Result<()> {
    let mut served = Served::large()?;
    let mut frames = Vec::new();
    // Nodes that have had such a value before.
    let numbers: Vec<usize> = tree::scattered(NODES).take(WARM_UP).collect();
    for number in numbers.into_iter().cycle().take(WARM_UP + TIMES) {
        let path = tree::path(number);
        let set = SetDataRequest { path: path.as_str().into(), data: value.into(), version: -1 };
        frames.push(request(frames.len(), OpCode::SetData, &set)?);
    }
    repeat(|number| served.expect(&frames[number], HEADER + STAT))
}

fn create_request() -> Result<()> {
    let mut served = Served::large()?;
    let acl = session::open_acl()?;
    for path in ["/tree/d0010", "/tree/d0011"] {
        let create = request(1, OpCode::Create, &create_body(path, &acl))?;
        served.expect(&create, HEADER + 4 + path.len())?;
    }
    let mut frames = Vec::new();
    for number in 0..WARM_UP + TIMES {
        let path = tree::path(NODES + number);
        frames.push((request(number, OpCode::Create, &create_body(&path, &acl))?, path.len()));
    }
    repeat(|number| {
        let (frame, path) = &frames[number];
        served.expect(frame, HEADER + 4 + path)
    })
}
