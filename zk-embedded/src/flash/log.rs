//! The log: a chain of blocks, each of which begins with all that must be known of those before it.

use zk_core::id::Zxid;

use super::blocks::{self, Block, Use};
use super::error::{Damage, Error, Rot};
use super::layout::{self, Frame, HEAD_LEN, Head, Kind, Opening, Payload, Snapshot};
use super::nor::Nor;
use super::store::{
    Ask, Cut, Done, NewLog, Pending, Poll, Program, RESERVE, RESERVE_SETTLED, RESERVE_SNAPSHOT,
    Reason, Source, Stage, Step, Store, Task, Then, Why,
};

impl<N: Nor> Store<'_, N> {
    pub(super) fn open_log(
        &mut self,
        why: Why,
        source: Option<(usize, u32)>,
        last: Option<Zxid>,
    ) -> Result<(), Error<N::Error>> {
        let seq = self.next_seq()?;
        let (at, stage) = (self.layout.content(), Stage::Opening);
        self.opening = Some(NewLog { why, block: None, seq, source, last, at, stage });
        Ok(())
    }

    pub(super) fn step_opening(&mut self, opening: NewLog) -> Step<N::Error> {
        let content = self.layout.content();
        let copied = opening.source.map_or(content, |(_, end)| end.max(content));
        let Some(block) = opening.block else {
            let block = match self.allocate() {
                Some(Ok(block)) => block,
                Some(Err(poll)) => return Ok(poll),
                None => return self.make_free(),
            };
            self.opening = Some(NewLog { block: Some(block), ..opening });
            return Ok(Poll::Working);
        };
        match opening.stage {
            Stage::Opening => {
                // It is neither erased nor of any use until its head is there.
                self.blocks[block].use_ = Use::Free;
                self.put(&Opening::Log { seq: opening.seq, copied }.encode());
                let len = self.layout.align(layout::OPENING_LEN) as usize;
                let at = self.layout.opening_at();
                Ok(self.program(Source::Small, len, block, at, Then::Opening))
            }
            Stage::Copy => {
                if let Some((source, _)) = opening.source
                    && opening.at < copied
                {
                    // What one program takes.
                    let page = self.layout.page - opening.at % self.layout.page;
                    let len = (copied - opening.at).min(page) as usize;
                    let len = len.min(self.small.len());
                    let from = self.layout.at(source, opening.at);
                    self.nor.read(from, &mut self.small[..len]).map_err(Error::Device)?;
                    return Ok(self.program(Source::Small, len, block, opening.at, Then::Copy));
                }
                let head = self.head(&opening, copied);
                let reason = self.control.reason;
                self.small.fill(0xff);
                let payload = Payload::Copy(reason.get());
                layout::encode(self.layout, &Kind::Head(head), payload, &mut self.small)
                    .ok_or(Error::Unfit("a head"))?;
                if let Some(opening) = &mut self.opening {
                    opening.stage = Stage::Head;
                }
                let at = self.layout.start();
                Ok(self.program(Source::Small, HEAD_LEN as usize, block, at, Then::Head))
            }
            // Its program has ended, one way or the other.
            Stage::Head => Err(Error::Unfit("a head")),
        }
    }

    pub(super) fn head(&self, opening: &NewLog, copied: u32) -> Head {
        let control = &self.control;
        let (snapshot, lost) = match opening.why {
            Why::Install(snapshot) => (Some(snapshot), false),
            Why::Begin { lost } => (None, lost),
            _ => (control.snapshot, control.lost),
        };
        let boots = match opening.why {
            Why::Start | Why::Begin { .. } => control.boots.saturating_add(1),
            _ => control.boots,
        };
        let (before, first) = match (opening.why, opening.source) {
            (Why::Install(_) | Why::Begin { .. }, _) => (None, opening.seq),
            (_, Some((source, _))) => {
                let seq = self.blocks[source].seq;
                let first = blocks::first_needed(self.blocks, snapshot, seq);
                (blocks::log_before(self.blocks, seq), first.unwrap_or(opening.seq))
            }
            (_, None) => {
                let first = blocks::first_needed(self.blocks, snapshot, opening.seq);
                (self.newest, first.unwrap_or(opening.seq))
            }
        };
        let before = before.map(|at| (self.blocks[at].seq, self.blocks[at].end));
        let (before, before_end) = before.unwrap_or((0, 0));
        Head {
            seq: opening.seq,
            before,
            before_end,
            first,
            copied,
            window: self.batch.len() as u32,
            boots,
            epochs: control.epochs.into(),
            snapshot,
            lost,
        }
    }

    /// The head of a new block is there: from now on it is the newest.
    pub(super) fn opened(&mut self, block: usize) -> Poll {
        let Some(opening) = self.opening.take() else { return Poll::Working };
        let content = self.layout.content();
        let copied = opening.source.map_or(content, |(_, end)| end.max(content));
        let head = self.head(&opening, copied);
        let replaced = match (opening.why, opening.source) {
            (Why::Install(_) | Why::Begin { .. }, _) => Some(0),
            (_, source) => source.map(|(source, _)| self.blocks[source].seq),
        };
        if let Some(from) = replaced {
            for old in self.blocks.iter_mut() {
                if old.use_ == Use::Log && old.seq >= from {
                    old.use_ = Use::Free;
                }
            }
            self.confirm = true;
        }
        let last = match opening.why {
            Why::Full => self.newest.and_then(|newest| self.blocks[newest].last),
            _ => opening.last,
        };
        let new = &mut self.blocks[block];
        new.use_ = Use::Log;
        (new.seq, new.end, new.last) = (opening.seq, copied, last);
        self.newest = Some(block);
        self.end = copied;
        self.settled = true;
        self.damage = None;
        self.control.first = head.first;
        self.control.lost = head.lost;
        self.control.snapshot = head.snapshot;
        let zxid = head.snapshot.map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
        if replaced.is_some() {
            self.last = last.map_or(zxid, |last| last.max(zxid));
        }
        self.control.boots = head.boots;
        let done = match opening.why {
            Why::Full | Why::Failed => Poll::Working,
            Why::Start | Why::Begin { .. } => {
                self.started = true;
                Poll::Done(Done::Started(head.boots))
            }
            Why::Truncate(zxid) => Poll::Done(Done::Truncated(zxid)),
            Why::Install(snapshot) => {
                self.writing = None;
                self.old = None;
                self.since = 0;
                self.too_long = false;
                Poll::Done(Done::Installed(snapshot.zxid))
            }
        };
        self.reclaim();
        done
    }

    /// There is no free block for what cannot wait.
    pub(super) fn make_free(&mut self) -> Step<N::Error> {
        if self.writing.is_some_and(|writing| !writing.install && writing.id != 0) {
            self.give_up();
            return Ok(Poll::Working);
        }
        if self.pin.take().is_some() {
            // Learners get a later snapshot.
            self.reclaim();
            return Ok(Poll::Working);
        }
        if self.damage.is_some() {
            // The oldest: what is damaged stays so.
            let used = |block: &&Block| matches!(block.use_, Use::Log | Use::Snapshot { .. });
            let oldest = self.blocks.iter().filter(used).map(|block| block.seq).min();
            let newest = self.blocks.iter().filter(used).map(|block| block.seq).max();
            if oldest < newest
                && let Some(at) = self.blocks.iter().position(|b| used(&b) && Some(b.seq) == oldest)
            {
                self.blocks[at].use_ = Use::Free;
                return Ok(Poll::Working);
            }
        }
        Err(Error::Worn { good: self.good(), needed: self.needed() })
    }

    /// The snapshot that is being written is given up.
    pub(super) fn give_up(&mut self) {
        self.gave_up = true;
        self.drop_snapshot();
    }

    /// Whether the log may have one more block; with more in the newest one, if it is to `grow`.
    ///
    /// What is logged and not committed is in no snapshot. On the smallest ring it could keep the log's
    /// only block from ever being reclaimed, while a member that looks for a leader waits for its batch:
    /// so there may be a second one as long as the next snapshot has room besides.
    pub(super) fn may_roll(&self, grow: bool) -> bool {
        let newest = self.newest.map_or(0, |newest| self.blocks[newest].seq);
        let needed = blocks::first_needed(self.blocks, self.control.snapshot, u32::MAX);
        // A block of which the snapshot has everything goes.
        let from = needed.unwrap_or_else(|| if grow { newest } else { newest.saturating_add(1) });
        let free = |block: &Block| !block.worn && matches!(block.use_, Use::Free | Use::Erased);
        let free = self.blocks.iter().filter(|block| free(block)).count() as u32;
        let begun = self.writing.map_or(0, |writing| writing.index);
        let others = self.snapshot_blocks().saturating_sub(begun) + 1;
        let blocks = self.log_blocks(from);
        free > 0 && blocks < self.log_max() || free > others && blocks < 2
    }

    /// Opens another block of the log; `None` if it may have no more.
    pub(super) fn roll(&mut self) -> Result<Option<Poll>, Error<N::Error>> {
        if !self.may_roll(false) {
            return Ok(None);
        }
        self.open_log(Why::Full, None, None)?;
        Ok(Some(Poll::Working))
    }

    /// Puts a record into the small buffer; its length.
    pub(super) fn encode(&mut self, kind: &Kind, payload: &[u8]) -> Result<u32, Error<N::Error>> {
        self.small.fill(0xff);
        let len = layout::encode(self.layout, kind, Payload::Copy(payload), &mut self.small);
        len.map(|len| len as u32).ok_or(Error::Unfit("a record"))
    }

    pub(super) fn write_settled(&mut self, newest: usize) -> Step<N::Error> {
        let len = self.encode(&Kind::Settled, &[])?;
        // What confirms a block cannot be done without.
        let reserve = if self.confirm { 0 } else { RESERVE_SNAPSHOT };
        if self.end + len + reserve > self.layout.block {
            // A new block says the same.
            self.settled = true;
            self.confirm = false;
            return Ok(Poll::Working);
        }
        Ok(self.program(Source::Small, len as usize, newest, self.end, Then::Settled))
    }

    pub(super) fn write_ask(
        &mut self,
        newest: usize,
        ask: Ask,
    ) -> Result<Option<Poll>, Error<N::Error>> {
        let (kind, reason) = match ask {
            Ask::Epochs(epochs) => (Kind::Epochs(epochs.into()), Reason::NONE),
            Ask::Reset(reason) => (Kind::Reset, reason),
        };
        let len = self.encode(&kind, reason.get())?;
        if self.end + len + RESERVE_SETTLED > self.layout.block {
            return self.roll();
        }
        Ok(Some(self.program(Source::Small, len as usize, newest, self.end, Then::Ask)))
    }

    pub(super) fn write_commit(
        &mut self,
        newest: usize,
        snapshot: Snapshot,
    ) -> Result<Option<Poll>, Error<N::Error>> {
        let first = self.first_needed(Some(snapshot), u32::MAX);
        let len = self.encode(&Kind::Snapshot(snapshot, first), &[])?;
        if self.end + len > self.layout.block {
            return self.roll();
        }
        Ok(Some(self.program(Source::Small, len as usize, newest, self.end, Then::Commit)))
    }

    pub(super) fn write_batch(&mut self, newest: usize) -> Result<Option<Poll>, Error<N::Error>> {
        let Pending { len, done, .. } = self.pending;
        let limit = self.layout.block - RESERVE;
        let room = limit.saturating_sub(self.end) as usize;
        // As many whole frames as fit.
        let mut fits = 0;
        while done + fits < len {
            let Some(&[low, high]) = self.batch.get(done + fits + 4..done + fits + 6) else {
                break;
            };
            let frame = layout::PREFIX + usize::from(u16::from_le_bytes([low, high]));
            let frame = self.layout.align(frame) as usize;
            if fits + frame > room {
                break;
            }
            fits += frame;
        }
        // Half of a batch is of no use to a snapshot, so it could keep a block for ever.
        if fits == 0 || done + fits < len && !self.may_roll(true) {
            return self.roll();
        }
        let program = Program {
            source: Source::Batch,
            from: done,
            len: fits,
            block: newest,
            at: self.end,
            done: 0,
            now: 0,
            then: Then::Batch,
        };
        self.task = Task::Program(program);
        Ok(Some(Poll::Working))
    }

    /// Where the log has to end for `zxid` to be the last.
    pub(super) fn find_cut(&mut self, zxid: Zxid) -> Result<Option<Cut>, Error<N::Error>> {
        let why = Why::Truncate(zxid);
        let base = self.control.snapshot.map(|snapshot| snapshot.zxid);
        if base.is_some_and(|base| base > zxid) || self.control.lost {
            return Ok(None);
        }
        let mut last = None;
        let mut cut = None;
        let mut there = base == Some(zxid) || base.is_none() && zxid == Zxid::ZERO;
        let mut seq = self.control.first.saturating_sub(1);
        'log: while let Some(block) = blocks::next_log(self.blocks, seq) {
            let mut offset = self.layout.content();
            let end = self.blocks[block].end;
            while offset < end {
                let frame = layout::look(&mut self.nor, self.layout, block, offset, end);
                let Frame::Record(record) = frame.map_err(Error::Device)? else {
                    return Err(Error::Damaged(Damage {
                        block: block as u32,
                        offset,
                        what: Rot::Record,
                    }));
                };
                if let Kind::Txn(found, _) = record.kind {
                    if found > zxid {
                        cut = Some(Cut { block, offset, last, why });
                        break 'log;
                    }
                    there |= found == zxid;
                    last = Some(found);
                }
                offset = record.end;
            }
            seq = self.blocks[block].seq;
        }
        // Nothing to remove: the newest block is opened anew all the same.
        let end = self.newest.map(|block| Cut { block, offset: self.end, last, why });
        Ok(cut.or(end).filter(|_| there))
    }
}
