//! A client's connection as the peer knows it: what waits for an answer, what waits to be sent.

use super::spare::Spare;
use super::stats::Counters;
use crate::id::SessionId;
use crate::memory::{Full, Handle, NIL, Pipe, Table};
use crate::session::auth::Identities;
use crate::time::{Instant, Now};
use crate::tree::watch::Own;
use crate::wire::OpCode;

/// A client's connection. Numbers are small, and used again after [`closed`](super::Peer::closed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(pub(super) Handle);

impl Link {
    /// The number, for an index of the shell's.
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not in use; the next such.
    Vacant(Handle),
    /// Nothing was said yet.
    Fresh,
    /// The session's creation is proposed.
    Opening,
    /// The leader was asked whether the session may go on here.
    Returning,
    /// The session is there.
    Open,
    /// What waits is still sent, then the socket is to be closed.
    Closing,
    /// The socket is closed; watches are still there.
    Leaving,
}

/// Lists of connections, first in, first out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Queue {
    /// The shell should look at them.
    Ready,
    /// They wait for transactions to be applied.
    Stalled,
    /// The request at their head takes long. The first of them is being served.
    Long,
    /// They are closed, and have watches.
    Leaving,
}

/// How many there are of these.
const QUEUES: usize = 4;

/// What is known of a frame that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Bytes of the frame.
    pub(super) len: usize,
    /// When it came.
    pub(super) since: Instant,
    /// Whether it is proposed.
    pub(super) submitted: bool,
}

/// Bytes before a frame that waits: length, arrival, whether it is proposed.
pub const WAITING_HEAD: usize = 13;

/// Storage of a connection.
#[derive(Debug)]
pub struct Connection<'m> {
    pub(super) state: State,
    /// Counts connections, so that a link number that is used again is told apart.
    pub(super) serial: u64,
    pub(super) session: SessionId,
    pub(super) timeout: u32,
    pub(super) ids: Identities,
    /// When the client asked for it.
    pub(super) asked: Instant,
    /// Whether the client's handshake spoke of read-only servers.
    pub(super) read_only_field: bool,
    /// Frames that wait, oldest first.
    pub(super) input: Pipe<'m>,
    /// Bytes that are still to come of the last of them.
    pub(super) due: usize,
    /// Up to here, frames were looked at for being proposed.
    pub(super) looked: usize,
    pub(super) output: Pipe<'m>,
    /// Room in the output that proposed writes will need, and the reads that they have overtaken.
    pub(super) reserved: usize,
    pub(super) own: Own,
    /// The last event that was told, by number.
    pub(super) event: u64,
    /// The proposal that the sync at the head waits for.
    pub(super) sync: Option<u64>,
    /// The queues that it stands in, and who stands behind it.
    pub(super) queued: [bool; QUEUES],
    behind: [Handle; QUEUES],
    /// A reply did not fit: reads wait until the output is empty.
    pub(super) crowded: bool,
    /// The shell was told to wait.
    pub(super) blocked: bool,
    /// Something happened since the last trim.
    pub(super) active: bool,
    /// It waits for memory that another one has: for a frame, and for replies.
    pub(super) wants: [bool; 2],
    pub(super) counters: Counters,
}

impl<'m> Connection<'m> {
    /// Storage in the caller's slices: for frames that wait and for replies.
    pub fn lent(input: &'m mut [u8], output: &'m mut [u8]) -> Self {
        Self::new(Table::lent(input), Table::lent(output))
    }

    fn new(input: Table<'m, u8>, output: Table<'m, u8>) -> Self {
        Self {
            state: State::Vacant(NIL),
            serial: 0,
            session: SessionId::NONE,
            timeout: 0,
            ids: Identities::default(),
            asked: Instant(0),
            read_only_field: false,
            input: Pipe::new(input),
            due: 0,
            looked: 0,
            output: Pipe::new(output),
            reserved: 0,
            own: Own::NONE,
            event: 0,
            sync: None,
            queued: [false; QUEUES],
            behind: [NIL; QUEUES],
            crowded: false,
            blocked: false,
            active: false,
            wants: [false; 2],
            counters: Counters::default(),
        }
    }

    pub(super) fn reset(&mut self) {
        let input = core::mem::take(&mut self.input);
        let output = core::mem::take(&mut self.output);
        *self = Self { input, output, ..Self::new(Table::default(), Table::default()) };
        self.input.clear();
        self.input.shrink();
        self.output.clear();
        self.output.shrink();
    }

    /// The frame at byte `at` of those that wait.
    pub(super) fn waiting(&self, at: usize) -> Option<Waiting> {
        let bytes = self.input.bytes().get(at..)?;
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (since, rest) = rest.split_first_chunk::<8>()?;
        let len = u32::from_be_bytes(*len) as usize;
        if self.due > 0 && rest.len() <= len {
            // Not all of it has come.
            return None;
        }
        Some(Waiting {
            len,
            since: Instant(u64::from_be_bytes(*since)),
            submitted: rest.first() == Some(&1),
        })
    }

    /// Where the frame behind the one at `at` starts.
    pub(super) fn behind(at: usize, waiting: Waiting) -> usize {
        at + WAITING_HEAD + waiting.len
    }

    pub(super) fn frame(&self, at: usize, waiting: Waiting) -> &[u8] {
        let start = at + WAITING_HEAD;
        self.input.bytes().get(start..start + waiting.len).unwrap_or_default()
    }

    pub(super) fn set_submitted(&mut self, at: usize) {
        if let Some(flag) = self.input.bytes_mut().get_mut(at + WAITING_HEAD - 1) {
            *flag = 1;
        }
    }

    /// Bytes of the output that are not reserved.
    pub(super) fn unreserved_room(&self) -> usize {
        self.output.free().saturating_sub(self.reserved)
    }

    /// Writes to the output, into room that is not reserved.
    pub(super) fn unreserved<T>(&mut self, put: impl FnOnce(&mut Pipe<'m>) -> T) -> T {
        let ceiling = self.output.ceiling();
        self.output.set_limit(ceiling.saturating_sub(self.reserved));
        let result = put(&mut self.output);
        self.output.set_limit(ceiling);
        result
    }

    /// Lets a frame of `len` bytes wait, or the beginning of one that has so many.
    pub(super) fn enqueue(&mut self, frame: &[u8], len: usize, now: Now) -> Result<(), Full> {
        if WAITING_HEAD + len > self.input.free() {
            return Err(Full);
        }
        let room = self.input.room(WAITING_HEAD + frame.len())?;
        self.due = len - frame.len();
        let len = u32::try_from(len).map_err(|_| Full)?;
        room[..4].copy_from_slice(&len.to_be_bytes());
        room[4..12].copy_from_slice(&now.monotonic.0.to_be_bytes());
        room[12] = 0;
        room[WAITING_HEAD..].copy_from_slice(frame);
        self.counters.queued();
        Ok(())
    }

    /// Adds to the last of the frames that wait.
    pub(super) fn append(&mut self, part: &[u8]) -> Result<(), Full> {
        self.input.room(part.len())?.copy_from_slice(part);
        self.due -= part.len();
        Ok(())
    }

    /// Drops the last of the frames that wait; none of them is in part.
    pub(super) fn drop_last(&mut self) {
        let mut at = 0;
        while let Some(waiting) = self.waiting(at) {
            let behind = Self::behind(at, waiting);
            if behind == self.input.len() {
                self.input.truncate(at);
                self.counters.dequeued();
                return;
            }
            at = behind;
        }
    }

    /// Drops the frame at the head.
    pub(super) fn dequeue(&mut self, waiting: Waiting) {
        let len = WAITING_HEAD + waiting.len;
        self.input.take(len);
        self.looked = self.looked.saturating_sub(len);
        self.counters.dequeued();
    }
}

impl Default for Connection<'_> {
    #[cfg(feature = "alloc")]
    fn default() -> Self {
        // The limits are set when the connection is opened.
        Self::new(Table::owned(u32::MAX as usize), Table::owned(u32::MAX as usize))
    }

    #[cfg(not(feature = "alloc"))]
    fn default() -> Self {
        Self::new(Table::default(), Table::default())
    }
}

/// How a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Proposed as soon as it comes.
    Write,
    /// Answered from the tree, behind the session's own writes, with no more than a node's data: a
    /// later write need not wait for it.
    Read,
    /// Answered from the tree, at any length and however long it takes: a later write waits.
    List,
    /// Answered when nothing is before it, and nothing behind it is looked at before.
    Barrier,
    /// Nothing that a client may ask.
    Unknown,
}

pub(super) fn class(op: OpCode) -> Class {
    match op {
        OpCode::Create
        | OpCode::Create2
        | OpCode::CreateContainer
        | OpCode::CreateTtl
        | OpCode::Delete
        | OpCode::SetData
        | OpCode::SetAcl
        | OpCode::Multi
        | OpCode::Reconfig
        | OpCode::CloseSession => Class::Write,
        OpCode::Exists | OpCode::GetData | OpCode::WhoAmI | OpCode::Ping => Class::Read,
        OpCode::GetAcl
        | OpCode::GetChildren
        | OpCode::GetChildren2
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::MultiRead => Class::List,
        OpCode::Auth
        | OpCode::Sasl
        | OpCode::Sync
        | OpCode::SetWatches
        | OpCode::SetWatches2
        | OpCode::AddWatch
        | OpCode::CheckWatches
        | OpCode::RemoveWatches => Class::Barrier,
        // Check belongs into a multi (ZOOKEEPER-2623); DeleteContainer, CreateSession and Error are
        // the server's own.
        _ => Class::Unknown,
    }
}

/// All connections of a peer.
#[derive(Debug)]
pub(super) struct Connections<'m> {
    pub(super) table: Table<'m, Connection<'m>>,
    vacant: Handle,
    used: usize,
    len: usize,
    serial: u64,
    queues: [List; QUEUES],
    pub(super) spares: [Spare<'m>; 2],
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: Handle,
    last: Handle,
}

impl List {
    const EMPTY: Self = Self { first: NIL, last: NIL };
}

impl<'m> Connections<'m> {
    pub(super) fn new(table: Table<'m, Connection<'m>>, spares: [Table<'m, u8>; 2]) -> Self {
        let (spares, queues) = (spares.map(Spare::new), [List::EMPTY; QUEUES]);
        Self { table, vacant: NIL, used: 0, len: 0, serial: 0, queues, spares }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn open(&mut self) -> Result<Handle, Full> {
        let at = if self.vacant != NIL {
            let at = self.vacant;
            if let State::Vacant(next) = self.table[at as usize].state {
                self.vacant = next;
            }
            at
        } else {
            let at = Handle::try_from(self.used).map_err(|_| Full)?;
            if at == NIL || !self.table.reach(self.used + 1) {
                return Err(Full);
            }
            self.used += 1;
            at
        };
        self.len += 1;
        self.serial += 1;
        let serial = self.serial;
        let connection = &mut self.table[at as usize];
        // It may still stand in a queue; it stays there, as a new link.
        let (queued, behind) = (connection.queued, connection.behind);
        connection.reset();
        connection.state = State::Fresh;
        connection.serial = serial;
        connection.queued = queued;
        connection.behind = behind;
        Ok(at)
    }

    /// Its socket is closed. Its number is used again after [`vacate`](Self::vacate).
    pub(super) fn close(&mut self, at: Handle) {
        let connection = &mut self[at];
        connection.state = State::Leaving;
        (connection.due, connection.reserved) = (0, 0);
        connection.input.clear();
        connection.input.shrink();
        connection.output.clear();
        connection.output.shrink();
        self.len -= 1;
    }

    /// Nothing is left of a closed connection.
    pub(super) fn vacate(&mut self, at: Handle) {
        let next = self.vacant;
        self[at].state = State::Vacant(next);
        self.vacant = at;
    }

    /// A connection in use.
    pub(super) fn get(&self, at: Handle) -> Option<&Connection<'m>> {
        let connection = self.table.get(at as usize)?;
        (!matches!(connection.state, State::Vacant(_) | State::Leaving)).then_some(connection)
    }

    pub(super) fn get_mut(&mut self, at: Handle) -> Option<&mut Connection<'m>> {
        let connection = self.table.get_mut(at as usize)?;
        (!matches!(connection.state, State::Vacant(_) | State::Leaving)).then_some(connection)
    }

    /// The shell should look at it.
    pub(super) fn make_ready(&mut self, at: Handle) {
        self.push(Queue::Ready, at);
    }

    /// It waits for transactions to be applied.
    pub(super) fn stall(&mut self, at: Handle) {
        self.push(Queue::Stalled, at);
    }

    /// Puts a link at the end of a queue, unless it stands there.
    pub(super) fn push(&mut self, queue: Queue, at: Handle) {
        let queue = queue as usize;
        let connection = &mut self.table[at as usize];
        if core::mem::replace(&mut connection.queued[queue], true) {
            return;
        }
        connection.behind[queue] = NIL;
        match self.queues[queue].last {
            NIL => self.queues[queue].first = at,
            last => self.table[last as usize].behind[queue] = at,
        }
        self.queues[queue].last = at;
    }

    /// Takes the first link out of a queue.
    pub(super) fn pop(&mut self, queue: Queue) -> Option<Handle> {
        let at = self.first(queue)?;
        let queue = queue as usize;
        let connection = &mut self.table[at as usize];
        connection.queued[queue] = false;
        self.queues[queue].first = connection.behind[queue];
        if self.queues[queue].first == NIL {
            self.queues[queue].last = NIL;
        }
        Some(at)
    }

    /// Who stands first in a queue.
    pub(super) fn first(&self, queue: Queue) -> Option<Handle> {
        let at = self.queues[queue as usize].first;
        (at != NIL).then_some(at)
    }

    /// Who stands last in a queue; NIL: nobody.
    pub(super) fn last(&self, queue: Queue) -> Handle {
        self.queues[queue as usize].last
    }
}

impl<'m> core::ops::Index<Handle> for Connections<'m> {
    type Output = Connection<'m>;

    fn index(&self, at: Handle) -> &Connection<'m> {
        &self.table[at as usize]
    }
}

impl core::ops::IndexMut<Handle> for Connections<'_> {
    fn index_mut(&mut self, at: Handle) -> &mut Self::Output {
        &mut self.table[at as usize]
    }
}
