//! Faults of a fleet folder: what is wrong, in which file and line, and the way out. Pure.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::foreign::Foreign;
pub(super) use crate::near::meant;

/// Most characters of a line that are shown.
const MAX_LINE: usize = 160;

/// Most faults that are shown: nobody reads more.
const MOST: usize = 50;

/// A text file of the folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SourceFile {
    /// Path below the folder.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// A value, and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    /// The value.
    pub value: T,
    /// The file.
    pub source: Arc<SourceFile>,
    /// The bytes of the file.
    pub span: Range<usize>,
}

impl<T> Placed<T> {
    pub(super) fn fault(&self, what: impl Into<String>, help: impl Into<String>) -> Fault {
        Fault::at(&self.source, self.span.clone(), what, help)
    }
}

/// A fault in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Path below the folder.
    pub path: String,
    /// Line and column from 1, if it is about a place in the file.
    pub position: Option<(usize, usize)>,
    line: Option<(String, usize)>,
    /// The fault.
    pub what: String,
    /// The way out.
    pub help: String,
}

impl Fault {
    /// A fault of a file as a whole.
    pub(super) fn of(path: &str, what: impl Into<String>, help: impl Into<String>) -> Self {
        let (what, help) = (what.into(), help.into());
        Self { path: path.to_owned(), position: None, line: None, what, help }
    }

    /// A fault at a place of a text file.
    pub(super) fn at(
        source: &SourceFile,
        span: Range<usize>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let text = source.text.as_str();
        let start = floor(text, span.start);
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let column = text[begin..start].chars().count();
        let marked = text[start..floor(text, span.end.clamp(start, end))].chars().count();
        let position = Some((text[..begin].matches('\n').count() + 1, column + 1));
        let shown = text[begin..end].trim_end();
        let line = (column + marked <= MAX_LINE && !shown.is_empty())
            .then(|| (Foreign::shorter(&untabbed(shown), MAX_LINE).to_string(), marked.max(1)));
        // Foreign trims blanks at the beginning, which the column counts.
        let line = line.map(|(shown, marked)| {
            let blanks = text[begin..end].chars().take_while(|c| c.is_whitespace()).count();
            (format!("{}{shown}", " ".repeat(blanks)), marked)
        });
        Self { position, line, ..Self::of(&source.path, what, help) }
    }

    /// The same without its line, which is secret.
    pub(super) fn unseen(self) -> Self {
        Self { line: None, ..self }
    }
}

fn untabbed(line: &str) -> String {
    line.replace('\t', " ")
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The line of the fault with a caret, as compilers print it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.what)?;
        if let (Some((text, marked)), Some((line, column))) = (&self.line, self.position) {
            let (number, margin) = (line.to_string(), " ".repeat(line.to_string().len()));
            let carets = "^".repeat(*marked);
            write!(f, "\n{margin} |\n{number} | {text}\n{margin} | {}", " ".repeat(column - 1))?;
            write!(f, "{carets}")?;
        }
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.help) }
    }
}

/// All faults of a fleet folder. Nothing can be planned or published before they are mended.
#[derive(Debug, thiserror::Error)]
pub struct Faults {
    /// The folder, as the caller named it.
    pub folder: String,
    /// The faults, by file and place.
    pub all: Vec<Fault>,
}

impl Faults {
    /// `Ok` if there are none.
    pub(super) fn none(folder: &str, mut all: Vec<Fault>) -> Result<(), Self> {
        if all.is_empty() {
            return Ok(());
        }
        all.sort_by(|a, b| (&a.path, a.position).cmp(&(&b.path, b.position)));
        all.dedup();
        Err(Self { folder: folder.to_owned(), all })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in self.all.iter().take(MOST) {
            writeln!(f, "{}/{fault}", self.folder)?;
        }
        let count = self.all.len();
        let faults = if count == 1 { "fault" } else { "faults" };
        write!(f, "{count} {faults} in the fleet folder {}", self.folder)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fault_marks_its_place() {
        let source = SourceFile {
            path: "gateways/lab-1.toml".to_owned(),
            text: "# ä\nprofile = \"debain\"\n".to_owned(),
        };
        let at = source.text.find("\"debain\"").unwrap();
        let fault = Fault::at(&source, at..at + 8, "there is no profile `debain`", "say another");
        assert_eq!(
            fault.to_string(),
            "gateways/lab-1.toml:2:11: there is no profile `debain`\n  |\n2 | profile = \
             \"debain\"\n  |           ^^^^^^^^\n  say another"
        );
        assert!(!fault.unseen().to_string().contains("profile ="));
    }

    proptest! {
        #[test]
        fn no_place_panics_and_nothing_harmful_is_shown(
            text in "[a-z\n\t\\x00-\\x1fäö ]{0,60}", start in 0usize..80, len in 0usize..80,
        ) {
            let source = SourceFile { path: "x".to_owned(), text };
            let shown = Fault::at(&source, start..start + len, "what", "").to_string();
            prop_assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
        }
    }
}
