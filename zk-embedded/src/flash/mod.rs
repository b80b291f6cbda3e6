//! The history of a peer in NOR flash.

pub mod nor;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;

pub use nor::{Blocking, Nor};

/// The largest write size of a device.
pub const WRITE_SIZE_MAX: usize = 64;
