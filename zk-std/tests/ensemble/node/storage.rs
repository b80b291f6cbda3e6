//! What a member keeps its history on.

use zk_core::id::{Epoch, Zxid};
use zk_core::peer::{Epochs, Peer};
use zk_core::time::Now;
use zk_std::store::simulated::{Disk, Rng};

use super::super::met::Met;

/// What was found at a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    /// The last transaction; none, if the history cannot be trusted.
    pub(crate) last: Option<Zxid>,
    pub(crate) epochs: Epochs,
}

/// What a storage may touch of its member.
pub(crate) struct Member<'a> {
    pub(crate) peer: &'a mut Peer<'static>,
    /// The last transaction that is durable.
    pub(crate) synced: &'a mut Zxid,
    /// The epochs that are durable.
    pub(crate) epochs: &'a mut Epochs,
}

/// What a step of the storage did.
pub(crate) enum Did {
    Nothing,
    Something,
    /// Transactions were appended.
    Appended(Vec<(Zxid, Vec<u8>)>),
    /// Transactions were synced.
    Synced(Vec<Zxid>),
    /// The member begins an epoch: a start may find it from now on.
    Begins(Epoch),
    /// The epochs were written.
    Epochs,
    /// The history was cut.
    Truncated(Zxid),
    /// The history was replaced by a snapshot of that zxid.
    Installed(Zxid),
    /// A snapshot does not take the place of the history: that is what could be read again, which may be
    /// more than the last time.
    ReadAgain(Zxid),
    /// It has failed: the process ends.
    Failed,
    /// It was full for too long: the process ends.
    Full,
}

/// A bit that has changed.
pub(crate) struct Rotten {
    /// Where.
    pub(crate) what: String,
    /// Nothing was under way: the next start, which must come at once, finds it, or all that there was.
    pub(crate) at_rest: bool,
}

/// Files, or a flash. Faults that only files have are those of the simulated disk.
pub(crate) trait Storage {
    /// A process starts: the storage is opened, and changes nothing yet.
    fn open(&mut self) -> Result<(), String>;

    /// Loads the peer, and makes ready for what it will want.
    fn load(&mut self, peer: &mut Peer<'static>) -> Result<Loaded, String>;

    /// One thing that the peer wants, or the end of one.
    fn step(&mut self, member: Member<'_>, now: Now, rng: &mut Rng) -> Did;

    /// What the last step did as well.
    fn did_too(&mut self) -> Option<Did>;

    /// The process ends, and with it what is not durable. Power may be `off` as well.
    fn crash(&mut self, off: bool);

    /// The power goes off when it has done so many operations more.
    fn cut_power_after(&mut self, operations: u64);

    /// All is lost. Files are on that disk from now on.
    fn wipe(&mut self, disk: &Disk, seed: u64);

    /// A bit changes, if one can that shows.
    fn rot(&mut self, rng: &mut Rng) -> Option<Rotten>;

    /// What would be there if the power went off now. Files would be on that disk.
    fn after_crash(&self, disk: &Disk, seed: u64) -> Box<dyn Storage>;

    /// Whether it has no room for now.
    fn is_full(&self) -> bool;

    /// What it is up to, in words.
    fn state(&self) -> String;

    /// What it has met.
    fn count(&self, met: &mut Met);
}
