//! Records of the client port: requests, replies, stats, ACLs, watch events.
//!
//! Field order is byte order ([`jute`](super::jute) concatenates fields). Answers to
//! `zookeeper.jute`, modules `org.apache.zookeeper.data` and `.proto`.

use serde::{Deserialize, Serialize};

use super::code::{Code, OpCode};
use super::jute::{Buffer, List, Trailing, Ustring};
use crate::id::{SessionId, Xid, Zxid};

/// Permission bits of an ACL entry. Answers to `ZooDefs.Perms`.
pub mod perms {
    /// Read data and list children.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create a child.
    pub const CREATE: i32 = 4;
    /// Delete a child.
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

/// An identity: authentication scheme and name within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Id<'a> {
    /// `world`, `ip`, `digest`, `auth`, ...
    #[serde(borrow)]
    pub scheme: Ustring<'a>,
    /// What the scheme calls the identity.
    pub id: Ustring<'a>,
}

/// One entry of an access control list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acl<'a> {
    /// What is allowed: bits of [`perms`].
    pub perms: i32,
    /// To whom.
    #[serde(borrow)]
    pub id: Id<'a>,
}

/// `[ALL, world:anyone]`, as most clients send it.
pub const OPEN_ACL_UNSAFE: Acl<'static> = Acl {
    perms: perms::ALL,
    id: Id { scheme: Ustring::new(b"world"), id: Ustring::new(b"anyone") },
};

/// A node's metadata as clients see it (68 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stat {
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
    /// Number of changes to the list of children.
    pub cversion: i32,
    /// Number of ACL changes.
    pub aversion: i32,
    /// The session that owns an ephemeral node, else 0.
    pub ephemeral_owner: i64,
    /// Length of the data, 0 for null.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
    /// The transaction that last changed the list of children.
    pub pzxid: Zxid,
}

/// The first record of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectRequest<'a> {
    /// 0.
    pub protocol_version: i32,
    /// The largest zxid that the client has seen.
    pub last_zxid_seen: Zxid,
    /// The session timeout that the client would like, ms.
    pub timeout: i32,
    /// The session to continue, or zero.
    pub session_id: SessionId,
    /// The session's password.
    #[serde(borrow)]
    pub passwd: Buffer<'a>,
    /// Whether a read-only server will do; clients before 3.4 leave it out.
    pub read_only: Trailing<bool>,
}

/// The answer to [`ConnectRequest`]; timeout 0 and session 0 say that the session is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectResponse<'a> {
    /// 0.
    pub protocol_version: i32,
    /// The session timeout that was granted, ms.
    pub timeout: i32,
    /// The session.
    pub session_id: SessionId,
    /// Its password, 16 bytes.
    #[serde(borrow)]
    pub passwd: Buffer<'a>,
    /// Present when the request had the field.
    pub read_only: Trailing<bool>,
}

/// Begins every request after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeader {
    /// Chosen by the client, echoed in the reply.
    pub xid: Xid,
    /// Which record follows.
    pub op: OpCode,
}

/// Begins every reply (16 bytes); nothing follows when `err` is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyHeader {
    /// The request's.
    pub xid: Xid,
    /// The last transaction the server has applied.
    pub zxid: Zxid,
    /// Success or the error.
    pub err: Code,
}

impl ReplyHeader {
    /// Its bytes.
    pub const LEN: usize = 16;
}

/// Body of create, create2 and createContainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequest<'a> {
    /// The path; sequential modes append ten digits.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The data, or null.
    pub data: Buffer<'a>,
    /// The ACL.
    pub acl: List<'a, Acl<'a>>,
    /// A create mode.
    pub flags: i32,
}

/// Body of createTTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTtlRequest<'a> {
    /// As in [`CreateRequest`].
    #[serde(borrow)]
    pub create: CreateRequest<'a>,
    /// Milliseconds after the last change of data at which the node goes, if it has no children.
    pub ttl: i64,
}

/// A path alone: getACL, sync, getAllChildrenNumber, getEphemerals, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRecord<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
}

/// A path and an expected version (-1: any): delete and check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathVersion<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The expected version.
    pub version: i32,
}

/// A path and a watch flag: exists, getData, getChildren, getChildren2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathWatch<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// Whether to leave a watch.
    pub watch: bool,
}

/// A path and a watcher type or an addWatch mode: checkWatches, removeWatches, addWatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMode<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The type or mode.
    pub mode: i32,
}

/// Body of setData.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDataRequest<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The new data, or null.
    pub data: Buffer<'a>,
    /// The expected version, -1 for any.
    pub version: i32,
}

/// Body of setACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAclRequest<'a> {
    /// The path.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The new ACL.
    pub acl: List<'a, Acl<'a>>,
    /// The expected `aversion`, -1 for any.
    pub version: i32,
}

/// Body of reconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconfigRequest<'a> {
    /// Servers that join, comma separated.
    #[serde(borrow)]
    pub joining: Ustring<'a>,
    /// Ids of servers that leave.
    pub leaving: Ustring<'a>,
    /// Or the whole new membership.
    pub new_members: Ustring<'a>,
    /// The configuration it is meant for, -1 for any.
    pub cur_config_id: i64,
}

/// Body of an authentication packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthPacket<'a> {
    /// 0.
    pub kind: i32,
    /// The scheme.
    #[serde(borrow)]
    pub scheme: Ustring<'a>,
    /// What the scheme wants, `user:password` for digest.
    pub auth: Buffer<'a>,
}

/// Body of setWatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetWatches<'a> {
    /// Changes after this zxid fire at once.
    pub relative_zxid: Zxid,
    /// Paths with data watches.
    #[serde(borrow)]
    pub data: List<'a, Ustring<'a>>,
    /// Paths with exists watches (on nodes that were missing).
    pub exist: List<'a, Ustring<'a>>,
    /// Paths with child watches.
    pub child: List<'a, Ustring<'a>>,
}

impl SetWatches<'_> {
    /// How many paths there are.
    pub fn count(&self) -> usize {
        self.data.len() + self.exist.len() + self.child.len()
    }
}

/// Body of setWatches2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetWatches2<'a> {
    /// As in [`SetWatches`].
    #[serde(borrow)]
    pub standard: SetWatches<'a>,
    /// Paths with persistent watches.
    pub persistent: List<'a, Ustring<'a>>,
    /// Paths with persistent recursive watches.
    pub persistent_recursive: List<'a, Ustring<'a>>,
}

/// Begins each operation of a multi, its results, and ends both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiHeader {
    /// Which record follows.
    pub op: OpCode,
    /// Whether this is the end.
    pub done: bool,
    /// -1 in requests; the result's code in replies.
    pub err: i32,
}

impl MultiHeader {
    /// What ends a multi.
    pub const END: Self = Self { op: OpCode::Error, done: true, err: -1 };
}

/// Reply of create, sync.
pub type PathReply<'a> = PathRecord<'a>;

/// Reply of create2, createContainer, createTTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create2Reply<'a> {
    /// The path, with its sequence number.
    #[serde(borrow)]
    pub path: Ustring<'a>,
    /// The new node's stat.
    pub stat: Stat,
}

/// Reply of getData.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetDataReply<'a> {
    /// The data, or null.
    #[serde(borrow)]
    pub data: Buffer<'a>,
    /// The node's stat.
    pub stat: Stat,
}

/// Reply of getACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetAclReply<'a> {
    /// The ACL.
    #[serde(borrow)]
    pub acl: List<'a, Acl<'a>>,
    /// The node's stat.
    pub stat: Stat,
}

/// Reply of getChildren2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetChildren2Reply<'a> {
    /// Names of the children, in no order.
    #[serde(borrow)]
    pub children: List<'a, Ustring<'a>>,
    /// The node's stat.
    pub stat: Stat,
}

/// An identity in a whoAmI reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo<'a> {
    /// The scheme.
    #[serde(borrow)]
    pub auth_scheme: Ustring<'a>,
    /// The user, without any secret part.
    pub user: Ustring<'a>,
}

/// What happened to a watched node. Answers to `Watcher.Event.EventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum EventType {
    /// The node was created.
    NodeCreated = 1,
    /// The node was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child came or went.
    NodeChildrenChanged = 4,
}

/// A watch event, behind a reply header with xid -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatcherEvent<'a> {
    /// An [`EventType`].
    pub kind: i32,
    /// The state of the connection: 3, connected.
    pub state: i32,
    /// The node.
    #[serde(borrow)]
    pub path: Ustring<'a>,
}

impl WatcherEvent<'_> {
    /// What servers write as the state.
    pub const SYNC_CONNECTED: i32 = 3;
}

/// How a node is created. Answers to `CreateMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CreateMode {
    /// Stays until deleted.
    Persistent = 0,
    /// Goes with its session.
    Ephemeral = 1,
    /// Persistent, with a sequence number.
    PersistentSequential = 2,
    /// Ephemeral, with a sequence number.
    EphemeralSequential = 3,
    /// Goes some time after its last child.
    Container = 4,
    /// Goes when it was not changed for its time to live.
    PersistentWithTtl = 5,
    /// The same, with a sequence number.
    PersistentSequentialWithTtl = 6,
}

impl CreateMode {
    /// The mode of a `flags` field.
    pub const fn from_flags(flags: i32) -> Option<Self> {
        Some(match flags {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::PersistentWithTtl,
            6 => Self::PersistentSequentialWithTtl,
            _ => return None,
        })
    }

    /// Whether a sequence number is appended.
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential
                | Self::EphemeralSequential
                | Self::PersistentSequentialWithTtl
        )
    }

    /// Whether the node belongs to its session.
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether a time to live belongs to the request.
    pub const fn is_ttl(self) -> bool {
        matches!(self, Self::PersistentWithTtl | Self::PersistentSequentialWithTtl)
    }
}
