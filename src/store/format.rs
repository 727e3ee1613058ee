//! The version that files of the state say they are written in.

use std::fmt;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use serde::Deserialize;
use serde::de::DeserializeOwned;

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
    ensure!(
        format <= known,
        "{place} was written by a newer farmgate (format {format}, this one knows {known}); \
         install that version"
    );
    serde_json::from_slice(text).with_context(damaged)
}
