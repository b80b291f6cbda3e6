//! Bytes and values: every record of ZooKeeper's ports and files, defined once.
//!
//! Nothing here keeps state. [`jute`] is the encoding of ZooKeeper's ports and files; postcard
//! serves what is zk's own.

pub mod capacity;
pub mod client;
pub mod code;
pub mod compact;
pub mod election;
pub mod file;
pub mod frame;
pub mod jute;
pub mod provision;
pub mod quorum;
pub mod txn;

pub use code::{Code, OpCode};
