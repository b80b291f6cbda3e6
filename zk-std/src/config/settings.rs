//! The settings that are in force, typed on demand by Java's rules.

use core::fmt;
use core::ops::RangeInclusive;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::error::{Error, Origin, Warning, is_secret};
use super::keys::{self, Form, Kind};
use super::properties::{Properties, trim};

/// A key and its value as written, trimmed.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key as in `zoo.cfg`, without the prefix `zookeeper.` of an override.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where it was made.
    pub origin: Origin,
}

/// Without values that may be secrets.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.shown_value().as_deref().unwrap_or("..."))
    }
}

impl Setting {
    fn shown_value(&self) -> Option<String> {
        (!is_secret(&self.key)).then(|| self.value.clone())
    }

    pub(super) fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error {
            origin: self.origin.clone(),
            key: Some(self.key.clone()),
            value: self.shown_value(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn warning(&self, text: impl Into<String>) -> Warning {
        Warning {
            origin: self.origin.clone(),
            key: Some(self.key.clone()),
            value: self.shown_value(),
            text: text.into(),
        }
    }
}

/// All settings of one source and the overrides, checked against the table of keys.
#[derive(Debug)]
pub(super) struct Settings {
    /// The file as a whole: the place of what is missing.
    source: Origin,
    pub(super) list: Vec<Setting>,
    pub(super) warnings: Vec<Warning>,
    /// Rows that were asked for: the tests compare them with the rows said to be honoured.
    pub(super) asked: BTreeSet<&'static str>,
}

impl Settings {
    /// Puts the overrides over the file and looks every key up: refused keys and malformed values
    /// end here; keys without effect become warnings.
    pub(super) fn collect(
        path: Option<&Path>,
        properties: &Properties,
        overrides: &[(String, String)],
    ) -> Result<Self, Error> {
        let mut list: Vec<Setting> = Vec::new();
        let mut warnings = Vec::new();
        let path: Option<Arc<Path>> = path.map(Arc::from);
        let origin = |line| Origin::File { path: path.clone(), line };
        let setting = |key: &str, value: &str, origin| Setting {
            key: trim(key).to_owned(),
            value: trim(value).to_owned(),
            origin,
        };
        for entry in &properties.overridden {
            let property = &entry.property;
            let old = setting(&property.key, &property.value, origin(property.line));
            warnings.push(old.warning(format!("line {} replaces it", entry.by_line)));
        }
        let from_file = properties
            .entries
            .iter()
            .map(|entry| setting(&entry.key, &entry.value, origin(entry.line)));
        let from_overrides = overrides.iter().map(|(key, value)| {
            let key = trim(key);
            setting(key.strip_prefix("zookeeper.").unwrap_or(key), value, Origin::Override)
        });
        let mut places = HashMap::new();
        for new in from_file.chain(from_overrides) {
            match places.get(&new.key) {
                Some(&at) => {
                    let old: &mut Setting = &mut list[at];
                    *old = new;
                }
                None => {
                    places.insert(new.key.clone(), list.len());
                    list.push(new);
                }
            }
        }
        for setting in &list {
            if let Some(warning) = look_up(setting)? {
                warnings.push(warning);
            }
        }
        Ok(Self { source: origin(0), list, warnings, asked: BTreeSet::new() })
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&Setting> {
        self.asked.insert(key);
        self.list.iter().find(|setting| setting.key == key)
    }

    /// Notes that the settings under a prefix were asked for, and returns them.
    pub(super) fn under(&mut self, row: &'static str) -> Vec<Setting> {
        self.asked.insert(row);
        let prefix = row.strip_suffix('*').unwrap_or(row);
        self.list.iter().filter(|setting| setting.key.starts_with(prefix)).cloned().collect()
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.get(key).map(|setting| setting.value.clone())
    }

    /// An error about a key, wherever it was set, if it was.
    pub(super) fn error(
        &mut self,
        key: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Error {
        match self.get(key) {
            Some(setting) => setting.error(problem, remedy),
            None => Error {
                origin: self.source.clone(),
                key: Some(key.to_owned()),
                value: None,
                problem: problem.into(),
                remedy: remedy.into(),
            },
        }
    }

    pub(super) fn warn(&mut self, key: &'static str, text: impl Into<String>) {
        let warning = match self.get(key) {
            Some(setting) => setting.warning(text),
            None => Warning {
                origin: self.source.clone(),
                key: Some(key.to_owned()),
                value: None,
                text: text.into(),
            },
        };
        self.warnings.push(warning);
    }

    /// `Integer.parseInt`, within a range.
    pub(super) fn int(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i32>,
    ) -> Result<Option<i32>, Error> {
        let Some(setting) = self.get(key) else { return Ok(None) };
        let number = parse_int(setting)?;
        if range.contains(&number) {
            return Ok(Some(number));
        }
        Err(setting.error(
            "the number is out of range",
            format!("write one from {} to {}", range.start(), range.end()),
        ))
    }

    /// A number that must not be negative.
    pub(super) fn count(&mut self, key: &'static str) -> Result<Option<u32>, Error> {
        Ok(self.int(key, 0..=i32::MAX)?.map(i32::unsigned_abs))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, Error> {
        self.get(key).map(parse_bool).transpose()
    }

    /// A system property that is a number: what cannot be read, or is outside of the range that
    /// zk accepts, means the default, with a warning (Java says nothing and takes the default, or
    /// takes the odd number).
    pub(super) fn property_number(
        &mut self,
        key: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> i64 {
        let Some(setting) = self.get(key) else { return default };
        let problem = match decode(&setting.value) {
            Some(number) if range.contains(&number) => return number,
            Some(_) => "the number is out of range",
            None => "not a number",
        };
        self.warn(key, format!("{problem}: the default, {default}, is used"));
        default
    }

    /// `Boolean.parseBoolean`: everything but `true` is false.
    pub(super) fn property_bool(&mut self, key: &'static str, default: bool) -> bool {
        let Some(setting) = self.get(key) else { return default };
        let value = setting.value.eq_ignore_ascii_case("true");
        if !value && !setting.value.eq_ignore_ascii_case("false") {
            self.warn(key, "neither true nor false: it means false");
        }
        value
    }

    /// `yes` or `no` exactly; anything else means the default.
    pub(super) fn property_yes_no(&mut self, key: &'static str, default: bool) -> bool {
        let Some(setting) = self.get(key) else { return default };
        match setting.value.as_str() {
            "yes" => true,
            "no" => false,
            _ => {
                let word = if default { "yes" } else { "no" };
                self.warn(key, format!("neither yes nor no: it means {word}"));
                default
            }
        }
    }
}

/// Checks one setting against the table.
fn look_up(setting: &Setting) -> Result<Option<Warning>, Error> {
    let key = setting.key.as_str();
    let Some(row) = keys::find(key) else {
        let mut text = String::from("unknown key, without effect");
        let bare = key.strip_prefix("zookeeper.").filter(|bare| keys::find(bare).is_some());
        if let Some(bare) = bare {
            text.push_str(&format!(
                " (in a file it would become zookeeper.{key}); write {bare} if you mean that"
            ));
        } else if let Some(near) = keys::nearest(key) {
            text.push_str(&format!("; the nearest known key is {near}"));
        }
        return Ok(Some(setting.warning(text)));
    };
    match row.form {
        Form::Int => {
            parse_int(setting)?;
        }
        Form::Long => {
            if parse_long(&setting.value).is_none() {
                return Err(setting.error("not a whole number", "write digits only"));
            }
        }
        Form::Bool => {
            parse_bool(setting)?;
        }
        Form::Text
        | Form::PropertyNumber
        | Form::PropertyBool
        | Form::PropertyYesNo
        | Form::PropertyText => {}
    }
    let is_one_of = |values: &[&str]| values.iter().any(|v| v.eq_ignore_ascii_case(&setting.value));
    match row.kind {
        Kind::Honoured => Ok(None),
        Kind::Harmless { quiet, .. } if is_one_of(quiet) => Ok(None),
        Kind::Harmless { reason, .. } => {
            Ok(Some(setting.warning(format!("without effect: {reason}"))))
        }
        Kind::Refused { allowed, .. } if is_one_of(allowed) => Ok(None),
        // What a boolean property does not understand is false in Apache, too.
        Kind::Refused { allowed, .. }
            if row.form == Form::PropertyBool
                && allowed.contains(&"false")
                && !setting.value.eq_ignore_ascii_case("true") =>
        {
            Ok(Some(setting.warning("neither true nor false: it means false")))
        }
        Kind::Refused { reason, .. } => Err(setting.error(
            format!("zk does not start with this setting: {reason}"),
            "remove the line if you can do without, or stay with Apache ZooKeeper on this server",
        )),
    }
}

fn parse_int(setting: &Setting) -> Result<i32, Error> {
    setting.value.parse().map_err(|_| {
        setting.error(
            "not a whole number",
            format!("write digits only, for a number from {} to {}", i32::MIN, i32::MAX),
        )
    })
}

fn parse_bool(setting: &Setting) -> Result<bool, Error> {
    if setting.value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if setting.value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(setting.error("neither true nor false", "write true or false"))
    }
}

/// `Long.parseLong`: an optional sign and digits. (Java also takes the digits of other scripts.)
pub(super) fn parse_long(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// `Long.decode`, as `Integer.getInteger` and `Long.getLong` read a property: a sign, then
/// decimal digits, or hexadecimal ones after `0x` or `#`, or octal ones after `0`.
fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let hexadecimal = ["0x", "0X", "#"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, radix) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(rest), _) => (rest, 16),
        (None, Some(rest)) if !rest.is_empty() => (rest, 8),
        _ => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_numbers_as_java_does() {
        // Checked with Long.getLong of Java 17.
        for (text, number) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("+42", Some(42)),
            ("-42", Some(-42)),
            ("0x1F", Some(31)),
            ("-0X1f", Some(-31)),
            ("#ff", Some(255)),
            ("010", Some(8)),
            ("-010", Some(-8)),
            ("08", None),
            ("00", Some(0)),
            ("", None),
            ("-", None),
            ("0x", None),
            ("0x-1", None),
            ("--1", None),
            ("+-1", None),
            ("1k", None),
            (" 1", None),
            ("1.5", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("0xffffffffffffffff", None),
        ] {
            assert_eq!(decode(text), number, "{text:?}");
        }
    }
}
