//! The agent profile, `agent.json` of a generation: what `gateway.toml` says, with images named by
//! digest. It holds no secret; those come with the boot's lease (see [`SECRETS_PATH`]). Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::reference::Digest;

/// Version of the format that this program writes, and the newest one that it reads.
pub const FORMAT: u32 = 1;

/// Path of the profile within a generation.
pub const AGENT_PROFILE: &str = "agent.json";

/// Path of the profile in the gateway's initramfs.
pub const PROFILE_PATH: &str = "/farmgate/agent.json";

/// Path of the boot's rendered secrets in the gateway's initramfs (see
/// [`secrets`](super::secrets)).
pub const SECRETS_PATH: &str = "/farmgate/secrets";

/// Directory of a generation that holds its images, an OCI image layout
/// (<https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>).
pub const IMAGES: &str = "oci";

/// The index of those images.
pub const IMAGE_INDEX: &str = "oci/index.json";

/// Path of a manifest, configuration or layer within a generation.
pub fn image_blob(digest: Digest) -> String {
    format!("{IMAGES}/blobs/sha256/{}", digest.hex())
}

/// The whole profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentProfile {
    /// [`FORMAT`].
    pub format: u32,
    /// The drive that keeps images and volumes.
    pub cache: Cache,
    /// Server for the time; the boot host's `Date` where it is absent or silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ntp: Option<String>,
    /// Registries of images that the boot host does not hold, by host name and port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registries: BTreeMap<String, Registry>,
    /// Directories that outlive a boot, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Volume>,
    /// Containers, in the order of their start.
    pub containers: Vec<Container>,
}

/// The cache drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cache {
    /// The drive.
    #[serde(flatten)]
    pub drive: Drive,
    /// The agent's right to make a file system on it.
    pub format: Format,
    /// Bytes of swap on it; 0 for none.
    #[serde(default)]
    pub swap: u64,
    /// The way on when the drive is missing or fails.
    pub missing: Missing,
}

/// The name of the cache drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Drive {
    /// The file system with this label. With [`Format::IfBlank`], the only blank drive gets it.
    Label(String),
    /// A block device by its path: `/dev/disk/by-id/...`.
    Device(String),
}

/// The agent's right to make a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Never.
    Never,
    /// Only on a drive without a partition table, a file system, or any other content.
    IfBlank,
}

/// The way on without a usable cache drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// Everything is kept in memory until the next boot.
    RunInMemory,
    /// The gateway restarts and tries again.
    Reboot,
}

/// A registry that the agent pulls from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Registry {
    /// PEM of the CA certificates to trust; the public ones where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Line of the rendered secrets with `USER:PASSWORD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
}

/// A directory that outlives a boot, on the cache drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Volume {
    /// True if it mirrors the gateway's bucket.
    pub bucket: bool,
    /// The moment at which the bucket's content comes to the gateway.
    pub pull: Pull,
    /// The moments at which the gateway's content goes to the bucket.
    pub push: Push,
    /// True if what is deleted here is deleted in the bucket.
    pub delete_remote: bool,
    /// Line of the rendered secrets with the key that it is encrypted with on the drive: base64 of
    /// 32 to 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<String>,
}

/// The moment at which a bucket's content comes to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// Never.
    Never,
    /// Before the containers start.
    Start,
}

/// The moments at which a gateway's content goes to the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Push {
    /// Never.
    Never,
    /// While the containers run, and at the end.
    Changes,
    /// At the end.
    End,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Container {
    /// Its name; no other container has it.
    pub name: String,
    /// The image that it runs.
    pub image: Image,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Added to the image's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Value>,
    /// Directories of the gateway that it sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// True if it has all rights and devices.
    #[serde(default)]
    pub privileged: bool,
    /// Its network.
    pub network: Network,
    /// Address that answers with 200 when it works: `http://127.0.0.1/health`. Without one it
    /// works once it has run for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// The way on when it ends.
    pub restart: Restart,
}

/// An image by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// The name in `gateway.toml`, with its tag: `registry.example.org/farm/gateway:v12`.
    pub reference: String,
    /// Digest of the manifest for the gateway's architecture: `sha256:` and 64 hex digits. Absent
    /// only before it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// True if the boot host has its layers; else the registry must be there.
    pub held: bool,
}

/// A value of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// As it stands.
    Plain(String),
    /// The line of the rendered secrets with this name.
    Secret(String),
}

/// A directory of the gateway within a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mount {
    /// The directory.
    pub source: Source,
    /// Absolute path in the container.
    pub target: String,
    /// True if the container cannot write there.
    #[serde(default)]
    pub read_only: bool,
}

/// The directory of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A directory of the cache drive that all containers share, lost when the drive is.
    Cache,
    /// A volume by its name.
    Volume(String),
    /// An absolute path of the gateway: `/dev`, `/lib/modules`.
    Path(String),
}

/// The network of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The gateway's own.
    Host,
    /// None.
    None,
}

/// The way on when a container ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It starts again, after growing waits. The gateway restarts when that does not help.
    Always,
    /// Nothing: it was to run once. Ending with another status than 0 fails the boot.
    Never,
}
