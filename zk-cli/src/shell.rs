//! `zk shell`: verbs one after the other, in one session.

use core::sync::atomic::{AtomicBool, Ordering};
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, ExternalPrinter, Helper};
use zk_core::tree::path;

use crate::args::modernize;
use crate::command::{Context, Verb, describe};
use crate::connection::{Connection, Notice, Options};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::servers::Servers;

/// Lines that are remembered from one shell to the next.
const MAX_HISTORY: usize = 1000;

/// Lines that `history` shows.
const SHOWN_HISTORY: usize = 10;

#[derive(Debug, Parser)]
#[command(name = "zk", multicall = true, disable_version_flag = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Verb(Verb),
    /// Show the last lines with their numbers
    History,
    /// Do a line of the history again
    Redo {
        /// Its number
        number: usize,
    },
    /// Print watch events as they come, or do not
    Printwatches {
        /// Whether to; nothing tells how it is
        setting: Option<Setting>,
    },
    /// Leave the session and begin one with these servers, or the same
    Connect {
        /// As in a:2181,b:2181/app
        servers: Option<Servers>,
    },
    /// End the session
    Close,
    /// Leave the shell
    #[command(alias = "exit")]
    Quit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Setting {
    On,
    Off,
}

/// What prints while the prompt waits.
type Printer = Arc<Mutex<Box<dyn FnMut(String) + Send>>>;
/// The connection of the moment, shared with the completion of paths.
type Current = Arc<Mutex<Option<Arc<Connection>>>>;

struct Shell {
    options: Options,
    output: Output,
    current: Current,
    printer: Printer,
    print_watches: Arc<AtomicBool>,
    /// Lines of this shell.
    lines: Vec<String>,
}

/// Runs the shell until `quit` or the end of the input.
pub(crate) fn run(options: Options, output: Output) -> Result<(), Failure> {
    let print: Box<dyn FnMut(String) + Send> = Box::new(|text| {
        // As with every output of the shell that nobody reads: the next line ends it.
        let _ = io::Write::write_all(&mut io::stdout().lock(), text.as_bytes());
    });
    let mut shell = Shell {
        options,
        output,
        current: Current::default(),
        printer: Arc::new(Mutex::new(print)),
        print_watches: Arc::new(AtomicBool::new(true)),
        lines: Vec::new(),
    };
    shell.connect()?;
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        shell.interactive()
    } else {
        shell.script()
    }
}

/// Whether the shell goes on.
enum Next {
    Go,
    Quit,
}

impl Shell {
    fn connect(&mut self) -> Result<(), Failure> {
        self.close();
        let printer = Arc::clone(&self.printer);
        let print_watches = Arc::clone(&self.print_watches);
        let json = self.output.is_json();
        let chroot = self.options.servers.chroot.clone();
        let connection = Connection::open(self.options.clone(), move |notice| {
            let text = match &notice {
                Notice::Watch { .. } if !print_watches.load(Ordering::Relaxed) => return,
                Notice::Watch { kind, path } => {
                    let path = String::from_utf8_lossy(path);
                    let path = match path.strip_prefix(&*chroot) {
                        Some("") => "/",
                        Some(rest) => rest,
                        None => &*path,
                    };
                    let event = output::event_name(*kind);
                    if json {
                        serde_json::json!({ "event": event, "path": path }).to_string()
                    } else {
                        format!("WATCHER:: {event} {path}")
                    }
                }
                Notice::Ended("the session is closed") => return,
                other => match describe(other) {
                    Some(text) => text,
                    None => return,
                },
            };
            lock(&printer)(format!("{text}\n"));
        })?;
        *lock(&self.current) = Some(Arc::new(connection));
        Ok(())
    }

    fn connection(&self) -> Option<Arc<Connection>> {
        lock(&self.current).clone()
    }

    /// Dropping the last reference ends the session.
    fn close(&mut self) {
        let connection = lock(&self.current).take();
        drop(connection);
    }

    fn prompt(&self) -> String {
        let (host, state) = match self.connection() {
            Some(connection) if connection.is_connected() => (connection.host(), "CONNECTED"),
            Some(connection) if connection.is_ended() => (connection.host(), "CLOSED"),
            Some(connection) => (connection.host(), "CONNECTING"),
            None => (self.options.servers.to_string(), "CLOSED"),
        };
        format!("[zk: {host}({state}) {}] ", self.lines.len())
    }

    fn interactive(&mut self) -> Result<(), Failure> {
        let config = rustyline::Config::builder()
            .max_history_size(MAX_HISTORY)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(unreadable)?
            .completion_type(rustyline::CompletionType::List)
            .build();
        let mut editor: Editor<Completions, FileHistory> =
            Editor::with_config(config).map_err(unreadable)?;
        editor.set_helper(Some(Completions { current: Arc::clone(&self.current) }));
        if let Ok(mut printer) = editor.create_external_printer() {
            *lock(&self.printer) = Box::new(move |text| {
                // It fails when the shell is ending.
                let _ = printer.print(text);
            });
        }
        let file = history_file();
        if let Some(file) = &file {
            // There is none the first time.
            let _ = editor.load_history(file);
        }
        let result = loop {
            match editor.readline(&self.prompt()) {
                Ok(line) => {
                    if line.trim().is_empty() {
                        continue;
                    }
                    if !is_secret(&line) {
                        editor.add_history_entry(line.as_str()).map_err(unreadable)?;
                    }
                    match self.line(&line) {
                        Ok(Next::Go) => {}
                        Ok(Next::Quit) => break Ok(()),
                        Err(failure) if failure.is_broken_pipe() => break Err(failure),
                        Err(failure) => output::complain("error", &failure.to_string()),
                    }
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => break Ok(()),
                Err(error) => break Err(unreadable(error)),
            }
        };
        if let Some(file) = &file
            && let Err(error) = save_history(&mut editor, file)
        {
            output::complain("warning", &format!("history not kept: {error}"));
        }
        self.close();
        result
    }

    /// Reads lines from a pipe or file. The result is that of the last line.
    fn script(&mut self) -> Result<(), Failure> {
        let mut last = Ok(());
        for line in io::stdin().lock().lines() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            if let Err(failure) = core::mem::replace(&mut last, Ok(())) {
                output::complain("error", &Failure::to_string(&failure));
            }
            match self.line(&line) {
                Ok(Next::Go) => {}
                Ok(Next::Quit) => break,
                Err(failure) if failure.is_broken_pipe() => return Err(failure),
                Err(failure) => last = Err(failure),
            }
        }
        self.close();
        last
    }

    fn line(&mut self, line: &str) -> Result<Next, Failure> {
        let command = match parse(line)? {
            Some(Command::Redo { number }) => {
                let again = self.lines.get(number).cloned().ok_or_else(|| {
                    Failure::Usage(format!("there is no line {number} in the history"))
                })?;
                self.output.line(&again)?;
                self.lines.push(again.clone());
                parse(&again)?
            }
            command => {
                self.lines.push(line.to_owned());
                command
            }
        };
        match command {
            None => {}
            Some(Command::Redo { .. }) => {
                return Err(Failure::Usage("redo cannot do redo again".into()));
            }
            Some(Command::Quit) => return Ok(Next::Quit),
            Some(Command::Close) => self.close(),
            Some(Command::Connect { servers }) => {
                if let Some(servers) = servers {
                    self.options.servers = servers;
                }
                self.connect()?;
            }
            Some(Command::History) => {
                let from = self.lines.len().saturating_sub(SHOWN_HISTORY + 1);
                let lines = self.lines.iter().enumerate().skip(from);
                self.output.lines(lines.map(|(number, line)| format!("{number} - {line}")))?;
            }
            Some(Command::Printwatches { setting }) => match setting {
                Some(setting) => {
                    self.print_watches.store(matches!(setting, Setting::On), Ordering::Relaxed);
                }
                None => {
                    let on = self.print_watches.load(Ordering::Relaxed);
                    self.output
                        .line(&format!("printwatches is {}", if on { "on" } else { "off" }))?;
                }
            },
            Some(Command::Verb(verb)) => match self.connection() {
                Some(connection) if !connection.is_ended() => verb.run(&Context {
                    connection: &connection,
                    output: &self.output,
                    notices: None,
                })?,
                _ => {
                    return Err(Failure::Connect(
                        "there is no session; `connect` begins one".into(),
                    ));
                }
            },
        }
        Ok(Next::Go)
    }
}

/// The command of a line; `None` when the line asked for help and got it.
fn parse(line: &str) -> Result<Option<Command>, Failure> {
    let words = split(line)?;
    // The names that `modernize` skips: there is no program's name here.
    let words: Vec<_> = core::iter::once("zk".to_owned()).chain(words).collect();
    match Line::try_parse_from(modernize(words).into_iter().skip(1)) {
        Ok(line) => Ok(Some(line.command)),
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            Err(Failure::Usage(text.trim_start_matches("error: ").trim_end().to_owned()))
        }
        Err(error) => {
            error.print()?;
            Ok(None)
        }
    }
}

/// Words of a line. A word that begins with a quote ends with the same; quotes inside a word are
/// ordinary, as in zkCli, so that JSON needs no escapes.
fn split(line: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let word;
        (word, rest) = if matches!(first, '"' | '\'') {
            rest[1..].split_once(first).ok_or_else(|| {
                Failure::Usage(format!("a quote {first} is opened and not closed"))
            })?
        } else {
            rest.split_once(char::is_whitespace).unwrap_or((rest, ""))
        };
        words.push(word.to_owned());
        rest = rest.trim_start();
    }
    Ok(words)
}

/// Whether a line should not be written to a file.
fn is_secret(line: &str) -> bool {
    line.trim_start().to_lowercase().starts_with("addauth")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreadable(error: ReadlineError) -> Failure {
    Failure::Io(format!("the terminal cannot be used: {error}"))
}

/// `$XDG_STATE_HOME/zk/history`, in `~/.local/state` if that is not set.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(state.or_else(home)?.join("zk/history"))
}

fn save_history(
    editor: &mut Editor<Completions, FileHistory>,
    file: &PathBuf,
) -> Result<(), ReadlineError> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    editor.append_history(file)
}

/// Completes verbs, and paths by asking the server.
struct Completions {
    current: Current,
}

impl Completer for Completions {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let line = line.get(..at).unwrap_or(line);
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &line[start..];
        if line[..start].trim().is_empty() {
            return Ok((start, verbs(word)));
        }
        let connection = lock(&self.current).clone();
        let found = connection.filter(|_| word.starts_with('/')).and_then(|c| paths(&c, word));
        Ok((start, found.unwrap_or_default()))
    }
}

fn verbs(prefix: &str) -> Vec<String> {
    Line::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .filter(|name| name.starts_with(prefix))
        .map(|name| name + " ")
        .collect()
}

/// Children of what stands before the last slash; nothing if the server does not tell.
fn paths(connection: &Connection, word: &str) -> Option<Vec<String>> {
    if !connection.is_connected() {
        return None;
    }
    let (parent, prefix) = word.rsplit_once('/')?;
    let server_path = format!("{}{parent}", connection.chroot());
    let server_path = if server_path.is_empty() { "/" } else { server_path.as_str() };
    if !path::is_valid(server_path.as_bytes()) {
        return None;
    }
    let (children, _) = connection.get_children(server_path, false).ok()?;
    let matching = children.iter().filter(|name| name.starts_with(prefix));
    Some(matching.map(|name| format!("{parent}/{name}")).collect())
}

impl Hinter for Completions {
    type Hint = String;
}

impl Highlighter for Completions {}

impl Validator for Completions {}

impl Helper for Completions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_zkcli_does() {
        let split = |line| split(line).unwrap();
        assert_eq!(split("  ls  -s /a "), ["ls", "-s", "/a"]);
        assert_eq!(split("set /a 'x y' \"\""), ["set", "/a", "x y", ""]);
        assert_eq!(split("set /a {\"k\":'v'}"), ["set", "/a", "{\"k\":'v'}"]);
        assert!(super::split("set /a 'x").is_err());
        assert!(split("").is_empty());
    }

    #[test]
    fn lines_are_commands() {
        Line::command().debug_assert();
        assert!(matches!(parse("ls /"), Ok(Some(Command::Verb(Verb::Ls(_))))));
        assert!(matches!(parse("exit"), Ok(Some(Command::Quit))));
        assert!(matches!(parse("redo 3"), Ok(Some(Command::Redo { number: 3 }))));
        assert!(matches!(parse("reconfig -remove 2"), Ok(Some(Command::Verb(Verb::Reconfig(_))))));
        assert_eq!(parse("nonsense").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn verbs_are_completed() {
        assert_eq!(verbs("getA"), ["getAcl ", "getAllChildrenNumber "]);
        assert!(verbs("").contains(&"quit ".to_owned()));
    }

    #[test]
    fn credentials_stay_out_of_the_history() {
        assert!(is_secret(" addauth digest a:b") && !is_secret("ls /"));
    }
}
