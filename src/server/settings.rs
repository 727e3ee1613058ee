//! Settings that a reload replaces: the configuration and the certificates. Reads files.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
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
        Ok(Self {
            verifier: Arc::new(ClientVerifier::new(&state.ca_certificate()?)?),
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
}
