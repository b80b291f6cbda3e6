//! IP packets over a serial line: a device of the network over a stream of bytes.
//!
//! A UART, or whatever else is an [`embedded_io`] stream, connects a board with one other host, or with a
//! router that knows more of them. Both ends are a [`Serial`], or speak as it does:
//!
//! ```text
//! frame      0x00 | COBS of (packet | u32 CRC-32 of the packet, little-endian) | 0x00
//! ```
//!
//! [COBS](https://doi.org/10.1109/90.769765) (S. Cheshire, M. Baker) takes the zeros out of what it
//! encodes, for one byte more, and one for each 254: so a zero is where a frame begins or ends, and nothing
//! else. The checksum is CRC-32/ISO-HDLC, as Ethernet has it. A packet has from one to [`PACKET_MAX`] bytes:
//! every host that speaks IPv4 takes so many. Two zeros in a row have nothing between them, and mean
//! nothing.
//!
//! What a line makes of that is dropped, and counted ([`Counts`]): noise, frames of which a part is missing
//! or wrong, frames that are too long. From the next zero on all is well again, and since a frame begins
//! with one, noise between frames costs none of them. Whoever wants a packet that was lost sends it again:
//! that is TCP's affair.
//!
//! # The stream
//!
//! Nothing here waits. Bytes are read while [`ReadReady`] says that some are there, and written while
//! [`WriteReady`] says that some are taken; so `read` and `write` must then return what is there, and how
//! many are taken. Between two calls a UART has to keep what comes: at 115,200 baud 12 bytes in a
//! millisecond. A driver with a ring of [`FRAME_MAX`] bytes that its interrupt fills can be late by a whole
//! frame.
//!
//! One packet may wait for the line, and one more that answers what has come: so two ends that fill their
//! lines do not wait for each other. If a line takes nothing for [`STUCK_MS`], what waits for it is dropped:
//! nobody is there.
//!
//! # Sleep
//!
//! As long as [`Serial::is_sending`], a board must be called again when the stream takes more, too, unless
//! its driver takes [`GOING`] bytes at once.

use embedded_io::{Read, ReadReady, Write, WriteReady};
use zk_core::crc::Crc;

use crate::net::Moment;
use crate::net::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};

/// Bytes of the longest packet.
pub const PACKET_MAX: usize = 576;

/// Bytes of a checksum.
const SUM: usize = 4;

/// Bytes of the longest frame, with the zeros around it.
pub const FRAME_MAX: usize = cobs::max_encoding_length(PACKET_MAX + SUM) + 2;

/// Bytes that have come and were not taken, at most: a frame, and some of the next.
const COME: usize = FRAME_MAX + 64;

/// Bytes that wait for the line, at most: a frame, and one that answers what has come.
pub const GOING: usize = 2 * FRAME_MAX;

/// Bytes that are read in search of one frame, at most: a line that brings noise for ever must not keep
/// the board.
const SEARCH_MAX: usize = 8 * FRAME_MAX;

/// Milliseconds in which a line takes nothing, after which nobody is there.
pub const STUCK_MS: i64 = 1_000;

/// Memory that is lent to a [`Serial`].
#[derive(Debug)]
pub struct Memory {
    come: [u8; COME],
    packet: [u8; PACKET_MAX + SUM],
    going: [u8; GOING],
}

impl Memory {
    /// All of it.
    pub const fn new() -> Self {
        Self { come: [0; COME], packet: [0; PACKET_MAX + SUM], going: [0; GOING] }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// What a line has brought and taken since the start. No number goes beyond its type's largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came.
    pub received: u32,
    /// Packets that were handed to the line.
    pub sent: u32,
    /// What was between two zeros, and is no frame.
    pub broken: u32,
    /// Frames whose checksum is wrong.
    pub damaged: u32,
    /// What was longer than any frame.
    pub long: u32,
    /// Errors of the stream: the frame that was coming is lost.
    pub errors: u32,
    /// How often what waited was dropped, because the line took nothing.
    pub stuck: u32,
}

fn count(number: &mut u32) {
    *number = number.saturating_add(1);
}

/// A device of IP packets over a stream.
#[derive(Debug)]
pub struct Serial<'m, S> {
    stream: S,
    coming: Coming<'m>,
    going: Going<'m>,
    counts: Counts,
}

impl<'m, S: Read + ReadReady + Write + WriteReady> Serial<'m, S> {
    /// A device over that stream.
    pub fn new(stream: S, memory: &'m mut Memory) -> Self {
        let Memory { come, packet, going } = memory;
        Self {
            stream,
            coming: Coming {
                bytes: come,
                have: 0,
                seen: 0,
                // Whatever comes first may have begun earlier; if it has not, its zero says so.
                skipping: false,
                packet: None,
                given: false,
            },
            going: Going { packet, bytes: going, from: 0, to: 0, moved: None },
            counts: Counts::default(),
        }
    }

    /// The stream.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, for a board that has to tell it something.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether bytes wait for the line.
    pub fn is_sending(&self) -> bool {
        !self.going.is_empty()
    }
}

impl<'m, S: Read + ReadReady + Write + WriteReady> Device for Serial<'m, S> {
    type RxToken<'a>
        = Packet<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Place<'a, 'm, S>
    where
        Self: 'a;

    fn receive(&mut self, now: Moment) -> Option<(Packet<'_>, Place<'_, 'm, S>)> {
        let Self { stream, coming, going, counts } = self;
        going.push(stream, now, counts);
        let len = coming.find(stream, counts)?;
        if !going.has_room() {
            // It stays.
            return None;
        }
        coming.given = true;
        count(&mut counts.received);
        let packet = coming.bytes.get(..len).unwrap_or_default();
        Some((Packet(packet), Place { going, stream, counts, now }))
    }

    fn transmit(&mut self, now: Moment) -> Option<Place<'_, 'm, S>> {
        let Self { stream, going, counts, .. } = self;
        going.push(stream, now, counts);
        // The other place is for an answer.
        going.is_empty().then_some(Place { going, stream, counts, now })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = PACKET_MAX;
        capabilities
    }
}

/// A packet that has come.
#[derive(Debug)]
pub struct Packet<'a>(&'a [u8]);

impl RxToken for Packet<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// The place of a packet that goes.
#[derive(Debug)]
pub struct Place<'a, 'm, S> {
    going: &'a mut Going<'m>,
    stream: &'a mut S,
    counts: &'a mut Counts,
    now: Moment,
}

impl<S: Write + WriteReady> TxToken for Place<'_, '_, S> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self { going, stream, counts, now } = self;
        // The network was told how long a packet is at the most.
        let len = len.min(PACKET_MAX);
        let result = f(&mut going.packet[..len]);
        going.put(len);
        count(&mut counts.sent);
        going.push(stream, now, counts);
        result
    }
}

/// What comes.
#[derive(Debug)]
struct Coming<'m> {
    bytes: &'m mut [u8; COME],
    /// Bytes that are there; of these, the first in which there is no zero.
    have: usize,
    seen: usize,
    /// A part of what is before the next zero was dropped.
    skipping: bool,
    /// A packet at the front: its bytes, and how many it takes with its frame.
    packet: Option<(usize, usize)>,
    /// Somebody has it.
    given: bool,
}

impl Coming<'_> {
    /// The next packet, at the front of the buffer: its bytes.
    fn find<S: Read + ReadReady>(&mut self, stream: &mut S, counts: &mut Counts) -> Option<usize> {
        if core::mem::take(&mut self.given)
            && let Some((_, len)) = self.packet.take()
        {
            self.take(len);
        }
        let mut left = SEARCH_MAX;
        loop {
            if let Some((len, _)) = self.packet {
                return Some(len);
            }
            let unseen = self.bytes.get(self.seen..self.have).unwrap_or_default();
            if let Some(zero) = unseen.iter().position(|byte| *byte == 0) {
                let end = self.seen + zero;
                match self.decode(end, counts) {
                    Some(len) => self.packet = Some((len, end + 1)),
                    None => self.take(end + 1),
                }
                continue;
            }
            self.seen = self.have;
            if self.have == COME {
                if !core::mem::replace(&mut self.skipping, true) {
                    count(&mut counts.long);
                }
                self.take(COME);
            }
            if left == 0 || !matches!(stream.read_ready(), Ok(true)) {
                return None;
            }
            let room = self.bytes.get_mut(self.have..).unwrap_or_default();
            match stream.read(room) {
                Ok(0) => return None,
                Ok(more) => {
                    self.have += more.min(room.len());
                    left = left.saturating_sub(more);
                }
                Err(_) => {
                    // Nobody knows which bytes are missing.
                    count(&mut counts.errors);
                    self.take(self.have);
                    self.skipping = true;
                    left -= 1;
                }
            }
        }
    }

    /// Forgets the first bytes.
    fn take(&mut self, len: usize) {
        self.bytes.copy_within(len..self.have, 0);
        self.have -= len;
        self.seen = 0;
    }

    /// What is before a zero: a packet of so many bytes at the front, or nothing.
    fn decode(&mut self, end: usize, counts: &mut Counts) -> Option<usize> {
        if core::mem::take(&mut self.skipping) || end == 0 {
            return None;
        }
        let frame = self.bytes.get_mut(..end)?;
        let decoded = cobs::decode_in_place(frame).ok().and_then(|len| frame.get(..len));
        let found = decoded.and_then(<[u8]>::split_last_chunk::<SUM>);
        // Four zeros are the right checksum of nothing.
        let Some((packet, sum)) = found.filter(|(packet, _)| !packet.is_empty()) else {
            count(&mut counts.broken);
            return None;
        };
        if packet.len() > PACKET_MAX {
            count(&mut counts.long);
            None
        } else if Crc::of(packet) != u32::from_le_bytes(*sum) {
            count(&mut counts.damaged);
            None
        } else {
            Some(packet.len())
        }
    }
}

/// What goes.
#[derive(Debug)]
struct Going<'m> {
    /// A packet and its checksum, before they are encoded.
    packet: &'m mut [u8; PACKET_MAX + SUM],
    /// Frames; those bytes of them that wait.
    bytes: &'m mut [u8; GOING],
    from: usize,
    to: usize,
    /// When the line has taken something, or was to take it for the first time.
    moved: Option<Moment>,
}

impl Going<'_> {
    fn is_empty(&self) -> bool {
        self.from == self.to
    }

    fn has_room(&self) -> bool {
        GOING - (self.to - self.from) >= FRAME_MAX
    }

    /// Frames a packet that is in its place; there is room.
    fn put(&mut self, len: usize) {
        let Self { packet, bytes, from, to, .. } = self;
        let sum = Crc::of(&packet[..len]);
        packet[len..len + SUM].copy_from_slice(&sum.to_le_bytes());
        bytes.copy_within(*from..*to, 0);
        (*from, *to) = (0, *to - *from);
        let Some((first, rest)) = bytes[*to..].split_first_mut() else { return };
        let Ok(len) = cobs::try_encode(&packet[..len + SUM], rest) else { return };
        let Some(last) = rest.get_mut(len) else { return };
        (*first, *last) = (0, 0);
        *to += len + 2;
    }

    /// Hands to the line what it takes.
    fn push<S: Write + WriteReady>(&mut self, stream: &mut S, now: Moment, counts: &mut Counts) {
        while !self.is_empty() && matches!(stream.write_ready(), Ok(true)) {
            match stream.write(&self.bytes[self.from..self.to]) {
                Ok(0) => break,
                Ok(taken) => {
                    self.from = self.to.min(self.from + taken);
                    self.moved = Some(now);
                }
                Err(_) => {
                    count(&mut counts.errors);
                    break;
                }
            }
        }
        let since = *self.moved.get_or_insert(now);
        if self.is_empty() {
            self.moved = None;
        } else if now.total_millis() - since.total_millis() >= STUCK_MS {
            count(&mut counts.stuck);
            (self.from, self.to, self.moved) = (0, 0, None);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
