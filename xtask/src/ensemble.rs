//! Lets boards in QEMU be an ensemble: `cargo xtask quorum`, typed to, and asked with `zk`.
//!
//! They elect; `zk` and kazoo use them; the leader's power is cut, and the others go on; it comes back and has
//! what it missed; the power of all is cut at once, and everything that was acknowledged is there. Two beside
//! a server on this machine, of ours or of Apache's: it follows one of them, and they follow it. And three
//! whose flash takes 3 s for an erase: nobody loses its leader or a session.

use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::checkout::Checkout;
use crate::command;
use crate::guest::{Guest, Scratch};
use crate::interop;
use crate::targets::{Board, Emulated, emulated};

/// How many boards.
const PEERS: usize = 3;

/// The number of a server on this machine beside two boards.
const DESKTOP: usize = 1;

/// One ceiling for all of it, builds included. (TCP does not say that the power of another machine is cut:
/// a leader is missed after `syncLimit` ticks.)
pub(crate) const CEILING: Duration = Duration::from_secs(900);

/// How long the boards have to end.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Blocks that each board erases while somebody writes to slow ones.
const ERASES: u32 = 4;

/// Runs three boards, of these kinds in turn, on Ethernet or on serial lines; the power of all is cut so
/// many times.
///
/// # Errors
/// What went wrong, or did not happen in time.
pub(crate) fn run(
    checkout: &Checkout,
    kinds: &str,
    serial: bool,
    cuts: usize,
    deadline: Instant,
) -> Result<(), String> {
    let mut quorum = quorum(checkout);
    quorum.args(["--board", kinds, "--peers", &PEERS.to_string()]);
    if serial {
        quorum.arg("--serial");
    }
    Ensemble::run(checkout, quorum, deadline, |ensemble| ensemble.play(cuts))
}

/// Runs three boards whose flash takes as long as can be.
///
/// # Errors
/// What went wrong, or did not happen in time.
pub(crate) fn slow(checkout: &Checkout, board: &Board, deadline: Instant) -> Result<(), String> {
    let mut quorum = quorum(checkout);
    quorum.args(["--board", board.package, "--peers", &PEERS.to_string(), "--slow"]);
    Ensemble::run(checkout, quorum, deadline, Ensemble::play_slow)
}

/// Runs two boards, of these kinds in turn, beside a server on this machine: ours, or one of Apache's, which
/// its script starts. Boards that can ask the network for their prefix and gateway.
///
/// # Errors
/// What went wrong, or did not happen in time.
pub(crate) fn beside_desktop(
    checkout: &Checkout,
    kinds: &str,
    apache: Option<&Path>,
    deadline: Instant,
) -> Result<(), String> {
    let mut quorum = quorum(checkout);
    quorum.args(["--board", kinds, "--peers", "2"]);
    if emulated().any(|it| it.board.dhcp && kinds.split(',').any(|kind| kind == it.board.package)) {
        quorum.arg("--dhcp");
    }
    match apache {
        Some(script) => quorum.arg("--apache").arg(script),
        None => quorum.arg("--mixed"),
    };
    Ensemble::run(checkout, quorum, deadline, |ensemble| {
        ensemble.play_beside_desktop()?;
        // Apache's server knows no limits.
        apache.map_or_else(|| ensemble.fill(), |_| Ok(()))
    })
}

/// A board that cannot start, because its configuration is longer than fits, starts three times and then
/// says why.
///
/// # Errors
/// What went wrong, or did not happen in time.
pub(crate) fn stays_down(
    checkout: &Checkout,
    Emulated { board, emulator }: Emulated,
    deadline: Instant,
) -> Result<(), String> {
    let scratch = Scratch::new()?;
    let (data, zk) = (scratch.path("flash"), checkout.target.join("debug").join("zk"));
    let wrong = |error: std::io::Error| error.to_string();
    std::fs::create_dir(&data).map_err(wrong)?;
    let layout = format!("board {}\nboards 1\n", board.package);
    std::fs::write(data.join("quorum.txt"), layout).map_err(wrong)?;
    let members: Vec<_> = (1..=9).map(|id| format!("{id}=10.0.2.10{id}")).collect();
    let mut provision = Command::new(zk);
    provision.args(["board", "provision", "--id", "1", "--mac", "02:00:00:00:00:01"]);
    provision.args(["--peers", &members.join(","), "--size", &emulator.flash.to_string(), "--out"]);
    provision.arg(data.join("node1.bin"));
    for command in [&mut checkout.cargo(["build", "-p", "zk-cli"]), &mut provision] {
        println!("$ {}", command::shown(command));
        match command.status().map_err(wrong)? {
            status if status.success() => {}
            status => return Err(format!("{}: {status}", command::named(command))),
        }
    }
    let mut quorum = quorum(checkout);
    let mut guest = Guest::start("quorum", quorum.arg("--data").arg(data))?;
    let asked = guest.until("said where", deadline, |line| {
        let (_, at) = said(line)?.1.split_once(", clients at ")?;
        at.parse().ok()
    });
    let done = asked.and_then(|at: SocketAddr| {
        let why = guest.until("stayed down", deadline, |line| {
            Some(line.split_once("down after 3 starts: ")?.1.to_owned())
        })?;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = TcpStream::connect(at).and_then(|mut stream| {
            stream.set_read_timeout(Some(left.max(Duration::from_secs(1))))?;
            stream.write_all(b"ruok")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        match answer.map_err(wrong)? {
            answer if answer.trim_end() == why && why.contains("than there is room for") => Ok(()),
            answer => Err(format!("asked whether it is well, it said `{answer}`, and `{why}`")),
        }
    });
    let told = guest.type_line("quit");
    let ended = guest.end(Instant::now() + STOP_MAX);
    done.and(told).and(ended)
}

/// `cargo xtask quorum`, to which arguments may be added.
fn quorum(checkout: &Checkout) -> Command {
    checkout.cargo(["run", "--quiet", "-p", "xtask", "--features", "quorum", "--", "quorum"])
}

/// Boards that run.
struct Ensemble {
    quorum: Guest,
    zk: PathBuf,
    /// An interpreter, and where what it runs is.
    kazoo: [PathBuf; 2],
    /// Where they serve clients, in the order of their numbers.
    clients: Vec<String>,
    deadline: Instant,
}

impl Ensemble {
    /// Starts it on new flash, and lets it `play`.
    fn run(
        checkout: &Checkout,
        mut quorum: Command,
        deadline: Instant,
        play: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let scratch = Scratch::new()?;
        quorum.arg("--data").arg(scratch.path("flash"));
        let mut ensemble = Self {
            quorum: Guest::start("quorum", &mut quorum)?,
            zk: checkout.target.join("debug").join("zk"),
            kazoo: [interop::python(checkout), checkout.root.join("interop")],
            clients: vec![],
            deadline,
        };
        let done = play(&mut ensemble);
        // Whatever has happened, no board goes on.
        let told = ensemble.quorum.type_line("quit");
        let ended = ensemble.quorum.end(Instant::now() + STOP_MAX);
        done.and(told).and(ended)
    }

    /// They elect, and are used: who leads.
    fn begin(&mut self) -> Result<usize, String> {
        let leader = self.elected(&mut Vec::new())?;
        let connect = self.quorum.line("all serve. Connect with: zk --server ", self.deadline)?;
        let clients = connect.trim_end_matches(" shell").split(',');
        self.clients = clients.map(ToOwned::to_owned).collect();
        let other = (1..=PEERS).find(|&id| id != leader).unwrap_or(leader);
        self.zk(other, &["create", "/acknowledged", "by three"])?;
        printed(self.kazoo("boards.py").arg(self.clients.join(",")))?;
        Ok(leader)
    }

    /// Server 1 is on this machine.
    fn play_beside_desktop(&mut self) -> Result<(), String> {
        let leader = self.begin()?;
        if leader == DESKTOP {
            return Err(
                "the desktop server leads, although the boards have higher numbers".to_owned()
            );
        }
        // What only the desktop server and one board have decides who is to lead.
        let other = 5 - leader;
        self.cut(leader)?;
        self.quorum.line("all that are on serve again", self.deadline)?;
        self.zk(DESKTOP, &["create", "/without", "the leader"])?;
        self.cut(other)?;
        self.type_line(&format!("start {leader}"))?;
        self.quorum.line(&format!("server {DESKTOP} leads"), self.deadline)?;
        self.type_line(&format!("start {other}"))?;
        self.quorum.line(&format!("server {other} follows"), self.deadline)?;
        for id in 1..=PEERS {
            self.has_all(id)?;
        }
        printed(self.kazoo("boards.py").arg(self.clients.join(",")))?;
        Ok(())
    }

    /// What is created at the desktop server, which leads, is refused where the boards have no room.
    fn fill(&mut self) -> Result<(), String> {
        let mut made = 0;
        let refusal = loop {
            let path = format!("/full{made}");
            match self.zk(DESKTOP, &["create", &path, &"x".repeat(58)]) {
                Ok(_) => made += 1,
                Err(error) => break error,
            }
        };
        if !refusal.contains("(SystemError)") {
            return Err(format!("{made} nodes, and then: {refusal}"));
        }
        println!("{made} nodes of 58 bytes, and no room for more");
        let last = format!("/full{}", made - 1);
        for id in 1..=PEERS {
            self.has(id, &last, &"x".repeat(58))?;
        }
        Ok(())
    }

    /// As long as somebody writes, and all erase, the reign goes on, and so do all sessions.
    fn play_slow(&mut self) -> Result<(), String> {
        let leader = self.begin()?;
        let other = (1..=PEERS).find(|&id| id != leader).unwrap_or(leader);
        let mut writer = self.writer(other)?;
        let mut erased = [0; PEERS];
        self.quorum.until("erased enough", self.deadline, |line| {
            if line.contains("has expired") || line.contains("looking") || line.contains("leads") {
                return Some(Err(format!("while all erase: {line}")));
            }
            let (id, text) = line.split_once(" | ")?;
            if text.contains("erases the block") {
                *erased.get_mut(id.parse::<usize>().ok()?.checked_sub(1)?)? += 1;
            }
            erased.iter().all(|&count| count >= ERASES).then_some(Ok(()))
        })??;
        writer.type_line("it is enough")?;
        let written = writer.line("has written ", self.deadline)?;
        writer.end(self.deadline)?;
        println!("blocks that the boards have erased: {erased:?}");
        for id in 1..=PEERS {
            self.has(id, "/written", &written)?;
        }
        Ok(())
    }

    fn play(&mut self, cuts: usize) -> Result<(), String> {
        let leader = self.begin()?;
        let other = (1..=PEERS).find(|&id| id != leader).unwrap_or(leader);

        self.cut(leader)?;
        self.quorum.line("all that are on serve again", self.deadline)?;
        self.zk(other, &["create", "/without", "the leader"])?;
        self.type_line(&format!("start {leader}"))?;
        self.quorum.line(&format!("server {leader} follows"), self.deadline)?;
        self.has_all(leader)?;

        let mut writer = self.writer(other)?;
        for cut in 1..=cuts {
            // It has found what it was acknowledged, and writes on.
            let behind = writer.line("writes behind ", self.deadline)?;
            println!("cut {cut} of {cuts}, behind {behind}");
            self.cut_all()?;
        }
        writer.line("writes behind ", self.deadline)?;
        writer.type_line("it is enough")?;
        let written = writer.line("has written ", self.deadline)?;
        writer.end(self.deadline)?;
        for id in 1..=PEERS {
            self.has(id, "/written", &written)?;
            self.has_all(id)?;
        }
        Ok(())
    }

    /// Cuts the power of one.
    fn cut(&mut self, id: usize) -> Result<(), String> {
        self.type_line(&format!("kill {id}"))?;
        self.quorum.line(&format!("server {id} is off"), self.deadline).map(drop)
    }

    /// Cuts the power of all at once, while somebody writes, and brings them back.
    fn cut_all(&mut self) -> Result<(), String> {
        for id in 1..=PEERS {
            self.type_line(&format!("kill {id}"))?;
        }
        let mut off = 0;
        self.quorum.until("lost all", self.deadline, |line| {
            off += usize::from(said(line).is_some_and(|(_, what)| what.starts_with("is off")));
            (off == PEERS).then_some(())
        })?;
        for id in 1..=PEERS {
            self.type_line(&format!("start {id}"))?;
        }
        let mut serving = Vec::new();
        self.elected(&mut serving)?;
        while serving.len() < PEERS {
            self.serves(&mut serving)?;
        }
        Ok(())
    }

    /// Waits until one leads, which it answers with. Who serves until then is `serving`.
    fn elected(&self, serving: &mut Vec<usize>) -> Result<usize, String> {
        loop {
            if let (id, true) = self.serves(serving)? {
                return Ok(id);
            }
        }
    }

    /// Waits until one more serves: its number, and whether it leads.
    fn serves(&self, serving: &mut Vec<usize>) -> Result<(usize, bool), String> {
        let found = self.quorum.until("served", self.deadline, |line| {
            let (id, what) = said(line)?;
            let leads = what.starts_with("leads epoch ");
            (leads || what == "follows").then_some((id, leads))
        })?;
        if !serving.contains(&found.0) {
            serving.push(found.0);
        }
        Ok(found)
    }

    fn type_line(&mut self, line: &str) -> Result<(), String> {
        self.quorum.type_line(line)
    }

    /// One of our programs writes to a node, which is created at a server.
    fn writer(&self, id: usize) -> Result<Guest, String> {
        self.zk(id, &["create", "/written", "0"])?;
        let mut writer = self.kazoo("writer.py");
        Guest::start("writer", writer.arg(self.clients.join(",")).arg("/written"))
    }

    /// What was acknowledged is there, as a server shows it.
    fn has_all(&self, id: usize) -> Result<(), String> {
        self.has(id, "/acknowledged", "by three")?;
        self.has(id, "/without", "the leader")
    }

    fn has(&self, id: usize, path: &str, data: &str) -> Result<(), String> {
        self.zk(id, &["sync", path])?;
        let found = self.zk(id, &["get", path])?;
        if found.trim_end() != data {
            return Err(format!("{path} is `{found}` on server {id}, and not `{data}`"));
        }
        Ok(())
    }

    /// What `zk` prints, asked of a server.
    fn zk(&self, id: usize, verb: &[&str]) -> Result<String, String> {
        let at = self.clients.get(id - 1).ok_or_else(|| format!("there is no server {id}"))?;
        printed(Command::new(&self.zk).args(["--server", at]).args(verb))
    }

    /// One of our programs that use kazoo.
    fn kazoo(&self, program: &str) -> Command {
        let [python, programs] = &self.kazoo;
        let mut kazoo = Command::new(python);
        kazoo.arg(programs.join(program));
        kazoo
    }
}

/// What a program prints that succeeds.
fn printed(command: &mut Command) -> Result<String, String> {
    let shown = command::shown(command);
    println!("$ {shown}");
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{shown}: {}", why.trim_end()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a line says of a server: its number, and what it does.
fn said(line: &str) -> Option<(usize, &str)> {
    let (id, what) = line.strip_prefix("server ")?.split_once(' ')?;
    Some((id.parse().ok()?, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_apart() {
        assert_eq!(said("server 2 leads epoch 1"), Some((2, "leads epoch 1")));
        assert_eq!(said("2 | server 3 leads"), None);
        assert_eq!(said("server two leads"), None);
    }
}
