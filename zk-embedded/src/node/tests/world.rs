//! Boards and clients on a switch of ours, in virtual time.

use core::cell::Cell;
use core::net::Ipv4Addr;
use std::boxed::Box;
use std::collections::VecDeque;
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use zk_core::client::{Config, Event, Session, Storage};
use zk_core::id::ServerId;
use zk_core::peer::State;
use zk_core::time::Instant;
use zk_core::wire::client::{
    CreateRequest, MultiHeader, OPEN_ACL_UNSAFE, PathVersion, PathWatch, SetDataRequest,
};
use zk_core::wire::jute::{Buffer, List};
use zk_core::wire::provision::{self, PROVISION_MAX, Provision};
use zk_core::wire::{Code, OpCode};

use super::memory::{FLASH, Heap, PROFILE, SERVERS};
use crate::board::{self, Parts};
use crate::flash::simulated::{Flash, Geometry};
use crate::flash::{self, Rated, Rating};
use crate::net::phy::{self, Device, DeviceCapabilities, Medium};
use crate::net::{self, Buffers, Net, SocketStorage};
use crate::node::{Down, Node};
use crate::profile::Profile;

/// The port of clients.
pub(super) const CLIENT: u16 = 2181;
pub(super) const QUORUM: u16 = 2888;
pub(super) const ELECTION: u16 = 3888;

/// A network card: frames that have come, frames that go.
#[derive(Debug, Default)]
pub(super) struct Card {
    inbox: VecDeque<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
}

impl Device for Card {
    type RxToken<'a> = Came;
    type TxToken<'a> = Goes<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn receive(&mut self, _: net::Moment) -> Option<(Came, Goes<'_>)> {
        let frame = self.inbox.pop_front()?;
        Some((Came(frame), Goes(&mut self.outbox)))
    }

    fn transmit(&mut self, _: net::Moment) -> Option<Goes<'_>> {
        Some(Goes(&mut self.outbox))
    }
}

#[derive(Debug)]
pub(super) struct Came(Vec<u8>);

impl phy::RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

#[derive(Debug)]
pub(super) struct Goes<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Goes<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

fn hardware(port: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, port as u8 + 1]
}

pub(super) fn address(port: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, 101 + port as u8)
}

pub(super) fn net_options(port: usize, seed: u64) -> net::Options {
    net::Options {
        hardware: Some(hardware(port)),
        address: address(port),
        prefix: 24,
        gateway: None,
        seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ port as u64,
    }
}

/// Memory for so many sockets of a client, with so many bytes each for what comes.
pub(super) fn sockets_of(sockets: usize, receive: usize) -> net::Storage<'static> {
    let none = || Buffers { sockets: 0, receive: &mut [], transmit: &mut [] };
    let leak = |len: usize| Box::leak(vec![0; len].into_boxed_slice());
    let slots: Vec<SocketStorage<'static>> =
        core::iter::repeat_with(|| SocketStorage::EMPTY).take(sockets).collect();
    net::Storage {
        sockets: Box::leak(slots.into_boxed_slice()),
        clients: Buffers {
            sockets,
            receive: leak(sockets * receive),
            transmit: leak(sockets * 4096),
        },
        carriers: none(),
        election: none(),
        quorum: none(),
    }
}

pub(super) type Board =
    Node<'static, Card, flash::Disk<'static, Rated<Flash, Box<dyn Fn() -> Instant>>>>;

/// What an application has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Connected,
    Disconnected,
    Ended,
    Reply(Code, Vec<u8>),
    Watch(i32, String),
}

/// An ordinary client, on a network of its own.
pub(super) struct Client<D: Device = Card> {
    pub(super) net: Net<'static, D>,
    pub(super) session: Session<'static>,
    hosts: Vec<usize>,
    dialling: bool,
    unsent: Vec<u8>,
    pub(super) heard: Vec<Heard>,
    /// When it last took something that had come.
    pub(super) heard_at: Instant,
}

impl<D: Device> Client<D> {
    /// A client of these boards, at that port.
    pub(super) fn new(net: Net<'static, D>, port: usize, hosts: &[usize], now: Instant) -> Self {
        let config =
            Config { hosts: hosts.len(), timeout: 10_000, seed: port as u64, ..Config::default() };
        Self {
            net,
            session: Session::new(config, Storage::owned(), now),
            hosts: hosts.to_vec(),
            dialling: false,
            unsent: vec![],
            heard: vec![],
            heard_at: now,
        }
    }

    /// Asks for a node; false if nobody can be asked.
    pub(super) fn asks(&mut self, path: &str, data: &[u8]) -> bool {
        let mut room = [0; 64];
        let request = CreateRequest {
            path: path.into(),
            data: Buffer(Some(data)),
            acl: List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap(),
            flags: 0,
        };
        self.session.submit(OpCode::Create, &request).is_ok()
    }

    pub(super) fn sets(&mut self, path: &str, data: &[u8]) {
        let request = SetDataRequest { path: path.into(), data: Buffer(Some(data)), version: -1 };
        self.session.submit(OpCode::SetData, &request).unwrap();
    }

    pub(super) fn gets(&mut self, path: &str) {
        let request = PathWatch { path: path.into(), watch: false };
        self.session.submit(OpCode::GetData, &request).unwrap();
    }

    /// Asks whether a node is there, and to be told of it.
    pub(super) fn watches(&mut self, path: &str) {
        let request = PathWatch { path: path.into(), watch: true };
        self.session.submit(OpCode::Exists, &request).unwrap();
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<Instant> {
        while self.net.poll_frame(now) {}
        if let Some(host) = self.session.poll_dial(now) {
            self.net.abort(0);
            self.unsent.clear();
            assert!(self.net.connect(0, address(self.hosts[host]), CLIENT));
            self.dialling = true;
        }
        match self.net.state(0) {
            net::State::Open if self.dialling => {
                self.dialling = false;
                self.session.handle_connected(now);
            }
            net::State::Closed | net::State::Ended if self.net.received(0) == 0 => {
                self.dialling = false;
                self.session.handle_disconnected(now);
            }
            _ => {}
        }
        self.session.handle_timeout(now);
        let mut room = vec![0; 8192];
        let len = self.net.copy(0, &mut room);
        let mut rest = &room[..len];
        loop {
            let taken = self.session.receive(now, rest);
            if taken.consumed == 0 {
                break;
            }
            rest = &rest[taken.consumed..];
            let heard = taken.event.map(hear);
            self.heard.extend(heard.flatten());
        }
        let consumed = len - rest.len();
        if consumed > 0 {
            self.heard_at = now;
        }
        self.net.take(0, consumed);
        while let Some(event) = self.session.poll_event() {
            self.heard.extend(hear(event));
        }
        if self.unsent.is_empty() {
            let len = self.session.transmit(now, &mut room);
            self.unsent = room[..len].to_vec();
        }
        let sent = self.net.send(0, &self.unsent);
        self.unsent.drain(..sent);
        while self.net.poll_send(now) {}
        let net = self.net.poll_timeout(now);
        [net, self.session.poll_timeout()].into_iter().flatten().min()
    }
}

fn hear(event: Event<'_>) -> Option<Heard> {
    Some(match event {
        Event::Connected { .. } | Event::Reconnected { .. } => Heard::Connected,
        Event::Disconnected(_) => Heard::Disconnected,
        Event::Expired | Event::Closed | Event::AuthFailed => Heard::Ended,
        Event::Reply(reply) => Heard::Reply(reply.header.err, reply.body.to_vec()),
        Event::Watch(watch) => {
            let path = watch.path.bytes();
            Heard::Watch(watch.kind, String::from_utf8(path.to_vec()).unwrap())
        }
        Event::WatchesRefused(_) => return None,
    })
}

/// Sockets whose bytes a test writes itself.
pub(super) struct Raw {
    pub(super) net: Net<'static, Card>,
}

impl Raw {
    fn poll(&mut self, now: Instant) -> Option<Instant> {
        while self.net.poll_frame(now) {}
        while self.net.poll_send(now) {}
        self.net.poll_timeout(now)
    }

    /// All that has come.
    pub(super) fn read(&mut self, at: usize) -> Vec<u8> {
        let mut room = vec![0; 8192];
        let len = self.net.copy(at, &mut room);
        self.net.take(at, len);
        room.truncate(len);
        room
    }
}

/// Who is at a port of the switch.
pub(super) enum Host {
    Board(Box<Board>),
    Client(Box<Client>),
    Raw(Box<Raw>),
    Down(Box<Down<'static, Card>>),
    /// Its power is off.
    Off,
}

/// The switch, and all that is at it.
pub(super) struct World {
    pub(super) now: u64,
    /// What the boards' clocks say when they start, if they have clocks.
    pub(super) wall: Option<i64>,
    /// Why boards that start were reset.
    pub(super) reason: Option<&'static [u8]>,
    pub(super) hosts: Vec<Host>,
    wakes: Vec<Option<u64>>,
    /// Frames on their way: when they arrive, at which port.
    frames: VecDeque<(u64, usize, Vec<u8>)>,
    /// Ports that are cut off.
    pub(super) cut: Vec<bool>,
    /// One frame of so many is lost.
    pub(super) lose: u64,
    pub(super) lost: u64,
    /// Mixed from all that was sent, and when.
    pub(super) trace: u64,
    /// The most connections that were asked for in frames that one poll of a board took.
    pub(super) most_syns: usize,
    rng: u64,
    /// RAM that was lent to one board.
    pub(super) ram: usize,
    /// Whether boards have sockets for packets besides those for votes.
    apart: bool,
    /// How long a board's flash takes.
    rating: Rating,
    /// What a board's flash takes for the time.
    clock: Rc<Cell<u64>>,
}

/// Milliseconds that a frame is on its way.
const DELAY: u64 = 1;
/// How often a board looks at its clock in a millisecond, if it does nothing else.
const LOOKS: u32 = 100;

impl World {
    /// Three boards, new.
    pub(super) fn new(seed: u64, clients: usize) -> Self {
        Self::slow(seed, clients, 1)
    }

    /// Three boards with sockets for packets besides those for votes, as among Apache's servers.
    pub(super) fn apart(seed: u64, clients: usize) -> Self {
        Self::of((seed, true), clients, (FLASH, 1), Rating::default())
    }

    /// Three boards whose flash is busy so often after each operation.
    pub(super) fn slow(seed: u64, clients: usize, latency: u32) -> Self {
        Self::with(seed, clients, FLASH, latency)
    }

    /// The same, on flashes of that size.
    pub(super) fn with(seed: u64, clients: usize, geometry: Geometry, latency: u32) -> Self {
        Self::rated(seed, clients, (geometry, latency), Rating::default())
    }

    /// The same, on flashes that take so long.
    pub(super) fn rated(
        seed: u64,
        clients: usize,
        (geometry, latency): (Geometry, u32),
        rating: Rating,
    ) -> Self {
        Self::of((seed, false), clients, (geometry, latency), rating)
    }

    fn of(
        (seed, apart): (u64, bool),
        clients: usize,
        (geometry, latency): (Geometry, u32),
        rating: Rating,
    ) -> Self {
        let mut world = Self {
            now: 1000,
            wall: Some(1_700_000_000_000),
            reason: None,
            hosts: vec![],
            wakes: vec![],
            frames: VecDeque::new(),
            cut: vec![],
            lose: 0,
            lost: 0,
            trace: 0,
            most_syns: 0,
            rng: seed | 1,
            ram: 0,
            apart,
            rating,
            clock: Rc::default(),
        };
        for port in 0..SERVERS {
            let mut flash = Flash::new(geometry, seed);
            flash.latency = latency;
            let board = world.board(port, Self::provisioned(port, SERVERS, flash), clients);
            world.plug(Host::Board(board.into()));
        }
        world
    }

    fn random(&mut self) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng
    }

    /// Writes who a board is, of so many, to the first block of its flash.
    pub(super) fn provisioned(port: usize, servers: usize, mut flash: Flash) -> Flash {
        let config: String = (0..servers)
            .map(|n| {
                format!(
                    "server.{}={}:{QUORUM}:{ELECTION}:participant;0.0.0.0:{CLIENT}\n",
                    n + 1,
                    address(n)
                )
            })
            .chain(["version=0".to_string()])
            .collect();
        let provision = Provision {
            server: ServerId(port as i64 + 1),
            hardware: hardware(port),
            address: address(port),
            prefix: 24,
            gateway: None,
            client_port: CLIENT,
            config: &config,
        };
        let mut image = flash.image().to_vec();
        provision::encode(&provision, &mut image).unwrap();
        flash.set_image(&image);
        flash
    }

    /// Starts a board from its flash.
    fn board(&mut self, port: usize, flash: Flash, clients: usize) -> Board {
        let mut ram = Heap::default();
        let device = |provision: &Provision<'_>| {
            assert_eq!(provision.address, address(port));
            Card::default()
        };
        let blocks = flash.geometry().blocks - 1;
        let clock = Rc::clone(&self.clock);
        clock.set(self.now);
        let looks = Cell::new(0u32);
        let time: Box<dyn Fn() -> Instant> = Box::new(move || {
            // Whoever only waits takes time as well.
            looks.set(looks.get() + 1);
            if looks.get().is_multiple_of(LOOKS) {
                clock.set(clock.get() + 1);
            }
            Instant(clock.get())
        });
        let parts = Parts {
            device,
            nor: Rated::new(flash, time, self.rating, |_| {}),
            entropy: 0,
            reason: self.reason,
            wall: self.wall,
        };
        let profile = Profile { clients, blocks, apart: self.apart, ..PROFILE };
        let at = Instant(self.now);
        let board = board::start(&profile, &mut ram, parts, at).unwrap();
        self.ram = ram.0 + size_of::<Board>();
        board
    }

    /// Puts a cable in: at which port.
    fn plug(&mut self, host: Host) -> usize {
        self.hosts.push(host);
        self.wakes.push(Some(self.now));
        self.cut.push(false);
        self.hosts.len() - 1
    }

    fn card(
        sockets: usize,
        port: usize,
        seed: u64,
        receive: usize,
        now: u64,
    ) -> Net<'static, Card> {
        let storage = sockets_of(sockets, receive);
        Net::new(Card::default(), storage, &net_options(port, seed), Instant(now)).unwrap()
    }

    /// A client of these boards.
    pub(super) fn client(&mut self, hosts: &[usize]) -> usize {
        let port = self.hosts.len();
        let net = Self::card(1, port, 77, 4096, self.now);
        let client = Client::new(net, port, hosts, Instant(self.now));
        self.plug(Host::Client(client.into()))
    }

    /// Sockets without a protocol, with so many bytes for what comes.
    pub(super) fn raw(&mut self, sockets: usize, receive: usize) -> usize {
        let port = self.hosts.len();
        let net = Self::card(sockets, port, 99, receive, self.now);
        self.plug(Host::Raw(Raw { net }.into()))
    }

    /// The same, in the place of a board whose power is off.
    pub(super) fn raw_at(&mut self, port: usize, sockets: usize, receive: usize) -> usize {
        let net = Self::card(sockets, port, 99, receive, self.now);
        self.hosts[port] = Host::Raw(Raw { net }.into());
        self.wakes[port] = Some(self.now);
        port
    }

    pub(super) fn raw_state(&self, port: usize, at: usize) -> net::State {
        let Host::Raw(raw) = &self.hosts[port] else { panic!("no sockets at {port}") };
        raw.net.state(at)
    }

    pub(super) fn is_connected(&self, port: usize) -> bool {
        matches!(&self.hosts[port], Host::Client(client) if client.session.is_connected())
    }

    /// How many replies a client has heard that were not looked at.
    pub(super) fn answers(&self, port: usize) -> usize {
        let Host::Client(client) = &self.hosts[port] else { return 0 };
        client.heard.iter().filter(|heard| matches!(heard, Heard::Reply(..))).count()
    }

    pub(super) fn at(&self, port: usize) -> &Board {
        let Host::Board(board) = &self.hosts[port] else { panic!("no board at port {port}") };
        board
    }

    pub(super) fn session(&mut self, port: usize) -> &mut Client {
        let Host::Client(client) = &mut self.hosts[port] else { panic!("no client at {port}") };
        self.wakes[port] = Some(self.now);
        client
    }

    pub(super) fn sockets(&mut self, port: usize) -> &mut Raw {
        let Host::Raw(raw) = &mut self.hosts[port] else { panic!("no sockets at {port}") };
        self.wakes[port] = Some(self.now);
        raw
    }

    /// Power off: what is left is the flash.
    pub(super) fn power_off(&mut self, port: usize) -> Flash {
        let Host::Board(board) = core::mem::replace(&mut self.hosts[port], Host::Off) else {
            panic!("no board at port {port}")
        };
        self.wakes[port] = None;
        let (_, _, disk) = board.into_parts();
        disk.store().nor().get().cut(flash::simulated::Cut::After, self.now)
    }

    pub(super) fn power_on(&mut self, port: usize, flash: Flash, clients: usize) {
        let board = self.board(port, flash, clients);
        self.hosts[port] = Host::Board(board.into());
        self.wakes[port] = Some(self.now);
    }

    /// A board starts, and stays down.
    pub(super) fn stay_down(&mut self, port: usize, mut flash: Flash, why: &'static [u8]) {
        let mut room = [0; PROVISION_MAX];
        let provision = board::provision(&mut flash, &mut room).unwrap();
        let (mut ram, at) = (Heap::default(), Instant(self.now));
        let down =
            board::stay_down(&PROFILE, &mut ram, &provision, Card::default(), why, at).unwrap();
        self.hosts[port] = Host::Down(down.into());
        self.wakes[port] = Some(self.now);
    }

    /// Who leads, if somebody does and others follow.
    pub(super) fn leader(&self) -> Option<usize> {
        (0..SERVERS).find(|&port| {
            matches!(&self.hosts[port], Host::Board(board)
                if board.peer().state() == State::Leading && board.peer().is_serving())
        })
    }

    /// Whether the board serves.
    pub(super) fn serves(&self, port: usize) -> bool {
        matches!(&self.hosts[port], Host::Board(board) if board.peer().is_serving())
    }

    /// One moment: frames arrive, whoever has something to do does it.
    pub(super) fn step(&mut self) {
        for _ in 0..self.frames.len() {
            let Some((at, port, frame)) = self.frames.pop_front() else { break };
            if at > self.now {
                self.frames.push_back((at, port, frame));
                continue;
            }
            let card = match &mut self.hosts[port] {
                Host::Board(board) => board.net_mut().device_mut(),
                Host::Client(client) => client.net.device_mut(),
                Host::Raw(raw) => raw.net.device_mut(),
                Host::Down(down) => down.net_mut().device_mut(),
                Host::Off => continue,
            };
            card.inbox.push_back(frame);
            self.wakes[port] = Some(self.now);
        }
        // A board that has started may have waited for its flash.
        self.now = self.now.max(self.clock.get());
        let now = Instant(self.now);
        self.clock.set(self.now);
        for port in 0..self.hosts.len() {
            // A board that says "at once" is asked again; if it never stops, time goes on.
            for _ in 0..20 {
                if self.wakes[port].is_none_or(|at| at > self.now) {
                    break;
                }
                let wake = match &mut self.hosts[port] {
                    Host::Board(board) => {
                        let inbox = &board.net().device().inbox;
                        let syns = inbox.iter().filter(|frame| is_syn(frame)).count();
                        self.most_syns = self.most_syns.max(syns);
                        board.poll(now).unwrap()
                    }
                    Host::Client(client) => client.poll(now),
                    Host::Raw(raw) => raw.poll(now),
                    Host::Down(down) => down.poll(now),
                    Host::Off => None,
                };
                self.wakes[port] = wake.map(|at| at.0);
            }
            self.carry(port);
        }
        let frames = self.frames.iter().map(|(at, ..)| *at);
        let next = self.wakes.iter().flatten().copied().chain(frames).min();
        let next = next.expect("nobody has anything to do any more");
        self.now = next.max(self.now + 1);
    }

    /// Puts what a host sends on its way.
    fn carry(&mut self, from: usize) {
        let outbox = match &mut self.hosts[from] {
            Host::Board(board) => &mut board.net_mut().device_mut().outbox,
            Host::Client(client) => &mut client.net.device_mut().outbox,
            Host::Raw(raw) => &mut raw.net.device_mut().outbox,
            Host::Down(down) => &mut down.net_mut().device_mut().outbox,
            Host::Off => return,
        };
        let sent: Vec<Vec<u8>> = outbox.drain(..).collect();
        for frame in sent {
            for byte in self.now.to_le_bytes().iter().chain(&frame) {
                self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
            for to in 0..self.hosts.len() {
                let wanted = frame[..6] == [0xff; 6] || frame[..6] == hardware(to);
                if to == from || !wanted || self.cut[from] || self.cut[to] {
                    continue;
                }
                if self.lose > 0 && self.random().is_multiple_of(self.lose) {
                    self.lost += 1;
                    continue;
                }
                self.frames.push_back((self.now + DELAY, to, frame.clone()));
            }
        }
    }

    /// Goes on until that holds.
    pub(super) fn until(&mut self, what: &str, most_ms: u64, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + most_ms;
        while !done(self) {
            assert!(self.now < end, "{what}: not in {most_ms} ms\n{}", self.show());
            self.step();
        }
    }

    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    fn show(&self) -> String {
        let mut text = String::new();
        for (port, host) in self.hosts.iter().enumerate() {
            let line = match host {
                Host::Board(board) => format!(
                    "{:?} serving {} zxid {} {:?}",
                    board.peer().state(),
                    board.peer().is_serving(),
                    board.peer().tree().last_zxid(),
                    board.places
                ),
                Host::Client(client) => format!("{:?}", client.heard),
                Host::Raw(raw) => {
                    (0..raw.net.len()).map(|at| format!("{:?} ", raw.net.state(at))).collect()
                }
                Host::Down(_) => "down".to_string(),
                Host::Off => "off".to_string(),
            };
            text += &format!("{port}: {line}\n");
        }
        text
    }

    // What a client does.

    /// Waits for the next thing that a client hears.
    pub(super) fn heard(&mut self, client: usize, most_ms: u64) -> Heard {
        self.until("a client hears something", most_ms, |world| {
            matches!(&world.hosts[client], Host::Client(client) if !client.heard.is_empty())
        });
        self.session(client).heard.remove(0)
    }

    pub(super) fn replied(&mut self, client: usize) -> (Code, Vec<u8>) {
        match self.heard(client, 20_000) {
            Heard::Reply(code, body) => (code, body),
            other => panic!("{other:?} instead of a reply"),
        }
    }

    pub(super) fn create(&mut self, client: usize, path: &str, data: &[u8]) -> Code {
        assert!(self.session(client).asks(path, data));
        self.replied(client).0
    }

    /// The data of a node, with a stat behind it.
    pub(super) fn get(&mut self, client: usize, path: &str, watch: bool) -> (Code, Vec<u8>) {
        let request = PathWatch { path: path.into(), watch };
        self.session(client).session.submit(OpCode::GetData, &request).unwrap();
        let (code, body) = self.replied(client);
        let Some((len, rest)) = body.split_first_chunk::<4>() else { return (code, vec![]) };
        (code, rest[..u32::from_be_bytes(*len) as usize].to_vec())
    }

    pub(super) fn set(&mut self, client: usize, path: &str, data: &[u8]) -> Code {
        self.session(client).sets(path, data);
        self.replied(client).0
    }

    /// All of these, or none.
    pub(super) fn multi(&mut self, client: usize, operations: &impl serde::Serialize) -> Code {
        let request = (operations, MultiHeader::END);
        self.session(client).session.submit(OpCode::Multi, &request).unwrap();
        self.replied(client).0
    }

    pub(super) fn delete(&mut self, client: usize, path: &str) -> Code {
        let request = PathVersion { path: path.into(), version: -1 };
        self.session(client).session.submit(OpCode::Delete, &request).unwrap();
        self.replied(client).0
    }

    pub(super) fn digest(&self, port: usize) -> (i64, i64, usize) {
        let tree = self.at(port).peer().tree();
        (tree.last_zxid().0, tree.digest(), tree.node_count())
    }
}

/// Whether a frame asks for a connection.
fn is_syn(frame: &[u8]) -> bool {
    // Ethernet, IPv4 without options, TCP: the flags.
    frame.len() > 47 && frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] & 0x12 == 0x02
}
