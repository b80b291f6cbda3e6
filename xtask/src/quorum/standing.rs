//! Where a member stands, by its answer to the word `srvr`.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// How long a member has to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Bytes of an answer that are looked at.
const ANSWER_MAX: u64 = 4096;

/// Where a member stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was not asked yet, is off, or does not answer.
    #[default]
    Silent,
    /// It serves nobody: it looks for a leader, or joins one.
    Looking,
    /// It serves, in this mode, in the epoch of its last transaction.
    Serving { mode: String, epoch: u64 },
}

impl Standing {
    /// Asks a member.
    pub(crate) fn ask(at: SocketAddr) -> Self {
        answer(at).map(|text| Self::read(&text)).unwrap_or_default()
    }

    fn read(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        match field("Mode: ") {
            Some(mode) if mode != "none" => {
                let zxid = field("Zxid: 0x").and_then(|zxid| u64::from_str_radix(zxid, 16).ok());
                Self::Serving { mode: mode.to_owned(), epoch: zxid.unwrap_or(0) >> 32 }
            }
            None if text.is_empty() => Self::Silent,
            _ => Self::Looking,
        }
    }

    /// Whether it serves clients that write, by its own or its leader's word.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Serving { mode, .. } if mode != "read-only")
    }

    pub(crate) fn leads(&self) -> bool {
        matches!(self, Self::Serving { mode, .. } if mode == "leader" || mode == "standalone")
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("does not answer"),
            Self::Looking => f.write_str("looks for a leader"),
            Self::Serving { mode, epoch } => match mode.as_str() {
                "leader" => write!(f, "leads epoch {epoch}"),
                "follower" => f.write_str("follows"),
                "observer" => f.write_str("observes"),
                other => write!(f, "serves as {other}"),
            },
        }
    }
}

fn answer(at: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"srvr")?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn answers_are_read() {
        let idle = "This ZooKeeper instance is not currently serving requests\n";
        for (text, standing, leads, serves) in [
            ("Zxid: 0x700000002\nMode: leader\nNode count: 5\n", "leads epoch 7", true, true),
            ("Zxid: 0x700000002\nMode: follower\n", "follows", false, true),
            ("Mode: observer\n", "observes", false, true),
            ("Mode: standalone\n", "serves as standalone", true, true),
            ("Mode: read-only\n", "serves as read-only", false, false),
            ("Mode: none\n", "looks for a leader", false, false),
            (idle, "looks for a leader", false, false),
            ("", "does not answer", false, false),
        ] {
            let read = Standing::read(text);
            assert_eq!(read.to_string(), standing, "{text}");
            assert_eq!((read.leads(), read.serves()), (leads, serves), "{text}");
        }
    }

    #[test]
    fn a_member_is_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let member = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut word = [0; 4];
            stream.read_exact(&mut word).unwrap();
            stream.write_all(b"Mode: follower\n").unwrap();
            word
        });
        assert_eq!(Standing::ask(at).to_string(), "follows");
        assert_eq!(&member.join().unwrap(), b"srvr");
        // It is gone.
        assert_eq!(Standing::ask(at), Standing::Silent);
    }
}
