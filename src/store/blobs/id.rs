//! Names of blobs: the SHA-256 of their bytes.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// SHA-256 of a blob's bytes; shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// The name of bytes whose SHA-256 is this.
    pub fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Where the blob lies below `blobs/`: one of 256 directories, then its name.
    pub fn path(&self) -> String {
        let name = self.to_string();
        format!("{}/{name}", &name[..2])
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

impl FromStr for BlobId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BlobId {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}
