//! Members of an ensemble that can hold only so much.

use zk_core::wire::txn::{CreateSessionTxn, CreateTxn, DeleteTxn, MultiTxn, SetDataTxn, SubTxn};
use zk_core::zab::scan::Scanner;

use super::played::Played;
use super::*;

/// An empty tree has 4 znodes, in 2 cells, and 1 list besides that of nobody.
const SMALL: zk_core::tree::Ceilings = zk_core::tree::Ceilings {
    nodes: 8,
    cells: 64,
    unit: Unit::OWN,
    kept: 0,
    bytes: 4000,
    lists: 400,
    acls: 4,
    owners: 2,
    snapshot: 1 << 16,
};

fn ceilings(tree: zk_core::tree::Ceilings) -> Ceilings {
    Ceilings { tree, sessions: 2, ..Ceilings::default() }
}

fn holding(id: i64, tree: zk_core::tree::Ceilings) -> Server {
    Server::with_ceilings(id, false, Options::default(), ceilings(tree))
}

/// What two members say that hold the same: behind what Apache's say, and nothing else is different.
#[test]
fn members_with_limits_tell_each_other() {
    let mut pair = Pair::of(holding(2, SMALL), holding(1, SMALL));
    let capacity = hex(&pair.leader.peer.capacity().encode());
    assert_eq!(
        capacity,
        "7a6b000200000020000000080000004000000fa000000004000001900000000200000002001fffff"
    );
    pair.talk(1);
    assert_eq!(
        pair.transcript[..2],
        [
            format!(
                "F>L 0000000b00000000000000000000003c000000000000000100010000{}{capacity}ffffffff",
                "0000000000000000"
            ),
            format!("L>F 0000001100000001000000000000002c00010000{capacity}ffffffff"),
        ]
    );
    assert!(pair.leader.peer.is_serving() && pair.follower.peer.is_serving());
    // The leader refuses what is too much; nobody is lost.
    assert_eq!(filled(&mut pair, b"", 9), 4);
}

/// Creates nodes through the follower, so many or as many as there is room for: how many.
fn filled(pair: &mut Pair, data: &[u8], most: i32) -> i32 {
    let client = pair.open_session();
    let mut made = 0;
    for number in 0..most {
        let mut room = [0; 64];
        let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap();
        let path = format!("/{number}");
        let data = Buffer(Some(data).filter(|data| !data.is_empty()));
        let create = CreateRequest { path: path[..].into(), data, acl, flags: 0 };
        let xid = zk_core::id::Xid(number);
        let mut request = encode(&RequestHeader { xid, op: OpCode::Create });
        request.extend(encode(&create));
        pair.follower.peer.receive(pair.follower.now, client, &frame(&request));
        pair.talk(usize::MAX);
        while pair.follower.peer.poll_link().is_some() {}
        let reply = pair.follower.peer.output(client).to_vec();
        pair.follower.peer.sent(pair.follower.now, client, reply.len());
        let header: ReplyHeader = Reader::new(&reply[4..]).read().unwrap();
        match header.err {
            Code::Ok => made += 1,
            other => assert_eq!(other, Code::SystemError, "{number}"),
        }
    }
    assert!(pair.leader.peer.is_serving() && pair.follower.peer.is_serving());
    assert_eq!(pair.leader.peer.tree().digest(), pair.follower.peer.tree().digest());
    made
}

/// Each server shows its own text of the configuration, in its own cells; all else has as much room on each.
#[test]
fn a_longer_text_of_the_configuration_takes_no_room_from_the_rest() {
    let kept = zk_core::tree::config_cells(Unit::OWN, 256);
    let tree = zk_core::tree::Ceilings { nodes: 100, kept, acls: 9, ..SMALL };
    // Where cells are all taken first, and where bytes are.
    for (cells, bytes) in [(40, 4000), (200, 800)] {
        same_room(zk_core::tree::Ceilings { cells, bytes, ..tree });
    }
}

fn same_room(tree: zk_core::tree::Ceilings) {
    let longer = CONFIG.replace("participant", "participant;0.0.0.0:2181");
    let member = |id, config: &str| {
        Server::with_config(id, false, Options::default(), ceilings(tree), config)
    };
    let mut made = vec![];
    for (leader, follower) in [(CONFIG, &longer[..]), (&longer[..], CONFIG), (CONFIG, CONFIG)] {
        let mut pair = Pair::of(member(2, leader), member(1, follower));
        pair.talk(usize::MAX);
        let texts = [&pair.leader, &pair.follower].map(|server| {
            let tree = server.peer.tree();
            tree.data(tree.find(b"/zookeeper/config").unwrap()).unwrap().0
        });
        assert_eq!(texts, [leader.len(), follower.len()]);
        made.push(filled(&mut pair, &[7; 20], 60));
    }
    assert!(made[0] > 20 && made.iter().all(|&count| count == made[0]), "{made:?}");
}

/// Two members that have room for two sessions each let three clients in at a time: the leader refuses
/// the last, and where a session is on its way that finds no room, it gives way.
#[test]
fn a_session_too_many_is_refused_by_the_leader() {
    let mut pair = Pair::of(holding(2, SMALL), holding(1, SMALL));
    pair.talk(usize::MAX);
    let first = connect(&mut pair.leader, SessionId::NONE, None);
    let [second, third] = [(); 2].map(|()| connect(&mut pair.follower, SessionId::NONE, None));
    pair.talk(usize::MAX);
    for server in [&pair.leader, &pair.follower] {
        assert!(server.peer.is_serving());
        assert_eq!(server.peer.sessions().applied_count(), 2);
        assert_eq!(server.peer.sessions().len(), 2);
    }
    assert!(!pair.leader.peer.is_closing(first));
    assert!(!pair.follower.peer.is_closing(second));
    assert!(pair.follower.peer.is_closing(third));
    // Who is refused by the leader alone hears of that, too: here there is still room for one.
    let larger = Ceilings { sessions: 3, ..ceilings(SMALL) };
    let follower = Server::with_ceilings(1, false, Options::default(), larger);
    let mut pair = Pair::of(holding(2, SMALL), follower);
    pair.talk(usize::MAX);
    let all = [(); 3].map(|()| connect(&mut pair.follower, SessionId::NONE, None));
    pair.talk(usize::MAX);
    let closing = all.map(|client| pair.follower.peer.is_closing(client));
    assert_eq!(closing, [false, false, true]);
    assert_eq!(pair.follower.peer.sessions().len(), 2);
}

/// A voter must hold whatever its leader accepts; more does no harm, and observers may try.
#[test]
fn a_voter_that_holds_less_is_refused() {
    let large = zk_core::tree::Ceilings { nodes: 9, ..SMALL };
    for (leader, follower, joins) in [(SMALL, large, true), (large, SMALL, false)] {
        let mut pair = Pair::of(holding(2, leader), holding(1, follower));
        let greeting = pair.follower.says(pair.links[1]);
        pair.leader.peer.hear(pair.leader.now, pair.links[0], &greeting);
        assert_eq!(pair.leader.peer.member_is_closing(pair.links[0]), !joins);
        let link = pair.leader.peer.accept(pair.leader.now, Port::Quorum, address()).unwrap();
        let mut observer = greeting;
        (observer[3], observer[23]) = (16, 3);
        pair.leader.hears(link, &observer);
    }
}

/// A leader that knows no limits.
fn boundless() -> Played {
    let Pair { follower, links, .. } = Pair::of(Server::new(2), holding(1, SMALL));
    Played::reigning(follower, links[1])
}

fn create<'a>(path: &'a str, data: &'a [u8], ephemeral: bool) -> CreateTxn<'a> {
    let (path, data) = (Ustring::from(path), Buffer::new(data));
    CreateTxn { path, data, acl: List::EMPTY, ephemeral, parent_cversion: Trailing(Some(1)) }
}

/// What does not fit is not acknowledged and not applied; the rest of the history stays, and the
/// leader is called again after a pause that grows.
#[test]
fn what_a_leader_without_limits_proposes_is_taken_as_far_as_it_fits() {
    let mut leader = boundless();
    for path in ["/a", "/b", "/c", "/d"] {
        assert!(leader.proposes(OpCode::Create, &create(path, b"1", false)));
        if path == "/a" {
            leader.commits(1);
        }
    }
    // Not all is committed, and yet all is counted.
    assert!(!leader.proposes(OpCode::Create, &create("/e", b"1", false)));
    assert_eq!(leader.follower.peer.tree().find(b"/b"), None);
    for pause in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        let after = leader.calls_again();
        assert!((pause..pause + 200).contains(&after), "{after} of {pause} ms");
        leader.greets(1);
        leader.tells(&Packet::new(Kind::Diff, Zxid::new(Epoch(1), 4)));
        assert!(leader.follower.peer.tree().find(b"/d").is_some());
        assert!(!leader.proposes(OpCode::Create, &create("/e", b"1", false)));
        assert!(leader.follower.peer.tree().find(b"/e").is_none());
    }
    // There is room again, on both sides.
    leader.calls_again();
    leader.greets(1);
    leader.tells(&Packet::new(Kind::Diff, Zxid::new(Epoch(1), 4)));
    assert!(leader.proposes(OpCode::Delete, &DeleteTxn { path: "/a".into() }));
    leader.commits(5);
    assert!(leader.proposes(OpCode::Create, &create("/e", b"1", false)));
    leader.commits(6);
    leader.reigns(1);
    assert!(leader.follower.peer.tree().find(b"/e").is_some());
    assert!(!leader.proposes(OpCode::Create, &create("/f", b"1", false)));
    assert!((1000..1200).contains(&leader.calls_again()), "it has served meanwhile");
}

/// What is committed already, and waits for the disk only, is applied first: it may make room.
#[test]
fn what_is_committed_is_applied_before_anything_is_refused() {
    let mut leader = boundless();
    for (counter, path) in ["/a", "/b", "/c", "/d"].into_iter().enumerate() {
        assert!(leader.proposes(OpCode::Create, &create(path, b"1", false)));
        leader.commits(counter as u32 + 1);
    }
    let delete = leader.txn(OpCode::Delete, &DeleteTxn { path: "/a".into() });
    let mut said = encode(&Packet::with(Kind::Proposal, leader.next, &delete));
    said.extend(encode(&Packet::new(Kind::Commit, leader.next)));
    leader.next = leader.next.next().unwrap();
    let create = leader.txn(OpCode::Create, &create("/e", b"1", false));
    let follower = &mut leader.follower;
    let whole = said.len();
    said.extend(encode(&Packet::with(Kind::Proposal, leader.next, &create)));
    let received = follower.peer.hear(follower.now, leader.link, &said);
    assert_eq!((received.consumed, received.need), (whole, 0));
    follower.disk();
    let received = follower.peer.hear(follower.now, leader.link, &said[whole..]);
    assert_eq!(received.consumed, said.len() - whole);
    assert!(!follower.peer.member_is_closing(leader.link));
}

/// Every kind of transaction that takes room is counted.
#[test]
fn each_limit_is_found_by_each_kind_of_transaction() {
    let long = [7; 1700];
    let endless = vec![0; 3 << 20];
    let set = |data| SetDataTxn { path: "/a".into(), data: Buffer::new(data), version: 1 };
    let open = CreateSessionTxn { timeout: 8000 };
    let mut room = [0; 64];
    type Taken<'a> = &'a dyn Fn(&mut Played) -> bool;
    let cases: [(&str, Taken<'_>); 8] = [
        ("data of a new node", &|leader| {
            leader.proposes(OpCode::Create, &create("/a", &long, false))
        }),
        ("data of an old one", &|leader| {
            assert!(leader.proposes(OpCode::Create, &create("/a", &long[..600], false)));
            leader.commits(1);
            assert!(leader.proposes(OpCode::SetData, &set(&long[..1000])), "600 of it are there");
            leader.commits(2);
            leader.proposes(OpCode::SetData, &set(&long))
        }),
        ("data that may have shrunk meanwhile", &|leader| {
            assert!(leader.proposes(OpCode::Create, &create("/a", &long[..1000], false)));
            leader.commits(1);
            assert!(leader.proposes(OpCode::SetData, &set(b"")));
            leader.proposes(OpCode::SetData, &set(&long[..1000]))
        }),
        ("whole paths", &|leader| {
            let parent = format!("/{}", "p".repeat(1500));
            assert!(leader.proposes(OpCode::Create, &create(&parent, b"", false)));
            let child = |name: &str| format!("{parent}/{name}");
            assert!(leader.proposes(OpCode::Create, &create(&child("a"), b"", false)));
            leader.proposes(OpCode::Create, &create(&child("b"), b"", false))
        }),
        ("bytes of lists", &|leader| {
            let long = "u".repeat(150);
            let id = |id| zk_core::wire::client::Id { scheme: "digest".into(), id };
            let mut taken = true;
            for (at, name) in ["/a", "/b", "/c"].into_iter().enumerate() {
                let acl =
                    [zk_core::wire::client::Acl { perms: at as i32, id: id(long[..].into()) }];
                let mut room = [0; 200];
                let acl = List::encode(&acl, &mut room).unwrap();
                let txn = CreateTxn { acl, ..create(name, b"", false) };
                taken = leader.proposes(OpCode::Create, &txn);
                if taken {
                    leader.commits(at as u32 + 1);
                }
                assert!(taken || at == 2, "{name}");
            }
            taken
        }),
        ("sessions", &|leader| {
            assert!(leader.proposes(OpCode::CreateSession, &open));
            assert!(leader.proposes(OpCode::CreateSession, &open));
            leader.proposes(OpCode::CreateSession, &open)
        }),
        ("nodes in a multi", &|leader| {
            let paths = ["/a", "/b", "/c", "/d", "/e"].map(|path| encode(&create(path, b"", true)));
            let txns = paths
                .each_ref()
                .map(|record| SubTxn { op: OpCode::Create, data: Buffer::new(record) });
            let mut room = [0; 400];
            let all = List::encode(&txns[..4], &mut room).unwrap();
            assert!(leader.proposes(OpCode::Multi, &MultiTxn { txns: all }));
            leader.commits(1);
            let mut room = [0; 400];
            let one = List::encode(&txns[4..], &mut room).unwrap();
            leader.proposes(OpCode::Multi, &MultiTxn { txns: one })
        }),
        ("a transaction that is too long", &|leader| {
            let txn = leader.txn(OpCode::SetData, &set(&endless));
            let packet = encode(&Packet::with(Kind::Proposal, leader.next, &txn));
            leader.follower.peer.hear(leader.follower.now, leader.link, &packet);
            !leader.follower.peer.member_is_closing(leader.link)
        }),
    ];
    for (what, taken) in cases {
        let mut leader = boundless();
        assert!(!taken(&mut leader), "{what}");
        assert!(!matches!(leader.follower.peer.state(), State::Stopped(_)), "{what}");
        let after = leader.calls_again();
        assert!((1000..1200).contains(&after), "{what}: {after} ms");
    }
    // Access control lists.
    let mut leader = boundless();
    let mut taken = 0;
    loop {
        let id = zk_core::wire::client::Id { scheme: "ip".into(), id: "127.0.0.1".into() };
        let acl = List::encode(&[zk_core::wire::client::Acl { perms: taken + 1, id }], &mut room);
        let path = format!("/{taken}");
        let new = CreateTxn { acl: acl.unwrap(), ..create(&path, b"", false) };
        if !leader.proposes(OpCode::Create, &new) {
            break;
        }
        leader.commits(taken as u32 + 1);
        taken += 1;
    }
    assert_eq!(taken, 3);
}

/// A snapshot that shows more than fits is given up at once, and nothing of it stays.
#[test]
fn a_snapshot_that_is_too_large_is_given_up() {
    let Pair { follower, links, .. } = Pair::of(Server::new(2), holding(1, SMALL));
    let mut leader = Played { follower, link: links[1], next: Zxid::ZERO };
    leader.greets(1);
    let snap = encode(&Packet::new(Kind::Snap, Zxid::new(Epoch(0), 9)));
    leader.follower.hears(leader.link, &snap);
    let mut body = encode(&(0i32, 0i32));
    for number in 0..9 {
        let path = format!("/{number}");
        body.extend(encode(&(Ustring::from(&path[..]), Buffer::new(b"x"))));
        body.extend([0; 8 + 60]);
    }
    let mut scanner = Scanner::new(100, Unit::OWN);
    scanner.feed(&body).unwrap();
    let needed = scanner.needs();
    let lack = leader.follower.peer.capacity().lacks(needed).unwrap();
    assert_eq!((lack.what(), lack.has, lack.needs), ("znodes", 8, 9));
    let follower = &mut leader.follower;
    for piece in body.chunks(100) {
        follower.peer.hear(follower.now, leader.link, piece);
    }
    assert!(follower.peer.member_is_closing(leader.link));
    assert_eq!(follower.peer.tree().last_zxid(), Zxid::ZERO);
    assert!(follower.peer.tree().find(b"/0").is_none());
}

/// A configuration for which there is no room ends the link, and the leader is called again later.
#[test]
fn a_configuration_that_is_too_long_is_not_taken() {
    let options = Options { reconfig: true, ..Options::default() };
    let server = |id| Server::with_options(id, false, options.clone());
    let Pair { follower, links, .. } = Pair::of(server(2), server(1));
    let mut leader = Played { follower, link: links[1], next: Zxid::ZERO };
    leader.greets(1);
    leader.tells(&Packet::new(Kind::Diff, Zxid::ZERO));
    let text = CONFIG.replace("version=0", &format!("#{}\nversion=100000000", "x".repeat(1 << 16)));
    let packet = Packet::with(Kind::NewLeader, Zxid::new(Epoch(1), 0), text.as_bytes());
    leader.follower.peer.hear(leader.follower.now, leader.link, &encode(&packet));
    assert!(leader.follower.peer.member_is_closing(leader.link));
    assert_eq!(leader.follower.peer.config().version(), 0);
    let after = leader.calls_again();
    assert!((1000..1200).contains(&after), "{after} ms");
}
