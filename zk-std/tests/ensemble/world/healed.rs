//! Everything is healed: the ensemble must serve, agree, and explain all that clients were told.

use std::collections::{BTreeMap, BTreeSet};

use zk_core::id::{ServerId, SessionId, Zxid};
use zk_core::memory::Handle;
use zk_core::peer::Peer;
use zk_core::time::Now;
use zk_core::tree::DataTree;
use zk_core::wire::Code;

use super::super::client::{REGISTERS, Request};
use super::super::config;
use super::super::history::version;
use super::super::linear::{self, Ask, Op, Verdict};
use super::super::model::Model;
use super::super::small;
use super::{CLIENTS, RESCUE, World};

/// Milliseconds in which a healed ensemble must agree.
const HEAL: u64 = 20_000;
/// Milliseconds of it in which clients go on asking.
const BUSY: u64 = 1500;

/// Everything that members must agree on.
#[derive(Debug, PartialEq)]
struct Picture {
    nodes: BTreeMap<Vec<u8>, String>,
    sessions: BTreeMap<i64, i32>,
}

fn picture(peer: &Peer<'_>) -> Picture {
    let sessions = peer.sessions().applied().map(|s| (s.id.0, s.timeout)).collect();
    let mut nodes = BTreeMap::new();
    visit(peer.tree(), &mut |tree, at, path| {
        let (mut data, mut acl) = (vec![], vec![]);
        tree.put_data(at, &mut data).unwrap();
        tree.put_acl(at, &mut acl).unwrap();
        nodes.insert(path.to_vec(), format!("{data:x?} {acl:x?} {:?}", tree.stat(at)));
    });
    Picture { nodes, sessions }
}

/// Visits all nodes but the one that shows the configuration.
fn visit(tree: &DataTree<'_>, see: &mut impl FnMut(&DataTree<'_>, Handle, &[u8])) {
    let mut open = vec![tree.find(b"/").unwrap()];
    while let Some(at) = open.pop() {
        let mut room = [0; 512];
        let path = tree.path_of(at, &mut room).unwrap();
        if path != b"/zookeeper/config" {
            see(tree, at, path);
        }
        open.extend(tree.children(at));
    }
}

impl World {
    /// Everything is healed; the ensemble must agree.
    pub(crate) fn liveness(&mut self) {
        self.heal();
        self.settle();
        if self.reconfig {
            self.change_once_more();
            self.settle();
        }
        self.agree();
    }

    /// Goes on until all agree.
    fn settle(&mut self) {
        let heal = if self.has_smaller() { small::RETURN } else { HEAL };
        let (busy, until) = (self.now + BUSY, self.now + heal);
        let mut rounds = 0;
        while self.now < until {
            rounds += 1;
            self.start_all();
            if self.reconfig && rounds % RESCUE == 0 {
                self.rescue();
            }
            self.round(self.now < busy);
            if self.has_smaller() && self.now >= busy {
                let c = self.more.below(CLIENTS as u64) as usize;
                self.make_room(c);
            }
            if self.now >= busy && self.is_settled() {
                break;
            }
        }
        assert!(self.is_settled(), "after healing there is no agreement: {}", self.states());
    }

    /// One more reconfiguration: there is nothing in its way.
    fn change_once_more(&mut self) {
        let before = self.agreement.in_force().0;
        let until = self.now + HEAL;
        while self.agreement.in_force().0 == before && self.now < until {
            self.start_all();
            let c = self.rng.below(CLIENTS as u64) as usize;
            if self.is_idle(c) {
                let (_, config) = self.agreement.in_force();
                // Nothing but the line of somebody without a vote, or one observer more.
                let servers = 1..=self.nodes.len() as i64;
                let mut others = servers.filter(|&id| !config.votes(ServerId(id)));
                let request = match others.next() {
                    Some(id) if config.has(ServerId(id)) => Request::Reconfig {
                        joining: String::new(),
                        leaving: id.to_string(),
                        members: None,
                        version: -1,
                    },
                    Some(id) => Request::Reconfig {
                        joining: format!("server.{id}={}", config::line(id, false)),
                        leaving: String::new(),
                        members: None,
                        version: -1,
                    },
                    None => Request::Reconfig {
                        joining: String::new(),
                        leaving: String::new(),
                        members: None,
                        version: -1,
                    },
                };
                self.ask(c, request);
            }
            self.round(false);
            // Whoever has left may serve nobody any more.
            for c in 0..CLIENTS {
                if self.clients[c].at.is_none() {
                    self.connect(c);
                }
            }
        }
        assert!(
            self.agreement.in_force().0 > before,
            "after healing there is no reconfiguration: {}",
            self.states()
        );
    }

    fn is_settled(&self) -> bool {
        let (version, config) = self.agreement.in_force();
        let any = self.nodes.iter().find(|node| config.has(node.id)).expect("a member");
        self.nodes.iter().filter(|node| config.has(node.id)).all(|node| {
            node.up
                && node.peer.is_serving()
                && node.last == any.last
                && node.peer.outstanding() == 0
                && node.peer.tree().last_zxid() >= node.last
                && node.peer.config().version() >= version.0
        }) && self.clients.iter().all(|client| client.asked.is_empty())
    }

    /// The ensemble has one history; it has all that was acknowledged, and explains all that
    /// clients were told.
    fn agree(&mut self) {
        for at in 0..self.nodes.len() {
            self.met.add_syncs(self.nodes[at].peer.sync_counts());
            self.nodes[at].count(&mut self.met);
        }
        self.met.needed += self.agreement.needed;
        let (_, config) = self.agreement.in_force();
        let members: Vec<usize> =
            (0..self.nodes.len()).filter(|&at| config.has(self.nodes[at].id)).collect();
        let any = members[0];
        let kept = self.agreement.history(self.nodes[any].last);
        let known: BTreeSet<Zxid> = kept.iter().copied().collect();
        for zxid in &self.acknowledged {
            assert!(known.contains(zxid), "{zxid} was acknowledged, and is lost");
        }
        let first = picture(&self.nodes[any].peer);
        for at in members {
            assert_eq!(picture(&self.nodes[at].peer), first, "server {}", at + 1);
        }
        let made = self.agreement.configs.keys().filter(|&&zxid| zxid > Zxid::ZERO);
        self.met.proposed += made.clone().count() as u64;
        self.met.vanished += made.filter(|zxid| !known.contains(zxid)).count() as u64;
        // A replay from nothing gives the same tree.
        let mut reference = Peer::owned(
            zk_core::peer::Options { extended_types: true, ..Default::default() },
            zk_core::peer::Ceilings::default(),
            zk_core::tree::Seeds(1, 2),
            SessionId(1),
            Now::new(0, 0),
        )
        .unwrap();
        for zxid in &kept {
            reference.load_txn(&self.agreement.txns[zxid]).unwrap();
        }
        assert_eq!(picture(&reference), first);
        let walked = self.history.judge(&kept, &self.agreement.txns, &self.agreement.configs);
        self.met.events += walked.events;
        self.met.events_late += walked.events_late;
        self.compare_with_model(any, &walked.model);
        self.linearize();
    }

    /// The tree is that of the plain model.
    fn compare_with_model(&self, at: usize, model: &Model) {
        let peer = &self.nodes[at].peer;
        let mut found = BTreeMap::new();
        visit(peer.tree(), &mut |tree, at, path| {
            if !path.starts_with(b"/zookeeper") {
                let mut data = vec![];
                tree.put_data(at, &mut data).unwrap();
                let path = String::from_utf8(path.to_vec()).unwrap();
                let path = if path.is_empty() { "/".to_owned() } else { path };
                found.insert(path, (data[4.min(data.len())..].to_vec(), tree.stat(at)));
            }
        });
        let expected: BTreeMap<_, _> = model
            .nodes()
            .map(|(path, data, stat)| (path.to_owned(), (data.to_vec(), stat)))
            .collect();
        assert_eq!(found, expected);
        let sessions: BTreeSet<i64> = peer.sessions().applied().map(|s| s.id.0).collect();
        assert_eq!(&sessions, model.sessions());
    }

    /// What happened to registers, judged without zxids.
    fn linearize(&mut self) {
        if !self.registers {
            return;
        }
        let ask = |request: &Request| match request {
            Request::Create { .. } => Ask::Create,
            Request::Set { version, .. } => Ask::Set(*version),
            Request::Delete { version, .. } => Ask::Delete(*version),
            _ => panic!("no register is asked {request:?}"),
        };
        let about = |request: &Request, register: &str| match request {
            Request::Create { path, .. }
            | Request::Set { path, .. }
            | Request::Delete { path, .. } => path == register,
            _ => false,
        };
        for register in REGISTERS {
            let answered = self.history.replies().filter_map(|(asked, header, body, step)| {
                let request = &asked.request;
                let unknown = [Code::SessionExpired, Code::SystemError].contains(&header.err);
                (about(request, register) && !unknown).then(|| {
                    let outcome = match header.err {
                        Code::Ok => Ok(version(request, body)),
                        code => Err(code),
                    };
                    Op { ask: ask(request), call: asked.at, end: Some((step, outcome)) }
                })
            });
            let lost = self.history.lost.iter().filter(|asked| about(&asked.request, register));
            let lost = lost.map(|asked| Op { ask: ask(&asked.request), call: asked.at, end: None });
            let ops: Vec<Op> = answered.chain(lost).collect();
            match linear::judge(ops.clone()) {
                Verdict::Linearizable => self.met.linear += 1,
                Verdict::Illegal => panic!("no order explains {register}: {ops:?}"),
                Verdict::Undecided => self.met.undecided += 1,
            }
        }
    }
}
