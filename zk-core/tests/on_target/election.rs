//! An election of three servers, in memory that the test lends.

use zk_core::election::{Election, Options, ServerState, Vote, Voter};
use zk_core::id::{ServerId, Zxid};
use zk_core::memory::Table;
use zk_core::quorum::{Config, Grouped, Member, Quorums};
use zk_core::time::Instant;
use zk_core::wire::election::{Hello, Notification, Received, first};

tests![three_servers_elect_the_best_one, what_is_too_large_for_the_room_is_refused];

const CONFIG: &[u8] = b"server.1=10.0.0.1:2888:3888:participant\n\
    server.2=10.0.0.2:2888:3888:participant\nserver.3=[fd00::3]:2888:3888:participant\nversion=0";

/// Bytes of a configuration's text that fit.
const TEXT: usize = 200;

/// What one configuration takes.
struct Room {
    text: [u8; TEXT],
    members: [Member; 3],
    grouped: [Grouped; 3],
}

impl Room {
    fn new() -> Self {
        Self { text: [0; TEXT], members: [Member::default(); 3], grouped: [Grouped::default(); 3] }
    }

    fn config(&mut self) -> Config<'_> {
        Config::new(
            Table::lent(&mut self.text),
            Table::lent(&mut self.members),
            Table::lent(&mut self.grouped),
        )
    }
}

/// Carries what `from` has to say to the others, and tells whether it was anything.
fn talk(servers: &mut [Election<'_>; 3], from: usize, now: Instant, quorums: &Quorums<'_>) -> bool {
    let sid = |at: usize| ServerId(at as i64 + 1);
    let mut talked = false;
    for to in (0..3).filter(|&to| to != from) {
        let Some((state, vote)) = servers[from].poll_vote(sid(to)) else { continue };
        let Vote { leader, zxid, round, peer_epoch } = vote;
        let config = quorums.committed.text();
        let version = Notification::VERSION;
        let said = Notification { state, leader, zxid, round, peer_epoch, version, config };
        let mut frame = [0; 4 + Notification::HEAD + TEXT];
        assert_eq!(said.encode(&mut frame), Ok(said.frame_len()));
        // The receiver has room for the vote and nothing else.
        let Ok(Received::Frame { start, len, taken, skip }) = first(&frame, 0) else {
            panic!("no frame");
        };
        assert_eq!((start.len(), taken + skip), (Notification::HEAD, said.frame_len()));
        let heard = Notification::decode(start, len).expect("a notification");
        servers[to].receive(now, quorums, sid(from), &heard);
        talked = true;
    }
    talked
}

fn three_servers_elect_the_best_one() {
    let mut rooms = [Room::new(), Room::new()];
    let [committed, proposed] = &mut rooms;
    let mut quorums = Quorums::new(committed.config(), proposed.config());
    quorums.set(CONFIG).expect("the configuration fits");
    let mut memory = [[Voter::default(); 2]; 3];
    let [one, two, three] = &mut memory;
    let mut servers = [(1, one), (2, two), (3, three)]
        .map(|(id, room)| Election::new(ServerId(id), Table::lent(room), Options::default()));
    let now = Instant(5);
    for (server, zxid) in servers.iter_mut().zip([7, 9, 8]) {
        server.look(now, &quorums, Zxid(zxid), 0);
    }
    let mut rounds = 0;
    while (0..3).any(|from| talk(&mut servers, from, now, &quorums)) {
        rounds += 1;
        assert!(rounds < 20);
    }
    let vote = Vote { leader: ServerId(2), zxid: Zxid(9), round: 1, peer_epoch: 0 };
    let states = [ServerState::Following, ServerState::Leading, ServerState::Following];
    for (server, state) in servers.iter().zip(states) {
        assert_eq!(server.decided(), Some((vote, state)));
    }
}

fn what_is_too_large_for_the_room_is_refused() {
    let mut room = Room::new();
    let mut config = room.config();
    config.set(CONFIG).expect("the configuration fits");
    for more in [&b"server.4=h:1:2\n"[..], &[b'#'; TEXT]] {
        let mut text = [0; 2 * TEXT];
        let len = more.len() + CONFIG.len();
        text[..more.len()].copy_from_slice(more);
        text[more.len()..len].copy_from_slice(CONFIG);
        assert!(config.set(&text[..len]).is_err());
        assert!(config.has_quorum(|id| id != ServerId(3)) && !config.has_quorum(|id| id.0 > 2));
    }
    let hello = Hello { sid: ServerId(1), addresses: "10.0.0.1:3888" };
    let mut out = [0; 32];
    assert!(hello.encode(&mut out).is_err());
}
