//! `stat`, `getAllChildrenNumber`

use clap::Args;
use serde_json::json;
use zk_core::wire::client::PathRecord;
use zk_core::wire::{Code, OpCode};

use super::Context;
use crate::failure::Failure;
use crate::operations::decode;
use crate::output::stat_json;

/// Print the stat of a node: zxids, times, versions, counts
#[derive(Args, Debug)]
pub(crate) struct Stat {
    /// Leave a watch on the node, also if it does not exist (outside the shell: and wait until it
    /// fires)
    #[arg(short)]
    watch: bool,
    /// The node
    path: String,
}

impl Stat {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let stat = cx.connection.exists(&cx.path(&self.path)?, self.watch)?;
        match stat {
            None if !self.watch || cx.notices.is_none() => {
                return Err(Failure::of(Code::NoNode, &self.path));
            }
            None if cx.output.is_json() => {
                cx.output.json(&json!({ "path": self.path, "stat": null }))?;
            }
            None => cx.output.line(&format!("{} does not exist yet", self.path))?,
            Some(stat) if cx.output.is_json() => {
                cx.output.json(&json!({ "path": self.path, "stat": stat_json(&stat) }))?;
            }
            Some(stat) => cx.output.stat(&stat)?,
        }
        if self.watch { cx.await_watch() } else { Ok(()) }
    }
}

/// Count all nodes below a node
#[derive(Args, Debug)]
pub(crate) struct GetAllChildrenNumber {
    /// The node
    path: String,
}

impl GetAllChildrenNumber {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        let request = PathRecord { path: path.as_str().into() };
        let body = cx.connection.call(OpCode::GetAllChildrenNumber, &request, &self.path)?;
        let number: i32 = decode(&body)?;
        if cx.output.is_json() {
            cx.output.json(&json!({ "path": self.path, "number": number }))
        } else {
            cx.output.line(&number.to_string())
        }
    }
}
