//! `farmgate man`: pages for man(1), made of the commands themselves and of docs/configuration.md.

mod examples;
mod markdown;
mod page;

use std::io;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use clap::CommandFactory;

use super::Cli;
use super::context::Context;
use super::context::print;

#[derive(clap::Args)]
pub(super) struct Man {
    /// Write farmgate.1, a page for each command, and farmgate.toml.5 into this folder
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, _: &Context) -> Result<()> {
        // The caller's environment must not get into the page.
        let mut command =
            Cli::command().mut_args(|arg| arg.hide_env_values(true)).disable_help_subcommand(true);
        command.build();
        match &self.out_dir {
            None => print(&page::of_command(&command)?),
            Some(dir) => std::fs::create_dir_all(dir)
                .and_then(|()| write(&command, dir))
                .with_context(|| format!("cannot write to {}", dir.display())),
        }
    }
}

fn write(command: &clap::Command, dir: &Path) -> io::Result<()> {
    pages_of_commands(command, dir)?;
    std::fs::write(dir.join("farmgate.toml.5"), page::of_configuration())
}

fn pages_of_commands(command: &clap::Command, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages_of_commands(below, dir)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    std::fs::write(dir.join(format!("{name}.1")), page::of_command(command)?)
}
