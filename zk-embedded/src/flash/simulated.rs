//! A NOR flash in memory that holds its users to the rules, and loses its power at any operation.
//!
//! What breaks a rule panics: programming outside of an erased unit (also one that a torn program or
//! an erase that did not end may have touched), across a page, or while the device is busy.

use std::vec;
use std::vec::Vec;

use super::nor::Nor;

/// Its sizes, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// What is programmed together.
    pub write: usize,
    /// What a program must not cross.
    pub page: usize,
    /// What is erased together.
    pub erase: usize,
    /// How many of these there are.
    pub blocks: usize,
}

/// What the loss of power does to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It has not begun.
    Before,
    /// It was done.
    After,
    /// A program stops at some byte: of that unit, some of the bits are programmed. Every fourth time
    /// the bits of the whole program are programmed in any order, and as often it has no visible
    /// effect. None of its units can be programmed again. An erase stops as [`Half`](Self::Half)
    /// says.
    Torn,
    /// Some bits of the block are erased, or its beginning, or its end. A program stops as
    /// [`Torn`](Self::Torn) says.
    Half,
    /// Some bits are neither erased nor programmed: they read differently each time. A program stops
    /// as [`Torn`](Self::Torn) says.
    Unstable,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Before, Self::After, Self::Torn, Self::Half, Self::Unstable];
}

/// What a block cannot do any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worn {
    /// Some bits stay 1 when they are programmed.
    Program,
    /// Some bits stay 0 when the block is erased.
    Erase,
}

/// The device says so: something was asked of it that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("a read has failed")
    }
}

/// An operation.
#[derive(Clone, Debug)]
pub enum Operation {
    /// These bytes, over those.
    Program {
        /// Where.
        offset: usize,
        /// What was to be programmed.
        bytes: Vec<u8>,
        /// What was there.
        before: Vec<u8>,
    },
    /// A block was erased.
    Erase {
        /// Which.
        block: usize,
        /// What was there.
        before: Vec<u8>,
        /// Which of its units had been programmed.
        units: Vec<bool>,
        /// Whether they read differently each time.
        unstable: bool,
    },
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Programs that were begun.
    pub programs: u64,
    /// Bytes of them.
    pub programmed: u64,
    /// Erases that were begun.
    pub erases: u64,
    /// Reads.
    pub reads: u64,
    /// Bytes of them.
    pub read: u64,
}

/// The flash.
#[derive(Clone, Debug)]
pub struct Flash {
    geometry: Geometry,
    bytes: Vec<u8>,
    /// Units that are not erased.
    units: Vec<bool>,
    unstable: Vec<bool>,
    erases: Vec<u32>,
    worn: Vec<Option<Worn>>,
    rng: u64,
    /// How often it will still say that it is busy.
    busy: u32,
    /// How often it does after each operation.
    pub latency: u32,
    /// How often it does after an erase besides.
    pub slow_erases: u32,
    counts: Counts,
    last: Option<Operation>,
}

impl Flash {
    /// As it comes from the factory.
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        let len = geometry.erase * geometry.blocks;
        Self {
            geometry,
            bytes: vec![0xff; len],
            units: vec![false; len / geometry.write],
            unstable: vec![false; geometry.blocks],
            erases: vec![0; geometry.blocks],
            worn: vec![None; geometry.blocks],
            rng: seed | 1,
            busy: 0,
            latency: 1,
            slow_erases: 0,
            counts: Counts::default(),
            last: None,
        }
    }

    /// Its sizes.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What is in it, whatever the power is.
    pub fn image(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts something in it: every unit that is not blank counts as programmed.
    pub fn set_image(&mut self, image: &[u8]) {
        let len = image.len().min(self.bytes.len());
        self.bytes[..len].copy_from_slice(&image[..len]);
        let units = self.bytes.chunks(self.geometry.write);
        self.units = units.map(|unit| unit.iter().any(|byte| *byte != 0xff)).collect();
    }

    /// A bit changes by itself.
    pub fn flip(&mut self, bit: usize) {
        self.bytes[bit / 8] ^= 1 << (bit % 8);
        self.units[bit / 8 / self.geometry.write] = true;
    }

    /// A block does no longer what it should.
    pub fn wear(&mut self, block: usize, worn: Worn) {
        self.worn[block] = Some(worn);
    }

    /// How often each block was erased.
    pub fn erases(&self) -> &[u32] {
        &self.erases
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The operation that is under way.
    pub fn last(&self) -> Option<&Operation> {
        self.last.as_ref()
    }

    /// A flash whose power was lost during the operation that is under way, and is back.
    pub fn cut(&self, cut: Cut, seed: u64) -> Self {
        let mut left = self.clone();
        left.rng = (seed ^ 0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..8 {
            left.random();
        }
        left.busy = 0;
        left.last = None;
        match &self.last {
            None => {}
            Some(Operation::Program { offset, bytes, before }) => {
                left.cut_program(cut, *offset, bytes, before);
            }
            Some(Operation::Erase { block, before, units, unstable }) => {
                let stable = !*unstable;
                left.cut_erase(cut, *block, before, units);
                if cut == Cut::Before {
                    left.unstable[*block] = !stable;
                }
            }
        }
        left
    }

    fn cut_program(&mut self, cut: Cut, offset: usize, bytes: &[u8], before: &[u8]) {
        let write = self.geometry.write;
        if cut == Cut::After {
            return;
        }
        let all = offset..offset + bytes.len();
        self.bytes[all.clone()].copy_from_slice(before);
        if cut == Cut::Before {
            self.units[all.start / write..all.end / write].fill(false);
            return;
        }
        let how = self.random() % 4;
        if how == 0 {
            return;
        }
        let whole_page = how == 1;
        let stop = self.random() as usize % bytes.len() / write * write;
        for (at, byte) in bytes.iter().enumerate() {
            self.bytes[offset + at] &= if whole_page || (stop..stop + write).contains(&at) {
                byte | self.random() as u8
            } else if at < stop {
                *byte
            } else {
                0xff
            };
        }
    }

    fn cut_erase(&mut self, cut: Cut, block: usize, before: &[u8], units: &[bool]) {
        let Geometry { erase, write, .. } = self.geometry;
        if cut == Cut::After {
            return;
        }
        let start = block * erase;
        self.bytes[start..start + erase].copy_from_slice(before);
        self.erases[block] -= 1;
        let count = erase / write;
        let own = block * count..(block + 1) * count;
        if cut == Cut::Before {
            self.units[own].copy_from_slice(units);
            return;
        }
        self.units[own].fill(true);
        let part = self.random() as usize % erase;
        match self.random() % 4 {
            0 => self.bytes[start..start + part].fill(0xff),
            1 => self.bytes[start + part..start + erase].fill(0xff),
            how => {
                for at in start..start + erase {
                    let mut erased = self.random() as u8;
                    if how == 2 {
                        // Nearly all of it.
                        erased |= self.random() as u8 | self.random() as u8;
                    }
                    self.bytes[at] |= erased;
                }
            }
        }
        self.unstable[block] = cut == Cut::Unstable;
    }

    fn random(&mut self) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

impl Nor for Flash {
    type Error = Fault;

    fn write_size(&self) -> usize {
        self.geometry.write
    }

    fn page_size(&self) -> usize {
        self.geometry.page
    }

    fn erase_size(&self) -> usize {
        self.geometry.erase
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        assert_eq!(self.busy, 0, "read while the device is busy");
        self.counts.reads += 1;
        self.counts.read += bytes.len() as u64;
        let offset = offset as usize;
        bytes.copy_from_slice(&self.bytes[offset..offset + bytes.len()]);
        let blocks =
            offset / self.geometry.erase..(offset + bytes.len()).div_ceil(self.geometry.erase);
        if self.unstable[blocks].contains(&true) {
            for (at, byte) in bytes.iter_mut().enumerate() {
                if self.unstable[(offset + at) / self.geometry.erase] {
                    *byte |= self.random() as u8;
                }
            }
        }
        Ok(())
    }

    fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let Geometry { write, page, erase, .. } = self.geometry;
        assert_eq!(self.busy, 0, "a program while the device is busy");
        let offset = offset as usize;
        let end = offset + bytes.len();
        assert!(!bytes.is_empty() && (offset | end).is_multiple_of(write), "no whole units");
        assert_eq!(offset / page, (end - 1) / page, "a program crosses a page");
        let block = offset / erase;
        assert!(!self.unstable[block], "a program in a block that is not wholly erased");
        for unit in offset / write..end / write {
            assert!(!self.units[unit], "unit {:#x} is programmed twice", unit * write);
            self.units[unit] = true;
        }
        let before = self.bytes[offset..end].to_vec();
        self.last = Some(Operation::Program { offset, bytes: bytes.to_vec(), before });
        for (to, byte) in self.bytes[offset..end].iter_mut().zip(bytes) {
            *to &= *byte;
        }
        if self.worn[block] == Some(Worn::Program) {
            let at = offset + self.random() as usize % bytes.len();
            self.bytes[at] |= 0x55;
        }
        self.counts.programs += 1;
        self.counts.programmed += bytes.len() as u64;
        self.busy = self.latency;
        Ok(())
    }

    fn start_erase(&mut self, offset: u32) -> Result<(), Fault> {
        let Geometry { write, erase, .. } = self.geometry;
        assert_eq!(self.busy, 0, "an erase while the device is busy");
        let start = offset as usize;
        assert!(start.is_multiple_of(erase), "an erase of less than a block");
        let (block, count) = (start / erase, erase / write);
        let own = block * count..(block + 1) * count;
        self.last = Some(Operation::Erase {
            block,
            before: self.bytes[start..start + erase].to_vec(),
            units: self.units[own.clone()].to_vec(),
            unstable: self.unstable[block],
        });
        self.bytes[start..start + erase].fill(0xff);
        self.units[own].fill(false);
        self.unstable[block] = false;
        self.erases[block] += 1;
        if self.worn[block] == Some(Worn::Erase) {
            let at = start + self.random() as usize % erase;
            self.bytes[at] &= 0x7f;
            self.units[at / write] = true;
        }
        self.counts.erases += 1;
        self.busy = self.latency + self.slow_erases;
        Ok(())
    }

    fn busy(&mut self) -> Result<bool, Fault> {
        self.busy = self.busy.saturating_sub(1);
        if self.busy == 0 {
            // It has ended.
            self.last = None;
        }
        Ok(self.busy > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry { write: 4, page: 16, erase: 64, blocks: 2 };

    fn read(flash: &mut Flash, offset: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        flash.read(offset, &mut bytes).unwrap();
        bytes
    }

    fn programmed() -> Flash {
        let mut flash = Flash::new(GEOMETRY, 1);
        flash.latency = 0;
        flash.start_program(64, &[0; 16]).unwrap();
        flash
    }

    #[test]
    fn a_cut_leaves_a_part() {
        let mut flash = programmed();
        assert_eq!(read(&mut flash.cut(Cut::Before, 1), 64, 16), [0xff; 16]);
        assert_eq!(read(&mut flash.cut(Cut::After, 1), 64, 16), [0; 16]);
        let torn: Vec<Vec<u8>> =
            (0..50).map(|seed| read(&mut flash.cut(Cut::Torn, seed), 64, 16)).collect();
        assert!(torn.iter().any(|bytes| bytes[..4] == [0; 4] && bytes[12..] == [0xff; 4]));
        assert!(torn.iter().all(|bytes| *bytes != [0; 16]));
        flash.start_erase(64).unwrap();
        assert_eq!(read(&mut flash.cut(Cut::Before, 1), 64, 16), [0; 16]);
        let mut half = flash.cut(Cut::Half, 3);
        assert_eq!(read(&mut half, 64, 64), read(&mut half, 64, 64));
        let mut unstable = flash.cut(Cut::Unstable, 3);
        assert_ne!(read(&mut unstable, 64, 64), read(&mut unstable, 64, 64));
        unstable.start_erase(64).unwrap();
        assert_eq!(read(&mut unstable, 64, 64), [0xff; 64]);
        assert_eq!((flash.erases(), half.erases()), (&[0, 1][..], &[0, 0][..]));
    }

    #[test]
    #[should_panic(expected = "programmed twice")]
    fn a_unit_is_programmed_once() {
        programmed().start_program(76, &[0xff; 4]).unwrap();
    }

    #[test]
    #[should_panic(expected = "programmed twice")]
    fn what_a_torn_program_may_have_touched_is_programmed() {
        programmed().cut(Cut::Torn, 1).start_program(76, &[0; 4]).unwrap();
    }

    #[test]
    #[should_panic(expected = "crosses a page")]
    fn a_program_stays_in_its_page() {
        programmed().start_program(88, &[0; 12]).unwrap();
    }

    #[test]
    #[should_panic(expected = "not wholly erased")]
    fn a_block_is_wholly_erased_before_it_is_used() {
        let mut flash = programmed();
        flash.start_erase(64).unwrap();
        flash.cut(Cut::Unstable, 1).start_program(64, &[0; 4]).unwrap();
    }

    #[test]
    #[should_panic(expected = "busy")]
    fn a_busy_device_is_left_alone() {
        let mut flash = Flash::new(GEOMETRY, 1);
        flash.start_erase(0).unwrap();
        read(&mut flash, 0, 1);
    }
}
