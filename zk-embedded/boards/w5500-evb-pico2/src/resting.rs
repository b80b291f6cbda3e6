//! A flash whose driver waits until an erase is done, and that rests after it.
//!
//! The loop does as many steps of the disk in a row as there are until the disk has something to wait for.
//! With a driver that waits by itself these could be several erases, and nobody would be served meanwhile.
//! So after each one the flash says for as many steps that it is still busy.

use zk_embedded::flash::Nor;

/// How often it is asked in vain after an erase: as many steps as `Node::poll` does in a row.
pub const REST: u32 = 16;

/// Such a flash.
#[derive(Debug)]
pub struct Resting<N> {
    flash: N,
    rests: u32,
}

impl<N: Nor> Resting<N> {
    /// One that need not rest.
    pub const fn new(flash: N) -> Self {
        Self { flash, rests: 0 }
    }
}

impl<N: Nor> Nor for Resting<N> {
    type Error = N::Error;

    fn write_size(&self) -> usize {
        self.flash.write_size()
    }

    fn page_size(&self) -> usize {
        self.flash.page_size()
    }

    fn erase_size(&self) -> usize {
        self.flash.erase_size()
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), N::Error> {
        self.flash.read(offset, bytes)
    }

    fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), N::Error> {
        self.flash.start_program(offset, bytes)
    }

    fn start_erase(&mut self, offset: u32) -> Result<(), N::Error> {
        self.rests = REST;
        self.flash.start_erase(offset)
    }

    fn busy(&mut self) -> Result<bool, N::Error> {
        if let Some(rests) = self.rests.checked_sub(1) {
            self.rests = rests;
            return Ok(true);
        }
        self.flash.busy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::tests::Bytes;

    #[test]
    fn it_rests_after_an_erase_and_only_then() {
        let mut flash = Resting::new(Bytes::new(64));
        assert_eq!(flash.busy(), Ok(false));
        flash.start_program(0, &[1, 2]).unwrap();
        assert_eq!(flash.busy(), Ok(false));
        for _ in 0..2 {
            flash.start_erase(8).unwrap();
            assert_eq!((0..100).take_while(|_| flash.busy() == Ok(true)).count(), REST as usize);
        }
        let mut bytes = [0; 9];
        flash.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 2, 3, 4, 5, 6, 7, 0xff]);
        let sizes = (flash.write_size(), flash.page_size(), flash.erase_size(), flash.capacity());
        assert_eq!(sizes, (1, 4, 8, 64));
    }
}
