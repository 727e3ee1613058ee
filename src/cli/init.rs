//! `farmgate init`.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use clap::error::ErrorKind;
use serde::Serialize;

use super::context::Context;
use super::wrong_usage;
use crate::config::BootUrl;
use crate::identity::Fingerprint;
use crate::identity::pki::Authority;
use crate::identity::pki::Issued;
use crate::identity::pki::KeyType;
use crate::identity::pki::NO_END;
use crate::identity::pki::ServerName;
use crate::store::NewState;
use crate::store::State;
use crate::store::read_config;

/// The socket that systemd opens for nginx (systemd/farmgate.socket).
pub(super) const SOCKET: &str = "/run/farmgate.sock";

#[derive(clap::Args)]
pub(super) struct Init {
    /// URL at which gateways find this boot host: https://, a host, perhaps a port [default: that
    /// of the configuration, with --config]
    #[arg(long)]
    url: Option<BootUrl>,
    /// Another name or IP address for the server's certificate
    #[arg(long, value_name = "NAME-OR-IP")]
    san: Vec<ServerName>,
    /// Kind of keys, rsa2048 or p256; p256 needs iPXE 2.0 or later on the media
    #[arg(long, default_value = "rsa2048")]
    key_type: KeyType,
    /// Time server for gateways, or "none"
    #[arg(long, value_name = "HOST", default_value = "pool.ntp.org")]
    ntp: ServerNameOrNone,
    /// Configure the server to run behind nginx, with the socket of farmgate.socket
    #[arg(long)]
    nginx: bool,
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
pub(super) struct Made {
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
        let made = self.make(context, None)?;
        context.print(&made)
    }

    /// Makes a state, with a CA that exists already or a new one.
    pub(super) fn make(&self, context: &Context, ca: Option<Issued>) -> Result<Made> {
        let given = context.config.as_deref().map(read_config).transpose()?;
        let url = match (&given, &self.url) {
            (Some(config), Some(url)) if config.url != *url => {
                bail!("--url is {url}, but the configuration says {}: leave out --url", config.url)
            }
            (Some(config), _) => config.url.clone(),
            (None, Some(url)) => url.clone(),
            (None, None) => wrong_usage(
                &["init"],
                ErrorKind::MissingRequiredArgument,
                &"--url is needed, or --config with a configuration that has one",
            ),
        };
        let key_type = given.as_ref().map_or(self.key_type, |config| config.key_type);
        let mut names = vec![url.host().clone()];
        names.extend(self.san.iter().filter(|san| *san != url.host()).cloned());

        let common_name = format!("farmgate CA {}", url.host());
        let ca = match ca {
            Some(ca) => ca,
            None => Authority::create(&common_name, key_type, NO_END)?,
        };
        let authority = Authority::from_pem(&ca.certificate_pem, &ca.private_key_pem)?;
        let server = authority.issue_server(&names, key_type, NO_END)?;
        let crl = authority.sign_crl(&[], 1)?;
        let config = given.is_none().then(|| self.configuration(&url));
        State::create(
            &context.state,
            &NewState { config: config.as_deref(), ca: &ca, server: &server, crl: &crl },
        )?;

        // The next command must be able to read it.
        context.state().context("the new state cannot be opened")?;
        Ok(Made {
            state: context.state.display().to_string(),
            url,
            ca_fingerprint: authority.certificate().fingerprint,
        })
    }

    fn configuration(&self, url: &BootUrl) -> String {
        let ntp = match &self.ntp.0 {
            Some(host) => format!("ntp = \"{host}\""),
            None => "# ntp = \"pool.ntp.org\"".to_owned(),
        };
        let (own, behind) = if self.nginx { ("# ", "") } else { ("", "# ") };
        format!(
            "# farmgate: configuration of this boot host. Unknown keys are errors.\n\
             url = \"{url}\"\n\
             key-type = \"{}\"\n\
             \n\
             [listen]\n\
             {own}tls = \"0.0.0.0:{}\"          # own mutual TLS; leave out behind nginx\n\
             {behind}unix = \"{SOCKET}\"  # behind nginx\n\
             {behind}accel = \"/farmgate-blobs\"    # behind nginx: it sends assets itself\n\
             {behind}proxy-mark = true            # behind nginx: know its configuration again\n\
             # admin = \"127.0.0.1:9180\"    # /readyz, /metrics ..., for this machine\n\
             # drain = \"300s\"              # time for running downloads on stop\n\
             \n\
             [media]\n\
             # fallback-urls = [\"https://boot2.example.org\"]\n\
             # contact = \"farm team, +49 30 1234\"  # on the screen of a gateway that does not boot\n\
             {ntp}\n\
             \n\
             # [buckets]                     # one for each gateway: docs/buckets.md\n\
             # provider = \"b2\"             # or \"s3\", for Garage\n",
            self.key_type,
            url.port(),
        )
    }
}
