//! Frames and replies that are longer than what each connection has room for: connections share the memory.

use std::format;
use std::vec;

use zk_core::peer::SPARE_MS;
use zk_core::wire::Code;
use zk_core::wire::client::EventType;

use super::memory::FRAME;
use super::world::Heard;
use super::*;

/// Bytes that have no room in a connection's own memory.
const LONG: usize = FRAME - 60;

/// All clients write and read what is long, at the same time, and nobody waits forever or gets another's.
#[test]
fn whatever_is_long_takes_turns() {
    let (mut world, leader, [follower, _]) = serving(21);
    for board in [leader, follower] {
        let clients = [(); 3].map(|()| connected(&mut world, &[board]));
        for client in clients {
            let path = format!("/{board}-{client}");
            assert_eq!(world.create(client, &path, b""), Code::Ok);
        }
        for round in 0..20_u8 {
            for client in clients {
                let data = vec![round ^ client as u8; LONG];
                let path = format!("/{board}-{client}");
                world.session(client).sets(&path, &data);
            }
            for client in clients {
                assert_eq!(world.replied(client).0, Code::Ok, "round {round}");
            }
            for client in clients {
                world.session(client).gets(&format!("/{board}-{client}"));
            }
            for client in clients {
                let (code, body) = world.replied(client);
                assert_eq!(code, Code::Ok, "round {round}");
                assert_eq!(body[4..][..LONG], vec![round ^ client as u8; LONG], "round {round}");
            }
        }
        for client in clients {
            assert!(world.is_connected(client));
            assert_eq!(world.delete(client, &format!("/{board}-{client}")), Code::Ok);
        }
    }
    agree(&mut world);
}

/// A client that reads nothing keeps the memory for [`SPARE_MS`], if another one waits for it.
#[test]
fn a_reply_that_nobody_reads_gives_way() {
    let (mut world, _, [follower, _]) = serving(22);
    let other = connected(&mut world, &[follower]);
    assert_eq!(world.create(other, "/x", b""), Code::Ok);
    assert_eq!(world.set(other, "/x", &[5; LONG]), Code::Ok);
    let raw = world.raw(1, 128);
    enter(&mut world, raw, 0, follower, 30_000);
    world.sockets(raw).net.send(0, &get_frame(1, "/x"));
    // Nobody else wants it.
    world.run(2 * SPARE_MS);
    assert_eq!(world.raw_state(raw, 0), net::State::Open);
    let since = world.now;
    assert_eq!(world.get(other, "/x", false).1, [5; LONG]);
    assert!(world.now - since >= SPARE_MS - 100, "{} ms", world.now - since);
    world.until("it is closed", 1000, |world| world.raw_state(raw, 0) != net::State::Open);
    assert!(world.is_connected(other));
}

/// And so does one that says half of a long request.
#[test]
fn half_of_a_long_frame_gives_way() {
    let (mut world, _, [follower, _]) = serving(23);
    let other = connected(&mut world, &[follower]);
    assert_eq!(world.create(other, "/x", b""), Code::Ok);
    let raw = world.raw(1, 1024);
    enter(&mut world, raw, 0, follower, 30_000);
    world.sockets(raw).net.send(0, &(LONG as u32).to_be_bytes());
    world.sockets(raw).net.send(0, &[0; LONG / 2]);
    world.run(2 * SPARE_MS);
    assert_eq!(world.raw_state(raw, 0), net::State::Open);
    assert_eq!(world.set(other, "/x", &[6; LONG]), Code::Ok);
    world.until("it is closed", 1000, |world| world.raw_state(raw, 0) != net::State::Open);
    assert_eq!(world.get(other, "/x", false).1, [6; LONG]);
}

/// What others do meanwhile takes nothing from a request whose beginning is short, and nothing from a reply
/// that is still to come.
#[test]
fn what_is_lent_stays_as_long_as_it_is_needed() {
    let (mut world, _, [follower, _]) = serving(25);
    let other = connected(&mut world, &[follower]);
    assert_eq!(world.create(other, "/x", b"x"), Code::Ok);
    let raw = world.raw(1, 1024);
    enter(&mut world, raw, 0, follower, 30_000);
    let mut frame = get_frame(1, &format!("/{}", "n".repeat(900)));
    let rest = frame.split_off(100);
    for part in [frame, rest] {
        world.sockets(raw).net.send(0, &part);
        world.run(100);
        assert_eq!(world.get(other, "/x", false).1, b"x");
    }
    let reply = world.sockets(raw).read(0);
    assert_eq!(reply.len(), 4 + 16, "there is no such node");
    let third = connected(&mut world, &[follower]);
    for round in 0..10 {
        let path = format!("/{}{round}", "p".repeat(500));
        assert!(world.session(third).asks(&path, b""));
        // While the request comes, and while it is proposed.
        for _ in 0..12 {
            assert_eq!(world.get(other, "/x", false).1, b"x");
        }
        assert_eq!(world.replied(third).0, Code::Ok, "round {round}");
        assert_eq!(world.delete(third, &path), Code::Ok);
    }
}

/// Whichever boards come back, and in which order, each member gets a socket that has room for its packets.
#[test]
fn members_have_room_for_packets() {
    let (mut world, _, _) = serving(26);
    for round in 0..9 {
        let board = round % 3;
        let flash = world.power_off(board);
        world.run(700 * (1 + round as u64 % 4));
        world.power_on(board, flash, CLIENTS);
        world.until("all serve again", 60_000, |world| (0..3).all(|port| world.serves(port)));
        world.until("all have room", 3000, |world| {
            (0..3).all(|port| {
                let node = world.at(port);
                let linked: Vec<usize> = (0..node.places.len())
                    .filter(|&at| matches!(node.role(at), Role::Member { .. }))
                    .collect();
                linked.len() == 2 && linked.iter().all(|&at| node.has_room(at))
            })
        });
    }
}

/// The answer to a creation, and the event of a node with a long path.
#[test]
fn a_long_path_is_told() {
    let (mut world, leader, [follower, _]) = serving(24);
    let one = connected(&mut world, &[leader]);
    let two = connected(&mut world, &[follower]);
    let path = format!("/{}", "p".repeat(500));
    world.session(two).watches(&path);
    assert_eq!(world.replied(two).0, Code::NoNode);
    assert_eq!(world.create(one, &path, &[1; 300]), Code::Ok);
    let created = EventType::NodeCreated as i32;
    assert_eq!(world.heard(two, 5000), Heard::Watch(created, path.clone()));
    assert_eq!(world.get(two, &path, true).1, [1; 300]);
    assert_eq!(world.delete(one, &path), Code::Ok);
    let deleted = EventType::NodeDeleted as i32;
    assert_eq!(world.heard(two, 5000), Heard::Watch(deleted, path));
    agree(&mut world);
}

/// A client that never pauses gives way as well: what it has sent is answered, and it is not closed.
#[test]
fn a_busy_client_gives_way() {
    let (mut world, _, [follower, _]) = serving(27);
    let busy = connected(&mut world, &[follower]);
    let other = connected(&mut world, &[follower]);
    for client in [busy, other] {
        assert_eq!(world.create(client, &format!("/{client}"), b""), Code::Ok);
    }
    let ask = |world: &mut World, round: usize| {
        let (path, data) = (format!("/{busy}"), vec![round as u8; 400]);
        match round % 3 {
            0 => world.session(busy).sets(&path, &data),
            1 => world.session(busy).gets(&path),
            _ => world.session(busy).watches(&path),
        }
    };
    let mut asked = 0;
    for round in 0..12 {
        // Some are always under way.
        let begin = world.now;
        world.session(other).sets(&format!("/{other}"), &vec![round; LONG]);
        while world.session(other).heard.is_empty() {
            assert!(world.now - begin < SPARE_MS, "it waits for a client that is busy");
            while world.answers(busy) + 5 > asked {
                ask(&mut world, asked);
                asked += 1;
            }
            world.run(1);
        }
        assert_eq!(world.replied(other).0, Code::Ok);
        assert_eq!(world.get(other, &format!("/{other}"), false).1, vec![round; LONG]);
    }
    world.until("all is answered", 10_000, |world| world.answers(busy) == asked);
    assert!(world.is_connected(busy) && asked > 60, "{asked}");
}

/// Who waits and goes away keeps nobody from what it has waited for.
#[test]
fn who_is_next_may_go() {
    let (mut world, _, [follower, _]) = serving(28);
    let other = connected(&mut world, &[follower]);
    assert_eq!(world.create(other, "/x", b""), Code::Ok);
    let raw = world.raw(2, 1024);
    let half = [&(LONG as u32).to_be_bytes()[..], &[0; LONG / 2]].concat();
    for at in [0, 1] {
        enter(&mut world, raw, at, follower, 30_000);
        world.sockets(raw).net.send(at, &half);
        world.run(100);
    }
    // The second waits for the first, and both go.
    world.sockets(raw).net.abort(1);
    world.run(100);
    world.sockets(raw).net.abort(0);
    let begin = world.now;
    assert_eq!(world.set(other, "/x", &[6; LONG]), Code::Ok);
    assert_eq!(world.get(other, "/x", false).1, [6; LONG]);
    assert!(world.now - begin < 1000, "{} ms", world.now - begin);
}
