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

pub use authenticate::ClientVerifier;
pub use authenticate::VerifyError;
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
