//! Why a verb did not do what it was asked for: one sentence, one exit code.

use core::fmt;
use std::io;

use zk_core::wire::Code;

/// What ends a verb early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server said no to something about a path (or about nothing in particular).
    Refused { code: Code, what: String },
    /// What was asked for makes no sense.
    Usage(String),
    /// No server could be reached.
    Connect(String),
    /// The connection or the session was lost; whether the server did it is not known.
    Lost(String),
    /// A credential was not accepted.
    Auth(String),
    /// Reading or writing on this machine failed.
    Io(String),
    /// Nobody reads the output any more.
    BrokenPipe,
}

impl Failure {
    /// The exit code, as `zk --help` lists them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Refused { .. } => 1,
            Self::Usage(_) => 2,
            Self::Connect(_) => 3,
            Self::Lost(_) => 4,
            Self::Auth(_) => 5,
            Self::Io(_) => 6,
        }
    }

    /// The failure that `code` is, when it was asked about `what`.
    pub(crate) fn of(code: Code, what: impl Into<String>) -> Self {
        let what = what.into();
        match code {
            Code::ConnectionLoss => Self::Lost(
                "the connection was lost before the answer came: it may have been done or not"
                    .into(),
            ),
            Code::SessionExpired => Self::Lost("the session has ended".into()),
            Code::AuthFailed => Self::Auth("the server did not accept the credential".into()),
            _ => Self::Refused { code, what },
        }
    }

    /// Whether the server said that there is no such node.
    pub(crate) fn is_no_node(&self) -> bool {
        matches!(self, Self::Refused { code: Code::NoNode, .. })
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenPipe => Ok(()),
            Self::Usage(why) | Self::Connect(why) | Self::Lost(why) | Self::Auth(why) => {
                f.write_str(why)
            }
            Self::Io(why) => f.write_str(why),
            Self::Refused { code, what } => {
                sentence(*code, what, f)?;
                match code.name() {
                    Some(name) => write!(f, " ({name})"),
                    None => write!(f, " (code {})", code.0),
                }
            }
        }
    }
}

fn sentence(code: Code, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match code {
        Code::NoNode => write!(f, "{what} does not exist"),
        Code::NodeExists => write!(f, "{what} exists already"),
        Code::NotEmpty => write!(f, "{what} has children; `deleteall` deletes them too"),
        Code::NoAuth => write!(f, "the ACL does not allow this on {what}"),
        Code::BadVersion => write!(f, "{what} has another version than the one expected"),
        Code::InvalidAcl => write!(f, "the server does not accept this ACL for {what}"),
        Code::NoChildrenForEphemerals => {
            write!(f, "{what} is below an ephemeral node, which cannot have children")
        }
        Code::BadArguments => write!(f, "the server does not accept these arguments for {what}"),
        Code::MarshallingError => write!(f, "the server could not read the request for {what}"),
        Code::Unimplemented => {
            write!(f, "the server does not know this operation, or it is switched off")
        }
        Code::QuotaExceeded => write!(f, "the quota of {what} is used up"),
        Code::NoWatcher => write!(f, "there is no such watch on {what}"),
        Code::NotReadOnly => write!(f, "the server can only be read now: it has no quorum"),
        Code::ReconfigDisabled => write!(f, "reconfiguration is switched off on the server"),
        Code::ReconfigInProgress => write!(f, "another reconfiguration is under way"),
        Code::NewConfigNoQuorum => write!(f, "no quorum of the new configuration is connected"),
        Code::EphemeralOnLocalSession => write!(f, "a local session cannot own {what}"),
        Code::SessionClosedRequireSaslAuth => write!(f, "the server asks for SASL authentication"),
        Code::ThrottledOp => write!(f, "the server has too much to do: try again later"),
        Code::SystemError => write!(f, "the server could not do it for {what}"),
        _ => write!(f, "the server said no to {what}"),
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_code() {
        let no = Failure::of(Code::NoNode, "/a");
        assert_eq!(no.to_string(), "/a does not exist (NoNode)");
        assert_eq!((no.exit_code(), no.is_no_node()), (1, true));
        assert_eq!(
            Failure::of(Code(-999), "/a").to_string(),
            "the server said no to /a (code -999)"
        );
        assert_eq!(Failure::of(Code::ConnectionLoss, "/a").exit_code(), 4);
        let pipe = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((pipe.is_broken_pipe(), pipe.exit_code()), (true, 0));
    }
}
