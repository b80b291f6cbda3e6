//! Quotas: counters that follow the subtree of every path with a limit.
//!
//! For a limit on `/a` the nodes `/zookeeper/quota/a/zookeeper_limits` and
//! `/zookeeper/quota/a/zookeeper_stats` hold text: `count=N,bytes=M`, and hard limits behind an
//! extra `=`. Counters change in place, without a transaction, on the deepest limited path only.
//! Answers to `StatsTrack`, `Quotas` and the quota parts of `DataTree`.

use super::count::Sum;
use super::{DataTree, path};
use crate::memory::Handle;
use crate::text;
use crate::wire::Code;
use crate::wire::jute::{Sink, Slice};

/// Name of the node with the limits.
const LIMITS: &[u8] = b"zookeeper_limits";
/// Name of the node with the counters.
const STATS: &[u8] = b"zookeeper_stats";

/// Bytes of the longest text that counters can have.
pub const LONGEST: usize = 160;

/// Limits or counters; -1 is "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    /// Number of nodes, or its soft limit.
    pub count: i64,
    /// Bytes of data, or its soft limit.
    pub bytes: i64,
    /// Hard limit of bytes; `None` when the text has no such key.
    pub byte_hard_limit: Option<i64>,
    /// Hard limit of nodes.
    pub count_hard_limit: Option<i64>,
}

impl Track {
    /// No limits, nothing counted.
    pub const NONE: Self =
        Self { count: -1, bytes: -1, byte_hard_limit: None, count_hard_limit: None };

    /// Reads `key=value` pairs between `,` and `;`. What is not a number counts as -1.
    pub fn parse(text: &[u8]) -> Self {
        let mut track = Self::NONE;
        for pair in text.split(|b| matches!(b, b',' | b';')) {
            let mut parts = pair.split(|&b| b == b'=');
            let (key, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let value = text::parse(value, 10).unwrap_or(-1);
            match key {
                b"count" => track.count = value,
                b"bytes" => track.bytes = value,
                b"byteHardLimit" => track.byte_hard_limit = Some(value),
                b"countHardLimit" => track.count_hard_limit = Some(value),
                _ => {}
            }
        }
        track
    }

    /// Writes the text that Apache would.
    pub fn write<'r>(&self, room: &'r mut [u8; LONGEST]) -> &'r [u8] {
        let mut out = Slice::new(room);
        let mut put = |key: &[u8], value| {
            let mut digits = [0; text::LONGEST];
            // Four numbers and the words fit the room.
            let _ = out.put(key);
            let _ = out.put(text::number(value, 10, 1, &mut digits));
        };
        put(b"count=", self.count);
        put(b",bytes=", self.bytes);
        if let Some(limit) = self.byte_hard_limit {
            put(b"=;byteHardLimit=", limit);
        }
        if let Some(limit) = self.count_hard_limit {
            let first = self.byte_hard_limit.is_none();
            put(if first { b"=;countHardLimit=" } else { b";countHardLimit=" }, limit);
        }
        let len = out.len();
        room.get(..len).unwrap_or_default()
    }

    fn hard(limit: Option<i64>) -> Option<i64> {
        limit.filter(|&limit| limit > -1)
    }
}

/// Whether `path` is a node with limits.
pub(super) fn is_limit(path: &[u8]) -> bool {
    limited(path).is_some()
}

/// Whether `path` is a node with limits or with counters.
pub(super) fn is_counted(path: &[u8]) -> bool {
    path.starts_with(path::QUOTA)
        && path::split(path).is_some_and(|(_, name)| name == LIMITS || name == STATS)
}

/// The path that a node with limits is for.
fn limited(path: &[u8]) -> Option<&[u8]> {
    let (parent, name) = path::split(path)?;
    let limited = parent.strip_prefix(path::QUOTA)?;
    (name == LIMITS).then_some(limited)
}

impl DataTree<'_> {
    fn quota_node(&self, limited: &[u8], name: &[u8]) -> Option<Handle> {
        let top = self.find(path::QUOTA)?;
        let hash = self.seeds.hash_parts([path::QUOTA, limited, b"/", name]);
        self.index.find(hash, |at| {
            let node = &self.nodes[at];
            node.name_len() == name.len()
                && self.cells.equal(node.blob(), 0, name)
                && self.is_below(node.parent, limited, top)
        })
    }

    fn track(&self, at: Handle) -> Track {
        // Text that is longer than any counter is no counter.
        self.copy_data(at, &mut [0; LONGEST]).map_or(Track::NONE, Track::parse)
    }

    /// The deepest prefix of `path` that has limits; never the root or `/zookeeper`.
    fn limited_prefix<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        if self.limits == 0 {
            return None;
        }
        let mut prefix = path;
        while !prefix.is_empty() && prefix != path::ZOOKEEPER {
            if self.quota_node(prefix, LIMITS).is_some() {
                return Some(prefix);
            }
            prefix = path::split(prefix)?.0;
        }
        None
    }

    fn set_counters(&mut self, at: Handle, track: &Track) {
        self.preserve(at);
        let mut room = [0; LONGEST];
        let text = track.write(&mut room);
        // Room for this was set aside when the limit was made (`DataTree::room`).
        let _ = self.store(at, Some(text));
    }

    /// Adds to the counters that `path` belongs to.
    pub(super) fn quota_changed(&mut self, path: &[u8], bytes: i64, count: i64) {
        let Some(prefix) = self.limited_prefix(path) else { return };
        let Some(at) = self.quota_node(prefix, STATS) else { return };
        self.add_counters(at, Sum { count, bytes });
    }

    /// Counts a new node; a new node with counters is filled with what is there.
    pub(super) fn quota_created(&mut self, path: &[u8], at: Handle) {
        if let Some((parent, name)) = path::split(path)
            && name == STATS
            && let Some(limited) = parent.strip_prefix(path::QUOTA)
        {
            self.recount(limited, self.slice);
        }
        if self.limits > 0 {
            let len = self.nodes[at].data_len().unwrap_or(0);
            self.quota_changed(path, len as i64, 1);
        }
    }

    /// Counts a node that is gone.
    pub(super) fn quota_deleted(&mut self, path: &[u8], len: usize) {
        if self.limits > 0 {
            self.quota_changed(path, -(len as i64), -1);
        }
    }

    /// Counts the subtree of a limited path anew, in slices if it is larger than `most`: the counters
    /// then start at zero, and get the sum that there is now when it is known.
    fn recount(&mut self, limited: &[u8], most: usize) {
        let Some(stats) = self.quota_node(limited, STATS) else { return };
        self.count_quit(stats);
        let mut sum = Some(Sum::default());
        if let Some(top) = self.find(limited) {
            sum = self.sum_within(top, most);
            if sum.is_none() && !self.count_quota(top, stats) {
                sum = self.sum_within(top, usize::MAX);
            }
        }
        let Sum { count, bytes } = sum.unwrap_or_default();
        self.set_counters(stats, &Track { count, bytes, ..Track::NONE });
    }

    /// Adds what was counted to a quota's counters.
    pub(super) fn add_counters(&mut self, stats: Handle, sum: Sum) {
        let mut track = self.track(stats);
        track.count = track.count.wrapping_add(sum.count);
        track.bytes = track.bytes.wrapping_add(sum.bytes);
        self.set_counters(stats, &track);
    }

    /// Counts every limited subtree anew, as after the load of a snapshot.
    pub(super) fn recount_all(&mut self, scratch: &mut [u8]) {
        if self.limits == 0 {
            return;
        }
        for number in 0..self.nodes.used() {
            let Ok(at) = Handle::try_from(number) else { return };
            let Some(node) = self.nodes.get(at) else { continue };
            if !self.cells.equal(node.blob(), 0, LIMITS) || node.name_len() != LIMITS.len() {
                continue;
            }
            let Some(path) = self.path_of(at, scratch) else { continue };
            if let Some(limited) = limited(path) {
                self.recount(limited, usize::MAX);
            }
        }
    }

    /// Whether a change of so many bytes and nodes at `path` stays within the hard limits.
    ///
    /// # Errors
    /// `QuotaExceeded`. Soft limits never refuse.
    pub fn check_quota(&self, path: &[u8], bytes: i64, count: i64) -> Result<(), Code> {
        let Some(prefix) = self.limited_prefix(path) else { return Ok(()) };
        let (Some(limits), Some(stats)) =
            (self.quota_node(prefix, LIMITS), self.quota_node(prefix, STATS))
        else {
            return Ok(());
        };
        let (limits, stats) = (self.track(limits), self.track(stats));
        let exceeds = |limit: Option<i64>, now: i64, more: i64| {
            more != 0 && Track::hard(limit).is_some_and(|limit| now.saturating_add(more) > limit)
        };
        if exceeds(limits.count_hard_limit, stats.count, count)
            || exceeds(limits.byte_hard_limit, stats.bytes, bytes)
        {
            return Err(Code::QuotaExceeded);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_read_and_written_as_apache_does() {
        let mut room = [0; LONGEST];
        for text in [
            "count=-1,bytes=-1",
            "count=5,bytes=100",
            "count=5,bytes=-1=;byteHardLimit=7",
            "count=-1,bytes=3=;byteHardLimit=-1;countHardLimit=9",
            "count=-1,bytes=3=;countHardLimit=9",
            "count=-9223372036854775808,bytes=-9223372036854775808=;byteHardLimit=-9223372036854775808;countHardLimit=-9223372036854775808",
        ] {
            assert_eq!(Track::parse(text.as_bytes()).write(&mut room), text.as_bytes());
        }
        assert_eq!(Track::parse(b"count=,bytes=4").write(&mut room), b"count=-1,bytes=4");
        assert_eq!(Track::parse(b"\xff=;;count=x").write(&mut room), b"count=-1,bytes=-1");
    }
}
