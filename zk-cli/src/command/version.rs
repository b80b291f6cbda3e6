//! `version`

use core::time::Duration;
use std::io::{Read, Write};

use clap::Args;
use serde_json::json;

use crate::connection::dial;
use crate::failure::Failure;
use crate::output::Output;
use crate::servers::Servers;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const MAX_ANSWER: u64 = 64 << 10;

/// Print the version of zk, and that of the server by its four-letter word srvr
#[derive(Args, Debug)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(&self, output: &Output, servers: &Servers) -> Result<(), Failure> {
        let own = env!("CARGO_PKG_VERSION");
        if !output.is_json() {
            output.line(&format!("zk {own}"))?;
        }
        let mut failure = String::new();
        for host in &servers.hosts {
            match ask(host) {
                Ok(text) => {
                    let server = parse(&text);
                    return if output.is_json() {
                        output.json(&json!({
                            "zk": own,
                            "server": server.0,
                            "mode": server.1,
                            "host": host,
                        }))
                    } else {
                        let mode = server.1.map(|mode| format!(", {mode}")).unwrap_or_default();
                        let version = server.0.unwrap_or("does not tell (srvr is not allowed)");
                        output.line(&format!("server {version} ({host}{mode})"))
                    };
                }
                Err(error) => failure = format!("cannot ask {host}: {error}"),
            }
        }
        Err(Failure::Connect(failure))
    }
}

fn ask(host: &str) -> std::io::Result<String> {
    let mut stream = dial(host, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"srvr")?;
    let mut text = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Version and mode in the answer to srvr.
fn parse(text: &str) -> (Option<&str>, Option<&str>) {
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    (field("Zookeeper version:"), field("Mode:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srvr_names_version_and_mode() {
        let text = "Zookeeper version: 3.8.0-1, built on x\nNode count: 5\nMode: standalone\n";
        assert_eq!(parse(text), (Some("3.8.0-1, built on x"), Some("standalone")));
        assert_eq!(parse("srvr is not executed"), (None, None));
    }
}
