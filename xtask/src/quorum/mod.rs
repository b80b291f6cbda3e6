//! `cargo xtask quorum`: boards in QEMU, joined by our switch, that are one ensemble.

mod layout;
mod logs;
mod order;
mod places;
mod process;
mod running;
mod standing;
#[cfg(test)]
mod tests;

use core::net::SocketAddr;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use layout::{BOARDS_MAX, CLIENT, Desktop, ELECTION, Layout, QUORUM, address, hardware, image};
use logs::Texts;
use process::Voice;
use running::{Member, Running};

use crate::bare::Facts;
use crate::boards;
use crate::checkout::Checkout;
use crate::command::{self, first_line};
use crate::guest::{self, Network, Scratch, Wiring};
use crate::switch::{HOST, Plan, Switch, board_socket, port_socket};
use crate::targets::{APACHE, Board, Emulated, SERIAL, SLOW, emulated};

/// Client ports of 127.0.0.1 that are tried from the usual one on.
const PORTS_TRIED: u16 = 1000;

/// What `cargo xtask quorum` is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    /// Kinds of boards, which take turns; none is the usual one.
    kinds: Vec<Emulated>,
    boards: Option<usize>,
    mixed: bool,
    /// Apache's `zkServer.sh`: the desktop server is one of Apache's.
    apache: Option<PathBuf>,
    /// The boards' network is serial lines.
    serial: bool,
    /// The boards' flash takes as long as can be.
    slow: bool,
    /// New boards that can are to ask the network for what they need not know.
    dhcp: bool,
    /// Where flash images and the desktop server's files are.
    data: Option<PathBuf>,
    seed: u64,
}

/// The board of that name.
fn named(name: &str) -> Option<Emulated> {
    emulated().find(|emulated| emulated.board.package == name)
}

impl Wish {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut wish = Self { seed: 1, ..Self::default() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--board" => {
                    let known: Vec<_> = emulated().map(|emulated| emulated.board.package).collect();
                    let board = |name| {
                        let why = || format!("there is no board `{name}`: {}", known.join(", "));
                        named(name).ok_or_else(why)
                    };
                    wish.kinds = value()?.split(',').map(board).collect::<Result<_, _>>()?;
                }
                "--peers" => {
                    let count = value()?.parse().ok().filter(|n| (1..=BOARDS_MAX).contains(n));
                    wish.boards =
                        Some(count.ok_or_else(|| format!("--peers is from 1 to {BOARDS_MAX}"))?);
                }
                "--mixed" => wish.mixed = true,
                "--apache" => {
                    wish.mixed = true;
                    wish.apache = Some(value()?.into());
                }
                "--serial" => wish.serial = true,
                "--slow" => wish.slow = true,
                "--dhcp" => wish.dhcp = true,
                "--data" => wish.data = Some(value()?.into()),
                "--seed" => {
                    wish.seed = value()?.parse().map_err(|_| "--seed is a number".to_owned())?;
                }
                other => return Err(format!("`quorum` does not know `{other}`")),
            }
        }
        let special = [(APACHE, wish.apache.is_some()), (SERIAL, wish.serial), (SLOW, wish.slow)];
        let mut special = special.into_iter().filter_map(|(name, wished)| wished.then_some(name));
        if let (Some(one), Some(other)) = (special.next(), special.next()) {
            return Err(format!("there is no firmware with --{one} and --{other}"));
        }
        if wish.dhcp && !wish.kinds.iter().any(|kind| kind.board.dhcp) {
            let able: Vec<_> = emulated().filter(|it| it.board.dhcp).collect();
            if !wish.kinds.is_empty() || able.is_empty() || wish.special().is_some() {
                let able: Vec<_> = able.iter().map(|it| it.board.package).collect();
                return Err(format!("--dhcp is there for {}", able.join(", ")));
            }
            wish.kinds.extend(able.first());
        }
        if let Some(name) = wish.special() {
            let known: Vec<_> = emulated().filter(|it| it.board.programs.contains(&name)).collect();
            if wish.kinds.is_empty() {
                wish.kinds.extend(known.first());
            }
            if wish.kinds.is_empty() || wish.kinds.iter().any(|kind| !known.contains(kind)) {
                let known: Vec<_> = known.iter().map(|it| it.board.package).collect();
                return Err(format!("--{name} is there for {}", known.join(", ")));
            }
        }
        Ok(wish)
    }

    /// The firmware that all boards have, if not the usual one.
    fn special(&self) -> Option<&'static str> {
        match self {
            Self { apache: Some(_), .. } => Some(APACHE),
            Self { serial: true, .. } => Some(SERIAL),
            Self { slow: true, .. } => Some(SLOW),
            _ => None,
        }
    }
}

/// Runs what was wished for until it is told to end; whether it could.
///
/// # Errors
/// The arguments make no sense.
pub(crate) fn wished(checkout: &Checkout, args: &[String]) -> Result<bool, String> {
    let wish = Wish::read(args)?;
    match run(checkout, &wish) {
        Ok(()) => Ok(true),
        Err(error) => {
            eprintln!("{error}");
            Ok(false)
        }
    }
}

fn run(checkout: &Checkout, wish: &Wish) -> Result<(), String> {
    let usual = wish.special().map_or_else(|| "quorum".to_owned(), |name| format!("quorum-{name}"));
    let data = wish.data.clone().unwrap_or_else(|| checkout.target.join(usual));
    let layout = Layout::of(&data, &wish.kinds, wish.boards, wish.mixed)?;
    let data = data.canonicalize().map_err(|error| format!("{}: {error}", data.display()))?;
    let mut firmware = Vec::new();
    for (at, kind) in layout.kinds.iter().enumerate() {
        let qemu = kind.emulator.qemu;
        if first_line(qemu, &["--version"]).is_none() {
            return Err(format!("{qemu} is missing: `cargo xtask doctor` says how to get QEMU"));
        }
        let program = wish.special().or_else(|| layout.program(at));
        let image = built(checkout, kind.board, program)?;
        let texts = Arc::new(Texts::read(&image)?);
        firmware.push((image, texts));
    }
    let zk = desktop(checkout)?;
    layout.provision(&zk, &data, wish.dhcp)?;

    let sockets = Scratch::new()?;
    let switch = switch(&layout, sockets.dir(), wish)?;
    let door = |id: usize, port: u16| switch.door(address(id), port);
    let mut members = Vec::new();
    let number = |id, port| door(id, port).map_or(0, |at| at.port());
    let config = layout.configure(&data, number);
    let config = config.map_err(|error| format!("cannot configure the desktop server: {error}"))?;
    if let (Some(config), Some(Desktop { client, .. })) = (config, layout.desktop) {
        let client = SocketAddr::from(([127, 0, 0, 1], client));
        let apache = wish.apache.clone();
        members.push(Member::new(1, "desktop server", HOST, client, Voice::Data, move || {
            let mut command;
            if let Some(script) = &apache {
                command = Command::new(script);
                command.arg("start-foreground");
            } else {
                command = Command::new(&zk);
                command.args(["server", "--child"]);
            }
            command.arg(&config);
            command
        }));
    }
    let serial = wish.serial;
    for (id, port) in layout.ids().zip(1..) {
        let Some(client) = door(id, CLIENT) else { continue };
        let at = layout.kind(id);
        let Emulated { board, emulator } = layout.kinds[at];
        let (firmware, texts) = firmware[at].clone();
        let (flash, sockets) = (image(&data, id), sockets.dir().to_owned());
        let voice = Voice::Defmt(texts);
        members.push(Member::new(id, board.package, port, client, voice, move || {
            let (comes, goes) = (board_socket(&sockets, port), port_socket(&sockets, port));
            let network =
                if serial { Network::Line(&goes) } else { Network::Frames(&comes, &goes) };
            let (image, network) = (&*firmware, Some(network));
            let wiring = Wiring { image, args: &[], flash: Some(&flash), network };
            guest::qemu(emulator, &wiring)
        }));
    }
    let stdout = io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let running = Running::new(stdout, colour, members, switch);
    running.run().map_err(|error| format!("the quorum has ended: {error}"))
}

/// What boards say: as defmt has it.
const LEVEL: &str = "DEFMT_LOG";

/// Builds the firmware of a board, the usual one or another program.
fn built(checkout: &Checkout, board: &Board, program: Option<&str>) -> Result<PathBuf, String> {
    let supply = Facts::gather().supply();
    let supply = supply.ok_or("no compiler for bare-metal targets: see `cargo xtask doctor`")?;
    let (mut build, image) = match program {
        Some(program) => boards::program(checkout, supply, board, program),
        None => boards::firmware(checkout, supply, board),
    };
    // Whoever asks for more than the usual hears the peer, too.
    if std::env::var_os(LEVEL).is_some() {
        build.args(["--features", boards::LOGS]);
    }
    succeeds(&mut build)?;
    Ok(image)
}

/// Builds `zk`.
fn desktop(checkout: &Checkout) -> Result<PathBuf, String> {
    succeeds(&mut checkout.cargo(["build", "-p", "zk-cli"]))?;
    Ok(checkout.target.join("debug").join("zk"))
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    println!("$ {}", command::shown(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", command::named(command))),
        Err(error) => Err(format!("cannot start it: {error}")),
    }
}

/// A switch with a door for each port of each board. Those for clients have the usual numbers, if they
/// are free.
fn switch(layout: &Layout, sockets: &Path, wish: &Wish) -> Result<Switch, String> {
    let mut doors = Vec::new();
    let mut client = CLIENT;
    for id in layout.ids() {
        let free = (client..client.saturating_add(PORTS_TRIED))
            .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .unwrap_or(0);
        client = free.saturating_add(1).max(CLIENT);
        doors.push(((address(id), CLIENT), free));
        if layout.desktop.is_some() {
            doors.extend([QUORUM, ELECTION].map(|port| ((address(id), port), 0)));
        }
    }
    let outlets = layout.desktop.map(|desktop| vec![desktop.quorum, desktop.election]);
    let plan = Plan {
        dir: sockets.to_path_buf(),
        boards: layout.boards,
        lines: wish.serial.then(|| layout.ids().map(address).collect()),
        seed: wish.seed,
        doors,
        outlets: outlets.unwrap_or_default(),
        leases: layout.ids().map(|id| (hardware(id), address(id))).collect(),
    };
    Switch::start(&plan).map_err(|error| format!("the switch cannot start: {error}"))
}
