//! What is wrong with a flash, and where.

use core::fmt;

use zk_core::id::Zxid;

/// Why a store cannot be kept on this device with this memory and these options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit(pub &'static str);

impl<E> From<Unfit> for Error<E> {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit.0)
    }
}

/// Why the store does not go on. After an error of [`poll`](super::Store::poll) it has stopped for
/// good: nobody knows what the device has, and the board has to start anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The device cannot be read.
    Device(E),
    /// The store cannot be kept on this device with this memory and these options.
    Unfit(&'static str),
    /// A block was written by a later version of this software.
    Version {
        /// Which block, counted from the first of the store.
        block: u32,
        /// Its format; this software knows [`VERSION`](super::VERSION).
        found: u16,
    },
    /// What was acknowledged cannot be read any more.
    Damaged(Damage),
    /// Too few blocks still do what they should.
    Worn {
        /// How many do.
        good: u32,
        /// How many there have to be.
        needed: u32,
    },
    /// A transaction that cannot be logged: it is longer than the options say, or does not come
    /// behind the last one, or the batch is longer than its memory.
    Transaction {
        /// Its zxid.
        zxid: Zxid,
        /// The last one that was logged.
        last: Zxid,
        /// Its bytes.
        len: usize,
    },
    /// The history is more than the one who loads it has room for.
    TooMuch,
    /// Something was asked of the store before it was [ready](super::Store::is_ready).
    NotReady,
    /// The store has stopped after an earlier error.
    Stopped,
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => write!(f, "the flash cannot be read: {error}"),
            Self::Unfit(what) => write!(f, "the store does not fit: {what}"),
            Self::Version { block, found } => write!(
                f,
                "block {block} has format {found}, and this software knows {}: install the \
                 software that wrote it, or a later one",
                super::VERSION
            ),
            Self::Damaged(damage) => damage.fmt(f),
            Self::Worn { good, needed } => write!(
                f,
                "the flash is worn out: {good} good blocks are left, and {needed} are needed"
            ),
            Self::Transaction { zxid, last, len } => {
                write!(f, "transaction {zxid} of {len} bytes cannot be logged behind {last}")
            }
            Self::TooMuch => f.write_str("the history is more than this peer's capacity"),
            Self::NotReady => f.write_str("the store was asked for something before it was ready"),
            Self::Stopped => f.write_str("the store has stopped"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}

/// Where a history is damaged: a peer with it must not vote before a leader has sent it a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The block, counted from the first of the store; where a block is missing, one that names it.
    pub block: u32,
    /// Where in the block, bytes.
    pub offset: u32,
    /// What it is.
    pub what: Rot,
}

/// What can be wrong with a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// A record was changed behind which others were acknowledged.
    Record,
    /// A block that belongs to the history is not there, or its head cannot be read.
    Block,
    /// The log goes on with a transaction that does not follow the last one.
    Gap {
        /// The last one, of the log or the snapshot.
        last: Zxid,
        /// The one that was found.
        found: Zxid,
    },
    /// The snapshot is not what was verified.
    Snapshot,
    /// The core does not understand what has the right checksum.
    Content,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block, offset, what } = self;
        match what {
            Rot::Record => f.write_str("an acknowledged record is damaged")?,
            Rot::Block => f.write_str("a block of the history is missing or damaged")?,
            Rot::Gap { last, found } => {
                write!(f, "transactions between {last} and {found} are missing")?;
            }
            Rot::Snapshot => f.write_str("the snapshot is damaged")?,
            Rot::Content => f.write_str("a record makes no sense")?,
        }
        write!(f, ": block {block}, offset {offset}")
    }
}
