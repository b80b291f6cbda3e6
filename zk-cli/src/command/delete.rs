//! `delete`, `deleteall`

use clap::Args;
use serde_json::json;
use zk_core::wire::client::{MultiHeader, PathVersion};
use zk_core::wire::{Code, OpCode};

use super::Context;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::operations::decode;

/// Bytes of a multi after which the next one begins: half of what servers take.
const MAX_BATCH_BYTES: usize = 512 << 10;

/// Delete a node that has no children
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Only if this is the version of the data now
    #[arg(short, default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    version: i32,
    /// The node
    path: String,
}

impl Delete {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        cx.connection.delete(&cx.path(&self.path)?, self.version)?;
        if cx.output.is_json() { cx.output.json(&json!({ "path": self.path })) } else { Ok(()) }
    }
}

/// Delete a node and everything below it
#[derive(Args, Debug)]
pub(crate) struct Deleteall {
    /// Nodes per transaction
    #[arg(short, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// The node
    path: String,
}

impl Deleteall {
    pub(super) fn run(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let path = cx.path(&self.path)?;
        let paths = cx.connection.walk(&path, false)?;
        let mut rest = &paths[..];
        while !rest.is_empty() {
            // From the end, where the children are.
            let mut bytes = 0;
            let fits = rest.iter().rev().take(self.batch as usize).take_while(|path| {
                bytes += path.len() + 17;
                bytes <= MAX_BATCH_BYTES
            });
            let (left, batch) = rest.split_at(rest.len() - fits.count().max(1));
            delete_batch(cx.connection, batch)?;
            rest = left;
        }
        if cx.output.is_json() {
            cx.output.json(&json!({ "path": self.path, "deleted": paths.len() }))
        } else {
            Ok(())
        }
    }
}

/// Deletes nodes, the last first, in one transaction; one by one if others change them meanwhile.
fn delete_batch(connection: &Connection, paths: &[String]) -> Result<(), Failure> {
    // A transaction of one says no more than a plain delete.
    if paths.len() > 1 {
        let answer = connection.answer(OpCode::Multi, &Deletes(paths))?;
        if answer.err != Code::Ok {
            return Err(Failure::of(answer.err, "the subtree"));
        }
        // When one fails, every result is an error.
        let first: MultiHeader = decode(&answer.body)?;
        if first.op != OpCode::Error {
            return Ok(());
        }
    }
    for path in paths.iter().rev() {
        match connection.delete(path, -1) {
            Err(failure) if failure.is_no_node() => {}
            result => result?,
        }
    }
    Ok(())
}

/// Deletes of paths, the last first, as the body of a multi.
struct Deletes<'p>(&'p [String]);

impl serde::Serialize for Deletes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut all = serializer.serialize_tuple(2 * self.0.len() + 1)?;
        for path in self.0.iter().rev() {
            all.serialize_element(&MultiHeader { op: OpCode::Delete, done: false, err: -1 })?;
            all.serialize_element(&PathVersion { path: path.as_str().into(), version: -1 })?;
        }
        all.serialize_element(&MultiHeader::END)?;
        all.end()
    }
}

#[cfg(test)]
mod tests {
    use zk_core::wire::jute;

    use super::*;

    #[test]
    fn a_multi_deletes_children_first() {
        let paths = ["/a".to_owned(), "/a/b".to_owned()];
        let mut bytes = Vec::new();
        jute::write(&Deletes(&paths), &mut bytes).unwrap();
        let mut reader = jute::Reader::new(&bytes);
        for path in ["/a/b", "/a"] {
            let header: MultiHeader = reader.read().unwrap();
            assert_eq!((header.op, header.done), (OpCode::Delete, false));
            assert_eq!(reader.read(), Ok(PathVersion { path: path.into(), version: -1 }));
        }
        assert_eq!(reader.read(), Ok(MultiHeader::END));
        assert!(reader.rest().is_empty());
    }
}
