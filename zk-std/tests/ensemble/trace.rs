//! What happens in a run, as a script for people, and as one number that tells two runs apart.

use std::hash::{DefaultHasher, Hasher};

/// A run's trace.
pub(crate) struct Trace {
    hasher: DefaultHasher,
    print: bool,
}

impl Trace {
    /// An empty one. With `print`, each line is printed as it comes.
    pub(crate) fn new(print: bool) -> Self {
        Self { hasher: DefaultHasher::new(), print }
    }

    /// Something happened at that time; `words` tell it apart from everything else.
    pub(crate) fn note(&mut self, now: u64, words: &[i64], line: impl FnOnce() -> String) {
        self.hasher.write_u64(now);
        for word in words {
            self.hasher.write_i64(*word);
        }
        if self.print {
            println!("{now:>7} {}", line());
        }
    }

    /// Tells this trace apart from others.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
