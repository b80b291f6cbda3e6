//! `setquota`, `listquota`, `delquota`
//!
//! The quota of `/a` is the data of `/zookeeper/quota/a/zookeeper_limits`; what is used stands in
//! `zookeeper_stats` beside it. Of a node, its ancestors and its descendants only one has a quota.

use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use zk_core::tree::path;
use zk_core::tree::quota::{LONGEST, Track};
use zk_core::wire::Code;

use super::Context;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::operations::join;
use crate::output::complain;

const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// The node that stands for `path` (with chroot) among the quotas.
fn quota_path(path: &str) -> String {
    let path = if path == "/" { "" } else { path };
    format!("{}{path}", String::from_utf8_lossy(path::QUOTA))
}

fn text(track: &Track) -> Vec<u8> {
    track.write(&mut [0; LONGEST]).to_vec()
}

fn read(connection: &Connection, node: &str) -> Result<Option<Track>, Failure> {
    match connection.get_data(node, false) {
        Ok((data, _)) => Ok(Some(Track::parse(&data.unwrap_or_default()))),
        Err(failure) if failure.is_no_node() => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn no_quota(path: &str) -> Failure {
    Failure::of(Code::NoNode, format!("a quota of {path}"))
}

/// Limit the number of nodes or bytes at and below a node
///
/// Servers warn when a soft limit is exceeded, and refuse to exceed a hard one if their
/// enforceQuota is on. Limits that are not named stay as they are.
#[derive(Args, Debug)]
#[command(group(
    ArgGroup::new("limit").required(true).multiple(true).args(["count", "bytes", "hard_count", "hard_bytes"])
))]
pub(crate) struct Setquota {
    /// Soft limit of nodes
    #[arg(short = 'n', value_parser = clap::value_parser!(i64).range(1..))]
    count: Option<i64>,
    /// Soft limit of bytes
    #[arg(short = 'b', value_parser = clap::value_parser!(i64).range(0..))]
    bytes: Option<i64>,
    /// Hard limit of nodes
    #[arg(short = 'N', value_parser = clap::value_parser!(i64).range(1..))]
    hard_count: Option<i64>,
    /// Hard limit of bytes
    #[arg(short = 'B', value_parser = clap::value_parser!(i64).range(0..))]
    hard_bytes: Option<i64>,
    /// The node
    path: String,
}

impl Setquota {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        let connection = cx.connection;
        if path.as_bytes().starts_with(path::QUOTA) {
            return Err(Failure::Usage("there are no quotas of quotas".into()));
        }
        if connection.exists(&path, false)?.is_none() {
            return Err(Failure::of(Code::NoNode, &self.path));
        }
        let root = quota_path(&path);
        refuse_nested(connection, &path, &root)?;

        let (limits, stats) = (join(&root, LIMITS), join(&root, STATS));
        let known = read(connection, &limits)?;
        let mut track = known.unwrap_or(Track::NONE);
        track.count = self.count.unwrap_or(track.count);
        track.bytes = self.bytes.unwrap_or(track.bytes);
        track.count_hard_limit = self.hard_count.or(track.count_hard_limit);
        track.byte_hard_limit = self.hard_bytes.or(track.byte_hard_limit);
        if known.is_none() {
            let mut node = String::new();
            for name in root.split('/').skip(1) {
                node = format!("{node}/{name}");
                create_missing(connection, &node, None)?;
            }
            create_missing(connection, &limits, Some(&text(&track)))?;
            create_missing(connection, &stats, Some(b"count=0,bytes=0"))?;
        } else {
            connection.set_data(&limits, Some(&text(&track)), -1)?;
        }
        if let Some(used) = read(connection, &stats)? {
            warn(&track, &used);
        }
        if cx.output.is_json() {
            cx.output.json(&json!({ "path": self.path, "limits": limits_json(&track) }))
        } else {
            Ok(())
        }
    }
}

fn create_missing(connection: &Connection, node: &str, data: Option<&[u8]>) -> Result<(), Failure> {
    match connection.create_open(node, data) {
        Err(Failure::Refused { code: Code::NodeExists, .. }) => Ok(()),
        result => result,
    }
}

/// An ancestor or a descendant that has a quota already stands in the way.
fn refuse_nested(connection: &Connection, path: &str, root: &str) -> Result<(), Failure> {
    let refuse = |what: &str, other: &str| {
        let other = other.get(path::QUOTA.len()..).unwrap_or_default();
        let other = connection.shown(if other.is_empty() { "/" } else { other });
        Err(Failure::Usage(format!(
            "{what} {other} has a quota: {} cannot",
            connection.shown(path)
        )))
    };
    let end = path::QUOTA.len();
    for (at, _) in root.match_indices('/').filter(|&(at, _)| at >= end) {
        let ancestor = &root[..at];
        if connection.exists(&join(ancestor, LIMITS), false)?.is_some() {
            return refuse("the ancestor", ancestor);
        }
    }
    let below = match connection.walk(root, false) {
        Err(failure) if failure.is_no_node() => Vec::new(),
        result => result?,
    };
    let own = join(root, LIMITS);
    for node in below.iter().filter(|&node| *node != own) {
        if let Some(descendant) = node.strip_suffix(LIMITS).and_then(|n| n.strip_suffix('/')) {
            return refuse("the descendant", descendant);
        }
    }
    Ok(())
}

fn warn(limits: &Track, used: &Track) {
    let exceeded = |limit: i64, used: i64| limit > -1 && limit < used;
    let hard = |limit: Option<i64>| limit.unwrap_or(-1);
    if exceeded(limits.count, used.count) || exceeded(hard(limits.count_hard_limit), used.count) {
        complain("warning", &format!("there are {} nodes already", used.count));
    }
    if exceeded(limits.bytes, used.bytes) || exceeded(hard(limits.byte_hard_limit), used.bytes) {
        complain("warning", &format!("there are {} bytes already", used.bytes));
    }
}

fn limits_json(track: &Track) -> Value {
    let limit = |value: i64| if value < 0 { Value::Null } else { value.into() };
    json!({
        "count": limit(track.count),
        "bytes": limit(track.bytes),
        "countHardLimit": limit(track.count_hard_limit.unwrap_or(-1)),
        "byteHardLimit": limit(track.byte_hard_limit.unwrap_or(-1)),
    })
}

/// Print the limits of a node and what is used of them
#[derive(Args, Debug)]
pub(crate) struct Listquota {
    /// The node
    path: String,
}

impl Listquota {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let root = quota_path(&cx.path(&self.path)?);
        let limits = read(cx.connection, &join(&root, LIMITS))?;
        let Some(limits) = limits else { return Err(no_quota(&self.path)) };
        let used = read(cx.connection, &join(&root, STATS))?.unwrap_or(Track::NONE);
        if cx.output.is_json() {
            return cx.output.json(&json!({
                "path": self.path,
                "limits": limits_json(&limits),
                "used": { "count": used.count, "bytes": used.bytes },
            }));
        }
        let show = |track| String::from_utf8_lossy(&text(track)).into_owned();
        cx.output.lines([
            format!("Output quota for {} {}", self.path, show(&limits)),
            format!("Output stat for {} {}", self.path, show(&used)),
        ])
    }
}

/// Remove the limits of a node, all or those that are named
#[derive(Args, Debug)]
pub(crate) struct Delquota {
    /// The soft limit of nodes
    #[arg(short = 'n')]
    count: bool,
    /// The soft limit of bytes
    #[arg(short = 'b')]
    bytes: bool,
    /// The hard limit of nodes
    #[arg(short = 'N')]
    hard_count: bool,
    /// The hard limit of bytes
    #[arg(short = 'B')]
    hard_bytes: bool,
    /// The node
    path: String,
}

impl Delquota {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let connection = cx.connection;
        let root = quota_path(&cx.path(&self.path)?);
        let limits = join(&root, LIMITS);
        let Some(mut track) = read(connection, &limits)? else { return Err(no_quota(&self.path)) };
        if self.count || self.bytes || self.hard_count || self.hard_bytes {
            if self.count {
                track.count = -1;
            }
            if self.bytes {
                track.bytes = -1;
            }
            if self.hard_count {
                track.count_hard_limit = Some(-1);
            }
            if self.hard_bytes {
                track.byte_hard_limit = Some(-1);
            }
            connection.set_data(&limits, Some(&text(&track)), -1)?;
        } else {
            for name in [LIMITS, STATS] {
                ignore_missing(connection.delete(&join(&root, name), -1))?;
            }
            trim(connection, &root)?;
        }
        if cx.output.is_json() { cx.output.json(&json!({ "path": self.path })) } else { Ok(()) }
    }
}

fn ignore_missing(result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Err(failure) if failure.is_no_node() => Ok(()),
        result => result,
    }
}

/// Deletes `node` and its ancestors below the quotas' root, up to one that has other children.
fn trim(connection: &Connection, node: &str) -> Result<(), Failure> {
    let mut node = node;
    while node.as_bytes() != path::QUOTA {
        match connection.delete(node, -1) {
            Err(Failure::Refused { code: Code::NotEmpty, .. }) => return Ok(()),
            result => ignore_missing(result)?,
        }
        node = node.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_lie_below_their_root() {
        assert_eq!(quota_path("/a/b"), "/zookeeper/quota/a/b");
        assert_eq!(quota_path("/"), "/zookeeper/quota");
        assert_eq!(text(&Track::NONE), b"count=-1,bytes=-1");
    }
}
