//! The serial console of a machine, as lines of text: without what moves a cursor or colours.

use crate::foreign::Foreign;

/// A firmware that fills the screen writes no line end for long.
const LONGEST: usize = 4096;

/// The width at which firmware for BIOS breaks lines.
const COLUMNS: usize = 80;

#[derive(Default)]
pub(super) struct Console {
    escape: Escape,
    line: Vec<u8>,
    /// The line so far was broken at the last column, and goes on.
    broken: bool,
    lines: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Escape {
    #[default]
    None,
    Begun,
    /// `ESC [`, until a letter.
    Sequence,
    /// `ESC (`, and one character.
    Charset,
}

impl Console {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.escape = match (self.escape, byte) {
                (Escape::None, 0x1b) => Escape::Begun,
                (Escape::None, _) => {
                    self.plain(*byte);
                    Escape::None
                }
                (Escape::Begun, b'[') => Escape::Sequence,
                (Escape::Begun, b'(' | b')') => Escape::Charset,
                (Escape::Sequence, 0x20..=0x3f) => Escape::Sequence,
                // A jump to another place of the screen begins another line.
                (Escape::Sequence, b'H' | b'J') => {
                    self.end();
                    Escape::None
                }
                _ => Escape::None,
            };
        }
    }

    fn plain(&mut self, byte: u8) {
        match byte {
            0 | b'\r' => {}
            b'\n' if self.line.len() == COLUMNS && !self.broken => self.broken = true,
            b'\n' => self.end(),
            _ => {
                self.line.push(byte);
                if self.line.len() >= LONGEST {
                    self.end();
                }
            }
        }
    }

    fn end(&mut self) {
        self.broken = false;
        let line = Foreign::from_bytes(self.line.trim_ascii());
        self.line.clear();
        if !line.is_empty() {
            self.lines.push(line.as_str().to_owned());
        }
    }

    /// The complete lines since the last call.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &[u8]) -> Vec<String> {
        let mut console = Console::default();
        console.put(text);
        console.take()
    }

    #[test]
    fn what_moves_the_cursor_is_left_out() {
        assert_eq!(lines(b"\x1b[1;36mshort\x1b[0m\r\nnext\0\r\n"), ["short", "next"]);
        assert_eq!(lines(b"one\x1b[2J\x1b[01;01Htwo\r\n"), ["one", "two"]);
        assert_eq!(lines(b"\x1b(Bplain\n\n\nunfinished"), ["plain"]);
    }

    /// The firmware breaks a line at 80 columns, also in the middle of a word.
    #[test]
    fn a_line_that_firmware_broke_is_one_line() {
        let first = format!("{:>80}", "https://ipxe.org/410de1");
        assert_eq!(lines(format!("{first}\r\n3c\r\n").as_bytes()), ["https://ipxe.org/410de13c"]);
        let full = "x".repeat(COLUMNS);
        assert_eq!(lines(format!("{full}\n\nnext\n").as_bytes()), [full.as_str(), "next"]);
    }

    proptest! {
        #[test]
        fn no_console_harms_a_terminal(
            bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300,
        ) {
            let (one, other) = bytes.split_at(at.min(bytes.len()));
            let mut console = Console::default();
            console.put(one);
            console.put(other);
            let in_pieces = console.take();
            prop_assert!(in_pieces.iter().flat_map(|line| line.chars()).all(|c| !c.is_control()));
            prop_assert_eq!(in_pieces, lines(&bytes));
        }
    }
}
