//! `farmgate bucket rotate` and `adopt`.

use std::fmt;

use anyhow::Result;
use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use super::ensure_provider;
use crate::bucket;
use crate::bucket::Disk;
use crate::bucket::Stored;
use crate::cli::author::Why;
use crate::cli::context::Context;
use crate::cli::context::Gateway;
use crate::cli::context::now;
use crate::cli::selector::Gateways;
use crate::cli::selector::Selected;
use crate::fleet::Act;
use crate::fleet::What;
use crate::identity::GatewayName;
use crate::store::State;
use crate::store::acts::Acts;

/// `farmgate bucket rotate`.
#[derive(Args)]
pub(in crate::cli) struct Rotate {
    #[command(flatten)]
    gateways: Gateways,
    /// Delete the old key as soon as there is a new one: a running system loses its bucket
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    why: Why,
}

impl Rotate {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let how = if self.now { bucket::Rotate::Now } else { bucket::Rotate::Overlap };
        Selected::new(&state, &self.gateways.selectors)?.each(context, |name| {
            wish(&state, name, |stored| stored.rotate = Some(how))?;
            let record = state.gateways().load(name)?;
            let act = Act::new(What::KeyRotated, Some(&self.why.by()), now()).of(&record);
            Acts::new(&state).note(&act);
            Ok(Wished { gateway: name.clone(), wished: "a new key" })
        })
    }
}

/// `farmgate bucket adopt`.
#[derive(Args)]
pub(in crate::cli) struct Adopt {
    #[command(flatten)]
    gateway: Gateway,
    /// Name of the bucket
    bucket: String,
}

impl Adopt {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let (state, name) = (context.state()?, self.gateway.name);
        adopt(&state, &name, self.bucket)?;
        context.print(&Wished { gateway: name, wished: "another bucket" })
    }
}

/// Has the gateway use a bucket that exists already.
pub(in crate::cli) fn adopt(state: &State, name: &GatewayName, bucket: String) -> Result<()> {
    ensure_free(state, name, &bucket)?;
    wish(state, name, |stored| stored.adopt = Some(bucket))
}

/// Records an operator's request, which the next reconciliation carries out.
fn wish(state: &State, name: &GatewayName, change: impl FnOnce(&mut Stored)) -> Result<()> {
    ensure_provider(state)?;
    let record = state.gateways().load(name)?;
    let change = |stored: &mut Stored| {
        change(stored);
        // At once, without the backoff of the last failure.
        if let Some(trouble) = &mut stored.trouble {
            trouble.not_before = trouble.at;
        }
    };
    Disk::new(state).update(&record.id, name, change).map(drop)
}

/// Fails if another gateway has the bucket: each could delete the other's data. The bucket of a
/// removed gateway may go to its successor.
fn ensure_free(state: &State, name: &GatewayName, bucket: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    ensure!(
        (3..=63).contains(&bucket.len()) && bucket.chars().all(plain),
        "{bucket:?} is not a name for a bucket"
    );
    let (disk, gateways) = (Disk::new(state), state.gateways());
    for other in gateways.names()?.iter().filter(|other| *other != name) {
        let ids = match gateways.load(other) {
            Ok(record) => vec![record.id],
            // Any key that it may have.
            Err(_) => disk.ids()?.into_iter().filter(|id| id.name() == other.as_str()).collect(),
        };
        for id in ids {
            let stored = disk.load(&id)?;
            let theirs = stored.and_then(|stored| stored.bucket).map(|bucket| bucket.name);
            ensure!(
                theirs.as_deref() != Some(bucket),
                "bucket {bucket} is that of gateway {other}"
            );
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Wished {
    gateway: GatewayName,
    wished: &'static str,
}

impl fmt::Display for Wished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} gets {}: the server does it in the background, or `farmgate bucket sync {0}` at once",
            self.gateway, self.wished
        )
    }
}
