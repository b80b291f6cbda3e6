//! `zk_fuzz::client` as a program of libFuzzer's.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: zk_fuzz::seed::plant(zk_fuzz::client::seeds),
    |data: &[u8]| zk_fuzz::client::run(data)
);
