//! One server of a configuration: the value of its `server.N` line.
//!
//! ```text
//! server = addresses [ ";" client ]      client  = [ host ":" ] port
//! addresses = address { "|" address }    address = host ":" quorum ":" election [ ":" role ]
//! ```
//!
//! An IPv6 address stands in brackets. Answers to `QuorumPeer.QuorumServer` and
//! `ConfigUtils.getHostAndPort`.

use core::fmt;
use core::net::Ipv6Addr;

use heapless::Vec;

use super::text::Fill;
use crate::text::parse;

/// The most addresses that a server may have.
pub const ADDRESSES_MAX: usize = if cfg!(zk_handle16) { 4 } else { 16 };

/// Whether a server votes. Answers to `QuorumPeer.LearnerType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes.
    Participant,
    /// Follows without a vote.
    Observer,
}

impl Role {
    /// `participant` or `observer`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        }
    }

    /// Reads `participant` or `observer`, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("participant") {
            Some(Self::Participant)
        } else if name.eq_ignore_ascii_case("observer") {
            Some(Self::Observer)
        } else {
            None
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with the value of a `server.N` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerError<'a> {
    /// It has not the form above.
    Form,
    /// A host is empty.
    NoHost,
    /// Not a port.
    Port(&'a str),
    /// Not a client's address.
    Client(&'a str),
    /// No `]` behind a `[`.
    Bracket(&'a str),
    /// Something else than `:` and a port behind a `]`.
    NoPort(&'a str),
    /// An address has one port for both purposes.
    SamePorts,
    /// Not a role.
    Role(&'a str),
    /// Its addresses have different roles.
    Roles,
    /// More than [`ADDRESSES_MAX`] addresses.
    Addresses,
    /// A third part: a port for TLS, as later versions of ZooKeeper write it.
    Tls,
}

impl fmt::Display for ServerError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("this is not a server"),
            Self::NoHost => f.write_str("there is no host"),
            Self::Port(port) => write!(f, "\"{port}\" is not a port (0 to 65535)"),
            Self::Client(client) => write!(f, "\"{client}\" is not a client address"),
            Self::Bracket(text) => write!(f, "\"{text}\" has no ']' for its '['"),
            Self::NoPort(text) => write!(f, "\"{text}\" has no port after ']'"),
            Self::SamePorts => f.write_str("quorum port and election port are the same"),
            Self::Role(role) => write!(f, "there is no role \"{role}\""),
            Self::Roles => f.write_str("its addresses have different roles"),
            Self::Addresses => write!(f, "it has more than {ADDRESSES_MAX} addresses"),
            Self::Tls => f.write_str(
                "the part after the second ';' is a TLS client port, and zk has no TLS yet",
            ),
        }
    }
}

/// A host as Java shows it: an IPv6 address in brackets and all eight groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host<'a>(pub &'a str);

impl<'a> Host<'a> {
    /// As Java's `getHostString`, by which Apache sorts the addresses of a server.
    fn name(self) -> Name<'a> {
        let Ok(address) = self.0.parse::<Ipv6Addr>() else { return Name::Given(self.0) };
        let mut room = [0; NAME_MAX];
        let mut out = Fill::new(&mut room);
        match address.to_ipv4_mapped() {
            Some(mapped) => {
                for (at, part) in mapped.octets().iter().enumerate() {
                    out.put(if at == 0 { "" } else { "." }).number((*part).into(), 10);
                }
            }
            None => {
                for (at, part) in address.segments().iter().enumerate() {
                    out.put(if at == 0 { "" } else { ":" }).number((*part).into(), 16);
                }
            }
        }
        let len = out.len();
        Name::Literal(room, len)
    }

    fn put(self, out: &mut Fill<'_>) {
        let name = self.name();
        let (open, name, close) = name.bracketed();
        out.put(open).put(name).put(close);
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        let (open, name, close) = name.bracketed();
        write!(f, "{open}{name}{close}")
    }
}

/// Bytes of the longest literal, without brackets: eight groups of four digits.
const NAME_MAX: usize = 39;

enum Name<'a> {
    Given(&'a str),
    Literal([u8; NAME_MAX], usize),
}

impl Name<'_> {
    fn bracketed(&self) -> (&str, &str, &str) {
        let name = self.as_str();
        if name.contains(':') { ("[", name, "]") } else { ("", name, "") }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Given(name) => name,
            Self::Literal(text, len) => {
                core::str::from_utf8(text.get(..*len).unwrap_or_default()).unwrap_or_default()
            }
        }
    }
}

/// One address at which a server meets the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// Name or literal address; an IPv6 address without its brackets.
    pub host: &'a str,
    /// Port on which it leads.
    pub quorum: u16,
    /// Port on which it takes part in elections; never the same as `quorum`.
    pub election: u16,
}

/// The value of a `server.N` line, parsed. Displayed as Apache writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server<'a> {
    /// Whether it votes.
    pub role: Role,
    /// At least one, in order of the line.
    pub addresses: Vec<Address<'a>, ADDRESSES_MAX>,
    /// Where it serves clients, if the line says so.
    pub client: Option<(&'a str, u16)>,
}

impl<'a> Server<'a> {
    /// Reads the value of a `server.N` line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: &'a str) -> Result<Self, ServerError<'a>> {
        let mut parts = split(value, ';');
        let servers = parts.next().unwrap_or_default();
        let client = parts.next();
        match (parts.next(), parts.next()) {
            (None, _) => {}
            (Some(_), None) => return Err(ServerError::Tls),
            (Some(_), Some(_)) => return Err(ServerError::Form),
        }
        let client = client.map(parse_client).transpose()?;
        let mut addresses = Vec::new();
        let mut role = None;
        for server in split(servers, '|') {
            let mut parts = host_and_ports(server)?;
            let (Some(host), Some(quorum), Some(election), name, None) =
                (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(ServerError::Form);
            };
            if host.is_empty() {
                return Err(ServerError::NoHost);
            }
            let (quorum, election) = (parse_port(quorum)?, parse_port(election)?);
            if quorum == election {
                return Err(ServerError::SamePorts);
            }
            addresses
                .push(Address { host, quorum, election })
                .map_err(|_| ServerError::Addresses)?;
            if let Some(name) = name {
                let this = Role::from_name(trim(name)).ok_or(ServerError::Role(name))?;
                if *role.get_or_insert(this) != this {
                    return Err(ServerError::Roles);
                }
            }
        }
        Ok(Self { role: role.unwrap_or(Role::Participant), addresses, client })
    }
}

impl Server<'_> {
    /// Writes it as the value of a line to the start of `room`, if it fits, and answers how long
    /// it is.
    pub fn write(&self, room: &mut [u8]) -> usize {
        let mut out = Fill::new(room);
        self.put(&mut out);
        out.len()
    }

    /// Answers to `QuorumServer.toString`.
    pub(super) fn put(&self, out: &mut Fill<'_>) {
        let mut addresses = self.addresses.clone();
        super::sort_by(&mut addresses, |one, two| {
            let (name, other) = (Host(one.host).name(), Host(two.host).name());
            let ports = || (one.quorum, one.election).cmp(&(two.quorum, two.election));
            name.as_str().cmp(other.as_str()).then_with(ports)
        });
        for (at, Address { host, quorum, election }) in addresses.iter().enumerate() {
            Host(host).put(out.put(if at == 0 { "" } else { "|" }));
            out.put(":").number((*quorum).into(), 10).put(":").number((*election).into(), 10);
        }
        out.put(":").put(self.role.name());
        if let Some((host, port)) = self.client {
            Host(host).put(out.put(";"));
            out.put(":").number(port.into(), 10);
        }
    }
}

fn parse_client(client: &str) -> Result<(&str, u16), ServerError<'_>> {
    let mut parts = host_and_ports(client)?;
    match (parts.next(), parts.next(), parts.next()) {
        (Some(port), None, _) => Ok(("0.0.0.0", parse_port(port)?)),
        (Some(host), Some(port), None) => Ok((host, parse_port(port)?)),
        _ => Err(ServerError::Client(client)),
    }
}

fn parse_port(port: &str) -> Result<u16, ServerError<'_>> {
    let number = parse(port.as_bytes(), 10).and_then(|port| u16::try_from(port).ok());
    number.ok_or(ServerError::Port(port))
}

/// Writes a host and a port to the start of `room`, as a server names its own address to others.
/// `None` if they do not fit.
pub fn put_host_and_port<'r>(host: &str, port: u16, room: &'r mut [u8]) -> Option<&'r str> {
    let mut out = Fill::new(room);
    Host(host).put(&mut out);
    out.put(":").number(port.into(), 10);
    out.into_text()
}

/// Reads a host and a port, as a server names its own address to others.
///
/// # Errors
/// What is wrong with it.
pub fn host_and_port(text: &str) -> Result<(&str, u16), ServerError<'_>> {
    let mut parts = host_and_ports(text)?;
    match (parts.next(), parts.next(), parts.next()) {
        (Some(host), Some(port), None) => Ok((host, parse_port(port)?)),
        _ => Err(ServerError::Form),
    }
}

/// Splits at the colons, but not at those of an IPv6 address in brackets.
fn host_and_ports(text: &str) -> Result<impl Iterator<Item = &str>, ServerError<'_>> {
    let (host, ports) = match text.strip_prefix('[') {
        None => (None, Some(text)),
        Some(inside) => {
            let (host, rest) = inside.split_once(']').ok_or(ServerError::Bracket(text))?;
            // What is in brackets is an address, and no address has brackets.
            if host.contains('[') {
                return Err(ServerError::Bracket(text));
            }
            let ports = rest.strip_prefix(':').filter(|ports| !ports.is_empty());
            if ports.is_none() && !rest.is_empty() {
                return Err(ServerError::NoPort(text));
            }
            (Some(host), ports)
        }
    };
    Ok(host.into_iter().chain(ports.into_iter().flat_map(|ports| split(ports, ':'))))
}

/// `String.trim` of Java.
pub(super) fn trim(text: &str) -> &str {
    let letter = |byte: &u8| *byte > b' ';
    let bytes = text.as_bytes();
    let start = bytes.iter().position(letter).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(letter).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// `String.split` of Java: empty parts at the end do not count.
pub(super) fn split(text: &str, separator: char) -> core::str::Split<'_, char> {
    text.trim_end_matches(separator).split(separator)
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    fn written(value: &str) -> Result<String, String> {
        let server = Server::parse(value).map_err(|problem| problem.to_string())?;
        let mut room = [0; 400];
        let len = server.write(&mut room);
        Ok(core::str::from_utf8(&room[..len]).unwrap().to_string())
    }

    #[test]
    fn servers_are_written_as_apache_writes_them() {
        // Right-hand sides: QuorumServer.toString() of Apache 3.8.0.
        for (value, text) in [
            ("h:2888:3888", "h:2888:3888:participant"),
            ("h:2888:3888:observer", "h:2888:3888:observer"),
            ("h:2888:3888: OBSERVER ;2181", "h:2888:3888:observer;0.0.0.0:2181"),
            ("h:2888:3888;c:2181", "h:2888:3888:participant;c:2181"),
            (
                "[::1]:2888:3888;[fe80::1]:2181",
                "[0:0:0:0:0:0:0:1]:2888:3888:participant;[fe80:0:0:0:0:0:0:1]:2181",
            ),
            ("[::ffff:1.2.3.4]:1:2", "1.2.3.4:1:2:participant"),
            ("h:+2888:3888::;;", "h:2888:3888:participant"),
            ("b:1:2:observer|[::1]:3:4", "[0:0:0:0:0:0:0:1]:3:4|b:1:2:observer"),
            ("[fe80::1]:1:2|b:3:4|Z:5:6", "Z:5:6|b:3:4|[fe80:0:0:0:0:0:0:1]:1:2:participant"),
        ] {
            assert_eq!(written(value).as_deref(), Ok(text), "{value}");
            // What was written is read as the same.
            assert_eq!(written(text).as_deref(), Ok(text), "{text}");
        }
    }

    #[test]
    fn malformed_servers_say_why() {
        for (value, problem) in [
            ("", "this is not a server"),
            (";", "this is not a server"),
            ("h", "this is not a server"),
            ("h:2888", "this is not a server"),
            ("h:1:2:observer:3", "this is not a server"),
            ("h:1:2;3;4;5", "this is not a server"),
            (":1:2", "there is no host"),
            ("h:1:1", "quorum port and election port are the same"),
            ("h:1:x", "\"x\" is not a port (0 to 65535)"),
            ("h:1:2 ", "\"2 \" is not a port (0 to 65535)"),
            ("h:1:65536", "\"65536\" is not a port (0 to 65535)"),
            ("h:-1:2", "\"-1\" is not a port (0 to 65535)"),
            ("h:1:2:leader", "there is no role \"leader\""),
            ("h:1:2;c:3:4", "\"c:3:4\" is not a client address"),
            ("h:1:2;c", "\"c\" is not a port (0 to 65535)"),
            ("[::1:1:2", "\"[::1:1:2\" has no ']' for its '['"),
            ("[::1]:", "\"[::1]:\" has no port after ']'"),
            ("[::1]x:1:2", "\"[::1]x:1:2\" has no port after ']'"),
            ("a:1:2:observer|b:1:2:participant", "its addresses have different roles"),
        ] {
            assert_eq!(written(value), Err(problem.to_string()), "{value}");
        }
        assert_eq!(Server::parse("h:1:2;3;4"), Err(ServerError::Tls));
        assert_eq!(Server::parse("h:1:2;;4"), Err(ServerError::Tls));
        let many = std::vec!["a:1:2"; ADDRESSES_MAX + 1];
        assert_eq!(Server::parse(&many.join("|")), Err(ServerError::Addresses));
        assert!(Server::parse(&many[1..].join("|")).is_ok());
    }

    #[test]
    fn a_host_and_its_port() {
        assert_eq!(host_and_port("h:1"), Ok(("h", 1)));
        assert_eq!(host_and_port("[::1]:1"), Ok(("::1", 1)));
        for bad in ["", "h", "h:", "h:x", "h:1:2", "[::1", "[::1]", "::1"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}
