//! Errors of the core. `http/error.rs` turns them into HTTP answers.

use crate::fleet::Asset;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::HeaderError;
use crate::identity::VerifyError;
use crate::store::blobs::Access;
use crate::store::lock::Busy;

pub(in crate::server) type Result<T> = std::result::Result<T, Error>;

/// The reason for a request to get no answer, or none yet.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Error {
    /// The client is not authorised or not authenticated.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The gateway has no such thing.
    #[error("not found: {0}")]
    NotFound(String),
    /// Nothing was ever published for this gateway.
    #[error("nothing is published for gateway {0}")]
    NothingPublished(GatewayName),
    /// The file is not here yet; the shared store may have it.
    #[error("blob {} is not here yet", .0.sha256)]
    Elsewhere(Asset, Access),
    /// The file is not here yet, and fetching it took too long.
    #[error("not here yet: {0}")]
    NotYet(String),
    /// The client sent something else than it should.
    #[error("{0}")]
    Malformed(String),
    /// The client says more than is heard of one.
    #[error("too many: {0}")]
    TooMany(String),
    /// Another process holds a lock, or one client has too many requests running.
    #[error("busy: {0}")]
    Busy(String),
    /// The answer is not in memory: retry with [`Reach::Disk`].
    #[error("not in memory")]
    Cold,
    /// A fault of this host.
    #[error("{0:#}")]
    Internal(anyhow::Error),
}

/// The resources that a request may use for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Reach {
    /// Memory only, and the file metadata that validates a cache. Takes microseconds, so it may run
    /// on a thread that serves other connections.
    Memory,
    /// The disk; may block.
    Disk,
}

impl Reach {
    /// Fails unless the disk is in reach.
    pub(in crate::server) fn disk(self) -> Result<()> {
        match self {
            Self::Disk => Ok(()),
            Self::Memory => Err(Error::Cold),
        }
    }
}

/// The reason for a refusal.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Refusal {
    #[error("no client certificate")]
    NoCertificate,
    #[error("nginx does not have the configuration that `farmgate nginx-config` prints")]
    NoProxyMark,
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("client certificate: {0}")]
    Verify(#[from] VerifyError),
    #[error("certificate {0} belongs to no gateway")]
    Unknown(Fingerprint),
    #[error("certificate {fingerprint} of gateway {gateway} is revoked")]
    Revoked { gateway: GatewayName, fingerprint: Fingerprint },
    #[error("/update-cfg: the signature or token is not that of the secret")]
    Webhook,
}

impl Refusal {
    /// Every [`Self::reason`].
    pub(in crate::server) const REASONS: [&str; 7] =
        ["no-certificate", "no-proxy-mark", "header", "verify", "unknown", "revoked", "webhook"];

    /// A one-word label for monitoring.
    pub(in crate::server) fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::NoProxyMark => "no-proxy-mark",
            Self::Header(_) => "header",
            Self::Verify(_) => "verify",
            Self::Unknown(_) => "unknown",
            Self::Revoked { .. } => "revoked",
            Self::Webhook => "webhook",
        }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        if Busy::is_cause_of(&error) {
            Self::Busy(format!("{error:#}"))
        } else {
            Self::Internal(error)
        }
    }
}
