//! One configuration.

use core::fmt;

use super::server::{ADDRESSES_MAX, Role, Server};
use super::sort_by;
use super::text::{Fill, Line, Lines, bucket, grouped};
use crate::id::ServerId;
use crate::memory::Table;

/// The most members of an ensemble, and the most servers that groups and weights may name.
pub const MEMBERS_MAX: usize = 64;

/// The longest text of a configuration in owned storage, bytes.
#[cfg(feature = "alloc")]
pub const TEXT_MAX: usize = 64 * 1024;

/// Room for the last line: `version=` and 16 digits.
const VERSION_LEN: usize = 24;

/// Why a text is not a configuration. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line, counted from 1; 0 when the text as a whole is meant.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with the text of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not UTF-8.
    Utf8,
    /// Backslashes of Java properties; Apache writes none.
    Escape,
    /// Neither a server nor a group, a weight or the version.
    Key,
    /// The value of a `server.N` line ([`Server::parse`] says what is wrong).
    Server,
    /// A `group.N` line must name servers by numbers, with `:` between them.
    Group,
    /// A weight must be from 0 to 2^32 - 1.
    Weight,
    /// The version must be a hexadecimal number.
    Version,
    /// Said twice, or a server in two groups.
    Twice,
    /// There are groups or weights, and this participant is in no group.
    Ungrouped(ServerId),
    /// A group names this server, which is no participant and has no weight.
    Weightless(ServerId),
    /// Nobody votes.
    NoParticipant,
    /// More members, or servers in groups, than there is room for.
    TooMany,
    /// The text has more bytes than there is room for.
    TooLong,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        match self.problem {
            Problem::Utf8 => f.write_str("the configuration is not UTF-8"),
            Problem::Escape => f.write_str("a backslash: write the character itself"),
            Problem::Key => f.write_str("not server.N, group.N, weight.N or version"),
            Problem::Server => f.write_str("not a server"),
            Problem::Group => f.write_str("not numbers of servers with ':' between them"),
            Problem::Weight => write!(f, "not a weight from 0 to {}", u32::MAX),
            Problem::Version => f.write_str("not a hexadecimal number"),
            Problem::Twice => f.write_str("said twice"),
            Problem::Ungrouped(id) => write!(f, "there are groups, but server {} is in none", id.0),
            Problem::Weightless(id) => {
                write!(f, "a group names server {}, no participant and without a weight", id.0)
            }
            Problem::NoParticipant => f.write_str("no server is a participant"),
            Problem::TooMany => f.write_str("more servers than there is room for"),
            Problem::TooLong => f.write_str("more text than there is room for"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// A member of the ensemble.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// `N` of its `server.N` line.
    pub id: ServerId,
    /// Whether it votes.
    pub role: Role,
    /// The value of its line: first byte and length.
    at: u32,
    len: u32,
}

impl Default for Member {
    fn default() -> Self {
        Self { id: ServerId(0), role: Role::Observer, at: 0, len: 0 }
    }
}

/// A server that a `group.N` or `weight.N` line names.
#[derive(Clone, Copy, Debug)]
pub struct Grouped {
    id: ServerId,
    group: Option<i64>,
    weight: Option<u32>,
    /// Whether it votes.
    voter: bool,
    /// Its place among the servers of all groups, as they were read.
    group_at: u32,
    /// Its place among the weights.
    weight_at: u32,
}

impl Default for Grouped {
    fn default() -> Self {
        let (group_at, weight_at) = (0, 0);
        Self { id: ServerId(0), group: None, weight: None, voter: false, group_at, weight_at }
    }
}

/// Which of a server's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Where a leader meets learners.
    Quorum,
    /// Where elections are held.
    Election,
}

/// Who belongs to an ensemble, and which sets of voters are a quorum of it.
///
/// Without groups every voter counts the same, and more than half of them are a quorum. With
/// groups it takes more than half of the weight in more than half of the groups that have any.
/// Answers to `QuorumVerifier`, `QuorumMaj` and `QuorumHierarchical`.
#[derive(Debug, Default)]
pub struct Config<'m> {
    text: Table<'m, u8>,
    members: Table<'m, Member>,
    grouped: Table<'m, Grouped>,
    text_len: usize,
    members_len: usize,
    grouped_len: usize,
    /// Where the last line begins.
    version_at: usize,
    version: i64,
    voters: usize,
}

impl<'m> Config<'m> {
    /// An empty configuration (nobody is a member, nothing is a quorum) in storage for its text,
    /// for one entry per member, and, if there are groups, for one per server in them.
    pub fn new(
        text: Table<'m, u8>,
        members: Table<'m, Member>,
        grouped: Table<'m, Grouped>,
    ) -> Self {
        Self { text, members, grouped, ..Self::default() }
    }

    /// Like [`new`](Self::new), on the heap, for [`TEXT_MAX`] bytes and [`MEMBERS_MAX`] members.
    #[cfg(feature = "alloc")]
    pub fn owned() -> Self {
        Self::new(Table::owned(TEXT_MAX), Table::owned(MEMBERS_MAX), Table::owned(MEMBERS_MAX))
    }

    /// Becomes the configuration that `text` describes.
    ///
    /// `text` holds lines `server.N`, `group.N`, `weight.N` and `version` in the form of Java
    /// properties. A text without a version has version 0.
    ///
    /// # Errors
    /// What is wrong with the text, or which limit it exceeds. The configuration stays as it was.
    pub fn set(&mut self, text: &[u8]) -> Result<(), ConfigError> {
        let whole = |problem| ConfigError { line: 0, problem };
        if text.len() > self.text.ceiling() {
            return Err(whole(Problem::TooLong));
        }
        let text = core::str::from_utf8(text).map_err(|_| whole(Problem::Utf8))?;
        let found = Found::of(text)?;
        if found.voters == 0 {
            return Err(whole(Problem::NoParticipant));
        }
        if !self.members.reach(found.members) || !self.grouped.reach(found.grouped) {
            return Err(whole(Problem::TooMany));
        }
        if !self.text.reach(found.text + VERSION_LEN) {
            return Err(whole(Problem::TooLong));
        }
        // Nothing below fails: the text was checked, and the tables have room for it.
        (self.members_len, self.grouped_len, self.voters) = (0, 0, found.voters);
        let (mut version, mut named) = (0, 0);
        for said in Lines::new(text).flatten() {
            match said.line {
                Line::Server(id, value) => self.add_member(id, said.end - value.len(), value),
                Line::Group(group, value) => {
                    for id in grouped(value).flatten() {
                        named += 1;
                        let entry = self.grouped_entry(id);
                        (entry.group, entry.group_at) = (Some(group), named);
                    }
                }
                Line::Weight(id, weight) => {
                    let entry = self.grouped_entry(id);
                    (entry.weight, entry.weight_at) = (Some(weight), said.number as u32);
                }
                Line::Version(said) => version = said,
            }
        }
        self.order_members();
        self.weigh();
        self.write(text);
        self.set_version(version);
        Ok(())
    }

    /// Becomes an empty configuration.
    pub(super) fn clear(&mut self) {
        (self.text_len, self.members_len, self.grouped_len) = (0, 0, 0);
        (self.version_at, self.version, self.voters) = (0, 0, 0);
    }

    fn add_member(&mut self, id: ServerId, at: usize, value: &str) {
        let Ok(server) = Server::parse(value) else { return };
        if let Some(place) = self.members.get_mut(self.members_len) {
            *place = Member { id, role: server.role, at: at as u32, len: value.len() as u32 };
            self.members_len += 1;
        }
    }

    /// The entry of a server in groups, a new one if it has none.
    fn grouped_entry(&mut self, id: ServerId) -> &mut Grouped {
        let len = self.grouped_len;
        let at = self.in_groups().iter().position(|entry| entry.id == id).unwrap_or(len);
        let entry = &mut self.grouped[at];
        if at == len {
            *entry = Grouped { id, ..Grouped::default() };
            self.grouped_len += 1;
        }
        entry
    }

    fn order_members(&mut self) {
        let count = self.members_len;
        let members = self.members.get_mut(..count).unwrap_or_default();
        let key = |member: &Member| (bucket(member.id.0, count), member.at);
        sort_by(members, |one, other| key(one).cmp(&key(other)));
    }

    /// Marks the participants among the servers in groups; their weight is 1 unless it was said.
    fn weigh(&mut self) {
        let members = self.members.get(..self.members_len).unwrap_or_default();
        for entry in self.grouped.iter_mut().take(self.grouped_len) {
            let member = members.iter().enumerate().find(|(_, member)| member.id == entry.id);
            let Some((at, Member { role: Role::Participant, .. })) = member else { continue };
            entry.voter = true;
            if entry.weight.is_none() {
                // Behind those that were said.
                (entry.weight, entry.weight_at) = (Some(1), u32::MAX / 2 + at as u32);
            }
        }
    }

    /// Writes all lines but the last, in Apache's order. `source` is the text that was read.
    fn write(&mut self, source: &str) {
        let Self { text, members, grouped, members_len, grouped_len, .. } = self;
        let mut out = Fill::new(text);
        for member in members.iter_mut().take(*members_len) {
            let start = out.put("server.").number(member.id.0, 10).put("=").len();
            if let Ok(server) = Server::parse(member.value(source)) {
                server.put(&mut out);
            }
            (member.at, member.len) = (start as u32, (out.len() - start) as u32);
            out.put("\n");
        }

        let grouped = grouped.get_mut(..*grouped_len).unwrap_or_default();
        let count = grouped.iter().filter(|entry| entry.group.is_some()).count();
        order(grouped, &|entry| (bucket(entry.id.0, count), entry.group_at));
        let groups = || Groups { entries: grouped, at: 0 };
        let count = groups().count();
        let mut done = None;
        let place = |(at, group): (usize, i64)| (bucket(group, count), at, group);
        while let Some(next) =
            groups().map(place).filter(|&next| done.is_none_or(|done| done < next)).min()
        {
            let (_, _, group) = next;
            out.put("group.").number(group, 10);
            let ids = grouped.iter().filter(|entry| entry.group == Some(group));
            for (at, entry) in ids.enumerate() {
                out.put(if at == 0 { "=" } else { ":" }).number(entry.id.0, 10);
            }
            out.put("\n");
            done = Some(next);
        }

        let count = grouped.iter().filter(|entry| entry.weight.is_some()).count();
        order(grouped, &|entry| (bucket(entry.id.0, count), entry.weight_at));
        for entry in grouped {
            if let Some(weight) = entry.weight {
                out.put("weight.").number(entry.id.0, 10).put("=");
                out.number(i64::from(weight), 10).put("\n");
            }
        }
        self.version_at = out.len();
    }

    /// Gives the configuration another version, as the first of an ensemble gets one from the
    /// leader that establishes it.
    pub fn set_version(&mut self, version: i64) {
        self.version = version;
        let mut out = Fill::behind(&mut self.text, self.version_at);
        self.text_len = out.put("version=").number(version, 16).len();
    }

    /// Zxid of the reconfiguration that made this configuration, or the first zxid of an epoch;
    /// 0 is none.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The text of the configuration, as Apache's `QuorumVerifier.toString` writes it: the members
    /// in the order of a Java `HashMap`, groups, weights, and the version without a line's end.
    ///
    /// Where that order depends on how Apache itself came to the configuration (ids that its map
    /// puts into one bucket), lines keep the order in which they were read.
    pub fn text(&self) -> &[u8] {
        self.text.get(..self.text_len).unwrap_or_default()
    }

    /// Bytes that its text may have.
    pub fn text_room(&self) -> usize {
        self.text.ceiling()
    }

    /// All members, in order of the text.
    pub fn members(&self) -> impl Iterator<Item = &Member> + Clone {
        self.members.iter().take(self.members_len)
    }

    /// The member `id`.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        self.members().find(|member| member.id == id)
    }

    /// The members that vote, in order of the text.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + Clone {
        let voters = self.members().filter(|member| member.role == Role::Participant);
        voters.map(|member| member.id)
    }

    /// Whether `id` is a member that votes.
    pub fn is_participant(&self, id: ServerId) -> bool {
        self.member(id).is_some_and(|member| member.role == Role::Participant)
    }

    /// What the vote of `id` counts: 1 without groups; 0 for whoever has no weight in groups
    /// (where Apache fails).
    pub fn weight(&self, id: ServerId) -> u32 {
        if self.grouped_len == 0 {
            return 1;
        }
        let entry = self.in_groups().iter().find(|entry| entry.id == id);
        entry.and_then(|entry| entry.weight).unwrap_or(0)
    }

    /// Whether quorums are counted by groups.
    pub fn is_hierarchical(&self) -> bool {
        self.grouped_len > 0
    }

    /// Whether those voters for whom `acked` holds are a quorum.
    pub fn has_quorum(&self, acked: impl Fn(ServerId) -> bool) -> bool {
        self.is_quorum(&acked)
    }

    /// As [`has_quorum`](Self::has_quorum): one copy of it serves all questions.
    pub(super) fn is_quorum(&self, acked: &dyn Fn(ServerId) -> bool) -> bool {
        if self.grouped_len == 0 {
            // An empty configuration has no quorum.
            return self.voters().filter(|&id| acked(id)).count() > self.voters / 2;
        }
        let (mut groups, mut won) = (0, 0);
        for (_, group) in (Groups { entries: self.in_groups(), at: 0 }) {
            let (mut total, mut acks) = (0u64, 0u64);
            for entry in self.in_groups().iter().filter(|entry| entry.group == Some(group)) {
                let weight = u64::from(entry.weight.unwrap_or(0));
                total += weight;
                if entry.voter && acked(entry.id) {
                    acks += weight;
                }
            }
            groups += usize::from(total > 0);
            won += usize::from(acks > total / 2);
        }
        won > groups / 2
    }

    /// Where the member `id` is met by others, in order of the text. Nothing for whoever is no
    /// member.
    pub fn addresses(&self, id: ServerId, port: Port) -> impl Iterator<Item = (&str, u16)> {
        (0..ADDRESSES_MAX).map_while(move |at| self.address(id, port, at))
    }

    /// The one of [`Self::addresses`] at that place.
    pub(super) fn address(&self, id: ServerId, port: Port, at: usize) -> Option<(&str, u16)> {
        let address = *self.server(id)?.addresses.get(at)?;
        Some(match port {
            Port::Quorum => (address.host, address.quorum),
            Port::Election => (address.host, address.election),
        })
    }

    /// Where the member `id` is met by others, and its role, as its line says.
    pub(super) fn met_at(&self, id: ServerId) -> Option<&str> {
        self.line(self.member(id)?).split(';').next()
    }

    /// What a member's line says.
    pub(super) fn line(&self, member: &Member) -> &str {
        let text = core::str::from_utf8(self.text()).unwrap_or_default();
        member.value(text)
    }

    /// Where the member `id` serves clients, if the configuration says so.
    pub fn client_address(&self, id: ServerId) -> Option<(&str, u16)> {
        self.server(id)?.client
    }

    /// The line of the member `id`.
    pub fn server(&self, id: ServerId) -> Option<Server<'_>> {
        Server::parse(self.line(self.member(id)?)).ok()
    }

    fn in_groups(&self) -> &[Grouped] {
        self.grouped.get(..self.grouped_len).unwrap_or_default()
    }
}

/// The server `id` of a configuration's text; `None` if the text has none. What [`Config::set`] says of
/// the text, for whoever has no room for a configuration yet.
///
/// # Errors
/// What is wrong with the text.
pub fn server_in(text: &[u8], id: ServerId) -> Result<Option<Server<'_>>, ConfigError> {
    let whole = |problem| ConfigError { line: 0, problem };
    let text = core::str::from_utf8(text).map_err(|_| whole(Problem::Utf8))?;
    if Found::of(text)?.voters == 0 {
        return Err(whole(Problem::NoParticipant));
    }
    Ok(Lines::new(text).flatten().find_map(|said| match said.line {
        Line::Server(server, value) if server == id => Server::parse(value).ok(),
        _ => None,
    }))
}

impl Member {
    /// The value of its line in `text`.
    fn value<'a>(&self, text: &'a str) -> &'a str {
        let at = self.at as usize;
        text.get(at..at + self.len as usize).unwrap_or_default()
    }
}

/// Sorts servers in groups; one copy of it serves both orders.
fn order(entries: &mut [Grouped], key: &dyn Fn(&Grouped) -> (usize, u32)) {
    sort_by(entries, |one, other| key(one).cmp(&key(other)));
}

/// The groups of some servers, each with the place of its first server.
struct Groups<'a> {
    entries: &'a [Grouped],
    at: usize,
}

impl Iterator for Groups<'_> {
    type Item = (usize, i64);

    fn next(&mut self) -> Option<(usize, i64)> {
        loop {
            let (before, rest) = self.entries.split_at_checked(self.at)?;
            let this = rest.first()?;
            self.at += 1;
            match this.group {
                Some(group) if !before.iter().any(|entry| entry.group == this.group) => {
                    return Some((before.len(), group));
                }
                _ => {}
            }
        }
    }
}

/// What was found in a text that is right.
#[derive(Debug, Default)]
struct Found {
    members: usize,
    voters: usize,
    /// Servers that groups and weights name.
    grouped: usize,
    /// There are groups or weights.
    hierarchical: bool,
    /// Bytes of its canonical form, without the last line.
    text: usize,
}

impl Found {
    /// Checks a text. It needs no memory: what was said before is read again.
    fn of(text: &str) -> Result<Self, ConfigError> {
        let mut found = Self::default();
        for (at, said) in Lines::new(text).enumerate() {
            let said = said?;
            let before = Before { text, lines: at };
            found
                .add(said.line, before)
                .map_err(|problem| ConfigError { line: said.number, problem })?;
        }
        if found.hierarchical {
            found.complete(text).map_err(|problem| ConfigError { line: 0, problem })?;
        }
        Ok(found)
    }

    /// Checks a line against those before it.
    fn add(&mut self, line: Line<'_>, before: Before<'_>) -> Result<(), Problem> {
        // Servers, as many groups, as many weights, and the version.
        if before.lines > 3 * MEMBERS_MAX {
            return Err(Problem::TooMany);
        }
        let twice = match line {
            Line::Server(id, value) => {
                let server = Server::parse(value).map_err(|_| Problem::Server)?;
                self.members += 1;
                self.voters += usize::from(server.role == Role::Participant);
                let mut line = Fill::default();
                server.put(line.put("server.=\n").number(id.0, 10));
                self.text += line.len();
                before.any(&|line| matches!(line, Line::Server(other, _) if other == id))
            }
            Line::Group(group, value) => {
                self.hierarchical = true;
                self.text += Fill::default().put("group.=").number(group, 10).len();
                for (place, id) in grouped(value).enumerate() {
                    let id = id?;
                    self.grouped += 1;
                    if self.grouped > MEMBERS_MAX {
                        return Err(Problem::TooMany);
                    }
                    self.text += Fill::default().put(":").number(id.0, 10).len();
                    let mut here = grouped(value).flatten().take(place);
                    if here.any(|other| other == id) || before.any(&|line| names(line, id)) {
                        return Err(Problem::Twice);
                    }
                }
                before.any(&|line| matches!(line, Line::Group(other, _) if other == group))
            }
            Line::Weight(id, weight) => {
                self.hierarchical = true;
                let mut line = Fill::default();
                line.put("weight.=\n").number(id.0, 10).number(i64::from(weight), 10);
                self.text += line.len();
                before.any(&|line| is_weight_of(line, id))
            }
            Line::Version(_) => before.any(&|line| matches!(line, Line::Version(_))),
        };
        match (twice, self.members > MEMBERS_MAX) {
            (true, _) => Err(Problem::Twice),
            (_, true) => Err(Problem::TooMany),
            _ => Ok(()),
        }
    }

    /// Checks that groups, weights and servers fit each other.
    fn complete(&mut self, text: &str) -> Result<(), Problem> {
        let all = Before { text, lines: usize::MAX };
        for line in all.lines() {
            match line {
                Line::Server(id, value) if votes(value) => {
                    if !all.any(&|line| names(line, id)) {
                        return Err(Problem::Ungrouped(id));
                    }
                    if !all.any(&|line| is_weight_of(line, id)) {
                        self.text += Fill::default().put("weight.=1\n").number(id.0, 10).len();
                    }
                }
                Line::Group(_, value) => {
                    for id in grouped(value).flatten() {
                        let participant = |line| matches!(line, Line::Server(other, value) if other == id && votes(value));
                        if !all.any(&|line| is_weight_of(line, id)) && !all.any(&participant) {
                            return Err(Problem::Weightless(id));
                        }
                    }
                }
                Line::Weight(id, _) if !all.any(&|line| names(line, id)) => {
                    self.grouped += 1;
                    if self.grouped > MEMBERS_MAX {
                        return Err(Problem::TooMany);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The first lines of a text.
#[derive(Clone, Copy)]
struct Before<'a> {
    text: &'a str,
    lines: usize,
}

impl<'a> Before<'a> {
    fn lines(self) -> impl Iterator<Item = Line<'a>> {
        Lines::new(self.text).take(self.lines).flatten().map(|said| said.line)
    }

    /// One copy of it serves all questions.
    fn any(self, is: &dyn Fn(Line<'a>) -> bool) -> bool {
        self.lines().any(is)
    }
}

/// Whether a line puts `id` into a group.
fn names(line: Line<'_>, id: ServerId) -> bool {
    matches!(line, Line::Group(_, value) if grouped(value).flatten().any(|other| other == id))
}

fn is_weight_of(line: Line<'_>, id: ServerId) -> bool {
    matches!(line, Line::Weight(other, _) if other == id)
}

/// Whether a server with this value votes.
fn votes(value: &str) -> bool {
    Server::parse(value).is_ok_and(|server| server.role == Role::Participant)
}
