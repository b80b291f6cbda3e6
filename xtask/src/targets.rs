//! The one table of targets that zk builds for.

/// A microcontroller target of `zk-core` and `zk-embedded`.
#[derive(Debug)]
pub(crate) struct Target {
    /// The name that rustc knows it by.
    pub(crate) triple: &'static str,
    /// Sets of features that `zk-core` is built with, each without the default ones; with none of
    /// them `zk-embedded` as well.
    pub(crate) features: &'static [&'static str],
    /// What runs a program for it on this machine, where we have something.
    pub(crate) runner: Option<Runner>,
}

/// An emulator of a board with this processor.
#[derive(Debug)]
pub(crate) struct Runner {
    /// The program.
    pub(crate) qemu: &'static str,
    /// Its name for the board.
    pub(crate) machine: &'static str,
    /// The package in `zk-embedded/boards` that is built for the board.
    pub(crate) firmware: &'static str,
}

/// No alloc: every table is lent by the caller. With alloc: tables may grow.
const CORE: &[&str] = &["", "alloc"];

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    Target { triple: "thumbv6m-none-eabi", features: CORE, runner: None },
    Target {
        triple: "thumbv7m-none-eabi",
        features: CORE,
        runner: Some(Runner {
            qemu: "qemu-system-arm",
            machine: "mps2-an385",
            firmware: "qemu-m3",
        }),
    },
    Target { triple: "thumbv7em-none-eabihf", features: CORE, runner: None },
    Target { triple: "thumbv8m.main-none-eabihf", features: CORE, runner: None },
    Target { triple: "riscv32imc-unknown-none-elf", features: CORE, runner: None },
    Target { triple: "riscv32imac-unknown-none-elf", features: CORE, runner: None },
];

/// The target whose firmware image is measured.
pub(crate) const SIZED: &str = "thumbv7m-none-eabi";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_each_target_once() {
        for (i, target) in TARGETS.iter().enumerate() {
            assert!(TARGETS[..i].iter().all(|other| other.triple != target.triple));
            assert!(target.features.contains(&""), "{} is not built without alloc", target.triple);
        }
        assert!(TARGETS.iter().any(|target| target.triple == SIZED));
        assert!(TARGETS.iter().any(|target| target.runner.is_some()));
    }
}
