//! The core on a microcontroller.
//!
//! Of this crate there are only its `boards` yet: firmware that runs the core's tests on an emulated
//! Cortex-M3, and the image whose size is measured. Peers on smoltcp over NOR flash will live here.
#![no_std]
#![forbid(unsafe_code)]
