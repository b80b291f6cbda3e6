//! The firmware of a board that runs a peer: who it is and what it knows are in its flash.

use zk_core::peer::State;
use zk_core::time::Instant;
use zk_core::wire::provision::{PROVISION_MAX, Provision};
use zk_embedded::board::{self, Parts, Refusal};
use zk_embedded::flash::{Disk, Nor};
use zk_embedded::node::Node;
use zk_embedded::profile::{Profile, Ram as _};

use crate::arena::Lent;
use crate::clock::Clock;
use crate::ethernet::Mac;
use crate::panic::stop;
use crate::reset::{self, Last, STARTS_MAX};
use crate::stack;
use crate::watchdog::{self, Watchdog};

/// Runs a peer until it cannot go on, and resets the board; after [`STARTS_MAX`] times in a row it says
/// only why. `mac` makes the network's device, with its hardware address.
pub fn run<D: Mac>(
    profile: &Profile,
    ram: Lent,
    mut clock: impl Clock,
    nor: impl Nor + 'static,
    mac: impl FnOnce([u8; 6]) -> D,
    mut watchdog: impl Watchdog,
) -> ! {
    stack::paint();
    let mut before = Last::take().unwrap_or_else(|| stop(&"it runs once"));
    // A board that stays down goes on saying why it does.
    if watchdog.has_bitten() && before.count() < STARTS_MAX {
        before.ended(&watchdog::WHY);
    }
    watchdog.start();
    if before.count() >= STARTS_MAX {
        stay_down(profile, ram, clock, nor, mac, watchdog, &before);
    }
    reset::arm();
    // It stays where it is made: the stack has no room for two.
    let mut node = start(profile, ram, &clock, nor, mac, &before);
    let node = match &mut node {
        Ok(node) => node,
        Err(error) => stop(error),
    };
    defmt::info!("start {=u32}", node.disk().store().boots());
    let mut serves = false;
    let mut last = State::Recovering;
    let mut used = 0;
    loop {
        let until = match node.poll(clock.now()) {
            Ok(until) => until,
            Err(error) => stop(&error),
        };
        watchdog.feed();
        let state = node.peer().state();
        if state != last {
            defmt::info!("{=u64} ms: {=str}", clock.now().0, name(state));
            last = state;
        }
        if !serves && node.peer().is_serving() {
            serves = true;
            before.served();
        }
        if stack::used() > used {
            used = stack::used();
            defmt::info!("{=usize} of {=usize} bytes of the stack were used", used, stack::size());
        }
        let until = watchdog.awake(until, clock.now());
        clock.sleep_until(until, || node.net().device().is_ready());
    }
}

/// What is only needed at the start leaves the stack with this.
#[inline(never)]
fn start<D: Mac, N: Nor + 'static>(
    profile: &Profile,
    mut ram: Lent,
    clock: &impl Clock,
    nor: N,
    mac: impl FnOnce([u8; 6]) -> D,
    before: &Last,
) -> Result<Node<'static, D, Disk<'static, N>>, Refusal<N::Error>> {
    let device = |provision: &Provision<'_>| {
        defmt::info!("server {=i64}, {=[u8]}", provision.server.0, provision.address.octets());
        mac(provision.hardware)
    };
    let reason = (before.count() > 0).then(|| before.why());
    let parts = Parts { device, nor, entropy: 0, reason, wall: None };
    board::start(profile, &mut ram, parts, clock.now())
}

/// Answers `ruok` with why the board does not start. A board that does not even know its address stops.
#[inline(never)]
fn stay_down<D: Mac>(
    profile: &Profile,
    mut ram: Lent,
    mut clock: impl Clock,
    mut nor: impl Nor,
    mac: impl FnOnce([u8; 6]) -> D,
    mut watchdog: impl Watchdog,
    before: &Last,
) -> ! {
    let mut bytes = before.why().iter().copied();
    // No table is lent: there is room.
    let why = ram.lend(before.why().len(), || bytes.next().unwrap_or_default());
    let text = core::str::from_utf8(why).unwrap_or("a reason that is no text");
    defmt::error!("down after {=u32} starts: {=str}", before.count(), text);
    let mut room = [0; PROVISION_MAX];
    let provision = match board::provision(&mut nor, &mut room) {
        Ok(provision) => provision,
        Err(error) => stop(&error),
    };
    let device = mac(provision.hardware);
    let down = board::stay_down(profile, &mut ram, &provision, device, why, clock.now());
    let mut down = match down {
        Ok(down) => down,
        Err(error) => stop(&error),
    };
    loop {
        let until = down.poll(clock.now());
        watchdog.feed();
        let until = watchdog.awake(until, clock.now());
        clock.sleep_until(until, || down.net().device().is_ready());
    }
}

/// Says that a block is erased which begins there: for flashes that are watched.
pub fn tell_erase(now: Instant, offset: u32) {
    defmt::info!("{=u64} ms: erases the block at {=u32:#x}", now.0, offset);
}

fn name(state: State) -> &'static str {
    match state {
        State::Recovering => "recovering",
        State::Standalone => "standalone",
        State::Looking => "looking",
        State::Leading => "leading",
        State::Following => "following",
        State::Observing => "observing",
        State::Stopped(_) => "stopped",
    }
}
