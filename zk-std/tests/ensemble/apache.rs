//! A member whose learner side says and takes what that of Apache 3.8.0 does, where ours differs.
//!
//! It stands between a peer and the link to its leader, and holds back what it would not look at, or
//! not write down, yet. What the peer behind it acknowledges is durable, and so is what Apache's does.
//! As with Apache,
//!
//! - it says nothing of what it can hold, and reads nothing of that;
//! - before NEWLEADER a proposal is in memory only, until it is committed; so are those between
//!   NEWLEADER and UPTODATE, committed or not: they are acknowledged behind the ACK of UPTODATE, and a
//!   process that ends forgets them;
//! - a COMMIT of another transaction than the oldest ends the process: none may come;
//! - a COMMIT between NEWLEADER and UPTODATE needs a proposal there, or ends the link (ZOOKEEPER-4394):
//!   a leader that sends nothing before NEWLEADER but what is committed spares it that;
//! - pings are not answered, and not even looked at, before it serves.
//!
//! Not modelled: that it applies what is committed before its own disk has it, and that it writes
//! `currentEpoch` before the history behind it is durable (ZOOKEEPER-4643). The one shows in nothing that
//! it says to members, the other loses history, as it does with Apache.

use std::collections::VecDeque;

use zk_core::id::Zxid;
use zk_core::memory::Unit;
use zk_core::wire::jute::{Buffer, List};
use zk_core::wire::quorum::{self, First, Kind, LEARNER_INFO, Packet};
use zk_core::zab::scan::Scanner;

use super::client::encode;
use super::met::Met;

/// Bytes of the longest packet.
const MOST: usize = 1 << 20;

/// Bytes of what LEADERINFO carries.
const LEADER_INFO: usize = 4;

/// Bytes of one direction, cut into packets.
#[derive(Debug, Default)]
struct Cut {
    bytes: Vec<u8>,
    /// Inside the body of a snapshot.
    body: Option<Scanner>,
}

/// A packet, or a piece of a snapshot.
enum Piece {
    Packet { kind: Kind, zxid: Zxid, data: Vec<u8>, whole: Vec<u8> },
    Body(Vec<u8>),
}

impl Cut {
    fn next(&mut self) -> Option<Piece> {
        if self.bytes.is_empty() {
            return None;
        }
        if let Some(scanner) = &mut self.body {
            let (_, looked) = scanner.feed(&self.bytes).expect("the body of a snapshot");
            if scanner.is_done() {
                self.body = None;
            }
            return Some(Piece::Body(self.bytes.drain(..looked).collect()));
        }
        let (kind, zxid, data, len) = match quorum::first(&self.bytes, MOST).expect("a packet") {
            First::Need(_) => return None,
            First::Whole(packet, len) => {
                (packet.kind, packet.zxid, packet.data.bytes().to_vec(), len)
            }
        };
        if kind == Kind::Snap {
            self.body = Some(Scanner::new(MOST, Unit::OWN));
        }
        Some(Piece::Packet { kind, zxid, data, whole: self.bytes.drain(..len).collect() })
    }
}

/// How far the learner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Before NEWLEADER.
    Synchronizing,
    /// Before UPTODATE.
    Begun,
    Serving,
    /// The process has ended.
    Over,
}

/// The learner's side of a link.
#[derive(Debug)]
pub(crate) struct Learner {
    step: Step,
    observes: bool,
    down: Cut,
    up: Cut,
    /// Proposals that are in memory only, before NEWLEADER.
    held: VecDeque<(Zxid, Vec<u8>)>,
    /// All that came between NEWLEADER and UPTODATE, and how many proposals that was.
    later: Vec<u8>,
    later_proposals: u64,
    /// Proposals that are not committed.
    pending: VecDeque<Zxid>,
}

impl Learner {
    /// On a new link.
    pub(crate) fn new() -> Self {
        Self {
            step: Step::Synchronizing,
            observes: false,
            down: Cut::default(),
            up: Cut::default(),
            held: VecDeque::new(),
            later: vec![],
            later_proposals: 0,
            pending: VecDeque::new(),
        }
    }

    /// Whether there is something that is in memory only.
    pub(crate) fn has_more(&self) -> bool {
        self.step != Step::Over && (self.later_proposals > 0 || !self.held.is_empty())
    }

    /// The process ends: how many proposals it forgets.
    pub(crate) fn forgets(&mut self) -> u64 {
        self.step = Step::Over;
        core::mem::take(&mut self.held).len() as u64 + self.later_proposals
    }

    /// What the leader says, as the learner takes it.
    pub(crate) fn takes(&mut self, bytes: &[u8], met: &mut Met) -> Vec<u8> {
        self.down.bytes.extend_from_slice(bytes);
        let mut said = vec![];
        while let Some(piece) = self.down.next() {
            match piece {
                Piece::Body(_) if matches!(self.step, Step::Over) => {}
                Piece::Body(bytes) => said.extend(bytes),
                Piece::Packet { kind, zxid, data, whole } => {
                    self.take(kind, zxid, (&data, whole), &mut said, met);
                }
            }
        }
        said
    }

    /// Takes a packet, the data and all of it.
    fn take(
        &mut self,
        kind: Kind,
        zxid: Zxid,
        (data, whole): (&[u8], Vec<u8>),
        said: &mut Vec<u8>,
        met: &mut Met,
    ) {
        match (self.step, kind) {
            (Step::Over, _) => {}
            (_, Kind::LeaderInfo) => said.extend(shortened(kind, zxid, data, LEADER_INFO)),
            (Step::Serving, Kind::Proposal) => {
                self.pending.push_back(zxid);
                said.extend(whole);
            }
            (Step::Serving, Kind::Commit | Kind::CommitAndActivate) => {
                self.commit(zxid);
                said.extend(whole);
            }
            (Step::Serving, _) => said.extend(whole),
            (_, Kind::Ping) => met.unheard += 1,
            (Step::Synchronizing, Kind::Proposal) => self.held.push_back((zxid, whole)),
            (Step::Synchronizing, Kind::Commit | Kind::CommitAndActivate) => {
                let (oldest, proposal) = self.held.pop_front().expect("a COMMIT of nothing");
                assert_eq!(oldest, zxid, "a COMMIT of another transaction than the oldest");
                said.extend(proposal);
                said.extend(whole);
            }
            (Step::Synchronizing, Kind::NewLeader) => {
                let held: Vec<_> = self.held.iter().map(|(zxid, _)| zxid).collect();
                assert!(held.is_empty(), "NEWLEADER comes before a COMMIT of {held:?}");
                said.extend(whole);
                self.step = Step::Begun;
            }
            (Step::Begun, Kind::UpToDate) => {
                // An observer of ours looks at no proposals when it serves.
                if self.observes {
                    said.append(&mut self.later);
                }
                said.extend(whole);
                said.append(&mut self.later);
                met.in_memory += core::mem::take(&mut self.later_proposals);
                self.step = Step::Serving;
            }
            (Step::Begun, Kind::Commit | Kind::CommitAndActivate) => {
                assert!(self.later_proposals > 0, "a learner of Apache's ends over COMMIT {zxid}");
                self.commit(zxid);
                self.later.extend(whole);
            }
            (Step::Begun, Kind::Proposal) => {
                self.pending.push_back(zxid);
                self.later_proposals += 1;
                self.later.extend(whole);
            }
            (Step::Begun, Kind::Inform | Kind::InformAndActivate) => {
                self.later_proposals += 1;
                self.later.extend(whole);
            }
            (Step::Synchronizing, _) => said.extend(whole),
            (Step::Begun, other) => panic!("Apache's learner does not expect {other:?} there"),
        }
    }

    fn commit(&mut self, zxid: Zxid) {
        let oldest = self.pending.pop_front();
        assert_eq!(oldest, Some(zxid), "a follower of Apache's would exit");
    }

    /// What the peer behind it says, as the learner says it.
    pub(crate) fn says(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.up.bytes.extend_from_slice(bytes);
        let mut said = vec![];
        while let Some(piece) = self.up.next() {
            let Piece::Packet { kind, zxid, data, whole } = piece else {
                panic!("a learner sends no snapshots")
            };
            match kind {
                Kind::FollowerInfo | Kind::ObserverInfo => {
                    self.observes = kind == Kind::ObserverInfo;
                    said.extend(shortened(kind, zxid, &data, LEARNER_INFO));
                }
                _ => said.extend(whole),
            }
        }
        said
    }
}

/// The packet, without what is behind so many bytes of its data.
fn shortened(kind: Kind, zxid: Zxid, data: &[u8], len: usize) -> Vec<u8> {
    let data = Buffer::new(&data[..len.min(data.len())]);
    encode(&Packet { kind, zxid, data, authinfo: List::NULL })
}
