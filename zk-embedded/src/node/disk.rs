//! What a node asks of its disk.

use core::fmt::{Debug, Display};

use zk_core::peer::Peer;
use zk_core::time::Now;

use crate::flash::{self, Nor, Poll};

/// How far a step of a disk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is ordered, and nothing is under way.
    Idle,
    /// Something is under way.
    Working,
    /// Something was done, and the peer was told.
    Done,
}

/// Where a peer's history is kept.
pub trait Disk {
    /// Why the board has to start anew.
    type Error: Debug + Display;

    /// Does one step of what the peer orders ([`Peer::poll_disk`]), without waiting, and tells the
    /// peer what is done. When it is `quiet`, nobody waits to be served. The `scratch` is the loop's:
    /// whatever is in it is of no use afterwards.
    ///
    /// # Errors
    /// The disk cannot go on.
    fn poll(
        &mut self,
        peer: &mut Peer<'_>,
        now: Now,
        quiet: bool,
        scratch: &mut [u8],
    ) -> Result<Step, Self::Error>;
}

impl<N: Nor> Disk for flash::Disk<'_, N> {
    type Error = flash::Error<N::Error>;

    fn poll(
        &mut self,
        peer: &mut Peer<'_>,
        now: Now,
        quiet: bool,
        scratch: &mut [u8],
    ) -> Result<Step, Self::Error> {
        Ok(match Self::poll(self, peer, now, quiet, scratch)? {
            Poll::Idle => Step::Idle,
            Poll::Working => Step::Working,
            Poll::Done(_) => Step::Done,
        })
    }
}
