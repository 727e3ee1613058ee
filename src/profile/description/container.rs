//! A container of a `gateway.toml`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use super::file::base_name;
use super::problem::Placed;
use crate::profile::agent::Mount;
use crate::profile::agent::Network;
use crate::profile::agent::Restart;
use crate::profile::agent::Value;
use crate::profile::reference::ParseReferenceError;
use crate::profile::reference::Reference;

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    /// Its table.
    pub(super) span: Range<usize>,
    pub(super) name: Placed<String>,
    pub(super) image: Placed<Image>,
    pub(super) hold: Option<Placed<bool>>,
    pub(super) entrypoint: Option<Vec<Placed<String>>>,
    pub(super) command: Option<Vec<Placed<String>>>,
    pub(super) environment: BTreeMap<String, Placed<Value>>,
    pub(super) mounts: Vec<Placed<Mount>>,
    pub(super) privileged: bool,
    pub(super) network: Placed<Network>,
    pub(super) health: Option<Placed<String>>,
    pub(super) restart: Restart,
}

/// An image by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// As it is written.
    pub(super) text: String,
    pub(super) reference: Reference,
}

impl FromStr for Image {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { text: text.to_owned(), reference: text.parse()? })
    }
}

impl Image {
    /// The last part of the name: what a container is called that has no other name.
    pub(super) fn short_name(&self) -> &str {
        let path = match &self.reference {
            Reference::Registry(name) => &name.path,
            Reference::Layout(local) | Reference::Archive(local) => &local.path,
        };
        base_name(path)
    }

    /// The name for podman, with this digest if it is known. A tag beside a digest is not taken
    /// everywhere. `None` for an image of the folder.
    pub(super) fn pinned(&self, digest: Option<&str>) -> Option<String> {
        let Reference::Registry(name) = &self.reference else { return None };
        Some(match digest {
            Some(digest) => format!("{}/{}@{digest}", name.host, name.path),
            None => self.text.clone(),
        })
    }

    /// The file of the folder that it needs.
    pub(super) fn file(&self) -> Option<String> {
        match &self.reference {
            Reference::Registry(_) => None,
            Reference::Layout(local) => Some(format!("{}/index.json", local.path)),
            Reference::Archive(local) => Some(local.path.clone()),
        }
    }
}
