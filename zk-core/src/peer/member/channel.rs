//! Links of the quorum port that have no connection of their own: a link of the election port carries them,
//! in the [compact dialect](crate::wire::compact). The shell sees only the link that carries.
//!
//! A link carries one other at a time. Its end is told before the next one begins, and an envelope whose
//! beginning has been said is always said to its end, even if nobody needs it any more.

use super::links::{Link, MemberLink, Members};
use super::{Dialect, Peer, Taken};
use crate::id::ServerId;
use crate::memory::Sink;
use crate::quorum::Port;
use crate::time::Now;
use crate::wire::compact::{ENVELOPE_MAX, Envelope, First, OFFER};
use crate::zab::Violation;

/// What a link carries for another one, or who carries it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Channel {
    /// Of the election port: the other side was told that this one speaks the dialect.
    pub(super) offered: bool,
    /// And has said so itself.
    pub(super) spoken: bool,
    /// The end of a channel that is still to be told.
    ended: Option<Envelope>,
    /// Bytes of the link that it carries: the rest of the envelope that is being sent.
    pub(super) sending: usize,
    /// The rest of the envelope that is coming.
    pub(super) coming: usize,
    /// Its channel.
    coming_of: u32,
    /// Of the quorum port: the link that carries it.
    pub(super) carrier: Option<usize>,
    /// Its channel.
    number: u32,
    /// The other side is still to be told that it begins.
    opens: bool,
}

impl Members<'_> {
    /// The link that `at` carries.
    pub(super) fn carried(&self, at: usize) -> Option<usize> {
        let used = self.links.iter().take(self.used);
        used.map(|link| link.channel.carrier).position(|carrier| carrier == Some(at))
    }

    /// The link that hears what is coming on the channel of `at`.
    pub(super) fn hears(&self, at: usize) -> Option<usize> {
        self.carried(at).filter(|&carried| {
            let link = &self.links[carried];
            link.state == Link::Open && link.channel.number == self.links[at].channel.coming_of
        })
    }

    /// The link that can carry packets to and from `server`.
    fn carrier(&self, server: ServerId) -> Option<usize> {
        let at = self.find(server, Port::Election)?;
        let link = self.get(at)?;
        let Channel { offered, spoken, .. } = link.channel;
        (link.state == Link::Open && offered && spoken).then_some(at)
    }

    /// Says that this side speaks the dialect, once. Answers whether that waits to be sent now.
    pub(super) fn offer(&mut self, at: usize, dialect: Dialect) -> bool {
        let link = &mut self.links[at];
        let due = !link.channel.offered && (dialect == Dialect::Asks || link.channel.spoken);
        if due {
            link.channel.offered = link.output.put(&OFFER).is_ok();
        }
        due
    }

    /// Lets each link say what the one that it carries has to say.
    pub(super) fn carry(&mut self) {
        for at in 0..self.used {
            let Channel { carrier, number, opens, ended, .. } = self.links[at].channel;
            if ended.is_some() {
                self.tell_end(at);
            }
            let Some(carrier) = carrier.filter(|&carrier| self.tell_end(carrier)) else { continue };
            if opens {
                if !self.put(carrier, Envelope::Open(number)) {
                    continue;
                }
                self.links[at].channel.opens = false;
            }
            let len = self.links[at].output.len();
            if len > 0 && self.put(carrier, Envelope::Data(number, len as u32)) {
                self.links[carrier].channel.sending = len;
            }
        }
    }

    /// Says that a channel has ended, if one has; whether something else may be said.
    fn tell_end(&mut self, at: usize) -> bool {
        let Some(link) = self.links.get(at) else { return false };
        if link.state != Link::Open || link.channel.sending > 0 {
            return false;
        }
        let told = link.channel.ended.is_none_or(|ended| self.put(at, ended));
        if told {
            self.links[at].channel.ended = None;
        }
        told
    }

    fn put(&mut self, at: usize, envelope: Envelope) -> bool {
        self.links[at].output.put(envelope.encode(&mut [0; ENVELOPE_MAX])).is_ok()
    }
}

impl Peer<'_> {
    /// The number of the channel that a link carries for another, as long as that is open. For logs and tests: a
    /// shell knows nothing of channels.
    pub fn member_channel(&self, link: MemberLink) -> Option<u32> {
        let members = &self.ensemble.members;
        let carried = members.get(members.carried(link.0)?)?;
        (carried.state == Link::Open).then_some(carried.channel.number)
    }

    /// Opens a channel instead of dialling the quorum port, if a link can carry it. `false`: dial.
    pub(super) fn open_channel(&mut self, now: Now, link: MemberLink, server: ServerId) -> bool {
        let me = self.options.server;
        let members = &mut self.ensemble.members;
        let Some(carrier) = members.carrier(server) else { return false };
        if members.carried(carrier).is_some() || members.links[carrier].channel.ended.is_some() {
            // The last one has not ended: it is tried again.
            self.connect_failed(now, link);
            return true;
        }
        members.channels = members.channels.wrapping_add(1);
        let number = members.channels << 1 | u32::from(me > server);
        members.links[link.0].channel =
            Channel { carrier: Some(carrier), number, opens: true, ..Channel::default() };
        self.connected(link);
        true
    }

    /// Hears an envelope.
    pub(super) fn hear_envelope(
        &mut self,
        now: Now,
        at: usize,
        bytes: &[u8],
    ) -> Result<Taken, Violation> {
        let start = bytes.get(..ENVELOPE_MAX).unwrap_or(bytes);
        let (envelope, len) = match Envelope::first(start) {
            Ok(First::Envelope(envelope, len)) => (envelope, len),
            Ok(First::Need(need)) => return Ok(Taken::Need(need)),
            Err(_) => return Err(Violation("neither a notification nor an envelope")),
        };
        let members = &mut self.ensemble.members;
        let channel = &mut members.links[at].channel;
        let number = match envelope {
            Envelope::Data(number, bytes) => {
                (channel.coming_of, channel.coming) = (number, bytes as usize);
                return Ok(Taken::Bytes(len));
            }
            Envelope::Open(number) | Envelope::Close(number) | Envelope::Refuse(number) => number,
        };
        let sending = channel.sending;
        let opens = matches!(envelope, Envelope::Open(_));
        if let Some(carried) = members.carried(at)
            && (opens || members.links[carried].channel.number == number)
        {
            if sending > 0 {
                return Ok(Taken::Later);
            }
            self.end_member(now, carried, matches!(envelope, Envelope::Refuse(_)));
        }
        if opens {
            match self.admit(now, Port::Quorum, None) {
                Ok(MemberLink(carried)) => {
                    let channel = &mut self.ensemble.members.links[carried].channel;
                    (channel.carrier, channel.number) = (Some(at), number);
                }
                Err(_) => {
                    let refused = Envelope::Refuse(number);
                    self.ensemble.members.links[at].channel.ended = Some(refused);
                }
            }
            self.ensemble.dirty = true;
        }
        Ok(Taken::Bytes(len))
    }

    /// A link that is to be closed and is carried goes as soon as no envelope is under way, and the other side
    /// is told.
    pub(super) fn close_channel(&mut self, now: Now, at: usize, carrier: usize) {
        let members = &mut self.ensemble.members;
        let number = members.links[at].channel.number;
        let channel = &mut members.links[carrier].channel;
        if channel.sending == 0 {
            channel.ended = Some(Envelope::Close(number));
            self.end_member(now, at, false);
        }
    }
}
