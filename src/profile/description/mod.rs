//! `gateway.toml`: what a gateway runs. Text in; boot script, kernel command line, agent profile,
//! template of secrets and problems out. Pure.
//!
//! [`Description::parse`] looks at the text alone, [`Description::render`] also at the files beside
//! it. docs/gateway-toml.md lists the keys.

mod boot2container;
mod command_line;
mod container;
mod file;
mod given;
mod problem;
mod raw;
mod read;
mod render;
mod secrets;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::command_line::CommandLine;
use self::container::Container;
use self::file::File;
use self::problem::Placed;
use self::secrets::Secrets;
use super::agent;
use super::agent::AGENT_PROFILE;
use super::agent::Cache;
use super::agent::IMAGES;
use super::agent::Volume;
use super::download::Download;
use super::reference::Reference;
use crate::fleet::BOOT_SCRIPT;

pub use self::given::Given;
pub use self::given::Problems;
pub use self::given::Rendered;
pub use self::given::Template;
pub use self::problem::Problem;
pub use self::secrets::own_lines;

/// The file, in place of a `boot.ipxe`.
pub const GATEWAY_TOML: &str = "gateway.toml";

/// Longest `gateway.toml`, in bytes.
pub const MAX_LEN: usize = 256 * 1024;

/// Longest text file that it names, in bytes: certificates. A longer one is an error.
pub const MAX_TEXT: usize = 256 * 1024;

/// Content of a file, without anything that its text alone shows to be wrong.
#[derive(Clone, Debug)]
pub struct Description {
    runtime: Runtime,
    kernel: Placed<File>,
    initramfs: Placed<File>,
    modules: Option<Placed<File>>,
    command_line: CommandLine,
    cache: Placed<Cache>,
    /// True if the file has no `[cache]`.
    cache_is_default: bool,
    ntp: Option<String>,
    registries: BTreeMap<String, Registry>,
    volumes: BTreeMap<String, Placed<Volume>>,
    containers: Vec<Container>,
    /// Findings that stop nothing.
    warnings: Vec<Problem>,
}

/// The program that starts the containers.
#[derive(Clone, Debug)]
enum Runtime {
    Agent,
    Boot2container(boot2container::Settings),
}

/// An image that a description names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedImage {
    /// As it is written.
    pub text: String,
    pub reference: Reference,
    /// True if the boot host is to keep its layers.
    pub hold: bool,
}

/// A registry of the description.
#[derive(Clone, Debug)]
struct Registry {
    /// File of the folder.
    ca: Option<Placed<String>>,
    /// Name of a secret.
    credentials: Option<Placed<String>>,
}

/// True for files of a generation that are made from its `gateway.toml` alone.
pub fn is_made(path: &str) -> bool {
    let below = path.strip_prefix(IMAGES).is_some_and(|rest| rest.starts_with('/'));
    path == BOOT_SCRIPT || path == AGENT_PROFILE || below
}

impl Description {
    /// Files that come from URLs, by their paths in the generation.
    pub fn downloads(&self) -> impl Iterator<Item = (&str, &Download)> {
        let files = [&self.kernel, &self.initramfs].into_iter().chain(&self.modules);
        files.filter_map(|file| file.value.download())
    }

    /// Text files of the folder that [`Given::texts`] must have.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.registries.values().filter_map(|registry| Some(registry.ca.as_ref()?.value.as_str()))
    }

    /// Findings of its text alone that stop nothing.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The images that are to be pinned.
    pub fn images(&self) -> impl Iterator<Item = WantedImage> {
        let of_containers =
            self.containers.iter().map(|container| (&container.image.value, self.holds(container)));
        let acknowledges = match &self.runtime {
            Runtime::Agent => None,
            Runtime::Boot2container(settings) => settings.acknowledge.as_ref(),
        };
        let all = of_containers.chain(acknowledges.map(|image| (&image.value, false)));
        all.map(|(image, hold)| WantedImage {
            text: image.text.clone(),
            reference: image.reference.clone(),
            hold,
        })
    }

    /// Access to registries: `texts` are the text files beside the description, `secrets` the
    /// operator's secrets.
    pub fn registries(
        &self,
        texts: &BTreeMap<String, String>,
        secrets: Option<&[u8]>,
    ) -> BTreeMap<String, agent::Registry> {
        let (secrets, _) = Secrets::parse(secrets.unwrap_or_default());
        let registries = self.registries.iter().map(|(host, registry)| {
            let ca = registry.ca.as_ref().and_then(|path| texts.get(&path.value).cloned());
            let line = registry
                .credentials
                .as_ref()
                .and_then(|name| secrets.lines.get(name.value.as_str()));
            let credentials = line.map(|line| secrets::as_leased(line));
            (host.clone(), agent::Registry { ca, credentials })
        });
        registries.collect()
    }

    /// The runtime's name, as the file has it.
    pub fn runtime(&self) -> &'static str {
        match self.runtime {
            Runtime::Agent => raw::AGENT,
            Runtime::Boot2container(_) => raw::BOOT2CONTAINER,
        }
    }

    /// Only the agent pulls from the boot host.
    fn holds(&self, container: &Container) -> bool {
        matches!(self.runtime, Runtime::Agent)
            && container.hold.as_ref().is_none_or(|hold| hold.value)
    }
}
