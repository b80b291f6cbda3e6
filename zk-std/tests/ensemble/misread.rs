//! Reads of the disk that return what a sector held before it was written last, or what another
//! sector holds: of logs and snapshots, as a server starts, or while its files are read for a learner,
//! or again after the history was cut.
//!
//! Checksums and zxids show it, or it does no harm. What no file of Apache's can show is left out, by
//! [`passes_for_the_end`]. (And no other files are read wrongly: an epoch's has no checksum, and an old
//! epoch is as good as a new one.)

use zk_core::id::Zxid;
use zk_std::store::VERSION_2;
use zk_std::store::simulated::{Disk, Rng, SECTOR};

use super::faults::End;
use super::node::Started;
use super::world::World;

/// Milliseconds after which sectors that nobody has read wrongly are read rightly.
const LASTS: u64 = 2000;

/// Of so many rounds in runs with misreads one has one.
const CALM: u64 = 500;

/// So many zeros can pass for the head of a record that was never written: its checksum and length.
const HEAD: usize = 12;

/// A log or a snapshot, by the zxid in its name.
fn zxid_of(path: &str, kind: &str) -> Option<Zxid> {
    let name = path.strip_prefix(VERSION_2)?.strip_prefix(kind)?;
    i64::from_str_radix(name, 16).ok().map(Zxid)
}

/// Whether what is read in place of a log's sector can be taken for the end of the log, where nothing
/// shows that there was more: it reads as if it was never written, which a crash before its sync
/// leaves as well, and the next log begins another epoch, or there is none. What was there may even
/// have been acknowledged: no record says how many come behind it.
fn passes_for_the_end(disk: &Disk, path: &str, bytes: &[u8]) -> bool {
    let Some(first) = zxid_of(path, "/log.") else { return false };
    let zeros =
        bytes.len() < SECTOR || bytes.windows(HEAD).any(|some| some.iter().all(|&b| b == 0));
    let all = disk.paths();
    let later =
        all.iter().filter_map(|other| zxid_of(other, "/log.")).filter(|&other| other > first);
    zeros && later.min().is_none_or(|next| next.epoch() != first.epoch())
}

/// What a sector of a server's files is read as: file, sector, bytes, and whether it is stale.
fn draw(disk: &Disk, rng: &mut Rng) -> Option<(String, usize, Vec<u8>, bool)> {
    let known =
        |path: &String| zxid_of(path, "/log.").or_else(|| zxid_of(path, "/snapshot.")).is_some();
    let paths: Vec<String> = disk.paths().into_iter().filter(known).collect();
    let any = |rng: &mut Rng| {
        let path = paths.get(rng.below(paths.len() as u64) as usize)?;
        let written = disk.read(path)?.iter().rposition(|&byte| byte != 0)? + 1;
        Some((path.clone(), rng.below(written.div_ceil(SECTOR) as u64) as usize))
    };
    let (path, index) = any(rng)?;
    let stale = rng.coin();
    let bytes = match stale {
        true => disk.sector(&path, index, true)?,
        false => {
            let (other, at) = any(rng)?;
            disk.sector(&other, at, false)?
        }
    };
    let differs = disk.sector(&path, index, false)? != bytes;
    differs.then_some((path, index, bytes, stale))
}

impl World {
    /// Perhaps a sector is read wrongly.
    pub(crate) fn misread(&mut self) {
        if !self.misreads || self.more.below(CALM) > 0 {
            return;
        }
        let at = self.more.below(self.nodes.len() as u64) as usize;
        if !self.may_lose(at) {
            return;
        }
        let disk = self.nodes[at].disk.clone();
        let Some((path, sector, bytes, stale)) = draw(&disk, &mut self.more) else { return };
        if passes_for_the_end(&disk, &path, &bytes) {
            self.met.unseen += 1;
            return;
        }
        self.met.stale += u64::from(stale);
        self.met.misdirected += u64::from(!stale);
        let what = if stale { "as it was" } else { "as another" };
        let starts = self.more.coin();
        if starts && self.nodes[at].up {
            self.end(at, End::Killed);
        }
        self.say(at, &format!("reads sector {sector} of {path} {what}"));
        // (The power cut may have changed what is there.)
        let disk = self.nodes[at].disk.clone();
        disk.misread(&path, sector, bytes, 1 + self.more.below(3));
        self.nodes[at].ill = true;
        self.nodes[at].misread = true;
        if starts {
            self.start(at);
        }
    }

    /// Sectors that nobody has read wrongly for a time are read rightly.
    pub(crate) fn read_rightly(&mut self) {
        for node in &mut self.nodes {
            if node.misread && node.disk.misreads() > 0 && node.up && node.misread_until <= self.now
            {
                node.disk.read_rightly();
                node.misread = false;
                node.ill = node.lost;
            }
        }
    }

    /// A server has started in spite of sectors that were read wrongly.
    pub(crate) fn has_read(&mut self, at: usize, started: &Started, synced: Zxid) {
        let node = &mut self.nodes[at];
        if !core::mem::take(&mut node.misread) {
            return;
        }
        match started {
            Started::Whole(last) => {
                // What is left of it may strike when the history is cut, or a learner wants it.
                node.misread = node.disk.misreads() > 0;
                node.misread_until = self.now + LASTS;
                node.ill = node.misread;
                let last = self.agreement.transaction(*last);
                assert!(last >= synced, "server {} has synced {synced}, and reads {last}", at + 1);
                self.met.misread_harmless += 1;
            }
            Started::Damaged => self.met.misread_seen += 1,
            Started::Failed(_) | Started::NoMember => node.misread = true,
        }
    }
}
