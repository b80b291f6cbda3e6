//! What concerns the session itself: `sync`, `addauth`, `whoami`, `getEphemerals`

use clap::Args;
use serde_json::{Value, json};
use zk_core::wire::OpCode;
use zk_core::wire::client::{ClientInfo, PathRecord};
use zk_core::wire::jute::{List, Ustring};

use super::Context;
use crate::failure::Failure;
use crate::operations::decode;

/// Wait until the server has caught up with the leader
#[derive(Args, Debug)]
pub(crate) struct Sync {
    /// The node that is to be current
    path: String,
}

impl Sync {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        cx.connection.sync(&cx.path(&self.path)?)?;
        if cx.output.is_json() {
            cx.output.json(&json!({ "path": self.path, "synced": true }))
        } else {
            cx.output.line("Sync is OK")
        }
    }
}

/// Authenticate the session (outside the shell: try a credential; --auth is for the other verbs)
#[derive(Args, Debug)]
pub(crate) struct Addauth {
    /// The scheme, for example digest
    scheme: String,
    /// What the scheme wants, for digest user:password
    #[arg(default_value = "")]
    auth: String,
}

impl Addauth {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        cx.connection.add_auth(&self.scheme, self.auth.as_bytes())?;
        // The answer to anything that follows says whether it was accepted.
        cx.connection.exists("/", false)?;
        if cx.output.is_json() {
            cx.output.json(&json!({ "scheme": self.scheme, "accepted": true }))
        } else {
            Ok(())
        }
    }
}

/// Print who the server thinks this session is, an identity a line as scheme: user
#[derive(Args, Debug)]
pub(crate) struct Whoami {}

impl Whoami {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let body = cx.connection.call(OpCode::WhoAmI, &(), "this session")?;
        let list: List<'_, ClientInfo<'_>> = decode(&body)?;
        let text = |text: Ustring<'_>| String::from_utf8_lossy(text.bytes()).into_owned();
        let all = list.iter().map(|info| (text(info.auth_scheme), text(info.user)));
        if cx.output.is_json() {
            let all: Vec<Value> =
                all.map(|(scheme, user)| json!({ "scheme": scheme, "user": user })).collect();
            cx.output.json(&json!({ "identities": all }))
        } else {
            cx.output.lines(all.map(|(scheme, user)| format!("{scheme}: {user}")))
        }
    }
}

/// List the ephemeral nodes of this session, one path a line
#[derive(Args, Debug)]
pub(crate) struct GetEphemerals {
    /// Only paths that begin with this
    #[arg(default_value = "/")]
    path: String,
}

impl GetEphemerals {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        let request = PathRecord { path: path.as_str().into() };
        let body = cx.connection.call(OpCode::GetEphemerals, &request, &self.path)?;
        let list: List<'_, Ustring<'_>> = decode(&body)?;
        let mut paths: Vec<_> = list
            .iter()
            .map(|path| cx.connection.shown(&String::from_utf8_lossy(path.bytes())).to_owned())
            .collect();
        paths.sort_unstable();
        if cx.output.is_json() {
            cx.output.json(&json!({ "path": self.path, "paths": paths }))
        } else {
            cx.output.lines(paths)
        }
    }
}
