//! Frames and files that Apache ZooKeeper wrote, as `zk-core/testdata` and `zk-std/testdata` keep
//! them.

use std::io::Read;

use crate::seed;

/// The areas, each a file of frames.
pub const AREAS: [&str; 7] = ["acl", "connect", "create", "data", "errors", "multi", "watches"];

/// A frame: `request`, `reply`, `event`, ..., and its payload.
#[derive(Debug)]
pub struct Frame {
    /// Which part of the exchange.
    pub part: String,
    /// Without its length.
    pub payload: Vec<u8>,
}

/// The frames of an area, in order.
///
/// # Panics
/// When the file is not there or not what it should be.
pub fn frames(area: &str) -> Vec<Frame> {
    let text = seed::file(&format!("zk-core/testdata/golden/{area}.txt"));
    let text = String::from_utf8(text).expect("golden files are text");
    let mut frames = vec![];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, hex)) = line.split_once(": ") else { continue };
        let part = name.rsplit('.').next().unwrap_or_default();
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex digits"))
            .collect();
        let mut rest = &bytes[..];
        while let Some((len, behind)) = rest.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*len) as usize;
            let Some((payload, behind)) = behind.split_at_checked(len) else { break };
            frames.push(Frame { part: part.to_owned(), payload: payload.to_vec() });
            rest = behind;
        }
    }
    frames
}

/// A log with a transaction of every kind, without the zeros at its end.
///
/// # Panics
/// When it is not there or damaged.
pub fn log() -> Vec<u8> {
    let mut log = vec![];
    flate2::read::MultiGzDecoder::new(&seed::file("zk-std/testdata/store/log.1.gz")[..])
        .read_to_end(&mut log)
        .expect("a whole file");
    let end = log.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    log.truncate(end);
    log
}

/// Bytes of a log's and a snapshot's header.
pub const FILE_HEADER: usize = 16;

/// The transactions of a log: checksum and length before, a mark behind each.
pub fn txns(log: &[u8]) -> Vec<&[u8]> {
    let mut txns = vec![];
    let mut rest = log.get(FILE_HEADER..).unwrap_or_default();
    while let Some((head, behind)) = rest.split_first_chunk::<12>() {
        let len = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some((txn, behind)) = behind.split_at_checked(len) else { break };
        txns.push(txn);
        rest = behind.get(1..).unwrap_or_default();
    }
    txns
}

/// A snapshot of what that log says; `extension` is empty, `.gz` or `.snappy`.
///
/// # Panics
/// When it is not there.
pub fn snapshot(extension: &str) -> Vec<u8> {
    seed::file(&format!("zk-std/testdata/store/snapshot.13{extension}"))
}

/// Bytes of a snapshot of 3.8.0 behind its body: a checksum, a digest, a checksum.
const TRAILERS: usize = 13 + 20 + 13;

/// The body of that snapshot: sessions, lists, nodes.
///
/// # Panics
/// When it is not there.
pub fn snapshot_body() -> Vec<u8> {
    let mut bytes = snapshot("");
    bytes.truncate(bytes.len() - TRAILERS);
    bytes.drain(..FILE_HEADER);
    assert!(bytes.ends_with(b"\0\0\0\x01/"), "the end marker");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_bytes_are_there() {
        for area in AREAS {
            assert!(frames(area).iter().any(|frame| frame.part == "request"), "{area}");
        }
        assert!(txns(&log()).len() > 15);
        assert!(!snapshot_body().is_empty());
    }
}
