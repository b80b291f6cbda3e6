//! A follower that comes back while clients write as fast as they are answered.

use zk_core::zab::leader::HELD_MAX;

use super::*;

/// Transactions that the leader keeps in memory.
const WINDOW: usize = 4;
/// What a client writes in half a tick, and what is read of the log meanwhile.
const WRITES: usize = 3;
const READS: usize = 2;

fn leader() -> Server {
    let ceilings = Ceilings { history_records: WINDOW, ..Ceilings::default() };
    Server::with_ceilings(2, false, Options::default(), ceilings)
}

/// Sends a write, and reads whether it was answered.
fn writes(pair: &mut Pair, client: Link, xid: &mut i32) {
    *xid += 1;
    let mut room = [0; 64];
    let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap();
    let path = format!("/{xid}");
    let body = CreateRequest { path: (&path[..]).into(), data: b""[..].into(), acl, flags: 0 };
    let request = RequestHeader { xid: zk_core::id::Xid(*xid), op: OpCode::Create };
    pair.leader.peer.receive(pair.leader.now, client, &frame(&encode(&(request, body))));
}

/// Whether the leader has answered, since this was asked last.
fn answers(server: &mut Server, client: Link) -> bool {
    while server.peer.poll_link().is_some() {}
    let len = server.peer.output(client).len();
    server.peer.sent(server.now, client, len);
    len > 0
}

/// The kinds of the packets on a link of the leader.
fn kinds(server: &mut Server, link: MemberLink) -> Vec<Kind> {
    let said = server.says(link);
    let mut rest = &said[..];
    let mut kinds = vec![];
    while !rest.is_empty() {
        let Ok(First::Whole(packet, len)) = first(rest, 1 << 20) else { panic!("half a packet") };
        kinds.push(packet.kind);
        rest = &rest[len..];
    }
    kinds
}

/// It reads slower than clients write, and never longer than [`HELD_MAX`] half ticks do these wait for it.
#[test]
fn a_follower_comes_back_while_clients_write() {
    let mut pair = Pair::of(leader(), Server::new(1));
    pair.talk(usize::MAX);
    let client = connect(&mut pair.leader, SessionId::NONE, None);
    pair.talk(usize::MAX);
    assert!(answers(&mut pair.leader, client));
    let mut xid = 0;
    for _ in 0..4 * WINDOW {
        writes(&mut pair, client, &mut xid);
        pair.talk(usize::MAX);
        assert!(answers(&mut pair.leader, client));
    }
    // Server 3 has the first of these.
    let link = pair.leader.peer.accept(pair.leader.now, Port::Quorum, address()).unwrap();
    for said in [
        "0000000b 0000000000000000 00000014 000000000000000300010000 0000000000000000 ffffffff",
        "00000012 0000000100000002 00000004 00000001 ffffffff",
    ] {
        pair.leader.hears(link, &packet(said));
        kinds(&mut pair.leader, link);
    }
    let (mut waited, mut longest, mut served) = (0, 0, 0);
    let mut waits = false;
    for half_tick in 1.. {
        assert!(half_tick < 100, "it never comes back");
        let mut answered = 0;
        for _ in 0..WRITES {
            if !waits {
                writes(&mut pair, client, &mut xid);
            }
            pair.talk(usize::MAX);
            waits = !answers(&mut pair.leader, client);
            answered += usize::from(!waits);
        }
        waited = if answered == 0 { waited + 1 } else { 0 };
        longest = longest.max(waited);
        served += answered;
        for _ in 0..READS {
            let leader = &mut pair.leader;
            leader.disk();
            let Some((reading, from)) = leader.reading.take() else { break };
            let entries: Vec<_> =
                leader.log.iter().filter(|(zxid, _)| *zxid >= from).take(1).cloned().collect();
            let entries = entries.iter().map(|(zxid, txn)| (*zxid, &txn[..]));
            leader.peer.log_read(leader.now, reading, entries);
            assert!(!leader.peer.member_is_closing(link));
        }
        if kinds(&mut pair.leader, link).contains(&Kind::NewLeader) {
            break;
        }
        for server in [&mut pair.leader, &mut pair.follower] {
            let at = server.now.monotonic.0 + 50;
            server.now = Now::new(at, at as i64);
            let now = server.now;
            server.peer.tick(now);
        }
    }
    assert!((1..=usize::from(HELD_MAX)).contains(&longest), "{longest} half ticks");
    assert!(served > WRITES, "{served} writes");
    // What has waited goes on at once.
    pair.talk(usize::MAX);
    assert!(!waits || answers(&mut pair.leader, client));
}
