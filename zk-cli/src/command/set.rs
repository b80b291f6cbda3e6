//! `set`

use clap::Args;
use serde_json::json;

use super::Context;
use crate::failure::Failure;
use crate::output::stat_json;

/// Replace the data of a node
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// Print the node's new stat
    #[arg(short)]
    stat: bool,
    /// Only if this is the version of the data now
    #[arg(short, default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    version: i32,
    /// The node
    path: String,
    /// The data; `-` or nothing: standard input, as it is
    #[arg(allow_hyphen_values = true)]
    data: Option<String>,
}

impl Set {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        let data = cx.value(self.data.as_deref().unwrap_or("-"))?;
        let stat = cx.connection.set_data(&path, Some(&data), self.version)?;
        if cx.output.is_json() {
            cx.output.json(&json!({ "path": self.path, "stat": stat_json(&stat) }))
        } else if self.stat {
            cx.output.stat(&stat)
        } else {
            Ok(())
        }
    }
}
