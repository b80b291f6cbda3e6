//! `zk_fuzz::planted` as a program of libFuzzer's.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: zk_fuzz::seed::plant(zk_fuzz::planted::seeds),
    |data: &[u8]| zk_fuzz::planted::run(data)
);
