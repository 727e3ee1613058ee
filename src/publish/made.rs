//! A folder with a `gateway.toml`, and the files that are made from it. Reads the folder.

use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::Result;

use super::beside::Beside;
use super::finding::Checked;
use super::finding::check_template;
use super::folder::Folder;
use super::pins::Wanted;
use crate::fleet::SECRETS;
use crate::ipxe::script::Finding;
use crate::profile::agent::AgentProfile;
use crate::profile::description::Description;
use crate::profile::description::GATEWAY_TOML;
use crate::profile::description::MAX_LEN;
use crate::profile::description::Problem;
use crate::profile::description::Rendered;
use crate::profile::download::Download;

/// The outcome of a `gateway.toml`, and its findings.
#[derive(Debug)]
pub(super) struct Made {
    /// `None` if it has an error.
    pub(super) rendered: Option<Rendered>,
    /// Files that come from URLs, by path.
    pub(super) downloads: Vec<(String, Download)>,
    /// Its images.
    pub(super) wanted: Wanted,
    /// Findings in `gateway.toml`, and in `secrets`.
    pub(super) checked: Vec<Checked>,
}

impl Made {
    /// Makes the files of a folder. `elsewhere` says that only the boot host has the secrets, unless
    /// the folder has some. `pins` are the digests of images that were resolved.
    pub(super) fn read(
        folder: &Folder,
        elsewhere: bool,
        pins: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let path = folder.shown().join(GATEWAY_TOML);
        let source = folder.head(GATEWAY_TOML, MAX_LEN + 1)?;
        let text = String::from_utf8(source)
            .ok()
            .with_context(|| format!("{} is not UTF-8", path.display()))?;
        let found = |findings: Vec<Finding>| Checked {
            path: path.clone(),
            source: text.clone().into_bytes(),
            findings,
            secret: false,
        };
        let description = match Description::parse(&text) {
            Ok(description) => description,
            Err(problems) => {
                let checked = vec![found(Problem::findings(&text, problems))];
                let wanted = Wanted::default();
                return Ok(Self { rendered: None, downloads: Vec::new(), wanted, checked });
            }
        };
        let files = folder.paths().map(|path| (path.to_owned(), folder.len(path))).collect();
        let head = |path: &str, len: usize| match folder.has(path) {
            true => folder.head(path, len).map(Some),
            false => Ok(None),
        };
        let beside = Beside::read(description, files, &head)?;
        let (rendered, problems) = beside.render(elsewhere, pins);
        let mut checked = vec![found(Problem::findings(&text, problems.description))];
        if let Some(source) = beside.secrets.clone() {
            let path = folder.shown().join(SECRETS);
            let of_template = check_template(&path, &source)?;
            let lossy = String::from_utf8_lossy(&source);
            let mut findings = Problem::findings(&lossy, problems.secrets);
            findings.extend(of_template);
            checked.push(Checked { path, source, findings, secret: true });
        }
        let downloads = beside.description.downloads();
        let downloads = downloads.map(|(path, file)| (path.to_owned(), file.clone())).collect();
        Ok(Self { rendered, downloads, wanted: beside.wanted(), checked })
    }
}

/// The outcome of a `gateway.toml` for people: without secrets.
#[derive(Debug)]
pub struct Preview {
    /// The boot script.
    pub boot_script: String,
    /// The kernel's command line.
    pub command_line: String,
    /// The agent's profile; `None` for another runtime.
    pub agent_profile: Option<AgentProfile>,
    /// The template of secrets, with names in place of the operator's.
    pub secrets: String,
}

impl From<Rendered> for Preview {
    fn from(rendered: Rendered) -> Self {
        Self {
            boot_script: rendered.script,
            command_line: rendered.command_line,
            agent_profile: rendered.profile,
            secrets: rendered.shown_secrets,
        }
    }
}
