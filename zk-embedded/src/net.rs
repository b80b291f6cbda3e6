//! TCP as smoltcp has it: the only file that names it.
//!
//! A [`Net`] is an interface of one static IPv4 address and a fixed number of sockets, which are
//! known by their index. smoltcp has no backlog: a socket that listens becomes the connection of
//! whoever comes first, and nobody listens any more. So [`Net::poll_frame`] takes one frame at a time,
//! and a [`Node`](crate::node::Node) arms the next listener between two frames.
//!
//! The board gives the device: anything that is a [`phy::Device`] of Ethernet frames or of IP packets.

use core::net::Ipv4Addr;
use core::ops::Range;

use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::socket::{Socket, tcp};
use smoltcp::time::Duration;
pub use smoltcp::time::Instant as Moment;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint};
use zk_core::time::Instant;

pub use smoltcp::iface::SocketStorage;
pub use smoltcp::phy;
use smoltcp::phy::{Device, Medium};

/// The first of the ports that connections are made from; all behind it are, too.
const LOCAL_PORTS: u16 = 49_152;

/// Milliseconds without an answer after which a connection is gone: more than a frame that is lost
/// three times takes (1, 2 and 4 s), and longer than any member is silent.
pub const SILENCE_MS: u64 = 20_000;

/// Milliseconds of silence after which the other side is asked whether it is there.
pub const KEEP_ALIVE_MS: u64 = 5_000;

/// What an interface is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The hardware address; a device of IP packets has none.
    pub hardware: Option<[u8; 6]>,
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of it that are the network's.
    pub prefix: u8,
    /// Who knows the way to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Where sequence numbers and local ports begin: another one at each boot.
    pub seed: u64,
}

/// Buffers of some sockets, which share them evenly.
#[derive(Debug)]
pub struct Buffers<'m> {
    /// How many sockets.
    pub sockets: usize,
    /// For what comes.
    pub receive: &'m mut [u8],
    /// For what goes.
    pub transmit: &'m mut [u8],
}

/// Memory that is lent to an interface.
#[derive(Debug)]
pub struct Storage<'m> {
    /// One for each socket.
    pub sockets: &'m mut [SocketStorage<'m>],
    /// Of clients' sockets: the first ones.
    pub clients: Buffers<'m>,
    /// Of sockets for the election port: the next ones.
    pub election: Buffers<'m>,
    /// Of sockets for the quorum port.
    pub quorum: Buffers<'m>,
}

/// What sockets are for. Each pool has its own, so that nobody takes another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Clients.
    Clients,
    /// The election ports, here and of other members.
    Election,
    /// The quorum ports.
    Quorum,
}

/// Why there is no interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

impl core::fmt::Display for Unfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Unfit {}

/// What a socket is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can be used; what was there is gone.
    Closed,
    /// It waits for somebody.
    Listening,
    /// A connection is being made.
    Opening,
    /// The connection is there.
    Open,
    /// The other side has said its last; it may still be answered.
    Ended,
    /// This side has said its last.
    Closing,
    /// Both sides have, and this one waits for what may still be under way (TIME-WAIT).
    Over,
}

/// An interface and its sockets.
pub struct Net<'m, D: Device> {
    device: D,
    interface: Interface,
    sockets: SocketSet<'m>,
    /// Where each pool ends, and the next begins.
    ends: [usize; 3],
    next_port: u16,
}

impl<D: Device> core::fmt::Debug for Net<'_, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Net").field("sockets", &self.len()).finish_non_exhaustive()
    }
}

impl<'m, D: Device> Net<'m, D> {
    /// An interface whose sockets are closed.
    ///
    /// # Errors
    /// [`Unfit`]: the addresses, or the memory.
    // What it is made from leaves the stack with this.
    #[inline(never)]
    pub fn new(
        mut device: D,
        storage: Storage<'m>,
        options: &Options,
        now: Instant,
    ) -> Result<Self, Unfit> {
        let address = options.address;
        if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
            return Err(Unfit("the address is not one of a host"));
        }
        if options.prefix > 32 {
            return Err(Unfit("an IPv4 address has 32 bits"));
        }
        let hardware = match (device.capabilities().medium, options.hardware) {
            (Medium::Ethernet, Some(bytes)) if bytes[0] & 1 == 0 && bytes != [0; 6] => {
                HardwareAddress::Ethernet(EthernetAddress(bytes))
            }
            (Medium::Ethernet, _) => {
                return Err(Unfit("the hardware address is not one of a host"));
            }
            (Medium::Ip, _) => HardwareAddress::Ip,
        };
        let mut config = Config::new(hardware);
        config.random_seed = options.seed;
        let mut interface = Interface::new(config, &mut device, moment(now));
        let mut fits = true;
        interface.update_ip_addrs(|addresses| {
            let cidr = IpCidr::new(IpAddress::Ipv4(address), options.prefix);
            fits = addresses.push(cidr).is_ok();
        });
        if let Some(gateway) = options.gateway {
            fits &= interface.routes_mut().add_default_ipv4_route(gateway).is_ok();
        }
        if !fits {
            return Err(Unfit("there is no room for an address and a route"));
        }
        let Storage { sockets, clients, election, quorum } = storage;
        let room = sockets.len();
        let mut sockets = SocketSet::new(sockets);
        let mut ends = [0; 3];
        let mut len = 0;
        for (end, buffers) in ends.iter_mut().zip([clients, election, quorum]) {
            let Buffers { sockets: count, receive, transmit } = buffers;
            len += count;
            *end = len;
            if len > room {
                return Err(Unfit("there are fewer sockets than buffers"));
            }
            if count == 0 {
                continue;
            }
            let (each, each_way) = (receive.len() / count, transmit.len() / count);
            if each == 0 || each_way == 0 {
                return Err(Unfit("a socket has no buffer"));
            }
            let buffers = receive.chunks_exact_mut(each).zip(transmit.chunks_exact_mut(each_way));
            for (receive, transmit) in buffers.take(count) {
                let receive = tcp::SocketBuffer::new(receive);
                let mut socket = tcp::Socket::new(receive, tcp::SocketBuffer::new(transmit));
                // What waits is written at once, and whole.
                socket.set_nagle_enabled(false);
                socket.set_timeout(Some(Duration::from_millis(SILENCE_MS)));
                socket.set_keep_alive(Some(Duration::from_millis(KEEP_ALIVE_MS)));
                sockets.add(socket);
            }
        }
        let ports = u64::from(u16::MAX - LOCAL_PORTS);
        // The upper half of the seed is no worse than the lower.
        let next_port = LOCAL_PORTS + u16::try_from((options.seed >> 32) % ports).unwrap_or(0);
        Ok(Self { device, interface, sockets, ends, next_port })
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, for a board that has to tell it something.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.ends[2]
    }

    /// Whether there are no sockets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sockets of a pool.
    pub fn pool(&self, pool: Pool) -> Range<usize> {
        let [clients, election, quorum] = self.ends;
        match pool {
            Pool::Clients => 0..clients,
            Pool::Election => clients..election,
            Pool::Quorum => election..quorum,
        }
    }

    /// Takes one frame from the device; false if there was none.
    #[inline(never)] // its frame is not needed below what a peer does
    pub fn poll_frame(&mut self, now: Instant) -> bool {
        let Self { device, interface, sockets, .. } = self;
        interface.poll_ingress_single(moment(now), device, sockets) != PollIngressSingleResult::None
    }

    /// Sends what the sockets have to send, as far as the device takes it: one frame of each socket.
    /// True if there may be more.
    #[inline(never)] // as above
    pub fn poll_send(&mut self, now: Instant) -> bool {
        let Self { device, interface, sockets, .. } = self;
        interface.poll_maintenance(moment(now));
        interface.poll_egress(moment(now), device, sockets) == PollResult::SocketStateChanged
    }

    /// When something is to be sent.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(moment(now), &self.sockets)?;
        Some(Instant(u64::try_from(at.total_millis()).unwrap_or(0)))
    }

    fn get(&self, at: usize) -> Option<&tcp::Socket<'m>> {
        let (_, Socket::Tcp(socket)) = self.sockets.iter().nth(at)?;
        Some(socket)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut tcp::Socket<'m>> {
        let (_, Socket::Tcp(socket)) = self.sockets.iter_mut().nth(at)?;
        Some(socket)
    }

    /// What a socket is up to.
    pub fn state(&self, at: usize) -> State {
        match self.get(at).map(tcp::Socket::state) {
            None | Some(tcp::State::Closed) => State::Closed,
            Some(tcp::State::Listen) => State::Listening,
            Some(tcp::State::SynSent | tcp::State::SynReceived) => State::Opening,
            Some(tcp::State::Established) => State::Open,
            Some(tcp::State::CloseWait) => State::Ended,
            Some(
                tcp::State::FinWait1
                | tcp::State::FinWait2
                | tcp::State::Closing
                | tcp::State::LastAck,
            ) => State::Closing,
            Some(tcp::State::TimeWait) => State::Over,
        }
    }

    /// Lets a closed socket wait for somebody on that port. False if it is not closed.
    pub fn listen(&mut self, at: usize, port: u16) -> bool {
        self.get_mut(at).is_some_and(|socket| socket.listen(port).is_ok())
    }

    /// Lets a closed socket connect. False if it is not closed, or nobody can be there.
    pub fn connect(&mut self, at: usize, address: Ipv4Addr, port: u16) -> bool {
        let local = self.local_port();
        let Self { interface, sockets, .. } = self;
        let Some((_, Socket::Tcp(socket))) = sockets.iter_mut().nth(at) else { return false };
        let remote = IpEndpoint::new(IpAddress::Ipv4(address), port);
        socket.connect(interface.context(), remote, local).is_ok()
    }

    /// A port that no socket has.
    fn local_port(&mut self) -> u16 {
        // Each socket has one, and there are far fewer.
        for _ in 0..=self.len() {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(LOCAL_PORTS);
            let taken = self.sockets.iter().any(|(_, Socket::Tcp(socket))| {
                socket.local_endpoint().is_some_and(|local| local.port == port)
            });
            if !taken {
                return port;
            }
        }
        self.next_port
    }

    /// Who is at the other end.
    pub fn remote(&self, at: usize) -> Option<Ipv4Addr> {
        let IpAddress::Ipv4(address) = self.get(at)?.remote_endpoint()?.addr;
        Some(address)
    }

    /// Bytes that have come and were not taken.
    pub fn received(&self, at: usize) -> usize {
        self.get(at).map_or(0, tcp::Socket::recv_queue)
    }

    /// Bytes that there is room for, of what comes.
    pub fn receive_capacity(&self, at: usize) -> usize {
        self.get(at).map_or(0, tcp::Socket::recv_capacity)
    }

    /// Bytes that there is room for, of what goes.
    pub fn send_capacity(&self, at: usize) -> usize {
        self.get(at).map_or(0, tcp::Socket::send_capacity)
    }

    /// The first of them, as far as they lie together.
    pub fn peek(&mut self, at: usize) -> &[u8] {
        self.get_mut(at).and_then(|socket| socket.peek(usize::MAX).ok()).unwrap_or_default()
    }

    /// Copies the first of them, wherever they lie.
    pub fn copy(&mut self, at: usize, to: &mut [u8]) -> usize {
        self.get_mut(at).and_then(|socket| socket.peek_slice(to).ok()).unwrap_or(0)
    }

    /// Takes the first of them.
    pub fn take(&mut self, at: usize, mut len: usize) {
        let Some(socket) = self.get_mut(at) else { return };
        // The ring ends once at the most.
        for _ in 0..2 {
            let taken = socket.recv(|bytes| {
                let taken = bytes.len().min(len);
                (taken, taken)
            });
            len -= taken.unwrap_or(0);
        }
    }

    /// Takes bytes to send; how many.
    pub fn send(&mut self, at: usize, bytes: &[u8]) -> usize {
        self.get_mut(at).and_then(|socket| socket.send_slice(bytes).ok()).unwrap_or(0)
    }

    /// Whether a connection can still be written to.
    pub fn is_writable(&self, at: usize) -> bool {
        self.get(at).is_some_and(tcp::Socket::may_send)
    }

    /// Ends a connection behind what waits to be sent.
    pub fn close(&mut self, at: usize) {
        if let Some(socket) = self.get_mut(at) {
            socket.close();
        }
    }

    /// Whether the other side of a connection that was ended is still to be told. Used again before
    /// that, the socket forgets it.
    pub fn owes_reset(&self, at: usize) -> bool {
        self.get(at).is_some_and(|socket| {
            socket.state() == tcp::State::Closed && socket.remote_endpoint().is_some()
        })
    }

    /// Ends a connection now; the other side is told, see [`owes_reset`](Self::owes_reset).
    pub fn abort(&mut self, at: usize) {
        if let Some(socket) = self.get_mut(at) {
            socket.abort();
        }
    }
}

fn moment(now: Instant) -> Moment {
    Moment::from_millis(i64::try_from(now.0).unwrap_or(i64::MAX))
}
