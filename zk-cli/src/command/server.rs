//! `server`

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use log::{LevelFilter, Log, Metadata, Record};
use serde_json::json;
use zk_std::config::{self, Config};
use zk_std::server::{self, Handle, Standing};

use crate::progress::Progress;

/// Where data goes when there is no zoo.cfg.
const QUICK_START_DIR: &str = "zk-data";

const AFTER_HELP: &str = "\
Without zoo.cfg it serves 127.0.0.1:2181 alone, and keeps its data in ./zk-data.
It ends on SIGTERM and SIGINT, with everything on the disk.

Exit codes, as of Apache's server:
  0  stopped
  1  something unexpected, such as a port that is taken or a disk that fails
  2  the configuration
  3  the data directory
  14 a port for the other members of the ensemble";

/// Serve ZooKeeper clients
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Server {
    /// The configuration, as Apache ZooKeeper reads it
    #[arg(value_name = "ZOO.CFG")]
    config: Option<PathBuf>,
    /// Set a key of the configuration over what the file says; may be repeated
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = key_and_value)]
    overrides: Vec<(String, String)>,
    /// Log less (-q: warnings, -qq: errors)
    #[arg(short, long, action = clap::ArgAction::Count)]
    quiet: u8,
    /// Log more (-v: each session and snapshot, -vv: each transaction)
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Say on standard output where the server stands, and end when standard input does
    #[arg(long, hide = true)]
    child: bool,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("this is not key=value".to_owned()),
    }
}

impl Server {
    /// Serves until a signal comes.
    pub(crate) fn run(&self) -> ExitCode {
        let level = match (self.quiet, self.verbose) {
            (0, 0) => LevelFilter::Info,
            (0, 1) => LevelFilter::Debug,
            (0, _) => LevelFilter::Trace,
            (1, _) => LevelFilter::Warn,
            _ => LevelFilter::Error,
        };
        if log::set_logger(&LOGGER).is_ok() {
            log::set_max_level(level);
        }
        match self.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::error!("{error}");
                ExitCode::from(error.exit_code())
            }
        }
    }

    fn serve(&self) -> Result<(), server::Error> {
        let config = self.read_config()?;
        let quick = self.config.is_none();
        let data_dir = config.data_dir.clone();
        let mut builder = server::Server::builder(config);
        if std::io::stderr().is_terminal() {
            let mut progress = Progress::new();
            builder = builder.progress(move |done, total| progress.show(done, total));
        }
        if self.child {
            builder = builder.on_change(tell_standing);
        }
        let server = builder.open()?;
        on_signals(server.handle())?;
        if self.child {
            on_end_of_input(server.handle())?;
        }
        if quick {
            log::info!(
                "standalone on {}, data in {}. Try: zk create /hello world, zk get /hello, zk \
                 shell",
                server.address(),
                data_dir.display()
            );
        }
        server.run()
    }

    fn read_config(&self) -> Result<Config, config::Error> {
        match &self.config {
            Some(path) => Config::load(path, &self.overrides),
            None if self.overrides.is_empty() => {
                Ok(Config::quick_start(Path::new(QUICK_START_DIR)))
            }
            None => {
                let text = format!(
                    "dataDir={QUICK_START_DIR}\nclientPort={}\nclientPortAddress=127.0.0.1\n",
                    config::DEFAULT_CLIENT_PORT
                );
                Config::parse(text.as_bytes(), &self.overrides)
            }
        }
    }
}

/// A line of JSON on standard output.
fn tell_standing(standing: &Standing) {
    let line = json!({
        "role": standing.role.to_string(),
        "serving": standing.serving,
        "leader": standing.leader.map(|leader| leader.0),
        "epoch": standing.epoch.0,
        "zxid": standing.zxid.to_string(),
    });
    // Whoever has started it may be gone; then it ends by itself.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Stops the server when nobody holds the other end of its standard input any more.
fn on_end_of_input(handle: Handle) -> Result<(), server::Error> {
    std::thread::Builder::new()
        .name("zk-input".to_owned())
        .spawn(move || {
            // An error is an end as well.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            log::info!("the end of standard input: stopping");
            handle.shutdown();
        })
        .map_err(|source| server::Error::Io { doing: "start a thread", source })?;
    Ok(())
}

/// Stops the server on SIGTERM and SIGINT; the second of them ends the process at once.
#[cfg(unix)]
fn on_signals(handle: Handle) -> Result<(), server::Error> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let error = |source| server::Error::Io { doing: "watch signals", source };
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(error)?;
    std::thread::Builder::new()
        .name("zk-signals".to_owned())
        .spawn(move || {
            for (nth, signal) in signals.forever().enumerate() {
                let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                if nth > 0 {
                    log::error!("{name} again: ending without waiting");
                    // What was acknowledged is on the disk.
                    std::process::exit(1);
                }
                log::info!("{name}: stopping");
                handle.shutdown();
            }
        })
        .map_err(error)?;
    Ok(())
}

#[cfg(not(unix))]
fn on_signals(_: Handle) -> Result<(), server::Error> {
    Ok(())
}

/// Lines on standard error: time in UTC, level, what happened.
struct Logger;

static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = jiff::Timestamp::now();
        let text = format!("{now:.3} {:<5} {}\n", record.level(), record.args());
        // Nothing can be done when even this cannot be written.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    fn flush(&self) {}
}
