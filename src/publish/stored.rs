//! A folder whose files are blobs.

use std::collections::BTreeMap;

use anyhow::Result;
use anyhow::ensure;

use super::checked::CheckedFolder;
use super::checked::Templates;
use super::folder::Folder;
use crate::fleet::Asset;
use crate::fleet::Variables;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;
use crate::store::lock::StateLock;

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

    /// Copies files again whose blobs were removed meanwhile, since no generation named them yet.
    /// With the lock, nobody removes any until a generation does.
    pub(super) fn confirm(
        &self,
        _: &StateLock,
        generations: &Generations,
        folder: &Folder,
    ) -> Result<()> {
        for (path, asset) in &self.files {
            let blobs = generations.blobs_of(Access::to(path));
            if blobs.find(asset).is_err() {
                let again = folder.store(path, blobs, &|_| {})?;
                ensure!(
                    again == *asset,
                    "{} changed while it was read; nothing was published: try again",
                    folder.shown().join(path).display()
                );
            }
        }
        Ok(())
    }
}
