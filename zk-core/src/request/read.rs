//! Requests that change nothing: answered from the tree as it is.
//!
//! Answers to `FinalRequestProcessor`.

use crate::id::{SessionId, Zxid};
use crate::memory::{Full, Handle, Pipe};
use crate::session::auth::Identities;
use crate::tree::count::Counted;
use crate::tree::listing::Told;
use crate::tree::watch::{Modes, Own, Watches};
use crate::tree::{DataTree, NO_ACL};
use crate::wire::client::{
    Acl, EventType, Id, MultiHeader, PathMode, PathRecord, PathWatch, SetWatches, SetWatches2,
    Stat, perms,
};
use crate::wire::jute::{self, Reader, Sink, Ustring};
use crate::wire::{Code, OpCode};

/// Why a request is not answered with its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoReply {
    /// It is answered with a code.
    Code(Code),
    /// The reply does not fit into what is free.
    Full,
    /// There is more to look at than one slice may.
    More,
    /// So much has changed since it was begun that it must be begun again.
    Lost,
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

/// Where a read that takes long goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    begun: bool,
    /// Bytes of the request that are done.
    read: usize,
    /// Paths of its list that are left.
    count: i32,
    /// The list of the request that is being read.
    list: u8,
    /// The node as it was.
    stat: Stat,
    /// It has set a watch that was not there.
    watched: bool,
}

/// How much a read may do in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All of it, if it is no more than a slice.
    Quick,
    /// A slice; then it goes on from its [`Cursor`].
    Slice,
    /// All of it.
    Whole,
}

/// What a read looks at.
#[derive(Debug)]
pub struct Read<'r, 'm> {
    /// The tree.
    pub tree: &'r mut DataTree<'m>,
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
    /// As long as the longest access control list.
    pub scratch: &'r mut [u8],
    /// How much it may do.
    pub pace: Pace,
    /// Nodes, watches or pieces of data that are a slice.
    pub slice: usize,
    /// Where it goes on.
    pub cursor: &'r mut Cursor,
}

impl Read<'_, '_> {
    /// Writes the body of the reply through `out`.
    ///
    /// # Errors
    /// [`NoReply::More`]: with [`Pace::Slice`] what was written stays, and the rest follows when it is
    /// called again. Otherwise what was written must be dropped.
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
                    jute::write(&self.tree.stat(at), out)?;
                }
                if watch {
                    self.watch(path, Modes::DATA)?;
                }
                found.ok_or(Code::NoNode)?;
            }
            OpCode::GetData => {
                let PathWatch { path, watch } = reader.read()?;
                self.get_data(path, out)?;
                if watch {
                    self.watch(path.bytes(), Modes::DATA)?;
                }
            }
            OpCode::GetChildren | OpCode::GetChildren2 => {
                let PathWatch { path, watch } = reader.read()?;
                let told = self.get_children(op, path, watch, out);
                if self.cursor.watched && matches!(told, Err(NoReply::Full | NoReply::Lost)) {
                    self.unwatch(path, Modes::CHILD);
                }
                told?;
            }
            OpCode::GetAcl => {
                let PathRecord { path } = reader.read()?;
                let at = self.readable(path, perms::READ | perms::ADMIN)?;
                self.put_acl(at, out)?;
                jute::write(&self.tree.stat(at), out)?;
            }
            OpCode::GetAllChildrenNumber => {
                let PathRecord { path } = reader.read()?;
                let count = self.count_below(path)?;
                // Apache counts the keys that start with the path; its map has the root twice.
                let also = i32::from(path.bytes().is_empty());
                jute::write(&(count as i32 + also), out)?;
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
                jute::write(&Code::Ok, out)?;
                self.watch(path, modes)?;
            }
            OpCode::CheckWatches | OpCode::RemoveWatches => {
                let PathMode { path, mode } = reader.read()?;
                let modes = Modes::from_watcher_type(mode).ok_or(Code::MarshallingError)?;
                let there = if op == OpCode::CheckWatches {
                    self.watches.contains(self.connection, path.bytes(), modes)
                } else {
                    self.unwatch(path, modes)
                };
                if !there {
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

    /// `false` if it was watched so already.
    fn watch(&mut self, path: &[u8], modes: Modes) -> Result<bool, Code> {
        if self.own.count() >= self.max_watches {
            return Err(Code::SystemError);
        }
        self.watches.add(self.own, self.connection, path, modes).map_err(|_| Code::SystemError)
    }

    fn unwatch(&mut self, path: Ustring<'_>, modes: Modes) -> bool {
        self.watches.remove(self.own, self.connection, path.bytes(), modes)
    }

    fn get_data(&mut self, path: Ustring<'_>, out: &mut Pipe<'_>) -> Result<(), NoReply> {
        let at = self.readable(path, perms::READ)?;
        self.tree.put_data(at, out)?;
        Ok(jute::write(&self.tree.stat(at), out)?)
    }

    /// In one go.
    fn list_children(&mut self, path: Ustring<'_>, out: &mut Pipe<'_>) -> Result<(), NoReply> {
        let at = self.readable(path, perms::READ)?;
        self.put_children(at, out)
    }

    fn put_children(&self, at: Handle, out: &mut Pipe<'_>) -> Result<(), NoReply> {
        jute::write(&(self.tree.child_count(at) as i32), out)?;
        for child in self.tree.children(at) {
            self.tree.put_name(child, out)?;
        }
        Ok(())
    }

    /// The list is that of the moment when it begins; the watch is set then, and the stat kept. A
    /// watch on a list that is not told after all must be taken back.
    fn get_children(
        &mut self,
        op: OpCode,
        path: Ustring<'_>,
        watch: bool,
        out: &mut Pipe<'_>,
    ) -> Result<(), NoReply> {
        if !self.cursor.begun {
            let at = self.readable(path, perms::READ)?;
            let long = self.tree.child_count(at) > self.slice;
            if long && self.pace == Pace::Quick {
                return Err(NoReply::More);
            }
            if watch {
                self.cursor.watched = self.watch(path.bytes(), Modes::CHILD)?;
            }
            self.cursor.stat = self.tree.stat(at);
            self.cursor.begun = long && self.pace == Pace::Slice && self.tree.listing_begin(at);
            if self.cursor.begun {
                jute::write(&self.cursor.stat.num_children, out)?;
            } else {
                self.put_children(at, out)?;
            }
        }
        if self.cursor.begun {
            match self.tree.listing_step(self.slice, out)? {
                Told::All => {}
                Told::More => return Err(NoReply::More),
                Told::Lost => return Err(NoReply::Lost),
            }
        }
        if op == OpCode::GetChildren2 {
            jute::write(&self.cursor.stat, out)?;
        }
        Ok(())
    }

    fn count_below(&mut self, path: Ustring<'_>) -> Result<usize, NoReply> {
        loop {
            if !self.cursor.begun {
                let at = self.readable(path, perms::READ)?;
                let most = if self.pace == Pace::Whole { usize::MAX } else { self.slice };
                if let Some(sum) = self.tree.sum_within(at, most) {
                    return Ok(usize::try_from(sum.count - 1).unwrap_or(0));
                }
                if self.pace == Pace::Quick {
                    return Err(NoReply::More);
                }
                self.tree.count_begin(at);
                self.cursor.begun = true;
            }
            match self.tree.count_step(self.slice) {
                Counted::Below(count) => return Ok(count),
                Counted::More => return Err(NoReply::More),
                // Perhaps there is another one.
                Counted::Gone => self.cursor.begun = false,
            }
        }
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
                self.get_data(path, out)
            } else {
                self.list_children(path, out)
            };
            match result {
                Ok(()) => {}
                Err(NoReply::Full | NoReply::More | NoReply::Lost) => return Err(NoReply::Full),
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
    /// As [`serve`](Self::serve). [`NoReply::Full`] when an event does not fit; asked again, everything
    /// is done again, which changes nothing.
    pub fn set_watches(
        &mut self,
        op: OpCode,
        body: &[u8],
        mut tell: impl FnMut(EventType, &[u8]) -> Result<(), NoReply>,
    ) -> Result<(), NoReply> {
        if !self.cursor.begun {
            let count = if op == OpCode::SetWatches2 {
                let all: SetWatches2<'_> = jute::decode(body)?;
                all.standard.count() + all.persistent.len() + all.persistent_recursive.len()
            } else {
                jute::decode::<SetWatches<'_>>(body)?.count()
            };
            if count > self.slice && self.pace == Pace::Quick {
                return Err(NoReply::More);
            }
            self.cursor.begun = true;
            self.cursor.read = RELATIVE_ZXID;
        }
        let relative_zxid: Zxid = jute::decode(body)?;
        let newer = |zxid: Zxid| zxid > relative_zxid;
        let mut reader = Reader::new(body.get(self.cursor.read..).unwrap_or_default());
        let mut left = self.slice;
        loop {
            while self.cursor.count <= 0 {
                let lists = if op == OpCode::SetWatches2 { 5 } else { 3 };
                if self.cursor.list == lists {
                    return Ok(());
                }
                self.cursor.count = reader.i32()?;
                self.cursor.list += 1;
            }
            if left == 0 && self.pace != Pace::Whole {
                self.cursor.read = body.len() - reader.rest().len();
                return Err(NoReply::More);
            }
            left = left.saturating_sub(1);
            self.cursor.count -= 1;
            let path: Ustring<'_> = reader.read()?;
            let path = path.bytes();
            let found = self.tree.find(path);
            let stat = found.map(|at| self.tree.node(at).stat());
            let (modes, event) = match (self.cursor.list, stat) {
                (1 | 3, None) => (Modes::DATA, Some(EventType::NodeDeleted)),
                (1, Some(stat)) => {
                    (Modes::DATA, newer(stat.mzxid).then_some(EventType::NodeDataChanged))
                }
                (2, stat) => (Modes::DATA, stat.map(|_| EventType::NodeCreated)),
                (3, Some(stat)) => {
                    (Modes::CHILD, newer(stat.pzxid).then_some(EventType::NodeChildrenChanged))
                }
                (4, _) => (Modes::PERSISTENT, None),
                _ => (Modes::RECURSIVE, None),
            };
            match event {
                Some(event) => tell(event, path)?,
                None => {
                    self.watch(path, modes)?;
                }
            }
        }
    }
}

/// Bytes before the first list of a setWatches.
const RELATIVE_ZXID: usize = 8;
