//! `farmgate plan`: what applying a fleet folder would change.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;

use super::context::Context;
use super::context::now;
use crate::config::Images;
use crate::publish::Resolver;
use crate::store::files;
use crate::sync::Extent;
use crate::sync::FleetFolder;
use crate::sync::LiveFleet;
use crate::sync::Plan;
use crate::sync::Reach;

/// Plans show what scripts and variables say; they hold no secrets.
const PUBLIC: u32 = 0o644;

#[derive(clap::Args)]
pub(super) struct PlanCommand {
    /// The fleet folder: fleet.toml, profiles/, gateways/
    #[arg(value_name = "FLEET")]
    fleet: PathBuf,
    /// Compare with this file (`farmgate state export > FILE`) in place of the state
    #[arg(long, value_name = "FILE")]
    state_json: Option<PathBuf>,
    /// Also save the plan, for `farmgate apply --plan`
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Plan also what was rolled back, or stopped with its rollout
    #[arg(long)]
    again: bool,
    /// Plan also the removal of gateways that are registered and not in the folder
    #[arg(long)]
    remove_absent: bool,
    /// Do not ask registries what the images of a gateway.toml are
    #[arg(long)]
    offline: bool,
    /// Exit with 2 if anything changes, with 0 if nothing does
    #[arg(long)]
    detailed_exitcode: bool,
}

/// The plan has changes, and `--detailed-exitcode` is given.
#[derive(Debug, thiserror::Error)]
#[error("there are changes")]
pub(super) struct Changes;

impl Changes {
    pub(super) const STATUS: u8 = 2;
}

impl PlanCommand {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (live, config) = match &self.state_json {
            Some(path) => {
                let live = LiveFleet::parse(&files::read_given(path)?, &path.display())?;
                (live, Images::default())
            }
            None => {
                let state = context.state()?;
                (LiveFleet::read(&state, now())?, state.config().images.clone())
            }
        };
        let mut folder = FleetFolder::read(&self.fleet)?;
        let reach = if self.offline { Reach::Offline } else { Reach::Wanted };
        let resolver = Resolver::new(&config);
        context.warn(&folder.resolve(&resolver, reach)?);
        let plan =
            folder.plan(&live, Extent { again: self.again, remove_absent: self.remove_absent });
        if let Some(path) = &self.output {
            let text = serde_json::to_vec_pretty(&plan)?;
            files::export(path, PUBLIC, |file| file.write_all(&text))?;
        }
        context.print(&plan)?;
        match self.detailed_exitcode && !plan.is_empty() {
            true => Err(Changes.into()),
            false => Ok(()),
        }
    }
}

/// Reads a saved plan.
pub(super) fn saved(path: &Path) -> Result<Plan> {
    Plan::parse(&files::read_given(path)?, &path.display())
}
