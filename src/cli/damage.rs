//! Unreadable parts of a fleet: commands over the whole fleet show the rest, and fail at the end.

use anyhow::Result;
use anyhow::bail;

/// An error for each unreadable part.
#[derive(Default)]
pub(super) struct Damage(Vec<String>);

impl Damage {
    /// Records the error of `what`, and returns its text.
    pub(super) fn note(&mut self, what: &dyn std::fmt::Display, error: &anyhow::Error) -> String {
        let words = format!("{error:#}");
        self.0.push(format!("{what}: {words}"));
        words
    }

    /// Fails if any error was recorded.
    pub(super) fn result(self) -> Result<()> {
        match &self.0[..] {
            [] => Ok(()),
            [one] => bail!("one thing could not be read: {one}"),
            all => bail!("{} things could not be read: {}", all.len(), all.join("; ")),
        }
    }
}
