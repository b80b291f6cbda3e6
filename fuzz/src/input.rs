//! An input as a list of pieces.
//!
//! Pieces are divided by a mark instead of lengths, so that a byte that comes or goes moves no
//! other piece, and libFuzzer's copies of parts of an input are pieces again.

/// Divides the pieces of an input.
pub const MARK: &[u8] = b"|zk|";

/// The pieces of an input: the first byte of each says what to do, the rest is for it.
pub fn pieces(input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = Some(input);
    core::iter::from_fn(move || {
        let input = rest?;
        let end = input.windows(MARK.len()).position(|window| window == MARK);
        rest = end.map(|end| &input[end + MARK.len()..]);
        Some(&input[..end.unwrap_or(input.len())])
    })
    .filter_map(|piece| piece.split_first().map(|(&first, rest)| (first, rest)))
}

/// Puts pieces together.
pub fn join(pieces: &[(u8, &[u8])]) -> Vec<u8> {
    let whole: Vec<Vec<u8>> =
        pieces.iter().map(|(first, rest)| [core::slice::from_ref(first), rest].concat()).collect();
    whole.join(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_and_found_again() {
        let whole = [(1, &b"one"[..]), (2, b""), (3, b"|zk")];
        assert_eq!(pieces(&join(&whole)).collect::<Vec<_>>(), whole);
        assert_eq!(pieces(b"").count(), 0);
        assert_eq!(pieces(b"|zk||zk|\x05|zk|").collect::<Vec<_>>(), [(5, &b""[..])]);
    }
}
