//! `status`

use std::thread;

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::servers::Servers;
use crate::words::{ask, field};

/// Show the members of an ensemble side by side
///
/// Asks each server of --server for srvr and mntr. Epoch, sessions and digest are known where a
/// server allows mntr (4lw.commands.whitelist). Equal zxids have equal digests.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// The servers, instead of those of --server
    #[arg(value_name = "SERVERS")]
    servers: Option<Servers>,
}

/// What a server says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Member {
    host: String,
    state: String,
    epoch: Option<u64>,
    zxid: Option<u64>,
    sessions: Option<u64>,
    digest: Option<String>,
}

impl Member {
    fn ask(host: &str) -> Self {
        match ask(host, "srvr") {
            Ok(srvr) => Self::read(host, &srvr, &ask(host, "mntr").unwrap_or_default()),
            Err(error) => {
                let state = format!("unreachable ({error})");
                Self { host: host.to_owned(), state, ..Self::default() }
            }
        }
    }

    fn read(host: &str, srvr: &str, mntr: &str) -> Self {
        let state = match field(srvr, "Mode:") {
            Some(mode) => mode.to_owned(),
            None if srvr.contains("not currently serving") => "looking".to_owned(),
            None => "unknown (srvr is not allowed)".to_owned(),
        };
        let number = |key: &str| field(mntr, key)?.parse().ok();
        let zxid = field(srvr, "Zxid: 0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        Self {
            host: host.to_owned(),
            state,
            epoch: number("zk_current_epoch\t").or_else(|| zxid.map(|zxid| zxid >> 32)),
            zxid,
            sessions: number("zk_global_sessions\t"),
            digest: field(mntr, "zk_tree_digest\t").map(str::to_owned),
        }
    }

    /// Transactions between its last one and `most`; unknown across epochs.
    fn lag(&self, most: Option<u64>) -> Option<u64> {
        let (own, most) = (self.zxid?, most?);
        (own >> 32 == most >> 32).then(|| most - own)
    }
}

impl Status {
    pub(crate) fn run(&self, output: &Output, servers: &Servers) -> Result<(), Failure> {
        let hosts = &self.servers.as_ref().unwrap_or(servers).hosts;
        let members: Vec<Member> = thread::scope(|scope| {
            let asking: Vec<_> =
                hosts.iter().map(|host| scope.spawn(|| Member::ask(host))).collect();
            asking.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let most = members.iter().filter_map(|member| member.zxid).max();
        if output.is_json() {
            let shown: Vec<Value> = members.iter().map(|member| to_json(member, most)).collect();
            output.json(&Value::Array(shown))?;
        } else {
            output.lines(table(&members, most))?;
        }
        if members.iter().all(|member| member.state.starts_with("unreachable")) {
            return Err(Failure::Connect("none of the servers can be reached".to_owned()));
        }
        Ok(())
    }
}

fn to_json(member: &Member, most: Option<u64>) -> Value {
    json!({
        "host": member.host,
        "state": member.state,
        "epoch": member.epoch,
        "zxid": member.zxid.map(|zxid| format!("0x{zxid:x}")),
        "lag": member.lag(most),
        "sessions": member.sessions,
        "digest": member.digest,
    })
}

fn table(members: &[Member], most: Option<u64>) -> Vec<String> {
    let known =
        |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let head = ["SERVER", "STATE", "EPOCH", "ZXID", "LAG", "SESSIONS", "DIGEST"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(members.iter().map(|member| {
        [
            member.host.clone(),
            member.state.clone(),
            known(member.epoch),
            member.zxid.map_or_else(|| "-".to_owned(), |zxid| format!("0x{zxid:x}")),
            known(member.lag(most)),
            known(member.sessions),
            member.digest.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_and_compared() {
        let srvr = "Zookeeper version: 3.8.0\nZxid: 0x200000007\nMode: leader\nNode count: 5\n";
        let mntr = "zk_version\t3.8.0\nzk_current_epoch\t2\nzk_global_sessions\t4\n\
                    zk_tree_digest\t-77\n";
        let leader = Member::read("a:1", srvr, mntr);
        assert_eq!(
            (leader.state.as_str(), leader.epoch, leader.sessions),
            ("leader", Some(2), Some(4))
        );
        assert_eq!((leader.zxid, leader.digest.as_deref()), (Some(0x2_0000_0007), Some("-77")));
        // Apache, without mntr.
        let srvr = "Zxid: 0x200000005\nMode: follower\n";
        let follower = Member::read("b:1", srvr, "mntr is not executed because");
        assert_eq!((follower.epoch, follower.sessions), (Some(2), None));
        assert_eq!((follower.lag(leader.zxid), leader.lag(leader.zxid)), (Some(2), Some(0)));
        let old = Member::read("c:1", "Zxid: 0x100000005\nMode: follower\n", "");
        assert_eq!(old.lag(leader.zxid), None);
        let idle = "This ZooKeeper instance is not currently serving requests\n";
        assert_eq!(Member::read("d:1", idle, idle).state, "looking");
        let shown = table(&[leader, follower], Some(0x2_0000_0007));
        assert_eq!(
            shown,
            [
                "SERVER  STATE     EPOCH  ZXID         LAG  SESSIONS  DIGEST",
                "a:1     leader    2      0x200000007  0    4         -77",
                "b:1     follower  2      0x200000005  2    -         -",
            ]
        );
    }
}
