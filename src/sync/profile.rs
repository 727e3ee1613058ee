//! Profiles of a fleet folder, and the layers of files that gateways get. Reads the folder.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use anyhow::Result;

use super::content::Content;
use super::fault::Fault;
use super::fault::Placed;
use super::layer::FleetFile;
use super::layer::Layer;
use super::merge;
use super::name::ParseProfileNameError;
use super::name::ProfileName;
use super::tree::PROFILES;
use super::tree::Tree;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::VariableName;
use crate::profile::description::GATEWAY_TOML;

/// A profile with those that it extends.
pub(super) struct Profile {
    pub(super) files: BTreeMap<String, Content>,
    pub(super) variables: BTreeMap<VariableName, Placed<String>>,
}

/// All profiles, each with what it has from others.
pub(super) fn profiles(
    tree: &Tree,
    fleet: &FleetFile,
    faults: &mut Vec<Fault>,
) -> Result<BTreeMap<ProfileName, Profile>> {
    let mut names: BTreeSet<ProfileName> = fleet.profiles.keys().cloned().collect();
    for (path, whole) in tree.below(PROFILES) {
        let Some((name, _)) = path.split_once('/') else {
            if !path.starts_with("README") {
                faults.push(Fault::of(whole, "it is not in the folder of a profile", "move it"));
            }
            continue;
        };
        match name.parse() {
            Ok(name) => drop(names.insert(name)),
            Err(error) => {
                let error: ParseProfileNameError = error;
                faults.push(Fault::of(
                    &format!("{PROFILES}/{name}"),
                    error.to_string(),
                    "rename it",
                ));
            }
        }
    }
    let extends: BTreeMap<ProfileName, Option<&Placed<ProfileName>>> = names
        .iter()
        .map(|name| (name.clone(), fleet.profiles.get(name).and_then(|l| l.profile.as_ref())))
        .collect();
    let mut profiles = BTreeMap::new();
    for name in &names {
        let Some(chain) = merge::chain(name, &extends, faults) else { continue };
        let (mut files, mut variables) = (BTreeMap::new(), BTreeMap::new());
        for part in chain {
            overlay(&mut files, own_files(tree, &format!("{PROFILES}/{part}"), faults)?);
            let Some(layer) = fleet.profiles.get(&part) else { continue };
            downloads(tree, &format!("{PROFILES}/{part}"), layer, &mut files, faults);
            variables.extend(layer.variables.clone());
        }
        profiles.insert(name.clone(), Profile { files, variables });
    }
    Ok(profiles)
}

/// The files of a folder.
pub(super) fn own_files(
    tree: &Tree,
    folder: &str,
    faults: &mut Vec<Fault>,
) -> Result<BTreeMap<String, Content>> {
    let mut files = BTreeMap::new();
    for (path, whole) in tree.below(folder) {
        if let Some(asset) = tree.asset(whole, faults)? {
            files.insert(path.to_owned(), Content::InTree { path: whole.to_owned(), asset });
        }
    }
    Ok(files)
}

/// Puts the files of a layer over those below it. One that boots in another way takes that of the
/// layer below away: a gateway has a `boot.ipxe` or a `gateway.toml`.
pub(super) fn overlay(files: &mut BTreeMap<String, Content>, own: BTreeMap<String, Content>) {
    for (this, other) in [(BOOT_SCRIPT, GATEWAY_TOML), (GATEWAY_TOML, BOOT_SCRIPT)] {
        if own.contains_key(this) {
            files.remove(other);
        }
    }
    files.extend(own);
}

/// Puts the files by URL of a layer, whose own folder this is, to the others.
pub(super) fn downloads(
    tree: &Tree,
    folder: &str,
    layer: &Layer,
    files: &mut BTreeMap<String, Content>,
    faults: &mut Vec<Fault>,
) {
    for (path, download) in &layer.files {
        if tree.has(&format!("{folder}/{path}")) {
            let what = format!("`{path}` is in {folder} too: it cannot come from a URL as well");
            faults.push(download.fault(what, "remove one of the two"));
        }
        files.insert(path.clone(), Content::Download(download.value.clone()));
    }
}
