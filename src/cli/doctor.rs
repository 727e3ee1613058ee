use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::Context;
use super::now;
use crate::doctor;
use crate::doctor::Verdict;

#[derive(clap::Args)]
#[command(after_help = "Exit status:
  0  nothing keeps gateways from booting
  1  something does: ERROR
  2  wrong usage
  3  nothing that was seen does, but this user may not see everything: run it as root")]
pub(super) struct Doctor {}

/// Nothing was found, but not everything was looked at.
#[derive(Debug, thiserror::Error)]
#[error("no ERROR, but {0} of the things above could not be looked at: run it as root")]
pub(super) struct Unseen(usize);

impl Unseen {
    pub(super) const STATUS: u8 = 3;
}

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
            0 => match findings.for_root() {
                0 => Ok(()),
                unseen => Err(Unseen(unseen).into()),
            },
            1 => bail!("one thing keeps gateways from booting: ERROR above"),
            errors => bail!("{errors} things keep gateways from booting: ERROR above"),
        }
    }
}
