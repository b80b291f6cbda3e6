//! `currentEpoch`, `acceptedEpoch` and `myid`: one decimal number each, replaced atomically.
//!
//! Answers to `QuorumPeer.loadDataBase`, `readLongFromFile` and `writeLongToFile`.

use std::io;

use zk_core::id::{Epoch, ServerId, Zxid};

use super::directory::{Directory, read_small, replace};
use super::error::{Context, Error};
use super::{EPOCH_ACCEPTED, EPOCH_CURRENT, MY_ID, Store};

const LEN_MAX: usize = 4096;

/// The epochs of a member of an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// Of the last leader whose history was taken over.
    pub current: Epoch,
    /// Of the last leader to whom it was promised to follow no earlier one.
    pub accepted: Epoch,
}

/// The number in the first line of a file; `None` if there is no file.
fn read<D: Directory>(directory: &D, name: &str) -> Result<Option<i64>, Error> {
    let bytes = read_small(directory, name, LEN_MAX).context("read", || directory.path(name))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let text = core::str::from_utf8(&bytes).ok();
    let number = text.and_then(|text| text.lines().next()?.trim().parse().ok());
    number.map(Some).ok_or_else(|| Error::Number {
        path: directory.path(name),
        what: "it does not begin with a decimal number; write the right one into it".into(),
    })
}

fn epoch<D: Directory>(directory: &D, name: &str) -> Result<Option<Epoch>, Error> {
    Ok(match read(directory, name)? {
        None => None,
        // What Apache writes for a database that it does not trust.
        Some(-1) => Some(Epoch(0)),
        Some(n) => Some(Epoch(u32::try_from(n).map_err(|_| Error::Number {
            path: directory.path(name),
            what: format!("{n} is no epoch; write the right one into it"),
        })?)),
    })
}

impl<D: Directory> Store<D> {
    /// Reads the epochs after `last` was restored. A missing file is written with the epoch of
    /// `last`.
    ///
    /// Where the epoch of `last` is above `currentEpoch`, a crash came between the two: a learner
    /// makes its leader's transactions durable before it says that it has them all. If it has
    /// promised itself to that epoch (`acceptedEpoch`), the epoch is taken over: whoever has a
    /// transaction of an epoch has everything that came before it in that leader's history, and
    /// that is all that `currentEpoch` says. So is a `currentEpoch.tmp` that a crash has left, as
    /// Apache does.
    ///
    /// # Errors
    /// [`Error::Number`] when they contradict each other or the history.
    pub fn epochs(&mut self, last: Zxid) -> Result<Epochs, Error> {
        let of_last = if last == Zxid::NONE { Epoch(0) } else { last.epoch() };
        let mut current = match epoch(&self.snapshots, EPOCH_CURRENT)? {
            Some(current) => current,
            None => self.put(EPOCH_CURRENT, of_last)?,
        };
        let accepted = match epoch(&self.snapshots, EPOCH_ACCEPTED)? {
            Some(accepted) => accepted,
            None => self.put(EPOCH_ACCEPTED, of_last)?,
        };
        if of_last > current {
            let left = if accepted >= of_last {
                Some(of_last)
            } else {
                // Half a number may have been written.
                let name = format!("{EPOCH_CURRENT}.tmp");
                epoch(&self.snapshots, &name).unwrap_or(None).filter(|&e| e >= of_last)
            };
            let left = left.ok_or_else(|| Error::Number {
                path: self.snapshots.path(EPOCH_CURRENT),
                what: format!(
                    "epoch {} is older than the last zxid, {last}; move version-2 away to have \
                     this server synced by the others",
                    current.0
                ),
            })?;
            current = self.put(EPOCH_CURRENT, left)?;
        }
        if accepted < current {
            return Err(Error::Number {
                path: self.snapshots.path(EPOCH_ACCEPTED),
                what: format!(
                    "epoch {} is older than the current epoch, {}; move version-2 away to have \
                     this server synced by the others",
                    accepted.0, current.0
                ),
            });
        }
        Ok(Epochs { current, accepted })
    }

    /// Makes `currentEpoch` durable.
    ///
    /// # Errors
    /// Those of the file system. The file is the old or the new one.
    pub fn set_current_epoch(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.put(EPOCH_CURRENT, epoch).map(drop)
    }

    /// Makes `acceptedEpoch` durable.
    ///
    /// # Errors
    /// Those of the file system. The file is the old or the new one.
    pub fn set_accepted_epoch(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.put(EPOCH_ACCEPTED, epoch).map(drop)
    }

    fn put(&mut self, name: &str, epoch: Epoch) -> Result<Epoch, Error> {
        if self.options.read_only {
            return Ok(epoch);
        }
        self.log.check()?;
        self.with_reserve(|store| {
            replace(&store.snapshots, name, epoch.0.to_string().as_bytes())
                .context("write", || store.snapshots.path(name))
        })?;
        Ok(epoch)
    }

    /// The id in `myid`, if there is such a file.
    ///
    /// # Errors
    /// [`Error::Number`] when it holds no number.
    pub fn my_id(&self) -> Result<Option<ServerId>, Error> {
        my_id(&self.data)
    }
}

/// The id in the file `myid` of a data directory, if there is one.
///
/// # Errors
/// [`Error::Number`] when it holds no number.
pub fn my_id<D: Directory>(data: &D) -> Result<Option<ServerId>, Error> {
    Ok(read(data, MY_ID)?.map(ServerId))
}

/// Writes the file `myid` into a data directory, which is created if need be.
///
/// # Errors
/// Those of the file system.
pub fn set_my_id<D: Directory>(data: &D, id: ServerId) -> Result<(), Error> {
    let written: io::Result<()> =
        data.make().and_then(|()| replace(data, MY_ID, format!("{}\n", id.0).as_bytes()));
    written.context("write", || data.path(MY_ID))
}
