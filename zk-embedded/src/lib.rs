//! The core on a microcontroller.
//!
//! A [`node`] is a peer on a network: one loop over the core, smoltcp ([`net`]) and a disk. [`flash`]
//! keeps its history in NOR flash, [`serial`] is a network over a line of bytes. `boards` has firmware that
//! runs the core's tests on an emulated Cortex-M3, and the image whose size is measured.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "simulated"))]
extern crate std;

pub mod board;
pub mod flash;
pub mod net;
pub mod node;
pub mod profile;
pub mod serial;
