//! `zoo.cfg` as Apache ZooKeeper reads it.
//!
//! [`Config::load`] reads a file with the files it leads to (`myid`, the dynamic configuration);
//! [`Config::parse`] reads a text alone. Every key that Apache 3.8 to 3.10 knows is in one table,
//! [`keys::KEYS`]: honoured (it has a field here), without effect (a [`Warning`] at start), or
//! refused (an [`Error`]; the process exits with [`EXIT_CODE`]). Defaults are those of 3.8.0.
//!
//! Sources: Apache's `QuorumPeerConfig`, `ServerConfig`, and the classes that read each system
//! property.
//!
//! # Differences from Apache 3.8.0
//! - `jute.maxbuffer`, `znode.container.*` and `readonlymode.enabled`, which Apache reads as bare
//!   Java system properties and never from `zoo.cfg`, hold when they stand there.
//!   `multiAddress.enabled` holds for the server lines of the same file.
//! - Overrides win over the file. (In Apache, `zoo.cfg` wins over `-Dzookeeper.key=value`.)
//! - `clientPort=0` asks the system for a port, as from 3.9 on; for 3.8.0 it is no port.
//! - `autopurge.purgeInterval` takes suffixes (`30m`), as from 3.10 on.
//! - Negative times, limits and weights, a host that is empty, two lines for one server or group,
//!   groups that name strangers, and `myid` outside of the server list are errors here; Apache
//!   goes on with some of them, and dies later of others.
//! - Numbers of system properties that make no sense are replaced by the default with a warning;
//!   Apache takes some of them as they are.
//! - A name in `clientPortAddress` is resolved when the port is opened, not here.
//! - Blanks at the end of a server, group or weight line are dropped; Apache refuses them.
//! - A `metricsProvider.className` that nobody knows is no error: none is loaded.

pub mod capacity;
pub mod error;
pub mod keys;
pub mod properties;
pub mod quorum;

mod apply;
mod members;
mod settings;

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zk_core::id::ServerId;
pub use zk_core::quorum::Role;

pub use capacity::Capacity;
pub use error::{EXIT_CODE, Error, Origin, Warning};
pub use quorum::{HostPort, Quorum, QuorumRule, QuorumServer, ServerAddress};
pub use settings::Setting;

use properties::MAX_FILE_BYTES;

/// The port of [`Config::quick_start`], ZooKeeper's own.
pub const DEFAULT_CLIENT_PORT: u16 = 2181;

/// How the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Alone: there is no server line, or one voter and `standaloneEnabled`.
    Standalone,
    /// As a member of an ensemble.
    Quorum,
}

/// Which four-letter words are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FourLetterWords {
    /// All that are known.
    All,
    /// These. `srvr` is always one of them, `isro` with `readonlymode.enabled`.
    Only(BTreeSet<String>),
}

impl FourLetterWords {
    /// Whether a word is answered.
    #[must_use]
    pub fn allows(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(words) => words.contains(word),
        }
    }
}

/// `user:base64(sha1(user:password))` of the superuser; not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SuperDigest(pub String);

impl fmt::Debug for SuperDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

/// A configuration, checked. One field for each honoured key, named after it; the key and unit are
/// in its description.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    // Client port and sessions
    /// `clientPort`, `clientPortAddress`, or the client part of this server's line. `None`: no
    /// client port is opened. The default address is `0.0.0.0`.
    pub client_address: Option<HostPort>,
    /// `clientPortListenBacklog`: connections that wait to be accepted. `None`: 50.
    pub client_port_listen_backlog: Option<u32>,
    /// `maxClientCnxns`: connections from one IP address; 0 is no limit.
    pub max_client_cnxns: u32,
    /// `maxCnxns`: connections in all; 0 is no limit.
    pub max_cnxns: u32,
    /// `tickTime`, in milliseconds; sessions expire at its multiples.
    pub tick_time: u32,
    /// `minSessionTimeout`, in milliseconds; by default 2 ticks.
    pub min_session_timeout: u32,
    /// `maxSessionTimeout`, in milliseconds; by default 20 ticks.
    pub max_session_timeout: u32,
    /// `nio.sessionlessCnxnTimeout`: a connection that has not begun a session in this time is
    /// closed.
    pub sessionless_cnxn_timeout: Duration,
    /// `clientTcpKeepAlive`: `SO_KEEPALIVE` on client connections.
    pub client_tcp_keep_alive: bool,
    /// `jute.maxbuffer`: the largest request, in bytes, and the largest record on disk.
    pub jute_max_buffer: u32,
    /// `jute.maxbuffer.extrasize`: bytes that a record on disk or from the leader may be larger.
    pub jute_max_buffer_extra_size: u32,
    /// `zk.capacity`: what is accepted at most, besides. `None`: what the memory holds.
    pub capacity: Option<Capacity>,
    /// `globalOutstandingLimit`: requests being worked on, above which no more are read.
    pub global_outstanding_limit: u32,
    /// `4lw.commands.whitelist`.
    pub four_letter_words: FourLetterWords,
    /// `readonlymode.enabled`: read-only clients are served while there is no quorum.
    pub read_only_mode_enabled: bool,

    // Directories, logs, snapshots
    /// `dataDir`: snapshots, epochs, `myid`.
    pub data_dir: PathBuf,
    /// `dataLogDir`: transaction logs; by default `dataDir`.
    pub data_log_dir: PathBuf,
    /// `autopurge.snapRetainCount`: snapshots that purging leaves; at least 3.
    pub autopurge_snap_retain_count: u32,
    /// `autopurge.purgeInterval` (in the file: hours). `None`: never.
    pub autopurge_purge_interval: Option<Duration>,
    /// `preAllocSize`: a log grows by this many KiB at a time.
    pub pre_alloc_size_kib: u64,
    /// `snapCount`: transactions (about) between two snapshots; at least 2.
    pub snap_count: u32,
    /// `snapSizeLimitInKb`: KiB of log (about) between two snapshots. `None`: no limit.
    pub snap_size_limit_kib: Option<u64>,
    /// `txnLogSizeLimitInKb`: a log of this many KiB is followed by a new one. `None`: no limit.
    pub txn_log_size_limit_kib: Option<u64>,
    /// `commitLogCount`: transactions kept in memory for learners; at least 500.
    pub commit_log_count: u32,
    /// `snapshotSizeFactor`: a learner gets a snapshot instead of more log than this part of the
    /// snapshot's size. `None` (in the file: negative): never log from disk.
    pub snapshot_size_factor: Option<f64>,
    /// `fsync.warningthresholdms`: a slower sync is logged.
    pub fsync_warning_threshold: Duration,
    /// `snapshot.trust.empty`: logs without any snapshot are replayed.
    pub snapshot_trust_empty: bool,
    /// `db.autocreate`: a directory without data is an empty database; if false, only with a file
    /// `initialize` in it.
    pub db_autocreate: bool,
    /// `datadir.autocreate`: missing directories are made.
    pub datadir_autocreate: bool,
    /// `serializeLastProcessedZxid.enabled`: snapshots end with the last zxid (3.9 and later).
    pub serialize_last_processed_zxid_enabled: bool,

    // Meaning of operations
    /// `extendedTypesEnabled`: TTL nodes may be created.
    pub extended_types_enabled: bool,
    /// `znode.container.checkIntervalMs`: how often empty containers and expired TTL nodes are
    /// looked for.
    pub container_check_interval: Duration,
    /// `znode.container.maxPerMinute`: deletions of them in a minute.
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`: age at which a container that never had a child
    /// is deleted. `None`: never.
    pub container_max_never_used_interval: Option<Duration>,
    /// `enforceQuota`: hard quotas are enforced.
    pub enforce_quota: bool,
    /// `enableEagerACLCheck`: a learner checks the ACL before it forwards a request.
    pub enable_eager_acl_check: bool,

    // Authentication
    /// `skipACL`: no ACL is checked.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.superDigest`. `None`: nobody is superuser.
    pub super_digest: Option<SuperDigest>,

    // The ensemble
    /// The server lines, of this file or of the dynamic one. `None`: there are none.
    pub quorum: Option<Quorum>,
    /// `<zoo.cfg>.dynamic.next`: a configuration that was proposed and perhaps not committed.
    pub last_seen_quorum: Option<Quorum>,
    /// `dynamicConfigFile`.
    pub dynamic_config_file: Option<PathBuf>,
    /// The number in `<dataDir>/myid`. A standalone server does not use it.
    pub server_id: Option<ServerId>,
    /// `standaloneEnabled`: with one voter the server runs alone.
    pub standalone_enabled: bool,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// `initLimit`: ticks that a learner has to connect and get in sync.
    pub init_limit: u32,
    /// `syncLimit`: ticks that a learner may be silent or behind.
    pub sync_limit: u32,
    /// `connectToLearnerMasterLimit`: ticks to connect to the leader; 0 is `initLimit`.
    pub connect_to_learner_master_limit: u32,
    /// Whether this server votes: by the server lines, which win over `peerType`.
    pub peer_type: Role,
    /// `syncEnabled` or `observer.syncEnabled`: an observer keeps logs and snapshots.
    pub sync_enabled: bool,
    /// `quorumListenOnAllIPs`: the ensemble's ports listen on every address.
    pub quorum_listen_on_all_ips: bool,
    /// `observerMasterPort`: a follower serves observers there. `None`: it does not.
    pub observer_master_port: Option<u16>,
    /// `observerMaster.sizeLimit`: bytes of commits that a follower keeps for its observers.
    pub observer_master_size_limit: u32,
    /// `localSessionsEnabled`.
    pub local_sessions_enabled: bool,
    /// `localSessionsUpgradingEnabled`.
    pub local_sessions_upgrading_enabled: bool,
    /// `multiAddress.enabled`: a server line may have several addresses.
    pub multi_address_enabled: bool,
    /// `multiAddress.reachabilityCheckEnabled`.
    pub multi_address_reachability_check_enabled: bool,
    /// `multiAddress.reachabilityCheckTimeoutMs`.
    pub multi_address_reachability_check_timeout: Duration,
    /// `leaderServes`: a leader accepts clients.
    pub leader_serves: bool,
    /// `forceSnapshotSync`: every learner is sent a snapshot.
    pub force_snapshot_sync: bool,
    /// `leader.maxConcurrentSnapSyncs`: learners that are sent a snapshot at a time.
    pub leader_max_concurrent_snap_syncs: u32,
    /// `leader.maxConcurrentDiffSyncs`: learners that are sent a diff at a time.
    pub leader_max_concurrent_diff_syncs: u32,
    /// `leader.maxTimeToWaitForEpoch`. `None`: `initLimit` alone.
    pub leader_max_time_to_wait_for_epoch: Option<Duration>,
    /// `leaderConnectDelayDuringRetryMs`: pause between two attempts to connect to the leader.
    pub leader_connect_delay_during_retry: Duration,
    /// `fastleader.minNotificationInterval`.
    pub fastleader_min_notification_interval: Duration,
    /// `fastleader.maxNotificationInterval`.
    pub fastleader_max_notification_interval: Duration,
    /// `cnxTimeout`: to connect and to greet on the election port.
    pub cnx_timeout: Duration,
    /// `quorumCnxnTimeoutMs`: silence after which an election connection is closed. `None`:
    /// `syncLimit` ticks.
    pub quorum_cnxn_timeout: Option<Duration>,
    /// `electionPortBindRetry`: attempts to open the election port; 0 is no limit.
    pub election_port_bind_retry: u32,
    /// `tcpKeepAlive`: `SO_KEEPALIVE` on election connections.
    pub tcp_keep_alive: bool,
    /// `observer.reconnectDelayMs`: pause of an observer before it connects again.
    pub observer_reconnect_delay: Duration,
    /// `observer.election.DelayMs`: pause of an observer before it looks for a leader.
    pub observer_election_delay: Duration,

    /// The file that this was read from, if it was one.
    pub file: Option<PathBuf>,

    settings: Vec<Setting>,
    warnings: Vec<Warning>,
}

impl Config {
    /// Reads `zoo.cfg` and the files it leads to: `<dataDir>/myid`, and with `dynamicConfigFile`
    /// that file and `<zoo.cfg>.dynamic.next`. Nothing is created or changed.
    ///
    /// `overrides` are keys and values that win over the file, such as `-D` options of a command
    /// line; a prefix `zookeeper.`, as Java's options have it, is dropped.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn load(path: &Path, overrides: &[(String, String)]) -> Result<Self, Error> {
        let text = read(path)?;
        Self::build(Some(path), &text, overrides)
    }

    /// Reads a text alone: without `myid` ([`Config::server_id`] is `None` and not missed), and
    /// without a dynamic configuration.
    ///
    /// # Errors
    /// The first thing that is wrong with it; `dynamicConfigFile` is.
    pub fn parse(text: &[u8], overrides: &[(String, String)]) -> Result<Self, Error> {
        Self::build(None, text, overrides)
    }

    /// The configuration when there is none: standalone on 127.0.0.1:2181, everything else by
    /// default.
    #[must_use]
    pub fn quick_start(data_dir: &Path) -> Self {
        let host = "127.0.0.1".to_owned();
        let client_address = Some(HostPort { host, port: DEFAULT_CLIENT_PORT });
        Self { client_address, ..Self::defaults(data_dir) }
    }

    /// How the server is to run.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let voters = self.quorum.as_ref().map_or(0, |quorum| quorum.voters().count());
        if voters > 1 || !self.standalone_enabled { Mode::Quorum } else { Mode::Standalone }
    }

    /// Everything that has no effect or looks doubtful, to be logged at start.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The settings as written, one for each key, in order of the file, overrides last.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The value of a key as written, if it was set.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|setting| setting.key == key).map(|s| s.value.as_str())
    }

    /// What Apache 3.8.0 takes when a key is missing; there is no client port.
    fn defaults(data_dir: &Path) -> Self {
        let tick_time = 3000;
        Self {
            client_address: None,
            client_port_listen_backlog: None,
            max_client_cnxns: 60,
            max_cnxns: 0,
            tick_time,
            min_session_timeout: 2 * tick_time,
            max_session_timeout: 20 * tick_time,
            sessionless_cnxn_timeout: Duration::from_secs(10),
            client_tcp_keep_alive: false,
            jute_max_buffer: 0xf_ffff,
            jute_max_buffer_extra_size: 0xf_ffff,
            capacity: None,
            global_outstanding_limit: 1000,
            four_letter_words: FourLetterWords::Only(BTreeSet::from(["srvr".to_owned()])),
            read_only_mode_enabled: false,
            data_dir: data_dir.to_owned(),
            data_log_dir: data_dir.to_owned(),
            autopurge_snap_retain_count: 3,
            autopurge_purge_interval: None,
            pre_alloc_size_kib: 65_536,
            snap_count: 100_000,
            snap_size_limit_kib: Some(4_194_304),
            txn_log_size_limit_kib: None,
            commit_log_count: 500,
            snapshot_size_factor: Some(0.33),
            fsync_warning_threshold: Duration::from_secs(1),
            snapshot_trust_empty: false,
            db_autocreate: true,
            datadir_autocreate: true,
            serialize_last_processed_zxid_enabled: true,
            extended_types_enabled: false,
            container_check_interval: Duration::from_secs(60),
            container_max_per_minute: 10_000,
            container_max_never_used_interval: None,
            enforce_quota: false,
            enable_eager_acl_check: false,
            skip_acl: false,
            super_digest: None,
            quorum: None,
            last_seen_quorum: None,
            dynamic_config_file: None,
            server_id: None,
            standalone_enabled: true,
            reconfig_enabled: false,
            init_limit: 0,
            sync_limit: 0,
            connect_to_learner_master_limit: 0,
            peer_type: Role::Participant,
            sync_enabled: true,
            quorum_listen_on_all_ips: false,
            observer_master_port: None,
            observer_master_size_limit: 32 << 20,
            local_sessions_enabled: false,
            local_sessions_upgrading_enabled: false,
            multi_address_enabled: false,
            multi_address_reachability_check_enabled: true,
            multi_address_reachability_check_timeout: Duration::from_secs(1),
            leader_serves: true,
            force_snapshot_sync: false,
            leader_max_concurrent_snap_syncs: 10,
            leader_max_concurrent_diff_syncs: 100,
            leader_max_time_to_wait_for_epoch: None,
            leader_connect_delay_during_retry: Duration::from_millis(100),
            fastleader_min_notification_interval: Duration::from_millis(200),
            fastleader_max_notification_interval: Duration::from_secs(60),
            cnx_timeout: Duration::from_secs(5),
            quorum_cnxn_timeout: None,
            election_port_bind_retry: 3,
            tcp_keep_alive: false,
            observer_reconnect_delay: Duration::ZERO,
            observer_election_delay: Duration::from_millis(200),
            file: None,
            settings: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Reads a file of at most [`MAX_FILE_BYTES`].
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_if_any(path)?.ok_or_else(|| about_file(path, "there is no such file", "name another file"))
}

/// Reads a file of at most [`MAX_FILE_BYTES`]; `None` if there is none.
fn read_if_any(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    // One byte more than allowed, so that the parser sees that it is too long.
    let limit = MAX_FILE_BYTES as u64 + 1;
    let mut text = Vec::new();
    let outcome = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text));
    match outcome {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let problem = format!("cannot read it: {error}");
            Err(about_file(path, problem, "make it a file that this user may read"))
        }
    }
}

/// An error about a file as a whole.
fn about_file(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error {
        origin: Origin::File { path: Some(path.into()), line: 0 },
        key: None,
        value: None,
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

#[cfg(test)]
mod tests;
