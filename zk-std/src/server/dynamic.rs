//! The files of a configuration that changes while the server runs, as Apache keeps them:
//!
//! ```text
//! zoo.cfg                      loses its server lines, and gets dynamicConfigFile=...
//! zoo.cfg.bak                  zoo.cfg as it was before
//! zoo.cfg.dynamic.<version>    the configuration in force, one line a server
//! zoo.cfg.dynamic.next         one that is proposed
//! ```
//!
//! The history has all of it as well: what cannot be written here is complained of, and nothing is
//! lost. Answers to `QuorumPeerConfig.writeDynamicConfig` and `editStaticConfig`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use zk_core::id::ServerId;
use zk_core::peer::Peer;

use crate::config::Config;
use crate::store::{OsDirectory, remove, replace};

/// Keys of `zoo.cfg` that a dynamic configuration takes over.
const MOVED: [&str; 5] = ["server.", "group", "weight", "dynamicConfigFile", "peerType"];

/// What moves besides, when the server's line has a client address.
const MOVED_CLIENT: &str = "clientPort";

/// The files, and which configurations they have.
pub(super) struct Dynamic {
    file: PathBuf,
    me: ServerId,
    committed: i64,
    proposed: Option<i64>,
}

impl Dynamic {
    /// `None`: there is no file, or the configuration is not to change.
    pub(super) fn of(config: &Config, me: ServerId) -> Option<Self> {
        let file = config.file.clone().filter(|_| config.reconfig_enabled)?;
        let committed = config.quorum.as_ref()?.version.0;
        let proposed = config.last_seen_quorum.as_ref().map(|next| next.version.0);
        let files = Self { file, me, committed, proposed };
        if config.dynamic_config_file.is_none() {
            let backup = |files: &Self| {
                let text = std::fs::read(&files.file)?;
                files.replace(".bak", &text)
            };
            files.complain(backup(&files), "keep a copy of it");
        }
        Some(files)
    }

    /// Writes what has changed.
    pub(super) fn note(&mut self, peer: &Peer<'_>) {
        let config = peer.config();
        if config.version() > self.committed {
            self.committed = config.version();
            let client = config.client_address(self.me).is_some();
            self.complain(self.commit(config.text(), client), "write the configuration in force");
        }
        let pending = peer.quorums().pending();
        let proposed = pending.map(zk_core::quorum::Config::version);
        if proposed != self.proposed {
            self.proposed = proposed;
            let written = match pending {
                Some(next) => self.replace(".dynamic.next", lines(next.text(), true).as_bytes()),
                None => self.remove(".dynamic.next"),
            };
            self.complain(written, "write the proposed configuration");
        }
    }

    fn commit(&self, text: &[u8], client: bool) -> io::Result<()> {
        let suffix = format!(".dynamic.{:x}", self.committed);
        self.replace(&suffix, lines(text, false).as_bytes())?;
        let dynamic = std::fs::canonicalize(self.with(&suffix))?;
        let old = std::fs::read(&self.file)?;
        self.replace("", &edited(&old, &dynamic, client))
    }

    /// The file with something behind its name.
    fn with(&self, suffix: &str) -> PathBuf {
        let mut name: OsString = self.file.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    fn place(&self, suffix: &str) -> io::Result<(OsDirectory, String)> {
        let path = self.with(suffix);
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| io::Error::other("its name is not UTF-8"))?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok((OsDirectory::new(parent.unwrap_or_else(|| Path::new("."))), name))
    }

    fn replace(&self, suffix: &str, bytes: &[u8]) -> io::Result<()> {
        let (directory, name) = self.place(suffix)?;
        replace(&directory, &name, bytes)
    }

    fn remove(&self, suffix: &str) -> io::Result<()> {
        let (directory, name) = self.place(suffix)?;
        remove(&directory, &name).map(|_| ())
    }

    fn complain(&self, result: io::Result<()>, doing: &str) {
        if let Err(error) = result {
            log::error!(
                "{}: cannot {doing}: {error}. The history has it; but make the file writable before \
                 the next start",
                self.file.display()
            );
        }
    }
}

/// The lines of a configuration in order, with or without its version.
fn lines(text: &[u8], version: bool) -> String {
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<&str> =
        text.lines().filter(|line| version || !line.starts_with("version")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// `zoo.cfg` without what moves to the dynamic configuration; comments stay.
fn edited(text: &[u8], dynamic: &Path, client: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut drop = false;
    let mut goes_on = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let shown = line.trim_ascii_start();
        let comment = shown.starts_with(b"#") || shown.starts_with(b"!");
        if !goes_on {
            let moves = |key: &str| shown.starts_with(key.as_bytes());
            drop =
                !comment && (MOVED.iter().any(|key| moves(key)) || client && moves(MOVED_CLIENT));
        }
        let end = line.trim_ascii_end();
        let backslashes = end.iter().rev().take_while(|&&byte| byte == b'\\').count();
        goes_on = (goes_on || !comment) && backslashes % 2 == 1;
        if !drop {
            out.extend_from_slice(line);
        }
    }
    if out.last().is_some_and(|&last| last != b'\n') {
        out.push(b'\n');
    }
    out.extend_from_slice(format!("dynamicConfigFile={}\n", dynamic.display()).as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_file_keeps_what_does_not_move() {
        let text = b"# servers\ntickTime=2000\nserver.1=a:1:2\n  server.2 = b:1:\\\n   2;3\n\
            clientPort=2181\nclientPortAddress=h\n#server.3=c\npeerType=observer\ndataDir=/d";
        let dynamic = Path::new("/etc/zoo.cfg.dynamic.5");
        let kept = "# servers\ntickTime=2000\n#server.3=c\ndataDir=/d\n\
            dynamicConfigFile=/etc/zoo.cfg.dynamic.5\n";
        assert_eq!(String::from_utf8(edited(text, dynamic, true)).unwrap(), kept);
        let kept = kept.replace("#server", "clientPort=2181\nclientPortAddress=h\n#server");
        assert_eq!(String::from_utf8(edited(text, dynamic, false)).unwrap(), kept);
        // Once more changes nothing but where it leads.
        let again = edited(kept.as_bytes(), Path::new("/etc/zoo.cfg.dynamic.6"), false);
        assert_eq!(String::from_utf8(again).unwrap(), kept.replace("dynamic.5", "dynamic.6"));
    }

    #[test]
    fn dynamic_files_have_their_lines_in_order() {
        let text = b"server.2=b\nserver.10=c\nserver.1=a\nversion=5";
        assert_eq!(lines(text, false), "server.10=c\nserver.1=a\nserver.2=b");
        assert_eq!(lines(text, true), "server.10=c\nserver.1=a\nserver.2=b\nversion=5");
    }
}
