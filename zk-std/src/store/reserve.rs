//! `zk.reserve`: space that is kept for the day the disk is full.
//!
//! Given up, it lets the log take what must not fail (sessions that end, deletes, epochs) while
//! the server refuses to create more. Taken again when there is room.

use std::io;

use super::directory::{Directory, File, remove};

const NAME: &str = "zk.reserve";

#[derive(Debug)]
pub(super) struct Reserve<D> {
    directory: D,
    len: u64,
    held: bool,
}

impl<D: Directory> Reserve<D> {
    /// `len` bytes, not taken yet; 0 for none at all.
    pub(super) fn new(directory: D, len: u64) -> Self {
        Self { directory, len, held: false }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held || self.len == 0
    }

    /// Takes the space, if there is twice as much.
    pub(super) fn hold(&mut self) -> io::Result<()> {
        if self.is_held() {
            return Ok(());
        }
        if let Ok(file) = self.directory.open(NAME)
            && file.len()? >= self.len
        {
            self.held = true;
            return Ok(());
        }
        if self.directory.space()?.is_some_and(|space| space < self.len.saturating_mul(2)) {
            return Ok(());
        }
        let file = self.directory.create(NAME)?;
        match file.allocate(self.len).and_then(|()| file.sync_data()) {
            Ok(()) => self.held = true,
            Err(e) => {
                remove(&self.directory, NAME)?;
                return Err(e);
            }
        }
        Ok(())
    }

    /// Gives the space up; false if there was none.
    pub(super) fn release(&mut self) -> io::Result<bool> {
        self.held = false;
        remove(&self.directory, NAME)
    }
}
