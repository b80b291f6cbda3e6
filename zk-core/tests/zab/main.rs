//! Two peers and the bytes between them: what a leader and its learners say is what servers of
//! Apache 3.8.0 said to each other, packet by packet.

mod capacity;
mod channel;
mod local;
mod mismatch;
mod played;
mod reconfig;
mod starved;
mod uncut;

use core::net::{IpAddr, Ipv4Addr};

use zk_core::id::{Epoch, ServerId, SessionId, Zxid};
use zk_core::memory::Unit;
use zk_core::peer::{
    Ceilings, Disk, Epochs, Link, MemberLink, Membership, Options, Order, Peer, Read, Reading,
    State,
};
use zk_core::quorum::Port;
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_core::wire::client::{
    ConnectRequest, ConnectResponse, CreateRequest, GetDataReply, OPEN_ACL_UNSAFE, PathWatch,
    ReconfigRequest, ReplyHeader, RequestHeader,
};
use zk_core::wire::election::{Hello, Notification, ServerState};
use zk_core::wire::jute::{self, Buffer, List, Reader, Trailing, Ustring};
use zk_core::wire::quorum::{First, Kind, Packet, first};
use zk_core::wire::txn::{SetDataTxn, TxnHeader};
use zk_core::wire::{Code, OpCode};

const CONFIG: &str = "server.1=127.0.0.1:22111:22121:participant\n\
                      server.2=127.0.0.1:22112:22122:participant\n\
                      server.3=127.0.0.1:22113:22123:participant\n\
                      version=0";

fn address() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Server {
    peer: Peer<'static>,
    now: Now,
    /// What a disk was asked for the ensemble's sake, in words.
    orders: Vec<String>,
    /// The body of a snapshot that is to take the place of the history.
    installing: (Zxid, Vec<u8>),
    /// What the disk has of the log.
    log: Vec<(Zxid, Vec<u8>)>,
    /// What is wanted of it, and not read yet.
    reading: Option<(Reading, Zxid)>,
}

impl Server {
    fn new(id: i64) -> Self {
        Self::with(id, false)
    }

    /// With a history that is damaged, or a new one.
    fn with(id: i64, damaged: bool) -> Self {
        Self::with_options(id, damaged, Options::default())
    }

    fn with_options(id: i64, damaged: bool, options: Options) -> Self {
        Self::with_ceilings(id, damaged, options, Ceilings::default())
    }

    fn with_ceilings(id: i64, damaged: bool, options: Options, ceilings: Ceilings) -> Self {
        Self::with_config(id, damaged, options, ceilings, CONFIG)
    }

    /// The same, whose configuration has its own text.
    fn with_config(
        id: i64,
        damaged: bool,
        options: Options,
        ceilings: Ceilings,
        config: &str,
    ) -> Self {
        let now = Now::new(1000, 1000);
        let options = Options {
            server: ServerId(id),
            ensemble: true,
            tick_time: 100,
            init_limit: 10,
            sync_limit: 5,
            min_session_timeout: 4000,
            ..options
        };
        let mut peer =
            Peer::owned(options, ceilings, Seeds(1, 2), SessionId(id << 56), now).unwrap();
        peer.load_reset();
        let membership = Membership {
            config: config.as_bytes(),
            proposed: None,
            epochs: Epochs::default(),
            damaged,
        };
        peer.join(now, &membership).unwrap();
        for id in 1..=3 {
            peer.resolved(ServerId(id), &[address()]).unwrap();
        }
        let (orders, installing, log) = (vec![], (Zxid::NONE, vec![]), vec![]);
        Self { peer, now, orders, installing, log, reading: None }
    }

    /// The disk does all that it is asked, at once.
    fn disk(&mut self) {
        let now = self.now;
        while let Some(disk) = self.peer.poll_disk() {
            match disk {
                Disk::Append(batch) => {
                    self.log.extend(batch.iter().map(|(zxid, txn)| (zxid, txn.to_vec())));
                    let last = batch.last();
                    self.peer.durable(now, last).unwrap();
                }
                Disk::Ensemble(Order::Epochs(Epochs { accepted, current })) => {
                    self.orders.push(format!("accepted {} current {}", accepted.0, current.0));
                    self.peer.epochs_written(now);
                }
                Disk::SnapshotBytes(bytes) => {
                    let len = bytes.len();
                    self.peer.snapshot_written(len);
                }
                Disk::SnapshotEnd(_) => self.peer.snapshot_done(),
                Disk::SnapshotBegin(_) | Disk::SnapshotDrop | Disk::Roll => {}
                Disk::Ensemble(Order::InstallBegin(zxid)) => self.installing = (zxid, vec![]),
                Disk::Ensemble(Order::InstallBytes(bytes)) => {
                    self.installing.1.extend(bytes);
                    let len = bytes.len();
                    self.peer.install_written(len);
                }
                Disk::Ensemble(Order::InstallEnd) => {
                    let (zxid, body) = &self.installing;
                    self.peer.load_reset();
                    let taken = self.peer.load_snapshot(body).unwrap();
                    assert!(taken.done);
                    self.peer.load_snapshot_end(*zxid, None);
                    self.peer.reloaded(now);
                }
                Disk::Ensemble(Order::Read(reading, Read::Log { from, .. })) => {
                    self.reading = Some((reading, from));
                }
                Disk::Ensemble(order) => panic!("{order:?}"),
            }
        }
    }

    /// What it has to say on a link.
    fn says(&mut self, link: MemberLink) -> Vec<u8> {
        while self.peer.poll_member(self.now).is_some() {}
        let bytes = self.peer.member_output(link).to_vec();
        self.peer.member_sent(self.now, link, bytes.len());
        bytes
    }

    fn hears(&mut self, link: MemberLink, bytes: &[u8]) {
        let received = self.peer.hear(self.now, link, bytes);
        assert_eq!(received.consumed, bytes.len());
        assert!(!self.peer.member_is_closing(link), "the link was dropped");
    }

    /// Tells it on an election link that `voter` votes for server 2, at zxid 0.
    fn elects(&mut self, link: MemberLink) {
        self.hears(link, &vote(2));
    }
}

/// A vote for a server, at zxid 0.
fn vote(leader: i64) -> Vec<u8> {
    vote_of(CONFIG, leader)
}

/// The same, of somebody who has that configuration in force.
fn vote_of(config: &str, leader: i64) -> Vec<u8> {
    let notification = Notification {
        state: ServerState::Looking,
        leader: ServerId(leader),
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: 0,
        version: Notification::VERSION,
        config: config.as_bytes(),
    };
    let mut bytes = vec![];
    notification.write(&mut bytes).unwrap();
    bytes
}

/// Server 2 calls server 1 on its election port. The link, at each side.
fn meet(caller: &mut Server, called: &mut Server) -> [MemberLink; 2] {
    let dial = caller.peer.poll_dial(caller.now).expect("it calls the others");
    assert_eq!((dial.server, dial.port), (ServerId(1), Port::Election));
    caller.peer.connected(dial.link);
    let hello = caller.says(dial.link);
    let link = called.peer.accept(called.now, Port::Election, address()).unwrap();
    called.hears(link, &hello);
    [dial.link, link]
}

/// Two of three agree; a better vote is waited for, in vain.
fn decide(leader: &mut Server, follower: &mut Server) {
    for (server, state) in [(leader, State::Leading), (follower, State::Following)] {
        server.now = Now::new(1300, 1300);
        server.peer.tick(server.now);
        assert_eq!(server.peer.state(), state);
    }
}

/// A leader (server 2) and a follower (server 1) that meet on the quorum port. Server 3 is away.
struct Pair {
    leader: Server,
    follower: Server,
    /// The link between them, at each side.
    links: [MemberLink; 2],
    /// The follower's link on the election port.
    election: MemberLink,
    transcript: Vec<String>,
}

impl Pair {
    fn new() -> Self {
        Self::of(Server::new(2), Server::new(1))
    }

    fn of(mut leader: Server, mut follower: Server) -> Self {
        // The election: each hears that the other votes for server 2.
        let [to_follower, to_leader] = meet(&mut leader, &mut follower);
        follower.elects(to_leader);
        leader.elects(to_follower);
        decide(&mut leader, &mut follower);
        let dial = loop {
            let dial = follower.peer.poll_dial(follower.now).expect("it calls its leader");
            if dial.port == Port::Quorum {
                break dial;
            }
        };
        assert_eq!(dial.server, ServerId(2));
        follower.peer.connected(dial.link);
        let link = leader.peer.accept(leader.now, Port::Quorum, address()).unwrap();
        Self { leader, follower, links: [link, dial.link], election: to_leader, transcript: vec![] }
    }

    /// Lets both talk until they have nothing more to say. `piece` bytes are shown at a time.
    fn talk(&mut self, piece: usize) {
        loop {
            self.leader.disk();
            self.follower.disk();
            let said = [self.leader.says(self.links[0]), self.follower.says(self.links[1])];
            if said.iter().all(Vec::is_empty) {
                return;
            }
            for (bytes, who) in said.iter().zip(["L>F", "F>L"]) {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let Ok(First::Whole(_, len)) = first(rest, 1 << 20) else { panic!() };
                    self.transcript.push(format!("{who} {}", hex(&rest[..len])));
                    rest = &rest[len..];
                }
            }
            for (bytes, to) in said.iter().zip([1, 0]) {
                let (server, link) = match to {
                    0 => (&mut self.leader, self.links[0]),
                    _ => (&mut self.follower, self.links[1]),
                };
                // In pieces, as they come: what was not taken is shown again.
                let mut shown = vec![];
                for bytes in bytes.chunks(piece) {
                    shown.extend_from_slice(bytes);
                    let received = server.peer.hear(server.now, link, &shown);
                    shown.drain(..received.consumed);
                }
                assert!(shown.is_empty());
            }
        }
    }

    /// A client of the follower opens a session.
    fn open_session(&mut self) -> Link {
        let follower = &mut self.follower;
        let client = connect(follower, SessionId::NONE, None);
        self.talk(usize::MAX);
        let follower = &mut self.follower;
        while follower.peer.poll_link().is_some() {}
        let reply = follower.peer.output(client).to_vec();
        let response: ConnectResponse<'_> = jute::decode(&reply[4..]).unwrap();
        assert_eq!(response.session_id, SessionId(0x0100_0000_0000_0001));
        follower.peer.sent(follower.now, client, reply.len());
        client
    }
}

/// A client asks for a session, or for its own again.
fn connect(server: &mut Server, session: SessionId, read_only: Option<bool>) -> Link {
    let link = server.peer.open(server.now, address()).unwrap();
    let password = zk_core::session::password(session);
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout: 8000,
        session_id: session,
        passwd: Buffer::new(&password),
        read_only: Trailing(read_only),
    };
    server.peer.receive(server.now, link, &frame(&encode(&request)));
    link
}

/// Captured between two servers of Apache 3.8.0 (the configuration elided).
#[test]
fn a_follower_joins_a_fresh_leader_as_apaches_does() {
    for piece in [1, 7, 64, usize::MAX] {
        let mut pair = Pair::new();
        pair.talk(piece);
        let config = hex(CONFIG.as_bytes());
        let expected = [
            "F>L 0000000b 0000000000000000 00000014 000000000000000100010000 0000000000000000 ffffffff",
            "L>F 00000011 0000000100000000 00000004 00010000 ffffffff",
            "F>L 00000012 0000000000000000 00000004 00000000 ffffffff",
            "L>F 0000000d 0000000000000000 ffffffff ffffffff",
            "L>F 0000000a 0000000100000000 CONFIG ffffffff",
            "F>L 00000003 0000000100000000 ffffffff ffffffff",
            "L>F 0000000c ffffffffffffffff ffffffff ffffffff",
            "F>L 00000003 0000000100000000 ffffffff ffffffff",
        ]
        .map(|line| {
            let (who, packet) = line.split_at(4);
            let packet = packet.replace(' ', "");
            let config = format!("{:08x}{config}", CONFIG.len());
            format!("{who}{}", packet.replace("CONFIG", &config))
        });
        assert_eq!(pair.transcript, expected);
        assert!(pair.leader.peer.is_serving() && pair.follower.peer.is_serving());
        // The accepted epoch before anybody hears of it, the current one before it is acknowledged.
        for server in [&pair.leader, &pair.follower] {
            assert_eq!(server.orders, ["accepted 1 current 0", "accepted 1 current 1"]);
        }
        assert_eq!(pair.leader.peer.tree().last_zxid(), Zxid::new(Epoch(1), 0));
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(payload);
    out
}

/// A packet from its digits.
fn packet(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = vec![];
    jute::write(value, &mut out).unwrap();
    out
}

/// A client of the follower: its session and its writes go to the leader as Apache's do, and are
/// answered when they are committed.
#[test]
fn requests_go_to_the_leader_and_come_back_committed() {
    let mut pair = Pair::new();
    pair.talk(usize::MAX);
    pair.transcript.clear();
    let client = pair.open_session();
    let follower = &mut pair.follower;

    let mut room = [0; 64];
    let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap();
    let create = CreateRequest { path: "/y".into(), data: b"v"[..].into(), acl, flags: 0 };
    let mut request = encode(&RequestHeader { xid: zk_core::id::Xid(1), op: OpCode::Create });
    request.extend(encode(&create));
    follower.peer.receive(follower.now, client, &frame(&request));
    pair.talk(usize::MAX);

    let session = "0100000000000001";
    let body = hex(&encode(&create));
    let data = format!("{session}0000000100000001{body}");
    let request = format!(
        "F>L 00000001ffffffffffffffff{:08x}{data}000000010000000269700000000931323{}",
        data.len() / 2,
        "72e302e302e31"
    );
    let kinds: Vec<&str> = pair.transcript.iter().map(|line| &line[..12]).collect();
    assert_eq!(
        kinds,
        [
            // createSession, without identities.
            "F>L 00000001",
            "L>F 00000002",
            "F>L 00000003",
            "L>F 00000004",
            // create.
            "F>L 00000001",
            "L>F 00000002",
            "F>L 00000003",
            "L>F 00000004",
        ]
    );
    assert_eq!(
        pair.transcript[0],
        format!("F>L 00000001ffffffffffffffff00000014{session}00000000fffffff600001f40ffffffff")
    );
    assert_eq!(pair.transcript[4], request);
    assert_eq!(pair.transcript[6], "F>L 000000030000000100000002ffffffffffffffff");
    assert_eq!(pair.transcript[7], "L>F 000000040000000100000002ffffffffffffffff");
    let follower = &mut pair.follower;
    while follower.peer.poll_link().is_some() {}
    let reply = follower.peer.output(client);
    assert_eq!(hex(reply), "0000001600000001000000010000000200000000000000022f79");
    for server in [&pair.leader, &pair.follower] {
        assert!(server.peer.tree().find(b"/y").is_some());
    }
    assert_eq!(pair.leader.peer.tree().digest(), pair.follower.peer.tree().digest());
}

/// `leaderServes=no`: a leader that has no clients of its own serves those of others.
#[test]
fn a_leader_may_leave_clients_to_others() {
    let options = Options { leader_serves: false, ..Options::default() };
    let server = |id| Server::with_options(id, false, options.clone());
    let mut pair = Pair::of(server(2), server(1));
    pair.talk(usize::MAX);
    assert!(pair.leader.peer.open(pair.leader.now, address()).is_err());
    assert!(!pair.leader.peer.is_serving() && pair.follower.peer.is_serving());
    let client = pair.open_session();
    let session = pair.follower.peer.session(client).unwrap();
    assert!(pair.leader.peer.sessions().find(session).is_some());
    // It decides when the session is over.
    for later in (1400..=16_000).step_by(100) {
        let now = Now::new(later, later as i64);
        (pair.leader.now, pair.follower.now) = (now, now);
        pair.leader.peer.tick(now);
        pair.follower.peer.tick(now);
        pair.talk(usize::MAX);
    }
    assert!(pair.follower.peer.sessions().find(session).is_none());
}

/// A leader of Apache's pings whoever it has sent NEWLEADER, and closes the link if anything but the
/// ACK comes back.
#[test]
fn pings_are_answered_when_the_follower_serves() {
    let Pair { mut follower, links: [_, link], .. } = Pair::new();
    let ping = packet("00000005 0000000000000000 ffffffff ffffffff");
    let says = |follower: &mut Server| hex(&follower.says(link));
    assert!(says(&mut follower).starts_with("0000000b"), "FOLLOWERINFO");
    follower.hears(link, &packet("00000011 0000000100000000 00000004 00010000 ffffffff"));
    follower.disk();
    assert!(says(&mut follower).starts_with("00000012"), "ACKEPOCH");
    follower.hears(link, &packet("0000000d 0000000000000000 ffffffff ffffffff"));
    follower.hears(link, &ping);
    follower.hears(link, &packet("0000000a 0000000100000000 ffffffff ffffffff"));
    follower.hears(link, &ping);
    follower.disk();
    let ack = "000000030000000100000000ffffffffffffffff";
    assert_eq!(says(&mut follower), ack);
    follower.hears(link, &ping);
    assert_eq!(says(&mut follower), "");
    follower.hears(link, &packet("0000000c ffffffffffffffff ffffffff ffffffff"));
    assert_eq!(says(&mut follower), ack);
    follower.hears(link, &ping);
    assert_eq!(says(&mut follower), "00000005000000000000000000000000ffffffff");
}

/// A snapshot of what is left of a damaged history would be taken for all of it at the next start.
#[test]
fn a_damaged_history_is_not_made_to_look_whole() {
    let begins = |damaged| {
        let mut server = Server::with(1, damaged);
        match server.peer.poll_disk() {
            Some(Disk::SnapshotBegin(zxid)) => Some(zxid),
            None => None,
            Some(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(begins(false), Some(Zxid::ZERO));
    assert_eq!(begins(true), None);
}

/// Whoever has lost its history may have acknowledged everything: with less than that it must not
/// pass for whole, so an older snapshot will not do.
#[test]
fn a_damaged_history_is_replaced_by_all_that_is_committed() {
    let mut pair = Pair::new();
    pair.talk(usize::MAX);
    pair.open_session();
    let leader = &mut pair.leader;
    let committed = Zxid::new(Epoch(1), 1);
    assert_eq!(leader.peer.tree().last_zxid(), committed);
    let link = leader.peer.accept(leader.now, Port::Quorum, address()).unwrap();
    leader.hears(
        link,
        &packet(
            "0000000b 0000000000000000 00000014 000000000000000300010000 0000000000000000 ffffffff",
        ),
    );
    assert!(hex(&leader.says(link)).starts_with("00000011"), "LEADERINFO");
    leader.hears(link, &packet("00000012 ffffffffffffffff 00000004 00000000 ffffffff"));
    // The one of zxid 0 is there, but another is written.
    assert_eq!(leader.says(link), b"");
    match leader.peer.poll_disk().expect("a snapshot") {
        Disk::SnapshotBegin(begun) => assert_eq!(begun, committed),
        other => panic!("{other:?}"),
    }
}

/// Who leads may find out a moment later than its followers: they call again, for a second.
#[test]
fn a_leader_that_is_not_ready_is_called_again() {
    let Pair { mut follower, links: [_, link], .. } = Pair::new();
    let learned = follower.now.monotonic.0;
    for after in [0, 400, 900] {
        follower.now = Now::new(learned + after, 0);
        assert!(hex(&follower.says(link)).starts_with("0000000b"), "FOLLOWERINFO");
        follower.peer.member_closed(follower.now, link);
        assert_eq!(follower.peer.state(), State::Following);
        let quorum = |follower: &mut Server| {
            let dials = core::iter::from_fn(|| follower.peer.poll_dial(follower.now));
            dials.filter(|dial| dial.port == Port::Quorum).map(|dial| dial.link).next()
        };
        assert_eq!(quorum(&mut follower), None);
        follower.now = Now::new(learned + after + 100, 0);
        assert_eq!(quorum(&mut follower), Some(link));
        follower.peer.connected(link);
    }
    follower.peer.member_closed(follower.now, link);
    assert_eq!(follower.peer.state(), State::Looking);
}

/// It was elected without hearing of it, and votes for a better one by now.
#[test]
fn a_leader_that_votes_for_another_is_not_waited_for() {
    for (leader, state) in [(2, State::Following), (3, State::Looking)] {
        let Pair { mut follower, election, .. } = Pair::new();
        follower.hears(election, &vote(leader));
        let now = Now::new(follower.now.monotonic.0 + 1, 0);
        follower.peer.tick(now);
        assert_eq!(follower.peer.state(), state, "a vote for {leader}");
    }
}

/// Half a second after the last word from its leader, a follower looks for another.
#[test]
fn a_silent_leader_is_given_up() {
    let mut pair = Pair::new();
    pair.talk(usize::MAX);
    let follower = &mut pair.follower;
    let now = Now::new(follower.now.monotonic.0 + 500, 0);
    assert!(follower.peer.poll_timeout().unwrap() <= now.monotonic);
    follower.peer.tick(now);
    assert_eq!(follower.peer.state(), State::Looking);
    assert!(follower.peer.member_is_closing(pair.links[1]));
    assert!(follower.peer.open(now, address()).is_err());
}

/// Others may lead already, and know of the session: its client is to ask again.
#[test]
fn a_leader_whom_its_quorum_has_left_says_of_no_session_that_it_is_over() {
    let mut pair = Pair::new();
    pair.talk(usize::MAX);
    let (unknown, link) = (SessionId(0x0300_0000_0000_0001), pair.links[0]);
    let leader = &mut pair.leader;
    let before = connect(leader, unknown, None);
    let reply = leader.peer.output(before);
    let response: ConnectResponse<'_> = jute::decode(&reply[4..]).unwrap();
    assert_eq!(response.session_id, SessionId::NONE);
    leader.peer.member_closed(leader.now, link);
    let after = connect(leader, unknown, None);
    assert_eq!(leader.peer.state(), State::Leading, "it has not noticed yet");
    assert!(leader.peer.output(after).is_empty());
    assert!(leader.peer.is_closing(after));
}

/// Whoever says nothing for `initLimit` goes, all of them, and nobody else.
#[test]
fn all_silent_learners_are_given_up_at_once() {
    let mut pair = Pair::new();
    pair.talk(usize::MAX);
    let leader = &mut pair.leader;
    let silent = [(); 3].map(|()| leader.peer.accept(leader.now, Port::Quorum, address()).unwrap());
    // The follower answers the pings meanwhile.
    for _ in 0..12 {
        for server in [&mut pair.leader, &mut pair.follower] {
            let at = server.now.monotonic.0 + 100;
            server.now = Now::new(at, at as i64);
            let now = server.now;
            server.peer.tick(now);
        }
        pair.talk(usize::MAX);
    }
    assert_eq!(pair.leader.peer.state(), State::Leading);
    assert_eq!(silent.map(|link| pair.leader.peer.member_is_closing(link)), [true; 3]);
    assert!(!pair.leader.peer.member_is_closing(pair.links[0]), "it has answered");
}

/// What violates the protocol ends the link, and nothing else.
#[test]
fn packets_that_are_not_due_end_the_link() {
    // COMMIT of nothing, a proposal with a hole before it, NEWLEADER again, an unknown kind, no
    // transaction.
    for digits in [
        "00000004 0000000100000001 ffffffff ffffffff",
        "00000002 0000000100000002 00000000 ffffffff",
        "00000002 0000000100000001 00000004 00000000 ffffffff",
        "0000000a 0000000100000000 ffffffff ffffffff",
        "00000063 0000000000000000 ffffffff ffffffff",
        "00000002 0000000100000001 7fffffff",
    ] {
        let mut pair = Pair::new();
        pair.talk(usize::MAX);
        let follower = &mut pair.follower;
        follower.peer.hear(follower.now, pair.links[1], &packet(digits));
        assert!(follower.peer.member_is_closing(pair.links[1]), "{digits}");
        assert!(!matches!(follower.peer.state(), State::Stopped(_)));
    }
    // The same from a learner; and one that asks for something before it has said who it is.
    for (digits, fresh) in [
        ("00000003 0000000100000009 ffffffff ffffffff", false),
        ("0000000b 0000000000000000 ffffffff ffffffff", false),
        ("00000001 ffffffffffffffff 00000002 0000 ffffffff", false),
        ("00000003 0000000100000000 ffffffff ffffffff", true),
        ("0000000b 0000000000000000 ffffffff ffffffff", true),
        // Server 9 is no member.
        (
            "0000000b 0000000000000000 00000014 000000000000000900010000 0000000000000000 ffffffff",
            true,
        ),
        // Behind this epoch there is none.
        (
            "0000000b ffffffff00000000 00000014 000000000000000300010000 0000000000000000 ffffffff",
            true,
        ),
    ] {
        let mut pair = Pair::new();
        pair.talk(usize::MAX);
        let leader = &mut pair.leader;
        let link = if fresh {
            leader.peer.accept(leader.now, Port::Quorum, address()).unwrap()
        } else {
            pair.links[0]
        };
        leader.peer.hear(leader.now, link, &packet(digits));
        assert!(leader.peer.member_is_closing(link), "{digits}");
        assert_eq!(leader.peer.state(), State::Leading);
    }
}

/// Nobody leads whom a learner is ahead of. But an epoch that has begun nowhere else, and brought no
/// transaction, makes nobody's history longer.
#[test]
fn a_learner_with_the_same_history_is_not_ahead() {
    for (current, last, ahead) in [
        ("00000000", "0000000000000000", false),
        ("00000005", "0000000000000000", false),
        ("00000005", "0000000400000001", true),
        ("00000000", "0000000000000001", true),
    ] {
        let mut pair = Pair::new();
        let (leader, link) = (&mut pair.leader, pair.links[0]);
        let hello =
            "0000000b 0000000000000000 00000014 000000000000000100010000 0000000000000000 ffffffff";
        leader.hears(link, &packet(hello));
        leader.disk();
        assert!(!leader.says(link).is_empty(), "LEADERINFO");
        let ack = packet(&format!("00000012 {last} 00000004 {current} ffffffff"));
        leader.peer.hear(leader.now, link, &ack);
        assert_eq!(leader.peer.member_is_closing(link), ahead, "{current} {last}");
    }
}

/// Whoever comes from elsewhere cannot speak for a member.
#[test]
fn strangers_are_nobody() {
    let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7));
    let mut pair = Pair::new();
    pair.talk(usize::MAX);
    let leader = &mut pair.leader;
    let link = leader.peer.accept(leader.now, Port::Quorum, elsewhere).unwrap();
    let greeting =
        [&[0, 0, 0, 11][..], &[0; 8], &[0, 0, 0, 20], &[0, 0, 0, 0, 0, 0, 0, 1], &[0, 1, 0, 0]]
            .concat();
    let greeting = [&greeting[..], &[0; 8], &[0xff; 4]].concat();
    leader.peer.hear(leader.now, link, &greeting);
    assert!(leader.peer.member_is_closing(link));
    assert!(!leader.peer.member_is_closing(pair.links[0]), "the member keeps its link");
}

/// Whoever says nothing takes places from others on the same host only.
#[test]
fn silent_strangers_keep_out_nobody_from_elsewhere() {
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    for port in [Port::Election, Port::Quorum] {
        let mut pair = Pair::new();
        pair.talk(usize::MAX);
        let leader = &mut pair.leader;
        let mut come = |from| leader.peer.accept(leader.now, port, from).is_ok();
        let silent = (0..100).take_while(|_| come(address())).count();
        assert_eq!(silent, 16);
        assert!(come(elsewhere) && !come(address()));
    }
}

/// Only a voter's epoch is worth an election; whoever was refused has said nothing.
#[test]
fn a_later_epoch_of_no_voter_calls_no_election() {
    for (reconfig, closed) in [(false, true), (true, false)] {
        let options = Options { reconfig, ..Options::default() };
        let [leader, follower] = [2, 1].map(|id| Server::with_options(id, false, options.clone()));
        let mut pair = Pair::of(leader, follower);
        pair.talk(usize::MAX);
        let leader = &mut pair.leader;
        let mut greet = |digits| {
            let link = leader.peer.accept(leader.now, Port::Quorum, address()).unwrap();
            leader.peer.hear(leader.now, link, &packet(digits));
            (leader.peer.state(), leader.peer.member_is_closing(link))
        };
        // Server 9 is no member. It has accepted epoch 5.
        let stranger = "0000000b 0000000500000000 00000014 000000000000000900010000 0000000000000000 \
                        ffffffff";
        assert_eq!(greet(stranger), (State::Leading, closed));
        let late = "0000000b 0000000000000000 00000014 000000000000000300010000 0000000000000000 \
                    ffffffff";
        assert_eq!(greet(late), (State::Leading, false));
        let voter = "0000000b 0000000500000000 00000014 000000000000000300010000 0000000000000000 \
                     ffffffff";
        assert_eq!(greet(voter).0, State::Looking);
    }
}

/// A leader calls a server back that asks for it, once: it has nothing to say to it by itself.
#[test]
fn whoever_was_called_back_and_is_gone_is_not_called_again() {
    let mut pair = Pair::new();
    pair.talk(usize::MAX);
    let leader = &mut pair.leader;
    let asking = leader.peer.accept(leader.now, Port::Election, address()).unwrap();
    let hello = [&b"\xff\xff\xff\xff\xff\xff\0\0"[..], &[0, 0, 0, 0, 0, 0, 0, 1], &[0, 0, 0, 15]];
    leader.peer.hear(leader.now, asking, &[&hello.concat()[..], b"127.0.0.1:22121"].concat());
    let close = |leader: &mut Server| {
        while let Some(link) = leader.peer.poll_member(leader.now) {
            if leader.peer.member_is_closing(link) {
                leader.peer.member_closed(leader.now, link);
            }
        }
    };
    close(leader);
    let calls = |leader: &mut Server| {
        let mut found = vec![];
        while let Some(dial) = leader.peer.poll_dial(leader.now) {
            if dial.server == ServerId(1) {
                found.push(dial.link);
            }
        }
        found
    };
    // Not at the first attempt: then it is tried again.
    let call = calls(leader);
    assert_eq!(call.len(), 1);
    leader.peer.connect_failed(leader.now, call[0]);
    leader.now = Now::new(1500, 1500);
    let call = calls(leader);
    assert_eq!(call.len(), 1);
    leader.peer.connected(call[0]);
    assert!(!leader.says(call[0]).is_empty());
    leader.peer.member_closed(leader.now, call[0]);
    for at in [1700, 1900] {
        leader.now = Now::new(at, at as i64);
        assert_eq!(calls(leader), [], "at {at}");
    }
}

/// A connection that ends in the middle of a notification takes the rest of it along.
#[test]
fn a_link_that_is_dialled_again_begins_anew() {
    let mut server = Server::new(3);
    for bytes in [&vote(2)[..100], &vote(2)] {
        let dial = loop {
            let dial = server.peer.poll_dial(server.now).unwrap();
            if dial.server == ServerId(1) {
                break dial;
            }
        };
        server.peer.connected(dial.link);
        server.hears(dial.link, bytes);
        server.peer.member_closed(server.now, dial.link);
        server.now = Now::new(server.now.monotonic.0 + 1000, 0);
        server.peer.tick(server.now);
    }
}
