//! Connections that come while no client is served: only four-letter words are answered.
//!
//! Apache closes others as well; clients go to the next server.

use std::net::Shutdown;

use mio::event::Event;
use mio::{Interest, Registry, Token};
use zk_core::time::{Instant, Now};

use super::link::{ReadOutcome, Stream};
use super::listener::Listener;
use super::words::Word;

/// Connections at a time. More are closed at once.
const MOST: usize = 256;

/// Tokens, from that number on. Clients have the numbers below, members those above.
pub(super) const TOKENS: usize = usize::MAX / 8 + 1;

/// Bytes of the longest word with its argument.
const WORD: usize = 12;

#[derive(Debug)]
struct Asker {
    stream: Stream,
    /// The answer, and how much of it is written.
    reply: Option<(Vec<u8>, usize)>,
    since: Instant,
}

/// Such connections.
#[derive(Debug, Default)]
pub(super) struct Unserved {
    askers: Vec<Option<Asker>>,
    /// Those of which something is to be read.
    queue: Vec<usize>,
}

impl Unserved {
    /// Somebody has connected.
    pub(super) fn open(
        &mut self,
        registry: &Registry,
        listener: &mut Listener,
        now: Now,
        mut stream: Stream,
    ) {
        let place = self.askers.iter().position(Option::is_none);
        let place = place.unwrap_or(self.askers.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        if place >= MOST
            || registry.register(&mut stream.socket, Token(TOKENS + place), interest).is_err()
        {
            listener.closed(stream.address.ip());
            return;
        }
        let asker = Some(Asker { stream, reply: None, since: now.monotonic });
        match self.askers.get_mut(place) {
            Some(vacant) => *vacant = asker,
            None => self.askers.push(asker),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.askers.iter().flatten().count()
    }

    /// Notes an event.
    pub(super) fn note(&mut self, token: usize, listener: &mut Listener, event: &Event) {
        let place = token - TOKENS;
        let Some(Some(asker)) = self.askers.get_mut(place) else { return };
        if (event.is_readable() || event.is_read_closed() || event.is_error())
            && asker.stream.note_readable(event)
        {
            self.queue.push(place);
        }
        if event.is_writable() {
            asker.stream.writable = true;
            self.write(place, listener);
        }
    }

    /// A word that somebody has asked, with its argument.
    pub(super) fn poll(&mut self, listener: &mut Listener) -> Option<(usize, Word, Vec<u8>)> {
        while let Some(place) = self.queue.pop() {
            if let Some((word, argument)) = self.read(place, listener) {
                return Some((place, word, argument));
            }
        }
        None
    }

    fn read(&mut self, place: usize, listener: &mut Listener) -> Option<(Word, Vec<u8>)> {
        let asker = self.askers.get_mut(place)?.as_mut()?;
        asker.stream.queued = false;
        let mut buffer = [0; WORD];
        match asker.stream.read(&mut buffer) {
            ReadOutcome::Nothing => return None,
            ReadOutcome::Closed => {
                asker.stream.readable = false;
                // What was asked is still answered.
                if asker.reply.is_none() {
                    self.close(place, listener);
                }
                return None;
            }
            ReadOutcome::Bytes(len) => asker.stream.rest.extend_from_slice(&buffer[..len]),
        }
        if asker.reply.is_some() {
            // Nothing is read after a word.
            asker.stream.rest.clear();
            return None;
        }
        let first = *asker.stream.rest.first_chunk()?;
        let Some(word) = Word::known(first) else {
            self.close(place, listener);
            return None;
        };
        if asker.stream.rest.len() < word.len() {
            if asker.stream.wants_read() {
                self.queue.push(place);
            }
            return None;
        }
        let argument = asker.stream.rest.split_off(first.len());
        Some((word, argument))
    }

    /// Answers a word.
    pub(super) fn answer(&mut self, place: usize, listener: &mut Listener, reply: Vec<u8>) {
        if let Some(Some(asker)) = self.askers.get_mut(place) {
            asker.reply = Some((reply, 0));
            self.write(place, listener);
        }
    }

    fn write(&mut self, place: usize, listener: &mut Listener) {
        let Some(Some(asker)) = self.askers.get_mut(place) else { return };
        let Some((reply, from)) = &mut asker.reply else { return };
        match asker.stream.write(&reply[*from..]) {
            Ok(written) => *from += written,
            Err(_) => *from = reply.len(),
        }
        if *from == reply.len() {
            self.close(place, listener);
        }
    }

    fn close(&mut self, place: usize, listener: &mut Listener) {
        let Some(asker) = self.askers.get_mut(place).and_then(Option::take) else { return };
        // It may be gone already.
        let _ = asker.stream.socket.shutdown(Shutdown::Write);
        listener.closed(asker.stream.address.ip());
    }

    /// Closes those that took longer than `patience_ms`.
    pub(super) fn sweep(&mut self, listener: &mut Listener, now: Now, patience_ms: u64) {
        for place in 0..self.askers.len() {
            let late = |asker: &Asker| now.monotonic.since(asker.since) >= patience_ms;
            if self.askers[place].as_ref().is_some_and(late) {
                self.close(place, listener);
            }
        }
    }
}
