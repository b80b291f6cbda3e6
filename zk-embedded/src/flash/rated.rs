//! A flash that takes its time.

use core::fmt::{self, Debug};

use zk_core::time::Instant;

use super::nor::Nor;

/// How long a flash takes, as a data sheet says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rating {
    /// Milliseconds of a program.
    pub program: u32,
    /// Milliseconds of an erase.
    pub erase: u32,
}

impl Rating {
    /// What the data sheets of SPI flashes allow at the most, more or less.
    pub const SLOWEST: Self = Self { program: 3, erase: 3000 };
}

/// A flash that is busy so long after each operation, whatever it is in truth: to see what a board, or a
/// model of one, makes of a slow one. `C` says what time it is.
pub struct Rated<N, C> {
    nor: N,
    clock: C,
    rating: Rating,
    until: Instant,
    erases: fn(u32),
}

impl<N, C: Fn() -> Instant> Rated<N, C> {
    /// A flash that takes as long as its rating says. `erases` hears where each block begins that is
    /// erased.
    pub fn new(nor: N, clock: C, rating: Rating, erases: fn(u32)) -> Self {
        Self { nor, clock, rating, until: Instant(0), erases }
    }

    /// The flash.
    pub fn get(&self) -> &N {
        &self.nor
    }

    fn takes(&mut self, ms: u32) {
        self.until = (self.clock)().plus(u64::from(ms));
    }
}

impl<N: Debug, C> Debug for Rated<N, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nor, rating, until, .. } = self;
        f.debug_struct("Rated")
            .field("nor", nor)
            .field("rating", rating)
            .field("until", until)
            .finish_non_exhaustive()
    }
}

impl<N: Nor, C: Fn() -> Instant> Nor for Rated<N, C> {
    type Error = N::Error;

    fn write_size(&self) -> usize {
        self.nor.write_size()
    }

    fn page_size(&self) -> usize {
        self.nor.page_size()
    }

    fn erase_size(&self) -> usize {
        self.nor.erase_size()
    }

    fn capacity(&self) -> usize {
        self.nor.capacity()
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.nor.read(offset, bytes)
    }

    fn start_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.nor.start_program(offset, bytes)?;
        self.takes(self.rating.program);
        Ok(())
    }

    fn start_erase(&mut self, offset: u32) -> Result<(), Self::Error> {
        self.nor.start_erase(offset)?;
        (self.erases)(offset);
        self.takes(self.rating.erase);
        Ok(())
    }

    fn busy(&mut self) -> Result<bool, Self::Error> {
        Ok(self.nor.busy()? || (self.clock)() < self.until)
    }
}
