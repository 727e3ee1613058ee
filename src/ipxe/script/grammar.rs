//! Splits a script into lines, labels, commands and words, as `process_script` in
//! `src/image/script.c` and `system` in `src/core/exec.c` do.
//!
//! There is no quoting. Only white space separates words. `&&`, `||` and `;` count only as whole
//! words, and before settings are expanded.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use nom::IResult;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::bytes::complete::take_till;
use nom::bytes::complete::take_till1;
use nom::bytes::complete::take_while;
use nom::character::complete::char;
use nom::combinator::opt;
use nom::sequence::preceded;
use nom::sequence::terminated;

/// A parsed script.
#[derive(Debug)]
pub struct Script<'a> {
    /// The lines in order. Together they cover every byte of the source.
    pub lines: Vec<Line<'a>>,
}

/// One line as iPXE sees it. In the source it can be several lines, of which all but the last end
/// in a backslash.
#[derive(Debug)]
pub struct Line<'a> {
    /// The bytes that iPXE keeps, without line ends and continuations.
    pub text: Cow<'a, [u8]>,
    /// The bytes of the source that belong to this line, including its line end.
    pub span: Range<usize>,
    /// The script ends in the middle of this line, so iPXE never runs it.
    pub unfinished: bool,
    /// Position of a NUL byte in `text`, which hides the rest of the line from iPXE.
    pub nul: Option<usize>,
    /// The label without its colon, as a range of `text`.
    pub label: Option<Range<usize>>,
    /// At least one command, which may be empty. None in an unfinished line.
    pub commands: Vec<Command>,
    /// The comment from its `#` on, without trailing white space.
    pub comment: Option<Range<usize>>,
    /// Source positions of the pieces of `text`: (position in `text`, position in the source).
    pieces: Vec<(usize, usize)>,
}

/// The condition under which a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The first command of a line always runs.
    First,
    /// After `&&`: runs if the last command that ran succeeded.
    And,
    /// After `||`: runs if the last command that ran failed.
    Or,
    /// After `;`: always runs.
    Then,
}

/// A command and its arguments, as ranges of the line's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The operator before the command.
    pub joined: Joined,
    /// The words. An empty command has none; it does nothing and succeeds.
    pub words: Vec<Range<usize>>,
}

/// `isspace` of `src/core/ctype.c`.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// True if iPXE recognises these bytes as a script (`script_probe`).
pub fn is_script(source: &[u8]) -> bool {
    let magic: IResult<_, _> =
        terminated(alt((tag("#!ipxe"), tag("#!gpxe"))), nom::bytes::complete::take(1_usize))
            .parse(source);
    magic.is_ok() && source.get(6).copied().is_some_and(is_space)
}

/// One line of the source, without its `
/// `.
fn physical(input: &[u8]) -> IResult<&[u8], &[u8]> {
    terminated(take_till(|byte| byte == b'\n'), opt(char('\n'))).parse(input)
}

fn spaces(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(is_space).parse(input)
}

fn label(input: &[u8]) -> IResult<&[u8], Option<&[u8]>> {
    preceded(spaces, opt(preceded(char(':'), take_till(is_space)))).parse(input)
}

fn word(input: &[u8]) -> IResult<&[u8], &[u8]> {
    preceded(spaces, take_till1(is_space)).parse(input)
}

impl<'a> Script<'a> {
    /// Parses a script. Any sequence of bytes can be parsed, even if [`is_script`] is false.
    pub fn parse(source: &'a [u8]) -> Self {
        let mut lines = Vec::new();
        let mut rest = source;
        while !rest.is_empty() {
            let (left, line) = logical(rest, source.len() - rest.len());
            rest = left;
            lines.push(line);
        }
        Self { lines }
    }

    /// Writes the script out again, one source line for each line.
    pub fn print(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for line in &self.lines {
            line.print(&mut out);
        }
        out
    }
}

/// Parses one line with its continuations.
fn logical(input: &[u8], offset: usize) -> (&[u8], Line<'_>) {
    let mut text: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    let mut rest = input;
    let unfinished = loop {
        // Neither parser fails on any input.
        let (left, piece) = physical(rest).unwrap_or((&[], rest));
        // Drop pieces whose every byte was removed again.
        while pieces.last().is_some_and(|(start, _)| *start >= text.len()) {
            pieces.pop();
        }
        pieces.push((text.len(), offset + input.len() - rest.len()));
        rest = left;
        if text.is_empty() {
            text = Cow::Borrowed(piece);
        } else {
            text.to_mut().extend_from_slice(piece);
        }
        // iPXE does this in the same order, on the joined text. So a lone backslash before an empty
        // line continues that line too.
        if text.last() == Some(&b'\r') {
            shorten(&mut text);
        }
        if text.last() != Some(&b'\\') {
            break false;
        }
        shorten(&mut text);
        if rest.is_empty() {
            break true;
        }
    };
    let span = offset..offset + input.len() - rest.len();
    let mut line = Line {
        nul: memchr::memchr(0, &text),
        text,
        span,
        unfinished,
        label: None,
        commands: Vec::new(),
        comment: None,
        pieces,
    };
    if !unfinished {
        line.cut();
    }
    (rest, line)
}

fn shorten(text: &mut Cow<'_, [u8]>) {
    match text {
        Cow::Borrowed(slice) => *slice = &slice[..slice.len() - 1],
        Cow::Owned(vec) => {
            vec.pop();
        }
    }
}

impl Line<'_> {
    /// Finds label, commands and comment (`split_command`, `command_terminator`).
    fn cut(&mut self) {
        let text = &self.text[..self.nul.unwrap_or(self.text.len())];
        let at = |part: &[u8], rest: &[u8]| {
            let end = text.len() - rest.len();
            end - part.len()..end
        };
        let mut rest = text;
        if let Ok((left, Some(name))) = label(rest) {
            self.label = Some(at(name, left));
            // iPXE overwrites the byte after the label with a NUL.
            rest = left.get(1..).unwrap_or_default();
        }
        let mut command = Command { joined: Joined::First, words: Vec::new() };
        while let Ok((left, found)) = word(rest) {
            let range = at(found, left);
            rest = left;
            let joined = match found {
                b"&&" => Joined::And,
                b"||" => Joined::Or,
                b";" => Joined::Then,
                [b'#', ..] => {
                    let length = text[range.start..].trim_ascii_end().len();
                    self.comment = Some(range.start..range.start + length.max(1));
                    break;
                }
                _ => {
                    command.words.push(range);
                    continue;
                }
            };
            self.commands
                .push(std::mem::replace(&mut command, Command { joined, words: Vec::new() }));
        }
        self.commands.push(command);
    }

    /// The bytes of a range of `text`.
    pub fn get(&self, range: &Range<usize>) -> &[u8] {
        &self.text[range.clone()]
    }

    /// Position in the source of a range of `text`.
    pub fn locate(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.offset(range.start);
        let end = if range.is_empty() { start } else { self.offset(range.end - 1) + 1 };
        start..end
    }

    fn offset(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|(start, _)| *start <= at);
        let (start, source) = self.pieces[next.saturating_sub(1)];
        source + (at - start)
    }

    /// Position of the whole line for a finding, without the white space around it.
    pub fn whole(&self) -> Range<usize> {
        let start = self.text.len() - self.text.trim_ascii_start().len();
        self.locate(&(start..self.text.trim_ascii_end().len().max(start)))
    }

    fn print(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if self.unfinished {
            out.extend_from_slice(&self.text);
            // Restore the backslash that parsing removed. Otherwise a second backslash before it
            // would be lost too.
            out.push(b'\\');
            return;
        }
        if let Some(label) = &self.label {
            out.push(b':');
            out.extend_from_slice(self.get(label));
            out.push(b' ');
        }
        for command in &self.commands {
            let join: &[u8] = match command.joined {
                Joined::First => b"",
                Joined::And => b"&& ",
                Joined::Or => b"|| ",
                Joined::Then => b"; ",
            };
            out.extend_from_slice(join);
            for word in &command.words {
                out.extend_from_slice(self.get(word));
                out.push(b' ');
            }
        }
        if let Some(comment) = &self.comment {
            out.extend_from_slice(self.get(comment));
        } else if out.len() > start {
            out.pop();
        }
        if out.len() > start && out.last() == Some(&b'\\') {
            out.push(b' ');
        }
        out.push(b'\n');
    }
}

/// Formats bytes of a script for a message: shortened, and without control characters.
pub(super) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 60;
    let mut text = String::new();
    for (count, c) in
        String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MOST)]).chars().enumerate()
    {
        if count == MOST {
            text.push('…');
            break;
        }
        if c.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{:02x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}
