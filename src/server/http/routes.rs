//! Paths of the routes, as metrics and logs show them.

use crate::server::metrics::Counters;

pub(super) const BOOT: &str = "/boot/ipxe";
pub(super) const GENERATION: &str = "/g/{generation}/{*path}";
pub(super) const FILES: &str = "/files/{*path}";
pub(super) const ACK: &str = "/boot/ack/{token}";
pub(super) const REPORT: &str = "/boot/report/{token}";
pub(super) const HEALTHZ: &str = "/healthz";
pub(super) const UPDATE: &str = "/update-cfg";
/// The images of a boot.
pub(super) const IMAGES: &str = "/v2/{*path}";
/// The question whether a token is good.
pub(super) const IMAGES_AT_ALL: &str = "/v2/";
pub(super) const SECRETS: &str = "/secrets/{token}";

/// All routes.
pub(super) const ROUTES: [&str; 10] =
    [BOOT, GENERATION, FILES, ACK, REPORT, HEALTHZ, SECRETS, UPDATE, IMAGES, IMAGES_AT_ALL];

/// The route of requests that have none.
pub(super) const NONE: &str = "none";

/// Has all counters of requests there from the start: no rate shows the first count of a new one.
pub(super) fn expect_routes(counters: &Counters) {
    ROUTES.into_iter().chain([NONE]).for_each(|route| counters.expect(route));
}
