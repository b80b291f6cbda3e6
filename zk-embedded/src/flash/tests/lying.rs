//! Images whose checksums are right and whose numbers are lies.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use zk_core::id::{Epoch, Zxid};
use zk_core::peer::Epochs;

use super::damage::bear;
use super::world::{OPTIONS, SMALL};
use crate::flash::Snapshot;
use crate::flash::layout::{Head, Kind, Layout, Opening, Payload, Stamp, VERSION, encode};
use crate::flash::simulated::Flash;

/// Numbers that could be, and those at the ends.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 0..12u32,
        2 => prop::sample::select(vec![44, 236, 300, 1000, 3840, 4095, 4096, 4097]),
        1 => prop::sample::select(vec![u32::MAX, u32::MAX - 1, 1 << 31]),
    ]
}

fn zxid() -> impl Strategy<Value = Zxid> {
    prop_oneof![
        8 => (0..3u32, 0..12u32).prop_map(|(epoch, counter)| Zxid::new(Epoch(epoch), counter)),
        1 => prop::sample::select(vec![i64::MIN, -1, i64::MAX]).prop_map(Zxid),
    ]
}

fn epochs() -> impl Strategy<Value = Epochs> {
    (number(), number()).prop_map(|(a, c)| Epochs { accepted: Epoch(a), current: Epoch(c) })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    (number(), number(), zxid(), number(), number()).prop_map(|(id, blocks, zxid, len, sum)| {
        Snapshot { id, blocks, zxid, len, sum, digest: None }
    })
}

fn head() -> impl Strategy<Value = Head> {
    let numbers = (number(), number(), number(), number(), number(), number(), number());
    (numbers, epochs(), prop::option::of(snapshot()), any::<bool>()).prop_map(
        |((seq, before, before_end, first, copied, window, boots), epochs, snapshot, lost)| Head {
            seq,
            before,
            before_end,
            first,
            copied,
            window,
            boots,
            epochs: epochs.into(),
            snapshot,
            lost,
        },
    )
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        6 => (zxid(), any::<bool>()).prop_map(|(zxid, first)| Kind::Txn(zxid, first)),
        1 => epochs().prop_map(|epochs| Kind::Epochs(epochs.into())),
        1 => (snapshot(), number()).prop_map(|(snapshot, first)| Kind::Snapshot(snapshot, first)),
        1 => Just(Kind::Settled),
        1 => Just(Kind::Reset),
        2 => Just(Kind::Piece),
        1 => head().prop_map(Kind::Head),
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    prop_oneof![
        (number(), number()).prop_map(|(seq, copied)| Opening::Log { seq, copied }),
        (number(), number(), 0..3u32).prop_map(|(seq, id, index)| Opening::Snapshot {
            seq,
            id,
            index
        }),
    ]
}

#[derive(Clone, Debug)]
struct Lies {
    stamp: Option<u32>,
    opening: Option<Opening>,
    head: Option<Head>,
    records: Vec<(Kind, usize)>,
    /// Bytes behind the last record.
    rest: Vec<u8>,
}

fn block() -> impl Strategy<Value = Lies> {
    (
        prop::option::weighted(0.8, number()),
        prop::option::weighted(0.8, opening()),
        prop::option::weighted(0.7, head()),
        prop::collection::vec((kind(), 0..80usize), 0..6),
        prop::collection::vec(any::<u8>(), 0..9),
    )
        .prop_map(|(stamp, opening, head, records, rest)| Lies {
            stamp,
            opening,
            head,
            records,
            rest,
        })
}

fn image(blocks: &[Lies]) -> Vec<u8> {
    let layout = Layout::of(&Flash::new(SMALL, 1), 0, SMALL.blocks).unwrap();
    let mut image = vec![0xff; SMALL.erase * SMALL.blocks];
    for (lies, block) in blocks.iter().zip(image.chunks_mut(SMALL.erase)) {
        if let Some(erases) = lies.stamp {
            let stamp = Stamp { version: VERSION, erases }.encode();
            block[..stamp.len()].copy_from_slice(&stamp);
        }
        if let Some(opening) = lies.opening {
            let bytes = opening.encode();
            block[layout.opening_at() as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        let mut at = layout.start() as usize;
        let is_log = !matches!(lies.opening, Some(Opening::Snapshot { .. }));
        if is_log {
            if let Some(head) = lies.head {
                let to = &mut block[at..];
                encode(layout, &Kind::Head(head), Payload::Copy(b"why"), to).unwrap();
            }
            at = layout.content() as usize;
        }
        for (kind, len) in &lies.records {
            let payload = [0x5a; 80];
            let to = &mut block[at..];
            at += encode(layout, kind, Payload::Copy(&payload[..*len]), to).unwrap();
        }
        block[at..at + lies.rest.len()].copy_from_slice(&lies.rest);
    }
    image
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn lies_are_borne(blocks in prop::collection::vec(block(), SMALL.blocks)) {
        bear(&image(&blocks), SMALL, OPTIONS);
    }

    /// One block that leads to all that it names.
    #[test]
    fn consistent_lies_are_borne(
        mut blocks in prop::collection::vec(block(), SMALL.blocks),
        ends in prop::collection::vec(236..600u32, SMALL.blocks),
        first in 1..5u32,
    ) {
        for (at, block) in blocks.iter_mut().enumerate().take(5) {
            let seq = at as u32 + 1;
            block.opening = None;
            if let Some(head) = &mut block.head {
                (head.seq, head.before, head.before_end) = (seq, seq - 1, ends[at] / 4 * 4);
                (head.first, head.copied) = (first.min(seq), 236);
            }
        }
        bear(&image(&blocks), SMALL, OPTIONS);
    }
}
