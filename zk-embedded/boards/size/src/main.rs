//! zk-core's peer with a driver that does nothing: what its code takes in flash.
//!
//! Inputs and outputs go through [`black_box`], so that the compiler keeps what a real driver would
//! need. Every inlet and outlet of the peer belongs in here: what is not called is not measured.
#![no_std]
#![no_main]

mod memory;

use core::hint::black_box;
use core::net::IpAddr;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use zk_core::id::SessionId;
use zk_core::peer::{Disk, Options, Peer};
use zk_core::time::Now;
use zk_core::tree::Seeds;

use crate::memory::Memory;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// What came in; the compiler does not know.
fn input() -> &'static [u8] {
    black_box(&[])
}

fn now() -> Now {
    black_box(Now::new(0, 0))
}

#[entry]
fn main() -> ! {
    let mut memory = Memory::new();
    let mut buffers = [[0; memory::FRAME]; 2 * memory::CONNECTIONS];
    let mut connections = memory::connections(&mut buffers);
    let storage = memory.storage(&mut connections);
    let options = black_box(Options::default());
    let (seeds, session) = black_box((Seeds(1, 2), SessionId(1)));
    let Ok(mut peer) = Peer::new(storage, options, seeds, session, now()) else {
        panic!("the profile is too small for one frame")
    };
    recover(&mut peer);
    loop {
        clients(&mut peer);
        disk(&mut peer);
        peer.tick(now());
        black_box((peer.poll_timeout(), peer.state()));
    }
}

/// The newest snapshot, then the log.
fn recover(peer: &mut Peer<'_>) {
    peer.load_reset();
    black_box(peer.load_snapshot(input()).is_ok());
    peer.load_snapshot_end(black_box(zk_core::id::Zxid::ZERO), black_box(None));
    while black_box(true) {
        black_box(peer.load_txn(input()).is_ok());
    }
    peer.serve(now());
}

fn clients(peer: &mut Peer<'_>) {
    let address: IpAddr = black_box([127, 0, 0, 1].into());
    if let Ok(link) = peer.open(now(), address) {
        black_box(peer.receive(now(), link, input()));
    }
    while let Some(link) = peer.poll_link() {
        let sent = black_box(peer.output(link)).len();
        peer.sent(now(), link, sent);
        if peer.is_closing(link) {
            peer.closed(now(), link);
        }
    }
}

fn disk(peer: &mut Peer<'_>) {
    let (mut durable, mut written) = (None, None);
    match peer.poll_disk() {
        Some(Disk::Append(batch)) => {
            for (zxid, bytes) in batch.iter() {
                black_box((zxid, bytes));
            }
            durable = Some(batch.last());
        }
        Some(Disk::SnapshotBytes(bytes)) => written = Some(black_box(bytes).len()),
        Some(Disk::SnapshotBegin(zxid)) => {
            black_box(zxid);
        }
        Some(Disk::SnapshotEnd(digest)) => {
            black_box(digest);
        }
        Some(Disk::Roll | Disk::SnapshotDrop | Disk::Ensemble(_)) | None => {}
    }
    if let Some(zxid) = durable {
        black_box(peer.durable(now(), zxid).is_ok());
    }
    if let Some(len) = written {
        peer.snapshot_written(len);
    }
    if black_box(false) {
        peer.snapshot_failed();
    }
    if black_box(false) {
        peer.snapshot_done();
    }
    peer.set_full(black_box(false));
}
