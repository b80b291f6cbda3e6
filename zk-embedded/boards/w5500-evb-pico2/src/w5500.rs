//! WIZnet's W5500 as the network's device: its first socket in MACRAW mode moves whole Ethernet frames, and
//! has all of the chip's memory, 16 KiB each way. What the chip knows of TCP is not used.
//!
//! In its memory each frame that came lies behind two bytes, highest first: how many bytes there are with
//! these two. The chip drops frames for others, and those of multicast and IPv6.
//!
//! Its interrupt line is low from when a frame has come until it was told that this was seen, which happens
//! when nothing is left ([`W5500::oldest`]). So nobody sleeps over a frame.
//!
//! A chip that says what cannot be is reset and set up anew, at most once in [`RETRY_MS`]; so is one that
//! has forgotten, which is looked at as often. What lay in it is lost, as frames may be. Nothing here waits
//! for the chip longer than [`POLLS`] reads of a register.
//!
//! Source: W5500 datasheet 1.1.0, chapters 3 and 4.

use common::ethernet::Mac;
use w5500_ll::net::Eui48Addr;
use w5500_ll::{
    BufferSize, Mode, Protocol, Registers, SOCKETS, Sn, SocketCommand, SocketInterrupt,
    SocketInterruptMask, SocketMode, SocketStatus, VERSION,
};
use zk_embedded::net::Moment;
use zk_embedded::net::phy::{self, Device, DeviceCapabilities, Medium};

/// Bytes of the longest frame, without its checksum, which the chip makes and takes away.
pub const FRAME: usize = 1514;

/// Bytes of the shortest one; what is shorter is filled up with zeros.
const SHORTEST: usize = 60;

/// Bytes of an Ethernet header. Nothing shorter is a frame.
const HEADER: usize = 14;

/// Bytes before each frame that came.
const LENGTH: usize = 2;

/// Bytes of the chip's memory each way.
const MEMORY: u16 = 16 << 10;

/// How often a register is read until it must have changed. The chip needs some microseconds at the most, as
/// long as reading it once.
pub const POLLS: u32 = 1000;

/// How often a register of two bytes is read until it says the same twice: both are not read at one time.
const STEADY: u32 = 4;

/// How often the oldest frame may seem to be longer than what has come.
pub const PARTIAL_MAX: u32 = 8;

/// Milliseconds between two attempts to set the chip up, and after which it is asked whether it still is.
pub const RETRY_MS: i64 = 1000;

/// Milliseconds that sending a frame may take: less than 2 at 10 Mbit/s, if the link is there.
pub const SEND_MS: i64 = 1000;

const SOCKET: Sn = Sn::Sn0;

/// Why the chip cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The bus.
    Bus(E),
    /// It is no W5500: what it says instead of its version. Nobody at all reads as 0 or 255.
    Version(u8),
    /// It does not end its reset, or does not take a command.
    Stuck,
    /// Its socket is not open: the state that it says.
    State(u8),
    /// What it says of frames cannot be.
    Nonsense,
}

impl<E> From<E> for Error<E> {
    fn from(error: E) -> Self {
        Self::Bus(error)
    }
}

type Done<R, T> = Result<T, Error<<R as Registers>::Error>>;

/// Memory for a frame each way. It is lent, because a device with it would be moved over the stack.
#[derive(Debug)]
pub struct Frames {
    came: [u8; FRAME],
    goes: [u8; FRAME],
}

impl Frames {
    /// Without a frame.
    pub const fn new() -> Self {
        Self { came: [0; FRAME], goes: [0; FRAME] }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

/// The chip, on a bus that reads and writes its registers.
#[derive(Debug)]
pub struct W5500<'m, R, I> {
    line: Line<'m, R>,
    /// Whether its interrupt line is low.
    interrupt: I,
    came: &'m mut [u8; FRAME],
    partial: u32,
}

/// All but the frame that came: who takes one may have to answer it.
#[derive(Debug)]
struct Line<'m, R> {
    chip: R,
    address: [u8; 6],
    /// Whether it is set up.
    works: bool,
    /// When it was set up or asked, in milliseconds.
    asked: i64,
    /// When it began to send a frame that it has not said to have sent.
    sending: Option<i64>,
    goes: &'m mut [u8; FRAME],
}

impl<'m, R: Registers, I: Fn() -> bool> W5500<'m, R, I> {
    /// Sets a chip up that has ended its reset, with its hardware address. `interrupt` says whether its
    /// interrupt line is low.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(chip: R, interrupt: I, address: [u8; 6], frames: &'m mut Frames) -> Done<R, Self> {
        let Frames { came, goes } = frames;
        let mut line = Line { chip, address, works: true, asked: 0, sending: None, goes };
        line.set_up()?;
        Ok(Self { line, interrupt, came, partial: 0 })
    }

    /// Takes the oldest frame out of the chip, if one is there: its length.
    fn oldest(&mut self) -> Done<R, Option<usize>> {
        let chip = &mut self.line.chip;
        let mut there = steady(|| chip.sn_rx_rsr(SOCKET))?;
        if there == 0 {
            // From now on the line tells of the next one; what came before this is seen here.
            chip.set_sn_ir(SOCKET, SocketInterrupt::RECV_MASK)?;
            there = steady(|| chip.sn_rx_rsr(SOCKET))?;
        }
        if there == 0 {
            return Ok(None);
        }
        let at = chip.sn_rx_rd(SOCKET)?;
        let mut length = [0; LENGTH];
        chip.sn_rx_buf(SOCKET, at, &mut length)?;
        let all = u16::from_be_bytes(length);
        let Some(len) = usize::from(all).checked_sub(LENGTH) else { return Err(Error::Nonsense) };
        if there > MEMORY {
            return Err(Error::Nonsense);
        }
        if all > there {
            self.partial += 1;
            if self.partial <= PARTIAL_MAX {
                return Ok(None);
            }
        }
        self.partial = 0;
        if all > there {
            return Err(Error::Nonsense);
        }
        let place = self.came.get_mut(..len).filter(|place| place.len() >= HEADER);
        let wanted = place.is_some();
        if let Some(place) = place {
            chip.sn_rx_buf(SOCKET, at.wrapping_add(LENGTH as u16), place)?;
        }
        chip.set_sn_rx_rd(SOCKET, at.wrapping_add(all))?;
        self.line.command(SocketCommand::Recv)?;
        Ok(wanted.then_some(len))
    }
}

impl<R: Registers> Line<'_, R> {
    fn set_up(&mut self) -> Done<R, ()> {
        self.sending = None;
        let chip = &mut self.chip;
        version(chip)?;
        chip.set_mr(Mode::DEFAULT.rst())?;
        until(|| Ok(u8::from(chip.mr()?) & Mode::RST_MASK == 0))?;
        let [a, b, c, d, e, f] = self.address;
        chip.set_shar(&Eui48Addr::new(a, b, c, d, e, f))?;
        // The others first: together they must not have more than there is.
        for socket in SOCKETS.into_iter().rev() {
            let size = if socket == SOCKET { BufferSize::KB16 } else { BufferSize::KB0 };
            chip.set_sn_rxbuf_size(socket, size)?;
            chip.set_sn_txbuf_size(socket, size)?;
        }
        let mode = SocketMode::DEFAULT.set_protocol(Protocol::Macraw);
        chip.set_sn_mr(SOCKET, mode.enable_mfen().enable_mmb().enable_mip6b())?;
        chip.set_sn_imr(SOCKET, SocketInterruptMask::ALL_MASKED.unmask_recv())?;
        chip.set_simr(SOCKET.bitmask())?;
        self.command(SocketCommand::Open)?;
        self.is_open()
    }

    /// Whether the chip still is what it was set up to be.
    fn is_open(&mut self) -> Done<R, ()> {
        version(&mut self.chip)?;
        match self.chip.sn_sr(SOCKET)? {
            Ok(SocketStatus::Macraw) => Ok(()),
            Ok(other) => Err(Error::State(other.into())),
            Err(other) => Err(Error::State(other)),
        }
    }

    fn command(&mut self, command: SocketCommand) -> Done<R, ()> {
        self.chip.set_sn_cr(SOCKET, command)?;
        until(|| Ok(self.chip.sn_cr(SOCKET)? == 0))
    }

    /// Looks at the chip now and then, and sets it up if it has failed. Answers whether it works.
    fn works(&mut self, now: i64) -> bool {
        // Time does not go back; if it did, it would be as if it had passed.
        if !(0..RETRY_MS).contains(&(now - self.asked)) {
            self.asked = now;
            self.works = self.works && self.is_open().is_ok() || self.set_up().is_ok();
        }
        self.works
    }

    /// What came of it; if nothing, the chip is set up when it is time.
    fn settle<T>(&mut self, done: Done<R, Option<T>>) -> Option<T> {
        done.unwrap_or_else(|_| {
            self.works = false;
            None
        })
    }

    /// Whether a frame may go.
    fn is_free(&mut self, now: i64) -> Done<R, bool> {
        if let Some(since) = self.sending {
            if !self.chip.sn_ir(SOCKET)?.sendok_raised() {
                let waits = (0..SEND_MS).contains(&(now - since));
                return if waits { Ok(false) } else { Err(Error::Stuck) };
            }
            self.chip.set_sn_ir(SOCKET, SocketInterrupt::SENDOK_MASK)?;
            self.sending = None;
        }
        let free = steady(|| self.chip.sn_tx_fsr(SOCKET))?;
        Ok(usize::from(free) >= FRAME)
    }

    /// As [`is_free`](Self::is_free), of a chip that works.
    fn free(&mut self, now: i64) -> bool {
        let free = self.is_free(now).map(Some);
        self.settle(free).unwrap_or(false)
    }

    /// Sends the first `len` bytes of `goes`.
    fn send(&mut self, len: usize, now: i64) -> Done<R, ()> {
        let frame = self.goes.get(..len).unwrap_or_default();
        let at = self.chip.sn_tx_wr(SOCKET)?;
        self.chip.set_sn_tx_buf(SOCKET, at, frame)?;
        // No frame has more than FRAME bytes.
        self.chip.set_sn_tx_wr(SOCKET, at.wrapping_add(frame.len() as u16))?;
        self.command(SocketCommand::Send)?;
        self.sending = Some(now);
        Ok(())
    }
}

fn version<R: Registers>(chip: &mut R) -> Done<R, ()> {
    match chip.version()? {
        VERSION => Ok(()),
        other => Err(Error::Version(other)),
    }
}

/// Asks until the answer is yes.
fn until<E>(mut is_so: impl FnMut() -> Result<bool, Error<E>>) -> Result<(), Error<E>> {
    for _ in 0..POLLS {
        if is_so()? {
            return Ok(());
        }
    }
    Err(Error::Stuck)
}

/// Reads a register of two bytes until it says the same twice, or for the last time.
fn steady<E>(mut read: impl FnMut() -> Result<u16, E>) -> Result<u16, Error<E>> {
    let mut last = read()?;
    for _ in 1..STEADY {
        let next = read()?;
        if next == last {
            break;
        }
        last = next;
    }
    Ok(last)
}

impl<R: Registers, I: Fn() -> bool> Mac for W5500<'_, R, I> {
    fn is_ready(&self) -> bool {
        // The line of a chip that does not work says nothing.
        self.line.works && (self.interrupt)()
    }
}

impl<'m, R: Registers, I: Fn() -> bool> Device for W5500<'m, R, I> {
    type RxToken<'a>
        = Frame<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Place<'a, 'm, R>
    where
        Self: 'a;

    fn receive(&mut self, now: Moment) -> Option<(Frame<'_>, Place<'_, 'm, R>)> {
        let now = now.total_millis();
        // Whoever takes a frame may have to answer it.
        if !self.line.works(now) || !self.line.free(now) {
            return None;
        }
        let oldest = self.oldest();
        let len = self.line.settle(oldest)?;
        let frame = Frame(self.came.get(..len).unwrap_or_default());
        Some((frame, Place { line: &mut self.line, now }))
    }

    fn transmit(&mut self, now: Moment) -> Option<Place<'_, 'm, R>> {
        let now = now.total_millis();
        let line = &mut self.line;
        (line.works(now) && line.free(now)).then_some(Place { line, now })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities
    }
}

/// A frame that came. The chip does not have it any more.
#[derive(Debug)]
pub struct Frame<'a>(&'a [u8]);

impl phy::RxToken for Frame<'_> {
    fn consume<A, F: FnOnce(&[u8]) -> A>(self, f: F) -> A {
        f(self.0)
    }
}

/// The place of a frame that goes.
#[derive(Debug)]
pub struct Place<'a, 'm, R> {
    line: &'a mut Line<'m, R>,
    now: i64,
}

impl<R: Registers> phy::TxToken for Place<'_, '_, R> {
    fn consume<A, F: FnOnce(&mut [u8]) -> A>(self, len: usize, f: F) -> A {
        let Self { line, now } = self;
        // The network was told how long a frame is at the most.
        let answer = f(&mut line.goes[..len]);
        if let Some(rest) = line.goes.get_mut(len..SHORTEST) {
            rest.fill(0);
        }
        let sent = line.send(len.max(SHORTEST), now).map(Some);
        line.settle(sent);
        answer
    }
}

#[cfg(test)]
mod tests;
