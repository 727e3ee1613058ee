//! The source of a gateway's certificate: issued here, issued for a signing request, or taken over.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use rustls::pki_types::UnixTime;
use time::Duration;

use crate::cli::context::now;
use crate::fleet::Record;
use crate::fleet::What;
use crate::identity::Certificate;
use crate::identity::ClientVerifier;
use crate::identity::GatewayName;
use crate::identity::pki::ALWAYS;
use crate::identity::pki::NO_END;
use crate::identity::pki::Validity;
use crate::identity::usable_client;
use crate::store::State;
use crate::store::files;

/// Options for the source of a certificate.
#[derive(clap::Args)]
pub(super) struct Source {
    /// Take over this certificate (PEM), which the CA of this state has signed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csr", "days"])]
    cert: Option<PathBuf>,
    /// Issue a certificate for this signing request (PEM); its key stays where it is
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Days until the certificate expires, and its medium with it [default: never; revoking
    /// ends it]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    days: Option<u16>,
}

impl Source {
    /// Reads the files before the state is locked, since others would wait for a slow one.
    pub(super) fn read(self) -> Result<Given> {
        let read = |path: Option<PathBuf>| {
            path.map(|path| Ok::<_, anyhow::Error>((files::read_given(&path)?, path))).transpose()
        };
        Ok(Given { cert: read(self.cert)?, csr: read(self.csr)?, days: self.days })
    }
}

/// The files that [`Source`] names, read, each with its path.
pub(super) struct Given {
    cert: Option<(Vec<u8>, PathBuf)>,
    csr: Option<(Vec<u8>, PathBuf)>,
    days: Option<u16>,
}

impl Given {
    /// The source of the certificate, in words.
    pub(super) fn how(&self) -> &'static str {
        match (&self.cert, &self.csr) {
            (Some(_), _) => "certificate taken over",
            (None, Some(_)) => "certificate issued for a signing request",
            (None, None) => "certificate issued",
        }
    }

    /// The kind of act that gives this certificate to an existing gateway.
    pub(super) fn renewal(&self) -> What {
        match self.cert {
            Some(_) => What::CertificateTakenOver,
            None => What::CertificateRenewed,
        }
    }

    /// Says whether a file is given, which can be that of one gateway only.
    pub(super) fn is_file(&self) -> bool {
        self.cert.is_some() || self.csr.is_some()
    }

    /// Says whether the gateway has the given certificate already, or none is given.
    pub(super) fn is_known(&self, record: &Record) -> Result<bool> {
        let Some((pem, path)) = &self.cert else { return Ok(true) };
        let certificate =
            Certificate::from_pem(pem).with_context(|| format!("cannot use {}", path.display()))?;
        Ok(record.certificate(&certificate.fingerprint).is_some())
    }

    /// The certificate (PEM), and its key if it was made here.
    pub(super) fn certificate(
        &self,
        state: &State,
        name: &GatewayName,
    ) -> Result<(String, Option<String>)> {
        let not_after = self.days.map_or(NO_END, |days| now() + Duration::days(days.into()));
        let validity = Validity { not_before: ALWAYS, not_after };
        let text = |pem: &[u8], path: &Path| {
            String::from_utf8(pem.to_vec())
                .with_context(|| format!("cannot use {}", path.display()))
        };
        if let Some((pem, path)) = &self.cert {
            let pem = text(pem, path)?;
            let certificate = Certificate::from_pem(pem.as_bytes())
                .with_context(|| format!("cannot use {}", path.display()))?;
            usable_client(&certificate.der).with_context(|| {
                format!("no gateway could boot with {}: not taken over", path.display())
            })?;
            ClientVerifier::new(&state.ca_certificate()?)?
                .verify(&certificate.der, UnixTime::now())
                .with_context(|| {
                    format!("{} would not be let in: not taken over", path.display())
                })?;
            state.ensure_not_revoked(&certificate)?;
            return Ok((pem, None));
        }
        let authority = state.authority()?;
        if let Some((request, path)) = &self.csr {
            let pem = authority
                .sign_request(name, &text(request, path)?, validity)
                .with_context(|| format!("cannot use {}", path.display()))?;
            return Ok((pem, None));
        }
        let issued = authority.issue_client(name, state.config().key_type, validity)?;
        Ok((issued.certificate_pem, Some(issued.private_key_pem)))
    }
}
