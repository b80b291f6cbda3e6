//! Where a server stands in its ensemble.

use core::fmt;

use zk_core::id::{Epoch, ServerId, Zxid};
use zk_core::peer::{Peer, State};

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is alone.
    Standalone,
    /// It looks for a leader.
    Looking,
    /// It looks for a leader, and serves clients that only read.
    ReadOnly,
    /// It leads.
    Leader,
    /// It follows, and votes.
    Follower,
    /// It follows without a vote.
    Observer,
}

impl fmt::Display for Role {
    /// As `srvr` and `mntr` call it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standalone => "standalone",
            Self::Looking => "looking",
            Self::ReadOnly => "read-only",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
        })
    }
}

/// Where a server stands. Told at every change; see [`Builder::on_change`](super::Builder::on_change).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<ServerId>,
    /// Whether it serves clients.
    pub serving: bool,
    /// The epoch whose leader's history it has.
    pub epoch: Epoch,
    /// Its last transaction, when the rest changed.
    pub zxid: Zxid,
}

impl Standing {
    pub(super) fn of(peer: &Peer<'_>) -> Self {
        let role = match peer.state() {
            State::Standalone => Role::Standalone,
            State::Leading => Role::Leader,
            State::Following => Role::Follower,
            State::Observing => Role::Observer,
            State::Looking if peer.is_read_only() => Role::ReadOnly,
            State::Recovering | State::Looking | State::Stopped(_) => Role::Looking,
        };
        Self {
            role,
            leader: peer.leader(),
            serving: peer.is_serving(),
            epoch: peer.epochs().current,
            zxid: peer.tree().last_zxid(),
        }
    }

    /// Whether it is told after `before`.
    pub(super) fn is_news(&self, before: &Self) -> bool {
        Self { zxid: before.zxid, ..*self } != *before
    }
}
