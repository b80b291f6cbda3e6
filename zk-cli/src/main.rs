//! zk
fn main() {}
