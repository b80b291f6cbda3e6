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

/// A board whose drivers we have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Board {
    /// The package in `zk-embedded/boards`.
    pub(crate) package: &'static str,
    /// The target that it is built for.
    pub(crate) triple: &'static str,
    /// What stands for it on this machine. Without one it is built and measured, and what does not need
    /// its chip is tested on the host.
    pub(crate) emulator: Option<Emulator>,
    /// Other firmware than the usual: programs, each behind the feature of its name.
    pub(crate) programs: &'static [&'static str],
    /// How much its peer can hold.
    pub(crate) profile: &'static str,
    /// Whether it can be told to ask the network for its prefix and gateway.
    pub(crate) dhcp: bool,
    /// Bytes of flash that its firmware may take.
    pub(crate) code_max: u64,
    /// Bytes of RAM that its firmware may take, its stack included.
    pub(crate) ram_max: u64,
}

/// QEMU, as a board.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Emulator {
    /// The program.
    pub(crate) qemu: &'static str,
    /// Its arguments that make it that board.
    pub(crate) machine: &'static [&'static str],
    /// Bytes of its SPI flash.
    pub(crate) flash: u64,
}

/// A board that has an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Emulated {
    pub(crate) board: &'static Board,
    pub(crate) emulator: &'static Emulator,
}

/// A program whose network is a serial line.
pub(crate) const SERIAL: &str = "serial";

/// One whose flash takes as long as can be.
pub(crate) const SLOW: &str = "slow";

/// One whose members may be Apache's servers.
pub(crate) const APACHE: &str = "apache";

/// One that holds as little as the smallest boards; and the name of that profile.
pub(crate) const TINY: &str = "tiny";

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

/// Every board with drivers.
pub(crate) const BOARDS: &[Board] = &[
    Board {
        package: "emcraft-sf2",
        triple: "thumbv7m-none-eabi",
        emulator: Some(Emulator {
            qemu: "qemu-system-arm",
            machine: &["-M", "emcraft-sf2"],
            flash: 16 << 20,
        }),
        programs: &[APACHE, SERIAL, SLOW],
        profile: TINY,
        dhcp: false,
        code_max: 192 << 10,
        ram_max: 60 << 10,
    },
    Board {
        package: "sifive-u",
        triple: "riscv32imac-unknown-none-elf",
        emulator: Some(Emulator {
            qemu: "qemu-system-riscv32",
            machine: &["-M", "sifive_u", "-smp", "2", "-bios", "none"],
            flash: 32 << 20,
        }),
        programs: &[APACHE, TINY],
        profile: "small",
        dhcp: true,
        code_max: 246_000,
        ram_max: 112 << 10,
    },
    Board {
        package: "w5500-evb-pico2",
        triple: "thumbv8m.main-none-eabihf",
        emulator: None,
        programs: &[],
        profile: "small",
        dhcp: true,
        code_max: 207_000,
        ram_max: 124 << 10,
    },
];

/// Those of them that this machine can be.
pub(crate) fn emulated() -> impl Iterator<Item = Emulated> {
    BOARDS.iter().filter_map(|board| Some(Emulated { board, emulator: board.emulator.as_ref()? }))
}

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

    #[test]
    fn boards_have_a_target_of_the_table() {
        for board in BOARDS {
            assert!(TARGETS.iter().any(|target| target.triple == board.triple));
        }
    }
}
