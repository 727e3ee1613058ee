//! `farmgate state move`.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::named;
use super::named::Named;
use crate::cli::context::Context;
use crate::store::layout;
use crate::store::relocate;
use crate::store::relocate::Moved;
use crate::store::relocate::Progress;

#[derive(clap::Args)]
#[command(
    after_help = "Within a file system it is renamed; otherwise copied, compared, and removed where it was.
A move that was interrupted goes on when the same command is run again."
)]
pub(in crate::cli) struct Move {
    /// The new directory, which must be missing or empty
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

#[derive(Serialize)]
struct Done {
    #[serde(flatten)]
    moved: Moved,
    /// Files that still name the old directory.
    named_in: Vec<Named>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moved { from, to, files, bytes, copied } = &self.moved;
        let (from, to) = (from.display(), to.display());
        let how = if *copied { "copied and compared" } else { "renamed" };
        write!(f, "{to} is the state now: {files} files, {bytes} bytes, {how}")?;
        if !self.named_in.is_empty() {
            write!(f, "\nThese still name {from}:")?;
        }
        for Named { file, lines } in &self.named_in {
            let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
            write!(f, "\n  {}:{}", file.display(), lines.join(","))?;
        }
        write!(f, "\nCommands want --state {to}, or FARMGATE_STATE={to} in their environment")
    }
}

impl Move {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let bar = context.progress(0, "moving");
        let moved = relocate::relocate(
            &context.state,
            context.config.as_deref(),
            &self.to,
            &mut |progress| match progress {
                Progress::Expected(bytes) => bar.set_length(bytes),
                Progress::Read(bytes) => bar.inc(bytes),
            },
        );
        bar.finish_and_clear();
        let moved = moved?;
        let config = context.config.clone().unwrap_or_else(|| moved.to.join(layout::CONFIG));
        // As it was named, and as it is without symbolic links.
        let named = [std::path::absolute(&context.state)?, moved.from.clone()];
        let named_in = named::find(&config, &named);
        context.print(&Done { moved, named_in })
    }
}
