//! A bus with one flash on it.

/// The bus does not move: a device that should be there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent;

/// What follows a command.
#[derive(Debug)]
pub enum Data<'d> {
    /// Bytes to the flash.
    To(&'d [u8]),
    /// Bytes from the flash.
    From(&'d mut [u8]),
}

/// A bus that sends a command and moves bytes, while the flash is selected.
pub trait Spi {
    /// The most that may follow a command.
    const DATA_MAX: usize;

    /// Selects the flash, sends the command, moves the data, ends the selection.
    ///
    /// # Errors
    /// [`Silent`].
    fn exchange(&mut self, command: &[u8], data: Data<'_>) -> Result<(), Silent>;
}

/// How often a register is read until it must have changed: a byte takes some microseconds at the
/// slowest clock.
const PATIENCE: u32 = 1_000_000;

/// Waits until the bus has moved.
///
/// # Errors
/// [`Silent`]: it has not.
pub fn until(mut moved: impl FnMut() -> bool) -> Result<(), Silent> {
    for _ in 0..PATIENCE {
        if moved() {
            return Ok(());
        }
    }
    Err(Silent)
}
