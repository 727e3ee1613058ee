//! `farmgate pki`: the boot host's own certificate and the CRL.

use std::io::ErrorKind;

use anyhow::Context as _;
use anyhow::Result;
use clap::Args;
use clap::Subcommand;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use time::OffsetDateTime;

use super::context::Context;
use crate::identity::host_names;
use crate::identity::pki::NO_END;
use crate::identity::pki::ServerName;
use crate::store::layout;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Issue a new certificate for the boot host, and sign the CRL again
    Renew(Renew),
}

impl Command {
    pub(super) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Renew(command) => command.run(context),
        }
    }
}

/// `farmgate pki renew`.
#[derive(Args)]
pub(super) struct Renew {
    /// Another name or IP address for the certificate, besides those that it has and the host of
    /// `url`
    #[arg(long, value_name = "NAME-OR-IP")]
    san: Vec<ServerName>,
}

#[derive(Serialize)]
struct Renewed {
    names: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
}

impl std::fmt::Display for Renewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { names, not_after } = self;
        let names = names.join(" ");
        writeln!(f, "server certificate and CRL renewed: {names}, until {}", not_after.date())?;
        f.write_str("next: systemctl reload farmgate nginx")
    }
}

impl Renew {
    fn run(self, context: &Context) -> Result<()> {
        let state = context.state()?;
        let authority = state.authority()?;
        let not_after = authority.certificate().not_after.min(NO_END);
        let mut names = vec![state.config().url.host().clone()];
        // This command may be run because of a lost or damaged certificate.
        let old = state.read_pki(layout::SERVER).ok();
        let old = old.and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
        let old = old.and_then(|der| host_names(&der).ok()).unwrap_or_default();
        for name in old.into_iter().chain(self.san) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        // The key stays, so that certificate and key match at every moment.
        let key = state.pki_file(layout::SERVER_KEY);
        let chain = match state.read_pki(layout::SERVER_KEY) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let new = authority.issue_server(&names, state.config().key_type, not_after)?;
                state.write_pki(layout::SERVER_KEY, new.private_key_pem.as_bytes())?;
                new.certificate_pem
            }
            text => {
                let text =
                    text.map_err(anyhow::Error::from).and_then(|b| Ok(String::from_utf8(b)?));
                let text = text.with_context(|| format!("cannot read {}", key.display()))?;
                authority.renew_server(&names, &text, not_after)?
            }
        };
        state.write_pki(layout::SERVER, chain.as_bytes())?;
        state.renew_crl().context("the server certificate is new, the CRL is not")?;
        let names = names.iter().map(ToString::to_string).collect();
        context.print(&Renewed { names, not_after })
    }
}
