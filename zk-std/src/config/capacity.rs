//! How much a server may hold, if that is not what its memory holds: `zk.capacity`.

use core::fmt;
use core::str::FromStr;

/// What a server accepts, so that members of its ensemble with little memory (boards) hold it, too.
///
/// What is full is decided by the leader, for all voters; so a board follows only a leader that says it
/// accepts no more than the board holds, and with a greater history elects no other. A server that
/// shares an ensemble with boards is told what they hold, as one text:
///
/// ```
/// use zk_std::config::Capacity;
///
/// let text = "znodes:100,cells:560,bytes:16563,acls:4,sessions:8,frame:1024,txn:1088";
/// let capacity: Capacity = text.parse().unwrap();
/// assert_eq!((capacity.znodes, capacity.txn), (100, 1088));
/// assert_eq!(capacity.to_string(), text);
/// assert_eq!("tiny".parse(), Ok(capacity));
/// assert!("znodes:100".parse::<Capacity>().is_err());
/// ```
///
/// The numbers are those of a board's `zk_embedded::profile::Profile`, whose names stand for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Znodes, with the four that are always there.
    pub znodes: u32,
    /// Cells for names, data and access control lists, of the size that a board's have: 16 bytes, 14 of
    /// them content.
    pub cells: u32,
    /// Bytes of whole paths, data and access control lists: what makes a snapshot longer besides the
    /// number of znodes, sessions and lists.
    pub bytes: u32,
    /// Distinct access control lists.
    pub acls: u32,
    /// Sessions of the whole ensemble.
    pub sessions: u32,
    /// Bytes of the longest request, if `jute.maxbuffer` is not less.
    pub frame: u32,
    /// Bytes of the longest transaction.
    pub txn: u32,
}

impl Capacity {
    /// What a board of the profile `TINY` holds.
    pub const TINY: Self = Self {
        znodes: 100,
        cells: 560,
        bytes: 16563,
        acls: 4,
        sessions: 8,
        frame: 1024,
        txn: 1088,
    };

    /// What a board of the profile `SMALL` holds.
    pub const SMALL: Self = Self {
        znodes: 132,
        cells: 760,
        bytes: 13987,
        acls: 8,
        sessions: 16,
        frame: 1536,
        txn: 1600,
    };

    /// Bytes that a board has for the text of a configuration.
    pub const CONFIG: usize = 256;

    /// The least of each: an empty tree.
    const LEAST: [u32; 7] = [5, 32, 128, 2, 1, 64, 64];

    const NAMES: [&str; 7] = ["znodes", "cells", "bytes", "acls", "sessions", "frame", "txn"];

    fn numbers(&mut self) -> [&mut u32; 7] {
        let Self { znodes, cells, bytes, acls, sessions, frame, txn } = self;
        [znodes, cells, bytes, acls, sessions, frame, txn]
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = *self;
        for (at, (name, number)) in Self::NAMES.iter().zip(all.numbers()).enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{name}:{number}")?;
        }
        Ok(())
    }
}

/// What is wrong with a text that should be a [`Capacity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityError(String);

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for CapacityError {}

impl FromStr for Capacity {
    type Err = CapacityError;

    fn from_str(text: &str) -> Result<Self, CapacityError> {
        match text {
            "tiny" => return Ok(Self::TINY),
            "small" => return Ok(Self::SMALL),
            _ => {}
        }
        // None of them may be zero.
        let mut all =
            Self { znodes: 0, cells: 0, bytes: 0, acls: 0, sessions: 0, frame: 0, txn: 0 };
        for part in text.split(',') {
            let (name, number) = part.split_once(':').unwrap_or((part, ""));
            let at = Self::NAMES.iter().position(|&known| known == name.trim());
            let Some(place) = at.and_then(|at| all.numbers().into_iter().nth(at)) else {
                return Err(CapacityError(format!("nothing is called {:?}", name.trim())));
            };
            let least = at.map_or(1, |at| Self::LEAST[at]);
            let number = number.trim().parse().ok().filter(|number| *number >= least);
            let number = number.filter(|&number: &u32| i32::try_from(number).is_ok());
            let Some(number) = number else {
                let name = name.trim();
                let problem = format!("{name} needs a number from {least} to {}", i32::MAX);
                return Err(CapacityError(problem));
            };
            if *place != 0 {
                return Err(CapacityError(format!("{} is there twice", name.trim())));
            }
            *place = number;
        }
        let missing = Self::NAMES.iter().zip(all.numbers()).find(|(_, number)| **number == 0);
        match missing {
            Some((name, _)) => Err(CapacityError(format!("{name} is missing"))),
            None => Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_boards_are_what_they_are_there() {
        use zk_embedded::profile::{self, Profile};
        for (ours, board) in [(Capacity::TINY, profile::TINY), (Capacity::SMALL, profile::SMALL)] {
            let Profile { nodes, cells, acls, sessions, frame, txn, config, .. } = board;
            assert_eq!(config, Capacity::CONFIG);
            let there = [nodes, cells, board.bytes(), acls, sessions, frame, txn];
            assert_eq!(ours.clone().numbers().map(|number| *number as usize), there);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| text.parse::<Capacity>().unwrap_err().to_string();
        assert_eq!(wrong(""), "nothing is called \"\"");
        assert_eq!(wrong("znodes:9,nodes:2"), "nothing is called \"nodes\"");
        assert_eq!(wrong("znodes"), "znodes needs a number from 5 to 2147483647");
        for number in ["31", "-1", "2147483648", "x", ""] {
            let text = format!("znodes:9,cells:{number}");
            assert_eq!(wrong(&text), "cells needs a number from 32 to 2147483647");
        }
        assert_eq!(wrong("acls:2,acls:2"), "acls is there twice");
        assert_eq!(
            wrong("txn:64,frame:64,znodes:5,cells:32,bytes:128,acls:2"),
            "sessions is missing"
        );
        let spaces: Capacity =
            " znodes: 5 ,cells:40,bytes:200,acls:3,sessions:2,frame:66,txn:99".parse().unwrap();
        assert_eq!(
            spaces.to_string(),
            "znodes:5,cells:40,bytes:200,acls:3,sessions:2,frame:66,txn:99"
        );
    }
}
