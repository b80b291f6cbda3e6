//! `config`, `reconfig`

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::json;
use zk_core::tree::path;
use zk_core::wire::OpCode;
use zk_core::wire::client::{GetDataReply, ReconfigRequest, Stat};
use zk_core::wire::jute::Ustring;

use super::Context;
use crate::failure::Failure;
use crate::operations::decode;
use crate::output::stat_json;

/// The node that holds the configuration, whatever the chroot.
const NODE: &str = match core::str::from_utf8(path::CONFIG) {
    Ok(path) => path,
    Err(_) => "",
};

/// Print the configuration of the ensemble
#[derive(Args, Debug)]
pub(crate) struct Config {
    /// Only its version and the connect string for clients
    #[arg(short)]
    client: bool,
    /// Leave a watch on it (outside the shell: and wait until it fires)
    #[arg(short)]
    watch: bool,
    /// Print the node's stat too
    #[arg(short)]
    stat: bool,
}

impl Config {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let (data, stat) = cx.connection.get_data(NODE, self.watch)?;
        let data = data.unwrap_or_default();
        let text = String::from_utf8_lossy(&data);
        let (version, clients) = for_clients(&text);
        if cx.output.is_json() {
            let mut value = json!({ "config": text, "version": version, "clients": clients });
            if self.stat {
                value["stat"] = stat_json(&stat);
            }
            cx.output.json(&value)?;
        } else {
            if self.client {
                cx.output.line(&format!("{version} {clients}"))?;
            } else {
                cx.output.lines(text.lines())?;
            }
            if self.stat {
                cx.output.stat(&stat)?;
            }
        }
        if self.watch { cx.await_watch() } else { Ok(()) }
    }
}

/// Version and client addresses of a configuration. Answers to `ConfigUtils.getClientConfigStr`.
fn for_clients(text: &str) -> (&str, String) {
    let pairs = || text.lines().filter_map(|line| line.split_once('='));
    let version = pairs().find(|(key, _)| *key == "version").map_or("", |(_, value)| value.trim());
    let clients: Vec<_> = pairs()
        .filter(|(key, _)| key.starts_with("server."))
        .filter_map(|(_, value)| value.split_once(';'))
        .map(|(_, client)| client.trim())
        .map(
            |client| if client.contains(':') { client.into() } else { format!("0.0.0.0:{client}") },
        )
        .collect();
    (version, clients.join(","))
}

/// Change the members of the ensemble
#[derive(Args, Debug)]
#[command(group(
    ArgGroup::new("change").required(true).multiple(true).args(["file", "members", "add", "remove"])
))]
pub(crate) struct Reconfig {
    /// Print the stat of the configuration's node too
    #[arg(short)]
    stat: bool,
    /// Only if this is the version of the configuration now, in hexadecimal
    #[arg(short, value_parser = hexadecimal)]
    version: Option<i64>,
    /// Servers to add, as in 4=host:2888:3888:participant;2181, separated by commas
    #[arg(long, conflicts_with_all = ["file", "members"])]
    add: Option<String>,
    /// Ids of servers to remove, separated by commas
    #[arg(long, conflicts_with_all = ["file", "members"])]
    remove: Option<String>,
    /// The whole new membership
    #[arg(long, conflicts_with = "file")]
    members: Option<String>,
    /// A file with the whole new membership, as server.id=... lines
    #[arg(long)]
    file: Option<PathBuf>,
}

fn hexadecimal(text: &str) -> Result<i64, String> {
    i64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|error| error.to_string())
}

impl Reconfig {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let members = match &self.file {
            None => self.members.clone(),
            Some(file) => Some(members(&std::fs::read_to_string(file).map_err(|error| {
                Failure::Io(format!("cannot read {}: {error}", file.display()))
            })?)),
        };
        let text = |text: &Option<String>| text.as_ref().map(|text| text.to_lowercase());
        let [joining, leaving, members] = [text(&self.add), text(&self.remove), text(&members)];
        let request = ReconfigRequest {
            joining: joining.as_deref().map_or(Ustring::NULL, Ustring::from),
            leaving: leaving.as_deref().map_or(Ustring::NULL, Ustring::from),
            new_members: members.as_deref().map_or(Ustring::NULL, Ustring::from),
            cur_config_id: self.version.unwrap_or(-1),
        };
        let body = cx.connection.call(OpCode::Reconfig, &request, "the configuration")?;
        let reply: GetDataReply<'_> = decode(&body)?;
        let stat: Stat = reply.stat;
        let text = String::from_utf8_lossy(reply.data.bytes());
        if cx.output.is_json() {
            return cx.output.json(&json!({ "config": text, "stat": stat_json(&stat) }));
        }
        cx.output.lines(text.lines())?;
        if self.stat { cx.output.stat(&stat) } else { Ok(()) }
    }
}

/// The `server.` lines of a configuration file, as a list.
fn members(text: &str) -> String {
    let lines: Vec<_> =
        text.lines().map(str::trim).filter(|line| line.starts_with("server.")).collect();
    lines.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "server.1=a:2888:3888:participant;0.0.0.0:2181\n\
                        server.2=b:2888:3888:participant;2182\nserver.3=c:1:2\nversion=100000000";

    #[test]
    fn clients_are_told_addresses() {
        assert_eq!(for_clients(TEXT), ("100000000", "0.0.0.0:2181,0.0.0.0:2182".into()));
        assert_eq!(for_clients(""), ("", String::new()));
    }

    #[test]
    fn members_come_from_a_file() {
        let list = "server.1=a:2888:3888:participant;0.0.0.0:2181,\
                    server.2=b:2888:3888:participant;2182,server.3=c:1:2";
        assert_eq!(members(TEXT), list);
        assert_eq!(hexadecimal("0x1f"), Ok(31));
    }
}
