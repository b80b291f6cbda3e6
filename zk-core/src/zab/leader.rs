//! The reign of a leader: its phases, what is committed, and who is brought in line in which way.
//!
//! Answers to `Leader`.

mod hold;
mod stream;

use super::sync::{self, Counts, Decision, Lack};
use super::{Timing, Violation, Window};
use crate::id::{Epoch, ServerId, Zxid};
use crate::memory::{Pipe, Table};
use crate::quorum::{Config, Quorums};
use crate::time::Instant;
use crate::trace::warning;
use crate::wire::capacity::Capacity;
use crate::wire::jute::{self, Reader};
use crate::wire::quorum::{
    Kind, LEARNER_INFO, LearnerInfo, OVERHEAD, PROTOCOL, Packet, SNAPSHOT_END, UNCUT, of_epoch,
};

pub use hold::HELD_MAX;
use hold::Hold;
pub use stream::Learner;
use stream::{Step, put_txn};
pub(crate) use stream::{put, put_limited};

/// Syncs of one learner that may wait for commits. More of its requests wait behind them.
pub const SYNCS_MAX: usize = if cfg!(zk_handle16) { 4 } else { 32 };

/// How far the reign has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a quorum to say which epochs it has accepted.
    Discovery,
    /// The new epoch is being made durable, before anybody hears of it.
    Accepting,
    /// It waits for a quorum to accept the epoch.
    Acknowledging,
    /// It waits for a quorum to have its history.
    Synchronization,
    /// It serves.
    Broadcast,
}

/// How many learners a leader has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All.
    pub learners: usize,
    /// Followers that have the whole history.
    pub followers: usize,
    /// Those of them that do not vote: a configuration has left them out.
    pub non_voting: usize,
    /// Observers that have.
    pub observers: usize,
    /// Syncs of their clients that wait for commits.
    pub syncs: usize,
}

/// For whom something is read from the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reading {
    /// The learner's place.
    pub at: usize,
    /// Tells the learners apart that were there one after the other.
    pub serial: u32,
}

/// What to read from the disk for a learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Transactions of the log from this zxid on (inclusive).
    Log {
        /// The first.
        from: Zxid,
        /// Bytes of all of them together, each counted with [`READ_OVERHEAD`] more. At least one is
        /// read, however long.
        most: usize,
    },
    /// The body of the snapshot of that zxid.
    Snapshot {
        /// Which.
        zxid: Zxid,
        /// From which byte on.
        offset: u64,
        /// So many bytes at most.
        most: usize,
    },
}

/// Bytes that a transaction takes on a learner's link besides its own: PROPOSAL and COMMIT.
pub const READ_OVERHEAD: usize = 2 * OVERHEAD + 8;

/// A leader's learners. Places are the links' numbers.
#[derive(Debug)]
pub struct Leader<'m> {
    me: ServerId,
    phase: Phase,
    epoch: Epoch,
    /// Epoch and end of the leader's own history, before this reign.
    own: (Epoch, Zxid),
    /// What it holds, and every voter must.
    capacity: Capacity,
    accepted: Epoch,
    learners: Table<'m, Learner>,
    timing: Timing,
    /// Until when a quorum must be there.
    deadline: Instant,
    /// The next ping, and whether the quorum is checked then.
    tick_at: Instant,
    second: bool,
    hold: Hold,
    serial: u32,
    /// Who should lead in the configuration that was proposed last.
    heir: ServerId,
    /// It is in force, and that is another: nothing more is committed.
    retired: bool,
    counts: Counts,
}

impl<'m> Leader<'m> {
    /// Nobody's leader yet.
    pub fn new(learners: Table<'m, Learner>) -> Self {
        Self {
            me: ServerId(0),
            phase: Phase::Discovery,
            epoch: Epoch(0),
            own: (Epoch(0), Zxid::ZERO),
            capacity: Capacity::UNKNOWN,
            accepted: Epoch(0),
            learners,
            timing: Timing { tick: 1, init_limit: 1, sync_limit: 1 },
            deadline: Instant(0),
            tick_at: Instant(0),
            second: false,
            hold: Hold::NONE,
            serial: 0,
            heir: ServerId(0),
            retired: false,
            counts: Counts::default(),
        }
    }

    /// How learners were brought in line, in all reigns together.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// A reign begins: `accepted` and `current` are the epochs that are durable here, `last` the
    /// end of the history, `capacity` what this member holds.
    pub fn lead(
        &mut self,
        now: Instant,
        me: ServerId,
        (accepted, current): (Epoch, Epoch),
        last: Zxid,
        capacity: Capacity,
        timing: Timing,
    ) {
        self.me = me;
        self.capacity = capacity;
        self.phase = Phase::Discovery;
        self.epoch = Epoch(0);
        self.own = (current, last);
        self.accepted = accepted;
        self.timing = timing;
        self.deadline = now.plus(timing.init());
        self.tick_at = now.plus(u64::from(timing.tick / 2));
        self.second = false;
        self.hold = Hold::NONE;
        self.heir = me;
        self.retired = false;
        for learner in self.learners.iter_mut() {
            *learner = Learner::default();
        }
    }

    /// How far the reign has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The epoch of the reign; 0 as long as it is not chosen.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the follower on that link has accepted a later epoch, from a leader that did not last: it
    /// can never follow this one. Only another election brings it back (in Apache, some day).
    pub fn is_outbid(&self, at: usize) -> bool {
        self.phase != Phase::Discovery
            && self.learners.get(at).is_some_and(|l| !l.observer && l.accepted > self.epoch)
    }

    /// The epoch that must be durable as accepted, if one is chosen.
    pub fn accepts(&self) -> Option<Epoch> {
        (self.phase != Phase::Discovery).then_some(self.epoch)
    }

    /// The epoch that must be durable as current, when a quorum has accepted it.
    pub fn begins(&self) -> Option<Epoch> {
        matches!(self.phase, Phase::Synchronization | Phase::Broadcast).then_some(self.epoch)
    }

    /// Somebody has come to the quorum port, on the link of that number.
    ///
    /// `false` if there is no room.
    #[must_use]
    pub fn join(&mut self, at: usize, now: Instant) -> bool {
        if !self.learners.reach(at + 1) {
            return false;
        }
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        self.learners[at] = Learner { step: Step::Fresh, heard: now, serial, ..Learner::default() };
        true
    }

    /// The link of that number is gone.
    pub fn leave(&mut self, at: usize) {
        if let Some(learner) = self.learners.get_mut(at) {
            *learner = Learner::default();
        }
    }

    fn learner(&mut self, at: usize) -> Option<&mut Learner> {
        self.learners.get_mut(at).filter(|learner| learner.step != Step::Vacant)
    }

    /// The server on a link, once it has said who it is; and whether it may send requests.
    pub fn server(&self, at: usize) -> Option<(ServerId, bool)> {
        let learner = self.learners.get(at)?;
        let known = !matches!(learner.step, Step::Vacant | Step::Fresh);
        known.then_some((learner.server, learner.is_synced()))
    }

    /// A link that another learner of the same name already has.
    pub fn link_of(&self, server: ServerId, but: usize) -> Option<usize> {
        self.learners.iter().enumerate().position(|(at, learner)| {
            at != but
                && !matches!(learner.step, Step::Vacant | Step::Fresh)
                && learner.server == server
        })
    }

    /// How many learners there are.
    pub fn count(&self, config: &Config<'_>) -> Count {
        let mut count = Count::default();
        for learner in self.learners.iter().filter(|l| l.step != Step::Vacant) {
            count.learners += 1;
            count.syncs += learner.syncs.len();
            if !learner.is_synced() {
                continue;
            }
            if learner.observer {
                count.observers += 1;
            } else {
                count.followers += 1;
                count.non_voting += usize::from(!config.is_participant(learner.server));
            }
        }
        count
    }

    /// A packet of the protocol itself has come. (Requests, pings and revalidations are the
    /// peer's.)
    ///
    /// # Errors
    /// [`Violation`]: the link ends.
    pub fn hear(
        &mut self,
        now: Instant,
        at: usize,
        packet: &Packet<'_>,
        window: Window<'_, '_>,
        config_version: i64,
    ) -> Result<(), Violation> {
        let epoch = self.epoch;
        let own = self.own;
        let phase = self.phase;
        let capacity = self.capacity;
        let Some(learner) = self.learner(at) else { return Ok(()) };
        learner.heard = now;
        match (packet.kind, learner.step) {
            (Kind::FollowerInfo | Kind::ObserverInfo, Step::Fresh) => {
                let info: LearnerInfo = jute::decode(packet.data.bytes())
                    .map_err(|_| Violation("a learner that does not say who it is"))?;
                let more = packet.data.bytes().get(LEARNER_INFO..).unwrap_or_default();
                if info.protocol < PROTOCOL {
                    return Err(Violation("a learner from before ZooKeeper 3.4"));
                }
                if info.config_version.0.is_some_and(|version| version > config_version) {
                    return Err(Violation("a learner with a later configuration"));
                }
                if packet.zxid.epoch() == Epoch(u32::MAX) {
                    return Err(Violation("a learner that has accepted the last epoch there is"));
                }
                learner.observer = packet.kind == Kind::ObserverInfo;
                if let Some(held) = Capacity::decode(more)
                    && let Some(lack) = held.lacks(&capacity)
                    && !learner.observer
                {
                    warning!(
                        "server {} holds {} {} at most; a voter must hold as many as this leader: {}",
                        info.server.0,
                        lack.has,
                        lack.what(),
                        lack.needs
                    );
                    return Err(Violation("a voter that holds less than its leader"));
                }
                learner.server = info.server;
                learner.accepted = packet.zxid.epoch();
                learner.step = Step::Greeted;
                Ok(())
            }
            (_, Step::Fresh) => Err(Violation("a first packet that is no greeting")),
            (Kind::AckEpoch, Step::Told) => {
                let mut data = Reader::new(packet.data.bytes());
                let current = data.i32().map_err(|_| Violation("an ACKEPOCH without an epoch"))?;
                learner.uncut = data.rest() == [UNCUT];
                learner.current = (current != -1).then_some(Epoch(current as u32));
                learner.last = packet.zxid;
                // Who ends with the same transaction has the same history: only the leader of an epoch that
                // never began, which gave it to some, knew more. (An observer that has it so is not elected.)
                if phase == Phase::Acknowledging
                    && learner.last != own.1
                    && learner.current.is_some_and(|current| (current, learner.last) > own)
                {
                    return Err(Violation("a learner that is ahead of this leader"));
                }
                learner.step = Step::Known;
                Ok(())
            }
            (Kind::Ack, Step::Asked) if packet.zxid == of_epoch(epoch) => {
                learner.step = Step::Synced;
                Ok(())
            }
            // Servers of 3.8 acknowledge proposals before they acknowledge the history.
            (Kind::Ack, Step::Asked) if planted!(Zk4685) => {
                Err(Violation("an ACK, and not that of NEWLEADER"))
            }
            (Kind::Ack, Step::Asked | Step::Synced | Step::Active) => {
                learner.ack(packet.zxid, now, window)
            }
            _ => Err(Violation("a packet that is not due")),
        }
    }

    /// A learner was heard of.
    pub fn touch(&mut self, at: usize, now: Instant) {
        if let Some(learner) = self.learner(at) {
            learner.heard = now;
        }
    }

    /// Some of what was to be said to a learner has left: as long as it is being brought in line,
    /// it has nothing to say itself.
    pub fn sent(&mut self, at: usize, now: Instant) {
        if let Some(learner) = self.learner(at)
            && !learner.is_synced()
        {
            learner.heard = now;
        }
    }

    /// A learner wants to know when all that is proposed now is committed.
    ///
    /// `false` if too many syncs wait; ask again.
    #[must_use]
    pub fn sync(&mut self, at: usize, window: Window<'_, '_>) -> bool {
        let end = window.records.end();
        self.learner(at).is_none_or(|learner| learner.syncs.push_back(end).is_ok())
    }

    /// Goes as far as what has come allows; `current` is the epoch that is durable here as current,
    /// `accepted` the one as accepted.
    pub fn advance(
        &mut self,
        now: Instant,
        quorums: &Quorums<'_>,
        (accepted, current): (Epoch, Epoch),
        window: Window<'_, '_>,
    ) {
        if self.phase == Phase::Discovery
            && self.quorum(quorums, true, &|learner| {
                !matches!(learner.step, Step::Vacant | Step::Fresh)
            })
        {
            let most = self
                .learners
                .iter()
                .filter(|learner| !matches!(learner.step, Step::Vacant | Step::Fresh))
                .map(|learner| learner.accepted)
                .fold(self.accepted, Epoch::max);
            self.epoch = Epoch(most.0.wrapping_add(1));
            if planted!(Zk1343) {
                self.epoch = Epoch(self.accepted.0.wrapping_add(1));
            }
            if planted!(ReusedZxid) && most > Epoch(0) && most == self.own.0 {
                self.epoch = most;
            }
            self.enter(Phase::Accepting, now);
        }
        if self.phase == Phase::Accepting && accepted >= self.epoch {
            self.enter(Phase::Acknowledging, now);
        }
        if self.phase == Phase::Acknowledging
            && (planted!(Zk1192)
                || self.quorum(quorums, true, &|learner| {
                    // A history that is damaged (-1), or an epoch that was accepted before, says
                    // nothing.
                    learner.current.is_some() && learner.last != Zxid::NONE
                }))
        {
            self.enter(Phase::Synchronization, now);
        }
        // Nobody serves in an epoch that it could forget.
        let own = current >= self.epoch && window.durable == window.records.end();
        if self.phase == Phase::Synchronization
            && own
            && self.quorum(quorums, own, &Learner::is_synced)
        {
            self.enter(Phase::Broadcast, now);
        }
    }

    /// Each phase has `initLimit` to itself.
    #[inline(never)] // once for all its callers
    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.deadline = now.plus(self.timing.init());
    }

    fn quorum(&self, quorums: &Quorums<'_>, own: bool, counts: &dyn Fn(&Learner) -> bool) -> bool {
        if planted!(DuplicateAck, ObserverAck) {
            let observers = planted!(ObserverAck);
            let links = self
                .learners
                .iter()
                .filter(|l| l.step != Step::Vacant && (observers || !l.observer) && counts(l));
            let needed = quorums.voters().count() / 2 + 1;
            let times = if planted!(DuplicateAck) { 2 } else { 1 };
            return times * links.count() + usize::from(own) >= needed;
        }
        quorums.has_quorum(|id| self.has(id, own, counts))
    }

    /// Whether `id` is this leader, and that counts, or a learner that does. (One that is to vote may
    /// not have heard of it, and come as an observer.)
    fn has(&self, id: ServerId, own: bool, counts: &dyn Fn(&Learner) -> bool) -> bool {
        let is = |l: &Learner| l.step != Step::Vacant && l.server == id;
        (id == self.me && own) || self.learners.iter().any(|l| is(l) && counts(l))
    }

    /// Whether enough voters of a configuration have the whole history, this leader among them.
    pub fn is_synced(&self, config: &Config<'_>) -> bool {
        config.has_quorum(|id| self.has(id, true, &Learner::acknowledges))
    }

    /// A reconfiguration is proposed, or in force. Who does not stay the leader in it leaves that to
    /// the server that has acknowledged most. Answers to `getDesignatedLeader`.
    pub fn reconfigure(&mut self, quorums: &Quorums<'_>) {
        let Some(next) = quorums.pending() else {
            self.retired = self.heir != self.me;
            return;
        };
        self.heir = self.me;
        if Quorums::unseats(next, &quorums.committed, self.me) {
            let fit = |l: &&Learner| l.is_synced() && next.is_participant(l.server);
            let heirs = self.learners.iter().filter(fit).filter(|l| l.server != self.me);
            if let Some(heir) = heirs.max_by_key(|l| (l.acked, l.server)) {
                self.heir = heir.server;
            }
        }
    }

    /// Who leads in the latest configuration.
    pub fn heir(&self) -> ServerId {
        self.heir
    }

    /// The number up to which a quorum has made the history durable.
    pub fn committable(&self, quorums: &Quorums<'_>, window: Window<'_, '_>) -> u64 {
        let Window { durable, committed, .. } = window;
        let acked = |learner: &Learner| if learner.acknowledges() { learner.acked } else { 0 };
        if self.retired && planted!(ReconfigRetired) {
            let voters = quorums.committed.voters();
            let by = |number| move |id: &ServerId| self.has(*id, false, &|l| acked(l) >= number);
            let enough = |number: &u64| {
                1 + voters.clone().filter(by(*number)).count() > voters.clone().count() / 2
            };
            return (committed..=durable).rev().find(enough).unwrap_or(committed);
        }
        if self.retired {
            return committed;
        }
        let candidates = self.learners.iter().map(acked).chain([durable]);
        let mut best = committed;
        for candidate in candidates {
            if candidate > best
                && self.quorum(quorums, durable >= candidate, &|l| acked(l) >= candidate)
            {
                best = candidate;
            }
        }
        best
    }

    // What to say.

    /// Writes what a learner is to hear next, as far as there is room in `out`; `snapshot` is the
    /// newest whole snapshot on the disk. Answers whether a newer one is wanted.
    pub fn speak(
        &mut self,
        at: usize,
        now: Instant,
        window: Window<'_, '_>,
        config: &[u8],
        snapshot: Option<Zxid>,
        out: &mut Pipe<'_>,
    ) -> bool {
        let Self { phase, epoch, capacity, learners, counts, heir, .. } = self;
        let (phase, epoch, heir) = (*phase, *epoch, *heir);
        let Some(learner) = learners.get_mut(at) else { return false };
        loop {
            let step = learner.step;
            match step {
                Step::Vacant | Step::Fresh | Step::Searching | Step::Snapshot { .. } => {
                    return false;
                }
                Step::Greeted => {
                    if matches!(phase, Phase::Discovery | Phase::Accepting) {
                        return false;
                    }
                    let protocol = PROTOCOL.to_be_bytes();
                    let zxid = of_epoch(epoch);
                    if !put_limited(out, Kind::LeaderInfo, zxid, &protocol, capacity) {
                        return false;
                    }
                    learner.step = Step::Told;
                }
                Step::Told => return false,
                Step::Known => {
                    if !matches!(phase, Phase::Synchronization | Phase::Broadcast) {
                        return false;
                    }
                    learner.history = window.committed;
                    let own = window.last_committed();
                    let last = if learner.uncut { Zxid::NONE } else { learner.last };
                    match sync::decide(window, last) {
                        Decision::Diff { from } => {
                            if !put(out, &Packet::new(Kind::Diff, own)) {
                                return false;
                            }
                            let count = match learner.last {
                                last if last == own => &mut counts.diff_nothing,
                                last if last.counter() == 0 && last != window.records.before() => {
                                    &mut counts.diff_led
                                }
                                _ => &mut counts.diff_window,
                            };
                            sync::tally(count);
                            learner.stream_from(from, window);
                        }
                        Decision::Trunc { zxid, from } => {
                            if !put(out, &Packet::new(Kind::Trunc, zxid)) {
                                return false;
                            }
                            if zxid == own {
                                sync::tally(&mut counts.trunc_last);
                            } else {
                                sync::tally(&mut counts.trunc_between);
                            }
                            learner.stream_from(from, window);
                        }
                        Decision::Log => learner.step = Step::Searching,
                        Decision::Snap(lack) => {
                            counts.lacks(lack);
                            if lack == Lack::Damaged {
                                // It may have acknowledged all of it, and must not pass for whole
                                // with less. (Or it has more, and that is to go.)
                                learner.last = own;
                            }
                            learner.step = Step::Wanting;
                        }
                    }
                }
                Step::Wanting => {
                    // Never an older one: what the learner has made durable must not be lost
                    // while it is being brought in line.
                    let Some(zxid) = snapshot.filter(|&zxid| zxid >= learner.last) else {
                        return true;
                    };
                    if !put(out, &Packet::new(Kind::Snap, zxid)) {
                        return false;
                    }
                    learner.step = Step::Snapshot { zxid, sent: 0 };
                }
                Step::Streaming if learner.has_history(window) || planted!(Zk3104) => {
                    let packet = Packet::with(Kind::NewLeader, of_epoch(epoch), config);
                    if !put(out, &packet) {
                        return false;
                    }
                    learner.step = Step::Asked;
                }
                Step::Synced if phase == Phase::Broadcast => {
                    if !put(out, &Packet::new(Kind::UpToDate, Zxid::NONE)) {
                        return false;
                    }
                    learner.step = Step::Active;
                }
                Step::Streaming | Step::Asked | Step::Synced | Step::Active => {
                    let from_log = learner.from_log;
                    let said = learner.say(window, now, heir, out);
                    if learner.from_log && !from_log {
                        sync::tally(&mut counts.demoted);
                    }
                    if !said {
                        return false;
                    }
                }
            }
        }
    }

    /// What to read from the disk for a learner whose link has `room` bytes of room.
    pub fn read(&mut self, at: usize, room: usize) -> Option<(Reading, Read)> {
        let learner = self.learner(at)?;
        if learner.reading {
            return None;
        }
        let most = room.checked_sub(READ_OVERHEAD + SNAPSHOT_END.len() + 4)?;
        let read = match learner.step {
            Step::Searching => Read::Log { from: learner.last, most: most.min(1) },
            Step::Snapshot { zxid, sent } => Read::Snapshot { zxid, offset: sent, most },
            Step::Streaming | Step::Asked | Step::Synced | Step::Active if learner.from_log => {
                Read::Log { from: learner.told.successor(), most }
            }
            _ => return None,
        };
        learner.reading = true;
        Some((Reading { at, serial: learner.serial }, read))
    }

    /// The oldest transaction behind which a learner still needs what is on the disk.
    pub fn pinned(&self) -> Option<Zxid> {
        let needed = |learner: &Learner| match learner.step {
            Step::Vacant => None,
            Step::Searching => Some(learner.last),
            Step::Snapshot { zxid, .. } => Some(zxid),
            _ => learner.from_log.then_some(learner.told),
        };
        self.learners.iter().filter_map(needed).min()
    }

    /// The learner that a reading was for, if it is still there.
    fn reader<'l>(
        learners: &'l mut Table<'_, Learner>,
        reading: Reading,
    ) -> Option<&'l mut Learner> {
        let learner = learners.get_mut(reading.at)?;
        (learner.serial == reading.serial && learner.reading).then(|| {
            learner.reading = false;
            learner
        })
    }

    /// The log was read. `false`: it does not have what was asked for, or what it has does not fit
    /// the link, and only a new link can help.
    #[must_use]
    pub fn log_read<'t>(
        &mut self,
        reading: Reading,
        mut entries: impl Iterator<Item = (Zxid, &'t [u8])>,
        window: Window<'_, '_>,
        out: &mut Pipe<'_>,
    ) -> bool {
        let Self { learners, counts, heir, .. } = self;
        let heir = *heir;
        let Some(learner) = Self::reader(learners, reading) else { return true };
        if learner.step == Step::Searching {
            // Only where its last transaction is in the log is it known what comes behind it.
            let found = entries.next().is_some_and(|(zxid, _)| zxid == learner.last);
            if found && put(out, &Packet::new(Kind::Diff, window.last_committed())) {
                learner.sent = learner.last;
                learner.told = learner.last;
                learner.from_log = true;
                learner.step = Step::Streaming;
                learner.catch_up(window);
                sync::tally(&mut counts.diff_log);
            } else if !found {
                counts.lacks(Lack::NotInLog);
                learner.step = Step::Wanting;
            }
            return true;
        }
        let mut any = false;
        for (zxid, txn) in entries {
            // Nothing may be missing, and what is not committed is not for the log to say.
            if zxid <= learner.told {
                continue;
            }
            if !follows(learner.told, zxid) {
                return false;
            }
            if zxid > window.last_committed() {
                break;
            }
            any = true;
            let observes = learner.observer && learner.step == Step::Active;
            if zxid > learner.sent && !put_txn(observes, zxid, txn, heir, out) {
                return false;
            }
            learner.sent = learner.sent.max(zxid);
            if !observes && !learner.put_commit(zxid, txn, heir, out) {
                return false;
            }
            learner.told = zxid;
        }
        learner.catch_up(window);
        any || !learner.from_log
    }

    /// A piece of a snapshot was read; `end` says that it was the last. `false`: it does not fit.
    #[must_use]
    pub fn snapshot_read(
        &mut self,
        reading: Reading,
        bytes: &[u8],
        end: bool,
        window: Window<'_, '_>,
        out: &mut Pipe<'_>,
    ) -> bool {
        use crate::memory::Sink;
        let Some(learner) = Self::reader(&mut self.learners, reading) else { return true };
        let Step::Snapshot { zxid, sent } = learner.step else { return true };
        if out.put(bytes).is_err() {
            return false;
        }
        learner.step = Step::Snapshot { zxid, sent: sent + bytes.len() as u64 };
        if end {
            if jute::write(&jute::Ustring::new(SNAPSHOT_END), out).is_err() {
                return false;
            }
            learner.sent = zxid;
            learner.told = zxid;
            learner.from_log = true;
            learner.step = Step::Streaming;
            learner.catch_up(window);
        }
        true
    }

    /// What was to be read is not there. Answers whether the learner's link must end, because some
    /// of it is sent already.
    #[must_use]
    pub fn read_failed(&mut self, reading: Reading) -> bool {
        let Self { learners, counts, .. } = self;
        let Some(learner) = Self::reader(learners, reading) else { return false };
        if learner.step == Step::Searching {
            counts.lacks(Lack::NotInLog);
            learner.step = Step::Wanting;
            return false;
        }
        true
    }

    // Time.

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_tick(&self) -> Instant {
        if self.phase == Phase::Broadcast { self.tick_at } else { self.tick_at.min(self.deadline) }
    }

    /// A learner that was silent, or slow, for too long is forgotten: its link, which must end. To be
    /// asked until there is none, and then [`tick`](Self::tick).
    #[must_use]
    pub fn take_silent(&mut self, now: Instant) -> Option<usize> {
        if now < self.tick_at {
            return None;
        }
        let (sync, init) = (self.timing.sync(), self.timing.init());
        let at = self.learners.iter().position(|learner| {
            // Before it serves it has nothing to say.
            let most = if learner.step == Step::Active { sync } else { init };
            let silent = now.since(learner.heard) > most;
            let slow = learner.waiting.is_some_and(|(_, since)| now.since(since) > sync);
            learner.step != Step::Vacant && (silent || slow)
        })?;
        self.learners[at] = Learner::default();
        // A leader that stood still must not go on as if nothing had happened: others may lead.
        self.second = true;
        Some(at)
    }

    /// Whether nothing is to be proposed for a while, for the sake of a follower that reads the log.
    pub fn holds(&self) -> bool {
        self.hold.is_on() && self.learners.iter().any(Learner::lags)
    }

    /// Whether that was so since the last half tick.
    pub fn has_held(&self) -> bool {
        self.hold.is_on()
    }

    /// Time has passed: pings are due. `false`: there is no quorum behind this leader any more. `last` is
    /// committed.
    #[must_use]
    pub fn tick(&mut self, now: Instant, last: Zxid, quorums: &Quorums<'_>) -> bool {
        if self.phase != Phase::Broadcast && now >= self.deadline {
            return false;
        }
        if now < self.tick_at {
            return true;
        }
        self.tick_at = now.plus(u64::from((self.timing.tick / 2).max(1)));
        let lagging = self.learners.iter().filter(|learner| learner.lags());
        self.hold.tick(lagging.map(|learner| hold::behind(learner, last)).max());
        // One at a time, in turn: two might go, and be needed.
        let last = self.learners.iter().position(|learner| learner.spared);
        let mut next = None;
        for at in 0..self.learners.len() {
            let Learner { server, .. } = self.learners[at];
            if next.is_none_or(|next| Some(next) <= last && Some(at) > last)
                && self.learners[at].is_synced()
                && quorums.is_voter(server)
                && quorums
                    .has_quorum(|id| id != server && self.has(id, true, &Learner::acknowledges))
            {
                next = Some(at);
            }
        }
        for at in 0..self.learners.len() {
            let learner = &mut self.learners[at];
            learner.ping = learner.is_synced();
            learner.spared = next == Some(at);
        }
        self.second = !self.second;
        if self.phase != Phase::Broadcast || self.second {
            return true;
        }
        self.quorum(quorums, true, &Learner::acknowledges)
    }
}

/// Whether a transaction may come directly behind another: the next of its epoch, or the first of a
/// later one.
pub fn follows(last: Zxid, next: Zxid) -> bool {
    last.next() == Some(next) || (next.epoch() > last.epoch() && next.counter() == 1)
}
