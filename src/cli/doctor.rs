//! `farmgate doctor`.

use std::path::Path;

use anyhow::Result;
use anyhow::bail;

use super::context::Context;
use super::context::now;
use super::context::runtime;
use crate::doctor;
use crate::doctor::Verdict;

#[derive(clap::Args)]
#[command(after_help = "Exit status:
  0  nothing keeps gateways from booting
  1  something does: ERROR
  2  wrong usage
  3  nothing that was checked does, but this user may not check everything: run it as root")]
pub(super) struct Doctor {}

/// No error was found, but not everything could be checked.
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
        let systemd = systemd.as_deref().map(Path::new);
        let findings = runtime()?.block_on(doctor::examine(&state, systemd, now()));
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
