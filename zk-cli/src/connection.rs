//! A session over TCP: a blocking driver of [`zk_core::client::Session`].
//!
//! One thread dials and reads, so that pings go out and watch events come in while the caller
//! does something else. Calls write from the caller's thread. Both hold the one lock only for as
//! long as the session is touched.

use core::hash::BuildHasher;
use core::time::Duration;
use std::collections::HashMap;
use std::hash::RandomState;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use serde::Serialize;
use zk_core::client::{self, Cause, Config, Event, JUTE_MAXBUFFER, Session, Storage, SubmitError};
use zk_core::id::{SessionId, Xid};
use zk_core::time;
use zk_core::wire::{Code, OpCode};

use crate::failure::Failure;
use crate::servers::Servers;

/// The largest reply that is read: servers may be set up for large child lists.
const MAX_REPLY: usize = 256 << 20;

/// The largest request that is sent; the server's `jute.maxbuffer` decides.
const MAX_REQUEST: usize = 16 << 20;

/// How long the end of a session is waited for.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Bytes read or written at once.
const CHUNK: usize = 64 << 10;

/// What happens to a session besides answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A watch fired on a path (as the server knows it).
    Watch { kind: i32, path: Vec<u8> },
    /// The session is (again) established with this host.
    Connected { host: String, session: SessionId, again: bool, read_only: bool },
    /// The connection is gone; it will be made again.
    Disconnected(String),
    /// The server forgot the watches.
    WatchesLost,
    /// The session has come to its end, for this reason.
    Ended(&'static str),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) err: Code,
    pub(crate) body: Vec<u8>,
}

/// A request whose answer has not been fetched.
#[derive(Debug)]
#[must_use]
pub(crate) struct Asked {
    xid: Xid,
    size: usize,
}

/// How a connection is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) servers: Servers,
    pub(crate) timeout: Duration,
    pub(crate) read_only: bool,
    /// Scheme and credential each.
    pub(crate) auths: Vec<(String, Vec<u8>)>,
}

/// A session with a server.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    options: Options,
    driver: Option<JoinHandle<()>>,
}

type Listener = Box<dyn FnMut(Notice) + Send>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    listener: Mutex<Listener>,
    origin: Instant,
}

struct State {
    session: Session<'static>,
    /// What requests are written to.
    stream: Option<TcpStream>,
    /// The host that was dialled last.
    host: String,
    /// Requests that somebody waits for.
    answers: HashMap<Xid, Option<Answer>>,
    /// Failed attempts since the last success, and what the last one died of.
    failed: usize,
    why: String,
    /// What the session died of.
    end: Option<Code>,
}

impl Connection {
    /// Begins a session. `listener` hears of everything but answers, on the driver's thread.
    ///
    /// # Errors
    /// When each host was tried once and none would have us.
    pub(crate) fn open(
        options: Options,
        listener: impl FnMut(Notice) + Send + 'static,
    ) -> Result<Self, Failure> {
        let origin = Instant::now();
        let timeout = i32::try_from(options.timeout.as_millis()).unwrap_or(i32::MAX);
        let config = Config {
            hosts: options.servers.hosts.len(),
            timeout,
            read_only: options.read_only,
            max_request: MAX_REQUEST,
            max_reply: MAX_REPLY,
            seed: RandomState::new().hash_one(std::process::id()),
            ..Config::default()
        };
        let mut session = Session::new(config, Storage::owned(), time::Instant(0));
        for (scheme, auth) in &options.auths {
            session.add_auth(scheme, auth).map_err(unsubmitted)?;
        }
        let state = State {
            session,
            stream: None,
            host: String::new(),
            answers: HashMap::new(),
            failed: 0,
            why: String::new(),
            end: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            listener: Mutex::new(Box::new(listener)),
            origin,
        });
        let driver = std::thread::Builder::new().name("session".into()).spawn({
            let shared = Arc::clone(&shared);
            let hosts = options.servers.hosts.clone();
            move || shared.drive(&hosts)
        })?;
        let connection = Self { shared, options, driver: Some(driver) };
        connection.wait_until_connected()?;
        Ok(connection)
    }

    fn wait_until_connected(&self) -> Result<(), Failure> {
        let mut state = self.shared.lock();
        loop {
            if state.session.is_connected() {
                return Ok(());
            }
            if state.session.is_ended() {
                return Err(Failure::Auth(state.why.clone()));
            }
            if state.failed >= self.options.servers.hosts.len() {
                let why = format!("cannot connect to {}: {}", self.options.servers, state.why);
                return Err(Failure::Connect(why));
            }
            state = self.shared.wait(state, None);
        }
    }

    /// What the connection was made with.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The node that paths start from; empty for the root.
    pub(crate) fn chroot(&self) -> &str {
        &self.options.servers.chroot
    }

    /// The host of the last connection.
    pub(crate) fn host(&self) -> String {
        self.shared.lock().host.clone()
    }

    /// Whether the session is established on a connection now.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.lock().session.is_connected()
    }

    /// Whether the session is over.
    pub(crate) fn is_ended(&self) -> bool {
        self.shared.lock().session.is_ended()
    }

    /// Asks for `op` and waits for the answer's body.
    ///
    /// # Errors
    /// What the server refuses about `what`, or that there was no answer.
    pub(crate) fn call<T: Serialize + ?Sized>(
        &self,
        op: OpCode,
        body: &T,
        what: &str,
    ) -> Result<Vec<u8>, Failure> {
        let answer = self.answer(op, body)?;
        if answer.err == Code::Ok { Ok(answer.body) } else { Err(Failure::of(answer.err, what)) }
    }

    /// Asks for `op` and waits for the answer, whatever it says.
    ///
    /// # Errors
    /// That there was none.
    pub(crate) fn answer<T: Serialize + ?Sized>(
        &self,
        op: OpCode,
        body: &T,
    ) -> Result<Answer, Failure> {
        let asked = self.ask(op, body)?;
        self.fetch(asked)
    }

    /// Asks for `op`; the answer is fetched later. Waits while too much is outstanding.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) fn ask<T: Serialize + ?Sized>(
        &self,
        op: OpCode,
        body: &T,
    ) -> Result<Asked, Failure> {
        let mut state = self.shared.lock();
        loop {
            match state.session.submit(op, body) {
                Ok(xid) => {
                    state.answers.insert(xid, None);
                    self.shared.flush(&mut state);
                    return Ok(Asked { xid, size: zk_core::wire::jute::size(body) });
                }
                Err(SubmitError::Full) => {
                    state = self.shared.wait(state, Some(self.options.timeout));
                }
                Err(error) => {
                    return Err(match state.end {
                        Some(code) => Failure::of(code, ""),
                        None => unsubmitted(error),
                    });
                }
            }
        }
    }

    /// Waits for the answer to a request.
    ///
    /// # Errors
    /// When the connection was lost, or none could be made within the session timeout.
    pub(crate) fn fetch(&self, asked: Asked) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.options.timeout;
        let mut state = self.shared.lock();
        loop {
            match state.answers.remove(&asked.xid) {
                Some(Some(answer)) => {
                    return match answer.err {
                        Code::ConnectionLoss if asked.size > JUTE_MAXBUFFER => {
                            Err(Failure::Lost(format!(
                                "the server closed the connection: {} bytes are more than most \
                                 servers take (their jute.maxbuffer, 1 MiB unless set)",
                                asked.size
                            )))
                        }
                        Code::ConnectionLoss | Code::SessionExpired | Code::AuthFailed => {
                            Err(Failure::of(answer.err, ""))
                        }
                        _ => Ok(answer),
                    };
                }
                Some(None) => state.answers.insert(asked.xid, None),
                None => return Err(Failure::Lost("the answer was given up".into())),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && !state.session.is_connected() {
                state.answers.remove(&asked.xid);
                return Err(Failure::Lost(format!("not connected: {}", state.why)));
            }
            // A connection that is silent for too long ends by itself.
            state = self.shared.wait(state, Some(left.max(Duration::from_millis(100))));
        }
    }

    /// Authenticates this and every later connection of the session. Whether the server agrees
    /// shows with the next answer.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(crate) fn add_auth(&self, scheme: &str, auth: &[u8]) -> Result<(), Failure> {
        let mut state = self.shared.lock();
        state.session.add_auth(scheme, auth).map_err(unsubmitted)?;
        self.shared.flush(&mut state);
        Ok(())
    }

    /// Forgets watches without asking the server.
    pub(crate) fn forget_watches(&self, path: &[u8], watcher_type: i32) {
        self.shared.lock().session.forget_watches(path, watcher_type);
    }

    /// Ends the session and waits until the server knows, but not for long.
    pub(crate) fn close(&mut self) {
        let Some(driver) = self.driver.take() else { return };
        let mut state = self.shared.lock();
        state.session.close();
        self.shared.flush(&mut state);
        self.shared.changed.notify_all();
        let deadline = Instant::now() + CLOSE_WAIT;
        while !state.session.is_ended() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.wait(state, Some(left));
        }
        drop(state);
        // The thread may be dialling still; it ends with the process then.
        if driver.is_finished() {
            let _ = driver.join();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

fn unsubmitted(error: SubmitError) -> Failure {
    match error {
        SubmitError::Ended => Failure::Lost(error.to_string()),
        _ => Failure::Usage(error.to_string()),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is reported there; the state itself is consistent between calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(
        &self,
        state: MutexGuard<'s, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'s, State> {
        match limit {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn now(&self) -> time::Instant {
        time::Instant(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Time until the session wants to be called; at least a millisecond.
    fn pause(&self, state: &State) -> Option<Duration> {
        let at = state.session.poll_timeout()?;
        Some(Duration::from_millis(at.since(self.now()).max(1)))
    }

    fn flush(&self, state: &mut State) {
        let State { session, stream: Some(stream), .. } = state else { return };
        let mut out = [0; CHUNK];
        loop {
            let n = session.transmit(self.now(), &mut out);
            if n == 0 {
                return;
            }
            if stream.write_all(&out[..n]).is_err() {
                // Half a packet may be gone: the reader finds the end and reports it.
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }

    fn drive(&self, hosts: &[String]) {
        let mut state = self.lock();
        while !state.session.is_ended() {
            let Some(index) = state.session.poll_dial(self.now()) else {
                let pause = self.pause(&state);
                state = self.wait(state, pause);
                continue;
            };
            let host = &hosts[index];
            state.host.clone_from(host);
            let budget = self.pause(&state).unwrap_or(Duration::from_secs(1));
            drop(state);
            let connected = dial(host, budget);
            state = match connected {
                Ok(stream) => self.serve(stream, self.lock()),
                Err(error) => {
                    let mut state = self.lock();
                    state.session.handle_disconnected(self.now());
                    self.settle(state, Some(format!("{error} ({host})")))
                }
            };
        }
        // What a close without a connection has left unanswered.
        drop(self.settle(state, None));
    }

    /// Reads from one connection until its end.
    fn serve<'s>(
        &'s self,
        mut stream: TcpStream,
        mut state: MutexGuard<'s, State>,
    ) -> MutexGuard<'s, State> {
        state.stream = stream.try_clone().ok();
        state.session.handle_connected(self.now());
        let mut input = Vec::new();
        let mut buffer = vec![0; CHUNK];
        let mut why = None;
        while state.stream.is_some() {
            self.flush(&mut state);
            let pause = self.pause(&state);
            drop(state);
            let read = stream.set_read_timeout(pause).and_then(|()| stream.read(&mut buffer));
            state = self.lock();
            match read {
                Ok(0) => {
                    why = Some("the server closed the connection".to_owned());
                    state.session.handle_disconnected(self.now());
                }
                Ok(n) => {
                    input.extend_from_slice(&buffer[..n]);
                    state = self.receive(state, &mut input);
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) => {
                    why = Some(error.to_string());
                    state.session.handle_disconnected(self.now());
                }
            }
            state.session.handle_timeout(self.now());
            let host = &state.host;
            let why = why.as_ref().map(|why| format!("{why} ({host})"));
            state = self.settle(state, why);
        }
        state
    }

    fn receive<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        input: &mut Vec<u8>,
    ) -> MutexGuard<'s, State> {
        let mut done = 0;
        loop {
            let taken = state.session.receive(self.now(), &input[done..]);
            if taken.consumed == 0 {
                break;
            }
            done += taken.consumed;
            if let Some(event) = taken.event {
                let mut notices = Vec::new();
                state.heard(event, None, &mut notices);
                // One by one: who sees an answer has heard what the server said before it.
                state = self.tell(state, notices);
            }
        }
        input.drain(..done);
        state
    }

    /// Fetches the events that are left.
    fn settle<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        why: Option<String>,
    ) -> MutexGuard<'s, State> {
        let mut notices = Vec::new();
        while let Some(event) = state.session.poll_event() {
            state.heard(event, why.as_deref(), &mut notices);
        }
        self.tell(state, notices)
    }

    fn tell<'s>(
        &'s self,
        state: MutexGuard<'s, State>,
        notices: Vec<Notice>,
    ) -> MutexGuard<'s, State> {
        let state = if notices.is_empty() {
            state
        } else {
            // The listener may print, which may take long: not under the lock.
            drop(state);
            {
                let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
                notices.into_iter().for_each(&mut **listener);
            }
            self.lock()
        };
        self.changed.notify_all();
        state
    }
}

impl State {
    fn heard(&mut self, event: Event<'_>, why: Option<&str>, notices: &mut Vec<Notice>) {
        let established = |state: &mut Self, again, read_only| {
            state.failed = 0;
            let (host, session) = (state.host.clone(), state.session.session_id());
            Notice::Connected { host, session, again, read_only }
        };
        match event {
            Event::Reply(client::Reply { xid, header, body, .. }) => {
                if let Some(place) = self.answers.get_mut(&xid) {
                    *place = Some(Answer { err: header.err, body: body.to_vec() });
                }
            }
            Event::Watch(client::Watch { kind, path, .. }) => {
                notices.push(Notice::Watch { kind, path: path.bytes().to_vec() });
            }
            Event::Connected { read_only } => notices.push(established(self, false, read_only)),
            Event::Reconnected { read_only } => notices.push(established(self, true, read_only)),
            Event::Disconnected(cause) => {
                self.failed += 1;
                self.why = match (cause, why) {
                    (Cause::Closed, Some(why)) => why.to_owned(),
                    _ => format!("{cause} ({})", self.host),
                };
                // Attempts to connect again are not worth a line each.
                if self.stream.take().is_some() {
                    notices.push(Notice::Disconnected(self.why.clone()));
                }
            }
            Event::WatchesRefused(_) => notices.push(Notice::WatchesLost),
            Event::Expired => {
                self.ended(Code::SessionExpired, "the session has expired", notices);
            }
            Event::AuthFailed => {
                self.ended(Code::AuthFailed, "the server did not accept the credential", notices);
            }
            Event::Closed => self.ended(Code::SessionExpired, "the session is closed", notices),
        }
    }

    fn ended(&mut self, code: Code, why: &'static str, notices: &mut Vec<Notice>) {
        self.stream = None;
        self.end = Some(code);
        self.why = why.to_owned();
        notices.push(Notice::Ended(why));
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Connects to `host`, at any of its addresses, within `budget`.
pub(crate) fn dial(host: &str, budget: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + budget;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in host.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(budget))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
