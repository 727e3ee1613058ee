//! Checks of a folder's boot script, its `gateway.toml` and its secrets template. Reads the files.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::finding::Checked;
use super::finding::MAX_TEMPLATE;
use super::finding::check_template;
use super::folder::Folder;
use super::made::Made;
use super::made::Preview;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::BlobId;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::fleet::SECRETS;
use crate::fleet::VariableName;
use crate::ipxe::contents::HEAD_LEN;
use crate::ipxe::script;
use crate::ipxe::script::Finding;
use crate::ipxe::script::KnownVariables;
use crate::ipxe::script::Options;
use crate::profile::description::GATEWAY_TOML;
use crate::profile::description::Rendered;

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

/// The text files of a folder with their findings, and what is made from its `gateway.toml`.
#[derive(Debug)]
pub(super) struct CheckedFolder {
    checked: Vec<Checked>,
    /// `None` if the folder has no `gateway.toml`.
    pub(super) made: Option<Made>,
}

/// The first bytes of files that are fetched by URL, by digest, with their sizes; `None` for those
/// that are not here yet.
pub type Heads<'a> = &'a dyn Fn(BlobId) -> Option<(u64, Vec<u8>)>;

impl CheckedFolder {
    /// Reads and checks the text files of a folder.
    pub(super) fn read(
        folder: &Folder,
        templates: Templates,
        pins: &BTreeMap<String, String>,
        heads: Heads<'_>,
    ) -> Result<Self> {
        let elsewhere = templates == Templates::Elsewhere;
        if !folder.has(GATEWAY_TOML) {
            let checked = of_script(folder, elsewhere)?;
            return Ok(Self { checked, made: None });
        }
        let mut made = Made::read(folder, elsewhere, pins)?;
        let mut checked = std::mem::take(&mut made.checked);
        if let Some(rendered) = &made.rendered {
            checked.push(of_made(folder, &made, rendered, heads)?);
        }
        Ok(Self { checked, made: Some(made) })
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
        self.checked.iter().flat_map(|checked| checked.findings.iter().map(move |f| (checked, f)))
    }
}

/// Checks the boot script of a folder against its files, and its template of secrets.
pub fn check(dir: &Path) -> Result<Vec<Checked>> {
    Ok(read(dir)?.checked)
}

/// Checks a folder with a `gateway.toml`, and shows what is made from it, unless there is an error.
pub fn preview(dir: &Path) -> Result<(Vec<Checked>, Option<Preview>)> {
    let CheckedFolder { checked, made } = read(dir)?;
    let made = made.with_context(|| {
        format!("{} has no {GATEWAY_TOML}: there is nothing to render", dir.display())
    })?;
    Ok((checked, made.rendered.map(Preview::from)))
}

fn read(dir: &Path) -> Result<CheckedFolder> {
    CheckedFolder::read(&Folder::open(dir)?, Templates::InFolder, &BTreeMap::new(), &|_| None)
}

/// Checks the boot script of a folder against its files, and the template of secrets.
fn of_script(folder: &Folder, elsewhere: bool) -> Result<Vec<Checked>> {
    let path = folder.shown().join(BOOT_SCRIPT);
    let source = folder.head(BOOT_SCRIPT, MAX_SCRIPT_LEN as usize + 1).with_context(|| {
        let folder = folder.shown().display();
        format!("{folder} needs a {BOOT_SCRIPT} (the iPXE script that boots the gateway) or a {GATEWAY_TOML}")
    })?;
    let (files, heads) = served(folder, &source)?;
    let has_template = folder.has(SECRETS);
    let subject =
        Subject { shown: path.clone(), files, heads, template: has_template || elsewhere };
    let findings = with_variables(folder, &subject, &source)?;
    let mut all = vec![Checked { path, source, findings, secret: false }];
    if has_template {
        let path = folder.shown().join(SECRETS);
        let source = folder.head(SECRETS, MAX_TEMPLATE + 1)?;
        let findings = check_template(&path, &source)?;
        all.push(Checked { path, source, findings, secret: true });
    }
    Ok(all)
}

/// Checks the boot script that was made.
fn of_made(folder: &Folder, made: &Made, rendered: &Rendered, heads: Heads<'_>) -> Result<Checked> {
    let path = folder.shown().join(BOOT_SCRIPT);
    let source = rendered.script.clone().into_bytes();
    let (mut files, mut first) = served(folder, &source)?;
    for (path, bytes) in rendered.files() {
        files.insert(path.to_owned(), bytes.len() as u64);
    }
    for (path, download) in &made.downloads {
        let found = heads(download.sha256);
        files.insert(path.clone(), found.as_ref().map_or(0, |(size, _)| *size));
        first.extend(found.map(|(_, head)| (path.clone(), head)));
    }
    files.remove(SECRETS);
    let template = !rendered.secrets.is_empty();
    let subject = Subject { shown: path.clone(), files, heads: first, template };
    let findings = with_variables(folder, &subject, &source)?;
    Ok(Checked { path, source, findings, secret: false })
}

type Sizes = BTreeMap<String, u64>;

/// First bytes of files.
type Firsts = BTreeMap<String, Vec<u8>>;

/// The files that are served with a script, and the first bytes of those that it names. The template
/// of secrets is never served as a file.
fn served(folder: &Folder, script: &[u8]) -> Result<(Sizes, Firsts)> {
    let files: BTreeMap<String, u64> = folder
        .paths()
        .filter(|path| *path != SECRETS)
        .map(|path| (path.to_owned(), folder.len(path)))
        .collect();
    let named = script::names(script).into_iter().filter(|path| files.contains_key(path));
    let heads = named
        .map(|path| folder.head(&path, HEAD_LEN).map(|head| (path, head)))
        .collect::<Result<_>>()?;
    Ok((files, heads))
}

/// Findings of a script, also about variables that it does not use.
fn with_variables(folder: &Folder, subject: &Subject, source: &[u8]) -> Result<Vec<Finding>> {
    let names = || folder.variables().keys().map(VariableName::as_str);
    let variables =
        KnownVariables { set: names().map(str::to_owned).collect(), ..Default::default() };
    let mut findings = subject.check(source, &variables)?;
    let unused = script::unused(source, names());
    findings.extend(unused.into_iter().map(|name| script::unused_variable(name, source, 0..0)));
    Ok(findings)
}
