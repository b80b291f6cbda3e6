//! A leader as Apache's are, played by hand.

use zk_core::wire::txn::TxnHeader;

use super::*;

/// A leader, and its follower, server 1.
pub(super) struct Played {
    pub(super) follower: Server,
    pub(super) link: MemberLink,
    pub(super) next: Zxid,
}

impl Played {
    /// Its follower is in line, and serves.
    pub(super) fn reigning(follower: Server, link: MemberLink) -> Self {
        let mut leader = Self { follower, link, next: Zxid::new(Epoch(1), 1) };
        leader.greets(1);
        leader.tells(&Packet::new(Kind::Diff, Zxid::ZERO));
        leader.reigns(1);
        leader
    }

    pub(super) fn greets(&mut self, epoch: u32) -> String {
        let zxid = Zxid::new(Epoch(epoch), 0);
        self.tells(&Packet::with(Kind::LeaderInfo, zxid, &0x1_0000i32.to_be_bytes()))
    }

    pub(super) fn reigns(&mut self, epoch: u32) {
        let zxid = Zxid::new(Epoch(epoch), 0);
        self.tells(&Packet::new(Kind::NewLeader, zxid));
        self.tells(&Packet::new(Kind::UpToDate, Zxid::NONE));
        assert!(self.follower.peer.is_serving());
    }

    /// Answers what the follower says to it.
    pub(super) fn tells(&mut self, packet: &Packet<'_>) -> String {
        self.follower.says(self.link);
        self.follower.hears(self.link, &encode(packet));
        self.follower.disk();
        hex(&self.follower.says(self.link))
    }

    pub(super) fn txn(&self, op: OpCode, record: &impl serde::Serialize) -> Vec<u8> {
        let client_id = SessionId(7);
        let cxid = zk_core::id::Xid(1);
        let header = TxnHeader { client_id, cxid, zxid: self.next, time: 1, op };
        encode(&(header, record))
    }

    /// Proposes it: whether it is acknowledged. If not, the link is closed.
    pub(super) fn proposes(&mut self, op: OpCode, record: &impl serde::Serialize) -> bool {
        let txn = self.txn(op, record);
        let packet = encode(&Packet::with(Kind::Proposal, self.next, &txn));
        let received = self.follower.peer.hear(self.follower.now, self.link, &packet);
        assert_eq!(received.consumed, packet.len());
        self.follower.disk();
        if self.follower.peer.member_is_closing(self.link) {
            return false;
        }
        let ack = encode(&Packet::new(Kind::Ack, self.next));
        let said = self.follower.says(self.link);
        assert_eq!(said.ends_with(&ack), self.follower.peer.is_serving());
        self.next = self.next.next().unwrap();
        true
    }

    pub(super) fn commits(&mut self, counter: u32) {
        self.tells(&Packet::new(Kind::Commit, Zxid::new(Epoch(1), counter)));
    }

    /// The link is gone: when the follower calls again, ms from now.
    pub(super) fn calls_again(&mut self) -> u64 {
        // The leader and another voter say who leads.
        self.is_elected([ServerState::Leading, ServerState::Following], Zxid::ZERO)
    }

    /// The link is gone. What servers 2 and 3 do, and with which history server 2 leads, or is to; when the
    /// follower calls it, ms from now.
    pub(super) fn is_elected(&mut self, states: [ServerState; 2], zxid: Zxid) -> u64 {
        let follower = &mut self.follower;
        follower.peer.member_closed(follower.now, self.link);
        assert_eq!(follower.peer.state(), State::Looking);
        assert!(!follower.peer.is_serving());
        let from = follower.now.monotonic.0;
        let links = [2, 3].map(|id: u8| {
            let link = follower.peer.accept(follower.now, Port::Election, address()).unwrap();
            let hello = [&b"\xff\xff\xff\xff\xff\xff\0\0"[..], &[0; 7], &[id], &[0, 0, 0, 15]];
            let text = format!("127.0.0.1:2212{id}");
            follower.hears(link, &[&hello.concat()[..], text.as_bytes()].concat());
            link
        });
        loop {
            let now = follower.now;
            assert!(now.monotonic.0 - from < 100_000, "it does not call");
            if follower.peer.state() == State::Looking {
                for (link, state) in links.iter().zip(states) {
                    let notification = Notification {
                        state,
                        leader: ServerId(2),
                        zxid,
                        // Later than any that the follower has begun.
                        round: 99 + from as i64,
                        peer_epoch: 1,
                        version: Notification::VERSION,
                        config: b"",
                    };
                    let mut bytes = vec![];
                    notification.write(&mut bytes).unwrap();
                    follower.hears(*link, &bytes);
                }
            }
            while let Some(dial) = follower.peer.poll_dial(now) {
                if dial.port == Port::Quorum {
                    follower.peer.connected(dial.link);
                    self.link = dial.link;
                    return now.monotonic.0 - from;
                }
                follower.peer.connect_failed(now, dial.link);
            }
            for link in links {
                follower.says(link);
            }
            let at = now.monotonic.0 + 50;
            follower.now = Now::new(at, at as i64);
            follower.peer.tick(follower.now);
        }
    }
}
