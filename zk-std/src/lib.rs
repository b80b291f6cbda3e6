//! zk-std
