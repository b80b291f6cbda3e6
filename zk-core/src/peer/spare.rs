//! Memory that connections share: what is longer than a connection's own has room there, for one connection
//! at a time, as frames that wait and as replies.
//!
//! A request that finds it taken waits; those that wait take turns. While somebody waits, the one that has it
//! gets nothing new to put there, and gives it back as soon as what is there fits its own memory. If it keeps it
//! for [`SPARE_MS`] all the same because its client is slow, that connection is closed. (An event cannot wait:
//! one that has no room ends its connection, wherever the room is.) A peer whose connections have all the room
//! that they may need has no such memory.

use super::link::{Connections, State as LinkState};
use super::{Connection, Peer};
use crate::memory::{Handle, NIL, Pipe, Table};
use crate::time::{Instant, Now};
use crate::trace::repeated;

/// Milliseconds in which a client has to say the rest of a long frame, or to read a long reply, if another
/// one waits for that.
pub const SPARE_MS: u64 = 4000;

/// What is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Frames that wait.
    Input,
    /// Replies.
    Output,
}

/// Both.
const WAYS: [Way; 2] = [Way::Input, Way::Output];

/// What became of a wish for more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lent {
    /// There is more room now.
    More,
    /// There will be.
    Wait,
    /// There is never more.
    Never,
}

/// Memory for one way, and who has it.
#[derive(Debug)]
pub(super) struct Spare<'m> {
    /// What the holder has given for it, or itself.
    memory: Table<'m, u8>,
    holder: Handle,
    /// Who had it before: all others come first.
    last: Handle,
    /// It was given back, and who waits has not been tried again.
    returned: bool,
    /// Since when somebody waits.
    since: Instant,
}

impl<'m> Spare<'m> {
    pub(super) fn new(memory: Table<'m, u8>) -> Self {
        Self { memory, holder: NIL, last: 0, returned: false, since: Instant(0) }
    }
}

impl<'m> Connection<'m> {
    fn pipe(&mut self, way: Way) -> &mut Pipe<'m> {
        match way {
            Way::Input => &mut self.input,
            Way::Output => &mut self.output,
        }
    }

    /// Bytes that need room, there or to come.
    fn needs(&self, way: Way) -> usize {
        match way {
            Way::Input => self.input.len() + self.due,
            Way::Output => self.output.len() + self.reserved,
        }
    }
}

impl Connections<'_> {
    /// Who waits, the next one first.
    fn wanting(&self, way: Way) -> impl Iterator<Item = Handle> + '_ {
        let last = self.spares[way as usize].last as usize + 1;
        let used = self.used();
        (0..used).map(move |nth| ((last + nth) % used) as Handle).filter(move |&at| {
            self.table[at as usize].state == LinkState::Open
                && self.table[at as usize].wants[way as usize]
        })
    }

    /// Whether a connection has what others wait for.
    pub(super) fn hogs(&self, at: Handle, way: Way) -> bool {
        self.spares[way as usize].holder == at && self.wanting(way).any(|other| other != at)
    }

    /// Lends more room to a connection, if nobody has it.
    #[inline(never)] // once for all its callers
    pub(super) fn lend(&mut self, at: Handle, way: Way, now: Instant) -> Lent {
        self.take_back(way);
        let first = self.wanting(way).next();
        let spare = &mut self.spares[way as usize];
        if spare.memory.is_empty() || spare.holder == at {
            return Lent::Never;
        }
        if spare.holder != NIL || first.is_some_and(|first| first != at) {
            if first.is_none() {
                spare.since = now;
            }
            self.table[at as usize].wants[way as usize] = true;
            return Lent::Wait;
        }
        let connection = &mut self.table[at as usize];
        connection.wants[way as usize] = false;
        if !connection.pipe(way).swap(&mut spare.memory) {
            return Lent::Never;
        }
        (spare.holder, spare.last) = (at, at);
        Lent::More
    }

    /// A connection has found room elsewhere, or does not wait for it.
    pub(super) fn waives(&mut self, at: Handle, way: Way) {
        self.table[at as usize].wants[way as usize] = false;
    }

    /// Lets a frame of `len` bytes wait, or the beginning of one that has so many. `false`: not now.
    #[inline(never)] // likewise
    pub(super) fn enqueue(&mut self, at: Handle, frame: &[u8], len: usize, now: Now) -> bool {
        let hogs = self.hogs(at, Way::Input);
        let connection = &mut self[at];
        let behind = !connection.input.is_empty();
        if hogs && behind {
            return false;
        }
        let mut queued = connection.enqueue(frame, len, now).is_ok();
        // Behind other frames it waits until these are answered.
        if !queued && !behind && self.lend(at, Way::Input, now.monotonic) == Lent::More {
            queued = self[at].enqueue(frame, len, now).is_ok();
        }
        if queued {
            self.waives(at, Way::Input);
        }
        queued
    }

    /// Whether connections may have to be lent room for long replies.
    pub(super) fn shares_replies(&self) -> bool {
        !self.spares[Way::Output as usize].memory.is_empty()
    }

    /// Whether a reply of that length has room.
    pub(super) fn has_room(&mut self, at: Handle, len: usize, now: Instant) -> bool {
        if self.hogs(at, Way::Output) {
            return false;
        }
        self[at].unreserved_room() >= len
            || self.lend(at, Way::Output, now) == Lent::More && self[at].unreserved_room() >= len
    }

    /// Takes back what is not needed any more.
    fn take_back(&mut self, way: Way) {
        let spare = &mut self.spares[way as usize];
        if spare.holder == NIL {
            return;
        }
        let connection = &mut self.table[spare.holder as usize];
        if connection.needs(way) <= spare.memory.len()
            && connection.pipe(way).swap(&mut spare.memory)
        {
            spare.holder = NIL;
            spare.returned = true;
        }
    }
}

impl Peer<'_> {
    /// What is not needed any more goes to who waits for it.
    pub(super) fn pass_on(&mut self, now: Now) {
        let mut returned = false;
        for way in WAYS {
            self.connections.take_back(way);
            returned |= core::mem::take(&mut self.connections.spares[way as usize].returned);
        }
        if !returned {
            return;
        }
        let used = self.connections.used();
        let last = self.connections.spares[Way::Output as usize].last as usize + 1;
        for nth in 0..used {
            let at = ((last + nth) % used) as Handle;
            // Who waits to say something more is shown that again; all others say so once more.
            self.connections.waives(at, Way::Output);
            self.connections.stall(at);
        }
        self.retry_stalled(now);
    }

    /// Nobody waits for long because of a slow client.
    pub(super) fn tick_spares(&mut self, now: Now) {
        for way in WAYS {
            if self.spare_due(way).is_none_or(|at| at > now.monotonic) {
                continue;
            }
            let spare = &mut self.connections.spares[way as usize];
            spare.since = now.monotonic;
            // If nobody has it, who waits is tried again.
            spare.returned |= spare.holder == NIL;
            let holder = spare.holder;
            let Some(connection) = self.connections.get(holder) else { continue };
            let slow = match way {
                Way::Input => connection.due > 0,
                Way::Output => !connection.output.is_empty(),
            };
            if slow {
                self.stats.slow_closed += 1;
                repeated!(
                    self.often.deaf,
                    "session {:#x} is slow, and others wait for its memory: closing its connection \
                     (time {})",
                    connection.session.0
                );
                self.drop_link(holder);
            }
        }
        self.pass_on(now);
    }

    #[inline(never)] // once for all its callers
    fn spare_due(&self, way: Way) -> Option<Instant> {
        let spare = &self.connections.spares[way as usize];
        let waits = !spare.memory.is_empty() && self.connections.wanting(way).next().is_some();
        waits.then(|| spare.since.plus(SPARE_MS))
    }

    /// When that has something to do.
    pub(super) fn spares_due(&self) -> Option<Instant> {
        WAYS.into_iter().filter_map(|way| self.spare_due(way)).min()
    }
}
