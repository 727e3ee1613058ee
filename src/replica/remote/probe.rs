//! The requests by which `farmgate doctor` examines the shared store.

use super::client::Remote;
use super::error::Error;
use crate::replica::layout;

const TEXT: &[u8] = b"written by farmgate doctor, and deleted at once\n";

/// Lists, writes, reads and deletes in the store: no other test shows what a key may do, and
/// whether the bucket is full.
pub(in crate::replica) async fn probe(remote: &Remote) -> Result<(), Error> {
    remote.list(layout::RECORDS).await?;
    let path = layout::probe(&uuid::Uuid::new_v4());
    remote.put(&path, TEXT.to_vec()).await?;
    let read = remote.get(&path).await?;
    remote.delete(&path).await?;
    if read.as_deref() == Some(TEXT) {
        return Ok(());
    }
    Err(Error::Other("does not give back what was just written".into()))
}
