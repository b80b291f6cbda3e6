//! A standalone server: one thread that owns the state and the sockets, one that syncs the log,
//! one that writes snapshots.
//!
//! [`Server::open`] serves a data directory, [`Server::in_memory`] nothing but memory, for tests:
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! let server = zk_std::server::Server::in_memory()?.start()?;
//! let mut client = TcpStream::connect(server.address())?;
//! client.write_all(b"ruok")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!(answer, "imok");
//! server.stop()?;
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! The state thread turns: it reads what clients have sent (at most 64 KiB of each in a turn),
//! hands what must be durable to the disk thread, writes the replies of each connection in one
//! write, and waits for the next event. It never waits for the disk.
//!
//! | limit | |
//! |---|---|
//! | connections | `maxClientCnxns` from one address, `maxCnxns` in all; more are closed at once |
//! | a frame | `jute.maxbuffer`; a longer one ends its connection, before it is read |
//! | time to begin a session | `nio.sessionlessCnxnTimeout` |
//! | time for a frame to be complete | the session's timeout, or the above if that is longer |
//! | time to read a last reply | `nio.sessionlessCnxnTimeout` |
//! | requests at work | above `globalOutstandingLimit` a connection with any waits to be read |
//! | answer to a four-letter word | [`words::ANSWER_MAX`] |

mod clock;
mod disk;
mod error;
mod link;
mod listener;
mod restore;
mod settings;
mod snapshots;
mod turn;
pub mod words;

use core::fmt;
use core::hash::{BuildHasher, Hasher};
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mio::{Events, Interest, Poll, Waker};
use zk_core::id::SessionId;
use zk_core::peer::Peer;
use zk_core::tree::Seeds;

pub use error::Error;
pub use restore::Progress;

use crate::config::{Config, FourLetterWords, HostPort};
use crate::store::{INITIALIZE, OsDirectory, Store};
use clock::Clock;
use disk::Disk;
use listener::Listener;
use snapshots::Snapshots;
use turn::{Files, State};

/// What is set before a server starts; see [`Server::builder`].
pub struct Builder {
    config: Config,
    in_memory: bool,
    progress: Option<Progress>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("in_memory", &self.in_memory)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Is told how far loading is, instead of the log: bytes read, and bytes in all.
    #[must_use]
    pub fn progress(mut self, progress: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Keeps everything in memory: nothing is read or written, and nothing survives.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Opens the client port and loads the data. Clients that connect from here on wait until the
    /// server [`run`](Server::run)s.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(self) -> Result<Server, Error> {
        let Self { config, in_memory, progress } = self;
        let options = settings::peer_options(&config)?;
        for warning in config.warnings() {
            log::warn!("{warning}");
        }
        let clock = Clock::start();
        let now = clock.now();
        let random = RandomState::new();
        let seeds = Seeds(random.hash_one(1), RandomState::new().build_hasher().finish());
        let first = SessionId::first(options.server, now.wall.unsigned_abs());
        let ceilings = settings::ceilings(&options);
        let mut peer =
            Peer::owned(options, ceilings, seeds, first, now).map_err(|_| Error::Full)?;
        let mut listener = Listener::open(&config)?;
        let io = |doing| move |source| Error::Io { doing, source };
        let poll = Poll::new().map_err(io("watch sockets"))?;
        let waker =
            Waker::new(poll.registry(), turn::WAKER).map_err(io("wake the server's thread"))?;
        let waker = Arc::new(waker);
        poll.registry()
            .register(&mut listener.socket, turn::LISTENER, Interest::READABLE)
            .map_err(io("watch the client port"))?;
        let files = if in_memory {
            peer.load_reset();
            peer.serve(clock.now());
            None
        } else {
            let files = open_files(&config, &mut peer, progress, &waker)?;
            peer.serve(clock.now());
            if files.first_snapshot {
                peer.require_snapshot();
            }
            Some(files)
        };
        let stop = Arc::new(AtomicBool::new(false));
        let handle = Handle { stop, waker };
        let address = listener.address;
        let state = State::new(config, clock, peer, poll, listener, files, handle.clone());
        Ok(Server { state, address, handle, events: Events::with_capacity(turn::EVENTS) })
    }
}

/// Loads a data directory and starts its threads.
fn open_files(
    config: &Config,
    peer: &mut Peer<'static>,
    progress: Option<Progress>,
    waker: &Arc<Waker>,
) -> Result<Files, Error> {
    let options = settings::store_options(config);
    let data = OsDirectory::new(&config.data_dir);
    let logs = OsDirectory::new(&config.data_log_dir);
    let mut store = Store::open(data.clone(), logs.clone(), options.clone())?;
    let restored = restore::restore(&mut store, peer, &config.data_dir, progress)?;
    log::info!(
        "loaded {}: {} nodes, {} transactions replayed, last zxid {}",
        config.data_dir.display(),
        peer.tree().node_count(),
        restored.txns,
        restored.zxid
    );
    // The second view is for snapshots: appends never wait for it.
    let view = Store::open(data, logs, crate::store::Options { reserve: 0, ..options })?;
    let io = |source| Error::Io { doing: "start a thread", source };
    let snapshots = snapshots::Options {
        last_zxid: config.serialize_last_processed_zxid_enabled,
        purge_every: config.autopurge_purge_interval,
        keep: config.autopurge_snap_retain_count as usize,
        initialize: restored.needs_snapshot.then(|| config.data_dir.join(INITIALIZE)),
    };
    let disk = disk::Options {
        slow: config.fsync_warning_threshold,
        log_max: config.txn_log_size_limit_kib.map(|kib| kib.saturating_mul(1024)),
    };
    let snapshots = Snapshots::start(view, snapshots, Arc::clone(waker)).map_err(io)?;
    let disk = Disk::start(store, disk, Arc::clone(waker)).map_err(io)?;
    Ok(Files { disk, snapshots, first_snapshot: restored.needs_snapshot })
}

/// A server that is ready to [`run`](Self::run).
pub struct Server {
    state: State,
    address: SocketAddr,
    handle: Handle,
    events: Events,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// A server with this configuration.
    #[must_use]
    pub fn builder(config: Config) -> Builder {
        Builder { config, in_memory: false, progress: None }
    }

    /// A server with a data directory.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(config: Config) -> Result<Self, Error> {
        Self::builder(config).open()
    }

    /// A server in memory, on a free port of 127.0.0.1, that answers all four-letter words and
    /// takes any number of connections.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn in_memory() -> Result<Self, Error> {
        Self::builder(in_memory_config()).in_memory().open()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server from another thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until [`Handle::shutdown`]. All that was acknowledged is durable then.
    ///
    /// # Errors
    /// An error of the disk, after which nothing more could be promised; others of [`Error`].
    pub fn run(mut self) -> Result<(), Error> {
        log::info!("serving clients on {}", self.address);
        let served = self.state.run(&mut self.events);
        self.state.stop(served, &mut self.events)
    }

    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Io`] when there can be no thread.
    pub fn start(self) -> Result<Running, Error> {
        let (address, handle) = (self.address, self.handle.clone());
        let thread = thread::Builder::new()
            .name("zk-server".to_owned())
            .spawn(move || self.run())
            .map_err(|source| Error::Io { doing: "start a thread", source })?;
        Ok(Running { address, handle, thread: Some(thread) })
    }
}

/// The configuration of [`Server::in_memory`], to be changed and given to a [`Builder`].
#[must_use]
pub fn in_memory_config() -> Config {
    let mut config = Config::quick_start(Path::new(""));
    config.client_address = Some(HostPort { host: "127.0.0.1".to_owned(), port: 0 });
    config.max_client_cnxns = 0;
    config.four_letter_words = FourLetterWords::All;
    config.snap_count = u32::MAX;
    config.snap_size_limit_kib = None;
    config
}

/// Stops a server from another thread.
#[derive(Clone, Debug)]
pub struct Handle {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Handle {
    /// Asks the server to end: it reads no more, syncs what it has, sends the replies, closes.
    pub fn shutdown(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the server: {error}");
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A server on a thread of its own. Dropped, it is stopped.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Running {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server from another thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops it, and waits for its end.
    ///
    /// # Errors
    /// Those of [`Server::run`].
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.handle.shutdown();
        thread.join().unwrap_or(Err(Error::Panicked("zk-server")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("{error}");
        }
    }
}

/// How long a server that stops waits for the disk, and for clients to read their replies.
const STOP_MAX: Duration = Duration::from_secs(5);
