//! The watches that the session has left on its server, so that they can be left on the next one.

use super::bytes::Bytes;
use crate::id::{Xid, Zxid};
use crate::wire::client::{EventType, PathMode, PathWatch, RequestHeader};
use crate::wire::jute::{self, Count, Sink, Ustring};
use crate::wire::{Code, OpCode};

/// Kinds of watches on one path: a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Kinds(u8);

impl Kinds {
    const NONE: Self = Self(0);
    /// Left by getData, and by exists on a node that was there.
    pub(super) const DATA: Self = Self(1);
    /// Left by exists on a node that was missing.
    pub(super) const EXIST: Self = Self(2);
    /// Left by getChildren.
    pub(super) const CHILD: Self = Self(4);
    /// Left by addWatch, mode 0.
    pub(super) const PERSISTENT: Self = Self(8);
    /// Left by addWatch, mode 1.
    pub(super) const RECURSIVE: Self = Self(16);

    /// The order of the lists in setWatches2.
    const LISTS: [Self; 5] =
        [Self::DATA, Self::EXIST, Self::CHILD, Self::PERSISTENT, Self::RECURSIVE];

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What a removeWatches of `watcher_type` removes. Answers to `Watcher.WatcherType`.
    pub(super) const fn of_watcher_type(watcher_type: i32) -> Self {
        match watcher_type {
            1 => Self::CHILD,
            2 => Self::DATA.and(Self::EXIST),
            3 => Self(0x1f),
            4 => Self::PERSISTENT,
            5 => Self::RECURSIVE,
            _ => Self::NONE,
        }
    }

    /// What an event uses up. Answers to `ZKWatchManager.materialize`.
    const fn of_event(kind: i32) -> Self {
        const CREATED: i32 = EventType::NodeCreated as i32;
        const DELETED: i32 = EventType::NodeDeleted as i32;
        const DATA_CHANGED: i32 = EventType::NodeDataChanged as i32;
        const CHILDREN_CHANGED: i32 = EventType::NodeChildrenChanged as i32;
        match kind {
            CREATED | DATA_CHANGED => Self::DATA.and(Self::EXIST),
            CHILDREN_CHANGED => Self::CHILD,
            DELETED => Self::DATA.and(Self::EXIST).and(Self::CHILD),
            _ => Self::NONE,
        }
    }
}

/// Bytes that a watch on `path` takes; its [`Kinds`] share an entry, so this is the most.
pub(super) fn entry_size(path: &[u8]) -> usize {
    HEADER.saturating_add(path.len())
}

/// Before each path: the kinds held, the kinds to announce, the length of the path (u32).
const HEADER: usize = 6;

/// Path bytes after which a setWatches ends and the next begins.
/// Answers to `ClientCnxn.SET_WATCHES_MAX_LENGTH`.
pub(super) const BATCH: usize = 128 * 1024;

/// Paths and what is watched there, one entry after the other in the order of their arrival.
///
/// Looked up by walking: the events of a session are few, and an entry whose path has another
/// length costs one comparison.
#[derive(Debug)]
pub(super) struct Watches<'m> {
    entries: Bytes<'m>,
    /// Bytes promised to requests under way.
    reserved: usize,
    announce: Option<Announce>,
}

/// Registering all watches on a new connection, a batch at a time.
#[derive(Clone, Copy, Debug)]
struct Announce {
    /// The last zxid the session had seen when the connection was made.
    relative: Zxid,
    /// The batch under way: entries that start at bytes `from..to`.
    from: usize,
    to: usize,
}

struct Entry<'a> {
    at: usize,
    end: usize,
    held: Kinds,
    announced: Kinds,
    path: &'a [u8],
}

impl<'m> Watches<'m> {
    pub(super) fn new(entries: Bytes<'m>) -> Self {
        Self { entries, reserved: 0, announce: None }
    }

    fn entries(&self, from: usize) -> impl Iterator<Item = Entry<'_>> {
        let bytes = self.entries.get();
        let mut at = from;
        core::iter::from_fn(move || {
            let ([held, announced, len @ ..], rest) =
                bytes.get(at..)?.split_first_chunk::<HEADER>()?;
            let path = rest.get(..u32::from_be_bytes(*len) as usize)?;
            let entry = Entry {
                at,
                end: at + HEADER + path.len(),
                held: Kinds(*held),
                announced: Kinds(*announced),
                path,
            };
            at = entry.end;
            Some(entry)
        })
    }

    fn find(&self, path: &[u8]) -> Option<(usize, Kinds)> {
        self.entries(0).find(|e| e.path == path).map(|e| (e.at, e.held))
    }

    /// Where the entry at `at` ends, and what it holds.
    fn held(&self, at: usize) -> Option<(usize, Kinds)> {
        self.entries(at).next().map(|e| (e.end, e.held))
    }

    fn set(&mut self, at: usize, held: Kinds) {
        if let Some(byte) = self.entries.get_mut().get_mut(at) {
            *byte = held.0;
        }
    }

    /// Number of paths with a watch.
    pub(super) fn count(&self) -> usize {
        self.entries(0).filter(|e| e.held != Kinds::NONE).count()
    }

    /// Keeps room for a watch on `path` until [`Watches::release`]. False when there is none.
    pub(super) fn reserve(&mut self, path: &[u8]) -> bool {
        let size = entry_size(path);
        let wanted = self.entries.len().saturating_add(self.reserved).saturating_add(size);
        if wanted > self.entries.ceiling() {
            return false;
        }
        self.reserved += size;
        true
    }

    /// Gives back what was reserved for `path`.
    pub(super) fn release(&mut self, path: &[u8]) {
        self.reserved = self.reserved.saturating_sub(entry_size(path));
    }

    /// Notes a watch; its room was reserved and has just been released.
    ///
    /// False when the heap has no room although the ceiling allows it: the watch is then lost at
    /// the end of this connection.
    pub(super) fn add(&mut self, path: &[u8], kinds: Kinds) -> bool {
        if let Some((at, held)) = self.find(path) {
            self.set(at, held.and(kinds));
            return true;
        }
        let Ok(len) = u32::try_from(path.len()) else { return false };
        let Some(place) = self.entries.push(entry_size(path)) else { return false };
        let mut out = jute::Slice::new(place);
        out.put(&[kinds.0, 0])
            .and_then(|()| out.put(&len.to_be_bytes()))
            .and_then(|()| out.put(path))
            .is_ok()
    }

    /// Forgets watches on `path`.
    pub(super) fn remove(&mut self, path: &[u8], kinds: Kinds) {
        let Some((at, held)) = self.find(path) else { return };
        let left = held.without(kinds);
        self.set(at, left);
        // While the watches are announced the entries stand still: `sweep` comes afterwards.
        if left == Kinds::NONE && self.announce.is_none() {
            self.entries.remove(at..at + entry_size(path));
        }
    }

    /// Forgets what an event of type `kind` on `path` used up.
    pub(super) fn fired(&mut self, kind: i32, path: &[u8]) {
        let used = Kinds::of_event(kind);
        if used != Kinds::NONE {
            self.remove(path, used);
        }
    }

    /// Forgets every watch; what is reserved for requests under way stays so.
    pub(super) fn clear_held(&mut self) {
        let mut at = 0;
        while let Some((end, _)) = self.held(at) {
            self.set(at, Kinds::NONE);
            at = end;
        }
        if self.announce.is_none() {
            self.sweep();
        }
    }

    /// A new connection knows none of the watches.
    pub(super) fn announce(&mut self, relative: Zxid) {
        self.stop_announcing();
        let mut at = 0;
        while let Some((end, held)) = self.held(at) {
            if let Some(byte) = self.entries.get_mut().get_mut(at + 1) {
                *byte = held.0;
            }
            at = end;
        }
        self.announce = Some(Announce { relative, from: 0, to: 0 });
        self.next_batch();
    }

    /// The connection is gone.
    pub(super) fn stop_announcing(&mut self) {
        self.announce = None;
        self.sweep();
    }

    /// Whether a batch waits to be sent.
    pub(super) fn is_announcing(&self) -> bool {
        self.announce.is_some()
    }

    /// The batch under way was sent.
    pub(super) fn next_batch(&mut self) {
        let Some(announce) = self.announce else { return };
        let from = announce.to;
        let mut to = from;
        let mut bytes = 0;
        for entry in self.entries(from) {
            if bytes >= BATCH {
                break;
            }
            bytes += entry.path.len() * entry.announced.0.count_ones() as usize;
            to = entry.end;
        }
        if from == to {
            self.stop_announcing();
        } else {
            self.announce = Some(Announce { from, to, ..announce });
        }
    }

    /// Encodes the batch under way, as a whole frame. The same bytes each time until it was sent,
    /// whatever fires meanwhile.
    ///
    /// # Errors
    /// What the sink answers.
    pub(super) fn encode_batch<S: Sink>(&self, sink: &mut S) -> Result<(), jute::Error> {
        let mut size = Count::default();
        self.batch_body(&mut size)?;
        let len = i32::try_from(size.0).map_err(|_| jute::Error::Length)?;
        sink.put(&len.to_be_bytes())?;
        self.batch_body(sink)
    }

    /// A `SetWatches`, or a `SetWatches2` when there are persistent watches (servers before 3.6
    /// know only the first). Written field by field: the lists lie scattered in the entries.
    fn batch_body<S: Sink>(&self, sink: &mut S) -> Result<(), jute::Error> {
        let Some(announce) = self.announce else { return Ok(()) };
        let batch = || self.entries(announce.from).take_while(|e| e.at < announce.to);
        let persistent = Kinds::PERSISTENT.and(Kinds::RECURSIVE);
        let (op, lists) = if batch().any(|e| e.announced.meets(persistent)) {
            (OpCode::SetWatches2, 5)
        } else {
            (OpCode::SetWatches, 3)
        };
        jute::write(&(RequestHeader { xid: Xid::SET_WATCHES, op }, announce.relative), sink)?;
        for kind in Kinds::LISTS.into_iter().take(lists) {
            let list = || batch().filter(|e| e.announced.meets(kind));
            let count = i32::try_from(list().count()).map_err(|_| jute::Error::Length)?;
            jute::write(&count, sink)?;
            for entry in list() {
                jute::write(&Ustring::new(entry.path), sink)?;
            }
        }
        Ok(())
    }

    /// Takes out the entries without watches.
    fn sweep(&mut self) {
        let (mut from, mut to) = (0, 0);
        while let Some((end, held)) = self.held(from) {
            if held != Kinds::NONE {
                self.entries.get_mut().copy_within(from..end, to);
                to += end - from;
            }
            from = end;
        }
        self.entries.truncate(to);
    }
}

/// The path of a request that may leave a watch.
pub(super) fn watched_path(op: OpCode, body: &[u8]) -> Option<&[u8]> {
    match op {
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            let PathWatch { path, watch } = jute::decode(body).ok()?;
            watch.then_some(path.bytes())
        }
        OpCode::AddWatch => {
            let PathMode { path, .. } = jute::decode(body).ok()?;
            Some(path.bytes())
        }
        _ => None,
    }
}

/// The watch that a request has left, now that its result is known.
pub(super) fn left_watch(op: OpCode, body: &[u8], err: Code) -> Option<(&[u8], Kinds)> {
    let path = watched_path(op, body)?;
    let kinds = match (op, err) {
        (OpCode::Exists | OpCode::GetData, Code::Ok) => Kinds::DATA,
        (OpCode::Exists, Code::NoNode) => Kinds::EXIST,
        (OpCode::GetChildren | OpCode::GetChildren2, Code::Ok) => Kinds::CHILD,
        (OpCode::AddWatch, Code::Ok) => match jute::decode(body).ok()? {
            PathMode { mode: 0, .. } => Kinds::PERSISTENT,
            PathMode { .. } => Kinds::RECURSIVE,
        },
        _ => return None,
    };
    Some((path, kinds))
}

/// The watches that a removeWatches has removed.
pub(super) fn removed_watch(op: OpCode, body: &[u8], err: Code) -> Option<(&[u8], Kinds)> {
    if op != OpCode::RemoveWatches || err != Code::Ok {
        return None;
    }
    let PathMode { path, mode } = jute::decode(body).ok()?;
    Some((path.bytes(), Kinds::of_watcher_type(mode)))
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec::Vec;

    use super::*;
    use crate::memory::Table;
    use crate::wire::client::{SetWatches, SetWatches2};

    fn batch(watches: &Watches<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        watches.encode_batch(&mut bytes).unwrap();
        assert_eq!(i32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize + 4, bytes.len());
        bytes.split_off(4)
    }

    fn paths(list: jute::List<'_, Ustring<'_>>) -> Vec<std::string::String> {
        list.iter().map(|p| p.as_str().unwrap().into()).collect()
    }

    #[test]
    fn kinds_on_one_path_share_an_entry() {
        let mut storage = [0; 100];
        let mut watches = Watches::new(Bytes::new(Table::lent(&mut storage)));
        assert!(watches.add(b"/a", Kinds::DATA) && watches.add(b"/b", Kinds::RECURSIVE));
        assert!(watches.add(b"/a", Kinds::CHILD) && watches.add(b"/c", Kinds::EXIST));
        assert_eq!(watches.count(), 3);
        watches.announce(Zxid(9));
        let bytes = batch(&watches);
        let (header, all): (RequestHeader, SetWatches2<'_>) = jute::decode(&bytes).unwrap();
        assert_eq!(header, RequestHeader { xid: Xid::SET_WATCHES, op: OpCode::SetWatches2 });
        assert_eq!(all.standard.relative_zxid, Zxid(9));
        assert_eq!(paths(all.standard.data), ["/a"]);
        assert_eq!(paths(all.standard.exist), ["/c"]);
        assert_eq!(paths(all.standard.child), ["/a"]);
        assert_eq!(paths(all.persistent_recursive), ["/b"]);
        assert!(all.persistent.is_empty());
    }

    #[test]
    fn events_use_up_watches_but_not_persistent_ones() {
        let mut watches = Watches::new(Bytes::new(Table::owned(1000)));
        let all = Kinds::of_watcher_type(3);
        for (event, left) in [
            (EventType::NodeCreated, 0x1c),
            (EventType::NodeDataChanged, 0x1c),
            (EventType::NodeChildrenChanged, 0x1b),
            (EventType::NodeDeleted, 0x18),
        ] {
            watches.add(b"/a", all);
            watches.fired(event as i32, b"/a");
            assert_eq!(watches.find(b"/a").map(|w| w.1), Some(Kinds(left)), "{event:?}");
        }
        watches.fired(-1, b"/a");
        watches.remove(b"/a", Kinds::of_watcher_type(4));
        watches.remove(b"/a", Kinds::of_watcher_type(5));
        assert_eq!(watches.entries.len(), 0);
    }

    #[test]
    fn a_batch_does_not_change_while_it_is_sent() {
        let mut watches = Watches::new(Bytes::new(Table::owned(1 << 20)));
        for i in 0..3000 {
            watches.add(format!("/{i:0>99}").as_bytes(), Kinds::DATA);
        }
        watches.announce(Zxid(5));
        let (mut seen, mut batches) = (Vec::new(), 0);
        while watches.is_announcing() {
            let bytes = batch(&watches);
            let fired = format!("/{:0>99}", 1500);
            watches.fired(EventType::NodeDeleted as i32, fired.as_bytes());
            assert_eq!(batch(&watches), bytes);
            let (header, set): (RequestHeader, SetWatches<'_>) = jute::decode(&bytes).unwrap();
            assert_eq!(header.op, OpCode::SetWatches);
            assert!(set.data.len() <= BATCH / 100 + 1);
            seen.extend(paths(set.data));
            batches += 1;
            watches.next_batch();
        }
        assert_eq!((seen.len(), batches), (3000, 3));
        assert!(seen.is_sorted());
        assert_eq!(watches.count(), 2999);
        assert_eq!(watches.entries.len(), 2999 * (6 + 100));
    }

    #[test]
    fn room_is_promised_before_a_watch_is_asked_for() {
        let mut storage = [0; 20];
        let mut watches = Watches::new(Bytes::new(Table::lent(&mut storage)));
        assert!(watches.reserve(b"/abc") && watches.reserve(b"/def"));
        assert!(!watches.reserve(b"/"));
        watches.release(b"/abc");
        assert!(watches.add(b"/abc", Kinds::DATA));
        assert!(!watches.reserve(b"/"));
        watches.fired(EventType::NodeDeleted as i32, b"/abc");
        assert!(watches.reserve(b"/"));
    }
}
