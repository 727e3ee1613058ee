//! A `gateway.toml` with all that lies beside it, of a folder or of a gateway of a fleet folder. Reads
//! files as its caller does.

use std::collections::BTreeMap;

use anyhow::Result;

use super::finding::MAX_TEMPLATE;
use super::pins::Wanted;
use crate::fleet::SECRETS;
use crate::profile::description::Description;
use crate::profile::description::Given;
use crate::profile::description::MAX_TEXT;
use crate::profile::description::Problems;
use crate::profile::description::Rendered;
use crate::profile::description::Template;

/// A description, and the files that it depends on.
#[derive(Clone, Debug)]
pub struct Beside {
    pub description: Description,
    /// Files and their sizes; 0 for those that are not here yet.
    files: BTreeMap<String, u64>,
    texts: BTreeMap<String, String>,
    /// The operator's secrets, if there are some.
    pub secrets: Option<Vec<u8>>,
}

/// Gives the first bytes of a file, at most so many; `None` if there is no such file.
type Head<'a> = &'a dyn Fn(&str, usize) -> Result<Option<Vec<u8>>>;

impl Beside {
    /// Reads what a description needs.
    pub fn read(
        description: Description,
        files: BTreeMap<String, u64>,
        head: Head<'_>,
    ) -> Result<Self> {
        let mut texts = BTreeMap::new();
        for path in description.texts() {
            // One more, so that a longer one is seen to be.
            let Some(text) = head(path, MAX_TEXT + 1)? else { continue };
            texts.insert(path.to_owned(), String::from_utf8_lossy(&text).into_owned());
        }
        let secrets = head(SECRETS, MAX_TEMPLATE + 1)?;
        Ok(Self { description, files, texts, secrets })
    }

    /// Makes files of it. `elsewhere` says that only the boot host has the secrets, unless there are
    /// some here. `pins` are the digests of images that were resolved.
    pub fn render(
        &self,
        elsewhere: bool,
        pins: &BTreeMap<String, String>,
    ) -> (Option<Rendered>, Problems) {
        let Self { description, files, texts, secrets } = self;
        let template = match secrets {
            None if elsewhere => Template::Elsewhere,
            secrets => Template::InFolder(secrets.as_deref()),
        };
        description.render(&Given { files, template, texts, pins })
    }

    /// Its images, and how to speak to their registries.
    pub fn wanted(&self) -> Wanted {
        Wanted::of(&self.description, &self.texts, self.secrets.as_deref())
    }
}
