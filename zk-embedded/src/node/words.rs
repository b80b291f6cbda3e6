//! The four-letter words that a board answers: is it there, and what is it.
//!
//! Answers to `RuokCommand` and `SrvrCommand`. Every other word is taken for a frame's length, and
//! ends its connection.

use core::fmt::Write;

use zk_core::peer::{Peer, State};

/// Bytes of the longest answer.
pub const ANSWER_MAX: usize = 160;

/// The version of ZooKeeper whose behaviour this is, and zk's own.
pub const VERSION: &str = concat!("3.8.0-zk-", env!("CARGO_PKG_VERSION"));

/// An answer.
pub(super) type Answer = heapless::String<ANSWER_MAX>;

/// What a client is answered whose first four bytes are `word`, if that is a word.
pub(super) fn answer(word: [u8; 4], peer: &Peer<'_>) -> Option<Answer> {
    let mut out = Answer::new();
    // The longest numbers fit.
    let _ = match &word {
        b"ruok" => out.write_str("imok"),
        b"srvr" if !peer.is_serving() => {
            out.write_str("This ZooKeeper instance is not currently serving requests\n")
        }
        b"srvr" => write!(
            out,
            "Zookeeper version: {}\nConnections: {}\nOutstanding: {}\nZxid: {}\nMode: {}\n\
             Node count: {}\n",
            VERSION,
            peer.link_count(),
            peer.outstanding(),
            peer.tree().last_zxid(),
            mode(peer.state()),
            peer.tree().node_count(),
        ),
        _ => return None,
    };
    Some(out)
}

fn mode(state: State) -> &'static str {
    match state {
        State::Standalone => "standalone",
        State::Leading => "leader",
        State::Following => "follower",
        State::Observing => "observer",
        State::Looking => "read-only",
        State::Recovering | State::Stopped(_) => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_answer_fits() {
        let mut text = Answer::new();
        write!(
            text,
            "Zookeeper version: {}\nConnections: {}\nOutstanding: {}\nZxid: {}\nMode: {}\nNode \
             count: {}\n",
            VERSION,
            u16::MAX,
            u32::MAX,
            zk_core::id::Zxid(i64::MAX),
            mode(State::Standalone),
            u32::MAX
        )
        .unwrap();
    }
}
