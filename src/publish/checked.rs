//! Checks of a folder's boot script and secrets template. Reads both files.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::folder::Folder;
use crate::bucket::Values;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::fleet::SECRETS;
use crate::fleet::TEMPLATE_NAMES;
use crate::fleet::VariableName;
use crate::fleet::unknown_names;
use crate::ipxe::contents::HEAD_LEN;
use crate::ipxe::script;
use crate::ipxe::script::Finding;
use crate::ipxe::script::KnownVariables;
use crate::ipxe::script::Options;

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

/// Place of a template of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Templates {
    /// In the folder that is published, for all gateways that get it.
    InFolder,
    /// In `[secrets] dir`, one for each gateway.
    Elsewhere,
}

/// The surroundings that a boot script is checked against.
#[derive(Debug)]
pub struct Subject {
    /// Its path, as findings name it.
    pub shown: PathBuf,
    /// The files that are served with it, and their sizes.
    pub files: BTreeMap<String, u64>,
    /// The first bytes of those files; of files that are not here yet, nothing.
    pub heads: BTreeMap<String, Vec<u8>>,
    /// True if there is a template of secrets for it.
    pub template: bool,
}

impl Subject {
    /// Checks a boot script. Variables that it does not use are not looked for here.
    pub fn check(&self, source: &[u8], variables: &KnownVariables) -> Result<Vec<Finding>> {
        ensure!(
            source.len() as u64 <= MAX_SCRIPT_LEN,
            "{} is larger than {MAX_SCRIPT_LEN} bytes; is it the right file?",
            self.shown.display()
        );
        let options = Options {
            files: Some(&self.files),
            heads: Some(&self.heads),
            template: Some(self.template),
            variables: Some(variables),
            ..Options::default()
        };
        Ok(script::check(source, &options))
    }
}

/// The boot script of a folder, and its template of secrets if it has one.
#[derive(Debug)]
pub(super) struct CheckedFolder(Vec<Checked>);

impl CheckedFolder {
    /// Reads and checks the text files of a folder.
    pub(super) fn read(folder: &Folder, templates: Templates) -> Result<Self> {
        let path = folder.shown().join(BOOT_SCRIPT);
        let source = folder.head(BOOT_SCRIPT, MAX_SCRIPT_LEN as usize + 1).with_context(|| {
            let folder = folder.shown().display();
            format!("{folder} needs a {BOOT_SCRIPT}: the iPXE script that boots the gateway")
        })?;
        // The secrets template is never served as a file.
        let files: BTreeMap<String, u64> = folder
            .paths()
            .filter(|path| *path != SECRETS)
            .map(|path| (path.to_owned(), folder.len(path)))
            .collect();
        let named = script::names(&source).into_iter().filter(|path| files.contains_key(path));
        let heads: BTreeMap<String, Vec<u8>> = named
            .map(|path| folder.head(&path, HEAD_LEN).map(|head| (path, head)))
            .collect::<Result<_>>()?;
        let has_template = folder.paths().any(|path| path == SECRETS);
        let template = has_template || templates == Templates::Elsewhere;
        let names = || folder.variables().keys().map(VariableName::as_str);
        let variables =
            KnownVariables { set: names().map(str::to_owned).collect(), ..Default::default() };
        let subject = Subject { shown: path.clone(), files, heads, template };
        let mut findings = subject.check(&source, &variables)?;
        let unused = script::unused(&source, names());
        let unused = unused.into_iter().map(|name| script::unused_variable(name, &source, 0..0));
        findings.extend(unused);
        let mut all = vec![Checked { path, source, findings, secret: false }];
        if has_template {
            let path = folder.shown().join(SECRETS);
            let source = folder.head(SECRETS, MAX_TEMPLATE + 1)?;
            let findings = check_template(&path, &source)?;
            all.push(Checked { path, source, findings, secret: true });
        }
        Ok(Self(all))
    }

    /// Fails with the first error, if there is one.
    pub(super) fn ensure_no_error(&self, dir: &Path) -> Result<()> {
        match self.findings().find(|(_, finding)| finding.severity.is_error()) {
            None => Ok(()),
            Some((checked, first)) => {
                bail!("{} (farmgate check {} shows more)", checked.line(first), dir.display())
            }
        }
    }

    /// All findings, a line each.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.findings().map(|(checked, finding)| checked.line(finding)).collect()
    }

    fn findings(&self) -> impl Iterator<Item = (&Checked, &Finding)> {
        self.0.iter().flat_map(|checked| checked.findings.iter().map(move |f| (checked, f)))
    }
}

/// Checks the boot script of a folder against its files, and its template of secrets.
pub fn check(dir: &Path) -> Result<Vec<Checked>> {
    Ok(CheckedFolder::read(&Folder::open(dir)?, Templates::InFolder)?.0)
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

    fn line(&self, finding: &Finding) -> String {
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
