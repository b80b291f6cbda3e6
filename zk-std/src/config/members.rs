//! The members of the ensemble, and this server among them: server lines, dynamic configuration
//! files, `myid`. Source: `QuorumPeerConfig.parse`, `setupQuorumPeerConfig`, `parseDynamicConfig`,
//! `checkValidity`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zk_core::id::{ServerId, Zxid};
use zk_core::quorum::Role;

use super::apply::parse_properties;
use super::error::{Error, Origin, Warning};
use super::properties::{Property, trim};
use super::quorum::Quorum;
use super::settings::{Setting, Settings, parse_long};
use super::{Config, Mode, about_file, read, read_if_any};

/// How messages name the server lines as a whole.
const SERVERS: &str = "server.N";

impl Config {
    /// Server lines, `myid`, and what they mean for this server.
    pub(super) fn members(&mut self, path: Option<&Path>, s: &mut Settings) -> Result<(), Error> {
        let oracle = s.text("oraclePath").map(PathBuf::from);
        self.dynamic_config_file = s.text("dynamicConfigFile").map(PathBuf::from);
        let mut lines = Vec::new();
        for row in ["server.*", "group*", "weight*"] {
            lines.extend(s.under(row));
        }
        let version = s.get("version").cloned();
        let quorum = match self.dynamic_config_file.clone() {
            None => {
                lines.extend(version);
                let quorum = Quorum::parse(&lines, self.multi_address_enabled, oracle)?;
                if let Some(path) = path {
                    self.last_seen_quorum = self.first_version(path, &quorum, s);
                }
                quorum
            }
            Some(dynamic) => {
                if let Some(line) = lines.first() {
                    return Err(line.error(
                        "with dynamicConfigFile, server, group and weight lines stand there",
                        format!("move the line to {}", dynamic.display()),
                    ));
                }
                let Some(path) = path else {
                    return Err(s.error(
                        "dynamicConfigFile",
                        "a configuration without a file cannot lead to another",
                        "write the server lines here",
                    ));
                };
                let lines = dynamic_lines(&dynamic)?;
                let quorum = Quorum::parse(&lines, self.multi_address_enabled, oracle)?;
                self.last_seen_quorum = self.next_quorum(path)?;
                quorum
            }
        };
        self.check_members(&quorum, s)?;
        self.quorum = Some(quorum).filter(|quorum| !quorum.servers.is_empty());
        if path.is_some() {
            self.server_id = read_myid(&self.data_dir)?;
        }
        self.use_own_line(s)?;
        if self.mode() == Mode::Quorum {
            self.check_quorum_mode(path, s)?;
        }
        Ok(())
    }

    /// `<zoo.cfg>.dynamic.next`, if there is one.
    fn next_quorum(&self, path: &Path) -> Result<Option<Quorum>, Error> {
        let mut next = path.as_os_str().to_owned();
        next.push(".dynamic.next");
        let next = PathBuf::from(next);
        let Some(text) = read_if_any(&next)? else { return Ok(None) };
        let lines = settings_of(&next, &text)?;
        Quorum::parse(&lines, self.multi_address_enabled, None).map(Some)
    }

    /// The first version of the members in `zoo.cfg` itself, if a leader has given them one, and a crash came
    /// before that was written there. Without it, this server would refuse those who have it. (Apache does
    /// not read the file here.) Any other is none of this configuration's.
    fn first_version(&self, path: &Path, members: &Quorum, s: &mut Settings) -> Option<Quorum> {
        match self.next_quorum(path) {
            Ok(next) => next.filter(|next| {
                let first = members.version == Zxid::ZERO && next.version.counter() == 0;
                first && *next == Quorum { version: next.version, ..members.clone() }
            }),
            Err(error) => {
                s.warn(SERVERS, format!("this is not looked at: {error}"));
                None
            }
        }
    }

    fn check_members(&self, quorum: &Quorum, s: &mut Settings) -> Result<(), Error> {
        let voters = quorum.voters().count();
        let observers = quorum.observers().count();
        let standalone = "standaloneEnabled";
        match (voters, self.standalone_enabled) {
            (0, false) => Err(s.error(
                standalone,
                "it is false, but there is no participant",
                "add a line server.N for every participant, or set it to true",
            )),
            (0 | 1, true) if observers > 0 => Err(s.error(
                SERVERS,
                format!("there are observers, but {voters} participant(s)"),
                "add participants, or set standaloneEnabled=false if one is enough",
            )),
            (0, true) => Ok(()),
            (1, true) => {
                s.warn(
                    SERVERS,
                    "there is only one server, which will run standalone: the line has no effect \
                     but for its client port",
                );
                Ok(())
            }
            (1 | 2, _) => {
                let text = format!("with {voters} participant(s), no server may fail: use three");
                s.warn(SERVERS, text);
                Ok(())
            }
            (even, _) if even % 2 == 0 => {
                let text =
                    format!("{even} participants survive no more failures than {}", even - 1);
                s.warn(SERVERS, text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes client address and role from the line of this server.
    fn use_own_line(&mut self, s: &mut Settings) -> Result<(), Error> {
        let own = match (self.server_id, &mut self.quorum) {
            (Some(id), Some(quorum)) => quorum.servers.get_mut(&id),
            _ => None,
        };
        let mut role = Role::Participant;
        if let Some(server) = own {
            role = server.role;
            match (&self.client_address, &server.client_address) {
                (Some(fixed), Some(own)) => {
                    let agree = if fixed.is_any_address() {
                        fixed.port == own.port
                    } else {
                        fixed.is_same(own)
                    };
                    if !agree {
                        let problem = format!(
                            "clients are served on {fixed} by this line, on {own} by the line \
                             server.{}",
                            server.id.0
                        );
                        return Err(s.error("clientPort", problem, "remove one of the two"));
                    }
                    self.client_address = Some(own.clone());
                }
                (None, Some(own)) => self.client_address = Some(own.clone()),
                (fixed, None) => {
                    server.client_address.clone_from(fixed);
                    server.client_address_is_static = true;
                }
            }
        }
        // Without myid the role cannot be known; that is an error only in a quorum.
        if self.peer_type != role {
            s.warn("peerType", format!("by the server lines this is a(n) {role}, and so it runs"));
            self.peer_type = role;
        }
        if self.client_address.is_none() {
            s.warn("clientPort", "it is not set: no client can connect");
        }
        Ok(())
    }

    fn check_quorum_mode(&self, path: Option<&Path>, s: &mut Settings) -> Result<(), Error> {
        for (key, limit) in [("initLimit", self.init_limit), ("syncLimit", self.sync_limit)] {
            if limit == 0 {
                let remedy = format!("an ensemble needs it: add {key}=10 (ticks)");
                return Err(s.error(key, "it is not set", remedy));
            }
        }
        if path.is_none() {
            return Ok(());
        }
        let myid = self.data_dir.join("myid");
        let Some(id) = self.server_id else {
            return Err(about_file(
                &myid,
                "there is no such file",
                "write the number of this server's line, server.N, into it",
            ));
        };
        let members = self.quorum.iter().flat_map(|quorum| quorum.servers.keys());
        if !members.clone().any(|&member| member == id) {
            let known: Vec<String> = members.map(|member| member.0.to_string()).collect();
            return Err(about_file(
                &myid,
                format!("there is no line server.{}, only of {}", id.0, known.join(", ")),
                "correct the number, or add the line on every server",
            ));
        }
        if self.extended_types_enabled && id > ServerId::MAX {
            return Err(about_file(
                &myid,
                format!("with extendedTypesEnabled, {} is too large", id.0),
                format!("give this server a number up to {}", ServerId::MAX.0),
            ));
        }
        if !(0..=255).contains(&id.0) {
            s.warnings.push(Warning {
                origin: Origin::File { path: Some(myid.into()), line: 1 },
                key: None,
                value: None,
                text: format!(
                    "only the last eight bits of {} are part of session ids; use 1 to 254",
                    id.0
                ),
            });
        }
        Ok(())
    }
}

fn settings_of(path: &Path, text: &[u8]) -> Result<Vec<Setting>, Error> {
    let properties = parse_properties(Some(path), text)?;
    let path: Arc<Path> = path.into();
    let setting = |entry: Property| Setting {
        key: trim(&entry.key).to_owned(),
        value: trim(&entry.value).to_owned(),
        origin: Origin::File { path: Some(path.clone()), line: entry.line },
    };
    Ok(properties.entries.into_iter().map(setting).collect())
}

/// Reads a dynamic configuration file; its version stands at the end of its name.
fn dynamic_lines(path: &Path) -> Result<Vec<Setting>, Error> {
    let mut lines = settings_of(path, &read(path)?)?;
    let member = |key: &str| ["server.", "group", "weight"].iter().any(|p| key.starts_with(p));
    if let Some(line) = lines.iter().find(|line| !member(&line.key)) {
        return Err(line.error(
            "a dynamic configuration has server, group and weight lines only",
            "move the line to zoo.cfg (a version stands in the name of the file, in hexadecimal)",
        ));
    }
    let name = path.to_string_lossy();
    let version = name.rsplit_once('.').map(|(_, suffix)| suffix);
    if let Some(version) = version.filter(|v| i64::from_str_radix(v, 16).is_ok()) {
        lines.push(Setting {
            key: "version".to_owned(),
            value: version.to_owned(),
            origin: Origin::File { path: Some(path.into()), line: 0 },
        });
    }
    Ok(lines)
}

/// The number on the first line of `<dataDir>/myid`. Nothing else may stand on it, no blank either.
fn read_myid(data_dir: &Path) -> Result<Option<ServerId>, Error> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return Ok(None);
    }
    let text = read(&path)?;
    let first = text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let id = core::str::from_utf8(first).ok().and_then(parse_long);
    // Apache takes -1 for "no number", and then misses the file.
    id.filter(|&id| id != -1).map(ServerId).map(Some).ok_or_else(|| {
        about_file(
            &path,
            "its first line is not the number of a server",
            "write the number and nothing else, no blank either, into the first line",
        )
    })
}
