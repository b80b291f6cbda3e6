//! Changes of an image.
//!
//! The first argument is a block, those behind it are offsets in it, of two bytes, or bytes. All are
//! taken modulo what there is; of arguments that are missing nothing comes.
//!
//! | piece | what it does |
//! |---|---|
//! | `f` | changes a bit: block, offset, bit; and again |
//! | `x` | swaps two blocks |
//! | `e` | erases from an offset on, so many bytes |
//! | `t` | erases from an offset to the end of the block: a program that was cut off |
//! | `a` | programs bytes over what is there: bits become 0 |
//! | `w` | writes bytes |
//! | `c` | copies a block of this image: to, from |
//! | `o` | copies a block of an image of another age: to, from, age |
//! | `s` | the stamp: version, erases, and its checksum |
//! | `p` | the opening: kind, sequence number, `a`, `b`, and its checksum |
//! | `r` | a record: which, an offset in its body, bytes for there, and its checksum |
//! | `l` | a record: which, how long its body is from now on, and its checksum |
//! | `n` | one more record behind those that are there: its body |
//! | `i` | who the board is: an offset in the body, bytes for there, and its checksum |
//! | `k` | the block wears out: when it is programmed, or when it is erased |

use zk_embedded::flash::simulated::{Flash, Worn};

#[cfg(test)]
use super::WRITES;
use super::{AGES, BLOCKS, ERASE};

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Bytes of a stamp and of an opening without their checksums, and of what stands before a record's
/// body.
const STAMP: usize = 12;
const OPENING: usize = 16;
const PREFIX: usize = 6;

/// Bytes that the head of a log takes.
const HEAD: usize = 192;

/// Bytes of a provision before its body.
const PROVISION: usize = 8;

/// The byte of a piece that lets a block wear out.
pub(super) const WEAR: u8 = b'k';

/// Arguments, as far as they are there.
struct Args<'a>(&'a [u8]);

impl<'a> Args<'a> {
    fn byte(&mut self) -> Option<usize> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(usize::from(byte))
    }

    fn block(&mut self) -> Option<usize> {
        Some(self.byte()? % BLOCKS)
    }

    fn offset(&mut self) -> Option<usize> {
        let (&bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(usize::from(u16::from_le_bytes(bytes)) % ERASE)
    }

    fn number(&mut self) -> Option<u32> {
        let (&bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(bytes))
    }

    fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Carries out one change.
pub(super) fn apply(flash: &mut Flash, what: u8, args: &[u8], ages: &[Vec<u8>]) {
    let mut args = Args(args);
    if what == WEAR {
        let (Some(block), Some(how)) = (args.block(), args.byte()) else { return };
        flash.wear(block, if how % 2 == 0 { Worn::Program } else { Worn::Erase });
        return;
    }
    let write = flash.geometry().write;
    let mut image = flash.image().to_vec();
    // An argument is missing: the rest is as it was.
    let _ = change(&mut image, write, what, &mut args, ages);
    flash.set_image(&image);
}

fn change(
    image: &mut [u8],
    write: usize,
    what: u8,
    args: &mut Args<'_>,
    ages: &[Vec<u8>],
) -> Option<()> {
    let number = args.block()?;
    let places = Places::of(write);
    let block = &mut image[number * ERASE..][..ERASE];
    match what {
        b'f' => {
            block[args.offset()?] ^= 1 << (args.byte()? % 8);
            while !args.rest().is_empty() {
                let at = args.block()? * ERASE + args.offset()?;
                image[at] ^= 1 << (args.byte()? % 8);
            }
        }
        b'x' => {
            let other = args.block()?;
            for at in 0..ERASE {
                image.swap(number * ERASE + at, other * ERASE + at);
            }
        }
        b'e' => {
            let (from, len) = (args.offset()?, args.offset()?);
            block[from..(from + len).min(ERASE)].fill(0xff);
        }
        b't' => block[args.offset()?..].fill(0xff),
        b'a' => {
            let from = args.offset()?;
            block[from..].iter_mut().zip(args.rest()).for_each(|(to, byte)| *to &= byte);
        }
        b'w' => {
            let from = args.offset()?;
            block[from..].iter_mut().zip(args.rest()).for_each(|(to, byte)| *to = *byte);
        }
        b'c' => {
            let from = args.block()? * ERASE;
            image.copy_within(from..from + ERASE, number * ERASE);
        }
        b'o' => {
            let (from, age) = (args.block()?, args.byte()? % AGES);
            // There are fewer while they are made.
            block.copy_from_slice(&ages.get(age)?[from * ERASE..][..ERASE]);
        }
        b's' => {
            let (version, erases) = (args.byte()?, args.number()?);
            block[..4].copy_from_slice(b"zkfl");
            block[4..8].copy_from_slice(&(version as u32).to_le_bytes());
            block[8..STAMP].copy_from_slice(&erases.to_le_bytes());
            seal(&mut block[..STAMP + 4]);
        }
        b'p' => {
            let opening = &mut block[places.opening..][..OPENING + 4];
            for field in opening[..OPENING].chunks_exact_mut(4) {
                field.copy_from_slice(&args.number()?.to_le_bytes());
            }
            seal(opening);
        }
        b'r' | b'l' => {
            let frames = places.frames(block);
            let frame = *frames.get(args.byte()?.checked_rem(frames.len())?)?;
            let at = args.offset()?;
            if what == b'r' {
                let body = &mut block[frame.body()];
                body.iter_mut().skip(at).zip(args.rest()).for_each(|(to, byte)| *to = *byte);
                seal_frame(block, frame);
            } else {
                let len = at.min(ERASE - frame.at - PREFIX);
                seal_frame(block, Frame { len, ..frame });
            }
        }
        b'n' => {
            let at = places.frames(block).last().map_or(places.start, |last| places.behind(last));
            let len = args.rest().len();
            let frame = Frame { at, len, head: false };
            block.get_mut(frame.body())?.copy_from_slice(args.rest());
            seal_frame(block, frame);
        }
        b'i' => {
            let at = args.offset()?;
            let len = usize::from(u16::from_le_bytes([image[6], image[7]]));
            let end = (PROVISION + len).min(ERASE - 4);
            let body = &mut image[PROVISION..end];
            body.iter_mut().skip(at).zip(args.rest()).for_each(|(to, byte)| *to = *byte);
            let sum = CRC.checksum(&image[..end]);
            image[end..end + 4].copy_from_slice(&sum.to_le_bytes());
        }
        _ => {}
    }
    Some(())
}

/// Puts the checksum of what is before them into the last four bytes.
fn seal(bytes: &mut [u8]) {
    let (bytes, sum) = bytes.split_at_mut(bytes.len() - 4);
    sum.copy_from_slice(&CRC.checksum(bytes).to_le_bytes());
}

fn seal_frame(block: &mut [u8], frame: Frame) {
    block[frame.at + 4..frame.at + PREFIX].copy_from_slice(&(frame.len as u16).to_le_bytes());
    let sum = CRC.checksum(&block[frame.at + 4..frame.body().end]);
    block[frame.at..frame.at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// A record in a block.
#[derive(Clone, Copy)]
struct Frame {
    at: usize,
    /// Bytes of its body.
    len: usize,
    /// It is a log's head.
    head: bool,
}

impl Frame {
    fn body(self) -> core::ops::Range<usize> {
        self.at + PREFIX..self.at + PREFIX + self.len
    }
}

/// Where things are in a block.
#[derive(Clone, Copy)]
struct Places {
    write: usize,
    opening: usize,
    start: usize,
}

impl Places {
    fn of(write: usize) -> Self {
        let opening = 16_usize.next_multiple_of(write);
        let retired = opening + 24_usize.next_multiple_of(write);
        Self { write, opening, start: retired + 4_usize.next_multiple_of(write) }
    }

    /// The records from the start on, up to the first that is none.
    fn frames(self, block: &[u8]) -> Vec<Frame> {
        let mut frames = vec![];
        let mut at = self.start;
        while let Some(prefix) = block.get(at..at + PREFIX) {
            let len = usize::from(u16::from_le_bytes([prefix[4], prefix[5]]));
            let sum = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
            let Some(summed) = block.get(at + 4..at + PREFIX + len) else { break };
            if CRC.checksum(summed) != sum {
                break;
            }
            let head = at == self.start && summed.get(2) == Some(&0);
            frames.push(Frame { at, len, head });
            at = self.behind(&frames[frames.len() - 1]);
        }
        frames
    }

    fn behind(self, frame: &Frame) -> usize {
        if frame.head { self.start + HEAD } else { frame.body().end.next_multiple_of(self.write) }
    }
}

/// The kinds of the openings of an image: 1 for a log, 2 for a snapshot.
#[cfg(test)]
pub(super) fn openings(image: &[u8]) -> Vec<u32> {
    let opening = |block: &[u8]| {
        WRITES.iter().find_map(|write| {
            let bytes = &block[Places::of(*write).opening..][..OPENING + 4];
            let mut sealed = bytes.to_vec();
            seal(&mut sealed);
            (sealed == bytes).then(|| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        })
    };
    image.chunks(ERASE).filter_map(opening).collect()
}

/// A piece of each kind.
pub(super) fn examples() -> Vec<(u8, Vec<u8>)> {
    let number = |n: u32| n.to_le_bytes();
    let four = |a, b, c, d| [number(a), number(b), number(c), number(d)].concat();
    vec![
        (b'f', vec![1, 60, 0, 3]),
        (b'f', vec![2, 0, 1, 3, 3, 0, 2, 5, 4, 0, 4, 7]),
        (b'x', vec![1, 2]),
        (b'x', vec![3, 5]),
        (b'e', vec![2, 0, 1, 0, 4]),
        (b'e', vec![1, 0, 0, 255, 15]),
        (b't', vec![1, 0, 2]),
        (b't', vec![3, 44, 0]),
        (b'a', vec![2, 0, 3, 0, 0, 0, 0]),
        (b'w', [&[2, 0, 2][..], b"anything"].concat()),
        (b'c', vec![1, 2]),
        (b'c', vec![7, 3]),
        (b'o', vec![3, 3, 1]),
        (b'o', vec![4, 2, 3]),
        (b's', [&[1, 1][..], &number(100)].concat()),
        (b's', [&[2, 2][..], &number(1)].concat()),
        (b'p', [&[3][..], &four(1, 40, 236, 0)].concat()),
        (b'p', [&[3][..], &four(2, 9, 9, 0)].concat()),
        (b'r', vec![1, 0, 1, 0, 9, 8, 7]),
        (b'r', vec![2, 0, 4, 0, 1]),
        (b'r', vec![1, 3, 1, 0, 2]),
        (b'l', vec![1, 2, 20, 0]),
        (b'n', vec![1, 4]),
        (b'n', vec![2, 1, 40, 1, 0, 0, 0, 0]),
        (b'n', vec![1, 2, 9, 9]),
        (b'n', vec![1, 6, 1, 2, 3]),
        (b'n', vec![1, 3, 1, 1, 0, 0, 0, 0, 1]),
        (b'i', vec![0, 6, 0, 2]),
        (b'i', vec![0, 30, 0, b'2', b'=']),
        (WEAR, vec![1, 0]),
        (WEAR, vec![4, 1]),
    ]
}
