//! `zk`: ZooKeeper from the command line.

mod acl;
mod args;
mod command;
mod connection;
mod failure;
mod operations;
mod output;
mod progress;
mod servers;
mod shell;
mod words;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command, Global};
use crate::command::{Context, Verb};
use crate::connection::Connection;
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    // What is not UTF-8 is replaced: paths and verbs never are, and data has standard input.
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let cli = Cli::parse_from(args::modernize(args));
    if let Command::Server(server) = &cli.command {
        // Its exit codes are those of Apache's server.
        return server.run();
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_broken_pipe() {
                output::complain("error", &failure.to_string());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let output = Output::new(cli.global.output);
    match &cli.command {
        // It needs no session.
        Command::Verb(Verb::Version(version)) => version.run(&output, &cli.global.server),
        Command::Verb(verb) => once(&cli.global, &output, |cx| verb.run(cx)),
        Command::Watch(watch) => once(&cli.global, &output, |cx| watch.run(cx)),
        Command::Server(_) => Ok(()),
        Command::Quorum(quorum) => quorum.run(&output),
        Command::Status(status) => status.run(&output, &cli.global.server),
        Command::Snapshot(snapshot) => snapshot.run(&output),
        Command::Log(log) => log.run(&output),
        Command::Board(board) => board.run(&output),
        Command::Shell => shell::run(cli.global.options(), output),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "zk", &mut text);
            Ok(std::io::stdout().lock().write_all(&text)?)
        }
        Command::Man { dir: Some(dir), .. } => manuals(dir),
        Command::Man { verb, .. } => manual(verb.as_deref()),
    }
}

/// Runs one verb in a session of its own.
fn once(
    global: &Global,
    output: &Output,
    run: impl FnOnce(&Context<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (sender, notices) = mpsc::channel();
    // The receiver goes with the verb; what comes later interests nobody.
    let mut connection = Connection::open(global.options(), move |notice| {
        let _ = sender.send(notice);
    })?;
    let result = run(&Context { connection: &connection, output, notices: Some(notices) });
    connection.close();
    result
}

fn manual(verb: Option<&str>) -> Result<(), Failure> {
    let mut zk = Cli::command();
    zk.build();
    let command = match verb {
        None => zk,
        Some(verb) => match zk.find_subcommand(verb) {
            Some(command) => command.clone(),
            None => return Err(Failure::Usage(format!("there is no verb `{verb}`"))),
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(std::io::stdout().lock().write_all(&text)?)
}

fn manuals(dir: &Path) -> Result<(), Failure> {
    let wrong = |error| Failure::Io(format!("cannot write to {}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(wrong)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(wrong)
}
