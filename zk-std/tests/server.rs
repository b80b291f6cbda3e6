//! The server over real sockets: raw frames, fragments, crowds, hostile bytes, restarts.

pub(crate) mod support;

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use support::{
    Client, PATIENCE, Running, connect_frame, create_frame, encode, frame, get_frame, raw,
    read_frame, start, word,
};
use zk_core::id::{SessionId, Xid};
use zk_core::wire::client::{
    ConnectResponse, GetDataReply, ReplyHeader, RequestHeader, SetDataRequest,
};
use zk_core::wire::jute::{self, Buffer, Reader, Ustring};
use zk_core::wire::{Code, OpCode};
use zk_std::config::{Config, FourLetterWords, HostPort};
use zk_std::server::{self, Error, Server};

fn set_frame(xid: i32, path: &str, data: &[u8]) -> Vec<u8> {
    frame(&encode(&(
        RequestHeader { xid: Xid(xid), op: OpCode::SetData },
        SetDataRequest {
            path: Ustring::new(path.as_bytes()),
            data: Buffer(Some(data)),
            version: -1,
        },
    )))
}

fn ping_frame() -> Vec<u8> {
    frame(&encode(&RequestHeader { xid: Xid::PING, op: OpCode::Ping }))
}

fn assert_closed(stream: &mut TcpStream) {
    let mut rest = vec![];
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(rest, b""),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

fn in_memory(change: impl FnOnce(&mut Config)) -> Running {
    let mut config = server::in_memory_config();
    change(&mut config);
    start(Server::builder(config).in_memory().open().unwrap())
}

fn on_files(dir: &Path) -> Running {
    let mut config = Config::quick_start(dir);
    config.client_address = Some(HostPort { host: "127.0.0.1".to_owned(), port: 0 });
    config.four_letter_words = FourLetterWords::All;
    start(Server::open(config).unwrap())
}

#[test]
fn it_serves_a_session() {
    let server = in_memory(|_| {});
    let mut client = Client::open(server.address());
    assert_eq!(client.create(1, "/a", b"one"), Code::Ok);
    assert_eq!(client.create(2, "/a", b"two"), Code::NodeExists);
    assert_eq!(client.get(3, "/a").unwrap(), b"one");
    client.send(&frame(&encode(&RequestHeader { xid: Xid(4), op: OpCode::CloseSession })));
    assert_eq!(client.reply().0.err, Code::Ok);
    assert_closed(&mut client.stream);
    server.stop().unwrap();
}

#[test]
fn data_is_as_long_as_frames_may_be() {
    let server = in_memory(|config| config.jute_max_buffer = 24_000_000);
    let mut client = Client::open(server.address());
    let data = vec![7; 20_000_000];
    assert_eq!(client.create(1, "/long", &data), Code::Ok);
    assert!(client.get(2, "/long").unwrap() == data);
    server.stop().unwrap();
}

#[test]
fn it_starts_in_milliseconds() {
    let mut quickest = Duration::MAX;
    for _ in 0..20 {
        let begun = Instant::now();
        let server = start(Server::in_memory().unwrap());
        assert_eq!(word(server.address(), b"ruok"), "imok");
        quickest = quickest.min(begun.elapsed());
    }
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");
}

#[test]
fn frames_come_in_any_pieces() {
    let server = in_memory(|_| {});
    for size in [1, 7, 64] {
        let path = format!("/pieces{size}");
        let mut stream = raw(server.address());
        let mut script = connect_frame(SessionId::NONE, &[0; 16], 30_000);
        script.extend(create_frame(1, &path, &[7; 300]));
        script.extend(get_frame(2, &path));
        script.extend(ping_frame());
        for piece in script.chunks(size) {
            stream.write_all(piece).unwrap();
            thread::yield_now();
        }
        read_frame(&mut stream).unwrap();
        for (xid, len) in [(1, None), (2, Some(300)), (-2, None)] {
            let reply = read_frame(&mut stream).unwrap();
            let mut reader = Reader::new(&reply);
            let header: ReplyHeader = reader.read().unwrap();
            assert_eq!((header.xid, header.err), (Xid(xid), Code::Ok));
            if let Some(len) = len {
                let data: GetDataReply<'_> = reader.read().unwrap();
                assert_eq!(data.data.bytes(), vec![7; len]);
            }
        }
    }
    server.stop().unwrap();
}

#[test]
fn many_clients_with_many_requests_in_flight_get_all_their_answers() {
    const CLIENTS: usize = 40;
    const REQUESTS: i32 = 2000;
    let server = in_memory(|_| {});
    let address = server.address();
    let threads: Vec<_> = (0..CLIENTS)
        .map(|number| {
            thread::spawn(move || {
                let mut client = Client::open(address);
                let path = format!("/many{number}");
                assert_eq!(client.create(0, &path, b""), Code::Ok);
                let mut script = vec![];
                for xid in 1..=REQUESTS {
                    let data = xid.to_be_bytes();
                    match xid % 2 {
                        1 => script.extend(set_frame(xid, &path, &data)),
                        _ => script.extend(get_frame(xid, &path)),
                    }
                }
                client.send(&script);
                for xid in 1..=REQUESTS {
                    let (header, body) = client.reply();
                    assert_eq!((header.xid, header.err), (Xid(xid), Code::Ok));
                    if xid % 2 == 0 {
                        let reply: GetDataReply<'_> = jute::decode(&body).unwrap();
                        assert_eq!(reply.data.bytes(), (xid - 1).to_be_bytes());
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    server.stop().unwrap();
}

#[test]
fn hostile_lengths_end_their_connection_only() {
    let server = in_memory(|_| {});
    let mut good = Client::open(server.address());
    for length in [-1, i32::MIN, 0, i32::MAX, 0x10_0000] {
        let mut stream = raw(server.address());
        stream.write_all(&length.to_be_bytes()).unwrap();
        assert_closed(&mut stream);
        // And inside of a session.
        let mut bad = Client::open(server.address());
        bad.send(&length.to_be_bytes());
        assert_closed(&mut bad.stream);
    }
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 4, 1, 2, 3, 4], &[255; 100]] {
        let mut stream = raw(server.address());
        stream.write_all(garbage).unwrap();
        assert_closed(&mut stream);
    }
    assert_eq!(good.create(1, "/good", b""), Code::Ok);
    server.stop().unwrap();
}

#[test]
fn who_says_nothing_or_half_a_frame_is_closed() {
    let server = in_memory(|config| {
        config.sessionless_cnxn_timeout = Duration::from_millis(200);
        config.min_session_timeout = 400;
        config.max_session_timeout = 60_000;
    });
    let mut good = Client::open(server.address());
    let mut half = Client::with_timeout(server.address(), 400);
    // Its session is touched by the first frame; the second is never finished.
    half.send(&ping_frame());
    half.send(&[0, 0, 1]);
    let mut silent = raw(server.address());
    let mut slow = raw(server.address());
    slow.write_all(&connect_frame(SessionId::NONE, &[0; 16], 1000)[..20]).unwrap();
    assert_closed(&mut silent);
    assert_closed(&mut slow);
    assert_eq!(half.reply().0.xid, Xid::PING);
    assert_closed(&mut half.stream);
    assert_eq!(good.create(1, "/good", b""), Code::Ok);
    server.stop().unwrap();
}

#[test]
fn who_does_not_read_does_not_hold_up_others() {
    let server = in_memory(|_| {});
    let mut good = Client::open(server.address());
    let big = vec![1; 500_000];
    assert_eq!(good.create(1, "/big", &big), Code::Ok);
    let mut slow = Client::open(server.address());
    let asked = 200;
    for xid in 1..=asked {
        slow.send(&get_frame(xid, "/big"));
    }
    // 100 MB would be due to it.
    for xid in 2..200 {
        assert_eq!(good.get(xid, "/zookeeper").unwrap(), b"");
    }
    // When it reads at last, nothing is missing.
    for xid in 1..=asked {
        let (header, body) = slow.reply();
        assert_eq!((header.xid, header.err), (Xid(xid), Code::Ok));
        let reply: GetDataReply<'_> = jute::decode(&body).unwrap();
        assert!(reply.data.bytes() == big);
    }
    server.stop().unwrap();
}

#[test]
fn limits_of_connections_hold_and_are_given_back() {
    let server = in_memory(|config| config.max_client_cnxns = 2);
    let one = Client::open(server.address());
    let mut two = Client::open(server.address());
    assert_closed(&mut raw(server.address()));
    drop(one);
    let begun = Instant::now();
    let three = loop {
        // The server learns of the end a little later than we do.
        let mut stream = raw(server.address());
        let sent = stream.write_all(&connect_frame(SessionId::NONE, &[0; 16], 30_000));
        if sent.is_ok() && read_frame(&mut stream).is_ok() {
            break stream;
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!(two.create(1, "/two", b""), Code::Ok);
    drop(three);
    server.stop().unwrap();

    let server = in_memory(|config| config.max_cnxns = 1);
    let mut one = Client::open(server.address());
    assert_closed(&mut raw(server.address()));
    assert_eq!(one.create(1, "/one", b""), Code::Ok);
    server.stop().unwrap();
}

#[test]
fn a_session_moves_to_another_connection() {
    let server = in_memory(|_| {});
    let mut before = Client::open(server.address());
    let mut stream = raw(server.address());
    stream.write_all(&connect_frame(before.session, &before.passwd, 30_000)).unwrap();
    let reply = read_frame(&mut stream).unwrap();
    let reply: ConnectResponse<'_> = jute::decode(&reply).unwrap();
    assert_eq!(reply.session_id, before.session);
    assert_closed(&mut before.stream);
    // A wrong password gets nothing.
    let mut stream = raw(server.address());
    stream.write_all(&connect_frame(before.session, &[9; 16], 30_000)).unwrap();
    let reply = read_frame(&mut stream).unwrap();
    let reply: ConnectResponse<'_> = jute::decode(&reply).unwrap();
    assert_eq!((reply.session_id, reply.timeout), (SessionId::NONE, 0));
    assert_closed(&mut stream);
    server.stop().unwrap();
}

#[test]
fn words_are_answered_as_by_apache() {
    let server = in_memory(|config| config.tick_time = 2000);
    let address = server.address();
    let mut client = Client::open(address);
    assert_eq!(client.create(1, "/a", b"x"), Code::Ok);
    assert_eq!(word(address, b"ruok"), "imok");
    assert_eq!(word(address, b"isro"), "rw");
    assert_eq!(word(address, b"gtmk"), "306");
    assert_eq!(word(address, b"stmk\0\0\0\0\0\0\0\x05"), "5");
    assert_eq!(word(address, b"gtmk"), "5");
    let version = server::words::VERSION;
    let srvr = word(address, b"srvr");
    let (head, tail) = srvr.split_once("Received: ").unwrap();
    assert_eq!(head, format!("Zookeeper version: {version}\nLatency min/avg/max: 0/0.0/0\n"));
    let (received, tail) = tail.split_once('\n').unwrap();
    // Two frames and six words, of which five are answered.
    assert_eq!(received, "8");
    assert_eq!(
        tail,
        "Sent: 7\nConnections: 2\nOutstanding: 0\nZxid: 0x2\nMode: standalone\nNode count: 6\n"
    );
    let stat = word(address, b"stat");
    let ours = client.stream.local_addr().unwrap();
    assert!(stat.contains("\nClients:\n"), "{stat}");
    assert!(stat.contains(&format!(" /{ours}[1](queued=0,recved=")), "{stat}");
    assert!(stat.contains("[0](queued=0,recved=1,sent=0)\n"), "{stat}");
    assert!(stat.contains(")\n\nLatency min/avg/max: "), "{stat}");
    let cons = word(address, b"cons");
    let session = client.session;
    assert!(cons.contains(&format!(",sent=2,sid={session},")), "{cons}");
    assert!(cons.contains(",to=30000,lcxid=0x1,"), "{cons}");
    let conf = word(address, b"conf");
    assert!(conf.starts_with(&format!("clientPort={}\nsecureClientPort=-1\n", address.port())));
    assert!(conf.ends_with(
        "tickTime=2000\nmaxClientCnxns=0\nminSessionTimeout=6000\nmaxSessionTimeout=60000\n\
         clientPortListenBacklog=-1\nserverId=0\n"
    ));
    let mntr = word(address, b"mntr");
    for line in ["zk_server_state\tstandalone\n", "zk_znode_count\t6\n", "zk_ephemerals_count\t0\n"]
    {
        assert!(mntr.contains(line), "{mntr}");
    }
    let dump = word(address, b"dump");
    assert!(
        dump.starts_with("SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at "),
        "{dump}"
    );
    assert!(dump.contains(&format!(":\n\t{session}\nephemeral nodes dump:\n")), "{dump}");
    assert!(dump.contains(&format!("\tip: /{ours} sessionId: {session}\n")), "{dump}");
    assert!(word(address, b"envi").starts_with("Environment:\nzookeeper.version="));
    assert_eq!(word(address, b"srst"), "Server stats reset.\n");
    assert!(word(address, b"srvr").contains("\nReceived: 1\nSent: 1\n"));
    server.stop().unwrap();
}

#[test]
fn words_come_in_pieces_and_first_and_by_the_whitelist() {
    let server = in_memory(|config| {
        config.four_letter_words = FourLetterWords::Only(["srvr".to_owned()].into());
    });
    let address = server.address();
    assert_eq!(
        word(address, b"ruok"),
        "ruok is not executed because it is not in the whitelist.\n"
    );
    let mut stream = raw(address);
    for byte in b"srvr" {
        stream.write_all(&[*byte]).unwrap();
        thread::yield_now();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("Zookeeper version: 3.8.0-zk-"), "{answer}");
    // After the handshake it is no word, but a length that cannot be.
    let mut client = Client::open(address);
    client.send(b"srvr");
    assert_closed(&mut client.stream);
    server.stop().unwrap();
}

#[test]
fn a_restart_keeps_data_and_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let server = on_files(dir.path());
    let mut client = Client::open(server.address());
    for xid in 0..100 {
        assert_eq!(client.create(xid, &format!("/n{xid}"), b"kept"), Code::Ok);
    }
    let (session, passwd) = (client.session, client.passwd.clone());
    server.stop().unwrap();
    assert_closed(&mut client.stream);

    let server = on_files(dir.path());
    let mut stream = raw(server.address());
    stream.write_all(&connect_frame(session, &passwd, 30_000)).unwrap();
    let reply = read_frame(&mut stream).unwrap();
    let reply: ConnectResponse<'_> = jute::decode(&reply).unwrap();
    assert_eq!(reply.session_id, session);
    let mut client = Client { stream, session, passwd };
    for xid in 0..100 {
        assert_eq!(client.get(xid, &format!("/n{xid}")).unwrap(), b"kept");
    }
    // A new session does not get an old id.
    assert_ne!(Client::open(server.address()).session, session);
    server.stop().unwrap();
}

#[test]
fn snapshots_are_taken_while_it_serves_and_old_ones_purged() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::quick_start(dir.path());
    config.client_address = Some(HostPort { host: "127.0.0.1".to_owned(), port: 0 });
    config.snap_count = 20;
    config.pre_alloc_size_kib = 64;
    let server = start(Server::open(config.clone()).unwrap());
    let mut client = Client::open(server.address());
    for xid in 0..500 {
        assert_eq!(client.create(xid, &format!("/n{xid}"), &[1; 1000]), Code::Ok);
    }
    server.stop().unwrap();
    let count = |prefix: &str| {
        std::fs::read_dir(dir.path().join("version-2"))
            .unwrap()
            .filter(|entry| {
                entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(prefix)
            })
            .count()
    };
    assert!(count("snapshot.") > 3 && count("log.") > 3);
    config.autopurge_purge_interval = Some(Duration::from_secs(3600));
    let server = start(Server::open(config).unwrap());
    let begun = Instant::now();
    // The snapshot of the start may come after the purge.
    while count("snapshot.") > 4 {
        assert!(begun.elapsed() < PATIENCE);
        thread::yield_now();
    }
    let mut client = Client::open(server.address());
    for xid in 0..500 {
        assert_eq!(client.get(xid, &format!("/n{xid}")).unwrap(), [1; 1000]);
    }
    server.stop().unwrap();
}

#[test]
fn a_stop_answers_what_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = on_files(dir.path());
    let mut client = Client::open(server.address());
    let (sender, replies) = mpsc::channel();
    let mut reading = client.stream.try_clone().unwrap();
    let reader = thread::spawn(move || {
        while let Ok(reply) = read_frame(&mut reading) {
            let header: ReplyHeader = Reader::new(&reply).read().unwrap();
            assert_eq!(header.err, Code::Ok);
            sender.send(header.xid).unwrap();
        }
    });
    for xid in 0..2000 {
        if client.stream.write_all(&create_frame(xid, &format!("/s{xid}"), b"")).is_err() {
            break;
        }
        if xid == 500 {
            server.handle().shutdown();
        }
    }
    server.stop().unwrap();
    reader.join().unwrap();
    let acknowledged: Vec<Xid> = replies.iter().collect();
    let server = on_files(dir.path());
    let mut client = Client::open(server.address());
    for xid in acknowledged {
        assert_eq!(client.get(xid.0, &format!("/s{}", xid.0)).unwrap(), b"");
    }
    server.stop().unwrap();
}

#[test]
fn a_stop_waits_for_who_reads_a_long_reply() {
    let server = in_memory(|config| config.jute_max_buffer = 24_000_000);
    let mut client = Client::open(server.address());
    let data = vec![7; 20_000_000];
    assert_eq!(client.create(1, "/long", &data), Code::Ok);
    client.send(&get_frame(2, "/long"));
    // The reply is begun, and longer than what the system keeps for the client.
    client.stream.peek(&mut [0; 4]).unwrap();
    server.handle().shutdown();
    let (header, body) = client.reply();
    assert_eq!((header.xid, header.err), (Xid(2), Code::Ok));
    let reply: GetDataReply<'_> = jute::decode(&body).unwrap();
    assert!(reply.data.bytes() == data);
    assert_closed(&mut client.stream);
    server.stop().unwrap();
}

#[test]
fn what_cannot_be_served_is_refused_with_apaches_exit_codes() {
    let server = in_memory(|_| {});
    let mut config = server::in_memory_config();
    config.client_address =
        Some(HostPort { host: "127.0.0.1".to_owned(), port: server.address().port() });
    let error = Server::builder(config).in_memory().open().unwrap_err();
    assert!(matches!(error, Error::Bind { .. }), "{error}");
    assert_eq!(error.exit_code(), 1);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let mut config = Config::quick_start(&file);
    config.client_address = Some(HostPort { host: "127.0.0.1".to_owned(), port: 0 });
    assert_eq!(Server::open(config).unwrap_err().exit_code(), 3);

    let mut config = Config::quick_start(&dir.path().join("lost"));
    config.client_address = Some(HostPort { host: "127.0.0.1".to_owned(), port: 0 });
    config.db_autocreate = false;
    let error = Server::open(config).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");

    let mut config = server::in_memory_config();
    config.client_address = None;
    assert_eq!(Server::builder(config).in_memory().open().unwrap_err().exit_code(), 2);
}
