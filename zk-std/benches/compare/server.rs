//! The servers that are compared, each a process of its own.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use zk_core::wire::OpCode;
use zk_core::wire::client::{GetDataReply, PathWatch};
use zk_core::wire::jute;

use crate::Result;
use crate::process::go_on;
use crate::session;

/// Where Debian's package says how Apache's server is started.
const ENVIRONMENT: &str = "/etc/zookeeper/conf/environment";
const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
/// The heap that Apache's own start script gives its server.
pub(crate) const HEAP: &str = "-Xmx1000m";
/// The longest start.
const START: Duration = Duration::from_secs(120);
/// Between two attempts to reach a server that starts.
const RETRY: Duration = Duration::from_micros(300);
/// How long a server that accepted a connection may think before the next is tried: Apache can
/// forget a connection that comes while it starts.
const PATIENCE: Duration = Duration::from_millis(100);

/// The same for both. Everything that touches durability has its default: every answer to a write
/// waits for the disk.
const CONFIG: &str = "\
tickTime=2000
maxClientCnxns=0
admin.enableServer=false
";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Zk,
    Apache,
}

/// In the order in which they take turns.
pub(crate) const BOTH: [Kind; 2] = [Kind::Zk, Kind::Apache];

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Zk => "zk",
            Self::Apache => "Apache",
        }
    }
}

/// How the servers are started.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The `zk` binary.
    pub(crate) zk: PathBuf,
    /// More lines of `zoo.cfg`.
    pub(crate) config: String,
    /// Java's option for Apache's heap.
    pub(crate) heap: &'static str,
}

/// Finds Debian's jars.
fn class_path() -> Result<String> {
    let install =
        "comparing needs Apache ZooKeeper: apt-get install zookeeper default-jre-headless";
    let text = fs::read_to_string(ENVIRONMENT)
        .map_err(|error| format!("{ENVIRONMENT}: {error}; {install}"))?;
    let class_path = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("CLASSPATH="))
        .ok_or_else(|| format!("{ENVIRONMENT}: no CLASSPATH; {install}"))?;
    Ok(class_path.trim_matches('"').to_owned())
}

impl Programs {
    fn command(&self, kind: Kind, cfg: &Path) -> Result<Command> {
        Ok(match kind {
            Kind::Zk => {
                let mut command = Command::new(&self.zk);
                command.arg("server").arg("-q").arg(cfg);
                command
            }
            Kind::Apache => {
                let mut command = Command::new("java");
                command.args([self.heap, "-cp", &class_path()?, MAIN]).arg(cfg);
                command
            }
        })
    }

    /// Starts a server on `home/data` and returns it with the time from there to its first
    /// answer to a request.
    pub(crate) fn start(&self, kind: Kind, home: &Path) -> Result<(Server, Duration)> {
        self.configure(home, free_port()?, "")?;
        let mut server = self.launch(kind, home)?;
        let time = server.serves()?;
        Ok((server, time))
    }

    /// Starts three servers that are an ensemble, in directories under `home`.
    pub(crate) fn start_three(&self, kind: Kind, home: &Path) -> Result<Vec<Server>> {
        let mut lines = "initLimit=10\nsyncLimit=5\n4lw.commands.whitelist=*\n".to_owned();
        for id in 1..=3 {
            let (quorum, election) = (free_port()?, free_port()?);
            lines += &format!("server.{id}=127.0.0.1:{quorum}:{election}\n");
        }
        let mut servers = Vec::new();
        for id in 1..=3 {
            let home = home.join(format!("{}{id}", kind.name()));
            self.configure(&home, free_port()?, &lines)?;
            fs::write(home.join("data/myid"), format!("{id}\n"))?;
            servers.push(self.launch(kind, &home)?);
        }
        for server in &mut servers {
            server.serves()?;
        }
        Ok(servers)
    }

    fn configure(&self, home: &Path, port: u16, lines: &str) -> Result<()> {
        let data = home.join("data");
        fs::create_dir_all(&data)?;
        let text = format!(
            "{CONFIG}{}{lines}dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n",
            self.config,
            data.display()
        );
        Ok(fs::write(home.join("zoo.cfg"), text)?)
    }

    /// Starts a server as its `zoo.cfg` says.
    pub(crate) fn launch(&self, kind: Kind, home: &Path) -> Result<Server> {
        let cfg = home.join("zoo.cfg");
        let text = fs::read_to_string(&cfg)?;
        let port = text.lines().find_map(|line| line.strip_prefix("clientPort="));
        let port = port.ok_or("zoo.cfg without clientPort")?.parse()?;
        let log = home.join("server.log");
        let out = File::create(&log)?;
        let mut command = self.command(kind, &cfg)?;
        command.current_dir(home).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let begin = Instant::now();
        let child = command.spawn().map_err(|error| {
            format!("cannot start {}: {error}", command.get_program().display())
        })?;
        Ok(Server { kind, port, home: home.to_owned(), begin, child })
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether a new session could read the root.
fn first_answer(port: u16) -> Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect(address) else { return Ok(false) };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let answered =
        session::ask(&mut stream).and_then(|()| session::granted(&mut stream)).and_then(|()| {
            let root = PathWatch { path: "/".into(), watch: false };
            session::call(&mut stream, 1, OpCode::GetData, &root)
        });
    match answered {
        Ok(body) => {
            let reply: GetDataReply<'_> = jute::decode(&body)?;
            if !reply.data.bytes().is_empty() || reply.stat.num_children < 1 {
                return Err(format!("wrong answer: a root with {reply:?}").into());
            }
            Ok(true)
        }
        // It closed the connection, or was silent: it starts.
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(starting) => Ok(false),
        Err(error) => Err(error),
    }
}

fn starting(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
    )
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    /// Its directory.
    pub(crate) home: PathBuf,
    begin: Instant,
    child: Child,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its first answer to a request; how long it took from its start.
    pub(crate) fn serves(&mut self) -> Result<Duration> {
        loop {
            go_on()?;
            if first_answer(self.port)? {
                return Ok(self.begin.elapsed());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || self.begin.elapsed() > START {
                let log = fs::read_to_string(self.home.join("server.log")).unwrap_or_default();
                let name = self.kind.name();
                return Err(format!("{name} does not serve ({ended:?}):\n{log}").into());
            }
            std::thread::sleep(RETRY);
        }
    }

    /// What it says of itself as its mode; nothing while it does not serve.
    pub(crate) fn mode(&self) -> Result<Option<String>> {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return Ok(None);
        };
        stream.set_read_timeout(Some(START))?;
        let mut text = String::new();
        // A server that starts may close the connection over it.
        if stream.write_all(b"srvr").and_then(|()| stream.read_to_string(&mut text)).is_err() {
            return Ok(None);
        }
        Ok(text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned))
    }

    /// Ends it as an operator does, and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; a process that cannot be killed has no other answer either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
