//! `farmgate bucket list`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use crate::bucket::Disk;
use crate::bucket::Standing;
use crate::bucket::Stored;
use crate::cli::context::Context;
use crate::cli::context::now;
use crate::cli::damage::Damage;
use crate::fleet::GatewayId;
use crate::identity::GatewayName;
use crate::store::State;

/// `farmgate bucket list`.
#[derive(Args)]
pub(in crate::cli) struct List {}

impl List {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        print(context, &context.state()?)
    }
}

pub(super) fn print(context: &Context, state: &State) -> Result<()> {
    let mut damage = Damage::default();
    context.print(&BucketList(rows(state, &mut damage)?))?;
    damage.result()
}

/// One gateway's bucket. No secret is in it.
#[derive(Serialize)]
struct BucketRow {
    gateway: GatewayName,
    gateway_id: GatewayId,
    bucket: Option<String>,
    key: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    key_made: Option<OffsetDateTime>,
    /// Number of older keys that are still valid.
    older_keys: usize,
    state: Standing,
    error: Option<String>,
    attempts: u32,
}

fn rows(state: &State, damage: &mut Damage) -> Result<Vec<BucketRow>> {
    let (disk, gateways) = (Disk::new(state), state.gateways());
    // Ids of all present and former gateways.
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
                // The bucket may belong to any of these, so none of them counts as removed.
                for (_, known) in all.iter_mut().filter(|(id, _)| gateways.may_have_id(&name, id)) {
                    *known = Some(name.clone());
                }
            }
        }
    }
    let mut rows = Vec::new();
    for (id, name) in all {
        let presence = if name.is_some() { Presence::There } else { Presence::Removed };
        let present = name.clone();
        let Some(name) = name.or_else(|| id.name().parse().ok()) else { continue };
        rows.push(match disk.load(&id) {
            Ok(stored) => {
                BucketRow::new(id, &stored.unwrap_or_else(|| Stored::new(name)), presence)
            }
            Err(error) => BucketRow {
                error: Some(format!("{error:#}")),
                state: Standing::Failed,
                ..BucketRow::new(id, &Stored::new(name), presence)
            },
        });
        // The file has the name that the gateway had when it was made.
        if let (Some(row), Some(present)) = (rows.last_mut(), present) {
            row.gateway = present;
        }
    }
    Ok(rows)
}

/// The presence of a bucket's gateway.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    Removed,
}

impl BucketRow {
    fn new(id: GatewayId, stored: &Stored, gateway: Presence) -> Self {
        let active = stored.active();
        Self {
            gateway: stored.gateway.clone(),
            gateway_id: id,
            bucket: stored.bucket.as_ref().map(|bucket| bucket.name.clone()),
            key: active.map(|key| key.id.clone()),
            key_made: active.map(|key| key.made),
            older_keys: stored.keys.len().saturating_sub(1),
            state: stored.standing(gateway == Presence::There),
            error: stored.trouble.as_ref().map(|trouble| trouble.error.clone()),
            attempts: stored.trouble.as_ref().map_or(0, |trouble| trouble.attempts),
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct BucketList(Vec<BucketRow>);

impl fmt::Display for BucketList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
