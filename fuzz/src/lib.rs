//! Coverage-guided fuzzing of every decoder: the targets, and what they share.
//!
//! A target is a module here, with `run` for one input and `seeds` for its corpus, and a program of
//! libFuzzer's in `targets/`. `cargo xtask fuzz` builds the programs with coverage instrumentation
//! and runs them; see `docs/testing.md`. The tests run each target on its seeds alone.

pub mod client;
pub mod config;
pub mod flash;
pub mod history;
pub mod peer;
pub mod planted;
pub mod records;
pub mod store;

pub mod golden;
pub mod input;
pub mod picture;
pub mod seed;

#[allow(missing_docs)]
#[path = "../../zk-core/tests/support/mod.rs"]
pub mod support;

#[cfg(test)]
mod tests {
    use std::panic;

    fn holds(run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) {
        let seeds = seeds();
        assert!(!seeds.is_empty());
        for seed in &seeds {
            run(seed);
            // Cut anywhere, and with a byte that is wrong.
            for at in (0..seed.len()).step_by(1 + seed.len() / 3) {
                run(&seed[..at]);
                let mut wrong = seed.clone();
                wrong[at] ^= 0x81;
                run(&wrong);
            }
        }
    }

    #[test]
    fn records() {
        holds(super::records::run, super::records::seeds);
    }

    #[test]
    fn peer() {
        holds(super::peer::run, super::peer::seeds);
    }

    #[test]
    fn client() {
        holds(super::client::run, super::client::seeds);
    }

    #[test]
    fn history() {
        holds(super::history::run, super::history::seeds);
    }

    #[test]
    fn store() {
        holds(super::store::run, super::store::seeds);
    }

    #[test]
    fn flash() {
        holds(super::flash::run, super::flash::seeds);
    }

    #[test]
    fn config() {
        holds(super::config::run, super::config::seeds);
    }

    #[test]
    fn the_planted_bug_is_there() {
        super::planted::run(b"\0\0\0\x03/zk\0\0\0\0");
        assert!(panic::catch_unwind(|| super::planted::run(b"\0\0\0\x03/zkZKSN")).is_err());
    }
}
