//! All of a peer's program: what a board brings, its start, and its loop.
//!
//! It runs on this machine, with a flash in memory and a network without a cable, until the peer, which is
//! the only member of its ensemble, leads:
//!
//! ```text
//! cargo run -p zk-embedded --example your_board
//! ```
//!
//! `docs/embedded.md` says what to put in the places of `Chip` and `Heap` (in `stand_ins`), `Mac` and
//! `Clock`. The same as a task of embassy's is in `embassy_task.rs`.

mod stand_ins;

use std::time::Duration;

use zk_core::peer::State;
use zk_core::time::Instant;
use zk_core::wire::provision::Provision;
use zk_embedded::board::{self, Parts};
use zk_embedded::flash::Blocking;
use zk_embedded::net::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use zk_embedded::profile::{Profile, TINY};

use stand_ins::{Chip, Heap};

/// How much it can hold: one place for all of it, checked when it is built.
const PROFILE: Profile = TINY;
const _: () = assert!(PROFILE.ram::<Blocking<Chip>>() <= 96 * 1024);

fn main() {
    let clock = Clock(std::time::Instant::now());
    // The first block of the flash, which `zk board provision` wrote, says who the board is.
    let chip = Blocking(Chip::provisioned());
    let device = |who: &Provision<'_>| Mac::new(who.hardware);
    let parts = Parts { device, nor: chip, entropy: 0, reason: None, wall: None };
    let mut node = match board::start(&PROFILE, &mut Heap, parts, clock.now()) {
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

/// A network: a driver of smoltcp's. This one has no cable.
struct Mac;

impl Mac {
    fn new(_hardware: [u8; 6]) -> Self {
        Self
    }
}

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
