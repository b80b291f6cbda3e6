//! Nodes on a switch, in virtual time: nothing here waits.

mod latency;
mod lines;
mod long;
mod memory;
mod world;

use std::string::String;
use std::vec;
use std::vec::Vec;

use zk_core::id::{SessionId, Zxid};
use zk_core::peer::State;
use zk_core::quorum::Port;
use zk_core::time::Instant;
use zk_core::wire::client::{
    ConnectRequest, EventType, MultiHeader, PathWatch, RequestHeader, SetDataRequest,
};
use zk_core::wire::jute::{self, Buffer, Trailing};
use zk_core::wire::{Code, OpCode};

use super::{CLOSE_MS, HELLO_MS, Role, Wall};
use crate::flash::Rating;
use crate::flash::simulated::Geometry;
use crate::net;
use memory::{CLIENTS, FLASH, PROFILE};
use world::{CLIENT, ELECTION, Heard, QUORUM, World, address};

/// Three boards that serve: the leader, and the others.
fn serving(seed: u64) -> (World, usize, [usize; 2]) {
    serving_with(World::new(seed, CLIENTS))
}

fn serving_with(mut world: World) -> (World, usize, [usize; 2]) {
    world.until("all serve", 30_000, |world| (0..3).all(|port| world.serves(port)));
    let leader = world.leader().unwrap();
    let others: Vec<usize> = (0..3).filter(|&port| port != leader).collect();
    (world, leader, others.try_into().unwrap())
}

fn connected(world: &mut World, hosts: &[usize]) -> usize {
    let client = world.client(hosts);
    assert_eq!(world.heard(client, 10_000), Heard::Connected);
    client
}

/// Waits until all boards have the same tree.
fn agree(world: &mut World) {
    world.until("all agree", 30_000, |world| {
        (1..3).all(|port| world.serves(port) && world.digest(port) == world.digest(0))
    });
}

fn connect_frame(timeout: i32) -> Vec<u8> {
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout,
        session_id: SessionId::NONE,
        passwd: Buffer(Some(&[0; 16])),
        read_only: Trailing(Some(false)),
    };
    framed(&request)
}

/// A record in its frame.
fn framed(record: &impl serde::Serialize) -> Vec<u8> {
    let mut room = vec![0; 2048];
    let len = jute::encode(record, &mut room[4..]).unwrap();
    room[..4].copy_from_slice(&(len as u32).to_be_bytes());
    room.truncate(4 + len);
    room
}

/// Connects a raw socket and waits until the connection is there.
fn open(world: &mut World, raw: usize, at: usize, to: usize, port: u16) {
    assert!(world.sockets(raw).net.connect(at, address(to), port));
    world.until("a connection", 5000, |world| world.raw_state(raw, at) == net::State::Open);
}

/// The same at the port of clients, with a session of so many milliseconds.
fn enter(world: &mut World, raw: usize, at: usize, to: usize, timeout: i32) {
    open(world, raw, at, to, CLIENT);
    world.sockets(raw).net.send(at, &connect_frame(timeout));
    world.run(500);
    assert_eq!(world.sockets(raw).read(at).len(), 41, "a session");
}

#[test]
fn three_boards_elect_and_serve() {
    for world in [World::new(1, CLIENTS), World::apart(1, CLIENTS)] {
        elect_and_serve(serving_with(world));
    }
}

fn elect_and_serve((mut world, leader, [follower, _]): (World, usize, [usize; 2])) {
    let one = connected(&mut world, &[leader]);
    let two = connected(&mut world, &[follower]);
    assert_eq!(world.create(two, "/a", b"x"), Code::Ok);
    assert_eq!(world.create(one, "/b", b"y"), Code::Ok);
    assert_eq!(world.get(two, "/a", true), (Code::Ok, b"x".to_vec()));
    assert_eq!(world.get(one, "/none", false).0, Code::NoNode);
    assert_eq!(world.delete(one, "/a"), Code::Ok);
    let deleted = EventType::NodeDeleted as i32;
    assert_eq!(world.heard(two, 5000), Heard::Watch(deleted, "/a".into()));
    agree(&mut world);
}

#[test]
fn the_ensemble_goes_on_without_its_leader() {
    for world in [World::new(2, CLIENTS), World::apart(2, CLIENTS)] {
        goes_on_without_its_leader(serving_with(world));
    }
}

fn goes_on_without_its_leader((mut world, leader, others): (World, usize, [usize; 2])) {
    let client = connected(&mut world, &others);
    assert_eq!(world.create(client, "/before", b"1"), Code::Ok);
    world.cut[leader] = true;
    world.until("another leader", 60_000, |world| {
        others
            .iter()
            .any(|&port| world.serves(port) && world.at(port).peer().state() == State::Leading)
            && others.iter().all(|&port| world.serves(port))
    });
    world.until("it leads no more", 5000, |world| !world.serves(leader));
    world.until("the client is back", 30_000, |world| world.is_connected(client));
    world.session(client).heard.clear();
    assert_eq!(world.create(client, "/meanwhile", b"2"), Code::Ok);
    assert_eq!(world.get(client, "/before", false).1, b"1");
    world.cut[leader] = false;
    agree(&mut world);
    let late = connected(&mut world, &[leader]);
    assert_eq!(world.get(late, "/meanwhile", false).1, b"2");
}

#[test]
fn a_board_comes_back_from_its_flash() {
    let (mut world, leader, [follower, _]) = serving(3);
    let client = connected(&mut world, &[follower]);
    for name in ["/a", "/b", "/c"] {
        assert_eq!(world.create(client, name, &[7; 400]), Code::Ok, "{name}");
    }
    let flash = world.power_off(leader);
    world.until("another leader", 60_000, |world| {
        world.leader().is_some() && world.serves(follower)
    });
    world.until("the client is back", 30_000, |world| world.is_connected(client));
    world.session(client).heard.clear();
    assert_eq!(world.create(client, "/d", b"4"), Code::Ok);
    world.power_on(leader, flash, CLIENTS);
    assert!(world.at(leader).peer().tree().find(b"/c").is_some(), "the flash was empty");
    agree(&mut world);
    assert!(world.at(leader).peer().tree().find(b"/d").is_some());
}

#[test]
fn without_a_clock_time_goes_on_where_it_stood() {
    let (mut world, leader, [follower, other]) = serving(20);
    let client = connected(&mut world, &[follower]);
    assert_eq!(world.create(client, "/a", b""), Code::Ok);
    agree(&mut world);
    // All of them lose power, and their clocks.
    let flashes = [leader, follower, other].map(|port| (port, world.power_off(port)));
    world.wall = None;
    for (port, flash) in flashes {
        world.power_on(port, flash, CLIENTS);
    }
    world.until("all serve", 60_000, |world| (0..3).all(|port| world.serves(port)));
    let client = connected(&mut world, &[follower]);
    assert_eq!(world.create(client, "/b", b""), Code::Ok);
    agree(&mut world);
    let tree = world.at(leader).peer().tree();
    let time = |path: &[u8]| tree.stat(tree.find(path).unwrap()).mtime;
    assert!(time(b"/a") > 1_700_000_000_000 && time(b"/b") > time(b"/a"));
}

#[test]
fn frames_are_lost_and_nobody_falls() {
    let (mut world, leader, [follower, _]) = serving(4);
    let client = connected(&mut world, &[follower]);
    world.lose = 50;
    for number in 0..40 {
        let path = std::format!("/{number}");
        assert_eq!(world.create(client, &path, &[1; 30]), Code::Ok, "{path}");
    }
    assert!(world.lost > 10, "{} frames were lost", world.lost);
    world.lose = 0;
    assert_eq!(world.leader(), Some(leader));
    agree(&mut world);
}

#[test]
fn why_a_board_was_reset_stays_in_its_flash() {
    let (mut world, _, [follower, _]) = serving(21);
    assert_eq!(world.at(follower).disk().store().reason(), b"");
    world.reason = Some(b"the watchdog");
    // It is there after the next start, too.
    for _ in 0..2 {
        let flash = world.power_off(follower);
        world.power_on(follower, flash, CLIENTS);
        assert_eq!(world.at(follower).disk().store().reason(), b"the watchdog");
        world.reason = None;
    }
    world.until("it follows again", 60_000, |world| world.serves(follower));
}

#[test]
fn a_board_that_stays_down_says_why() {
    let (mut world, leader, [follower, _]) = serving(18);
    let flash = world.power_off(follower);
    world.stay_down(follower, flash, b"it fell");
    let raw = world.raw(PROFILE.clients + 1, 256);
    // The hardware address is known from then on.
    open(&mut world, raw, 0, follower, CLIENT);
    // One asks, one speaks to a server, one says nothing.
    open(&mut world, raw, 1, follower, CLIENT);
    open(&mut world, raw, 2, follower, CLIENT);
    world.sockets(raw).net.send(0, b"ruok");
    world.sockets(raw).net.send(1, &[0, 0, 0, 45]);
    world.run(20);
    assert_eq!(world.sockets(raw).read(0), b"it fell\n");
    assert_eq!(world.raw_state(raw, 0), net::State::Ended);
    assert_eq!(world.raw_state(raw, 1), net::State::Closed);
    assert_eq!(world.raw_state(raw, 2), net::State::Open);
    world.run(HELLO_MS);
    assert_eq!(world.raw_state(raw, 2), net::State::Closed);
    // All of its sockets listen again.
    for at in 0..=2 {
        world.sockets(raw).net.abort(at);
        world.run(CLOSE_MS);
        open(&mut world, raw, at, follower, CLIENT);
    }
    world.sockets(raw).net.send(1, b"ruok");
    world.run(20);
    assert_eq!(world.sockets(raw).read(1), b"it fell\n");
    assert!(world.serves(leader));
}

#[test]
fn clients_that_come_at_once_all_get_in() {
    let (mut world, _, [follower, _]) = serving(5);
    let raw = world.raw(CLIENTS + 1, 4096);
    // The hardware address is known from then on.
    open(&mut world, raw, 0, follower, CLIENT);
    world.sockets(raw).net.abort(0);
    world.run(100);
    for at in 0..=CLIENTS {
        assert!(world.sockets(raw).net.connect(at, address(follower), CLIENT));
    }
    world.most_syns = 0;
    world.run(20);
    assert!(world.most_syns > CLIENTS, "they did not come at once: {}", world.most_syns);
    let states: Vec<net::State> = (0..=CLIENTS).map(|at| world.raw_state(raw, at)).collect();
    let open = states.iter().filter(|&&state| state == net::State::Open).count();
    let refused = states.iter().filter(|&&state| state == net::State::Closed).count();
    assert_eq!((open, refused), (CLIENTS, 1), "{states:?}");
    // A socket that is let go listens again.
    let at = states.iter().position(|&state| state == net::State::Open).unwrap();
    world.sockets(raw).net.abort(at);
    world.run(10);
    let refused = states.iter().position(|&state| state == net::State::Closed).unwrap();
    self::open(&mut world, raw, refused, follower, CLIENT);
}

#[test]
fn who_says_nothing_is_reset() {
    let (mut world, _, [follower, _]) = serving(7);
    let raw = world.raw(2, 4096);
    open(&mut world, raw, 0, follower, CLIENT);
    world.run(HELLO_MS - 100);
    assert_eq!(world.raw_state(raw, 0), net::State::Open);
    world.run(200);
    assert_eq!(world.raw_state(raw, 0), net::State::Closed);
    // Who says half of something has no session either.
    open(&mut world, raw, 1, follower, CLIENT);
    let half = &connect_frame(10_000)[..20];
    world.sockets(raw).net.send(1, half);
    world.run(super::SESSION_MS - 100);
    assert_eq!(world.raw_state(raw, 1), net::State::Open);
    world.run(200);
    assert_eq!(world.raw_state(raw, 1), net::State::Closed);
}

#[test]
fn a_process_on_a_members_host_must_say_who_it_is() {
    let (mut world, leader, [follower, other]) = serving_with(World::apart(9, CLIENTS));
    // It speaks from the address of a member whose power is off.
    let _ = world.power_off(other);
    let raw = world.raw_at(other, 6, 4096);
    world.run(1000);
    open(&mut world, raw, 0, leader, ELECTION);
    open(&mut world, raw, 1, leader, QUORUM);
    world.run(HELLO_MS - 200);
    assert_eq!(world.raw_state(raw, 0), net::State::Open);
    assert_eq!(world.raw_state(raw, 1), net::State::Open);
    world.run(400);
    assert_eq!(world.raw_state(raw, 0), net::State::Closed);
    assert_eq!(world.raw_state(raw, 1), net::State::Closed);
    // Nonsense ends its connection, and no other.
    open(&mut world, raw, 2, leader, ELECTION);
    world.sockets(raw).net.send(2, &[0x7f; 64]);
    open(&mut world, raw, 3, leader, QUORUM);
    world.sockets(raw).net.send(3, &[0x7f; 64]);
    world.run(100);
    assert_eq!(world.raw_state(raw, 2), net::State::Closed);
    assert_eq!(world.raw_state(raw, 3), net::State::Closed);
    assert!(world.serves(leader) && world.serves(follower));
}

#[test]
fn frames_that_lie_in_two_pieces_are_put_together() {
    let (mut world, leader, [follower, _]) = serving(10);
    let client = connected(&mut world, &[follower]);
    assert_eq!(world.create(client, "/x", b""), Code::Ok);
    // With lengths that share no factor with the ring's, frames begin everywhere in it.
    for round in 0..60_usize {
        let data = vec![round as u8; 100 + 21 * (round % 17)];
        assert_eq!(world.set(client, "/x", &data), Code::Ok, "round {round}");
        assert_eq!(world.get(client, "/x", false).1, data, "round {round}");
    }
    let wraps = world.at(follower).wraps.min(world.at(leader).wraps);
    assert!(wraps > 10, "only {wraps} frames lay in two pieces");
    agree(&mut world);
}

#[test]
fn words_are_answered() {
    let (mut world, leader, [follower, _]) = serving(13);
    let raw = world.raw(1, 4096);
    let ask = |world: &mut World, board, word: &[u8]| {
        open(world, raw, 0, board, CLIENT);
        world.sockets(raw).net.send(0, word);
        world.run(50);
        let answer = String::from_utf8(world.sockets(raw).read(0)).unwrap();
        world.sockets(raw).net.abort(0);
        world.run(50);
        answer
    };
    assert_eq!(ask(&mut world, leader, b"ruok"), "imok");
    assert!(ask(&mut world, leader, b"srvr").contains("\nMode: leader\n"));
    assert!(ask(&mut world, follower, b"srvr").contains("\nMode: follower\n"));
    // Any other is a length that no frame has.
    assert_eq!(ask(&mut world, follower, b"stat"), "");
    // Without a quorum nobody is served, but the board is there.
    world.cut[leader] = true;
    let last = (0..3).find(|&port| port != leader && port != follower).unwrap();
    world.cut[last] = true;
    world.until("no quorum", 30_000, |world| !world.serves(follower));
    assert_eq!(ask(&mut world, follower, b"ruok"), "imok");
    assert!(ask(&mut world, follower, b"srvr").contains("not currently serving"));
    open(&mut world, raw, 0, follower, CLIENT);
    world.sockets(raw).net.send(0, &connect_frame(8000));
    world.run(50);
    assert_eq!(world.raw_state(raw, 0), net::State::Closed);
}

#[test]
fn a_frame_above_the_profile_ends_its_connection() {
    let (mut world, _, [follower, _]) = serving(14);
    let raw = world.raw(1, 4096);
    open(&mut world, raw, 0, follower, CLIENT);
    world.sockets(raw).net.send(0, &(memory::FRAME as u32 + 1).to_be_bytes());
    world.run(CLOSE_MS + 50);
    assert_eq!(world.raw_state(raw, 0), net::State::Closed);
}

#[test]
fn a_reply_that_never_fits_is_refused_wherever_it_is_asked_for() {
    let (mut world, leader, [follower, _]) = serving(17);
    for host in [leader, follower] {
        let client = connected(&mut world, &[host]);
        let path = std::format!("/{host}");
        assert_eq!(world.create(client, &path, b""), Code::Ok);
        let header = MultiHeader { op: OpCode::SetData, done: false, err: -1 };
        let to = path.as_str().into();
        let set = (header, SetDataRequest { path: to, data: Buffer(Some(b"")), version: -1 });
        assert_eq!(world.multi(client, &[set; 2]), Code::Ok);
        assert_eq!(world.multi(client, &[set; 8]), Code::MarshallingError);
        // It was worth an answer, and not the connection.
        assert_eq!(world.set(client, &path, b"1"), Code::Ok);
    }
    agree(&mut world);
}

/// As long as a frame of a client's allows: were a node of it in no snapshot, the log would fill for good.
#[test]
fn the_longest_node_fits_a_snapshot() {
    let (mut world, leader, _) =
        serving_with(World::with(20, CLIENTS, Geometry { blocks: 17, ..FLASH }, 1));
    let client = connected(&mut world, &[leader]);
    assert_eq!(world.create(client, "/l", b""), Code::Ok);
    // Header, path, length, version.
    let longest = PROFILE.frame - 8 - (4 + 2) - 4 - 4;
    assert_eq!(world.set(client, "/l", &vec![7; longest]), Code::Ok);
    let written = world.at(leader).peer().tree().last_zxid();
    let is_in = |world: &World| {
        (0..3).all(|port| {
            let snapshot = world.at(port).disk().store().snapshot();
            snapshot.is_some_and(|snapshot| snapshot.zxid > written)
        })
    };
    for turn in 0..400 {
        if is_in(&world) {
            break;
        }
        assert_eq!(world.set(client, "/", &[turn as u8; 200]), Code::Ok, "{turn}");
    }
    world.until("it is in all snapshots", 20_000, is_in);
    for port in 0..3 {
        assert_eq!(world.at(port).peer().stats().snapshots_failed, 0);
    }
}

#[test]
fn a_small_flash_makes_writers_wait_and_refuses_nobody() {
    for latency in [1, 20] {
        let world = World::with(19, CLIENTS, Geometry { blocks: 17, ..FLASH }, latency);
        let (mut world, leader, [follower, _]) = serving_with(world);
        let client = connected(&mut world, &[follower]);
        assert_eq!(world.create(client, "/x", b""), Code::Ok);
        for number in 0..300 {
            assert_eq!(world.set(client, "/x", &[number as u8; 40]), Code::Ok, "{number}");
        }
        assert_eq!(world.leader(), Some(leader));
        agree(&mut world);
    }
}

#[test]
fn a_slow_flash_costs_nobody_the_leader() {
    // It is looked at 16 times in a round: each operation takes 60 ms and more.
    let world = World::slow(15, CLIENTS, 1000);
    let (mut world, leader, [follower, _]) = serving_with(world);
    let client = connected(&mut world, &[follower]);
    for number in 0..30 {
        let path = std::format!("/{number}");
        assert_eq!(world.create(client, &path, &[1; 200]), Code::Ok, "{path}");
    }
    assert_eq!(world.leader(), Some(leader));
    agree(&mut world);
}

/// Sessions of 10 s go on, and so does a reign, whose followers have as long.
#[test]
fn erases_of_three_seconds_cost_neither_sessions_nor_leaders() {
    let world = World::rated(21, CLIENTS, (FLASH, 1), Rating::SLOWEST);
    let (mut world, leader, [follower, _]) = serving_with(world);
    let client = connected(&mut world, &[follower]);
    let epoch = world.at(leader).peer().epochs().current;
    let erased = |world: &World| {
        [0, 1, 2].map(|port| {
            let flash = world.at(port).disk().store().nor().get();
            flash.erases().iter().sum::<u32>()
        })
    };
    let before = erased(&world);
    assert_eq!(world.create(client, "/x", b""), Code::Ok);
    let mut writes = 0u8;
    while core::iter::zip(before, erased(&world)).any(|(before, after)| after < before + 8) {
        writes = writes.checked_add(1).expect("flashes that are erased");
        assert_eq!(world.set(client, "/x", &[writes; 200]), Code::Ok, "{writes}");
        assert_eq!(
            (world.leader(), world.at(leader).peer().epochs().current),
            (Some(leader), epoch)
        );
    }
    // The client would have heard of another connection, and of another session.
    assert!(world.session(client).heard.is_empty());
    agree(&mut world);
}

#[test]
fn what_happens_is_decided_by_the_seed() {
    let run = || {
        let (mut world, leader, [follower, _]) = serving(16);
        let client = connected(&mut world, &[follower]);
        world.lose = 20;
        for number in 0..10 {
            world.create(client, &std::format!("/{number}"), b"");
        }
        (world.now, leader, world.trace, world.digest(leader))
    };
    assert_eq!(run(), run());
}

#[test]
fn the_wall_clock_never_goes_backwards() {
    let mut wall = Wall { ms: 5000, at: Instant(100) };
    assert_eq!(wall.now(Instant(150)).wall, 5050);
    wall.set(Instant(150), 4000);
    assert_eq!(wall.now(Instant(160)).wall, 5060);
    wall.set(Instant(160), 9000);
    assert_eq!(wall.now(Instant(161)).wall, 9001);
}

/// What a board lends, at these sizes. (On a host: pointers and lengths are twice as long as on a
/// board.)
#[test]
fn all_of_it_is_lent() {
    let world = World::new(18, CLIENTS);
    assert!(world.ram < 160 << 10, "{} bytes", world.ram);
    std::println!("{} bytes are lent to a board", world.ram);
}

#[test]
fn clients_never_take_a_members_socket() {
    let (mut world, leader, [follower, _]) = serving(6);
    let raw = world.raw(16, 4096);
    for at in 0..16 {
        assert!(world.sockets(raw).net.connect(at, address(leader), CLIENT));
    }
    world.run(50);
    world.cut[follower] = true;
    world.until("the follower is missed", 30_000, |world| !world.serves(follower));
    // They come again and again.
    for at in (0..16).cycle().take(160) {
        if world.raw_state(raw, at) == net::State::Closed {
            assert!(world.sockets(raw).net.connect(at, address(leader), CLIENT));
        }
        world.run(10);
    }
    world.cut[follower] = false;
    world.until("the follower is back", 120_000, |world| world.serves(follower));
    assert_eq!(world.leader(), Some(leader));
}

fn get_frame(xid: i32, path: &str) -> Vec<u8> {
    let header = RequestHeader { xid: zk_core::id::Xid(xid), op: OpCode::GetData };
    framed(&(header, PathWatch { path: path.into(), watch: false }))
}

#[test]
fn strangers_are_reset_at_the_ports_of_members() {
    let (mut world, leader, [follower, _]) = serving_with(World::apart(8, CLIENTS));
    let raw = world.raw(12, 4096);
    for (at, port) in (0..12).zip([ELECTION, QUORUM].into_iter().cycle()) {
        assert!(world.sockets(raw).net.connect(at, address(leader), port));
    }
    // The first of them waits for the hardware address, the others a second longer.
    world.run(1500);
    assert!((0..12).all(|at| world.raw_state(raw, at) == net::State::Closed));
    let members = &world.at(leader).places[CLIENTS..];
    assert!(!members.iter().any(|place| matches!(place.0, Role::Opening(..))));
    // Only a leader is met at the quorum port, and only as long as somebody is missing.
    let meets = |world: &World, port: usize| {
        let door = super::Door::Member(Port::Quorum);
        let places = world.at(port).places.iter();
        places.filter(|place| matches!(place.0, Role::Listening(at, _) if at == door)).count()
    };
    assert_eq!((meets(&world, leader), meets(&world, follower)), (0, 0));
    world.cut[follower] = true;
    world.until("the follower is missed", 60_000, |world| meets(world, leader) == 1);
    world.cut[follower] = false;
    world.until("it follows again", 60_000, |world| {
        world.serves(follower) && meets(world, leader) == 0
    });
    assert_eq!(meets(&world, follower), 0);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let (mut world, _, [follower, _]) = serving(11);
    let other = connected(&mut world, &[follower]);
    assert_eq!(world.create(other, "/x", &[5; 60]), Code::Ok);
    // It has room for one reply.
    let raw = world.raw(1, 512);
    enter(&mut world, raw, 0, follower, 8000);
    // What the board does not take stays here.
    let mut asked: Vec<u8> = (1..=400).flat_map(|xid| get_frame(xid, "/x")).collect();
    let ask = |world: &mut World, asked: &mut Vec<u8>| {
        let sent = world.sockets(raw).net.send(0, asked);
        asked.drain(..sent);
        world.run(15);
        sent > 0
    };
    while ask(&mut world, &mut asked) {}
    assert!(!asked.is_empty(), "its requests do not wait");
    assert_eq!(world.get(other, "/x", false).1, [5; 60]);
    // When it reads, it gets all of it.
    let mut read = 0;
    while read < 400 * (4 + 16 + 4 + 60 + 68) {
        let some = world.sockets(raw).read(0).len();
        assert!(world.raw_state(raw, 0) == net::State::Open, "after {read} bytes");
        read += some;
        ask(&mut world, &mut asked);
    }
    assert_eq!(read, 400 * (4 + 16 + 4 + 60 + 68));
    // And when it does not, nothing more is heard of it: its session ends, and 250 ms later its
    // connection.
    asked.extend((401..=800).flat_map(|xid| get_frame(xid, "/x")));
    while ask(&mut world, &mut asked) {}
    world.until("its session ends", 20_000, |world| world.at(follower).peer().link_count() == 1);
    world.run(CLOSE_MS);
    let clients = &world.at(follower).places[..CLIENTS];
    let held = clients.iter().filter(|place| matches!(place.0, Role::Client { .. })).count();
    assert_eq!(held, 1);
}

#[test]
fn a_socket_is_free_when_both_sides_have_said_their_last() {
    let (mut world, _, [follower, _]) = serving(19);
    let raw = world.raw(1, 256);
    open(&mut world, raw, 0, follower, CLIENT);
    world.sockets(raw).net.send(0, b"ruok");
    // The board says its last first.
    world.until("an answer", 100, |world| world.raw_state(raw, 0) == net::State::Ended);
    assert_eq!(world.sockets(raw).read(0), b"imok");
    world.sockets(raw).net.close(0);
    world.until("it is free", CLOSE_MS / 2, |world| {
        let clients = &world.at(follower).places[..CLIENTS];
        clients.iter().filter(|place| place.0 == Role::Free).count() == CLIENTS - 1
    });
    // And the other side has heard that it was heard.
    world.until("it is over", 100, |world| world.raw_state(raw, 0) == net::State::Closed);
}

#[test]
fn a_closed_client_gives_its_socket_back() {
    let (mut world, _, [follower, _]) = serving(12);
    for _ in 0..3 * CLIENTS {
        let client = connected(&mut world, &[follower]);
        world.session(client).session.close();
        assert_eq!(world.heard(client, 5000), Heard::Ended);
        // It is gone without a word: nobody takes what is left.
        world.cut[client] = true;
        world.run(CLOSE_MS + 50);
    }
    let free = world.at(follower).places[..CLIENTS].iter().filter(|p| p.0 == Role::Free).count();
    assert_eq!(free, CLIENTS - 1);
}

#[test]
fn the_smallest_ring_with_a_full_tree_goes_on() {
    let world = World::with(29, CLIENTS, Geometry { blocks: 17, ..FLASH }, 1);
    let (mut world, leader, [follower, _]) = serving_with(world);
    let client = connected(&mut world, &[follower]);
    // Long paths make a long snapshot.
    let (mut parent, mut made) = (String::new(), 0);
    loop {
        let path = std::format!("{parent}/{made:0>24}");
        match world.create(client, &path, &[7; 36]) {
            Code::Ok => made += 1,
            Code::SystemError => break,
            code => panic!("{path}: {code:?}"),
        }
        if made % 12 == 0 {
            parent = if parent.len() > 300 { String::new() } else { path };
        }
    }
    for number in 0..1000u32 {
        let data = [number as u8; 36];
        let path = std::format!("/{:0>24}", number % 12);
        assert_eq!(world.set(client, &path, &data), Code::Ok, "{number}");
    }
    let snapshot = world.at(leader).disk().store().snapshot();
    assert!(snapshot.is_some_and(|snapshot| snapshot.len > 20_000), "{made}: {snapshot:?}");
    agree(&mut world);
}

/// A snapshot has whole paths. What would make one longer than the flash has room for is refused, on all
/// boards alike, and everything else goes on for many laps of the log.
#[test]
fn a_tree_with_long_paths_is_refused_before_its_snapshot_is_too_long() {
    let (mut world, _, [follower, _]) = serving(31);
    let client = connected(&mut world, &[follower]);
    let (mut parent, mut leaves, mut refused) = (String::new(), vec![], 0);
    while parent.len() < 380 {
        parent += "/0123456789012345678";
        assert_eq!(world.create(client, &parent, b""), Code::Ok);
    }
    for leaf in 0..70 {
        let path = std::format!("{parent}/{leaf}");
        match world.create(client, &path, b"") {
            Code::Ok => leaves.push(path),
            code => {
                assert_eq!(code, Code::SystemError, "{path}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && leaves.len() > 20, "{} leaves, {refused} refused", leaves.len());
    for write in 0..1000 {
        assert_eq!(world.set(client, "/", &[write as u8; 30]), Code::Ok, "{write}");
    }
    for path in leaves {
        assert_eq!(world.delete(client, &path), Code::Ok, "{path}");
    }
    let path = std::format!("{parent}/{}", "x".repeat(30));
    assert_eq!(world.create(client, &path, &[7; 30]), Code::Ok);
    agree(&mut world);
}
