//! The version that files of the state say they are written in.

use std::fmt;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A file that only a newer version can read: nothing is wrong with it.
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

/// Reads a file, if its format is not newer than `known`; `place` is where it was found
/// and `damaged` what to say if it is none, for the error.
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
    // First: a newer one may have another shape.
    let Envelope { format } = serde_json::from_slice(text).with_context(damaged)?;
    if format > known {
        return Err(Newer { place: place.to_string(), format, known }.into());
    }
    serde_json::from_slice(text).with_context(damaged)
}
