//! iPXE's commands with their options and argument counts.
//!
//! The language is the same in 1.21.1+git20250501 (commit dad206026, Debian trixie) and 2.0.0
//! (12798ec29, Debian forky). The command tables differ only in [`On::Newer`]. What Debian's packages
//! have compiled in was read from the command tables of their `ipxe.efi` and `ipxe.lkrn`.

mod table;

use table::COMMANDS;

/// A command of iPXE.
#[derive(Debug)]
pub struct Spec {
    pub name: &'static str,
    /// The options, without `--help`, which every command has.
    pub options: &'static [Opt],
    /// Smallest number of arguments that are not options.
    pub min: usize,
    /// Largest number of arguments that are not options.
    pub max: usize,
    pub on: On,
}

/// The iPXE builds that have a command or an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// All builds that farmgate makes images from.
    All,
    /// Of Debian's packages, only 2.0.0 for UEFI.
    Efi2,
    /// Exists in iPXE, but Debian does not compile it in.
    Optional,
    /// Newer than 2.0.0.
    Newer,
}

/// An option of a command.
#[derive(Debug)]
pub struct Opt {
    /// The name after `--`.
    pub long: &'static str,
    /// The letter after `-`.
    pub short: u8,
    /// The kind of its argument.
    pub takes: Takes,
    pub on: On,
}

/// The argument of an option (`src/core/parseopt.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// None: the option is a flag.
    Nothing,
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A character or a whole number.
    Key,
    /// The name of a setting to store into.
    Setting,
}

/// `MAX_ARGUMENTS`: no upper limit.
pub const ANY: usize = 255;

const fn opt(long: &'static str, short: u8, takes: Takes) -> Opt {
    Opt { long, short, takes, on: On::All }
}

const fn newer(long: &'static str, short: u8, takes: Takes) -> Opt {
    Opt { long, short, takes, on: On::Newer }
}

const fn spec(name: &'static str, options: &'static [Opt], min: usize, max: usize, on: On) -> Spec {
    Spec { name, options, min, max, on }
}

/// The command of that name.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(name)).ok().map(|at| &COMMANDS[at])
}

/// The known command that looks most like `name`, if any does.
pub fn similar(name: &[u8]) -> Option<&'static str> {
    // Longer names are no slip of the finger, and would cost time.
    if name.len() > 16 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    COMMANDS
        .iter()
        .map(|spec| (strsim::generic_damerau_levenshtein(spec.name.as_bytes(), &name), spec.name))
        .min()
        .filter(|(distance, found)| *distance <= 1 + found.len() / 4)
        .map(|(_, found)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_so_that_all_are_found() {
        assert!(COMMANDS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(COMMANDS.iter().all(|spec| find(spec.name.as_bytes()).is_some()));
        assert!(find(b"Boot").is_none() && find(b"").is_none());
    }

    #[test]
    fn slips_of_the_finger_are_recognised() {
        assert_eq!(similar(b"kernal"), Some("kernel"));
        assert_eq!(similar(b"Chain"), Some("chain"));
        assert_eq!(similar(b"frobnicate"), None);
    }
}
