//! The same description for boot2container: its options on the kernel's command line, and those that
//! only a boot's own lease may show.
//!
//! Written from what is public about it, and never run against it: docs/gateway-toml.md says what is
//! known. Modules, cache, network and time come before the leased options, so those are always on the
//! line, and so is the way in which everything ends.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::Description;
use super::container::Container;
use super::container::Image;
use super::given::Given;
use super::given::Rendered;
use super::given::digest;
use super::problem::Placed;
use super::problem::Problem;
use super::secrets::Secrets;
use crate::foreign::Foreign;
use crate::ipxe::script::codes;
use crate::profile::agent::Drive;
use crate::profile::agent::Format;
use crate::profile::agent::Missing;
use crate::profile::agent::Mount;
use crate::profile::agent::Network;
use crate::profile::agent::Pull;
use crate::profile::agent::Push;
use crate::profile::agent::Restart;
use crate::profile::agent::Source;
use crate::profile::agent::Value;
use crate::profile::agent::Volume;

/// Name of the cache's file system, and of the bucket.
const CACHE: &str = "farmgate-cache";
const BUCKET: &str = "bucket";

/// Where the fleet's CA is in the initramfs, and in the container that acknowledges.
const CA_DIR: &str = "/etc/farmgate";

/// Patience of the request that waits for health: an hour.
const RETRIES: &str = "--retry 360 --retry-delay 10 --retry-all-errors";

/// `[boot2container]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) version: Version,
    /// File of the folder: the CA that issued the boot host's certificate.
    pub(super) ca: Option<Placed<String>>,
    /// Image with a `curl` that acknowledges, if the container's own has none.
    pub(super) acknowledge: Option<Placed<Image>>,
}

/// The release of boot2container: it decides the names of options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The first release that is known to have only the new names.
    const NEW_NAMES: Self = Self { major: 0, minor: 10 };

    fn run(self) -> &'static str {
        if self < Self::NEW_NAMES { "b2c.container" } else { "b2c.run" }
    }

    fn run_service(self) -> &'static str {
        if self < Self::NEW_NAMES { "b2c.service" } else { "b2c.run_service" }
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseVersionError(Foreign::shorter(text, 32));
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let mut next = || {
            let digits = parts.next().filter(|part| part.chars().all(|c| c.is_ascii_digit()));
            digits.and_then(|part| part.parse().ok()).ok_or_else(malformed)
        };
        let version = Self { major: next()?, minor: next()? };
        let rest: Vec<&str> = parts.collect();
        let patch = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        if rest.len() > 1 || !rest.iter().all(|part| patch(part)) {
            return Err(malformed());
        }
        Ok(version)
    }
}

/// The text is no release.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a release of boot2container")]
pub(super) struct ParseVersionError(Foreign);

/// Options in the making.
struct Options<'p> {
    problems: &'p mut Vec<Problem>,
}

/// An option, and how people see it.
struct Opt {
    text: String,
    shown: String,
}

impl Opt {
    fn new(text: String) -> Self {
        Self { shown: text.clone(), text }
    }
}

pub(super) fn render(
    description: &Description,
    settings: &Settings,
    given: &Given<'_>,
    secrets: &Secrets<'_>,
    problems: &mut Vec<Problem>,
) -> Rendered {
    let mut options = Options { problems };
    let mut line = options.early(description);
    let leased = options.rest(description, settings, given, secrets);
    // Without a secret nothing has to be fetched once more.
    let is_secret = needs_lease(description);
    match is_secret {
        true => line.push("b2c.extra_args_url=${secrets_url}".to_owned()),
        false => line.extend(leased.iter().map(|option| option.text.clone())),
    }
    let command_line =
        description.command_line.whole(description.initramfs.value.name(), &line, problems);
    let mut script = description.beginning(&command_line);
    if let Some(ca) = &settings.ca {
        let name = ca.value.rsplit('/').next().unwrap_or(&ca.value);
        script += &format!("initrd --timeout 30000 {} {CA_DIR}/{name} mkdir=-1\n", ca.value);
    }
    for (host, registry) in &description.registries {
        let Some(ca) = &registry.ca else { continue };
        script += &format!(
            "initrd --timeout 30000 {} /etc/containers/certs.d/{host}/ca.crt mkdir=-1\n",
            ca.value
        );
    }
    script += "boot\n";
    let join = |part: fn(&Opt) -> &str| {
        let lines = leased.iter().map(|option| format!("{}\n", part(option)));
        if is_secret { lines.collect() } else { String::new() }
    };
    Rendered {
        script,
        command_line,
        profile: None,
        secrets: join(|option| &option.text),
        shown_secrets: join(|option| &option.shown),
    }
}

/// True if anything in the options is secret.
fn needs_lease(description: &Description) -> bool {
    let volume = |volume: &Placed<Volume>| volume.value.bucket || volume.value.encrypt.is_some();
    let secret = |value: &Placed<Value>| matches!(value.value, Value::Secret(_));
    description.volumes.values().any(volume)
        || description.containers.iter().any(|container| container.environment.values().any(secret))
}

impl Options<'_> {
    fn cannot(&mut self, span: &Range<usize>, what: impl fmt::Display, help: impl fmt::Display) {
        self.problems.push(Problem::error(codes::CANNOT_HOLD, span, what, help));
    }

    /// What is read before the leased options are fetched.
    fn early(&mut self, description: &Description) -> Vec<String> {
        let mut line = vec![
            "b2c.hostname=${gateway_name}".to_owned(),
            // Its own ending switches the machine off.
            "b2c.shutdown_cmd=\"reboot -f\"".to_owned(),
            "b2c.poweroff_delay=30".to_owned(),
            format!("b2c.ntp_peer={}", description.ntp.as_deref().unwrap_or("auto")),
        ];
        let Placed { value: cache, span } = &description.cache;
        if let Drive::Device(path) = &cache.drive
            && path.starts_with("/dev/disk/")
        {
            let what = "boot2container has no udev, which makes the names below /dev/disk";
            self.problems.push(Problem::warning(
                codes::CANNOT_HOLD,
                span,
                what,
                "write the name of the kernel: /dev/nvme0n1p1",
            ));
        }
        match (&cache.drive, cache.format) {
            (Drive::Label(_), _) if description.cache_is_default => {
                line.push("b2c.cache_device=none".to_owned())
            }
            (Drive::Label(_), _) => {
                let what = "boot2container finds no drive by a label of your own";
                self.cannot(span, what, "name its partition: `device = \"/dev/...\"`");
            }
            (Drive::Device(path), Format::Never) => {
                line.push(format!("b2c.filesystem={CACHE},type=ext4,src={path}"));
                line.push(format!("b2c.cache_device={CACHE}"));
            }
            (Drive::Device(path), Format::IfBlank) => {
                let what = format!(
                    "boot2container partitions `{path}` anew, blank or not, if it finds no cache on it"
                );
                let help = "make the file system once, and write `format = \"never\"`";
                self.problems.push(Problem::warning(codes::B2C_AUTO_CACHE, span, what, help));
                line.push(format!("b2c.cache_device={path}"));
            }
        }
        if cache.missing == Missing::Reboot {
            let what = "boot2container goes on in memory without its cache drive";
            self.cannot(span, what, "write `missing = \"run-in-memory\"`");
        }
        if cache.swap > 0 {
            line.push(format!("b2c.swap={}M", cache.swap.div_ceil(1 << 20)));
        }
        for word in description.command_line.with_prefix("b2c.") {
            let name = word.split('=').next().unwrap_or(word);
            let ours = line.iter().any(|option| option.split('=').next() == Some(name));
            let later = [
                "b2c.run",
                "b2c.run_service",
                "b2c.container",
                "b2c.service",
                "b2c.extra_args_url",
                "b2c.volume",
                "b2c.minio",
            ];
            if ours || later.contains(&name) {
                let what = format!(
                    "gateway.toml makes the option `{}` already",
                    Foreign::shorter(name, 64)
                );
                let help = "leave it out of `cmdline`, and use the key of gateway.toml";
                self.problems.push(Problem::error(
                    codes::TWICE,
                    &description.command_line.span,
                    what,
                    help,
                ));
            }
        }
        line
    }

    /// Bucket, volumes and containers.
    fn rest(
        &mut self,
        description: &Description,
        settings: &Settings,
        given: &Given<'_>,
        secrets: &Secrets<'_>,
    ) -> Vec<Opt> {
        let mut options = Vec::new();
        for (host, registry) in &description.registries {
            if let Some(credentials) = &registry.credentials {
                let what = format!("boot2container has no option for the credentials of `{host}`");
                self.cannot(
                    &credentials.span,
                    what,
                    "let it pull without, or use `runtime = \"agent\"`",
                );
            }
        }
        if description.volumes.values().any(|volume| volume.value.bucket) {
            let text = "b2c.minio=\"bucket,${s3_endpoint},${s3_access_key_id},${s3_access_key}\"";
            options.push(Opt::new(text.to_owned()));
        }
        for (name, volume) in &description.volumes {
            options.push(self.volume(name, volume, secrets));
        }
        let shared = |mount: &Placed<Mount>| mount.value.source == Source::Cache;
        if description.containers.iter().any(|container| container.mounts.iter().any(shared)) {
            options.push(Opt::new("b2c.volume=cache,expiration=never".to_owned()));
        }
        let (services, runs) = in_order(&description.containers);
        if runs.len() > 1 {
            options.push(Opt::new("b2c.pipefail".to_owned()));
        }
        for container in services {
            options.push(self.container(settings.version.run_service(), container, given, secrets));
        }
        options.extend(self.acknowledge(description, settings, given));
        for container in runs {
            options.push(self.container(settings.version.run(), container, given, secrets));
        }
        options
    }

    fn volume(&mut self, name: &str, volume: &Placed<Volume>, secrets: &Secrets<'_>) -> Opt {
        let Placed { value: volume, span } = volume;
        let mut text = format!("b2c.volume=\"{name}");
        let bucket = format!("{BUCKET}/${{s3_bucket_name}}");
        if volume.pull == Pull::Start {
            text += &format!(",pull_from={bucket},pull_on=pipeline_start");
        }
        match volume.push {
            Push::Never => {}
            Push::Changes => text += &format!(",push_to={bucket},push_on=changes"),
            Push::End => text += &format!(",push_to={bucket},push_on=pipeline_end"),
        }
        if volume.bucket {
            text += ",overwrite";
        }
        if volume.delete_remote {
            let what = "boot2container deletes in the bucket what the volume lacks, also after a pull that failed half-way";
            self.problems.push(Problem::warning(
                codes::B2C_REMOVE,
                span,
                what,
                "leave `delete-remote` out, or use `runtime = \"agent\"`",
            ));
            text += ",remove";
        }
        let mut shown = text.clone();
        if let Some(name) = &volume.encrypt {
            let key = secrets.lines.get(name.as_str()).copied().unwrap_or_default();
            let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
            if !key.chars().all(base64) {
                self.cannot(
                    span,
                    format!("the secret `{name}` is not base64"),
                    "boot2container takes the key in base64 alone",
                );
            }
            text += &format!(",fscrypt_key={key}");
            shown += &format!(",fscrypt_key=(secret:{name})");
        }
        let end = ",expiration=never\"";
        Opt { text: text + end, shown: shown + end }
    }

    fn container(
        &mut self,
        option: &str,
        container: &Container,
        given: &Given<'_>,
        secrets: &Secrets<'_>,
    ) -> Opt {
        if container.network.value == Network::None {
            let what = "boot2container gives every container the gateway's network";
            self.cannot(&container.network.span, what, "write `network = \"host\"`");
        }
        if let Some(hold) = container.hold.as_ref().filter(|hold| hold.value) {
            let what = "boot2container pulls from the registry itself, not from the boot host";
            self.cannot(&hold.span, what, "remove `hold`, or use `runtime = \"agent\"`");
        }
        // Of two such options the last one counts; its own come before.
        let mut text = format!("{option}=\"--pull=missing --name={}", container.name.value);
        if !container.privileged {
            text += " --privileged=false";
        }
        let mut shown = text.clone();
        for (name, value) in &container.environment {
            let (is, looks) = match &value.value {
                Value::Plain(text) => (text.clone(), text.clone()),
                Value::Secret(secret) => {
                    let value = secrets.lines.get(secret.as_str()).copied().unwrap_or_default();
                    (value.to_owned(), format!("(secret:{secret})"))
                }
            };
            self.word(&is, &value.span);
            text += &format!(" --env={name}={is}");
            shown += &format!(" --env={name}={looks}");
        }
        let mut rest = String::new();
        for mount in &container.mounts {
            let source = match &mount.value.source {
                Source::Cache => "cache",
                Source::Volume(name) | Source::Path(name) => name,
            };
            self.word(source, &mount.span);
            self.word(&mount.value.target, &mount.span);
            let read_only = if mount.value.read_only { ":ro" } else { "" };
            rest += &format!(" --volume={source}:{}{read_only}", mount.value.target);
        }
        // Podman takes one word here; what else the entry point has comes before the command.
        let mut words = container.entrypoint.iter().flatten();
        if let Some(first) = words.next() {
            self.word(&first.value, &first.span);
            rest += &format!(" --entrypoint={}", first.value);
        }
        rest += &format!(" {}", self.image(&container.image, digest(container, given)));
        for word in words.chain(container.command.iter().flatten()) {
            self.word(&word.value, &word.span);
            rest += &format!(" {}", word.value);
        }
        rest += "\"";
        Opt { text: text + &rest, shown: shown + &rest }
    }

    /// The service that asks for the health of the first container that has some, and then calls the
    /// boot's address. A second `b2c.run` would start only when the first has ended.
    fn acknowledge(
        &mut self,
        description: &Description,
        settings: &Settings,
        given: &Given<'_>,
    ) -> Option<Opt> {
        let with_health = description.containers.iter().find_map(|c| Some((c, c.health.as_ref()?)));
        let Some((container, health)) = with_health else {
            let span =
                description.containers.first().map_or(0..0, |container| container.span.clone());
            let what = "nothing acknowledges this gateway's boots: no container has `health`";
            let help = "give one its address, or acknowledge from inside, with ${ack_url}";
            self.problems.push(Problem::warning(codes::SILENT, &span, what, help));
            return None;
        };
        let image = match &settings.acknowledge {
            Some(image) => self.image(image, given.pins.get(&image.value.text).cloned()),
            None => self.image(&container.image, digest(container, given)),
        };
        self.word(&health.value, &health.span);
        let (mount, ca) = match &settings.ca {
            Some(ca) => {
                let name = ca.value.rsplit('/').next().unwrap_or(&ca.value);
                (format!(" --volume={CA_DIR}:{CA_DIR}:ro"), format!(" --cacert {CA_DIR}/{name}"))
            }
            None => Default::default(),
        };
        let url = match needs_lease(description) {
            true => "${boot_url}/boot/ack/${boot_token}",
            false => "${ack_url}",
        };
        let option = settings.version.run_service();
        Some(Opt::new(format!(
            "{option}=\"--pull=missing --name=farmgate-acknowledge --entrypoint=curl{mount} {image} \
             --fail-early --fail --silent --show-error --output /dev/null {RETRIES} {} \
             --next --fail --silent --show-error --output /dev/null {RETRIES}{ca} {url}\"",
            health.value
        )))
    }

    /// The image's name for podman.
    fn image(&mut self, image: &Placed<Image>, digest: Option<String>) -> String {
        image.value.pinned(digest.as_deref()).unwrap_or_else(|| {
            let what = "boot2container pulls from registries alone, not from files of the folder";
            self.cannot(
                &image.span,
                what,
                "name the image in a registry, or use `runtime = \"agent\"`",
            );
            String::new()
        })
    }

    /// Reports a word that would not arrive as it is.
    fn word(&mut self, word: &str, span: &Range<usize>) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./~^-?&".contains(c);
        if !word.chars().all(plain) {
            let what = "boot2container cannot hold this value: it splits values at spaces, ends them at a \
                        quote, and interprets backslashes and other signs";
            self.cannot(
                span,
                what,
                "use letters, digits and `_@%+=:,./~^-` alone, or `runtime = \"agent\"`",
            );
        }
    }
}

/// Containers that run in the background, and those that run one after the other. One that never
/// ends lets no other start after it, so that only the last can be among the latter.
fn in_order(containers: &[Container]) -> (Vec<&Container>, Vec<&Container>) {
    let last = containers.iter().rposition(|container| container.restart == Restart::Always);
    let all = containers.iter().enumerate();
    let (services, mut runs): (Vec<_>, Vec<_>) =
        all.partition(|(at, container)| container.restart == Restart::Always && Some(*at) != last);
    runs.sort_by_key(|(at, _)| (Some(*at) == last, *at));
    let plain = |all: Vec<(usize, _)>| all.into_iter().map(|(_, container)| container).collect();
    (plain(services), plain(runs))
}
