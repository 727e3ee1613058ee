//! Paths of the routes, as metrics and logs show them.

pub(super) const BOOT: &str = "/boot/ipxe";
pub(super) const GENERATION: &str = "/g/{generation}/{*path}";
pub(super) const FILES: &str = "/files/{*path}";
pub(super) const ACK: &str = "/boot/ack/{token}";
pub(super) const HEALTHZ: &str = "/healthz";
pub(super) const UPDATE: &str = "/update-cfg";
pub(super) const SECRETS: &str = "/secrets/{token}";

/// All routes.
pub(super) const ROUTES: [&str; 7] = [BOOT, GENERATION, FILES, ACK, HEALTHZ, SECRETS, UPDATE];
