//! Runs one seed after the other, on all processors, until enough of them fail.

use std::cell::RefCell;
use std::num::NonZero;
use std::ops::Range;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::faults::Weather;
use super::met::Met;
use super::run;

thread_local! {
    /// Why the run of this thread has ended.
    static WHY: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Why a run has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failure {
    /// What was violated.
    pub(crate) why: String,
    /// Where that is said.
    pub(crate) place: String,
}

/// What a search has found.
#[derive(Debug)]
pub(crate) struct Found {
    /// What all runs together have met.
    pub(crate) met: Met,
    /// Seeds that fail, lowest first, and why.
    pub(crate) failures: Vec<(u64, Failure)>,
}

/// Keeps what a panic says, rather than printing it.
fn keep(info: &PanicHookInfo<'_>) {
    let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
    let why = info.payload_as_str().unwrap_or("?").to_owned();
    WHY.with_borrow_mut(|kept| *kept = Some(Failure { why, place: place.unwrap_or_default() }));
}

/// What goes wrong in the run of a seed.
pub(crate) fn attempt(seed: u64, without: &[usize]) -> Result<Met, Failure> {
    let done = panic::catch_unwind(|| run(seed, without, false));
    done.map(|(met, _)| met).map_err(|_| WHY.take().unwrap_or_default())
}

/// Tries a seed that fails without one kind of fault after the other: those that it fails without,
/// in the same place.
pub(crate) fn spare(seed: u64, failure: &Failure) -> Vec<usize> {
    quietly(|| {
        let mut without = vec![];
        for kind in 0..Weather::KINDS {
            without.push(kind);
            if attempt(seed, &without).err().is_none_or(|other| other.place != failure.place) {
                without.pop();
            }
        }
        without
    })
}

/// Does something during which panics are kept, and not printed.
pub(crate) fn quietly<T>(task: impl FnOnce() -> T) -> T {
    let before = panic::take_hook();
    panic::set_hook(Box::new(keep));
    let done = task();
    panic::set_hook(before);
    done
}

/// Runs the seeds until `most` of them have failed.
pub(crate) fn search(seeds: Range<u64>, most: u64) -> Found {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let without = super::without();
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(vec![]);
    let failed = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        let mut sum = Met::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed().len() as u64 >= most {
                return sum;
            }
            match attempt(seed, &without) {
                Ok(met) => sum = sum.plus(&met),
                Err(failure) => failed().push((seed, failure)),
            }
        }
    };
    let met = quietly(|| {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            let all = workers.into_iter().map(|worker| worker.join().expect("a worker"));
            all.fold(Met::default(), |sum, met| sum.plus(&met))
        })
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort();
    Found { met, failures }
}
