//! The board's SPI flash, an ISSI IS25WP256 on the first of the chip's SPI controllers.

use common::nor::{Chip, Error, SpiNor};
use common::register::Register;
use common::spi::{self, Data, Silent};

/// 32 MiB in blocks of 4 KiB; the commands with addresses of 4 bytes.
const IS25WP256: Chip = Chip {
    identity: [0x9d, 0x70, 0x19],
    capacity: 32 << 20,
    erase_size: 4 << 10,
    address: 4,
    read: 0x13,
    program: 0x12,
    erase: 0x21,
};

const BASE: usize = 0x1004_0000;
// SAFETY: the divisor of the clock; what the controller does stays on its bus.
const CLOCK: Register = unsafe { Register::at(BASE) };
// SAFETY: which device is meant.
const DEVICE: Register = unsafe { Register::at(BASE + 0x10) };
// SAFETY: how long it is selected.
const SELECT: Register = unsafe { Register::at(BASE + 0x18) };
const AUTO: u32 = 0;
const HOLD: u32 = 2;
// SAFETY: how bytes are sent.
const FORMAT: Register = unsafe { Register::at(BASE + 0x40) };
/// 8 bits, on one wire each way.
const BYTES: u32 = 8 << 16;
// SAFETY: the queue of what goes.
const TRANSMIT: Register = unsafe { Register::at(BASE + 0x48) };
const QUEUE_FULL: u32 = 1 << 31;
// SAFETY: the queue of what comes.
const RECEIVE: Register = unsafe { Register::at(BASE + 0x4c) };
const NOTHING_CAME: u32 = 1 << 31;
// SAFETY: whether the flash is mapped into memory instead.
const MAPPED: Register = unsafe { Register::at(BASE + 0x60) };

/// Bytes that either queue takes.
const QUEUE: usize = 8;

/// The controller.
#[derive(Debug)]
pub struct Bus(());

/// The board's flash.
pub type Nor = SpiNor<Bus>;

/// Sets the controller up and looks for the flash.
///
/// # Errors
/// Those of [`SpiNor::new`].
pub fn new() -> Result<Nor, Error> {
    MAPPED.write(0);
    SELECT.write(AUTO);
    // The bus of the chip's devices / 8.
    CLOCK.write(3);
    DEVICE.write(0);
    FORMAT.write(BYTES);
    SpiNor::new(Bus(()), IS25WP256)
}

/// Sends one byte and takes the one that comes for it.
fn byte(out: u8) -> Result<u8, Silent> {
    spi::until(|| TRANSMIT.read() & QUEUE_FULL == 0)?;
    TRANSMIT.write(u32::from(out));
    let mut came = NOTHING_CAME;
    spi::until(|| {
        came = RECEIVE.read();
        came & NOTHING_CAME == 0
    })?;
    Ok(came as u8)
}

fn bytes(command: &[u8], data: Data<'_>) -> Result<(), Silent> {
    for out in command {
        byte(*out)?;
    }
    match data {
        Data::To(bytes) => bytes.iter().try_for_each(|out| byte(*out).map(|_| ())),
        Data::From(bytes) => bytes.iter_mut().try_for_each(|place| {
            *place = byte(0)?;
            Ok(())
        }),
    }
}

impl spi::Spi for Bus {
    const DATA_MAX: usize = usize::MAX;

    fn exchange(&mut self, command: &[u8], data: Data<'_>) -> Result<(), Silent> {
        // What an exchange that failed has left there.
        for _ in 0..QUEUE {
            RECEIVE.read();
        }
        SELECT.write(HOLD);
        let moved = bytes(command, data);
        SELECT.write(AUTO);
        moved
    }
}
