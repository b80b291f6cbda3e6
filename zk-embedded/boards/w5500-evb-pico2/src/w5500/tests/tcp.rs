//! TCP between two devices, whose chips are joined by a cable.

use core::net::Ipv4Addr;

use zk_core::time::Instant;
use zk_embedded::net::{Buffers, Net, Options, SocketStorage, State, Storage};

use super::*;

/// Bytes that a socket has room for, each way.
const ROOM: usize = 4096;

/// Bytes that go one way.
const BULK: usize = 256 << 10;

/// Milliseconds after which nothing can be meant to go on.
const CEILING_MS: u64 = 60_000;

fn address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, node)
}

fn net(node: u8) -> (Rc<RefCell<Chip>>, Net<'static, Tried>) {
    let (chip, device) = new();
    let none = || Buffers { sockets: 0, receive: &mut [], transmit: &mut [] };
    let room = || vec![0; ROOM].leak();
    let storage = Storage {
        sockets: vec![SocketStorage::EMPTY].leak(),
        clients: Buffers { sockets: 1, receive: room(), transmit: room() },
        carriers: none(),
        election: none(),
        quorum: none(),
    };
    let options = Options {
        hardware: Some([2, 0, 0, 0, 0, node]),
        address: address(node),
        prefix: 24,
        gateway: None,
        seed: u64::from(node) << 32,
    };
    (chip, Net::new(device, storage, &options, Instant(0)).unwrap())
}

fn byte(at: usize) -> u8 {
    (at ^ (at >> 8)) as u8
}

/// Bytes go from one to the other; `happens` to the chips at each millisecond. Answers how long it took.
fn moved(mut happens: impl FnMut(u64, &mut Chip)) -> u64 {
    let ((one, mut from), (two, mut to)) = (net(1), net(2));
    assert!(to.listen(0, 2181) && from.connect(0, address(2), 2181));
    let (mut sent, mut came) = (0, 0);
    for ms in 0..CEILING_MS {
        let now = Instant(ms);
        for net in [&mut from, &mut to] {
            while net.poll_frame(now) {}
            while net.poll_send(now) {}
        }
        for (here, there) in [(&one, &two), (&two, &one)] {
            let frames = core::mem::take(&mut here.borrow_mut().sent);
            for frame in frames {
                there.borrow_mut().deliver(&frame);
            }
            happens(ms, &mut here.borrow_mut());
        }
        if from.state(0) == State::Open {
            let bytes: Vec<u8> = (sent..BULK.min(sent + ROOM)).map(byte).collect();
            sent += from.send(0, &bytes);
        }
        let bytes = to.peek(0).to_vec();
        assert!(bytes.iter().zip(came..).all(|(found, at)| *found == byte(at)));
        came += bytes.len();
        to.take(0, bytes.len());
        if came == BULK {
            return ms;
        }
    }
    panic!("{came} of {BULK} bytes");
}

#[test]
fn bytes_go_over_it() {
    let took = moved(|_, _| {});
    assert!(took < 1000, "{took} ms: frames are lost");
}

#[test]
fn a_chip_that_forgets_costs_time_and_no_bytes() {
    let mut resets = 0;
    moved(|ms, chip| {
        if ms == 20 {
            chip.reset();
        }
        resets = resets.max(chip.resets);
    });
    assert_eq!(
        resets, 4,
        "one at the start, one to set it up, this one, and one to set it up again"
    );
}
