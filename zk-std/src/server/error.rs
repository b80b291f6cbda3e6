//! Why a server did not start, or ended.

use core::fmt;
use std::io;

use zk_core::request::apply::ApplyError;

use crate::{config, store};

/// Why a server did not start, or ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The configuration asks for something that this server cannot do.
    Config(String),
    /// The configuration could not be read.
    ConfigFile(config::Error),
    /// The client port could not be opened.
    Bind {
        /// The address, as configured.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// A port for the other members of the ensemble could not be opened.
    BindMember {
        /// The address, as configured.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// The data directory could not be used, or an error of the disk ended the server.
    Store(store::Error),
    /// The tree or a transaction does not fit in what this process can address.
    Full,
    /// The state cannot be trusted any more.
    Apply(ApplyError),
    /// The system refused something else.
    Io {
        /// What was being done.
        doing: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The directory has no snapshot yet, and none could be written: a log alone would be refused
    /// at the next start.
    FirstSnapshot,
    /// A thread of the server panicked.
    Panicked(&'static str),
}

impl Error {
    /// The exit code with which Apache's server ends for this reason: 2 for the configuration, 3
    /// for the data directory, 14 for a port of the ensemble, 1 otherwise.
    ///
    /// Answers to `org.apache.zookeeper.server.ExitCode`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::ConfigFile(_) => 2,
            Self::Store(error) => error.exit_code(),
            Self::BindMember { .. } => 14,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(what) => f.write_str(what),
            Self::ConfigFile(error) => error.fmt(f),
            Self::Bind { address, source } => {
                write!(f, "cannot open the client port {address}: {source}")?;
                if source.kind() == io::ErrorKind::AddrInUse {
                    f.write_str("; stop the server that has it, or choose another clientPort")?;
                }
                Ok(())
            }
            Self::BindMember { address, source } => {
                write!(f, "cannot open {address} for the other members: {source}")?;
                match source.kind() {
                    io::ErrorKind::AddrInUse => f.write_str("; stop the server that has it"),
                    io::ErrorKind::AddrNotAvailable => f.write_str(
                        "; correct this server's line, or set quorumListenOnAllIPs=true if others \
                         reach this machine by an address that it does not have itself",
                    ),
                    _ => Ok(()),
                }
            }
            Self::Store(error) => error.fmt(f),
            Self::Full => f.write_str("the tree does not fit in what this process can address"),
            Self::Apply(error) => {
                write!(f, "a transaction cannot be applied ({error}); the state is not trusted")
            }
            Self::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            Self::FirstSnapshot => f.write_str(
                "the first snapshot could not be written (the lines before say why); a log \
                 without one would be refused at the next start",
            ),
            Self::Panicked(thread) => write!(f, "the thread {thread} panicked"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::ConfigFile(error) => Some(error),
            Self::Bind { source, .. }
            | Self::BindMember { source, .. }
            | Self::Io { source, .. } => Some(source),
            Self::Store(error) => Some(error),
            Self::Apply(error) => Some(error),
            Self::Config(_) | Self::Full | Self::FirstSnapshot | Self::Panicked(_) => None,
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Self::ConfigFile(error)
    }
}
