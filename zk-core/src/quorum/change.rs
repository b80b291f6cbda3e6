//! What a configuration becomes when servers join and leave: the text, as the client of a
//! reconfiguration asks for it. Answers to the incremental part of `PrepRequestProcessor`'s reconfig.

use core::net::IpAddr;

use super::config::Config;
use super::server::{Server, trim};
use super::text::{Fill, server_id};
use crate::id::ServerId;

/// Why there is no such configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// The number of a server is none. (Apache fails there: `MarshallingError`.)
    Number,
    /// A server that joins is none, or has no port for clients, or a port of another server's; or
    /// quorums are counted by groups, where a change must name all members.
    Server,
    /// The text is longer than its room.
    Room,
}

/// Writes the lines of `config`, without the servers that `leaving` numbers, and with those that
/// `joining` describes (`server.N=...`), each with commas between them. Answers how long the text is;
/// when it is set, [`check`] says whether it may be.
///
/// # Errors
/// [`ChangeError`].
pub fn change(
    config: &Config<'_>,
    joining: &str,
    leaving: &str,
    room: &mut [u8],
) -> Result<usize, ChangeError> {
    if config.is_hierarchical() {
        return Err(ChangeError::Server);
    }
    for id in listed(leaving) {
        number(id)?;
    }
    for joins in listed(joining) {
        entry(joins)?;
    }
    let mut out = Fill::new(room);
    let mut line = |id: ServerId, value: &str| {
        out.put("server.").number(id.0, 10).put("=").put(value).put("\n");
    };
    // Of what is said of a server twice, the later counts.
    let joins = |id, from| joined(joining).skip(from).any(|(other, _)| other == id);
    for member in config.members() {
        let leaves = listed(leaving).any(|left| number(left) == Ok(member.id));
        if !leaves && !joins(member.id, 0) {
            line(member.id, config.line(member));
        }
    }
    for (at, (id, value)) in joined(joining).enumerate() {
        if !joins(id, at + 1) {
            line(id, value);
        }
    }
    if out.is_whole() { Ok(out.len()) } else { Err(ChangeError::Room) }
}

/// Whether the servers that joined serve clients, and share no address with another.
///
/// # Errors
/// [`ChangeError::Server`].
pub fn check(config: &Config<'_>, joining: &str) -> Result<(), ChangeError> {
    for (id, _) in joined(joining) {
        let server = config.server(id).filter(|server| server.client.is_some());
        let server = server.ok_or(ChangeError::Server)?;
        for other in config.members().filter(|member| member.id != id) {
            if let Some(other) = config.server(other.id)
                && places(&server).any(|mine| places(&other).any(|yours| mine == yours))
            {
                return Err(ChangeError::Server);
            }
        }
    }
    Ok(())
}

/// The servers that join.
fn joined(joining: &str) -> impl Iterator<Item = (ServerId, &str)> + Clone {
    listed(joining).filter_map(|joins| entry(joins).ok())
}

/// What stands between commas, without blanks around it.
fn listed(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(',').map(trim).filter(|part| !part.is_empty())
}

fn number(text: &str) -> Result<ServerId, ChangeError> {
    server_id(text).ok_or(ChangeError::Number)
}

/// A server that joins: its number, and the rest of its line.
fn entry(text: &str) -> Result<(ServerId, &str), ChangeError> {
    let end = text.bytes().position(|byte| byte == b'=').ok_or(ChangeError::Server)?;
    let (key, value) = (text.get(..end).unwrap_or_default(), text.get(end + 1..));
    let dot = key.bytes().rposition(|byte| byte == b'.').map_or(0, |dot| dot + 1);
    Ok((number(trim(key.get(dot..).unwrap_or_default()))?, trim(value.unwrap_or_default())))
}

/// Where a server is met, and serves clients. What stands for every address, or for the machine itself,
/// says nothing.
fn places<'a>(server: &'a Server<'_>) -> impl Iterator<Item = (&'a str, u16)> + Clone {
    let addresses = server.addresses.iter();
    let met = addresses.flat_map(|a| [(a.host, a.quorum), (a.host, a.election)]);
    met.chain(server.client).filter(|(host, _)| match host.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified() && !address.is_loopback(),
        Err(_) => !host.eq_ignore_ascii_case("localhost"),
    })
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use std::string::{String, ToString};

    use super::*;

    fn changed(joining: &str, leaving: &str) -> Result<String, ChangeError> {
        let mut config = Config::owned();
        config
            .set(b"server.1=a:1:2;3\nserver.2=b:1:2;3\nserver.3=c:1:2:observer\nversion=7")
            .unwrap();
        let mut room = [0; 400];
        let len = change(&config, joining, leaving, &mut room)?;
        let mut next = Config::owned();
        next.set(&room[..len]).map_err(|_| ChangeError::Server)?;
        check(&next, joining)?;
        Ok(core::str::from_utf8(next.text()).unwrap().to_string())
    }

    #[test]
    fn servers_join_leave_and_change() {
        let (one, two) =
            ("server.1=a:1:2:participant;0.0.0.0:3\n", "server.2=b:1:2:participant;0.0.0.0:3\n");
        let three = "server.3=c:1:2:observer\n";
        let version = "version=0";
        let joined = "server.4=d:1:2:observer;0.0.0.0:3\n";
        assert_eq!(changed("", "").unwrap(), [one, two, three, version].concat());
        assert_eq!(changed("", "1, 3,,9").unwrap(), [two, version].concat());
        let joining = "server.4=d:1:2:observer;3";
        assert_eq!(changed(joining, "3").unwrap(), [one, two, joined, version].concat());
        let moved = "server.2=e:1:2:participant;f:9\n";
        assert_eq!(
            changed("server.2=e:1:2;f:9", "").unwrap(),
            [one, moved, three, version].concat()
        );
        // Whoever leaves and joins is there; of two lines the later one counts.
        let both = "server.2=x:1:2;3 , server.2=e:1:2;f:9";
        assert_eq!(changed(both, "2").unwrap(), [one, moved, three, version].concat());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (joining, leaving, error) in [
            ("", "one", ChangeError::Number),
            ("server.x=d:1:2;3", "", ChangeError::Number),
            ("server.4", "", ChangeError::Server),
            ("server.4=d:1;3", "", ChangeError::Server),
            ("server.4=d:1:2", "", ChangeError::Server),
            ("server.4=a:1:9;8", "", ChangeError::Server),
            ("server.4=d:1:2;a:2", "", ChangeError::Server),
            ("server.4=d:1:2;3,server.5=d:5:1;6", "", ChangeError::Server),
            ("", "1,2", ChangeError::Server),
        ] {
            assert_eq!(changed(joining, leaving), Err(error), "{joining} {leaving}");
        }
        // An address that another server gives up, and one that says nothing.
        assert!(changed("server.4=a:1:2;3", "1").is_ok());
        assert!(changed("server.1=d:1:2;3,server.4=a:1:2;3", "").is_ok());
        assert!(changed("server.4=localhost:1:2;3,server.5=localhost:1:2;3", "").is_ok());
    }

    #[test]
    fn the_text_has_a_limit() {
        let mut config = Config::owned();
        config.set(b"server.1=a:1:2;3").unwrap();
        assert_eq!(change(&config, "", "", &mut [0; 30]), Err(ChangeError::Room));
    }
}
