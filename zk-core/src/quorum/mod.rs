//! The configuration of an ensemble: who belongs to it, who votes, and which sets of voters are a
//! quorum.
//!
//! A [`Config`] is made from its text, the one that stands in `/zookeeper/config`, in `NEWLEADER`
//! packets, in notifications and in dynamic files, and writes it as Apache does. [`Quorums`] are
//! the committed configuration and the one that a reconfiguration proposes.

mod config;
mod quorums;
mod server;
mod text;

#[cfg(feature = "alloc")]
pub use config::TEXT_MAX;
pub use config::{Config, ConfigError, Grouped, MEMBERS_MAX, Member, Port, Problem};
pub use quorums::Quorums;
pub use server::{ADDRESSES_MAX, Address, Host, Role, Server, ServerError, host_and_port};
