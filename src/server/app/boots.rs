//! Boots, from the first request to the acknowledgement. Appends events to the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use time::OffsetDateTime;

use super::App;
use super::authenticate::Client;
use super::error::Error;
use super::error::Reach;
use super::error::Refusal;
use super::error::Result;
use crate::fleet::Barred;
use crate::fleet::Claim;
use crate::fleet::Decision;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Generation;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::Purpose;
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::foreign::Foreign;
use crate::identity::Fingerprint;
use crate::server::recorder::Subject;
use crate::store::journal::Stage;

/// A boot without an acknowledgement for this long is over.
const LONGEST_BOOT: Duration = Duration::from_secs(15 * 60);

/// Time for which this host accepts the acknowledgement of another host's boot that it has not seen
/// yet.
const FOREIGN_ACK_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// Most acknowledgements of other hosts' boots that are remembered. Beyond that, a repeated one is
/// recorded twice, which changes nothing.
const MOST_ELSEWHERE: usize = 4096;

/// A boot that has begun.
#[derive(Clone, Copy)]
pub(super) struct Running {
    began: Instant,
    /// The id of its event, if that could be recorded.
    boot: Option<EventId>,
    /// The generation that it was sent to.
    generation: EventId,
    /// The number of that generation at that time.
    number: u64,
}

/// iPXE's description of itself: labels, which decide nothing.
#[derive(Clone, Default)]
pub(in crate::server) struct Labels {
    pub(in crate::server) mac: Foreign,
    pub(in crate::server) platform: Foreign,
    pub(in crate::server) version: Foreign,
}

impl App {
    /// Chooses the generation for a new boot, and records the boot before the client gets an
    /// answer. An uncounted try could start an endless boot loop. Returns the generation's number.
    pub(in crate::server) fn begin_boot(&self, client: &Client, labels: Labels) -> Result<u64> {
        let gateway = &client.gateway;
        let history = self.history(&gateway.id, Reach::Disk)?;
        let policy = gateway.policy(self.settings().tries);
        let Some(mut decision) = decide(&history, policy) else {
            let error = "nothing is published".into();
            self.recorder.record(client.subject(None), Stage::Error { error });
            return Err(Error::NothingPublished(gateway.name.clone()));
        };
        let generation = decision.generation.id;
        let certificate = Some(client.fingerprint);
        let boot = match self.append(&gateway.id, Kind::Booted { generation, certificate }) {
            Ok(boot) => Some(boot),
            // A retry can still record it.
            Err(error @ Error::Busy(_)) => return Err(error),
            Err(error) => {
                tracing::error!(gateway = %gateway.name, "a boot could not be recorded: {error}");
                if let (Reason::Trying { .. }, Some(good)) = (decision.reason, history.last_good())
                {
                    decision = Decision { generation: good.clone(), reason: Reason::Good };
                }
                None
            }
        };
        let Decision { generation, reason } = decision;
        let Generation { id, number, .. } = *generation;
        let running = Running { began: Instant::now(), boot, generation: id, number };
        self.booting().insert(gateway.id.clone(), running);
        self.counters.boot(reason);
        tracing::info!(
            gateway = %gateway.name,
            generation = number,
            %reason,
            mac = labels.mac.as_str(),
            platform = labels.platform.as_str(),
            ipxe = labels.version.as_str(),
            "boot"
        );
        let Labels { mac, platform, version: ipxe } = labels;
        let stage =
            Stage::Boot { generation: number, reason: reason.to_string(), mac, platform, ipxe };
        self.recorder.record(client.subject(boot), stage);
        Ok(number)
    }

    /// Resolves a generation number of a gateway. During a boot, it means the generation that the
    /// boot was sent to. A concurrent publish on another boot host can give that generation another
    /// number meanwhile.
    pub(super) fn meant<'a>(
        &self,
        gateway: &Record,
        history: &'a History,
        number: u64,
    ) -> Option<&'a Arc<Generation>> {
        let running = self.running(gateway).filter(|running| running.number == number);
        let sent_to = running.map(|running| running.generation);
        let named = history.generation(number);
        match sent_to {
            Some(id) if named.is_none_or(|named| named.id != id) => history.by_id(id).or(named),
            _ => named,
        }
    }

    /// The running boot, if this host began it. It need not have the latest event: another host
    /// with a faster clock may have begun one before.
    pub(super) fn begun(&self, gateway: &Record) -> Option<EventId> {
        self.running(gateway)?.boot
    }

    /// Verifies an acknowledgement token and returns its gateway.
    pub(in crate::server) fn claimed_by(&self, token: &str) -> Result<GatewayId> {
        let claim = self.tokens.check_acknowledging(token).ok_or_else(unknown_token)?;
        Ok(claim.gateway_id)
    }

    /// Records and logs that the booted system works. A forged token and one of a boot too long ago
    /// fail alike. A token given to a certificate that has been revoked since is refused: a thief
    /// must not be able to make a generation good.
    pub(in crate::server) fn acknowledge(&self, token: &str, address: &str) -> Result<()> {
        let claim = self.tokens.check_acknowledging(token).ok_or_else(unknown_token)?;
        let Claim { gateway_id: id, boot, certificate } = claim;
        let record = self.gateways.find_by_id(&id)?.ok_or_else(unknown_token)?;
        let history = self.history(&id, Reach::Disk)?;
        let subject =
            || Subject { gateway_id: id.clone(), boot: Some(boot), address: address.to_owned() };
        let known = history.boots().get(&boot);
        let begun_with = known.and_then(|known| known.certificate);
        match record.bars_acknowledgement(begun_with.as_ref(), certificate) {
            None => {}
            Some(Barred::Unknown) => return Err(unknown_token()),
            Some(Barred::Revoked(fingerprint)) => {
                let error =
                    format!("acknowledgement refused: certificate {fingerprint} is revoked");
                self.recorder.record(subject(), Stage::Error { error: error.into() });
                return Err(Refusal::Revoked { gateway: record.name, fingerprint }.into());
            }
        }
        self.end_boot(&id, boot);
        let generation = match known {
            // A retry, because the answer was lost: it gets the same answer.
            Some(known) if known.acknowledged => Some(known.generation),
            Some(known) => {
                self.append(&id, Kind::Acknowledged { boot })?;
                self.recorder.record(subject(), Stage::Acknowledged);
                self.counters.acknowledged();
                Some(known.generation)
            }
            None => {
                self.acknowledge_elsewhere(&id, boot)?.ok_or_else(unknown_token)?;
                None
            }
        };
        tracing::info!(gateway = %record.name, generation, "acknowledged");
        Ok(())
    }

    /// The same for another host's boot whose event has not arrived here yet. The acknowledgement
    /// counts once the event arrives; the token proves that the boot exists.
    fn acknowledge_elsewhere(&self, id: &GatewayId, boot: EventId) -> Result<Option<()>> {
        if self.replica.is_none() || !is_recent(boot) {
            return Ok(None);
        }
        let known = &self.acknowledged_elsewhere;
        let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
        // A repeated acknowledgement adds nothing.
        if !known().contains(&boot) {
            self.append(id, Kind::Acknowledged { boot })?;
            self.counters.acknowledged();
            let mut known = known();
            known.retain(|boot| is_recent(*boot));
            known.insert(boot);
            if known.len() > MOST_ELSEWHERE {
                known.pop_first();
            }
        }
        Ok(Some(()))
    }

    /// The acknowledgement path of this boot, for the client with this certificate.
    pub(super) fn ack_path(
        &self,
        gateway: &Record,
        boot: EventId,
        certificate: &Fingerprint,
    ) -> String {
        let token = self.tokens.issue(Purpose::Acknowledge, &gateway.id, boot, certificate);
        format!("/boot/ack/{token}")
    }

    /// The number of boots that began and were not acknowledged yet.
    pub(in crate::server) fn running_boots(&self) -> usize {
        let mut booting = self.booting();
        booting.retain(|_, running| running.is_alive());
        booting.len()
    }

    /// Removes a finished boot; a newer boot of the gateway stays.
    fn end_boot(&self, gateway_id: &GatewayId, boot: EventId) {
        let mut booting = self.booting();
        let running = booting.get(gateway_id).and_then(|running| running.boot);
        if running.is_none_or(|running| running == boot) {
            booting.remove(gateway_id);
        }
    }

    /// The gateway's running boot.
    fn running(&self, gateway: &Record) -> Option<Running> {
        self.booting().get(&gateway.id).copied().filter(Running::is_alive)
    }

    fn booting(&self) -> MutexGuard<'_, HashMap<GatewayId, Running>> {
        // The code under this lock cannot panic.
        self.booting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn is_alive(&self) -> bool {
        self.began.elapsed() < LONGEST_BOOT
    }
}

pub(super) fn unknown_token() -> Error {
    Error::NotFound("not the token of a recent boot".to_owned())
}

pub(super) fn is_recent(boot: EventId) -> bool {
    (OffsetDateTime::now_utc() - boot.time()).unsigned_abs() <= FOREIGN_ACK_WINDOW
}
