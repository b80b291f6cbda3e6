//! What stands for a board's memory and flash in the examples, on this machine.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use zk_core::id::ServerId;
use zk_core::wire::provision::{self, Provision};
use zk_embedded::profile::Ram;

/// Memory for the tables: a board lends pieces of a `static`.
pub(crate) struct Heap;

impl<'m> Ram<'m> for Heap {
    fn lend<T: 'm>(&mut self, len: usize, entry: impl FnMut() -> T) -> &'m mut [T] {
        Vec::leak(core::iter::repeat_with(entry).take(len).collect())
    }

    fn place<T: 'm>(&mut self, make: impl FnOnce() -> T) -> &'m mut T {
        Box::leak(Box::new(make()))
    }
}

/// A flash: a driver with the traits of `embedded-storage`, or `flash::Nor`, which need not wait for an
/// erase.
pub(crate) struct Chip(Vec<u8>);

impl Chip {
    /// What `zk board provision --id 1 --peers 1=10.0.0.1 --out FILE` writes at its start.
    pub(crate) fn provisioned() -> Self {
        let mut bytes = vec![0xff; 64 * Self::ERASE_SIZE];
        let provision = Provision {
            server: ServerId(1),
            hardware: [2, 0, 0, 0, 0, 1],
            address: [10, 0, 0, 1].into(),
            prefix: 24,
            gateway: None,
            client_port: 2181,
            config: "server.1=10.0.0.1:2888:3888:participant;0.0.0.0:2181",
        };
        provision::encode(&provision, &mut bytes).expect("it makes sense");
        Self(bytes)
    }
}

impl ErrorType for Chip {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let found = self.0.get(offset as usize..).and_then(|from| from.get(..bytes.len()));
        bytes.copy_from_slice(found.ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let block = self.0.get_mut(from as usize..to as usize);
        block.ok_or(NorFlashErrorKind::OutOfBounds)?.fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let cells = self.0.get_mut(offset as usize..).and_then(|from| from.get_mut(..bytes.len()));
        let cells = cells.ok_or(NorFlashErrorKind::OutOfBounds)?;
        // Programming only clears bits.
        cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}
