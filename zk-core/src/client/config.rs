//! What a session is made with.

use core::fmt;

use crate::id::{SessionId, Zxid};
use crate::memory::Table;

/// Length of a session's password.
pub const PASSWD: usize = 16;

/// What a session is told at its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Number of servers that the shell can dial (at least 1).
    pub hosts: usize,
    /// The session timeout to ask for, ms.
    pub timeout: i32,
    /// Whether a read-only server will do.
    pub read_only: bool,
    /// The most requests without a reply.
    pub max_outstanding: usize,
    /// The largest request, bytes without the length of its frame. Servers end the connection
    /// above their `jute.maxbuffer`.
    pub max_request: usize,
    /// The largest reply, bytes without the length of its frame.
    pub max_reply: usize,
    /// Decides the order of dialling and its pauses.
    pub seed: u64,
    /// A session to continue.
    pub resume: Option<Resume>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hosts: 1,
            timeout: 30_000,
            read_only: false,
            max_outstanding: 1000,
            max_request: JUTE_MAXBUFFER,
            max_reply: JUTE_MAXBUFFER,
            seed: 0,
            resume: None,
        }
    }
}

/// Apache's default `jute.maxbuffer`.
pub const JUTE_MAXBUFFER: usize = 0xf_ffff;

/// What is needed to continue a session, see [`Session::resume`](super::Session::resume).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The session.
    pub session_id: SessionId,
    /// Its password.
    pub passwd: [u8; PASSWD],
    /// The last zxid that it saw.
    pub last_zxid: Zxid,
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out of logs.
        write!(f, "Resume({}, {})", self.session_id, self.last_zxid)
    }
}

/// What the session keeps its tables in.
#[derive(Debug)]
pub struct Storage<'m> {
    /// Requests until they are answered: 12 bytes and the body each.
    pub requests: Table<'m, u8>,
    /// Watched paths: 6 bytes and the path each.
    pub watches: Table<'m, u8>,
    /// Credentials: 24 bytes, the scheme and the secret each.
    pub auths: Table<'m, u8>,
}

#[cfg(feature = "alloc")]
impl Storage<'static> {
    /// On the heap, with ceilings for an ordinary client: 16 MiB of requests, 16 MiB of watches,
    /// 64 KiB of credentials.
    pub fn owned() -> Self {
        Self {
            requests: Table::owned(16 << 20),
            watches: Table::owned(16 << 20),
            auths: Table::owned(64 << 10),
        }
    }
}
