//! Copies a whole store between a directory and a bucket, in both directions: `farmgate store
//! copy`.
//!
//! Touches the network and the directories.

use std::collections::BTreeMap;
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
use super::remote::Error;
use super::remote::Remote;
use crate::config;
use crate::config::ParseStoreUrlError;
use crate::config::StoreUrl;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::fleet::Events;
use crate::fleet::GatewayId;
use crate::fleet::Kind;
use crate::fleet::ObjectName;
use crate::fleet::format::Newer;
use crate::fleet::parse_object;
use crate::store::blobs::Access;
use crate::store::blobs::Blobs;
use crate::store::files;

/// A directory, or the URL of a store.
#[derive(Clone, Debug)]
pub struct Place(StoreUrl);

impl Place {
    /// The path, if it is a directory.
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

/// Counts of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Copied {
    /// Files of generations.
    pub blobs: usize,
    /// Events, packs, revisions of records, and acts.
    pub objects: usize,
    /// Blobs and objects that the target had already.
    pub there: usize,
    /// Paths of damaged blobs and events, which were not copied.
    pub damaged: Vec<String>,
}

/// Copies everything that `to` lacks. Blobs are verified on the way, and copied before the events
/// that name them: a copy can be interrupted anywhere, and repeated.
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
    let list = async |remote: &Remote, folder: &str| -> Result<Vec<String>, Error> {
        remote.list(folder).await.map(|listed| listed.paths)
    };

    let mut copied = Copied::default();
    let (mut objects, mut uses) = (Vec::new(), BTreeMap::new());
    for folder in [layout::RECORDS, layout::GATEWAYS, layout::ACTS] {
        let there: BTreeSet<String> = list(&target.remote, folder).await?.into_iter().collect();
        for path in list(&source, folder).await.with_context(|| ask(&source))? {
            let Some(name) = known(&path) else { continue };
            let bytes = source.get(&path).await.with_context(|| ask(&source))?;
            let Some(bytes) = bytes else { continue };
            if let Some(name) = name {
                match parse_object(&path, name, &bytes) {
                    Ok(events) => note_uses(&events, &mut uses),
                    Err(error) if error.is::<Newer>() => return Err(error),
                    Err(_) => {
                        copied.damaged.push(path);
                        continue;
                    }
                }
            }
            if there.contains(&path) {
                copied.there += 1;
            } else {
                objects.push((path, bytes));
            }
        }
    }

    let mut blobs = Vec::new();
    for access in [Access::Public, Access::Private] {
        for path in list(&source, access.folder()).await.with_context(|| ask(&source))? {
            let id = path.rsplit('/').next().and_then(|name| name.parse::<BlobId>().ok());
            let Some(id) = id.filter(|id| layout::blob(access, id) == path) else { continue };
            // Older versions kept secrets among the public blobs.
            let uses = uses.get(&id).filter(|_| access == Access::Public);
            for access in uses.cloned().unwrap_or_else(|| [access].into()) {
                blobs.push((path.clone(), access, id));
            }
        }
    }
    let all = blobs.len() as u64;
    for (number, (path, access, id)) in blobs.into_iter().enumerate() {
        progress(number as u64, all);
        let Some((size, mut pieces)) = source.read(&path).await.with_context(|| ask(&source))?
        else {
            continue;
        };
        if target.has(access, &id, size).await? {
            copied.there += 1;
            continue;
        }
        let mut file = target.receive(access)?;
        let mut hasher = Sha256::new();
        while let Some(piece) = pieces.next().await.with_context(|| ask(&source))? {
            hasher.update(&piece);
            file.write_all(&piece).context("cannot write a blob")?;
        }
        if BlobId::of_digest(hasher.finalize().into()) != id {
            copied.damaged.push(path);
            continue;
        }
        target.keep(access, &id, file, size).await?;
        copied.blobs += 1;
    }
    for (path, bytes) in objects {
        target.put(&path, bytes).await?;
        copied.objects += 1;
    }
    progress(all, all);
    Ok(copied)
}

/// Parses a path below `gateways`, `records` or `acts`: `None` if farmgate has not written it, the object's
/// name for events and packs.
fn known(path: &str) -> Option<Option<ObjectName>> {
    let is_id = |text: &str| text.parse::<GatewayId>().is_ok();
    match path.split('/').collect::<Vec<_>>()[..] {
        [layout::GATEWAYS, id, name] if is_id(id) => ObjectName::parse(name).map(Some),
        [layout::RECORDS, id, name] if is_id(id) => layout::parse_revision(name).map(|_| None),
        [layout::ACTS, _] => layout::parse_act(path).map(|_| None),
        _ => None,
    }
}

/// Notes from which trees each blob is served.
fn note_uses(events: &Events, uses: &mut BTreeMap<BlobId, BTreeSet<Access>>) {
    for event in events.values() {
        if let Kind::Published { files, .. } = &event.kind {
            for (path, asset) in files {
                uses.entry(asset.sha256).or_default().insert(Access::to(path));
            }
        }
    }
}

/// The target of a copy. A directory gets the permissions of a state.
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
                    (Access::Public.folder(), Access::Public.folder_mode()),
                    (Access::Private.folder(), Access::Private.folder_mode()),
                    (layout::GATEWAYS, 0o700),
                    (layout::RECORDS, 0o700),
                    (layout::ACTS, 0o700),
                ] {
                    files::create_dir(&path.join(name), mode)?;
                }
                Some(path.clone())
            }
            StoreUrl::S3 { .. } => None,
        };
        Ok(Self { remote: Remote::open(url, config, None)?, directory })
    }

    /// Says whether the target has a blob. In a directory its bytes are verified, as `publish`
    /// does; in a bucket only their number.
    async fn has(&self, access: Access, id: &BlobId, size: u64) -> Result<bool> {
        match &self.directory {
            Some(dir) => {
                let blobs = Blobs::new(dir, access);
                let verified = blobs.verify(&Asset { sha256: *id, size }).is_ok();
                Ok(verified && blobs.path(id) == dir.join(layout::blob(access, id)))
            }
            None => Ok(self.remote.size(&layout::blob(access, id)).await? == Some(size)),
        }
    }

    fn receive(&self, access: Access) -> Result<File> {
        match &self.directory {
            Some(dir) => Blobs::new(dir, access).receive(),
            None => tempfile::tempfile(),
        }
        .context("cannot make a file")
    }

    async fn keep(&self, access: Access, id: &BlobId, mut file: File, size: u64) -> Result<()> {
        match &self.directory {
            Some(dir) => Blobs::new(dir, access)
                .keep(&file, id)
                .with_context(|| format!("cannot keep blob {id}")),
            None => {
                file.rewind().context("cannot read a blob")?;
                let put = self.remote.put_file(&layout::blob(access, id), file, size).await;
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
