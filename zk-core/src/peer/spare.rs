//! Memory that connections share: what is longer than a connection's own has room there, for one connection
//! at a time, as frames that wait and as replies.
//!
//! Who finds it taken waits. The first of them is the next, and if the one that has it keeps it for
//! [`SPARE_MS`] only because its client is slow, that connection is closed. A peer whose connections have all
//! the room that they may need has no such memory.

use super::link::Connections;
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
    /// The next one, and since when it waits.
    next: Handle,
    since: Instant,
}

impl<'m> Spare<'m> {
    pub(super) fn new(memory: Table<'m, u8>) -> Self {
        Self { memory, holder: NIL, next: NIL, since: Instant(0) }
    }

    /// When the holder has had it for too long.
    fn due(&self) -> Option<Instant> {
        (self.next != NIL).then(|| self.since.plus(SPARE_MS))
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
    /// Lends more room to a connection, if nobody has it.
    #[inline(never)] // once for all its callers
    pub(super) fn lend(&mut self, at: Handle, way: Way, now: Instant) -> Lent {
        let spare = &mut self.spares[way as usize];
        if spare.memory.is_empty() || spare.holder == at {
            return Lent::Never;
        }
        if spare.holder != NIL || spare.next != NIL && spare.next != at {
            if spare.next == NIL {
                (spare.next, spare.since) = (at, now);
            }
            return Lent::Wait;
        }
        (spare.holder, spare.next) = (at, NIL);
        self.table[at as usize].pipe(way).swap(&mut spare.memory);
        Lent::More
    }

    /// Lets a frame of `len` bytes wait, or the beginning of one that has so many. `false`: not now.
    #[inline(never)] // likewise
    pub(super) fn enqueue(&mut self, at: Handle, frame: &[u8], len: usize, now: Now) -> bool {
        let connection = &mut self[at];
        if connection.enqueue(frame, len, now).is_ok() {
            return true;
        }
        // (Behind other frames it waits until these are answered, so that the memory comes round.)
        connection.input.is_empty()
            && self.lend(at, Way::Input, now.monotonic) == Lent::More
            && self[at].enqueue(frame, len, now).is_ok()
    }

    /// Whether connections may have to be lent room for long replies.
    pub(super) fn shares_replies(&self) -> bool {
        !self.spares[Way::Output as usize].memory.is_empty()
    }

    /// Whether a reply of that length has room.
    pub(super) fn has_room(&mut self, at: Handle, len: usize, now: Instant) -> bool {
        self[at].unreserved_room() >= len
            || self.lend(at, Way::Output, now) == Lent::More && self[at].unreserved_room() >= len
    }

    /// Takes back what is not needed any more. Whoever may have waited for it stands among those that are
    /// tried again; answers whether there are any.
    #[inline(never)] // likewise
    fn take_back(&mut self, now: Instant) -> bool {
        let mut any = false;
        for way in [Way::Input, Way::Output] {
            let spare = &mut self.spares[way as usize];
            if spare.holder == NIL {
                continue;
            }
            let connection = &mut self.table[spare.holder as usize];
            if connection.needs(way) <= spare.memory.len() {
                connection.pipe(way).swap(&mut spare.memory);
                spare.holder = NIL;
                spare.since = now;
                any = true;
            }
        }
        if any {
            for at in 0..self.used() {
                self.stall(at as Handle);
            }
        }
        any
    }
}

impl Peer<'_> {
    /// What is not needed any more goes to who waits for it.
    pub(super) fn pass_on(&mut self, now: Now) {
        if self.connections.take_back(now.monotonic) {
            self.retry_stalled(now);
            // It has had its turn. (A frame is shown again later.)
            let replies = &mut self.connections.spares[Way::Output as usize];
            if replies.holder == NIL {
                replies.next = NIL;
            }
        }
    }

    /// Nobody waits for long because of a slow client.
    pub(super) fn tick_spares(&mut self, now: Now) {
        for way in [Way::Input, Way::Output] {
            let spare = &mut self.connections.spares[way as usize];
            if spare.due().is_none_or(|at| at > now.monotonic) {
                continue;
            }
            spare.since = now.monotonic;
            let holder = spare.holder;
            if holder == NIL {
                // Who was the next does not come.
                spare.next = NIL;
                continue;
            }
            let connection = &self.connections[holder];
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

    /// When that has something to do.
    pub(super) fn spares_due(&self) -> Option<Instant> {
        self.connections.spares.iter().filter_map(Spare::due).min()
    }
}
