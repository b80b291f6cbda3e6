//! The thread that appends and syncs.
//!
//! The state thread hands it one batch of transactions at a time, in a buffer that comes back with
//! the answer. One batch is one write and one `fdatasync`. While it is under way the state thread
//! goes on reading clients; what they write meanwhile is the next batch.
//!
//! A member's epochs and a leader's snapshot go the same way. What changes the history as a whole
//! needs the peer as well: then the state thread borrows the [`Store`], while nothing else is
//! ordered.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use mio::Waker;
use zk_core::id::Zxid;
use zk_core::peer::{self, Epochs};

use super::Error;
use super::threads::Thread;
use crate::member::{self, Receiving};
use crate::store::{self, Directory, Extent, Received, Store};

/// Orders that may wait: a batch, a roll, and the next batch; epochs, and a piece of a snapshot with
/// its beginning and end.
const ORDERS: usize = 8;

/// Quiet time after which the store writes down what is durable.
const QUIET: Duration = Duration::from_millis(500);

/// How often space is measured while nothing is written.
const MEASURE: Duration = Duration::from_secs(5);

/// Bytes written after which space is measured again.
const MEASURE_BYTES: usize = 256 << 10;

/// With less space, creations and data are refused.
const LOW: u64 = 8 << 20;

/// With more space, they are accepted again.
const HIGH: u64 = 16 << 20;

/// Pause between two attempts to write to a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// What the thread is called.
pub(super) const NAME: &str = "zk-disk";

/// A buffer of this many bytes is kept; a larger one is given back to the system.
const KEPT: usize = 2 << 20;

/// Transactions on their way to the log and back.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<(Zxid, usize)>,
    bytes: Vec<u8>,
}

impl Batch {
    fn fill(&mut self, batch: &peer::Batch<'_>) {
        self.entries.clear();
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        for (zxid, entry) in batch.iter() {
            self.entries.push((zxid, entry.len()));
            self.bytes.extend_from_slice(entry);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Zxid, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map(move |&(zxid, len)| {
            let (entry, behind) = rest.split_at(len);
            rest = behind;
            (zxid, entry)
        })
    }

    fn last(&self) -> Zxid {
        self.entries.last().map_or(Zxid::ZERO, |&(zxid, _)| zxid)
    }
}

enum Order {
    Append(Batch),
    Roll,
    Epochs(Epochs),
    InstallBegin(Zxid),
    InstallBytes(Vec<u8>),
    InstallEnd,
    InstallDrop,
}

enum Answer<D: Directory> {
    Durable(Batch, Duration, Extent),
    Epochs,
    Written(Vec<u8>),
    Received(Result<Received<D>, store::Error>),
    Full(bool),
    Failed(store::Error),
}

/// A batch that is durable.
#[derive(Debug)]
pub(super) struct Synced {
    /// Its last transaction.
    pub(super) last: Zxid,
    /// How many there were.
    pub(super) txns: usize,
    /// How long the sync took.
    pub(super) took: Duration,
    /// How far the logs go.
    pub(super) extent: Extent,
}

/// What the disk thread told.
pub(super) enum Told<D: Directory> {
    /// Everything up to the end of this batch is durable.
    Durable(Synced),
    /// The epochs are durable.
    Epochs,
    /// So many bytes of a leader's snapshot are written.
    Written(usize),
    /// A leader's snapshot is there, or not.
    Received(Result<Received<D>, store::Error>),
    /// Whether the disk is full.
    Full(bool),
    /// It has ended, and nothing can be promised any more.
    Failed(store::Error),
}

/// How the disk thread works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// A slower sync is logged.
    pub(super) slow: Duration,
    /// A log of so many bytes is followed by a new one.
    pub(super) log_max: Option<u64>,
}

/// The disk thread, as the state thread sees it.
pub(super) struct Disk<D: Directory> {
    orders: SyncSender<Order>,
    answers: Receiver<Answer<D>>,
    store: Arc<Mutex<Store<D>>>,
    spare: Option<Batch>,
    /// For a piece of a snapshot.
    piece: Vec<u8>,
    // Behind what ends the thread: dropped, it has ended.
    _stopping: Stopping,
    thread: Thread,
}

/// While this is there, the thread waits for space on a full disk.
struct Stopping(Arc<AtomicBool>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<D> Disk<D>
where
    D: Directory + Send + 'static,
    D::File: Send,
{
    /// Starts the thread; `waker` wakes the state thread when there is something to
    /// [`hear`](Self::hear).
    pub(super) fn start(store: Store<D>, options: Options, waker: Arc<Waker>) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(ORDERS);
        // An answer to each order, and one about space.
        let (outbox, answers) = sync_channel(2 * ORDERS);
        let stopping = Arc::new(AtomicBool::new(false));
        let store = Arc::new(Mutex::new(store));
        let worker = Worker {
            store: Arc::clone(&store),
            receiving: None,
            options,
            answers: outbox,
            waker: Arc::clone(&waker),
            stopping: Arc::clone(&stopping),
            full: false,
            unmeasured: 0,
        };
        let thread = Thread::start(NAME, waker, move || worker.run(&inbox))?;
        let (spare, piece) = (Some(Batch::default()), Vec::new());
        Ok(Self { orders, answers, store, spare, piece, _stopping: Stopping(stopping), thread })
    }

    /// Appends and syncs a batch. The one before must have been told durable.
    pub(super) fn append(&mut self, batch: &peer::Batch<'_>) {
        let mut buffer = self.spare.take().unwrap_or_default();
        buffer.fill(batch);
        self.order(Order::Append(buffer));
    }

    /// The next batch begins a new log.
    pub(super) fn roll(&self) {
        self.order(Order::Roll);
    }

    /// Makes epochs durable.
    pub(super) fn epochs(&self, epochs: Epochs) {
        self.order(Order::Epochs(epochs));
    }

    /// A leader's snapshot comes.
    pub(super) fn install_begin(&self, zxid: Zxid) {
        self.order(Order::InstallBegin(zxid));
    }

    /// The next piece of it.
    pub(super) fn install_bytes(&mut self, bytes: &[u8]) {
        let mut piece = core::mem::take(&mut self.piece);
        piece.clear();
        piece.extend_from_slice(bytes);
        self.order(Order::InstallBytes(piece));
    }

    /// It is whole.
    pub(super) fn install_end(&self) {
        self.order(Order::InstallEnd);
    }

    /// It is not wanted any more.
    pub(super) fn install_drop(&self) {
        self.order(Order::InstallDrop);
    }

    /// Borrows the store: for what needs the peer as well, while nothing is ordered. May wait for a
    /// moment.
    ///
    /// # Errors
    /// The thread has panicked.
    pub(super) fn store(&self) -> Result<MutexGuard<'_, Store<D>>, Error> {
        self.store.lock().map_err(|_| Error::Panicked(NAME))
    }

    fn order(&self, order: Order) {
        match self.orders.try_send(order) {
            Ok(()) => {}
            // Fewer orders than this are ever under way.
            Err(TrySendError::Full(_)) => log::error!("the disk thread has too many orders"),
            // It has failed, and said so.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// What there is to hear.
    pub(super) fn hear(&mut self) -> Option<Told<D>> {
        Some(match self.answers.try_recv().ok()? {
            Answer::Durable(batch, took, extent) => {
                let (last, txns) = (batch.last(), batch.entries.len());
                self.spare = Some(batch);
                Told::Durable(Synced { last, txns, took, extent })
            }
            Answer::Epochs => Told::Epochs,
            Answer::Written(piece) => {
                let len = piece.len();
                self.piece = piece;
                Told::Written(len)
            }
            Answer::Received(received) => {
                self.piece = Vec::new();
                Told::Received(received)
            }
            Answer::Full(full) => Told::Full(full),
            Answer::Failed(error) => Told::Failed(error),
        })
    }

    /// Lets it sync what it has, and then end.
    pub(super) fn stop(self) -> Thread {
        self.thread
    }
}

struct Worker<D: Directory> {
    store: Arc<Mutex<Store<D>>>,
    /// A snapshot that a leader sends.
    receiving: Option<Receiving<D>>,
    options: Options,
    answers: SyncSender<Answer<D>>,
    waker: Arc<Waker>,
    stopping: Arc<AtomicBool>,
    /// What was last told about space.
    full: bool,
    unmeasured: usize,
}

impl<D: Directory> Worker<D> {
    fn run(mut self, orders: &Receiver<Order>) {
        let ended = self.serve(orders);
        if let Err(error) = ended {
            log::error!("{error}");
            self.answer(Answer::Failed(error));
        }
    }

    /// Nobody holds it for long.
    fn store(&self) -> MutexGuard<'_, Store<D>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&mut self, orders: &Receiver<Order>) -> Result<(), store::Error> {
        self.measure()?;
        let mut wait = QUIET;
        loop {
            match orders.recv_timeout(wait) {
                Ok(Order::Append(batch)) => {
                    wait = QUIET;
                    let took = self.append(&batch)?;
                    self.unmeasured += batch.bytes.len();
                    let extent = self.store().extent();
                    self.answer(Answer::Durable(batch, took, extent));
                    if self.unmeasured >= MEASURE_BYTES {
                        self.measure()?;
                    }
                }
                Ok(Order::Roll) => self.until_there_is_space(Store::roll)?,
                Ok(Order::Epochs(epochs)) => {
                    self.until_there_is_space(|store| member::set_epochs(store, epochs))?;
                    self.answer(Answer::Epochs);
                }
                Ok(Order::InstallBegin(zxid)) => {
                    // What was left of another goes first.
                    self.receiving = None;
                    let receiving = Receiving::begin(&mut *self.store(), zxid);
                    self.receiving = Some(receiving);
                }
                Ok(Order::InstallBytes(bytes)) => {
                    if let Some(receiving) = &mut self.receiving {
                        receiving.write(&bytes);
                    }
                    self.answer(Answer::Written(bytes));
                }
                Ok(Order::InstallEnd) => {
                    if let Some(receiving) = self.receiving.take() {
                        let received = receiving.receive(&mut *self.store());
                        self.answer(Answer::Received(received));
                    }
                }
                Ok(Order::InstallDrop) => self.receiving = None,
                Err(RecvTimeoutError::Timeout) => {
                    wait = MEASURE;
                    self.quiet()?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.until_there_is_space(Store::sync)?;
                    return self.quiet();
                }
            }
        }
    }

    /// Appends and syncs a batch; how long the sync took.
    fn append(&mut self, batch: &Batch) -> Result<Duration, store::Error> {
        for (zxid, entry) in batch.iter() {
            self.until_there_is_space(|store| store.append(zxid, entry))?;
        }
        let begun = Instant::now();
        self.until_there_is_space(Store::sync)?;
        let took = begun.elapsed();
        if took > self.options.slow {
            log::warn!(
                "syncing the log took {} ms; every write waits for that. Give dataLogDir a disk \
                 of its own, or a faster one",
                took.as_millis()
            );
        }
        let len = self.store().log_len();
        if self.options.log_max.is_some_and(|most| len >= most) {
            self.until_there_is_space(Store::roll)?;
        }
        Ok(took)
    }

    /// Does what a full disk may refuse, again and again until it does not.
    fn until_there_is_space(
        &mut self,
        mut f: impl FnMut(&mut Store<D>) -> Result<(), store::Error>,
    ) -> Result<(), store::Error> {
        let mut told = false;
        loop {
            let done = f(&mut *self.store());
            match done {
                Err(error) if error.is_full() && !self.stopping.load(Ordering::Relaxed) => {
                    if !core::mem::replace(&mut told, true) {
                        log::error!("{error}; writes wait until there is space");
                        self.tell_full(true);
                    }
                    thread::sleep(FULL_PAUSE);
                }
                other => return other,
            }
        }
    }

    fn quiet(&mut self) -> Result<(), store::Error> {
        let idle = self.store().idle();
        match idle {
            Ok(()) => {}
            Err(error @ store::Error::Stopped { .. }) => return Err(error),
            // Only a restart would have used what was to be written.
            Err(error) => log::warn!("{error}"),
        }
        self.measure()
    }

    fn measure(&mut self) -> Result<(), store::Error> {
        self.unmeasured = 0;
        let (space, reserved) = {
            let store = self.store();
            (store.space(), store.has_reserve())
        };
        let space = match space {
            Ok(space) => space,
            Err(error @ store::Error::Stopped { .. }) => return Err(error),
            Err(error) => {
                log::warn!("{error}");
                return Ok(());
            }
        };
        let mark = if self.full { HIGH } else { LOW };
        // Where space cannot be known, a write that succeeds tells.
        let full = space.is_some_and(|space| space < mark) || !reserved;
        if full != self.full {
            let left = space.unwrap_or(0) >> 10;
            if full {
                log::error!(
                    "the disk is full ({left} KiB left): creations and data are refused until \
                     there are {} KiB; deletions and sessions go on",
                    HIGH >> 10
                );
            } else {
                log::info!("the disk has space again");
            }
            self.tell_full(full);
        }
        Ok(())
    }

    fn tell_full(&mut self, full: bool) {
        self.full = full;
        self.answer(Answer::Full(full));
    }

    fn answer(&self, answer: Answer<D>) {
        // Nobody hears when the server has ended.
        if self.answers.send(answer).is_ok()
            && let Err(error) = self.waker.wake()
        {
            log::error!("cannot wake the server: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll, Token};

    use super::*;
    use crate::store::simulated::{self, Simulated};

    struct World {
        simulated: simulated::Disk,
        poll: Poll,
        disk: Disk<Simulated>,
    }

    impl World {
        fn new(reserve: u64) -> Self {
            let simulated = simulated::Disk::new(1);
            let options = store::Options { preallocate: 0, reserve, ..store::Options::default() };
            let store = Store::<Simulated>::open(simulated.root(), simulated.root(), options);
            let poll = Poll::new().unwrap();
            let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
            let options = Options { slow: Duration::from_secs(1), log_max: None };
            let disk = Disk::start(store.unwrap(), options, waker).unwrap();
            Self { simulated, poll, disk }
        }

        fn append(&self, zxids: core::ops::Range<i64>) {
            let mut batch = Batch::default();
            for zxid in zxids {
                let mut entry = [0; 1000];
                entry[12..20].copy_from_slice(&zxid.to_be_bytes());
                batch.entries.push((Zxid(zxid), entry.len()));
                batch.bytes.extend_from_slice(&entry);
            }
            self.disk.order(Order::Append(batch));
        }

        /// The next thing that is told.
        fn hear(&mut self) -> Told<Simulated> {
            let mut events = Events::with_capacity(1);
            for _ in 0..100 {
                if let Some(told) = self.disk.hear() {
                    return told;
                }
                self.poll.poll(&mut events, Some(Duration::from_millis(200))).unwrap();
            }
            panic!("nothing was told");
        }
    }

    fn durable(told: Told<Simulated>) -> Zxid {
        let Told::Durable(synced) = told else { panic!("something else was told") };
        synced.last
    }

    #[test]
    fn what_is_told_durable_survives_a_crash() {
        let mut world = World::new(0);
        world.append(1..11);
        assert_eq!(durable(world.hear()), Zxid(10));
        world.disk.roll();
        world.append(11..21);
        assert_eq!(durable(world.hear()), Zxid(20));
        world.simulated.crash();
        for (log, from) in [("version-2/log.1", 1_i64), ("version-2/log.b", 11)] {
            let bytes = world.simulated.read(log).unwrap();
            assert_eq!(bytes.len(), 16 + 10 * 1013);
            // Behind file header, checksum and length.
            assert_eq!(bytes[28 + 12..28 + 20], from.to_be_bytes());
        }
        assert!(world.disk.stop().join());
    }

    #[test]
    fn a_failed_sync_ends_it() {
        let mut world = World::new(0);
        world.simulated.fail_syncs(1);
        world.append(1..2);
        assert!(matches!(world.hear(), Told::Failed(store::Error::Stopped { .. })));
        // Nothing is told durable afterwards.
        world.append(2..3);
        assert!(world.disk.hear().is_none());
        assert!(world.disk.stop().join());
    }

    /// A world with a batch for which there is no space.
    fn full() -> World {
        let mut world = World::new(0);
        world.simulated.set_capacity(Some(20 << 20));
        world.append(1..2);
        assert_eq!(durable(world.hear()), Zxid(1));
        world.simulated.set_capacity(Some(1));
        world.append(2..100);
        assert!(matches!(world.hear(), Told::Full(true)));
        world
    }

    #[test]
    fn a_full_disk_is_told_and_the_batch_waits() {
        let mut world = full();
        assert!(world.disk.hear().is_none());
        world.simulated.set_capacity(None);
        assert_eq!(durable(world.hear()), Zxid(99));
        assert!(matches!(world.hear(), Told::Full(false)));
        assert!(world.disk.stop().join());
    }

    #[test]
    fn a_full_disk_does_not_hold_up_the_end() {
        drop(full().disk);
    }
}
