//! What a peer counts: of itself, of each connection, and the digests that it has come by.

#[cfg(feature = "stats")]
use super::link::{Class, class};
use crate::id::{Xid, Zxid};
use crate::memory::Table;
use crate::time::Instant;
use crate::wire::OpCode;
#[cfg(feature = "stats")]
use crate::wire::frame;

/// Whether what only a server shows is counted.
pub(super) const COUNTS: bool = cfg!(feature = "stats");

/// Counts what only a server shows. A board neither does, nor has room for it.
macro_rules! counts {
    ($($count:tt)*) => {
        #[cfg(feature = "stats")]
        {
            $($count)*
        }
    };
}

/// Values that were seen, in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// All of them together.
    pub total: u64,
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

impl Summary {
    /// One value.
    pub const fn of(value: u64) -> Self {
        Self { count: 1, total: value, min: value, max: value }
    }

    /// Sees a value.
    pub fn add(&mut self, value: u64) {
        *self = self.plus(Self::of(value));
    }

    /// The values of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        Self {
            count: self.count + other.count,
            total: self.total.saturating_add(other.total),
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// Sizes that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The last one (of several at once, the greatest).
    pub last: u64,
    /// All of them.
    pub all: Summary,
}

#[cfg(feature = "stats")]
impl Sizes {
    fn add(&mut self, sizes: Summary) {
        if sizes.count > 0 {
            self.last = sizes.max;
            self.all = self.all.plus(sizes);
        }
    }
}

/// What a peer has counted. What is said of frames, handshakes, requests, replies, events and
/// proposals is there with the feature `stats` only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames received from clients.
    #[cfg(feature = "stats")]
    pub received: u64,
    /// Replies and events made for clients.
    #[cfg(feature = "stats")]
    pub sent: u64,
    /// How long requests took that changed nothing, ms.
    #[cfg(feature = "stats")]
    pub reads: Summary,
    /// How long requests took that became a transaction, ms.
    #[cfg(feature = "stats")]
    pub updates: Summary,
    /// Bytes of replies to requests, without those to pings.
    #[cfg(feature = "stats")]
    pub reply_bytes: u64,
    /// Bytes of events.
    #[cfg(feature = "stats")]
    pub event_bytes: u64,
    /// Bytes of single replies and events.
    #[cfg(feature = "stats")]
    pub replies: Sizes,
    /// Bytes of single transactions that this peer has proposed since it leads.
    #[cfg(feature = "stats")]
    pub proposals: Sizes,
    /// Handshakes.
    #[cfg(feature = "stats")]
    pub handshakes: u64,
    /// Those that asked for a session that there was.
    #[cfg(feature = "stats")]
    pub reconnects: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Transactions after which the digest was not the one that the leader had said.
    pub digest_mismatches: u64,
    /// Snapshots that were given up because the disk was too slow.
    pub snapshots_failed: u64,
    /// Connections that were closed because they did not read.
    pub slow_closed: u64,
    /// Failed authentications.
    pub auth_failed: u64,
    /// Transactions applied.
    pub applied: u64,
}

#[cfg_attr(not(feature = "stats"), allow(unused_variables, clippy::unused_self))]
impl Stats {
    /// How long requests took, ms.
    #[cfg(feature = "stats")]
    pub fn latency(&self) -> Summary {
        self.reads.plus(self.updates)
    }

    /// A frame came from a client.
    pub(super) fn received(&mut self) {
        counts! {
            self.received += 1;
        }
    }

    /// A handshake was taken.
    pub(super) fn handshake(&mut self) {
        counts! {
            self.handshakes += 1;
        }
    }

    /// It asked for a session that there was.
    pub(super) fn reconnect(&mut self) {
        counts! {
            self.reconnects += 1;
        }
    }

    /// It was answered.
    pub(super) fn responded(&mut self) {
        counts! {
            self.sent += 1;
        }
    }

    /// A session is there; its request took so long.
    pub(super) fn opened(&mut self, latency: u64) {
        counts! {
            self.updates.add(latency);
        }
    }

    /// A request took so long, and is answered with a frame of so many bytes; `Error` stands for a
    /// write that failed.
    pub(super) fn answered(&mut self, op: OpCode, bytes: usize, latency: u64) {
        counts! {
            let update = op == OpCode::Error || class(op) == Class::Write;
            if update { &mut self.updates } else { &mut self.reads }.add(latency);
            if op != OpCode::Ping {
                self.reply_bytes += (bytes - frame::LEN) as u64;
            }
            self.reply(bytes);
        }
    }

    /// A reply was made whose frame takes so many bytes.
    pub(super) fn reply(&mut self, bytes: usize) {
        counts! {
            self.sent += 1;
            self.replies.add(payloads(Summary::of(bytes as u64)));
        }
    }

    /// Events were made whose frames take so many bytes.
    pub(super) fn events(&mut self, frames: Summary) {
        counts! {
            if frames.count > 0 {
                self.sent += frames.count;
                let payloads = payloads(frames);
                self.event_bytes += payloads.total;
                self.replies.add(payloads);
            }
        }
    }

    /// A transaction of so many bytes is proposed.
    pub(super) fn proposed(&mut self, bytes: usize) {
        counts! {
            self.proposals.add(Summary::of(bytes as u64));
        }
    }

    /// The peer begins to lead.
    pub(super) fn leads(&mut self) {
        counts! {
            self.proposals = Sizes::default();
        }
    }

    /// All of it begins anew, but for what is counted since the start, or since the peer leads.
    pub(super) fn reset(&mut self) {
        *self = Self {
            auth_failed: self.auth_failed,
            #[cfg(feature = "stats")]
            proposals: self.proposals,
            ..Self::default()
        };
    }
}

/// Sizes of what is in frames of such sizes.
#[cfg(feature = "stats")]
fn payloads(frames: Summary) -> Summary {
    let len = frame::LEN as u64;
    Summary {
        count: frames.count,
        total: frames.total - frames.count * len,
        min: frames.min - len,
        max: frames.max - len,
    }
}

/// What `cons` shows of a connection: with the feature `stats` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg(feature = "stats")]
pub struct Counters {
    /// Frames received.
    pub received: u64,
    /// Replies and events sent.
    pub sent: u64,
    /// Requests that wait for an answer.
    pub queued: u64,
    /// When it was opened.
    pub since: Instant,
    /// The last request that was answered, `Error` if there is none, or it was a write that failed.
    pub last_op: OpCode,
    /// The number of the last request that was not the client library's own (a ping, a watch).
    pub last_cxid: Xid,
    /// The zxid in the last reply.
    pub last_zxid: Zxid,
    /// When the last reply was made.
    pub last_response: Instant,
    /// How long the last request took, ms.
    pub last_latency: u64,
    /// How long requests took, ms.
    pub latency: Summary,
}

/// What `cons` shows of a connection: nothing, without the feature `stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg(not(feature = "stats"))]
pub struct Counters {}

#[cfg_attr(not(feature = "stats"), allow(unused_variables, clippy::unused_self))]
impl Counters {
    /// The connection is opened.
    pub(super) fn opened(&mut self, now: Instant) {
        counts! {
            self.since = now;
        }
    }

    /// All of it begins anew, but for what waits, and since when the connection is there.
    pub(super) fn reset(&mut self) {
        counts! {
            *self = Self { queued: self.queued, since: self.since, ..Self::default() };
        }
    }

    /// One request more waits for an answer.
    pub(super) fn queued(&mut self) {
        counts! {
            self.queued += 1;
        }
    }

    /// One less.
    pub(super) fn dequeued(&mut self) {
        counts! {
            self.queued = self.queued.saturating_sub(1);
        }
    }

    /// A frame came.
    pub(super) fn received(&mut self) {
        counts! {
            self.received += 1;
        }
    }

    /// Frames were made.
    pub(super) fn sent(&mut self, count: u64) {
        counts! {
            self.sent += count;
        }
    }

    /// Counts an answer; `Error` stands for a write that failed.
    pub(super) fn answered(
        &mut self,
        op: OpCode,
        cxid: Xid,
        zxid: Zxid,
        latency: u64,
        now: Instant,
    ) {
        counts! {
            self.last_op = op;
            if cxid.0 >= 0 {
                self.last_cxid = cxid;
            }
            self.last_zxid = zxid;
            self.last_response = now;
            self.last_latency = latency;
            self.latency.add(latency);
        }
    }
}

#[cfg(feature = "stats")]
impl Default for Counters {
    fn default() -> Self {
        Self {
            received: 0,
            sent: 0,
            queued: 0,
            since: Instant(0),
            last_op: OpCode::Error,
            last_cxid: Xid(-1),
            last_zxid: Zxid::NONE,
            last_response: Instant(0),
            last_latency: 0,
            latency: Summary::default(),
        }
    }
}

/// The tree's digest after a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DigestEntry {
    /// The transaction.
    pub zxid: Zxid,
    /// The digest.
    pub digest: i64,
}

/// How many transactions lie between two that are noted.
const INTERVAL: i64 = 128;

/// The newest digests, for members to be compared by hand. Answers to `DataTree.getDigestLog`.
#[derive(Debug)]
pub(super) struct Digests<'m> {
    entries: Table<'m, DigestEntry>,
    first: usize,
    len: usize,
}

impl<'m> Digests<'m> {
    pub(super) fn new(entries: Table<'m, DigestEntry>) -> Self {
        Self { entries, first: 0, len: 0 }
    }

    pub(super) fn clear(&mut self) {
        (self.first, self.len) = (0, 0);
    }

    /// Notes the digest after `zxid`, if it is one to be noted.
    pub(super) fn note(&mut self, zxid: Zxid, digest: i64) {
        let ceiling = self.entries.ceiling();
        if !COUNTS || zxid.0 % INTERVAL != 0 || ceiling == 0 {
            return;
        }
        let entry = DigestEntry { zxid, digest };
        if self.len < ceiling {
            // Within the ceiling, so it can.
            let _ = self.entries.reach(self.len + 1);
            self.entries[self.len] = entry;
            self.len += 1;
        } else {
            self.entries[self.first] = entry;
            self.first = (self.first + 1) % ceiling;
        }
    }

    /// These, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = DigestEntry> + '_ {
        let (newer, older) = self.entries[..self.len].split_at(self.first);
        older.iter().chain(newer).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_sees_all_values() {
        let mut all = Summary::default();
        for value in [5, 3, 9] {
            all.add(value);
        }
        assert_eq!(all, Summary { count: 3, total: 17, min: 3, max: 9 });
        assert_eq!(all.plus(Summary::default()), all);
        assert_eq!(Summary::default().plus(all), all);
        let mut more = Summary::default();
        more.add(1);
        assert_eq!(more.plus(all), Summary { count: 4, total: 18, min: 1, max: 9 });
    }

    #[test]
    #[cfg(feature = "stats")]
    fn the_newest_digests_are_kept() {
        let mut room = [DigestEntry::default(); 3];
        let mut digests = Digests::new(Table::lent(&mut room));
        for zxid in 1..=128 * 5 {
            digests.note(Zxid(zxid), zxid * 10);
        }
        let kept: std::vec::Vec<_> =
            digests.iter().map(|entry| (entry.zxid.0, entry.digest)).collect();
        assert_eq!(kept, [(384, 3840), (512, 5120), (640, 6400)]);
        digests.clear();
        assert_eq!(digests.iter().count(), 0);
        digests.note(Zxid(1 << 32), 7);
        assert_eq!(digests.iter().count(), 1);
        let mut none = Digests::new(Table::default());
        none.note(Zxid(128), 1);
        assert_eq!(none.iter().count(), 0);
    }
}
