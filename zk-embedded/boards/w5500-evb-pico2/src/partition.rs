//! A part of a flash, which is all that its user can reach.

use core::fmt;

use zk_embedded::flash::Nor;

/// Why a part of a flash does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// Not within the part.
    Outside,
    /// The flash.
    Flash(E),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside => f.write_str("there is no such place in it"),
            Self::Flash(error) => error.fmt(f),
        }
    }
}

/// The bytes of a flash from an offset on.
#[derive(Debug)]
pub struct Partition<N> {
    flash: N,
    offset: u32,
    len: u32,
}

impl<N: Nor> Partition<N> {
    /// `len` bytes from `offset` on, whole erase blocks of the flash.
    pub const fn new(flash: N, offset: u32, len: u32) -> Self {
        Self { flash, offset, len }
    }

    /// Where so many bytes are in the flash.
    fn within(&self, offset: u32, len: usize) -> Result<u32, Error<N::Error>> {
        let end = u32::try_from(len).ok().and_then(|len| offset.checked_add(len));
        let inside = end.is_some_and(|end| end <= self.len);
        let at = self.offset.checked_add(offset).filter(|_| inside);
        at.ok_or(Error::Outside)
    }
}

impl<N: Nor> Nor for Partition<N> {
    type Error = Error<N::Error>;

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
        self.len as usize
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let at = self.within(offset, bytes.len())?;
        self.flash.read(at, bytes).map_err(Error::Flash)
    }

    fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let at = self.within(offset, bytes.len())?;
        self.flash.start_program(at, bytes).map_err(Error::Flash)
    }

    fn start_erase(&mut self, offset: u32) -> Result<(), Self::Error> {
        let at = self.within(offset, self.flash.erase_size())?;
        self.flash.start_erase(at).map_err(Error::Flash)
    }

    fn busy(&mut self) -> Result<bool, Self::Error> {
        self.flash.busy().map_err(Error::Flash)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::vec::Vec;

    use super::*;

    /// There is no such byte.
    #[derive(Debug, PartialEq)]
    pub(crate) struct Gone;

    impl fmt::Display for Gone {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("gone")
        }
    }

    /// Blocks of 8 bytes.
    pub(crate) struct Bytes(Vec<u8>);

    impl Bytes {
        /// So many, which count.
        pub(crate) fn new(len: u8) -> Self {
            Self((0..len).collect())
        }
    }

    impl Nor for Bytes {
        type Error = Gone;

        fn write_size(&self) -> usize {
            1
        }

        fn page_size(&self) -> usize {
            4
        }

        fn erase_size(&self) -> usize {
            8
        }

        fn capacity(&self) -> usize {
            self.0.len()
        }

        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Gone> {
            bytes.copy_from_slice(
                self.0.get(offset as usize..).ok_or(Gone)?.get(..bytes.len()).ok_or(Gone)?,
            );
            Ok(())
        }

        fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Gone> {
            self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn start_erase(&mut self, offset: u32) -> Result<(), Gone> {
            self.0[offset as usize..][..8].fill(0xff);
            Ok(())
        }

        fn busy(&mut self) -> Result<bool, Gone> {
            Ok(false)
        }
    }

    #[test]
    fn nothing_outside_is_reached() {
        let mut part = Partition::new(Bytes::new(64), 16, 32);
        assert_eq!((part.write_size(), part.page_size(), part.erase_size()), (1, 4, 8));
        assert_eq!(part.capacity(), 32);
        let mut bytes = [0; 32];
        part.read(0, &mut bytes).unwrap();
        assert!(bytes.iter().copied().eq(16..48));
        part.start_program(28, &[0; 4]).unwrap();
        part.start_erase(0).unwrap();
        assert_eq!(part.busy(), Ok(false));
        for offset in [1, 32, u32::MAX] {
            assert_eq!(part.read(offset, &mut bytes), Err(Error::Outside));
        }
        assert_eq!(part.start_program(29, &[0; 4]), Err(Error::Outside));
        assert_eq!(part.start_erase(32), Err(Error::Outside));
        assert_eq!(part.start_erase(u32::MAX - 7), Err(Error::Outside));
        let kept: Vec<u8> =
            (0..16).chain([0xff; 8]).chain(24..44).chain([0; 4]).chain(48..64).collect();
        assert_eq!(part.flash.0, kept);
        // A part that the flash does not have is the flash's to refuse.
        let mut part = Partition::new(Bytes::new(64), 60, 32);
        assert_eq!(part.read(0, &mut bytes), Err(Error::Flash(Gone)));
        let mut part = Partition::new(Bytes::new(64), u32::MAX, 32);
        assert_eq!(part.read(1, &mut bytes[..1]), Err(Error::Outside));
    }
}
