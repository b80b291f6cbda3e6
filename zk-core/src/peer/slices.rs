//! What takes long on a large tree, a slice at a time, so that everyone else is served between two
//! slices.
//!
//! - **Reads** wait in a queue; the first of them is being served. Its reply is written where it
//!   belongs and shown when it is whole; events that come meanwhile stay behind it. Lists of children
//!   and counts keep up with what changes meanwhile; each path of setWatches is looked at on its own.
//! - **Watches** of a connection that is closed, **counters** of a new quota, **sessions** that expire
//!   at once.
//!
//! [`poll_timeout`](Peer::poll_timeout) says that something is left to do: at once.

use super::link::{Connection, Queue, State as LinkState};
use super::{Peer, State, Summary};
use crate::id::{Xid, Zxid};
use crate::memory::{Handle, Pipe};
use crate::request::read::{Cursor, Pace};
use crate::time::Now;
use crate::trace::info;
use crate::wire::OpCode;
use crate::wire::jute::List;

/// A transaction that is proposed counts as much as so many nodes that are looked at.
const NODES_PER_TXN: usize = 8;

/// A reply that is being written.
#[derive(Debug)]
pub(super) struct Long {
    link: Handle,
    /// The connection's serial number: link numbers are used again.
    serial: u64,
    /// Where it lies in the connection's output.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) cursor: Cursor,
    /// Events among it.
    pub(super) told: Summary,
    /// Of the moment when it was begun.
    pub(super) zxid: Zxid,
}

impl Long {
    /// At the end of the output.
    pub(super) fn new(link: Handle, connection: &Connection<'_>, zxid: Zxid) -> Self {
        let Connection { serial, output, .. } = connection;
        let (from, to, cursor) = (output.len(), output.len(), Cursor::default());
        Self { link, serial: *serial, from, to, cursor, told: Summary::default(), zxid }
    }

    pub(super) fn is_of(&self, link: Handle, connection: &Connection<'_>) -> bool {
        self.link == link && self.serial == connection.serial
    }

    /// The first `len` bytes of the output are gone.
    pub(super) fn moved(&mut self, len: usize) {
        self.from = self.from.saturating_sub(len);
        self.to = self.to.saturating_sub(len);
    }

    /// A slice is done, and there is more.
    pub(super) fn pause(&mut self, op: OpCode, output: &mut Pipe<'_>) {
        if op == OpCode::GetAllChildrenNumber {
            output.remove(self.from, self.to);
        }
    }

    /// The next slice begins.
    pub(super) fn resume(&mut self, op: OpCode, end: usize, zxid: Zxid) {
        if op == OpCode::GetAllChildrenNumber {
            // Nothing was told yet: it will be what is true at the end.
            self.from = end;
            self.to = end;
            self.zxid = zxid;
        }
    }
}

impl Peer<'_> {
    /// Whether [`tick`](Self::tick) has something to do at once.
    pub(super) fn has_slices(&self) -> bool {
        !matches!(self.state, State::Stopped(_))
            && (self.connections.first(Queue::Long).is_some()
                || self.connections.first(Queue::Leaving).is_some()
                || self.tree.counts_quotas())
    }

    /// A slice of everything that is left to do.
    pub(super) fn slice(&mut self, now: Now) {
        self.serve_long(now);
        self.tree.count_quotas(self.options.slice);
        if let Some(at) = self.connections.first(Queue::Leaving) {
            self.leave(at);
        }
    }

    /// A slice of the read that is being served.
    fn serve_long(&mut self, now: Now) {
        let Some(at) = self.connections.first(Queue::Long) else { return };
        let goes_on = self.connections.get(at).is_some_and(|connection| {
            connection.state == LinkState::Open
                && self.long.as_ref().is_none_or(|long| long.is_of(at, connection))
        });
        if !goes_on {
            self.end_long();
        }
        self.serve_head(at, now, Pace::Slice);
        if self.long.is_none() {
            self.connections.pop(Queue::Long);
            self.pump(at, now);
            self.unblock(at);
        }
    }

    /// Gives up the read that is being served, and takes back what was written.
    fn end_long(&mut self) {
        let Some(long) = self.long.take() else { return };
        if let Some(connection) = self.connections.get_mut(long.link)
            && long.is_of(long.link, connection)
        {
            connection.output.remove(long.from, long.to);
        }
        self.tree.listing_end();
        self.tree.count_end();
    }

    /// The connection is being closed: its read is given up.
    pub(super) fn end_long_of(&mut self, link: Handle) {
        if self.long.as_ref().is_some_and(|long| long.link == link) {
            self.end_long();
        }
    }

    /// Removes watches of a connection that is closed. Its number is used again when all are gone.
    pub(super) fn leave(&mut self, at: Handle) {
        let Self { watches, connections, options, .. } = self;
        if watches.remove_some(&mut connections[at].own, options.slice) {
            if connections.first(Queue::Leaving) == Some(at) {
                connections.pop(Queue::Leaving);
            }
            connections.vacate(at);
        } else {
            connections.push(Queue::Leaving, at);
        }
    }

    /// Closes sessions that have expired, until that is a slice: the rest is due at once.
    pub(super) fn expire(&mut self, now: Now) {
        let me = self.options.server;
        let mut left = (self.options.slice / NODES_PER_TXN).max(1);
        while left > 0
            && let Some(id) = self.sessions.expire(now.monotonic)
        {
            left = left.saturating_sub(1 + self.tree.ephemerals_of(id));
            if self.sessions.is_local(id) {
                info!("session {:#x} has expired", id.0);
                let link = self.sessions.closed(id);
                self.drop_link(link);
                continue;
            }
            if !self.decides() {
                continue;
            }
            let (op, list) = (OpCode::CloseSession, List::EMPTY);
            // If there is no room for the transaction now, the session comes again a tick later.
            if self.propose(id, Xid(0), op, b"", list, me, None, now).is_err() {
                return;
            }
            self.stats.expired += 1;
            info!("session {:#x} has expired", id.0);
        }
    }
}
