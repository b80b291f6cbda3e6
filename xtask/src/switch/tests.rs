//! A guest without QEMU: another interface of the same kind, at the end of a cable.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::fabric::LONGEST;
use super::host::guest::iface::{Interface, SocketHandle, SocketSet};
use super::host::guest::socket::tcp::{Socket, State};
use super::host::guest::time::Instant as Moment;
use super::host::{self, ADDRESS, Wire, interface};
use super::line::tests::{ONE, TWO, ip, on_the_line};
use super::{Plan, Switch, board_socket, port_socket};

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 101);
const ECHO: u16 = 7;

/// A directory of one test; the paths of sockets are short.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("zk-sw-{}-{next}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn switch(&self, outlets: &[u16]) -> Switch {
        let doors = vec![((GUEST, ECHO), 0), ((GUEST, 9), 0)];
        let (dir, outlets) = (self.0.clone(), outlets.to_vec());
        Switch::start(&Plan {
            dir,
            boards: 2,
            lines: None,
            seed: 1,
            doors,
            outlets,
            leases: vec![],
        })
        .unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A board that only talks TCP.
struct Guest {
    cable: UnixDatagram,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    origin: Instant,
}

impl Guest {
    fn new(dir: &Dir, board: usize) -> Self {
        let cable = UnixDatagram::bind(board_socket(&dir.0, board)).unwrap();
        cable.connect(port_socket(&dir.0, board)).unwrap();
        let mut wire = Wire::default();
        let interface = interface(&mut wire, [2, 0, 0, 0, 0, board as u8], GUEST, 7);
        let (sockets, origin) = (SocketSet::new(Vec::new()), Instant::now());
        Self { cable, wire, interface, sockets, origin }
    }

    fn now(&self) -> Moment {
        Moment::from_micros(self.origin.elapsed().as_micros() as i64)
    }

    /// Sends what is to be sent, waits for a frame or until something is due, and takes it in.
    fn turn(&mut self) {
        assert!(self.origin.elapsed() < PATIENCE, "a guest waits for ever");
        self.poll();
        let delay = self.interface.poll_delay(self.now(), &self.sockets);
        let delay = delay.map_or(PATIENCE, |delay| Duration::from_micros(delay.total_micros()));
        self.cable.set_read_timeout(Some(delay.max(Duration::from_millis(1)))).unwrap();
        let mut room = [0; LONGEST];
        if let Ok(len) = self.cable.recv(&mut room) {
            self.wire.take(room[..len].to_vec());
        }
        self.poll();
    }

    fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        for frame in self.wire.outgoing.drain(..) {
            self.cable.send(&frame).unwrap();
        }
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Echoes what comes to one connection, until it ends.
    fn echo(mut self) -> State {
        let mut listener = host::socket();
        listener.listen(ECHO).unwrap();
        let handle = self.sockets.add(listener);
        loop {
            self.turn();
            let socket = self.socket(handle);
            while socket.can_recv() && socket.can_send() {
                let room = socket.send_capacity() - socket.send_queue();
                let bytes = socket.recv(|bytes| {
                    let len = bytes.len().min(room);
                    (len, bytes[..len].to_vec())
                });
                socket.send_slice(&bytes.unwrap()).unwrap();
            }
            match socket.state() {
                State::CloseWait if !socket.can_recv() => socket.close(),
                state @ (State::Closed | State::TimeWait) => return state,
                _ => {}
            }
        }
    }
}

fn echoing(dir: &Dir) -> JoinHandle<State> {
    let guest = Guest::new(dir, 1);
    thread::spawn(|| guest.echo())
}

fn connect(switch: &Switch, port: u16) -> TcpStream {
    let stream = TcpStream::connect(switch.door(GUEST, port).unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn the_host_talks_to_a_guest() {
    let dir = Dir::new();
    let switch = dir.switch(&[]);
    let guest = echoing(&dir);
    let mut stream = connect(&switch, ECHO);
    // More than fits on the way, so that both sides have to wait for each other.
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let sent = bytes.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == bytes, "{} of {} bytes came back", back.len(), bytes.len());
    assert_eq!(guest.join().unwrap(), State::Closed);
    let report = switch.report().unwrap();
    assert!(report.counts.sent > 400 && report.gap > Duration::ZERO, "{report:?}");
    assert_eq!((report.counts.lost, report.counts.odd, report.connections.1), (0, 0, 0));
}

#[test]
fn a_guest_talks_to_the_host() {
    let dir = Dir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _switch = dir.switch(&[port]);
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"and to you").unwrap();
        hello
    });
    let mut guest = Guest::new(&dir, 2);
    let mut client = host::socket();
    client.connect(guest.interface.context(), (ADDRESS, port), 50_000).unwrap();
    let handle = guest.sockets.add(client);
    let (mut heard, mut said) = (Vec::new(), false);
    while guest.socket(handle).state() != State::CloseWait || guest.socket(handle).can_recv() {
        guest.turn();
        let socket = guest.socket(handle);
        if !said && socket.can_send() {
            socket.send_slice(b"hello").unwrap();
            said = true;
        }
        while socket.can_recv() {
            let len = socket.recv(|bytes| (bytes.len(), heard.extend_from_slice(bytes)));
            len.unwrap();
        }
    }
    assert_eq!(&serving.join().unwrap(), b"hello");
    assert_eq!(heard, b"and to you");

    // The listener is gone by now: whoever comes is told.
    let mut client = host::socket();
    client.connect(guest.interface.context(), (ADDRESS, port), 50_001).unwrap();
    let handle = guest.sockets.add(client);
    let mut opened = false;
    while guest.socket(handle).state() != State::Closed {
        guest.turn();
        opened |= guest.socket(handle).may_send();
    }
    assert!(opened);
}

#[test]
fn who_is_not_there_is_told() {
    let dir = Dir::new();
    let switch = dir.switch(&[]);
    let guest = echoing(&dir);
    // Nobody listens on that port of the guest's.
    let mut stream = connect(&switch, 9);
    let mut none = Vec::new();
    let _ = stream.read_to_end(&mut none);
    assert!(none.is_empty());
    // The other port goes on.
    let mut stream = connect(&switch, ECHO);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    drop(stream);
    guest.join().unwrap();
}

#[test]
fn what_is_cut_comes_when_it_is_healed() {
    let dir = Dir::new();
    let switch = dir.switch(&[]);
    let guest = echoing(&dir);
    let mut stream = connect(&switch, ECHO);
    let mut byte = [0];
    stream.write_all(b"a").unwrap();
    stream.read_exact(&mut byte).unwrap();
    switch.order(|fabric| fabric.cut(1));
    stream.write_all(b"b").unwrap();
    let begun = Instant::now();
    while switch.report().unwrap().counts.cut == 0 {
        assert!(begun.elapsed() < PATIENCE);
        thread::yield_now();
    }
    stream.set_nonblocking(true).unwrap();
    assert!(stream.read(&mut byte).is_err());
    stream.set_nonblocking(false).unwrap();
    switch.order(|fabric| {
        fabric.heal();
        fabric.lose(100_000);
        fabric.delay(100, 2_000);
    });
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"b");
    drop(stream);
    guest.join().unwrap();
}

/// What comes on a line, up to a zero.
fn next_on(line: &mut UnixStream) -> Vec<u8> {
    let (mut bytes, mut byte) = (vec![], [0]);
    loop {
        line.read_exact(&mut byte).unwrap();
        match byte {
            [0] if !bytes.is_empty() => return bytes,
            [0] => {}
            [byte] => bytes.push(byte),
        }
    }
}

#[test]
fn boards_on_serial_lines_hear_each_other_and_the_host() {
    let dir = Dir::new();
    let plan = Plan {
        dir: dir.0.clone(),
        boards: 2,
        lines: Some(vec![ONE, TWO]),
        seed: 1,
        doors: vec![((TWO, ECHO), 0)],
        outlets: vec![],
        leases: vec![],
    };
    let switch = Switch::start(&plan).unwrap();
    let plug = |board| {
        let line = UnixStream::connect(port_socket(&dir.0, board)).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        line
    };
    // What goes from one to the other, again and again: the switch may not have seen yet who is there.
    let carried = |from: &mut UnixStream, to: &mut UnixStream, packet: &[u8]| {
        let bytes = on_the_line(packet);
        let begun = Instant::now();
        to.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut heard = [0; 1024];
        loop {
            assert!(begun.elapsed() < PATIENCE, "nothing comes");
            from.write_all(&bytes).unwrap();
            match to.read(&mut heard) {
                Ok(len) if heard[..len].windows(bytes.len()).any(|part| part == bytes) => break,
                _ => {}
            }
        }
        to.set_read_timeout(Some(PATIENCE)).unwrap();
    };
    let (mut one, mut two) = (plug(1), plug(2));
    two.write_all(b"noise").unwrap();
    carried(&mut two, &mut one, &ip(TWO, ONE, b"hello"));
    // Whoever wants to connect asks where that is, is told, and comes.
    let at = switch.door(TWO, ECHO).unwrap();
    let _stream = TcpStream::connect(at).unwrap();
    let mut syn = next_on(&mut two);
    let len = cobs::decode_in_place(&mut syn).unwrap();
    let packet = &syn[..len];
    let addresses = [ADDRESS.octets(), TWO.octets()].concat();
    assert_eq!((packet[9], &packet[12..20], &packet[22..24]), (6, &addresses[..], &[0, 7][..]));
    // Another board takes the place of one that is off in the middle of a word.
    one.write_all(&on_the_line(&ip(ONE, TWO, b"never"))[..9]).unwrap();
    drop(one);
    let mut one = plug(1);
    carried(&mut one, &mut two, &ip(ONE, TWO, b"again"));
}
