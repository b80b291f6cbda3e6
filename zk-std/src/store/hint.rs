//! `zk.synced`: up to where the newest log was durable when the server last was idle.
//!
//! Damage before that point is not a torn batch. The file is a line of text, `<log> <offset>
//! <zxid, hex> <checksum of the log's first record, hex> <adler32 of the text before, hex>`, in
//! the log's directory, where Apache ignores it. The first record tells whether the log is still
//! the same one. A file that is missing or unreadable says nothing.

use std::io;

use zk_core::id::Zxid;
use zk_core::wire::file::FileHeader;

use super::directory::{Directory, read_full, read_small, remove, replace};
use super::log::Synced;

const NAME: &str = "zk.synced";
const LEN_MAX: usize = 256;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    pub synced: Synced,
    first: u64,
}

impl Hint {
    /// What is to be written about `synced`.
    pub(super) fn of<D: Directory>(logs: &D, synced: Synced) -> io::Result<Self> {
        let first = first_checksum(logs, &synced.name)?;
        Ok(Self { synced, first })
    }

    pub(super) fn write<D: Directory>(&self, logs: &D) -> io::Result<()> {
        let Self { synced: Synced { name, offset, zxid }, first } = self;
        let text = format!("{name} {offset} {:x} {first:x}", zxid.0);
        let sum = super::sum::of(text.as_bytes());
        replace(logs, NAME, format!("{text} {sum:x}\n").as_bytes())
    }

    /// The offset up to which the log `name` was synced, if this is about that log.
    pub(super) fn offset<D: Directory>(&self, logs: &D, name: &str) -> Option<u64> {
        let same = self.synced.name == name
            && first_checksum(logs, name).is_ok_and(|first| first == self.first);
        same.then_some(self.synced.offset)
    }
}

fn first_checksum<D: Directory>(logs: &D, name: &str) -> io::Result<u64> {
    let mut bytes = [0; 8];
    read_full(&logs.open(name)?, &mut bytes, FileHeader::LEN as u64)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Reads the file.
pub(super) fn read<D: Directory>(logs: &D) -> Option<Hint> {
    let bytes = read_small(logs, NAME, LEN_MAX).ok()??;
    let line = core::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?;
    let (text, sum) = line.rsplit_once(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != super::sum::of(text.as_bytes()) {
        return None;
    }
    let mut parts = text.split(' ');
    let name = parts.next()?.to_string();
    let offset = parts.next()?.parse().ok()?;
    let zxid = Zxid(u64::from_str_radix(parts.next()?, 16).ok()?.cast_signed());
    let first = u64::from_str_radix(parts.next()?, 16).ok()?;
    Some(Hint { synced: Synced { name, offset, zxid }, first })
}

/// Removes the file, durably: what it says is about to become wrong.
pub(super) fn forget<D: Directory>(logs: &D) -> io::Result<()> {
    if remove(logs, NAME)? {
        logs.sync()?;
    }
    Ok(())
}
