//! `zk_fuzz::store` as a program of libFuzzer's.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: zk_fuzz::seed::plant(zk_fuzz::store::seeds),
    |data: &[u8]| zk_fuzz::store::run(data)
);
