//! The chip's Ethernet MAC and its DMA: 6 frames that come, 1 that goes, 4.2 KiB in all.
//!
//! Frames carry IP packets of 576 bytes at the most, the least that every host takes: TCP says so to
//! the other side. Whole frames would leave room for 3, and each that finds no place costs a second.
//!
//! A descriptor is 12 bytes: where the frame is, its length, and the next descriptor. The highest bit
//! of the length says that the place is empty: the device fills such a place of those that come, and
//! sets the bit of one that has gone. Where no place is empty, the device stops; what came then is
//! lost.

use core::cell::UnsafeCell;
use core::ptr::{addr_of_mut, null_mut};
use core::sync::atomic::{AtomicBool, Ordering, fence};

use common::ethernet::{Ethernet, Receive, Transmit};
use common::register::Register;

/// Frames that may have come.
const FRAMES: usize = 6;
/// Bytes of the longest frame: an Ethernet header and an IP packet.
const FRAME: usize = 14 + 576;
/// Bytes of a frame's place: its checksum may be behind it, and places begin at words.
const BUFFER: usize = (FRAME + CHECKSUM).next_multiple_of(4);
const CHECKSUM: usize = 4;

const BASE: usize = 0x4004_1000;
// SAFETY: which ways are open, and reset.
const CONFIG1: Register = unsafe { Register::at(BASE) };
const RECEIVES: u32 = 1 << 2;
const SENDS: u32 = 1;
// SAFETY: what is done to frames.
const CONFIG2: Register = unsafe { Register::at(BASE + 0x4) };
/// A preamble of 7 bytes, 4 bits at once; short frames are padded, checksums added; both ways at once.
const FULL_DUPLEX: u32 = 0x7000 | 1 << 8 | 1 << 2 | 1 << 1 | 1;
// SAFETY: bytes of the longest frame that is taken.
const LONGEST: Register = unsafe { Register::at(BASE + 0x10) };
// SAFETY: the first 4 bytes of the hardware address.
const ADDRESS1: Register = unsafe { Register::at(BASE + 0x40) };
// SAFETY: the other two.
const ADDRESS2: Register = unsafe { Register::at(BASE + 0x44) };
// SAFETY: which parts of the queues work.
const QUEUES: Register = unsafe { Register::at(BASE + 0x48) };
const ALL_PARTS: u32 = 0x1f << 8;
// SAFETY: frames that are dropped.
const DROPPED: Register = unsafe { Register::at(BASE + 0x58) };
// SAFETY: properties of a frame that do not matter.
const IGNORED: Register = unsafe { Register::at(BASE + 0x5c) };
const ALL_PROPERTIES: u32 = 0x3_ffff;
const MULTICAST: u32 = 1 << 8;

// SAFETY: starts to send.
const SEND: Register = unsafe { Register::at(BASE + 0x180) };
// SAFETY: the descriptor to send from; `Transmitter::new` says what is written there.
const SEND_FROM: Register = unsafe { Register::at(BASE + 0x184) };
// SAFETY: frames that have gone.
const SENT: Register = unsafe { Register::at(BASE + 0x188) };
/// There was no frame to go on with.
const UNDERRUN: u32 = 1 << 1;
// SAFETY: starts to take frames.
const TAKE: Register = unsafe { Register::at(BASE + 0x18c) };
// SAFETY: the descriptor to take them to; `Receiver` says what is written there.
const TAKE_TO: Register = unsafe { Register::at(BASE + 0x190) };
// SAFETY: frames that have come.
const CAME: Register = unsafe { Register::at(BASE + 0x194) };
/// There was no place for one.
const OVERFLOW: u32 = 1 << 2;
/// One has come or gone; written, it is one less.
const ONE: u32 = 1;
// SAFETY: what interrupts.
const INTERRUPTS: Register = unsafe { Register::at(BASE + 0x198) };
const FRAME_CAME: u32 = 1 << 4;

const EMPTY: u32 = 1 << 31;
const LEN: u32 = 0x7ff;

/// What the device reads and writes.
#[repr(C)]
struct Descriptor {
    frame: *mut u8,
    len: u32,
    next: *mut Self,
}

const NONE: Descriptor = Descriptor { frame: null_mut(), len: 0, next: null_mut() };

#[repr(C, align(4))]
struct Memory {
    came: [Descriptor; FRAMES],
    goes: Descriptor,
    frames: [[u8; BUFFER]; FRAMES],
    going: [u8; BUFFER],
}

struct Shared(UnsafeCell<Memory>);

// SAFETY: only the halves of the one MAC use it, each its own fields.
unsafe impl Sync for Shared {}

static MEMORY: Shared = Shared(UnsafeCell::new(Memory {
    came: [NONE; FRAMES],
    goes: NONE,
    frames: [[0; BUFFER]; FRAMES],
    going: [0; BUFFER],
}));

/// Whether there is one already.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The MAC.
pub type Mac = Ethernet<Receiver, Transmitter>;

/// Sets the MAC up with its hardware address. There is one: the second time, nothing.
pub fn new(address: [u8; 6]) -> Option<Mac> {
    // Nothing interrupts this that would do the same.
    if TAKEN.load(Ordering::Relaxed) {
        return None;
    }
    TAKEN.store(true, Ordering::Relaxed);
    // Ends the reset and stops everything.
    CONFIG1.write(0);
    SEND.write(0);
    TAKE.write(0);
    INTERRUPTS.write(0);
    CONFIG2.write(FULL_DUPLEX);
    LONGEST.write((FRAME + CHECKSUM) as u32);
    let [a, b, c, d, e, f] = address;
    ADDRESS1.write(u32::from_be_bytes([a, b, c, d]));
    ADDRESS2.write(u32::from_be_bytes([e, f, 0, 0]));
    QUEUES.write(ALL_PARTS);
    DROPPED.write(MULTICAST);
    IGNORED.write(ALL_PROPERTIES & !MULTICAST);
    let (receiver, transmitter) = (Receiver::new(), Transmitter::new());
    CONFIG1.write(RECEIVES | SENDS);
    TAKE.write(1);
    INTERRUPTS.write(FRAME_CAME);
    Some(Ethernet::new(receiver, transmitter, FRAME))
}

/// Frames that come.
#[derive(Debug)]
pub struct Receiver {
    /// The place of the oldest one.
    next: usize,
}

impl Receiver {
    fn new() -> Self {
        for at in 0..FRAMES {
            let next = Self::descriptor((at + 1) % FRAMES);
            let descriptor = Descriptor { frame: Self::buffer(at).cast(), len: EMPTY, next };
            // SAFETY: it is ours, and the device does not know it yet.
            unsafe { Self::descriptor(at).write_volatile(descriptor) };
        }
        fence(Ordering::SeqCst);
        TAKE_TO.write(Self::descriptor(0).expose_provenance() as u32);
        Self { next: 0 }
    }

    fn descriptor(at: usize) -> *mut Descriptor {
        // SAFETY: one of the descriptors; no reference is made.
        unsafe { addr_of_mut!((*MEMORY.0.get()).came[at]) }
    }

    fn buffer(at: usize) -> *mut [u8; BUFFER] {
        // SAFETY: one of the buffers; no reference is made.
        unsafe { addr_of_mut!((*MEMORY.0.get()).frames[at]) }
    }

    fn len(&self) -> u32 {
        // SAFETY: a word that the device may write meanwhile.
        unsafe { addr_of_mut!((*Self::descriptor(self.next)).len).read_volatile() }
    }
}

impl Receive for Receiver {
    fn is_ready(&self) -> bool {
        self.len() & EMPTY == 0
    }

    fn frame(&mut self) -> Option<&[u8]> {
        let len = self.len();
        if len & EMPTY != 0 {
            return None;
        }
        fence(Ordering::SeqCst);
        // SAFETY: the device does not write a buffer that is not empty, and nobody else has it.
        let buffer = unsafe { &*Self::buffer(self.next) };
        buffer.get(..(len & LEN) as usize)
    }

    fn release(&mut self) {
        let descriptor = Self::descriptor(self.next);
        CAME.write(ONE);
        fence(Ordering::SeqCst);
        // SAFETY: a word that the device may read at any time.
        unsafe { addr_of_mut!((*descriptor).len).write_volatile(EMPTY) };
        fence(Ordering::SeqCst);
        if TAKE.read() & 1 == 0 {
            // All places were full: the device stopped at the oldest, which is this one.
            CAME.write(OVERFLOW);
            TAKE_TO.write(descriptor.expose_provenance() as u32);
            TAKE.write(1);
        }
        self.next = (self.next + 1) % FRAMES;
    }
}

/// Frames that go.
#[derive(Debug)]
pub struct Transmitter(());

impl Transmitter {
    fn new() -> Self {
        let (at, frame) = (Self::descriptor(), Self::frame().cast());
        // SAFETY: it is ours, and the device does not know it yet.
        unsafe { at.write_volatile(Descriptor { frame, len: EMPTY, next: at }) };
        Self(())
    }

    fn descriptor() -> *mut Descriptor {
        // SAFETY: the descriptor; no reference is made.
        unsafe { addr_of_mut!((*MEMORY.0.get()).goes) }
    }

    fn frame() -> *mut [u8; BUFFER] {
        // SAFETY: the buffer; no reference is made.
        unsafe { addr_of_mut!((*MEMORY.0.get()).going) }
    }

    fn len() -> *mut u32 {
        // SAFETY: a field of the descriptor; no reference is made.
        unsafe { addr_of_mut!((*Self::descriptor()).len) }
    }
}

impl Transmit for Transmitter {
    fn is_free(&self) -> bool {
        // SAFETY: a word that the device may write meanwhile.
        unsafe { Self::len().read_volatile() & EMPTY != 0 }
    }

    fn buffer(&mut self) -> &mut [u8] {
        // SAFETY: the device is done with it, as the caller has asked, and nobody else has it.
        unsafe { &mut *Self::frame() }
    }

    fn send(&mut self, len: usize) {
        let sent = SENT.read();
        SENT.write(sent & (ONE | UNDERRUN));
        fence(Ordering::SeqCst);
        // SAFETY: a word that the device may read at any time; the frame is written.
        unsafe { Self::len().write_volatile(len as u32 & LEN) };
        fence(Ordering::SeqCst);
        SEND_FROM.write(Self::descriptor().expose_provenance() as u32);
        SEND.write(1);
    }
}
