//! From transactions to the tree: the same on every server, live and in replays.
//!
//! Answers to `DataTree.processTxn`.

use crate::id::{SessionId, Zxid};
use crate::memory::{Full, Handle};
use crate::tree::{DataTree, Failure, NewNode, Owner, path};
use crate::wire::client::EventType;
use crate::wire::jute::{self, Buffer, Reader};
use crate::wire::txn::{CloseSessionTxn, MultiTxn, Record, SubTxn, TxnHeader};
use crate::wire::{Code, OpCode};

/// Why a transaction could not be applied: the peer must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Its bytes are no transaction.
    Malformed(jute::Error),
    /// The storage is full, although the leader said that it fits.
    Full,
}

impl core::fmt::Display for ApplyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "not a transaction: {error}"),
            Self::Full => f.write_str("more than this peer's capacity"),
        }
    }
}

impl core::error::Error for ApplyError {}

impl From<Full> for ApplyError {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl From<jute::Error> for ApplyError {
    fn from(error: jute::Error) -> Self {
        Self::Malformed(error)
    }
}

/// Something that watchers of `path` want to know.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The node.
    pub path: &'a [u8],
    /// What happened to it.
    pub kind: EventType,
    /// The transaction.
    pub zxid: Zxid,
    /// The list that says who may read about it: of the node, before it went; of the parent for a
    /// change of children.
    pub acl: Handle,
}

/// Told about every event while the transaction is applied.
pub trait Observer {
    /// An event; the tree is as watchers will find it.
    fn event(&mut self, tree: &DataTree<'_>, event: Event<'_>);
    /// The result of an operation of a multi, in order.
    fn result(&mut self, tree: &DataTree<'_>, done: Done<'_>);
}

/// Nobody watches: replays.
impl Observer for () {
    fn event(&mut self, _: &DataTree<'_>, _: Event<'_>) {}
    fn result(&mut self, _: &DataTree<'_>, _: Done<'_>) {}
}

/// What became of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// The transaction's type; -1 for a failed one.
    pub op: OpCode,
    /// The error, or `Ok`.
    pub err: Code,
    /// The path it was about.
    pub path: &'a [u8],
    /// The node, if it is there afterwards.
    pub node: Option<Handle>,
}

impl<'a> Done<'a> {
    fn failed(op: OpCode, path: &'a [u8], err: Code) -> Self {
        Self { op, err, path, node: None }
    }
}

/// Applies `record`. `scratch` has room for the longest path.
///
/// An operation that does not fit the tree (a replay meets those) has its code in the answer and
/// changes no more than Apache would.
///
/// # Errors
/// [`ApplyError`]: a violated promise.
pub fn apply<'a>(
    tree: &mut DataTree<'_>,
    header: &TxnHeader,
    record: &Record<'a>,
    observer: &mut dyn Observer,
    scratch: &mut [u8],
) -> Result<Done<'a>, ApplyError> {
    let done = match record {
        Record::Multi(multi) => apply_multi(tree, header, multi, observer)?,
        Record::CloseSession(record) => {
            close_session(tree, header, record.as_ref(), observer, scratch)?;
            Done { op: header.op, err: Code::Ok, path: b"", node: None }
        }
        record => apply_one(tree, header, header.op, record, observer)?,
    };
    tree.applied(header.zxid);
    Ok(done)
}

fn apply_one<'a>(
    tree: &mut DataTree<'_>,
    header: &TxnHeader,
    op: OpCode,
    record: &Record<'a>,
    observer: &mut dyn Observer,
) -> Result<Done<'a>, ApplyError> {
    let path = record.path();
    let new = |data: Buffer<'a>, acl, owner, cversion: Option<i32>| {
        // -1 stands for a log before 3.4 as well.
        let parent_cversion = cversion.filter(|&cversion| cversion != -1);
        let (zxid, time) = (header.zxid, header.time);
        NewNode { path, data: data.0, acl, owner, parent_cversion, zxid, time }
    };
    let changed = match record {
        Record::Create(txn) => {
            let owner =
                if txn.ephemeral { Owner::Session(header.client_id) } else { Owner::Nobody };
            let new = new(txn.data, txn.acl, owner, txn.parent_cversion.0);
            create(tree, op, &new, observer)
        }
        Record::CreateContainer(txn) => {
            let new = new(txn.data, txn.acl, Owner::Container, Some(txn.parent_cversion));
            create(tree, op, &new, observer)
        }
        Record::CreateTtl(txn) => {
            // A server without extended types would take the node for an ephemeral one.
            let new = new(txn.data, txn.acl, Owner::Ttl(txn.ttl), Some(txn.parent_cversion));
            create(tree, op, &new, observer)
        }
        Record::Delete(_) => {
            delete(tree, path, header.zxid, observer).map(|()| None).map_err(Failure::Code)
        }
        Record::SetData(txn) => {
            let set = tree.set_data(path, txn.data.0, txn.version, header.zxid, header.time);
            if let Ok(at) = set {
                let (kind, zxid, acl) = (EventType::NodeDataChanged, header.zxid, tree.acl_of(at));
                observer.event(tree, Event { path, kind, zxid, acl });
            }
            set.map(Some)
        }
        Record::SetAcl(txn) => tree.set_acl(path, txn.acl, txn.version).map(Some),
        Record::Error(txn) => Err(Failure::Code(txn.err)),
        Record::Check(_) | Record::CreateSession(_) => Ok(None),
        // Neither nests.
        Record::Multi(_) | Record::CloseSession(_) => {
            return Err(ApplyError::Malformed(jute::Error::Unsupported));
        }
    };
    match changed {
        Ok(node) => Ok(Done { op, err: Code::Ok, path, node }),
        Err(Failure::Code(err)) => Ok(Done::failed(op, path, err)),
        Err(Failure::Full) => Err(ApplyError::Full),
    }
}

fn create(
    tree: &mut DataTree<'_>,
    op: OpCode,
    new: &NewNode<'_>,
    observer: &mut dyn Observer,
) -> Result<Option<Handle>, Failure> {
    let created = tree.create(new);
    match created {
        Ok(at) => {
            let (path, zxid, acl) = (new.path, new.zxid, tree.acl_of(at));
            observer.event(tree, Event { path, kind: EventType::NodeCreated, zxid, acl });
            children_changed(tree, path, zxid, observer);
        }
        // A replay over a fuzzy snapshot may meet the node, made by a later session; its parent
        // moves on all the same.
        Err(Failure::Code(Code::NodeExists)) if op == OpCode::Create => {
            if let Some((parent, _)) = path::split(new.path) {
                tree.advance_children(parent, new.parent_cversion, new.zxid);
            }
        }
        Err(_) => {}
    }
    created.map(Some)
}

fn children_changed(tree: &DataTree<'_>, path: &[u8], zxid: Zxid, observer: &mut dyn Observer) {
    let Some((parent, _)) = path::split(path) else { return };
    let Some(at) = tree.find(parent) else { return };
    let acl = tree.acl_of(at);
    let event =
        Event { path: path::shown(parent), kind: EventType::NodeChildrenChanged, zxid, acl };
    observer.event(tree, event);
}

fn delete(
    tree: &mut DataTree<'_>,
    path: &[u8],
    zxid: Zxid,
    observer: &mut dyn Observer,
) -> Result<(), Code> {
    // Who may hear of the deletion is said by the list that goes with the node.
    let acl = tree.find(path).map(|at| tree.acl_of(at));
    if let Some(acl) = acl {
        tree.share_acl(acl);
    }
    let result = tree.delete(path, zxid);
    if let Some(acl) = acl {
        if result.is_ok() {
            observer.event(tree, Event { path, kind: EventType::NodeDeleted, zxid, acl });
            children_changed(tree, path, zxid, observer);
        }
        tree.release_acl(acl);
    }
    result
}

/// If any operation is an error, none is applied: those before it answer `Ok`, those behind it
/// `RuntimeInconsistency`.
fn apply_multi<'a>(
    tree: &mut DataTree<'_>,
    header: &TxnHeader,
    multi: &MultiTxn<'a>,
    observer: &mut dyn Observer,
) -> Result<Done<'a>, ApplyError> {
    let failed = multi.txns.iter().any(|txn| txn.op == OpCode::Error);
    let mut behind = false;
    let mut err = Code::Ok;
    for SubTxn { op, data } in multi.txns {
        let done = if failed && op != OpCode::Error {
            let code = if behind { Code::RuntimeInconsistency } else { Code::Ok };
            Done::failed(OpCode::Error, b"", code)
        } else {
            behind |= op == OpCode::Error;
            let mut reader = Reader::new(data.bytes());
            let record = Record::read(op, &mut reader)?.ok_or(jute::Error::Unsupported)?;
            apply_one(tree, header, op, &record, observer)?
        };
        if err == Code::Ok {
            err = done.err;
        }
        observer.result(tree, done);
    }
    Ok(Done { op: header.op, err, path: b"", node: None })
}

/// Deletes the listed nodes, then what else the session still has.
fn close_session(
    tree: &mut DataTree<'_>,
    header: &TxnHeader,
    record: Option<&CloseSessionTxn<'_>>,
    observer: &mut dyn Observer,
    scratch: &mut [u8],
) -> Result<(), ApplyError> {
    if let Some(record) = record {
        for path in record.paths {
            // It may be gone in a replay.
            let _ = delete(tree, path.bytes(), header.zxid, observer);
        }
    }
    kill_session(tree, header.client_id, header.zxid, observer, scratch)
}

/// Deletes the ephemeral nodes of a session that ends.
///
/// # Errors
/// [`ApplyError::Full`] when a path does not fit `scratch`.
pub fn kill_session(
    tree: &mut DataTree<'_>,
    session: SessionId,
    zxid: Zxid,
    observer: &mut dyn Observer,
    scratch: &mut [u8],
) -> Result<(), ApplyError> {
    loop {
        let Some(at) = tree.ephemerals(session).next() else {
            tree.session_ended(session);
            return Ok(());
        };
        let path = tree.path_of(at, scratch).ok_or(ApplyError::Full)?;
        delete(tree, path, zxid, observer).map_err(|_| ApplyError::Full)?;
    }
}
