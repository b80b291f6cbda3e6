//! The first of the chip's two UARTs, a 16550: 16 bytes that come, 16 that go.
//!
//! Its speed is what the boot loader has set. It has no other memory than its own: what comes while the loop
//! is elsewhere has to wait at the other end, as it does in QEMU, or is lost.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

use common::line::Line;
use common::register::Register;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

const BASE: usize = 0x4000_0000;
// SAFETY: the oldest byte that has come, and the next that goes.
const DATA: Register = unsafe { Register::at(BASE) };
// SAFETY: what interrupts.
const INTERRUPTS: Register = unsafe { Register::at(BASE + 0x4) };
/// A byte has come.
const CAME: u32 = 1;
// SAFETY: its two queues.
const QUEUES: Register = unsafe { Register::at(BASE + 0x8) };
/// They are used, and empty.
const USED: u32 = 1;
const EMPTIED: u32 = 1 << 1 | 1 << 2;
// SAFETY: the form of a byte.
const FORM: Register = unsafe { Register::at(BASE + 0xc) };
/// 8 bits, no parity, one stop bit.
const EIGHT: u32 = 3;
// SAFETY: where it stands; reading forgets what was wrong.
const STATUS: Register = unsafe { Register::at(BASE + 0x14) };
const READY: u32 = 1;
/// A byte had no place, or was no byte.
const WRONG: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4;
/// All is gone.
const GONE: u32 = 1 << 5;

/// Bytes of a queue.
const QUEUE: usize = 16;

/// The UART.
#[derive(Debug)]
pub struct Uart {
    /// Something was wrong with what has come.
    wrong: Cell<bool>,
}

/// The UART, once.
pub fn new() -> Option<Uart> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return None;
    }
    INTERRUPTS.write(0);
    FORM.write(EIGHT);
    QUEUES.write(USED | EMPTIED);
    // It wakes the processor: nothing handles it.
    INTERRUPTS.write(CAME);
    Some(Uart { wrong: Cell::new(false) })
}

impl Uart {
    fn status(&self) -> u32 {
        let status = STATUS.read();
        self.wrong.set(self.wrong.get() || status & WRONG > 0);
        status
    }
}

impl Line for Uart {
    fn is_ready(&self) -> bool {
        self.status() & READY > 0
    }
}

impl ErrorType for Uart {
    type Error = ErrorKind;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.status() & READY > 0 || self.wrong.get())
    }
}

impl Read for Uart {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.wrong.take() {
            return Err(ErrorKind::InvalidData);
        }
        let mut len = 0;
        for byte in bytes {
            if len > 0 && self.status() & READY == 0 {
                break;
            }
            while len == 0 && self.status() & READY == 0 {}
            *byte = DATA.read() as u8;
            len += 1;
        }
        Ok(len)
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.status() & GONE > 0)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        while self.status() & GONE == 0 {}
        let now = &bytes[..bytes.len().min(QUEUE)];
        for byte in now {
            DATA.write(u32::from(*byte));
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        while self.status() & GONE == 0 {}
        Ok(())
    }
}
