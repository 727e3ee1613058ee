//! The boot server's core, as plain functions: authentication, the choice of a generation, its
//! content. Touches the state's disk and the clock; knows nothing of HTTP, connections or threads.

mod authenticate;
mod boot_token;
mod boots;
mod error;
mod files;
mod health;
mod images;
mod nginx;
mod prelude;
mod report;
mod script;
mod secrets;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use time::OffsetDateTime;

pub(super) use authenticate::Client;
pub(super) use authenticate::Presented;
pub(super) use authenticate::Via;
pub(super) use boots::Labels;
pub(super) use error::Error;
pub(super) use error::Reach;
pub(super) use error::Refusal;
pub(super) use error::Result;
pub(super) use files::Content;
pub(super) use files::Number;
pub(super) use files::Wish;
pub(super) use images::Image;
pub(super) use images::ImagePart;
pub(super) use images::ImageWish;
pub(super) use secrets::Asked;

use super::metrics::Counters;
use super::recorder::Recorder;
use super::settings::Settings;
use crate::fleet::BootTokens;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::replica::Replica;
use crate::store::commit_log::CommitLog;
use crate::store::gateways::KnownGateways;
use crate::store::generations::Generations;
use crate::store::journal::Journals;
use crate::store::leases::Leases;
use crate::store::live::LiveGenerations;

/// State that all requests share.
pub(super) struct App {
    settings: RwLock<Arc<Settings>>,
    gateways: KnownGateways,
    generations: LiveGenerations,
    nginx: nginx::Nginx,
    verified: authenticate::Verified,
    scripts: script::Scripts,
    tokens: BootTokens,
    leases: Leases,
    pub(super) recorder: Recorder,
    pub(super) counters: Counters,
    /// Running boots: begun and not acknowledged yet.
    booting: Mutex<HashMap<GatewayId, boots::Running>>,
    /// Reports that gateways may still send.
    budgets: report::Budgets,
    /// Boots of other hosts that were acknowledged here.
    acknowledged_elsewhere: Mutex<BTreeSet<EventId>>,
    /// `None` without a shared store.
    replica: Option<Arc<Replica>>,
    /// The reason if the configured shared store is not used.
    store_trouble: Option<String>,
    /// The reason if rollouts were stuck at the last look.
    rollout_trouble: Mutex<Option<String>>,
    on_news: Arc<dyn Fn(News<'_>) + Send + Sync>,
}

/// Something that just happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum News<'a> {
    /// An event became durable.
    Event(&'a Kind),
    /// Lines were added to journals.
    Recorded,
}

impl App {
    /// `reasons` are the labels for clients that the edge refuses. `on_news` must not wait.
    pub(super) fn new(
        settings: Settings,
        reasons: impl IntoIterator<Item = &'static str>,
        on_news: impl Fn(News<'_>) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let state = &settings.state;
        let (replica, store_trouble) = match Replica::open(state, settings.credentials.as_deref()) {
            Ok(replica) => (replica, None),
            Err(error) => {
                // Gateways can boot from the local store.
                tracing::error!("the shared store is not used until a restart: {error:#}");
                (None, Some(format!("store not used until a restart: {error:#}")))
            }
        };
        let log = Arc::new(CommitLog::new(&state.store_dir()));
        log.tend();
        let on_news: Arc<dyn Fn(News<'_>) + Send + Sync> = Arc::new(on_news);
        let recorded = on_news.clone();
        Ok(Self {
            replica,
            store_trouble,
            rollout_trouble: Mutex::default(),
            acknowledged_elsewhere: Mutex::default(),
            gateways: KnownGateways::new(state.gateways()),
            // Threads never wait for a lock: the client retries.
            generations: LiveGenerations::new(
                Generations::new(state).with_patience(Duration::ZERO).with_log(log),
            ),
            nginx: nginx::Nginx::new(state),
            verified: authenticate::Verified::default(),
            scripts: script::Scripts::default(),
            tokens: BootTokens::new(state.token_key()?),
            leases: Leases::open(state.leases_dir(), OffsetDateTime::now_utc()),
            recorder: Recorder::start(Journals::new(state), move || recorded(News::Recorded))?,
            counters: Counters::new(Refusal::REASONS.into_iter().chain(reasons)),
            booting: Mutex::default(),
            budgets: report::Budgets::default(),
            on_news,
            settings: RwLock::new(Arc::new(settings)),
        })
    }

    /// Leaves nothing in memory, or in the log of events, that belongs in the state's files.
    pub(super) fn close(&self) {
        self.recorder.close();
        self.generations.tend_log();
    }

    /// The settings in force. A request keeps the settings it began with.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the settings, from the next request on.
    pub(super) fn replace_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    pub(super) fn gateways(&self) -> &KnownGateways {
        &self.gateways
    }

    pub(super) fn generations(&self) -> &LiveGenerations {
        &self.generations
    }

    /// This host's part in a shared store.
    pub(super) fn replica(&self) -> Option<&Arc<Replica>> {
        self.replica.as_ref()
    }

    /// The current history of a gateway's generations.
    fn history(&self, gateway: &GatewayId, reach: Reach) -> Result<Arc<History>> {
        match reach {
            Reach::Memory => self.generations.history_in_memory(gateway).ok_or(Error::Cold),
            Reach::Disk => Ok(self.generations.history(gateway)?),
        }
    }

    /// Records an event. Once this returns, the event survives a power failure.
    fn append(&self, gateway: &GatewayId, kind: Kind) -> Result<EventId> {
        let id = self.generations.append(gateway, kind.clone(), OffsetDateTime::now_utc())?;
        (self.on_news)(News::Event(&kind));
        if let Some(replica) = &self.replica {
            replica.wake(gateway);
        }
        Ok(id)
    }
}
