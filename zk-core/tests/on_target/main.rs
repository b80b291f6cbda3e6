//! Tests that run on the host and, from the same source, on a microcontroller.
//!
//! Each file below lists its tests with `tests![..]`. Here that makes each of them a `#[test]`; the
//! firmware `zk-embedded/boards/qemu-m3` includes the same files and makes it a table. A function
//! that is not listed is dead code, and a warning.

/// Lists the tests of a file.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        mod tests {
            $(#[test]
            fn $name() {
                super::$name();
            })*
        }
    };
}

mod codec;
mod election;
mod profile;
mod restore;
mod tree;
