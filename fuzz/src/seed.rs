//! Seeds of a target's corpus, made when it starts: the golden bytes are not kept twice.

use std::path::Path;

/// Writes `seeds` into the corpus: the first directory on the command line, if there is one.
///
/// # Panics
/// When a seed cannot be written.
pub fn plant(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(corpus) = std::env::args().skip(1).find(|arg| Path::new(arg).is_dir()) else { return };
    for (number, seed) in seeds().iter().enumerate() {
        let path = Path::new(&corpus).join(format!("seed-{number:03}"));
        std::fs::write(&path, seed).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

/// A file of the repository, by its path from the root.
///
/// # Panics
/// When it cannot be read.
pub fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
