//! All of a peer's program: what a board brings, its start, and its loop.
//!
//! It runs on this machine, with a flash in memory and a network without a cable, until the peer, which is
//! the only member of its ensemble, leads:
//!
//! ```text
//! cargo run -p zk-embedded --example your_board
//! ```
//!
//! `docs/embedded.md` says what to put in the places of `Chip`, `Mac`, `Heap` and `Clock`.

use std::time::Duration;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use zk_core::id::ServerId;
use zk_core::peer::State;
use zk_core::time::Instant;
use zk_core::wire::provision::{self, PROVISION_MAX, Provision};
use zk_embedded::board::{self, Parts};
use zk_embedded::flash::Blocking;
use zk_embedded::net::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use zk_embedded::profile::{Profile, Ram, TINY};

/// How much it can hold: one place for all of it, checked when it is built.
const PROFILE: Profile = TINY;
const _: () = assert!(PROFILE.ram::<Blocking<Chip>>() <= 96 * 1024);

fn main() {
    let clock = Clock(std::time::Instant::now());
    let mut chip = Blocking(Chip::provisioned());
    let mut room = [0; PROVISION_MAX];
    let provision = board::provision(&mut chip, &mut room).expect("`zk board provision` wrote it");
    let parts = Parts { device: Mac, nor: chip, entropy: 0, reason: None, wall: None };
    let mut node = match board::start(&PROFILE, &mut Heap, &provision, parts, clock.now()) {
        Ok(node) => node,
        // A board notes that, and starts anew.
        Err(error) => panic!("{error}"),
    };
    let mut before = State::Recovering;
    loop {
        let until = match node.poll(clock.now()) {
            Ok(until) => until,
            Err(error) => panic!("{error}"),
        };
        let state = node.peer().state();
        if state != before {
            println!("{:?}: {state:?}", clock.now());
            before = state;
        }
        if state == State::Leading && node.peer().is_serving() {
            println!("it serves; this was start {}", node.disk().store().boots());
            return;
        }
        clock.sleep_until(until);
    }
}

/// Time since the board's start, from a timer that never stops.
struct Clock(std::time::Instant);

impl Clock {
    fn now(&self) -> Instant {
        Instant(self.0.elapsed().as_millis() as u64)
    }

    /// Or until a frame comes, whichever is first: a board waits for its interrupts.
    fn sleep_until(&self, until: Option<Instant>) {
        let until = until.unwrap_or(Instant(u64::MAX));
        std::thread::sleep(Duration::from_millis(until.since(self.now()).min(100)));
    }
}

/// Memory for the tables: a board lends pieces of a `static`.
struct Heap;

impl<'m> Ram<'m> for Heap {
    fn lend<T: 'm>(&mut self, len: usize, entry: impl FnMut() -> T) -> &'m mut [T] {
        Vec::leak(core::iter::repeat_with(entry).take(len).collect())
    }

    fn place<T: 'm>(&mut self, make: impl FnOnce() -> T) -> &'m mut T {
        Box::leak(Box::new(make()))
    }
}

/// A network: a driver of smoltcp's. This one has no cable.
struct Mac;
struct Nothing;

impl RxToken for Nothing {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&[])
    }
}

impl TxToken for Nothing {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        fill(&mut vec![0; len])
    }
}

impl Device for Mac {
    type RxToken<'a> = Nothing;
    type TxToken<'a> = Nothing;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Nothing, Nothing)> {
        None
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Nothing> {
        Some(Nothing)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut able = DeviceCapabilities::default();
        able.medium = Medium::Ethernet;
        able.max_transmission_unit = 1514;
        able
    }
}

/// A flash: a driver with the traits of `embedded-storage`, or `flash::Nor`, which need not wait for an
/// erase.
struct Chip(Vec<u8>);

impl Chip {
    /// What `zk board provision --id 1 --peers 1=10.0.0.1 --out FILE` writes at its start.
    fn provisioned() -> Self {
        let mut bytes = vec![0xff; 64 * Self::ERASE_SIZE];
        let provision = Provision {
            server: ServerId(1),
            hardware: [2, 0, 0, 0, 0, 1],
            address: [10, 0, 0, 1].into(),
            prefix: 24,
            gateway: None,
            client_port: 2181,
            config: "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181",
        };
        provision::encode(&provision, &mut bytes).expect("it makes sense");
        Self(bytes)
    }
}

impl ErrorType for Chip {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let found = self.0.get(offset as usize..).and_then(|from| from.get(..bytes.len()));
        bytes.copy_from_slice(found.ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let block = self.0.get_mut(from as usize..to as usize);
        block.ok_or(NorFlashErrorKind::OutOfBounds)?.fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let cells = self.0.get_mut(offset as usize..).and_then(|from| from.get_mut(..bytes.len()));
        let cells = cells.ok_or(NorFlashErrorKind::OutOfBounds)?;
        // Programming only clears bits.
        cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}
