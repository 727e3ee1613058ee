//! The live state of gateways, without secrets: from the state, or from a file that `farmgate state
//! export` wrote. Reads the state.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::fleet::Asset;
use crate::fleet::BOOT_SCRIPT;
use crate::fleet::BlobId;
use crate::fleet::CertificateState;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Generation;
use crate::fleet::GroupName;
use crate::fleet::LabelName;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::fleet::Record;
use crate::fleet::Variables;
use crate::fleet::format;
use crate::foreign::Foreign;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::profile::agent::AGENT_PROFILE;
use crate::profile::agent::IMAGE_INDEX;
use crate::profile::agent::image_blob;
use crate::profile::description::GATEWAY_TOML;
use crate::profile::oci::Index;
use crate::store::State;
use crate::store::blobs::Access;
use crate::store::generations::Generations;
use crate::store::rollouts::Rollouts;

/// Version of the export.
const FORMAT: u32 = 1;

/// The gateways of a state, and what they boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveFleet {
    format: u32,
    /// The time when it was read.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// By name.
    pub gateways: BTreeMap<GatewayName, LiveGateway>,
    /// Gateways that cannot be read, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub damaged: BTreeMap<GatewayName, String>,
    /// Texts of boot scripts, and of what says which images there are, by digest.
    pub scripts: BTreeMap<BlobId, String>,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveGateway {
    pub gateway_id: GatewayId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelName, String>,
    /// Certificates that are not revoked.
    pub fingerprints: BTreeSet<Fingerprint>,
    /// The generation that was activated last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<LiveGeneration>,
    /// The generation that is pinned, and served whatever is current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<u64>,
    /// The generation that was published last, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<LiveGeneration>,
    /// True if somebody decided about the newest one: it was current before, or a rollout has it.
    #[serde(default)]
    pub newest_is_held: bool,
}

/// A generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveGeneration {
    pub generation: u64,
    /// The event that published it.
    pub id: EventId,
    pub files: BTreeMap<String, Asset>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: Variables,
}

impl From<&Generation> for LiveGeneration {
    fn from(generation: &Generation) -> Self {
        Self {
            generation: generation.number,
            id: generation.id,
            files: generation.files().clone(),
            variables: generation.variables().clone(),
        }
    }
}

/// True for files whose text is shown: scripts of iPXE and descriptions, which hold no secrets.
pub(super) fn is_script(path: &str) -> bool {
    path == BOOT_SCRIPT || path == GATEWAY_TOML || path.ends_with(".ipxe")
}

impl LiveFleet {
    /// A fleet without gateways.
    pub(super) fn empty(at: OffsetDateTime) -> Self {
        Self {
            format: FORMAT,
            at,
            gateways: BTreeMap::new(),
            damaged: BTreeMap::new(),
            scripts: BTreeMap::new(),
        }
    }

    /// Reads the state.
    pub fn read(state: &State, now: OffsetDateTime) -> Result<Self> {
        let rollouts = in_rollouts(state)?;
        let mut live = Self::empty(now);
        let generations = Generations::new(state);
        for name in state.gateways().names()? {
            let record = state.gateways().load(&name);
            let gateway = record.and_then(|record| gateway(&generations, &record, &rollouts));
            let gateway = match gateway {
                Ok(gateway) => gateway,
                // One that is damaged must not hold up the others.
                Err(error) => {
                    let why = Foreign::new(&format!("{error:#}")).to_string();
                    live.damaged.insert(name, why);
                    continue;
                }
            };
            if let Some(current) = &gateway.current {
                live.read_texts(&generations, current);
            }
            live.gateways.insert(name, gateway);
        }
        Ok(live)
    }

    /// Reads the texts that a plan compares: scripts, and what says which images there are.
    fn read_texts(&mut self, generations: &Generations, current: &LiveGeneration) {
        for (path, asset) in &current.files {
            let is_text = is_script(path) || path == AGENT_PROFILE || path == IMAGE_INDEX;
            if is_text && asset.size <= MAX_SCRIPT_LEN {
                self.read_text(generations, path, asset);
            }
        }
        let index =
            current.files.get(IMAGE_INDEX).and_then(|index| self.scripts.get(&index.sha256));
        let index = index.and_then(|text| serde_json::from_str::<Index>(text).ok());
        for manifest in index.into_iter().flat_map(|index| index.manifests) {
            let path = image_blob(manifest.digest);
            let asset = current.files.get(&path).filter(|asset| asset.size <= MAX_SCRIPT_LEN);
            if let Some(asset) = asset {
                self.read_text(generations, &path, asset);
            }
        }
    }

    fn read_text(&mut self, generations: &Generations, path: &str, asset: &Asset) {
        if !self.scripts.contains_key(&asset.sha256)
            // A host that shares its store may not have it here: then no text is shown.
            && let Ok(text) = generations.blobs_of(Access::to(path)).read(asset)
        {
            self.scripts.insert(asset.sha256, String::from_utf8_lossy(&text).into_owned());
        }
    }

    /// Reads an export; `place` says where it is.
    pub fn parse(text: &[u8], place: &dyn fmt::Display) -> Result<Self> {
        let damaged = || format!("{place} is no export of a state (`farmgate state export`)");
        format::read(place, text, FORMAT, &damaged)
    }
}

/// A file for `plan --state-json`.
impl fmt::Display for LiveFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?)
    }
}

pub(super) fn gateway(
    generations: &Generations,
    record: &Record,
    rollouts: &BTreeSet<EventId>,
) -> Result<LiveGateway> {
    let history = generations.history(&record.id)?;
    let current = history.current();
    let newest = history.generations().max_by_key(|generation| generation.number);
    let newest = newest.filter(|newest| current.is_none_or(|current| current.id != newest.id));
    let valid = record.certificates.iter().filter(|c| c.state != CertificateState::Revoked);
    Ok(LiveGateway {
        gateway_id: record.id.clone(),
        pinned: history.pinned().map(|generation| generation.number),
        group: record.group.clone(),
        labels: record.labels.clone(),
        fingerprints: valid.map(|certificate| certificate.fingerprint).collect(),
        newest_is_held: newest.is_some_and(|newest| {
            history.was_activated(newest.number) || rollouts.contains(&newest.id)
        }),
        current: current.map(|generation| (&**generation).into()),
        newest: newest.map(|generation| (&**generation).into()),
    })
}

/// Generations of all rollouts, open and closed.
pub(super) fn in_rollouts(state: &State) -> Result<BTreeSet<EventId>> {
    let rollouts = Rollouts::new(state);
    let found = rollouts.open()?.found.into_values().chain(rollouts.closed()?.found.into_values());
    let members = found.flat_map(|stored| stored.rollout.waves).flatten();
    Ok(members.map(|member| member.generation).collect())
}
