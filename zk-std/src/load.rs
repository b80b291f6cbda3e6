//! A peer takes its history from the store.

use zk_core::id::Zxid;
use zk_core::peer::Peer;
use zk_core::request::apply::ApplyError;
use zk_core::tree::snapshot::LoadError;

use crate::store::{Load, Refusal, SnapshotEnd, Taken};

/// Called with the bytes that were read, and all that there are.
type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// Loads what a store restores into a peer; see [`Store::restore`](crate::store::Store::restore).
pub struct PeerLoad<'p, 'm> {
    peer: &'p mut Peer<'m>,
    progress: Progress<'p>,
}

impl<'p, 'm> PeerLoad<'p, 'm> {
    /// Loads `peer`, and tells `progress` how far it is.
    pub fn new(peer: &'p mut Peer<'m>, progress: Progress<'p>) -> Self {
        Self { peer, progress }
    }
}

impl core::fmt::Debug for PeerLoad<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PeerLoad").finish_non_exhaustive()
    }
}

impl Load for PeerLoad<'_, '_> {
    fn reset(&mut self) {
        self.peer.load_reset();
    }

    fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal> {
        match self.peer.load_snapshot(bytes) {
            Ok(taken) => Ok(Taken { consumed: taken.consumed, need: taken.need, done: taken.done }),
            Err(error @ (LoadError::Full | LoadError::ChildOfEphemeral)) => {
                Err(Refusal::Stop(error.to_string()))
            }
            Err(error) => Err(Refusal::Damaged(error.to_string())),
        }
    }

    fn snapshot_done(&mut self, zxid: Zxid, end: &SnapshotEnd) -> Result<(), Refusal> {
        self.peer.load_snapshot_end(zxid, end.digest);
        Ok(())
    }

    fn txn(&mut self, _zxid: Zxid, txn: &[u8]) -> Result<(), Refusal> {
        self.peer.load_txn(txn).map_err(|error| match error.0 {
            ApplyError::Malformed(_) => Refusal::Damaged(error.to_string()),
            ApplyError::Full => Refusal::Stop(error.to_string()),
        })
    }

    fn progress(&mut self, done: u64, total: u64) {
        (self.progress)(done, total);
    }
}
