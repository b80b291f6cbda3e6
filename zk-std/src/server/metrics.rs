//! What the server counts besides the core: bytes, and how long the disk takes.

use core::time::Duration;

use zk_core::peer::Summary;

/// Counts since the start, or since `srst`. Times are in ms.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Four-letter words that were asked.
    pub(super) words_asked: u64,
    /// Four-letter words that were answered.
    pub(super) words_answered: u64,
    /// Bytes that clients have sent.
    pub(super) bytes_received: u64,
    /// Connections that clients have closed.
    pub(super) dropped: u64,
    /// Connections that were closed because they did not begin a session.
    pub(super) sessionless_expired: u64,
    /// Syncs of the log.
    pub(super) fsync: Summary,
    /// Transactions that were synced at once.
    pub(super) batches: Summary,
    /// Snapshots written.
    pub(super) snapshots: Summary,
    /// Loading of the data directory in all.
    pub(super) init: Summary,
    /// Loading of the snapshot.
    pub(super) snapshot_load: Summary,
    /// Replay of the log.
    pub(super) txns_load: Summary,
    /// Transactions that were replayed.
    pub(super) txns_loaded: Summary,
}

/// A duration as it is counted.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
