//! Loading a data directory into the core.

use std::path::Path;

use zk_core::id::Zxid;
use zk_core::peer::Peer;

use super::Error;
use crate::load::PeerLoad;
use crate::store::{self, Directory, Restored, Store};

/// Is told how far loading is: bytes read, and bytes in all.
pub type Progress = Box<dyn FnMut(u64, u64) + Send>;

/// Bytes of a data directory from which on its loading is worth a line.
const LOGGED_FROM: u64 = 64 << 20;

/// Loads what the store has.
///
/// # Errors
/// Those of the store; nothing that was loaded may be used then.
pub(super) fn restore<D: Directory>(
    store: &mut Store<D>,
    peer: &mut Peer<'static>,
    data_dir: &Path,
    progress: Option<Progress>,
) -> Result<Restored, Error> {
    let mut progress = progress.unwrap_or_else(log_lines);
    let restored = store.restore(&mut PeerLoad::new(peer, &mut *progress))?;
    if restored.zxid == Zxid::NONE {
        let what = "it is empty, and db.autocreate is false: its data may have been lost. Put the \
                    data back; or, to begin a new database, create an empty file `initialize` in it"
            .to_owned();
        return Err(store::Error::Directory { path: data_dir.to_owned(), what }.into());
    }
    Ok(restored)
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
