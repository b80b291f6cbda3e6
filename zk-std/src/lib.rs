//! zk-std
pub mod config;
