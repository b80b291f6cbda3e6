//! The firmware of a board that runs a peer: who it is and what it knows are in its flash.

use zk_core::peer::State;
use zk_core::wire::provision::PROVISION_MAX;
use zk_embedded::board::{self, Parts, Refusal};
use zk_embedded::flash::{Disk, Nor};
use zk_embedded::node::Node;
use zk_embedded::profile::Profile;

use crate::arena::Lent;
use crate::clock::Clock;
use crate::ethernet::Mac;
use crate::panic::stop;
use crate::stack;

/// Runs a peer until it cannot go on, which ends QEMU: the board has to start anew. `mac` makes the
/// network's device, with its hardware address.
pub fn run<D: Mac>(
    profile: &Profile,
    ram: Lent,
    mut clock: impl Clock,
    nor: impl Nor + 'static,
    mac: impl FnOnce([u8; 6]) -> D,
) -> ! {
    stack::paint();
    // It stays where it is made: the stack has no room for two.
    let mut node = start(profile, ram, &clock, nor, mac);
    let node = match &mut node {
        Ok(node) => node,
        Err(error) => stop(error),
    };
    defmt::info!("start {=u32}", node.disk().store().boots());
    let mut last = State::Recovering;
    let mut used = 0;
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
        if stack::used() > used {
            used = stack::used();
            defmt::info!("{=usize} of {=usize} bytes of the stack were used", used, stack::size());
        }
        clock.sleep_until(until, || node.net().device().is_ready());
    }
}

/// What is only needed at the start leaves the stack with this.
#[inline(never)]
fn start<D: Mac, N: Nor + 'static>(
    profile: &Profile,
    mut ram: Lent,
    clock: &impl Clock,
    mut nor: N,
    mac: impl FnOnce([u8; 6]) -> D,
) -> Result<Node<'static, D, Disk<'static, N>>, Refusal<N::Error>> {
    let mut room = [0; PROVISION_MAX];
    let provision = match board::provision(&mut nor, &mut room) {
        Ok(provision) => provision,
        Err(error) => stop(&error),
    };
    defmt::info!("server {=i64}, {=[u8]}", provision.server.0, provision.address.octets());
    let device = mac(provision.hardware);
    let parts = Parts { device, nor, entropy: 0, reason: None, wall: None };
    board::start(profile, &mut ram, &provision, parts, clock.now())
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
