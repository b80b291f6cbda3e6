//! The history of a peer in NOR flash.

mod blocks;
mod boot;
pub mod disk;
mod error;
mod layout;
pub mod nor;
mod read;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;
mod store;
#[cfg(test)]
mod tests;

pub use blocks::Block;
pub use boot::Found;
pub use disk::{Disk, History};
pub use error::{Damage, Error, Rot};
pub use layout::{REASON_MAX, Snapshot, VERSION, WRITE_SIZE_MAX};
pub use nor::{Blocking, Nor};
pub use read::{Entries, Load, Loaded, Refusal};
pub use store::{Done, Memory, Options, Poll, Store, batch_len};
