//! `[[container]]`, without its mounts.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;

use super::Reader;
use super::value::WORD;
use super::value::is_word;
use super::value::placed;
use crate::foreign::Foreign;
use crate::ipxe::script::codes;
use crate::profile::agent::Network;
use crate::profile::agent::Restart;
use crate::profile::agent::Value;
use crate::profile::agent::Volume;
use crate::profile::description::container::Container;
use crate::profile::description::container::Image;
use crate::profile::description::problem::Placed;
use crate::profile::description::raw::RawContainer;
use crate::profile::description::raw::Text;
use crate::profile::description::secrets::REFERENCE;

impl Reader {
    pub(super) fn containers(
        &mut self,
        raw: &[Spanned<RawContainer>],
        volumes: &BTreeMap<String, Placed<Volume>>,
    ) -> Vec<Container> {
        if raw.is_empty() {
            let help = "add `[[container]]` with an `image`";
            self.error(codes::WRONG_VALUE, &(0..0), "the gateway runs nothing", help);
        }
        self.at_most(raw, "containers");
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

    pub(super) fn image(&mut self, text: &Text) -> Option<Placed<Image>> {
        self.value(text, str::parse::<Image>)
    }

    fn words(&mut self, list: &[Text]) {
        self.at_most(list, "words");
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
        self.at_most(raw.keys(), "of them");
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
