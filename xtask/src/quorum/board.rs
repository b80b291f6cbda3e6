//! The emulated boards that have firmware, and how QEMU is told about one.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::switch::{board_socket, port_socket};

/// A board that is emulated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Board {
    /// Its package in `zk-embedded/boards`, and the name of its firmware.
    pub(crate) name: &'static str,
    /// The target that its firmware is built for.
    pub(crate) triple: &'static str,
    /// The program that emulates it, and what it is told of the machine.
    pub(crate) qemu: &'static str,
    machine: &'static [&'static str],
    /// The network's device.
    nic: &'static str,
    /// Bytes of its flash.
    pub(crate) flash: u64,
}

/// All of them.
pub(crate) const BOARDS: &[Board] = &[
    Board {
        name: "emcraft-sf2",
        triple: "thumbv7m-none-eabi",
        qemu: "qemu-system-arm",
        machine: &["-M", "emcraft-sf2"],
        nic: "nic,model=msf2-emac,netdev=n",
        flash: 16 << 20,
    },
    Board {
        name: "sifive-u",
        triple: "riscv32imac-unknown-none-elf",
        qemu: "qemu-system-riscv32",
        machine: &["-M", "sifive_u", "-smp", "2", "-bios", "none"],
        nic: "nic,netdev=n",
        flash: 32 << 20,
    },
];

/// The board of that name.
pub(crate) fn named(name: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.name == name)
}

impl Board {
    /// The command that switches one on, at a port of the switch whose sockets are in `sockets`.
    pub(crate) fn boot(
        &self,
        firmware: &Path,
        flash: &Path,
        sockets: &Path,
        port: usize,
    ) -> Command {
        let mut qemu = Command::new(self.qemu);
        qemu.args(self.machine);
        qemu.args(["-nographic", "-monitor", "none", "-serial", "none"]);
        qemu.args(["-semihosting-config", "enable=on,target=native"]);
        qemu.arg("-kernel").arg(firmware);
        qemu.arg("-drive").arg(joined("if=mtd,format=raw,file=", flash));
        let mut cable =
            joined("dgram,id=n,local.type=unix,local.path=", &board_socket(sockets, port));
        cable.push(joined(",remote.type=unix,remote.path=", &port_socket(sockets, port)));
        qemu.arg("-netdev").arg(cable).args(["-net", self.nic]);
        qemu
    }
}

/// An option of QEMU's that ends in a path: commas in it are doubled.
fn joined(option: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(option);
    // A path that is no text has no commas that anybody could double.
    match path.to_str() {
        Some(path) => joined.push(path.replace(',', ",,")),
        None => joined.push(path),
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::named as shown;
    use crate::targets::TARGETS;

    #[test]
    fn qemu_is_told_all_of_it() {
        let path = Path::new;
        let boot = BOARDS[0].boot(path("fw"), path("a,b/node2.bin"), path("s"), 2);
        assert_eq!(
            shown(&boot),
            "qemu-system-arm -M emcraft-sf2 -nographic -monitor none -serial none \
             -semihosting-config enable=on,target=native -kernel fw \
             -drive if=mtd,format=raw,file=a,,b/node2.bin \
             -netdev dgram,id=n,local.type=unix,local.path=s/node2.sock,remote.type=unix,remote.path=s/sw2.sock \
             -net nic,model=msf2-emac,netdev=n"
        );
    }

    #[test]
    fn boards_have_targets_that_are_built() {
        for board in BOARDS {
            assert!(TARGETS.iter().any(|target| target.triple == board.triple), "{}", board.name);
            assert_eq!(named(board.name), Some(board));
        }
        assert_eq!(named("pdp-11"), None);
    }
}
