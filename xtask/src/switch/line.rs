//! A board on a serial line: its IP packets are frames of the switch, and frames are packets for it.
//!
//! On the line a packet is `0x00 | COBS of (packet | CRC-32, little-endian) | 0x00`, as
//! `zk_embedded::serial` has it. Who is where is known by address: who asks for the board's hardware address
//! is answered in its place.

use core::net::Ipv4Addr;

use super::host;

/// Bytes of the longest packet that a board takes.
const PACKET_MAX: usize = 576;

/// Bytes of a checksum.
const SUM: usize = 4;

/// Bytes of the longest frame on the line, without the zeros around it.
const LONGEST: usize = cobs::max_encoding_length(PACKET_MAX + SUM);

/// Bytes of an Ethernet header, and what it may say is behind it.
const HEADER: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];

/// How a question for the hardware address of an IPv4 address begins, and an answer.
const WHO_HAS: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
const IS_AT: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The hardware address of whoever is at that address: boards have none of their own.
fn hardware(address: Ipv4Addr) -> [u8; 6] {
    if address == host::ADDRESS {
        return host::HARDWARE;
    }
    let [_, b, c, d] = address.octets();
    [2, 0, 1, b, c, d]
}

/// What is to be done with a frame that has come for a board.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// These bytes are for the line.
    Say(Vec<u8>),
    /// This frame is its answer.
    Answer(Vec<u8>),
    /// It is for somebody else, or nothing that the line can carry.
    Nothing,
}

/// The switch's end of a line.
#[derive(Debug)]
pub(crate) struct Line {
    address: Ipv4Addr,
    /// What has come since the last zero.
    coming: Vec<u8>,
    /// A part of it was dropped.
    long: bool,
}

impl Line {
    /// The line to the board at that address.
    pub(crate) fn new(address: Ipv4Addr) -> Self {
        Self { address, coming: Vec::new(), long: false }
    }

    /// The next frame of the bytes that the board has sent, which are taken from the front.
    pub(crate) fn hear(&mut self, bytes: &mut &[u8]) -> Option<Vec<u8>> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if byte != 0 {
                let full = self.coming.len() >= LONGEST;
                self.long |= full;
                if !full {
                    self.coming.push(byte);
                }
                continue;
            }
            let mut frame = core::mem::take(&mut self.coming);
            if core::mem::take(&mut self.long) {
                continue;
            }
            let decoded = cobs::decode_in_place(&mut frame).ok().and_then(|len| frame.get(..len));
            let found = decoded.and_then(<[u8]>::split_last_chunk::<SUM>);
            if let Some((packet, sum)) = found
                && CRC.checksum(packet) == u32::from_le_bytes(*sum)
                && let Some(frame) = framed(packet)
            {
                return Some(frame);
            }
        }
        None
    }

    /// What becomes of a frame that the switch has for this board.
    pub(crate) fn take(&self, frame: &[u8]) -> Done {
        let own = hardware(self.address);
        let Some((header, body)) = frame.split_first_chunk::<HEADER>() else {
            return Done::Nothing;
        };
        match [header[12], header[13]] {
            IPV4 if header[..6] == own => packet(body).map_or(Done::Nothing, said),
            // Who asks: from 8 on hardware and address, then who is asked for.
            ARP if body.starts_with(&WHO_HAS)
                && body.get(24..28) == Some(&self.address.octets()[..]) =>
            {
                let asks = &body[8..18];
                let answer: [&[u8]; 7] =
                    [&asks[..6], &own, &ARP, &IS_AT, &own, &self.address.octets(), asks];
                Done::Answer(answer.concat())
            }
            _ => Done::Nothing,
        }
    }
}

/// An IPv4 packet, without what pads its frame, if it is one that the line can carry.
fn packet(body: &[u8]) -> Option<&[u8]> {
    let [first, _, high, low] = *body.first_chunk()?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    let packet = body.get(..len)?;
    (first >> 4 == 4 && (20..=PACKET_MAX).contains(&len)).then_some(packet)
}

/// A packet in an Ethernet frame between those that it names.
fn framed(bytes: &[u8]) -> Option<Vec<u8>> {
    let packet = packet(bytes)?;
    let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
    let (from, to) = (hardware(address(12)?), hardware(address(16)?));
    Some([&to, &from, &IPV4[..], packet].concat())
}

/// A packet, as it is on the line.
fn said(packet: &[u8]) -> Done {
    let summed = [packet, &CRC.checksum(packet).to_le_bytes()].concat();
    let mut bytes = vec![0; LONGEST + 2];
    let Some(Ok(len)) = bytes.get_mut(1..).map(|room| cobs::try_encode(&summed, room)) else {
        return Done::Nothing;
    };
    // The last byte is one of the zeros that were there.
    bytes.truncate(len + 2);
    Done::Say(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 101);
    pub(crate) const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 102);

    /// An IPv4 packet, as far as anybody here looks.
    pub(crate) fn ip(from: Ipv4Addr, to: Ipv4Addr, says: &[u8]) -> Vec<u8> {
        let len = (20 + says.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(len.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 253, 0, 0]);
        packet.extend(from.octets());
        packet.extend(to.octets());
        packet.extend(says);
        packet
    }

    pub(crate) fn on_the_line(packet: &[u8]) -> Vec<u8> {
        let Done::Say(bytes) = said(packet) else { panic!("nothing is said") };
        bytes
    }

    fn heard(line: &mut Line, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| line.hear(&mut bytes)).collect()
    }

    #[test]
    fn a_packet_goes_from_line_to_line() {
        let (mut one, two) = (Line::new(ONE), Line::new(TWO));
        for says in [&b"hello"[..], b"", &[0; 300], &[7; PACKET_MAX - 20]] {
            let bytes = on_the_line(&ip(ONE, TWO, says));
            assert!(!bytes[1..bytes.len() - 1].contains(&0));
            let frames = heard(&mut one, &bytes);
            assert_eq!(frames.len(), 1);
            assert_eq!(two.take(&frames[0]), Done::Say(bytes));
            // It is for nobody else.
            assert_eq!(one.take(&frames[0]), Done::Nothing);
            // What pads a frame is no part of it.
            let padded = [&frames[0][..], &[0; 9]].concat();
            assert_eq!(two.take(&padded), two.take(&frames[0]));
        }
        // As the firmware has it, too: a test there holds the same bytes.
        let check = [&b"123456789"[..], &CRC.checksum(b"123456789").to_le_bytes()].concat();
        let mut room = [0; 20];
        let len = cobs::try_encode(&check, &mut room).unwrap();
        assert_eq!(room[..len], *b"\x0e123456789\x26\x39\xf4\xcb");
    }

    #[test]
    fn what_is_broken_goes_nowhere() {
        let mut line = Line::new(ONE);
        let good = on_the_line(&ip(ONE, TWO, b"good"));
        let mut wrong = good.clone();
        // The last byte that is said.
        let at = wrong.len() - 6;
        assert_eq!(core::mem::replace(&mut wrong[at], b'e'), b'd');
        let long = [&[0][..], &vec![5; 10_000], &[0]].concat();
        let no_packet = on_the_line(b"no packet, and long enough");
        let bytes = [&b"noise"[..], &good, &wrong, &long, &no_packet, &good[..9], &good].concat();
        let mut frames = vec![];
        for part in bytes.chunks(7) {
            frames.extend(heard(&mut line, part));
        }
        assert_eq!(frames, heard(&mut line, &[&good[..], &good].concat()));
        // What was cut off ends where the next one begins, though it be another board's.
        assert!(heard(&mut line, &good[..9]).is_empty());
        assert_eq!(heard(&mut line, &good).len(), 1);
        assert!(heard(&mut line, &[5; 10_000]).is_empty());
        assert_eq!((line.coming.len(), line.long), (LONGEST, true));
        let longest = framed(&ip(TWO, ONE, &[0; PACKET_MAX - 20])).unwrap();
        assert!(matches!(line.take(&longest), Done::Say(_)));
        for odd in [&[][..], &longest[..13], &longest[..40], &[0; 60]] {
            assert_eq!(line.take(odd), Done::Nothing);
        }
        assert_eq!(framed(&ip(TWO, ONE, &[0; PACKET_MAX - 19])), None);
    }

    #[test]
    fn who_asks_for_a_board_is_answered() {
        let question = |address: Ipv4Addr| {
            let (all, asks) = ([0xff; 6], host::HARDWARE);
            let from = host::ADDRESS.octets();
            let parts: [&[u8]; 8] =
                [&all, &asks, &ARP, &WHO_HAS, &asks, &from, &[0; 6], &address.octets()];
            parts.concat()
        };
        let line = Line::new(ONE);
        let Done::Answer(answer) = line.take(&question(ONE)) else { panic!("no answer") };
        assert_eq!(answer.len(), 42);
        assert_eq!(answer[..6], host::HARDWARE);
        assert_eq!(answer[6..12], hardware(ONE));
        assert_eq!(answer[22..32], [&hardware(ONE)[..], &ONE.octets()].concat());
        assert_eq!(answer[32..], [&host::HARDWARE[..], &host::ADDRESS.octets()].concat());
        assert_eq!(line.take(&question(TWO)), Done::Nothing);
        // An answer is no question.
        assert_eq!(line.take(&answer), Done::Nothing);
    }
}
