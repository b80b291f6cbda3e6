//! Looking for containers and TTL nodes that are due.

use super::{DataTree, Owner};
use crate::memory::Handle;

impl DataTree<'_> {
    /// Looks at up to `steps` entries from number `from` for a container or TTL node that is due
    /// at wall time `now`: empty, and once used, or unchanged for its time (`never_used` ms for a
    /// container without any child yet; 0: never). Answers the node found, and where to go on
    /// (`None`: at the end).
    ///
    /// Answers to `ContainerManager.getCandidates`.
    pub fn reapable(
        &self,
        from: usize,
        steps: usize,
        now: i64,
        never_used: i64,
    ) -> (Option<Handle>, Option<usize>) {
        let end = self.nodes.used();
        for number in from..end.min(from.saturating_add(steps)) {
            let Ok(at) = Handle::try_from(number) else { break };
            let Some(node) = self.nodes.get(at) else { continue };
            let age = now.saturating_sub(node.mtime());
            let due = match self.owner(at) {
                Owner::Container => {
                    self.child_count(at) == 0
                        && (node.cversion() > 0 || (never_used != 0 && age > never_used))
                }
                Owner::Ttl(ttl) => self.child_count(at) == 0 && age > ttl,
                _ => false,
            };
            if due {
                return (Some(at), Some(number + 1));
            }
        }
        let next = from.saturating_add(steps);
        (None, (next < end).then_some(next))
    }
}
