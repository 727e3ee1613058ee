//! Carries out a plan: checks everything, fetches and stores files, and then lets gateways have
//! their new generations. Reads the folder, writes the state.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use time::OffsetDateTime;

use super::content::Content;
use super::folder::Described;
use super::folder::FleetFolder;
use super::live;
use super::live::LiveFleet;
use super::made::Reach;
use super::plan::Action;
use super::plan::Extent;
use super::plan::GatewayPlan;
use super::plan::Plan;
use crate::fleet::Act;
use crate::fleet::Assessment;
use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::fleet::By;
use crate::fleet::EventId;
use crate::fleet::MAX_SCRIPT_LEN;
use crate::identity::GatewayName;
use crate::publish;
use crate::publish::Checked;
use crate::publish::Downloads;
use crate::publish::Item;
use crate::publish::Resolver;
use crate::publish::present;
use crate::store::State;
use crate::store::acts::Acts;
use crate::store::blobs::Access;
use crate::store::generations::Generations;

/// Errors that a refusal names.
const SHOWN: usize = 3;

/// Options of an apply.
#[derive(Clone, Copy)]
pub struct Apply<'a> {
    /// A saved plan: fail if anything else would be done.
    pub expected: Option<&'a Plan>,
    pub extent: Extent,
    /// Its answers from before the plan stay true for the apply.
    pub resolver: &'a Resolver,
    /// Author and reason.
    pub by: &'a By,
    pub now: OffsetDateTime,
    /// Gets the number of bytes that were fetched or stored.
    pub progress: &'a dyn Fn(u64),
}

/// The outcome of an apply.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The plan that was carried out.
    pub plan: Plan,
    /// New generations by gateway, of all waves.
    pub published: BTreeMap<GatewayName, u64>,
    /// The rollout, if there are several waves.
    pub rollout: Option<EventId>,
    /// Gateways that were to be removed and are still there, and why.
    pub not_removed: BTreeMap<GatewayName, String>,
    /// Findings that stop nothing, a line each.
    pub warnings: Vec<String>,
}

/// The live state is another one than at the time of the plan.
#[derive(Debug, thiserror::Error)]
#[error("{0}; nothing was changed: look at `farmgate plan` again")]
pub struct Moved(String);

impl FleetFolder {
    /// The changes that applying the folder would make.
    pub fn plan(&self, live: &LiveFleet, extent: Extent) -> Plan {
        let script = |content: &Content| match content {
            Content::InTree { path, asset } => {
                let text = self.tree.head(path, asset.size.min(MAX_SCRIPT_LEN)).ok()?;
                Some(String::from_utf8_lossy(&text).into_owned())
            }
            Content::Made { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
            Content::Download(_) | Content::Image(_) => None,
        };
        Plan::new(&self.gateways, &self.waves, live, extent, &script)
    }
}

/// Applies a folder: all of it or, if anything is wrong, nothing. Gateways whose content stays get
/// no new generation, and so no new trial. With several waves, the server goes on after the first.
pub fn apply(state: &State, folder: &mut FleetFolder, apply: Apply<'_>) -> Result<Applied> {
    let elsewhere = state.config().secrets.dir.is_some();
    let generations = Generations::new(state);
    let public = generations.blobs_of(Access::Public);
    let head = |sha256: BlobId| publish::head_of(public, sha256);
    ensure_no_error(&folder.check(elsewhere, &head)?, folder)?;
    folder.resolve(apply.resolver, Reach::Needed).context("nothing was changed")?;
    let folder = &*folder;
    let plan = folder.plan(&LiveFleet::read(state, apply.now)?, apply.extent);
    if let Some(expected) = apply.expected
        && *expected != plan
    {
        return Err(Moved("the folder or the live state is not that of the plan".into()).into());
    }
    if !plan.wrong_certificate.is_empty() {
        let names: Vec<&str> = plan.wrong_certificate.iter().map(GatewayName::as_str).collect();
        bail!(
            "{}: no valid certificate has the `fingerprint` that the folder demands",
            names.join(", ")
        );
    }
    if !plan.removed.is_empty() {
        ensure!(
            !folder.gateways.is_empty(),
            "the folder describes no gateway, so all would be removed; nothing was changed: if that \
             is meant, `farmgate gateway remove @all`"
        );
        // Who cannot revoke could not finish.
        state.authority().context("no gateway can be removed; nothing was changed")?;
    }
    let downloads = Downloads::default();
    let stored = Stored { generations: &generations, folder, downloads, apply: &apply };
    let mut items = BTreeMap::new();
    for (name, gateway) in plan.gateways.iter().filter(|(_, gateway)| !gateway.is_empty()) {
        let Some(described) = folder.gateways.get(name) else { continue };
        let record = state.gateways().load(name)?;
        let files = match gateway.action {
            Action::Publish => stored.files(described)?,
            Action::None | Action::Held => BTreeMap::new(),
        };
        items.insert(name.clone(), Item { record, files, variables: described.variables() });
    }
    // With what was fetched: a page of an error in place of a kernel strands a gateway.
    let checked = folder.check(elsewhere, &head)?;
    ensure_no_error(&checked, folder)?;
    folder.tree.ensure_unchanged()?;
    let waves = waves(&plan, &mut items)?;
    let lock = state.lock()?;
    ensure_unmoved(state, &generations, &plan)?;
    let batch = publish::publish_all(state, &lock, &waves, folder.rules, apply.by, apply.now)?;
    for (name, gateway) in plan.gateways.iter().filter(|(_, gateway)| !gateway.is_empty()) {
        describe_record(state, &lock, name, gateway, &folder.gateways, &apply)?;
    }
    drop(lock);
    let mut not_removed = BTreeMap::new();
    for name in plan.removed.keys() {
        if let Err(error) = state.remove_gateway(name, apply.by, apply.now) {
            not_removed.insert(name.clone(), format!("{error:#}"));
        }
    }
    if let Some(rollout) = batch.rollout {
        publish::rollout::go_on(state, rollout, apply.now)?;
    }
    let warnings = checked.iter().flat_map(Checked::lines).collect();
    Ok(Applied { plan, published: batch.published, rollout: batch.rollout, not_removed, warnings })
}

fn ensure_no_error(checked: &[Checked], folder: &FleetFolder) -> Result<()> {
    let errors: Vec<String> = checked.iter().flat_map(Checked::errors).collect();
    if errors.is_empty() {
        return Ok(());
    }
    let first = errors[..errors.len().min(SHOWN)].join("; ");
    bail!(
        "{first} ({} in all; farmgate check {} shows more); nothing was changed",
        errors.len(),
        folder.shown().display()
    )
}

/// Puts files into blobs: those of the folder, and those by URL.
struct Stored<'a> {
    generations: &'a Generations,
    folder: &'a FleetFolder,
    downloads: Downloads,
    apply: &'a Apply<'a>,
}

impl Stored<'_> {
    fn files(&self, described: &Described) -> Result<BTreeMap<String, Asset>> {
        let mut files = BTreeMap::new();
        if let Some(made) = &described.made {
            let public = self.generations.blobs_of(Access::Public);
            let (tree, progress) = (&self.folder.tree, self.apply.progress);
            made.hold(self.apply.resolver, tree, &described.files, public, progress)?;
        }
        for (path, content) in &described.files {
            let blobs = self.generations.blobs_of(Access::to(path));
            let asset = match content {
                Content::InTree { asset, .. } if present(blobs, asset.sha256).is_some() => {
                    asset.clone()
                }
                Content::InTree { path: place, asset } => {
                    let source = self.folder.tree.open_listed(place)?;
                    let (sha256, size) =
                        blobs.add(source).with_context(|| format!("cannot store {place}"))?;
                    ensure!(
                        (sha256, size) == (asset.sha256, asset.size),
                        "{place} changed while it was read; nothing was published: try again"
                    );
                    (self.apply.progress)(size);
                    asset.clone()
                }
                // It was fetched just now.
                Content::Image(asset) => asset.clone(),
                Content::Made { bytes, asset } => {
                    blobs.add(&**bytes).with_context(|| format!("cannot store {path}"))?;
                    asset.clone()
                }
                Content::Download(download) => {
                    self.downloads.fetch(download, blobs, self.apply.progress)?
                }
            };
            files.insert(path.clone(), asset);
        }
        Ok(files)
    }
}

/// The waves of a plan. Gateways that never acknowledge come last, and so do pinned ones, which do
/// not try it: nothing can wait for them.
fn waves(plan: &Plan, items: &mut BTreeMap<GatewayName, Item>) -> Result<Vec<Vec<Item>>> {
    let mut waves: Vec<Vec<Item>> = Vec::new();
    let mut silent = Vec::new();
    for wave in &plan.waves {
        let mut members = Vec::new();
        for name in wave {
            let item = items.remove(name).context("a wave names a gateway that does not change")?;
            let pinned = plan.gateways.get(name).is_some_and(|gateway| gateway.pinned.is_some());
            match item.record.assessment {
                Assessment::Default if !pinned => members.push(item),
                _ => silent.push(item),
            }
        }
        waves.push(members);
    }
    waves.retain(|wave| !wave.is_empty());
    match waves.last_mut() {
        Some(last) => last.append(&mut silent),
        None if !silent.is_empty() => waves.push(silent),
        None => {}
    }
    Ok(waves)
}

/// Fails if a gateway that changes is not as it was when the plan was made. Holds the lock.
fn ensure_unmoved(state: &State, generations: &Generations, plan: &Plan) -> Result<()> {
    for (name, gateway) in plan.gateways.iter().filter(|(_, gateway)| !gateway.is_empty()) {
        let record = state.gateways().find(name)?;
        let record = record.filter(|record| record.id == gateway.gateway_id);
        let Some(record) = record else {
            return Err(Moved(format!("gateway {name} was removed meanwhile")).into());
        };
        let now = live::gateway(generations, &record, &BTreeSet::new())?;
        let id = |found: &Option<live::LiveGeneration>| found.as_ref().map(|found| found.id);
        if [id(&now.current), id(&now.newest)] != gateway.live {
            let what = format!("gateway {name} got another generation meanwhile");
            return Err(Moved(what).into());
        }
    }
    for (name, id) in &plan.removed {
        if state.gateways().find(name)?.is_none_or(|record| record.id != *id) {
            return Err(Moved(format!("gateway {name} is another one, or gone")).into());
        }
    }
    Ok(())
}

/// Writes group and labels into the record.
fn describe_record(
    state: &State,
    lock: &crate::store::lock::StateLock,
    name: &GatewayName,
    plan: &GatewayPlan,
    described: &BTreeMap<GatewayName, Described>,
    apply: &Apply<'_>,
) -> Result<()> {
    let Some(described) =
        described.get(name).filter(|_| plan.group.is_some() || !plan.labels.is_empty())
    else {
        return Ok(());
    };
    let before = state.gateways().load(name)?;
    let mut record = before.clone();
    if let Some(group) = &plan.group {
        record.group = Some(group.after.clone());
    }
    if !plan.labels.is_empty() {
        record.labels.clone_from(&described.labels);
    }
    state.gateways().save(lock, &record)?;
    if let Some(act) = Act::of_change(&before, &record, apply.by, apply.now) {
        Acts::new(state).note(&act);
    }
    Ok(())
}
