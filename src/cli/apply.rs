//! `farmgate apply`: does what `farmgate plan` said.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde::Serialize;

use super::author::Why;
use super::confirm::Confirm;
use super::confirm::Unattended;
use super::context::Context;
use super::context::now;
use super::damage::Damage;
use super::follow::follow;
use super::plan;
use super::rollout;
use crate::fleet::EventId;
use crate::identity::GatewayName;
use crate::publish::Resolver;
use crate::sync::Applied;
use crate::sync::Apply;
use crate::sync::Extent;
use crate::sync::FleetFolder;
use crate::sync::GatewayPlan;
use crate::sync::LiveFleet;
use crate::sync::Plan;
use crate::sync::Reach;
use crate::sync::apply;

#[derive(clap::Args)]
pub(super) struct ApplyCommand {
    /// The fleet folder: fleet.toml, profiles/, gateways/
    #[arg(value_name = "FLEET")]
    fleet: PathBuf,
    /// Do what this file says (`farmgate plan -o FILE`), or nothing
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Publish also what was rolled back, or stopped with its rollout
    #[arg(long)]
    again: bool,
    /// Remove gateways that are registered and not in the folder, as `gateway remove` does
    #[arg(long)]
    remove_absent: bool,
    #[command(flatten)]
    confirm: Confirm,
    /// Show the boots until every gateway has acknowledged; fails if one does not
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    why: Why,
}

/// The outcome of an apply.
#[derive(Serialize)]
struct Done {
    /// The new generations.
    published: BTreeMap<GatewayName, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<EventId>,
    waves: Vec<Vec<GatewayName>>,
    /// Gateways whose group or labels changed.
    described: Vec<GatewayName>,
    unregistered: Vec<GatewayName>,
    absent: Vec<GatewayName>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<GatewayName>,
    /// Gateways of the folder that are registered.
    gateways: usize,
}

impl Done {
    fn new(applied: Applied) -> Self {
        let Applied { plan, published, rollout, not_removed, .. } = applied;
        let stays = |name: &GatewayName| not_removed.contains_key(name);
        let told = |(_, gateway): &(&GatewayName, &GatewayPlan)| {
            gateway.group.is_some() || !gateway.labels.is_empty()
        };
        Self {
            published,
            rollout,
            described: plan.gateways.iter().filter(told).map(|(name, _)| name.clone()).collect(),
            gateways: plan.gateways.len(),
            waves: plan.waves,
            unregistered: plan.unregistered,
            absent: plan.absent,
            removed: plan.removed.into_keys().filter(|name| !stays(name)).collect(),
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[GatewayName]| {
            names.iter().map(GatewayName::as_str).collect::<Vec<_>>().join(" ")
        };
        if !self.unregistered.is_empty() {
            let names = list(&self.unregistered);
            writeln!(f, "not registered, so left out (`farmgate gateway add NAME`): {names}")?;
        }
        if !self.absent.is_empty() {
            writeln!(f, "not in the folder, so left as they are: {}", list(&self.absent))?;
        }
        if !self.removed.is_empty() {
            writeln!(f, "removed: {}", list(&self.removed))?;
        }
        if !self.described.is_empty() {
            writeln!(f, "group or labels changed: {}", list(&self.described))?;
        }
        let number = |name: &GatewayName| self.published.get(name).copied().unwrap_or_default();
        match self.rollout {
            Some(rollout) => {
                writeln!(f, "rollout {} in {} waves", rollout.short(), self.waves.len())?;
                for (wave, names) in self.waves.iter().enumerate() {
                    writeln!(f, "  {}: {}", wave + 1, list(names))?;
                }
            }
            None => {
                for name in self.published.keys() {
                    writeln!(f, "{name} now gets generation {}", number(name))?;
                }
            }
        }
        let (published, all) = (self.published.len(), self.gateways);
        match published {
            0 => write!(f, "nothing to publish: all {all} gateways have their content"),
            _ => write!(f, "published for {published} of {all} gateways"),
        }
    }
}

impl ApplyCommand {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let mut expected = self.plan.as_deref().map(plan::saved).transpose()?;
        ensure!(
            self.remove_absent || expected.as_ref().is_none_or(|plan| plan.removed.is_empty()),
            "the plan removes gateways: add --remove-absent; nothing was changed"
        );
        let mut folder = FleetFolder::read(&self.fleet)?;
        let extent = Extent { again: self.again, remove_absent: self.remove_absent };
        let resolver = Resolver::new(&state.config().images);
        if self.remove_absent {
            // Those that somebody agreed to, and no others.
            let plan = match expected.take() {
                Some(plan) => plan,
                None => {
                    folder.resolve(&resolver, Reach::Needed).context("nothing was changed")?;
                    folder.plan(&LiveFleet::read(&state, now())?, extent)
                }
            };
            self.ask(&plan)?;
            expected = Some(plan);
        }
        let progress = context.progress(0, "storing");
        let applied = apply(
            &state,
            &mut folder,
            Apply {
                expected: expected.as_ref(),
                extent,
                resolver: &resolver,
                by: &self.why.by(),
                now: now(),
                progress: &|bytes| progress.inc(bytes),
            },
        )?;
        progress.finish_and_clear();
        context.warn(&applied.warnings);
        let mut damage = Damage::default();
        for (name, why) in &applied.plan.damaged {
            damage.note(name, &anyhow::anyhow!("{why}"));
        }
        let why = |(name, error): (&GatewayName, &String)| format!("{name}: {error}");
        let not_removed: Vec<_> = applied.not_removed.iter().map(why).collect();
        let done = Done::new(applied);
        context.print(&done)?;
        damage.result().context("some gateways were left out")?;
        ensure!(not_removed.is_empty(), "not removed: {}", not_removed.join("; "));
        if !self.follow {
            return Ok(());
        }
        if let Some(rollout) = done.rollout {
            return rollout::watch(context, &state, rollout);
        }
        let published = done.published.iter();
        let published = published.map(|(name, number)| Ok((state.gateways().load(name)?, *number)));
        follow(context, &state, &published.collect::<Result<Vec<_>>>()?, folder.timeout())
    }

    /// Fails unless somebody agrees to what is removed.
    fn ask(&self, plan: &Plan) -> Result<()> {
        let names: Vec<_> = plan.removed.keys().map(GatewayName::as_str).collect();
        let what = match &names[..] {
            [] => return Ok(()),
            [one] => format!("gateway {one}, which is"),
            all => format!("these {} gateways, which are", all.len()),
        };
        let list = if names.len() > 1 { format!(" ({})", names.join(" ")) } else { String::new() };
        let question = format!(
            "Remove {what} not in the folder{list}, with all keys and generations? The media never \
             boot again, and nothing brings this back."
        );
        self.confirm.ask(&question, Unattended::NeedsYes)
    }
}
