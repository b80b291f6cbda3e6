//! Clients: what they ask, and what they are told.

use zk_core::id::{SessionId, Zxid};
use zk_core::peer::{Link, State};
use zk_core::time::Now;
use zk_core::wire::Code;

use super::super::client::{self, Learned, Request};
use super::super::config;
use super::super::history::Told;
use super::{CLIENTS, LOCALHOST, World};

impl World {
    pub(crate) fn lose_clients(&mut self, at: usize) {
        for c in 0..self.clients.len() {
            if self.clients[c].at.is_some_and(|(node, ..)| node == at) {
                self.lose(c);
            }
        }
    }

    /// A client has no connection any more.
    fn lose(&mut self, c: usize) {
        let lost = self.clients[c].disconnected();
        self.history.lost.extend(lost);
    }

    pub(super) fn client(&mut self, c: usize, asking: bool) {
        let Some((at, _, link)) = self.clients[c].at else {
            if asking && self.rng.below(4) == 0 {
                self.connect(c);
            }
            return;
        };
        if self.nodes[at].paused_until > self.now {
            return;
        }
        let now = self.now_of(at);
        // Sometimes it leaves without a word; its server may not even notice.
        if asking && self.rng.below(300) == 0 {
            if self.rng.coin() {
                self.nodes[at].peer.closed(now, link);
            }
            self.lose(c);
            self.met.moved += 1;
            return;
        }
        let limits = self.nodes[at].size.limits;
        let client = &mut self.clients[c];
        if client.is_open() && !client.is_closing() {
            let floor = self.acknowledged.last().copied().unwrap_or_default();
            if asking {
                for _ in 0..self.rng.below(3) {
                    if !client.has_room() {
                        break;
                    }
                    self.step += 1;
                    if self.rng.below(200) == 0 {
                        self.agreement.may_end(client.session);
                        client.ask(Request::Close, (self.step, floor));
                        break;
                    }
                    let request = if self.reconfig && self.rng.below(40) == 0 {
                        let (version, config) = self.agreement.in_force();
                        let version = version.0.max(self.first);
                        let servers = self.nodes.len() as i64;
                        match self.rng.below(3) {
                            0 => Request::Config,
                            _ => config::anything(
                                &mut self.rng,
                                (config, version),
                                servers,
                                self.fewest,
                            ),
                        }
                    } else {
                        client::anything(&mut self.rng, self.registers)
                    };
                    let request = match limits {
                        Some(limits) => client
                            .within(request, limits.watches_each(CLIENTS))
                            .with_lists(&mut self.more),
                        None => request,
                    };
                    client.ask(request, (self.step, floor));
                }
            } else if client.asked.is_empty() && self.rng.below(40) == 0 {
                // Just to keep the session.
                self.step += 1;
                let request = Request::Get { path: "/".to_owned(), watch: false };
                client.ask(request, (self.step, floor));
            }
        }
        let input = core::mem::take(&mut client.input);
        let open = client.is_open() && !self.nodes[at].peer.is_closing(link);
        let session = client.session;
        let received = self.nodes[at].peer.receive(now, link, &input);
        self.clients[c].input = input[received.consumed..].to_vec();
        if open && received.consumed > 0 {
            self.heard[at].insert(session.0, now.monotonic.0);
        }
        self.deliver(at, now);
    }

    /// Whether a client has a session, and nothing under way.
    pub(crate) fn is_idle(&self, c: usize) -> bool {
        let client = &self.clients[c];
        client.is_open() && !client.is_closing() && client.asked.is_empty()
    }

    /// A client asks something.
    pub(crate) fn ask(&mut self, c: usize, request: Request) {
        self.step += 1;
        let floor = self.acknowledged.last().copied().unwrap_or_default();
        self.clients[c].ask(request, (self.step, floor));
    }

    /// Whether a client has a connection.
    pub(crate) fn has_client(&self, c: usize) -> bool {
        self.clients[c].at.is_some()
    }

    pub(crate) fn connect(&mut self, c: usize) {
        let at = self.rng.below(self.nodes.len() as u64) as usize;
        if !self.nodes[at].up || self.nodes[at].paused_until > self.now {
            return;
        }
        let now = self.now_of(at);
        if let Ok(link) = self.nodes[at].peer.open(now, LOCALHOST) {
            let life = self.nodes[at].life;
            let stream = self.history.open();
            self.step += 1;
            let floor = self.acknowledged.last().copied().unwrap_or_default();
            self.clients[c].connected((at, life, link), stream, (self.step, floor), &mut self.rng);
        }
    }

    /// Hands what a node has for its clients to them.
    fn deliver(&mut self, at: usize, now: Now) {
        while let Some(link) = self.nodes[at].peer.poll_link() {
            let bytes = self.nodes[at].peer.output(link).to_vec();
            self.nodes[at].peer.sent(now, link, bytes.len());
            self.told(at, link, &bytes);
            if self.nodes[at].peer.is_closing(link) && self.nodes[at].peer.output(link).is_empty() {
                self.nodes[at].peer.closed(now, link);
                if let Some(c) = self.client_at(at, link) {
                    if !self.clients[c].is_open() {
                        self.count_crowded(at);
                    }
                    self.lose(c);
                }
            }
        }
    }

    fn client_at(&self, at: usize, link: Link) -> Option<usize> {
        let here = Some((at, self.nodes[at].life, link));
        self.clients.iter().position(|client| client.at == here)
    }

    fn told(&mut self, at: usize, link: Link, bytes: &[u8]) {
        let Some(c) = self.client_at(at, link) else { return };
        let stream = self.clients[c].stream;
        let session = self.clients[c].session;
        for learned in self.clients[c].take(bytes) {
            self.step += 1;
            match learned {
                Learned::Opened(id, timeout) => {
                    let (min, max) = (2 * super::super::node::TICK, 20 * super::super::node::TICK);
                    assert!((min as i32..=max as i32).contains(&timeout), "timeout {timeout}");
                    let now = self.now_of(at);
                    self.heard[at].insert(id.0, now.monotonic.0);
                    if session == SessionId::NONE {
                        self.met.sessions += 1;
                    } else {
                        self.met.returned += 1;
                    }
                }
                Learned::Expired(id) => {
                    // A leader that is cut off, and does not know yet that others lead, does not know their
                    // sessions either (nor does Apache's).
                    let peer = &self.nodes[at].peer;
                    let epoch = peer.epochs().current;
                    let outdated = peer.state() == State::Leading
                        && self.nodes.iter().any(|node| node.peer.epochs().current > epoch);
                    assert!(
                        self.agreement.is_ending(id) || outdated,
                        "session {id} is said to be over, and nobody has ended it"
                    );
                }
                Learned::Reply(asked, header, body) => {
                    self.answered(&asked, header.zxid, header.err);
                    let step = self.step;
                    self.history.tell(stream, Told::Reply { session, asked, header, body, step });
                }
                Learned::Event(zxid, kind, path) => {
                    self.history.tell(stream, Told::Event { zxid, kind, path });
                }
            }
        }
    }

    /// A request was answered: what had been answered before it was asked came before it.
    fn answered(&mut self, asked: &client::Asked, zxid: Zxid, err: Code) {
        assert!(self.agreement.is_committed(zxid), "{zxid} was seen, and is not committed");
        match (&asked.request, err) {
            (Request::Config, _) => self.met.shown += 1,
            (Request::Reconfig { .. }, Code::BadVersion) => self.met.bad_version += 1,
            (Request::Reconfig { .. }, Code::NewConfigNoQuorum) => self.met.no_quorum += 1,
            (Request::Reconfig { .. }, Code::ReconfigInProgress) => self.met.in_progress += 1,
            _ => {}
        }
        self.count_full(asked, err);
        let ok = err == Code::Ok;
        if asked.request.writes() {
            assert!(zxid > asked.floor, "{zxid} was asked for after {} was answered", asked.floor);
            self.acknowledged.insert(zxid);
            if ok {
                self.met.acknowledged += 1;
            } else {
                self.met.failed += 1;
            }
            return;
        }
        self.met.read += 1;
        if matches!(asked.request, Request::Sync(_)) {
            self.met.synced += 1;
            // It may have been asked and answered in one moment.
            self.note_overlap();
            assert!(
                zxid >= asked.floor || asked.at <= self.overlap,
                "a sync at {zxid} does not show {}",
                asked.floor
            );
        }
    }
}
