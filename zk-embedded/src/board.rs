//! The start of a board: from what its flash has to a node that runs.
//!
//! The first erase block of the flash says [who the board is](provision()), all others are the
//! [store](crate::flash). A start loads the history, makes the number of this start durable, and joins
//! the ensemble. That number seeds all that must differ from one start to the next: session ids, ports,
//! sequence numbers of TCP, the order of hash tables.
//!
//! A store that was never written is that of a new member, which may vote. So a board whose flash was
//! replaced must not come back into an ensemble under its old number: it would have forgotten what it has
//! acknowledged.
//!
//! ```text
//! let device = |provision: &Provision<'_>| Mac::new(provision.hardware);
//! let parts = Parts { device, nor, entropy: 0, reason: None, wall: None };
//! let mut node = board::start(&TINY, &mut ram, parts, clock.now())?;
//! loop { let until = node.poll(clock.now())?; clock.sleep(until); }
//! ```

use core::fmt;

use zk_core::id::{ServerId, SessionId};
use zk_core::memory::Full;
use zk_core::peer::{Membership, Peer};
use zk_core::quorum::ConfigError;
use zk_core::say;
use zk_core::time::{Instant, Now};
use zk_core::tree::Seeds;
use zk_core::wire::provision::{self, PROVISION_MAX, Provision};

use crate::flash::{self, Disk, Done, History, Nor, Poll};
use crate::net::phy::Device;
use crate::net::{self, Net, Unfit};
use crate::node::{self, Down, Node};
use crate::profile::{MadeDisk, MadePeer, Profile, Ram};

/// The erase blocks before the store.
pub const RESERVED_BLOCKS: u32 = 1;

/// Reads who the board is.
///
/// # Errors
/// [`Unprovisioned`]: the device, or what is there is no provision.
pub fn provision<'r, N: Nor>(
    nor: &mut N,
    room: &'r mut [u8; PROVISION_MAX],
) -> Result<Provision<'r>, Unprovisioned<N::Error>> {
    nor.read(0, room).map_err(Unprovisioned::Device)?;
    provision::decode(room).map_err(Unprovisioned::Refused)
}

/// Why a board does not know who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprovisioned<E> {
    /// The flash cannot be read.
    Device(E),
    /// What it begins with.
    Refused(provision::Refusal),
}

impl<E: fmt::Display> fmt::Display for Unprovisioned<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => write!(f, "the flash cannot be read: {error}"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Unprovisioned<E> {}

/// What a board gives.
#[derive(Debug)]
pub struct Parts<'r, F, N> {
    /// What makes the network, with the hardware address that the provision says.
    pub device: F,
    /// The flash.
    pub nor: N,
    /// Something that nobody foresees, or 0: it is mixed into the seeds.
    pub entropy: u64,
    /// Why the board was reset, if it was and is known: it is noted in the flash.
    pub reason: Option<&'r [u8]>,
    /// What the board's clock says, milliseconds since 1970, if it has one.
    pub wall: Option<i64>,
}

/// Why a board does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<E> {
    /// It does not know who it is.
    Unprovisioned(Unprovisioned<E>),
    /// The flash.
    Flash(flash::Error<E>),
    /// The profile has no room for one frame.
    Memory(Full),
    /// The network, or its memory.
    Net(Unfit),
    /// The configuration.
    Config(ConfigError),
}

impl<E: fmt::Display> fmt::Display for Refusal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unprovisioned(error) => error.fmt(f),
            Self::Flash(error) => write!(f, "the flash: {error}"),
            Self::Memory(_) => f.write_str("the profile has no room for one frame"),
            Self::Net(unfit) => write!(f, "the network: {unfit}"),
            Self::Config(error) => write!(f, "the configuration: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Refusal<E> {}

impl<E> From<Unprovisioned<E>> for Refusal<E> {
    fn from(error: Unprovisioned<E>) -> Self {
        Self::Unprovisioned(error)
    }
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

/// Starts what is left of a node whose starts have failed again and again: it says `why` to whoever
/// asks `ruok`.
///
/// # Errors
/// [`Unfit`].
pub fn stay_down<'m, D: Device>(
    profile: &Profile,
    ram: &mut impl Ram<'m>,
    provision: &Provision<'_>,
    device: D,
    why: &'m [u8],
    now: Instant,
) -> Result<Down<'m, D>, Unfit> {
    let (storage, places) = profile.net(ram);
    let net = Net::new(device, storage, &net_options(provision, 0), now)?;
    Down::new(net, places.places, provision.client_port, why)
}

/// What its provision says of a board's network.
fn net_options(provision: &Provision<'_>, seed: u64) -> net::Options {
    net::Options {
        hardware: Some(provision.hardware),
        address: provision.address,
        prefix: provision.prefix,
        gateway: provision.gateway,
        seed,
    }
}

/// Starts a node. This takes as long as loading a history and erasing a block do.
///
/// # Errors
/// [`Refusal`].
pub fn start<'m, D: Device, N: Nor + 'm>(
    profile: &Profile,
    ram: &mut impl Ram<'m>,
    parts: Parts<'_, impl FnOnce(&Provision<'_>) -> D, N>,
    now: Instant,
) -> Result<Node<'m, D, Disk<'m, N>>, Refusal<N::Error>> {
    let reason = parts.reason;
    let Loaded { peer, disk, device, storage, places, options, network, damaged, now } =
        load(profile, ram, parts, now)?;
    count(disk, peer, reason, now)?;
    join(peer, disk, places.scratch, damaged, now)?;
    connect(peer, disk, (device, storage, network), (places, options), now.monotonic)
}

/// A peer that has loaded its history, and what it needs to be heard.
struct Loaded<'m, D, N: Nor> {
    peer: &'m mut Peer<'m>,
    disk: &'m mut Disk<'m, N>,
    device: D,
    storage: net::Storage<'m>,
    /// Its scratch has who the board is.
    places: node::Storage<'m>,
    options: node::Options,
    network: net::Options,
    damaged: bool,
    now: Now,
}

/// Reads who the board is, and loads what it knows; as [`open`].
#[inline(never)]
fn load<'m, D: Device, N: Nor + 'm>(
    profile: &Profile,
    ram: &mut impl Ram<'m>,
    parts: Parts<'_, impl FnOnce(&Provision<'_>) -> D, N>,
    now: Instant,
) -> Result<Loaded<'m, D, N>, Refusal<N::Error>> {
    let Parts { device, mut nor, entropy, wall, .. } = parts;
    let (storage, places) = profile.net(ram);
    // Nothing else needs the scratch before the ensemble is joined, and the stack has other things to hold.
    let provision = provision(&mut nor, room_in(places.scratch)?)?;
    let device = device(&provision);
    let disk = open(profile, ram, nor)?;
    // The start that is about to be counted.
    let boots = u64::from(disk.store().boots()) + 1;
    let seed = mixed(boots ^ entropy.rotate_left(32) ^ (provision.server.0 as u64).rotate_left(56));
    let wall = wall.unwrap_or(0);
    let mut now = Now { monotonic: now, wall };
    let session = SessionId::first(provision.server, boots);
    let peer = peer(profile, ram, provision.server, seed, session, now)?;
    // Where nothing was written, the member is new.
    let damaged = matches!(disk.load(peer, true)?, History::Damaged(_));
    now.wall = wall.max(peer.last_time());
    disk.start()?;
    let options = node::Options { client_port: provision.client_port, wall: now.wall };
    let network = net_options(&provision, mixed(!seed));
    Ok(Loaded { peer, disk, device, storage, places, options, network, damaged, now })
}

fn room_in(scratch: &mut [u8]) -> Result<&mut [u8; PROVISION_MAX], Unfit> {
    scratch.first_chunk_mut().ok_or(Unfit("the scratch has no room for who the board is"))
}

/// Joins the ensemble that is named in who the board is; as [`open`].
#[inline(never)]
fn join<N: Nor>(
    peer: &mut Peer<'_>,
    disk: &Disk<'_, N>,
    scratch: &mut [u8],
    damaged: bool,
    now: Now,
) -> Result<(), Refusal<N::Error>> {
    let provision = provision::decode(room_in(scratch)?).map_err(Unprovisioned::Refused)?;
    let store = disk.store();
    let epochs = store.epochs();
    say!(
        info,
        "start {}: history up to zxid {:#x}, epochs {} and {}, {} blocks of the flash are good{}",
        store.boots(),
        peer.tree().last_zxid().0,
        epochs.accepted.0,
        epochs.current.0,
        store.good(),
        if damaged { "; some of the history is lost" } else { "" }
    );
    let config = provision.config.as_bytes();
    Ok(peer.join(now, &Membership { config, proposed: None, epochs, damaged })?)
}

/// Gives a peer its network; as [`open`].
#[inline(never)]
fn connect<'m, D: Device, N: Nor>(
    peer: &'m mut Peer<'m>,
    disk: &'m mut Disk<'m, N>,
    (device, storage, network): (D, net::Storage<'m>, net::Options),
    (places, options): (node::Storage<'m>, node::Options),
    now: Instant,
) -> Result<Node<'m, D, Disk<'m, N>>, Refusal<N::Error>> {
    let net = Net::new(device, storage, &network, now)?;
    Ok(Node::new(peer, net, disk, places, &options, now)?)
}

/// Opens the store. It is large: what it is made from leaves the stack with this.
#[inline(never)]
fn open<'m, N: Nor + 'm>(
    profile: &Profile,
    ram: &mut impl Ram<'m>,
    nor: N,
) -> Result<&'m mut Disk<'m, N>, flash::Error<N::Error>> {
    let options = flash::Options {
        first_block: RESERVED_BLOCKS,
        txn_max: profile.txn,
        snapshot_max: profile.snapshot,
    };
    let memory = profile.flash(ram);
    let made: &mut MadeDisk<'m, N> = ram.place(|| Disk::new(nor, memory, options));
    let disk = made.as_mut().map_err(|unfit| *unfit)?;
    disk.open()?;
    Ok(disk)
}

/// Makes the peer; as [`open`].
#[inline(never)]
fn peer<'m>(
    profile: &Profile,
    ram: &mut impl Ram<'m>,
    server: ServerId,
    seed: u64,
    session: SessionId,
    now: Now,
) -> Result<&'m mut Peer<'m>, Full> {
    let seeds = Seeds(seed, mixed(seed));
    let storage = profile.peer(ram);
    let made: &mut MadePeer<'m> =
        ram.place(|| Peer::new(storage, profile.options(server), seeds, session, now));
    made.as_mut().map_err(|full| *full)
}

/// Makes the number of this start durable, and why the last one ended.
#[inline(never)]
fn count<N: Nor>(
    disk: &mut Disk<'_, N>,
    peer: &mut Peer<'_>,
    reason: Option<&[u8]>,
    now: Now,
) -> Result<(), flash::Error<N::Error>> {
    // No learner reads: nothing needs it.
    let scratch = &mut [];
    while !matches!(disk.poll(peer, now, false, scratch)?, Poll::Done(Done::Started(_))) {}
    let Some(reason) = reason else { return Ok(()) };
    while !disk.store().is_ready() {
        disk.poll(peer, now, false, scratch)?;
    }
    disk.store_mut().note(reason)?;
    // Where there is no room, it is written as soon as a snapshot has made some.
    while !matches!(disk.poll(peer, now, false, scratch)?, Poll::Done(Done::Noted) | Poll::Idle) {}
    Ok(())
}

/// Spreads what differs in a few bits over all of them (the finisher of splitmix64).
const fn mixed(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}
