//! Fetches files of old generations for commands that return to them. Asks the shared store.

use std::time::Duration;

use anyhow::Result;

use crate::cli::context::runtime;
use crate::fleet::Asset;
use crate::fleet::Record;
use crate::replica::Replica;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// Longest wait for a file of an old generation.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Fetches files that may exist in the shared store alone: those of generation `number`, or of the
/// generations that a command without a number may choose. A failed fetch is no error here: the
/// code that needs the file reports it.
pub(in crate::cli) fn fetch(state: &State, record: &Record, number: Option<u64>) -> Result<()> {
    if state.config().store.url.is_none() {
        return Ok(());
    }
    let history = Generations::new(state).readable(&record.id)?.history;
    let meant = match number {
        Some(number) => vec![history.generation(number)],
        None => vec![history.current(), history.previous()],
    };
    let files = meant.into_iter().flatten().flat_map(|generation| generation.files());
    fetch_files(state, files.map(|(path, asset)| (&**path, asset)))
}

/// The same for some files.
pub(in crate::cli) fn fetch_files<'a>(
    state: &State,
    files: impl IntoIterator<Item = (&'a str, &'a Asset)>,
) -> Result<()> {
    if state.config().store.url.is_none() {
        return Ok(());
    }
    runtime()?.block_on(async {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
        let replica = Replica::open(state, credentials.as_ref().map(AsRef::as_ref));
        // Rolling back must work without the shared store.
        let Ok(Some(replica)) = replica else { return };
        for (path, asset) in files {
            replica.fetch(asset, Access::to(path), PATIENCE).await;
        }
    });
    Ok(())
}
