//! `zk board`: what is written for a board, and read back.

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Ran, finish, zk};
use zk_core::wire::provision::{self, PROVISION_MAX};

const PEERS: &str = "10.0.2.101,10.0.2.102:12888:13888:observer,10.0.2.2;2182";

fn run(args: &[&str]) -> Ran {
    finish(zk("127.0.0.1:1", args).spawn().unwrap(), b"")
}

fn provision(out: &Path, more: &[&str]) -> Ran {
    let mac = "02:00:00:00:00:01";
    let args = ["board", "provision", "--mac", mac, "--out", out.to_str().unwrap()];
    run(&[&args[..], more].concat())
}

#[test]
fn a_sector_is_written_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node1.bin");
    let ran = provision(&file, &["--id", "1", "--peers", PEERS, "--gateway", "10.0.2.9"]);
    let shown = format!(
        "file         {}\n\
         bytes        1024\n\
         server       1\n\
         MAC          02:00:00:00:00:01\n\
         address      10.0.2.101/24\n\
         gateway      10.0.2.9\n\
         client port  2181\n\
         server.1     10.0.2.101:2888:3888:participant;0.0.0.0:2181\n\
         server.2     10.0.2.102:12888:13888:observer;0.0.0.0:2181\n\
         server.3     10.0.2.2:2888:3888:participant;0.0.0.0:2182\n\
         version      0\n",
        file.display()
    );
    assert_eq!((ran.code, ran.err.as_str(), ran.text()), (0, "", shown.as_str()));
    let ran = run(&["board", "show", file.to_str().unwrap()]);
    assert_eq!((ran.code, ran.err.as_str(), ran.text()), (0, "", shown.as_str()));

    let bytes = fs::read(&file).unwrap();
    assert_eq!(bytes.len(), PROVISION_MAX);
    let read = provision::decode(&bytes).unwrap();
    assert_eq!((read.server.0, read.hardware, read.prefix), (1, [2, 0, 0, 0, 0, 1], 24));
    assert_eq!(read.gateway.map(|gateway| gateway.octets()), Some([10, 0, 2, 9]));
    assert!(read.config.starts_with("server.1=10.0.2.101:2888:3888:participant;0.0.0.0:2181\n"));

    let ran = run(&["-o", "json", "board", "show", file.to_str().unwrap()]);
    let value: Value = serde_json::from_str(ran.text()).unwrap();
    let expected = json!({
        "file": file.to_str().unwrap(),
        "bytes": 1024,
        "server": 1,
        "mac": "02:00:00:00:00:01",
        "address": "10.0.2.101",
        "dhcp": false,
        "prefix": 24,
        "gateway": "10.0.2.9",
        "clientPort": 2181,
        "config": {
            "server.1": "10.0.2.101:2888:3888:participant;0.0.0.0:2181",
            "server.2": "10.0.2.102:12888:13888:observer;0.0.0.0:2181",
            "server.3": "10.0.2.2:2888:3888:participant;0.0.0.0:2182",
            "version": "0",
        },
    });
    assert_eq!(value, expected);
}

#[test]
fn an_image_is_the_sector_in_an_erased_flash() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node3.bin");
    let args = ["--id", "3", "--peers", PEERS, "--prefix", "16", "--size", "256K"];
    let ran = provision(&file, &args);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let bytes = fs::read(&file).unwrap();
    assert_eq!(bytes.len(), 256 << 10);
    let read = provision::decode(&bytes).unwrap();
    assert_eq!((read.client_port, read.prefix, read.gateway), (2182, 16, None));
    assert!(bytes[PROVISION_MAX..].iter().all(|&byte| byte == 0xff));

    // What the network says is not in it.
    let leased = dir.path().join("leased.bin");
    let ran = provision(&leased, &["--id", "1", "--peers", PEERS, "--dhcp"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(
        ran.text().contains("address      10.0.2.101\ngateway      by DHCP\n"),
        "{}",
        ran.text()
    );
    let read = fs::read(&leased).unwrap();
    assert_eq!(provision::decode(&read).map(|read| (read.prefix, read.gateway)), Ok((0, None)));

    // What may be a board's history is left alone.
    let ran = provision(&file, &["--id", "1", "--peers", PEERS]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--force writes over it"), "{}", ran.err);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let ran = provision(&file, &["--id", "1", "--peers", PEERS, "--force"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(fs::read(&file).unwrap().len(), PROVISION_MAX);
}

#[test]
fn what_no_board_can_be_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.bin");
    for (args, why) in [
        (&["--id", "4", "--peers", PEERS][..], "--peers names no server 4"),
        (&["--id", "1", "--peers", "1=10.0.2.101,10.0.2.102"], "to all of the peers, or to none"),
        (&["--id", "1", "--peers", "1=10.0.2.101,1=10.0.2.102"], "line 2: said twice"),
        (&["--id", "1", "--peers", "10.0.2.101:1:2:observer"], "no server is a participant"),
        (&["--id", "1", "--peers", "host"], "`host` is not an IPv4 address"),
        (&["--id", "1", "--peers", "10.0.2.255"], "the address is not one of a host"),
        (&["--id", "1", "--peers", PEERS, "--gateway", "10.9.2.1"], "not another host of the"),
        (&["--id", "1", "--peers", PEERS, "--dhcp", "--prefix", "24"], "cannot be used with"),
        (&["--id", "1", "--peers", PEERS, "--mac", "01:00:00:00:00:00"], "cannot be used multiple"),
        (&["--id", "1", "--peers", PEERS, "--size", "512"], "a flash has from 1024"),
        (&["--id", "255", "--peers", PEERS], "255 is not in 1..=254"),
    ] {
        let ran = provision(&file, args);
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(ran.err.contains(why), "{args:?}: {}", ran.err);
        assert!(!file.exists(), "{args:?}");
    }
    let peers: Vec<_> = (1..=20).map(|n| format!("10.0.2.{n}")).collect();
    let ran = provision(&file, &["--id", "1", "--peers", &peers.join(",")]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("more than 960 bytes"), "{}", ran.err);
}

#[test]
fn what_is_no_sector_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.bin");
    let ran = provision(&file, &["--id", "1", "--peers", PEERS, "--size", "4K"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 4;
    for (bytes, why) in [
        (vec![0xff; 4096], "not provisioned"),
        (vec![0; 4096], "does not begin with who"),
        (flipped, "damaged"),
        (whole[..50].to_vec(), "damaged"),
        (Vec::new(), "damaged"),
    ] {
        fs::write(&file, bytes).unwrap();
        let ran = run(&["board", "show", file.to_str().unwrap()]);
        assert_eq!((ran.code, ran.text()), (6, ""), "{why}");
        assert!(ran.err.contains(why) && ran.err.contains("`zk board provision`"), "{}", ran.err);
    }
    let ran = run(&["board", "show", dir.path().join("none").to_str().unwrap()]);
    assert_eq!(ran.code, 6);
}
