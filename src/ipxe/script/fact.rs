//! A command, and what is known about it.

use std::ops::Range;

use super::commands::Spec;
use super::grammar::Command;
use super::grammar::Joined;
use super::options::Arguments;
use super::options::Wrong;

/// A command and what is known about it.
#[derive(Debug)]
pub(super) struct Fact<'a> {
    /// Number of the line in the script.
    pub(super) line: usize,
    pub(super) command: &'a Command,
    pub(super) last: bool,
    /// The bytes of the words.
    pub(super) words: Vec<&'a [u8]>,
    /// The command's definition, if the command is known and its name contains no setting.
    pub(super) spec: Option<&'static Spec>,
    pub(super) arguments: Result<Arguments<'a>, Wrong>,
    pub(super) effect: Effect,
    /// The file that the command fetches and that is missing from the folder.
    pub(super) missing: Option<String>,
}

/// The possible outcomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Succeeds,
    /// Succeeds or fails.
    MayFail,
    Fails,
    /// Continues at a line.
    Goto(usize),
    /// Goes to a label that only iPXE knows, or fails.
    GotoAny,
    /// Ends the script.
    Exit,
    /// Hands the machine over to something else, or fails.
    Boot,
    /// Like `Boot`, but may also return, because the image may be a script.
    Chain,
    /// Restarts the machine or switches it off.
    Restart,
    /// Any of these.
    Unknown,
}

impl<'a> Fact<'a> {
    pub(super) fn name(&self) -> &'static str {
        self.spec.map_or("", |spec| spec.name)
    }

    /// The first argument: its index among the words, and its bytes.
    pub(super) fn argument(&self) -> Option<(usize, &'a [u8])> {
        let first = self.arguments.as_ref().ok().filter(|found| !found.unsure)?.first;
        self.words.get(first).map(|word| (first, *word))
    }

    pub(super) fn range(&self, word: usize) -> &'a Range<usize> {
        &self.command.words[word]
    }

    pub(super) fn has(&self, option: &str) -> bool {
        self.arguments.as_ref().is_ok_and(|found| found.option(option).is_some())
    }

    /// The command runs whatever the result of the one before it on its line.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.command.joined, Joined::First | Joined::Then)
    }
}
