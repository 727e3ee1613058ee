//! Uploads a blob, a large one in parts.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use object_store::MultipartUpload;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::error::Error;
use crate::replica::failure::Failure;

/// Bytes of a part; S3 wants at least 5 MiB.
const PART: usize = 8 * 1024 * 1024;

/// Uploads a file of `size` bytes. `limit` bounds only the clean-up after a failure: the caller
/// bounds the rest.
pub(super) async fn upload(
    store: &dyn ObjectStore,
    path: Path,
    mut file: File,
    size: u64,
    limit: Duration,
) -> Result<(), Failure> {
    if size <= PART as u64 {
        let bytes = read_part(&mut file)?;
        store.put(&path, bytes.into()).await.map_err(|error| Error::from_object_store(&error))?;
        return Ok(());
    }
    let upload = store.put_multipart(&path).await;
    let mut upload = upload.map_err(|error| Error::from_object_store(&error))?;
    let sent = send_parts(&mut *upload, &mut file).await;
    if sent.is_err() {
        // Abandoned parts cost storage forever.
        let _ = tokio::time::timeout(limit, upload.abort()).await;
    }
    sent
}

async fn send_parts(upload: &mut dyn MultipartUpload, file: &mut File) -> Result<(), Failure> {
    loop {
        let bytes = read_part(file)?;
        if bytes.is_empty() {
            break;
        }
        let sent = upload.put_part(bytes.into()).await;
        sent.map_err(|error| Error::from_object_store(&error))?;
    }
    let completed = upload.complete().await;
    completed.map_err(|error| Error::from_object_store(&error))?;
    Ok(())
}

fn read_part(file: &mut File) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = file.take(PART as u64).read_to_end(&mut bytes);
    read.context("cannot read a blob")?;
    Ok(bytes)
}
