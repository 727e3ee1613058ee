//! Identities: X.509 certificates, fingerprints, and the CA that issues certificates.
//!
//! Pure: no files, no clock, no network. Key generation, serial numbers and the proxy mark use
//! randomness.

mod boot_host;
mod certificate;
mod client_verifier;
mod fingerprint;
mod header;
mod name;
mod natural;
pub mod pki;
mod proxy_mark;
mod sealed;
mod serial;
mod usable;

pub use boot_host::HostError;
pub use boot_host::check_host;
pub use boot_host::host_names;
pub use certificate::Certificate;
pub use certificate::ParseCertificateError;
pub use client_verifier::ClientVerifier;
pub use client_verifier::VerifyError;
pub use client_verifier::v1_public_key;
pub use fingerprint::Fingerprint;
pub use fingerprint::ParseFingerprintError;
pub use header::HeaderError;
pub use header::certificate_from_headers;
pub use header::decode_certificate;
pub use header::escaped_certificate;
pub use name::GatewayName;
pub use name::ParseNameError;
pub use natural::natural_cmp;
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
