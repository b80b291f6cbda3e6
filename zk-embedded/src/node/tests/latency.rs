//! How long what people wait for takes, in virtual time: a frame is 1 ms on its way, the flash takes what its
//! rating says, and processors take nothing.

use super::*;

/// What is waited for, in milliseconds.
#[derive(Debug)]
struct Waits {
    /// From new boards to three that serve.
    new: u64,
    /// The same of boards that have a history.
    again: u64,
    /// From the moment when the leader's power fails to a write that another has acknowledged.
    without: u64,
    /// From power on to a follower that serves.
    back: u64,
    /// Of writes through a follower: half of them take no longer, and the longest.
    follower: [u64; 2],
    /// Of writes through the leader.
    leader: [u64; 2],
    /// Of reads.
    read: [u64; 2],
}

/// How many of each.
const ASKED: usize = 400;

/// Half of them take no longer, and the longest.
fn asked(
    world: &mut World,
    client: usize,
    mut ask: impl FnMut(&mut World, usize) -> Code,
) -> [u64; 2] {
    let once = |number| {
        let begin = world.now;
        assert_eq!(ask(world, number), Code::Ok);
        world.session(client).heard_at.0 - begin
    };
    let mut all: Vec<u64> = (0..ASKED).map(once).collect();
    all.sort_unstable();
    [all[all.len() / 2], all[all.len() - 1]]
}

fn waits(rating: Rating) -> Waits {
    let all = |world: &World| (0..3).all(|port| world.serves(port));
    let mut world = World::rated(23, CLIENTS, (FLASH, 1), rating);
    let begin = world.now;
    world.until("all serve", 60_000, all);
    let new = world.now - begin;

    let flashes = [0, 1, 2].map(|port| world.power_off(port));
    let begin = world.now;
    for (port, flash) in flashes.into_iter().enumerate() {
        world.power_on(port, flash, CLIENTS);
    }
    world.until("all serve again", 60_000, all);
    let again = world.now - begin;

    let leader = world.leader().unwrap();
    let other = (leader + 1) % 3;
    let (near, far) = (connected(&mut world, &[leader]), connected(&mut world, &[other]));
    assert_eq!(world.create(far, "/x", b""), Code::Ok);
    let set =
        |client| move |world: &mut World, number| world.set(client, "/x", &[number as u8; 20]);
    let follower = asked(&mut world, far, set(far));
    let through_leader = asked(&mut world, near, set(near));
    let read = asked(&mut world, far, |world, _| world.get(far, "/x", false).0);

    let flash = world.power_off(leader);
    let begin = world.now;
    world.until("others serve", 60_000, |world| world.leader().is_some() && world.serves(other));
    world.until("the client is back", 30_000, |world| world.is_connected(far));
    world.session(far).heard.clear();
    assert_eq!(world.set(far, "/x", b"without"), Code::Ok);
    let without = world.session(far).heard_at.0 - begin;
    let begin = world.now;
    world.power_on(leader, flash, CLIENTS);
    world.until("it is back", 60_000, |world| world.serves(leader));
    let back = world.now - begin;
    Waits { new, again, without, back, follower, leader: through_leader, read }
}

#[test]
fn how_long_people_wait() {
    // A flash that takes no time; a W25Q16JV as its data sheet has it typically (a page in 0.4 ms), and what
    // it allows; and one that takes longest.
    for (program, erase) in [(0, 0), (1, 45), (3, 400), (3, 3000)] {
        let waits = waits(Rating { program, erase });
        std::println!("a page {program} ms, an erase {erase} ms: {waits:?}");
        let (program, erase) = (u64::from(program), u64::from(erase));
        let Waits { new, again, without, back, follower, leader, read } = waits;
        // Of a new flash, for the number of the start, and for the new epoch.
        assert!(new.max(again) < 1500 + 3 * erase && back < 2500 + 3 * erase);
        // A leader whose power fails is missed after `syncLimit` ticks.
        assert!((8000..10_500 + erase).contains(&without));
        // Six frames or four, and one page at a time; at the worst, the block that comes next and one more.
        assert!(follower[0] <= 8 + program && leader[0] <= 6 + program);
        assert!(follower[1].max(leader[1]) < 100 + 2 * erase);
        assert!(read[1] <= 4);
    }
}
