//! What a member of an ensemble wants of its files, besides appending to them.
//!
//! The core gives [`Order`]s; here they are carried out on a [`Store`] and a [`Peer`]. All of it is
//! synchronous. A simulation lets [`Files`] do one order after the other; a server takes the pieces
//! apart, and runs each on the thread that has what it needs.
//!
//! | limit | |
//! |---|---|
//! | open readers | one for each link to a learner |
//! | bytes that are read at once | what the order says, or one transaction |

pub mod dynamic;

use std::collections::BTreeMap;

use zk_core::id::Zxid;
use zk_core::peer::{Epochs, Order, Peer, READ_OVERHEAD, Read, Reading};
use zk_core::time::Now;
use zk_core::zab::scan::Scanner;

use crate::load::PeerLoad;
use crate::store::snapshot::{self, Ended};
use crate::store::{
    Directory, Error, Extent, Finding, Findings, Load, Received, Refusal, Replay, Restored,
    SnapshotReader, SnapshotWriter, Store,
};

/// Whether a history can be trusted to be complete, or is damaged: then there is nothing in the
/// peer, and it must not vote before a leader has sent it a snapshot.
#[derive(Debug)]
pub enum History {
    /// It was loaded.
    Loaded(Restored),
    /// It may lack something that was acknowledged.
    Damaged,
}

/// Loads what a store has, for a member of an ensemble. A history that a standalone server would
/// refuse is healed by the others: it is logged, and nothing of it is taken.
///
/// # Errors
/// Those of the file system, and a history that this server cannot take whoever sends it.
pub fn restore<D: Directory>(
    store: &mut Store<D>,
    peer: &mut Peer<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<History, Error> {
    let why = match store.restore(&mut PeerLoad::new(peer, progress)) {
        Ok(restored) => {
            let lost = |finding: &&Finding| matches!(finding, Finding::BehindHint { .. });
            let lost = restored.findings.kept.iter().find(lost).map(ToString::to_string);
            let empty = || "there is no database, and db.autocreate is false".to_owned();
            match lost.or_else(|| (restored.zxid == Zxid::NONE).then(empty)) {
                None => return Ok(History::Loaded(restored)),
                Some(why) => why,
            }
        }
        Err(
            error @ (Error::Rot { .. }
            | Error::Gap { .. }
            | Error::NoSnapshot { .. }
            | Error::SnapshotLost { .. }
            | Error::LogsAlone { .. }),
        ) => error.to_string(),
        Err(error) => return Err(error),
    };
    log::error!("{why}. This server does not vote before a leader has sent it a snapshot");
    peer.load_reset();
    Ok(History::Damaged)
}

/// Whether the history is now what the leader wanted it to be. The peer has loaded what is there.
#[must_use = "the peer waits to hear it"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is.
    Done,
    /// It could not be replaced; it is what it was, and as good.
    Kept,
    /// It could not be cut; it is what it was.
    Uncut,
    /// It could not be, and only a snapshot from a leader can help.
    Failed,
}

impl Reload {
    /// Tells the peer.
    pub fn tell(self, peer: &mut Peer<'_>, now: Now) {
        match self {
            Self::Done => peer.reloaded(now),
            Self::Kept => peer.reload_failed(now, false),
            Self::Uncut => peer.cut_failed(now),
            Self::Failed => peer.reload_failed(now, true),
        }
    }
}

/// Removes what comes behind `zxid` from the history, and loads what is left.
///
/// # Errors
/// Those of the file system; the process has to end.
pub fn truncate<D: Directory>(
    store: &mut Store<D>,
    peer: &mut Peer<'_>,
    zxid: Zxid,
) -> Result<Reload, Error> {
    let cut = match store.truncate(zxid) {
        // What is in memory stays as it was.
        Ok(()) if zk_core::planted!(Zk5094) => return Ok(Reload::Done),
        Ok(()) => Reload::Done,
        Err(error @ Error::Truncate { .. }) => {
            log::warn!("{error}. The next leader is asked for a snapshot");
            Reload::Uncut
        }
        Err(error @ Error::Rot { .. }) => {
            log::error!("{error}");
            Reload::Failed
        }
        Err(error) => return Err(error),
    };
    Ok(match restore(store, peer, &mut |_, _| {})? {
        History::Loaded(_) => cut,
        History::Damaged => Reload::Failed,
    })
}

/// Makes the epochs durable: the promise to hear of no earlier one first.
///
/// # Errors
/// Those of the file system.
pub fn set_epochs<D: Directory>(store: &mut Store<D>, epochs: Epochs) -> Result<(), Error> {
    store.set_accepted_epoch(epochs.accepted)?;
    store.set_current_epoch(epochs.current)
}

/// A snapshot that a leader sends. An error on the way is told at the end, so that whoever sends
/// need not be stopped.
#[derive(Debug)]
pub struct Receiving<D: Directory>(Result<SnapshotWriter<D>, Error>);

impl<D: Directory> Receiving<D> {
    /// A snapshot of `zxid` comes.
    pub fn begin(store: &mut Store<D>, zxid: Zxid) -> Self {
        Self(store.begin_install(zxid))
    }

    /// The next bytes of its body.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Ok(writer) = &mut self.0
            && let Err(error) = writer.write(bytes)
        {
            self.0 = Err(error);
        }
    }

    /// It is whole: makes it durable, aside.
    ///
    /// # Errors
    /// Those of the file system, also of earlier calls.
    pub fn receive(self, store: &mut Store<D>) -> Result<Received<D>, Error> {
        store.receive(self.0?)
    }
}

/// Loads what was received, and lets it take the place of the history; or loads the history.
///
/// # Errors
/// Those of the file system; the process has to end.
pub fn install<D: Directory>(
    store: &mut Store<D>,
    peer: &mut Peer<'_>,
    received: Result<Received<D>, Error>,
) -> Result<Reload, Error> {
    let why = match received {
        Ok(received) => match load(store, peer, &received) {
            Ok(()) => {
                store.install(received)?;
                return Ok(Reload::Done);
            }
            Err(why) => why,
        },
        Err(error @ Error::Stopped { .. }) => return Err(error),
        Err(error) => error.to_string(),
    };
    log::error!("the snapshot from the leader was not installed: {why}");
    Ok(match restore(store, peer, &mut |_, _| {})? {
        History::Loaded(_) => Reload::Kept,
        History::Damaged => Reload::Failed,
    })
}

fn load<D: Directory>(
    store: &Store<D>,
    peer: &mut Peer<'_>,
    received: &Received<D>,
) -> Result<(), String> {
    let mut none = |_, _| {};
    let mut load = PeerLoad::new(peer, &mut none);
    load.reset();
    let say = |refusal| match refusal {
        Refusal::Damaged(what) | Refusal::Stop(what) => what,
    };
    let reader = store.open_received(received).map_err(|why| why.to_string())?;
    let end = snapshot::read(reader, &mut |bytes| load.snapshot_bytes(bytes), &mut |_| {})
        .map_err(|ended| match ended {
            Ended::Unreadable(why) => why.to_string(),
            Ended::Refused(refusal) => say(refusal),
        })?;
    load.snapshot_done(received.zxid(), &end).map_err(say)
}

/// What was read for a learner.
#[derive(Debug)]
pub enum Piece {
    /// Transactions.
    Log(Vec<(Zxid, Vec<u8>)>),
    /// Bytes of a snapshot's body, and whether they are the last.
    Snapshot(Vec<u8>, bool),
    /// It cannot be read.
    Failed,
}

impl Piece {
    /// Hands it to the peer.
    pub fn tell(&self, peer: &mut Peer<'_>, now: Now, reading: Reading) {
        match self {
            Self::Log(entries) => {
                peer.log_read(now, reading, entries.iter().map(|(zxid, txn)| (*zxid, &txn[..])));
            }
            Self::Snapshot(bytes, end) => peer.snapshot_read(now, reading, bytes, *end),
            Self::Failed => peer.read_failed(reading),
        }
    }
}

/// What is read for learners, one file or log walk for each of their links.
#[derive(Debug)]
pub struct Readers<D: Directory> {
    open: BTreeMap<usize, (Reading, Source<D>)>,
}

#[derive(Debug)]
enum Source<D: Directory> {
    Log(LogSource<D>),
    Snapshot(BodySource<D>),
}

impl<D: Directory> Default for Readers<D> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<D: Directory> Readers<D> {
    /// Reads what an order asks for. `store` is any view of the directory, whose logs are durable
    /// up to `extent`.
    pub fn read(
        &mut self,
        store: &Store<D>,
        extent: &Extent,
        reading: Reading,
        read: Read,
    ) -> Piece {
        let open = self.open.remove(&reading.at).filter(|(of, _)| *of == reading);
        let open = open.map(|(_, source)| source);
        let (piece, source) = match read {
            Read::Log { from, most } => {
                let open = match open {
                    Some(Source::Log(source)) if source.next == from => Some(source),
                    _ => None,
                };
                read_log(store, extent, open, from, most)
            }
            Read::Snapshot { zxid, offset, most } => {
                let open = match open {
                    Some(Source::Snapshot(source))
                        if (source.zxid, source.offset) == (zxid, offset) =>
                    {
                        Some(source)
                    }
                    _ => None,
                };
                read_body(store, open, zxid, offset, most)
            }
        };
        if let Some(source) = source {
            self.open.insert(reading.at, (reading, source));
        }
        piece
    }

    /// The link of that number is closed: nothing more is read for it.
    pub fn forget(&mut self, link: usize) {
        self.open.remove(&link);
    }
}

/// What was read, and where to go on.
type Got<D> = (Piece, Option<Source<D>>);

#[derive(Debug)]
struct LogSource<D: Directory> {
    replay: Replay<D>,
    /// The replay stands at a transaction that did not fit.
    held: bool,
    /// Behind the last one that was read.
    next: Zxid,
}

impl<D: Directory> LogSource<D> {
    /// Reads up to `most` bytes; false at the end of what was durable when the walk began.
    fn fill(&mut self, most: usize, entries: &mut Vec<(Zxid, Vec<u8>)>) -> Result<bool, Error> {
        let mut bytes = 0;
        loop {
            if !self.held && !self.replay.advance(&mut Findings::default())? {
                return Ok(false);
            }
            self.held = true;
            bytes += self.replay.entry().len() + READ_OVERHEAD;
            if !entries.is_empty() && bytes > most {
                return Ok(true);
            }
            self.held = false;
            self.next = self.replay.zxid().successor();
            entries.push((self.replay.zxid(), self.replay.entry().to_vec()));
        }
    }
}

fn read_log<D: Directory>(
    store: &Store<D>,
    extent: &Extent,
    open: Option<LogSource<D>>,
    from: Zxid,
    most: usize,
) -> Got<D> {
    let fill = |mut source: LogSource<D>, entries: &mut _| {
        source.fill(most, entries).map(|more| more.then_some(source))
    };
    let begin = |entries: &mut _| {
        let replay = store.read_log(from, extent)?;
        fill(LogSource { replay, held: false, next: from }, entries)
    };
    let mut entries = Vec::new();
    let result = match open {
        None => begin(&mut entries),
        Some(source) => match fill(source, &mut entries) {
            // There may be more than there was when the walk began.
            Ok(None) if entries.is_empty() => begin(&mut entries),
            filled => filled,
        },
    };
    match result {
        Ok(source) => (Piece::Log(entries), source.map(Source::Log)),
        // The log begins later, or its learner has a transaction that nobody else has.
        Err(Error::Gap { .. }) => (Piece::Log(entries), None),
        Err(error) => {
            log::error!("cannot read the log from {from} on for a learner: {error}");
            (Piece::Failed, None)
        }
    }
}

#[derive(Debug)]
struct BodySource<D: Directory> {
    reader: SnapshotReader<D::File>,
    scanner: Scanner,
    zxid: Zxid,
    /// Bytes of the body that were read.
    offset: u64,
}

impl<D: Directory> BodySource<D> {
    fn open(store: &Store<D>, zxid: Zxid) -> Result<Self, String> {
        let candidates = store.candidates().map_err(|error| error.to_string())?;
        let candidate = candidates.iter().find(|candidate| candidate.zxid == zxid);
        let candidate = candidate.ok_or("there is no such snapshot")?;
        let reader = store.open_snapshot(candidate).map_err(|why| why.to_string())?;
        let scanner = Scanner::of_file(store.options().record_max);
        Ok(Self { reader, scanner, zxid, offset: 0 })
    }

    /// Reads up to `most` bytes into `to`, and answers whether they end the body.
    fn fill(&mut self, most: u64, to: &mut Vec<u8>) -> Result<bool, String> {
        let mut left = most;
        while left > 0 && !self.scanner.is_done() {
            let shown = self.reader.show(1).map_err(|why| why.to_string())?;
            let shown = &shown[..shown.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            let (n, _) = self.scanner.feed(shown).map_err(|violation| violation.to_string())?;
            to.extend_from_slice(&shown[..n]);
            self.reader.consume(n);
            left -= n as u64;
            self.offset += n as u64;
        }
        Ok(self.scanner.is_done())
    }
}

fn read_body<D: Directory>(
    store: &Store<D>,
    open: Option<BodySource<D>>,
    zxid: Zxid,
    offset: u64,
    most: usize,
) -> Got<D> {
    let mut bytes = Vec::new();
    let attempt = || -> Result<Option<BodySource<D>>, String> {
        let mut source = match open {
            Some(source) => source,
            None => BodySource::open(store, zxid)?,
        };
        while source.offset < offset {
            // Where reading was interrupted.
            bytes.clear();
            if source.fill((offset - source.offset).min(PIECE), &mut bytes)? {
                return Err(format!("its body ends before {offset}"));
            }
        }
        bytes.clear();
        if !source.fill(most as u64, &mut bytes)? {
            return Ok(Some(source));
        }
        // Only now is it known that all of it was right.
        source.reader.finish().map(|_| None).map_err(|why| why.to_string())
    };
    match attempt() {
        Ok(source) => {
            let end = source.is_none();
            (Piece::Snapshot(bytes, end), source.map(Source::Snapshot))
        }
        Err(why) => {
            log::error!("cannot read snapshot {zxid} for a learner: {why}");
            (Piece::Failed, None)
        }
    }
}

/// Bytes of a snapshot that are passed over at once.
const PIECE: u64 = 1 << 16;

/// The files of a member, for one who does everything on one thread.
#[derive(Debug)]
pub struct Files<D: Directory> {
    receiving: Option<Receiving<D>>,
    readers: Readers<D>,
}

impl<D: Directory> Default for Files<D> {
    fn default() -> Self {
        Self { receiving: None, readers: Readers::default() }
    }
}

/// An order, half carried out: the peer, from which it was borrowed, has its part in the rest.
#[must_use = "the peer waits for the end"]
#[derive(Debug)]
pub enum Step<D: Directory> {
    /// Nothing is left to do.
    Nothing,
    /// The epochs are durable.
    Epochs,
    /// The history is to be cut.
    Truncate(Zxid),
    /// So many bytes of a leader's snapshot are written.
    Written(usize),
    /// The leader's snapshot is to be installed.
    Install(Result<Received<D>, Error>),
    /// Something was read for a learner.
    Read(Reading, Piece),
}

impl<D: Directory> Files<D> {
    /// Carries out the first half of an order.
    ///
    /// # Errors
    /// Those of the file system; the process has to end.
    pub fn begin(&mut self, store: &mut Store<D>, order: Order<'_>) -> Result<Step<D>, Error> {
        Ok(match order {
            Order::Epochs(epochs) => {
                set_epochs(store, epochs)?;
                Step::Epochs
            }
            Order::Truncate(zxid) => Step::Truncate(zxid),
            Order::InstallBegin(zxid) => {
                // What was left of another goes first: there is one at a time.
                self.receiving = None;
                self.receiving = Some(Receiving::begin(store, zxid));
                Step::Nothing
            }
            Order::InstallBytes(bytes) => {
                if let Some(receiving) = &mut self.receiving {
                    receiving.write(bytes);
                }
                Step::Written(bytes.len())
            }
            Order::InstallEnd => match self.receiving.take() {
                Some(receiving) => Step::Install(receiving.receive(store)),
                None => Step::Nothing,
            },
            Order::InstallDrop => {
                self.receiving = None;
                Step::Nothing
            }
            Order::Read(reading, read) => {
                let extent = store.extent();
                Step::Read(reading, self.readers.read(store, &extent, reading, read))
            }
        })
    }
}

impl<D: Directory> Step<D> {
    /// Carries out the second half, and tells the peer.
    ///
    /// # Errors
    /// Those of the file system; the process has to end.
    pub fn finish(self, store: &mut Store<D>, peer: &mut Peer<'_>, now: Now) -> Result<(), Error> {
        match self {
            Self::Nothing => {}
            Self::Epochs => peer.epochs_written(now),
            Self::Truncate(zxid) => truncate(store, peer, zxid)?.tell(peer, now),
            Self::Written(len) => peer.install_written(len),
            Self::Install(received) => install(store, peer, received)?.tell(peer, now),
            Self::Read(reading, piece) => piece.tell(peer, now, reading),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
