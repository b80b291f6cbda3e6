//! `get`

use clap::Args;
use serde_json::{Map, Value};

use super::Context;
use crate::failure::Failure;
use crate::output::{data_json, stat_json};

/// Print the data of a node: its bytes into a pipe or file, readable text on a terminal
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Print the node's stat too, after the data and a line end
    #[arg(short)]
    stat: bool,
    /// Leave a watch on the node (outside the shell: and wait until it fires)
    #[arg(short)]
    watch: bool,
    /// The node
    path: String,
}

impl Get {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let (data, stat) = cx.connection.get_data(&cx.path(&self.path)?, self.watch)?;
        let data = data.as_deref();
        if cx.output.is_json() {
            let mut object = Map::new();
            object.insert("path".into(), self.path.as_str().into());
            data_json(&mut object, data);
            if self.stat {
                object.insert("stat".into(), stat_json(&stat));
            }
            cx.output.json(&Value::Object(object))?;
        } else {
            cx.output.data(data, self.stat || self.watch || cx.notices.is_none())?;
            if self.stat {
                cx.output.stat(&stat)?;
            }
        }
        if self.watch { cx.await_watch() } else { Ok(()) }
    }
}
