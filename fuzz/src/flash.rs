//! The flash of a board with anything in it: the board starts from it or says why not, and neither
//! panics nor goes on for ever. What was there when it started, and what it has answered since, is there
//! at the next start, wherever its power was cut. What was damaged stays so.
//!
//! The input is three bytes that choose an image which a board has written, and a list of pieces
//! ([`input`]) that change it ([`edits`]) or start a board from it ([`life`]). Checksums of what is
//! changed can be made right, so that more than checksums is tried.

mod edits;
mod life;

use std::sync::OnceLock;

use zk_core::id::ServerId;
use zk_core::wire::provision::{self, Provision};
use zk_embedded::flash::simulated::{Flash, Geometry};

use crate::input;

/// The devices: bytes that are programmed together.
const WRITES: [usize; 3] = [4, 1, 32];

/// Erase blocks of a device: one that says who the board is, and those of the store.
const BLOCKS: usize = 8;

/// Bytes of an erase block.
const ERASE: usize = 4096;

/// Images of one device, from its first start on.
const AGES: usize = 6;

/// Changes and starts of one input.
const PIECES: usize = 64;

/// Starts of one input before the last one.
const LIVES: usize = 2;

/// The byte of a piece that starts a board.
const START: u8 = b'b';

/// What was found once, and is mended.
const FOUND: [&[u8]; 6] = [
    // A transaction whose record says another zxid than it says itself.
    b"\x02\x01\0r\x01\x03\x01\x10\0\x05|zk\0\x02",
    b"\x02\x01\0r\x01\x03\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02|zk|\
      \x02\x01\0r\x01\x03\x01b\xb4r\x01\x03\xff|\x01\x03k|\x02",
    // Epochs of a block that is void, and was erased before the start had come to its end.
    b"\0\x05\0r\x02\0\x04\0z\x01|\x01\x02\x83\xf4\x05|zk|r\x02\0\x01\0\x04|zk|b\x04\0\x04\x03\x01\0\x04\0\x01",
    // A damaged block that was erased before the start had written down that a history is lost.
    b"\x02\0|b\x02\xf4\x01\xff|zk|f\x01\x82|k|zk|b\x02\xf4\0=",
    // Epochs to be written while the reason of a reset waits for room.
    b"zkfl\xff\xff\xff\xff|zk|k|\x05|zk|k\x03\x01|zk|b\x90\x03\x01\x05",
    // Epochs before that of the history, on a board whose number is 1.
    b"\0\x05\0r\xfd\0\x04\0|(|b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0pzp",
];

fn geometry(write: usize) -> Geometry {
    Geometry { write, page: 256, erase: ERASE, blocks: BLOCKS }
}

/// Images of each device: the same board, older each time.
struct Images([Vec<Vec<u8>>; WRITES.len()]);

impl Images {
    /// They are made once.
    fn get() -> &'static Self {
        static IMAGES: OnceLock<Images> = OnceLock::new();
        IMAGES.get_or_init(|| Self(WRITES.map(Self::of)))
    }

    fn of(write: usize) -> Vec<Vec<u8>> {
        let provision = Provision {
            server: ServerId(1),
            hardware: [2, 0, 0, 0, 0, 1],
            address: [10, 0, 0, 1].into(),
            prefix: 24,
            gateway: None,
            client_port: 2181,
            config: "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181",
        };
        let mut flash = Flash::new(geometry(write), 1);
        let mut image = flash.image().to_vec();
        provision::encode(&provision, &mut image).expect("it makes sense");
        flash.set_image(&image);
        let mut images = vec![image];
        for age in 1..AGES {
            // Up to some 60 writes, so that several blocks and a snapshot are there.
            let writes: Vec<u8> = (0..age * age * 3)
                .map(|n| ((n * 7 + age) % 8) as u8 | ((n * 40) as u8 & 0xf8))
                .collect();
            flash = life::live(flash, &life::Fate::writing(&writes), false);
            images.push(flash.image().to_vec());
        }
        images
    }
}

/// Runs one input.
///
/// # Panics
/// When it finds something.
pub fn run(data: &[u8]) {
    let Some((&[device, age, wear], script)) = data.split_first_chunk() else { return };
    let device = usize::from(device) % WRITES.len();
    let images = &Images::get().0[device];
    let mut flash = Flash::new(geometry(WRITES[device]), u64::from(wear) + 1);
    flash.set_image(&images[usize::from(age) % AGES]);
    let (mut lives, mut worn) = (0, false);
    for (what, bytes) in input::pieces(script).take(PIECES) {
        if what == START {
            if lives < LIVES {
                flash = life::live(flash, &life::Fate::of(bytes), worn);
                lives += 1;
            }
        } else {
            worn |= what == edits::WEAR;
            edits::apply(&mut flash, what, bytes, images);
        }
    }
    life::live(flash, &life::Fate::LAST, worn);
}

/// Images of every age as they are; each kind of change alone and followed by a start; power cuts at
/// many operations; and what was found.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = FOUND.map(<[u8]>::to_vec).to_vec();
    for device in 0..WRITES.len() as u8 {
        for age in 0..AGES as u8 {
            seeds.push(vec![device, age, 0]);
        }
        for (number, (what, bytes)) in edits::examples().iter().enumerate() {
            let age = 1 + (number % (AGES - 1)) as u8;
            let start = [(number * 9) as u8, 0, number as u8, 3, 1, 2, 0x83, 0xf4, 5];
            let script = input::join(&[(*what, &bytes[..]), (START, &start), (*what, bytes)]);
            seeds.push([&[device, age, 0][..], &script].concat());
        }
        for operations in (0..160).step_by(16) {
            let (cut, age) = ((operations / 16) as u8, 1 + (operations / 16) as u8 % 5);
            let start = [operations as u8, 0, cut, 7, 1, 0x82, 0xfb, 4, 5, 0xf6, 7];
            let script = input::join(&[(START, &start), (START, &start)]);
            seeds.push([&[device, age, 0][..], &script].concat());
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_have_snapshots_and_several_blocks() {
        for images in &Images::get().0 {
            assert_eq!(images.len(), AGES);
            let last = edits::openings(images.last().expect("there are some"));
            assert!(last.contains(&1) && last.contains(&2), "{last:?}");
        }
    }
}
