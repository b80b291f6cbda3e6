//! A peer takes its history from the store.

use zk_core::id::Zxid;
use zk_core::peer::Peer;

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

fn refusal(damage: bool, error: &dyn core::fmt::Display) -> Refusal {
    let refusal = if damage { Refusal::Damaged } else { Refusal::Stop };
    refusal(error.to_string())
}

impl Load for PeerLoad<'_, '_> {
    fn reset(&mut self) {
        self.peer.load_reset();
    }

    fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal> {
        match self.peer.load_snapshot(bytes) {
            Ok(taken) => Ok(Taken { consumed: taken.consumed, need: taken.need, done: taken.done }),
            Err(error) => Err(refusal(error.is_damage(), &error)),
        }
    }

    fn snapshot_done(&mut self, zxid: Zxid, end: &SnapshotEnd) -> Result<(), Refusal> {
        self.peer.load_snapshot_end(zxid, end.digest);
        Ok(())
    }

    fn txn(&mut self, _zxid: Zxid, txn: &[u8]) -> Result<(), Refusal> {
        self.peer.load_txn(txn).map_err(|error| refusal(error.is_damage(), &error))
    }

    fn mismatches(&self) -> u64 {
        self.peer.stats().digest_mismatches
    }

    fn progress(&mut self, done: u64, total: u64) {
        (self.progress)(done, total);
    }
}

#[cfg(test)]
mod tests {
    use zk_core::id::SessionId;
    use zk_core::peer::{Ceilings, Options};
    use zk_core::time::Now;
    use zk_core::tree::{DataTree, NewNode, Owner, Seeds, Storage, snapshot::Step};
    use zk_core::wire::client::OPEN_ACL_UNSAFE;
    use zk_core::wire::jute::List;

    use super::*;
    use crate::store::simulated::Disk;
    use crate::store::{self, Store};

    /// A store reads in pieces, and a loader guesses how much it needs: wherever the end of the file
    /// lies in a piece, a whole snapshot is loaded.
    #[test]
    fn a_whole_snapshot_is_loaded_wherever_its_end_lies() {
        let now = Now::new(0, 0);
        let mut room = [0; 64];
        let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap();
        for padding in (0..3000).step_by(37) {
            let ceilings = Ceilings::default();
            let mut tree = DataTree::new(Storage::owned(ceilings.tree), Seeds(1, 2), true).unwrap();
            for (number, len) in [(1, 62_000 + padding), (2, 1000)] {
                tree.create(&NewNode {
                    path: format!("/node-{number}").as_bytes(),
                    data: Some(&vec![7; len]),
                    acl,
                    owner: Owner::Nobody,
                    parent_cversion: None,
                    zxid: Zxid(number),
                    time: 0,
                })
                .unwrap();
                tree.applied(Zxid(number));
            }
            let disk = Disk::new(1);
            let options = store::Options { reserve: 0, ..store::Options::default() };
            let mut store = Store::open(disk.root(), disk.root(), options).unwrap();
            let mut writer = store.begin_snapshot(Zxid(2)).unwrap();
            tree.snapshot_begin(0, core::iter::empty()).unwrap();
            while tree.snapshot_step() == Some(Step::Bytes) {
                let bytes = tree.snapshot_bytes();
                writer.write(bytes).unwrap();
                let len = bytes.len();
                tree.snapshot_taken(len);
            }
            writer.finish(None, Some(Zxid(2))).unwrap();
            let mut peer =
                Peer::owned(Options::default(), ceilings, Seeds(3, 4), SessionId(1), now).unwrap();
            let restored = store
                .restore(&mut PeerLoad::new(&mut peer, &mut |_, _| {}))
                .unwrap_or_else(|error| panic!("padding {padding}: {error}"));
            assert_eq!(restored.snapshot, Some(Zxid(2)));
            assert_eq!(peer.tree().digest(), tree.digest());
        }
    }
}
