//! The store: what it is, and what is wanted of it.
//!
//! Everything that is wanted is kept as state: a batch, one record, a snapshot that is written, a cut.
//! [`Store::poll`] does one step of the most urgent.

use zk_core::crc::Crc;
use zk_core::id::Zxid;
use zk_core::peer::Epochs;
use zk_core::tree::snapshot::IMAGE_MORE;
use zk_core::wire::file::SnapshotDigest;

use super::blocks::{Block, Use};
use super::error::{Damage, Error, Unfit};
use super::layout::{
    self, Kind, Layout, PIECE_OVERHEAD, Payload, REASON_MAX, Snapshot, TXN_OVERHEAD,
};
use super::nor::Nor;
use super::read::{Body, Readers};

/// Bytes at the end of a block that transactions leave to other records, so that there is always
/// room for the record that lets blocks be reclaimed.
pub(super) const RESERVE: u32 = 256;
/// Of these, the bytes that other records leave to that one.
pub(super) const RESERVE_SNAPSHOT: u32 = 128;
/// And those that they leave to it and to the mark that all was acknowledged.
pub(super) const RESERVE_SETTLED: u32 = RESERVE_SNAPSHOT + layout::WRITE_SIZE_MAX as u32;

/// Bytes of a block that are checked in one step.
pub(super) const SLICE: u32 = 4096;

/// Bytes that are compared at once.
pub(super) const COMPARE: usize = 64;

/// What can be set. Part of it decides where things are found: it must not change while the flash
/// has a history.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The first erase block of the store; there are as many as [`Memory::blocks`].
    pub first_block: u32,
    /// The longest transaction, bytes: `max_txn` of the peer.
    pub txn_max: usize,
    /// The longest snapshot, bytes. Two of them are kept room for.
    pub snapshot_max: u32,
}

/// Memory that the store is lent.
#[derive(Debug)]
pub struct Memory<'m> {
    /// One for each erase block.
    pub blocks: &'m mut [Block],
    /// Room for a batch, [`batch_len`] bytes at least.
    pub batch: &'m mut [u8],
    /// Room for a piece of a snapshot: 128 bytes at least, best a page of the device.
    pub piece: &'m mut [u8],
}

/// Bytes that a batch of up to `batch_max` bytes of transactions, or one of `txn_max`, takes on a
/// device with that write size; and a node's record in a snapshot, which is read there.
pub const fn batch_len(batch_max: usize, txn_max: usize, write_size: usize) -> usize {
    // No transaction has less than its header.
    const LEAST: usize = 32;
    let each = TXN_OVERHEAD + write_size - 1;
    // One of the longest, or many of the shortest.
    let (one, many) = (txn_max + each, batch_max + (batch_max / LEAST + 1) * each);
    let most = if one > many { one } else { many };
    let image = txn_max + IMAGE_MORE;
    if image > most { image } else { most }
}

/// What was done, and is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The store was [started](Store::start): so often it has been now.
    Started(u32),
    /// The batch, up to that transaction.
    Appended(Zxid),
    /// The epochs.
    Epochs(Epochs),
    /// The snapshot is whole, and what came before it is reclaimed.
    Snapshot(Snapshot),
    /// The snapshot that is to be installed is whole, beside the history.
    Received(Snapshot),
    /// The snapshot that was being written was given up.
    SnapshotFailed,
    /// The history ends with that transaction; load it anew.
    Truncated(Zxid),
    /// The received snapshot is the history.
    Installed(Zxid),
    /// Why the board was reset.
    Noted,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// There is nothing to do.
    Idle,
    /// The device works, or the next step can be done at once.
    Working,
    /// Something was done.
    Done(Done),
}

/// A text of bounded length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reason {
    pub(super) bytes: [u8; REASON_MAX],
    pub(super) len: usize,
}

impl Reason {
    pub(super) const NONE: Self = Self { bytes: [0; REASON_MAX], len: 0 };

    pub(super) fn new(text: &[u8]) -> Self {
        let mut reason = Self::NONE;
        reason.len = text.len().min(REASON_MAX);
        let Self { bytes, len } = &mut reason;
        bytes[..*len].copy_from_slice(&text[..*len]);
        reason
    }

    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// What is durable besides transactions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    pub(super) boots: u32,
    pub(super) epochs: Epochs,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) lost: bool,
    /// The oldest block of the log that is needed.
    pub(super) first: u32,
    pub(super) reason: Reason,
}

/// Frames of transactions that are on their way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    pub(super) len: usize,
    pub(super) done: usize,
    pub(super) last: Zxid,
}

/// A record that is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    Epochs(Epochs),
    Reset(Reason),
}

/// Where the log is to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) block: usize,
    pub(super) offset: u32,
    /// The last transaction before that.
    pub(super) last: Option<Zxid>,
    pub(super) why: Why,
}

/// Why a block of the log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The newest one is full.
    Full,
    /// Its end cannot be programmed.
    Failed,
    /// The board has started: nobody knows what a power cut has left behind its end.
    Start,
    /// What comes behind that transaction is void.
    Truncate(Zxid),
    /// The snapshot takes the place of the history.
    Install(Snapshot),
    /// There is no history, or it is lost.
    Begin { lost: bool },
}

/// A block of the log that is being opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewLog {
    pub(super) why: Why,
    pub(super) block: Option<usize>,
    pub(super) seq: u32,
    /// What is copied from another block, up to there.
    pub(super) source: Option<(usize, u32)>,
    pub(super) last: Option<Zxid>,
    /// Up to where it was.
    pub(super) at: u32,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Opening,
    Copy,
    Head,
}

/// A snapshot that is being written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    pub(super) install: bool,
    pub(super) zxid: Zxid,
    /// The sequence number of its first block; 0 before there is one.
    pub(super) id: u32,
    /// Parts that were begun.
    pub(super) index: u32,
    pub(super) block: Option<usize>,
    /// Where the next piece goes.
    pub(super) at: u32,
    /// Bytes of the body in the piece's buffer.
    pub(super) fill: usize,
    /// Bytes of the body that are in the flash, and the sum of all that came.
    pub(super) len: u32,
    pub(super) sum: Crc,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// More comes.
    Open,
    /// That was all.
    Asked(Option<SnapshotDigest>),
    /// It was verified, beside the history.
    Received,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Small,
    Batch,
    Piece,
}

/// A program of several pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    pub(super) source: Source,
    pub(super) from: usize,
    pub(super) len: usize,
    pub(super) block: usize,
    pub(super) at: u32,
    /// Bytes that are programmed and verified, and those that are being programmed.
    pub(super) done: usize,
    pub(super) now: usize,
    pub(super) then: Then,
}

/// What a program was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Stamp,
    Opening,
    Copy,
    Head,
    Batch,
    Ask,
    Commit,
    Settled,
    Part,
    Piece,
    Retire,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    Idle,
    Program(Program),
    Erase(usize),
    Check(usize, u32),
    Verify(Body),
}

/// The history of a peer in a NOR flash; see the [module](super).
#[derive(Debug)]
pub struct Store<'m, N: Nor> {
    pub(super) nor: N,
    pub(super) layout: Layout,
    pub(super) options: Options,
    pub(super) blocks: &'m mut [Block],
    pub(super) batch: &'m mut [u8],
    pub(super) piece: &'m mut [u8],
    pub(super) small: [u8; 256],
    pub(super) control: Control,
    pub(super) damage: Option<Damage>,
    /// The greatest sequence number so far.
    pub(super) seq: u32,
    /// The block that the log goes on in, and where.
    pub(super) newest: Option<usize>,
    pub(super) end: u32,
    /// The last transaction, of the log or the snapshot.
    pub(super) last: Zxid,
    /// All that is in the log is known to have been acknowledged, by a record behind it.
    pub(super) settled: bool,
    /// A record is to follow the head of the newest block before anything is erased.
    pub(super) confirm: bool,
    /// The log is to end there.
    pub(super) cut: Option<Cut>,
    pub(super) pending: Pending,
    pub(super) blocked: bool,
    pub(super) ask: Option<Ask>,
    /// A snapshot that was verified: the record that makes it count is to be written.
    pub(super) commit: Option<Snapshot>,
    pub(super) writing: Option<Writing>,
    pub(super) gave_up: bool,
    /// The last snapshot was longer than it may be.
    pub(super) too_long: bool,
    /// A snapshot before the current one that a learner reads.
    pub(super) old: Option<Snapshot>,
    pub(super) pin: Option<Zxid>,
    pub(super) opening: Option<NewLog>,
    /// Bytes of transactions since the last snapshot.
    pub(super) since: u64,
    pub(super) task: Task,
    /// The device has failed at what it was doing.
    pub(super) fault: bool,
    pub(super) started: bool,
    pub(super) stopped: bool,
    pub(super) readers: Readers,
}

pub(super) type Step<E> = Result<Poll, Error<E>>;

impl<'m, N: Nor> Store<'m, N> {
    /// A store of which nothing is known yet.
    pub(super) fn new(nor: N, memory: Memory<'m>, options: Options) -> Result<Self, Unfit> {
        let Memory { blocks, batch, piece } = memory;
        let layout = Layout::of(&nor, options.first_block, blocks.len())
            .ok_or(Unfit("the device's sizes, or where the store is in it"))?;
        if batch.len() < batch_len(1, options.txn_max, layout.write as usize) {
            return Err(Unfit("the batch's memory has no room for one transaction"));
        }
        let len = piece.len().min(usize::from(u16::MAX)) / layout.write as usize;
        let piece = &mut piece[..len * layout.write as usize];
        if piece.len() < 128 || layout.start() as usize + piece.len() > layout.block as usize {
            return Err(Unfit("the piece's memory"));
        }
        let room = layout.block.saturating_sub(layout.content() + RESERVE);
        if batch.len() > room as usize {
            return Err(Unfit("a batch can be longer than a block"));
        }
        blocks.fill(Block::default());
        Ok(Self {
            nor,
            layout,
            options,
            blocks,
            batch,
            piece,
            small: [0; 256],
            control: Control {
                boots: 0,
                epochs: Epochs::default(),
                snapshot: None,
                lost: false,
                first: 0,
                reason: Reason::NONE,
            },
            damage: None,
            seq: 0,
            newest: None,
            end: 0,
            last: Zxid::ZERO,
            settled: true,
            confirm: false,
            cut: None,
            pending: Pending::default(),
            blocked: false,
            ask: None,
            commit: None,
            writing: None,
            gave_up: false,
            too_long: false,
            old: None,
            pin: None,
            opening: None,
            since: 0,
            task: Task::Idle,
            fault: false,
            started: false,
            stopped: false,
            readers: Readers::default(),
        })
    }

    // What it is.

    /// The device.
    pub fn nor(&self) -> &N {
        &self.nor
    }

    /// The device; whoever changes what is in it must open the store anew.
    pub fn nor_mut(&mut self) -> &mut N {
        &mut self.nor
    }

    /// Gives the device back.
    pub fn into_nor(self) -> N {
        self.nor
    }

    /// The epochs that are durable.
    pub fn epochs(&self) -> Epochs {
        self.control.epochs
    }

    /// How often the store was started.
    pub fn boots(&self) -> u32 {
        self.control.boots
    }

    /// Why the board was reset, if [`note`](Self::note) has said so.
    pub fn reason(&self) -> &[u8] {
        self.control.reason.get()
    }

    /// The last transaction that is durable, or the snapshot's.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// The newest whole snapshot.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.control.snapshot
    }

    /// Whether the next order can be given. While a batch waits, it must be no other batch.
    pub fn is_ready(&self) -> bool {
        let writes = self.writing.is_some_and(|writing| {
            writing.fill == self.piece_len() || matches!(writing.end, End::Asked(_))
        });
        matches!(self.task, Task::Idle)
            && self.started
            && !self.stopped
            && self.opening.is_none()
            && self.cut.is_none()
            && self.commit.is_none()
            && (self.blocked || self.ask.is_none())
            && !self.confirm
            && !self.gave_up
            && !writes
    }

    /// Whether the history is not to be trusted before a snapshot has taken its place.
    pub fn is_lost(&self) -> bool {
        self.control.lost
    }

    /// Whether the device does nothing.
    pub(super) fn can_read(&self) -> bool {
        matches!(self.task, Task::Idle) && self.opening.is_none()
    }

    /// Whether a batch waits.
    pub fn is_appending(&self) -> bool {
        self.pending.len > 0
    }

    /// Blocks that a snapshot may have.
    pub(super) fn snapshot_blocks(&self) -> u32 {
        let frames = (self.layout.block - self.layout.start()) / self.piece.len() as u32;
        self.options.snapshot_max.div_ceil(frames * self.piece_len() as u32).max(1)
    }

    /// Bytes of a body that a piece has.
    pub(super) fn piece_len(&self) -> usize {
        self.piece.len() - PIECE_OVERHEAD
    }

    /// Blocks that there must be: two snapshots, a log, and one in advance.
    pub(super) fn needed(&self) -> u32 {
        2 * self.snapshot_blocks() + 2
    }

    /// Blocks that do what they should.
    pub(crate) fn good(&self) -> u32 {
        self.blocks.iter().filter(|block| block.use_ != Use::Retired && !block.worn).count() as u32
    }

    /// Blocks that the log may have.
    pub(super) fn log_max(&self) -> u32 {
        self.good().saturating_sub(2 * self.snapshot_blocks() + 1)
    }

    /// Fewer good blocks than there must be are an error.
    pub(super) fn check_good(&self) -> Result<(), Error<N::Error>> {
        let (good, needed) = (self.good(), self.needed());
        if good < needed { Err(Error::Worn { good, needed }) } else { Ok(()) }
    }

    pub(super) fn log_blocks(&self, from: u32) -> u32 {
        let log = self.blocks.iter().filter(|block| block.use_ == Use::Log);
        log.filter(|block| block.seq >= from).count() as u32
    }

    /// Thousandths of the log's room that are used.
    pub(super) fn used(&self) -> u64 {
        let block = u64::from(self.layout.block - self.layout.content() - RESERVE);
        let end = u64::from(self.end.saturating_sub(self.layout.content())).min(block);
        let blocks = u64::from(self.log_blocks(self.control.first));
        let room = block * u64::from(self.log_max());
        (blocks.saturating_sub(1) * block + end) * 1000 / room.max(1)
    }

    /// Whether only what frees room should be logged: the log has nearly no room, and nothing of it
    /// can be reclaimed before there is a snapshot; or the last snapshot was longer than it may be.
    pub fn is_full(&self) -> bool {
        self.blocked || self.too_long || self.used() > 875
    }

    /// Whether a [full](Self::is_full) log will have room without anybody's help: a snapshot is on its
    /// way, or has all of it, so that the next block takes the place of this one. What is to be logged
    /// waits for that.
    pub fn makes_room(&self) -> bool {
        let covered = self.control.snapshot.is_some_and(|snapshot| snapshot.zxid >= self.last);
        let coming = self.writing.is_some_and(|writing| !writing.install) || self.wants_snapshot();
        !self.too_long && (coming || covered && !self.blocked)
    }

    /// Whether a snapshot should be taken now: the log has used half of its room, or waits for more.
    pub fn wants_snapshot(&self) -> bool {
        let block = self.layout.block - self.layout.content() - RESERVE;
        let grown = self.since > u64::from(block / 2) || self.used() > 875;
        self.writing.is_none()
            && !self.control.lost
            && self.control.snapshot.is_none_or(|snapshot| self.last > snapshot.zxid)
            && (self.blocked || grown && self.used() > 500)
    }

    // What is wanted of it.

    /// Makes ready for new records, for which [`Done::Started`] is the answer: the log goes on in
    /// another block, and the start is counted. Where there is no history, or one that is damaged, an
    /// empty one begins: it is `lost` if the board may have had another.
    ///
    /// # Errors
    /// [`Error::NotReady`] when it was started.
    pub fn start(&mut self, lost: bool) -> Result<(), Error<N::Error>> {
        if self.started || self.opening.is_some() {
            return Err(Error::NotReady);
        }
        match self.newest.filter(|_| self.damage.is_none()) {
            None => self.open_log(Why::Begin { lost }, None, None),
            Some(newest) => {
                let Block { end, last, .. } = self.blocks[newest];
                self.open_log(Why::Start, Some((newest, end)), last)
            }
        }
    }

    /// Appends transactions. [`Done::Appended`] says that all of them are durable.
    ///
    /// # Errors
    /// [`Error::Transaction`], [`Error::NotReady`]: nothing was taken.
    #[inline(never)] // as above
    pub fn append<'t>(
        &mut self,
        txns: impl Iterator<Item = (Zxid, &'t [u8])>,
    ) -> Result<(), Error<N::Error>> {
        if !self.is_ready() || self.pending.len > 0 {
            return Err(Error::NotReady);
        }
        let (mut len, mut last) = (0, self.last);
        for (zxid, txn) in txns {
            let to = self.batch.get_mut(len..).unwrap_or(&mut []);
            let fits = zxid > last && txn.len() <= self.options.txn_max;
            let kind = Kind::Txn(zxid, len == 0);
            let frame = layout::encode(self.layout, &kind, Payload::Copy(txn), to);
            let Some(frame) = frame.filter(|_| fits) else {
                return Err(Error::Transaction { zxid, last, len: txn.len() });
            };
            len += frame;
            last = zxid;
        }
        self.pending = Pending { len, done: 0, last };
        Ok(())
    }

    /// Makes the epochs durable: [`Done::Epochs`].
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn set_epochs(&mut self, epochs: Epochs) -> Result<(), Error<N::Error>> {
        self.ask(Ask::Epochs(epochs))
    }

    /// Writes down why the board is reset: [`Done::Noted`]. It stays until another is noted. Of the
    /// text the first [`REASON_MAX`] bytes count. It may have to wait for room: if epochs take its place
    /// then, it comes with the next block, and nobody is told.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn note(&mut self, reason: &[u8]) -> Result<(), Error<N::Error>> {
        self.ask(Ask::Reset(Reason::new(reason)))
    }

    pub(super) fn ask(&mut self, ask: Ask) -> Result<(), Error<N::Error>> {
        if !self.is_ready() {
            return Err(Error::NotReady);
        }
        match (self.ask, ask) {
            (None, _) => {}
            (Some(Ask::Reset(reason)), Ask::Epochs(_)) => self.control.reason = reason,
            _ => return Err(Error::NotReady),
        }
        self.ask = Some(ask);
        Ok(())
    }

    /// Begins a snapshot of `zxid`. If it is to be installed, it will take the place of the whole
    /// history. One that was begun and has no end is dropped.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn begin_snapshot(&mut self, zxid: Zxid, install: bool) -> Result<(), Error<N::Error>> {
        if !self.is_ready() {
            return Err(Error::NotReady);
        }
        self.drop_snapshot();
        self.writing = Some(Writing {
            install,
            zxid,
            id: 0,
            index: 0,
            block: None,
            at: 0,
            fill: 0,
            len: 0,
            sum: Crc::START,
            end: End::Open,
        });
        Ok(())
    }

    /// Takes bytes of its body; how many. None if there is no snapshot: they are gone then.
    pub fn snapshot_bytes(&mut self, bytes: &[u8]) -> usize {
        let room = self.piece_len();
        let Some(writing) = &mut self.writing else { return bytes.len() };
        let n = bytes.len().min(room - writing.fill);
        let at = PIECE_OVERHEAD + writing.fill;
        self.piece[at..at + n].copy_from_slice(&bytes[..n]);
        writing.sum = writing.sum.update(&bytes[..n]);
        writing.fill += n;
        n
    }

    /// That was all of its body: [`Done::Snapshot`], [`Done::Received`] or
    /// [`Done::SnapshotFailed`].
    pub fn end_snapshot(&mut self, digest: Option<SnapshotDigest>) {
        match &mut self.writing {
            Some(writing) => writing.end = End::Asked(digest),
            None => self.gave_up = true,
        }
    }

    /// Drops the snapshot that was begun, or received.
    pub fn drop_snapshot(&mut self) {
        if self.commit.is_some() {
            // The record that makes it count may be there.
            return;
        }
        self.writing = None;
        if matches!(self.task, Task::Verify(_)) {
            self.task = Task::Idle;
        }
        self.reclaim();
    }

    /// Lets the snapshot that was received take the place of the history: [`Done::Installed`].
    ///
    /// # Errors
    /// [`Error::NotReady`] when there is none.
    pub fn install(&mut self) -> Result<(), Error<N::Error>> {
        let received = self.writing.filter(|writing| writing.end == End::Received);
        let Some(writing) = received.filter(|_| self.is_ready() && self.pending.len == 0) else {
            return Err(Error::NotReady);
        };
        self.open_log(Why::Install(writing.snapshot(None)), None, None)
    }

    /// Removes what comes behind `zxid`: [`Done::Truncated`]. `false`: it cannot be, for the history
    /// does not have that transaction, or only the snapshot does.
    ///
    /// # Errors
    /// [`Error::NotReady`]; those of the device.
    #[inline(never)] // its frame is not needed below what a peer does
    pub fn truncate(&mut self, zxid: Zxid) -> Result<bool, Error<N::Error>> {
        if !self.is_ready() || self.pending.len > 0 {
            return Err(Error::NotReady);
        }
        self.drop_snapshot();
        let Some(cut) = self.find_cut(zxid)? else { return Ok(false) };
        self.cut = Some(cut);
        Ok(true)
    }

    /// What is behind that zxid is read for learners: neither the log nor the snapshot is reclaimed.
    pub fn pin(&mut self, zxid: Option<Zxid>) {
        if self.pin != zxid {
            self.pin = zxid;
            self.reclaim();
        }
    }
}
