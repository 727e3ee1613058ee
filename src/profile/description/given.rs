//! Input and output of rendering a [`Description`](super::Description).

use std::collections::BTreeMap;

use super::container::Image;
use super::problem::Problem;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::SECRETS;
use crate::profile::agent::AGENT_PROFILE;
use crate::profile::agent::AgentProfile;

/// The surroundings of a `gateway.toml`.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The files of the folder, and their sizes.
    pub files: &'a BTreeMap<String, u64>,
    /// The operator's secrets.
    pub template: Template<'a>,
    /// The text files that [`Description::texts`](super::Description::texts) names.
    pub texts: &'a BTreeMap<String, String>,
    /// Digests of images that were resolved, by their references.
    pub pins: &'a BTreeMap<String, String>,
}

impl Given<'_> {
    /// The digest of an image, if it is known.
    pub(super) fn digest(&self, image: &Image) -> Option<String> {
        let written = || image.reference.digest().map(|digest| digest.to_string());
        self.pins.get(&image.text).cloned().or_else(written)
    }
}

/// The operator's secrets of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template<'a> {
    /// The file `secrets` of the folder, or none.
    InFolder(Option<&'a [u8]>),
    /// Only the boot host has it (`[secrets] dir`).
    Elsewhere,
}

/// The files that a `gateway.toml` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The boot script.
    pub script: String,
    /// The command line of the kernel, before iPXE fills in its settings.
    pub command_line: String,
    /// The agent's profile; `None` for another runtime.
    pub profile: Option<AgentProfile>,
    /// The template of secrets. It holds the operator's.
    pub secrets: String,
    /// The same for people: names in place of the operator's secrets.
    pub shown_secrets: String,
}

/// Problems of a description together with what lies beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// In `gateway.toml`.
    pub description: Vec<Problem>,
    /// In `secrets`.
    pub secrets: Vec<Problem>,
}

impl Problems {
    pub(super) fn has_error(&self) -> bool {
        self.description.iter().chain(&self.secrets).any(|problem| problem.severity.is_error())
    }
}

impl Rendered {
    /// The files that it adds to the folder's own, by path.
    pub fn files(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let mut files = BTreeMap::from([(BOOT_SCRIPT, self.script.clone().into_bytes())]);
        // Without a line there is nothing to lease.
        if !self.secrets.is_empty() {
            files.insert(SECRETS, self.secrets.clone().into_bytes());
        }
        // A map with keys of text can always be written.
        let json =
            self.profile.as_ref().and_then(|profile| serde_json::to_vec_pretty(profile).ok());
        files.extend(json.map(|json| (AGENT_PROFILE, json)));
        files
    }
}
