use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::folder::Folder;
use crate::ipxe::script;
use crate::ipxe::script::Finding;
use crate::ipxe::script::Options;
use crate::store::events::BOOT_SCRIPT;
use crate::store::events::MAX_SCRIPT_LEN;
use crate::store::events::SECRETS;

/// The boot script of a folder, and what was found in it.
#[derive(Debug)]
pub struct Checked {
    /// The script's path, with the folder as the user named it.
    pub path: PathBuf,
    /// The script.
    pub source: Vec<u8>,
    /// What was found, in the order of the script.
    pub findings: Vec<Finding>,
}

impl Checked {
    pub(super) fn read(folder: &Folder) -> Result<Self> {
        let path = folder.shown().join(BOOT_SCRIPT);
        let source = folder.head(BOOT_SCRIPT, MAX_SCRIPT_LEN as usize + 1).with_context(|| {
            let folder = folder.shown().display();
            format!("{folder} needs a {BOOT_SCRIPT}: the iPXE script that boots the gateway")
        })?;
        ensure!(
            source.len() as u64 <= MAX_SCRIPT_LEN,
            "{} is larger than {MAX_SCRIPT_LEN} bytes; is it the right file?",
            path.display()
        );
        // The secrets template is never served as a file.
        let files: BTreeMap<String, u64> = folder
            .paths()
            .filter(|path| *path != SECRETS)
            .map(|path| (path.to_owned(), folder.len(path)))
            .collect();
        let findings =
            script::check(&source, &Options { files: Some(&files), ..Options::default() });
        Ok(Self { path, source, findings })
    }

    /// Fails with the first error, if there is one.
    pub(super) fn ensure_no_error(&self, dir: &Path) -> Result<()> {
        match self.findings.iter().find(|finding| finding.severity.is_error()) {
            None => Ok(()),
            Some(first) => {
                bail!("{} (farmgate check {} shows more)", self.line(first), dir.display())
            }
        }
    }

    /// Tells the log what does not stop a publish.
    pub(super) fn warn(&self) {
        for finding in &self.findings {
            tracing::warn!("{}", self.line(finding));
        }
    }

    fn line(&self, finding: &Finding) -> String {
        let Finding { start, code, what, .. } = finding;
        format!("{}:{}:{}: {} {what}", self.path.display(), start.line, start.column, code.id)
    }
}
