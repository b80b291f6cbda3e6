//! A board that runs in QEMU, or what runs boards: started, listened to, talked to, killed.

use core::sync::atomic::{AtomicU32, Ordering};
use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use crate::command;
use crate::targets::Emulator;

/// What a board gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wiring<'w> {
    /// Its firmware.
    pub(crate) image: &'w Path,
    /// Arguments of the firmware.
    pub(crate) args: &'w [&'w str],
    /// The image of its flash; without one it has a new flash, which is forgotten.
    pub(crate) flash: Option<&'w Path>,
    /// Its network.
    pub(crate) network: Option<Network<'w>>,
}

/// What a board's network is.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "quorum"), allow(dead_code, reason = "only a quorum has serial lines"))]
pub(crate) enum Network<'w> {
    /// Sockets of its Ethernet: where frames come to it, and where they go.
    Frames(&'w Path, &'w Path),
    /// A socket that listens, for its first UART.
    Line(&'w Path),
}

/// The command that starts a board.
pub(crate) fn qemu(emulator: &Emulator, wiring: &Wiring<'_>) -> Command {
    let mut qemu = Command::new(emulator.qemu);
    qemu.args(emulator.machine);
    qemu.args(["-nographic", "-monitor", "none"]);
    if let Some(Network::Line(socket)) = wiring.network {
        qemu.arg("-chardev").arg(format!("socket,id=s,path={},server=off", value(socket)));
        qemu.args(["-serial", "chardev:s"]);
    } else {
        qemu.args(["-serial", "none"]);
    }
    qemu.arg("-semihosting-config");
    let mut semihosting = "enable=on,target=native,arg=firmware".to_owned();
    for arg in wiring.args {
        semihosting.push_str(&format!(",arg={arg}"));
    }
    qemu.arg(semihosting).arg("-kernel").arg(wiring.image);
    if let Some(flash) = wiring.flash {
        qemu.arg("-drive").arg(format!("if=mtd,format=raw,file={}", value(flash)));
    }
    if let Some(Network::Frames(comes, goes)) = wiring.network {
        qemu.arg("-netdev").arg(format!(
            "dgram,id=n,local.type=unix,local.path={},remote.type=unix,remote.path={}",
            value(comes),
            value(goes)
        ));
        qemu.args(["-net", "nic,netdev=n"]);
    } else {
        qemu.args(["-net", "none"]);
    }
    qemu
}

/// A path within a list of QEMU's.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

enum Event {
    Line(String),
    /// It says no more.
    Closed,
}

/// A board that runs; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    name: String,
    child: Child,
    events: Receiver<Event>,
}

impl Guest {
    /// Starts it. What it says is shown behind its name.
    ///
    /// # Errors
    /// What is wrong: it cannot be started.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, String> {
        println!("$ {}", command::shown(command));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let (sender, events) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            let name = name.to_owned();
            thread::spawn(move || {
                // What is no text, or cannot be read any more, ends the lines.
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    println!("{name}: {line}");
                    // Nobody listens to a guest that was dropped: that is no error.
                    sender.send(Event::Line(line)).ok();
                }
                sender.send(Event::Closed).ok();
            });
        }
        Ok(Self { name: name.to_owned(), child, events })
    }

    /// Waits until it says a line that begins so, and answers with the rest.
    ///
    /// # Errors
    /// It ends before, or the time does.
    pub(crate) fn line(&self, begin: &str, deadline: Instant) -> Result<String, String> {
        self.until(&format!("said `{begin}`"), deadline, |line| {
            line.strip_prefix(begin).map(ToOwned::to_owned)
        })
    }

    /// Waits until something comes of what it says, line by line.
    ///
    /// # Errors
    /// It ends before it `did` that, or the time does.
    pub(crate) fn until<T>(
        &self,
        did: &str,
        deadline: Instant,
        mut of: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Line(line)) => {
                    if let Some(found) = of(&line) {
                        return Ok(found);
                    }
                }
                Ok(Event::Closed) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(format!("{} has ended, and never {did}", self.name));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("{} has not {did} in time", self.name));
                }
            }
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// It does not listen.
    pub(crate) fn type_line(&mut self, line: &str) -> Result<(), String> {
        let name = &self.name;
        let stdin = self.child.stdin.as_mut().ok_or_else(|| format!("{name} does not listen"))?;
        println!("{name} < {line}");
        writeln!(stdin, "{line}").map_err(|error| format!("{name} does not listen: {error}"))
    }

    /// Waits until it ends by itself, with success.
    ///
    /// # Errors
    /// It does not, or not in time.
    pub(crate) fn end(mut self, deadline: Instant) -> Result<(), String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Line(_)) => {}
                Ok(Event::Closed) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("{} did not end in time", self.name));
                }
            }
        }
        // QEMU closes its output only by ending.
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{} ended with {status}", self.name)),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// Ends it at once, as a power cut would: nothing more runs in it. QEMU is asked to, and not killed,
    /// because it writes to the file what its flash has taken a little later.
    ///
    /// # Errors
    /// It has ended before.
    pub(crate) fn cut_power(mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Err(format!("{} had ended with {status}", self.name));
        }
        match command::signal(self.child.id(), "-TERM") {
            Ok(()) => drop(self.child.wait()),
            Err(_) => drop(self.kill_now()),
        }
        Ok(())
    }

    fn kill_now(&mut self) -> Option<ExitStatus> {
        // What has ended cannot be killed; either way there is a status.
        self.child.kill().ok();
        self.child.wait().ok()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill_now();
    }
}

/// A directory for sockets and images that lasts as long as this. Paths of sockets are short: the
/// target directory may be too deep for them.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("zk-boards-{}-{}", name.0, name.1));
        let make = || {
            // What a process of the same number has left is nobody's.
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            #[allow(unused_mut, reason = "there are no modes elsewhere")]
            let mut builder = DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&dir)
        };
        make().map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self(dir))
    }

    /// The directory.
    #[cfg(feature = "quorum")]
    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A flash in it that is erased.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn flash(&self, name: &str, bytes: u64) -> Result<PathBuf, String> {
        const PART: u64 = 1 << 16;
        let path = self.path(name);
        let write = || {
            let mut file = std::fs::File::create(&path)?;
            for _ in 0..bytes / PART {
                file.write_all(&[0xff; PART as usize])?;
            }
            file.write_all(&vec![0xff; (bytes % PART) as usize])
        };
        write().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            println!("cannot remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const EMULATOR: Emulator = Emulator { qemu: "qemu", machine: &["-M", "m"], flash: 70_000 };

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_board_gets_what_it_is_wired_to() {
        let wiring = Wiring {
            image: Path::new("i"),
            args: &["a", "b"],
            flash: Some(Path::new("f,1")),
            network: Some(Network::Frames(Path::new("x"), Path::new("y"))),
        };
        assert_eq!(
            command::shown(&qemu(&EMULATOR, &wiring)),
            "qemu -M m -nographic -monitor none -serial none -semihosting-config \
             enable=on,target=native,arg=firmware,arg=a,arg=b -kernel i \
             -drive if=mtd,format=raw,file=f,,1 -netdev dgram,id=n,local.type=unix,local.path=x,\
             remote.type=unix,remote.path=y -net nic,netdev=n"
        );
        let network = Some(Network::Line(Path::new("x,y")));
        let wiring = Wiring { args: &[], flash: None, network, ..wiring };
        assert_eq!(
            command::shown(&qemu(&EMULATOR, &wiring)),
            "qemu -M m -nographic -monitor none -chardev socket,id=s,path=x,,y,server=off -serial \
             chardev:s -semihosting-config enable=on,target=native,arg=firmware -kernel i -net none"
        );
    }

    #[test]
    fn a_flash_is_erased_and_forgotten() {
        let scratch = Scratch::new().unwrap();
        let flash = scratch.flash("flash", EMULATOR.flash).unwrap();
        let bytes = std::fs::read(&flash).unwrap();
        assert_eq!(bytes.len() as u64, EMULATOR.flash);
        assert!(bytes.iter().all(|byte| *byte == 0xff));
        drop(scratch);
        assert!(!flash.exists());
    }

    #[cfg(unix)]
    fn shell(script: &str) -> Guest {
        let mut command = Command::new("sh");
        Guest::start("sh", command.args(["-c", script])).unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn a_guest_is_listened_to_until_it_ends() {
        let guest = shell("echo one; echo counted 7; exit 0");
        assert_eq!(guest.line("counted ", soon()), Ok("7".to_owned()));
        assert_eq!(guest.end(soon()), Ok(()));
        let guest = shell("echo one");
        assert!(guest.line("two", soon()).is_err_and(|error| error.contains("never said")));
        assert!(shell("exit 3").end(soon()).is_err_and(|error| error.contains('3')));
        assert!(Guest::start("x", &mut Command::new("no-such-program-here")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_guest_that_says_nothing_is_killed() {
        let guest = shell("exec sleep 1000");
        let now = Instant::now();
        assert!(guest.line("x", now).is_err_and(|error| error.contains("in time")));
        assert_eq!(guest.cut_power(), Ok(()));
        assert!(shell("exec sleep 1000").end(now).is_err());
        // Who ended by itself was not killed.
        let mut guest = shell("exit 0");
        assert!(guest.line("x", soon()).is_err());
        // It has closed its output, and ends.
        guest.child.wait().unwrap();
        let dead = guest.cut_power();
        assert!(dead.is_err_and(|error| error.contains("had ended")));
    }
}
