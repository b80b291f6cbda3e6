//! Members that keep to the protocol never accuse each other of violating it. Whatever a peer gives
//! as its reason for ending a link is overheard here, and judged.

use std::cell::{Cell, RefCell};
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

/// What ends the link of a member to a leader that holds more.
const FULL: &str = ": more than this server can hold";

/// What is said to a server that is in no configuration.
const STRANGER: &str = "server -1: a server that must not call here";

/// What is said by a leader that the last configuration but one has made one, to those who have heard
/// that the last one is in force before it has.
const LATER: &str = ": a learner with a later configuration";

thread_local! {
    static RETREATS: Cell<u64> = const { Cell::new(0) };
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
        if record.target() == "zk_core::peer::capacity"
            && record.args().to_string().starts_with("not calling a leader")
        {
            RETREATS.set(RETREATS.get() + 1);
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
    RETREATS.set(0);
}

/// How often a member would not call a leader for a while, as that holds more.
pub(crate) fn retreats() -> u64 {
    RETREATS.get()
}

/// Nobody must have been accused of anything, unless a member holds less than its leader; but where
/// configurations change, a server that has left, or comes soon, is a stranger to those who know better,
/// or not yet, and one may know a later configuration than its leader.
pub(crate) fn judge(reconfig: bool, smaller: bool) {
    OVERHEARD.with_borrow_mut(|all| {
        all.retain(|line| !reconfig || !line.ends_with(STRANGER) && !line.ends_with(LATER));
        all.retain(|line| !smaller || !line.ends_with(FULL));
        assert!(all.is_empty(), "members accuse each other: {all:?}");
    });
}
