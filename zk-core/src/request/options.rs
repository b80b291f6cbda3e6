//! What an operator can set about requests and sessions.

use crate::id::ServerId;

/// When the [compact dialect](crate::wire::compact) is spoken with another member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Never: a connection of the election port has no room for packets.
    Never,
    /// If the other asks for it.
    #[default]
    Asked,
    /// If the other knows it: it is asked.
    Asks,
}

/// Settings of a peer; the defaults are Apache's.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which member this is.
    pub server: ServerId,
    /// Whether the peer is to join an ensemble: it keeps the transactions that it loads, for others.
    pub ensemble: bool,
    /// `tickTime`, ms.
    pub tick_time: u32,
    /// `initLimit`: ticks in which a leader is found and its history taken over.
    pub init_limit: u32,
    /// `syncLimit`: ticks of silence after which another member counts as gone.
    pub sync_limit: u32,
    /// Whether one connection to a member may carry both votes and packets.
    pub dialect: Dialect,
    /// `reconfigEnabled`: the ensemble's configuration may change while it runs. Otherwise it is what
    /// this server's own file says, whatever others have. With `--cfg zk_handle16` it is as if this were not set.
    pub reconfig: bool,
    /// `standaloneEnabled`: a reconfiguration leaves two voters at least, else one.
    pub standalone: bool,
    /// `readonlymode.enabled`: without a leader, clients that ask for it are served what is here.
    pub read_only: bool,
    /// `leaderServes`: a leader has clients of its own, too.
    pub leader_serves: bool,
    /// `localSessionsEnabled`: new sessions are known to their server alone. Their ids take no zxid, so
    /// [`SessionId::first`](crate::id::SessionId::first) must come from a clock. Not for a peer alone.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`: a local session that creates an ephemeral node becomes one of
    /// the ensemble.
    pub local_sessions_upgrading: bool,
    /// `minSessionTimeout`, ms.
    pub min_session_timeout: u32,
    /// `maxSessionTimeout`, ms.
    pub max_session_timeout: u32,
    /// `jute.maxbuffer`: bytes of the largest frame from a client.
    pub max_frame: usize,
    /// Bytes of the largest transaction: a frame and what validation adds to it.
    pub max_txn: usize,
    /// Bytes of the largest reply.
    pub max_reply: usize,
    /// Bytes of replies that wait for a slow client before its requests wait too.
    pub reply_high_mark: usize,
    /// Bytes of requests of one connection that wait for earlier ones.
    pub max_waiting: usize,
    /// Bytes that the shell can show at once of what a client has sent. The beginning of a longer frame is
    /// taken to where frames wait, and its rest as it comes.
    pub max_shown: usize,
    /// `extendedTypesEnabled`: nodes with a time to live.
    pub extended_types: bool,
    /// `enforceQuota`: hard quotas refuse.
    pub enforce_quota: bool,
    /// `skipACL`: access control lists refuse nothing.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.superDigest`: who is `super`.
    pub super_digest: Option<heapless::String<96>>,
    /// `snapCount`: transactions between snapshots (randomised downwards to half).
    pub snap_count: u32,
    /// `snapSizeLimitInKb`, in bytes: size of logs between snapshots.
    pub snap_size: u64,
    /// Bytes of transactions that are synced at once.
    pub max_batch: usize,
    /// Nodes, watches or paths that one call works through; what is longer is done in slices.
    pub slice: usize,
    /// Ephemeral nodes that one session may have.
    pub max_ephemerals: usize,
    /// Watches that one connection may have.
    pub max_watches: u32,
    /// `znode.container.checkIntervalMs`: how often containers and TTL nodes are looked for, ms.
    pub container_check_interval: u32,
    /// `znode.container.maxPerMinute`: how many of them go in a minute.
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`: when a container that never had a child goes, ms;
    /// 0: never.
    pub container_max_never_used: u32,
}

impl Options {
    /// [`reconfig`](Self::reconfig), if this build can.
    pub(crate) const fn reconfigures(&self) -> bool {
        cfg!(not(zk_handle16)) && self.reconfig
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            server: ServerId::STANDALONE,
            ensemble: false,
            tick_time: 3000,
            init_limit: 10,
            sync_limit: 5,
            dialect: Dialect::Asked,
            reconfig: false,
            standalone: true,
            read_only: false,
            leader_serves: true,
            local_sessions: false,
            local_sessions_upgrading: false,
            min_session_timeout: 6000,
            max_session_timeout: 60_000,
            max_frame: 0xf_ffff,
            max_txn: 0x1f_ffff,
            max_reply: 64 << 20,
            reply_high_mark: 256 << 10,
            max_waiting: 4 << 20,
            max_shown: usize::MAX,
            extended_types: false,
            enforce_quota: false,
            skip_acl: false,
            super_digest: None,
            snap_count: 100_000,
            snap_size: 4 << 30,
            max_batch: 1 << 20,
            slice: crate::tree::SLICE,
            max_ephemerals: 100_000,
            max_watches: 1_000_000,
            container_check_interval: 60_000,
            container_max_per_minute: 10_000,
            container_max_never_used: 0,
        }
    }
}
