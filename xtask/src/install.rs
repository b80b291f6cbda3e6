//! Installing what is missing where that needs no password, or where it was asked for.

use core::time::Duration;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::bare::{self, Facts, Source};
use crate::checkout::Checkout;
use crate::command::{self, End, first_line};
use crate::interop;
use crate::needs::Need;

/// How long one installation may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Debian's own archive, for a machine whose sources we cannot read.
const ARCHIVE: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The package manager of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// Debian, Ubuntu and what comes from them.
    Apt,
    /// Homebrew.
    Brew,
    /// Anything else.
    Other,
}

impl System {
    /// Asks the machine.
    pub(crate) fn here() -> Self {
        if Path::new("/etc/debian_version").exists()
            && first_line("apt-get", &["--version"]).is_some()
        {
            Self::Apt
        } else if first_line("brew", &["--version"]).is_some() {
            Self::Brew
        } else {
            Self::Other
        }
    }
}

/// What may be installed, and what was already tried in this run.
#[derive(Debug)]
pub(crate) struct Installing {
    system: System,
    asked: bool,
    root: bool,
    updated: bool,
    failed: Vec<Need>,
}

impl Installing {
    /// `asked`: the command line said `--install`.
    pub(crate) fn new(asked: bool) -> Self {
        let root = first_line("id", &["-u"]).is_some_and(|id| id == "0");
        let system = System::here();
        Self { system, asked, root, updated: false, failed: Vec::new() }
    }

    /// Makes sure that `need` is there.
    ///
    /// # Errors
    /// What is missing and the lines that install it.
    pub(crate) fn provide(&mut self, checkout: &Checkout, need: Need) -> Result<(), Vec<String>> {
        if need.found(checkout).is_some() {
            return Ok(());
        }
        if !self.failed.contains(&need) {
            self.install(checkout, need);
            if need.found(checkout).is_some() {
                return Ok(());
            }
            self.failed.push(need);
        }
        let mut reasons = vec![format!("{} is missing. To install it:", need.name())];
        reasons
            .extend(need.lines(checkout, self.system).into_iter().map(|line| format!("  {line}")));
        Err(reasons)
    }

    fn install(&mut self, checkout: &Checkout, need: Need) {
        match need {
            Need::BareMetal => {
                let facts = Facts::gather();
                match facts.source() {
                    Source::Rustup => {
                        announce(need);
                        let mut rustup = Command::new("rustup");
                        attempt(rustup.args(["target", "add"]).args(&facts.missing));
                    }
                    Source::Apt => self.packages(need),
                }
            }
            Need::Kazoo => {
                announce(need);
                if !interop::install_kazoo(checkout, attempt) {
                    self.packages(need);
                    interop::install_kazoo(checkout, attempt);
                }
            }
            // Parts of a toolchain that is not ours to change.
            Need::Rustfmt | Need::Clippy => {}
            Need::BareClippy if bare::from_host() => {}
            Need::BareClippy
            | Need::QemuArm
            | Need::QemuRiscv
            | Need::Java
            | Need::ZooKeeper
            | Need::Valgrind
            | Need::Cpp => self.packages(need),
        }
    }

    fn packages(&mut self, need: Need) {
        match self.system {
            System::Apt if self.root || self.asked => {
                announce(need);
                if !self.updated {
                    self.updated = self.apt_get(&["update"]);
                }
                let plan = Apt::plan(need.apt());
                if let Some(entry) = &plan.backports {
                    println!("adding {}: {}", entry.file, entry.line);
                    if !self.write_root(entry) || !self.apt_get(&["update"]) {
                        return;
                    }
                }
                let args = plan.install_args();
                self.apt_get(&args.iter().map(String::as_str).collect::<Vec<_>>());
            }
            System::Brew if self.asked => {
                announce(need);
                attempt(Command::new("brew").arg("install").args(need.brew()));
            }
            System::Apt | System::Brew | System::Other => {}
        }
    }

    fn as_root(&self, program: &str) -> Command {
        if self.root {
            return Command::new(program);
        }
        let mut sudo = Command::new("sudo");
        sudo.arg(program);
        sudo
    }

    fn apt_get(&self, args: &[&str]) -> bool {
        let mut command = self.as_root("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]);
        attempt(command.args(["-o", "DPkg::Lock::Timeout=300"]).args(args))
    }

    fn write_root(&self, entry: &Backports) -> bool {
        let child = self
            .as_root("tee")
            .arg(&entry.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        let written = child.and_then(|mut child| {
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(entry.line.as_bytes())?;
                stdin.write_all(b"\n")?;
            }
            child.wait()
        });
        match written {
            Ok(status) => status.success(),
            Err(error) => {
                println!("cannot write {}: {error}", entry.file);
                false
            }
        }
    }
}

fn announce(need: Need) {
    println!(
        "installing {}, which {} needs",
        need.name(),
        crate::groups::that_need(need).join(", ")
    );
}

fn attempt(command: &mut Command) -> bool {
    command::run(command, Instant::now() + LIMIT).end == End::Success
}

/// How apt gets some packages on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Apt {
    packages: Vec<String>,
    /// The suite to take them from, if not the default one.
    suite: Option<String>,
    /// An entry that has to be added for it.
    backports: Option<Backports>,
}

/// An entry in apt's sources.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Backports {
    file: String,
    line: String,
}

impl Apt {
    /// Simulates the installation. Where it cannot be done without taking something else away (on
    /// bookworm, QEMU conflicts with a qemu-utils from backports) the packages have to come from
    /// backports too.
    pub(crate) fn plan(packages: &[&str]) -> Self {
        let simulated = Command::new("apt-get")
            .args(["--simulate", "-y"])
            .args(Self { packages: owned(packages), suite: None, backports: None }.install_args())
            .stdin(Stdio::null())
            .output();
        let possible = simulated.is_ok_and(|output| output.status.success());
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let policy = Command::new("apt-cache").arg("policy").stdin(Stdio::null()).output();
        let policy = policy.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        Self::decide(packages, possible, &release, &policy.unwrap_or_default())
    }

    fn decide(packages: &[&str], possible: bool, os_release: &str, policy: &str) -> Self {
        let packages = owned(packages);
        let value = |key: &str| {
            let mut lines = os_release.lines();
            lines.find_map(|line| Some(line.strip_prefix(key)?.trim_matches('"').to_owned()))
        };
        let plain = |packages| Self { packages, suite: None, backports: None };
        let codename = match value("VERSION_CODENAME=") {
            Some(codename) if !possible && value("ID=").as_deref() == Some("debian") => codename,
            _ => return plain(packages),
        };
        let suite = format!("{codename}-backports");
        if archive(policy, &suite).is_some() {
            return Self { packages, suite: Some(suite), backports: None };
        }
        let uri = archive(policy, &codename).unwrap_or(ARCHIVE);
        let backports = Backports {
            file: format!("/etc/apt/sources.list.d/{suite}.list"),
            line: format!("deb [signed-by={KEYRING}] {uri} {suite} main"),
        };
        Self { packages, suite: Some(suite), backports: Some(backports) }
    }

    fn install_args(&self) -> Vec<String> {
        // A test run adds to a machine and never takes anything away from it.
        let mut args = owned(&["install", "--no-remove", "--no-install-recommends"]);
        if let Some(suite) = &self.suite {
            args.extend(["-t".to_owned(), suite.clone()]);
        }
        args.extend(self.packages.iter().cloned());
        args
    }

    /// What a person types as root.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(entry) = &self.backports {
            lines.push(format!("echo '{}' > {}", entry.line, entry.file));
            lines.push("apt-get update".to_owned());
        }
        lines.push(format!("apt-get {}", self.install_args().join(" ")));
        lines
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

/// The address that `apt-cache policy` shows for the main section of a suite.
fn archive<'a>(policy: &'a str, suite: &str) -> Option<&'a str> {
    policy.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let uri = words.next().filter(|uri| uri.contains("://"))?;
        let (found, section) = words.next()?.split_once('/')?;
        (found == suite && section == "main").then_some(uri)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
    const POLICY: &str = "\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://security.example/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=oldstable-security,n=bookworm-security
 500 http://mirror.example/debian bookworm/main amd64 Packages
     release v=12.11,o=Debian,a=oldstable,n=bookworm
     origin mirror.example
Pinned packages:
";

    #[test]
    fn the_default_suite_is_taken_where_it_can_be() {
        let plan = Apt::decide(&["qemu-system-arm"], true, BOOKWORM, POLICY);
        assert_eq!(
            plan.lines(),
            ["apt-get install --no-remove --no-install-recommends qemu-system-arm"]
        );
        let plan = Apt::decide(&["x"], false, "ID=ubuntu\nVERSION_CODENAME=noble\n", POLICY);
        assert_eq!(plan.lines(), ["apt-get install --no-remove --no-install-recommends x"]);
    }

    #[test]
    fn backports_are_added_from_the_same_mirror() {
        let plan = Apt::decide(&["qemu-system-arm"], false, BOOKWORM, POLICY);
        assert_eq!(
            plan.lines(),
            [
                "echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                 http://mirror.example/debian bookworm-backports main' \
                 > /etc/apt/sources.list.d/bookworm-backports.list",
                "apt-get update",
                "apt-get install --no-remove --no-install-recommends -t bookworm-backports qemu-system-arm",
            ]
        );
    }

    #[test]
    fn nothing_is_ever_removed() {
        for possible in [true, false] {
            let plan = Apt::decide(&["qemu-system-arm"], possible, BOOKWORM, POLICY);
            assert!(plan.install_args().contains(&"--no-remove".to_owned()));
        }
    }

    #[test]
    fn backports_that_are_there_are_used() {
        let policy = format!(
            "{POLICY} 100 http://mirror.example/debian bookworm-backports/main amd64 Packages\n"
        );
        let plan = Apt::decide(&["qemu-system-arm"], false, BOOKWORM, &policy);
        assert_eq!(plan.lines().len(), 1);
        assert!(plan.lines()[0].contains("-t bookworm-backports"));
    }
}
