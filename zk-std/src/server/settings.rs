//! From a [`Config`] to what the core, the store and the listener are told.

use core::time::Duration;

use zk_core::id::ServerId;
use zk_core::peer::{Ceilings, Options};

use super::Error;
use crate::config::{Config, Mode};
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
    if config.mode() == Mode::Quorum {
        return Err(refuse(
            "the configuration has server lines for an ensemble, and this zk serves alone. \
             Remove the server lines to run it standalone, or run an ensemble with Apache \
             ZooKeeper",
        ));
    }
    let super_digest = match &config.super_digest {
        None => None,
        Some(digest) => Some(heapless::String::try_from(digest.0.as_str()).map_err(|_| {
            refuse("DigestAuthenticationProvider.superDigest is longer than 96 bytes")
        })?),
    };
    let max_frame = config.jute_max_buffer as usize;
    Ok(Options {
        server: ServerId::STANDALONE,
        tick_time: config.tick_time,
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

/// How much the core may hold: what an address can count, and a few of the longest transactions.
pub(super) fn ceilings(options: &Options) -> Ceilings {
    let defaults = Ceilings::default();
    let history = options.max_txn.saturating_mul(4).min(u32::MAX as usize);
    Ceilings { history: defaults.history.max(history), ..defaults }
}

/// What the store is told.
pub(super) fn store_options(config: &Config) -> store::Options {
    store::Options {
        preallocate: config.pre_alloc_size_kib.saturating_mul(1024),
        record_max: max_txn(config),
        batch_max: FRAMED_BATCH_MAX,
        trust_empty: config.snapshot_trust_empty,
        db_autocreate: config.db_autocreate,
        datadir_autocreate: config.datadir_autocreate,
        ..store::Options::default()
    }
}

fn max_txn(config: &Config) -> usize {
    (config.jute_max_buffer as usize).saturating_add(config.jute_max_buffer_extra_size as usize)
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
    fn what_a_frame_may_hold_can_be_stored_and_sent() {
        for max in [5_000, 0xf_ffff, 50_000_000, i32::MAX as usize] {
            let options = peer_options(&parse(&format!("jute.maxbuffer={max}\n"))).unwrap();
            let ceilings = ceilings(&options);
            assert!(options.max_txn >= max && options.max_waiting > max);
            assert!(ceilings.history >= options.max_txn && options.max_reply > max + 1024);
        }
    }

    #[test]
    fn an_ensemble_is_refused_with_exit_code_2() {
        let mut config = parse("");
        config.standalone_enabled = false;
        assert_eq!(peer_options(&config).unwrap_err().exit_code(), 2);
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
