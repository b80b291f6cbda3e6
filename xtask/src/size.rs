//! Holds a firmware image to its budget, and tells where the bytes are.

use std::collections::BTreeMap;
use std::path::Path;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SymbolKind, elf};

use crate::bare::{self, Facts, Supply};
use crate::footprint;
use crate::groups::Steps;
use crate::stack::{self, Frame, Stack};
use crate::targets::SIZED;

/// The package in `zk-embedded/boards` that is measured.
const FIRMWARE: &str = "size";
/// The crate whose stack frames are measured.
const CORE: &str = "zk_core::";
/// The smallest profile: handles of 16 bits.
pub(crate) const PROFILE: &str = "--cfg zk_handle16";
/// Bytes of flash that code and constants may take: a peer with all its roles. A ratchet: it goes
/// down as the code does, and up only for what would be wrong or missing otherwise, never above
/// [`GOAL`].
const TEXT: u64 = 127_980;
/// Bytes that they may take at the most.
const GOAL: u64 = 125 * 1024;
/// Bytes that the largest stack frame of the core may have.
const FRAME: u64 = 1024;
/// Smaller frames are not shown.
const FRAME_SHOWN: u64 = 256;
/// How many groups of symbols are shown.
const SHOWN: usize = 20;

/// A panic is a fault at its place, and `addr2line` knows the line: its text would take 30 KB of flash.
/// Where `core` comes built that cannot be had.
const ABORT: &str = "-Zunstable-options -Cpanic=immediate-abort";

/// The flags of what is measured, and of the boards' firmware: what they stand on is built once.
pub(crate) fn flags(supply: Supply) -> String {
    let panics = if supply == Supply::Debian { ABORT } else { "" };
    format!("{PROFILE} {} {panics}", stack::FLAGS)
}

/// Bytes of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Code and constants: what is loaded and never written.
    pub(crate) text: u64,
    /// Variables with a value at start; they take flash and RAM.
    pub(crate) data: u64,
    /// Variables that start as zero.
    pub(crate) bss: u64,
    /// Code and constants by crate and module.
    groups: BTreeMap<String, u64>,
}

/// The group.
pub(crate) fn run(steps: &mut Steps<'_>) {
    let Some(supply) = Facts::gather().supply() else {
        return steps.check("no compiler for bare-metal targets", false);
    };
    core(steps, supply);
    footprint::run(steps, supply);
}

/// The image that is nothing but the core.
fn core(steps: &mut Steps<'_>, supply: Supply) {
    let flags = flags(supply);
    let (mut build, image) = bare::firmware(steps.checkout, supply, SIZED, FIRMWARE, &flags);
    // Some of them are unstable.
    build.env("RUSTC_BOOTSTRAP", "1");
    if !steps.run(&mut build) {
        return;
    }
    match measure(&image) {
        Ok((sizes, stack)) => {
            print!("{}", shown(&sizes));
            let what = format!("{} bytes of text, at most {TEXT} on {SIZED}", sizes.text);
            steps.check(&what, sizes.text <= TEXT);
            match stack {
                Ok(stack) => {
                    print!("{}", stack_shown(&stack));
                    let largest = stack.frames.first().map_or(0, |frame| frame.bytes);
                    let what = format!("a stack frame of {largest} bytes, at most {FRAME}");
                    steps.check(&what, (1..=FRAME).contains(&largest));
                }
                Err(error) => {
                    println!("{error}");
                    steps.check(&error, false);
                }
            }
        }
        Err(error) => {
            println!("{error}");
            steps.check(&error, false);
        }
    }
}

fn measure(image: &Path) -> Result<(Sizes, Result<Stack, String>), String> {
    let bytes = std::fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
    let file = object::File::parse(&*bytes);
    let file = file.map_err(|error| format!("{}: {error}", image.display()))?;
    let mut sizes = sections(&file);
    // One function under several names (identical code folded) is counted once.
    let mut counted = BTreeMap::new();
    for symbol in file.symbols() {
        let text = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data);
        let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        let Some(SectionFlags::Elf { sh_flags, .. }) = section.map(|section| section.flags())
        else {
            continue;
        };
        if text && symbol.size() > 0 && sh_flags.0 & elf::SHF_WRITE.0 == 0 {
            let name = symbol.name().unwrap_or_default();
            counted.insert(symbol.address(), (group(name), symbol.size()));
        }
    }
    for (name, size) in counted.into_values() {
        // The compiler's own names for constants say nothing.
        if !name.starts_with('.') {
            *sizes.groups.entry(name).or_default() += size;
        }
    }
    let named: u64 = sizes.groups.values().sum();
    sizes.groups.insert("(constants without a name)".to_owned(), sizes.text.saturating_sub(named));
    if sizes.text == 0 {
        return Err(format!("{}: no code in it", image.display()));
    }
    Ok((sizes, stack::of(&file, CORE)))
}

/// Bytes of what is loaded.
pub(crate) fn sections(file: &object::File<'_>) -> Sizes {
    let mut sizes = Sizes::default();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        let loaded = sh_flags.0 & elf::SHF_ALLOC.0 != 0;
        let written = sh_flags.0 & elf::SHF_WRITE.0 != 0;
        let zero = section.kind() == object::SectionKind::UninitializedData;
        match (loaded, written) {
            (true, true) if zero => sizes.bss += section.size(),
            (true, true) => sizes.data += section.size(),
            (true, false) => sizes.text += section.size(),
            (false, _) => {}
        }
    }
    sizes
}

/// The crate and module that a symbol belongs to: `<a::b::C as d::E>::f` is `a::b`'s.
fn group(symbol: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    let path = name.trim_start_matches(['<', '&', '(', '[']);
    let path = path.strip_prefix("mut ").unwrap_or(path);
    let path = path.split(['<', ' ', '>', ',', ')', ']', '{']).next().unwrap_or_default();
    let mut parts = path.split("::").filter(|part| !part.is_empty());
    match (parts.next(), parts.next()) {
        // A type of the language itself, or a function of C: all that there is to say.
        (Some(first), None) if !name.contains("::") => first.to_owned(),
        (Some(first), None) => format!("{first} (a type of the language)"),
        // Names of types and functions are not modules.
        (Some(first), Some(second)) if second.starts_with(char::is_uppercase) => first.to_owned(),
        (Some(first), Some(second)) => format!("{first}::{second}"),
        (None, _) => name,
    }
}

fn shown(sizes: &Sizes) -> String {
    let mut groups: Vec<(&String, &u64)> = sizes.groups.iter().collect();
    groups.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut out = format!("\n{:>8}  code and constants of\n", "bytes");
    for (name, size) in groups.iter().take(SHOWN) {
        out.push_str(&format!("{size:>8}  {name}\n"));
    }
    if groups.len() > SHOWN {
        let rest: u64 = groups[SHOWN..].iter().map(|(_, size)| **size).sum();
        out.push_str(&format!("{rest:>8}  {} others\n", groups.len() - SHOWN));
    }
    out.push_str(&format!(
        "\ntext {} of {TEXT} bytes (the goal is {GOAL}), data {}, bss {}\n",
        sizes.text, sizes.data, sizes.bss
    ));
    out
}

fn stack_shown(stack: &Stack) -> String {
    let mut out = format!("\n   bytes  stack frames of the core (at most {FRAME})\n");
    let line = |frame: &Frame| format!("{:>8}  {}\n", frame.bytes, frame.name);
    for frame in stack.frames.iter().filter(|frame| frame.bytes >= FRAME_SHOWN) {
        out.push_str(&line(frame));
    }
    let deepest: u64 = stack.deepest.iter().map(|frame| frame.bytes).sum();
    out.push_str(&format!(
        "\n{deepest:>8}  the deepest chain of direct calls ({} functions also call through \
         pointers, {} come back to themselves)\n",
        stack.indirect,
        stack.recursive.len()
    ));
    for frame in &stack.deepest {
        out.push_str(&line(frame));
    }
    for name in &stack.recursive {
        out.push_str(&format!("          comes back to itself: {name}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_belong_to_modules() {
        assert_eq!(group("_ZN7zk_core4wire4jute6decode17h0123456789abcdefE"), "zk_core::wire");
        assert_eq!(
            group(
                "_ZN54_$LT$zk_core..id..Zxid$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE"
            ),
            "zk_core::id"
        );
        assert_eq!(group("_RNvNtNtCs1234_7zk_core4wire4jute6decode"), "zk_core::wire");
        assert_eq!(group("memcpy"), "memcpy");
        assert_eq!(
            group("_RNvXs_NtC4core3fmtjNtB4_7Display3fmt"),
            "usize (a type of the language)"
        );
    }

    #[test]
    fn the_largest_come_first() {
        let groups = (0..30).map(|i| (format!("m{i}"), i)).collect();
        let sizes = Sizes { text: 100, data: 2, bss: 3, groups };
        let shown = shown(&sizes);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[2], "      29  m29");
        assert_eq!(lines[22], "      45  10 others");
        let last = format!("\ntext 100 of {TEXT} bytes (the goal is {GOAL}), data 2, bss 3\n");
        assert!(shown.ends_with(&last));
    }

    #[test]
    fn what_is_no_image_is_an_error() {
        assert!(measure(Path::new("Cargo.toml")).is_err_and(|error| error.contains("Cargo.toml")));
        assert!(measure(Path::new("no such file")).is_err());
    }
}
