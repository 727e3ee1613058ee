//! The images of a boot: what the distribution specification calls pulling. Reads the store.

use super::App;
use super::Content;
use super::boot_token::RunningBoot;
use super::error::Error;
use super::error::Reach;
use super::error::Result;
use super::files::LONGEST_RANGE;
use crate::fleet::Asset;
use crate::foreign::Foreign;
use crate::profile::agent::IMAGE_INDEX;
use crate::profile::agent::image_blob;
use crate::profile::oci::Descriptor;
use crate::profile::oci::Index;
use crate::profile::oci::MAX_DOCUMENT;
use crate::profile::reference::Digest;
use crate::profile::reference::Reference;
use crate::server::recorder::Subject;
use crate::store::blobs::Access;
use crate::store::journal::Stage;

/// A request for something of an image.
pub(in crate::server) struct ImageWish<'a> {
    pub(in crate::server) part: ImagePart<'a>,
    pub(in crate::server) method: &'a str,
    pub(in crate::server) range: Option<&'a str>,
    /// Address of the client; a label that decides nothing.
    pub(in crate::server) address: &'a str,
    pub(in crate::server) behind_nginx: bool,
}

/// A part of a repository, or the question whether the token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum ImagePart<'a> {
    /// `GET /v2/`.
    Nothing,
    /// The tags of a repository.
    Tags { name: &'a str },
    /// A manifest by its tag or digest.
    Manifest { name: &'a str, reference: &'a str },
    /// A manifest, configuration or layer by its digest.
    Blob { name: &'a str, digest: Digest },
}

/// An answer.
pub(in crate::server) enum Image {
    /// The token is good.
    Welcome,
    /// The tags of a repository.
    Tags {
        name: String,
        tags: Vec<String>,
    },
    /// A manifest.
    Manifest {
        bytes: Vec<u8>,
        media_type: String,
        digest: Digest,
    },
    /// The path within the generation, and the file.
    Blob {
        path: String,
        content: Content,
    },
    /// The boot's generation has no such thing.
    UnknownName,
    UnknownManifest,
    UnknownBlob,
}

impl App {
    /// Something of the images that belong to the boot of `token`, and to no other. Names are looked
    /// up in the index of the generation's images and never become part of a file name.
    pub(in crate::server) fn image(
        &self,
        token: &str,
        wish: &ImageWish<'_>,
        reach: Reach,
    ) -> Result<Image> {
        let boot = self.recent_boot_of(token, reach)?;
        let (name, found) = match wish.part {
            ImagePart::Nothing => return Ok(Image::Welcome),
            ImagePart::Tags { name }
            | ImagePart::Manifest { name, .. }
            | ImagePart::Blob { name, .. } => (name, self.repository(&boot, name, reach)?),
        };
        if found.is_empty() {
            return Ok(Image::UnknownName);
        }
        let (path, image) = match wish.part {
            ImagePart::Nothing => return Ok(Image::Welcome),
            ImagePart::Tags { .. } => {
                let mut tags: Vec<_> = found.into_iter().map(|(tag, _)| tag).collect();
                tags.sort();
                tags.dedup();
                return Ok(Image::Tags { name: name.to_owned(), tags });
            }
            ImagePart::Manifest { reference, .. } => {
                let digest = reference.parse::<Digest>().ok();
                let is_it = |(tag, image): &(String, Descriptor)| {
                    digest.map_or(tag == reference, |digest| image.digest == digest)
                };
                let Some((_, image)) = found.into_iter().find(is_it) else {
                    return Ok(Image::UnknownManifest);
                };
                let path = image_blob(image.digest);
                let Some(asset) = boot.generation.asset(&path) else {
                    return Ok(Image::UnknownManifest);
                };
                let bytes = self.small(&boot, &path, asset, reach)?;
                let Descriptor { media_type, digest, .. } = image;
                (path, Image::Manifest { bytes, media_type, digest })
            }
            ImagePart::Blob { digest, .. } => {
                let path = image_blob(digest);
                let Some(asset) = boot.generation.asset(&path) else {
                    return Ok(Image::UnknownBlob);
                };
                self.ensure_local(asset, Access::Public, reach)?;
                let (subject, nginx) = (subject(&boot, wish.address), wish.behind_nginx);
                let content = self.blob(&path, asset, subject, nginx, reach)?;
                let content = content.map_err(|fault| self.unreadable(&boot, &path, &fault))?;
                (path.clone(), Image::Blob { path, content })
            }
        };
        tracing::info!(
            gateway = %boot.gateway.name,
            generation = boot.generation.number,
            method = wish.method,
            name,
            path,
            range = wish.range.map(|range| Foreign::shorter(range, LONGEST_RANGE).to_string()),
            "image"
        );
        Ok(image)
    }

    /// Tags and manifests of a repository. None if the boot has no images of this name.
    fn repository(
        &self,
        boot: &RunningBoot,
        name: &str,
        reach: Reach,
    ) -> Result<Vec<(String, Descriptor)>> {
        let Some(asset) = boot.generation.asset(IMAGE_INDEX) else { return Ok(Vec::new()) };
        let bytes = self.small(boot, IMAGE_INDEX, asset, reach)?;
        let index: Index = serde_json::from_slice(&bytes).map_err(|error| {
            let (gateway, number) = (&boot.gateway.name, boot.generation.number);
            Error::Internal(anyhow::anyhow!(
                "gateway {gateway}: {IMAGE_INDEX} of generation {number}: {error}"
            ))
        })?;
        let tag = |image: &Descriptor| {
            let reference: Reference = image.ref_name()?.parse().ok()?;
            (reference.repository() == name).then(|| reference.tag())
        };
        let images = index.manifests.into_iter();
        Ok(images.filter_map(|image| tag(&image).map(|tag| (tag, image))).collect())
    }

    /// A small file of a boot's generation, verified.
    fn small(
        &self,
        boot: &RunningBoot,
        path: &str,
        asset: &Asset,
        reach: Reach,
    ) -> Result<Vec<u8>> {
        self.ensure_local(asset, Access::Public, reach)?;
        reach.disk()?;
        if asset.size > MAX_DOCUMENT {
            return Err(Error::Internal(anyhow::anyhow!("{path} is no manifest: it is too long")));
        }
        let blobs = self.generations.blobs_of(Access::Public);
        blobs.read(asset).map_err(|fault| self.unreadable(boot, path, &fault))
    }

    fn unreadable(
        &self,
        boot: &RunningBoot,
        path: &str,
        fault: &crate::store::blobs::Fault,
    ) -> Error {
        let (name, number) = (&boot.gateway.name, boot.generation.number);
        let error = format!("{path} of generation {number}: {fault}");
        let stage = Stage::Error { error: error.as_str().into() };
        self.recorder.record(subject(boot, ""), stage);
        Error::Internal(anyhow::anyhow!(
            "gateway {name}: {error}; publish its folder again to repair it"
        ))
    }
}

fn subject(boot: &RunningBoot, address: &str) -> Subject {
    let (gateway_id, address) = (boot.gateway.id.clone(), address.to_owned());
    Subject { gateway_id, boot: Some(boot.boot), address }
}
