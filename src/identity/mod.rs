//! Who a gateway is: X.509 certificates, their fingerprints and the PKI that
//! issues them. Pure: no files, no clock, no network; only the making of keys
//! and serial numbers draws on randomness.

mod authenticate;
mod certificate;
mod fingerprint;
mod header;
mod host;
mod name;
pub mod pki;
mod proxy_mark;
mod sealed;
mod serial;
mod usable;

pub use authenticate::ClientVerifier;
pub use authenticate::VerifyError;
pub use authenticate::v1_public_key;
pub use certificate::Certificate;
pub use certificate::ParseCertificateError;
pub use fingerprint::Fingerprint;
pub use fingerprint::ParseFingerprintError;
pub use header::HeaderError;
pub use header::certificate_from_headers;
pub use host::HostError;
pub use host::check_host;
pub use host::host_names;
pub use name::GatewayName;
pub use name::ParseNameError;
pub use proxy_mark::ProxyMark;
pub use proxy_mark::proves_without_secret;
pub use sealed::Identity;
pub use sealed::IdentityError;
pub use serial::Serial;
pub use usable::ClockRisk;
pub use usable::Kind;
pub use usable::Unusable;
pub use usable::survives_any_clock;
pub use usable::usable_ca;
pub use usable::usable_chain;
pub use usable::usable_client;
pub use usable::usable_client_key;
