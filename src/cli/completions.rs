use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

#[derive(clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<()> {
        // It panics when it cannot write: in memory it can.
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "farmgate", &mut text);
        super::print(&text)
    }
}
