//! A server for one test: zk's own peer in memory, or the one that `ZK_TEST_SERVER` names.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use zk_core::id::{SessionId, Zxid};
use zk_core::peer::{Ceilings, Disk, Link, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::Seeds;

/// What a test's client is pointed at.
pub struct Server {
    pub address: String,
}

impl Server {
    /// Starts one, on a port of the system's choice.
    pub fn start() -> Self {
        match std::env::var("ZK_TEST_SERVER") {
            Ok(address) => Self { address },
            Err(_) => Self { address: in_process().to_string() },
        }
    }
}

/// A peer whose disk obeys at once.
struct World {
    peer: Peer<'static>,
    origin: Instant,
    streams: HashMap<Link, TcpStream>,
}

fn in_process() -> SocketAddr {
    let origin = Instant::now();
    let options = Options { extended_types: true, ..Options::default() };
    let first = SessionId(0x0100_0000_0000_0001);
    let peer = Peer::owned(options, Ceilings::default(), Seeds(1, 2), first, now(origin)).unwrap();
    let mut world = World { peer, origin, streams: HashMap::new() };
    world.peer.serve(now(origin));
    world.settle();
    let shared = Arc::new((Mutex::new(world), Condvar::new()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let clock = Arc::clone(&shared);
    thread::spawn(move || {
        let (world, changed) = &*clock;
        let mut world = world.lock().unwrap();
        loop {
            let at =
                world.peer.poll_timeout().map_or(1000, |at| at.since(now(origin).monotonic).max(1));
            world = changed.wait_timeout(world, Duration::from_millis(at)).unwrap().0;
            let now = world.now();
            world.peer.tick(now);
            world.settle();
        }
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || serve(&shared, stream.unwrap()));
        }
    });
    address
}

fn now(origin: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now::new(1000 + origin.elapsed().as_millis() as u64, wall.as_millis() as i64)
}

fn serve(shared: &(Mutex<World>, Condvar), mut stream: TcpStream) {
    let (world, changed) = shared;
    stream.set_nodelay(true).unwrap();
    let mut first = [0; 4];
    if stream.read_exact(&mut first).is_err() {
        return;
    }
    if first == *b"srvr" {
        let text = b"Zookeeper version: 3.8.0-test, built on a bench\nMode: standalone\n";
        stream.write_all(text).unwrap();
        return;
    }
    let mut input = first.to_vec();
    let link = {
        let mut world = world.lock().unwrap();
        let now = world.now();
        let link = world.peer.open(now, stream.peer_addr().unwrap().ip()).unwrap();
        world.streams.insert(link, stream.try_clone().unwrap());
        link
    };
    let mut chunk = [0; 4096];
    loop {
        let n = stream.read(&mut chunk).unwrap_or(0);
        let mut world = world.lock().unwrap();
        let now = world.now();
        // The number of a link that the peer has dropped may be another's by now.
        let own =
            world.streams.get(&link).is_some_and(|s| s.peer_addr().ok() == stream.peer_addr().ok());
        if n == 0 || !own {
            if own {
                world.streams.remove(&link);
                world.peer.closed(now, link);
                world.settle();
            }
            return;
        }
        input.extend_from_slice(&chunk[..n]);
        loop {
            let consumed = world.peer.receive(now, link, &input).consumed;
            input.drain(..consumed);
            world.settle();
            if consumed == 0 || input.is_empty() {
                break;
            }
        }
        changed.notify_all();
    }
}

impl World {
    fn now(&self) -> Now {
        now(self.origin)
    }

    /// Until the peer wants nothing.
    fn settle(&mut self) {
        loop {
            let mut last: Option<Zxid> = None;
            while let Some(disk) = self.peer.poll_disk() {
                match disk {
                    Disk::Append(batch) => last = Some(batch.last()),
                    Disk::SnapshotBytes(bytes) => {
                        let n = bytes.len();
                        self.peer.snapshot_written(n);
                    }
                    Disk::SnapshotEnd(_) => self.peer.snapshot_done(),
                    Disk::Roll | Disk::SnapshotBegin(_) | Disk::SnapshotDrop => {}
                    Disk::Ensemble(order) => panic!("{order:?}"),
                }
            }
            match last {
                Some(zxid) => self.peer.durable(self.now(), zxid).unwrap(),
                None => break,
            }
        }
        let now = self.now();
        while let Some(link) = self.peer.poll_link() {
            let output = self.peer.output(link);
            let len = output.len();
            if let Some(stream) = self.streams.get_mut(&link) {
                // A client that is gone shows when it is read from.
                let _ = stream.write_all(output);
            }
            self.peer.sent(now, link, len);
            if self.peer.is_closing(link)
                && let Some(stream) = self.streams.remove(&link)
            {
                let _ = stream.shutdown(Shutdown::Both);
                self.peer.closed(now, link);
            }
        }
    }
}

/// A TCP proxy that can cut all its connections.
pub struct Proxy {
    pub address: String,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (all, target) = (Arc::clone(&streams), server.address.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(&target).unwrap();
                for (mut from, mut to) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server.try_clone().unwrap(), client.try_clone().unwrap()),
                ] {
                    thread::spawn(move || {
                        // Either end may go at any time.
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                all.lock().unwrap().extend([client, server]);
            }
        });
        Self { address, streams }
    }

    pub fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
