//! What stands where in a block, and the bytes of it: stamps, openings, frames.
//!
//! Nothing here keeps state, nor knows what a history is.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zk_core::crc::Crc;
use zk_core::id::{Epoch, Zxid};
use zk_core::peer::Epochs;
use zk_core::wire::file::SnapshotDigest;

use super::nor::Nor;

/// The format that this code writes, and the latest that it reads.
pub const VERSION: u16 = 1;

/// The largest write size of a device.
pub const WRITE_SIZE_MAX: usize = 64;

/// Bytes of a text that says why a board was reset.
pub const REASON_MAX: usize = 48;

/// Every block that was erased begins with these, whatever the format is.
const MAGIC: [u8; 4] = *b"zkfl";

pub(super) const STAMP_LEN: usize = 16;
pub(super) const OPENING_LEN: usize = 24;

/// Bytes that the head of a log takes, with what pads it.
pub(super) const HEAD_LEN: u32 = 192;

/// Bytes before a frame's kind: its checksum and its length.
pub(super) const PREFIX: usize = 6;

/// The longest kind, without payload.
const KIND_MAX: usize = 112;

/// Bytes that a transaction's frame has at most besides the transaction, without what pads it.
pub(super) const TXN_OVERHEAD: usize = PREFIX + 1 + 10 + 1;

/// Bytes that a snapshot piece's frame has besides the piece.
pub(super) const PIECE_OVERHEAD: usize = PREFIX + 1;

/// The longest frame.
const FRAME_MAX: usize = PREFIX + 0xfffe;

/// Sizes of a device, and where things are in its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) write: u32,
    pub(super) page: u32,
    pub(super) block: u32,
    /// Bytes from the start of the device.
    pub(super) base: u32,
}

impl Layout {
    /// `None` when the store cannot be kept on such a device.
    pub(super) fn of(nor: &impl Nor, first_block: u32, blocks: usize) -> Option<Self> {
        let size = |size: usize| u32::try_from(size).ok();
        let layout = Self {
            write: size(nor.write_size())?,
            page: size(nor.page_size())?,
            block: size(nor.erase_size())?,
            base: first_block.checked_mul(size(nor.erase_size())?)?,
        };
        let Self { write, page, block, base } = layout;
        let fits = write.is_power_of_two()
            && write as usize <= WRITE_SIZE_MAX
            && page.is_power_of_two()
            && page >= write
            && block >= 1024
            && block.is_multiple_of(page);
        let len = size(blocks)?.checked_mul(block)?;
        let end = base.checked_add(len)?;
        (fits && end as usize <= nor.capacity()).then_some(layout)
    }

    pub(super) fn align(self, len: usize) -> u32 {
        (len as u32).next_multiple_of(self.write)
    }

    /// Where a byte of a block is on the device.
    pub(super) fn at(self, block: usize, offset: u32) -> u32 {
        self.base + block as u32 * self.block + offset
    }

    pub(super) fn opening_at(self) -> u32 {
        self.align(STAMP_LEN)
    }

    pub(super) fn retired_at(self) -> u32 {
        self.opening_at() + self.align(OPENING_LEN)
    }

    /// Behind what every block has.
    pub(super) fn start(self) -> u32 {
        self.retired_at() + self.align(4)
    }

    /// Where transactions begin.
    pub(super) fn content(self) -> u32 {
        self.start() + HEAD_LEN
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

/// Whether nothing was programmed there.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0xff)
}

/// What a block says since it was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) version: u16,
    /// How often the block was erased.
    pub(super) erases: u32,
}

impl Stamp {
    pub(super) fn encode(self) -> [u8; STAMP_LEN] {
        let mut bytes = [0; STAMP_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&self.version.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.erases.to_le_bytes());
        let sum = Crc::of(&bytes[..12]);
        bytes[12..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let whole = bytes.starts_with(&MAGIC) && u32_at(bytes, 12)? == Crc::of(bytes.get(..12)?);
        let version = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        whole.then_some(Self { version, erases: u32_at(bytes, 8)? })
    }
}

/// What a block was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A part of the log. What was copied from another block ends there.
    Log { seq: u32, copied: u32 },
    /// Part `index` of the snapshot whose first block has the sequence number `id`.
    Snapshot { seq: u32, id: u32, index: u32 },
}

impl Opening {
    pub(super) fn encode(self) -> [u8; OPENING_LEN] {
        let (kind, seq, a, b) = match self {
            Self::Log { seq, copied } => (1, seq, copied, 0),
            Self::Snapshot { seq, id, index } => (2, seq, id, index),
        };
        let mut bytes = [0; OPENING_LEN];
        for (at, number) in [kind, seq, a, b].into_iter().enumerate() {
            bytes[4 * at..4 * at + 4].copy_from_slice(&u32::to_le_bytes(number));
        }
        let sum = Crc::of(&bytes[..16]);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if u32_at(bytes, 16)? != Crc::of(bytes.get(..16)?) {
            return None;
        }
        let (seq, a, b) = (u32_at(bytes, 4)?, u32_at(bytes, 8)?, u32_at(bytes, 12)?);
        match u32_at(bytes, 0)? {
            1 => Some(Self::Log { seq, copied: a }),
            2 => Some(Self::Snapshot { seq, id: a, index: b }),
            _ => None,
        }
    }
}

/// Both epochs, as records have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Promised {
    accepted: Epoch,
    current: Epoch,
}

impl From<Epochs> for Promised {
    fn from(epochs: Epochs) -> Self {
        Self { accepted: epochs.accepted, current: epochs.current }
    }
}

impl From<Promised> for Epochs {
    fn from(promised: Promised) -> Self {
        Self { accepted: promised.accepted, current: promised.current }
    }
}

/// A whole snapshot in blocks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The sequence number of its first block; later ones are greater.
    pub(super) id: u32,
    /// How many blocks there are.
    pub(super) blocks: u32,
    /// The last transaction that it contains whole.
    pub zxid: Zxid,
    /// Bytes of its body.
    pub len: u32,
    /// The CRC-32 of its body.
    pub(super) sum: u32,
    /// The tree's digest, if a peer of ours wrote it.
    pub digest: Option<SnapshotDigest>,
}

/// The first record of every block of the log: all that must be known besides the transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) seq: u32,
    /// The block before this one, 0 for none, and where the history ends in it.
    pub(super) before: u32,
    pub(super) before_end: u32,
    /// The oldest block of the log that is still needed.
    pub(super) first: u32,
    /// What was copied from another block ends there. Records up to there that are not transactions
    /// are older than this one.
    pub(super) copied: u32,
    /// The longest batch that one power cut can tear.
    pub(super) window: u32,
    /// How often the store was started.
    pub(super) boots: u32,
    pub(super) epochs: Promised,
    pub(super) snapshot: Option<Snapshot>,
    /// The history is not to be trusted before a snapshot has taken its place.
    pub(super) lost: bool,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// The head of a block; the payload is the reason of the last reset, if there was one.
    Head(Head),
    /// The payload is a transaction; whether it is the first of a batch, so that all before it were
    /// acknowledged.
    Txn(Zxid, bool),
    Epochs(Promised),
    /// A snapshot is whole; the oldest block of the log that is still needed.
    Snapshot(Snapshot, u32),
    /// All records before this one were acknowledged.
    Settled,
    /// The payload says why the board was reset.
    Reset,
    /// The payload is a piece of a snapshot's body.
    Piece,
}

/// Writes a frame to the start of `to`; its length, a multiple of the write size. The payload may be
/// there already, where it belongs: then it is `None`, and its length is given. `None` when it does
/// not fit.
pub(super) fn encode(
    layout: Layout,
    kind: &Kind,
    payload: Payload<'_>,
    to: &mut [u8],
) -> Option<usize> {
    let kind_len = postcard::to_slice(kind, to.get_mut(PREFIX..)?).ok()?.len();
    let at = PREFIX + kind_len;
    let len = match payload {
        Payload::Copy(bytes) => {
            to.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
            bytes.len()
        }
        Payload::There(len) => len,
    };
    let end = at + len;
    let padded = layout.align(end) as usize;
    if end > FRAME_MAX {
        return None;
    }
    to.get_mut(end..padded)?.fill(0xff);
    to[4..PREFIX].copy_from_slice(&u16::try_from(end - PREFIX).ok()?.to_le_bytes());
    let sum = Crc::of(&to[4..end]);
    to[..4].copy_from_slice(&sum.to_le_bytes());
    Some(padded)
}

/// The first record in memory: its kind, its payload, and its bytes with what pads it.
#[cfg(any(test, feature = "simulated"))]
pub(super) fn first(layout: Layout, bytes: &[u8]) -> Option<(Kind, &[u8], usize)> {
    let len = PREFIX + usize::from(u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?));
    let record = bytes.get(PREFIX..len)?;
    let (kind, used) = take(record)?;
    Some((kind, &record[used..], layout.align(len) as usize))
}

/// The bytes behind a record's kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'a> {
    Copy(&'a [u8]),
    There(usize),
}

/// What is at some place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Nothing was written there.
    Blank,
    /// No record.
    Broken,
    Record(Record),
}

/// A record that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    /// Where its payload begins in the block.
    pub(super) payload: u32,
    pub(super) len: u32,
    /// Behind it.
    pub(super) end: u32,
}

/// Bytes of a frame that are looked at together.
const LOOK: usize = 128;

/// Looks at what is at `offset` of a block, of which nothing behind `limit` counts.
pub(super) fn look<N: Nor>(
    nor: &mut N,
    layout: Layout,
    block: usize,
    offset: u32,
    limit: u32,
) -> Result<Frame, N::Error> {
    let limit = limit.min(layout.block);
    let Some(room) = limit.checked_sub(offset).filter(|room| *room as usize >= PREFIX) else {
        return Ok(if offset == limit { Frame::Blank } else { Frame::Broken });
    };
    let mut head = [0; LOOK];
    let seen = (room as usize).min(LOOK);
    let at = layout.at(block, offset);
    nor.read(at, &mut head[..seen])?;
    if is_blank(&head[..PREFIX]) {
        return Ok(Frame::Blank);
    }
    let body = usize::from(u16::from_le_bytes([head[4], head[5]]));
    let len = PREFIX + body;
    if layout.align(len) > room {
        return Ok(Frame::Broken);
    }
    let mut found = Crc::START.update(&head[4..len.min(seen)]);
    let mut from = seen;
    let mut more = [0; LOOK];
    while from < len {
        let now = (len - from).min(LOOK);
        nor.read(at + from as u32, &mut more[..now])?;
        found = found.update(&more[..now]);
        from += now;
    }
    let sum = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    if found.value() != sum {
        return Ok(Frame::Broken);
    }
    let Some((kind, used)) = take::<Kind>(&head[PREFIX..len.min(seen)]) else {
        return Ok(Frame::Broken);
    };
    let payload = PREFIX + used;
    Ok(Frame::Record(Record {
        kind,
        payload: offset + payload as u32,
        len: (len - payload) as u32,
        end: offset + layout.align(len),
    }))
}

fn take<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, usize)> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    Some((value, bytes.len() - rest.len()))
}

/// Whether nothing was written to `from..to` of a block. Otherwise where the last byte is that was,
/// and how many bits are 0.
pub(super) fn written<N: Nor>(
    nor: &mut N,
    layout: Layout,
    block: usize,
    from: u32,
    to: u32,
) -> Result<Option<(u32, u32)>, N::Error> {
    let mut found = None;
    let mut bits = 0;
    let mut at = from;
    let mut bytes = [0; LOOK];
    while at < to {
        let now = ((to - at) as usize).min(LOOK);
        let bytes = &mut bytes[..now];
        nor.read(layout.at(block, at), bytes)?;
        if !is_blank(bytes) {
            let last = bytes.iter().rposition(|byte| *byte != 0xff).unwrap_or(0);
            found = Some(at + last as u32);
            bits += bytes.iter().map(|byte| byte.count_zeros()).sum::<u32>();
        }
        at += now as u32;
    }
    Ok(found.map(|last| (last, bits)))
}

const _: () = assert!(PREFIX + KIND_MAX + REASON_MAX <= HEAD_LEN as usize);
const _: () = assert!(PREFIX + KIND_MAX <= LOOK);
const _: () = assert!((HEAD_LEN as usize).is_multiple_of(WRITE_SIZE_MAX));

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { write: 4, page: 256, block: 4096, base: 0 };

    #[test]
    fn the_longest_records_have_room() {
        let snapshot = Snapshot {
            id: u32::MAX,
            blocks: u32::MAX,
            zxid: Zxid(i64::MIN),
            len: u32::MAX,
            sum: u32::MAX,
            digest: Some(SnapshotDigest {
                zxid: Zxid(i64::MIN),
                version: i32::MIN,
                tree_digest: i64::MIN,
            }),
        };
        let most = Epoch(u32::MAX);
        let head = Head {
            seq: u32::MAX,
            before: u32::MAX,
            before_end: u32::MAX,
            first: u32::MAX,
            copied: u32::MAX,
            window: u32::MAX,
            boots: u32::MAX,
            epochs: Promised { accepted: most, current: most },
            snapshot: Some(snapshot),
            lost: true,
        };
        let mut room = [0; 256];
        for kind in [Kind::Head(head), Kind::Snapshot(snapshot, u32::MAX)] {
            let len = postcard::to_slice(&kind, &mut room).unwrap().len();
            assert!(len <= KIND_MAX, "{len} bytes");
        }
        let len = postcard::to_slice(&Kind::Txn(Zxid(i64::MIN), true), &mut room).unwrap().len();
        assert_eq!(PREFIX + len, TXN_OVERHEAD);
        let len = postcard::to_slice(&Kind::Piece, &mut room).unwrap().len();
        assert_eq!(PREFIX + len, PIECE_OVERHEAD);
    }

    #[test]
    fn stamps_and_openings_are_read_as_they_were_written_and_no_bit_can_change() {
        let stamp = Stamp { version: 7, erases: 0x0102_0304 };
        let bytes = stamp.encode();
        assert_eq!(bytes[..12], *b"zkfl\x07\0\0\0\x04\x03\x02\x01");
        assert_eq!(Stamp::decode(&bytes), Some(stamp));
        let openings =
            [Opening::Log { seq: 9, copied: 300 }, Opening::Snapshot { seq: 11, id: 10, index: 1 }];
        for opening in openings {
            let bytes = opening.encode();
            assert_eq!(Opening::decode(&bytes), Some(opening));
            for bit in 0..20 * 8 {
                let mut bytes = bytes;
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Opening::decode(&bytes), None);
            }
        }
        for bit in 0..STAMP_LEN * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stamp::decode(&bytes), None);
        }
        for len in 0..STAMP_LEN {
            assert_eq!(Stamp::decode(&bytes[..len]), None);
        }
        assert_eq!(Stamp::decode(&[0xff; STAMP_LEN]), None);
        assert_eq!(Opening::decode(&[0xff; OPENING_LEN]), None);
        assert_eq!(Opening::decode(&[0; OPENING_LEN]), None);
    }

    #[test]
    fn a_frame_has_the_documented_bytes() {
        let mut to = [0; 64];
        let kind = Kind::Txn(Zxid(0x1_0000_0002), true);
        let len = encode(LAYOUT, &kind, Payload::Copy(b"abc"), &mut to).unwrap();
        assert_eq!(len, 16);
        // Its checksum, 10 bytes, a transaction, its zxid, the first, the transaction.
        assert_eq!(to[4..16], *b"\x0a\0\x01\x84\x80\x80\x80\x20\x01abc");
        assert_eq!(to[..4], Crc::of(&to[4..16]).to_le_bytes());
        let mut there = [0; 64];
        there[13..16].copy_from_slice(b"abc");
        assert_eq!(encode(LAYOUT, &kind, Payload::There(3), &mut there), Some(16));
        assert_eq!(there[..16], to[..16]);
        assert_eq!(encode(LAYOUT, &kind, Payload::Copy(b"abc"), &mut to[..15]), None);
    }
}
