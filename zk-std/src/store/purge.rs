//! Removing snapshots and logs that are not needed any more.
//!
//! Answers to `org.apache.zookeeper.server.PurgeTxnLog`.

use std::path::PathBuf;

use zk_core::id::Zxid;

use super::Store;
use super::directory::{Directory, File};
use super::error::{Context, Error};
use super::name;
use super::snapshot::candidates;

/// The fewest snapshots that purging leaves (`autopurge.snapRetainCount` may not be less).
pub const KEEP_MIN: usize = 3;

impl<D: Directory> Store<D> {
    /// Removes all but the `keep` newest snapshots that look whole, and the logs that none of
    /// those needs: the log in which the transactions after the oldest of them begin stays, and
    /// all later ones. Nothing from `pinned` on is removed, the zxid of a snapshot that is being
    /// sent. Returns what was removed.
    ///
    /// A `keep` below [`KEEP_MIN`] counts as that.
    ///
    /// # Errors
    /// Those of the file system; what was not removed then is removed the next time.
    pub fn purge(&mut self, keep: usize, pinned: Option<Zxid>) -> Result<Vec<PathBuf>, Error> {
        self.log.check()?;
        let kept = candidates(&self.snapshots, keep.max(KEEP_MIN))?;
        let Some(oldest) = kept.last().map(|candidate| candidate.zxid) else {
            return Ok(Vec::new());
        };
        let oldest = pinned.map_or(oldest, |pinned| pinned.min(oldest));
        // Apache does not sync its snapshots. They must outlast what they replace.
        for candidate in &kept {
            let path = || self.snapshots.path(&candidate.name);
            self.snapshots
                .open(&candidate.name)
                .and_then(|file| file.sync_data())
                .context("sync", path)?;
        }
        self.snapshots.sync().context("sync", || self.snapshots.path(""))?;
        let mut removed = Vec::new();
        let snapshots = name::list(&self.snapshots, name::SNAPSHOT)
            .context("list", || self.snapshots.path(""))?;
        for (_, name) in snapshots.iter().filter(|(zxid, _)| *zxid < oldest) {
            let path = self.snapshots.path(name);
            self.snapshots.unlink(name).context("remove", || path.clone())?;
            removed.push(path);
        }
        let logs = name::list(&self.logs, name::LOG).context("list", || self.logs.path(""))?;
        // A log named at or below the snapshot may go on behind it.
        let below = logs.partition_point(|(zxid, _)| *zxid <= oldest);
        for (_, name) in logs.iter().take(below.saturating_sub(1)) {
            let path = self.logs.path(name);
            self.logs.unlink(name).context("remove", || path.clone())?;
            removed.push(path);
        }
        Ok(removed)
    }
}
