//! `farmgate completions`: what a shell needs to complete commands.
//!
//! Bash, zsh and fish get a few lines that ask this program for each word, so that they know the
//! gateways and groups of the state. Others get a script with the commands and options.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::env::Bash;
use clap_complete::env::EnvCompleter;
use clap_complete::env::Fish;
use clap_complete::env::Zsh;

use super::Cli;
use super::context::Context;
use super::context::print;

/// The variable by which a shell asks for completions of a command line. Not clap's own name for
/// it, which may mean something to other programs.
pub(super) const VARIABLE: &str = "FARMGATE_COMPLETE";

/// clap's script for zsh only defines a function. As a file in `$fpath` it is read when the first word
/// is completed, and has to complete that word as well.
const FIRST_WORD: &str = "
if [[ $funcstack[1] == _farmgate ]]; then
    _clap_dynamic_completer_farmgate \"$@\"
fi
";

#[derive(clap::Args)]
pub(super) struct Completions {
    /// Shell to complete commands in
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, _: &Context) -> Result<()> {
        let asks: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Fish => &Fish,
            Shell::Zsh => &Zsh,
            shell => {
                // clap_complete panics when it cannot write, which memory always can.
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "farmgate", &mut text);
                return print(&text);
            }
        };
        let mut text = Vec::new();
        asks.write_registration(VARIABLE, "farmgate", "farmgate", "farmgate", &mut text)?;
        if self.shell == Shell::Zsh {
            text.extend_from_slice(FIRST_WORD.as_bytes());
        }
        print(&text)
    }
}
