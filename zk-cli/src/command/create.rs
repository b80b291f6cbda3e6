//! `create`

use clap::Args;
use serde_json::json;
use zk_core::tree::path;
use zk_core::wire::client::{CreateMode, CreateRequest, CreateTtlRequest, PathReply};
use zk_core::wire::jute::Buffer;
use zk_core::wire::{Code, OpCode};

use super::Context;
use crate::acl::AclText;
use crate::failure::Failure;
use crate::operations::decode;
use crate::output::complain;

/// Create a node and print its path
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Append a sequence number to the path
    #[arg(short, conflicts_with = "container")]
    sequential: bool,
    /// Delete the node when the session ends
    #[arg(short, conflicts_with_all = ["container", "ttl"])]
    ephemeral: bool,
    /// A container: deleted some time after its last child
    #[arg(short, conflicts_with = "ttl")]
    container: bool,
    /// Delete the node when its data was not set for so many milliseconds and it has no children
    #[arg(short)]
    ttl: Option<i64>,
    /// The node
    path: String,
    /// The data; `-` is standard input, nothing is null
    #[arg(allow_hyphen_values = true)]
    data: Option<String>,
    /// Who may do what: scheme:id:perms[,...] with perms of the letters c d r w a
    acl: Option<AclText>,
}

impl Create {
    fn mode(&self) -> CreateMode {
        match (self.sequential, self.ephemeral, self.container, self.ttl.is_some()) {
            (_, _, true, _) => CreateMode::Container,
            (true, _, _, true) => CreateMode::PersistentSequentialWithTtl,
            (false, _, _, true) => CreateMode::PersistentWithTtl,
            (true, true, ..) => CreateMode::EphemeralSequential,
            (false, true, ..) => CreateMode::Ephemeral,
            (true, false, ..) => CreateMode::PersistentSequential,
            (false, false, ..) => CreateMode::Persistent,
        }
    }

    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path_or_sequential(&self.path, self.sequential)?;
        let data = self.data.as_deref().map(|text| cx.value(text)).transpose()?;
        let mode = self.mode();
        let acl = self.acl.clone().unwrap_or_else(AclText::open);
        let answer = acl.with(|acl| {
            let data = Buffer(data.as_deref());
            let create =
                CreateRequest { path: path.as_str().into(), data, acl, flags: mode as i32 };
            match self.ttl {
                Some(ttl) => {
                    cx.connection.answer(OpCode::CreateTtl, &CreateTtlRequest { create, ttl })
                }
                None if self.container => cx.connection.answer(OpCode::CreateContainer, &create),
                None => cx.connection.answer(OpCode::Create, &create),
            }
        })?;
        match answer.err {
            Code::Ok => {}
            // It is the parent that is missing or may not be written to.
            code @ (Code::NoNode | Code::NoAuth) => {
                let parent =
                    path::split(self.path.as_bytes()).map_or(&b""[..], |(parent, _)| parent);
                let parent = String::from_utf8_lossy(path::shown(parent)).into_owned();
                return Err(Failure::of(code, parent));
            }
            code => return Err(Failure::of(code, &self.path)),
        }
        // Every form of the reply begins with the path.
        let PathReply { path } = decode(&answer.body)?;
        let path = String::from_utf8_lossy(path.bytes());
        let path = cx.connection.shown(&path);
        if cx.output.is_json() {
            cx.output.json(&json!({ "path": path }))?;
        } else {
            cx.output.line(path)?;
        }
        if self.ephemeral && cx.notices.is_some() {
            complain("note", "the node goes with this session, now; use `zk shell` to keep it");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    #[test]
    fn flags_make_the_mode() {
        let mode = |flags: &str| {
            let line = core::iter::once("create").chain(flags.split_whitespace()).chain(["/a"]);
            Line::try_parse_from(line).map(|line| line.create.mode()).ok()
        };
        assert_eq!(mode(""), Some(CreateMode::Persistent));
        assert_eq!(mode("-s"), Some(CreateMode::PersistentSequential));
        assert_eq!(mode("-e"), Some(CreateMode::Ephemeral));
        assert_eq!(mode("-s -e"), Some(CreateMode::EphemeralSequential));
        assert_eq!(mode("-c"), Some(CreateMode::Container));
        assert_eq!(mode("-t 5"), Some(CreateMode::PersistentWithTtl));
        assert_eq!(mode("-s -t 5"), Some(CreateMode::PersistentSequentialWithTtl));
        for wrong in ["-c -e", "-c -s", "-e -t 5", "-c -t 5", "-t x"] {
            assert_eq!(mode(wrong), None, "{wrong}");
        }
    }
}
