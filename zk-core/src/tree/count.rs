//! Counting the nodes below a path, a slice at a time while the tree changes.
//!
//! The slab is walked by number (a deletion cannot break an integer), and every node that lies at or
//! below the path is counted. What changes meanwhile is made good, so that the sum is that of one
//! moment: for clients, of the end (changes behind the walk count at once); for quotas, of the
//! beginning (changes before the walk are taken back, since the counters have them already).

use super::DataTree;
use crate::memory::{Handle, NIL};

/// Counts under way at once, a client's among them. With so many, another quota is counted in one go.
pub(super) const COUNTS: usize = 5;

/// A count under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    /// The node at the path; NIL: it is gone.
    top: Handle,
    /// The node with the quota's counters; NIL: a client asks.
    stats: Handle,
    /// Nodes below this number are counted.
    next: usize,
    sum: Sum,
}

/// Nodes, and bytes of their data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Nodes.
    pub count: i64,
    /// Bytes.
    pub bytes: i64,
}

/// What has become of a client's count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It goes on.
    More,
    /// So many nodes are below the one it was about.
    Below(usize),
    /// That node is gone.
    Gone,
}

impl DataTree<'_> {
    /// Counts the node and those below it, if they are no more than `most`.
    pub fn sum_within(&self, top: Handle, most: usize) -> Option<Sum> {
        let mut left = most;
        let mut sum = self.sum_of(top);
        self.walk(top, |at| {
            sum.add(self.sum_of(at), 1);
            left = left.checked_sub(1)?;
            Some(())
        })?;
        Some(sum)
    }

    fn sum_of(&self, at: Handle) -> Sum {
        Sum { count: 1, bytes: self.nodes[at].data_len().unwrap_or(0) as i64 }
    }

    /// Whether the node is `top`, or lies below it; and how many steps up that took.
    fn is_within(&self, at: Handle, top: Handle) -> (bool, usize) {
        let mut at = at;
        let mut steps = 0;
        while at != top {
            if at == self.root {
                return (false, steps);
            }
            at = self.nodes[at].parent;
            steps += 1;
        }
        (true, steps)
    }

    /// Begins to count what is below a node for a client; a client's count that was begun before is
    /// forgotten.
    pub fn count_begin(&mut self, top: Handle) {
        self.count_end();
        // A place is kept for it.
        let _ = self.counts.push(Count { top, stats: NIL, next: 0, sum: Sum::default() });
    }

    /// Forgets the client's count.
    pub fn count_end(&mut self) {
        self.counts.retain(|count| count.stats != NIL);
    }

    /// The client's count looks at `most` more nodes.
    pub fn count_step(&mut self, most: usize) -> Counted {
        let Some(i) = self.counts.iter().position(|count| count.stats == NIL) else {
            return Counted::Gone;
        };
        let Count { top, .. } = self.counts[i];
        if top == NIL {
            return Counted::Gone;
        }
        self.scan(i, most);
        let Count { next, sum, .. } = self.counts[i];
        if next < self.nodes.used() {
            return Counted::More;
        }
        self.counts.swap_remove(i);
        // Not the node itself.
        Counted::Below(usize::try_from(sum.count - 1).unwrap_or(0))
    }

    /// Begins to fill a quota's counters; `false` if that must be done in one go.
    pub(super) fn count_quota(&mut self, top: Handle, stats: Handle) -> bool {
        self.counts.len() < COUNTS - 1
            && self.counts.push(Count { top, stats, next: 0, sum: Sum::default() }).is_ok()
    }

    /// Whether quotas are being counted.
    pub fn counts_quotas(&self) -> bool {
        self.counts.iter().any(|count| count.stats != NIL)
    }

    /// Looks at up to `most` nodes for the oldest count of a quota.
    pub fn count_quotas(&mut self, most: usize) {
        let Some(i) = self.counts.iter().position(|count| count.stats != NIL) else { return };
        self.scan(i, most);
        let Count { next, sum, stats, .. } = self.counts[i];
        if next >= self.nodes.used() {
            self.counts.remove(i);
            self.add_counters(stats, sum);
        }
    }

    /// Goes on with a count, by up to about `most` steps: to the next node, and from a node up.
    fn scan(&mut self, i: usize, most: usize) {
        let Count { top, mut next, mut sum, .. } = self.counts[i];
        let mut steps = 0;
        while next < self.nodes.used() && steps < most {
            if let Ok(at) = Handle::try_from(next)
                && self.nodes.get(at).is_some()
            {
                let (within, up) = self.is_within(at, top);
                steps += up;
                if within {
                    sum.add(self.sum_of(at), 1);
                }
            }
            steps += 1;
            next += 1;
        }
        self.counts[i].next = next;
        self.counts[i].sum = sum;
    }

    /// A node in the tree changes by so much.
    pub(super) fn count_change(&mut self, at: Handle, change: Sum) {
        for i in 0..self.counts.len() {
            let Count { top, stats, next, .. } = self.counts[i];
            let behind = (at as usize) < next;
            if behind == (stats == NIL) && self.is_within(at, top).0 {
                self.counts[i].sum.add(change, if behind { 1 } else { -1 });
            }
        }
    }

    /// A node has come into the tree.
    pub(super) fn count_born(&mut self, at: Handle) {
        self.count_change(at, self.sum_of(at));
    }

    /// Before a node goes out of the tree.
    pub(super) fn count_gone(&mut self, at: Handle) {
        if self.counts.is_empty() {
            return;
        }
        let Sum { count, bytes } = self.sum_of(at);
        self.count_change(at, Sum { count: -count, bytes: -bytes });
        self.count_quit(at);
        for count in &mut self.counts {
            if count.top == at {
                count.top = NIL;
            }
        }
    }

    /// The counters at `stats` are no longer to be filled.
    pub(super) fn count_quit(&mut self, stats: Handle) {
        self.counts.retain(|count| count.stats != stats);
    }
}

impl Sum {
    fn add(&mut self, other: Self, times: i64) {
        self.count += other.count * times;
        self.bytes += other.bytes * times;
    }
}
