//! The boot that a boot token belongs to. Reads the gateway's record and events.

use std::sync::Arc;

use super::App;
use super::boots::is_recent;
use super::boots::unknown_token;
use super::error::Reach;
use super::error::Refusal;
use super::error::Result;
use crate::fleet::Barred;
use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::fleet::Generation;
use crate::fleet::Purpose;
use crate::fleet::Record;

/// The boot of a system that has proved, by its token, to be booted by this fleet.
#[derive(Debug)]
pub(in crate::server) struct RunningBoot {
    pub(in crate::server) gateway: Record,
    pub(in crate::server) boot: EventId,
    /// The generation that it was sent to.
    pub(in crate::server) generation: Arc<Generation>,
}

impl App {
    /// Verifies a boot token and returns its gateway. Needs no disk, and so says nothing about the
    /// gateway's certificates.
    pub(in crate::server) fn gateway_of_boot(&self, token: &str) -> Result<GatewayId> {
        let claim = self.tokens.check(Purpose::Boot, token).ok_or_else(unknown_token)?;
        Ok(claim.gateway_id)
    }

    /// The boot that a boot token belongs to. Fails alike for a forged token, an unknown gateway
    /// and an unknown boot: with [`super::Error::NotFound`]. A certificate that was revoked since is
    /// [`super::Error::Refused`].
    pub(in crate::server) fn boot_of(&self, token: &str, reach: Reach) -> Result<RunningBoot> {
        let claim = self.tokens.check(Purpose::Boot, token).ok_or_else(unknown_token)?;
        reach.disk()?;
        let gateway = self.gateways.find_by_id(&claim.gateway_id)?.ok_or_else(unknown_token)?;
        let history = self.history(&gateway.id, reach)?;
        let known = history.boots().get(&claim.boot).ok_or_else(unknown_token)?;
        match gateway.bars_acknowledgement(known.certificate.as_ref(), claim.certificate) {
            None => {}
            Some(Barred::Unknown) => return Err(unknown_token()),
            Some(Barred::Revoked(fingerprint)) => {
                return Err(Refusal::Revoked { gateway: gateway.name, fingerprint }.into());
            }
        }
        let generation = history.generation(known.generation).ok_or_else(unknown_token)?.clone();
        Ok(RunningBoot { gateway, boot: claim.boot, generation })
    }

    /// The same for boots that began less than a day ago: whoever finds an old token gets nothing
    /// for it.
    pub(in crate::server) fn recent_boot_of(
        &self,
        token: &str,
        reach: Reach,
    ) -> Result<RunningBoot> {
        let boot = self.boot_of(token, reach)?;
        if is_recent(boot.boot) { Ok(boot) } else { Err(unknown_token()) }
    }
}
