//! What the store does next: one program, one erase, one check of what the last one has left.

use zk_core::say;

use super::blocks::{self, Block, Use, least_erased};
use super::error::Error;
use super::layout::{self, Frame, Kind, STAMP_LEN, Snapshot, Stamp, VERSION};
use super::nor::Nor;
use super::store::{
    Ask, COMPARE, Cut, Done, End, NewLog, Pending, Poll, Program, SLICE, Source, Stage, Step,
    Store, Task, Then, Why,
};

impl<N: Nor> Store<'_, N> {
    /// Does one step. When it is `quiet`, nothing waits for the store: then it may write down that
    /// everything was acknowledged, and erase ahead.
    ///
    /// # Errors
    /// See [`Error`].
    #[inline(never)] // its frame is not needed below what a peer does
    pub fn poll(&mut self, quiet: bool) -> Step<N::Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        let step = self.step(quiet);
        self.stopped |= step.is_err();
        step
    }

    pub(super) fn step(&mut self, quiet: bool) -> Step<N::Error> {
        match self.nor.busy() {
            Ok(true) => return Ok(Poll::Working),
            Ok(false) => {}
            Err(_) if matches!(self.task, Task::Program(_) | Task::Erase(_)) => self.fault = true,
            Err(error) => return Err(Error::Device(error)),
        }
        match self.task {
            Task::Idle => self.choose(quiet),
            Task::Program(program) => self.step_program(program),
            Task::Erase(block) if core::mem::take(&mut self.fault) => self.fail(block),
            Task::Erase(block) => {
                self.task = Task::Check(block, 0);
                Ok(Poll::Working)
            }
            Task::Check(block, at) => self.step_check(block, at),
            Task::Verify(body) => self.step_verify(body),
        }
    }

    /// A block does not do what it should.
    pub(super) fn fail(&mut self, block: usize) -> Step<N::Error> {
        self.task = Task::Idle;
        self.blocks[block].worn = true;
        say!(
            warn,
            "block {} of the flash failed and goes out of use; {} are good",
            block,
            self.good()
        );
        self.check_good()?;
        Ok(Poll::Working)
    }

    pub(super) fn program(
        &mut self,
        source: Source,
        len: usize,
        block: usize,
        at: u32,
        then: Then,
    ) -> Poll {
        let program = Program { source, from: 0, len, block, at, done: 0, now: 0, then };
        self.task = Task::Program(program);
        Poll::Working
    }

    pub(super) fn step_program(&mut self, mut program: Program) -> Step<N::Error> {
        let Program { source, from, len, block, at, .. } = program;
        if core::mem::take(&mut self.fault) {
            return self.programmed(program, false);
        }
        let source = match source {
            Source::Small => &self.small[..],
            Source::Batch => &*self.batch,
            Source::Piece => &*self.piece,
        };
        let bytes = source.get(from..from + len).unwrap_or(&[]);
        let mut offset = self.layout.at(block, at + program.done as u32);
        if program.now > 0 {
            let want = &bytes[program.done..program.done + program.now];
            let mut room = [0; COMPARE];
            for (n, want) in want.chunks(COMPARE).enumerate() {
                let found = &mut room[..want.len()];
                let at = offset + (n * COMPARE) as u32;
                self.nor.read(at, found).map_err(Error::Device)?;
                if found != want {
                    return self.programmed(program, false);
                }
            }
            program.done += program.now;
            offset += program.now as u32;
            program.now = 0;
        }
        if program.done == bytes.len() {
            return self.programmed(program, true);
        }
        let page = self.layout.page - offset % self.layout.page;
        program.now = (bytes.len() - program.done).min(page as usize);
        let now = &bytes[program.done..program.done + program.now];
        self.fault = self.nor.start_program(offset, now).is_err();
        self.task = Task::Program(program);
        Ok(Poll::Working)
    }

    pub(super) fn programmed(&mut self, program: Program, verified: bool) -> Step<N::Error> {
        let Program { block, len, then, .. } = program;
        self.task = Task::Idle;
        if !verified && then != Then::Retire {
            let failed = self.fail(block)?;
            match then {
                Then::Batch | Then::Ask | Then::Commit | Then::Settled => {
                    // What is before it goes to another block, and then this comes again.
                    let last = self.blocks[block].last;
                    self.cut = Some(Cut { block, offset: self.end, last, why: Why::Failed });
                }
                // Another block takes its place, or its pieces from here on.
                Then::Part => {
                    self.blocks[block].use_ = Use::Free;
                    if let Some(writing) = &mut self.writing {
                        writing.index -= 1;
                    }
                }
                Then::Piece => {
                    if let Some(writing) = &mut self.writing {
                        writing.block = None;
                    }
                }
                // Another block is taken; what this one has may be read as an opening some day.
                Then::Opening | Then::Copy | Then::Head => {
                    let seq = self.next_seq()?;
                    let at = self.layout.content();
                    if let Some(opening) = &mut self.opening {
                        *opening =
                            NewLog { block: None, seq, at, stage: Stage::Opening, ..*opening };
                    }
                }
                Then::Stamp | Then::Retire => {}
            }
            return Ok(failed);
        }
        match then {
            Then::Stamp => self.blocks[block].use_ = Use::Erased,
            Then::Retire => self.blocks[block].use_ = Use::Retired,
            Then::Opening => {
                if let Some(opening) = &mut self.opening {
                    opening.stage = Stage::Copy;
                }
            }
            Then::Copy => {
                if let Some(opening) = &mut self.opening {
                    opening.at += len as u32;
                }
            }
            Then::Head => return Ok(self.opened(block)),
            Then::Batch => {
                self.end += len as u32;
                self.since += len as u64;
                self.settled = false;
                self.confirm = false;
                self.pending.done += len;
                self.appended()?;
                if self.pending.done >= self.pending.len {
                    self.pending = Pending::default();
                    return Ok(Poll::Done(Done::Appended(self.last)));
                }
            }
            Then::Ask | Then::Commit | Then::Settled => {
                self.end += len as u32;
                self.blocks[block].end = self.end;
                self.settled = then == Then::Settled;
                self.confirm = false;
                match then {
                    Then::Ask => return Ok(self.answered()),
                    Then::Commit => return Ok(self.committed()),
                    _ => {}
                }
            }
            Then::Part => {
                if let Some(writing) = &mut self.writing {
                    writing.block = Some(block);
                    writing.at = self.layout.start();
                }
            }
            Then::Piece => {
                if let Some(writing) = &mut self.writing {
                    writing.at += len as u32;
                    writing.len += writing.fill as u32;
                    writing.fill = 0;
                }
            }
        }
        Ok(Poll::Working)
    }

    /// Frames of the batch were programmed: up to which transaction?
    pub(super) fn appended(&mut self) -> Result<(), Error<N::Error>> {
        let Some(newest) = self.newest else { return Ok(()) };
        if self.pending.done >= self.pending.len {
            self.last = self.pending.last;
        } else {
            // Only what did not fit the block is left; the last before it is looked up.
            let mut at = self.blocks[newest].end;
            while at < self.end {
                let frame = layout::look(&mut self.nor, self.layout, newest, at, self.end);
                let Frame::Record(record) = frame.map_err(Error::Device)? else { break };
                if let Kind::Txn(zxid, _) = record.kind {
                    self.last = zxid;
                }
                at = record.end;
            }
        }
        self.blocks[newest].end = self.end;
        self.blocks[newest].last = Some(self.last);
        Ok(())
    }

    /// A record is durable.
    pub(super) fn answered(&mut self) -> Poll {
        Poll::Done(match self.ask.take() {
            Some(Ask::Epochs(epochs)) => {
                self.control.epochs = epochs;
                Done::Epochs(epochs)
            }
            Some(Ask::Reset(reason)) => {
                self.control.reason = reason;
                Done::Noted
            }
            None => return Poll::Working,
        })
    }

    /// The snapshot counts.
    pub(super) fn committed(&mut self) -> Poll {
        let Some(snapshot) = self.commit.take() else { return Poll::Working };
        self.old = self.control.snapshot;
        self.control.snapshot = Some(snapshot);
        self.control.first = self.first_needed(self.control.snapshot, u32::MAX);
        self.writing = None;
        self.since = 0;
        self.too_long = false;
        self.reclaim();
        say!(
            debug,
            "the snapshot of zxid {:#x} is durable: {} bytes; log is needed from block {} in writing on",
            snapshot.zxid.0,
            snapshot.len,
            self.control.first
        );
        Poll::Done(Done::Snapshot(snapshot))
    }

    /// The oldest block of the log that is needed beside a snapshot, of those below a sequence
    /// number: the newest at least.
    pub(super) fn first_needed(&self, snapshot: Option<Snapshot>, below: u32) -> u32 {
        let newest = self.newest.map_or(self.seq, |newest| self.blocks[newest].seq);
        blocks::first_needed(self.blocks, snapshot, below).unwrap_or_else(|| newest.min(below))
    }

    /// What nothing needs any more is free.
    pub(super) fn reclaim(&mut self) {
        let Self { pin, control, newest, old, writing, opening, .. } = self;
        if old.is_some_and(|old| pin.is_none_or(|pin| pin > old.zxid)) {
            *old = None;
        }
        let kept = [
            old.map(|old| old.id),
            control.snapshot.map(|snapshot| snapshot.id),
            writing.map(|writing| writing.id),
        ];
        let source = opening.and_then(|opening| opening.source);
        for (at, block) in self.blocks.iter_mut().enumerate() {
            let needed = match block.use_ {
                Use::Log => {
                    let read = pin.is_some_and(|pin| block.last.is_some_and(|last| last > pin));
                    *newest == Some(at)
                        || block.seq >= control.first
                        || read
                        || source.is_some_and(|(source, _)| source == at)
                }
                Use::Snapshot { id, .. } => kept.contains(&Some(id)),
                _ => true,
            };
            if !needed {
                block.use_ = Use::Free;
            }
        }
    }

    pub(super) fn step_check(&mut self, block: usize, at: u32) -> Step<N::Error> {
        let to = self.layout.block.min(at + SLICE);
        let found = layout::written(&mut self.nor, self.layout, block, at, to);
        if found.map_err(Error::Device)?.is_some() {
            return self.fail(block);
        }
        if to < self.layout.block {
            self.task = Task::Check(block, to);
            return Ok(Poll::Working);
        }
        self.blocks[block].erases = self.blocks[block].erases.saturating_add(1);
        let stamp = Stamp { version: VERSION, erases: self.blocks[block].erases }.encode();
        self.put(&stamp);
        let len = self.layout.align(STAMP_LEN) as usize;
        Ok(self.program(Source::Small, len, block, 0, Then::Stamp))
    }

    /// Puts bytes into the small buffer, and pads them.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.small.fill(0xff);
        self.small[..bytes.len()].copy_from_slice(bytes);
    }

    // What comes next.

    pub(super) fn choose(&mut self, quiet: bool) -> Step<N::Error> {
        if core::mem::take(&mut self.gave_up) {
            return Ok(Poll::Done(Done::SnapshotFailed));
        }
        let worn = |block: &Block| block.worn && matches!(block.use_, Use::Free | Use::Erased);
        if let Some(block) = self.blocks.iter().position(worn) {
            return self.retire(block);
        }
        if let Some(opening) = self.opening {
            return self.step_opening(opening);
        }
        if let Some(cut) = self.cut.take() {
            self.open_log(cut.why, Some((cut.block, cut.offset)), cut.last)?;
            return Ok(Poll::Working);
        }
        let Some(newest) = self.newest else { return Ok(Poll::Idle) };
        if self.confirm {
            return self.write_settled(newest);
        }
        if let Some(commit) = self.commit
            && let Some(poll) = self.write_commit(newest, commit)?
        {
            return Ok(poll);
        }
        self.blocked = false;
        if let Some(ask) = self.ask {
            match self.write_ask(newest, ask)? {
                Some(poll) => return Ok(poll),
                None => self.blocked = true,
            }
        }
        // When there is little room left, the snapshot that makes more comes first.
        let urgent = self.used() > 700
            && self.writing.is_some_and(|writing| !writing.install && writing.end != End::Received);
        if self.pending.done < self.pending.len && !urgent {
            match self.write_batch(newest)? {
                Some(poll) => return Ok(poll),
                None => self.blocked = true,
            }
        }
        if let Some(writing) = self.writing
            && let Some(poll) = self.write_snapshot(writing)?
        {
            return Ok(poll);
        }
        if quiet && self.pending.len == 0 {
            if !self.settled {
                return self.write_settled(newest);
            }
            // One for the log, and those of a snapshot.
            let erased = self.blocks.iter().filter(|block| block.use_ == Use::Erased).count();
            if erased <= self.snapshot_blocks() as usize
                && let Some(block) = least_erased(self.blocks, |block| block.use_ == Use::Free)
            {
                return Ok(self.erase(block));
            }
        }
        Ok(Poll::Idle)
    }

    /// Marks a block so that no later start tries it again.
    pub(super) fn retire(&mut self, block: usize) -> Step<N::Error> {
        let (at, len) = (self.layout.retired_at(), self.layout.align(4));
        let found = layout::written(&mut self.nor, self.layout, block, at, at + len);
        if found.map_err(Error::Device)?.is_some() {
            self.blocks[block].use_ = Use::Retired;
            return Ok(Poll::Working);
        }
        self.small.fill(0);
        Ok(self.program(Source::Small, len as usize, block, at, Then::Retire))
    }

    pub(super) fn erase(&mut self, block: usize) -> Poll {
        say!(trace, "block {} of the flash is erased", block);
        self.fault = self.nor.start_erase(self.layout.at(block, 0)).is_err();
        self.task = Task::Erase(block);
        Poll::Working
    }

    /// An erased block, or the step towards one; `None` when there is no free block.
    pub(super) fn allocate(&mut self) -> Option<Result<usize, Poll>> {
        let usable = |block: &Block, what| !block.worn && block.use_ == what;
        if let Some(block) = least_erased(self.blocks, |block| usable(block, Use::Erased)) {
            return Some(Ok(block));
        }
        let free = least_erased(self.blocks, |block| usable(block, Use::Free))?;
        Some(Err(self.erase(free)))
    }

    pub(super) fn next_seq(&mut self) -> Result<u32, Error<N::Error>> {
        self.seq =
            self.seq.checked_add(1).ok_or(Error::Unfit("its sequence numbers are used up"))?;
        Ok(self.seq)
    }
}
