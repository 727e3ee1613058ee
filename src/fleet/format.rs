//! Format versions of state files. Pure.

use std::fmt;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A file that needs a newer version. It is not damaged.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place} was written by a newer farmgate (format {format}, this one knows {known}); install \
     that version"
)]
pub struct Newer {
    place: String,
    format: u32,
    known: u32,
}

/// Parses a file unless its format is newer than `known`. For errors, `place` says where the file
/// is, and `damaged` what a file that cannot be parsed is called.
pub fn read<T: DeserializeOwned>(
    place: &dyn fmt::Display,
    text: &[u8],
    known: u32,
    damaged: &dyn Fn() -> String,
) -> Result<T> {
    #[derive(Deserialize)]
    struct Envelope {
        format: u32,
    }
    // Checked first, since a newer format may have other fields.
    let Envelope { format } = serde_json::from_slice(text).with_context(damaged)?;
    if format > known {
        return Err(Newer { place: place.to_string(), format, known }.into());
    }
    serde_json::from_slice(text).with_context(damaged)
}
