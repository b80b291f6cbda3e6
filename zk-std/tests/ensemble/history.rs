//! What clients saw, held against the one history that every server has in the end.
//!
//! The server hands out the order, zxid by zxid, so one walk over the history judges everything:
//! each write must have been answered as the [`Model`] answers it there, each read as it answers it
//! then, and watches must have fired once, in order, and before anything that shows why.

use std::collections::{BTreeMap, BTreeSet};

use zk_core::id::{SessionId, Zxid};
use zk_core::wire::client::{
    Create2Reply, EventType, GetChildren2Reply, GetDataReply, MultiHeader, PathReply, ReplyHeader,
    Stat,
};
use zk_core::wire::jute::{self, Reader, Ustring};
use zk_core::wire::txn::{MultiTxn, Record, Txn};
use zk_core::wire::{Code, OpCode};

use super::client::{Asked, Request};
use super::config::Members;
use super::model::{Answer, Model, Moment};

/// Something that a client was told, in the order in which it was told.
#[derive(Debug)]
pub(crate) enum Told {
    Reply { session: SessionId, asked: Asked, header: ReplyHeader, body: Vec<u8>, step: u64 },
    Event { zxid: Zxid, kind: i32, path: String },
}

/// Everything that clients were told, connection by connection.
#[derive(Debug, Default)]
pub(crate) struct History {
    streams: Vec<Vec<Told>>,
    /// What was never answered.
    pub(crate) lost: Vec<Asked>,
}

/// What the walk has found worth counting.
#[derive(Debug)]
pub(crate) struct Walked {
    /// The tree in the end.
    pub(crate) model: Model,
    pub(crate) events: u64,
    pub(crate) events_late: u64,
}

impl History {
    /// Another connection; its number.
    pub(crate) fn open(&mut self) -> usize {
        self.streams.push(vec![]);
        self.streams.len() - 1
    }

    pub(crate) fn tell(&mut self, stream: usize, told: Told) {
        self.streams[stream].push(told);
    }

    /// All answers.
    pub(crate) fn replies(&self) -> impl Iterator<Item = (&Asked, &ReplyHeader, &[u8], u64)> {
        self.streams.iter().flatten().filter_map(|told| match told {
            Told::Reply { asked, header, body, step, .. } => {
                Some((asked, header, &body[..], *step))
            }
            Told::Event { .. } => None,
        })
    }

    /// Judges all of it. `kept` is the history, oldest first, and `txns` has its transactions.
    pub(crate) fn judge(
        &self,
        kept: &[Zxid],
        txns: &BTreeMap<Zxid, Vec<u8>>,
        configs: &BTreeMap<Zxid, Members>,
    ) -> Walked {
        let mut replies: Vec<(Zxid, usize, usize)> = vec![];
        for (stream, all) in self.streams.iter().enumerate() {
            for (number, told) in all.iter().enumerate() {
                if let Told::Reply { header, .. } = told {
                    replies.push((header.zxid, stream, number));
                }
            }
        }
        replies.sort_unstable();
        let mut walk = Walk::default();
        let mut replies = &replies[..];
        let mut model = Model::new();
        let mut config = Zxid::ZERO;
        for (number, &zxid) in kept.iter().enumerate() {
            let next = kept.get(number + 1).copied().unwrap_or(Zxid(i64::MAX));
            let here = replies.partition_point(|(z, ..)| *z < next);
            let (now, later) = replies.split_at(here);
            replies = later;
            let (writes, reads): (Vec<_>, Vec<_>) =
                now.iter().map(|&(_, stream, at)| (stream, at)).partition(|&(stream, at)| {
                    matches!(&self.streams[stream][at], Told::Reply { asked, .. } if asked.request.writes())
                });
            let txn = Txn::decode(&txns[&zxid]).unwrap();
            assert!(writes.len() <= 1, "{zxid} answers more than one request");
            walk.order(&txn);
            let expected = writes.first().and_then(|&(stream, at)| {
                let Told::Reply { session, asked, header, body, .. } = &self.streams[stream][at]
                else {
                    unreachable!("only replies were chosen")
                };
                assert_eq!(header.zxid, zxid, "a write that is in no history");
                if let Request::Reconfig { .. } = asked.request {
                    judge_reconfig(
                        (config, &configs[&config]),
                        &txn,
                        *session,
                        asked,
                        header,
                        body,
                    );
                    return None;
                }
                judge_write(&model, &txn, *session, asked, header, body)
            });
            if txn.header.op == OpCode::Reconfig {
                config = zxid;
            }
            if model.is_cut_short(&txn) {
                walk.any_order.insert(zxid);
            }
            let triggers = model.apply(&txn);
            if let Some(expected) = expected {
                assert_eq!(model, expected, "{zxid} does something else than was asked");
            }
            walk.triggers.extend(triggers.into_iter().map(|(kind, path)| (zxid, kind, path)));
            for (stream, at) in reads {
                let Told::Reply { asked, header, body, .. } = &self.streams[stream][at] else {
                    unreachable!("only replies were chosen")
                };
                let known = header.zxid == zxid || header.zxid.counter() == 0;
                assert!(known, "{} was seen, and is in no history", header.zxid);
                if asked.request == Request::Config {
                    judge_config(config, configs, kept, header, body);
                    continue;
                }
                let expected = model.read(&asked.request);
                compare(&asked.request, header, body, &expected);
                if let Ok(Answer::Fired(fired)) = expected {
                    walk.fired.insert((stream, at), fired);
                }
            }
        }
        assert!(replies.is_empty(), "answers behind the end of the history: {replies:?}");
        let mut walked = Walked { model, events: 0, events_late: 0 };
        for (stream, told) in self.streams.iter().enumerate() {
            walk.watch(stream, told, &mut walked);
        }
        walked
    }
}

/// Judges the answer to a write, and answers what the tree must be afterwards.
fn judge_write(
    model: &Model,
    txn: &Txn<'_>,
    session: SessionId,
    asked: &Asked,
    header: &ReplyHeader,
    body: &[u8],
) -> Option<Model> {
    let zxid = txn.header.zxid;
    assert_eq!(
        (txn.header.client_id, txn.header.cxid.0),
        (session, asked.xid),
        "{zxid} answers another's request"
    );
    let error = match txn.record {
        Record::Error(error) => Some(error.err),
        _ => None,
    };
    // What no tree can tell: the session was on its way out, or there was no room.
    if matches!(header.err, Code::SessionExpired | Code::SystemError) {
        assert_eq!(error, Some(header.err), "{zxid}");
        let full = header.err == Code::SystemError;
        assert!(!full || asked.request.grows(), "{zxid}: {asked:?} takes no room");
        return None;
    }
    if let Request::Multi(parts) = &asked.request
        && read_multi(&mut Reader::new(body)).contains(&Err(Code::SystemError))
    {
        assert!(asked.request.grows(), "{zxid}: {parts:?} takes no room");
        assert!(matches!(&txn.record, Record::Multi(multi) if is_refused(multi)), "{zxid}");
        return None;
    }
    let mut after = model.clone();
    let at = Moment { session, zxid, time: txn.header.time };
    let expected = after.write(at, &asked.request);
    compare(&asked.request, header, body, &expected);
    if asked.request.op() != OpCode::Multi {
        assert_eq!(error, expected.err(), "{zxid}");
    }
    Some(after)
}

/// Judges the answer to a reconfiguration, where `config` is in force, which was made by the
/// transaction `at`.
fn judge_reconfig(
    (at, config): (Zxid, &Members),
    txn: &Txn<'_>,
    session: SessionId,
    asked: &Asked,
    header: &ReplyHeader,
    body: &[u8],
) {
    let zxid = txn.header.zxid;
    assert_eq!(
        (txn.header.client_id, txn.header.cxid.0),
        (session, asked.xid),
        "{zxid} answers another's request"
    );
    let Request::Reconfig { version, .. } = asked.request else { panic!("{asked:?}") };
    // Without a reconfiguration its version is the start of some epoch.
    let fits = version == -1
        || version == at.0
        || at == Zxid::ZERO && version > 0 && Zxid(version).counter() == 0;
    match &txn.record {
        Record::SetData(record) => {
            assert_eq!(header.err, Code::Ok, "{zxid}");
            assert!(fits, "{zxid}: {asked:?}, and {at} is in force");
            let text = record.data.bytes();
            let (made, version) = Members::parse(text);
            assert_eq!((&made, version), (&config.after(&asked.request), zxid.0), "{asked:?}");
            let GetDataReply { data, stat } = jute::decode(body).unwrap();
            assert_eq!((data.bytes(), stat.mzxid), (text, zxid), "{zxid}");
        }
        Record::Error(error) => {
            assert_eq!(header.err, Code(error.err.0), "{zxid}");
            let may = match header.err {
                Code::BadVersion => version != -1 && version != at.0,
                Code::NewConfigNoQuorum => fits,
                Code::ReconfigInProgress | Code::SessionExpired | Code::SystemError => true,
                _ => false,
            };
            assert!(may, "{zxid}: {asked:?} is refused: {:?}", header.err);
        }
        other => panic!("{zxid}: {other:?}"),
    }
}

/// Judges what clients are shown of the configuration, where the one that the transaction `config`
/// has made is in force. A later one may have come with its leader's history.
fn judge_config(
    config: Zxid,
    configs: &BTreeMap<Zxid, Members>,
    kept: &[Zxid],
    header: &ReplyHeader,
    body: &[u8],
) {
    assert_eq!(header.err, Code::Ok);
    let GetDataReply { data, stat } = jute::decode(body).unwrap();
    let (members, version) = Members::parse(data.bytes());
    let version = Zxid(version);
    let made = if version.counter() == 0 { Zxid::ZERO } else { version };
    assert_eq!(stat.mzxid, version, "{}", header.zxid);
    assert!(made >= config, "{}: {version} is shown, and {config} is in force", header.zxid);
    assert!(made == Zxid::ZERO || kept.contains(&made), "{}: {version} is shown", header.zxid);
    assert_eq!(members, configs[&made], "{}", header.zxid);
}

/// Whether a multi has failed, and changes nothing.
fn is_refused(multi: &MultiTxn<'_>) -> bool {
    multi.txns.iter().any(|part| part.op == OpCode::Error)
}

/// Whether an answer is the expected one.
fn compare(request: &Request, header: &ReplyHeader, body: &[u8], expected: &Result<Answer, Code>) {
    let zxid = header.zxid;
    let expected = match expected {
        Ok(answer) => {
            assert_eq!(header.err, Code::Ok, "{zxid}: {request:?} must be {answer:?}");
            answer
        }
        Err(code) => {
            assert_eq!(header.err, *code, "{zxid}: {request:?}");
            assert!(body.is_empty(), "{zxid}: an error with {} bytes", body.len());
            return;
        }
    };
    let mut reader = Reader::new(body);
    match (request, expected) {
        (Request::Multi(_), Answer::Multi(results)) => {
            let answers = read_multi(&mut reader);
            assert_eq!(&answers, results, "{zxid}: {request:?}");
        }
        // What has fired at once is compared with the events.
        (_, Answer::Fired(_)) => {}
        _ => assert_eq!(&read(request, &mut reader), expected, "{zxid}: {request:?}"),
    }
    assert!(reader.rest().is_empty(), "{zxid}: {request:?}: too long an answer");
}

fn text(ustring: Ustring<'_>) -> String {
    String::from_utf8(ustring.bytes().to_vec()).unwrap()
}

fn read(request: &Request, reader: &mut Reader<'_>) -> Answer {
    match request {
        Request::Create { flags, stat, .. } if *stat || *flags == 4 => {
            let Create2Reply { path, stat } = reader.read().unwrap();
            Answer::PathStat(text(path), stat)
        }
        Request::Create { .. } | Request::Sync(_) => {
            let PathReply { path } = reader.read().unwrap();
            Answer::Path(text(path))
        }
        Request::Set { .. } | Request::Exists { .. } => {
            Answer::Stat(reader.read::<Stat>().unwrap())
        }
        Request::Get { .. } => {
            let GetDataReply { data, stat } = reader.read().unwrap();
            Answer::Data(data.bytes().to_vec(), stat)
        }
        Request::Children { .. } => {
            let GetChildren2Reply { children, stat } = reader.read().unwrap();
            let names: Vec<String> = children.iter().map(text).collect();
            let set: BTreeSet<String> = names.iter().cloned().collect();
            assert_eq!(set.len(), names.len(), "a child is listed twice");
            Answer::Names(set, stat)
        }
        _ => Answer::Nothing,
    }
}

fn read_multi(reader: &mut Reader<'_>) -> Vec<Result<Answer, Code>> {
    let mut answers = vec![];
    loop {
        let MultiHeader { op, done, err } = reader.read().unwrap();
        if done {
            return answers;
        }
        answers.push(match op {
            OpCode::Error => {
                let code: Code = reader.read().unwrap();
                assert_eq!(code.0, err);
                Err(code)
            }
            OpCode::Create => Ok(Answer::Path(text(reader.read::<PathReply<'_>>().unwrap().path))),
            OpCode::Create2 => {
                let Create2Reply { path, stat } = reader.read().unwrap();
                Ok(Answer::PathStat(text(path), stat))
            }
            OpCode::SetData => Ok(Answer::Stat(reader.read().unwrap())),
            _ => Ok(Answer::Nothing),
        });
    }
}

/// The walk over the history.
#[derive(Default)]
struct Walk {
    /// All that watchers could hear of, in order.
    triggers: Vec<(Zxid, EventType, String)>,
    /// Transactions whose triggers come in any order.
    any_order: BTreeSet<Zxid>,
    /// What watches that were set again have fired at once, by the answer behind it.
    fired: BTreeMap<(usize, usize), Vec<(i32, String)>>,
    /// The latest request of each session that was done.
    done: BTreeMap<i64, i32>,
}

/// The watches of a connection.
#[derive(Default)]
struct Standing {
    data: BTreeSet<String>,
    child: BTreeSet<String>,
}

impl Standing {
    /// Whether that fires; watches fire once.
    fn fires(&mut self, kind: EventType, path: &str) -> bool {
        let data = kind != EventType::NodeChildrenChanged && self.data.remove(path);
        let both = matches!(kind, EventType::NodeDeleted | EventType::NodeChildrenChanged);
        let child = both && self.child.remove(path);
        data || child
    }
}

impl Walk {
    /// A session's requests are done in the order in which it asked.
    fn order(&mut self, txn: &Txn<'_>) {
        let header = txn.header;
        // What came too late from an old connection is refused, and changes nothing; but the end of
        // a session counts wherever it was asked for.
        let passes = match &txn.record {
            Record::Error(_) | Record::CloseSession(_) => true,
            Record::Multi(multi) => multi.txns.is_empty() || is_refused(multi),
            _ => false,
        };
        if header.cxid.0 <= 0 || passes {
            return;
        }
        let before = self.done.insert(header.client_id.0, header.cxid.0);
        assert!(
            before < Some(header.cxid.0),
            "{}: request {} of session {} is done behind {before:?}",
            header.zxid,
            header.cxid.0,
            header.client_id
        );
    }

    /// Triggers of a transaction that fire; none before them may.
    fn due(
        &self,
        range: core::ops::Range<usize>,
        of: Zxid,
        standing: &mut Standing,
    ) -> Vec<(i32, &str)> {
        let mut due = vec![];
        for (zxid, kind, path) in &self.triggers[range] {
            if standing.fires(*kind, path) {
                assert_eq!(*zxid, of, "{kind:?} {path} was not told");
                due.push((*kind as i32, &**path));
            }
        }
        due
    }

    /// Judges the events of a connection.
    fn watch(&self, stream: usize, told: &[Told], walked: &mut Walked) {
        let mut standing = Standing::default();
        let mut at = 0;
        let mut at_once: Vec<(i32, String)> = vec![];
        // What is still to be told of a transaction whose triggers come in any order.
        let mut owed: (Zxid, Vec<(i32, &str)>) = (Zxid::NONE, vec![]);
        for (number, told) in told.iter().enumerate() {
            match told {
                Told::Event { zxid: Zxid::NONE, kind, path } => {
                    at_once.push((*kind, path.clone()));
                    walked.events_late += 1;
                }
                Told::Event { zxid, kind, path } => {
                    walked.events += 1;
                    if self.any_order.contains(zxid) {
                        if owed.0 != *zxid {
                            let until = self.triggers.partition_point(|(z, ..)| z <= zxid);
                            owed = (*zxid, self.due(at..until, *zxid, &mut standing));
                            at = until;
                        }
                        let told = owed.1.iter().position(|due| *due == (*kind, &**path));
                        let told = told.unwrap_or_else(|| {
                            panic!("connection {stream}: told {zxid} {kind} {path}")
                        });
                        owed.1.swap_remove(told);
                        continue;
                    }
                    assert!(owed.1.is_empty(), "connection {stream}: not told {owed:?}");
                    let due = self.triggers[at..]
                        .iter()
                        .position(|(_, kind, path)| standing.fires(*kind, path));
                    let due = due.map(|ahead| at + ahead);
                    let expected = due.map(|at| &self.triggers[at]);
                    let matches =
                        expected.is_some_and(|(z, k, p)| (z, *k as i32, p) == (zxid, *kind, path));
                    assert!(
                        matches,
                        "connection {stream}: told {zxid} {kind} {path}, and not {expected:?}"
                    );
                    at = due.map_or(at, |due| due + 1);
                }
                Told::Reply { asked, header, .. } => {
                    let owes = !owed.1.is_empty() && header.zxid >= owed.0;
                    assert!(!owes, "connection {stream}: not told {owed:?}");
                    let until = self.triggers.partition_point(|(zxid, ..)| *zxid <= header.zxid);
                    for (zxid, kind, path) in &self.triggers[at.min(until)..until] {
                        assert!(
                            !standing.fires(*kind, path),
                            "connection {stream}: {} was seen, and nothing was said of {zxid} \
                             {kind:?} {path}",
                            header.zxid
                        );
                    }
                    assert!(
                        at <= until,
                        "connection {stream}: an event was told before {}, which does not show it",
                        header.zxid
                    );
                    at = until;
                    if let Some(fired) = self.fired.get(&(stream, number)) {
                        assert_eq!(*fired, at_once, "connection {stream}: watches set again");
                        at_once.clear();
                    }
                    assert!(at_once.is_empty(), "connection {stream}: events of no transaction");
                    register(
                        &mut standing,
                        &asked.request,
                        header,
                        self.fired.get(&(stream, number)),
                    );
                }
            }
        }
    }
}

/// What watches a request leaves.
fn register(
    standing: &mut Standing,
    request: &Request,
    header: &ReplyHeader,
    fired: Option<&Vec<(i32, String)>>,
) {
    let found = header.err == Code::Ok;
    match request {
        Request::Get { path, watch: true } if found => {
            standing.data.insert(path.clone());
        }
        Request::Exists { path, watch: true } => {
            standing.data.insert(path.clone());
        }
        Request::Children { path, watch: true } if found => {
            standing.child.insert(path.clone());
        }
        Request::SetWatches { watches, .. } => {
            let has = |kinds: &[EventType], path: &String| {
                fired.is_some_and(|fired| {
                    fired.iter().any(|(kind, p)| {
                        p == path && kinds.iter().any(|known| *known as i32 == *kind)
                    })
                })
            };
            use EventType::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
            let data = watches.data.iter().filter(|p| !has(&[NodeDeleted, NodeDataChanged], p));
            let exist = watches.exist.iter().filter(|p| !has(&[NodeCreated], p));
            standing.data.extend(data.chain(exist).cloned());
            let child =
                watches.child.iter().filter(|p| !has(&[NodeDeleted, NodeChildrenChanged], p));
            standing.child.extend(child.cloned());
        }
        _ => {}
    }
}

/// The version in the answer to a write of a register.
pub(crate) fn version(request: &Request, body: &[u8]) -> Option<i32> {
    match request {
        Request::Create { .. } => Some(jute::decode::<Create2Reply<'_>>(body).ok()?.stat.version),
        Request::Set { .. } => Some(jute::decode::<Stat>(body).ok()?.version),
        _ => None,
    }
}
