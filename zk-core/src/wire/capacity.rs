//! How much a member can hold, as members of an ensemble tell each other.
//!
//! Full is what the leader says is full, so its voters must be able to hold whatever it accepts. A
//! learner says how much it holds behind its `LearnerInfo`, a leader behind the protocol of its
//! LEADERINFO; Apache's servers read neither. Whoever says nothing holds what comes, as Apache does.
//!
//! ```text
//! i32 MARK | i32 bytes of a cell | i32 znodes | i32 cells | i32 bytes of paths, data and lists
//!          | i32 access control lists | i32 bytes of these | i32 sessions with ephemeral nodes
//!          | i32 sessions | i32 bytes of a transaction
//! ```

use crate::memory::Unit;

/// Begins what follows: "zk" and a version. What begins otherwise is not looked at.
const MARK: i32 = 0x7a6b_0002;

/// Numbers on the wire.
const NUMBERS: usize = 10;

/// Bytes on the wire.
pub const LEN: usize = 4 * NUMBERS;

/// The limits of a member. `i32::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// As on the wire: the mark, the bytes of a cell, and the limits.
    numbers: [i32; NUMBERS],
}

/// What the numbers say, in the words of the log. Those that count in cells of another size cannot be
/// compared.
const NAMES: [&str; NUMBERS] = [
    "as its kind",
    "bytes of a cell",
    "znodes",
    "cells of names and data",
    "bytes of paths, data and lists",
    "access control lists",
    "bytes of access control lists",
    "sessions with ephemeral nodes",
    "sessions",
    "bytes of a transaction",
];

/// What can be counted one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Znodes.
    Nodes = 2,
    /// Cells of names and data.
    Cells = 3,
    /// Bytes of paths, data and access control lists.
    Bytes = 4,
    /// Access control lists.
    Acls = 5,
    /// Bytes of access control lists.
    Lists = 6,
    /// Sessions with ephemeral nodes.
    Owners = 7,
    /// Sessions.
    Sessions = 8,
}

fn number(limit: usize) -> i32 {
    limit.min(i32::MAX as usize) as i32
}

/// A limit that is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// Of what: its place on the wire.
    place: usize,
    /// The limit.
    pub has: i32,
    /// What it should be.
    pub needs: i32,
}

impl Lack {
    /// Of what can be counted.
    pub fn new(kind: Kind, has: usize, needs: usize) -> Self {
        Self { place: kind as usize, has: number(has), needs: number(needs) }
    }

    /// Of what.
    pub fn what(&self) -> &'static str {
        NAMES.get(self.place).copied().unwrap_or_default()
    }
}

impl Capacity {
    /// No limits that anybody could compare.
    pub const UNKNOWN: Self = Self { numbers: [i32::MAX; NUMBERS] };

    /// Nothing at all, in those cells.
    pub const fn none(unit: Unit) -> Self {
        Self { numbers: [MARK, unit.bytes() as i32, 0, 0, 0, 0, 0, 0, 0, 0] }
    }

    /// So many znodes, cells, bytes of paths, data and lists, access control lists, bytes of these, sessions
    /// with ephemeral nodes, sessions, and bytes of a transaction.
    pub fn new(unit: Unit, limits: [usize; NUMBERS - 2]) -> Self {
        let mut all = Self::none(unit);
        for (place, limit) in all.numbers.iter_mut().skip(2).zip(limits) {
            *place = number(limit);
        }
        all
    }

    /// Bytes of a cell.
    pub fn cell(&self) -> usize {
        self.numbers[1].max(1) as usize
    }

    /// So many of one kind more.
    pub fn add(&mut self, kind: Kind, more: usize) {
        let number = &mut self.numbers[kind as usize];
        *number = number.saturating_add(self::number(more));
    }

    /// Whether it is worth saying: the tree has a limit.
    pub fn is_limited(&self) -> bool {
        self.numbers.iter().skip(2).take(7).any(|&limit| limit < i32::MAX)
    }

    /// As it is said.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        for (place, number) in bytes.chunks_exact_mut(4).zip(&self.numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// What a member has said, if that is what the bytes begin with.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut numbers = [0; NUMBERS];
        for (number, place) in numbers.iter_mut().zip(bytes.get(..LEN)?.chunks_exact(4)) {
            *number = i32::from_be_bytes(*place.first_chunk()?);
        }
        (numbers[0] == MARK).then_some(Self { numbers })
    }

    /// The first limit that is lower than in `needed`.
    pub fn lacks(&self, needed: &Self) -> Option<Lack> {
        let pairs = self.numbers.iter().zip(&needed.numbers);
        let place = pairs.enumerate().position(|(at, (has, needs))| match at {
            0 | 1 => has != needs,
            _ => has < needs,
        })?;
        Some(Lack { place, has: self.numbers[place], needs: needed.numbers[place] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_read_as_it_was_said() {
        let capacity = Capacity::new(Unit::OWN, [96, 400, 9000, 8, 700, 8, 8, 1024]);
        let mut bytes = capacity.encode();
        assert_eq!(bytes[..12], [0x7a, 0x6b, 0, 2, 0, 0, 0, 32, 0, 0, 0, 96]);
        assert_eq!(Capacity::decode(&bytes), Some(capacity));
        // Something else, of somebody else.
        bytes[3] = 1;
        assert_eq!(Capacity::decode(&bytes), None);
        assert_eq!(Capacity::decode(&bytes[..LEN - 1]), None);
    }

    #[test]
    fn the_first_limit_that_is_too_low_is_named() {
        let small = Capacity::new(Unit::OWN, [96, 400, 9000, 8, 700, 8, 8, 1024]);
        let large = Capacity::new(Unit::OWN, [96, 401, 9000, 8, 700, 8, 8, usize::MAX]);
        assert_eq!(small.lacks(&small), None);
        assert_eq!(large.lacks(&small), None);
        let cells = Lack::new(Kind::Cells, 400, 401);
        assert_eq!(small.lacks(&large), Some(cells));
        assert_eq!(cells.what(), "cells of names and data");
        let mut other = Capacity::new(Unit::OWN, [usize::MAX; 8]);
        assert!(!other.is_limited() && small.is_limited());
        other.numbers[1] = 16;
        assert_eq!(other.lacks(&small).map(|lack| lack.what()), Some("bytes of a cell"));
    }
}
