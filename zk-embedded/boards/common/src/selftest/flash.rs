//! The flash's tests, in its last three blocks.

use zk_embedded::flash::Nor;

use super::Tests;

/// How often a flash is asked whether it is done.
const POLLS: u32 = 10_000_000;

/// Bytes of a mark of the counter of starts.
const MARK: usize = 4;

/// Where the last blocks begin, the last one first.
fn block(flash: &impl Nor, from_last: usize) -> u32 {
    (flash.capacity() - (from_last + 1) * flash.erase_size()) as u32
}

fn finish(flash: &mut impl Nor) {
    for _ in 0..POLLS {
        if !flash.busy().expect("a flash that says whether it is busy") {
            return;
        }
    }
    panic!("the flash stays busy");
}

fn erase(flash: &mut impl Nor, offset: u32) {
    flash.start_erase(offset).expect("a flash that erases");
    finish(flash);
}

fn program(flash: &mut impl Nor, offset: u32, bytes: &[u8]) {
    flash.start_program(offset, bytes).expect("a flash that programs");
    finish(flash);
}

fn read<const N: usize>(flash: &mut impl Nor, offset: u32) -> [u8; N] {
    let mut bytes = [0x5a; N];
    flash.read(offset, &mut bytes).expect("a flash that reads");
    bytes
}

fn assert_blank(flash: &mut impl Nor, offset: u32, len: usize) {
    for at in (offset..offset + len as u32).step_by(256) {
        assert!(read::<256>(flash, at) == [0xff; 256], "not blank behind {at:#x}");
    }
}

#[inline(never)] // on its own, its frame fits a board's stack
pub(super) fn run(tests: &mut Tests, flash: &mut impl Nor) {
    let (last, before) = (block(flash, 0), block(flash, 1));
    let size = flash.erase_size();
    tests.run("an_erased_block_is_blank", || {
        erase(flash, last);
        assert_blank(flash, last, size);
    });
    tests.run("a_page_is_programmed_whole_and_in_parts", || {
        let page: [u8; 256] = core::array::from_fn(|n| (n as u8).wrapping_mul(7) ^ 0xa5);
        program(flash, last + 256, &page);
        // Behind it, bytes that begin and end anywhere.
        for part in [0..1, 1..4, 4..129, 129..255, 255..256] {
            let offset = last + 512 + part.start as u32;
            program(flash, offset, &page[part]);
        }
        assert!(read(flash, last + 256) == page && read(flash, last + 512) == page);
        let bytes: [u8; 66] = read(flash, last + 511);
        assert_eq!((bytes[0], &bytes[1..]), (page[255], &page[..65]));
        assert_blank(flash, last, 256);
        assert_blank(flash, last + 768, size - 768);
    });
    tests.run("bits_only_go_down", || {
        program(flash, last, &[0xf0; 4]);
        program(flash, last + 2, &[0x3c; 4]);
        assert_eq!(read(flash, last), [0xf0, 0xf0, 0x30, 0x30, 0x3c, 0x3c, 0xff, 0xff]);
    });
    tests.run("all_of_an_address_counts", || {
        // Whatever bits are left out, another block would have been meant.
        for low in [last & 0x00ff_ffff, last & 0xffff, 0].into_iter().filter(|low| *low != last) {
            assert_eq!(read(flash, low), [0xff; 8], "{last:#x} is also at {low:#x}");
        }
    });
    tests.run("only_that_block_is_erased", || {
        erase(flash, before);
        program(flash, before + size as u32 - 1, &[0x42]);
        erase(flash, last);
        assert_eq!(read(flash, last - 1), [0x42, 0xff]);
        assert_blank(flash, last, size);
    });
    tests.run("what_does_not_fit_is_refused", || {
        assert!(flash.start_program(last + 255, &[0; 2]).is_err(), "a page was crossed");
        assert!(flash.start_erase(last + 256).is_err(), "not the beginning of a block");
        assert!(flash.start_erase(flash.capacity() as u32).is_err(), "behind the end");
        assert!(!flash.busy().expect("a flash that says whether it is busy"));
        assert_blank(flash, last, 512);
    });
}

/// Counts one start more: each has a mark of its own, so that no kill can take one back.
#[inline(never)] // on its own, its frame fits a board's stack
pub(super) fn count(flash: &mut impl Nor) -> u32 {
    let start = block(flash, 2);
    let marks = flash.erase_size() / MARK;
    for mark in 0..marks {
        let offset = start + (mark * MARK) as u32;
        if read(flash, offset) == [0xff; MARK] {
            program(flash, offset, &[0; MARK]);
            assert_eq!(read(flash, offset), [0; MARK]);
            return mark as u32 + 1;
        }
    }
    panic!("more than {marks} starts");
}
