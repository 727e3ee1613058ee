//! Why a request gets no answer. What becomes of it in HTTP is for `http/error.rs` to say.

use crate::fleet::Asset;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;
use crate::identity::HeaderError;
use crate::identity::VerifyError;
use crate::store::blobs::Access;
use crate::store::lock::Busy;

pub(in crate::server) type Result<T> = std::result::Result<T, Error>;

/// Why a request gets no answer, or none yet.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Error {
    /// The client may not have it, or has not proved who it is.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// There is no such thing for this gateway.
    #[error("not found: {0}")]
    NotFound(String),
    /// Nothing was ever published for this gateway.
    #[error("nothing is published for gateway {0}")]
    NothingPublished(GatewayName),
    /// The file is not here yet; the common store may have it.
    #[error("blob {} is not here yet", .0.sha256)]
    Elsewhere(Asset, Access),
    /// The file is not here yet, and asking for it did not help in time.
    #[error("not here yet: {0}")]
    NotYet(String),
    /// Another process holds a lock, or one client has too many requests running.
    #[error("busy: {0}")]
    Busy(String),
    /// The answer is not in memory: ask again with [`Reach::Disk`].
    #[error("not in memory")]
    Cold,
    /// A fault of this host.
    #[error("{0:#}")]
    Internal(anyhow::Error),
}

/// How far an answer may go for what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Reach {
    /// To what is in memory, and to the facts of files that say whether it is still true. Takes
    /// microseconds, so it may run where other connections wait for their turn.
    Memory,
    /// To the disk: may wait.
    Disk,
}

impl Reach {
    /// Fails where the disk is out of reach.
    pub(in crate::server) fn disk(self) -> Result<()> {
        match self {
            Self::Disk => Ok(()),
            Self::Memory => Err(Error::Cold),
        }
    }
}

/// Why a client is not let in.
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
}

impl Refusal {
    /// Every [`Self::reason`].
    pub(in crate::server) const REASONS: [&str; 6] =
        ["no-certificate", "no-proxy-mark", "header", "verify", "unknown", "revoked"];

    /// In a word, for monitoring.
    pub(in crate::server) fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::NoProxyMark => "no-proxy-mark",
            Self::Header(_) => "header",
            Self::Verify(_) => "verify",
            Self::Unknown(_) => "unknown",
            Self::Revoked { .. } => "revoked",
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
