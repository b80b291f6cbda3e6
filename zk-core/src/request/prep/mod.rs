//! From requests to transactions: what the leader checks before it proposes.
//!
//! The order of the checks is Apache's, since it decides which error a client sees. A failed
//! request still takes a zxid: its transaction is the error. Answers to `PrepRequestProcessor`.

mod acl;
mod close;
mod create;
mod existing;
mod multi;
mod reconfig;

pub use self::acl::MAX_ACL_ENTRIES;
pub use self::multi::{MultiOps, multi_ops};
use core::cell::Cell;

use super::changes::{Changes, NodeState};
use super::options::Options;
use crate::id::{ServerId, SessionId, Xid, Zxid};
use crate::memory::Full;
use crate::session::Sessions;
use crate::trace::{Times, repeated};
use crate::tree::{Cost, DataTree, digest, path};
use crate::wire::client::{
    CreateRequest, CreateTtlRequest, Id, PathRecord, PathVersion, SetAclRequest, SetDataRequest,
};
use crate::wire::jute::{self, List, Reader, Slice};
use crate::wire::txn::{CreateSessionTxn, ErrorTxn, TxnDigest, TxnHeader};
use crate::wire::{Code, OpCode};

/// Why a request became no transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The answer, which becomes an error transaction.
    Code(Code),
    /// The body could not be decoded.
    Malformed,
    /// The transaction is longer than its room.
    OutOfRoom,
    /// There is no room for the transaction now, but there will be.
    Busy,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

impl From<jute::Error> for Refusal {
    fn from(error: jute::Error) -> Self {
        match error {
            jute::Error::Full => Self::OutOfRoom,
            _ => Self::Malformed,
        }
    }
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Self {
        Self::Code(Code::SystemError)
    }
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The session, or none for the server itself.
    pub session: SessionId,
    /// The request's number.
    pub cxid: Xid,
    /// What is asked.
    pub op: OpCode,
    /// The request's record.
    pub body: &'a [u8],
    /// Identities of the connection.
    pub ids: List<'a, Id<'a>>,
    /// The server at which it is asked.
    pub owner: ServerId,
}

/// A transaction that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its bytes.
    pub len: usize,
    /// What it takes.
    pub cost: Cost,
    /// Bytes that its reply may take at most, header and length included.
    pub reply: usize,
    /// Whether it is an error because `out` was too small for what was asked.
    pub out_of_room: bool,
    /// What it changes could not be noted: nothing may be proposed before it is applied.
    pub unseen: bool,
}

/// There is no room for the transaction now, but there will be when others are applied, or replies
/// sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// Everything that validation looks at.
#[derive(Debug)]
pub struct Prep<'p, 'm> {
    /// The tree as it is.
    pub tree: &'p mut DataTree<'m>,
    /// As it will be.
    pub changes: &'p mut Changes<'m>,
    /// The sessions.
    pub sessions: &'p mut Sessions<'m>,
    /// Settings.
    pub options: &'p Options,
    /// What proposed transactions will take.
    pub reserved: Cost,
    /// Whether the disk has no room for creations and data.
    pub disk_full: bool,
    /// As long as a frame.
    pub scratch: &'p mut [u8],
    /// For requests that may have a list: what it becomes. A longer one is refused.
    pub acl_scratch: &'p mut [u8],
    /// Bytes of the longest request to reap a node.
    pub reaped_max: usize,
    /// How often something was refused for want of room.
    pub(crate) full: Cell<Times>,
    /// Nothing is proposed and not applied, and no reply waits: what finds no room now never will.
    pub alone: bool,
    /// There will be no longer room for the transaction than this time.
    pub longest: bool,
    /// What a reconfiguration makes of the ensemble's configuration, or why there is none.
    pub config: Result<&'p [u8], Code>,
}

/// Bytes of a reply's length and header.
const REPLY_HEAD: usize = 20;
/// Bytes of a stat.
const STAT: usize = 68;
/// Bytes of a multi's header.
const MULTI_HEADER: usize = 9;

struct Progress<'a> {
    ask: &'a Ask<'a>,
    zxid: Zxid,
    time: i64,
    cost: Cost,
    reply: usize,
}

impl Prep<'_, '_> {
    /// Writes the transaction of a request into `out`: what was asked, or the error that it gets.
    /// There are `reply_room` bytes for its reply.
    ///
    /// # Errors
    /// [`Busy`]: nothing was written, ask again later.
    pub fn request(
        &mut self,
        ask: &Ask<'_>,
        zxid: Zxid,
        time: i64,
        reply_room: usize,
        out: &mut [u8],
    ) -> Result<Prepared, Busy> {
        if reply_room < REPLY_HEAD {
            return Err(Busy);
        }
        let mut slice = Slice::new(out);
        let mut progress = Progress { ask, zxid, time, cost: Cost::default(), reply: REPLY_HEAD };
        let header = TxnHeader { client_id: ask.session, cxid: ask.cxid, zxid, time, op: ask.op };
        self.changes.begin();
        let result = jute::write(&header, &mut slice)
            .map_err(Refusal::from)
            .and_then(|()| self.operation(&mut progress, &mut slice))
            .and_then(|()| {
                let digest =
                    TxnDigest { version: TxnDigest::VERSION, tree_digest: self.changes.digest() };
                Ok(jute::write(&digest, &mut slice)?)
            });
        let result = match result {
            Ok(()) if progress.reply > reply_room => {
                Err(if self.alone { Code::MarshallingError.into() } else { Refusal::Busy })
            }
            Err(Refusal::Busy) if self.alone && ask.op == OpCode::CloseSession => {
                self.changes.roll_back(self.tree);
                return self.close_unseen(header, out);
            }
            Err(Refusal::Busy) if self.alone => Err(Code::SystemError.into()),
            result => result,
        };
        let code = match result {
            Ok(()) => {
                self.changes.commit(self.tree);
                // Only now it is certain that it will be closed.
                if ask.op == OpCode::CloseSession
                    && let Some(at) = self.sessions.usable(ask.session)
                {
                    self.sessions.closing(at);
                }
                return Ok(Prepared {
                    len: slice.len(),
                    cost: progress.cost,
                    reply: progress.reply,
                    out_of_room: false,
                    unseen: false,
                });
            }
            Err(Refusal::Busy) => {
                self.changes.roll_back(self.tree);
                return Err(Busy);
            }
            // What does not fit the largest transaction must never be proposed (ZOOKEEPER-4306).
            Err(Refusal::Malformed | Refusal::OutOfRoom) => Code::MarshallingError,
            Err(Refusal::Code(code)) => code,
        };
        self.changes.roll_back(self.tree);
        let mut slice = Slice::new(out);
        let header = TxnHeader { op: OpCode::Error, ..header };
        jute::write(&(header, ErrorTxn { err: code }), &mut slice).map_err(|_| Busy)?;
        Ok(Prepared {
            len: slice.len(),
            cost: Cost::default(),
            reply: REPLY_HEAD,
            out_of_room: result == Err(Refusal::OutOfRoom),
            unseen: false,
        })
    }

    fn operation(
        &mut self,
        progress: &mut Progress<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let ask = progress.ask;
        match ask.op {
            OpCode::Multi => self.multi(progress, out),
            OpCode::CloseSession => self.close_session(progress, out),
            OpCode::Reconfig => self.reconfig(progress, out),
            op => {
                let mut reader = Reader::new(ask.body);
                self.single(progress, op, &mut reader, out)
            }
        }
    }

    /// One operation, alone or inside a multi: writes its transaction record.
    fn single(
        &mut self,
        progress: &mut Progress<'_>,
        op: OpCode,
        reader: &mut Reader<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                let request: CreateRequest<'_> = reader.read()?;
                self.create(progress, op, &request, -1, out)
            }
            OpCode::CreateTtl => {
                let CreateTtlRequest { create, ttl } = reader.read()?;
                self.create(progress, op, &create, ttl, out)
            }
            OpCode::Delete => {
                let PathVersion { path, version } = reader.read()?;
                self.delete(progress, path, version, out)
            }
            OpCode::DeleteContainer => {
                let PathRecord { path } = reader.read()?;
                self.delete_container(progress, path, out)
            }
            OpCode::SetData => {
                let request: SetDataRequest<'_> = reader.read()?;
                self.set_data(progress, &request, out)
            }
            OpCode::SetAcl => {
                let request: SetAclRequest<'_> = reader.read()?;
                self.set_acl(progress, &request, out)
            }
            OpCode::Check => {
                let PathVersion { path, version } = reader.read()?;
                self.check(progress, path, version, out)
            }
            OpCode::CreateSession => {
                let CreateSessionTxn { timeout } = reader.read()?;
                if !self.sessions.has_room_for(progress.ask.session) {
                    return Err(Code::SystemError.into());
                }
                Ok(jute::write(&CreateSessionTxn { timeout }, out)?)
            }
            _ => Err(Refusal::Malformed),
        }
    }

    /// A session that may act.
    fn check_session(&self, ask: &Ask<'_>) -> Result<(), Code> {
        let found = self.sessions.find(ask.session);
        if found.is_none() && self.options.local_sessions && ask.owner != self.options.server {
            // A learner speaks for one of its own.
            return Ok(());
        }
        let at = self.sessions.usable(ask.session).ok_or(Code::SessionExpired)?;
        // Whose client has moved on must not act for it any more.
        match self.sessions.get(at).owner() {
            Some(owner) if owner != ask.owner => Err(Code::SessionMoved),
            _ => Ok(()),
        }
    }

    fn allows(
        &mut self,
        acl: crate::memory::Handle,
        wanted: i32,
        ids: List<'_, Id<'_>>,
    ) -> Result<(), Code> {
        if self.options.skip_acl || self.tree.allows_by(acl, wanted, ids.iter(), self.scratch) {
            Ok(())
        } else {
            Err(Code::NoAuth)
        }
    }

    fn state(&self, path: &[u8]) -> Result<NodeState, Code> {
        self.changes.state(self.tree, self.sessions, path).ok_or(Code::NoNode)
    }

    /// Whether the transaction, on top of what is proposed, fits.
    fn fits(&self, cost: &Cost) -> Result<(), Code> {
        let (wanted, room) = (cost.plus(&self.reserved), self.tree.room());
        if !wanted.fits(&room) {
            let lack = || wanted.lack(&room);
            let mut times = self.full.get();
            repeated!(
                times,
                "refusing a change: with what is proposed it takes {} {}, and there is room for {} \
                 (time {})",
                lack().map_or(0, |lack| lack.needs),
                lack().map_or("", |lack| lack.what()),
                lack().map_or(0, |lack| lack.has)
            );
            self.full.set(times);
            return Err(Code::SystemError);
        }
        // That the disk is full is said by whoever sees it.
        if self.disk_full { Err(Code::SystemError) } else { Ok(()) }
    }

    /// Says what a node becomes, and moves the digest along.
    fn change(
        &mut self,
        path: &[u8],
        zxid: Zxid,
        before: Option<&NodeState>,
        after: NodeState,
    ) -> Result<(), Refusal> {
        // A change is a bounded number of entries; when they are used up, wait for some to go.
        if !self.changes.has_room(1, path.len()) {
            return Err(Refusal::Busy);
        }
        if path::is_digested(path) {
            if let Some(before) = before {
                self.changes.sub_digest(digest::of_node(before.content, &before.stat));
            }
            if after.exists {
                self.changes.add_digest(digest::of_node(after.content, &after.stat));
            }
        }
        self.changes.put(self.tree, path, zxid, after).map_err(|Full| Refusal::Busy)
    }
}
