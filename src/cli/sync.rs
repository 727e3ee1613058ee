//! `farmgate sync`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::context::runtime;
use crate::store::lock;
use crate::sync;
use crate::sync::Turn;
use crate::sync::Wish;

/// `farmgate sync`.
#[derive(Args)]
pub(super) struct Sync {
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take a tip that does not descend from the commit in force, although `fast-forward-only` is
    /// set
    #[arg(long)]
    allow_rewrite: bool,
}
