//! From a [`Config`] to what the core, the store and the listener are told.

use core::fmt;
use core::time::Duration;

use zk_core::id::ServerId;
use zk_core::memory::Unit;
use zk_core::peer::{Ceilings, Options};
use zk_core::quorum::TEXT_MAX;
use zk_core::tree;

use super::Error;
use crate::config::{Capacity, Config, Mode, Quorum, QuorumRule};
use crate::store;

/// Bytes of transactions that are synced at once.
const BATCH_MAX: usize = 1 << 20;

/// Bytes of the log that a batch may become: a record takes 13 more than its transaction, which
/// has at least 32.
const FRAMED_BATCH_MAX: usize = 2 * BATCH_MAX;

/// What the core is told.
///
/// # Errors
/// [`Error::Config`] for what it cannot do.
pub(super) fn peer_options(config: &Config) -> Result<Options, Error> {
    let super_digest = match &config.super_digest {
        None => None,
        Some(digest) => Some(heapless::String::try_from(digest.0.as_str()).map_err(|_| {
            refuse("DigestAuthenticationProvider.superDigest is longer than 96 bytes")
        })?),
    };
    let most = config.capacity.map_or(u32::MAX, |capacity| capacity.frame);
    let max_frame = config.jute_max_buffer.min(most) as usize;
    let member = config.mode() == Mode::Quorum;
    Ok(Options {
        server: config.server_id.filter(|_| member).unwrap_or(ServerId::STANDALONE),
        ensemble: member,
        tick_time: config.tick_time,
        init_limit: config.init_limit,
        sync_limit: config.sync_limit,
        reconfig: config.reconfig_enabled,
        standalone: config.standalone_enabled,
        leader_serves: config.leader_serves,
        read_only: config.read_only_mode_enabled,
        local_sessions: member && config.local_sessions_enabled,
        local_sessions_upgrading: config.local_sessions_upgrading_enabled,
        min_session_timeout: config.min_session_timeout,
        max_session_timeout: config.max_session_timeout,
        max_frame,
        max_txn: max_txn(config),
        max_waiting: Options::default().max_waiting.max(max_frame.saturating_mul(2)),
        max_reply: Options::default().max_reply.max(max_frame.saturating_mul(4)),
        extended_types: config.extended_types_enabled,
        enforce_quota: config.enforce_quota,
        skip_acl: config.skip_acl,
        super_digest,
        snap_count: config.snap_count,
        snap_size: config.snap_size_limit_kib.map_or(u64::MAX, |kib| kib.saturating_mul(1024)),
        max_batch: BATCH_MAX,
        container_check_interval: millis(config.container_check_interval),
        container_max_per_minute: config.container_max_per_minute,
        container_max_never_used: config.container_max_never_used_interval.map_or(0, millis),
        ..Options::default()
    })
}

/// The ensemble, and this server's number in it; `None` for a server that is alone.
///
/// # Errors
/// [`Error::Config`] for what it cannot do.
pub(super) fn ensemble(
    config: &Config,
    in_memory: bool,
) -> Result<Option<(&Quorum, ServerId)>, Error> {
    if config.mode() == Mode::Standalone {
        return Ok(None);
    }
    let (Some(quorum), Some(me)) = (&config.quorum, config.server_id) else {
        return Err(refuse("a member of an ensemble needs server lines and a file myid"));
    };
    if in_memory {
        return Err(refuse("a member of an ensemble cannot keep everything in memory"));
    }
    if let QuorumRule::Oracle { .. } = quorum.rule {
        return Err(refuse(
            "oraclePath: zk asks no oracle. Use three participants, or remove the line",
        ));
    }
    for (set, key) in [
        (config.observer_master_port.is_some(), "observerMasterPort"),
        (config.force_snapshot_sync, "forceSnapshotSync"),
        (!config.sync_enabled, "syncEnabled"),
        (config.enable_eager_acl_check, "enableEagerACLCheck"),
    ] {
        if set {
            log::warn!("{key}: without effect in an ensemble of zk so far");
        }
    }
    Ok(Some((quorum, me)))
}

/// The lines of a configuration that members tell each other.
pub(super) fn config_text(quorum: &Quorum) -> String {
    let mut text = String::new();
    let mut line = |key: &str, id: i64, value: &dyn fmt::Display| {
        text.push_str(&format!("{key}.{id}={value}\n"));
    };
    for server in quorum.servers.values() {
        line("server", server.id.0, server);
    }
    if let QuorumRule::Hierarchical { groups, weights } = &quorum.rule {
        for (group, members) in groups {
            let members: Vec<String> = members.iter().map(|id| id.0.to_string()).collect();
            line("group", *group, &members.join(":"));
        }
        for (id, weight) in weights {
            line("weight", id.0, weight);
        }
    }
    text.push_str(&format!("version={:x}", quorum.version.0));
    text
}

/// How much the core may hold: what an address can count, or `zk.capacity`, and a few of the longest
/// transactions.
///
/// # Errors
/// [`Error::Config`] for what it cannot do.
pub(super) fn ceilings(config: &Config, options: &Options) -> Result<Ceilings, Error> {
    let defaults = Ceilings::default();
    let history = options.max_txn.saturating_mul(4).min(u32::MAX as usize);
    let all = Ceilings { history: defaults.history.max(history), ..defaults };
    let Some(Capacity { znodes, cells, bytes, acls, sessions, txn, .. }) = config.capacity else {
        return Ok(all);
    };
    let limits = [znodes, cells, bytes, acls, sessions];
    let [nodes, cells, bytes, acls, sessions] = limits.map(|most| most as usize);
    if config.extended_types_enabled {
        return Err(refuse(
            "zk.capacity and extendedTypesEnabled=true: boards do not know nodes with a time to live",
        ));
    }
    // Boards keep room for their own text of the configuration; this server's may be longer, and has its
    // room besides.
    let unit = Unit::SMALLEST;
    let own = tree::config_cells(unit, TEXT_MAX);
    let kept = own + tree::config_cells(unit, Capacity::CONFIG);
    let cells = cells.saturating_add(own);
    let lists = tree::snapshot::lists(txn as usize, sessions, acls);
    let owners = sessions;
    let tree = tree::Ceilings { nodes, cells, unit, kept, bytes, acls, lists, owners, ..all.tree };
    Ok(Ceilings { tree, sessions, ..all })
}

/// What the store is told.
pub(super) fn store_options(config: &Config) -> store::Options {
    store::Options {
        preallocate: config.pre_alloc_size_kib.saturating_mul(1024),
        record_max: longest_txn(config),
        batch_max: FRAMED_BATCH_MAX,
        trust_empty: config.snapshot_trust_empty,
        db_autocreate: config.db_autocreate,
        datadir_autocreate: config.datadir_autocreate,
        ..store::Options::default()
    }
}

/// The longest transaction that is stored, or taken from a leader.
fn longest_txn(config: &Config) -> usize {
    (config.jute_max_buffer as usize).saturating_add(config.jute_max_buffer_extra_size as usize)
}

/// The longest transaction that is proposed, or applied.
fn max_txn(config: &Config) -> usize {
    let most = config.capacity.map_or(usize::MAX, |capacity| capacity.txn as usize);
    longest_txn(config).min(most)
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn refuse(what: &str) -> Error {
    Error::Config(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(format!("dataDir=d\nclientPort=0\n{text}").as_bytes(), &[]).unwrap()
    }

    #[test]
    fn what_the_core_can_do_reaches_it() {
        let config = parse(
            "tickTime=500\nminSessionTimeout=700\nmaxSessionTimeout=900\njute.maxbuffer=5000\n\
             extendedTypesEnabled=true\nenforceQuota=true\nskipACL=yes\nsnapCount=7\n\
             snapSizeLimitInKb=8\nznode.container.checkIntervalMs=11\n\
             znode.container.maxPerMinute=12\n",
        );
        let options = peer_options(&config).unwrap();
        assert_eq!((options.tick_time, options.max_frame), (500, 5000));
        assert_eq!((options.min_session_timeout, options.max_session_timeout), (700, 900));
        assert!(options.extended_types && options.enforce_quota && options.skip_acl);
        assert_eq!((options.snap_count, options.snap_size), (7, 8192));
        assert_eq!((options.container_check_interval, options.container_max_per_minute), (11, 12));
    }

    #[test]
    fn a_server_that_counts_as_boards_do_says_what_they_say() {
        let line =
            "zk.capacity=znodes:100,cells:560,bytes:16563,acls:4,sessions:8,frame:512,txn:576\n";
        let config = parse(line);
        let options = peer_options(&config).unwrap();
        assert_eq!((options.max_frame, options.max_txn), (512, 576));
        // What is on the disk, or comes from a leader, is still read.
        assert!(store_options(&config).record_max > 1 << 20);
        let ceilings = ceilings(&config, &options).unwrap();
        let now = zk_core::time::Now::new(0, 0);
        let seeds = tree::Seeds(1, 2);
        let peer =
            zk_core::peer::Peer::owned(options, ceilings, seeds, zk_core::id::SessionId(1), now);
        // The mark, cells of 16 bytes, and the limits; 19 cells are kept for the configuration.
        let lists = 576 + 32 - 8 - 12 * 8 - 12 * 4;
        let said = [0x7a6b_0002u32, 16, 100, 560 - 19, 16_563, 4, lists, 8, 8, 576];
        let said = said.map(u32::to_be_bytes).concat();
        assert_eq!(peer.unwrap().capacity().encode()[..], said);
        let extended = parse(&format!("{line}extendedTypesEnabled=true\n"));
        let error = super::ceilings(&extended, &peer_options(&extended).unwrap()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let smaller = parse(&format!("{line}jute.maxbuffer=300\n"));
        assert_eq!(peer_options(&smaller).unwrap().max_frame, 300);
    }

    #[test]
    fn what_a_frame_may_hold_can_be_stored_and_sent() {
        for max in [5_000, 0xf_ffff, 50_000_000, i32::MAX as usize] {
            let options = peer_options(&parse(&format!("jute.maxbuffer={max}\n"))).unwrap();
            let config = parse("");
            let ceilings = ceilings(&config, &options).unwrap();
            assert!(options.max_txn >= max && options.max_waiting > max);
            assert!(ceilings.history >= options.max_txn && options.max_reply > max + 1024);
        }
    }

    #[test]
    fn a_member_is_what_its_lines_say() {
        let lines = "initLimit=7\nsyncLimit=3\nserver.2=b:2:3:observer;c:4\nserver.1=a:2:3\n\
                     server.7=[::1]:2:3\ngroup.1=1:7\nweight.7=3\n";
        let mut config = parse(lines);
        // There is no file myid.
        assert_eq!(ensemble(&config, false).unwrap_err().exit_code(), 2);
        config.server_id = Some(ServerId(7));
        assert_eq!(ensemble(&config, true).unwrap_err().exit_code(), 2);
        let (quorum, me) = ensemble(&config, false).unwrap().unwrap();
        assert_eq!(me, ServerId(7));
        let options = peer_options(&config).unwrap();
        assert_eq!((options.server, options.ensemble), (ServerId(7), true));
        assert_eq!((options.init_limit, options.sync_limit), (7, 3));
        // As Apache writes it.
        let mut core = zk_core::quorum::Config::owned();
        core.set(config_text(quorum).as_bytes()).unwrap();
        assert_eq!(
            core::str::from_utf8(core.text()).unwrap(),
            "server.1=a:2:3:participant\nserver.2=b:2:3:observer;c:4\n\
             server.7=[0:0:0:0:0:0:0:1]:2:3:participant\ngroup.1=1:7\nweight.1=1\nweight.7=3\n\
             version=0"
        );
        let mut oracle =
            parse("initLimit=7\nsyncLimit=3\nserver.1=a:2:3\nserver.2=b:2:3\noraclePath=x\n");
        oracle.server_id = Some(ServerId(1));
        assert_eq!(ensemble(&oracle, false).unwrap_err().exit_code(), 2);
        assert!(ensemble(&parse(""), true).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_where_it_is_read() {
        for line in [
            "digest.enabled=false",
            "closeSessionTxn.enabled=false",
            "emulate353TTLNodes=true",
            "enforce.auth.enabled=true",
            "DigestAuthenticationProvider.enabled=false",
        ] {
            let text = format!("dataDir=d\nclientPort=0\n{line}\n");
            let error = Config::parse(text.as_bytes(), &[]).unwrap_err();
            assert_eq!(Error::from(error).exit_code(), 2, "{line}");
            let (key, value) = line.split_once('=').unwrap();
            parse(&format!("{key}={}", if value == "true" { "false" } else { "true" }));
        }
    }
}
