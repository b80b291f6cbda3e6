//! What the scripts of `tests/election.rs` do not show: storage that is lent, and strangers.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::*;

const NOW: Instant = Instant(1_000);

fn quorums(ids: core::ops::RangeInclusive<i64>) -> Quorums<'static> {
    let lines: String = ids.map(|id| format!("server.{id}=h:1:2\n")).collect();
    let mut quorums = Quorums::owned();
    quorums.set(lines.as_bytes()).unwrap();
    quorums
}

fn notification(state: ServerState, leader: i64, round: i64) -> Notification<'static> {
    Notification {
        state,
        leader: ServerId(leader),
        zxid: Zxid::ZERO,
        round,
        peer_epoch: 0,
        version: Notification::VERSION,
        config: b"",
    }
}

fn wanted(election: &Election<'_>) -> Vec<i64> {
    let mut wanted: Vec<i64> = election.wanted().map(|id| id.0).collect();
    wanted.sort_unstable();
    wanted
}

#[test]
fn nothing_is_told_before_it_looks() {
    let quorums = quorums(1..=3);
    let mut election = Election::owned(ServerId(1), Options::default());
    let asks = notification(ServerState::Looking, 2, 1);
    election.receive(NOW, &quorums, ServerId(2), &asks);
    election.receive(NOW, &quorums, ServerId(9), &asks);
    election.link_up(ServerId(2));
    election.tick(NOW, &quorums);
    assert_eq!(wanted(&election), []);
    assert_eq!(election.poll_vote(ServerId(2)), None);
    assert_eq!(
        (election.current(), election.decided(), election.poll_timeout()),
        (None, None, None)
    );
    assert!(!election.is_supported(&quorums, |_| true));
    election.set_epoch(7);
    election.look(NOW, &quorums, Zxid(5), 3);
    let own = Vote { leader: ServerId(1), zxid: Zxid(5), round: 1, peer_epoch: 3 };
    assert_eq!(election.current(), Some((ServerState::Looking, own)));
    assert_eq!(wanted(&election), [2, 3]);
    assert!(election.wants(ServerId(2)) && !election.wants(ServerId(1)));
    assert_eq!(election.poll_vote(ServerId(2)), Some((ServerState::Looking, own)));
    assert_eq!(election.poll_vote(ServerId(2)), None);
    assert_eq!(wanted(&election), [3]);
}

#[test]
fn a_lone_voter_leads_at_once() {
    let quorums = quorums(1..=1);
    let mut election = Election::new(ServerId(1), Table::lent(&mut []), Options::default());
    election.look(NOW, &quorums, Zxid(5), 3);
    let (vote, state) = election.decided().unwrap();
    assert_eq!((vote.leader, vote.peer_epoch, state), (ServerId(1), 3, ServerState::Leading));
    assert!(election.is_supported(&quorums, |_| false));
    assert_eq!((election.poll_timeout(), wanted(&election)), (None, vec![]));
}

#[test]
fn members_come_before_strangers_in_small_storage() {
    let quorums = quorums(1..=3);
    let mut room = [Voter::default(); 3];
    let mut election = Election::new(ServerId(1), Table::lent(&mut room), Options::default());
    let asks = notification(ServerState::Looking, 7, 1);
    election.look(NOW, &quorums, Zxid::ZERO, 0);
    for stranger in [7, 8] {
        election.receive(NOW, &quorums, ServerId(stranger), &asks);
    }
    // There is room for one. The other one is not answered.
    assert_eq!(wanted(&election), [2, 3, 7]);
    // Somebody else becomes a member, and needs the place.
    let mut other = Quorums::owned();
    other.set(b"server.1=h:1:2\nserver.2=h:1:2\nserver.3=h:1:2\nserver.4=h:1:2").unwrap();
    election.receive(NOW, &other, ServerId(4), &notification(ServerState::Looking, 4, 1));
    assert!(!election.wants(ServerId(7)) && election.wants(ServerId(4)));
    // Without any place left, a vote is not counted, and nothing breaks.
    let mut more = Quorums::owned();
    let lines: String = (1..=9).map(|id| format!("server.{id}=h:1:2\n")).collect();
    more.set(lines.as_bytes()).unwrap();
    for from in 2..=9 {
        election.receive(NOW, &more, ServerId(from), &notification(ServerState::Looking, 4, 1));
    }
    assert_eq!(election.decided(), None);
}

#[test]
fn strangers_are_answered_but_not_heard() {
    let quorums = quorums(1..=3);
    let mut election = Election::owned(ServerId(1), Options::default());
    election.look(NOW, &quorums, Zxid::ZERO, 0);
    let before = election.current();
    let limit = STRANGERS_MAX as i64;
    for stranger in 100..100 + limit + 5 {
        for state in [ServerState::Looking, ServerState::Leading] {
            election.receive(NOW, &quorums, ServerId(stranger), &notification(state, 3, 1));
            election.link_up(ServerId(stranger));
        }
    }
    // Its own id is nobody else's.
    election.receive(NOW, &quorums, ServerId(1), &notification(ServerState::Leading, 3, 9));
    election.receive(NOW, &quorums, ServerId(i64::MIN), &notification(ServerState::Looking, 3, 9));
    assert_eq!(election.current(), before);
    let told: Vec<i64> = wanted(&election).into_iter().filter(|&id| id > 3).collect();
    assert_eq!(told, (100..100 + limit).collect::<Vec<_>>());
    // Nor is one in a later round answered: it could not use the answer, and might answer that.
    let later = notification(ServerState::Looking, 3, 2);
    let mut other = Election::owned(ServerId(1), Options::default());
    other.look(NOW, &quorums, Zxid::ZERO, 0);
    other.receive(NOW, &quorums, ServerId(100), &later);
    assert!(!other.wants(ServerId(100)));
    // Its place is free when it has gone.
    election.link_down(ServerId(100));
    election.receive(NOW, &quorums, ServerId(200), &notification(ServerState::Looking, 3, 1));
    assert!(election.wants(ServerId(200)) && !election.wants(ServerId(100)));
    assert_eq!(election.len, 2 + STRANGERS_MAX);
}

#[test]
fn who_has_a_leader_does_not_dial_for_an_answer() {
    let quorums = quorums(1..=3);
    let mut election = Election::owned(ServerId(1), Options::default());
    election.look(NOW, &quorums, Zxid::ZERO, 0);
    // While it looks, it does.
    assert!(election.poll_vote(ServerId(2)).is_some());
    election.link_down(ServerId(2));
    assert!(election.wants(ServerId(2)));
    election.receive(NOW, &quorums, ServerId(2), &notification(ServerState::Leading, 2, 1));
    election.receive(NOW, &quorums, ServerId(3), &notification(ServerState::Following, 2, 1));
    assert_eq!(election.decided().unwrap().1, ServerState::Following);
    election.receive(NOW, &quorums, ServerId(3), &notification(ServerState::Looking, 3, 2));
    assert!(election.wants(ServerId(3)));
    election.link_down(ServerId(3));
    election.link_down(ServerId(2));
    assert_eq!(wanted(&election), []);
    // The answer may have been lost with the link.
    election.link_up(ServerId(3));
    let (state, vote) = election.poll_vote(ServerId(3)).unwrap();
    assert_eq!((state, vote.leader), (ServerState::Following, ServerId(2)));
}

/// Who cannot be reached has no better vote to wait for; whoever speaks again may.
#[test]
fn nobody_waits_for_a_server_that_cannot_be_reached() {
    let quorums = quorums(1..=3);
    let agrees = notification(ServerState::Looking, 2, 1);
    for (missed, comes_back) in [(false, false), (true, false), (true, true)] {
        let mut election = Election::owned(ServerId(1), Options::default());
        election.look(NOW, &quorums, Zxid::ZERO, 0);
        if missed {
            election.missed(NOW, &quorums, ServerId(3));
        }
        if comes_back {
            election.link_up(ServerId(3));
        }
        assert_eq!(election.decided(), None, "a quorum is needed");
        election.receive(NOW, &quorums, ServerId(2), &agrees);
        assert_eq!(election.decided().is_some(), missed && !comes_back);
        // Now all have said what they can.
        election.missed(NOW, &quorums, ServerId(3));
        let (vote, state) = election.decided().unwrap();
        assert_eq!((vote.leader, state), (ServerId(2), ServerState::Following));
        // The next round, it may be there.
        election.look(NOW, &quorums, Zxid::ZERO, 0);
        election.receive(NOW, &quorums, ServerId(2), &notification(ServerState::Looking, 2, 2));
        assert_eq!(election.decided(), None);
    }
}

/// Others may still follow the history that it had.
#[test]
fn who_has_lost_its_history_is_not_made_the_leader_by_those_who_elected_it() {
    let quorums = quorums(1..=3);
    for (last, leads) in [(Zxid::ZERO, true), (Zxid::NONE, false)] {
        let mut election = Election::owned(ServerId(3), Options::default());
        election.look(NOW, &quorums, last, 0);
        for from in [1, 2] {
            let word = notification(ServerState::Following, 3, 1);
            election.receive(NOW, &quorums, ServerId(from), &word);
        }
        assert_eq!(election.decided().is_some(), leads, "{last}");
    }
}
