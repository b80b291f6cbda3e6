//! NOR flash, driven in steps: an erase of 3 s must not keep a board from its network.

use core::fmt::{self, Debug, Display};

use embedded_storage::nor_flash::{NorFlash, NorFlashError, ReadNorFlash};

/// A NOR flash that programs and erases while its board does something else.
///
/// Erased bits read as 1. Programming makes some of them 0; only erasing a whole block makes them 1
/// again. The store programs no unit of [`write_size`](Self::write_size) bytes twice between two
/// erases, so flashes that keep a checksum of each unit will do.
///
/// Offsets are bytes from the start of the device.
pub trait Nor {
    /// Why the device does not do what it is asked.
    type Error: Debug + Display;

    /// Bytes that are programmed together: programs begin and end at multiples of it. A power of
    /// two, [`WRITE_SIZE_MAX`](super::WRITE_SIZE_MAX) at most.
    fn write_size(&self) -> usize;

    /// Bytes that one program may have at most, and whose multiples it must not cross: 256 for most
    /// SPI flashes. A power of two, no less than the write size.
    fn page_size(&self) -> usize {
        256
    }

    /// Bytes of a block that is erased at once; a multiple of the page size.
    fn erase_size(&self) -> usize;

    /// Bytes of the device.
    fn capacity(&self) -> usize;

    /// Reads; never while the device is [`busy`](Self::busy).
    ///
    /// # Errors
    /// Those of the device.
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error>;

    /// Begins to program `bytes`, a multiple of the write size within one page. The device may take
    /// a copy, or be done when this returns.
    ///
    /// # Errors
    /// Those of the device: the bytes may be programmed in part.
    fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Begins to erase the block that begins at `offset`.
    ///
    /// # Errors
    /// Those of the device: the block may be erased in part.
    fn start_erase(&mut self, offset: u32) -> Result<(), Self::Error>;

    /// Whether what was begun still goes on.
    ///
    /// # Errors
    /// Those of the device: what was begun has failed.
    fn busy(&mut self) -> Result<bool, Self::Error>;
}

/// A flash whose driver returns when the device is done: the board stands still meanwhile.
#[derive(Debug)]
pub struct Blocking<F>(pub F);

/// What such a driver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed<E>(pub E);

impl<E: NorFlashError> Display for Failed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0.kind(), f)
    }
}

/// Bytes that are read at once where a device wants aligned reads.
const BOUNCE: usize = 64;

impl<F: NorFlash> Nor for Blocking<F> {
    type Error = Failed<F::Error>;

    fn write_size(&self) -> usize {
        F::WRITE_SIZE
    }

    fn page_size(&self) -> usize {
        F::WRITE_SIZE.max(256)
    }

    fn erase_size(&self) -> usize {
        F::ERASE_SIZE
    }

    fn capacity(&self) -> usize {
        ReadNorFlash::capacity(&self.0)
    }

    fn read(&mut self, mut offset: u32, mut bytes: &mut [u8]) -> Result<(), Self::Error> {
        let unit = F::READ_SIZE as u32;
        if unit <= 1 {
            return self.0.read(offset, bytes).map_err(Failed);
        }
        // No device of ours wants more than a word.
        let mut room = [0; BOUNCE];
        while !bytes.is_empty() {
            let skip = offset % unit;
            let most = BOUNCE - skip as usize;
            let (now, rest) = bytes.split_at_mut(bytes.len().min(most));
            let end = (skip + now.len() as u32).next_multiple_of(unit) as usize;
            self.0.read(offset - skip, &mut room[..end.min(BOUNCE)]).map_err(Failed)?;
            now.copy_from_slice(&room[skip as usize..][..now.len()]);
            offset += now.len() as u32;
            bytes = rest;
        }
        Ok(())
    }

    fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write(offset, bytes).map_err(Failed)
    }

    fn start_erase(&mut self, offset: u32) -> Result<(), Self::Error> {
        self.0.erase(offset, offset + F::ERASE_SIZE as u32).map_err(Failed)
    }

    fn busy(&mut self) -> Result<bool, Self::Error> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use embedded_storage::nor_flash::{ErrorType, NorFlashError, NorFlashErrorKind};
    use std::vec::Vec;

    use super::*;

    /// A driver that reads and writes words, as those of chips' own flashes do.
    struct Words(Vec<u8>);

    #[derive(Debug, PartialEq)]
    struct Misaligned;

    impl NorFlashError for Misaligned {
        fn kind(&self) -> NorFlashErrorKind {
            NorFlashErrorKind::NotAligned
        }
    }

    impl ErrorType for Words {
        type Error = Misaligned;
    }

    impl ReadNorFlash for Words {
        const READ_SIZE: usize = 4;

        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Misaligned> {
            if !(offset as usize | bytes.len()).is_multiple_of(4) {
                return Err(Misaligned);
            }
            bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
            Ok(())
        }

        fn capacity(&self) -> usize {
            self.0.len()
        }
    }

    impl NorFlash for Words {
        const WRITE_SIZE: usize = 8;
        const ERASE_SIZE: usize = 1024;

        fn erase(&mut self, from: u32, to: u32) -> Result<(), Misaligned> {
            self.0[from as usize..to as usize].fill(0xff);
            Ok(())
        }

        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Misaligned> {
            if !(offset as usize | bytes.len()).is_multiple_of(8) {
                return Err(Misaligned);
            }
            self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn a_blocking_driver_is_used_as_one_in_steps() {
        let mut flash = Blocking(Words((0..4096).map(|n| (n % 251) as u8).collect()));
        let sizes = (flash.write_size(), flash.page_size(), flash.erase_size(), flash.capacity());
        assert_eq!(sizes, (8, 256, 1024, 4096));
        // Wherever it begins and ends.
        for offset in 0..9 {
            for len in [0, 1, 3, 4, 61, 64, 65, 200] {
                let mut bytes = std::vec![0; len];
                flash.read(offset as u32, &mut bytes).unwrap();
                assert!(bytes.iter().enumerate().all(|(n, b)| *b == ((offset + n) % 251) as u8));
            }
        }
        flash.start_erase(1024).unwrap();
        assert!(!flash.busy().unwrap());
        flash.start_program(1032, &[1; 8]).unwrap();
        let mut bytes = [0; 10];
        flash.read(1031, &mut bytes).unwrap();
        assert_eq!(bytes, [0xff, 1, 1, 1, 1, 1, 1, 1, 1, 0xff]);
        assert_eq!(flash.start_program(1033, &[1; 8]), Err(Failed(Misaligned)));
    }
}
