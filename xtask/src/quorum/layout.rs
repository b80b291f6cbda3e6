//! What a quorum consists of, and what is on its boards' flash: it stays from run to run.

use core::net::Ipv4Addr;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::named;
use crate::command;
use crate::switch::host;
use crate::targets::{Emulated, TINY};

/// The board, unless one is named: the one that holds more.
const USUAL: &str = "sifive-u";

/// The most boards of a quorum.
pub(crate) const BOARDS_MAX: usize = 9;

/// Ports of every board.
pub(crate) const CLIENT: u16 = 2181;
pub(crate) const QUORUM: u16 = 2888;
pub(crate) const ELECTION: u16 = 3888;

/// The file that says what is in the directory.
const FILE: &str = "quorum.txt";

/// The ports of a desktop server on 127.0.0.1, which the boards know at the host's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Desktop {
    pub(crate) quorum: u16,
    pub(crate) election: u16,
    pub(crate) client: u16,
}

/// Who belongs to a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Kinds of boards, which take turns.
    pub(crate) kinds: Vec<Emulated>,
    pub(crate) boards: usize,
    /// Server 1, if there is one; it accepts what the boards can hold.
    pub(crate) desktop: Option<Desktop>,
}

impl Layout {
    /// What is in the directory, or what is wished for if there is nothing yet.
    ///
    /// # Errors
    /// Something else is there, or the directory cannot be used.
    pub(crate) fn of(
        dir: &Path,
        kinds: &[Emulated],
        boards: Option<usize>,
        mixed: bool,
    ) -> Result<Self, String> {
        let wrong = |error: io::Error| format!("cannot use {}: {error}", dir.display());
        fs::create_dir_all(dir).map_err(wrong)?;
        let file = dir.join(FILE);
        match fs::read_to_string(&file) {
            Ok(text) => {
                let layout = Self::read(&text)
                    .ok_or_else(|| format!("{} says nothing that is known", file.display()))?;
                let same = (kinds.is_empty() || kinds == layout.kinds)
                    && boards.is_none_or(|boards| boards == layout.boards)
                    && (!mixed || layout.desktop.is_some());
                if same {
                    return Ok(layout);
                }
                let desktop = if layout.desktop.is_some() { " and a desktop server" } else { "" };
                Err(format!(
                    "{} has a quorum of {} boards ({}){desktop}: name another --data",
                    dir.display(),
                    layout.boards,
                    layout.names()
                ))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut kinds = kinds.to_vec();
                if kinds.is_empty() {
                    kinds.extend(named(USUAL));
                }
                let layout = Self {
                    kinds,
                    // Three members is what the smallest profile of a board holds.
                    boards: boards.unwrap_or(if mixed { 2 } else { 3 }),
                    desktop: mixed.then(Desktop::free).transpose().map_err(wrong)?,
                };
                fs::write(&file, layout.text()).map_err(wrong)?;
                Ok(layout)
            }
            Err(error) => Err(wrong(error)),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("board {}\nboards {}\n", self.names(), self.boards);
        if let Some(Desktop { quorum, election, client }) = self.desktop {
            text += &format!("desktop {quorum} {election} {client}\n");
        }
        text
    }

    fn read(text: &str) -> Option<Self> {
        let (mut kinds, mut boards, mut desktop) = (None, None, None);
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["board", names] => kinds = names.split(',').map(named).collect(),
                ["boards", count] => boards = count.parse().ok(),
                ["desktop", quorum, election, client] => {
                    let port = |port: &str| port.parse().ok();
                    desktop = Some(Desktop {
                        quorum: port(quorum)?,
                        election: port(election)?,
                        client: port(client)?,
                    });
                }
                _ => return None,
            }
        }
        let boards = boards.filter(|boards| (1..=BOARDS_MAX).contains(boards))?;
        Some(Self { kinds: kinds?, boards, desktop })
    }

    /// The kinds of boards, with commas between.
    fn names(&self) -> String {
        self.kinds.iter().map(|kind| kind.board.package).collect::<Vec<_>>().join(",")
    }

    /// Which kind of board a server is.
    pub(crate) fn kind(&self, id: usize) -> usize {
        (id - self.ids().start) % self.kinds.len()
    }

    /// The firmware of that kind of board, if not the usual one: members of one ensemble hold the same.
    pub(crate) fn program(&self, kind: usize) -> Option<&'static str> {
        let holds = |kind: &Emulated| kind.board.profile;
        let own = holds(&self.kinds[kind]);
        let differ = self.kinds.iter().any(|kind| holds(kind) != own);
        (differ && own != TINY).then_some(TINY)
    }

    /// What each of them holds.
    fn profile(&self) -> &'static str {
        let own = self.kinds.first().map_or(TINY, |kind| kind.board.profile);
        self.program(0).unwrap_or(own)
    }

    /// The numbers of the servers that are boards.
    pub(crate) fn ids(&self) -> core::ops::Range<usize> {
        let first = if self.desktop.is_some() { 2 } else { 1 };
        first..first + self.boards
    }

    /// All members, as `zk board provision` takes them.
    fn peers(&self) -> String {
        let desktop = self.desktop.map(|Desktop { quorum, election, client }| {
            format!("1={}:{quorum}:{election};{client}", host::ADDRESS)
        });
        let boards = self.ids().map(|id| format!("{id}={}", address(id)));
        desktop.into_iter().chain(boards).collect::<Vec<_>>().join(",")
    }

    /// Writes the flash of each board that has none yet, by `zk`. With `dhcp`, boards that can are to ask the
    /// network for what they need not know.
    ///
    /// # Errors
    /// It cannot be written, or is not that of a board.
    pub(crate) fn provision(&self, zk: &Path, dir: &Path, dhcp: bool) -> Result<(), String> {
        for id in self.ids() {
            let image = image(dir, id);
            let size = self.kinds[self.kind(id)].emulator.flash;
            match fs::metadata(&image) {
                Ok(there) if there.len() == size => continue,
                Ok(there) => {
                    return Err(format!(
                        "{} has {} bytes, not the {size} of the board's flash: delete it, and the board is new",
                        image.display(),
                        there.len()
                    ));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", image.display())),
            }
            let mut provision = Command::new(zk);
            provision.args(["board", "provision", "--id", &id.to_string()]);
            let mac = hardware(id).map(|byte| format!("{byte:02x}")).join(":");
            provision.args(["--peers", &self.peers(), "--mac", &mac]);
            if dhcp && self.kinds[self.kind(id)].board.dhcp {
                provision.arg("--dhcp");
            }
            provision.args(["--size", &size.to_string(), "--out"]).arg(&image);
            println!("$ {}", command::named(&provision));
            match provision.status() {
                Ok(status) if status.success() => {}
                Ok(status) => return Err(format!("zk board provision: {status}")),
                Err(error) => return Err(format!("cannot start {}: {error}", zk.display())),
            }
        }
        Ok(())
    }

    /// Writes the configuration of the desktop server. `door` says where it meets a board: on a port of
    /// 127.0.0.1 for each of the board's.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn configure(
        &self,
        dir: &Path,
        door: impl Fn(usize, u16) -> u16,
    ) -> io::Result<Option<PathBuf>> {
        let Some(Desktop { quorum, election, client }) = self.desktop else { return Ok(None) };
        let own = dir.join("desktop");
        fs::create_dir_all(&own)?;
        fs::write(own.join("myid"), "1\n")?;
        let mut text = format!(
            "dataDir={}\ntickTime=2000\ninitLimit=15\nsyncLimit=5\nstandaloneEnabled=false\n\
             autopurge.purgeInterval=1\n4lw.commands.whitelist=*\nzk.capacity={}\n\
             server.1=127.0.0.1:{quorum}:{election}:participant;127.0.0.1:{client}\n",
            own.display(),
            self.profile()
        );
        for id in self.ids() {
            let (quorum, election, client) =
                (door(id, QUORUM), door(id, ELECTION), door(id, CLIENT));
            text += &format!(
                "server.{id}=127.0.0.1:{quorum}:{election}:participant;127.0.0.1:{client}\n"
            );
        }
        let file = own.join("zoo.cfg");
        fs::write(&file, text)?;
        Ok(Some(file))
    }
}

impl Desktop {
    /// Ports that are free now.
    fn free() -> io::Result<Self> {
        let held: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<_>>()?;
        let port = |at: usize| Ok::<_, io::Error>(held[at].local_addr()?.port());
        Ok(Self { quorum: port(0)?, election: port(1)?, client: port(2)? })
    }
}

/// The address of a server that is a board.
pub(crate) fn address(id: usize) -> Ipv4Addr {
    let [a, b, c, _] = host::ADDRESS.octets();
    // There are no more than BOARDS_MAX and a desktop.
    Ipv4Addr::new(a, b, c, 100 + id as u8)
}

pub(crate) fn hardware(id: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, id as u8]
}

/// The flash of a board.
pub(crate) fn image(dir: &Path, id: usize) -> PathBuf {
    dir.join(format!("node{id}.bin"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Dir;
    use super::*;
    use crate::targets::emulated;

    fn board(number: usize) -> Emulated {
        emulated().nth(number).unwrap()
    }

    #[test]
    fn a_quorum_is_the_same_the_next_time() {
        let dir = Dir::new();
        let first = Layout::of(&dir.0, &[board(1)], Some(5), true).unwrap();
        assert_eq!((first.boards, first.ids()), (5, 2..7));
        assert_eq!(Layout::of(&dir.0, &[], None, false), Ok(first.clone()));
        assert_eq!(Layout::of(&dir.0, &[board(1)], Some(5), true), Ok(first.clone()));
        for other in [
            Layout::of(&dir.0, &[board(0)], None, false),
            Layout::of(&dir.0, &[board(1), board(0)], None, false),
            Layout::of(&dir.0, &[], Some(3), false),
        ] {
            assert!(other.unwrap_err().contains("5 boards (sifive-u) and a desktop server"));
        }
        fs::write(dir.0.join(FILE), "boards 4\n").unwrap();
        assert!(Layout::of(&dir.0, &[], None, false).is_err());

        let dir = Dir::new();
        let usual = Layout::of(&dir.0, &[], None, false).unwrap();
        assert_eq!(
            (usual.names(), usual.ids(), usual.desktop),
            ("sifive-u".to_owned(), 1..4, None)
        );
        assert!(Layout::of(&dir.0, &[], None, true).is_err());
        assert_eq!(usual.configure(&dir.0, |_, _| 1).unwrap(), None);
    }

    #[test]
    fn kinds_take_turns_and_hold_the_same() {
        let dir = Dir::new();
        let both = [board(0), board(1)];
        let mixed = Layout::of(&dir.0, &both, Some(3), true).unwrap();
        assert_eq!(mixed.ids().map(|id| mixed.kind(id)).collect::<Vec<_>>(), [0, 1, 0]);
        assert_eq!([0, 1].map(|kind| mixed.program(kind)), [None, Some(TINY)]);
        assert_eq!(mixed.profile(), TINY);
        assert_eq!(Layout::of(&dir.0, &[], None, false), Ok(mixed));
        for kind in both {
            let alike = Layout { kinds: vec![kind], boards: 3, desktop: None };
            assert_eq!((alike.program(0), alike.profile()), (None, kind.board.profile));
        }
    }

    #[test]
    fn members_know_each_other() {
        let desktop = Some(Desktop { quorum: 1, election: 2, client: 3 });
        let layout = Layout { kinds: vec![board(0)], boards: 2, desktop };
        assert_eq!(layout.peers(), "1=10.0.2.2:1:2;3,2=10.0.2.102,3=10.0.2.103");
        assert_eq!((hardware(10), address(3)), ([2, 0, 0, 0, 0, 10], [10, 0, 2, 103].into()));
        let dir = Dir::new();
        let file = layout.configure(&dir.0, |id, port| port + id as u16).unwrap().unwrap();
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains("\nzk.capacity=tiny\n"), "{text}");
        assert!(text.ends_with(
            "server.1=127.0.0.1:1:2:participant;127.0.0.1:3\n\
             server.2=127.0.0.1:2890:3890:participant;127.0.0.1:2183\n\
             server.3=127.0.0.1:2891:3891:participant;127.0.0.1:2184\n"
        ));
    }

    #[test]
    fn what_is_no_flash_is_left_alone() {
        let dir = Dir::new();
        let layout = Layout { kinds: vec![board(0)], boards: 1, desktop: None };
        fs::write(image(&dir.0, 1), "half").unwrap();
        let error = layout.provision(Path::new("no-such-program"), &dir.0, true).unwrap_err();
        assert!(error.contains("has 4 bytes"), "{error}");
        fs::remove_file(image(&dir.0, 1)).unwrap();
        let error = layout.provision(Path::new("no-such-program"), &dir.0, true).unwrap_err();
        assert!(error.starts_with("cannot start"), "{error}");
    }
}
