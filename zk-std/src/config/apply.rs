//! From settings to a checked [`Config`]. Source: `QuorumPeerConfig.parseProperties`, and the
//! classes that read each system property.

use core::time::Duration;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::capacity::{Capacity, CapacityError};
use super::error::{Error, Origin};
use super::properties::{FormatError, MAX_ENTRIES, MAX_FILE_BYTES, Properties, trim};
use super::quorum::HostPort;
use super::settings::Settings;
use super::{Config, FourLetterWords, Role, SuperDigest};

/// Largest value of Java's `int`.
const INT_MAX: i64 = i32::MAX as i64;

/// The port of no number above this exists.
const PORT_MAX: i32 = u16::MAX as i32;

impl Config {
    /// Reads a text; `path` is where it lies, and where the other files are looked for.
    pub(super) fn build(
        path: Option<&Path>,
        text: &[u8],
        overrides: &[(String, String)],
    ) -> Result<Self, Error> {
        let properties = parse_properties(path, text)?;
        let mut s = Settings::collect(path, &properties, overrides)?;
        let config = Self::from_settings(path, &mut s)?;
        let file = path.map(Path::to_path_buf);
        Ok(Self { file, settings: s.list, warnings: s.warnings, ..config })
    }

    pub(super) fn from_settings(path: Option<&Path>, s: &mut Settings) -> Result<Self, Error> {
        let data_dir = directory(s, "dataDir")?.ok_or_else(|| {
            let remedy = "add a line dataDir=/path, the directory for snapshots and logs";
            s.error("dataDir", "it is not set", remedy)
        })?;
        let mut config = Self::defaults(&data_dir);
        config.client_port(s)?;
        config.sessions(s)?;
        config.files(s)?;
        config.operations(s);
        config.authentication(s);
        config.ensemble(s)?;
        config.members(path, s)?;
        Ok(config)
    }

    fn client_port(&mut self, s: &mut Settings) -> Result<(), Error> {
        let port = s.int("clientPort", 0..=PORT_MAX)?.and_then(|port| u16::try_from(port).ok());
        let host = s.text("clientPortAddress").map(without_brackets);
        if host.as_deref() == Some("") {
            return Err(s.error("clientPortAddress", "there is no host", "write one, or no line"));
        }
        self.client_address = match (host, port) {
            (host, Some(port)) => {
                Some(HostPort { host: host.unwrap_or_else(|| "0.0.0.0".to_owned()), port })
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(s.error(
                    "clientPortAddress",
                    "it is set, but clientPort is not",
                    "add a line clientPort=2181",
                ));
            }
        };
        self.client_port_listen_backlog = s
            .int("clientPortListenBacklog", i32::MIN..=i32::MAX)?
            .and_then(|backlog| u32::try_from(backlog).ok())
            .filter(|&backlog| backlog > 0);
        let number = s.int("maxClientCnxns", i32::MIN..=i32::MAX)?;
        // Zero and below is no limit.
        self.max_client_cnxns =
            number.map_or(self.max_client_cnxns, |number| u32::try_from(number).unwrap_or(0));
        self.max_cnxns = number_of(s, "maxCnxns", self.max_cnxns, 0);
        self.sessionless_cnxn_timeout =
            millis(s, "nio.sessionlessCnxnTimeout", self.sessionless_cnxn_timeout, 1);
        self.client_tcp_keep_alive = s.property_bool("clientTcpKeepAlive", false);
        self.jute_max_buffer = number_of(s, "jute.maxbuffer", self.jute_max_buffer, 1);
        // Apache's default is the value of jute.maxbuffer, and its least is 1024.
        let extra = number_of(s, "jute.maxbuffer.extrasize", self.jute_max_buffer, 0);
        self.jute_max_buffer_extra_size = extra.max(1024);
        self.capacity = capacity(s)?;
        self.global_outstanding_limit =
            number_of(s, "globalOutstandingLimit", self.global_outstanding_limit, 1);
        self.read_only_mode_enabled = s.property_bool("readonlymode.enabled", false);
        self.four_letter_words =
            four_letter_words(s.text("4lw.commands.whitelist"), self.read_only_mode_enabled);
        Ok(())
    }

    fn sessions(&mut self, s: &mut Settings) -> Result<(), Error> {
        if let Some(tick_time) = s.int("tickTime", 1..=i32::MAX / 20)? {
            self.tick_time = tick_time.unsigned_abs();
        }
        let timeout = |s: &mut Settings, key, ticks| {
            // Java reads -1 as "not set".
            let set = s.int(key, -1..=i32::MAX)?.and_then(|ms| u32::try_from(ms).ok());
            Ok(set.unwrap_or(ticks * self.tick_time))
        };
        self.min_session_timeout = timeout(s, "minSessionTimeout", 2)?;
        self.max_session_timeout = timeout(s, "maxSessionTimeout", 20)?;
        if self.min_session_timeout > self.max_session_timeout {
            let set = s.get("minSessionTimeout").is_some();
            let key = if set { "minSessionTimeout" } else { "maxSessionTimeout" };
            return Err(s.error(
                key,
                format!(
                    "the smallest session timeout ({} ms) is larger than the largest ({} ms)",
                    self.min_session_timeout, self.max_session_timeout
                ),
                "without these lines they are 2 and 20 times tickTime",
            ));
        }
        Ok(())
    }

    fn files(&mut self, s: &mut Settings) -> Result<(), Error> {
        if let Some(directory) = directory(s, "dataLogDir")? {
            self.data_log_dir = directory;
        }
        if let Some(count) = s.int("autopurge.snapRetainCount", i32::MIN..=i32::MAX)? {
            if count < 3 {
                s.warn("autopurge.snapRetainCount", "less than 3: 3 is used");
            }
            self.autopurge_snap_retain_count = count.max(3).unsigned_abs();
        }
        self.autopurge_purge_interval = purge_interval(s)?;
        if self.autopurge_purge_interval.is_none() {
            s.warn(
                "autopurge.purgeInterval",
                "purging is off: snapshots and logs are never deleted, and will fill the disk \
                 unless something else deletes them; 1 is once an hour",
            );
        }
        let kib_max = i64::MAX / 1024;
        let kib = |s: &mut Settings, key, default: u64| {
            let default = i64::try_from(default).unwrap_or(kib_max);
            u64::try_from(s.property_number(key, default, -1..=kib_max)).unwrap_or(0)
        };
        self.pre_alloc_size_kib = kib(s, "preAllocSize", self.pre_alloc_size_kib);
        let limit = kib(s, "snapSizeLimitInKb", self.snap_size_limit_kib.unwrap_or(0));
        self.snap_size_limit_kib = Some(limit).filter(|&limit| limit > 0);
        let limit = kib(s, "txnLogSizeLimitInKb", 0);
        self.txn_log_size_limit_kib = Some(limit).filter(|&limit| limit > 0);
        self.snap_count = at_least(s, "snapCount", self.snap_count, 2);
        self.commit_log_count = at_least(s, "commitLogCount", self.commit_log_count, 500);
        self.snapshot_size_factor = snapshot_size_factor(s, self.snapshot_size_factor);
        self.fsync_warning_threshold =
            millis(s, "fsync.warningthresholdms", self.fsync_warning_threshold, 0);
        self.snapshot_trust_empty = s.property_bool("snapshot.trust.empty", false);
        self.db_autocreate = s.property_bool("db.autocreate", true);
        self.datadir_autocreate = s.property_bool("datadir.autocreate", true);
        self.serialize_last_processed_zxid_enabled =
            s.property_bool("serializeLastProcessedZxid.enabled", true);
        Ok(())
    }

    fn operations(&mut self, s: &mut Settings) {
        self.extended_types_enabled = s.property_bool("extendedTypesEnabled", false);
        self.container_check_interval =
            millis(s, "znode.container.checkIntervalMs", self.container_check_interval, 1);
        self.container_max_per_minute =
            number_of(s, "znode.container.maxPerMinute", self.container_max_per_minute, 1);
        let age = millis(s, "znode.container.maxNeverUsedIntervalMs", Duration::ZERO, 0);
        self.container_max_never_used_interval = Some(age).filter(|age| !age.is_zero());
        self.enforce_quota = s.property_bool("enforceQuota", false);
        self.enable_eager_acl_check = s.property_bool("enableEagerACLCheck", false);
    }

    fn authentication(&mut self, s: &mut Settings) {
        self.skip_acl = s.property_yes_no("skipACL", false);
        if self.skip_acl {
            s.warn("skipACL", "every client may read and change everything");
        }
        self.super_digest = s.text("DigestAuthenticationProvider.superDigest").map(SuperDigest);
    }

    fn ensemble(&mut self, s: &mut Settings) -> Result<(), Error> {
        if let Some(algorithm) = s.int("electionAlg", i32::MIN..=i32::MAX)?
            && algorithm != 3
        {
            return Err(s.error("electionAlg", "only 3 exists", "remove the line"));
        }
        self.standalone_enabled = s.boolean("standaloneEnabled")?.unwrap_or(true);
        self.reconfig_enabled = s.boolean("reconfigEnabled")?.unwrap_or(false);
        self.init_limit = s.count("initLimit")?.unwrap_or(0);
        self.sync_limit = s.count("syncLimit")?.unwrap_or(0);
        self.connect_to_learner_master_limit = s.count("connectToLearnerMasterLimit")?.unwrap_or(0);
        if let Some(name) = s.text("peerType") {
            self.peer_type = Role::from_name(&name).ok_or_else(|| {
                s.error("peerType", "there is no such type", "write observer or participant")
            })?;
        }
        let sync_enabled = s.boolean("syncEnabled")?.unwrap_or(true);
        self.sync_enabled = s.property_bool("observer.syncEnabled", sync_enabled);
        self.quorum_listen_on_all_ips = s.boolean("quorumListenOnAllIPs")?.unwrap_or(false);
        self.observer_master_port = s
            .int("observerMasterPort", i32::MIN..=PORT_MAX)?
            .and_then(|port| u16::try_from(port).ok())
            .filter(|&port| port > 0);
        self.observer_master_size_limit =
            number_of(s, "observerMaster.sizeLimit", self.observer_master_size_limit, 1);
        self.local_sessions_enabled = s.boolean("localSessionsEnabled")?.unwrap_or(false);
        self.local_sessions_upgrading_enabled =
            s.boolean("localSessionsUpgradingEnabled")?.unwrap_or(false);
        self.multi_address_enabled = s.boolean("multiAddress.enabled")?.unwrap_or(false);
        self.multi_address_reachability_check_enabled =
            s.boolean("multiAddress.reachabilityCheckEnabled")?.unwrap_or(true);
        if let Some(ms) = s.count("multiAddress.reachabilityCheckTimeoutMs")? {
            self.multi_address_reachability_check_timeout = Duration::from_millis(ms.into());
        }
        self.leader_serves = s.property_yes_no("leaderServes", true);
        self.force_snapshot_sync = s.property_bool("forceSnapshotSync", false);
        self.leader_max_concurrent_snap_syncs =
            number_of(s, "leader.maxConcurrentSnapSyncs", self.leader_max_concurrent_snap_syncs, 1);
        self.leader_max_concurrent_diff_syncs =
            number_of(s, "leader.maxConcurrentDiffSyncs", self.leader_max_concurrent_diff_syncs, 1);
        self.leader_max_time_to_wait_for_epoch = optional_millis(s, "leader.maxTimeToWaitForEpoch");
        self.leader_connect_delay_during_retry =
            millis(s, "leaderConnectDelayDuringRetryMs", self.leader_connect_delay_during_retry, 0);
        self.fastleader_min_notification_interval = millis(
            s,
            "fastleader.minNotificationInterval",
            self.fastleader_min_notification_interval,
            1,
        );
        self.fastleader_max_notification_interval = millis(
            s,
            "fastleader.maxNotificationInterval",
            self.fastleader_max_notification_interval,
            1,
        );
        self.cnx_timeout = millis(s, "cnxTimeout", self.cnx_timeout, 1);
        self.quorum_cnxn_timeout = optional_millis(s, "quorumCnxnTimeoutMs");
        self.election_port_bind_retry =
            number_of(s, "electionPortBindRetry", self.election_port_bind_retry, 0);
        self.tcp_keep_alive = s.property_bool("tcpKeepAlive", false);
        self.observer_reconnect_delay =
            millis(s, "observer.reconnectDelayMs", self.observer_reconnect_delay, 0);
        self.observer_election_delay =
            millis(s, "observer.election.DelayMs", self.observer_election_delay, 0);
        Ok(())
    }
}

pub(super) fn parse_properties(path: Option<&Path>, text: &[u8]) -> Result<Properties, Error> {
    Properties::parse(text).map_err(|error| {
        let (line, problem, remedy) = match error {
            FormatError::TooMany { line } => (
                line,
                format!("there are more than {MAX_ENTRIES} entries"),
                "this is not a configuration",
            ),
            FormatError::TooLong { .. } => (
                0,
                format!("it is longer than {MAX_FILE_BYTES} bytes"),
                "this is not a configuration",
            ),
            FormatError::MalformedUnicodeEscape { line } => (
                line,
                "\\u must be followed by four hexadecimal digits".to_owned(),
                "write two backslashes for one (and / in paths)",
            ),
        };
        Error {
            origin: Origin::File { path: path.map(Arc::from), line },
            key: None,
            value: None,
            problem,
            remedy: remedy.to_owned(),
        }
    })
}

fn directory(s: &mut Settings, key: &'static str) -> Result<Option<PathBuf>, Error> {
    let Some(name) = s.text(key) else { return Ok(None) };
    if name.is_empty() {
        return Err(s.error(key, "there is no path", "write the path of a directory"));
    }
    let path = PathBuf::from(&name);
    if !path.is_absolute() && !name.starts_with("./") {
        s.warn(key, "a relative path; begin it with ./ to say that it is meant");
    }
    if !name.is_ascii() {
        s.warn(
            key,
            "the file is read as ISO-8859-1, so this may not be the name you see: \
             write characters outside of ASCII as \\uXXXX",
        );
    }
    Ok(Some(path))
}

fn without_brackets(host: String) -> String {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.to_owned(),
        None => host,
    }
}

/// A number of hours, or of the unit that follows it: `ms`, `s`, `m`, `h`, `d`. Nothing from 0
/// down.
fn purge_interval(s: &mut Settings) -> Result<Option<Duration>, Error> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let key = "autopurge.purgeInterval";
    let Some(value) = s.text(key) else { return Ok(None) };
    let lower = value.to_ascii_lowercase();
    let (number, unit_ms) = UNITS
        .iter()
        .find_map(|(suffix, ms)| lower.strip_suffix(suffix).map(|number| (number, *ms)))
        .unwrap_or((lower.as_str(), 3_600_000));
    let Ok(number) = number.parse::<i32>() else {
        let remedy = "write a number of hours, or a number with ms, s, m, h or d";
        return Err(s.error(key, "not an interval", remedy));
    };
    let Some(number) = u64::try_from(number).ok().filter(|&number| number > 0) else {
        return Ok(None);
    };
    // An i32 times a day in milliseconds fits easily.
    Ok(Some(Duration::from_millis(number * unit_ms)))
}

fn snapshot_size_factor(s: &mut Settings, default: Option<f64>) -> Option<f64> {
    let key = "snapshotSizeFactor";
    let Some(text) = s.text(key) else { return default };
    match text.parse::<f64>() {
        Ok(factor) if factor < 0.0 => None,
        Ok(factor) if factor <= 1.0 => Some(factor),
        _ => {
            s.warn(key, "not a number up to 1: the default, 0.33, is used");
            default
        }
    }
}

fn four_letter_words(list: Option<String>, read_only_mode: bool) -> FourLetterWords {
    let list = list.unwrap_or_default();
    let words = list.split(',').map(trim).filter(|word| !word.is_empty());
    if words.clone().any(|word| word == "*") {
        return FourLetterWords::All;
    }
    let mut words: BTreeSet<String> = words.map(str::to_owned).collect();
    words.insert("srvr".to_owned());
    if read_only_mode {
        words.insert("isro".to_owned());
    }
    FourLetterWords::Only(words)
}

/// How much is accepted at most: zk's own.
fn capacity(s: &mut Settings) -> Result<Option<Capacity>, Error> {
    let Some(text) = s.text("zk.capacity") else { return Ok(None) };
    text.parse().map(Some).map_err(|error: CapacityError| {
        let remedy = format!("write tiny, small, or {}", Capacity::TINY);
        s.error("zk.capacity", error.to_string(), &remedy)
    })
}

/// A property that counts something, from `least` to the largest `int`.
fn number_of(s: &mut Settings, key: &'static str, default: u32, least: i64) -> u32 {
    let number = s.property_number(key, default.into(), least..=INT_MAX);
    u32::try_from(number).unwrap_or(default)
}

/// A property that counts something; less than `least` is `least`.
fn at_least(s: &mut Settings, key: &'static str, default: u32, least: u32) -> u32 {
    let number = s.property_number(key, default.into(), i64::from(i32::MIN)..=INT_MAX);
    if number < least.into() {
        s.warn(key, format!("less than {least}: {least} is used"));
    }
    u32::try_from(number).unwrap_or(0).max(least)
}

/// A property in milliseconds.
fn millis(s: &mut Settings, key: &'static str, default: Duration, least: i64) -> Duration {
    let default = i64::try_from(default.as_millis()).unwrap_or(i64::MAX);
    let ms = s.property_number(key, default, least..=INT_MAX);
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A property in milliseconds for which -1, the default, is none.
fn optional_millis(s: &mut Settings, key: &'static str) -> Option<Duration> {
    let ms = s.property_number(key, -1, -1..=INT_MAX);
    u64::try_from(ms).ok().map(Duration::from_millis)
}
