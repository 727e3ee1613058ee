//! A folder whose files are blobs.

use std::collections::BTreeMap;

use anyhow::Result;

use super::checked::CheckedFolder;
use super::checked::Templates;
use super::folder::Folder;
use crate::fleet::Asset;
use crate::fleet::Variables;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// The files of a folder, all stored as blobs.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) files: BTreeMap<String, Asset>,
    /// Settings for its boot script.
    pub(super) variables: Variables,
    /// Findings that do not stop a publish, a line each.
    pub(super) warnings: Vec<String>,
}

impl Stored {
    /// Checks `folder` and copies its files into blobs.
    pub(super) fn new(
        state: &State,
        generations: &Generations,
        folder: &Folder,
        progress: &dyn Fn(u64),
    ) -> Result<Self> {
        let templates = match state.config().secrets.dir {
            None => Templates::InFolder,
            Some(_) => Templates::Elsewhere,
        };
        let checked = CheckedFolder::read(folder, templates)?;
        checked.ensure_no_error(folder.shown())?;
        let mut files = BTreeMap::new();
        for path in folder.paths() {
            let asset = folder.store(path, generations.blobs_of(Access::to(path)), progress)?;
            files.insert(path.to_owned(), asset);
        }
        folder.ensure_unchanged()?;
        let variables = folder.variables().clone();
        Ok(Self { files, variables, warnings: checked.warnings() })
    }
}
