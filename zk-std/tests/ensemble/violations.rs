//! Members that keep to the protocol never accuse each other of violating it. Whatever a peer gives
//! as its reason for ending a link is overheard here, and judged.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

/// What ends a link without anybody's fault: silence, or an election that others have overtaken.
const INNOCENT: &[&str] = &[
    "nothing was heard of it for too long",
    "a learner that is ahead of this leader",
    "a leader whose epoch is over",
    "it does not say who it is",
    "the log does not have what it lacks",
    "what it lacks cannot be read from the disk",
];

/// What is said to a server that is in no configuration.
const STRANGER: &str = "server -1: a server that must not call here";

thread_local! {
    static OVERHEARD: RefCell<Vec<String>> = const { RefCell::new(vec![]) };
}

static PRINT: AtomicBool = AtomicBool::new(false);

/// Listens to what peers say to their operators.
struct Listen;

impl log::Log for Listen {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if PRINT.load(Ordering::Relaxed) {
            println!("            {}: {}", record.level(), record.args());
        }
        if record.target() == "zk_core::peer::ensemble" && record.level() == log::Level::Warn {
            let line = record.args().to_string();
            let reason = line.strip_prefix("closing the link to server ");
            let reason = reason.and_then(|rest| Some(rest.split_once(": ")?.1));
            if let Some(reason) = reason
                && !INNOCENT.contains(&reason)
            {
                OVERHEARD.with_borrow_mut(|all| all.push(line.clone()));
            }
        }
    }

    fn flush(&self) {}
}

/// Begins to listen, in all threads.
pub(crate) fn listen() {
    // Another test may have begun already.
    if log::set_logger(&Listen).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

/// Prints everything that is overheard.
pub(crate) fn print(on: bool) {
    PRINT.store(on, Ordering::Relaxed);
    if on {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// Forgets what this thread has overheard.
pub(crate) fn forget() {
    OVERHEARD.with_borrow_mut(Vec::clear);
}

/// Nobody must have been accused of anything; but where configurations change, a server that has left,
/// or comes soon, is a stranger to those who know better, or not yet.
pub(crate) fn judge(reconfig: bool) {
    OVERHEARD.with_borrow_mut(|all| {
        all.retain(|line| !reconfig || !line.ends_with(STRANGER));
        assert!(all.is_empty(), "members accuse each other: {all:?}");
    });
}
