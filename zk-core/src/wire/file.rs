//! Records of Apache's files: headers, the stat of a stored node, snapshot trailers.
//!
//! Answers to `org.apache.zookeeper.server.persistence`.

use super::txn::TxnDigest;
use serde::{Deserialize, Serialize};

use super::client::Acl;
use super::jute::{Buffer, List, Ustring};
use crate::id::{SessionId, Zxid};

/// Begins every log and snapshot (16 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHeader {
    /// Which kind of file.
    pub magic: i32,
    /// 2.
    pub version: i32,
    /// Not read by anyone.
    pub dbid: i64,
}

impl FileHeader {
    /// Of a transaction log: `ZKLG`.
    pub const LOG: Self = Self { magic: 0x5a4b_4c47, version: 2, dbid: 0 };
    /// Of a snapshot: `ZKSN`.
    pub const SNAPSHOT: Self = Self { magic: 0x5a4b_534e, version: 2, dbid: -1 };
    /// Bytes of the record.
    pub const LEN: usize = 16;
}

/// A node's metadata as it is stored (60 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatPersisted {
    /// The transaction that created the node.
    pub czxid: Zxid,
    /// The transaction that last changed its data.
    pub mzxid: Zxid,
    /// When it was created, ms since 1970.
    pub ctime: i64,
    /// When its data was last changed, ms since 1970.
    pub mtime: i64,
    /// Number of data changes.
    pub version: i32,
    /// Number of children ever created (clients see `2 * cversion - num_children`).
    pub cversion: i32,
    /// Number of ACL changes.
    pub aversion: i32,
    /// Owning session, or a mark for containers and TTL nodes.
    pub ephemeral_owner: i64,
    /// The transaction that last changed the list of children.
    pub pzxid: Zxid,
}

/// A session in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSession {
    /// Its id.
    pub id: SessionId,
    /// Its timeout, ms.
    pub timeout: i32,
}

impl SnapshotSession {
    /// Bytes of it.
    pub const LEN: usize = 8 + 4;
}

/// An access control list in a snapshot; nodes name it by `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAcl<'a> {
    /// Its number within the snapshot.
    pub id: i64,
    /// The list.
    #[serde(borrow)]
    pub acl: List<'a, Acl<'a>>,
}

/// A node in a snapshot, behind its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotNode<'a> {
    /// The data, or null.
    #[serde(borrow)]
    pub data: Buffer<'a>,
    /// A [`SnapshotAcl`], or -1 for none (open to all).
    pub acl: i64,
    /// The metadata.
    pub stat: StatPersisted,
}

impl SnapshotNode<'_> {
    /// Bytes behind the data: `acl` and `stat`.
    pub const TAIL: usize = 8 + 60;
}

/// The path that ends the nodes of a snapshot, and each of its checksums.
pub const END: Ustring<'static> = Ustring::new(b"/");

/// Digest trailer of a snapshot (20 bytes), behind the nodes' checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDigest {
    /// The zxid to which the digest belongs.
    pub zxid: Zxid,
    /// [`TxnDigest::VERSION`](super::txn::TxnDigest::VERSION).
    pub version: i32,
    /// The sum over all nodes.
    pub tree_digest: i64,
}

impl SnapshotDigest {
    /// The digest as a transaction would promise it.
    pub const fn promised(self) -> TxnDigest {
        TxnDigest { version: self.version, tree_digest: self.tree_digest }
    }
}
