//! Snapshots: writing them, so that no crash leaves half of one under a snapshot's name.
//!
//! The file is written as `zk.snapshot.<hex>.tmp`, which neither Apache nor zk takes for a
//! snapshot, synced, renamed, and the directory synced. (Apache writes most of its snapshots in
//! place and does not sync them.)

use std::io::{self, Write};
use std::path::PathBuf;

use zk_core::id::Zxid;
use zk_core::wire::file::{FileHeader, SnapshotDigest};
use zk_core::wire::jute;

use super::compression::{Compression, Encoder};
use super::directory::{Directory, File, remove};
use super::error::{Context, Error};
use super::snapshot::SEAL;
use super::sum::Sum;

const TEMPORARY: &str = "zk.snapshot.";

/// Removes what writers left behind that did not finish.
pub(super) fn clean<D: Directory>(directory: &D) -> io::Result<()> {
    for name in directory.list()? {
        if name.starts_with(TEMPORARY) {
            remove(directory, &name)?;
        }
    }
    Ok(())
}

/// The name of the snapshot of `zxid`.
pub(super) fn name(zxid: Zxid, compression: Compression) -> String {
    format!("{}.{:x}{}", super::name::SNAPSHOT, zxid.0, compression.extension())
}

/// A snapshot that is being written. Dropped before [`finish`](Self::finish), it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter<D: Directory> {
    directory: D,
    zxid: Zxid,
    compression: Compression,
    /// What it is called until it is finished; nothing when it is.
    temporary: String,
    out: Option<Encoder<D::File>>,
    sum: Sum,
    tail: [u8; SEAL.len()],
    len: u64,
    /// `initialize` has served when a first snapshot is there.
    initialize: Option<D>,
}

impl<D: Directory> SnapshotWriter<D> {
    pub(super) fn begin(
        directory: D,
        zxid: Zxid,
        compression: Compression,
        initialize: Option<D>,
    ) -> Result<Self, Error> {
        let temporary = format!("{TEMPORARY}{:x}.tmp", zxid.0);
        Self::create(directory, zxid, temporary, compression, initialize)
    }

    /// Begins to write the file `temporary`.
    pub(super) fn create(
        directory: D,
        zxid: Zxid,
        temporary: String,
        compression: Compression,
        initialize: Option<D>,
    ) -> Result<Self, Error> {
        let file = directory.create(&temporary).context("create", || directory.path(&temporary))?;
        let mut writer = Self {
            out: Some(Encoder::new(compression, file)),
            directory,
            zxid,
            compression,
            temporary,
            sum: Sum::default(),
            tail: [0; SEAL.len()],
            len: 0,
            initialize,
        };
        let mut header = [0; FileHeader::LEN];
        let encoded = jute::encode(&FileHeader::SNAPSHOT, &mut header);
        debug_assert_eq!(encoded, Ok(FileHeader::LEN));
        writer.write(&header)?;
        Ok(writer)
    }

    fn path(&self) -> PathBuf {
        self.directory.path(&self.temporary)
    }

    /// The last transaction that it contains whole.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Bytes written so far, before compression.
    pub fn bytes(&self) -> u64 {
        self.len
    }

    /// Writes the next piece of the body: sessions, ACL table, nodes, end marker.
    ///
    /// # Errors
    /// Those of the file system; the snapshot is then to be dropped.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path();
        let Some(out) = &mut self.out else {
            return Err(Error::Snapshot { zxid: self.zxid, what: "it failed before" });
        };
        if let Err(source) = out.write_all(bytes) {
            self.out = None;
            return Err(source).context("write", || path);
        }
        self.sum.write(bytes);
        match bytes.last_chunk() {
            Some(tail) => self.tail = *tail,
            None => {
                self.tail.rotate_left(bytes.len());
                let keep = SEAL.len() - bytes.len();
                self.tail[keep..].copy_from_slice(bytes);
            }
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Appends checksum and trailers, and makes the snapshot durable under its name. Without a
    /// digest (`digest.enabled=false`) or last zxid
    /// (`serializeLastProcessedZxid.enabled=false`) the trailer is left out.
    ///
    /// # Errors
    /// Those of the file system, and [`Error::Snapshot`] when the body has no end. Then there
    /// is no snapshot of this name, or a whole one.
    pub fn finish(
        mut self,
        digest: Option<SnapshotDigest>,
        last_zxid: Option<Zxid>,
    ) -> Result<String, Error> {
        self.complete(digest, last_zxid)?;
        let name = name(self.zxid, self.compression);
        self.directory
            .rename(&self.temporary, &name)
            .and_then(|()| self.directory.sync())
            .context("rename", || self.path())?;
        self.temporary.clear();
        if let Some(data) = &self.initialize {
            remove(data, super::INITIALIZE).context("remove", || data.path(super::INITIALIZE))?;
        }
        Ok(name)
    }

    /// Appends checksum and trailers, and makes the file durable, but not its name.
    pub(super) fn complete(
        &mut self,
        digest: Option<SnapshotDigest>,
        last_zxid: Option<Zxid>,
    ) -> Result<(), Error> {
        if self.tail != SEAL {
            return Err(Error::Snapshot { zxid: self.zxid, what: "its body has no end marker" });
        }
        self.seal()?;
        if let Some(digest) = digest {
            let mut bytes = [0; 20];
            let encoded = jute::encode(&digest, &mut bytes);
            debug_assert_eq!(encoded, Ok(bytes.len()));
            self.write(&bytes)?;
            self.seal()?;
        }
        if let Some(zxid) = last_zxid {
            self.write(&zxid.0.to_be_bytes())?;
            self.seal()?;
        }
        let Some(out) = self.out.take() else {
            return Err(Error::Snapshot { zxid: self.zxid, what: "it failed before" });
        };
        out.finish()
            .and_then(|file| if zk_core::planted!(Zk2310) { Ok(()) } else { file.sync_data() })
            .context("sync", || self.path())
    }

    /// The file belongs to whoever calls this.
    pub(super) fn release(mut self) {
        self.temporary.clear();
    }

    /// Gives it up.
    pub fn abort(self) {}

    fn seal(&mut self) -> Result<(), Error> {
        let sum = self.sum.value();
        self.write(&sum.to_be_bytes())?;
        self.write(&SEAL)
    }
}

impl<D: Directory> Drop for SnapshotWriter<D> {
    fn drop(&mut self) {
        if !self.temporary.is_empty()
            && let Err(e) = remove(&self.directory, &self.temporary)
        {
            // The next start tries again.
            log::warn!("cannot remove {}: {e}", self.path().display());
        }
    }
}
