//! The images of a boot: from the boot host where it holds them, else from their registry, onto the
//! drive.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::console::say;
use super::host::Host;
use super::http::Client;
use super::http::Trust;
use super::images::Error as ImageError;
use super::images::Ready;
use super::images::Remote;
use super::images::Rootfs;
use super::images::Source;
use super::images::Store;
use super::images::Wanted;
use super::progress::expect_within;
use super::report::Reporter;
use super::secrets::Secrets;
use crate::profile::agent::AgentProfile;
use crate::profile::agent::Container;
use crate::profile::distribution::Credentials;
use crate::profile::reference::Digest;
use crate::profile::reference::Reference;
use crate::profile::reference::RegistryReference;
use crate::profile::report::Step;

/// An image may bring nothing for so long before the boot is overdue.
pub const SILENT: Duration = Duration::from_secs(30 * 60);
/// Registries send to a store of their own.
const REDIRECTS: usize = 5;

/// The sources of images, and those who are told of them.
pub struct Puller<'a> {
    pub host: &'a Host,
    pub secrets: &'a Secrets,
    pub reporter: &'a Reporter,
}

/// The images that this boot runs, in the store.
pub struct Images {
    store: Store,
    digests: Vec<Digest>,
}

/// An image that could not be made ready.
pub struct Error {
    pub what: String,
    /// True if memory in place of the drive may help.
    pub is_of_drive: bool,
}

impl From<String> for Error {
    fn from(what: String) -> Self {
        Self { what, is_of_drive: false }
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self { what: error.to_string(), is_of_drive: error.is_of_drive() }
    }
}

impl Images {
    /// Says that these images work, and removes those that no generation needs any more.
    pub fn acknowledged(&self) {
        let collected = self.store.acknowledged(&self.digests).and_then(|()| self.store.collect());
        match collected {
            Ok(collected) if collected.layers > 0 => {
                let (layers, bytes) = (collected.layers, collected.bytes);
                say(&format!("{layers} layers that nothing needs are removed, {bytes} bytes"));
            }
            Ok(_) => {}
            Err(error) => say(&format!("images are not collected: {error}")),
        }
    }
}

/// Makes the image of each container ready in the store at `root`, and mounts its root.
pub fn all(
    puller: &Puller<'_>,
    profile: &AgentProfile,
    root: &Path,
) -> Result<(Images, Vec<(Ready, Rootfs)>), Error> {
    let store = Store::open(root)?;
    let digests: Vec<Digest> = profile.containers.iter().map(digest).collect::<Result<_, _>>()?;
    store.keep(&digests)?;
    let mut ready = Vec::new();
    for (container, digest) in profile.containers.iter().zip(&digests) {
        expect_within(SILENT);
        let reference = container.image.reference.clone();
        say(&format!("{reference} is made ready"));
        let source = source(puller, profile, container)?;
        let wanted = Wanted { reference: reference.clone(), digest: *digest };
        let image = store.ensure(&wanted, &source, &|_| expect_within(SILENT))?;
        let (fetched, reused, digest) = (image.fetched, image.reused, digest.to_string());
        puller.reporter.tell(Step::Image { reference, digest, fetched, reused });
        let root = store.mount(&image, &container.name)?;
        ready.push((image, root));
    }
    Ok((Images { store, digests }, ready))
}

fn digest(container: &Container) -> Result<Digest, String> {
    let image = &container.image;
    let named = |why: &dyn Display| format!("{}: {why}", image.reference);
    let digest = image.digest.as_deref().ok_or_else(|| named(&"it was not resolved"))?;
    digest.parse().map_err(|error| named(&error))
}

fn source(
    puller: &Puller<'_>,
    profile: &AgentProfile,
    container: &Container,
) -> Result<impl Source + use<>, String> {
    let image = &container.image;
    let named = |why: &dyn Display| format!("{}: {why}", image.reference);
    let reference: Reference = image.reference.parse().map_err(|error| named(&error))?;
    if image.held {
        let host = puller.host;
        let repository = reference.repository();
        return Ok(Remote::boot_host(host.client.clone(), host.url(), host.token(), &repository));
    }
    let Reference::Registry(reference) = reference else {
        return Err(named(&"it is of no registry, and the boot host does not hold it"));
    };
    registry(puller, profile, &reference).map_err(|error| named(&error))
}

fn registry(
    puller: &Puller<'_>,
    profile: &AgentProfile,
    reference: &RegistryReference,
) -> io::Result<Remote> {
    let described = profile.registries.get(&reference.host);
    let trust = match described.and_then(|registry| registry.ca.as_ref()) {
        Some(pem) => {
            let all = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
            Trust::Only(all.map_err(io::Error::other)?)
        }
        None => Trust::Public,
    };
    let line = described.and_then(|registry| registry.credentials.as_ref());
    let credentials = match line {
        Some(line) => {
            let missing = || io::Error::other(format!("the boot's secrets have no line {line}"));
            let text = puller.secrets.get(line).ok_or_else(missing)?;
            let malformed = |error| io::Error::other(format!("line {line}: {error}"));
            Some(text.parse::<Credentials>().map_err(malformed)?)
        }
        None => None,
    };
    Ok(Remote::registry(Client::new(trust, REDIRECTS)?, reference, credentials))
}
