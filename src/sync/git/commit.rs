//! The facts of a commit, as git prints them. Pure.

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;

use crate::foreign::Foreign;
use crate::sync::Source;

/// The format for `git show`: a line each. No line of a commit's header can hold a line end, and
/// the subject has none.
pub(super) const FORMAT: &str = "--format=%H%n%an%n%ae%n%s";

/// The commit at a branch's tip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id: hexadecimal digits.
    pub id: String,
    /// The author.
    pub author: Foreign,
    /// The first line of its message.
    pub subject: Foreign,
}

impl Commit {
    /// Reads what git printed for [`FORMAT`].
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = text.split('\n');
        let mut next = || lines.next().context("git says too little about the commit");
        let (id, name, address) = (next()?, next()?, next()?);
        ensure!(is_id(id), "git says {:?} for the id of a commit", Foreign::shorter(id, 80));
        let author = match (name.trim(), address.trim()) {
            ("", address) => address.to_owned(),
            (name, "") => name.to_owned(),
            (name, address) => format!("{name} <{address}>"),
        };
        let subject = Foreign::shorter(next()?, 200);
        Ok(Self { id: id.to_owned(), author: Foreign::shorter(&author, 200), subject })
    }

    /// The same for the status.
    pub fn source(&self) -> Source {
        let Self { id, author, subject } = self.clone();
        Source { commit: id, author, subject }
    }
}

/// Says whether this is the full id of an object: SHA-1 or SHA-256.
pub(super) fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_who_and_why() {
        let id = "0123456789".repeat(4);
        let commit =
            Commit::parse(&format!("{id}\nAda Ü\nada@example.org\nlab: new kernel\n")).unwrap();
        assert_eq!(commit.author.as_str(), "Ada Ü <ada@example.org>");
        assert_eq!(commit.source().short(), "012345678901");
        let nameless = Commit::parse(&format!("{id}\n\na@b\n\n")).unwrap();
        assert_eq!((nameless.author.as_str(), nameless.subject.as_str()), ("a@b", ""));
        let escape = Commit::parse(&format!("{id}\nA\x1b[2J\n\ns\u{202e}\n")).unwrap();
        assert_eq!(escape.author.as_str(), "A\u{fffd}[2J");
        for bad in ["", "abc\na\nb\nc", "--option\na\nb\nc"] {
            assert!(Commit::parse(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Commit::parse(&text);
        }
    }
}
