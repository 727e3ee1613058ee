use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use rustls::pki_types::UnixTime;
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::error::HttpError;
use super::error::Refusal;
use super::metrics::Metrics;
use super::recorder::Recorder;
use super::recorder::Subject;
use super::settings;
use super::settings::Settings;
use super::systemd;
use crate::boot::AckTokens;
use crate::boot::Decision;
use crate::boot::Reason;
use crate::boot::decide;
use crate::identity::Fingerprint;
use crate::replica::Fetch;
use crate::replica::Replica;
use crate::store::events::Asset;
use crate::store::events::EventId;
use crate::store::events::Kind;
use crate::store::gateways;
use crate::store::gateways::CertificateState;
use crate::store::gateways::Gateways;
use crate::store::gateways::Record;
use crate::store::generations::Generations;
use crate::store::generations::LiveGenerations;
use crate::store::history::Generation;
use crate::store::history::History;
use crate::store::journal::Journals;
use crate::store::journal::Stage;
use crate::store::leases::Leases;
use crate::store::rollouts;

/// A boot that was not acknowledged for so long does not run any more.
const LONGEST_BOOT: Duration = Duration::from_secs(15 * 60);

/// How long a request waits for a file that only the common store has. iPXE asks again
/// when told to, and others get what came meanwhile.
const FETCH_LIMIT: Duration = Duration::from_secs(20);

/// For so long the acknowledgement of a boot counts that another boot host began, and that
/// this one knows nothing of yet.
const BOOTED_ELSEWHERE: Duration = Duration::from_secs(24 * 60 * 60);

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
    booting: Mutex<HashMap<String, Instant>>,
    /// A boot was acknowledged: a key may have become superfluous.
    pub(super) acknowledged: Notify,
    /// `None` if this boot host is alone.
    replica: Option<Arc<Replica>>,
    /// Boots that other hosts began, and that were acknowledged here.
    acknowledged_elsewhere: Mutex<HashSet<EventId>>,
}

impl App {
    pub(super) fn new(settings: Settings) -> Result<Self> {
        let state = &settings.state;
        let replica = Replica::open(state, systemd::credentials().as_deref());
        let replica = replica.unwrap_or_else(|error| {
            // Gateways can boot from what is here.
            tracing::error!("the store is left alone until a restart: {error:#}");
            None
        });
        Ok(Self {
            replica,
            acknowledged_elsewhere: Mutex::default(),
            gateways: state.gateways(),
            generations: LiveGenerations::new(Generations::new(state)),
            tokens: AckTokens::new(state.token_key()?),
            leases: Leases::open(state.leases_dir())?,
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
        blocking(move || Ok(settings::problems(&app.settings().state, now)?)).await
    }

    /// A line about the fleet, for `systemctl status`.
    pub(super) async fn summary(self: &Arc<Self>) -> Result<String, HttpError> {
        let app = self.clone();
        let gateways = blocking(move || Ok(app.gateways.names()?.len())).await?;
        let (plural, running) = (if gateways == 1 { "" } else { "s" }, self.running_boots());
        let store = self.store_status().map_or_else(String::new, |store| format!(", {store}"));
        Ok(format!("{gateways} gateway{plural}, {running} booting{store}"))
    }

    /// How many boots began and were not acknowledged yet.
    pub(super) fn running_boots(&self) -> usize {
        let mut booting = self.booting();
        booting.retain(|_, began| began.elapsed() < LONGEST_BOOT);
        booting.len()
    }

    /// This host's part in a common store.
    pub(super) fn replica(&self) -> Option<Arc<Replica>> {
        self.replica.clone()
    }

    /// How it stands with the common store, if there is one.
    pub(super) fn store_status(&self) -> Option<String> {
        self.replica.as_ref().map(|replica| replica.status())
    }

    /// Sees that a file of a generation is here.
    pub(super) async fn at_hand(&self, asset: &Asset, private: bool) -> Result<(), HttpError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        match replica.fetch(asset, private, FETCH_LIMIT).await {
            Fetch::Here => Ok(()),
            Fetch::OnItsWay => {
                Err(HttpError::NotYet(format!("blob {} is on its way", asset.sha256)))
            }
            Fetch::Failed(error) => Err(HttpError::NotYet(error.to_string())),
        }
    }

    fn booting(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.booting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a gateway's generations now.
    pub(super) async fn history(
        self: &Arc<Self>,
        gateway: &Record,
    ) -> Result<Arc<History>, HttpError> {
        let (app, id) = (self.clone(), gateway.id.clone());
        blocking(move || Ok(app.generations.history(&id)?)).await
    }

    /// Chooses the generation for a boot that begins now, and records the boot
    /// before anybody hears of it: a try that was not counted could be the first
    /// of a circle without end.
    pub(super) async fn begin_boot(
        self: &Arc<Self>,
        gateway: &Record,
    ) -> Result<Option<(Decision, Option<EventId>)>, HttpError> {
        let history = self.history(gateway).await?;
        let policy = gateway.policy(self.settings().tries);
        let Some(mut decision) = decide(&history, policy) else { return Ok(None) };
        self.booting().insert(gateway.id.clone(), Instant::now());
        let kind = Kind::Booted { generation: decision.generation.id };
        let boot = match self.append(&gateway.id, kind).await {
            Ok(boot) => Some(boot),
            Err(error) => {
                tracing::error!(gateway = %gateway.name, "a boot could not be recorded: {error}");
                if let (Reason::Trying { .. }, Some(good)) = (decision.reason, history.last_good())
                {
                    decision = Decision { generation: good.clone(), reason: Reason::Good };
                }
                None
            }
        };
        self.metrics.boot(decision.reason);
        Ok(Some((decision, boot)))
    }

    /// Records that the booted system works. Says for which gateway, or `None` if
    /// the token is not one of ours or its boot was too long ago.
    pub(super) async fn acknowledge(
        self: &Arc<Self>,
        token: &str,
        address: String,
    ) -> Result<Option<(String, Option<u64>)>, HttpError> {
        let Some((id, boot)) = self.tokens.check(token) else { return Ok(None) };
        let (app, gateway) = (self.clone(), id.to_owned());
        let read = blocking(move || Ok(app.generations.history(&gateway)?)).await?;
        self.booting().remove(id);
        let Some(known) = read.boots().get(&boot) else {
            return self.acknowledge_elsewhere(id, boot).await;
        };
        // Asked again, because the answer was lost: it is the same answer.
        if !known.acknowledged {
            self.append(id, Kind::Acknowledged { boot }).await?;
            let subject = Subject { gateway_id: id.to_owned(), boot: Some(boot), address };
            self.recorder.record(&subject, Stage::Acknowledged);
            self.metrics.acknowledged();
            self.acknowledged.notify_one();
            let app = self.clone();
            tokio::spawn(async move { app.advance_rollouts().await });
        }
        Ok(Some((id.to_owned(), Some(known.generation))))
    }

    /// The same for a boot that another boot host began, and of which this one has not
    /// heard yet: it counts once it has. The token proves that there was one.
    async fn acknowledge_elsewhere(
        self: &Arc<Self>,
        id: &str,
        boot: EventId,
    ) -> Result<Option<(String, Option<u64>)>, HttpError> {
        let age = OffsetDateTime::now_utc() - boot.time();
        if self.replica.is_none() || age.unsigned_abs() > BOOTED_ELSEWHERE {
            return Ok(None);
        }
        let (app, owner) = (self.clone(), id.to_owned());
        let there = blocking(move || match gateways::name_of(&owner).parse() {
            Ok(name) => Ok(app.gateways.find(&name)?.is_some_and(|record| record.id == owner)),
            Err(_) => Ok(false),
        });
        if !there.await? {
            return Ok(None);
        }
        // Said again, it adds nothing.
        let known = &self.acknowledged_elsewhere;
        let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known().contains(&boot) {
            self.append(id, Kind::Acknowledged { boot }).await?;
            self.metrics.acknowledged();
            known().insert(boot);
        }
        Ok(Some((id.to_owned(), None)))
    }

    /// The path where a system acknowledges the latest boot of this generation.
    pub(super) fn ack_path(
        &self,
        gateway: &Record,
        history: &History,
        number: u64,
    ) -> Option<String> {
        let latest = history.boots().iter().rfind(|(_, boot)| boot.generation == number);
        let token = self.tokens.issue(&gateway.id, *latest?.0);
        Some(format!("/boot/ack/{token}"))
    }

    /// The path where the booted system can read its secrets, if there are any: a
    /// new lease for each boot script that is handed out.
    pub(super) async fn secrets_path(
        self: &Arc<Self>,
        gateway: &Record,
        fingerprint: Fingerprint,
        generation: &Arc<Generation>,
    ) -> Result<Option<String>, HttpError> {
        let (app, gateway, generation) = (self.clone(), gateway.clone(), generation.clone());
        blocking(move || {
            let settings = app.settings();
            if !settings.templates.any(&gateway, &generation, &app.generations)? {
                return Ok(None);
            }
            let owner = (&gateway.name, gateway.id.as_str());
            let now = OffsetDateTime::now_utc();
            let (number, terms) = (generation.number, settings.terms);
            let token = app.leases.grant(owner, fingerprint, number, terms, now)?;
            Ok(Some(format!("/secrets/{token}")))
        })
        .await
    }

    /// The secrets that a token leads to. Who was revoked since gets none.
    pub(super) async fn redeem(
        self: &Arc<Self>,
        token: String,
        address: String,
    ) -> Result<Option<Vec<u8>>, HttpError> {
        let app = self.clone();
        blocking(move || {
            let Some(lease) = app.leases.redeem(&token, OffsetDateTime::now_utc())? else {
                return Ok(None);
            };
            let owner = app.gateways.owner(&lease.fingerprint)?;
            let Some(gateway) = owner.filter(|gateway| gateway.id == lease.gateway_id) else {
                return Ok(None);
            };
            let welcome = gateway
                .certificate(&lease.fingerprint)
                .is_some_and(|owned| owned.state != CertificateState::Revoked);
            let history = app.generations.history(&gateway.id)?;
            let Some(generation) = history.generation(lease.generation).filter(|_| welcome) else {
                return Ok(None);
            };
            let number = generation.number;
            tracing::info!(gateway = %gateway.name, generation = number, "secrets read");
            let boot = history.boots().keys().next_back().copied();
            let subject = Subject { gateway_id: gateway.id.clone(), boot, address };
            app.recorder.record(&subject, Stage::Secrets);
            let bucket = app.told(&gateway, boot);
            let templates = &app.settings().templates;
            Ok(templates.render(&gateway, generation, &lease, &bucket, &app.generations)?)
        })
        .await
    }

    /// Clears away leases that are over.
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<(), HttpError> {
        let app = self.clone();
        blocking(move || Ok(app.leases.sweep(OffsetDateTime::now_utc())?)).await
    }

    /// Takes rollouts as far as they can go. Only who is told of it waits for it.
    pub(super) async fn advance_rollouts(self: &Arc<Self>) {
        let app = self.clone();
        let advanced = blocking(move || {
            Ok(rollouts::advance(&app.settings().state, OffsetDateTime::now_utc())?)
        });
        if let Err(error) = advanced.await {
            tracing::error!("rollouts cannot go on: {error}");
        }
    }

    async fn append(self: &Arc<Self>, gateway: &str, kind: Kind) -> Result<EventId, HttpError> {
        let (app, gateway) = (self.clone(), gateway.to_owned());
        blocking(move || Ok(app.generations.append(&gateway, kind, OffsetDateTime::now_utc())?))
            .await
    }

    /// Finds the gateway that a certificate belongs to, if it lets it in: signed
    /// by the CA and valid now, registered, and not revoked. Asks the disk each
    /// time, so that a revocation counts from the next request on.
    pub(super) fn authenticate(
        &self,
        der: &[u8],
        address: String,
    ) -> Result<(Record, Fingerprint), HttpError> {
        let verifier = &self.settings().verifier;
        let certificate = verifier.verify(der, UnixTime::now()).map_err(Refusal::Verify)?;
        let fingerprint = certificate.fingerprint;
        let record = self.gateways.owner(&fingerprint)?.ok_or(Refusal::Unknown(fingerprint))?;
        let owned = record.certificate(&fingerprint).ok_or(Refusal::Unknown(fingerprint))?;
        match owned.state {
            CertificateState::Active | CertificateState::Retiring => Ok((record, fingerprint)),
            CertificateState::Revoked => {
                let subject = Subject { gateway_id: record.id.clone(), boot: None, address };
                let error = format!("turned away: certificate {fingerprint} is revoked");
                self.recorder.record(&subject, Stage::Error { error });
                Err(Refusal::Revoked { gateway: record.name, fingerprint }.into())
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
