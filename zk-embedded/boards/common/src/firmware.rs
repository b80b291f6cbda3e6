//! The firmware of a board that runs a peer: who it is and what it knows are in its flash.

use zk_core::peer::State;
use zk_core::wire::provision::PROVISION_MAX;
use zk_embedded::board::{self, Parts};
use zk_embedded::flash::{Disk, Nor};
use zk_embedded::node::Node;
use zk_embedded::profile::Profile;

use crate::arena::Lent;
use crate::clock::Clock;
use crate::ethernet::Mac;
use crate::panic::stop;

/// Runs a peer until it cannot go on, which ends QEMU: the board has to start anew. `mac` makes the
/// network's device, with its hardware address.
pub fn run<D: Mac>(
    profile: &Profile,
    ram: Lent,
    mut clock: impl Clock,
    nor: impl Nor,
    mac: impl FnOnce([u8; 6]) -> D,
) -> ! {
    let mut node = start(profile, ram, &clock, nor, mac);
    let mut last = State::Recovering;
    loop {
        let until = match node.poll(clock.now()) {
            Ok(until) => until,
            Err(error) => stop(&error),
        };
        let state = node.peer().state();
        if state != last {
            defmt::info!("{=u64} ms: {=str}", clock.now().0, name(state));
            last = state;
        }
        clock.sleep_until(until, || node.net().device().is_ready());
    }
}

/// What is only needed at the start leaves the stack with this.
#[inline(never)]
fn start<D: Mac, N: Nor>(
    profile: &Profile,
    mut ram: Lent,
    clock: &impl Clock,
    mut nor: N,
    mac: impl FnOnce([u8; 6]) -> D,
) -> Node<'static, D, Disk<'static, N>> {
    let mut room = [0; PROVISION_MAX];
    let provision = match board::provision(&mut nor, &mut room) {
        Ok(provision) => provision,
        Err(error) => stop(&error),
    };
    defmt::info!("server {=i64}, {=[u8]}", provision.server.0, provision.address.octets());
    let device = mac(provision.hardware);
    let parts = Parts { device, nor, entropy: 0, reason: None, wall: None };
    match board::start(profile, &mut ram, &provision, parts, clock.now()) {
        Ok(node) => {
            defmt::info!("start {=u32}", node.disk().store().boots());
            node
        }
        Err(error) => stop(&error),
    }
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
