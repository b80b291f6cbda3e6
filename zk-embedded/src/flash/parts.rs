//! A snapshot that is being written, in blocks of its own.

use zk_core::wire::file::SnapshotDigest;

use super::blocks::Use;
use super::error::Error;
use super::layout::{self, Kind, Opening, Payload, Snapshot};
use super::nor::Nor;
use super::read::Body;
use super::store::{COMPARE, Done, End, Poll, SLICE, Source, Step, Store, Task, Then, Writing};

impl<N: Nor> Store<'_, N> {
    pub(super) fn write_snapshot(
        &mut self,
        writing: Writing,
    ) -> Result<Option<Poll>, Error<N::Error>> {
        let asked = match writing.end {
            End::Open => None,
            End::Asked(digest) => Some(digest),
            End::Received => return Ok(None),
        };
        if writing.fill == self.piece_len() || asked.is_some() && writing.fill > 0 {
            return self.write_piece(writing).map(Some);
        }
        let Some(digest) = asked else { return Ok(None) };
        self.task = Task::Verify(Body::new(&writing.snapshot(digest)));
        Ok(Some(Poll::Working))
    }

    pub(super) fn write_piece(&mut self, writing: Writing) -> Step<N::Error> {
        let kind = Kind::Piece;
        let frame = layout::encode(self.layout, &kind, Payload::There(writing.fill), self.piece);
        let frame = frame.ok_or(Error::Unfit("a piece"))?;
        if let Some(block) = writing.block
            && writing.at + frame as u32 <= self.layout.block
        {
            return Ok(self.program(Source::Piece, frame, block, writing.at, Then::Piece));
        }
        if writing.index >= self.snapshot_blocks() {
            self.too_long |= !writing.install;
            self.give_up();
            return Ok(Poll::Working);
        }
        let block = match self.allocate() {
            Some(Ok(block)) => block,
            Some(Err(poll)) => return Ok(poll),
            None => {
                self.give_up();
                return Ok(Poll::Working);
            }
        };
        let seq = self.next_seq()?;
        let id = if writing.id == 0 { seq } else { writing.id };
        let index = writing.index;
        self.blocks[block].use_ = Use::Snapshot { id, index };
        self.blocks[block].seq = seq;
        self.writing = Some(Writing { id, index: index + 1, block: None, ..writing });
        self.put(&Opening::Snapshot { seq, id, index }.encode());
        let len = self.layout.align(layout::OPENING_LEN) as usize;
        let at = self.layout.opening_at();
        Ok(self.program(Source::Small, len, block, at, Then::Part))
    }

    pub(super) fn step_verify(&mut self, mut body: Body) -> Step<N::Error> {
        let mut room = [0; COMPARE];
        for _ in 0..SLICE as usize / COMPARE {
            let read = body.read(&mut self.nor, self.layout, self.blocks, &mut room);
            match read.map_err(Error::Device)? {
                Ok(0) => return Ok(self.verified(&body)),
                Ok(_) => {}
                Err(_) => {
                    self.task = Task::Idle;
                    self.give_up();
                    return Ok(Poll::Working);
                }
            }
        }
        self.task = Task::Verify(body);
        Ok(Poll::Working)
    }

    /// All of the snapshot was read as it was written.
    pub(super) fn verified(&mut self, body: &Body) -> Poll {
        self.task = Task::Idle;
        let snapshot = body.snapshot();
        match &mut self.writing {
            Some(writing) if writing.install => {
                writing.end = End::Received;
                Poll::Done(Done::Received(snapshot))
            }
            Some(writing) => {
                writing.end = End::Received;
                self.commit = Some(snapshot);
                Poll::Working
            }
            None => Poll::Working,
        }
    }
}

impl Writing {
    pub(super) fn snapshot(&self, digest: Option<SnapshotDigest>) -> Snapshot {
        Snapshot {
            id: self.id,
            blocks: self.index,
            zxid: self.zxid,
            len: self.len,
            sum: self.sum.value(),
            digest,
        }
    }
}
