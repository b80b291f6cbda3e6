//! The host's place in the guests' network: an address there, and TCP connections that are carried
//! over from one side to the other.
//!
//! Inwards, a door is a port of 127.0.0.1 whose connections go on to a guest. Outwards, what guests
//! connect to at the host's address goes on to the same port of 127.0.0.1.

use core::net::{Ipv4Addr, SocketAddr};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
pub(super) use smoltcp as guest;
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::fabric::{LONGEST, Micros};
use super::lease;

/// The host's addresses.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
pub(crate) const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

/// Bits of an address that are the network's.
pub(crate) const PREFIX: u8 = 24;

/// Frames that wait on one side of an interface: what comes then is lost.
const FRAMES_MAX: usize = 256;

/// Connections that are carried at once; others are closed.
pub(crate) const CONNECTIONS_MAX: usize = 256;

/// Sockets that wait for guests on each port: smoltcp has no backlog.
const LISTENERS: usize = 4;

/// Bytes that wait in a connection, each way.
const BUFFER: usize = 16 << 10;

/// Connections whose other side is silent that long are gone; it is asked in between.
const SILENCE: Duration = Duration::from_secs(20);
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The first port that connections are made from.
const LOCAL_PORTS: u16 = 49_152;

/// Times that one call sends a frame of each connection.
const ROUNDS: usize = 64;

/// The two directions of a cable.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) incoming: VecDeque<Vec<u8>>,
    pub(crate) outgoing: VecDeque<Vec<u8>>,
    /// Addresses of those who ask for theirs.
    pub(crate) leases: Vec<([u8; 6], Ipv4Addr)>,
}

impl Wire {
    /// Takes a frame in, or loses it.
    pub(crate) fn take(&mut self, frame: Vec<u8>) {
        if self.has_room() {
            self.outgoing.extend(lease::answer(&frame, &self.leases));
        }
        if self.incoming.len() < FRAMES_MAX {
            self.incoming.push_back(frame);
        }
    }

    fn has_room(&self) -> bool {
        self.outgoing.len() < FRAMES_MAX
    }
}

#[derive(Debug)]
pub(crate) struct Came(Vec<u8>);

#[derive(Debug)]
pub(crate) struct Goes<'w>(&'w mut VecDeque<Vec<u8>>);

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Goes<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Came;
    type TxToken<'a> = Goes<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Came, Goes<'_>)> {
        if !self.has_room() {
            return None;
        }
        let frame = self.incoming.pop_front()?;
        Some((Came(frame), Goes(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Goes<'_>> {
        self.has_room().then_some(Goes(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) = (Medium::Ethernet, LONGEST);
        capabilities
    }
}

/// An interface on a wire.
pub(crate) fn interface(
    wire: &mut Wire,
    hardware: [u8; 6],
    address: Ipv4Addr,
    seed: u64,
) -> Interface {
    let mut config = Config::new(EthernetAddress(hardware).into());
    config.random_seed = seed;
    let mut interface = Interface::new(config, wire, Instant::ZERO);
    interface.update_ip_addrs(|addresses| {
        // It is the first of them.
        let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), PREFIX));
    });
    interface
}

pub(crate) fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_timeout(Some(SILENCE));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket
}

/// A port of 127.0.0.1 that leads to a guest.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    to: (Ipv4Addr, u16),
}

/// A port of the host's address that leads to 127.0.0.1.
#[derive(Debug)]
struct Outlet {
    port: u16,
    waiting: Vec<SocketHandle>,
}

/// A connection that is carried.
#[derive(Debug)]
struct Carried {
    handle: SocketHandle,
    /// On the side of 127.0.0.1; none when that is over, and the guest is still to be told.
    stream: Option<TcpStream>,
    /// The connection there is being made.
    opening: bool,
    /// That side has said its last, and so has the guest.
    ended: bool,
    guest_ended: bool,
}

/// The host in the guests' network.
pub(crate) struct Host {
    pub(crate) wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    doors: Vec<Door>,
    outlets: Vec<Outlet>,
    carried: Vec<Carried>,
    registry: Registry,
    token: Token,
    next_port: u16,
    /// Connections for which there was no room.
    refused: u64,
}

impl Host {
    /// A host that is woken by `token`. Ports of 127.0.0.1 that are 0 are any that is free.
    ///
    /// # Errors
    /// A port cannot be opened.
    pub(crate) fn new(
        registry: Registry,
        token: Token,
        doors: &[((Ipv4Addr, u16), u16)],
        outlets: &[u16],
        seed: u64,
    ) -> io::Result<Self> {
        let mut wire = Wire::default();
        let interface = interface(&mut wire, HARDWARE, ADDRESS, seed);
        let open = |&(to, port): &((Ipv4Addr, u16), u16)| {
            let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
            registry.register(&mut listener, token, Interest::READABLE)?;
            Ok(Door { listener, to })
        };
        let doors = doors.iter().map(open).collect::<io::Result<_>>()?;
        let outlets = outlets.iter().map(|&port| Outlet { port, waiting: Vec::new() }).collect();
        let mut host = Self {
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            doors,
            outlets,
            carried: Vec::new(),
            registry,
            token,
            next_port: LOCAL_PORTS,
            refused: 0,
        };
        host.arm();
        Ok(host)
    }

    /// The doors: where they are, and where they lead.
    pub(crate) fn doors(&self) -> io::Result<Vec<(SocketAddr, (Ipv4Addr, u16))>> {
        self.doors.iter().map(|door| Ok((door.listener.local_addr()?, door.to))).collect()
    }

    /// Connections that are carried, and those that were refused so far.
    pub(crate) fn connections(&self) -> (usize, u64) {
        (self.carried.len(), self.refused)
    }

    /// Does what can be done; frames are then in the wire's two queues.
    pub(crate) fn poll(&mut self, now: Micros) {
        let at = moment(now);
        self.accept();
        self.interface.poll_maintenance(at);
        loop {
            let Self { interface, wire, sockets, .. } = self;
            if interface.poll_ingress_single(at, wire, sockets) == PollIngressSingleResult::None {
                break;
            }
            self.arm();
        }
        self.pump();
        for _ in 0..ROUNDS {
            let Self { interface, wire, sockets, .. } = self;
            if interface.poll_egress(at, wire, sockets) == PollResult::None {
                break;
            }
            self.pump();
        }
    }

    /// When it wants to be polled again.
    pub(crate) fn due(&mut self, now: Micros) -> Option<Micros> {
        let at = self.interface.poll_at(moment(now), &self.sockets)?;
        Some(u64::try_from(at.total_micros()).unwrap_or(0))
    }

    /// Takes connections in at the doors.
    fn accept(&mut self) {
        for at in 0..self.doors.len() {
            while let Ok((stream, _)) = self.doors[at].listener.accept() {
                let to = self.doors[at].to;
                if self.carry_in(stream, to).is_err() {
                    // It is closed, which is all that can be said to it.
                    self.refused += 1;
                }
            }
        }
    }

    fn carry_in(&mut self, mut stream: TcpStream, to: (Ipv4Addr, u16)) -> io::Result<()> {
        if self.carried.len() >= CONNECTIONS_MAX {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        self.watch(&mut stream)?;
        let local = self.local_port();
        let mut socket = socket();
        let remote = (IpAddress::Ipv4(to.0), to.1);
        socket
            .connect(self.interface.context(), remote, local)
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let handle = self.sockets.add(socket);
        self.carried.push(Carried::new(handle, stream, false));
        Ok(())
    }

    fn watch(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        self.registry.register(stream, self.token, Interest::READABLE | Interest::WRITABLE)
    }

    /// A port that no connection has: there are more ports than connections.
    fn local_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(LOCAL_PORTS);
            let taken = self.carried.iter().any(|carried| {
                let local = self.sockets.get::<Socket<'_>>(carried.handle).local_endpoint();
                local.is_some_and(|local| local.port == port)
            });
            if !taken {
                return port;
            }
        }
    }

    /// Lets sockets wait for guests, and carries on whoever has come.
    fn arm(&mut self) {
        for at in 0..self.outlets.len() {
            let port = self.outlets[at].port;
            let mut listening = 0;
            for handle in core::mem::take(&mut self.outlets[at].waiting) {
                match self.sockets.get::<Socket<'_>>(handle).state() {
                    State::Listen => {
                        listening += 1;
                        self.outlets[at].waiting.push(handle);
                    }
                    State::SynReceived => self.outlets[at].waiting.push(handle),
                    State::Closed => drop(self.sockets.remove(handle)),
                    _ => self.carry_out(handle, port),
                }
            }
            while listening < LISTENERS && self.outlets[at].waiting.len() < CONNECTIONS_MAX {
                let mut socket = socket();
                if socket.listen(port).is_err() {
                    // Port 0; nobody can connect there.
                    break;
                }
                let handle = self.sockets.add(socket);
                self.outlets[at].waiting.push(handle);
                listening += 1;
            }
        }
    }

    fn carry_out(&mut self, handle: SocketHandle, port: u16) {
        let room = self.carried.len() < CONNECTIONS_MAX;
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
        let stream = stream.and_then(|mut stream| self.watch(&mut stream).map(|()| stream));
        match stream {
            Ok(stream) if room => self.carried.push(Carried::new(handle, stream, true)),
            _ => {
                self.refused += 1;
                self.sockets.get_mut::<Socket<'_>>(handle).abort();
                self.carried.push(Carried::over(handle));
            }
        }
    }

    /// Moves bytes, and forgets connections that are over on both sides.
    fn pump(&mut self) {
        let Self { carried, sockets, .. } = self;
        carried.retain_mut(|carried| {
            let socket = sockets.get_mut::<Socket<'_>>(carried.handle);
            carried.pump(socket);
            // A reset that the guest was not told yet still has its address.
            let over = carried.stream.is_none()
                && socket.state() == State::Closed
                && socket.remote_endpoint().is_none();
            if over {
                sockets.remove(carried.handle);
            }
            !over
        });
    }
}

fn moment(now: Micros) -> Instant {
    Instant::from_micros(i64::try_from(now).unwrap_or(i64::MAX))
}

/// Whether a stream can do nothing now, and is well.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Carried {
    fn new(handle: SocketHandle, stream: TcpStream, opening: bool) -> Self {
        Self { stream: Some(stream), opening, ..Self::over(handle) }
    }

    fn over(handle: SocketHandle) -> Self {
        Self { handle, stream: None, opening: false, ended: false, guest_ended: false }
    }

    fn pump(&mut self, socket: &mut Socket<'_>) {
        let result = match &mut self.stream {
            None => return,
            Some(stream) if self.opening => is_open(stream).map(|open| self.opening = !open),
            Some(_) => Ok(()),
        };
        let result = if self.opening { result } else { result.and_then(|()| self.carry(socket)) };
        let over = match result {
            Ok(()) if socket.state() == State::Closed => !socket.can_recv(),
            Ok(()) => self.ended && self.guest_ended,
            Err(_) => {
                // It was reset, or nobody is there: the guest is told by a reset.
                socket.abort();
                true
            }
        };
        if over {
            self.stream = None;
        }
    }

    /// Moves what can be moved, both ways.
    fn carry(&mut self, socket: &mut Socket<'_>) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while !self.ended && socket.can_send() {
            let read = socket.send(|room| match stream.read(room) {
                Ok(len) => (len, Ok(len)),
                Err(error) => (0, Err(error)),
            });
            match read {
                Ok(Ok(0)) => {
                    socket.close();
                    self.ended = true;
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) if waits(&error) => break,
                Ok(Err(error)) => return Err(error),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        while socket.can_recv() {
            let written = socket.recv(|bytes| match stream.write(bytes) {
                Ok(len) => (len, Ok(len)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if waits(&error) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let said_its_last = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if said_its_last && !self.guest_ended {
            self.guest_ended = true;
            match stream.shutdown(Shutdown::Write) {
                // The other side has gone entirely.
                Err(error) if error.kind() == ErrorKind::NotConnected => {}
                result => return result,
            }
        }
        Ok(())
    }
}

/// Whether a connection has been made.
fn is_open(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
