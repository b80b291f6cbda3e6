//! The start of a board: from what its flash has to a node that runs.
//!
//! The first erase block of the flash has what makes a board this board ([`Settings`]), all others
//! are the [store](crate::flash). A start loads the history, makes the number of this start durable,
//! and joins the ensemble. That number seeds all that must differ from one start to the next: session
//! ids, ports, sequence numbers of TCP, the order of hash tables.

use core::net::Ipv4Addr;

use zk_core::id::{ServerId, SessionId};
use zk_core::memory::Full;
use zk_core::peer::{Membership, Peer};
use zk_core::quorum::ConfigError;
use zk_core::time::{Instant, Now};
use zk_core::tree::Seeds;

use crate::flash::{self, Disk, Done, History, Nor, Poll};
use crate::net::phy::Device;
use crate::net::{self, Net, Unfit};
use crate::node::{self, Node};
use crate::profile::{Profile, Ram};

/// The erase blocks before the store.
pub const RESERVED_BLOCKS: u32 = 1;

/// What makes a board this board.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Which member it is.
    pub server: ServerId,
    /// Its hardware address; a network of IP packets has none.
    pub hardware: Option<[u8; 6]>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of it that are the network's.
    pub prefix: u8,
    /// Who knows the way to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Where clients are served, unless the configuration says another port.
    pub client_port: u16,
    /// The ensemble, as lines of `server.N` and `version`.
    pub config: &'a [u8],
    /// A flash without a history is that of a new member; otherwise it has lost one, and the board
    /// does not vote before a leader has sent it what it lacks.
    pub new: bool,
}

/// What a board gives.
#[derive(Debug)]
pub struct Parts<D, N> {
    /// The network.
    pub device: D,
    /// The flash.
    pub nor: N,
    /// Something that nobody foresees, or 0: it is mixed into the seeds.
    pub entropy: u64,
    /// What the board's clock says, milliseconds since 1970, if it has one.
    pub wall: Option<i64>,
}

/// Why a board does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<E> {
    /// The flash.
    Flash(flash::Error<E>),
    /// The profile has no room for one frame.
    Memory(Full),
    /// The network, or its memory.
    Net(Unfit),
    /// The configuration.
    Config(ConfigError),
}

impl<E> From<flash::Error<E>> for Refusal<E> {
    fn from(error: flash::Error<E>) -> Self {
        Self::Flash(error)
    }
}

impl<E> From<Full> for Refusal<E> {
    fn from(full: Full) -> Self {
        Self::Memory(full)
    }
}

impl<E> From<Unfit> for Refusal<E> {
    fn from(unfit: Unfit) -> Self {
        Self::Net(unfit)
    }
}

impl<E> From<ConfigError> for Refusal<E> {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Starts a node. This takes as long as loading a history and erasing a block do.
///
/// # Errors
/// [`Refusal`].
pub fn start<'m, D: Device, N: Nor>(
    profile: &Profile,
    ram: &mut impl Ram<'m>,
    settings: &Settings<'_>,
    parts: Parts<D, N>,
    now: Instant,
) -> Result<Node<'m, D, Disk<'m, N>>, Refusal<N::Error>> {
    let Parts { device, nor, entropy, wall } = parts;
    let memory = profile.flash(ram);
    let options = flash::Options {
        first_block: RESERVED_BLOCKS,
        txn_max: profile.txn,
        snapshot_max: profile.snapshot,
    };
    let mut disk = Disk::open(nor, memory, options)?;
    // The start that is about to be counted.
    let boots = u64::from(disk.store().boots()) + 1;
    let seed = mixed(boots ^ entropy.rotate_left(32) ^ (settings.server.0 as u64).rotate_left(56));
    let wall = wall.unwrap_or(0);
    let mut now = Now { monotonic: now, wall };
    let mut peer = Peer::new(
        profile.peer(ram),
        profile.options(settings.server),
        Seeds(seed, mixed(seed)),
        SessionId::first(settings.server, boots),
        now,
    )?;
    let history = disk.load(&mut peer, settings.new)?;
    now.wall = wall.max(peer.last_time());
    disk.start()?;
    let (storage, places) = profile.net(ram);
    let scratch = &mut places.scratch[..];
    while !matches!(disk.poll(&mut peer, now, false, scratch)?, Poll::Done(Done::Started(_))) {}
    let membership = Membership {
        config: settings.config,
        proposed: None,
        epochs: disk.store().epochs(),
        damaged: matches!(history, History::Damaged(_)),
    };
    peer.join(now, &membership)?;
    let options = net::Options {
        hardware: settings.hardware,
        address: settings.address,
        prefix: settings.prefix,
        gateway: settings.gateway,
        seed: mixed(!seed),
    };
    let net = Net::new(device, storage, &options, now.monotonic)?;
    let options = node::Options { client_port: settings.client_port, wall: now.wall };
    Ok(Node::new(peer, net, disk, places, &options, now.monotonic)?)
}

/// Spreads what differs in a few bits over all of them (the finisher of splitmix64).
const fn mixed(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}
