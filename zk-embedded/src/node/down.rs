//! A board that stays down: it says why to whoever asks, and does nothing else.

use zk_core::time::Instant;

use super::{CLOSE_MS, FRAMES, HELLO_MS, Place, Role, SENDS};
use crate::net::phy::Device;
use crate::net::{Net, Pool, State, Unfit};

/// Sockets for clients on a board that does not serve: `ruok` is answered with why, and every other
/// connection is reset.
#[derive(Debug)]
pub struct Down<'m, D: Device> {
    net: Net<'m, D>,
    places: &'m mut [Place],
    port: u16,
    why: &'m [u8],
}

impl<'m, D: Device> Down<'m, D> {
    /// Says `why` on that port.
    ///
    /// # Errors
    /// [`Unfit`]: fewer places than sockets, or buffers that `why` does not fit.
    pub fn new(
        net: Net<'m, D>,
        places: &'m mut [Place],
        port: u16,
        why: &'m [u8],
    ) -> Result<Self, Unfit> {
        let mut clients = net.pool(Pool::Clients);
        if places.len() < clients.len() {
            return Err(Unfit("there are fewer places than sockets"));
        }
        if clients.any(|at| net.send_capacity(at) < why.len() + 1) {
            return Err(Unfit("an answer does not fit"));
        }
        Ok(Self { net, places, port, why })
    }

    /// The network.
    pub fn net(&self) -> &Net<'m, D> {
        &self.net
    }

    /// The network, for a board that has to tell its device something.
    pub fn net_mut(&mut self) -> &mut Net<'m, D> {
        &mut self.net
    }

    /// Does all that can be done now. Answers when to call again if no frame comes before.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        let mut more = true;
        for _ in 0..FRAMES {
            self.serve(now);
            more = self.net.poll_frame(now);
            if !more {
                break;
            }
        }
        self.serve(now);
        for _ in 0..SENDS {
            if !self.net.poll_send(now) {
                break;
            }
        }
        if more {
            return Some(now);
        }
        let late = self.places.iter().filter_map(|place| place.0.until()).min();
        [late, self.net.poll_timeout(now)].into_iter().flatten().min()
    }

    fn serve(&mut self, now: Instant) {
        let Self { net, places, port, why } = self;
        for (at, Place(role)) in net.pool(Pool::Clients).zip(places.iter_mut()) {
            let late = role.until().is_some_and(|until| until <= now);
            let state = net.state(at);
            match *role {
                Role::Greeting(_) | Role::Finishing(_) if late => net.abort(at),
                Role::Greeting(_) if matches!(state, State::Open | State::Ended) => {
                    let mut word = [0; 4];
                    let len = net.copy(at, &mut word);
                    if word == *b"ruok" {
                        net.send(at, why);
                        net.send(at, b"\n");
                        net.take(at, usize::MAX);
                        net.close(at);
                        *role = Role::Finishing(now.plus(CLOSE_MS));
                    } else if len == word.len() || state == State::Ended {
                        net.abort(at);
                    }
                }
                _ => {}
            }
            match net.state(at) {
                // The other side is told first.
                State::Closed if net.owes_reset(at) => *role = Role::Resetting(now.plus(CLOSE_MS)),
                State::Closed => {
                    *role = Role::Free;
                    net.listen(at, *port);
                }
                State::Opening | State::Open if *role == Role::Free => {
                    *role = Role::Greeting(now.plus(HELLO_MS));
                }
                _ => {}
            }
        }
    }
}
