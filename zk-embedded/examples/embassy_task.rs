//! A peer as a task of embassy's: it is polled when its time has come or a frame is there, and other tasks
//! run in between.
//!
//! It runs on this machine, with a flash in memory. The peer is the only member of its ensemble; a second
//! task, at the other end of a cable in memory, asks it until it leads:
//!
//! ```text
//! cargo run -p zk-embedded --example embassy_task
//! ```
//!
//! [`run`] is what a board takes. Its interrupt handler calls [`Arrived::signal`] when a frame has come; its
//! start, and what stands for hardware here, is as in `your_board.rs`.

mod stand_ins;

use core::net::Ipv4Addr;

use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::signal::Signal;
use embassy_time::{Timer, with_deadline};
use zk_core::time::Instant;
use zk_core::wire::provision::{PROVISION_MAX, Provision};
use zk_embedded::board::{self, Parts};
use zk_embedded::flash::{self, Blocking};
use zk_embedded::net::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use zk_embedded::net::{self, Buffers, Moment, Net, SocketStorage, State, Storage};
use zk_embedded::node::{Disk, Error, Node};
use zk_embedded::profile::{Ram, TINY};

use stand_ins::{Chip, Heap};

/// Says that a frame has come. It may say so too often: a call of the node in vain costs little.
type Arrived = Signal<CriticalSectionRawMutex, ()>;

/// A peer, for as long as it can go on: then the board has to start anew.
async fn run<D: Device, S: Disk>(mut node: Node<'_, D, S>, arrived: &Arrived) -> Error<S::Error> {
    loop {
        match node.poll(now()) {
            Ok(Some(until)) => {
                // Whichever is first; other tasks have their turn in any case.
                let until = embassy_time::Instant::from_millis(until.0);
                let _ = with_deadline(until, arrived.wait()).await;
            }
            Ok(None) => arrived.wait().await,
            Err(error) => return error,
        }
    }
}

/// Milliseconds since the start.
fn now() -> Instant {
    Instant(embassy_time::Instant::now().as_millis())
}

type Board = Node<'static, Port, flash::Disk<'static, Blocking<Chip>>>;

#[embassy_executor::task]
async fn peer(node: Board, arrived: &'static Arrived) {
    let error = run(node, arrived).await;
    // A board notes that, and starts anew.
    panic!("{error}");
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    static TO_BOARD: Line = Line::new();
    static FROM_BOARD: Line = Line::new();
    let mut chip = Blocking(Chip::provisioned());
    let mut room = [0; PROVISION_MAX];
    let provision = board::provision(&mut chip, &mut room).expect("`zk board provision` wrote it");
    let (address, port) = (provision.address, provision.client_port);
    let device = |_: &Provision<'_>| Port { comes: &TO_BOARD, goes: &FROM_BOARD };
    let parts = Parts { device, nor: chip, entropy: 0, reason: None, wall: None };
    let node = match board::start(&TINY, &mut Heap, parts, now()) {
        Ok(node) => node,
        Err(error) => panic!("{error}"),
    };
    spawner.spawn(peer(node, &TO_BOARD.arrived).expect("it is spawned once"));
    let mut client = Client::new(Port { comes: &FROM_BOARD, goes: &TO_BOARD });
    for (word, wanted) in [("ruok", "imok"), ("srvr", "Mode: leader")] {
        loop {
            let answer = client.ask(address, port, word).await;
            if answer.contains(wanted) {
                println!("{word}: {answer}");
                break;
            }
            Timer::after_millis(50).await;
        }
    }
    std::process::exit(0);
}

/// Frames that a line holds; what comes when it is full is lost.
const LINE: usize = 16;

/// A cable in one direction.
struct Line {
    frames: Channel<CriticalSectionRawMutex, Vec<u8>, LINE>,
    arrived: Arrived,
}

impl Line {
    const fn new() -> Self {
        Self { frames: Channel::new(), arrived: Signal::new() }
    }
}

/// An end of a cable: the driver of a board's MAC has rings in its place, and an interrupt.
struct Port {
    comes: &'static Line,
    goes: &'static Line,
}

struct Came(Vec<u8>);

struct Goes(&'static Line);

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Goes {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        if self.0.frames.try_send(frame).is_ok() {
            self.0.arrived.signal(());
        }
        result
    }
}

impl Device for Port {
    type RxToken<'a> = Came;
    type TxToken<'a> = Goes;

    fn receive(&mut self, _: Moment) -> Option<(Came, Goes)> {
        Some((Came(self.comes.frames.try_receive().ok()?), Goes(self.goes)))
    }

    fn transmit(&mut self, _: Moment) -> Option<Goes> {
        Some(Goes(self.goes))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut able = DeviceCapabilities::default();
        able.medium = Medium::Ethernet;
        able.max_transmission_unit = 1514;
        able
    }
}

/// Who asks: a socket at the other end of the cable.
struct Client {
    net: Net<'static, Port>,
    arrived: &'static Arrived,
}

impl Client {
    fn new(port: Port) -> Self {
        let arrived = &port.comes.arrived;
        let options = net::Options {
            hardware: Some([2, 0, 0, 0, 0, 9]),
            address: Ipv4Addr::new(10, 0, 0, 9),
            prefix: 24,
            gateway: None,
            seed: 1,
        };
        let buffers = |sockets| Buffers {
            sockets,
            receive: Heap.lend(1024 * sockets, || 0),
            transmit: Heap.lend(64 * sockets, || 0),
        };
        let storage = Storage {
            clients: buffers(1),
            carriers: buffers(0),
            election: buffers(0),
            quorum: buffers(0),
            sockets: Heap.lend(1, || SocketStorage::EMPTY),
        };
        let net = Net::new(port, storage, &options, now()).expect("one socket");
        Self { net, arrived }
    }

    /// What the other side answers to a word before it ends the connection.
    async fn ask(&mut self, address: Ipv4Addr, port: u16, word: &str) -> String {
        let (mut asked, mut answer) = (false, Vec::new());
        self.net.abort(0);
        self.net.poll_send(now());
        assert!(self.net.connect(0, address, port), "the socket is free");
        loop {
            while self.net.poll_frame(now()) {}
            let mut room = [0; 1024];
            let len = self.net.copy(0, &mut room);
            self.net.take(0, len);
            answer.extend_from_slice(&room[..len]);
            match self.net.state(0) {
                State::Open if !asked => asked = self.net.send(0, word.as_bytes()) == word.len(),
                State::Opening | State::Open => {}
                _ => return String::from_utf8_lossy(&answer).into_owned(),
            }
            while self.net.poll_send(now()) {}
            match self.net.poll_timeout(now()) {
                Some(until) => {
                    let until = embassy_time::Instant::from_millis(until.0);
                    let _ = with_deadline(until, self.arrived.wait()).await;
                }
                None => self.arrived.wait().await,
            }
        }
    }
}
