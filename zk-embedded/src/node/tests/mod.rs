//! Nodes on a switch, in virtual time: nothing here waits.

mod memory;
mod world;

use zk_core::wire::Code;
use zk_core::wire::client::EventType;

use world::{Heard, World};

#[test]
fn three_boards_elect_and_serve() {
    let mut world = World::new(1, memory::CLIENTS);
    world.until("a leader", 20_000, |world| world.leader().is_some());
    let leader = world.leader().unwrap();
    world.until("all serve", 20_000, |world| (0..3).all(|port| world.serves(port)));
    let follower = (0..3).find(|&port| port != leader).unwrap();
    let one = world.client(&[leader]);
    let two = world.client(&[follower]);
    assert_eq!(world.heard(one, 5000), Heard::Connected);
    assert_eq!(world.heard(two, 5000), Heard::Connected);
    assert_eq!(world.create(two, "/a", b"x"), Code::Ok);
    assert_eq!(world.create(one, "/b", b"y"), Code::Ok);
    assert_eq!(world.get(two, "/a", true), (Code::Ok, b"x".to_vec()));
    assert_eq!(world.create(one, "/a/c", b""), Code::Ok);
    assert_eq!(world.get(one, "/none", false).0, Code::NoNode);
    let _ = EventType::NodeDeleted;
    world.run(1000);
    assert!((1..3).all(|port| world.digest(port) == world.digest(0)));
}
