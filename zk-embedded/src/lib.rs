//! The core on a microcontroller.
//!
//! [`flash`] keeps a peer's history in NOR flash. `boards` has firmware that runs the core's tests on
//! an emulated Cortex-M3, and the image whose size is measured. Peers on smoltcp will live here.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "simulated"))]
extern crate std;

pub mod flash;
