//! The board's W5500, and how it is wired to the chip.

use core::convert::Infallible;
use core::mem;

use common::ethernet::Mac;
use embassy_rp::Peri;
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{PIN_16, PIN_17, PIN_18, PIN_19, PIN_20, PIN_21, SPI0};
use embassy_rp::spi::{Config, Spi};
use embedded_hal_bus::spi::{DeviceError, ExclusiveDevice};
use w5500_ll::eh1;

use crate::clock::Wait;
use crate::w5500::{Error, Frames, W5500};

/// Hertz of the bus, at the most: the W5500 is sure to follow 33.3 MHz. It becomes 25 MHz.
const SPEED: u32 = 33_000_000;

/// The number of the pin of its interrupt line.
pub(crate) const INTERRUPT: usize = 21;

/// What the W5500 is wired to.
#[expect(missing_docs, reason = "the names of the chip's pins say it")]
#[expect(missing_debug_implementations, reason = "the chip's crate has none")]
pub struct Wires {
    pub spi: Peri<'static, SPI0>,
    pub miso: Peri<'static, PIN_16>,
    pub select: Peri<'static, PIN_17>,
    pub clock: Peri<'static, PIN_18>,
    pub mosi: Peri<'static, PIN_19>,
    pub reset: Peri<'static, PIN_20>,
    pub interrupt: Peri<'static, PIN_21>,
}

/// Resets the W5500, and sets it up with its hardware address.
///
/// # Errors
/// [`Error`]: it does not answer as one.
pub fn new(
    wires: Wires,
    address: [u8; 6],
    frames: &'static mut Frames,
) -> Result<impl Mac, Error<DeviceError<embassy_rp::spi::Error, Infallible>>> {
    let mut config = Config::default();
    config.frequency = SPEED;
    let bus = Spi::new_blocking(wires.spi, wires.clock, wires.mosi, wires.miso, config);
    let select = Output::new(wires.select, Level::High);
    let Ok(device) = ExclusiveDevice::new_no_delay(bus, select);
    let mut reset = Output::new(wires.reset, Level::High);
    let Ok(()) = eh1::reset(&mut reset, &mut Wait);
    // It stays as it is for good.
    mem::forget(reset);
    let line = Input::new(wires.interrupt, Pull::Up);
    W5500::new(eh1::vdm::W5500::new(device), move || line.is_low(), address, frames)
}
