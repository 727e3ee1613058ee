//! The whole fleet at one moment.

use std::collections::BTreeMap;

use anyhow::Result;
use time::OffsetDateTime;

use super::rollouts::open_rollouts;
use super::stages::Stages;
use crate::bucket::Condition;
use crate::fleet::History;
use crate::fleet::Policy;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::identity::GatewayName;
use crate::server::app::App;
use crate::server::page::level::Level;
use crate::server::page::model::BucketState;
use crate::server::page::model::Certificate;
use crate::server::page::model::Gateway;
use crate::server::page::model::LastBoot;
use crate::server::page::model::Next;
use crate::server::page::natural;
use crate::server::page::overview::Fleet;
use crate::server::page::overview::Notice;
use crate::server::page::overview::Row;
use crate::server::page::overview::Sync;
use crate::sync::Status;

/// Reads the fleet: for each gateway its record, and what has changed of its events. Looks at the
/// files of the next boots only if `with_files`, otherwise takes the faults from `before`.
pub(in crate::server) fn fleet(
    app: &App,
    stages: &Stages,
    before: Option<&Fleet>,
    with_files: bool,
) -> Result<Fleet> {
    let now = OffsetDateTime::now_utc();
    let known: BTreeMap<&str, &Gateway> = before
        .filter(|_| !with_files)
        .into_iter()
        .flat_map(|fleet| fleet.rows.iter().map(|row| (row.gateway.name.as_str(), &row.gateway)))
        .collect();
    let mut names = app.gateways().names()?;
    names.sort_by(|a, b| natural(a.as_str(), b.as_str()));
    let rows = names.into_iter().map(|name| {
        let faults = known.get(name.as_str()).map(|known| known.faults.clone());
        Row::new(gateway(app, stages, &name, faults.filter(|_| !with_files)), now)
    });
    let rows = rows.collect();
    Ok(Fleet {
        version: String::new(),
        at: now,
        rows,
        notices: notices(app),
        rollouts: open_rollouts(app)?,
        store: app.store_status(),
        sync: sync(app),
    })
}

/// The facts about one gateway. `faults` are those of its files, if they are known.
pub(super) fn gateway(
    app: &App,
    stages: &Stages,
    name: &GatewayName,
    faults: Option<Vec<String>>,
) -> Gateway {
    let record = app.gateways().load(name);
    let read = record.and_then(|record| {
        let history = app.generations().history(&record.id)?;
        Ok(known(app, stages, &record, &history, faults))
    });
    read.unwrap_or_else(|error| Gateway {
        name: name.to_string(),
        id: None,
        group: None,
        labels: BTreeMap::new(),
        next: None,
        last_boot: None,
        assessed: true,
        certificate: Certificate::Unknown,
        bucket: None,
        faults: Vec::new(),
        error: Some(format!("{error:#}")),
    })
}

fn known(
    app: &App,
    stages: &Stages,
    record: &Record,
    history: &History,
    faults: Option<Vec<String>>,
) -> Gateway {
    let settings = app.settings();
    let policy = record.policy(settings.tries);
    let next = decide(history, policy);
    let look = || next.as_ref().map(|next| app.faults(&next.generation)).unwrap_or_default();
    let faults = faults.unwrap_or_else(look);
    let last_boot = history.boots().last_key_value().map(|(id, boot)| LastBoot {
        id: *id,
        generation: boot.generation,
        at: boot.at,
        acknowledged: boot.acknowledged,
        stage: (!boot.acknowledged)
            .then(|| stages.reached(&settings.state, &record.id, *id))
            .flatten(),
    });
    let next = next.map(|next| Next {
        generation: next.generation.number,
        since: history.trial(next.generation.number).live_since().map(|id| id.time()),
        reason: next.reason,
    });
    Gateway {
        name: record.name.to_string(),
        id: Some(record.id.clone()),
        group: record.group.as_ref().map(ToString::to_string),
        labels: record.labels.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
        next,
        last_boot,
        assessed: policy != Policy::None,
        certificate: certificate(record),
        bucket: Condition::of(&settings.state, record).map(BucketState::from),
        faults,
        error: None,
    }
}

fn certificate(record: &Record) -> Certificate {
    match record.active() {
        Some(active) => Certificate::Active(active.not_after),
        None if record.is_revoked() => Certificate::Revoked,
        None => Certificate::Retiring,
    }
}

/// Messages about the whole host.
fn notices(app: &App) -> Vec<Notice> {
    let problems = app.problems().unwrap_or_else(|error| vec![error.to_string()]);
    let mut notices: Vec<Notice> =
        problems.into_iter().map(|text| Notice { level: Level::Bad, text }).collect();
    notices.extend(app.store_trouble().map(|text| Notice { level: Level::Warn, text }));
    notices.extend(app.rollout_trouble().map(|trouble| Notice {
        level: Level::Warn,
        text: format!("some rollouts cannot continue: {trouble}"),
    }));
    let sync = app.sync_warning();
    notices.extend(sync.map(|text| Notice { level: Level::Warn, text }));
    notices
}

/// The commit in force, and the last time that the git repository was looked at with success.
fn sync(app: &App) -> Option<Sync> {
    let settings = app.settings();
    settings.state.config().sync.remote.as_ref()?;
    let status = Status::read(&settings.state).ok().flatten()?;
    let (good, at) = (status.good?.source, status.last_success?);
    Some(Sync {
        commit: good.commit,
        author: good.author.to_string(),
        subject: good.subject.to_string(),
        at,
    })
}
