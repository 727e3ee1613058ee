//! The same description for boot2container: its options on the kernel's command line, and those that
//! only a boot's own lease may show.
//!
//! Written from what is public about it, and never run against it: docs/gateway-toml.md says what is
//! known. Modules, cache, network and time come before the leased options, so those are always on the
//! line, and so is the way in which everything ends.

mod early;
mod leased;
mod version;

use std::fmt;
use std::ops::Range;

use super::Description;
use super::container::Image;
use super::file::base_name;
use super::file::initrd;
use super::given::Given;
use super::given::Rendered;
use super::problem::Placed;
use super::problem::Problem;
use super::secrets::Secrets;
use crate::ipxe::script::codes;
use crate::profile::agent::Value;
use crate::profile::agent::Volume;

pub(super) use self::version::ParseVersionError;
pub(super) use self::version::Version;

/// Directory of the fleet's CA in the initramfs, and in the container that acknowledges.
const CA_DIR: &str = "/etc/farmgate";

/// `[boot2container]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) version: Version,
    /// File of the folder: the CA that issued the boot host's certificate.
    pub(super) ca: Option<Placed<String>>,
    /// Image with a `curl` that acknowledges, if the container's own has none.
    pub(super) acknowledge: Option<Placed<Image>>,
}

/// Options in the making, with all that they are made from.
struct Options<'a> {
    description: &'a Description,
    settings: &'a Settings,
    given: &'a Given<'a>,
    secrets: &'a Secrets<'a>,
    problems: &'a mut Vec<Problem>,
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
    let mut options = Options { description, settings, given, secrets, problems };
    let mut line = options.early();
    let leased = options.leased();
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
        let (path, name) = (&ca.value, base_name(&ca.value));
        script += &initrd(format_args!("{path} {CA_DIR}/{name} mkdir=-1"));
    }
    for (host, registry) in &description.registries {
        let Some(ca) = &registry.ca else { continue };
        let path = &ca.value;
        script += &initrd(format_args!("{path} /etc/containers/certs.d/{host}/ca.crt mkdir=-1"));
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

impl<'a> Options<'a> {
    fn cannot(&mut self, span: &Range<usize>, what: impl fmt::Display, help: impl fmt::Display) {
        self.problems.push(Problem::error(codes::CANNOT_HOLD, span, what, help));
    }

    /// The value of a secret; empty if it is not known, which is reported elsewhere.
    fn value(&self, name: &str) -> &'a str {
        self.secrets.lines.get(name).copied().unwrap_or_default()
    }
}
