//! WIZnet's W5500-EVB-Pico2: an RP2350A (as a Cortex-M33 of 150 MHz), 520 KiB of RAM, 2 MiB of flash that
//! the firmware runs from, and a W5500, an Ethernet chip, on the first SPI bus.
//!
//! Nothing here has run on the board so far: what does not touch the chip is tested on the host, the rest
//! is built.
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(target_os = "none")]
mod chip;
#[cfg(target_os = "none")]
pub mod clock;
#[cfg(target_os = "none")]
pub mod mac;
#[cfg(target_os = "none")]
pub mod nor;
pub mod partition;
pub mod resting;
pub mod w5500;
#[cfg(target_os = "none")]
pub mod watchdog;
