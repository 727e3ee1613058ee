//! What all requests share.

mod authenticate;
mod boots;
mod files;
mod secrets;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use anyhow::Result;
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::boot::AckTokens;
use crate::replica::Fetch;
use crate::replica::Replica;
use crate::server::error::HttpError;
use crate::server::metrics::Metrics;
use crate::server::problems;
use crate::server::recorder::Recorder;
use crate::server::settings::Settings;
use crate::server::systemd;
use crate::store::blobs::Access;
use crate::store::events::Asset;
use crate::store::events::EventId;
use crate::store::events::Kind;
use crate::store::gateways::Gateways;
use crate::store::gateways::Record;
use crate::store::generations::Generations;
use crate::store::generations::LiveGenerations;
use crate::store::history::History;
use crate::store::journal::Journals;
use crate::store::leases::Leases;
use crate::store::rollouts;

/// How long a request waits for a file that only the common store has. iPXE asks again
/// when told to, and others get what came meanwhile.
const FETCH_LIMIT: Duration = Duration::from_secs(20);

/// What all requests share.
pub(super) struct App {
    settings: RwLock<Arc<Settings>>,
    gateways: Gateways,
    pub(super) generations: LiveGenerations,
    tokens: AckTokens,
    leases: Leases,
    pub(super) recorder: Recorder,
    pub(super) metrics: Metrics,
    /// Gateways whose boot began, and was not acknowledged yet.
    booting: Mutex<HashMap<String, boots::Running>>,
    /// A boot was acknowledged: a key may have become superfluous.
    pub(super) acknowledged: Notify,
    /// `None` if this boot host is alone.
    replica: Option<Arc<Replica>>,
    /// Why this boot host is alone although it should not be.
    store_trouble: Option<String>,
    /// Why rollouts could not go on when they were last looked at.
    rollout_trouble: Mutex<Option<String>>,
    /// Boots that other hosts began, and that were acknowledged here.
    acknowledged_elsewhere: Mutex<BTreeSet<EventId>>,
}

impl App {
    pub(super) fn new(settings: Settings) -> Result<Self> {
        let state = &settings.state;
        let (replica, store_trouble) = match Replica::open(state, systemd::credentials().as_deref())
        {
            Ok(replica) => (replica, None),
            Err(error) => {
                // Gateways can boot from what is here.
                tracing::error!("the store is left alone until a restart: {error:#}");
                (None, Some(format!("store away until a restart: {error:#}")))
            }
        };
        Ok(Self {
            replica,
            store_trouble,
            rollout_trouble: Mutex::default(),
            acknowledged_elsewhere: Mutex::default(),
            gateways: state.gateways(),
            generations: LiveGenerations::new(Generations::new(state)),
            tokens: AckTokens::new(state.token_key()?),
            leases: Leases::open(state.leases_dir(), OffsetDateTime::now_utc()),
            recorder: Recorder::start(Journals::new(state)),
            metrics: Metrics::new(),
            booting: Mutex::default(),
            acknowledged: Notify::new(),
            settings: RwLock::new(Arc::new(settings)),
        })
    }

    /// The settings that are in force now. A request that begins with some ends with them.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other settings in force, from the next request on.
    pub(super) fn replace_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Reads the state's disk as a boot would.
    pub(super) async fn touch(self: &Arc<Self>) -> Result<(), HttpError> {
        let app = self.clone();
        blocking(move || Ok(app.settings().state.ca_certificate().map(drop)?)).await
    }

    /// What keeps gateways from booting at this moment.
    pub(super) async fn problems(self: &Arc<Self>) -> Result<Vec<String>, HttpError> {
        let app = self.clone();
        let now = OffsetDateTime::now_utc();
        blocking(move || {
            let state = &app.settings().state;
            let mut problems = problems::problems(state, now)?;
            problems.extend(state.missing_folders());
            Ok(problems)
        })
        .await
    }

    /// A line about the fleet, for `systemctl status`.
    pub(super) async fn summary(self: &Arc<Self>) -> Result<String, HttpError> {
        let app = self.clone();
        let gateways = blocking(move || Ok(app.gateways.names()?.len())).await?;
        let (plural, running) = (if gateways == 1 { "" } else { "s" }, self.running_boots());
        let store = self.store_status().map_or_else(String::new, |store| format!(", {store}"));
        Ok(format!("{gateways} gateway{plural}, {running} booting{store}"))
    }

    /// This host's part in a common store.
    pub(super) fn replica(&self) -> Option<Arc<Replica>> {
        self.replica.clone()
    }

    /// How it stands with the common store, if there is one.
    pub(super) fn store_status(&self) -> Option<String> {
        let status = self.replica.as_ref().map(|replica| replica.status());
        status.or_else(|| self.store_trouble.clone())
    }

    /// Sees that a file of a generation is here, if another host can have it.
    pub(super) async fn at_hand(&self, asset: &Asset, access: Access) -> Result<(), HttpError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        match replica.fetch(asset, access, FETCH_LIMIT).await {
            Fetch::Here => Ok(()),
            Fetch::OnItsWay => {
                Err(HttpError::NotYet(format!("blob {} is on its way", asset.sha256)))
            }
            Fetch::Failed(error) => Err(HttpError::NotYet(error.to_string())),
        }
    }

    /// What is known of a gateway's generations now.
    pub(super) async fn history(
        self: &Arc<Self>,
        gateway: &Record,
    ) -> Result<Arc<History>, HttpError> {
        let (app, id) = (self.clone(), gateway.id.clone());
        blocking(move || Ok(app.generations.history(&id)?)).await
    }

    /// Takes rollouts as far as they can go. Only who is told of it waits for it.
    pub(super) async fn advance_rollouts(self: &Arc<Self>) {
        let app = self.clone();
        let advanced = blocking(move || {
            Ok(rollouts::advance(&app.settings().state, OffsetDateTime::now_utc())?)
        });
        let trouble = advanced.await.err().map(|error| error.to_string());
        let mut known = self.rollout_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != *known) {
            tracing::error!("not all rollouts can go on: {trouble}");
        }
        *known = trouble;
    }

    async fn append(self: &Arc<Self>, gateway: &str, kind: Kind) -> Result<EventId, HttpError> {
        let (app, gateway) = (self.clone(), gateway.to_owned());
        blocking(move || Ok(app.generations.append(&gateway, kind, OffsetDateTime::now_utc())?))
            .await
    }
}

/// Runs what waits for the disk where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| HttpError::Internal(error.into()))?
}
