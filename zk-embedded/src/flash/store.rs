//! The store: what is wanted of it, and what it does next.
//!
//! Everything that is wanted is kept as state: a batch, one record, a snapshot that is written, a cut.
//! [`Store::poll`] does one step of the most urgent: it starts one program or one erase, or checks
//! what the last one has left.

use zk_core::id::Zxid;
use zk_core::peer::Epochs;
use zk_core::wire::file::SnapshotDigest;

use super::blocks::{self, Block, Use, least_erased};
use super::error::{Damage, Error, Rot};
use super::layout::{
    self, Frame, HEAD_LEN, Head, Kind, Layout, Opening, PIECE_OVERHEAD, Payload, REASON_MAX,
    STAMP_LEN, Snapshot, Stamp, Sum, TXN_OVERHEAD, VERSION,
};
use super::nor::Nor;
use super::read::{Body, Readers};

/// Bytes at the end of a block that transactions leave to other records, so that there is always
/// room for the record that lets blocks be reclaimed.
pub(super) const RESERVE: u32 = 256;
/// Of these, the bytes that other records leave to that one.
const RESERVE_SNAPSHOT: u32 = 128;
/// And those that they leave to it and to the mark that all was acknowledged.
const RESERVE_SETTLED: u32 = RESERVE_SNAPSHOT + layout::WRITE_SIZE_MAX as u32;

/// Bytes of a block that are checked in one step.
const SLICE: u32 = 4096;

/// Bytes that are compared at once.
const COMPARE: usize = 64;

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
/// device with that write size.
pub const fn batch_len(batch_max: usize, txn_max: usize, write_size: usize) -> usize {
    // No transaction has less than its header.
    const LEAST: usize = 32;
    let most = if batch_max > txn_max { batch_max } else { txn_max };
    most + (most / LEAST + 1) * (TXN_OVERHEAD + write_size - 1)
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
    bytes: [u8; REASON_MAX],
    len: usize,
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

    fn get(&self) -> &[u8] {
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
struct Pending {
    len: usize,
    done: usize,
    last: Zxid,
}

/// A record that is to be written.
#[derive(Clone, Copy, Debug)]
enum Ask {
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
struct NewLog {
    why: Why,
    block: Option<usize>,
    seq: u32,
    /// What is copied from another block, up to there.
    source: Option<(usize, u32)>,
    last: Option<Zxid>,
    /// Up to where it was.
    at: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Copy,
    Head,
}

/// A snapshot that is being written.
#[derive(Clone, Copy, Debug)]
struct Writing {
    install: bool,
    zxid: Zxid,
    /// The sequence number of its first block; 0 before there is one.
    id: u32,
    /// Parts that were begun.
    index: u32,
    block: Option<usize>,
    /// Where the next piece goes.
    at: u32,
    /// Bytes of the body in the piece's buffer.
    fill: usize,
    /// Bytes of the body that are in the flash, and the sum of all that came.
    len: u32,
    sum: Sum,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More comes.
    Open,
    /// That was all.
    Asked(Option<SnapshotDigest>),
    /// It was verified, beside the history.
    Received,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Small,
    Batch,
    Piece,
}

/// A program of several pages.
#[derive(Clone, Copy, Debug)]
struct Program {
    source: Source,
    from: usize,
    len: usize,
    block: usize,
    at: u32,
    /// Bytes that are programmed and verified, and those that are being programmed.
    done: usize,
    now: usize,
    then: Then,
}

/// What a program was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
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
enum Task {
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
    piece: &'m mut [u8],
    small: [u8; 256],
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
    confirm: bool,
    /// The log is to end there.
    pub(super) cut: Option<Cut>,
    pending: Pending,
    blocked: bool,
    ask: Option<Ask>,
    /// A snapshot that was verified: the record that makes it count is to be written.
    commit: Option<Snapshot>,
    writing: Option<Writing>,
    gave_up: bool,
    /// The last snapshot was longer than it may be.
    too_long: bool,
    /// A snapshot before the current one that a learner reads.
    pub(super) old: Option<Snapshot>,
    pin: Option<Zxid>,
    opening: Option<NewLog>,
    /// Bytes of transactions since the last snapshot.
    since: u64,
    task: Task,
    /// The device has failed at what it was doing.
    fault: bool,
    started: bool,
    stopped: bool,
    pub(super) readers: Readers,
}

type Step<E> = Result<Poll, Error<E>>;

impl<'m, N: Nor> Store<'m, N> {
    /// A store of which nothing is known yet.
    pub(super) fn new(
        nor: N,
        memory: Memory<'m>,
        options: Options,
    ) -> Result<Self, Error<N::Error>> {
        let Memory { blocks, batch, piece } = memory;
        let layout = Layout::of(&nor, options.first_block, blocks.len())
            .ok_or(Error::Unfit("the device's sizes, or where the store is in it"))?;
        if batch.len() < batch_len(1, options.txn_max, layout.write as usize) {
            return Err(Error::Unfit("the batch's memory has no room for one transaction"));
        }
        let len = piece.len().min(usize::from(u16::MAX)) / layout.write as usize;
        let piece = &mut piece[..len * layout.write as usize];
        if piece.len() < 128 || layout.start() as usize + piece.len() > layout.block as usize {
            return Err(Error::Unfit("the piece's memory"));
        }
        let room = layout.block.saturating_sub(layout.content() + RESERVE);
        if batch.len() > room as usize {
            return Err(Error::Unfit("a batch can be longer than a block"));
        }
        blocks.fill(Block::default());
        let store = Self {
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
        };
        if (store.blocks.len() as u32) < store.needed() {
            return Err(Error::Unfit(
                "too few blocks for two snapshots, a log, and one in advance",
            ));
        }
        Ok(store)
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
    fn snapshot_blocks(&self) -> u32 {
        let frames = (self.layout.block - self.layout.start()) / self.piece.len() as u32;
        self.options.snapshot_max.div_ceil(frames * self.piece_len() as u32).max(1)
    }

    /// Bytes of a body that a piece has.
    fn piece_len(&self) -> usize {
        self.piece.len() - PIECE_OVERHEAD
    }

    /// Blocks that there must be: two snapshots, a log, and one in advance.
    fn needed(&self) -> u32 {
        2 * self.snapshot_blocks() + 2
    }

    /// Blocks that do what they should.
    fn good(&self) -> u32 {
        self.blocks.iter().filter(|block| block.use_ != Use::Retired && !block.worn).count() as u32
    }

    /// Blocks that the log may have.
    fn log_max(&self) -> u32 {
        self.good().saturating_sub(2 * self.snapshot_blocks() + 1)
    }

    /// Fewer good blocks than there must be are an error.
    pub(super) fn check_good(&self) -> Result<(), Error<N::Error>> {
        let (good, needed) = (self.good(), self.needed());
        if good < needed { Err(Error::Worn { good, needed }) } else { Ok(()) }
    }

    fn log_blocks(&self, from: u32) -> u32 {
        let log = self.blocks.iter().filter(|block| block.use_ == Use::Log);
        log.filter(|block| block.seq >= from).count() as u32
    }

    /// Thousandths of the log's room that are used.
    fn used(&self) -> u64 {
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

    /// Whether a snapshot should be taken now: the log has used half of its room, or waits for more.
    pub fn wants_snapshot(&self) -> bool {
        let block = self.layout.block - self.layout.content() - RESERVE;
        let grown = self.since > u64::from(block / 2) || self.used() > 875;
        self.writing.is_none()
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
                let last = self.blocks[newest].last;
                self.open_log(Why::Start, Some((newest, self.end)), last)
            }
        }
    }

    /// Appends transactions. [`Done::Appended`] says that all of them are durable.
    ///
    /// # Errors
    /// [`Error::Transaction`], [`Error::NotReady`]: nothing was taken.
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
            let frame = layout::encode(self.layout, &Kind::Txn(zxid), Payload::Copy(txn), to);
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
    /// text the first [`REASON_MAX`] bytes count.
    ///
    /// # Errors
    /// [`Error::NotReady`].
    pub fn note(&mut self, reason: &[u8]) -> Result<(), Error<N::Error>> {
        self.ask(Ask::Reset(Reason::new(reason)))
    }

    fn ask(&mut self, ask: Ask) -> Result<(), Error<N::Error>> {
        if !self.is_ready() || self.ask.is_some() {
            return Err(Error::NotReady);
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
            sum: Sum::EMPTY,
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
        writing.sum = writing.sum.add(&bytes[..n]);
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

    // Steps.

    /// Does one step. When it is `quiet`, nothing waits for the store: then it may write down that
    /// everything was acknowledged, and erase ahead.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn poll(&mut self, quiet: bool) -> Step<N::Error> {
        if self.stopped {
            return Err(Error::Stopped);
        }
        let step = self.step(quiet);
        self.stopped |= step.is_err();
        step
    }

    fn step(&mut self, quiet: bool) -> Step<N::Error> {
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
    fn fail(&mut self, block: usize) -> Step<N::Error> {
        self.task = Task::Idle;
        self.blocks[block].worn = true;
        self.check_good()?;
        Ok(Poll::Working)
    }

    fn program(&mut self, source: Source, len: usize, block: usize, at: u32, then: Then) -> Poll {
        let program = Program { source, from: 0, len, block, at, done: 0, now: 0, then };
        self.task = Task::Program(program);
        Poll::Working
    }

    fn step_program(&mut self, mut program: Program) -> Step<N::Error> {
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

    fn programmed(&mut self, program: Program, verified: bool) -> Step<N::Error> {
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
    fn appended(&mut self) -> Result<(), Error<N::Error>> {
        let Some(newest) = self.newest else { return Ok(()) };
        if self.pending.done >= self.pending.len {
            self.last = self.pending.last;
        } else {
            // Only what did not fit the block is left; the last before it is looked up.
            let mut at = self.blocks[newest].end;
            while at < self.end {
                let frame = layout::look(&mut self.nor, self.layout, newest, at, self.end);
                let Frame::Record(record) = frame.map_err(Error::Device)? else { break };
                if let Kind::Txn(zxid) = record.kind {
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
    fn answered(&mut self) -> Poll {
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
    fn committed(&mut self) -> Poll {
        let Some(snapshot) = self.commit.take() else { return Poll::Working };
        self.old = self.control.snapshot;
        self.control.snapshot = Some(snapshot);
        self.control.lost = false;
        self.control.first = self.first_needed(self.control.snapshot, u32::MAX);
        self.writing = None;
        self.since = 0;
        self.too_long = false;
        self.reclaim();
        Poll::Done(Done::Snapshot(snapshot))
    }

    /// The oldest block of the log that is needed beside a snapshot, of those below a sequence
    /// number: the newest at least.
    fn first_needed(&self, snapshot: Option<Snapshot>, below: u32) -> u32 {
        let newest = self.newest.map_or(self.seq, |newest| self.blocks[newest].seq);
        blocks::first_needed(self.blocks, snapshot, below).unwrap_or_else(|| newest.min(below))
    }

    /// What nothing needs any more is free.
    fn reclaim(&mut self) {
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

    fn step_check(&mut self, block: usize, at: u32) -> Step<N::Error> {
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
    fn put(&mut self, bytes: &[u8]) {
        self.small.fill(0xff);
        self.small[..bytes.len()].copy_from_slice(bytes);
    }

    // What comes next.

    fn choose(&mut self, quiet: bool) -> Step<N::Error> {
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
        if quiet && !self.blocked {
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
    fn retire(&mut self, block: usize) -> Step<N::Error> {
        let (at, len) = (self.layout.retired_at(), self.layout.align(4));
        let found = layout::written(&mut self.nor, self.layout, block, at, at + len);
        if found.map_err(Error::Device)?.is_some() {
            self.blocks[block].use_ = Use::Retired;
            return Ok(Poll::Working);
        }
        self.small.fill(0);
        Ok(self.program(Source::Small, len as usize, block, at, Then::Retire))
    }

    fn erase(&mut self, block: usize) -> Poll {
        self.fault = self.nor.start_erase(self.layout.at(block, 0)).is_err();
        self.task = Task::Erase(block);
        Poll::Working
    }

    /// An erased block, or the step towards one; `None` when there is no free block.
    fn allocate(&mut self) -> Option<Result<usize, Poll>> {
        let usable = |block: &Block, what| !block.worn && block.use_ == what;
        if let Some(block) = least_erased(self.blocks, |block| usable(block, Use::Erased)) {
            return Some(Ok(block));
        }
        let free = least_erased(self.blocks, |block| usable(block, Use::Free))?;
        Some(Err(self.erase(free)))
    }

    fn next_seq(&mut self) -> Result<u32, Error<N::Error>> {
        self.seq =
            self.seq.checked_add(1).ok_or(Error::Unfit("its sequence numbers are used up"))?;
        Ok(self.seq)
    }

    // The log.

    fn open_log(
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

    fn step_opening(&mut self, opening: NewLog) -> Step<N::Error> {
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

    fn head(&self, opening: &NewLog, copied: u32) -> Head {
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
    fn opened(&mut self, block: usize) -> Poll {
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
    fn make_free(&mut self) -> Step<N::Error> {
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
    fn give_up(&mut self) {
        self.gave_up = true;
        self.drop_snapshot();
    }

    /// Whether the log may have one more block; with more in the newest one, if it is to `grow`.
    fn may_roll(&self, grow: bool) -> bool {
        let newest = self.newest.map_or(0, |newest| self.blocks[newest].seq);
        let needed = blocks::first_needed(self.blocks, self.control.snapshot, u32::MAX);
        // A block of which the snapshot has everything goes.
        let from = needed.unwrap_or_else(|| if grow { newest } else { newest.saturating_add(1) });
        let free = |block: &Block| !block.worn && matches!(block.use_, Use::Free | Use::Erased);
        self.log_blocks(from) < self.log_max() && self.blocks.iter().any(free)
    }

    /// Opens another block of the log; `None` if it may have no more.
    fn roll(&mut self) -> Result<Option<Poll>, Error<N::Error>> {
        if !self.may_roll(false) {
            return Ok(None);
        }
        self.open_log(Why::Full, None, None)?;
        Ok(Some(Poll::Working))
    }

    /// Puts a record into the small buffer; its length.
    fn encode(&mut self, kind: &Kind, payload: &[u8]) -> Result<u32, Error<N::Error>> {
        self.small.fill(0xff);
        let len = layout::encode(self.layout, kind, Payload::Copy(payload), &mut self.small);
        len.map(|len| len as u32).ok_or(Error::Unfit("a record"))
    }

    fn write_settled(&mut self, newest: usize) -> Step<N::Error> {
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

    fn write_ask(&mut self, newest: usize, ask: Ask) -> Result<Option<Poll>, Error<N::Error>> {
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

    fn write_commit(
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

    fn write_batch(&mut self, newest: usize) -> Result<Option<Poll>, Error<N::Error>> {
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

    // Snapshots.

    fn write_snapshot(&mut self, writing: Writing) -> Result<Option<Poll>, Error<N::Error>> {
        let asked = match writing.end {
            End::Open => None,
            End::Asked(digest) => Some(digest),
            End::Received => return Ok(None),
        };
        if writing.fill == self.piece_len() || asked.is_some() && writing.fill > 0 {
            return self.write_piece(writing).map(Some);
        }
        let Some(digest) = asked else { return Ok(None) };
        self.task = Task::Verify(Body::new(&writing.snapshot(digest)));
        Ok(Some(Poll::Working))
    }

    fn write_piece(&mut self, writing: Writing) -> Step<N::Error> {
        let kind = Kind::Piece;
        let frame = layout::encode(self.layout, &kind, Payload::There(writing.fill), self.piece);
        let frame = frame.ok_or(Error::Unfit("a piece"))?;
        if let Some(block) = writing.block
            && writing.at + frame as u32 <= self.layout.block
        {
            return Ok(self.program(Source::Piece, frame, block, writing.at, Then::Piece));
        }
        if writing.index >= self.snapshot_blocks() {
            self.too_long |= !writing.install;
            self.give_up();
            return Ok(Poll::Working);
        }
        let block = match self.allocate() {
            Some(Ok(block)) => block,
            Some(Err(poll)) => return Ok(poll),
            None => {
                self.give_up();
                return Ok(Poll::Working);
            }
        };
        let seq = self.next_seq()?;
        let id = if writing.id == 0 { seq } else { writing.id };
        let index = writing.index;
        self.blocks[block].use_ = Use::Snapshot { id, index };
        self.blocks[block].seq = seq;
        self.writing = Some(Writing { id, index: index + 1, block: None, ..writing });
        self.put(&Opening::Snapshot { seq, id, index }.encode());
        let len = self.layout.align(layout::OPENING_LEN) as usize;
        let at = self.layout.opening_at();
        Ok(self.program(Source::Small, len, block, at, Then::Part))
    }

    fn step_verify(&mut self, mut body: Body) -> Step<N::Error> {
        let mut room = [0; COMPARE];
        for _ in 0..SLICE as usize / COMPARE {
            let read = body.read(&mut self.nor, self.layout, self.blocks, &mut room);
            match read.map_err(Error::Device)? {
                Ok(0) => return Ok(self.verified(&body)),
                Ok(_) => {}
                Err(_) => {
                    self.task = Task::Idle;
                    self.give_up();
                    return Ok(Poll::Working);
                }
            }
        }
        self.task = Task::Verify(body);
        Ok(Poll::Working)
    }

    /// All of the snapshot was read as it was written.
    fn verified(&mut self, body: &Body) -> Poll {
        self.task = Task::Idle;
        let snapshot = body.snapshot();
        match &mut self.writing {
            Some(writing) if writing.install => {
                writing.end = End::Received;
                Poll::Done(Done::Received(snapshot))
            }
            Some(writing) => {
                writing.end = End::Received;
                self.commit = Some(snapshot);
                Poll::Working
            }
            None => Poll::Working,
        }
    }

    /// Where the log has to end for `zxid` to be the last.
    fn find_cut(&mut self, zxid: Zxid) -> Result<Option<Cut>, Error<N::Error>> {
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
                if let Kind::Txn(found) = record.kind {
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

impl Writing {
    fn snapshot(&self, digest: Option<SnapshotDigest>) -> Snapshot {
        Snapshot {
            id: self.id,
            blocks: self.index,
            zxid: self.zxid,
            len: self.len,
            sum: self.sum.value(),
            digest,
        }
    }
}
