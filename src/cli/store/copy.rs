//! `farmgate store copy`.

use std::fmt;

use anyhow::Result;
use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::context::runtime;
use crate::replica::Copied;
use crate::replica::Place;
use crate::replica::copy;
use crate::store::owner;

/// `farmgate store copy`.
#[derive(Args)]
pub(in crate::cli) struct Copy {
    /// A directory like STATE/store, or s3://bucket/prefix (its key is in the configuration)
    from: Place,
    /// Likewise. Objects that are there already stay as they are
    to: Place,
}

impl Copy {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (state, Self { from, to }) = (context.state()?, self);
        // The copy belongs to the owner of the target, wherever it comes from.
        if let Some(dir) = to.directory() {
            owner::work_as_owner_of(dir)?;
        }
        let progress = context.progress(0, "copying");
        let show_progress = |done, all| {
            progress.set_length(all);
            progress.set_position(done);
        };
        let copied =
            runtime()?.block_on(copy(&from, &to, &state.config().store, &show_progress))?;
        progress.finish_and_clear();
        let damaged = copied.damaged.clone();
        context.print(&Done(copied))?;
        ensure!(damaged.is_empty(), "not copied, because they are damaged: {}", damaged.join(", "));
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Done(Copied);

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Copied { blobs, objects, there, .. } = &self.0;
        write!(f, "copied {blobs} blobs and {objects} objects; {there} were there already")
    }
}
