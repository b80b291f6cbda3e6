//! Messages of the election port.
//!
//! Whoever opened the connection sends one [`Hello`], without a frame. Then both sides send
//! [`Notification`]s, each in a frame of an `i32` length and that many bytes.
//!
//! What cannot be a hello or a frame ends the connection. What is a frame and no notification is
//! skipped: the connection goes on. Answers to `QuorumCnxManager` and `FastLeaderElection`.

use core::fmt;

use serde::Serialize;

use super::frame::{self, Frame};
use super::jute::{self, Buffer, Error, Reader, Sink, Trailing};
use crate::id::{ServerId, Zxid};
use crate::quorum::host_and_port;

/// The longest text of addresses in a hello, bytes. Answers to `QuorumCnxManager.maxBuffer`.
pub const HELLO_ADDRESSES_MAX: usize = 2048;

/// The longest payload of a frame, bytes. Answers to `QuorumCnxManager.PACKETMAXSIZE`.
pub const FRAME_MAX: usize = 512 * 1024;

/// What an initiator says about itself (20 bytes and the addresses).
///
/// | at | field |
/// |---|---|
/// | 0 | `i64` protocol: -65536 with one address, -65535 with several |
/// | 8 | `i64` server id |
/// | 16 | `i32` length of the addresses, 1 to 2048 |
/// | 20 | `host:port`, several with a bar between them |
///
/// A server older than 3.5 sends its id, which is not negative, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Who the initiator says it is. `i64::MAX` is an observer without an id.
    pub sid: ServerId,
    /// Where it says that elections are held with it. A claim: nobody needs to believe it.
    pub addresses: &'a str,
}

#[derive(Serialize)]
struct HelloRecord<'a> {
    protocol: i64,
    sid: ServerId,
    addresses: Buffer<'a>,
}

/// Why bytes are no hello. The connection has no meaning then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHello {
    /// A protocol that nobody speaks.
    Protocol(i64),
    /// The addresses are empty, or longer than [`HELLO_ADDRESSES_MAX`].
    Length(i32),
    /// Not a `host:port`, or several with bars between them.
    Address,
}

impl fmt::Display for BadHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(version) => write!(f, "unknown election protocol {version}"),
            Self::Length(len) => {
                write!(f, "addresses of {len} bytes, not of 1 to {HELLO_ADDRESSES_MAX}")
            }
            Self::Address => f.write_str("its address is not host:port"),
        }
    }
}

impl core::error::Error for BadHello {}

/// What the start of a connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First<'a> {
    /// The hello, and how many bytes it has.
    Hello(Hello<'a>, usize),
    /// Not yet: so many bytes are needed in all.
    Need(usize),
}

impl<'a> Hello<'a> {
    /// Protocol with exactly one address (3.5.0).
    pub const ONE_ADDRESS: i64 = -65536;
    /// Protocol with a list of addresses (3.6.0). Servers before that do not understand it.
    pub const ADDRESSES: i64 = -65535;
    /// Bytes before the addresses.
    const HEAD: usize = 20;

    /// Looks at the start of a connection.
    ///
    /// # Errors
    /// Why this will not become a hello, as soon as it is clear.
    pub fn first(bytes: &'a [u8]) -> Result<First<'a>, BadHello> {
        let mut reader = Reader::new(bytes);
        let Ok(protocol) = reader.i64() else { return Ok(First::Need(8)) };
        if protocol >= 0 {
            return Ok(First::Hello(Self { sid: ServerId(protocol), addresses: "" }, 8));
        }
        if protocol != Self::ONE_ADDRESS && protocol != Self::ADDRESSES {
            return Err(BadHello::Protocol(protocol));
        }
        let (Ok(sid), Ok(len)) = (reader.i64(), reader.i32()) else {
            return Ok(First::Need(Self::HEAD));
        };
        let whole = usize::try_from(len).ok().filter(|len| (1..=HELLO_ADDRESSES_MAX).contains(len));
        let whole = whole.ok_or(BadHello::Length(len))?;
        let Ok(addresses) = reader.take(whole) else { return Ok(First::Need(Self::HEAD + whole)) };
        let addresses = core::str::from_utf8(addresses).map_err(|_| BadHello::Address)?;
        // As Java splits: bars at the end separate nothing.
        let mut each = addresses.trim_end_matches('|').split('|');
        if addresses != "|" && each.any(|address| host_and_port(address).is_err()) {
            return Err(BadHello::Address);
        }
        Ok(First::Hello(Self { sid: ServerId(sid), addresses }, Self::HEAD + whole))
    }

    /// Encodes the hello into `out`, and returns its length. Several addresses take the protocol
    /// that has room for them.
    ///
    /// # Errors
    /// [`Error::Full`] when `out` is too small, [`Error::Length`] for addresses that no receiver
    /// accepts.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        if !(1..=HELLO_ADDRESSES_MAX).contains(&self.addresses.len()) {
            return Err(Error::Length);
        }
        let several = self.addresses.contains('|');
        let protocol = if several { Self::ADDRESSES } else { Self::ONE_ADDRESS };
        let addresses = self.addresses.into();
        jute::encode(&HelloRecord { protocol, sid: self.sid, addresses }, out)
    }
}

/// What a peer is doing. Answers to `QuorumPeer.ServerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ServerState {
    /// Looking for a leader.
    Looking = 0,
    /// Following one.
    Following = 1,
    /// Leading.
    Leading = 2,
    /// Following one without a vote.
    Observing = 3,
}

impl ServerState {
    /// The state that `number` stands for on the wire.
    #[must_use]
    pub const fn from_wire(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Looking),
            1 => Some(Self::Following),
            2 => Some(Self::Leading),
            3 => Some(Self::Observing),
            _ => None,
        }
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Looking => "LOOKING",
            Self::Following => "FOLLOWING",
            Self::Leading => "LEADING",
            Self::Observing => "OBSERVING",
        })
    }
}

/// A peer's vote and state.
///
/// | at | field |
/// |---|---|
/// | 0 | `i32` state |
/// | 4 | `i64` proposed leader |
/// | 12 | `i64` its zxid |
/// | 20 | `i64` round |
/// | 28 | `i64` its epoch |
/// | 36 | `i32` version of this form |
/// | 40 | `i32` length of the configuration (version 2 and up) |
/// | 44 | text of the sender's committed configuration |
///
/// Older forms end behind the round (28 bytes: the epoch is that of the zxid), or four bytes
/// behind the epoch (40 bytes: whatever they say, that is version 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// What the sender is doing.
    pub state: ServerState,
    /// The proposed leader.
    pub leader: ServerId,
    /// The last zxid of the proposed leader.
    pub zxid: Zxid,
    /// The round of the election ("electionEpoch", "logical clock").
    pub round: i64,
    /// The current epoch of the proposed leader.
    pub peer_epoch: i64,
    /// Version of the form.
    pub version: i32,
    /// The sender's configuration; empty if it did not send any or none that could be held.
    pub config: &'a [u8],
}

#[derive(Serialize)]
struct NotificationRecord<'a> {
    state: i32,
    leader: ServerId,
    zxid: Zxid,
    round: i64,
    peer_epoch: i64,
    version: i32,
    config: Trailing<Buffer<'a>>,
}

/// Why a frame is no notification. It is skipped, and the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends inside a field, or has fewer than 28 bytes.
    Truncated(usize),
    /// The configuration would be longer than the frame, or its length is negative.
    Config(i32),
    /// A state that nobody can be in.
    State(i32),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(len) => write!(f, "a notification ends after {len} bytes"),
            Self::Config(len) => write!(f, "a notification's configuration has {len} bytes"),
            Self::State(state) => write!(f, "a notification's state is {state}"),
        }
    }
}

impl core::error::Error for Malformed {}

impl<'a> Notification<'a> {
    /// The version of what is sent today.
    pub const VERSION: i32 = 2;
    /// Bytes of its payload before the configuration.
    pub const HEAD: usize = 44;

    /// Bytes of the frame with this notification.
    pub fn frame_len(&self) -> usize {
        if self.version < Self::VERSION {
            frame::LEN + 40
        } else {
            frame::LEN + Self::HEAD + self.config.len()
        }
    }

    /// Encodes a frame with this notification into `out`, and returns its length.
    ///
    /// A version below 2 gets the form of 40 bytes, without the configuration.
    ///
    /// # Errors
    /// [`Error::Full`] when `out` is too small, [`Error::Length`] when no receiver would accept
    /// the frame.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut slice = jute::Slice::new(out);
        self.write(&mut slice)?;
        Ok(slice.len())
    }

    /// Appends a frame with this notification to `sink`, as [`encode`](Self::encode) does.
    ///
    /// # Errors
    /// What the sink answers; [`Error::Length`] when no receiver would accept the frame.
    pub fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Error> {
        let len = self.frame_len() - frame::LEN;
        if len > FRAME_MAX {
            return Err(Error::Length);
        }
        let has_config = self.version >= Self::VERSION;
        let record = NotificationRecord {
            state: self.state as i32,
            leader: self.leader,
            zxid: self.zxid,
            round: self.round,
            peer_epoch: self.peer_epoch,
            version: self.version,
            config: Trailing(has_config.then(|| self.config.into())),
        };
        jute::write(&(len as i32, record), sink)
    }

    /// Reads the notification in the payload of a frame of `len` bytes, of which `start` holds at
    /// least the first [`HEAD`](Self::HEAD) (or all, if it has fewer). A configuration that is not
    /// wholly in `start` counts as not sent.
    ///
    /// # Errors
    /// Why the frame is to be skipped.
    pub fn decode(start: &'a [u8], len: usize) -> Result<Self, Malformed> {
        let truncated = |_| Malformed::Truncated(len);
        let mut reader = Reader::new(start);
        let state = reader.i32().map_err(truncated)?;
        let leader = ServerId(reader.i64().map_err(truncated)?);
        let zxid = Zxid(reader.i64().map_err(truncated)?);
        let round = reader.i64().map_err(truncated)?;
        let peer_epoch = if len == 28 { zxid.0 >> 32 } else { reader.i64().map_err(truncated)? };
        let version = match len {
            28 | 40 => 0,
            _ => reader.i32().map_err(truncated)?,
        };
        let mut config: &[u8] = &[];
        if version >= Self::VERSION {
            let config_len = reader.i32().map_err(truncated)?;
            let held = usize::try_from(config_len).ok().filter(|&config_len| config_len <= len);
            let held = held.ok_or(Malformed::Config(config_len))?;
            if Self::HEAD + held > len {
                return Err(Malformed::Truncated(len));
            }
            config = reader.take(held).unwrap_or_default();
        }
        let state = ServerState::from_wire(state).ok_or(Malformed::State(state))?;
        Ok(Self { state, leader, zxid, round, peer_epoch, version, config })
    }
}

/// What the start of a stream of frames shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// Not yet: so many bytes are needed in all, counted from the start of the frame.
    Need(usize),
    /// A frame.
    Frame {
        /// Its payload, or as much of it as there is room for.
        start: &'a [u8],
        /// Bytes of the whole payload.
        len: usize,
        /// Bytes of the stream that are done with.
        taken: usize,
        /// Bytes of the frame that follow those, and that nobody wants.
        skip: usize,
    },
}

/// Looks at the first frame of `bytes`. Of one with more than `room` bytes only the first `room`
/// are waited for (at least [`Notification::HEAD`]): the vote is in there, and the rest of a
/// configuration that is too long to be held is of no use.
///
/// # Errors
/// [`Error::Length`] when its length is not from 1 to [`FRAME_MAX`]: the connection has no meaning
/// any more.
#[inline(never)] // once for all its callers
pub fn first(bytes: &[u8], room: usize) -> Result<Received<'_>, Error> {
    let len = match frame::first(bytes, FRAME_MAX)? {
        Frame::Need(frame::LEN) => return Ok(Received::Need(frame::LEN)),
        Frame::Need(whole) => whole - frame::LEN,
        Frame::Whole(payload) => payload.len(),
    };
    if len == 0 {
        return Err(Error::Length);
    }
    let wanted = len.min(room.max(Notification::HEAD));
    let taken = frame::LEN + wanted;
    Ok(match bytes.get(frame::LEN..taken) {
        Some(start) => Received::Frame { start, len, taken, skip: len - wanted },
        None => Received::Need(taken),
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;
    use std::{format, vec};

    use proptest::prelude::*;

    use super::*;

    /// What an Apache 3.8.0 server with the id 2 sends first.
    const HELLO: &[u8] = b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x02\0\0\0\x0f127.0.0.1:22122";

    const CONFIG: &[u8] = b"server.1=127.0.0.1:22111:22121:participant\n\
        server.2=127.0.0.1:22112:22122:participant\nserver.3=127.0.0.1:22113:22123:participant\n\
        server.4=127.0.0.1:22114:22124:observer\nversion=0";

    /// The first vote of that server, in its frame.
    fn golden() -> Vec<u8> {
        let head: &[&[u8]] = &[
            &[0, 0, 0, 0xde],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 2],
            &[0, 0, 0, 0xb2],
        ];
        [&head.concat(), CONFIG].concat()
    }

    fn vote() -> Notification<'static> {
        Notification {
            state: ServerState::Looking,
            leader: ServerId(2),
            zxid: Zxid(0),
            round: 1,
            peer_epoch: 0,
            version: 2,
            config: CONFIG,
        }
    }

    fn decode(payload: &[u8]) -> Result<Notification<'_>, Malformed> {
        Notification::decode(payload, payload.len())
    }

    #[test]
    fn a_hello_has_apaches_bytes() {
        let hello = Hello { sid: ServerId(2), addresses: "127.0.0.1:22122" };
        let mut out = [0; 64];
        assert_eq!(hello.encode(&mut out), Ok(HELLO.len()));
        assert_eq!(&out[..HELLO.len()], HELLO);
        let more = [HELLO, b"rest"].concat();
        assert_eq!(Hello::first(&more), Ok(First::Hello(hello, HELLO.len())));
        for cut in 0..HELLO.len() {
            let need = [8, 20, HELLO.len()].into_iter().find(|&need| need > cut).unwrap();
            assert_eq!(Hello::first(&HELLO[..cut]), Ok(First::Need(need)), "cut at {cut}");
            assert_eq!(hello.encode(&mut out[..cut]), Err(Error::Full));
        }
        // Several addresses make the other protocol.
        let several = Hello { sid: ServerId(-9), addresses: "[::1]:1|h:2" };
        let len = several.encode(&mut out).unwrap();
        assert_eq!(out[..8], Hello::ADDRESSES.to_be_bytes());
        assert_eq!(Hello::first(&out), Ok(First::Hello(several, len)));
        // Before 3.5 there was only the id.
        let old = Hello { sid: ServerId(2), addresses: "" };
        assert_eq!(Hello::first(&[0, 0, 0, 0, 0, 0, 0, 2, 9]), Ok(First::Hello(old, 8)));
        assert_eq!(old.encode(&mut out), Err(Error::Length));
        let long = "x".repeat(HELLO_ADDRESSES_MAX + 1);
        assert_eq!(Hello { addresses: &long, ..old }.encode(&mut [0; 4096]), Err(Error::Length));
    }

    #[test]
    fn what_is_no_hello_ends_the_connection() {
        let hello = |protocol: i64, len: i32, addresses: &[u8]| {
            let mut bytes = vec![];
            bytes.extend(protocol.to_be_bytes());
            bytes.extend(7i64.to_be_bytes());
            bytes.extend(len.to_be_bytes());
            bytes.extend(addresses);
            bytes
        };
        for protocol in [-1, -65537, -65534, i64::MIN] {
            let error = Err(BadHello::Protocol(protocol));
            assert_eq!(Hello::first(&protocol.to_be_bytes()), error);
        }
        for len in [0, -1, 2049, i32::MAX, i32::MIN] {
            // Nothing of the addresses is waited for.
            assert_eq!(Hello::first(&hello(-65536, len, b"")), Err(BadHello::Length(len)));
        }
        for bad in ["h", "h:", "h:x", "h:70000", "h:1:2", "[::1", "[::1]", "h:1||h:2", "h:1|h", " "]
        {
            let bytes = hello(-65535, bad.len() as i32, bad.as_bytes());
            assert_eq!(Hello::first(&bytes), Err(BadHello::Address), "{bad}");
        }
        assert_eq!(Hello::first(&hello(-65536, 3, b"\xff:1")), Err(BadHello::Address));
        for good in ["h:1", "h:1|", "|", "0.0.0.0:1", "[::]:1|h:2"] {
            let bytes = hello(-65535, good.len() as i32, good.as_bytes());
            assert!(matches!(Hello::first(&bytes), Ok(First::Hello(..))), "{good}");
        }
        // As many as there can be.
        let many = "h:1|".repeat(HELLO_ADDRESSES_MAX / 4);
        assert!(matches!(
            Hello::first(&hello(-65535, 2048, many.as_bytes())),
            Ok(First::Hello(..))
        ));
    }

    #[test]
    fn a_notification_has_apaches_bytes() {
        let golden = golden();
        let mut out = [0; 256];
        assert_eq!(vote().encode(&mut out), Ok(golden.len()));
        assert_eq!(out[..golden.len()], golden);
        assert_eq!(decode(&golden[4..]), Ok(vote()));
        // An observer proposes nobody.
        let nobody = Notification {
            leader: ServerId(i64::MIN),
            zxid: Zxid(i64::MIN),
            peer_epoch: i64::MIN,
            ..vote()
        };
        nobody.encode(&mut out).unwrap();
        assert_eq!(out[8..16], [0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode(&out[4..golden.len()]), Ok(nobody));
        for room in 0..golden.len() {
            assert_eq!(vote().encode(&mut out[..room]), Err(Error::Full));
        }
        let huge = vec![b'#'; FRAME_MAX];
        let mut out = vec![0; 2 * FRAME_MAX];
        let max = Notification { config: &huge[44..], ..vote() };
        assert_eq!(max.encode(&mut out), Ok(4 + FRAME_MAX));
        assert_eq!(
            Notification { config: &huge[43..], ..vote() }.encode(&mut out),
            Err(Error::Length)
        );
    }

    #[test]
    fn older_forms_are_read() {
        let golden = &golden()[4..];
        let mut short = golden[..28].to_vec();
        short[15] = 7; // zxid 0x7_0000_0000
        let read = decode(&short).unwrap();
        assert_eq!((read.peer_epoch, read.version, read.config), (7, 0, &b""[..]));
        let mut forty = golden[..40].to_vec();
        forty[35] = 5;
        let read = decode(&forty).unwrap();
        assert_eq!((read.peer_epoch, read.version), (5, 0));
        let old = Notification { version: 0, config: b"", peer_epoch: 5, ..vote() };
        let mut out = [0; 44];
        assert_eq!((old.encode(&mut out), old.frame_len()), (Ok(44), 44));
        assert_eq!(decode(&out[4..]), Ok(old));
        // Version 1, longer than 40 bytes: no configuration.
        let mut one = golden[..48].to_vec();
        one[39] = 1;
        assert_eq!(decode(&one), Ok(Notification { version: 1, config: b"", ..vote() }));
        // A version that does not exist yet, and what follows the configuration.
        let mut later = [golden, b"more"].concat();
        later[39] = 9;
        assert_eq!(decode(&later), Ok(Notification { version: 9, ..vote() }));
        // No configuration.
        let none = [&golden[..40], &[0; 4]].concat();
        assert_eq!(decode(&none), Ok(Notification { config: b"", ..vote() }));
    }

    #[test]
    fn what_is_no_notification_is_skipped() {
        let golden = &golden()[4..];
        for cut in 0..golden.len() {
            let read = decode(&golden[..cut]);
            match cut {
                28 | 40 => assert!(read.is_ok()),
                // The length of the configuration exceeds the frame's.
                44..178 => assert_eq!(read, Err(Malformed::Config(178)), "cut at {cut}"),
                _ => assert_eq!(read, Err(Malformed::Truncated(cut)), "cut at {cut}"),
            }
        }
        for len in [-1i32, -123, 10_000, i32::MAX, i32::MIN] {
            let bad = [&golden[..40], &len.to_be_bytes(), CONFIG].concat();
            assert_eq!(decode(&bad), Err(Malformed::Config(len)));
        }
        for state in [-1i32, 4, i32::MAX, i32::MIN] {
            let bad = [&state.to_be_bytes(), &golden[4..]].concat();
            assert_eq!(decode(&bad), Err(Malformed::State(state)));
        }
    }

    #[test]
    fn frames_are_cut_or_end_the_connection() {
        for len in [0, -1, 524_289, i32::MAX, i32::MIN, 1 << 30] {
            assert_eq!(first(&i32::to_be_bytes(len), 1 << 20), Err(Error::Length), "{len}");
        }
        let golden = golden();
        for cut in 0..golden.len() {
            let need = if cut < 4 { 4 } else { golden.len() };
            assert_eq!(first(&golden[..cut], FRAME_MAX), Ok(Received::Need(need)));
        }
        let two = [&golden[..], &golden].concat();
        let whole = Received::Frame { start: &golden[4..], len: 222, taken: 226, skip: 0 };
        assert_eq!(first(&two, FRAME_MAX), Ok(whole));
        // With room for less, the vote is read as soon as it is there.
        for (room, taken) in [(0, 48), (44, 48), (100, 104), (221, 225)] {
            assert_eq!(first(&two[..taken - 1], room), Ok(Received::Need(taken)));
            let Ok(Received::Frame { start, len, taken: done, skip }) = first(&two[..taken], room)
            else {
                panic!("no frame with room for {room}");
            };
            assert_eq!((len, done, done + skip), (222, taken, golden.len()));
            let read = Notification::decode(start, len);
            assert_eq!(read, Ok(Notification { config: b"", ..vote() }));
        }
        let Ok(Received::Frame { start, len, .. }) = first(&golden, 222) else { panic!() };
        assert_eq!(Notification::decode(start, len), Ok(vote()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            state in 0..5i32,
            version in -1..4i32,
            config in -2..300i32,
            room in 0..300usize,
        ) {
            let mut shaped = bytes.clone();
            for (at, value) in [(0, state), (36, version), (40, config)] {
                if let Some(place) = shaped.get_mut(at..at + 4) {
                    place.copy_from_slice(&value.to_be_bytes());
                }
            }
            for payload in [&bytes, &shaped] {
                let _ = Hello::first(payload);
                if let Ok(Received::Frame { start, len, taken, skip }) = first(payload, room) {
                    prop_assert!(taken <= payload.len() && len + 4 == taken + skip);
                    let _ = Notification::decode(start, len);
                }
                // With a part of the payload the same is read, but for the configuration.
                let whole = decode(payload);
                if payload.len() >= 44 {
                    let start = payload.get(..room.max(44)).unwrap_or(payload);
                    let part = Notification::decode(start, payload.len());
                    match (whole, part) {
                        (Ok(whole), Ok(part)) => {
                            prop_assert!(part.config.is_empty() || part == whole);
                            prop_assert_eq!(Notification { config: b"", ..whole }, Notification { config: b"", ..part });
                        }
                        (whole, part) => prop_assert_eq!(whole, part),
                    }
                }
                if let Ok(read) = whole {
                    prop_assert!(payload.len() >= 28);
                    if read.version >= 2 {
                        let mut out = [0; 400];
                        let len = read.encode(&mut out).unwrap();
                        prop_assert_eq!(len, read.frame_len());
                        prop_assert_eq!(decode(&out[4..len]), Ok(read));
                        prop_assert_eq!(&out[4..len], &payload[..len - 4]);
                    }
                }
            }
        }
    }

    #[test]
    fn states_have_their_numbers_and_names() {
        for (number, name) in ["LOOKING", "FOLLOWING", "LEADING", "OBSERVING"].iter().enumerate() {
            let state = ServerState::from_wire(number as i32).unwrap();
            assert_eq!((state as usize, &*format!("{state}")), (number, *name));
        }
    }
}
