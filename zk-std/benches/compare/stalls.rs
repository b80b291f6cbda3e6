//! What another client sees while a server does what takes long: one that asks for a small node,
//! over and over, on a session of its own. Its longest wait is the stall.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use serde::Serialize;
use zk_core::wire::OpCode;
use zk_core::wire::client::PathWatch;

use crate::long::{Stall, World};
use crate::server::Server;
use crate::{Result, session};

/// Answers to the waiting client after which nothing is left of a stall: the one that it waits for,
/// and one that it asks for afterwards.
const AFTER: u64 = 2;
/// Between two looks at whether they came.
const LOOK: Duration = Duration::from_micros(200);
/// The last bytes of a whole snapshot: the length and the text of a path, which is `/`.
const END: [u8; 5] = [0, 0, 0, 1, b'/'];

/// A client of a server of this machine.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    xid: i32,
}

/// A server, with somebody who waits.
#[derive(Debug)]
pub(crate) struct Watched {
    server: Server,
    data: PathBuf,
    shared: Arc<Shared>,
    thread: JoinHandle<core::result::Result<(), String>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Nanoseconds of the longest wait since it was last set to 0.
    longest: AtomicU64,
    /// Answers that came.
    answers: AtomicU64,
    stop: AtomicBool,
}

impl Watched {
    /// Begins to ask; `data` is where the server has its snapshots.
    pub(crate) fn new(server: Server, data: PathBuf) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut client = Client { stream: session::open(server.port)?, xid: 0 };
        let seen = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !seen.stop.load(Ordering::Relaxed) {
                let begin = Instant::now();
                // Nobody changes the root of `/zookeeper`.
                let get = PathWatch { path: "/zookeeper".into(), watch: false };
                client.call(OpCode::GetData, &get).map_err(|error| error.to_string())?;
                let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                seen.longest.fetch_max(took, Ordering::Relaxed);
                seen.answers.fetch_add(1, Ordering::Release);
            }
            Ok(())
        });
        Ok(Self { server, data, shared, thread })
    }

    /// Ends the server.
    pub(crate) fn stop(self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the waiting client ended in a panic")??;
        self.server.stop()
    }
}

impl Client {
    fn call<B: Serialize>(&mut self, op: OpCode, body: &B) -> Result<Vec<u8>> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        session::call(&mut self.stream, self.xid, op, body)
    }
}

impl World for Watched {
    type Client = Client;

    fn connect(&mut self) -> Result<Client> {
        Ok(Client { stream: session::open(self.server.port)?, xid: 0 })
    }

    fn call<B: Serialize>(&mut self, client: &mut Client, op: OpCode, body: &B) -> Result<Vec<u8>> {
        client.call(op, body)
    }

    fn snapshots(&mut self) -> Result<usize> {
        let mut count = 0;
        for entry in fs::read_dir(self.data.join("version-2"))? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("snapshot.") {
                continue;
            }
            let file = File::open(entry.path())?;
            let mut end = [0; END.len()];
            let at = file.metadata()?.len().checked_sub(END.len() as u64);
            count += usize::from(
                at.is_some_and(|at| file.read_exact_at(&mut end, at).is_ok()) && end == END,
            );
        }
        Ok(count)
    }

    fn measure(&mut self) {
        self.shared.longest.store(0, Ordering::Relaxed);
    }

    fn stall(&mut self) -> Stall {
        let seen = self.shared.answers.load(Ordering::Acquire);
        while self.shared.answers.load(Ordering::Acquire) < seen + AFTER
            && !self.thread.is_finished()
        {
            std::thread::sleep(LOOK);
        }
        let time = Duration::from_nanos(self.shared.longest.load(Ordering::Relaxed));
        Stall { time, call: "" }
    }
}
