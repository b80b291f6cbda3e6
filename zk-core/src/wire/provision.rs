//! Who a board is: the sector at the start of its flash that `zk board provision` writes.
//!
//! Little-endian:
//!
//! ```text
//! "zkbd" | u16 format, 1 | u16 length of the body | body | u32 CRC-32 (ISO-HDLC) of all before
//! ```
//!
//! The body is the postcard form of [`Provision`]. What follows in the flash is not looked at. Answers to
//! `zoo.cfg` and `myid`.

use core::fmt;
use core::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::crc::Crc;
use crate::id::ServerId;
use crate::quorum::server_in;

/// Bytes that the sector has at most, and that a board reads.
pub const PROVISION_MAX: usize = 1024;

/// Bytes that the text of the configuration has at most.
pub const CONFIG_MAX: usize = 960;

/// How the sector begins.
const MAGIC: [u8; 4] = *b"zkbd";

/// The format that is written here.
const FORMAT: u16 = 1;

/// Bytes before the body.
const HEAD: usize = 8;

/// Bytes behind the body.
const SUM: usize = 4;

/// Bytes of the longest body without the text: id, hardware address, address, prefix, gateway, port,
/// and the length of the text.
const BODY: usize = 10 + 6 + 4 + 1 + 5 + 3 + 2;

const _: () = assert!(HEAD + BODY + CONFIG_MAX + SUM <= PROVISION_MAX);

/// Who a board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provision<'a> {
    /// Its id in the ensemble, from 1 to [`ServerId::MAX`].
    pub server: ServerId,
    /// Its hardware address. Where the network has none it is not used.
    pub hardware: [u8; 6],
    /// Its IPv4 address: one of those that its line of the configuration has.
    pub address: Ipv4Addr,
    /// Bits of the address that are the network's, from 1 to 32. 0: the network says that, the gateway and,
    /// as it must, the same address (DHCP).
    pub prefix: u8,
    /// Who knows the way to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Where it serves clients; where its line of the configuration says it too, the same.
    pub client_port: u16,
    /// The ensemble with which it begins, as [`Config::set`](crate::quorum::Config::set) takes it. A
    /// later one is in its history.
    #[serde(borrow)]
    pub config: &'a str,
}

/// Why a board does not know who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was never told: the flash is erased.
    Blank,
    /// Something else is there.
    Magic,
    /// It was written in a later format, this one.
    Newer(u16),
    /// It was not written to its end, or has changed since.
    Damaged,
    /// It says what cannot be.
    Unfit(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let anew = "write what `zk board provision` makes to the start of the flash";
        match self {
            Self::Blank => write!(f, "this board is not provisioned: {anew}"),
            Self::Magic => write!(f, "the flash does not begin with who this board is: {anew}"),
            Self::Newer(format) => write!(
                f,
                "the provision has format {format}, and this knows {FORMAT}: take a later firmware, or \
                 `zk board provision` of this version"
            ),
            Self::Damaged => write!(f, "the provision is damaged: {anew}"),
            Self::Unfit(why) => write!(f, "the provision does not fit: {why}: {anew}"),
        }
    }
}

impl core::error::Error for Refusal {}

impl Provision<'_> {
    /// Whether a board can be that.
    fn check(&self) -> Result<(), Refusal> {
        let must = |holds, why| if holds { Ok(()) } else { Err(Refusal::Unfit(why)) };
        must(
            (1..=ServerId::MAX.0).contains(&self.server.0),
            "the id of a server is from 1 to 254",
        )?;
        must(
            self.hardware[0] & 1 == 0 && self.hardware != [0; 6],
            "the hardware address is not one of a host",
        )?;
        must(self.prefix <= 32, "the prefix is from 1 to 32 bits, or 0 where the network says it")?;
        must(is_host(self.address, self.prefix), "the address is not one of a host")?;
        if let Some(gateway) = self.gateway {
            must(self.prefix > 0, "a network that says the prefix says the gateway, too")?;
            let there = is_host(gateway, self.prefix)
                && gateway != self.address
                && (gateway.to_bits() ^ self.address.to_bits()) & !hosts(self.prefix) == 0;
            must(there, "the gateway is not another host of the network")?;
        }
        must(self.client_port > 0, "the client port is 0")?;
        must(self.config.len() <= CONFIG_MAX, "the configuration has more than 960 bytes")?;
        let server = server_in(self.config.as_bytes(), self.server)
            .map_err(|_| Refusal::Unfit("its configuration is none"))?
            .ok_or(Refusal::Unfit("the configuration has no server of this id"))?;
        must(
            server.addresses.iter().any(|address| address.host.parse() == Ok(self.address)),
            "the configuration has this server at another address",
        )?;
        must(
            server.client.is_none_or(|(_, port)| port == self.client_port),
            "the configuration has another client port for this server",
        )
    }
}

/// The bits of an address that are not the network's.
fn hosts(prefix: u8) -> u32 {
    u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

/// Whether one machine can have that address.
fn is_host(address: Ipv4Addr, prefix: u8) -> bool {
    let (own, hosts) = (address.to_bits() & hosts(prefix), hosts(prefix));
    // Two addresses are no network: both are hosts'.
    let in_network = hosts <= 1 || (own != 0 && own != hosts);
    matches!(address.octets()[0], 1..=126 | 128..=223) && in_network
}

/// Writes the sector to the start of `to`; how long it is.
///
/// # Errors
/// [`Refusal::Unfit`]: what cannot be, or has no room in `to`.
pub fn encode(provision: &Provision<'_>, to: &mut [u8]) -> Result<usize, Refusal> {
    const ROOM: Refusal = Refusal::Unfit("it has no room");
    provision.check()?;
    let (head, body) = to.split_first_chunk_mut::<HEAD>().ok_or(ROOM)?;
    let len = postcard::to_slice(provision, body).map_err(|_| ROOM)?.len();
    let [magic @ .., f, o, l, n] = head;
    *magic = MAGIC;
    [*f, *o] = FORMAT.to_le_bytes();
    // A body has less than PROVISION_MAX bytes.
    [*l, *n] = (len as u16).to_le_bytes();
    let (sealed, rest) = to.split_at_mut_checked(HEAD + len).ok_or(ROOM)?;
    *rest.first_chunk_mut().ok_or(ROOM)? = Crc::of(sealed).to_le_bytes();
    Ok(HEAD + len + SUM)
}

/// Reads the sector that `bytes` begin with: the start of a flash, [`PROVISION_MAX`] of them.
///
/// # Errors
/// [`Refusal`].
pub fn decode(bytes: &[u8]) -> Result<Provision<'_>, Refusal> {
    let bytes = bytes.get(..PROVISION_MAX).unwrap_or(bytes);
    if !bytes.is_empty() && bytes.iter().all(|&byte| byte == 0xff) {
        return Err(Refusal::Blank);
    }
    let damaged = Refusal::Damaged;
    let (magic, rest) = bytes.split_first_chunk().ok_or(damaged)?;
    if *magic != MAGIC {
        return Err(Refusal::Magic);
    }
    let (format, rest) = rest.split_first_chunk().ok_or(damaged)?;
    match u16::from_le_bytes(*format) {
        FORMAT => {}
        0 => return Err(damaged),
        newer => return Err(Refusal::Newer(newer)),
    }
    let (len, rest) = rest.split_first_chunk().ok_or(damaged)?;
    let len = usize::from(u16::from_le_bytes(*len));
    let (body, rest) = rest.split_at_checked(len).ok_or(damaged)?;
    let sum = u32::from_le_bytes(*rest.first_chunk().ok_or(damaged)?);
    if Crc::of(bytes.get(..HEAD + len).ok_or(damaged)?) != sum {
        return Err(damaged);
    }
    let (provision, rest) =
        postcard::take_from_bytes::<Provision<'_>>(body).map_err(|_| damaged)?;
    if !rest.is_empty() {
        return Err(damaged);
    }
    provision.check()?;
    Ok(provision)
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const TWO: &str = "server.1=10.0.2.101:2888:3888:participant;0.0.0.0:2181\n\
                       server.2=10.0.2.102:2888:3888:observer\nversion=0";

    fn first() -> Provision<'static> {
        Provision {
            server: ServerId(1),
            hardware: [2, 0, 0, 0, 0, 1],
            address: Ipv4Addr::new(10, 0, 2, 101),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            client_port: 2181,
            config: TWO,
        }
    }

    fn golden() -> Vec<u8> {
        let mut bytes = b"zkbd\x01\x00\x7b\x00".to_vec();
        // The id is a zigzag number, and so on.
        bytes.extend(
            b"\x02\x02\x00\x00\x00\x00\x01\x0a\x00\x02\x65\x18\x01\x0a\x00\x02\x02\x85\x11",
        );
        bytes.push(TWO.len() as u8);
        bytes.extend(TWO.as_bytes());
        bytes.extend([0xaa, 0x51, 0xa3, 0x39]);
        bytes
    }

    fn written(provision: &Provision<'_>) -> Vec<u8> {
        let mut room = [0; PROVISION_MAX];
        let len = encode(provision, &mut room).unwrap();
        room[..len].to_vec()
    }

    #[test]
    fn the_bytes_are_these() {
        let golden = golden();
        assert_eq!(written(&first()), golden);
        assert_eq!(decode(&golden), Ok(first()));
        // The flash goes on behind it, erased or not.
        for behind in [0xff, 0, 0x7a] {
            let mut flash = golden.clone();
            flash.resize(2 * PROVISION_MAX, behind);
            assert_eq!(decode(&flash), Ok(first()));
        }
    }

    #[test]
    fn every_cut_and_every_bit_that_flips_is_refused() {
        let golden = golden();
        for cut in 0..golden.len() {
            assert_eq!(decode(&golden[..cut]), Err(Refusal::Damaged), "{cut}");
            // As it is when the power went while it was written.
            let mut torn = golden[..cut].to_vec();
            torn.resize(PROVISION_MAX, 0xff);
            let refusal = match cut {
                0 => Refusal::Blank,
                1..4 => Refusal::Magic,
                4 => Refusal::Newer(0xffff),
                5 => Refusal::Newer(0xff01),
                _ => Refusal::Damaged,
            };
            assert_eq!(decode(&torn), Err(refusal), "{cut}");
        }
        for bit in 0..8 * golden.len() {
            let mut bytes = golden.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let refusal = match bit / 8 {
                0..4 => Refusal::Magic,
                4..6 if bit > 32 => Refusal::Newer(1 | 1 << (bit - 32)),
                _ => Refusal::Damaged,
            };
            assert_eq!(decode(&bytes), Err(refusal), "bit {bit}");
        }
        assert_eq!(decode(&[]), Err(Refusal::Damaged));
        assert_eq!(decode(&[0; PROVISION_MAX]), Err(Refusal::Magic));
        assert_eq!(decode(&[0xff; 4 * PROVISION_MAX]), Err(Refusal::Blank));
    }

    /// A sector with a right checksum around any body.
    fn around(body: &[u8]) -> Vec<u8> {
        let mut bytes =
            [&MAGIC[..], &FORMAT.to_le_bytes(), &(body.len() as u16).to_le_bytes()].concat();
        bytes.extend(body);
        bytes.extend(Crc::of(&bytes).to_le_bytes());
        bytes
    }

    fn body(provision: &Provision<'_>) -> Vec<u8> {
        let mut room = [0; 2 * PROVISION_MAX];
        postcard::to_slice(provision, &mut room).unwrap().to_vec()
    }

    #[test]
    fn a_body_is_whole_and_nothing_more() {
        let whole = body(&first());
        assert_eq!(decode(&around(&whole)), Ok(first()));
        assert_eq!(decode(&around(&[&whole[..], &[0]].concat())), Err(Refusal::Damaged));
        assert_eq!(decode(&around(&whole[..whole.len() - 1])), Err(Refusal::Damaged));
    }

    #[test]
    fn what_cannot_be_is_neither_written_nor_read() {
        let first = first();
        let at = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let long = format!("{TWO}\n#{}", "x".repeat(CONFIG_MAX));
        let cases = [
            (Provision { server: ServerId(0), ..first }, "the id of a server is from 1 to 254"),
            (Provision { server: ServerId(255), ..first }, "the id of a server is from 1 to 254"),
            (Provision { hardware: [0; 6], ..first }, "the hardware address is not one of a host"),
            (Provision { hardware: [1; 6], ..first }, "the hardware address is not one of a host"),
            (
                Provision { prefix: 33, ..first },
                "the prefix is from 1 to 32 bits, or 0 where the network says it",
            ),
            (
                Provision { prefix: 0, gateway: Some(at("10.0.2.2")), ..first },
                "a network that says the prefix says the gateway, too",
            ),
            (Provision { address: at("127.0.0.1"), ..first }, "the address is not one of a host"),
            (Provision { address: at("224.0.0.1"), ..first }, "the address is not one of a host"),
            (Provision { address: at("10.0.2.0"), ..first }, "the address is not one of a host"),
            (Provision { address: at("10.0.2.255"), ..first }, "the address is not one of a host"),
            (
                Provision { gateway: Some(first.address), ..first },
                "the gateway is not another host of the network",
            ),
            (
                Provision { gateway: Some(at("10.0.3.2")), ..first },
                "the gateway is not another host of the network",
            ),
            (
                Provision { gateway: Some(at("10.0.2.0")), ..first },
                "the gateway is not another host of the network",
            ),
            (Provision { client_port: 0, ..first }, "the client port is 0"),
            (Provision { config: &long, ..first }, "the configuration has more than 960 bytes"),
            (Provision { config: "server.1=x", ..first }, "its configuration is none"),
            (Provision { config: "", ..first }, "its configuration is none"),
            (
                Provision { server: ServerId(3), ..first },
                "the configuration has no server of this id",
            ),
            (
                Provision { server: ServerId(2), ..first },
                "the configuration has this server at another address",
            ),
            (
                Provision { client_port: 2182, ..first },
                "the configuration has another client port for this server",
            ),
        ];
        for (provision, why) in cases {
            let refusal = Refusal::Unfit(why);
            let mut room = [0; 4 * PROVISION_MAX];
            assert_eq!(encode(&provision, &mut room), Err(refusal), "{provision:?}");
            let bytes = around(&body(&provision));
            if bytes.len() <= PROVISION_MAX {
                assert_eq!(decode(&bytes), Err(refusal), "{provision:?}");
            }
        }
        // Point to point, and where no line says a client port.
        let second = Provision {
            server: ServerId(2),
            address: at("10.0.2.102"),
            prefix: 31,
            gateway: Some(at("10.0.2.103")),
            client_port: 9,
            ..first
        };
        assert_eq!(decode(&written(&second)), Ok(second));
        // What the network says.
        let leased = Provision { prefix: 0, gateway: None, ..first };
        assert_eq!(decode(&written(&leased)), Ok(leased));
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        let len = golden().len();
        for room in 0..len {
            let refusal = Err(Refusal::Unfit("it has no room"));
            assert_eq!(encode(&first(), &mut [0; 256][..room]), refusal, "{room}");
        }
        assert_eq!(encode(&first(), &mut [0; 256][..len]), Ok(len));
        // The longest text fits with all that is longest.
        let mut config = TWO.replace("server.1=", "server.254=");
        config.push_str("\n#");
        while config.len() < CONFIG_MAX {
            config.push('x');
        }
        let longest =
            Provision { server: ServerId::MAX, client_port: 2181, config: &config, ..first() };
        let bytes = written(&longest);
        assert!(bytes.len() <= PROVISION_MAX);
        assert_eq!(decode(&bytes), Ok(longest));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for refusal in [
            Refusal::Blank,
            Refusal::Magic,
            Refusal::Newer(2),
            Refusal::Damaged,
            Refusal::Unfit("the client port is 0"),
        ] {
            assert!(refusal.to_string().contains("`zk board provision`"), "{refusal}");
        }
        assert!(Refusal::Newer(7).to_string().contains("format 7"));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            own in 1u8..=254,
            others in proptest::collection::btree_set(1u8..=254, 0..8),
            (prefix, gateway) in (8u8..=23, any::<bool>()),
            hardware in any::<[u8; 5]>(),
            (port, said, version) in (1u16.., any::<bool>(), any::<i64>()),
        ) {
            let mut config = String::new();
            for id in others.iter().copied().filter(|&id| id != own).chain([own]) {
                config += &format!("server.{id}=10.7.7.{id}:{}:{}", 1 + u16::from(id), 2 + u16::from(id));
                if said {
                    config += &format!(";{port}");
                }
                config += "\n";
            }
            config += &format!("version={version:x}");
            let [a, b, c, d, e] = hardware;
            let provision = Provision {
                server: ServerId(own.into()),
                hardware: [2, a, b, c, d, e],
                address: Ipv4Addr::new(10, 7, 7, own),
                prefix,
                gateway: gateway.then_some(Ipv4Addr::new(10, 7, 6, own)),
                client_port: port,
                config: &config,
            };
            let bytes = written(&provision);
            prop_assert_eq!(decode(&bytes), Ok(provision));
        }

        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            whole in any::<bool>(),
        ) {
            let read = if whole { around(&bytes) } else { bytes };
            let _ = decode(&read);
        }
    }
}
