//! Diagnostics: to `log`, to `defmt`, to both or to nobody, as the features say. Without either
//! feature nothing of them is compiled.
//!
//! Arguments are integers and text. Levels: `error` when the peer stops, `warning` for what an
//! operator should look into, `info` for what happens to the peer and ends sessions against their
//! client's will, `debug` for each session and snapshot, `trace` for each transaction.

/// Says something at a level: `say!(info, "text {}", argument)`. Crates that stand on this one say what they
/// have to say with it, too: the features that count are those of who says it, and it names `log` and `defmt`
/// there.
#[doc(hidden)]
#[macro_export]
macro_rules! say {
    ($level:ident, $($arg:tt)*) => {{
        #[cfg(feature = "log")]
        ::log::$level!($($arg)*);
        #[cfg(feature = "defmt")]
        ::defmt::$level!($($arg)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        if false {
            let _ = format_args!($($arg)*);
        }
    }};
}

macro_rules! error {
    ($($arg:tt)*) => { $crate::say!(error, $($arg)*) };
}

macro_rules! warning {
    ($($arg:tt)*) => { $crate::say!(warn, $($arg)*) };
}

macro_rules! info {
    ($($arg:tt)*) => { $crate::say!(info, $($arg)*) };
}

macro_rules! debug {
    ($($arg:tt)*) => { $crate::say!(debug, $($arg)*) };
}

macro_rules! trace {
    ($($arg:tt)*) => { $crate::say!(trace, $($arg)*) };
}

/// A warning about something that clients can make happen again and again: said the first, the
/// second, the fourth, the eighth time and so on. `$times` is a [`Times`]; the number of times is
/// the last argument of the text.
macro_rules! repeated {
    ($times:expr, $text:literal $(, $arg:expr)*) => {
        if let Some(times) = $times.again() {
            $crate::trace::warning!($text $(, $arg)*, times);
        }
    };
}

pub(crate) use {debug, error, info, repeated, trace, warning};

/// How often something was worth a warning.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    #[cfg(any(test, feature = "log", feature = "defmt"))]
    count: u32,
}

impl Times {
    /// Counts once more; the number, if it is a power of two.
    #[cfg(any(test, feature = "log", feature = "defmt"))]
    pub(crate) fn again(&mut self) -> Option<u32> {
        self.count = self.count.saturating_add(1);
        self.count.is_power_of_two().then_some(self.count)
    }

    /// Nobody listens.
    #[cfg(not(any(test, feature = "log", feature = "defmt")))]
    #[allow(clippy::unused_self, reason = "it counts when somebody listens")]
    pub(crate) fn again(&mut self) -> Option<u32> {
        None
    }
}

/// What may be said often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Often {
    /// Frames that are too long.
    pub(crate) long_frames: Times,
    /// Frames that cannot be read.
    pub(crate) malformed: Times,
    /// Clients that have seen more than this server.
    pub(crate) ahead: Times,
    /// Sessions that do not exist, or with another password.
    pub(crate) unknown_sessions: Times,
    /// There are as many sessions as there can be.
    pub(crate) sessions: Times,
    /// Credentials that prove nothing.
    pub(crate) credentials: Times,
    /// Replies that nobody reads.
    pub(crate) deaf: Times,
    /// Requests refused because the tree is full.
    pub(crate) full: Times,
    /// Transactions that do not make the tree that they promise.
    pub(crate) digests: Times,
    /// Watches refused.
    pub(crate) watches: Times,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_said_less_and_less_often() {
        let mut times = Times::default();
        let said: std::vec::Vec<_> = (0..40).filter_map(|_| times.again()).collect();
        assert_eq!(said, [1, 2, 4, 8, 16, 32]);
    }
}
