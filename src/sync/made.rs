//! A gateway of a fleet folder with a `gateway.toml`: what is made from it. Reads the folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use anyhow::Result;
use sha2::Digest;
use sha2::Sha256;

use super::content::Content;
use super::fault::Fault;
use super::fault::SourceFile;
use super::tree::Tree;
use crate::fleet::Asset;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::BlobId;
use crate::fleet::SECRETS;
use crate::images::Files;
use crate::ipxe::script::Finding;
use crate::profile::description::Description;
use crate::profile::description::GATEWAY_TOML;
use crate::profile::description::Given;
use crate::profile::description::MAX_TEXT;
use crate::profile::description::Problem;
use crate::profile::description::Problems;
use crate::profile::description::Rendered;
use crate::profile::description::Template;
use crate::publish::FoundImages;
use crate::publish::ImageFinder;
use crate::publish::MAX_TEMPLATE;
use crate::publish::WantedImages;
use crate::store::blobs::Blobs;

/// The description of a gateway, with all that it depends on.
#[derive(Clone, Debug)]
pub(super) struct Made {
    source: Arc<SourceFile>,
    description: Description,
    /// Files of the gateway and their sizes; 0 for those that are not here yet.
    files: BTreeMap<String, u64>,
    texts: BTreeMap<String, String>,
    /// The operator's secrets and their path in the folder, if it has some.
    secrets: Option<(String, Vec<u8>)>,
    images: WantedImages,
    /// Files that are images: their paths in the folder, by those of the gateway.
    sources: BTreeMap<String, String>,
    /// What its images are, once that was looked up.
    found: FoundImages,
}

/// The files that are images.
struct Sources<'a> {
    tree: &'a Tree,
    paths: &'a BTreeMap<String, String>,
}

impl Files for Sources<'_> {
    fn open(&self, path: &str) -> io::Result<File> {
        let place = self.paths.get(path).ok_or(io::ErrorKind::NotFound)?;
        let file = self.tree.open_listed(place).map_err(io::Error::other)?;
        Ok(file.into_std())
    }
}

/// Findings about a description and its secrets: the file, its text, and whether it is secret.
pub(super) type Found<'a> = (&'a str, &'a [u8], Vec<Finding>, bool);

impl Made {
    /// Makes files from the `gateway.toml` among `files`, if it is there, and puts them to the others.
    pub(super) fn new(
        tree: &Tree,
        files: &mut BTreeMap<String, Content>,
        faults: &mut Vec<Fault>,
    ) -> Result<Option<Self>> {
        let Some(Content::InTree { path, .. }) = files.get(GATEWAY_TOML) else { return Ok(None) };
        let Some(source) = tree.text(path, faults)? else { return Ok(None) };
        let description = match Description::parse(&source.text) {
            Ok(description) => description,
            Err(problems) => {
                faults.extend(problems.into_iter().map(|problem| fault(&source, problem)));
                return Ok(None);
            }
        };
        let mut texts = BTreeMap::new();
        for name in description.texts() {
            let Some(Content::InTree { path, .. }) = files.get(name) else { continue };
            let text = tree.head(path, MAX_TEXT as u64)?;
            texts.insert(name.to_owned(), String::from_utf8_lossy(&text).into_owned());
        }
        let secrets = match files.get(SECRETS) {
            Some(Content::InTree { path, .. }) => {
                Some((path.clone(), tree.head(path, MAX_TEMPLATE as u64 + 1)?))
            }
            _ => None,
        };
        let sizes = files.iter().map(|(path, content)| (path.clone(), content.size().unwrap_or(0)));
        let template = secrets.as_ref().map(|(_, text)| text.as_slice());
        let images = WantedImages::new(&description, template, &texts)
            .with_context(|| source.path.clone())?;
        let sources = files.iter().filter_map(|(path, content)| match content {
            Content::InTree { path: place, .. } if images.is_source(path) => {
                Some((path.clone(), place.clone()))
            }
            _ => None,
        });
        let sources = sources.collect();
        let (files_then, found) = (sizes.collect(), FoundImages::default());
        let made =
            Self { source, files: files_then, texts, secrets, description, images, sources, found };
        // Whether a boot host has secrets of its own is asked later: [`Self::findings`].
        let (rendered, problems) = made.render(true, &BTreeMap::new());
        let Some(rendered) = rendered else {
            let source = |problem| fault(&made.source, problem);
            let errors =
                problems.description.into_iter().filter(|problem| problem.severity.is_error());
            faults.extend(errors.map(source));
            if let Some((path, text)) = &made.secrets {
                let text = String::from_utf8_lossy(text).into_owned();
                let file = SourceFile { path: path.clone(), text };
                faults.extend(
                    problems.secrets.into_iter().map(|problem| fault(&file, problem).unseen()),
                );
            }
            return Ok(None);
        };
        for (path, download) in made.description.downloads() {
            files.insert(path.to_owned(), Content::Download(download.clone()));
        }
        files.extend(contents(&rendered));
        files.retain(|path, _| !made.images.is_source(path));
        Ok(Some(made))
    }

    fn render(
        &self,
        elsewhere: bool,
        pins: &BTreeMap<String, String>,
    ) -> (Option<Rendered>, Problems) {
        let template = match &self.secrets {
            None if elsewhere => Template::Elsewhere,
            secrets => Template::InFolder(secrets.as_ref().map(|(_, text)| text.as_slice())),
        };
        let Self { files, texts, .. } = self;
        self.description.render(&Given { files, template, texts, pins })
    }

    /// Looks up the images and renders with their digests.
    pub(super) fn find_images(
        &mut self,
        tree: &Tree,
        files: &mut BTreeMap<String, Content>,
        finder: &mut ImageFinder,
    ) -> Result<()> {
        let found = finder.find(&self.images, &Sources { tree, paths: &self.sources })?;
        if let (Some(rendered), _) = self.render(true, &found.pins) {
            files.extend(contents(&rendered));
        }
        files.extend(found.files()?.into_iter().map(|(path, asset)| (path, Content::Image(asset))));
        self.found = found;
        Ok(())
    }

    /// Fetches what is not here of its images.
    pub(super) fn hold_images(
        &self,
        tree: &Tree,
        finder: &mut ImageFinder,
        blobs: &Blobs,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let sources = Sources { tree, paths: &self.sources };
        finder.hold(&self.images, &self.found, &sources, blobs, progress).map(drop)
    }

    /// Findings in `gateway.toml` and `secrets`.
    pub(super) fn findings(&self, elsewhere: bool) -> Vec<Found<'_>> {
        let (_, problems) = self.render(elsewhere, &BTreeMap::new());
        let text = &self.source.text;
        let findings = Problem::findings(text, problems.description);
        let mut found = vec![(self.source.path.as_str(), text.as_bytes(), findings, false)];
        if let Some((path, text)) = &self.secrets {
            let lossy = String::from_utf8_lossy(text);
            let findings = Problem::findings(&lossy, problems.secrets);
            found.push((path, text, findings, true));
        }
        found
    }

    /// The path of the boot script, as if it were in the folder.
    pub(super) fn script(&self) -> String {
        self.source.path.replace(GATEWAY_TOML, BOOT_SCRIPT)
    }

    /// The operator's template of secrets: its path and text.
    pub(super) fn secrets(&self) -> Option<(&str, &[u8])> {
        self.secrets.as_ref().map(|(path, text)| (path.as_str(), text.as_slice()))
    }
}

fn fault(source: &SourceFile, problem: Problem) -> Fault {
    let what = format!("{} {}", problem.code.id, problem.what);
    Fault::at(source, problem.span, what, problem.help)
}

fn contents(rendered: &Rendered) -> impl Iterator<Item = (String, Content)> {
    rendered.files().into_iter().map(|(path, bytes)| {
        let sha256 = BlobId::of_digest(Sha256::digest(&bytes).into());
        let asset = Asset { sha256, size: bytes.len() as u64 };
        (path.to_owned(), Content::Made { bytes: bytes.into(), asset })
    })
}
