//! The fleet's certificate authority: one root signs the boot host's certificate, the gateways'
//! certificates and the CRL.
//!
//! Certificates are valid from [`ALWAYS`] to [`NO_END`]. A gateway with a dead clock battery must
//! still accept its boot host, and a boot host with a wrong clock must accept its gateways. An
//! expired certificate would strand machines that nobody can reach. A certificate ends by
//! revocation, not by date.

mod crl;
mod key_type;
mod server_name;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::PublicKeyData;
use rcgen::SerialNumber;
use rcgen::SubjectPublicKeyInfo;
use time::Date;
use time::Month;
use time::OffsetDateTime;
use time::Time;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

pub use crl::Revoked;
pub use crl::crl_validity;
pub use crl::read_crl;
pub use key_type::KeyType;
pub use key_type::ParseKeyTypeError;
pub use server_name::ParseServerNameError;
pub use server_name::ServerName;

use super::Certificate;
use super::GatewayName;
use super::Kind;
use super::Unusable;
use super::usable_ca;
use super::usable_client_key;

/// Longest server chain, in bytes of DER, that iPXE accepts when built before March 2023
/// (github.com/ipxe/ipxe commit 1d1cf74a5).
pub const MAX_CHAIN_LEN: usize = 4096;

/// Start of validity. No clock that was reset is earlier.
pub const ALWAYS: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

/// 99991231235959Z, which means that a certificate does not expire (RFC 5280, section 4.1.2.5).
///
/// Clock chips store two digits of the year, and iPXE for BIOS reads 80 as 2080 (`rtc_time.c`). An
/// end date that a two-digit year can pass would lock out machines with a dead battery.
pub const NO_END: OffsetDateTime = {
    let (Ok(date), Ok(time)) =
        (Date::from_calendar_date(9999, Month::December, 31), Time::from_hms(23, 59, 59))
    else {
        panic!("9999-12-31 23:59:59 is a time");
    };
    OffsetDateTime::new_utc(date, time)
};

/// A certificate and its private key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PEM (PKCS #8).
    pub private_key_pem: String,
}

/// The certificate authority with its private key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
    certificate_pem: String,
}

impl Authority {
    /// Creates an authority whose certificate ends at `not_after`.
    pub fn create(
        common_name: &str,
        key_type: KeyType,
        not_after: OffsetDateTime,
    ) -> Result<Issued, Error> {
        let key = key_type.generate().map_err(Error::Key)?;
        let mut params = params(common_name, not_after);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(Error::Issue)?;
        Ok(Issued { certificate_pem: certificate.pem(), private_key_pem: key.serialize_pem() })
    }

    /// Loads an existing authority.
    pub fn from_pem(certificate_pem: &str, private_key_pem: &str) -> Result<Self, Error> {
        let certificate = Certificate::from_pem(certificate_pem.as_bytes())?;
        let key = KeyPair::from_pem(private_key_pem).map_err(Error::Key)?;
        if key.public_key_raw() != certificate.public_key {
            return Err(Error::Mismatch);
        }
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key).map_err(Error::Issue)?;
        Ok(Self { issuer, certificate, certificate_pem: certificate_pem.to_owned() })
    }

    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Issues the boot host's certificate and returns it as a chain with the CA. iPXE knows the
    /// root only by its fingerprint, so the server must send the root too.
    pub fn issue_server(
        &self,
        names: &[ServerName],
        key_type: KeyType,
        not_after: OffsetDateTime,
    ) -> Result<Issued, Error> {
        self.has_kind(key_type)?;
        let key = key_type.generate().map_err(Error::Key)?;
        let certificate_pem = self.certify_server(names, &key, not_after)?;
        Ok(Issued { certificate_pem, private_key_pem: key.serialize_pem() })
    }

    /// Issues a new certificate (PEM chain) for the boot host's existing key (PEM).
    pub fn renew_server(
        &self,
        names: &[ServerName],
        private_key_pem: &str,
        not_after: OffsetDateTime,
    ) -> Result<String, Error> {
        let key = KeyPair::from_pem(private_key_pem).map_err(Error::Key)?;
        self.certify_server(names, &key, not_after)
    }

    fn certify_server(
        &self,
        names: &[ServerName],
        key: &KeyPair,
        not_after: OffsetDateTime,
    ) -> Result<String, Error> {
        let common_name = names.first().ok_or(Error::NoName)?.to_string();
        let public_key = key.subject_public_key_info();
        usable_client_key(&public_key, &self.certificate.der).map_err(Error::ServerKey)?;
        let mut params = params(&common_name, not_after);
        params.subject_alt_names = names.iter().map(ServerName::san).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if key.is_compatible(&rcgen::PKCS_RSA_SHA256) {
            // Media from before January 2024 have no ECDHE and use RSA key exchange.
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = self.sign(params, key)?;
        let chain_len = issued.der().len() + self.certificate.der.len();
        if chain_len > MAX_CHAIN_LEN {
            return Err(Error::ChainTooLong { len: chain_len });
        }
        Ok(format!("{}{}", issued.pem(), self.certificate_pem))
    }

    /// Issues a gateway's client certificate with a new key.
    pub fn issue_client(
        &self,
        name: &GatewayName,
        key_type: KeyType,
        validity: Validity,
    ) -> Result<Issued, Error> {
        self.has_kind(key_type)?;
        let key = key_type.generate().map_err(Error::Key)?;
        let issued = self.sign(client_params(name, validity), &key)?;
        Ok(Issued { certificate_pem: issued.pem(), private_key_pem: key.serialize_pem() })
    }

    /// Issues a gateway's client certificate for a signing request (PKCS #10, PEM), so the private
    /// key stays elsewhere. Only the public key of the request is used, after its signature was
    /// checked. farmgate chooses the names itself and does not read the extensions.
    pub fn sign_request(
        &self,
        name: &GatewayName,
        request_pem: &str,
        validity: Validity,
    ) -> Result<String, Error> {
        let block = pem::parse(request_pem).map_err(|_| Error::Request)?;
        let (_, request) =
            X509CertificationRequest::from_der(block.contents()).map_err(|_| Error::Request)?;
        let public_key = request.certification_request_info.subject_pki.raw;
        // The key is checked first: a signature by an unusable key cannot be verified.
        usable_client_key(public_key, &self.certificate.der).map_err(Error::ClientKey)?;
        request.verify_signature().map_err(|_| Error::RequestSignature)?;
        let public_key = SubjectPublicKeyInfo::from_der(public_key).map_err(Error::Issue)?;
        Ok(self.sign(client_params(name, validity), &public_key)?.pem())
    }

    /// Fails unless gateways can use keys of this type with this CA.
    fn has_kind(&self, key_type: KeyType) -> Result<(), Error> {
        let ca = usable_ca(&self.certificate.der).map_err(Error::Ca)?;
        if key_type.kind() == ca { Ok(()) } else { Err(Error::KeyType { key_type, ca }) }
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<rcgen::Certificate, Error> {
        // Clients also check the CA's end, so a later end would be a false promise.
        params.not_after = params.not_after.min(self.certificate.not_after);
        params.signed_by(key, &self.issuer).map_err(Error::Issue)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

fn params(common_name: &str, not_after: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = ALWAYS;
    params.not_after = not_after;
    params.serial_number = Some(random_serial());
    params.use_authority_key_identifier_extension = true;
    params
}

fn client_params(name: &GatewayName, validity: Validity) -> CertificateParams {
    let mut params = params(name.as_str(), validity.not_after);
    params.not_before = validity.not_before;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// 122 random bits. rcgen would derive the number from the key, but two certificates of one key
/// must be revocable separately.
fn random_serial() -> SerialNumber {
    let mut bytes = uuid::Uuid::new_v4().into_bytes();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Why a certificate or CRL was not issued or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("private key: {0}")]
    Key(rcgen::Error),
    #[error("cannot issue: {0}")]
    Issue(rcgen::Error),
    #[error("not a certificate signing request (PKCS #10, PEM)")]
    Request,
    #[error(
        "the signature of this request cannot be verified: another key made it, or it is not RSA \
         or ECDSA with SHA-256 or SHA-384"
    )]
    RequestSignature,
    #[error("no gateway could boot with the key of this request: {0}")]
    ClientKey(Unusable),
    #[error("no gateway would talk to a server with this key: {0}")]
    ServerKey(Unusable),
    #[error("no gateway can have this CA as its root: {0}")]
    Ca(Unusable),
    #[error(
        "`key-type` is {key_type}, but the CA of this fleet signs with {ca}, and iPXE needs both \
         to be of the same kind: set `key-type` as it was when the state was made"
    )]
    KeyType { key_type: KeyType, ca: Kind },
    #[error("the CA's private key does not belong to its certificate")]
    Mismatch,
    #[error("a server certificate needs at least one name")]
    NoName,
    #[error(
        "server certificate and CA certificate together have {len} bytes; \
         iPXE accepts {MAX_CHAIN_LEN} at most: use fewer or shorter names"
    )]
    ChainTooLong { len: usize },
    #[error(transparent)]
    Certificate(#[from] super::ParseCertificateError),
    #[error("not a certificate revocation list")]
    Crl,
}
