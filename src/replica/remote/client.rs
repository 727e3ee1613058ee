//! Requests to the shared store. Each has a time limit.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path as FilePath;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::PutPayload;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use super::directory;
use super::error::Error;
use super::s3;
use super::strays::Strays;
use super::throttle::Throttle;
use super::upload;
use crate::config;
use crate::config::StoreUrl;
use crate::replica::failure::Failure;
use crate::store::blobs::Access;
use crate::store::files;

/// The largest object besides blobs: a pack of a gateway with thousands of generations.
const MAX_OBJECT: u64 = 32 * 1024 * 1024;

/// A store that transfers a blob more slowly than this counts as unreachable.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;

/// A client of the shared store. Clones share its throttle.
#[derive(Clone, Debug)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    throttle: Throttle,
    strays: Strays,
    limit: Duration,
    shown: String,
    /// Its path, if it is a directory.
    directory: Option<PathBuf>,
}

/// The result of a listing.
#[derive(Debug)]
pub(in crate::replica) struct Listed {
    pub(in crate::replica) paths: Vec<String>,
    /// Names, escaped for a log, that no object of farmgate can have.
    pub(in crate::replica) strays: BTreeSet<String>,
}

type Result<T> = std::result::Result<T, Error>;

impl Remote {
    /// Makes a client of the store at `url`, and sends nothing yet. `systemd` is the folder of
    /// systemd's credentials.
    pub fn open(
        url: &StoreUrl,
        config: &config::Store,
        systemd: Option<&FilePath>,
    ) -> anyhow::Result<Self> {
        let throttle = Throttle::default();
        let mut directory = None;
        let store: Arc<dyn ObjectStore> = match url {
            StoreUrl::Directory(path) => {
                std::fs::create_dir_all(path)
                    .with_context(|| format!("cannot make the directory {}", path.display()))?;
                let store = LocalFileSystem::new_with_prefix(path)
                    .with_context(|| format!("cannot use {}", path.display()))?;
                directory = Some(path.clone());
                Arc::new(store.with_fsync(true))
            }
            StoreUrl::S3 { bucket, prefix } => {
                let bucket = s3::client(bucket, config, throttle.clone(), systemd)?;
                if prefix.is_empty() {
                    Arc::new(bucket)
                } else {
                    Arc::new(PrefixStore::new(bucket, prefix.as_str()))
                }
            }
        };
        let (limit, shown, strays) = (config.timeout, url.to_string(), throttle.strays());
        Ok(Self { store, throttle, strays, limit, shown, directory })
    }

    /// The location of the store, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The rest of the time for which the store asked for no requests (`Retry-After`).
    pub(in crate::replica) fn retry_after(&self) -> Option<Duration> {
        self.throttle.remaining()
    }

    pub(super) fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    pub(super) fn is_directory(&self) -> bool {
        self.directory.is_some()
    }

    /// Lists all objects below `prefix`.
    pub(in crate::replica) async fn list(&self, prefix: &str) -> Result<Listed> {
        let paths = match &self.directory {
            Some(root) => self.list_directory(root.clone(), prefix.to_owned()).await,
            None => self.list_bucket(prefix).await,
        };
        Ok(Listed { paths: paths?, strays: self.strays.take() })
    }

    async fn list_directory(&self, root: PathBuf, prefix: String) -> Result<Vec<String>> {
        let strays = self.strays.clone();
        let walk = tokio::task::spawn_blocking(move || directory::list(&root, &prefix, &strays));
        let walked = self.within_raw(walk).await?;
        let walked = walked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        walked.map_err(|error| Error::Other(format!("cannot be listed: {error}").into()))
    }

    async fn list_bucket(&self, prefix: &str) -> Result<Vec<String>> {
        let mut pages = self.store.list(Some(&Path::from(prefix)));
        let mut found = Vec::new();
        // The limit is for each object: a listing has pages, and may take longer than one answer.
        while let Some(object) = self.within(async { pages.try_next().await }).await? {
            found.push(object.location.to_string());
        }
        Ok(found)
    }

    /// Reads a small object; `None` if it does not exist.
    pub(in crate::replica) async fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let get = async {
            let answer = match self.store.get(&Path::from(path)).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                answer => answer.map_err(|error| Error::from_object_store(&error))?,
            };
            if answer.meta.size > MAX_OBJECT {
                return Err(Error::TooLarge(answer.meta.size));
            }
            let bytes = answer.bytes().await.map_err(|error| Error::from_object_store(&error))?;
            Ok(Some(bytes.to_vec()))
        };
        tokio::time::timeout(self.limit, get).await.map_err(|_| Error::Slow)?
    }

    /// Reads a blob piece by piece, and says its size; `None` if it does not exist.
    pub(in crate::replica) async fn read(&self, path: &str) -> Result<Option<(u64, Pieces)>> {
        let path = Path::from(path);
        match self.within_raw(self.store.get(&path)).await? {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::from_object_store(&error)),
            Ok(answer) => {
                let size = answer.meta.size;
                let pieces = answer.into_stream().map_ok(|piece| piece.to_vec()).boxed();
                Ok(Some((size, Pieces { pieces, limit: self.limit })))
            }
        }
    }

    /// Writes a small object. A name always gets the same bytes, so writing it twice is harmless.
    pub(in crate::replica) async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let path = Path::from(path);
        let payload = PutPayload::from(bytes);
        self.within(self.store.put(&path, payload)).await.map(drop)
    }

    /// Writes a blob from a file. The object appears once all its bytes are there.
    pub(in crate::replica) async fn put_file(
        &self,
        path: &str,
        file: File,
        size: u64,
    ) -> std::result::Result<(), Failure> {
        self.guard(path).await?;
        let send = upload::upload(&*self.store, Path::from(path), file, size, self.limit);
        let limit = transfer_limit(self.limit, size);
        tokio::time::timeout(limit, send).await.map_err(|_| Error::Slow)?
    }

    /// Keeps secrets in a directory for its owner, whatever the umask of the first to write one.
    async fn guard(&self, path: &str) -> Result<()> {
        let private = Access::Private.folder();
        let Some(root) = self.directory.as_ref().filter(|_| path.starts_with(private)) else {
            return Ok(());
        };
        let folder = root.join(private);
        let make = move || files::create_dir(&folder, Access::Private.folder_mode());
        let made = self.within_raw(tokio::task::spawn_blocking(make)).await?;
        made.unwrap_or_else(|error| Err(error.into()))
            .map_err(|error| Error::Other(format!("{error:#}").into()))
    }

    /// The size of an object; `None` if it does not exist.
    pub(in crate::replica) async fn size(&self, path: &str) -> Result<Option<u64>> {
        let path = Path::from(path);
        match self.within_raw(self.store.head(&path)).await? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::from_object_store(&error)),
        }
    }

    /// Deletes an object; a missing one is no error.
    pub(in crate::replica) async fn delete(&self, path: &str) -> Result<()> {
        self.delete_all(vec![path.to_owned()]).await
    }

    /// Deletes objects, by S3 up to a thousand in one request; a missing one is no error.
    pub(in crate::replica) async fn delete_all(&self, paths: Vec<String>) -> Result<()> {
        let paths = paths.into_iter().map(|path| Ok(Path::from(path)));
        let mut deleted = self.store.delete_stream(futures_util::stream::iter(paths).boxed());
        loop {
            match self.within_raw(deleted.next()).await? {
                None => return Ok(()),
                Some(Ok(_) | Err(object_store::Error::NotFound { .. })) => {}
                Some(Err(error)) => return Err(Error::from_object_store(&error)),
            }
        }
    }

    pub(super) async fn within<T>(
        &self,
        ask: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        self.within_raw(ask).await?.map_err(|error| Error::from_object_store(&error))
    }

    pub(super) async fn within_raw<T>(&self, ask: impl Future<Output = T>) -> Result<T> {
        tokio::time::timeout(self.limit, ask).await.map_err(|_| Error::Slow)
    }
}

/// The longest time that the transfer of a blob of `size` bytes may take.
pub(in crate::replica) fn transfer_limit(limit: Duration, size: u64) -> Duration {
    limit + Duration::from_secs(size / SLOWEST_BYTES_PER_SECOND)
}

/// The bytes of a blob.
pub(in crate::replica) struct Pieces {
    pieces: BoxStream<'static, object_store::Result<Vec<u8>>>,
    limit: Duration,
}

impl Pieces {
    /// The next piece; `None` at the end.
    pub(in crate::replica) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let next = tokio::time::timeout(self.limit, self.pieces.try_next());
        next.await.map_err(|_| Error::Slow)?.map_err(|error| Error::from_object_store(&error))
    }
}
