//! One verb, one process.
//!
//! `ZK_TEST_SERVER=host:port` runs these against another server, such as Apache's (with
//! `extendedTypesEnabled=true`).

mod support;

use serde_json::json;
use support::{Place, Ran, finish, server::Proxy, zk};

#[test]
fn nodes_are_created_read_changed_and_deleted() {
    let p = Place::new("life");
    let node = p.at("/a");
    assert_eq!(p.ok(&["create", &node, "one"]), format!("{node}\n"));
    assert_eq!(p.ok(&["get", &node]), "one");
    assert_eq!(p.ok(&["set", &node, "two"]), "");
    let stat = p.ok(&["get", "-s", &node]);
    let mut lines = stat.lines();
    assert_eq!(lines.next(), Some("two"));
    let names: Vec<_> = lines.map(|line| line.split(" = ").next().unwrap()).collect();
    assert_eq!(
        names.join(" "),
        "cZxid ctime mZxid mtime pZxid cversion dataVersion aclVersion ephemeralOwner dataLength \
         numChildren"
    );
    assert!(stat.contains("dataVersion = 1\n") && stat.contains("dataLength = 3\n"), "{stat}");
    assert_eq!(p.ok(&["stat", &node]), stat.split_once('\n').unwrap().1);
    assert_eq!(p.ok(&["ls", &p.root]), "a\n");
    assert_eq!(p.ok(&["delete", "-v", "1", &node]), "");
    assert_eq!(p.ok(&["ls", &p.root]), "");
}

#[test]
fn data_is_bytes() {
    let p = Place::new("bytes");
    let node = p.at("/b");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let Ran { code, err, .. } = p.zk_with(&["create", &node, "-"], &bytes);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(p.zk(&["get", &node]).out, bytes);
    p.zk_with(&["set", &node], b"\r\n\0\xff");
    assert_eq!(p.zk(&["get", &node]).out, b"\r\n\0\xff");
    assert_eq!(
        p.json(&["get", &node]),
        json!({ "path": node, "data": "DQoA/w==", "encoding": "base64" })
    );
    p.zk_with(&["set", &node], b"");
    assert_eq!(p.json(&["get", &node])["data"], "");
    // Nothing is null, which is not the empty string.
    assert_eq!(p.json(&["get", &p.root])["encoding"], "null");
    assert_eq!(p.zk(&["get", &p.root]).out, b"");
}

#[test]
fn refusals_have_a_sentence_and_an_exit_code() {
    let p = Place::new("refusals");
    let node = p.at("/a");
    let missing = format!("error: {node} does not exist (NoNode)");
    for verb in ["get", "stat", "ls", "delete", "deleteall", "getAcl", "getAllChildrenNumber"] {
        assert_eq!(p.no(&[verb, &node]), (1, missing.clone()), "{verb}");
    }
    assert_eq!(p.no(&["set", &node, "x"]), (1, missing.clone()));
    assert_eq!(p.no(&["create", &p.at("/a/b")]), (1, missing));
    p.ok(&["create", &node]);
    assert_eq!(p.no(&["create", &node]), (1, format!("error: {node} exists already (NodeExists)")));
    let (code, text) = p.no(&["set", "-v", "5", &node, "x"]);
    assert!(code == 1 && text.ends_with("(BadVersion)"), "{text}");
    let (code, text) = p.no(&["delete", &p.root]);
    assert!(code == 1 && text.contains("deleteall") && text.ends_with("(NotEmpty)"), "{text}");
    let (code, text) = p.no(&["removewatches", &node]);
    assert!(code == 1 && text.ends_with("(NoWatcher)"), "{text}");

    for usage in
        [&["get"][..], &["get", "a"], &["get", "/a/"], &["frob"], &["create", "-c", "-e", "/x"]]
    {
        assert_eq!(p.no(usage).0, 2, "{usage:?}");
    }
    let (code, text) = p.no(&["--auth", "nonsense:x", "ls", "/"]);
    assert_eq!((code, text.as_str()), (5, "error: the server did not accept the credential"));
    assert_eq!(p.no(&["addauth", "nonsense", "x"]).0, 5);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hosts = format!("{free},{free}");
    for verb in [&["ls"][..], &["version"]] {
        let ran = finish(zk(&hosts, verb).spawn().unwrap(), b"");
        assert_eq!(ran.code, 3);
        assert!(ran.err.starts_with("error: cannot ") && ran.err.contains(&free.to_string()));
        assert!(!ran.err.contains('\x1b'), "colours are for terminals");
    }
    // Another of the list will do.
    let p = Place::new("hosts");
    let hosts = format!("{free},{}", p.server.address);
    for _ in 0..4 {
        let ran = finish(zk(&hosts, &["ls", "/zookeeper"]).spawn().unwrap(), b"");
        assert_eq!((ran.code, ran.text()), (0, "config\nquota\n"), "{}", ran.err);
    }
}

#[test]
fn modes_of_creation() {
    let p = Place::new("modes");
    let a = p.at("/n-");
    assert_eq!(p.ok(&["create", "-s", &a]), format!("{a}0000000000\n"));
    assert_eq!(p.ok(&["create", "-s", &p.at("/")]), format!("{}/0000000001\n", p.root));
    assert_eq!(p.json(&["create", "-c", &p.at("/c")]), json!({ "path": p.at("/c") }));
    p.ok(&["create", "-t", "100000", &p.at("/t"), "x"]);
    p.ok(&["create", "-s", "-t", "100000", &p.at("/t-"), "x"]);
    let ran = p.zk(&["create", "-e", &p.at("/e")]);
    assert!(ran.code == 0 && ran.err.contains("goes with this session"), "{ran:?}");
    let (code, text) = p.no(&["get", &p.at("/e")]);
    assert!(code == 1 && text.ends_with("(NoNode)"), "{text}");
    let names = p.ok(&["ls", &p.root]);
    assert_eq!(names, "0000000001\nc\nn-0000000000\nt\nt-0000000004\n");
}

#[test]
fn subtrees_are_listed_and_deleted() {
    let p = Place::new("subtree");
    let mut script = String::new();
    for i in 0..30 {
        script += &format!("create {}/d{i:02}\n", p.root);
        for j in 0..30 {
            script += &format!("create {}/d{i:02}/x-{j:02} data\n", p.root);
        }
    }
    script += &format!("create {0}/d00-1\ncreate {0}/d00/x-00/deep\n", p.root);
    let ran = p.zk_with(&["shell"], script.as_bytes());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let all = p.ok(&["ls", "-R", &p.root]);
    let all: Vec<_> = all.lines().collect();
    assert_eq!(all.len(), 933);
    assert_eq!(all[..4], [p.root.clone(), p.at("/d00"), p.at("/d00/x-00"), p.at("/d00/x-00/deep")]);
    // A parent stands right before its children, whatever sorts between the names.
    assert_eq!(all[33], p.at("/d00-1"));
    assert_eq!(p.ok(&["getAllChildrenNumber", &p.root]), "932\n");
    let done = p.json(&["deleteall", "-b", "100", &p.at("/d01")]);
    assert_eq!(done, json!({ "path": p.at("/d01"), "deleted": 31 }));
    // What cannot be deleted is named.
    p.ok(&["setAcl", &p.at("/d02"), "world:anyone:ra"]);
    let (code, text) = p.no(&["deleteall", &p.at("/d02")]);
    assert!(code == 1 && text.contains("/d02/x-29") && text.ends_with("(NoAuth)"), "{text}");
    p.ok(&["setAcl", &p.at("/d02"), "world:anyone:cdrwa"]);
    assert_eq!(p.ok(&["deleteall", &p.root]), "");
    assert_eq!(p.no(&["ls", &p.root]).0, 1);
}

#[test]
fn a_chroot_stands_before_every_path() {
    let p = Place::new("chroot");
    let server = format!("{}{}", p.server.address, p.root);
    let run = |args: &[&str]| {
        let ran = finish(zk(&server, args).spawn().unwrap(), b"");
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
        ran.text().to_owned()
    };
    assert_eq!(run(&["create", "/a", "x"]), "/a\n");
    assert_eq!(run(&["ls"]), "a\n");
    assert_eq!(run(&["ls", "-R", "/"]), "/\n/a\n");
    assert_eq!(run(&["setquota", "-n", "7", "/a"]), "");
    assert!(run(&["listquota", "/a"]).starts_with("Output quota for /a count=7,bytes=-1"));
    assert_eq!(run(&["delquota", "/a"]), "");
    assert_eq!(p.ok(&["get", &p.at("/a")]), "x");
}

#[test]
fn acls_are_set_and_enforced() {
    let p = Place::new("acl");
    let node = p.at("/a");
    p.ok(&["create", &node, "x", "world:anyone:cdrwa"]);
    assert_eq!(p.ok(&["getAcl", &node]), "world:anyone:cdrwa\n");
    let bob = ["--auth", "digest:bob:secret"];
    let with = |args: &[&str]| p.ok(&[&bob[..], args].concat());
    assert_eq!(with(&["whoami"]).lines().find(|l| l.starts_with("digest")), Some("digest: bob"));
    with(&["setAcl", "-v", "0", &node, "auth::cdrwa,world:anyone:d"]);
    let (code, text) = p.no(&["get", &node]);
    assert_eq!((code, text), (1, format!("error: the ACL does not allow this on {node} (NoAuth)")));
    assert_eq!(with(&["get", &node]), "x");
    let acl = with(&["getAcl", &node]);
    assert!(acl.starts_with("digest:bob:") && acl.ends_with(":cdrwa\nworld:anyone:d\n"), "{acl}");
    let json = p.json(&[&bob[..], &["getAcl", "-s", &node]].concat());
    assert_eq!(json["acl"][1], json!({ "scheme": "world", "id": "anyone", "perms": "d" }));
    assert_eq!(json["stat"]["aversion"], 1);
    with(&["create", &p.at("/a/b")]);
    with(&["setAcl", "-R", &node, "world:anyone:cdrwa"]);
    assert_eq!(p.ok(&["getAcl", &p.at("/a/b")]), "world:anyone:cdrwa\n");
    assert_eq!(p.no(&["setAcl", &node, "world:anyone:q"]).0, 2);
    let (code, text) = p.no(&["setAcl", &node, "nonsense:x:r"]);
    assert!(code == 1 && text.ends_with("(InvalidAcl)"), "{text}");
}

#[test]
fn quotas_are_set_listed_and_removed() {
    let p = Place::new("quota");
    let node = p.at("/q");
    p.ok(&["create", &node, "data"]);
    let (code, text) = p.no(&["listquota", &node]);
    assert!(code == 1 && text.ends_with("(NoNode)"), "{text}");
    p.ok(&["setquota", "-n", "3", "-N", "9", &node]);
    assert_eq!(
        p.ok(&["listquota", &node]),
        format!(
            "Output quota for {node} count=3,bytes=-1=;countHardLimit=9\n\
             Output stat for {node} count=1,bytes=4\n"
        )
    );
    let ran = p.zk(&["setquota", "-b", "2", &node]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "warning: there are 4 bytes already\n"));
    p.ok(&["create", &p.at("/q/c")]);
    let (code, text) = p.no(&["setquota", "-n", "1", &p.at("/q/c")]);
    assert!(code == 2 && text.contains(&format!("ancestor {node} ")), "{text}");
    let (code, text) = p.no(&["setquota", "-n", "1", &p.root]);
    assert!(code == 2 && text.contains(&format!("descendant {node} ")), "{text}");
    p.ok(&["delquota", "-N", &node]);
    let json = p.json(&["listquota", &node]);
    assert_eq!(json["limits"]["countHardLimit"], json!(null));
    assert_eq!((&json["limits"]["count"], &json["used"]["count"]), (&json!(3), &json!(2)));
    p.ok(&["delquota", &node]);
    // Nothing of it stays behind.
    let quotas = p.ok(&["ls", "-R", "/zookeeper/quota"]);
    assert!(!quotas.contains(&p.root), "{quotas}");
    assert_eq!(p.no(&["setquota", "-n", "1", &p.at("/none")]).0, 1);
    assert_eq!(p.no(&["setquota", &node]).0, 2);
}

#[test]
fn the_rest_of_the_verbs() {
    let p = Place::new("rest");
    assert_eq!(p.ok(&["sync", &p.root]), "Sync is OK\n");
    assert_eq!(p.ok(&["whoami"]), "ip: 127.0.0.1\n");
    assert_eq!(p.ok(&["getEphemerals"]), "");
    let version = p.ok(&["version"]);
    assert!(version.starts_with(concat!("zk ", env!("CARGO_PKG_VERSION"), "\nserver 3.")));
    assert!(version.contains("standalone"), "{version}");
    assert_eq!(p.ok(&["config"]), "");
    assert_eq!(p.json(&["config", "-c"]), json!({ "config": "", "version": "", "clients": "" }));
    let (code, text) = p.no(&["reconfig", "-remove", "3"]);
    assert_eq!(code, 1, "{text}");
    // zkCli's spelling.
    assert_eq!(p.ok(&["-timeout", "5000", "ls", &p.root]), "");
}

#[test]
fn a_watch_outside_the_shell_is_waited_for() {
    use std::io::{BufRead, BufReader};
    let p = Place::new("watch");
    let node = p.at("/w");
    let mut child = zk(&p.server.address, &["stat", "-w", &node]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("{node} does not exist yet"));
    p.ok(&["create", &node]);
    assert_eq!(lines.next().unwrap().unwrap(), format!("NodeCreated {node}"));
    assert!(lines.next().is_none() && child.wait().unwrap().success());

    let child = zk(&p.server.address, &["-o", "json", "watch", "-R", "-n", "3", &p.root]);
    let events = followed(child, |_| {
        let child = p.at("/w/c");
        p.ok(&["create", &child]);
        p.ok(&["set", &child, "x"]);
        p.ok(&["delete", &child]);
    });
    let event = |name| json!({ "event": name, "path": p.at("/w/c") }).to_string();
    assert_eq!(events.len(), 3);
    for name in ["NodeCreated", "NodeDataChanged", "NodeDeleted"] {
        assert!(events.contains(&event(name)), "{events:?}");
    }
}

/// Does `change` until the child has ended; what it printed.
fn followed(mut child: std::process::Command, change: impl Fn(u32)) -> Vec<String> {
    let mut child = child.spawn().unwrap();
    let mut tries = 0;
    // The first changes may come before the watch.
    while child.try_wait().unwrap().is_none() {
        tries += 1;
        assert!(tries < 100, "no event");
        change(tries);
    }
    let ran = finish(child, b"");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    ran.text().lines().map(str::to_owned).collect()
}

#[test]
fn watches_outlive_a_connection() {
    use std::io::{BufRead, BufReader};
    let p = Place::new("reconnect");
    let proxy = Proxy::to(&p.server);
    let node = p.at("/w");
    let mut child = zk(&proxy.address, &["stat", "-w", &node]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut complaints = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), format!("{node} does not exist yet"));
    proxy.cut();
    p.ok(&["create", &node]);
    assert_eq!(lines.next().unwrap().unwrap(), format!("NodeCreated {node}"));
    let first = complaints.next().unwrap().unwrap();
    assert!(first.starts_with("note: disconnected: "), "{first}");
    let second = complaints.next().unwrap().unwrap();
    assert!(second.starts_with("note: connected again, to "), "{second}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn nobody_needs_to_read_the_output() {
    let p = Place::new("pipe");
    let mut child = zk(&p.server.address, &["shell"]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = finish(child, b"ls /\n");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn zk_explains_itself() {
    let p = Place::new("help");
    let help = p.ok(&["--help"]);
    assert!(help.contains("Exit codes:") && help.contains("getAllChildrenNumber"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(p.ok(&["completions", shell]).contains("getAcl"), "{shell}");
    }
    assert!(p.ok(&["man"]).contains(".TH zk 1"));
    assert!(p.ok(&["man", "getAcl"]).contains("scheme:id:perms"));
    assert_eq!(p.no(&["man", "nonsense"]).0, 2);
}
