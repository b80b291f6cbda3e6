//! Transactions: what the leader decides, and what logs, proposals and replays carry.
//!
//! ```text
//! TxnHeader (32 bytes) | the record of its type | TxnDigest (12 bytes, may be absent)
//! ```
//!
//! The same bytes stand in a log record, a PROPOSAL and an INFORM. Answers to `zookeeper.jute`,
//! module `org.apache.zookeeper.txn`, and to `SerializeUtils.deserializeTxn`.

use serde::{Deserialize, Serialize};

use super::client::Acl;
use super::code::{Code, OpCode};
use super::jute::{Buffer, Error, List, Reader, Trailing, Ustring};
use crate::id::{SessionId, Xid, Zxid};

/// Begins every transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnHeader {
    /// The session that asked for it (0: the server itself).
    pub client_id: SessionId,
    /// The request's xid.
    pub cxid: Xid,
    /// The transaction's zxid.
    pub zxid: Zxid,
    /// The leader's wall clock, ms since 1970.
    pub time: i64,
    /// Which record follows.
    pub op: OpCode,
}

impl TxnHeader {
    /// Bytes.
    pub const LEN: usize = 32;
}

/// Digest of the tree after the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnDigest {
    /// [`TxnDigest::VERSION`].
    pub version: i32,
    /// The sum over all nodes.
    pub tree_digest: i64,
}

impl TxnDigest {
    /// The digest that this code computes. Answers to `DigestCalculator.DIGEST_VERSION`.
    pub const VERSION: i32 = 2;
}

/// create, create2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTxn<'a> {
    /// The path, with its sequence number.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The data, or null.
    pub data: Buffer<'a>,
    /// The ACL as it is stored.
    pub acl: List<'a, Acl<'a>>,
    /// Whether the session of the header owns the node.
    pub ephemeral: bool,
    /// The parent's `cversion` afterwards; logs before 3.4 leave it out.
    pub parent_cversion: Trailing<i32>,
}

/// createContainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateContainerTxn<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The data, or null.
    pub data: Buffer<'a>,
    /// The ACL as it is stored.
    pub acl: List<'a, Acl<'a>>,
    /// The parent's `cversion` afterwards.
    pub parent_cversion: i32,
}

/// createTTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTtlTxn<'a> {
    /// The path, with its sequence number.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The data, or null.
    pub data: Buffer<'a>,
    /// The ACL as it is stored.
    pub acl: List<'a, Acl<'a>>,
    /// The parent's `cversion` afterwards.
    pub parent_cversion: i32,
    /// Time to live, ms.
    pub ttl: i64,
}

/// delete, deleteContainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTxn<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
}

/// setData, and reconfig on `/zookeeper/config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDataTxn<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The new data, or null.
    pub data: Buffer<'a>,
    /// The version afterwards.
    pub version: i32,
}

/// setACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAclTxn<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The ACL as it is stored.
    pub acl: List<'a, Acl<'a>>,
    /// The `aversion` afterwards.
    pub version: i32,
}

/// A version check, inside a multi only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckVersionTxn<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The version that was found, plus one.
    pub version: i32,
}

/// One operation of a [`MultiTxn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTxn<'a> {
    /// Which record `data` holds; -1 for a failed one.
    pub op: OpCode,
    /// The record, without header or digest.
    #[serde(borrow)]
    pub data: Buffer<'a>,
}

/// multi. If any of its operations has type -1, none is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiTxn<'a> {
    /// The operations in order.
    #[serde(borrow)]
    pub txns: List<'a, SubTxn<'a>>,
}

/// A request that failed: it takes a zxid and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorTxn {
    /// Why.
    pub err: Code,
}

/// createSession.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSessionTxn {
    /// The session's timeout, ms.
    pub timeout: i32,
}

/// closeSession. Logs before 3.6 leave the record out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseSessionTxn<'a> {
    /// Ephemeral nodes to delete. Any that are not listed go too.
    #[serde(borrow)]
    pub paths: List<'a, Ustring<'a>>,
}

/// The record of a transaction, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Types 1 and 15.
    Create(CreateTxn<'a>),
    /// Type 19.
    CreateContainer(CreateContainerTxn<'a>),
    /// Type 21.
    CreateTtl(CreateTtlTxn<'a>),
    /// Types 2 and 20.
    Delete(DeleteTxn<'a>),
    /// Types 5 and 16.
    SetData(SetDataTxn<'a>),
    /// Type 7.
    SetAcl(SetAclTxn<'a>),
    /// Type 13.
    Check(CheckVersionTxn<'a>),
    /// Type 14.
    Multi(MultiTxn<'a>),
    /// Type -1.
    Error(ErrorTxn),
    /// Type -10.
    CreateSession(CreateSessionTxn),
    /// Type -11; `None` when the log is older than the record.
    CloseSession(Option<CloseSessionTxn<'a>>),
}

impl<'a> Record<'a> {
    /// The path that it is about; none for sessions, errors and multis.
    pub fn path(&self) -> &'a [u8] {
        match self {
            Self::Create(txn) => txn.path.bytes(),
            Self::CreateContainer(txn) => txn.path.bytes(),
            Self::CreateTtl(txn) => txn.path.bytes(),
            Self::Delete(txn) => txn.path.bytes(),
            Self::SetData(txn) => txn.path.bytes(),
            Self::SetAcl(txn) => txn.path.bytes(),
            Self::Check(txn) => txn.path.bytes(),
            _ => &[],
        }
    }

    /// The data that it brings.
    pub fn data(&self) -> Option<Buffer<'a>> {
        match self {
            Self::Create(txn) => Some(txn.data),
            Self::CreateContainer(txn) => Some(txn.data),
            Self::CreateTtl(txn) => Some(txn.data),
            Self::SetData(txn) => Some(txn.data),
            _ => None,
        }
    }

    /// The access control list that it brings.
    pub fn acl(&self) -> Option<List<'a, Acl<'a>>> {
        match self {
            Self::Create(txn) => Some(txn.acl),
            Self::CreateContainer(txn) => Some(txn.acl),
            Self::CreateTtl(txn) => Some(txn.acl),
            Self::SetAcl(txn) => Some(txn.acl),
            _ => None,
        }
    }

    /// Reads the record of type `op`; `None` for a type that no transaction has.
    ///
    /// # Errors
    /// When the bytes are not such a record.
    pub fn read(op: OpCode, reader: &mut Reader<'a>) -> Result<Option<Self>, Error> {
        Ok(Some(match op {
            OpCode::Create | OpCode::Create2 => Self::Create(reader.read()?),
            OpCode::CreateContainer => Self::CreateContainer(reader.read()?),
            OpCode::CreateTtl => Self::CreateTtl(reader.read()?),
            OpCode::Delete | OpCode::DeleteContainer => Self::Delete(reader.read()?),
            OpCode::SetData | OpCode::Reconfig => Self::SetData(reader.read()?),
            OpCode::SetAcl => Self::SetAcl(reader.read()?),
            OpCode::Check => Self::Check(reader.read()?),
            OpCode::Multi => Self::Multi(reader.read()?),
            OpCode::Error => Self::Error(reader.read()?),
            OpCode::CreateSession => Self::CreateSession(reader.read()?),
            OpCode::CloseSession if reader.rest().is_empty() => Self::CloseSession(None),
            OpCode::CloseSession => Self::CloseSession(Some(reader.read()?)),
            _ => return Ok(None),
        }))
    }
}

/// A whole transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Txn<'a> {
    /// Who, when, which.
    pub header: TxnHeader,
    /// What.
    pub record: Record<'a>,
    /// The tree afterwards, if the leader says.
    pub digest: Option<TxnDigest>,
}

impl<'a> Txn<'a> {
    /// Decodes a log record or the payload of a PROPOSAL.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an unknown type, else as [`Reader`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let header: TxnHeader = reader.read()?;
        let record = Record::read(header.op, &mut reader)?.ok_or(Error::Unsupported)?;
        let digest = match reader.rest() {
            [] => None,
            _ => Some(reader.read()?),
        };
        Ok(Self { header, record, digest })
    }
}
