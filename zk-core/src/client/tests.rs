//! Scripts of bytes: what a server said, what the session says and what the application hears.
//!
//! Frames marked "captured" were recorded from Apache ZooKeeper 3.8.0. Every script runs with the
//! bytes of both directions cut into pieces of 1, 7 and 64 bytes, and whole.

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::memory::Table;
use crate::wire::client::{PathMode, PathWatch, SetWatches2, Stat};
use crate::wire::jute::{self, Ustring};

/// Bytes from hexadecimal digits; anything else is layout.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    assert_eq!(digits.len() % 2, 0, "{text}");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Captured: a client asks for 10 s, no session, read-only not wanted.
const CONNECT: &str = "0000002d|00000000|0000000000000000|00002710|0000000000000000|00000010
    00000000000000000000000000000000|00";
/// Captured: the server's answer.
const CONNECTED: &str = "00000025|00000000|00002710|0100000ca8410000|00000010
    c55703306e8e78feab44b4026727b949|00";
/// Captured: a session that does not exist (any more).
const EXPIRED: &str = "00000025|00000000|00000000|0000000000000000|00000010
    00000000000000000000000000000000|00";
/// Captured: a watch event, NodeDataChanged of /a.
const EVENT: &str = "0000001e|ffffffff|ffffffffffffffff|00000000|00000003|00000003|00000002|2f61";
const PING: &str = "00000008|fffffffe|0000000b";
const PONG: &str = "00000010|fffffffe|0000000000000007|00000000";

const SECOND: u64 = 1000;

/// A session, the pipe to a server that says what the script says, and what was heard.
struct Script {
    session: Session<'static>,
    now: Instant,
    piece: usize,
    input: Vec<u8>,
}

fn run(script: impl Fn(&mut Script)) {
    for piece in [1, 7, 64, 1 << 20] {
        script(&mut Script::new(piece, Config { timeout: 10_000, ..Config::default() }));
    }
}

impl Script {
    fn new(piece: usize, config: Config) -> Self {
        let now = Instant(50_000);
        let session = Session::new(config, Storage::owned(), now);
        Self { session, now, piece, input: Vec::new() }
    }

    /// What the session has to say now.
    fn sent(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut out = std::vec![0; self.piece];
        loop {
            match self.session.transmit(self.now, &mut out) {
                0 => return all,
                n => all.extend(&out[..n]),
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, text: &str) {
        let sent = self.sent();
        assert_eq!(sent, hex(text), "in pieces of {}: {sent:02x?}", self.piece);
    }

    /// The server says `text`; what the application hears, one line each.
    fn hear(&mut self, text: &str) -> Vec<String> {
        self.hear_bytes(&hex(text))
    }

    fn hear_bytes(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut heard = Vec::new();
        for piece in bytes.chunks(self.piece) {
            self.input.extend(piece);
            while !self.input.is_empty() {
                let taken = self.session.receive(self.now, &self.input);
                heard.extend(taken.event.map(line));
                if taken.consumed == 0 {
                    assert!(taken.need > self.input.len());
                    break;
                }
                self.input.drain(..taken.consumed);
            }
            heard.extend(self.events());
        }
        heard
    }

    fn events(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.session.poll_event().map(line)).collect()
    }

    fn dial(&mut self) {
        if let Some(at) = self.session.poll_timeout() {
            self.now = self.now.max(at);
        }
        assert!(self.session.poll_dial(self.now).is_some());
        assert!(self.session.poll_dial(self.now).is_none());
        self.session.handle_connected(self.now);
    }

    fn connect(&mut self) {
        self.dial();
        self.expect(CONNECT);
        assert_eq!(self.hear(CONNECTED), ["Connected"]);
    }

    fn wait(&mut self, ms: u64) -> Vec<String> {
        self.now = self.now.plus(ms);
        self.session.handle_timeout(self.now);
        self.events()
    }

    fn cut(&mut self) -> Vec<String> {
        self.input.clear();
        self.session.handle_disconnected(self.now);
        self.events()
    }

    fn get(&mut self, path: &str, watch: bool) -> Xid {
        self.session.submit(OpCode::GetData, &PathWatch { path: path.into(), watch }).unwrap()
    }

    /// Submits `op` on `path` with a watch, and answers it.
    fn watch(&mut self, op: OpCode, path: &str, err: Code) {
        let xid = match op {
            OpCode::AddWatch => {
                self.session.submit(op, &PathMode { path: path.into(), mode: 1 }).unwrap()
            }
            _ => self.session.submit(op, &PathWatch { path: path.into(), watch: true }).unwrap(),
        };
        self.sent();
        let zxid = Zxid(7);
        let heard = self.hear_bytes(&framed(&(ReplyHeader { xid, zxid, err }, 0)));
        assert_eq!(heard.len(), 1, "{heard:?}");
    }
}

fn framed<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = (jute::size(value) as i32).to_be_bytes().to_vec();
    jute::write(value, &mut out).unwrap();
    out
}

fn line(event: Event<'_>) -> String {
    match event {
        Event::Connected { read_only: false } => "Connected".into(),
        Event::Reply(Reply { xid, op, header, body }) => {
            format!("{op:?} {} {:?} {} {body:02x?}", xid.0, header.err, header.zxid)
        }
        Event::Watch(Watch { kind, path, .. }) => format!("Watch {kind} {path:?}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_session_begins_asks_and_is_closed() {
    run(|s| {
        // What is submitted before there is a connection goes out on the first.
        s.get("/a", false);
        s.connect();
        assert_eq!(s.session.session_id(), SessionId(0x0100_000c_a841_0000));
        s.expect("0000000f|00000001|00000004|00000002|2f61|00");
        let xid = s.session.submit(OpCode::WhoAmI, &()).unwrap();
        assert_eq!((xid, s.session.outstanding()), (Xid(2), 2));
        s.expect("00000008|00000002|0000006b");
        assert_eq!(
            s.hear(
                "00000015|00000001|0000000000000007|00000000|0102030405
                 00000010|00000002|0000000000000009|ffffff9b"
            ),
            ["GetData 1 Ok 0x7 [01, 02, 03, 04, 05]", "WhoAmI 2 NoNode 0x9 []"]
        );
        assert_eq!((s.session.last_zxid(), s.session.outstanding()), (Zxid(9), 0));
        s.session.close();
        assert_eq!(s.session.submit(OpCode::WhoAmI, &()), Err(SubmitError::Ended));
        s.expect("00000008|00000003|fffffff5");
        assert_eq!(s.hear("00000010|00000003|000000000000000a|00000000"), ["Closed"]);
        assert!(s.session.is_ended() && s.session.poll_timeout().is_none());
        assert_eq!(s.session.resume(), None);
        assert_eq!(s.cut(), [""; 0]);
    });
}

#[test]
fn a_session_goes_on_with_its_zxid_password_credentials_and_watches() {
    run(|s| {
        s.session.add_auth("digest", b"a:b").unwrap();
        s.connect();
        let auth = "0000001d|fffffffc|00000064|00000000|00000006|646967657374|00000003|613a62";
        s.expect(auth);
        assert_eq!(s.hear("00000010|fffffffc|0000000000000000|00000000"), [""; 0]);
        s.watch(OpCode::GetData, "/a", Code::Ok);
        s.watch(OpCode::Exists, "/b", Code::NoNode);
        s.watch(OpCode::GetChildren2, "/c", Code::Ok);
        s.watch(OpCode::GetData, "/missing", Code::NoNode);
        assert_eq!(s.session.watched(), 3);
        s.get("/a", false);
        s.sent();
        assert_eq!(
            s.cut(),
            ["GetData 5 ConnectionLoss 0xffffffffffffffff []", "Disconnected(Closed)"]
        );
        // Kept for the next connection.
        s.get("/z", false);
        s.dial();
        s.expect(
            "0000002d|00000000|0000000000000007|00002710|0100000ca8410000|00000010
             c55703306e8e78feab44b4026727b949|00",
        );
        assert_eq!(s.hear(CONNECTED), ["Reconnected { read_only: false }"]);
        s.expect(&format!(
            "{auth}
             0000002e|fffffff8|00000065|0000000000000007
             |00000001|00000002|2f61|00000001|00000002|2f62|00000001|00000002|2f63
             0000000f|00000006|00000004|00000002|2f7a|00"
        ));
        assert_eq!(s.hear(EVENT), ["Watch 3 \"/a\""]);
        assert_eq!(s.session.watched(), 2);
        assert_eq!(s.hear("00000010|fffffff8|0000000000000007|00000000"), [""; 0]);
    });
}

#[test]
fn what_is_lost_is_never_sent_again() {
    run(|s| {
        s.connect();
        s.get("/a", false);
        s.sent();
        // The application looks for events only when the next connection stands.
        s.session.handle_disconnected(s.now);
        s.get("/b", false);
        s.dial();
        s.sent();
        let connected = hex(CONNECTED);
        let taken = s.session.receive(s.now, &connected);
        assert_eq!(taken.event, Some(Event::Reconnected { read_only: false }));
        s.expect("");
        assert_eq!(s.events().len(), 2);
        s.expect("0000000f|00000002|00000004|00000002|2f62|00");
    });
}

#[test]
fn persistent_watches_need_set_watches_2() {
    run(|s| {
        s.connect();
        s.watch(OpCode::AddWatch, "/r", Code::Ok);
        s.watch(OpCode::GetData, "/a", Code::Ok);
        assert_eq!(s.hear(&EVENT.replace("2f61", "2f72")), ["Watch 3 \"/r\""]);
        s.cut();
        s.dial();
        s.sent();
        s.hear(CONNECTED);
        let sent = s.sent();
        let (header, all): (RequestHeader, SetWatches2<'_>) = jute::decode(&sent[4..]).unwrap();
        assert_eq!(header.op, OpCode::SetWatches2);
        assert_eq!(all.persistent_recursive.iter().next(), Some("/r".into()));
        assert_eq!(all.standard.data.len() + all.persistent_recursive.len(), 2);
        // A server that knows no such operation.
        let heard = s.hear("00000010|fffffff8|ffffffffffffffff|fffffffa");
        assert_eq!(heard, ["WatchesRefused(Unimplemented)"]);
        assert_eq!(s.session.watched(), 0);
    });
}

#[test]
fn removed_watches_are_forgotten() {
    run(|s| {
        s.connect();
        s.watch(OpCode::GetData, "/a", Code::Ok);
        s.watch(OpCode::GetChildren, "/a", Code::Ok);
        for (mode, left) in [(2, 1), (4, 1), (3, 0)] {
            let request = PathMode { path: "/a".into(), mode };
            let xid = s.session.submit(OpCode::RemoveWatches, &request).unwrap();
            s.sent();
            s.hear_bytes(&framed(&ReplyHeader { xid, zxid: Zxid(1), err: Code::Ok }));
            assert_eq!(s.session.watched(), left, "after type {mode}");
        }
        s.watch(OpCode::GetData, "/b", Code::Ok);
        s.session.forget_watches(b"/b", 2);
        assert_eq!(s.session.watched(), 0);
    });
}

#[test]
fn an_expired_session_ends() {
    run(|s| {
        s.connect();
        s.watch(OpCode::GetData, "/a", Code::Ok);
        assert_eq!(s.cut(), ["Disconnected(Closed)"]);
        s.get("/a", true);
        s.dial();
        s.sent();
        let heard = s.hear(EXPIRED);
        assert_eq!(heard, ["Expired", "GetData 2 SessionExpired 0xffffffffffffffff []"]);
        assert_eq!(s.session.submit(OpCode::WhoAmI, &()), Err(SubmitError::Ended));
        assert_eq!(s.session.poll_dial(Instant(u64::MAX)), None);
        assert_eq!((s.session.watched(), s.sent().len()), (0, 0));
    });
}

#[test]
fn a_refused_credential_ends_the_session() {
    run(|s| {
        s.connect();
        s.session.add_auth("nonsense", b"x").unwrap();
        s.get("/a", false);
        s.sent();
        let heard = s.hear("00000010|fffffffc|0000000000000000|ffffff8d");
        assert_eq!(heard, ["AuthFailed", "GetData 1 AuthFailed 0xffffffffffffffff []"]);
        assert!(s.session.is_ended());
    });
}

#[test]
fn pings_keep_a_silent_session() {
    run(|s| {
        s.connect();
        // 10 s granted: silent after 6.666 s, ping 1 s before the half of it.
        assert_eq!(s.session.poll_timeout(), Some(s.now.plus(2333)));
        s.wait(2332);
        s.expect("");
        s.wait(1);
        s.expect(PING);
        assert_eq!(s.hear(PONG), [""; 0]);
        // A pong is no reply: it must not move the zxid.
        assert_eq!(s.session.last_zxid(), Zxid::ZERO);
        // A request serves as a ping.
        s.wait(2000);
        s.get("/a", false);
        s.sent();
        s.wait(2000);
        s.expect("");
        s.wait(333);
        s.expect(PING);
        // The server was silent since the pong.
        assert_eq!(s.wait(6666 - 4333 - 1), [""; 0]);
        let heard = s.wait(1);
        assert_eq!(heard[1..], ["Disconnected(ReadTimeout)"]);
        // What a connection that was given up still brings is dropped.
        assert_eq!(s.hear(PONG), [""; 0]);
    });
}

#[test]
fn the_ping_pause_follows_the_timeout() {
    let pause = |timeout| {
        let config = Config { timeout, ..Config::default() };
        Session::new(config, Storage::owned(), Instant(0)).ping_pause()
    };
    assert_eq!(pause(600), 200);
    assert_eq!(pause(4_500), 1_000);
    assert_eq!(pause(9_000), 2_000);
    assert_eq!(pause(60_000), 10_000);
    assert_eq!(pause(-1), 1);
}

#[test]
fn a_slow_frame_is_a_sign_of_life() {
    let mut s = Script::new(64, Config { timeout: 10_000, ..Config::default() });
    s.connect();
    for byte in hex(PONG) {
        assert_eq!(s.wait(6000), [""; 0]);
        assert_eq!(s.hear_bytes(&[byte]), [""; 0]);
    }
    // Showing the same bytes again is not.
    assert_eq!(s.hear_bytes(&[0, 0, 0]), [""; 0]);
    s.now = s.now.plus(6000);
    s.session.receive(s.now, &[0, 0, 0]);
    assert_eq!(s.wait(667), ["Disconnected(ReadTimeout)"]);
}

#[test]
fn hosts_are_tried_in_turn() {
    let config = Config { timeout: 9000, hosts: 3, seed: 5, ..Config::default() };
    let mut s = Script::new(64, config);
    s.get("/a", false);
    let first = s.session.poll_dial(s.now).unwrap();
    s.session.handle_disconnected(s.now);
    assert_eq!(s.events(), ["Disconnected(Closed)"]);
    let second = s.session.poll_dial(s.now).unwrap();
    // The second neither answers nor refuses: a third of the timeout.
    s.session.handle_connected(s.now);
    assert_eq!(s.session.poll_timeout(), Some(s.now.plus(3000)));
    assert_eq!(s.wait(2999), [""; 0]);
    assert_eq!(s.wait(1), ["Disconnected(ConnectTimeout)"]);
    let third = s.session.poll_dial(s.now).unwrap();
    assert!(first != second && second != third && third != first);
    // A connection that comes too late is ignored.
    s.wait(3000);
    s.session.handle_connected(s.now);
    s.expect("");
    // The next round begins after a pause; the request is still there.
    let at = s.session.poll_timeout().unwrap();
    assert!(at > s.now && at <= s.now.plus(REDIAL_PAUSE));
    assert_eq!(s.session.poll_dial(Instant(at.0 - 1)), None);
    assert_eq!(s.session.poll_dial(at), Some(first));
    assert_eq!(s.session.outstanding(), 1);
}

#[test]
fn a_read_only_session_is_not_taken_to_another_server() {
    run(|s| {
        s.dial();
        s.sent();
        let mut read_only = hex(CONNECTED);
        *read_only.last_mut().unwrap() = 1;
        assert_eq!(s.hear_bytes(&read_only), ["Connected { read_only: true }"]);
        assert_eq!(s.session.resume(), None);
        s.cut();
        s.dial();
        let sent = s.sent();
        assert_eq!(sent[20..28], [0; 8]);
        assert_eq!(s.hear(CONNECTED), ["Connected"]);
        assert!(s.session.resume().is_some());
    });
}

#[test]
fn an_old_session_can_be_continued() {
    let resume = Resume {
        session_id: SessionId(0x0100_000c_a841_0000),
        passwd: [7; PASSWD],
        last_zxid: Zxid(3),
    };
    let config = Config { timeout: 10_000, resume: Some(resume), ..Config::default() };
    let mut s = Script::new(7, config);
    assert_eq!(s.session.resume(), Some(resume));
    s.dial();
    assert_eq!(s.sent()[8..16], [0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(s.hear(CONNECTED), ["Reconnected { read_only: false }"]);
    assert!(!format!("{:?}", s.session.resume()).contains("199"));
}

#[test]
fn limits_are_answered() {
    let (mut requests, mut watches, mut auths) = ([0; 64], [0; 16], [0; 32]);
    let storage = Storage {
        requests: Table::lent(&mut requests),
        watches: Table::lent(&mut watches),
        auths: Table::lent(&mut auths),
    };
    let config = Config { max_outstanding: 3, max_request: 40, ..Config::default() };
    let mut s = Session::new(config, storage, Instant(0));
    let get = |path: &'static str, watch| PathWatch { path: path.into(), watch };
    assert_eq!(
        s.submit(OpCode::GetData, &get("/0123456789", true)),
        Err(SubmitError::TooManyWatches)
    );
    assert_eq!((s.outstanding(), s.xid), (0, Xid(0)));
    s.submit(OpCode::GetData, &get("/a", true)).unwrap();
    s.submit(OpCode::GetData, &get("/b", true)).unwrap();
    // Promised to the two that may leave watches.
    assert_eq!(s.submit(OpCode::GetData, &get("/c", true)), Err(SubmitError::TooManyWatches));
    let big = PathWatch { path: Ustring::new(&[b'x'; 28]), watch: false };
    assert_eq!(s.submit(OpCode::GetData, &big), Err(SubmitError::TooLarge));
    let large = PathWatch { path: Ustring::new(&[b'x'; 20]), watch: false };
    assert_eq!(s.submit(OpCode::GetData, &large), Err(SubmitError::Full));
    s.submit(OpCode::GetData, &get("/d", false)).unwrap();
    assert_eq!(s.submit(OpCode::WhoAmI, &()), Err(SubmitError::Full));
    assert_eq!(s.add_auth("digest", b"secret"), Err(SubmitError::TooManyAuths));
    s.add_auth("x509", b"").unwrap();
    for op in [OpCode::Ping, OpCode::Auth, OpCode::SetWatches, OpCode::CloseSession] {
        assert_eq!(s.submit(op, &()), Err(SubmitError::NotARequest));
    }
    // Without a connection a session closes on this side at once, and says what is lost.
    s.close();
    let lines: Vec<_> = core::iter::from_fn(|| s.poll_event().map(line)).collect();
    assert_eq!((lines.len(), lines[3].as_str()), (4, "Closed"));
}

#[test]
fn a_broken_server_is_left() {
    let xid = |expected, got| Violation::Xid { expected, got: Xid(got) };
    for (bytes, violation) in [
        ("ffffffff", Violation::Length),
        ("00100000", Violation::Length),
        ("00000004|00000001", Violation::Record),
        ("00000010|00000002|0000000000000007|00000000", xid(Some(Xid(1)), 2)),
        ("00000010|fffffff0|0000000000000007|00000000", xid(Some(Xid(1)), -16)),
        ("00000014|ffffffff|0000000000000007|00000000|00000003", Violation::Record),
    ] {
        run(|s| {
            s.connect();
            s.get("/a", true);
            s.sent();
            let heard = s.hear(bytes);
            assert_eq!(heard[0], format!("{:?}", Event::Disconnected(Cause::Protocol(violation))));
            assert_eq!(heard[1..], ["GetData 1 ConnectionLoss 0xffffffffffffffff []"]);
            assert!(!s.session.is_connected() && !s.session.is_ended());
        });
    }
    run(|s| {
        s.connect();
        // Not sent yet, so nothing can be a reply to it.
        s.get("/a", true);
        let heard = s.hear("00000010|00000001|0000000000000007|00000000");
        assert!(heard[0].contains(&format!("{:?}", xid(None, 1))), "{heard:?}");
    });
    run(|s| {
        s.dial();
        s.sent();
        let heard = s.hear("00000101");
        assert_eq!(
            heard,
            [format!("{:?}", Event::Disconnected(Cause::Protocol(Violation::Length)))]
        );
    });
}

#[test]
fn a_full_pipeline_keeps_its_order() {
    let (mut requests, mut watches, mut auths) = ([0; 1000], [0; 0], [0; 0]);
    let storage = Storage {
        requests: Table::lent(&mut requests),
        watches: Table::lent(&mut watches),
        auths: Table::lent(&mut auths),
    };
    let now = Instant(0);
    let mut s = Session::new(Config::default(), storage, now);
    s.poll_dial(now);
    s.handle_connected(now);
    let mut wire = [0; 4096];
    s.transmit(now, &mut wire);
    s.receive(now, &hex(CONNECTED));
    let (mut submitted, mut answered) = (0, 0);
    while answered < 5000 {
        while let Ok(xid) = s.submit(OpCode::Sync, &PathWatch { path: "/p".into(), watch: true }) {
            submitted += 1;
            assert_eq!(xid, Xid(submitted));
        }
        assert!(submitted - answered > 40);
        s.transmit(now, &mut wire[..200]);
        while s.requests.sent().is_some() {
            answered += 1;
            let header = ReplyHeader { xid: Xid(answered), zxid: Zxid(1), err: Code::Ok };
            let bytes = framed(&(header, Stat::default()));
            let taken = s.receive(now, &bytes);
            assert!(matches!(taken.event, Some(Event::Reply(r)) if r.xid == Xid(answered)));
            assert_eq!(taken.consumed, bytes.len());
        }
    }
}

proptest! {
    /// Whatever a server sends, nothing panics, and every request is answered once.
    #[test]
    fn any_bytes_may_come(
        frames in proptest::collection::vec(
            (prop_oneof![Just(1i32), Just(2), -9i32..5], proptest::collection::vec(any::<u8>(), 0..40)),
            0..20,
        ),
        handshake in any::<bool>(),
    ) {
        let mut s = Script::new(64, Config { timeout: 10_000, ..Config::default() });
        if handshake { s.connect() } else { s.dial() }
        s.session.add_auth("a", b"b").unwrap();
        for path in ["/a", "/b", "/c"] { s.get(path, true); }
        let mut replies = 0;
        for (xid, rest) in frames {
            let mut bytes = ((rest.len() + 4) as i32).to_be_bytes().to_vec();
            bytes.extend(xid.to_be_bytes());
            bytes.extend(rest);
            let heard = s.hear_bytes(&bytes);
            replies += heard.iter().filter(|l| l.starts_with("GetData")).count();
            s.sent();
            if !s.session.is_ended() && !s.session.is_connected() && s.session.link != Link::Handshake(s.now) {
                s.cut();
                s.dial();
                s.sent();
                s.hear(CONNECTED);
            }
            let heard = s.wait(3 * SECOND);
            replies += heard.iter().filter(|l| l.starts_with("GetData")).count();
        }
        s.session.close();
        let heard = s.cut();
        replies += heard.iter().filter(|l| l.starts_with("GetData")).count();
        prop_assert_eq!(replies + s.session.outstanding(), 3);
        prop_assert_eq!(s.session.outstanding(), 0);
    }
}
