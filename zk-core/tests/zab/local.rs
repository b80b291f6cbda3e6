//! Sessions that only their server knows of, and servers that can only be read.

use zk_core::wire::election::Hello;

use super::*;

/// A client of one of a pair's servers, and what it was answered.
struct Client {
    link: Link,
    xid: i32,
}

/// What a request was answered.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    zxid: Zxid,
    err: Code,
}

/// What a server has sent to a client; nothing if it closes the connection.
fn said(server: &mut Server, link: Link) -> Vec<u8> {
    while server.peer.poll_link().is_some() {}
    let bytes = server.peer.output(link).to_vec();
    server.peer.sent(server.now, link, bytes.len());
    bytes
}

impl Client {
    /// Opens a session at once: nobody else is asked.
    fn new(server: &mut Server, read_only: Option<bool>) -> Self {
        let link = connect(server, SessionId::NONE, read_only);
        let bytes = said(server, link);
        let response: ConnectResponse<'_> = jute::decode(&bytes[4..]).unwrap();
        assert_ne!(response.session_id, SessionId::NONE);
        let served = server.peer.is_read_only();
        assert_eq!(response.read_only.0, read_only.map(|_| served));
        Self { link, xid: 0 }
    }

    fn ask(&mut self, server: &mut Server, op: OpCode, body: &[u8]) {
        self.xid += 1;
        let mut request = encode(&RequestHeader { xid: zk_core::id::Xid(self.xid), op });
        request.extend(body);
        server.peer.receive(server.now, self.link, &frame(&request));
    }

    fn answer(&self, server: &mut Server) -> Reply {
        let bytes = said(server, self.link);
        let header: ReplyHeader = Reader::new(&bytes[4..]).read().unwrap();
        assert_eq!(header.xid.0, self.xid);
        Reply { zxid: header.zxid, err: header.err }
    }
}

fn create(path: &str, flags: i32) -> Vec<u8> {
    let mut room = [0; 64];
    let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).unwrap();
    encode(&CreateRequest { path: path.into(), data: b"v"[..].into(), acl, flags })
}

/// A pair whose sessions are local.
fn pair(upgrading: bool) -> Pair {
    let options =
        Options { local_sessions: true, local_sessions_upgrading: upgrading, ..Options::default() };
    let server = |id| Server::with_options(id, false, options.clone());
    let mut pair = Pair::of(server(2), server(1));
    pair.talk(usize::MAX);
    pair.transcript.clear();
    pair
}

const PERSISTENT: i32 = 0;
const EPHEMERAL: i32 = 1;

#[test]
fn a_local_session_takes_no_transaction_and_writes_through_its_server() {
    let mut pair = pair(false);
    let mut client = Client::new(&mut pair.follower, None);
    assert_eq!(pair.follower.peer.sessions().local_count(), 1);
    client.ask(&mut pair.follower, OpCode::Create, &create("/a", PERSISTENT));
    pair.talk(usize::MAX);
    let zxid = Zxid::new(Epoch(1), 1);
    assert_eq!(client.answer(&mut pair.follower), Reply { zxid, err: Code::Ok });
    client.ask(&mut pair.follower, OpCode::CloseSession, &[]);
    assert_eq!(client.answer(&mut pair.follower), Reply { zxid, err: Code::Ok });
    assert!(pair.follower.peer.is_closing(client.link));
    pair.talk(usize::MAX);
    for server in [&pair.leader, &pair.follower] {
        assert!(server.peer.tree().find(b"/a").is_some());
        assert_eq!(server.peer.sessions().len(), 0);
        assert_eq!(server.peer.tree().last_zxid(), zxid, "the end of it took none, either");
    }
}

/// Before its end, it gets what it asked before.
#[test]
fn the_end_of_a_local_session_waits_for_its_writes() {
    let mut pair = pair(false);
    let mut client = Client::new(&mut pair.follower, None);
    client.ask(&mut pair.follower, OpCode::Create, &create("/a", PERSISTENT));
    client.ask(&mut pair.follower, OpCode::CloseSession, &[]);
    assert!(said(&mut pair.follower, client.link).is_empty());
    pair.talk(usize::MAX);
    let bytes = said(&mut pair.follower, client.link);
    let len = 4 + u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let xid = |bytes: &[u8]| Reader::new(&bytes[4..]).read::<ReplyHeader>().unwrap().xid.0;
    assert_eq!((xid(&bytes), xid(&bytes[len..])), (1, 2));
    assert!(pair.follower.peer.is_closing(client.link));
}

#[test]
fn a_local_session_owns_no_ephemeral_node() {
    let mut pair = pair(false);
    for at_leader in [false, true] {
        let server = if at_leader { &mut pair.leader } else { &mut pair.follower };
        let mut client = Client::new(server, None);
        client.ask(server, OpCode::Create, &create("/e", EPHEMERAL));
        pair.talk(usize::MAX);
        let server = if at_leader { &mut pair.leader } else { &mut pair.follower };
        assert_eq!(client.answer(server).err, Code::EphemeralOnLocalSession);
        assert!(pair.leader.peer.tree().find(b"/e").is_none());
    }
}

#[test]
fn a_local_session_that_creates_an_ephemeral_node_becomes_one_of_the_ensembles() {
    for at_leader in [false, true] {
        let mut pair = pair(true);
        let server = if at_leader { &mut pair.leader } else { &mut pair.follower };
        let mut client = Client::new(server, None);
        let session = server.peer.session(client.link).unwrap();
        client.ask(server, OpCode::Create, &create("/e", EPHEMERAL));
        pair.talk(usize::MAX);
        let server = if at_leader { &mut pair.leader } else { &mut pair.follower };
        let zxid = Zxid::new(Epoch(1), 2);
        assert_eq!(client.answer(server), Reply { zxid, err: Code::Ok });
        for server in [&pair.leader, &pair.follower] {
            assert_eq!(server.peer.sessions().applied_count(), 1);
            assert_eq!(server.peer.sessions().local_count(), 0);
            assert_eq!(server.peer.tree().ephemerals_of(session), 1);
        }
        // It goes as others do.
        let server = if at_leader { &mut pair.leader } else { &mut pair.follower };
        client.ask(server, OpCode::CloseSession, &[]);
        pair.talk(usize::MAX);
        for server in [&pair.leader, &pair.follower] {
            assert_eq!(server.peer.sessions().len(), 0);
            assert!(server.peer.tree().find(b"/e").is_none());
        }
    }
}

#[test]
fn a_local_session_goes_on_at_its_server_only_and_expires_there() {
    let mut pair = pair(false);
    let client = Client::new(&mut pair.follower, None);
    let session = pair.follower.peer.session(client.link).unwrap();
    // Elsewhere nobody knows it.
    let elsewhere = connect(&mut pair.leader, session, None);
    let bytes = said(&mut pair.leader, elsewhere);
    let response: ConnectResponse<'_> = jute::decode(&bytes[4..]).unwrap();
    assert_eq!(response.session_id, SessionId::NONE);
    // Nor does a server whose leader knows it.
    let at_leader = Client::new(&mut pair.leader, None);
    let leaders = pair.leader.peer.session(at_leader.link).unwrap();
    let elsewhere = connect(&mut pair.follower, leaders, None);
    pair.talk(usize::MAX);
    let bytes = said(&mut pair.follower, elsewhere);
    let response: ConnectResponse<'_> = jute::decode(&bytes[4..]).unwrap();
    assert_eq!(response.session_id, SessionId::NONE);
    assert!(!pair.leader.peer.is_closing(at_leader.link));
    // Here it leaves its old connection.
    let again = connect(&mut pair.follower, session, None);
    let bytes = said(&mut pair.follower, again);
    let response: ConnectResponse<'_> = jute::decode(&bytes[4..]).unwrap();
    assert_eq!(response.session_id, session);
    assert!(pair.follower.peer.is_closing(client.link));
    // Silence ends it, by its server's clock.
    let time = pair.follower.now.monotonic.0;
    for later in (time..time + 9000).step_by(100) {
        assert_eq!(pair.follower.peer.sessions().len(), 1, "at {later}");
        if later >= time + 8000 {
            break;
        }
        // Its leader is there.
        pair.leader.now = Now::new(later, later as i64);
        pair.follower.now = Now::new(later, later as i64);
        let now = pair.leader.now;
        pair.leader.peer.tick(now);
        pair.follower.peer.tick(now);
        pair.talk(usize::MAX);
    }
    let now = Now::new(time + 8100, time as i64 + 8100);
    pair.follower.now = now;
    pair.follower.peer.tick(now);
    assert_eq!(pair.follower.peer.sessions().len(), 0);
    assert!(pair.follower.peer.is_closing(again));
}

/// A server alone of three, some time after it was started.
fn alone(options: Options, ms: u64) -> Server {
    let mut server = Server::with_options(1, false, options);
    for later in (1000..=1000 + ms).step_by(100) {
        server.now = Now::new(later, later as i64);
        let now = server.now;
        server.peer.tick(now);
        server.disk();
    }
    server
}

#[test]
fn a_server_without_a_leader_serves_clients_that_only_read() {
    let options = Options { read_only: true, local_sessions: true, ..Options::default() };
    assert!(!alone(options.clone(), 1900).peer.is_serving());
    let mut server = alone(options, 2000);
    assert!(server.peer.is_serving() && server.peer.is_read_only());
    // Who has not asked for it is sent away.
    for asks in [None, Some(false)] {
        let link = connect(&mut server, SessionId::NONE, asks);
        assert!(said(&mut server, link).is_empty() && server.peer.is_closing(link));
    }
    let mut client = Client::new(&mut server, Some(true));
    client.ask(&mut server, OpCode::Exists, &encode(&("/zookeeper", false)));
    assert_eq!(client.answer(&mut server).err, Code::Ok);
    for (op, body) in [
        (OpCode::Create, create("/a", PERSISTENT)),
        (OpCode::Sync, encode(&Ustring(Some(b"/")))),
        (OpCode::Reconfig, vec![]),
    ] {
        client.ask(&mut server, op, &body);
        assert_eq!(client.answer(&mut server).err, Code::NotReadOnly);
    }
    assert_eq!(server.peer.outstanding(), 0);
    client.ask(&mut server, OpCode::CloseSession, &[]);
    assert_eq!(client.answer(&mut server).err, Code::Ok);
    assert!(server.peer.is_closing(client.link));
    assert_eq!(server.peer.sessions().len(), 0);
}

#[test]
fn who_only_reads_is_sent_away_when_there_is_a_leader() {
    let options = Options { read_only: true, local_sessions: true, ..Options::default() };
    let mut server = alone(options, 2000);
    let client = Client::new(&mut server, Some(true));
    let link = server.peer.accept(server.now, Port::Election, address()).unwrap();
    let mut hello = [0; 64];
    let len = Hello { sid: ServerId(2), addresses: "127.0.0.1:22122" }.encode(&mut hello).unwrap();
    server.hears(link, &hello[..len]);
    server.elects(link);
    let now = Now::new(server.now.monotonic.0 + 300, server.now.wall + 300);
    server.peer.tick(now);
    assert_eq!(server.peer.state(), State::Following);
    assert!(server.peer.is_closing(client.link) && !server.peer.is_serving());
    assert_eq!(server.peer.sessions().len(), 0);
}

/// Without local sessions there is none to give.
#[test]
fn a_server_that_is_only_read_needs_local_sessions() {
    let mut server = alone(Options { read_only: true, ..Options::default() }, 2000);
    let link = connect(&mut server, SessionId::NONE, Some(true));
    assert!(said(&mut server, link).is_empty() && server.peer.is_closing(link));
}
