//! A ZooKeeper server on an operating system.

pub mod store;
