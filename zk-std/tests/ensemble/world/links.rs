//! What members say to each other, over connections that break.

use zk_core::id::{ServerId, Zxid};
use zk_core::memory::Full;
use zk_core::peer::State;
use zk_core::quorum::Port;
use zk_core::time::Now;
use zk_core::wire::OpCode;
use zk_core::wire::quorum::Kind;

use super::super::apache;
use super::super::check;
use super::super::net::Connection;
use super::super::node::address;
use super::super::tap::{About, Message};
use super::World;

impl World {
    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut[from][to] || self.clogged[from] || self.clogged[to]
    }

    pub(super) fn dial(&mut self, at: usize) {
        let now = self.now_of(at);
        while let Some(dial) = self.nodes[at].peer.poll_dial(now) {
            let to = dial.server.0 as usize - 1;
            if !self.nodes[to].up || self.is_cut(at, to) || self.is_cut(to, at) {
                self.nodes[at].peer.connect_failed(now, dial.link);
                continue;
            }
            let arrives = self.now + self.rng.below(self.delay + 1);
            let mut connection = Connection::new((at, dial.link), to, dial.port, arrives);
            if self.apache == Some(at) && dial.port == Port::Quorum {
                connection.apache = Some(apache::Learner::new());
            }
            self.nodes[at].peer.connected(dial.link);
            self.connections.push(connection);
        }
    }

    /// Hands what has arrived to a node.
    pub(super) fn hear(&mut self, at: usize) {
        let now = self.now_of(at);
        for c in 0..self.connections.len() {
            let from = self.connections[c].ends[0].node;
            if let Some(arrives) = self.connections[c].arrives_at
                && self.connections[c].ends[1].node == at
                && arrives <= self.now
                && !self.is_cut(from, at)
            {
                let port = self.connections[c].port;
                self.connections[c].arrives_at = None;
                // Servers take connections from where members are, and from nowhere else.
                let peer = &mut self.nodes[at].peer;
                let known = peer.quorums().knows(ServerId(from as i64 + 1));
                let accepted = known.then(|| peer.accept(now, port, address(from as u8 + 1)));
                match accepted.unwrap_or(Err(Full)) {
                    Ok(link) => self.connections[c].ends[1].link = Some(link),
                    Err(_) => {
                        let heard = self.now + self.rng.below(self.delay + 1);
                        self.connections[c].ends[0].broken_at.get_or_insert(heard);
                    }
                }
            }
            for side in 0..2 {
                if self.connections[c].ends[side].node == at {
                    self.hear_end(c, side, now);
                }
            }
        }
    }

    fn hear_end(&mut self, c: usize, side: usize, now: Now) {
        let (here, there) =
            (self.connections[c].ends[side].node, self.connections[c].ends[1 - side].node);
        let cut = self.is_cut(there, here);
        let end = &mut self.connections[c].ends[side];
        let Some(link) = end.link else { return };
        while !cut && end.coming.front().is_some_and(|(due, _)| *due <= self.now) {
            let (_, bytes) = end.coming.pop_front().unwrap();
            end.arrived.extend_from_slice(&bytes);
        }
        let broken = end.broken_at.is_some_and(|due| due <= self.now);
        // What had arrived before the end is still read, if it is read soon.
        if !end.blocked && !end.arrived.is_empty() && (end.arrived.len() >= end.need || broken) {
            let arrived = core::mem::take(&mut end.arrived);
            // What comes on a link that is over is thrown away.
            let closing = self.nodes[here].peer.member_is_closing(link);
            let before = self.nodes[here].peer.member_channel(link);
            let received = self.nodes[here].peer.hear(now, link, &arrived);
            let end = &mut self.connections[c].ends[side];
            end.arrived = arrived[received.consumed..].to_vec();
            end.blocked = received.need == 0;
            end.need = received.need.max(1);
            let after = self.nodes[here].peer.member_channel(link);
            for (channel, message) in end.take(received.consumed) {
                let over = channel.is_some() && channel != before && channel != after;
                if !closing && !over {
                    self.heard(here, now, &message);
                }
            }
        }
        let end = &mut self.connections[c].ends[side];
        if broken && (end.coming.is_empty() || self.rng.below(4) == 0) {
            end.link = None;
            self.nodes[here].peer.member_closed(now, link);
        }
    }

    /// A node has taken a message.
    fn heard(&mut self, at: usize, now: Now, message: &Message) {
        check::heard(&mut self.nodes[at], message);
        let Message::Packet { kind, about, .. } = message else { return };
        if self.nodes[at].peer.state() != State::Leading {
            return;
        }
        match about {
            About::Request(op, session) if *op == OpCode::CreateSession.0 => {
                self.heard[at].insert(session.0, now.monotonic.0);
            }
            About::Sessions(all) if matches!(*kind, Kind::Ping | Kind::Revalidate) => {
                for (session, _) in all {
                    self.heard[at].insert(session.0, now.monotonic.0);
                }
            }
            _ => {}
        }
    }

    /// Sends what a node has to say to others.
    pub(super) fn send(&mut self, at: usize) {
        let now = self.now_of(at);
        while let Some(link) = self.nodes[at].peer.poll_member(now) {
            let found = self.connections.iter().enumerate().find_map(|(c, connection)| {
                let here = |side: &usize| {
                    let end = &connection.ends[*side];
                    end.node == at && end.link == Some(link)
                };
                (0..2).find(here).map(|side| (c, side))
            });
            let Some((c, side)) = found else {
                // One that is not wanted any more, and was not there yet.
                if self.nodes[at].peer.member_is_closing(link) {
                    self.nodes[at].peer.member_closed(now, link);
                }
                continue;
            };
            let output = self.nodes[at].peer.member_output(link).to_vec();
            // A socket may take less than there is.
            let n = match output.len() as u64 {
                len if len > 0 && self.rng.below(8) == 0 => 1 + self.rng.below(len) as usize,
                len => len as usize,
            };
            let delay = self.rng.below(self.delay + 1);
            if n > 0 {
                self.transmit(c, side, &output[..n], delay);
                self.nodes[at].peer.member_sent(now, link, n);
            }
            self.connections[c].ends[side].blocked = false;
            if self.nodes[at].peer.member_is_closing(link)
                && self.nodes[at].peer.member_output(link).is_empty()
            {
                self.connections[c].ends[side].link = None;
                let heard = self.now + delay;
                let other = &mut self.connections[c].ends[1 - side];
                if !other.half_open {
                    other.broken_at.get_or_insert(heard);
                }
                self.nodes[at].peer.member_closed(now, link);
            }
        }
    }

    fn transmit(&mut self, c: usize, side: usize, bytes: &[u8], delay: u64) {
        let Some(learner) = &mut self.connections[c].apache else {
            self.carry(c, side, bytes, delay);
            return;
        };
        let bytes = match side {
            0 => learner.says(bytes),
            _ => learner.takes(bytes, &mut self.met),
        };
        self.carry(c, side, &bytes, delay);
    }

    /// Puts bytes on their way.
    fn carry(&mut self, c: usize, side: usize, bytes: &[u8], delay: u64) {
        let (from, to) =
            (self.connections[c].ends[side].node, self.connections[c].ends[1 - side].node);
        let other = &mut self.connections[c].ends[1 - side];
        let said = other.tap.listen(bytes);
        other.messages.extend(said.iter().cloned());
        // In order, whatever the delay.
        let last = other.coming.back().map_or(0, |(due, _)| *due);
        let due = last.max(self.now + delay);
        if other.broken_at.is_none() && other.link.is_some()
            || self.connections[c].arrives_at.is_some()
        {
            self.connections[c].ends[1 - side].coming.push_back((due, bytes.to_vec()));
        }
        let end = &mut self.connections[c].ends[side];
        if end.half_open {
            // Nobody is there to take it, and says so.
            end.broken_at.get_or_insert(self.now + 2 * delay + 1);
        }
        for (_, channel, message) in said {
            self.met.messages += 1;
            self.met.carried += u64::from(channel.is_some());
            let [a, b, c, d] = message.words();
            self.trace.note(self.now, &[from as i64, to as i64, a, b, c, d], || {
                format!("{} -> {}: {message}", from + 1, to + 1)
            });
            let closer = check::said(&self.nodes[from], &message);
            // Who has lost its promises makes none that count.
            if let Message::Packet { kind: Kind::AckEpoch, about: About::Epoch(epoch), .. } =
                message
                && epoch != -1
                && (from < self.voters || self.reconfig)
                && !self.nodes[from].ill
            {
                self.agreement.promise(&self.nodes[from]);
            }
            // What is rotten is found out at the next start.
            if let Some((zxid, epoch)) = closer
                && !self.nodes[from].ill
                && self.rng.below(if self.agreement.is_config(zxid) { 4 } else { 200 }) == 0
            {
                self.met.probed += 1;
                let seed = self.rng.next_u64();
                let left = self.nodes[from].after_crash(seed);
                let Some((last, epochs, config)) = left else { continue };
                let latest = self.agreement.latest(zxid);
                // What an operator has told a new server counts until one is in force that came to it.
                let told = self.nodes[from].peer.config().version() == 0;
                assert!(
                    last >= zxid
                        && epochs.current >= epoch
                        && (!self.reconfig || told || config >= latest.0),
                    "server {} has acknowledged {zxid} and epoch {}, and a crash leaves {last}, \
                     {epochs:?} and the configuration {}",
                    from + 1,
                    epoch.0,
                    Zxid(config)
                );
            }
        }
    }
}
