//! Reconfigurations that a client of the follower asks for.

use super::*;

/// A pair whose configuration may change; a client of the follower asks for changes.
struct Changing {
    pair: Pair,
    client: Link,
    xid: i32,
}

impl Changing {
    fn new() -> Self {
        Self::with(true)
    }

    fn with(reconfig: bool) -> Self {
        let options = Options { reconfig, skip_acl: true, ..Options::default() };
        let server = |id| Server::with_options(id, false, options.clone());
        let mut pair = Pair::of(server(2), server(1));
        pair.talk(usize::MAX);
        let client = pair.open_session();
        pair.transcript.clear();
        Self { pair, client, xid: 0 }
    }

    fn ask(
        &mut self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        version: i64,
    ) {
        self.xid += 1;
        let header = RequestHeader { xid: zk_core::id::Xid(self.xid), op: OpCode::Reconfig };
        let text = |text: Option<&'static str>| Ustring(text.map(str::as_bytes));
        let leak = |text: Option<&str>| text.map(|text| &*text.to_owned().leak());
        let request = ReconfigRequest {
            joining: text(leak(joining)),
            leaving: text(leak(leaving)),
            new_members: text(leak(members)),
            cur_config_id: version,
        };
        let Server { peer, now, .. } = &mut self.pair.follower;
        peer.receive(*now, self.client, &frame(&encode(&(header, request))));
    }

    /// The next reply: its error, and the text of the new configuration.
    fn reply(&mut self) -> (Code, String) {
        let Server { peer, now, .. } = &mut self.pair.follower;
        while peer.poll_link().is_some() {}
        let reply = peer.output(self.client).to_vec();
        peer.sent(*now, self.client, reply.len());
        let mut reader = Reader::new(&reply[4..]);
        let header: ReplyHeader = reader.read().unwrap();
        assert_eq!(header.xid.0, self.xid);
        if header.err != Code::Ok {
            return (header.err, String::new());
        }
        let GetDataReply { data, stat } = reader.read().unwrap();
        assert_eq!((stat.version, stat.mzxid), (-1, header.zxid), "as Apache's");
        (header.err, String::from_utf8(data.bytes().to_vec()).unwrap())
    }

    fn reconfigure(&mut self, joining: Option<&str>, leaving: Option<&str>) -> (Code, String) {
        self.ask(joining, leaving, None, -1);
        self.pair.talk(usize::MAX);
        self.reply()
    }

    /// Versions that are in force, and proposed, at the leader and the follower.
    fn versions(&self) -> [(i64, Option<i64>); 2] {
        [&self.pair.leader, &self.pair.follower].map(|server| {
            let quorums = server.peer.quorums();
            (quorums.committed.version(), quorums.pending().map(zk_core::quorum::Config::version))
        })
    }
}

#[test]
fn the_first_configuration_gets_a_version() {
    let changing = Changing::new();
    let first = Zxid::new(Epoch(1), 0).0;
    assert_eq!(changing.versions(), [(first, None); 2]);
    for server in [&changing.pair.leader, &changing.pair.follower] {
        assert!(server.peer.config().text().ends_with(b"\nversion=100000000"));
    }
}

/// What is said is what Apache 3.8.0 says: PROPOSAL, ACK, and a COMMIT that names the leader.
#[test]
fn a_reconfiguration_is_in_force_when_it_is_committed() {
    let mut changing = Changing::new();
    let joining = "server.4=127.0.0.1:1:2:observer;127.0.0.1:3";
    changing.ask(Some(joining), Some("3"), None, -1);
    // The leader has proposed it: it counts there before anybody hears of it.
    let Pair { leader, follower, links, .. } = &mut changing.pair;
    let request = follower.says(links[1]);
    leader.hears(links[0], &request);
    let version = Zxid::new(Epoch(1), 2).0;
    let first = Zxid::new(Epoch(1), 0).0;
    assert_eq!(changing.versions(), [(first, Some(version)), (first, None)]);
    changing.pair.talk(usize::MAX);
    assert_eq!(changing.versions(), [(version, None); 2]);
    let (code, text) = changing.reply();
    let expected = format!(
        "server.1=127.0.0.1:22111:22121:participant\nserver.2=127.0.0.1:22112:22122:participant\n\
         {joining}\nversion=100000002"
    );
    assert_eq!((code, text), (Code::Ok, expected));
    let said: Vec<&str> = changing.pair.transcript.iter().map(|line| &line[..28]).collect();
    assert_eq!(
        said,
        [
            "L>F 000000020000000100000002",
            "F>L 000000030000000100000002",
            "L>F 000000090000000100000002"
        ]
    );
    assert!(changing.pair.transcript[2].ends_with("000000080000000000000002ffffffff"));
}

#[test]
fn without_the_option_nothing_changes() {
    let mut changing = Changing::with(false);
    assert_eq!(changing.reconfigure(None, Some("3")).0, Code::ReconfigDisabled);
    assert_eq!(changing.versions(), [(0, None), (0, None)]);
}

#[test]
fn what_cannot_be_a_configuration_is_refused() {
    let mut changing = Changing::new();
    let full = "server.1=127.0.0.1:22111:22121:participant;1,server.2=127.0.0.1:22112:22122;2";
    for (joining, leaving, members, version, code) in [
        (None, Some("3"), None, 7, Code::BadVersion),
        (None, Some("x"), None, -1, Code::MarshallingError),
        (Some("server.4=h:1:2"), None, None, -1, Code::BadArguments),
        (None, Some("2,3"), None, -1, Code::BadArguments),
        (None, None, Some("server.1"), -1, Code::BadArguments),
        // Server 3 is away, and server 2 leaves: one of two is no quorum.
        (None, Some("2"), None, -1, Code::NewConfigNoQuorum),
        (None, None, Some(full), -1, Code::Ok),
    ] {
        changing.ask(joining, leaving, members, version);
        changing.pair.talk(usize::MAX);
        assert_eq!(changing.reply().0, code, "{joining:?} {leaving:?} {members:?}");
        assert!(changing.versions().iter().all(|(_, pending)| pending.is_none()));
    }
    assert_eq!(changing.pair.leader.peer.config().members().count(), 2);
}

/// Nothing more is committed by a leader that has left, and its follower leads.
#[test]
fn a_leader_that_leaves_names_the_next() {
    let mut changing = Changing::new();
    assert_eq!(changing.reconfigure(None, Some("3")).0, Code::Ok);
    let joining = "server.2=127.0.0.1:22112:22122:observer;127.0.0.1:3,server.3=127.0.0.1:1:2;4";
    let (code, _) = changing.reconfigure(Some(joining), None);
    assert_eq!(code, Code::NewConfigNoQuorum, "server 3 is away");
    let moved = "server.2=127.0.0.1:22119:22122;127.0.0.1:3";
    changing.ask(Some(moved), None, None, -1);
    changing.pair.talk(usize::MAX);
    // It is met elsewhere now: the follower is to lead, and does so without an election.
    let last = changing.pair.transcript.iter().rfind(|line| line.starts_with("L>F 00000009"));
    assert!(last.unwrap().ends_with("000000080000000000000001ffffffff"), "{last:?}");
    assert_eq!(changing.pair.follower.peer.state(), State::Leading);
    assert_eq!(changing.pair.leader.peer.state(), State::Leading, "until its followers are gone");
}

/// A follower whose leader proposes a reconfiguration before it lets it serve; NEWLEADER says that this
/// version is its latest. Answers the versions of both configurations.
fn synchronised(offered: impl Fn(Zxid, Zxid) -> Zxid) -> (Server, [Zxid; 2]) {
    let options = Options { reconfig: true, ..Options::default() };
    let server = |id| Server::with_options(id, false, options.clone());
    let Pair { mut follower, links, .. } = Pair::of(server(2), server(1));
    let link = links[1];
    let version = |version: Zxid| CONFIG.replace("version=0", &format!("version={:x}", version.0));
    let (first, next) = (Zxid::new(Epoch(1), 0), Zxid::new(Epoch(1), 1));
    let header = TxnHeader {
        client_id: SessionId(1),
        cxid: zk_core::id::Xid(1),
        zxid: next,
        time: 1,
        op: OpCode::Reconfig,
    };
    let text = version(next);
    let data = Buffer::new(text.as_bytes());
    let txn = encode(&(header, SetDataTxn { path: "/zookeeper/config".into(), data, version: -1 }));
    for packet in [
        Packet::with(Kind::LeaderInfo, first, &0x1_0000i32.to_be_bytes()),
        Packet::new(Kind::Diff, Zxid::ZERO),
        Packet::with(Kind::NewLeader, first, version(offered(first, next)).as_bytes()),
        Packet::with(Kind::Proposal, next, &txn),
        Packet::new(Kind::UpToDate, Zxid::NONE),
    ] {
        follower.says(link);
        follower.hears(link, &encode(&packet));
        follower.disk();
        follower.says(link);
    }
    assert!(follower.peer.is_serving());
    (follower, [first, next])
}

/// A later configuration is proposed before the learner serves: so the one of NEWLEADER is in force, and
/// clients are shown that.
#[test]
fn the_configuration_of_newleader_is_shown_although_another_is_proposed() {
    let (follower, [first, next]) = synchronised(|first, _| first);
    let quorums = follower.peer.quorums();
    assert_eq!(quorums.committed.version(), first.0);
    assert_eq!(quorums.pending().unwrap().version(), next.0);
    let tree = follower.peer.tree();
    let mut room = [0; 400];
    let shown = tree.copy_data(tree.find(b"/zookeeper/config").unwrap(), &mut room);
    let text = CONFIG.replace("version=0", &format!("version={:x}", first.0));
    assert_eq!(shown, Some(text.as_bytes()));
}

/// A leader of Apache's says in NEWLEADER what it proposes in this reign, too: that is in force when it
/// is committed.
#[test]
fn what_newleader_names_and_nobody_has_committed_is_only_proposed() {
    let (follower, [_, next]) = synchronised(|_, next| next);
    let quorums = follower.peer.quorums();
    assert_eq!(quorums.committed.version(), 0);
    assert_eq!(quorums.pending().unwrap().version(), next.0);
}

/// Its version may be in force at another follower already, which would not follow a leader without it.
#[test]
fn the_first_configuration_outlives_the_leader_that_gave_it_a_version() {
    let options = Options { reconfig: true, ..Options::default() };
    let server = |id| Server::with_options(id, false, options.clone());
    let first = Zxid::new(Epoch(1), 0);
    let text = CONFIG.replace("version=0", &format!("version={:x}", first.0));
    // With the history that NEWLEADER came behind, and without.
    for durable in [true, false] {
        let Pair { mut follower, links, .. } = Pair::of(server(2), server(1));
        let link = links[1];
        for packet in [
            Packet::with(Kind::LeaderInfo, first, &0x1_0000i32.to_be_bytes()),
            Packet::new(Kind::Diff, Zxid::ZERO),
            Packet::with(Kind::NewLeader, first, text.as_bytes()),
        ] {
            follower.says(link);
            follower.hears(link, &encode(&packet));
            if durable || packet.kind != Kind::NewLeader {
                follower.disk();
            }
        }
        follower.peer.member_closed(follower.now, link);
        assert_eq!(follower.peer.state(), State::Looking);
        let pending = follower.peer.quorums().pending().map(zk_core::quorum::Config::version);
        assert_eq!(pending, durable.then_some(first.0));
    }
}

/// A configuration with these servers (server 2 among them), later than the first.
fn later(servers: &[i64]) -> String {
    let line = |id| format!("server.{id}=127.0.0.1:2211{id}:2212{id}:participant\n");
    let lines: String = servers.iter().map(line).collect();
    format!("{lines}version=100000007")
}

/// Server 1 hears of a configuration in a vote. The version and the voters of its own afterwards.
fn told(options: &Options, text: &str, piece: usize) -> (i64, Vec<ServerId>) {
    let mut server = Server::with_options(1, false, options.clone());
    let [_, link] = meet(&mut Server::new(2), &mut server);
    let mut shown = vec![];
    for bytes in vote_of(text, 2).chunks(piece) {
        shown.extend_from_slice(bytes);
        let received = server.peer.hear(server.now, link, &shown);
        shown.drain(..received.consumed);
    }
    assert!(shown.is_empty() && !server.peer.member_is_closing(link));
    assert_eq!(server.peer.state(), State::Looking);
    let config = server.peer.config();
    (config.version(), config.voters().collect())
}

/// Who comes back after all whom it knows have left would look for ever.
#[test]
fn a_later_configuration_in_a_vote_counts() {
    let options = Options { reconfig: true, ..Options::default() };
    let old = (0, [1, 2, 3].map(ServerId).to_vec());
    for piece in [1, 7, usize::MAX] {
        let new = (0x1_0000_0007, [1, 2, 5].map(ServerId).to_vec());
        assert_eq!(told(&options, &later(&[1, 2, 5]), piece), new);
        // Of those it is none.
        assert_eq!(told(&options, &later(&[2, 4, 5]), piece), old);
        assert_eq!(told(&options, CONFIG, piece), old);
        assert_eq!(told(&options, "server.1=", piece), old);
        // It has no room for that; the vote counts.
        let long = format!("{}\n{}", "#".repeat(zk_core::quorum::TEXT_MAX), later(&[1, 2, 5]));
        assert_eq!(told(&options, &long, piece), old);
        assert_eq!(told(&Options::default(), &later(&[1, 2, 5]), piece), old);
    }
}

/// Nor can anybody else name a server that is none, whoever it says it is.
#[test]
fn a_stranger_has_no_configuration() {
    let options = Options { reconfig: true, ..Options::default() };
    let mut server = Server::with_options(1, false, options);
    let link = server.peer.accept(server.now, Port::Election, address()).unwrap();
    let hello = Hello { sid: ServerId(4), addresses: "127.0.0.1:22124" };
    let mut bytes = [0; 64];
    let len = hello.encode(&mut bytes).unwrap();
    server.hears(link, &bytes[..len]);
    server.hears(link, &vote_of(&later(&[1, 2, 4]), 4));
    assert_eq!(server.peer.config().version(), 0);
}

/// Whoever follows or leads hears of configurations from the history only.
#[test]
fn a_configuration_in_a_vote_is_nothing_to_a_follower() {
    let mut changing = Changing::new();
    let before = changing.versions();
    let election = changing.pair.election;
    changing.pair.follower.hears(election, &vote_of(&later(&[1, 2, 5]), 2));
    assert_eq!(changing.versions(), before);
    assert_eq!(changing.pair.follower.peer.state(), State::Following);
}

/// What a reply will take is not more when the configuration has grown meanwhile.
#[test]
fn replies_that_wait_while_the_configuration_grows_keep_their_room() {
    let mut changing = Changing::new();
    let joining = "server.4=a-long-name-of-a-host.example.org:1:2:observer;127.0.0.1:3,\
                   server.5=another-long-name-of-a-host.example.org:1:2:observer;127.0.0.1:3";
    changing.ask(Some(joining), None, None, -1);
    changing.ask(None, Some("4"), None, 7);
    changing.ask(None, Some("4"), None, 7);
    let Changing { pair, client, xid } = &mut changing;
    let Server { peer, now, .. } = &mut pair.follower;
    for op in [OpCode::GetData, OpCode::CloseSession] {
        *xid += 1;
        let mut request = encode(&RequestHeader { xid: zk_core::id::Xid(*xid), op });
        if op == OpCode::GetData {
            request.extend(encode(&PathWatch { path: "/".into(), watch: false }));
        }
        peer.receive(*now, *client, &frame(&request));
    }
    pair.talk(usize::MAX);
    let peer = &mut pair.follower.peer;
    while peer.poll_link().is_some() {}
    let mut output = peer.output(*client);
    let mut replies = 0;
    while let Some((len, rest)) = output.split_first_chunk::<4>() {
        output = &rest[u32::from_be_bytes(*len) as usize..];
        replies += 1;
    }
    assert_eq!(replies, 5);
}
