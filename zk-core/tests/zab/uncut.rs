//! A history that is whole, and cannot be cut where a leader wants it cut: a snapshot took the place of what
//! it has there.

use zk_core::wire::quorum::UNCUT;
use zk_core::wire::txn::CreateSessionTxn;

use super::played::Played;
use super::*;

/// ACKEPOCH of a history of epoch 1.
fn ack(last: Zxid, uncut: bool) -> Vec<u8> {
    let data = [0, 0, 0, 1, UNCUT];
    encode(&Packet::with(Kind::AckEpoch, last, &data[..4 + usize::from(uncut)]))
}

/// Tells the follower to cut its history, which cannot be.
fn cuts_in_vain(leader: &mut Played, zxid: Zxid) {
    let follower = &mut leader.follower;
    follower.hears(leader.link, &encode(&Packet::new(Kind::Trunc, zxid)));
    match follower.peer.poll_disk() {
        Some(Disk::Ensemble(Order::Truncate(at))) => assert_eq!(at, zxid),
        other => panic!("{other:?}"),
    }
    follower.peer.cut_failed(follower.now);
    assert_eq!(follower.peer.state(), State::Looking);
}

/// It votes with what it has, as others may need it: one that has lost its disk makes two of three then.
#[test]
fn who_cannot_cut_its_history_votes_and_asks_for_a_snapshot() {
    let Pair { follower, links, .. } = Pair::new();
    let mut leader = Played::reigning(follower, links[1]);
    for _ in 0..3 {
        assert!(leader.proposes(OpCode::CreateSession, &CreateSessionTxn { timeout: 8000 }));
    }
    let [cut, last] = [2, 3].map(|counter| Zxid::new(Epoch(1), counter));
    let votes = [ServerState::Looking; 2];
    leader.is_elected(votes, last);
    assert_eq!(leader.greets(2), hex(&ack(last, false)));
    cuts_in_vain(&mut leader, cut);
    leader.is_elected(votes, last);
    assert_eq!(leader.greets(3), hex(&ack(last, true)));
    // An Apache leader does not look there.
    cuts_in_vain(&mut leader, cut);
    leader.calls_again();
    let said = leader.greets(4);
    assert!(said.starts_with("00000012ffffffffffffffff"), "its history ends nowhere: {said}");
}

#[test]
fn a_leader_sends_a_snapshot_to_who_cannot_cut_its_history() {
    for (uncut, expected) in [(false, Kind::Diff), (true, Kind::Snap)] {
        let mut pair = Pair::new();
        pair.talk(usize::MAX);
        pair.open_session();
        let leader = &mut pair.leader;
        let link = leader.peer.accept(leader.now, Port::Quorum, address()).unwrap();
        let last = leader.peer.tree().last_zxid();
        leader.hears(link, &packet(
            "0000000b 0000000000000000 00000014 000000000000000300010000 0000000000000000 ffffffff",
        ));
        leader.says(link);
        leader.hears(link, &ack(last, uncut));
        let mut said = leader.says(link);
        // Perhaps there is no snapshot yet.
        leader.disk();
        said.extend(leader.says(link));
        let Ok(First::Whole(packet, _)) = first(&said, 1 << 20) else { panic!("{said:?}") };
        assert_eq!((packet.kind, packet.zxid), (expected, last));
    }
}
