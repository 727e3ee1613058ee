//! `farmgate bucket rotate` and `adopt`.

use std::collections::BTreeSet;
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
use crate::fleet::GatewayId;
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
    let has_it = |id: &GatewayId| -> Result<bool> {
        let theirs = disk.load(id)?.and_then(|stored| stored.bucket);
        Ok(theirs.is_some_and(|theirs| theirs.name == bucket))
    };
    let (mut readable, mut unreadable) = (BTreeSet::new(), None);
    for other in gateways.names()? {
        match gateways.load(&other) {
            Ok(record) => {
                ensure!(
                    other == *name || !has_it(&record.id)?,
                    "bucket {bucket} is that of gateway {other}"
                );
                readable.insert(record.id);
            }
            Err(_) => unreadable = Some(other),
        }
    }
    let Some(unreadable) = unreadable else { return Ok(()) };
    // It may have any of the other ids: it may have been renamed, and the index of ids can be lost.
    for id in disk.ids()?.iter().filter(|id| !readable.contains(*id)) {
        ensure!(
            !has_it(id)?,
            "bucket {bucket} may be that of gateway {unreadable}, whose record cannot be read: \
             `farmgate doctor` says why"
        );
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
