//! How many instructions a peer takes for what clients ask.
//!
//! QEMU is told to let so much time pass for an instruction (`-icount`), and SysTick counts it. Each line
//! is `count COUNTS TIMES WHAT`: what was done so often in so many counts. A peer that is alone has one
//! client here, and its disk takes no time: network and flash are not counted.
#![no_std]
#![no_main]

#[path = "../../../size/src/memory.rs"]
mod memory;

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::entry;
use semihosting::{println, process};
use zk_core::id::{SessionId, Xid};
use zk_core::peer::{Disk, Link, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::Seeds;
use zk_core::wire::client::{
    ConnectRequest, CreateRequest, OPEN_ACL_UNSAFE, PathVersion, PathWatch, RequestHeader,
    SetDataRequest,
};
use zk_core::wire::jute::{self, Buffer, List, Trailing};
use zk_core::wire::{OpCode, frame};

use crate::memory::{CONNECTIONS, FRAME, Memory};

/// The timer counts so far, again and again.
const ROUND: u32 = 0x00ff_ffff;

/// How often each is asked.
const TIMES: u32 = 50;

#[entry]
fn main() -> ! {
    let mut core = Peripherals::take().expect("this runs once");
    core.SYST.set_clock_source(SystClkSource::Core);
    core.SYST.set_reload(ROUND);
    core.SYST.clear_current();
    core.SYST.enable_counter();

    let mut memory = Memory::new();
    let mut buffers = [[0; FRAME]; 2 * CONNECTIONS];
    let mut connections = memory::connections(&mut buffers);
    let storage = memory.storage(&mut connections);
    let now = Now::new(1000, 1_700_000_000_000);
    let options = Options {
        max_frame: FRAME,
        max_txn: FRAME,
        max_reply: FRAME,
        max_waiting: FRAME,
        ..Options::default()
    };
    let peer = Peer::new(storage, options, Seeds(1, 2), SessionId(1), now);
    let mut peer = peer.expect("the memory is enough for one frame");
    peer.load_reset();
    peer.serve(now);
    let link = peer.open(now, [127, 0, 0, 1].into()).expect("the first connection");
    let mut client = Client { peer, now, link, counts: 0, replies: 0 };
    run(&mut client);
    println!("done");
    process::exit(0);
}

fn run(client: &mut Client<'_>) {
    let connect = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: zk_core::id::Zxid::ZERO,
        timeout: 10_000,
        session_id: SessionId::NONE,
        passwd: Buffer(Some(&[0; 16])),
        read_only: Trailing(Some(false)),
    };
    client.ask(&connect);
    client.tell("connect", 1);
    let mut room = [0; 64];
    let acl = List::encode(&[OPEN_ACL_UNSAFE], &mut room).expect("one entry fits");
    let data = Buffer(Some(&[7; 20]));
    let create = CreateRequest { path: "/counted".into(), data, acl, flags: 0 };
    let delete = PathVersion { path: "/counted".into(), version: -1 };
    let get = PathWatch { path: "/counted".into(), watch: false };
    let set = SetDataRequest { path: "/counted".into(), data, version: -1 };
    let header = |op| RequestHeader { xid: Xid(1), op };

    let (mut creates, mut deletes) = (0, 0);
    for _ in 0..TIMES {
        client.ask(&(header(OpCode::Create), &create));
        creates += core::mem::take(&mut client.counts);
        client.ask(&(header(OpCode::Delete), &delete));
        deletes += core::mem::take(&mut client.counts);
    }
    println!("count {creates} {TIMES} create of 20 bytes");
    println!("count {deletes} {TIMES} delete");
    client.ask(&(header(OpCode::Create), &create));
    client.counts = 0;
    client.often(&(header(OpCode::SetData), &set));
    client.tell("setData of 20 bytes", TIMES);
    client.often(&(header(OpCode::GetData), &get));
    client.tell("getData of 20 bytes", TIMES);
    client.often(&(header(OpCode::Exists), &get));
    client.tell("exists", TIMES);
    client.often(&RequestHeader { xid: Xid::PING, op: OpCode::Ping });
    client.tell("ping", TIMES);
    let begin = SYST::get_current();
    client.peer.tick(client.now);
    client.counts += since(begin);
    client.tell("tick", 1);
}

/// Counts since then, in less than a round.
fn since(begin: u32) -> u32 {
    begin.wrapping_sub(SYST::get_current()) & ROUND
}

/// The one client, and the peer.
struct Client<'m> {
    peer: Peer<'m>,
    now: Now,
    link: Link,
    /// What its requests took.
    counts: u32,
    /// Replies that have come.
    replies: u32,
}

impl Client<'_> {
    fn often(&mut self, request: &impl serde::Serialize) {
        for _ in 0..TIMES {
            self.ask(request);
        }
    }

    /// Asks once, and does what the peer wants of its driver until nothing is left.
    fn ask(&mut self, request: &impl serde::Serialize) {
        let mut room = [0; FRAME];
        let (head, body) = room.split_at_mut(frame::LEN);
        let len = jute::encode(request, body).expect("requests are short");
        head.copy_from_slice(&(len as u32).to_be_bytes());
        let (before, begin) = (self.replies, SYST::get_current());
        let received = self.peer.receive(self.now, self.link, &room[..frame::LEN + len]);
        while self.turn() {}
        self.counts += since(begin);
        assert!(received.consumed == frame::LEN + len && self.replies == before + 1);
    }

    /// Does one thing that the peer wants; false if it wants nothing.
    fn turn(&mut self) -> bool {
        let durable = match self.peer.poll_disk() {
            Some(Disk::Append(batch)) => Some(batch.last()),
            Some(_) => None,
            None => {
                let Some(link) = self.peer.poll_link() else { return false };
                let len = self.peer.output(link).len();
                self.replies += u32::from(len > 0);
                self.peer.sent(self.now, link, len);
                return true;
            }
        };
        if let Some(zxid) = durable {
            self.peer.durable(self.now, zxid).expect("its own transactions");
        }
        true
    }

    fn tell(&mut self, what: &str, times: u32) {
        println!("count {} {times} {what}", core::mem::take(&mut self.counts));
    }
}
