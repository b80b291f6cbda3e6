//! A word that a device reads and writes, too.

use core::ptr::with_exposed_provenance_mut;

/// A register of 32 bits at a fixed address.
#[derive(Clone, Copy, Debug)]
pub struct Register(usize);

impl Register {
    /// The register at an address.
    ///
    /// # Safety
    /// There is one, a multiple of 4, and neither reading nor writing it breaks what Rust knows of
    /// memory: where a device is told to write, the caller answers for.
    pub const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    /// What it says.
    pub fn read(self) -> u32 {
        // SAFETY: `at` was promised a register here.
        unsafe { with_exposed_provenance_mut::<u32>(self.0).read_volatile() }
    }

    /// Says something to it.
    pub fn write(self, value: u32) {
        // SAFETY: `at` was promised a register here.
        unsafe { with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }
}
