//! Configurations, once more and plainly: who belongs to the ensemble, who votes, and what a
//! reconfiguration makes of it. It shares nothing with the server but the text.

use std::collections::{BTreeMap, BTreeSet};

use zk_core::id::ServerId;
use zk_std::store::simulated::Rng;

use super::client::Request;

/// A configuration: what the line of each member says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(pub(crate) BTreeMap<i64, String>);

/// The value of a member's line.
pub(crate) fn line(id: i64, votes: bool) -> String {
    let role = if votes { "participant" } else { "observer" };
    format!("10.0.0.{id}:2888:3888:{role};0.0.0.0:2181")
}

/// Members in one string, each with its line, with commas between them.
fn listed(members: &[(i64, bool)]) -> String {
    let all = members.iter().map(|&(id, votes)| format!("server.{id}={}", line(id, votes)));
    all.collect::<Vec<_>>().join(",")
}

impl Members {
    /// Of these, which vote or not.
    pub(crate) fn of(members: impl Iterator<Item = (i64, bool)>) -> Self {
        Self(members.map(|(id, votes)| (id, line(id, votes))).collect())
    }

    /// Reads a text; answers its version, too: 0 if it says none.
    pub(crate) fn parse(text: &[u8]) -> (Self, i64) {
        let text = core::str::from_utf8(text).expect("a configuration");
        let (mut members, mut version) = (BTreeMap::new(), 0);
        for line in text.split([',', '\n']).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=').expect("a line");
            if key == "version" {
                version = i64::from_str_radix(value, 16).expect("a version");
            } else {
                let id = key.strip_prefix("server.").expect("a server");
                members.insert(id.parse().expect("a number"), value.to_owned());
            }
        }
        (Self(members), version)
    }

    /// Its lines.
    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|(id, value)| format!("server.{id}={value}\n")).collect()
    }

    pub(crate) fn has(&self, id: ServerId) -> bool {
        self.0.contains_key(&id.0)
    }

    pub(crate) fn votes(&self, id: ServerId) -> bool {
        self.0.get(&id.0).is_some_and(|line| line.contains(":participant"))
    }

    fn voters(&self) -> impl Iterator<Item = ServerId> {
        self.0.keys().map(|&id| ServerId(id)).filter(|&id| self.votes(id))
    }

    /// Whether these servers are a quorum.
    pub(crate) fn has_quorum(&self, of: &BTreeSet<ServerId>) -> bool {
        self.voters().filter(|id| of.contains(id)).count() > self.voters().count() / 2
    }

    /// What a reconfiguration makes of it.
    pub(crate) fn after(&self, request: &Request) -> Self {
        let Request::Reconfig { joining, leaving, members, .. } = request else {
            panic!("no reconfiguration: {request:?}")
        };
        if let Some(members) = members {
            return Self::parse(members.as_bytes()).0;
        }
        let mut after = self.clone();
        for id in leaving.split(',').filter(|id| !id.is_empty()) {
            after.0.remove(&id.parse().unwrap());
        }
        if !joining.is_empty() {
            after.0.extend(Self::parse(joining.as_bytes()).0.0);
        }
        after
    }
}

/// A reconfiguration of an ensemble of so many servers in all, which is `now`, and should keep at
/// least `fewest` voters.
pub(crate) fn anything(
    rng: &mut Rng,
    (now, version): (&Members, i64),
    servers: i64,
    fewest: usize,
) -> Request {
    let any = |rng: &mut Rng, of: &[i64]| of.get(rng.below(of.len() as u64) as usize).copied();
    let all: Vec<i64> = now.0.keys().copied().collect();
    let (voters, observers): (Vec<i64>, Vec<i64>) =
        all.iter().partition(|&&id| now.votes(ServerId(id)));
    let absent: Vec<i64> = (1..=servers).filter(|id| !all.contains(id)).collect();
    let spare = voters.len() > fewest;
    let (mut joining, mut leaving, mut members) = (vec![], vec![], None);
    let kind = rng.below(10);
    match kind {
        0..=1 => joining.extend(any(rng, &absent).map(|id| (id, false))),
        2..=3 => joining.extend(any(rng, &observers).map(|id| (id, true))),
        4 if spare => joining.extend(any(rng, &voters).map(|id| (id, false))),
        5 if spare => leaving.extend(any(rng, &voters)),
        6 => leaving.extend(any(rng, &observers)),
        // One for another.
        7 => {
            if let (Some(old), Some(new)) = (any(rng, &voters), any(rng, &observers)) {
                joining.push((new, true));
                if rng.coin() {
                    leaving.push(old);
                } else {
                    joining.push((old, false));
                }
            }
        }
        // All of it anew. Who is none yet joins without a vote: before it is one, only those let it in
        // that know of it.
        8 => {
            let mut some = all.clone();
            for i in (1..some.len()).rev() {
                some.swap(i, rng.below(i as u64 + 1) as usize);
            }
            let votes = fewest + rng.below(3) as usize;
            some.truncate(votes + rng.below(3) as usize);
            let mut anew: Vec<_> =
                some.iter().enumerate().map(|(at, &id)| (id, at < votes)).collect();
            anew.extend(absent.iter().filter(|_| rng.coin()).map(|&id| (id, false)));
            members = Some(listed(&anew));
        }
        // Perhaps most of them are not there.
        _ => joining.extend(observers.iter().map(|&id| (id, true))),
    }
    // What could leave too few, with another one in between, is for this version only.
    let grows = matches!(kind, 2..=3 | 8..);
    let version = match rng.below(6) {
        0..=2 if grows => -1,
        0..=2 => version,
        3..=4 => version,
        _ => 7,
    };
    let leaving: Vec<String> = leaving.iter().map(ToString::to_string).collect();
    Request::Reconfig { joining: listed(&joining), leaving: leaving.join(","), members, version }
}
