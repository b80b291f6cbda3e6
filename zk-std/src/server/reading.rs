//! The thread that reads logs and snapshots for learners.
//!
//! It has a view of the data directory of its own. The core has one reading out for each learner.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mio::Waker;
use zk_core::peer::{Read, Reading};

use super::threads::Thread;
use crate::member::{Piece, Readers};
use crate::store::{Directory, Extent, Store};

/// Orders that may wait: more than there can be links.
const ORDERS: usize = 1024;

enum Order {
    Read(Reading, Read, Extent),
    Forget(usize),
}

/// The thread, as the state thread sees it.
pub(super) struct Reader {
    orders: SyncSender<Order>,
    answers: Receiver<(Reading, Piece)>,
    thread: Thread,
}

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start<D>(store: Store<D>, waker: Arc<Waker>) -> io::Result<Self>
    where
        D: Directory + Send + 'static,
        D::File: Send,
    {
        let (orders, inbox) = sync_channel(ORDERS);
        let (outbox, answers) = sync_channel(ORDERS);
        let wakes = Arc::clone(&waker);
        let thread = Thread::start("zk-reader", wakes, move || {
            let mut readers = Readers::default();
            for order in inbox {
                match order {
                    Order::Forget(link) => readers.forget(link),
                    Order::Read(reading, read, extent) => {
                        let piece = readers.read(&store, &extent, reading, read);
                        if outbox.send((reading, piece)).is_err() {
                            return;
                        }
                        if let Err(error) = waker.wake() {
                            log::error!("cannot wake the server: {error}");
                        }
                    }
                }
            }
        })?;
        Ok(Self { orders, answers, thread })
    }

    /// Reads for a learner, of what is durable up to `extent`. False when that is impossible.
    #[must_use]
    pub(super) fn read(&self, reading: Reading, read: Read, extent: Extent) -> bool {
        self.orders.try_send(Order::Read(reading, read, extent)).is_ok()
    }

    /// The link of that number is closed.
    pub(super) fn forget(&self, link: usize) {
        // Where it is not heard, the next learner on that link is read for anew all the same.
        let _ = self.orders.try_send(Order::Forget(link));
    }

    /// What there is to hear.
    pub(super) fn hear(&mut self) -> Option<(Reading, Piece)> {
        self.answers.try_recv().ok()
    }

    /// Lets it end.
    pub(super) fn stop(self) -> Thread {
        self.thread
    }
}
