//! A gateway of a fleet folder with a `gateway.toml`: what is made from it. Reads the folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

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
use crate::images::HeldImage;
use crate::images::layout;
use crate::ipxe::script::Finding;
use crate::profile::description::Description;
use crate::profile::description::GATEWAY_TOML;
use crate::profile::description::Problem;
use crate::profile::description::Problems;
use crate::profile::description::Rendered;
use crate::profile::description::WantedImage;
use crate::publish::Beside;
use crate::publish::Resolved;
use crate::publish::Resolver;
use crate::store::blobs::Blobs;

/// The description of a gateway, with all that it depends on.
#[derive(Clone, Debug)]
pub(super) struct Made {
    source: Arc<SourceFile>,
    beside: Beside,
    /// Path of the operator's secrets in the folder, if it has some.
    secrets: Option<String>,
    /// Digests of its images, once they were asked for.
    resolved: Resolved,
}

/// Findings in a description or its secrets: the file, its text, and whether it is secret.
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
                faults.extend(errors(&source, problems));
                return Ok(None);
            }
        };
        let in_tree = |name: &str| match files.get(name) {
            Some(Content::InTree { path, .. }) => Some(path),
            _ => None,
        };
        let head = |name: &str, len: usize| {
            in_tree(name).map(|path| tree.head(path, len as u64)).transpose()
        };
        let sizes = files.iter().map(|(path, content)| (path.clone(), content.size().unwrap_or(0)));
        let beside = Beside::read(description, sizes.collect(), &head)?;
        let secrets = in_tree(SECRETS).cloned();
        let made = Self { source, beside, secrets, resolved: Resolved::default() };
        // Whether a boot host has secrets of its own is asked later: [`Self::findings`].
        let (rendered, problems) = made.render(true);
        let Some(rendered) = rendered else {
            faults.extend(errors(&made.source, problems.description));
            if let Some((path, text)) = made.secrets() {
                let text = String::from_utf8_lossy(text).into_owned();
                let file = SourceFile { path: path.to_owned(), text };
                faults.extend(errors(&file, problems.secrets).map(Fault::unseen));
            }
            return Ok(None);
        };
        for (path, download) in made.beside.description.downloads() {
            files.insert(path.to_owned(), Content::Download(download.clone()));
        }
        files.extend(contents(&rendered));
        Ok(Some(made))
    }

    fn render(&self, elsewhere: bool) -> (Option<Rendered>, Problems) {
        self.beside.render(elsewhere, &self.resolved.pins)
    }

    /// Asks what its images are, and puts the files that follow to the others. Returns what is not
    /// known, a line each.
    pub(super) fn resolve(
        &mut self,
        resolver: &Resolver,
        reach: Reach,
        tree: &Tree,
        files: &mut BTreeMap<String, Content>,
    ) -> Result<Vec<String>> {
        let (wanted, local) = (self.beside.wanted(), Local { tree, files });
        self.resolved = match reach {
            Reach::Needed => resolver.resolve(&wanted, &local)?,
            Reach::Wanted => resolver.resolve_what_can_be(&wanted, &local)?,
            Reach::Offline => Resolved::default(),
        };
        let (rendered, _) = self.render(true);
        files.extend(rendered.iter().flat_map(contents));
        let of_images = layout(&self.resolved.held)?.into_iter();
        files.extend(of_images.map(|(path, asset)| (path, Content::Image(asset))));
        let mut missing = self.resolved.missing.clone();
        if reach == Reach::Offline {
            let note = |image: WantedImage| format!("image not resolved: {}", image.text);
            missing.extend(self.beside.description.images().map(note));
        }
        Ok(missing)
    }

    /// Fetches the images that the boot host is to hold.
    pub(super) fn hold(
        &self,
        resolver: &Resolver,
        tree: &Tree,
        files: &BTreeMap<String, Content>,
        blobs: &Blobs,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let local = Local { tree, files };
        resolver.hold(&self.beside.wanted(), &self.resolved, &local, blobs, progress).map(drop)
    }

    /// Its images, as far as they are known.
    pub(super) fn images(&self) -> Vec<HeldImage> {
        self.resolved.all.iter().map(HeldImage::from).collect()
    }

    /// Findings in `gateway.toml` and `secrets`.
    pub(super) fn findings(&self, elsewhere: bool) -> Vec<Found<'_>> {
        let (_, problems) = self.render(elsewhere);
        let text = &self.source.text;
        let findings = Problem::findings(text, problems.description);
        let mut found = vec![(self.source.path.as_str(), text.as_bytes(), findings, false)];
        if let Some((path, text)) = self.secrets() {
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
        self.secrets.as_deref().zip(self.beside.secrets.as_deref())
    }
}

/// Problems that stop everything.
fn errors(source: &SourceFile, problems: Vec<Problem>) -> impl Iterator<Item = Fault> {
    let errors = problems.into_iter().filter(|problem| problem.severity.is_error());
    errors.map(|problem| {
        let what = format!("{} {}", problem.code.id, problem.what);
        Fault::at(source, problem.span, what, problem.help)
    })
}

fn contents(rendered: &Rendered) -> impl Iterator<Item = (String, Content)> {
    rendered.files().into_iter().map(|(path, bytes)| (path.to_owned(), made_of(bytes)))
}

fn made_of(bytes: Vec<u8>) -> Content {
    let sha256 = BlobId::of_digest(Sha256::digest(&bytes).into());
    let asset = Asset { sha256, size: bytes.len() as u64 };
    Content::Made { bytes: bytes.into(), asset }
}

/// The need for answers of registries about images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// An image that cannot be resolved is an error.
    Needed,
    /// Registries that cannot be asked now are left out.
    Wanted,
    /// Nobody is asked.
    Offline,
}

/// The files of a gateway, by their paths there.
struct Local<'a> {
    tree: &'a Tree,
    files: &'a BTreeMap<String, Content>,
}

impl Files for Local<'_> {
    fn open(&self, path: &str) -> io::Result<File> {
        let Some(Content::InTree { path, .. }) = self.files.get(path) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.tree.open_listed(path).map(cap_std::fs::File::into_std).map_err(io::Error::other)
    }
}
