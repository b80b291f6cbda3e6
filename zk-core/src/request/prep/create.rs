//! Creations.

use super::acl::fix_acl;
use super::{Prep, Progress, Refusal, STAT};
use crate::id::SessionId;
use crate::request::changes::NodeState;
use crate::text;
use crate::trace::repeated;
use crate::tree::{MAX_TTL, Owner, digest, path};
use crate::wire::client::{CreateMode, CreateRequest, perms};
use crate::wire::jute::{self, List, Reader, Sink, Slice, Trailing};
use crate::wire::txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn};
use crate::wire::{Code, OpCode};

/// Characters of a sequence number, at least.
const SEQUENCE_WIDTH: usize = 10;

impl Prep<'_, '_> {
    pub(super) fn create(
        &mut self,
        progress: &mut Progress<'_>,
        op: OpCode,
        request: &CreateRequest<'_>,
        ttl: i64,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let Progress { ask, zxid, time, .. } = *progress;
        let mode = CreateMode::from_flags(request.flags).ok_or(Code::BadArguments)?;
        if mode.is_ttl() && !self.options.extended_types {
            return Err(Code::Unimplemented.into());
        }
        let ttl_fits = if mode.is_ttl() { (1..=MAX_TTL).contains(&ttl) } else { ttl < 0 };
        if !ttl_fits {
            return Err(Code::BadArguments.into());
        }
        self.check_session(ask)?;
        if mode.is_ephemeral() {
            // Its server should have made it one of the ensemble's.
            let session = self.sessions.find(ask.session).ok_or(Code::SessionExpired)?;
            if self.sessions.get(session).is_local() {
                return Err(Code::EphemeralOnLocalSession.into());
            }
        }
        let requested = request.path.0.ok_or(Refusal::Malformed)?;
        let (parent_path, _) = path::split(requested).ok_or(Code::BadArguments)?;
        if requested.contains(&0) {
            return Err(Code::BadArguments.into());
        }
        let reaped = mode.is_ttl() || mode == CreateMode::Container;
        // Its length, and a number behind it.
        if reaped && 4 + requested.len() + text::LONGEST > self.reaped_max {
            return Err(Code::MarshallingError.into());
        }
        let (count, len) = fix_acl(request.acl, ask.ids, self.acl_scratch)?;
        let parent = self.state(parent_path)?;
        self.allows(parent.acl, perms::CREATE, ask.ids)?;

        // The path is written to where it belongs, and read back from there.
        let start = out.len();
        jute::write(&0i32, out)?;
        out.put(requested)?;
        if mode.is_sequential() {
            let mut room = [0; text::LONGEST];
            let number = i64::from(parent.stat.cversion);
            out.put(text::number(number, 10, SEQUENCE_WIDTH, &mut room))?;
        }
        let path_len = out.len() - start - 4;
        out.patch(start, i32::try_from(path_len).map_err(|_| Code::MarshallingError)?);
        let path_at = start + 4..start + 4 + path_len;
        let path = out.written().get(path_at.clone()).unwrap_or_default();
        if !path::is_valid(path) {
            return Err(Code::BadArguments.into());
        }
        if self.state(path).is_ok() {
            return Err(Code::NodeExists.into());
        }
        if matches!(self.tree.owner_of(&parent.stat), Owner::Session(_)) {
            return Err(Code::NoChildrenForEphemerals.into());
        }
        let data_len = request.data.bytes().len();
        if self.options.enforce_quota {
            self.tree.check_quota(path, data_len as i64, 1)?;
        }
        let owner = match op {
            OpCode::CreateContainer => Owner::Container,
            // The opcode decides what is applied; a TTL request without a TTL mode would be
            // applied with no valid time (Apache fails there).
            OpCode::CreateTtl if !mode.is_ttl() => return Err(Code::BadArguments.into()),
            OpCode::CreateTtl => Owner::Ttl(ttl),
            _ if mode.is_ephemeral() => Owner::Session(ask.session),
            _ => Owner::Nobody,
        };
        if let Owner::Session(session) = owner
            && self.tree.ephemerals_of(session) + self.changes.len() >= self.options.max_ephemerals
            && self.ephemerals_to_come(session) >= self.options.max_ephemerals
        {
            repeated!(
                self.full.get_mut(),
                "session {:#x} has {} ephemeral nodes: it gets no more (time {})",
                session.0,
                self.options.max_ephemerals
            );
            return Err(Code::SystemError.into());
        }
        let acl = List::from_raw(count, self.acl_scratch.get(..len).unwrap_or_default());
        let mut cost = self.tree.cost_of(path, data_len, owner).plus(&progress.cost);
        // All that a multi creates is of one session.
        cost.owners = cost.owners.min(1);
        self.fits(&cost.plus(&self.tree.cost_of_acl(acl)))?;

        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        let content = digest::Crc::START.update(path).update(request.data.bytes());
        // The rest of the record, behind the path.
        jute::write(&request.data, out)?;
        jute::write(&acl, out)?;
        match op {
            OpCode::CreateContainer => jute::write(&parent_cversion, out)?,
            OpCode::CreateTtl => jute::write(&(parent_cversion, ttl), out)?,
            _ => jute::write(&(mode.is_ephemeral(), parent_cversion), out)?,
        }
        debug_assert!(record_is(op, out.written().get(start..).unwrap_or_default()));

        let path = out.written().get(path_at).unwrap_or_default();
        let (parent_path, _) = path::split(path).ok_or(Code::BadArguments)?;
        let mut after = parent;
        after.children += 1;
        // As it is applied: only forwards.
        if parent_cversion > parent.stat.cversion {
            after.stat.cversion = parent_cversion;
            after.stat.pzxid = zxid;
        }
        let acl = self.tree.acquire_acl(acl)?;
        let stat = crate::wire::file::StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            ctime: time,
            mtime: time,
            ephemeral_owner: owner.raw(),
            pzxid: zxid,
            ..Default::default()
        };
        let node = NodeState { exists: true, stat, children: 0, data_len, content, acl };
        let changed = self
            .change(parent_path, zxid, Some(&parent), after)
            .and_then(|()| self.change(path, zxid, None, node));
        // The change has its own reference now, until it is applied: the list has its room.
        self.tree.release_acl(acl);
        changed?;
        progress.cost = cost;
        progress.reply += 4 + path_len + STAT;
        Ok(())
    }

    fn ephemerals_to_come(&mut self, session: SessionId) -> usize {
        let mut count = self.tree.ephemerals_of(session);
        let mut from = 0;
        while let Some((at, len)) =
            self.changes.next_owned(Owner::Session(session), from, self.scratch)
        {
            from = at + 1;
            let path = self.scratch.get(..len).unwrap_or_default();
            count += usize::from(self.tree.find(path).is_none());
        }
        count
    }
}

/// Whether `bytes` are the record of a creation: checked in tests and debug builds, since the
/// record is written field by field.
fn record_is(op: OpCode, bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let whole = match op {
        OpCode::CreateContainer => reader.read::<CreateContainerTxn<'_>>().is_ok(),
        OpCode::CreateTtl => reader.read::<CreateTtlTxn<'_>>().is_ok(),
        _ => reader
            .read::<CreateTxn<'_>>()
            .is_ok_and(|txn| matches!(txn.parent_cversion, Trailing(Some(_)))),
    };
    whole && reader.rest().is_empty()
}
