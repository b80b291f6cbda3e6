//! What takes long on a large tree, asked for in the same way of a peer in this process and of
//! servers.

use core::time::Duration;
use std::fmt::Write as _;

use serde::Serialize;
use zk_core::id::Zxid;
use zk_core::wire::OpCode;
use zk_core::wire::client::{
    CreateRequest, GetDataReply, MultiHeader, PathRecord, PathVersion, PathWatch, SetDataRequest,
    SetWatches,
};
use zk_core::wire::jute::{self, Buffer, List, Ustring};

use crate::process::go_on;
use crate::{Result, session, tree};

/// Children of the node whose list is asked for.
const CHILDREN: usize = 100_000;
/// Ephemeral nodes of the session that is closed.
const EPHEMERALS: usize = 50_000;
/// Sessions that watch one node.
pub(crate) const WATCHERS: usize = 5_000;
/// Bytes of the largest requests: just below `jute.maxbuffer`.
const FRAME: usize = 1_000_000;
/// `snapCount` of what is measured: more transactions than everything but the snapshot takes, twice.
pub(crate) const SNAP_COUNT: u32 = 20_000;
/// Writes that must have brought a snapshot.
const WRITES: u32 = 3 * SNAP_COUNT;

/// A server, or what stands for one.
pub(crate) trait World {
    /// A client with a session.
    type Client;

    /// Opens a session.
    fn connect(&mut self) -> Result<Self::Client>;

    /// Asks, and returns the body of the successful reply.
    fn call<B: Serialize>(
        &mut self,
        client: &mut Self::Client,
        op: OpCode,
        body: &B,
    ) -> Result<Vec<u8>>;

    /// How many snapshots are complete.
    fn snapshots(&mut self) -> Result<usize>;

    /// Everything until [`stall`](Self::stall) is measured.
    fn measure(&mut self);

    /// The longest time for which others had to wait, and on what.
    fn stall(&mut self) -> Stall;
}

/// A stall.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stall {
    pub(crate) time: Duration,
    /// The call that took so long, if that is known.
    pub(crate) call: &'static str,
}

/// An operation and the least stall of all rounds: what else the machine does can only make it
/// longer.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) stall: Stall,
}

/// Does everything on a tree of `nodes` nodes, most of it `rounds` times.
pub(crate) fn all<W: World>(world: &mut W, nodes: usize, rounds: usize) -> Result<Vec<Measured>> {
    let mut run = Run { client: world.connect()?, world, rounds, measured: Vec::new() };
    run.build(nodes)?;
    run.reads(nodes)?;
    run.quota(nodes)?;
    run.close(nodes)?;
    run.large_multi()?;
    run.snapshot(nodes)?;
    run.events()?;
    Ok(run.measured)
}

struct Run<'w, W: World> {
    world: &'w mut W,
    client: W::Client,
    rounds: usize,
    measured: Vec<Measured>,
}

impl<W: World> Run<'_, W> {
    /// Notes the least stall of some rounds.
    fn least(
        &mut self,
        name: String,
        mut round: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut least: Option<Stall> = None;
        for _ in 0..self.rounds {
            go_on()?;
            round(self)?;
            let stall = self.world.stall();
            if least.as_ref().is_none_or(|least| stall.time < least.time) {
                least = Some(stall);
            }
        }
        self.measured.push(Measured { name, stall: least.unwrap_or_default() });
        Ok(())
    }

    fn call<B: Serialize>(&mut self, op: OpCode, body: &B) -> Result<Vec<u8>> {
        self.world.call(&mut self.client, op, body)
    }

    fn create(&mut self, path: &str, data: &[u8]) -> Result<()> {
        let acl = session::open_acl()?;
        let create = CreateRequest {
            path: path.into(),
            data: Buffer::new(data),
            acl: session::one_acl(&acl),
            flags: 0,
        };
        self.call(OpCode::Create, &create).map(|_| ())
    }

    /// The tree itself and, scattered over it, one node's many children.
    fn build(&mut self, nodes: usize) -> Result<()> {
        let tops = ["/wide", "/multi"].map(|path| (path.to_owned(), Vec::new()));
        let wide =
            (0..CHILDREN).map(|number| (format!("/wide/node-{number:06}"), Vec::new())).map(Some);
        let every = nodes / CHILDREN;
        let mut wide = wide.chain(core::iter::repeat(None));
        let mixed = tree::nodes(nodes).enumerate().flat_map(move |(number, node)| {
            let child = if number % every == 0 { wide.next().flatten() } else { None };
            core::iter::once(node).chain(child)
        });
        let all = tree::directories(nodes).chain(tops).chain(mixed);
        let Self { world, client, .. } = self;
        world.measure();
        tree::create(0, all, |op, body| world.call(client, op, &Encoded(body)))?;
        let stall = world.stall();
        self.measured.push(Measured { name: format!("creation of {nodes} nodes"), stall });
        Ok(())
    }

    fn reads(&mut self, nodes: usize) -> Result<()> {
        self.least(format!("getChildren of {CHILDREN}"), |run| {
            run.world.measure();
            let list = PathWatch { path: "/wide".into(), watch: false };
            let body = run.call(OpCode::GetChildren, &list)?;
            match body.first_chunk() {
                Some(&count) if i32::from_be_bytes(count) as usize == CHILDREN => Ok(()),
                _ => Err("wrong answer: not all children".into()),
            }
        })?;
        self.least(format!("getAllChildrenNumber of {nodes}"), |run| {
            run.world.measure();
            let count =
                run.call(OpCode::GetAllChildrenNumber, &PathRecord { path: "/tree".into() })?;
            tree::check_count(&count, nodes)
        })?;
        let (count, raw) = many_paths(nodes)?;
        self.least(format!("setWatches of {count}"), |run| {
            // Each time of a new session, which goes with its watches.
            let mut client = run.world.connect()?;
            let set = SetWatches {
                relative_zxid: Zxid(i64::MAX),
                data: List::from_raw(count, &raw),
                exist: List::EMPTY,
                child: List::EMPTY,
            };
            run.world.measure();
            run.world.call(&mut client, OpCode::SetWatches, &set)?;
            run.world.call(&mut client, OpCode::CloseSession, &())?;
            Ok(())
        })
    }

    fn quota(&mut self, nodes: usize) -> Result<()> {
        self.create("/zookeeper/quota/tree", b"")?;
        self.create("/zookeeper/quota/tree/zookeeper_limits", b"count=-1,bytes=-1")?;
        let stats = "/zookeeper/quota/tree/zookeeper_stats";
        self.least(format!("zookeeper_stats of {nodes}"), |run| {
            run.world.measure();
            run.create(stats, b"count=0,bytes=0")?;
            run.delete(stats)
        })?;
        self.delete("/zookeeper/quota/tree/zookeeper_limits")
    }

    fn delete(&mut self, path: &str) -> Result<()> {
        let delete = PathVersion { path: path.into(), version: -1 };
        self.call(OpCode::Delete, &delete).map(|_| ())
    }

    fn close(&mut self, nodes: usize) -> Result<()> {
        let directories = nodes / tree::FANOUT;
        let all = PathRecord { path: "/tree".into() };
        self.least(format!("closeSession with {EPHEMERALS} ephemerals"), |run| {
            // Those of the round before are gone.
            tree::check_count(&run.call(OpCode::GetAllChildrenNumber, &all)?, nodes)?;
            let mut client = run.world.connect()?;
            let paths = (0..EPHEMERALS).map(|number| {
                (format!("/tree/d{:04}/e{number:06}", number % directories), Vec::new())
            });
            let world = &mut *run.world;
            tree::create(1, paths, |op, body| world.call(&mut client, op, &Encoded(body)))?;
            world.measure();
            world.call(&mut client, OpCode::CloseSession, &()).map(|_| ())
        })?;
        tree::check_count(&self.call(OpCode::GetAllChildrenNumber, &all)?, nodes)
    }

    fn large_multi(&mut self) -> Result<()> {
        let (count, creates) = many_creates()?;
        let mut deletes = Vec::new();
        for number in 0..count {
            let path = format!("/multi/{number}");
            let delete = PathVersion { path: path.as_str().into(), version: -1 };
            jute::write(&MultiHeader { op: OpCode::Delete, done: false, err: -1 }, &mut deletes)?;
            jute::write(&delete, &mut deletes)?;
        }
        jute::write(&MultiHeader::END, &mut deletes)?;
        self.least(format!("multi of {count} creates"), |run| {
            run.world.measure();
            run.call(OpCode::Multi, &Encoded(&creates))?;
            run.call(OpCode::Multi, &Encoded(&deletes)).map(|_| ())
        })
    }

    fn snapshot(&mut self, nodes: usize) -> Result<()> {
        let watched = tree::path(0);
        let watch = PathWatch { path: watched.as_str().into(), watch: false };
        let body = self.call(OpCode::GetData, &watch)?;
        let data = jute::decode::<GetDataReply<'_>>(&body)?.data.bytes();
        self.least(format!("snapshot of {nodes}"), |run| {
            let before = run.world.snapshots()?;
            run.world.measure();
            let mut writes = 0;
            while run.world.snapshots()? == before {
                for _ in 0..100 {
                    let set = SetDataRequest {
                        path: watched.as_str().into(),
                        data: Buffer::new(data),
                        version: -1,
                    };
                    run.call(OpCode::SetData, &set)?;
                    writes += 1;
                }
                if writes > WRITES {
                    return Err(format!("no snapshot after {writes} writes").into());
                }
            }
            Ok(())
        })
    }

    fn events(&mut self) -> Result<()> {
        let path = tree::path(1);
        let watch = PathWatch { path: path.as_str().into(), watch: true };
        let mut watchers = Vec::new();
        for _ in 0..WATCHERS {
            watchers.push(self.world.connect()?);
        }
        self.least(format!("an event for {WATCHERS} sessions"), |run| {
            for client in &mut watchers {
                run.world.call(client, OpCode::Exists, &watch)?;
            }
            run.world.measure();
            let set =
                SetDataRequest { path: path.as_str().into(), data: Buffer::new(b""), version: -1 };
            run.call(OpCode::SetData, &set).map(|_| ())
        })
    }
}

/// Paths of existing nodes, as many as a frame of [`FRAME`] bytes takes.
fn many_paths(nodes: usize) -> Result<(i32, Vec<u8>)> {
    let (mut count, mut raw) = (0, Vec::new());
    for number in 0..nodes {
        let path = tree::path(number);
        if raw.len() + 4 + path.len() > FRAME {
            break;
        }
        jute::write(&Ustring::from(path.as_str()), &mut raw)?;
        count += 1;
    }
    Ok((count, raw))
}

/// A multi that creates nodes below `/multi`, as many as a frame takes.
fn many_creates() -> Result<(usize, Vec<u8>)> {
    let acl = session::open_acl()?;
    let (mut count, mut body, mut path) = (0, Vec::new(), String::new());
    while body.len() < FRAME {
        path.clear();
        write!(path, "/multi/{count}")?;
        let create = CreateRequest {
            path: path.as_str().into(),
            data: Buffer::new(b""),
            acl: session::one_acl(&acl),
            flags: 0,
        };
        jute::write(&MultiHeader { op: OpCode::Create, done: false, err: -1 }, &mut body)?;
        jute::write(&create, &mut body)?;
        count += 1;
    }
    jute::write(&MultiHeader::END, &mut body)?;
    Ok((count, body))
}

/// A record that is encoded already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'b>(pub(crate) &'b [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> core::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple as _;

        // Nothing stands before, between or behind the elements of a tuple.
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}
