//! `zk shell`, fed by a pipe. See `verbs.rs` for the server.

mod support;

use support::Place;

/// Runs a script below the place's root, where `@` stands for the root.
fn shell(p: &Place, script: &str) -> (i32, String, String) {
    let ran = p.zk_with(&["shell"], script.replace('@', &p.root).as_bytes());
    let out = ran.text().replace(&p.root, "@");
    (ran.code, out, ran.err.replace(&p.root, "@"))
}

#[test]
fn a_session_lasts_as_long_as_the_shell() {
    let p = Place::new("shell");
    let script = "create -e @/e 'two words'\nget @/e\ngetEphemerals @\nls @\nquit\nls @\n";
    assert_eq!(shell(&p, script), (0, "@/e\ntwo words\n@/e\ne\n".into(), String::new()));
    assert_eq!(p.ok(&["ls", &p.root]), "");
    // `close` ends it, `connect` begins another.
    let script = "create -e @/e\nclose\nget @/e\nconnect\nls @\n";
    let (code, out, err) = shell(&p, script);
    assert_eq!((code, out.as_str()), (0, "@/e\n"));
    assert_eq!(err, "error: there is no session; `connect` begins one\n");
}

#[test]
fn watches_print_when_they_fire() {
    let p = Place::new("shell-watch");
    let script = "create @/w one\nget -w @/w\nset @/w two\nset @/w three\nsync @\n";
    let out = "@/w\none\nWATCHER:: NodeDataChanged @/w\nSync is OK\n";
    assert_eq!(shell(&p, script), (0, out.into(), String::new()));
    let script = "printwatches off\nprintwatches\naddWatch @\nset @/w x\nsync @\nprintwatches on\n\
                  set @/w y\nremovewatches @\nset @/w z\nsync @\n";
    let out = "printwatches is off\nSync is OK\nWATCHER:: NodeDataChanged @/w\nSync is OK\n";
    assert_eq!(shell(&p, script), (0, out.into(), String::new()));
}

#[test]
fn lines_can_be_done_again() {
    let p = Place::new("shell-redo");
    let (code, out, err) = shell(&p, "create -s @/n-\nhistory\nredo 0\nredo 9\nredo 2\n");
    assert_eq!(
        out,
        "@/n-0000000000\n0 - create -s @/n-\n1 - history\ncreate -s @/n-\n@/n-0000000001\n\
         create -s @/n-\n@/n-0000000002\n"
    );
    assert_eq!((code, err.as_str()), (0, "error: there is no line 9 in the history\n"));
}

#[test]
fn the_last_line_decides_the_exit_code() {
    let p = Place::new("shell-code");
    let (code, out, err) = shell(&p, "get @/a\nnonsense\nls @\n");
    assert_eq!((code, out.as_str()), (0, ""));
    assert!(err.starts_with("error: @/a does not exist (NoNode)\nerror: unrecognized subcommand"));
    assert_eq!(shell(&p, "ls @\nget @/a\n").0, 1);
    assert_eq!(shell(&p, "set @/a\n").0, 2);
}

#[test]
fn credentials_last_for_the_session() {
    let p = Place::new("shell-auth");
    let script = "addauth digest bob:secret\ncreate @/a x auth::cdrwa\nconnect\nget @/a\n";
    let (code, out, err) = shell(&p, script);
    assert_eq!((code, out.as_str()), (1, "@/a\n"));
    assert_eq!(err, "error: the ACL does not allow this on @/a (NoAuth)\n");
    let (code, out, err) = shell(&p, "addauth digest bob:secret\nget @/a\naddauth nonsense x\n");
    assert_eq!((code, out.as_str()), (5, "x\nthe server did not accept the credential\n"), "{err}");
}
