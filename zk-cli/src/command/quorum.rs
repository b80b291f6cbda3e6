//! `quorum`

use core::time::Duration;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use zk_core::quorum::Role;
use zk_std::config::Config;

use crate::failure::Failure;
use crate::output::Output;

/// First ports that are tried, as they are usual.
const CLIENT_PORT: u16 = 2181;
const QUORUM_PORT: u16 = 2888;
const ELECTION_PORT: u16 = 3888;

/// Ports that are tried from there on.
const PORTS_TRIED: u16 = 1000;

/// A peer that lived shorter has failed to start: the pause before the next attempt grows.
const SHORT_LIFE: Duration = Duration::from_secs(10);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

const AFTER_HELP: &str = "\
Every peer is a process of its own: end one with `kill -9`, and it is started again. Ctrl-C ends all
of them, with everything on the disk; so does the end of this process, however it comes. Data and
ports stay the same from run to run.";

/// Run a whole quorum on this machine
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Quorum {
    /// Servers that vote [default: 3, or what is in the directory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=15))]
    peers: Option<u8>,
    /// Servers that follow without a vote [default: 0, or what is in the directory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=15))]
    observers: Option<u8>,
    /// Where configurations, data and logs are
    #[arg(long, value_name = "DIR", default_value = "zk-quorum")]
    dir: PathBuf,
    /// Where to look for free client ports when the directory is new; 0 leaves all ports to the
    /// system
    #[arg(long, value_name = "PORT", default_value_t = CLIENT_PORT)]
    port: u16,
}

enum Event {
    /// A peer's word about itself.
    Standing(usize, Value),
    Ended(usize, io::Result<ExitStatus>),
    Stop,
}

/// A peer and its process.
struct Peer {
    id: i64,
    dir: PathBuf,
    client: String,
    /// While it is held the process runs.
    stdin: Option<ChildStdin>,
    running: bool,
    started: Instant,
    /// When to start it again, and after which pause.
    restart_at: Option<Instant>,
    pause: Duration,
    standing: Value,
}

impl Quorum {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Failure> {
        let dir = &self.dir;
        let wrong =
            |error: io::Error| Failure::Io(format!("cannot use {}: {error}", dir.display()));
        fs::create_dir_all(dir).map_err(wrong)?;
        let dir = dir.canonicalize().map_err(wrong)?;
        if !dir.join("1").join("zoo.cfg").exists() {
            let (voters, observers) = (self.peers.unwrap_or(3), self.observers.unwrap_or(0));
            lay_out(&dir, voters.into(), observers.into(), self.port).map_err(wrong)?;
        }
        let peers = self.read(&dir)?;
        let (sender, events) = mpsc::channel();
        on_signals(sender.clone()).map_err(wrong)?;
        Running { output, peers, sender, events, leads: Value::Null, served: false }.run()
    }

    /// The peers that are in the directory.
    fn read(&self, dir: &Path) -> Result<Vec<Peer>, Failure> {
        let config = Config::load(&dir.join("1").join("zoo.cfg"), &[])
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let servers = config.quorum.map(|quorum| quorum.servers).unwrap_or_default();
        let count = |role| servers.values().filter(|server| server.role == role).count();
        let (voters, observers) = (count(Role::Participant), count(Role::Observer));
        let differs = |asked: Option<u8>, there| asked.is_some_and(|n| usize::from(n) != there);
        if differs(self.peers, voters) || differs(self.observers, observers) {
            return Err(Failure::Usage(format!(
                "{} has a quorum of {voters} peers and {observers} observers: name another --dir",
                dir.display()
            )));
        }
        let peer = |(id, server): (_, zk_std::config::QuorumServer)| Peer {
            id,
            dir: dir.join(id.to_string()),
            client: server.client_address.map(|client| client.to_string()).unwrap_or_default(),
            stdin: None,
            running: false,
            started: Instant::now(),
            restart_at: Some(Instant::now()),
            pause: Duration::ZERO,
            standing: Value::Null,
        };
        Ok(servers.into_iter().map(|(id, server)| peer((id.0, server))).collect())
    }
}

/// Writes the configurations of a new quorum. That of the first server comes last: with it the
/// directory is whole.
fn lay_out(dir: &Path, voters: usize, observers: usize, port: u16) -> io::Result<()> {
    let count = voters + observers;
    let from = |usual| if port == 0 { 0 } else { usual };
    let mut held = Vec::new();
    let clients = free_ports(count, port, &mut held)?;
    let quorums = free_ports(count, from(QUORUM_PORT), &mut held)?;
    let elections = free_ports(count, from(ELECTION_PORT), &mut held)?;
    let mut lines = String::new();
    for at in 0..count {
        let role = if at < voters { Role::Participant } else { Role::Observer };
        let (quorum, election, client) = (quorums[at], elections[at], clients[at]);
        lines +=
            &format!("server.{}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}\n", at + 1);
    }
    for id in (1..=count).rev() {
        let own = dir.join(id.to_string());
        fs::create_dir_all(&own)?;
        fs::write(own.join("myid"), format!("{id}\n"))?;
        // Backslashes are special in this format.
        let data = own.display().to_string().replace('\\', "\\\\");
        let text = format!(
            "dataDir={data}\ntickTime=2000\ninitLimit=10\nsyncLimit=5\nstandaloneEnabled=false\n\
             autopurge.purgeInterval=1\n4lw.commands.whitelist=*\n{lines}"
        );
        let aside = own.join("zoo.cfg.tmp");
        fs::write(&aside, text)?;
        fs::rename(aside, own.join("zoo.cfg"))?;
    }
    Ok(())
}

/// Free ports of 127.0.0.1, `from` a number on or, if that is 0, any. They are held meanwhile.
fn free_ports(count: usize, from: u16, held: &mut Vec<TcpListener>) -> io::Result<Vec<u16>> {
    let mut ports = Vec::new();
    let mut next = from;
    while ports.len() < count {
        match TcpListener::bind(("127.0.0.1", next)) {
            Ok(listener) => {
                ports.push(listener.local_addr()?.port());
                held.push(listener);
            }
            Err(error) if from == 0 || next - from >= PORTS_TRIED => return Err(error),
            Err(_) => {}
        }
        if from > 0 {
            next = next.checked_add(1).ok_or(io::ErrorKind::AddrInUse)?;
        }
    }
    Ok(ports)
}

struct Running<'o> {
    output: &'o Output,
    peers: Vec<Peer>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    /// Who was said to lead, and in which epoch.
    leads: Value,
    /// Whether it was said how to connect.
    served: bool,
}

impl Running<'_> {
    fn run(mut self) -> Result<(), Failure> {
        loop {
            self.start_due()?;
            let next = self.peers.iter().filter_map(|peer| peer.restart_at).min();
            let event = match next {
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.events.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
                Ok(Event::Standing(at, standing)) => self.stands(at, standing)?,
                Ok(Event::Ended(at, status)) => self.ended(at, status)?,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn say(&self, text: &str, value: &Value) -> Result<(), Failure> {
        if self.output.is_json() { self.output.json(value) } else { self.output.line(text) }
    }

    fn start_due(&mut self) -> Result<(), Failure> {
        for at in 0..self.peers.len() {
            if self.peers[at].restart_at.is_some_and(|due| due <= Instant::now()) {
                self.start(at)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, at: usize) -> Result<(), Failure> {
        let peer = &mut self.peers[at];
        let log = peer.dir.join("server.log");
        let spawned = spawn(&peer.dir, &log);
        let wrong = |error| Failure::Io(format!("cannot start server {}: {error}", peer.id));
        let mut child = spawned.map_err(wrong)?;
        peer.stdin = child.stdin.take();
        (peer.running, peer.restart_at, peer.started) = (true, None, Instant::now());
        let (id, pid, client) = (peer.id, child.id(), peer.client.clone());
        let sender = self.sender.clone();
        thread::spawn(move || follow(at, child, &sender));
        self.say(
            &format!("server {id} on {client}: process {pid}, log in {}", log.display()),
            &json!({ "event": "started", "server": id, "client": client, "pid": pid }),
        )
    }

    fn stands(&mut self, at: usize, standing: Value) -> Result<(), Failure> {
        let id = self.peers[at].id;
        let serving = standing["serving"] == true;
        let news = standing["role"] != self.peers[at].standing["role"]
            || standing["serving"] != self.peers[at].standing["serving"];
        self.peers[at].standing = standing.clone();
        let mut event = standing.clone();
        event["event"] = "standing".into();
        event["server"] = id.into();
        let (leader, epoch) = (&standing["leader"], &standing["epoch"]);
        let text = match standing["role"].as_str() {
            Some("leader") if serving => format!("server {id} leads epoch {epoch}"),
            Some("leader") => format!("server {id} is elected"),
            Some("follower") if serving => format!("server {id} follows server {leader}"),
            Some("observer") if serving => format!("server {id} observes server {leader}"),
            Some("follower" | "observer") => {
                format!("server {id} joins server {leader}")
            }
            _ => format!("server {id} looks for a leader"),
        };
        if news {
            self.say(&text, &event)?;
        }
        self.tell_how_to_connect(&standing)
    }

    /// Once for each leader, as soon as all that run serve.
    fn tell_how_to_connect(&mut self, standing: &Value) -> Result<(), Failure> {
        let leads = json!([standing["leader"], standing["epoch"]]);
        let serve = |peer: &Peer| peer.running && peer.standing["serving"] == true;
        if self.leads == leads || !self.peers.iter().all(serve) {
            return Ok(());
        }
        self.leads = leads;
        let hosts: Vec<&str> = self.peers.iter().map(|peer| peer.client.as_str()).collect();
        let connect = hosts.join(",");
        let event = json!({
            "event": "serving",
            "connect": connect,
            "leader": standing["leader"],
            "epoch": standing["epoch"],
        });
        let text = match core::mem::replace(&mut self.served, true) {
            true => "all serve again".to_owned(),
            false => format!(
                "all serve. Connect with: zk --server {connect} shell\n\
                 See them side by side: zk status {connect}"
            ),
        };
        self.say(&text, &event)
    }

    fn ended(&mut self, at: usize, status: io::Result<ExitStatus>) -> Result<(), Failure> {
        let peer = &mut self.peers[at];
        (peer.running, peer.stdin, peer.standing) = (false, None, Value::Null);
        let grown = (peer.pause * 2).clamp(Duration::from_secs(1), PAUSE_MAX);
        peer.pause = if peer.started.elapsed() < SHORT_LIFE { grown } else { Duration::ZERO };
        peer.restart_at = Some(Instant::now() + peer.pause);
        self.leads = Value::Null;
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let (id, log) = (self.peers[at].id, self.peers[at].dir.join("server.log"));
        self.say(
            &format!("server {id} ended ({how}; see {}); starting it again", log.display()),
            &json!({ "event": "ended", "server": id, "how": how }),
        )
    }

    /// Lets all of them end, and waits for that.
    fn stop(mut self) -> Result<(), Failure> {
        self.say("stopping", &json!({ "event": "stopping" }))?;
        for peer in &mut self.peers {
            peer.stdin = None;
        }
        while self.peers.iter().any(|peer| peer.running) {
            match self.events.recv() {
                Ok(Event::Ended(at, _)) => self.peers[at].running = false,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.say("stopped; everything is on the disk", &json!({ "event": "stopped" }))
    }
}

/// Starts the process of a peer.
fn spawn(dir: &Path, log: &Path) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("server").arg("--child").arg(dir.join("zoo.cfg"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(File::options().create(true).append(true).open(log)?);
    // Ctrl-C is for this process; it ends the others one by one.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn()
}

/// Hears what a peer says of itself, until it ends.
fn follow(at: usize, mut child: Child, sender: &Sender<Event>) {
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(standing) = serde_json::from_str(&line)
                && sender.send(Event::Standing(at, standing)).is_err()
            {
                break;
            }
        }
    }
    // Nobody hears it when this process ends.
    let _ = sender.send(Event::Ended(at, child.wait()));
}

/// SIGTERM and SIGINT stop the quorum; the second of them ends this process at once, and with it
/// the peers.
#[cfg(unix)]
fn on_signals(sender: Sender<Event>) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("zk-signals".to_owned()).spawn(move || {
        for (nth, _) in signals.forever().enumerate() {
            if nth > 0 || sender.send(Event::Stop).is_err() {
                std::process::exit(1);
            }
        }
    })?;
    Ok(())
}

/// Elsewhere Ctrl-C ends this process, and with it the peers.
#[cfg(not(unix))]
fn on_signals(_: Sender<Event>) -> io::Result<()> {
    Ok(())
}
