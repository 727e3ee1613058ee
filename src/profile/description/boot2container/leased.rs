//! Options of bucket, volumes and containers: leased, if any of them is secret.

use std::ops::Range;

use super::CA_DIR;
use super::Opt;
use super::Options;
use super::needs_lease;
use crate::ipxe::script::codes;
use crate::profile::agent::Mount;
use crate::profile::agent::Network;
use crate::profile::agent::Pull;
use crate::profile::agent::Push;
use crate::profile::agent::Restart;
use crate::profile::agent::Source;
use crate::profile::agent::Value;
use crate::profile::agent::Volume;
use crate::profile::description::container::Container;
use crate::profile::description::container::Image;
use crate::profile::description::file::base_name;
use crate::profile::description::problem::Placed;
use crate::profile::description::problem::Problem;

/// Name of the bucket.
const BUCKET: &str = "bucket";

/// Patience of the request that waits for health: an hour.
const RETRIES: &str = "--retry 360 --retry-delay 10 --retry-all-errors";

impl Options<'_> {
    /// Bucket, volumes and containers.
    pub(super) fn leased(&mut self) -> Vec<Opt> {
        let (description, settings) = (self.description, self.settings);
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
            options.push(self.volume(name, volume));
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
            options.push(self.container(settings.version.run_service(), container));
        }
        options.extend(self.acknowledge());
        for container in runs {
            options.push(self.container(settings.version.run(), container));
        }
        options
    }

    fn volume(&mut self, name: &str, volume: &Placed<Volume>) -> Opt {
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
            let key = self.value(name);
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

    fn container(&mut self, option: &str, container: &Container) -> Opt {
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
                    let value = self.value(secret);
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
        rest += &format!(" {}", self.image(&container.image));
        for word in words.chain(container.command.iter().flatten()) {
            self.word(&word.value, &word.span);
            rest += &format!(" {}", word.value);
        }
        rest += "\"";
        Opt { text: text + &rest, shown: shown + &rest }
    }

    /// The service that asks for the health of the first container that has some, and then calls the
    /// boot's address. A second `b2c.run` would start only when the first has ended.
    fn acknowledge(&mut self) -> Option<Opt> {
        let (description, settings) = (self.description, self.settings);
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
            Some(image) => self.image(image),
            None => self.image(&container.image),
        };
        self.word(&health.value, &health.span);
        let (mount, ca) = match &settings.ca {
            Some(ca) => {
                let name = base_name(&ca.value);
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
    fn image(&mut self, image: &Placed<Image>) -> String {
        let digest = self.given.digest(&image.value);
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
