//! A member whose tree is not what its leader's is.

use zk_core::wire::txn::{CreateSessionTxn, TxnDigest};

use super::played::Played;
use super::*;

fn leader() -> Played {
    let Pair { follower, links, .. } = Pair::new();
    Played::reigning(follower, links[1])
}

/// Proposes and commits something, and says of the tree behind it what is not true.
fn lies(leader: &mut Played) {
    says(leader, 7);
}

/// Proposes and commits something, and says of the tree behind it that it has this digest.
fn says(leader: &mut Played, tree_digest: i64) {
    let digest = TxnDigest { version: TxnDigest::VERSION, tree_digest };
    let open = (CreateSessionTxn { timeout: 8000 }, digest);
    assert!(leader.proposes(OpCode::CreateSession, &open));
    let counter = leader.next.counter() - 1;
    let commit = encode(&Packet::new(Kind::Commit, Zxid::new(leader.next.epoch(), counter)));
    let follower = &mut leader.follower;
    follower.peer.hear(follower.now, leader.link, &commit);
    follower.disk();
}

fn pings(leader: &mut Played, data: &[u8]) {
    let ping = encode(&Packet::with(Kind::Ping, Zxid::ZERO, data));
    let follower = &mut leader.follower;
    follower.peer.hear(follower.now, leader.link, &ping);
}

/// A follower that others can do without asks for a snapshot, once in an epoch.
#[test]
fn a_follower_is_healed_when_others_can_do_without_it() {
    let mut leader = leader();
    lies(&mut leader);
    pings(&mut leader, b"");
    assert_eq!(leader.follower.peer.stats().digest_mismatches, 1);
    assert_eq!(leader.follower.peer.state(), State::Following, "its leader may depend on it");
    pings(&mut leader, &[1]);
    assert!(leader.follower.peer.member_is_closing(leader.link));
    leader.calls_again();
    let said = leader.greets(2);
    assert!(said.starts_with("00000012ffffffffffffffff"), "its history ends nowhere: {said}");
}

/// Its history is whole: when there is a leader to elect, it votes with it, and it is no leader's duty to do
/// without it.
#[test]
fn a_follower_that_is_to_be_healed_still_votes() {
    let mut leader = leader();
    lies(&mut leader);
    let last = leader.follower.peer.tree().last_zxid();
    pings(&mut leader, &[1]);
    assert!(leader.follower.peer.member_is_closing(leader.link));
    leader.is_elected([ServerState::Looking; 2], last);
    let said = leader.greets(2);
    let ack = hex(&encode(&Packet::with(Kind::AckEpoch, last, &1i32.to_be_bytes())));
    assert_eq!(said, ack);
}

/// A tree that is right again needs no snapshot.
#[test]
fn a_difference_that_is_gone_is_forgotten() {
    let mut leader = leader();
    let right = leader.follower.peer.tree().digest();
    lies(&mut leader);
    says(&mut leader, right);
    pings(&mut leader, &[1]);
    assert_eq!(leader.follower.peer.stats().digest_mismatches, 1);
    assert!(!leader.follower.peer.member_is_closing(leader.link));
}

/// Apache's leader takes a snapshot while it applies transactions, and says some of them again: before
/// NEWLEADER, what the snapshot has is passed over, and what the tree's digest should be as well.
#[test]
fn a_snapshot_may_have_some_of_what_comes_behind_it() {
    let Pair { follower, links, .. } = Pair::new();
    let mut leader = Played { follower, link: links[1], next: Zxid::new(Epoch(1), 4) };
    leader.greets(2);
    leader.tells(&Packet::new(Kind::Snap, Zxid::new(Epoch(1), 5)));
    let root = (Ustring::from(""), Buffer::new(b""), -1i64, [0i32; 15]);
    let mark = (Ustring::from("/"), Ustring::from("BenWasHere"));
    let body = encode(&(0i32, 0i32, root, mark));
    leader.follower.hears(leader.link, &body);
    leader.follower.disk();
    let right = leader.follower.peer.tree().digest();
    for digest in [1, 2, 3, right] {
        says(&mut leader, digest);
        leader.follower.says(leader.link);
        assert!(!leader.follower.peer.member_is_closing(leader.link));
    }
    leader.reigns(2);
    assert_eq!(leader.follower.peer.tree().last_zxid(), Zxid::new(Epoch(1), 7));
    assert_eq!(leader.follower.peer.stats().digest_mismatches, 0);
    leader.next = Zxid::new(Epoch(2), 1);
    lies(&mut leader);
    assert_eq!(leader.follower.peer.stats().digest_mismatches, 1);
}

/// The sum is made once an epoch, and a snapshot asked for as often.
#[test]
fn a_second_difference_of_an_epoch_is_only_counted() {
    let mut leader = leader();
    lies(&mut leader);
    pings(&mut leader, &[1]);
    assert!(leader.follower.peer.member_is_closing(leader.link));
    for (epoch, heals) in [(1, false), (2, true)] {
        leader.calls_again();
        leader.greets(epoch);
        let last = leader.follower.peer.tree().last_zxid();
        leader.tells(&Packet::new(Kind::Diff, last));
        leader.reigns(epoch);
        pings(&mut leader, &[1]);
        assert_eq!(leader.follower.peer.state(), State::Following);
        leader.next = last.next().unwrap().max(Zxid::new(Epoch(epoch), 1));
        lies(&mut leader);
        assert_eq!(leader.follower.peer.member_is_closing(leader.link), heals, "epoch {epoch}");
        if !heals {
            assert_eq!(leader.follower.peer.stats().digest_mismatches, 2);
            let follower = &mut leader.follower;
            follower.peer.hear(follower.now, leader.link, &[0xff; 8]);
        }
    }
}

/// A leader of ours says which of its followers it could do without.
#[test]
fn followers_are_told_whether_others_can_do_without_them() {
    let mut pair = Pair::new();
    pair.talk(usize::MAX);
    let tick = |pair: &mut Pair| {
        for server in [&mut pair.leader, &mut pair.follower] {
            let at = server.now.monotonic.0 + 60;
            server.now = Now::new(at, at as i64);
            let now = server.now;
            server.peer.tick(now);
        }
        pair.transcript.clear();
        pair.talk(usize::MAX);
        let ping = pair.transcript.iter().find(|line| line.starts_with("L>F 00000005"));
        ping.expect("a ping")[28..].to_owned()
    };
    assert_eq!(tick(&mut pair), "ffffffffffffffff");
    // Server 3 comes.
    let leader = &mut pair.leader;
    let link = leader.peer.accept(leader.now, Port::Quorum, address()).unwrap();
    for (said, answer) in [
        (
            "0000000b 0000000000000000 00000014 000000000000000300010000 0000000000000000 ffffffff",
            "00000011",
        ),
        ("00000012 0000000000000000 00000004 00000000 ffffffff", "0000000d"),
        ("00000003 0000000100000000 ffffffff ffffffff", "0000000c"),
    ] {
        leader.hears(link, &packet(said));
        assert!(hex(&leader.says(link)).starts_with(answer), "{answer}");
    }
    // One at a time, in turn.
    let mut told = vec![];
    for _ in 0..4 {
        let first = tick(&mut pair);
        let second = hex(&pair.leader.says(link));
        assert!(second.starts_with("00000005"));
        told.push((&first[8..10] == "01", &second[32..34] == "01"));
    }
    assert_eq!(told, [(true, false), (false, true), (true, false), (false, true)]);
}
