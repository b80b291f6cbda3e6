//! Holds the firmware of each board to its budgets, and tells how deep its stack may go.

use std::path::Path;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::bare::{self, Supply};
use crate::boards::{self, SELFTEST};
use crate::groups::Steps;
use crate::size::{self, Sizes};
use crate::stack::{self, Stack};
use crate::targets::{BOARDS, Board, TINY};

/// Bytes of stack that the fault takes that a panic is, until it is told and the board is reset.
const FAULT: u64 = 512;

/// Bytes of flash that the texts of panics take, where `core` comes built and has them.
const PANICS: u64 = 32 << 10;

/// What the boards' self-test knows the price of, in its order.
const MORE: [&str; 10] = [
    "a znode (its name and data besides)",
    "a cell of 14 bytes of names and data",
    "a session",
    "a connection of a client",
    "a watch (its path besides)",
    "a server of the ensemble",
    "a transaction under way (its bytes besides)",
    "a node that transactions under way change",
    "an erase block of the flash",
    "64 bytes of the longest frame, transaction and reply",
];

/// What an image takes of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Footprint {
    /// Bytes of flash: code and constants, and what variables start with.
    flash: u64,
    /// Bytes of RAM: variables, tables, and room for the stack.
    ram: u64,
    /// Bytes of that for the stack.
    stack: u64,
    /// Bytes that it may need: the deepest chain of direct calls.
    chain: Stack,
    /// Directories of this machine that it names: its size would depend on them.
    named: Vec<String>,
}

/// Builds and measures the firmware of every board.
pub(crate) fn run(steps: &mut Steps<'_>, supply: Supply) {
    for board in BOARDS {
        let (mut build, image) = boards::firmware(steps.checkout, supply, board);
        if !steps.run(&mut build) {
            continue;
        }
        match measure(&image, bare::sources(steps.checkout)) {
            Ok(footprint) => {
                print!("{}", shown(board, &footprint));
                if board.profile == TINY {
                    let prices = prices(&bare::program(&image, SELFTEST)).unwrap_or_default();
                    println!("   bytes  of RAM that one more takes");
                    for (price, name) in prices.iter().zip(MORE) {
                        println!("{price:>8}  {name}");
                    }
                    let what = format!("{}: {} prices are known", board.package, prices.len());
                    steps.check(&what, prices.len() == MORE.len());
                }
                let Footprint { flash, ram, stack, ref chain, ref named } = footprint;
                let texts = if supply == Supply::Installed { PANICS } else { 0 };
                let within = flash <= board.code_max + texts && ram <= board.ram_max;
                let what = format!("{}: {flash} bytes of flash and {ram} of RAM", board.package);
                steps.check(&what, within);
                let what = format!("{}: names of this machine's: {named:?}", board.package);
                steps.check(&what, named.is_empty());
                let deepest = deepest(chain);
                let what = format!("{}: {deepest} of {stack} bytes of stack", board.package);
                steps.check(&what, deepest + FAULT <= stack);
            }
            Err(error) => {
                println!("{error}");
                steps.check(&error, false);
            }
        }
    }
}

/// What one more of each of [`MORE`] takes, where a board's self-test says it.
fn prices(selftest: &Path) -> Option<Vec<u32>> {
    let bytes = std::fs::read(selftest).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    let symbol = file.symbols().find(|it| it.name().is_ok_and(|name| name.contains("ZK_MORE")))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let data = section.data_range(symbol.address(), symbol.size()).ok()??;
    Some(data.as_chunks::<4>().0.iter().map(|price| u32::from_le_bytes(*price)).collect())
}

/// Measures an image, and looks for the names of some directories in it.
fn measure(image: &Path, mut named: Vec<String>) -> Result<Footprint, String> {
    let bytes = std::fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
    let file = object::File::parse(&*bytes);
    let file = file.map_err(|error| format!("{}: {error}", image.display()))?;
    let Sizes { text, data, .. } = size::sections(&file);
    let address = |name: &str| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        symbol
            .map(|symbol| symbol.address())
            .ok_or_else(|| format!("{}: no symbol {name}", image.display()))
    };
    let stack = address("_stack_start")? - address("_stack_end")?;
    let chain = stack::of(&file, "")?;
    named.retain(|dir| bytes.windows(dir.len()).any(|window| window == dir.as_bytes()));
    // Variables lie in one piece.
    let variables = address("__euninit")? - address("__sdata")?;
    Ok(Footprint { flash: text + data, ram: variables + stack, stack, chain, named })
}

/// Bytes of the deepest chain of calls.
fn deepest(chain: &Stack) -> u64 {
    chain.deepest.iter().map(|frame| frame.bytes).sum()
}

fn shown(board: &Board, footprint: &Footprint) -> String {
    let Footprint { flash, ram, stack, chain, .. } = footprint;
    let mut out = format!(
        "\n{}, profile `{}`\n{flash:>8}  bytes of flash, of {}\n{ram:>8}  bytes of RAM, of {}\n\
         {stack:>8}  bytes of that for the stack\n",
        board.package, board.profile, board.code_max, board.ram_max
    );
    let deepest = deepest(chain);
    out.push_str(&format!("{deepest:>8}  bytes in the deepest chain of direct calls\n"));
    for frame in &chain.deepest {
        out.push_str(&format!("{:>18}  {}\n", frame.bytes, frame.name));
    }
    out
}
