//! `farmgate gc`: removes files of old generations.

use std::fmt;
use std::num::NonZeroU32;

use anyhow::Context as _;
use anyhow::Result;
use serde::Serialize;

use super::author::author;
use super::confirm::Confirm;
use super::confirm::Unattended;
use super::context::Context;
use super::context::now;
use super::context::runtime;
use crate::fleet::By;
use crate::replica::Freed;
use crate::replica::Replica;
use crate::store::State;
use crate::store::gc;
use crate::store::gc::Collected;
use crate::store::gc::Wish;

#[derive(clap::Args)]
#[command(
    after_help = "These stay in any case: generations that are current, pinned, last known to be good, or the
one before; those of open rollouts; those that a gateway booted in the last 24 hours."
)]
pub(super) struct Gc {
    /// Keep the newest N generations of each gateway, drop older ones [default: `[store] keep`, or
    /// else drop none, and remove only files that no generation names]
    #[arg(long, value_name = "N")]
    keep: Option<NonZeroU32>,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
}

#[derive(Serialize)]
struct Shown {
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<NonZeroU32>,
    #[serde(flatten)]
    collected: Collected,
    /// Objects that were deleted from the shared store.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<Freed>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Collected { dropped, swept } = &self.collected;
        let would = if self.dry_run { "would " } else { "" };
        let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
        for row in dropped {
            let number = row.generation.to_string();
            match rows.last_mut() {
                Some((name, numbers)) if *name == row.gateway => numbers.push(number),
                _ => rows.push((&row.gateway, vec![number])),
            }
        }
        for (gateway, numbers) in rows {
            writeln!(f, "{gateway}: {would}drop generation {}", numbers.join(", "))?;
        }
        write!(
            f,
            "{would}remove {} files, {}; {} stay",
            swept.blobs,
            megabytes(swept.bytes),
            megabytes(swept.bytes_left)
        )?;
        if let Some(Freed { blobs, bytes, restored }) = self.store {
            let bytes = megabytes(bytes);
            write!(f, "\nin the shared store: {would}delete {blobs} files, {bytes}")?;
            if restored > 0 {
                write!(f, "; it had lost {restored} files, and has them again")?;
            }
        }
        if self.keep.is_none() {
            write!(f, "\n--keep N, or `[store] keep`, also drops old generations")?;
        }
        Ok(())
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

impl Gc {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let keep = self.keep.or(state.config().store.keep);
        let by = By::new(&author());
        let wish = |dry_run| Wish { keep, dry_run, by: &by };
        if !self.dry_run {
            let would = gc::collect(&state, &wish(true), now())?;
            if !would.dropped.is_empty() {
                let question = format!(
                    "Drop {} generations, and remove {} files of {}? No rollback leads to them \
                     then.",
                    would.dropped.len(),
                    would.swept.blobs,
                    megabytes(would.swept.bytes)
                );
                self.confirm.ask(&question, Unattended::GoesOn)?;
            }
        }
        let collected = gc::collect(&state, &wish(self.dry_run), now())?;
        let store = in_store(&state, self.dry_run)?;
        context.print(&Shown { dry_run: self.dry_run, keep, collected, store })
    }
}

/// The same in the shared store, if there is one. The server may do it at the same time.
fn in_store(state: &State, dry_run: bool) -> Result<Option<Freed>> {
    if state.config().store.url.is_none() {
        return Ok(None);
    }
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    runtime()?.block_on(async {
        let replica = Replica::open(state, credentials.as_ref().map(AsRef::as_ref))?;
        let Some(replica) = replica else { return Ok(None) };
        let freed = replica.collect(dry_run).await;
        let freed = freed.with_context(|| format!("the store {}", replica.shown()))?;
        Ok(Some(freed))
    })
}
