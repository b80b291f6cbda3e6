//! `zoo.cfg` as Apache ZooKeeper reads it.

pub mod properties;
