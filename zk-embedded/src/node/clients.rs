//! The connections of clients.

use zk_core::say;
use zk_core::time::Now;

use super::{CLOSE_MS, Disk, LINKS, Next, Node, Role, SESSION_MS, Shown, words};
use crate::net::phy::Device;
use crate::net::{Pool, State};

impl<D: Device, S: Disk> Node<'_, D, S> {
    /// Looks at the first four bytes of a connection: a word is answered, anything else is the
    /// peer's.
    #[inline(never)] // its frame is not needed below what a peer does
    pub(super) fn greet(&mut self, at: usize, now: Now) -> bool {
        let mut word = [0; 4];
        if self.net.copy(at, &mut word) < word.len() {
            if self.net.state(at) == State::Ended {
                self.reset(at, now);
                return true;
            }
            return false;
        }
        if let Some(answer) = words::answer(word, self.peer) {
            // The buffer was empty, and is no shorter.
            self.net.send(at, answer.as_bytes());
            self.net.take(at, usize::MAX);
            self.finish(at, now, CLOSE_MS);
            return true;
        }
        let opened = self.net.remote(at).map(|from| self.peer.open(now, from.into()));
        match opened {
            Some(Ok(link)) => {
                let until = Some(now.monotonic.plus(SESSION_MS));
                self.set(at, Role::Client { link, until, settled: false, blocked: false });
            }
            // Nobody is served, or too many are.
            Some(Err(_)) | None => {
                say!(debug, "a client is not served: socket {}", at);
                self.reset(at, now);
            }
        }
        true
    }

    pub(super) fn read_client(&mut self, at: usize, now: Now) -> bool {
        let Role::Client { link, until, settled, .. } = self.role(at) else { return false };
        let Shown { any, next } = self.show(at, |peer, bytes| peer.receive(now, link, bytes));
        match next {
            Next::Blocked => {
                self.set(at, Role::Client { link, until, settled, blocked: true });
            }
            Next::TooLong => {
                say!(debug, "a client's frame is longer than there is room for: socket {}", at);
                self.peer.closed(now, link);
                self.reset(at, now);
            }
            // Nothing more will come.
            Next::More if self.net.state(at) == State::Ended => {
                self.peer.closed(now, link);
                self.finish(at, now, CLOSE_MS);
            }
            Next::More => {}
        }
        any
    }

    /// Writes what the peer has for its clients, and closes what it wants closed. Answers whether
    /// there was anything.
    #[inline(never)] // its frame is not needed below what a peer does
    pub(super) fn write_clients(&mut self, now: Now) -> bool {
        let mut any = false;
        for _ in 0..LINKS {
            let Some(named) = self.peer.poll_link() else { break };
            for place in self.places.iter_mut() {
                if let Role::Client { link, blocked, .. } = &mut place.0
                    && *link == named
                {
                    any |= core::mem::replace(blocked, false);
                }
            }
        }
        for at in self.net.pool(Pool::Clients) {
            any |= self.write_client(at, now);
        }
        any
    }

    fn write_client(&mut self, at: usize, now: Now) -> bool {
        let Role::Client { link, until, blocked, .. } = self.role(at) else { return false };
        let sent = self.net.send(at, self.peer.output(link));
        if sent > 0 {
            self.peer.sent(now, link, sent);
        }
        if self.peer.is_closing(link) {
            if self.peer.output(link).is_empty() {
                self.peer.closed(now, link);
                self.finish(at, now, CLOSE_MS);
                return true;
            }
            let close = now.monotonic.plus(CLOSE_MS);
            let until = Some(until.map_or(close, |until| until.min(close)));
            self.set(at, Role::Client { link, until, settled: true, blocked });
        }
        sent > 0
    }
}
