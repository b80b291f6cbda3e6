//! A connect string: `host:port,host:port/chroot`.

use core::fmt;
use core::str::FromStr;

use zk_core::tree::path;

/// Port of a host that names none.
const DEFAULT_PORT: u16 = 2181;

/// The most hosts of a connect string.
const MAX_HOSTS: usize = 256;

/// The servers of an ensemble, and the node that paths start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Servers {
    /// `host:port` each; at least one.
    pub(crate) hosts: Vec<String>,
    /// Stands before every path; empty, or a path.
    pub(crate) chroot: String,
}

impl FromStr for Servers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (hosts, chroot) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() && !path::is_valid(chroot.as_bytes()) {
            return Err(format!("`{chroot}` is not a path"));
        }
        let hosts: Vec<_> = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(with_port)
            .collect::<Result<_, _>>()?;
        match hosts.len() {
            0 => Err("no host is named".into()),
            1..=MAX_HOSTS => Ok(Self { hosts, chroot: chroot.into() }),
            n => Err(format!("{n} hosts are too many, {MAX_HOSTS} is the most")),
        }
    }
}

/// `host` with its port. IPv6 addresses with a port stand in brackets.
fn with_port(host: &str) -> Result<String, String> {
    if let Some(rest) = host.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((_, "")) => Ok(format!("{host}:{DEFAULT_PORT}")),
            Some((_, port)) if port.strip_prefix(':').is_some_and(is_port) => Ok(host.into()),
            _ => Err(format!("`{host}` is not [address]:port")),
        };
    }
    match host.split_once(':') {
        None => Ok(format!("{host}:{DEFAULT_PORT}")),
        Some((_, more)) if more.contains(':') => Ok(format!("[{host}]:{DEFAULT_PORT}")),
        Some((name, port)) if !name.is_empty() && is_port(port) => Ok(host.into()),
        Some(_) => Err(format!("`{host}` is not host:port")),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.hosts.join(","), self.chroot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings_are_read() {
        let read = |text: &str| text.parse::<Servers>().map(|s| s.to_string());
        assert_eq!(read("a"), Ok("a:2181".into()));
        assert_eq!(read("a:1, b,c:3/app/x"), Ok("a:1,b:2181,c:3/app/x".into()));
        assert_eq!(read("a/"), Ok("a:2181".into()));
        assert_eq!(read("::1,[::2]:5,[::3]"), Ok("[::1]:2181,[::2]:5,[::3]:2181".into()));
        for bad in ["", ",", "/x", "a:", ":1", "a:0", "a:99999", "a/x/", "a//x", "[::1", "[::1]5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
