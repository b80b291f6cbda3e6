//! TCP as smoltcp has it: the only file that names it.
//!
//! A [`Net`] is an interface of one IPv4 address, static or confirmed by the network (DHCP, with the feature
//! `dhcp`), and a fixed number of sockets, which are
//! known by their index. smoltcp has no backlog: a socket that listens becomes the connection of
//! whoever comes first, and nobody listens any more. So [`Net::poll_frame`] takes one frame at a time,
//! and a [`Node`](crate::node::Node) arms the next listener between two frames.
//!
//! The board gives the device: anything that is a [`phy::Device`] of Ethernet frames or of IP packets.

use core::net::Ipv4Addr;
use core::ops::Range;

use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::socket::{AnySocket as _, tcp};
use smoltcp::time::Duration;
pub use smoltcp::time::Instant as Moment;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint};
use zk_core::time::Instant;

pub use smoltcp::iface::SocketStorage;
pub use smoltcp::phy;
use smoltcp::phy::{Device, Medium};

pub use lease::LEASE;
use lease::Lease;

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
    /// Bits of it that are the network's. 0: the network says that, and the gateway (DHCP), and has to say
    /// the same address.
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
    /// One for each socket, and [`LEASE`] more.
    pub sockets: &'m mut [SocketStorage<'m>],
    /// Of clients' sockets: the first ones.
    pub clients: Buffers<'m>,
    /// Of sockets for the election port that carry packets as well: the next ones.
    pub carriers: Buffers<'m>,
    /// Of sockets for the election port that have only room for votes.
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
    ends: [usize; 4],
    next_port: u16,
    lease: Option<Lease>,
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
        let leased = options.prefix == 0;
        let asks = LEASE != 0 && hardware != HardwareAddress::Ip;
        if leased && !asks {
            return Err(Unfit("there is no DHCP here: provision the board with a prefix"));
        }
        if !leased {
            interface.update_ip_addrs(|addresses| {
                let cidr = IpCidr::new(IpAddress::Ipv4(address), options.prefix);
                fits = addresses.push(cidr).is_ok();
            });
        }
        if let Some(gateway) = options.gateway {
            fits &= interface.routes_mut().add_default_ipv4_route(gateway).is_ok();
        }
        if !fits {
            return Err(Unfit("there is no room for an address and a route"));
        }
        let Storage { sockets, clients, carriers, election, quorum } = storage;
        let room = sockets.len();
        let mut sockets = SocketSet::new(sockets);
        let mut ends = [0; 4];
        let mut len = 0;
        for (end, buffers) in ends.iter_mut().zip([clients, carriers, election, quorum]) {
            let Buffers { sockets: count, receive, transmit } = buffers;
            len += count;
            *end = len;
            if len + usize::from(leased) > room {
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
        let lease = if leased { Lease::new(&mut sockets, address) } else { None };
        let ports = u64::from(u16::MAX - LOCAL_PORTS);
        // The upper half of the seed is no worse than the lower.
        let next_port = LOCAL_PORTS + u16::try_from((options.seed >> 32) % ports).unwrap_or(0);
        Ok(Self { device, interface, sockets, ends, next_port, lease })
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
        self.ends[3]
    }

    /// Whether there are no sockets.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sockets of a pool.
    pub fn pool(&self, pool: Pool) -> Range<usize> {
        let [clients, _, election, quorum] = self.ends;
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
        let polled = interface.poll_ingress_single(moment(now), device, sockets);
        self.settle(now);
        polled != PollIngressSingleResult::None
    }

    /// Sends what the sockets have to send, as far as the device takes it: one frame of each socket.
    /// True if there may be more.
    #[inline(never)] // as above
    pub fn poll_send(&mut self, now: Instant) -> bool {
        let Self { device, interface, sockets, .. } = self;
        interface.poll_maintenance(moment(now));
        let polled = interface.poll_egress(moment(now), device, sockets);
        self.settle(now);
        polled == PollResult::SocketStateChanged
    }

    /// Takes what the network has said of the interface.
    fn settle(&mut self, now: Instant) {
        if let Self { interface, sockets, lease: Some(lease), .. } = self {
            lease.settle(interface, sockets, now);
        }
    }

    /// When something is to be sent.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(moment(now), &self.sockets);
        let at = at.map(|at| Instant(u64::try_from(at.total_millis()).unwrap_or(0)));
        let again = self.lease.as_ref().and_then(Lease::due);
        at.into_iter().chain(again).min()
    }

    fn get(&self, at: usize) -> Option<&tcp::Socket<'m>> {
        let (_, socket) = self.sockets.iter().nth(at)?;
        tcp::Socket::downcast(socket)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut tcp::Socket<'m>> {
        let (_, socket) = self.sockets.iter_mut().nth(at)?;
        tcp::Socket::downcast_mut(socket)
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
        let socket = sockets.iter_mut().nth(at);
        let Some(socket) = socket.and_then(|(_, socket)| tcp::Socket::downcast_mut(socket)) else {
            return false;
        };
        let remote = IpEndpoint::new(IpAddress::Ipv4(address), port);
        socket.connect(interface.context(), remote, local).is_ok()
    }

    /// A port that no socket has.
    fn local_port(&mut self) -> u16 {
        // Each socket has one, and there are far fewer.
        for _ in 0..=self.len() {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(LOCAL_PORTS);
            let taken = self.sockets.iter().any(|(_, socket)| {
                tcp::Socket::downcast(socket)
                    .and_then(tcp::Socket::local_endpoint)
                    .is_some_and(|local| local.port == port)
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

/// What the network is asked for.
#[cfg(any(test, feature = "dhcp"))]
mod lease {
    use smoltcp::iface::SocketHandle;
    use smoltcp::socket::dhcpv4::{Event, Socket};
    use zk_core::say;

    use super::*;

    /// Sockets that are the interface's own.
    pub const LEASE: usize = 1;

    /// Milliseconds after which a network that gives another address is asked anew.
    pub(super) const ASK_AGAIN_MS: u64 = 30_000;

    /// An address that the network has to confirm.
    pub(super) struct Lease {
        socket: SocketHandle,
        /// The one address that will do.
        address: Ipv4Addr,
        /// When the network is asked anew, which gave another one.
        again: Option<Instant>,
    }

    impl Lease {
        pub(super) fn new(sockets: &mut SocketSet<'_>, address: Ipv4Addr) -> Option<Self> {
            Some(Self { socket: sockets.add(Socket::new()), address, again: None })
        }

        /// When the network is asked anew.
        pub(super) fn due(&self) -> Option<Instant> {
            self.again
        }

        /// Takes what the network has said.
        pub(super) fn settle(
            &mut self,
            interface: &mut Interface,
            sockets: &mut SocketSet<'_>,
            now: Instant,
        ) {
            let socket = sockets.get_mut::<Socket<'_>>(self.socket);
            if self.again.is_some_and(|again| again <= now) {
                self.again = None;
                socket.reset();
            }
            let Some(event) = socket.poll() else { return };
            self.again = None;
            let given = match event {
                Event::Configured(config) if config.address.address() == self.address => {
                    let (bits, router) = (config.address.prefix_len(), config.router);
                    say!(
                        info,
                        "the network has confirmed the address, with {} bits and {} gateway",
                        bits,
                        if router.is_some() { "a" } else { "no" }
                    );
                    Some((config.address, router))
                }
                Event::Configured(config) => {
                    let [a, b, c, d] = config.address.address().octets();
                    say!(
                        warn,
                        "the network gives this board the address {}.{}.{}.{}, which is not its own \
                         in the ensemble: reserve that for its hardware address",
                        a,
                        b,
                        c,
                        d
                    );
                    self.again = Some(now.plus(ASK_AGAIN_MS));
                    None
                }
                Event::Deconfigured => {
                    if !interface.ip_addrs().is_empty() {
                        say!(warn, "the network has taken the address back");
                    }
                    None
                }
            };
            interface.routes_mut().remove_default_ipv4_route();
            let router = given.and_then(|(_, router)| router);
            // There was room for a route before.
            let _ = router.map(|router| interface.routes_mut().add_default_ipv4_route(router));
            interface.update_ip_addrs(|addresses| {
                addresses.clear();
                let _ = given.map(|(cidr, _)| addresses.push(IpCidr::Ipv4(cidr)));
            });
        }
    }
}

/// Nothing: this firmware asks for nothing.
#[cfg(not(any(test, feature = "dhcp")))]
mod lease {
    use super::*;

    /// Sockets that are the interface's own.
    pub const LEASE: usize = 0;

    pub(super) enum Lease {}

    impl Lease {
        pub(super) fn new(_: &mut SocketSet<'_>, _: Ipv4Addr) -> Option<Self> {
            None
        }

        pub(super) fn due(&self) -> Option<Instant> {
            match *self {}
        }

        pub(super) fn settle(&mut self, _: &mut Interface, _: &mut SocketSet<'_>, _: Instant) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::vec;
    use std::vec::Vec;

    use smoltcp::phy::{ChecksumCapabilities, DeviceCapabilities, RxToken, TxToken};
    use smoltcp::wire::{
        DhcpMessageType, DhcpPacket, DhcpRepr, EthernetFrame, EthernetProtocol, EthernetRepr,
        IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
    };

    use super::lease::ASK_AGAIN_MS;
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 103);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 3];
    const SERVER_HARDWARE: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xfe]);

    #[derive(Default)]
    struct Cable {
        comes: VecDeque<Vec<u8>>,
        goes: Vec<Vec<u8>>,
        medium: Option<Medium>,
    }

    struct Came(Vec<u8>);

    impl RxToken for Came {
        fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
            read(&self.0)
        }
    }

    struct Going<'c>(&'c mut Vec<Vec<u8>>);

    impl TxToken for Going<'_> {
        fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
            let mut frame = vec![0; len];
            let result = write(&mut frame);
            self.0.push(frame);
            result
        }
    }

    impl Device for Cable {
        type RxToken<'a> = Came;
        type TxToken<'a> = Going<'a>;

        fn receive(&mut self, _: Moment) -> Option<(Came, Going<'_>)> {
            Some((Came(self.comes.pop_front()?), Going(&mut self.goes)))
        }

        fn transmit(&mut self, _: Moment) -> Option<Going<'_>> {
            Some(Going(&mut self.goes))
        }

        fn capabilities(&self) -> DeviceCapabilities {
            let mut capabilities = DeviceCapabilities::default();
            capabilities.medium = self.medium.unwrap_or(Medium::Ethernet);
            capabilities.max_transmission_unit = 590;
            capabilities
        }
    }

    fn options(prefix: u8) -> Options {
        Options { hardware: Some(HARDWARE), address: OWN, prefix, gateway: None, seed: 1 }
    }

    fn net(sockets: &mut [SocketStorage<'static>; 2], prefix: u8) -> Net<'static, Cable> {
        let [first, second] = core::mem::replace(sockets, [SocketStorage::EMPTY; 2]);
        let sockets = std::boxed::Box::leak(std::boxed::Box::new([first, second]));
        let none = || Buffers { sockets: 0, receive: &mut [], transmit: &mut [] };
        let clients = Buffers {
            sockets: 1,
            receive: std::boxed::Box::leak(std::boxed::Box::new([0; 64])),
            transmit: std::boxed::Box::leak(std::boxed::Box::new([0; 64])),
        };
        let storage =
            Storage { sockets, clients, carriers: none(), election: none(), quorum: none() };
        Net::new(Cable::default(), storage, &options(prefix), Instant(0)).unwrap()
    }

    /// What a server of the network answers to a board, if it answers.
    fn answer(frame: &[u8], give: Ipv4Addr, lease: u32) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
        if datagram.dst_port() != 67 {
            return None;
        }
        let asked = DhcpPacket::new_checked(datagram.payload()).ok()?;
        let asked = DhcpRepr::parse(&asked).ok()?;
        let message_type = match asked.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => DhcpMessageType::Ack,
            other => panic!("{other:?}"),
        };
        let reply = DhcpRepr {
            message_type,
            your_ip: give,
            server_ip: SERVER,
            router: Some(SERVER),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            server_identifier: Some(SERVER),
            lease_duration: Some(lease),
            client_identifier: None,
            requested_ip: None,
            parameter_request_list: None,
            max_size: None,
            ..asked
        };
        let udp = UdpRepr { src_port: 67, dst_port: 68 };
        let ip = Ipv4Repr {
            src_addr: SERVER,
            dst_addr: Ipv4Addr::BROADCAST,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + reply.buffer_len(),
            hop_limit: 64,
        };
        let ethernet = EthernetRepr {
            src_addr: SERVER_HARDWARE,
            dst_addr: EthernetAddress::BROADCAST,
            ethertype: EthernetProtocol::Ipv4,
        };
        let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        ethernet.emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        let sums = ChecksumCapabilities::default();
        ip.emit(&mut packet, &sums);
        let (from, to) = (IpAddress::Ipv4(SERVER), IpAddress::Ipv4(Ipv4Addr::BROADCAST));
        udp.emit(
            &mut UdpPacket::new_unchecked(packet.payload_mut()),
            &from,
            &to,
            reply.buffer_len(),
            |payload| reply.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap(),
            &sums,
        );
        Some(bytes)
    }

    /// Runs until nothing is due before `until`, with a server that gives that address, or with none.
    fn run(net: &mut Net<'_, Cable>, from: u64, until: u64, server: Option<(Ipv4Addr, u32)>) {
        let mut now = from;
        while now <= until {
            while net.poll_frame(Instant(now)) {}
            while net.poll_send(Instant(now)) {}
            for frame in core::mem::take(&mut net.device.goes) {
                net.device
                    .comes
                    .extend(server.and_then(|(give, lease)| answer(&frame, give, lease)));
            }
            let next = net.poll_timeout(Instant(now)).map_or(until + 1, |at| at.0);
            now = if net.device.comes.is_empty() { next.max(now + 1) } else { now };
        }
    }

    fn addresses(net: &Net<'_, Cable>) -> Vec<IpCidr> {
        net.interface.ip_addrs().to_vec()
    }

    fn own() -> Vec<IpCidr> {
        vec![IpCidr::new(IpAddress::Ipv4(OWN), 24)]
    }

    #[test]
    fn a_static_address_is_there_at_once() {
        let net = net(&mut [SocketStorage::EMPTY; 2], 24);
        assert_eq!((addresses(&net), net.sockets.iter().count()), (own(), 1));
    }

    #[test]
    fn the_network_says_prefix_and_gateway() {
        let mut net = net(&mut [SocketStorage::EMPTY; 2], 0);
        assert_eq!(addresses(&net), []);
        assert!(!net.connect(0, SERVER, 9), "from nowhere");
        run(&mut net, 0, 5_000, None);
        assert_eq!(addresses(&net), []);
        run(&mut net, 5_001, 60_000, Some((OWN, 600)));
        assert_eq!(addresses(&net), own());
        assert_eq!(
            net.interface.routes_mut().remove_default_ipv4_route().map(|old| old.via_router),
            Some(IpAddress::Ipv4(SERVER))
        );
        assert!(net.connect(0, SERVER, 9));
        // It is asked for again before it ends, and given back when nobody answers.
        run(&mut net, 60_001, 2_000_000, Some((OWN, 600)));
        assert_eq!(addresses(&net), own());
        run(&mut net, 2_000_001, 2_700_000, None);
        assert_eq!(addresses(&net), []);
        run(&mut net, 2_700_001, 2_800_000, Some((OWN, 600)));
        assert_eq!(addresses(&net), own());
    }

    /// A network that has given the right one after all, before it was asked anew, is not.
    #[test]
    fn an_address_that_was_confirmed_stays() {
        let mut net = net(&mut [SocketStorage::EMPTY; 2], 0);
        run(&mut net, 0, 5_000, Some((Ipv4Addr::new(10, 0, 2, 50), 20)));
        assert_eq!(addresses(&net), []);
        run(&mut net, 5_001, 25_000, Some((OWN, 86_400)));
        assert_eq!(addresses(&net), own());
        run(&mut net, 25_001, 25_000 + 2 * ASK_AGAIN_MS, None);
        assert_eq!(addresses(&net), own());
    }

    /// On a line there is nobody to ask.
    #[test]
    fn only_ethernet_has_dhcp() {
        let none = || Buffers { sockets: 0, receive: &mut [], transmit: &mut [] };
        let sockets = &mut [SocketStorage::EMPTY];
        let storage = Storage {
            sockets,
            clients: none(),
            carriers: none(),
            election: none(),
            quorum: none(),
        };
        let line = Cable { medium: Some(Medium::Ip), ..Cable::default() };
        assert!(Net::new(line, storage, &options(0), Instant(0)).is_err());
    }

    #[test]
    fn another_address_is_not_taken() {
        let mut net = net(&mut [SocketStorage::EMPTY; 2], 0);
        run(&mut net, 0, 100_000, Some((Ipv4Addr::new(10, 0, 2, 50), 86_400)));
        assert_eq!(addresses(&net), []);
        // The one that was reserved meanwhile is, as soon as it is asked for again.
        run(&mut net, 100_001, 100_001 + 2 * ASK_AGAIN_MS, Some((OWN, 86_400)));
        assert_eq!(addresses(&net), own());
    }
}
