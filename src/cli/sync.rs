//! `farmgate sync`.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::context::runtime;
use crate::store::State;
use crate::store::lock;
use crate::sync;
use crate::sync::Looked;
use crate::sync::Turn;
use crate::sync::Wish;

#[derive(Args)]
pub(super) struct Sync {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also publish what somebody went back from
    #[arg(long)]
    again: bool,
    /// Take a tip that does not descend from the commit in force, although `fast-forward-only` is
    /// set
    #[arg(long)]
    allow_rewrite: bool,
}

impl Sync {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let Self { dry_run, again, allow_rewrite } = self;
        let wish = Wish { compare: true, again, allow_rewrite, dry_run };
        let looked = runtime()?.block_on(async {
            let stop = CancellationToken::new();
            let here = stop.clone();
            let mut look = tokio::task::spawn_blocking(move || {
                let turn = Turn::take(&state, lock::PATIENCE)?
                    .context("another process brings in the repository")?;
                let systemd = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
                sync::look(&state, &turn, systemd.as_deref(), &here, wish)
            });
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                looked = &mut look => return looked?,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // git has a process group of its own, which a terminal does not interrupt.
            stop.cancel();
            look.await?
        })?;
        context.warn(looked.brought.as_ref().map_or(&[], |brought| &brought.warnings));
        context.print(&Shown { looked, dry_run })
    }
}

/// Prints a line about the git repository, if there is one. Only for people.
pub(super) fn print_status(context: &Context, state: &State) -> Result<()> {
    if context.json || state.config().sync.remote.is_none() {
        return Ok(());
    }
    let line = match sync::Status::read(state) {
        Ok(Some(status)) => status.line(),
        Ok(None) => "nothing was brought in yet".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    context.print(&Line(format!("sync: {line}")))
}

/// Prints the repository's status alone.
pub(super) fn show(context: &Context, state: &State) -> Result<()> {
    let config = &state.config().sync;
    let remote = config.remote.as_ref().context(
        "there is no repository to bring in: [sync] remote in the configuration names none",
    )?;
    context.print(&RepositoryStatus {
        remote: remote.to_string(),
        branch: config.branch.to_string(),
        status: sync::Status::read(state)?,
    })
}

/// The repository, and how the last look at it ended.
#[derive(Serialize)]
struct RepositoryStatus {
    remote: String,
    branch: String,
    /// Absent before the first look.
    #[serde(flatten)]
    status: Option<sync::Status>,
}

impl fmt::Display for RepositoryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remote, branch, status } = self;
        writeln!(f, "{branch} of {remote}")?;
        let Some(status) = status else { return write!(f, "nothing was brought in yet") };
        write!(f, "{}", status.line())?;
        if let Some(good) = &status.good {
            write!(f, "\nin force since {}", sync::moment(good.at))?;
        }
        if !status.waiting.is_empty() {
            let names: Vec<_> = status.waiting.iter().map(ToString::to_string).collect();
            write!(f, "\nin the folder, and not registered: {}", names.join(", "))?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Line(String);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    looked: Looked,
    #[serde(skip)]
    dry_run: bool,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Looked { status, brought } = &self.looked;
        if let Some(source) = &status.source {
            write!(f, "commit {} ({}) by {}", source.short(), source.subject, source.author)?;
        }
        let Some(brought) = brought else { return Ok(()) };
        if self.dry_run {
            return write!(f, "\n{}", brought.plan);
        }
        if brought.plan.is_empty() {
            return write!(f, ": nothing to change");
        }
        for (gateway, number) in &brought.published {
            write!(f, "\n{gateway}: generation {number}")?;
        }
        match &brought.rollout {
            Some(id) => {
                write!(f, "\nrollout {}: `farmgate rollout show --watch` follows it", id.short())
            }
            None => Ok(()),
        }
    }
}
