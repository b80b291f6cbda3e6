//! `zoo.cfg`: any text is read or refused; what was read as properties and is written down again
//! reads as the same.

use zk_std::config::keys::KEYS;
use zk_std::config::properties::Properties;
use zk_std::config::{Config, Mode};

use crate::{input, seed};

/// Runs one input.
///
/// # Panics
/// When it finds something.
pub fn run(data: &[u8]) {
    properties(data);
    configuration(data, &[]);
    // The same as options of a command line.
    let overrides: Vec<(String, String)> = input::pieces(data)
        .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
        .filter_map(|text| {
            let (key, value) = text.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect();
    configuration(b"dataDir=/data\nclientPort=2181\n", &overrides);
}

fn properties(text: &[u8]) {
    let Ok(read) = Properties::parse(text) else { return };
    let mut written = String::new();
    for property in &read.entries {
        assert_eq!(read.get(&property.key), Some(property));
        written += &format!("{}={}\n", escaped(&property.key), escaped(&property.value));
    }
    let again = Properties::parse(written.as_bytes()).expect("what was escaped");
    assert!(again.overridden.is_empty());
    let pairs = |of: &Properties| -> Vec<(String, String)> {
        of.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    assert_eq!(pairs(&read), pairs(&again));
}

/// Every character as `\uXXXX`.
fn escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

fn configuration(text: &[u8], overrides: &[(String, String)]) {
    match Config::parse(text, overrides) {
        Ok(config) => {
            let quorum = config.mode() == Mode::Quorum;
            assert!(!quorum || config.quorum.is_some());
            for setting in config.settings() {
                assert_eq!(config.raw(&setting.key), Some(setting.value.as_str()));
            }
            assert!(config.min_session_timeout <= config.max_session_timeout);
            for warning in config.warnings() {
                assert!(!warning.to_string().is_empty());
            }
            assert!(!format!("{config:?}").is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The files that Apache was asked about, the texts that Java was asked about, and every key.
pub fn seeds() -> Vec<Vec<u8>> {
    let text = |file| {
        let bytes = seed::file(&format!("zk-std/testdata/config/{file}"));
        String::from_utf8(bytes).expect("the tables are text")
    };
    let mut seeds = vec![];
    for case in text("cases.txt").split("--- zoo.cfg\n").skip(1) {
        let end = case.find("--- ").unwrap_or(case.len());
        seeds.push(case[..end].replace("$DIR", "/data").into_bytes());
    }
    let texts = text("properties.txt") + &text("properties-random.txt");
    // Their escapes are not undone: backslashes are what this is about.
    let inputs: Vec<&str> = texts.lines().filter_map(|line| line.strip_prefix("in ")).collect();
    seeds.extend(inputs.chunks(20).map(|inputs| inputs.join("\n").into_bytes()));
    for key in KEYS {
        for value in ["1", "true"] {
            let text = format!("dataDir=/data\nclientPort=2181\n{}={value}\n", key.name);
            seeds.push(text.into_bytes());
        }
    }
    seeds
}
