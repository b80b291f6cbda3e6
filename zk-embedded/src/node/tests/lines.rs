//! Boards on serial lines: each has one, to a router that knows where everybody is.

use core::net::Ipv4Addr;
use std::boxed::Box;
use std::collections::VecDeque;
use std::format;
use std::vec;
use std::vec::Vec;

use zk_core::peer::State;
use zk_core::time::Instant;
use zk_core::wire::client::PathWatch;
use zk_core::wire::provision::Provision;
use zk_core::wire::{Code, OpCode};

use super::memory::{CLIENTS, FLASH, Heap, PROFILE};
use super::world::{Client, Heard, World, address, net_options, sockets_of};
use crate::board::{self, Parts};
use crate::flash;
use crate::flash::simulated::Flash;
use crate::net::phy::{Device, RxToken, TxToken};
use crate::net::{Moment, Net};
use crate::node::Node;
use crate::profile::Profile;
use crate::serial::tests::{End, Shared, frame, line, serial};
use crate::serial::{Counts, Serial};

/// Boards; who comes behind them is a client.
const BOARDS: usize = 2;
const HOSTS: usize = BOARDS + 1;

/// Bytes that a line carries in a millisecond: at 115,200 baud.
const BYTES: usize = 12;

/// Packets that wait for a line at the router; what comes then is lost.
const QUEUE: usize = 8;

type Port = Serial<'static, End>;
type Board = Node<'static, Port, flash::Disk<'static, Flash>>;

struct Lines {
    now: u64,
    boards: [Option<Box<Board>>; BOARDS],
    client: Box<Client<Port>>,
    /// The router's ends, and what waits for them.
    router: [Port; HOSTS],
    queues: [VecDeque<Vec<u8>>; HOSTS],
    lines: Vec<Shared>,
    /// One byte of so many changes on its way.
    noise: u64,
    rng: u64,
}

impl Lines {
    fn new(noise: u64) -> Self {
        let now = 1000;
        let lines: Vec<Shared> = (0..2 * HOSTS).map(|_| line(BYTES, usize::MAX)).collect();
        let client = Net::new(
            serial(&lines[2 * BOARDS], &lines[2 * BOARDS + 1]),
            sockets_of(1, 4096),
            &net_options(BOARDS, 5),
            Instant(now),
        );
        let mut world = Self {
            now,
            boards: [None, None],
            client: Box::new(Client::new(client.unwrap(), BOARDS, &[0, 1], Instant(now))),
            router: core::array::from_fn(|at| serial(&lines[2 * at + 1], &lines[2 * at])),
            queues: [const { VecDeque::new() }; HOSTS],
            lines,
            noise,
            rng: 7,
        };
        for at in 0..BOARDS {
            let flash = World::provisioned(at, BOARDS, Flash::new(FLASH, 3));
            world.power_on(at, flash);
        }
        world
    }

    fn power_on(&mut self, at: usize, flash: Flash) {
        let device = |_: &Provision<'_>| serial(&self.lines[2 * at], &self.lines[2 * at + 1]);
        let parts = Parts { device, nor: flash, entropy: 0, reason: None, wall: None };
        let profile = Profile { clients: CLIENTS, ..PROFILE };
        let mut ram = Heap::default();
        let node = board::start(&profile, &mut ram, parts, Instant(self.now)).unwrap();
        self.boards[at] = Some(Box::new(node));
    }

    fn power_off(&mut self, at: usize) -> Flash {
        let (_, _, disk) = self.boards[at].take().unwrap().into_parts();
        disk.store().nor().cut(flash::simulated::Cut::After, 1)
    }

    /// A millisecond.
    fn step(&mut self) {
        let now = Instant(self.now);
        for board in self.boards.iter_mut().flatten() {
            board.poll(now).unwrap();
        }
        self.client.poll(now);
        self.disturb();
        for from in 0..HOSTS {
            let at = Moment::from_millis(self.now as i64);
            while let Some((packet, _)) = self.router[from].receive(at) {
                let packet = packet.consume(<[u8]>::to_vec);
                let to = packet.get(16..20).and_then(|to| to.first_chunk::<4>());
                let to = to.map(|to| Ipv4Addr::from(*to));
                let Some(to) = (0..HOSTS).find(|host| Some(address(*host)) == to) else { continue };
                if self.queues[to].len() < QUEUE {
                    self.queues[to].push_back(packet);
                }
            }
            if let Some(place) = self.router[from].transmit(at)
                && let Some(packet) = self.queues[from].pop_front()
            {
                place.consume(packet.len(), |to| to.copy_from_slice(&packet));
            }
        }
        self.disturb();
        self.now += 1;
    }

    fn disturb(&mut self) {
        if self.noise == 0 {
            return;
        }
        for line in &self.lines {
            for byte in &mut line.borrow_mut().bytes {
                self.rng ^= self.rng << 13;
                self.rng ^= self.rng >> 7;
                self.rng ^= self.rng << 17;
                if self.rng.is_multiple_of(self.noise) {
                    *byte = (self.rng >> 32) as u8;
                }
            }
        }
    }

    fn until(&mut self, what: &str, most_ms: u64, done: impl Fn(&Self) -> bool) {
        let end = self.now + most_ms;
        while !done(self) {
            assert!(self.now < end, "{what}: not in {most_ms} ms");
            self.step();
        }
    }

    fn serve(&self) -> bool {
        self.boards
            .iter()
            .all(|board| board.as_ref().is_some_and(|board| board.peer().is_serving()))
    }

    fn leader(&self) -> Option<usize> {
        self.boards.iter().position(|board| {
            board.as_ref().is_some_and(|board| board.peer().state() == State::Leading)
        })
    }

    fn heard(&mut self, most_ms: u64) -> Heard {
        self.until("a client hears something", most_ms, |lines| !lines.client.heard.is_empty());
        self.client.heard.remove(0)
    }

    fn create(&mut self, path: &str, data: &[u8]) {
        assert!(self.client.asks(path, data));
        let heard = self.heard(60_000);
        assert!(matches!(heard, Heard::Reply(Code::Ok, _)), "{heard:?}");
    }

    fn get(&mut self, path: &str) -> Vec<u8> {
        let request = PathWatch { path: path.into(), watch: false };
        self.client.session.submit(OpCode::GetData, &request).unwrap();
        let Heard::Reply(Code::Ok, body) = self.heard(60_000) else { panic!("no data") };
        let (len, rest) = body.split_first_chunk::<4>().unwrap();
        rest[..u32::from_be_bytes(*len) as usize].to_vec()
    }

    fn counts(&self) -> Vec<Counts> {
        let boards = self.boards.iter().flatten().map(|board| board.net().device().counts());
        boards.chain(self.router.iter().map(Serial::counts)).collect()
    }
}

#[test]
fn two_boards_on_serial_lines_elect_and_write() {
    let mut lines = Lines::new(0);
    lines.until("both serve", 60_000, Lines::serve);
    lines.until("the client is there", 60_000, |lines| lines.client.session.is_connected());
    lines.client.heard.clear();
    // Longer than a packet may be.
    let long = vec![7; 450];
    lines.create("/a", b"x");
    lines.create("/long", &long);
    assert_eq!(lines.get("/a"), b"x");
    assert_eq!(lines.get("/long"), long);
    for counts in lines.counts() {
        let Counts { received, sent, .. } = counts;
        assert_eq!(counts, Counts { received, sent, ..Counts::default() });
        assert!(received > 0 && sent > 0);
    }
    // The leader loses its power, and comes back.
    let leader = lines.leader().unwrap();
    let flash = lines.power_off(leader);
    lines.until("nobody serves", 60_000, |lines| {
        lines.boards.iter().flatten().all(|board| !board.peer().is_serving())
    });
    lines.power_on(leader, flash);
    lines.until("both serve again", 60_000, Lines::serve);
    lines.until("the client is back", 60_000, |lines| lines.client.session.is_connected());
    lines.client.heard.clear();
    assert_eq!(lines.get("/long"), long);
    lines.create("/b", b"z");
}

#[test]
fn what_is_no_packet_does_no_harm() {
    let mut lines = Lines::new(0);
    lines.until("both serve", 60_000, Lines::serve);
    let whole = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 102, 10, 0, 2, 101];
    let mut odd = vec![vec![], vec![0xff; 4], vec![0; 576], vec![0x60; 40]];
    odd.extend((1..=whole.len()).map(|len| whole[..len].to_vec()));
    for to in 0..BOARDS {
        for packet in &odd {
            // In place of what comes.
            let mut line = lines.lines[2 * to].borrow_mut();
            line.bytes = frame(packet).into();
            drop(line);
            lines.step();
        }
    }
    for counts in &lines.counts()[..BOARDS] {
        assert_eq!(counts.broken, 1, "nothing is no packet: {counts:?}");
        assert!(counts.received as usize >= odd.len() - 1, "{counts:?}");
    }
    lines.until("both serve", 60_000, Lines::serve);
    lines.until("the client is there", 60_000, |lines| lines.client.session.is_connected());
    lines.client.heard.clear();
    lines.create("/a", b"x");
    assert_eq!(lines.get("/a"), b"x");
}

#[test]
fn noise_on_the_lines_costs_time_alone() {
    // About one of ten frames is hit.
    let mut lines = Lines::new(2000);
    lines.until("both serve", 300_000, Lines::serve);
    let mut written = 0;
    while written < 8 {
        lines.until("a session", 300_000, |lines| lines.client.session.is_connected());
        lines.client.heard.clear();
        if !lines.client.asks(&format!("/n{written}"), &[5; 300]) {
            continue;
        }
        // The session may have moved meanwhile: nobody knows then, and it is asked again.
        match lines.heard(300_000) {
            Heard::Reply(Code::Ok | Code::NodeExists, _) => written += 1,
            Heard::Reply(code, _) => assert_eq!(code, Code::ConnectionLoss),
            _ => {}
        }
    }
    lines.until("both have all", 300_000, |lines| {
        let found = |board: &Board| {
            (0..8).all(|n| board.peer().tree().find(format!("/n{n}").as_bytes()).is_some())
        };
        lines.boards.iter().flatten().all(|board| found(board))
    });
    let damaged: u32 = lines.counts().iter().map(|counts| counts.damaged + counts.broken).sum();
    assert!(damaged > 10, "{damaged} frames were hit");
}
