//! Reading: the snapshot and the log, for the peer that starts and for learners.

use zk_core::crc::Crc;
use zk_core::id::Zxid;
use zk_core::peer::READ_OVERHEAD;
use zk_core::tree::snapshot::Taken;
use zk_core::wire::file::SnapshotDigest;

use super::blocks::{self, Block, Use};
use super::error::{Damage, Error, Rot};
use super::layout::{self, Frame, Kind, Layout, PREFIX, Snapshot};
use super::nor::Nor;
use super::store::Store;

/// Who takes what is loaded: the core's loader.
pub trait Load {
    /// Forgets everything: a history begins from nothing.
    fn reset(&mut self);

    /// Takes from the front of a snapshot's body; see [`Taken`].
    ///
    /// # Errors
    /// See [`Refusal`].
    fn snapshot_bytes(&mut self, bytes: &[u8]) -> Result<Taken, Refusal>;

    /// The snapshot of `zxid` is loaded and verified.
    fn snapshot_done(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>);

    /// Takes a transaction. They come in order, from the one behind the snapshot on.
    ///
    /// # Errors
    /// See [`Refusal`].
    fn txn(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Refusal>;
}

/// Why the one who loads does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes make no sense.
    Damaged,
    /// They make sense, and there is no room for them.
    Full,
}

/// What was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The last transaction; [`Zxid::ZERO`] of a new history.
    pub zxid: Zxid,
    /// The snapshot.
    pub snapshot: Option<Zxid>,
    /// Transactions behind it.
    pub txns: u32,
}

/// A walk through a snapshot's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    snapshot: Snapshot,
    index: u32,
    /// The next frame of that part; 0 for the first.
    at: u32,
    /// What is left of the current piece, and where.
    left: u32,
    payload: u32,
    read: u32,
    sum: Crc,
    /// The last place that was looked at, and the first where there was no piece but something else.
    end: (u32, u32),
    broken: Option<(u32, u32)>,
}

impl Body {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self {
            snapshot: *snapshot,
            index: 0,
            at: 0,
            left: 0,
            payload: 0,
            read: 0,
            sum: Crc::START,
            end: (0, 0),
            broken: None,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.snapshot
    }

    fn damage(&self) -> Damage {
        let (block, offset) = self.broken.unwrap_or(self.end);
        Damage { block, offset, what: Rot::Snapshot }
    }

    fn is_done(&self) -> bool {
        self.read == self.snapshot.len
    }

    /// Reads the next bytes; 0 of them behind the last one, if all of them were right.
    pub(super) fn read<N: Nor>(
        &mut self,
        nor: &mut N,
        layout: Layout,
        blocks: &[Block],
        to: &mut [u8],
    ) -> Result<Result<usize, Damage>, N::Error> {
        while self.left == 0 {
            if self.is_done() {
                let right = self.sum.value() == self.snapshot.sum;
                return Ok(if right { Ok(0) } else { Err(self.damage()) });
            }
            if self.index >= self.snapshot.blocks {
                return Ok(Err(self.damage()));
            }
            let Some(block) = blocks::part(blocks, self.snapshot.id, self.index) else {
                return Ok(Err(self.damage()));
            };
            self.at = self.at.max(layout.start());
            self.end = (block as u32, self.at);
            match layout::look(nor, layout, block, self.at, layout.block)? {
                Frame::Record(record) if record.kind == Kind::Piece => {
                    self.left = record.len;
                    self.payload = record.payload;
                    self.at = record.end;
                }
                frame => {
                    let room = self.at + PREFIX as u32 <= layout.block;
                    if frame != Frame::Blank && room && self.broken.is_none() {
                        self.broken = Some(self.end);
                    }
                    self.index += 1;
                    self.at = 0;
                }
            }
        }
        let n = (self.left as usize).min(to.len());
        let Some(block) = blocks::part(blocks, self.snapshot.id, self.index) else {
            return Ok(Err(self.damage()));
        };
        let to = &mut to[..n];
        nor.read(layout.at(block, self.payload), to)?;
        self.sum = self.sum.update(to);
        self.payload += n as u32;
        self.left -= n as u32;
        match self.read.checked_add(n as u32).filter(|read| *read <= self.snapshot.len) {
            Some(read) => self.read = read,
            None => return Ok(Err(self.damage())),
        }
        Ok(Ok(n))
    }
}

/// A walk through the log.
#[derive(Clone, Copy, Debug)]
struct Walk {
    seq: u32,
    /// The next record; 0 for the first.
    at: u32,
}

/// A transaction in the flash.
#[derive(Clone, Copy, Debug)]
struct Found {
    zxid: Zxid,
    block: usize,
    /// Where its record begins, and its bytes.
    offset: u32,
    payload: u32,
    len: usize,
    seq: u32,
}

/// Places where learners go on reading: so many are remembered, of the others the log is walked
/// through from a block's start.
const READERS: usize = 4;

/// Where learners go on reading.
#[derive(Debug, Default)]
pub(super) struct Readers {
    places: [Option<Place>; READERS],
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Log(Zxid, Walk),
    Snapshot(Body),
}

impl Readers {
    fn take<T>(&mut self, which: impl Fn(&Place) -> Option<T>) -> Option<T> {
        self.places.iter_mut().find_map(|place| {
            let found = place.as_ref().and_then(&which)?;
            *place = None;
            Some(found)
        })
    }

    fn put(&mut self, place: Place) {
        let free = self.places.iter().position(Option::is_none).unwrap_or_else(|| {
            self.turn = (self.turn + 1) % READERS;
            self.turn
        });
        self.places[free] = Some(place);
    }
}

/// Transactions that were read, in memory of the caller's.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'t> {
    bytes: &'t [u8],
}

/// Bytes before each of them: its zxid and its length.
const ENTRY: usize = 8 + 4;

impl<'t> Entries<'t> {
    /// The transactions, in order: zxid and bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Zxid, &'t [u8])> + use<'t> {
        let mut rest = self.bytes;
        core::iter::from_fn(move || {
            let (zxid, tail) = rest.split_first_chunk()?;
            let (len, tail) = tail.split_first_chunk()?;
            let (txn, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = tail;
            Some((Zxid(i64::from_le_bytes(*zxid)), txn))
        })
    }

    /// Bytes that a caller needs for a transaction of that length.
    pub const fn room(txn: usize) -> usize {
        ENTRY + txn
    }
}

impl<N: Nor> Store<'_, N> {
    /// Loads the history: the snapshot, then the log behind it.
    ///
    /// # Errors
    /// [`Error::Damaged`]: nothing that was loaded may be used. [`Error::TooMuch`].
    /// [`Error::NotReady`] while the store does something. Those of the device.
    pub fn load(&mut self, to: &mut dyn Load) -> Result<Loaded, Error<N::Error>> {
        if !self.can_read() || self.is_appending() {
            return Err(Error::NotReady);
        }
        if let Some(damage) = self.damage {
            return Err(Error::Damaged(damage));
        }
        to.reset();
        let snapshot = self.control.snapshot;
        if let Some(snapshot) = snapshot {
            self.load_snapshot(&snapshot, to)?;
        }
        let base = snapshot.map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
        let (mut last, mut txns) = (base, 0);
        let mut walk = Walk { seq: self.control.first, at: 0 };
        while let Some(found) = self.next_txn(&mut walk)? {
            if snapshot.is_some() && found.zxid <= base {
                continue;
            }
            let damage = |what| {
                Error::Damaged(Damage { block: found.block as u32, offset: found.offset, what })
            };
            let next = found.zxid == last.successor();
            let new_epoch = found.zxid.epoch() != last.epoch() && found.zxid.counter() <= 1;
            if found.zxid <= last || !(next || new_epoch) {
                return Err(damage(Rot::Gap { last, found: found.zxid }));
            }
            let at = self.layout.at(found.block, found.payload);
            let Some(room) = self.batch.get_mut(..found.len) else {
                return Err(damage(Rot::Content));
            };
            self.nor.read(at, room).map_err(Error::Device)?;
            to.txn(found.zxid, room).map_err(|refusal| match refusal {
                Refusal::Damaged => damage(Rot::Content),
                Refusal::Full => Error::TooMuch,
            })?;
            last = found.zxid;
            txns += 1;
        }
        Ok(Loaded { zxid: last, snapshot: snapshot.map(|snapshot| snapshot.zxid), txns })
    }

    /// Loads the snapshot that was received and is not installed yet.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_received(
        &mut self,
        snapshot: &Snapshot,
        to: &mut dyn Load,
    ) -> Result<(), Error<N::Error>> {
        if !self.can_read() || self.is_appending() {
            return Err(Error::NotReady);
        }
        to.reset();
        self.load_snapshot(snapshot, to)
    }

    fn load_snapshot(
        &mut self,
        snapshot: &Snapshot,
        to: &mut dyn Load,
    ) -> Result<(), Error<N::Error>> {
        let Self { nor, layout, blocks, batch, .. } = self;
        let mut body = Body::new(snapshot);
        let mut read = |body: &mut Body, room: &mut [u8]| {
            body.read(nor, *layout, blocks, room).map_err(Error::Device)?.map_err(Error::Damaged)
        };
        let (mut have, mut done) = (0, false);
        while !done {
            while have < batch.len() && !body.is_done() {
                have += read(&mut body, &mut batch[have..])?;
            }
            let content = Damage { what: Rot::Content, ..body.damage() };
            let taken = match to.snapshot_bytes(&batch[..have]) {
                Ok(taken) => taken,
                Err(Refusal::Damaged) => return Err(Error::Damaged(content)),
                Err(Refusal::Full) => {
                    // Unless it is not what was written: then nobody knows how much it was.
                    while read(&mut body, batch)? > 0 {}
                    return Err(Error::TooMuch);
                }
            };
            done = taken.done;
            let all = taken.consumed == have && body.is_done();
            if taken.consumed > have || if done { !all } else { taken.consumed == 0 } {
                return Err(Error::Damaged(content));
            }
            batch.copy_within(taken.consumed..have, 0);
            have -= taken.consumed;
        }
        // Only now is it known that all of it was right.
        read(&mut body, &mut [0])?;
        to.snapshot_done(snapshot.zxid, snapshot.digest);
        Ok(())
    }

    /// The next transaction of the log; `None` at its end.
    fn next_txn(&mut self, walk: &mut Walk) -> Result<Option<Found>, Error<N::Error>> {
        loop {
            let Some(block) = blocks::log(self.blocks, walk.seq) else { return Ok(None) };
            let at = walk.at.max(self.layout.content());
            let end = self.blocks[block].end;
            if at >= end {
                let Some(next) = blocks::next_log(self.blocks, walk.seq) else { return Ok(None) };
                *walk = Walk { seq: self.blocks[next].seq, at: 0 };
                continue;
            }
            let frame = layout::look(&mut self.nor, self.layout, block, at, end);
            let Frame::Record(record) = frame.map_err(Error::Device)? else {
                let damage = Damage { block: block as u32, offset: at, what: Rot::Record };
                return Err(Error::Damaged(damage));
            };
            walk.at = record.end;
            if let Kind::Txn(zxid, _) = record.kind {
                let (offset, payload, len) = (at, record.payload, record.len as usize);
                return Ok(Some(Found { zxid, block, offset, payload, len, seq: walk.seq }));
            }
        }
    }

    /// Reads transactions from `from` on into `to`, for a learner: `most` bytes, each transaction
    /// counted with [`READ_OVERHEAD`] more, and one at least. There are none if the log begins later.
    ///
    /// # Errors
    /// [`Error::NotReady`]; [`Error::Damaged`]; those of the device.
    pub fn read_log<'t>(
        &mut self,
        from: Zxid,
        most: usize,
        to: &'t mut [u8],
    ) -> Result<Entries<'t>, Error<N::Error>> {
        if !self.can_read() {
            return Err(Error::NotReady);
        }
        let known = self.readers.take(|place| match place {
            Place::Log(next, walk) if *next == from => Some(*walk),
            _ => None,
        });
        let begun = match known {
            Some(walk) if blocks::log(self.blocks, walk.seq).is_some() => Some(walk),
            _ => self.seek(from)?,
        };
        let Some(mut walk) = begun else { return Ok(Entries { bytes: &[] }) };
        let (mut used, mut counted) = (0, 0);
        let mut next = from;
        while let Some(found) = self.next_txn(&mut walk)? {
            counted += found.len + READ_OVERHEAD;
            let end = used + ENTRY + found.len;
            if end > to.len() && used == 0 {
                // Nothing would be an answer, too: that there is no more.
                return Err(Error::Unfit("the memory for reading has no room for a transaction"));
            }
            if used > 0 && counted > most || end > to.len() {
                walk = Walk { seq: found.seq, at: found.offset };
                break;
            }
            to[used..used + 8].copy_from_slice(&found.zxid.0.to_le_bytes());
            to[used + 8..used + ENTRY].copy_from_slice(&(found.len as u32).to_le_bytes());
            let at = self.layout.at(found.block, found.payload);
            self.nor.read(at, &mut to[used + ENTRY..end]).map_err(Error::Device)?;
            used = end;
            next = found.zxid.successor();
        }
        self.readers.put(Place::Log(next, walk));
        Ok(Entries { bytes: &to[..used] })
    }

    /// Where the log has `from`, or what follows it directly.
    fn seek(&mut self, from: Zxid) -> Result<Option<Walk>, Error<N::Error>> {
        // Blocks of the log that a pin has kept count too.
        let log = self.blocks.iter().filter(|block| block.use_ == Use::Log);
        let has = log.filter(|block| block.last.is_some_and(|last| last >= from));
        let Some(seq) = has.map(|block| block.seq).min() else { return Ok(None) };
        let mut before = blocks::log_before(self.blocks, seq).and_then(|at| self.blocks[at].last);
        let mut walk = Walk { seq, at: 0 };
        while let Some(found) = self.next_txn(&mut walk)? {
            if found.zxid < from {
                before = Some(found.zxid);
                continue;
            }
            // All that comes behind the snapshot is there.
            let base = self.control.snapshot.map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
            let there = found.zxid == from || before.is_some() || from > base;
            return Ok(there.then_some(Walk { seq: found.seq, at: found.offset }));
        }
        Ok(None)
    }

    /// Reads bytes of the body of the snapshot of `zxid` into `to`, for a learner; how many, and
    /// whether they end it. `None`: there is no such snapshot any more, or it cannot be read.
    ///
    /// # Errors
    /// [`Error::NotReady`]; those of the device.
    pub fn read_snapshot(
        &mut self,
        zxid: Zxid,
        offset: u64,
        to: &mut [u8],
    ) -> Result<Option<(usize, bool)>, Error<N::Error>> {
        if !self.can_read() {
            return Err(Error::NotReady);
        }
        let whole = [self.control.snapshot, self.old];
        let Some(snapshot) = whole.into_iter().flatten().find(|snapshot| snapshot.zxid == zxid)
        else {
            return Ok(None);
        };
        let known = self.readers.take(|place| match place {
            Place::Snapshot(body) => {
                let same = body.snapshot.id == snapshot.id && u64::from(body.read) == offset;
                same.then_some(*body)
            }
            Place::Log(..) => None,
        });
        let mut body = known.unwrap_or_else(|| Body::new(&snapshot));
        let Self { nor, layout, blocks, .. } = self;
        // Where reading was interrupted.
        while u64::from(body.read) < offset {
            let left = usize::try_from(offset - u64::from(body.read)).unwrap_or(usize::MAX);
            let most = left.min(to.len());
            let read = body.read(nor, *layout, blocks, &mut to[..most]);
            match read.map_err(Error::Device)? {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
        let mut used = 0;
        while used < to.len() && !body.is_done() {
            let read = body.read(nor, *layout, blocks, &mut to[used..]);
            match read.map_err(Error::Device)? {
                Ok(0) | Err(_) => return Ok(None),
                Ok(n) => used += n,
            }
        }
        if body.is_done() {
            // Only now is it known that all of it was right.
            let mut none = [0];
            let end = body.read(nor, *layout, blocks, &mut none).map_err(Error::Device)?;
            return Ok(end.is_ok().then_some((used, true)));
        }
        self.readers.put(Place::Snapshot(body));
        Ok(Some((used, false)))
    }
}
