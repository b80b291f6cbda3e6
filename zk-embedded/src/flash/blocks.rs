//! What each erase block is used for.

use zk_core::id::Zxid;

use super::layout::Snapshot;

/// What is known of one erase block. The store is lent one for each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Block {
    pub(super) use_: Use,
    /// Tells the order in which blocks were opened.
    pub(super) seq: u32,
    /// How often it was erased.
    pub(super) erases: u32,
    /// Of a block of the log: where the history ends in it.
    pub(super) end: u32,
    /// Of a block of the log: the last transaction up to its end.
    pub(super) last: Option<Zxid>,
    /// It failed: when nothing in it is needed any more, it is retired.
    pub(super) worn: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing in it is needed.
    #[default]
    Free,
    /// Erased and stamped since the start. What was erased before is free: a program that was cut
    /// off may have touched it without a trace.
    Erased,
    /// A part of the log.
    Log,
    /// A part of a snapshot.
    Snapshot { id: u32, index: u32 },
    /// Never used again.
    Retired,
}

/// The block with the fewest erases of those that `which` names.
pub(super) fn least_erased(blocks: &[Block], which: impl Fn(&Block) -> bool) -> Option<usize> {
    let chosen = blocks.iter().enumerate().filter(|(_, block)| which(block));
    chosen.min_by_key(|(_, block)| block.erases).map(|(at, _)| at)
}

/// The block of the log with that sequence number.
pub(super) fn log(blocks: &[Block], seq: u32) -> Option<usize> {
    blocks.iter().position(|block| block.use_ == Use::Log && block.seq == seq)
}

/// The next block of the log after that sequence number.
pub(super) fn next_log(blocks: &[Block], after: u32) -> Option<usize> {
    let later = |block: &&Block| block.use_ == Use::Log && block.seq > after;
    log(blocks, blocks.iter().filter(later).map(|block| block.seq).min()?)
}

/// The block of the log before that sequence number.
pub(super) fn log_before(blocks: &[Block], seq: u32) -> Option<usize> {
    let earlier = |block: &&Block| block.use_ == Use::Log && block.seq < seq;
    log(blocks, blocks.iter().filter(earlier).map(|block| block.seq).max()?)
}

/// The block with part `index` of a snapshot.
pub(super) fn part(blocks: &[Block], id: u32, index: u32) -> Option<usize> {
    blocks.iter().position(|block| block.use_ == Use::Snapshot { id, index })
}

/// The oldest block of the log, below `below`, with a transaction that a snapshot has not.
pub(super) fn first_needed(
    blocks: &[Block],
    snapshot: Option<Snapshot>,
    below: u32,
) -> Option<u32> {
    let beyond = |last: Option<Zxid>| match (last, snapshot) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(last), Some(snapshot)) => last > snapshot.zxid,
    };
    let log = blocks.iter().filter(|block| block.use_ == Use::Log && block.seq < below);
    log.filter(|block| beyond(block.last)).map(|block| block.seq).min()
}
