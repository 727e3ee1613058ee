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
use crate::fleet::Reason;
use crate::fleet::Record;
use crate::fleet::decide;
use crate::foreign::Foreign;
use crate::identity::Fingerprint;
use crate::server::recorder::Subject;
use crate::store::journal::Stage;

/// A boot that was not acknowledged for so long does not run any more.
const LONGEST_BOOT: Duration = Duration::from_secs(15 * 60);

/// How long an acknowledgement is accepted of a boot that another host began and that this one
/// has not seen yet.
const FOREIGN_ACK_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// Acknowledgements of boots elsewhere that are remembered. One more that comes twice is recorded
/// twice, which changes nothing.
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

/// What iPXE says of itself: labels, which decide nothing.
#[derive(Clone, Default)]
pub(in crate::server) struct Labels {
    pub(in crate::server) mac: Foreign,
    pub(in crate::server) platform: Foreign,
    pub(in crate::server) version: Foreign,
}

impl App {
    /// Chooses the generation for a boot that begins now, and records the boot before anybody
    /// hears of it: a try that was not counted could be the first of a circle without end.
    /// Returns the generation's number.
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
            // Asked again in a moment, it can be recorded.
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

    /// The generation that a gateway means by this number: while it boots, the one that it was
    /// sent to. That can get another number meanwhile, when another boot host has published for
    /// the same gateway at the same time.
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

    /// The boot that runs now, if this host began it. Not always the one with the latest name:
    /// another host, whose clock is ahead, may have begun one before.
    pub(super) fn begun(&self, gateway: &Record) -> Option<EventId> {
        self.running(gateway)?.boot
    }

    /// The gateway that a token of an acknowledgement speaks for.
    pub(in crate::server) fn claimed_by(&self, token: &str) -> Result<GatewayId> {
        let claim = self.tokens.check(token).ok_or_else(unknown_token)?;
        Ok(claim.gateway_id)
    }

    /// Records that the booted system works, and logs it. Fails alike for a token that is not
    /// one of ours and for one whose boot was too long ago. Whoever got the token with a
    /// certificate that is revoked by now is refused: a thief's word must not make a generation
    /// good.
    pub(in crate::server) fn acknowledge(&self, token: &str, address: &str) -> Result<()> {
        let claim = self.tokens.check(token).ok_or_else(unknown_token)?;
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
            // Asked again, because the answer was lost: it is the same answer.
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

    /// The same for a boot that another boot host began, and of which this one has not heard yet:
    /// it counts once it has. The token proves that there was one.
    fn acknowledge_elsewhere(&self, id: &GatewayId, boot: EventId) -> Result<Option<()>> {
        if self.replica.is_none() || !is_recent(boot) {
            return Ok(None);
        }
        let known = &self.acknowledged_elsewhere;
        let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
        // Said again, it adds nothing.
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

    /// The path where a system acknowledges this boot, for whoever has this certificate.
    pub(super) fn ack_path(
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
        // Nothing that could panic runs while it is locked.
        self.booting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn is_alive(&self) -> bool {
        self.began.elapsed() < LONGEST_BOOT
    }
}

fn unknown_token() -> Error {
    Error::NotFound("not the token of a recent boot".to_owned())
}

fn is_recent(boot: EventId) -> bool {
    (OffsetDateTime::now_utc() - boot.time()).unsigned_abs() <= FOREIGN_ACK_WINDOW
}
