//! How far loading is, in one line on a terminal.

use core::time::Duration;
use std::io::Write as _;
use std::time::Instant;

/// Characters of the bar.
const WIDTH: u64 = 40;
/// Between two lines.
const PAUSE: Duration = Duration::from_millis(250);
/// Clears the line and goes back to its start.
const CLEAR: &str = "\r\x1b[K";

/// The line, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    /// When it was shown last.
    shown: Option<Instant>,
}

impl Progress {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), shown: None }
    }

    /// `done` bytes of `total` are loaded.
    pub(crate) fn show(&mut self, done: u64, total: u64) {
        if self.shown.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        self.shown = Some(Instant::now());
        // A terminal that is gone is no reason to stop.
        let _ = write!(anstream::stderr(), "{CLEAR}{}", line(done, total, self.begun.elapsed()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(anstream::stderr(), "{CLEAR}");
        }
    }
}

/// `loading [=====     ] 52 of 104 MB, 3 s left`, after `took`.
fn line(done: u64, total: u64, took: Duration) -> String {
    let done = done.min(total);
    let filled = WIDTH * done / total.max(1);
    let bar = format!("{:width$}", "=".repeat(filled as usize), width = WIDTH as usize);
    let left = match u64::try_from(took.as_millis()) {
        Ok(ms) if done > 0 => {
            let left = u128::from(ms) * u128::from(total - done) / u128::from(done);
            format!(", {} s left", left.div_ceil(1000))
        }
        _ => String::new(),
    };
    format!(
        "loading [{bar}] {} of {} MB{left}",
        done.div_ceil(1_000_000),
        total.div_ceil(1_000_000)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_it_is_and_how_long_it_takes() {
        let took = Duration::from_secs(3);
        let half = format!("loading [{}{}] 52 of 104 MB, 3 s left", "=".repeat(20), " ".repeat(20));
        assert_eq!(line(52_000_000, 104_000_000, took), half);
        let begin = format!("loading [{}] 0 of 1 MB", " ".repeat(40));
        assert_eq!(line(0, 700, took), begin);
        let end = format!("loading [{}] 1 of 1 MB, 0 s left", "=".repeat(40));
        assert_eq!(line(701, 700, took), end);
        assert_eq!(line(0, 0, took), format!("loading [{}] 0 of 0 MB", " ".repeat(40)));
    }
}
