//! References to container images, as `gateway.toml` has them. Pure.
//!
//! The grammar of names is that of docker and podman
//! (<https://github.com/distribution/reference/blob/v0.6.0/reference.go>), with two differences: a
//! name begins with its registry, and the only algorithm of digests is SHA-256.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::foreign::Foreign;

/// Longest name of a repository with its registry.
const MAX_NAME: usize = 255;

/// Longest tag.
const MAX_TAG: usize = 128;

/// Longest reference that is looked at.
const MAX_REFERENCE: usize = 1024;

/// The tag of a reference that names neither a tag nor a digest.
const DEFAULT_TAG: &str = "latest";

/// A reference to an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// An image of a registry.
    Registry(RegistryReference),
    /// An image of an OCI image layout in the folder: `oci:PATH[:TAG]`.
    Layout(LocalReference),
    /// An image of a `docker save` archive in the folder: `docker-archive:PATH[:NAME:TAG]`.
    Archive(LocalReference),
}

/// An image of a registry: `HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryReference {
    /// Host name or IPv4 address, and the port if there is one.
    pub host: String,
    /// Path of the repository in the registry.
    pub path: String,
    /// The tag, if there is one.
    pub tag: Option<String>,
    /// The digest, if there is one. It wins over the tag.
    pub digest: Option<Digest>,
}

impl RegistryReference {
    /// The tag to resolve: `latest` if the reference has neither a tag nor a digest.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }
}

/// An image of a file or directory in the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalReference {
    /// Path within the folder, without `.` or `..`.
    pub path: String,
    /// Name of the image; the only one where this is absent.
    pub image: Option<String>,
}

/// Digest of a manifest, a configuration or a layer: `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Sha256::new_with_prefix(bytes).into()
    }

    /// Reads [`Digest::hex`], by which files are named.
    pub fn from_hex(text: &str) -> Option<Self> {
        format!("sha256:{text}").parse().ok()
    }

    /// The digest with this SHA-256.
    pub fn of_sha256(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The SHA-256.
    pub fn sha256(&self) -> [u8; 32] {
        self.0
    }

    /// The digits after `sha256:`.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first digits with the algorithm, for people.
    pub fn short(&self) -> String {
        format!("sha256:{}", &self.hex()[..12])
    }
}

/// The digest of what was hashed.
impl From<Sha256> for Digest {
    fn from(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a digest that farmgate takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a digest: sha256: and 64 lower-case hex digits")]
pub struct ParseDigestError(Foreign);

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        match text.strip_prefix("sha256:").filter(|digits| digits.bytes().all(lower)) {
            Some(digits) if hex::decode_to_slice(digits, &mut bytes).is_ok() => Ok(Self(bytes)),
            _ => Err(ParseDigestError(Foreign::shorter(text, 80))),
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A reason why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    #[error("a reference to an image is needed, such as registry.example.org/farm/gateway:v12")]
    Empty,
    #[error("a reference to an image has at most {MAX_REFERENCE} characters")]
    TooLong,
    #[error("\"{written}\" does not name its registry; write \"{full}\" if that is meant")]
    NoRegistry { written: Foreign, full: Foreign },
    #[error("\"{0}\" does not name its registry, such as registry.example.org/farm/gateway:v12")]
    NoHost(Foreign),
    #[error("\"{0}\" is not the name of a registry: a host name or IPv4 address, and a port")]
    BadHost(Foreign),
    #[error(
        "\"{0}\" is not the path of a repository: lower-case letters and digits, with . _ __ or \
         hyphens between them"
    )]
    BadPath(Foreign),
    #[error("the name of a repository with its registry has at most {MAX_NAME} characters")]
    LongName,
    #[error(
        "\"{0}\" is not a tag: letters, digits, _ . and -, at most {MAX_TAG}, not beginning with . \
         or -"
    )]
    BadTag(Foreign),
    #[error("{0}")]
    BadDigest(#[from] ParseDigestError),
    #[error("\"{0}\" is not a path within the folder: relative, and without . .. or a colon")]
    BadFile(Foreign),
    #[error("\"{0}\" is no kind of source; write the registry, or oci:PATH or docker-archive:PATH")]
    BadScheme(Foreign),
}

impl Reference {
    /// The repository's name in addresses below `/v2/` on the boot host. A colon is not allowed
    /// there, so `host:5000` becomes `host_5000`, which is no host name. Names of images in the
    /// folder begin with a part without a dot, which is no registry.
    pub fn repository(&self) -> String {
        match self {
            Self::Registry(name) => {
                format!("{}/{}", name.host.to_ascii_lowercase().replace(':', "_"), name.path)
            }
            Self::Layout(local) => format!("oci/{}", plain_path(&local.path)),
            Self::Archive(local) => format!("docker-archive/{}", plain_path(&local.path)),
        }
    }

    /// The tag by which the boot host serves the image.
    pub fn tag(&self) -> String {
        let tag = match self {
            Self::Registry(name) => Some(name.tag_or_latest()),
            Self::Layout(local) => local.image.as_deref(),
            Self::Archive(local) => local.image.as_deref().map(|image| split_tag(image).1),
        };
        tag.unwrap_or(DEFAULT_TAG).to_owned()
    }

    /// The digest that the reference itself names.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Registry(name) => name.digest,
            Self::Layout(_) | Self::Archive(_) => None,
        }
    }

    /// The registry's host and port, as `[registry."HOST"]` names it.
    pub fn registry(&self) -> Option<&str> {
        match self {
            Self::Registry(name) => Some(&name.host),
            Self::Layout(_) | Self::Archive(_) => None,
        }
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseReferenceError::Empty);
        }
        if text.len() > MAX_REFERENCE {
            return Err(ParseReferenceError::TooLong);
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let local = local(rest)?;
            if let Some(tag) = &local.image {
                ensure_tag(tag)?;
            }
            return Ok(Self::Layout(local));
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let local = local(rest)?;
            if let Some(image) = &local.image {
                let (name, tag) = split_tag(image);
                ensure_path(name)?;
                ensure_tag(tag)?;
            }
            return Ok(Self::Archive(local));
        }
        // Addresses, and the names of sources that skopeo and boot2container know.
        let schemes = ["docker", "http", "https", "containers-storage", "docker-daemon", "dir"];
        let scheme = text.split_once(':').map(|(scheme, _)| scheme);
        if let Some(scheme) = scheme.filter(|scheme| schemes.contains(scheme))
            && (text[scheme.len()..].starts_with("://") || !scheme.starts_with("docker"))
        {
            return Err(ParseReferenceError::BadScheme(format!("{scheme}:").into()));
        }
        registry(text).map(Self::Registry)
    }
}

fn registry(text: &str) -> Result<RegistryReference, ParseReferenceError> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse()?)),
        None => (text, None),
    };
    let Some((host, rest)) = name.split_once('/').filter(|(host, _)| is_registry(host)) else {
        return Err(without_registry(text, name));
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    if !is_host_and_port(host) {
        return Err(ParseReferenceError::BadHost(host.into()));
    }
    ensure_path(path)?;
    if host.len() + 1 + path.len() > MAX_NAME {
        return Err(ParseReferenceError::LongName);
    }
    if let Some(tag) = tag {
        ensure_tag(tag)?;
    }
    let tag = tag.map(str::to_owned);
    Ok(RegistryReference { host: host.to_owned(), path: path.to_owned(), tag, digest })
}

/// True if docker takes the first part of a name for a registry, and not for a user of Docker Hub.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':', '[']) || first == "localhost"
}

/// The name that docker would look for.
fn without_registry(text: &str, name: &str) -> ParseReferenceError {
    let below = if name.contains('/') { "" } else { "library/" };
    let full = format!("docker.io/{below}{text}");
    match registry(&full) {
        Ok(_) => ParseReferenceError::NoRegistry { written: text.into(), full: full.into() },
        Err(_) => ParseReferenceError::NoHost(text.into()),
    }
}

fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        !label.is_empty()
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let digits = |port: &str| port.bytes().all(|c| c.is_ascii_digit());
    host.split('.').all(label)
        && port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn ensure_path(path: &str) -> Result<(), ParseReferenceError> {
    if path.split('/').all(is_path_part) {
        Ok(())
    } else {
        Err(ParseReferenceError::BadPath(path.into()))
    }
}

/// Words of lower-case letters and digits, with `.`, `_`, `__` or hyphens between them.
fn is_path_part(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = |gap: &str| {
        matches!(gap, "." | "_" | "__") || (!gap.is_empty() && gap.bytes().all(|c| c == b'-'))
    };
    let mut gaps = part.split(is_word).filter(|gap| !gap.is_empty());
    part.starts_with(is_word) && part.ends_with(is_word) && gaps.all(between)
}

fn ensure_tag(tag: &str) -> Result<(), ParseReferenceError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fine = tag.starts_with(word)
        && tag.len() <= MAX_TAG
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'));
    if fine { Ok(()) } else { Err(ParseReferenceError::BadTag(tag.into())) }
}

fn local(rest: &str) -> Result<LocalReference, ParseReferenceError> {
    let (path, image) = match rest.split_once(':') {
        Some((path, image)) => (path, Some(image.to_owned())),
        None => (rest, None),
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(char::is_control);
    if !path.split('/').all(part) {
        return Err(ParseReferenceError::BadFile(path.into()));
    }
    Ok(LocalReference { path: path.to_owned(), image })
}

/// Name and tag of an image in an archive.
fn split_tag(image: &str) -> (&str, &str) {
    // A port has a slash after it.
    match image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((name, tag)) => (name, tag),
        None => (image, DEFAULT_TAG),
    }
}

/// The path with all that a repository's name cannot hold replaced.
fn plain_path(path: &str) -> String {
    let plain = |part: &str| {
        let word = |c: char| c.is_ascii_alphanumeric();
        let words = part.split(|c| !word(c)).filter(|word| !word.is_empty());
        let plain = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
        if plain.is_empty() { "image".to_owned() } else { plain }
    };
    path.split('/').map(plain).collect::<Vec<_>>().join("/")
}

/// As it is written.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, local) = match self {
            Self::Registry(name) => return name.fmt(f),
            Self::Layout(local) => ("oci", local),
            Self::Archive(local) => ("docker-archive", local),
        };
        write!(f, "{kind}:{}", local.path)?;
        local.image.iter().try_for_each(|image| write!(f, ":{image}"))
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests;
