//! The changes that applying a fleet folder would make: the folder against what is live. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;
use sha2::Digest;
use sha2::Sha256;

use super::change::Change;
use super::change::FileChange;
use super::change::changes;
use super::change::file_changes;
use super::content::Content;
use super::folder::Described;
use super::live::LiveFleet;
use super::live::LiveGateway;
use super::live::LiveGeneration;
use super::made::Made;
use super::name::ProfileName;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::GroupName;
use crate::fleet::LabelName;
use crate::fleet::VariableName;
use crate::fleet::Variables;
use crate::identity::GatewayName;
use crate::images;

/// Version of saved plans.
const FORMAT: u32 = 1;

/// The changes that applying a folder would make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    format: u32,
    /// Gateways that are registered and in the folder.
    pub gateways: BTreeMap<GatewayName, GatewayPlan>,
    /// The waves of those that get a new generation. One wave: all at once.
    pub waves: Vec<Vec<GatewayName>>,
    /// In the folder, and not registered: nothing is done for them.
    pub unregistered: Vec<GatewayName>,
    /// Registered, and not in the folder: they stay as they are.
    pub absent: Vec<GatewayName>,
    /// Registered, not in the folder, and removed, because somebody asked for that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removed: BTreeMap<GatewayName, GatewayId>,
    /// Gateways whose record or events cannot be read, and why: nothing is done for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged: BTreeMap<GatewayName, String>,
    /// Gateways without the certificate that the folder demands: nothing can be applied.
    pub wrong_certificate: Vec<GatewayName>,
}

/// Steps of a plan besides bringing gateways what the folder says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Also publish what is held ([`Action::Held`]).
    pub again: bool,
    /// Remove registered gateways that the folder does not describe.
    pub remove_absent: bool,
}

/// One gateway of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayPlan {
    pub gateway_id: GatewayId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    pub action: Action,
    /// The current generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The generation that is pinned: it is served in place of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u64>,
    /// Events of the current and the newest generation. A plan is for these.
    pub(super) live: [Option<EventId>; 2],
    /// SHA-256 over everything that the gateway is to have.
    pub(super) content: BlobId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileChange>,
    /// Images of its `gateway.toml`, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<images::Change>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Change<VariableName>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupChange>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Change<LabelName>>,
}

/// The action on a gateway's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It gets a new one.
    Publish,
    /// It has this content.
    None,
    /// The newest one has this content, and is not current: somebody went back from it, or a
    /// rollout has not come that far or stopped before. It is not published again.
    Held,
}

/// Another group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChange {
    pub before: Option<GroupName>,
    pub after: GroupName,
}

impl GatewayPlan {
    /// True if applying changes nothing for this gateway.
    pub fn is_empty(&self) -> bool {
        self.action != Action::Publish && self.group.is_none() && self.labels.is_empty()
    }
}

impl Plan {
    /// Compares a folder's gateways with what is live. `script` gives the text of a script of the
    /// folder.
    pub(super) fn new(
        described: &BTreeMap<GatewayName, Described>,
        waves: &[BTreeSet<GatewayName>],
        live: &LiveFleet,
        extent: Extent,
        script: &dyn Fn(&Content) -> Option<String>,
    ) -> Self {
        let mut plan = Self {
            format: FORMAT,
            gateways: BTreeMap::new(),
            waves: Vec::new(),
            unregistered: Vec::new(),
            absent: Vec::new(),
            removed: BTreeMap::new(),
            damaged: live.damaged.clone(),
            wrong_certificate: Vec::new(),
        };
        for (name, wanted) in described {
            let Some(now) = live.gateways.get(name) else {
                if live.damaged.contains_key(name) {
                    continue;
                }
                plan.unregistered.push(name.clone());
                continue;
            };
            if wanted.fingerprint.is_some_and(|wanted| !now.fingerprints.contains(&wanted)) {
                plan.wrong_certificate.push(name.clone());
            }
            plan.gateways.insert(name.clone(), gateway(wanted, now, live, extent.again, script));
        }
        let absent = live.gateways.iter().filter(|(name, _)| !described.contains_key(*name));
        if extent.remove_absent {
            plan.removed =
                absent.map(|(name, now)| (name.clone(), now.gateway_id.clone())).collect();
        } else {
            plan.absent = absent.map(|(name, _)| name.clone()).collect();
        }
        let mut left: BTreeSet<GatewayName> = plan.changing().cloned().collect();
        for wave in waves {
            let members: Vec<_> = wave.iter().filter(|name| left.remove(*name)).cloned().collect();
            plan.waves.push(members);
        }
        let last = left.into_iter().collect();
        plan.waves.push(last);
        plan.waves.retain(|wave| !wave.is_empty());
        plan
    }

    /// Gateways that get a new generation.
    fn changing(&self) -> impl Iterator<Item = &GatewayName> {
        let publish = |(_, gateway): &(_, &GatewayPlan)| gateway.action == Action::Publish;
        self.gateways.iter().filter(publish).map(|(name, _)| name)
    }

    /// True if applying changes nothing.
    pub fn is_empty(&self) -> bool {
        self.gateways.values().all(GatewayPlan::is_empty) && self.removed.is_empty()
    }

    /// The number of gateways of the folder that change.
    pub fn changes(&self) -> usize {
        self.gateways.values().filter(|gateway| !gateway.is_empty()).count()
    }

    /// Reads a saved plan; `place` says where it is.
    pub fn parse(text: &[u8], place: &dyn std::fmt::Display) -> anyhow::Result<Self> {
        let damaged = || format!("{place} is no plan (`farmgate plan -o FILE`)");
        crate::fleet::format::read(place, text, FORMAT, &damaged)
    }
}

/// SHA-256 over paths, digests and variables.
fn digest<'a>(files: impl Iterator<Item = (&'a String, BlobId)>, variables: &Variables) -> BlobId {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    for (path, sha256) in files {
        add(path);
        add(&sha256.to_string());
    }
    add("");
    for (name, value) in variables {
        add(name.as_str());
        add(value);
    }
    BlobId::of_digest(hasher.finalize().into())
}

fn content_of(generation: &LiveGeneration) -> BlobId {
    let files = generation.files.iter().map(|(path, asset)| (path, asset.sha256));
    digest(files, &generation.variables)
}

fn gateway(
    wanted: &Described,
    now: &LiveGateway,
    live: &LiveFleet,
    again: bool,
    script: &dyn Fn(&Content) -> Option<String>,
) -> GatewayPlan {
    let variables = wanted.variables();
    let files = wanted.files.iter().map(|(path, content)| (path, content.sha256()));
    let content = digest(files, &variables);
    let has_it = |generation: &Option<LiveGeneration>| {
        generation.as_ref().is_some_and(|generation| content_of(generation) == content)
    };
    let action = if has_it(&now.current) {
        Action::None
    } else if has_it(&now.newest) && now.newest_is_held && !again {
        Action::Held
    } else {
        Action::Publish
    };
    let id = |generation: &Option<LiveGeneration>| generation.as_ref().map(|found| found.id);
    let mut plan = GatewayPlan {
        gateway_id: now.gateway_id.clone(),
        profile: wanted.profile.clone(),
        action,
        generation: now.current.as_ref().map(|current| current.generation),
        pinned: now.pinned,
        live: [id(&now.current), id(&now.newest)],
        content,
        files: Vec::new(),
        images: Vec::new(),
        variables: Vec::new(),
        // What the folder does not speak of stays as it is.
        group: wanted
            .group
            .as_ref()
            .filter(|group| Some(*group) != now.group.as_ref())
            .map(|group| GroupChange { before: now.group.clone(), after: group.clone() }),
        labels: match wanted.labels.is_empty() {
            true => Vec::new(),
            false => changes(&now.labels, &wanted.labels),
        },
    };
    if action == Action::Publish {
        let none = (BTreeMap::new(), Variables::new());
        let current = now.current.as_ref();
        let (before, values) = current.map_or((&none.0, &none.1), |c| (&c.files, &c.variables));
        let text = |asset: &Asset| live.scripts.get(&asset.sha256).cloned();
        plan.files = file_changes(before, &wanted.files, &text, script);
        let bytes = |asset: &Asset| live.scripts.get(&asset.sha256).map(|text| text.clone().into());
        let images = wanted.made.as_ref().map(Made::images).unwrap_or_default();
        plan.images = images::changes(&images::held(before, &bytes), &images);
        plan.variables = changes(values, &variables);
    }
    plan
}

#[cfg(test)]
mod tests;
