//! Runs the scripts.
//!
//! | command | what it does |
//! |---|---|
//! | `servers 1-3 [observers 4-5]` | a new ensemble; further lines are `group` and `weight` |
//! | `config 1-3` | the lines below are the configuration of these servers |
//! | `propose 1-3` | the lines below are the configuration that they see proposed |
//! | `start 1 [zxid=.. epoch=..]` | starts a server, or lets it look again |
//! | `stop 1` | it fails; its log stays |
//! | `mock 1-3` | these servers say only what `say` and `bytes` let them say |
//! | `say 2->1 FOLLOWING leader=2 [zxid= epoch= round= version=]` | a mock says this |
//! | `bytes 2->1 hex..` | a mock sends these bytes |
//! | `cut 1-2`, `heal 1-2` | the links between each two of these, or of one to all others |
//! | `hold 1->2`, `release 1->2` | what is on its way waits, or arrives |
//! | `lose 1->2` | what waits there is lost |
//! | `block 1->2`, `unblock 1->2` | the sender cannot send |
//! | `pass 200` | so many milliseconds |
//! | `epoch 1-2 5` | these servers have synchronised with their leader in this epoch |
//! | `supported 1` | whether the leader, whom nobody follows yet, still has a quorum behind it |
//! | `states` | what each server does |
//!
//! Whatever is not held arrives at once. Numbers are decimal, or hexadecimal with `0x`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use zk_core::election::{Election, ServerState, Vote};
use zk_core::id::{ServerId, Zxid};
use zk_core::time::Instant;

use super::network::{Network, describe, frame};

/// Frames that arrive after one command before a script is taken to be endless.
const ARRIVALS_MAX: usize = 10_000;

#[test]
fn scripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/election");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    let rewrite = std::env::var_os("ZK_REWRITE").is_some();
    for file in files {
        let script = std::fs::read_to_string(&file).unwrap();
        for fragment in [usize::MAX, 1, 7, 64] {
            let happened = run(&script, fragment);
            if rewrite && fragment == usize::MAX {
                std::fs::write(&file, &happened).unwrap();
            } else if !rewrite {
                let wrong = script.lines().zip(happened.lines()).position(|(a, b)| a != b);
                assert!(
                    script == happened,
                    "{}: line {} is different. What happens in fragments of {fragment}:\n{happened}",
                    file.display(),
                    wrong.map_or(0, |line| line + 1),
                );
            }
        }
    }
}

/// The script, with what happens in place of what should.
fn run(script: &str, fragment: usize) -> String {
    let mut out = String::new();
    let mut network = Network::new(fragment);
    let mut command: Vec<&str> = vec![];
    let mut expected = false;
    for line in script.lines() {
        match line {
            "----" => {
                network.log.clear();
                execute(&mut network, &command);
                settle(&mut network);
                writeln!(out, "----\n{}", network.log.trim_end()).unwrap();
                command.clear();
                expected = true;
            }
            "" => {
                if !out.ends_with("\n\n") {
                    out.push('\n');
                }
                expected = false;
            }
            _ if expected => {}
            line => {
                if !line.starts_with('#') {
                    command.push(line);
                }
                writeln!(out, "{line}").unwrap();
            }
        }
    }
    out
}

/// `1`, or `1-3`.
fn ids(text: &str) -> impl Iterator<Item = ServerId> + Clone {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range: RangeInclusive<i64> = first.parse().unwrap()..=last.parse().unwrap();
    range.map(ServerId)
}

/// `1->2`.
fn way(text: &str) -> (ServerId, ServerId) {
    let (from, to) = text.split_once("->").unwrap_or_else(|| panic!("{text}: not a way"));
    (ServerId(from.parse().unwrap()), ServerId(to.parse().unwrap()))
}

fn number(text: &str) -> i64 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    match digits.strip_prefix("0x") {
        Some(hex) => sign * i64::from_str_radix(hex, 16).unwrap(),
        None => text.parse().unwrap_or_else(|_| panic!("{text}: not a number")),
    }
}

/// The configuration of servers `voters` and `observers`, with further lines.
fn config(voters: &str, observers: Option<&str>, lines: &[&str]) -> String {
    let mut config = String::new();
    let line = |id: ServerId, role| format!("server.{0}=zoö-{0}:2888:3888:{role}\n", id.0);
    config.extend(ids(voters).map(|id| line(id, "participant")));
    config.extend(observers.into_iter().flat_map(ids).map(|id| line(id, "observer")));
    config + &lines.join("\n")
}

fn execute(network: &mut Network, command: &[&str]) {
    let words: Vec<&str> = command.first().unwrap_or(&"").split_whitespace().collect();
    let lines = command.get(1..).unwrap_or_default();
    let options: BTreeMap<&str, i64> = words
        .iter()
        .filter_map(|word| word.split_once('='))
        .map(|(name, value)| (name, number(value)))
        .collect();
    let option = |name, default| options.get(name).copied().unwrap_or(default);
    match &words[..] {
        ["servers", voters, rest @ ..] => {
            let log = core::mem::take(&mut network.log);
            *network = Network { log, ..Network::new(network.fragment) };
            let observers = match rest {
                ["observers", observers] => Some(*observers),
                _ => None,
            };
            let config = config(voters, observers, lines);
            for id in ids(voters).chain(observers.into_iter().flat_map(ids)) {
                network.add(id, &config);
            }
        }
        ["config", servers] => {
            for id in ids(servers) {
                network.add(id, &lines.join("\n"));
            }
        }
        ["propose", servers] => {
            for id in ids(servers) {
                let node = network.nodes.get_mut(&id).unwrap();
                node.quorums.proposed.set(lines.join("\n").as_bytes()).unwrap();
            }
        }
        ["start", id, ..] => {
            for id in ids(id) {
                let node = network.nodes.get_mut(&id).unwrap();
                node.zxid = Zxid(option("zxid", node.zxid.0));
                node.epoch = option("epoch", node.epoch);
                network.look(id);
            }
        }
        ["stop", id] => ids(id).for_each(|id| network.stop(id)),
        ["mock", id] => {
            network.mocks.extend(ids(id));
            for id in ids(id) {
                network.nodes.remove(&id);
            }
            network.connect();
        }
        ["say", between, state, ..] => {
            let (from, to) = way(between);
            let state = (0..4)
                .filter_map(ServerState::from_wire)
                .find(|known| known.to_string() == *state)
                .unwrap();
            let vote = Vote {
                leader: ServerId(option("leader", from.0)),
                zxid: Zxid(option("zxid", 0)),
                round: option("round", 1),
                peer_epoch: option("epoch", 0),
            };
            let version = option("version", 2) as i32;
            network.bytes(from, to, &frame(state, &vote, version, b""));
        }
        ["bytes", between, hex @ ..] => {
            let (from, to) = way(between);
            let hex = hex.concat();
            let bytes: Vec<u8> = (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            network.bytes(from, to, &bytes);
        }
        [verb @ ("cut" | "heal"), servers] => {
            let others = if servers.contains('-') { *servers } else { "0-99" };
            for (a, b) in ids(servers).flat_map(|a| ids(others).map(move |b| (a.min(b), a.max(b))))
            {
                if *verb == "cut" {
                    network.cut.insert((a, b));
                } else {
                    network.cut.remove(&(a, b));
                }
            }
            network.connect();
        }
        [verb @ ("hold" | "release" | "lose" | "block" | "unblock"), ways @ ..] => {
            for between in ways {
                let way = network.ways.entry(way(between)).or_default();
                match *verb {
                    "hold" => way.held = true,
                    "release" => way.held = false,
                    "lose" => way.frames.clear(),
                    "block" => way.full = true,
                    _ => way.full = false,
                }
            }
        }
        ["pass", ms] => pass(network, number(ms) as u64),
        ["epoch", servers, epoch] => {
            for id in ids(servers) {
                let node = network.nodes.get_mut(&id).unwrap();
                node.epoch = number(epoch);
                node.election.as_mut().unwrap().set_epoch(node.epoch);
            }
        }
        ["supported", id] => {
            let node = &network.nodes[&ids(id).next().unwrap()];
            let supported = node.election.as_ref().unwrap().is_supported(&node.quorums, |_| false);
            network.say(if supported { "yes" } else { "no" });
        }
        ["states"] => {
            let mut lines = vec![];
            for (id, node) in &network.nodes {
                let current = node.election.as_ref().and_then(Election::current);
                lines.push(match current {
                    Some((state, vote)) => format!("{} is {}", id.0, describe(state, &vote)),
                    None => format!("{} is down", id.0),
                });
            }
            lines.iter().for_each(|line| network.say(line));
        }
        _ => panic!("no such command: {command:?}"),
    }
}

/// Lets everything arrive that is not held.
fn settle(network: &mut Network) {
    for _ in 0..ARRIVALS_MAX {
        for (from, to, state, vote) in network.take() {
            network.say(format!("{} -> {} {}", from.0, to.0, describe(state, &vote)));
        }
        let on_the_way = |(_, way): &(_, &super::network::Way)| !way.held && !way.frames.is_empty();
        let Some((&(from, to), _)) = network.ways.iter().find(on_the_way) else { return };
        network.arrive(from, to);
    }
    panic!("this does not end:\n{}", network.log);
}

/// Lets time pass, from one timeout to the next.
fn pass(network: &mut Network, ms: u64) {
    let start = network.now;
    let end = start.plus(ms);
    while let Some(next) = network.next_timeout().filter(|&next| next <= end) {
        network.now = network.now.max(next);
        let log = core::mem::take(&mut network.log);
        network.tick();
        settle(network);
        let happened = core::mem::replace(&mut network.log, log);
        if !happened.is_empty() {
            network.say(format!("after {} ms:", network.now.since(start)));
            happened.lines().for_each(|line| network.say(format!("  {line}")));
        }
    }
    network.now = Instant(end.0);
}
