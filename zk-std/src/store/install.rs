//! Replacing the history by a snapshot that a leader has sent (SNAP): all of it or nothing.
//!
//! What comes is written aside, as `zk.install.tmp`. When it is whole and durable, and the core has
//! taken it, `zk.installing` gets its name. From then on it is the history, and the rest follows,
//! each step durable before the next: the logs go, newest first; the snapshot gets its name; all
//! other snapshots go, newest first; `zk.installing` goes. A crash in between ends with the next
//! [`Store::open`], which does the rest. A server of Apache that is started there instead takes what
//! is left for its history: a beginning of the old one, or the new one.
//!
//! Nothing of the old history stays, not even what is older than the snapshot: it need not be part
//! of the new one. (Apache leaves it, and may send it to a learner later, or fall back to it when
//! the snapshot is damaged.)
//!
//! Answers to what `Learner.syncWithLeader` does for SNAP.

use zk_core::id::Zxid;

use super::compression::Compression;
use super::directory::{Directory, File, put, read_small, remove, remove_durably};
use super::error::{Context, Error};
use super::snapshot::{Candidate, SnapshotReader, Unreadable};
use super::{Store, VERSION_2, hint, name, snapshot_writer};

use snapshot_writer::SnapshotWriter;

/// The snapshot that is received.
const BODY: &str = "zk.install.tmp";
/// Says that it is the history, and of which zxid.
const MARK: &str = "zk.installing";
/// The same before it counts.
const MARK_ASIDE: &str = "zk.installing.tmp";

const MARK_LEN_MAX: usize = 64;

/// A snapshot that was received whole, and is durable beside the history. Dropped before
/// [`Store::install`], it leaves nothing.
#[derive(Debug)]
pub struct Received<D: Directory> {
    directory: D,
    zxid: Zxid,
    len: u64,
    installing: bool,
}

impl<D: Directory> Received<D> {
    /// The last transaction that it contains whole.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }
}

impl<D: Directory> Drop for Received<D> {
    fn drop(&mut self) {
        if !self.installing
            && let Err(error) = clean(&self.directory)
        {
            // The next start tries again.
            log::warn!("{error}");
        }
    }
}

impl<D: Directory> Store<D> {
    /// Begins to write a snapshot that is to take the place of the history. Then
    /// [`SnapshotWriter::write`], [`receive`](Self::receive), [`install`](Self::install). There is
    /// one at a time.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin_install(&mut self, zxid: Zxid) -> Result<SnapshotWriter<D>, Error> {
        self.log.check()?;
        // It is read back at once, and the next snapshot takes its place.
        let plain = Compression::Plain;
        SnapshotWriter::create(self.snapshots.clone(), zxid, BODY.to_owned(), plain, None)
    }

    /// The snapshot's body is whole: makes it durable, beside the history.
    ///
    /// # Errors
    /// Those of the file system, and [`Error::Snapshot`] when the body has no end. The history is
    /// what it was.
    pub fn receive(&mut self, mut writer: SnapshotWriter<D>) -> Result<Received<D>, Error> {
        writer.complete(None, None)?;
        let (directory, zxid) = (self.snapshots.clone(), writer.zxid());
        let sum = |text: &str| super::sum::of(text.as_bytes());
        let text = format!("{:x}", zxid.0);
        let mark = format!("{text} {:x}\n", sum(&text));
        put(&directory, MARK_ASIDE, mark.as_bytes())
            .and_then(|()| directory.sync())
            .context("write", || directory.path(MARK_ASIDE))?;
        let file = directory.open(BODY).and_then(|file| file.len());
        let len = file.context("measure", || directory.path(BODY))?;
        writer.release();
        Ok(Received { directory, zxid, len, installing: false })
    }

    /// Opens what was received, for the core to take it.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn open_received(
        &self,
        received: &Received<D>,
    ) -> Result<SnapshotReader<D::File>, Unreadable> {
        let Received { zxid, len, .. } = *received;
        let candidate = Candidate { zxid, name: BODY.to_owned(), len };
        self.open_snapshot(&candidate)
    }

    /// Lets what was received take the place of the history.
    ///
    /// # Errors
    /// Those of the file system. It is not known then which of the two is the history, until the
    /// next [`open`](Self::open): the process has to end.
    pub fn install(&mut self, mut received: Received<D>) -> Result<(), Error> {
        self.log.roll()?;
        self.hinted = None;
        self.initialize = false;
        received.installing = true;
        self.snapshots
            .rename(MARK_ASIDE, MARK)
            .and_then(|()| self.snapshots.sync())
            .context("rename", || self.snapshots.path(MARK))?;
        complete(&self.snapshots, &self.logs)?;
        self.log.restored(received.zxid);
        Ok(())
    }
}

/// What a crash left of an installation: completes one that counts, removes one that does not.
pub(super) fn recover<D: Directory>(snapshots: &D, logs: &D) -> Result<(), Error> {
    complete(snapshots, logs)?;
    clean(snapshots)
}

fn clean<D: Directory>(snapshots: &D) -> Result<(), Error> {
    for name in [MARK_ASIDE, BODY] {
        remove(snapshots, name).context("remove", || snapshots.path(name))?;
    }
    Ok(())
}

/// The zxid of a snapshot whose installation a crash has interrupted.
///
/// # Errors
/// [`Error::Directory`] when that cannot be known.
pub(super) fn pending<D: Directory>(snapshots: &D) -> Result<Option<Zxid>, Error> {
    let mark =
        read_small(snapshots, MARK, MARK_LEN_MAX).context("read", || snapshots.path(MARK))?;
    let Some(mark) = mark else { return Ok(None) };
    let zxid = core::str::from_utf8(&mark).ok().and_then(|mark| {
        let (text, sum) = mark.strip_suffix('\n')?.split_once(' ')?;
        let sum = u32::from_str_radix(sum, 16).ok()?;
        (sum == super::sum::of(text.as_bytes())).then_some(())?;
        Some(Zxid(u64::from_str_radix(text, 16).ok()?.cast_signed()))
    });
    zxid.map(Some).ok_or_else(|| Error::Directory {
        path: snapshots.path(MARK),
        what: format!(
            "it is damaged, and only it says what the history is: move {VERSION_2} away to have \
             this server synced by the others"
        ),
    })
}

fn complete<D: Directory>(snapshots: &D, logs: &D) -> Result<(), Error> {
    let Some(zxid) = pending(snapshots)? else { return Ok(()) };
    hint::forget(logs).context("remove", || logs.path(""))?;
    let old = name::list(logs, name::LOG).context("list", || logs.path(""))?;
    for (_, name) in old.iter().rev() {
        remove_durably(logs, name)?;
    }
    let new = snapshot_writer::name(zxid, Compression::Plain);
    let named = match snapshots.rename(BODY, &new) {
        // An earlier attempt has come so far.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            snapshots.open(&new).map(drop)
        }
        renamed => renamed,
    };
    named.and_then(|()| snapshots.sync()).context("rename", || snapshots.path(BODY))?;
    let old = name::list(snapshots, name::SNAPSHOT).context("list", || snapshots.path(""))?;
    for (_, name) in old.iter().rev().filter(|(_, name)| *name != new) {
        remove_durably(snapshots, name)?;
    }
    remove_durably(snapshots, MARK)
}
