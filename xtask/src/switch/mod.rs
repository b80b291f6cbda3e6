//! An Ethernet switch between emulated boards, with the host plugged in as well.
//!
//! A board's cable is a pair of Unix datagram sockets: QEMU sends to `swN.sock` and listens at
//! `nodeN.sock` (`-netdev dgram`). Or it is a serial line, a stream that QEMU opens to `swN.sock`
//! (`-chardev socket`), and [`line`] makes frames of it. What the switch does is [`fabric`]'s, what the host
//! does there is [`host`]'s; here are the sockets and the time. Port 0 is the host's, port N the board's of that number.

pub(crate) mod fabric;
pub(crate) mod host;
mod lease;
mod line;
#[cfg(test)]
mod tests;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mio::net::{UnixDatagram, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use fabric::{Counts, Fabric, LONGEST, Micros};
use host::Host;
use line::{Done, Line};

/// The host's port.
pub(crate) const HOST: fabric::Port = 0;

/// The longest that the switch sleeps: what it measures of itself is worth no more than that.
const TICK: Duration = Duration::from_millis(10);

/// Frames that are taken from a cable before the next one has its turn.
const FRAMES_AT_ONCE: usize = 64;

/// Bytes that wait for a board on a serial line: frames that come then are lost.
const LINE_MAX: usize = 16 << 10;

/// What wakes the switch: cables, the host's connections, orders.
const AWAKE: Token = Token(0);

/// How a switch is built.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where the sockets are.
    pub(crate) dir: PathBuf,
    /// How many boards.
    pub(crate) boards: usize,
    /// Where boards on serial lines are, if they are on such; one after the other.
    pub(crate) lines: Option<Vec<Ipv4Addr>>,
    /// Which frames are lost, and how long they take.
    pub(crate) seed: u64,
    /// Addresses and ports of guests, and the ports of 127.0.0.1 that lead there; 0 is any.
    pub(crate) doors: Vec<((Ipv4Addr, u16), u16)>,
    /// Ports of the host's address that lead to 127.0.0.1.
    pub(crate) outlets: Vec<u16>,
    /// Addresses of guests that ask for theirs.
    pub(crate) leases: Vec<([u8; 6], Ipv4Addr)>,
}

/// What a switch knows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) counts: Counts,
    /// Frames that no board has taken.
    pub(crate) untaken: u64,
    /// Connections that are carried between host and guests, and those for which there was no room.
    pub(crate) connections: (usize, u64),
    /// The longest time between two looks at the cables, and how long after the start that was. What is
    /// much longer than 10 ms is a machine that had no time.
    pub(crate) gap: Duration,
    pub(crate) gap_at: Duration,
}

/// Where a board's socket is.
pub(crate) fn board_socket(dir: &Path, board: usize) -> PathBuf {
    dir.join(format!("node{board}.sock"))
}

/// Where the switch's socket for a board is.
pub(crate) fn port_socket(dir: &Path, board: usize) -> PathBuf {
    dir.join(format!("sw{board}.sock"))
}

enum Order {
    Fabric(Box<dyn FnOnce(&mut Fabric) + Send>),
    Report(Sender<Report>),
    Stop,
}

/// A switch that runs, on a thread of its own, until it is dropped.
pub(crate) struct Switch {
    orders: Sender<Order>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    doors: Vec<(SocketAddr, (Ipv4Addr, u16))>,
}

impl Switch {
    /// Builds and starts a switch.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub(crate) fn start(plan: &Plan) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), AWAKE)?);
        let registry = poll.registry();
        let mut cables = Vec::new();
        for board in 1..=plan.boards {
            let own = port_socket(&plan.dir, board);
            match std::fs::remove_file(&own) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if let Some(lines) = &plan.lines {
                let mut listener = UnixListener::bind(&own)?;
                registry.register(&mut listener, AWAKE, Interest::READABLE)?;
                let address = *lines.get(board - 1).ok_or(io::ErrorKind::InvalidInput)?;
                cables.push(Cable::Line(Serial::new(listener, address, registry.try_clone()?)));
            } else {
                let mut socket = UnixDatagram::bind(&own)?;
                registry.register(&mut socket, AWAKE, Interest::READABLE)?;
                cables.push(Cable::Frames { socket, to: board_socket(&plan.dir, board) });
            }
        }
        let mut host =
            Host::new(registry.try_clone()?, AWAKE, &plan.doors, &plan.outlets, plan.seed)?;
        host.wire.leases.clone_from(&plan.leases);
        let doors = host.doors()?;
        let (orders, receiver) = mpsc::channel();
        let running = Running {
            poll,
            cables,
            fabric: Fabric::new(1 + plan.boards, plan.seed),
            host,
            orders: receiver,
            origin: Instant::now(),
            report: Report::default(),
        };
        let thread = thread::Builder::new().name("switch".to_owned()).spawn(|| running.run())?;
        Ok(Self { orders, waker, thread: Some(thread), doors })
    }

    /// The port of 127.0.0.1 that leads to a guest.
    pub(crate) fn door(&self, guest: Ipv4Addr, port: u16) -> Option<SocketAddr> {
        self.doors.iter().find(|(_, to)| *to == (guest, port)).map(|(at, _)| *at)
    }

    /// Changes what happens to frames from now on.
    pub(crate) fn order(&self, change: impl FnOnce(&mut Fabric) + Send + 'static) {
        self.say(Order::Fabric(Box::new(change)));
    }

    /// What the switch knows of itself; nothing if it has ended.
    pub(crate) fn report(&self) -> Option<Report> {
        let (sender, receiver) = mpsc::channel();
        self.say(Order::Report(sender));
        receiver.recv().ok()
    }

    fn say(&self, order: Order) {
        // A switch that has ended hears nothing; that it has is told by `report`.
        if self.orders.send(order).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.say(Order::Stop);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

enum Cable {
    Frames {
        socket: UnixDatagram,
        /// Where the board listens.
        to: PathBuf,
    },
    Line(Serial),
}

/// A serial line, and whether a board is at its other end.
struct Serial {
    listener: UnixListener,
    stream: Option<UnixStream>,
    line: Line,
    /// Bytes for the board.
    waiting: VecDeque<u8>,
    registry: Registry,
}

impl Serial {
    fn new(listener: UnixListener, address: Ipv4Addr, registry: Registry) -> Self {
        let (line, waiting) = (Line::new(address), VecDeque::new());
        Self { listener, stream: None, line, waiting, registry }
    }

    /// A board that has started takes the place of the one before.
    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.registry.register(&mut stream, AWAKE, interest).is_ok() {
                self.stream = Some(stream);
                self.waiting.clear();
            }
        }
    }

    /// Hands what the board has sent to `take`, frame by frame; whether there may be more.
    fn read(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        let mut room = [0; LONGEST];
        for _ in 0..FRAMES_AT_ONCE {
            let Some(stream) = &mut self.stream else { break };
            match stream.read(&mut room) {
                Ok(len) if len > 0 => {
                    let mut bytes = &room[..len];
                    while let Some(frame) = self.line.hear(&mut bytes) {
                        take(&frame);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accept();
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The board is off.
                _ => self.stream = None,
            }
        }
        // What one has said last is heard before the next one is.
        self.accept();
        self.stream.is_some()
    }

    /// Hands to the board what it takes.
    fn write(&mut self) {
        while let Some(stream) = &mut self.stream
            && let (bytes, _) = self.waiting.as_slices()
            && !bytes.is_empty()
        {
            match stream.write(bytes) {
                Ok(len) if len > 0 => drop(self.waiting.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => self.stream = None,
            }
        }
    }
}

struct Running {
    poll: Poll,
    cables: Vec<Cable>,
    fabric: Fabric,
    host: Host,
    orders: Receiver<Order>,
    origin: Instant,
    report: Report,
}

impl Running {
    fn now(&self) -> Micros {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        let mut looked = self.now();
        loop {
            let mut more = false;
            for order in core::iter::from_fn(|| self.orders.try_recv().ok()).collect::<Vec<_>>() {
                match order {
                    Order::Fabric(change) => change(&mut self.fabric),
                    Order::Report(to) => {
                        let _ = to.send(self.reported());
                    }
                    Order::Stop => return,
                }
                more = true;
            }
            let now = self.now();
            self.looked(looked, now);
            looked = now;
            more |= self.turn(now);
            let wait = if more { Duration::ZERO } else { self.wait() };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    panic!("the switch cannot wait: {error}");
                }
                _ => {}
            }
        }
    }

    fn reported(&self) -> Report {
        let (counts, connections) = (self.fabric.counts(), self.host.connections());
        Report { counts, connections, ..self.report }
    }

    /// The cables were looked at then, and are now.
    fn looked(&mut self, then: Micros, now: Micros) {
        let gap = Duration::from_micros(now - then);
        if gap > self.report.gap {
            (self.report.gap, self.report.gap_at) = (gap, Duration::from_micros(now));
        }
    }

    /// Moves every frame that can be moved; whether there may be more.
    fn turn(&mut self, now: Micros) -> bool {
        let mut more = false;
        let mut room = [0; LONGEST + 1];
        for (at, cable) in self.cables.iter_mut().enumerate() {
            match cable {
                Cable::Frames { socket, .. } => {
                    let mut frames = 0;
                    while frames < FRAMES_AT_ONCE
                        && let Ok(len) = socket.recv(&mut room)
                    {
                        self.fabric.receive(now, at + 1, &room[..len]);
                        frames += 1;
                    }
                    more |= frames == FRAMES_AT_ONCE;
                }
                Cable::Line(serial) => {
                    more |= serial.read(|frame| self.fabric.receive(now, at + 1, frame));
                    serial.write();
                }
            }
        }
        self.host.poll(now);
        while let Some(frame) = self.host.wire.outgoing.pop_front() {
            self.fabric.receive(now, HOST, &frame);
        }
        while let Some((to, frame)) = self.fabric.send(now) {
            if to == HOST {
                self.host.wire.take(frame);
                more = true;
                continue;
            }
            // A board that is off, or has not read for long, does not take it.
            let taken = match self.cables.get_mut(to - 1) {
                None => true,
                Some(Cable::Frames { socket, to }) => socket.send_to(&frame, to).is_ok(),
                Some(Cable::Line(serial)) => match serial.line.take(&frame) {
                    Done::Nothing => true,
                    Done::Answer(answer) => {
                        self.fabric.receive(now, to, &answer);
                        true
                    }
                    Done::Say(bytes) => {
                        let room = serial.waiting.len() + bytes.len() <= LINE_MAX;
                        let taken = room && serial.stream.is_some();
                        if taken {
                            serial.waiting.extend(bytes);
                            serial.write();
                        }
                        taken
                    }
                },
            };
            self.report.untaken += u64::from(!taken);
        }
        more
    }

    /// How long nothing has to be done.
    fn wait(&mut self) -> Duration {
        let now = self.now();
        let due = [self.fabric.due(), self.host.due(now)].into_iter().flatten().min();
        due.map_or(TICK, |due| Duration::from_micros(due.saturating_sub(now)).min(TICK))
    }
}
