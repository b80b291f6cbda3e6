//! Requests that change nothing: answered from the tree as it is.
//!
//! Answers to `FinalRequestProcessor`.

use crate::id::{SessionId, Zxid};
use crate::memory::{Full, Handle, Pipe};
use crate::session::auth::Identities;
use crate::tree::watch::{Modes, Own, Watches};
use crate::tree::{DataTree, NO_ACL};
use crate::wire::client::{
    Acl, EventType, Id, MultiHeader, PathMode, PathRecord, PathWatch, SetWatches, SetWatches2,
    perms,
};
use crate::wire::jute::{self, List, Reader, Sink, Ustring};
use crate::wire::{Code, OpCode};

/// Why a request is not answered with its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// It is answered with a code.
    Code(Code),
    /// The reply does not fit into what is free.
    Full,
}

impl From<Code> for NoReply {
    fn from(code: Code) -> Self {
        Self::Code(code)
    }
}

impl From<Full> for NoReply {
    fn from(_: Full) -> Self {
        Self::Full
    }
}

impl From<jute::Error> for NoReply {
    fn from(error: jute::Error) -> Self {
        match error {
            jute::Error::Full => Self::Full,
            _ => Self::Code(Code::MarshallingError),
        }
    }
}

/// What a read looks at.
#[derive(Debug)]
pub struct Read<'r, 'm> {
    /// The tree.
    pub tree: &'r DataTree<'m>,
    /// Everyone's watches.
    pub watches: &'r mut Watches<'m>,
    /// The connection's number.
    pub connection: Handle,
    /// Its watches.
    pub own: &'r mut Own,
    /// How many paths it may watch.
    pub max_watches: u32,
    /// Its session.
    pub session: SessionId,
    /// Its identities.
    pub ids: &'r Identities,
    /// Whether access control lists refuse nothing.
    pub skip_acl: bool,
    /// As long as the longest access control list, and the longest path of the session's nodes.
    pub scratch: &'r mut [u8],
}

impl Read<'_, '_> {
    /// Writes the body of the reply, or events that come before it, through `out`.
    ///
    /// # Errors
    /// [`NoReply`]; what was written must then be dropped.
    pub fn serve(&mut self, op: OpCode, body: &[u8], out: &mut Pipe<'_>) -> Result<(), NoReply> {
        let mut reader = Reader::new(body);
        match op {
            OpCode::Exists => {
                let PathWatch { path, watch } = reader.read()?;
                let path = path.0.ok_or(Code::MarshallingError)?;
                if path.contains(&0) {
                    return Err(Code::BadArguments.into());
                }
                let found = self.tree.find(path);
                if let Some(at) = found {
                    self.check(at, perms::READ)?;
                }
                if watch {
                    self.watch(path, Modes::DATA)?;
                }
                let at = found.ok_or(Code::NoNode)?;
                jute::write(&self.tree.stat(at), out)?;
            }
            OpCode::GetData => {
                let PathWatch { path, watch } = reader.read()?;
                self.get_data(path, watch, out)?;
            }
            OpCode::GetChildren => {
                let PathWatch { path, watch } = reader.read()?;
                self.get_children(path, watch, out)?;
            }
            OpCode::GetChildren2 => {
                let PathWatch { path, watch } = reader.read()?;
                let at = self.get_children(path, watch, out)?;
                jute::write(&self.tree.stat(at), out)?;
            }
            OpCode::GetAcl => {
                let PathRecord { path } = reader.read()?;
                let at = self.readable(path, perms::READ | perms::ADMIN)?;
                self.put_acl(at, out)?;
                jute::write(&self.tree.stat(at), out)?;
            }
            OpCode::GetAllChildrenNumber => {
                let PathRecord { path } = reader.read()?;
                let at = self.readable(path, perms::READ)?;
                // Apache counts the keys that start with the path; its map has the root twice.
                let also = i32::from(path.bytes().is_empty());
                let count = self.tree.descendant_count(at) as i32 + also;
                jute::write(&count, out)?;
            }
            OpCode::GetEphemerals => {
                let PathRecord { path } = reader.read()?;
                self.get_ephemerals(path, out)?;
            }
            OpCode::WhoAmI => self.who_am_i(out)?,
            OpCode::AddWatch => {
                let PathMode { path, mode } = reader.read()?;
                let path = path.0.ok_or(Code::MarshallingError)?;
                let modes = Modes::from_add_mode(mode).ok_or(Code::MarshallingError)?;
                self.watch(path, modes)?;
                jute::write(&Code::Ok, out)?;
            }
            OpCode::CheckWatches => {
                let PathMode { path, mode } = reader.read()?;
                let modes = Modes::from_watcher_type(mode).ok_or(Code::MarshallingError)?;
                if !self.watches.contains(self.connection, path.bytes(), modes) {
                    return Err(Code::NoWatcher.into());
                }
            }
            OpCode::RemoveWatches => {
                let PathMode { path, mode } = reader.read()?;
                let modes = Modes::from_watcher_type(mode).ok_or(Code::MarshallingError)?;
                if !self.watches.remove(self.own, self.connection, path.bytes(), modes) {
                    return Err(Code::NoWatcher.into());
                }
            }
            OpCode::MultiRead => self.multi_read(&mut reader, out)?,
            _ => return Err(Code::Unimplemented.into()),
        }
        Ok(())
    }

    fn check(&mut self, at: Handle, wanted: i32) -> Result<(), Code> {
        if self.skip_acl || self.tree.allows(at, wanted, self.ids.list().iter(), self.scratch) {
            Ok(())
        } else {
            Err(Code::NoAuth)
        }
    }

    fn readable(&mut self, path: Ustring<'_>, wanted: i32) -> Result<Handle, Code> {
        let path = path.0.ok_or(Code::MarshallingError)?;
        let at = self.tree.find(path).ok_or(Code::NoNode)?;
        self.check(at, wanted)?;
        Ok(at)
    }

    fn watch(&mut self, path: &[u8], modes: Modes) -> Result<(), Code> {
        if self.own.count() >= self.max_watches {
            return Err(Code::SystemError);
        }
        self.watches.add(self.own, self.connection, path, modes).map_err(|_| Code::SystemError)
    }

    fn get_data(
        &mut self,
        path: Ustring<'_>,
        watch: bool,
        out: &mut Pipe<'_>,
    ) -> Result<(), NoReply> {
        let at = self.readable(path, perms::READ)?;
        self.tree.put_data(at, out)?;
        jute::write(&self.tree.stat(at), out)?;
        if watch {
            self.watch(path.bytes(), Modes::DATA)?;
        }
        Ok(())
    }

    fn get_children(
        &mut self,
        path: Ustring<'_>,
        watch: bool,
        out: &mut Pipe<'_>,
    ) -> Result<Handle, NoReply> {
        let at = self.readable(path, perms::READ)?;
        jute::write(&(self.tree.child_count(at) as i32), out)?;
        for child in self.tree.children(at) {
            self.tree.put_name(child, out)?;
        }
        if watch {
            self.watch(path.bytes(), Modes::CHILD)?;
        }
        Ok(at)
    }

    /// Without ADMIN, the secret part of digests is hidden.
    fn put_acl(&mut self, at: Handle, out: &mut Pipe<'_>) -> Result<(), NoReply> {
        if self.check(at, perms::ADMIN).is_ok() {
            return Ok(self.tree.put_acl(at, out)?);
        }
        let acl = self.tree.acl_of(at);
        if acl == NO_ACL {
            return Ok(self.tree.put_acl(at, out)?);
        }
        // The scratch holds the longest list; were it not so, nothing must be shown.
        let list = self.tree.acl_list(acl, self.scratch).ok_or(Code::SystemError)?;
        jute::write(&(list.len() as i32), out)?;
        for acl in list {
            let user = acl.id.id.bytes().split(|&b| b == b':').next().unwrap_or_default();
            if acl.id.scheme.bytes() == b"digest" && user.len() < acl.id.id.bytes().len() {
                jute::write(&(acl.perms, acl.id.scheme, user.len() as i32 + 2), out)?;
                out.put(user)?;
                out.put(b":x")?;
            } else {
                jute::write::<Acl<'_>, _>(&acl, out)?;
            }
        }
        Ok(())
    }

    fn get_ephemerals(&mut self, prefix: Ustring<'_>, out: &mut Pipe<'_>) -> Result<(), NoReply> {
        let prefix = prefix.bytes();
        // Java's trim takes everything up to the space.
        let blank = |b: &u8| *b <= b' ';
        let trimmed =
            match (prefix.iter().position(|b| !blank(b)), prefix.iter().rposition(|b| !blank(b))) {
                (Some(from), Some(to)) => &prefix[from..=to],
                _ => b"",
            };
        let all = trimmed.is_empty() || trimmed == b"/";
        let before = out.len();
        jute::write(&0i32, out)?;
        let mut count = 0i32;
        for at in self.tree.ephemerals(self.session) {
            // The scratch holds the session's longest path.
            let path = self.tree.path_of(at, self.scratch).ok_or(Code::SystemError)?;
            if all || path.starts_with(prefix) {
                jute::write(&Ustring(Some(path)), out)?;
                count += 1;
            }
        }
        if let Some(place) = out.bytes_mut().get_mut(before..before + 4) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        Ok(())
    }

    fn who_am_i(&self, out: &mut Pipe<'_>) -> Result<(), NoReply> {
        let ids = self.ids.list();
        jute::write(&(ids.len() as i32), out)?;
        for Id { scheme, id } in ids {
            // What stands behind a colon is no user's name.
            let user = if scheme.bytes() == b"digest" {
                id.bytes().split(|&b| b == b':').next().unwrap_or_default()
            } else {
                id.bytes()
            };
            jute::write(&(scheme, Ustring(Some(user))), out)?;
        }
        Ok(())
    }

    fn multi_read(&mut self, reader: &mut Reader<'_>, out: &mut Pipe<'_>) -> Result<(), NoReply> {
        // Everything is decoded before anything is answered.
        let mut ahead = reader.clone();
        loop {
            let header: MultiHeader = ahead.read()?;
            if header.done {
                break;
            }
            if !matches!(header.op, OpCode::GetData | OpCode::GetChildren) {
                return Err(Code::MarshallingError.into());
            }
            let _: PathWatch<'_> = ahead.read()?;
        }
        loop {
            let MultiHeader { op, done, .. } = reader.read()?;
            if done {
                return Ok(jute::write(&MultiHeader::END, out)?);
            }
            let PathWatch { path, .. } = reader.read()?;
            let before = out.len();
            jute::write(&MultiHeader { op, done: false, err: 0 }, out)?;
            let result = if op == OpCode::GetData {
                self.get_data(path, false, out)
            } else {
                self.get_children(path, false, out).map(|_| ())
            };
            match result {
                Ok(()) => {}
                Err(NoReply::Full) => return Err(NoReply::Full),
                Err(NoReply::Code(code)) => {
                    out.truncate(before);
                    let failed = MultiHeader { op: OpCode::Error, done: false, err: code.0 };
                    jute::write(&(failed, code), out)?;
                }
            }
        }
    }

    /// Registers watches again after a reconnect. What has happened since `relative_zxid` is told
    /// at once, through `tell`, instead.
    ///
    /// # Errors
    /// [`NoReply::Full`] when an event does not fit; asked again, everything is done again, which
    /// changes nothing.
    pub fn set_watches(
        &mut self,
        op: OpCode,
        body: &[u8],
        mut tell: impl FnMut(EventType, &[u8]) -> Result<(), NoReply>,
    ) -> Result<(), NoReply> {
        let mut reader = Reader::new(body);
        let all = if op == OpCode::SetWatches2 {
            reader.read::<SetWatches2<'_>>()?
        } else {
            let standard: SetWatches<'_> = reader.read()?;
            SetWatches2 { standard, persistent: List::EMPTY, persistent_recursive: List::EMPTY }
        };
        let SetWatches { relative_zxid, data, exist, child } = all.standard;
        let newer = |zxid: Zxid| zxid > relative_zxid;
        for path in data {
            let path = path.bytes();
            match self.tree.find(path) {
                None => tell(EventType::NodeDeleted, path)?,
                Some(at) if newer(self.tree.node(at).stat().mzxid) => {
                    tell(EventType::NodeDataChanged, path)?;
                }
                Some(_) => self.watch(path, Modes::DATA)?,
            }
        }
        for path in exist {
            let path = path.bytes();
            match self.tree.find(path) {
                Some(_) => tell(EventType::NodeCreated, path)?,
                None => self.watch(path, Modes::DATA)?,
            }
        }
        for path in child {
            let path = path.bytes();
            match self.tree.find(path) {
                None => tell(EventType::NodeDeleted, path)?,
                Some(at) if newer(self.tree.node(at).stat().pzxid) => {
                    tell(EventType::NodeChildrenChanged, path)?;
                }
                Some(_) => self.watch(path, Modes::CHILD)?,
            }
        }
        for path in all.persistent {
            self.watch(path.bytes(), Modes::PERSISTENT)?;
        }
        for path in all.persistent_recursive {
            self.watch(path.bytes(), Modes::RECURSIVE)?;
        }
        Ok(())
    }
}
