//! A folder whose files are blobs.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::checked::CheckedFolder;
use super::checked::Templates;
use super::download::Downloads;
use super::folder::Folder;
use super::pins::Resolver;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::fleet::Variables;
use crate::ipxe::contents::HEAD_LEN;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::blobs::Blobs;
use crate::store::generations::Generations;
use crate::store::lock::StateLock;

/// The files of a folder, all stored as blobs.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) files: BTreeMap<String, Asset>,
    /// Those of them that are made from its `gateway.toml`.
    made: BTreeMap<String, Vec<u8>>,
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
        let public = generations.blobs_of(Access::Public);
        let head = |sha256| head_of(public, sha256);
        let mut checked = CheckedFolder::read(folder, templates, &BTreeMap::new(), &head)?;
        checked.ensure_no_error(folder.shown())?;
        let mut files = BTreeMap::new();
        if let Some(made) = &checked.made {
            let downloads = Downloads::default();
            for (path, download) in &made.downloads {
                let asset = downloads.fetch(download, public, progress)?;
                files.insert(path.clone(), asset);
            }
            let resolver = Resolver::new(&state.config().images);
            let resolved = resolver.resolve(&made.wanted, folder.dir())?;
            let held = resolver.hold(&made.wanted, &resolved, folder.dir(), public, progress)?;
            files.extend(held);
            // With what was fetched: a page of an error in place of a kernel strands a gateway.
            checked = CheckedFolder::read(folder, templates, &resolved.pins, &head)?;
            checked.ensure_no_error(folder.shown())?;
        }
        let warnings = checked.warnings();
        let made = checked.made.and_then(|made| made.rendered).map(|rendered| rendered.files());
        let made: BTreeMap<String, Vec<u8>> =
            made.into_iter().flatten().map(|(path, bytes)| (path.to_owned(), bytes)).collect();
        for (path, bytes) in &made {
            files.insert(path.clone(), add(generations, path, bytes)?);
        }
        for path in folder.paths().filter(|path| !made.contains_key(*path)) {
            let asset = folder.store(path, generations.blobs_of(Access::to(path)), progress)?;
            files.insert(path.to_owned(), asset);
        }
        folder.ensure_unchanged()?;
        let variables = folder.variables().clone();
        Ok(Self { files, made, variables, warnings })
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
                let again = match self.made.get(path) {
                    Some(bytes) => add(generations, path, bytes)?,
                    None if folder.has(path) => folder.store(path, blobs, &|_| {})?,
                    None => bail!(
                        "{path} was removed while this was prepared; nothing was published: try again"
                    ),
                };
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

fn add(generations: &Generations, path: &str, bytes: &[u8]) -> Result<Asset> {
    let blobs = generations.blobs_of(Access::to(path));
    let (sha256, size) = blobs.add(bytes).with_context(|| format!("cannot store {path}"))?;
    Ok(Asset { sha256, size })
}

/// The size and the first bytes of a blob, if it is here.
pub fn head_of(blobs: &Blobs, sha256: BlobId) -> Option<(u64, Vec<u8>)> {
    let size = blobs.size(&sha256).ok()?;
    let mut head = Vec::new();
    blobs.open(&sha256).ok()?.take(HEAD_LEN as u64).read_to_end(&mut head).ok()?;
    Some((size, head))
}
