//! `ls`

use clap::Args;
use serde_json::json;

use super::Context;
use crate::failure::Failure;
use crate::output::stat_json;

/// List the children of a node, one name a line
#[derive(Args, Debug)]
pub(crate) struct Ls {
    /// Print the node's stat too
    #[arg(short)]
    stat: bool,
    /// Leave a watch on the list (outside the shell: and wait until it fires)
    #[arg(short)]
    watch: bool,
    /// List the whole subtree, one path a line
    #[arg(short = 'R', conflicts_with = "stat")]
    recursive: bool,
    /// The node
    #[arg(default_value = "/")]
    path: String,
}

impl Ls {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        if self.recursive {
            let paths = cx.connection.walk(&path, self.watch)?;
            let paths: Vec<_> = paths.iter().map(|path| cx.connection.shown(path)).collect();
            if cx.output.is_json() {
                cx.output.json(&json!({ "path": self.path, "paths": paths }))?;
            } else {
                cx.output.lines(paths)?;
            }
        } else {
            let (children, stat) = cx.connection.get_children(&path, self.watch)?;
            if cx.output.is_json() {
                let mut value = json!({ "path": self.path, "children": children });
                if self.stat {
                    value["stat"] = stat_json(&stat);
                }
                cx.output.json(&value)?;
            } else {
                cx.output.lines(children)?;
                if self.stat {
                    cx.output.stat(&stat)?;
                }
            }
        }
        if self.watch { cx.await_watch() } else { Ok(()) }
    }
}
