//! The ports: of clients, and of other members.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::ToSocketAddrs;
use std::thread;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use zk_core::id::ServerId;
use zk_core::quorum::Port;

use super::{Error, turn};
use crate::config::{Config, HostPort, Quorum};

/// Connections that may wait to be accepted, unless it is configured. (Java's default is 50, which
/// makes clients wait a second when a crowd comes back at once.)
const BACKLOG: i32 = 1024;

/// Pause after the system refused to accept (no more file descriptors, for instance).
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Pause between two attempts to open a port of the ensemble.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// One line about refused connections in this time.
const LOG_PAUSE_MS: u64 = 1000;

/// What happened to a connection that was to be accepted.
pub(super) enum Accepted {
    /// It is here.
    Socket(TcpStream, SocketAddr),
    /// It was closed: a limit was reached, or it had gone already.
    Refused,
    /// There is no other.
    None,
    /// The system refuses; try again after [`PAUSE`].
    Pause,
}

/// The client port and its limits.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) address: SocketAddr,
    /// From one address; 0 is no limit.
    max_per_address: u32,
    /// In all; 0 is no limit.
    max: u32,
    keep_alive: bool,
    backlog: i32,
    open: u32,
    by_address: HashMap<IpAddr, u32>,
    /// Connections that were closed for a limit.
    pub(super) rejected: u64,
    logged_at: Option<u64>,
}

impl Listener {
    /// Opens the client port. On the address `0.0.0.0` it takes IPv6 as well, as Java does.
    ///
    /// # Errors
    /// [`Error::Bind`]; [`Error::Config`] when there is none to open.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        let address = config.client_address.as_ref().ok_or_else(|| {
            Error::Config("clientPort is not set: no client could connect".to_owned())
        })?;
        let backlog = config
            .client_port_listen_backlog
            .map_or(BACKLOG, |backlog| i32::try_from(backlog).unwrap_or(i32::MAX));
        let (socket, bound) = bind(address, backlog).map_err(|source| Error::Bind {
            address: format!("{}:{}", address.host, address.port),
            source,
        })?;
        Ok(Self {
            socket,
            address: bound,
            max_per_address: config.max_client_cnxns,
            max: config.max_cnxns,
            keep_alive: config.client_tcp_keep_alive,
            backlog,
            open: 0,
            by_address: HashMap::new(),
            rejected: 0,
            logged_at: None,
        })
    }

    /// Listens on another address from now on.
    ///
    /// # Errors
    /// That cannot be; it listens where it did.
    pub(super) fn reopen(&mut self, address: &HostPort, registry: &Registry) -> io::Result<()> {
        let (mut socket, bound) = bind(address, self.backlog)?;
        registry.register(&mut socket, turn::LISTENER, Interest::READABLE)?;
        // It is closed in any case.
        let _ = registry.deregister(&mut self.socket);
        (self.socket, self.address) = (socket, bound);
        Ok(())
    }

    /// Accepts a connection, within the limits.
    pub(super) fn accept(&mut self, now_ms: u64) -> Accepted {
        let (stream, address) = match self.socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Accepted::None,
                    // Gone before it was accepted.
                    io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted => Accepted::Refused,
                    _ => {
                        self.complain(now_ms, || format!("cannot accept connections: {error}"));
                        Accepted::Pause
                    }
                };
            }
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.max > 0 && self.open >= self.max {
            self.rejected += 1;
            let max = self.max;
            self.complain(now_ms, || {
                format!("Too many connections: {address} was closed, max is {max} (maxCnxns)")
            });
            return Accepted::Refused;
        }
        let count = self.by_address.get(&address.ip()).copied().unwrap_or(0);
        if self.max_per_address > 0 && count >= self.max_per_address {
            self.rejected += 1;
            let max = self.max_per_address;
            self.complain(now_ms, || {
                let ip = address.ip();
                format!("Too many connections from {ip} - max is {max} (maxClientCnxns)")
            });
            return Accepted::Refused;
        }
        let mut tuned = stream.set_nodelay(true);
        if self.keep_alive {
            tuned = tuned.and_then(|()| SockRef::from(&stream).set_keepalive(true));
        }
        if tuned.is_err() {
            // It was reset already.
            return Accepted::Refused;
        }
        self.open += 1;
        *self.by_address.entry(address.ip()).or_insert(0) += 1;
        Accepted::Socket(stream, address)
    }

    /// A connection that was accepted is closed.
    pub(super) fn closed(&mut self, address: IpAddr) {
        self.open = self.open.saturating_sub(1);
        if let Entry::Occupied(mut entry) = self.by_address.entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// Logs, but not too often: a flood of connections must not become a flood of lines.
    fn complain(&mut self, now_ms: u64, line: impl FnOnce() -> String) {
        if self.logged_at.is_none_or(|at| now_ms >= at.saturating_add(LOG_PAUSE_MS)) {
            self.logged_at = Some(now_ms);
            log::warn!("{}", line());
        }
    }
}

/// One of the ports that other members come to.
#[derive(Debug)]
pub(super) struct MemberPort {
    pub(super) port: Port,
    pub(super) address: HostPort,
    pub(super) socket: TcpListener,
    /// Somebody may wait there.
    pub(super) pending: bool,
}

impl MemberPort {
    /// Opens the ports of the member `me`: on each of its addresses, or on all of the machine
    /// (`quorumListenOnAllIPs`). What cannot be opened is tried again, a second apart.
    ///
    /// Both are open from the start. (Apache opens the quorum port when it leads.)
    ///
    /// # Errors
    /// [`Error::BindMember`] after `electionPortBindRetry` attempts.
    pub(super) fn open_all(
        config: &Config,
        quorum: &Quorum,
        me: ServerId,
    ) -> Result<Vec<Self>, Error> {
        let own = quorum.servers.get(&me).into_iter().flat_map(|server| &server.addresses);
        let places = own.flat_map(|address| {
            [(Port::Election, address.election_port), (Port::Quorum, address.quorum_port)]
                .map(|(port, number)| (port, address.host.as_str(), number))
        });
        Self::wanted(places, config.quorum_listen_on_all_ips)
            .into_iter()
            .map(|(port, address)| {
                let mut attempt = 1;
                loop {
                    let error = match bind(&address, BACKLOG) {
                        Ok((socket, _)) => {
                            return Ok(Self { port, address, socket, pending: true });
                        }
                        Err(error) => error,
                    };
                    // 0 is no limit.
                    if attempt == config.election_port_bind_retry {
                        let address = address.to_string();
                        return Err(Error::BindMember { address, source: error });
                    }
                    attempt += 1;
                    log::warn!("cannot open {address} for the ensemble: {error}; trying again");
                    thread::sleep(BIND_PAUSE);
                }
            })
            .collect()
    }

    /// What to listen on for a server with those addresses, each once.
    pub(super) fn wanted<'a>(
        places: impl Iterator<Item = (Port, &'a str, u16)>,
        on_all: bool,
    ) -> Vec<(Port, HostPort)> {
        let mut wanted = Vec::new();
        for (port, host, number) in places {
            let host = if on_all { "0.0.0.0" } else { host };
            let address = (port, HostPort { host: host.to_owned(), port: number });
            if !wanted.contains(&address) {
                wanted.push(address);
            }
        }
        wanted
    }

    /// Opens one more port, while others are open.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn open(port: Port, address: HostPort) -> io::Result<Self> {
        let (socket, _) = bind(&address, BACKLOG)?;
        Ok(Self { port, address, socket, pending: true })
    }
}

fn bind(address: &HostPort, backlog: i32) -> io::Result<(TcpListener, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    if address.host == "0.0.0.0" {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port);
        match listen(any, backlog) {
            Ok(bound) => return Ok(bound),
            // The port is taken: nothing that IPv4 alone could help.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // This system has no IPv6.
            Err(_) => {}
        }
    }
    for candidate in (address.host.as_str(), address.port).to_socket_addrs()? {
        match listen(candidate, backlog) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen(address: SocketAddr, backlog: i32) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // On Windows it would let another process take the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into());
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}
