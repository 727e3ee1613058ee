//! Text files with their findings. Pure.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use anyhow::ensure;

use crate::bucket::Values;
use crate::fleet::TEMPLATE_NAMES;
use crate::fleet::unknown_names;
use crate::ipxe::script;
use crate::ipxe::script::Finding;

/// Longest template of secrets, in bytes; the server has the same limit.
pub const MAX_TEMPLATE: usize = 64 * 1024;

/// A text file with its findings.
#[derive(Debug)]
pub struct Checked {
    /// Its path, with the folder as the user named it.
    pub path: PathBuf,
    /// The whole file.
    pub source: Vec<u8>,
    /// Findings, in the order of the file.
    pub findings: Vec<Finding>,
    /// Its lines must never be shown.
    pub secret: bool,
}

impl Checked {
    /// All findings, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.findings.iter().map(|finding| self.line(finding)).collect()
    }

    /// The findings that stop a publish, a line each.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.findings.iter().filter(|finding| finding.severity.is_error());
        errors.map(|finding| self.line(finding)).collect()
    }

    pub(super) fn line(&self, finding: &Finding) -> String {
        let Finding { start, code, what, .. } = finding;
        format!("{}:{}:{}: {} {what}", self.path.display(), start.line, start.column, code.id)
    }
}

/// Checks a template of secrets; `shown` is its path, for errors.
pub fn check_template(shown: &Path, source: &[u8]) -> Result<Vec<Finding>> {
    ensure!(
        source.len() <= MAX_TEMPLATE,
        "{} is larger than {MAX_TEMPLATE} bytes: the server would refuse it",
        shown.display()
    );
    let known = |name: &str| TEMPLATE_NAMES.contains(&name) || Values::NAMES.contains(&name);
    Ok(script::in_template(source, &unknown_names(source, known)))
}
