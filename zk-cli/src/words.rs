//! Four-letter words, asked of servers.

use core::time::Duration;
use std::io::{self, Read, Write};

use crate::connection::dial;

/// How long a server may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// What the server at `host:port` answers to a word.
///
/// # Errors
/// It cannot be reached, or does not answer in time.
pub(crate) fn ask(host: &str, word: &str) -> io::Result<String> {
    let mut stream = dial(host, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(word.as_bytes())?;
    let mut text = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What stands behind `name` in one of the lines of an answer.
pub(crate) fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}
