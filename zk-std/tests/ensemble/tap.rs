//! Listens to one direction of a connection between members, and understands what is said.

use core::fmt;
use core::hash::{Hash, Hasher};

use zk_core::id::{Epoch, ServerId, SessionId, Zxid};
use zk_core::memory::Unit;
use zk_core::quorum::Port;
use zk_core::wire::OpCode;
use zk_core::wire::compact::{self, Envelope, OFFER};
use zk_core::wire::election::{self, Hello, Notification};
use zk_core::wire::jute::{self, Reader};
use zk_core::wire::quorum::{
    self, First, Kind, REQUEST_HEAD, RequestHead, SPARED, TOUCHED, Touched,
};
use zk_core::wire::txn::Txn;
use zk_core::zab::scan::Scanner;

/// Bytes of the longest packet that anybody sends.
const MOST: usize = 1 << 20;

/// Something that a member says to another.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Who has called.
    Hello(ServerId),
    /// A vote.
    Vote { state: election::ServerState, leader: ServerId, zxid: Zxid, round: i64, epoch: i64 },
    /// A packet of the quorum port.
    Packet { kind: Kind, zxid: Zxid, about: About },
    /// The body of a snapshot, so many bytes.
    Body(u64),
    /// A channel of the compact dialect begins or ends.
    Channel(Envelope),
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum About {
    Nothing,
    /// A transaction: what it does, for whom.
    Txn(i32, SessionId),
    /// A request of a session.
    Request(i32, SessionId),
    /// Sessions, each with its timeout.
    Sessions(Vec<(SessionId, i32)>),
    /// An epoch; -1 for one that was accepted before.
    Epoch(i32),
}

impl Message {
    /// Numbers that tell it apart from others.
    pub(crate) fn words(&self) -> [i64; 4] {
        let mut hasher = std::hash::DefaultHasher::new();
        match self {
            Self::Hello(id) => [1, id.0, 0, 0],
            Self::Vote { state, leader, zxid, round, epoch } => {
                (*state as i32, leader.0, round, epoch).hash(&mut hasher);
                [2, hasher.finish().cast_signed(), zxid.0, 0]
            }
            Self::Packet { kind, zxid, about } => {
                about.hash(&mut hasher);
                [3, i64::from(kind.0), zxid.0, hasher.finish().cast_signed()]
            }
            Self::Body(len) => [4, len.cast_signed(), 0, 0],
            Self::Channel(envelope) => {
                envelope.encode(&mut [0; compact::ENVELOPE_MAX]).hash(&mut hasher);
                [5, hasher.finish().cast_signed(), 0, 0]
            }
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "REQUEST",
        Kind::Proposal => "PROPOSAL",
        Kind::Ack => "ACK",
        Kind::Commit => "COMMIT",
        Kind::Ping => "PING",
        Kind::Revalidate => "REVALIDATE",
        Kind::Sync => "SYNC",
        Kind::Inform => "INFORM",
        Kind::NewLeader => "NEWLEADER",
        Kind::FollowerInfo => "FOLLOWERINFO",
        Kind::UpToDate => "UPTODATE",
        Kind::Diff => "DIFF",
        Kind::Trunc => "TRUNC",
        Kind::Snap => "SNAP",
        Kind::ObserverInfo => "OBSERVERINFO",
        Kind::LeaderInfo => "LEADERINFO",
        Kind::AckEpoch => "ACKEPOCH",
        Kind::CommitAndActivate => "COMMITANDACTIVATE",
        Kind::InformAndActivate => "INFORMANDACTIVATE",
        _ => "?",
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(id) => write!(f, "hello, I am {}", id.0),
            Self::Vote { state, leader, zxid, round, epoch } => {
                write!(f, "{state} leader {} zxid {zxid} epoch {epoch} round {round}", leader.0)
            }
            Self::Packet { kind, zxid, about } => {
                write!(f, "{} {zxid}", name(*kind))?;
                match about {
                    About::Nothing => Ok(()),
                    About::Txn(op, session) | About::Request(op, session) => {
                        write!(f, " {:?} of {session}", OpCode(*op))
                    }
                    About::Sessions(all) => {
                        all.iter().try_for_each(|(id, timeout)| write!(f, " {id}:{timeout}"))
                    }
                    About::Epoch(epoch) => write!(f, " epoch {epoch}"),
                }
            }
            Self::Body(len) => write!(f, "a snapshot of {len} bytes"),
            Self::Channel(envelope) => write!(f, "{envelope:?}"),
        }
    }
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Tap {
    port: Port,
    /// A greeting comes first.
    greets: bool,
    bytes: Vec<u8>,
    /// Inside the body of a snapshot; how long it was so far.
    body: Option<(Scanner, u64)>,
    /// Bytes that were understood.
    offset: u64,
    /// The channel that it carries.
    channel: Option<(u32, Box<Self>)>,
    /// Bytes of the channel that come next.
    carried: usize,
}

impl Tap {
    /// The direction away from whoever has called (`caller`), or towards it.
    pub(crate) fn new(port: Port, caller: bool) -> Self {
        let greets = caller && port == Port::Election;
        Self { port, greets, bytes: vec![], body: None, offset: 0, channel: None, carried: 0 }
    }

    /// Listens. Answers each message, the channel that it is on, and the offset at which it ends.
    pub(crate) fn listen(&mut self, bytes: &[u8]) -> Vec<(u64, Option<u32>, Message)> {
        self.bytes.extend_from_slice(bytes);
        let mut heard = vec![];
        let mut at = 0;
        loop {
            if self.carried > 0 && at < self.bytes.len() {
                let len = self.carried.min(self.bytes.len() - at);
                let (number, channel) = self.channel.as_mut().expect("a channel");
                let before = channel.offset + channel.bytes.len() as u64;
                let said = channel.listen(&self.bytes[at..at + len]).into_iter();
                heard.extend(said.map(|(end, _, message)| {
                    (self.offset + (end - before), Some(*number), message)
                }));
                at += len;
                self.offset += len as u64;
                self.carried -= len;
                continue;
            }
            let Some((len, message)) = self.first(at) else { break };
            at += len;
            self.offset += len as u64;
            heard.extend(message.map(|message| (self.offset, None, message)));
        }
        self.bytes.drain(..at);
        heard
    }

    /// The message at `at`, and its bytes; bytes alone inside of a snapshot.
    fn first(&mut self, at: usize) -> Option<(usize, Option<Message>)> {
        let rest = &self.bytes[at..];
        if rest.is_empty() {
            return None;
        }
        if let Some((scanner, len)) = &mut self.body {
            let (_, looked) = scanner.feed(rest).expect("the body of a snapshot");
            *len += looked as u64;
            let whole = scanner.is_done().then_some(Message::Body(*len));
            if whole.is_some() {
                self.body = None;
            }
            return Some((looked, whole));
        }
        match self.port {
            Port::Election if self.greets => match Hello::first(rest).expect("a hello") {
                election::First::Hello(hello, len) => {
                    self.greets = false;
                    Some((len, Some(Message::Hello(hello.sid))))
                }
                election::First::Need(_) => None,
            },
            Port::Election if rest[0] != 0 => match Envelope::first(rest).expect("an envelope") {
                compact::First::Envelope(envelope, len) => {
                    if let Envelope::Open(number) | Envelope::Data(number, _) = envelope
                        && self.channel.as_ref().is_none_or(|(known, _)| *known != number)
                    {
                        self.channel = Some((number, Box::new(Self::new(Port::Quorum, false))));
                    }
                    if let Envelope::Data(_, bytes) = envelope {
                        self.carried = bytes as usize;
                        return Some((len, None));
                    }
                    Some((len, Some(Message::Channel(envelope))))
                }
                compact::First::Need(_) => None,
            },
            Port::Election if rest.starts_with(&OFFER) => Some((OFFER.len(), None)),
            Port::Election => vote(rest).map(|(len, vote)| (len, Some(vote))),
            Port::Quorum => match quorum::first(rest, MOST).expect("a packet") {
                First::Need(_) => None,
                First::Whole(packet, len) => {
                    if packet.kind == Kind::Snap {
                        self.body = Some((Scanner::new(MOST, Unit::OWN), 0));
                    }
                    let about = about(packet.kind, packet.data.bytes());
                    let message = Message::Packet { kind: packet.kind, zxid: packet.zxid, about };
                    Some((len, Some(message)))
                }
            },
        }
    }
}

fn vote(bytes: &[u8]) -> Option<(usize, Message)> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    let frame = rest.get(..len)?;
    let Notification { state, leader, zxid, round, peer_epoch, .. } =
        Notification::decode(frame, len).expect("a notification");
    Some((4 + len, Message::Vote { state, leader, zxid, round, epoch: peer_epoch }))
}

fn about(kind: Kind, data: &[u8]) -> About {
    match kind {
        Kind::Proposal | Kind::Inform => {
            let header = Txn::decode(data).expect("a transaction").header;
            About::Txn(header.op.0, header.client_id)
        }
        // Who leads from then on comes first.
        Kind::InformAndActivate => about(Kind::Inform, data.get(8..).expect("a leader")),
        Kind::Request => {
            let head = data.get(..REQUEST_HEAD).expect("a request's head");
            let RequestHead { session, op, .. } = jute::decode(head).expect("a request's head");
            About::Request(op.0, session)
        }
        // An answer has one byte behind the session.
        Kind::Revalidate if data.len() < TOUCHED => {
            let session = Reader::new(data).read().expect("a session");
            About::Sessions(vec![(session, i32::from(data.ends_with(&[1])))])
        }
        // Of a leader: a quorum without this learner is in line.
        Kind::Ping if data == SPARED => About::Nothing,
        Kind::Ping | Kind::Revalidate => {
            let pieces = data.chunks(TOUCHED).map(|piece| {
                let Touched { session, timeout } = jute::decode(piece).expect("a session");
                (session, timeout)
            });
            About::Sessions(pieces.collect())
        }
        Kind::AckEpoch => About::Epoch(Reader::new(data).i32().expect("an epoch")),
        _ => About::Nothing,
    }
}

/// The epoch of a zxid that stands for one.
pub(crate) fn epoch(zxid: Zxid) -> Option<Epoch> {
    (zxid.counter() == 0).then(|| zxid.epoch())
}
