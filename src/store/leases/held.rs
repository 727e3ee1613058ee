//! Leases in memory. No disk.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::lease::Lease;
use super::lease::MOST;
use super::slip::Slip;
use crate::fleet::GatewayId;

/// Leases that are not on the disk, because it was full or an older version made them. They end
/// with this process, so none can be read again after a restart.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_gateway: BTreeMap<GatewayId, Vec<(Slip, Lease)>>,
}

impl Held {
    /// Adds one; it replaces the gateway's oldest when there are [`MOST`].
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

    /// Removes expired ones.
    pub(super) fn sweep(&mut self, now: OffsetDateTime) {
        self.by_gateway.retain(|_, leases| {
            leases.retain(|(slip, _)| slip.lasts(now));
            !leases.is_empty()
        });
    }
}
