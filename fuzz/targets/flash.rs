//! `zk_fuzz::flash` as a program of libFuzzer's.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: zk_fuzz::seed::plant(zk_fuzz::flash::seeds),
    |data: &[u8]| zk_fuzz::flash::run(data)
);
