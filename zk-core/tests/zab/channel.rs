//! The compact dialect: two members that have one connection, for votes and packets.

use zk_core::peer::Dialect;
use zk_core::wire::compact::{self, ENVELOPE_MAX, Envelope, OFFER};

use super::*;

/// A server that would rather have one connection, or has to be asked.
fn server(id: i64, asks: bool) -> Server {
    let dialect = if asks { Dialect::Asks } else { Dialect::Asked };
    Server::with_options(id, false, Options { dialect, ..Options::default() })
}

fn envelope(envelope: Envelope) -> Vec<u8> {
    envelope.encode(&mut [0; ENVELOPE_MAX]).to_vec()
}

/// A leader (server 2) and a follower (server 1) on their election ports.
struct Together {
    leader: Server,
    follower: Server,
    /// The link between them, at each side.
    links: [MemberLink; 2],
    /// What the leader has said, and the follower.
    said: [Vec<u8>; 2],
    /// What has come to each, and was not taken.
    come: [Vec<u8>; 2],
}

impl Together {
    /// They have elected the leader, and the follower has not called it.
    fn new(leader: bool, follower: bool) -> Self {
        Self::of(server(2, leader), server(1, follower))
    }

    fn of(mut leader: Server, mut follower: Server) -> Self {
        let links = meet(&mut leader, &mut follower);
        let (said, come) = Default::default();
        let mut all = Self { leader, follower, links, said, come };
        all.talk(usize::MAX);
        decide(&mut all.leader, &mut all.follower);
        all
    }

    /// The ports that the follower calls now.
    fn dials(&mut self) -> Vec<Port> {
        let follower = &mut self.follower;
        core::iter::from_fn(|| follower.peer.poll_dial(follower.now))
            .filter(|dial| dial.server == ServerId(2))
            .map(|dial| dial.port)
            .collect()
    }

    /// Lets both talk until they have nothing more to say. `piece` bytes are shown at a time.
    fn talk(&mut self, piece: usize) {
        loop {
            self.leader.disk();
            self.follower.disk();
            let said = [self.leader.says(self.links[0]), self.follower.says(self.links[1])];
            if said.iter().all(Vec::is_empty) {
                assert_eq!(self.come, [vec![], vec![]]);
                return;
            }
            for (side, bytes) in said.iter().enumerate() {
                self.said[side].extend_from_slice(bytes);
                let mut shown = core::mem::take(&mut self.come[1 - side]);
                for bytes in bytes.chunks(piece).chain([&b""[..]]) {
                    shown.extend_from_slice(bytes);
                    let taken = self.show(1 - side, &shown);
                    shown.drain(..taken);
                }
                self.come[1 - side] = shown;
            }
        }
    }

    /// Shows bytes to the leader (0) or the follower; answers how many were taken.
    fn show(&mut self, side: usize, bytes: &[u8]) -> usize {
        let server = if side == 0 { &mut self.leader } else { &mut self.follower };
        server.peer.hear(server.now, self.links[side], bytes).consumed
    }

    /// What was said since this was asked last: envelopes in words, and packets.
    fn script(&mut self, side: usize) -> Vec<String> {
        let said = core::mem::take(&mut self.said[side]);
        let mut rest = &said[..];
        let mut script = vec![];
        while let Some(&first_byte) = rest.first() {
            if let Some(behind) = rest.strip_prefix(&OFFER) {
                script.push("offer".to_owned());
                rest = behind;
            } else if first_byte == 0 {
                let len = u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
                script.push("vote".to_owned());
                rest = &rest[4 + len..];
            } else {
                let first = Envelope::first(rest).unwrap();
                let compact::First::Envelope(envelope, len) = first else {
                    panic!("a part of one")
                };
                rest = &rest[len..];
                script.push(format!("{envelope:?}"));
                if let Envelope::Data(_, len) = envelope {
                    let (mut body, behind) = rest.split_at(len as usize);
                    while !body.is_empty() {
                        let Ok(First::Whole(packet, len)) = first_packet(body) else { panic!() };
                        script.push(format!("{:?}", packet.kind));
                        body = &body[len..];
                    }
                    rest = behind;
                }
            }
        }
        script
    }
}

fn first_packet(bytes: &[u8]) -> Result<First<'_>, jute::Error> {
    first(bytes, 1 << 20)
}

#[test]
fn votes_and_packets_share_a_connection_if_one_side_wants_that() {
    for (leader, follower) in [(true, true), (true, false), (false, true)] {
        for piece in [1, 7, usize::MAX] {
            let mut all = Together::new(leader, follower);
            assert_eq!(all.dials(), []);
            all.talk(piece);
            assert!(all.leader.peer.is_serving() && all.follower.peer.is_serving());
            let channel = all.follower.peer.member_channel(all.links[1]);
            assert_eq!((channel, all.leader.peer.member_channel(all.links[0])), (Some(2), channel));
            let [leader, follower] = [0, 1].map(|side| all.script(side));
            let packets = |script: &[String]| {
                script.iter().filter(|word| word.starts_with("Kind(")).cloned().collect::<Vec<_>>()
            };
            assert_eq!(packets(&follower).len(), 4, "{follower:?}");
            assert_eq!(packets(&leader).len(), 4, "{leader:?}");
            for script in [leader, follower] {
                assert_eq!(script.iter().filter(|word| *word == "offer").count(), 1, "{script:?}");
            }
        }
    }
    // Neither wants it, so neither speaks of it.
    let mut all = Together::new(false, false);
    assert_eq!(all.dials(), [Port::Quorum]);
    for side in [0, 1] {
        assert!(all.script(side).iter().all(|word| word == "vote"));
    }
}

/// It has no room for packets where votes are, and is asked in vain.
#[test]
fn who_never_speaks_it_is_met_on_its_quorum_port() {
    let never = Options { dialect: Dialect::Never, ..Options::default() };
    let (leader, follower) = (server(2, true), Server::with_options(1, false, never));
    let mut all = Together::of(leader, follower);
    assert_eq!(all.dials(), [Port::Quorum]);
    assert!(all.script(0).contains(&"offer".to_owned()));
    assert!(all.script(1).iter().all(|word| word == "vote"));
}

/// The leader has said the beginning of an envelope when the follower's channel ends, at either side: it
/// says the rest, which the other passes over, and both begin anew.
#[test]
fn an_envelope_is_said_to_its_end() {
    for leader_leaves in [false, true] {
        let mut all = Together::new(true, false);
        all.dials();
        all.talk(usize::MAX);
        for side in [0, 1] {
            all.script(side);
        }
        // A transaction is on its way, cut in the middle.
        let client = connect(&mut all.leader, SessionId::NONE, None);
        all.leader.disk();
        let [to_follower, to_leader] = all.links;
        let head = all.leader.says(to_follower);
        let body = all.leader.peer.member_output(to_follower).to_vec();
        assert!(head.len() < ENVELOPE_MAX && body.len() > 20, "{head:?} {body:?}");
        all.leader.peer.member_sent(all.leader.now, to_follower, 20);
        assert_eq!(all.show(1, &[&head[..], &body[..20]].concat()), head.len());
        // Whoever leaves has heard nothing of the other for too long.
        let leaves = if leader_leaves { &mut all.leader } else { &mut all.follower };
        for _ in 0..10 {
            let at = leaves.now.monotonic.0 + 100;
            leaves.now = Now::new(at, at as i64);
            leaves.peer.tick(leaves.now);
        }
        assert_eq!(leaves.peer.state(), State::Looking);
        assert_eq!(leaves.peer.member_channel(all.links[usize::from(!leader_leaves)]), None);
        while all.leader.peer.poll_member(all.leader.now).is_some() {}
        let rest = all.leader.peer.member_output(to_follower).to_vec();
        assert_eq!(rest, body[20..]);
        all.leader.peer.member_sent(all.leader.now, to_follower, rest.len());
        let shown = [&body[..20], &rest].concat();
        assert_eq!(all.show(1, &shown), shown.len());
        all.talk(usize::MAX);
        let scripts = [0, 1].map(|side| all.script(side));
        let closes = |script: &[String]| script.contains(&"Close(2)".to_owned());
        assert!(closes(&scripts[usize::from(!leader_leaves)]), "{scripts:?}");
        assert_eq!(all.leader.peer.member_channel(to_follower), None);
        assert_eq!(all.follower.peer.member_channel(to_leader), None);
        assert!(!all.leader.peer.member_is_closing(to_follower));
        let _ = client;
    }
}

/// Only the channel ends, and the votes go on.
#[test]
fn what_is_no_packet_ends_its_channel_alone() {
    let mut all = Together::new(true, true);
    all.dials();
    all.talk(usize::MAX);
    let leader = all.links[0];
    let bad = b"\0\0\0\x04\0\0\0\0\0\0\0\0\x7f\xff\xff\xff";
    let said = [&envelope(Envelope::Data(2, 16)), &bad[..], &vote(2)].concat();
    assert_eq!(all.show(0, &said), said.len());
    assert!(!all.leader.peer.member_is_closing(leader));
    // Nothing more is taken from it, as long as the other side goes on.
    let said = [&envelope(Envelope::Data(2, 3)), &b"abc"[..]].concat();
    assert_eq!(all.show(0, &said), said.len());
    all.script(0);
    all.talk(usize::MAX);
    assert!(all.script(0).contains(&"Close(2)".to_owned()));
    assert_eq!(all.leader.peer.member_channel(leader), None);
}

/// A packet that goes on behind its envelope.
#[test]
fn a_packet_has_one_envelope() {
    let mut all = Together::new(true, true);
    all.dials();
    all.talk(usize::MAX);
    let said = [&envelope(Envelope::Data(2, 10)), &[0; 10][..]].concat();
    assert_eq!(all.show(0, &said), said.len());
    all.script(0);
    all.talk(usize::MAX);
    assert!(all.script(0).contains(&"Close(2)".to_owned()));
}

/// Who does not lead says so, and what is said on channels that nobody has is passed over.
#[test]
fn channels_of_the_past_mean_nothing() {
    let mut all = Together::new(true, true);
    let follower = all.links[1];
    let said = [
        envelope(Envelope::Open(9)),
        envelope(Envelope::Data(9, 4)),
        b"what".to_vec(),
        envelope(Envelope::Close(8)),
        envelope(Envelope::Data(8, 0)),
        vote(2),
    ];
    let said = said.concat();
    assert_eq!(all.show(1, &said), said.len());
    all.script(1);
    all.talk(usize::MAX);
    let script = all.script(1);
    assert!(script.contains(&"Refuse(9)".to_owned()), "{script:?}");
    assert!(!all.follower.peer.member_is_closing(follower));
    // The channel to the leader is another one.
    all.dials();
    all.talk(usize::MAX);
    assert!(all.follower.peer.is_serving());
    for channel in [0, 1, 3, 4] {
        let said = [&envelope(Envelope::Data(channel, 16)), &[0xff; 16][..]].concat();
        assert_eq!(all.show(1, &said), said.len());
        all.show(1, &envelope(Envelope::Close(channel)));
    }
    all.talk(usize::MAX);
    assert_eq!(all.follower.peer.member_channel(follower), Some(2));
    assert!(all.follower.peer.is_serving());
}

#[test]
fn what_is_no_envelope_ends_the_link() {
    for bad in [&b"\x05\x01\0"[..], b"\x01\xff\xff\xff\xff\xff", b"\x02\x01\x01"] {
        let mut all = Together::new(true, true);
        assert_eq!(all.show(0, bad), bad.len());
        assert!(all.leader.peer.member_is_closing(all.links[0]));
    }
    // Nobody has asked for the dialect.
    let mut all = Together::new(false, false);
    all.show(0, &envelope(Envelope::Open(1)));
    all.show(0, &[1; 8]);
    assert!(all.leader.peer.member_is_closing(all.links[0]));
}

/// The one connection breaks: so does what it has carried.
#[test]
fn a_channel_ends_with_its_connection() {
    let mut all = Together::new(true, true);
    all.dials();
    all.talk(usize::MAX);
    let [leader, follower] = all.links;
    all.follower.peer.member_closed(all.follower.now, follower);
    all.leader.peer.member_closed(all.leader.now, leader);
    assert_eq!(all.follower.peer.state(), State::Looking);
    for server in [&mut all.leader, &mut all.follower] {
        assert!(server.peer.poll_member(server.now).is_none());
    }
}

/// The other side does not know yet that this one speaks the dialect, and would take an envelope for a frame.
#[test]
fn nothing_is_opened_before_the_dialect_is_offered() {
    let (mut leader, mut follower) = (server(2, true), server(1, false));
    let [to_follower, to_leader] = meet(&mut leader, &mut follower);
    // Its vote waits to be sent.
    while follower.peer.poll_member(follower.now).is_some() {}
    let waits = follower.peer.member_output(to_leader).to_vec();
    assert!(!waits.is_empty());
    let offer = leader.says(to_follower);
    assert_eq!(offer, OFFER);
    follower.hears(to_leader, &[&offer[..], &vote(2)].concat());
    follower.now = Now::new(1300, 1300);
    follower.peer.tick(follower.now);
    assert_eq!(follower.peer.state(), State::Following);
    let dial = follower.peer.poll_dial(follower.now).expect("it calls its leader");
    assert_eq!((dial.server, dial.port), (ServerId(2), Port::Quorum));
    // Nobody is there. A moment later they know of each other.
    follower.peer.connect_failed(follower.now, dial.link);
    follower.peer.member_sent(follower.now, to_leader, waits.len());
    assert_eq!(follower.says(to_leader), OFFER);
    follower.now = Now::new(1500, 1500);
    while let Some(dial) = follower.peer.poll_dial(follower.now) {
        assert_ne!(dial.server, ServerId(2));
    }
    assert_eq!(follower.peer.member_channel(to_leader), Some(2));
}
