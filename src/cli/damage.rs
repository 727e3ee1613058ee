//! Parts of a fleet that cannot be read: commands over all of it show the rest, and fail in the
//! end.

use anyhow::Result;
use anyhow::bail;

/// An error for each part that cannot be read.
#[derive(Default)]
pub(super) struct Damage(Vec<String>);

impl Damage {
    /// Notes the error of `what`, and returns its text.
    pub(super) fn note(&mut self, what: &dyn std::fmt::Display, error: &anyhow::Error) -> String {
        let words = format!("{error:#}");
        self.0.push(format!("{what}: {words}"));
        words
    }

    /// Fails if anything was noted.
    pub(super) fn result(self) -> Result<()> {
        match &self.0[..] {
            [] => Ok(()),
            [one] => bail!("not all could be read: {one}"),
            all => bail!("not all could be read ({} things): {}", all.len(), all.join("; ")),
        }
    }
}
