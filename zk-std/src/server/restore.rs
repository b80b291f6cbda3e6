//! Loading a data directory into the core.

use zk_core::id::Zxid;
use zk_core::peer::{Epochs, Peer};

use super::Error;
use super::metrics::{Metrics, ms};
use crate::load::PeerLoad;
use crate::member::{self, History};
use crate::store::{self, Directory, Restored, Store};

/// Is told how far loading is: bytes read, and bytes in all.
pub type Progress = Box<dyn FnMut(u64, u64) + Send>;

/// Bytes of a data directory from which on its loading is worth a line.
const LOGGED_FROM: u64 = 64 << 20;

/// Loads what the store has, for a server that is alone. Answers whether a first snapshot is due.
///
/// # Errors
/// Those of the store; nothing that was loaded may be used then.
pub(super) fn alone<D: Directory>(
    store: &mut Store<D>,
    peer: &mut Peer<'static>,
    progress: Option<Progress>,
    metrics: &mut Metrics,
) -> Result<bool, Error> {
    let mut progress = progress.unwrap_or_else(log_lines);
    let restored = store.restore(&mut PeerLoad::new(peer, &mut *progress))?;
    if restored.zxid == Zxid::NONE {
        let what = "it is empty, and db.autocreate is false: its data may have been lost. Put the \
                    data back; or, to begin a new database, create an empty file `initialize` in it"
            .to_owned();
        return Err(store::Error::Directory { path: store.data_dir(), what }.into());
    }
    note_loaded(store, peer, &restored, metrics);
    Ok(restored.needs_snapshot)
}

/// What a member of an ensemble has.
pub(super) struct Loaded {
    pub(super) epochs: Epochs,
    /// Its history may lack something.
    pub(super) damaged: bool,
    /// There is no snapshot yet.
    pub(super) needs_snapshot: bool,
}

/// Loads what the store has, for a member of an ensemble.
///
/// # Errors
/// Those of the store.
pub(super) fn member<D: Directory>(
    store: &mut Store<D>,
    peer: &mut Peer<'static>,
    progress: Option<Progress>,
    metrics: &mut Metrics,
) -> Result<Loaded, Error> {
    let mut progress = progress.unwrap_or_else(log_lines);
    let history = member::restore(store, peer, &mut *progress)?;
    let (last, needs_snapshot) = match &history {
        History::Loaded(restored) => {
            note_loaded(store, peer, restored, metrics);
            (restored.zxid, restored.needs_snapshot)
        }
        History::Damaged => (Zxid::NONE, false),
    };
    let store::Epochs { accepted, current } = store.epochs(last)?;
    let epochs = Epochs { accepted, current };
    Ok(Loaded { epochs, damaged: matches!(history, History::Damaged), needs_snapshot })
}

fn note_loaded<D: Directory>(
    store: &Store<D>,
    peer: &Peer<'_>,
    restored: &Restored,
    metrics: &mut Metrics,
) {
    let Restored { snapshot_took, logs_took, .. } = *restored;
    metrics.init.add(ms(snapshot_took + logs_took));
    metrics.snapshot_load.add(ms(snapshot_took));
    // A new directory has no log to be replayed.
    if restored.snapshot.is_some() || restored.txns > 0 {
        metrics.txns_load.add(ms(logs_took));
        metrics.txns_loaded.add(restored.txns);
    }
    log::info!(
        "loaded {}: {} nodes, {} transactions replayed, last zxid {}",
        store.data_dir().display(),
        peer.tree().node_count(),
        restored.txns,
        restored.zxid
    );
}

/// A line for each tenth of a large directory.
fn log_lines() -> Progress {
    let mut logged = 0;
    Box::new(move |done: u64, total: u64| {
        let tenths = done.saturating_mul(10).checked_div(total).unwrap_or(10);
        if tenths > logged && total >= LOGGED_FROM {
            logged = tenths;
            log::info!("loading: {tenths}0 % of {} MiB", total >> 20);
        }
    })
}
