//! The thread that appends and syncs.
//!
//! The state thread hands it one batch of transactions at a time, in a buffer that comes back with
//! the answer. One batch is one write and one `fdatasync`. While it is under way the state thread
//! goes on reading clients; what they write meanwhile is the next batch.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mio::Waker;
use zk_core::id::Zxid;
use zk_core::peer;

use crate::store::{self, Directory, Store};

/// Orders that may wait: a batch, a roll, and the next batch.
const ORDERS: usize = 4;

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
}

enum Answer {
    Durable(Batch),
    Full(bool),
    Failed(store::Error),
}

/// What the disk thread told.
pub(super) enum Told {
    /// Everything up to here is durable.
    Durable(Zxid),
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
pub(super) struct Disk {
    orders: SyncSender<Order>,
    answers: Receiver<Answer>,
    spare: Option<Batch>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Disk {
    /// Starts the thread; `waker` wakes the state thread when there is something to
    /// [`hear`](Self::hear).
    pub(super) fn start<D>(store: Store<D>, options: Options, waker: Arc<Waker>) -> io::Result<Self>
    where
        D: Directory + Send + 'static,
        D::File: Send,
    {
        let (orders, inbox) = sync_channel(ORDERS);
        // An answer to each order, and one about space.
        let (outbox, answers) = sync_channel(2 * ORDERS);
        let stopping = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            store,
            options,
            answers: outbox,
            waker,
            stopping: Arc::clone(&stopping),
            full: false,
            unmeasured: 0,
        };
        let thread =
            thread::Builder::new().name("zk-disk".to_owned()).spawn(move || worker.run(&inbox))?;
        Ok(Self { orders, answers, spare: Some(Batch::default()), stopping, thread })
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
    pub(super) fn hear(&mut self) -> Option<Told> {
        Some(match self.answers.try_recv().ok()? {
            Answer::Durable(batch) => {
                let last = batch.last();
                self.spare = Some(batch);
                Told::Durable(last)
            }
            Answer::Full(full) => Told::Full(full),
            Answer::Failed(error) => Told::Failed(error),
        })
    }

    /// Lets it sync what it has, and waits for its end; false if it panicked.
    pub(super) fn stop(self) -> bool {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.orders);
        // Answers that nobody hears must not hold it up.
        drop(self.answers);
        self.thread.join().is_ok()
    }
}

struct Worker<D: Directory> {
    store: Store<D>,
    options: Options,
    answers: SyncSender<Answer>,
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

    fn serve(&mut self, orders: &Receiver<Order>) -> Result<(), store::Error> {
        self.measure()?;
        let mut wait = QUIET;
        loop {
            match orders.recv_timeout(wait) {
                Ok(Order::Append(batch)) => {
                    wait = QUIET;
                    self.append(&batch)?;
                    self.unmeasured += batch.bytes.len();
                    self.answer(Answer::Durable(batch));
                    if self.unmeasured >= MEASURE_BYTES {
                        self.measure()?;
                    }
                }
                Ok(Order::Roll) => self.until_there_is_space(Store::roll)?,
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

    fn append(&mut self, batch: &Batch) -> Result<(), store::Error> {
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
        if self.options.log_max.is_some_and(|most| self.store.log_len() >= most) {
            self.until_there_is_space(Store::roll)?;
        }
        Ok(())
    }

    /// Does what a full disk may refuse, again and again until it does not.
    fn until_there_is_space(
        &mut self,
        mut f: impl FnMut(&mut Store<D>) -> Result<(), store::Error>,
    ) -> Result<(), store::Error> {
        let mut told = false;
        loop {
            match f(&mut self.store) {
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
        match self.store.idle() {
            Ok(()) => {}
            Err(error @ store::Error::Stopped { .. }) => return Err(error),
            // Only a restart would have used what was to be written.
            Err(error) => log::warn!("{error}"),
        }
        self.measure()
    }

    fn measure(&mut self) -> Result<(), store::Error> {
        self.unmeasured = 0;
        let space = match self.store.space() {
            Ok(space) => space,
            Err(error @ store::Error::Stopped { .. }) => return Err(error),
            Err(error) => {
                log::warn!("{error}");
                return Ok(());
            }
        };
        let mark = if self.full { HIGH } else { LOW };
        // Where space cannot be known, a write that succeeds tells.
        let full = space.is_some_and(|space| space < mark) || !self.store.has_reserve();
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

    fn answer(&self, answer: Answer) {
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
        disk: Disk,
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
        fn hear(&mut self) -> Told {
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

    #[test]
    fn what_is_told_durable_survives_a_crash() {
        let mut world = World::new(0);
        world.append(1..11);
        assert!(matches!(world.hear(), Told::Durable(Zxid(10))));
        world.disk.roll();
        world.append(11..21);
        assert!(matches!(world.hear(), Told::Durable(Zxid(20))));
        world.simulated.crash();
        for (log, from) in [("version-2/log.1", 1_i64), ("version-2/log.b", 11)] {
            let bytes = world.simulated.read(log).unwrap();
            assert_eq!(bytes.len(), 16 + 10 * 1013);
            // Behind file header, checksum and length.
            assert_eq!(bytes[28 + 12..28 + 20], from.to_be_bytes());
        }
        assert!(world.disk.stop());
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
        assert!(world.disk.stop());
    }

    #[test]
    fn a_full_disk_is_told_and_the_batch_waits() {
        let mut world = World::new(0);
        world.simulated.set_capacity(Some(20 << 20));
        world.append(1..2);
        assert!(matches!(world.hear(), Told::Durable(Zxid(1))));
        world.simulated.set_capacity(Some(1));
        world.append(2..100);
        assert!(matches!(world.hear(), Told::Full(true)));
        assert!(world.disk.hear().is_none());
        world.simulated.set_capacity(None);
        assert!(matches!(world.hear(), Told::Durable(Zxid(99))));
        assert!(matches!(world.hear(), Told::Full(false)));
        assert!(world.disk.stop());
    }
}
