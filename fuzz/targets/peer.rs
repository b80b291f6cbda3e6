//! `zk_fuzz::peer` as a program of libFuzzer's.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: zk_fuzz::seed::plant(zk_fuzz::peer::seeds),
    |data: &[u8]| zk_fuzz::peer::run(data)
);
