//! A quorum on this machine: processes that are killed, and come back.
#![cfg(unix)]

mod support;

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::Value;
use support::{finish, zk};

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

struct Quorum {
    child: Child,
    events: Receiver<Value>,
    /// The process of each server.
    pids: Vec<u64>,
    connect: String,
    leader: u64,
}

fn kill(signal: &str, pid: u64) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

impl Quorum {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let dir = dir.to_str().unwrap();
        let args = [&["-o", "json", "quorum", "--dir", dir, "--port", "0"], args].concat();
        let mut child = zk("localhost:1", &args).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // The test may have ended.
                let _ = sender.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        let mut quorum =
            Self { child, events, pids: vec![0; 9], connect: String::new(), leader: 0 };
        quorum.wait("serving");
        quorum
    }

    /// Waits for an event, and notes what comes before it.
    fn wait(&mut self, name: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not {name}"));
            match event["event"].as_str().unwrap() {
                "started" => {
                    let server = event["server"].as_u64().unwrap() as usize;
                    self.pids[server] = event["pid"].as_u64().unwrap();
                }
                "serving" => {
                    self.connect = event["connect"].as_str().unwrap().to_owned();
                    self.leader = event["leader"].as_u64().unwrap();
                }
                _ => {}
            }
            if event["event"] == name {
                return event;
            }
        }
    }

    fn zk(&self, args: &[&str]) -> String {
        let ran = finish(zk(&self.connect, args).spawn().unwrap(), b"");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}: {}", ran.text());
        ran.text().to_owned()
    }

    fn status(&self) -> Vec<Value> {
        serde_json::from_str(&self.zk(&["-o", "json", "status"])).unwrap()
    }

    fn stop(mut self) {
        kill("-INT", self.child.id().into());
        self.wait("stopped");
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_quorum_survives_kills_and_keeps_its_data() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("q");
    let mut quorum = Quorum::start(&dir, &["--peers", "3", "--observers", "1"]);
    quorum.zk(&["create", "/a", "one"]);
    let roles = |quorum: &Quorum| {
        let mut roles: Vec<String> =
            quorum.status().iter().map(|m| m["state"].as_str().unwrap().to_owned()).collect();
        roles.sort();
        roles
    };
    assert_eq!(roles(&quorum), ["follower", "follower", "leader", "observer"]);
    // The leader, then a follower.
    for _ in 0..2 {
        let victim = quorum.leader;
        kill("-9", quorum.pids[victim as usize]);
        let ended = quorum.wait("ended");
        assert_eq!(ended["server"], victim);
        assert!(ended["how"].as_str().unwrap().contains("SIGKILL"), "{ended}");
        quorum.wait("serving");
        assert_eq!(quorum.zk(&["get", "/a"]), "one");
        assert_eq!(roles(&quorum), ["follower", "follower", "leader", "observer"]);
    }
    quorum.zk(&["set", "/a", "two"]);
    let connect = quorum.connect.clone();
    quorum.stop();
    // The same directory is the same quorum.
    let quorum = Quorum::start(&dir, &[]);
    assert_eq!(quorum.connect, connect);
    assert_eq!(quorum.zk(&["get", "/a"]), "two");
    quorum.stop();
    let args = ["quorum", "--peers", "5", "--dir", dir.to_str().unwrap()];
    let ran = finish(zk("localhost:1", &args).spawn().unwrap(), b"");
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("a quorum of 3 peers and 1 observers"), "{}", ran.err);
}

#[test]
fn peers_end_with_whoever_has_started_them() {
    let root = tempfile::tempdir().unwrap();
    let mut quorum = Quorum::start(root.path(), &["--peers", "1"]);
    let pid = quorum.pids[1];
    quorum.child.kill().unwrap();
    quorum.child.wait().unwrap();
    // The peer has inherited the pipe of none; its log says how it ended.
    let log = root.path().join("1").join("server.log");
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(&log).unwrap().contains("stopped; everything is on the disk") {
        assert!(begun.elapsed() < PATIENCE, "process {pid} is still there");
        thread::yield_now();
    }
}
