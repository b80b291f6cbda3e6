//! The command line.

use core::str::FromStr;
use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::Verb;
use crate::command::board::Board;
use crate::command::log::Log;
use crate::command::quorum::Quorum;
use crate::command::server::Server;
use crate::command::snapshot::Snapshot;
use crate::command::status::Status;
use crate::command::watch::Watch;
use crate::connection::Options;
use crate::output::Format;
use crate::servers::Servers;

const AFTER_HELP: &str = "\
Paths begin with /. Data is bytes: `zk get /a > file` and `zk set /a < file` change none of them.

Exit codes:
  0  done
  1  the server said no; the message ends with the code, such as (NoNode)
  2  the command makes no sense
  3  no server could be reached
  4  the connection or the session was lost: it may have been done or not
  5  a credential was not accepted
  6  reading or writing on this machine failed, or a file is damaged

Examples:
  zk ls /                                    names of the children
  zk create /app hello; zk get /app
  zk --output json get -s /app | jq .stat
  zk watch -R /app                           follow what happens
  zk --server a:2181,b:2181/app shell        an ensemble, below /app
  zk log ls version-2/log.1                  what is in a server's files";

/// A ZooKeeper client and shell
#[derive(Debug, Parser)]
#[command(name = "zk", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every verb.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Servers to try, and the node that paths start from, as in a:2181,b:2181/app
    #[arg(
        long,
        global = true,
        env = "ZK_SERVER",
        hide_env_values = true,
        value_name = "SERVERS",
        default_value = "localhost:2181",
        help_heading = "Connection"
    )]
    pub(crate) server: Servers,
    /// Session timeout to ask for, ms
    #[arg(
        long,
        global = true,
        value_name = "MS",
        default_value_t = 30_000,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)),
        help_heading = "Connection"
    )]
    timeout: u32,
    /// Authenticate first, for example digest:user:password; may be repeated
    // Its id is not `auth`: that is an argument of addauth.
    #[arg(
        long = "auth",
        id = "credential",
        global = true,
        value_name = "SCHEME:CRED",
        help_heading = "Connection"
    )]
    auths: Vec<Credential>,
    /// A server without a quorum will do, to read from
    #[arg(long, global = true, help_heading = "Connection")]
    readonly: bool,
    /// How results are printed
    #[arg(long, short, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: Format,
}

impl Global {
    /// How to connect.
    pub(crate) fn options(&self) -> Options {
        Options {
            servers: self.server.clone(),
            timeout: Duration::from_millis(self.timeout.into()),
            read_only: self.readonly,
            auths: self.auths.iter().map(|c| (c.scheme.clone(), c.secret.clone())).collect(),
        }
    }
}

/// A scheme and what it wants.
#[derive(Clone)]
pub(crate) struct Credential {
    scheme: String,
    secret: Vec<u8>,
}

impl FromStr for Credential {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((scheme, secret)) if !scheme.is_empty() => {
                Ok(Self { scheme: scheme.into(), secret: secret.into() })
            }
            // The text is not repeated: it may be a secret.
            _ => Err("this is not scheme:credential".into()),
        }
    }
}

impl core::fmt::Debug for Credential {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Credential({})", self.scheme)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Verb(Verb),
    Watch(Watch),
    Server(Server),
    Quorum(Quorum),
    Status(Status),
    Snapshot(Snapshot),
    Log(Log),
    Board(Board),
    /// Type verbs one after the other, in one session
    Shell,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of zk, or of one of its verbs
    Man {
        /// The verb
        verb: Option<String>,
        /// Write all pages into this directory instead
        #[arg(long, conflicts_with = "verb")]
        dir: Option<PathBuf>,
    },
}

/// Spells the single-dash options of zkCli as ours: `-server` and others before the verb, and those
/// of reconfig.
pub(crate) fn modernize(args: Vec<String>) -> Vec<String> {
    let mut verb: Option<String> = None;
    let mut is_value = true; // The program's name.
    let mut modern = Vec::with_capacity(args.len());
    for mut arg in args {
        match arg.as_str() {
            _ if core::mem::take(&mut is_value) => {}
            "-server" | "-timeout" if verb.is_none() => {
                arg.insert(0, '-');
                is_value = true;
            }
            "-r" if verb.is_none() => arg = "--readonly".into(),
            // Verbs always do.
            "-waitforconnection" if verb.is_none() => continue,
            "--server" | "--timeout" | "--auth" | "--output" | "-o" => is_value = true,
            "-file" | "-members" | "-add" | "-remove" if verb.as_deref() == Some("reconfig") => {
                arg.insert(0, '-');
                is_value = true;
            }
            word if verb.is_none() && !word.starts_with('-') => verb = Some(word.to_owned()),
            _ => {}
        }
        modern.push(arg);
    }
    modern
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn zkcli_spellings_are_understood() {
        let modern = |line: &str| modernize(line.split(' ').map(str::to_owned).collect()).join(" ");
        assert_eq!(modern("zk -server a:1 ls /"), "zk --server a:1 ls /");
        assert_eq!(modern("zk -r -server a -waitforconnection ls"), "zk --readonly --server a ls");
        assert_eq!(modern("zk set /a -waitforconnection"), "zk set /a -waitforconnection");
        assert_eq!(modern("zk set /a -server"), "zk set /a -server");
        assert_eq!(modern("zk reconfig -add 1=a -remove 2"), "zk reconfig --add 1=a --remove 2");
        assert_eq!(modern("zk -server reconfig ls -add"), "zk --server reconfig ls -add");
    }

    #[test]
    fn credentials_keep_their_colons() {
        let credential: Credential = "digest:a:b:c".parse().unwrap();
        assert_eq!((credential.scheme.as_str(), &credential.secret[..]), ("digest", &b"a:b:c"[..]));
        assert_eq!(format!("{credential:?}"), "Credential(digest)");
        assert!(":x".parse::<Credential>().is_err() && "digest".parse::<Credential>().is_err());
    }
}
