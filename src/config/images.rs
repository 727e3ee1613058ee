//! `[images]`: container images of generations. Pure.

use serde::Deserialize;

use super::size::Size;

/// Container images that are fetched when a folder is published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Images {
    /// Most bytes in the layers of one image, as its registry has them.
    pub max_size: Size,
}

impl Default for Images {
    fn default() -> Self {
        Self { max_size: Size::of(8_000_000_000) }
    }
}
