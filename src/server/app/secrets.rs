//! Secrets of boots: leases, the secrets behind a lease, and bucket values for boot scripts. Reads
//! and writes leases and files about buckets.

use std::sync::Arc;

use time::OffsetDateTime;

use super::App;
use super::authenticate::Client;
use super::error::Error;
use super::error::Reach;
use super::error::Result;
use crate::bucket::Disk;
use crate::bucket::Values;
use crate::fleet::BOOT_CA;
use crate::fleet::BOOT_TOKEN;
use crate::fleet::BOOT_URL;
use crate::fleet::CertificateState;
use crate::fleet::EventId;
use crate::fleet::Generation;
use crate::fleet::Purpose;
use crate::fleet::Record;
use crate::server::recorder::Subject;
use crate::store::journal::Stage;

/// The two ends of a request for secrets: its client, and the address that it was sent to.
pub(in crate::server) struct Asked {
    /// Address of the client; a label that decides nothing.
    pub(in crate::server) address: String,
    /// Host and port that the client asked for, if it said so.
    pub(in crate::server) host: Option<String>,
    /// True if it reached this server's own TLS. nginx leaves out the port.
    pub(in crate::server) own_tls: bool,
}

impl App {
    /// The path where the booted system reads its secrets, if it has any. Each boot script that is
    /// served gets a new lease.
    pub(super) fn secrets_path(
        &self,
        client: &Client,
        generation: &Arc<Generation>,
        boot: Option<EventId>,
        reach: Reach,
    ) -> Result<Option<String>> {
        let (settings, gateway) = (self.settings(), &client.gateway);
        if !settings.templates.may_have(generation) {
            return Ok(None);
        }
        reach.disk()?;
        if !settings.templates.any(gateway, generation, &self.generations)? {
            return Ok(None);
        }
        let owner = (&gateway.name, &gateway.id);
        let (now, terms) = (OffsetDateTime::now_utc(), settings.terms);
        let token =
            self.leases.grant(owner, client.fingerprint, generation.id, boot, terms, now)?;
        Ok(Some(format!("/secrets/{token}")))
    }

    /// The secrets behind a token. A certificate revoked since then gets none. A used-up token, an
    /// expired one and a forged one look alike.
    pub(in crate::server) fn redeem(&self, token: &str, asked: &Asked) -> Result<Vec<u8>> {
        let none = || Error::NotFound("no such lease of secrets".to_owned());
        let lease = self.leases.redeem(token, OffsetDateTime::now_utc())?.ok_or_else(none)?;
        let owner = self.gateways.owner(&lease.fingerprint)?;
        let gateway = owner.filter(|gateway| gateway.id == lease.gateway_id).ok_or_else(none)?;
        let welcome = gateway
            .certificate(&lease.fingerprint)
            .is_some_and(|owned| owned.state != CertificateState::Revoked);
        let history = self.history(&gateway.id, Reach::Disk)?;
        let generation = history.by_id(lease.generation).filter(|_| welcome).ok_or_else(none)?;
        tracing::info!(
            gateway = %gateway.name,
            generation = generation.number,
            "secrets read"
        );
        let (gateway_id, address) = (gateway.id.clone(), asked.address.clone());
        self.recorder.record(Subject { gateway_id, boot: lease.boot, address }, Stage::Secrets);
        let settings = self.settings();
        let boot_token = lease
            .boot
            .map(|boot| self.tokens.issue(Purpose::Boot, &gateway.id, boot, &lease.fingerprint));
        let boot_url = settings.url_for(asked.host.as_deref(), asked.own_tls).to_string();
        let bucket = self.bucket_values(&gateway, lease.boot, Reach::Disk)?;
        let of_bucket = |name: &str| {
            let mut named = bucket.iter().flat_map(Values::named);
            let value = named.find(|(known, _)| *known == name).map(|(_, value)| value);
            // Without a bucket the fields are empty, as in a script.
            value.or_else(|| Values::NAMES.contains(&name).then_some(""))
        };
        let value = |name: &str| match name {
            BOOT_URL => Some(&*boot_url),
            BOOT_CA => Some(&*settings.ca),
            BOOT_TOKEN => Some(boot_token.as_deref().unwrap_or_default()),
            name => of_bucket(name),
        };
        let templates = &settings.templates;
        templates.render(&gateway, generation, &lease, value, &self.generations)?.ok_or_else(none)
    }

    /// Bucket values for `boot`, from the local disk. A gateway boots even without its bucket.
    pub(super) fn bucket_values(
        &self,
        gateway: &Record,
        boot: Option<EventId>,
        reach: Reach,
    ) -> Result<Option<Values>> {
        let settings = self.settings();
        if settings.state.config().buckets.provider.is_none() {
            return Ok(None);
        }
        reach.disk()?;
        let given = Disk::new(&settings.state).hand_out(&gateway.id, &gateway.name, boot);
        if let Some(problem) = &given.problem {
            let with = if given.values.is_some() { "its previous values" } else { "no bucket" };
            tracing::warn!(gateway = %gateway.name, "boots with {with}: {problem}");
        }
        Ok(given.values)
    }

    /// Removes expired leases, and log entries whose events are durable elsewhere.
    pub(in crate::server) fn sweep_store(&self) -> Result<()> {
        self.generations.tend_log();
        Ok(self.leases.sweep(OffsetDateTime::now_utc())?)
    }
}
