//! `zk_fuzz::config` as a program of libFuzzer's.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: zk_fuzz::seed::plant(zk_fuzz::config::seeds),
    |data: &[u8]| zk_fuzz::config::run(data)
);
