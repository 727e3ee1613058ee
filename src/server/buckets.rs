//! What boots are given of their buckets, and the background task that cares for these. No
//! request ever waits for a provider.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use anyhow::Result;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::app::App;
use super::app::blocking;
use super::error::HttpError;
use super::settings::Settings;
use super::systemd;
use crate::bucket;
use crate::bucket::AnyProvider;
use crate::bucket::Condition;
use crate::bucket::Disk;
use crate::bucket::Report;
use crate::bucket::Scope;
use crate::bucket::Values;
use crate::fleet::EventId;
use crate::fleet::Record;
use crate::store::State;

/// How often it is looked whether a command has changed anything.
const LOOK: Duration = Duration::from_secs(2);

/// How often it is looked whether anything is due.
const PASS: Duration = Duration::from_secs(30);

/// What one boot is told of its bucket.
#[derive(Default)]
pub(super) struct Told {
    values: Option<Values>,
}

impl Told {
    /// What stands for `name` in a template: nothing when there is no bucket, as in a script.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut named = self.values.iter().flat_map(Values::named);
        let value = named.find(|(known, _)| *known == name).map(|(_, value)| value);
        value.or_else(|| Values::NAMES.contains(&name).then_some(""))
    }
}

impl App {
    /// What `boot` is told of the gateway's bucket, from the local disk. Never fails: a
    /// gateway without its bucket still boots.
    pub(super) fn told(&self, gateway: &Record, boot: Option<EventId>) -> Told {
        let settings = self.settings();
        if settings.state.config().buckets.provider.is_none() {
            return Told::default();
        }
        let given = Disk::new(&settings.state).hand_out(&gateway.id, &gateway.name, boot);
        if let Some(problem) = &given.problem {
            let with = if given.values.is_some() { "what it had" } else { "no bucket" };
            tracing::warn!(gateway = %gateway.name, "boots with {with}: {problem}");
        }
        Told { values: given.values }
    }

    /// The same for whoever must not wait for the disk.
    pub(super) async fn bucket(
        self: &Arc<Self>,
        gateway: &Record,
        boot: Option<EventId>,
    ) -> Result<Option<Values>, HttpError> {
        let (app, id, gateway) = (self.clone(), gateway.id.clone(), gateway.clone());
        self.write(id.as_str(), move || Ok(app.told(&gateway, boot).values)).await
    }

    /// Gateways whose buckets are not as they should be.
    pub(super) async fn bucket_warnings(self: &Arc<Self>) -> Result<Vec<String>, HttpError> {
        let app = self.clone();
        blocking(move || Ok(warnings(&app.settings().state)?)).await
    }
}

fn warnings(state: &State) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let gateways = state.gateways();
    for name in gateways.names()? {
        let condition = match gateways.load(&name) {
            Ok(record) => Condition::of(state, &record),
            Err(error) => {
                warnings.push(format!("the bucket of {name} is unknown: {error:#}"));
                continue;
            }
        };
        if let Some(condition) = condition.filter(|condition| !condition.is_well()) {
            warnings.push(format!("the bucket of {name} is {condition}"));
        }
    }
    Ok(warnings)
}

/// Cares for buckets as long as the server runs.
pub(super) async fn care(app: Arc<App>) {
    let (mut seen, mut last) = (None, None::<(Instant, Arc<Settings>)>);
    loop {
        let acknowledged = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            () = app.acknowledged.notified() => true,
        };
        let settings = app.settings();
        if settings.state.config().buckets.provider.is_none() {
            continue;
        }
        let marks = marks(&settings.state).await;
        let due = last
            .as_ref()
            .is_none_or(|(at, old)| at.elapsed() >= PASS || !Arc::ptr_eq(old, &settings));
        if due || acknowledged || marks != seen {
            // As they were before, so that nothing which is changed meanwhile is missed.
            seen = marks;
            last = Some((Instant::now(), settings.clone()));
            pass(settings).await;
        }
    }
}

/// When gateways were last added or removed, and when anything was noted about buckets.
async fn marks(state: &State) -> Option<[Option<SystemTime>; 2]> {
    let changed = async |dir| tokio::fs::metadata(dir).await.and_then(|m| m.modified()).ok();
    Some([
        changed(state.dir().join("gateways")).await,
        changed(Disk::new(state).dir().clone()).await,
    ])
}

/// Does what is due. Cut off when the server stops.
async fn pass(settings: Arc<Settings>) {
    let stop = CancellationToken::new();
    let _stop_when_dropped = stop.clone().drop_guard();
    let handle = Handle::current();
    // On a thread of its own: it waits for the disk, again and again.
    let done = tokio::task::spawn_blocking(move || -> Result<Report> {
        let state = &settings.state;
        // A command is at it. What it leaves is done next time.
        let Some(_lock) = Disk::new(state).try_reconciling()? else { return Ok(Report::default()) };
        let connect =
            || AnyProvider::connect(&state.config().buckets, systemd::credentials().as_deref());
        let scope = Scope::default();
        handle.block_on(async {
            tokio::select! {
                report = bucket::reconcile(state, connect, &scope) => report,
                () = stop.cancelled() => Ok(Report::default()),
            }
        })
    });
    match done.await.map_err(anyhow::Error::from).and_then(|report| report) {
        Ok(report) => {
            let failed = report.failed.len();
            if let Some((gateway, error)) = report.failed.into_iter().next() {
                tracing::warn!(%gateway, failed, "buckets are not as they should be: {error}");
            }
        }
        Err(error) => tracing::error!("buckets cannot be looked after: {error:#}"),
    }
}
