//! Secrets: leases of them, and what they lead to.

use std::sync::Arc;

use anyhow::Result;
use time::OffsetDateTime;

use super::App;
use super::blocking;
use crate::fleet::CertificateState;
use crate::fleet::EventId;
use crate::fleet::Generation;
use crate::fleet::Record;
use crate::identity::Fingerprint;
use crate::server::error::HttpError;
use crate::server::recorder::Subject;
use crate::store::journal::Stage;

impl App {
    /// The path where the booted system can read its secrets, if there are any: a
    /// new lease for each boot script that is handed out.
    pub(in crate::server) async fn secrets_path(
        self: &Arc<Self>,
        gateway: &Record,
        fingerprint: Fingerprint,
        generation: &Arc<Generation>,
        boot: Option<EventId>,
    ) -> Result<Option<String>, HttpError> {
        let (app, gateway, generation) = (self.clone(), gateway.clone(), generation.clone());
        let id = gateway.id.clone();
        self.write(id.as_str(), move || {
            let settings = app.settings();
            if !settings.templates.any(&gateway, &generation, &app.generations)? {
                return Ok(None);
            }
            let owner = (&gateway.name, &gateway.id);
            let now = OffsetDateTime::now_utc();
            let terms = settings.terms;
            let generation = generation.id;
            let token = app.leases.grant(owner, fingerprint, generation, boot, terms, now)?;
            Ok(Some(format!("/secrets/{token}")))
        })
        .await
    }

    /// The secrets that a token leads to. Who was revoked since gets none.
    pub(in crate::server) async fn redeem(
        self: &Arc<Self>,
        token: String,
        address: String,
    ) -> Result<Option<Vec<u8>>, HttpError> {
        let (app, client) = (self.clone(), address.clone());
        self.read(&client, move || {
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
            let Some(generation) = history.by_id(lease.generation).filter(|_| welcome) else {
                return Ok(None);
            };
            let number = generation.number;
            tracing::info!(gateway = %gateway.name, generation = number, "secrets read");
            let subject = Subject { gateway_id: gateway.id.clone(), boot: lease.boot, address };
            app.recorder.record(&subject, Stage::Secrets);
            let bucket = app.told(&gateway, lease.boot);
            let templates = &app.settings().templates;
            Ok(templates.render(&gateway, generation, &lease, &bucket, &app.generations)?)
        })
        .await
    }

    /// Clears away leases that are over, and events in the log that are durable without it.
    pub(in crate::server) async fn sweep(self: &Arc<Self>) -> Result<(), HttpError> {
        let app = self.clone();
        blocking(move || {
            app.generations.tend_log();
            Ok(app.leases.sweep(OffsetDateTime::now_utc())?)
        })
        .await
    }
}
