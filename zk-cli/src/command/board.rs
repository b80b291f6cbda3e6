//! `board`: who a microcontroller is, in the sector at the start of its flash.

use core::net::Ipv4Addr;
use core::str::FromStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use zk_core::id::ServerId;
use zk_core::quorum::{Config, Role, Server};
use zk_core::wire::provision::{self, PROVISION_MAX, Provision, Refusal};

use crate::failure::Failure;
use crate::output::Output;

/// The usual ports.
const QUORUM_PORT: u16 = 2888;
const ELECTION_PORT: u16 = 3888;
const CLIENT_PORT: u16 = 2181;

/// The largest image that is written, bytes: a flash chip has less.
const IMAGE_MAX: u64 = 1 << 30;

/// Bytes that are written at once.
const PIECE: usize = 64 << 10;

const AFTER_HELP: &str = "\
Examples:
  zk board provision --id 1 --peers 10.0.2.101,10.0.2.102,10.0.2.103 --mac 02:00:00:00:00:01 \\
      --out node1.bin
  zk board show node1.bin";

const PEERS_HELP: &str = "\
Every board of an ensemble gets the same --peers. Of each peer they say

  [ID=]ADDRESS[:QUORUM:ELECTION[:observer]][;CLIENT]

as in 1=10.0.2.101:2888:3888;2181. Without IDs the peers are numbered from 1. ADDRESS is an IPv4
address: boards look no names up. The ports are 2888 and 3888 unless others are said, and CLIENT, where
clients are served, is --client-port. A desktop server takes the server lines that are printed into its
zoo.cfg.

What is written belongs to the start of the board's flash, erased before. The rest of the flash is the
board's history: written over it, an image of the whole flash (--size) makes the board forget.";

/// Say who a board is
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Board {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    #[command(after_help = PEERS_HELP)]
    Provision(Provisioning),
    /// Print what a sector, or the image of a flash, says
    Show {
        /// The file
        file: PathBuf,
    },
}

/// Write the sector at the start of a board's flash
#[derive(Args, Debug)]
struct Provisioning {
    /// Which of the peers it is
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=ServerId::MAX.0))]
    id: i64,
    /// All peers, with commas between them
    #[arg(long, value_name = "PEERS", value_delimiter = ',', required = true)]
    peers: Vec<Peer>,
    /// The board's hardware address
    #[arg(long, value_name = "MAC")]
    mac: Mac,
    /// Have the network say the prefix and the gateway (DHCP), where the firmware can. It must give the board
    /// the address that --peers has for it: reserve that for --mac
    #[arg(long, conflicts_with_all = ["prefix", "gateway"])]
    dhcp: bool,
    /// Bits of the address that are the network's
    #[arg(long, value_name = "BITS", default_value_t = 24, value_parser = clap::value_parser!(u8).range(1..=32))]
    prefix: u8,
    /// The way to other networks
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,
    /// Where clients are served
    #[arg(long, value_name = "PORT", default_value_t = CLIENT_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    client_port: u16,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write an image of the whole flash, so many bytes, erased behind the sector: 65536, 64K, 16M
    #[arg(long, value_name = "BYTES", value_parser = size)]
    size: Option<u64>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

/// A member, as --peers says it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Peer {
    id: Option<i64>,
    address: Ipv4Addr,
    quorum: u16,
    election: u16,
    role: Role,
    client: Option<u16>,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, value) = match text.split_once('=') {
            None => (None, text),
            Some((id, value)) => {
                let id = id.parse().map_err(|_| format!("`{id}` is not the number of a peer"))?;
                (Some(id), value)
            }
        };
        let (host, client) = value.split_once(';').map_or((value, None), |(h, c)| (h, Some(c)));
        // With the usual ports an address alone is a server.
        let ports = format!(":{QUORUM_PORT}:{ELECTION_PORT}");
        let ports = if host.contains(':') { "" } else { &ports };
        let server = format!("{host}{ports}");
        let server = Server::parse(&server).map_err(|problem| problem.to_string())?;
        let [one] = server.addresses[..] else {
            return Err("a peer has one address here".to_owned());
        };
        let address = one.host.parse();
        let address = address.map_err(|_| format!("`{}` is not an IPv4 address", one.host))?;
        let client = client.map(|port| match port.parse() {
            Ok(0) | Err(_) => Err(format!("`{port}` is not a port for clients")),
            Ok(port) => Ok(port),
        });
        let (quorum, election, role) = (one.quorum, one.election, server.role);
        Ok(Self { id, address, quorum, election, role, client: client.transpose()? })
    }
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mac([u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| (1..=2).contains(&part.len()));
            let read = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = read.ok_or("this is not six bytes, as in 02:00:00:00:00:01")?;
        }
        if parts.next().is_some() {
            return Err("this has more than six bytes".to_owned());
        }
        Ok(Self(bytes))
    }
}

/// Reads a number of bytes: `4096`, `64K`, `16M`.
fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix(['M', 'm']).map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let bytes: Option<u64> = digits.parse().ok().and_then(|number: u64| number.checked_mul(unit));
    let bytes = bytes.ok_or("this is not a number of bytes, as in 65536, 64K, 16M")?;
    if (PROVISION_MAX as u64..=IMAGE_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("a flash has from {PROVISION_MAX} to {IMAGE_MAX} bytes here"))
    }
}

impl Board {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Failure> {
        match &self.what {
            What::Provision(provisioning) => provisioning.run(output),
            What::Show { file } => {
                let start = start(file).map_err(|error| {
                    Failure::Io(format!("cannot read {}: {error}", file.display()))
                })?;
                let provision = provision::decode(&start)
                    .map_err(|refusal| Failure::Io(format!("{}: {refusal}", file.display())))?;
                show(output, file, &provision)
            }
        }
    }
}

/// The start of a file, as much as a board reads.
fn start(file: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(PROVISION_MAX);
    File::open(file)?.take(PROVISION_MAX as u64).read_to_end(&mut start)?;
    Ok(start)
}

impl Provisioning {
    fn run(&self, output: &Output) -> Result<(), Failure> {
        let peers = self.numbered()?;
        let Some((_, own)) = peers.iter().find(|(id, _)| *id == self.id) else {
            return Err(Failure::Usage(format!("--peers names no server {}", self.id)));
        };
        let mut config = Config::owned();
        config
            .set(self.lines(&peers).as_bytes())
            .map_err(|error| Failure::Usage(format!("--peers is no ensemble: {error}")))?;
        let provision = Provision {
            server: ServerId(self.id),
            hardware: self.mac.0,
            address: own.address,
            prefix: if self.dhcp { 0 } else { self.prefix },
            gateway: self.gateway,
            client_port: own.client.unwrap_or(self.client_port),
            config: core::str::from_utf8(config.text()).unwrap_or_default(),
        };
        let mut sector = [0xff; PROVISION_MAX];
        provision::encode(&provision, &mut sector).map_err(|refusal| match refusal {
            Refusal::Unfit(why) => Failure::Usage(why.to_owned()),
            other => Failure::Usage(other.to_string()),
        })?;
        self.write(&sector)?;
        show(output, &self.out, &provision)
    }

    /// The peers and their numbers: those that were said, or their places.
    fn numbered(&self) -> Result<Vec<(i64, &Peer)>, Failure> {
        let said = self.peers.iter().filter(|peer| peer.id.is_some()).count();
        if said != 0 && said != self.peers.len() {
            return Err(Failure::Usage("give an ID to all of the peers, or to none".to_owned()));
        }
        Ok((1..).zip(&self.peers).map(|(place, peer)| (peer.id.unwrap_or(place), peer)).collect())
    }

    /// The lines of the configuration.
    fn lines(&self, peers: &[(i64, &Peer)]) -> String {
        let line = |(id, peer): &(i64, &Peer)| {
            let Peer { address, quorum, election, role, client, .. } = peer;
            let client = client.unwrap_or(self.client_port);
            format!("server.{id}={address}:{quorum}:{election}:{role};0.0.0.0:{client}\n")
        };
        peers.iter().map(line).collect()
    }

    /// Writes the sector, and erased flash behind it.
    fn write(&self, sector: &[u8]) -> Result<(), Failure> {
        let name = self.out.display();
        let mut file = match (self.force, File::create_new(&self.out)) {
            (true, Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                File::create(&self.out)
            }
            (_, opened) => opened,
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::Usage(format!(
                "{name} is there already, and may hold a board's history; --force writes over it"
            )),
            _ => Failure::Io(format!("cannot write to {name}: {error}")),
        })?;
        let erased = self.size.unwrap_or_default().saturating_sub(sector.len() as u64);
        fill(&mut file, sector, erased).map_err(|error| {
            // Half an image is no flash. That it was not whole is said below.
            let _ = fs::remove_file(&self.out);
            Failure::Io(format!("cannot write to {name}: {error}"))
        })
    }
}

fn fill(file: &mut File, sector: &[u8], mut erased: u64) -> io::Result<()> {
    file.write_all(sector)?;
    let piece = [0xff; PIECE];
    while erased > 0 {
        let len = PIECE.min(usize::try_from(erased).unwrap_or(PIECE));
        file.write_all(&piece[..len])?;
        erased -= len as u64;
    }
    file.sync_all()
}

fn show(output: &Output, file: &Path, provision: &Provision<'_>) -> Result<(), Failure> {
    let Provision { server: ServerId(id), hardware, address, prefix, gateway, client_port, config } =
        provision;
    let bytes = fs::metadata(file).map_or(0, |data| data.len());
    let mac = hardware.map(|byte| format!("{byte:02x}")).join(":");
    let gateway = gateway.map(|gateway| gateway.to_string());
    let leased = *prefix == 0;
    let lines = config.lines().filter_map(|line| line.split_once('='));
    if output.is_json() {
        let config: Map<_, _> = lines.map(|(key, value)| (key.to_owned(), value.into())).collect();
        return output.json(&json!({
            "file": file.to_string_lossy(),
            "bytes": bytes,
            "server": id,
            "mac": mac,
            "address": address.to_string(),
            "dhcp": leased,
            "prefix": Some(prefix).filter(|prefix| **prefix > 0),
            "gateway": gateway,
            "clientPort": client_port,
            "config": Value::from(config),
        }));
    }
    let mut rows = vec![
        ("file", file.display().to_string()),
        ("bytes", bytes.to_string()),
        ("server", id.to_string()),
        ("MAC", mac),
        ("address", if leased { address.to_string() } else { format!("{address}/{prefix}") }),
        ("gateway", gateway.unwrap_or_else(|| if leased { "by DHCP" } else { "none" }.to_owned())),
        ("client port", client_port.to_string()),
    ];
    rows.extend(lines.map(|(key, value)| (key, value.to_owned())));
    output.lines(rows.iter().map(|(what, value)| format!("{what:<12} {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read() {
        let peer = |text: &str| text.parse::<Peer>();
        let plain = Peer {
            id: None,
            address: Ipv4Addr::new(10, 0, 2, 101),
            quorum: 2888,
            election: 3888,
            role: Role::Participant,
            client: None,
        };
        assert_eq!(peer("10.0.2.101"), Ok(plain.clone()));
        assert_eq!(peer("7=10.0.2.101"), Ok(Peer { id: Some(7), ..plain.clone() }));
        assert_eq!(peer("10.0.2.101;2182"), Ok(Peer { client: Some(2182), ..plain.clone() }));
        let observer = Peer {
            id: Some(2),
            quorum: 1,
            election: 2,
            role: Role::Observer,
            client: Some(3),
            ..plain
        };
        assert_eq!(peer("2=10.0.2.101:1:2:observer;3"), Ok(observer));
        for bad in [
            "",
            "host",
            "x=10.0.2.101",
            "10.0.2.101:1",
            "10.0.2.101:1:1",
            "10.0.2.101:1:2:leader",
            "10.0.2.101:1:2|10.0.2.102:1:2",
            "10.0.2.101;0",
            "10.0.2.101;x",
            "10.0.2.101;1;2",
            "[::1]:1:2",
        ] {
            assert!(peer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hardware_addresses_are_read() {
        assert_eq!("02:0:00:aB:00:ff".parse(), Ok(Mac([2, 0, 0, 0xab, 0, 0xff])));
        assert_eq!("02-00-00-00-00-01".parse(), Ok(Mac([2, 0, 0, 0, 0, 1])));
        for bad in ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:1ff", "02:00::"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("65536"), Ok(65536));
        assert_eq!((size("64K"), size("16m")), (Ok(65536), Ok(16 << 20)));
        for bad in ["", "K", "1023", "2048M", "-1", "1G", "99999999999999999999M"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
