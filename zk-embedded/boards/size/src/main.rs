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
use zk_core::id::{ServerId, SessionId, Zxid};
use zk_core::peer::{Disk, Epochs, Membership, Options, Order, Peer, Read, Storage};
use zk_core::quorum::Port;
use zk_core::time::Now;
use zk_core::tree::Seeds;

use crate::memory::Memory;

/// The vectors of a chip's own interrupts: there is no chip, and the linker wants one at least.
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [usize; 1] = [0];

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
    run(memory.storage(&mut connections))
}

/// What a board does with the memory that it has. Of its own, so that the frame in which the memory
/// lies here, and on no board, makes nothing longer.
#[inline(never)]
fn run(storage: Storage<'_>) -> ! {
    let options = black_box(Options::default());
    let (seeds, session) = black_box((Seeds(1, 2), SessionId(1)));
    let Ok(mut peer) = Peer::new(storage, options, seeds, session, now()) else {
        panic!("the profile is too small for one frame")
    };
    recover(&mut peer);
    loop {
        clients(&mut peer);
        members(&mut peer);
        disk(&mut peer);
        peer.tick(now());
        black_box((peer.poll_timeout(), peer.state()));
    }
}

/// The newest snapshot, then the log.
fn recover(peer: &mut Peer<'_>) {
    peer.load_reset();
    black_box(peer.load_snapshot(input()).is_ok());
    peer.load_snapshot_end(black_box(Zxid::ZERO), black_box(None));
    while black_box(true) {
        black_box(peer.load_txn(input()).is_ok());
    }
    if black_box(false) {
        peer.serve(now());
    } else {
        let epochs = black_box(Epochs::default());
        let membership =
            Membership { config: input(), proposed: None, epochs, damaged: black_box(false) };
        black_box(peer.join(now(), &membership).is_ok());
    }
}

fn members(peer: &mut Peer<'_>) {
    let address: IpAddr = black_box([127, 0, 0, 1].into());
    black_box(peer.resolved(black_box(ServerId(2)), &[address]).is_ok());
    for port in [Port::Election, Port::Quorum] {
        if let Ok(link) = peer.accept(now(), port, address) {
            black_box(peer.hear(now(), link, input()));
        }
    }
    while let Some(dial) = peer.poll_dial(now()) {
        if black_box(false) {
            peer.connect_failed(now(), dial.link);
        } else {
            peer.connected(dial.link);
        }
    }
    while let Some(link) = peer.poll_member(now()) {
        let sent = black_box(peer.member_output(link)).len();
        peer.member_sent(now(), link, sent);
        if peer.member_is_closing(link) {
            peer.member_closed(now(), link);
        }
    }
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
    let (mut durable, mut written, mut installed, mut read) = (None, None, None, None);
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
        Some(Disk::Ensemble(Order::InstallBytes(bytes))) => {
            installed = Some(black_box(bytes).len());
        }
        Some(Disk::Ensemble(Order::Read(reading, what))) => read = Some((reading, what)),
        Some(Disk::Ensemble(order)) => {
            black_box(order);
        }
        Some(Disk::Roll | Disk::SnapshotDrop) | None => {}
    }
    if black_box(false) {
        peer.epochs_written(now());
    }
    if let Some(len) = installed {
        peer.install_written(len);
    }
    if black_box(false) {
        peer.reloaded(now());
    }
    if black_box(false) {
        peer.reload_failed(now(), black_box(true));
    }
    if black_box(false) {
        peer.cut_failed(now());
    }
    match read {
        Some((reading, Read::Log { .. })) if black_box(true) => {
            let entry = black_box((Zxid::ZERO, input()));
            peer.log_read(now(), reading, core::iter::once(entry));
        }
        Some((reading, Read::Snapshot { .. })) if black_box(true) => {
            peer.snapshot_read(now(), reading, input(), black_box(false));
        }
        Some((reading, _)) => peer.read_failed(reading),
        None => {}
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
