//! Logs one after the other, from some zxid on, and the judgement of what is missing or damaged.
//!
//! What a crash leaves:
//!
//! - The *newest* log may end with a torn batch. Of what was written after the last sync, any
//!   sectors may be missing; they read as zeros, or the file is shorter. Such damage lies within
//!   the size of a batch of the last byte ever written, and behind the offset of the hint file.
//!   It is cut off, so that nothing behind it is ever read as history again.
//! - A log that is *not the newest* may, in Apache's directories, end with such a batch as well:
//!   Apache leaves it there and begins another file with the transaction that follows the last
//!   whole one. So the name of the next file shows that nothing is missing; where that begins a later
//!   epoch, the first digest behind it does.
//!
//! All else is rot, and refused: Apache's reader takes a zeroed length or a missing end marker
//! anywhere for the end of the file, and loses the rest without a word. Within an epoch zxids are
//! contiguous, and an epoch begins with counter 1, so what is missing shows.

use std::collections::VecDeque;
use std::path::PathBuf;

use zk_core::id::Zxid;
use zk_core::wire::file::FileHeader;

use super::Store;
use super::directory::{Directory, File};
use super::error::{Context, Damage, Error};
use super::hint::{self, Hint};
use super::log::{Extent, apache_reads_as_end};
use super::log_reader::{LogReader, Step};
use super::name;
use super::restore::{Finding, Findings};

/// How a zxid follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// Directly, in the same epoch.
    Next,
    /// It begins a later epoch.
    NewEpoch,
    /// It repeats what was there.
    Back,
    /// Something is missing.
    Gap,
}

fn follows(last: Zxid, next: Zxid) -> Follows {
    if next <= last {
        Follows::Back
    } else if next == last.successor() {
        Follows::Next
    } else if next.epoch() != last.epoch() && next.counter() <= 1 {
        Follows::NewEpoch
    } else {
        Follows::Gap
    }
}

/// The files that have transactions from `start` on: the newest one named at or below it, and all
/// later ones.
pub(super) fn from(logs: &[(Zxid, String)], start: Zxid) -> &[(Zxid, String)] {
    let after = logs.partition_point(|&(zxid, _)| zxid <= start);
    &logs[after.saturating_sub(1)..]
}

pub(super) fn length<D: Directory>(logs: &D, name: &str) -> Result<u64, Error> {
    let len = logs.open(name).and_then(|file| file.len());
    len.context("measure", || logs.path(name))
}

/// What may be done about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A torn batch is cut off.
    Repair,
    /// A torn batch is passed over.
    Look,
    /// The newest log is in use up to the end of what is shown: there is no torn batch.
    Follow,
}

/// A walk through the logs.
#[derive(Debug)]
pub struct Replay<D: Directory> {
    logs: D,
    purpose: Purpose,
    window: u64,
    record: usize,
    accept_gaps: bool,
    hint: Option<Hint>,
    /// Files that were not opened yet.
    files: VecDeque<(Zxid, String)>,
    /// Files before the first of those: its name hides what they have from there on.
    hidden: Vec<(Zxid, String)>,
    /// Whether the file in hand is that first one.
    first: bool,
    /// The end of the log in use.
    visible: Option<(String, u64)>,
    reader: Option<LogReader<D::File>>,
    name: String,
    /// The transaction that it is named by.
    named: Zxid,
    start: Zxid,
    /// Whether a transaction at or above `start` was met.
    started: bool,
    /// Whether the last one repeated what was there.
    back: bool,
    /// The highest zxid up to here: of the snapshot, then of the transactions.
    last: Zxid,
    zxid: Zxid,
    offset: u64,
    /// Whether a log holds the beginning of a record and no whole one.
    torn_record: bool,
    /// What the end of the log before is, if the transaction in hand begins a later epoch and does not
    /// show the tree that it should.
    tail: Option<Error>,
    bytes_done: u64,
}

impl<D: Directory> Replay<D> {
    /// For restoring on top of the snapshot `base`.
    pub(super) fn restore(store: &Store<D>, base: Zxid) -> Result<Self, Error> {
        let purpose = match store.options.read_only {
            true => Purpose::Look,
            false => Purpose::Repair,
        };
        Self::new(store, base, base.successor(), purpose)
    }

    /// For seeing whether any log has anything, whatever its name is: without repair.
    pub(super) fn look(store: &Store<D>) -> Result<Self, Error> {
        Self::new(store, Zxid::ZERO, Zxid(i64::MIN), Purpose::Look)
    }

    /// For reading from `start` on, while the store is in use.
    pub(super) fn follow(store: &Store<D>, start: Zxid, extent: &Extent) -> Result<Self, Error> {
        let mut replay = Self::new(store, Zxid(start.0.wrapping_sub(1)), start, Purpose::Follow)?;
        replay.files.retain(|(first, _)| *first <= extent.last);
        replay.visible = extent.log.as_ref().map(|synced| (synced.name.clone(), synced.offset));
        Ok(replay)
    }

    fn new(store: &Store<D>, last: Zxid, start: Zxid, purpose: Purpose) -> Result<Self, Error> {
        let logs = store.logs.clone();
        let mut hidden = name::list(&logs, name::LOG).context("list", || logs.path(""))?;
        let files = hidden.split_off(hidden.len() - from(&hidden, start).len());
        Ok(Self {
            purpose,
            window: store.options.torn_window(),
            record: store.options.record_max,
            accept_gaps: store.options.accept_gaps,
            hint: hint::read(&logs),
            files: files.into(),
            hidden,
            first: false,
            logs,
            visible: None,
            reader: None,
            name: String::new(),
            named: last,
            start,
            started: false,
            back: false,
            last,
            zxid: last,
            offset: 0,
            torn_record: false,
            tail: None,
            bytes_done: 0,
        })
    }

    /// Bytes of the files that are still to be read.
    pub(super) fn bytes_left(&self) -> Result<u64, Error> {
        self.files.iter().map(|(_, name)| length(&self.logs, name)).sum()
    }

    /// Bytes of logs that were read.
    pub(super) fn bytes_done(&self) -> u64 {
        self.bytes_done + self.offset
    }

    /// Goes on to the next transaction; false at the end.
    ///
    /// # Errors
    /// See [`Error::Rot`], [`Error::Gap`], and those of the file system.
    pub fn advance(&mut self, findings: &mut Findings) -> Result<bool, Error> {
        loop {
            let Some(reader) = &mut self.reader else {
                match self.open(findings)? {
                    true => continue,
                    false => return Ok(false),
                }
            };
            match reader.step()? {
                Step::Record { offset, zxid } => {
                    (self.offset, self.zxid) = (offset, zxid);
                    if self.meet(findings)? {
                        return Ok(true);
                    }
                }
                Step::End { offset, damage } => {
                    self.offset = offset;
                    self.leave(damage, findings)?;
                    self.bytes_done += reader_len(self.reader.take())?;
                    self.offset = 0;
                }
            }
        }
    }

    fn open(&mut self, findings: &mut Findings) -> Result<bool, Error> {
        let Some((first, name)) = self.files.pop_front() else { return Ok(false) };
        // As between logs, the name counts, whether there is a whole record behind it or not.
        self.first = self.name.is_empty();
        if self.first && follows(self.last, first) == Follows::Gap {
            self.gap(self.logs.path(&name), 0, first, findings)?;
        }
        let file = self.logs.open(&name).context("open", || self.logs.path(&name))?;
        let reader = LogReader::new(file, self.logs.path(&name), self.record);
        let reader = match &self.visible {
            Some((visible, end)) if *visible == name => reader.with_end(*end),
            _ => reader,
        };
        (self.name, self.named) = (name, first);
        self.reader = Some(reader);
        Ok(true)
    }

    /// Judges the zxid of a record; false for one before the start.
    fn meet(&mut self, findings: &mut Findings) -> Result<bool, Error> {
        let (zxid, last) = (self.zxid, self.last);
        if self.offset == FileHeader::LEN as u64 && zxid < self.named {
            let (path, offset, damage) = (self.path(), self.offset, Damage::Name(zxid));
            return Err(Error::Rot { path, offset, last, damage });
        }
        if !self.started && zxid < self.start {
            return Ok(false);
        }
        let follows = follows(last, zxid);
        match follows {
            Follows::Next | Follows::NewEpoch => {}
            // Once for all that follow each other.
            Follows::Back if self.back => {}
            Follows::Back => {
                let (path, offset) = (self.path(), self.offset);
                findings.add(Finding::OutOfOrder { path, offset, zxid, after: last });
            }
            Follows::Gap => self.gap(self.path(), self.offset, zxid, findings)?,
        }
        self.started = true;
        self.back = follows == Follows::Back;
        self.last = last.max(zxid);
        Ok(true)
    }

    fn gap(
        &self,
        path: PathBuf,
        offset: u64,
        found: Zxid,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let last = self.last;
        if !self.accept_gaps {
            return Err(Error::Gap { path, offset, last, found });
        }
        findings.add(Finding::Gap { path, last, found });
        Ok(())
    }

    /// Removes the file, if anything is to be repaired. What its name has hidden comes next: at the next
    /// start it would.
    fn unlink(&mut self) -> Result<(), Error> {
        if self.purpose == Purpose::Repair {
            let removed = self.logs.unlink(&self.name).and_then(|()| self.logs.sync());
            removed.context("remove", || self.path())?;
        }
        if self.first
            && let Some(before) = self.hidden.pop()
        {
            self.files.push_front(before);
            self.name.clear();
        }
        Ok(())
    }

    /// Judges the end of a file at `self.offset`.
    fn leave(&mut self, damage: Option<Damage>, findings: &mut Findings) -> Result<(), Error> {
        let Some(reader) = &self.reader else { return Ok(()) };
        let (path, offset, last) = (reader.path().to_path_buf(), self.offset, self.last);
        let rot = |damage| Error::Rot { path: path.clone(), offset, last, damage };
        // Without a whole record the file is not worth its name.
        let remove = offset <= FileHeader::LEN as u64;
        if self.visible.as_ref().is_some_and(|(name, _)| *name == self.name) {
            return damage.map_or(Ok(()), |damage| Err(rot(damage)));
        }
        let extent = reader.extent(offset)?;
        let written = extent - offset;
        self.torn_record |= remove && extent > FileHeader::LEN as u64;
        let found = match damage {
            None if written > 0 => Some(Damage::Residue),
            damage => damage,
        };
        // A gap was accepted before a log without a record: it would hide what is logged from here on.
        if remove
            && found.is_none()
            && self.purpose == Purpose::Repair
            && follows(last, self.named) == Follows::Gap
        {
            return self.unlink();
        }
        if let Some(&(next, ref next_name)) = self.files.front() {
            if let Some(damage) = found
                && !apache_reads_as_end(damage)
            {
                return Err(rot(damage));
            }
            match (follows(last, next), found) {
                (Follows::Gap, Some(damage)) => return Err(rot(damage)),
                (Follows::NewEpoch, Some(damage)) if written > self.window => {
                    return Err(rot(damage));
                }
                (Follows::Gap, None) => {
                    let next_path = self.logs.path(next_name);
                    self.gap(next_path, 0, next, findings)?;
                }
                (follows, Some(damage)) => {
                    self.tail = (follows == Follows::NewEpoch).then(|| rot(damage));
                    findings.add(Finding::PartialTail { path, offset, extent });
                }
                (_, None) => {}
            }
            return Ok(());
        }
        let hinted = self.hint.as_ref().and_then(|hint| hint.offset(&self.logs, &self.name));
        if hinted.is_some_and(|hinted| hinted > offset) {
            // Exactly cut files come from truncating; they show as behind the hint in the end.
            let cut = found.is_none() && reader.len()? == offset;
            return if cut { Ok(()) } else { Err(rot(found.unwrap_or(Damage::BelowHint))) };
        }
        let Some(damage) = found else { return Ok(()) };
        // What repeats an earlier part, and breaks off in it, was not written here: it is another file's.
        let strays = self.back && self.zxid < last;
        if self.purpose == Purpose::Follow
            || strays
            || written > self.window
            || !reader.looks_torn(offset, Some(damage), extent)?
        {
            return Err(rot(damage));
        }
        if !remove && self.purpose == Purpose::Repair {
            reader.cut(offset)?;
        }
        if remove {
            self.unlink()?;
        }
        let offset = if remove { 0 } else { offset };
        findings.add(Finding::Torn { path, offset, extent, damage });
        Ok(())
    }

    /// The transaction's id.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The transaction.
    pub fn entry(&self) -> &[u8] {
        self.reader.as_ref().map_or(&[], |reader| reader.entry())
    }

    /// The log it is in, or the last one that was read.
    pub fn path(&self) -> PathBuf {
        self.logs.path(&self.name)
    }

    /// Where its record begins, bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The highest zxid up to here, that of the snapshot at least.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// What is wrong with the log before, if the first digest behind it does not show the tree that it
    /// should.
    pub(super) fn take_tail(&mut self) -> Option<Error> {
        self.tail.take()
    }

    pub(super) fn torn_record(&self) -> bool {
        self.torn_record
    }
}

fn reader_len<F: File>(reader: Option<LogReader<F>>) -> Result<u64, Error> {
    reader.map_or(Ok(0), |reader| reader.len())
}
