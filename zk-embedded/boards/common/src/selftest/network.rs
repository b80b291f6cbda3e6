//! Two boards exchange bytes over TCP.

use core::net::Ipv4Addr;

use semihosting::println;
use zk_core::time::Instant;
use zk_embedded::net::{Buffers, Net, Options, SocketStorage, State, Storage};

use crate::clock::Clock;
use crate::ethernet::Mac;

const PORT: u16 = 2181;

/// Echoes, and bytes of each.
const ROUNDS: u32 = 500;
const ECHO: usize = 32;

/// Frames that come behind the echoes while nobody takes any, more than any ring has room for, and
/// bytes of each.
const BURST: usize = 64;
const BIT: usize = 16;
/// Milliseconds for which nobody takes them.
const NAP_MS: u64 = 300;

/// Bytes that go one way behind them.
const BULK: usize = 64 * 1024;
/// Bytes that are handed over at once.
const PART: usize = 512;

/// What is answered to them.
const VERDICT: [u8; 8] = *b"received";

/// Milliseconds after which two boards that run cannot be meant to go on.
const CEILING_MS: u64 = 60_000;

/// Bytes that a socket has room for, each way.
const ROOM: usize = 512;

/// Frames that one turn takes, and sends.
const FRAMES: usize = 16;

/// The bytes of both ways are those of their place.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8)) as u8
}

fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, 100 + node)
}

/// One socket, and the turns that serve it.
struct Wire<'m, 'c, D: Mac, C> {
    net: Net<'m, D>,
    clock: &'c mut C,
    end: Instant,
}

impl<D: Mac, C: Clock> Wire<'_, '_, D, C> {
    /// Takes, sends and sleeps until something has happened. `what` is waited for.
    fn turn(&mut self, what: &str) {
        let now = self.clock.now();
        assert!(now < self.end, "no {what} in {CEILING_MS} ms; {:?}", self.net.state(0));
        let mut any = false;
        for _ in 0..FRAMES {
            any |= self.net.poll_frame(now);
        }
        for _ in 0..FRAMES {
            any |= self.net.poll_send(now);
        }
        if !any {
            let next = self.net.poll_timeout(now).unwrap_or(self.end).min(self.end);
            let Self { net, clock, .. } = self;
            clock.sleep_until(Some(next), || net.device().is_ready());
        }
    }

    fn send(&mut self, bytes: &[u8], what: &str) {
        let mut sent = 0;
        while sent < bytes.len() {
            sent += self.net.send(0, &bytes[sent..]);
            self.turn(what);
        }
    }

    /// Takes what has come, at most `most` bytes.
    fn take(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> usize {
        let bytes = self.net.peek(0);
        let bytes = &bytes[..bytes.len().min(most)];
        each(bytes);
        let len = bytes.len();
        self.net.take(0, len);
        len
    }

    fn receive<const N: usize>(&mut self, what: &str) -> [u8; N] {
        let mut all = [0; N];
        let mut len = 0;
        loop {
            let rest = &mut all[len..];
            len += self.take(rest.len(), |bytes| rest[..bytes.len()].copy_from_slice(bytes));
            if len == N {
                return all;
            }
            self.turn(what);
        }
    }
}

fn with_wire<D: Mac, C: Clock>(
    clock: &mut C,
    mac: impl FnOnce([u8; 6]) -> D,
    node: u8,
    then: impl FnOnce(Wire<'_, '_, D, C>),
) {
    let hardware = [0x02, 0, 0, 0, 0, node];
    let (mut sockets, mut receive, mut transmit) =
        ([SocketStorage::EMPTY; 1], [0; ROOM], [0; ROOM]);
    let none = || Buffers { sockets: 0, receive: &mut [], transmit: &mut [] };
    let storage = Storage {
        sockets: &mut sockets,
        clients: Buffers { sockets: 1, receive: &mut receive, transmit: &mut transmit },
        carriers: none(),
        election: none(),
        quorum: none(),
    };
    let options = Options {
        hardware: Some(hardware),
        address: address(node),
        prefix: 24,
        gateway: None,
        seed: u64::from(node) << 32,
    };
    let now = clock.now();
    let net = Net::new(mac(hardware), storage, &options, now).expect("an interface");
    then(Wire { net, clock, end: now.plus(CEILING_MS) });
}

/// Answers every echo, is away while a burst comes, checks the bytes that come one way, and says so.
#[inline(never)] // on its own, its frame fits a board's stack
pub(super) fn listen<D: Mac>(clock: &mut impl Clock, mac: impl FnOnce([u8; 6]) -> D, node: u8) {
    with_wire(clock, mac, node, |mut wire| {
        assert!(wire.net.listen(0, PORT), "a closed socket listens");
        println!("listening");
        while !matches!(wire.net.state(0), State::Open | State::Ended) {
            wire.turn("connection");
        }
        for _ in 0..ROUNDS {
            let bytes: [u8; ECHO] = wire.receive("echo to answer");
            wire.send(&bytes, "room for an echo");
        }
        let nap = wire.clock.now().plus(NAP_MS);
        wire.clock.sleep_until(Some(nap), || false);
        for at in 0..BURST {
            assert_eq!(wire.receive("frame of a burst"), [pattern(at); BIT]);
        }
        let mut len = 0;
        loop {
            len += wire.take(BULK - len, |bytes| {
                let wrong = bytes.iter().zip(len..).find(|(byte, at)| **byte != pattern(*at));
                assert!(wrong.is_none(), "another byte than was sent: {wrong:?}");
            });
            if len == BULK {
                break;
            }
            wire.turn("bytes");
        }
        wire.send(&VERDICT, "room for the verdict");
        // The other side resets the connection when it knows.
        while wire.net.state(0) != State::Closed {
            wire.turn("end of the connection");
        }
        println!("listened");
    });
}

/// Sends echoes, a burst, bytes one way, and waits for the verdict.
#[inline(never)] // on its own, its frame fits a board's stack
pub(super) fn connect<D: Mac>(
    clock: &mut impl Clock,
    mac: impl FnOnce([u8; 6]) -> D,
    node: u8,
    to: u8,
) {
    with_wire(clock, mac, node, |mut wire| {
        assert!(wire.net.connect(0, address(to), PORT), "a closed socket connects");
        while wire.net.state(0) != State::Open {
            wire.turn("connection");
            assert_ne!(wire.net.state(0), State::Closed, "the connection was refused");
        }
        let start = wire.clock.now();
        for round in 0..ROUNDS {
            let bytes: [u8; ECHO] = core::array::from_fn(|n| pattern(round as usize * ECHO + n));
            wire.send(&bytes, "room for an echo");
            let answer: [u8; ECHO] = wire.receive("echo");
            assert!(answer == bytes, "echo {round} is {answer:x?}");
        }
        let echoed = wire.clock.now();
        for at in 0..BURST {
            wire.send(&[pattern(at); BIT], "room for a burst");
        }
        for from in (0..BULK).step_by(PART) {
            let bytes: [u8; PART] = core::array::from_fn(|n| pattern(from + n));
            wire.send(&bytes, "room for bytes");
        }
        assert_eq!(wire.receive("verdict"), VERDICT);
        let end = wire.clock.now();
        println!(
            "{ROUNDS} echoes in {} ms; a burst that is lost in part, and {BULK} bytes, in {} ms",
            echoed.since(start),
            end.since(echoed)
        );
        wire.net.abort(0);
        while wire.net.owes_reset(0) {
            wire.turn("reset that is sent");
        }
        println!("connected");
    });
}
