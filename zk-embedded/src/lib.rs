//! zk-embedded
#![no_std]
