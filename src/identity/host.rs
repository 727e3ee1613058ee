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

/// Checks that a gateway which trusts `ca` (DER) would take who sends `chain` (DER each) for the
/// boot host of this name at this time.
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

/// The names that a server certificate (DER) speaks for, as far as they can be hosts
/// of a URL.
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

/// A gateway would not trust the boot host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// iPXE cannot use what is sent.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// A certificate that cannot be read.
    #[error(transparent)]
    Malformed(#[from] ParseCertificateError),
    /// Not signed by the CA, not a server certificate ...
    #[error("{0}")]
    Refused(webpki::Error),
    /// A certificate's end is over.
    #[error("{whose} ran out on {}", end.date())]
    Ended {
        /// Of which certificate.
        whose: &'static str,
        /// Its last moment.
        end: OffsetDateTime,
    },
    /// A certificate is not valid yet.
    #[error("{whose} is valid only from {}", begin.date())]
    NotYet {
        /// Of which certificate.
        whose: &'static str,
        /// Its first moment.
        begin: OffsetDateTime,
    },
    /// The name under which gateways look for it is not in the certificate.
    #[error("it does not name the host of `url`")]
    OtherName,
}
