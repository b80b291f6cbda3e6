//! The ensemble as a configuration describes it: `server.N`, `group.N`, `weight.N`, `version`.
//!
//! Sources: Apache's `QuorumPeer.QuorumServer`, `QuorumMaj`, `QuorumHierarchical`,
//! `QuorumPeerConfig.parseDynamicConfig`, `ConfigUtils.getHostAndPort`.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;

use zk_core::id::{ServerId, Zxid};
use zk_core::quorum::{Address, Host, Role, Server, ServerError};

use super::error::Error;
use super::settings::{Setting, parse_long};

/// A host, by name or by address, and a TCP port.
#[derive(Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or literal address; an IPv6 address without its brackets.
    pub host: String,
    /// The port; 0 lets the system choose one.
    pub port: u16,
}

impl HostPort {
    /// The addresses behind the host.
    ///
    /// # Errors
    /// What the resolver of the system reports for a name that it does not know.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// Whether it is every address of the machine (`0.0.0.0` or `::`).
    #[must_use]
    pub fn is_any_address(&self) -> bool {
        self.host.parse().is_ok_and(|address: IpAddr| address.is_unspecified())
    }

    /// The same port of the same literal address, or of the same name: names are not resolved.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same_host = match (self.host.parse::<IpAddr>(), other.host.parse::<IpAddr>()) {
            (Ok(one), Ok(two)) => one == two,
            _ => self.host.eq_ignore_ascii_case(&other.host),
        };
        same_host && self.port == other.port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Host(&self.host), self.port)
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One address at which a server meets the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Name or literal address; an IPv6 address without its brackets.
    pub host: String,
    /// Port on which it leads.
    pub quorum_port: u16,
    /// Port on which it takes part in elections; never the same as `quorum_port`.
    pub election_port: u16,
}

impl ServerAddress {
    fn borrowed(&self) -> Address<'_> {
        Address { host: &self.host, quorum: self.quorum_port, election: self.election_port }
    }
}

/// A `server.N` line. Displayed as Apache writes it into its dynamic files.
#[derive(Clone, PartialEq, Eq)]
pub struct QuorumServer {
    /// `N`.
    pub id: ServerId,
    /// At least one; more only with `multiAddress.enabled`. In order of the line.
    pub addresses: Vec<ServerAddress>,
    /// Whether it votes.
    pub role: Role,
    /// Where it serves clients, if the line or (for this server) `clientPort` says so.
    pub client_address: Option<HostPort>,
    /// The client address came from `clientPort`: it is not part of the line.
    pub client_address_is_static: bool,
}

impl fmt::Display for QuorumServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client_address.as_ref().filter(|_| !self.client_address_is_static);
        let server = Server {
            role: self.role,
            addresses: self.addresses.iter().map(ServerAddress::borrowed).collect(),
            client: client.map(|client| (client.host.as_str(), client.port)),
        };
        let mut text = vec![0; server.write(&mut [])];
        server.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for QuorumServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server.{}={self}", self.id.0)
    }
}

/// Which sets of voters are a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuorumRule {
    /// More than half of the voters.
    Majority,
    /// More than half of the weight in more than half of the groups that have any weight.
    Hierarchical {
        /// Which servers each group holds. No server is in two; every voter is in one.
        groups: BTreeMap<i64, Vec<ServerId>>,
        /// Weight of each server of a group; 1 when there is no `weight` line.
        weights: BTreeMap<ServerId, u64>,
    },
    /// A majority; of two voters one is enough while the file at this path begins with `1`.
    Oracle {
        /// `oraclePath`.
        path: PathBuf,
    },
}

/// The ensemble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// All members.
    pub servers: BTreeMap<ServerId, QuorumServer>,
    /// Which of the voters make a quorum.
    pub rule: QuorumRule,
    /// Zxid of the reconfiguration that made this configuration; 0 is none.
    pub version: Zxid,
}

impl Quorum {
    /// The servers that vote, in order of their ids.
    pub fn voters(&self) -> impl Iterator<Item = &QuorumServer> {
        self.servers.values().filter(|server| server.role == Role::Participant)
    }

    /// The servers that follow without a vote, in order of their ids.
    pub fn observers(&self) -> impl Iterator<Item = &QuorumServer> {
        self.servers.values().filter(|server| server.role == Role::Observer)
    }

    /// Reads the lines `server.N`, `group.N`, `weight.N` and `version`; others are passed over.
    pub(super) fn parse(
        lines: &[Setting],
        multi_address: bool,
        oracle: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let mut servers = BTreeMap::new();
        let mut groups: BTreeMap<i64, Vec<ServerId>> = BTreeMap::new();
        let mut weights = BTreeMap::new();
        let mut hierarchical = None;
        let mut version = Zxid(0);
        for line in lines {
            if line.key.starts_with("server.") {
                let id = ServerId(id_of(line)?);
                let server = parse_server(id, &line.value, multi_address)
                    .map_err(|(problem, remedy)| line.error(problem, remedy))?;
                if servers.insert(id, server).is_some() {
                    return Err(
                        line.error(format!("server {} has two lines", id.0), "keep one of them")
                    );
                }
            } else if line.key.starts_with("group") {
                hierarchical.get_or_insert(line);
                let members = parse_group(line, &groups)?;
                if groups.insert(id_of(line)?, members).is_some() {
                    return Err(line.error("the group has two lines", "keep one of them"));
                }
            } else if line.key.starts_with("weight") {
                hierarchical.get_or_insert(line);
                let weight = line.value.parse::<u32>().map_err(|_| {
                    line.error("not a weight", format!("write a number from 0 to {}", u32::MAX))
                })?;
                weights.insert(ServerId(id_of(line)?), u64::from(weight));
            } else if line.key == "version" {
                version = i64::from_str_radix(&line.value, 16)
                    .map(Zxid)
                    .map_err(|_| line.error("not a hexadecimal number", "remove the line"))?;
            }
        }
        let rule = match (oracle, hierarchical) {
            (Some(path), _) => QuorumRule::Oracle { path },
            (None, None) => QuorumRule::Majority,
            (None, Some(line)) => {
                complete_weights(line, &servers, &groups, &mut weights)?;
                QuorumRule::Hierarchical { groups, weights }
            }
        };
        Ok(Self { servers, rule, version })
    }
}

/// The number after the first dot of a key (of the whole key, when it has no dot).
fn id_of(line: &Setting) -> Result<i64, Error> {
    let id = line.key.split_once('.').map_or(line.key.as_str(), |(_, id)| id);
    parse_long(id).ok_or_else(|| {
        line.error(
            "the key does not end with the number of a server or group",
            "write keys like server.1, group.1 or weight.1",
        )
    })
}

fn parse_group(
    line: &Setting,
    groups: &BTreeMap<i64, Vec<ServerId>>,
) -> Result<Vec<ServerId>, Error> {
    let mut members: Vec<ServerId> = Vec::new();
    for id in split(&line.value, ':') {
        let id = parse_long(id).map(ServerId).ok_or_else(|| {
            line.error(
                format!("{id:?} is not the number of a server"),
                "write the numbers with ':' between them, such as 1:2:3",
            )
        })?;
        if members.contains(&id) || groups.values().any(|group| group.contains(&id)) {
            return Err(line.error(
                format!("server {} is in a group already", id.0),
                "name every server in one group",
            ));
        }
        members.push(id);
    }
    Ok(members)
}

/// Checks that groups and servers fit, and gives every voter a weight.
fn complete_weights(
    line: &Setting,
    servers: &BTreeMap<ServerId, QuorumServer>,
    groups: &BTreeMap<i64, Vec<ServerId>>,
    weights: &mut BTreeMap<ServerId, u64>,
) -> Result<(), Error> {
    for server in servers.values() {
        if server.role == Role::Participant {
            if !groups.values().any(|group| group.contains(&server.id)) {
                return Err(line.error(
                    format!("there are groups, but server {} is in none", server.id.0),
                    "name every participant in one group",
                ));
            }
            weights.entry(server.id).or_insert(1);
        }
    }
    for (group, members) in groups {
        for member in members {
            if !weights.contains_key(member) {
                return Err(line.error(
                    format!(
                        "group.{group} names server {}, which is no participant and has no weight",
                        member.0
                    ),
                    "take it out of the group",
                ));
            }
        }
    }
    Ok(())
}

/// Reads the value of a `server.N` line.
fn parse_server(
    id: ServerId,
    value: &str,
    multi_address: bool,
) -> Result<QuorumServer, (String, &'static str)> {
    let Server { role, addresses, client } =
        Server::parse(value).map_err(|problem| (problem.to_string(), remedy(problem)))?;
    if addresses.len() > 1 && !multi_address {
        return Err((
            "there are several addresses, but multiAddress.enabled is false".to_owned(),
            "set multiAddress.enabled=true, on every server, or keep one address",
        ));
    }
    let address = |address: &Address<'_>| ServerAddress {
        host: address.host.to_owned(),
        quorum_port: address.quorum,
        election_port: address.election,
    };
    Ok(QuorumServer {
        id,
        addresses: addresses.iter().map(address).collect(),
        role,
        client_address: client.map(|(host, port)| HostPort { host: host.to_owned(), port }),
        client_address_is_static: false,
    })
}

/// What to do about a line that is no server.
fn remedy(problem: ServerError<'_>) -> &'static str {
    match problem {
        ServerError::Tls => "remove that part if you can do without",
        ServerError::SamePorts => "give them different ports, such as 2888 and 3888",
        _ => {
            "write host:quorumPort:electionPort[:participant|:observer][;[clientHost:]clientPort], \
             without blanks (with multiAddress.enabled, more addresses after '|')"
        }
    }
}

/// `String.split` of Java: empty parts at the end do not count.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: &str, multi_address: bool) -> Result<String, String> {
        parse_server(ServerId(1), value, multi_address)
            .map(|server| server.to_string())
            .map_err(|(problem, _)| problem)
    }

    #[test]
    fn server_lines_are_written_as_apache_writes_them() {
        // Right-hand sides: QuorumServer.toString() of Apache 3.8.0.
        for (value, written) in [
            ("h:2888:3888", "h:2888:3888:participant"),
            ("h:2888:3888: OBSERVER ;2181", "h:2888:3888:observer;0.0.0.0:2181"),
            (
                "[::1]:2888:3888;[fe80::1]:2181",
                "[0:0:0:0:0:0:0:1]:2888:3888:participant;[fe80:0:0:0:0:0:0:1]:2181",
            ),
        ] {
            assert_eq!(line(value, false).as_deref(), Ok(written), "{value}");
        }
        let two = line("b:1:2:observer|[::1]:3:4", true);
        assert_eq!(two.as_deref(), Ok("[0:0:0:0:0:0:0:1]:3:4|b:1:2:observer"));
    }

    #[test]
    fn malformed_server_lines_say_why() {
        for (value, problem) in [
            ("h:2888", "this is not a server"),
            ("h:1:1", "quorum port and election port are the same"),
            ("h:1:2 ", "\"2 \" is not a port (0 to 65535)"),
            ("[::1:1:2", "\"[::1:1:2\" has no ']' for its '['"),
            ("a:1:2|b:1:2", "there are several addresses, but multiAddress.enabled is false"),
        ] {
            assert_eq!(line(value, false), Err(problem.to_owned()), "{value}");
        }
        assert!(line("h:1:2;3;4", false).unwrap_err().contains("TLS"));
        assert!(line("a:1:2:observer|b:1:2:participant", true).is_err());
    }

    #[test]
    fn addresses_compare_by_number_names_by_letters() {
        let at = |host: &str, port| HostPort { host: host.to_owned(), port };
        assert!(at("::1", 1).is_same(&at("0:0::1", 1)));
        assert!(at("Host", 1).is_same(&at("host", 1)));
        assert!(!at("host", 1).is_same(&at("host", 2)));
        assert!(at("0.0.0.0", 1).is_any_address() && at("::", 1).is_any_address());
        assert!(!at("0.0.0.1", 1).is_any_address());
    }
}
