//! Lines, labels, commands and words, as `process_script` in
//! `src/image/script.c` and `system` in `src/core/exec.c` cut them.
//!
//! There is no quoting: white space alone parts words, and `&&`, `||` and `;`
//! count only as words of their own, before any setting is expanded.

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

/// A script, cut up.
#[derive(Debug)]
pub struct Script<'a> {
    /// The lines in their order; together they cover every byte of the source.
    pub lines: Vec<Line<'a>>,
}

/// What iPXE takes for one line: several in the source, where all but the last
/// end in a backslash.
#[derive(Debug)]
pub struct Line<'a> {
    /// The bytes that iPXE keeps: without line ends and continuations.
    pub text: Cow<'a, [u8]>,
    /// Bytes of the source that belong to this line, with its line end.
    pub span: Range<usize>,
    /// The script ends in the middle of this line, which iPXE never runs.
    pub unfinished: bool,
    /// Where in `text` a NUL byte hides the rest from iPXE.
    pub nul: Option<usize>,
    /// The label, without its colon, as a range of `text`.
    pub label: Option<Range<usize>>,
    /// At least one, which may be empty; none in an unfinished line.
    pub commands: Vec<Command>,
    /// The comment, from its `#`, without white space at its end.
    pub comment: Option<Range<usize>>,
    /// Where each stretch of `text` comes from: (in `text`, in the source).
    pieces: Vec<(usize, usize)>,
}

/// When a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Always: the first of its line.
    First,
    /// After `&&`: if the last command that ran succeeded.
    And,
    /// After `||`: if the last command that ran failed.
    Or,
    /// After `;`: always.
    Then,
}

/// A command and its arguments, as ranges of the line's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What parts it from the command before.
    pub joined: Joined,
    /// The words; none in an empty command, which does nothing and succeeds.
    pub words: Vec<Range<usize>>,
}

/// `isspace` of `src/core/ctype.c`.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Whether iPXE takes these bytes for a script (`script_probe`).
pub fn is_script(source: &[u8]) -> bool {
    let magic: IResult<_, _> =
        terminated(alt((tag("#!ipxe"), tag("#!gpxe"))), nom::bytes::complete::take(1_usize))
            .parse(source);
    magic.is_ok() && source.get(6).copied().is_some_and(is_space)
}

/// One line of the source, without its `\n`.
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
    /// Cuts a script up. Every sequence of bytes has a meaning, if
    /// [`is_script`] or not.
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

    /// Writes the script out again, one line of the source for each of its own.
    pub fn print(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for line in &self.lines {
            line.print(&mut out);
        }
        out
    }
}

/// Takes one line and its continuations.
fn logical(input: &[u8], offset: usize) -> (&[u8], Line<'_>) {
    let mut text: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    let mut rest = input;
    let unfinished = loop {
        // Neither parser fails on any input.
        let (left, piece) = physical(rest).unwrap_or((&[], rest));
        // Pieces of which every byte was taken back.
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
        // In iPXE's order, and on what has been put together: a lone backslash
        // before an empty line continues that one too.
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
            // The byte after the label became its NUL.
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

    /// The bytes of a part of this line.
    pub fn get(&self, range: &Range<usize>) -> &[u8] {
        &self.text[range.clone()]
    }

    /// Where a part of `text` stands in the source.
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

    /// What to point at when the whole line is meant: its text without white
    /// space around it.
    pub fn whole(&self) -> Range<usize> {
        let start = self.text.len() - self.text.trim_ascii_start().len();
        self.locate(&(start..self.text.trim_ascii_end().len().max(start)))
    }

    fn print(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if self.unfinished {
            out.extend_from_slice(&self.text);
            // Two, or a backslash that iPXE has already read once is read anew.
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

/// Bytes of a script for a message: short, and without what a terminal obeys.
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
