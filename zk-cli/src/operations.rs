//! The operations that several verbs need, typed.

use std::collections::VecDeque;

use zk_core::wire::client::{
    CreateRequest, GetChildren2Reply, GetDataReply, PathRecord, PathVersion, PathWatch,
    SetDataRequest, Stat,
};
use zk_core::wire::jute::{self, Buffer};
use zk_core::wire::{Code, OpCode};

use crate::acl::AclText;
use crate::connection::{Asked, Connection};
use crate::failure::Failure;

/// Requests in flight while a subtree is walked.
const WALK_WINDOW: usize = 64;

/// Decodes an answer.
pub(crate) fn decode<'de, T: serde::Deserialize<'de>>(body: &'de [u8]) -> Result<T, Failure> {
    jute::decode(body).map_err(|error| Failure::Lost(format!("an answer makes no sense: {error}")))
}

fn names(body: &[u8]) -> Result<(Vec<String>, Stat), Failure> {
    let reply: GetChildren2Reply<'_> = decode(body)?;
    let mut children: Vec<_> = reply
        .children
        .iter()
        .map(|name| String::from_utf8_lossy(name.bytes()).into_owned())
        .collect();
    children.sort_unstable();
    Ok((children, reply.stat))
}

/// `parent` and `name` as a path.
pub(crate) fn join(parent: &str, name: &str) -> String {
    format!("{}/{name}", if parent == "/" { "" } else { parent })
}

impl Connection {
    /// Data (or null) and stat. All paths here are the server's, chroot included.
    pub(crate) fn get_data(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Option<Vec<u8>>, Stat), Failure> {
        let body =
            self.call(OpCode::GetData, &PathWatch { path: path.into(), watch }, self.shown(path))?;
        let GetDataReply { data, stat } = decode(&body)?;
        Ok((data.0.map(<[u8]>::to_vec), stat))
    }

    /// Names of the children, sorted, and stat.
    pub(crate) fn get_children(
        &self,
        path: &str,
        watch: bool,
    ) -> Result<(Vec<String>, Stat), Failure> {
        let request = PathWatch { path: path.into(), watch };
        names(&self.call(OpCode::GetChildren2, &request, self.shown(path))?)
    }

    /// Stat, `None` if there is no such node.
    pub(crate) fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, Failure> {
        let answer = self.answer(OpCode::Exists, &PathWatch { path: path.into(), watch })?;
        match answer.err {
            Code::Ok => Ok(Some(decode(&answer.body)?)),
            Code::NoNode => Ok(None),
            code => Err(Failure::of(code, self.shown(path))),
        }
    }

    /// Creates a plain node that anybody may use.
    pub(crate) fn create_open(&self, path: &str, data: Option<&[u8]>) -> Result<(), Failure> {
        AclText::open().with(|acl| {
            let request = CreateRequest { path: path.into(), data: Buffer(data), acl, flags: 0 };
            self.call(OpCode::Create, &request, path).map(drop)
        })
    }

    /// Replaces the data.
    pub(crate) fn set_data(
        &self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
    ) -> Result<Stat, Failure> {
        let request = SetDataRequest { path: path.into(), data: Buffer(data), version };
        decode(&self.call(OpCode::SetData, &request, self.shown(path))?)
    }

    /// Deletes a node without children.
    pub(crate) fn delete(&self, path: &str, version: i32) -> Result<(), Failure> {
        let request = PathVersion { path: path.into(), version };
        self.call(OpCode::Delete, &request, self.shown(path)).map(drop)
    }

    /// Waits until the server has caught up with the leader.
    pub(crate) fn sync(&self, path: &str) -> Result<(), Failure> {
        self.call(OpCode::Sync, &PathRecord { path: path.into() }, self.shown(path)).map(drop)
    }

    /// All paths at and below `root`, parents before children, siblings sorted.
    pub(crate) fn walk(&self, root: &str, watch: bool) -> Result<Vec<String>, Failure> {
        let mut found = vec![root.to_owned()];
        let mut asked: VecDeque<(String, Asked)> = VecDeque::new();
        let mut gone = Vec::new();
        let mut next = 0;
        loop {
            while let Some(path) = found.get(next).filter(|_| asked.len() < WALK_WINDOW) {
                let request = PathWatch { path: path.as_str().into(), watch };
                asked.push_back((path.clone(), self.ask(OpCode::GetChildren2, &request)?));
                next += 1;
            }
            let Some((path, request)) = asked.pop_front() else { break };
            let answer = self.fetch(request)?;
            match answer.err {
                Code::Ok => {
                    let (children, _) = names(&answer.body)?;
                    found.extend(children.iter().map(|name| join(&path, name)));
                }
                // Deleted since its parent was read.
                Code::NoNode if path != root => gone.push(path),
                code => return Err(Failure::of(code, self.shown(&path))),
            }
        }
        found.retain(|path| !gone.contains(path));
        found.sort_unstable_by(|a, b| a.split('/').cmp(b.split('/')));
        Ok(found)
    }

    /// A path of the server's as the user knows it.
    pub(crate) fn shown<'p>(&self, path: &'p str) -> &'p str {
        match path.strip_prefix(self.chroot()) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }
}
