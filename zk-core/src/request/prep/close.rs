//! The end of a session, and of its ephemeral nodes.

use super::{Busy, Prep, Prepared, Progress, REPLY_HEAD, Refusal};
use crate::tree::{Cost, Owner, digest, path};
use crate::wire::Code;
use crate::wire::jute::{self, Slice, Ustring};
use crate::wire::txn::TxnHeader;

/// Bytes of a transaction's digest.
const DIGEST: usize = 12;

impl Prep<'_, '_> {
    pub(super) fn close_session(
        &mut self,
        progress: &Progress<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let session = progress.ask.session;
        self.sessions.usable(session).ok_or(Code::SessionExpired)?;
        let list_at = out.len();
        jute::write(&0i32, out)?;
        let mut listed = 0i32;
        let most = self.end_of_list(out);
        // What is in the tree, unless a pending change has taken it away.
        let mut next = self.tree.ephemerals(session).next();
        while let Some(node) = next {
            next = self.tree.next_ephemeral(node);
            let mut room = core::mem::take(&mut self.scratch);
            // The scratch is as long as the longest of these paths.
            let result = match self.tree.path_of(node, room) {
                Some(path) => self.close_one(progress, path, out, most, &mut listed),
                None => Err(Refusal::Busy),
            };
            self.scratch = core::mem::take(&mut room);
            result?;
        }
        // What is still to be created.
        let mut room = core::mem::take(&mut self.scratch);
        let result = self.close_pending(progress, out, most, &mut listed, room);
        self.scratch = core::mem::take(&mut room);
        result?;
        out.patch(list_at, listed);
        Ok(())
    }

    /// Where the list of a closeSession ends at the latest: apply deletes what is not listed, too.
    fn end_of_list(&self, out: &Slice<'_>) -> usize {
        let most = out.len() + self.options.max_frame / 2;
        if self.longest { most.min((out.len() + out.free()).saturating_sub(DIGEST)) } else { most }
    }

    /// Closing always succeeds: when the changes of a session's nodes are more than can be noted, they
    /// are not, and the transaction promises no digest.
    pub(super) fn close_unseen(
        &mut self,
        header: TxnHeader,
        out: &mut [u8],
    ) -> Result<Prepared, Busy> {
        let at = self.sessions.usable(header.client_id).ok_or(Busy)?;
        let mut slice = Slice::new(out);
        jute::write(&(header, 0i32), &mut slice).map_err(|_| Busy)?;
        let list_at = slice.len() - 4;
        let most = self.end_of_list(&slice);
        let mut listed = 0;
        for node in self.tree.ephemerals(header.client_id) {
            let Some(path) = self.tree.path_of(node, self.scratch) else { continue };
            if slice.len() + 4 + path.len() <= most
                && jute::write(&Ustring(Some(path)), &mut slice).is_ok()
            {
                listed += 1;
            }
        }
        slice.patch(list_at, listed);
        self.sessions.closing(at);
        Ok(Prepared {
            len: slice.len(),
            cost: Cost::default(),
            reply: REPLY_HEAD,
            out_of_room: false,
            unseen: true,
        })
    }

    /// A node that goes with its session: its parent's change, its digest, its place in the list.
    fn close_one(
        &mut self,
        progress: &Progress<'_>,
        path: &[u8],
        out: &mut Slice<'_>,
        most: usize,
        listed: &mut i32,
    ) -> Result<(), Refusal> {
        let Some(node) = self.changes.state(self.tree, self.sessions, path) else {
            return Ok(());
        };
        if self.tree.owner_of(&node.stat) != Owner::Session(progress.ask.session) {
            return Ok(());
        }
        let (parent_path, _) = path::split(path).ok_or(Code::BadArguments)?;
        let parent = self.state(parent_path)?;
        let mut after = parent;
        after.children = after.children.saturating_sub(1);
        after.stat.pzxid = after.stat.pzxid.max(progress.zxid);
        self.change(parent_path, progress.zxid, Some(&parent), after)?;
        if path::is_digested(path) {
            self.changes.sub_digest(digest::of_node(node.content, &node.stat));
        }
        if out.len() + 4 + path.len() <= most {
            jute::write(&Ustring(Some(path)), out)?;
            *listed += 1;
        }
        Ok(())
    }

    fn close_pending(
        &mut self,
        progress: &Progress<'_>,
        out: &mut Slice<'_>,
        most: usize,
        listed: &mut i32,
        room: &mut [u8],
    ) -> Result<(), Refusal> {
        // Every pending creation of the session has its own entry, and closing it adds none but its
        // parent's, which is no node of the session: entries are visited by number.
        let mut from = 0;
        while let Some((at, len)) =
            self.changes.next_owned(Owner::Session(progress.ask.session), from, room)
        {
            from = at + 1;
            let path = room.get(..len).unwrap_or_default();
            if self
                .tree
                .find(path)
                .is_some_and(|node| self.tree.owner(node) == Owner::Session(progress.ask.session))
            {
                // It was met in the tree.
                continue;
            }
            self.close_one(progress, path, out, most, listed)?;
        }
        Ok(())
    }
}
