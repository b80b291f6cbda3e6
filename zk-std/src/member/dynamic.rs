//! The files of a configuration that changes while the server runs, as Apache keeps them:
//!
//! ```text
//! zoo.cfg                      loses its server lines, and gets dynamicConfigFile=...
//! zoo.cfg.bak                  zoo.cfg as it was before
//! zoo.cfg.dynamic.<version>    the configuration in force, one line a server (no version: the first)
//! zoo.cfg.dynamic.next         one that is proposed
//! ```
//!
//! The history has all of it as well: what cannot be written here is complained of, and nothing is
//! lost, once the configuration in force has a version. Answers to
//! `QuorumPeerConfig.writeDynamicConfig` and `editStaticConfig`.

use std::io;
use std::path::Path;

use zk_core::id::{ServerId, Zxid};
use zk_core::peer::Peer;

use crate::config::Config;
use crate::store::directory::read_small;
use crate::store::{Directory, OsDirectory, remove, replace};

/// Keys of `zoo.cfg` that a dynamic configuration takes over.
const MOVED: [&str; 5] = ["server.", "group", "weight", "dynamicConfigFile", "peerType"];

/// What moves besides, when the server's line has a client address.
const MOVED_CLIENT: &str = "clientPort";

/// Bytes of the longest `zoo.cfg` that is edited.
const FILE_MAX: usize = 1 << 20;

/// The files, and which configurations they have.
#[derive(Debug)]
pub struct Dynamic<D: Directory> {
    directory: D,
    /// Of `zoo.cfg`.
    name: String,
    me: ServerId,
    committed: i64,
    proposed: Option<i64>,
    /// Which `zoo.cfg` leads to; -1: members stand there.
    written: i64,
}

impl Dynamic<OsDirectory> {
    /// `None`: there is no file, or the configuration is not to change.
    pub(crate) fn of(config: &Config, me: ServerId) -> Option<Self> {
        let file = config.file.as_ref().filter(|_| config.reconfig_enabled)?;
        let committed = config.quorum.as_ref()?.version.0;
        let proposed = config.last_seen_quorum.as_ref().map(|next| next.version.0);
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        // The path of the dynamic file is written down, for a start from wherever.
        let parent = std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
            log::error!(
                "{}: its name is not UTF-8: configurations are not written",
                file.display()
            );
            return None;
        };
        let leads_to = config.dynamic_config_file.as_ref().map(|_| committed);
        let files = Self::new(OsDirectory::new(parent), name, me, leads_to, proposed);
        if leads_to.is_none() {
            files.keep_copy();
        }
        Some(files)
    }
}

impl<D: Directory> Dynamic<D> {
    /// The files beside `name`, the `zoo.cfg` of the server `me`. `leads_to` is the version of the file
    /// with the configuration in force, 0 if it has none; `None`: members stand in `zoo.cfg` itself.
    pub fn new(
        directory: D,
        name: &str,
        me: ServerId,
        leads_to: Option<i64>,
        proposed: Option<i64>,
    ) -> Self {
        let (committed, written) = (leads_to.unwrap_or(0), leads_to.unwrap_or(-1));
        Self { directory, name: name.to_owned(), me, committed, proposed, written }
    }

    /// Keeps `zoo.cfg` as it is before the first change.
    pub fn keep_copy(&self) {
        if let Err(error) = self.old().and_then(|text| self.replace(".bak", &text)) {
            self.complain(&error, "keep a copy of it");
        }
    }

    /// Writes what has changed. To be called before anything is acknowledged.
    ///
    /// What cannot be written is complained of: the history has it, too. But whoever starts with a
    /// configuration without a version does not believe the history.
    ///
    /// # Errors
    /// Those of the file system, as long as the configuration in force has no version on the disk, and
    /// members have changed; the process has to end before it acknowledges that.
    pub fn note(&mut self, peer: &Peer<'_>) -> io::Result<()> {
        let config = peer.config();
        let pending = peer.quorums().pending();
        let proposed = pending.map(zk_core::quorum::Config::version);
        if config.version() <= self.committed && proposed == self.proposed {
            return Ok(());
        }
        self.committed = config.version().max(self.committed);
        let changed = Zxid(proposed.unwrap_or(self.committed)).counter() > 0;
        let mut result = Ok(());
        // The file of a proposed one counts only where zoo.cfg leads to another.
        if self.committed > self.written.max(0) || changed && self.written < 0 {
            let client = config.client_address(self.me).is_some();
            result = self.commit(config.text(), client);
            match &result {
                Ok(()) => self.written = self.committed,
                Err(error) => self.complain(error, "write the configuration in force"),
            }
        }
        if proposed != self.proposed {
            self.proposed = proposed;
            let written = match pending {
                Some(_) if zk_core::planted!(ReconfigForgotten) => Ok(()),
                Some(next) => self.replace(".dynamic.next", lines(next.text(), true).as_bytes()),
                None => remove(&self.directory, &self.with(".dynamic.next")).map(drop),
            };
            if let Err(error) = written {
                self.complain(&error, "write the proposed configuration");
                result = Err(error);
            }
        }
        if self.written <= 0 && changed { result } else { Ok(()) }
    }

    fn commit(&self, text: &[u8], client: bool) -> io::Result<()> {
        let suffix = match self.committed {
            0 => ".dynamic".to_owned(),
            version => format!(".dynamic.{version:x}"),
        };
        self.replace(&suffix, lines(text, false).as_bytes())?;
        let dynamic = self.directory.path(&self.with(&suffix));
        self.replace("", &edited(&self.old()?, &dynamic, client))
    }

    /// `zoo.cfg` as it is.
    fn old(&self) -> io::Result<Vec<u8>> {
        let text = read_small(&self.directory, &self.name, FILE_MAX)?;
        text.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The file with something behind its name.
    fn with(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    fn replace(&self, suffix: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.directory, &self.with(suffix), bytes)
    }

    fn complain(&self, error: &io::Error, doing: &str) {
        log::error!(
            "{}: cannot {doing}: {error}. The history has it; but make the file writable before the \
             next start",
            self.directory.path(&self.name).display()
        );
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
    use zk_core::id::{SessionId, Xid, Zxid};
    use zk_core::peer::{Ceilings, Epochs, Membership, Options};
    use zk_core::time::Now;
    use zk_core::tree::Seeds;
    use zk_core::wire::OpCode;
    use zk_core::wire::jute::{self, Buffer};
    use zk_core::wire::txn::{SetDataTxn, TxnHeader};

    use super::*;
    use crate::store::simulated::Disk;

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

    /// A member of a configuration without a version, to whom another is proposed.
    fn member() -> Peer<'static> {
        let options = Options { server: ServerId(1), reconfig: true, ..Options::default() };
        let (seeds, now) = (Seeds(1, 2), Now::new(0, 0));
        let options = Options { ensemble: true, ..options };
        let mut peer = Peer::owned(options, Ceilings::default(), seeds, SessionId(1), now).unwrap();
        // What is proposed counts where the history has it.
        let header = TxnHeader {
            client_id: SessionId(1),
            cxid: Xid(1),
            zxid: Zxid(0x1_0000_0005),
            time: 0,
            op: OpCode::Reconfig,
        };
        let (path, data) = ("/zookeeper/config".into(), Buffer::new(b"whatever it says"));
        let mut txn = Vec::new();
        jute::write(&(header, SetDataTxn { path, data, version: -1 }), &mut txn).unwrap();
        peer.load_txn(&txn).unwrap();
        let membership = Membership {
            config: b"server.1=a:1:2\nversion=0",
            proposed: Some(b"server.1=a:1:2\nserver.2=b:1:2\nversion=100000005"),
            epochs: Epochs::default(),
            damaged: false,
        };
        peer.join(now, &membership).unwrap();
        peer
    }

    fn shown(disk: &Disk, name: &str) -> Option<String> {
        disk.read(name).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// The file of what is proposed is read where `zoo.cfg` leads to another file.
    #[test]
    fn members_leave_zoo_cfg_before_a_change_is_acknowledged() {
        let disk = Disk::new(1);
        disk.write("zoo.cfg", b"tickTime=7\nserver.1=a:1:2\n");
        let mut files = Dynamic::new(disk.root(), "zoo.cfg", ServerId(1), None, None);
        files.keep_copy();
        files.note(&member()).unwrap();
        let zoo_cfg = "tickTime=7\ndynamicConfigFile=zoo.cfg.dynamic\n";
        assert_eq!(shown(&disk, "zoo.cfg").unwrap(), zoo_cfg);
        assert_eq!(shown(&disk, "zoo.cfg.dynamic").unwrap(), "server.1=a:1:2:participant");
        assert!(shown(&disk, "zoo.cfg.dynamic.next").unwrap().ends_with("version=100000005"));
        assert!(shown(&disk, "zoo.cfg.bak").unwrap().contains("server.1"));
    }

    #[test]
    fn a_change_that_would_be_forgotten_is_not_acknowledged() {
        let disk = Disk::new(1);
        disk.write("zoo.cfg", b"server.1=a:1:2\n");
        disk.set_capacity(Some(disk.used()));
        let mut files = Dynamic::new(disk.root(), "zoo.cfg", ServerId(1), None, None);
        assert!(files.note(&member()).is_err());
        let mut files = Dynamic::new(disk.root(), "zoo.cfg", ServerId(1), Some(0), None);
        assert!(files.note(&member()).is_err());
        // Once there is a version, the history is believed.
        let mut files = Dynamic::new(disk.root(), "zoo.cfg", ServerId(1), Some(1), None);
        assert!(files.note(&member()).is_ok());
    }

    #[test]
    fn dynamic_files_have_their_lines_in_order() {
        let text = b"server.2=b\nserver.10=c\nserver.1=a\nversion=5";
        assert_eq!(lines(text, false), "server.10=c\nserver.1=a\nserver.2=b");
        assert_eq!(lines(text, true), "server.10=c\nserver.1=a\nserver.2=b\nversion=5");
    }
}
