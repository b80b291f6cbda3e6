//! Deletions, data, access control lists and checks: what is asked of a node that exists.

use super::acl::fix_acl;
use super::{Prep, Progress, Refusal, STAT};
use crate::request::changes::NodeState;
use crate::tree::{Owner, digest, path};
use crate::wire::Code;
use crate::wire::client::{SetAclRequest, SetDataRequest, perms};
use crate::wire::jute::{self, List, Slice, Ustring};
use crate::wire::txn::{CheckVersionTxn, DeleteTxn, SetAclTxn, SetDataTxn};

impl Prep<'_, '_> {
    /// The parent of a path that is to be deleted.
    fn parent_of_deleted(path: &[u8]) -> Result<&[u8], Code> {
        let (parent, _) = path::split(path).ok_or(Code::BadArguments)?;
        if path.contains(&0) || path::is_special(path) {
            return Err(Code::BadArguments);
        }
        Ok(parent)
    }

    pub(super) fn delete(
        &mut self,
        progress: &Progress<'_>,
        path: Ustring<'_>,
        version: i32,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let ask = progress.ask;
        self.check_session(ask)?;
        let path = path.0.ok_or(Refusal::Malformed)?;
        let parent_path = Self::parent_of_deleted(path)?;
        let parent = self.state(parent_path)?;
        self.allows(parent.acl, perms::DELETE, ask.ids)?;
        let node = self.state(path)?;
        next_version(node.stat.version, version)?;
        self.remove(progress, path, parent_path, parent, &node, out)
    }

    pub(super) fn delete_container(
        &mut self,
        progress: &Progress<'_>,
        path: Ustring<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let path = path.0.ok_or(Refusal::Malformed)?;
        let parent_path = Self::parent_of_deleted(path)?;
        let node = self.state(path)?;
        if !matches!(self.tree.owner_of(&node.stat), Owner::Container | Owner::Ttl(_)) {
            return Err(Code::BadVersion.into());
        }
        let parent = self.state(parent_path)?;
        self.remove(progress, path, parent_path, parent, &node, out)
    }

    fn remove(
        &mut self,
        progress: &Progress<'_>,
        path: &[u8],
        parent_path: &[u8],
        parent: NodeState,
        node: &NodeState,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        if node.children > 0 {
            return Err(Code::NotEmpty.into());
        }
        jute::write(&DeleteTxn { path: Ustring(Some(path)) }, out)?;
        let mut after = parent;
        after.children = after.children.saturating_sub(1);
        after.stat.pzxid = after.stat.pzxid.max(progress.zxid);
        self.change(parent_path, progress.zxid, Some(&parent), after)?;
        self.change(path, progress.zxid, Some(node), NodeState::GONE)
    }

    pub(super) fn set_data(
        &mut self,
        progress: &mut Progress<'_>,
        request: &SetDataRequest<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let Progress { ask, zxid, time, .. } = *progress;
        self.check_session(ask)?;
        let path = request.path.0.ok_or(Refusal::Malformed)?;
        if !path::is_valid(path) {
            return Err(Code::BadArguments.into());
        }
        let node = self.state(path)?;
        self.allows(node.acl, perms::WRITE, ask.ids)?;
        let data_len = request.data.bytes().len();
        if self.options.enforce_quota {
            self.tree.check_quota(path, data_len as i64 - node.data_len as i64, 0)?;
        }
        let version = next_version(node.stat.version, request.version)?;
        let cost = self.tree.cost_of_data(data_len.saturating_sub(node.data_len));
        if data_len > node.data_len || self.disk_full {
            self.fits(&cost.plus(&progress.cost))?;
        }
        jute::write(&SetDataTxn { path: Ustring(Some(path)), data: request.data, version }, out)?;
        let mut after = node;
        after.stat.version = version;
        after.stat.mtime = time;
        after.stat.mzxid = zxid;
        after.data_len = data_len;
        let digested = if path == b"/" { b"" } else { path };
        after.content = digest::Crc::START.update(digested).update(request.data.bytes());
        self.change(path, zxid, Some(&node), after)?;
        progress.cost = progress.cost.plus(&cost);
        progress.reply += STAT;
        Ok(())
    }

    pub(super) fn set_acl(
        &mut self,
        progress: &mut Progress<'_>,
        request: &SetAclRequest<'_>,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let Progress { ask, zxid, .. } = *progress;
        self.check_session(ask)?;
        let path = request.path.0.ok_or(Refusal::Malformed)?;
        if !path::is_valid(path) {
            return Err(Code::BadArguments.into());
        }
        let (count, len) = fix_acl(request.acl, ask.ids, self.acl_scratch)?;
        let node = self.state(path)?;
        self.allows(node.acl, perms::ADMIN, ask.ids)?;
        let version = next_version(node.stat.aversion, request.version)?;
        let acl = List::from_raw(count, self.acl_scratch.get(..len).unwrap_or_default());
        self.fits(&progress.cost.plus(&self.tree.cost_of_acl(acl)))?;
        jute::write(&SetAclTxn { path: Ustring(Some(path)), acl, version }, out)?;
        let mut after = node;
        after.stat.aversion = version;
        after.acl = self.tree.acquire_acl(acl)?;
        let changed = self.change(path, zxid, Some(&node), after);
        self.tree.release_acl(after.acl);
        changed?;
        progress.reply += STAT;
        Ok(())
    }

    pub(super) fn check(
        &mut self,
        progress: &Progress<'_>,
        path: Ustring<'_>,
        version: i32,
        out: &mut Slice<'_>,
    ) -> Result<(), Refusal> {
        let ask = progress.ask;
        self.check_session(ask)?;
        let path = path.0.ok_or(Refusal::Malformed)?;
        if !path::is_valid(path) {
            return Err(Code::BadArguments.into());
        }
        let node = self.state(path)?;
        self.allows(node.acl, perms::READ, ask.ids)?;
        let version = next_version(node.stat.version, version)?;
        Ok(jute::write(&CheckVersionTxn { path: Ustring(Some(path)), version }, out)?)
    }
}

/// The version after a change, if `expected` (-1: any) is the current one. -1 is skipped, since it
/// means "any" (ZOOKEEPER-4743).
fn next_version(current: i32, expected: i32) -> Result<i32, Code> {
    if expected != -1 && expected != current {
        return Err(Code::BadVersion);
    }
    Ok(match current.wrapping_add(1) {
        -1 => 0,
        next => next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_skip_minus_one() {
        assert_eq!(next_version(3, 3), Ok(4));
        assert_eq!(next_version(3, -1), Ok(4));
        assert_eq!(next_version(3, 2), Err(Code::BadVersion));
        assert_eq!(next_version(-2, -2), Ok(0));
        assert_eq!(next_version(i32::MAX, -1), Ok(i32::MIN));
    }
}
