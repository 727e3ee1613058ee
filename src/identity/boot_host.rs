//! Checks the boot host's certificate chain as a gateway would. Pure: the caller passes the time.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName as PkiName;
use rustls::pki_types::UnixTime;
use time::OffsetDateTime;
use webpki::EndEntityCert;
use webpki::KeyUsage;
use webpki::anchor_from_trusted_cert;
use x509_parser::extensions::GeneralName;

use super::Certificate;
use super::ParseCertificateError;
use super::Unusable;
use super::pki::ServerName;
use super::usable_chain;

/// Checks that a gateway which trusts `ca` (DER) would accept `chain` (DER each) from the boot host
/// `host` at the time `now`.
pub fn check_host(
    chain: &[CertificateDer<'_>],
    ca: &[u8],
    host: &ServerName,
    now: OffsetDateTime,
) -> Result<(), HostError> {
    usable_chain(chain, ca)?;
    let root = chain.iter().position(|der| **der == *ca).unwrap_or(chain.len() - 1);
    for (at, der) in chain[..=root].iter().enumerate() {
        let certificate = Certificate::from_der(der)?;
        let whose = if at == root { "the CA" } else { "it" };
        if certificate.not_after < now {
            return Err(HostError::Ended { whose, end: certificate.not_after });
        }
        if certificate.not_before > now {
            return Err(HostError::NotYet { whose, begin: certificate.not_before });
        }
    }
    let ca = CertificateDer::from(ca);
    let anchor = anchor_from_trusted_cert(&ca).map_err(HostError::Refused)?;
    let end_entity = EndEntityCert::try_from(&chain[0]).map_err(HostError::Refused)?;
    let seconds = now.unix_timestamp().try_into().unwrap_or(0);
    end_entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            &chain[1..root],
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(HostError::Refused)?;
    let name = PkiName::try_from(host.to_string()).map_err(|_| HostError::OtherName)?;
    end_entity.verify_is_valid_for_subject_name(&name).map_err(|_| HostError::OtherName)
}

/// The subject alternative names of a server certificate (DER) that can be the host of a URL.
pub fn host_names(der: &[u8]) -> Result<Vec<ServerName>, ParseCertificateError> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|_| ParseCertificateError::NotX509)?;
    let extension = certificate.subject_alternative_name();
    let extension = extension.map_err(|_| ParseCertificateError::NotX509)?;
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    Ok(names.filter_map(|name| text(name)?.parse().ok()).collect())
}

/// Why a gateway would not trust the boot host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// iPXE cannot use a certificate of the chain.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error(transparent)]
    Malformed(#[from] ParseCertificateError),
    /// Not signed by the CA, not a server certificate, and so on.
    #[error("{0}")]
    Refused(webpki::Error),
    #[error("{whose} expired on {}", end.date())]
    Ended {
        /// "the CA", or "it" for the other certificates.
        whose: &'static str,
        end: OffsetDateTime,
    },
    #[error("{whose} is valid only from {}", begin.date())]
    NotYet {
        /// "the CA", or "it" for the other certificates.
        whose: &'static str,
        begin: OffsetDateTime,
    },
    /// The certificate does not contain the host name that gateways use.
    #[error("it does not contain the host name of `url`")]
    OtherName,
}
