//! How deep the stack of a firmware image goes: the compiler's own table of frames, and the calls
//! that the machine code makes.

use std::collections::{BTreeMap, BTreeSet};

use object::{Architecture, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

/// Flags for rustc that let it write down how large each function's frame is.
pub(crate) const FLAGS: &str = "-Zemit-stack-sizes";

/// A function and the bytes of its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// What is known of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack {
    /// Every function of the crate, the largest frame first.
    pub(crate) frames: Vec<Frame>,
    /// From a function of the crate down, the chain of direct calls that takes most.
    pub(crate) deepest: Vec<Frame>,
    /// Functions that also call through pointers, which are not followed.
    pub(crate) indirect: usize,
    /// Functions that may come back to themselves, counted once in the chain.
    pub(crate) recursive: BTreeSet<String>,
}

/// Reads an image for Thumb-2 or RV32; frames are those of functions of `crate_name`.
///
/// # Errors
/// There is no table of frames in it, or it is for another processor.
pub(crate) fn of(file: &object::File<'_>, crate_name: &str) -> Result<Stack, String> {
    let read = match file.architecture() {
        Architecture::Arm => thumb,
        Architecture::Riscv32 => riscv,
        other => return Err(format!("no calls are found in code for {other:?}")),
    };
    let mut functions = functions(file, read);
    let table = file.section_by_name(".stack_sizes");
    let table = table.and_then(|section| section.data().ok());
    let sizes = table.and_then(sizes).ok_or("no table of stack frames in the image")?;
    for (address, bytes) in sizes {
        if let Some(function) = functions.get_mut(&address) {
            function.frame = bytes;
        }
    }
    let ours = |name: &str| name.trim_start_matches(['<', '&']).starts_with(crate_name);
    let mut stack = Stack::default();
    let mut depths = Depths { functions: &functions, known: BTreeMap::new(), open: Vec::new() };
    let mut deepest = (0, 0);
    for (&address, function) in &functions {
        if ours(&function.name) {
            stack.frames.push(Frame { name: function.name.clone(), bytes: function.frame });
            deepest = deepest.max((depths.of(address, &mut stack.recursive), address));
        }
        stack.indirect += usize::from(function.indirect);
    }
    stack.frames.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.name.cmp(&b.name)));
    let mut next = Some(deepest.1);
    while let Some(function) = next.and_then(|address| functions.get(&address)) {
        stack.deepest.push(Frame { name: function.name.clone(), bytes: function.frame });
        next = depths.known.get(&function.address).and_then(|depth| depth.through);
    }
    Ok(stack)
}

#[derive(Debug, Default)]
struct Function {
    address: u64,
    name: String,
    frame: u64,
    calls: BTreeSet<u64>,
    indirect: bool,
}

/// Address and frame of each function: on a 32-bit target 4 bytes and a ULEB128.
fn sizes(table: &[u8]) -> Option<Vec<(u64, u64)>> {
    let (mut rest, mut all) = (table, Vec::new());
    while !rest.is_empty() {
        let (address, behind) = rest.split_first_chunk::<4>()?;
        let (mut bytes, mut shift) = (0, 0);
        rest = behind;
        loop {
            let (&byte, behind) = rest.split_first()?;
            rest = behind;
            bytes |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        // The lowest bit says Thumb.
        all.push((u64::from(u32::from_le_bytes(*address) & !1), bytes));
    }
    Some(all)
}

/// Finds the calls in a function's code; `marks` say where there is code, and where constants are.
type Read = fn(&mut Function, &[u8], &BTreeMap<u64, bool>);

/// By address.
fn functions(file: &object::File<'_>, read: Read) -> BTreeMap<u64, Function> {
    let mut functions = BTreeMap::new();
    let mut marks = BTreeMap::new();
    for symbol in file.symbols() {
        let name = symbol.name().unwrap_or_default();
        // Where code begins in a section, and where constants between the code do.
        match name.get(..2) {
            Some("$t" | "$x") => {
                marks.insert(symbol.address(), true);
            }
            Some("$d") => {
                marks.insert(symbol.address(), false);
            }
            _ => {}
        }
    }
    for symbol in file.symbols() {
        if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
            continue;
        }
        let address = symbol.address() & !1;
        let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
        let code =
            section.and_then(|section| section.data_range(address, symbol.size()).ok().flatten());
        let mut function = Function {
            address,
            name: format!("{:#}", rustc_demangle::demangle(symbol.name().unwrap_or_default())),
            ..Function::default()
        };
        read(&mut function, code.unwrap_or_default(), &marks);
        functions.insert(address, function);
    }
    functions
}

/// The 16 bits at a place.
fn half(code: &[u8], at: usize) -> u32 {
    code.get(at..at + 2).map_or(0, |bytes| u32::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

fn is_code(marks: &BTreeMap<u64, bool>, address: u64) -> bool {
    marks.range(..=address).next_back().is_none_or(|(_, &is_code)| is_code)
}

/// Bits `from` to `to` of a word, moved to bit `at`.
const fn moved(word: u32, from: u32, to: u32, at: u32) -> u32 {
    (word >> to & ((1 << (from - to + 1)) - 1)) << at
}

/// A number of so many bits, with its sign.
const fn signed(value: u32, bits: u32) -> i64 {
    (((value << (32 - bits)) as i32) >> (32 - bits)) as i64
}

/// Follows the instructions of RV32IMAC from start to end.
fn riscv(function: &mut Function, code: &[u8], marks: &BTreeMap<u64, bool>) {
    const RETURN: u32 = 1;
    let (start, end) = (function.address, function.address + code.len() as u64);
    // What the instruction before has put into a register: half of an address.
    let (mut at, mut upper) = (0, None);
    while at < code.len() {
        let address = start + at as u64;
        if !is_code(marks, address) {
            at += 2;
            continue;
        }
        let first = half(code, at);
        let target = |offset| address.wrapping_add_signed(offset) & u64::from(u32::MAX);
        // Whether it comes back, and where it goes, if that can be seen.
        let (link, to, len, next) = if first & 3 != 3 {
            let offset = moved(first, 12, 12, 11)
                | moved(first, 11, 11, 4)
                | moved(first, 10, 9, 8)
                | moved(first, 8, 8, 10)
                | moved(first, 7, 7, 6)
                | moved(first, 6, 6, 7)
                | moved(first, 5, 3, 1)
                | moved(first, 2, 2, 5);
            match first & 0xe003 {
                // C.JAL and C.J.
                0x2001 => (true, Some(target(signed(offset, 12))), 2, None),
                0xa001 => (false, Some(target(signed(offset, 12))), 2, None),
                _ => {
                    // C.JALR.
                    function.indirect |= first & 0xf07f == 0x9002 && first & 0xf80 != 0;
                    (false, None, 2, None)
                }
            }
        } else {
            let word = first | half(code, at + 2) << 16;
            let (register, base) = (moved(word, 11, 7, 0), moved(word, 19, 15, 0));
            match word & 0x7f {
                // AUIPC.
                0x17 => {
                    (false, None, 4, Some((register, target(i64::from((word & !0xfff) as i32)))))
                }
                // JALR: with the half before, or to what only the program knows.
                0x67 => match upper {
                    Some((half, high)) if half == base => {
                        let low = signed(word >> 20, 12);
                        let to = u64::wrapping_add_signed(high, low) & u64::from(u32::MAX);
                        (register != 0, Some(to), 4, None)
                    }
                    _ => {
                        function.indirect |= register != 0 || base != RETURN;
                        (false, None, 4, None)
                    }
                },
                // JAL.
                0x6f => {
                    let offset = moved(word, 31, 31, 20)
                        | moved(word, 30, 21, 1)
                        | moved(word, 20, 20, 11)
                        | moved(word, 19, 12, 12);
                    (register != 0, Some(target(signed(offset, 21))), 4, None)
                }
                _ => (false, None, 4, None),
            }
        };
        if let Some(to) = to
            && (link || !(start..end).contains(&to))
        {
            function.calls.insert(to);
        }
        upper = next;
        at += len;
    }
}

/// Follows the instructions of Thumb-2 from start to end.
fn thumb(function: &mut Function, code: &[u8], marks: &BTreeMap<u64, bool>) {
    let half = |at: usize| half(code, at);
    let mut at = 0;
    while at < code.len() {
        let address = function.address + at as u64;
        if !is_code(marks, address) {
            at += 2;
            continue;
        }
        let first = half(at);
        // 0b11101, 0b11110 and 0b11111 begin instructions of 4 bytes.
        if first >> 11 < 0b11101 {
            // BLX of a register.
            function.indirect |= first & 0xff87 == 0x4780;
            at += 2;
            continue;
        }
        let second = half(at + 2);
        // BL, and B without a condition: a call in place of a return.
        let link = second & 0xd000 == 0xd000;
        let jump = second & 0xd000 == 0x9000;
        if first >> 11 == 0b11110 && (link || jump) {
            let target = address.wrapping_add(4).wrapping_add_signed(offset(first, second));
            let end = function.address + code.len() as u64;
            let inside = target >= function.address && target < end;
            if link || !inside {
                function.calls.insert(target);
            }
        }
        at += 4;
    }
}

/// How far BL and B go.
fn offset(first: u32, second: u32) -> i64 {
    let sign = first >> 10 & 1;
    // The upper bits are inverted if the sign is not set.
    let bit = |shift: u32| (second >> shift & 1) ^ sign ^ 1;
    let value =
        sign << 24 | bit(13) << 23 | bit(11) << 22 | (first & 0x3ff) << 12 | (second & 0x7ff) << 1;
    i64::from(value) - if sign == 1 { 1 << 25 } else { 0 }
}

#[derive(Clone, Copy, Debug)]
struct Depth {
    bytes: u64,
    /// Where the chain goes on.
    through: Option<u64>,
}

struct Depths<'f> {
    functions: &'f BTreeMap<u64, Function>,
    known: BTreeMap<u64, Depth>,
    /// Functions on the way from the first.
    open: Vec<u64>,
}

impl Depths<'_> {
    fn of(&mut self, address: u64, recursive: &mut BTreeSet<String>) -> u64 {
        if let Some(depth) = self.known.get(&address) {
            return depth.bytes;
        }
        let Some(function) = self.functions.get(&address) else { return 0 };
        if self.open.contains(&address) {
            recursive.insert(function.name.clone());
            return 0;
        }
        self.open.push(address);
        let mut most = Depth { bytes: 0, through: None };
        for &call in &function.calls {
            let bytes = self.of(call, recursive);
            if bytes > most.bytes {
                most = Depth { bytes, through: Some(call) };
            }
        }
        self.open.pop();
        let bytes = function.frame + most.bytes;
        self.known.insert(address, Depth { bytes, ..most });
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_frames_is_read() {
        let table = [0x01, 0x02, 0, 0, 0x08, 0x10, 0x20, 0, 0, 0x88, 0x09];
        assert_eq!(sizes(&table), Some(vec![(0x200, 8), (0x2010, 0x488)]));
        assert_eq!(sizes(&table[..10]), None);
        assert_eq!(sizes(&table[..7]), None);
    }

    #[test]
    fn calls_are_found_in_machine_code() {
        // As an assembler wrote them for address 0x1000.
        let code: Vec<u8> = [
            0xb5f0_u16, // push {r4-r7, lr}
            0xf000, 0xf81e, // bl 0x1042: 4 + 2 + 0x3c
            0xf7ff, 0xfff9, // bl 0x0ffc
            0x4788, // blx r1
            0xf000, 0xb800, // b.w to the next instruction, inside
            0xf001, 0xb804, // b.w 0x201c
            0xe8bd, 0x80f0, // pop.w {r4-r7, pc}
            0xf000, 0xf800, // a constant that looks like a call
        ]
        .iter()
        .flat_map(|half| half.to_le_bytes())
        .collect();
        let mut function = Function { address: 0x1000, ..Function::default() };
        let marks = BTreeMap::from([(0x1000, true), (0x1018, false)]);
        thumb(&mut function, &code, &marks);
        assert_eq!(function.calls, BTreeSet::from([0x0ffc, 0x1042, 0x201c]));
        assert!(function.indirect);
    }

    #[test]
    fn calls_are_found_in_code_for_riscv() {
        // As an assembler wrote them for address 0x1000.
        let code: Vec<u8> = [
            0x1141_u16, // addi sp, sp, -16
            0x2081,     // c.jal 0x1042
            0x3fe5,     // c.jal 0x0ffc
            0x22ef, 0x0000, // jal t0, 0x3006
            0x9502, // c.jalr a0
            0x1597, 0x0000, // auipc a1, 1
            0x80e7, 0x8045, // jalr ra, -2044(a1): 0x1810
            0xf317, 0xffff, // auipc t1, -1
            0x0067, 0x0083, // jalr zero, 8(t1): 0x001c
            0xbff9, // c.j 0x0ffa
            0x0ee3, 0xfcb5, // beq a0, a1, 0x0ffa
            0xa001, // c.j to itself, inside
            0x306f, 0x0000, // j 0x4024
            0x8782, // c.jr a5: a table's
            0x8082, // ret
            0x2081, // a constant that looks like a call
        ]
        .iter()
        .flat_map(|half| half.to_le_bytes())
        .collect();
        let mut function = Function { address: 0x1000, ..Function::default() };
        let marks = BTreeMap::from([(0x1000, true), (0x102c, false)]);
        riscv(&mut function, &code, &marks);
        let calls = [0x001c, 0x0ffa, 0x0ffc, 0x1042, 0x1810, 0x3006, 0x4024];
        assert_eq!(function.calls, BTreeSet::from(calls));
        assert!(function.indirect);
        let mut function = Function { address: 0x1000, ..Function::default() };
        riscv(&mut function, &[0x82, 0x87, 0x82, 0x80], &BTreeMap::new());
        assert!(function.calls.is_empty() && !function.indirect);
    }

    #[test]
    fn the_deepest_chain_is_found_and_recursion_seen() {
        let function = |address: u64, frame, calls: &[u64]| {
            let name = address.to_string();
            let calls = calls.iter().copied().collect();
            (address, Function { address, name, frame, calls, indirect: false })
        };
        let functions = BTreeMap::from([
            function(1, 10, &[2, 3]),
            function(2, 100, &[]),
            function(3, 20, &[4, 1]),
            function(4, 90, &[]),
        ]);
        let mut recursive = BTreeSet::new();
        let mut depths = Depths { functions: &functions, known: BTreeMap::new(), open: Vec::new() };
        assert_eq!(depths.of(1, &mut recursive), 120);
        assert_eq!(depths.known[&1].through, Some(3));
        assert_eq!(recursive, BTreeSet::from(["1".to_owned()]));
    }
}
