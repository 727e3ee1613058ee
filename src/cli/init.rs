use anyhow::Context as _;
use anyhow::Result;
use serde::Serialize;
use time::Duration;

use super::Context;
use super::now;
use crate::config::BootUrl;
use crate::identity::Fingerprint;
use crate::identity::pki::Authority;
use crate::identity::pki::KeyType;
use crate::identity::pki::ServerName;
use crate::store::NewState;
use crate::store::State;

/// How long the CA and the server's certificate are valid. The CA is frozen on
/// every boot medium, so this is the longest life of a fleet.
const LIFETIME: Duration = Duration::days(30 * 365);

#[derive(clap::Args)]
pub(super) struct Init {
    /// Where gateways will find this boot host: https://, a host, perhaps a port
    #[arg(long)]
    url: BootUrl,
    /// Another name or IP address that the server's certificate speaks for
    #[arg(long, value_name = "NAME-OR-IP")]
    san: Vec<ServerName>,
    /// Kind of keys, rsa2048 or p256; p256 needs iPXE 2.0 or later on the media
    #[arg(long, default_value = "rsa2048")]
    key_type: KeyType,
    /// Time server for gateways, or "none"
    #[arg(long, value_name = "HOST", default_value = "pool.ntp.org")]
    ntp: ServerNameOrNone,
}

/// A host, or the word `none`.
#[derive(Clone)]
struct ServerNameOrNone(Option<ServerName>);

impl std::str::FromStr for ServerNameOrNone {
    type Err = crate::identity::pki::ParseServerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|name| Self(Some(name))) }
    }
}

#[derive(Serialize)]
struct Made {
    state: String,
    url: BootUrl,
    ca_fingerprint: Fingerprint,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "made {} for {}\nCA {}\nnext: farmgate --state {0} gateway add NAME",
            self.state, self.url, self.ca_fingerprint
        )
    }
}

impl Init {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        let mut names = vec![self.url.host().clone()];
        names.extend(self.san.iter().filter(|san| *san != self.url.host()).cloned());
        let not_after = now() + LIFETIME;

        let common_name = format!("farmgate CA {}", self.url.host());
        let ca = Authority::create(&common_name, self.key_type, not_after)?;
        let authority = Authority::from_pem(&ca.certificate_pem, &ca.private_key_pem)?;
        let server = authority.issue_server(&names, self.key_type, not_after)?;
        let crl = authority.sign_crl(&[], 1, now())?;
        let config = self.configuration();
        State::create(
            &context.state,
            &NewState { config: &config, ca: &ca, server: &server, crl: &crl },
        )?;

        // What was just written must be what the next command can read.
        context.state().context("the new state cannot be opened")?;
        context.print(&Made {
            state: context.state.display().to_string(),
            url: self.url,
            ca_fingerprint: authority.certificate().fingerprint,
        })
    }

    fn configuration(&self) -> String {
        let ntp = match &self.ntp.0 {
            Some(host) => format!("ntp = \"{host}\""),
            None => "# ntp = \"pool.ntp.org\"".to_owned(),
        };
        format!(
            "# farmgate: configuration of this boot host. Unknown keys are errors.\n\
             url = \"{}\"\n\
             key-type = \"{}\"\n\
             \n\
             [listen]\n\
             tls = \"0.0.0.0:{}\"          # own mutual TLS; leave out behind nginx\n\
             # unix = \"/run/farmgate.sock\"  # behind nginx\n\
             # accel = \"/farmgate-blobs\"    # behind nginx: it sends assets itself\n\
             # drain = \"300s\"              # time for running downloads on stop\n\
             \n\
             [media]\n\
             # fallback-urls = [\"https://boot2.example.org\"]\n\
             {ntp}\n",
            self.url,
            self.key_type,
            self.url.port(),
        )
    }
}
