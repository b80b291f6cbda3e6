//! Two ends of a line that loses, changes and adds bytes.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use embedded_io::{ErrorKind, ErrorType};
use proptest::prelude::*;

use super::*;

/// A line in one direction.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) bytes: VecDeque<u8>,
    /// Bytes that it holds, and that it takes and gives at once.
    room: usize,
    at_once: usize,
    /// Reads fail, so many times.
    fails: usize,
}

pub(crate) type Shared = Rc<RefCell<Line>>;

pub(crate) fn line(room: usize, at_once: usize) -> Shared {
    Rc::new(RefCell::new(Line { bytes: VecDeque::new(), room, at_once, fails: 0 }))
}

/// An end of two lines.
#[derive(Debug)]
pub(crate) struct End {
    comes: Shared,
    goes: Shared,
}

impl ErrorType for End {
    type Error = ErrorKind;
}

impl Read for End {
    fn read(&mut self, to: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut line = self.comes.borrow_mut();
        if line.fails > 0 {
            line.fails -= 1;
            return Err(ErrorKind::Other);
        }
        let len = to.len().min(line.at_once).min(line.bytes.len());
        assert!(len > 0, "it would wait");
        for (to, byte) in to.iter_mut().zip(line.bytes.drain(..len)) {
            *to = byte;
        }
        Ok(len)
    }
}

impl ReadReady for End {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        let line = self.comes.borrow();
        Ok(line.fails > 0 || !line.bytes.is_empty())
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let mut line = self.goes.borrow_mut();
        let len = bytes.len().min(line.at_once).min(line.room - line.bytes.len());
        assert!(len > 0, "it would wait");
        line.bytes.extend(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl WriteReady for End {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        let line = self.goes.borrow();
        Ok(line.bytes.len() < line.room)
    }
}

pub(crate) fn serial(comes: &Shared, goes: &Shared) -> Serial<'static, End> {
    let end = End { comes: comes.clone(), goes: goes.clone() };
    Serial::new(end, Box::leak(Box::new(Memory::new())))
}

fn at(ms: i64) -> Moment {
    Moment::from_millis(ms)
}

fn send(serial: &mut Serial<'_, End>, packet: &[u8]) -> bool {
    let place = serial.transmit(at(0));
    place.map(|place| place.consume(packet.len(), |to| to.copy_from_slice(packet))).is_some()
}

fn receive(serial: &mut Serial<'_, End>) -> Option<Vec<u8>> {
    let (packet, _) = serial.receive(at(0))?;
    Some(packet.consume(<[u8]>::to_vec))
}

fn all(serial: &mut Serial<'_, End>) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| receive(serial)).collect()
}

/// What a packet is on the line.
pub(crate) fn frame(packet: &[u8]) -> Vec<u8> {
    let goes = line(usize::MAX, usize::MAX);
    assert!(send(&mut serial(&line(0, 1), &goes), packet));
    let frame: Vec<u8> = goes.borrow().bytes.iter().copied().collect();
    frame
}

/// What comes of bytes.
fn heard(bytes: &[u8], at_once: usize) -> (Vec<Vec<u8>>, Counts) {
    let comes = line(usize::MAX, at_once);
    comes.borrow_mut().bytes.extend(bytes);
    let mut serial = serial(&comes, &line(usize::MAX, usize::MAX));
    let mut packets = vec![];
    // One call goes only so far through noise.
    while !comes.borrow().bytes.is_empty() {
        packets.extend(all(&mut serial));
    }
    (packets, serial.counts())
}

#[test]
fn a_frame_is_what_was_said() {
    // The checksum of "123456789" is in every list of them: 0xcbf43926.
    assert_eq!(frame(b"123456789"), b"\x00\x0e123456789\x26\x39\xf4\xcb\x00");
    assert_eq!(frame(&[0]), [&[0, 1, 5][..], &Crc::of(&[0]).to_le_bytes(), &[0]].concat());
    assert_eq!(frame(&[7; PACKET_MAX]).len(), FRAME_MAX);
}

#[test]
fn it_takes_what_the_documentation_says() {
    assert_eq!(size_of::<Memory>(), 2_399);
}

#[test]
fn what_is_no_frame_is_counted() {
    let packet = [&[0x45][..], &[9; 30]].concat();
    let good = frame(&packet);
    let mut damaged = good.clone();
    damaged[9] ^= 0x10;
    let cut = [&good[..20], &[0]].concat();
    let short = [0, 4, 1, 2, 3, 0].to_vec();
    // A frame of zeros that another zero has cut.
    let nothing = [0, 1, 1, 1, 1, 1, 0].to_vec();
    let long = vec![0x11; 3 * COME + 5];
    // As long as the buffer takes, and still more than a packet may have.
    let mut above = vec![0; COME];
    let mut room = vec![3; PACKET_MAX + 1];
    room.extend(Crc::of(&room).to_le_bytes());
    let len = cobs::encode(&room, &mut above[1..]);
    above.truncate(len + 2);
    let bytes =
        [&b"noise"[..], &good, &damaged, &cut, &short, &nothing, &good, &long, &above, &good]
            .concat();
    for at_once in [1, 7, 64, usize::MAX] {
        let (packets, counts) = heard(&bytes, at_once);
        assert_eq!(packets, vec![packet.clone(); 3]);
        let broken = Counts { received: 3, broken: 4, damaged: 1, long: 2, ..Counts::default() };
        assert_eq!(counts, broken, "{at_once} at once");
    }
}

/// A checksum of 32 bits is no proof: whoever is above has to look, too.
#[test]
fn a_part_of_a_frame_may_have_the_right_checksum() {
    let mut cut = frame(&[&[0xff; 8][..], &[0; 35]].concat());
    // Behind the eight bytes.
    cut.insert(10, 0);
    let (packets, counts) = heard(&cut, 1);
    assert_eq!(packets, [[0xff; 4]]);
    assert_eq!(counts, Counts { received: 1, damaged: 1, ..Counts::default() });
}

#[test]
fn an_error_of_the_stream_costs_one_frame() {
    let comes = line(usize::MAX, usize::MAX);
    let mut serial = serial(&comes, &line(usize::MAX, usize::MAX));
    let good = frame(b"a packet");
    comes.borrow_mut().bytes.extend(&good[..6]);
    assert_eq!(receive(&mut serial), None);
    comes.borrow_mut().fails = 2;
    comes.borrow_mut().bytes.extend(&good[8..]);
    comes.borrow_mut().bytes.extend(&good);
    assert_eq!(all(&mut serial), [b"a packet"]);
    assert_eq!(serial.counts(), Counts { received: 1, errors: 2, ..Counts::default() });
}

#[test]
fn a_packet_waits_until_it_can_be_answered() {
    let (comes, goes) = (line(usize::MAX, usize::MAX), line(10, usize::MAX));
    let mut serial = serial(&comes, &goes);
    comes.borrow_mut().bytes.extend(frame(b"a question"));
    comes.borrow_mut().bytes.extend(frame(b"another"));
    let longest = [5; PACKET_MAX];
    assert!(send(&mut serial, &longest));
    assert!(serial.is_sending() && !send(&mut serial, &longest));
    let (packet, answer) = serial.receive(at(0)).unwrap();
    packet.consume(|packet| assert_eq!(packet, b"a question"));
    answer.consume(500, |to| to.fill(6));
    assert_eq!(receive(&mut serial), None);
    // The line takes more.
    let mut sent = vec![];
    while serial.is_sending() {
        sent.extend(goes.borrow_mut().bytes.drain(..));
        if let Some(packet) = receive(&mut serial) {
            assert_eq!(packet, b"another");
        }
    }
    sent.extend(goes.borrow_mut().bytes.drain(..));
    assert_eq!(serial.counts(), Counts { received: 2, sent: 2, ..Counts::default() });
    assert_eq!(heard(&sent, 64).0, [longest.to_vec(), vec![6; 500]]);
}

#[test]
fn a_line_that_takes_nothing_is_given_up() {
    let (comes, goes) = (line(usize::MAX, usize::MAX), line(10, usize::MAX));
    let mut serial = serial(&comes, &goes);
    assert!(send(&mut serial, &[1; PACKET_MAX]));
    assert!(serial.transmit(at(STUCK_MS - 1)).is_none());
    // It takes something.
    goes.borrow_mut().bytes.clear();
    assert!(serial.transmit(at(STUCK_MS - 1)).is_none());
    assert!(serial.transmit(at(2 * STUCK_MS - 2)).is_none());
    assert!(serial.transmit(at(2 * STUCK_MS - 1)).is_some());
    assert!(!serial.is_sending());
    assert_eq!(serial.counts(), Counts { sent: 1, stuck: 1, ..Counts::default() });
    // What was cut off is dropped at the other end, and what comes then is not.
    let mut sent: Vec<u8> = goes.borrow_mut().bytes.drain(..).collect();
    assert!(send(&mut serial, b"again"));
    while serial.is_sending() {
        sent.extend(goes.borrow_mut().bytes.drain(..));
        assert_eq!(receive(&mut serial), None);
    }
    sent.extend(goes.borrow_mut().bytes.drain(..));
    assert_eq!(heard(&sent, 3).0, [b"again"]);
}

/// Two ends fill a line each, as fast as they can, and answer all that comes: as there is a place for an
/// answer, neither waits for the other for ever.
#[test]
fn two_ends_that_fill_their_lines_go_on() {
    for (room, at_once) in [(1, 1), (16, 16), (300, 64), (600, 600), (2000, 100)] {
        let lines = [line(room, at_once), line(room, at_once)];
        let mut ends = [serial(&lines[0], &lines[1]), serial(&lines[1], &lines[0])];
        let (mut taken, mut before) = ([0; 2], [0; 2]);
        for ms in 0..10 * STUCK_MS {
            if ms == 8 * STUCK_MS {
                before = taken;
            }
            for (end, taken) in ends.iter_mut().zip(&mut taken) {
                if let Some(place) = end.transmit(at(ms)) {
                    place.consume(PACKET_MAX, |to| to.fill(1));
                }
                if let Some((packet, answer)) = end.receive(at(ms)) {
                    packet.consume(|_| ());
                    answer.consume(PACKET_MAX, |to| to.fill(2));
                    *taken += 1;
                }
            }
        }
        assert!(taken[0] > before[0] && taken[1] > before[1], "{room}: {before:?}, {taken:?}");
        assert!(ends.iter().all(|end| end.counts().stuck == 0), "somebody waited");
    }
}

#[test]
fn noise_without_end_keeps_nobody() {
    /// Always brings more.
    struct Noise(u8);

    impl ErrorType for Noise {
        type Error = ErrorKind;
    }

    impl Read for Noise {
        fn read(&mut self, to: &mut [u8]) -> Result<usize, ErrorKind> {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            if self.0 & 0x30 == 0 {
                return Err(ErrorKind::Other);
            }
            to.fill(self.0);
            Ok(to.len().min(1 + usize::from(self.0)))
        }
    }

    impl ReadReady for Noise {
        fn read_ready(&mut self) -> Result<bool, ErrorKind> {
            Ok(true)
        }
    }

    impl Write for Noise {
        fn write(&mut self, _: &[u8]) -> Result<usize, ErrorKind> {
            Err(ErrorKind::Other)
        }

        fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    impl WriteReady for Noise {
        fn write_ready(&mut self) -> Result<bool, ErrorKind> {
            Ok(true)
        }
    }

    let mut memory = Memory::new();
    let mut serial = Serial::new(Noise(1), &mut memory);
    for ms in 0..50 {
        assert!(serial.receive(at(ms)).is_none());
        if let Some(place) = serial.transmit(at(ms)) {
            place.consume(3, |to| to.fill(1));
        }
    }
    assert!(serial.counts().errors > 0);
}

/// What happens on a line.
#[derive(Clone, Debug)]
enum Event {
    Packet(Vec<u8>),
    Noise(Vec<u8>),
    /// A frame that changes on its way: at that place these bytes take the place of so many.
    Changed(Vec<u8>, usize, usize, Vec<u8>),
}

/// A packet, as far as its first byte says so: a part of a frame whose bytes are all 0xff may well have the
/// right checksum.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0), Just(0xff), any::<u8>()];
    let rest = prop_oneof![
        4 => prop::collection::vec(byte, 0..60),
        1 => (any::<u8>(), 0..PACKET_MAX).prop_map(|(byte, len)| vec![byte; len]),
        1 => prop::collection::vec(any::<u8>(), 250..PACKET_MAX),
    ];
    rest.prop_map(|rest| [&[0x45], &rest[..]].concat())
}

fn event() -> impl Strategy<Value = Event> {
    let noise = prop::collection::vec(prop_oneof![1 => Just(0), 6 => any::<u8>()], 0..40);
    prop_oneof![
        3 => packet().prop_map(Event::Packet),
        2 => prop_oneof![
            5 => noise.clone(),
            1 => prop::collection::vec(1..=255_u8, 500..2500),
        ].prop_map(Event::Noise),
        2 => (packet(), 0..FRAME_MAX, 0..FRAME_MAX, noise)
            .prop_map(|(packet, at, len, bytes)| Event::Changed(packet, at, len, bytes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Packets whose frames are whole come, in order, whatever is between them, and nothing else does.
    #[test]
    fn what_is_whole_comes_and_nothing_else(
        events in prop::collection::vec(event(), 0..12),
        at_once in 1..700usize,
    ) {
        let (mut bytes, mut whole, mut changed) = (vec![], vec![], vec![]);
        for event in &events {
            match event {
                Event::Packet(packet) => {
                    bytes.extend(frame(packet));
                    whole.push(packet.clone());
                }
                Event::Noise(noise) => bytes.extend(noise),
                Event::Changed(packet, at, len, more) => {
                    let mut frame = frame(packet);
                    let at = at % frame.len();
                    let end = frame.len().min(at + len % 20);
                    frame.splice(at..end, more.iter().copied());
                    bytes.extend(frame);
                    // A change of nothing, or of the zeros around it.
                    changed.push(packet.clone());
                }
            }
        }
        let (packets, counts) = heard(&bytes, at_once);
        prop_assert_eq!(counts.received as usize, packets.len());
        let mut rest = packets.iter();
        for packet in &whole {
            // What is before it was whole in spite of all.
            loop {
                let Some(came) = rest.next() else { return Err(TestCaseError::fail("it is lost")) };
                if came == packet {
                    break;
                }
                prop_assert!(changed.contains(came), "nobody has sent {came:?}");
            }
        }
        prop_assert!(rest.all(|came| changed.contains(came)));
    }

    /// Packets both ways, over lines that take and give a few bytes at a time.
    #[test]
    fn packets_go_both_ways(
        packets in prop::collection::vec((packet(), any::<bool>()), 0..20),
        room in 1..200usize,
        at_once in 1..64usize,
    ) {
        let lines = [line(room, at_once), line(room, at_once)];
        let mut ends = [serial(&lines[0], &lines[1]), serial(&lines[1], &lines[0])];
        let mut came = [vec![], vec![]];
        for (packet, first) in &packets {
            let (from, to) = if *first { (0, 1) } else { (1, 0) };
            while !send(&mut ends[from], packet) {
                came[to].extend(receive(&mut ends[to]));
                came[from].extend(receive(&mut ends[from]));
            }
        }
        for _ in 0..FRAME_MAX * 4 {
            for (end, came) in ends.iter_mut().zip(&mut came) {
                came.extend(receive(end));
            }
        }
        for (at, came) in came.iter().enumerate() {
            let sent: Vec<&Vec<u8>> =
                packets.iter().filter(|(_, first)| *first == (at == 1)).map(|(packet, _)| packet).collect();
            prop_assert_eq!(came.iter().collect::<Vec<_>>(), sent);
        }
    }
}
