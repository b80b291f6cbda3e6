//! `version`

use clap::Args;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::servers::Servers;
use crate::words::{ask, field};

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
            match ask(host, "srvr") {
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

/// Version and mode in the answer to srvr.
fn parse(text: &str) -> (Option<&str>, Option<&str>) {
    (field(text, "Zookeeper version:"), field(text, "Mode:"))
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
