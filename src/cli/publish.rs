use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::Context;
use super::now;
use crate::identity::GatewayName;
use crate::publish;

#[derive(clap::Args)]
pub(super) struct Publish {
    #[command(flatten)]
    gateway: super::Gateway,
    /// Folder with boot.ipxe and the files that it names
    dir: PathBuf,
}

#[derive(Serialize)]
struct Published {
    gateway: GatewayName,
    generation: u64,
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} now gets generation {}", self.gateway, self.generation)
    }
}

impl Publish {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let record = state.gateways().load(&self.gateway.name)?;
        let progress = context.progress(publish::size(&self.dir)?, "storing");
        let generation =
            publish::publish(&state, &record, &self.dir, now(), &|bytes| progress.inc(bytes))?;
        progress.finish_and_clear();
        context.print(&Published { gateway: record.name, generation })
    }
}
