//! A follower's or observer's side: what its leader says, and what it answers.
//!
//! The order in which things become durable is the protocol's safety: the accepted epoch before
//! ACKEPOCH; all of the leader's history, then the current epoch, before NEWLEADER is acknowledged;
//! each transaction before its ACK. Answers to `Learner`, `Follower` and `Observer`.

use super::leader::{follows, put, put_limited};
use super::{Timing, Violation, Window};
use crate::id::{Epoch, ServerId, Zxid};
use crate::memory::Pipe;
use crate::time::Instant;
use crate::wire::capacity::Capacity;
use crate::wire::jute::{self, Trailing};
use crate::wire::quorum::{
    Kind, LEARNER_INFO, LearnerInfo, PROTOCOL, Packet, SPARED, UNCUT, of_epoch,
};

/// Milliseconds in which a leader that has said nothing yet is called again.
const PATIENCE: u64 = 1000;

/// How far a learner has come with its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has no connection to the leader yet.
    Dialling,
    /// It says which epoch it has accepted.
    Greeting,
    /// It waits for the leader's epoch.
    Greeted,
    /// That epoch is being made durable.
    Accepting,
    /// It has accepted, and waits to be told how its history goes on.
    Accepted,
    /// Its history is being cut, and read again.
    Truncating(Zxid),
    /// A snapshot is coming.
    Receiving(Zxid),
    /// The snapshot is whole, and takes the place of the history.
    Installing(Zxid),
    /// What is missing is coming.
    Synchronizing,
    /// It has the leader's history, and makes it and the epoch durable.
    Persisting,
    /// It has acknowledged the history.
    Acknowledged,
    /// It serves.
    Serving,
}

/// What a packet from the leader means for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'p> {
    /// Nothing.
    Nothing,
    /// The leader's epoch; and what it holds at most, if it says that.
    Leader(Option<Capacity>),
    /// Cut the history behind that zxid.
    Truncate(Zxid),
    /// A snapshot of that zxid follows.
    Snapshot(Zxid),
    /// The history so far is the leader's, too.
    Diff,
    /// The leader's whole history is here; this is its latest configuration.
    History(&'p [u8]),
    /// Take this transaction into the history.
    Propose(Zxid, &'p [u8]),
    /// The oldest transaction that is not committed is; it has this zxid.
    Commit(Zxid),
    /// Take this committed transaction into the history.
    Inform(Zxid, &'p [u8]),
    /// Serve.
    UpToDate,
    /// Answer with the sessions that were heard of.
    Ping(Zxid),
    /// An answer about a session.
    Revalidated(&'p [u8]),
    /// What was proposed before the oldest sync is committed.
    Synced,
}

/// A learner.
#[derive(Debug)]
pub struct Learner {
    me: ServerId,
    leader: ServerId,
    observer: bool,
    step: Step,
    epoch: Epoch,
    /// Epochs that are durable here, when it began.
    accepted: Epoch,
    /// The end of the history, as it says.
    last: Zxid,
    /// That history cannot be cut.
    uncut: bool,
    /// The epoch was accepted before: it does not count again.
    again: bool,
    /// Number behind the history that NEWLEADER came after.
    history: u64,
    /// Everything before that number is acknowledged.
    acked: u64,
    /// ACKs of the history that are still to be said.
    greetings: u8,
    heard: Instant,
    timing: Timing,
    /// Who leads in the configuration that was activated last.
    designated: Option<ServerId>,
    /// A quorum without it is in line, the leader says.
    spared: bool,
    /// The snapshot that took the place of the history.
    installed: Option<Zxid>,
}

impl Default for Learner {
    fn default() -> Self {
        Self {
            me: ServerId(0),
            leader: ServerId(0),
            observer: false,
            step: Step::Dialling,
            epoch: Epoch(0),
            accepted: Epoch(0),
            last: Zxid::ZERO,
            uncut: false,
            again: false,
            history: 0,
            acked: 0,
            greetings: 0,
            heard: Instant(0),
            timing: Timing { tick: 1, init_limit: 1, sync_limit: 1 },
            designated: None,
            spared: false,
            installed: None,
        }
    }
}

impl Learner {
    /// Begins to learn from `leader`. `accepted` is the epoch that is durable as accepted, `last`
    /// the end of the durable history (-1 if it is damaged).
    #[must_use]
    pub fn of(
        me: ServerId,
        leader: ServerId,
        observer: bool,
        accepted: Epoch,
        last: Zxid,
        timing: Timing,
        now: Instant,
    ) -> Self {
        Self { me, leader, observer, accepted, last, timing, heard: now, ..Self::default() }
    }

    /// Its history cannot be cut: the leader is asked for a snapshot in any case.
    pub fn cannot_cut(&mut self) {
        self.uncut = true;
    }

    /// Whether packets can be taken: not while the history is cut or replaced.
    pub fn is_listening(&self) -> bool {
        !matches!(self.step, Step::Truncating(_) | Step::Installing(_))
    }

    /// Whom it learns from.
    pub fn leader(&self) -> ServerId {
        self.leader
    }

    /// Whom the leader has named for its successor, when a reconfiguration ended its reign.
    pub fn designated(&self) -> Option<ServerId> {
        self.designated
    }

    /// Whether the leader has said that a quorum without this learner is in line. (Apache's say
    /// nothing.)
    pub fn is_spared(&self) -> bool {
        self.spared
    }

    /// Of which zxid the snapshot was that the leader has sent.
    pub fn installed(&self) -> Option<Zxid> {
        self.installed
    }

    /// How far it has come.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The epoch that must be durable as accepted.
    pub fn accepts(&self) -> Option<Epoch> {
        (self.epoch > Epoch(0)).then_some(self.epoch)
    }

    /// The epoch that must be durable as current, once the history is.
    pub fn begins(&self, window: Window<'_, '_>) -> Option<Epoch> {
        match self.step {
            Step::Persisting => {
                let all = window.durable >= self.history || planted!(Zk4643);
                all.then_some(self.epoch)
            }
            Step::Acknowledged | Step::Serving => Some(self.epoch),
            _ => None,
        }
    }

    /// The connection to the leader is there.
    pub fn connected(&mut self) {
        self.step = Step::Greeting;
    }

    /// That server votes for another now. If it is called as the leader, it will be none, and is not waited
    /// for any longer: where not all hear all, a server can be elected without hearing of it.
    pub fn doubt(&mut self, server: ServerId) {
        if self.leader == server && self.is_early() {
            self.heard = Instant(0);
        }
    }

    /// Whether the leader has offered no epoch yet.
    fn is_early(&self) -> bool {
        matches!(self.step, Step::Dialling | Step::Greeting | Step::Greeted)
    }

    /// It is gone. Whether to call again: the leader may learn a moment later than others that it is
    /// one. (Apache's learner tries to connect five times, a second apart.) If nobody was there (`refused`),
    /// as long as the leader may take.
    #[must_use]
    pub fn disconnected(&mut self, now: Instant, refused: bool) -> bool {
        let again = self.is_early() && (refused || now.since(self.heard) < PATIENCE);
        if again {
            self.step = Step::Dialling;
        }
        again
    }

    /// The history is cut, or replaced, and read again: it ends at `last`.
    ///
    /// # Errors
    /// [`Violation`] when that is not what the leader asked for.
    pub fn reloaded(&mut self, last: Zxid, now: Instant) -> Result<(), Violation> {
        self.heard = now;
        match self.step {
            Step::Truncating(zxid) | Step::Installing(zxid) if zxid == last || planted!(Zk5094) => {
                if let Step::Installing(zxid) = self.step {
                    self.installed = Some(zxid);
                }
                self.step = Step::Synchronizing;
                Ok(())
            }
            _ => Err(Violation("a history that ends elsewhere")),
        }
    }

    /// The snapshot has come as a whole.
    pub fn received(&mut self) {
        if let Step::Receiving(zxid) = self.step {
            self.step = Step::Installing(zxid);
        }
    }

    /// Something has come from the leader.
    pub fn touch(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When the leader counts as gone if nothing more comes from it; never while this side is at
    /// work on its own files.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.is_listening() {
            return None;
        }
        let synced = matches!(self.step, Step::Acknowledged | Step::Serving);
        let most = if synced { self.timing.sync() } else { self.timing.init() };
        Some(self.heard.plus(most))
    }

    /// A packet from the leader. `last` is the last transaction of the history.
    ///
    /// # Errors
    /// [`Violation`]: the link ends.
    pub fn hear<'p>(
        &mut self,
        packet: &Packet<'p>,
        window: Window<'_, '_>,
    ) -> Result<Heard<'p>, Violation> {
        let step = self.step;
        let serving = matches!(step, Step::Acknowledged | Step::Serving);
        let streaming = serving || matches!(step, Step::Synchronizing | Step::Persisting);
        let last = window.records.zxid_before(window.records.end());
        // Apache's leader takes its snapshot after it has begun to keep what this learner is to hear, and
        // so says some things again that are in the snapshot.
        let known = step == Step::Synchronizing && self.installed >= Some(packet.zxid);
        Ok(match packet.kind {
            Kind::Proposal
            | Kind::Inform
            | Kind::InformAndActivate
            | Kind::Commit
            | Kind::CommitAndActivate
                if known =>
            {
                Heard::Nothing
            }
            Kind::LeaderInfo if step == Step::Greeted => {
                let epoch = packet.zxid.epoch();
                if epoch < self.accepted && !planted!(Zk1343) {
                    return Err(Violation("a leader whose epoch is over"));
                }
                self.epoch = epoch;
                self.again = epoch == self.accepted && !planted!(Zk1343, ReusedZxid);
                self.step = Step::Accepting;
                // Behind the protocol.
                let more = packet.data.bytes().get(4..).unwrap_or_default();
                Heard::Leader(Capacity::decode(more))
            }
            Kind::Diff if step == Step::Accepted => {
                self.step = Step::Synchronizing;
                Heard::Diff
            }
            Kind::Trunc if step == Step::Accepted => {
                self.step = Step::Truncating(packet.zxid);
                Heard::Truncate(packet.zxid)
            }
            Kind::Snap if step == Step::Accepted => {
                self.step = Step::Receiving(packet.zxid);
                Heard::Snapshot(packet.zxid)
            }
            Kind::Proposal if streaming => {
                if self.observer && step == Step::Serving {
                    return Ok(Heard::Nothing);
                }
                if !follows(last, packet.zxid) {
                    return Err(Violation("a proposal that does not follow the last one"));
                }
                Heard::Propose(packet.zxid, packet.data.bytes())
            }
            Kind::Inform | Kind::InformAndActivate if streaming && self.observer => {
                if !follows(last, packet.zxid) {
                    return Err(Violation("an INFORM that does not follow the last one"));
                }
                let mut data = packet.data.bytes();
                if packet.kind == Kind::InformAndActivate {
                    data = self.designate(data)?;
                }
                Heard::Inform(packet.zxid, data)
            }
            Kind::Commit if step == Step::Acknowledged && planted!(Zk4394) => {
                return Err(Violation("a COMMIT before UPTODATE"));
            }
            Kind::Commit | Kind::CommitAndActivate if streaming => {
                if self.observer && step == Step::Serving {
                    return Ok(Heard::Nothing);
                }
                if window.committed >= window.records.end()
                    || window.records.zxid_before(window.committed + 1) != packet.zxid
                {
                    return Err(Violation("a COMMIT of another transaction than the oldest"));
                }
                if packet.kind == Kind::CommitAndActivate {
                    self.designate(packet.data.bytes())?;
                }
                Heard::Commit(packet.zxid)
            }
            Kind::NewLeader if step == Step::Synchronizing => {
                if packet.zxid != of_epoch(self.epoch) {
                    return Err(Violation("a NEWLEADER of another epoch"));
                }
                self.history = window.records.end();
                self.acked = window.committed;
                self.greetings = 1;
                self.step = Step::Persisting;
                Heard::History(packet.data.bytes())
            }
            Kind::UpToDate if step == Step::Acknowledged => {
                self.greetings += 1;
                self.step = Step::Serving;
                Heard::UpToDate
            }
            // Whoever does not serve yet has no sessions to tell of, and Apache's leader waits for its
            // ACK and for nothing else.
            Kind::Ping if step == Step::Serving => {
                self.spared = packet.data.bytes() == SPARED;
                Heard::Ping(packet.zxid)
            }
            Kind::Ping => Heard::Nothing,
            Kind::Revalidate if serving => Heard::Revalidated(packet.data.bytes()),
            Kind::Sync if serving => Heard::Synced,
            _ => return Err(Violation("a packet that is not due")),
        })
    }

    /// What activates a reconfiguration begins with who leads from then on.
    fn designate<'p>(&mut self, data: &'p [u8]) -> Result<&'p [u8], Violation> {
        let (leader, rest) =
            data.split_first_chunk().ok_or(Violation("an activation that names no leader"))?;
        self.designated = Some(ServerId(i64::from_be_bytes(*leader)));
        Ok(rest)
    }

    /// Writes what there is to say, as far as there is room; `accepted` and `current` are the
    /// epochs that are durable, `capacity` what this member holds.
    pub fn speak(
        &mut self,
        (accepted, current): (Epoch, Epoch),
        config_version: i64,
        capacity: &Capacity,
        window: Window<'_, '_>,
        out: &mut Pipe<'_>,
    ) {
        if self.step == Step::Greeting {
            let kind = if self.observer { Kind::ObserverInfo } else { Kind::FollowerInfo };
            let info = LearnerInfo {
                server: self.me,
                protocol: PROTOCOL,
                config_version: Trailing(Some(config_version)),
            };
            let mut data = [0; LEARNER_INFO];
            let epoch = of_epoch(self.accepted);
            if jute::encode(&info, &mut data).is_err()
                || !put_limited(out, kind, epoch, &data, capacity)
            {
                return;
            }
            self.step = Step::Greeted;
        }
        if self.step == Step::Accepting && accepted >= self.epoch {
            // Who has accepted the epoch before may have promised something then.
            let epoch = if self.again { -1 } else { current.0 as i32 };
            let epoch @ [a, b, c, d] = epoch.to_be_bytes();
            let data: &[u8] = if self.uncut { &[a, b, c, d, UNCUT] } else { &epoch };
            if !put(out, &Packet::with(Kind::AckEpoch, self.last, data)) {
                return;
            }
            self.step = Step::Accepted;
        }
        if self.step == Step::Persisting
            && (window.durable >= self.history && current >= self.epoch || planted!(Zk3911))
        {
            self.step = Step::Acknowledged;
        }
        if self.step == Step::Persisting && planted!(Zk4685) {
            self.acknowledge(window, out);
        }
        if !matches!(self.step, Step::Acknowledged | Step::Serving) {
            return;
        }
        while self.greetings > 0 {
            if !put(out, &Packet::new(Kind::Ack, of_epoch(self.epoch))) {
                return;
            }
            self.greetings -= 1;
        }
        self.acknowledge(window, out);
    }

    /// Acknowledges what is durable.
    fn acknowledge(&mut self, window: Window<'_, '_>, out: &mut Pipe<'_>) {
        if self.observer && !planted!(ObserverAck) {
            return;
        }
        while self.acked < window.durable {
            let zxid = window.records.zxid_before(self.acked + 1);
            // What has left the window was committed long ago.
            if self.acked >= window.records.front() && !put(out, &Packet::new(Kind::Ack, zxid)) {
                return;
            }
            self.acked += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where nobody is, there may be a leader as soon as its disk has written an epoch.
    #[test]
    fn a_leader_that_is_not_there_yet_is_called_for_longer() {
        let timing = Timing { tick: 2000, init_limit: 15, sync_limit: 5 };
        let (me, leader) = (ServerId(1), ServerId(2));
        let mut learner = Learner::of(me, leader, false, Epoch(0), Zxid::ZERO, timing, Instant(0));
        for (now, refused, again) in [
            (PATIENCE - 1, false, true),
            (PATIENCE, false, false),
            (PATIENCE, true, true),
            (20 * PATIENCE, true, true),
        ] {
            learner.connected();
            assert_eq!(learner.disconnected(Instant(now), refused), again, "{now} {refused}");
        }
    }
}
