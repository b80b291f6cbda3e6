//! A serial line, as the network's device.

use embedded_io::{Read, ReadReady, Write, WriteReady};
use zk_embedded::serial::Serial;

use crate::ethernet::Mac;

/// A UART.
pub trait Line: Read + ReadReady + Write + WriteReady {
    /// Whether a byte has come.
    fn is_ready(&self) -> bool;
}

impl<S: Line> Mac for Serial<'_, S> {
    fn is_ready(&self) -> bool {
        // What waits goes on when the board looks again.
        self.stream().is_ready() || self.is_sending()
    }
}
