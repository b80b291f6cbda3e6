//! Time as the core knows it: handed in by the shell, never read.

/// A moment of the shell's monotonic clock, in milliseconds since any fixed origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Instant(pub u64);

impl Instant {
    /// `ms` milliseconds later, saturating.
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`, zero if that lies ahead.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What every inlet of the core is given: both clocks at the same moment.
///
/// Timers run on `monotonic`. `wall` is only written into transactions (ctime, mtime), where the
/// core keeps it from running backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// For timers.
    pub monotonic: Instant,
    /// Milliseconds since 1970-01-01 UTC.
    pub wall: i64,
}

impl Now {
    /// Both clocks at one moment, in milliseconds.
    pub const fn new(monotonic_ms: u64, wall_ms: i64) -> Self {
        Self { monotonic: Instant(monotonic_ms), wall: wall_ms }
    }
}
