//! What Linux tells of a process: CPU time and memory.

use core::time::Duration;

use core::sync::atomic::{AtomicBool, Ordering};
use std::io;
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Result;

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on SIGINT and SIGTERM are seen by [`go_on`]; a second one ends the process at once.
pub(crate) fn notice_signals() -> io::Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(flag))?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// An error once the run was interrupted.
pub(crate) fn go_on() -> Result<()> {
    match INTERRUPTED.get() {
        Some(flag) if flag.load(Ordering::Relaxed) => Err("interrupted".into()),
        _ => Ok(()),
    }
}

/// CPU time of a process, all its threads, user and system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage(Duration);

impl Usage {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything; utime and stime are the fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").ok_or("/proc/<pid>/stat without a name")?;
        let mut fields = fields.split(' ').skip(11);
        let mut ticks = || -> Result<u64> {
            Ok(fields.next().ok_or("/proc/<pid>/stat is too short")?.parse()?)
        };
        let ticks = ticks()? + ticks()?;
        let hz = rustix::param::clock_ticks_per_second();
        Ok(Self(Duration::from_nanos(ticks * 1_000_000_000 / hz)))
    }

    /// Of several processes together.
    pub(crate) fn of_all(pids: impl Iterator<Item = u32>) -> Result<Self> {
        pids.map(Self::of).sum()
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl core::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        Self(all.map(|usage| usage.0).sum())
    }
}

/// Resident memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Bytes now.
    pub(crate) now: u64,
    /// The most there ever were.
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let line = line.ok_or_else(|| format!("/proc/{pid}/status without {name}"))?;
            Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
        };
        Ok(Self { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}
