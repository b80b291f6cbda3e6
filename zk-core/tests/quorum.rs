//! Configurations of an ensemble against what Apache ZooKeeper 3.8.0 makes of them, and against a
//! simple model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use zk_core::id::ServerId;
use zk_core::memory::Table;
use zk_core::quorum::{
    Config, ConfigError, Grouped, MEMBERS_MAX, Member, Port, Problem, Quorums, Role,
};

const APACHE: &str = include_str!("../testdata/quorum/apache.txt");

fn config(text: &str) -> Config<'static> {
    let mut config = Config::owned();
    config.set(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    config
}

fn text<'a>(config: &'a Config<'_>) -> &'a str {
    core::str::from_utf8(config.text()).unwrap()
}

/// Where Java's map would put `id` among `count` others.
fn bucket(id: i64, count: usize) -> usize {
    let buckets = (4..).map(|bits| 1usize << bits).find(|&n| count * 4 <= n * 3).unwrap();
    let hash = (id ^ (id as u64 >> 32) as i64) as u32;
    (hash ^ (hash >> 16)) as usize & (buckets - 1)
}

#[test]
fn texts_and_quorums_are_apaches() {
    let mut quorums = 0;
    let cases = APACHE.split_once("\n\n").unwrap().1.split("\n--\n");
    for case in cases {
        let (given, apache) = case.split_once("\n=>\n").unwrap();
        let (apache, subsets) = match apache.split_once("\nquorums ") {
            Some((text, subsets)) => (text, subsets.trim()),
            None => (apache.trim_end(), ""),
        };
        let read = config(given);
        // The order of ids in one bucket depends on another map of Java's.
        let ids: Vec<i64> = read.members().map(|member| member.id.0).collect();
        let buckets: BTreeSet<_> = ids.iter().map(|&id| bucket(id, ids.len())).collect();
        if buckets.len() == ids.len() && !read.is_hierarchical() {
            assert_eq!(text(&read), apache);
        } else {
            let lines = |text: &str| text.lines().map(sorted_ids).collect::<BTreeSet<_>>();
            assert_eq!(lines(text(&read)), lines(apache));
        }
        // What Apache wrote is written as it is.
        let mut read = config(apache);
        assert_eq!(text(&read), apache);
        let version = read.version();
        read.set_version(i64::MIN);
        assert!(text(&read).ends_with("\nversion=8000000000000000"));
        assert_eq!(config(text(&read)).version(), i64::MIN);
        read.set_version(version);
        assert_eq!(text(&read), apache);

        let mut voters: Vec<_> = read.voters().collect();
        voters.sort();
        for (set, digit) in subsets.chars().enumerate() {
            let in_set =
                |id| voters.iter().position(|&v| v == id).is_some_and(|at| set >> at & 1 == 1);
            assert_eq!(read.has_quorum(in_set), digit == '1', "{set:b} of {apache}");
            // Observers' acks do not count.
            let and_others = |id| in_set(id) || !voters.contains(&id);
            assert_eq!(read.has_quorum(and_others), digit == '1', "{set:b} of {apache}");
            quorums += 1;
        }
    }
    assert!(quorums > 500, "{quorums}");
}

/// A line, the servers of a group in order.
fn sorted_ids(line: &str) -> String {
    let Some((group, ids)) = line.split_once('=').filter(|_| line.starts_with("group")) else {
        return line.to_owned();
    };
    let mut ids: Vec<&str> = ids.split(':').collect();
    ids.sort_unstable();
    format!("{group}={}", ids.join(":"))
}

#[test]
fn members_are_what_their_lines_say() {
    let config = config(
        "# comment\r\n! comment\n\n  server.1 : h:1:2;2181\r\nserver.2\t[::1]:3:4:observer\n\
         server.3=b:1:2|a:3:4\nversion=1F",
    );
    assert_eq!(config.version(), 0x1f);
    let roles: Vec<_> = config.members().map(|member| (member.id.0, member.role)).collect();
    use Role::{Observer, Participant};
    assert_eq!(roles, [(1, Participant), (2, Observer), (3, Participant)]);
    let addresses = |id, port| config.addresses(ServerId(id), port).collect::<Vec<_>>();
    assert_eq!(addresses(1, Port::Quorum), [("h", 1)]);
    assert_eq!(addresses(2, Port::Election), [("0:0:0:0:0:0:0:1", 4)]);
    assert_eq!(addresses(3, Port::Election), [("a", 4), ("b", 2)]);
    assert_eq!(addresses(4, Port::Election), []);
    assert_eq!(config.client_address(ServerId(1)), Some(("0.0.0.0", 2181)));
    assert_eq!(config.client_address(ServerId(2)), None);
    assert!(config.is_participant(ServerId(3)) && !config.is_participant(ServerId(2)));
    assert_eq!(config.weight(ServerId(9)), 1);
    assert_eq!(config.voters().collect::<Vec<_>>(), [ServerId(1), ServerId(3)]);
}

#[test]
fn wrong_texts_change_nothing() {
    let good = "server.1=h:1:2:participant\nversion=0";
    let mut config = config(good);
    for (bad, line, problem) in [
        ("", 0, Problem::NoParticipant),
        ("server.1=h:1:2:observer", 0, Problem::NoParticipant),
        ("server.1=h:1:2\nserver.01=h:1:2", 2, Problem::Twice),
        ("server.1=h:1:2\n\nserver.2=h:1", 3, Problem::Server),
        ("server.1=h:1:2\nserver.x=h:1:2", 2, Problem::Key),
        ("server.1=h:1:2\nfoo=bar", 2, Problem::Key),
        ("server.1=h:1:2\nversion=xyz", 2, Problem::Version),
        ("server.1=h:1:2\nversion=1\nversion=1", 3, Problem::Twice),
        ("server.1=h\\:1:2", 1, Problem::Escape),
        ("server.1=h:1:2\ngroup.1=1:x", 2, Problem::Group),
        ("server.1=h:1:2\ngroup.1=", 2, Problem::Group),
        ("server.1=h:1:2\ngroup.1=1:1", 2, Problem::Twice),
        ("server.1=h:1:2\ngroup.1=1\ngroup.2=1", 3, Problem::Twice),
        ("server.1=h:1:2\nserver.2=h:1:2\ngroup.1=1\ngroup.1=2", 4, Problem::Twice),
        ("server.1=h:1:2\ngroup.1=1\nweight.1=-1", 3, Problem::Weight),
        ("server.1=h:1:2\ngroup.1=1\nweight.1=1\nweight.1=1", 4, Problem::Twice),
        ("server.1=h:1:2\nweight.1=1", 0, Problem::Ungrouped(ServerId(1))),
        ("server.1=h:1:2\ngroup.1=1:2", 0, Problem::Weightless(ServerId(2))),
    ] {
        assert_eq!(config.set(bad.as_bytes()), Err(ConfigError { line, problem }), "{bad}");
        assert_eq!(text(&config), good);
    }
    assert_eq!(
        config.set(b"server.1=\xff:1:2"),
        Err(ConfigError { line: 0, problem: Problem::Utf8 })
    );
    assert!(config.is_participant(ServerId(1)));
}

#[test]
fn what_is_too_much_is_refused() {
    let servers = |count| (0..count).map(|id| format!("server.{id}=h:1:2\n")).collect::<String>();
    let group =
        |count| format!("group.1={}\n", (0..count).map(|id| format!("{id}:")).collect::<String>());
    let weights = |count| (0..count).map(|id| format!("weight.{id}=3\n")).collect::<String>();
    let all = |count| servers(count) + &group(count) + &weights(count) + "version=1";
    let mut owned = Config::owned();
    let too_many = |line| Err(ConfigError { line, problem: Problem::TooMany });
    assert_eq!(owned.set(all(MEMBERS_MAX).as_bytes()), Ok(()));
    assert_eq!(owned.members().count(), MEMBERS_MAX);
    assert_eq!(owned.set(all(MEMBERS_MAX + 1).as_bytes()), too_many(MEMBERS_MAX + 1));
    let others = servers(1) + "group.1=0\n" + &weights(MEMBERS_MAX + 1);
    assert_eq!(owned.set(others.as_bytes()), too_many(0));
    assert_eq!(
        owned.set(&[b'#'; 64 * 1024 + 1]),
        Err(ConfigError { line: 0, problem: Problem::TooLong })
    );
    assert_eq!(owned.members().count(), MEMBERS_MAX);

    // Lent storage is as large as it is.
    let mut room = ([0; 128], [Member::default(); 3], [Grouped::default(); 2]);
    let (bytes, members, grouped) = &mut room;
    let mut lent = Config::new(Table::lent(bytes), Table::lent(members), Table::lent(grouped));
    assert_eq!(lent.set(servers(3).as_bytes()), Ok(()));
    assert_eq!(lent.set(servers(4).as_bytes()), too_many(0));
    assert_eq!(lent.set((servers(3) + &group(3)).as_bytes()), too_many(0));
    let long = servers(3).replace('h', "a-host-of-a-long-name.example");
    assert_eq!(lent.set(long.as_bytes()), Err(ConfigError { line: 0, problem: Problem::TooLong }));
    // Any version fits behind a text that fits.
    lent.set_version(-1);
    assert!(text(&lent).ends_with("version=ffffffffffffffff"), "{}", text(&lent));
    assert_eq!(lent.members().count(), 3);
}

#[test]
fn a_proposed_configuration_counts_until_it_is_committed() {
    let mut quorums = Quorums::owned();
    assert!(!quorums.has_quorum(|_| true) && quorums.voters().next().is_none());
    quorums.set(b"server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion=100000000").unwrap();
    let among = |ids: &'static [i64]| move |id: ServerId| ids.contains(&id.0);
    assert!(quorums.has_quorum(among(&[1, 2])) && !quorums.has_quorum(among(&[1, 4])));

    // 4 comes, 3 goes, 2 moves and no longer votes.
    let new = b"server.1=a:1:2\nserver.2=d:1:2:observer\nserver.4=e:1:2\nversion=100000007";
    quorums.proposed.set(new).unwrap();
    assert!(!quorums.has_quorum(among(&[1, 2])), "no quorum of the new one");
    assert!(!quorums.has_quorum(among(&[1, 4])), "no quorum of the old one");
    assert!(quorums.has_quorum(among(&[1, 3, 4])));
    let ids = |ids: &[i64]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
    assert_eq!(quorums.voters().collect::<Vec<_>>(), ids(&[1, 2, 3, 4]));
    assert_eq!(quorums.members().collect::<Vec<_>>(), ids(&[1, 2, 3, 4]));
    assert!(quorums.is_voter(ServerId(2)) && quorums.knows(ServerId(4)));
    assert!(!quorums.is_voter(ServerId(5)) && !quorums.knows(ServerId(5)));
    let addresses = |id| quorums.addresses(ServerId(id), Port::Election).collect::<Vec<_>>();
    assert_eq!(addresses(1), [("a", 2)]);
    assert_eq!(addresses(2), [("b", 2), ("d", 2)]);
    assert_eq!(addresses(4), [("e", 2)]);

    quorums.commit();
    assert!(quorums.pending().is_none() && quorums.has_quorum(among(&[1, 4])));
    assert!(!quorums.is_voter(ServerId(2)) && !quorums.knows(ServerId(3)));
    quorums.commit();
    assert_eq!(quorums.committed.version(), 0x1_0000_0007);
    // A proposal that is older than what is in force counts for nothing.
    quorums.proposed.set(b"server.3=c:1:2\nversion=100000003").unwrap();
    assert!(quorums.has_quorum(among(&[1, 4])));
}

/// Which of the servers 0..6 acknowledge.
fn acks() -> impl Strategy<Value = BTreeSet<i64>> {
    proptest::collection::btree_set(0..6i64, 0..=6)
}

proptest! {
    #[test]
    fn no_text_breaks_a_configuration(
        lines in proptest::collection::vec(
            prop_oneof![
                "server\\.[0-9]{1,2}=[a-z\\[\\]:0-9]{0,12}:[0-9]{1,2}:[0-9]{1,3}[;|:a-z0-9]{0,4}",
                "server\\.[0-9]=h:1:2(:observer)?(;[0-9]{1,3})?",
                "group\\.[0-3]=[0-9](:[0-9]){0,3}",
                "weight\\.[0-9]=[0-9]",
                "version=[0-9a-f]{0,17}",
                "[ \\t#!a-z=:.\\\\]{0,10}",
                "\\PC{0,20}",
            ],
            0..12,
        ),
        end in prop_oneof!["\n", "\r", "\r\n"],
    ) {
        let given = lines.join(&end);
        let mut config = Config::owned();
        if config.set(given.as_bytes()).is_ok() {
            let written = text(&config).to_owned();
            let mut again = Config::owned();
            prop_assert_eq!(again.set(written.as_bytes()), Ok(()));
            prop_assert_eq!(text(&again), written);
            prop_assert!(config.voters().next().is_some());
            for member in config.members() {
                prop_assert!(config.addresses(member.id, Port::Election).next().is_some());
            }
        }
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters(voters in 1..6i64, acks in acks()) {
        let servers: String = (0..6)
            .map(|id| format!("server.{id}=h:1:2{}\n", if id < voters { "" } else { ":observer" }))
            .collect();
        let for_it = acks.iter().filter(|&&id| id < voters).count();
        prop_assert_eq!(
            config(&servers).has_quorum(|id| acks.contains(&id.0)),
            2 * for_it > voters as usize
        );
    }

    #[test]
    fn a_hierarchical_quorum_has_most_weight_of_most_groups(
        groups in proptest::collection::vec(0..3i64, 6),
        weights in proptest::collection::vec(0..4u32, 6),
        observers in acks(),
        acks in acks(),
    ) {
        prop_assume!(observers.len() < 6);
        let mut model: BTreeMap<i64, (u32, u32)> = BTreeMap::new();
        let mut members: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        let mut lines = String::new();
        for (id, (group, weight)) in groups.iter().zip(&weights).enumerate() {
            let observer = observers.contains(&(id as i64));
            let role = if observer { ":observer" } else { "" };
            lines += &format!("server.{id}=h:1:2{role}\nweight.{id}={weight}\n");
            members.entry(*group).or_default().push(id.to_string());
            let (total, acked) = model.entry(*group).or_default();
            *total += weight;
            if acks.contains(&(id as i64)) && !observer {
                *acked += weight;
            }
        }
        for (group, ids) in members {
            lines += &format!("group.{group}={}\n", ids.join(":"));
        }
        let heavy = model.values().filter(|(total, _)| *total > 0).count();
        let won = model.values().filter(|(total, acked)| *acked > total / 2).count();
        prop_assert_eq!(config(&lines).has_quorum(|id| acks.contains(&id.0)), won > heavy / 2);
    }
}
