//! A member's process: it is started, followed, and ended as if its power were cut.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;

use crate::command;

use super::logs::{Line, Texts};

/// Bytes of a line; of a longer one the rest is another line.
const LINE_MAX: u64 = 4096;

/// What a process says on its standard output. What it says on the other one is text.
#[derive(Clone, Debug)]
pub(crate) enum Voice {
    /// What is meant for programs, and not shown.
    Data,
    /// A log.
    Defmt(Arc<Texts>),
}

/// What happens to a process.
#[derive(Debug)]
pub(crate) enum News {
    Said(Line),
    /// Nothing more comes from it.
    Ended(io::Result<ExitStatus>),
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    /// While it is held, a desktop server goes on.
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts it. `tell` makes of what happens to it what the receiver understands.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start<E: Send + 'static>(
        command: &mut Command,
        voice: Voice,
        to: &SyncSender<E>,
        tell: impl Fn(News) -> E + Send + Sync + 'static,
    ) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for the program that ends all of them.
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut child = command.spawn()?;
        let process = Self { pid: child.id(), stdin: child.stdin.take() };
        let (to, errors) = (to.clone(), child.stderr.take());
        thread::spawn(move || {
            // Nobody hears it any more when the program ends.
            let say = |line| drop(to.send(tell(News::Said(line))));
            thread::scope(|scope| {
                scope.spawn(|| {
                    if let Some(errors) = errors {
                        follow_text(errors, &|line| match &voice {
                            Voice::Defmt(texts) => say(texts.explain(line)),
                            Voice::Data => say(line),
                        });
                    }
                });
                follow(&mut child, &voice, &say);
            });
            drop(to.send(tell(News::Ended(child.wait()))));
        });
        Ok(process)
    }

    /// Ends it at once, as a power cut does.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub(crate) fn kill(&self) -> io::Result<()> {
        // The thread that waits for it has the child; until it has waited, the number is its own.
        command::signal(self.pid, "-KILL")
    }

    /// Ends a board at once, as a power cut would. QEMU is asked to, and not killed, because it writes to
    /// the file what its flash has taken a little later.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub(crate) fn cut_power(&self) -> io::Result<()> {
        command::signal(self.pid, "-TERM")
    }

    /// Lets a desktop server end.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

fn follow(child: &mut Child, voice: &Voice, say: &impl Fn(Line)) {
    let Some(mut stdout) = child.stdout.take() else { return };
    match voice {
        // It must be read all the same, or the process would wait.
        Voice::Data => follow_text(stdout, &|_| ()),
        Voice::Defmt(texts) => {
            let mut listening = texts.listen();
            let mut room = [0; 4096];
            loop {
                match stdout.read(&mut room) {
                    Ok(0) => return,
                    Ok(len) => listening.received(&room[..len], say),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        }
    }
}

fn follow_text(from: impl Read, say: &impl Fn(Line)) {
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    while matches!(from.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes), Ok(len) if len > 0) {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        say(Line { level: None, time: String::new(), text });
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn start(script: &str, voice: Voice) -> (Process, Receiver<News>) {
        let (sender, receiver) = mpsc::sync_channel(16);
        let mut command = Command::new("sh");
        let process = Process::start(command.args(["-c", script]), voice, &sender, |news| news);
        (process.unwrap(), receiver)
    }

    /// What it said, and how it ended.
    fn rest(news: &Receiver<News>) -> (Vec<String>, ExitStatus) {
        let mut said = Vec::new();
        loop {
            match news.recv_timeout(PATIENCE).unwrap() {
                News::Said(line) => said.push(line.text),
                News::Ended(status) => {
                    // Nothing comes behind its end.
                    assert!(news.recv().is_err());
                    return (said, status.unwrap());
                }
            }
        }
    }

    #[test]
    fn what_is_text_is_heard_and_the_end_comes_last() {
        let (_process, news) =
            start("echo data; echo one >&2; printf two >&2; exit 7", Voice::Data);
        let (said, status) = rest(&news);
        assert_eq!((said, status.code()), (vec!["one".to_owned(), "two".to_owned()], Some(7)));
    }

    #[test]
    fn a_process_is_killed() {
        let (process, news) = start("echo up >&2; while :; do read -r line; done", Voice::Data);
        let News::Said(line) = news.recv_timeout(PATIENCE).unwrap() else { panic!() };
        assert_eq!(line.text, "up");
        process.kill().unwrap();
        assert_eq!(rest(&news).1.code(), None);
    }

    #[test]
    fn a_process_ends_with_its_input() {
        let (mut process, news) =
            start("while read -r line; do :; done; echo bye >&2", Voice::Data);
        process.close();
        assert_eq!(rest(&news), (vec!["bye".to_owned()], ExitStatus::default()));
    }

    #[test]
    fn a_firmware_is_understood() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/src/quorum/recorded");
        let texts = Texts::read(&std::path::Path::new(here).join("texts.elf")).unwrap();
        let script = format!("cat {here}/said.bin; echo panicked >&2");
        let (_process, news) = start(&script, Voice::Defmt(Arc::new(texts)));
        let (said, _) = rest(&news);
        assert!(said.contains(&"serving as leader of epoch 7".to_owned()), "{said:?}");
        assert!(said.contains(&"panicked".to_owned()), "{said:?}");
        assert_eq!(said.len(), 7);
    }
}
