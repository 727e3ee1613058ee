use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::Lease;
use super::MOST;
use super::slip::Slip;
use crate::fleet::GatewayId;

/// Leases that the disk does not have: it was full, or an older version wrote them there in
/// another way. They end with this process, so none can be read again after a restart.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_gateway: BTreeMap<GatewayId, Vec<(Slip, Lease)>>,
}

impl Held {
    /// Adds one; it takes the place of the gateway's oldest when there are [`MOST`].
    pub(super) fn add(&mut self, slip: Slip, lease: Lease, now: OffsetDateTime) {
        let leases = self.by_gateway.entry(lease.gateway_id.clone()).or_default();
        leases.retain(|(slip, _)| slip.lasts(now));
        leases.push((slip, lease));
        if leases.len() > MOST {
            leases.sort_by(|(a, _), (b, _)| a.cmp(b));
            leases.remove(0);
        }
    }

    /// Uses up one reading.
    pub(super) fn take(&mut self, digest: &str, now: OffsetDateTime) -> Option<Lease> {
        for leases in self.by_gateway.values_mut() {
            let Some(at) = leases.iter().position(|(slip, _)| slip.digest == digest) else {
                continue;
            };
            let (slip, lease) = leases.swap_remove(at);
            if !slip.lasts(now) {
                return None;
            }
            if let Some(rest) = slip.after_reading() {
                leases.push((rest, lease.clone()));
            }
            return Some(lease);
        }
        None
    }

    /// Forgets those whose time is over.
    pub(super) fn sweep(&mut self, now: OffsetDateTime) {
        self.by_gateway.retain(|_, leases| {
            leases.retain(|(slip, _)| slip.lasts(now));
            !leases.is_empty()
        });
    }
}
