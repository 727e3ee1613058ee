//! From a [`Description`] and the files beside it to the files of a generation.

use super::Description;
use super::MAX_TEXT;
use super::Runtime;
use super::boot2container;
use super::command_line::NOT_HERE;
use super::container::Container;
use super::file::File;
use super::file::TIMEOUT;
use super::file::initrd;
use super::given::Given;
use super::given::Problems;
use super::given::Rendered;
use super::given::Template;
use super::is_made;
use super::problem::Placed;
use super::problem::Problem;
use super::secrets;
use super::secrets::Secrets;
use crate::fleet::BOOT_SCRIPT;
use crate::ipxe::script;
use crate::ipxe::script::codes;
use crate::near::meant;
use crate::profile::agent;
use crate::profile::agent::AGENT_PROFILE;
use crate::profile::agent::AgentProfile;
use crate::profile::agent::PROFILE_PATH;
use crate::profile::agent::SECRETS_PATH;
use crate::profile::agent::Value;

/// First lines of each script.
const HEAD: &str = "#!ipxe\n# farmgate made this from gateway.toml\n";

impl Description {
    /// Renders the description. Without an error among the problems there is a result.
    pub fn render(&self, given: &Given<'_>) -> (Option<Rendered>, Problems) {
        let mut problems = Problems { description: self.warnings.clone(), secrets: Vec::new() };
        self.check_files(given, &mut problems.description);
        let (operators, secrets) = match given.template {
            Template::InFolder(Some(text)) => {
                // A generation's own, read back.
                let own = secrets::own_lines();
                let text = text.strip_suffix(own.as_bytes()).unwrap_or(text);
                let (secrets, found) = Secrets::parse(text);
                problems.secrets = found;
                (String::from_utf8_lossy(text).into_owned(), Some(secrets))
            }
            Template::InFolder(None) => (String::new(), Some(Secrets::default())),
            Template::Elsewhere => (String::new(), None),
        };
        if let Some(secrets) = &secrets {
            self.check_secrets(secrets, &mut problems.description);
            self.command_line
                .check_secrets(secrets.lines.values().copied(), &mut problems.description);
        }
        let rendered = match &self.runtime {
            Runtime::Agent => {
                self.for_agent(given, operators, secrets.as_ref(), &mut problems.description)
            }
            Runtime::Boot2container(settings) => {
                let secrets = secrets.unwrap_or_default();
                boot2container::render(self, settings, given, &secrets, &mut problems.description)
            }
        };
        if self.names_a_secret(&rendered.script) {
            let what = "a secret is put on the kernel's command line";
            let span = &self.command_line.span;
            problems.description.push(Problem::error(codes::SECRET_ARGUMENT, span, what, NOT_HERE));
        }
        let good = !problems.has_error();
        (good.then_some(rendered), problems)
    }

    /// A check of boot scripts. It warns there, and here it is an error: there is another way.
    fn names_a_secret(&self, made: &str) -> bool {
        let found = script::check(made.as_bytes(), &script::Options::default());
        found.iter().any(|finding| finding.code == codes::SECRET_ARGUMENT)
    }

    fn for_agent(
        &self,
        given: &Given<'_>,
        mut secrets: String,
        names: Option<&Secrets<'_>>,
        problems: &mut Vec<Problem>,
    ) -> Rendered {
        let command_line = self.command_line.whole(self.initramfs.value.name(), &[], problems);
        let mut script = self.beginning(&command_line);
        script += &initrd(format_args!("{AGENT_PROFILE} {PROFILE_PATH} mode=644 mkdir=-1"));
        script += &initrd(format_args!("${{secrets_url}} {SECRETS_PATH} mode=600 mkdir=-1"));
        script += "boot\n";
        if !secrets.is_empty() && !secrets.ends_with('\n') {
            secrets.push('\n');
        }
        let own = secrets::own_lines();
        let operators = names.into_iter().flat_map(|names| names.lines.keys());
        let shown: String = operators.map(|name| format!("{name}=(secret)\n")).collect();
        Rendered {
            script,
            command_line,
            profile: Some(self.profile(given)),
            secrets: secrets + &own,
            shown_secrets: shown + &own,
        }
    }

    /// Kernel, initramfs and modules of the boot script.
    pub(super) fn beginning(&self, command_line: &str) -> String {
        let kernel = self.kernel.value.path();
        let mut script = format!("{HEAD}kernel {TIMEOUT} {kernel} {command_line}\n");
        for file in [&self.initramfs].into_iter().chain(&self.modules) {
            script += &initrd(file.value.path());
        }
        script
    }

    fn profile(&self, given: &Given<'_>) -> AgentProfile {
        let registries = self.registries.iter().map(|(host, registry)| {
            let ca = registry.ca.as_ref().and_then(|path| given.texts.get(&path.value).cloned());
            let credentials = registry.credentials.as_ref().map(|name| name.value.clone());
            (host.clone(), agent::Registry { ca, credentials })
        });
        AgentProfile {
            format: agent::FORMAT,
            cache: self.cache.value.clone(),
            ntp: self.ntp.clone(),
            registries: registries.collect(),
            volumes: self
                .volumes
                .iter()
                .map(|(name, volume)| (name.clone(), volume.value.clone()))
                .collect(),
            containers: self
                .containers
                .iter()
                .map(|container| self.agent_container(container, given))
                .collect(),
        }
    }

    fn agent_container(&self, container: &Container, given: &Given<'_>) -> agent::Container {
        let list = |list: &Option<Vec<Placed<String>>>| {
            list.as_ref().map(|list| list.iter().map(|word| word.value.clone()).collect())
        };
        let image = &container.image.value;
        agent::Container {
            name: container.name.value.clone(),
            image: agent::Image {
                reference: image.text.clone(),
                digest: given.digest(image),
                held: self.holds(container),
            },
            entrypoint: list(&container.entrypoint),
            command: list(&container.command),
            environment: container
                .environment
                .iter()
                .map(|(name, value)| (name.clone(), value.value.clone()))
                .collect(),
            mounts: container.mounts.iter().map(|mount| mount.value.clone()).collect(),
            privileged: container.privileged,
            network: container.network.value,
            health: container.health.as_ref().map(|health| health.value.clone()),
            restart: container.restart,
        }
    }

    /// Reports files that the folder lacks, and those that it must not have.
    fn check_files(&self, given: &Given<'_>, problems: &mut Vec<Problem>) {
        for file in [&self.kernel, &self.initramfs].into_iter().chain(&self.modules) {
            let path = file.value.path();
            let there = given.files.contains_key(path);
            match &file.value {
                File::InFolder(_) if !there => {
                    let what = format!("`{path}` is not in the folder");
                    let help =
                        "add the file, or name it by { url = \"https://...\", sha256 = \"...\" }";
                    problems.push(Problem::error(codes::MISSING_ASSET, &file.span, what, help));
                }
                File::Download(..) if there => {
                    let what =
                        format!("`{path}` is in the folder too: it cannot come from a URL as well");
                    problems.push(Problem::error(
                        codes::TWICE,
                        &file.span,
                        what,
                        "remove one of the two",
                    ));
                }
                _ => {}
            }
        }
        for container in &self.containers {
            let Some(path) = container.image.value.file() else { continue };
            if !given.files.contains_key(&path) {
                let what = format!("`{path}` is not in the folder");
                let help =
                    "save the image there: `skopeo copy docker://... oci:PATH`, or `docker save`";
                problems.push(Problem::error(
                    codes::MISSING_ASSET,
                    &container.image.span,
                    what,
                    help,
                ));
            }
        }
        let texts = self.registries.values().filter_map(|registry| registry.ca.as_ref());
        for path in texts {
            match given.texts.get(&path.value) {
                None => {
                    let what = format!("`{}` is not in the folder", path.value);
                    problems.push(Problem::error(
                        codes::MISSING_ASSET,
                        &path.span,
                        what,
                        "add the file",
                    ));
                }
                Some(text) if text.len() > MAX_TEXT => {
                    let what = format!("`{}` is larger than {MAX_TEXT} bytes", path.value);
                    let help = "leave the certificates that this registry needs in it";
                    problems.push(Problem::error(codes::WRONG_VALUE, &path.span, what, help));
                }
                Some(text) if !text.contains("-----BEGIN CERTIFICATE-----") => {
                    let what = format!("`{}` holds no certificate", path.value);
                    let help = "it needs a PEM block: `-----BEGIN CERTIFICATE-----`";
                    problems.push(Problem::error(codes::WRONG_VALUE, &path.span, what, help));
                }
                Some(_) => {}
            }
        }
        if let Some(path) = given.files.keys().find(|path| is_made(path)) {
            let what = format!("farmgate makes `{path}` from this file, and the folder has one");
            let help = match path == BOOT_SCRIPT {
                true => "remove one of the two",
                false => "remove it, or call it otherwise",
            };
            problems.push(Problem::error(codes::TWICE, &(0..0), what, help));
        }
    }

    fn check_secrets(&self, secrets: &Secrets<'_>, problems: &mut Vec<Problem>) {
        let credentials =
            || self.registries.values().filter_map(|registry| registry.credentials.as_ref());
        for name in credentials() {
            let Some(line) = secrets.lines.get(name.value.as_str()) else { continue };
            if !line
                .split_once(':')
                .is_some_and(|(user, word)| !user.is_empty() && !word.is_empty())
            {
                let what = format!("the line `{}=` of `secrets` holds no credentials", name.value);
                problems.push(Problem::error(
                    codes::WRONG_VALUE,
                    &name.span,
                    what,
                    "write NAME=USER:PASSWORD there",
                ));
            }
        }
        let credentials = credentials().map(|name| (name.value.as_str(), &name.span));
        let keys = self
            .volumes
            .values()
            .filter_map(|volume| Some((volume.value.encrypt.as_deref()?, &volume.span)));
        let environment =
            self.containers.iter().flat_map(|container| container.environment.values());
        let environment = environment.filter_map(|value| match &value.value {
            Value::Secret(name) => Some((name.as_str(), &value.span)),
            Value::Plain(_) => None,
        });
        for (name, span) in credentials.chain(keys).chain(environment) {
            if !secrets.lines.contains_key(name) {
                let what = format!("the file `secrets` has no line `{name}=`");
                let known = secrets.lines.keys().copied();
                problems.push(Problem::error(codes::UNKNOWN_NAME, span, what, meant(name, known)));
            }
        }
    }
}
