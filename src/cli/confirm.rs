//! Questions before something that cannot be undone: asked on a terminal only.

use std::io;
use std::io::BufRead;
use std::io::IsTerminal;
use std::io::Write;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use crate::foreign::harmless_lines;

/// The behaviour of a command when nobody can be asked: stdin or stderr is no terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unattended {
    /// It goes on, as it did before it asked: scripts rely on that.
    GoesOn,
    /// It needs `--yes`.
    NeedsYes,
}

/// `--yes`.
#[derive(clap::Args)]
pub(super) struct Confirm {
    /// Do not ask
    #[arg(short = 'y', long)]
    pub(super) yes: bool,
}

impl Confirm {
    /// Asks `question`, which says what will be gone, and fails unless the answer is yes.
    pub(super) fn ask(&self, question: &str, unattended: Unattended) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            match unattended {
                Unattended::GoesOn => return Ok(()),
                Unattended::NeedsYes => {
                    bail!("{question} Nobody can be asked here: add --yes; nothing was changed")
                }
            }
        }
        let mut answer = String::new();
        write!(io::stderr(), "{} [y/N] ", harmless_lines(question))
            .and_then(|()| io::stderr().flush())
            .and_then(|()| io::stdin().lock().read_line(&mut answer))
            .context("cannot ask")?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => bail!("not confirmed; nothing was changed"),
        }
    }
}
