//! Runs the cases of `testdata/config/cases.txt`; the format stands at the head of that file.
//! With `ZK_WRITE_EXPECTED=1` in the environment the answers are written into it, to be read
//! before they are committed.

use core::sync::atomic::{AtomicU32, Ordering};
use std::env;
use std::fs;
use std::process;

use super::*;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/config/cases.txt");

/// A directory of its own for a test, removed when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("zk-config-{}-{number}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug, Default)]
struct Case<'a> {
    name: &'a str,
    /// Name and content; "options" is no file.
    files: Vec<(&'a str, String)>,
    /// What Apache 3.8.0 did, noted by hand: `starts`, `quorum` or `exits N`.
    apache: &'a str,
    /// Why ours is another outcome, if it is.
    differs: &'a str,
    expected: String,
}

fn read_cases(text: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    let mut in_expected = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case { name, ..Case::default() });
            in_expected = false;
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(apache) = line.strip_prefix("--- apache: ") {
            (case.apache, case.differs) =
                apache.split_once("; ours differs: ").unwrap_or((apache, ""));
            in_expected = true;
        } else if let Some(name) = line.strip_prefix("--- ") {
            case.files.push((name, String::new()));
        } else if in_expected {
            // A blank line ends a case.
            if !line.is_empty() {
                case.expected += &format!("{line}\n");
            }
        } else if let Some((_, content)) = case.files.last_mut() {
            *content += &format!("{line}\n");
        }
    }
    cases
}

/// Outcome, and what the configuration says beyond the one of `dataDir` alone.
fn run(case: &Case<'_>) -> (String, String) {
    let scratch = Scratch::new();
    let dir = scratch.0.to_str().unwrap();
    let mut overrides = Vec::new();
    for (name, content) in &case.files {
        let content = content.replace("$DIR", dir);
        if *name == "options" {
            for line in content.lines() {
                let (key, value) = line.split_once('=').unwrap();
                overrides.push((key.to_owned(), value.to_owned()));
            }
        } else {
            // An empty last line of a file stands for no newline at its end.
            let content = content.strip_suffix("\n\n").unwrap_or(&content);
            fs::write(scratch.0.join(name), content).unwrap();
        }
    }
    match Config::load(&scratch.0.join("zoo.cfg"), &overrides) {
        Err(error) => (format!("exits {EXIT_CODE}"), format!("{error}\n").replace(dir, "$DIR")),
        Ok(config) => {
            let outcome = match config.mode() {
                Mode::Standalone => "starts",
                Mode::Quorum => "quorum",
            };
            (outcome.to_owned(), summary(&config).replace(dir, "$DIR"))
        }
    }
}

fn summary(config: &Config) -> String {
    let data_dir = format!("dataDir={}\n", config.data_dir.display());
    let plain = Config::parse(data_dir.as_bytes(), &[]).unwrap();
    let mut text = String::new();
    for (field, usual) in fields(config).iter().zip(fields(&plain)) {
        let own = !["settings: ", "warnings: ", "file: "].iter().any(|f| field.starts_with(f));
        if own && *field != usual {
            text += &format!("{field}\n");
        }
    }
    for warning in config.warnings() {
        let usual = |w: &Warning| {
            (&w.key, &w.value, &w.text) == (&warning.key, &warning.value, &warning.text)
        };
        if !plain.warnings().iter().any(usual) {
            text += &format!("warning: {warning}\n");
        }
    }
    text
}

/// The fields of a configuration, each as `name: value`.
fn fields(config: &Config) -> Vec<String> {
    let text = format!("{config:?}");
    let inside = text.strip_prefix("Config { ").unwrap().strip_suffix(" }").unwrap();
    let mut fields = vec![String::new()];
    let mut depth = 0;
    let mut quoted = false;
    let mut escaped = false;
    for c in inside.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                fields.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        fields.last_mut().unwrap().push(c);
    }
    fields.iter().map(|field| field.trim().to_owned()).collect()
}

#[test]
fn cases() {
    let text = fs::read_to_string(CASES).unwrap();
    let cases = read_cases(&text);
    assert!(cases.len() > 100, "{} cases", cases.len());
    if env::var_os("ZK_WRITE_EXPECTED").is_some() {
        fs::write(CASES, written(&text, &cases)).unwrap();
        return;
    }
    for case in &cases {
        let name = case.name;
        let (outcome, got) = run(case);
        assert_eq!(got, case.expected, "{name}");
        if case.differs.is_empty() {
            assert_eq!(outcome, case.apache, "{name}: Apache does otherwise");
        } else {
            assert_ne!(outcome, case.apache, "{name}: there is no difference");
        }
    }
}

/// The text of the cases with our answers.
fn written(text: &str, cases: &[Case<'_>]) -> String {
    let (head, _) = text.split_once("\n=== ").unwrap();
    let mut out = format!("{head}\n");
    for case in cases {
        out += &format!("=== {}\n", case.name);
        for (name, content) in &case.files {
            out += &format!("--- {name}\n{content}");
        }
        let differs = if case.differs.is_empty() { "" } else { "; ours differs: " };
        out += &format!("--- apache: {}{differs}{}\n{}\n", case.apache, case.differs, run(case).1);
    }
    out
}

/// Every row that is said to be honoured is read, and nothing else is.
#[test]
fn honoured_keys_are_read() {
    let asked = |text: &[u8], path: Option<&Path>| {
        let properties = properties::Properties::parse(text).unwrap();
        let mut settings = settings::Settings::collect(path, &properties, &[]).unwrap();
        Config::from_settings(path, &mut settings).unwrap();
        settings.asked
    };
    let mut read = asked(b"dataDir=/nowhere\n", None);
    read.extend(asked(b"dataDir=/nowhere\nminSessionTimeout=1\n", None));
    let honoured: BTreeSet<&str> = keys::KEYS
        .iter()
        .filter(|row| row.kind == keys::Kind::Honoured)
        .map(|row| row.name)
        .collect();
    assert_eq!(read, honoured);
}

#[test]
fn quick_start_is_the_default_on_the_loopback() {
    let config = Config::quick_start(Path::new("zk-data"));
    assert_eq!(config.client_address.clone().unwrap().to_string(), "127.0.0.1:2181");
    assert_eq!(config.mode(), Mode::Standalone);
    let text = b"dataDir=./zk-data\nclientPort=2181\nclientPortAddress=127.0.0.1\n";
    let mut same = Config::parse(text, &[]).unwrap();
    same.data_dir = config.data_dir.clone();
    same.data_log_dir = config.data_log_dir.clone();
    assert_eq!(
        fields(&same)[..fields(&same).len() - 2],
        fields(&config)[..fields(&config).len() - 2]
    );
}

#[test]
fn a_server_that_nobody_reaches_or_that_fills_its_disk_is_warned_about() {
    let config = Config::parse(b"dataDir=/d\n", &[]).unwrap();
    let keys: Vec<_> = config.warnings().iter().filter_map(|w| w.key.as_deref()).collect();
    assert_eq!(keys, ["autopurge.purgeInterval", "clientPort"]);
    let config = Config::parse(b"dataDir=/d\nclientPort=1\nautopurge.purgeInterval=1\n", &[]);
    assert_eq!(config.unwrap().warnings(), []);
}

#[test]
fn settings_are_kept_as_written() {
    let overrides = [("zookeeper.snapCount".to_owned(), " 7 ".to_owned())];
    let config = Config::parse(b"tickTime = 2000 \ndataDir:/d\nnosuch=x\n", &overrides).unwrap();
    assert_eq!(config.raw("tickTime"), Some("2000"));
    assert_eq!(config.raw("snapCount"), Some("7"));
    assert_eq!(config.raw("nosuch"), Some("x"));
    assert_eq!(config.raw("syncLimit"), None);
    assert_eq!(
        format!("{:?}", config.settings()),
        "[tickTime=2000, dataDir=/d, nosuch=x, snapCount=7]"
    );
}

#[test]
fn secrets_stay_out_of_messages() {
    let text = b"dataDir=/d\nssl.keyStore.password=hunter2\n";
    let error = Config::parse(text, &[]).unwrap_err();
    assert_eq!(error.value, None);
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let text = b"dataDir=/d\nDigestAuthenticationProvider.superDigest=super:abc\n";
    let config = Config::parse(text, &[]).unwrap();
    assert_eq!(config.super_digest, Some(SuperDigest("super:abc".to_owned())));
    assert!(!format!("{config:?}").contains("super:abc"));
}

#[test]
fn a_text_alone_leads_to_no_file() {
    let text = b"dataDir=/d\nserver.1=a:1:2\nserver.2=b:1:2\ninitLimit=1\nsyncLimit=1\n";
    let config = Config::parse(text, &[]).unwrap();
    assert_eq!((config.mode(), config.server_id), (Mode::Quorum, None));
    let error = Config::parse(b"dataDir=/d\ndynamicConfigFile=/e\n", &[]).unwrap_err();
    assert_eq!(error.key.as_deref(), Some("dynamicConfigFile"));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let scratch = Scratch::new();
    let missing = scratch.0.join("zoo.cfg");
    let error = Config::load(&missing, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}: there is no such file; name another file", missing.display())
    );
    let error = Config::load(&scratch.0, &[]).unwrap_err();
    assert!(error.to_string().contains("cannot read it: "), "{error}");
    fs::write(&missing, vec![b' '; MAX_FILE_BYTES + 1]).unwrap();
    let error = Config::load(&missing, &[]).unwrap_err();
    assert!(error.to_string().contains("longer than 1048576 bytes"), "{error}");
}

/// A crash between the first version of a configuration and its file must not lose the version; nothing
/// else counts beside members in `zoo.cfg` itself.
#[test]
fn the_first_version_of_the_same_members_counts() {
    let scratch = Scratch::new();
    let file = scratch.0.join("zoo.cfg");
    let text = "tickTime=100\ninitLimit=1\nsyncLimit=1\nclientPort=7\n\
        server.1=a:1:2\nserver.2=b:1:2:observer;9\nserver.3=c:1:2\n";
    let data = scratch.0.display();
    fs::write(scratch.0.join("myid"), "1\n").unwrap();
    fs::write(&file, format!("{text}dataDir={data}\n")).unwrap();
    let same = "server.1=a:1:2:participant\nserver.2=b:1:2:observer;0.0.0.0:9\nserver.3=c:1:2:participant\n";
    for (next, counts) in [
        (format!("{same}version=100000000"), Some(zk_core::id::Zxid(0x1_0000_0000))),
        (format!("{same}version=100000005"), None),
        (format!("{}version=100000000", same.replace("observer", "participant")), None),
        ("server.1=nonsense\nversion=100000000".to_owned(), None),
    ] {
        fs::write(scratch.0.join("zoo.cfg.dynamic.next"), &next).unwrap();
        let config = Config::load(&file, &[]).unwrap();
        assert_eq!(config.last_seen_quorum.map(|next| next.version), counts, "{next}");
        let warned =
            config.warnings.iter().any(|warning| warning.to_string().contains("dynamic.next"));
        assert_eq!(warned, next.contains("nonsense"), "{:?}", config.warnings);
    }
}
