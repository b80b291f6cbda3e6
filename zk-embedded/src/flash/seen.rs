//! What a simulation sees of a store, and takes back from it.

use zk_core::id::Zxid;
use zk_core::peer::Epochs;

use super::disk::Disk;
use super::layout::{self, Kind};
use super::nor::Nor;
use super::store::{Ask, Memory, Store};

impl<'m, N: Nor> Store<'m, N> {
    /// The batch that waits, or is being appended.
    pub fn appending(&self) -> impl Iterator<Item = (Zxid, &[u8])> {
        let mut rest = self.batch.get(..self.pending.len).unwrap_or_default();
        core::iter::from_fn(move || {
            let (kind, payload, len) = layout::first(self.layout, rest)?;
            rest = rest.get(len..).unwrap_or_default();
            match kind {
                Kind::Txn(zxid, _) => Some((zxid, payload)),
                _ => None,
            }
        })
    }

    /// The epochs that are asked for, and not durable yet.
    pub fn asked(&self) -> Option<Epochs> {
        match self.ask {
            Some(Ask::Epochs(epochs)) => Some(epochs),
            _ => None,
        }
    }

    /// Whether nothing is under way, and a record says that all before it was acknowledged: then no
    /// bit that changes is taken for a torn end.
    pub fn is_at_rest(&self) -> bool {
        self.is_ready() && !self.is_appending() && self.writing.is_none() && self.settled
    }

    /// Device and memory, when the store is given up.
    pub fn into_parts(self) -> (N, Memory<'m>) {
        let Self { nor, blocks, batch, piece, .. } = self;
        (nor, Memory { blocks, batch, piece })
    }
}

impl<'m, N: Nor> Disk<'m, N> {
    /// As [`Store::into_parts`].
    pub fn into_parts(self) -> (N, Memory<'m>) {
        self.store.into_parts()
    }
}
