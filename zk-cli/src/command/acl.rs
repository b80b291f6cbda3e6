//! `getAcl`, `setAcl`

use clap::Args;
use serde_json::{Value, json};
use zk_core::wire::OpCode;
use zk_core::wire::client::{GetAclReply, PathRecord, SetAclRequest, Stat};

use super::Context;
use crate::acl::{AclText, letters};
use crate::failure::Failure;
use crate::operations::decode;
use crate::output::stat_json;

/// Print the ACL of a node, an entry a line as scheme:id:perms
#[derive(Args, Debug)]
pub(crate) struct GetAcl {
    /// Print the node's stat too
    #[arg(short)]
    stat: bool,
    /// The node
    path: String,
}

impl GetAcl {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        let request = PathRecord { path: path.as_str().into() };
        let body = cx.connection.call(OpCode::GetAcl, &request, &self.path)?;
        let GetAclReply { acl, stat } = decode(&body)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let entries = acl.iter().map(|entry| {
            let (scheme, id) = (text(entry.id.scheme.bytes()), text(entry.id.id.bytes()));
            (scheme, id, letters(entry.perms))
        });
        if cx.output.is_json() {
            let entries: Vec<Value> = entries
                .map(|(scheme, id, perms)| json!({ "scheme": scheme, "id": id, "perms": perms }))
                .collect();
            let mut value = json!({ "path": self.path, "acl": entries });
            if self.stat {
                value["stat"] = stat_json(&stat);
            }
            cx.output.json(&value)
        } else {
            cx.output.lines(entries.map(|(scheme, id, perms)| format!("{scheme}:{id}:{perms}")))?;
            if self.stat { cx.output.stat(&stat) } else { Ok(()) }
        }
    }
}

/// Replace the ACL of a node
#[derive(Args, Debug)]
pub(crate) struct SetAcl {
    /// Print the node's stat
    #[arg(short, conflicts_with = "recursive")]
    stat: bool,
    /// Only if this is the version of the ACL now
    #[arg(short, default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    version: i32,
    /// Also of everything below it
    #[arg(short = 'R')]
    recursive: bool,
    /// The node
    path: String,
    /// Who may do what: scheme:id:perms[,...] with perms of the letters c d r w a
    acl: AclText,
}

impl SetAcl {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        if self.recursive {
            let paths = cx.connection.walk(&path, false)?;
            for path in &paths {
                match self.set(cx, path) {
                    // Deleted meanwhile.
                    Err(failure) if failure.is_no_node() => {}
                    result => drop(result?),
                }
            }
            if cx.output.is_json() {
                cx.output.json(&json!({ "path": self.path, "changed": paths.len() }))?;
            }
            return Ok(());
        }
        let stat = self.set(cx, &path)?;
        if cx.output.is_json() {
            cx.output.json(&json!({ "path": self.path, "stat": stat_json(&stat) }))
        } else if self.stat {
            cx.output.stat(&stat)
        } else {
            Ok(())
        }
    }

    fn set(&self, cx: &Context<'_>, path: &str) -> Result<Stat, Failure> {
        let body = self.acl.with(|acl| {
            let request = SetAclRequest { path: path.into(), acl, version: self.version };
            cx.connection.call(OpCode::SetAcl, &request, cx.connection.shown(path))
        })?;
        decode(&body)
    }
}
