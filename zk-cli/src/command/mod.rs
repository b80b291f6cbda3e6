//! The verbs, a module each or a few that belong together.

mod acl;
pub(crate) mod board;
mod config;
mod create;
mod delete;
mod get;
pub(crate) mod log;
mod ls;
mod offline;
pub(crate) mod quorum;
mod quota;
pub(crate) mod server;
mod session;
mod set;
pub(crate) mod snapshot;
mod stat;
pub(crate) mod status;
mod version;
pub(crate) mod watch;

use std::io::{self, IsTerminal, Read};
use std::sync::mpsc::Receiver;

use clap::Subcommand;
use serde_json::json;
use zk_core::tree::path;

use crate::connection::{Connection, Notice};
use crate::failure::Failure;
use crate::output::{self, Output};

/// The most bytes taken from standard input as a value.
const MAX_VALUE: u64 = 16 << 20;

/// What a verb works with.
pub(crate) struct Context<'c> {
    pub(crate) connection: &'c Connection,
    pub(crate) output: &'c Output,
    /// What happens to the session, if this verb is all that the session is for. In the shell
    /// events are printed as they come, and verbs wait for none.
    pub(crate) notices: Option<Receiver<Notice>>,
}

/// Verbs with zkCli's names and flags.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Ls(ls::Ls),
    Get(get::Get),
    Stat(stat::Stat),
    Set(set::Set),
    Create(create::Create),
    Delete(delete::Delete),
    Deleteall(delete::Deleteall),
    Sync(session::Sync),
    #[command(name = "getAcl", alias = "getacl")]
    GetAcl(acl::GetAcl),
    #[command(name = "setAcl", alias = "setacl")]
    SetAcl(acl::SetAcl),
    Addauth(session::Addauth),
    Setquota(quota::Setquota),
    Listquota(quota::Listquota),
    Delquota(quota::Delquota),
    #[command(name = "addWatch", alias = "addwatch")]
    AddWatch(watch::AddWatch),
    Removewatches(watch::Removewatches),
    #[command(name = "getEphemerals", alias = "getephemerals")]
    GetEphemerals(session::GetEphemerals),
    #[command(name = "getAllChildrenNumber", alias = "getallchildrennumber")]
    GetAllChildrenNumber(stat::GetAllChildrenNumber),
    Whoami(session::Whoami),
    Version(version::Version),
    Config(config::Config),
    Reconfig(config::Reconfig),
}

impl Verb {
    /// Does it.
    pub(crate) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        match self {
            Self::Ls(verb) => verb.run(cx),
            Self::Get(verb) => verb.run(cx),
            Self::Stat(verb) => verb.run(cx),
            Self::Set(verb) => verb.run(cx),
            Self::Create(verb) => verb.run(cx),
            Self::Delete(verb) => verb.run(cx),
            Self::Deleteall(verb) => verb.run(cx),
            Self::Sync(verb) => verb.run(cx),
            Self::GetAcl(verb) => verb.run(cx),
            Self::SetAcl(verb) => verb.run(cx),
            Self::Addauth(verb) => verb.run(cx),
            Self::Setquota(verb) => verb.run(cx),
            Self::Listquota(verb) => verb.run(cx),
            Self::Delquota(verb) => verb.run(cx),
            Self::AddWatch(verb) => verb.run(cx),
            Self::Removewatches(verb) => verb.run(cx),
            Self::GetEphemerals(verb) => verb.run(cx),
            Self::GetAllChildrenNumber(verb) => verb.run(cx),
            Self::Whoami(verb) => verb.run(cx),
            Self::Version(verb) => verb.run(cx.output, &cx.connection.options().servers),
            Self::Config(verb) => verb.run(cx),
            Self::Reconfig(verb) => verb.run(cx),
        }
    }
}

impl Context<'_> {
    /// The path as the server knows it.
    fn path(&self, path: &str) -> Result<String, Failure> {
        self.path_or_sequential(path, false)
    }

    /// The same for a path that may end in a slash, because a sequence number follows.
    fn path_or_sequential(&self, path: &str, sequential: bool) -> Result<String, Failure> {
        let whole = match path.strip_suffix('/') {
            Some(parent) if sequential && !parent.is_empty() => parent,
            _ => path,
        };
        if !path::is_valid(whole.as_bytes()) {
            return Err(Failure::Usage(format!(
                "`{path}` is not a path: it starts with /, does not end with one, and has no \
                 empty part, . or .."
            )));
        }
        Ok(match (self.connection.chroot(), path) {
            ("", path) => path.to_owned(),
            (chroot, "/") => chroot.to_owned(),
            (chroot, path) => format!("{chroot}{path}"),
        })
    }

    /// The bytes of a value: `-` is standard input.
    fn value(&self, text: &str) -> Result<Vec<u8>, Failure> {
        if text == "-" { self.standard_input() } else { Ok(text.as_bytes().to_vec()) }
    }

    fn standard_input(&self) -> Result<Vec<u8>, Failure> {
        if self.notices.is_none() {
            return Err(Failure::Usage("in the shell the value must be given".into()));
        }
        if io::stdin().is_terminal() {
            output::complain("note", "reading the value from the terminal until Ctrl-D");
        }
        let mut bytes = Vec::new();
        io::stdin().lock().take(MAX_VALUE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_VALUE {
            return Err(Failure::Usage(format!("the value has more than {MAX_VALUE} bytes")));
        }
        Ok(bytes)
    }

    /// After a verb that left a watch: waits for it to fire, unless this is the shell.
    fn await_watch(&self) -> Result<(), Failure> {
        match &self.notices {
            Some(_) => self.follow(Some(1)),
            None => Ok(()),
        }
    }

    /// Prints watch events, `limit` of them.
    fn follow(&self, limit: Option<u64>) -> Result<(), Failure> {
        let Some(notices) = &self.notices else { return Ok(()) };
        let mut seen = 0;
        while limit.is_none_or(|limit| seen < limit) {
            let Ok(notice) = notices.recv() else { break };
            match notice {
                Notice::Watch { kind, path } => {
                    let path = String::from_utf8_lossy(&path);
                    self.print_event(kind, self.connection.shown(&path))?;
                    seen += 1;
                }
                Notice::Ended(why) => return Err(Failure::Lost(why.into())),
                other => {
                    if let Some(text) = describe(&other) {
                        output::complain("note", &text);
                    }
                }
            }
        }
        Ok(())
    }

    fn print_event(&self, kind: i32, path: &str) -> Result<(), Failure> {
        let name = output::event_name(kind);
        if self.output.is_json() {
            self.output.json(&json!({ "event": name, "path": path }))
        } else {
            self.output.line(&format!("{name} {path}"))
        }
    }
}

/// A notice in words; `None` for the ordinary beginning of a session.
pub(crate) fn describe(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::Watch { kind, path } => {
            format!("{} {}", output::event_name(*kind), String::from_utf8_lossy(path))
        }
        Notice::Connected { again: false, read_only: false, .. } => return None,
        Notice::Connected { again: false, host, .. } => format!("connected to {host}, read-only"),
        Notice::Connected { host, .. } => {
            format!("connected again, to {host}; watches are in place")
        }
        Notice::Disconnected(why) => format!("disconnected: {why}"),
        Notice::WatchesLost => "the server did not take the watches again: they are lost".into(),
        Notice::Ended(why) => (*why).to_owned(),
    })
}
