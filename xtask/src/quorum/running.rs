//! A quorum that runs: what its members say and do, and what is typed.

use core::fmt::Display;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, mpsc::RecvTimeoutError};
use std::thread;
use std::time::Instant;

use super::logs::Line;
use super::order::{HELP, Order};
use super::process::{News, Process, Voice};
use super::standing::Standing;
use crate::switch::fabric::{Fabric, Port};
use crate::switch::{Report, Switch};

/// What has happened and was not shown yet; with more of it, whoever says it waits.
const EVENTS_MAX: usize = 1024;

/// How often a member is asked where it stands, before it serves and then: it has few sockets.
const ASKED: Duration = Duration::from_secs(1);
const ASKED_SERVING: Duration = Duration::from_secs(5);

/// How long a desktop server has to end; then it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// To the member at that place, in its life of that number.
    News(usize, u32, News),
    Stands(usize, Standing),
    Typed(String),
    Stop,
}

/// A member of the ensemble.
pub(crate) struct Member {
    id: usize,
    /// What it is.
    kind: &'static str,
    /// Where it is plugged in.
    port: Port,
    /// Where it serves clients.
    client: SocketAddr,
    voice: Voice,
    command: Box<dyn Fn() -> Command>,
    process: Option<Process>,
    /// How often it was started.
    life: u32,
    /// It is on: it is worth asking.
    on: Arc<AtomicBool>,
    standing: Standing,
}

impl Member {
    pub(crate) fn new(
        id: usize,
        kind: &'static str,
        port: Port,
        client: SocketAddr,
        voice: Voice,
        command: impl Fn() -> Command + 'static,
    ) -> Self {
        Self {
            id,
            kind,
            port,
            client,
            voice,
            command: Box::new(command),
            process: None,
            life: 0,
            on: Arc::default(),
            standing: Standing::Silent,
        }
    }
}

/// A quorum that runs.
pub(crate) struct Running<W> {
    out: W,
    colour: bool,
    members: Vec<Member>,
    switch: Switch,
    sender: SyncSender<Event>,
    events: Receiver<Event>,
    /// Who was said to lead.
    led: Option<usize>,
    /// Whether it was said how to connect.
    served: bool,
}

impl<W: Write> Running<W> {
    pub(crate) fn new(out: W, colour: bool, members: Vec<Member>, switch: Switch) -> Self {
        let (sender, events) = mpsc::sync_channel(EVENTS_MAX);
        Self { out, colour, members, switch, sender, events, led: None, served: false }
    }

    /// What happens can be told by this, too.
    #[cfg(test)]
    pub(super) fn sender(&self) -> SyncSender<Event> {
        self.sender.clone()
    }

    /// Runs until it is told to end, by what is typed or by a signal.
    ///
    /// # Errors
    /// Nothing can be printed, or a thread or a member cannot be started.
    pub(crate) fn run(mut self) -> io::Result<()> {
        on_signals(self.sender.clone())?;
        on_input(self.sender.clone());
        self.say("type `help` for what can be done")?;
        let result = self.start_all().and_then(|()| self.until_the_end());
        // Whatever has happened, nothing goes on behind this program's back.
        let stopped = self.stop();
        result.and(stopped)
    }

    pub(super) fn start_all(&mut self) -> io::Result<()> {
        for at in 0..self.members.len() {
            self.start(at)?;
            self.ask(at);
        }
        Ok(())
    }

    pub(super) fn until_the_end(&mut self) -> io::Result<()> {
        while let Ok(event) = self.events.recv() {
            match event {
                Event::Stop => break,
                Event::News(at, life, news) => self.news(at, life, news)?,
                Event::Stands(at, standing) => self.stands(at, standing)?,
                Event::Typed(line) => match Order::read(&line) {
                    Ok(Some(Order::Quit)) => break,
                    Ok(Some(order)) => self.obey(order)?,
                    Ok(None) => {}
                    Err(why) => self.say(format_args!("{why}\n{HELP}"))?,
                },
            }
        }
        Ok(())
    }

    fn say(&mut self, text: impl Display) -> io::Result<()> {
        let (on, off) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        writeln!(self.out, "{on}{text}{off}")?;
        self.out.flush()
    }

    /// A line of a member's log.
    fn show(&mut self, at: usize, line: &Line) -> io::Result<()> {
        const MEMBERS: [u8; 6] = [36, 35, 34, 32, 96, 95];
        let Line { level, time, text } = line;
        let level = level.unwrap_or_default();
        let shade = match level {
            "error" => 31,
            "warn" => 33,
            "debug" | "trace" => 2,
            _ => 0,
        };
        let id = self.members[at].id;
        let said = format!("{time:>10} {level:<5} {}", harmless(text));
        if self.colour {
            let own = MEMBERS[at % MEMBERS.len()];
            writeln!(self.out, "\x1b[{own}m{id} |\x1b[0m \x1b[{shade}m{}\x1b[0m", said.trim_end())
        } else {
            writeln!(self.out, "{id} | {}", said.trim_end())
        }
    }

    fn start(&mut self, at: usize) -> io::Result<()> {
        let member = &mut self.members[at];
        member.life += 1;
        let life = member.life;
        let tell = move |news| Event::News(at, life, news);
        let mut command = (member.command)();
        let process = Process::start(&mut command, member.voice.clone(), &self.sender, tell)
            .map_err(|error| {
                let program = command.get_program().display().to_string();
                io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
            })?;
        let Member { id, kind, client, .. } = member;
        let pid = process.pid();
        let text = format!("server {id} ({kind}) is on: process {pid}, clients at {client}");
        member.process = Some(process);
        member.on.store(true, Ordering::Relaxed);
        self.say(text)
    }

    /// Asks a member where it stands, from now on.
    fn ask(&self, at: usize) {
        let Member { client, on, .. } = &self.members[at];
        let (client, on, sender) = (*client, Arc::clone(on), self.sender.clone());
        thread::spawn(move || {
            loop {
                let mut pause = ASKED;
                if on.load(Ordering::Relaxed) {
                    let standing = Standing::ask(client);
                    if standing.serves() {
                        pause = ASKED_SERVING;
                    }
                    if sender.send(Event::Stands(at, standing)).is_err() {
                        return;
                    }
                }
                thread::sleep(pause);
            }
        });
    }

    fn news(&mut self, at: usize, life: u32, news: News) -> io::Result<()> {
        match news {
            News::Said(line) => self.show(at, &line),
            News::Ended(status) => {
                let member = &mut self.members[at];
                if member.life != life || member.process.take().is_none() {
                    return Ok(());
                }
                member.on.store(false, Ordering::Relaxed);
                member.standing = Standing::Silent;
                let id = member.id;
                let how = status.map_or_else(|error| error.to_string(), |how| how.to_string());
                self.say(format_args!("server {id} is off ({how}); `start {id}` brings it back"))
            }
        }
    }

    pub(super) fn stands(&mut self, at: usize, standing: Standing) -> io::Result<()> {
        let member = &mut self.members[at];
        if member.process.is_none() {
            // What it said before it was switched off is late.
            return Ok(());
        }
        let text = standing.to_string();
        let news = text != core::mem::replace(&mut member.standing, standing).to_string();
        if news {
            let id = member.id;
            self.say(format_args!("server {id} {text}"))?;
        }
        self.tell_how_to_connect()
    }

    /// Once for each leader, as soon as all that are on serve.
    fn tell_how_to_connect(&mut self) -> io::Result<()> {
        let leads = |member: &&Member| member.process.is_some() && member.standing.leads();
        let leader = self.members.iter().find(leads).map(|leader| leader.id);
        let mut on = self.members.iter().filter(|member| member.process.is_some());
        if leader == self.led || leader.is_none() || !on.all(|member| member.standing.serves()) {
            return Ok(());
        }
        self.led = leader;
        let clients: Vec<_> = self.members.iter().map(|member| member.client.to_string()).collect();
        let connect = clients.join(",");
        match core::mem::replace(&mut self.served, true) {
            true => self.say("all that are on serve again"),
            false => self.say(format_args!("all serve. Connect with: zk --server {connect} shell")),
        }
    }

    /// The place of the server of that number.
    fn place(&mut self, id: usize) -> io::Result<Option<usize>> {
        let place = self.members.iter().position(|member| member.id == id);
        if place.is_none() {
            self.say(format_args!("there is no server {id}"))?;
        }
        Ok(place)
    }

    fn port(&mut self, id: usize) -> io::Result<Option<Port>> {
        Ok(self.place(id)?.map(|at| self.members[at].port))
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Kill(id) => self.kill(id),
            Order::Start(id) => match self.place(id)? {
                None => Ok(()),
                Some(at) if self.members[at].process.is_some() => {
                    self.say(format_args!("server {id} is on"))
                }
                Some(at) => self.start(at).or_else(|error| self.say(error)),
            },
            Order::Cut(id) => {
                let Some(port) = self.port(id)? else { return Ok(()) };
                self.switch.order(move |fabric| fabric.cut(port));
                self.say(format_args!("server {id} hears nobody, and nobody hears it"))
            }
            Order::CutPair(one, other) => {
                let (Some(a), Some(b)) = (self.port(one)?, self.port(other)?) else {
                    return Ok(());
                };
                self.switch.order(move |fabric| fabric.cut_pair(a, b));
                self.say(format_args!("servers {one} and {other} do not hear each other"))
            }
            Order::CutWay(from, to) => {
                let (Some(a), Some(b)) = (self.port(from)?, self.port(to)?) else { return Ok(()) };
                self.switch.order(move |fabric| fabric.cut_way(a, b));
                self.say(format_args!("server {to} does not hear server {from}"))
            }
            Order::Heal => {
                self.switch.order(Fabric::heal);
                self.say("the network is whole")
            }
            Order::Lose(share) => {
                self.switch.order(move |fabric| fabric.lose(share));
                self.say(format_args!("{} % of the frames are lost", f64::from(share) / 10_000.0))
            }
            Order::Delay(least, most) => {
                self.switch.order(move |fabric| fabric.delay(least, most));
                let (least, most) = (least / 1000, most / 1000);
                self.say(format_args!("frames take from {least} to {most} ms"))
            }
            Order::Status => self.status(),
            Order::Help => self.say(HELP),
            Order::Quit => Ok(()),
        }
    }

    fn kill(&mut self, id: usize) -> io::Result<()> {
        let Some(at) = self.place(id)? else { return Ok(()) };
        let Member { process, voice, .. } = &self.members[at];
        let cut = match voice {
            Voice::Defmt(_) => Process::cut_power,
            Voice::Data => Process::kill,
        };
        match process.as_ref().map(cut) {
            None => self.say(format_args!("server {id} is off")),
            // Its end is said when it has come.
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => self.say(error),
        }
    }

    fn status(&mut self) -> io::Result<()> {
        for at in 0..self.members.len() {
            let Member { id, kind, client, process, standing, .. } = &self.members[at];
            let line = match process {
                None => format!("server {id} ({kind}) on {client}: off"),
                Some(process) => {
                    format!(
                        "server {id} ({kind}) on {client}: process {}, {standing}",
                        process.pid()
                    )
                }
            };
            self.say(line)?;
        }
        self.report()
    }

    fn report(&mut self) -> io::Result<()> {
        let Some(Report { counts, untaken, connections: (open, refused), gap, gap_at }) =
            self.switch.report()
        else {
            return self.say("the switch has ended");
        };
        self.say(format_args!(
            "switch: {} frames passed on, {untaken} of them not taken; {} lost, {} held back by cuts, {} \
             without room, {} odd. {open} connections with the host, {refused} refused. Longest time \
             between two looks at the cables: {gap:.1?}, {gap_at:.1?} after the start",
            counts.sent, counts.lost, counts.cut, counts.full, counts.odd
        ))
    }

    /// Ends all members, and waits for that.
    pub(super) fn stop(mut self) -> io::Result<()> {
        let reported = self.report();
        let deadline = Instant::now() + STOP_MAX;
        for member in &mut self.members {
            let Some(process) = &mut member.process else { continue };
            match member.voice {
                // A board has nothing to put in order: its power may go at any time. Whoever cannot be
                // killed has ended already, or is killed again below.
                Voice::Defmt(_) => drop(process.cut_power()),
                Voice::Data => process.close(),
            }
        }
        while self.members.iter().any(|member| member.process.is_some()) {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::News(at, _, News::Ended(_))) => self.members[at].process = None,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    for process in self.members.iter_mut().filter_map(|m| m.process.take()) {
                        drop(process.kill());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        reported?;
        self.say("all are off; their flash stays")
    }
}

/// Text without what could move the cursor.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// SIGINT and SIGTERM end the quorum.
fn on_signals(sender: SyncSender<Event>) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::spawn(move || {
        for _ in signals.forever() {
            // It is ending already.
            let _ = sender.send(Event::Stop);
        }
    });
    Ok(())
}

/// Lines are orders. The end of a terminal's input ends the quorum; another input may end earlier.
fn on_input(sender: SyncSender<Event>) {
    thread::spawn(move || {
        let stdin = io::stdin();
        for line in stdin.lock().lines().map_while(Result::ok) {
            if sender.send(Event::Typed(line)).is_err() {
                return;
            }
        }
        if stdin.is_terminal() {
            let _ = sender.send(Event::Stop);
        }
    });
}
