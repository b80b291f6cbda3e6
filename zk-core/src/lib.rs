//! ZooKeeper's protocol as a deterministic state machine, without I/O.
//!
//! [`peer::Peer`] is one member of an ensemble (today: a standalone server). A shell moves bytes
//! between it, sockets and a disk, and tells it the time; nothing in here reads a clock, waits,
//! allocates (unless asked to) or calls an operating system. The same inputs give the same outputs.
//!
//! From the bottom up: [`id`] and [`time`]; [`memory`], bounded storage; [`quorum`], who belongs to
//! an ensemble; [`wire`], every record once; [`tree`] and [`session`]; [`request`], from requests to
//! transactions to the tree; [`peer`].
//! [`client`] is the other side of a session.
//!
//! Features: `alloc` (tables that grow on the heap, beside lent ones), `std` (hardware checksums),
//! `stats` (what only a server shows is counted), `log`, `defmt`. None changes behaviour.
//! `--cfg zk_handle16` is for small boards: handles of 16 bits, less room for a connection's identities, waiting
//! syncs and strangers, and no reconfiguration, whose code is left out.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

/// Whether one of these bugs of the past is planted: never, except in a search for them (see `planted`).
#[cfg(not(zk_planted))]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($($bug:ident),+) => {
        false
    };
}

/// Whether one of these bugs of the past is planted.
#[cfg(zk_planted)]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($($bug:ident),+) => {
        false $(|| $crate::planted::is($crate::planted::Bug::$bug))+
    };
}

pub mod client;
pub mod crc;
pub mod election;
pub mod id;
pub mod memory;
pub mod peer;
#[cfg(zk_planted)]
pub mod planted;
pub mod quorum;
pub mod request;
pub mod session;
pub mod text;
pub mod time;
mod trace;
pub mod tree;
pub mod wire;
pub mod zab;
