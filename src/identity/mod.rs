//! Who a gateway is: X.509 certificates, their fingerprints and the PKI that
//! issues them. Pure: no files, no clock, no network.

mod fingerprint;
mod name;
pub mod pki;

pub use fingerprint::Fingerprint;
pub use fingerprint::ParseFingerprintError;
pub use name::GatewayName;
pub use name::ParseNameError;
