//! `zk_fuzz::history` as a program of libFuzzer's.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: zk_fuzz::seed::plant(zk_fuzz::history::seeds),
    |data: &[u8]| zk_fuzz::history::run(data)
);
