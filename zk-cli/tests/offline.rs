//! `zk snapshot` and `zk log` on files that Apache 3.8.0 wrote, and on damaged and large ones.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Ran, finish, zk};
use zk_core::id::{SessionId, Xid, Zxid};
use zk_core::wire::OpCode;
use zk_core::wire::file::{END, SnapshotNode, StatPersisted};
use zk_core::wire::jute::{self, Buffer, List, Ustring};
use zk_core::wire::txn::{CreateTxn, TxnHeader};
use zk_std::store::{Compression, Options, OsDirectory, Store};

const SNAPSHOTS: [&str; 3] = ["snapshot.13", "snapshot.13.gz", "snapshot.13.snappy"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/golden/files").join(name)
}

/// No server is there: none is needed.
const NOWHERE: &str = "127.0.0.1:1";

fn run(args: &[&str]) -> Ran {
    finish(zk(NOWHERE, args).spawn().unwrap(), b"")
}

/// What a verb prints about a file, when there is nothing to complain about.
#[track_caller]
fn ok(verb: &[&str], file: &Path) -> String {
    let ran = run(&[verb, &[file.to_str().unwrap()]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{verb:?} {}", file.display());
    ran.text().to_owned()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn ok_json(verb: &[&str], file: &Path) -> Vec<Value> {
    json_lines(&ok(&[&["--output", "json"], verb].concat(), file))
}

/// What a verb prints about a damaged file, and its one sentence.
#[track_caller]
fn bad(verb: &[&str], file: &Path) -> (String, String) {
    let ran = run(&[verb, &[file.to_str().unwrap()]].concat());
    assert_eq!(ran.code, 6, "{verb:?}: {} {}", ran.text(), ran.err);
    let sentence = ran.err.strip_prefix("error: ").unwrap().trim_end().to_owned();
    assert!(sentence.contains(file.to_str().unwrap()), "{sentence}");
    (ran.text().to_owned(), sentence)
}

/// A directory of one test.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("offline-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn store(&self, options: Options) -> Store<OsDirectory> {
        let directory = OsDirectory::new(&self.0);
        Store::open(directory.clone(), directory, Options { reserve: 0, ..options }).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a client of Apache saw, by path.
fn tree() -> BTreeMap<String, Value> {
    serde_json::from_slice(&fs::read(golden("tree.json")).unwrap()).unwrap()
}

fn base64(text: &str) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    Base64::decode_vec(text).unwrap()
}

/// A zxid or session, from its hexadecimal text.
fn number(value: &Value) -> i64 {
    let text = value.as_str().unwrap().strip_prefix("0x").unwrap();
    u64::from_str_radix(text, 16).unwrap().cast_signed()
}

fn data(object: &Value) -> Option<Vec<u8>> {
    match object["encoding"].as_str().unwrap() {
        "null" => None,
        "utf-8" => Some(object["data"].as_str().unwrap().into()),
        "base64" => Some(base64(object["data"].as_str().unwrap())),
        other => panic!("{other}"),
    }
}

/// An ACL as tree.json has it.
fn acl(value: &Value) -> Value {
    let bits = |letters: &str| letters.chars().map(|c| 1 << "rwcda".find(c).unwrap()).sum::<i32>();
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| json!([bits(entry["perms"].as_str().unwrap()), entry["scheme"], entry["id"]]))
        .collect()
}

#[test]
fn a_dump_is_the_tree_that_clients_saw() {
    let expected = tree();
    for name in SNAPSHOTS {
        let lines = ok_json(&["snapshot", "dump"], &golden(name));
        let nodes: Vec<_> = lines.iter().filter(|line| line["type"] == "node").collect();
        let children = |parent: &str| {
            let prefix = if parent == "/" { "/".to_owned() } else { format!("{parent}/") };
            let below = |path: &&str| {
                path.strip_prefix(&prefix).is_some_and(|n| !n.is_empty() && !n.contains('/'))
            };
            nodes.iter().map(|node| node["path"].as_str().unwrap()).filter(below).count()
        };
        let found: BTreeMap<_, _> = nodes
            .iter()
            .map(|node| {
                let path = node["path"].as_str().unwrap();
                let (stat, count) = (&node["stat"], children(path));
                let owner = match node["kind"].as_str().unwrap() {
                    "ephemeral" => number(&stat["ephemeralOwner"]),
                    _ => 0,
                };
                let as_clients_see_it = json!({
                    "acl": acl(&node["acl"]),
                    "data": data(node),
                    "stat": {
                        "aversion": stat["aversion"],
                        "ctime": stat["ctime"],
                        "cversion": stat["cversion"].as_i64().unwrap() * 2 - count as i64,
                        "czxid": number(&stat["czxid"]),
                        "dataLength": stat["dataLength"],
                        "ephemeralOwner": owner,
                        "mtime": stat["mtime"],
                        "mzxid": number(&stat["mzxid"]),
                        "numChildren": count,
                        "pzxid": number(&stat["pzxid"]),
                        "version": stat["version"],
                    },
                });
                (path.to_owned(), as_clients_see_it)
            })
            .collect();
        let mut expected = expected.clone();
        for node in expected.values_mut() {
            node["data"] = json!(node["data"].as_str().map(base64));
        }
        assert_eq!(found, expected, "{name}");
        assert_eq!(
            lines[0],
            json!({ "type": "session", "session": "0x1000039742d0000", "timeout": 600_000 })
        );
        assert_eq!(lines.last().unwrap()["digestZxid"], "0x13");
        let ttl = nodes.iter().find(|node| node["path"] == "/ttl").unwrap();
        assert_eq!((&ttl["kind"], &ttl["ttl"]), (&json!("ttl"), &json!(3_600_000)));
    }
}

#[test]
fn a_snapshot_is_counted_and_verified() {
    let nodes = tree();
    let bytes: i64 = nodes.values().map(|n| n["stat"]["dataLength"].as_i64().unwrap()).sum();
    for (name, compression) in SNAPSHOTS.into_iter().zip(["none", "gz", "snappy"]) {
        let file = golden(name);
        assert_eq!(
            ok_json(&["snapshot", "stat"], &file),
            [json!({
                "file": file.to_str(),
                "format": "snapshot",
                "compression": compression,
                "bytes": fs::metadata(&file).unwrap().len(),
                "zxid": "0x13",
                "lastChange": "0x13",
                "lastZxid": null,
                "sessions": 1,
                "acls": 4,
                "nodes": nodes.len(),
                "ephemerals": 1,
                "containers": 2,
                "ttls": 2,
                "dataBytes": bytes,
                "digest": "ok",
                "digestZxid": "0x13",
                "checksum": "ok",
            })]
        );
        let text = ok(&["snapshot", "stat"], &file);
        assert!(text.contains("\ndigest       ok (of 0x13)\nchecksum     ok\n"), "{text}");
    }
}

#[test]
fn nodes_are_listed_and_chosen() {
    let list = |args: &[&str]| ok(&[&["snapshot", "ls"], args].concat(), &golden("snapshot.13"));
    let all = list(&[]);
    assert_eq!(all.lines().count(), tree().len());
    assert!(all.contains("\n     1        7 -                  /node\n"), "{all}");
    assert!(all.contains("\n     0        1 0x1000039742d0000  /ephemeral\n"), "{all}");
    assert!(all.contains("\n     0        1 ttl=3600000ms      /ttl\n"), "{all}");
    let paths = |args: &[&str]| -> Vec<String> {
        list(args).lines().map(|line| line.split_whitespace().last().unwrap().into()).collect()
    };
    assert_eq!(paths(&["-s", "/node/s"]), ["/node/sequential-0000000000"]);
    assert_eq!(paths(&["-s", "/zookeeper/"]), ["/zookeeper/config", "/zookeeper/quota"]);
    assert_eq!(paths(&["--from", "6", "--to", "0x7"]), ["/container", "/ephemeral"]);
    assert_eq!(paths(&["--from", "0xf", "-s", "/node/c"]), ["/node/c"]);
    assert_eq!(
        ok_json(&["snapshot", "ls", "-s", "/eph"], &golden("snapshot.13.gz")),
        [json!({
            "path": "/ephemeral",
            "dataLength": 1,
            "ephemeralOwner": "0x1000039742d0000",
            "version": 0,
        })]
    );
    let dumped = ok(&["snapshot", "dump", "-s", "/node/n"], &golden("snapshot.13.snappy"));
    assert!(dumped.starts_with("/node/null\n  cZxid = 0x5\n"), "{dumped}");
    assert!(dumped.ends_with("\n  dataLength = 0\n  data = null\n"), "{dumped}");
    assert!(dumped.contains("\n  ctime = 2026-11-23T12:35:08.419Z\n"), "{dumped}");
}

#[test]
fn a_log_is_counted() {
    let file = golden("log.1");
    assert_eq!(
        ok_json(&["log", "stat"], &file),
        [json!({
            "file": file.to_str(),
            "format": "log",
            "version": 2,
            "dbid": 0,
            "bytes": 65552,
            "records": 2138,
            "padding": 65552 - 2138,
            "firstZxid": "0x1",
            "lastZxid": "0x13",
            "firstTime": "2026-11-23T12:35:08.400Z",
            "lastTime": "2026-11-23T12:35:08.692Z",
            "epochs": [0],
            "moreEpochs": false,
            "outOfOrder": 0,
            "transactions": 19,
            "kinds": {
                "closeSession": 1, "create": 5, "create2": 1, "createContainer": 2,
                "createSession": 2, "createTTL": 1, "delete": 1, "deleteContainer": 1, "error": 1,
                "multi": 2, "setACL": 1, "setData": 1,
            },
            "end": "zero-filled",
            "damage": null,
        })]
    );
    let dir = Dir::new("whole");
    let whole = dir.file("log.1", &fs::read(&file).unwrap()[..2138]);
    assert!(ok(&["log", "stat"], &whole).ends_with("\nend          whole\n"));
}

/// Replays the dump of the log into data, ACLs and versions by path.
#[test]
fn a_dumped_log_leads_to_the_tree() {
    let mut nodes: BTreeMap<String, (Option<Vec<u8>>, Value, i64)> = BTreeMap::new();
    fn apply(nodes: &mut BTreeMap<String, (Option<Vec<u8>>, Value, i64)>, txn: &Value) {
        let path = || txn["path"].as_str().unwrap().to_owned();
        match txn["type"].as_str().unwrap() {
            "create" | "create2" | "createContainer" | "createTTL" => {
                assert!(nodes.insert(path(), (data(txn), acl(&txn["acl"]), 0)).is_none());
            }
            "delete" | "deleteContainer" => drop(nodes.remove(&path()).unwrap()),
            "setData" => {
                let node = nodes.get_mut(&path()).unwrap();
                (node.0, node.2) = (data(txn), txn["version"].as_i64().unwrap());
            }
            "setACL" => nodes.get_mut(&path()).unwrap().1 = acl(&txn["acl"]),
            "multi" => {
                let ops = txn["operations"].as_array().unwrap();
                if ops.iter().all(|op| op["type"] != "error") {
                    ops.iter().for_each(|op| apply(nodes, op));
                }
            }
            "closeSession" => {
                for path in txn["paths"].as_array().unwrap() {
                    nodes.remove(path.as_str().unwrap()).unwrap();
                }
            }
            "createSession" | "error" | "check" => {}
            other => panic!("{other}"),
        }
    }
    let lines = ok_json(&["log", "dump"], &golden("log.1"));
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(number(&line["zxid"]), n as i64 + 1);
        apply(&mut nodes, line);
    }
    let expected: BTreeMap<_, _> = tree()
        .into_iter()
        .filter(|(path, _)| path != "/" && !path.starts_with("/zookeeper"))
        .map(|(path, node)| {
            let data = node["data"].as_str().map(base64);
            (path, (data, node["acl"].clone(), node["stat"]["version"].as_i64().unwrap()))
        })
        .collect();
    assert_eq!(nodes, expected);
    // The tree after the last transaction is the snapshot's.
    let end = ok_json(&["snapshot", "dump"], &golden("snapshot.13")).pop().unwrap();
    assert_eq!(lines.last().unwrap()["digest"], end["digest"]);
    // Every field of one of them.
    assert_eq!(
        lines[7],
        json!({
            "file": golden("log.1").to_str(),
            "offset": 717,
            "size": 96,
            "zxid": "0x8",
            "time": "2026-11-23T12:35:08.423Z",
            "session": "0x1000039742d0000",
            "cxid": 6,
            "type": "createTTL",
            "path": "/ttl",
            "data": "t",
            "encoding": "utf-8",
            "acl": [{ "scheme": "world", "id": "anyone", "perms": "cdrwa" }],
            "parentCversion": 4,
            "ttl": 3_600_000,
            "digest": "0x41c40a31b",
            "digestVersion": 2,
        })
    );
    let of = |n: usize, name: &str| lines[n][name].clone();
    assert_eq!((of(2, "parentCversion"), of(5, "ephemeral")), (json!(1), json!(true)));
    assert_eq!((of(6, "parentCversion"), of(2, "ephemeral")), (json!(3), json!(false)));
    assert_eq!((of(0, "timeout"), of(12, "version")), (json!(600_000), json!(1)));
    assert_eq!(of(14, "operations")[0], json!({ "type": "check", "path": "/node", "version": 2 }));
    assert_eq!((&lines[13]["err"], &lines[13]["code"]), (&json!(-103), &json!("BadVersion")));
}

#[test]
fn transactions_are_listed_and_chosen() {
    let list = |args: &[&str]| ok(&[&["log", "ls"], args].concat(), &golden("log.1"));
    let all = list(&[]);
    assert_eq!(all.lines().count(), 19);
    assert!(
        all.contains(
            "\n0x6          2026-11-23T12:35:08.420Z 0x1000039742d0000       4 create          \
             \u{20}   95 /ephemeral\n"
        ),
        "{all}"
    );
    let zxids = |args: &[&str]| -> Vec<String> {
        list(args).lines().map(|line| line.split(' ').next().unwrap().into()).collect()
    };
    assert_eq!(zxids(&["--from", "0x12"]), ["0x12", "0x13"]);
    assert_eq!(zxids(&["--to", "2"]), ["0x1", "0x2"]);
    assert_eq!(zxids(&["--from", "0xa", "--to", "10"]), ["0xa"]);
    // Multis by their operations, the end of a session by its nodes.
    assert_eq!(zxids(&["-s", "/node/m"]), ["0xf"]);
    assert_eq!(zxids(&["-s", "/closing"]), ["0x11", "0x12"]);
    assert_eq!(zxids(&["--prefix", "/reaped/"]), ["0xa", "0xb"]);
    assert_eq!(
        ok_json(&["log", "ls", "-s", "/ttl"], &golden("log.1")),
        [json!({
            "zxid": "0x8",
            "time": "2026-11-23T12:35:08.423Z",
            "session": "0x1000039742d0000",
            "cxid": 6,
            "type": "createTTL",
            "path": "/ttl",
            "size": 96,
        })]
    );
    let text = ok(&["log", "dump", "--from", "0xc", "--to", "0xc"], &golden("log.1"));
    assert_eq!(
        text,
        "0xc 2026-11-23T12:35:08.430Z session 0x1000039742d0000 cxid 11 setData (68 bytes at \
         1113)\n  path = /node\n  data = \"changed\"\n  version = 1\n  digest = 0x4f4dda583\n"
    );
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let file = golden("log.1");
    let file = file.to_str().unwrap();
    for args in [
        &["log", "ls", "--from", "2", "--to", "1", file][..],
        &["log", "ls", "-s", "node", file],
        &["log", "ls", "--from", "1a", file],
        &["snapshot", "dump", "-s", "", file],
        &["log", "stat"],
        &["snapshot", "ls"],
    ] {
        let ran = run(args);
        assert_eq!((ran.code, ran.text()), (2, ""), "{args:?}");
    }
}

#[test]
fn a_damaged_snapshot_is_told_with_its_offset() {
    let dir = Dir::new("snapshot");
    let whole = fs::read(golden("snapshot.13")).unwrap();
    let data = whole.windows(7).position(|w| w == b"changed").unwrap();
    let body = {
        // Behind the nodes' end marker, which the checksum follows.
        let digest = 8 + 4 + 8 + 13;
        whole.len() - digest - 13
    };

    let mut bytes = whole.clone();
    bytes[data] ^= 1;
    let file = dir.file("snapshot.13", &bytes);
    let said = format!("is damaged at offset {body}: wrong checksum");
    let (text, why) = bad(&["snapshot", "stat"], &file);
    assert!(text.contains("\nchecksum     wrong\n"), "{text}");
    assert!(why.ends_with(&said), "{why}");
    // What is there is printed all the same.
    let (text, why) = bad(&["snapshot", "dump"], &file);
    assert!(text.contains("\n  data = \"bhanged\"\n") && why.ends_with(&said), "{why}");
    assert_eq!(bad(&["snapshot", "ls"], &file).0.lines().count(), tree().len());

    let file = dir.file("snapshot.13", &whole[..data + 3]);
    let (text, why) = bad(&["snapshot", "ls"], &file);
    assert_eq!(text.lines().count(), 2);
    // Where the record of /node begins.
    let node = data - 4 - 5 - 4;
    assert!(why.ends_with(&format!("at offset {node}: it ends in the middle")), "{why}");
    assert!(bad(&["snapshot", "stat"], &file).0.contains("\nchecksum     not reached\n"));

    let packed = fs::read(golden("snapshot.13.gz")).unwrap();
    let file = dir.file("snapshot.13.gz", &packed[..packed.len() / 2]);
    let (_, why) = bad(&["snapshot", "stat"], &file);
    assert!(why.contains(" is damaged at offset "), "{why}");

    // Any cut and any flip is found; nothing panics.
    for at in (0..whole.len()).step_by(3) {
        let file = dir.file("snapshot.13", &whole[..at]);
        bad(&["snapshot", "stat"], &file);
        if at % 9 == 0 {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x81;
            bad(&["snapshot", "dump"], &dir.file("snapshot.13", &bytes));
        }
    }
    // But for the cut between the checksum and the digest: older servers wrote no digest.
    let file = dir.file("snapshot.13", &whole[..body + 13]);
    assert!(ok(&["snapshot", "stat"], &file).contains("\ndigest       none\n"));
    bad(&["snapshot", "stat"], &golden("log.1"));
    bad(&["snapshot", "stat"], &dir.0);
    bad(&["snapshot", "stat"], &dir.0.join("none"));
}

#[test]
fn a_digest_that_the_nodes_do_not_have_is_told() {
    let dir = Dir::new("digest");
    let mut store = dir.store(Options::default());
    let body = body(&[(b"", b"")]);
    let sum = |digest| {
        Some(zk_core::wire::file::SnapshotDigest { zxid: Zxid(5), version: 2, tree_digest: digest })
    };
    let mut write = |zxid, digest| {
        let mut writer = store.begin_snapshot(Zxid(zxid)).unwrap();
        writer.write(&body).unwrap();
        let name = writer.finish(sum(digest), Some(Zxid(5))).unwrap();
        dir.0.join("version-2").join(name)
    };
    let stat = |file: &Path| ok_json(&["snapshot", "stat"], file).remove(0);
    // The digest of an empty root.
    let right = write(5, 0x0412_8908);
    assert_eq!((&stat(&right)["digest"], &stat(&right)["lastZxid"]), (&json!("ok"), &json!("0x5")));
    let (text, why) = bad(&["snapshot", "stat"], &write(5, 1));
    assert!(text.contains("\ndigest       wrong (of 0x5)\nchecksum     ok\n"), "{text}");
    assert!(why.contains("do not have the digest"), "{why}");
    // Written while transactions went on: only the log can tell.
    assert_eq!(stat(&write(4, 1))["digest"], "later");
}

#[test]
fn a_damaged_log_is_told_with_its_offset() {
    let dir = Dir::new("log");
    let whole = fs::read(golden("log.1")).unwrap();
    // The setData begins at 1113, its transaction 12 bytes later.
    let (before, record) = (11, 1113);
    let listed = |name: &str, bytes: &[u8]| {
        let file = dir.file(name, bytes);
        let (text, why) = bad(&["log", "ls"], &file);
        let stat: Vec<_> = json_lines(&bad(&["--output", "json", "log", "stat"], &file).0);
        (text.lines().count(), why, stat[0]["end"].as_str().unwrap().to_owned())
    };

    let mut bytes = whole.clone();
    bytes[record + 20] ^= 1;
    let (count, why, end) = listed("log.flip", &bytes);
    assert_eq!((count, end.as_str()), (before, "damaged"));
    assert!(why.contains("is damaged at offset 1113: a record has a wrong checksum"), "{why}");

    let (count, why, end) = listed("log.cut", &whole[..record + 20]);
    assert_eq!((count, end.as_str()), (before, "torn"));
    assert!(why.contains("is torn at offset 1113 (the file ends inside a record)"), "{why}");

    // Only its beginning was written into the zeros.
    let mut bytes = whole.clone();
    bytes[record + 40..].fill(0);
    let (count, why, end) = listed("log.torn", &bytes);
    assert_eq!((count, end.as_str()), (before, "torn"));
    assert!(why.contains("is torn at offset 1113"), "{why}");

    let mut bytes = whole.clone();
    bytes[40_000] = 7;
    let (count, why, end) = listed("log.residue", &bytes);
    assert_eq!((count, end.as_str()), (19, "damaged"));
    assert!(why.contains("is damaged at offset 2138: bytes other than zeros"), "{why}");

    assert_eq!(listed("log.empty", b"").2, "torn");
    assert_eq!(listed("log.strange", &fs::read(golden("snapshot.13")).unwrap()).2, "damaged");

    // One file does not keep the others from being read; each has its sentence.
    let (none, cut) = (dir.0.join("none"), dir.0.join("log.cut"));
    let (none, cut) = (none.to_str().unwrap(), cut.to_str().unwrap());
    let ran = run(&["log", "ls", none, cut, golden("log.1").to_str().unwrap()]);
    assert_eq!((ran.code, ran.text().lines().count()), (6, before + 19));
    let said: Vec<_> = ran.err.lines().collect();
    assert!(said.len() == 2 && said[0].contains(none) && said[1].contains(cut), "{said:?}");
}

fn header(zxid: i64, op: OpCode) -> TxnHeader {
    TxnHeader { client_id: SessionId(-2), cxid: Xid(-3), zxid: Zxid(zxid), time: -1, op }
}

#[test]
fn any_bytes_are_shown() {
    let dir = Dir::new("bytes");
    let mut store = dir.store(Options { preallocate: 0, ..Options::default() });
    let mut append = |zxid, op, record: &[u8]| {
        let mut bytes = vec![0; 32];
        jute::encode(&header(zxid, op), &mut bytes).unwrap();
        bytes.extend_from_slice(record);
        store.append(Zxid(zxid), &bytes).unwrap();
        store.sync().unwrap();
    };
    let blob: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let create = CreateTxn {
        path: Ustring::new(b"/\xff\n"),
        data: Buffer::new(&blob),
        acl: List::NULL,
        ephemeral: false,
        parent_cversion: jute::Trailing(Some(1)),
    };
    let mut record = vec![0; jute::size(&create)];
    jute::encode(&create, &mut record).unwrap();
    append(0x1_0000_0001, OpCode::Create, &record);
    let file = dir.0.join("version-2/log.100000001");
    let dumped = &ok_json(&["log", "dump"], &file)[0];
    assert_eq!(data(dumped).unwrap(), blob);
    assert_eq!((&dumped["path"], &dumped["acl"]), (&json!("/\\xff\\n"), &json!([])));
    assert_eq!(dumped["session"], "0xfffffffffffffffe");
    assert_eq!(dumped["time"], "1969-12-31T23:59:59.999Z");
    let size = 32 + record.len();
    assert!(ok(&["log", "ls"], &file).ends_with(&format!(" {size} /\\xff\\n\n")));

    // A type that is not known: the transaction is shown, and told.
    append(0x1_0000_0002, OpCode(77), b"\0\xfe");
    let (text, why) = bad(&["--output", "json", "log", "dump", "--from", "0x100000002"], &file);
    let strange = &json_lines(&text)[0];
    assert_eq!((&strange["type"], data(strange)), (&json!("type 77"), Some(b"\0\xfe".to_vec())));
    let second = 16 + size + 13;
    assert!(
        why.contains(&format!("the first is 0x100000002 at offset {second}: its type")),
        "{why}"
    );
    let (text, _) = bad(&["log", "stat"], &file);
    assert!(text.contains("\nepochs       1\n") && text.contains("\n  type 77"), "{text}");
}

/// A snapshot's body without sessions and ACLs, with these nodes.
fn body(nodes: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = vec![0; 8];
    let mut put = |record: &[u8]| body.extend_from_slice(record);
    for (path, data) in nodes {
        let node =
            SnapshotNode { data: Buffer::new(data), acl: -1, stat: StatPersisted::default() };
        let record = (Ustring::new(path), node);
        let mut bytes = vec![0; jute::size(&record)];
        jute::encode(&record, &mut bytes).unwrap();
        put(&bytes);
    }
    let mut end = [0; 5];
    jute::encode(&END, &mut end).unwrap();
    put(&end);
    body
}

/// Wherever the pieces in which a file is read begin and end.
#[test]
fn records_of_any_size_are_read() {
    const PIECE: usize = 64 << 10;
    for compression in [Compression::Plain, Compression::Gzip, Compression::Snappy] {
        let dir = Dir::new(&format!("sizes{}", compression.extension()));
        let mut store = dir.store(Options { compression, ..Options::default() });
        let mut read = |zxid: i64, data: &[u8]| {
            let mut writer = store.begin_snapshot(Zxid(zxid)).unwrap();
            writer.write(&body(&[(b"", b""), (b"/big", data)])).unwrap();
            let file = dir.0.join("version-2").join(writer.finish(None, None).unwrap());
            let dumped = &ok_json(&["snapshot", "dump", "-s", "/big"], &file)[0];
            assert!(self::data(dumped).unwrap() == data, "{} bytes", data.len());
            assert_eq!(
                dumped["acl"],
                json!([{"scheme": "world", "id": "anyone", "perms": "cdrwa"}])
            );
        };
        read(1, &vec![0xfe; 3_000_000]);
        // The end moves over the end of a piece.
        for (zxid, short) in (2..).zip((60..260).step_by(7)) {
            read(zxid, &vec![b'x'; PIECE - short]);
        }
    }
}

#[test]
fn nothing_is_changed() {
    let dir = Dir::new("unchanged");
    for (verb, name) in
        SNAPSHOTS.map(|name| ("snapshot", name)).into_iter().chain([("log", "log.1")])
    {
        let bytes = fs::read(golden(name)).unwrap();
        let file = dir.file(name, &bytes);
        let mut permissions = fs::metadata(&file).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&file, permissions).unwrap();
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        for what in ["stat", "ls", "dump"] {
            ok(&[verb, what], &file);
        }
        assert!(fs::read(&file).unwrap() == bytes);
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), modified);
    }
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 4);
}

/// Output that nobody reads to its end is no failure.
#[test]
fn a_broken_pipe_is_quiet() {
    let file = golden("log.1");
    let args: Vec<_> = ["log", "dump"].into_iter().chain([file.to_str().unwrap(); 200]).collect();
    let mut child = zk(NOWHERE, &args).spawn().unwrap();
    let mut first = String::new();
    // More is written than the pipe and this reader hold.
    let mut out = BufReader::with_capacity(64, child.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert!(first.starts_with("0x1 2026-"), "{first}");
    drop(out);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}
