//! Opening: one scan finds the newest block, what it says, and the log that leads to it.

use zk_core::id::Zxid;
use zk_core::peer::Epochs;

use super::blocks::{self, Use};
use super::error::{Damage, Error, Rot};
use super::layout::{
    self, Frame, Head, Kind, OPENING_LEN, Opening, REASON_MAX, STAMP_LEN, Snapshot, Stamp, VERSION,
    WRITE_SIZE_MAX,
};
use super::nor::Nor;
use super::store::{Memory, Options, Reason, Store};

/// What a flash has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that the store has written.
    Nothing,
    /// A history.
    History,
    /// A history that was begun because another was lost: the peer must not vote before a leader has
    /// sent it a snapshot.
    Lost,
    /// A history that lacks something that was acknowledged.
    Damaged(Damage),
}

impl<'m, N: Nor> Store<'m, N> {
    /// Looks at what is in the flash, and changes nothing. Then [`start`](Self::start) makes it ready
    /// for more.
    ///
    /// It is read twice at most, and once more when it is [loaded](Self::load).
    ///
    /// # Errors
    /// [`Error::Unfit`]; [`Error::Version`]; [`Error::Worn`]; those of the device.
    pub fn open(
        nor: N,
        memory: Memory<'m>,
        options: Options,
    ) -> Result<(Self, Found), Error<N::Error>> {
        let mut store = Self::new(nor, memory, options)?;
        let found = store.look_over()?;
        Ok((store, found))
    }

    /// What [`open`](Self::open) does, where the store is.
    pub(super) fn look_over(&mut self) -> Result<Found, Error<N::Error>> {
        if (self.blocks.len() as u32) < self.needed() {
            return Err(Error::Unfit(
                "too few blocks for two snapshots, a log, and one in advance",
            ));
        }
        let found = match self.scan() {
            Ok(found) => found,
            Err(Error::Damaged(damage)) => {
                self.damage = Some(damage);
                Found::Damaged(damage)
            }
            Err(error) => return Err(error),
        };
        self.check_good()?;
        Ok(found)
    }

    fn read_array<const LEN: usize>(
        &mut self,
        block: usize,
        offset: u32,
    ) -> Result<[u8; LEN], Error<N::Error>> {
        let mut bytes = [0; LEN];
        let at = self.layout.at(block, offset);
        self.nor.read(at, &mut bytes).map_err(Error::Device)?;
        Ok(bytes)
    }

    fn look(&mut self, block: usize, offset: u32, limit: u32) -> Result<Frame, Error<N::Error>> {
        layout::look(&mut self.nor, self.layout, block, offset, limit).map_err(Error::Device)
    }

    fn written(
        &mut self,
        block: usize,
        from: u32,
        to: u32,
    ) -> Result<Option<(u32, u32)>, Error<N::Error>> {
        layout::written(&mut self.nor, self.layout, block, from, to).map_err(Error::Device)
    }

    /// The head of a block.
    fn read_head(&mut self, block: usize) -> Result<Option<Head>, Error<N::Error>> {
        let start = self.layout.start();
        Ok(match self.look(block, start, self.layout.content())? {
            Frame::Record(record) => match record.kind {
                Kind::Head(head) => Some(head),
                _ => None,
            },
            _ => None,
        })
    }

    fn scan(&mut self) -> Result<Found, Error<N::Error>> {
        self.scan_headers()?;
        let scanned = self.scan_log();
        let scanned = match scanned {
            Ok(false) => self.scan_without_log(),
            scanned => scanned,
        };
        // Whoever has no stamp was erased as often as any, as far as anybody knows.
        let most = self.blocks.iter().map(|block| block.erases).max().unwrap_or(0);
        for block in self.blocks.iter_mut().filter(|block| block.erases == 0) {
            block.erases = most;
        }
        Ok(match scanned? {
            false => Found::Nothing,
            true if self.control.lost => Found::Lost,
            true => Found::History,
        })
    }

    /// Without a log there never was one; or it cannot be found.
    fn scan_without_log(&mut self) -> Result<bool, Error<N::Error>> {
        for block in 0..self.blocks.len() {
            let content = self.layout.content();
            if self.blocks[block].erases > 0
                && self.blocks[block].use_ != Use::Retired
                && self.written(block, content, self.layout.block)?.is_some()
            {
                // It is kept until the loss is written down: were it erased, and the power cut before that,
                // the next start would take the board for a new one.
                self.seq = self.seq.saturating_add(1);
                let kept = &mut self.blocks[block];
                (kept.use_, kept.seq, kept.end) = (Use::Log, self.seq, self.layout.block);
                return Err(damaged(block, self.layout.start(), Rot::Block));
            }
        }
        Ok(false)
    }

    /// What each block says of itself. Those without a stamp have no erases.
    fn scan_headers(&mut self) -> Result<(), Error<N::Error>> {
        for block in 0..self.blocks.len() {
            let stamp: [u8; STAMP_LEN] = self.read_array(block, 0)?;
            if let Some(stamp) = Stamp::decode(&stamp) {
                if stamp.version > VERSION {
                    let found = stamp.version;
                    return Err(Error::Version { block: block as u32, found });
                }
                self.blocks[block].erases = stamp.erases.max(1);
            }
            let retired: [u8; 4] = self.read_array(block, self.layout.retired_at())?;
            if u32::from_le_bytes(retired).count_zeros() >= 16 {
                self.blocks[block].use_ = Use::Retired;
                continue;
            }
            let opening: [u8; OPENING_LEN] = self.read_array(block, self.layout.opening_at())?;
            let opening = Opening::decode(&opening);
            let head = self.read_head(block)?;
            let state = &mut self.blocks[block];
            match (head, opening) {
                (Some(head), _) => {
                    state.use_ = Use::Log;
                    (state.seq, state.end) = (head.seq, 0);
                    // Should the newest block be damaged, the others say what is left to know.
                    self.control.epochs = later(self.control.epochs, head.epochs.into());
                    self.control.boots = self.control.boots.max(head.boots);
                }
                (None, Some(Opening::Log { seq, copied })) => {
                    state.use_ = Use::Log;
                    // No head: it ends where the head would have made it begin.
                    (state.seq, state.end) = (seq, copied.clamp(1, self.layout.block));
                }
                (None, Some(Opening::Snapshot { seq, id, index })) => {
                    state.use_ = Use::Snapshot { id, index };
                    state.seq = seq;
                }
                (None, None) => {}
            }
            self.seq = self.seq.max(self.blocks[block].seq);
        }
        Ok(())
    }

    /// Finds the newest block of the log and the log that leads to it; false if there is none.
    fn scan_log(&mut self) -> Result<bool, Error<N::Error>> {
        let Some((newest, head)) = self.find_newest()? else { return Ok(false) };
        self.control.lost = head.lost;
        self.control.snapshot = head.snapshot;
        self.control.first = head.first;
        self.newest = Some(newest);
        let tail = self.scan_newest(newest, &head)?;
        self.find_before(newest, &head)?;
        self.keep_snapshot()?;
        // In the order in which it was written.
        let mut last: Option<Zxid> = None;
        let mut at = blocks::log(self.blocks, self.control.first);
        while let Some(block) = at.filter(|block| *block != newest) {
            let end = self.blocks[block].end;
            last = self.scan_records(block, end, last)?;
            at = blocks::next_log(self.blocks, self.blocks[block].seq);
        }
        last = self.scan_records(newest, tail.kept, last)?;
        self.end = tail.end;
        let base = self.control.snapshot.map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
        self.last = last.map_or(base, |last| last.max(base));
        self.settled = tail.settled;
        // What is void has no say: it is erased before all that it says is in another place.
        self.control.epochs = tail.epochs;
        self.control.boots = head.boots;
        Ok(true)
    }

    /// The newest block whose opening has come to its end.
    fn find_newest(&mut self) -> Result<Option<(usize, Head)>, Error<N::Error>> {
        loop {
            let log = self.blocks.iter().filter(|block| block.use_ == Use::Log);
            let Some(seq) = log.map(|block| block.seq).max() else { return Ok(None) };
            let Some(block) = blocks::log(self.blocks, seq) else { return Ok(None) };
            if let Some(head) = self.read_head(block)? {
                return Ok(Some((block, head)));
            }
            // Before its head nothing but copies was written.
            let copied = self.blocks[block].end.max(self.layout.content());
            if self.written(block, copied, self.layout.block)?.is_some() {
                return Err(damaged(block, self.layout.start(), Rot::Block));
            }
            self.blocks[block].use_ = Use::Free;
        }
    }

    /// What the records of the newest block say, and where they end.
    fn scan_newest(&mut self, block: usize, head: &Head) -> Result<Tail, Error<N::Error>> {
        self.control.reason = self.read_reason(block, self.layout.start())?;
        let mut at = self.layout.content();
        let (mut settled, mut kept, mut epochs) = (true, at, Epochs::from(head.epochs));
        let limit = self.layout.block;
        while let Frame::Record(record) = self.look(block, at, limit)? {
            settled = record.kind == Kind::Settled;
            // What was copied is older than the head.
            if at >= head.copied {
                self.hear(block, at, &record.kind, &mut epochs)?;
            }
            at = record.end;
            if !settled {
                kept = at;
            }
        }
        if at < head.copied {
            return Err(damaged(block, at, Rot::Record));
        }
        // What a power cut has torn is of one batch. A bit that has changed by itself behind the end
        // is no record.
        if let Some((written, bits)) = self.written(block, at, limit)?
            && bits > 1
        {
            // Whatever a head says, no firmware's batches are so much longer than this one's.
            let window = head.window.min(4 * self.batch.len() as u32);
            let window = u64::from(window) + u64::from(at);
            if u64::from(written) >= window || self.is_acknowledged(block, at, written)? {
                return Err(damaged(block, at, Rot::Record));
            }
        }
        Ok(Tail { end: at, settled, kept, epochs })
    }

    /// Whether what is behind a broken record shows that it was acknowledged: records up to the last
    /// byte that was written, of which the first was not written together with it.
    fn is_acknowledged(
        &mut self,
        block: usize,
        broken: u32,
        written: u32,
    ) -> Result<bool, Error<N::Error>> {
        let limit = written + 1 + WRITE_SIZE_MAX as u32;
        let mut at = broken + self.layout.write;
        while at <= written {
            if let Frame::Record(record) = self.look(block, at, limit)? {
                let later = match record.kind {
                    Kind::Txn(_, first) => first,
                    Kind::Epochs(_) | Kind::Snapshot(..) | Kind::Settled | Kind::Reset => true,
                    Kind::Head(_) | Kind::Piece => false,
                };
                let mut end = record.end;
                while later && end <= written {
                    let Frame::Record(record) = self.look(block, end, limit)? else {
                        break;
                    };
                    end = record.end;
                }
                if later && end > written {
                    return Ok(true);
                }
            }
            at += self.layout.write;
        }
        Ok(false)
    }

    fn read_reason(&mut self, block: usize, at: u32) -> Result<Reason, Error<N::Error>> {
        let Frame::Record(record) = self.look(block, at, self.layout.block)? else {
            return Ok(Reason::NONE);
        };
        let mut text = [0; REASON_MAX];
        let text = &mut text[..(record.len as usize).min(REASON_MAX)];
        let at = self.layout.at(block, record.payload);
        self.nor.read(at, text).map_err(Error::Device)?;
        Ok(Reason::new(text))
    }

    fn hear(
        &mut self,
        block: usize,
        at: u32,
        kind: &Kind,
        epochs: &mut Epochs,
    ) -> Result<(), Error<N::Error>> {
        if *kind == Kind::Reset {
            self.control.reason = self.read_reason(block, at)?;
        }
        let control = &mut self.control;
        match *kind {
            Kind::Epochs(promised) => {
                let new = Epochs::from(promised);
                // What was promised is never taken back.
                if new != later(*epochs, new) {
                    return Err(damaged(block, at, Rot::Content));
                }
                *epochs = new;
                control.epochs = later(control.epochs, new);
            }
            Kind::Snapshot(snapshot, first) => {
                control.snapshot = Some(snapshot);
                control.first = first;
            }
            Kind::Txn(..) | Kind::Settled | Kind::Reset => {}
            // Neither belongs there.
            Kind::Head(_) | Kind::Piece => return Err(damaged(block, at, Rot::Record)),
        }
        Ok(())
    }

    /// The blocks of the log from the oldest that is needed up to the newest; all others are free.
    fn find_before(&mut self, newest: usize, head: &Head) -> Result<(), Error<N::Error>> {
        let first = self.control.first;
        let (mut at, mut head) = (newest, *head);
        // Each one is older than the one before, so this comes to an end.
        while head.seq > first {
            let start = self.layout.start();
            let before = blocks::log(self.blocks, head.before);
            let Some(before) = before.filter(|_| head.before < head.seq && head.before >= first)
            else {
                return Err(damaged(at, start, Rot::Block));
            };
            let Some(older) = self.read_head(before)? else {
                return Err(damaged(before, start, Rot::Block));
            };
            let whole = self.layout.content()..=self.layout.block;
            if older.seq != head.before || !whole.contains(&head.before_end) {
                return Err(damaged(at, start, Rot::Block));
            }
            // What the chain passes over is void.
            for block in self.blocks.iter_mut() {
                let void = block.seq > older.seq && block.seq < head.seq;
                if block.use_ == Use::Log && void {
                    block.use_ = Use::Free;
                }
            }
            self.blocks[before].end = head.before_end;
            (at, head) = (before, older);
        }
        if head.seq != first {
            return Err(damaged(at, self.layout.start(), Rot::Block));
        }
        for block in self.blocks.iter_mut() {
            if block.use_ == Use::Log && block.seq < first {
                block.use_ = Use::Free;
            }
        }
        Ok(())
    }

    /// The blocks of the snapshot; those of all others are free.
    fn keep_snapshot(&mut self) -> Result<(), Error<N::Error>> {
        let snapshot = self.control.snapshot;
        let mut found = 0;
        for block in self.blocks.iter_mut() {
            if let Use::Snapshot { id, index } = block.use_ {
                let named = |snapshot: Snapshot| id == snapshot.id && index < snapshot.blocks;
                if snapshot.is_some_and(named) {
                    found += 1;
                } else {
                    block.use_ = Use::Free;
                }
            }
        }
        let newest = self.newest.unwrap_or(0);
        if snapshot.is_some_and(|snapshot| snapshot.blocks != found) {
            return Err(damaged(newest, self.layout.start(), Rot::Snapshot));
        }
        Ok(())
    }

    /// Goes through the records of a block; the last transaction so far.
    fn scan_records(
        &mut self,
        block: usize,
        end: u32,
        mut last: Option<Zxid>,
    ) -> Result<Option<Zxid>, Error<N::Error>> {
        let mut at = self.layout.content();
        while at < end {
            let Frame::Record(record) = self.look(block, at, end)? else {
                return Err(damaged(block, at, Rot::Record));
            };
            match record.kind {
                Kind::Txn(zxid, _) if last.is_none_or(|last| zxid > last) => last = Some(zxid),
                Kind::Txn(..) | Kind::Head(_) | Kind::Piece => {
                    return Err(damaged(block, at, Rot::Record));
                }
                _ => {}
            }
            at = record.end;
        }
        self.blocks[block].end = end;
        self.blocks[block].last = last;
        Ok(last)
    }
}

/// Where the newest block ends.
struct Tail {
    end: u32,
    settled: bool,
    /// Behind that it says only that it is settled, as the block of the next start does. Were that copied, one
    /// start after the other would fill the block, up to where a snapshot could not be made to count.
    kept: u32,
    epochs: Epochs,
}

/// The later one of both epochs, each for itself.
fn later(one: Epochs, other: Epochs) -> Epochs {
    Epochs { accepted: one.accepted.max(other.accepted), current: one.current.max(other.current) }
}

fn damaged<E>(block: usize, offset: u32, what: Rot) -> Error<E> {
    Error::Damaged(Damage { block: block as u32, offset, what })
}
