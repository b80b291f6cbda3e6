//! The device, against as much of the chip as it uses.

use core::cell::RefCell;
use std::boxed::Box;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use phy::{RxToken as _, TxToken as _};
use w5500_ll::{Reg, SnReg};

use super::*;

mod tcp;

const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 7];
const COMMON: u8 = 0;
const SOCKET_0: u8 = 1;
const SEND_0: u8 = 2;
const RECEIVE_0: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

/// As much of the chip as its datasheet promises to whoever uses one socket for frames.
struct Chip {
    common: [u8; 0x40],
    socket: [u8; 0x30],
    sends: Vec<u8>,
    receives: Vec<u8>,
    /// Frames that have gone.
    sent: Vec<Vec<u8>>,
    /// Frames that are being sent, unless they are sent at once.
    held: Option<VecDeque<Vec<u8>>>,
    resets: u32,
    /// It takes no commands.
    deaf: bool,
    /// Whatever is read then.
    noise: Option<u32>,
    broken: bool,
    /// What was read and written, in all.
    used: u32,
}

impl Chip {
    fn new() -> Self {
        let mut chip = Self {
            common: [0; 0x40],
            socket: [0; 0x30],
            sends: vec![0xaa; 16 << 10],
            receives: vec![0xaa; 16 << 10],
            sent: Vec::new(),
            held: None,
            resets: 0,
            deaf: false,
            noise: None,
            broken: false,
            used: 0,
        };
        chip.reset();
        chip
    }

    fn reset(&mut self) {
        self.common = [0; 0x40];
        self.common[Reg::VERSIONR as usize] = 4;
        self.socket = [0; 0x30];
        (self.socket[SnReg::RXBUF_SIZE as usize], self.socket[SnReg::TXBUF_SIZE as usize]) = (2, 2);
        self.set(SnReg::TX_FSR0, 2 << 10);
        self.resets += 1;
    }

    fn get(&self, register: SnReg) -> u16 {
        let at = register as usize;
        u16::from_be_bytes([self.socket[at], self.socket[at + 1]])
    }

    fn set(&mut self, register: SnReg, value: u16) {
        self.socket[register as usize..][..2].copy_from_slice(&value.to_be_bytes());
    }

    fn is_open(&self) -> bool {
        self.socket[SnReg::SR as usize] == 0x42
    }

    fn line(&self) -> bool {
        let (ir, imr) = (self.socket[SnReg::IR as usize], self.socket[SnReg::IMR as usize]);
        ir & imr & 0x1f != 0 && self.common[Reg::SIMR as usize] & 1 != 0
    }

    /// A frame comes, unless there is no room.
    fn deliver(&mut self, frame: &[u8]) -> bool {
        let mut bytes = (frame.len() as u16 + 2).to_be_bytes().to_vec();
        bytes.extend(frame);
        let room = self.receives.len() - usize::from(self.get(SnReg::RX_RSR0));
        let fits = self.is_open() && bytes.len() <= room;
        if fits {
            self.raw(&bytes);
        }
        fits
    }

    /// Bytes come, whatever they are.
    fn raw(&mut self, bytes: &[u8]) {
        let at = self.get(SnReg::RX_WR0);
        let size = self.receives.len();
        for (n, byte) in bytes.iter().enumerate() {
            self.receives[(usize::from(at) + n) % size] = *byte;
        }
        self.set(SnReg::RX_WR0, at.wrapping_add(bytes.len() as u16));
        let there = self.get(SnReg::RX_WR0).wrapping_sub(self.get(SnReg::RX_RD0));
        self.set(SnReg::RX_RSR0, there);
        self.socket[SnReg::IR as usize] |= SocketInterrupt::RECV_MASK;
    }

    fn command(&mut self, command: u8) {
        match command {
            0x01 => {
                assert_eq!(self.socket[SnReg::MR as usize], 0xb4, "MACRAW with filters");
                assert_eq!(self.socket[SnReg::RXBUF_SIZE as usize], 16);
                assert_eq!(self.common[Reg::SHAR0 as usize..][..6], ADDRESS);
                self.set(SnReg::TX_FSR0, 16 << 10);
                self.socket[SnReg::SR as usize] = 0x42;
            }
            0x20 => {
                let (from, to) = (self.get(SnReg::TX_RD0), self.get(SnReg::TX_WR0));
                let len = to.wrapping_sub(from);
                let size = self.sends.len();
                let at = |n| self.sends[(usize::from(from) + usize::from(n)) % size];
                let frame: Vec<u8> = (0..len).map(at).collect();
                self.set(SnReg::TX_RD0, to);
                self.set(SnReg::TX_FSR0, (16_u16 << 10).saturating_sub(len));
                match &mut self.held {
                    Some(held) => held.push_back(frame),
                    None => self.gone(frame),
                }
            }
            0x40 => {
                let there = self.get(SnReg::RX_WR0).wrapping_sub(self.get(SnReg::RX_RD0));
                self.set(SnReg::RX_RSR0, there);
            }
            other => panic!("command {other:#x}"),
        }
    }

    fn gone(&mut self, frame: Vec<u8>) {
        self.sent.push(frame);
        self.set(SnReg::TX_FSR0, 16 << 10);
        self.socket[SnReg::IR as usize] |= SocketInterrupt::SENDOK_MASK;
    }

    fn release(&mut self) {
        let frame = self.held.as_mut().and_then(VecDeque::pop_front).unwrap();
        self.gone(frame);
    }

    fn used(&mut self) -> Result<(), Broken> {
        self.used += 1;
        if self.broken { Err(Broken) } else { Ok(()) }
    }
}

/// The chip on its bus.
#[derive(Clone)]
struct Bus(Rc<RefCell<Chip>>);

impl Registers for Bus {
    type Error = Broken;

    fn read(&mut self, address: u16, block: u8, data: &mut [u8]) -> Result<(), Broken> {
        let mut chip = self.0.borrow_mut();
        chip.used()?;
        if let Some(state) = &mut chip.noise {
            for byte in data {
                *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (*state >> 24) as u8;
            }
            return Ok(());
        }
        let at = usize::from(address);
        match block {
            COMMON => data.copy_from_slice(&chip.common[at..at + data.len()]),
            SOCKET_0 => data.copy_from_slice(&chip.socket[at..at + data.len()]),
            RECEIVE_0 => {
                let size = chip.receives.len();
                for (n, byte) in data.iter_mut().enumerate() {
                    *byte = chip.receives[(at + n) % size];
                }
            }
            other => panic!("block {other} is read"),
        }
        Ok(())
    }

    fn write(&mut self, address: u16, block: u8, data: &[u8]) -> Result<(), Broken> {
        let mut chip = self.0.borrow_mut();
        chip.used()?;
        let at = usize::from(address);
        match block {
            COMMON if address == Reg::MR as u16 => {
                assert_eq!(data, [0x80]);
                chip.reset();
            }
            COMMON => chip.common[at..at + data.len()].copy_from_slice(data),
            SOCKET_0 if address == SnReg::CR as u16 => {
                if chip.deaf {
                    chip.socket[at] = data[0];
                } else {
                    chip.command(data[0]);
                }
            }
            // Writing 1 takes it back.
            SOCKET_0 if address == SnReg::IR as u16 => chip.socket[at] &= !data[0],
            SOCKET_0 => chip.socket[at..at + data.len()].copy_from_slice(data),
            SEND_0 => {
                let size = chip.sends.len();
                for (n, byte) in data.iter().enumerate() {
                    chip.sends[(at + n) % size] = *byte;
                }
            }
            // Sizes of the other sockets.
            other if other % 4 == 1 && other > SOCKET_0 => assert_eq!(data, [0]),
            other => panic!("block {other} is written"),
        }
        Ok(())
    }
}

type Tried = W5500<'static, Bus, Box<dyn Fn() -> bool>>;

fn frames() -> &'static mut Frames {
    Box::leak(Box::default())
}

fn new() -> (Rc<RefCell<Chip>>, Tried) {
    let chip = Rc::new(RefCell::new(Chip::new()));
    let line = chip.clone();
    let interrupt = Box::new(move || line.borrow().line());
    let device = W5500::new(Bus(chip.clone()), interrupt as _, ADDRESS, frames()).unwrap();
    (chip, device)
}

fn at(ms: i64) -> Moment {
    Moment::from_millis(ms)
}

/// The oldest frame, if there is one.
fn take(device: &mut Tried, ms: i64) -> Option<Vec<u8>> {
    let (frame, _) = device.receive(at(ms))?;
    Some(frame.consume(<[u8]>::to_vec))
}

fn frame(byte: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| byte.wrapping_add(n as u8)).collect()
}

#[test]
fn frames_come_in_their_order_around_the_end_of_the_memory() {
    let (chip, mut device) = new();
    assert!(take(&mut device, 0).is_none() && !device.is_ready());
    // More bytes than pointers of 16 bits count.
    for round in 0..200_u8 {
        let frames: Vec<Vec<u8>> =
            [14, 60, 1514, 333].iter().map(|len| frame(round, *len)).collect();
        for frame in &frames {
            assert!(chip.borrow_mut().deliver(frame));
        }
        for frame in &frames {
            assert!(device.is_ready());
            assert_eq!(take(&mut device, 0).as_ref(), Some(frame));
        }
        assert!(device.is_ready(), "the chip was not told yet");
        assert_eq!(take(&mut device, 0), None);
        assert!(!device.is_ready());
    }
}

#[test]
fn frames_go_one_at_a_time_around_the_end_of_the_memory() {
    let (chip, mut device) = new();
    for round in 0..100_u8 {
        for len in [14, 59, 60, 1514] {
            let expected = frame(round, len);
            let place = device.transmit(at(0)).unwrap();
            place.consume(len, |bytes| bytes.copy_from_slice(&expected));
            let sent = chip.borrow_mut().sent.pop().unwrap();
            assert_eq!(sent[..len], expected);
            assert!(sent.len() == len.max(60) && sent[len..].iter().all(|byte| *byte == 0));
        }
    }
    chip.borrow_mut().held = Some(VecDeque::new());
    device.transmit(at(0)).unwrap().consume(60, |bytes| bytes.fill(1));
    // What comes has to wait, because it may want an answer; nobody sleeps over it.
    chip.borrow_mut().deliver(&frame(9, 60));
    assert!(device.transmit(at(1)).is_none() && device.receive(at(1)).is_none());
    assert!(device.is_ready());
    chip.borrow_mut().release();
    let (came, place) = device.receive(at(2)).unwrap();
    came.consume(|bytes| place.consume(bytes.len(), |answer| answer.copy_from_slice(bytes)));
    assert_eq!(chip.borrow_mut().held.as_ref().unwrap()[0], frame(9, 60));
}

#[test]
fn what_came_before_the_line_was_let_go_is_not_slept_over() {
    // As if it came between the two looks at how much there is.
    struct Late(Rc<RefCell<Chip>>, bool);
    impl Registers for Late {
        type Error = Broken;
        fn read(&mut self, address: u16, block: u8, data: &mut [u8]) -> Result<(), Broken> {
            Bus(self.0.clone()).read(address, block, data)
        }
        fn write(&mut self, address: u16, block: u8, data: &[u8]) -> Result<(), Broken> {
            if self.1 && block == SOCKET_0 && address == SnReg::IR as u16 {
                self.0.borrow_mut().deliver(&frame(3, 20));
            }
            Bus(self.0.clone()).write(address, block, data)
        }
    }
    let chip = Rc::new(RefCell::new(Chip::new()));
    let line = chip.clone();
    let bus = Late(chip.clone(), true);
    let mut device = W5500::new(bus, || line.borrow().line(), ADDRESS, frames()).unwrap();
    let (came, _) = device.receive(at(0)).unwrap();
    came.consume(|bytes| assert_eq!(bytes, frame(3, 20)));
    assert!(!chip.borrow().line());
}

#[test]
fn a_frame_that_is_too_long_or_none_is_passed_over() {
    let (chip, mut device) = new();
    for len in [0, 13, 1515, 9000] {
        assert!(chip.borrow_mut().deliver(&frame(1, len)));
        assert!(chip.borrow_mut().deliver(&frame(2, 64)));
        assert_eq!(take(&mut device, 0), None);
        assert!(device.is_ready());
        assert_eq!(take(&mut device, 0), Some(frame(2, 64)));
    }
    assert_eq!(chip.borrow().resets, 2, "one at the start, one when it was set up");
}

#[test]
fn a_chip_without_room_drops_and_goes_on() {
    let (chip, mut device) = new();
    let mut kept = 0;
    while chip.borrow_mut().deliver(&frame(kept as u8, 1514)) {
        kept += 1;
    }
    assert_eq!(kept, 10);
    for n in 0..kept {
        assert_eq!(take(&mut device, 0), Some(frame(n as u8, 1514)));
    }
    assert_eq!(take(&mut device, 0), None);
    assert!(chip.borrow_mut().deliver(&frame(7, 100)));
    assert_eq!(take(&mut device, 0), Some(frame(7, 100)));
}

#[test]
fn a_frame_that_is_there_in_part_is_waited_for() {
    let (chip, mut device) = new();
    let whole = frame(5, 500);
    chip.borrow_mut().raw(&[&502_u16.to_be_bytes()[..], &whole[..100]].concat());
    for _ in 0..PARTIAL_MAX {
        assert_eq!(take(&mut device, 0), None);
        assert!(device.is_ready());
    }
    chip.borrow_mut().raw(&whole[100..]);
    assert_eq!(take(&mut device, 0), Some(whole));
    assert_eq!(chip.borrow().resets, 2);
}

/// What lies in the chip cannot be: it is set up again when it is time, and goes on.
fn heals(bytes: &[u8]) {
    let (chip, mut device) = new();
    assert_eq!(take(&mut device, 0), None);
    chip.borrow_mut().raw(bytes);
    for _ in 0..=PARTIAL_MAX {
        assert_eq!(take(&mut device, 0), None);
    }
    assert!(!device.is_ready() && device.transmit(at(RETRY_MS - 1)).is_none());
    assert_eq!(chip.borrow().resets, 2);
    assert!(device.transmit(at(RETRY_MS)).is_some());
    assert_eq!(chip.borrow().resets, 3);
    assert!(chip.borrow_mut().deliver(&frame(1, 60)));
    assert_eq!(take(&mut device, RETRY_MS), Some(frame(1, 60)));
}

#[test]
fn lengths_that_cannot_be_are_healed() {
    // Less than itself; more than ever comes; more than the memory; nothing but a part of a length.
    heals(&[0, 0, 1, 2, 3]);
    heals(&[0, 1, 1, 2, 3]);
    heals(&[0x05, 0, 1, 2, 3]);
    heals(&[0xff, 0xff, 1, 2, 3]);
    heals(&[0x00]);
    // More has come than there is memory.
    heals(&[1; 17 << 10]);
}

#[test]
fn a_chip_that_forgets_is_set_up_again() {
    let (chip, mut device) = new();
    assert!(device.transmit(at(5)).is_some());
    chip.borrow_mut().reset();
    assert_eq!(take(&mut device, RETRY_MS), None);
    assert!(chip.borrow_mut().deliver(&frame(1, 60)));
    assert_eq!(take(&mut device, RETRY_MS), Some(frame(1, 60)));
}

#[test]
fn a_frame_that_is_never_sent_is_given_up() {
    let (chip, mut device) = new();
    chip.borrow_mut().held = Some(VecDeque::new());
    device.transmit(at(5)).unwrap().consume(60, |bytes| bytes.fill(1));
    assert!(device.transmit(at(5 + SEND_MS - 1)).is_none());
    assert_eq!(chip.borrow().resets, 2);
    assert!(device.transmit(at(5 + SEND_MS)).is_none());
    assert!(device.transmit(at(5 + SEND_MS + RETRY_MS)).is_some());
    assert_eq!(chip.borrow().resets, 3);
}

#[test]
fn a_chip_that_is_not_there_is_an_error_with_an_end() {
    let tried = |fault: fn(&mut Chip)| {
        let chip = Rc::new(RefCell::new(Chip::new()));
        fault(&mut chip.borrow_mut());
        let tried = W5500::new(Bus(chip.clone()), || false, ADDRESS, frames()).map(|_| ());
        assert!(chip.borrow().used < 2 * POLLS);
        tried
    };
    assert_eq!(tried(|_| {}), Ok(()));
    assert_eq!(tried(|chip| chip.common[Reg::VERSIONR as usize] = 0xff), Err(Error::Version(0xff)));
    assert_eq!(tried(|chip| chip.broken = true), Err(Error::Bus(Broken)));
    assert_eq!(tried(|chip| chip.deaf = true), Err(Error::Stuck));
}

#[test]
fn a_chip_that_fails_costs_little_until_it_comes_back() {
    for fault in [
        (|chip: &mut Chip, on| chip.broken = on) as fn(&mut Chip, bool),
        |chip, on| chip.deaf = on,
        |chip, on| chip.common[Reg::VERSIONR as usize] = if on { 0 } else { 4 },
        |chip, on| chip.noise = on.then_some(1),
    ] {
        let (chip, mut device) = new();
        assert_eq!(take(&mut device, 0), None);
        fault(&mut chip.borrow_mut(), true);
        chip.borrow_mut().used = 0;
        let mut now = 0;
        while now < 20 * RETRY_MS {
            take(&mut device, now);
            if let Some(place) = device.transmit(at(now)) {
                place.consume(100, |bytes| bytes.fill(1));
            }
            now += 1;
        }
        assert!(chip.borrow().used < 20 * 10 * POLLS, "{}", chip.borrow().used);
        fault(&mut chip.borrow_mut(), false);
        now += RETRY_MS;
        take(&mut device, now);
        now += RETRY_MS;
        take(&mut device, now);
        assert!(chip.borrow_mut().deliver(&frame(4, 60)));
        assert_eq!(take(&mut device, now), Some(frame(4, 60)));
    }
}

#[test]
fn noise_panics_nobody() {
    for seed in 0..100 {
        let (chip, mut device) = new();
        chip.borrow_mut().noise = Some(seed);
        // What it says of its version is right: it goes on to believe the rest.
        device.line.works = true;
        for now in 0..50 {
            device.line.asked = now;
            device.line.works = true;
            take(&mut device, now);
            if let Some(place) = device.transmit(at(now)) {
                place.consume(1514, |bytes| bytes.fill(1));
            }
        }
    }
}
