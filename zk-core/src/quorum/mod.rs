//! The configuration of an ensemble: who belongs to it, who votes, and which sets of voters are a
//! quorum.
//!
//! A [`Config`] is made from its text, the one that stands in `/zookeeper/config`, in `NEWLEADER`
//! packets, in notifications and in dynamic files, and writes it as Apache does. [`Quorums`] are
//! the committed configuration and the one that a reconfiguration proposes.

mod change;
mod config;
mod quorums;
mod server;
mod text;

pub use change::{ChangeError, change, check};
#[cfg(feature = "alloc")]
pub use config::TEXT_MAX;
pub use config::{Config, ConfigError, Grouped, MEMBERS_MAX, Member, Port, Problem, server_in};
pub use quorums::Quorums;
pub use server::{
    ADDRESSES_MAX, Address, Host, Role, Server, ServerError, host_and_port, put_host_and_port,
};
pub use text::{version, version_for};

/// Sorts a few dozen entries at most, by insertion: the sorts of the standard library take ten
/// kilobytes of flash. Equal entries keep their order.
fn sort_by<T>(entries: &mut [T], compare: impl Fn(&T, &T) -> core::cmp::Ordering) {
    for end in 1..entries.len() {
        let mut at = end;
        while at > 0 && compare(&entries[at - 1], &entries[at]).is_gt() {
            entries.swap(at - 1, at);
            at -= 1;
        }
    }
}
