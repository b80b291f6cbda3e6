//! What is wrong, or doubtful, in a configuration: where, what, and what to do.

use core::fmt;
use std::path::Path;
use std::sync::Arc;

/// The process exits with this code after an [`Error`], as Apache's `QuorumPeerMain` does
/// (`ExitCode.INVALID_INVOCATION`).
pub const EXIT_CODE: i32 = 2;

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a file, or in a text without a name.
    File {
        /// The file, when there is one.
        path: Option<Arc<Path>>,
        /// Line on which the entry begins, counted from 1; 0 is the file as a whole, or something
        /// that is missing from it.
        line: u32,
    },
    /// In an override, such as an option of the command line.
    Override,
}

/// A configuration with which the server does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Where it was made.
    pub origin: Origin,
    /// The key, unless the file as a whole is meant.
    pub key: Option<String>,
    /// The value; kept out when it may be a secret.
    pub value: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// A setting that has no effect here, or not the one it seems to have. The server starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it was made.
    pub origin: Origin,
    /// The key, unless the file as a whole is meant.
    pub key: Option<String>,
    /// The value; kept out when it may be a secret.
    pub value: Option<String>,
    /// What to know, and what to do if anything.
    pub text: String,
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.origin, self.key.as_deref(), self.value.as_deref())?;
        f.write_str(&self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.origin, self.key.as_deref(), self.value.as_deref())?;
        f.write_str(&self.text)
    }
}

fn place(
    f: &mut fmt::Formatter<'_>,
    origin: &Origin,
    key: Option<&str>,
    value: Option<&str>,
) -> fmt::Result {
    match origin {
        Origin::File { path, line } => {
            match path {
                Some(path) => write!(f, "{}", path.display())?,
                None => f.write_str("configuration")?,
            }
            if *line > 0 {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        Origin::Override => f.write_str("override: ")?,
    }
    match (key, value) {
        (Some(key), Some(value)) => write!(f, "{key}={value}: "),
        (Some(key), None) => write!(f, "{key}: "),
        (None, _) => Ok(()),
    }
}

/// Whether the value of this key is kept out of messages.
pub(super) fn is_secret(key: &str) -> bool {
    key.ends_with(".superDigest") || key.to_ascii_lowercase().contains("password")
}
