use std::collections::BTreeMap;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use clap::Subcommand;
use serde::Serialize;
use time::OffsetDateTime;

use super::Context;
use super::damage::Damage;
use super::now;
use crate::bucket::AnyProvider;
use crate::bucket::Disk;
use crate::bucket::Rotate;
use crate::bucket::Scope;
use crate::bucket::Standing;
use crate::bucket::Stored;
use crate::bucket::reconcile;
use crate::fleet::GatewayId;
use crate::identity::GatewayName;
use crate::store::State;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show the bucket of each gateway, and how old its key is
    List,
    /// Give a gateway a new key with its next boot; the old one goes once that boot is acknowledged
    Rotate {
        #[command(flatten)]
        gateway: super::Gateway,
        /// Delete the old key as soon as there is a new one: what runs now loses its bucket
        #[arg(long)]
        now: bool,
    },
    /// Give a gateway a bucket that is there already, with the data in it
    Adopt {
        #[command(flatten)]
        gateway: super::Gateway,
        /// Name of the bucket
        bucket: String,
    },
    /// Make buckets and keys as they should be, now; the server does it in the background
    Sync {
        /// Only for this gateway
        #[arg(value_name = "NAME")]
        name: Option<GatewayName>,
    },
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        match self {
            Self::List => {
                let mut damage = Damage::default();
                context.print(&List(rows(&state, &mut damage)?))?;
                damage.result()
            }
            Self::Rotate { gateway, now } => {
                let how = if now { Rotate::Now } else { Rotate::Overlap };
                wish(&state, &gateway.name, |stored| stored.rotate = Some(how))?;
                context.print(&Wished { gateway: gateway.name, wished: "a new key" })
            }
            Self::Adopt { gateway, bucket } => {
                ensure_nobodys(&state, &gateway.name, &bucket)?;
                wish(&state, &gateway.name, |stored| stored.adopt = Some(bucket))?;
                context.print(&Wished { gateway: gateway.name, wished: "another bucket" })
            }
            Self::Sync { name } => sync(context, &state, name),
        }
    }
}

/// Notes what an operator wants. Whoever looks after buckets sees to it.
fn wish(state: &State, name: &GatewayName, change: impl FnOnce(&mut Stored)) -> Result<()> {
    let buckets = &state.config().buckets;
    if buckets.provider.is_none() {
        bail!("gateways have no buckets: buckets.provider is \"none\" (docs/buckets.md)");
    }
    let record = state.gateways().load(name)?;
    let change = |stored: &mut Stored| {
        change(stored);
        // Now, and not when the last failure says.
        if let Some(trouble) = &mut stored.trouble {
            trouble.not_before = trouble.at;
        }
    };
    Disk::new(state).update(&record.id, name, change).map(drop)
}

/// Fails if another gateway has the bucket: each could delete what the other keeps in it. That
/// of a gateway that was removed may go to its successor.
fn ensure_nobodys(state: &State, name: &GatewayName, bucket: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    ensure!(
        (3..=63).contains(&bucket.len()) && bucket.chars().all(plain),
        "{bucket:?} is no name of a bucket"
    );
    let (disk, gateways) = (Disk::new(state), state.gateways());
    for other in gateways.names()?.iter().filter(|other| *other != name) {
        let ids = match gateways.load(other) {
            Ok(record) => vec![record.id],
            // Any that it may have.
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

fn sync(context: &Context, state: &State, only: Option<GatewayName>) -> Result<()> {
    let buckets = &state.config().buckets;
    if buckets.provider.is_none() {
        bail!("gateways have no buckets: buckets.provider is \"none\" (docs/buckets.md)");
    }
    if let Some(name) = &only {
        state.gateways().load(name)?;
    }
    let systemd = std::env::var_os("CREDENTIALS_DIRECTORY");
    let connect = || AnyProvider::connect(buckets, systemd.as_deref().map(std::path::Path::new));
    let _lock = Disk::new(state).reconciling()?;
    let report = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(reconcile(state, connect, &Scope { only, now: true }))?;
    if let Some((gateway, error)) = report.failed.first() {
        let others = match report.failed.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more: `farmgate bucket list`)"),
        };
        bail!("the bucket of {gateway}: {error}{others}");
    }
    let mut damage = Damage::default();
    context.print(&List(rows(state, &mut damage)?))?;
    damage.result()
}

#[derive(Serialize)]
struct Wished {
    gateway: GatewayName,
    wished: &'static str,
}

impl std::fmt::Display for Wished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} gets {}: the server sees to it, or `farmgate bucket sync {0}` does at once",
            self.gateway, self.wished
        )
    }
}

/// One gateway's bucket. No secret is in it.
#[derive(Serialize)]
struct Row {
    gateway: GatewayName,
    id: GatewayId,
    bucket: Option<String>,
    key: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    key_made: Option<OffsetDateTime>,
    /// Keys that are good besides.
    older_keys: usize,
    state: Standing,
    error: Option<String>,
    attempts: u32,
}

fn rows(state: &State, damage: &mut Damage) -> Result<Vec<Row>> {
    let (disk, gateways) = (Disk::new(state), state.gateways());
    // Ids of all gateways that are there, and of those that were.
    let mut all = BTreeMap::new();
    for id in disk.ids()? {
        all.insert(id, None);
    }
    let wanted = state.config().buckets.provider.is_some();
    for name in gateways.names()? {
        match gateways.load(&name) {
            Ok(record) if wanted => drop(all.insert(record.id, Some(name))),
            Ok(record) => drop(all.entry(record.id).and_modify(|known| *known = Some(name))),
            Err(error) => {
                damage.note(&name, &error);
                // Nobody knows which of them it is: none was removed.
                for (_, known) in all.iter_mut().filter(|(id, _)| id.name() == name.as_str()) {
                    *known = Some(name.clone());
                }
            }
        }
    }
    let mut rows = Vec::new();
    for (id, name) in all {
        let wanted = name.is_some();
        let Some(name) = name.or_else(|| id.name().parse().ok()) else { continue };
        rows.push(match disk.load(&id) {
            Ok(stored) => Row::of(id, &stored.unwrap_or_else(|| Stored::new(name)), wanted),
            Err(error) => Row {
                error: Some(format!("{error:#}")),
                state: Standing::Failed,
                ..Row::of(id, &Stored::new(name), wanted)
            },
        });
    }
    Ok(rows)
}

impl Row {
    fn of(id: GatewayId, stored: &Stored, wanted: bool) -> Self {
        let active = stored.active();
        Self {
            gateway: stored.gateway.clone(),
            id,
            bucket: stored.bucket.as_ref().map(|bucket| bucket.name.clone()),
            key: active.map(|key| key.id.clone()),
            key_made: active.map(|key| key.made),
            older_keys: stored.keys.len().saturating_sub(1),
            state: stored.standing(wanted),
            error: stored.trouble.as_ref().map(|trouble| trouble.error.clone()),
            attempts: stored.trouble.as_ref().map_or(0, |trouble| trouble.attempts),
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Row>);

impl std::fmt::Display for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return write!(f, "no buckets yet; docs/buckets.md says how gateways get them");
        }
        write!(
            f,
            "{:<20} {:<40} {:>7}  {:<8}  LAST ERROR",
            "GATEWAY", "BUCKET", "KEY AGE", "STATE"
        )?;
        for row in &self.0 {
            let dash = || "-".to_owned();
            write!(
                f,
                "\n{:<20} {:<40} {:>7}  {:<8}  {}",
                row.gateway.as_str(),
                row.bucket.clone().unwrap_or_else(dash),
                row.key_made.map_or_else(dash, age),
                row.state,
                row.error.clone().unwrap_or_else(dash),
            )?;
        }
        Ok(())
    }
}

fn age(made: OffsetDateTime) -> String {
    let age = now() - made;
    match (age.whole_days(), age.whole_hours(), age.whole_minutes()) {
        (0, 0, minutes) => format!("{} min", minutes.max(0)),
        (0, hours, _) => format!("{hours} h"),
        (days, ..) => format!("{days} d"),
    }
}
