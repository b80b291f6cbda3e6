//! ZooKeeper's protocol as a deterministic state machine, without I/O.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client;
pub mod id;
pub mod memory;
pub mod peer;
pub mod request;
pub mod session;
pub mod time;
pub mod tree;
pub mod wire;
