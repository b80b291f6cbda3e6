//! A ZooKeeper server on an operating system: `zoo.cfg`, Apache's files, mio.
#![forbid(unsafe_code)]

pub mod config;
pub mod load;
pub mod member;
pub mod server;
pub mod store;
