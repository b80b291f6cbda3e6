//! What groups of tests need beyond Rust, whether it is here, and the lines that install it.

use std::path::{Path, PathBuf};

use crate::bare::{self, Facts, Source, Supply};
use crate::checkout::Checkout;
use crate::command::first_line;
use crate::install::{self, System};
use crate::{bench, groups, interop};

/// Something that a group cannot be run without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// `cargo fmt`.
    Rustfmt,
    /// `cargo clippy`.
    Clippy,
    /// A compiler for every target of the table.
    BareMetal,
    /// Clippy for them.
    BareClippy,
    /// The emulator of Cortex-M boards.
    QemuArm,
    /// The emulator of RISC-V boards.
    QemuRiscv,
    /// A Java runtime.
    Java,
    /// Apache ZooKeeper's jars.
    ZooKeeper,
    /// Python with kazoo, in a virtual environment below the target directory.
    Kazoo,
    /// What counts instructions.
    Valgrind,
    /// A compiler of C++, for libFuzzer.
    Cpp,
}

/// Every need, in the order of the doctor's list.
const ALL: [Need; 11] = [
    Need::Rustfmt,
    Need::Clippy,
    Need::BareMetal,
    Need::BareClippy,
    Need::QemuArm,
    Need::QemuRiscv,
    Need::Java,
    Need::ZooKeeper,
    Need::Kazoo,
    Need::Valgrind,
    Need::Cpp,
];

/// Where packages put Apache ZooKeeper's jar: Debian, Homebrew on both of its prefixes.
const JARS: [&str; 3] = [
    "/usr/share/java/zookeeper.jar",
    "/opt/homebrew/opt/zookeeper/libexec",
    "/usr/local/opt/zookeeper/libexec",
];

/// Where they put its script, in the same order.
const SCRIPTS: [&str; 3] = [
    "/usr/share/zookeeper/bin/zkServer.sh",
    "/opt/homebrew/opt/zookeeper/libexec/bin/zkServer.sh",
    "/usr/local/opt/zookeeper/libexec/bin/zkServer.sh",
];

/// What starts a server of Apache's.
pub(crate) fn apache_script() -> Option<PathBuf> {
    SCRIPTS.iter().map(PathBuf::from).find(|script| script.exists())
}

impl Need {
    /// What it is.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rustfmt => "rustfmt",
            Self::Clippy => "clippy",
            Self::BareMetal => "Rust for bare-metal targets",
            Self::BareClippy => "clippy for bare-metal targets",
            Self::QemuArm => "QEMU for Cortex-M boards",
            Self::QemuRiscv => "QEMU for RISC-V boards",
            Self::Java => "a Java runtime",
            Self::ZooKeeper => "Apache ZooKeeper",
            Self::Kazoo => "Python with kazoo",
            Self::Valgrind => "valgrind",
            Self::Cpp => "a C++ compiler",
        }
    }

    /// What is here, or nothing.
    pub(crate) fn found(self, checkout: &Checkout) -> Option<String> {
        let cargo = checkout.cargo([]).get_program().display().to_string();
        match self {
            Self::Rustfmt => first_line(&cargo, &["fmt", "--version"]),
            Self::Clippy => first_line(&cargo, &["clippy", "--version"]),
            Self::BareMetal => {
                let facts = Facts::gather();
                Some(match facts.supply()? {
                    Supply::Installed => "targets of the host's toolchain".to_owned(),
                    Supply::Debian => format!("Debian's {}, building core", facts.debian?),
                })
            }
            Self::BareClippy => bare::clippy_version(),
            Self::QemuArm => first_line("qemu-system-arm", &["--version"]),
            Self::QemuRiscv => first_line("qemu-system-riscv32", &["--version"]),
            // Java prints its version on standard error; macOS has a `java` that only asks for one.
            Self::Java => first_line("java", &["-version"]).map(|_| "java".to_owned()),
            Self::ZooKeeper => {
                JARS.iter().find(|jar| Path::new(jar).exists()).map(ToString::to_string)
            }
            Self::Kazoo => interop::kazoo(checkout),
            Self::Valgrind => first_line("valgrind", &["--version"]),
            // As the build script of libFuzzer chooses it.
            Self::Cpp => {
                let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
                first_line(&compiler, &["--version"])
            }
        }
    }

    /// Debian's packages that bring it.
    pub(crate) fn apt(self) -> &'static [&'static str] {
        match self {
            Self::Rustfmt | Self::Clippy => &[],
            Self::BareMetal => &["rustc-web", "rust-web-src"],
            Self::BareClippy => &["rust-web-clippy"],
            Self::QemuArm => &["qemu-system-arm"],
            Self::QemuRiscv => &["qemu-system-misc"],
            Self::Java => &["default-jre-headless"],
            Self::ZooKeeper => &["zookeeper"],
            Self::Kazoo => &["python3", "python3-venv"],
            Self::Valgrind => &["valgrind"],
            Self::Cpp => &["g++"],
        }
    }

    /// Homebrew's formulas that bring it.
    pub(crate) fn brew(self) -> &'static [&'static str] {
        match self {
            Self::Rustfmt | Self::Clippy => &[],
            Self::BareMetal | Self::BareClippy => &["rustup"],
            Self::QemuArm | Self::QemuRiscv => &["qemu"],
            Self::Java => &["openjdk"],
            Self::ZooKeeper => &["zookeeper"],
            Self::Kazoo => &["python3"],
            Self::Valgrind => &["valgrind"],
            Self::Cpp => &["gcc"],
        }
    }

    /// The lines that a person types to get it.
    pub(crate) fn lines(self, checkout: &Checkout, system: System) -> Vec<String> {
        let packages = |system: System| match system {
            System::Apt => install::Apt::plan(self.apt()).lines(),
            System::Brew => vec![format!("brew install {}", self.brew().join(" "))],
            System::Other => vec![
                format!("apt-get install --no-install-recommends {}", self.apt().join(" ")),
                format!("or: brew install {}", self.brew().join(" ")),
            ],
        };
        match self {
            Self::Rustfmt => vec!["rustup component add rustfmt".to_owned()],
            Self::Clippy => vec!["rustup component add clippy".to_owned()],
            // It comes with the compiler that it belongs to.
            Self::BareClippy if bare::from_host() => Self::Clippy.lines(checkout, system),
            Self::BareMetal => {
                let facts = Facts::gather();
                match facts.source() {
                    Source::Rustup => {
                        vec![format!("rustup target add {}", facts.missing.join(" "))]
                    }
                    Source::Apt => packages(system),
                }
            }
            Self::Kazoo => {
                let mut lines = Vec::new();
                if first_line("python3", &["-c", "import venv, ensurepip"]).is_none() {
                    lines = packages(system);
                }
                lines.extend(interop::kazoo_lines(checkout));
                lines
            }
            Self::BareClippy
            | Self::QemuArm
            | Self::QemuRiscv
            | Self::Java
            | Self::ZooKeeper
            | Self::Valgrind
            | Self::Cpp => packages(system),
        }
    }
}

/// Prints what is here and what is missing; returns whether nothing is.
pub(crate) fn doctor(checkout: &Checkout) -> bool {
    let system = System::here();
    let mut complete = true;
    for need in ALL {
        let mut users = groups::that_need(need);
        if bench::needs(need) {
            users.push("bench");
        }
        let users = users.join(", ");
        if let Some(found) = need.found(checkout) {
            println!("present  {} ({users}): {found}", need.name());
        } else {
            complete = false;
            println!("MISSING  {} ({users}). To install it:", need.name());
            for line in need.lines(checkout, system) {
                println!("             {line}");
            }
        }
    }
    if !complete {
        println!(
            "\n`cargo xtask test --install` installs it too, and root on Debian needs no flag."
        );
    }
    complete
}
