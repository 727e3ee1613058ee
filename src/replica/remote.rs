//! The common store: a bucket, or a directory. Every question to it has an end.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path as FilePath;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result as AnyResult;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::BackoffConfig;
use object_store::ClientOptions;
use object_store::MultipartUpload;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::PutPayload;
use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::aws::S3ConditionalPut;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;

use super::credentials::Key;
use super::error::Error;
use super::strays::Strays;
use super::throttle::Throttle;
use crate::config;
use crate::config::StoreUrl;
use crate::store::blobs::Access;
use crate::store::files;

/// The largest object besides blobs: a pack of a gateway with thousands of generations.
const MAX_OBJECT: u64 = 32 * 1024 * 1024;

/// A blob is sent in parts of so many bytes; S3 wants at least 5 MiB.
const PART: usize = 8 * 1024 * 1024;

/// A store that sends or takes a blob more slowly than this is as good as gone.
const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;

/// A store that can be asked.
#[derive(Clone, Debug)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    throttle: Throttle,
    limit: Duration,
    shown: String,
    strays: Strays,
    /// Where it is, if it is a directory.
    directory: Option<PathBuf>,
}

type Result<T> = std::result::Result<T, Error>;

impl Remote {
    /// The store at `url`, which is not asked yet.
    pub fn open(
        url: &StoreUrl,
        config: &config::Store,
        systemd: Option<&FilePath>,
    ) -> AnyResult<Self> {
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
                let bucket = s3(bucket, config, throttle.clone(), systemd)?;
                if prefix.is_empty() {
                    Arc::new(bucket)
                } else {
                    Arc::new(PrefixStore::new(bucket, prefix.as_str()))
                }
            }
        };
        let (limit, shown, strays) = (config.timeout, url.to_string(), throttle.strays());
        Ok(Self { store, throttle, limit, shown, strays, directory })
    }

    /// Where it is, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// How long it wants to be left alone.
    pub(super) fn wants_rest(&self) -> Option<Duration> {
        self.throttle.remaining()
    }

    /// Names that the last listings left out, because no object of farmgate can have them.
    pub(super) fn strays(&self) -> BTreeSet<String> {
        self.strays.take()
    }

    /// Paths of all objects below `prefix`.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        if let Some(root) = self.directory.clone() {
            let (strays, prefix) = (self.strays.clone(), prefix.to_owned());
            let walk = tokio::task::spawn_blocking(move || strays.walk(&root, &prefix));
            let walked = self.within_raw(walk).await?;
            let walked = walked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            return walked
                .map_err(|error| Error::Other(format!("cannot be listed: {error}").into()));
        }
        let mut pages = self.store.list(Some(&Path::from(prefix)));
        let mut found = Vec::new();
        // An object may take no longer to come than an answer: there are pages of them.
        while let Some(object) = self.within(async { pages.try_next().await }).await? {
            found.push(object.location.to_string());
        }
        Ok(found)
    }

    /// The bytes of a small object; `None` if there is none of that name.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let get = async {
            let answer = match self.store.get(&Path::from(path)).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                answer => answer.map_err(|error| Error::of(&error))?,
            };
            if answer.meta.size > MAX_OBJECT {
                return Err(Error::TooLarge(answer.meta.size));
            }
            let bytes = answer.bytes().await.map_err(|error| Error::of(&error))?;
            Ok(Some(bytes.to_vec()))
        };
        tokio::time::timeout(self.limit, get).await.map_err(|_| Error::Slow)?
    }

    /// The size of a blob and its bytes, piece by piece; `None` if it is not there.
    pub(super) async fn read(&self, path: &str) -> Result<Option<(u64, Pieces)>> {
        let path = Path::from(path);
        match self.within_raw(self.store.get(&path)).await? {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::of(&error)),
            Ok(answer) => {
                let size = answer.meta.size;
                let pieces = answer.into_stream().map_ok(|piece| piece.to_vec()).boxed();
                Ok(Some((size, Pieces { pieces, limit: self.limit })))
            }
        }
    }

    /// Writes a small object. The same name always gets the same bytes, so to write it
    /// again does no harm.
    pub(super) async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let path = Path::from(path);
        let payload = PutPayload::from(bytes);
        self.within(self.store.put(&path, payload)).await.map(drop)
    }

    /// Writes a blob from a file. It has its name once all its bytes are there.
    pub(super) async fn put_file(&self, path: &str, mut file: File, size: u64) -> Result<()> {
        self.guard(path).await?;
        let path = Path::from(path);
        let send = async {
            if size <= PART as u64 {
                let bytes = read_part(&mut file)?;
                self.store.put(&path, bytes.into()).await.map_err(|error| Error::of(&error))?;
                return Ok(());
            }
            let mut upload =
                self.store.put_multipart(&path).await.map_err(|error| Error::of(&error))?;
            let sent = send_parts(&mut *upload, &mut file).await;
            if sent.is_err() {
                // Else its parts would lie there, and cost, for ever.
                let _ = tokio::time::timeout(self.limit, upload.abort()).await;
            }
            sent
        };
        let limit = transfer_limit(self.limit, size);
        tokio::time::timeout(limit, send).await.map_err(|_| Error::Slow)?
    }

    /// A directory keeps secrets for its owner, whatever umask who writes the first one has.
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

    /// The size of an object; `None` if there is none of that name.
    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>> {
        let path = Path::from(path);
        match self.within_raw(self.store.head(&path)).await? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::of(&error)),
        }
    }

    /// Deletes an object; that there is none is as good.
    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let path = Path::from(path);
        match self.within_raw(self.store.delete(&path)).await? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::of(&error)),
        }
    }

    async fn within<T>(&self, ask: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        self.within_raw(ask).await?.map_err(|error| Error::of(&error))
    }

    async fn within_raw<T>(&self, ask: impl Future<Output = T>) -> Result<T> {
        tokio::time::timeout(self.limit, ask).await.map_err(|_| Error::Slow)
    }
}

/// How long a blob of `size` bytes may take.
pub(super) fn transfer_limit(limit: Duration, size: u64) -> Duration {
    limit + Duration::from_secs(size / SLOWEST_BYTES_PER_SECOND)
}

/// The bytes of a blob.
pub(super) struct Pieces {
    pieces: BoxStream<'static, object_store::Result<Vec<u8>>>,
    limit: Duration,
}

impl Pieces {
    /// The next ones; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let next = tokio::time::timeout(self.limit, self.pieces.try_next());
        next.await.map_err(|_| Error::Slow)?.map_err(|error| Error::of(&error))
    }
}

async fn send_parts(upload: &mut dyn MultipartUpload, file: &mut File) -> Result<()> {
    loop {
        let bytes = read_part(file)?;
        if bytes.is_empty() {
            break;
        }
        upload.put_part(bytes.into()).await.map_err(|error| Error::of(&error))?;
    }
    upload.complete().await.map(drop).map_err(|error| Error::of(&error))
}

fn read_part(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = file.take(PART as u64).read_to_end(&mut bytes);
    read.map_err(|error| Error::Other(format!("a blob cannot be read here: {error}").into()))?;
    Ok(bytes)
}

fn s3(
    bucket: &str,
    config: &config::Store,
    throttle: Throttle,
    systemd: Option<&FilePath>,
) -> AnyResult<object_store::aws::AmazonS3> {
    let key = Key::read(config, systemd)?;
    let tls = config.endpoint.as_ref().is_none_or(|endpoint| endpoint.tls());
    let options = ClientOptions::new()
        .with_connect_timeout(config.timeout)
        // Each question has its own end; one here would end the sending of a part, too.
        .with_timeout_disabled()
        .with_allow_http(!tls);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&config.region)
        .with_access_key_id(key.access_key_id)
        .with_secret_access_key(key.secret_access_key)
        // Garage ignores the conditions, B2 refuses them. Nothing here needs them.
        .with_conditional_put(S3ConditionalPut::Disabled)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 2,
            retry_timeout: config.timeout,
        })
        .with_client_options(options)
        .with_http_connector(throttle);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.as_str());
    }
    builder.build().context("cannot use [store]")
}
