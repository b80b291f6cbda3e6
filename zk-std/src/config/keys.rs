//! Every key that Apache ZooKeeper 3.8 to 3.10 knows, what zk does with it, and zk's own.
//!
//! `zoo.cfg` has two kinds of keys. About fifty are read by name (Apache's `QuorumPeerConfig`) and
//! their values are checked. Every other key `k` becomes the Java system property `zookeeper.k`,
//! which some class reads later; a number that cannot be read there silently means the default.
//! Both kinds are in one table here, with the few system properties that have no prefix and that
//! Apache therefore cannot take from `zoo.cfg` (zk can).

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `Integer.parseInt`, an error otherwise.
    Int,
    /// `Long.parseLong`, an error otherwise.
    Long,
    /// `true` or `false` in any case, an error otherwise.
    Bool,
    /// Any text, or a form of its own.
    Text,
    /// A system property that is a number; anything else means the default.
    PropertyNumber,
    /// A system property that is `true` in any case; anything else is false.
    PropertyBool,
    /// A system property that is `yes` or `no`.
    PropertyYesNo,
    /// A system property that is text.
    PropertyText,
}

/// What zk does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its value has the effect it has in Apache: there is a field for it in
    /// [`Config`](super::Config).
    Honoured,
    /// It has no effect. The server warns at start, except for values that ask for what zk does
    /// anyway.
    Harmless {
        /// Values (any case) that need no warning.
        quiet: &'static [&'static str],
        /// Why ignoring it is harmless.
        reason: &'static str,
    },
    /// The server does not start, because to ignore it would open a hole or break a promise.
    Refused {
        /// Values (any case) that ask for nothing, and pass.
        allowed: &'static [&'static str],
        /// What would be lost.
        reason: &'static str,
    },
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The key as in `zoo.cfg`; with `*` at its end, every key that begins so.
    pub name: &'static str,
    /// How its value is read.
    pub form: Form,
    /// What zk does with it.
    pub kind: Kind,
}

const fn honoured(name: &'static str, form: Form) -> Key {
    Key { name, form, kind: Kind::Honoured }
}

const fn harmless(
    name: &'static str,
    form: Form,
    quiet: &'static [&'static str],
    reason: &'static str,
) -> Key {
    Key { name, form, kind: Kind::Harmless { quiet, reason } }
}

const fn refused(
    name: &'static str,
    form: Form,
    allowed: &'static [&'static str],
    reason: &'static str,
) -> Key {
    Key { name, form, kind: Kind::Refused { allowed, reason } }
}

const OFF: &[&str] = &["false"];
const ON: &[&str] = &["true"];
const NONE: &[&str] = &[];

const NO_TLS: &str = "zk has no TLS yet; without it, what was meant to be encrypted would not be";
const NO_SASL: &str = "zk has no SASL yet; without it, nobody would be asked to log in";
const SASL_DETAIL: &str = "a detail of SASL, which zk does not have yet";
const TLS_DETAIL: &str = "a detail of TLS, which zk does not have yet";
const NO_ADMIN: &str = "zk has no AdminServer yet; the four-letter words are served";
const NO_ADMIN_AUTH: &str = "zk has no AdminServer yet, and cannot protect one";
const NO_METRICS: &str = "zk has no metrics endpoint yet; the four-letter word mntr is served";
const NO_JVM: &str = "there is no Java virtual machine to watch";
const NO_POOLS: &str = "zk serves all connections from one thread and has no such pool";
const NO_NETTY: &str = "zk has no Netty";
const WATCHES: &str = "a detail of Apache's watch tables; zk's need no tuning";
const NO_CACHE: &str = "zk keeps no cache of replies; it encodes from memory";
const BATCHES: &str = "zk syncs what has gathered as soon as the sync before it is done";
const THROTTLE: &str = "zk does not throttle this way: a connection that asks for more than it is \
                        answered is not read, and globalOutstandingLimit holds";
const CNXN_THROTTLE: &str = "zk does not throttle new connections yet; maxCnxns and \
                             maxClientCnxns hold";
const PATH_STATS: &str = "zk keeps no statistics by path";
const SOCKETS: &str = "zk never blocks on a socket";
const DEBUG: &str = "a debugging aid of Apache's code";
const CLIENT_SIDE: &str = "an option of the Java client, not of a server";

use Form::{Bool, Int, Long, PropertyBool, PropertyNumber, PropertyText, PropertyYesNo, Text};

/// The table, in the order of Apache's administrator's guide.
pub const KEYS: &[Key] = &[
    // Client port and sessions
    honoured("clientPort", Int),
    honoured("clientPortAddress", Text),
    honoured("clientPortListenBacklog", Int),
    honoured("maxClientCnxns", Int),
    honoured("maxCnxns", PropertyNumber),
    honoured("tickTime", Int),
    honoured("minSessionTimeout", Int),
    honoured("maxSessionTimeout", Int),
    honoured("nio.sessionlessCnxnTimeout", PropertyNumber),
    honoured("clientTcpKeepAlive", PropertyBool),
    honoured("jute.maxbuffer", PropertyNumber),
    honoured("jute.maxbuffer.extrasize", PropertyNumber),
    honoured("globalOutstandingLimit", PropertyNumber),
    honoured("4lw.commands.whitelist", PropertyText),
    honoured("readonlymode.enabled", PropertyBool),
    // Directories, logs, snapshots
    honoured("dataDir", Text),
    honoured("dataLogDir", Text),
    honoured("autopurge.snapRetainCount", Int),
    honoured("autopurge.purgeInterval", Text),
    honoured("preAllocSize", PropertyNumber),
    honoured("snapCount", PropertyNumber),
    honoured("snapSizeLimitInKb", PropertyNumber),
    honoured("txnLogSizeLimitInKb", PropertyNumber),
    honoured("commitLogCount", PropertyNumber),
    honoured("snapshotSizeFactor", PropertyText),
    harmless(
        "forceSync",
        PropertyYesNo,
        &["yes"],
        "zk always syncs: what it has acknowledged is on the disk",
    ),
    honoured("fsync.warningthresholdms", PropertyNumber),
    honoured("snapshot.trust.empty", PropertyBool),
    honoured("db.autocreate", PropertyBool),
    honoured("datadir.autocreate", PropertyBool),
    honoured("serializeLastProcessedZxid.enabled", PropertyBool),
    harmless(
        "snapshot.compression.method",
        PropertyText,
        &[""],
        "zk writes plain snapshots; it reads compressed ones",
    ),
    harmless("flushDelay", PropertyNumber, &["0"], BATCHES),
    harmless("maxWriteQueuePollTime", PropertyNumber, NONE, BATCHES),
    harmless("maxBatchSize", PropertyNumber, NONE, BATCHES),
    // Meaning of operations
    honoured("extendedTypesEnabled", PropertyBool),
    refused(
        "emulate353TTLNodes",
        PropertyBool,
        OFF,
        "zk does not read TTL nodes of 3.5.3; they would be taken for ephemerals and deleted",
    ),
    honoured("znode.container.checkIntervalMs", PropertyNumber),
    honoured("znode.container.maxPerMinute", PropertyNumber),
    honoured("znode.container.maxNeverUsedIntervalMs", PropertyNumber),
    honoured("enforceQuota", PropertyBool),
    refused(
        "digest.enabled",
        PropertyBool,
        ON,
        "zk always logs the digest of the tree, which shows when servers differ",
    ),
    refused(
        "closeSessionTxn.enabled",
        PropertyBool,
        ON,
        "zk always lists in a closeSession transaction the nodes that it deletes, and reads such",
    ),
    honoured("enableEagerACLCheck", PropertyBool),
    // Authentication
    honoured("skipACL", PropertyYesNo),
    refused(
        "DigestAuthenticationProvider.enabled",
        PropertyBool,
        ON,
        "zk cannot switch the scheme digest off yet; clients could go on to use it",
    ),
    honoured("DigestAuthenticationProvider.superDigest", PropertyText),
    refused(
        "DigestAuthenticationProvider.digestAlg",
        PropertyText,
        &["SHA1", "SHA-1"],
        "zk digests passwords with SHA1 only; ids in stored ACLs would match nobody",
    ),
    refused(
        "enforce.auth.enabled",
        PropertyBool,
        OFF,
        "zk cannot require authentication yet; clients without it would be served",
    ),
    harmless(
        "enforce.auth.schemes",
        PropertyText,
        NONE,
        "it counts with enforce.auth.enabled only, which zk cannot do yet",
    ),
    refused("sessionRequireClientSASLAuth", PropertyBool, OFF, NO_SASL),
    refused("requireClientAuthScheme", PropertyText, &[""], NO_SASL),
    refused("authProvider.*", PropertyText, NONE, "zk has no such authentication provider"),
    refused("java.security.auth.login.config", PropertyText, NONE, NO_SASL),
    harmless("allowSaslFailedClients", PropertyBool, OFF, SASL_DETAIL),
    harmless("jaasLoginRenew", PropertyText, NONE, SASL_DETAIL),
    harmless("superUser", PropertyText, NONE, "nobody can log in as that user without SASL or TLS"),
    harmless(
        "X509AuthenticationProvider.superUser",
        PropertyText,
        NONE,
        "nobody can log in as that user without TLS",
    ),
    harmless("SASLAuthenticationProvider.superPassword", PropertyText, NONE, SASL_DETAIL),
    harmless("letAnySaslUserDoX", PropertyText, NONE, SASL_DETAIL),
    harmless("sasl.*", PropertyText, NONE, SASL_DETAIL),
    harmless("kerberos.*", PropertyText, NONE, SASL_DETAIL),
    harmless("kinit", PropertyText, NONE, SASL_DETAIL),
    harmless("requireKerberosConfig", PropertyText, NONE, SASL_DETAIL),
    harmless("security.auth_to_local", PropertyText, NONE, SASL_DETAIL),
    harmless(
        "ensembleAuthName",
        PropertyText,
        NONE,
        "only the authentication provider \"ensemble\" reads it, and zk does not have it",
    ),
    harmless("IPAuthenticationProvider.usexforwardedfor", PropertyBool, OFF, NO_ADMIN),
    // TLS
    refused("secureClientPort", Int, NONE, NO_TLS),
    refused("secureClientPortAddress", Text, NONE, NO_TLS),
    refused("sslQuorum", Bool, OFF, NO_TLS),
    refused("portUnification", Bool, OFF, NO_TLS),
    refused("client.portUnification", PropertyBool, OFF, NO_TLS),
    refused("ssl.*", PropertyText, NONE, NO_TLS),
    harmless("sslQuorumReloadCertFiles", Bool, OFF, TLS_DETAIL),
    harmless("client.certReload", PropertyBool, OFF, TLS_DETAIL),
    harmless("fips-mode", PropertyText, NONE, TLS_DETAIL),
    // Audit and administration
    refused(
        "audit.enable",
        PropertyBool,
        OFF,
        "zk writes no audit log yet, and what nobody recorded cannot be recovered",
    ),
    harmless("audit.impl.class", PropertyText, NONE, "zk writes no audit log yet"),
    refused("admin.forceHttps", PropertyBool, OFF, NO_ADMIN_AUTH),
    refused("admin.portUnification", PropertyBool, OFF, NO_ADMIN_AUTH),
    refused("admin.needClientAuth", PropertyBool, OFF, NO_ADMIN_AUTH),
    harmless("admin.enableServer", PropertyBool, OFF, NO_ADMIN),
    harmless("admin.serverAddress", PropertyText, NONE, NO_ADMIN),
    harmless("admin.serverPort", PropertyNumber, NONE, NO_ADMIN),
    harmless("admin.httpVersion", PropertyNumber, NONE, NO_ADMIN),
    harmless("admin.idleTimeout", PropertyNumber, NONE, NO_ADMIN),
    harmless("admin.commandURL", PropertyText, NONE, NO_ADMIN),
    harmless("admin.rateLimiterIntervalInMS", PropertyNumber, NONE, NO_ADMIN),
    harmless("admin.snapshot.enabled", PropertyBool, OFF, NO_ADMIN),
    harmless("admin.restore.enabled", PropertyBool, OFF, NO_ADMIN),
    harmless("metricsProvider.className", Text, NONE, NO_METRICS),
    harmless("metricsProvider.*", Text, NONE, NO_METRICS),
    // The ensemble
    honoured("server.*", Text),
    honoured("group*", Text),
    honoured("weight*", Text),
    honoured("version", Text),
    honoured("dynamicConfigFile", Text),
    honoured("standaloneEnabled", Bool),
    honoured("reconfigEnabled", Bool),
    honoured("initLimit", Int),
    honoured("syncLimit", Int),
    honoured("connectToLearnerMasterLimit", Int),
    honoured("electionAlg", Int),
    honoured("peerType", Text),
    honoured("syncEnabled", Bool),
    honoured("observer.syncEnabled", PropertyBool),
    honoured("quorumListenOnAllIPs", Bool),
    honoured("observerMasterPort", Int),
    honoured("observerMaster.sizeLimit", PropertyNumber),
    honoured("localSessionsEnabled", Bool),
    honoured("localSessionsUpgradingEnabled", Bool),
    honoured("multiAddress.enabled", Bool),
    honoured("multiAddress.reachabilityCheckEnabled", Bool),
    honoured("multiAddress.reachabilityCheckTimeoutMs", Int),
    honoured("oraclePath", Text),
    honoured("leaderServes", PropertyYesNo),
    honoured("forceSnapshotSync", PropertyBool),
    honoured("leader.maxConcurrentSnapSyncs", PropertyNumber),
    honoured("leader.maxConcurrentDiffSyncs", PropertyNumber),
    honoured("leader.maxTimeToWaitForEpoch", PropertyNumber),
    honoured("leaderConnectDelayDuringRetryMs", PropertyNumber),
    honoured("fastleader.minNotificationInterval", PropertyNumber),
    honoured("fastleader.maxNotificationInterval", PropertyNumber),
    honoured("cnxTimeout", PropertyNumber),
    honoured("quorumCnxnTimeoutMs", PropertyNumber),
    honoured("electionPortBindRetry", PropertyNumber),
    honoured("tcpKeepAlive", PropertyBool),
    honoured("observer.reconnectDelayMs", PropertyNumber),
    honoured("observer.election.DelayMs", PropertyNumber),
    refused("quorum.auth.enableSasl", Bool, OFF, NO_SASL),
    refused("quorum.auth.serverRequireSasl", Bool, OFF, NO_SASL),
    refused("quorum.auth.learnerRequireSasl", Bool, OFF, NO_SASL),
    harmless("quorum.auth.learner.saslLoginContext", Text, NONE, SASL_DETAIL),
    harmless("quorum.auth.server.saslLoginContext", Text, NONE, SASL_DETAIL),
    harmless("quorum.auth.kerberos.servicePrincipal", Text, NONE, SASL_DETAIL),
    harmless("quorum.cnxn.threads.size", Int, NONE, NO_POOLS),
    harmless("follower.nodelay", PropertyBool, &["true"], "zk always sends without delay"),
    harmless("leader.nodelay", PropertyBool, &["true"], "zk always sends without delay"),
    harmless("leader.ackLoggingFrequency", PropertyNumber, NONE, DEBUG),
    harmless("learner.asyncSending", PropertyBool, NONE, SOCKETS),
    harmless("learner.closeSocketAsync", PropertyBool, NONE, SOCKETS),
    harmless("leader.closeSocketAsync", PropertyBool, NONE, SOCKETS),
    harmless("follower.skipLearnerRequestToNextProcessor", PropertyBool, NONE, NO_POOLS),
    harmless("forward_learner_requests_to_commit_processor_disabled", PropertyBool, NONE, NO_POOLS),
    // Throttles and caches
    harmless("request_throttle_max_requests", PropertyNumber, &["0"], THROTTLE),
    harmless("request_throttle_stall_time", PropertyNumber, NONE, THROTTLE),
    harmless("request_throttle_drop_stale", PropertyBool, NONE, THROTTLE),
    harmless("request_stale_latency_check", PropertyBool, OFF, THROTTLE),
    harmless("request_stale_connection_check", PropertyBool, NONE, THROTTLE),
    harmless("request_throttler.shutdownTimeout", PropertyNumber, NONE, THROTTLE),
    harmless("throttled_op_wait_time", PropertyNumber, &["0"], THROTTLE),
    harmless("largeRequestMaxBytes", PropertyNumber, NONE, THROTTLE),
    harmless("largeRequestThreshold", PropertyNumber, &["-1"], THROTTLE),
    harmless("connection_throttle_*", PropertyText, NONE, CNXN_THROTTLE),
    harmless("maxResponseCacheSize", PropertyNumber, &["0"], NO_CACHE),
    harmless("maxGetChildrenResponseCacheSize", PropertyNumber, &["0"], NO_CACHE),
    harmless("intBufferStartingSizeBytes", PropertyNumber, NONE, NO_CACHE),
    harmless("watchManagerName", PropertyText, NONE, WATCHES),
    harmless("watcherCleanThreadsNum", PropertyNumber, NONE, WATCHES),
    harmless("watcherCleanThreshold", PropertyNumber, NONE, WATCHES),
    harmless("watcherCleanIntervalInSeconds", PropertyNumber, NONE, WATCHES),
    harmless("maxInProcessingDeadWatchers", PropertyNumber, NONE, WATCHES),
    harmless("bitHashCacheSize", PropertyNumber, NONE, WATCHES),
    // Apache's threads, libraries and tools
    harmless("serverCnxnFactory", PropertyText, NONE, "zk has one kind of client port"),
    harmless("nio.numSelectorThreads", PropertyNumber, NONE, NO_POOLS),
    harmless("nio.numWorkerThreads", PropertyNumber, NONE, NO_POOLS),
    harmless("nio.directBufferBytes", PropertyNumber, NONE, NO_POOLS),
    harmless("nio.shutdownTimeout", PropertyNumber, NONE, NO_POOLS),
    harmless("commitProcessor.*", PropertyNumber, NONE, NO_POOLS),
    harmless("netty.*", PropertyText, NONE, NO_NETTY),
    harmless("jvm.pause.monitor", Bool, OFF, NO_JVM),
    harmless("jvm.pause.info-threshold.ms", Long, NONE, NO_JVM),
    harmless("jvm.pause.warn-threshold.ms", Long, NONE, NO_JVM),
    harmless("jvm.pause.sleep.time.ms", Long, NONE, NO_JVM),
    harmless("jmx.*", PropertyText, NONE, NO_JVM),
    harmless("messageTracker.*", PropertyText, NONE, DEBUG),
    harmless("pathStats.*", PropertyText, NONE, PATH_STATS),
    harmless("testingonly.initialZxid", PropertyNumber, NONE, DEBUG),
    harmless("test.allowDiscontinuousProposals", PropertyBool, NONE, DEBUG),
    harmless("client.secure", PropertyBool, NONE, CLIENT_SIDE),
    harmless("clientCnxnSocket", PropertyText, NONE, CLIENT_SIDE),
    harmless("disableAutoWatchReset", PropertyBool, NONE, CLIENT_SIDE),
    harmless("request.timeout", PropertyNumber, NONE, CLIENT_SIDE),
    harmless("shuffleDnsResponse", PropertyBool, NONE, CLIENT_SIDE),
    harmless("hostProvider.dnsSrvRefreshIntervalSeconds", PropertyNumber, NONE, CLIENT_SIDE),
    // Of zk alone; in Apache it is a property that nobody reads
    honoured("zk.capacity", Text),
];

/// The row for a key: the row of exactly that name, else the longest prefix.
#[must_use]
pub fn find(key: &str) -> Option<&'static Key> {
    KEYS.iter().find(|row| row.name == key).or_else(|| {
        KEYS.iter()
            .filter(|row| row.name.strip_suffix('*').is_some_and(|prefix| key.starts_with(prefix)))
            .max_by_key(|row| row.name.len())
    })
}

/// No key is longer; longer words are not compared with the table.
const LONGEST: usize = 64;

/// The known key that is nearest to an unknown one, if any is near: at most one edit for every
/// three characters, and four in all (Levenshtein, case ignored).
#[must_use]
pub fn nearest(unknown: &str) -> Option<&'static str> {
    let unknown = unknown.to_ascii_lowercase();
    let len = unknown.chars().count();
    if len > LONGEST {
        return None;
    }
    let limit = (len / 3).min(4);
    KEYS.iter()
        .filter(|row| !row.name.ends_with('*'))
        // A difference in length takes as many edits.
        .filter(|row| row.name.len().abs_diff(len) <= limit)
        .map(|row| (distance(&unknown, &row.name.to_ascii_lowercase()), row.name))
        .min()
        .filter(|&(edits, _)| edits <= limit)
        .map(|(_, name)| name)
}

fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let substitute = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, row) in KEYS.iter().enumerate() {
            assert!(KEYS[i + 1..].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(row.name.len() <= LONGEST, "{}", row.name);
        }
    }

    #[test]
    fn exact_names_come_before_prefixes_and_long_prefixes_before_short() {
        assert_eq!(find("server.1").unwrap().name, "server.*");
        // Apache takes it for a server line, too.
        assert_eq!(find("server.realm").unwrap().name, "server.*");
        assert_eq!(find("ssl.quorum.keyStore.location").unwrap().name, "ssl.*");
        assert_eq!(find("metricsProvider.className").unwrap().name, "metricsProvider.className");
        assert_eq!(find("server"), None);
        assert_eq!(find("ticktime"), None);
    }

    #[test]
    fn suggests_what_is_near() {
        assert_eq!(nearest("ticktime"), Some("tickTime"));
        assert_eq!(nearest("maxClientCnxn"), Some("maxClientCnxns"));
        assert_eq!(nearest("autopurge.snapRetain"), None);
        assert_eq!(nearest("dataDirs"), Some("dataDir"));
        assert_eq!(nearest("x"), None);
        assert_eq!(nearest(&"tickTime".repeat(100)), None);
    }
}
