//! The peer as a leader: it learns who is with it, serves, and commits what a quorum has.

use super::ensemble::Ensemble;
use super::{Peer, State};
use crate::id::{ServerId, Zxid};
use crate::time::Now;
use crate::trace::{info, warning};
use crate::wire::OpCode;
use crate::wire::jute::{self, Reader};
use crate::wire::quorum::{
    Kind, Packet, REQUEST_HEAD, RequestHead, Revalidated, TOUCHED, Touched, of_epoch,
};
use crate::wire::txn::CreateSessionTxn;
use crate::zab::Violation;
use crate::zab::leader::{Count, Phase, Read, Reading, put};
use crate::zab::sync::Counts;

impl Peer<'_> {
    /// The election made this peer the leader.
    pub(super) fn lead(&mut self, now: Now) {
        // Its whole history is what it will bring the others in line with.
        self.committed = self.history.end();
        self.state = State::Leading;
        if self.apply_committed(now).is_err() {
            return;
        }
        self.changes.reset(&mut self.tree);
        self.reserved = crate::tree::Cost::default();
        let epochs = (self.ensemble.epochs.accepted, self.current_epoch());
        let timing = self.timing();
        let me = self.options.server;
        self.stats.leads();
        let capacity = self.capacity;
        let last = self.proposed;
        self.ensemble.leader.lead(now.monotonic, me, epochs, last, capacity, timing);
        info!("leading, with a history that ends at zxid {:#x}", self.proposed.0);
        self.advance_leader(now);
    }

    /// Goes as far as acknowledgements allow: from phase to phase, then commit by commit.
    pub(super) fn advance_leader(&mut self, now: Now) {
        let epochs = (self.ensemble.epochs.accepted, self.ensemble.epochs.current);
        let window = window!(self);
        let Ensemble { leader, quorums, .. } = &mut self.ensemble;
        leader.advance(now.monotonic, quorums, epochs, window);
        if self.options.reconfigures()
            && leader.begins().is_some()
            && quorums.committed.version() == 0
            && quorums.pending().is_none()
        {
            // The first configuration of the ensemble gets a version, so that it can change.
            quorums.establish(of_epoch(leader.epoch()).0);
        }
        if leader.phase() != Phase::Broadcast {
            return;
        }
        self.committed = leader.committable(quorums, window);
        if !self.ensemble.serving {
            self.reign(now);
        }
    }

    /// A quorum has the leader's history: it serves.
    fn reign(&mut self, now: Now) {
        let epoch = self.ensemble.leader.epoch();
        self.proposed = of_epoch(epoch);
        self.tree.applied(self.proposed);
        // A quorum has the history, and with it the configuration.
        self.ensemble.quorums.commit();
        self.config_in_force(now);
        // Ephemeral nodes whose session is in no table would stay for ever: let it expire.
        let timeout = self.options.min_session_timeout;
        loop {
            let orphan =
                self.tree.owning_sessions().find(|&session| self.sessions.find(session).is_none());
            let Some(session) = orphan else { break };
            if self.sessions.opened(session, timeout, now.monotonic).is_err() {
                break;
            }
        }
        self.sessions.touch_all(now.monotonic);
        self.timers.start(now, &self.options);
        self.ensemble.election.set_epoch(i64::from(epoch.0));
        self.ensemble.serving = true;
        info!("serving as leader of epoch {}", epoch.0);
    }

    /// A packet from a learner. `Ok(false)`: it cannot be taken now.
    pub(super) fn hear_learner(
        &mut self,
        now: Now,
        at: usize,
        packet: &Packet<'_>,
    ) -> Result<bool, Violation> {
        match packet.kind {
            Kind::Request | Kind::Ping | Kind::Revalidate => {
                let synced = self.ensemble.leader.server(at).filter(|_| self.ensemble.serving);
                let Some((server, true)) = synced else {
                    return Err(Violation("a learner that asks before it is synchronised"));
                };
                self.ensemble.leader.touch(at, now.monotonic);
                match packet.kind {
                    Kind::Request => self.hear_request(now, at, server, packet),
                    Kind::Ping => self.hear_touched(now, packet).map(|()| true),
                    _ => self.hear_revalidate(now, at, server, packet),
                }
            }
            _ => {
                let window = window!(self);
                let Ensemble { leader, quorums, .. } = &mut self.ensemble;
                // Who has activated what is only proposed here has heard of a commit before this reign.
                let version = quorums.pending().unwrap_or(&quorums.committed).version();
                let fresh = leader.server(at).is_none();
                leader.hear(now.monotonic, at, packet, window, version)?;
                if fresh && let Some((server, _)) = leader.server(at) {
                    self.greeted(at, server)?;
                    let Ensemble { leader, quorums, .. } = &self.ensemble;
                    if leader.is_outbid(at) && quorums.is_voter(server) {
                        info!("server {} has accepted a later epoch: electing anew", server.0);
                        self.look(now);
                        return Ok(true);
                    }
                }
                self.advance(now);
                self.apply_or_stop(now);
                Ok(true)
            }
        }
    }

    /// A learner has said who it is.
    fn greeted(&mut self, at: usize, server: ServerId) -> Result<(), Violation> {
        let known = self.ensemble.quorums.knows(server);
        // Whoever is to become a member must have the history first, so that a quorum of the new
        // configuration has it; and whoever was one may still read. Neither has a vote.
        if server == self.options.server || !(known || self.options.reconfigures()) {
            return Err(Violation("a learner that is no member of the ensemble"));
        }
        if known && !self.ensemble.members.comes_from(at, server) {
            return Err(Violation("a learner that does not come from its member's address"));
        }
        self.ensemble.members.name(at, server);
        // It has come anew: the old link is dead, whatever the network thinks.
        if let Some(old) = self.ensemble.leader.link_of(server, at) {
            self.drop_member(old);
        }
        Ok(())
    }

    fn hear_request(
        &mut self,
        now: Now,
        at: usize,
        server: ServerId,
        packet: &Packet<'_>,
    ) -> Result<bool, Violation> {
        let data = packet.data.bytes();
        let RequestHead { session, cxid, op } =
            jute::decode(data).map_err(|_| Violation("a request without a head"))?;
        let body = data.get(REQUEST_HEAD..).unwrap_or_default();
        if op == OpCode::Sync {
            let window = window!(self);
            self.ensemble.dirty = true;
            return Ok(self.ensemble.leader.sync(at, window));
        }
        if super::link::class(op) != super::link::Class::Write && op != OpCode::CreateSession {
            return Err(Violation("a request that changes nothing"));
        }
        if self.propose(session, cxid, op, body, packet.authinfo, server, None, now).is_err() {
            return Ok(false);
        }
        if op == OpCode::CreateSession
            && let Ok(CreateSessionTxn { timeout }) = jute::decode(body)
        {
            let timeout = u32::try_from(timeout).unwrap_or(0);
            // What does not fit was refused.
            if let Ok(entry) = self.sessions.open(session, timeout, now.monotonic) {
                self.sessions.own(entry, server);
            }
        }
        Ok(true)
    }

    /// Sessions that a learner has heard of.
    fn hear_touched(&mut self, now: Now, packet: &Packet<'_>) -> Result<(), Violation> {
        for piece in packet.data.bytes().chunks(TOUCHED) {
            let Touched { session, timeout } =
                jute::decode(piece).map_err(|_| Violation("a ping with half a session"))?;
            if let Some(at) = self.sessions.usable(session) {
                self.sessions.grant(at, u32::try_from(timeout).unwrap_or(0));
                self.sessions.touch(at, now.monotonic);
            }
        }
        Ok(())
    }

    fn hear_revalidate(
        &mut self,
        now: Now,
        at: usize,
        server: ServerId,
        packet: &Packet<'_>,
    ) -> Result<bool, Violation> {
        let Touched { session, timeout } = Reader::new(packet.data.bytes())
            .read()
            .map_err(|_| Violation("a revalidation without a session"))?;
        let local = self.sessions.is_local(session);
        let entry = self.sessions.usable(session).filter(|_| !local);
        if entry.is_none() && self.is_deserted() {
            return Ok(false);
        }
        let mut data = [0; 9];
        let answer = Revalidated { session, valid: entry.is_some() };
        let encoded = jute::encode(&answer, &mut data).is_ok();
        let packet = Packet::with(Kind::Revalidate, packet.zxid, &data);
        if !encoded || !self.ensemble.members.quorum_output(at).is_some_and(|out| put(out, &packet))
        {
            return Ok(false);
        }
        self.ensemble.dirty = true;
        if let Some(entry) = entry {
            self.sessions.grant(entry, u32::try_from(timeout).unwrap_or(0));
            self.sessions.touch(entry, now.monotonic);
            self.sessions.own(entry, server);
            // Its client has left this server.
            let link = self.sessions.get(entry).connection();
            if link != crate::memory::NIL {
                self.drop_link(link);
            }
        }
        Ok(true)
    }

    /// Whether this peer leads and has no quorum, which the next [`tick`](Self::tick) will notice:
    /// others may lead already, and know of sessions that this one does not.
    pub(super) fn is_deserted(&self) -> bool {
        let Ensemble { leader, quorums, .. } = &self.ensemble;
        self.state == State::Leading && !leader.is_synced(&quorums.committed)
    }

    pub(super) fn tick_leader(&mut self, now: Now) {
        self.ensemble.dirty = true;
        while let Some(at) = self.ensemble.leader.take_silent(now.monotonic) {
            self.violated(at, Violation("nothing was heard of it for too long"));
        }
        let last = window!(self).last_committed();
        let Ensemble { leader, quorums, .. } = &mut self.ensemble;
        let held = leader.has_held();
        if !leader.tick(now.monotonic, last, quorums) {
            warning!("no quorum is with this leader (epoch {})", leader.epoch().0);
            self.look(now);
            return;
        }
        self.unhold(held, now);
    }

    /// What has waited for a follower that reads the log goes on, if it waits no longer.
    fn unhold(&mut self, held: bool, now: Now) {
        if held && !self.ensemble.leader.holds() {
            self.ensemble.members.unblock();
            self.retry_stalled(now);
        }
    }

    /// The counter of the epoch is used up: only a new epoch has more numbers (ZOOKEEPER-1277).
    pub(super) fn roll_over(&mut self, now: Now) {
        warning!("the zxids of epoch {} are used up", self.ensemble.leader.epoch().0);
        self.look(now);
    }

    /// Writes what learners are to hear.
    pub(super) fn speak_to_learners(&mut self, now: Now) {
        let window = window!(self);
        let Ensemble { leader, members, quorums, snapshot, .. } = &mut self.ensemble;
        // What is proposed in this reign is not for NEWLEADER to say.
        let begins = leader.phase() != Phase::Broadcast && !planted!(ReconfigNewLeader);
        let before = quorums.pending().filter(|_| begins);
        let config = before.unwrap_or(&quorums.committed).text();
        let mut wanted = false;
        for at in 0..members.used() {
            if let Some(out) = members.quorum_output(at) {
                wanted |= leader.speak(at, now.monotonic, window, config, *snapshot, out);
            }
        }
        if wanted {
            self.snapshot.want_soon();
        }
    }

    /// How learners were brought in line, whenever this peer led.
    pub fn sync_counts(&self) -> &Counts {
        self.ensemble.leader.counts()
    }

    /// Something to read from the disk for a learner.
    pub(super) fn read_for_learner(&mut self) -> Option<(Reading, Read)> {
        if self.state != State::Leading {
            return None;
        }
        let Ensemble { leader, members, .. } = &mut self.ensemble;
        for at in 0..members.used() {
            let Some(out) = members.quorum_output(at) else { continue };
            // Only when most of what was read before is on its way.
            if out.len() > out.ceiling() / 2 {
                continue;
            }
            let room = out.free();
            if let Some(read) = leader.read(at, room) {
                return Some(read);
            }
        }
        None
    }

    /// How many learners this leader has; none for others.
    pub fn learners(&self) -> Count {
        match self.state {
            State::Leading => self.ensemble.leader.count(self.config()),
            _ => Count::default(),
        }
    }

    /// What is read for learners begins there: that snapshot, and the log behind that zxid, must
    /// not be removed from the disk. `None`: nothing is.
    pub fn pinned(&self) -> Option<Zxid> {
        (self.state == State::Leading).then(|| self.ensemble.leader.pinned())?
    }

    /// The log was read, as [`Read::Log`] asked; `entries` are empty if it has none of these.
    pub fn log_read<'t>(
        &mut self,
        now: Now,
        reading: Reading,
        entries: impl Iterator<Item = (Zxid, &'t [u8])>,
    ) {
        let window = window!(self);
        let Ensemble { leader, members, dirty, .. } = &mut self.ensemble;
        *dirty = true;
        let Some(out) = members.quorum_output(reading.at) else { return };
        leader.touch(reading.at, now.monotonic);
        let held = leader.holds();
        if !leader.log_read(reading, entries, window, out) {
            self.violated(reading.at, Violation("the log does not have what it lacks"));
        }
        self.unhold(held, now);
    }

    /// A piece of a snapshot was read, as [`Read::Snapshot`] asked; `end` says that it was the last.
    pub fn snapshot_read(&mut self, now: Now, reading: Reading, bytes: &[u8], end: bool) {
        let window = window!(self);
        let Ensemble { leader, members, dirty, .. } = &mut self.ensemble;
        *dirty = true;
        let Some(out) = members.quorum_output(reading.at) else { return };
        leader.touch(reading.at, now.monotonic);
        if !leader.snapshot_read(reading, bytes, end, window, out) {
            self.violated(
                reading.at,
                Violation("a piece of a snapshot that does not fit its link"),
            );
        }
    }

    /// What was to be read cannot be.
    pub fn read_failed(&mut self, reading: Reading) {
        self.ensemble.dirty = true;
        // Whatever it was, another snapshot is better than this one.
        self.ensemble.snapshot = None;
        if self.ensemble.leader.read_failed(reading) {
            self.violated(reading.at, Violation("what it lacks cannot be read from the disk"));
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::id::{Epoch, SessionId};
    use crate::peer::{Ceilings, Disk, Epochs, Link, Membership, Options, Order};
    use crate::tree::Seeds;
    use crate::wire::client::ConnectRequest;
    use crate::wire::frame;
    use crate::wire::jute::Buffer;

    const NOW: Now = Now::new(1000, 1000);

    /// The disk does all that it is asked, at once.
    fn settle(peer: &mut Peer<'_>) {
        while let Some(disk) = peer.poll_disk() {
            match disk {
                Disk::Append(batch) => {
                    let last = batch.last();
                    peer.durable(NOW, last).unwrap();
                }
                Disk::Ensemble(Order::Epochs(_)) => peer.epochs_written(NOW),
                Disk::SnapshotBytes(bytes) => {
                    let len = bytes.len();
                    peer.snapshot_written(len);
                }
                Disk::SnapshotEnd(_) => peer.snapshot_done(),
                Disk::SnapshotBegin(_) | Disk::SnapshotDrop | Disk::Roll => {}
                Disk::Ensemble(order) => panic!("{order:?}"),
            }
        }
    }

    /// A client that opens a session: one transaction.
    fn client(peer: &mut Peer<'_>) -> Link {
        let link = peer.open(NOW, IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 10_000,
            session_id: SessionId::NONE,
            passwd: Buffer::new(&[0; 16]),
            read_only: jute::Trailing(None),
        };
        let mut bytes = [0; 64];
        let len = jute::encode(&request, &mut bytes[frame::LEN..]).unwrap();
        bytes[..frame::LEN].copy_from_slice(&(len as u32).to_be_bytes());
        peer.receive(NOW, link, &bytes[..frame::LEN + len]);
        settle(peer);
        link
    }

    /// ZOOKEEPER-1277: there is no zxid behind the last one of an epoch but the first of the next.
    #[test]
    fn an_epoch_whose_zxids_are_used_up_ends_with_an_election() {
        let options = Options { server: ServerId(1), ensemble: true, ..Options::default() };
        let session = SessionId(1 << 56);
        let mut peer =
            Peer::owned(options, Ceilings::default(), Seeds(1, 2), session, NOW).unwrap();
        peer.load_reset();
        let membership = Membership {
            config: b"server.1=h:1:2",
            proposed: None,
            epochs: Epochs::default(),
            damaged: false,
        };
        peer.join(NOW, &membership).unwrap();
        settle(&mut peer);
        assert!(peer.state() == State::Leading && peer.is_serving());
        // As if most of them had been given.
        peer.proposed = Zxid::new(Epoch(1), u32::MAX - 1);
        let first = client(&mut peer);
        assert_eq!(peer.tree().last_zxid(), Zxid::new(Epoch(1), u32::MAX));
        assert!(peer.session(first).is_some());
        // It is asked for one more than there are, and gives none.
        let second = client(&mut peer);
        assert_eq!(peer.outstanding(), 0);
        peer.tick(NOW);
        assert!(peer.is_closing(first) && peer.is_closing(second));
        settle(&mut peer);
        assert!(peer.state() == State::Leading && peer.is_serving());
        assert_eq!(peer.ensemble.leader.epoch(), Epoch(2));
        let third = client(&mut peer);
        assert_eq!(peer.tree().last_zxid(), Zxid::new(Epoch(2), 1));
        assert!(peer.session(third).is_some());
    }
}
