//! Members of an ensemble over real sockets, each a server in this process.

mod support;

use core::net::SocketAddr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};

use support::{Client, PATIENCE, Running, create_frame, encode, frame, raw, start, word};
use zk_core::id::{ServerId, SessionId, Xid, Zxid};
use zk_core::wire::client::{PathRecord, RequestHeader};
use zk_core::wire::jute::Ustring;
use zk_core::wire::{Code, OpCode};
use zk_std::config::Config;
use zk_std::server::{Error, Server, Standing};
use zk_std::store::log_reader::{LogReader, Step};
use zk_std::store::{self, OsDirectory, Store};

const TICK: u32 = 200;

/// Free ports. Nobody else gets them before they are used, as far as the system helps.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

struct Member {
    id: i64,
    dir: PathBuf,
    config: PathBuf,
    address: SocketAddr,
    running: Option<Running>,
    changes: Option<Receiver<Standing>>,
    last: Option<Standing>,
}

impl Member {
    fn start(&mut self) -> &mut Self {
        let server = self.open().unwrap();
        self.running = Some(start(server));
        self
    }

    fn open(&mut self) -> Result<Server, Error> {
        let (sender, changes) = mpsc::channel();
        self.changes = Some(changes);
        self.last = None;
        let config = Config::load(&self.config, &[]).unwrap();
        let tell = move |standing: &Standing| {
            // A test that has ended hears no more.
            let _ = sender.send(*standing);
        };
        Server::builder(config).on_change(tell).open()
    }

    fn stop(&mut self) {
        self.running.take().unwrap().stop().unwrap();
    }

    /// Waits until it stands so.
    fn wait(&mut self, what: &str, is: impl Fn(&Standing) -> bool) -> Standing {
        loop {
            if let Some(last) = self.last.filter(|last| is(last)) {
                return last;
            }
            let next = self.changes.as_ref().unwrap().recv_timeout(PATIENCE);
            self.last =
                Some(next.unwrap_or_else(|_| {
                    panic!("server {} is not {what}: {:?}", self.id, self.last)
                }));
        }
    }

    fn wait_serving(&mut self) -> Standing {
        self.wait("serving", |standing| standing.serving)
    }

    fn client(&self) -> Client {
        Client::open(self.address)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join("version-2")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

struct Ensemble {
    members: Vec<Member>,
    _root: tempfile::TempDir,
}

/// So many voters and observers, not started.
fn ensemble(voters: usize, observers: usize) -> Ensemble {
    let root = tempfile::tempdir().unwrap();
    let count = voters + observers;
    let ports = free_ports(3 * count);
    let mut lines = String::new();
    for at in 0..count {
        let role = if at < voters { "participant" } else { "observer" };
        let (quorum, election, client) = (ports[3 * at], ports[3 * at + 1], ports[3 * at + 2]);
        lines +=
            &format!("server.{}=127.0.0.1:{quorum}:{election}:{role};127.0.0.1:{client}\n", at + 1);
    }
    let member = |at: usize| {
        let dir = root.path().join((at + 1).to_string());
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("myid"), format!("{}\n", at + 1)).unwrap();
        let config = dir.join("zoo.cfg");
        let text = format!(
            "dataDir={}\ntickTime={TICK}\ninitLimit=20\nsyncLimit=10\npreAllocSize=64\n\
             4lw.commands.whitelist=*\n{lines}",
            dir.display()
        );
        fs::write(&config, text).unwrap();
        Member {
            id: at as i64 + 1,
            dir,
            config,
            address: format!("127.0.0.1:{}", ports[3 * at + 2]).parse().unwrap(),
            running: None,
            changes: None,
            last: None,
        }
    };
    Ensemble { members: (0..count).map(member).collect(), _root: root }
}

impl Ensemble {
    fn start(voters: usize, observers: usize) -> Self {
        let mut ensemble = ensemble(voters, observers);
        for member in &mut ensemble.members {
            member.start();
        }
        ensemble.wait_serving();
        ensemble
    }

    /// Waits until all that run serve, with one leader; answers its place.
    fn wait_serving(&mut self) -> usize {
        let mut leaders = vec![];
        for member in self.members.iter_mut().filter(|member| member.running.is_some()) {
            leaders.push(member.wait_serving().leader.unwrap());
        }
        assert!(leaders.iter().all(|leader| *leader == leaders[0]), "{leaders:?}");
        self.members.iter().position(|member| ServerId(member.id) == leaders[0]).unwrap()
    }

    fn get(&self, at: usize, path: &str) -> Result<Vec<u8>, Code> {
        let mut client = self.members[at].client();
        sync(&mut client, 1);
        client.get(2, path)
    }
}

/// What was committed before is seen afterwards.
fn sync(client: &mut Client, xid: i32) {
    client.send(&frame(&encode(&(
        RequestHeader { xid: Xid(xid), op: OpCode::Sync },
        PathRecord { path: Ustring::new(b"/") },
    ))));
    let (header, _) = client.reply();
    assert_eq!((header.xid, header.err), (Xid(xid), Code::Ok));
}

fn close(client: &mut Client, xid: i32) {
    client.send(&frame(&encode(&RequestHeader { xid: Xid(xid), op: OpCode::CloseSession })));
    assert_eq!(client.reply().0.err, Code::Ok);
}

#[test]
fn three_members_and_an_observer_serve_as_one() {
    let mut ensemble = Ensemble::start(3, 1);
    let leader = ensemble.wait_serving();
    // Written through each, read through all.
    for at in 0..4 {
        let mut client = ensemble.members[at].client();
        assert_eq!(client.create(1, &format!("/by-{at}"), &[at as u8]), Code::Ok);
        assert_eq!(client.create(2, "/by-0", b""), Code::NodeExists);
        close(&mut client, 3);
    }
    for at in 0..4 {
        for by in 0..4 {
            assert_eq!(ensemble.get(at, &format!("/by-{by}")), Ok(vec![by as u8]));
        }
    }
    // They say what they are.
    let epoch = ensemble.members[0].last.unwrap().epoch.0;
    for (at, member) in ensemble.members.iter().enumerate() {
        let role = if at == 3 {
            "observer"
        } else if at == leader {
            "leader"
        } else {
            "follower"
        };
        let answer = word(member.address, b"srvr");
        assert!(answer.contains(&format!("Mode: {role}\n")), "{answer}");
        let sizes = answer.split_once("\nProposal sizes last/min/max: ");
        assert_eq!(sizes.is_some(), at == leader, "{answer}");
        let [last, min, max] = sizes.map_or([1; 3], |(_, sizes)| {
            let sizes = sizes.trim_end().split('/').map(|size| size.parse::<i64>().unwrap());
            sizes.collect::<Vec<_>>().try_into().unwrap()
        });
        assert!(0 < min && min <= last && last <= max, "{answer}");
        let answer = word(member.address, b"mntr");
        let has =
            |line: &str| assert!(answer.contains(&format!("zk_{line}\n")), "{line}: {answer}");
        has(&format!("server_state\t{role}"));
        has("quorum_size\t3");
        has(&format!("current_epoch\t{epoch}"));
        if at == leader {
            has("learners\t3");
            has("synced_followers\t2");
            has("synced_observers\t1");
            has(&format!("min_proposal_size\t{min}"));
            has(&format!("max_proposal_size\t{max}"));
        }
        let answer = word(member.address, b"conf");
        assert!(answer.contains(&format!("serverId={}\n", at + 1)), "{answer}");
        assert!(answer.contains("membership: \nserver.1=127.0.0.1:"), "{answer}");
        assert!(answer.contains("\nversion="), "{answer}");
        assert_eq!(word(member.address, b"isro"), "rw");
    }
    for member in &mut ensemble.members {
        member.stop();
    }
}

#[test]
fn a_leader_that_ends_is_replaced_and_comes_back() {
    let mut ensemble = Ensemble::start(3, 0);
    let first = ensemble.wait_serving();
    let follower = (first + 1) % 3;
    let mut client = ensemble.members[follower].client();
    assert_eq!(client.create(1, "/before", b"1"), Code::Ok);
    let before = ensemble.members[follower].last.unwrap();
    ensemble.members[first].stop();
    for at in [follower, (first + 2) % 3] {
        ensemble.members[at].wait("led by another", |standing| {
            standing.serving && standing.leader != before.leader
        });
    }
    let second = ensemble.wait_serving();
    assert_ne!(second, first);
    assert!(ensemble.members[second].last.unwrap().epoch > before.epoch);
    // Its clients were told to go.
    assert_eq!(client.stream.read(&mut [0; 16]).unwrap_or(0), 0);
    let mut client = ensemble.members[follower].client();
    assert_eq!(client.get(1, "/before"), Ok(b"1".to_vec()));
    assert_eq!(client.create(2, "/between", b"2"), Code::Ok);
    ensemble.members[first].start().wait_serving();
    assert_eq!(ensemble.get(first, "/between"), Ok(b"2".to_vec()));
    // A minority serves nobody.
    let third = 3 - first - second;
    ensemble.members[first].stop();
    ensemble.members[third].stop();
    ensemble.members[second].wait("alone", |standing| !standing.serving);
    let address = ensemble.members[second].address;
    let idle = "This ZooKeeper instance is not currently serving requests\n";
    for name in [b"srvr", b"stat", b"mntr", b"conf", b"cons"] {
        assert_eq!(word(address, name), idle);
    }
    assert_eq!(word(address, b"ruok"), "imok");
    assert_eq!(word(address, b"isro"), "null");
    let mut stream = raw(address);
    stream.write_all(&support::connect_frame(SessionId::NONE, &[0; 16], 30_000)).unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    // And all of it is there again.
    ensemble.members[first].start();
    ensemble.members[third].start();
    ensemble.wait_serving();
    for at in 0..3 {
        assert_eq!(ensemble.get(at, "/before"), Ok(b"1".to_vec()));
    }
}

#[test]
fn a_session_moves_and_its_end_is_everybodys() {
    let ensemble = Ensemble::start(3, 0);
    let mut client = ensemble.members[0].client();
    let mut create = create_frame(1, "/ephemeral", b"");
    // The flags are the last field.
    *create.last_mut().unwrap() = 1;
    client.send(&create);
    assert_eq!(client.reply().0.err, Code::Ok);
    let mut moved = raw(ensemble.members[1].address);
    moved.write_all(&support::connect_frame(client.session, &client.passwd, 30_000)).unwrap();
    let reply = support::read_frame(&mut moved).unwrap();
    assert!(!reply.is_empty());
    let mut moved = Client { stream: moved, session: client.session, passwd: vec![] };
    assert_eq!(moved.create(2, "/by-the-moved", b""), Code::Ok);
    assert_eq!(ensemble.get(2, "/ephemeral"), Ok(vec![]));
    close(&mut moved, 3);
    for at in 0..3 {
        assert_eq!(ensemble.get(at, "/ephemeral"), Err(Code::NoNode));
    }
}

#[test]
fn a_member_that_lost_everything_is_sent_a_snapshot() {
    let mut ensemble = Ensemble::start(3, 0);
    let leader = ensemble.wait_serving();
    let mut client = ensemble.members[leader].client();
    for number in 0..300 {
        assert_eq!(client.create(number, &format!("/n{number}"), &[7; 1000]), Code::Ok);
    }
    let lost = (leader + 1) % 3;
    ensemble.members[lost].stop();
    let version_2 = ensemble.members[lost].dir.join("version-2");
    fs::remove_dir_all(&version_2).unwrap();
    ensemble.members[lost].start().wait_serving();
    let mut client = ensemble.members[lost].client();
    sync(&mut client, 1);
    for number in 0..300 {
        assert_eq!(client.get(2, &format!("/n{number}")), Ok(vec![7; 1000]));
    }
    let files = ensemble.members[lost].files();
    assert!(files.iter().all(|name| !name.contains("install")), "{files:?}");
    // What it has counts: with it alone beside one other, nothing is lost.
    let third = 3 - leader - lost;
    ensemble.members[leader].stop();
    for at in [lost, third] {
        let old = ServerId(ensemble.members[leader].id);
        ensemble.members[at]
            .wait("led by another", |s| s.serving && s.leader.is_some_and(|id| id != old));
    }
    assert_eq!(ensemble.get(lost, "/n299"), Ok(vec![7; 1000]));
}

/// The zxids of a member's logs.
fn logged(member: &Member) -> Vec<Zxid> {
    let logs = member.files().into_iter().filter(|name| name.starts_with("log."));
    let mut zxids = vec![];
    for path in logs.map(|name| member.dir.join("version-2").join(name)) {
        let mut reader = LogReader::new(fs::File::open(&path).unwrap(), path, 1 << 20);
        while let Step::Record { zxid, .. } = reader.step().unwrap() {
            zxids.push(zxid);
        }
    }
    zxids
}

/// A member has logged a transaction that was never acknowledged to anybody, and the others have
/// gone on without it, a short way or a long one.
#[test]
fn what_nobody_else_has_is_dropped() {
    for goes_on in [false, true] {
        let mut ensemble = Ensemble::start(3, 0);
        let mut client = ensemble.members[0].client();
        assert_eq!(client.create(1, "/a", b""), Code::Ok);
        for member in &mut ensemble.members {
            member.stop();
        }
        let last = *logged(&ensemble.members[2]).last().unwrap();
        {
            let dir = OsDirectory::new(&ensemble.members[2].dir);
            let options = store::Options { preallocate: 0, reserve: 0, ..Default::default() };
            let mut store = Store::open(dir.clone(), dir, options).unwrap();
            let mut txn = vec![0; 12];
            txn.extend_from_slice(&last.successor().0.to_be_bytes());
            txn.extend_from_slice(&[0; 8]);
            txn.extend_from_slice(&(-1_i32).to_be_bytes());
            txn.extend_from_slice(&(-4_i32).to_be_bytes());
            store.append(last.successor(), &txn).unwrap();
            store.sync().unwrap();
        }
        assert_eq!(*logged(&ensemble.members[2]).last().unwrap(), last.successor());
        for at in [0, 1] {
            ensemble.members[at].start();
        }
        ensemble.wait_serving();
        if goes_on {
            let mut client = ensemble.members[0].client();
            assert_eq!(client.create(1, "/b", b""), Code::Ok);
        }
        ensemble.members[2].start().wait_serving();
        let mut client = ensemble.members[2].client();
        assert_eq!(client.create(1, "/c", b""), Code::Ok);
        ensemble.members[2].stop();
        let left = logged(&ensemble.members[2]);
        assert!(!left.contains(&last.successor()), "{left:?}");
        // The short way ends with TRUNC, the long one with SNAP.
        assert_eq!(left.contains(&last), !goes_on, "{left:?}");
        for at in [0, 1] {
            assert_eq!(ensemble.get(at, "/c"), Ok(vec![]));
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn strangers_are_not_let_in() {
    use socket2::{Domain, Socket, Type};

    let mut ensemble = Ensemble::start(3, 0);
    let leader = ensemble.wait_serving();
    let config = Config::load(&ensemble.members[leader].config, &[]).unwrap();
    let own = config.quorum.unwrap().servers[&ServerId(leader as i64 + 1)].addresses[0].clone();
    for port in [own.election_port, own.quorum_port] {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let from: SocketAddr = "127.0.0.2:0".parse().unwrap();
        socket.bind(&from.into()).unwrap();
        let to: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
        socket.connect(&to.into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = std::net::TcpStream::from(socket);
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    }
    let answer = word(ensemble.members[leader].address, b"mntr");
    assert!(answer.contains("zk_strangers_rejected\t2\n"), "{answer}");
    assert!(ensemble.members[leader].client().create(1, "/still", b"") == Code::Ok);
}

#[test]
fn a_port_that_is_taken_is_exit_code_14() {
    let mut ensemble = ensemble(3, 0);
    let config = Config::load(&ensemble.members[0].config, &[]).unwrap();
    let own = config.quorum.unwrap().servers[&ServerId(1)].addresses[0].clone();
    let text = fs::read_to_string(&ensemble.members[0].config).unwrap();
    fs::write(&ensemble.members[0].config, text + "electionPortBindRetry=1\n").unwrap();
    let held = TcpListener::bind(("127.0.0.1", own.election_port)).unwrap();
    let error = ensemble.members[0].open().unwrap_err();
    assert_eq!(error.exit_code(), 14, "{error}");
    drop(held);
    ensemble.members[0].open().unwrap();
}
