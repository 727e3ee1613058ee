//! `farmgate completions`.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::context::Context;
use super::context::print;

#[derive(clap::Args)]
pub(super) struct Completions {
    /// Shell to complete commands in
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, _: &Context) -> Result<()> {
        // clap_complete panics when it cannot write, which memory always can.
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "farmgate", &mut text);
        print(&text)
    }
}
