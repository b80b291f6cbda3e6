//! The thread that writes snapshots, and removes old ones.
//!
//! It has a view of the data directory of its own, so that appends never wait for it.

use core::sync::atomic::{AtomicI64, Ordering};
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use mio::Waker;
use zk_core::id::Zxid;
use zk_core::wire::file::SnapshotDigest;

use super::threads::Thread;
use crate::store::{self, Directory, SnapshotWriter, Store};

/// Orders that may wait: the end of one snapshot, and the beginning and first piece of the next.
const ORDERS: usize = 8;

enum Order {
    Begin(Zxid),
    Bytes(Vec<u8>),
    End(SnapshotDigest),
    Drop,
}

/// What the thread told.
pub(super) enum Told {
    /// That many bytes were written.
    Written(usize),
    /// The snapshot is durable, after so long.
    Done(Duration),
    /// The snapshot was given up.
    Failed,
}

enum Answer {
    Written(Vec<u8>),
    Done(Duration),
    Failed,
}

/// How it works.
#[derive(Debug)]
pub(super) struct Options {
    /// Whether snapshots end with the last zxid.
    pub(super) last_zxid: bool,
    /// How often old ones are removed; the first time at once.
    pub(super) purge_every: Option<Duration>,
    /// Snapshots that are left.
    pub(super) keep: usize,
    /// The zxid from which on nothing may be removed, because a learner is sent it.
    pub(super) pinned: Arc<AtomicI64>,
    /// The file `initialize`, which has served when the first snapshot is there.
    pub(super) initialize: Option<PathBuf>,
}

/// The thread, as the state thread sees it.
pub(super) struct Snapshots {
    orders: SyncSender<Order>,
    answers: Receiver<(u64, Answer)>,
    /// Counts snapshots, so that a late answer is not taken for one about the next.
    begun: u64,
    spare: Option<Vec<u8>>,
    thread: Thread,
}

impl Snapshots {
    /// Starts the thread.
    pub(super) fn start<D>(store: Store<D>, options: Options, waker: Arc<Waker>) -> io::Result<Self>
    where
        D: Directory + Send + 'static,
        D::File: Send,
    {
        let (orders, inbox) = sync_channel(ORDERS);
        let (outbox, answers) = sync_channel(2 * ORDERS);
        let worker = Worker {
            store,
            options,
            answers: outbox,
            waker: Arc::clone(&waker),
            begun: 0,
            writer: None,
            since: None,
        };
        let thread = Thread::start("zk-snapshots", waker, move || worker.run(&inbox))?;
        Ok(Self { orders, answers, begun: 0, spare: None, thread })
    }

    pub(super) fn begin(&mut self, zxid: Zxid) {
        self.begun += 1;
        self.order(Order::Begin(zxid));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let mut buffer = self.spare.take().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        self.order(Order::Bytes(buffer));
    }

    pub(super) fn end(&self, digest: SnapshotDigest) {
        self.order(Order::End(digest));
    }

    pub(super) fn drop_it(&self) {
        self.order(Order::Drop);
    }

    fn order(&self, order: Order) {
        match self.orders.try_send(order) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            // One piece is out at a time.
            Err(TrySendError::Full(_)) => log::error!("the snapshot thread has too many orders"),
        }
    }

    /// What there is to hear.
    pub(super) fn hear(&mut self) -> Option<Told> {
        loop {
            let (about, answer) = self.answers.try_recv().ok()?;
            let told = match answer {
                Answer::Written(buffer) => {
                    let len = buffer.len();
                    self.spare = Some(buffer);
                    Told::Written(len)
                }
                Answer::Done(took) => Told::Done(took),
                Answer::Failed => Told::Failed,
            };
            if !matches!(told, Told::Written(_)) {
                self.spare = None;
            }
            if about == self.begun {
                return Some(told);
            }
        }
    }

    /// Lets it end; what is unfinished is dropped.
    pub(super) fn stop(self) -> Thread {
        self.thread
    }
}

struct Worker<D: Directory> {
    store: Store<D>,
    options: Options,
    answers: SyncSender<(u64, Answer)>,
    waker: Arc<Waker>,
    begun: u64,
    writer: Option<SnapshotWriter<D>>,
    since: Option<Instant>,
}

impl<D: Directory> Worker<D> {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut purge_at = self.options.purge_every.map(|_| Instant::now());
        loop {
            let order = match purge_at {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => orders.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match order {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {
                    self.purge();
                    purge_at = self.options.purge_every.map(|every| Instant::now() + every);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let result = match order {
            Order::Begin(zxid) => {
                self.begun += 1;
                self.since = Some(Instant::now());
                // What was left of another goes first: it may have the same name.
                self.writer = None;
                self.store.begin_snapshot(zxid).map(|writer| self.writer = Some(writer))
            }
            Order::Bytes(bytes) => match &mut self.writer {
                Some(writer) => writer.write(&bytes).map(|()| self.answer(Answer::Written(bytes))),
                // It has failed, and that was told.
                None => Ok(()),
            },
            Order::End(digest) => match self.writer.take() {
                Some(writer) => self.finish(writer, digest),
                None => Ok(()),
            },
            Order::Drop => {
                if let Some(writer) = self.writer.take() {
                    log::warn!(
                        "the snapshot of {} was given up: the disk is too slow for it. The log \
                         goes on; another is tried when it is due",
                        writer.zxid()
                    );
                }
                Ok(())
            }
        };
        if let Err(error) = result {
            log::error!(
                "the snapshot was given up: {error}. The log goes on; another is tried when it is \
                 due"
            );
            self.writer = None;
            self.answer(Answer::Failed);
        }
    }

    fn finish(
        &mut self,
        writer: SnapshotWriter<D>,
        digest: SnapshotDigest,
    ) -> Result<(), store::Error> {
        let zxid = writer.zxid();
        let bytes = writer.bytes();
        let name = writer.finish(Some(digest), self.options.last_zxid.then_some(zxid))?;
        let took = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        log::info!("wrote {name}: {bytes} bytes in {} ms", took.as_millis());
        if let Some(path) = self.options.initialize.take()
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove {}: {error}", path.display());
        }
        self.answer(Answer::Done(took));
        Ok(())
    }

    fn purge(&mut self) {
        let pinned = Zxid(self.options.pinned.load(Ordering::Relaxed));
        match self.store.purge(self.options.keep, Some(pinned)) {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => log::info!("purged {} old snapshots and logs", removed.len()),
            Err(error) => log::warn!("cannot purge: {error}"),
        }
    }

    fn answer(&self, answer: Answer) {
        if self.answers.send((self.begun, answer)).is_ok()
            && let Err(error) = self.waker.wake()
        {
            log::error!("cannot wake the server: {error}");
        }
    }
}
