//! The TOML files of a fleet folder: `fleet.toml` and `gateways/NAME.toml`. Text in, layers of
//! settings or faults out. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::fault::Fault;
use super::fault::Placed;
use super::fault::SourceFile;
use super::name::ProfileName;
use crate::config::Period;
use crate::config::Size;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::GroupName;
use crate::fleet::Label;
use crate::fleet::LabelName;
use crate::fleet::MAX_LABELS;
use crate::fleet::MAX_VARIABLES;
use crate::fleet::SECRETS;
use crate::fleet::VariableName;
use crate::fleet::check_value;
use crate::fleet::rollout::Rules;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::near::near_key;
use crate::profile::description::GATEWAY_TOML;
use crate::profile::download::Download;
use crate::profile::download::DownloadUrl;
use crate::profile::download::RawDownload;

type Text = Spanned<String>;

/// Settings that one table has for gateways. Later layers win over earlier ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) profile: Option<Placed<ProfileName>>,
    pub(super) group: Option<Placed<GroupName>>,
    pub(super) labels: BTreeMap<LabelName, String>,
    pub(super) fingerprint: Option<Placed<Fingerprint>>,
    pub(super) variables: BTreeMap<VariableName, Placed<String>>,
    /// Files by URL, by their path in the generation.
    pub(super) files: BTreeMap<String, Placed<Download>>,
}

/// `fleet.toml`.
#[derive(Clone, Debug, Default)]
pub(super) struct FleetFile {
    pub(super) max_size: Option<u64>,
    pub(super) defaults: Layer,
    /// `profile` of a profile's layer is the one that it extends.
    pub(super) profiles: BTreeMap<ProfileName, Layer>,
    pub(super) groups: BTreeMap<GroupName, Layer>,
    pub(super) waves: Vec<Wave>,
    /// Conditions for the end of a wave.
    pub(super) rules: Rules,
}

/// Gateways that get a new generation together.
#[derive(Clone, Debug, Default)]
pub(super) struct Wave {
    pub(super) gateways: Vec<Placed<GatewayName>>,
    pub(super) groups: Vec<Placed<GroupName>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawFleet {
    max_size: Option<Spanned<String>>,
    defaults: RawDefaults,
    profiles: BTreeMap<Text, RawProfile>,
    groups: BTreeMap<Text, RawGroup>,
    waves: Vec<RawWave>,
    rollout: RawRules,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawRules {
    wait_for: Option<Text>,
    timeout: Option<Text>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawDefaults {
    profile: Option<Text>,
    group: Option<Text>,
    labels: BTreeMap<Text, Text>,
    variables: BTreeMap<Text, Text>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawProfile {
    extends: Option<Text>,
    variables: BTreeMap<Text, Text>,
    files: BTreeMap<Text, RawDownload>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawGroup {
    labels: BTreeMap<Text, Text>,
    variables: BTreeMap<Text, Text>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawWave {
    gateways: Vec<Text>,
    groups: Vec<Text>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawGateway {
    profile: Option<Text>,
    group: Option<Text>,
    fingerprint: Option<Text>,
    labels: BTreeMap<Text, Text>,
    variables: BTreeMap<Text, Text>,
    files: BTreeMap<Text, RawDownload>,
}

/// Reads `fleet.toml`.
pub(super) fn fleet(source: &Arc<SourceFile>, faults: &mut Vec<Fault>) -> FleetFile {
    let raw: RawFleet = parse(source, faults);
    let mut read = Reader { source, faults };
    let mut file = FleetFile::default();
    if let Some(size) = &raw.max_size {
        file.max_size =
            read.value(size, |text| text.parse::<Size>()).map(|size| size.value.bytes());
    }
    file.defaults = Layer {
        profile: raw.defaults.profile.and_then(|text| read.value(&text, str::parse)),
        group: raw.defaults.group.and_then(|text| read.value(&text, str::parse)),
        labels: read.labels(&raw.defaults.labels),
        variables: read.variables(&raw.defaults.variables),
        ..Layer::default()
    };
    for (name, profile) in raw.profiles {
        let Some(name) = read.value(&name, str::parse) else { continue };
        let layer = Layer {
            profile: profile.extends.and_then(|text| read.value(&text, str::parse)),
            variables: read.variables(&profile.variables),
            files: read.files(&profile.files),
            ..Layer::default()
        };
        file.profiles.insert(name.value, layer);
    }
    for (name, group) in raw.groups {
        let Some(name) = read.value(&name, str::parse) else { continue };
        let layer = Layer {
            labels: read.labels(&group.labels),
            variables: read.variables(&group.variables),
            ..Layer::default()
        };
        file.groups.insert(name.value, layer);
    }
    for wave in raw.waves {
        let gateways = wave.gateways.iter().filter_map(|name| read.value(name, str::parse));
        let gateways = gateways.collect();
        let groups = wave.groups.iter().filter_map(|name| read.value(name, str::parse)).collect();
        file.waves.push(Wave { gateways, groups });
    }
    let RawRules { wait_for, timeout } = &raw.rollout;
    let wait_for = wait_for.as_ref().and_then(|share| read.value(share, str::parse));
    let timeout = timeout.as_ref().and_then(|limit| read.value(limit, str::parse::<Period>));
    file.rules = Rules {
        wait_for: wait_for.map(|share| share.value).unwrap_or_default(),
        timeout: timeout.map(|limit| limit.value.get()),
    };
    file
}

/// Reads `gateways/NAME.toml`.
pub(super) fn gateway(source: &Arc<SourceFile>, faults: &mut Vec<Fault>) -> Layer {
    let raw: RawGateway = parse(source, faults);
    let mut read = Reader { source, faults };
    Layer {
        profile: raw.profile.and_then(|text| read.value(&text, str::parse)),
        group: raw.group.and_then(|text| read.value(&text, str::parse)),
        fingerprint: raw.fingerprint.and_then(|text| read.value(&text, str::parse)),
        labels: read.labels(&raw.labels),
        variables: read.variables(&raw.variables),
        files: read.files(&raw.files),
    }
}

fn parse<T: Default + for<'de> Deserialize<'de>>(
    source: &SourceFile,
    faults: &mut Vec<Fault>,
) -> T {
    toml::from_str(&source.text).unwrap_or_else(|error| {
        let span = error.span().unwrap_or(0..0);
        let near = near_key(error.message());
        let help = near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
        faults.push(Fault::at(source, span, error.message(), help));
        T::default()
    })
}

struct Reader<'a> {
    source: &'a Arc<SourceFile>,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn placed<T>(&self, value: T, span: Range<usize>) -> Placed<T> {
        Placed { value, source: self.source.clone(), span }
    }

    fn fault(&mut self, span: Range<usize>, what: impl std::fmt::Display, help: &str) {
        self.faults.push(Fault::at(self.source, span, what.to_string(), help));
    }

    fn value<T, E: std::fmt::Display>(
        &mut self,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Placed<T>> {
        match parse(text.get_ref()) {
            Ok(value) => Some(self.placed(value, text.span())),
            Err(error) => {
                self.fault(text.span(), error, "");
                None
            }
        }
    }

    fn labels(&mut self, raw: &BTreeMap<Text, Text>) -> BTreeMap<LabelName, String> {
        if let Some(text) = raw.keys().nth(MAX_LABELS) {
            self.fault(text.span(), format!("there are more than {MAX_LABELS} labels"), "");
        }
        let mut labels = BTreeMap::new();
        for (name, value) in raw {
            let Some(name) = self.value(name, str::parse::<LabelName>) else { continue };
            let label = self.value(value, |value| Label::new(name.value, value));
            labels.extend(label.map(|label| (label.value.name, label.value.value)));
        }
        labels
    }

    fn variables(&mut self, raw: &BTreeMap<Text, Text>) -> BTreeMap<VariableName, Placed<String>> {
        if let Some(text) = raw.keys().nth(MAX_VARIABLES) {
            self.fault(text.span(), format!("there are more than {MAX_VARIABLES} variables"), "");
        }
        let mut variables = BTreeMap::new();
        for (name, value) in raw {
            let Some(name) = self.value(name, str::parse::<VariableName>) else { continue };
            let checked = |text: &str| check_value(text).map(|()| text.to_owned());
            let Some(value) = self.value(value, checked) else { continue };
            // Findings about a variable mark its name.
            variables.insert(name.value, Placed { span: name.span, ..value });
        }
        variables
    }

    fn files(&mut self, raw: &BTreeMap<Text, RawDownload>) -> BTreeMap<String, Placed<Download>> {
        let mut files = BTreeMap::new();
        for (path, RawDownload { url, sha256 }) in raw {
            let span = path.span();
            let url = self.value(url, str::parse::<DownloadUrl>);
            let digest = |text: &str| text.parse().map_err(|_| "not a SHA-256: 64 hex digits");
            let sha256 = self.value(sha256, digest);
            match check_path(path.get_ref()) {
                Err(why) => self.fault(span, why, ""),
                Ok(()) => {
                    let (Some(url), Some(sha256)) = (url, sha256) else { continue };
                    let download = Download { url: url.value, sha256: sha256.value };
                    files.insert(path.get_ref().clone(), self.placed(download, span));
                }
            }
        }
        files
    }
}

/// Checks the path of a file that comes from a URL.
fn check_path(path: &str) -> Result<(), String> {
    if [BOOT_SCRIPT, SECRETS, GATEWAY_TOML].contains(&path) {
        return Err(format!("`{path}` must be a file of the folder, where it is reviewed"));
    }
    let part = |part: &str| !part.is_empty() && !part.starts_with('.');
    let plain = path.split('/').all(part) && !path.contains(|c: char| c.is_control() || c == '\\');
    match plain && path.len() <= 1024 && path.split('/').count() <= 16 {
        true => Ok(()),
        false => Err("this cannot be the path of a file: write `vmlinuz` or `dir/vmlinuz`".into()),
    }
}
