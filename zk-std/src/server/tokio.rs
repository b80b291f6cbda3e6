//! The same turns as a task of tokio's.
//!
//! A [`mio::Poll`] is a file itself, readable when it has events. Tokio watches that one file; the
//! sockets stay in the poll, and a turn is the same whoever drives it.

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use mio::{Events, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::{task, time};

use super::turn::State;
use super::{Error, Server};

impl Server {
    /// Serves as a task of tokio's, until [`Handle::shutdown`](super::Handle::shutdown). All that
    /// was acknowledged is durable then. This is [`run`](Self::run) for programs that are
    /// asynchronous; the clients see no difference. Time is the system's, also where tokio's is
    /// paused.
    ///
    /// With the feature `tokio`, on Unix, where mio waits with epoll or kqueue.
    ///
    /// ```
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn core::error::Error>> {
    /// let server = zk_std::server::Server::in_memory()?;
    /// let (address, handle) = (server.address(), server.handle());
    /// let serving = tokio::spawn(server.serve());
    /// let mut client = tokio::net::TcpStream::connect(address).await?;
    /// client.write_all(b"ruok").await?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer).await?;
    /// assert_eq!(answer, "imok");
    /// handle.shutdown();
    /// serving.await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What holds up the executor
    ///
    /// Between two turns other tasks run. A turn never waits for a log or a snapshot, nor does the
    /// end, which takes some seconds if a client does not read its replies. What a turn does wait
    /// for:
    ///
    /// - A member that a leader told to drop transactions, or sent a snapshot, reads its data
    ///   directory, as at the start: as long as a big tree takes to load.
    /// - A new configuration is written to its files. If it moves the client port of this server,
    ///   the name of that is looked up.
    /// - Words that list everything (`dump`, `wchp`) take as long as there is to list.
    ///
    /// So a member of an ensemble with a big tree is best spawned on a runtime with several
    /// threads, or given a thread with a runtime of its own. [`Builder::open`](super::Builder::open)
    /// loads the tree and waits for ports: call it before the runtime is entered, or in
    /// `spawn_blocking`.
    ///
    /// # Dropped
    ///
    /// The future may be dropped at any time, and the server with it: its ports are closed, clients
    /// lose their connections, and replies that were not sent yet are lost. What was acknowledged is
    /// durable. Dropping waits until the threads that write files have ended, so that the data
    /// directory can be opened again at once: for what the log was handed to be synced, and for what
    /// is being written of a snapshot. Where that is too long, call
    /// [`Handle::shutdown`](super::Handle::shutdown), and await the future.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    ///
    /// # Panics
    /// It is polled outside of a runtime, or in one without I/O or time (`enable_all`).
    pub fn serve(self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        drive(self)
    }
}

async fn drive(server: Server) -> Result<(), Error> {
    let Server { mut state, mut events, .. } = server;
    let poll = watch(&state.poll).map_err(|source| Error::Io { doing: "watch sockets", source })?;
    state.begin();
    loop {
        wait(&mut state, &mut events, &poll).await?;
        if let Some(ended) = state.turn() {
            return ended;
        }
    }
}

/// Lets tokio watch the poll.
#[allow(
    deprecated,
    reason = "its successor is unsafe, because the file could be closed meanwhile; this one is owned"
)]
fn watch(poll: &Poll) -> io::Result<AsyncFd<OwnedFd>> {
    let file = poll.registry().as_fd().try_clone_to_owned()?;
    AsyncFd::with_interest(file, Interest::READABLE)
}

/// Waits for events, no longer than there is nothing to do, and notes them. Other tasks run
/// meanwhile, in any case.
async fn wait(
    state: &mut State,
    events: &mut Events,
    poll: &AsyncFd<OwnedFd>,
) -> Result<(), Error> {
    let most = state.timeout();
    if most == Some(Duration::ZERO) {
        task::yield_now().await;
        state.wait(events, most)?;
        return Ok(());
    }
    let heard = async {
        let mut has_waited = false;
        loop {
            let mut ready = poll
                .readable()
                .await
                .map_err(|source| Error::Io { doing: "wait for events", source })?;
            if state.wait(events, Some(Duration::ZERO))? {
                break;
            }
            // Tokio is told of a change only: when there was an event, there may be another.
            ready.clear_ready();
            has_waited = true;
        }
        if !has_waited {
            task::yield_now().await;
        }
        Ok(())
    };
    let Some(most) = most else { return heard.await };
    if let Ok(heard) = time::timeout(most, heard).await {
        return heard;
    }
    state.wait(events, Some(Duration::ZERO))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use tokio::runtime::Builder;

    use super::*;

    /// All clients ask while the server cannot turn, and nothing else happens: tokio is told once
    /// that the poll has changed. (Once a second a sweep would find one client more.)
    #[test]
    fn what_one_look_at_the_poll_leaves_is_not_forgotten() {
        const CLIENTS: usize = 100;
        let patience = Some(Duration::from_secs(20));
        let mut server = Server::in_memory().unwrap();
        server.events = Events::with_capacity(1);
        let (address, handle) = (server.address(), server.handle());
        let connect = [&[0, 0, 0, 44][..], &[0; 12], &[0, 0, 0x75, 0x30], &[0; 8], &[0, 0, 0, 16]];
        let connect = [&connect.concat()[..], &[0; 16]].concat();
        let ping = [0, 0, 0, 8, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 11];
        let begin = move || {
            let session = |_| {
                let mut client = TcpStream::connect(address).unwrap();
                client.set_read_timeout(patience).unwrap();
                client.write_all(&connect).unwrap();
                client.read_exact(&mut [0; 40]).unwrap();
                client
            };
            (0..CLIENTS).map(session).collect::<Vec<_>>()
        };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let serving = task::spawn(server.serve());
            let mut clients = task::spawn_blocking(begin).await.unwrap();
            for client in &mut clients {
                client.write_all(&ping).unwrap();
            }
            let end = move || {
                for client in &mut clients {
                    client.read_exact(&mut [0; 4 + 16]).unwrap();
                }
            };
            let answered = task::spawn_blocking(end).await;
            handle.shutdown();
            serving.await.unwrap().unwrap();
            answered.unwrap();
        });
    }
}
