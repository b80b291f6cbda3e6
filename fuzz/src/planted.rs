//! A planted bug behind a record and three letters: luck does not find it within the age of the
//! universe, feedback from the code of zk-core does within seconds. Whoever finds it can see.

use zk_core::wire::client::PathVersion;
use zk_core::wire::jute;

/// Runs one input.
///
/// # Panics
/// When it finds something.
pub fn run(data: &[u8]) {
    let Ok(PathVersion { path, version }) = jute::decode(data) else { return };
    let path = path.bytes();
    if path.first() == Some(&b'/')
        && path.get(1) == Some(&b'z')
        && path.get(2) == Some(&b'k')
        && path.len() == 3
        && version == 0x5a4b_534e
    {
        panic!("the planted bug was found");
    }
}

/// A plain record; what else it must be, only the code says.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![b"\0\0\0\x03/ab\0\0\0\0".to_vec()]
}
