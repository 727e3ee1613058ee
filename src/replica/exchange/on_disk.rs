//! Reads and writes the objects of a gateway on a thread that may wait for the disk.

use anyhow::Result;

use crate::store::exchange::LocalObjects;

/// Runs `work` on the objects of a gateway, on a thread that may block.
pub(super) async fn on_disk<T: Send + 'static>(
    local: &mut LocalObjects,
    work: impl FnOnce(&mut LocalObjects) -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut taken = std::mem::take(local);
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut taken);
        (taken, result)
    });
    let (back, result) = done.await?;
    *local = back;
    result
}
