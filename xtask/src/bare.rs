//! The compiler for bare-metal targets: the host's with its targets installed, or Debian's, which
//! builds `core` and `alloc` from source where the host's toolchains are not ours to change.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checkout::Checkout;
use crate::command::first_line;
use crate::targets::TARGETS;

/// Debian's compiler.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The clippy that belongs to it.
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";
/// The library sources that belong to it.
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/";

/// Where `core` for a bare-metal target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    /// The host's toolchain has every target of the table.
    Installed,
    /// Debian's compiler builds it.
    Debian,
}

/// How a machine without either comes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `rustup target add`.
    Rustup,
    /// Debian's packages.
    Apt,
}

/// What decides where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Targets of the table that the host's toolchain lacks.
    pub(crate) missing: Vec<&'static str>,
    /// The version of Debian's compiler, if it and its sources are there and new enough.
    pub(crate) debian: Option<String>,
    /// `RUSTUP_AUTO_INSTALL=0`: this machine's toolchains are not ours to change.
    pub(crate) guarded: bool,
    /// Whether rustup is there.
    pub(crate) rustup: bool,
}

impl Facts {
    /// Asks the machine.
    pub(crate) fn gather() -> Self {
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let lacks = |triple: &str| {
            let dir = first_line(&rustc, &["--print", "target-libdir", "--target", triple]);
            !dir.is_some_and(|dir| has_core(Path::new(&dir)))
        };
        let debian = first_line(DEBIAN_RUSTC, &["--version"])
            .filter(|_| Path::new(DEBIAN_SOURCES).join("core/src/lib.rs").is_file())
            .filter(|line| new_enough(line));
        Self {
            missing: TARGETS.iter().map(|target| target.triple).filter(|t| lacks(t)).collect(),
            debian,
            guarded: std::env::var_os("RUSTUP_AUTO_INSTALL").is_some_and(|value| value == "0"),
            rustup: first_line("rustup", &["--version"]).is_some(),
        }
    }

    /// What builds the targets now, if anything does.
    pub(crate) fn supply(&self) -> Option<Supply> {
        if self.missing.is_empty() {
            Some(Supply::Installed)
        } else {
            self.debian.as_ref().map(|_| Supply::Debian)
        }
    }

    /// Where to get it from when nothing does.
    pub(crate) fn source(&self) -> Source {
        if self.rustup && !self.guarded { Source::Rustup } else { Source::Apt }
    }
}

fn has_core(dir: &Path) -> bool {
    let Ok(entries) = dir.read_dir() else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().display().to_string();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

/// Whether `rustc --version` tells of a compiler that the workspace can be built with.
fn new_enough(line: &str) -> bool {
    match (version(line), version(concat!("rustc ", env!("CARGO_PKG_RUST_VERSION")))) {
        (Some(found), Some(wanted)) => found >= wanted,
        _ => false,
    }
}

/// Major and minor version in the first line of `rustc --version`.
fn version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.strip_prefix("rustc ")?.split(['.', ' ', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `cargo build` for bare-metal targets, to which `-p` and the like may be added.
pub(crate) fn build(checkout: &Checkout, supply: Supply, triples: &[&str]) -> Command {
    prepared(checkout.cargo(["build"]), checkout, supply, triples)
}

/// A command of cargo's with what makes it work for bare-metal targets.
fn prepared(
    mut command: Command,
    checkout: &Checkout,
    supply: Supply,
    triples: &[&str],
) -> Command {
    command.env("CARGO_TARGET_DIR", checkout.bare_target());
    // Nobody runs these, nor steps through them with a debugger: that takes most of the time.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_DEV_OPT_LEVEL", "0");
    command.args(["--config", "profile.dev.package.zk-embedded.opt-level=0"]);
    for triple in triples {
        command.args(["--target", triple]);
    }
    if supply == Supply::Debian {
        // Tables that save time are hundreds of bytes.
        command.args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=optimize_for_size"]);
        command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
        // A wrapper (sccache) would find its answers under the host's compiler.
        command.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
    }
    command
}

/// The command that builds a package of `zk-embedded/boards` with some flags for rustc, and where it
/// leaves the image.
pub(crate) fn firmware(
    checkout: &Checkout,
    supply: Supply,
    triple: &str,
    package: &str,
    flags: &str,
) -> (Command, PathBuf) {
    let mut command = build(checkout, supply, &[triple]);
    in_boards(&mut command, checkout, supply, triple, package, flags);
    (command, checkout.bare_target().join(triple).join("size").join(package))
}

/// Where the firmware's other program of that name is left.
pub(crate) fn program(image: &Path, name: &str) -> PathBuf {
    image.with_file_name(name)
}

/// The command that looks at a package of `zk-embedded/boards` with clippy, with some flags for rustc, and
/// a feature of the package.
pub(crate) fn clippy(
    checkout: &Checkout,
    supply: Supply,
    triple: &str,
    package: &str,
    (flags, feature): (&str, Option<&str>),
) -> Command {
    let command = match supply {
        Supply::Installed => checkout.cargo(["clippy"]),
        Supply::Debian => {
            let mut clippy = Command::new(DEBIAN_CLIPPY);
            clippy.arg("clippy");
            clippy
        }
    };
    let mut command = prepared(command, checkout, supply, &[triple]);
    // As the firmware is built, so that what it stands on is there already.
    in_boards(&mut command, checkout, supply, triple, package, flags);
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    command.args(["--", "-D", "warnings"]);
    command
}

/// Whether the host's toolchain builds bare-metal targets, or would if we installed them.
pub(crate) fn from_host() -> bool {
    let facts = Facts::gather();
    match facts.supply() {
        Some(supply) => supply == Supply::Installed,
        None => facts.source() == Source::Rustup,
    }
}

/// The clippy for bare-metal targets, if it is there.
pub(crate) fn clippy_version() -> Option<String> {
    match Facts::gather().supply()? {
        Supply::Installed => {
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
            first_line(&cargo, &["clippy", "--version"])
        }
        Supply::Debian => first_line(DEBIAN_CLIPPY, &["--version"]),
    }
}

/// Lets a command work on a package of `zk-embedded/boards`, with some flags for rustc.
fn in_boards(
    command: &mut Command,
    checkout: &Checkout,
    supply: Supply,
    triple: &str,
    package: &str,
    flags: &str,
) {
    command.current_dir(checkout.boards()).args(["--profile", "size", "-p", package]);
    let mut flags: Vec<String> = flags.split_whitespace().map(ToOwned::to_owned).collect();
    if supply == Supply::Debian
        && let Some(linker) = host_linker()
    {
        // Debian's package brings no rust-lld.
        let variable = triple.to_uppercase().replace(['-', '.'], "_");
        command.env(format!("CARGO_TARGET_{variable}_LINKER"), linker);
        flags.push("-Clinker-flavor=ld.lld".to_owned());
    }
    flags.extend(sources(checkout).iter().map(|dir| format!("--remap-path-prefix={dir}=")));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
}

/// Where this machine keeps sources. A panic tells its file: an image must not be larger, or tell
/// more, because they lie deep.
pub(crate) fn sources(checkout: &Checkout) -> Vec<String> {
    let mut dirs = vec![checkout.root.clone(), PathBuf::from(DEBIAN_SOURCES)];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    if let Some(home) = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        && let Ok(registries) = home.join("registry").join("src").read_dir()
    {
        dirs.extend(registries.flatten().map(|registry| registry.path()));
    }
    // With its separator at the end, what is left is a relative path.
    dirs.iter().map(|dir| dir.join("").display().to_string()).collect()
}

/// rust-lld of the host's toolchain.
fn host_linker() -> Option<PathBuf> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let sysroot = first_line(&rustc, &["--print", "sysroot"])?;
    let hosts = Path::new(&sysroot).join("lib/rustlib").read_dir().ok()?;
    hosts.flatten().map(|host| host.path().join("bin/rust-lld")).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { missing: vec!["thumbv7m-none-eabi"], debian: None, guarded: false, rustup: true }
    }

    #[test]
    fn what_is_there_is_used_first() {
        let debian = Some("rustc 1.96.0".to_owned());
        assert_eq!(facts().supply(), None);
        assert_eq!(Facts { debian: debian.clone(), ..facts() }.supply(), Some(Supply::Debian));
        let both = Facts { missing: Vec::new(), debian, ..facts() };
        assert_eq!(both.supply(), Some(Supply::Installed));
    }

    #[test]
    fn guarded_toolchains_are_left_alone() {
        assert_eq!(facts().source(), Source::Rustup);
        assert_eq!(Facts { guarded: true, ..facts() }.source(), Source::Apt);
        assert_eq!(Facts { rustup: false, ..facts() }.source(), Source::Apt);
    }

    #[test]
    fn versions_are_read_as_rustc_prints_them() {
        assert_eq!(version("rustc 1.95.0 (59807616e 2026-04-14)"), Some((1, 95)));
        assert_eq!(version("rustc 1.96.0-nightly (abc 2026-05-01)"), Some((1, 96)));
        assert_eq!(version("cargo 1.95.0"), None);
        assert!(new_enough("rustc 1.96.0 (built from a source tarball)"));
        assert!(!new_enough("rustc 1.63.0"));
        assert!(!new_enough("not a version"));
    }

    #[test]
    fn debians_compiler_is_named_only_for_itself() {
        let checkout = Checkout { root: "/zk".into(), target: "/zk/target".into() };
        let variable = |supply, key: &str| {
            let command = build(&checkout, supply, &["thumbv7m-none-eabi"]);
            let mut envs = command.get_envs();
            envs.find(|(name, _)| *name == key).and_then(|(_, value)| value.map(ToOwned::to_owned))
        };
        assert_eq!(variable(Supply::Debian, "RUSTC"), Some(DEBIAN_RUSTC.into()));
        assert_eq!(variable(Supply::Installed, "RUSTC"), None);
        assert_eq!(variable(Supply::Installed, "RUSTC_BOOTSTRAP"), None);
        let dir = PathBuf::from("/zk/target").join("bare");
        assert_eq!(variable(Supply::Installed, "CARGO_TARGET_DIR"), Some(dir.into()));
    }
}
