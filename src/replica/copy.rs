//! A whole store from one place to another: a directory or a bucket, both ways.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Seek;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use anyhow::Result;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;

use super::layout;
use super::remote::Remote;
use crate::config;
use crate::config::ParseStoreUrlError;
use crate::config::StoreUrl;
use crate::store::blobs::BlobId;
use crate::store::blobs::Blobs;
use crate::store::events::Kind;
use crate::store::events::SECRETS;
use crate::store::files;
use crate::store::is_gateway_id;
use crate::store::objects;
use crate::store::objects::ObjectName;

/// Where a store is, or is to be.
#[derive(Clone, Debug)]
pub struct Place(StoreUrl);

impl Place {
    /// Its directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match &self.0 {
            StoreUrl::Directory(path) => Some(path),
            StoreUrl::S3 { .. } => None,
        }
    }
}

impl FromStr for Place {
    type Err = ParseStoreUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            return text.parse().map(Self);
        }
        Ok(Self(StoreUrl::Directory(text.into())))
    }
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Copied {
    /// Files of generations.
    pub blobs: usize,
    /// Events, packs, and revisions of records.
    pub objects: usize,
    /// What was there already.
    pub there: usize,
    /// Blobs whose bytes are not what their name says: not copied.
    pub damaged: Vec<String>,
}

/// Copies all that `to` does not have. Blobs are verified on the way and come before the
/// events that name them, so this can be stopped and begun again anywhere.
pub async fn copy(
    from: &Place,
    to: &Place,
    config: &config::Store,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Copied> {
    if let StoreUrl::Directory(path) = &from.0 {
        anyhow::ensure!(path.is_dir(), "{} is not a directory", path.display());
    }
    let source = Remote::open(&from.0, config, None)?;
    let target = Target::open(&to.0, config)?;
    let ask = |remote: &Remote| format!("the store {}", remote.shown());

    let mut copied = Copied::default();
    let (mut objects, mut private) = (Vec::new(), BTreeSet::new());
    for folder in [layout::RECORDS, layout::GATEWAYS] {
        let there: BTreeSet<String> = target.remote.list(folder).await?.into_iter().collect();
        for path in source.list(folder).await.with_context(|| ask(&source))? {
            let Some(name) = known(&path) else { continue };
            let bytes = source.get(&path).await.with_context(|| ask(&source))?;
            let Some(bytes) = bytes else { continue };
            if let Some(name) = name {
                private.extend(secrets(&path, name, &bytes)?);
            }
            if there.contains(&path) {
                copied.there += 1;
            } else {
                objects.push((path, bytes));
            }
        }
    }

    let blobs = source.list(layout::BLOBS).await.with_context(|| ask(&source))?;
    let all = blobs.len() as u64;
    for (number, path) in blobs.iter().enumerate() {
        progress(number as u64, all);
        let id = path.rsplit('/').next().and_then(|name| name.parse::<BlobId>().ok());
        let Some(id) = id.filter(|id| layout::blob(id) == *path) else { continue };
        let Some((size, mut pieces)) = source.read(path).await.with_context(|| ask(&source))?
        else {
            continue;
        };
        if target.remote.size(path).await? == Some(size) {
            copied.there += 1;
            continue;
        }
        let mut file = target.receive(private.contains(&id))?;
        let mut hasher = Sha256::new();
        while let Some(piece) = pieces.next().await.with_context(|| ask(&source))? {
            hasher.update(&piece);
            file.write_all(&piece).context("cannot write a blob")?;
        }
        if BlobId::of_digest(hasher.finalize().into()) != id {
            copied.damaged.push(path.clone());
            continue;
        }
        target.keep(path, &id, file, size).await?;
        copied.blobs += 1;
    }
    for (path, bytes) in objects {
        target.put(&path, bytes).await?;
        copied.objects += 1;
    }
    progress(all, all);
    Ok(copied)
}

/// Whether farmgate has written what is at `path`; the name, for events and packs.
fn known(path: &str) -> Option<Option<ObjectName>> {
    match path.split('/').collect::<Vec<_>>()[..] {
        [layout::GATEWAYS, id, name] if is_gateway_id(id) => ObjectName::parse(name).map(Some),
        [layout::RECORDS, id, name] if is_gateway_id(id) => {
            layout::parse_revision(name).map(|_| None)
        }
        _ => None,
    }
}

/// Blobs that nobody but the server may read.
fn secrets(path: &str, name: ObjectName, bytes: &[u8]) -> Result<Vec<BlobId>> {
    let events = objects::parse(&path, name, bytes)?;
    let ids = events.values().filter_map(|event| match &event.kind {
        Kind::Published { files, .. } => Some(files.get(SECRETS)?.sha256),
        _ => None,
    });
    Ok(ids.collect())
}

/// A directory gets the permissions that a state has; a bucket has none.
struct Target {
    remote: Remote,
    directory: Option<PathBuf>,
}

impl Target {
    fn open(url: &StoreUrl, config: &config::Store) -> Result<Self> {
        let directory = match url {
            StoreUrl::Directory(path) => {
                for (name, mode) in [
                    ("", 0o711),
                    (layout::BLOBS, 0o711),
                    (layout::GATEWAYS, 0o700),
                    (layout::RECORDS, 0o700),
                ] {
                    files::create_dir(&path.join(name), mode)?;
                }
                Some(path.clone())
            }
            StoreUrl::S3 { .. } => None,
        };
        Ok(Self { remote: Remote::open(url, config, None)?, directory })
    }

    fn blobs(dir: &Path) -> Blobs {
        Blobs::new(dir.join(layout::BLOBS))
    }

    fn receive(&self, private: bool) -> Result<File> {
        match &self.directory {
            Some(dir) => Self::blobs(dir).receive(private),
            None => tempfile::tempfile(),
        }
        .context("cannot make a file")
    }

    async fn keep(&self, path: &str, id: &BlobId, mut file: File, size: u64) -> Result<()> {
        match &self.directory {
            Some(dir) => {
                Self::blobs(dir).keep(&file, id).with_context(|| format!("cannot keep blob {id}"))
            }
            None => {
                file.rewind().context("cannot read a blob")?;
                let put = self.remote.put_file(path, file, size).await;
                put.with_context(|| format!("the store {}", self.remote.shown()))
            }
        }
    }

    async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        match &self.directory {
            Some(dir) => {
                let path = dir.join(path);
                if let Some(parent) = path.parent() {
                    files::create_dir(parent, 0o700)?;
                }
                files::replace(&path, 0o600, |file| file.write_all(&bytes))
            }
            None => {
                let put = self.remote.put(path, bytes).await;
                put.with_context(|| format!("the store {}", self.remote.shown()))
            }
        }
    }
}
