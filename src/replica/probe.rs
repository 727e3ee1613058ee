use super::Replica;
use super::error::Error;
use super::layout;

const TEXT: &[u8] = b"written by farmgate doctor, and deleted at once\n";

impl Replica {
    /// Lists, writes, reads and deletes in the common store: what a key may do, and whether the
    /// bucket is full, shows in no other way.
    pub async fn probe(&self) -> Result<(), Error> {
        self.remote.list(layout::RECORDS).await?;
        let path = layout::probe(&uuid::Uuid::new_v4());
        self.remote.put(&path, TEXT.to_vec()).await?;
        let read = self.remote.get(&path).await?;
        self.remote.delete(&path).await?;
        if read.as_deref() == Some(TEXT) {
            return Ok(());
        }
        Err(Error::Other("does not give back what was just written".into()))
    }
}
