//! A MAC with a ring of frames each way, as the network's device.

use zk_embedded::net::Moment;
use zk_embedded::net::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};

/// Frames that come.
pub trait Receive {
    /// Whether one is there.
    fn is_ready(&self) -> bool;

    /// The oldest one.
    fn frame(&mut self) -> Option<&[u8]>;

    /// Gives the place of the oldest one back to the device.
    fn release(&mut self);
}

/// Frames that go.
pub trait Transmit {
    /// Whether there is a place for one.
    fn is_free(&self) -> bool;

    /// That place, as long as the longest frame; [`is_free`](Self::is_free) has said so.
    fn buffer(&mut self) -> &mut [u8];

    /// Sends the first `len` bytes of it.
    fn send(&mut self, len: usize);
}

/// A device that says whether a frame has come.
pub trait Mac: Device {
    /// Whether one has: nobody should sleep.
    fn is_ready(&self) -> bool;
}

/// A MAC.
#[derive(Debug)]
pub struct Ethernet<R, T> {
    receive: R,
    transmit: T,
    longest: usize,
}

impl<R: Receive, T: Transmit> Ethernet<R, T> {
    /// A MAC of two rings, whose frames have at most `longest` bytes, without their checksum.
    pub const fn new(receive: R, transmit: T, longest: usize) -> Self {
        Self { receive, transmit, longest }
    }
}

impl<R: Receive, T: Transmit> Mac for Ethernet<R, T> {
    fn is_ready(&self) -> bool {
        self.receive.is_ready()
    }
}

impl<R: Receive, T: Transmit> Device for Ethernet<R, T> {
    type RxToken<'a>
        = Frame<'a, R>
    where
        Self: 'a;
    type TxToken<'a>
        = Place<'a, T>
    where
        Self: 'a;

    fn receive(&mut self, _: Moment) -> Option<(Frame<'_, R>, Place<'_, T>)> {
        // Whoever takes a frame may have to answer it.
        if !self.receive.is_ready() || !self.transmit.is_free() {
            return None;
        }
        Some((Frame(&mut self.receive), Place(&mut self.transmit)))
    }

    fn transmit(&mut self, _: Moment) -> Option<Place<'_, T>> {
        self.transmit.is_free().then_some(Place(&mut self.transmit))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.longest;
        capabilities
    }
}

/// The oldest frame that has come; its place is given back when this is dropped.
#[derive(Debug)]
pub struct Frame<'a, R: Receive>(&'a mut R);

impl<R: Receive> RxToken for Frame<'_, R> {
    fn consume<A, F: FnOnce(&[u8]) -> A>(self, f: F) -> A {
        f(self.0.frame().unwrap_or_default())
    }
}

impl<R: Receive> Drop for Frame<'_, R> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The place of a frame that goes.
#[derive(Debug)]
pub struct Place<'a, T: Transmit>(&'a mut T);

impl<T: Transmit> TxToken for Place<'_, T> {
    fn consume<A, F: FnOnce(&mut [u8]) -> A>(self, len: usize, f: F) -> A {
        // The network was told how long a frame is at the most.
        let answer = f(&mut self.0.buffer()[..len]);
        self.0.send(len);
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    #[derive(Default)]
    struct Frames(Vec<Vec<u8>>);

    impl Receive for Frames {
        fn is_ready(&self) -> bool {
            !self.0.is_empty()
        }

        fn frame(&mut self) -> Option<&[u8]> {
            self.0.first().map(Vec::as_slice)
        }

        fn release(&mut self) {
            self.0.remove(0);
        }
    }

    struct Sent {
        buffer: [u8; 8],
        sent: Vec<Vec<u8>>,
    }

    impl Transmit for Sent {
        fn is_free(&self) -> bool {
            self.sent.len() < 2
        }

        fn buffer(&mut self) -> &mut [u8] {
            &mut self.buffer
        }

        fn send(&mut self, len: usize) {
            self.sent.push(self.buffer[..len].to_vec());
        }
    }

    #[test]
    fn frames_are_taken_once_and_only_if_they_can_be_answered() {
        let frames = Frames(vec![vec![1], vec![2, 2], vec![3], vec![4]]);
        let mut mac = Ethernet::new(frames, Sent { buffer: [0; 8], sent: Vec::new() }, 8);
        for expected in [vec![1], vec![2, 2]] {
            let (frame, place) = mac.receive(Moment::ZERO).unwrap();
            frame.consume(|bytes| assert_eq!(bytes, expected));
            place.consume(3, |bytes| bytes.fill(expected[0]));
        }
        assert_eq!(mac.transmit.sent, [[1; 3], [2; 3]]);
        // Nothing can be sent: the frame stays, and keeps the board awake.
        assert!(mac.receive(Moment::ZERO).is_none() && mac.transmit(Moment::ZERO).is_none());
        assert!(mac.is_ready());
        mac.transmit.sent.clear();
        // One that nobody wants does not come again.
        drop(mac.receive(Moment::ZERO));
        let (frame, _) = mac.receive(Moment::ZERO).unwrap();
        frame.consume(|bytes| assert_eq!(bytes, [4]));
        assert!(!mac.is_ready() && mac.receive(Moment::ZERO).is_none());
    }
}
