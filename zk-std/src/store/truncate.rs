//! Cutting the history after a zxid, as a new leader demands (TRUNC).
//!
//! Two traps of Apache are avoided: where the log has no record of that zxid, Apache leaves the
//! next one in; and it leaves snapshots that are newer than the cut, and would be loaded
//! (ZOOKEEPER-4837). So snapshots go first, then logs, newest first, each durably before the
//! next: at every moment what is left is a history without holes, and a crash leaves one that can
//! be truncated again.
//!
//! Answers to `FileTxnLog.truncate` and `ZKDatabase.truncateLog`.

use zk_core::id::Zxid;
use zk_core::wire::file::FileHeader;

use super::compression::Compression;
use super::directory::{Directory, File, read_full, remove_durably};
use super::error::{Context, Error};
use super::hint;
use super::log::apache_reads_as_end;
use super::log_reader::{LogReader, Step};
use super::snapshot::{SEAL, candidates};
use super::{Store, name, replay};

/// Where a log is to be cut.
#[derive(Debug)]
struct Cut {
    name: String,
    offset: u64,
}

impl<D: Directory> Store<D> {
    /// Removes all transactions after `zxid`, and all snapshots that hold effects of them. What is
    /// left has to be restored anew.
    ///
    /// # Errors
    /// [`Error::Truncate`] when `zxid` is neither in a log nor a snapshot's, or no snapshot is
    /// left below it: nothing was changed then, and only a snapshot from the leader helps. Others
    /// leave a history that ends at `zxid` or later.
    pub fn truncate(&mut self, zxid: Zxid) -> Result<(), Error> {
        self.log.roll()?;
        let refuse = |what: String| Error::Truncate { zxid, what };
        let mut newer = Vec::new();
        let mut base = None;
        for candidate in candidates(&self.snapshots, usize::MAX)? {
            let end = self.effects_end(&candidate.name)?.unwrap_or(candidate.zxid);
            if candidate.zxid <= zxid && end <= zxid {
                base = base.max(Some(candidate.zxid));
            } else {
                newer.push(candidate.name);
            }
        }
        let Some(base) = base else {
            return Err(refuse(format!(
                "there is no snapshot at or before it in {}",
                self.snapshots.path("").display()
            )));
        };
        // Those that do not look whole must not stay behind either.
        let all = name::list(&self.snapshots, name::SNAPSHOT)
            .context("list", || self.snapshots.path(""))?;
        for (_, name) in all.into_iter().rev().filter(|(z, _)| *z > zxid) {
            if !newer.contains(&name) {
                newer.push(name);
            }
        }
        let logs = name::list(&self.logs, name::LOG).context("list", || self.logs.path(""))?;
        let after = logs.partition_point(|(z, _)| *z <= zxid);
        let (before, later) = logs.split_at(after);
        // Apache may repeat transactions in a later log, so an earlier one can go beyond the cut.
        let needed = replay::from(before, base.successor());
        let mut cuts = Vec::new();
        let mut there = base == zxid;
        for (_, name) in needed {
            let (cut, found) = self.find(name, zxid)?;
            cuts.extend(cut);
            there |= found;
        }
        if !there {
            return Err(refuse(format!(
                "no log in {} has that transaction",
                self.logs.path("").display()
            )));
        }
        hint::forget(&self.logs).context("remove", || self.logs.path(""))?;
        self.hinted = None;
        for name in &newer {
            remove_durably(&self.snapshots, name)?;
        }
        for (_, name) in later.iter().rev() {
            remove_durably(&self.logs, name)?;
        }
        for Cut { name, offset } in cuts.into_iter().rev() {
            if offset <= FileHeader::LEN as u64 {
                remove_durably(&self.logs, &name)?;
                continue;
            }
            let file = self.logs.open(&name).context("open", || self.logs.path(&name))?;
            let cut = file.set_len(offset).and_then(|()| file.sync_data());
            cut.context("cut", || self.logs.path(&name))?;
        }
        Ok(())
    }

    /// Where the log is to be cut so that no record above `zxid` is left in it, if there are any;
    /// and whether `zxid` itself is there.
    fn find(&self, name: &str, zxid: Zxid) -> Result<(Option<Cut>, bool), Error> {
        let path = self.logs.path(name);
        let file = self.logs.open(name).context("open", || path.clone())?;
        let mut reader = LogReader::new(file, path.clone(), self.options.record_max);
        let (mut last, mut found) = (Zxid::NONE, false);
        loop {
            match reader.step()? {
                Step::Record { zxid: at, .. } if at <= zxid => {
                    found |= at == zxid;
                    last = at;
                }
                Step::Record { offset, .. } => {
                    let cut = Cut { name: name.to_string(), offset };
                    return Ok((Some(cut), found));
                }
                // The tails that Apache leaves behind hold nothing that is read.
                Step::End { offset, damage: Some(damage) } if !apache_reads_as_end(damage) => {
                    return Err(Error::Rot { path, offset, last, damage });
                }
                Step::End { .. } => return Ok((None, found)),
            }
        }
    }

    /// The last zxid of whose effects a snapshot of Apache may hold some, by the trailers at the
    /// end of the file. `None` without such trailers, and for compressed files.
    fn effects_end(&self, name: &str) -> Result<Option<Zxid>, Error> {
        // Behind the body's checksum: i64, i32, i64, seal; then, since 3.9, i64, seal.
        const SEALED: usize = 8 + SEAL.len();
        const A: usize = 20 + SEALED;
        const B: usize = 8 + SEALED;
        if Compression::of(name) != Compression::Plain {
            return Ok(None);
        }
        let mut bytes = [0; SEAL.len() + A + B];
        let file = self.snapshots.open(name).context("open", || self.snapshots.path(name))?;
        let read = file.len().and_then(|len| {
            let from = len.saturating_sub(bytes.len() as u64);
            read_full(&file, &mut bytes, from)
        });
        let n = read.context("read", || self.snapshots.path(name))?;
        let bytes = &bytes[..n];
        let digest = [0, B].into_iter().find_map(|behind| {
            let trailer = bytes.get(..n.checked_sub(behind)?)?;
            let (before, a) = trailer.split_at_checked(trailer.len().checked_sub(A)?)?;
            let version = a.get(8..12)? == [0, 0, 0, 2];
            (before.ends_with(&SEAL) && a.ends_with(&SEAL) && version)
                .then(|| a.first_chunk::<8>().copied().map(i64::from_be_bytes).map(Zxid))?
        });
        Ok(digest)
    }
}
