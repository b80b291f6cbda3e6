//! Time, and sleep that a frame ends.

use zk_core::time::Instant;

/// The time since the start of a board.
pub trait Clock {
    /// Now; never earlier than it said before.
    fn now(&self) -> Instant;

    /// Stops the processor until the time has come or `ready` says so, whose answer only an interrupt
    /// of the network changes. Without a time, until it says so.
    fn sleep_until(&mut self, until: Option<Instant>, ready: impl Fn() -> bool);
}
