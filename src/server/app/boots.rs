//! Boots, from the first request to the acknowledgement.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use time::OffsetDateTime;

use super::App;
use crate::fleet::Barred;
use crate::fleet::Claim;
use crate::fleet::Decision;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Generation;
use crate::fleet::History;
use crate::fleet::Kind;
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::identity::Fingerprint;
use crate::server::error::HttpError;
use crate::server::error::Refusal;
use crate::server::recorder::Subject;
use crate::store::journal::Stage;

/// A boot that was not acknowledged for so long does not run any more.
const LONGEST_BOOT: Duration = Duration::from_secs(15 * 60);

/// For so long the acknowledgement of a boot counts that another boot host began, and that
/// this one knows nothing of yet.
const BOOTED_ELSEWHERE: Duration = Duration::from_secs(24 * 60 * 60);

/// So many acknowledgements of boots elsewhere are known again. One more that comes twice is
/// recorded twice, which changes nothing.
const MOST_ELSEWHERE: usize = 4096;

/// A boot that has begun.
#[derive(Clone, Copy)]
pub(super) struct Running {
    began: Instant,
    /// Its name, if it could be recorded.
    boot: Option<EventId>,
    /// The generation that it was sent to.
    generation: EventId,
    /// The number that this one had then.
    number: u64,
}

impl App {
    /// Chooses the generation for a boot that begins now, and records the boot
    /// before anybody hears of it: a try that was not counted could be the first
    /// of a circle without end.
    pub(in crate::server) async fn begin_boot(
        self: &Arc<Self>,
        gateway: &Record,
        certificate: Fingerprint,
    ) -> Result<Option<(Decision, Option<EventId>)>, HttpError> {
        let history = self.history(gateway).await?;
        let policy = gateway.policy(self.settings().tries);
        let Some(mut decision) = decide(&history, policy) else { return Ok(None) };
        let kind =
            Kind::Booted { generation: decision.generation.id, certificate: Some(certificate) };
        let boot = match self.append(&gateway.id, kind).await {
            Ok(boot) => Some(boot),
            // Asked again in a moment, it can be recorded.
            Err(error @ HttpError::Busy(_)) => return Err(error),
            Err(error) => {
                tracing::error!(gateway = %gateway.name, "a boot could not be recorded: {error}");
                if let (Reason::Trying { .. }, Some(good)) = (decision.reason, history.last_good())
                {
                    decision = Decision { generation: good.clone(), reason: Reason::Good };
                }
                None
            }
        };
        let Generation { id: generation, number, .. } = *decision.generation;
        let running = Running { began: Instant::now(), boot, generation, number };
        self.booting().insert(gateway.id.clone(), running);
        self.metrics.boot(decision.reason);
        Ok(Some((decision, boot)))
    }

    /// The generation that a gateway means by this number: while it boots, the one that
    /// it was sent to. That can get another number meanwhile, when another boot host has
    /// published for the same gateway at the same time.
    pub(in crate::server) fn meant<'a>(
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

    /// The boot that runs now, if this host began it. Not always the one with the latest
    /// name: another host, whose clock is ahead, may have begun one before.
    pub(in crate::server) fn begun(&self, gateway: &Record) -> Option<EventId> {
        self.running(gateway)?.boot
    }

    /// Records that the booted system works. Says for which gateway, or `None` if
    /// the token is not one of ours or its boot was too long ago. Whoever got the token with a
    /// certificate that is revoked by now is refused: a thief's word must not make a generation
    /// good.
    pub(in crate::server) async fn acknowledge(
        self: &Arc<Self>,
        token: &str,
        address: String,
    ) -> Result<Option<(GatewayId, Option<u64>)>, HttpError> {
        let Some(claim) = self.tokens.check(token) else { return Ok(None) };
        let Claim { gateway_id: id, boot, .. } = claim;
        let (app, gateway) = (self.clone(), id.clone());
        let read = self.read(id.as_str(), move || {
            Ok((app.gateways.find_by_id(&gateway)?, app.generations.history(&gateway)?))
        });
        let (Some(record), history) = read.await? else { return Ok(None) };
        let known = history.boots().get(&boot);
        let begun_with = known.and_then(|known| known.certificate);
        match record.bars_acknowledgement(begun_with.as_ref(), claim.certificate) {
            None => {}
            Some(Barred::Unknown) => return Ok(None),
            Some(Barred::Revoked(fingerprint)) => {
                let subject = Subject { gateway_id: id.clone(), boot: Some(boot), address };
                let error =
                    format!("acknowledgement refused: certificate {fingerprint} is revoked");
                self.recorder.record(&subject, Stage::Error { error: error.into() });
                return Err(Refusal::Revoked { gateway: record.name, fingerprint }.into());
            }
        }
        self.end_boot(&id, boot);
        let Some(known) = known else { return self.acknowledge_elsewhere(&id, boot).await };
        // Asked again, because the answer was lost: it is the same answer.
        if !known.acknowledged {
            self.append(&id, Kind::Acknowledged { boot }).await?;
            let subject = Subject { gateway_id: id.clone(), boot: Some(boot), address };
            self.recorder.record(&subject, Stage::Acknowledged);
            self.metrics.acknowledged();
            self.acknowledged.notify_one();
            self.rollouts_due.notify_one();
        }
        Ok(Some((id, Some(known.generation))))
    }

    /// The same for a boot that another boot host began, and of which this one has not
    /// heard yet: it counts once it has. The token proves that there was one.
    async fn acknowledge_elsewhere(
        self: &Arc<Self>,
        id: &GatewayId,
        boot: EventId,
    ) -> Result<Option<(GatewayId, Option<u64>)>, HttpError> {
        if self.replica.is_none() || !is_recent(boot) {
            return Ok(None);
        }
        // Said again, it adds nothing.
        let known = &self.acknowledged_elsewhere;
        let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known().contains(&boot) {
            self.append(id, Kind::Acknowledged { boot }).await?;
            self.metrics.acknowledged();
            let mut known = known();
            known.retain(|boot| is_recent(*boot));
            known.insert(boot);
            if known.len() > MOST_ELSEWHERE {
                known.pop_first();
            }
        }
        Ok(Some((id.clone(), None)))
    }

    /// The path where a system acknowledges this boot, for whoever has this certificate.
    pub(in crate::server) fn ack_path(
        &self,
        gateway: &Record,
        boot: EventId,
        certificate: &Fingerprint,
    ) -> String {
        format!("/boot/ack/{}", self.tokens.issue(&gateway.id, boot, certificate))
    }

    /// How many boots began and were not acknowledged yet.
    pub(in crate::server) fn running_boots(&self) -> usize {
        let mut booting = self.booting();
        booting.retain(|_, running| running.is_alive());
        booting.len()
    }

    /// Takes note that this boot is over; another one of the gateway may run.
    fn end_boot(&self, gateway_id: &GatewayId, boot: EventId) {
        let mut booting = self.booting();
        let running = booting.get(gateway_id).and_then(|running| running.boot);
        if running.is_none_or(|running| running == boot) {
            booting.remove(gateway_id);
        }
    }

    /// The gateway's boot that runs now.
    fn running(&self, gateway: &Record) -> Option<Running> {
        self.booting().get(&gateway.id).copied().filter(Running::is_alive)
    }

    fn booting(&self) -> MutexGuard<'_, HashMap<GatewayId, Running>> {
        self.booting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn is_alive(&self) -> bool {
        self.began.elapsed() < LONGEST_BOOT
    }
}

fn is_recent(boot: EventId) -> bool {
    (OffsetDateTime::now_utc() - boot.time()).unsigned_abs() <= BOOTED_ELSEWHERE
}
