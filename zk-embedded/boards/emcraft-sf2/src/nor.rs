//! The module's SPI flash, a Spansion S25SL128 on the first of the chip's SPI controllers.

use common::nor::{Chip, Error, SpiNor};
use common::register::Register;
use common::spi::{self, Data, Silent};

/// 16 MiB in blocks of 64 KiB.
const S25SL128: Chip = Chip {
    identity: [0x01, 0x20, 0x18],
    capacity: 16 << 20,
    erase_size: 64 << 10,
    address: 3,
    read: 0x03,
    program: 0x02,
    erase: 0xd8,
};

// SAFETY: the controller's control register; what it does stays on its bus.
const CONTROL: Register = unsafe { Register::at(0x4000_1000) };
const RESET: u32 = 1 << 31;
const ENABLE: u32 = 1;
const MASTER: u32 = 1 << 1;
/// Bits of the number of bytes that one selection lasts.
const COUNT: u32 = 8;
/// The selection lasts that long, not a byte.
const HOLD: u32 = 1 << 26;
/// The queues take 32 bytes, not 4 words.
const BYTES: u32 = 1 << 29;
// SAFETY: bits of a word on the bus.
const WIDTH: Register = unsafe { Register::at(0x4000_1004) };
// SAFETY: the controller's status.
const STATUS: Register = unsafe { Register::at(0x4000_1008) };
const NOTHING_CAME: u32 = 1 << 6;
const QUEUE_FULL: u32 = 1 << 8;
// SAFETY: the queue of what comes.
const RECEIVE: Register = unsafe { Register::at(0x4000_1010) };
// SAFETY: the queue of what goes.
const TRANSMIT: Register = unsafe { Register::at(0x4000_1014) };
// SAFETY: the divisor of the clock.
const CLOCK: Register = unsafe { Register::at(0x4000_1018) };
// SAFETY: which device is selected.
const SELECT: Register = unsafe { Register::at(0x4000_101c) };

/// The controller.
#[derive(Debug)]
pub struct Bus(());

/// The module's flash.
pub type Nor = SpiNor<Bus>;

/// Sets the controller up and looks for the flash.
///
/// # Errors
/// Those of [`SpiNor::new`].
pub fn new() -> Result<Nor, Error> {
    CONTROL.write(RESET);
    CONTROL.write(MASTER | BYTES);
    WIDTH.write(8);
    // 71 MHz / 4.
    CLOCK.write(1);
    SELECT.write(1);
    SpiNor::new(Bus(()), S25SL128)
}

/// Sends one byte and takes the one that comes for it.
fn byte(out: u8) -> Result<u8, Silent> {
    spi::until(|| STATUS.read() & QUEUE_FULL == 0)?;
    TRANSMIT.write(u32::from(out));
    spi::until(|| STATUS.read() & NOTHING_CAME == 0)?;
    Ok(RECEIVE.read() as u8)
}

impl spi::Spi for Bus {
    // The count has 16 bits, and the command needs some.
    const DATA_MAX: usize = 32 << 10;

    fn exchange(&mut self, command: &[u8], data: Data<'_>) -> Result<(), Silent> {
        let len = match &data {
            Data::To(bytes) => bytes.len(),
            Data::From(bytes) => bytes.len(),
        };
        // What an exchange that failed has left there.
        for _ in 0..32 {
            if STATUS.read() & NOTHING_CAME == 0 {
                RECEIVE.read();
            }
        }
        let count = (command.len() + len) as u32;
        CONTROL.write(MASTER | BYTES | HOLD | count << COUNT);
        CONTROL.write(MASTER | BYTES | HOLD | count << COUNT | ENABLE);
        for out in command {
            byte(*out)?;
        }
        match data {
            Data::To(bytes) => bytes.iter().try_for_each(|out| byte(*out).map(|_| ())),
            Data::From(bytes) => bytes.iter_mut().try_for_each(|byte_in| {
                *byte_in = byte(0)?;
                Ok(())
            }),
        }
    }
}
