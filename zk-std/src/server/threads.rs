//! A thread that works for the state thread.

use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mio::Waker;

/// A thread that ends when nobody can give it orders any more. When this is dropped, it has ended:
/// nothing writes to a data directory behind the back of the server that opens it next.
///
/// So whoever has one declares it behind the channel of its orders, which is dropped before it.
#[derive(Debug)]
pub(super) struct Thread {
    name: &'static str,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts it; `waker` wakes the state thread when it ends.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start(
        name: &'static str,
        waker: Arc<Waker>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let end = End { ended: Arc::clone(&ended), waker };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _end = end;
            work();
        })?;
        Ok(Self { name, ended, thread: Some(thread) })
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it has ended, so that [`join`](Self::join) does not wait.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits for its end. False if it panicked.
    pub(super) fn join(mut self) -> bool {
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread {} panicked", self.name);
        }
    }
}

/// Tells the end of a thread, also if it panics.
struct End {
    ended: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the server: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{SyncSender, sync_channel};

    use mio::{Events, Poll, Token};

    use super::*;

    struct Worker {
        orders: SyncSender<bool>,
        done: Arc<AtomicBool>,
        thread: Thread,
    }

    /// It panics when it is ordered to.
    fn worker(waker: &Arc<Waker>) -> Worker {
        let waker = Arc::clone(waker);
        let (orders, inbox) = sync_channel::<bool>(1);
        let done = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&done);
        let work = move || {
            for order in inbox {
                assert!(!order, "ordered to panic");
            }
            thread::yield_now();
            tell.store(true, Ordering::Relaxed);
        };
        Worker { orders, done, thread: Thread::start("worker", waker, work).unwrap() }
    }

    #[test]
    fn it_is_over_when_it_is_dropped() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        for _ in 0..100 {
            let worker = worker(&waker);
            assert!(!worker.thread.has_ended());
            let done = Arc::clone(&worker.done);
            drop(worker);
            assert!(done.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn its_end_wakes_and_tells_of_a_panic() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut events = Events::with_capacity(1);
        for panics in [false, true] {
            let Worker { orders, thread, .. } = worker(&waker);
            if panics {
                orders.send(true).unwrap();
            }
            drop(orders);
            while !thread.has_ended() {
                poll.poll(&mut events, None).unwrap();
            }
            assert_eq!(thread.join(), !panics);
        }
    }
}
