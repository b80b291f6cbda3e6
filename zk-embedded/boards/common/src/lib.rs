//! What boards share, and what is nothing of zk's: how a register, an SPI flash and a ring of frames
//! are used. Which ones there are, a board's own crate knows.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod arena;
pub mod clock;
pub mod ethernet;
#[cfg(target_os = "none")]
pub mod firmware;
pub mod line;
pub mod nor;
#[cfg(target_os = "none")]
pub mod panic;
pub mod record;
pub mod register;
#[cfg(target_os = "none")]
pub mod reset;
#[cfg(all(target_os = "none", feature = "semihosting"))]
pub mod selftest;
pub mod spi;
#[cfg(target_os = "none")]
pub mod stack;
pub mod watchdog;
