//! What a session tells, and why it refuses.

use core::fmt;

use crate::id::{Xid, Zxid};
use crate::wire::client::ReplyHeader;
use crate::wire::jute::Ustring;
use crate::wire::{Code, OpCode};

/// What came of a [`Session::receive`](super::Session::receive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken<'b> {
    /// So many bytes from the start are done with. When it is not 0 there may be more in the rest:
    /// ask again.
    pub consumed: usize,
    /// If nothing was consumed: how many bytes, counted from the start, must be shown together.
    pub need: usize,
    /// What was in them.
    pub event: Option<Event<'b>>,
}

/// What the application hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'b> {
    /// A new session has begun.
    Connected {
        /// Whether the server can only be read (it has no quorum).
        read_only: bool,
    },
    /// The session goes on, on a new connection. Its watches are registered again.
    Reconnected {
        /// Whether the server can only be read (it has no quorum).
        read_only: bool,
    },
    /// The connection is gone, or could not be made; the session may go on. Requests that were
    /// under way have been answered with [`Code::ConnectionLoss`] before.
    Disconnected(Cause),
    /// The session is gone, and its ephemeral nodes.
    Expired,
    /// A credential was refused, which ends the session's use.
    AuthFailed,
    /// The session was closed, as was asked for.
    Closed,
    /// A reply, from the server or (code only) from this side.
    Reply(Reply<'b>),
    /// A watch fired.
    Watch(Watch<'b>),
    /// The server would not register the watches again: they are lost.
    WatchesRefused(Code),
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'b> {
    /// Which request.
    pub xid: Xid,
    /// What it asked.
    pub op: OpCode,
    /// The last zxid of the server, and the result.
    pub header: ReplyHeader,
    /// The record that belongs to `op`; empty when the result is an error.
    pub body: &'b [u8],
}

/// A watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch<'b> {
    /// An [`EventType`](crate::wire::client::EventType), or what a later server may send.
    pub kind: i32,
    /// The node.
    pub path: Ustring<'b>,
    /// The transaction, from servers 3.9 and later; else [`Zxid::NONE`].
    pub zxid: Zxid,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The shell said so: it could not connect, or the server closed.
    Closed,
    /// No connection and answer to the first packet within the timeout divided by the number of
    /// hosts.
    ConnectTimeout,
    /// Nothing was heard for two thirds of the session timeout.
    ReadTimeout,
    /// The server sent what no server sends.
    Protocol(Violation),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection was closed",
            Self::ConnectTimeout => "the server did not answer in time",
            Self::ReadTimeout => "nothing was heard from the server for too long",
            Self::Protocol(what) => return write!(f, "not a ZooKeeper server's answer: {what}"),
        })
    }
}

/// How a server broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A frame with a negative length, or above [`Config::max_reply`](super::Config::max_reply).
    Length,
    /// A record that cannot be decoded.
    Record,
    /// A reply to another request than the oldest.
    Xid {
        /// The oldest request's, if there is one.
        expected: Option<Xid>,
        /// What came.
        got: Xid,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("a frame of unreasonable length"),
            Self::Record => f.write_str("a record that cannot be decoded"),
            Self::Xid { expected: Some(expected), got } => {
                write!(f, "a reply to request {} instead of {}", got.0, expected.0)
            }
            Self::Xid { expected: None, got } => {
                write!(f, "a reply to request {}, but none is outstanding", got.0)
            }
        }
    }
}

/// Why a command was not accepted. Nothing has happened then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// Too many requests wait for replies: try again after the next reply.
    Full,
    /// The request is larger than [`Config::max_request`](super::Config::max_request), or than the storage.
    TooLarge,
    /// No room for another watch: remove one.
    TooManyWatches,
    /// No room for another credential.
    TooManyAuths,
    /// The session has ended or is being closed.
    Ended,
    /// Not a request for [`Session::submit`](super::Session::submit): ping, auth, setWatches and closeSession have ways of
    /// their own.
    NotARequest,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too many requests are waiting for replies",
            Self::TooLarge => "the request is too large",
            Self::TooManyWatches => "there is no room for another watch",
            Self::TooManyAuths => "there is no room for another credential",
            Self::Ended => "the session has ended",
            Self::NotARequest => "this is not sent as a request",
        })
    }
}

impl core::error::Error for SubmitError {}
