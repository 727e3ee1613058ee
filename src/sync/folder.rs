//! The fleet folder as a whole: what it says about each gateway. Reads the disk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use super::content::Content;
use super::fault::Fault;
use super::fault::Faults;
use super::fault::Placed;
use super::fault::meant;
use super::layer;
use super::layer::FleetFile;
use super::layer::Layer;
use super::made::Made;
use super::made::Reach;
use super::merge;
use super::name::ProfileName;
use super::profile::Profile;
use super::profile::downloads;
use super::profile::overlay;
use super::profile::own_files;
use super::profile::profiles;
use super::tree::FLEET_FILE;
use super::tree::GATEWAYS;
use super::tree::Tree;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::GroupName;
use crate::fleet::LabelName;
use crate::fleet::MAX_VARIABLES;
use crate::fleet::VariableName;
use crate::fleet::Variables;
use crate::fleet::rollout::Rules;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::profile::description::GATEWAY_TOML;
use crate::publish::Resolver;

/// Most bytes of a folder unless it says `max-size`: less than git hosts take, more than scripts,
/// a kernel and a small initramfs need.
pub(super) const MAX_SIZE: u64 = 512 * 1024 * 1024;

/// A fleet folder without faults.
pub struct FleetFolder {
    pub(super) tree: Tree,
    pub(super) gateways: BTreeMap<GatewayName, Described>,
    /// The waves, in order. A gateway is in the first that names it; the others come last.
    pub(super) waves: Vec<BTreeSet<GatewayName>>,
    /// Conditions for the end of a wave.
    pub(super) rules: Rules,
}

/// A gateway as the folder describes it.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its profile.
    pub profile: Option<ProfileName>,
    /// Its group, if the folder names one.
    pub group: Option<GroupName>,
    /// Its labels.
    pub labels: BTreeMap<LabelName, String>,
    /// A certificate that it must have, if the folder names one.
    pub fingerprint: Option<Fingerprint>,
    pub(super) variables: BTreeMap<VariableName, Placed<String>>,
    pub(super) files: BTreeMap<String, Content>,
    /// Its `gateway.toml`, if it has one.
    pub(super) made: Option<Made>,
}

impl Described {
    /// Its variables.
    pub fn variables(&self) -> Variables {
        let pair =
            |(name, value): (&VariableName, &Placed<String>)| (name.clone(), value.value.clone());
        self.variables.iter().map(pair).collect()
    }
}

impl fmt::Debug for FleetFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetFolder").field("gateways", &self.gateways).finish_non_exhaustive()
    }
}

impl FleetFolder {
    /// The longest wait for a wave, and for what is not published in waves.
    pub fn timeout(&self) -> Option<Duration> {
        self.rules.timeout
    }

    /// Reads a folder. All faults come together as one error ([`Faults`]).
    pub fn read(path: &Path) -> Result<Self> {
        let mut faults = Vec::new();
        let mut tree = Tree::open(path)?;
        let shown = path.display().to_string();
        let fleet = match tree.text(FLEET_FILE, &mut faults)? {
            Some(source) => layer::fleet(&source, &mut faults),
            None if faults.is_empty() => {
                let help = "a fleet folder has a fleet.toml (it may be empty), profiles/ and \
                            gateways/: docs/fleet.md";
                faults.push(Fault::of(FLEET_FILE, "there is none", help));
                FleetFile::default()
            }
            None => FleetFile::default(),
        };
        tree.list(fleet.max_size.unwrap_or(MAX_SIZE), &mut faults);
        let layers = gateways(&tree, &mut faults)?;
        // Files are hashed only if all else is right: it takes the longest.
        Faults::none(&shown, std::mem::take(&mut faults))?;
        let profiles = profiles(&tree, &fleet, &mut faults)?;
        let mut described = BTreeMap::new();
        for (name, layer) in &layers {
            let gateway = describe(&tree, &fleet, &profiles, name, layer, &mut faults)?;
            described.extend(gateway.map(|gateway| (name.clone(), gateway)));
        }
        certificates(&layers, &mut faults);
        let waves = waves(&fleet, &described, &mut faults);
        Faults::none(&shown, faults)?;
        Ok(Self { tree, gateways: described, waves, rules: fleet.rules })
    }

    /// Asks what the images of all gateways are. Returns what is not known, a line each.
    pub fn resolve(&mut self, resolver: &Resolver, reach: Reach) -> Result<Vec<String>> {
        let mut missing = BTreeSet::new();
        for (name, gateway) in &mut self.gateways {
            let Some(made) = &mut gateway.made else { continue };
            let of = || format!("gateway {name}");
            let found = made.resolve(resolver, reach, &self.tree, &mut gateway.files);
            missing.extend(found.with_context(of)?);
        }
        Ok(missing.into_iter().collect())
    }

    /// The gateways, by name.
    pub fn gateways(&self) -> &BTreeMap<GatewayName, Described> {
        &self.gateways
    }

    /// The path as the caller gave it.
    pub fn shown(&self) -> &Path {
        self.tree.shown()
    }
}

/// The settings of each gateway: `NAME.toml`, or nothing for a folder alone.
fn gateways(tree: &Tree, faults: &mut Vec<Fault>) -> Result<BTreeMap<GatewayName, Layer>> {
    let mut layers = BTreeMap::new();
    for (path, whole) in tree.below(GATEWAYS) {
        let (name, folder) = match path.split_once('/') {
            Some((name, _)) => (name, format!("{GATEWAYS}/{name}")),
            None if path.starts_with("README") => continue,
            None => match path.strip_suffix(".toml") {
                Some(name) => (name, whole.to_owned()),
                None => {
                    let help =
                        "a gateway is NAME.toml, and a folder NAME/ if it has files of its own";
                    faults.push(Fault::of(whole, "it is neither", help));
                    continue;
                }
            },
        };
        match name.parse::<GatewayName>() {
            Ok(name) if path.contains('/') => drop(layers.entry(name).or_default()),
            Ok(name) => {
                let source = tree.text(whole, faults)?;
                let layer = source.map(|source| layer::gateway(&source, faults));
                layers.insert(name, layer.unwrap_or_default());
            }
            Err(error) => faults.push(Fault::of(&folder, error.to_string(), "rename it")),
        }
    }
    Ok(layers)
}

fn describe(
    tree: &Tree,
    fleet: &FleetFile,
    profiles: &BTreeMap<ProfileName, Profile>,
    name: &GatewayName,
    layer: &Layer,
    faults: &mut Vec<Fault>,
) -> Result<Option<Described>> {
    let profile = layer.profile.as_ref().or(fleet.defaults.profile.as_ref());
    let group = layer.group.as_ref().or(fleet.defaults.group.as_ref());
    if let Some(group) = group
        && !fleet.groups.is_empty()
        && !fleet.groups.contains_key(&group.value)
    {
        let what = format!("fleet.toml has no group `{}`", group.value);
        faults.push(
            group.fault(
                what,
                meant(group.value.as_str(), fleet.groups.keys().map(GroupName::as_str)),
            ),
        );
    }
    let table = group.and_then(|group| fleet.groups.get(&group.value));
    let mut files = BTreeMap::new();
    let mut profile_variables = BTreeMap::new();
    if let Some(named) = profile {
        match profiles.get(&named.value) {
            Some(profile) => {
                files.clone_from(&profile.files);
                profile_variables.clone_from(&profile.variables);
            }
            None => {
                // One in a cycle has its own fault.
                if !fleet.profiles.contains_key(&named.value) {
                    let what = format!("there is no profile `{}`", named.value);
                    let known = profiles.keys().map(ProfileName::as_str);
                    faults.push(named.fault(what, meant(named.value.as_str(), known)));
                }
                return Ok(None);
            }
        }
    }
    let own = format!("{GATEWAYS}/{name}");
    overlay(&mut files, own_files(tree, &own, faults)?);
    downloads(tree, &own, layer, &mut files, faults);
    let settings = format!("{own}.toml");
    let shown = if tree.has(&settings) { &settings } else { &own };
    if let Some((one, other)) = merge::same_but_for_case(files.keys()) {
        let what = format!("its files `{one}` and `{other}` differ only in case");
        faults.push(Fault::of(
            shown,
            what,
            "rename one, in the profile or in the gateway's folder",
        ));
    }
    let empty = BTreeMap::new();
    let of_group = table.map_or(&empty, |table| &table.variables);
    let layers = [&fleet.defaults.variables, &profile_variables, of_group, &layer.variables];
    let variables = merge::layers(layers);
    if variables.len() > MAX_VARIABLES {
        let what = format!("it has more than {MAX_VARIABLES} variables");
        faults.push(Fault::of(shown, what, "remove some"));
    }
    let before = faults.len();
    let made = Made::new(tree, &mut files, faults)?;
    if made.is_none() && files.contains_key(GATEWAY_TOML) && faults.len() > before {
        return Ok(None);
    }
    if !files.contains_key(BOOT_SCRIPT) {
        let help = match profile {
            Some(_) => "add it, or a gateway.toml, to the profile or to the gateway's folder",
            None => "name a `profile`, or add boot.ipxe or gateway.toml to the gateway's folder",
        };
        faults.push(Fault::of(shown, format!("it gets no {BOOT_SCRIPT}"), help));
        return Ok(None);
    }
    let no_labels = BTreeMap::new();
    let of_group = table.map_or(&no_labels, |table| &table.labels);
    Ok(Some(Described {
        profile: profile.map(|profile| profile.value.clone()),
        group: group.map(|group| group.value.clone()),
        labels: merge::layers([&fleet.defaults.labels, of_group, &layer.labels]),
        fingerprint: layer.fingerprint.as_ref().map(|fingerprint| fingerprint.value),
        variables,
        files,
        made,
    }))
}

/// A certificate belongs to one gateway.
fn certificates(layers: &BTreeMap<GatewayName, Layer>, faults: &mut Vec<Fault>) {
    let mut owners: BTreeMap<Fingerprint, &GatewayName> = BTreeMap::new();
    for (name, layer) in layers {
        let Some(fingerprint) = &layer.fingerprint else { continue };
        if let Some(other) = owners.insert(fingerprint.value, name) {
            let what = format!("gateway {other} has this certificate already");
            let help = "a certificate is the identity of one gateway: correct one of the two";
            faults.push(fingerprint.fault(what, help));
        }
    }
}

fn waves(
    fleet: &FleetFile,
    described: &BTreeMap<GatewayName, Described>,
    faults: &mut Vec<Fault>,
) -> Vec<BTreeSet<GatewayName>> {
    let mut taken = BTreeSet::new();
    let mut waves = Vec::new();
    for wave in &fleet.waves {
        let mut members = BTreeSet::new();
        for name in &wave.gateways {
            if described.contains_key(&name.value) {
                members.insert(name.value.clone());
            } else {
                let what = format!("the folder has no gateway `{}`", name.value);
                let known = described.keys().map(GatewayName::as_str);
                faults.push(name.fault(what, meant(name.value.as_str(), known)));
            }
        }
        for group in &wave.groups {
            let of_group = |gateway: &Described| gateway.group.as_ref() == Some(&group.value);
            let found: Vec<_> = described
                .iter()
                .filter(|(_, g)| of_group(g))
                .map(|(name, _)| name.clone())
                .collect();
            if found.is_empty() && !fleet.groups.contains_key(&group.value) {
                let what = format!("no gateway is in the group `{}`", group.value);
                let known: BTreeSet<&str> = described
                    .values()
                    .filter_map(|gateway| Some(gateway.group.as_ref()?.as_str()))
                    .collect();
                faults.push(group.fault(what, meant(group.value.as_str(), known)));
            }
            members.extend(found);
        }
        members.retain(|name| taken.insert(name.clone()));
        waves.push(members);
    }
    waves
}
