//! Frames of the client port: an `i32` length and that many bytes.

use super::jute::Error;

/// Bytes of a frame's length.
pub const LEN: usize = 4;

/// What the start of a stream of frames shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole frame: its payload, without the length.
    Whole(&'a [u8]),
    /// Not yet: so many bytes are needed in all, counted from the start of the frame.
    Need(usize),
}

/// Looks at the first frame of `bytes`.
///
/// # Errors
/// [`Error::Length`] when its length is negative or above `max`: nothing of such a frame is worth
/// waiting for.
pub fn first(bytes: &[u8], max: usize) -> Result<Frame<'_>, Error> {
    let Some((len, rest)) = bytes.split_first_chunk::<LEN>() else { return Ok(Frame::Need(LEN)) };
    let len = usize::try_from(i32::from_be_bytes(*len)).map_err(|_| Error::Length)?;
    if len > max {
        return Err(Error::Length);
    }
    Ok(match rest.get(..len) {
        Some(payload) => Frame::Whole(payload),
        None => Frame::Need(LEN + len),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_or_says_what_it_needs() {
        assert_eq!(first(&[0, 0], 10), Ok(Frame::Need(4)));
        assert_eq!(first(&[0, 0, 0, 3, 1], 10), Ok(Frame::Need(7)));
        assert_eq!(first(&[0, 0, 0, 1, 7, 9], 10), Ok(Frame::Whole(&[7])));
        assert_eq!(first(&[0, 0, 0, 0], 10), Ok(Frame::Whole(&[])));
        assert_eq!(first(&[0, 0, 0, 11], 10), Err(Error::Length));
        assert_eq!(first(&[0xff; 4], 10), Err(Error::Length));
    }
}
