//! `zk_fuzz::records` as a program of libFuzzer's.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: zk_fuzz::seed::plant(zk_fuzz::records::seeds),
    |data: &[u8]| zk_fuzz::records::run(data)
);
