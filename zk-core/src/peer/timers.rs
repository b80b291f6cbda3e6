//! What time brings: sessions expire, containers and TTL nodes are reaped, idle buffers shrink.

use super::{Peer, State};
use crate::id::{SessionId, Xid};
use crate::memory::Handle;
use crate::request::options::Options;
use crate::text::divide;
use crate::time::{Instant, Now};
use crate::wire::OpCode;
use crate::wire::client::PathRecord;
use crate::wire::jute::{self, List, Ustring};

/// Entries that one step looks at for nodes to reap.
const REAP_STEP: usize = 4096;

/// Milliseconds between steps.
const REAP_PAUSE: u64 = 10;

/// The timers besides those of sessions.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// When the reaper looks again.
    reap_at: Option<Instant>,
    /// Where it goes on.
    reap_from: usize,
}

impl Timers {
    pub(super) fn start(&mut self, now: Now, options: &Options) {
        self.reap_at = Some(now.monotonic.plus(u64::from(options.container_check_interval)));
        self.reap_from = 0;
    }

    /// Another server reaps.
    pub(super) fn stop(&mut self) {
        self.reap_at = None;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.reap_at
    }
}

impl Peer<'_> {
    /// Time has passed, or something that takes long goes on.
    pub fn tick(&mut self, now: Now) {
        if self.has_slices() {
            self.slice(now);
            if self.next_timer().is_none_or(|at| at > now.monotonic) {
                return;
            }
        }
        self.tick_ensemble(now);
        self.tick_spares(now);
        if planted!(FollowerExpiry) && self.is_learner() && self.is_serving() {
            self.expire_as_follower(now);
        }
        if !self.decides() {
            if self.options.local_sessions && self.is_serving() {
                self.expire(now);
            }
            self.trim();
            return;
        }
        if self.state == State::Leading && self.proposed.next().is_none() {
            self.roll_over(now);
            return;
        }
        self.expire(now);
        self.reap(now);
        self.trim();
    }

    /// Gives the memory of idle connections back.
    fn trim(&mut self) {
        for at in 0..self.connections.used() {
            let Ok(at) = Handle::try_from(at) else { return };
            let Some(connection) = self.connections.get_mut(at) else { continue };
            if !core::mem::replace(&mut connection.active, false) {
                connection.input.shrink();
                connection.output.shrink();
            }
        }
    }

    fn reap(&mut self, now: Now) {
        let Some(at) = self.timers.reap_at else { return };
        if at > now.monotonic {
            return;
        }
        let pause = u64::from(self.options.container_check_interval);
        if self.tree.reapable_count() == 0 {
            self.timers.start(now, &self.options);
            return;
        }
        let per_minute = u64::from(self.options.container_max_per_minute.max(1));
        let budget = divide(per_minute * REAP_PAUSE, 60_000).0.max(1);
        let never_used = i64::from(self.options.container_max_never_used);
        let mut from = Some(self.timers.reap_from);
        for _ in 0..budget {
            let Some(start) = from else { break };
            let (found, next) = self.tree.reapable(start, REAP_STEP, now.wall, never_used);
            from = next;
            let Some(node) = found else { break };
            self.need_scratch(self.tree.path_len(node) + 4);
            // The request lies where a deletion needs no room.
            let mut body = core::mem::take(&mut self.reply);
            body.clear();
            let Self { tree, scratch, .. } = self;
            let record =
                tree.path_of(node, scratch).map(|path| PathRecord { path: Ustring(Some(path)) });
            if let Some(record) = record
                && jute::write(&record, &mut body).is_ok()
            {
                // What cannot be proposed now is found again next time.
                let _ = self.propose(
                    SessionId::NONE,
                    Xid(0),
                    OpCode::DeleteContainer,
                    body.bytes(),
                    List::EMPTY,
                    self.options.server,
                    None,
                    now,
                );
            }
            self.reply = body;
        }
        match from {
            Some(next) => {
                self.timers.reap_from = next;
                self.timers.reap_at = Some(now.monotonic.plus(REAP_PAUSE));
            }
            None => {
                self.timers.reap_from = 0;
                self.timers.reap_at = Some(now.monotonic.plus(pause));
            }
        }
    }
}
