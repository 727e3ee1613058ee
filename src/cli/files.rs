//! `farmgate generations NAME --files [N]`: the files of one generation.

use std::fmt;

use anyhow::Context as _;
use anyhow::Result;
use serde::Serialize;

use super::get::find;
use crate::fleet::BlobId;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::generations::Generations;

#[derive(Serialize)]
pub(super) struct Listing {
    gateway: GatewayName,
    generation: u64,
    /// `farmgate gc` removed them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dropped: bool,
    files: Vec<FileRow>,
}

#[derive(Serialize)]
struct FileRow {
    path: String,
    size: u64,
    sha256: BlobId,
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12}  {:<64}  FILE", "BYTES", "SHA256")?;
        for FileRow { path, size, sha256 } in &self.files {
            write!(f, "\n{size:>12}  {sha256}  {path}")?;
        }
        match self.dropped {
            true => write!(f, "\nthese files were removed by `farmgate gc`"),
            false => Ok(()),
        }
    }
}

impl Listing {
    /// The files of the generation `number`, or else of the current one.
    pub(super) fn read(state: &State, name: &GatewayName, number: Option<u64>) -> Result<Self> {
        let record = state.gateways().load(name)?;
        let history = Generations::new(state).readable(&record.id)?.history;
        let generation = match number {
            Some(number) => find(name, &history, number)?,
            None => history
                .current()
                .with_context(|| format!("nothing is published for gateway {name}"))?,
        };
        let files = generation.files().iter().map(|(path, asset)| FileRow {
            path: path.clone(),
            size: asset.size,
            sha256: asset.sha256,
        });
        Ok(Self {
            gateway: record.name,
            generation: generation.number,
            dropped: history.is_dropped(generation.number),
            files: files.collect(),
        })
    }
}
