//! Which line of the source an address of a firmware belongs to: a panic there is a fault at its place.

use std::path::Path;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, Error, RunTimeEndian};
use object::{Object as _, ObjectSection as _};

/// What stands before the address in what our firmware says of a fault.
const BEFORE: &str = " at 0x";

/// What is said, and behind it the line where the fault that it tells of has its place. Of other texts, and
/// where the image does not know it, that is nothing.
pub(crate) fn placed(text: &str, image: &Path) -> Option<String> {
    let (_, address) = text.split_once(BEFORE)?;
    let digits = address.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    let place = of(image, u64::from_str_radix(digits, 16).ok()?)?;
    Some(format!("{text} ({place})"))
}

/// File and line of an address.
fn of(image: &Path, address: u64) -> Option<String> {
    let bytes = std::fs::read(image).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let dwarf = Dwarf::load(|id| {
        let section = file.section_by_name(id.name());
        let data = section.and_then(|section| section.data().ok()).unwrap_or_default();
        Ok::<_, Error>(EndianSlice::new(data, endian))
    });
    let context = Context::from_dwarf(dwarf.ok()?).ok()?;
    let place = context.find_location(address).ok()??;
    Some(format!("{}:{}", place.file?, place.line?))
}

#[cfg(test)]
mod tests {
    use object::ObjectSymbol as _;

    use super::*;

    #[test]
    fn an_address_has_its_line() {
        let me = std::env::current_exe().unwrap();
        let bytes = std::fs::read(&me).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let here = |name: &str| name.contains("places") && name.contains("an_address_has_its_line");
        let symbol = file.symbols().find(|symbol| symbol.name().is_ok_and(here)).unwrap();
        let text = format!("fault at {:#x}, behind 0x1", symbol.address());
        let placed = placed(&text, &me).unwrap();
        assert!(
            placed.starts_with(&format!("{text} (")) && placed.contains("places.rs:"),
            "{placed}"
        );
    }

    #[test]
    fn what_is_no_fault_has_none() {
        let me = std::env::current_exe().unwrap();
        for text in [
            "362 ms: looking",
            "fault at 0x",
            "fault at 0xfffffffffffffff0",
            "fault at 0xfffffffffffffffff",
        ] {
            assert_eq!(placed(text, &me), None, "{text}");
        }
        assert_eq!(placed("fault at 0x100", Path::new("nowhere")), None);
    }
}
