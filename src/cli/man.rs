//! `farmgate man`.

use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use clap::CommandFactory;

use super::Cli;
use super::context::Context;
use super::context::print;

#[derive(clap::Args)]
pub(super) struct Man {
    /// Write farmgate.1, and a page for each command, into this folder
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, _: &Context) -> Result<()> {
        // The caller's environment must not get into the page.
        let command = Cli::command().mut_args(|arg| arg.hide_env_values(true));
        if let Some(dir) = &self.out_dir {
            std::fs::create_dir_all(dir)
                .and_then(|()| clap_mangen::generate_to(command, dir))
                .with_context(|| format!("cannot write to {}", dir.display()))?;
            return Ok(());
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        print(&page)
    }
}
