//! Recovery: the newest whole snapshot, then the log from the zxid behind it.

use super::{Peer, State};
use crate::id::Zxid;
use crate::request::apply::{self, ApplyError};
use crate::time::Now;
use crate::trace::info;
use crate::tree::snapshot::{IMAGE_MORE, LoadError, Loader, Taken};
use crate::wire::file::SnapshotDigest;
use crate::wire::jute;
use crate::wire::txn::{Record, Txn};

/// Why a transaction of the log cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadTxnError(pub ApplyError);

impl LoadTxnError {
    /// Whether the bytes are wrong; otherwise this peer cannot hold what they say.
    pub fn is_damage(self) -> bool {
        matches!(self.0, ApplyError::Malformed(_))
    }
}

impl core::fmt::Display for LoadTxnError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for LoadTxnError {}

impl Peer<'_> {
    /// Forgets everything; a load begins (again).
    pub fn load_reset(&mut self) {
        // The storage has held an empty tree before.
        let _ = self.tree.reset();
        self.sessions.clear();
        self.changes.reset(&mut self.tree);
        self.history.clear(Zxid::ZERO);
        self.pending.clear();
        self.ensemble.snapshot = None;
        self.log_from = Zxid::ZERO;
        self.unseen = false;
        self.digests.clear();
        self.unsettled = None;
        self.loader = None;
    }

    /// Takes whole records from the start of a piece of a snapshot's body.
    ///
    /// # Errors
    /// [`LoadError`]; then [`load_reset`](Self::load_reset), and try another snapshot.
    pub fn load_snapshot(&mut self, bytes: &[u8]) -> Result<Taken, LoadError> {
        let Self { loader, tree, sessions, options, .. } = self;
        let loader = loader.get_or_insert_with(|| {
            // What no transaction could write was never in the tree.
            Loader::new(tree, options.max_txn.saturating_add(IMAGE_MORE))
        });
        loader.feed(tree, bytes, |session| {
            let timeout = u32::try_from(session.timeout).unwrap_or(0);
            sessions.opened(session.id, timeout, crate::time::Instant(0))
        })
    }

    /// The snapshot is whole and its checksum right.
    pub fn load_snapshot_end(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) {
        if let Some(loader) = self.loader.take() {
            if self.tree.has_quotas() {
                self.need_scratch(self.options.max_txn);
            }
            loader.finish(&mut self.tree, zxid, &mut self.scratch);
        }
        self.history.clear(zxid);
        self.ensemble.snapshot = Some(zxid);
        self.log_from = zxid;
        self.unsettled = digest.filter(|digest| digest.zxid >= zxid);
    }

    /// Takes a transaction of the log. Those that the snapshot shows already change nothing.
    ///
    /// # Errors
    /// [`LoadTxnError`].
    pub fn load_txn(&mut self, entry: &[u8]) -> Result<(), LoadTxnError> {
        let txn = Txn::decode(entry).map_err(|error| LoadTxnError(error.into()))?;
        let header = txn.header;
        if matches!(txn.record, Record::CloseSession(_)) {
            self.need_scratch(self.tree.longest_ephemeral(header.client_id));
        }
        apply::apply(&mut self.tree, &header, &txn.record, &mut (), &mut self.scratch)
            .map_err(LoadTxnError)?;
        self.sessions.seen(header.client_id);
        match txn.record {
            Record::CreateSession(record) => {
                let timeout = u32::try_from(record.timeout).unwrap_or(0);
                self.sessions
                    .opened(header.client_id, timeout, crate::time::Instant(0))
                    .map_err(|full| LoadTxnError(full.into()))?;
            }
            Record::CloseSession(_) => {
                self.sessions.closed(header.client_id);
            }
            _ => {}
        }
        self.time = self.time.max(header.time);
        if self.unsettled.is_none_or(|digest| header.zxid > digest.zxid) {
            self.unsettled = None;
            self.check_digest(header.zxid, txn.digest);
        }
        if self.options.ensemble {
            self.keep(header.zxid, entry);
        }
        Ok(())
    }

    /// The time of the latest change in what was loaded, ms since 1970. A board without a clock goes on
    /// from there. It looks at every node.
    pub fn last_time(&self) -> i64 {
        self.time.max(self.tree.last_change())
    }

    /// Keeps a transaction that was loaded: others may lack it.
    fn keep(&mut self, zxid: Zxid, entry: &[u8]) {
        self.next_apply = self.history.end();
        let kept = zxid > self.history.zxid_before(self.history.end())
            && self.make_room(entry.len()).is_ok();
        if kept && let Ok(room) = self.history.room(entry.len()) {
            room.copy_from_slice(entry);
            self.history.push(zxid, entry.len());
        } else {
            // The window has no holes.
            self.history.clear(zxid.max(self.history.zxid_before(self.history.end())));
        }
    }

    /// The history is loaded: the peer serves clients, alone. Every session has a whole timeout
    /// again; ephemeral nodes of sessions that are not there are deleted, without a transaction, as
    /// Apache does.
    pub fn serve(&mut self, now: Now) {
        let zxid = self.tree.last_zxid();
        self.settle_digest();
        loop {
            let orphan =
                self.tree.owning_sessions().find(|&session| self.sessions.find(session).is_none());
            let Some(session) = orphan else { break };
            info!(
                "session {:#x} is not there any more: its {} ephemeral nodes are deleted",
                session.0,
                self.tree.ephemerals_of(session)
            );
            self.need_scratch(self.tree.longest_ephemeral(session));
            if let Err(error) =
                apply::kill_session(&mut self.tree, session, zxid, &mut (), &mut self.scratch)
            {
                self.stop(error);
                return;
            }
        }
        // Quotas that the log has set.
        while self.tree.counts_quotas() {
            self.tree.count_quotas(usize::MAX);
        }
        self.history.clear(zxid);
        self.loaded_cursors();
        self.sessions.raise_floor(self.options.server, zxid);
        self.sessions.touch_all(now.monotonic);
        self.timers.start(now, &self.options);
        self.snapshot.want();
        info!(
            "serving alone from zxid {:#x} on: {} nodes, {} sessions",
            zxid.0,
            self.tree.node_count(),
            self.sessions.len()
        );
        self.state = State::Standalone;
    }

    /// The log has no more: if it ends where the snapshot's digest holds, nothing else has spoken for
    /// the snapshot.
    pub(super) fn settle_digest(&mut self) {
        let zxid = self.tree.last_zxid();
        if let Some(digest) = self.unsettled.take()
            && digest.zxid == zxid
        {
            self.check_digest(zxid, Some(digest.promised()));
        }
    }

    /// Makes the scratch at least so long, as far as it can be.
    pub(super) fn need_scratch(&mut self, len: usize) {
        let len = len.min(self.scratch.ceiling());
        // Within the ceiling, so it can.
        let _ = self.scratch.reach(len);
    }
}

impl From<jute::Error> for LoadTxnError {
    fn from(error: jute::Error) -> Self {
        Self(error.into())
    }
}
