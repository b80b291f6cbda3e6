//! Compares zk with Apache ZooKeeper on this machine: `cargo xtask bench`.
//!
//! Both run at the same time, take turns under the same load, and wait for the disk in the same
//! way; what is printed are medians and ratios. The load comes from this process, which verifies
//! every reply to the last byte: a wrong answer ends the run with exit code 1. A target that is
//! missed is shown as missed and ends nothing.

#[cfg(target_os = "linux")]
mod alone;
#[cfg(target_os = "linux")]
mod bare;
#[cfg(target_os = "linux")]
mod ensemble;
#[cfg(target_os = "linux")]
mod fanout;
#[cfg(target_os = "linux")]
mod instructions;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod long;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod session;
#[cfg(target_os = "linux")]
mod stalls;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

/// Any error ends the run.
#[cfg(target_os = "linux")]
type Result<T> = core::result::Result<T, Box<dyn core::error::Error>>;

const USAGE: &str = "\
usage: cargo xtask bench [--short] [--rounds N] [--seconds S] [--only TEXT,..] [--rows TEXT]
                         [--disk DIR] [--output json]
  --short        a tree of 200,000 nodes instead of 1,000,000, 2,000 idle sessions instead of 10,000
  --rounds N     turns of each server (3)
  --seconds S    length of a turn under load (0.8)
  --only TEXT    only the groups that have one of these texts, with commas between, in their names:
                 tmpfs, disk, single, ensemble, start, idle, tree, stalls, calls, instructions
  --rows TEXT    of the loaded rows only those with TEXT in their names: 10 KiB
  --disk DIR     a directory on the disk to measure (the build's own)
  --output json  JSON on standard output instead of a table";

/// What the command line asks for.
#[derive(Clone, Debug)]
struct Options {
    zk: PathBuf,
    disk: PathBuf,
    short: bool,
    rounds: usize,
    seconds: f64,
    only: Option<String>,
    rows: Option<String>,
    /// Nothing is measured: this program counts instructions of itself.
    operation: Option<String>,
    json: bool,
}

/// Nothing if this was not started to measure, as by `cargo test --all-targets`.
fn options() -> core::result::Result<Option<Options>, String> {
    let mut options = Options {
        zk: PathBuf::new(),
        disk: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        short: false,
        rounds: 3,
        seconds: 0.8,
        only: None,
        rows: None,
        operation: None,
        json: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value\n{USAGE}"));
        match arg.as_str() {
            "--bench" => {}
            "--zk" => options.zk = value()?.into(),
            "--disk" => options.disk = value()?.into(),
            "--short" => options.short = true,
            "--only" => options.only = Some(value()?),
            "--operation" => options.operation = Some(value()?),
            "--rows" => options.rows = Some(value()?),
            "--rounds" => match value()?.parse() {
                Ok(rounds @ 1..=1000) => options.rounds = rounds,
                _ => return Err(format!("--rounds wants a number from 1 to 1000\n{USAGE}")),
            },
            "--seconds" => match value()?.parse() {
                Ok(seconds) if (0.05..=600.0).contains(&seconds) => options.seconds = seconds,
                _ => return Err(format!("--seconds wants a number from 0.05 to 600\n{USAGE}")),
            },
            "--output" => match value()?.as_str() {
                "json" => options.json = true,
                "text" => options.json = false,
                _ => return Err(format!("--output wants json or text\n{USAGE}")),
            },
            _ => return Err(format!("`{arg}` is not known\n{USAGE}")),
        }
    }
    Ok((!options.zk.as_os_str().is_empty() || options.operation.is_some()).then_some(options))
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            eprintln!("nothing to measure without --zk BINARY: `cargo xtask bench` gives it");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    #[cfg(target_os = "linux")]
    if let Some(operation) = &options.operation {
        return match instructions::run(operation) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    #[cfg(target_os = "linux")]
    match rows::measure(&options) {
        Ok(table) => {
            if options.json {
                println!("{}", serde_json::json!(table));
            } else {
                print!("{}", table.text());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the measurement failed: {error}");
            ExitCode::FAILURE
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("{options:?}: CPU time and memory are read from /proc: this needs Linux");
        ExitCode::FAILURE
    }
}
