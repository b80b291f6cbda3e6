//! From requests to transactions: what the leader checks before it proposes.
//!
//! The order of the checks is Apache's, since it decides which error a client sees. A failed
//! request still takes a zxid: its transaction is the error. Answers to `PrepRequestProcessor`.

use super::changes::{Changes, NodeState};
use super::options::Options;
use crate::id::{SessionId, Xid, Zxid};
use crate::memory::Full;
use crate::session::Sessions;
use crate::tree::{Cost, DataTree, MAX_TTL, Owner, digest, identity, path};
use crate::wire::client::{
    Acl, CreateMode, CreateRequest, CreateTtlRequest, Id, MultiHeader, PathRecord, PathVersion,
    SetAclRequest, SetDataRequest, perms,
};
use crate::wire::jute::{self, List, Reader, Sink, Slice, Trailing, Ustring};
use crate::wire::txn::{
    CheckVersionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn, CreateTxn, DeleteTxn,
    ErrorTxn, SetAclTxn, SetDataTxn, TxnDigest, TxnHeader,
};
use crate::wire::{Code, OpCode};

/// Entries of one access control list. More are answered `InvalidAcl`: Apache compares each with
/// each.
pub const MAX_ACL_ENTRIES: usize = 1024;

/// Digits of a sequence number, sign included.
const SEQUENCE_LEN: usize = 11;

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
    /// As long as a frame: the list that a request's becomes.
    pub acl_scratch: &'p mut [u8],
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
            Ok(()) if progress.reply > reply_room => Err(Refusal::Busy),
            result => result,
        };
        let code = match result {
            Ok(()) => {
                self.changes.commit(self.tree);
                return Ok(Prepared {
                    len: slice.len(),
                    cost: progress.cost,
                    reply: progress.reply,
                    out_of_room: false,
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
                Ok(jute::write(&CreateSessionTxn { timeout }, out)?)
            }
            // Membership changes are for ensembles; Apache refuses before it decodes.
            OpCode::Reconfig => Err(Code::ReconfigDisabled.into()),
            _ => Err(Refusal::Malformed),
        }
    }

    /// A session that may act.
    fn check_session(&self, session: SessionId) -> Result<(), Code> {
        self.sessions.usable(session).map(|_| ()).ok_or(Code::SessionExpired)
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
    fn fits(&self, cost: Cost) -> Result<(), Code> {
        if cost.plus(self.reserved).fits(self.tree.room()) && !self.disk_full {
            Ok(())
        } else {
            Err(Code::SystemError)
        }
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

    fn create(
        &mut self,
        progress: &mut Progress<'_>,
        op: OpCode,
        request: &CreateRequest<'_>,
        ttl: i64,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let Progress { ask, zxid, time, .. } = *progress;
        let mode = CreateMode::from_flags(request.flags).ok_or(Code::BadArguments)?;
        if mode.is_ttl() && !self.options.extended_types {
            return Err(Code::Unimplemented.into());
        }
        let ttl_fits = if mode.is_ttl() { (1..=MAX_TTL).contains(&ttl) } else { ttl < 0 };
        if !ttl_fits {
            return Err(Code::BadArguments.into());
        }
        self.check_session(ask.session)?;
        let requested = request.path.0.ok_or(Refusal::Malformed)?;
        let (parent_path, _) = path::split(requested).ok_or(Code::BadArguments)?;
        if requested.contains(&0) {
            return Err(Code::BadArguments.into());
        }
        let (count, len) = fix_acl(request.acl, ask.ids, self.acl_scratch)?;
        let parent = self.state(parent_path)?;
        self.allows(parent.acl, perms::CREATE, ask.ids)?;

        // The path is written to where it belongs, and read back from there.
        let start = out.len();
        jute::write(&0i32, out)?;
        out.put(requested)?;
        if mode.is_sequential() {
            let mut digits = [0; SEQUENCE_LEN];
            out.put(sequence(parent.stat.cversion, &mut digits))?;
        }
        let path_len = out.len() - start - 4;
        out.patch(start, i32::try_from(path_len).map_err(|_| Code::MarshallingError)?);
        let path_at = start + 4..start + 4 + path_len;
        let path = out.written().get(path_at.clone()).unwrap_or_default();
        if !path::is_valid(path) {
            return Err(Code::BadArguments.into());
        }
        if self.state(path).is_ok() {
            return Err(Code::NodeExists.into());
        }
        if matches!(parent.owner, Owner::Session(_)) {
            return Err(Code::NoChildrenForEphemerals.into());
        }
        let data_len = request.data.bytes().len();
        if self.options.enforce_quota {
            self.tree.check_quota(path, data_len as i64, 1)?;
        }
        let owner = match op {
            OpCode::CreateContainer => Owner::Container,
            // The opcode decides what is applied; a TTL request without a TTL mode would be
            // applied with no valid time (Apache fails there).
            OpCode::CreateTtl if !mode.is_ttl() => return Err(Code::BadArguments.into()),
            OpCode::CreateTtl => Owner::Ttl(ttl),
            _ if mode.is_ephemeral() => Owner::Session(ask.session),
            _ => Owner::Nobody,
        };
        if let Owner::Session(session) = owner
            && self.tree.ephemerals_of(session) + self.changes.len() >= self.options.max_ephemerals
            && self.ephemerals_to_come(session) >= self.options.max_ephemerals
        {
            return Err(Code::SystemError.into());
        }
        let (_, name) = path::split(path).ok_or(Code::BadArguments)?;
        let acl = List::from_raw(count, self.acl_scratch.get(..len).unwrap_or_default());
        let cost = self.tree.cost_of(name.len(), data_len, acl, owner);
        self.fits(cost.plus(progress.cost))?;

        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        let content = digest::Crc::START.update(path).update(request.data.bytes());
        // The rest of the record, behind the path.
        jute::write(&request.data, out)?;
        jute::write(&acl, out)?;
        match op {
            OpCode::CreateContainer => jute::write(&parent_cversion, out)?,
            OpCode::CreateTtl => jute::write(&(parent_cversion, ttl), out)?,
            _ => jute::write(&(mode.is_ephemeral(), parent_cversion), out)?,
        }
        debug_assert!(record_is(op, out.written().get(start..).unwrap_or_default()));

        let path = out.written().get(path_at).unwrap_or_default();
        let (parent_path, _) = path::split(path).ok_or(Code::BadArguments)?;
        let mut after = parent;
        after.children += 1;
        after.stat.cversion = parent_cversion;
        after.stat.pzxid = zxid;
        let acl = self.tree.acquire_acl(acl)?;
        let stat = crate::wire::file::StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner: owner.raw(),
            pzxid: zxid,
            ..Default::default()
        };
        let node = NodeState { exists: true, stat, owner, children: 0, data_len, content, acl };
        let changed = self
            .change(parent_path, zxid, Some(&parent), after)
            .and_then(|()| self.change(path, zxid, None, node));
        // The change has its own reference now.
        self.tree.release_acl(acl);
        changed?;
        progress.cost = progress.cost.plus(cost);
        progress.reply += 4 + path_len + STAT;
        Ok(())
    }

    fn ephemerals_to_come(&mut self, session: SessionId) -> usize {
        let mut count = self.tree.ephemerals_of(session);
        let mut from = 0;
        while let Some((at, len)) =
            self.changes.next_owned(Owner::Session(session), from, self.scratch)
        {
            from = at + 1;
            let path = self.scratch.get(..len).unwrap_or_default();
            count += usize::from(self.tree.find(path).is_none());
        }
        count
    }

    /// The parent of a path that is to be deleted.
    fn parent_of_deleted(path: &[u8]) -> Result<&[u8], Code> {
        let (parent, _) = path::split(path).ok_or(Code::BadArguments)?;
        if path.contains(&0) || path::is_special(path) {
            return Err(Code::BadArguments);
        }
        Ok(parent)
    }

    fn delete(
        &mut self,
        progress: &Progress<'_>,
        path: Ustring<'_>,
        version: i32,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let ask = progress.ask;
        self.check_session(ask.session)?;
        let path = path.0.ok_or(Refusal::Malformed)?;
        let parent_path = Self::parent_of_deleted(path)?;
        let parent = self.state(parent_path)?;
        self.allows(parent.acl, perms::DELETE, ask.ids)?;
        let node = self.state(path)?;
        next_version(node.stat.version, version)?;
        self.remove(progress, path, parent_path, parent, &node, out)
    }

    fn delete_container(
        &mut self,
        progress: &Progress<'_>,
        path: Ustring<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let path = path.0.ok_or(Refusal::Malformed)?;
        let parent_path = Self::parent_of_deleted(path)?;
        let node = self.state(path)?;
        if !matches!(node.owner, Owner::Container | Owner::Ttl(_)) {
            return Err(Code::BadVersion.into());
        }
        let parent = self.state(parent_path)?;
        self.remove(progress, path, parent_path, parent, &node, out)
    }

    fn remove(
        &mut self,
        progress: &Progress<'_>,
        path: &[u8],
        parent_path: &[u8],
        parent: NodeState,
        node: &NodeState,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        if node.children > 0 {
            return Err(Code::NotEmpty.into());
        }
        jute::write(&DeleteTxn { path: Ustring(Some(path)) }, out)?;
        let mut after = parent;
        after.children -= 1;
        after.stat.pzxid = progress.zxid;
        self.change(parent_path, progress.zxid, Some(&parent), after)?;
        self.change(path, progress.zxid, Some(node), NodeState::GONE)
    }

    fn set_data(
        &mut self,
        progress: &mut Progress<'_>,
        request: &SetDataRequest<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let Progress { ask, zxid, time, .. } = *progress;
        self.check_session(ask.session)?;
        let path = request.path.0.ok_or(Refusal::Malformed)?;
        if !path::is_valid(path) {
            return Err(Code::BadArguments.into());
        }
        let node = self.state(path)?;
        self.allows(node.acl, perms::WRITE, ask.ids)?;
        let data_len = request.data.bytes().len();
        if self.options.enforce_quota {
            self.tree.check_quota(path, data_len as i64 - node.data_len as i64, 0)?;
        }
        let version = next_version(node.stat.version, request.version)?;
        // An upper bound: the name may share a cell with the data.
        let cells = crate::memory::Cells::needed(data_len)
            .saturating_sub(node.data_len / crate::memory::CELL_BYTES)
            + 1;
        let cost = Cost { cells, ..Cost::default() };
        if data_len > node.data_len || self.disk_full {
            self.fits(cost.plus(progress.cost))?;
        }
        jute::write(&SetDataTxn { path: Ustring(Some(path)), data: request.data, version }, out)?;
        let mut after = node;
        after.stat.version = version;
        after.stat.mtime = time;
        after.stat.mzxid = zxid;
        after.data_len = data_len;
        let digested = if path == b"/" { b"" } else { path };
        after.content = digest::Crc::START.update(digested).update(request.data.bytes());
        self.change(path, zxid, Some(&node), after)?;
        progress.cost = progress.cost.plus(cost);
        progress.reply += STAT;
        Ok(())
    }

    fn set_acl(
        &mut self,
        progress: &mut Progress<'_>,
        request: &SetAclRequest<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let Progress { ask, zxid, .. } = *progress;
        self.check_session(ask.session)?;
        let path = request.path.0.ok_or(Refusal::Malformed)?;
        if !path::is_valid(path) {
            return Err(Code::BadArguments.into());
        }
        let (count, len) = fix_acl(request.acl, ask.ids, self.acl_scratch)?;
        let node = self.state(path)?;
        self.allows(node.acl, perms::ADMIN, ask.ids)?;
        let version = next_version(node.stat.aversion, request.version)?;
        let acl = List::from_raw(count, self.acl_scratch.get(..len).unwrap_or_default());
        let cost = Cost { nodes: 0, owners: 0, ..self.tree.cost_of(0, 0, acl, Owner::Nobody) };
        self.fits(cost.plus(progress.cost))?;
        jute::write(&SetAclTxn { path: Ustring(Some(path)), acl, version }, out)?;
        let mut after = node;
        after.stat.aversion = version;
        after.acl = self.tree.acquire_acl(acl)?;
        let changed = self.change(path, zxid, Some(&node), after);
        self.tree.release_acl(after.acl);
        changed?;
        progress.cost = progress.cost.plus(cost);
        progress.reply += STAT;
        Ok(())
    }

    fn check(
        &mut self,
        progress: &Progress<'_>,
        path: Ustring<'_>,
        version: i32,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let ask = progress.ask;
        self.check_session(ask.session)?;
        let path = path.0.ok_or(Refusal::Malformed)?;
        if !path::is_valid(path) {
            return Err(Code::BadArguments.into());
        }
        let node = self.state(path)?;
        self.allows(node.acl, perms::READ, ask.ids)?;
        let version = next_version(node.stat.version, version)?;
        Ok(jute::write(&CheckVersionTxn { path: Ustring(Some(path)), version }, out)?)
    }

    /// All or nothing, in one transaction. The first operation that fails takes the changes of
    /// those before it back; the transaction then lists what it would have been, the failure, and
    /// `RuntimeInconsistency` for what follows.
    fn multi(&mut self, progress: &mut Progress<'_>, out: &mut Slice<'_>) -> Result<(), Refusal> {
        let count_at = out.len();
        jute::write(&0i32, out)?;
        let mut reader = Reader::new(progress.ask.body);
        let mut count = 0i32;
        let mut failed = false;
        progress.reply += MULTI_HEADER;
        loop {
            let header: MultiHeader = reader.read()?;
            if header.done {
                break;
            }
            count += 1;
            let op = header.op;
            // Read the operation once to know where the next begins, whatever becomes of it.
            let mut ahead = reader.clone();
            skip_op(op, &mut ahead)?;
            let at = out.len();
            progress.reply += MULTI_HEADER;
            let result = if failed {
                Err(Code::RuntimeInconsistency)
            } else {
                // Inside a multi a create is type 1: 3.8.0 and 3.8.1 silently drop the rest of a
                // multi with a create2.
                jute::write(&(op, 0i32), out)?;
                match self.multi_operation(progress, op, &mut reader, at, out) {
                    Ok(()) => Ok(()),
                    Err(Refusal::Code(code)) => Err(code),
                    Err(other) => return Err(other),
                }
            };
            match result {
                Ok(()) => {
                    let len = out.len() - at - 8;
                    out.patch(at + 4, i32::try_from(len).map_err(|_| Code::MarshallingError)?);
                }
                Err(code) => {
                    if !failed {
                        failed = true;
                        self.changes.roll_back(self.tree);
                        progress.cost = Cost::default();
                    }
                    out.truncate(at);
                    jute::write(&(OpCode::Error, 4i32, code), out)?;
                    progress.reply += 4;
                }
            }
            reader = ahead;
        }
        out.patch(count_at, count);
        Ok(())
    }

    /// An operation of a multi, whose type is written at `at`. There, unlike alone, the flags of a
    /// creation decide what it is (`Op.Create.getOpcode`).
    fn multi_operation(
        &mut self,
        progress: &mut Progress<'_>,
        op: OpCode,
        reader: &mut Reader<'_>,
        at: usize,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let (request, ttl) = match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                (reader.read::<CreateRequest<'_>>()?, None)
            }
            OpCode::CreateTtl => {
                let CreateTtlRequest { create, ttl } = reader.read()?;
                (create, Some(ttl))
            }
            _ => return self.single(progress, op, reader, out),
        };
        let mode = CreateMode::from_flags(request.flags).ok_or(Refusal::Malformed)?;
        let (kind, ttl) = match (mode, ttl) {
            (CreateMode::Container, _) => (OpCode::CreateContainer, -1),
            (mode, Some(ttl)) if mode.is_ttl() => (OpCode::CreateTtl, ttl),
            // Apache fails on a TTL mode in a request that has no TTL.
            (mode, None) if mode.is_ttl() => return Err(Refusal::Malformed),
            _ => (OpCode::Create, -1),
        };
        out.patch(at, kind.0);
        self.create(progress, kind, &request, ttl, out)
    }

    fn close_session(
        &mut self,
        progress: &Progress<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let session = progress.ask.session;
        let at = self.sessions.usable(session).ok_or(Code::SessionExpired)?;
        let list_at = out.len();
        jute::write(&0i32, out)?;
        let mut listed = 0i32;
        let most = out.len() + self.options.max_frame / 2;
        // What is in the tree, unless a pending change has taken it away.
        let mut next = self.tree.ephemerals(session).next();
        while let Some(node) = next {
            next = self.tree.next_ephemeral(node);
            let mut room = core::mem::take(&mut self.scratch);
            // The scratch is as long as the longest of these paths.
            let result = match self.tree.path_of(node, room) {
                Some(path) => self.close_one(progress, path, out, most, &mut listed),
                None => Err(Refusal::Busy),
            };
            self.scratch = core::mem::take(&mut room);
            result?;
        }
        // What is still to be created.
        let mut room = core::mem::take(&mut self.scratch);
        let result = self.close_pending(progress, out, most, &mut listed, room);
        self.scratch = core::mem::take(&mut room);
        result?;
        out.patch(list_at, listed);
        self.sessions.closing(at);
        Ok(())
    }

    /// A node that goes with its session: its parent's change, its digest, its place in the list.
    fn close_one(
        &mut self,
        progress: &Progress<'_>,
        path: &[u8],
        out: &mut Slice<'_>,
        most: usize,
        listed: &mut i32,
    ) -> Result<(), Refusal> {
        let Some(node) = self.changes.state(self.tree, self.sessions, path) else {
            return Ok(());
        };
        if node.owner != Owner::Session(progress.ask.session) {
            return Ok(());
        }
        let (parent_path, _) = path::split(path).ok_or(Code::BadArguments)?;
        let parent = self.state(parent_path)?;
        let mut after = parent;
        after.children -= 1;
        after.stat.pzxid = progress.zxid;
        self.change(parent_path, progress.zxid, Some(&parent), after)?;
        if path::is_digested(path) {
            self.changes.sub_digest(digest::of_node(node.content, &node.stat));
        }
        // Apply deletes what is not listed too.
        if out.len() + 4 + path.len() <= most {
            jute::write(&Ustring(Some(path)), out)?;
            *listed += 1;
        }
        Ok(())
    }

    fn close_pending(
        &mut self,
        progress: &Progress<'_>,
        out: &mut Slice<'_>,
        most: usize,
        listed: &mut i32,
        room: &mut [u8],
    ) -> Result<(), Refusal> {
        // Every pending creation of the session has its own entry, and closing it adds none but its
        // parent's, which is no node of the session: entries are visited by number.
        let mut from = 0;
        while let Some((at, len)) =
            self.changes.next_owned(Owner::Session(progress.ask.session), from, room)
        {
            from = at + 1;
            let path = room.get(..len).unwrap_or_default();
            if self
                .tree
                .find(path)
                .is_some_and(|node| self.tree.owner(node) == Owner::Session(progress.ask.session))
            {
                // It was met in the tree.
                continue;
            }
            self.close_one(progress, path, out, most, listed)?;
        }
        Ok(())
    }
}

/// The types of the operations of a multi, as they were asked; ends where the body is malformed.
pub fn multi_ops(body: &[u8]) -> impl Iterator<Item = OpCode> + '_ {
    let mut reader = Reader::new(body);
    core::iter::from_fn(move || {
        let header: MultiHeader = reader.read().ok()?;
        if header.done {
            return None;
        }
        skip_op(header.op, &mut reader).ok()?;
        Some(header.op)
    })
}

/// Reads over an operation of a multi.
fn skip_op(op: OpCode, reader: &mut Reader<'_>) -> Result<(), Refusal> {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            let request = reader.read::<CreateRequest<'_>>()?;
            // 3.9 refuses bad flags where it decodes the multi; 3.8 takes them for persistent.
            CreateMode::from_flags(request.flags).map(|_| ()).ok_or(Refusal::Malformed)
        }
        OpCode::CreateTtl => {
            let request = reader.read::<CreateTtlRequest<'_>>()?;
            CreateMode::from_flags(request.create.flags).map(|_| ()).ok_or(Refusal::Malformed)
        }
        OpCode::Delete | OpCode::Check => Ok(reader.read::<PathVersion<'_>>().map(|_| ())?),
        OpCode::SetData => Ok(reader.read::<SetDataRequest<'_>>().map(|_| ())?),
        _ => Err(Refusal::Malformed),
    }
}

/// The version after a change, if `expected` (-1: any) is the current one. -1 is skipped, since it
/// means "any" (ZOOKEEPER-4743).
fn next_version(current: i32, expected: i32) -> Result<i32, Code> {
    if expected != -1 && expected != current {
        return Err(Code::BadVersion);
    }
    Ok(match current.wrapping_add(1) {
        -1 => 0,
        next => next,
    })
}

/// A sequence number as Java's `%010d` writes it.
fn sequence(number: i32, room: &mut [u8; SEQUENCE_LEN]) -> &[u8] {
    let mut at = SEQUENCE_LEN;
    let mut rest = number.unsigned_abs();
    let width = if number < 0 { 9 } else { 10 };
    while rest > 0 || SEQUENCE_LEN - at < width {
        at -= 1;
        room[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    if number < 0 {
        at -= 1;
        room[at] = b'-';
    }
    &room[at..]
}

/// Writes what a request's list becomes into `room`: no duplicates, `auth` replaced by who asks.
/// Answers its number of entries and bytes.
fn fix_acl(
    list: List<'_, Acl<'_>>,
    ids: List<'_, Id<'_>>,
    room: &mut [u8],
) -> Result<(i32, usize), Refusal> {
    if list.is_empty() || list.len() > MAX_ACL_ENTRIES {
        return Err(Code::InvalidAcl.into());
    }
    let mut out = Slice::new(room);
    let mut count = 0;
    for (i, acl) in list.iter().enumerate() {
        if list.iter().take(i).any(|earlier| earlier == acl) {
            continue;
        }
        let Id { scheme, id } = acl.id;
        let Some(scheme) = scheme.0 else { return Err(Code::InvalidAcl.into()) };
        if scheme == b"auth" {
            let before = count;
            // Apache asks each identity's scheme whether it proves anything; an address does not.
            for own in ids.iter().filter(|own| own.scheme.bytes() == b"digest") {
                jute::write(&Acl { perms: acl.perms, id: own }, &mut out)?;
                count += 1;
            }
            if count == before {
                return Err(Code::InvalidAcl.into());
            }
            continue;
        }
        // Java fails on a null there, outside any check.
        let id = id.0.ok_or(Refusal::Malformed)?;
        let valid = match scheme {
            b"world" => id == b"anyone",
            b"ip" => identity::ip_is_valid(id),
            b"digest" => identity::digest_is_valid(id),
            _ => false,
        };
        if !valid {
            return Err(Code::InvalidAcl.into());
        }
        jute::write(&acl, &mut out)?;
        count += 1;
    }
    Ok((count, out.len()))
}

/// Whether `bytes` are the record of a creation: checked in tests and debug builds, since the
/// record is written field by field.
fn record_is(op: OpCode, bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let whole = match op {
        OpCode::CreateContainer => reader.read::<CreateContainerTxn<'_>>().is_ok(),
        OpCode::CreateTtl => reader.read::<CreateTtlTxn<'_>>().is_ok(),
        _ => reader
            .read::<CreateTxn<'_>>()
            .is_ok_and(|txn| matches!(txn.parent_cversion, Trailing(Some(_)))),
    };
    whole && reader.rest().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_javas() {
        let mut room = [0; SEQUENCE_LEN];
        for (number, text) in [
            (0, "0000000000"),
            (42, "0000000042"),
            (i32::MAX, "2147483647"),
            (-5, "-000000005"),
            (i32::MIN, "-2147483648"),
        ] {
            assert_eq!(sequence(number, &mut room), text.as_bytes());
        }
    }

    #[test]
    fn versions_skip_minus_one() {
        assert_eq!(next_version(3, 3), Ok(4));
        assert_eq!(next_version(3, -1), Ok(4));
        assert_eq!(next_version(3, 2), Err(Code::BadVersion));
        assert_eq!(next_version(-2, -2), Ok(0));
        assert_eq!(next_version(i32::MAX, -1), Ok(i32::MIN));
    }
}
