//! The real binary, and servers for it.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part of this")]

pub mod server;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use server::Server;

/// `zk`, pointed at `server`, with nothing of this machine in its environment.
pub fn zk(server: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zk"));
    command.args(["--server", server]).args(args);
    command.env_remove("ZK_SERVER").env_remove("NO_COLOR").env("TZ", "UTC");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: output.stdout,
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn text(&self) -> &str {
        core::str::from_utf8(&self.out).unwrap()
    }
}

/// Gives a child its whole input and waits for its end.
pub fn finish(mut child: Child, input: &[u8]) -> Ran {
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    Ran::of(child.wait_with_output().unwrap())
}

/// A node that belongs to one test, on a server of its own or shared.
pub struct Place {
    pub server: Server,
    pub root: String,
}

impl Place {
    pub fn new(test: &str) -> Self {
        // A server that is shared keeps what a failed run has left.
        let root = format!("/zk-cli-{test}-{}", std::process::id());
        let place = Self { server: Server::start(), root };
        assert_eq!(place.ok(&["create", &place.root]), format!("{}\n", place.root));
        place
    }

    /// A path below the root.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    /// Runs one verb.
    pub fn zk(&self, args: &[&str]) -> Ran {
        self.zk_with(args, b"")
    }

    pub fn zk_with(&self, args: &[&str], input: &[u8]) -> Ran {
        finish(zk(&self.server.address, args).spawn().unwrap(), input)
    }

    /// Runs one verb that has nothing to complain about.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.zk(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}: {}", ran.text());
        ran.text().to_owned()
    }

    /// Runs one verb that fails: its exit code and its sentence.
    #[track_caller]
    pub fn no(&self, args: &[&str]) -> (i32, String) {
        let ran = self.zk(args);
        assert_eq!(ran.text(), "", "{args:?}");
        (ran.code, ran.err.trim_end().to_owned())
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let args: Vec<_> = ["--output", "json"].iter().chain(args).copied().collect();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }
}
