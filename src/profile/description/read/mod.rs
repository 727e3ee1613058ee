//! From the keys of a `gateway.toml` to a [`Description`]: every value into a type that cannot hold
//! a wrong one.

mod container;
mod mount;
mod storage;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml::Spanned;

use super::Description;
use super::MAX_LEN;
use super::Registry;
use super::Runtime;
use super::boot2container;
use super::command_line::CommandLine;
use super::file::File;
use super::problem::Placed;
use super::problem::Problem;
use super::raw;
use super::raw::Raw;
use super::raw::Text;
use crate::foreign::Foreign;
use crate::ipxe::script::Code;
use crate::ipxe::script::codes;
use crate::near::near_key;

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
}
