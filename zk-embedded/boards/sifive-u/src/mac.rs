//! The chip's Ethernet MAC, a Cadence GEM, and its DMA: 6 frames that come, 1 that goes, 4.5 KiB in all.
//!
//! They are short (an IP MTU of 576): what comes for everybody on the network may be longer, and is not
//! taken.
//!
//! A descriptor is two words. Of a frame that comes: where it is, with two bits that say that it is
//! there and that this is the last descriptor; its length, with bits that say that it begins and that
//! it ends here. Of one that goes: where it is; its length, with bits that say that it has gone, that
//! this is the last descriptor, and that the frame ends here.

use core::cell::UnsafeCell;
use core::ptr::addr_of_mut;
use core::sync::atomic::{AtomicBool, Ordering, fence};

use common::ethernet::{Ethernet, Receive, Transmit};
use common::register::Register;

/// The number of its interrupt.
pub(crate) const INTERRUPT: u32 = 53;

/// Frames that may have come.
const CAME: usize = 6;
/// Bytes of the longest frame.
const FRAME: usize = 14 + 576;
/// Bytes of a frame's place: the device counts them in units of 64.
const BUFFER: usize = FRAME.next_multiple_of(64);

const BASE: usize = 0x1009_0000;
// SAFETY: which ways are open; starts to send.
const CONTROL: Register = unsafe { Register::at(BASE) };
const OPEN: u32 = 1 << 3 | 1 << 2;
const SEND: u32 = 1 << 9;
// SAFETY: what is done to frames.
const CONFIG: Register = unsafe { Register::at(BASE + 0x4) };
/// 100 Mbit/s both ways at once, frames of up to 1536 bytes, without their checksum; the management
/// clock that QEMU and the chip start with.
const FRAMES: u32 = 1 << 19 | 1 << 17 | 1 << 8 | 1 << 1 | 1;
// SAFETY: how its DMA uses memory.
const DMA: Register = unsafe { Register::at(BASE + 0x10) };
/// Buffers of 64 times that many bytes, all of the device's own memory, bursts of 16 words.
const BUFFERS: u32 = (BUFFER as u32 / 64) << 16 | 1 << 10 | 3 << 8 | 1 << 4;
// SAFETY: what has become of frames that went.
const SENT: Register = unsafe { Register::at(BASE + 0x14) };
// SAFETY: the first descriptor of frames that come; `Receiver::new` says what is written there.
const TAKE_TO: Register = unsafe { Register::at(BASE + 0x18) };
// SAFETY: the first descriptor of frames that go; `Transmitter::new` says what is written there.
const SEND_FROM: Register = unsafe { Register::at(BASE + 0x1c) };
// SAFETY: what has become of frames that came.
const TAKEN_IN: Register = unsafe { Register::at(BASE + 0x20) };
const NO_PLACE: u32 = 1;
// SAFETY: why it interrupts; reading takes it back.
const WHY: Register = unsafe { Register::at(BASE + 0x24) };
// SAFETY: what interrupts from now on.
const INTERRUPTS: Register = unsafe { Register::at(BASE + 0x28) };
// SAFETY: what interrupts no more.
const SILENT: Register = unsafe { Register::at(BASE + 0x2c) };
const ALL: u32 = u32::MAX;
const FRAME_CAME: u32 = 1 << 1;
// SAFETY: the first 4 bytes of the hardware address, the first one lowest.
const ADDRESS1: Register = unsafe { Register::at(BASE + 0x88) };
// SAFETY: the other two.
const ADDRESS2: Register = unsafe { Register::at(BASE + 0x8c) };

/// Of the first word of a frame that comes: it is there.
const THERE: u32 = 1;
/// This is the last descriptor.
const LAST_CAME: u32 = 1 << 1;
/// Of the second word: its length, if it ends here.
const LEN: u32 = 0x1fff;
/// It begins and ends here. A longer one than a place takes several.
const WHOLE: u32 = 1 << 15 | 1 << 14;
/// Of the second word of one that goes: it has gone.
const GONE: u32 = 1 << 31;
/// This is the last descriptor.
const LAST_GOES: u32 = 1 << 30;
/// The frame ends here.
const ENDS: u32 = 1 << 15;

type Descriptor = [u32; 2];

#[repr(C, align(64))]
struct Memory {
    came: [Descriptor; CAME],
    goes: Descriptor,
    frames: [[u8; BUFFER]; CAME],
    going: [u8; BUFFER],
}

struct Shared(UnsafeCell<Memory>);

// SAFETY: only the halves of the one MAC use it, each its own fields.
unsafe impl Sync for Shared {}

static MEMORY: Shared = Shared(UnsafeCell::new(Memory {
    came: [[0; 2]; CAME],
    goes: [0; 2],
    frames: [[0; BUFFER]; CAME],
    going: [0; BUFFER],
}));

/// Whether there is one already.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The MAC.
pub type Mac = Ethernet<Receiver, Transmitter>;

/// Sets the MAC up with its hardware address. There is one: the second time, nothing.
pub fn new(address: [u8; 6]) -> Option<Mac> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    CONTROL.write(0);
    SILENT.write(ALL);
    SENT.write(ALL);
    TAKEN_IN.write(ALL);
    CONFIG.write(FRAMES);
    DMA.write(BUFFERS);
    let [a, b, c, d, e, f] = address;
    ADDRESS1.write(u32::from_le_bytes([a, b, c, d]));
    ADDRESS2.write(u32::from_le_bytes([e, f, 0, 0]));
    let (receiver, transmitter) = (Receiver::new(), Transmitter::new());
    CONTROL.write(OPEN);
    INTERRUPTS.write(FRAME_CAME);
    Some(Ethernet::new(receiver, transmitter, FRAME))
}

/// Takes the interrupt back.
pub(crate) fn acknowledge() {
    WHY.read();
}

fn word(at: usize) -> u32 {
    // Memory of this chip lies below 4 GiB.
    at as u32
}

/// Frames that come.
#[derive(Debug)]
pub struct Receiver {
    /// The place of the oldest one.
    next: usize,
}

impl Receiver {
    fn new() -> Self {
        let mut receiver = Self { next: 0 };
        for _ in 0..CAME {
            receiver.give();
        }
        TAKE_TO.write(word(Self::descriptor(0).expose_provenance()));
        receiver
    }

    fn descriptor(at: usize) -> *mut Descriptor {
        // SAFETY: one of the descriptors; no reference is made.
        unsafe { addr_of_mut!((*MEMORY.0.get()).came[at]) }
    }

    fn buffer(at: usize) -> *mut [u8; BUFFER] {
        // SAFETY: one of the buffers; no reference is made.
        unsafe { addr_of_mut!((*MEMORY.0.get()).frames[at]) }
    }

    /// Gives the next place to the device.
    fn give(&mut self) {
        let at = self.next;
        let first: *mut u32 = Self::descriptor(at).cast();
        let last = if at + 1 == CAME { LAST_CAME } else { 0 };
        let frame = word(Self::buffer(at).expose_provenance());
        fence(Ordering::SeqCst);
        // SAFETY: a word that the device may read at any time.
        unsafe { first.write_volatile(frame | last) };
        fence(Ordering::SeqCst);
        self.next = (at + 1) % CAME;
    }

    fn words(&self) -> Descriptor {
        // SAFETY: words that the device may write meanwhile.
        unsafe { Self::descriptor(self.next).read_volatile() }
    }
}

impl Receive for Receiver {
    fn is_ready(&self) -> bool {
        self.words()[0] & THERE != 0
    }

    fn frame(&mut self) -> Option<&[u8]> {
        if !self.is_ready() {
            return None;
        }
        fence(Ordering::SeqCst);
        let second = self.words()[1];
        if second & WHOLE != WHOLE {
            return None;
        }
        // SAFETY: the device does not write the buffer of a frame that is there, and nobody else has
        // it.
        let buffer = unsafe { &*Self::buffer(self.next) };
        buffer.get(..(second & LEN) as usize)
    }

    fn release(&mut self) {
        self.give();
        if TAKEN_IN.read() & NO_PLACE != 0 {
            // It has seen a full place where it wanted an empty one, and looks again when told.
            TAKEN_IN.write(NO_PLACE);
            CONTROL.write(OPEN);
        }
    }
}

/// The frame that goes: one at a time.
#[derive(Debug)]
pub struct Transmitter(());

impl Transmitter {
    fn new() -> Self {
        let frame = word(Self::frame().expose_provenance());
        // SAFETY: it is ours, and the device does not know it yet.
        unsafe { Self::descriptor().write_volatile([frame, GONE | LAST_GOES]) };
        fence(Ordering::SeqCst);
        SEND_FROM.write(word(Self::descriptor().expose_provenance()));
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

    fn second() -> *mut u32 {
        // SAFETY: a word of the descriptor; no reference is made.
        unsafe { addr_of_mut!((*Self::descriptor())[1]) }
    }
}

impl Transmit for Transmitter {
    fn is_free(&self) -> bool {
        // SAFETY: a word that the device may write meanwhile.
        unsafe { Self::second().read_volatile() & GONE != 0 }
    }

    fn buffer(&mut self) -> &mut [u8] {
        // SAFETY: the device is done with it, as the caller has asked, and nobody else has it.
        unsafe { &mut *Self::frame() }
    }

    fn send(&mut self, len: usize) {
        let second = len as u32 & LEN | ENDS | LAST_GOES;
        fence(Ordering::SeqCst);
        // SAFETY: a word that the device may read at any time; the frame is written.
        unsafe { Self::second().write_volatile(second) };
        fence(Ordering::SeqCst);
        CONTROL.write(OPEN | SEND);
    }
}
