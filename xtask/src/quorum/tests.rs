//! A quorum of stand-ins: shells instead of QEMU.

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::process::Voice;
use super::running::{Event, Member, Running};
use super::standing::Standing;
use super::{Wish, named};
use crate::switch::{Plan, Switch};
use crate::targets::emulated;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of one test.
pub(super) struct Dir(pub(super) PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("zk-qt-{}-{next}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is printed, line by line.
struct Screen(Sender<String>, Vec<u8>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        while let Some(end) = self.1.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.1.drain(..=end).collect();
            // The test may have seen enough.
            let _ = self.0.send(String::from_utf8(line).unwrap().trim_end().to_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a line that begins so.
#[track_caller]
fn wait(screen: &Receiver<String>, start: &str) -> String {
    let mut seen = Vec::new();
    loop {
        let Ok(line) = screen.recv_timeout(PATIENCE) else { panic!("no `{start}` in {seen:#?}") };
        if line.starts_with(start) {
            return line;
        }
        seen.push(line);
    }
}

/// Nobody is there.
fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// So many stand-ins, which serve clients there.
fn quorum(dir: &Dir, out: Screen, boards: usize, client: SocketAddr) -> Running<Screen> {
    let plan = Plan {
        dir: dir.0.clone(),
        boards,
        lines: None,
        seed: 1,
        doors: Vec::new(),
        outlets: Vec::new(),
        leases: vec![],
    };
    let stand_in = |id: usize| {
        Member::new(id, "stand-in", id, client, Voice::Data, move || {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("echo up {id} >&2; while read -r line; do :; done")]);
            shell
        })
    };
    Running::new(out, false, (1..=boards).map(stand_in).collect(), Switch::start(&plan).unwrap())
}

fn serving(mode: &str) -> Standing {
    Standing::Serving { mode: mode.to_owned(), epoch: 3 }
}

#[test]
fn members_are_killed_and_brought_back_and_all_end() {
    let (printed, screen) = mpsc::channel();
    let (told, orders) = mpsc::channel();
    let thread = thread::spawn(move || {
        let dir = Dir::new();
        let mut running = quorum(&dir, Screen(printed, Vec::new()), 2, nobody());
        told.send(running.sender()).unwrap();
        running.start_all().unwrap();
        running.until_the_end().unwrap();
        running.stop().unwrap();
    });
    let orders = orders.recv_timeout(PATIENCE).unwrap();
    let typed = |line: &str| orders.send(Event::Typed(line.to_owned())).unwrap();
    wait(&screen, "server 1 (stand-in) is on: process ");
    wait(&screen, "1 |                  up 1");
    typed("kill 1");
    let off = wait(&screen, "server 1 is off (");
    assert!(off.contains("signal: 9"), "{off}");
    typed("kill 1");
    assert_eq!(wait(&screen, "server 1 is off"), "server 1 is off");
    typed("start 1");
    wait(&screen, "server 1 (stand-in) is on: process ");
    wait(&screen, "1 |                  up 1");
    typed("start 1");
    assert_eq!(wait(&screen, "server 1 is on"), "server 1 is on");
    typed("kill 7");
    wait(&screen, "there is no server 7");
    typed("dance");
    wait(&screen, "`dance` is nothing");
    for (order, said) in [
        ("cut 1", "server 1 hears nobody"),
        ("cut 1 2", "servers 1 and 2"),
        ("cut 1 > 2", "server 2 does not hear server 1"),
        ("lose 2.5", "2.5 % of the frames"),
        ("delay 1 20", "frames take from 1 to 20 ms"),
        ("heal", "the network is whole"),
    ] {
        typed(order);
        wait(&screen, said);
    }

    // It is said once who leads, and how to connect.
    orders.send(Event::Stands(0, Standing::Looking)).unwrap();
    wait(&screen, "server 1 looks for a leader");
    orders.send(Event::Stands(0, serving("leader"))).unwrap();
    wait(&screen, "server 1 leads epoch 3");
    orders.send(Event::Stands(1, serving("follower"))).unwrap();
    wait(&screen, "server 2 follows");
    let how = wait(&screen, "all serve. Connect with: ");
    assert!(how.ends_with("zk --server 127.0.0.1:1,127.0.0.1:1 shell"), "{how}");
    orders.send(Event::Stands(1, serving("follower"))).unwrap();
    typed("status");
    let next = screen.recv_timeout(PATIENCE).unwrap();
    assert!(next.starts_with("server 1 (stand-in) on 127.0.0.1:1: process "), "{next}");
    wait(&screen, "server 2 (stand-in) on 127.0.0.1:1: process ");
    wait(&screen, "switch: 0 frames passed on");
    typed("kill 1");
    wait(&screen, "server 1 is off (");
    orders.send(Event::Stands(1, serving("leader"))).unwrap();
    wait(&screen, "all that are on serve again");
    typed("quit");
    wait(&screen, "all are off; their flash stays");
    thread.join().unwrap();
}

#[test]
fn who_is_on_is_asked_where_it_stands() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(b"Zxid: 0x500000000\nMode: leader\n").unwrap();
        }
    });
    let (printed, screen) = mpsc::channel();
    let (told, orders) = mpsc::channel();
    let thread = thread::spawn(move || {
        let dir = Dir::new();
        let mut running = quorum(&dir, Screen(printed, Vec::new()), 1, client);
        told.send(running.sender()).unwrap();
        running.start_all().unwrap();
        running.until_the_end().unwrap();
        running.stop().unwrap();
    });
    wait(&screen, "server 1 leads epoch 5");
    let how = wait(&screen, "all serve. Connect with: ");
    assert!(how.ends_with(&format!("zk --server {client} shell")), "{how}");
    orders.recv_timeout(PATIENCE).unwrap().send(Event::Stop).unwrap();
    wait(&screen, "all are off; their flash stays");
    thread.join().unwrap();
}

#[test]
fn a_program_that_is_missing_is_told() {
    let dir = Dir::new();
    let (printed, _screen) = mpsc::channel();
    let plan = Plan {
        dir: dir.0.clone(),
        boards: 1,
        lines: None,
        seed: 1,
        doors: Vec::new(),
        outlets: Vec::new(),
        leases: vec![],
    };
    let missing = || Command::new("no-such-program-here");
    let member = Member::new(1, "stand-in", 1, nobody(), Voice::Data, missing);
    let switch = Switch::start(&plan).unwrap();
    let mut running = Running::new(Screen(printed, Vec::new()), false, vec![member], switch);
    let error = running.start_all().unwrap_err();
    assert!(error.to_string().starts_with("cannot start no-such-program-here"), "{error}");
    running.stop().unwrap();
}

#[test]
fn wishes_are_read() {
    let wish =
        |line: &str| Wish::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(wish(""), Ok(Wish { seed: 1, ..Wish::default() }));
    let all = Wish {
        kinds: emulated().skip(1).take(1).collect(),
        boards: Some(5),
        mixed: true,
        apache: Some("zkServer.sh".into()),
        serial: false,
        slow: false,
        dhcp: false,
        data: Some("d".into()),
        seed: 9,
    };
    let line = "--board sifive-u --peers 5 --apache zkServer.sh --data d --seed 9";
    assert_eq!(wish(line), Ok(all));
    assert_eq!(wish("--mixed"), Ok(Wish { mixed: true, seed: 1, ..Wish::default() }));
    let both = wish("--board sifive-u,emcraft-sf2").unwrap().kinds;
    assert_eq!(
        both.iter().map(|kind| kind.board.package).collect::<Vec<_>>(),
        ["sifive-u", "emcraft-sf2"]
    );
    let kinds: Vec<_> = named("emcraft-sf2").into_iter().collect();
    let slow = Wish { kinds: kinds.clone(), slow: true, seed: 1, ..Wish::default() };
    assert_eq!(wish("--slow"), Ok(slow));
    let serial = Wish { kinds, serial: true, seed: 1, ..Wish::default() };
    assert_eq!(wish("--board emcraft-sf2 --serial"), wish("--serial"));
    assert_eq!(wish("--serial"), Ok(serial));
    let able: Vec<_> = named("sifive-u").into_iter().collect();
    let dhcp = Wish { kinds: able, dhcp: true, seed: 1, ..Wish::default() };
    assert_eq!(wish("--dhcp"), Ok(dhcp));
    assert!(wish("--dhcp --board emcraft-sf2,sifive-u").unwrap().dhcp);
    for line in [
        "--board",
        "--board pdp-11",
        "--board w5500-evb-pico2",
        "--peers 0",
        "--peers 10",
        "--serial --board sifive-u",
        "--serial --board emcraft-sf2,sifive-u",
        "--serial --slow",
        "--serial --apache zkServer.sh",
        "--dhcp --board emcraft-sf2",
        "--dhcp --slow",
        "--board emcraft-sf2,",
        "--seed x",
        "-v",
    ] {
        assert!(wish(line).is_err(), "{line}");
    }
}
