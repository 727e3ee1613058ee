//! Settings that a reload replaces: the configuration and the certificates. Reads files.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ServerConfig;
use time::OffsetDateTime;

use super::edge::tls;
use super::pki;
use super::problems::fleet_problems;
use super::templates;
use super::templates::Templates;
use crate::config::AccelPrefix;
use crate::config::BootUrl;
use crate::config::Listen;
use crate::identity::ClientVerifier;
use crate::store::State;
use crate::store::leases::Terms;

/// Sources of the settings.
#[derive(Clone, Debug)]
pub struct Source {
    /// The state directory.
    pub state: PathBuf,
    /// A configuration other than the state's own.
    pub config: Option<PathBuf>,
    /// Listeners of the command line, in place of the configuration's.
    pub doors: Option<GivenDoors>,
}

/// Listeners that the command line names.
#[derive(Clone, Debug)]
pub struct GivenDoors {
    /// Own TLS.
    pub tls: Option<SocketAddr>,
    /// Behind nginx.
    pub unix: Option<PathBuf>,
}

/// One consistent set of settings.
pub(super) struct Settings {
    pub(super) state: State,
    pub(super) listen: Listen,
    /// The folder of systemd's credentials.
    pub(super) credentials: Option<PathBuf>,
    pub(super) verifier: Arc<ClientVerifier>,
    pub(super) accel: Option<AccelPrefix>,
    pub(super) tries: NonZeroU32,
    pub(super) url: BootUrl,
    pub(super) public_url: Option<BootUrl>,
    /// The CA's certificate: base64 of its DER.
    pub(super) ca: String,
    pub(super) templates: Templates,
    pub(super) terms: Terms,
    /// `None` without a listener with own TLS.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Problems that kept gateways from booting when this was read, although the server runs.
    pub(super) problems: Vec<String>,
}

impl Settings {
    /// Reads everything. `own_tls` decides from the configured listeners whether there is one with
    /// own TLS.
    pub(super) fn load(source: &Source, own_tls: impl Fn(&Listen) -> bool) -> Result<Self> {
        let state = State::open(&source.state, source.config.as_deref())?;
        let config = state.config();
        let credentials = pki::credentials();
        let mut listen = config.listen.clone();
        if let Some(doors) = &source.doors {
            (listen.tls, listen.unix) = (doors.tls, doors.unix.clone());
        }
        let ca = state.ca_certificate()?;
        Ok(Self {
            verifier: Arc::new(ClientVerifier::new(&ca)?),
            ca: BASE64_STANDARD.encode(&ca),
            credentials: credentials.clone(),
            accel: listen.accel.clone(),
            tries: config.assessment.tries,
            url: config.url.clone(),
            public_url: config.public_url.clone(),
            templates: Templates::new(config.secrets.dir.clone(), credentials),
            terms: templates::terms(&config.secrets),
            tls: own_tls(&listen).then(|| tls::server_config(&state)).transpose()?,
            problems: fleet_problems(&state, OffsetDateTime::now_utc())?,
            listen,
            state,
        })
    }

    /// The address under which a gateway finds this boot host again. `asked_for` is the host that
    /// its request named; `own_tls` says that it came without nginx, which leaves out the port.
    ///
    /// The name must be one that the fleet's CA vouches for, so it is never that of `public-url`.
    pub(super) fn url_for(&self, asked_for: Option<&str>, own_tls: bool) -> BootUrl {
        let others = &self.state.config().media.fallback_urls;
        boot_url(asked_for, own_tls, &self.url, others, self.public_url.as_ref())
    }
}

fn boot_url(
    asked_for: Option<&str>,
    own_tls: bool,
    url: &BootUrl,
    others: &[BootUrl],
    public: Option<&BootUrl>,
) -> BootUrl {
    let asked = asked_for.and_then(|host| format!("https://{host}").parse::<BootUrl>().ok());
    let Some(asked) = asked else { return url.clone() };
    let known = || std::iter::once(url).chain(others);
    let is_ours = own_tls && public.is_none_or(|public| public.host() != asked.host());
    if is_ours || known().any(|known| *known == asked) {
        return asked;
    }
    known().find(|known| known.host() == asked.host()).unwrap_or(url).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_told_the_address_that_it_reached() {
        let url = |text: &str| text.parse::<BootUrl>().unwrap();
        let own = url("https://boot.example.org:8443");
        let others = [url("https://[2001:db8::1]"), url("https://boot2.example.org:444")];
        let public = url("https://public.example.org");
        for (asked_for, own_tls, expected) in [
            (Some("boot.example.org:8443"), true, "https://boot.example.org:8443"),
            (Some("boot2.example.org:444"), true, "https://boot2.example.org:444"),
            (Some("[2001:db8::1]"), true, "https://[2001:db8::1]"),
            // It can only have come there by a certificate of ours.
            (Some("10.0.2.2:9443"), true, "https://10.0.2.2:9443"),
            // nginx says no port.
            (Some("boot.example.org"), false, "https://boot.example.org:8443"),
            (Some("boot2.example.org"), false, "https://boot2.example.org:444"),
            // What nginx does not know for sure, and what another CA vouches for.
            (Some("10.0.2.2"), false, "https://boot.example.org:8443"),
            (Some("public.example.org"), true, "https://boot.example.org:8443"),
            (Some("public.example.org"), false, "https://boot.example.org:8443"),
            (Some("a b"), true, "https://boot.example.org:8443"),
            (Some("x/../${boot_token}"), true, "https://boot.example.org:8443"),
            (None, true, "https://boot.example.org:8443"),
        ] {
            let found = boot_url(asked_for, own_tls, &own, &others, Some(&public));
            assert_eq!(found.as_str(), expected, "{asked_for:?}");
        }
    }
}
