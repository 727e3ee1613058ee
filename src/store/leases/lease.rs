//! One lease, and how long it lasts. Pure.

use serde::Deserialize;
use serde::Serialize;
use time::OffsetDateTime;

use crate::fleet::EventId;
use crate::fleet::GatewayId;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// Most leases of one gateway: a new one replaces the oldest. A boot needs one; a gateway that
/// requests its script again and again must not fill the disk.
pub const MOST: usize = 8;

/// The right of a token's holder to read the secrets of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease {
    /// The gateway that the secrets are for.
    pub gateway: GatewayName,
    /// Its id: another gateway may have the name by now.
    pub gateway_id: GatewayId,
    /// The certificate that began the boot.
    pub fingerprint: Fingerprint,
    /// The generation with the template.
    pub generation: EventId,
    /// The boot, if it could be recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<EventId>,
    /// The time when the lease was made.
    #[serde(with = "time::serde::rfc3339")]
    pub(super) made: OffsetDateTime,
    /// Duration in seconds.
    pub(super) seconds: u32,
    /// Number of readings.
    pub(super) max_reads: u32,
}

/// Duration of leases, and how often they can be read.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// In seconds.
    pub seconds: u32,
    /// At least 1.
    pub max_reads: u32,
}
