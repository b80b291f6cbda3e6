//! Sessions: who is connected, until when, and which are on their way out.
//!
//! A session expires at the end of the tick bucket in which its time runs out. Buckets are a ring of
//! lists; a touch only moves a session's deadline, and the bucket it waits in is corrected when
//! its turn comes. Answers to `SessionTrackerImpl` and `ExpiryQueue`.

pub mod auth;

use crate::id::{ServerId, SessionId, Zxid};
use crate::memory::{Entry, Full, Handle, Index, NIL, Seeds, Slab, Table};
use crate::text::divide;
use crate::time::Instant;
use crate::wire::file::SnapshotSession;

/// Buckets of the ring. A session whose deadline lies further ahead waits in the last one.
const BUCKETS: usize = 64;

/// Bytes of a session's password.
pub const PASSWORD_LEN: usize = 16;

/// The password that Apache gives a session: anyone who knows the id can compute it, so that any
/// server of a mixed ensemble can check it. Answers to `ZooKeeperServer.generatePasswd`, that is
/// `java.util.Random` seeded with the id and a constant.
pub fn password(id: SessionId) -> [u8; PASSWORD_LEN] {
    const SECRET: i64 = 0xb341_5c00;
    const MULTIPLIER: u64 = 0x5_deec_e66d;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((id.0 ^ SECRET) as u64 ^ MULTIPLIER) & MASK;
    let mut out = [0; PASSWORD_LEN];
    for word in out.chunks_exact_mut(4) {
        state = (state.wrapping_mul(MULTIPLIER) + 0xb) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    out
}

/// Whether `given` is the session's password; takes the same time for every wrong one.
pub fn password_is(id: SessionId, given: &[u8]) -> bool {
    let expected = password(id);
    given.len() == expected.len()
        && given.iter().zip(expected).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// A session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    id: SessionId,
    /// As its createSession says, for snapshots.
    created_timeout: u32,
    /// As its last handshake was granted.
    timeout: u32,
    deadline: Instant,
    /// Its connection at this peer.
    connection: Handle,
    next: Handle,
    prev: Handle,
    /// The bucket it waits in.
    bucket: u8,
    used: bool,
    /// Its createSession is applied.
    applied: bool,
    /// Its closeSession is proposed, not applied.
    closing: bool,
    /// It was heard of since the leader was told last.
    touched: bool,
    /// No other server knows of it.
    local: bool,
    /// The server that speaks for it; none before any has.
    owner: Option<ServerId>,
}

impl Session {
    /// An entry of a lent table, before first use.
    pub const EMPTY: Self = Self {
        id: SessionId::NONE,
        created_timeout: 0,
        timeout: 0,
        deadline: Instant(0),
        connection: NIL,
        next: NIL,
        prev: NIL,
        bucket: 0,
        used: false,
        applied: false,
        closing: false,
        touched: false,
        local: false,
        owner: None,
    };

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its timeout, ms.
    pub fn timeout(&self) -> u32 {
        self.timeout
    }

    /// When it expires if nothing is heard of it.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Its connection at this peer, or NIL.
    pub fn connection(&self) -> Handle {
        self.connection
    }

    /// Whether it is known to this server alone.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// The server that speaks for it, as the leader knows.
    pub fn owner(&self) -> Option<ServerId> {
        self.owner
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Entry for Session {
    fn vacate(&mut self, next: Handle) {
        *self = Self { next, ..Self::EMPTY };
    }

    fn vacant(&self) -> Option<Handle> {
        (!self.used).then_some(self.next)
    }
}

/// All sessions of the ensemble.
#[derive(Debug)]
pub struct Sessions<'m> {
    entries: Slab<'m, Session>,
    index: Index<'m>,
    seeds: Seeds,
    heads: [Handle; BUCKETS],
    /// Milliseconds of a bucket.
    interval: u32,
    /// The bucket whose turn is next, counted from the origin of the clock.
    turn: u64,
    /// Sessions whose creation is applied.
    applied: usize,
    next_id: SessionId,
}

impl<'m> Sessions<'m> {
    /// No sessions. `interval` is the tick time, ms; `next_id` the first id that this peer gives
    /// (see [`SessionId::first`]).
    pub fn new(
        entries: Table<'m, Session>,
        index: Index<'m>,
        seeds: Seeds,
        interval: u32,
        next_id: SessionId,
        now: Instant,
    ) -> Self {
        let interval = interval.max(1);
        Self {
            entries: Slab::new(entries),
            index,
            seeds,
            heads: [NIL; BUCKETS],
            interval,
            turn: divide(now.0, interval).0,
            applied: 0,
            next_id,
        }
    }

    /// Forgets all sessions.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.heads = [NIL; BUCKETS];
        self.applied = 0;
    }

    /// Sessions, those on their way in and out included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sessions that can still be opened.
    pub fn available(&self) -> usize {
        self.entries.ceiling().min(self.index.ceiling()) - self.entries.len()
    }

    fn hash(&self, id: SessionId) -> Handle {
        self.seeds.hash(&id.0.to_be_bytes())
    }

    /// The entry of a session.
    pub fn find(&self, id: SessionId) -> Option<Handle> {
        self.index.find(self.hash(id), |at| self.entries[at].id == id)
    }

    /// An entry in use.
    pub fn get(&self, at: Handle) -> &Session {
        &self.entries[at]
    }

    /// A session that may be used: known, and not closing.
    pub fn usable(&self, id: SessionId) -> Option<Handle> {
        self.find(id).filter(|&at| !self.entries[at].closing)
    }

    /// Whether the session is known to this server alone.
    pub fn is_local(&self, id: SessionId) -> bool {
        self.find(id).is_some_and(|at| self.entries[at].local)
    }

    /// Says whether the session is known to this server alone.
    pub fn set_local(&mut self, at: Handle, local: bool) {
        self.entries[at].local = local;
    }

    /// Sessions that are known to this server alone.
    pub fn local_count(&self) -> usize {
        self.iter().filter(|session| session.local).count()
    }

    /// Whether the session's closeSession is under way.
    pub fn is_closing(&self, id: SessionId) -> bool {
        self.find(id).is_some_and(|at| self.entries[at].closing)
    }

    /// The next id.
    pub fn peek(&self) -> SessionId {
        self.next_id
    }

    /// Takes the next id.
    pub fn allocate(&mut self) -> SessionId {
        let id = self.next_id;
        let next = SessionId(id.0.wrapping_add(1));
        // i64::MIN marks containers.
        self.next_id = if next.0 == i64::MIN { SessionId(next.0 + 1) } else { next };
        id
    }

    /// Makes sure that ids given from now on are new, also on a machine whose clock starts anew:
    /// every session of the ensemble took a zxid, so an id above the last zxid was never given.
    /// (Local sessions take none, and need a clock.)
    pub fn raise_floor(&mut self, server: ServerId, last: Zxid) {
        const LOW: i64 = (1 << 56) - 1;
        let floor = (server.0 << 56) | (last.0 & LOW).saturating_add(1);
        // Compare below the server's byte: its top bit is a sign to nobody.
        if self.next_id.0 & LOW < floor & LOW {
            self.next_id = SessionId(floor);
        }
    }

    /// Sees a session id of this server in use, so that it is not given again.
    pub fn seen(&mut self, id: SessionId) {
        const LOW: i64 = (1 << 56) - 1;
        if id.0 & !LOW == self.next_id.0 & !LOW && id.0 & LOW >= self.next_id.0 & LOW {
            self.next_id = SessionId(id.0.wrapping_add(1));
        }
    }

    fn bucket_end(&self, now: Instant, timeout: u32) -> Instant {
        let at = now.0.saturating_add(u64::from(timeout));
        Instant((divide(at, self.interval).0 + 1).saturating_mul(u64::from(self.interval)))
    }

    fn link(&mut self, at: Handle) {
        let due = divide(self.entries[at].deadline.0, self.interval).0;
        // While a turn is processed, its own bucket must not be the last one ahead.
        let last = self.turn + BUCKETS as u64 - 2;
        let bucket = (due.clamp(self.turn, last) % BUCKETS as u64) as usize;
        let first = self.heads[bucket];
        let entry = &mut self.entries[at];
        entry.bucket = bucket as u8;
        entry.next = first;
        entry.prev = NIL;
        if first != NIL {
            self.entries[first].prev = at;
        }
        self.heads[bucket] = at;
    }

    fn unlink(&mut self, at: Handle) {
        let Session { next, prev, bucket, .. } = self.entries[at];
        if next != NIL {
            self.entries[next].prev = prev;
        }
        if prev != NIL {
            self.entries[prev].next = next;
        } else if self.heads[usize::from(bucket)] == at {
            self.heads[usize::from(bucket)] = next;
        }
    }

    /// Adds a session whose creation is proposed.
    ///
    /// # Errors
    /// [`Full`].
    pub fn open(&mut self, id: SessionId, timeout: u32, now: Instant) -> Result<Handle, Full> {
        if let Some(at) = self.find(id) {
            return Ok(at);
        }
        let deadline = self.bucket_end(now, timeout);
        let session = Session {
            id,
            timeout,
            created_timeout: timeout,
            deadline,
            used: true,
            ..Session::EMPTY
        };
        let at = self.entries.insert(session)?;
        let hash = self.hash(id);
        self.index.insert(hash, at).inspect_err(|_| self.entries.remove(at))?;
        self.link(at);
        self.seen(id);
        Ok(at)
    }

    /// The creation of a session is applied (or found in a snapshot).
    ///
    /// # Errors
    /// [`Full`], for a session that was not opened here before.
    pub fn opened(&mut self, id: SessionId, timeout: u32, now: Instant) -> Result<(), Full> {
        let at = self.open(id, timeout, now)?;
        let entry = &mut self.entries[at];
        if !core::mem::replace(&mut entry.applied, true) {
            self.applied += 1;
        }
        // Its client may have been granted another one since, by a member that was quicker.
        entry.created_timeout = timeout;
        Ok(())
    }

    /// Whether the session is there, or could be opened.
    pub fn has_room_for(&self, id: SessionId) -> bool {
        self.available() > 0 || self.find(id).is_some()
    }

    /// Makes room for a session whose creation is applied, where there is none: one goes that was
    /// opened here and is not there yet. Returns its connection, or NIL.
    pub fn give_way(&mut self, id: SessionId) -> Handle {
        let full = !self.has_room_for(id);
        let other = self.iter().filter(|session| full && !session.applied).last();
        let other = other.map_or(SessionId::NONE, Session::id);
        self.closed(other)
    }

    /// The leader has no room for the session, if it is not there yet. Returns its connection, or NIL.
    pub fn refused(&mut self, id: SessionId) -> Handle {
        match self.find(id) {
            Some(at) if !self.entries[at].applied && !self.entries[at].local => self.closed(id),
            _ => NIL,
        }
    }

    /// The session's closeSession is proposed.
    pub fn closing(&mut self, at: Handle) {
        self.entries[at].closing = true;
    }

    /// The session's closeSession is applied. Returns its connection here, or NIL.
    pub fn closed(&mut self, id: SessionId) -> Handle {
        let Some(at) = self.find(id) else { return NIL };
        let connection = self.entries[at].connection;
        if self.entries[at].applied {
            self.applied -= 1;
        }
        self.unlink(at);
        let hash = self.hash(id);
        self.index.remove(hash, at);
        self.entries.remove(at);
        connection
    }

    /// Heard of the session.
    pub fn touch(&mut self, at: Handle, now: Instant) {
        let deadline = self.bucket_end(now, self.entries[at].timeout);
        let entry = &mut self.entries[at];
        entry.deadline = entry.deadline.max(deadline);
        entry.touched = true;
    }

    /// Says which server speaks for the session.
    pub fn own(&mut self, at: Handle, owner: ServerId) {
        self.entries[at].owner = Some(owner);
    }

    /// The sessions that were heard of since this was asked last, with their timeouts in ms, as
    /// long as `tell` takes them.
    pub fn take_touched(&mut self, mut tell: impl FnMut(SessionId, u32) -> bool) {
        for number in 0..self.entries.used() {
            let Ok(at) = Handle::try_from(number) else { return };
            let Some(entry) = self.entries.get(at) else { continue };
            if entry.touched && !entry.local {
                if !tell(entry.id, entry.timeout) {
                    return;
                }
                self.entries[at].touched = false;
            }
        }
    }

    /// What was proposed about sessions and is not applied may never be: sessions that are not
    /// there yet are forgotten, those on their way out stay, and nobody is connected.
    pub fn settle(&mut self) {
        for number in 0..self.entries.used() {
            let Ok(at) = Handle::try_from(number) else { return };
            let Some(entry) = self.entries.get(at) else { continue };
            if entry.applied {
                let entry = &mut self.entries[at];
                entry.closing = false;
                entry.owner = None;
                entry.connection = NIL;
            } else {
                self.closed(entry.id);
            }
        }
    }

    /// Binds the session to a connection, or to none.
    pub fn attach(&mut self, at: Handle, connection: Handle) {
        self.entries[at].connection = connection;
    }

    /// The client was granted another timeout on reconnecting. Snapshots keep the first one, as a
    /// replay of the log would.
    pub fn grant(&mut self, at: Handle, timeout: u32) {
        self.entries[at].timeout = timeout;
    }

    /// When [`expire`](Self::expire) has something to do again.
    pub fn next_turn(&self) -> Option<Instant> {
        (!self.is_empty()).then(|| Instant(self.turn * u64::from(self.interval)))
    }

    /// Gives every session a whole timeout again, as a server that starts does.
    pub fn touch_all(&mut self, now: Instant) {
        self.turn = divide(now.0, self.interval).0;
        self.heads = [NIL; BUCKETS];
        for number in 0..self.entries.used() {
            let Ok(at) = Handle::try_from(number) else { return };
            if self.entries.get(at).is_some() {
                self.entries[at].deadline = self.bucket_end(now, self.entries[at].timeout);
                self.link(at);
            }
        }
    }

    /// The next session that has expired, if any. The caller closes it; a session that it leaves as
    /// it is comes again a bucket later.
    pub fn expire(&mut self, now: Instant) -> Option<SessionId> {
        let interval = u64::from(self.interval);
        while self.turn * interval <= now.0 {
            let bucket = (self.turn % BUCKETS as u64) as usize;
            // Sessions that are not due move to where they belong, behind this turn.
            let at = self.heads[bucket];
            if at == NIL {
                self.turn += 1;
                continue;
            }
            self.unlink(at);
            let boundary = self.turn * interval;
            let entry = self.entries[at];
            self.turn += 1;
            if entry.deadline.0 <= boundary && !entry.closing {
                self.entries[at].deadline = Instant(boundary + interval);
                self.link(at);
                self.turn -= 1;
                return Some(entry.id);
            }
            if entry.deadline.0 <= boundary {
                self.entries[at].deadline = Instant(boundary + interval);
            }
            self.link(at);
            self.turn -= 1;
        }
        None
    }

    /// How many sessions a snapshot shows.
    pub fn applied_count(&self) -> usize {
        self.applied
    }

    /// The sessions that a snapshot shows: those whose creation is applied.
    pub fn applied(&self) -> impl Iterator<Item = SnapshotSession> + '_ {
        self.iter().filter(|session| session.applied).map(|session| SnapshotSession {
            id: session.id,
            timeout: session.created_timeout as i32,
        })
    }

    /// All sessions.
    pub fn iter(&self) -> impl Iterator<Item = &Session> + '_ {
        (0..self.entries.used()).filter_map(|at| self.entries.get(Handle::try_from(at).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions<'m>(
        entries: &'m mut [Session],
        slots: &'m mut [crate::memory::Slot],
    ) -> Sessions<'m> {
        Sessions::new(
            Table::lent(entries),
            Index::lent(slots),
            Seeds(1, 2),
            100,
            SessionId(0x0100_0000_0000_0005),
            Instant(1000),
        )
    }

    #[test]
    fn an_opening_that_is_applied_late_takes_nothing_back() {
        let (mut entries, mut slots) = ([Session::EMPTY; 4], [0; 8]);
        let mut sessions = sessions(&mut entries, &mut slots);
        let id = SessionId(7);
        let at = sessions.open(id, 3000, Instant(0)).unwrap();
        sessions.grant(at, 2000);
        sessions.opened(id, 3000, Instant(10)).unwrap();
        assert_eq!(sessions.get(at).timeout(), 2000);
        assert_eq!(sessions.applied().map(|session| session.timeout).last(), Some(3000));
    }

    #[test]
    fn passwords_are_apaches() {
        // Captured from 3.8.0.
        let expected = [
            0xc5, 0x57, 0x03, 0x30, 0x6e, 0x8e, 0x78, 0xfe, 0xab, 0x44, 0xb4, 0x02, 0x67, 0x27,
            0xb9, 0x49,
        ];
        let id = SessionId(0x0100_000c_a841_0000);
        assert_eq!(password(id), expected);
        assert!(password_is(id, &expected));
        assert!(!password_is(id, &expected[..15]) && !password_is(SessionId(1), &expected));
    }

    #[test]
    fn sessions_expire_at_the_end_of_their_bucket() {
        let (mut entries, mut slots) = ([Session::EMPTY; 4], [0; 8]);
        let mut sessions = sessions(&mut entries, &mut slots);
        let (a, b) = (sessions.allocate(), sessions.allocate());
        assert_ne!(a, b);
        sessions.opened(a, 150, Instant(1000)).unwrap();
        sessions.opened(b, 100_000, Instant(1000)).unwrap();
        // (1000 + 150) / 100 + 1 = bucket 12.
        assert_eq!(sessions.expire(Instant(1199)), None);
        let at = sessions.find(a).unwrap();
        sessions.touch(at, Instant(1180));
        assert_eq!(sessions.expire(Instant(1399)), None);
        assert_eq!(sessions.expire(Instant(1400)), Some(a));
        // Nothing was done about it: it comes again, later.
        assert_eq!(sessions.expire(Instant(1400)), None);
        assert_eq!(sessions.expire(Instant(1500)), Some(a));
        let at = sessions.find(a).unwrap();
        sessions.closing(at);
        assert_eq!(sessions.expire(Instant(3000)), None);
        assert!(sessions.usable(a).is_none() && sessions.is_closing(a));
        assert_eq!(sessions.applied_count(), 2);
        assert_eq!(sessions.closed(a), NIL);
        assert_eq!(sessions.applied().count(), 1);
        // Closed before its creation is applied: until then, a snapshot does not show it.
        let c = sessions.allocate();
        let at = sessions.open(c, 150, Instant(2000)).unwrap();
        sessions.closing(at);
        assert_eq!((sessions.applied_count(), sessions.applied().count()), (1, 1));
        sessions.opened(c, 150, Instant(2000)).unwrap();
        assert!(sessions.is_closing(c));
        assert_eq!((sessions.applied_count(), sessions.applied().count()), (2, 2));
        sessions.closed(c);
        assert_eq!((sessions.applied_count(), sessions.applied().count()), (1, 1));
        // Far beyond the ring.
        assert_eq!(sessions.expire(Instant(101_000)), None);
        assert_eq!(sessions.expire(Instant(101_100)), Some(b));
    }

    #[test]
    fn ids_are_never_given_twice() {
        let (mut entries, mut slots) = ([Session::EMPTY; 4], [0; 8]);
        let mut sessions = sessions(&mut entries, &mut slots);
        sessions.opened(SessionId(0x0100_0000_0000_0009), 100, Instant(0)).unwrap();
        assert_eq!(sessions.allocate(), SessionId(0x0100_0000_0000_000a));
        sessions.opened(SessionId(0x0200_0000_0000_0fff), 100, Instant(0)).unwrap();
        assert_eq!(sessions.allocate(), SessionId(0x0100_0000_0000_000b));
        sessions.raise_floor(ServerId(1), Zxid(0x1_0000_0000));
        assert_eq!(sessions.allocate(), SessionId(0x0100_0001_0000_0001));
    }

    #[test]
    fn what_was_only_proposed_is_forgotten() {
        let (mut entries, mut slots) = ([Session::EMPTY; 4], [0; 8]);
        let mut sessions = sessions(&mut entries, &mut slots);
        let (a, b) = (sessions.allocate(), sessions.allocate());
        sessions.opened(a, 150, Instant(1000)).unwrap();
        let at = sessions.open(b, 150, Instant(1000)).unwrap();
        sessions.closing(at);
        let at = sessions.find(a).unwrap();
        sessions.closing(at);
        sessions.own(at, ServerId(3));
        assert_eq!((sessions.len(), sessions.applied_count()), (2, 1));
        sessions.settle();
        assert_eq!((sessions.len(), sessions.applied_count()), (1, 1));
        assert_eq!(sessions.get(sessions.usable(a).unwrap()).owner(), None);
    }

    #[test]
    fn who_was_heard_of_is_told_once() {
        let (mut entries, mut slots) = ([Session::EMPTY; 4], [0; 8]);
        let mut sessions = sessions(&mut entries, &mut slots);
        let ids = [sessions.allocate(), sessions.allocate()];
        for id in ids {
            sessions.opened(id, 150, Instant(1000)).unwrap();
            sessions.touch(sessions.find(id).unwrap(), Instant(1000));
        }
        let mut told = 0;
        sessions.take_touched(|_, _| core::mem::replace(&mut told, 1) == 0);
        sessions.take_touched(|id, timeout| {
            assert_eq!((id, timeout), (ids[1], 150));
            told += 1;
            true
        });
        assert_eq!(told, 2);
        sessions.take_touched(|_, _| panic!());
        // One that is this server's alone is nobody else's affair.
        let local = sessions.find(ids[0]).unwrap();
        sessions.set_local(local, true);
        sessions.touch(local, Instant(1000));
        sessions.take_touched(|_, _| panic!());
    }

    #[test]
    fn a_full_table_refuses() {
        let (mut entries, mut slots) = ([Session::EMPTY; 2], [0; 8]);
        let mut sessions = sessions(&mut entries, &mut slots);
        for _ in 0..2 {
            let id = sessions.allocate();
            sessions.open(id, 100, Instant(0)).unwrap();
        }
        assert_eq!(sessions.available(), 0);
        assert_eq!(sessions.open(SessionId(77), 100, Instant(0)), Err(Full));
        assert_eq!(sessions.applied_count(), 0);
    }
}
