//! The history of a peer in NOR flash: one ring of erase blocks.
//!
//! A [`Store`] keeps what a server keeps in `version-2`: the log, the newest snapshot, both epochs; and
//! how often the board has started. It takes no memory but what it is lent, and waits for nothing:
//! each [`Store::poll`] starts one program or one erase, or looks at what the last one has left. A
//! [`Disk`] carries out on it what a [`Peer`](zk_core::peer::Peer) orders.
//!
//! ```text
//! let mut disk = Disk::new(nor, memory, options)?;
//! disk.open()?;
//! disk.load(&mut peer, new)?;              // History::Damaged: such a peer must not vote
//! disk.start()?;
//! peer.join(now, &Membership { epochs: disk.store().epochs(), .. })?;
//! loop { .. network, timers ..  disk.poll(&mut peer, now, quiet, scratch)?; }
//! ```
//!
//! # Blocks
//!
//! All numbers are little-endian. Each part begins at a multiple of the device's write size (`w`), and
//! is programmed once.
//!
//! ```text
//! stamp      magic "zkfl", u16 version, u16 0, u32 erases, u32 CRC-32 of these 12 bytes
//! opening    u32 kind (1 log, 2 snapshot), u32 sequence number, u32 a, u32 b, u32 CRC-32 of these 16
//! retired    4 bytes; half of their bits are 0 in a block that is never used again
//! log:       head (a record, 192 bytes with what pads it), then records
//! snapshot:  records
//! ```
//!
//! The stamp is programmed when the block was erased and found blank, and has the same place whatever
//! the version is; a later version is refused. Sequence numbers grow with every block that is opened.
//! In a log `a` is where ends what was copied into it (see below); in a snapshot `a` is the sequence
//! number of its first block, and `b` the number of this part.
//!
//! # Records
//!
//! ```text
//! u32 CRC-32 of all that follows   u16 length of what follows   kind   payload   0xff up to w
//! ```
//!
//! The kind is a postcard enum, the payload what is left of the length:
//!
//! | kind | fields | payload |
//! |---|---|---|
//! | 0 head | sequence number; the block before this one and where the history ends in it; the oldest block that is needed; where copies end; the longest batch; starts; epochs; the snapshot; whether the history is lost | why the board was reset |
//! | 1 transaction | zxid; whether it is the first of a batch | its Jute bytes, as on the wire |
//! | 2 epochs | accepted, current | |
//! | 3 snapshot | a snapshot that is whole and verified: its id, blocks, zxid, length, CRC-32, digest; the oldest block of the log that is needed | |
//! | 4 settled | all records before this one were acknowledged | |
//! | 5 reset | | why the board was reset |
//! | 6 piece | | bytes of a snapshot's body |
//!
//! # The log is a chain
//!
//! Not zxids but positions order the history, and only the newest block says which: its head names the
//! block before it *and the offset at which the history ends there*, that block's head the one before,
//! down to the oldest that is needed. What is not in the chain is void, whatever it says. So
//!
//! - **a full block** is followed by one that names its end;
//! - **a start** opens a block in the place of the newest: what that has up to its last whole record is
//!   copied, the new head names the same predecessor. A torn end stays where it was; nothing is ever
//!   programmed behind it that could complete it;
//! - **TRUNC** does the same with the block that has the first transaction to be forgotten;
//! - **a program that fails** does it with the block that failed;
//! - **a snapshot of a leader** is followed by a block without a predecessor, whose head names it.
//!
//! An opening comes first, then the copies, then the head: with the head the block counts. Before that
//! it has nothing behind its copies, so a head that is missing is told from one that is damaged. A
//! record follows the head of such a block before what it replaces is erased.
//!
//! The head repeats the epochs, the snapshot and all else, so no earlier record but transactions is
//! ever needed. A block is reclaimed when a whole snapshot has all of its transactions and the record
//! or head that says so is durable; and when no learner reads behind it ([`Store::pin`]).
//!
//! A batch that is on its way when power fails leaves any part of itself. It is one program after the
//! other, each read back, and the next batch comes when all of it is there: so what is whole up to the
//! first record that is not is a beginning of it. What is more than the longest batch behind that
//! record, or followed by records of which the first is not of the same batch, is no torn batch:
//! damage. (In a quiet moment *settled* is written. Before that, a bit that changes within the last
//! batch is taken for a torn one.)
//!
//! A program that was cut off may have no visible effect and still have weakened what it touched. So
//! nothing is programmed behind the end that a start finds, and blocks that were erased ahead are
//! erased again.
//!
//! # Room
//!
//! With `s` blocks for [`Options::snapshot_max`], two snapshots take `2 s`, one block is kept free, and
//! the log may have the others. Half of that used, the store [wants](Store::wants_snapshot) a snapshot,
//! and at 70 % the snapshot goes first; at 87.5 % it is [full](Store::is_full): writers wait if a snapshot
//! [makes room](Store::makes_room), else the peer takes only what does. Transactions leave 256 bytes of each block to other records.
//!
//! | limit | |
//! |---|---|
//! | blocks | [`Memory::blocks`]; `2 s + 2` good ones at least: two snapshots, a block of log, and one that is ready for what comes next; else [`Error::Worn`] |
//! | bytes of a transaction | [`Options::txn_max`] |
//! | bytes of a batch | [`Memory::batch`] ([`batch_len`]), less than a block |
//! | bytes of a snapshot | [`Options::snapshot_max`] (up to whole blocks): [`Done::SnapshotFailed`], full |
//! | a record | 65,540 bytes |
//! | learners whose place is remembered | 4; for others the log is searched from a block's start |
//! | bytes of why a board was reset | [`REASON_MAX`] |
//! | write size, blocks of a device | up to [`WRITE_SIZE_MAX`]; 1 KiB at least |
//!
//! # What it costs
//!
//! A transaction of `n` bytes in a batch of its own programs `n` and 9 to 18 bytes and what pads it, in
//! one page program or two, and erases nothing. Blocks are erased when it is quiet, one for the log
//! and `s` for a snapshot ahead. A start erases a block before it can go on, copies one at most, and
//! erases `s + 1` in all. Wear is even: of the free blocks the one that was erased least is taken, and
//! everything moves through the ring.
//!
//! All in all, as the test `what_a_write_costs` measures it on 8 blocks of 4 KiB with snapshots of some
//! 2,500 bytes, each write alone and followed by a quiet moment:
//!
//! | bytes of a transaction | bytes programmed for it | writes for each erase of a block |
//! |---|---|---|
//! | 60 | 149 | 19.5 |
//! | 200 | 413 | 6.9 |
//! | 400 | 787 | 3.6 |
//!
//! A flash lasts for so many writes times its blocks times what each endures: at one write of 60 bytes
//! a second, 1,024 such blocks of 100,000 erases for 63 years. More blocks need fewer snapshots.
//!
//! # Wear and rot
//!
//! Every program is read back, and every erased block. A block that does not pass is retired, and
//! marked, so that later starts know. Damage names block and offset, as [`Damage`]; nothing is changed
//! then. A peer that stays alone is not started; another gives the history up
//! ([`Store::start`]), keeps its epochs, and is *lost* until a leader's snapshot is installed.

mod blocks;
mod boot;
pub mod disk;
mod error;
mod layout;
mod log;
pub mod nor;
mod parts;
pub mod rated;
mod read;
#[cfg(any(test, feature = "simulated"))]
mod seen;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;
mod step;
mod store;
#[cfg(test)]
mod tests;

pub use blocks::Block;
pub use boot::Found;
pub use disk::{Disk, History};
pub use error::{Damage, Error, Rot, Unfit};
pub use layout::{REASON_MAX, Snapshot, VERSION, WRITE_SIZE_MAX};
pub use nor::{Blocking, Failed, Nor};
pub use rated::{Rated, Rating};
pub use read::{Entries, Load, Loaded, Refusal};
pub use store::{Done, Memory, Options, Poll, Store, batch_len};
