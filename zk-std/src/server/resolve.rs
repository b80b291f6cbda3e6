//! Looking up the addresses of hosts, on a thread of its own: the system may take its time.
//!
//! Names are looked up anew for every connection, because a member may have moved.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use mio::Waker;

/// Questions that may wait, and answers. With more, a question counts as failed.
const ASKS: usize = 1024;

/// Addresses that one answer has at most.
const ADDRESSES_MAX: usize = 16;

/// What became of a question.
pub(super) struct Answer<K> {
    /// Who asked.
    pub(super) key: K,
    /// Of all hosts, in their order.
    pub(super) addresses: Vec<SocketAddr>,
    /// Why there are not more.
    pub(super) error: Option<String>,
}

struct Ask<K> {
    key: K,
    hosts: Vec<(String, u16)>,
}

/// The thread, as the state thread sees it. It ends when this is dropped, after the name that it
/// is looking up.
pub(super) struct Resolver<K> {
    asks: SyncSender<Ask<K>>,
    answers: Receiver<Answer<K>>,
    /// What needed no looking up.
    ready: Vec<Answer<K>>,
}

impl<K: Send + 'static> Resolver<K> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (asks, inbox) = sync_channel::<Ask<K>>(ASKS);
        let (outbox, answers) = sync_channel(ASKS);
        thread::Builder::new().name("zk-resolver".to_owned()).spawn(move || {
            for ask in inbox {
                let answer = look_up(ask);
                if outbox.send(answer).is_err() {
                    return;
                }
                if let Err(error) = waker.wake() {
                    log::error!("cannot wake the server: {error}");
                }
            }
        })?;
        Ok(Self { asks, answers, ready: Vec::new() })
    }

    /// Asks for the addresses of hosts.
    pub(super) fn ask(&mut self, key: K, hosts: Vec<(String, u16)>) {
        let ask = Ask { key, hosts };
        if ask.hosts.iter().all(|(host, _)| host.parse::<IpAddr>().is_ok()) {
            self.ready.push(look_up(ask));
            return;
        }
        if let Err(TrySendError::Full(ask) | TrySendError::Disconnected(ask)) =
            self.asks.try_send(ask)
        {
            let error = Some("too many names are being looked up".to_owned());
            self.ready.push(Answer { key: ask.key, addresses: Vec::new(), error });
        }
    }

    /// An answer.
    pub(super) fn hear(&mut self) -> Option<Answer<K>> {
        self.ready.pop().or_else(|| self.answers.try_recv().ok())
    }

    /// Whether there is an answer that the waker does not tell of.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

fn look_up<K>(Ask { key, hosts }: Ask<K>) -> Answer<K> {
    let mut answer = Answer { key, addresses: Vec::new(), error: None };
    for (host, port) in hosts {
        match (host.as_str(), port).to_socket_addrs() {
            Ok(found) => {
                for address in found {
                    if answer.addresses.len() < ADDRESSES_MAX
                        && !answer.addresses.contains(&address)
                    {
                        answer.addresses.push(address);
                    }
                }
            }
            Err(error) => answer.error = Some(format!("cannot look up {host}: {error}")),
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    #[test]
    fn addresses_are_answered_at_once_and_names_later() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut resolver = Resolver::start(waker).unwrap();
        let host = |host: &str, port| (host.to_owned(), port);
        resolver.ask(1, vec![host("127.0.0.1", 5), host("::1", 6)]);
        assert!(resolver.is_ready());
        let answer = resolver.hear().unwrap();
        assert_eq!(answer.key, 1);
        let expected: Vec<SocketAddr> =
            vec!["127.0.0.1:5".parse().unwrap(), "[::1]:6".parse().unwrap()];
        assert_eq!((answer.addresses, answer.error), (expected, None));
        resolver.ask(2, vec![host("localhost", 7), host("no.such.host.invalid", 8)]);
        assert!(!resolver.is_ready());
        let mut events = Events::with_capacity(1);
        let answer = loop {
            if let Some(answer) = resolver.hear() {
                break answer;
            }
            poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
        };
        assert_eq!(answer.key, 2);
        assert!(answer.addresses.iter().all(|address| address.ip().is_loopback()));
        assert!(!answer.addresses.is_empty());
        assert!(answer.error.unwrap().contains("no.such.host.invalid"));
    }
}
