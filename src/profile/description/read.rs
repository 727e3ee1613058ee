//! From the keys of a `gateway.toml` to a [`Description`]: every value into a type that cannot hold
//! a wrong one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use toml::Spanned;

use super::Description;
use super::MAX_LEN;
use super::Registry;
use super::Runtime;
use super::boot2container;
use super::command_line::CommandLine;
use super::container::Container;
use super::container::Image;
use super::file::File;
use super::file::check_path;
use super::problem::Placed;
use super::problem::Problem;
use super::raw;
use super::raw::Raw;
use super::raw::RawCache;
use super::raw::RawContainer;
use super::raw::RawFile;
use super::raw::RawVolume;
use super::raw::Text;
use super::secrets;
use super::secrets::REFERENCE;
use crate::config::Size;
use crate::foreign::Foreign;
use crate::ipxe::script::Code;
use crate::ipxe::script::codes;
use crate::near::meant;
use crate::near::near_key;
use crate::profile::agent::Cache;
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
use crate::profile::download::Download;
use crate::profile::download::DownloadUrl;

/// Label of the cache drive, unless another one is named. ext4 has room for 16 bytes.
const LABEL: &str = "FARMGATE_CACHE";
const MAX_LABEL: usize = 16;

/// Names of files that come from URLs, and of the agent's initramfs in the folder.
const KERNEL: &str = "vmlinuz";
const INITRAMFS: &str = "agent.cpio.zst";
const BOOT2CONTAINER_INITRAMFS: &str = "boot2container.cpio.xz";
const MODULES: &str = "modules.cpio.zst";

/// Mount of the directory that all containers share.
const SHARED: &str = "cache";

/// Most containers, volumes, mounts, words and lines of an environment: slips end here.
const MOST: usize = 64;

impl Description {
    /// Reads a `gateway.toml`, or says everything that is wrong in it.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut read = Reader { problems: Vec::new() };
        if text.len() > MAX_LEN {
            read.error(
                codes::BAD_DESCRIPTION,
                &(0..0),
                format!("the file is larger than {MAX_LEN} bytes"),
                "is it the right file?",
            );
            return Err(read.problems);
        }
        let raw: Raw = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let what = Foreign::new(error.message());
                let near = near_key(error.message());
                let help = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
                read.error(codes::BAD_DESCRIPTION, &span, what, help);
                return Err(read.problems);
            }
        };
        let description = read.description(raw);
        match read.problems.iter().any(|problem| problem.severity.is_error()) {
            true => Err(read.problems),
            false => Ok(Self { warnings: read.problems, ..description }),
        }
    }
}

struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn error(
        &mut self,
        code: &'static Code,
        span: &Range<usize>,
        what: impl fmt::Display,
        help: impl fmt::Display,
    ) {
        self.problems.push(Problem::error(code, span, what, help));
    }

    fn warn(
        &mut self,
        code: &'static Code,
        span: &Range<usize>,
        what: impl fmt::Display,
        help: impl fmt::Display,
    ) {
        self.problems.push(Problem::warning(code, span, what, help));
    }

    fn description(&mut self, raw: Raw) -> Description {
        let runtime = self.choice(
            raw.runtime.as_ref(),
            "runtime",
            &[(raw::AGENT, true), (raw::BOOT2CONTAINER, false)],
        );
        let is_agent = runtime.is_none_or(|runtime| runtime.value);
        let kernel = self.file(raw.kernel.image.as_ref(), KERNEL);
        let modules =
            raw.kernel.modules.is_some().then(|| self.file(raw.kernel.modules.as_ref(), MODULES));
        let command_line = match &raw.kernel.cmdline {
            Some(text) => CommandLine::parse(text.get_ref(), &text.span(), &mut self.problems),
            None => CommandLine::default(),
        };
        let other = match is_agent {
            true => raw.boot2container.as_ref().map(|table| (table.span(), raw::BOOT2CONTAINER)),
            false => raw.agent.as_ref().map(|table| (table.span(), raw::AGENT)),
        };
        if let Some((span, name)) = other {
            let what = format!("`[{name}]` has no meaning for this `runtime`");
            self.error(
                codes::WRONG_VALUE,
                &span,
                what,
                format!("write `runtime = \"{name}\"`, or remove it"),
            );
        }
        let (initramfs, runtime) = match is_agent {
            true => {
                let file = raw.agent.as_ref().and_then(|agent| agent.get_ref().initramfs.as_ref());
                (self.file(file, INITRAMFS), Runtime::Agent)
            }
            false => self.boot2container(raw.boot2container.as_ref()),
        };
        let volumes = self.volumes(&raw.volume);
        let containers = self.containers(&raw.container, &volumes);
        Description {
            runtime,
            kernel,
            initramfs,
            modules,
            command_line,
            cache: self.cache(raw.cache.as_ref(), is_agent),
            cache_is_default: raw.cache.is_none(),
            ntp: raw.ntp.as_ref().and_then(|text| self.host(text)),
            registries: self.registries(&raw.registry),
            volumes,
            containers,
            warnings: Vec::new(),
        }
    }

    fn boot2container(
        &mut self,
        raw: Option<&Spanned<raw::RawBoot2container>>,
    ) -> (Placed<File>, Runtime) {
        let empty = raw::RawBoot2container::default();
        let (table, span) = raw.map_or((&empty, 0..0), |raw| (raw.get_ref(), raw.span()));
        let version = match &table.version {
            Some(text) => match text.get_ref().parse() {
                Ok(version) => Some(version),
                Err(error) => {
                    let error: boot2container::ParseVersionError = error;
                    self.error(codes::WRONG_VALUE, &text.span(), error, "write it like \"0.10\"");
                    None
                }
            },
            None => {
                let what =
                    "`[boot2container]` needs the `version`: its releases have different options";
                self.error(
                    codes::WRONG_VALUE,
                    &span,
                    what,
                    "write `version = \"0.10\"`, the release that its initramfs is from",
                );
                None
            }
        };
        if table.initramfs.is_none() {
            let what = "`[boot2container]` needs an `initramfs`";
            let help =
                "name the file of the release, or { url = \"https://...\", sha256 = \"...\" }";
            self.error(codes::WRONG_VALUE, &span, what, help);
        }
        let initramfs = self.file(table.initramfs.as_ref(), BOOT2CONTAINER_INITRAMFS);
        let ca = table.ca.as_ref().and_then(|text| self.path(text));
        let acknowledge = table.acknowledge.as_ref().and_then(|text| self.image(text));
        let version = version.unwrap_or_default();
        (initramfs, Runtime::Boot2container(boot2container::Settings { version, ca, acknowledge }))
    }

    /// One of several words.
    fn choice<T: Copy>(
        &mut self,
        text: Option<&Text>,
        key: &str,
        all: &[(&str, T)],
    ) -> Option<Placed<T>> {
        let text = text?;
        let word = text.get_ref().as_str();
        if let Some((_, value)) = all.iter().find(|(name, _)| *name == word) {
            return Some(Placed { value: *value, span: text.span() });
        }
        let what = format!("there is no {key} `{}`", Foreign::shorter(word, 64));
        self.error(
            codes::WRONG_VALUE,
            &text.span(),
            what,
            meant(word, all.iter().map(|(name, _)| *name)),
        );
        None
    }

    fn file(&mut self, raw: Option<&Spanned<RawFile>>, default: &str) -> Placed<File> {
        let Some(raw) = raw else {
            return Placed { value: File::InFolder(default.to_owned()), span: 0..0 };
        };
        let value = match raw.get_ref() {
            RawFile::Name(path) => {
                if let Err(help) = check_path(path) {
                    let what =
                        format!("`{}` cannot be the path of this file", Foreign::shorter(path, 64));
                    self.error(codes::WRONG_VALUE, &raw.span(), what, help);
                }
                File::InFolder(path.clone())
            }
            RawFile::Download(download) => {
                let url = self.value(&download.url, str::parse::<DownloadUrl>);
                let digest =
                    |text: &str| text.parse().map_err(|_| "this is not a SHA-256: 64 hex digits");
                let sha256 = self.value(&download.sha256, digest);
                match url.zip(sha256) {
                    Some((url, sha256)) => {
                        let download = Download { url: url.value, sha256: sha256.value };
                        File::Download(default.to_owned(), download)
                    }
                    None => File::InFolder(default.to_owned()),
                }
            }
        };
        Placed { value, span: raw.span() }
    }

    fn value<T, E: fmt::Display>(
        &mut self,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Placed<T>> {
        match parse(text.get_ref()) {
            Ok(value) => Some(Placed { value, span: text.span() }),
            Err(error) => {
                self.error(codes::WRONG_VALUE, &text.span(), Foreign::new(&error.to_string()), "");
                None
            }
        }
    }

    fn path(&mut self, text: &Text) -> Option<Placed<String>> {
        if let Err(help) = check_path(text.get_ref()) {
            let what = format!(
                "`{}` cannot be the path of this file",
                Foreign::shorter(text.get_ref(), 64)
            );
            self.error(codes::WRONG_VALUE, &text.span(), what, help);
            return None;
        }
        Some(placed(text))
    }

    /// The name after `secret:`.
    fn secret(&mut self, text: &Text, for_what: &str) -> Option<Placed<String>> {
        let name = text.get_ref().strip_prefix(REFERENCE);
        match name {
            Some(name) if secrets::is_name(name) => {
                Some(Placed { value: name.to_owned(), span: text.span() })
            }
            Some(_) => {
                let what = "this is not the name of a secret";
                let help = "a name is a letter, then letters, digits, `_` and `-`";
                self.error(codes::WRONG_VALUE, &text.span(), what, help);
                None
            }
            None => {
                let what = format!("{for_what} must not be written here");
                let help = "write `secret:NAME`, and a line NAME=VALUE into the file `secrets`";
                self.error(codes::WRONG_VALUE, &text.span(), what, help);
                None
            }
        }
    }

    fn host(&mut self, text: &Text) -> Option<String> {
        let host = text.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if host.is_empty() || host.len() > 253 || host.starts_with('-') || !host.chars().all(plain)
        {
            let what = format!(
                "`{}` is not the name or the address of a server",
                Foreign::shorter(host, 64)
            );
            self.error(codes::WRONG_VALUE, &text.span(), what, "write it like \"pool.ntp.org\"");
            return None;
        }
        Some(host.clone())
    }

    fn cache(&mut self, raw: Option<&Spanned<RawCache>>, is_agent: bool) -> Placed<Cache> {
        let (none, nowhere) = (RawCache::default(), 0..0);
        let (raw, span) = raw.map_or((&none, nowhere), |raw| (raw.get_ref(), raw.span()));
        if let (Some(_), Some(device)) = (&raw.label, &raw.device) {
            let what = "the cache drive has a `label` and a `device`";
            self.error(codes::WRONG_VALUE, &device.span(), what, "remove one of the two");
        }
        let drive = match (&raw.device, &raw.label) {
            (Some(device), _) => Drive::Device(self.device(device, is_agent)),
            (None, Some(label)) => {
                let name = label.get_ref();
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
                if name.is_empty() || name.len() > MAX_LABEL || !name.chars().all(plain) {
                    let what = "this cannot be the label of a file system";
                    let help = "use 1 to 16 letters, digits, `_`, `-` and `.`";
                    self.error(codes::WRONG_VALUE, &label.span(), what, help);
                }
                Drive::Label(name.clone())
            }
            (None, None) => Drive::Label(LABEL.to_owned()),
        };
        let formats = [("never", Format::Never), ("if-blank", Format::IfBlank)];
        let missing = [("run-in-memory", Missing::RunInMemory), ("reboot", Missing::Reboot)];
        let swap = raw.swap.as_ref().and_then(|text| self.value(text, str::parse::<Size>));
        let value = Cache {
            drive,
            format: self
                .choice(raw.format.as_ref(), "format", &formats)
                .map_or(Format::Never, |f| f.value),
            swap: swap.map_or(0, |swap| swap.value.bytes()),
            missing: self
                .choice(raw.missing.as_ref(), "way to go on without the drive", &missing)
                .map_or(Missing::RunInMemory, |missing| missing.value),
        };
        Placed { value, span }
    }

    fn device(&mut self, text: &Text, is_agent: bool) -> String {
        let path = text.get_ref();
        let plain = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | ':' | '+' | '@' | '=')
        };
        let dots = |part: &str| matches!(part, "" | "." | "..");
        let name = path.strip_prefix("/dev/");
        if name.is_none_or(|name| name.split('/').any(dots))
            || !path.chars().all(plain)
            || path.len() > 255
        {
            let what = format!("`{}` is not the path of a drive", Foreign::shorter(path, 64));
            let help = "write it like \"/dev/disk/by-id/...\"; farmgate never takes the first disk that it finds";
            self.error(codes::WRONG_VALUE, &text.span(), what, help);
        } else if is_agent
            && name.is_some_and(|name| name.starts_with("sd") || name.starts_with("hd"))
        {
            let what = format!("`{path}` may be another drive at the next boot");
            let help = "the kernel counts these in the order in which it finds them: write /dev/disk/by-id/..., or a `label`";
            self.warn(codes::FLOATING_DRIVE, &text.span(), what, help);
        }
        path.clone()
    }

    fn registries(&mut self, raw: &BTreeMap<Text, raw::RawRegistry>) -> BTreeMap<String, Registry> {
        let mut registries = BTreeMap::new();
        for (host, table) in raw {
            let name = host.get_ref();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
            let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
            if !begins || !name.chars().all(plain) {
                let what = format!("`{}` is not a registry", Foreign::shorter(name, 64));
                self.error(
                    codes::WRONG_VALUE,
                    &host.span(),
                    what,
                    "write its host and port, as in the names of images",
                );
            }
            let registry = Registry {
                ca: table.ca.as_ref().and_then(|text| self.path(text)),
                credentials: table
                    .credentials
                    .as_ref()
                    .and_then(|text| self.secret(text, "credentials")),
            };
            registries.insert(name.clone(), registry);
        }
        registries
    }

    fn volumes(&mut self, raw: &BTreeMap<Text, RawVolume>) -> BTreeMap<String, Placed<Volume>> {
        let mut volumes = BTreeMap::new();
        let mut bucket: Option<&str> = None;
        if let Some(name) = raw.keys().nth(MOST) {
            self.error(
                codes::WRONG_VALUE,
                &name.span(),
                format!("there are more than {MOST} volumes"),
                "",
            );
        }
        for (name, table) in raw {
            let span = name.span();
            if name.get_ref() == SHARED {
                let what = format!("no volume can be called `{SHARED}`");
                let help = "mounts have this name for the directory that all containers share";
                self.error(codes::TWICE, &span, what, help);
            } else if !is_word(name.get_ref()) {
                self.error(codes::WRONG_VALUE, &span, "this is not the name of a volume", WORD);
            }
            let volume = self.volume(table);
            if volume.bucket
                && let Some(other) = bucket.replace(name.get_ref())
            {
                let what = format!("the volume `{other}` mirrors the gateway's bucket already");
                let help = "two would overwrite each other's files there: put both into one volume";
                self.error(codes::TWICE, &span, what, help);
            }
            volumes.insert(name.get_ref().clone(), Placed { value: volume, span });
        }
        volumes
    }

    fn volume(&mut self, raw: &RawVolume) -> Volume {
        let bucket = raw.bucket.as_ref().is_some_and(|bucket| *bucket.get_ref());
        let pull = self.choice(
            raw.pull.as_ref(),
            "pull",
            &[("never", Pull::Never), ("start", Pull::Start)],
        );
        let pushes = [("never", Push::Never), ("changes", Push::Changes), ("end", Push::End)];
        let push = self.choice(raw.push.as_ref(), "push", &pushes);
        let deletes = raw.delete_remote.as_ref().filter(|delete| *delete.get_ref());
        if !bucket {
            let pull = raw.pull.as_ref().map(Spanned::span);
            let push = raw.push.as_ref().map(Spanned::span);
            for span in [pull, push, deletes.map(Spanned::span)].into_iter().flatten() {
                let what = "this volume does not mirror the bucket";
                self.error(
                    codes::WRONG_VALUE,
                    &span,
                    what,
                    "write `bucket = true`, or remove the key",
                );
            }
        }
        let default_pull = if bucket { Pull::Start } else { Pull::Never };
        let default_push = if bucket { Push::Changes } else { Push::Never };
        let volume = Volume {
            bucket,
            pull: pull.map_or(default_pull, |pull| pull.value),
            push: push.map_or(default_push, |push| push.value),
            delete_remote: deletes.is_some(),
            encrypt: raw
                .encrypt
                .as_ref()
                .and_then(|text| self.secret(text, "a key"))
                .map(|name| name.value),
        };
        if let Some(deletes) = deletes.filter(|_| bucket) {
            if volume.pull == Pull::Never {
                let what =
                    "without a pull, `delete-remote` empties the bucket when the drive is lost";
                self.error(
                    codes::WRONG_VALUE,
                    &deletes.span(),
                    what,
                    "write `pull = \"start\"`, or remove `delete-remote`",
                );
            } else if volume.push == Push::Never {
                let what = "without a push, `delete-remote` has no meaning";
                self.error(codes::WRONG_VALUE, &deletes.span(), what, "remove one of the two");
            }
        }
        volume
    }

    fn containers(
        &mut self,
        raw: &[Spanned<RawContainer>],
        volumes: &BTreeMap<String, Placed<Volume>>,
    ) -> Vec<Container> {
        if raw.is_empty() {
            let help = "add `[[container]]` with an `image`";
            self.error(codes::WRONG_VALUE, &(0..0), "the gateway runs nothing", help);
        }
        if let Some(container) = raw.get(MOST) {
            self.error(
                codes::WRONG_VALUE,
                &container.span(),
                format!("there are more than {MOST} containers"),
                "",
            );
        }
        let mut containers = Vec::new();
        let mut names = BTreeSet::new();
        for table in raw {
            let Some(container) = self.container(table.get_ref(), &table.span(), volumes) else {
                continue;
            };
            if !names.insert(container.name.value.clone()) {
                let what = format!("there is a container `{}` already", container.name.value);
                let help = "give one of the two another `name`";
                self.error(codes::TWICE, &container.name.span, what, help);
            }
            containers.push(container);
        }
        containers
    }

    fn container(
        &mut self,
        raw: &RawContainer,
        span: &Range<usize>,
        volumes: &BTreeMap<String, Placed<Volume>>,
    ) -> Option<Container> {
        let networks = [("host", Network::Host), ("none", Network::None)];
        let restarts = [("always", Restart::Always), ("never", Restart::Never)];
        let restart = self.choice(raw.restart.as_ref(), "way to restart", &restarts);
        let network = self.choice(raw.network.as_ref(), "network", &networks);
        let health = raw.health.as_ref().and_then(|text| self.health(text));
        let environment = self.environment(&raw.environment);
        let mounts = self.mounts(&raw.mounts, volumes);
        for list in [&raw.entrypoint, &raw.command].into_iter().flatten() {
            self.words(list);
        }
        let Some(text) = &raw.image else {
            self.error(
                codes::WRONG_VALUE,
                span,
                "this container has no `image`",
                "name one, with its registry: \"registry.example.org/farm/gateway:v12\"",
            );
            return None;
        };
        let image = self.image(text)?;
        let name = match &raw.name {
            Some(name) => placed(name),
            None => Placed { value: image.value.short_name().to_owned(), span: image.span.clone() },
        };
        if !is_word(&name.value) {
            let what = format!(
                "`{}` cannot be the name of a container",
                Foreign::shorter(&name.value, 64)
            );
            self.error(codes::WRONG_VALUE, &name.span, what, WORD);
        }
        if let Some(hold) =
            raw.hold.as_ref().filter(|hold| !hold.get_ref() && image.value.file().is_some())
        {
            let what = "the gateway cannot pull an image of the folder from anywhere else";
            self.error(
                codes::WRONG_VALUE,
                &hold.span(),
                what,
                "remove `hold`: the boot host has it",
            );
        }
        let network = network.unwrap_or(Placed { value: Network::Host, span: span.clone() });
        if let Some(health) = health.as_ref().filter(|_| network.value == Network::None) {
            let what = "a container without a network answers nobody";
            self.error(
                codes::WRONG_VALUE,
                &health.span,
                what,
                "remove `health`, or write `network = \"host\"`",
            );
        }
        let list =
            |list: &Option<Vec<Text>>| list.as_ref().map(|list| list.iter().map(placed).collect());
        Some(Container {
            span: span.clone(),
            name,
            image,
            hold: raw
                .hold
                .as_ref()
                .map(|hold| Placed { value: *hold.get_ref(), span: hold.span() }),
            entrypoint: list(&raw.entrypoint),
            command: list(&raw.command),
            environment,
            mounts,
            privileged: raw.privileged.as_ref().is_some_and(|privileged| *privileged.get_ref()),
            network,
            health,
            restart: restart.map_or(Restart::Always, |restart| restart.value),
        })
    }

    fn image(&mut self, text: &Text) -> Option<Placed<Image>> {
        self.value(text, str::parse::<Image>)
    }

    fn words(&mut self, list: &[Text]) {
        if let Some(word) = list.get(MOST) {
            self.error(
                codes::WRONG_VALUE,
                &word.span(),
                format!("there are more than {MOST} words"),
                "",
            );
        }
        for word in list {
            if word.get_ref().contains('\0') {
                self.error(codes::CANNOT_HOLD, &word.span(), "no program gets a NUL", "remove it");
            } else if word.get_ref().starts_with(REFERENCE) {
                let what = "every process can read the arguments of another";
                let help = "put the secret into `environment`";
                self.error(codes::SECRET_ARGUMENT, &word.span(), what, help);
            }
        }
    }

    fn environment(&mut self, raw: &BTreeMap<Text, Text>) -> BTreeMap<String, Placed<Value>> {
        let mut environment = BTreeMap::new();
        if let Some(name) = raw.keys().nth(MOST) {
            self.error(
                codes::WRONG_VALUE,
                &name.span(),
                format!("there are more than {MOST} of them"),
                "",
            );
        }
        for (name, text) in raw {
            let key = name.get_ref();
            let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if key.is_empty() || !plain || key.starts_with(|c: char| c.is_ascii_digit()) {
                let what =
                    format!("`{}` cannot be the name of a variable", Foreign::shorter(key, 64));
                self.error(codes::WRONG_VALUE, &name.span(), what, "use letters, digits and `_`");
            }
            if text.get_ref().contains('\0') {
                self.error(codes::CANNOT_HOLD, &text.span(), "no program gets a NUL", "remove it");
            }
            let value = match text.get_ref().starts_with(REFERENCE) {
                true => self.secret(text, "it").map(|name| name.map(Value::Secret)),
                false => Some(placed(text).map(Value::Plain)),
            };
            environment.extend(value.map(|value| (key.clone(), value)));
        }
        environment
    }

    fn mounts(
        &mut self,
        raw: &[Text],
        volumes: &BTreeMap<String, Placed<Volume>>,
    ) -> Vec<Placed<Mount>> {
        let mut mounts: Vec<Placed<Mount>> = Vec::new();
        if let Some(mount) = raw.get(MOST) {
            self.error(
                codes::WRONG_VALUE,
                &mount.span(),
                format!("there are more than {MOST} mounts"),
                "",
            );
        }
        for text in raw {
            let Some(mount) = self.mount(text, volumes) else { continue };
            if mounts.iter().any(|other| other.value.target == mount.target) {
                let what = format!("`{}` is mounted already", mount.target);
                self.error(codes::TWICE, &text.span(), what, "remove one of the two");
            }
            mounts.push(Placed { value: mount, span: text.span() });
        }
        mounts
    }

    fn mount(&mut self, text: &Text, volumes: &BTreeMap<String, Placed<Volume>>) -> Option<Mount> {
        let span = text.span();
        let help = "write `NAME:/path`, `cache:/path` or `/path:/path`, with `:ro` behind it if it is only read";
        let parts: Vec<&str> = text.get_ref().split(':').collect();
        let (source, target, read_only) = match parts[..] {
            [source, target] | [source, target, "rw"] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            _ => {
                self.error(codes::WRONG_VALUE, &span, "this is not a mount", help);
                return None;
            }
        };
        if !is_absolute(target) || target == "/" {
            let what = format!("`{}` is not a path in the container", Foreign::shorter(target, 64));
            self.error(codes::WRONG_VALUE, &span, what, help);
            return None;
        }
        let source = match source {
            SHARED => Source::Cache,
            path if path.starts_with('/') => {
                if !is_absolute(path) {
                    let what =
                        format!("`{}` is not a path of the gateway", Foreign::shorter(path, 64));
                    self.error(codes::WRONG_VALUE, &span, what, help);
                    return None;
                }
                Source::Path(path.to_owned())
            }
            name if volumes.contains_key(name) => Source::Volume(name.to_owned()),
            name => {
                let what = format!("there is no volume `{}`", Foreign::shorter(name, 64));
                let known = volumes.keys().map(String::as_str).chain([SHARED]);
                self.error(codes::UNKNOWN_NAME, &span, what, meant(name, known));
                return None;
            }
        };
        Some(Mount { source, target: target.to_owned(), read_only })
    }

    fn health(&mut self, text: &Text) -> Option<Placed<String>> {
        let url = text.get_ref();
        let plain = |c: char| {
            c.is_ascii_graphic()
                && !matches!(c, '"' | '\'' | '\\' | '`' | '<' | '>' | '{' | '}' | '#')
        };
        let host = url.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or(rest));
        let good = host.is_some_and(is_authority) && url.chars().all(plain) && url.len() <= 1024;
        if !good {
            let what = format!("`{}` cannot be asked for its health", Foreign::shorter(url, 64));
            let help = "write it like \"http://127.0.0.1:8080/health\": the gateway asks itself, without TLS";
            self.error(codes::WRONG_VALUE, &text.span(), what, help);
            return None;
        }
        Some(placed(text))
    }
}

const WORD: &str =
    "use 1 to 63 letters, digits, `_`, `-` and `.`, beginning with a letter or digit";

/// Names of containers and volumes: they become names of directories.
fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// A host and maybe a port.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        }
    };
    host && port
        .is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+'))
}

/// An absolute path without detours.
fn is_absolute(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let straight = rest.is_empty() || !rest.split('/').any(|part| matches!(part, "" | "." | ".."));
    straight && path.len() <= 255 && !path.contains(char::is_control)
}

fn placed(text: &Text) -> Placed<String> {
    Placed { value: text.get_ref().clone(), span: text.span() }
}
