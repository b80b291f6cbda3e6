//! A server, alone or in an ensemble: one thread that owns the state and the sockets, one that syncs
//! the log, one that writes snapshots. A member of an ensemble has one that reads for learners, and
//! one that looks up names.
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
//! With the feature `tokio`, on Unix, `Server::serve` does the same as a task of tokio's.
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
//!
//! The links to other members come first in each turn, and at most 256 clients are read in one, so
//! that no crowd of clients keeps a leader from being heard.

mod clock;
mod disk;
mod error;
mod link;
mod listener;
mod members;
mod metrics;
mod reading;
mod resolve;
mod restore;
mod settings;
mod snapshots;
mod standing;
mod threads;
#[cfg(all(unix, feature = "tokio"))]
mod tokio;
mod turn;
mod unserved;
pub mod words;

use core::fmt;
use core::hash::{BuildHasher, Hasher};
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use core::time::Duration;
use std::collections::hash_map::RandomState;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mio::{Events, Interest, Poll, Waker};
use zk_core::id::SessionId;
use zk_core::peer::{Membership, Peer};
use zk_core::tree::Seeds;

pub use error::Error;
pub use restore::Progress;
pub use standing::{Role, Standing};

use crate::config::{Config, FourLetterWords, HostPort};
use crate::member::dynamic::Dynamic;
use crate::store::{self, INITIALIZE, OsDirectory, Store};
use clock::Clock;
use disk::Disk;
use listener::Listener;
use members::Members;
use metrics::Metrics;
use reading::Reader;
use snapshots::Snapshots;
use turn::{Files, Parts, State};

/// What is set before a server starts; see [`Server::builder`].
pub struct Builder {
    config: Config,
    in_memory: bool,
    progress: Option<Progress>,
    on_change: Option<OnChange>,
}

/// Is told where the server stands, whenever that changes.
type OnChange = Box<dyn FnMut(&Standing) + Send>;

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

    /// Is told where the server stands: when it begins to run, and whenever that changes. Called on
    /// the server's thread.
    #[must_use]
    pub fn on_change(mut self, on_change: impl FnMut(&Standing) + Send + 'static) -> Self {
        self.on_change = Some(Box::new(on_change));
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
        let Self { config, in_memory, progress, on_change } = self;
        let options = settings::peer_options(&config)?;
        let quorum = settings::ensemble(&config, in_memory)?;
        for warning in config.warnings() {
            log::warn!("{warning}");
        }
        let clock = Clock::start();
        let now = clock.now();
        let random = RandomState::new();
        let seeds = Seeds(random.hash_one(1), RandomState::new().build_hasher().finish());
        let first = SessionId::first(options.server, now.wall.unsigned_abs());
        let ceilings = settings::ceilings(&config, &options)?;
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
        let (mut members, mut metrics) = (None, Metrics::default());
        let mut dynamic = None;
        let files = match quorum {
            None if in_memory => {
                peer.load_reset();
                peer.serve(clock.now());
                None
            }
            None => {
                let mut store = open_store(&config)?;
                let needs_snapshot = restore::alone(&mut store, &mut peer, progress, &mut metrics)?;
                let files = start_files(&config, store, needs_snapshot, false, &waker)?;
                peer.serve(clock.now());
                Some(files)
            }
            Some((quorum, me)) => {
                let mut store = open_store(&config)?;
                let restored = restore::member(&mut store, &mut peer, progress, &mut metrics)?;
                let needs_snapshot = restored.needs_snapshot;
                let files = start_files(&config, store, needs_snapshot, true, &waker)?;
                let now = clock.now();
                dynamic = Dynamic::of(&config, me);
                let shared = Arc::clone(&waker);
                members = Some(Members::open(&config, quorum, me, poll.registry(), shared, now)?);
                let text = settings::config_text(quorum);
                let proposed = config.last_seen_quorum.as_ref().map(settings::config_text);
                let membership = Membership {
                    config: text.as_bytes(),
                    proposed: proposed.as_deref().map(str::as_bytes),
                    epochs: restored.epochs,
                    damaged: restored.damaged,
                };
                let wrong = |error| Error::Config(format!("the server lines: {error}"));
                peer.join(now, &membership).map_err(wrong)?;
                Some(files)
            }
        };
        if files.as_ref().is_some_and(|files| files.first_snapshot) {
            peer.require_snapshot();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let handle = Handle { stop, waker };
        let address = listener.address;
        let state = State::new(Parts {
            config,
            clock,
            peer,
            poll,
            listener,
            files,
            members,
            dynamic,
            metrics,
            on_change,
            handle: handle.clone(),
        });
        Ok(Server { state, address, handle, events: Events::with_capacity(turn::EVENTS) })
    }
}

fn open_store(config: &Config) -> Result<Store<OsDirectory>, Error> {
    let data = OsDirectory::new(&config.data_dir);
    let logs = OsDirectory::new(&config.data_log_dir);
    Ok(Store::open(data, logs, settings::store_options(config))?)
}

/// Starts the threads of a data directory.
fn start_files(
    config: &Config,
    store: Store<OsDirectory>,
    first_snapshot: bool,
    member: bool,
    waker: &Arc<Waker>,
) -> Result<Files, Error> {
    let view = |options| {
        let data = OsDirectory::new(&config.data_dir);
        let logs = OsDirectory::new(&config.data_log_dir);
        Store::open(data, logs, options)
    };
    let options = store::Options { reserve: 0, ..settings::store_options(config) };
    let io = |source| Error::Io { doing: "start a thread", source };
    let pinned = Arc::new(AtomicI64::new(i64::MAX));
    let snapshots = snapshots::Options {
        last_zxid: config.serialize_last_processed_zxid_enabled,
        purge_every: config.autopurge_purge_interval,
        keep: config.autopurge_snap_retain_count as usize,
        pinned: Arc::clone(&pinned),
        initialize: first_snapshot.then(|| config.data_dir.join(INITIALIZE)),
    };
    let disk = disk::Options {
        slow: config.fsync_warning_threshold,
        log_max: config.txn_log_size_limit_kib.map(|kib| kib.saturating_mul(1024)),
    };
    let extent = store.extent();
    // Appends never wait for snapshots, nor for what learners are sent.
    let reader = match member {
        false => None,
        true => {
            let view = view(store::Options { read_only: true, ..options.clone() })?;
            Some(Reader::start(view, Arc::clone(waker)).map_err(io)?)
        }
    };
    let snapshots = Snapshots::start(view(options)?, snapshots, Arc::clone(waker)).map_err(io)?;
    let disk = Disk::start(store, disk, Arc::clone(waker)).map_err(io)?;
    Ok(Files { disk, snapshots, reader, first_snapshot, extent, pinned })
}

/// A server that is ready to [`run`](Self::run). Dropped, it has let go of its data directory.
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
        Builder { config, in_memory: false, progress: None, on_change: None }
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

    /// Stops the server, from any thread or task.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until [`Handle::shutdown`]. All that was acknowledged is durable then.
    ///
    /// # Errors
    /// An error of the disk, after which nothing more could be promised; others of [`Error`].
    pub fn run(mut self) -> Result<(), Error> {
        self.state.begin();
        loop {
            let most = self.state.timeout();
            self.state.wait(&mut self.events, most)?;
            if let Some(ended) = self.state.turn() {
                return ended;
            }
        }
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

/// Stops a server, from any thread or task.
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

    /// Stops the server, from any thread or task.
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
