//! SPI NOR flash: the commands that all of them know, one page or one block at a time.
//!
//! | command | bytes | |
//! |---|---|---|
//! | write enable | `06` | before each program and erase; the status says that it was heard |
//! | status | `05`, 1 byte | bit 0: busy; bit 1: write enabled |
//! | identity | `9f`, 3 bytes | maker, kind, capacity |
//! | read, program, erase | the [`Chip`]'s, address, data | the address comes highest byte first |

use core::fmt;

use zk_embedded::flash::Nor;

use crate::spi::{Data, Silent, Spi};

const WRITE_ENABLE: u8 = 0x06;
const STATUS: u8 = 0x05;
const IDENTITY: u8 = 0x9f;

const BUSY: u8 = 1;
const ENABLED: u8 = 1 << 1;
/// A bus that nobody drives reads so.
const NOBODY: u8 = 0xff;

/// Bytes of a page, of every such flash.
const PAGE: usize = 256;

/// How often a flash is asked at the start whether it is done with what it did when the board was
/// reset: two bytes each time, so more than 3 s at 20 MHz, which an erase takes at the most.
const POLLS: u32 = 4_000_000;

/// A kind of flash.
#[derive(Clone, Copy, Debug)]
pub struct Chip {
    /// Maker, kind and capacity, as it says them.
    pub identity: [u8; 3],
    /// Bytes.
    pub capacity: usize,
    /// Bytes that are erased at once.
    pub erase_size: usize,
    /// Bytes of an address: 3 or 4.
    pub address: usize,
    /// The command that reads.
    pub read: u8,
    /// The command that programs within a page.
    pub program: u8,
    /// The command that erases a block.
    pub erase: u8,
}

/// Why a flash does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bus does not move, or nobody answers.
    Silent,
    /// There is another flash: maker, kind and capacity that it says.
    Identity([u8; 3]),
    /// It is still busy with what it did before the start.
    Busy,
    /// It does not take a write enable: it is protected.
    Protected,
    /// Not within the flash, a page, or not the beginning of a block.
    Outside,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it does not answer"),
            Self::Identity([maker, kind, capacity]) => {
                write!(f, "it is another one: {maker:#x} {kind:#x} {capacity:#x}")
            }
            Self::Busy => f.write_str("it stays busy"),
            Self::Protected => f.write_str("it is protected"),
            Self::Outside => f.write_str("there is no such place in it"),
        }
    }
}

impl From<Silent> for Error {
    fn from(Silent: Silent) -> Self {
        Self::Silent
    }
}

/// A flash on its bus.
#[derive(Debug)]
pub struct SpiNor<S> {
    spi: S,
    chip: Chip,
}

impl<S: Spi> SpiNor<S> {
    /// Waits until the flash is at rest, and asks whether it is the right one.
    ///
    /// # Errors
    /// [`Error::Silent`], [`Error::Busy`] and [`Error::Identity`].
    pub fn new(spi: S, chip: Chip) -> Result<Self, Error> {
        let mut flash = Self { spi, chip };
        let mut polls = 0;
        while flash.busy()? {
            polls += 1;
            if polls == POLLS {
                return Err(Error::Busy);
            }
        }
        match flash.identity()? {
            identity if identity == chip.identity => Ok(flash),
            identity => Err(Error::Identity(identity)),
        }
    }

    /// Maker, kind and capacity, as the flash says them.
    ///
    /// # Errors
    /// [`Error::Silent`].
    pub fn identity(&mut self) -> Result<[u8; 3], Error> {
        let mut identity = [0; 3];
        self.spi.exchange(&[IDENTITY], Data::From(&mut identity))?;
        Ok(identity)
    }

    fn status(&mut self) -> Result<u8, Error> {
        let mut status = [0];
        self.spi.exchange(&[STATUS], Data::From(&mut status))?;
        match status[0] {
            NOBODY => Err(Error::Silent),
            status => Ok(status),
        }
    }

    fn write_enable(&mut self) -> Result<(), Error> {
        self.spi.exchange(&[WRITE_ENABLE], Data::To(&[]))?;
        if self.status()? & ENABLED == 0 {
            return Err(Error::Protected);
        }
        Ok(())
    }

    /// A command with its address.
    fn command(&self, code: u8, offset: u32) -> ([u8; 5], usize) {
        let [a, b, c, d] = offset.to_be_bytes();
        if self.chip.address == 4 { ([code, a, b, c, d], 5) } else { ([code, b, c, d, 0], 4) }
    }

    /// Whether that many bytes lie within the flash.
    fn within(&self, offset: u32, len: usize) -> Result<(), Error> {
        let end = (offset as usize).checked_add(len);
        end.filter(|end| *end <= self.chip.capacity).map(|_| ()).ok_or(Error::Outside)
    }
}

impl<S: Spi> Nor for SpiNor<S> {
    type Error = Error;

    fn write_size(&self) -> usize {
        1
    }

    fn page_size(&self) -> usize {
        PAGE
    }

    fn erase_size(&self) -> usize {
        self.chip.erase_size
    }

    fn capacity(&self) -> usize {
        self.chip.capacity
    }

    fn read(&mut self, mut offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.within(offset, bytes.len())?;
        for part in bytes.chunks_mut(S::DATA_MAX) {
            let (command, len) = self.command(self.chip.read, offset);
            offset += part.len() as u32;
            self.spi.exchange(&command[..len], Data::From(part))?;
        }
        Ok(())
    }

    fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.within(offset, bytes.len())?;
        if offset as usize % PAGE + bytes.len() > PAGE {
            return Err(Error::Outside);
        }
        self.write_enable()?;
        let (command, len) = self.command(self.chip.program, offset);
        Ok(self.spi.exchange(&command[..len], Data::To(bytes))?)
    }

    fn start_erase(&mut self, offset: u32) -> Result<(), Error> {
        self.within(offset, self.chip.erase_size)?;
        if !(offset as usize).is_multiple_of(self.chip.erase_size) {
            return Err(Error::Outside);
        }
        self.write_enable()?;
        let (command, len) = self.command(self.chip.erase, offset);
        Ok(self.spi.exchange(&command[..len], Data::To(&[]))?)
    }

    fn busy(&mut self) -> Result<bool, Error> {
        Ok(self.status()? & BUSY != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    const CHIP: Chip = Chip {
        identity: [1, 2, 3],
        capacity: 1 << 25,
        erase_size: 4096,
        address: 4,
        read: 0x13,
        program: 0x12,
        erase: 0x21,
    };

    /// A flash that is busy for some polls after each program and erase, as QEMU's never is.
    struct Fake {
        memory: Vec<u8>,
        identity: [u8; 3],
        status: u8,
        polls: u32,
        protected: bool,
    }

    impl Fake {
        fn new() -> Self {
            let memory = vec![0xff; CHIP.capacity];
            Self { memory, identity: [1, 2, 3], status: 0, polls: 0, protected: false }
        }

        fn begin(&mut self) -> bool {
            let begins = self.status == ENABLED;
            if begins {
                self.status = BUSY;
                self.polls = 3;
            }
            begins
        }
    }

    impl Spi for Fake {
        const DATA_MAX: usize = 100;

        fn exchange(&mut self, command: &[u8], data: Data<'_>) -> Result<(), Silent> {
            let at = command.get(1..5).map_or(0, |address| {
                u32::from_be_bytes(address.try_into().unwrap_or_default()) as usize
            });
            assert!(self.status & BUSY == 0 || command == [STATUS], "asked while busy");
            match (command[0], data) {
                (WRITE_ENABLE, Data::To([])) if !self.protected => self.status |= ENABLED,
                (WRITE_ENABLE, Data::To([])) => {}
                (STATUS, Data::From(bytes)) => {
                    bytes.fill(self.status);
                    self.polls = self.polls.saturating_sub(1);
                    if self.polls == 0 {
                        self.status &= !BUSY;
                    }
                }
                (IDENTITY, Data::From(bytes)) => bytes.copy_from_slice(&self.identity),
                (0x13, Data::From(bytes)) => {
                    assert!(bytes.len() <= Self::DATA_MAX);
                    bytes.copy_from_slice(&self.memory[at..at + bytes.len()]);
                }
                (0x12, Data::To(bytes)) if self.begin() => {
                    // What goes beyond a page begins it anew.
                    for (n, byte) in bytes.iter().enumerate() {
                        self.memory[at / PAGE * PAGE + (at + n) % PAGE] &= byte;
                    }
                }
                (0x21, Data::To([])) if self.begin() => {
                    self.memory[at / 4096 * 4096..][..4096].fill(0xff);
                }
                (code, data) => panic!("{code:x} {data:?} in status {}", self.status),
            }
            Ok(())
        }
    }

    fn finish(flash: &mut SpiNor<Fake>) -> usize {
        (0..10).take_while(|_| flash.busy() == Ok(true)).count()
    }

    #[test]
    fn a_flash_is_programmed_and_erased_in_steps() {
        let mut flash = SpiNor::new(Fake::new(), CHIP).unwrap();
        let block = (1 << 24) + 4096;
        let page: Vec<u8> = (0..=255).collect();
        flash.start_program(block + 256, &page).unwrap();
        assert_eq!(finish(&mut flash), 3, "it is busy as long as it says so");
        flash.start_program(block + 256 + 7, &[0xf0]).unwrap();
        finish(&mut flash);
        let mut bytes = [0; 258];
        flash.read(block + 255, &mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[257]), (0xff, 0xff));
        assert_eq!((bytes[7], bytes[8], bytes[9]), (6, 0, 8), "bits only go down");
        assert_eq!(flash.spi.memory[4096 + 256], 0xff, "all of the address counts");
        flash.start_program(block - 1, &[0]).unwrap();
        finish(&mut flash);
        flash.start_erase(block).unwrap();
        assert_eq!(finish(&mut flash), 3);
        flash.read(block - 1, &mut bytes).unwrap();
        assert_eq!(bytes[0], 0, "only that block is erased");
        assert!(bytes[1..].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn three_bytes_of_an_address_are_sent_if_there_are_no_more() {
        let chip = Chip { address: 3, ..CHIP };
        let flash = SpiNor { spi: Fake::new(), chip };
        assert_eq!(flash.command(0x03, 0x12_3456), ([0x03, 0x12, 0x34, 0x56, 0], 4));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_begun() {
        let mut flash = SpiNor::new(Fake::new(), CHIP).unwrap();
        let end = CHIP.capacity as u32;
        assert_eq!(flash.start_program(255, &[0; 2]), Err(Error::Outside));
        assert_eq!(flash.start_program(end - 1, &[0; 2]), Err(Error::Outside));
        assert_eq!(flash.start_erase(256), Err(Error::Outside));
        assert_eq!(flash.start_erase(end), Err(Error::Outside));
        assert_eq!(flash.read(end, &mut [0]), Err(Error::Outside));
        assert_eq!(flash.read(u32::MAX, &mut [0; 2]), Err(Error::Outside));
        assert_eq!(flash.spi.status, 0);
    }

    #[test]
    fn a_flash_that_is_not_there_is_an_error() {
        let new = |fake| SpiNor::new(fake, CHIP).map(|_| ());
        let other = Fake { identity: [9, 9, 9], ..Fake::new() };
        assert_eq!(new(other), Err(Error::Identity([9, 9, 9])));
        assert_eq!(new(Fake { status: NOBODY, polls: 9, ..Fake::new() }), Err(Error::Silent));
        assert_eq!(new(Fake { status: BUSY, polls: u32::MAX, ..Fake::new() }), Err(Error::Busy));
        // It was reset while it erased.
        assert_eq!(new(Fake { status: BUSY, polls: 5, ..Fake::new() }), Ok(()));
    }

    #[test]
    fn a_protected_flash_is_not_written() {
        let mut flash = SpiNor::new(Fake { protected: true, ..Fake::new() }, CHIP).unwrap();
        assert_eq!(flash.start_program(0, &[0]), Err(Error::Protected));
        assert_eq!(flash.start_erase(0), Err(Error::Protected));
    }
}
