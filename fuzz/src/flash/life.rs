//! A start of a board, what it does then, and the loss of its power; and what must be there afterwards.

use core::cell::RefCell;
use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeMap;

use bumpalo::Bump;
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::peer::{Epochs, Link, Peer, State};
use zk_core::time::{Instant, Now};
use zk_core::tree::Seeds;
use zk_core::wire::client::{
    ConnectRequest, CreateRequest, OPEN_ACL_UNSAFE, ReplyHeader, RequestHeader, SetDataRequest,
};
use zk_core::wire::jute::{self, Buffer, List, Trailing};
use zk_core::wire::provision::{PROVISION_MAX, Provision};
use zk_core::wire::{Code, OpCode};
use zk_embedded::board::{self, Parts, RESERVED_BLOCKS, Refusal};
use zk_embedded::flash::simulated::{Cut, Fault, Flash};
use zk_embedded::flash::{self, Disk, Entries, History, Nor, Poll};
use zk_embedded::net::{self, phy};
use zk_embedded::node::{self, Node};
use zk_embedded::profile::{Profile, Ram, TINY};

use super::{BLOCKS, ERASE};
use crate::picture::Picture;
use crate::support::encode;

/// Nodes that are written.
const NODES: usize = 8;

/// Calls of a node before it serves, if it does.
const CALLS: usize = 60;

/// Steps in which a write is answered, if there is room for it.
const STEPS: usize = 4000;

/// Bytes that a start reads at most, in sizes of the device; operations of a whole life. Both are far
/// more than it takes: whoever needs more does not come to an end.
const READS: u64 = 300;
const OPERATIONS: u64 = 20_000;

/// What a board holds.
fn profile(write: usize) -> Profile {
    let blocks = BLOCKS - RESERVED_BLOCKS as usize;
    Profile { blocks, write, nodes: 20, snapshot: 3500, ..TINY }
}

/// What becomes of a board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate<'a> {
    /// Its power is cut at that operation of the flash, and not before the end if that is 0.
    operations: u64,
    cut: Cut,
    seed: u64,
    /// What is written: which node, and how much.
    writes: &'a [u8],
}

impl<'a> Fate<'a> {
    /// As every input ends.
    pub(super) const LAST: Self = Self::writing(&[0, 0x41, 0xfa, 3, 0x84, 0x29, 0xfa, 7]);

    /// It writes that, and its power is not cut before.
    pub(super) const fn writing(writes: &'a [u8]) -> Self {
        Fate { operations: 0, cut: Cut::After, seed: 0, writes }
    }

    /// Writes of one life, at most.
    const WRITES: usize = 24;

    /// Operations (two bytes), the way of the cut, a seed, and writes.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let Some((&[low, high, cut, seed], writes)) = bytes.split_first_chunk() else {
            return Self::LAST;
        };
        Self {
            operations: u64::from(u16::from_le_bytes([low, high])) % 1024,
            cut: Cut::ALL[usize::from(cut) % Cut::ALL.len()],
            seed: u64::from(seed),
            writes: &writes[..writes.len().min(Self::WRITES)],
        }
    }
}

/// A flash that has power, or has lost it.
struct Power {
    flash: Flash,
    fate: (u64, Cut, u64),
    /// What the loss of power has left.
    left: Option<Flash>,
}

/// A board's flash, outside of the board's memory.
#[derive(Clone, Copy)]
struct Chip<'p>(&'p RefCell<Power>);

impl core::fmt::Debug for Chip<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Chip")
    }
}

impl Chip<'_> {
    fn is_off(&self) -> bool {
        self.0.borrow().left.is_some()
    }

    fn with<T>(&self, what: impl FnOnce(&mut Flash) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut power = self.0.borrow_mut();
        let Power { flash, fate: (operations, cut, seed), left } = &mut *power;
        if left.is_some() {
            return Err(Fault);
        }
        let before = flash.counts();
        let result = what(flash);
        let counts = flash.counts();
        let done = counts.programs + counts.erases;
        assert!(done < OPERATIONS, "the board programs and erases for ever");
        if done > before.programs + before.erases && done == *operations {
            *left = Some(flash.cut(*cut, *seed));
        }
        result
    }
}

impl Nor for Chip<'_> {
    type Error = Fault;

    fn write_size(&self) -> usize {
        self.0.borrow().flash.geometry().write
    }

    fn erase_size(&self) -> usize {
        ERASE
    }

    fn capacity(&self) -> usize {
        BLOCKS * ERASE
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        self.with(|flash| flash.read(offset, bytes))
    }

    fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.with(|flash| flash.start_program(offset, bytes))
    }

    fn start_erase(&mut self, offset: u32) -> Result<(), Fault> {
        self.with(|flash| flash.start_erase(offset))
    }

    fn busy(&mut self) -> Result<bool, Fault> {
        self.with(Nor::busy)
    }
}

/// Memory of a board. What lies in it is not dropped, and has nothing that would have to be.
struct Arena<'m>(&'m Bump);

impl<'m> Ram<'m> for Arena<'m> {
    fn lend<T: 'm>(&mut self, len: usize, mut entry: impl FnMut() -> T) -> &'m mut [T] {
        self.0.alloc_slice_fill_with(len, |_| entry())
    }

    fn place<T: 'm>(&mut self, make: impl FnOnce() -> T) -> &'m mut T {
        self.0.alloc_with(make)
    }
}

/// A network without a cable.
struct Cable;

struct Nothing;

impl phy::RxToken for Nothing {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&[])
    }
}

impl phy::TxToken for Nothing {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        fill(&mut vec![0; len])
    }
}

impl phy::Device for Cable {
    type RxToken<'a> = Nothing;
    type TxToken<'a> = Nothing;

    fn receive(&mut self, _: net::Moment) -> Option<(Nothing, Nothing)> {
        None
    }

    fn transmit(&mut self, _: net::Moment) -> Option<Nothing> {
        Some(Nothing)
    }

    fn capabilities(&self) -> phy::DeviceCapabilities {
        let mut able = phy::DeviceCapabilities::default();
        able.medium = phy::Medium::Ethernet;
        able.max_transmission_unit = 1514;
        able
    }
}

/// What a flash has.
struct Seen {
    /// A history that must not be trusted.
    lost: bool,
    zxid: Zxid,
    picture: Picture,
    values: Vec<Option<Vec<u8>>>,
    epochs: Epochs,
    boots: u32,
}

/// Looks at what a start would find.
fn look(flash: &Flash, provision: &Provision<'_>) -> Result<Seen, flash::Error<Fault>> {
    let image = flash.image().to_vec();
    let power = power(flash.clone(), (0, Cut::After, 0));
    let bump = Bump::new();
    let ram = &mut Arena(&bump);
    let profile = profile(flash.geometry().write);
    let memory = profile.flash(ram);
    let options = flash::Options {
        first_block: RESERVED_BLOCKS,
        txn_max: profile.txn,
        snapshot_max: profile.snapshot,
    };
    let mut disk = Disk::new(Chip(&power), memory, options).expect("the profile fits");
    disk.open()?;
    let storage = profile.peer(ram);
    let session = SessionId::first(provision.server, 1);
    let options = profile.options(provision.server);
    let mut peer = Peer::new(storage, options, Seeds(1, 2), session, Now::new(0, 0)).expect("room");
    let lost = matches!(disk.load(&mut peer, true)?, History::Damaged(_));
    let read = power.borrow().flash.counts().read - flash.counts().read;
    assert!(read < READS * image.len() as u64, "{read} bytes were read");
    assert_eq!(power.borrow().flash.image(), image, "looking changed something");
    Ok(Seen {
        lost,
        zxid: peer.tree().last_zxid(),
        picture: picture(&peer),
        values: (0..NODES).map(|node| value(&peer, node)).collect(),
        epochs: disk.store().epochs(),
        boots: disk.store().boots(),
    })
}

/// What a peer has applied. When a leader writes the configuration into its tree the time is its own.
fn picture(peer: &Peer<'_>) -> Picture {
    Picture::of(peer).without("/zookeeper/config")
}

fn power(flash: Flash, (operations, cut, seed): (u64, Cut, u64)) -> RefCell<Power> {
    let counts = flash.counts();
    let begun = counts.programs + counts.erases;
    let at = if operations == 0 { 0 } else { begun + operations };
    RefCell::new(Power { flash, fate: (at, cut, seed), left: None })
}

fn path(node: usize) -> String {
    format!("/n{node}")
}

/// What a life has shown to others.
#[derive(Default)]
struct Shown {
    /// It has started, and that was start number so.
    boots: u32,
    epochs: Epochs,
    zxid: Zxid,
    picture: Option<Picture>,
    values: BTreeMap<usize, Value>,
}

/// Of a node what was answered last, and what was asked since.
struct Value {
    answered: Option<Vec<u8>>,
    asked: Vec<Vec<u8>>,
}

/// Lives, and looks at what is left; the flash as it is then. `worn`: blocks of it may fail.
///
/// # Panics
/// When it is not what it must be.
pub(super) fn live(flash: Flash, fate: &Fate<'_>, worn: bool) -> Flash {
    let mut chip = flash.clone();
    let mut room = [0; PROVISION_MAX];
    let Ok(provision) = board::provision(&mut chip, &mut room) else { return flash };
    let before = look(&flash, &provision);
    // What cannot be opened is refused, and what can be is not, unless a block fails.
    let opens = before.is_ok();
    let image = flash.image().to_vec();
    let power = power(flash, (fate.operations, fate.cut, fate.seed));
    let shown = {
        let bump = Bump::new();
        run(&power, &bump, fate, (opens, worn))
    };
    let Power { flash, left, .. } = power.into_inner();
    let left = left.unwrap_or_else(|| flash.cut(Cut::After, 0));
    let Ok(before) = before else {
        assert_eq!(left.image(), image, "a store that cannot be opened was changed");
        return left;
    };
    let after = match look(&left, &provision) {
        Ok(after) => after,
        Err(flash::Error::Worn { .. }) if worn => return left,
        Err(error) => panic!("it was opened once: {error}"),
    };
    assert_eq!(after.lost, before.lost, "lost before, and after");
    // Of a history that is lost nobody knows where the latest epochs are until it is given up.
    let known = if before.lost && shown.boots == 0 { Epochs::default() } else { before.epochs };
    for known in [known, shown.epochs] {
        assert!(after.epochs.accepted >= known.accepted, "{known:?} was promised");
        assert!(after.epochs.current >= known.current, "{known:?} was current");
    }
    let boots = if before.lost { shown.boots } else { shown.boots.max(before.boots) };
    assert!(after.boots >= boots, "a start was not counted");
    if before.lost {
        return left;
    }
    // A reign that has begun, and has no transaction yet, has a zxid as well.
    let least = if shown.zxid.counter() == 0 { before.zxid } else { shown.zxid.max(before.zxid) };
    let found = after.zxid;
    assert!(found >= least, "{found} is there, and not {least}");
    if after.zxid == before.zxid {
        after.picture.must_be(&before.picture, "as it was");
    }
    if let Some(picture) = &shown.picture
        && after.zxid == shown.zxid
    {
        after.picture.must_be(picture, "as it was shown");
    }
    for (node, Value { answered, asked }) in &shown.values {
        let found = &after.values[*node];
        let right = found == answered || found.as_ref().is_some_and(|it| asked.contains(it));
        assert!(right, "/n{node} is {found:?}, not {answered:?} or one of {asked:?}");
    }
    left
}

fn run<'m>(
    power: &'m RefCell<Power>,
    bump: &'m Bump,
    fate: &Fate<'_>,
    (opens, worn): (bool, bool),
) -> Shown {
    let chip = Chip(power);
    let profile = profile(chip.write_size());
    let reason = (fate.seed % 4 == 1).then_some(&b"a test"[..]);
    let parts =
        Parts { device: |_: &Provision<'_>| Cable, nor: chip, entropy: 0, reason, wall: None };
    let mut now = Instant(1000);
    let may = |error: &flash::Error<Fault>| match error {
        flash::Error::Device(Fault) => chip.is_off(),
        flash::Error::Worn { .. } => worn,
        flash::Error::Unfit(why) => why.contains("used up"),
        _ => false,
    };
    let node = board::start(&profile, &mut Arena(bump), parts, now);
    let mut node: Node<'m, Cable, Disk<'m, Chip<'m>>> = match node {
        Ok(node) => node,
        Err(Refusal::Flash(error)) if !opens || may(&error) => return Shown::default(),
        // Who the board is was changed.
        Err(Refusal::Config(_) | Refusal::Net(_)) => return Shown::default(),
        Err(Refusal::Unprovisioned(_)) if chip.is_off() => return Shown::default(),
        Err(refusal) => panic!("{refusal}"),
    };
    let mut shown = Shown { boots: node.disk().store().boots(), ..Shown::default() };
    let started = shown.boots;
    let mut show = |peer: &Peer<'_>| {
        shown.epochs = peer.epochs();
        shown.zxid = peer.tree().last_zxid();
        shown.picture = Some(picture(peer));
    };
    for _ in 0..CALLS {
        match node.poll(now) {
            Ok(until) => now = now.plus(1).max(until.unwrap_or(now)),
            Err(node::Error::Disk(error)) if may(&error) => {
                show(node.peer());
                return shown;
            }
            Err(error) => panic!("{error}"),
        }
        if node.peer().is_serving() {
            break;
        }
    }
    show(node.peer());
    assert!(!node.disk().store().is_lost() || !node.peer().is_serving(), "it has lost its history");
    if !node.peer().is_serving() {
        return shown;
    }
    let (peer, _, disk) = node.into_parts();
    let mut writer =
        Writer { peer, disk, now, shown, room: vec![0; Entries::room(profile.txn) + 500] };
    if let Err(error) = writer.write(fate.writes, fate.seed.is_multiple_of(2)) {
        assert!(may(&error), "{error}");
    }
    assert!(writer.disk.store().boots() >= started);
    let Writer { peer, mut shown, .. } = writer;
    assert!(!matches!(peer.state(), State::Stopped(_)), "{:?}", peer.state());
    shown.epochs = peer.epochs();
    shown.zxid = peer.tree().last_zxid();
    shown.picture = Some(picture(peer));
    shown
}

/// A board that serves, and a client of it.
struct Writer<'w, 'm> {
    peer: &'w mut Peer<'m>,
    disk: &'w mut Disk<'m, Chip<'m>>,
    now: Instant,
    shown: Shown,
    /// For what is read of the log.
    room: Vec<u8>,
}

impl Writer<'_, '_> {
    fn now(&self) -> Now {
        Now { monotonic: self.now, wall: self.now.0.cast_signed() }
    }

    fn step(&mut self) -> Result<Poll, flash::Error<Fault>> {
        self.now = self.now.plus(1);
        let now = self.now();
        if self.peer.poll_timeout().is_some_and(|at| at <= self.now) {
            self.peer.tick(now);
        }
        self.disk.poll(self.peer, now, self.now.0.is_multiple_of(3), &mut self.room)
    }

    /// Writes what it is told, and lets the store come to rest if it is to.
    fn write(&mut self, writes: &[u8], rest: bool) -> Result<(), flash::Error<Fault>> {
        let now = self.now();
        let Ok(link) = self.peer.open(now, IpAddr::V4(Ipv4Addr::LOCALHOST)) else { return Ok(()) };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout: 20_000,
            session_id: SessionId::NONE,
            passwd: Buffer::new(&[0; 16]),
            read_only: Trailing(Some(false)),
        };
        self.show(link, &encode(&request))?;
        // There may be no room for one more session.
        if self.answer(link)?.is_none() || self.peer.session(link).is_none() {
            return Ok(());
        }
        for (number, what) in writes.iter().enumerate() {
            let (node, len) = (usize::from(what % 8), usize::from(what / 8) * 6);
            let mut data = vec![number as u8; len];
            data.extend(self.shown.boots.to_le_bytes());
            self.ask(link, number as i32 + 1, node, &data)?;
            let answered = value(self.peer, node);
            let unasked = Value { answered, asked: vec![] };
            self.shown.values.entry(node).or_insert(unasked).asked.push(encoded(&data));
            let Some(reply) = self.answer(link)? else { break };
            let header: ReplyHeader = jute::decode(&reply).expect("a header");
            assert_eq!(header.xid, Xid(number as i32 + 1));
            if header.err == Code::Ok {
                let value = Value { answered: Some(encoded(&data)), asked: vec![] };
                self.shown.values.insert(node, value);
            }
        }
        if rest {
            for _ in 0..STEPS {
                if self.step()? == Poll::Idle && self.now.0.is_multiple_of(3) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Shows a request. If it is long, it may have to wait for what a connection has that nobody reads.
    fn show(&mut self, link: Link, request: &[u8]) -> Result<(), flash::Error<Fault>> {
        let frame = [&(request.len() as i32).to_be_bytes(), request].concat();
        for _ in 0..2 * STEPS {
            let received = self.peer.receive(self.now(), link, &frame);
            if received.consumed == frame.len() {
                return Ok(());
            }
            assert_eq!(received.consumed, 0, "a part of a request is taken");
            self.step()?;
        }
        assert!(self.disk.store().is_full(), "a request waits for nothing");
        Ok(())
    }

    fn ask(
        &mut self,
        link: Link,
        xid: i32,
        node: usize,
        data: &[u8],
    ) -> Result<(), flash::Error<Fault>> {
        let path = path(node);
        let header = |op| encode(&RequestHeader { xid: Xid(xid), op });
        let request = |op, body: &dyn Fn() -> Vec<u8>| [header(op), body()].concat();
        let request = if self.peer.tree().find(path.as_bytes()).is_none() {
            request(OpCode::Create, &|| {
                let mut room = [0; 64];
                let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).expect("room");
                let path = path.as_str().into();
                encode(&CreateRequest { path, data: data.into(), acl, flags: 0 })
            })
        } else {
            request(OpCode::SetData, &|| {
                let path = path.as_str().into();
                encode(&SetDataRequest { path, data: data.into(), version: -1 })
            })
        };
        self.show(link, &request)
    }

    /// The next frame that comes; none if the connection ends, or if the store is full.
    fn answer(&mut self, link: Link) -> Result<Option<Vec<u8>>, flash::Error<Fault>> {
        let mut full = false;
        for _ in 0..STEPS {
            while self.peer.poll_link().is_some() {}
            let output = self.peer.output(link);
            if let Some((len, rest)) = output.split_first_chunk::<4>() {
                let len = u32::from_be_bytes(*len) as usize;
                let frame = rest[..len].to_vec();
                let now = self.now();
                self.peer.sent(now, link, 4 + len);
                return Ok(Some(frame));
            }
            if self.peer.is_closing(link) || matches!(self.peer.state(), State::Stopped(_)) {
                return Ok(None);
            }
            self.step()?;
            full |= self.disk.store().is_full();
        }
        assert!(full, "nobody answers");
        Ok(None)
    }
}

/// What a node has, if it is there, as the tree writes it.
fn value(peer: &Peer<'_>, node: usize) -> Option<Vec<u8>> {
    let mut data = vec![];
    let at = peer.tree().find(path(node).as_bytes())?;
    peer.tree().put_data(at, &mut data).expect("a vector is never full");
    Some(data)
}

/// Data as the tree writes it.
fn encoded(data: &[u8]) -> Vec<u8> {
    [&(data.len() as i32).to_be_bytes(), data].concat()
}
