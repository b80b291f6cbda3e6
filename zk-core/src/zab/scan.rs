//! Finds the end of a snapshot that comes over a learner's link.
//!
//! A SNAP packet is followed by the body of a snapshot (see [`tree::snapshot`](crate::tree::snapshot))
//! and the ustring "BenWasHere", with no length in front. The scanner walks over the lengths inside,
//! in pieces of any size, and keeps nothing: what the body says is judged when it is loaded.

use super::Violation;
use crate::memory::Unit;
use crate::wire::capacity::{Capacity, Kind};
use crate::wire::file::{SnapshotNode, SnapshotSession};
use crate::wire::quorum::SNAPSHOT_END;

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Sessions,
    AclCount,
    /// Lists that are still to come, behind their numbers.
    Acl {
        lists: i32,
    },
    /// Entries of the current list that are still to come.
    Entries {
        lists: i32,
        entries: i32,
        scheme: bool,
    },
    Path,
    /// The one byte of a path that may be the end.
    Short,
    Data,
    End,
    /// How many of its bytes were seen.
    EndText(usize),
    Done,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    part: Part,
    needs: Capacity,
    /// Bytes to pass over before `part`.
    skip: u64,
    /// The bytes of a number, as far as they have come.
    number: [u8; 4],
    have: usize,
    /// No string or data may be longer.
    most: usize,
    /// Whether a mark is behind the body.
    marked: bool,
}

impl Scanner {
    /// At the start of a body that comes over a link, and whose longest string or data has `most`
    /// bytes. What it needs is counted in `unit`.
    pub const fn new(most: usize, unit: Unit) -> Self {
        let needs = Capacity::none(unit);
        Self { part: Part::Sessions, needs, skip: 0, number: [0; 4], have: 0, most, marked: true }
    }

    /// At the start of a body in a file: there is no mark behind it.
    pub const fn of_file(most: usize) -> Self {
        Self { marked: false, ..Self::new(most, Unit::OWN) }
    }

    /// What whoever loads the body must hold at least, as far as it has come.
    pub fn needs(&self) -> &Capacity {
        &self.needs
    }

    /// Whether the end was found.
    pub fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// Looks at the next bytes. Answers how many of them belong to the body, and how many were
    /// looked at: the mark behind the body belongs to neither body nor what follows.
    ///
    /// # Errors
    /// [`Violation`] when this is no snapshot.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, usize), Violation> {
        let (mut at, mut body) = (0, 0);
        while at < bytes.len() && self.part != Part::Done {
            let inside = !matches!(self.part, Part::End | Part::EndText(_));
            if self.skip > 0 {
                let n = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.skip -= n as u64;
                at += n;
            } else {
                self.byte(bytes[at])?;
                at += 1;
            }
            if inside {
                body = at;
            }
        }
        Ok((body, at))
    }

    fn byte(&mut self, byte: u8) -> Result<(), Violation> {
        match self.part {
            Part::Short => {
                self.part = match byte {
                    b'/' if self.marked => Part::End,
                    b'/' => Part::Done,
                    _ => Part::Data,
                };
                return Ok(());
            }
            Part::EndText(seen) => {
                if SNAPSHOT_END.get(seen) != Some(&byte) {
                    return Err(Violation("a snapshot without its end"));
                }
                let all = seen + 1 == SNAPSHOT_END.len();
                self.part = if all { Part::Done } else { Part::EndText(seen + 1) };
                return Ok(());
            }
            _ => {}
        }
        self.number[self.have] = byte;
        self.have += 1;
        if self.have < self.number.len() {
            return Ok(());
        }
        self.have = 0;
        let number = i32::from_be_bytes(self.number);
        let length = u64::try_from(number.max(0)).unwrap_or(0);
        let fits = number >= -1 && length <= self.most as u64;
        let counted = number >= 0;
        let bad = Violation("a snapshot with an unreasonable length");
        self.part = match self.part {
            Part::Sessions if counted => {
                self.needs.add(Kind::Sessions, number.unsigned_abs() as usize);
                self.skip = length * SnapshotSession::LEN as u64;
                Part::AclCount
            }
            Part::AclCount if counted => {
                self.needs.add(Kind::Acls, number.unsigned_abs() as usize);
                self.next_list(number)
            }
            Part::Acl { lists } => self.next_entry(lists - 1, number),
            Part::Entries { lists, entries, scheme: true } if fits => {
                self.needs.add(Kind::Lists, 4 + 4 + length as usize);
                self.skip = length;
                Part::Entries { lists, entries, scheme: false }
            }
            Part::Entries { lists, entries, scheme: false } if fits => {
                self.needs.add(Kind::Lists, 4 + length as usize);
                let next = self.next_entry(lists, entries - 1);
                self.skip += length;
                next
            }
            Part::Path if number == 1 => Part::Short,
            Part::Path if fits && counted => {
                self.needs.add(Kind::Nodes, 1);
                self.needs.add(Kind::Bytes, length as usize);
                self.skip = length;
                Part::Data
            }
            Part::Data if fits => {
                self.needs.add(Kind::Cells, length as usize / self.needs.cell());
                self.skip = length + SnapshotNode::TAIL as u64;
                Part::Path
            }
            Part::End if length == SNAPSHOT_END.len() as u64 => Part::EndText(0),
            _ => return Err(bad),
        };
        Ok(())
    }

    fn next_list(&mut self, lists: i32) -> Part {
        if lists == 0 {
            return Part::Path;
        }
        self.skip = 8;
        Part::Acl { lists }
    }

    fn next_entry(&mut self, lists: i32, entries: i32) -> Part {
        if entries <= 0 {
            return self.next_list(lists);
        }
        // Its permissions.
        self.skip = 4;
        Part::Entries { lists, entries, scheme: true }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn body() -> Vec<u8> {
        let mut out = Vec::new();
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as i32).to_be_bytes());
            out.extend(text.bytes());
        };
        out.extend(2i32.to_be_bytes());
        out.extend([7; 24]);
        out.extend(2i32.to_be_bytes());
        for entries in [2i32, 0] {
            out.extend([0; 8]);
            out.extend(entries.to_be_bytes());
            for _ in 0..entries {
                out.extend([0, 0, 0, 31]);
                text(&mut out, "world");
                text(&mut out, "anyone");
            }
        }
        for (path, data) in
            [("", Some("")), ("/zookeeper", None), ("x", Some("y")), ("/a", Some("BenWasHere"))]
        {
            text(&mut out, path);
            match data {
                Some(data) => text(&mut out, data),
                None => out.extend((-1i32).to_be_bytes()),
            }
            out.extend([9; 68]);
        }
        text(&mut out, "/");
        out
    }

    fn stream() -> Vec<u8> {
        let mut out = body();
        out.extend(10i32.to_be_bytes());
        out.extend(SNAPSHOT_END);
        out
    }

    #[test]
    fn a_body_in_a_file_has_no_mark() {
        let mut bytes = body();
        let len = bytes.len();
        bytes.extend([0; 20]);
        let mut scanner = Scanner::of_file(100);
        assert_eq!(scanner.feed(&bytes), Ok((len, len)));
        assert!(scanner.is_done());
    }

    #[test]
    fn the_end_is_found_in_pieces_of_any_size() {
        let (body, stream) = (body(), stream());
        let mut bytes = stream.clone();
        bytes.extend([0, 0, 0, 10]);
        for size in 1..bytes.len() {
            let mut scanner = Scanner::new(100, Unit::OWN);
            let (mut seen, mut found) = (0, Vec::new());
            while !scanner.is_done() {
                let piece = &bytes[seen..bytes.len().min(seen + size)];
                let (inside, looked) = scanner.feed(piece).unwrap();
                found.extend(&piece[..inside]);
                seen += looked;
            }
            assert_eq!((seen, &found), (stream.len(), &body));
        }
    }

    proptest! {
        #[test]
        fn what_is_no_snapshot_is_refused_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut scanner = Scanner::new(100, Unit::OWN);
            if let Ok((inside, looked)) = scanner.feed(&bytes) {
                prop_assert!(inside <= looked && looked <= bytes.len());
            }
        }

        #[test]
        fn a_wrong_length_is_refused(at in 0..400usize) {
            let mut bytes = stream();
            let at = at % (bytes.len() - 3);
            bytes[at] = 0x80;
            // Either the byte is inside a value, or the walk goes wrong and says so, or waits.
            let _ = Scanner::new(100, Unit::OWN).feed(&bytes);
        }
    }
}
