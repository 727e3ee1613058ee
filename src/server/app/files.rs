//! Whether the files that the next boots need are here.

use std::sync::Arc;

use anyhow::Result;

use super::App;
use super::blocking;
use crate::fleet::Decision;
use crate::fleet::Generation;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::server::error::HttpError;
use crate::store::blobs::Access;

/// What was found about gateways' files.
#[derive(Debug, Default)]
pub(in crate::server) struct Files {
    /// A gateway cannot boot.
    pub(in crate::server) problems: Vec<String>,
    /// It can, and somebody should see to it.
    pub(in crate::server) warnings: Vec<String>,
}

impl App {
    /// Looks for the files of all gateways' live generations: whether they are here, with all
    /// their bytes.
    pub(in crate::server) async fn files(self: &Arc<Self>) -> Result<Files, HttpError> {
        let app = self.clone();
        blocking(move || Ok(app.look_for_files()?)).await
    }

    fn look_for_files(&self) -> Result<Files> {
        let mut files = Files::default();
        for name in self.gateways.names()? {
            let looked =
                self.gateways.load(&name).and_then(|record| self.look(&record, &mut files));
            if let Err(error) = looked {
                files.problems.push(format!("{name}: {error:#}"));
            }
        }
        Ok(files)
    }

    fn look(&self, record: &Record, files: &mut Files) -> Result<()> {
        let (name, settings) = (&record.name, self.settings());
        let history = self.generations.history(&record.id)?;
        let Some(Decision { generation, .. }) = decide(&history, record.policy(settings.tries))
        else {
            return Ok(());
        };
        if !self.generations.has_folder(&record.id) {
            files.problems.push(format!(
                "the folder of {name}'s events, store/gateways/{}, is missing; restore it from a \
                 backup before the server is restarted",
                record.id
            ));
        }
        for fault in self.faults(&generation) {
            let what = format!("{name}: {fault}");
            // The common store may have what is missing here: then the boot waits for it.
            if self.replica.is_some() {
                files.warnings.push(format!("{what}; it is fetched from the store"));
            } else {
                files.problems.push(format!("{what}; to publish its folder again mends it"));
            }
        }
        if let Some(good) = history.last_good().filter(|good| good.number != generation.number) {
            let faults = self.faults(good).into_iter();
            files.warnings.extend(
                faults.map(|fault| format!("{name}: {fault}, and that is what it falls back to")),
            );
        }
        Ok(())
    }

    /// What is wrong with the files of a generation, one by one.
    pub(in crate::server) fn faults(&self, generation: &Generation) -> Vec<String> {
        let found = generation.files().iter().filter_map(|(path, asset)| {
            let fault = self.generations.blobs_of(Access::to(path)).find(asset).err()?;
            Some(format!("{path} of generation {}: {fault}", generation.number))
        });
        found.collect()
    }
}
