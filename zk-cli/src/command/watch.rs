//! `watch`, `addWatch`, `removewatches`

use clap::{Args, ValueEnum};
use serde_json::json;
use zk_core::wire::OpCode;
use zk_core::wire::client::PathMode;

use super::Context;
use crate::failure::Failure;

/// Print what happens to a node, an event a line, until Ctrl-C
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// And to everything below it
    #[arg(short = 'R')]
    recursive: bool,
    /// End after so many events
    #[arg(short = 'n')]
    count: Option<u64>,
    /// The node; it need not exist
    path: String,
}

impl Watch {
    pub(crate) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let mode = if self.recursive { Mode::PersistentRecursive } else { Mode::Persistent };
        add(cx, &self.path, mode)?;
        cx.follow(self.count)
    }
}

/// What a persistent watch covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The node and the list of its children
    #[value(name = "PERSISTENT")]
    Persistent,
    /// The node and everything below it
    #[value(name = "PERSISTENT_RECURSIVE")]
    PersistentRecursive,
}

/// Leave a watch that stays when it has fired (outside the shell: and print its events)
#[derive(Args, Debug)]
pub(crate) struct AddWatch {
    /// What it covers
    #[arg(short, value_enum, ignore_case = true, default_value = "PERSISTENT_RECURSIVE")]
    mode: Mode,
    /// The node; it need not exist
    path: String,
}

impl AddWatch {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        add(cx, &self.path, self.mode)?;
        cx.follow(None)
    }
}

fn add(cx: &Context<'_>, path: &str, mode: Mode) -> Result<(), Failure> {
    let server_path = cx.path(path)?;
    let request = PathMode { path: server_path.as_str().into(), mode: mode as i32 };
    cx.connection.call(OpCode::AddWatch, &request, path).map(drop)
}

/// Remove the watches that this session has left on a node
#[derive(Args, Debug)]
pub(crate) struct Removewatches {
    /// Those on the list of children
    #[arg(short, group = "kind")]
    children: bool,
    /// Those on the data
    #[arg(short, group = "kind")]
    data: bool,
    /// Persistent ones (servers since 3.9)
    #[arg(short, group = "kind")]
    persistent: bool,
    /// Persistent recursive ones (servers since 3.9)
    #[arg(short, group = "kind")]
    recursive: bool,
    /// All of them, as if no kind was named
    #[arg(short, group = "kind")]
    any: bool,
    /// On this side, when the server cannot be reached
    #[arg(short)]
    local: bool,
    /// The node
    path: String,
}

impl Removewatches {
    fn watcher_type(&self) -> i32 {
        match (self.children, self.data, self.persistent, self.recursive) {
            (true, ..) => 1,
            (_, true, ..) => 2,
            (_, _, true, _) => 4,
            (_, _, _, true) => 5,
            _ => 3,
        }
    }

    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        let mode = self.watcher_type();
        if self.local && !cx.connection.is_connected() {
            cx.connection.forget_watches(path.as_bytes(), mode);
        } else {
            let request = PathMode { path: path.as_str().into(), mode };
            cx.connection.call(OpCode::RemoveWatches, &request, &self.path)?;
        }
        if cx.output.is_json() { cx.output.json(&json!({ "path": self.path })) } else { Ok(()) }
    }
}
