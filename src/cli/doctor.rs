use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::Context;
use super::now;
use crate::doctor;
use crate::doctor::Verdict;

#[derive(clap::Args)]
pub(super) struct Doctor {}

impl Doctor {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let systemd = std::env::var_os("CREDENTIALS_DIRECTORY");
        let findings = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start")?
            .block_on(doctor::examine(&state, systemd.as_deref().map(Path::new), now()));
        context.print(&findings)?;
        match findings.count(Verdict::Error) {
            0 => Ok(()),
            1 => bail!("one thing keeps gateways from booting: ERROR above"),
            errors => bail!("{errors} things keep gateways from booting: ERROR above"),
        }
    }
}
