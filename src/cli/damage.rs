//! What cannot be read of a fleet: commands over all of it show the rest, and fail in the end.

use anyhow::Result;
use anyhow::bail;

/// What is wrong with parts of the fleet, one by one.
#[derive(Default)]
pub(super) struct Damage(Vec<String>);

impl Damage {
    /// Notes what is wrong with `what`, and returns the words for it.
    pub(super) fn note(&mut self, what: &dyn std::fmt::Display, error: &anyhow::Error) -> String {
        let words = format!("{error:#}");
        self.0.push(format!("{what}: {words}"));
        words
    }

    /// Fails if anything is.
    pub(super) fn result(self) -> Result<()> {
        match &self.0[..] {
            [] => Ok(()),
            [one] => bail!("not all could be read: {one}"),
            all => bail!("not all could be read ({} things): {}", all.len(), all.join("; ")),
        }
    }
}
