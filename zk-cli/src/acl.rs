//! ACLs as text: `scheme:id:perms`, separated by commas.

use zk_core::wire::client::{Acl, Id, perms};
use zk_core::wire::jute::List;

/// Letters of the permissions, in the order in which they are written.
const LETTERS: [(char, i32); 5] = [
    ('c', perms::CREATE),
    ('d', perms::DELETE),
    ('r', perms::READ),
    ('w', perms::WRITE),
    ('a', perms::ADMIN),
];

/// A list of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AclText(Vec<(String, String, i32)>);

impl AclText {
    /// `world:anyone:cdrwa`, what nodes get unless something else is said.
    pub(crate) fn open() -> Self {
        Self(vec![("world".into(), "anyone".into(), perms::ALL)])
    }

    /// The record's list.
    pub(crate) fn with<R>(&self, f: impl FnOnce(List<'_, Acl<'_>>) -> R) -> R {
        let entries: Vec<_> = self
            .0
            .iter()
            .map(|(scheme, id, perms)| Acl {
                perms: *perms,
                id: Id { scheme: scheme.as_str().into(), id: id.as_str().into() },
            })
            .collect();
        let size: usize = entries.iter().map(zk_core::wire::jute::size).sum();
        let mut room = vec![0; size];
        f(List::encode(&entries, &mut room).unwrap_or_default())
    }
}

impl core::str::FromStr for AclText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(entry).collect::<Result<_, _>>().map(Self)
    }
}

/// The first colon ends the scheme, the last begins the permissions: digest ids contain one.
fn entry(text: &str) -> Result<(String, String, i32), String> {
    let wrong = || format!("`{text}` is not scheme:id:perms, as in world:anyone:cdrwa");
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (id, letters) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let mut perms = 0;
    for letter in letters.chars() {
        let (_, bit) = LETTERS
            .into_iter()
            .find(|&(l, _)| l == letter)
            .ok_or_else(|| format!("`{letter}` in `{text}` is not a permission: use c d r w a"))?;
        perms |= bit;
    }
    Ok((scheme.into(), id.into(), perms))
}

/// The letters of `perms`.
pub(crate) fn letters(perms: i32) -> String {
    LETTERS.into_iter().filter(|(_, bit)| perms & bit != 0).map(|(letter, _)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_are_read() {
        let acl: AclText = "world:anyone:r,digest:bob:x3=:cdrwa,auth::w".parse().unwrap();
        acl.with(|list| {
            let all: Vec<_> = list.iter().collect();
            assert_eq!((all.len(), all[0].perms, all[1].perms), (3, 1, 31));
            assert_eq!(all[1].id.id.as_str(), Some("bob:x3="));
            assert_eq!((all[2].id.id.as_str(), all[2].perms), (Some(""), 2));
        });
        for bad in ["", "world", "world:anyone", "world:anyone:x", "world:anyone:r,"] {
            assert!(bad.parse::<AclText>().is_err(), "{bad}");
        }
        assert_eq!("world:anyone:cdrwa".parse(), Ok(AclText::open()));
    }

    #[test]
    fn permissions_are_written_in_one_order() {
        assert_eq!(letters(perms::ALL), "cdrwa");
        assert_eq!(letters(perms::READ | perms::ADMIN), "ra");
        assert_eq!(letters(0), "");
    }
}
