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
use tokio::time::Instant;

use crate::fleet::AckTokens;
use crate::fleet::Asset;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::Record;
use crate::replica::Fetch;
use crate::replica::Replica;
use crate::server::error::HttpError;
use crate::server::gates::Gates;
use crate::server::metrics::Metrics;
use crate::server::problems;
use crate::server::recorder::Recorder;
use crate::server::settings::Settings;
use crate::server::systemd;
use crate::store::blobs::Access;
use crate::store::commit_log::CommitLog;
use crate::store::gateways::Gateways;
use crate::store::generations::Generations;
use crate::store::journal::Journals;
use crate::store::leases::Leases;
use crate::store::live::LiveGenerations;
use crate::store::rollouts;

/// How long a request waits for a file that only the common store has. iPXE asks again
/// when told to, and others get what came meanwhile.
const FETCH_LIMIT: Duration = Duration::from_secs(20);

/// Reads that one client can have done at a time, and that may wait. A gateway asks for one
/// thing after the other; many that booted behind one address ask for their secrets at once.
const READS: (usize, usize) = (4, 128);

/// The same for writes: those of a gateway follow each other anyway. iPXE asks again when it
/// is told to, so few need to wait.
const WRITES: (usize, usize) = (1, 16);

/// How long a request waits for its turn, and for a file that others have locked.
const TURN_LIMIT: Duration = Duration::from_secs(5);

/// How often a locked file is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What all requests share.
pub(super) struct App {
    settings: RwLock<Arc<Settings>>,
    gateways: Gateways,
    pub(super) generations: LiveGenerations,
    tokens: AckTokens,
    leases: Leases,
    reads: Gates,
    writes: Gates,
    pub(super) recorder: Recorder,
    pub(super) metrics: Metrics,
    /// Gateways whose boot began, and was not acknowledged yet.
    booting: Mutex<HashMap<GatewayId, boots::Running>>,
    /// A boot was acknowledged: a key may have become superfluous.
    pub(super) acknowledged: Notify,
    /// The same: a rollout may go on.
    rollouts_due: Notify,
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
        let log = Arc::new(CommitLog::new(&state.store_dir()));
        log.tend();
        Ok(Self {
            replica,
            store_trouble,
            rollout_trouble: Mutex::default(),
            acknowledged_elsewhere: Mutex::default(),
            gateways: state.gateways(),
            // No thread waits for a lock: see `write`.
            generations: LiveGenerations::new(
                Generations::new(state).with_patience(Duration::ZERO).with_log(log),
            ),
            reads: Gates::new(READS),
            writes: Gates::new(WRITES),
            rollouts_due: Notify::new(),
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
            let mut problems = problems::all_problems(state, now)?;
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

    /// Sees that a file of a generation is here, if another host can have it. Whoever waits for
    /// the store has no turn meanwhile.
    pub(super) async fn at_hand(
        &self,
        gateway: &Record,
        asset: &Asset,
        access: Access,
    ) -> Result<(), HttpError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let (looking, wanted) = (replica.clone(), asset.clone());
        // Why it could not be looked at, the fetch finds again.
        let look = move || Ok(looking.look(&wanted, access).unwrap_or(false));
        if self.read(gateway.id.as_str(), look).await? {
            return Ok(());
        }
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
        self.history_of(&gateway.id).await
    }

    async fn history_of(
        self: &Arc<Self>,
        gateway_id: &GatewayId,
    ) -> Result<Arc<History>, HttpError> {
        let (app, id) = (self.clone(), gateway_id.clone());
        self.read(gateway_id.as_str(), move || Ok(app.generations.history(&id)?)).await
    }

    /// Waits until a rollout may go on.
    pub(super) async fn rollouts_due(&self) {
        self.rollouts_due.notified().await;
    }

    /// Takes rollouts as far as they can go.
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

    async fn append(
        self: &Arc<Self>,
        gateway: &GatewayId,
        kind: Kind,
    ) -> Result<EventId, HttpError> {
        let (app, id) = (self.clone(), gateway.clone());
        let append =
            move || Ok(app.generations.append(&id, kind.clone(), OffsetDateTime::now_utc())?);
        self.write(gateway.as_str(), append).await
    }

    /// Runs `work`, which reads the disk for `client`, when it is its turn. Whoever asks
    /// for much waits without a thread, and leaves none behind when it goes.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        client: &str,
        work: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
    ) -> Result<T, HttpError> {
        let turn = self.reads.enter(client, Instant::now() + TURN_LIMIT).await?;
        blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }

    /// Runs `work`, which writes for `gateway`, when it is its turn, and again as long as
    /// somebody else has the lock that it needs. So `work` must not wait for one itself.
    /// What has begun is finished, also when the client is gone.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        gateway: &str,
        work: impl Fn() -> Result<T, HttpError> + Send + 'static,
    ) -> Result<T, HttpError> {
        let deadline = Instant::now() + TURN_LIMIT;
        let mut turn = self.writes.enter(gateway, deadline).await?;
        let mut work = work;
        loop {
            // The turn lasts as long as the work, however long anybody waits for it.
            let done = blocking(move || Ok((work(), work, turn)));
            let result;
            (result, work, turn) = done.await?;
            match result {
                Err(HttpError::Busy(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                result => return result,
            }
        }
    }
}

/// Runs what waits for the disk where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| HttpError::Internal(error.into()))?
}
